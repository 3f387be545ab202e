"""Sessions of a store as an intraday walk-forward takes them: which there are, their hashes, their times."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from zoneinfo import ZoneInfo

from numpy.typing import NDArray

from backtests.errors import WindowError
from backtests.intraday.settings import TradingSpan
from backtests.walk.intraday_plan import IntradayPlan, TradingDay
from data_pipeline.book.from_store import VENUE_CLOCKS
from data_pipeline.disk import canonical_json, sha256_hex

if TYPE_CHECKING:
    from data_pipeline.store import Store

READ_TABLES: Final = ("book_events", "halts", "orders", "quotes", "trades")
"""What the measures and the simulation of a session may read."""


def list_sessions(store: Store, plan: IntradayPlan) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Sessions in which every instrument has market events, and those in which only some have; ISO dates in order.

    Raises
    ------
    WindowError
        When there is no session of all instruments.
    """
    wanted = {item.symbol for item in plan.instruments}
    whole, part = [], []
    for period in sorted(p.period for p in store.manifest.tables if (p.table, p.venue) == ("book_events", plan.venue)):
        day = date.fromisoformat(period)
        if (plan.start and day < plan.start) or (plan.end and day > plan.end):
            continue
        found = _symbols(store, plan.venue, period, wanted)
        if found == wanted:
            whole.append(period)
        elif found:
            part.append(period)
    if not whole:
        raise WindowError(
            f"{store.name}: no session of {plan.venue} has market events of {', '.join(sorted(wanted))}: ingest the "
            "files that have them, or change venue, symbols, start or end"
        )
    return tuple(whole), tuple(part)


def _symbols(store: Store, venue: str, session: str, wanted: set[str]) -> set[str]:
    found: set[str] = set()
    for piece in store.iter_table(
        "book_events", venue=venue, symbols=sorted(wanted), start=session, end=session, columns=("symbol",)
    ):
        found |= set(piece["symbol"].unique().to_pylist())
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


def trading_span(venue: str, session: str, day: TradingDay) -> TradingSpan:
    """The span in which rules act in a session, nanoseconds since 1970 UTC."""
    midnight = midnight_ns(session, venue_clock(venue, day))
    start, liquidate, stop = (midnight + round(1e9 * part) for part in (day.start, day.liquidate, day.stop))
    return TradingSpan(start=start, stop=stop, liquidate=liquidate, liquidation=day.liquidation)


def midnight_ns(session: str, clock: str) -> int:
    """Nanoseconds since 1970 UTC from which a session's seconds count, by the clock's offset at noon."""
    day = date.fromisoformat(session)
    noon = datetime(day.year, day.month, day.day, 12, tzinfo=ZoneInfo(clock))
    since = (noon - timedelta(hours=12)).astimezone(UTC) - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86_400 + since.seconds) * 10**9


@lru_cache(maxsize=1)
def read_events(store: Path | str, venue: str, symbol: str, session: str, digest: str) -> NDArray[Any]:
    """Market events of one symbol's session, read-only; the last one read stays, for the next pod that trades it.

    `digest` is the session's hash: a store that changed in between is read again.
    """
    from data_pipeline.store import Store

    events = Store.open(store).event_array(venue, symbol, session)
    events.flags.writeable = False
    return events


def combined_hash(hashes: Sequence[str]) -> str:
    """One hash of several."""
    return sha256_hex(canonical_json(list(hashes)))
