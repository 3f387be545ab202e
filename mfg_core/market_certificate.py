"""The market-making equilibrium as an object, with the evidence for it."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np

from mfg_core.certificate import Certificate, Status
from mfg_core.errors import EdgeMassWarning
from mfg_core.kernels import march_quoted
from mfg_core.market_making import (
    MarketMakingEquilibrium,
    MarketMakingGame,
    MarketMakingMeanField,
    MarketMakingPolicy,
)
from mfg_core.market_reply import Sweep, allowed_residual, best_quotes, reply
from mfg_core.time_grid import bisect, interpolate_rows

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

LARGEST_EXPONENT = 600.0
FEWEST_CHECK_TIMES = 257
EDGE_MASS = 1e-3


def certify(
    game: MarketMakingGame, sweep: Sweep, scaled_error: float, sweeps: int, rtol: float, atol: float
) -> MarketMakingEquilibrium:
    """The equilibrium object; the crowd is the population that plays the returned policy."""
    k, states = game.fill_decay, game.states
    ask, bid = best_quotes(game, sweep.value)
    with np.errstate(divide="ignore"):
        log_density = np.log(sweep.density)
    flows = [
        np.nansum(arrival * np.exp(log_density + k * (game.crowd_weight * mean[:, None] - quote)), axis=1)
        for arrival, quote, mean in zip((game.ask_arrival, game.bid_arrival), (ask, bid), sweep.image, strict=True)
    ]
    allowed = allowed_residual(game, sweep.image, rtol, atol)
    status = Status.CONVERGED
    if not sweep.residual <= allowed:
        status = Status.SWEEPS
    elif not scaled_error <= 1.0:
        status = Status.STEPS
    policy = MarketMakingPolicy(sweep.times, states, ask, bid, game.min_half_spread, game.max_half_spread)
    certificate = Certificate(
        iterations=sweeps,
        residual=sweep.residual,
        exploitability=measure_exploitability(game, policy, sweep.image),
        mass_error=float(np.max(np.abs(sweep.density.sum(axis=1) - 1.0))),
        discretisation_error=scaled_error * (rtol + atol),
        tolerance=allowed,
        converged=status is Status.CONVERGED,
        status=status,
    )
    edge = float(np.max(sweep.density[:, 0] + sweep.density[:, -1]))
    if edge > EDGE_MASS:
        warnings.warn(
            f"up to {edge:.2g} of the makers are at the ends of the inventory grid; raise max_inventory above "
            f"{game.max_inventory}",
            EdgeMassWarning,
            stacklevel=4,
        )
    field = MarketMakingMeanField(sweep.image[0], sweep.image[1], flows[0], flows[1])
    return MarketMakingEquilibrium(game, sweep.times, states, sweep.value, sweep.density, policy, field, certificate)


def measure_exploitability(game: MarketMakingGame, policy: MarketMakingPolicy, crowd: Floats) -> float:
    """What one maker gains by leaving `policy` in the crowd with mean quotes `crowd` (2, nt+1); units of price, >= 0.

    With V* the best-response value on a finer grid, J(policy) solves the linear Bellman equation and

        V*(0) - J(0) = E int sum over sides of [sup_d lambda(d)(d + dV*) - lambda(delta)(delta + dV*)] dt

    along the policy's own inventory (performance difference; Kakade & Langford 2002): a sum of non-negative terms, not
    a difference of two large values.
    """
    times = bisect(policy.times)
    while times.size < FEWEST_CHECK_TIMES:
        times = bisect(times)
    between = bisect(times)
    paths = np.stack([interpolate_rows(policy.times, side, between) for side in crowd])
    value = reply(game, times, np.ascontiguousarray(paths[:, ::2]))[0]
    rates, regret = [], np.zeros_like(value)
    for side, mean, arrival, best in zip(
        (policy.ask, policy.bid), paths, (game.ask_arrival, game.bid_arrival), best_quotes(game, value), strict=True
    ):
        quotes = interpolate_rows(policy.times, side, between)
        quotes = np.clip(quotes, game.min_half_spread, game.max_half_spread)
        exponent = game.fill_decay * (game.crowd_weight * mean[:, None] - quotes)
        rates.append(np.where(np.isnan(quotes), 0.0, arrival * np.exp(np.minimum(exponent, LARGEST_EXPONENT))))
        step = -1 if side is policy.ask else 1
        gap = np.roll(value, -step, axis=1) - value
        ideal = arrival * np.exp(
            np.minimum(game.fill_decay * (game.crowd_weight * mean[::2, None] - best), LARGEST_EXPONENT)
        )
        regret += np.nan_to_num(ideal * regret_per_fill(quotes[::2] - best, best + gap, game.fill_decay))
    law = np.empty_like(value)
    law[0] = game.initial_density
    march_quoted(times, rates[0], rates[1], law)
    loss = np.sum(law * regret, axis=1)
    return float(np.sum(np.diff(times) * (loss[1:] + loss[:-1]) / 2.0))


def regret_per_fill(miss: Floats, margin: Floats, k: float) -> Floats:
    """margin - e^{-k miss} (margin + miss), what a quote `miss` from the best one with profit `margin` loses.

    Written as two non-negative parts, (margin - 1/k)(1 - e^{-y}) and (1 - e^{-y}(1 + y))/k with y = k miss; the first
    is zero unless a bound binds.
    """
    y = k * miss
    curve = np.where(np.abs(y) < 1e-3, y * y * (0.5 - y / 3.0 + y * y / 8.0), -np.expm1(-y) - y * np.exp(-y))
    excess = margin - 1.0 / k
    bound = np.where(np.abs(excess) * k > 1e-9, -excess * np.expm1(-y), 0.0)
    return np.asarray(np.maximum(bound, 0.0) + curve / k)
