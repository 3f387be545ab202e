"""A session out of the store as the event engine wants it: events, instrument, span with the phases of its venue."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from backtests.intraday.settings import TradingSpan
from data_pipeline.book.events import BEST_QUOTE, BUY, EVENT_DTYPE, EXCH, KIND_MASK, LOCAL, SELL, TRADE
from data_pipeline.book.grid import inferred_grid
from data_pipeline.book.replay import Source, book_prices, book_source
from data_pipeline.book.signs import tick_rule
from data_pipeline.errors import DataError
from data_pipeline.sessions.hours import SessionHours, venue_hours
from data_pipeline.sessions.rules import segment_of, trading_unit
from strategies.intraday.rule import AUCTION, CLOSED, CONTINUOUS, HALTED, Instrument

if TYPE_CHECKING:
    from data_pipeline.store import Store

Events = NDArray[Any]

SECOND: Final = 10**9
_BOTH: Final = EXCH | LOCAL
_SIDES: Final = BUY | SELL
_TRADED: Final = ("regular", "cross", "hidden")
_STRICTEST: Final = (AUCTION, HALTED, CLOSED)
_PHASES: Final = {"cancel": HALTED, "opening_call": AUCTION, "continuous": CONTINUOUS, "closing_call": AUCTION}


@dataclass(frozen=True, slots=True, eq=False)
class SessionFeed:
    """What `simulate_session` needs of one session besides a rule and settings.

    Attributes
    ----------
    events : (n,) of EVENT_DTYPE
    source : "l2", "l3" or "best"
        What builds the book.
    instrument : Instrument
    span : TradingSpan
        The continuous trading, with the venue's auctions and the halts of the table `halts`.
    counts : mapping of str to int
        Events, trades, trades of unknown side, and of these those that the tick rule gave one. A trade that is known to
        have had no aggressor (side 0 in the table: calls, crosses) is none of them.
    notes : tuple of str
        What was assumed.
    """

    events: Events
    source: Source
    instrument: Instrument
    span: TradingSpan
    counts: dict[str, int]
    notes: tuple[str, ...]


def session_feed(
    store: Store,
    venue: str,
    symbol: str,
    session: str,
    *,
    instrument: Instrument | None = None,
    liquidate_before: float = 60.0,
    sign_trades: bool = True,
    feed_latency_ns: int = 0,
) -> SessionFeed:
    """One session of a symbol out of the store.

    Market events where the store has them; else its trades and best quotes, the trades of a time before the quotes of
    that time; else its trades alone.

    Parameters
    ----------
    store : Store
    venue, symbol, session : str
        The session as an ISO date.
    instrument : Instrument, optional
        By default of B3's rules; elsewhere the coarsest tick and lot that hold every price and quantity, and a note.
    liquidate_before : float
        Seconds before the end of the continuous trading at which positions are closed.
    sign_trades : bool
        Whether trades of unknown side get one by the tick rule (counted); else they fill nothing, as trades do that
        are known to have had no aggressor.
    feed_latency_ns : int
        Added to the exchange's time where trades and quotes have no time of the receiver's.

    Raises
    ------
    DataError
        When the store has nothing of it, or the venue held no session that day.
    """
    events, counts, notes = session_events(
        store, venue, symbol, session, sign_trades=sign_trades, feed_latency_ns=feed_latency_ns
    )
    if instrument is None:
        instrument = _instrument(venue, symbol, events, notes)
    hours = venue_hours(venue, session, segment_of(symbol) or "cash" if venue == "B3" else "cash")
    spans = _halts(store, venue, symbol, session)
    return SessionFeed(
        events, _source(events), instrument, span_of(hours, spans, liquidate_before), counts, tuple(notes)
    )


def session_events(
    store: Store,
    venue: str,
    symbol: str,
    session: str,
    *,
    sign_trades: bool = True,
    feed_latency_ns: int = 0,
) -> tuple[Events, dict[str, int], list[str]]:
    """Events of one session, their counts, and what was assumed; the arguments are those of `session_feed`.

    Raises
    ------
    DataError
        When the store has nothing of it.
    """
    notes: list[str] = []
    events = store.event_array(venue, symbol, session)
    unknown = _without_side(events)
    if not events.size:
        events, held, unknown = _events_of_tables(store, venue, symbol, session, feed_latency_ns)
        notes.append("the store has no market events of it: trades and best quotes are taken.")
        if held:
            notes.append(f"{held:,} receiver's times were before an earlier event's and are held at that one's.")
    if not events.size:
        raise DataError(
            f"{store.name}: {venue} {symbol} {session} has neither market events nor trades: ingest its files"
        )
    early = int((events["local_ts"] < events["exch_ts"])[(events["ev"] & np.uint64(_BOTH)) == _BOTH].sum())
    if early:
        notes.append(
            f"{early:,} events were seen before they happened (the receiver's clock is behind): decisions use what was "
            "not known yet; move the receiver's times (data_pipeline.book.normalise.shift_local_clock)."
        )
    return *_signed(events, unknown, sign_trades, notes), notes


def span_of(
    hours: SessionHours, halts: tuple[tuple[int, int], ...] = (), liquidate_before: float = 60.0
) -> TradingSpan:
    """The continuous trading of a session as a span, with its auctions and with halts as phases.

    The span stops at the end of the continuous trading. A closing call is left out: its one price is made of the
    orders in it, own ones among them, which a replay of its print cannot show; positions are closed before it.

    Parameters
    ----------
    hours : SessionHours
    halts : tuple of (first ns, last ns)
        In order; what lies outside the continuous trading is cut off.
    liquidate_before : float
        Seconds before its end at which positions are closed.
    """
    start, stop = _ns(hours.continuous.start), _ns(hours.continuous.end)
    phases = [
        (_ns(phase.start), _ns(phase.end), _PHASES[phase.name])
        for phase in hours.phases
        if _ns(phase.end) <= start and phase.name in _PHASES
    ]
    done = start
    for first, last in sorted(halts):
        first, last = max(first, done), min(last, stop)
        if first < last:
            phases.append((first, last, HALTED))
            done = last
    liquidate = stop - round(liquidate_before * SECOND)
    return TradingSpan(start=start, stop=stop, liquidate=liquidate, phases=tuple(phases))


def session_phases(
    store: Store, venue: str, symbol: str, session: str, start: int, stop: int
) -> tuple[tuple[int, int, int], ...]:
    """What is not continuous trading between two moments: the venue's calls and closed hours, and the halts.

    Venues that hold no calls in the table of hours have halts alone; so have sessions whose hours are not known
    (`known_hours`).
    """
    marks = [(first, last, HALTED) for first, last in _halts(store, venue, symbol, session)]
    hours = known_hours(venue, symbol, session)
    if hours is not None and len(hours.phases) > 1:
        edge = start
        for phase in hours.phases:
            first, last = _ns(phase.start), _ns(phase.end)
            marks.append((edge, first, CLOSED))
            if phase.name != "continuous":
                marks.append((first, last, _PHASES.get(phase.name, CLOSED)))
            edge = last
        marks.append((edge, stop, CLOSED))
    cut = [(max(first, start), min(last, stop), phase) for first, last, phase in marks]
    moments = sorted({moment for first, last, _ in cut if first < last for moment in (first, last)})
    found: list[tuple[int, int, int]] = []
    for first, last in pairwise(moments):
        held = [phase for a, b, phase in cut if a <= first and last <= b and a < b]
        if held:
            found.append((first, last, max(held, key=_STRICTEST.index)))
    return tuple(found)


def known_hours(venue: str, symbol: str, session: str) -> SessionHours | None:
    """The venue's hours of a session; None where the table of hours does not have them."""
    try:
        return venue_hours(venue, session, segment_of(symbol) or "cash" if venue == "B3" else "cash")
    except DataError:
        return None


def _ns(moment: np.datetime64) -> int:
    return int(moment.astype("datetime64[ns]").astype(np.int64))


def _source(events: Events) -> Source:
    try:
        return book_source(events)
    except DataError:  # trades alone build no book
        return "l2"


def _without_side(events: Events) -> NDArray[np.int64]:
    """Places of the trades that no side flag names an aggressor of."""
    ev = events["ev"]
    return np.flatnonzero(((ev & np.uint64(KIND_MASK)) == TRADE) & ((ev & np.uint64(_SIDES)) == 0))


def _signed(
    events: Events, unknown: NDArray[np.int64], wanted: bool, notes: list[str]
) -> tuple[Events, dict[str, int]]:
    """The events with an aggressor for each trade of unknown side that the tick rule has one for, and the counts."""
    trades = np.flatnonzero((events["ev"] & np.uint64(KIND_MASK)) == TRADE)
    nobody = _without_side(events).size - unknown.size
    if nobody:
        notes.append(f"{nobody:,} of {trades.size:,} trades had no aggressor (calls, crosses) and fill nothing.")
    counts = {"events": events.size, "trades": trades.size, "trades_of_unknown_side": unknown.size, "signed": 0}
    if wanted and unknown.size:
        signs = np.zeros(events.size, dtype=np.int8)
        signs[trades] = tick_rule(events["px"][trades])
        found = unknown[signs[unknown] != 0]
        events = events.copy()
        events["ev"][found] |= np.where(signs[found] > 0, BUY, SELL).astype(np.uint64)
        counts["signed"] = found.size
        notes.append(f"{found.size:,} of {trades.size:,} trades have their aggressor from the tick rule.")
    elif unknown.size:
        notes.append(f"{unknown.size:,} of {trades.size:,} trades have no aggressor and fill nothing.")
    return events, counts


def _instrument(venue: str, symbol: str, events: Events, notes: list[str]) -> Instrument:
    if venue == "B3":
        unit = trading_unit(symbol)
        return Instrument(symbol, venue, unit.tick, float(unit.lot), unit.multiplier)
    prices = book_prices(events)
    traded = events["qty"] > 0
    ticks = inferred_grid(prices if prices.size else events["px"][traded])
    lots = inferred_grid(events["qty"][traded])
    notes.append(
        f"tick size {ticks.tick_size:.12g} and lot size {lots.tick_size:.12g} are the coarsest that hold every price "
        "and quantity of the session, which is known only after it: give the venue's own."
    )
    return Instrument(symbol, venue, ticks.tick_size, lots.tick_size)


def _halts(store: Store, venue: str, symbol: str, session: str) -> tuple[tuple[int, int], ...]:
    rows = store.table("halts", venue=venue, symbols=symbol, start=session, end=session, columns=("start", "end"))
    first, last = (rows[name].cast(pa.int64()).to_pylist() for name in ("start", "end"))
    return tuple((a, b if b is not None else 1 << 62) for a, b in zip(first, last, strict=True))


def _events_of_tables(
    store: Store, venue: str, symbol: str, session: str, delay: int
) -> tuple[Events, int, NDArray[np.int64]]:
    """Trades and best quotes of two tables as events, the trades of a time first; the receiver's times held; trades of
    unknown side by their places: a side of 0 is known, nobody was the aggressor.
    """
    place = {"venue": venue, "symbols": symbol, "start": session, "end": session}
    rows: Any = store.table("trades", columns=("time", "local_time", "price", "quantity", "side", "condition"), **place)
    rows = rows.filter(pc.is_in(rows["condition"], pa.array(_TRADED)))
    times, local = _times(rows, delay)
    side = pc.fill_null(rows["side"], 0).to_numpy()
    null = rows["side"].is_null().to_numpy()
    flags = np.where(side > 0, BUY, np.where(side < 0, SELL, 0))
    parts = [_made(TRADE | flags, times, local, _floats(rows, "price"), _floats(rows, "quantity"))]
    rows = store.table("quotes", columns=("time", "local_time", *_QUOTED), **place)
    times, local = _times(rows, delay)
    for name, flag in (("bid", BUY), ("ask", SELL)):
        price, quantity = _floats(rows, name), _floats(rows, f"{name}_quantity")
        empty = ~np.isfinite(price)
        parts.append(
            _made(
                np.full(times.size, BEST_QUOTE | flag),
                times,
                local,
                np.where(empty, 0.0, price),
                np.where(empty, 0.0, quantity),  # a price without a quantity is refused by the engine
            )
        )
    made = np.concatenate(parts)
    order = np.repeat(np.arange(len(parts)), [part.size for part in parts])
    places = np.lexsort((np.arange(made.size), np.minimum(order, 1), made["exch_ts"]))
    made = made[places]
    unknown = np.flatnonzero(np.concatenate([null, np.zeros(made.size - null.size, dtype=np.bool_)])[places])
    # one array in both orders: a receiver's clock that ran backwards is held
    held = np.maximum.accumulate(made["local_ts"])
    late = int((held != made["local_ts"]).sum())
    made["local_ts"] = held
    return made, late, unknown


_QUOTED: Final = ("bid", "bid_quantity", "ask", "ask_quantity")


def _times(rows: pa.Table, delay: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    times = np.asarray(rows["time"].cast(pa.int64()).to_numpy())
    local = pc.fill_null(rows["local_time"].cast(pa.int64()), -1).to_numpy()
    return times, np.where(local < 0, times + delay, local)


def _floats(rows: pa.Table, name: str) -> NDArray[np.float64]:
    return np.asarray(rows[name].to_numpy(zero_copy_only=False), dtype=np.float64)


def _made(
    kind: NDArray[Any],
    times: NDArray[np.int64],
    local: NDArray[np.int64],
    price: NDArray[np.float64],
    quantity: NDArray[np.float64],
) -> Events:
    made = np.zeros(times.size, dtype=EVENT_DTYPE)
    made["ev"] = (kind | _BOTH).astype(np.uint64)
    made["exch_ts"], made["local_ts"], made["px"], made["qty"] = times, local, price, quantity
    return made
