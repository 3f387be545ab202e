"""Covariates of the arrival of orders: step functions of time known before the orders that they explain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mfg_core.checks import require_positive
from mfg_core.intraday.intensity_exposure import BookPath

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Covariate:
    """A step function: value[i] holds after time[i] up to and including time[i+1].

    Attributes
    ----------
    name : str
    time : (p,) float64
        Seconds, increasing.
    value : (p,) float64
        nan where it is not known: that time, and its orders, are left out of the fit and counted.
    """

    name: str
    time: Floats
    value: Floats

    def __post_init__(self) -> None:
        """Check the arrays and store read-only copies."""
        for field in ("time", "value"):
            values = np.array(getattr(self, field), dtype=np.float64)
            values.flags.writeable = False
            object.__setattr__(self, field, values)
        if self.time.ndim != 1 or self.time.shape != self.value.shape or self.time.size == 0:
            raise ValueError(
                f"covariate {self.name!r} must have one value for each of at least one time; "
                f"was of shapes {self.time.shape} and {self.value.shape}"
            )
        if not np.isfinite(self.time).all() or not (np.diff(self.time) > 0).all():
            raise ValueError(f"covariate {self.name!r} must have finite, increasing times")
        if np.isinf(self.value).any():
            raise ValueError(f"covariate {self.name!r} must be finite, or nan where it is not known; was infinite")

    def after(self, time: Floats) -> Floats:
        """Value in force just after each time; nan before the first."""
        row = np.searchsorted(self.time, time, side="right") - 1
        return np.where(row >= 0, self.value[row], np.nan)


def session_parts(edges: ArrayLike) -> tuple[Covariate, ...]:
    """Indicators "part_2", "part_3", ... of the parts of the session between increasing `edges` (seconds).

    The first part, edges[0] to edges[1], is the one that the coefficients compare with; outside the edges nothing
    is known.
    """
    at = np.asarray(edges, dtype=np.float64)
    if at.ndim != 1 or at.size < 3 or not (np.diff(at) > 0).all():
        raise ValueError(f"edges must be at least three increasing times; was {edges!r}")
    parts = np.arange(at.size - 1)
    known = np.append(parts, -1)
    return tuple(
        Covariate(f"part_{part + 1}", at, np.where(known < 0, np.nan, (known == part).astype(np.float64)))
        for part in parts[1:]
    )


def trailing_volatility(book: BookPath, *, window: float, step: float) -> Covariate:
    """Covariate "log_volatility": log root mean square change of the mid per sqrt(second) over the `window` before.

    Taken every `step` seconds from the mids in force then, so it knows nothing later than its own time. nan until a
    whole window has passed, where a mid in the window is missing, and where the mid has not moved at all.
    """
    window, step = require_positive("window", window), require_positive("step", step)
    lags = round(window / step)
    if lags < 2 or abs(lags * step - window) > 1e-9 * window:
        raise ValueError(f"window must be a whole multiple, at least twice, of step {step}; was {window}")
    if book.time.size == 0:
        raise ValueError("book must have at least one row")
    grid = np.arange(book.time[0], book.time[-1] + step, step)
    square = np.diff(book.mid[book.row_at(grid)], prepend=np.nan) ** 2
    value = np.full(grid.size, np.nan)
    if grid.size > lags:
        value[lags:] = np.lib.stride_tricks.sliding_window_view(square[1:], lags).sum(axis=1) / window
    moved = value > 0
    value[~moved] = np.nan
    value[moved] = 0.5 * np.log(value[moved])
    return Covariate("log_volatility", grid, value)


def spread_covariate(book: BookPath, tick: float) -> Covariate:
    """Covariate "spread_ticks": the quoted spread in ticks; nan where there is none."""
    tick = require_positive("tick", tick)
    last = np.append(np.diff(book.time) > 0, True)
    return Covariate("spread_ticks", book.time[last], np.round(2 * book.half_spread[last] / tick, 6))


def stacked(covariates: Sequence[Covariate], time: Floats) -> Floats:
    """Values (n, p) of all covariates just after each time."""
    columns = [covariate.after(time) for covariate in covariates]
    return np.column_stack(columns) if columns else np.empty((time.size, 0))
