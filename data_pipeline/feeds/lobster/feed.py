"""LOBSTER pairs as rows of the store's tables: trades, best quotes, book events, halts; a day in bounded memory.

    pair -> blocks (lobster_files) -> trades, quotes, book_events, halts (here; the event loops are in lobster_kernels)

LOBSTER has one clock, the exchange's: book events carry it as the receiver's time too, trades and quotes have no
receiver's time. Its seconds after midnight are those of New York's wall clock.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from data_pipeline.errors import DataError
from data_pipeline.feeds.lobster import kernels
from data_pipeline.feeds.lobster.files import Block, Blocks, open_pair
from data_pipeline.feeds.lobster.pairs import MESSAGE_LINE, Pair, find_pairs, pair_key, parts_of
from data_pipeline.feeds.reading import Batch, RawHead, Tally
from data_pipeline.tables.catalog import BOOK_EVENTS, HALTS, QUOTES, TIME, TRADES
from data_pipeline.tables.spec import TableSpec

VENUE: Final = "NASDAQ"
ZONE: Final = "America/New_York"
EVENT_KINDS: Final = ("levels", "orders", "none")
_FILE_NAME: Final = re.compile(r"._(message|orderbook)_\d+\b", re.IGNORECASE)
_OPTIONS: Final = {"symbol", "day", "events"}
_FIRST_DAY, _LAST_DAY = dt.date(1970, 1, 2), dt.date(2261, 12, 30)
_EVENTS_AT_ONCE: Final = 1 << 18
_HALTS_TOLD: Final = 10

Ints = NDArray[np.int64]


class LobsterFeed:
    """The raw format. Options: `symbol` and `day` (YYYY-MM-DD) where the names do not say them, `events`: "levels"
    (the default: changes of price levels), "orders" (order by order) or "none".
    """

    name: str = "lobster"

    def recognises(self, head: RawHead) -> bool:
        """Whether the name is LOBSTER's, or the first rows are messages."""
        parts = (head.path.name, Path(head.member).name)
        return any(_FILE_NAME.search(name) for name in parts) or bool(_starts_with_messages(head.start))

    def group(self, paths: Sequence[Path]) -> list[tuple[Path, ...]]:
        """Message and order-book files in pairs, by name; a zip of several files is a group of its own."""
        waiting: dict[str, list[Path]] = {}
        groups: list[tuple[Path, ...]] = []
        for path in sorted(paths):
            try:
                parts = parts_of(path)
            except DataError:
                parts = []  # a damaged archive: reading it says so
            if len(parts) != 1:
                groups.append((path,))
                continue
            same = waiting.setdefault(pair_key(parts[0]), [])
            same.append(path)
            if len(same) == 2:
                groups.append(tuple(same))
                same.clear()
        return groups + [(path,) for left in waiting.values() for path in left]

    def read(self, files: tuple[Path, ...], tally: Tally, options: Mapping[str, str]) -> Iterator[Batch]:
        """Rows of trades, quotes, book_events and halts of every pair among the files.

        Raises
        ------
        DataError
            When a file is missing, damaged, cut, of another format, or its ticker or day are not known.
        ValueError
            When an option is unknown.
        """
        if unknown := sorted(set(options) - _OPTIONS):
            raise ValueError(f"options of LOBSTER files must be symbol, day or events; was {unknown[0]!r}")
        events = options.get("events", EVENT_KINDS[0])
        if events not in EVENT_KINDS:
            raise ValueError(f"events must be one of {', '.join(EVENT_KINDS)}; was {events!r}")
        for pair in find_pairs(files):
            yield from _read_pair(pair, tally, options, events)


def _starts_with_messages(start: bytes) -> bool:
    lines = start.split(b"\n")[:3]
    return any(MESSAGE_LINE.match(line) for line in lines[:2])


@dataclass(slots=True)
class _Session:
    """What the rows of one pair have in common, and what the event loops carry from block to block."""

    symbol: str
    day: dt.date
    midnight: int
    events: str
    before: Ints
    best: Ints = field(default_factory=lambda: np.full(4, -1, dtype=np.int64))
    state: Ints = field(default_factory=lambda: np.zeros(6, dtype=np.int64))
    orders: tuple[Ints, Ints] = field(
        default_factory=lambda: (np.zeros(1 << 12, np.int64), np.zeros(1 << 12, np.int64))
    )
    halts: list[tuple[int, int]] = field(default_factory=list)
    quotes_kept: int = 0


def _read_pair(pair: Pair, tally: Tally, options: Mapping[str, str], events: str) -> Iterator[Batch]:
    symbol, day = _identity(pair, options)
    with open_pair(pair) as blocks:
        session = _Session(
            symbol, day, _midnight(day), events, np.zeros(blocks.orderbook.width, dtype=np.int64)
        )  # fmt: skip
        for block in blocks:
            _note_halts(block, session)
            if (trades := _trades(block, session)).num_rows:
                yield Batch("trades", VENUE, trades)
            if (quotes := _quotes(block, session)).num_rows:
                yield Batch("quotes", VENUE, quotes)
            for rows in _book_events(block, session):
                yield Batch("book_events", VENUE, rows)
        spans = _halt_spans(session.halts)
        if spans:
            yield Batch("halts", VENUE, _halts_table(session, spans))
        _count(blocks, session, spans, tally)


def _identity(pair: Pair, options: Mapping[str, str]) -> tuple[str, dt.date]:
    """Ticker and day, from the options or else from the names."""
    symbol = options.get("symbol") or (pair.ticker if pair.day else "")
    text = options.get("day") or pair.day
    if not symbol or not text:
        raise DataError(
            f"{pair.message.name}: the name does not say ticker and day (TICKER_YYYY-MM-DD_..._message_10.csv): give "
            "the options symbol and day"
        )
    try:
        day = dt.date.fromisoformat(text)
    except ValueError as error:
        raise DataError(f"{pair.message.name}: the day must be YYYY-MM-DD; was {text!r}") from error
    if not _FIRST_DAY <= day <= _LAST_DAY:
        raise DataError(f"{pair.message.name}: the day must be from {_FIRST_DAY} to {_LAST_DAY}; was {day}")
    return symbol.strip().upper(), day


def _midnight(day: dt.date) -> int:
    """Nanoseconds since 1970 UTC from which New York's wall clock counts that day.

    Taken at noon: on the two Sundays when the clocks change at 2:00 the rest of the day is right.
    """
    noon = dt.datetime(day.year, day.month, day.day, 12, tzinfo=ZoneInfo(ZONE))
    return (int(noon.timestamp()) - 12 * 3600) * kernels.SECOND


def _table(spec: TableSpec, session: _Session, **columns: pa.Array) -> pa.Table:
    """Rows of a table; columns that LOBSTER does not have are null."""
    count = len(next(iter(columns.values())))
    columns["session"] = pa.repeat(pa.scalar(session.day), count)
    columns["symbol"] = pa.repeat(session.symbol, count)
    arrays = [columns[c.name] if c.name in columns else pa.nulls(count, c.type) for c in spec.columns]
    return pa.Table.from_arrays(arrays, schema=spec.schema)


def _moments(session: _Session, times: Ints) -> pa.Array:
    return pa.array(session.midnight + times).cast(TRADES.column("time").type)


def _trades(block: Block, session: _Session) -> pa.Table:
    """Visible and hidden executions and crosses; the aggressor is opposite the resting order, nobody in a cross."""
    kind, size, price = block.fields[:, 0], block.fields[:, 2], block.fields[:, 3]
    cross = (kind == kernels.CROSS) & (price > 0) & (size > 0)
    rows = np.flatnonzero((kind == kernels.EXECUTION) | (kind == kernels.HIDDEN) | cross)
    kind = kind[rows]
    condition = np.where(kind == kernels.CROSS, 2, np.where(kind == kernels.HIDDEN, 1, 0)).astype(np.int8)
    words = pa.DictionaryArray.from_arrays(pa.array(condition), pa.array(["regular", "hidden", "cross"]))
    return _table(
        TRADES,
        session,
        time=_moments(session, block.times[rows]),
        sequence=pa.array(block.first + rows),
        price=pa.array(price[rows] / kernels.PRICE_SCALE),
        quantity=pa.array(size[rows].astype(np.float64)),
        side=pa.array(np.where(condition == 2, 0, -block.fields[rows, 4]).astype(np.int8)),
        condition=words.cast(pa.string()),
    )


def _quotes(block: Block, session: _Session) -> pa.Table:
    """The best level of every row where it differs from the row above; an empty side is null."""
    changed = np.empty(block.times.size, dtype=np.int64)
    rows = changed[: kernels.new_best_rows(block.levels, session.best, changed)]
    session.quotes_kept += rows.size
    ask, ask_size, bid, bid_size = np.ascontiguousarray(block.levels[rows, :4].T)
    no_ask, no_bid = (ask <= 0) | (ask >= kernels.EMPTY_ASK), bid <= 0
    return _table(
        QUOTES,
        session,
        time=_moments(session, block.times[rows]),
        sequence=pa.array(block.first + rows),
        bid=pa.array(bid / kernels.PRICE_SCALE, mask=no_bid),
        bid_quantity=pa.array(bid_size.astype(np.float64), mask=no_bid),
        ask=pa.array(ask / kernels.PRICE_SCALE, mask=no_ask),
        ask_quantity=pa.array(ask_size.astype(np.float64), mask=no_ask),
    )


def _book_events(block: Block, session: _Session) -> Iterator[pa.Table]:
    if session.events == "none":
        return
    if session.events == "orders":
        out = _event_arrays(3 * block.times.size + 1)
        keys, left = _room(session.orders, int(session.state[kernels.LIVE]) + block.times.size)
        session.orders = keys, left
        count = kernels.order_events(
            session.midnight, block.times, block.fields, keys, left, session.state, out
        )  # fmt: skip
        yield _event_rows(session, out, count)
        return
    out = _event_arrays(max(_EVENTS_AT_ONCE, 4 * block.levels.shape[1]))
    row = 0
    while row < block.times.size:
        count, row = kernels.level_events(
            session.midnight, block.times, block.fields, block.levels, row, session.before, session.state, out
        )
        yield _event_rows(session, out, count)


def _event_arrays(capacity: int) -> tuple[NDArray[np.generic], ...]:
    kinds = (np.uint64, np.int64, np.float64, np.float64, np.uint64)
    return tuple(np.empty(capacity, dtype=kind) for kind in kinds)


def _room(orders: tuple[Ints, Ints], wanted: int) -> tuple[Ints, Ints]:
    """The table of orders, larger by powers of two where less than half would be free."""
    keys, left = orders
    size = keys.size
    while size < 2 * wanted:
        size *= 2
    if size == keys.size:
        return orders
    larger = np.zeros(size, dtype=np.int64), np.zeros(size, dtype=np.int64)
    kernels.move_orders(keys, left, *larger)
    return larger


def _event_rows(session: _Session, out: tuple[NDArray[np.generic], ...], count: int) -> pa.Table:
    ev, ts, px, qty, order = (pa.array(column[:count].copy()) for column in out)
    first = int(session.state[kernels.SEQUENCE])
    session.state[kernels.SEQUENCE] += count
    return _table(
        BOOK_EVENTS,
        session,
        sequence=pa.array(np.arange(first, first + count)),
        ev=ev,
        exch_ts=ts,
        local_ts=ts,
        px=px,
        qty=qty,
        order_id=order,
        ival=pa.array(np.zeros(count, dtype=np.int64)),
        fval=pa.array(np.zeros(count)),
    )


def _note_halts(block: Block, session: _Session) -> None:
    rows = np.flatnonzero(block.fields[:, 0] == kernels.HALTED)
    session.halts += zip(block.times[rows].tolist(), block.fields[rows, 3].tolist(), strict=True)


def _count(blocks: Blocks, session: _Session, spans: list[tuple[int, int | None]], tally: Tally) -> None:
    """Every rule with its rows, and what the person who ingests the files should know."""
    state, carried = blocks.state, session.state
    tally.rows += blocks.rows
    said = [price for _, price in session.halts]
    for rule, number in {
        **blocks.counts(),
        "trading_halted": said.count(-1),
        "quoting_resumed": said.count(0),
        "trading_resumed": said.count(1),
        "times_equal_to_the_row_above": int(state[kernels.EQUAL_TIMES]),
        "trades_off_the_cent_grid": int(state[kernels.OFF_GRID]),
        "dummy_prices_made_null": int(state[kernels.DUMMIES]),
        "crossed_book_rows": int(state[kernels.CROSSED]),
        "book_rows_without_a_new_best_quote": blocks.rows - session.quotes_kept,
    }.items():
        tally.add(rule, number)
    name = f"{session.symbol} {session.day}"
    tally.notes += [*blocks.notes(), f"{name}: LOBSTER has one clock: book events have it as the receiver's time too."]
    if session.events == "levels":
        tally.add("levels_out_of_view", int(carried[kernels.OUT_OF_VIEW]))
        tally.notes.append(
            f"{name}: {blocks.orderbook.levels} level(s) are shown; a level that falls behind them has quantity 0 in "
            "book events until it is seen again."
        )
    if session.events == "orders":
        tally.add("messages_of_orders_without_their_entry_left_out", int(carried[kernels.UNKNOWN]))
        tally.add("order_ids_that_entered_twice", int(carried[kernels.TWICE]))
        tally.add("orders_never_seen_to_end", int(carried[kernels.LIVE]))
        tally.notes.append(
            f"{name}: a file of {blocks.orderbook.levels} level(s) lacks the orders' messages behind them: its "
            "order-by-order events are no whole book."
        )
    tally.notes += [f"{name}: {words}" for words in _halt_words(spans)]


def _halt_spans(halts: list[tuple[int, int]]) -> list[tuple[int, int | None]]:
    """Each halt from its first message to the one that trading resumes (quoting alone is no trading), else to none."""
    spans: list[tuple[int, int | None]] = []
    since: int | None = None
    for time, price in halts:
        if price == 1:
            if since is not None:
                spans.append((since, time))
            since = None
        elif since is None:
            since = time
    return spans if since is None else [*spans, (since, None)]


def _halts_table(session: _Session, spans: list[tuple[int, int | None]]) -> pa.Table:
    moments = [
        pa.array([None if time is None else session.midnight + time for time in side], pa.int64())
        for side in zip(*spans, strict=True)
    ]
    return _table(HALTS, session, start=moments[0].cast(TIME), end=moments[1].cast(TIME))


def _halt_words(spans: list[tuple[int, int | None]]) -> list[str]:
    """The spans without trading, the first few of them, in New York time."""
    said = [
        f"no trading from {_clock(start)} New York time on (halt)."
        if end is None
        else f"no trading from {_clock(start)} to {_clock(end)} New York time (halt)."
        for start, end in spans
    ]
    rest = len(said) - _HALTS_TOLD
    return said if rest <= 0 else [*said[:_HALTS_TOLD], f"{rest} more halts."]


def _clock(nanoseconds: int) -> str:
    seconds = nanoseconds // kernels.SECOND
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"


LOBSTER: Final = LobsterFeed()
