"""Where to start the solve of a market-making game from the equilibrium of a similar one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mfg_core.family.time_grid import interpolate_rows

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from mfg_core.market.market_making import MarketMakingEquilibrium, MarketMakingGame

    Floats = NDArray[np.float64]


def path_near(known: MarketMakingEquilibrium, game: MarketMakingGame) -> Callable[[Floats], Floats]:
    """Mean quotes (2, nt) at times (nt,) of `game`: the known ones in units of 1/k and of the horizon.

    Its time grid is no good start: the panels that one game needs cut are not those of the next, and grids only grow.
    """
    times = known.times * (game.horizon / known.game.horizon)
    scale = known.game.fill_decay / game.fill_decay
    path = np.stack([known.mean_field.ask, known.mean_field.bid], axis=1)
    path = game.margin + (path - known.game.margin) * scale

    def start(at: Floats) -> Floats:
        return np.ascontiguousarray(interpolate_rows(times, path, np.minimum(at, times[-1])).T)

    return start
