"""Does a rule, or the engine, use market events before they happen? Others after an instant, the same orders up to it.

    assert_no_intraday_lookahead(rule, events, instrument, span)
    assert_no_intraday_lookahead(lambda events: fit_on(events), events, instrument, span)

A compiled rule sees only what the engine shows it; what leaks in practice is how it was made. So the rule may be given
as a function of the session's events, which is called again with the changed ones.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from backtests.audit.accounts import spread
from backtests.audit.decisions import Difference
from backtests.audit.lookahead import LookaheadError
from backtests.intraday.outcome import SessionOutcome
from backtests.intraday.settings import FillSettings, TradingSpan
from backtests.intraday.simulator import simulate_session
from data_pipeline.book.events import BUY, EXCH, KIND_MASK, LOCAL, SELL, TRADE
from data_pipeline.book.grid import tick_grid
from data_pipeline.book.replay import Source, book_source
from data_pipeline.errors import DataError
from strategies.intraday.rule import Instrument, Rule

Events = NDArray[Any]
RuleOf = Callable[[Events], Rule]
Feed = Callable[[Events], Events]
EventVariant = Literal["scramble", "truncate", "delay"]
EVENT_VARIANTS: Final[tuple[EventVariant, ...]] = ("scramble", "truncate", "delay")
EVENT_FIELDS: Final = ("px", "qty", "side")
"""What can be scrambled on its own; a delay changes the times alone."""

DELAY_NS: Final = 1_000_000_000
_REQUEST: Final = ("order_id", "side", "tick", "lots", "kind", "sent")
_ENDED: Final = (*_REQUEST, "arrived", "ended", "filled", "end", "ahead", "ahead_end")
_NEVER: Final = np.iinfo(np.int64).max


def first_after(events: Events, instant: int) -> int:
    """Row from which on nothing was seen or happened by `instant`, by either clock."""
    return int(np.searchsorted(_suffix_clock(events), instant, side="right"))


def vary_events(
    events: Events,
    row: int,
    variant: EventVariant,
    tick_size: float,
    *,
    seed: int = 0,
    fields: Sequence[str] = EVENT_FIELDS,
) -> Events:
    """The events with others from `row` on; those before keep their bytes.

    "scramble" gives other prices (on the tick), quantities and sides of trades, "truncate" ends there, "delay" moves
    both clocks by a second.

    Raises
    ------
    ValueError
        When `row` is no row of the events.
    """
    if not 0 <= row < events.size:
        raise ValueError(f"row must be one of the events, in [0, {events.size}); was {row}")
    if variant == "truncate":
        return events[:row].copy()
    varied = events.copy()
    future = varied[row:]
    if variant == "delay":
        future["exch_ts"] += DELAY_NS
        future["local_ts"] += DELAY_NS
        return varied
    random = np.random.default_rng([seed, row])
    moves, factors = random.integers(1, 20, future.size), random.integers(2, 7, future.size)
    turned = (future["ev"] & KIND_MASK == TRADE) & (random.random(future.size) < 0.5)
    if "px" in fields:
        known = np.isfinite(future["px"])
        grid = tick_grid(tick_size)
        future["px"][known] = grid.prices(grid.ticks(future["px"][known]) + moves[known])
    if "qty" in fields:
        future["qty"] *= factors
    if "side" in fields:
        sided = turned & (future["ev"] & (BUY | SELL) != 0)
        future["ev"][sided] ^= np.uint64(BUY | SELL)
    return varied


def assert_no_intraday_lookahead(
    rule: Rule | RuleOf,
    events: Events,
    instrument: Instrument,
    span: TradingSpan,
    settings: FillSettings | None = None,
    *,
    cuts: Sequence[int] | None = None,
    seed: int = 0,
) -> None:
    """Pass when requests, fills and samples up to each cut do not depend on later events, to the byte.

    Parameters
    ----------
    rule : Rule, or a function of the events that makes one
    events : array of EVENT_DTYPE
        One session.
    cuts : sequence of int, optional
        Instants, ns since 1970 UTC; default: three at which the rule sends an order, the first and last among them.

    Raises
    ------
    LookaheadError
        Naming the rule, the cut, the first request, fill or sample that differs, and the fields that change it.
    ValueError
        When the rule sends no order, or no event comes after a cut: nothing would be tested.
    """
    made = rule if callable(rule) else lambda _: rule
    name = made(events).name
    outcome, sent = run_once(made, events, instrument, span, settings)
    chosen = spread(sent, 3) if cuts is None else list(cuts)
    if not chosen or outcome.orders.size == 0:
        raise ValueError(f"events must make rule {name!r} send orders before the last of them, or nothing is tested")
    for instant in chosen:
        for variant in EVENT_VARIANTS:
            found, fields = compare_events(
                made, events, instrument, span, settings, instant, variant, outcome=outcome, seed=seed
            )
            if found is not None:
                raise LookaheadError(
                    f"rule {name!r}: {found.instrument} at {found.session} changed when events after {told(instant)} "
                    f"did ({variant}): {found.before} -> {found.after}; it reads {', '.join(fields)}"
                )


def _as_they_are(events: Events) -> Events:
    return events


def run_once(
    made: RuleOf,
    events: Events,
    instrument: Instrument,
    span: TradingSpan,
    settings: FillSettings | None,
    feed: Feed = _as_they_are,
) -> tuple[SessionOutcome, list[int]]:
    """The session as it is, and the instants of its orders that have events behind them.

    `feed` makes what the engine takes out of the events, as where quotes are put between trades.
    """
    fed = feed(events)
    outcome = _run(made, fed, instrument, span, settings, _source(fed))
    clock = _suffix_clock(events)
    instants = np.unique(outcome.orders["sent"])
    return outcome, instants[np.searchsorted(clock, instants, side="right") < events.size].tolist()


def compare_events(
    made: RuleOf,
    events: Events,
    instrument: Instrument,
    span: TradingSpan,
    settings: FillSettings | None,
    instant: int,
    variant: EventVariant,
    *,
    outcome: SessionOutcome,
    seed: int = 0,
    feed: Feed = _as_they_are,
) -> tuple[Difference | None, tuple[str, ...]]:
    """The first difference up to `instant` when later events are others, and the fields that make one alone."""
    row, source = first_after(events, instant), _source(feed(events))
    if row >= events.size:
        raise ValueError(f"cuts must have events behind them; none comes after {told(instant)}")

    def compare(changed: Events) -> Difference | None:
        size = changed.size
        while True:
            try:
                after = _run(made, feed(changed[:size]), instrument, span, settings, source)
            except Exception as error:  # noqa: BLE001  a rule may raise anything
                # an invented future may be one in which a rule cannot go on: half of it is still another future
                if size <= row:
                    return Difference(told(instant), "session", "an outcome", f"{type(error).__name__}: {error}")
                size = row + (size - row) // 2
            else:
                return outcome_difference(outcome, after, instant)

    tick = instrument.tick_size
    found = compare(vary_events(events, row, variant, tick, seed=seed))
    if found is None:
        return None, ()
    alone = (
        name for name in EVENT_FIELDS if compare(vary_events(events, row, "scramble", tick, seed=seed, fields=[name]))
    )
    guilty = tuple(alone) or (("times",) if variant == "delay" else ("the number of events",))
    return found, guilty


def outcome_difference(before: SessionOutcome, after: SessionOutcome, until: int) -> Difference | None:
    """The first request, ended order, fill or sample up to `until` in which two outcomes differ to the byte."""
    found: list[tuple[int, Difference]] = []
    for what, clock, columns in (
        ("orders", "sent", _REQUEST),
        ("orders", "ended", _ENDED),
        ("fills", "exch_ts", None),
        ("samples", "local_ts", None),
    ):
        old, new = (_kept(getattr(outcome, what), clock, columns, until) for outcome in (before, after))
        shared = min(old.size, new.size)
        apart = [row for row in range(shared) if old[row].tobytes() != new[row].tobytes()]
        if not apart and old.size == new.size:
            continue
        row = apart[0] if apart else shared
        at = int((old if row < old.size else new)[clock][row])
        told_rows = [_row_words(part, row) for part in (old, new)]
        found.append((at, Difference(told(at), what, *told_rows)))
    return min(found, key=lambda item: item[0])[1] if found else None


def told(instant: int) -> str:
    """An instant for people, UTC to the nanosecond."""
    return str(np.datetime64(instant, "ns"))


def _kept(rows: Events, clock: str, columns: Sequence[str] | None, until: int) -> Events:
    chosen = rows[(rows[clock] >= 0) & (rows[clock] <= until)]
    if columns is None:
        return chosen
    plain = np.zeros(chosen.size, dtype=[(name, chosen.dtype[name]) for name in columns])
    for name in columns:
        plain[name] = chosen[name]
    return plain


def _row_words(rows: Events, row: int) -> str:
    if row >= rows.size:
        return "no row"
    return " ".join(f"{name}={rows[name][row]}" for name in rows.dtype.names or () if "ts" not in name)


def _run(
    made: RuleOf,
    events: Events,
    instrument: Instrument,
    span: TradingSpan,
    settings: FillSettings | None,
    source: Source,
) -> SessionOutcome:
    return simulate_session(events, made(events), instrument, span, settings, source=source)


def _source(events: Events) -> Source:
    try:
        return book_source(events)
    except DataError:  # trades alone build no book
        return "l2"


def _suffix_clock(events: Events) -> NDArray[np.int64]:
    """For each row the earliest time, by either clock, of it and all rows behind it; not decreasing."""
    exchange = np.where(events["ev"] & EXCH != 0, events["exch_ts"], _NEVER)
    local = np.where(events["ev"] & LOCAL != 0, events["local_ts"], _NEVER)
    return np.minimum.accumulate(np.minimum(exchange, local)[::-1])[::-1]
