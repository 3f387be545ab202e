"""The order book in plain Python, two dictionaries of levels and one of orders: the second way, for tests.

It follows the same rules as `data_pipeline.book.replay` with none of its machinery, prices as they are in the events.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from data_pipeline.book.events import (
    ADD,
    BEST_QUOTE,
    BUY,
    CANCEL,
    DEPTH,
    DEPTH_CLEAR,
    KIND_MASK,
    MODIFY,
    SELL,
    SNAPSHOT,
)

Levels = dict[float, float]
Row = tuple[int, list[tuple[float, float]], list[tuple[float, float]]]


@dataclass(slots=True)
class PlainBook:
    """Bids and asks by price, orders by number."""

    source: str = "l2"
    bids: Levels = field(default_factory=dict)
    asks: Levels = field(default_factory=dict)
    orders: dict[int, tuple[str, float, float]] = field(default_factory=dict)
    picture: int | None = None

    def best(self, levels: int) -> tuple[list[tuple[float, float]], list[tuple[float, float]]]:
        """The best levels of each side, best first."""
        if self.source == "l3":
            bids, asks = self._sum("bid"), self._sum("ask")
        else:
            bids, asks = self.bids, self.asks
        return sorted(bids.items(), reverse=True)[:levels], sorted(asks.items())[:levels]

    def apply(self, kind: int, ev: int, time: int, px: float, qty: float, order: int) -> bool:
        """Apply one event; whether it is of the kind that builds this book."""
        side = "bid" if ev & BUY else "ask" if ev & SELL else ""
        if kind == DEPTH_CLEAR:
            self._clear(side, px)
            self.picture = time
        elif self.source == "l2" and kind in (DEPTH, SNAPSHOT):
            if kind == SNAPSHOT and self.picture != time:
                self.bids.clear()
                self.asks.clear()
            self.picture = time if kind == SNAPSHOT else None
            self._level(self.bids if side == "bid" else self.asks, px, qty)
        elif self.source == "l3" and kind in (ADD, MODIFY, CANCEL):
            self._order(kind, side, px, qty, order)
        elif self.source == "best" and kind == BEST_QUOTE:
            levels = self.bids if side == "bid" else self.asks
            levels.clear()
            self._level(levels, px, qty)
        else:
            return False
        return True

    def _sum(self, side: str) -> Levels:
        found: Levels = {}
        for where, px, qty in self.orders.values():
            if where == side:
                found[px] = found.get(px, 0.0) + qty
        return found

    def _level(self, levels: Levels, px: float, qty: float) -> None:
        if qty > 0:
            levels[px] = qty
        else:
            levels.pop(px, None)

    def _clear(self, side: str, px: float) -> None:
        finite = self.source == "l2" and abs(px) < 1e300 and side != ""
        for where, levels in (("bid", self.bids), ("ask", self.asks)):
            if side in ("", where):
                gone = [p for p in levels if not finite or (p >= px if where == "bid" else p <= px)]
                for price in gone:
                    del levels[price]
                for number in [n for n, held in self.orders.items() if held[0] == where]:
                    del self.orders[number]

    def _order(self, kind: int, side: str, px: float, qty: float, order: int) -> None:
        held = self.orders.pop(order, None)
        if kind == CANCEL:
            return
        if kind == MODIFY and held is not None:
            side = held[0]
        if side and qty > 0:
            self.orders[order] = (side, px, qty)


def replay_plainly(events: Any, flag: int, clock: str, source: str, levels: int) -> Iterable[Row]:
    """The rows of `replay(..., every="time")`: time, bids, asks as lists of (price, quantity)."""
    book = PlainBook(source)
    waiting: int | None = None
    for event in events.tolist():
        ev, times, px, qty, order = event[0], event[1:3], event[3], event[4], event[5]
        if not ev & flag:
            continue
        time = times[0] if clock == "exchange" else times[1]
        if waiting is not None and time != waiting:
            yield waiting, *book.best(levels)
            waiting = None
        if book.apply(ev & KIND_MASK, ev, time, px, qty, order):
            waiting = time
    if waiting is not None:
        yield waiting, *book.best(levels)
