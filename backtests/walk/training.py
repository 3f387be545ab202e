"""What the training rows of a fold or split show, and nothing else: the panel with every other row made empty.

A training window in one piece is a view that ends with it. One in several pieces has tested (and purged) sessions in
between, so its panel has no prices, volumes, cash or rates there: a session of silence for everybody, across which no
return exists. Only the factors of splits inside the holes stay: they say in which shares later rows are counted.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from backtests.walk.provenance import rows_hash
from data_pipeline.daily.panel import GRID_FIELDS, PRICE_FIELDS, CorporateEvent, DailyPanel
from data_pipeline.daily.view import MarketView


class Training(Protocol):
    """A fold or a split: what its tasks need of it."""

    @property
    def index(self) -> int:
        """Number, from 0."""
        ...

    @property
    def ranges(self) -> tuple[range, ...]:
        """Training rows as consecutive pieces in order."""
        ...


def hull(ranges: Sequence[range]) -> range:
    """From the first training row to the last."""
    return range(ranges[0].start, ranges[-1].stop)


def training_view(panel: DailyPanel, window: Training) -> MarketView:
    """The training rows and nothing else: the view's last close is their last."""
    return view_of(panel, window.ranges)


def view_of(panel: DailyPanel, ranges: Sequence[range]) -> MarketView:
    """A view of the rows in `ranges` that ends with the last of them; the sessions in between are empty."""
    rows = hull(ranges)
    return MarketView(training_panel(panel, ranges), rows.stop - 1, first=rows.start)


def training_hash(panel: DailyPanel, ranges: Sequence[range]) -> str:
    """SHA-256 of what the training rows show to somebody who stands at the close of the last of them."""
    return rows_hash(training_panel(panel, ranges), hull(ranges))


def training_panel(panel: DailyPanel, ranges: Sequence[range]) -> DailyPanel:
    """The panel with all rows outside of `ranges` made empty; the panel itself when there is one range.

    Prices and trade counts are NaN, volumes and values 0; cash earns the last training rate before (0 before the
    first). Of events outside, and of cash whose instrument has no close before it in its own range, the share factor
    alone is left. Membership of the universe stays: it was public at each close, from all closes up to it.
    """
    if len(ranges) == 1:
        return panel
    inside = np.zeros(panel.sessions.size, dtype=np.bool_)
    for piece in ranges:
        inside[piece.start : piece.stop] = True
    changed: dict[str, Any] = {}
    for name in GRID_FIELDS:
        values = np.array(getattr(panel, name))
        values[~inside] = np.nan if name in PRICE_FIELDS or name == "trade_count" else 0.0
        changed[name] = values
    before = np.maximum.accumulate(np.where(inside, np.arange(inside.size), -1))
    changed["risk_free"] = np.where(before >= 0, panel.risk_free[np.maximum(before, 0)], 0.0)
    changed["events"] = tuple(_seen_events(panel, ranges, inside))
    return dataclasses.replace(panel, **changed)


def separated(ranges: Sequence[range], blank: int) -> NDArray[np.int64]:
    """Rows of `ranges` counted from the first of them, with `blank` times -1 between two ranges."""
    start = ranges[0].start
    parts: list[NDArray[np.int64]] = []
    for piece in ranges:
        parts += [np.full(blank if parts else 0, -1), np.arange(piece.start - start, piece.stop - start)]
    return np.concatenate(parts)


def _seen_events(panel: DailyPanel, ranges: Sequence[range], inside: NDArray[np.bool_]) -> Iterator[CorporateEvent]:
    for event in panel.events:
        row = event.ex_session
        if inside[row]:
            start = next(piece.start for piece in ranges if row in piece)
            if not np.isnan(panel.close[start:row, event.instrument]).all():
                yield event
                continue
        if event.share_factor != 1.0:
            yield dataclasses.replace(event, cash=0.0, withholding=0.0)
