"""One instrument of a decoded order file to an `IntradayRecord`: book, trades with aggressor, order lifetimes."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import numpy as np

from data_pipeline.book.kernels import best_levels
from data_pipeline.book.record import (
    FILLED,
    WITHDRAWN,
    WORKING,
    IntradayRecord,
    OrderLives,
    QuotePath,
    TradeTape,
    empty_side_gaps,
    refuse_empty,
)
from data_pipeline.errors import DataError
from data_pipeline.feeds.b3 import orders_rows as orders
from data_pipeline.feeds.b3.orders_decoded import read_decoded
from data_pipeline.feeds.b3.orders_rows import Floats, Matches, OrderSequence
from data_pipeline.feeds.b3.trades_text import ZONE
from data_pipeline.raw_file import sha256_of_file

_COUNTED = {"new": orders.NEW, "update": orders.UPDATE, "trade": orders.TRADE, "cancel": orders.CANCEL}


def read_b3_orders(path: Path, instrument: str) -> IntradayRecord:
    """The day of one instrument in an order-by-order file decoded to CSV, plain or alone in a zip.

    Raises
    ------
    DataError
        When the file is missing, empty, cut, not decoded, lacks a column or the instrument, holds text for numbers, or
        runs backwards in time.
    """
    rows, symbols = read_decoded(path)
    if instrument not in symbols:
        known = ", ".join(sorted(symbols)[:12])
        raise DataError(f"{path.name} has no events of {instrument}; it has {known}: name one of them")
    own = rows[rows["symbol"] == symbols.index(instrument)]
    counts: dict[str, int] = {"rows": rows.size, "rows_of_the_instrument": own.size}
    days = np.unique(own["session"])
    if days.size != 1:
        raise DataError(
            f"{path.name} holds {days.size} sessions of {instrument} ({_day(days[0])} to {_day(days[-1])}): "
            "give one day"
        )
    events = OrderSequence(own)
    counts |= events.counts
    counts["order_times_that_disagree"] = check_clock(events.rows, path.name)
    times = events.rows["time_us"] / 1e6
    _refuse_backwards(events, times, path.name)
    counts |= {f"{word}_events": int((events.kind == kind).sum()) for word, kind in _COUNTED.items()}
    quotes = _quotes(events, times, counts)
    refuse_empty(quotes, f"{path.name}, {instrument}")
    start, end = float(quotes.times[0]), float(times[-1])
    notes = [
        f"Times are B3's local ones ({ZONE}); OrderDatetime is UTC and only checked.",
        "The book is rebuilt from events and starts empty: until the orders of before the first event are touched, the "
        "best quotes may be too far from each other.",
    ]
    return IntradayRecord(
        feed="B3 OFER",
        instrument=instrument,
        day=_day(days[0]),
        clock=ZONE,
        quotes=quotes,
        trades=_trades(events, times, counts),
        orders=_lives(events, times, counts),
        start=start,
        end=end,
        gaps=empty_side_gaps(quotes, end),
        counts=counts,
        notes=tuple(notes),
        files={path.name: sha256_of_file(path)},
    )


def _day(number: int) -> str:
    return (date(1970, 1, 1) + timedelta(days=int(number))).isoformat()


def check_clock(rows: orders.Rows, name: str) -> int:
    """How many rows of a decoded file have an OrderDatetime (UTC) that is not their PriorityTime (local).

    Raises
    ------
    DataError
        When most of them have: one of the two clocks was shifted.
    """
    wrong = orders.clock_disagreements(rows, utc=True)
    if wrong.mean() > 0.5:
        behind, offset = (
            np.median(orders.behind_us(rows, utc=True)) / 3.6e9,
            orders.offset_hours(int(rows["session"][0])),
        )
        raise DataError(
            f"{name}: PriorityTime and OrderDatetime differ by {behind:+.1f} h from the offset of {ZONE} "
            f"({offset:+.0f} h): one of the two was shifted; decode the file again"
        )
    return int(wrong.sum())


def _refuse_backwards(events: OrderSequence, times: Floats, name: str) -> None:
    back = np.r_[False, np.diff(times) < 0.0]
    if back.any():
        at = int(np.argmax(back))
        raise DataError(
            f"{name}: event {events.secondary[at]} is at {times[at]:.3f} s, before event {events.secondary[at - 1]} at "
            f"{times[at - 1]:.3f} s: times run backwards along SecondaryOrderID; fetch the file again"
        )


def _quotes(events: OrderSequence, times: Floats, counts: dict[str, int]) -> QuotePath:
    """Best quotes after each event.

    An order stands in the book after its event when it has a price (0 is a market order) and quantity left. While an
    incoming order is matched the book is crossed for the rows of its trades; those states are left out and counted.
    """
    prices, rank = np.unique(events.price, return_inverse=True)
    stands = (
        np.isin(events.kind, (*orders.ENTERING, orders.TRADE)) & (events.price > 0) & (events.total > events.traded)
    )
    counts["market_orders"] = int(((events.kind == orders.NEW) & (events.price == 0)).sum())
    counts["orders_seen_without_their_entry"] = events.entered_before()
    stood = events.before(stands.astype(np.float64), 0.0) > 0
    old_rank = events.before(rank.astype(np.float64), 0.0).astype(np.int64)
    # an event takes its order from where it stood and puts it where it stands
    rows = np.repeat(np.arange(rank.size), 2)
    change = np.column_stack([-stood.astype(np.int64), stands.astype(np.int64)]).ravel()
    places = np.column_stack([old_rank, rank]).ravel()
    best = np.empty((2, rank.size), dtype=np.int64)
    shelves = np.zeros((2, prices.size), dtype=np.int64)
    best_levels(rows, events.side[rows] == 1, places, change, shelves[0], shelves[1], best[0], best[1])
    bid, ask = (np.where(row >= 0, prices[row], np.nan) for row in best)
    crossed = bid >= ask
    counts["crossed_states_while_matching_left_out"] = int(crossed.sum())
    changed = np.r_[True, (best[:, ~crossed][:, 1:] != best[:, ~crossed][:, :-1]).any(axis=0)]
    return QuotePath(times[~crossed][changed], bid[~crossed][changed], ask[~crossed][changed])


def _trades(events: OrderSequence, times: Floats, counts: dict[str, int]) -> TradeTape:
    """The matched trades, each at the time of its second row."""
    matches = Matches(events, counts)
    shown = np.zeros(matches.side.size, dtype=np.bool_)
    return TradeTape(times[matches.second], matches.price, matches.size, matches.side.astype(np.int8), shown)


def order_lives(rows: orders.Rows) -> OrderLives:
    """Lives of the orders in the events of one instrument and session; seconds after local midnight."""
    events = OrderSequence(rows)
    return _lives(events, events.rows["time_us"] / 1e6, {})


def _lives(events: OrderSequence, times: Floats, counts: dict[str, int]) -> OrderLives:
    """Stays of resting orders at one price; orders that traded on arrival never rested and are left out, counted."""
    group, start = events.by_order, events.starts_order
    price_before, kind = events.before(events.price, np.nan), events.kind
    same_price = (kind == orders.UPDATE) & (events.price == price_before)
    kept = ~same_price[group] | start
    rows, start = group[kept], np.r_[True, np.diff(events.order[group][kept]) != 0]
    follows = np.r_[~start[1:], False]
    after = np.r_[rows[1:], rows[-1:]]
    enters = np.isin(kind[rows], orders.ENTERING) & (events.price[rows] > 0)
    aggressive = follows & (kind[after] == orders.TRADE) & (events.aggressor[after] == 1)
    counts["orders_that_traded_on_arrival"] = int((enters & aggressive).sum())
    chosen = enters & ~aggressive
    ending = np.where(~follows, WORKING, np.where(kind[after] == orders.TRADE, FILLED, WITHDRAWN))
    entry = rows[chosen]
    return OrderLives(
        times[entry],
        np.where(follows, times[after], times[-1])[chosen],
        events.price[entry],
        (events.total - events.traded)[entry],
        events.side[entry].astype(np.int8),
        ending[chosen].astype(np.int8),
    )
