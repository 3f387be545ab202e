"""Everything that the rules find in the spot rows of a store, before it becomes a grid."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from data_pipeline.daily.events import SizedCandidate, find_candidates, size_candidates
from data_pipeline.daily.renames import Rename, detect_renames, renames_to_chain
from data_pipeline.daily.spot import SPOT_COLUMNS, SpotRows, chain_instruments, spot_rows
from data_pipeline.daily.trade_counts import unwrap_trade_counts
from data_pipeline.reference.company_events import CompanyEvent, match_company_events, unexplained
from data_pipeline.store import Store

CONTEXT: Final = np.timedelta64(180, "D")
"""Days read before the first session asked for: the rules look back, and an event may lie across the border."""


@dataclass(frozen=True, slots=True)
class SpotHistory:
    """Spot rows with renamed instruments joined, and what the rules found in them.

    Attributes
    ----------
    sessions : (S,) datetime64[D]
        Sessions of the market, the context before the first one asked for included.
    rows : SpotRows
    renames : tuple of Rename
        Every likely match; those in `joined` were joined.
    joined : tuple of Rename
    candidates : tuple of SizedCandidate
        Changes of DISMES that no company event explains.
    company_events : tuple of CompanyEvent
    trade_count : (R,) int64
        Unwrapped.
    unwrapped : (R,) bool
        Rows whose count was unwrapped.
    dropped_rows, repeated_events, unmatched_events : int
        Rows of an old name that traded on, company events told twice, company events of nobody here.
    """

    sessions: NDArray[np.datetime64]
    rows: SpotRows
    renames: tuple[Rename, ...]
    joined: tuple[Rename, ...]
    candidates: tuple[SizedCandidate, ...]
    company_events: tuple[CompanyEvent, ...]
    trade_count: NDArray[np.int64]
    unwrapped: NDArray[np.bool_]
    dropped_rows: int
    repeated_events: int
    unmatched_events: int


def read_spot_history(store: Store, start: np.datetime64 | None, end: np.datetime64 | None) -> SpotHistory:
    """Return the spot history of a store from `CONTEXT` before start to end."""
    first = None if start is None else start - CONTEXT
    sessions = store.sessions()
    if first is not None:
        sessions = sessions[sessions >= first]
    if end is not None:
        sessions = sessions[sessions <= end]
    table = store.read(list(SPOT_COLUMNS), first, end, market_types=[10])
    return spot_history(table, sessions, store.events())


def spot_history(table: pa.Table, sessions: NDArray[np.datetime64], company_table: pa.Table) -> SpotHistory:
    """Return what the rules find in a quote table, with the company events of `schema.EVENT_SCHEMA`."""
    rows = spot_rows(table)
    renames = detect_renames(rows, sessions)
    joined = renames_to_chain(renames)
    rows, dropped = chain_instruments(rows, {rename.new: rename.old for rename in joined})
    company_events, repeated, unmatched = match_company_events(company_table, rows)
    candidates = find_candidates(rows, sessions)
    sized = size_candidates(candidates, [str(rows.isin[c.row][2:6]) for c in candidates])
    trade_count, unwrapped = unwrap_trade_counts(rows)
    return SpotHistory(
        sessions=sessions,
        rows=rows,
        renames=renames,
        joined=joined,
        candidates=unexplained(sized, company_events),
        company_events=company_events,
        trade_count=trade_count,
        unwrapped=unwrapped,
        dropped_rows=dropped,
        repeated_events=repeated,
        unmatched_events=unmatched,
    )
