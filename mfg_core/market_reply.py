"""The market-making game's fixed-point map: mean quotes in, the makers' best reply and its mean quotes out."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mfg_core.kernels import march_bounded, march_law, march_linear, march_population, quote_means
from mfg_core.market_making import MarketMakingGame

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Sweep:
    """The fixed-point map at `path` (2, n) on a grid: the best reply's value, its population, their mean quotes.

    `settled` is false when the fixed point on this grid was given up; `moved` is how far the last plain sweep moved
    value and population, in units of the tolerance.
    """

    times: Floats
    path: Floats
    value: Floats
    density: Floats
    image: Floats
    residual: float
    sweeps: int
    settled: bool
    moved: float


class StepTooLongError(Exception):
    """A step of the grid is too long for the scheme."""


def reply(
    game: MarketMakingGame, times: Floats, path: Floats, start: tuple[Floats, Floats] | None = None
) -> tuple[Floats, Floats, Floats]:
    """(V, population, its mean quotes (2, n)) when everybody replies to the mean quotes `path` (2, n).

    With `start`, a (value, density) on the same grid, each step starts from it instead of from the step before.
    """
    nodes, nx = times.size, game.states.size
    value, density, image = np.empty((nodes, nx)), np.empty((nodes, nx)), np.empty((2, nodes))
    k, low, high = game.fill_decay, game.min_half_spread, game.max_half_spread
    rates = (times, path[0], path[1], game.ask_arrival, game.bid_arrival, k, game.crowd_weight)
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
    crowd = game.fill_decay * game.crowd_weight
    arrivals = np.array([[game.ask_arrival], [game.bid_arrival]]) / (12.0 * math.e)
    # What overflows is refused by the march as a step that is too long.
    with np.errstate(over="ignore", invalid="ignore"):
        at_nodes, at_quarters = np.exp(crowd * path), 4.0 * np.exp(crowd * quarters)
        left, right = at_nodes[:, :-1], at_nodes[:, 1:]
        near_right, near_left = 3.0 * right + at_quarters - left, 3.0 * left + at_quarters - right
        return np.stack([near_right, near_left], axis=2) * (arrivals * np.diff(times))[:, :, None]


def best_quotes(game: MarketMakingGame, value: Floats) -> tuple[Floats, Floats]:
    """(ask, bid) best half-spreads (nt+1, nx) for a value, nan where the side is not quoted."""
    unit, low, high = 1.0 / game.fill_decay, game.min_half_spread, game.max_half_spread
    ask, bid = np.full_like(value, np.nan), np.full_like(value, np.nan)
    ask[:, 1:] = np.clip(unit - (value[:, :-1] - value[:, 1:]), low, high)
    bid[:, :-1] = np.clip(unit - (value[:, 1:] - value[:, :-1]), low, high)
    return ask, bid


def allowed_residual(game: MarketMakingGame, path: Floats, rtol: float, atol: float) -> float:
    """Residual allowed: rtol (1/k + largest |mean quote|) + atol, price units."""
    return rtol * (1.0 / game.fill_decay + float(np.max(np.abs(path)))) + atol
