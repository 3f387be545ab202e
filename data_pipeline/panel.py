"""The clean daily panel: what the market showed, session by session, unadjusted, plus what the companies did.

Everything that follows (views, pods, calibration, accounting) reads this object and nothing else of the data.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

FloatTN = NDArray[np.float64]
"""Shape (sessions, instruments), float64."""


@dataclass(frozen=True, slots=True)
class CorporateEvent:
    """One corporate event of one instrument, placed on the panel's axes.

    Attributes
    ----------
    instrument : int
        Column of the panel.
    ex_session : int
        Row of the first session that trades without the right (the ex session, "data ex").
    known_session : int
        Row of the first close at which the event, with this size, was public. A view at an earlier close
        does not know of it.
    share_factor : float
        New shares per old share (2.0 for a 2:1 split, 0.1 for a 10:1 reverse split, 1.0 for a cash event).
    cash : float
        Gross cash in R$ per old share (0.0 for a pure share event).
    withholding : float
        Fraction of `cash` withheld at source (0.15 for JCP, else 0.0).
    kind : str
        "split", "reverse_split", "bonus", "dividend", "jcp", "capital_return", "spin_off", "unsized", ...
        An "unsized" candidate has share_factor 1.0 and cash 0.0: something happened, its size is unknown.
    confidence : float
        In [0, 1]; 1.0 for an event file, below that for a detection.
    source : str
        Where the size came from, in words a quality page can print.
    """

    instrument: int
    ex_session: int
    known_session: int
    share_factor: float
    cash: float
    withholding: float
    kind: str
    confidence: float
    source: str


@dataclass(frozen=True, slots=True)
class DailyPanel:
    """Unadjusted daily market data on a (sessions, instruments) grid.

    Prices are R$ per share (already divided by the quotation factor); NaN where there was no trade (open, high,
    low, close, vwap, trade_count) or no quote (bid, ask). `volume` (shares) and `traded_value` (R$) are 0 where
    the instrument did not trade. `risk_free[t]` is the simple return that cash earns from the close of session
    t-1 to the close of session t (CDI). Arrays are read-only.
    """

    sessions: NDArray[np.datetime64]
    instruments: tuple[str, ...]
    open: FloatTN
    high: FloatTN
    low: FloatTN
    close: FloatTN
    vwap: FloatTN
    bid: FloatTN
    ask: FloatTN
    volume: FloatTN
    traded_value: FloatTN
    trade_count: FloatTN
    lot_size: NDArray[np.int64]
    risk_free: NDArray[np.float64]
    events: tuple[CorporateEvent, ...] = ()
    provenance: Mapping[str, str] = field(default_factory=dict)
    rule_counts: Mapping[str, int] = field(default_factory=dict)
