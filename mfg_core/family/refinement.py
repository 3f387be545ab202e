"""Solves a fixed point on a time grid and refines the grid where the error arises, for any game with two marches."""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from mfg_core.errors import SolveError
from mfg_core.family.local_polynomial import interpolate_local
from mfg_core.family.time_grid import bisect, divide, interpolate_rows
from mfg_core.iteration.fixed_point import UpdateRule, iterate

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from mfg_core.iteration.work import Work

    Floats = NDArray[np.float64]

FIRST_PANELS = 16

FIRST_CUTS = 6
"""Times that the first grid is cut anew at the kinks."""

CUT_SHARE = 1e-4
"""Of a panel: a kink that is no farther than that from an edge needs no new cut on the first grid."""

FIRST_SLACK = 1000.0
"""Most that the tolerance of a fixed point is loosened."""

SHORTEST_PANEL = 1e-14
"""Of the horizon: below it the nodes of a panel are no longer apart in floating point."""

AIM = 0.5
"""Error aimed at when panels are divided, in units of the tolerance."""

LIKELY_SHARE = 0.1
"""Of the difference in the error of the next grid, where the order, 4, shows at last."""

MOST_PARTS = 16
"""Into which a panel is divided at once."""

ROUNDING = 8.0 * float(np.finfo(np.float64).eps)
"""Of the mean field: a residual below it is rounding, and says nothing about what a residual moves."""

MIXING_WORK = 100.0
"""Of a method per entry of a path and sweep, in units of `Work`."""

SLACK_SHARE = 1e-3
"""Of the last grid's error, in the tolerance of the next one's fixed point."""


class StepTooLongError(Exception):
    """A step of the grid is too long for the scheme."""


@dataclass(frozen=True, slots=True, eq=False)
class Reply:
    """What a mean field brings about on the nodes of a grid.

    Attributes
    ----------
    value, density : (nodes, n) float64
        The best reply's value, and the population that plays it.
    image : (fields, nodes) float64
        The mean field of that population.
    slopes : (nodes, n) float64, optional
        V', where the scheme has it.
    """

    value: Floats
    density: Floats
    image: Floats
    slopes: Floats | None = None


class GridGame(Protocol):
    """A game as `solve_on_grids` needs it; a path is a mean field (fields, nodes)."""

    @property
    def value_unit(self) -> float:
        """Size below which V is measured absolutely."""
        ...

    @property
    def field_unit(self) -> float:
        """The same for the mean field."""
        ...

    @property
    def work(self) -> Work:
        """What the replies have cost and may cost."""
        ...

    @property
    def error_share(self) -> float:
        """Error of a bisected grid over its difference from the coarse one."""
        ...

    def first_path(self, times: Floats) -> Floats:
        """A path to start from."""
        ...

    def start_from(self, known: Sweep, times: Floats) -> Reply | None:
        """The known reply on other times, if `reply` can use one."""
        ...

    def reply(self, times: Floats, path: Floats, near: Reply | None) -> Reply:
        """The reply to `path`; `near` is one to a path near by. Raises StepTooLongError."""
        ...

    def foresee(self, times: Floats, path: Floats, reply: Reply) -> Floats:
        """What the image of `path` is expected to become if everybody keeps replying; the image if that is unknown."""
        ...

    def reply_by_step(self, times: Floats, path: Floats, exact: Reply) -> tuple[Floats, Floats]:
        """(value, density) of which each step starts from `exact` instead of from the step before."""
        ...

    def kinks(self, known: Sweep) -> Floats:
        """Sorted times strictly within the horizon at which V is not smooth."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Sweep:
    """The fixed-point map at `path` (fields, nodes) on a grid: the best reply's value, its population, their field.

    `settled` is false when the fixed point on this grid was given up, and `spent` true when that was for want of work;
    `moved` is how far the last plain sweep moved value and population, in units of the tolerance, and `gain` that over
    the residual in units of the one allowed.
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
    gain: float
    slopes: Floats | None = None
    spent: bool = False


def solve_on_grids(
    game: GridGame,
    edges: Floats,
    method: UpdateRule,
    rtol: float,
    atol: float,
    share_of: Callable[[Floats, Reply, Floats], float] | None = None,
) -> tuple[Sweep, float, int] | None:
    """(finest sweep, its estimated error in units of the tolerance, sweeps in all); None when no grid was fine enough.

    The fixed point on each grid is compared with the reply on every second node; panels whose share of the difference
    is too large are cut at the kinks of V, else divided, until the estimated error of every value, field and
    probability is within rtol (unit + |quantity|) + atol, the unit of probabilities being 1. What the difference moves
    the fixed point by, and what the sweeps leave of its error, are in the estimate. While grids are far from fine
    enough their fixed points are left at a looser tolerance. Time is refined only for what time steps leave.

    With `share_of`, (edges, the fine reply on them, what arises in each panel) to the error's share of the difference,
    that share is claimed instead of `game.error_share`.
    """
    start: Sweep | None = None
    best: tuple[Sweep, float] | None = None
    sweeps, slack = 0, FIRST_SLACK
    while 4 * edges.size <= method.max_steps and np.min(np.diff(edges)) > SHORTEST_PANEL * edges[-1]:
        loose = (slack, rtol, atol)
        try:
            if start is None:
                start = _fixed_point(game, edges, None, method, *loose)
                sweeps += start.sweeps
                edges, start, more = _cut_first(game, edges, start, method, loose)
                sweeps += more
            if not start.settled:
                best = start, math.inf
                break
            fine = _fixed_point(game, bisect(edges), start, method, *loose)
            sweeps += fine.sweeps
            if not fine.settled:
                best = fine, math.inf
                break
            scaled, arising, exact = _compare(game, fine, rtol, atol)
            share = game.error_share if share_of is None else share_of(edges, exact, arising)
        except StepTooLongError:
            if game.work.spent:
                break
            edges = bisect(edges)
            continue
        if share * scaled <= 1.0 and not _finished(game, fine, share * scaled, rtol, atol):
            fine = _fixed_point(game, bisect(edges), fine, method, 1.0, rtol, atol)
            sweeps += fine.sweeps
        best = fine, share * scaled + fine.moved
        if best[1] <= 1.0 or not fine.settled:
            break
        slack = min(max(SLACK_SHARE * best[1], 1.0), FIRST_SLACK)
        parts = _parts_needed(min(share, LIKELY_SHARE), scaled, arising)
        if np.max(parts) == 1:
            parts = _parts_needed(share, scaled, arising)
        if np.max(parts) == 1:
            # Within the tolerance but for what the sweeps left: finer where most arises.
            parts[arising >= 0.5 * np.max(arising)] = 2
        cuts = game.kinks(fine)
        cuts = cuts[parts[np.searchsorted(edges, cuts, side="right") - 1] > 1]
        edges = _cut(edges, parts, cuts) if cuts.size else divide(edges, parts)
        start = fine
    if best is None:
        return None
    sweep, error = best
    if sweep.settled and not sweep.residual <= allowed_residual(game.field_unit, sweep.image, rtol, atol):
        # The grid cannot be refined further, so that its fixed point need not be left loose.
        with suppress(StepTooLongError):
            last = _fixed_point(game, sweep.times[::2], sweep, method, 1.0, rtol, atol)
            sweep, error, sweeps = last, error - sweep.moved + last.moved, sweeps + last.sweeps
    return sweep, error, sweeps


def _cut_first(
    game: GridGame, edges: Floats, coarse: Sweep, method: UpdateRule, loose: tuple[float, float, float]
) -> tuple[Floats, Sweep, int]:
    """(edges cut at the kinks, fixed point on them, sweeps): on the first grid, until the kinks stay where they are."""
    uncut, sweeps = edges, 0
    for _ in range(FIRST_CUTS):
        kinks = game.kinks(coarse) if coarse.settled else np.empty(0)
        panel = np.searchsorted(uncut, kinks, side="right") - 1
        off = np.min(np.abs(kinks[:, None] - edges), axis=1, initial=np.inf)
        if not np.any(off > CUT_SHARE * (uncut[panel + 1] - uncut[panel])):
            break
        edges = np.union1d(uncut, kinks)
        edges = np.concatenate([edges[:-1][np.diff(edges) > 1e-13 * edges[-1]], edges[-1:]])
        coarse = _fixed_point(game, edges, coarse, method, *loose)
        sweeps += coarse.sweeps
    return edges, coarse, sweeps


def _finished(game: GridGame, fine: Sweep, error: float, rtol: float, atol: float) -> bool:
    """Whether the sweeps left no more than the tolerance allows."""
    allowed = allowed_residual(game.field_unit, fine.image, rtol, atol)
    return error + fine.moved <= 1.0 and fine.residual <= allowed


def grade_edges(horizon: float, shortest: float) -> Floats:
    """Panel edges to start from: equal ones, towards the close ever shorter down to `shortest`."""
    widest = horizon / FIRST_PANELS
    to_close, step = [0.0], min(shortest, widest)
    while to_close[-1] + 1.5 * step < horizon:
        to_close.append(to_close[-1] + step)
        step = min(max(step, to_close[-1]), widest)
    edges = horizon - np.array([*to_close, horizon])[::-1]
    edges[0], edges[-1] = 0.0, horizon
    return edges


def allowed_residual(unit: float, path: Floats, rtol: float, atol: float) -> float:
    """Residual allowed: rtol (unit + largest |mean field|) + atol."""
    return rtol * (unit + float(np.max(np.abs(path)))) + atol


def _parts_needed(share: float, scaled: float, arising: Floats) -> NDArray[np.int64]:
    """(panels,) into how many parts to divide each panel for the fewest steps with an error of `AIM`.

    The error of a panel is of order 5 in its length. What arises in the panels adds up to more than the error where it
    decays, or is in different states, and to less where the fixed point magnifies it: by the factor seen on this grid.
    """
    whole = float(np.sum(arising))
    if not (0.0 < whole < math.inf and scaled < math.inf):
        return np.full(arising.size, 2)
    adds_up = scaled / whole
    errors = np.maximum(share * adds_up * arising / AIM, 1e-300) ** 0.2
    return np.asarray(np.clip(np.ceil(errors * float(np.sum(errors)) ** 0.25), 1, MOST_PARTS).astype(np.int64))


def _cut(edges: Floats, parts: NDArray[np.int64], cuts: Floats) -> Floats:
    """Edges with the cuts put in; a panel cut well inside is not bisected too, since the cut may be all it needs."""
    panel = np.searchsorted(edges, cuts, side="right") - 1
    share = (cuts - edges[panel]) / (edges[panel + 1] - edges[panel])
    rest = parts.copy()
    rest[panel] = np.minimum(rest[panel], 2)
    rest[panel[(share > 0.01) & (share < 0.99)]] = 1
    joined = np.union1d(divide(edges, rest), cuts)
    apart = np.diff(joined) > 1e-13 * edges[-1]
    return np.concatenate([joined[:-1][apart], joined[-1:]])


def _fixed_point(
    game: GridGame,
    edges: Floats,
    start: Sweep | None,
    method: UpdateRule,
    slack: float,
    rtol: float,
    atol: float,
) -> Sweep:
    """Fixed point of the mean field on the grid of nodes of these panels, to a tolerance `slack` times looser."""
    times = bisect(edges)
    near: Reply | None = None
    if start is None:
        path = game.first_path(times)
    else:
        # Next to the sliver of a panel between two cuts the long polynomial would magnify rounding.
        between = interpolate_rows if game.kinks(start).size else interpolate_local
        path = np.ascontiguousarray(between(start.times, start.path.T, times).T)
        near = game.start_from(start, times)
    shape = path.shape
    last = [near]

    def phi(point: Floats) -> Floats:
        answer = game.reply(times, point.reshape(shape), last[0])
        last[0] = answer
        game.work.add(MIXING_WORK * point.size)
        return answer.image.ravel()

    def foresee(point: Floats, image: Floats) -> Floats:
        assert last[0] is not None
        return game.foresee(times, point.reshape(shape), last[0]).ravel()

    def allowed(share: float) -> Callable[[Floats], float]:
        return lambda image: share * allowed_residual(game.field_unit, image, rtol, atol)

    # What a residual moved V by on the last grid says how small it has to be on this one.
    share = 0.1 * slack if start is None else min(0.1, 0.05 / max(start.gain, 1e-300)) * slack
    sweeps, first, again = 0, path.ravel(), False
    while True:
        found = iterate(phi, first, method, allowed(share), foresee, lambda: game.work.spent)
        before = last[0]
        assert before is not None
        sweeps += found.sweeps
        if not math.isfinite(found.residual):
            raise SolveError(
                "the mean field left the range of floating point; damp the fixed point or bound the controls"
            )
        if not found.residual <= slack * allowed_residual(game.field_unit, before.image, rtol, atol):
            point = found.point.reshape(shape)
            left, spent = found.residual, game.work.spent
            return Sweep(times, point, *_parts(before), left, sweeps, False, math.inf, math.inf, before.slopes, spent)
        # A small residual can still move V by much where transitions are many; one plain sweep shows by how much, and
        # the sweeps after it would add a geometric series (twice that: the slowest mode may not show in the ratio yet).
        after = game.reply(times, before.image, before)
        sweeps += 1
        residual = float(np.max(np.abs(after.image - before.image)))
        known = max(found.residual, ROUNDING * (game.field_unit + float(np.max(np.abs(before.image)))))
        kept = min(residual / known, 0.99)
        pairs = (
            (before.value, after.value, game.value_unit),
            (before.density, after.density, 1.0),
            (before.image, after.image, game.field_unit),
        )
        moved = max(_scaled(rough, exact, scale, rtol, atol) for rough, exact, scale in pairs) * 2.0 / (1.0 - kept)
        gain = moved * allowed_residual(game.field_unit, before.image, rtol, atol) / known
        if moved <= 0.1 * slack or again:
            return Sweep(times, before.image, *_parts(after), residual, sweeps, True, moved, gain, after.slopes)
        share = slack * max(0.1 * share / moved, 1e-5)
        first, last[0], again = before.image.ravel(), after, True


def _parts(reply: Reply) -> tuple[Floats, Floats, Floats]:
    return reply.value, reply.density, reply.image


def _scaled(rough: Floats, exact: Floats, unit: float, rtol: float, atol: float) -> float:
    """Largest difference in units of the tolerance."""
    return float(np.max(np.abs(rough - exact) / (rtol * (unit + np.abs(exact)) + atol)))


def _compare(game: GridGame, fine: Sweep, rtol: float, atol: float) -> tuple[float, Floats, Reply]:
    """(difference in units of the tolerance, how much of it arises in each panel, the fine reply on its edges).

    The difference is that of the reply to the same mean field on every second node, and what the fixed point moves by
    when the field's image differs by so much. What arises in a panel is the error of its own two steps: each is taken
    from the fine solution.
    """
    times, path = fine.times[::2].copy(), np.ascontiguousarray(fine.path[:, ::2])
    slopes = None if fine.slopes is None else fine.slopes[::2].copy()
    exact = Reply(fine.value[::2].copy(), fine.density[::2].copy(), fine.image[:, ::2].copy(), slopes)
    rough = game.reply(times, path, exact)
    shifted = _scaled(rough.image, exact.image, game.field_unit, rtol, atol)
    pairs = ((rough.value, exact.value, game.value_unit), (rough.density, exact.density, 1.0))
    largest = max(shifted, *(_scaled(*pair, rtol, atol) for pair in pairs)) + fine.gain * shifted
    arising = np.zeros((times.size - 1) // 2)
    value, density = game.reply_by_step(times, path, exact)
    for stepped, known, unit in ((value, exact.value, game.value_unit), (density, exact.density, 1.0)):
        scaled = np.max(np.abs(stepped - known) / (rtol * (unit + np.abs(known)) + atol), axis=1)
        steps = scaled[:-1] if stepped is value else scaled[1:]
        arising = np.maximum(arising, steps[::2] + steps[1::2])
    return largest, arising, exact
