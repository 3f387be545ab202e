"""Newton-Krylov for m = Phi(m): the linear systems are solved by GMRES on differences of Phi."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from mfg_core.checks import require_count, require_positive
from mfg_core.iteration.fixed_point import MAX_WORK, out_of_reach

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

PROBE = math.sqrt(np.finfo(np.float64).eps)
"""Length of a difference over that of the point: truncation and rounding errors of the same size."""

ENOUGH = 1e-4
"""Share of the promised decrease of the residual that a step must bring (Armijo 1966)."""

SHORTEST = 2.0**-12
"""Shortest step tried, as a share of Newton's."""


@dataclass(slots=True, eq=False)
class Search:
    """Memory of `NewtonKrylov`: the point to improve, the Krylov space of its Jacobian, the step being tried."""

    point: Floats | None = None
    residual: Floats = field(default_factory=lambda: np.empty(0))
    size: float = math.inf
    forcing: float = 0.1
    basis: Floats = field(default_factory=lambda: np.empty((0, 0)))
    known: int = 0
    projected: list[Floats] = field(default_factory=list)
    probe: float = 0.0
    step: Floats | None = None
    share: float = 1.0


@dataclass(frozen=True, slots=True)
class NewtonKrylov:
    """Inexact Newton on Phi(m) - m = 0 with GMRES and a line search (Knoll & Keyes 2004), one Phi a sweep.

    Each sweep evaluates Phi at one point: at the iterate, at it plus a small multiple of a Krylov direction, or at a
    trial step, halved until the residual falls. GMRES stops at the accuracy of Eisenstat & Walker (1996, choice 2).
    The map need not contract: Newton converges, quadratically, wherever 1 is not an eigenvalue of the map's derivative
    and the start is near enough. Where sweeps do contract well `Anderson` needs fewer.

    Parameters
    ----------
    max_directions : int
        Most GMRES directions of one Newton step.
    max_sweeps, max_steps, max_work
        As for `Picard`; the evaluations for directions and trial steps count as sweeps.
    """

    max_directions: int = 30
    max_sweeps: int = 500
    max_steps: int = 40_000
    max_work: float = MAX_WORK

    def __post_init__(self) -> None:
        """Check the parameters."""
        require_count("max_directions", self.max_directions)
        require_count("max_sweeps", self.max_sweeps)
        require_count("max_steps", self.max_steps, 64)
        require_positive("max_work", self.max_work)

    def init(self) -> Search:
        """Nothing known."""
        return Search()

    def step(self, memory: Search, point: Floats, image: Floats) -> tuple[Floats, Search]:
        """The next point at which Phi is wanted."""
        residual = image - point
        if memory.point is None:
            return self._accept(memory, point, residual), memory
        if memory.step is None:
            return self._extend(memory, residual), memory
        size = float(np.linalg.norm(residual))
        short = memory.share <= SHORTEST and math.isfinite(size)
        if short or size <= (1.0 - ENOUGH * memory.share) * memory.size:
            return self._accept(memory, point, residual), memory
        memory.share *= 0.5
        return memory.point + memory.share * memory.step, memory

    def terminate(self, residual: float, tolerance: float, sweeps: int) -> bool:
        """Whether to stop; a trial step that leaves the numbers is shortened, a first point that does is the end."""
        return residual <= tolerance or sweeps >= self.max_sweeps or (sweeps == 1 and out_of_reach(residual))

    def _accept(self, memory: Search, point: Floats, residual: Floats) -> Floats:
        """Move to this point and ask for the first direction of its Krylov space, the residual itself."""
        size = float(np.linalg.norm(residual))
        if memory.point is not None:
            fall = 0.9 * (size / memory.size) ** 2
            kept = 0.9 * memory.forcing**2
            memory.forcing = min(max(fall, kept if kept > 0.1 else 0.0, 1e-6), 0.5)
        memory.point, memory.residual, memory.size, memory.step = point, residual, size, None
        if memory.basis.size == 0:
            memory.basis = np.empty((min(self.max_directions, residual.size), residual.size))
        memory.basis[0], memory.known, memory.projected = residual / size, 1, []
        memory.probe = PROBE * max(float(np.linalg.norm(point)), size)
        return np.asarray(point + memory.probe * memory.basis[0])

    def _extend(self, memory: Search, residual: Floats) -> Floats:
        """Orthogonalise the image of the newest direction; ask for the next one, or for a trial step."""
        assert memory.point is not None
        basis = memory.basis[: memory.known]
        fresh = (memory.residual - residual) / memory.probe
        if not np.all(np.isfinite(fresh)):
            # The map is not defined there: do with the directions that are known, at worst with a plain step.
            weights = _least_squares(memory)[0] if memory.projected else np.array([memory.size])
            return self._try(memory, weights)
        length = float(np.linalg.norm(fresh))
        column = np.zeros(memory.known + 1)
        for _ in range(2):
            parts = basis @ fresh
            column[:-1] += parts
            fresh -= parts @ basis
        column[-1] = float(np.linalg.norm(fresh))
        memory.projected.append(column)
        weights, left = _least_squares(memory)
        spent = column[-1] <= 1e-7 * length or memory.known == memory.basis.shape[0]
        if left > memory.forcing * memory.size and not spent:
            memory.basis[memory.known] = fresh / column[-1]
            memory.known += 1
            return np.asarray(memory.point + memory.probe * memory.basis[memory.known - 1])
        return self._try(memory, weights)

    def _try(self, memory: Search, weights: Floats) -> Floats:
        """Ask for the trial step with these weights of the known directions."""
        assert memory.point is not None
        step = np.asarray(weights @ memory.basis[: weights.size])
        memory.step, memory.share = step, 1.0
        return memory.point + step


def _least_squares(memory: Search) -> tuple[Floats, float]:
    """The weights of the known directions that leave least of the residual, and how much they leave."""
    matrix = np.zeros((len(memory.projected) + 1, len(memory.projected)))
    for j, known in enumerate(memory.projected):
        matrix[: known.size, j] = known
    right = np.zeros(matrix.shape[0])
    right[0] = memory.size
    weights: Floats = np.asarray(np.linalg.lstsq(matrix, right, rcond=None)[0], dtype=np.float64)
    return weights, float(np.linalg.norm(matrix @ weights - right))
