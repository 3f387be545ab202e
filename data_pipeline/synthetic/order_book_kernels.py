"""Compiled loops of the simulated order book; arrays in, output arrays last.

A side's book holds `levels` neighbouring ticks, so price p always lies in slot p mod levels: when the best price moves
by a tick, the level that falls off one end and the one that is new at the other have the same slot.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit

NEW, MOVE, FILL, CANCEL, HIDDEN, REDUCE, CROSS, HALT = 1, 2, 3, 4, 5, 6, 7, 8

(MID, HALF, NEXT_ORDER, TAKERS, FELL, ROSE, USED, DONE) = range(8)
"""Places in the whole-number state; FELL and ROSE count temporary moves of the mid that have still to revert."""
(NOW, ASK_EXCITED, BID_EXCITED) = range(3)
"""Places in the real state; times are seconds of trading, excitement a rate of market orders."""
(TIME, KIND, ORDER, SIDE, PRICE, BEFORE, TAKER, SIZE, LEFT) = range(9)
"""Columns of an event."""
SPARE_DRAWS = 8
"""Uniforms that one step takes at most besides those of the sizes of entering orders."""


@njit(cache=True)
def _log(
    rows: Any, n: int, time: int, kind: int, order: int, side: int, price: int, before: int, taker: int, size: int,
    left: int,
) -> int:  # fmt: skip
    row = rows[n]
    row[TIME], row[KIND], row[ORDER], row[SIDE], row[PRICE] = time, kind, order, side, price
    row[BEFORE], row[TAKER], row[SIZE], row[LEFT] = before, taker, size, left
    return n + 1


@njit(cache=True)
def _lots(draws: Any, whole: Any, largest: int) -> int:
    """Lots of an entering order: one of 1 to `largest`, alike."""
    if largest == 1:
        return 1
    draw = draws[whole[USED]]
    whole[USED] += 1
    return 1 + int(draw * largest)


@njit(cache=True)
def _settle(
    rows: Any, n: int, time: int, side: int, best: int, queue: int, largest: int, lot: int, draws: Any, whole: Any,
    shelf: Any, waiting: Any, orders: Any, left: Any,
) -> int:  # fmt: skip
    """Put every level of one side from `best` on in its place: orders of levels that fell off move, gaps are filled.

    shelf, waiting (levels,) int64: price and number of orders of a slot; orders, left (levels, queue) int64.
    """
    levels = shelf.size
    for level in range(levels):
        price = best - side * level
        slot = price % levels
        if shelf[slot] != price:
            for place in range(waiting[slot]):
                kept = left[slot, place]
                n = _log(rows, n, time, MOVE, orders[slot, place], side, price, shelf[slot], 0, kept, kept)
            shelf[slot] = price
    for level in range(levels):
        price = best - side * level
        slot = price % levels
        while waiting[slot] < queue:
            size = lot * _lots(draws, whole, largest)
            orders[slot, waiting[slot]], left[slot, waiting[slot]] = whole[NEXT_ORDER], size
            n = _log(rows, n, time, NEW, whole[NEXT_ORDER], side, price, 0, 0, size, size)
            waiting[slot] += 1
            whole[NEXT_ORDER] += 1
    return n


@njit(cache=True)
def _remove(slot: int, place: int, waiting: Any, orders: Any, left: Any) -> None:
    """Take an order out of its queue; those behind it move up."""
    for behind in range(place, waiting[slot] - 1):
        orders[slot, behind], left[slot, behind] = orders[slot, behind + 1], left[slot, behind + 1]
    waiting[slot] -= 1


@njit(cache=True)
def _take(
    rows: Any, n: int, time: int, side: int, best: int, ticks: int, lot: int, one_each: bool, draws: Any, whole: Any,
    waiting: Any, orders: Any, left: Any,
) -> int:  # fmt: skip
    """A market order takes all levels before the last it reaches, and there from the front one of 1 to all lots."""
    levels = waiting.size
    whole[TAKERS] += 1
    for level in range(ticks + 1):
        price = best - side * level
        slot = price % levels
        wanted = 0
        for place in range(waiting[slot]):
            wanted += left[slot, place]
        if level == ticks and not one_each:
            wanted = lot * (1 + int(draws[whole[USED]] * (wanted // lot)))
            whole[USED] += 1
        while wanted > 0:
            size = min(wanted, left[slot, 0])
            wanted -= size
            left[slot, 0] -= size
            n = _log(rows, n, time, FILL, orders[slot, 0], side, price, 0, whole[TAKERS], size, left[slot, 0])
            if left[slot, 0] == 0:
                _remove(slot, 0, waiting, orders, left)
    return n


@njit(cache=True)
def march_book(
    clock: int, seconds: float, half_spreads: Any, arrival: Any, walk: Any, rates: Any, shift: float, temporary: float,
    recovery: float, clustering: float, fading: float, queue: int, largest: int, lot: int, draws: Any, whole: Any,
    real: Any, shelf: Any, waiting: Any, orders: Any, left: Any, rows: Any,
) -> int:  # fmt: skip
    """Rows written until the session ends (whole[DONE] = 1), the uniforms run out or the rows are full.

    arrival, walk (2,): A per second and k times the tick of the asks and the bids; rates (6,) per second: moves of the
    mid, switches of the half-spread, withdrawals at the last level, hidden trades, withdrawals anywhere, reductions.
    draws (d,) uniforms in (0, 1); whole (8,) int64 and real (3,) the state; shelf, waiting (2, levels), orders, left
    (2, levels, queue) int64 the book, asks first; rows (r, 9) int64 the events.
    """
    levels = shelf.shape[1]
    one_each = queue == 1 and largest == 1
    spare_draws = SPARE_DRAWS + 2 * levels * queue
    spare_rows = 4 * levels * queue + 8
    bound = np.empty(10)
    n = 0
    if whole[NEXT_ORDER] == 0:
        whole[NEXT_ORDER] = 1
        for s in range(2):
            side = 2 * s - 1
            n = _settle(
                rows, n, clock, side, whole[MID] - side * whole[HALF], queue, largest, lot, draws, whole,
                shelf[s], waiting[s], orders[s], left[s],
            )  # fmt: skip
    while draws.size - whole[USED] >= spare_draws and rows.shape[0] - n >= spare_rows:
        mid, half = whole[MID], whole[HALF]
        steady_ask = (1.0 - clustering) * arrival[0] * math.exp(-walk[0] * half)
        steady_bid = (1.0 - clustering) * arrival[1] * math.exp(-walk[1] * half)
        bound[0] = steady_ask + real[ASK_EXCITED]
        bound[1] = steady_bid + real[BID_EXCITED]
        bound[2:8] = rates
        bound[8], bound[9] = recovery * whole[FELL], recovery * whole[ROSE]
        total = 0.0
        for k in range(10):
            total += bound[k]
        wait = -math.log(draws[whole[USED]]) / total
        whole[USED] += 1
        real[NOW] += wait
        if real[NOW] >= seconds:
            whole[DONE] = 1
            return n
        faded = math.exp(-fading * wait)
        real[ASK_EXCITED] *= faded
        real[BID_EXCITED] *= faded
        time = clock + int(np.rint(real[NOW] * 1e9))
        point = draws[whole[USED]] * total
        whole[USED] += 1
        what = 0
        while what < 9 and point >= bound[what]:
            point -= bound[what]
            what += 1
        away = 0
        if what < 2:
            s = what
            side = 2 * s - 1
            if point >= (steady_ask, steady_bid)[s] + real[ASK_EXCITED + s]:
                continue  # the excitement has faded since the bound was taken
            ticks = min(int(-math.log(draws[whole[USED]]) / walk[s]), levels - 1)
            whole[USED] += 1
            best = mid - side * half
            n = _take(
                rows, n, time, side, best, ticks, lot, one_each, draws, whole, waiting[s], orders[s], left[s]
            )  # fmt: skip
            real[ASK_EXCITED + s] += clustering * fading
            moved = draws[whole[USED]] < shift
            whole[USED] += 1
            if moved:
                whole[MID] -= side
                if temporary > 0.0:
                    whole[FELL if side > 0 else ROSE] += draws[whole[USED]] < temporary
                    whole[USED] += 1
            away = -side
        elif what >= 8:
            away = 1 if what == 8 else -1
            whole[MID] += away
            whole[FELL if what == 8 else ROSE] -= 1
        else:
            way = 1 if draws[whole[USED]] < 0.5 else -1
            whole[USED] += 1
            s = (way + 1) // 2
            if what == 2:
                whole[MID] += way
                away = way
            elif what == 3:
                whole[HALF] = half_spreads[0] + half_spreads[1] - half
                away = 1
            elif what == 5:
                whole[TAKERS] += 1
                size = lot * _lots(draws, whole, largest)
                n = _log(rows, n, time, HIDDEN, 0, way, mid, 0, whole[TAKERS], size, 0)
            else:
                level, place = levels - 1, queue - 1
                if what > 4:
                    level = int(draws[whole[USED]] * levels)
                    place = int(draws[whole[USED] + 1] * queue)
                    whole[USED] += 2
                price = mid - way * half - way * level
                slot = price % levels
                order, size = orders[s, slot, place], left[s, slot, place]
                if what == 7:
                    if size > lot:
                        left[s, slot, place] -= lot
                        n = _log(rows, n, time, REDUCE, order, way, price, 0, 0, lot, size - lot)
                else:
                    n = _log(rows, n, time, CANCEL, order, way, price, 0, 0, size, 0)
                    _remove(slot, place, waiting[s], orders[s], left[s])
                    away = way
        if away != 0:
            for side in (-away, away):
                s = (side + 1) // 2
                n = _settle(
                    rows, n, time, side, whole[MID] - side * whole[HALF], queue, largest, lot, draws, whole,
                    shelf[s], waiting[s], orders[s], left[s],
                )  # fmt: skip
    return n
