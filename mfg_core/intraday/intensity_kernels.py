"""Compiled loops of the intensity calibration: time at distance of resting orders, and the Hawkes likelihood."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

NO_MID = -(2**62)


@njit(cache=True)
def time_at_distance(
    time: Floats,
    kind: Ints,
    place: Ints,
    change: Ints,
    orders: Ints,
    exposure: Any,
) -> None:
    """Seconds that resting orders spent at each distance from the mid, by block and side.

    Between changes the mid is constant, so an order at price p ticks is 2 p - mid half-ticks away from it (ask; bid:
    the other way round). Changes: kind 0 sets the mid to change half-ticks (`NO_MID`: none), 1 and 2 add `change`
    ask or bid orders at the tick `place`, 3 starts block `place`.

    Parameters
    ----------
    time, kind, place, change : (n,)
        In order of time.
    orders : (2, levels) int64
        Orders alive at each tick, asks first; overwritten.
    exposure : (blocks, 2, d) float64, output
        Column i is the distance of i + 1 half-ticks.
    """
    mid = NO_MID
    block = 0
    levels = orders.shape[1]
    reach = exposure.shape[2]
    for event in range(time.size):
        if kind[event] == 0:
            mid = change[event]
        elif kind[event] == 3:
            block = place[event]
        else:
            orders[kind[event] - 1, place[event]] += change[event]
        if event + 1 == time.size or mid == NO_MID:
            continue
        seconds = time[event + 1] - time[event]
        if seconds == 0.0:
            continue
        # 2 p - mid = 1 or 2 at the first ask tick above the mid, whichever is even with it.
        above = mid // 2 + 1
        column = 2 * above - mid - 1
        for level in range(max(above, 0), levels):
            if column + 2 * (level - above) >= reach:
                break
            exposure[block, 0, column + 2 * (level - above)] += seconds * orders[0, level]
        below = (mid - 1) // 2
        column = mid - 2 * below - 1
        for level in range(min(below, levels - 1), -1, -1):
            if column + 2 * (below - level) >= reach:
                break
            exposure[block, 1, column + 2 * (below - level)] += seconds * orders[1, level]


@njit(cache=True)
def hawkes_log_likelihood(time: Floats, end: float, base: float, branching: float, decay: float) -> float:
    """Log-likelihood on (0, end] of the rate base + sum branching decay exp(-decay (t - t_i)) (Ozaki 1979)."""
    total = -base * end
    excited = 0.0
    for i in range(time.size):
        if i > 0:
            excited = (excited + 1.0) * np.exp(-decay * (time[i] - time[i - 1]))
        total += np.log(base + branching * decay * excited) + branching * np.expm1(-decay * (end - time[i]))
    return total
