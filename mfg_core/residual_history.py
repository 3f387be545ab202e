"""How a fixed-point method converges on a solved game's own time grid, sweep by sweep."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from mfg_core.fixed_point import iterate
from mfg_core.market_reply import StepTooLongError, reply

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mfg_core.market_making import MarketMakingEquilibrium
    from mfg_core.methods import FixedPointMethod

    Floats = NDArray[np.float64]


def residual_history(
    equilibrium: MarketMakingEquilibrium, method: FixedPointMethod, most: int = 60
) -> tuple[float, ...]:
    """Undamped residuals, one per evaluation of the map, of `method` from the constant quotes that ignore inventory.

    On the equilibrium's time grid, to its certificate's tolerance or `most` evaluations; shorter where the iteration
    leaves what the grid can resolve.
    """
    game, times = equilibrium.game, equilibrium.times
    quote = min(max(game.margin, game.min_half_spread), game.max_half_spread)
    residuals: list[float] = []

    def phi(path: Floats) -> Floats:
        image = reply(game, times, path.reshape(2, -1))[2].ravel()
        residuals.append(float(np.max(np.abs(image - path))))
        return image

    rule = replace(method, max_sweeps=min(method.max_sweeps, most))
    with suppress(StepTooLongError):
        iterate(phi, np.full(2 * times.size, quote), rule, lambda _: equilibrium.certificate.tolerance)
    return tuple(residual for residual in residuals[:most] if np.isfinite(residual))
