"""Compiled loops over LOBSTER's two files: text to numbers, the checks of every row, rows to book events.

Arrays in, output arrays last. Prices are USD x 10,000, times nanoseconds after midnight.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

# the numbers of data_pipeline.book.events, written again: a compiled loop does not see an edit of another file
DEPTH, TRADE, DEPTH_CLEAR, SNAPSHOT = 1, 2, 3, 4
ADD, CANCEL, MODIFY, FILL = 10, 11, 12, 13
EXCH, LOCAL, BUY, SELL = 1 << 31, 1 << 30, 1 << 29, 1 << 28

SECOND = 1_000_000_000
DAY_NS = 86_400 * SECOND
EMPTY_ASK = 9_999_999_999
EMPTY_BID = -9_999_999_999
PRICE_SCALE = 10_000.0
NEW, PARTIAL_CANCEL, DELETE, EXECUTION, HIDDEN, CROSS, HALTED = 1, 2, 3, 4, 5, 6, 7

POSITION, ROWS, LINES, BLANKS, UNIT, ROUNDED = range(6)
"""Places in the tokenizer's state: next byte, rows parsed, lines passed, empty lines among them, the largest power of
ten that divides every time (ns), times that had more than nine decimals."""
_MOST_DIGITS, _MOST_TIME_DIGITS = 18, 8

EVERY_TIME, EARLIER, WRONG_TIME, WRONG_KIND, WRONG_DIRECTION, WRONG_SIZE, WRONG_PRICE, WRONG_ORDER = range(8)
ASKS_NOT_RISING, BIDS_NOT_FALLING, LEVEL_WITHOUT_SIZE = range(8, 11)
"""What `check_rows` says of a row; 0 for a good one."""
LAST_TIME, EQUAL_TIMES, DUMMIES, CROSSED, NEWS, NEWS_STANDING, OFF_GRID, KINDS = 0, 1, 2, 3, 4, 5, 6, 7
"""Places in the state of `check_rows`; from KINDS on 8 counts by message type."""

SEQUENCE, OUT_OF_VIEW, STARTED, LIVE, UNKNOWN, TWICE = range(6)
"""Places in the state of the event kernels: events so far, levels that fell out of view, whether the session has
started; orders being followed, messages about orders whose entry is not in the file, ids that entered twice."""

_ZEROS = np.uint64(0x3030303030303030)
_ABOVE_NINE = np.uint64(0x7676767676767676)
_HIGH_BITS = np.uint64(0x8080808080808080)
_PLACE_OF_BYTE = np.uint64(0x0001020304050607)
_PAIRS, _FOURS = np.uint64(0x00FF00FF00FF00FF), np.uint64(0x0000FFFF0000FFFF)
_BOTH = np.uint64(EXCH | LOCAL)
_BID, _ASK = np.uint64(EXCH | LOCAL | BUY), np.uint64(EXCH | LOCAL | SELL)
_CENT = 100
_EXACT = 1 << 53
"""Below it a size is a float64 exactly."""


@njit(cache=True)
def _eight_digits(word: Any) -> tuple[Any, Any]:
    """Value and number of the decimal digits at the start of eight bytes (first byte lowest), all by arithmetic on the
    whole word (Lemire 2018, "Quickly parsing eight digits"; the first other byte by its carry into the eighth bit).
    """
    digits = word ^ _ZEROS
    others = ((digits + _ABOVE_NINE) | digits) & _HIGH_BITS
    count: Any = 8
    if others != 0:
        lowest = others & (~others + np.uint64(1))
        count = np.int64(((lowest >> np.uint64(7)) * _PLACE_OF_BYTE) >> np.uint64(56))
        if count == 0:
            return 0, 0
        digits = digits << np.uint64(64 - 8 * count)
    digits = (digits * np.uint64(2561)) >> np.uint64(8)
    digits = ((digits & _PAIRS) * np.uint64(6553601)) >> np.uint64(16)
    digits = ((digits & _FOURS) * np.uint64(42949672960001)) >> np.uint64(32)
    return np.int64(digits), count


@njit(cache=True)
def _whole_number(raw: Any, words: Any, at: Any) -> tuple[Any, Any]:
    """Value of the digits at a place, and the place after them; without meaning beyond 18 digits."""
    value, count = _eight_digits(words[at])
    at += count
    if count == 8:
        digit = np.int64(raw[at]) - 48
        while 0 <= digit <= 9:
            value = value * 10 + digit
            at += 1
            digit = np.int64(raw[at]) - 48
    return value, at


@njit(cache=True)
def _fraction(raw: Any, words: Any, at: Any, state: Any) -> tuple[Any, Any]:
    """Nanoseconds of the decimals at a place, rounded to the nearest, and the place after them."""
    value, count = _eight_digits(words[at])
    at += count
    if count < 8:
        for _ in range(9 - count):
            value *= 10
        return value, at
    value *= 10
    digit = np.int64(raw[at]) - 48
    if 0 <= digit <= 9:
        value += digit
        at += 1
        digit = np.int64(raw[at]) - 48
        if 0 <= digit <= 9:
            value += digit >= 5
            state[ROUNDED] += 1
            while 0 <= digit <= 9:
                at += 1
                digit = np.int64(raw[at]) - 48
    return value, at


@njit(cache=True)
def parse_messages(raw: Any, words: Any, stop: int, width: int, most: int, state: Any, out: Any) -> int:
    """Message lines from raw[state[POSITION]] on as whole numbers, up to `most` rows; 0, or 1 when the position stays
    at a line that is none.

    raw (b,) uint8 with a line feed at stop - 1; words (>=stop,) uint64, the eight bytes from each place on; width cells
    a line, of which the first out.shape[1] are kept, the first as ns; out (>=most, kept) int64.
    """
    kept = out.shape[1]
    at, rows = state[POSITION], 0
    unit = state[UNIT]
    bad = False
    while at < stop and rows < most:
        start = at
        if raw[at] == 10 or (raw[at] == 13 and raw[at + 1] == 10):
            at += 1 if raw[at] == 10 else 2
            state[LINES] += 1
            state[BLANKS] += 1
            continue
        for column in range(width):
            while raw[at] == 32:
                at += 1
            negative = raw[at] == 45
            if negative:
                at += 1
            first = at
            value, at = _whole_number(raw, words, at)
            digits = at - first
            if column >= kept:
                while raw[at] != 44 and raw[at] != 10 and raw[at] != 13:
                    at += 1
            else:
                if digits == 0 or digits > (_MOST_TIME_DIGITS if column == 0 else _MOST_DIGITS):
                    bad = True
                    break
                if column == 0:
                    value *= SECOND
                    if raw[at] == 46:
                        part, at = _fraction(raw, words, at + 1, state)
                        value += part
                    while value % unit != 0:
                        unit //= 10
                out[rows, column] = -value if negative else value
                while raw[at] == 32:
                    at += 1
            if column < width - 1:
                if raw[at] != 44:
                    bad = True
                    break
                at += 1
            elif raw[at] == 10:
                at += 1
            elif raw[at] == 13 and raw[at + 1] == 10:
                at += 2
            else:
                bad = True
        if bad:
            at = start
            break
        rows += 1
        state[LINES] += 1
    state[POSITION], state[ROWS], state[UNIT] = at, rows, unit
    return int(bad)


@njit(cache=True)
def _alike(words: Any, one: int, other: int, most: int) -> int:
    """Bytes from two places on that are the same, up to `most`."""
    count = 0
    while count < most:
        differing = words[one + count] ^ words[other + count]
        if differing != 0:
            while differing & np.uint64(0xFF) == 0:
                differing >>= np.uint64(8)
                count += 1
            return min(count, most)
        count += 8
    return most


@njit(cache=True)
def parse_book_rows(raw: Any, words: Any, stop: int, width: int, most: int, state: Any, places: Any, out: Any) -> int:
    """Book lines as `parse_messages` reads message lines; cells with the text of the row above are copied from it.

    A message changes one level, so most of a row's text is that of the row above: only what differs is parsed.
    places (width + 1,) int64 is scratch: where each cell of the row above starts in its line.
    """
    at, rows = state[POSITION], 0
    above, length = 0, 0
    bad = False
    while at < stop and rows < most:
        start = at
        if raw[at] == 10 or (raw[at] == 13 and raw[at + 1] == 10):
            at += 1 if raw[at] == 10 else 2
            state[LINES] += 1
            state[BLANKS] += 1
            continue
        column = 0
        while column < width:
            old = places[column]
            if rows > 0 and words[at] == words[above + old]:
                same = _alike(words, at, above + old, min(length - old, stop - at))
                shift = at - start - old
                while column < width and places[column + 1] - old <= same:
                    out[rows, column] = out[rows - 1, column]
                    places[column] += shift
                    column += 1
                at = start + places[column] + shift
                if column == width:
                    break
            places[column] = at - start
            while raw[at] == 32:
                at += 1
            negative = raw[at] == 45
            if negative:
                at += 1
            first = at
            value, at = _whole_number(raw, words, at)
            if at == first or at - first > _MOST_DIGITS:
                bad = True
                break
            out[rows, column] = -value if negative else value
            while raw[at] == 32:
                at += 1
            if column < width - 1:
                if raw[at] != 44:
                    bad = True
                    break
                at += 1
            elif raw[at] == 10:
                at += 1
            elif raw[at] == 13 and raw[at + 1] == 10:
                at += 2
            else:
                bad = True
                break
            column += 1
        if bad:
            at = start
            break
        places[width] = at - start
        above, length = start, at - start
        rows += 1
        state[LINES] += 1
    state[POSITION], state[ROWS] = at, rows
    return int(bad)


@njit(cache=True)
def check_rows(times: Any, fields: Any, levels: Any, state: Any, fault: Any) -> int:
    """Rows before the first that cannot be, whose fault is then in fault[0] (and the level, from 0, in fault[1]).

    times (n,) int64 ns; fields (n, 5) int64 type, order id, size, price, direction; levels (n, 4 * L) int64; state
    (15,) int64 is carried from block to block.
    """
    depth = levels.shape[1] // 4
    for r in range(times.size):
        time = times[r]
        kind, order, size, price, direction = fields[r, 0], fields[r, 1], fields[r, 2], fields[r, 3], fields[r, 4]
        fault[1] = 0
        if time < 0 or time > DAY_NS:
            fault[0] = WRONG_TIME
            return r
        if time < state[LAST_TIME]:
            fault[0] = EARLIER
            return r
        if kind < NEW or kind > HALTED:
            fault[0] = WRONG_KIND
            return r
        if direction != 1 and direction != -1:
            fault[0] = WRONG_DIRECTION
            return r
        if size < 0 or size >= _EXACT or (kind <= HIDDEN and size < 1):
            fault[0] = WRONG_SIZE
            return r
        if price >= EMPTY_ASK or (kind <= HIDDEN and price <= 0):
            fault[0] = WRONG_PRICE
            return r
        if kind <= EXECUTION and order < 1:
            fault[0] = WRONG_ORDER
            return r
        state[EQUAL_TIMES] += time == state[LAST_TIME]
        state[LAST_TIME] = time
        state[KINDS + kind] += 1
        state[OFF_GRID] += EXECUTION <= kind <= HIDDEN and price % _CENT != 0
        book = levels[r]
        no_ask, no_bid = False, False
        for k in range(depth):
            ask, bid = book[4 * k], book[4 * k + 2]
            empty_ask, empty_bid = ask >= EMPTY_ASK or ask <= 0, bid <= 0
            fault[1] = k
            if not empty_ask and (no_ask or (k > 0 and ask <= book[4 * k - 4])):
                fault[0] = ASKS_NOT_RISING
                return r
            if not empty_bid and (no_bid or (k > 0 and bid >= book[4 * k - 2])):
                fault[0] = BIDS_NOT_FALLING
                return r
            ask_size, bid_size = book[4 * k + 1], book[4 * k + 3]
            if (
                (not empty_ask and ask_size < 1)
                or (not empty_bid and bid_size < 1)
                or max(ask_size, bid_size) >= _EXACT
            ):
                fault[0] = LEVEL_WITHOUT_SIZE
                return r
            if k == 0:
                state[DUMMIES] += int(empty_ask) + int(empty_bid)
                state[CROSSED] += not empty_ask and not empty_bid and bid >= ask
            no_ask, no_bid = empty_ask, empty_bid
        if kind == NEW:
            state[NEWS] += 1
            side = 2 if direction > 0 else 0
            for k in range(depth):
                if book[4 * k + side] == price:
                    state[NEWS_STANDING] += 1
                    break
    fault[0] = 0
    return int(times.size)


@njit(cache=True)
def new_best_rows(levels: Any, best: Any, rows: Any) -> int:
    """Number of rows whose best level is not that of the row above; their places are in rows (n,) int64.

    levels (n, 4 * L) int64; best (4,) int64 the best level above the first row, after it that of the last one.
    """
    count = 0
    for r in range(levels.shape[0]):
        changed = False
        for c in range(4):
            changed |= levels[r, c] != best[c]
            best[c] = levels[r, c]
        if changed:
            rows[count] = r
            count += 1
    return count


@njit(cache=True)
def _put(n: int, kind: Any, time: int, price: Any, quantity: Any, order: Any, out: Any) -> int:
    ev, ts, px, qty, order_id = out
    ev[n], ts[n], px[n], qty[n], order_id[n] = kind, time, price, quantity, order
    return n + 1


@njit(cache=True)
def _trade(n: int, time: int, fields: Any, out: Any) -> int:
    """The trade of a message, the aggressor on the other side of the resting order; nobody in a cross."""
    kind, price = fields[0], fields[3]
    if kind != EXECUTION and kind != HIDDEN and not (kind == CROSS and price > 0 and fields[2] > 0):
        return n
    flags = _BOTH if kind == CROSS else (_BID if fields[4] < 0 else _ASK)
    return _put(n, flags | np.uint64(TRADE), time, price / PRICE_SCALE, float(fields[2]), np.uint64(0), out)


@njit(cache=True)
def _none(price: int) -> bool:
    return price <= 0 or price >= EMPTY_ASK


@njit(cache=True)
def _first_change(old: Any, new: Any, side: int) -> Any:
    """The first level at which one side (0 asks, 2 bids) of two rows differs, the number of levels where none does."""
    depth = new.size // 4
    for k in range(depth):
        if old[4 * k + side] != new[4 * k + side] or old[4 * k + side + 1] != new[4 * k + side + 1]:
            return k
    return depth


@njit(cache=True)
def _side_changes(
    n: int, time: int, old: Any, new: Any, side: int, first: int, removals: bool, kind: Any, state: Any, out: Any
) -> int:
    """The levels of one side that are gone (`removals`), or that are new or have another quantity.

    side: 0 asks, 2 bids, the place of the price in a level's four cells; first: the level from which on they differ.
    """
    depth = new.size // 4
    sign = 1 - side
    flags = (_ASK if side == 0 else _BID) | np.uint64(kind)
    i, j = first, first
    while True:
        gone_end = i == depth or _none(old[4 * i + side])
        new_end = j == depth or _none(new[4 * j + side])
        if gone_end and new_end:
            return n
        a = 0 if gone_end else old[4 * i + side]
        b = 0 if new_end else new[4 * j + side]
        if new_end or (not gone_end and sign * a < sign * b):
            if removals:
                n = _put(n, flags, time, a / PRICE_SCALE, 0.0, np.uint64(0), out)
                state[OUT_OF_VIEW] += j == depth
            i += 1
            continue
        quantity = new[4 * j + side + 1]
        same = not gone_end and a == b
        if not removals and not (same and old[4 * i + side + 1] == quantity):
            n = _put(n, flags, time, b / PRICE_SCALE, float(quantity), np.uint64(0), out)
        i += same
        j += 1


@njit(cache=True)
def level_events(
    midnight: int, times: Any, fields: Any, levels: Any, first: int, before: Any, state: Any, out: Any
) -> tuple[int, int]:
    """Trades and changes of levels of the rows from `first` on: events written, and the row at which `out` was full.

    After the events of a row the book that they build is that row. midnight: ns since 1970 that times count from;
    before (4 * L,) int64 the row above, of empty levels before the first; state (6,) int64; out: five arrays ev uint64,
    ts int64, px, qty float64, order_id uint64.
    """
    width = levels.shape[1]
    capacity = out[0].size
    n = 0
    for r in range(first, times.size):
        if capacity - n < 2 * width + 2:
            return n, r
        time = midnight + times[r]
        kind = DEPTH
        if state[STARTED] == 0:
            n = _put(n, _BOTH | np.uint64(DEPTH_CLEAR), time, 0.0, 0.0, np.uint64(0), out)
            state[STARTED] = 1
            kind = SNAPSHOT
        n = _trade(n, time, fields[r], out)
        book = levels[r]
        ask, bid = _first_change(before, book, 0), _first_change(before, book, 2)
        n = _side_changes(n, time, before, book, 0, ask, True, kind, state, out)
        n = _side_changes(n, time, before, book, 2, bid, True, kind, state, out)
        n = _side_changes(n, time, before, book, 0, ask, False, kind, state, out)
        n = _side_changes(n, time, before, book, 2, bid, False, kind, state, out)
        before[:] = book
    return n, int(times.size)


@njit(cache=True)
def _home(order: int) -> Any:
    """Where an order's search starts, before it is cut to the table's size (Knuth 6.4: multiplicative hashing)."""
    return np.int64((np.uint64(order) * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(20))


@njit(cache=True)
def _slot(keys: Any, order: int) -> Any:
    """Where an order is in the open-addressing table, or the free slot where it would go."""
    mask = keys.size - 1
    at = _home(order) & mask
    while keys[at] != 0 and keys[at] != order:
        at = (at + 1) & mask
    return at


@njit(cache=True)
def _forget(keys: Any, left: Any, at: int) -> None:
    """Free a slot; those after it in its run move so that none is lost (Knuth 6.4, algorithm R)."""
    mask = keys.size - 1
    hole = at
    following = (at + 1) & mask
    while keys[following] != 0:
        home = _home(keys[following]) & mask
        if ((following - home) & mask) >= ((following - hole) & mask):
            keys[hole], left[hole] = keys[following], left[following]
            hole = following
        following = (following + 1) & mask
    keys[hole] = 0


@njit(cache=True)
def move_orders(keys: Any, left: Any, new_keys: Any, new_left: Any) -> None:
    """Put every order of one table into a larger, empty one (sizes are powers of two)."""
    for k in range(keys.size):
        if keys[k] != 0:
            at = _slot(new_keys, keys[k])
            new_keys[at], new_left[at] = keys[k], left[k]


@njit(cache=True)
def order_events(midnight: int, times: Any, fields: Any, keys: Any, left: Any, state: Any, out: Any) -> int:
    """Trades and order-by-order events of all rows: events written.

    A fill is a trade, the report FILL, and what it leaves of the resting order: MODIFY, or CANCEL where nothing is
    left. keys, left (a power of two,) int64: the table of orders followed, with room for all of these rows; out must
    hold 3 events a row and one more.
    """
    n = 0
    for r in range(times.size):
        time = midnight + times[r]
        if state[STARTED] == 0:
            n = _put(n, _BOTH | np.uint64(DEPTH_CLEAR), time, 0.0, 0.0, np.uint64(0), out)
            state[STARTED] = 1
        n = _trade(n, time, fields[r], out)
        kind, order, size = fields[r, 0], fields[r, 1], fields[r, 2]
        if kind > EXECUTION:
            continue
        price = fields[r, 3] / PRICE_SCALE
        flags = _BID if fields[r, 4] > 0 else _ASK
        at = _slot(keys, order)
        known = keys[at] == order
        if kind == NEW:
            if known:
                state[TWICE] += 1
                n = _put(n, flags | np.uint64(CANCEL), time, price, float(left[at]), np.uint64(order), out)
            else:
                state[LIVE] += 1
            keys[at], left[at] = order, size
            n = _put(n, flags | np.uint64(ADD), time, price, float(size), np.uint64(order), out)
            continue
        if not known:
            state[UNKNOWN] += 1
            continue
        if kind == EXECUTION:
            n = _put(n, flags | np.uint64(FILL), time, price, float(size), np.uint64(order), out)
        rest = 0 if kind == DELETE else left[at] - size
        if rest > 0:
            left[at] = rest
            n = _put(n, flags | np.uint64(MODIFY), time, price, float(rest), np.uint64(order), out)
        else:
            taken = 0 if kind == EXECUTION else left[at]
            n = _put(n, flags | np.uint64(CANCEL), time, price, float(taken), np.uint64(order), out)
            _forget(keys, left, at)
            state[LIVE] -= 1
    return n
