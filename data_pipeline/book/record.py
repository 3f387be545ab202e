"""What every intraday reader gives: the best quotes through a day, the trades against them, the orders' lifetimes.

    lobster, binance_capture, b3_orders -> IntradayRecord -> within(start, end) -> calibration

Times are seconds after midnight of the feed's own clock (`IntradayRecord.clock`); within one time the record keeps
the feed's order. Nothing is repaired in silence: what a reader drops or changes has a name and a number in `counts`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from data_pipeline.errors import DataError
from data_pipeline.raw_file import open_raw

Floats = NDArray[np.float64]
Signs = NDArray[np.int8]

MOST_BYTES: Final = 4 << 30

WORKING, FILLED, WITHDRAWN = 0, 1, 2
"""How an order's life at one price ended: still there when the feed ended, filled (in part or whole), or taken away."""


@dataclass(frozen=True, slots=True, eq=False)
class QuotePath:
    """Best bid and ask from each of the times on, until the next one.

    Attributes
    ----------
    times : (n,) float64
        Seconds, not decreasing; of several rows at one time the last one holds after it.
    bid, ask : (n,) float64
        Prices; nan where that side is empty.
    """

    times: Floats
    bid: Floats
    ask: Floats


@dataclass(frozen=True, slots=True, eq=False)
class TradeTape:
    """Trades in the feed's order.

    Attributes
    ----------
    times, price, size : (m,) float64
        Seconds, price, quantity.
    side : (m,) int8
        The aggressor's: +1 bought, -1 sold, 0 where the feed names none (auctions, crosses).
    hidden : (m,) bool
        Against an order that the book did not show.
    """

    times: Floats
    price: Floats
    size: Floats
    side: Signs
    hidden: NDArray[np.bool_]

    def take(self, chosen: NDArray[np.bool_]) -> TradeTape:
        """The chosen trades."""
        return TradeTape(
            self.times[chosen], self.price[chosen], self.size[chosen], self.side[chosen], self.hidden[chosen]
        )


@dataclass(frozen=True, slots=True, eq=False)
class OrderLives:
    """Each order's stay at one price, from its entry (or its move to that price) to its first fill or its end.

    Orders that traded on arrival did not rest and are not among them.

    Attributes
    ----------
    entry, exit : (k,) float64
        Seconds; `exit` of a working order is when it was last known to be there.
    price, size : (k,) float64
        Limit price, and quantity at entry.
    side : (k,) int8
        +1 a bid, -1 an ask.
    ending : (k,) int8
        WORKING, FILLED or WITHDRAWN.
    """

    entry: Floats
    exit: Floats
    price: Floats
    size: Floats
    side: Signs
    ending: Signs


@dataclass(frozen=True, slots=True, eq=False)
class IntradayRecord:
    """One instrument's day (or part of it).

    Attributes
    ----------
    feed, instrument, day, clock : str
        E.g. "LOBSTER", "AMZN", "2012-06-21", "New York".
    quotes, trades, orders
        `orders` is None where the feed does not show single orders.
    start, end : float
        Seconds between which the record is complete, apart from `gaps`.
    gaps : (g, 2) float64
        Spans of time without continuous trading or without data: halts, breaks in the sequence, an empty side.
    counts : mapping of str to int
        Rows read, and every rule with the rows that it touched.
    notes : tuple of str
        What a reader of the results should know about these files.
    files : mapping of str to str
        Name and SHA-256 of each file.
    """

    feed: str
    instrument: str
    day: str
    clock: str
    quotes: QuotePath
    trades: TradeTape
    orders: OrderLives | None
    start: float
    end: float
    gaps: Floats
    counts: Mapping[str, int]
    notes: tuple[str, ...] = ()
    files: Mapping[str, str] = field(default_factory=dict)


def whole_file(path: Path) -> bytes:
    """The bytes of a raw file, plain or alone in a zip.

    Raises
    ------
    DataError
        When it cannot be read, or is larger than `MOST_BYTES` (a zip may be a bomb).
    """
    with open_raw(path) as raw:
        return raw.whole(MOST_BYTES)


def within(record: IntradayRecord, start: float | None = None, end: float | None = None) -> IntradayRecord:
    """The part of a record from `start` to `end` (seconds); the quote that holds at `start` is carried in.

    Raises
    ------
    DataError
        When the window leaves no quotes.
    """
    first = record.start if start is None else max(start, record.start)
    last = record.end if end is None else min(end, record.end)
    if not first < last:
        raise DataError(
            f"{record.feed} {record.instrument} {record.day} has data from {record.start:.3f} s to {record.end:.3f} s "
            f"after midnight ({record.clock}); the window {_words(start)} to {_words(end)} lies outside: change it"
        )
    quotes, trades = record.quotes, record.trades
    held = max(int(np.searchsorted(quotes.times, first, side="right")) - 1, 0)
    stop = int(np.searchsorted(quotes.times, last, side="right"))
    if held >= stop:
        raise DataError(
            f"{record.feed} {record.instrument} {record.day} has no quotes between {first:.3f} s and {last:.3f} s"
        )
    kept = slice(held, stop)
    path = QuotePath(np.maximum(quotes.times[kept], first), quotes.bid[kept], quotes.ask[kept])
    inside = (trades.times >= first) & (trades.times <= last)
    gaps = np.clip(record.gaps, first, last)
    return replace(
        record,
        quotes=path,
        trades=trades.take(inside),
        orders=None if record.orders is None else _lives_within(record.orders, first, last),
        start=first,
        end=last,
        gaps=gaps[gaps[:, 1] > gaps[:, 0]],
    )


def _words(seconds: float | None) -> str:
    return "(open)" if seconds is None else f"{seconds:g} s"


def _lives_within(lives: OrderLives, first: float, last: float) -> OrderLives:
    """Orders that entered inside; a life that goes on after `last` is cut there and counts as working."""
    chosen = (lives.entry >= first) & (lives.entry < last)
    cut = lives.exit[chosen] > last
    return OrderLives(
        lives.entry[chosen],
        np.minimum(lives.exit[chosen], last),
        lives.price[chosen],
        lives.size[chosen],
        lives.side[chosen],
        np.where(cut, WORKING, lives.ending[chosen]).astype(np.int8),
    )


def empty_side_gaps(quotes: QuotePath, end: float) -> Floats:
    """(g, 2) spans in which the bid or the ask is missing: there is no mid, so no distance to it."""
    missing = np.isnan(quotes.bid) | np.isnan(quotes.ask)
    edges = np.diff(np.r_[False, missing, False].astype(np.int8))
    starts, stops = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
    times = np.r_[quotes.times, end]
    gaps = np.column_stack([times[starts], times[stops]])
    return np.asarray(gaps[gaps[:, 1] > gaps[:, 0]])


def merge_gaps(*gaps: Floats) -> Floats:
    """(g, 2) spans joined where they touch, in order of time."""
    every = np.concatenate([np.asarray(part, dtype=np.float64).reshape(-1, 2) for part in gaps])
    every = every[np.argsort(every[:, 0], kind="stable")]
    merged: list[list[float]] = []
    for start, stop in every.tolist():
        if merged and start <= merged[-1][1]:
            merged[-1][1] = max(merged[-1][1], stop)
        else:
            merged.append([start, stop])
    return np.array(merged, dtype=np.float64).reshape(-1, 2)


def quotes_outside_gaps(record: IntradayRecord) -> QuotePath:
    """The record's quotes with no bid and no ask inside its gaps: time without trading is no exposure."""
    times, bid, ask = record.quotes.times, record.quotes.bid.copy(), record.quotes.ask.copy()
    marks: list[tuple[float, float, float]] = []
    for start, end in record.gaps.tolist():
        after = int(np.searchsorted(times, end, side="right")) - 1
        marks += [(start, np.nan, np.nan)] if start >= times[0] else []
        marks += [(end, float(bid[after]), float(ask[after]))] if after >= 0 and end < record.end else []
    for start, end in record.gaps.tolist():
        inside = (times >= start) & (times < end)
        bid[inside], ask[inside] = np.nan, np.nan
    added = np.array(marks, dtype=np.float64).reshape(-1, 3)
    place = np.searchsorted(times, added[:, 0], side="right")
    return QuotePath(
        np.insert(times, place, added[:, 0]), np.insert(bid, place, added[:, 1]), np.insert(ask, place, added[:, 2])
    )


def refuse_empty(quotes: QuotePath, place: str) -> None:
    """Raise DataError when no moment has both a bid and an ask."""
    if not (np.isfinite(quotes.bid) & np.isfinite(quotes.ask)).any():
        raise DataError(f"{place}: at no time there are both a bid and an ask; check that this is the right file")
