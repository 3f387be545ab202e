"""The clean daily panel: what the market showed, session by session, unadjusted, plus what the companies did.

Everything that follows (views, pods, calibration, accounting) reads this object and nothing else of the data.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from data_pipeline.daily.adjust import AdjustmentFactors, compute_factors

FloatTN = NDArray[np.float64]
"""Shape (sessions, instruments), float64."""

PRICE_FIELDS = ("open", "high", "low", "close", "vwap", "bid", "ask")
"""Panel fields in R$ per share: NaN where absent, divided by share factors when adjusted."""

GRID_FIELDS = (*PRICE_FIELDS, "volume", "traded_value", "trade_count")
"""Every (sessions, instruments) field of a panel."""


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

    def __post_init__(self) -> None:
        """Check the event's own ranges; its place is checked by the panel."""
        if not (math.isfinite(self.share_factor) and self.share_factor > 0.0):
            raise ValueError(f"share_factor must be positive and finite; was {self.share_factor}")
        if not (math.isfinite(self.cash) and self.cash >= 0.0):
            raise ValueError(f"cash must be zero or positive and finite; was {self.cash}")
        if not 0.0 <= self.withholding < 1.0:
            raise ValueError(f"withholding must be in [0, 1); was {self.withholding}")
        if not 0.0 <= self.confidence <= 1.0:
            raise ValueError(f"confidence must be in [0, 1]; was {self.confidence}")


@dataclass(frozen=True, slots=True, eq=False)
class DailyPanel:
    """Unadjusted daily market data on a (sessions, instruments) grid.

    Prices are R$ per share (already divided by the quotation factor); NaN where there was no trade (open, high,
    low, close, vwap, trade_count) or no quote (bid, ask). `volume` (shares) and `traded_value` (R$) are 0 where
    the instrument did not trade. `risk_free[t]` is the simple return that cash earns from the close of session
    t-1 to the close of session t (CDI). `member_from[i]` is the row at whose close instrument i became a member of the
    universe (0, the default: from the beginning): that it is a column at all may tell of later rows, and views and
    calibrations leave it out until then. Arrays are read-only.

    Raises
    ------
    ValueError
        When shapes disagree, sessions do not increase, instruments repeat, a price is not positive, a volume is
        negative or not finite, or an event lies off the grid.
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
    member_from: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    _memo: dict[str, AdjustmentFactors] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        """Check the panel and make its arrays read-only."""
        sessions = np.asarray(self.sessions, dtype="datetime64[D]")
        instruments = tuple(self.instruments)
        if sessions.ndim != 1 or sessions.size == 0 or np.any(np.diff(sessions) <= np.timedelta64(0, "D")):
            raise ValueError("sessions must be a non-empty, strictly increasing vector of dates")
        if len(set(instruments)) != len(instruments) or not instruments:
            raise ValueError("instruments must be distinct and at least one")
        shape = (sessions.size, len(instruments))
        self._set("sessions", sessions, sessions.shape)
        self._set("lot_size", np.asarray(self.lot_size, dtype=np.int64), shape[1:])
        self._set("risk_free", np.asarray(self.risk_free, dtype=np.float64), shape[:1])
        member_from = np.asarray(self.member_from, dtype=np.int64)
        self._set("member_from", member_from if member_from.size else np.zeros(shape[1], dtype=np.int64), shape[1:])
        for name in GRID_FIELDS:
            self._set(name, np.asarray(getattr(self, name), dtype=np.float64), shape)
        object.__setattr__(self, "instruments", instruments)
        object.__setattr__(self, "events", tuple(self.events))
        object.__setattr__(self, "provenance", MappingProxyType(dict(self.provenance)))
        object.__setattr__(self, "rule_counts", MappingProxyType(dict(self.rule_counts)))
        _check_values(self)

    def _set(self, name: str, value: NDArray[np.generic], shape: tuple[int, ...]) -> None:
        if value.shape != shape:
            raise ValueError(f"{name} must have shape {shape}; was {value.shape}")
        view = value.view()
        view.setflags(write=False)
        object.__setattr__(self, name, view)

    def __getstate__(self) -> dict[str, object]:
        """Return what another process needs: everything but the computed factors."""
        names = [name for name in self.__slots__ if name not in ("_memo", "__weakref__")]
        state: dict[str, object] = {name: getattr(self, name) for name in names}
        return state | {"provenance": dict(self.provenance), "rule_counts": dict(self.rule_counts)}

    def __setstate__(self, state: dict[str, object]) -> None:
        """Restore a panel that was checked when it was made."""
        for name, value in state.items():
            if isinstance(value, np.ndarray):
                value.setflags(write=False)
            object.__setattr__(self, name, MappingProxyType(value) if isinstance(value, dict) else value)
        object.__setattr__(self, "_memo", {})

    @property
    def factors(self) -> AdjustmentFactors:
        """Adjustment factors of the events, computed at first use and kept."""
        if "factors" not in self._memo:
            self._memo["factors"] = compute_factors(self.close, self.events)
        return self._memo["factors"]


def _check_values(panel: DailyPanel) -> None:
    for name in PRICE_FIELDS:
        values = getattr(panel, name)
        _refuse(panel, name, np.isinf(values) | (values <= 0.0), "positive, or NaN where absent")
    for name in ("volume", "traded_value"):
        values = getattr(panel, name)
        _refuse(panel, name, ~np.isfinite(values) | (values < 0.0), "zero or positive and finite")
    _refuse(panel, "trade_count", np.isinf(panel.trade_count) | (panel.trade_count < 0.0), "zero or positive, or NaN")
    if np.any(panel.lot_size < 1):
        raise ValueError(f"lot_size must be at least 1; was {panel.lot_size.min()}")
    if np.any(panel.member_from < 0):
        raise ValueError(f"member_from must be rows, at least 0; was {panel.member_from.min()}")
    if not np.all(np.isfinite(panel.risk_free)):
        raise ValueError("risk_free must be finite in every session")
    for event in panel.events:
        if not 0 <= event.instrument < len(panel.instruments):
            raise ValueError(f"instrument of an event must be in [0, {len(panel.instruments)}); was {event.instrument}")
        if not 0 <= event.ex_session < panel.sessions.size:
            raise ValueError(f"ex_session of an event must be in [0, {panel.sessions.size}); was {event.ex_session}")
        if event.known_session < 0:
            raise ValueError(f"known_session of an event must be at least 0; was {event.known_session}")


def _refuse(panel: DailyPanel, name: str, bad: NDArray[np.bool_], rule: str) -> None:
    if np.any(bad):
        row, column = (int(index) for index in np.argwhere(bad)[0])
        value = getattr(panel, name)[row, column]
        where = f"session {panel.sessions[row]} of {panel.instruments[column]}"
        raise ValueError(f"{name} must be {rule}; was {value} in {where}")
