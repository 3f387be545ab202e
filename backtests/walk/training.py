"""What the training rows of a fold or split show, and nothing else: the panel with every other row made empty.

A training window in one piece is a view that ends with it. One in several pieces has tested (and purged) sessions in
between, so its panel has no prices, volumes, cash, splits or rates there: a session of silence for everybody, across
which no return exists. Nor do the levels on both sides of a hole tell what happened in it: the pieces before it are
scaled, share by share, so that its last close before is its first close after. Traded values stay, so volumes are
counted in shares at those prices, as if what lies in the hole had been a split.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from backtests.walk.combinatorial import Split
from backtests.walk.folds import Fold
from backtests.walk.provenance import rows_hash
from data_pipeline.daily.panel import GRID_FIELDS, PRICE_FIELDS, CorporateEvent, DailyPanel
from data_pipeline.daily.view import MarketView

Floats = NDArray[np.float64]


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


def number_trainings(folds: Sequence[Fold], splits: Sequence[Split]) -> dict[int, tuple[str, Training]]:
    """Every training window with its name in messages, by number: the folds first, then the splits."""
    named: list[tuple[str, Training]] = [(f"fold {fold.index}", fold) for fold in folds]
    named += [(f"split {split.index + 1}", split) for split in splits]
    return dict(enumerate(named))


def hull(ranges: Sequence[range]) -> range:
    """From the first training row to the last."""
    return range(ranges[0].start, ranges[-1].stop)


def rows_of(ranges: Sequence[range]) -> list[int]:
    """Every row of the ranges, in order."""
    return [row for piece in ranges for row in piece]


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
    first). Prices and volumes of earlier ranges are those of the last one's level (`_scales`), and events outside, or
    of an instrument that has no close before them in their own range, are gone. Of an instrument that never trades in
    training again there is no level to scale to: the share factors of its events stay, for its volumes are counted in
    the shares of the last row. Membership of the universe stays: it was public at each close, from all closes up to it.
    """
    if len(ranges) == 1:
        return panel
    inside = np.zeros(panel.sessions.size, dtype=np.bool_)
    for piece in ranges:
        inside[piece.start : piece.stop] = True
    scales = _scales(panel.close, ranges)
    changed: dict[str, Any] = {}
    for name in GRID_FIELDS:
        values = np.array(getattr(panel, name))
        values[~inside] = np.nan if name in PRICE_FIELDS or name == "trade_count" else 0.0
        for piece, scale in zip(ranges, scales, strict=True):
            if name in PRICE_FIELDS:
                values[piece.start : piece.stop] *= scale
            elif name == "volume":
                values[piece.start : piece.stop] /= scale
        changed[name] = values
    before = np.maximum.accumulate(np.where(inside, np.arange(inside.size), -1))
    changed["risk_free"] = np.where(before >= 0, panel.risk_free[np.maximum(before, 0)], 0.0)
    changed["events"] = tuple(_seen_events(panel, ranges, scales))
    return dataclasses.replace(panel, **changed)


def _scales(close: Floats, ranges: Sequence[range]) -> list[Floats]:
    """What prices of each range are multiplied by, (N,): each last close becomes the next range's first, as scaled.

    1 in the last range, and where an instrument has no close before or after.
    """
    scales: list[Floats] = []
    after = np.full(close.shape[1], np.nan)
    for piece in reversed(ranges):
        closes = close[piece.start : piece.stop]
        closed = ~np.isnan(closes)
        first = np.take_along_axis(closes, closed.argmax(axis=0)[None], axis=0)[0]
        last = np.take_along_axis(closes[::-1], closed[::-1].argmax(axis=0)[None], axis=0)[0]
        scale = after / last
        scale[np.isnan(scale)] = 1.0
        after = np.where(closed.any(axis=0), first * scale, after)
        scales.insert(0, scale)
    return scales


def separated(ranges: Sequence[range], blank: int) -> NDArray[np.int64]:
    """Rows of `ranges` counted from the first of them, with `blank` times -1 between two ranges."""
    start = ranges[0].start
    parts: list[NDArray[np.int64]] = []
    for piece in ranges:
        parts += [np.full(blank if parts else 0, -1), np.arange(piece.start - start, piece.stop - start)]
    return np.concatenate(parts)


def _seen_events(panel: DailyPanel, ranges: Sequence[range], scales: Sequence[Floats]) -> Iterator[CorporateEvent]:
    """Events that training may know of, their cash at the level of the prices."""
    for event in panel.events:
        row, closes = event.ex_session, panel.close[:, event.instrument]
        at = next((at for at, piece in enumerate(ranges) if row in piece), None)
        if at is not None and not np.isnan(closes[ranges[at].start : row]).all():
            yield dataclasses.replace(event, cash=event.cash * float(scales[at][event.instrument]))
        elif event.share_factor != 1.0 and not any(
            np.isfinite(closes[max(piece.start, row) : piece.stop]).any() for piece in ranges
        ):
            yield dataclasses.replace(event, cash=0.0, withholding=0.0)
