"""What became of the orders sent: filled or not, by which cause, after how long and from which place in the queue."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from backtests.intraday import outcome as codes
from backtests.intraday.outcome import SessionOutcome
from backtests.intraday.profit import SECOND

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
CAUSES: Final = {
    "at_the_price": codes.BY_QUEUE,
    "print_through": codes.BY_PRINT_THROUGH,
    "book_through": codes.BY_BOOK_THROUGH,
    "crossing": codes.BY_CROSSING,
    "auction": codes.BY_AUCTION,
    "liquidation": codes.BY_LIQUIDATION,
}
ENDS: Final = {
    "open": codes.OPEN,
    "filled": codes.FILLED,
    "cancelled": codes.CANCELLED,
    "replaced": codes.REPLACED,
    "rejected_post_only": codes.REJECTED_POST_ONLY,
    "rejected_phase": codes.REJECTED_PHASE,
    "rejected_limit": codes.REJECTED_LIMIT,
    "expired": codes.EXPIRED,
    "rejected_form": codes.REJECTED_FORM,
    "too_late": codes.TOO_LATE,
}
QUANTILES: Final = (0.1, 0.5, 0.9)


@dataclass(frozen=True, slots=True)
class OrderFigures:
    """Counts and lots of a session's orders; a replaced order counts once for each of its prices.

    Attributes
    ----------
    orders, orders_filled : int
        Rows of `orders`, refused ones and those of the liquidation among them, and those with a fill.
    lots_sent, lots_filled : int
    ends : mapping of str to int
        Orders by how they ended.
    fills : int
    fill_lots, fill_counts : mapping of str to int
        By cause: `at_the_price` when what was ahead had traded; `print_through`, a print beyond the price;
        `book_through`, the opposite best reached it; ...
    maker_lots : int
    turnover : float
        Money: price x quantity of all fills.
    messages : int
        Requests that went to the exchange: orders sent and replaced, and withdrawals, as far as `orders` shows them.
    """

    orders: int
    orders_filled: int
    lots_sent: int
    lots_filled: int
    ends: Mapping[str, int]
    fills: int
    fill_lots: Mapping[str, int]
    fill_counts: Mapping[str, int]
    maker_lots: int
    turnover: float
    messages: int

    @property
    def fill_ratio_lots(self) -> float:
        """Lots filled over lots sent; nan when none was sent."""
        return self.lots_filled / self.lots_sent if self.lots_sent else float("nan")

    @property
    def fill_ratio_orders(self) -> float:
        """Orders with a fill over orders; nan without orders."""
        return self.orders_filled / self.orders if self.orders else float("nan")

    @property
    def order_to_trade(self) -> float:
        """Messages for each fill; nan without fills."""
        return self.messages / self.fills if self.fills else float("nan")

    @property
    def touch_share(self) -> float:
        """Share of the maker's lots filled at their price in the queue, not by a price beyond; nan without any."""
        return self.fill_lots["at_the_price"] / self.maker_lots if self.maker_lots else float("nan")


@dataclass(frozen=True, slots=True)
class QueueFigures:
    """Places in the queue of orders that rested; lots and seconds, nan where there is no such order.

    Attributes
    ----------
    rested, filled : int
        Orders that rested, and those of them with a fill while resting.
    ahead, ahead_filled, ahead_unfilled : float
        Mean lots ahead on arrival: of all that rested with a known place, of those filled, of the others.
    ahead_end_unfilled : float
        Mean lots still ahead of the others when they ended.
    place_unknown : int
        Orders that arrived at a level that the book did not show.
    quantiles : tuple of float
    seconds_to_fill : tuple of float
        Quantiles of the time from arrival to the first fill while resting.
    seconds_resting : tuple of float
        Quantiles of the time that orders without a fill stood.
    """

    rested: int
    filled: int
    ahead: float
    ahead_filled: float
    ahead_unfilled: float
    ahead_end_unfilled: float
    place_unknown: int
    quantiles: tuple[float, ...]
    seconds_to_fill: tuple[float, ...]
    seconds_resting: tuple[float, ...]


def order_figures(outcome: SessionOutcome) -> OrderFigures:
    """Counts, lots and causes."""
    orders, fills = outcome.orders, outcome.fills
    price = fills["tick"] * outcome.instrument.tick_value
    sent = orders["arrived"] >= 0
    withdrawn = int((orders["end"] == codes.CANCELLED).sum())
    return OrderFigures(
        orders=int(orders.size),
        orders_filled=int((orders["filled"] > 0).sum()),
        lots_sent=int(orders["lots"].sum()),
        lots_filled=int(orders["filled"].sum()),
        ends={name: int((orders["end"] == code).sum()) for name, code in ENDS.items()},
        fills=int(fills.size),
        fill_lots={name: int(fills["lots"][fills["cause"] == code].sum()) for name, code in CAUSES.items()},
        fill_counts={name: int((fills["cause"] == code).sum()) for name, code in CAUSES.items()},
        maker_lots=int(fills["lots"][fills["maker"] == 1].sum()),
        turnover=float(np.abs(price) @ fills["lots"]),
        messages=int(sent.sum()) + withdrawn,
    )


def queue_figures(outcome: SessionOutcome, stop: int, quantiles: tuple[float, ...] = QUANTILES) -> QueueFigures:
    """Places and times of the orders that rested; those still open stood until `stop`, ns."""
    orders, fills = outcome.orders, outcome.fills
    ended = np.where(orders["ended"] < 0, stop, orders["ended"])
    rested = (orders["arrived"] >= 0) & (ended > orders["arrived"])
    first = first_resting_fill(outcome)
    filled = rested & (first >= 0)
    known = np.isfinite(orders["ahead"])
    waited = (fills["exch_ts"][first[filled]] - orders["arrived"][filled]) / SECOND
    stood = (ended - orders["arrived"])[rested & ~filled] / SECOND
    return QueueFigures(
        rested=int(rested.sum()),
        filled=int(filled.sum()),
        ahead=_mean(orders["ahead"][rested & known]),
        ahead_filled=_mean(orders["ahead"][filled & known]),
        ahead_unfilled=_mean(orders["ahead"][rested & ~filled & known]),
        ahead_end_unfilled=_mean(orders["ahead_end"][rested & ~filled & np.isfinite(orders["ahead_end"])]),
        place_unknown=int((rested & ~known).sum()),
        quantiles=quantiles,
        seconds_to_fill=_quantiles(waited, quantiles),
        seconds_resting=_quantiles(stood, quantiles),
    )


def first_resting_fill(outcome: SessionOutcome) -> Ints:
    """(m,) row of `fills` of each order row's first fill as a maker; -1 without one.

    A fill belongs to the last row of its order's number that had arrived by then.
    """
    orders, fills = outcome.orders, outcome.fills
    maker = np.flatnonzero(fills["maker"] == 1)
    arrived = np.flatnonzero(orders["arrived"] >= 0)
    numbers = np.r_[orders["order_id"][arrived], fills["order_id"][maker]]
    times = np.r_[orders["arrived"][arrived], fills["exch_ts"][maker]]
    is_fill = np.r_[np.zeros(arrived.size, dtype=np.int64), np.ones(maker.size, dtype=np.int64)]
    rows = np.r_[arrived, maker]
    order = np.lexsort((rows, is_fill, times, numbers))
    places = np.where(is_fill[order] == 0, np.arange(order.size), -1)
    above = np.maximum.accumulate(places)
    found = np.full(orders.size, -1, dtype=np.int64)
    of_fill = is_fill[order] == 1
    owner, fill = above[of_fill], rows[order][of_fill]
    mine = (owner >= 0) & (numbers[order][np.maximum(owner, 0)] == numbers[order][of_fill])
    owners, where = np.unique(rows[order][owner[mine]], return_index=True)
    found[owners] = fill[mine][where]
    return found


def _mean(values: Floats) -> float:
    return float(values.mean()) if values.size else float("nan")


def _quantiles(values: Floats, at: tuple[float, ...]) -> tuple[float, ...]:
    return tuple(float(value) for value in np.quantile(values, at)) if values.size else (float("nan"),) * len(at)
