"""Compiled step of Anderson mixing (arrays in, outputs last, nothing checked)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from numba import njit

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

SMALLEST_PART = 1e-10
"""A change of the residual that is new by a smaller share than this says nothing that the newer ones do not say."""


@njit(cache=True, nogil=True)
def dot(left: Floats, right: Floats) -> float:
    """Inner product in four partial sums, which do not wait for each other."""
    n = left.size
    a = b = c = d = 0.0
    whole = n - n % 4
    for i in range(0, whole, 4):
        a += left[i] * right[i]
        b += left[i + 1] * right[i + 1]
        c += left[i + 2] * right[i + 2]
        d += left[i + 3] * right[i + 3]
    for i in range(whole, n):
        a += left[i] * right[i]
    return (a + b) + (c + d)


@njit(cache=True, nogil=True)
def mix(
    point: Floats, image: Floats, damping: float, known: int,
    last_point: Floats, last_residual: Floats, moves: Floats, changes: Floats, basis: Floats, following: Floats,
) -> None:  # fmt: skip
    """Fill `following` with the next point and add this sweep to the memory.

    `known` sweeps came before; differences between sweeps s and s + 1 are in row s mod depth of `moves` (of the points)
    and `changes` (of the residuals). The least squares are solved by orthogonalising the changes, the newest first and
    each twice, so that what is dropped as dependent is the oldest.
    """
    depth, n = moves.shape
    slot = (known - 1) % depth
    for i in range(n):
        residual = image[i] - point[i]
        if known > 0:
            moves[slot, i] = point[i] - last_point[i]
            changes[slot, i] = residual - last_residual[i]
        last_point[i] = point[i]
        last_residual[i] = residual
        following[i] = point[i] + damping * residual
    triangle, share = np.zeros((depth, depth)), np.zeros(depth)
    rows = np.empty(depth, np.int64)
    kept = 0
    for age in range(min(known, depth)):
        row = (known - 1 - age) % depth
        fresh = basis[kept]
        fresh[:] = changes[row]
        whole = math.sqrt(dot(fresh, fresh))
        for _ in range(2):
            for j in range(kept):
                part = dot(basis[j], fresh)
                triangle[j, kept] += part
                for i in range(n):
                    fresh[i] -= part * basis[j, i]
        left = math.sqrt(dot(fresh, fresh))
        if left > SMALLEST_PART * whole:
            triangle[kept, kept] = left
            for i in range(n):
                fresh[i] /= left
            rows[kept] = row
            kept += 1
        else:
            triangle[:, kept] = 0.0
    for j in range(kept - 1, -1, -1):
        share[j] = dot(basis[j], last_residual)
        for later in range(j + 1, kept):
            share[j] -= triangle[j, later] * share[later]
        share[j] /= triangle[j, j]
        for i in range(n):
            following[i] -= share[j] * (moves[rows[j], i] + damping * changes[rows[j], i])
