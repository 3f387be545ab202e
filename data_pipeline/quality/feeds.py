"""The quality of everything in a store that is no daily quote: intraday days, reference tables, what readers counted.

`feeds_quality` returns plain JSON types:

    light, reasons      as in `data_pipeline.quality.daily`
    totals              counts of what follows
    intraday            venue, instrument, session, trades, quotes, score, light, cover, problems: the worst first, of
                        the green ones the first 20
    auctions            venue, instrument, session, time, price, trades, quantity, phase: prints of calls
    tables              table, venue, first, last, sessions, missing, instruments, rows: against the calendar
    sources             source, feed, rows, counts: what the reader of each file dropped, repaired or noticed

The light: red when a tenth of the intraday days or more are red; amber for any other day that is not green, a table
that lacks sessions, and a break in a feed's sequence.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data_pipeline.errors import DataError
from data_pipeline.quality.event_rows import event_quotes, event_trades
from data_pipeline.quality.intraday import DayVerdict, Problem, judge_day
from data_pipeline.sessions.calendar import b3_sessions
from data_pipeline.sessions.hours import SessionHours, venue_hours
from data_pipeline.sessions.rules import segment_of
from data_pipeline.store import Store
from data_pipeline.tables.catalog import QUOTES, TABLES, TRADES

MOST: Final = 500
GREEN_SHOWN: Final = 20
"""Green days that are listed after the others."""
MAX_RED: Final = 0.1
BREAKS: Final = frozenset(
    {
        "depth_sequence_breaks",
        "trade_ids_missing",
        "cancels_without_their_trade",
        "trade_rows_without_their_other_side_dropped",
    }
)
"""Rules of the readers whose counts tell of missing data."""
_AT_ONCE: Final = 500_000
"""Rows of a session in memory, unless one instrument has more."""
_READ: Final = ("trades", "quotes", "book_events")

Day = np.datetime64 | str
Record = dict[str, Any]
Progress = Callable[[str], None]


def feeds_quality(
    store: Store, *, start: Day | None = None, end: Day | None = None, progress: Progress | None = None
) -> dict[str, Any]:
    """The quality summary of a store's tables, see the module for its keys.

    Parameters
    ----------
    store : Store
    start, end : datetime64 or ISO date, optional
        First and last session looked at.
    progress : callable, optional
        Called with the venue and session under way.
    """
    verdicts = list(day_verdicts(store, start=start, end=end, progress=progress))
    worst = sorted(verdicts, key=lambda v: (v.score, -len(v.problems), v.session, v.venue, v.symbol))
    bad, good = ([v for v in worst if (v.light == "green") is green] for green in (False, True))
    auctions = [
        {"venue": v.venue, "instrument": v.symbol, "session": v.session}
        | dict(zip(("time", "price", "trades", "quantity", "phase"), burst, strict=True))
        for v in sorted(verdicts, key=lambda v: (v.session, v.venue, v.symbol))
        for burst in v.bursts
    ]
    tables, sources = _tables(store), _sources(store)
    red, amber = _reasons(verdicts, tables, sources)
    return {
        "light": "red" if red else "amber" if amber else "green",
        "reasons": red + amber,
        "totals": {
            "intraday": len(verdicts),
            "auctions": len(auctions),
            "tables": len(tables),
            "sources": len(sources),
        },
        "intraday": [v.record() for v in (*bad[:MOST], *good[:GREEN_SHOWN])],
        "auctions": auctions[:MOST],
        "tables": tables,
        "sources": sources[:MOST],
    }


def day_verdicts(
    store: Store,
    *,
    venue: str | None = None,
    start: Day | None = None,
    end: Day | None = None,
    progress: Progress | None = None,
) -> Iterator[DayVerdict]:
    """The verdict on each instrument's day of trades, quotes or market events, by session, venue and symbol.

    An instrument's trades or quotes that the store does not have are taken from its market events.
    """
    for place, session in _days(store, venue, start, end):
        if progress is not None:
            progress(f"{place} {session}")
        span: dict[str, Any] = {"venue": place, "start": session, "end": session}
        sizes = {table: _rows_by_symbol(store, table, span) for table in _READ}
        for group in _grouped(sizes["trades"] + sizes["quotes"]):
            trades = _by_symbol(store.table("trades", symbols=group, **span))
            quotes = _by_symbol(store.table("quotes", symbols=group, **span))
            for name in group:
                rows, best = trades.get(name), quotes.get(name)
                lacks = rows is None or best is None
                yield _verdict(store, place, name, session, rows, best, lacks and name in sizes["book_events"])
        for name in sorted(sizes["book_events"].keys() - sizes["trades"].keys() - sizes["quotes"].keys()):
            yield _verdict(store, place, name, session, None, None, True)


def day_verdict(store: Store, venue: str, symbol: str, session: str) -> DayVerdict:
    """The verdict on one instrument's day; session is an ISO date."""
    span = {"venue": venue, "symbols": symbol, "start": session, "end": session}
    trades, quotes = (rows if rows.num_rows else None for rows in (store.table(name, **span) for name in _READ[:2]))
    events = any((p.table, p.venue, p.period) == (_READ[2], venue, session) for p in store.manifest.tables)
    return _verdict(store, venue, symbol, session, trades, quotes, events and (trades is None or quotes is None))


def _verdict(
    store: Store,
    venue: str,
    symbol: str,
    session: str,
    trades: pa.Table | None,
    quotes: pa.Table | None,
    from_events: bool,
) -> DayVerdict:
    told: list[Problem] = []
    if from_events:
        events = store.event_array(venue, symbol, session)
        trades = event_trades(events) if trades is None else trades
        try:
            quotes = event_quotes(events) if quotes is None else quotes
        except DataError as error:
            told.append(Problem("events", 1, f"its market events build no book: {error}"))
    trades = TRADES.schema.empty_table() if trades is None else trades
    quotes = QUOTES.schema.empty_table() if quotes is None else quotes
    return judge_day(venue, symbol, session, trades, quotes, _hours(venue, session, symbol), told)


def _rows_by_symbol(store: Store, table: str, span: dict[str, Any]) -> Counter[str]:
    sizes: Counter[str] = Counter()
    for rows in store.iter_table(table, columns=["symbol"], **span):
        counted = pc.value_counts(rows["symbol"])
        sizes.update(dict(zip(*(counted.field(k).to_pylist() for k in (0, 1)), strict=True)))
    return sizes


def _grouped(sizes: Counter[str]) -> Iterator[list[str]]:
    """The symbols in order, in groups of at most `_AT_ONCE` rows or of one symbol."""
    group: list[str] = []
    held = 0
    for symbol, rows in sorted(sizes.items()):
        if group and held + rows > _AT_ONCE:
            yield group
            group, held = [], 0
        group.append(symbol)
        held += rows
    if group:
        yield group


def _days(store: Store, venue: str | None, start: Day | None, end: Day | None) -> list[tuple[str, str]]:
    found = {
        (p.period, p.venue)
        for p in store.manifest.tables
        if p.table in _READ
        and (venue is None or p.venue == venue)
        and (start is None or p.period >= str(start))
        and (end is None or p.period <= str(end))
    }
    return [(place, session) for session, place in sorted(found)]


@lru_cache(maxsize=4096)
def _hours(venue: str, session: str, symbol: str) -> SessionHours | None:
    segment = segment_of(symbol) if venue == "B3" else "cash"
    if segment is None:
        return None
    try:
        return venue_hours(venue, session, segment)
    except DataError:  # no session by the calendar, or before the table of hours begins
        return None


def _by_symbol(rows: pa.Table) -> dict[str, pa.Table]:
    """The rows of each symbol; they lie together."""
    if rows.num_rows == 0:
        return {}
    codes = rows["symbol"].combine_chunks().dictionary_encode()
    places = codes.indices.to_numpy()
    first = np.concatenate(([0], np.flatnonzero(np.diff(places)) + 1))
    length = np.diff(np.append(first, rows.num_rows))
    names = codes.dictionary.to_pylist()
    return {names[places[a]]: rows.slice(int(a), int(n)) for a, n in zip(first, length, strict=True)}


def _tables(store: Store) -> list[Record]:
    """Span, sessions and holes of each table of each venue; holes only of daily tables on B3's calendar."""
    records = []
    for table, venue in sorted({(p.table, p.venue) for p in store.manifest.tables}):
        spec = TABLES[table]
        days: set[np.datetime64] = set()
        symbols: set[str] = set()
        rows = 0
        for piece in store.iter_table(table, venue=venue, columns=[spec.date, spec.symbol]):
            rows += piece.num_rows
            days |= set(np.unique(piece[spec.date].to_numpy().astype("datetime64[D]")))
            symbols |= set(pc.unique(piece[spec.symbol]).to_pylist())
        ordered = np.array(sorted(days), dtype="datetime64[D]")
        records.append(
            {
                "table": table,
                "venue": venue,
                "first": str(ordered[0]),
                "last": str(ordered[-1]),
                "sessions": int(ordered.size),
                "missing": _missing(table, venue, ordered),
                "instruments": len(symbols),
                "rows": rows,
            }
        )
    return records


def _missing(table: str, venue: str, days: np.ndarray[Any, np.dtype[np.datetime64]]) -> int | None:
    if venue != "B3" or TABLES[table].date != "session":
        return None
    return int(np.setdiff1d(b3_sessions(days[0], days[-1]), days).size)


def _sources(store: Store) -> list[Record]:
    """Files of feeds, those with something to tell first."""
    found = [
        {
            "source": source.file,
            "feed": source.kind,
            "rows": source.rows,
            "counts": ", ".join(f"{rule.replace('_', ' ')} {n:,}" for rule, n in sorted(told.items())),
            "breaks": sum(n for rule, n in told.items() if rule in BREAKS),
        }
        for source in store.manifest.sources
        if source.tables
        for told in [{rule: n for rule, n in source.rule_counts.items() if n}]
    ]
    return sorted(found, key=lambda r: (-int(r["breaks"]), str(r["source"])))


def _reasons(verdicts: list[DayVerdict], tables: list[Record], sources: list[Record]) -> tuple[list[str], list[str]]:
    red: list[str] = []
    amber: list[str] = []
    bad = sum(v.light == "red" for v in verdicts)
    middle = sum(v.light == "amber" for v in verdicts)
    if bad:
        (red if bad >= MAX_RED * len(verdicts) else amber).append(f"{bad} of {len(verdicts)} intraday days are red")
    if middle:
        amber.append(f"{middle} of {len(verdicts)} intraday days are amber")
    for record in tables:
        if record["missing"]:
            amber.append(f"{record['table']} lack {record['missing']:,} sessions that B3 held")
    broken = [r for r in sources if r["breaks"]]
    if broken:
        amber.append(f"{len(broken)} file(s) have breaks in their sequence, first {broken[0]['source']}")
    return red, amber
