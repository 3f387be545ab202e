"""A session simulated event by event: `simulate_session`, or `start_session`, `feed_session` and `finish_session`."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from backtests.intraday import kernels
from backtests.intraday.engine_state import EngineState
from backtests.intraday.outcome import FILL_DTYPE, NO_MID, ORDER_DTYPE, SAMPLE_DTYPE, SessionOutcome
from backtests.intraday.settings import Fees, FillSettings, TradingSpan
from data_pipeline.book.events import EVENT_DTYPE, KIND_MASK
from data_pipeline.book.grid import tick_grid
from data_pipeline.book.replay import Source, book_source
from data_pipeline.errors import DataError
from strategies.intraday.rule import SIGNATURE, Instrument, Rule

MOST_FEE = 2.0**53 / 1e6
"""Money of one fill's fee up to which a double holds every millionth."""

_march: Any = kernels.march
_close: Any = kernels.close
Events = NDArray[Any]

_BLOCK: Final = 16_384
_FAULTS: Final = (
    "are before the event above in their place's clock: sort them by time first",
    "have neither the bid nor the ask flag",
    "have a price that is not a finite number",
    "have a quantity that is not a finite number, 0 or more (of an order: less than 2^53)",
    "have a price that is off the tick: give the instrument's right tick size",
    "have a price too far from zero for its tick size",
)
_NAMES: Final = (
    "calls", "calls_on_clock", "submitted", "cancels_sent", "replaces_sent", "refused_form", "refused_limit",
    "rejected_form", "rejected_phase", "rejected_post_only", "expired", "too_late_cancels", "too_late_replaces",
    "liquidation_orders", "", "fills_by_queue", "fills_by_print_through", "fills_by_book_through", "fills_by_crossing",
    "fills_by_auction", "fills_by_liquidation",
)  # fmt: skip


@dataclass(slots=True, eq=False)
class Session:
    """A session that is being simulated, between two calls of `feed_session`.

    Attributes
    ----------
    instrument : Instrument
    fees : Fees
    state : EngineState
    rule : str
        Its name.
    events : int
        Events fed so far.
    done : bool
        Whether the session's end was reached: further events change nothing.
    """

    instrument: Instrument
    fees: Fees
    state: EngineState
    rule: str = ""
    events: int = 0
    done: bool = False
    finished: bool = False

    def where(self) -> str:
        """The rule, what it trades and the time of its last call, in words."""
        when = int(self.state.engine[kernels.E_SYNC_AT])
        place = f"{self.instrument.venue} {self.instrument.symbol}"
        return f"the rule {self.rule!r} on {place} at {when} ({np.datetime64(when, 'ns')} UTC)"


def simulate_session(
    events: Events | Iterable[Events],
    rule: Rule,
    instrument: Instrument,
    span: TradingSpan,
    settings: FillSettings | None = None,
    *,
    sample_every: int = 1,
    source: Source | None = None,
) -> SessionOutcome:
    """Fills, orders, samples and account of one rule over one session, by the rules of docs/event-engine.md.

    Parameters
    ----------
    events : array of EVENT_DTYPE, or an iterable of such arrays
        In both places' orders. The outcome does not depend on how it is cut; one piece of a generator is held.
    rule : Rule
        Its function compiled with `rule.SIGNATURE`.
    sample_every : int
        A sample at every so many-th call on the clock; 0 for none.
    source : "l2", "l3" or "best", optional
        What builds the book; by default what `book_source` finds in the array. An iterable needs it.

    Raises
    ------
    ValueError
        When an argument breaks a rule, or the rule returns no number of requests or does not come to an end.
    DataError
        When an event cannot be: its kind of fault and the first one.
    """
    if isinstance(events, np.ndarray):
        _check_events(events)
        if source is None:
            source = _source_of(events)
        events = (events,)
    elif source is None:
        raise ValueError("source must be given (l2, l3 or best) with an iterable of events")
    session = start_session(rule, instrument, span, settings, source=source, sample_every=sample_every)
    for chunk in events:
        feed_session(session, chunk)
        if session.done:
            break
    return finish_session(session)


def start_session(
    rule: Rule,
    instrument: Instrument,
    span: TradingSpan,
    settings: FillSettings | None = None,
    *,
    source: Source,
    sample_every: int = 1,
) -> Session:
    """A session before its first event; the arguments are those of `simulate_session`."""
    settings = settings or FillSettings()
    if source not in ("l2", "l3", "best"):
        raise ValueError(f"source must be l2, l3 or best; was {source!r}")
    if settings.queue.kind == "exact" and source != "l3":
        raise ValueError(f"kind of queue must not be exact without order-by-order events (l3); source was {source!r}")
    if isinstance(sample_every, bool) or not isinstance(sample_every, int) or sample_every < 0:
        raise ValueError(f"sample_every must be a whole number, 0 or more; was {sample_every!r}")
    grid = tick_grid(instrument.tick_size)
    _check_function(rule)
    return Session(instrument, settings.fees, EngineState(rule, span, settings, grid, sample_every, source), rule.name)


def _check_function(rule: Rule) -> None:
    """Raise ValueError where the rule's function is none that the engine can call."""
    compiled = getattr(rule.function, "signatures", None)
    if compiled == []:  # compiled at its first call, which is this one
        with suppress(TypeError):
            rule.function.compile(SIGNATURE)
        compiled = rule.function.signatures
    if not compiled or SIGNATURE.args not in compiled:
        raise ValueError(
            f"function of the rule {rule.name!r} must be compiled with the signature of a rule: @njit([SIGNATURE], "
            f"cache=True), SIGNATURE of strategies.intraday.rule; was {rule.function!r}"
        )


def feed_session(session: Session, events: Events) -> None:
    """Go on with these events as far as is certain; the session goes on from where it was."""
    _check_events(events)
    if session.finished:
        raise ValueError("session must not be finished: start another one")
    at = 0
    while at < events.size and not session.done:
        waiting = max(
            int(place.state[kernels.S_SIZE] - place.state[kernels.S_AT])
            for place in (session.state.exchange, session.state.local)
        )
        # what waits is moved once a block: blocks as long as it is keep that cheap
        block = events[at : at + max(_BLOCK, waiting)]
        _take_in(session, block)
        at += block.size
        session.events += block.size
        _go_on(session, final=False)


def finish_session(session: Session) -> SessionOutcome:
    """The session's outcome when no event follows."""
    if session.finished:
        raise ValueError("session must not be finished: start another one")
    _go_on(session, final=True)
    session.finished = True
    state = session.state
    _close(
        int(state.conf[kernels.C_STOP]),
        state.exchange.state,
        state.engine,
        state.conf,
        state.resting,
        state.resting_ahead,
        state.orders,
        state.places,
    )
    return _outcome(session)


def _check_events(events: Any) -> None:
    if not isinstance(events, np.ndarray) or events.dtype.names != EVENT_DTYPE.names or events.ndim != 1:
        raise ValueError("events must be one-dimensional arrays of EVENT_DTYPE (data_pipeline.book.events)")


def _source_of(events: Events) -> Source:
    """What `book_source` finds, piece by piece: its sort of all kinds would take as long as the engine's own work."""
    kinds: set[int] = set()
    for at in range(0, events.size, _BLOCK):
        kinds |= set(np.flatnonzero(np.bincount(events["ev"][at : at + _BLOCK].view(np.int64) & KIND_MASK)).tolist())
    seen = np.zeros(len(kinds), dtype=EVENT_DTYPE)
    seen["ev"] = sorted(kinds)
    try:
        return book_source(seen)
    except DataError:  # trades alone build no book
        return "l2"


def _take_in(session: Session, block: Events) -> None:
    state = session.state
    x, local = state.exchange.state, state.local.state
    for stream, place in zip(state.streams, (x, local), strict=True):
        stream.make_room(place, block.size)
    if not block.flags.writeable:
        block = block.copy()  # compiled code is typed by it: one version instead of two
    first, second = state.streams
    faults, rows = np.zeros(kernels.FAULTS, dtype=np.int64), np.zeros(kernels.FAULTS, dtype=np.int64)
    kernels.classify(
        block["ev"].view(np.int64), block["exch_ts"], block["local_ts"], block["px"], block["qty"],
        block["order_id"].view(np.int64), int(state.conf[kernels.C_STOP]), int(state.conf[kernels.C_SOURCE]),
        float(state.grid.numerator),
        float(state.grid.denominator), session.instrument.lot_size, x, local, first.times, first.whole, first.lots,
        second.times, second.whole, second.lots, faults, rows,
    )  # fmt: skip
    if faults.any():
        fault = int(np.flatnonzero(faults)[0])
        row = int(rows[fault])
        shown = block[row]
        raise DataError(
            f"{int(faults[fault]):,} of {block.size:,} events {_FAULTS[fault]}; the first is event "
            f"{session.events + row:,} (exchange time {shown['exch_ts']}, local time {shown['local_ts']}, price "
            f"{float(shown['px'])!r}, quantity {float(shown['qty'])!r}; {state.grid.words()})"
        )


def _go_on(session: Session, *, final: bool) -> None:
    state = session.state
    while True:
        try:
            status = _march(*state.arguments(final))
        except Exception as error:
            error.add_note(f"raised by {session.where()}")
            raise
        if status in (kernels.DONE, kernels.NEED_EVENTS):
            session.done = status == kernels.DONE
            return
        if status in (kernels.BAD_COUNT, kernels.NO_END):
            _refuse(session, status)
        state.make_room(status)


def _refuse(session: Session, status: int) -> None:
    if status == kernels.NO_END:
        raise ValueError(
            f"{session.where()} must come to an end at one instant: it asked to be called at each answer (ON_OWN) and "
            "answered each of 16 answers at once; give the orders a latency, or send nothing in answer to a rejection"
        )
    raise ValueError(
        f"{session.where()} must return the number of its requests, 0 to {kernels.MOST_REQUESTS}; returned "
        f"{int(session.state.engine[kernels.E_ANSWER])}"
    )


def _outcome(session: Session) -> SessionOutcome:
    state, e, x = session.state, session.state.engine, session.state.exchange.state
    fills = state.fills[: int(e[kernels.E_FILLS])].copy().view(FILL_DTYPE).reshape(-1)
    rows = int(e[kernels.E_ORDERS])
    orders = np.zeros(rows, dtype=ORDER_DTYPE)
    for column, name in enumerate((ORDER_DTYPE.names or ())[:10]):
        orders[name] = state.orders[:rows, column]
    orders["ahead"], orders["ahead_end"] = state.places[:rows, 0], state.places[:rows, 1]
    samples = state.samples[: int(e[kernels.E_SAMPLES])].copy().view(SAMPLE_DTYPE).reshape(-1)
    last_mid2, last_print = int(x[kernels.S_LAST_MID]), int(x[kernels.S_LAST_PRINT])
    if last_mid2 == NO_MID and last_print != NO_MID:
        last_mid2 = 2 * last_print
    return SessionOutcome(
        instrument=session.instrument,
        fills=fills,
        orders=orders,
        samples=samples,
        cash_ticks=_cash_ticks(fills),
        fees=_fees(fills, session.instrument, session.fees),
        position=int(e[kernels.E_POSITION]),
        last_mid2=last_mid2,
        quoted_ns=e[kernels.E_QUOTED : kernels.E_QUOTED + 4].copy(),
        counts=_counts(state),
    )


def _cash_ticks(fills: NDArray[Any]) -> int:
    """Exact: ticks times lots may be beyond int64 where lots are 1e-8 of a coin."""
    sides, ticks, lots = (fills[name].tolist() for name in ("side", "tick", "lots"))
    bought: int = sum(side * tick * n for side, tick, n in zip(sides, ticks, lots, strict=True))
    return -bought


def _fees(fills: NDArray[Any], instrument: Instrument, fees: Fees) -> float:
    """Each fill's fee rounded to 1e-6 of a unit of money, half to even; their sum is exact."""
    maker = fills["maker"] == 1
    rate = np.where(maker, fees.maker, fees.taker)
    per_lot = np.where(maker, fees.maker_per_lot, fees.taker_per_lot)
    lots = fills["lots"].astype(np.float64)
    money = rate * (np.abs(fills["tick"]) * lots * instrument.tick_value) + per_lot * lots
    if money.size and not np.abs(money).max() < MOST_FEE:
        raise ValueError(
            f"the fee of a fill must be below {MOST_FEE:g}, or it cannot be counted to 1e-6; was "
            f"{money[np.abs(money).argmax()]:g}: lower fees, lot_size or multiplier"
        )
    return float(sum(np.rint(money * 1e6).astype(np.int64).tolist()) / 1e6)


def _counts(state: EngineState) -> dict[str, int]:
    e, x = state.engine, state.exchange.state
    counts = {
        "events": int(x[kernels.S_EVENTS]),
        "trades_without_side": int(x[kernels.S_NO_SIDE]),
        "crossed_moments": int(x[kernels.S_CROSSED]),
        "events_seen_before_they_happened": int(x[kernels.S_EARLY]),
    }
    for place, name in enumerate(_NAMES):
        if name:
            counts[name] = int(e[kernels.E_COUNTS + place])
    if state.conf[kernels.C_SOURCE] == kernels.L3:
        counts["orders_unknown"] = int(x[kernels.S_UNKNOWN])
        counts["orders_added_twice"] = int(x[kernels.S_TWICE])
        counts["orders_first_seen_in_a_change"] = int(x[kernels.S_FIRST_SEEN])
    return counts
