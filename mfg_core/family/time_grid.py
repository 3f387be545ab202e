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


def divide(edges: Floats, parts: NDArray[np.int64]) -> Floats:
    """Edges with panel j divided into parts[j] equal ones."""
    panel = np.repeat(np.arange(parts.size), parts)
    within = np.arange(panel.size) - np.repeat(np.cumsum(parts) - parts, parts)
    length = (edges[1:] - edges[:-1]) / parts
    return np.concatenate([edges[panel] + within * length[panel], edges[-1:]])


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


def half_way(times: Floats, values: Floats, slopes: Floats) -> Floats:
    """(nt, n) values half-way between the nodes, from values and slopes (nt+1, n), by the cubic of each step."""
    eighth = np.diff(times)[:, None] / 8.0
    return np.asarray(0.5 * (values[:-1] + values[1:]) + eighth * (slopes[:-1] - slopes[1:]))


def quarter_values(path: Floats) -> Floats:
    """(fields, nt) values half-way between the nodes, from a path (fields, nt+1), by the quadratic of each panel.

    The two errors of a panel, of order 3, cancel in an integral over it.
    """
    start, centre, end = path[:, :-2:2], path[:, 1:-1:2], path[:, 2::2]
    out = np.empty((path.shape[0], path.shape[1] - 1))
    out[:, ::2] = (3.0 * start + 6.0 * centre - end) / 8.0
    out[:, 1::2] = (3.0 * end + 6.0 * centre - start) / 8.0
    return out


def interpolate_smooth(times: Floats, values: Floats, slopes: Floats, at: Floats) -> Floats:
    """(m, n) values at other times (m,), from values and slopes (nt+1, n), by the cubic of each step."""
    start = np.clip(np.searchsorted(times, at, side="right") - 1, 0, times.size - 2)
    step = (times[start + 1] - times[start])[:, None]
    share = (at - times[start])[:, None] / step
    left, right = values[start], values[start + 1]
    bend = (1.0 - share) * (step * slopes[start] - (right - left)) - share * (step * slopes[start + 1] - (right - left))
    return np.asarray(left + share * (right - left) + share * (1.0 - share) * bend)


def crossing_times(times: Floats, levels: Floats) -> Floats:
    """Sorted times within the grid at which a column of `levels` (nt+1, q) changes sign, by the panels' quadratics."""
    half, column = np.nonzero(np.signbit(levels[1:]) != np.signbit(levels[:-1]))
    start = half // 2 * 2
    left, middle, right = (levels[start + j, column] for j in range(3))
    bend = 2.0 * (left - 2.0 * middle + right)
    slope = right - left - bend
    # Of the two roots of left + slope s + bend s^2, written without cancellation, one is in this half.
    sum_ = -0.5 * (slope + np.copysign(np.sqrt(np.maximum(slope**2 - 4.0 * left * bend, 0.0)), slope))
    with np.errstate(divide="ignore", invalid="ignore"):
        roots = left / sum_, sum_ / bend
    from_half = 0.5 * (half % 2)
    share = np.where(np.abs(roots[0] - from_half - 0.25) <= 0.25, roots[0], roots[1])
    share = np.clip(np.nan_to_num(share), from_half, from_half + 0.5)
    found = np.unique(times[start] + share * (times[start + 2] - times[start]))
    apart = 1e-13 * times[-1]
    found = found[(found > apart) & (found < times[-1] - apart)]
    return np.asarray(found[np.diff(found, prepend=-1.0) > apart])
