"""What goes wrong in a solve, and what a user should know about a result."""

from __future__ import annotations


class SolveError(RuntimeError):
    """A solve that missed its tolerance or cannot be done in floating point; the message says what to change.

    Attributes
    ----------
    residual : float
        The undamped residual that was reached (nan when no sweep was finished).
    tolerance : float
        What was asked.
    """

    def __init__(self, message: str, *, residual: float = float("nan"), tolerance: float = float("nan")) -> None:
        """Keep the figures beside the message."""
        super().__init__(message)
        self.residual = residual
        self.tolerance = tolerance


class EdgeMassWarning(UserWarning):
    """The inventory grid is too small: more than 1e-3 of the makers stand at its ends; raise `max_inventory`."""
