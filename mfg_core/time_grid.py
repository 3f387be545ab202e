"""Time grids: bisection, local refinement, and interpolation that keeps the order of the schemes.

A grid of panels has a middle node in each panel: nodes 2j, 2j+1, 2j+2 are its start, middle and end.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


def bisect(edges: Floats) -> Floats:
    """(2n+1,) the n+1 times with the middle of each step put between; of panel edges, the grid of panels."""
    out = np.empty(2 * edges.size - 1)
    out[::2] = edges
    out[1::2] = 0.5 * (edges[1:] + edges[:-1])
    return out


def split(edges: Floats, levels: NDArray[np.int64]) -> Floats:
    """Edges with panel j cut into 2**levels[j] equal parts."""
    parts = [
        np.linspace(left, right, 2**level, endpoint=False)
        for left, right, level in zip(edges[:-1], edges[1:], levels, strict=True)
    ]
    return np.concatenate([*parts, edges[-1:]])


def middle_values(values: Floats) -> Floats:
    """Values half-way between equally spaced ones, by cubic interpolation; (n,) to (n-1,)."""
    out = np.empty(values.size - 1)
    out[1:-1] = (9.0 * (values[1:-2] + values[2:-1]) - values[:-3] - values[3:]) / 16.0
    out[0] = (5.0 * values[0] + 15.0 * values[1] - 5.0 * values[2] + values[3]) / 16.0
    out[-1] = (5.0 * values[-1] + 15.0 * values[-2] - 5.0 * values[-3] + values[-4]) / 16.0
    return out


def interpolate_panels(times: Floats, values: Floats, t: Floats, column: NDArray[np.intp]) -> Floats:
    """Values (nt+1, nx) at times t and columns, by the quadratic of each pair of steps."""
    start = np.clip((np.searchsorted(times, t, side="right") - 1) // 2 * 2, 0, times.size - 3)
    share = (t - times[start]) / (times[start + 2] - times[start])
    left, middle, right = (values[start + j, column] for j in range(3))
    return np.asarray(left + share * (right - left - 2.0 * (1.0 - share) * (left - 2.0 * middle + right)))


def interpolate_rows(times: Floats, values: Floats, at: Floats) -> Floats:
    """A path (nt+1,) or rows (nt+1, nx) at other times (m,), by the quadratic of each pair of steps."""
    start = np.clip((np.searchsorted(times, at, side="right") - 1) // 2 * 2, 0, times.size - 3)
    share = (at - times[start]) / (times[start + 2] - times[start])
    share = share if values.ndim == 1 else share[:, None]
    left, middle, right = (values[start + j] for j in range(3))
    return np.asarray(left + share * (right - left - 2.0 * (1.0 - share) * (left - 2.0 * middle + right)))
