"""Solves the market-making game: fixed point on the mean quotes, time grid refined where the error arises."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mfg_core.certificate import Certificate, Status
from mfg_core.errors import EdgeMassWarning, SolveError
from mfg_core.fixed_point import UpdateRule, iterate
from mfg_core.kernels import march_bounded, march_law, march_linear, march_population, march_quoted, quote_means
from mfg_core.market_making import (
    MarketMakingEquilibrium,
    MarketMakingGame,
    MarketMakingMeanField,
    MarketMakingPolicy,
    interpolate_panels,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

FIRST_PANELS = 16
LARGEST_EXPONENT = 600.0
FEWEST_CHECK_TIMES = 257
EDGE_MASS = 1e-3


@dataclass(frozen=True, slots=True, eq=False)
class Sweep:
    """The fixed-point map at `path` (2, n) on a grid: the best reply's value, its population, their mean quotes.

    `settled` is false when the fixed point on this grid was given up.
    """

    times: Floats
    path: Floats
    value: Floats
    density: Floats
    image: Floats
    residual: float
    sweeps: int
    settled: bool


class StepTooLongError(Exception):
    """A step of the grid is too long for the scheme."""


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
    return _certify(game, *best, sweeps, rtol, atol)


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


def bisect(edges: Floats) -> Floats:
    """Edges with the middle of each panel put between; for panel edges the result is also the grid of nodes."""
    out = np.empty(2 * edges.size - 1)
    out[::2] = edges
    out[1::2] = 0.5 * (edges[1:] + edges[:-1])
    return out


def split(edges: Floats, levels: NDArray[np.int64]) -> Floats:
    """Edges with panel j cut into 2**levels[j] equal parts."""
    parts = [
        np.linspace(left, right, 2**level, endpoint=False)
        for left, right, level in zip(edges[:-1], edges[1:], levels, strict=True)
    ]
    return np.concatenate([*parts, edges[-1:]])


def _levels(arising: Floats, order: int) -> NDArray[np.int64]:
    """(panels,) how often to bisect each panel so that its error, of order + 1 in its length, is a fair share of 1."""
    excess = np.maximum(arising * 2.0 * arising.size, 1e-300)
    return np.clip(np.ceil(np.log2(excess) / (order + 1)), 0, 4).astype(np.int64)


def _allowed(game: MarketMakingGame, path: Floats, rtol: float, atol: float) -> float:
    """Residual allowed: rtol (1/k + largest |mean quote|) + atol, price units."""
    return rtol * (1.0 / game.fill_decay + float(np.max(np.abs(path)))) + atol


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

    found = iterate(phi, first, method, lambda image: 0.1 * _allowed(game, image, rtol, atol))
    value, density, image = last[0]
    if not math.isfinite(found.residual):
        raise SolveError("the mean quotes left the range of floating point; damp the fixed point or bound the quotes")
    settled = found.residual <= _allowed(game, image, rtol, atol)
    return Sweep(times, found.point.reshape(2, -1), value, density, image, found.residual, found.sweeps, settled)


def interpolate_rows(times: Floats, values: Floats, at: Floats) -> Floats:
    """One path (nt+1,) at other times, by the quadratic of each pair of steps."""
    return interpolate_panels(times, values[:, None], at, np.zeros(at.size, dtype=np.intp))


def reply(
    game: MarketMakingGame, times: Floats, path: Floats, start: tuple[Floats, Floats] | None = None
) -> tuple[Floats, Floats, Floats]:
    """(V, population, its mean quotes (2, n)) when everybody replies to the mean quotes `path` (2, n).

    With `start`, a (value, density) on the same grid, each step starts from it instead of from the step before.
    """
    nodes, nx = times.size, game.states.size
    value, density, image = np.empty((nodes, nx)), np.empty((nodes, nx)), np.empty((2, nodes))
    k, low, high = game.fill_decay, game.min_half_spread, game.max_half_spread
    rates = (times, path[0], path[1], game.ask_arrival, game.bid_arrival, k, game.competition)
    value[-1] = -game.terminal_penalty * game.states**2
    density[0] = game.initial_density
    from_value, from_density = start or (value, density)
    if game.bounded:
        slopes = np.empty((nodes, nx))
        good = march_bounded(*rates, game.running_penalty, low, high, from_value, value, slopes)
        good = good and march_law(*rates, low, high, from_value, slopes, from_density, density)
    else:
        halves = nodes - 1
        between, tilts = np.empty((halves, nx)), np.empty((2 * halves, nx))
        terms = np.empty(2 * halves, dtype=np.int64)
        value[-1] *= k
        steps = (k * from_value if start else value, value, between, tilts, terms)
        moves, penalties = weigh_moves(game, times, path), 0.5 * np.diff(times) * k * game.running_penalty
        good = march_linear(moves, penalties, *steps)
        if good:
            march_population(moves, penalties, *steps, from_density, density)
        value /= k
    if not good:
        raise StepTooLongError
    quote_means(value, density, k, low, high, image[0], image[1])
    return value, density, image


def weigh_moves(game: MarketMakingGame, times: Floats, path: Floats) -> Floats:
    """(2, halves, 2) off-diagonals A/e exp(k c path) integrated with the weights of each half's two exponentials."""
    start, centre, end = path[:, :-2:2], path[:, 1:-1:2], path[:, 2::2]
    quarters = np.empty((2, times.size - 1))
    quarters[:, ::2] = (3.0 * start + 6.0 * centre - end) / 8.0
    quarters[:, 1::2] = (3.0 * end + 6.0 * centre - start) / 8.0
    crowd = game.fill_decay * game.competition
    with np.errstate(over="ignore"):
        at_nodes, at_quarters = np.exp(crowd * path), 4.0 * np.exp(crowd * quarters)
    left, right = at_nodes[:, :-1], at_nodes[:, 1:]
    arrivals = np.array([[game.ask_arrival], [game.bid_arrival]]) / (12.0 * math.e)
    near_right, near_left = 3.0 * right + at_quarters - left, 3.0 * left + at_quarters - right
    return np.stack([near_right, near_left], axis=2) * (arrivals * np.diff(times))[:, :, None]


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


def _certify(
    game: MarketMakingGame, sweep: Sweep, scaled_error: float, sweeps: int, rtol: float, atol: float
) -> MarketMakingEquilibrium:
    """The equilibrium object; the crowd is the population that plays the returned policy."""
    k, states = game.fill_decay, game.states
    ask, bid = best_quotes(game, sweep.value)
    with np.errstate(divide="ignore"):
        log_density = np.log(sweep.density)
    flows = [
        np.nansum(arrival * np.exp(log_density + k * (game.competition * mean[:, None] - quote)), axis=1)
        for arrival, quote, mean in zip((game.ask_arrival, game.bid_arrival), (ask, bid), sweep.image, strict=True)
    ]
    allowed = _allowed(game, sweep.image, rtol, atol)
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


def best_quotes(game: MarketMakingGame, value: Floats) -> tuple[Floats, Floats]:
    """(ask, bid) best half-spreads (nt+1, nx) for a value, nan where the side is not quoted."""
    unit, low, high = 1.0 / game.fill_decay, game.min_half_spread, game.max_half_spread
    ask, bid = np.full_like(value, np.nan), np.full_like(value, np.nan)
    ask[:, 1:] = np.clip(unit - (value[:, :-1] - value[:, 1:]), low, high)
    bid[:, :-1] = np.clip(unit - (value[:, 1:] - value[:, :-1]), low, high)
    return ask, bid


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
    columns = np.arange(game.states.size)
    for side, mean, arrival, best in zip(
        (policy.ask, policy.bid), paths, (game.ask_arrival, game.bid_arrival), best_quotes(game, value), strict=True
    ):
        quotes = interpolate_panels(policy.times, side, between[:, None], columns)
        quotes = np.clip(quotes, game.min_half_spread, game.max_half_spread)
        exponent = game.fill_decay * (game.competition * mean[:, None] - quotes)
        rates.append(np.where(np.isnan(quotes), 0.0, arrival * np.exp(np.minimum(exponent, LARGEST_EXPONENT))))
        step = -1 if side is policy.ask else 1
        gap = np.roll(value, -step, axis=1) - value
        ideal = arrival * np.exp(
            np.minimum(game.fill_decay * (game.competition * mean[::2, None] - best), LARGEST_EXPONENT)
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
