"""How methods fare over many games, beside the contraction rate of each equilibrium."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mfg_core.errors import EdgeMassWarning, SolveError
from mfg_core.iteration.fixed_point import Anderson, Picard
from mfg_core.iteration.newton_krylov import NewtonKrylov
from mfg_core.solve import solve_mfg
from mfg_core.study.stability import contraction_rate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mfg_core.iteration.methods import FixedPointMethod
    from mfg_core.market.market_making import MarketMakingEquilibrium, MarketMakingGame

COMPARED = (Picard(), Anderson(), NewtonKrylov())


@dataclass(frozen=True, slots=True, eq=False)
class ScannedGame:
    """One game of a scan.

    Attributes
    ----------
    game : MarketMakingGame
    rate : float
        Contraction rate at the equilibrium of the first method that converged; nan when none did.
    evaluations : tuple of int or None
        Of the map, over all time grids, by each method; None where it did not converge.
    """

    game: MarketMakingGame
    rate: float
    evaluations: tuple[int | None, ...]


def scan_stability(
    games: Sequence[MarketMakingGame],
    *,
    methods: Sequence[FixedPointMethod] = COMPARED,
    rtol: float = 1e-6,
    atol: float = 1e-9,
) -> tuple[ScannedGame, ...]:
    """Contraction rate of each game and evaluations that each method needs, in the order of the games.

    Parameters
    ----------
    games : sequence of MarketMakingGame
    methods : sequence of method objects
        By default plain Picard, Anderson and Newton-Krylov with their own limits of sweeps.
    rtol, atol : float
        As for `solve_mfg`.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", EdgeMassWarning)
        return tuple(_scan(game, methods, rtol, atol) for game in games)


def _scan(game: MarketMakingGame, methods: Sequence[FixedPointMethod], rtol: float, atol: float) -> ScannedGame:
    found: MarketMakingEquilibrium | None = None
    evaluations: list[int | None] = []
    for method in methods:
        try:
            solved = solve_mfg(game, rtol=rtol, atol=atol, method=method)
        except SolveError:
            evaluations.append(None)
            continue
        found = found or solved
        evaluations.append(solved.certificate.iterations)
    return ScannedGame(game, contraction_rate(found) if found else math.nan, tuple(evaluations))
