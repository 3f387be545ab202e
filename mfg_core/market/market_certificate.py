"""The market-making equilibrium as an object, with the evidence for it."""

from __future__ import annotations

import math
import warnings
from typing import TYPE_CHECKING

import numpy as np

from mfg_core.certificate import Certificate, Status
from mfg_core.errors import EdgeMassWarning
from mfg_core.family.local_polynomial import local_weights
from mfg_core.family.refinement import SHORTEST_PANEL, allowed_residual
from mfg_core.family.time_grid import bisect
from mfg_core.market.competition import Share
from mfg_core.market.kernels import LARGEST_EXPONENT, fill_between, sum_regret
from mfg_core.market.market_making import (
    MarketMakingEquilibrium,
    MarketMakingGame,
    MarketMakingMeanField,
    MarketMakingPolicy,
)
from mfg_core.market.market_reply import best_quotes, best_value, mean_quotes

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mfg_core.family.refinement import Sweep

    Floats = NDArray[np.float64]

EDGE_MASS = 1e-3
__all__ = ["EDGE_MASS", "LARGEST_EXPONENT", "certify", "measure_exploitability"]


def certify(
    game: MarketMakingGame, sweep: Sweep, scaled_error: float, sweeps: int, rtol: float, atol: float
) -> MarketMakingEquilibrium:
    """The equilibrium object; the crowd is the population that plays the returned policy."""
    k, states = game.fill_decay, game.states
    ask, bid = best_quotes(game, sweep.value)
    with np.errstate(divide="ignore"):
        log_density = np.log(sweep.density)
    flows = [
        arrival * np.nansum(np.exp(log_density + k * (game.crowd_weight * crowd[:, None] - quote)), axis=1)
        for arrival, quote, crowd in zip((game.ask_arrival, game.bid_arrival), (ask, bid), sweep.image, strict=True)
    ]
    means = mean_quotes(game, sweep.value, sweep.density) if isinstance(game.competition, Share) else sweep.image
    allowed = allowed_residual(1.0 / k, sweep.image, rtol, atol)
    # Sweeps are stopped early on grids that are too coarse anyway: then it is for the want of steps.
    status = Status.CONVERGED
    if not scaled_error <= 1.0 and sweep.settled:
        at_end = np.min(np.diff(sweep.times)) < 100.0 * SHORTEST_PANEL * game.horizon
        status = Status.RESOLUTION if at_end else Status.STEPS
    elif not (scaled_error <= 1.0 and sweep.residual <= allowed):
        status = Status.WORK if sweep.spent else Status.SWEEPS
    policy = MarketMakingPolicy(sweep.times, states, ask, bid)
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
    field = MarketMakingMeanField(means[0], means[1], flows[0], flows[1])
    return MarketMakingEquilibrium(game, sweep.times, states, sweep.value, sweep.density, policy, field, certificate)


def measure_exploitability(game: MarketMakingGame, policy: MarketMakingPolicy, crowd: Floats) -> float:
    """What one maker gains by leaving `policy` in the crowd with quotes `crowd` (2, nt+1); units of price, >= 0.

    With V* the best-response value on the bisected grid, J(policy) solves the linear Bellman equation and

        V*(0) - J(0) = E int sum over sides of [sup_d lambda(d)(d + dV*) - lambda(delta)(delta + dV*)] dt

    along the policy's own inventory (performance difference; Kakade & Langford 2002): a sum of non-negative terms, not
    a difference of two large values. The policy is weighed at its times and half-way between them, where what lies
    between its times is worst. Under risk aversion g it is the gain in certainty equivalent of a maker who does not yet
    know its first inventory: (V* - J)' is then linear in exp(g (V* - J)), with fill rates times exp(-g profit) and
    growth g times the regret.
    """
    times, n = bisect(policy.times), policy.states.size
    first, weights = local_weights(policy.times, times[1::2])
    rows = np.empty((times.size, 2 * n + 2))
    rows[::2, :n], rows[::2, n:-2], rows[::2, -2:] = policy.ask, policy.bid, crowd.T
    fill_between(first, np.ascontiguousarray(weights), rows)
    quotes, paths = rows[:, :-2], np.ascontiguousarray(rows[:, -2:].T)
    arrivals = np.array([game.ask_arrival, game.bid_arrival])
    k, g = game.fill_decay, game.risk_aversion
    best = best_value(game, times, paths)
    gaps = k * np.diff(best)
    levels = k * (game.crowd_weight * paths - game.margin)
    ideal = np.concatenate([levels[0, :, None] - gaps, levels[1, :, None] + gaps], axis=1)
    np.exp(np.minimum(ideal, LARGEST_EXPONENT, out=ideal), out=ideal)
    summed = sum_regret(
        times, best, np.ascontiguousarray(quotes), ideal, paths, arrivals, k, game.crowd_weight, game.margin, g,
        game.initial_density,
    )  # fmt: skip
    return math.log1p(g * summed) / g if g > 0 else float(summed)
