"""The market-making game's fixed-point map: mean quotes in, the makers' best reply and its mean quotes out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mfg_core.family.refinement import StepTooLongError
from mfg_core.market.competition import Share
from mfg_core.market.kernels import quote_means
from mfg_core.market.linear_kernels import march_linear
from mfg_core.market.market_making import MarketMakingGame, initial_law, inventories

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mfg_core.iteration.work import Work

    Floats = NDArray[np.float64]

STEP_STATES = 8
"""States' worth of what a step costs whatever their number."""

TOO_LONG_COST = 100.0
"""Of a march that meets a step that is too long, per node and state, in terms of a series."""


def reply(
    game: MarketMakingGame,
    times: Floats,
    path: Floats,
    start: tuple[Floats, Floats] | None = None,
    work: Work | None = None,
) -> tuple[Floats, Floats, Floats]:
    """(V, population, its mean quotes (2, n)) when everybody replies to the mean quotes `path` (2, n).

    With `start`, a (value, density) on the same grid, each step starts from it instead of from the step before. Under
    `Share` mean quotes are soft means, -log(mean of exp(-k quote))/k. What it costs is added to `work`.
    """
    density, image = np.empty((times.size, 2 * game.max_inventory + 1)), np.empty((2, times.size))
    density[0] = initial_law(game.max_inventory, game.initial_mean, game.initial_std)
    value = _march(game, times, path, start, density, work)
    soft = game.fill_decay if isinstance(game.competition, Share) else 0.0
    quote_means(value, density, game.margin, soft, image[0], image[1])
    return value, density, image


def best_value(game: MarketMakingGame, times: Floats, path: Floats) -> Floats:
    """V alone, of the best reply to the mean quotes `path` (2, n)."""
    return _march(game, times, path, None, np.empty((0, 2 * game.max_inventory + 1)))


def _march(
    game: MarketMakingGame,
    times: Floats,
    path: Floats,
    start: tuple[Floats, Floats] | None,
    density: Floats,
    work: Work | None = None,
) -> Floats:
    """V; fills `density` from its first row, unless it has no rows."""
    k = game.fill_decay
    log_w = np.empty((times.size, density.shape[1]))
    log_w[-1] = -k * game.terminal_penalty * inventories(game.max_inventory) ** 2
    terms = march_linear(
        times,
        path,
        np.log((game.ask_arrival, game.bid_arrival)) + game.log_hamiltonian_factor,
        k * game.crowd_weight,
        1.0 + game.risk_aversion / k,
        k * game.running_penalty,
        start is not None,
        k * start[0] if start else log_w,
        start[1] if start else density,
        log_w,
        density,
    )
    if work is not None:
        work.add((log_w.shape[1] + STEP_STATES) * (terms or TOO_LONG_COST * times.size))
    if terms == 0.0:
        raise StepTooLongError
    return np.divide(log_w, k, out=log_w)


def mean_quotes(game: MarketMakingGame, value: Floats, density: Floats) -> Floats:
    """(2, n) mean half-spreads of those who quote, asks first, whatever the form of competition."""
    means = np.empty((2, value.shape[0]))
    quote_means(value, density, game.margin, 0.0, means[0], means[1])
    return means


def best_quotes(game: MarketMakingGame, value: Floats) -> tuple[Floats, Floats]:
    """(ask, bid) best half-spreads (nt+1, nx) for a value, nan where the side is not quoted."""
    ask, bid = np.full_like(value, np.nan), np.full_like(value, np.nan)
    gap = value[:, 1:] - value[:, :-1]
    np.add(game.margin, gap, out=ask[:, 1:])
    np.subtract(game.margin, gap, out=bid[:, :-1])
    return ask, bid
