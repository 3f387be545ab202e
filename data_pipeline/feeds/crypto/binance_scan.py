"""Compiled scanner of Binance's messages in compact JSON, and the loop that lays them out as market events.

The scanner takes a line only where it is sure to read it as a JSON parser would: a flat object of known form, plain
ASCII, no escapes, decimals of at most 15 digits. Every other line is left, by its place, to a real parser.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numba import njit

OTHER, TICKER, TRADE, AGGREGATE, DEPTH, SNAPSHOT, UNREAD = 0, 1, 2, 3, 4, 5, 6
"""Kinds of a message; UNREAD is a line that the scanner leaves to the parser."""
(KIND, LOCAL, EVENT_TIME, TRADE_TIME, FIRST, LAST, PREVIOUS, SYMBOL, SYMBOL_SIZE, FLAGS) = range(10)
(BIDS, BID_LEVELS, ASKS, ASK_LEVELS, LINE, LINE_END) = range(10, 16)
WHOLE_COLUMNS: Final = 16
"""Columns of whole numbers; -1 where the message has none. FIRST is U of a depth message or the id of a trade."""
BUYER_MADE, OFF_MARKET, FUTURES = 1, 2, 4
"""Bits of FLAGS: m of a trade; a trade with X other than MARKET; a form that only futures have."""

_TEXT, _NUMBER, _TRUE, _FALSE, _NULL, _LEVELS = 1, 2, 3, 4, 5, 6
_PREVIOUS_KEY, _UPDATE_KEY, _BIDS_KEY, _ASKS_KEY, _IGNORED_KEY = 1, 2, 3, 4, 5
_POWERS: Final = 10.0 ** np.arange(23)
_MOST_MANTISSA: Final = 10**15


def _word(text: str) -> Any:
    return np.frombuffer(text.encode("ascii"), dtype=np.uint8)


_STREAM: Final = _word('{"stream":"')
_DATA: Final = _word('","data":{')
_DEPTH_WORD: Final = _word("depthUpdate")
_TICKER_WORD: Final = _word("bookTicker")
_TRADE_WORD: Final = _word("trade")
_AGGREGATE_WORD: Final = _word("aggTrade")
_MARKET_WORD: Final = _word("MARKET")
_LAST_UPDATE_WORD: Final = _word("lastUpdateId")
_BIDS_WORD: Final = _word("bids")
_ASKS_WORD: Final = _word("asks")
_PU_WORD: Final = _word("pu")
_TRUE_WORD: Final = _word("true")
_FALSE_WORD: Final = _word("false")
_NULL_WORD: Final = _word("null")


@njit(cache=True)
def _same(buffer: Any, start: int, stop: int, word: Any) -> bool:
    """Whether buffer[start:] begins with the word, before `stop`."""
    if stop - start < word.size:
        return False
    same = True
    for i in range(word.size):
        same = same and buffer[start + i] == word[i]
    return same


@njit(cache=True)
def _is(buffer: Any, start: int, stop: int, word: Any) -> bool:
    return stop - start == word.size and _same(buffer, start, stop, word)


@njit(cache=True)
def _whole(buffer: Any, start: int, stop: int) -> int:
    """Value of a JSON number of 1 to 18 digits without a sign, else -1."""
    if stop <= start or stop - start > 18 or (buffer[start] == 48 and stop - start > 1):
        return -1
    value = 0
    for i in range(start, stop):
        digit = int(buffer[i]) - 48
        if digit < 0 or digit > 9:
            return -1
        value = value * 10 + digit
    return value


@njit(cache=True)
def _decimal(buffer: Any, start: int, stop: int) -> tuple[float, int]:
    """Value of digits[.digits] that ends with a quotation mark, and the mark's place; -1.0 where it is not that.

    At most 15 digits count, so digits and power of ten are exact doubles and their quotient is rounded once: the
    double nearest to the text.
    """
    mantissa, digits, decimals, point = 0, 0, 0, False
    for i in range(start, stop):
        byte = int(buffer[i])
        if 48 <= byte <= 57:
            mantissa = mantissa * 10 + byte - 48
            digits += 1
            if point:
                decimals += 1
            if mantissa >= _MOST_MANTISSA or decimals > 22:
                return -1.0, i
        elif byte == 46 and digits > 0 and not point:
            point = True
        elif byte == 34:
            if digits == 0 or (point and decimals == 0):
                return -1.0, i
            return mantissa / _POWERS[decimals], i
        else:
            return -1.0, i
    return -1.0, stop


@njit(cache=True)
def _levels(buffer: Any, start: int, stop: int, price: Any, quantity: Any, used: int) -> tuple[int, int]:
    """Levels [["p","q"],...] from buffer[start] on: place after them (or -1), and how many levels are stored then."""
    i = start + 1
    if i < stop and buffer[i] == 93:  # ]
        return i + 1, used
    while i + 2 < stop and buffer[i] == 91 and buffer[i + 1] == 34:  # ["
        value, i = _decimal(buffer, i + 2, stop)
        if value < 0.0 or i + 3 > stop or buffer[i + 1] != 44 or buffer[i + 2] != 34:  # ,"
            return -1, used
        amount, i = _decimal(buffer, i + 3, stop)
        if amount < 0.0 or i + 2 >= stop or buffer[i + 1] != 93:
            return -1, used
        price[used], quantity[used] = value, amount
        used += 1
        i += 2
        if buffer[i] == 93:
            return i + 1, used
        if buffer[i] != 44:
            return -1, used
        i += 1
    return -1, used


@njit(cache=True)
def _text_end(buffer: Any, start: int, stop: int) -> int:
    """Place of the quotation mark that ends a plain text, or -1."""
    for i in range(start, stop):
        byte = buffer[i]
        if byte == 34:
            return i
        if byte < 32 or byte > 126 or byte == 92:  # control, not ASCII, backslash
            return -1
    return -1


@njit(cache=True)
def _key(buffer: Any, start: int, stop: int) -> int:
    """Slot of a key: its own byte, one of the named ones, or that of keys nobody needs; -1 for an empty key."""
    if stop - start == 1:
        return int(buffer[start])
    if _is(buffer, start, stop, _PU_WORD):
        return _PREVIOUS_KEY
    if _is(buffer, start, stop, _LAST_UPDATE_WORD):
        return _UPDATE_KEY
    if _is(buffer, start, stop, _BIDS_WORD):
        return _BIDS_KEY
    if _is(buffer, start, stop, _ASKS_WORD):
        return _ASKS_KEY
    return _IGNORED_KEY if stop > start else -1


@njit(cache=True)
def _object(buffer: Any, start: int, stop: int, slot: Any, price: Any, quantity: Any, used: int) -> tuple[int, int]:
    """The flat object whose first key is at `start`: each key's (type, start, end) in `slot`, the place after its
    closing brace (or -1), and how many levels are stored then."""
    slot[:, 0] = 0
    i = start
    while i < stop and buffer[i] == 34:
        end = _text_end(buffer, i + 1, stop)
        if end < 0 or end + 2 >= stop or buffer[end + 1] != 58:  # :
            return -1, used
        key = _key(buffer, i + 1, end)
        if key < 0 or (slot[key, 0] != 0 and key != _IGNORED_KEY):
            return -1, used
        i = end + 2
        byte = buffer[i]
        if byte == 34:
            end = _text_end(buffer, i + 1, stop)
            if end < 0:
                return -1, used
            slot[key, 0], slot[key, 1], slot[key, 2] = _TEXT, i + 1, end
            i = end + 1
        elif byte == 91:
            if not (key == 98 or key == 97 or key in (_BIDS_KEY, _ASKS_KEY)):
                return -1, used
            slot[key, 0], slot[key, 1] = _LEVELS, used
            i, used = _levels(buffer, i, stop, price, quantity, used)
            if i < 0:
                return -1, used
            slot[key, 2] = used
        elif 48 <= byte <= 57:
            end = i
            while end < stop and 48 <= buffer[end] <= 57:
                end += 1
            if _whole(buffer, i, end) < 0:
                return -1, used
            slot[key, 0], slot[key, 1], slot[key, 2] = _NUMBER, i, end
            i = end
        elif _same(buffer, i, stop, _TRUE_WORD):
            slot[key, 0] = _TRUE
            i += 4
        elif _same(buffer, i, stop, _FALSE_WORD):
            slot[key, 0] = _FALSE
            i += 5
        elif _same(buffer, i, stop, _NULL_WORD):
            slot[key, 0] = _NULL
            i += 4
        else:
            return -1, used
        if i >= stop:
            return -1, used
        if buffer[i] == 125:  # }
            return i + 1, used
        if buffer[i] != 44:
            return -1, used
        i += 1
    return -1, used


@njit(cache=True)
def _number_in(buffer: Any, slot: Any, key: int) -> int:
    """The whole number under a key; -1 where there is none, -2 where something else stands there."""
    if slot[key, 0] == 0:
        return -1
    return _whole(buffer, slot[key, 1], slot[key, 2]) if slot[key, 0] == _NUMBER else -2


@njit(cache=True)
def _decimal_in(buffer: Any, slot: Any, key: int) -> float:
    """The decimal text under a key, else -1.0."""
    if slot[key, 0] != _TEXT:
        return -1.0
    value, end = _decimal(buffer, slot[key, 1], slot[key, 2] + 1)
    return value if end == slot[key, 2] else -1.0


@njit(cache=True)
def _kind_of(buffer: Any, slot: Any) -> int:
    """Kind of the object in `slot`, or UNREAD."""
    if slot[101, 0] == _TEXT:  # e
        start, stop = slot[101, 1], slot[101, 2]
        if _is(buffer, start, stop, _TICKER_WORD):
            return TICKER
        if _is(buffer, start, stop, _TRADE_WORD):
            return TRADE
        if _is(buffer, start, stop, _DEPTH_WORD):
            return DEPTH
        if _is(buffer, start, stop, _AGGREGATE_WORD):
            return AGGREGATE
        return OTHER
    if slot[101, 0] != 0:
        return UNREAD
    if slot[_UPDATE_KEY, 0] != 0:
        return SNAPSHOT
    return TICKER if slot[117, 0] != 0 and slot[98, 0] != 0 else UNREAD


@njit(cache=True)
def _message(buffer: Any, slot: Any, whole: Any, real: Any) -> int:
    """Fill one message's columns from the slots: its kind, or UNREAD where a field is missing or of another form."""
    kind = _kind_of(buffer, slot)
    if kind in (OTHER, UNREAD):
        return kind
    event_time, trade_time = _number_in(buffer, slot, 69), _number_in(buffer, slot, 84)  # E, T
    if event_time == -2 or trade_time == -2:
        return UNREAD
    whole[EVENT_TIME], whole[TRADE_TIME] = event_time, trade_time
    if kind == SNAPSHOT:
        whole[LAST] = _number_in(buffer, slot, _UPDATE_KEY)
        bids, asks = _BIDS_KEY, _ASKS_KEY
    else:
        if slot[115, 0] != _TEXT:  # s
            return UNREAD
        bids, asks = 98, 97  # b, a
    if slot[115, 0] == _TEXT:
        whole[SYMBOL], whole[SYMBOL_SIZE] = slot[115, 1], slot[115, 2] - slot[115, 1]
    if kind in (SNAPSHOT, DEPTH):
        if slot[bids, 0] != _LEVELS or slot[asks, 0] != _LEVELS:
            return UNREAD
        whole[BIDS], whole[BID_LEVELS] = slot[bids, 1], slot[bids, 2] - slot[bids, 1]
        whole[ASKS], whole[ASK_LEVELS] = slot[asks, 1], slot[asks, 2] - slot[asks, 1]
        if kind == SNAPSHOT:
            return kind if whole[LAST] >= 0 else UNREAD
        whole[FIRST], whole[LAST] = _number_in(buffer, slot, 85), _number_in(buffer, slot, 117)  # U, u
        whole[PREVIOUS] = _number_in(buffer, slot, _PREVIOUS_KEY)
        if whole[FIRST] < 0 or whole[LAST] < 0 or whole[PREVIOUS] == -2 or event_time < 0:
            return UNREAD
        whole[FLAGS] = FUTURES if whole[PREVIOUS] >= 0 else 0
        return kind
    if kind == TICKER:
        whole[LAST] = _number_in(buffer, slot, 117)
        real[0], real[1] = _decimal_in(buffer, slot, 98), _decimal_in(buffer, slot, 66)  # b, B
        real[2], real[3] = _decimal_in(buffer, slot, 97), _decimal_in(buffer, slot, 65)  # a, A
        whole[FLAGS] = FUTURES if trade_time >= 0 else 0
        good = whole[LAST] >= 0 and real[0] >= 0.0 and real[1] >= 0.0 and real[2] >= 0.0 and real[3] >= 0.0
        return kind if good else UNREAD
    whole[FIRST] = _number_in(buffer, slot, 116 if kind == TRADE else 97)  # t, a
    real[0], real[1] = _decimal_in(buffer, slot, 112), _decimal_in(buffer, slot, 113)  # p, q
    maker = slot[109, 0]  # m
    if whole[FIRST] < 0 or trade_time < 0 or real[0] < 0.0 or real[1] < 0.0 or (maker != _TRUE and maker != _FALSE):
        return UNREAD
    flags = BUYER_MADE if maker == _TRUE else 0
    if slot[88, 0] != 0:  # X
        if slot[88, 0] != _TEXT:
            return UNREAD
        flags |= 0 if _is(buffer, slot[88, 1], slot[88, 2], _MARKET_WORD) else OFF_MARKET
    whole[FLAGS] = flags | (FUTURES if slot[77, 0] == 0 else 0)  # M
    return kind


@njit(cache=True)
def _line(
    buffer: Any, start: int, stop: int, slot: Any, whole: Any, real: Any, price: Any, quantity: Any, used: int
) -> tuple[int, int]:
    """One line's kind and how many levels are stored then."""
    i, local = start, 0
    while i < stop and i - start < 19 and 48 <= buffer[i] <= 57:
        local = local * 10 + int(buffer[i]) - 48
        i += 1
    if local <= 0 or i + 1 >= stop or buffer[i] != 32 or buffer[i + 1] != 123:  # blank, {
        return UNREAD, used
    whole[LOCAL] = local
    i += 1
    wrapped = _same(buffer, i, stop, _STREAM)
    if wrapped:
        i = _text_end(buffer, i + _STREAM.size, stop)
        if i < 0 or not _same(buffer, i, stop, _DATA):
            return UNREAD, used
        i += _DATA.size
    else:
        i += 1
    i, after = _object(buffer, i, stop, slot, price, quantity, used)
    if i < 0:
        return UNREAD, used
    if wrapped:
        if i >= stop or buffer[i] != 125:
            return UNREAD, used
        i += 1
    if i != stop and not (i + 1 == stop and buffer[i] == 13):  # a carriage return
        return UNREAD, used
    kind = _message(buffer, slot, whole, real)
    return kind, (after if kind in (DEPTH, SNAPSHOT) else used)


@njit(cache=True)
def scan_lines(
    buffer: Any, start: int, stop: int, slot: Any, whole: Any, real: Any, price: Any, quantity: Any
) -> tuple[int, int, int]:
    """Messages read, levels stored, and the place after the last line that was looked at.

    buffer (b,) uint8; slot (128, 3) int64 scratch; whole (n, WHOLE_COLUMNS) int64 and real (n, 4) float64, one row a
    line: best bid, its quantity, best ask, its quantity; or price and quantity of a trade. price, quantity (m,)
    float64: levels, m at least a tenth of the bytes. A line counts once it has its line feed. Stops when `whole` is
    full.
    """
    row, used, i = 0, 0, start
    while i < stop and row < whole.shape[0]:
        end = i
        while end < stop and buffer[end] != 10:
            end += 1
        if end == stop:
            break
        whole[row, :] = -1
        whole[row, FLAGS] = 0
        whole[row, LINE], whole[row, LINE_END] = i, end
        kind, used = _line(buffer, i, end, slot, whole[row], real[row], price, quantity, used)
        whole[row, KIND] = kind
        row += 1
        i = end + 1
    return row, used, i


@njit(cache=True)
def lay_out_events(
    chosen: Any,
    whole: Any,
    real: Any,
    price: Any,
    quantity: Any,
    exchange_ns: Any,
    local_ns: Any,
    codes: Any,
    ev: Any,
    exch_ts: Any,
    local_ts: Any,
    px: Any,
    qty: Any,
) -> int:
    """Number of events written for the chosen messages: bids before asks, a snapshot's side cleared before its levels.

    chosen (k,) int64 rows; codes (6,) uint64: depth, trade, clear, snapshot, buy, sell; the outputs are the fields of
    an event array long enough for all.
    """
    n = 0
    for c in range(chosen.size):
        row = chosen[c]
        kind = whole[row, KIND]
        if kind in (TRADE, AGGREGATE):
            ev[n] = codes[1] | (codes[5] if whole[row, FLAGS] & BUYER_MADE else codes[4])
            exch_ts[n], local_ts[n], px[n], qty[n] = exchange_ns[row], local_ns[row], real[row, 0], real[row, 1]
            n += 1
            continue
        for side in range(2):
            first = whole[row, BIDS if side == 0 else ASKS]
            size = whole[row, BID_LEVELS if side == 0 else ASK_LEVELS]
            flag = codes[4] if side == 0 else codes[5]
            if kind == SNAPSHOT and size > 0:
                ev[n], px[n], qty[n] = codes[2] | flag, price[first + size - 1], 0.0
                exch_ts[n], local_ts[n] = exchange_ns[row], local_ns[row]
                n += 1
            what = (codes[3] if kind == SNAPSHOT else codes[0]) | flag
            for level in range(first, first + size):
                ev[n], px[n], qty[n] = what, price[level], quantity[level]
                exch_ts[n], local_ts[n] = exchange_ns[row], local_ns[row]
                n += 1
    return n
