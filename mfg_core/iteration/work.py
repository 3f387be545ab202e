"""How much work a solve may do and has done: counted, never measured by a clock."""

from __future__ import annotations

import math
from dataclasses import dataclass

from mfg_core.errors import SolveError

LAST_STRETCH = 1.25
"""Share of the work allowed at which a reply that is not finished is given up; a fixed point is, at 1."""


@dataclass(slots=True)
class Work:
    """Work allowed and done over all grids, and methods, of a solve.

    Its unit is one term of the series by which a march takes one state over one time step, one to two nanoseconds. The
    rest of a march, and the controls of a game that is not linear, count as many units as they take terms' time.
    """

    allowed: float
    done: float = 0.0

    def add(self, amount: float) -> None:
        """Count work; SolveError when far more is done than allowed."""
        self.done += amount
        if self.done > LAST_STRETCH * self.allowed:
            raise self.refusal()

    def refusal(self, tolerance: float = math.nan) -> SolveError:
        """What to raise when the work was spent before there was anything to return."""
        return SolveError(
            f"the work allowed, max_work = {self.allowed:.3g}, was spent before replies settled on a grid fine enough "
            "for the game's rates, so that there is no residual; raise max_work, lower transition rates, penalties or "
            "horizon, or loosen rtol and atol",
            tolerance=tolerance,
        )

    @property
    def spent(self) -> bool:
        """Whether no sweep is left."""
        return self.done > self.allowed
