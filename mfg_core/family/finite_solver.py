"""Solves any finite-state game: fixed point on the mean field, time grid refined where the error arises."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mfg_core.errors import SolveError
from mfg_core.family.finite_certificate import certify
from mfg_core.family.finite_reply import Setting, best_play, march_back, march_forth, play, reply, set_up
from mfg_core.family.finite_state import KinkedGame
from mfg_core.family.refinement import Reply, Sweep, grade_edges, solve_on_grids
from mfg_core.family.time_grid import crossing_times, interpolate_rows, interpolate_smooth
from mfg_core.iteration.work import Work

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from mfg_core.family.finite_certificate import ControlBetween
    from mfg_core.family.finite_state import FiniteStateEquilibrium, FiniteStateGame
    from mfg_core.iteration.fixed_point import UpdateRule

    Floats = NDArray[np.float64]

ERROR_SHARE = 1.0 / 4.0
"""Error of a bisected grid over its difference from the coarse one; long first steps miss the 1/15 of order 4."""

SHORTEST_PANEL = 1e-12
"""Of the horizon, in the grid to start from: a few thousand units of rounding of the time."""


@dataclass(frozen=True, slots=True, eq=False)
class MarchedGame:
    """A finite-state game as the refinement of grids sees it."""

    setting: Setting
    kinked: KinkedGame | None
    start: Callable[[Floats], Floats] | None = None
    error_share: float = ERROR_SHARE

    @property
    def value_unit(self) -> float:
        """The game's."""
        return self.setting.value_unit

    @property
    def field_unit(self) -> float:
        """The game's."""
        return self.setting.game.field_unit

    def first_path(self, times: Floats) -> Floats:
        """The start that was asked for, else the game's first field at all times."""
        if self.start is not None:
            return self.start(times)
        first = np.asarray(self.setting.game.first_field, dtype=np.float64)
        return np.repeat(first[:, None], times.size, axis=1)

    def start_from(self, known: Sweep, times: Floats) -> Reply:
        """The known value on other times."""
        assert known.slopes is not None
        value = interpolate_smooth(known.times, known.value, known.slopes, times)
        slopes = interpolate_rows(known.times, known.slopes, times)
        return Reply(value, np.empty(0), np.empty(0), slopes)

    def reply(self, times: Floats, path: Floats, near: Reply | None) -> Reply:
        """The best reply to `path` and its population."""
        return reply(self.setting, times, path, _known(near))[0]

    @property
    def work(self) -> Work:
        """The setting's."""
        return self.setting.work

    def foresee(self, times: Floats, path: Floats, reply: Reply) -> Floats:
        """The image: nothing is known about a game in general."""
        return reply.image

    def reply_by_step(self, times: Floats, path: Floats, exact: Reply) -> tuple[Floats, Floats]:
        """(value, density) of which each step starts from `exact`."""
        network, known = self.setting.network, _known(exact)
        assert known is not None
        at = best_play(self.setting, times, *known, path)
        value, density = exact.value.copy(), exact.density.copy()
        march_back(network, times, at, exact.value, value)
        march_forth(network, times, at, exact.density, density)
        return value, density

    def kinks(self, known: Sweep) -> Floats:
        """The times at which the game says that its control is not smooth."""
        if self.kinked is None:
            return np.empty(0)
        return crossing_times(known.times, self.kinked.switches(known.times, known.value, known.image.T))


def solve_finite_state(
    game: FiniteStateGame,
    method: UpdateRule,
    rtol: float,
    atol: float,
    *,
    start: Callable[[Floats], Floats] | None = None,
    control_at: ControlBetween | None = None,
    work: Work | None = None,
) -> FiniteStateEquilibrium:
    """Equilibrium of a finite-state game, converged or not as its certificate says.

    The unknown of the fixed point is the mean field on the nodes of a time grid. Given it, V follows by policy
    iteration over all nodes at once, in which each policy's value and its population are marched with the same
    exponentials of the generator, one transposed: order 4, rates never negative, mass kept to rounding. Controls
    half-way between nodes are the best ones for the cubic through V and V'. Grids are refined as `solve_on_grids` says,
    until V, the mean field and the probabilities are within rtol (unit + |quantity|) + atol.

    A round of policy iteration costs one call each of the game's `control`, `rates` and `reward` on all times, and one
    march: steps times transitions times (largest exit rate times step + about 12).

    Parameters
    ----------
    game : FiniteStateGame
        Also a `KinkedGame` if its control is not smooth in time, a `RiskSensitiveGame` if V enters its payments.
    method : UpdateRule
        Anderson, Picard or another method of the fixed point.
    rtol, atol : float
    start : callable, optional
        Mean field (fields, nt) at times (nt,) to start from instead of `game.first_field`.
    control_at : callable, optional
        (times, control, t) to the control at times t, as the caller reads the returned one between its times; its
        exploitability is measured. By default it is `FiniteStateEquilibrium.control_at`.
    work : Work, optional
        Work done and allowed, when it is shared with other solves; by default `method.max_work`.

    Raises
    ------
    ValueError
        When the game's transitions or ends make no sense.
    SolveError
        When no grid of at most `method.max_steps` is fine enough for the game's rates, when the work is spent before
        there is one, when a rate is negative, or when the mean field leaves the range of floating point.
    """
    setting = set_up(game, rtol, atol, work or Work(method.max_work))
    problem = MarchedGame(setting, game if isinstance(game, KinkedGame) else None, start)
    # What overflows is not finite, and a march over it is refused as a step that is too long.
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        found = solve_on_grids(problem, first_edges(setting), method, rtol, atol)
        if found is None and setting.work.spent:
            raise setting.work.refusal(rtol + atol)
        if found is None:
            raise SolveError(
                f"the game needs more than {method.max_steps} time steps; raise max_steps, or lower its transition "
                "rates (they follow the differences of its terminal value)",
                tolerance=rtol + atol,
            )
        return certify(setting, *found, control_at)


def first_edges(setting: Setting) -> Floats:
    """Panel edges to start from: equal ones, shorter near the close where its value makes rates fast."""
    game = setting.game
    t, value = np.array([game.horizon]), setting.terminal_value[None, :]
    field = np.asarray(game.first_field, dtype=np.float64)[None, :]
    with np.errstate(over="ignore", invalid="ignore"):
        at = play(setting, t, np.asarray(game.control(t, value, field)), value, field)
    exits = np.bincount(setting.network.sources, at.tangent_rates[0], value.shape[1])
    fastest = float(np.nan_to_num(exits, nan=np.inf).max(initial=0.0))
    slowest = 1.0 / fastest if fastest > 0 else game.horizon
    return grade_edges(game.horizon, max(slowest, SHORTEST_PANEL * game.horizon))


def _known(near: Reply | None) -> tuple[Floats, Floats] | None:
    return None if near is None or near.slopes is None else (near.value, near.slopes)
