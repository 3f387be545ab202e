"""How the fixed point of an equilibrium was reached, sweep by sweep."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from reports import charts
from reports.charts import Series
from reports.formats import significant
from reports.pictures import Picture


@dataclass(frozen=True, slots=True)
class History:
    """Undamped residuals of a method after 1, 2, ... sweeps."""

    method: str
    residuals: Sequence[float]


def convergence(histories: Sequence[History], tolerance: float, unit: str) -> Picture:
    """Residual by sweep of each method, on a logarithmic scale."""
    longest = max((len(history.residuals) for history in histories), default=0)
    sweeps = np.arange(1.0, max(longest, 8) + 1.0)
    lines = []
    for i, history in enumerate(histories):
        logs = np.full(sweeps.size, np.nan)
        logs[: len(history.residuals)] = np.log10(np.maximum(history.residuals, 1e-300))
        lines.append(Series(history.method, logs, f"s{i}"))
    lines.append(Series("tolerance", np.full(sweeps.size, np.log10(max(tolerance, 1e-300))), "sb"))
    drawing = charts.curves(
        sweeps, lines, "residual by sweep", "sweeps", lambda v: significant(10.0**v, 1), y_words=unit
    )
    rates = [f"{h.method} {rate:.2g}" for h in histories if (rate := contraction(h.residuals)) is not None]
    words = (
        "Largest change of the mean field when everybody replies once more (the undamped map), by sweep, from a first "
        "guess on the final time grid; a line that ends above the tolerance was not followed further."
    )
    return Picture(
        "Residual by sweep", drawing, f"{words} Last ratio of residuals: {', '.join(rates)}." if rates else words
    )


def contraction(residuals: Sequence[float]) -> float | None:
    """Ratio of the last two residuals, None when there are not two."""
    return residuals[-1] / residuals[-2] if len(residuals) > 1 and residuals[-2] > 0 else None
