"""Row digests: every column folded into two 64-bit lanes of each row."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

Words = NDArray[np.uint64]

_A = np.uint64(0x9E3779B97F4A7C15)
_B = np.uint64(0xC2B2AE3D27D4EB4F)
_C = np.uint64(0xFF51AFD7ED558CCD)
_D = np.uint64(0xC4CEB9FE1A85EC53)
_NULL_A = np.uint64(0x6A09E667F3BCC908)
_NULL_B = np.uint64(0xBB67AE8584CAA73B)
_S33 = np.uint64(33)
_S29 = np.uint64(29)
_S8 = np.uint64(8)


@njit(cache=True)
def _fold(state: np.uint64, word: np.uint64, factor: np.uint64) -> np.uint64:
    """One step of a multiplicative hash with the finaliser of MurmurHash3 (Austin Appleby, public domain)."""
    mixed = (state ^ word) * factor
    mixed ^= mixed >> _S33
    mixed *= _D
    return mixed ^ (mixed >> _S29)


@njit(cache=True)
def fold_numbers(values: Words, valid: NDArray[np.bool_], lane_a: Words, lane_b: Words) -> None:
    """Fold a column of 64-bit patterns into both lanes; a null has its own pattern."""
    for row in range(len(values)):
        if valid[row]:
            lane_a[row] = _fold(lane_a[row], values[row], _A)
            lane_b[row] = _fold(lane_b[row] + _B, values[row], _C)
        else:
            lane_a[row] = _fold(lane_a[row] + _C, _NULL_A, _A)
            lane_b[row] = _fold(lane_b[row] + _A, _NULL_B, _C)


@njit(cache=True)
def fold_bytes(
    starts: NDArray[np.int64], data: NDArray[np.uint8], valid: NDArray[np.bool_], lane_a: Words, lane_b: Words
) -> None:
    """Fold a column of byte strings, `data[starts[i]:starts[i + 1]]`, into both lanes, their lengths included."""
    for row in range(len(valid)):
        first, last = starts[row], starts[row + 1]
        if not valid[row]:
            lane_a[row] = _fold(lane_a[row] + _C, _NULL_A, _A)
            lane_b[row] = _fold(lane_b[row] + _A, _NULL_B, _C)
            continue
        a = _fold(lane_a[row], np.uint64(last - first), _A)
        b = _fold(lane_b[row] + _B, np.uint64(last - first), _C)
        place = first
        while place < last:
            word = np.uint64(0)
            end = min(place + 8, last)
            for k in range(end - 1, place - 1, -1):
                word = (word << _S8) | np.uint64(data[k])
            a, b = _fold(a, word, _A), _fold(b, word, _C)
            place = end
        lane_a[row], lane_b[row] = a, b


@njit(cache=True)
def sum_lanes(lane_a: Words, lane_b: Words, totals: Words) -> None:
    """Sum modulo 2^128 of the numbers lane_a * 2^64 + lane_b: high word, low word."""
    high, low = np.uint64(0), np.uint64(0)
    for row in range(len(lane_a)):
        before = low
        low += lane_b[row]
        high += lane_a[row] + (np.uint64(1) if low < before else np.uint64(0))
    totals[0], totals[1] = high, low
