"""What a solve proves about its own answer."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Status(Enum):
    """How a solve ended, as a sentence."""

    CONVERGED = "The undamped residual and the discretisation error are within the tolerance."
    SWEEPS = "The fixed point did not reach the tolerance within max_sweeps; raise max_sweeps or damp more."
    STEPS = "The time grid did not reach the tolerance within max_steps; raise max_steps or loosen rtol and atol."
    WORK = (
        "The work allowed was spent before the tolerance was reached; raise max_work, loosen rtol and atol, or solve a "
        "shorter horizon or a smaller market."
    )
    RESOLUTION = (
        "The close needs shorter time steps than floating point has; lower the terminal penalty, bound the controls or "
        "loosen rtol and atol."
    )


@dataclass(frozen=True, slots=True)
class Certificate:
    """Evidence that the returned policy is an equilibrium.

    Attributes
    ----------
    iterations : int
        Evaluations of the fixed-point map (or of the shooting function), over all time grids.
    residual : float
        Largest |Phi(m) - m| of the undamped map Phi: in units of price for market making (mean quotes), relative to
        the path for execution (friction) and clearing (rate).
    exploitability : float
        What one player gains by leaving the returned policy while the crowd stays; units of the objective, >= 0; inf
        when the solve missed its tolerance and the best reply to what it left is out of range.
    mass_error : float
        Largest |sum of the density - 1| over time.
    discretisation_error : float
        Estimate of the error that the time grid leaves, from two grids (relative for execution, in units of the
        value and the quotes, relative to 1/fill_decay + their size, for market making, where what the sweeps leave is
        in it too); inf when the sweeps did not settle on the first grid, so that there was no second.
    tolerance : float
        What `residual` was compared with.
    converged : bool
        Whether both residual and discretisation error are within the tolerance asked.
    status : Status
    """

    iterations: int
    residual: float
    exploitability: float
    mass_error: float
    discretisation_error: float
    tolerance: float
    converged: bool
    status: Status
