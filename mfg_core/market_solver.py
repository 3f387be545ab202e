"""Solves the market-making game: fixed point on the mean quotes, time grid refined where the error arises."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from mfg_core.errors import SolveError
from mfg_core.fixed_point import UpdateRule, iterate
from mfg_core.market_certificate import LARGEST_EXPONENT, certify
from mfg_core.market_making import MarketMakingEquilibrium, MarketMakingGame
from mfg_core.market_reply import StepTooLongError, Sweep, allowed_residual, reply
from mfg_core.time_grid import bisect, interpolate_rows, split

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

FIRST_PANELS = 16


def solve_market_making(
    game: MarketMakingGame, method: UpdateRule, rtol: float, atol: float
) -> MarketMakingEquilibrium:
    """Equilibrium of the game, converged or not as its certificate says; see `solve_mfg` for the parameters.

    The scheme has order 4 in the time step (without bounds exponentials of the linear transform; with bounds
    Runge-Kutta 4 for the value and exponentials for the population, of order 2 across the times at which a quote
    reaches a bound). Each grid is compared with its bisection; panels whose share of the difference is too large are
    bisected until the estimated error of every V(t, x), mean quote and probability is within
    rtol (unit + |quantity|) + atol, the unit being 1/k for V and quotes and 1 for probabilities.
    """
    edges, order = first_edges(game), 2 if game.bounded else 4
    coarse: Sweep | None = None
    best: tuple[Sweep, float] | None = None
    sweeps = 0
    while 4 * edges.size <= method.max_steps:
        try:
            if coarse is None:
                coarse = _fixed_point(game, edges, best[0] if best else None, method, rtol, atol)
                sweeps += coarse.sweeps
            if not coarse.settled:
                best = coarse, math.inf
                break
            fine = _fixed_point(game, bisect(edges), coarse, method, rtol, atol)
        except StepTooLongError:
            edges, coarse = bisect(edges), None
            continue
        sweeps += fine.sweeps
        scaled, arising = _compare(game, coarse, fine, rtol, atol)
        best = fine, scaled / (2**order - 1)
        if best[1] <= 1.0 or not fine.settled:
            break
        levels = _levels(arising / (2**order - 1), order)
        edges, coarse = (bisect(edges), fine) if np.mean(levels > 0) > 0.6 else (split(edges, levels), None)
    if best is None:
        raise SolveError(
            f"the market-making game needs more than {method.max_steps} time steps; raise max_steps, lower "
            "fill_decay * terminal_penalty * max_inventory, or bound the quotes from below",
            tolerance=rtol + atol,
        )
    return certify(game, *best, sweeps, rtol, atol)


def first_edges(game: MarketMakingGame) -> Floats:
    """Panel edges to start from: equal ones, shorter near the close where a steep terminal penalty speeds fills."""
    k, Q = game.fill_decay, game.max_inventory
    steepest = game.terminal_penalty * (2 * Q - 1)
    tightest = min(max(1.0 / k - steepest, game.min_half_spread), game.max_half_spread)
    exponent = min(-k * tightest, LARGEST_EXPONENT)
    fastest = max(game.ask_arrival, game.bid_arrival) * math.exp(exponent)
    widest = game.horizon / FIRST_PANELS
    shortest = max(1.0 / fastest, 1e-12 * game.horizon if game.bounded else 1e-5 * game.horizon)
    to_close, step = [0.0], min(shortest, widest)
    while to_close[-1] + 1.5 * step < game.horizon:
        to_close.append(to_close[-1] + step)
        step = min(max(step, to_close[-1]), widest)
    edges = game.horizon - np.array([*to_close, game.horizon])[::-1]
    edges[0], edges[-1] = 0.0, game.horizon
    return edges


def _levels(arising: Floats, order: int) -> NDArray[np.int64]:
    """(panels,) how often to bisect each panel so that its error, of order + 1 in its length, is a fair share of 1."""
    excess = np.maximum(arising * 2.0 * arising.size, 1e-300)
    return np.clip(np.ceil(np.log2(excess) / (order + 1)), 0, 4).astype(np.int64)


def _fixed_point(
    game: MarketMakingGame, edges: Floats, start: Sweep | None, method: UpdateRule, rtol: float, atol: float
) -> Sweep:
    """Fixed point of the mean quotes on the grid of nodes of these panels."""
    times = bisect(edges)
    if start is None:
        first = np.full(2 * times.size, 1.0 / game.fill_decay)
    else:
        first = np.concatenate([interpolate_rows(start.times, side, times) for side in start.path])
    last: list[tuple[Floats, Floats, Floats]] = []

    def phi(path: Floats) -> Floats:
        answer = reply(game, times, path.reshape(2, -1))
        last[:] = [answer]
        return answer[2].ravel()

    found = iterate(phi, first, method, lambda image: 0.1 * allowed_residual(game, image, rtol, atol))
    value, density, image = last[0]
    if not math.isfinite(found.residual):
        raise SolveError("the mean quotes left the range of floating point; damp the fixed point or bound the quotes")
    settled = found.residual <= allowed_residual(game, image, rtol, atol)
    return Sweep(times, found.point.reshape(2, -1), value, density, image, found.residual, found.sweeps, settled)


def _compare(game: MarketMakingGame, coarse: Sweep, fine: Sweep, rtol: float, atol: float) -> tuple[float, Floats]:
    """Largest difference at the common nodes in units of the tolerance, and how much of it arises in each panel.

    What arises in a panel is the error of its own two steps: each is taken from the fine solution, with the fine mean
    quotes put on the coarse grid.
    """
    largest = 0.0
    for rough, exact, unit in (
        (coarse.value, fine.value[::2], 1.0 / game.fill_decay),
        (coarse.density, fine.density[::2], 1.0),
        (coarse.image.T, fine.image.T[::2], 1.0 / game.fill_decay),
    ):
        largest = max(largest, float(np.max(np.abs(rough - exact) / (rtol * (unit + np.abs(exact)) + atol))))
    arising = np.zeros((coarse.times.size - 1) // 2)
    exact_value, exact_density = fine.value[::2], fine.density[::2]
    value, density, _ = reply(
        game, coarse.times, np.ascontiguousarray(fine.path[:, ::2]), (exact_value.copy(), exact_density.copy())
    )
    for rough, exact, unit in ((value, exact_value, 1.0 / game.fill_decay), (density, exact_density, 1.0)):
        scaled = np.max(np.abs(rough - exact) / (rtol * (unit + np.abs(exact)) + atol), axis=1)
        steps = scaled[:-1] if rough is value else scaled[1:]
        arising = np.maximum(arising, steps[::2] + steps[1::2])
    return largest, arising
