"""Search for the equilibria of a game from many starting mean fields."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mfg_core.checks import require_count, require_positive
from mfg_core.errors import SolveError
from mfg_core.family.finite_solver import solve_finite_state
from mfg_core.family.time_grid import interpolate_rows
from mfg_core.iteration.newton_krylov import NewtonKrylov
from mfg_core.market.market_family import as_family
from mfg_core.market.market_making import MarketMakingGame

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from mfg_core.family.finite_state import FiniteStateEquilibrium, FiniteStateGame
    from mfg_core.iteration.methods import FixedPointMethod

    Floats = NDArray[np.float64]

KNOTS = 4
"""Times between which a random crowd is linear."""

COMPARED = 65
"""Equally spaced times at which two equilibria are compared."""


@dataclass(frozen=True, slots=True, eq=False)
class EquilibriumSearch:
    """What a search found.

    Attributes
    ----------
    equilibria : tuple of FiniteStateEquilibrium
        Converged and distinct, in the order in which they were found.
    hits : tuple of int
        How many starts ended at each.
    failures : tuple of str
        Why the other starts ended nowhere.
    """

    equilibria: tuple[FiniteStateEquilibrium, ...]
    hits: tuple[int, ...]
    failures: tuple[str, ...]


def find_equilibria(
    game: FiniteStateGame | MarketMakingGame,
    *,
    starts: int = 16,
    seed: int = 0,
    method: FixedPointMethod | None = None,
    rtol: float = 1e-6,
    atol: float = 1e-9,
    apart: float = 1e-3,
) -> EquilibriumSearch:
    """The distinct equilibria that a method reaches from the mean fields of random crowds.

    Finding one only is no proof that there is one only. The default method, Newton-Krylov, reaches equilibria that are
    unstable under plain replies too. The first start is the game's own first guess; each other one is the field of a
    crowd with random densities and controls (best ones for random values), linear in time between a few knots.

    Parameters
    ----------
    game : FiniteStateGame or MarketMakingGame
        A market-making game is solved as its finite-state form, whose fields are the mean ask and bid.
    starts : int
        How many.
    seed : int
        Of the random crowds.
    method : method object, optional
    rtol, atol : float
        Tolerances of each solve.
    apart : float
        Two equilibria are distinct when a mean field differs by more than this, relative to its unit + its size.

    Raises
    ------
    ValueError
        When the game's transitions or ends make no sense.
    """
    form: FiniteStateGame = as_family(game) if isinstance(game, MarketMakingGame) else game
    rng = np.random.default_rng(seed)
    found: list[FiniteStateEquilibrium] = []
    hits: list[int] = []
    failures: list[str] = []
    require_positive("apart", apart)
    for number in range(require_count("starts", starts)):
        start = random_field(form, rng) if number else None
        try:
            reached = solve_finite_state(form, method or NewtonKrylov(), rtol, atol, start=start)
        except SolveError as error:
            failures.append(str(error))
            continue
        if not reached.certificate.converged:
            failures.append(reached.certificate.status.value)
            continue
        near = [distance(known, reached) <= apart for known in found]
        if any(near):
            hits[near.index(True)] += 1
        else:
            found.append(reached)
            hits.append(1)
    return EquilibriumSearch(tuple(found), tuple(hits), tuple(failures))


def distance(first: FiniteStateEquilibrium, second: FiniteStateEquilibrium) -> float:
    """Largest difference of two mean fields relative to unit + size."""
    times = np.linspace(0.0, first.game.horizon, COMPARED)
    one, other = (interpolate_rows(each.times, each.mean_field, times) for each in (first, second))
    return float(np.max(np.abs(one - other) / (first.game.field_unit + np.abs(one))))


def random_field(game: FiniteStateGame, rng: np.random.Generator) -> Callable[[Floats], Floats]:
    """The mean field, (nt,) to (fields, nt), of a random crowd."""
    n = game.initial_density.size
    knots = np.linspace(0.0, game.horizon, KNOTS)
    laws = rng.dirichlet(np.full(n, 0.5), KNOTS)
    laws[0] = game.initial_density
    spread = game.value_unit * 4.0 ** rng.uniform(-1.0, 1.0)
    values = game.terminal_value + spread * rng.normal(size=(KNOTS, n))
    values[-1] = game.terminal_value

    def start(times: Floats) -> Floats:
        density, value = (
            np.stack([np.interp(times, knots, column) for column in rows.T], axis=1) for rows in (laws, values)
        )
        guess = np.repeat(np.asarray(game.first_field, dtype=np.float64)[None, :], times.size, axis=0)
        field = game.field(times, density, game.control(times, value, guess))
        return np.ascontiguousarray(np.asarray(field, dtype=np.float64).T)

    return start
