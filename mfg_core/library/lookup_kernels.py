"""Compiled look-ups in a library of policies (arrays in, outputs last, nothing checked; outside the grid: nan).

`lookup_quotes` answers from one prepared policy, `lookup_corners` from the library itself after `place_parameters`.
Both are meant to be called from a pod's own jitted function, once per event. numba's cache of such a function does not
notice that a function of another file has changed: put `LOOKUP_KERNELS`, the hash of this file, in a closure of the
function, where numba's cache keys do see it, or compile the function without a cache.
"""

from __future__ import annotations

import hashlib
import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numba import njit

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mfg_core.library.quote_block import LibraryArrays, PreparedQuotes

    Floats = NDArray[np.float64]
    Integers = NDArray[np.int64]

LOOKUP_KERNELS = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()
"""SHA-256 of this file: a compiled function that closes over it is compiled again when the look-ups change."""

ONE, TWO, THREE, FOUR, FIVE = (np.uint64(number) for number in range(1, 6))


@njit(cache=True)
def place_in_time(t: float, horizon: float, grading: int, steps: int) -> tuple[int, float, float, float]:
    """First node of the pair of steps that holds t, and the weights of its three nodes in a quadratic."""
    place = 1.0 - t / horizon
    if grading > 1:
        place = math.sqrt(place)
        if grading > 2:
            place = math.sqrt(place)
    place = (1.0 - place) * steps
    node = min(2 * int(0.5 * place), steps - 2)
    share = 0.5 * (place - node)
    rest = 1.0 - share
    return node, rest * (rest - share), 4.0 * share * rest, share * (share - rest)


@njit(cache=True)
def lookup_quotes(prepared: PreparedQuotes, t: float, inventory: int) -> tuple[float, float]:
    """(bid, ask) half-spreads of a prepared policy; nan where the side is not quoted and outside the grid."""
    table = prepared.table
    row = inventory + table.shape[0] // 2
    if not 0.0 <= t <= prepared.horizon or row < 0 or row >= table.shape[0]:
        return math.nan, math.nan
    node, left, middle, right = place_in_time(t, prepared.horizon, prepared.grading, table.shape[1] - 1)
    bid = left * table[row, node, 0] + middle * table[row, node + 1, 0] + right * table[row, node + 2, 0]
    ask = left * table[row, node, 1] + middle * table[row, node + 1, 1] + right * table[row, node + 2, 1]
    # Comparisons, not min and max: they leave nan as it is.
    if bid < prepared.low:
        bid = prepared.low
    if bid > prepared.high:
        bid = prepared.high
    if ask < prepared.low:
        ask = prepared.low
    if ask > prepared.high:
        ask = prepared.high
    return bid, ask


@njit(cache=True, nogil=True)
def lookup_many(prepared: PreparedQuotes, t: Floats, inventory: Integers, bid: Floats, ask: Floats) -> None:
    """Fill `bid` and `ask` (n,) with the quotes at times and inventories (n,)."""
    for i in range(t.size):
        bid[i], ask[i] = lookup_quotes(prepared, t[i], inventory[i])


@njit(cache=True)
def place_parameters(
    library: LibraryArrays, regime: int, parameters: Floats, corners: Integers, weights: Floats
) -> int:
    """How many policies surround the parameters, their rows and weights first in `corners`, `weights`; 0 outside.

    `parameters` (axes,) in the order of the axes; `corners` and `weights` have room for 2**axes.
    """
    count = 1
    corners[0] = regime * library.strides[0] * library.sizes[0] if library.sizes.size else regime
    weights[0] = 1.0
    start = 0
    for axis in range(library.sizes.size):
        value, size = parameters[axis], library.sizes[axis]
        if not library.values[start] <= value <= library.values[start + size - 1]:
            return 0
        cell, cells = 0, size - 1
        while cells > 1:
            half = cells >> 1
            if library.values[start + cell + half] <= value:
                cell += half
            cells -= half
        left, right = library.values[start + cell], library.values[start + cell + 1]
        share = (value - left) / (right - left)
        stride = library.strides[axis]
        for j in range(count):
            corners[j] += cell * stride
        # A policy of weight 0 is left out: on the grid the answer is the policy's own, and nothing more is read.
        if share == 1.0:
            for j in range(count):
                corners[j] += stride
        elif share > 0.0:
            for j in range(count):
                corners[count + j] = corners[j] + stride
                weights[count + j] = weights[j] * share
                weights[j] *= 1.0 - share
            count *= 2
        start += size
    return count


@njit(cache=True)
def lookup_corners(
    library: LibraryArrays, corners: Integers, weights: Floats, count: int, t: float, inventory: int
) -> tuple[float, float]:
    """(bid, ask) half-spreads between the policies that `place_parameters` found; nan outside the grid."""
    flat, nx, steps = library.flat, library.inventories, library.steps
    row = inventory + nx // 2
    if library.limits.shape[0] == 1:
        horizon, low, high = library.limits[0, 0], library.limits[0, 1], library.limits[0, 2]
    else:
        horizon = low = high = 0.0
        for j in range(count):
            horizon += weights[j] * library.limits[corners[j], 0]
            low += weights[j] * library.limits[corners[j], 1]
            high += weights[j] * library.limits[corners[j], 2]
    if count == 0 or not 0.0 <= t <= horizon or row < 0 or row >= nx:
        return math.nan, math.nan
    node, left, middle, right = place_in_time(t, horizon, library.grading, steps)
    bid = ask = 0.0
    for j in range(count):
        # Unsigned places spare the test for negative ones at each of the six numbers.
        place = np.uint64(2 * ((corners[j] * nx + row) * (steps + 1) + node))
        bid += weights[j] * (left * flat[place] + middle * flat[place + TWO] + right * flat[place + FOUR])
        ask += weights[j] * (left * flat[place + ONE] + middle * flat[place + THREE] + right * flat[place + FIVE])
    if bid < low:
        bid = low
    if bid > high:
        bid = high
    if ask < low:
        ask = low
    if ask > high:
        ask = high
    return bid, ask


@njit(cache=True, nogil=True)
def lookup_many_corners(
    library: LibraryArrays,
    regime: int,
    parameters: Floats,
    t: Floats,
    inventory: Integers,
    corners: Integers,
    weights: Floats,
    bid: Floats,
    ask: Floats,
) -> None:
    """Fill `bid` and `ask` (n,) with the quotes at parameters (n, axes), times and inventories (n,)."""
    for i in range(t.size):
        count = place_parameters(library, regime, parameters[i], corners, weights)
        bid[i], ask[i] = lookup_corners(library, corners, weights, count, t[i], inventory[i])
