"""The compiled loops of B3's intraday text files: lines of separated fields to columns, and the striking of cancels."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numba import njit

SKIP, DATE, SYMBOL, WHOLE, OPTIONAL, DECIMAL, DIGIT_CLOCK, CLOCK, LETTER = range(9)
"""What a field holds: anything; YYYY-MM-DD; an instrument; digits; digits or nothing (-1); a decimal number; a time as
up to nine digits HHMMSSmmm; HH:MM:SS with up to nine decimals; one printable byte."""

NEXT, FAULT, SYMBOLS, PADDED = range(4)
"""Places in `state`: byte of the first line not parsed, its faulty field (-1 none, -2 the symbol table is full, the
number of fields where the line has too many or too few), symbols known, clocks with fewer than nine digits."""
NO_FAULT, FULL = -1, -2

SYMBOL_BYTES: Final = 50
_MOST_DIGITS: Final = 18
_EXACT: Final = 1 << 53
"""Below it a whole number is a float64, and so its quotient with a power of ten up to 10^22 is the nearest float64."""
_POWERS: Final = np.array([10.0**power for power in range(_MOST_DIGITS + 1)])
_NEWLINE, _RETURN, _BLANK, _MINUS, _COLON = 10, 13, 32, 45, 58


@njit(cache=True)
def _two(raw: Any, at: int) -> int:
    """The two digits at `at`, or a negative number."""
    high, low = int(raw[at]) - 48, int(raw[at + 1]) - 48
    if high < 0 or high > 9 or low < 0 or low > 9:
        return -1000
    return 10 * high + low


@njit(cache=True)
def _day(raw: Any, at: int) -> int:
    """Days since 1970-01-01 of the YYYY-MM-DD at `at`, or -1: dates before 1970 are none of these files', and those
    after 2261 have no nanoseconds in 64 bits.

    The civil-calendar arithmetic counts years from March so that the leap day is the last one.
    """
    for k in range(10):
        # a line may end anywhere: no byte is read beyond its end
        if raw[at + k] == _NEWLINE:
            return -1
    century, rest, month, day = _two(raw, at), _two(raw, at + 2), _two(raw, at + 5), _two(raw, at + 8)
    year = 100 * century + rest
    if century < 0 or rest < 0 or year < 1970 or year > 2261 or raw[at + 4] != _MINUS or raw[at + 7] != _MINUS:
        return -1
    if month < 1 or month > 12 or day < 1:
        return -1
    length = 31
    if month == 2:
        length = 29 if (year % 4 == 0 and year % 100 != 0) or year % 400 == 0 else 28
    elif month == 4 or month == 6 or month == 9 or month == 11:
        length = 30
    if day > length:
        return -1
    shifted = year - 1 if month <= 2 else year
    era = shifted // 400
    year_of_era = shifted - era * 400
    day_of_year = (153 * ((month + 9) % 12) + 2) // 5 + day - 1
    return era * 146097 + year_of_era * 365 + year_of_era // 4 - year_of_era // 100 + day_of_year - 719468


@njit(cache=True)
def _same_date(raw: Any, at: int, other: int) -> bool:
    """Whether the ten bytes at both places are equal; `other` is where a date was."""
    for k in range(10):  # noqa: SIM110 (a generator is slower when compiled)
        if raw[at + k] != raw[other + k]:
            return False
    return True


@njit(cache=True)
def _clock(raw: Any, at: int) -> tuple[int, int]:
    """Microseconds after midnight of the HH:MM:SS[.decimals] at `at` (-1 where there is none) and where it ends."""
    for k in range(8):
        if raw[at + k] == _NEWLINE:
            return -1, at
    hour, minute, second = _two(raw, at), _two(raw, at + 3), _two(raw, at + 6)
    if raw[at + 2] != _COLON or raw[at + 5] != _COLON:
        return -1, at
    if hour < 0 or hour > 23 or minute < 0 or minute > 59 or second < 0 or second > 59:
        return -1, at
    value = 1_000_000 * (3600 * hour + 60 * minute + second)
    at += 8
    if raw[at] == 46:
        at += 1
        unit = 100_000
        first = at
        while raw[at] >= 48 and raw[at] <= 57 and at - first < 9:
            value += unit * (int(raw[at]) - 48)
            unit //= 10
            at += 1
        if at == first:
            return -1, at
    return value, at


@njit(cache=True)
def _digits(raw: Any, at: int) -> tuple[int, int, int]:
    """Value and number of the digits at `at`, and where they end; the value is -1 beyond 18 of them."""
    value = 0
    first = at
    while raw[at] >= 48 and raw[at] <= 57:
        if at - first >= _MOST_DIGITS:
            return -1, 0, at
        value = value * 10 + (int(raw[at]) - 48)
        at += 1
    return value, at - first, at


@njit(cache=True)
def _decimal(raw: Any, at: int, comma: int) -> tuple[float, int]:
    """The decimal number at `at`, the nearest float64, and where it ends; nan where there is none."""
    negative = raw[at] == _MINUS
    if negative:
        at += 1
    value, digits, at = _digits(raw, at)
    if digits == 0:
        return np.nan, at
    decimals = 0
    if raw[at] == comma:
        at += 1
        first = at
        while raw[at] >= 48 and raw[at] <= 57:
            digits += 1
            if digits > _MOST_DIGITS:
                return np.nan, at
            value = value * 10 + (int(raw[at]) - 48)
            at += 1
        decimals = at - first
        if decimals == 0:
            return np.nan, at
    if value >= _EXACT:
        return np.nan, at
    number = value / _POWERS[decimals]
    return (-number if negative else number), at


@njit(cache=True)
def _digit_clock(value: int, digits: int) -> int:
    """Microseconds after midnight of a time read as the number HHMMSSmmm, or -1."""
    hour, minute, second = value // 10_000_000, value // 100_000 % 100, value // 1000 % 100
    if digits < 1 or digits > 9 or hour > 23 or minute > 59 or second > 59:
        return -1
    return 1000 * (1000 * (3600 * hour + 60 * minute + second) + value % 1000)


@njit(cache=True)
def _hash(raw: Any, start: int, stop: int) -> Any:
    """FNV-1a (Fowler, Noll & Vo 1991) of the bytes, its upper bits folded onto the lower ones."""
    value = np.int64(-3750763034362895579)
    for k in range(start, stop):
        value = (value ^ np.int64(raw[k])) * np.int64(1099511628211)
    return value ^ (value >> 32)


@njit(cache=True)
def _symbol(raw: Any, start: int, stop: int, table: Any, names: Any, widths: Any, state: Any) -> Any:
    """Number of the symbol raw[start:stop], a new one where it is not known; -1 where no place is left."""
    mask = table.size - 1
    width = stop - start
    place = _hash(raw, start, stop) & mask
    while table[place] >= 0:
        code = table[place]
        if widths[code] == width:
            same = True
            for k in range(width):
                if names[code, k] != raw[start + k]:
                    same = False
                    break
            if same:
                return code
        place = (place + 1) & mask
    code = state[SYMBOLS]
    if code >= widths.size:
        return -1
    for k in range(width):
        names[code, k] = raw[start + k]
    widths[code] = width
    table[place] = code
    state[SYMBOLS] = code + 1
    return code


@njit(cache=True)
def place_symbols(count: int, names: Any, widths: Any, table: Any) -> None:
    """Enter the first `count` symbols into an empty hash table (-1), a power of two long and larger than `count`."""
    mask = table.size - 1
    for code in range(count):
        place = _hash(names[code], 0, widths[code]) & mask
        while table[place] >= 0:
            place = (place + 1) & mask
        table[place] = code


@njit(cache=True)
def parse_lines(
    raw: Any,
    at: int,
    stop: int,
    separator: int,
    comma: int,
    kinds: Any,
    slots: Any,
    table: Any,
    names: Any,
    widths: Any,
    wholes: Any,
    reals: Any,
    starts: Any,
    dates: Any,
    state: Any,
) -> int:
    """Number of well-formed lines in raw[at:stop], whose last byte is a newline; the arrays hold their fields.

    Stops at the first line that is not well formed, at the arrays' end, or where a symbol finds no place: `state` says
    where and why.

    kinds, slots (fields,) int64: what each field holds, and its column in `wholes` (or in `reals` for DECIMAL, nothing
    for SKIP); blanks around a field do not count. table (2^k,) int32, names (most, SYMBOL_BYTES) uint8, widths (most,)
    int32: the symbols known. wholes (columns, rows) int64; reals (columns, rows) float64; starts (rows,) int64: first
    byte of each line; dates (fields,) int64: work space; state (4,) int64.
    """
    fields = kinds.size
    rows = starts.size
    row = 0
    state[FAULT] = NO_FAULT
    while row < rows and at < stop:
        state[NEXT] = at
        starts[row] = at
        padded = 0
        field = 0
        while True:
            while raw[at] == _BLANK:
                at += 1
            kind = kinds[field]
            slot = slots[field]
            good = True
            if kind in (WHOLE, OPTIONAL):
                value, digits, at = _digits(raw, at)
                if digits == 0:
                    good = kind == OPTIONAL and value == 0
                    value = -1
                wholes[slot, row] = value
            elif kind == DECIMAL:
                number, at = _decimal(raw, at, comma)
                good = number == number
                reals[slot, row] = number
            elif kind == DATE:
                # most rows repeat the date of the row before: comparing bytes is the shorter way
                same = row > 0 and _same_date(raw, at, dates[field])
                value = wholes[slot, row - 1] if same else _day(raw, at)
                good = value >= 0
                wholes[slot, row] = value
                dates[field] = at
                at += 10 if good else 0
            elif kind == SYMBOL:
                first = at
                while raw[at] > _BLANK and raw[at] < 127 and raw[at] != separator and at - first <= SYMBOL_BYTES:
                    at += 1
                good = at > first and at - first <= SYMBOL_BYTES
                if good:
                    code = _symbol(raw, first, at, table, names, widths, state)
                    if code < 0:
                        state[FAULT] = FULL
                        return row
                    wholes[slot, row] = code
            elif kind == DIGIT_CLOCK:
                value, digits, at = _digits(raw, at)
                value = _digit_clock(value, digits)
                good = value >= 0
                padded += digits < 9
                wholes[slot, row] = value
            elif kind == CLOCK:
                value, at = _clock(raw, at)
                good = value >= 0
                wholes[slot, row] = value
            elif kind == LETTER:
                good = raw[at] > _BLANK and raw[at] < 127 and raw[at] != separator
                wholes[slot, row] = int(raw[at])
                at += 1 if good else 0
            else:
                while raw[at] != separator and raw[at] != _NEWLINE and raw[at] != _RETURN:
                    at += 1
            while good and raw[at] == _BLANK:
                at += 1
            field += 1
            byte = raw[at]
            if not good:
                state[FAULT] = field - 1
                return row
            if byte == separator:
                at += 1
                if field == fields:
                    state[FAULT] = fields
                    return row
                continue
            if byte == _RETURN and raw[at + 1] == _NEWLINE:
                at += 1
                byte = raw[at]
            if byte != _NEWLINE or field < fields:
                state[FAULT] = field - 1 if byte != _NEWLINE else fields
                return row
            at += 1
            break
        state[PADDED] += padded
        row += 1
    state[NEXT] = at
    return row


@njit(cache=True)
def _first_not_below(c_symbol: Any, c_day: Any, c_number: Any, symbol: int, day: int, number: int) -> int:
    """First of the sorted keys that is not below the given one."""
    low, high = 0, c_symbol.size
    while low < high:
        middle = (low + high) // 2
        before = c_symbol[middle] < symbol
        if c_symbol[middle] == symbol:
            before = c_day[middle] < day
            if c_day[middle] == day:
                before = c_number[middle] < number
        if before:
            low = middle + 1
        else:
            high = middle
    return low


@njit(cache=True)
def strike_cancelled(
    symbol: Any, day: Any, number: Any, c_symbol: Any, c_day: Any, c_number: Any, taken: Any, struck: Any
) -> None:
    """Which trades a cancel takes out: of equal keys as many trades as there are cancels, in the order of the rows.

    symbol, day, number (rows,): the trades' keys; c_symbol, c_day, c_number (cancels,): the cancels', sorted;
    taken (cancels,) int64: how many trades the first cancel of each key has taken, kept between calls;
    struck (rows,) int64: the cancel that takes the trade, -1 for none.
    """
    count = c_symbol.size
    for row in range(symbol.size):
        struck[row] = -1
        low = _first_not_below(c_symbol, c_day, c_number, symbol[row], day[row], number[row])
        place = low + (taken[low] if low < count else 0)
        if (
            place < count
            and c_symbol[place] == symbol[row]
            and c_day[place] == day[row]
            and c_number[place] == number[row]
        ):
            struck[row] = place
            taken[low] += 1


@njit(cache=True)
def find_keys(symbol: Any, day: Any, number: Any, c_symbol: Any, c_day: Any, c_number: Any, found: Any) -> None:
    """Where each row's key is among the sorted keys, -1 where it is not; arrays as in `strike_cancelled`."""
    for row in range(symbol.size):
        place = _first_not_below(c_symbol, c_day, c_number, symbol[row], day[row], number[row])
        found[row] = -1
        if (
            place < c_symbol.size
            and c_symbol[place] == symbol[row]
            and c_day[place] == day[row]
            and c_number[place] == number[row]
        ):
            found[row] = place


@njit(cache=True)
def mark_not_rising(symbol: Any, number: Any, highest: Any, marked: Any) -> None:
    """Which rows have a number not above all before of their symbol; highest (symbols,) int64 is kept between calls."""
    for row in range(symbol.size):
        code = symbol[row]
        marked[row] = number[row] <= highest[code]
        highest[code] = max(highest[code], number[row])


@njit(cache=True)
def _place_of_words(key: int, words: Any, table: Any, nodes: Any) -> Any:
    """Where a key with these words is in the hash table, or the free place where it would go."""
    value = np.int64(key)
    for k in range(words.size):
        value = (value ^ words[k]) * np.int64(1099511628211)
        value ^= (value >> 29) & np.int64(0x7FFFFFFFF)
    mask = table.size - 1
    place = value & mask
    while table[place] >= 0:
        node = nodes[table[place]]
        same = node[0] == key
        for k in range(words.size):
            same &= node[1 + k] == words[k]
        if same:
            break
        place = (place + 1) & mask
    return place


@njit(cache=True)
def mark_repeats(
    key: Any, words: Any, sequence: Any, cancel: Any, c_sequence: Any, c_end: Any, table: Any, nodes: Any, used: Any,
    counts: Any, kept: Any,
) -> None:  # fmt: skip
    """Which rows are not there before with the same key and words, or are after a cancel between the two.

    key (n,) int64; words (n, w) int64; sequence (n,) int64, rising; cancel (n,) int64: place of the key's first cancel,
    -1 none; c_sequence, c_end (cancels,) int64: row of each cancel, and where those of its key end. Kept between calls:
    table (2^k,) int32, -1 where free; nodes (most, w + 2) int64: key, words, last row of each; used (keys,) bool;
    counts (3,) int64: nodes, repeated rows, keys' further words. kept (n,) bool.
    """
    for i in range(key.size):
        place = _place_of_words(key[i], words[i], table, nodes)
        node = table[place]
        kept[i] = True
        if node < 0:
            node = counts[0]
            counts[0] += 1
            table[place] = node
            nodes[node, 0] = key[i]
            nodes[node, 1:-1] = words[i]
            counts[2] += used[key[i]]
            used[key[i]] = True
        else:
            low, high = cancel[i], cancel[i]
            if low >= 0:
                high = c_end[low]
            while low < high:
                middle = (low + high) // 2
                if c_sequence[middle] < nodes[node, -1]:
                    low = middle + 1
                else:
                    high = middle
            kept[i] = cancel[i] >= 0 and low < c_end[cancel[i]] and c_sequence[low] < sequence[i]
            counts[1] += not kept[i]
        nodes[node, -1] = sequence[i]
