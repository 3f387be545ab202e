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
    from collections.abc import Callable

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

FIRST_PANELS = 16

REMAINING = {False: 1.0 / 4.0, True: 1.0 / 3.0}
"""Error of a bisected grid over its difference from the coarse one, without and with bounds.

With bounds that of order 2. Without, 1/15 would be that of order 4, which is too low where the first steps from a steep
close are still long, or for the nodes that the coarse grid does not have.
"""


def solve_market_making(
    game: MarketMakingGame, method: UpdateRule, rtol: float, atol: float
) -> MarketMakingEquilibrium:
    """Equilibrium of the game, converged or not as its certificate says; see `solve_mfg` for the parameters.

    The scheme has order 4 in the time step (without bounds exponentials of the linear transform; with bounds
    Runge-Kutta 4 for the value and exponentials for the population, of order 2 across the times at which a quote
    reaches a bound). Each grid is compared with its bisection; panels whose share of the difference is too large are
    cut where a quote reaches a bound, else bisected, until the estimated error of every V(t, x), mean quote and
    probability is within rtol (unit + |quantity|) + atol, the unit being 1/k for V and quotes and 1 for probabilities.
    What the sweeps leave of the fixed point's error is in the estimate.
    """
    edges, share = first_edges(game), REMAINING[game.bounded]
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
        best = fine, share * scaled + fine.moved
        if best[1] <= 1.0 or not fine.settled:
            break
        levels = _levels(share * arising)
        cuts = bound_times(game, fine) if game.bounded else np.empty(0)
        cuts = cuts[levels[np.searchsorted(edges, cuts, side="right") - 1] > 0]
        if cuts.size:
            edges, coarse = _cut(edges, levels, cuts), None
        else:
            edges, coarse = (bisect(edges), fine) if np.mean(levels > 0) > 0.6 else (split(edges, levels), None)
    if best is None:
        raise SolveError(
            f"the market-making game needs more than {method.max_steps} time steps; raise max_steps, lower "
            "fill_decay * terminal_penalty * max_inventory, or raise min_half_spread",
            tolerance=rtol + atol,
        )
    return certify(game, *best, sweeps, rtol, atol)


def first_edges(game: MarketMakingGame) -> Floats:
    """Panel edges to start from: equal ones, shorter near the close where a steep terminal penalty speeds fills."""
    k, Q = game.fill_decay, game.max_inventory
    steepest = game.terminal_penalty * (2 * Q - 1)
    tightest = min(max(1.0 / k - steepest, game.min_half_spread), game.max_half_spread)
    exponent = min(max(-k * tightest, -LARGEST_EXPONENT), LARGEST_EXPONENT)
    slowest = math.exp(-exponent) / max(game.ask_arrival, game.bid_arrival)
    widest = game.horizon / FIRST_PANELS
    shortest = max(slowest, 1e-12 * game.horizon if game.bounded else 1e-5 * game.horizon)
    to_close, step = [0.0], min(shortest, widest)
    while to_close[-1] + 1.5 * step < game.horizon:
        to_close.append(to_close[-1] + step)
        step = min(max(step, to_close[-1]), widest)
    edges = game.horizon - np.array([*to_close, game.horizon])[::-1]
    edges[0], edges[-1] = 0.0, game.horizon
    return edges


def _levels(arising: Floats) -> NDArray[np.int64]:
    """(panels,) how often to bisect each panel so that its error, of order 5 in its length, is a fair share of 1."""
    excess = np.maximum(arising * 2.0 * arising.size, 1e-300)
    return np.clip(np.ceil(np.log2(excess) / 5.0), 0, 4).astype(np.int64)


def bound_times(game: MarketMakingGame, sweep: Sweep) -> Floats:
    """Sorted times at which some best quote reaches a bound, by the quadratic of each panel: there V is not smooth."""
    bounds = [bound for bound in (game.min_half_spread, game.max_half_spread) if math.isfinite(bound)]
    gaps = np.diff(sweep.value, axis=1)
    found = []
    for level in (sign * (bound - 1.0 / game.fill_decay) for bound in bounds for sign in (1.0, -1.0)):
        over = gaps - level
        half, state = np.nonzero(np.signbit(over[1:]) != np.signbit(over[:-1]))
        start = half // 2 * 2
        left, middle, right = (over[start + j, state] for j in range(3))
        bend = 2.0 * (left - 2.0 * middle + right)
        slope = right - left - bend
        # Of the two roots of left + slope s + bend s^2, written without cancellation, one is in this half.
        sum_ = -0.5 * (slope + np.copysign(np.sqrt(np.maximum(slope**2 - 4.0 * left * bend, 0.0)), slope))
        with np.errstate(divide="ignore", invalid="ignore"):
            roots = left / sum_, sum_ / bend
        from_half = 0.5 * (half % 2)
        share = np.where(np.abs(roots[0] - from_half - 0.25) <= 0.25, roots[0], roots[1])
        share = np.clip(np.nan_to_num(share), from_half, from_half + 0.5)
        found.append(sweep.times[start] + share * (sweep.times[start + 2] - sweep.times[start]))
    times = np.unique(np.concatenate(found))
    apart = 1e-13 * game.horizon
    times = times[(times > apart) & (times < game.horizon - apart)]
    return times[np.diff(times, prepend=-1.0) > apart]


def _cut(edges: Floats, levels: NDArray[np.int64], cuts: Floats) -> Floats:
    """Edges with the cuts put in; a panel cut well inside is not bisected too, since the cut may be all it needs."""
    panel = np.searchsorted(edges, cuts, side="right") - 1
    share = (cuts - edges[panel]) / (edges[panel + 1] - edges[panel])
    rest = levels.copy()
    rest[panel] = np.minimum(rest[panel], 1)
    rest[panel[(share > 0.01) & (share < 0.99)]] = 0
    joined = np.union1d(split(edges, rest), cuts)
    apart = np.diff(joined) > 1e-13 * edges[-1]
    return np.concatenate([joined[:-1][apart], joined[-1:]])


def _fixed_point(
    game: MarketMakingGame, edges: Floats, start: Sweep | None, method: UpdateRule, rtol: float, atol: float
) -> Sweep:
    """Fixed point of the mean quotes on the grid of nodes of these panels."""
    times = bisect(edges)
    if start is None:
        quote = min(max(1.0 / game.fill_decay, game.min_half_spread), game.max_half_spread)
        first = np.full(2 * times.size, quote)
    else:
        first = np.concatenate([interpolate_rows(start.times, side, times) for side in start.path])
    last: list[tuple[Floats, Floats, Floats]] = []

    def phi(path: Floats) -> Floats:
        answer = reply(game, times, path.reshape(2, -1))
        last[:] = [answer]
        return answer[2].ravel()

    def allowed(share: float) -> Callable[[Floats], float]:
        return lambda image: share * allowed_residual(game, image, rtol, atol)

    share, sweeps = 0.1, 0
    while True:
        found = iterate(phi, first, method, allowed(share))
        value, density, image = last[0]
        sweeps += found.sweeps
        if not math.isfinite(found.residual):
            raise SolveError(
                "the mean quotes left the range of floating point; damp the fixed point or bound the quotes"
            )
        path = found.point.reshape(2, -1)
        if not found.residual <= allowed_residual(game, image, rtol, atol):
            return Sweep(times, path, value, density, image, found.residual, sweeps, False, math.inf)
        # A small residual can still move V by much where fills are many; one plain sweep shows by how much, and the
        # sweeps after it would add a geometric series (twice that: the slowest mode may not show in the ratio yet).
        after, after_density, after_image = reply(game, times, image)
        sweeps += 1
        residual = float(np.max(np.abs(after_image - image)))
        unit, kept = 1.0 / game.fill_decay, min(residual / max(found.residual, 1e-300), 0.99)
        pairs = ((value, after, unit), (density, after_density, 1.0), (image, after_image, unit))
        moved = max(_scaled(rough, exact, scale, rtol, atol) for rough, exact, scale in pairs) * 2.0 / (1.0 - kept)
        if moved <= 0.1 or share < 0.1:
            return Sweep(times, image, after, after_density, after_image, residual, sweeps, True, moved)
        share, first = max(0.1 * share / moved, 1e-5), image.ravel()


def _scaled(rough: Floats, exact: Floats, unit: float, rtol: float, atol: float) -> float:
    """Largest difference in units of the tolerance."""
    return float(np.max(np.abs(rough - exact) / (rtol * (unit + np.abs(exact)) + atol)))


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
        largest = max(largest, _scaled(rough, exact, unit, rtol, atol))
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
