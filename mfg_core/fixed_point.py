"""Update rules for m = Phi(m): each sweep evaluates Phi once and convergence is the undamped residual |Phi(m) - m|."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from mfg_core.checks import require_count, require_real

if TYPE_CHECKING:
    from collections.abc import Callable

Floats: TypeAlias = NDArray[np.float64]
History: TypeAlias = tuple[tuple[Floats, Floats], ...]
"""Past (point, residual) pairs, the newest last."""


class UpdateRule(Protocol):
    """What `iterate` needs: `init` before the first sweep, `step` after each, `terminate` to stop."""

    @property
    def max_steps(self) -> int:
        """Longest time grid."""
        ...

    def init(self) -> History:
        """The rule's memory before the first sweep."""
        ...

    def step(self, memory: History, point: Floats, image: Floats) -> tuple[Floats, History]:
        """The next point, and the memory, from a point and its image Phi(point)."""
        ...

    def terminate(self, residual: float, tolerance: float, sweeps: int) -> bool:
        """Whether to stop, because the residual is within the tolerance or no sweep is left."""
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
    """

    damping: float = 1.0
    max_sweeps: int = 500
    max_steps: int = 40_000

    def __post_init__(self) -> None:
        """Check the parameters."""
        _check(self)

    def init(self) -> History:
        """No memory."""
        return ()

    def step(self, memory: History, point: Floats, image: Floats) -> tuple[Floats, History]:
        """The damped image."""
        return point + self.damping * (image - point), memory

    def terminate(self, residual: float, tolerance: float, sweeps: int) -> bool:
        """Whether to stop."""
        return residual <= tolerance or sweeps >= self.max_sweeps


@dataclass(frozen=True, slots=True)
class Anderson:
    """Anderson mixing (Anderson 1965; type II of Fang & Saad 2009, least squares over the last `depth` residuals).

    Parameters
    ----------
    depth : int
        How many earlier sweeps are mixed, at least 1.
    damping : float
        In (0, 1], share of the mixed residual that is added.
    max_sweeps, max_steps : int
        As for `Picard`.
    """

    depth: int = 6
    damping: float = 1.0
    max_sweeps: int = 200
    max_steps: int = 40_000

    def __post_init__(self) -> None:
        """Check the parameters."""
        require_count("depth", self.depth)
        _check(self)

    def init(self) -> History:
        """No memory yet."""
        return ()

    def step(self, memory: History, point: Floats, image: Floats) -> tuple[Floats, History]:
        """The point that would have the smallest residual if Phi were affine over the memory."""
        residual = image - point
        memory = (*memory[-self.depth :], (point, residual))
        if len(memory) == 1:
            return point + self.damping * residual, memory
        moves = np.stack([later[0] - earlier[0] for earlier, later in pairwise(memory)], axis=1)
        changes = np.stack([later[1] - earlier[1] for earlier, later in pairwise(memory)], axis=1)
        weights = np.linalg.lstsq(changes, residual, rcond=1e-12)[0]
        return point + self.damping * residual - (moves + self.damping * changes) @ weights, memory

    def terminate(self, residual: float, tolerance: float, sweeps: int) -> bool:
        """Whether to stop."""
        return residual <= tolerance or sweeps >= self.max_sweeps


@dataclass(frozen=True, slots=True, eq=False)
class FixedPoint:
    """The last point, its image Phi(point), the undamped residual and the number of evaluations of Phi."""

    point: Floats
    image: Floats
    residual: float
    sweeps: int


def iterate(
    phi: Callable[[Floats], Floats], start: Floats, rule: UpdateRule, tolerance: Callable[[Floats], float]
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
    """
    point, memory, sweeps = start, rule.init(), 0
    while True:
        image = phi(point)
        sweeps += 1
        residual = float(np.max(np.abs(image - point)))
        if not np.isfinite(residual) or rule.terminate(residual, tolerance(image), sweeps):
            return FixedPoint(point, image, residual, sweeps)
        point, memory = rule.step(memory, point, image)


def _check(rule: Picard | Anderson) -> None:
    damping = require_real("damping", rule.damping)
    if not 0 < damping <= 1:
        raise ValueError(f"damping must be in (0, 1]; was {rule.damping!r}")
    require_count("max_sweeps", rule.max_sweeps)
    require_count("max_steps", rule.max_steps, 64)
