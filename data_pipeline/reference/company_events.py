"""Company events of the store, matched with the instruments they belong to and told apart from what prices suggest."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa

from data_pipeline.daily.events import SizedCandidate
from data_pipeline.daily.spot import SpotRows, share_class

NEAR_DAYS: Final = np.timedelta64(15, "D")
SAME_FACTOR: Final = 0.01

_NEUTRAL_KINDS = frozenset({"dividend", "jcp", "income", "monetary_update", "amortisation", "interest"})


@dataclass(frozen=True, slots=True)
class CompanyEvent:
    """One event of a company's file, of one instrument.

    Attributes
    ----------
    instrument : int
        Index in `SpotRows.instruments`.
    last_date_prior : datetime64[D]
        Last day with the right ("data com").
    approved_on : datetime64[D]
        Day of approval; NaT where the file has none.
    share_factor, cash, withholding : float
        As in `panel.CorporateEvent`.
    kind, label : str
        Kind of `schema.EVENT_SCHEMA`, and B3's own word for it.
    """

    instrument: int
    last_date_prior: np.datetime64
    approved_on: np.datetime64
    share_factor: float
    cash: float
    withholding: float
    kind: str
    label: str


def match_company_events(table: pa.Table, rows: SpotRows) -> tuple[tuple[CompanyEvent, ...], int, int]:
    """Return the events of a store's table that belong to an instrument, in order, and two counts.

    An event belongs by its ISIN; without one, by issuer code (ISIN characters 3-6) and share class of ESPECI. The
    same event told by two feeds is taken once: per instrument, day, kind and size, as often as the feed that tells
    it most often does.

    Returns
    -------
    events : tuple of CompanyEvent
    repeated, unmatched : int
        Rows left out because another feed tells them too; rows that fit no instrument.
    """
    by_isin, by_class = _owners(rows)
    told: dict[tuple[object, ...], dict[str, int]] = defaultdict(lambda: defaultdict(int))
    first: dict[tuple[object, ...], CompanyEvent] = {}
    unmatched = matched = 0
    for record in table.to_pylist():
        owners = by_isin.get(record["isin"]) or by_class.get((record["issuer"], record["share_class"]), ())
        if record["isin"] is not None and record["isin"] not in by_isin:
            owners = ()
        unmatched += not owners
        matched += len(owners)
        for instrument in owners:
            event = _event(record, instrument)
            key = (instrument, event.last_date_prior, event.kind, event.share_factor, round(event.cash, 10))
            told[key][record["feed"]] += 1
            # the later approval of two feeds is the safe one: it is never before the event was public
            if key not in first or event.approved_on > first[key].approved_on:
                first[key] = event
    events = [first[key] for key, feeds in told.items() for _ in range(max(feeds.values()))]
    events.sort(key=lambda e: (e.last_date_prior, e.instrument, e.kind, e.share_factor, e.cash))
    return tuple(events), matched - len(events), unmatched


def _event(record: dict[str, object], instrument: int) -> CompanyEvent:
    return CompanyEvent(
        instrument=instrument,
        last_date_prior=np.datetime64(str(record["last_date_prior"]), "D"),
        approved_on=np.datetime64("NaT" if record["approved_on"] is None else str(record["approved_on"]), "D"),
        share_factor=float(str(record["share_factor"])),
        cash=float(str(record["cash"])),
        withholding=float(str(record["withholding"])),
        kind=str(record["kind"]),
        label=str(record["label"]),
    )


def _owners(rows: SpotRows) -> tuple[dict[str, tuple[int, ...]], dict[tuple[str, str], tuple[int, ...]]]:
    by_isin: dict[str, set[int]] = defaultdict(set)
    by_class: dict[tuple[str, str], set[int]] = defaultdict(set)
    for instrument in range(len(rows.instruments)):
        span = rows.rows_of(instrument)
        for isin in set(rows.isin[span]):
            by_isin[isin].add(instrument)
            for specification in set(rows.specification[span]):
                by_class[isin[2:6], share_class(specification)].add(instrument)
    return (
        {isin: tuple(sorted(owners)) for isin, owners in by_isin.items()},
        {key: tuple(sorted(owners)) for key, owners in by_class.items()},
    )


def unexplained(sized: Sequence[SizedCandidate], events: Sequence[CompanyEvent]) -> tuple[SizedCandidate, ...]:
    """Return the candidates that no company event accounts for, in order.

    A company event accounts for a candidate when its last day with the right lies in the gap between the two trades.
    Where the state has newly B or G, only an event that is not plain cash does. A factor that the file gives too, up
    to `NEAR_DAYS` days away, is the same event with a date in doubt: the file's date is kept and nothing is applied
    twice.
    """
    by_instrument: dict[int, list[CompanyEvent]] = defaultdict(list)
    for event in events:
        by_instrument[event.instrument].append(event)
    return tuple(item for item in sized if not _explained(item, by_instrument[item.candidate.instrument]))


def _explained(item: SizedCandidate, events: Sequence[CompanyEvent]) -> bool:
    candidate = item.candidate
    needs_shares = bool(set("BG") & set(candidate.new_letters))
    return any(
        (
            candidate.previous_session <= event.last_date_prior < candidate.session
            and not (needs_shares and event.kind in _NEUTRAL_KINDS)
        )
        or _is_same_split(item, event)
        for event in events
    )


def _is_same_split(item: SizedCandidate, event: CompanyEvent) -> bool:
    if item.share_factor == 1.0 or event.share_factor == 1.0:
        return False
    near = abs(event.last_date_prior - item.candidate.previous_session) <= NEAR_DAYS
    return bool(near and abs(event.share_factor / item.share_factor - 1.0) <= SAME_FACTOR)
