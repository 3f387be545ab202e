"""Book events of feeds that come as columns: snapshots that reset the book, levels, both clocks' orders per symbol."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from data_pipeline.book.events import BUY, DEPTH, DEPTH_CLEAR, EVENT_DTYPE, SELL, SNAPSHOT
from data_pipeline.book.normalise import EventStream
from data_pipeline.feeds.crypto.rows import EventRows
from data_pipeline.feeds.reading import Batch, Tally

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


@dataclass(slots=True, eq=False)
class _Book:
    rows: EventRows
    stream: EventStream = field(default_factory=EventStream)
    in_snapshot: bool = False
    seen_snapshot: bool = False


@dataclass(slots=True, eq=False)
class BookEvents:
    """The books of a file's symbols, by (venue, symbol)."""

    tally: Tally
    books: dict[tuple[str, str], _Book] = field(default_factory=dict)

    def push(
        self,
        venue: str,
        symbol: str,
        exchange_ns: Ints,
        local_ns: Ints,
        snapshot: Flags,
        bid: Flags,
        price: Floats,
        quantity: Floats,
        resets: Flags | None = None,
    ) -> Batch:
        """Levels of one symbol in the order of the feed: the events whose place is certain now.

        A snapshot begins where `snapshot` turns true, or where `resets` says so, and then clears both sides.
        """
        book = self.books.setdefault((venue, symbol), _Book(EventRows(symbol)))
        before = np.r_[book.in_snapshot, snapshot[:-1]]
        begins = snapshot & (~before if resets is None else ~before | resets)
        book.in_snapshot = bool(snapshot[-1])
        if not book.seen_snapshot:
            early = int(np.argmax(begins)) if begins.any() else begins.size
            self.tally.add("levels_before_the_first_snapshot", early)
            book.seen_snapshot = bool(begins.any())
        self.tally.add("snapshots", int(begins.sum()))
        events = _with_clears(exchange_ns, local_ns, begins)
        levels = (events["ev"] & np.uint64(0xFF)) != DEPTH_CLEAR
        side = np.where(bid, BUY, SELL).astype(np.uint64)
        events["ev"][levels] = np.where(snapshot, SNAPSHOT, DEPTH).astype(np.uint64) | side
        events["px"][levels], events["qty"][levels] = price, quantity
        return Batch("book_events", venue, book.rows.rows(book.stream.push(events)))

    def finish(self) -> list[Batch]:
        """The events still held."""
        batches = []
        for (venue, _), book in self.books.items():
            rows = book.rows.rows(book.stream.finish())
            self.tally.add("event_times_more_than_60_s_late_raised", book.stream.raised)
            batches.append(Batch("book_events", venue, rows))
        return [batch for batch in batches if batch.rows.num_rows]


def _with_clears(exchange_ns: Ints, local_ns: Ints, begins: Flags) -> NDArray[np.void]:
    """An event a level, and the two that empty the sides before the first level of each snapshot."""
    copies = 1 + 2 * begins
    source = np.repeat(np.arange(begins.size), copies)
    events = np.zeros(source.size, dtype=EVENT_DTYPE)
    events["exch_ts"], events["local_ts"] = exchange_ns[source], local_ns[source]
    place = np.cumsum(copies)[begins] - 3
    for offset, side in ((0, BUY), (1, SELL)):
        events["ev"][place + offset] = np.uint64(DEPTH_CLEAR | side)
        # no price: the whole side
        events["px"][place + offset] = np.nan
    return events


def split_by(venue: pa.Array, symbol: pa.Array) -> list[tuple[str, str, Ints]]:
    """(venue, symbol, rows) of each instrument among the rows, in order of first appearance."""
    codes = [column.combine_chunks().dictionary_encode() for column in (venue, symbol)]
    names = [code.dictionary.to_pylist() for code in codes]
    places = [code.indices.to_numpy(zero_copy_only=False).astype(np.int64) for code in codes]
    key = places[0] * max(len(names[1]), 1) + places[1]
    if key.size and (key == key[0]).all():
        return [(names[0][places[0][0]], names[1][places[1][0]], np.arange(key.size))]
    found, first = np.unique(key, return_index=True)
    return [
        (names[0][places[0][at]], names[1][places[1][at]], np.flatnonzero(key == key[at]))
        for at in np.sort(first).tolist()
        if found.size
    ]
