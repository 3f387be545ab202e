"""Smooth paths between their nodes: the polynomial of degree five through the nodes around a step."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

DEGREE = 5


def local_weights(times: Floats, t: Floats) -> tuple[NDArray[np.intp], Floats]:
    """(first node, weights (..., degree + 1)) of the nodes first, first + 1, ... whose sum is the value at `t` (...).

    Lagrange's form: exact at the nodes. Three nodes on each side of t, fewer on one side near the ends; the degree is
    lower on grids of fewer than six nodes. The error is of order 6 in the step.
    """
    degree = min(DEGREE, times.size - 1)
    first = np.clip(np.searchsorted(times, t, side="right") - 1 - degree // 2, 0, times.size - 1 - degree)
    index = np.arange(degree + 1).reshape(-1, *[1] * first.ndim)
    nodes = times[first + index]
    # Twice in a row, so that the others of every node are a slice.
    twice, to_nodes = np.concatenate([nodes, nodes]), np.concatenate([t - nodes] * 2)
    weights = np.ones_like(nodes)
    for shift in range(1, degree + 1):
        others = slice(shift, shift + degree + 1)
        weights *= to_nodes[others] / (nodes - twice[others])
    return first, np.moveaxis(weights, 0, -1)


def interpolate_local(times: Floats, rows: Floats, t: Floats) -> Floats:
    """Rows (nt+1, ...) at other times t (m,)."""
    first, weights = local_weights(times, t)
    shape = (-1,) + (1,) * (rows.ndim - 1)
    return np.asarray(sum(weights[:, j].reshape(shape) * rows[first + j] for j in range(weights.shape[1])))


def interpolate_local_columns(times: Floats, values: Floats, t: Floats, column: NDArray[np.intp]) -> Floats:
    """Values (nt+1, nx) at times t and columns of the same shape."""
    first, weights = local_weights(times, t)
    return np.asarray(sum(weights[..., j] * values[first + j, column] for j in range(weights.shape[-1])))
