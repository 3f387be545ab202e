"""Update rules for m = Phi(m): each sweep evaluates Phi once and convergence is the undamped residual |Phi(m) - m|."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from mfg_core.checks import require_count, require_positive, require_real
from mfg_core.iteration.mixing_kernel import mix

if TYPE_CHECKING:
    from collections.abc import Callable

Floats: TypeAlias = NDArray[np.float64]

MAX_WORK = 3e9
"""About 5 seconds."""


class UpdateRule(Protocol):
    """What `iterate` needs: `init` before the first sweep, `step` after each, `terminate` to stop.

    The memory is the rule's own: `step` may change it and return it. A rule holds none, so one rule serves many solves.
    """

    @property
    def max_steps(self) -> int:
        """Longest time grid."""
        ...

    @property
    def max_work(self) -> float:
        """Most work of a solve, over all its grids; see `Picard`."""
        ...

    def init(self) -> Any:
        """The rule's memory before the first sweep."""
        ...

    def step(self, memory: Any, point: Floats, image: Floats) -> tuple[Floats, Any]:
        """The next point, and the memory, from a point and its image Phi(point)."""
        ...

    def terminate(self, residual: float, tolerance: float, sweeps: int) -> bool:
        """Whether to stop: the residual is within the tolerance, is not finite for good, or no sweep is left."""
        ...


@dataclass(frozen=True, slots=True)
class Picard:
    """Damped successive substitution, m <- m + damping (Phi(m) - m).

    Parameters
    ----------
    damping : float
        In (0, 1]; 1 is the plain iteration. It slows the steps and never enters the residual.
    max_sweeps : int
        Most evaluations of Phi on one time grid.
    max_steps : int
        Longest time grid.
    max_work : float
        Most work of a solve of a finite-state game, over all grids, in terms of a series for one state over one time
        step: one to two nanoseconds each. See `Work`.
    """

    damping: float = 1.0
    max_sweeps: int = 500
    max_steps: int = 40_000
    max_work: float = MAX_WORK

    def __post_init__(self) -> None:
        """Check the parameters."""
        _check(self)

    def init(self) -> None:
        """No memory."""

    def step(self, memory: None, point: Floats, image: Floats) -> tuple[Floats, None]:
        """The damped image."""
        return point + self.damping * (image - point), memory

    def terminate(self, residual: float, tolerance: float, sweeps: int) -> bool:
        """Whether to stop."""
        return residual <= tolerance or sweeps >= self.max_sweeps or out_of_reach(residual)


@dataclass(slots=True, eq=False)
class Mixed:
    """Memory of `Anderson`: the last sweep and the differences between the last ones, in rows used in turn."""

    known: int = 0
    point: Floats = field(default_factory=lambda: np.empty(0))
    residual: Floats = field(default_factory=lambda: np.empty(0))
    moves: Floats = field(default_factory=lambda: np.empty((0, 0)))
    changes: Floats = field(default_factory=lambda: np.empty((0, 0)))
    basis: Floats = field(default_factory=lambda: np.empty((0, 0)))

    def reserve(self, depth: int, size: int) -> None:
        """Make room for `depth` differences of paths of this size."""
        self.point, self.residual = np.empty((2, size))
        self.moves, self.changes, self.basis = np.empty((3, depth, size))


@dataclass(frozen=True, slots=True)
class Anderson:
    """Anderson mixing (Anderson 1965; type II of Fang & Saad 2009, least squares over the last `depth` residuals).

    What is mixed is the image, or where a game can tell what the image becomes if everybody keeps replying, that: for a
    lopsided market at competition 1 without bounds.

    Parameters
    ----------
    depth : int
        How many earlier sweeps are mixed, at least 1.
    damping : float
        In (0, 1], share of the mixed residual that is added.
    max_sweeps, max_steps, max_work
        As for `Picard`.
    """

    depth: int = 6
    damping: float = 1.0
    max_sweeps: int = 200
    max_steps: int = 40_000
    max_work: float = MAX_WORK

    def __post_init__(self) -> None:
        """Check the parameters."""
        require_count("depth", self.depth)
        _check(self)

    def init(self) -> Mixed:
        """An empty memory."""
        return Mixed()

    def step(self, memory: Mixed, point: Floats, image: Floats) -> tuple[Floats, Mixed]:
        """The point that would have the smallest residual if Phi were affine over the memory."""
        if memory.known == 0:
            memory.reserve(self.depth, point.size)
        following = np.empty_like(point)
        mix(
            point, image, self.damping, memory.known,
            memory.point, memory.residual, memory.moves, memory.changes, memory.basis, following,
        )  # fmt: skip
        memory.known += 1
        return following, memory

    def terminate(self, residual: float, tolerance: float, sweeps: int) -> bool:
        """Whether to stop."""
        return residual <= tolerance or sweeps >= self.max_sweeps or out_of_reach(residual)


@dataclass(frozen=True, slots=True, eq=False)
class FixedPoint:
    """The last point, its image Phi(point), the undamped residual and the number of evaluations of Phi."""

    point: Floats
    image: Floats
    residual: float
    sweeps: int


def iterate(
    phi: Callable[[Floats], Floats],
    start: Floats,
    rule: UpdateRule,
    tolerance: Callable[[Floats], float],
    foresee: Callable[[Floats, Floats], Floats] | None = None,
    spent: Callable[[], bool] = bool,
) -> FixedPoint:
    """The point where `rule` stopped; the residual is max |phi(point) - point|, whatever the rule's damping.

    Parameters
    ----------
    phi : callable
        The undamped map, (n,) to (n,).
    start : (n,) float64
    rule : UpdateRule
    tolerance : callable
        The residual allowed at a point.
    foresee : callable, optional
        (point, image) to what the image is expected to become; the rule gets it in the image's place. A point that is
        not fixed must not become one; the residual remains that of phi.
    spent : callable, optional
        Whether there is nothing left to spend on another sweep.
    """
    point, memory, sweeps = start, rule.init(), 0
    while True:
        image = phi(point)
        sweeps += 1
        residual = float(np.max(np.abs(image - point)))
        if rule.terminate(residual, tolerance(image), sweeps) or spent():
            return FixedPoint(point, image, residual, sweeps)
        point, memory = rule.step(memory, point, image if foresee is None else foresee(point, image))


def out_of_reach(residual: float) -> bool:
    """Whether the residual is not a finite number."""
    return not math.isfinite(residual)


def _check(rule: Picard | Anderson) -> None:
    damping = require_real("damping", rule.damping)
    if not 0 < damping <= 1:
        raise ValueError(f"damping must be in (0, 1]; was {rule.damping!r}")
    require_count("max_sweeps", rule.max_sweeps)
    require_count("max_steps", rule.max_steps, 64)
    require_positive("max_work", rule.max_work)
