"""From the store to the panel: spot rows on a grid, events on its axes, cash, and where all of it came from."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict
from typing import Final

import numpy as np
from numpy.typing import NDArray

from data_pipeline.daily.events import SizedCandidate, share_event_kind
from data_pipeline.daily.panel import CorporateEvent, DailyPanel
from data_pipeline.daily.renames import Rename
from data_pipeline.daily.risk_free import RULE_CARRIED, RiskFree, risk_free_returns
from data_pipeline.daily.spot_history import SpotHistory, read_spot_history
from data_pipeline.daily.trade_counts import RULE_UNWRAPPED
from data_pipeline.daily.universe import UniverseRules, choose_instruments
from data_pipeline.errors import DataError
from data_pipeline.reference.company_events import CompanyEvent
from data_pipeline.store import Store

RULES_VERSION: Final = "1"
"""Version of the rules between the store and the panel; part of the provenance."""

Day = np.datetime64 | str

USUAL_LOT: Final = 100
"""Round lot of shares and units on B3's spot market."""


def build_panel(
    store: Store,
    *,
    start: Day | None = None,
    end: Day | None = None,
    universe: UniverseRules | None = None,
    risk_free_annual: float | None = None,
) -> DailyPanel:
    """Return the daily panel of a store's equities.

    Parameters
    ----------
    store : Store
        Ingested COTAHIST, company events and CDI.
    start, end : date, optional
        First and last session, both included; all by default.
    universe : UniverseRules, optional
        Which instruments become columns; every equity of the spot market by default.
    risk_free_annual : float, optional
        Annual rate on base 252 for sessions before the store's first CDI.

    Raises
    ------
    DataError
        When no session or instrument is left, a session has no CDI and no annual rate is given, or a cash event is
        not below the price.
    ValueError
        When end is before start, or a ticker asked for is not in the data.

    Notes
    -----
    Prices are per share (the file's price over its quotation factor). The average price is traded value over shares,
    both exact, and not PREMED, which is truncated to the cent. The columns are in order of name; a renamed share keeps
    the first name it has in the data.
    """
    first, last = (None if day is None else np.datetime64(str(day), "D") for day in (start, end))
    if first is not None and last is not None and last < first:
        raise ValueError(f"end must not be before start {first}; was {last}")
    rules = UniverseRules() if universe is None else universe
    history = read_spot_history(store, first, last)
    sessions = history.sessions if first is None else history.sessions[history.sessions >= first]
    if sessions.size == 0:
        asked = f"{first or 'its beginning'} to {last or 'its end'}"
        raise DataError(f"the store has no session from {asked}; it has {_span(store.sessions())}")
    risk_free = risk_free_returns(sessions, store.cdi(), risk_free_annual)
    provenance = {"store": store.manifest.daily_hash, "start": str(first), "end": str(last)}
    return panel_from_history(history, sessions, rules, risk_free, provenance)


def panel_from_history(
    history: SpotHistory,
    sessions: NDArray[np.datetime64],
    universe: UniverseRules,
    risk_free: RiskFree,
    provenance: dict[str, str],
) -> DailyPanel:
    """Return the panel of a spot history on the given sessions."""
    rows = history.rows
    chosen, member_from = choose_instruments(universe, rows, sessions)
    if chosen.size == 0:
        raise DataError("no instrument meets the universe rules: lower min_median_value or min_presence")
    column = np.full(len(rows.instruments), -1, dtype=np.int64)
    column[chosen] = np.arange(chosen.size)
    place = column[rows.instrument_of_row()]
    inside = (place >= 0) & (rows.session >= sessions[0]) & (rows.session <= sessions[-1])
    cell = (np.searchsorted(sessions, rows.session[inside]), place[inside])
    shape = (sessions.size, int(chosen.size))

    def grid(values: NDArray[np.float64], absent: float) -> NDArray[np.float64]:
        result = np.full(shape, absent)
        result[cell] = values[inside]
        return result

    quantity = rows.quantity.astype(np.float64)
    close = grid(rows.close, np.nan)
    events, counts = _place_events(history, sessions, column, close)
    counts[RULE_UNWRAPPED] = int(np.sum(history.unwrapped & inside))
    counts[RULE_CARRIED] = len(risk_free.carried)
    counts["quotes_missing"] = int(np.sum(np.isnan(rows.bid[inside])) + np.sum(np.isnan(rows.ask[inside])))
    counts["renames_joined"] = sum(int(column[_root(rename, history)] >= 0) for rename in history.joined)
    counts["rows_of_a_replaced_name_dropped"] = history.dropped_rows
    counts["company_events_repeated"] = history.repeated_events
    counts["company_events_unmatched"] = history.unmatched_events
    return DailyPanel(
        sessions=sessions,
        instruments=tuple(rows.instruments[i] for i in chosen),
        open=grid(rows.open, np.nan),
        high=grid(rows.high, np.nan),
        low=grid(rows.low, np.nan),
        close=close,
        vwap=grid(rows.traded_value / quantity, np.nan),
        bid=grid(rows.bid, np.nan),
        ask=grid(rows.ask, np.nan),
        volume=grid(quantity, 0.0),
        traded_value=grid(rows.traded_value, 0.0),
        trade_count=grid(history.trade_count.astype(np.float64), np.nan),
        lot_size=np.array([lot_size(int(rows.quantity[rows.offsets[i]])) for i in chosen], dtype=np.int64),
        risk_free=risk_free.returns,
        member_from=member_from,
        events=events,
        provenance=provenance
        | {
            "rules": RULES_VERSION,
            "risk_free": risk_free.source,
            "universe": json.dumps(asdict(universe), sort_keys=True),
            "renames": json.dumps({r.new: r.old for r in history.joined}, sort_keys=True),
        },
        rule_counts=dict(sorted(counts.items())),
    )


def lot_size(first_volume: int) -> int:
    """Return the round lot of an instrument: the largest power of ten, at most 100, that divides its first volume.

    Later volumes would tell it more surely, but an account of an early session could not have known them. A lot of 1
    or 10 is taken for a larger one by chance in one share of ten: orders are then coarser than they need be.
    """
    lot = USUAL_LOT
    while first_volume % lot:
        lot //= 10
    return lot


def _root(rename: Rename, history: SpotHistory) -> int:
    """Return the instrument, under its first name, that a rename belongs to."""
    older = {other.new: other.old for other in history.joined}
    name = rename.old
    while name in older:
        name = older[name]
    return history.rows.instruments.index(name)


def _place_events(
    history: SpotHistory, sessions: NDArray[np.datetime64], column: NDArray[np.int64], close: NDArray[np.float64]
) -> tuple[tuple[CorporateEvent, ...], Counter[str]]:
    counts: Counter[str] = Counter(events_from_company_file=0, events_sized_from_prices=0, events_unsized=0)
    placed: list[CorporateEvent] = []
    for event in history.company_events:
        ex = int(np.searchsorted(sessions, event.last_date_prior, side="right"))
        if column[event.instrument] >= 0 and 0 < ex < sessions.size:
            placed.append(_from_company(event, int(column[event.instrument]), ex, sessions))
            counts["events_from_company_file"] += 1
    for item in history.candidates:
        where = int(column[item.candidate.instrument])
        if where >= 0 and item.candidate.session >= sessions[0]:
            placed.append(_from_prices(item, where, int(np.searchsorted(sessions, item.candidate.session))))
            counts["events_unsized" if item.share_factor == 1.0 else "events_sized_from_prices"] += 1
    for rename in history.joined:
        where = int(column[_root(rename, history)])
        if where >= 0 and rename.share_factor != 1.0 and rename.session >= sessions[0]:
            placed.append(_from_rename(rename, where, int(np.searchsorted(sessions, rename.session))))
            counts["events_sized_from_prices"] += 1
    placed.sort(key=lambda e: (e.ex_session, e.instrument, e.kind, e.share_factor, e.cash))
    _refuse_impossible_cash(placed, history, sessions, column, close)
    return tuple(placed), counts


def _from_company(event: CompanyEvent, where: int, ex: int, sessions: NDArray[np.datetime64]) -> CorporateEvent:
    approved = event.approved_on
    # without a day of approval the event is taken as public when its effect is
    known = ex if np.isnat(approved) else int(np.searchsorted(sessions, approved))
    return CorporateEvent(
        instrument=where,
        ex_session=ex,
        known_session=known,
        share_factor=event.share_factor,
        cash=event.cash,
        withholding=event.withholding,
        kind=event.kind,
        confidence=1.0,
        source=f"company event file: {event.label}, last day with the right {event.last_date_prior}",
    )


def _from_prices(item: SizedCandidate, where: int, ex: int) -> CorporateEvent:
    return CorporateEvent(where, ex, ex, item.share_factor, 0.0, 0.0, item.kind, item.confidence, item.source)


def _from_rename(rename: Rename, where: int, ex: int) -> CorporateEvent:
    kind = share_event_kind(rename.share_factor)
    source = f"renamed to {rename.new}: {rename.source}"
    return CorporateEvent(where, ex, ex, rename.share_factor, 0.0, 0.0, kind, rename.confidence, source)


def _refuse_impossible_cash(
    placed: list[CorporateEvent],
    history: SpotHistory,
    sessions: NDArray[np.datetime64],
    column: NDArray[np.int64],
    close: NDArray[np.float64],
) -> None:
    for event in placed:
        past = close[: event.ex_session, event.instrument]
        past = past[~np.isnan(past)]
        if event.cash > 0.0 and past.size and event.cash >= past[-1]:
            name = history.rows.instruments[int(np.flatnonzero(column == event.instrument)[0])]
            raise DataError(
                f"{name}: cash {event.cash:g} per share, ex {sessions[event.ex_session]}, must be below the last close "
                f"{past[-1]:g}: correct the company event file ({event.source})"
            )


def _span(sessions: NDArray[np.datetime64]) -> str:
    return f"{sessions[0]} to {sessions[-1]}" if sessions.size else "none"
