"""Compiled quotes, fill rates and rewards of markets with exponential intensities (arrays in, outputs last).

Quotes come asks first: column j of the first half is the ask of state j + 1, which leads to state j; column j of the
second half the bid of state j, which leads to state j + 1.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from numba import njit

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


@njit(cache=True, nogil=True)
def fill_quotes(value: Floats, margin: float, low: float, high: float, quotes: Floats) -> None:
    """Fill the best quotes within [low, high]: the margin less what a fill changes V by."""
    half = value.shape[1] - 1
    for t in range(value.shape[0]):
        for j in range(half):
            step = value[t, j + 1] - value[t, j]
            quotes[t, j] = min(max(margin + step, low), high)
            quotes[t, half + j] = min(max(margin - step, low), high)


@njit(cache=True, nogil=True)
def fill_exponents(quotes: Floats, shifts: Floats, decay: float, exponents: Floats) -> None:
    """Fill k (shift - quote), the log of the fill rates; `shifts` (times, 2) for asks and bids."""
    half = quotes.shape[1] // 2
    for t in range(quotes.shape[0]):
        for side in range(2):
            for j in range(side * half, (side + 1) * half):
                exponents[t, j] = decay * (shifts[t, side] - quotes[t, j])


@njit(cache=True, nogil=True)
def fill_reward(quotes: Floats, rates: Floats, cost: float, holding: Floats, reward: Floats) -> None:
    """Fill rate times (quote less cost) of each state's two quotes, plus `holding` (states,)."""
    half = quotes.shape[1] // 2
    for t in range(quotes.shape[0]):
        for i in range(half + 1):
            reward[t, i] = holding[i]
        for j in range(half):
            reward[t, j + 1] += rates[t, j] * (quotes[t, j] - cost)
        for j in range(half):
            reward[t, j] += rates[t, half + j] * (quotes[t, half + j] - cost)


@njit(cache=True, nogil=True)
def fill_tangent(
    quotes: Floats, rates: Floats, value: Floats, cost: float, aversion: float, holding: Floats,
    tangent: Floats, reward: Floats,
) -> None:  # fmt: skip
    """Fill the tangent's rates lambda exp(-g z), and its reward: lambda U(z) less these times the change of V."""
    half = quotes.shape[1] // 2
    for t in range(quotes.shape[0]):
        for i in range(half + 1):
            reward[t, i] = holding[i]
        for side in range(2):
            for j in range(half):
                here, there = (j + 1, j) if side == 0 else (j, j + 1)
                column = side * half + j
                change = value[t, there] - value[t, here]
                loss = math.expm1(-aversion * (quotes[t, column] - cost + change))
                # exp(-g z) has the rounding of 1, which is all that it needs; the utility is accurate at small g too.
                tangent[t, column] = rates[t, column] * (1.0 + loss)
                reward[t, here] -= rates[t, column] * loss / aversion + tangent[t, column] * change
