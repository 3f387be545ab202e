"""The bars of one venue and session from the store's trades, quotes and events, a few symbols in memory at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from data_pipeline.book.bar_rules import BarRule
from data_pipeline.book.bars import UNKNOWN_SIDE, Bars, Quotes, Trades, make_bars
from data_pipeline.book.events import BUY, EXCH, KIND_MASK, SELL, TRADE
from data_pipeline.book.ladder import covering_grid
from data_pipeline.book.replay import book_prices, book_source, replay
from data_pipeline.errors import DataError
from data_pipeline.feeds.reading import Batch
from data_pipeline.tables.catalog import BARS

if TYPE_CHECKING:
    from data_pipeline.store import Store

_COLUMNS: Final = {
    "trades": ("symbol", "time", "price", "quantity", "side", "condition"),
    "quotes": ("symbol", "time", "bid", "bid_quantity", "ask", "ask_quantity"),
}
BAR_TABLES: Final = (*_COLUMNS, "book_events")
"""Tables that bars are made from: a symbol without trades, or quotes, of a session has those of its market events."""
_ROWS_AT_ONCE: Final = 1 << 20
"""Trades and quotes that are held at once, unless one symbol alone has more."""


def session_bars(store: Store, venue: str, session: str, rules: Sequence[BarRule]) -> Iterator[Batch]:
    """Batches of the table `bars`, symbol by symbol.

    Parameters
    ----------
    store : Store
    venue, session : str
        The session as an ISO date.
    rules : sequence of BarRule

    Raises
    ------
    DataError
        When a symbol's trades or quotes cannot be summed; the message names it.
    """
    day = date.fromisoformat(session)
    where = {"venue": venue, "start": session, "end": session}
    sizes = {table: _rows_by_symbol(store, table, where) for table in BAR_TABLES}
    for symbols in _groups(sizes):
        held = {table: _read(store, table, [s for s in symbols if s in sizes[table]], where) for table in _COLUMNS}
        for symbol in symbols:
            trades, quotes = (held[table].pop(symbol, None) for table in _COLUMNS)
            try:
                wanted = (trades is None or quotes is None) and symbol in sizes["book_events"]
                events = store.event_array(venue, symbol, session) if wanted else None
                for rule, bars in _symbol_bars(day, rules, trades, quotes, events):
                    yield Batch("bars", venue, _table(bars, rule, symbol, day))
            except DataError as error:
                raise DataError(f"{venue} {session} {symbol}: {error}") from error


def _symbol_bars(
    day: date,
    rules: Sequence[BarRule],
    trades: pa.Table | None,
    quotes: pa.Table | None,
    events: NDArray[Any] | None,
) -> Iterator[tuple[BarRule, Bars]]:
    printed = Trades.none() if events is None else trades_of_events(events)
    if trades is None and not printed.times.size:
        return
    best = _quotes_of(quotes) if quotes is not None else None if events is None else quotes_of_events(events)
    tapes: dict[tuple[str, ...], Trades] = {}
    for rule in rules:
        if rule.conditions not in tapes:
            tapes[rule.conditions] = printed if trades is None else _trades_of(trades, rule.conditions)
        bars = make_bars(rule, tapes[rule.conditions], best, origin=rule.origin(day))
        if bars.start.size:
            yield rule, bars


def trades_of_events(events: NDArray[Any]) -> Trades:
    """The trades among market events, in the exchange's order; one without a side flag is of unknown side."""
    ev = events["ev"].astype(np.int64)
    chosen = (ev & KIND_MASK == TRADE) & (ev & EXCH != 0)
    trades, ev = events[chosen], ev[chosen]
    side = np.where(ev & BUY, 1, np.where(ev & SELL, -1, UNKNOWN_SIDE)).astype(np.int8)
    return Trades(trades["exch_ts"].copy(), trades["px"].copy(), trades["qty"].copy(), side)


def quotes_of_events(events: NDArray[Any]) -> Quotes | None:
    """Best quotes that market events give, at each of their changes (exchange clock); None where they build no book.

    Raises
    ------
    DataError
        When an event cannot be.
    """
    prices = book_prices(events)
    if not prices.size:
        return None
    rows, _ = replay(events, covering_grid(prices), source=book_source(events), only_changes=True)
    return Quotes(rows.times, rows.bid[:, 0], rows.bid_quantity[:, 0], rows.ask[:, 0], rows.ask_quantity[:, 0])


def _groups(sizes: dict[str, dict[str, int]]) -> Iterator[list[str]]:
    """The symbols that may have traded, in groups of a bounded number of rows."""
    group: list[str] = []
    held = 0
    for symbol in sorted({*sizes["trades"], *sizes["book_events"]}):
        rows = sum(sizes[table].get(symbol, 0) for table in _COLUMNS)
        if group and held + rows > _ROWS_AT_ONCE:
            yield group
            group, held = [], 0
        group.append(symbol)
        held += rows
    if group:
        yield group


def _read(store: Store, table: str, symbols: list[str], where: dict[str, str]) -> dict[str, pa.Table]:
    return _by_symbol(store.table(table, symbols=symbols, columns=_COLUMNS[table], **where)) if symbols else {}


def _rows_by_symbol(store: Store, table: str, where: dict[str, str]) -> dict[str, int]:
    sizes: dict[str, int] = {}
    for rows in store.iter_table(table, columns=("symbol",), **where):
        counted = pc.value_counts(rows["symbol"])
        for symbol, count in zip(*(counted.field(k).to_pylist() for k in (0, 1)), strict=True):
            sizes[symbol] = sizes.get(symbol, 0) + count
    return sizes


def _by_symbol(rows: pa.Table) -> dict[str, pa.Table]:
    """The rows of each symbol, in their order; rows of one symbol are neighbours."""
    if not rows.num_rows:
        return {}
    codes = rows["symbol"].combine_chunks().dictionary_encode()
    starts = np.flatnonzero(np.r_[True, np.diff(codes.indices.to_numpy()) != 0])
    stops = np.r_[starts[1:], rows.num_rows]
    names = codes.dictionary.take(codes.indices.take(pa.array(starts))).to_pylist()
    return {
        name: rows.slice(start, stop - start)
        for name, start, stop in zip(names, starts.tolist(), stops.tolist(), strict=True)
    }


def _trades_of(rows: pa.Table, conditions: tuple[str, ...]) -> Trades:
    counts = pc.is_in(rows["condition"], pa.array(conditions))
    if not pc.all(counts).as_py():
        rows = rows.filter(counts)
    side = pc.fill_null(rows["side"], UNKNOWN_SIDE)
    return Trades(_times(rows["time"]), _floats(rows["price"]), _floats(rows["quantity"]), side.to_numpy())


def _quotes_of(rows: pa.Table) -> Quotes:
    bid, bid_quantity, ask, ask_quantity = (_floats(rows[name]) for name in _COLUMNS["quotes"][2:])
    return Quotes(_times(rows["time"]), bid, bid_quantity, ask, ask_quantity)


def _times(column: pa.ChunkedArray) -> NDArray[np.int64]:
    times: NDArray[np.int64] = column.cast(pa.int64()).to_numpy()
    return times


def _floats(column: pa.ChunkedArray) -> NDArray[np.float64]:
    values: NDArray[np.float64] = column.to_numpy()  # null becomes nan
    return np.asarray(values, dtype=np.float64)


def _table(bars: Bars, rule: BarRule, symbol: str, session: date) -> pa.Table:
    count = bars.start.size
    known = {"session": pa.repeat(pa.scalar(session), count), "symbol": pa.repeat(symbol, count)}
    known["rule"] = pa.repeat(rule.text, count)
    arrays = []
    for column in BARS.columns:
        if column.name in known:
            arrays.append(known[column.name])
            continue
        values = getattr(bars, column.name)
        array = pa.array(values, mask=np.isnan(values)) if column.nullable else pa.array(values)
        arrays.append(array.cast(column.type))
    return pa.Table.from_arrays(arrays, schema=BARS.schema)
