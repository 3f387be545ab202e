"""Compiled loops of the parser and the sort; arrays in, output arrays last, nothing checked here but the records."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from data_pipeline.schema import LAYOUT


def _ranges(*kinds: str) -> NDArray[np.int64]:
    chosen = [f for f in LAYOUT if f.kind in kinds and f.name != "TIPREG"]
    return np.array([(f.start, f.stop, f.kind == "code") for f in chosen], dtype=np.int64)


NUMBER_COLUMNS = tuple(f.column for f in LAYOUT if f.kind == "number" and f.column)
TEXT_COLUMNS = tuple(f.column for f in LAYOUT if f.kind in ("code", "text"))
_NUMBERS = _ranges("number")
_TEXTS = _ranges("code", "text")
_SESSION, _EXPIRY = (np.uint64(f.start) for f in LAYOUT if f.kind == "date")
_DAYS = next(f.start for f in LAYOUT if f.kind == "days")
_DAYS_WORD = np.uint64(_DAYS + 3 - 8)
_OPEN, _HIGH, _LOW, _CLOSE, _BID, _ASK, _QUANTITY, _FACTOR = (
    NUMBER_COLUMNS.index(name)
    for name in (
        "open_cents",
        "high_cents",
        "low_cents",
        "close_cents",
        "bid_cents",
        "ask_cents",
        "quantity",
        "quotation_factor",
    )
)
TEXT_CAPACITY = 2 * int((_TEXTS[:, 1] - _TEXTS[:, 0]).max())
"""Bytes per row that the widest text field may need: one ISO-8859-1 byte is at most two of UTF-8."""

NO_DATE = np.int32(-(2**31))
"""Stands for DATVEN 99991231 (no expiry)."""
BAD_DATE = np.int32(-(2**31) + 1)
FIRST_SESSION, LAST_SESSION = 19860101, 21991231
"""Days that a session can have: B3's series begin in 1986, and a later day than the last is damage."""

Ints = NDArray[np.int64]


_EIGHTS = np.array(
    [(start, (stop - start) // 8, stop - 8, (stop - start) % 8) for start, stop, _ in _NUMBERS], dtype=np.uint64
)
"""Of each number: its first column, how many whole words of 8 digits, the word that ends it, and its digits left."""
_POWERS = np.array([10**k for k in range(8)], dtype=np.uint64)
_ZEROS = np.uint64(0x3030303030303030)
_LOWER = np.uint64(0x0F0F0F0F0F0F0F0F)
_UPPER = np.uint64(0xF0F0F0F0F0F0F0F0)
_SIXES = np.uint64(0x0606060606060606)
_ONES = np.uint64(0xFFFFFFFFFFFFFFFF)
_PAIRS = np.uint64(0x00FF00FF00FF00FF)
_FOURS = np.uint64(0x0000FFFF0000FFFF)
_ALL = np.uint64(0x00000000FFFFFFFF)


@njit(cache=True)
def _not_digits(word: Any) -> Any:
    """0 where each of the eight bytes is a decimal digit: its upper half is 3, also after adding 6."""
    return ((word & _UPPER) ^ _ZEROS) | (((word + _SIXES) & _UPPER) ^ _ZEROS)


@njit(cache=True)
def _eight(word: Any) -> Any:
    """Value of eight digits in one word, the first in the lowest byte: by pairs, then fours, then the two halves.

    Source: Lemire, "Number parsing at a gigabyte per second" (2021).
    """
    word = word & _LOWER
    word = (word * np.uint64(10) + (word >> np.uint64(8))) & _PAIRS
    word = (word * np.uint64(100) + (word >> np.uint64(16))) & _FOURS
    return (word * np.uint64(10000) + (word >> np.uint64(32))) & _ALL


@njit(cache=True)
def _last(word: Any, digits: Any) -> Any:
    """The word with zeros for all but its last `digits` characters."""
    cut = np.uint64(8) * (np.uint64(8) - digits)
    mask = (_ONES >> cut) << cut
    return (word & mask) | (_ZEROS & ~mask)


@njit(cache=True)
def _day_number(yyyymmdd: int) -> Any:
    """Days since 1970-01-01 of a proleptic Gregorian date, BAD_DATE where there is no such day.

    The civil-calendar arithmetic counts years from March so that the leap day is the last one.
    """
    year = yyyymmdd // 10000
    month = yyyymmdd // 100 % 100
    day = yyyymmdd % 100
    if year < 1 or month < 1 or month > 12 or day < 1:
        return BAD_DATE
    leap = (year % 4 == 0 and year % 100 != 0) or year % 400 == 0
    length = 31
    if month == 2:
        length = 29 if leap else 28
    elif month in (4, 6, 9, 11):
        length = 30
    if day > length:
        return BAD_DATE
    shifted = year - 1 if month <= 2 else year
    era = shifted // 400
    year_of_era = shifted - era * 400
    day_of_year = (153 * ((month + 9) % 12) + 2) // 5 + day - 1
    day_of_era = year_of_era * 365 + year_of_era // 4 - year_of_era // 100 + day_of_year
    return np.int32(era * 146097 + day_of_era - 719468)


@njit(cache=True)
def _fault(n: Any, r: int, session: int, generated: int) -> int:
    """Quarantine code of row r (see schema.REASONS), 0 for a good row.

    What is odd but can be true stays: a bid above the ask (the book at the close may be crossed or stale), 0 trades
    (100,000 modulo 100,000), an average outside low..high (corrected later than the other prices).
    """
    low, high, first, last = n[_LOW, r], n[_HIGH, r], n[_OPEN, r], n[_CLOSE, r]
    if low == 0 or high == 0 or first == 0 or last == 0:
        return 4
    if high < low:
        return 1
    if first < low or first > high:
        return 2
    if last < low or last > high:
        return 3
    if n[_FACTOR, r] == 0:
        return 5
    if n[_QUANTITY, r] == 0:
        return 6
    if session > generated:
        return 7
    return 0


@njit(cache=True)
def parse_block(
    raw: Any,
    words: Any,
    stride: int,
    rows: int,
    generated: int,
    numbers: Any,
    forward_days: Any,
    session: Any,
    expiry: Any,
    month: Any,
    reason: Any,
    offsets: Any,
    text: Any,
    counts: Any,
) -> int:
    """Number of leading records that are well-formed quote records; the arrays hold their columns.

    Stops at the first record that is not one (another type, wrong length, a byte out of place): the caller
    looks at that record and says what is wrong with it.

    raw (rows * stride,) uint8, and words (rows * stride - 7,) uint64, the eight bytes from each place on; numbers
    (16, >=rows) int64; forward_days int16, -1 for blank; session, expiry, month (12 * year + month - 1) int32; reason
    uint8; offsets (6, >=rows + 1) int32 and text (6, >=rows * TEXT_CAPACITY) uint8 are UTF-8 strings in Arrow's
    layout, trailing blanks removed;
    counts (3,) int64 is increased by the rows without expiry, bid and ask.
    """
    for r in range(rows):
        base = r * stride
        if raw[base] != 48 or raw[base + 1] != 49:
            return r
        if stride == 247 and (raw[base + 245] != 13 or raw[base + 246] != 10):
            return r
        if stride == 246 and raw[base + 245] != 10:
            return r

        at = np.uint64(base)
        wrong = np.uint64(0)
        for k in range(_EIGHTS.shape[0]):
            value = np.uint64(0)
            place = at + _EIGHTS[k, 0]
            for _ in range(_EIGHTS[k, 1]):
                wrong |= _not_digits(words[place])
                value = value * np.uint64(100_000_000) + _eight(words[place])
                place += np.uint64(8)
            rest = _EIGHTS[k, 3]
            if rest:
                # the word ends with the field: it begins before it, in another one
                word = _last(words[at + _EIGHTS[k, 2]], rest)
                wrong |= _not_digits(word)
                value = value * _POWERS[rest] + _eight(word)
            numbers[k, r] = value

        word = words[at + _SESSION]
        wrong |= _not_digits(word)
        yyyymmdd = int(_eight(word))
        session[r] = _day_number(yyyymmdd)
        if yyyymmdd < FIRST_SESSION or yyyymmdd > LAST_SESSION:
            session[r] = BAD_DATE
        month[r] = yyyymmdd // 10000 * 12 + yyyymmdd // 100 % 100 - 1
        word = words[at + _EXPIRY]
        wrong |= _not_digits(word)
        ends = int(_eight(word))
        expiry[r] = NO_DATE if ends == 99991231 else _day_number(ends)

        days = base + _DAYS
        if raw[days] == 32 and raw[days + 1] == 32 and raw[days + 2] == 32:
            forward_days[r] = -1
        else:
            word = _last(words[at + _DAYS_WORD], np.uint64(3))
            wrong |= _not_digits(word)
            forward_days[r] = np.int16(_eight(word))
        bad = wrong != 0 or session[r] == BAD_DATE or expiry[r] == BAD_DATE

        for k in range(_TEXTS.shape[0]):
            start = base + _TEXTS[k, 0]
            stop = base + _TEXTS[k, 1]
            while stop > start and raw[stop - 1] == 32:
                stop -= 1
            w = offsets[k, r]
            for i in range(start, stop):
                byte = raw[i]
                if byte < 127:
                    bad |= byte < 32
                    text[k, w] = byte
                    w += 1
                else:
                    bad |= byte == 127 or _TEXTS[k, 2] == 1
                    text[k, w] = 0xC0 | (byte >> 6)
                    text[k, w + 1] = 0x80 | (byte & 0x3F)
                    w += 2
            offsets[k, r + 1] = w
        if bad:
            return r
        counts[0] += expiry[r] == NO_DATE
        counts[1] += numbers[_BID, r] == 0
        counts[2] += numbers[_ASK, r] == 0
        reason[r] = _fault(numbers, r, session[r], generated)
    return rows


@njit(cache=True)
def pack_key(offsets: Any, text: Any, market_type: Any, forward_days: Any, head: Any, tail: Any) -> None:
    """Two uint64 whose order is that of (ticker, market type, forward days), a blank term before any other.

    A ticker is at most 12 ASCII bytes: 8 in `head`, 4 in the upper half of `tail`; shorter ones are zero-padded,
    which sorts a prefix before its extensions as string order does.
    """
    for r in range(head.shape[0]):
        first = np.uint64(0)
        second = np.uint64(0)
        start = offsets[r]
        width = offsets[r + 1] - start
        for i in range(12):
            byte = np.uint64(text[start + i]) if i < width else np.uint64(0)
            if i < 8:
                first = (first << np.uint64(8)) | byte
            else:
                second = (second << np.uint64(8)) | byte
        head[r] = first
        tail[r] = (
            (second << np.uint64(32))
            | (np.uint64(market_type[r]) << np.uint64(16))
            | np.uint64(np.int64(forward_days[r]) + 1)
        )
