"""How a fixed-point method converges on a solved game's own time grid, sweep by sweep."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from mfg_core.family.finite_state import FiniteStateEquilibrium, FiniteStateGame
from mfg_core.family.refinement import StepTooLongError
from mfg_core.iteration.fixed_point import iterate
from mfg_core.market.entry_exit_policy import EntryExitEquilibrium
from mfg_core.market.maker_types import MixedMarketMakingEquilibrium
from mfg_core.market.market_family import as_family
from mfg_core.market.market_making import MarketMakingEquilibrium
from mfg_core.market.regime_policy import RegimeSwitchingEquilibrium
from mfg_core.study.equilibrium_map import equilibrium_map

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mfg_core.iteration.methods import FixedPointMethod

    Floats = NDArray[np.float64]

Equilibrium: TypeAlias = (
    MarketMakingEquilibrium
    | FiniteStateEquilibrium
    | MixedMarketMakingEquilibrium
    | RegimeSwitchingEquilibrium
    | EntryExitEquilibrium
)


def residual_history(equilibrium: Equilibrium, method: FixedPointMethod, most: int = 60) -> tuple[float, ...]:
    """Undamped residuals, one per evaluation of the map, of `method` from the game's first guess of the mean field.

    On the equilibrium's time grid, to its certificate's tolerance or `most` evaluations; shorter where the iteration
    leaves what the grid can resolve.
    """
    game: FiniteStateGame = (
        as_family(equilibrium.game) if isinstance(equilibrium, MarketMakingEquilibrium) else equilibrium.game
    )
    times, proof = equilibrium.times, equilibrium.certificate
    first = np.repeat(np.asarray(game.first_field, dtype=np.float64), times.size)
    if not isinstance(equilibrium, MarketMakingEquilibrium | FiniteStateEquilibrium):
        # The map needs only the game, the times and a mean field of the right shape.
        none = np.empty((times.size, 0))
        equilibrium = FiniteStateEquilibrium(game, times, none, none, none, first.reshape(-1, times.size).T, proof)
    image_of = equilibrium_map(equilibrium)[0]
    residuals: list[float] = []

    def phi(path: Floats) -> Floats:
        image = image_of(path)
        residuals.append(float(np.max(np.abs(image - path))))
        return image

    rule = replace(method, max_sweeps=min(method.max_sweeps, most))
    with suppress(StepTooLongError):
        iterate(phi, first, rule, lambda _: proof.tolerance)
    return tuple(residual for residual in residuals[:most] if np.isfinite(residual))
