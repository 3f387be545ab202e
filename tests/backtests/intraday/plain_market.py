"""What the plain event simulator knows of the market: events in whole ticks and lots, and a book in dictionaries."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import numpy as np

from backtests.intraday.outcome import NO_MID
from data_pipeline.book import events as ev
from data_pipeline.book.grid import PriceGrid, tick_grid
from strategies.intraday.rule import Instrument

BID, ASK = 1, -1
"""Sides, by the sign of an own order that rests there."""


def whole(lots: float) -> float:
    """The whole number that a quantity is but for its rounding, else the quantity."""
    near = float(round(lots))
    return near if abs(lots - near) <= 1e-9 * max(1.0, abs(near)) else lots


@dataclass
class Event:
    """One event as one place sees it."""

    kind: int
    side: int  # +1 bid or bought, -1 ask or sold, 0 none
    tick: int
    lots: float
    number: int
    time: int
    limit: float | None  # of a clear: the last price taken out, in ticks; None: the whole side
    between: bool  # of a print: above its tick, below the next one
    early: bool  # seen before it happened


@dataclass
class Resting:
    """A market order of order-by-order data; `joined` counts the orders that joined any level."""

    side: int
    tick: int
    left: float
    joined: int


@dataclass
class Change:
    """A level's quantity, before and after an event."""

    side: int
    tick: int
    before: float
    after: float


@dataclass
class Book:
    """Levels of both sides as one place sees them; `hidden` are best quotes that a better one covers."""

    source: str
    levels: dict[int, dict[int, float]] = field(default_factory=lambda: {BID: {}, ASK: {}})
    orders: dict[int, Resting] = field(default_factory=dict)
    hidden: dict[tuple[int, int], float] = field(default_factory=dict)
    cleared_at: int | None = None
    joined: int = 0
    unknown: int = 0
    added_twice: int = 0
    first_seen: int = 0

    def best(self, side: int) -> int | None:
        """The best tick of a side."""
        levels = self.levels[side]
        if not levels:
            return None
        return max(levels) if side == BID else min(levels)

    def mid2(self) -> int:
        """Best bid plus best ask tick."""
        bid, ask = self.best(BID), self.best(ASK)
        return NO_MID if bid is None or ask is None else bid + ask

    def unseen(self, side: int, tick: int) -> bool:
        """Whether a price lies behind all that is shown of its side."""
        levels = self.levels[side]
        if not levels:
            return False
        deepest = self.best(side) if self.source == "best" else min(levels, key=lambda t: t * side)
        return self.source != "l3" and tick * side < (deepest or 0) * side

    def apply(self, event: Event) -> list[Change]:
        """Take an event in: the changes of levels; a clear changes none but of order-by-order data."""
        kind = event.kind
        if kind == ev.DEPTH_CLEAR:
            self.cleared_at = event.time
            changes = []
            for side in (BID, ASK):
                if event.side in (0, side):
                    changes += self._take_out(side, event.limit if self.source == "l2" else None)
            return changes if self.source == "l3" else []
        if self.source == "l2" and kind in (ev.DEPTH, ev.SNAPSHOT):
            if kind == ev.SNAPSHOT:
                if self.cleared_at != event.time:
                    self._take_out(BID, None)
                    self._take_out(ASK, None)
                self.cleared_at = event.time
            else:
                self.cleared_at = None
            return [self._set(event.side, event.tick, event.lots)]
        if self.source == "best" and kind == ev.BEST_QUOTE:
            return self._quote(event)
        if self.source == "l3" and kind in (ev.ADD, ev.MODIFY, ev.CANCEL):
            return self._order(event)
        return []

    def _take_out(self, side: int, limit: float | None) -> list[Change]:
        gone = [tick for tick in self.levels[side] if limit is None or tick * side >= limit * side]
        self.orders = {n: o for n, o in self.orders.items() if o.side != side}
        self.hidden = {at: lots for at, lots in self.hidden.items() if at[0] != side}
        return [Change(side, tick, self.levels[side].pop(tick), 0.0) for tick in gone]

    def _set(self, side: int, tick: int, lots: float) -> Change:
        before = self.levels[side].pop(tick, 0.0)
        if lots > 0:
            self.levels[side][tick] = lots
        return Change(side, tick, before, lots)

    def _quote(self, event: Event) -> list[Change]:
        side, old = event.side, self.best(event.side)
        if old is not None:
            self.hidden[(side, old)] = self.levels[side].pop(old)
        changes = []
        for at, lots in sorted(self.hidden.items()):
            if at[0] == side and (event.lots == 0 or (at[1] - event.tick) * side > 0):
                changes.append(Change(side, at[1], lots, 0.0))
                del self.hidden[at]
        if event.lots > 0:
            before = self.hidden.pop((side, event.tick), 0.0)
            self.levels[side][event.tick] = event.lots
            changes.append(Change(side, event.tick, before, event.lots))
        return changes

    def _order(self, event: Event) -> list[Change]:
        held = self.orders.get(event.number)
        left = 0.0 if event.kind == ev.CANCEL else event.lots
        modified = held if event.kind == ev.MODIFY else None
        side = modified.side if modified is not None else event.side
        if held is None and (event.kind == ev.CANCEL or side == 0):
            self.unknown += 1
            return []
        self.added_twice += held is not None and event.kind == ev.ADD
        self.first_seen += held is None and event.kind == ev.MODIFY
        self.joined += 1
        if modified is not None and modified.tick == event.tick and left > 0:
            joined = modified.joined if left <= modified.left else self.joined
            self.orders[event.number] = Resting(side, event.tick, left, joined)
            return [self._resum(side, event.tick)]
        changes = []
        if held is not None:
            del self.orders[event.number]
            changes.append(self._resum(held.side, held.tick))
        if left > 0:
            self.orders[event.number] = Resting(side, event.tick, left, self.joined)
            changes.append(self._resum(side, event.tick))
        return changes

    def _resum(self, side: int, tick: int) -> Change:
        return self._set(side, tick, sum(o.left for o in self.orders.values() if (o.side, o.tick) == (side, tick)))


def _print_tick(price: float, grid: PriceGrid) -> tuple[int, bool]:
    exact = Decimal(repr(price)) * grid.denominator / grid.numerator
    return math.floor(exact), exact != math.floor(exact)


def read_events(events: Any, instrument: Instrument) -> Iterator[tuple[int, Event]]:
    """Each event as each place sees it, with the place's flag, in the array's order."""
    grid = tick_grid(instrument.tick_size)
    for flags, exch_ts, local_ts, px, qty, number, *_ in events.tolist():
        kind = flags & ev.KIND_MASK
        side = 1 if flags & ev.BUY else -1 if flags & ev.SELL else 0
        tick, between, limit = 0, False, None
        if kind == ev.TRADE:
            tick, between = _print_tick(px, grid)
        elif kind == ev.DEPTH_CLEAR:
            if side and abs(px) < 1e300:
                limit = float(Decimal(repr(px)) * grid.denominator / grid.numerator)
        elif kind not in (ev.CANCEL, ev.FILL) and not (kind == ev.BEST_QUOTE and qty == 0):
            tick = int(grid.ticks(np.array([px]))[0])
        lots = whole(qty / instrument.lot_size)
        early = bool(flags & ev.EXCH) and bool(flags & ev.LOCAL) and local_ts < exch_ts
        for flag, time in ((ev.EXCH, exch_ts), (ev.LOCAL, local_ts)):
            if flags & flag:
                yield flag, Event(kind, side, tick, lots, number, time, limit, between, early)
