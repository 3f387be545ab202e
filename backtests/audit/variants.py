"""Other futures and other pasts of a panel: what a decision must not depend on is changed, all else keeps its bytes.

    scramble   every later number is another valid one
    truncate   later rows do not exist
    delay      everything later happens, and becomes known, five sessions later
    forget     the rows before a session are empty
    outside    every number in the rows that do not train is another valid one

An event whose ex session has passed while its size is not public yet is a part of the future too. An account books it
on its ex session all the same (the shares really did split), so it is changed only where decisions are replayed with
the account held fixed (`unpublished`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from data_pipeline.daily.panel import GRID_FIELDS, PRICE_FIELDS, CorporateEvent, DailyPanel

Variant = Literal["scramble", "truncate", "delay"]
VARIANTS: Final[tuple[Variant, ...]] = get_args(Variant)

UNPUBLISHED: Final = "events (before they were public)"
FIELDS: Final = (*GRID_FIELDS, "risk_free", "events", UNPUBLISHED, "member_from", "sessions")
"""What can be scrambled on its own, to name what a decision has read."""
PAST_FIELDS: Final = (*GRID_FIELDS, "risk_free")
"""What can be forgotten on its own."""

OUTSIDE_FIELDS: Final = (*GRID_FIELDS, "risk_free", "events")
"""What can be scrambled on its own where nothing trains."""

DELAY: Final = 5
"""Sessions by which a delayed future is late."""


def vary(panel: DailyPanel, after: int, variant: Variant, *, seed: int = 0, unpublished: bool = False) -> DailyPanel:
    """The panel with another future after row `after`; rows up to it keep their bytes.

    Parameters
    ----------
    unpublished : bool
        Also change events that are ex by row `after` and public only later.

    Raises
    ------
    ValueError
        When no row comes after `after`.
    """
    _check(panel, after)
    if variant == "truncate":
        return _truncated(panel, after, unpublished)
    if variant == "delay":
        return _delayed(panel, after, unpublished)
    return scramble_future(panel, after, seed, FIELDS if unpublished else [f for f in FIELDS if f != UNPUBLISHED])


def scramble_future(panel: DailyPanel, after: int, seed: int = 0, fields: Sequence[str] | None = None) -> DailyPanel:
    """The panel with every row later than `after` replaced by other, valid numbers; earlier rows keep their bytes.

    Prices jump, some trades vanish, volumes and the risk-free return are drawn anew, events of later ex sessions are
    replaced by others, later members of the universe join at other sessions, later sessions have other dates.

    Parameters
    ----------
    fields : sequence of str, optional
        Of `FIELDS`; only these are changed. Default: all but the unpublished events. While events stay, prices only
        jump upwards and no trade vanishes: cash must stay below the price that it is taken from.
    """
    _check(panel, after)
    chosen = [name for name in FIELDS if name != UNPUBLISHED] if fields is None else list(fields)
    free = "events" in chosen
    rows, n = panel.sessions.size - after - 1, len(panel.instruments)
    random = np.random.default_rng([seed, after])
    jump, silent = np.exp(random.normal(0.0, 0.8, (rows, n))), random.random((rows, n)) < 0.1
    if not free:
        jump, silent = np.maximum(jump, 1.0 / jump) + 0.01, np.zeros_like(silent)
    changed: dict[str, Any] = {}
    for place, name in enumerate(GRID_FIELDS):
        if name in chosen:
            changed[name] = _scrambled(panel, name, after, jump, silent, np.random.default_rng([seed, after, place]))
    if "risk_free" in chosen:
        changed["risk_free"] = _joined(panel.risk_free, after, random.uniform(0.0, 0.01, rows))
    if "member_from" in chosen:
        joins = random.integers(after + 1, panel.sessions.size, n)
        changed["member_from"] = np.where(panel.member_from > after, joins, panel.member_from)
    if "sessions" in chosen:
        shift = np.cumsum(random.integers(1, 4, rows)).astype("timedelta64[D]")
        changed["sessions"] = _joined(panel.sessions, after, panel.sessions[after + 1 :] + shift)
    changed["events"] = tuple(_scrambled_events(panel, after, free, UNPUBLISHED in chosen, random))
    return dataclasses.replace(panel, **changed)


def forget_before(panel: DailyPanel, first: int, fields: Sequence[str] = PAST_FIELDS) -> DailyPanel:
    """The panel with every row before `first` empty: no price, no volume, no interest.

    Events stay, and so does the close that a cash event is measured by: the factors of later rows keep their bytes.
    """
    if not 0 < first < panel.sessions.size:
        raise ValueError(f"first must be in [1, {panel.sessions.size}), so that rows come before it; was {first}")
    changed: dict[str, Any] = {}
    for name in GRID_FIELDS:
        if name in fields:
            values = np.array(getattr(panel, name))
            values[:first] = np.nan if name in PRICE_FIELDS or name == "trade_count" else 0.0
            changed[name] = values
    if "close" in changed:
        _keep_references(panel, changed["close"], panel.sessions.size)
    if "risk_free" in fields:
        changed["risk_free"] = np.where(np.arange(panel.sessions.size) < first, 0.0, panel.risk_free)
    return dataclasses.replace(panel, **changed)


def scramble_outside(
    panel: DailyPanel, ranges: Sequence[range], seed: int = 0, fields: Sequence[str] = OUTSIDE_FIELDS
) -> DailyPanel:
    """The panel with other numbers in every row outside of `ranges`; rows inside keep their bytes.

    Prices jump upwards, volumes and rates are drawn anew, the cash of events is halved. Before a window in one piece,
    the closes that cash is measured by and the events stay: the factors of the rows inside keep their bytes.
    """
    random = np.random.default_rng(seed)
    outside = np.ones(panel.sessions.size, dtype=np.bool_)
    for piece in ranges:
        outside[piece.start : piece.stop] = False
    first = ranges[0].start if len(ranges) == 1 else -1
    jump = np.exp(np.abs(random.normal(0.0, 0.8, panel.close.shape))) + 0.01
    changed: dict[str, Any] = {}
    for place, name in enumerate(GRID_FIELDS):
        if name in fields:
            values = np.array(getattr(panel, name))
            drawn = np.random.default_rng([seed, place]).integers(1, 10_000_000, values.shape)
            values[outside] = (values * jump if name in PRICE_FIELDS else drawn)[outside]
            changed[name] = values
    if "close" in changed:
        _keep_references(panel, changed["close"], first)
    if "risk_free" in fields:
        changed["risk_free"] = np.where(outside, random.uniform(0.0, 0.01, outside.size), panel.risk_free)
    if "events" in fields:
        changed["events"] = tuple(
            dataclasses.replace(event, cash=0.5 * event.cash)
            if outside[event.ex_session] and event.ex_session > first
            else event
            for event in panel.events
        )
    return dataclasses.replace(panel, **changed)


def _keep_references(panel: DailyPanel, close: NDArray[np.float64], last: int) -> None:
    """Put the closes that events up to row `last` are measured by back in place."""
    for event in panel.events:
        traded = np.flatnonzero(~np.isnan(panel.close[: event.ex_session, event.instrument]))
        if event.ex_session <= last and traded.size:
            cell = int(traded[-1]), event.instrument
            close[cell] = panel.close[cell]


def _check(panel: DailyPanel, after: int) -> None:
    if not 0 <= after < panel.sessions.size - 1:
        raise ValueError(f"after must be in [0, {panel.sessions.size - 1}), a row with others behind it; was {after}")


def _scrambled(
    panel: DailyPanel,
    name: str,
    after: int,
    jump: NDArray[np.float64],
    silent: NDArray[np.bool_],
    random: np.random.Generator,
) -> NDArray[np.float64]:
    values = np.array(getattr(panel, name))
    future = values[after + 1 :]
    if name not in PRICE_FIELDS:
        future[:] = np.where(silent, 0.0, random.integers(1, 10_000_000, future.shape))
        return values
    highest = np.nan_to_num(np.nanmax(np.vstack([np.zeros(values.shape[1]), values]), axis=0))
    filled = np.where(np.isnan(future), np.where(highest > 0.0, highest, 7.0), future)
    future[:] = np.where(silent, np.nan, filled * jump)
    return values


def _scrambled_events(
    panel: DailyPanel, after: int, later: bool, unpublished: bool, random: np.random.Generator
) -> Iterator[CorporateEvent]:
    for event in panel.events:
        if event.ex_session > after:
            if not later:
                yield event
        elif unpublished and event.known_session > after:
            yield dataclasses.replace(event, share_factor=2.0 * event.share_factor, cash=0.5 * event.cash)
        else:
            yield event
    for row in range(after + 1, panel.sessions.size, 3) if later else ():
        column, factor = int(random.integers(len(panel.instruments))), float(random.choice([0.1, 2.0]))
        yield CorporateEvent(column, row, row, factor, 0.0, 0.0, "split", 1.0, "drawn")


def _truncated(panel: DailyPanel, after: int, unpublished: bool) -> DailyPanel:
    rows = slice(after + 1)
    changed = {name: getattr(panel, name)[rows] for name in ("sessions", "risk_free", *GRID_FIELDS)}
    kept = (event for event in panel.events if event.ex_session <= after)
    events = tuple(event for event in kept if not (unpublished and event.known_session > after))
    return dataclasses.replace(panel, **changed, events=events)


def _delayed(panel: DailyPanel, after: int, unpublished: bool) -> DailyPanel:
    size = panel.sessions.size
    late = min(DELAY, size - after - 1)
    changed: dict[str, Any] = {}
    for name in (*GRID_FIELDS, "risk_free"):
        values = np.array(getattr(panel, name))
        empty = np.nan if name in PRICE_FIELDS or name == "trade_count" else 0.0
        values[after + 1 + late :] = getattr(panel, name)[after + 1 : size - late]
        values[after + 1 : after + 1 + late] = empty
        changed[name] = values
    changed["member_from"] = np.where(panel.member_from > after, panel.member_from + late, panel.member_from)
    events: Iterable[CorporateEvent] = (
        _event_later(event, after, late, unpublished)
        for event in panel.events
        if event.ex_session < size - late or event.ex_session <= after
    )
    return dataclasses.replace(panel, **changed, events=tuple(events))


def _event_later(event: CorporateEvent, after: int, late: int, unpublished: bool) -> CorporateEvent:
    known = event.known_session + late
    if event.ex_session > after:
        return dataclasses.replace(event, ex_session=event.ex_session + late, known_session=known)
    return dataclasses.replace(event, known_session=known) if unpublished and event.known_session > after else event


def _joined(values: NDArray[Any], after: int, future: NDArray[Any]) -> NDArray[Any]:
    return np.concatenate([values[: after + 1], future]).astype(values.dtype)
