"""One symbol's session out of the store as an `IntradayRecord`, as the direct readers of raw files give it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from data_pipeline.book.bar_session import quotes_of_events, trades_of_events
from data_pipeline.book.bars import UNKNOWN_SIDE
from data_pipeline.book.record import (
    IntradayRecord,
    OrderLives,
    QuotePath,
    TradeTape,
    empty_side_gaps,
    merge_gaps,
    refuse_empty,
    within,
)
from data_pipeline.book.replay import book_source
from data_pipeline.book.signs import tick_rule
from data_pipeline.book.trade_quotes import quotes_of_trades
from data_pipeline.errors import DataError
from data_pipeline.feeds.b3.orders_record import order_lives
from data_pipeline.feeds.b3.orders_rows import KIND_WORDS, ROW

if TYPE_CHECKING:
    from data_pipeline.store import Store

VENUE_CLOCKS: Final = {"B3": "America/Sao_Paulo", "NASDAQ": "America/New_York"}
"""Clocks of the venues that have one of their own; the others go by UTC."""
_TRADED: Final = ("regular", "cross", "hidden")
_TABLES: Final = ("trades", "quotes", "book_events", "orders", "halts")
_QUOTES: Final = ("time", "bid", "ask")
_ORDERS: Final = {
    "order_id": "order",
    "secondary_id": "secondary",
    "sequence": "line",
    "price": "price",
    "quantity": "total",
    "traded_quantity": "traded",
    "side": "side",
    "aggressor": "aggressor",
}
"""Columns of the table `orders` by the fields of the order files' events."""


def intraday_record(
    store: Store,
    venue: str,
    symbol: str,
    session: str,
    start: float | None = None,
    end: float | None = None,
    *,
    clock: str | None = None,
    infer: bool = False,
) -> IntradayRecord:
    """Best quotes, trades, halts and lives of orders of a symbol's session.

    Quotes and trades are those of the tables `quotes` and `trades`, and where the symbol has none there those that its
    market events give. Trades after hours and off the book are left out, counted. Gaps are the spans of the table
    `halts` and the times in which a side was empty; lives of orders are those of the table `orders`, and a note says
    so where it has none.

    Parameters
    ----------
    store : Store
    venue, symbol, session : str
        The session as an ISO date.
    start, end : float, optional
        Window in seconds after midnight, see `record.within`.
    clock : str, optional
        IANA name of the clock; by default the venue's own (`VENUE_CLOCKS`), else UTC.
    infer : bool
        Trades of unknown side get one by the tick rule (not those that are known to have had no aggressor, side 0 in
        the table), and where there are no quotes the last prices bought and sold at stand for them
        (`quotes_of_trades`); both are counted, and noted.

    Raises
    ------
    DataError
        When the store has no quotes or no trades of it.
    """
    clock = clock or VENUE_CLOCKS.get(venue, "UTC")
    midnight = _midnight(date.fromisoformat(session), clock)
    counts: dict[str, int] = {}
    notes: list[str] = []
    quotes = _quotes(store, venue, symbol, session, midnight, counts, notes)
    trades, unknown = _trades(store, venue, symbol, session, midnight, counts, notes)
    if infer:
        trades = _signed(trades, unknown & ~trades.hidden, counts, notes)
        quotes = quotes if quotes.times.size else _inferred(trades, counts, notes)
    place = f"{store.name}: {venue} {symbol} {session}"
    if not quotes.times.size or not trades.times.size:
        missing = "quotes or book events" if not quotes.times.size else "trades"
        raise DataError(f"{place} has no {missing}: ingest the files that have them, or name another one")
    refuse_empty(quotes, place)
    orders = _orders(store, venue, symbol, session, midnight, counts, notes)
    halts = _halts(store, venue, symbol, session, midnight)
    counts["halts"] = len(halts)
    seen = [quotes.times, trades.times, halts[np.isfinite(halts)], *([] if orders is None else [orders.exit])]
    last = float(max(times.max() for times in seen if times.size))
    halts[np.isnan(halts)] = last
    record = IntradayRecord(
        feed=f"store, {venue}",
        instrument=symbol,
        day=session,
        clock=clock,
        quotes=quotes,
        trades=trades,
        orders=orders,
        start=float(quotes.times[0]),
        end=last,
        gaps=merge_gaps(halts, empty_side_gaps(quotes, last)),
        counts=counts,
        notes=tuple(notes),
        files=_sources(store, venue, session),
    )
    return record if start is None and end is None else within(record, start, end)


def _midnight(session: date, clock: str) -> int:
    """Nanoseconds since 1970 UTC from which the clock counts, by its offset at noon: it may change during the night."""
    noon = datetime(session.year, session.month, session.day, 12, tzinfo=ZoneInfo(clock))
    since = (noon - timedelta(hours=12)).astimezone(UTC) - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86_400 + since.seconds) * 10**9


def _seconds(times: NDArray[np.int64], midnight: int) -> NDArray[np.float64]:
    return (times - midnight) / 1e9


def _quotes(
    store: Store, venue: str, symbol: str, session: str, midnight: int, counts: dict[str, int], notes: list[str]
) -> QuotePath:
    """The best quotes; crossed ones, and prices not above 0, are none on that side, counted."""
    rows = store.table("quotes", venue=venue, symbols=symbol, start=session, end=session, columns=_QUOTES)
    if rows.num_rows:
        times = rows["time"].cast(pa.int64()).to_numpy()
        bid, ask = (np.asarray(rows[name].to_numpy(), dtype=np.float64) for name in ("bid", "ask"))
    else:
        events = store.event_array(venue, symbol, session)
        found = quotes_of_events(events)
        if found is None:
            return QuotePath(np.empty(0), np.empty(0), np.empty(0))
        times, bid, ask = found.times, found.bid, found.ask
        notes.append("the store has no quotes of it: the best quotes are those of the book that its events build.")
        if book_source(events) == "l3":
            # a book of orders is crossed while an incoming one is being matched: that is no quote
            kept = ~(bid >= ask)
            counts["crossed_states_while_matching_left_out"] = int((~kept).sum())
            times, bid, ask = times[kept], bid[kept], ask[kept]
    crossed = bid >= ask
    counts["quotes"], counts["crossed_rows_removed"] = times.size, int(crossed.sum())
    empty = crossed | ~(bid > 0), crossed | ~(ask > 0)
    return QuotePath(_seconds(times, midnight), np.where(empty[0], np.nan, bid), np.where(empty[1], np.nan, ask))


def _trades(
    store: Store, venue: str, symbol: str, session: str, midnight: int, counts: dict[str, int], notes: list[str]
) -> tuple[TradeTape, NDArray[np.bool_]]:
    """The trades, and which of them are of unknown side."""
    columns = ("time", "price", "quantity", "side", "condition")
    rows = store.table("trades", venue=venue, symbols=symbol, start=session, end=session, columns=columns)
    if not rows.num_rows:
        notes.append("the store has no trades of it: those among its market events are taken.")
        return _trades_of_events(store.event_array(venue, symbol, session), midnight, counts)
    kept = rows.filter(pc.is_in(rows["condition"], pa.array(_TRADED)))
    counts["trades"] = rows.num_rows
    counts["trades_after_hours_or_off_the_book_left_out"] = rows.num_rows - kept.num_rows
    counts["trades_of_unknown_side"] = kept["side"].null_count
    tape = TradeTape(
        _seconds(kept["time"].cast(pa.int64()).to_numpy(), midnight),
        np.asarray(kept["price"].to_numpy()),
        np.asarray(kept["quantity"].to_numpy()),
        pc.fill_null(kept["side"], 0).to_numpy(),
        np.asarray(pc.equal(kept["condition"], "hidden").to_numpy(zero_copy_only=False), dtype=np.bool_),
    )
    return tape, kept["side"].is_null().to_numpy()


def _trades_of_events(
    events: NDArray[Any], midnight: int, counts: dict[str, int]
) -> tuple[TradeTape, NDArray[np.bool_]]:
    trades = trades_of_events(events)
    unknown = trades.side == UNKNOWN_SIDE
    counts["trades"], counts["trades_of_unknown_side"] = trades.times.size, int(unknown.sum())
    side = np.where(unknown, 0, trades.side).astype(np.int8)
    hidden = np.zeros(side.size, dtype=np.bool_)
    return TradeTape(_seconds(trades.times, midnight), trades.price, trades.quantity, side, hidden), unknown


def _signed(trades: TradeTape, unknown: NDArray[np.bool_], counts: dict[str, int], notes: list[str]) -> TradeTape:
    if not unknown.any():
        return trades
    side = np.where(unknown, tick_rule(trades.price), trades.side).astype(np.int8)
    counts["trades_signed_by_the_tick_rule"] = int((unknown & (side != 0)).sum())
    notes.append("aggressors that the feed does not name are those of the tick rule.")
    return replace(trades, side=side)


def _inferred(trades: TradeTape, counts: dict[str, int], notes: list[str]) -> QuotePath:
    found = quotes_of_trades(trades.price, trades.side, trades.size)
    counts["quotes_inferred"] = trades.times.size
    notes.append("the store has no quotes of it: the last prices bought and sold at stand for them.")
    return QuotePath(trades.times, found.bid, found.ask)


def _orders(
    store: Store, venue: str, symbol: str, session: str, midnight: int, counts: dict[str, int], notes: list[str]
) -> OrderLives | None:
    """Lives of the orders in the table `orders`; None, and a note, where it has none."""
    columns = ("time", "event", *_ORDERS)
    rows = store.table("orders", venue=venue, symbols=symbol, start=session, end=session, columns=columns)
    if not rows.num_rows:
        notes.append("the store has no single orders of it: how long they rest and what they meet is not among these.")
        return None
    events = np.zeros(rows.num_rows, dtype=ROW)
    for column, field in _ORDERS.items():
        events[field] = rows[column].to_numpy()
    events["time_us"] = (rows["time"].cast(pa.int64()).to_numpy() - midnight) // 1000
    kinds = np.array(list(KIND_WORDS))
    events["kind"] = kinds[pc.index_in(rows["event"], pa.array(KIND_WORDS.values())).to_numpy()]
    counts["order_events"] = rows.num_rows
    return order_lives(events)


def _halts(store: Store, venue: str, symbol: str, session: str, midnight: int) -> NDArray[np.float64]:
    """(g, 2) spans of the table `halts`, nan where trading did not resume."""
    columns = ("start", "end")
    rows = store.table("halts", venue=venue, symbols=symbol, start=session, end=session, columns=columns)
    spans = [
        pc.divide(pc.cast(pc.subtract(pc.cast(rows[name], pa.int64()), midnight), pa.float64()), 1e9)
        for name in columns
    ]
    return np.column_stack([span.to_numpy() for span in spans])


def _sources(store: Store, venue: str, session: str) -> dict[str, str]:
    """Name and SHA-256 of what the session's rows came from."""
    manifest = store.manifest
    used = [p for p in manifest.tables if p.table in _TABLES and (p.venue, p.period) == (venue, session)]
    hashes = {source for p in used for part in p.parts for source in part.sources}
    known = {source.sha256: source.file for source in manifest.sources}
    return {known.get(sha256, sha256): sha256 for sha256 in sorted(hashes)}
