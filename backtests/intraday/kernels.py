"""The compiled event engine: two places with a book each, own orders at the exchange, messages between them.

    classify       events of the store's layout -> the stream of each place: time, tick, lots, what it does
    march          both streams, own requests and answers in the order of docs/event-engine.md; calls the rule

Everything is in arrays that the caller made (`backtests.intraday.engine_state`); numbers are under the places below.
`march` does as much as is certain and says why it stopped; it goes on from there when it is called again. It has a
declared signature, a rule being any compiled function of `rule.SIGNATURE`: it is compiled once for all rules.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numba import extending, float64, int64, njit, types

from strategies.intraday.rule import SIGNATURE

_intrinsic: Any = extending.intrinsic
_pointer: Any = types.CPointer


def _numbers(*numbers: int) -> tuple[Any, ...]:
    """As int64: a literal of Python's handed to a compiled function would compile a version of it for each number."""
    return tuple(np.int64(number) for number in numbers)


# Numbers of strategies.intraday.rule, data_pipeline.book.events and backtests.intraday.outcome, written again: a
# compiled loop does not see an edit of another file.
NOW, OPEN, CLOSE, PHASE, WHY = 0, 1, 2, 3, 4
BEST_BID, BEST_ASK, BASE = 5, 6, 7
LAST_TICK, LAST_SIDE = 8, 9
POSITION, OPEN_BUY, OPEN_SELL, N_OWN, NEXT_ID = 10, 11, 12, 13, 14
MAX_POSITION, MAX_ORDER = 15, 16
BID_LOTS, ASK_LOTS, LAST_LOTS = 0, 1, 2
BOUGHT, SOLD, TRADES = 3, 4, 5
SQUARED_MOVES, MID_MOVES = 6, 7
SECONDS_QUOTED, SPREAD_SECONDS = 8, 9
NO_BID, NO_ASK = _numbers(-(1 << 62), (1 << 62) - 1)
BID, ASK = _numbers(0, 1)
NONE, YES, NO_ROW = _numbers(0, 1, -1)
CONTINUOUS, AUCTION, HALTED, CLOSED = 0, 1, 2, 3
ON_CLOCK, ON_OWN, ON_TRADE, ON_PHASE = 1, 2, 4, 8
SUBMIT, CANCEL, REPLACE = _numbers(*range(1, 4))
LIMIT, POST_ONLY, IOC, FOK, MARKET = _numbers(*range(0, 5))
SENT, WORKING, CANCEL_SENT, REPLACE_SENT = 1, 2, 3, 4
MOST_REQUESTS: Final = 64
NO_MID: Final = -(1 << 62)
BY_QUEUE, BY_PRINT_THROUGH, BY_BOOK_THROUGH, BY_CROSSING, BY_AUCTION, BY_LIQUIDATION = _numbers(*range(1, 7))
STILL_OPEN, FILLED, CANCELLED, REPLACED = _numbers(*range(0, 4))
REJECTED_POST_ONLY, REJECTED_PHASE, REJECTED_LIMIT, EXPIRED, REJECTED_FORM, TOO_LATE = _numbers(*range(4, 10))

# What an event does; its code is 8 * act + 4 where its price is off the tick + its side (0 bid or bought, 1; 2 none).
PASS, SET, SNAP, CLEAR, BEST, ADD, TAKE_OUT, CHANGE, REPORT, PRINT = 0, 1, 2, 3, 4, 5, 6, 7, 8, 9
L2, L3, BEST_ONLY = 0, 1, 2
F_TIME, F_SIDE, F_PRICE, F_QUANTITY, F_TICK, F_RANGE = 0, 1, 2, 3, 4, 5
FAULTS: Final = 6
WIDEST: Final = 1 << 40
HIGHEST_ID: Final = 1 << 62
WHOLE: Final = 2.0**53
PAGE_BITS: Final = 9
SECOND: Final = 1_000_000_000
MOST_SECONDS: Final = 1 << 32  # of ticks x seconds: as ns they are within int64

# Settings, `conf` (int64) and `rates` (float64).
C_START, C_STOP, C_LIQUIDATE, C_INTERVAL, C_CALLS, C_CROSS, C_SAMPLE = 0, 1, 2, 3, 4, 5, 6
C_QUEUE, C_SHAPE, C_VERSION, C_WHOLE_FILLS, C_SOURCE = 7, 8, 9, 10, 11
C_LATENCY, C_ENTRY, C_RESPONSE, C_SEED, C_MAX_POSITION, C_MAX_ORDER, C_ROWS = 12, 13, 14, 15, 16, 17, 18
CONF: Final = 19
PESSIMISTIC, PROBABILISTIC, EXACT, TRADE_THROUGH, ASSUMED = 0, 1, 2, 3, 4
LOG, POWER = 0, 1
CONSTANT, SAMPLED, RECORDED = 0, 1, 2
R_EXPONENT, R_ASSUMED = 0, 1

# State of a place's book (int64), of the exchange's and of the local one.
S_BASE, S_BEST, S_LEVELS, S_PICTURE, S_NOW, S_AT, S_SIZE = 0, 1, 3, 5, 6, 7, 8  # S_BEST and S_LEVELS: bid, then ask
S_LIVE, S_SLOTS, S_EPOCH, S_SEQ, S_UNKNOWN, S_TWICE, S_FIRST_SEEN = 9, 10, 11, 13, 14, 15, 16
S_MID, S_CROSSED, S_EVENTS, S_NO_SIDE, S_LAST_PRINT, S_LAST_MID = 17, 18, 19, 20, 21, 22
S_PHASE, S_NEXT_PHASE, S_REST, S_SINCE, S_TOUCHED = 23, 24, 25, 27, 28
S_BID_THEN, S_ASK_THEN, S_THEN, S_TRADE_AT, S_QUOTED, S_SPREAD, S_MOVES, S_SQUARES, S_MID_THEN, S_STARTED = range(
    29, 39
)
S_EARLY, S_LONG_SPREAD = 39, 40  # seen before they happened; whole seconds x ticks of S_SPREAD
PLACE: Final = 41

# State of the engine (int64).
E_CLOCK, E_LIQUIDATED, E_POSITION, E_KNOWN, E_PHASE, E_NEXT_ID, E_OWN = 0, 1, 2, 3, 4, 5, 6
E_REQ_HEAD, E_REQ_TAIL, E_MSG_HEAD, E_MSG_TAIL, E_LAST_REQ, E_LAST_MSG = 7, 8, 9, 10, 11, 12
E_FILLS, E_ORDERS, E_SAMPLES, E_SENT, E_UNASKED, E_NEED = 13, 14, 15, 16, 17, 18
E_IN_SYNC, E_ROUND, E_REASONS, E_SYNC_AT, E_ANSWER, E_STEPS = 19, 20, 21, 22, 23, 24
E_QUOTED, E_COUNTS = 25, 29  # four numbers from E_QUOTED on
ENGINE: Final = 60
# Counts, from E_COUNTS on.
(
    N_CALLS, N_CLOCK, N_SUBMITTED, N_CANCELS, N_REPLACES, N_REFUSED_FORM, N_REFUSED_LIMIT, N_FORM, N_PHASE, N_POST_ONLY,
    N_EXPIRED, N_LATE_CANCELS, N_LATE_REPLACES, N_LIQUIDATION, N_CAUSE,
) = range(15)  # fmt: skip

# Columns.
(O_ID, O_TICK, O_LEFT, O_KIND, O_ROW, O_DONE, O_SEQ) = range(7)  # an own order at rest at the exchange
RESTING: Final = 7
A_AHEAD, A_SHOWN = 0, 1
(Q_TIME, Q_ACTION, Q_ID, Q_SIDE, Q_TICK, Q_LOTS, Q_KIND, Q_SENT, Q_RESPONSE, Q_ROW, Q_ENGINE) = range(11)  # on its way
REQUEST: Final = 11
(M_TIME, M_WHAT, M_ID, M_SIDE, M_TICK, M_LOTS) = range(6)  # a message on its way back
MESSAGE: Final = 6
M_FILL, M_ACCEPTED, M_ENDED, M_REPLACED, M_NOT_REPLACED, M_NOT_CANCELLED, M_PHASE = _numbers(*range(0, 7))
(W_ID, W_SIDE, W_TICK, W_LOTS, W_STATE, W_SENT) = range(6)  # OWN_DTYPE
OWN_COLUMNS: Final = 6
X_DONE, X_NEW, X_ENGINE, X_KIND = 0, 1, 2, 3  # beside it: filled as known, lots asked for, the engine's, kind
OWN_BESIDE: Final = 4
(B_KEY, B_SIDE, B_TICK, B_EPOCH, B_SEQ) = range(5)  # an order of the market
ORDER_COLUMNS: Final = 5
MOST_OWN: Final = 1024
MARGIN: Final = 2 * MOST_OWN + 64
SPARE: Final = 4

# Why `march` stopped.
DONE, NEED_EVENTS, NEED_X_ROOM, NEED_L_ROOM, NEED_X_ORDERS, NEED_L_ORDERS, NEED_OUTPUT = 0, 1, 2, 3, 4, 5, 6
BAD_COUNT, NO_END = 7, 8
NEVER: Final = (1 << 63) - 1

_G, _M1, _M2 = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_30, _27, _31, _1 = np.uint64(30), np.uint64(27), np.uint64(31), np.uint64(1)


@_intrinsic
def _words(context: Any, array: Any) -> Any:
    """Pointer to an array's first number: one word to hand to a function, and no reference to count."""

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return context.make_array(signature.args[0])(context, builder, arguments[0]).data

    return _pointer(array.dtype)(array), build


@_intrinsic
def _lent(context: Any, array: Any) -> Any:
    """The array without its owner: no reference to count where it is handed on. The caller of `march` holds it."""

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        made = context.make_array(signature.return_type)(context, builder, arguments[0])
        made.meminfo = made.meminfo.type(None)
        return made._getvalue()

    return array(array), build


# ---- events to streams


@njit(cache=True, inline="always")
def _fault(which: int, row: int, faults: Any, first: Any) -> None:
    if faults[which] == 0:
        first[which] = row
    faults[which] += 1


@njit(cache=True)
def classify(
    ev: Any,
    exch_ts: Any,
    local_ts: Any,
    px: Any,
    qty: Any,
    order: Any,
    stop: int,
    source: int,
    numerator: float,
    denominator: float,
    lot: float,
    xs: Any,
    ls: Any,
    x_times: Any,
    x_whole: Any,
    x_lots: Any,
    l_times: Any,
    l_whole: Any,
    l_lots: Any,
    faults: Any,
    first: Any,
) -> None:
    """Append events to both streams, from place xs[S_SIZE] and ls[S_SIZE] on.

    x_times, l_times (n,) int64; x_whole, l_whole (n, 3) int64: tick, code, order number; x_lots, l_lots (n,). faults,
    first (FAULTS,) int64: how many events break each rule and the row of the first.
    """
    xn, ln = xs[S_SIZE], ls[S_SIZE]
    x_last = x_times[xn - 1] if xn > 0 else xs[S_NOW]
    l_last = l_times[ln - 1] if ln > 0 else ls[S_NOW]
    for i in range(ev.size):
        seen = ev[i]
        at_exchange, at_local = seen & (1 << 31) != 0, seen & (1 << 30) != 0
        if not at_exchange and not at_local:
            continue
        if (at_exchange and exch_ts[i] < x_last) or (at_local and local_ts[i] < l_last):
            _fault(F_TIME, i, faults, first)
        kind = seen & 255
        side = 0 if seen & (1 << 29) else (1 if seen & (1 << 28) else 2)
        act = PASS
        if kind == 2:
            act = PRINT
        elif kind == 3:
            act = CLEAR
        elif source == L2:
            act = SET if kind == 1 else (SNAP if kind == 4 else PASS)
        elif source == L3:
            if 10 <= kind <= 13:
                act = ADD + (kind - 10)
        elif kind == 5:
            act = BEST
        tick, off, lots = 0, 0, 0.0
        if act == CLEAR:
            tick = NO_BID if side == 0 else NO_ASK
            if source == L2 and side < 2 and abs(px[i]) < 1e300:
                # up to a price between two ticks: up to the nearer one to the best
                scaled = px[i] * denominator / numerator
                if abs(scaled) < WIDEST:
                    near = np.rint(scaled)
                    exact = near * numerator / denominator == px[i]
                    tick = int(near) if exact else int(np.ceil(scaled) if side == 0 else np.floor(scaled))
                elif (scaled > 0.0) == (side == 0):
                    tick = NO_ASK if side == 0 else NO_BID
        elif act != PASS and act != TAKE_OUT:
            if side == 2 and act != CHANGE and act != PRINT:
                _fault(F_SIDE, i, faults, first)
            if not (qty[i] >= 0.0 and qty[i] < (WHOLE if source == L3 else 1e300)):
                _fault(F_QUANTITY, i, faults, first)
            lots = qty[i] / lot
            near = np.rint(lots)
            if abs(lots - near) <= 1e-9 * max(1.0, abs(near)):
                lots = near
            if act != BEST or lots != 0.0:
                if not abs(px[i]) < 1e300:
                    _fault(F_PRICE, i, faults, first)
                else:
                    scaled = np.rint(px[i] * denominator / numerator)
                    if not abs(scaled) * numerator < WHOLE or abs(scaled) > WIDEST:
                        _fault(F_RANGE, i, faults, first)
                    else:
                        tick = int(scaled)
                        shown = scaled * numerator / denominator
                        if shown != px[i]:
                            if act != PRINT:
                                _fault(F_TICK, i, faults, first)
                            off = 4
                            tick -= shown > px[i]
        code = 8 * act + off + side
        if at_exchange and at_local and local_ts[i] < exch_ts[i] <= stop:
            xs[S_EARLY] += 1
        if at_exchange:
            x_last = x_times[xn] = exch_ts[i]
            x_whole[xn, 0], x_whole[xn, 1], x_whole[xn, 2], x_lots[xn] = tick, code, order[i], lots
            xn += 1
        if at_local:
            l_last = l_times[ln] = local_ts[i]
            l_whole[ln, 0], l_whole[ln, 1], l_whole[ln, 2], l_lots[ln] = tick, code, order[i], lots
            ln += 1
    xs[S_SIZE], ls[S_SIZE] = xn, ln


# ---- a book, dense by tick


@njit(cache=True)
def _behind(k: int, i: int, s: Any, book: Any, pages: Any) -> Any:
    """Tick of the best level of side k behind place i, NO_BID or NO_ASK where there is none."""
    if s[S_LEVELS + k] > 0:
        if k == 0:
            i = min(i, book.shape[1]) - 1
            while i >= 0:
                if pages[0, i >> PAGE_BITS] == 0:
                    i = ((i >> PAGE_BITS) << PAGE_BITS) - 1
                elif book[0, i] > 0.0:
                    return i + s[S_BASE]
                else:
                    i -= 1
        else:
            i = max(i, -1) + 1
            while i < book.shape[1]:
                if pages[1, i >> PAGE_BITS] == 0:
                    i = ((i >> PAGE_BITS) + 1) << PAGE_BITS
                elif book[1, i] > 0.0:
                    return i + s[S_BASE]
                else:
                    i += 1
    return NO_BID if k == 0 else NO_ASK


@njit(cache=True, inline="always")
def _set_level(k: int, i: int, lots: float, s: Any, book: Any, pages: Any) -> Any:
    """Lots that the level had before."""
    before = book[k, i]
    book[k, i] = lots
    if lots > 0.0:
        if before == 0.0:
            pages[k, i >> PAGE_BITS] += 1
            s[S_LEVELS + k] += 1
            tick = i + s[S_BASE]
            if k == 0:
                if tick > s[S_BEST]:
                    s[S_BEST] = tick
            elif tick < s[S_BEST + 1]:
                s[S_BEST + 1] = tick
    elif before > 0.0:
        pages[k, i >> PAGE_BITS] -= 1
        s[S_LEVELS + k] -= 1
        if i + s[S_BASE] == s[S_BEST + k]:
            s[S_BEST + k] = _behind(k, i, s, book, pages)
    return before


@njit(cache=True)
def _clear_side(k: int, limit: int, s: Any, book: Any, pages: Any, count: Any) -> None:
    """Take out the levels of side k from its best to `limit`, both included."""
    nothing = NO_BID if k == 0 else NO_ASK
    while s[S_BEST + k] != nothing and (s[S_BEST + k] >= limit if k == 0 else s[S_BEST + k] <= limit):
        i = s[S_BEST + k] - s[S_BASE]
        _set_level(k, i, 0.0, s, book, pages)
        count[k, i] = 0


@njit(cache=True)
def _slot(order: int, table: Any) -> Any:
    """Slot of an order, or the empty one where it would stand: linear probing, at most half full; side -1 is empty."""
    mask = table.shape[0] - 1
    mixed = order * -7046029254386353131  # Fibonacci hashing: 2**64 over the golden ratio
    slot = (mixed ^ (mixed >> 29)) & mask
    while table[slot, B_SIDE] >= 0 and table[slot, B_KEY] != order:
        slot = (slot + 1) & mask
    return slot


@njit(cache=True)
def rehash(s: Any, table: Any, left: Any, new_table: Any, new_left: Any) -> None:
    """Move the orders that still stand into larger arrays (sides -1 on entry)."""
    held = 0
    for i in range(table.shape[0]):
        k = table[i, B_SIDE]
        if k >= 0 and left[i] > 0.0 and table[i, B_EPOCH] == s[S_EPOCH + k]:
            slot = _slot(table[i, B_KEY], new_table)
            for c in range(ORDER_COLUMNS):
                new_table[slot, c] = table[i, c]
            new_left[slot] = left[i]
            held += 1
    s[S_SLOTS] = held


@njit(cache=True)
def _shift_level(k: int, i: int, lots: float, orders: int, s: Any, book: Any, pages: Any, count: Any) -> Any:
    """Add lots and orders to a level; without orders it is empty, whatever rounding left. What it had before."""
    count[k, i] += orders
    after = book[k, i] + lots if count[k, i] > 0 else 0.0
    return _set_level(k, i, after, s, book, pages)


@njit(cache=True)
def _order_event(
    act: int, order: int, k: int, tick: int, lots: float, s: Any, book: Any, pages: Any, count: Any,
    table: Any, left: Any,
    whole: Any, real: Any,
) -> None:  # fmt: skip
    """One order added, changed or taken out; what it did to levels goes into whole and real.

    whole: changes (0 to 2), then for each side, tick, and the number under which what was taken out joined (-1 none);
    real: for each lots before, lots after, lots taken out.
    """
    whole[0] = 0
    slot = _slot(order, table)
    seen = table[slot, B_SIDE] >= 0
    stands = seen and left[slot] > 0.0 and table[slot, B_EPOCH] == s[S_EPOCH + table[slot, B_SIDE]]
    if act == TAKE_OUT:
        lots = 0.0
        if not stands:
            s[S_UNKNOWN] += 1
            return
    elif act == ADD:
        if stands:
            s[S_TWICE] += 1
    elif stands:
        k = table[slot, B_SIDE]
    else:
        if k == 2:
            s[S_UNKNOWN] += 1
            return
        s[S_FIRST_SEEN] += 1
    n = 0
    if stands:
        old_k, old_tick, old, seq = table[slot, B_SIDE], table[slot, B_TICK], left[slot], table[slot, B_SEQ]
        i = old_tick - s[S_BASE]
        whole[1], whole[2], whole[3] = old_k, old_tick, seq
        if act == CHANGE and old_tick == tick and lots > 0.0:
            real[0] = _shift_level(k, i, lots - old, NONE, s, book, pages, count)
            real[1] = book[k, i]
            real[2] = old - lots
            if lots > old:  # more: it joins anew
                real[2] = old
                table[slot, B_SEQ] = s[S_SEQ]
                s[S_SEQ] += 1
            left[slot] = lots
            whole[0] = 1
            return
        real[0] = _shift_level(old_k, i, -old, NO_ROW, s, book, pages, count)
        real[1] = book[old_k, i]
        real[2] = old
        left[slot] = 0.0
        n = 1
    if lots > 0.0:
        if not seen:
            s[S_SLOTS] += 1
        table[slot, B_KEY], table[slot, B_SIDE], table[slot, B_TICK] = order, k, tick
        table[slot, B_EPOCH], table[slot, B_SEQ] = s[S_EPOCH + k], s[S_SEQ]
        s[S_SEQ] += 1
        left[slot] = lots
        i = tick - s[S_BASE]
        whole[1 + 3 * n], whole[2 + 3 * n], whole[3 + 3 * n] = k, tick, -1
        real[3 * n] = _shift_level(k, i, lots, YES, s, book, pages, count)
        real[3 * n + 1] = book[k, i]
        real[3 * n + 2] = 0.0
        n += 1
    whole[0] = n


# ---- delays and messages


@njit(cache=True)
def _mixed_row(j: int, seed: int, rows: int) -> Any:
    """Row that the j-th draw of splitmix64 (Steele, Lea and Flood 2014) takes."""
    z = np.uint64(seed) + (np.uint64(j) + _1) * _G
    z = (z ^ (z >> _30)) * _M1
    z = (z ^ (z >> _27)) * _M2
    return np.int64((z ^ (z >> _31)) % np.uint64(rows))


@njit(cache=True)
def _interpolated(time: int, first: int, rows: int, delays: Any) -> Any:
    low, high = 0, rows
    while low < high:
        middle = (low + high) >> 1
        if delays[middle] <= time:
            low = middle + 1
        else:
            high = middle
    if low == 0:
        return delays[first]
    at = first + low
    if low == rows:
        return delays[at - 1]
    share = float(time - delays[low - 1]) / float(delays[low] - delays[low - 1])
    return np.int64(np.rint(float(delays[at - 1]) + float(delays[at] - delays[at - 1]) * share))


@njit(cache=True)
def _delay(back: int, time: int, j: int, conf: Any, delays: Any) -> Any:
    if conf[C_LATENCY] == CONSTANT:
        return conf[C_RESPONSE] if back else conf[C_ENTRY]
    rows = conf[C_ROWS]
    first = 2 * rows if back else rows
    if conf[C_LATENCY] == SAMPLED:
        return delays[first + _mixed_row(j, conf[C_SEED], rows)]
    return _interpolated(time, first, rows, delays)


@njit(cache=True)
def _unasked(time: int, e: Any, conf: Any, delays: Any) -> Any:
    """When a message that no request asked for, sent now, arrives (before it queues behind earlier ones)."""
    arrives = time + _delay(YES, time, 2 * e[E_UNASKED] + 1, conf, delays)
    e[E_UNASKED] += 1
    return arrives


@njit(cache=True)
def _tell(arrives: int, what: int, order: int, side: int, tick: int, lots: int, e: Any, messages: Any) -> Any:
    """When the message arrives, never before an earlier one."""
    arrives = max(arrives, e[E_LAST_MSG])
    e[E_LAST_MSG] = arrives
    row = messages[e[E_MSG_TAIL] & (messages.shape[0] - 1)]
    row[M_TIME], row[M_WHAT], row[M_ID], row[M_SIDE], row[M_TICK], row[M_LOTS] = arrives, what, order, side, tick, lots
    e[E_MSG_TAIL] += 1
    return arrives


@njit(cache=True)
def _fill(
    time: int, arrives: int, order: int, row: int, k: int, tick: int, lots: int, maker: int, mid2: int, cause: int,
    e: Any, fills: Any, orders: Any, messages: Any,
) -> None:  # fmt: skip
    """Book a fill of an own order and tell it."""
    side = 1 - 2 * k
    e[E_POSITION] += side * lots
    known = _tell(arrives, M_FILL, order, side, tick, lots, e, messages)
    f = fills[e[E_FILLS]]
    f[0], f[1], f[2], f[3], f[4], f[5], f[6] = time, known, order, side, tick, lots, maker
    f[7], f[8], f[9] = mid2, e[E_POSITION], cause
    e[E_FILLS] += 1
    e[E_COUNTS + N_CAUSE + cause] += 1
    orders[row, 8] += lots


# ---- own orders at rest


@njit(cache=True)
def _accrue(time: int, xs: Any, e: Any, conf: Any) -> None:
    """Add the time since the last look to what own orders stood for; before each change of what they stand for."""
    since = max(xs[S_SINCE], conf[C_START])
    if time > since and xs[S_PHASE] == CONTINUOUS:
        passed = time - since
        bid, ask = xs[S_REST] > 0, xs[S_REST + 1] > 0
        e[E_QUOTED] += passed * bid
        e[E_QUOTED + 1] += passed * ask
        e[E_QUOTED + 2] += passed * (bid and ask)
        e[E_QUOTED + 3] += passed
    xs[S_SINCE] = time


@njit(cache=True)
def _end_row(row: int, time: int, end: int, ahead: float, orders: Any, places: Any) -> None:
    orders[row, 7], orders[row, 9] = time, end
    places[row, 1] = max(ahead, 0.0)


@njit(cache=True)
def _copy_order(k: int, one: int, other: int, rest: Any, ahead: Any) -> None:
    for c in range(RESTING):
        rest[k, other, c] = rest[k, one, c]
    ahead[k, other, A_AHEAD], ahead[k, other, A_SHOWN] = ahead[k, one, A_AHEAD], ahead[k, one, A_SHOWN]


@njit(cache=True)
def _remove(k: int, j: int, time: int, xs: Any, e: Any, conf: Any, rest: Any, ahead: Any) -> None:
    _accrue(time, xs, e, conf)
    last = xs[S_REST + k] - 1
    for n in range(j, last):
        _copy_order(k, n + 1, n, rest, ahead)
    xs[S_REST + k] = last


@njit(cache=True)
def _insert(
    k: int, order: int, tick: int, left: int, kind: int, row: int, done: int, seq: int, lots_ahead: float, shown: float,
    time: int, xs: Any, e: Any, conf: Any, rest: Any, ahead: Any,
) -> None:  # fmt: skip
    """Put an order at the back of its level; rows are in order of priority."""
    _accrue(time, xs, e, conf)
    j = xs[S_REST + k]
    while j > 0 and (rest[k, j - 1, O_TICK] < tick if k == 0 else rest[k, j - 1, O_TICK] > tick):
        _copy_order(k, j - 1, j, rest, ahead)
        j -= 1
    own = rest[k, j]
    own[O_ID], own[O_TICK], own[O_LEFT], own[O_KIND], own[O_ROW] = order, tick, left, kind, row
    own[O_DONE], own[O_SEQ] = done, seq
    ahead[k, j, A_AHEAD], ahead[k, j, A_SHOWN] = lots_ahead, shown
    xs[S_REST + k] += 1


@njit(cache=True, inline="always")
def _mid2(s: Any) -> Any:
    return s[S_BEST] + s[S_BEST + 1] if s[S_BEST] != NO_BID and s[S_BEST + 1] != NO_ASK else NO_MID


@njit(cache=True)
def _fill_resting(
    k: int, j: int, n: int, tick: int, cause: int, time: int, xs: Any, e: Any, conf: Any, delays: Any,
    rest: Any, ahead: Any, fills: Any, orders: Any, places: Any, messages: Any,
) -> bool:  # fmt: skip
    """Fill n lots of the j-th own order of side k; whether it is gone."""
    own = rest[k, j]
    arrives = _unasked(time, e, conf, delays)
    _fill(time, arrives, own[O_ID], own[O_ROW], k, tick, n, YES, xs[S_MID], cause, e, fills, orders, messages)
    own[O_LEFT] -= n
    own[O_DONE] += n
    if own[O_LEFT] > 0:
        return False
    _end_row(own[O_ROW], time, FILLED, ahead[k, j, A_AHEAD], orders, places)
    _remove(k, j, time, xs, e, conf, rest, ahead)
    return True


@njit(cache=True)
def _share_behind(shape: int, exponent: float, version: int, ahead: float, behind: float) -> Any:
    """Probability that a withdrawal is from behind; forms of hftbacktest's probability queue models."""
    if version == 3:
        x = ahead / (ahead + behind)
        return 1.0 - (np.log(1.0 + x) if shape == LOG else x**exponent)
    b = np.log(1.0 + behind) if shape == LOG else behind**exponent
    if version == 2:
        both = ahead + behind
        return b / (np.log(1.0 + both) if shape == LOG else both**exponent)
    return b / (b + (np.log(1.0 + ahead) if shape == LOG else ahead**exponent))


@njit(cache=True)
def _level_told(
    k: int, tick: int, before: float, after: float, traded: float, xs: Any, conf: Any, rates: Any, rest: Any, ahead: Any
) -> None:
    """Own orders at a level that is told as `after`: what that leaves ahead of them."""
    kind = conf[C_QUEUE]
    if kind in (ASSUMED, EXACT):
        return
    for j in range(xs[S_REST + k]):
        if rest[k, j, O_TICK] != tick:
            continue
        was = ahead[k, j, A_AHEAD]
        shown = ahead[k, j, A_SHOWN] if conf[C_SOURCE] == BEST_ONLY else before
        ahead[k, j, A_SHOWN] = after
        if was <= 0.0:
            continue
        taken_off = shown - after - traded
        now = min(was, after)
        if kind == PROBABILISTIC and taken_off > 0.0 and was < np.inf:
            back = max(shown - was, 0.0)
            share = _share_behind(conf[C_SHAPE], rates[R_EXPONENT], conf[C_VERSION], was, back)
            moved = was - (1.0 - share) * taken_off + min(back - share * taken_off, 0.0)
            if moved == moved:
                now = max(0.0, min(moved, after))
        ahead[k, j, A_AHEAD] = now


@njit(cache=True)
def _better_than_best(k: int, vanished: int, xs: Any, conf: Any, rest: Any, ahead: Any) -> None:
    """Nothing is ahead of own orders better than the side's best, of those whose level was never seen (or all)."""
    kind = conf[C_QUEUE]
    if kind in (ASSUMED, EXACT):
        return
    best = xs[S_BEST + k]
    for j in range(xs[S_REST + k]):
        tick = rest[k, j, O_TICK]
        if tick <= best if k == 0 else tick >= best:
            return
        if ahead[k, j, A_AHEAD] == np.inf or (vanished != 0 and ahead[k, j, A_AHEAD] > 0.0):
            ahead[k, j, A_AHEAD] = 0.0
        if vanished != 0:
            ahead[k, j, A_SHOWN] = 0.0


@njit(cache=True)
def _printed(
    passive: int, tick: int, off: bool, lots: float, time: int, xs: Any, e: Any, conf: Any, delays: Any,
    rest: Any, ahead: Any, fills: Any, orders: Any, places: Any, messages: Any,
) -> float:  # fmt: skip
    """A print that own orders of side `passive` may have been filled by; what it leaves of its lots."""
    auction = xs[S_PHASE] == AUCTION
    kind, whole = conf[C_QUEUE], conf[C_WHOLE_FILLS] != 0
    rest_of_print = lots
    j = NONE
    while j < xs[S_REST + passive]:
        own = rest[passive, j]
        beyond = own[O_TICK] > tick if passive == 0 else own[O_TICK] < tick or (off and own[O_TICK] == tick)
        if not beyond and (off or own[O_TICK] != tick):
            break
        n = 0
        if beyond:
            n = own[O_LEFT] if whole else min(own[O_LEFT], int(min(np.floor(rest_of_print), 1e18)))
            if not whole and kind != EXACT:
                ahead[passive, j, A_AHEAD] = min(ahead[passive, j, A_AHEAD], 0.0)
        elif kind != EXACT:
            left_ahead = ahead[passive, j, A_AHEAD] - rest_of_print
            if kind != TRADE_THROUGH:
                if whole:
                    n = own[O_LEFT] if left_ahead <= -0.5 else 0
                else:
                    n = min(own[O_LEFT], int(min(max(0.0, np.floor(-left_ahead)), 1e18)))
                    left_ahead += n
            ahead[passive, j, A_AHEAD] = left_ahead
        gone = False
        if n > 0:
            cause = BY_AUCTION if auction else (BY_PRINT_THROUGH if beyond else BY_QUEUE)
            gone = _fill_resting(
                passive, j, n, tick if auction else own[O_TICK], cause, time, xs, e, conf, delays, rest,
                ahead, fills, orders, places, messages,
            )  # fmt: skip
            if not whole:
                rest_of_print = max(rest_of_print - n, 0.0)
        if not gone:
            j += 1
    return rest_of_print


@njit(cache=True)
def _reported(
    k: int, tick: int, seq: int, lots: float, time: int, xs: Any, e: Any, conf: Any, delays: Any,
    rest: Any, ahead: Any, fills: Any, orders: Any, places: Any, messages: Any,
) -> None:  # fmt: skip
    """A FILL of a market order that joined as number `seq`: own orders at its price that were there before it."""
    whole = conf[C_WHOLE_FILLS] != 0
    j = NONE
    while j < xs[S_REST + k]:
        own = rest[k, j]
        gone = False
        if own[O_TICK] == tick and own[O_SEQ] < seq:
            n = own[O_LEFT] if whole else min(own[O_LEFT], int(min(np.floor(lots), 1e18)))
            if n > 0:
                cause = BY_AUCTION if xs[S_PHASE] == AUCTION else BY_QUEUE
                gone = _fill_resting(
                    k, j, n, tick, cause, time, xs, e, conf, delays, rest, ahead, fills, orders, places,
                    messages,
                )  # fmt: skip
                if not whole:
                    lots = max(lots - n, 0.0)
        if not gone:
            j += 1


# ---- what stands on the other side


@njit(cache=True)
def _to_take(k: int, limit: int, most: int, xs: Any, book: Any, pages: Any, taken: Any) -> int:
    """Whole lots of side k from its best to `limit` that own orders did not take yet, counted up to `most`."""
    found = 0
    tick = xs[S_BEST + k]
    nothing = NO_BID if k == 0 else NO_ASK
    while found < most and tick != nothing and (tick >= limit if k == 0 else tick <= limit):
        i = tick - xs[S_BASE]
        found += int(max(0.0, np.floor(min(book[k, i] - taken[k, i], 1e18))))
        tick = _behind(k, i, xs, book, pages)
    return min(found, most)


@njit(cache=True)
def _take_level(k: int, i: int, most: int, xs: Any, book: Any, taken: Any) -> int:
    """Whole lots taken of a level, up to `most`."""
    n = min(most, int(max(0.0, np.floor(min(book[k, i] - taken[k, i], 1e18)))))
    if n > 0:
        taken[k, i] += n
        xs[S_TOUCHED] = 1
    return n


@njit(cache=True)
def _book_reached(
    k: int, tick: int, time: int, xs: Any, e: Any, conf: Any, delays: Any, book: Any,
    pages: Any,
    taken: Any, rest: Any, ahead: Any, fills: Any, orders: Any, places: Any, messages: Any,
) -> None:  # fmt: skip
    """Side k shows something at a tick: fill the own orders of the other side that it reaches."""
    other = 1 - k
    j = NONE
    while j < xs[S_REST + other]:
        own = rest[other, j]
        if own[O_TICK] < tick if other == 0 else own[O_TICK] > tick:
            return
        n = own[O_LEFT]
        if conf[C_WHOLE_FILLS] == 0:
            n = _to_take(k, own[O_TICK], own[O_LEFT], xs, book, pages, taken)
            left = n
            at = xs[S_BEST + k]
            while left > 0:
                left -= _take_level(k, at - xs[S_BASE], left, xs, book, taken)
                at = _behind(k, at - xs[S_BASE], xs, book, pages)
        if n == 0 or not _fill_resting(
            other, j, n, own[O_TICK], BY_BOOK_THROUGH, time, xs, e, conf, delays, rest, ahead,
            fills, orders,
            places, messages,
        ):  # fmt: skip
            j += 1


# ---- requests that arrive


@njit(cache=True)
def _lots_ahead(k: int, tick: int, xs: Any, conf: Any, rates: Any, book: Any, pages: Any) -> Any:
    """What is ahead of an order that arrives at a tick."""
    if conf[C_QUEUE] == ASSUMED:
        return rates[R_ASSUMED]
    i = tick - xs[S_BASE]
    shown = book[k, i] if 0 <= i < book.shape[1] else 0.0
    if shown > 0.0 or conf[C_SOURCE] == L3 or xs[S_LEVELS + k] == 0:
        return shown
    if tick > xs[S_BEST] if k == 0 else tick < xs[S_BEST + 1]:
        return 0.0
    # behind the best: unknown where nothing is shown any further out
    unseen = conf[C_SOURCE] == BEST_ONLY or _behind(k, i, xs, book, pages) == (NO_BID if k == 0 else NO_ASK)
    return np.inf if unseen else 0.0


@njit(cache=True)
def _verdict(
    k: int, tick: int, lots: int, kind: int, xs: Any, conf: Any, book: Any, pages: Any, taken: Any, rest: Any
) -> Any:
    """Why the exchange does not take an order, STILL_OPEN where it does."""
    phase = xs[S_PHASE]
    if phase in (HALTED, CLOSED) or (phase == AUCTION and kind >= IOC):
        return REJECTED_PHASE
    other = 1 - k
    if xs[S_REST + other] > 0:
        best = rest[other, 0, O_TICK]
        if kind == MARKET or (tick >= best if k == 0 else tick <= best):
            return REJECTED_FORM
    if phase == CONTINUOUS:
        reaches = tick >= xs[S_BEST + 1] if k == 0 else tick <= xs[S_BEST]
        if kind == POST_ONLY and reaches:
            return REJECTED_POST_ONLY
        if kind == FOK:
            if not reaches:
                return EXPIRED
            if conf[C_WHOLE_FILLS] == 0 and _to_take(other, tick, lots, xs, book, pages, taken) < lots:
                return EXPIRED
    return STILL_OPEN


@njit(cache=True)
def _place(
    k: int, order: int, tick: int, lots: int, kind: int, row: int, done: int, engine: int, arrives: int,
    time: int, xs: Any,
    e: Any, conf: Any, rates: Any, book: Any, pages: Any, taken: Any, rest: Any, ahead: Any, fills: Any, orders: Any,
    places: Any, messages: Any,
) -> int:  # fmt: skip
    """Match an order that the exchange takes and let what is left rest; lots that rest."""
    other = 1 - k
    left = lots
    if xs[S_PHASE] == CONTINUOUS and kind != POST_ONLY:
        limit = tick
        if kind == MARKET:
            limit = NO_ASK if k == 0 else NO_BID
        mid2 = _mid2(xs)
        cause = BY_LIQUIDATION if engine else BY_CROSSING
        at = xs[S_BEST + other]
        nothing = NO_BID if other == 0 else NO_ASK
        while left > 0 and at != nothing and (at <= limit if k == 0 else at >= limit):
            i = at - xs[S_BASE]
            n = left if conf[C_WHOLE_FILLS] != 0 else _take_level(other, i, left, xs, book, taken)
            if n > 0:
                _fill(time, arrives, order, row, k, at, n, NONE, mid2, cause, e, fills, orders, messages)
                left -= n
            at = _behind(other, i, xs, book, pages)
    if left == 0:
        _end_row(row, time, FILLED, 0.0, orders, places)
        return 0
    if kind >= IOC:
        _end_row(row, time, EXPIRED, 0.0, orders, places)
        e[E_COUNTS + N_EXPIRED] += 1
        return 0
    lots_ahead = _lots_ahead(k, tick, xs, conf, rates, book, pages)
    i = tick - xs[S_BASE]
    shown = book[k, i] if 0 <= i < book.shape[1] else 0.0
    places[row, 0] = lots_ahead
    _insert(
        k,
        order,
        tick,
        left,
        kind,
        row,
        done + lots - left,
        xs[S_SEQ],
        lots_ahead,
        shown,
        time,
        xs,
        e,
        conf,
        rest,
        ahead,
    )
    xs[S_SEQ] += 1
    return left


@njit(cache=True)
def _count_end(end: int, e: Any) -> None:
    if end == REJECTED_FORM:
        e[E_COUNTS + N_FORM] += 1
    elif end == REJECTED_PHASE:
        e[E_COUNTS + N_PHASE] += 1
    elif end == REJECTED_POST_ONLY:
        e[E_COUNTS + N_POST_ONLY] += 1
    elif end == EXPIRED:
        e[E_COUNTS + N_EXPIRED] += 1


@njit(cache=True)
def _arrive(
    request: Any, xs: Any, e: Any, conf: Any, rates: Any, book: Any, pages: Any, taken: Any, rest: Any, ahead: Any,
    fills: Any, orders: Any, places: Any, messages: Any,
) -> None:  # fmt: skip
    """A request at the exchange."""
    time, order, row = request[Q_TIME], request[Q_ID], request[Q_ROW]
    arrives = time + request[Q_RESPONSE]
    k = 0 if request[Q_SIDE] > 0 else 1
    if request[Q_ACTION] == SUBMIT:
        tick, lots, kind = request[Q_TICK], request[Q_LOTS], request[Q_KIND]
        orders[row, 6] = time
        end = _verdict(k, tick, lots, kind, xs, conf, book, pages, taken, rest)
        if end != STILL_OPEN:
            _end_row(row, time, end, 0.0, orders, places)
            _count_end(end, e)
            _tell(arrives, M_ENDED, order, NONE, NONE, NONE, e, messages)
            return
        left = _place(
            k, order, tick, lots, kind, row, NONE, request[Q_ENGINE], arrives, time, xs, e, conf, rates, book,
            pages, taken,
            rest, ahead, fills, orders, places, messages,
        )  # fmt: skip
        _tell(arrives, M_ACCEPTED if left > 0 else M_ENDED, order, NONE, NONE, NONE, e, messages)
        return
    j = NONE
    while j < xs[S_REST + k] and rest[k, j, O_ID] != order:
        j += 1
    stands = j < xs[S_REST + k]
    if request[Q_ACTION] == CANCEL:
        if not stands or xs[S_PHASE] == CLOSED:
            e[E_COUNTS + (N_PHASE if stands else N_LATE_CANCELS)] += 1
            _tell(arrives, M_NOT_CANCELLED, order, NONE, NONE, NONE, e, messages)
            return
        _end_row(rest[k, j, O_ROW], time, CANCELLED, ahead[k, j, A_AHEAD], orders, places)
        _remove(k, j, time, xs, e, conf, rest, ahead)
        _tell(arrives, M_ENDED, order, NONE, NONE, NONE, e, messages)
        return
    orders[row, 6] = time
    if not stands:
        _end_row(row, time, TOO_LATE, 0.0, orders, places)
        e[E_COUNTS + N_LATE_REPLACES] += 1
        _tell(arrives, M_NOT_REPLACED, order, NONE, NONE, NONE, e, messages)
        return
    tick = request[Q_TICK]
    kind, done, old_row, was = rest[k, j, O_KIND], rest[k, j, O_DONE], rest[k, j, O_ROW], ahead[k, j, A_AHEAD]
    lots = request[Q_LOTS] - done  # the request counts what was filled
    keeps = tick == rest[k, j, O_TICK] and lots <= rest[k, j, O_LEFT]
    end = STILL_OPEN
    if xs[S_PHASE] == HALTED or xs[S_PHASE] == CLOSED:
        end = REJECTED_PHASE
    elif lots > 0 and not keeps:
        end = _verdict(k, tick, lots, kind, xs, conf, book, pages, taken, rest)
    if end != STILL_OPEN:
        _end_row(row, time, end, 0.0, orders, places)
        _count_end(end, e)
        _tell(arrives, M_NOT_REPLACED, order, NONE, NONE, NONE, e, messages)
        return
    _end_row(old_row, time, REPLACED, was, orders, places)
    if lots <= 0:
        _end_row(row, time, CANCELLED, 0.0, orders, places)
        _remove(k, j, time, xs, e, conf, rest, ahead)
        _tell(arrives, M_ENDED, order, NONE, NONE, NONE, e, messages)
        return
    _tell(arrives, M_REPLACED, order, NONE, tick, lots, e, messages)
    if keeps:
        rest[k, j, O_LEFT], rest[k, j, O_ROW] = lots, row
        places[row, 0] = max(was, 0.0)
        return
    _remove(k, j, time, xs, e, conf, rest, ahead)
    _place(
        k, order, tick, lots, kind, row, done, NONE, arrives, time, xs, e, conf, rates, book, pages, taken, rest, ahead,
        fills, orders, places, messages,
    )  # fmt: skip


# ---- the trader's side


@njit(cache=True)
def _known_open(e: Any, own: Any, beside: Any) -> Any:
    """Lots that own orders could still buy and sell."""
    bought, sold = 0, 0
    for j in range(e[E_OWN]):
        lots = max(own[j, W_LOTS], beside[j, X_NEW])
        if own[j, W_SIDE] > 0:
            bought += lots
        else:
            sold += lots
    return bought, sold


@njit(cache=True)
def _forget(j: int, e: Any, own: Any, beside: Any) -> None:
    for n in range(j, e[E_OWN] - 1):
        for c in range(OWN_COLUMNS):
            own[n, c] = own[n + 1, c]
        for c in range(OWN_BESIDE):
            beside[n, c] = beside[n + 1, c]
    e[E_OWN] -= 1


@njit(cache=True)
def _hear(message: Any, e: Any, own: Any, beside: Any) -> Any:
    """What a message changes of what is known; the reason that it is."""
    what, order = message[M_WHAT], message[M_ID]
    if what == M_PHASE:
        e[E_PHASE] = message[M_LOTS]
        return ON_PHASE
    if what == M_FILL:
        e[E_KNOWN] += message[M_SIDE] * message[M_LOTS]
    j = 0
    while j < e[E_OWN] and own[j, W_ID] != order:
        j += 1
    if j == e[E_OWN]:
        return ON_OWN
    if what == M_FILL:
        own[j, W_LOTS] -= message[M_LOTS]
        beside[j, X_DONE] += message[M_LOTS]
        if own[j, W_LOTS] == 0:
            _forget(j, e, own, beside)
    elif what == M_ENDED:
        _forget(j, e, own, beside)
    elif what == M_ACCEPTED:
        if own[j, W_STATE] == SENT:
            own[j, W_STATE] = WORKING
    elif what == M_NOT_CANCELLED:
        own[j, W_STATE] = WORKING if beside[j, X_NEW] == 0 else REPLACE_SENT
    else:
        beside[j, X_NEW] = 0
        if own[j, W_STATE] == REPLACE_SENT:
            own[j, W_STATE] = WORKING
        if what == M_REPLACED:
            own[j, W_TICK], own[j, W_LOTS] = message[M_TICK], message[M_LOTS]
    return ON_OWN


@njit(cache=True)
def _send(
    action: int, order: int, side: int, tick: int, lots: int, kind: int, row: int, engine: int, now: int,
    e: Any, conf: Any,
    delays: Any, pending: Any,
) -> None:  # fmt: skip
    """Put a request on its way."""
    j = 2 * e[E_SENT]
    e[E_SENT] += 1
    arrives = max(e[E_LAST_REQ], now + _delay(NONE, now, j, conf, delays))
    e[E_LAST_REQ] = arrives
    q = pending[e[E_REQ_TAIL] & (pending.shape[0] - 1)]
    q[Q_TIME], q[Q_ACTION], q[Q_ID], q[Q_SIDE], q[Q_TICK], q[Q_LOTS], q[Q_KIND] = (
        arrives,
        action,
        order,
        side,
        tick,
        lots,
        kind,
    )
    q[Q_SENT], q[Q_RESPONSE] = now, _delay(YES, now, j, conf, delays)
    q[Q_ROW], q[Q_ENGINE] = row, engine
    e[E_REQ_TAIL] += 1


@njit(cache=True)
def _new_row(order: int, side: int, tick: int, lots: int, kind: int, now: int, e: Any, orders: Any, places: Any) -> Any:
    row = e[E_ORDERS]
    o = orders[row]
    o[0], o[1], o[2], o[3], o[4], o[5] = order, side, tick, lots, kind, now
    o[6], o[7], o[8], o[9] = -1, -1, 0, STILL_OPEN
    places[row, 0] = places[row, 1] = 0.0
    e[E_ORDERS] += 1
    return row


@njit(cache=True)
def _new_own(
    order: int, side: int, tick: int, lots: int, kind: int, now: int, engine: int, e: Any, own: Any, beside: Any
) -> None:
    w = own[e[E_OWN]]
    w[W_ID], w[W_SIDE], w[W_TICK], w[W_LOTS], w[W_STATE], w[W_SENT] = order, side, tick, lots, SENT, now
    x = beside[e[E_OWN]]
    x[X_DONE], x[X_NEW], x[X_ENGINE], x[X_KIND] = 0, 0, engine, kind
    e[E_OWN] += 1


@njit(cache=True)
def _submit(
    r: Any, now: int, e: Any, conf: Any, delays: Any, own: Any, beside: Any,
    pending: Any, orders: Any, places: Any,
) -> None:  # fmt: skip
    order, side, tick, lots, kind = r[1], r[2], r[3], r[4], r[5]
    numbered = e[E_NEXT_ID] <= order <= HIGHEST_ID
    fine = numbered and (side == 1 or side == -1) and lots >= 1 and LIMIT <= kind <= MARKET
    fine = fine and (kind == MARKET or -WIDEST <= tick <= WIDEST) and e[E_OWN] < MOST_OWN
    end = STILL_OPEN
    if not fine:
        end = REJECTED_FORM
        e[E_COUNTS + N_REFUSED_FORM] += 1
    else:
        bought, sold = _known_open(e, own, beside)
        held = e[E_KNOWN] + bought if side > 0 else sold - e[E_KNOWN]
        if lots > conf[C_MAX_ORDER] or lots > conf[C_MAX_POSITION] - held:
            end = REJECTED_LIMIT
            e[E_COUNTS + N_REFUSED_LIMIT] += 1
    if numbered:
        e[E_NEXT_ID] = order + 1
    row = _new_row(order, side, tick, lots, kind, now, e, orders, places)
    if end != STILL_OPEN:
        _end_row(row, now, end, 0.0, orders, places)
        return
    _new_own(order, side, tick, lots, kind, now, NONE, e, own, beside)
    e[E_COUNTS + N_SUBMITTED] += 1
    _send(SUBMIT, order, side, tick, lots, kind, row, NONE, now, e, conf, delays, pending)


@njit(cache=True)
def _change(
    r: Any, now: int, e: Any, conf: Any, delays: Any, own: Any, beside: Any,
    pending: Any, orders: Any, places: Any,
) -> None:  # fmt: skip
    """A CANCEL or REPLACE that the rule asks for."""
    action, order, tick, lots = r[0], r[1], r[3], r[4]
    j = 0
    while j < e[E_OWN] and own[j, W_ID] != order:
        j += 1
    state = own[j, W_STATE] if j < e[E_OWN] else CANCEL_SENT
    if action == CANCEL:
        if state == CANCEL_SENT:
            e[E_COUNTS + N_REFUSED_FORM] += 1
            return
        own[j, W_STATE] = CANCEL_SENT
        e[E_COUNTS + N_CANCELS] += 1
        _send(CANCEL, order, own[j, W_SIDE], NONE, NONE, NONE, NO_ROW, NONE, now, e, conf, delays, pending)
        return
    if state != WORKING or lots < 1 or not -WIDEST <= tick <= WIDEST:
        e[E_COUNTS + N_REFUSED_FORM] += 1
        return
    side, left = own[j, W_SIDE], own[j, W_LOTS]
    bought, sold = _known_open(e, own, beside)
    held = e[E_KNOWN] + bought if side > 0 else sold - e[E_KNOWN]
    if lots > conf[C_MAX_ORDER] or max(left, lots) > conf[C_MAX_POSITION] - (held - left):
        e[E_COUNTS + N_REFUSED_LIMIT] += 1
        return
    own[j, W_STATE], beside[j, X_NEW] = REPLACE_SENT, lots
    e[E_COUNTS + N_REPLACES] += 1
    kind = beside[j, X_KIND]
    row = _new_row(order, side, tick, lots, kind, now, e, orders, places)
    total = lots + beside[j, X_DONE]
    _send(REPLACE, order, side, tick, total, kind, row, NONE, now, e, conf, delays, pending)


@njit(cache=True)
def _liquidate(
    now: int, e: Any, conf: Any, delays: Any, own: Any, beside: Any, pending: Any,
    orders: Any,
    places: Any,
) -> None:  # fmt: skip
    """Withdraw every order of the rule's and send what closes the position."""
    engine_order = False
    for j in range(e[E_OWN]):
        if beside[j, X_ENGINE]:
            engine_order = True
        elif own[j, W_STATE] != CANCEL_SENT:
            own[j, W_STATE] = CANCEL_SENT
            e[E_COUNTS + N_CANCELS] += 1
            _send(CANCEL, own[j, W_ID], own[j, W_SIDE], NONE, NONE, NONE, NO_ROW, YES, now, e, conf, delays, pending)
    position = e[E_KNOWN]
    if conf[C_CROSS] == 0 or position == 0 or engine_order:
        return
    order, side, lots = e[E_NEXT_ID], -1 if position > 0 else 1, abs(position)
    e[E_NEXT_ID] += 1
    row = _new_row(order, side, NONE, lots, MARKET, now, e, orders, places)
    _new_own(order, side, NONE, lots, MARKET, now, YES, e, own, beside)
    e[E_COUNTS + N_SUBMITTED] += 1
    e[E_COUNTS + N_LIQUIDATION] += 1
    _send(SUBMIT, order, side, NONE, lots, MARKET, row, YES, now, e, conf, delays, pending)


@njit(cache=True)
def _add_spread(passed: int, spread: int, ls: Any) -> None:
    """Add ticks x ns, in two words: a stub quote of 2e7 ticks overflows one within minutes."""
    total = ls[S_SPREAD] + passed % SECOND * spread
    ls[S_LONG_SPREAD] += passed // SECOND * spread + total // SECOND
    ls[S_SPREAD] = total % SECOND


@njit(cache=True, inline="always")
def _settle(time: int, ls: Any) -> None:
    """Look at the local best quotes at the end of an instant, `time`: quoted time, spread and moves up to it."""
    bid, ask = ls[S_BEST], ls[S_BEST + 1]
    if bid != ls[S_BID_THEN] or ask != ls[S_ASK_THEN]:
        if ls[S_BID_THEN] < ls[S_ASK_THEN] and ls[S_BID_THEN] != NO_BID and ls[S_ASK_THEN] != NO_ASK:
            passed = time - ls[S_THEN]
            ls[S_QUOTED] += passed
            _add_spread(passed, ls[S_ASK_THEN] - ls[S_BID_THEN], ls)
        ls[S_BID_THEN], ls[S_ASK_THEN], ls[S_THEN] = bid, ask, time
        if bid < ask and bid != NO_BID and ask != NO_ASK:
            if ls[S_MID_THEN] != NO_MID and bid + ask != ls[S_MID_THEN]:
                ls[S_MOVES] += 1
                ls[S_SQUARES] += (bid + ask - ls[S_MID_THEN]) ** 2
            ls[S_MID_THEN] = bid + ask


@njit(cache=True, inline="always")
def _show(
    now: int, reasons: int, e: Any, ls: Any, conf: Any, book: Any, own: Any, beside: Any,
    sums: Any, market: Any,
    flow: Any,
) -> None:  # fmt: skip
    """Write what the rule sees."""
    market[NOW], market[OPEN], market[CLOSE] = now, conf[C_START], conf[C_LIQUIDATE]
    market[PHASE], market[WHY] = e[E_PHASE], reasons
    bid, ask = ls[S_BEST], ls[S_BEST + 1]
    market[BEST_BID], market[BEST_ASK], market[BASE] = bid, ask, ls[S_BASE]
    market[OPEN_BUY], market[OPEN_SELL] = _known_open(e, own, beside)
    market[POSITION] = e[E_KNOWN]
    market[N_OWN], market[NEXT_ID] = e[E_OWN], e[E_NEXT_ID]
    market[MAX_POSITION], market[MAX_ORDER] = conf[C_MAX_POSITION], conf[C_MAX_ORDER]
    flow[BID_LOTS] = book[0, bid - ls[S_BASE]] if bid != NO_BID else 0.0
    flow[ASK_LOTS] = book[1, ask - ls[S_BASE]] if ask != NO_ASK else 0.0
    flow[BOUGHT], flow[SOLD], flow[TRADES] = sums[0], sums[1], sums[2]
    flow[SQUARED_MOVES], flow[MID_MOVES] = 0.25 * ls[S_SQUARES], ls[S_MOVES]
    quoted, short, long = ls[S_QUOTED], ls[S_SPREAD], ls[S_LONG_SPREAD]
    if bid < ask and bid != NO_BID and ask != NO_ASK:
        quoted += now - ls[S_THEN]
        passed = now - ls[S_THEN]
        short += passed % SECOND * (ask - bid)
        long += passed // SECOND * (ask - bid)
    flow[SECONDS_QUOTED] = quoted * 1e-9
    if long < MOST_SECONDS:
        flow[SPREAD_SECONDS] = (long * SECOND + short) * 1e-9
    else:
        flow[SPREAD_SECONDS] = float(long) + short * 1e-9


@njit(cache=True)
def _sample(now: int, e: Any, ls: Any, own: Any, samples: Any) -> None:
    row = samples[e[E_SAMPLES]]
    bid, ask = NO_BID, NO_ASK
    for j in range(e[E_OWN]):
        if own[j, W_STATE] != SENT:
            if own[j, W_SIDE] > 0:
                bid = max(bid, own[j, W_TICK])
            else:
                ask = min(ask, own[j, W_TICK])
    row[0], row[1], row[2], row[3], row[4] = now, _mid2(ls), e[E_KNOWN], bid, ask
    e[E_SAMPLES] += 1


@njit(cache=True)
def _start_sums(time: int, ls: Any) -> None:
    """Begin the sums of `flow` with the local best quotes as they stand coming into the session."""
    ls[S_STARTED] = 1
    ls[S_BID_THEN], ls[S_ASK_THEN], ls[S_THEN] = ls[S_BEST], ls[S_BEST + 1], time
    ls[S_MID_THEN] = _mid2(ls) if ls[S_BEST] < ls[S_BEST + 1] else NO_MID


# ---- the exchange's events


@njit(cache=True)
def _empty(k: int, values: Any) -> None:
    for i in range(values.shape[1]):
        values[k, i] = 0.0


@njit(cache=True)
def _clear(
    k: int,
    limit: int,
    xs: Any,
    conf: Any,
    rates: Any,
    book: Any,
    pages: Any,
    count: Any,
    taken: Any,
    traded: Any,
    rest: Any,
    ahead: Any,
) -> None:
    """Clear a side; with single orders that is their withdrawal, else only a way of telling."""
    if conf[C_SOURCE] == L3:
        xs[S_EPOCH + k] += 1
        for j in range(xs[S_REST + k]):
            i = rest[k, j, O_TICK] - xs[S_BASE]
            before = book[k, i] if 0 <= i < book.shape[1] else 0.0
            if conf[C_QUEUE] == EXACT:
                ahead[k, j, A_AHEAD] = 0.0
            else:
                _level_told(k, rest[k, j, O_TICK], before, 0.0, 0.0, xs, conf, rates, rest, ahead)
        _empty(k, taken)
        if conf[C_QUEUE] == PROBABILISTIC:
            _empty(k, traded)
    elif conf[C_SOURCE] == BEST_ONLY:
        for j in range(xs[S_REST + k]):
            ahead[k, j, A_SHOWN] = 0.0
    _clear_side(k, limit, xs, book, pages, count)


@njit(cache=True)
def _best_told(
    k: int, tick: int, lots: float, traded_then: float, xs: Any, conf: Any, rates: Any, book: Any, pages: Any,
    count: Any,
    taken: Any, rest: Any, ahead: Any,
) -> None:  # fmt: skip
    """A best quote replaces its side; prices better than it are gone."""
    old = xs[S_BEST + k]
    _clear_side(k, NO_BID if k == 0 else NO_ASK, xs, book, pages, count)
    if lots > 0.0:
        i = tick - xs[S_BASE]
        _set_level(k, i, lots, xs, book, pages)
        if xs[S_TOUCHED]:
            taken[k, i] = min(taken[k, i], lots)
            if k == 0:
                for n in range(i + 1, old - xs[S_BASE] + 1):
                    taken[0, n] = 0.0
            elif old != NO_ASK:
                for n in range(old - xs[S_BASE], i):
                    taken[1, n] = 0.0
        _level_told(k, tick, 0.0, lots, traded_then, xs, conf, rates, rest, ahead)
    elif xs[S_TOUCHED]:
        _empty(k, taken)
    _better_than_best(k, YES, xs, conf, rest, ahead)


@njit(cache=True)
def _order_told(
    whole: Any, real: Any, xs: Any, conf: Any, rates: Any, taken: Any, traded: Any, rest: Any, ahead: Any
) -> None:
    """What the change of a market order means to own orders at its levels."""
    for c in range(whole[0]):
        k, tick, seq = whole[1 + 3 * c], whole[2 + 3 * c], whole[3 + 3 * c]
        i = tick - xs[S_BASE]
        traded_then = 0.0
        if conf[C_QUEUE] == PROBABILISTIC:
            traded_then = traded[k, i]
            traded[k, i] = 0.0
        if xs[S_TOUCHED]:
            taken[k, i] = min(taken[k, i], real[3 * c + 1])
        if conf[C_QUEUE] == EXACT:
            for j in range(xs[S_REST + k]):
                if rest[k, j, O_TICK] == tick and rest[k, j, O_SEQ] > seq >= 0:
                    ahead[k, j, A_AHEAD] = max(ahead[k, j, A_AHEAD] - real[3 * c + 2], 0.0)
        else:
            _level_told(k, tick, real[3 * c], real[3 * c + 1], traded_then, xs, conf, rates, rest, ahead)


@njit(cache=True, inline="always")
def _turn(time: int, xs: Any) -> None:
    """The exchange's instant is over, the next one is `time`: its book is the one before."""
    mid2 = _mid2(xs)
    xs[S_MID] = mid2
    if mid2 != NO_MID:
        xs[S_LAST_MID] = mid2
        if xs[S_BEST] >= xs[S_BEST + 1]:
            xs[S_CROSSED] += 1
    xs[S_NOW] = time


_RULE = types.FunctionType(SIGNATURE)
_MARKET, _FLOW, _BOOK, _OWN, _TABLE, _NUMBERS, _MEMORY, _REQUESTS = SIGNATURE.args
_I1, _I2, _I3 = int64[::1], int64[:, ::1], int64[:, :, ::1]
_F1, _F2, _F3 = float64[::1], float64[:, ::1], float64[:, :, ::1]
_COUNT = types.Array(types.int32, 2, "C")


@njit(
    [
        int64(
            _RULE, _TABLE, _NUMBERS, _MEMORY, _MARKET, _FLOW, _OWN, _REQUESTS,
            _I1, _F1, _I1, _I1, _I1,
            types.boolean,
            _I1, _I1, _I1,
            _I1, _I2, _F1, _I1, _I2, _F1,
            _F2, _COUNT, _COUNT, _F2, _F2, _I2, _F1,
            _F2, _COUNT, _COUNT, _I2, _F1,
            _I3, _F3, _I2, _I2, _I2, _I2, _I2,
            _I2, _I2, _F2, _I2,
            _I1, _F1,
        )
    ],
    cache=True,
)  # fmt: skip
def march(
    rule: Any, table: Any, numbers: Any, memory: Any, market: Any, flow: Any, own_rows: Any, request_rows: Any,
    conf: Any, rates: Any, phase_times: Any, phases: Any, delays: Any,
    final: bool,
    e: Any, xs: Any, ls: Any,
    x_times: Any, x_whole: Any, x_lots: Any, l_times: Any, l_whole: Any, l_lots: Any,
    x_book: Any, x_pages: Any, x_count: Any, taken: Any, traded: Any, x_table: Any, x_left: Any,
    l_book: Any, l_pages: Any, l_count: Any, l_table: Any, l_left: Any,
    rest: Any, ahead: Any, own: Any, beside: Any, wishes: Any, pending: Any, messages: Any,
    fills: Any, orders: Any, places: Any, samples: Any,
    scratch: Any, real: Any,
) -> int:  # fmt: skip
    """Do all that is certain; why it stopped.

    scratch (12,) int64 and real (12,) float64: 0 to 6 what an order's event did, from 8 on sums. `final`: no event
    will follow. The other arguments are those of `engine_state.EngineState`, in its order;
    the caller holds every array.
    """
    stop, start, liquidate = conf[C_STOP], conf[C_START], conf[C_LIQUIDATE]
    # nothing below counts references
    sums = _words(real[8:11])
    conf, rates, delays = _words(conf), _words(rates), _words(delays)
    e, xs, ls, scratch, real = _words(e), _words(xs), _words(ls), _words(scratch), _words(real)
    x_book, x_pages, x_count, taken, traded = _lent(x_book), _lent(x_pages), _lent(x_count), _lent(taken), _lent(traded)
    l_book, l_pages, l_count = _lent(l_book), _lent(l_pages), _lent(l_count)
    x_table, x_left, l_table, l_left = _lent(x_table), _lent(x_left), _lent(l_table), _lent(l_left)
    rest, ahead, own, beside, wishes = _lent(rest), _lent(ahead), _lent(own), _lent(beside), _lent(wishes)
    pending, messages, fills, orders = _lent(pending), _lent(messages), _lent(fills), _lent(orders)
    places, samples, market, flow = _lent(places), _lent(samples), _lent(market), _lent(flow)
    table, numbers, memory = _lent(table), _lent(numbers), _lent(memory)
    own_rows, request_rows = _lent(own_rows), _lent(request_rows)
    queue = conf[C_QUEUE]
    last = stop
    if not final:
        if xs[S_SIZE] == 0 or ls[S_SIZE] == 0:
            return NEED_EVENTS
        last = min(stop, min(x_times[xs[S_SIZE] - 1], l_times[ls[S_SIZE] - 1]) - 1)
    on_trade = conf[C_CALLS] & ON_TRADE != 0
    trade_at = ls[S_AT]
    while True:
        # the next instant at which the two places meet
        if e[E_IN_SYNC]:
            sync = e[E_SYNC_AT]
        else:
            clock = e[E_CLOCK]
            if e[E_LIQUIDATED] == 0 and clock > liquidate:
                clock = liquidate
            sync = clock
            if e[E_REQ_HEAD] != e[E_REQ_TAIL]:
                sync = min(sync, pending[e[E_REQ_HEAD] & (pending.shape[0] - 1), Q_TIME])
            if e[E_MSG_HEAD] != e[E_MSG_TAIL]:
                sync = min(sync, messages[e[E_MSG_HEAD] & (messages.shape[0] - 1), M_TIME])
            if on_trade:
                trade_at = max(trade_at, ls[S_AT])
                while trade_at < ls[S_SIZE] and l_whole[trade_at, 1] >> 3 != PRINT:
                    trade_at += 1
                if trade_at < ls[S_SIZE]:
                    sync = min(sync, l_times[trade_at])
        # ---- the exchange up to it
        xi, xn = xs[S_AT], xs[S_SIZE]
        status = -1
        while True:
            until = min(sync, last)
            if e[E_FILLS] + MARGIN > fills.shape[0] or e[E_MSG_TAIL] - e[E_MSG_HEAD] + MARGIN > messages.shape[0]:
                e[E_NEED] = 0
                status = NEED_OUTPUT
                break
            time = x_times[xi] if xi < xn else NEVER
            change = phase_times[xs[S_NEXT_PHASE]] if xs[S_NEXT_PHASE] < phase_times.size else NEVER
            if change <= time:
                if change > until:
                    break
                _accrue(change, xs, e, conf)
                xs[S_PHASE] = phases[xs[S_NEXT_PHASE]]
                xs[S_NEXT_PHASE] += 1
                if change > start:
                    arrives = _unasked(change, e, conf, delays)
                    sync = min(sync, _tell(arrives, M_PHASE, NONE, NONE, NONE, xs[S_PHASE], e, messages))
                else:
                    e[E_PHASE] = xs[S_PHASE]
                continue
            if time > until:
                break
            code, tick, lots = x_whole[xi, 1], x_whole[xi, 0], x_lots[xi]
            act, k = code >> 3, code & 3
            i = tick - xs[S_BASE]
            if (
                SET <= act <= SNAP or (ADD <= act <= CHANGE and act != TAKE_OUT) or (act == BEST and lots > 0.0)
            ) and not (0 <= i < x_book.shape[1]):
                status = NEED_X_ROOM
                break
            if ADD <= act <= CHANGE and 2 * (xs[S_SLOTS] + 1) > x_table.shape[0]:
                status = NEED_X_ORDERS
                break
            if time != xs[S_NOW]:
                _turn(time, xs)
            told = False
            if SET <= act <= SNAP:
                if act == SET:
                    xs[S_PICTURE] = -NEVER
                elif xs[S_PICTURE] != time:
                    _clear_side(BID, NO_BID, xs, x_book, x_pages, x_count)
                    _clear_side(ASK, NO_ASK, xs, x_book, x_pages, x_count)
                    xs[S_PICTURE] = time
                before = _set_level(k, i, lots, xs, x_book, x_pages)
                traded_then = 0.0
                if queue == PROBABILISTIC:
                    traded_then = traded[k, i]
                    traded[k, i] = 0.0
                if xs[S_TOUCHED] and taken[k, i] > lots:
                    taken[k, i] = lots
                n = xs[S_REST + k]
                if n > 0:
                    low, high = rest[k, n - 1, O_TICK], rest[k, 0, O_TICK]
                    if k == 1:
                        low, high = high, low
                    if low <= tick <= high:
                        _level_told(k, tick, before, lots, traded_then, xs, conf, rates, rest, ahead)
                    if act == SET and (high > xs[S_BEST] if k == 0 else low < xs[S_BEST + 1]):
                        _better_than_best(k, NONE, xs, conf, rest, ahead)
                told = lots > 0.0
            elif act == PRINT:
                off = code & 4 != 0
                xs[S_LAST_PRINT] = tick
                if k == 2:
                    xs[S_NO_SIDE] += 1
                auction = xs[S_PHASE] == AUCTION
                if (xs[S_PHASE] == CONTINUOUS and k < 2) or auction:
                    left = lots
                    for passive in range(2):
                        if not auction and passive == k:
                            continue
                        if queue == PROBABILISTIC and not off and 0 <= i < x_book.shape[1]:
                            traded[passive, i] += lots
                        if xs[S_REST + passive] > 0:
                            best = rest[passive, 0, O_TICK]
                            if best >= tick if passive == 0 else best <= tick:
                                left = _printed(
                                    passive, tick, off, left, time, xs, e, conf, delays, rest,
                                    ahead, fills,
                                    orders, places, messages,
                                )  # fmt: skip
            elif act == CLEAR:
                xs[S_PICTURE] = time
                if k != 1:
                    _clear(
                        BID,
                        tick if k == 0 else NO_BID,
                        xs,
                        conf,
                        rates,
                        x_book,
                        x_pages,
                        x_count,
                        taken,
                        traded,
                        rest,
                        ahead,
                    )
                if k != 0:
                    _clear(ASK, tick, xs, conf, rates, x_book, x_pages, x_count, taken, traded, rest, ahead)
            elif act == BEST:
                traded_then = 0.0
                if queue == PROBABILISTIC and lots > 0.0:
                    traded_then = traded[k, i]
                    traded[k, i] = 0.0
                _best_told(
                    k, tick, lots, traded_then, xs, conf, rates, x_book, x_pages, x_count, taken, rest, ahead
                )  # fmt: skip
                told = lots > 0.0
            elif act == REPORT:
                if queue == EXACT and xs[S_PHASE] <= AUCTION and k < 2 and xs[S_REST + k] > 0:
                    slot = _slot(x_whole[xi, 2], x_table)
                    if x_table[slot, B_SIDE] == k and x_left[slot] > 0.0 and x_table[slot, B_EPOCH] == xs[S_EPOCH + k]:
                        _reported(
                            k, tick, x_table[slot, B_SEQ], lots, time, xs, e, conf, delays, rest, ahead,
                            fills, orders, places, messages,
                        )  # fmt: skip
            elif act >= ADD:
                _order_event(
                    act, x_whole[xi, 2], k, tick, lots, xs, x_book, x_pages, x_count, x_table, x_left, scratch, real
                )
                _order_told(scratch, real, xs, conf, rates, taken, traded, rest, ahead)
                n = scratch[0]
                if act != TAKE_OUT and n > 0 and lots > 0.0:
                    told = True
                    k = scratch[3 * n - 2]
            if told and xs[S_REST + 1 - k] > 0 and xs[S_PHASE] == CONTINUOUS and queue != TRADE_THROUGH:
                best = rest[1 - k, 0, O_TICK]
                if best >= tick if k == 1 else best <= tick:
                    _book_reached(
                        k, tick, time, xs, e, conf, delays, x_book, x_pages, taken, rest,
                        ahead, fills, orders,
                        places, messages,
                    )  # fmt: skip
            xs[S_EVENTS] += 1
            xi += 1
            if e[E_MSG_HEAD] != e[E_MSG_TAIL]:
                sync = min(sync, messages[e[E_MSG_HEAD] & (messages.shape[0] - 1), M_TIME])
        xs[S_AT] = xi
        if status >= 0:
            return status
        meets = sync <= last
        until = sync if meets else last
        # ---- requests that arrive then, the trader's side, the rule; again while answers come at once
        while True:
            if meets:
                if not e[E_IN_SYNC]:
                    if (
                        e[E_REQ_TAIL] - e[E_REQ_HEAD] + MARGIN > pending.shape[0]
                        or e[E_ORDERS] + MARGIN > orders.shape[0]
                        or e[E_SAMPLES] + 1 > samples.shape[0]
                    ):
                        e[E_NEED] = 0
                        return NEED_OUTPUT
                    e[E_IN_SYNC], e[E_SYNC_AT], e[E_ROUND], e[E_REASONS] = 1, sync, 0, 0
                while e[E_REQ_HEAD] != e[E_REQ_TAIL]:
                    request = pending[e[E_REQ_HEAD] & (pending.shape[0] - 1)]
                    if request[Q_TIME] > sync:
                        break
                    side = 1 if request[Q_SIDE] > 0 else 0
                    need = min(max(request[Q_LOTS], 0), xs[S_LEVELS + side]) + MARGIN
                    if e[E_FILLS] + need > fills.shape[0] or e[E_MSG_TAIL] - e[E_MSG_HEAD] + need > messages.shape[0]:
                        e[E_NEED] = need
                        return NEED_OUTPUT
                    _arrive(
                        request,
                        xs,
                        e,
                        conf,
                        rates,
                        x_book,
                        x_pages,
                        taken,
                        rest,
                        ahead,
                        fills,
                        orders,
                        places,
                        messages,
                    )
                    e[E_REQ_HEAD] += 1
            # the trader's side
            li, ln = ls[S_AT], ls[S_SIZE]
            while li < ln and l_times[li] <= until:
                time = l_times[li]
                code, tick, lots = l_whole[li, 1], l_whole[li, 0], l_lots[li]
                act, k = code >> 3, code & 3
                i = tick - ls[S_BASE]
                if (
                    SET <= act <= SNAP or (ADD <= act <= CHANGE and act != TAKE_OUT) or (act == BEST and lots > 0.0)
                ) and not (0 <= i < l_book.shape[1]):
                    status = NEED_L_ROOM
                    break
                if ADD <= act <= CHANGE and 2 * (ls[S_SLOTS] + 1) > l_table.shape[0]:
                    status = NEED_L_ORDERS
                    break
                if time >= start:
                    if ls[S_STARTED] == 0:
                        _start_sums(start, ls)
                    elif time != ls[S_NOW]:
                        _settle(ls[S_NOW], ls)
                ls[S_NOW] = time
                if act == SET:
                    ls[S_PICTURE] = -NEVER
                    _set_level(k, i, lots, ls, l_book, l_pages)
                elif act == PRINT:
                    market[LAST_TICK], market[LAST_SIDE] = tick, 1 - 2 * k if k < 2 else 0
                    flow[LAST_LOTS] = lots
                    ls[S_TRADE_AT] = time
                    if time >= start:
                        sums[2] += 1.0
                        if k < 2:
                            sums[k] += lots
                elif act == SNAP:
                    if ls[S_PICTURE] != time:
                        _clear_side(BID, NO_BID, ls, l_book, l_pages, l_count)
                        _clear_side(ASK, NO_ASK, ls, l_book, l_pages, l_count)
                        ls[S_PICTURE] = time
                    _set_level(k, i, lots, ls, l_book, l_pages)
                elif act == CLEAR:
                    ls[S_PICTURE] = time
                    if k != 1:
                        ls[S_EPOCH] += 1
                        _clear_side(BID, tick if k == 0 else NO_BID, ls, l_book, l_pages, l_count)
                    if k != 0:
                        ls[S_EPOCH + 1] += 1
                        _clear_side(ASK, tick, ls, l_book, l_pages, l_count)
                elif act == BEST:
                    _clear_side(k, NO_BID if k == 0 else NO_ASK, ls, l_book, l_pages, l_count)
                    if lots > 0.0:
                        _set_level(k, i, lots, ls, l_book, l_pages)
                elif ADD <= act <= CHANGE:
                    _order_event(
                        act, l_whole[li, 2], k, tick, lots, ls, l_book, l_pages, l_count, l_table, l_left, scratch, real
                    )
                li += 1
            ls[S_AT] = li
            if status >= 0:
                return status
            if not meets:
                return DONE if last == stop else NEED_EVENTS
            # answers
            while e[E_MSG_HEAD] != e[E_MSG_TAIL]:
                message = messages[e[E_MSG_HEAD] & (messages.shape[0] - 1)]
                if message[M_TIME] > sync:
                    break
                e[E_REASONS] |= _hear(message, e, own, beside)
                e[E_MSG_HEAD] += 1
            # the rule, or the end of the session
            if e[E_ROUND] == 0:
                on_clock = sync == e[E_CLOCK]
                if on_clock:
                    e[E_CLOCK] += conf[C_INTERVAL]
                if sync == liquidate or (sync > liquidate and on_clock):
                    e[E_LIQUIDATED] = 1
                    _liquidate(sync, e, conf, delays, own, beside, pending, orders, places)
                elif on_clock:
                    e[E_REASONS] |= ON_CLOCK
                if ls[S_TRADE_AT] == sync and ls[S_STARTED]:
                    e[E_REASONS] |= ON_TRADE
            reasons = e[E_REASONS]
            if start <= sync < liquidate and reasons & (conf[C_CALLS] | ON_CLOCK) != 0:
                if e[E_ROUND] > 16:
                    return NO_END
                if ls[S_STARTED] == 0:
                    _start_sums(start, ls)
                _settle(sync, ls)
                _show(sync, reasons, e, ls, conf, l_book, own, beside, sums, market, flow)
                if reasons & ON_CLOCK:
                    if conf[C_SAMPLE] > 0 and e[E_STEPS] % conf[C_SAMPLE] == 0:
                        _sample(sync, e, ls, own, samples)
                    e[E_STEPS] += 1
                    e[E_COUNTS + N_CLOCK] += 1
                e[E_COUNTS + N_CALLS] += 1
                count = rule(market, flow, l_book, own_rows, table, numbers, memory, request_rows)
                if count != 0:
                    e[E_ANSWER] = count
                    if count < 0 or count > MOST_REQUESTS:
                        return BAD_COUNT
                    for n in range(count):
                        wish = wishes[n]
                        if wish[0] == SUBMIT:
                            _submit(
                                wish,
                                sync,
                                e,
                                conf,
                                delays,
                                own,
                                beside,
                                pending,
                                orders,
                                places,
                            )
                        elif wish[0] == CANCEL or wish[0] == REPLACE:
                            _change(
                                wish,
                                sync,
                                e,
                                conf,
                                delays,
                                own,
                                beside,
                                pending,
                                orders,
                                places,
                            )
                        else:
                            e[E_COUNTS + N_REFUSED_FORM] += 1
            e[E_ROUND] += 1
            e[E_REASONS] = 0
            again = False
            if e[E_REQ_HEAD] != e[E_REQ_TAIL]:
                again = pending[e[E_REQ_HEAD] & (pending.shape[0] - 1), Q_TIME] <= sync
            if e[E_MSG_HEAD] != e[E_MSG_TAIL]:
                again = again or messages[e[E_MSG_HEAD] & (messages.shape[0] - 1), M_TIME] <= sync
            if not again:
                e[E_IN_SYNC] = 0
                break


@njit(cache=True)
def close(time: int, xs: Any, e: Any, conf: Any, rest: Any, ahead: Any, orders: Any, places: Any) -> None:
    """End the session at the exchange: open orders expire, the last instant is looked at."""
    xs, e, conf = _words(xs), _words(e), _words(conf)
    _turn(time, xs)
    _accrue(time, xs, e, conf)
    for k in range(2):
        for j in range(xs[S_REST + k]):
            _end_row(rest[k, j, O_ROW], time, EXPIRED, ahead[k, j, A_AHEAD], orders, places)
