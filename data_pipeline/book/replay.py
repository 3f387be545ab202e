"""Event arrays to an order book: best quotes or the best levels after each moment, streaming.

    start_book -> feed, feed, ... -> finish            replay does the three at once

The book is what the events say, crossed or not: crossed and locked moments are counted and marked, never mended.
Events fed in any chunks give the same rows as at once. A row is given out when nothing can change it any more, and
depends on no later event.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from data_pipeline.book import ladder_kernels as kernels
from data_pipeline.book.events import (
    ADD,
    BEST_QUOTE,
    CANCEL,
    DEPTH,
    EVENT_DTYPE,
    EXCH,
    KIND_MASK,
    LOCAL,
    MODIFY,
    SNAPSHOT,
)
from data_pipeline.book.grid import NO_ASK, NO_BID, PriceGrid, inferred_grid
from data_pipeline.book.ladder import Ladder
from data_pipeline.errors import DataError

Events = NDArray[Any]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Source = Literal["l2", "l3", "best"]
Every = Literal["event", "time", "clock"]
Clock = Literal["exchange", "local"]

TWO_SIDED, LOCKED, CROSSED, NO_ASKS, NO_BIDS, EMPTY = 0, 1, 2, 3, 4, 5
"""How the best quotes stand to each other in a row."""

MOST_ROWS: Final = 50_000_000
_BLOCK: Final = 8192
# the state goes in as a star of arrays, which a compiled function's declared type does not know
_apply: Any = kernels.apply
_flush: Any = kernels.flush
_SOURCES: Final = {"l2": kernels.L2, "l3": kernels.L3, "best": kernels.BEST_ONLY}
_EVERY: Final = {"event": kernels.EVERY_EVENT, "time": kernels.EVERY_TIME, "clock": kernels.ON_CLOCK}
_FAULTS: Final = (
    "are before the event above in this clock: sort them by time first",
    "have neither the bid nor the ask flag",
    "have a price that is not a finite number",
    "have a quantity that is not a finite number, 0 or more (of an order: less than 2^53)",
    "have a price that is off the tick: give the right tick size, nearest=True, or a listed_grid of the prices",
    "have a price too far from zero for its tick size",
)


@dataclass(frozen=True, slots=True, eq=False)
class BookRows:
    """The best levels of a book at several moments.

    Attributes
    ----------
    times : (n,) int64
        Nanoseconds since 1970 UTC. Without a clock: when the book became so; with one: the clock's moment.
    ticks : (n, 2, levels) int64
        Tick numbers of bids (0) and asks (1), best first; `grid.NO_BID`, `grid.NO_ASK` where there is no level.
    quantities : (n, 2, levels) float64
        Quantities there, 0 where there is no level.
    grid : PriceGrid
        What the tick numbers mean.
    """

    times: Ints
    ticks: Ints
    quantities: Floats
    grid: PriceGrid

    @property
    def bid(self) -> Floats:
        """(n, levels) bid prices, nan where there is no level."""
        return self.grid.prices(self.ticks[:, 0])

    @property
    def ask(self) -> Floats:
        """(n, levels) ask prices, nan where there is no level."""
        return self.grid.prices(self.ticks[:, 1])

    @property
    def bid_quantity(self) -> Floats:
        """(n, levels) quantities of the bids."""
        return self.quantities[:, 0]

    @property
    def ask_quantity(self) -> Floats:
        """(n, levels) quantities of the asks."""
        return self.quantities[:, 1]

    @property
    def state(self) -> NDArray[np.int8]:
        """(n,) TWO_SIDED, LOCKED, CROSSED, NO_ASKS, NO_BIDS or EMPTY."""
        bid, ask = self.ticks[:, 0, 0], self.ticks[:, 1, 0]
        no_bid, no_ask = bid == NO_BID, ask == NO_ASK
        marks = [no_bid & no_ask, no_bid, no_ask, bid > ask, bid == ask]
        return np.select(marks, [EMPTY, NO_BIDS, NO_ASKS, CROSSED, LOCKED], TWO_SIDED).astype(np.int8)

    def known_at(self, time: int) -> BookRows:
        """The rows of `time` (ns since 1970 UTC) and before."""
        stop = int(np.searchsorted(self.times, time, side="right"))
        return BookRows(self.times[:stop], self.ticks[:stop], self.quantities[:stop], self.grid)


@dataclass(slots=True, eq=False)
class Book:
    """A book under replay: how rows are made, and the state between two calls of `feed`.

    Attributes
    ----------
    grid : PriceGrid
    source : "l2", "l3" or "best"
    clock : "exchange" or "local"
    levels : int
    every : "event", "time" or "clock"
    interval, phase : int
        Nanoseconds between rows of a clock, and one of its moments.
    only_changes : bool
    nearest : bool
    ladder : Ladder
        The levels and orders.
    events : int
        Events fed so far.
    moved : int
        Prices moved to the nearest tick.
    last_ticks, last_quantities
        The last row looked at, for `only_changes`.
    """

    grid: PriceGrid
    source: Source
    clock: Clock
    levels: int
    every: Every
    interval: int
    phase: int
    only_changes: bool
    nearest: bool
    ladder: Ladder = field(default_factory=Ladder)
    events: int = 0
    moved: int = 0
    last_ticks: Ints = field(default_factory=lambda: np.empty((2, 0), dtype=np.int64))
    last_quantities: Floats = field(default_factory=lambda: np.empty((2, 0)))
    finished: bool = False

    def counts(self) -> dict[str, int]:
        """What was met so far, by name; `moments` are distinct times after which a book was looked at."""
        head = self.ladder.head
        named = {
            "moments": kernels.MOMENTS,
            "crossed_moments": kernels.CROSSED,
            "locked_moments": kernels.LOCKED,
            "pictures_that_reset_the_book": kernels.RESETS,
            "orders_unknown": kernels.UNKNOWN,
            "orders_first_seen_in_a_change": kernels.FIRST_SEEN,
            "orders_added_twice": kernels.TWICE,
        }
        found = {"events": self.events} | {name: int(head[place]) for name, place in named.items()}
        return found | {"prices_moved_to_the_nearest_tick": self.moved}


def start_book(
    grid: PriceGrid,
    *,
    source: Source = "l2",
    clock: Clock = "exchange",
    levels: int = 1,
    every: Every = "time",
    interval_ns: int | None = None,
    phase_ns: int = 0,
    only_changes: bool = False,
    nearest: bool = False,
) -> Book:
    """An empty book.

    Parameters
    ----------
    grid : PriceGrid
        Of `tick_grid`, `inferred_grid` or `listed_grid`.
    source : "l2", "l3" or "best"
        What builds the book: DEPTH, SNAPSHOT and DEPTH_CLEAR; ADD, MODIFY, CANCEL and DEPTH_CLEAR; or BEST_QUOTE, each
        replacing its side. Other events only let time pass. The first SNAPSHOT of a moment empties both sides, unless
        a DEPTH_CLEAR of that moment said what to empty.
    clock : "exchange" or "local"
        Which events are valid and which of their times counts: what a trader knew is the local clock.
    levels : int
        Levels of a side in each row.
    every : "event", "time" or "clock"
        A row after each event of the book, after the last one of each time (the parts of one message are one change),
        or at `phase_ns` plus multiples of `interval_ns`, with all that is valid at that time.
    only_changes : bool
        Leave out rows that equal the one before.
    nearest : bool
        Take the nearest tick, or listed price, for prices off it, counted, instead of refusing them.

    Raises
    ------
    ValueError
        When an argument breaks a rule.
    """
    for name, value, known in (("source", source, _SOURCES), ("every", every, _EVERY)):
        if value not in known:
            raise ValueError(f"{name} must be one of {', '.join(known)}; was {value!r}")
    if clock not in ("exchange", "local"):
        raise ValueError(f"clock must be exchange or local; was {clock!r}")
    if isinstance(levels, bool) or not isinstance(levels, int) or not 1 <= levels <= 1000:
        raise ValueError(f"levels must be a whole number from 1 to 1000; was {levels!r}")
    if every == "clock" and (not isinstance(interval_ns, int) or interval_ns < 1):
        raise ValueError(f"interval_ns must be a whole number of nanoseconds, 1 or more; was {interval_ns!r}")
    book = Book(grid, source, clock, levels, every, interval_ns or 1, phase_ns, only_changes, nearest)
    book.last_ticks = np.zeros((2, levels), dtype=np.int64)
    book.last_quantities = np.zeros((2, levels))
    return book


def feed(book: Book, events: Events) -> BookRows:
    """The rows that these events complete; the book goes on from where it was.

    Raises
    ------
    ValueError
        When the array is not of EVENT_DTYPE, or the book is finished.
    DataError
        When an event cannot be: its kind of fault, how many there are in its block, and the first. The book is then
        of no more use.
    """
    if not isinstance(events, np.ndarray) or events.dtype.names != EVENT_DTYPE.names or events.ndim != 1:
        raise ValueError("events must be a one-dimensional array of EVENT_DTYPE (data_pipeline.book.events)")
    if book.finished:
        raise ValueError("book must not be finished: start another one")
    blocks = [events[at : at + _BLOCK] for at in range(0, events.size, _BLOCK)]
    if book.every == "clock":
        return _joined(book, [_feed_block(book, block, None) for block in blocks])
    # one row an event at most: memory that is never written costs nothing
    whole = _arrays(events.size, book.levels)
    done = 0
    for block in blocks:
        done += _feed_block(book, block, tuple(part[done:] for part in whole))[0].size
    times, ticks, quantities = (part[:done] if 2 * done > events.size else part[:done].copy() for part in whole)
    return BookRows(times, ticks, quantities, book.grid)


def finish(book: Book, until: int | None = None) -> BookRows:
    """The last rows: those that were waiting for a later event; with a clock, up to `until` (the last event's time).

    Raises
    ------
    ValueError
        When `until` is before the last event.
    """
    head = book.ladder.head
    now = int(head[kernels.NOW])
    until = now if until is None else until
    if until < now:
        raise ValueError(f"until must not be before the last event at {now}; was {until}")
    outputs = _clock_outputs(book, until) if book.every == "clock" else _arrays(1, book.levels)
    rows = _flush(
        until,
        _EVERY[book.every],
        book.interval,
        book.only_changes,
        *book.ladder.levels(),
        book.last_ticks,
        book.last_quantities,
        *outputs,
    )
    book.finished = True
    return _joined(book, [tuple(output[:rows] for output in outputs)])


def replay(
    events: Events,
    grid: PriceGrid | None = None,
    *,
    until: int | None = None,
    source: Source | None = None,
    **options: Any,
) -> tuple[BookRows, dict[str, int]]:
    """All rows of a whole array, and the counts; grid and source are inferred from it when not given.

    The other arguments are those of `start_book`.
    """
    source = source or book_source(events)
    grid = grid or inferred_grid(book_prices(events))
    book = start_book(grid, source=source, **options)
    rows = [feed(book, events), finish(book, until)]
    parts = [(row.times, row.ticks, row.quantities) for row in rows]
    return _joined(book, parts), book.counts()


def book_source(events: Events) -> Source:
    """What builds the book in these events: orders where there are any, else levels, else best quotes.

    Raises
    ------
    DataError
        When there are none of the three.
    """
    kinds = np.unique(events["ev"] & np.uint64(KIND_MASK)).astype(np.int64)
    choices: tuple[tuple[Source, tuple[int, ...]], ...] = (
        ("l3", (ADD, MODIFY)),
        ("l2", (DEPTH, SNAPSHOT)),
        ("best", (BEST_QUOTE,)),
    )
    for source, wanted in choices:
        if np.isin(kinds, wanted).any():
            return source
    raise DataError("the events build no book: there are no levels, no orders and no best quotes among them")


def book_prices(events: Events) -> Floats:
    """Prices of the events that put something into a book: what its grid must hold."""
    kinds = (events["ev"] & np.uint64(KIND_MASK)).astype(np.int64)
    there = np.isin(kinds, (DEPTH, SNAPSHOT, ADD, MODIFY)) | ((kinds == BEST_QUOTE) & (events["qty"] > 0))
    return np.asarray(events["px"][there & (kinds != CANCEL)])


def _feed_block(book: Book, events: Events, outputs: tuple[NDArray[Any], ...] | None) -> tuple[NDArray[Any], ...]:
    if not events.flags.writeable:
        events = events.copy()  # compiled code is typed by it: one version instead of two
    ev, order = events["ev"].view(np.int64), events["order_id"].view(np.int64)
    times, px, qty = events["exch_ts" if book.clock == "exchange" else "local_ts"], events["px"], events["qty"]
    code, side = np.empty(ev.size, dtype=np.int8), np.empty(ev.size, dtype=np.int8)
    tick = np.empty(ev.size, dtype=np.int64)
    faults, first = np.zeros(kernels.FAULTS, dtype=np.int64), np.zeros(kernels.FAULTS, dtype=np.int64)
    ladder = book.ladder
    book.moved += kernels.classify(
        ev,
        times,
        px,
        qty,
        EXCH if book.clock == "exchange" else LOCAL,
        _SOURCES[book.source],
        book.nearest,
        float(book.grid.numerator),
        float(book.grid.denominator),
        book.grid.listed,
        ladder.head,
        code,
        side,
        tick,
        faults,
        first,
    )
    if faults.any():
        _refuse(book, events, faults, first)
    ladder.make_room(code, side, tick, book.grid)
    if outputs is None:
        outputs = _clock_outputs(book, int(ladder.head[kernels.NOW]), times, code)
    rows = _apply(
        code,
        side,
        tick,
        times,
        qty,
        order,
        _EVERY[book.every],
        book.interval,
        book.phase,
        book.only_changes,
        *ladder.levels(),
        ladder.count,
        *ladder.orders(),
        book.last_ticks,
        book.last_quantities,
        *outputs,
    )
    book.events += ev.size
    return tuple(output[:rows] for output in outputs)


def _refuse(book: Book, events: Events, faults: Ints, first: Ints) -> None:
    fault = int(np.flatnonzero(faults)[0])
    row = int(first[fault])
    shown = events[row]
    raise DataError(
        f"{int(faults[fault]):,} of {events.size:,} events {_FAULTS[fault]}; the first is event {book.events + row:,} "
        f"(exchange time {shown['exch_ts']}, price {float(shown['px'])!r}, quantity {float(shown['qty'])!r}; "
        f"{book.grid.words()})"
    )


def _clock_outputs(
    book: Book, last: int, times: Ints | None = None, code: NDArray[np.int8] | None = None
) -> tuple[NDArray[Any], ...]:
    """Arrays for the rows that a clock has up to `last`, or up to the last valid event of a block."""
    since = int(book.ladder.head[kernels.NEXT_CLOCK])
    if times is not None and code is not None:
        valid = np.flatnonzero(code != kernels.SKIP)
        last = int(times[valid[-1]]) if valid.size else last
        if since == kernels.NEVER:
            since = int(times[valid[0]]) if valid.size else last
    rows = 1 if since == kernels.NEVER else max(last - since, 0) // book.interval + 2
    if rows * book.levels > MOST_ROWS:
        raise DataError(
            f"a clock of {book.interval:,} ns has {rows:,} moments up to the next event, more than {MOST_ROWS:,} "
            "levels in all: take a longer interval, or is a time damaged?"
        )
    return _arrays(rows, book.levels)


def _arrays(rows: int, levels: int) -> tuple[NDArray[Any], ...]:
    shape = (rows, 2, levels)
    return np.empty(rows, dtype=np.int64), np.empty(shape, dtype=np.int64), np.empty(shape)


def _joined(book: Book, parts: list[Any]) -> BookRows:
    if not parts:
        parts = [_arrays(0, book.levels)]
    times, ticks, quantities = (np.concatenate(column) for column in zip(*parts, strict=True))
    return BookRows(times, ticks, quantities, book.grid)
