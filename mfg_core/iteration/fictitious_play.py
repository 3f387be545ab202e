"""Fictitious play: everybody replies to the average of what the crowd has done so far."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mfg_core.checks import require_count, require_finite, require_positive
from mfg_core.iteration.fixed_point import MAX_WORK, out_of_reach

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class FictitiousPlay:
    """Averaging of replies (Brown 1951; for mean-field games Cardaliaguet & Hadikhanloo 2017).

    Sweep n moves the belief by weight/(n + weight - 1) of the way to the reply, so that in the average reply n counts
    about like n^(weight - 1). Where replies answer a change of the belief by a factor q < 1 (an eigenvalue of the map;
    negative, of any size, for crowds that overshoot) the error falls like n^(-weight (1 - q)): slower than any
    geometric rate, but for every such q. Use it to a tolerance of 1e-3 or so, or with a weight of ten or more.

    Parameters
    ----------
    weight : float
        At least 1; 1 is the plain average.
    max_sweeps, max_steps, max_work
        As for `Picard`.
    """

    weight: float = 1.0
    max_sweeps: int = 20_000
    max_steps: int = 40_000
    max_work: float = MAX_WORK

    def __post_init__(self) -> None:
        """Check the parameters."""
        if require_finite("weight", self.weight) < 1:
            raise ValueError(f"weight must be at least 1; was {self.weight!r}")
        require_count("max_sweeps", self.max_sweeps)
        require_count("max_steps", self.max_steps, 64)
        require_positive("max_work", self.max_work)

    def init(self) -> int:
        """No sweep yet."""
        return 0

    def step(self, memory: int, point: Floats, image: Floats) -> tuple[Floats, int]:
        """The average that includes the newest reply."""
        return point + self.weight / (memory + self.weight) * (image - point), memory + 1

    def terminate(self, residual: float, tolerance: float, sweeps: int) -> bool:
        """Whether to stop."""
        return residual <= tolerance or sweeps >= self.max_sweeps or out_of_reach(residual)
