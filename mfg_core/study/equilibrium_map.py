"""The fixed-point map around a solved equilibrium: a mean field on its time grid in, the one that replies make out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mfg_core.family import finite_reply
from mfg_core.family.finite_state import FiniteStateEquilibrium
from mfg_core.family.refinement import Reply
from mfg_core.market import market_reply
from mfg_core.market.competition import Share
from mfg_core.market.intensity_shapes import Exponential
from mfg_core.market.kernels import quote_means
from mfg_core.market.market_family import as_family
from mfg_core.market.market_making import MarketMakingEquilibrium

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from mfg_core.family.finite_state import FiniteStateGame

    Floats = NDArray[np.float64]

MARCH_TOLERANCE = 1e-13
"""Left by policy iteration, so that differences of the map are as exact as rounding lets them be."""


def equilibrium_map(
    equilibrium: MarketMakingEquilibrium | FiniteStateEquilibrium,
) -> tuple[Callable[[Floats], Floats], Floats]:
    """(Phi, m): the undamped map on the equilibrium's time grid, and the equilibrium's mean field as one vector.

    For a market-making game m holds the ask path, then the bid path (soft means under `Share`); for a finite-state game
    one path after the other.
    """
    times = equilibrium.times
    if isinstance(equilibrium, FiniteStateEquilibrium):
        return _finite_map(equilibrium.game, times), np.ascontiguousarray(equilibrium.mean_field.T).ravel()
    game = equilibrium.game
    if game.bounded or not isinstance(game.intensity_shape, Exponential):
        family = as_family(game)
        control = np.concatenate([equilibrium.policy.ask[:, 1:], equilibrium.policy.bid[:, :-1]], axis=1)
        field = family.field(times, equilibrium.density, control)
        return _finite_map(family, times), np.ascontiguousarray(field.T).ravel()
    point = np.empty((2, times.size))
    soft = game.fill_decay if isinstance(game.competition, Share) else 0.0
    quote_means(equilibrium.value, equilibrium.density, game.margin, soft, point[0], point[1])

    def phi(path: Floats) -> Floats:
        return market_reply.reply(game, times, path.reshape(2, -1))[2].ravel()

    return phi, point.ravel()


def _finite_map(game: FiniteStateGame, times: Floats) -> Callable[[Floats], Floats]:
    setting = finite_reply.set_up(game, MARCH_TOLERANCE, 0.0)
    near: list[Reply] = []

    def phi(path: Floats) -> Floats:
        known = None
        if near and near[0].slopes is not None:
            known = near[0].value, near[0].slopes
        answer = finite_reply.reply(setting, times, path.reshape(-1, times.size), known)[0]
        near[:] = [answer]
        return answer.image.ravel()

    return phi
