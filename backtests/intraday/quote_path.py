"""The path of the best quotes of a session, rebuilt from its events apart from the engine: what fills are valued by."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from backtests.intraday.outcome import NO_MID
from data_pipeline.book import grid as book_grid
from data_pipeline.book.events import EXCH, KIND_MASK, TRADE
from data_pipeline.book.grid import PriceGrid, tick_grid
from data_pipeline.book.replay import BookRows, Every, Source, book_source, feed, finish, start_book
from strategies.intraday.rule import NO_ASK, NO_BID, Instrument

Ints = NDArray[np.int64]
Reference = Literal["quotes", "last trade"]
LAST_TRADE: Final = "last trade"


@dataclass(frozen=True, slots=True, eq=False)
class QuotePath:
    """Best quotes in ticks by the exchange's clock: row i holds from times[i] until times[i + 1].

    Attributes
    ----------
    times : (n,) int64
        ns since 1970 UTC, not decreasing; of several rows at one time the last one holds afterwards.
    bid, ask : (n,) int64
        Ticks; NO_BID, NO_ASK where a side is empty.
    mid2 : (n,) int64
        bid + ask, half ticks; where a side is empty that of the last row with both, NO_MID before the first.
    until : int
        Time of the last event: the path says nothing after it.
    reference : "quotes" or "last trade"
        Where a feed has trades alone, bid and ask are the last trade's tick: no spread, no queue, and what is
        called the mid is that price, half a spread to either side of a real one.
    """

    times: Ints
    bid: Ints
    ask: Ints
    mid2: Ints
    until: int
    reference: Reference = "quotes"

    def before(self, times: Ints) -> Ints:
        """The mid (half ticks) in force just before each time; NO_MID where there is none yet."""
        return self._mid(np.searchsorted(self.times, times, side="left") - 1)

    def at(self, times: Ints) -> Ints:
        """The mid (half ticks) in force at each time, changes of that very time included."""
        return self._mid(np.searchsorted(self.times, times, side="right") - 1)

    def _mid(self, rows: NDArray[np.intp]) -> Ints:
        if not self.times.size:
            return np.full(rows.shape, NO_MID, dtype=np.int64)
        return np.where(rows >= 0, self.mid2[np.maximum(rows, 0)], NO_MID)


def quote_path(
    events: NDArray[Any] | Iterable[NDArray[Any]],
    instrument: Instrument,
    *,
    source: Source | Literal["trades"] | None = None,
    every: Every = "time",
    until: int | None = None,
) -> QuotePath:
    """The quotes after each moment of the exchange's clock; the last trade's price where the events build no book.

    Parameters
    ----------
    events : (n,) of EVENT_DTYPE, or chunks of it in order
    instrument : Instrument
        For its tick size.
    source : "l2", "l3", "best" or "trades", optional
        What builds the book (`data_pipeline.book.replay`), or trades alone. By default what the (first) array has.
    every : "time" or "event"
        One row a moment, or one after each event: a message's parts are then seen one by one.
    until : int, optional
        Last time that counts, ns: the end of the session that is accounted for.

    Raises
    ------
    DataError
        When a price is off the tick, or the events cannot be replayed.
    """
    chunks = _chunks(events)
    first = next(chunks, None)
    if first is None:
        return _path([], 0, "quotes")
    grid = tick_grid(instrument.tick_size)
    source = source or events_source(first)
    every_chunk = chain((first,), chunks)
    if source == "trades":
        return _until(_trade_path(every_chunk, grid), until)
    book = start_book(grid, source=source, every=every, only_changes=True)
    parts, last = [], 0
    for chunk in every_chunk:
        parts.append(_columns(feed(book, chunk)))
        last = _last_time(chunk, last)
    parts.append(_columns(finish(book)))
    return _until(_path(parts, last, "quotes"), until)


def carried(bid: Ints, ask: Ints) -> Ints:
    """(n,) half ticks: bid + ask, or that of the last row above with both; NO_MID before the first."""
    both = (bid != NO_BID) & (ask != NO_ASK)
    last = np.maximum.accumulate(np.where(both, np.arange(both.size), -1))
    held = np.maximum(last, 0)
    return np.where(last >= 0, bid[held] + ask[held], NO_MID)


def _chunks(events: NDArray[Any] | Iterable[NDArray[Any]]) -> Iterator[NDArray[Any]]:
    return iter((events,)) if isinstance(events, np.ndarray) else iter(events)


def events_source(events: NDArray[Any]) -> Source | Literal["trades"]:
    """What builds the book of an array of events: "l3", "l2", "best", or "trades" where there are trades alone."""
    kinds = events["ev"] & np.uint64(KIND_MASK)
    return "trades" if events.size and (kinds == TRADE).all() else book_source(events)


def _last_time(events: NDArray[Any], until: int) -> int:
    there = events["exch_ts"][(events["ev"] & np.uint64(EXCH)) != 0]
    return max(until, int(there[-1])) if there.size else until


def _columns(rows: BookRows) -> tuple[Ints, Ints, Ints]:
    """Times, bid and ask of the rows whose prices differ from the row above."""
    bid, ask = rows.ticks[:, 0, 0], rows.ticks[:, 1, 0]
    moved = np.ones(bid.size, dtype=np.bool_)
    moved[1:] = (np.diff(bid) != 0) | (np.diff(ask) != 0)
    return rows.times[moved], bid[moved], ask[moved]


def _path(parts: list[tuple[Ints, Ints, Ints]], until: int, reference: Reference) -> QuotePath:
    times, bid, ask = (
        np.concatenate([part[column] for part in parts]) if parts else np.empty(0, dtype=np.int64)
        for column in range(3)
    )
    bid = np.where(bid == book_grid.NO_BID, NO_BID, bid)
    ask = np.where(ask == book_grid.NO_ASK, NO_ASK, ask)
    return QuotePath(times, bid, ask, carried(bid, ask), until, reference)


def _until(path: QuotePath, until: int | None) -> QuotePath:
    if until is None:
        return path
    stop = int(np.searchsorted(path.times, until, side="right"))
    return replace(
        path,
        times=path.times[:stop],
        bid=path.bid[:stop],
        ask=path.ask[:stop],
        mid2=path.mid2[:stop],
        until=min(until, path.until),
    )


def _trade_path(chunks: Iterable[NDArray[Any]], grid: PriceGrid) -> QuotePath:
    parts, until = [], 0
    for chunk in chunks:
        kinds = chunk["ev"] & np.uint64(KIND_MASK)
        trades = chunk[(kinds == TRADE) & ((chunk["ev"] & np.uint64(EXCH)) != 0)]
        ticks = _ticks_below(trades["px"], grid)
        parts.append((trades["exch_ts"].astype(np.int64), ticks, ticks))
        until = _last_time(chunk, until)
    return _path(parts, until, LAST_TRADE)


def _ticks_below(prices: NDArray[np.float64], grid: PriceGrid) -> Ints:
    """(n,) ticks; of a price between two ticks the lower, as the engine shows it."""
    near = np.rint(prices * float(grid.denominator) / float(grid.numerator)).astype(np.int64)
    return np.where(grid.prices(near) > prices, near - 1, near)
