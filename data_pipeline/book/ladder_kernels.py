"""The compiled order book: price levels in pages of ticks with a bitmap of what is occupied, orders in a hash table.

A page holds 512 ticks of one side; `directory` gives each page's slot in the pool. One bit a level and one bit a page
make the next occupied level a matter of a few words, however wide the gap. All functions work in place on the arrays
of `data_pipeline.book.ladder.Ladder`; `head` holds its numbers under the indices below.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numba import njit

PAGE_BITS: Final = 9
PAGE: Final = 1 << PAGE_BITS
WORDS: Final = PAGE >> 5

BASE, USED, BEST_BID, BEST_ASK, NOW, PENDING, PICTURE, NEXT_CLOCK = 0, 1, 2, 3, 4, 5, 6, 7
LIVE, FILLED_SLOTS, EPOCH_BID, EPOCH_ASK = 8, 9, 10, 11
RESETS, CROSSED, LOCKED, MOMENTS, UNKNOWN, FIRST_SEEN, TWICE, HAS_LAST = 12, 13, 14, 15, 16, 17, 18, 19
HEAD: Final = 20

SKIP, PASS, SET, SNAP, CLEAR, BEST, ORDER_ADD, ORDER_CANCEL, ORDER_MODIFY = 0, 1, 2, 3, 4, 5, 6, 7, 8
"""What an event does: not of this clock; only time; a level; a level of a picture; a clear; a best quote; an order."""
F_TIME, F_SIDE, F_PRICE, F_QUANTITY, F_TICK, F_RANGE = 0, 1, 2, 3, 4, 5
FAULTS: Final = 6
EVERY_EVENT, EVERY_TIME, ON_CLOCK = 0, 1, 2
L2, L3, BEST_ONLY = 0, 1, 2

NEVER: Final = -(1 << 63)
NO_BID: Final = -(1 << 62)
NO_ASK: Final = 1 << 62
WIDEST: Final = 1 << 40
WHOLE: Final = 2.0**53


@njit(cache=True)
def _tick_of(price: float, numerator: float, denominator: float, listed: Any) -> Any:
    """Tick number of a price, and whether the price is exactly on it; NO_ASK where there is no such number.

    Of a list the first price that is not below it.
    """
    if denominator > 0.0:
        scaled = np.rint(price * denominator / numerator)
        if not abs(scaled) * numerator < WHOLE:
            return NO_ASK, False
        return int(scaled), scaled * numerator / denominator == price
    low, high = 0, listed.size
    while low < high:
        middle = (low + high) >> 1
        if listed[middle] < price:
            low = middle + 1
        else:
            high = middle
    return low, low < listed.size and listed[low] == price


@njit(cache=True)
def _nearest_listed(price: float, place: int, listed: Any) -> int:
    """Place of the listed price nearest to one between those at `place` - 1 and `place`."""
    if place == listed.size or (place > 0 and price - listed[place - 1] < listed[place] - price):
        return place - 1
    return place


@njit(cache=True)
def _clear_limit(side: int, price: float, numerator: float, denominator: float, listed: Any) -> Any:
    """Last tick that a clear of a side up to a price takes; between two ticks that is the one nearer to the best."""
    if denominator > 0.0 and not abs(price) * denominator < WHOLE:
        return NO_ASK if price > 0.0 else NO_BID
    near, exact = _tick_of(price, numerator, denominator, listed)
    if exact:
        return near
    shown = near * numerator / denominator if denominator > 0.0 else listed[near] if near < listed.size else np.inf
    if side == 0 and shown < price:
        return near + 1
    if side == 1 and shown > price:
        return near - 1
    return near


@njit(cache=True, inline="always")
def _fault(which: int, row: int, faults: Any, first: Any) -> None:
    if faults[which] == 0:
        first[which] = row
    faults[which] += 1


@njit(cache=True)
def classify(
    ev: Any,
    times: Any,
    px: Any,
    qty: Any,
    flag: int,
    source: int,
    nearest: bool,
    numerator: float,
    denominator: float,
    listed: Any,
    head: Any,
    code: Any,
    side: Any,
    tick: Any,
    faults: Any,
    first: Any,
) -> int:
    """What each event does to a book of this source, its side (0 bid, 1 ask, 2 both or unknown) and tick.

    faults, first (FAULTS,) int64: how many events break each rule, and the row of the first. The result is how many
    prices were moved to the nearest tick (0 unless `nearest`).
    """
    moved = 0
    now = head[NOW]
    for i in range(ev.size):
        code[i] = SKIP
        if ev[i] & flag == 0:
            continue
        if times[i] < now:
            _fault(F_TIME, i, faults, first)
        now = times[i]
        kind = ev[i] & 255
        where = 0 if ev[i] & (1 << 29) else (1 if ev[i] & (1 << 28) else 2)
        side[i] = where
        tick[i] = 0
        act = PASS
        if kind == 3:
            act = CLEAR
        elif source == L2:
            act = SET if kind == 1 else (SNAP if kind == 4 else PASS)
        elif source == L3:
            act = ORDER_ADD if kind == 10 else (ORDER_CANCEL if kind == 11 else (ORDER_MODIFY if kind == 12 else PASS))
        elif kind == 5:
            act = BEST
        code[i] = act
        if act in (PASS, ORDER_CANCEL):
            continue
        if act == CLEAR:
            if source == L2 and abs(px[i]) < 1e300 and where < 2:
                tick[i] = _clear_limit(where, px[i], numerator, denominator, listed)
            else:
                tick[i] = NO_BID if where == 0 else NO_ASK
            continue
        if where == 2 and act != ORDER_MODIFY:
            _fault(F_SIDE, i, faults, first)
        # quantities of orders are added up and taken off again: beyond 2**53 that leaves something else behind
        if not (qty[i] >= 0.0 and qty[i] < (WHOLE if source == L3 else 1e300)):
            _fault(F_QUANTITY, i, faults, first)
        if act == BEST and qty[i] == 0.0:
            continue
        if not abs(px[i]) < 1e300:
            _fault(F_PRICE, i, faults, first)
            continue
        near, exact = _tick_of(px[i], numerator, denominator, listed)
        if abs(near) > WIDEST:
            _fault(F_RANGE, i, faults, first)
            continue
        if not exact:
            if nearest and (denominator > 0.0 or listed.size > 0):
                moved += 1
                if denominator == 0.0:
                    near = _nearest_listed(px[i], near, listed)
            else:
                _fault(F_TICK, i, faults, first)
        tick[i] = near
    return moved


@njit(cache=True)
def page_span(code: Any, tick: Any, span: Any) -> None:
    """First and last page that the events name, into span (2,) int64; span[0] > span[1] where they name none."""
    span[0], span[1] = NO_ASK, NO_BID
    for i in range(code.size):
        if code[i] >= SET and code[i] != CLEAR and code[i] != ORDER_CANCEL:
            page = tick[i] >> PAGE_BITS
            span[0], span[1] = min(span[0], page), max(span[1], page)


@njit(cache=True)
def reserve(code: Any, side: Any, tick: Any, directory: Any, head: Any) -> None:
    """A slot of the pool for each page that the events name and that has none; an unknown side may be either."""
    for i in range(code.size):
        if code[i] >= SET and code[i] != CLEAR and code[i] != ORDER_CANCEL:
            place = (tick[i] >> PAGE_BITS) - head[BASE]
            for k in range(2):
                wanted = side[i] == k or side[i] == 2 or code[i] == ORDER_MODIFY
                if wanted and directory[k, place] < 0:
                    directory[k, place] = head[USED]
                    head[USED] += 1


@njit(cache=True)
def _highest_bit(word: int) -> int:
    place = 0
    if word >> 16:
        place, word = 16, word >> 16
    if word >> 8:
        place, word = place + 8, word >> 8
    if word >> 4:
        place, word = place + 4, word >> 4
    if word >> 2:
        place, word = place + 2, word >> 2
    return place + (word >> 1)


@njit(cache=True)
def _below(k: int, tick: int, head: Any, directory: Any, summary: Any, words: Any) -> Any:
    """Highest occupied tick of side k below `tick`, NO_BID where there is none."""
    page = (tick >> PAGE_BITS) - head[BASE]
    inside = tick & (PAGE - 1)
    if 0 <= page < directory.shape[1] and directory[k, page] >= 0:
        slot = directory[k, page]
        w = inside >> 5
        word = words[slot, w] & ((1 << (inside & 31)) - 1)
        while word == 0 and w > 0:
            w -= 1
            word = words[slot, w]
        if word:
            return ((page + head[BASE]) << PAGE_BITS) + (w << 5) + _highest_bit(word)
    page = min(page, directory.shape[1])
    if page <= 0:
        return NO_BID
    w = page >> 5
    word = summary[k, w] & ((1 << (page & 31)) - 1) if w < summary.shape[1] else 0
    while word == 0 and w > 0:
        w -= 1
        word = summary[k, w]
    if word == 0:
        return NO_BID
    page = (w << 5) + _highest_bit(word)
    slot = directory[k, page]
    w = WORDS - 1
    while words[slot, w] == 0:
        w -= 1
    return ((page + head[BASE]) << PAGE_BITS) + (w << 5) + _highest_bit(words[slot, w])


@njit(cache=True)
def _above(k: int, tick: int, head: Any, directory: Any, summary: Any, words: Any) -> Any:
    """Lowest occupied tick of side k above `tick`, NO_ASK where there is none."""
    page = (tick >> PAGE_BITS) - head[BASE]
    inside = tick & (PAGE - 1)
    if 0 <= page < directory.shape[1] and directory[k, page] >= 0:
        slot = directory[k, page]
        w = inside >> 5
        word = words[slot, w] & ~((2 << (inside & 31)) - 1)
        while word == 0 and w < WORDS - 1:
            w += 1
            word = words[slot, w]
        if word:
            return ((page + head[BASE]) << PAGE_BITS) + (w << 5) + _highest_bit(word & -word)
    page = max(page, -1)
    if page >= directory.shape[1] - 1:
        return NO_ASK
    w = (page + 1) >> 5
    word = summary[k, w] & ~((1 << ((page + 1) & 31)) - 1)
    while word == 0 and w < summary.shape[1] - 1:
        w += 1
        word = summary[k, w]
    if word == 0:
        return NO_ASK
    page = (w << 5) + _highest_bit(word & -word)
    slot = directory[k, page]
    w = 0
    while words[slot, w] == 0:
        w += 1
    return ((page + head[BASE]) << PAGE_BITS) + (w << 5) + _highest_bit(words[slot, w] & -words[slot, w])


@njit(cache=True, inline="always")
def _occupy(k: int, tick: int, slot: int, head: Any, summary: Any, words: Any) -> None:
    page, inside = (tick >> PAGE_BITS) - head[BASE], tick & (PAGE - 1)
    words[slot, inside >> 5] |= 1 << (inside & 31)
    summary[k, page >> 5] |= 1 << (page & 31)
    if k == 0:
        if tick > head[BEST_BID]:
            head[BEST_BID] = tick
    elif tick < head[BEST_ASK]:
        head[BEST_ASK] = tick


@njit(cache=True)
def _settle(k: int, tick: int, slot: int, head: Any, directory: Any, summary: Any, words: Any) -> None:
    """What a level that became empty in an empty word, or at the best, leaves to do: the page's bit, the next best."""
    page = (tick >> PAGE_BITS) - head[BASE]
    empty = True
    for w in range(WORDS):
        if words[slot, w]:
            empty = False
            break
    if empty:
        summary[k, page >> 5] &= ~(1 << (page & 31))
    if k == 0 and tick == head[BEST_BID]:
        head[BEST_BID] = _below(0, tick, head, directory, summary, words)
    elif k == 1 and tick == head[BEST_ASK]:
        head[BEST_ASK] = _above(1, tick, head, directory, summary, words)


@njit(cache=True, inline="always")
def _vacate(k: int, tick: int, slot: int, head: Any, directory: Any, summary: Any, words: Any) -> None:
    inside = tick & (PAGE - 1)
    word = words[slot, inside >> 5] & ~(1 << (inside & 31))
    words[slot, inside >> 5] = word
    # a call with seven arrays costs more than the rest of an event: only where it has something to do
    if word == 0 or tick == head[BEST_BID + k]:
        _settle(k, tick, slot, head, directory, summary, words)


@njit(cache=True, inline="always")
def _set_level(
    k: int, tick: int, amount: float, head: Any, directory: Any, summary: Any, words: Any, quantity: Any
) -> None:
    slot = directory[k, (tick >> PAGE_BITS) - head[BASE]]
    inside = tick & (PAGE - 1)
    before = quantity[slot, inside]
    quantity[slot, inside] = amount
    if amount > 0.0:
        if before == 0.0:
            _occupy(k, tick, slot, head, summary, words)
    elif before > 0.0:
        _vacate(k, tick, slot, head, directory, summary, words)


@njit(cache=True)
def _clear_side(
    k: int, limit: int, head: Any, directory: Any, summary: Any, words: Any, quantity: Any, count: Any
) -> None:
    """Take out every level of side k from its best to `limit`, both included."""
    nothing = NO_BID if k == 0 else NO_ASK
    tick = head[BEST_BID + k]
    while tick != nothing and (tick >= limit if k == 0 else tick <= limit):
        slot = directory[k, (tick >> PAGE_BITS) - head[BASE]]
        quantity[slot, tick & (PAGE - 1)] = 0.0
        count[slot, tick & (PAGE - 1)] = 0
        _vacate(k, tick, slot, head, directory, summary, words)
        tick = head[BEST_BID + k]


@njit(cache=True)
def _slot_of(order: int, keys: Any, order_side: Any) -> Any:
    """Slot of an order, or the empty slot where it would stand: linear probing, at most half full."""
    mask = keys.size - 1
    mixed = order * -7046029254386353131  # Fibonacci hashing: 2**64 over the golden ratio
    slot = (mixed ^ (mixed >> 29)) & mask
    while order_side[slot] >= 0 and keys[slot] != order:
        slot = (slot + 1) & mask
    return slot


@njit(cache=True)
def rehash(
    keys: Any,
    order_side: Any,
    order_tick: Any,
    order_left: Any,
    order_epoch: Any,
    head: Any,
    new_keys: Any,
    new_side: Any,
    new_tick: Any,
    new_left: Any,
    new_epoch: Any,
) -> None:
    """Move the orders that still stand into larger arrays (new_side -1 everywhere on entry)."""
    held = 0
    for i in range(keys.size):
        if order_side[i] >= 0 and order_left[i] > 0.0 and order_epoch[i] == head[EPOCH_BID + order_side[i]]:
            slot = _slot_of(keys[i], new_keys, new_side)
            new_keys[slot], new_side[slot], new_tick[slot] = keys[i], order_side[i], order_tick[i]
            new_left[slot], new_epoch[slot] = order_left[i], order_epoch[i]
            held += 1
    head[LIVE] = held
    head[FILLED_SLOTS] = held


@njit(cache=True)
def _shift_level(
    k: int,
    tick: int,
    amount: float,
    orders: int,
    head: Any,
    directory: Any,
    summary: Any,
    words: Any,
    quantity: Any,
    count: Any,
) -> None:
    """Add quantity and orders to a level; without orders it is empty, whatever rounding left of its quantity."""
    slot = directory[k, (tick >> PAGE_BITS) - head[BASE]]
    inside = tick & (PAGE - 1)
    before = count[slot, inside]
    count[slot, inside] = before + orders
    if before + orders == 0:
        quantity[slot, inside] = 0.0
        if before:
            _vacate(k, tick, slot, head, directory, summary, words)
        return
    quantity[slot, inside] += amount
    if before == 0:
        _occupy(k, tick, slot, head, summary, words)


@njit(cache=True)
def _place_order(
    act: int,
    order: int,
    k: int,
    tick: int,
    amount: float,
    head: Any,
    directory: Any,
    summary: Any,
    words: Any,
    quantity: Any,
    count: Any,
    keys: Any,
    order_side: Any,
    order_tick: Any,
    order_left: Any,
    order_epoch: Any,
) -> None:
    """Add, change or take out one order."""
    slot = _slot_of(order, keys, order_side)
    seen = order_side[slot] >= 0
    stands = seen and order_left[slot] > 0.0 and order_epoch[slot] == head[EPOCH_BID + order_side[slot]]
    if act == ORDER_CANCEL:
        amount = 0.0
        if not stands:
            head[UNKNOWN] += 1
            return
    if act == ORDER_ADD and stands:
        head[TWICE] += 1
    if act == ORDER_MODIFY:
        if not stands:
            if k == 2:
                head[UNKNOWN] += 1
                return
            head[FIRST_SEEN] += 1
        else:
            k = order_side[slot]
    if stands:
        old = order_left[slot]
        old_side, old_tick = order_side[slot], order_tick[slot]
        if act == ORDER_MODIFY and old_tick == tick and amount > 0.0:
            _shift_level(k, tick, amount - old, 0, head, directory, summary, words, quantity, count)
            order_left[slot] = amount
            return
        _shift_level(old_side, old_tick, -old, -1, head, directory, summary, words, quantity, count)
        head[LIVE] -= 1
        order_left[slot] = 0.0
    if amount > 0.0:
        if not seen:
            head[FILLED_SLOTS] += 1
        keys[slot], order_side[slot], order_tick[slot] = order, k, tick
        order_left[slot], order_epoch[slot] = amount, head[EPOCH_BID + k]
        head[LIVE] += 1
        _shift_level(k, tick, amount, 1, head, directory, summary, words, quantity, count)


@njit(cache=True, inline="always")
def _emit(
    row: int,
    time: int,
    changes: bool,
    head: Any,
    directory: Any,
    summary: Any,
    words: Any,
    quantity: Any,
    last: Any,
    last_amount: Any,
    out_time: Any,
    out_tick: Any,
    out_amount: Any,
) -> int:
    """Write the book's best levels as one row; with `changes` only where they differ from the row before."""
    levels = last.shape[1]
    differs = head[HAS_LAST] == 0
    bid, ask = head[BEST_BID], head[BEST_ASK]
    for n in range(levels):
        have, want = 0.0, 0.0
        if bid != NO_BID:
            have = quantity[directory[0, (bid >> PAGE_BITS) - head[BASE]], bid & (PAGE - 1)]
        if ask != NO_ASK:
            want = quantity[directory[1, (ask >> PAGE_BITS) - head[BASE]], ask & (PAGE - 1)]
        out_tick[row, 0, n], out_tick[row, 1, n] = bid, ask
        out_amount[row, 0, n], out_amount[row, 1, n] = have, want
        if changes:
            differs = differs or bid != last[0, n] or ask != last[1, n]
            differs = differs or have != last_amount[0, n] or want != last_amount[1, n]
            last[0, n], last[1, n], last_amount[0, n], last_amount[1, n] = bid, ask, have, want
        if n + 1 < levels:
            if bid != NO_BID:
                bid = _below(0, bid, head, directory, summary, words)
            if ask != NO_ASK:
                ask = _above(1, ask, head, directory, summary, words)
    out_time[row] = time
    if changes:
        head[HAS_LAST] = 1
        return row + 1 if differs else row
    return row + 1


@njit(cache=True)
def _look(head: Any) -> None:
    """Count the moment that just ended, and whether the book was crossed or locked after it."""
    head[MOMENTS] += 1
    if head[BEST_BID] != NO_BID and head[BEST_ASK] != NO_ASK:
        if head[BEST_BID] > head[BEST_ASK]:
            head[CROSSED] += 1
        elif head[BEST_BID] == head[BEST_ASK]:
            head[LOCKED] += 1


@njit(cache=True)
def apply(
    code: Any,
    side: Any,
    tick: Any,
    times: Any,
    qty: Any,
    order: Any,
    every: int,
    interval: int,
    phase: int,
    changes: bool,
    head: Any,
    directory: Any,
    summary: Any,
    words: Any,
    quantity: Any,
    count: Any,
    keys: Any,
    order_side: Any,
    order_tick: Any,
    order_left: Any,
    order_epoch: Any,
    last: Any,
    last_amount: Any,
    out_time: Any,
    out_tick: Any,
    out_amount: Any,
) -> int:
    """Apply classified events in order; the number of rows written to the outputs."""
    rows = 0
    for i in range(code.size):
        act = code[i]
        if act == SKIP:
            continue
        time = times[i]
        if time != head[NOW]:
            if head[PENDING]:
                _look(head)
                if every == EVERY_TIME:
                    rows = _emit(
                        rows, head[NOW], changes, head, directory, summary, words, quantity, last, last_amount,
                        out_time, out_tick, out_amount,
                    )  # fmt: skip
                head[PENDING] = 0
            if every == ON_CLOCK:
                if head[NEXT_CLOCK] == NEVER:
                    head[NEXT_CLOCK] = -((phase - time) // interval) * interval + phase
                while head[NEXT_CLOCK] < time:
                    rows = _emit(
                        rows, head[NEXT_CLOCK], changes, head, directory, summary, words, quantity, last, last_amount,
                        out_time, out_tick, out_amount,
                    )  # fmt: skip
                    head[NEXT_CLOCK] += interval
            head[NOW] = time
        if act == PASS:
            continue
        k = side[i]
        if act == SET:
            head[PICTURE] = NEVER
            _set_level(k, tick[i], qty[i], head, directory, summary, words, quantity)
        elif act == SNAP:
            if head[PICTURE] != time:
                _clear_side(0, NO_BID, head, directory, summary, words, quantity, count)
                _clear_side(1, NO_ASK, head, directory, summary, words, quantity, count)
                head[PICTURE] = time
                head[RESETS] += 1
            _set_level(k, tick[i], qty[i], head, directory, summary, words, quantity)
        elif act == CLEAR:
            head[PICTURE] = time
            if k != 1:
                _clear_side(
                    0, tick[i] if k == 0 else NO_BID, head, directory, summary, words, quantity, count
                )  # fmt: skip
                head[EPOCH_BID] += 1
            if k != 0:
                _clear_side(1, tick[i], head, directory, summary, words, quantity, count)
                head[EPOCH_ASK] += 1
        elif act == BEST:
            if k == 0:
                _clear_side(0, NO_BID, head, directory, summary, words, quantity, count)
            else:
                _clear_side(1, NO_ASK, head, directory, summary, words, quantity, count)
            if qty[i] > 0.0:
                _set_level(k, tick[i], qty[i], head, directory, summary, words, quantity)
        else:
            _place_order(
                act, order[i], k, tick[i], qty[i], head, directory, summary, words, quantity, count,
                keys, order_side, order_tick, order_left, order_epoch,
            )  # fmt: skip
        head[PENDING] = 1
        if every == EVERY_EVENT:
            rows = _emit(
                rows, time, changes, head, directory, summary, words, quantity, last, last_amount,
                out_time, out_tick, out_amount,
            )  # fmt: skip
    return rows


@njit(cache=True)
def flush(
    until: int,
    every: int,
    interval: int,
    changes: bool,
    head: Any,
    directory: Any,
    summary: Any,
    words: Any,
    quantity: Any,
    last: Any,
    last_amount: Any,
    out_time: Any,
    out_tick: Any,
    out_amount: Any,
) -> int:
    """The rows that nothing can change any more when no event up to `until` will follow."""
    rows = 0
    if head[PENDING]:
        _look(head)
        if every == EVERY_TIME:
            rows = _emit(
                rows, head[NOW], changes, head, directory, summary, words, quantity, last, last_amount,
                out_time, out_tick, out_amount,
            )  # fmt: skip
        head[PENDING] = 0
    if every == ON_CLOCK and head[NEXT_CLOCK] != NEVER:
        while head[NEXT_CLOCK] <= until:
            rows = _emit(
                rows, head[NEXT_CLOCK], changes, head, directory, summary, words, quantity, last, last_amount,
                out_time, out_tick, out_amount,
            )  # fmt: skip
            head[NEXT_CLOCK] += interval
    return rows
