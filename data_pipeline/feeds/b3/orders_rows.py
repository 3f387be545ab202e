"""Order events of B3's old order files as rows of one layout, whichever form the file has, and their sequence.

raw pair | decoded CSV -> rows -> OrderSequence -> book, trades, lifetimes
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from data_pipeline.errors import DataError
from data_pipeline.feeds.b3.trades_text import utc_ns, utc_offset_ns

NEW, UPDATE, CANCEL, TRADE, REENTRY, NEW_STOP_PRICE, REJECTED, REMOVED, STOP_TRIGGERED = range(1, 10)
EXPIRED, ELIMINATED = 11, 12
"""What happened to an order, in the file's numbers."""
KIND_WORDS: Final = {
    NEW: "new",
    UPDATE: "update",
    CANCEL: "cancel",
    TRADE: "trade",
    REENTRY: "reentry",
    NEW_STOP_PRICE: "new_stop_price",
    REJECTED: "rejected",
    REMOVED: "removed",
    STOP_TRIGGERED: "stop_triggered",
    EXPIRED: "expired",
    ELIMINATED: "eliminated",
}
STATUS_WORDS: Final = {
    ord("0"): "New",
    ord("1"): "Partially Filled",
    ord("2"): "Filled",
    ord("4"): "Canceled",
    ord("5"): "Replaced",
    ord("8"): "Rejected",
    ord("C"): "Expired",
}
"""State of an order after the event, by the file's character."""
NO_STATUS: Final = 0

ENTERING: Final = (NEW, UPDATE, REENTRY, STOP_TRIGGERED)
"""After these an order with a price and something left stands in the book."""

ROW: Final = np.dtype(
    [
        ("order", "<i8"),
        ("secondary", "<i8"),
        ("time_us", "<i8"),
        ("moment_us", "<i8"),
        ("line", "<i8"),
        ("price", "<f8"),
        ("total", "<f8"),
        ("traded", "<f8"),
        ("symbol", "<i4"),
        ("session", "<i4"),
        ("member", "<i4"),
        ("side", "i1"),
        ("kind", "i1"),
        ("aggressor", "i1"),
        ("status", "u1"),
    ]
)
"""One event: numbers of the order and of the event; PriorityTime as microseconds after local midnight; OrderDatetime as
microseconds since 1970 as the file says it; row of the feed from 0; price (0 a market order); total quantity and what
was traded of it; instrument (a number), days since 1970, member (-1 none); +1 buy, -1 sell; kind; 1 aggressor, 2
passive, 0 neutral; status character."""

Rows = NDArray[Any]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]

_BEHIND, _AHEAD = 1_500_000, -500_000
"""OrderDatetime is cut or rounded to seconds: so far it may be from PriorityTime, microseconds."""


def clock_disagreements(rows: Rows, utc: bool) -> Flags:
    """(n,) whether OrderDatetime, in UTC or local time, is not PriorityTime cut to the second."""
    return np.asarray((behind_us(rows, utc) < _AHEAD) | (behind_us(rows, utc) >= _BEHIND))


def behind_us(rows: Rows, utc: bool) -> Ints:
    """(n,) microseconds by which PriorityTime is later than OrderDatetime."""
    if utc:
        return np.asarray(utc_ns(rows["session"], rows["time_us"]) // 1000 - rows["moment_us"])
    return np.asarray(rows["session"].astype(np.int64) * 86_400_000_000 + rows["time_us"] - rows["moment_us"])


def offset_hours(day: int) -> float:
    """Hours from UTC to the local time of a day: -3, or -2 in summer until 2019."""
    return -utc_offset_ns(day) / 3.6e12


class OrderSequence:
    """The events of one instrument and session in the order of their numbers, one array per field.

    Attributes
    ----------
    rows : (n,) ROW
    counts : dict of str to int
        Rows put in sequence, and repeated ones that were dropped.
    by_order : (n,) int64
        Rows grouped by order, each group in sequence.
    starts_order, ends_order : (n,) bool
        Along `by_order`: whether the row is the first, the last of its order.
    """

    def __init__(self, rows: Rows) -> None:
        """Put the rows in sequence; the same event of the same order twice counts once."""
        place = np.lexsort((rows["order"], rows["secondary"]))
        moved = int((place != np.arange(place.size)).sum())
        rows = rows.take(place)
        same = (np.diff(rows["secondary"]) == 0) & (np.diff(rows["order"]) == 0)
        repeated = np.r_[False, same]
        self.counts = {"rows_put_in_sequence": moved, "rows_repeated_dropped": int(repeated.sum())}
        self.rows: Rows = rows.take(np.flatnonzero(~repeated))
        order = self.rows["order"]
        self.by_order: Ints = np.argsort(order, kind="stable")
        changes = np.diff(order[self.by_order]) != 0
        self.starts_order: Flags = np.r_[True, changes]
        self.ends_order: Flags = np.r_[changes, True]
        self.kind: Ints = self.rows["kind"].astype(np.int64)
        self.side: Ints = self.rows["side"].astype(np.int64)
        self.price: Floats = np.ascontiguousarray(self.rows["price"])
        self.total: Floats = np.ascontiguousarray(self.rows["total"])
        self.traded: Floats = np.ascontiguousarray(self.rows["traded"])
        self.aggressor: Ints = self.rows["aggressor"].astype(np.int64)
        self.secondary: Ints = np.ascontiguousarray(self.rows["secondary"])
        self.order: Ints = np.ascontiguousarray(order)

    def before(self, values: Floats, first: float) -> Floats:
        """The value that each event's order had at its event before; `first` where there is none."""
        grouped = values[self.by_order]
        out = np.empty_like(grouped)
        out[self.by_order] = np.where(self.starts_order, first, np.r_[first, grouped[:-1]])
        return out

    def after(self, values: Floats, last: float) -> Floats:
        """The value that each event's order has at its next event; `last` where there is none."""
        grouped = values[self.by_order]
        out = np.empty_like(grouped)
        out[self.by_order] = np.where(self.ends_order, last, np.r_[grouped[1:], last])
        return out

    def entered_before(self) -> int:
        """Orders whose first event is not their entry: they were there before the file began."""
        return int((self.kind[self.by_order[self.starts_order]] != NEW).sum())

    def refuse_two_sides(self, name: str) -> None:
        """Raise DataError where one order is on both sides."""
        side = self.side[self.by_order]
        bad = np.r_[False, np.diff(side) != 0] & ~self.starts_order
        if bad.any():
            row = self.by_order[int(np.argmax(bad))]
            raise DataError(
                f"{name}: order {self.order[row]} is a buy and a sell (event {self.secondary[row]}): fetch it again"
            )


class Matches:
    """The trades of a sequence: each has two rows, neighbours in number on opposite sides.

    Attributes
    ----------
    first, second : (m,) int64
        Rows of each trade.
    resting, other : (m,) int64
        The same two rows: that of the passive order (the first one where there is no aggressor), and the other.
    price, size : (m,) float64
        The resting order's price; the quantity.
    side : (m,) int64
        The aggressor's: +1 bought, -1 sold, 0 none.
    """

    def __init__(self, events: OrderSequence, counts: dict[str, int]) -> None:
        """Find and count the trades; rows without their other side, price or quantity are dropped by a named rule."""
        size = events.traded - events.before(events.traded, 0.0)
        known = (events.before(np.ones(size.size), 0.0) > 0) | (events.kind == NEW)
        first, second, alone = _pairs(np.flatnonzero(events.kind == TRADE), events)
        counts["trade_rows_without_their_other_side_dropped"] = alone
        first_active, second_active = events.aggressor[first] == 1, events.aggressor[second] == 1
        sides = np.where(first_active, events.side[first], events.side[second])
        side = np.where(first_active == second_active, 0, sides)
        counts["trades_without_aggressor"] = int((side == 0).sum())
        resting = np.where(first_active, second, first)
        other = np.where(first_active, first, second)
        price = np.where(events.price[resting] > 0, events.price[resting], events.price[other])
        # of an order first seen trading, the quantity traded before is not known: its row says too much
        one = np.where(known[second], size[second], np.minimum(size[first], size[second]))
        quantity = np.where(known[first], size[first], one)
        disagree = known[first] & known[second] & (size[first] != size[second])
        counts["trade_sizes_that_disagree"] = int(disagree.sum())
        good = (price > 0) & (quantity > 0)
        counts["trades_without_price_or_quantity_dropped"] = int((~good).sum())
        self.first, self.second, self.resting, self.other = first[good], second[good], resting[good], other[good]
        self.price, self.size, self.side = price[good], quantity[good], side[good]


def _pairs(rows: Ints, events: OrderSequence) -> tuple[Ints, Ints, int]:
    """Rows of the first and second side of every trade, and how many rows found no partner."""
    number, side = events.secondary[rows].tolist(), events.side[rows].tolist()
    first: list[int] = []
    at = 0
    while at < rows.size - 1:
        paired = number[at + 1] - number[at] <= 1 and side[at] != side[at + 1]
        first += [at] if paired else []
        at += 2 if paired else 1
    chosen = np.array(first, dtype=np.int64)
    return rows[chosen], rows[chosen + 1], int(rows.size - 2 * chosen.size)
