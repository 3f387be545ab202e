"""Sessions of a store as an intraday walk-forward takes them: which there are, their hashes, their times."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple
from zoneinfo import ZoneInfo

from numpy.typing import NDArray

from backtests.errors import WindowError
from backtests.intraday.feed import session_events, session_phases
from backtests.intraday.settings import TradingSpan
from backtests.intraday.trade_feed import trades_of, with_trade_quotes
from backtests.walk.intraday_plan import IntradayPlan, TradingDay
from data_pipeline.book.from_store import VENUE_CLOCKS
from data_pipeline.disk import canonical_json, sha256_hex

if TYPE_CHECKING:
    from data_pipeline.store import Store

FeedKind = Literal["events", "quotes", "trades"]
READ_TABLES: Final = ("book_events", "halts", "orders", "quotes", "trades")
"""What the measures and the simulation of a session may read."""


class SessionList(NamedTuple):
    """The sessions of a run.

    Attributes
    ----------
    whole : tuple of str
        ISO dates in order, those in which every instrument has its kind of market data.
    partial : tuple of str
        Those in which only some have.
    kinds : mapping of str to "events", "quotes" or "trades"
        What the store has of each instrument: market events; else trades with best quotes; else trades alone.
    """

    whole: tuple[str, ...]
    partial: tuple[str, ...]
    kinds: Mapping[str, FeedKind]


def list_sessions(store: Store, plan: IntradayPlan) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Sessions of all instruments, and those of only some: see `find_sessions`."""
    found = find_sessions(store, plan)
    return found.whole, found.partial


def find_sessions(store: Store, plan: IntradayPlan) -> SessionList:
    """Sessions in which every instrument has market data, each always of its own kind.

    Raises
    ------
    WindowError
        When there is no session of all instruments.
    """
    wanted = {item.symbol for item in plan.instruments}
    there = {table: _symbols_by_session(store, plan, table, wanted) for table in ("book_events", "quotes", "trades")}
    kinds: dict[str, FeedKind] = {}
    held = []
    for symbol in sorted(wanted):
        found = {table: {day for day, symbols in days.items() if symbol in symbols} for table, days in there.items()}
        quoted = found["quotes"] & found["trades"]
        kind: FeedKind = "events" if found["book_events"] else "quotes" if quoted else "trades"
        kinds[symbol] = kind
        held.append({"events": found["book_events"], "quotes": quoted, "trades": found["trades"]}[kind])
    whole = set.intersection(*held)
    if not whole:
        raise WindowError(
            f"{store.name}: no session of {plan.venue} has market events or trades of {', '.join(sorted(wanted))}: "
            "ingest the files that have them, or change venue, symbols, start or end"
        )
    return SessionList(tuple(sorted(whole)), tuple(sorted(set.union(*held) - whole)), kinds)


def _symbols_by_session(store: Store, plan: IntradayPlan, table: str, wanted: set[str]) -> dict[str, set[str]]:
    first, last = plan.start or date.min, plan.end or date.max
    found: dict[str, set[str]] = {}
    for partition in store.manifest.tables:
        if (partition.table, partition.venue) != (table, plan.venue):
            continue
        session = partition.period
        if first <= date.fromisoformat(session) <= last:
            pieces = store.iter_table(
                table, venue=plan.venue, symbols=sorted(wanted), start=session, end=session, columns=("symbol",)
            )
            found[session] = {name for piece in pieces for name in piece["symbol"].unique().to_pylist()}
    return found


def session_hash(store: Store, venue: str, session: str, symbol: str) -> str:
    """SHA-256 of the rows that a session's parts with the symbol hold, however they were cut and ingested."""
    rows = [
        [p.table, p.version, f"{part.digest:032x}", part.rows]
        for p in store.manifest.tables
        if p.table in READ_TABLES and (p.venue, p.period) == (venue, session)
        for part in p.parts
        if part.first <= symbol <= part.last
    ]
    return sha256_hex(canonical_json([venue, session, symbol, sorted(rows)]))


def venue_clock(venue: str, day: TradingDay) -> str:
    """IANA name of the clock that the day's times are told by."""
    return day.clock or VENUE_CLOCKS.get(venue, "UTC")


def trading_span(venue: str, session: str, day: TradingDay, phases: Sequence[tuple[int, int, int]] = ()) -> TradingSpan:
    """The span in which rules act in a session, nanoseconds since 1970 UTC."""
    midnight = midnight_ns(session, venue_clock(venue, day))
    start, liquidate, stop = (midnight + round(1e9 * part) for part in (day.start, day.liquidate, day.stop))
    return TradingSpan(start=start, stop=stop, liquidate=liquidate, phases=phases, liquidation=day.liquidation)


def midnight_ns(session: str, clock: str) -> int:
    """Nanoseconds since 1970 UTC from which a session's seconds count, by the clock's offset at noon."""
    day = date.fromisoformat(session)
    noon = datetime(day.year, day.month, day.day, 12, tzinfo=ZoneInfo(clock))
    since = (noon - timedelta(hours=12)).astimezone(UTC) - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86_400 + since.seconds) * 10**9


@dataclass(frozen=True, slots=True, eq=False)
class SessionData:
    """One instrument's session as the engine takes it.

    Attributes
    ----------
    events : (n,) of EVENT_DTYPE, read-only
    valued : (n,) of EVENT_DTYPE, read-only
        What fills are valued by: the events, or of a feed of trades alone the trades.
    span : TradingSpan
        With the venue's calls and closed hours, and the halts, as phases.
    """

    events: NDArray[Any]
    valued: NDArray[Any]
    span: TradingSpan


@lru_cache(maxsize=1)
def read_session(
    store: Path | str, venue: str, symbol: str, session: str, day: TradingDay, kind: FeedKind, digest: str
) -> SessionData:
    """One symbol's session; the last one read stays, for the next pod that trades it.

    `digest` is the session's hash: a store that changed in between is read again.
    """
    from data_pipeline.store import Store

    opened = Store.open(store)
    span = trading_span(venue, session, day)
    phases = session_phases(opened, venue, symbol, session, span.start, span.stop)
    events, _, _ = session_events(opened, venue, symbol, session, sign_trades=kind != "events")
    valued = events
    if kind == "trades":
        valued = trades_of(events)
        events = with_trade_quotes(valued, span.liquidate)
    for array in (events, valued):
        array.flags.writeable = False
    return SessionData(events, valued, trading_span(venue, session, day, phases))


def combined_hash(hashes: Sequence[str]) -> str:
    """One hash of several."""
    return sha256_hex(canonical_json(list(hashes)))
