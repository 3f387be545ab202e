"""Compiled loops that turn the events of a simulated book into LOBSTER's rows, and rows of whole numbers into text."""

from __future__ import annotations

from typing import Any

from numba import njit

# the numbers of order_book_kernels, written again: a compiled loop does not see an edit of another file
NEW, MOVE, FILL, CANCEL, HIDDEN, REDUCE, CROSS, HALT = 1, 2, 3, 4, 5, 6, 7, 8
EMPTY_PRICE = 9_999_999_999
LONGEST_NUMBER = 21
"""Characters of a whole number of 64 bits, and a separator."""
BEST_ASK, BEST_BID, NEXT_ORDER, OPENED = range(4)
"""Places in the state: best places on the shelves (past their ends where a side is empty), the next free order number,
whether the row above is known."""
_SECOND = 1_000_000_000


@njit(cache=True)
def _change(shelf: Any, place: int, quantity: int, side: int, state: Any) -> None:
    """Add to (or take from) what stands at a place, and find the side's best place again."""
    shelf[place] += quantity
    if side < 0:
        if quantity > 0:
            state[BEST_ASK] = min(state[BEST_ASK], place)
        while state[BEST_ASK] < shelf.size and shelf[state[BEST_ASK]] == 0:
            state[BEST_ASK] += 1
    else:
        if quantity > 0:
            state[BEST_BID] = max(state[BEST_BID], place)
        while state[BEST_BID] >= 0 and shelf[state[BEST_BID]] == 0:
            state[BEST_BID] -= 1


@njit(cache=True)
def _picture(shelves: Any, lowest: int, unit: int, levels: int, state: Any, book: Any) -> None:
    """The best levels of both sides as a LOBSTER row."""
    ask, bid = state[BEST_ASK], state[BEST_BID]
    for level in range(levels):
        while ask < shelves.shape[1] and shelves[0, ask] == 0:
            ask += 1
        while bid >= 0 and shelves[1, bid] == 0:
            bid -= 1
        book[4 * level], book[4 * level + 1] = EMPTY_PRICE, 0
        book[4 * level + 2], book[4 * level + 3] = -EMPTY_PRICE, 0
        if ask < shelves.shape[1]:
            book[4 * level], book[4 * level + 1] = (lowest + ask) * unit, shelves[0, ask]
        if bid >= 0:
            book[4 * level + 2], book[4 * level + 3] = (lowest + bid) * unit, shelves[1, bid]
        ask += 1
        bid -= 1


@njit(cache=True)
def _emit(
    n: int, time: int, kind: int, order: int, size: int, price: int, side: int, always: bool, messages: Any,
    books: Any, last: Any, state: Any,
) -> int:  # fmt: skip
    """Keep the row at n, whose book is there, when the levels shown differ from those before."""
    shown = always
    if not shown:
        for c in range(last.size):
            if books[n, c] != last[c]:
                shown = True
                break
    last[:] = books[n]
    state[OPENED] = 1
    message = messages[n]
    message[0], message[1], message[2] = time, kind, order
    message[3], message[4], message[5] = size, price, side
    return n + 1 if shown else n


@njit(cache=True)
def lobster_rows(
    time: Any, kind: Any, order: Any, side: Any, price: Any, before: Any, size: Any, started: int, unit: int,
    lowest: int, shelves: Any, renamed: Any, state: Any, last: Any, messages: Any, books: Any,
) -> int:  # fmt: skip
    """Messages of a file of as many levels as `last` holds: rows written, of those that touch what is shown.

    The event columns are (n,) int64; started: ns, rows up to it only fill the book; unit: a tick in USD / 10,000;
    shelves (2, prices) int64: quantity from price `lowest` on, asks first; renamed (orders,) int64: an order's number
    in the file, 0 for its own (a replacement has a new one); last (4 * levels,) the row above; messages (>= 2n + 1, 6),
    books (>= 2n + 1, 4 * levels).
    """
    levels = last.size // 4
    n = 0
    for e in range(time.size):
        what, s = kind[e], (side[e] + 1) // 2
        place = price[e] - lowest
        own = renamed[order[e]]
        own = order[e] if own == 0 else own
        quiet = time[e] <= started
        if what == MOVE:
            _change(shelves[s], before[e] - lowest, -size[e], side[e], state)
            _picture(shelves, lowest, unit, levels, state, books[n])
            kept = _emit(n, time[e], 3, own, size[e], before[e] * unit, side[e], False, messages, books, last, state)
            n = n if quiet else kept
            own = state[NEXT_ORDER]
            renamed[order[e]] = own
            state[NEXT_ORDER] += 1
        code, always = 0, False
        worth = price[e] * unit
        if what in (NEW, MOVE):
            _change(shelves[s], place, size[e], side[e], state)
            code = 1
        elif what in (FILL, CANCEL, REDUCE):
            _change(shelves[s], place, -size[e], side[e], state)
            code = 4 if what == FILL else (3 if what == CANCEL else 2)
        elif what == HIDDEN:
            code, own, always = 5, 0, True
        elif what == CROSS:
            code, own, always, quiet = 6, -1, True, False
        elif what == HALT:
            code, own, always, worth = 7, 0, True, price[e]
        direction = side[e] if side[e] != 0 else -1
        _picture(shelves, lowest, unit, levels, state, books[n])
        kept = _emit(n, time[e], code, own, size[e], worth, direction, always, messages, books, last, state)
        n = n if quiet else kept
    return n


@njit(cache=True)
def _number(value: int, text: Any, at: int) -> int:
    if value < 0:
        text[at] = 45
        at += 1
        value = -value
    digits = 1
    rest = value // 10
    while rest > 0:
        digits += 1
        rest //= 10
    for place in range(at + digits - 1, at - 1, -1):
        text[place] = 48 + value % 10
        value //= 10
    return at + digits


@njit(cache=True)
def rows_as_text(rows: Any, timed: bool, text: Any) -> int:
    """Bytes of the rows as comma-separated lines; timed: the first column is ns and is written as seconds.

    rows (n, w) int64; text (n * (w * LONGEST_NUMBER + 1),) uint8.
    """
    at = 0
    for r in range(rows.shape[0]):
        for c in range(rows.shape[1]):
            if c > 0:
                text[at] = 44
                at += 1
            value = rows[r, c]
            if timed and c == 0:
                at = _number(value // _SECOND, text, at)
                text[at] = 46
                part = value % _SECOND
                for place in range(at + 9, at, -1):
                    text[place] = 48 + part % 10
                    part //= 10
                at += 10
            else:
                at = _number(value, text, at)
        text[at] = 10
        at += 1
    return at
