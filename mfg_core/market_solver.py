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
from mfg_core.kernels import march_bounded, march_law, march_linear, march_population, quote_means
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
EDGE_MASS = 1e-3


@dataclass(frozen=True, slots=True, eq=False)
class Sweep:
    """One evaluation of the fixed-point map on a grid: best reply to `path` (2, n), its population, their mean quotes."""

    times: Floats
    path: Floats
    value: Floats
    density: Floats
    image: Floats
    residual: float
    sweeps: int


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
            fine = _fixed_point(game, bisect(edges), coarse, method, rtol, atol)
        except StepTooLongError:
            edges, coarse = bisect(edges), None
            continue
        sweeps += fine.sweeps
        scaled, arising = _compare(game, coarse, fine, rtol, atol)
        best = fine, scaled / (2**order - 1)
        if best[1] <= 1.0 or not fine.residual <= _allowed(game, fine.image, rtol, atol):
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
    """Panel edges to start from: equal ones, shorter towards the close where a steep terminal penalty speeds fills up."""
    k, Q = game.fill_decay, game.max_inventory
    steepest = game.terminal_penalty * (2 * Q - 1)
    tightest = min(max(1.0 / k - steepest, game.min_half_spread), game.max_half_spread)
    exponent = min(-k * tightest, 600.0)
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
    found = iterate(
        lambda path: reply(game, times, path.reshape(2, -1))[2].ravel(),
        first,
        method,
        lambda image: 0.1 * _allowed(game, image, rtol, atol),
    )
    path = found.point.reshape(2, -1)
    value, density, image = reply(game, times, path)
    return Sweep(times, path, value, density, image, found.residual, found.sweeps)


def interpolate_rows(times: Floats, values: Floats, at: Floats) -> Floats:
    """One path (nt+1,) at other times, by the quadratic of each pair of steps."""
    return interpolate_panels(times, values[:, None], at, np.zeros(at.size, dtype=np.intp))


def reply(game: MarketMakingGame, times: Floats, path: Floats) -> tuple[Floats, Floats, Floats]:
    """(V, population, its mean quotes (2, n)) when everybody replies to the mean quotes `path` (2, n)."""
    nodes, nx = times.size, game.states.size
    value, density, image = np.empty((nodes, nx)), np.empty((nodes, nx)), np.empty((2, nodes))
    k, low, high = game.fill_decay, game.min_half_spread, game.max_half_spread
    rates = (game.ask_arrival, game.bid_arrival, k, game.competition)
    value[-1] = -game.terminal_penalty * game.states**2
    density[0] = game.initial_density
    if game.bounded:
        slopes = np.empty((nodes, nx))
        good = march_bounded(times, *path, *rates, game.running_penalty, low, high, value, slopes)
        good = good and march_law(times, *path, *rates, low, high, value, slopes, density)
    else:
        halves = nodes - 1
        between, tilts = np.empty((halves, nx)), np.empty((2 * halves, nx))
        terms = np.empty(2 * halves, dtype=np.int64)
        value[-1] *= k
        rest = (game.running_penalty, value, between, tilts, terms)
        good = march_linear(times, *path, *rates, *rest)
        if good:
            march_population(times, *path, *rates, *rest, density)
        value /= k
    if not good:
        raise StepTooLongError
    quote_means(value, density, k, low, high, image[0], image[1])
    return value, density, image


def _compare(game: MarketMakingGame, coarse: Sweep, fine: Sweep, rtol: float, atol: float) -> tuple[float, Floats]:
    """Largest difference at the common nodes in units of the tolerance, and how much of it arises in each panel."""
    unit = 1.0 / game.fill_decay
    arising = np.zeros((coarse.times.size - 1) // 2)
    largest = 0.0
    for rough, exact, floor in (
        (coarse.value, fine.value[::2], unit),
        (coarse.density, fine.density[::2], 1.0),
        (coarse.image.T, fine.image.T[::2], unit),
    ):
        scaled = (rough - exact) / (rtol * (floor + np.abs(exact)) + atol)
        largest = max(largest, float(np.max(np.abs(scaled))))
        arising = np.maximum(arising, np.max(np.abs(scaled[2::2] - scaled[:-2:2]), axis=1))
    return largest, arising


def _certify(
    game: MarketMakingGame, sweep: Sweep, scaled_error: float, sweeps: int, rtol: float, atol: float
) -> MarketMakingEquilibrium:
    """The equilibrium object; the crowd is the population that plays the returned policy."""
    k, states = game.fill_decay, game.states
    ask, bid = best_quotes(game, sweep.value)
    rates = [
        arrival * np.exp(-k * (quote - game.competition * mean[:, None]))
        for arrival, quote, mean in zip((game.ask_arrival, game.bid_arrival), (ask, bid), sweep.image, strict=True)
    ]
    flows = [np.nansum(sweep.density * rate, axis=1) for rate in rates]
    allowed = _allowed(game, sweep.image, rtol, atol)
    status = Status.CONVERGED
    if not sweep.residual <= allowed:
        status = Status.SWEEPS
    elif not scaled_error <= 1.0:
        status = Status.STEPS
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
    return 0.0
