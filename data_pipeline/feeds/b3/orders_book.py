"""The order book of one instrument rebuilt from its order events, as events of the common layout, and checked.

An order stands in the book after its event when it has a price (0 is a market order) and quantity left. An incoming
order that trades at once is put into the book only with what is left of it after its last trade, so that the book is
not crossed while it is matched. A trade is, in this order: one TRADE, a FILL of each order that stood, the change of
the resting order (MODIFY to what is left, CANCEL), then that of the incoming one (ADD of the rest).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from data_pipeline.book.events import ADD, BUY, CANCEL, EVENT_DTYPE, EXCH, FILL, LOCAL, MODIFY, SELL, TRADE
from data_pipeline.book.kernels import best_levels
from data_pipeline.feeds.b3 import orders_rows as orders
from data_pipeline.feeds.b3.orders_rows import Floats, Ints, Matches, OrderSequence
from data_pipeline.feeds.b3.trades_text import utc_ns

_BOTH: Final = EXCH | LOCAL


@dataclass(frozen=True, slots=True, eq=False)
class _Standing:
    """What every row's order shows in the book before and after it, (n,) each."""

    price_before: Floats
    left_before: Floats
    price: Floats
    left: Floats


def rebuild_book(events: OrderSequence) -> tuple[NDArray[Any], dict[str, int]]:
    """The book events of one instrument, (m,) EVENT_DTYPE in order, and what the checks of the book found.

    Counts: `book_events`; `times_behind_the_sequence_raised`; `crossed_book_states` (calls, in which orders wait, and
    crosses, which enter as two orders; none in continuous trading); `book_levels_below_zero` (0 unless the rebuilding
    is wrong); trades with an aggressor as `trades_at_the_best_price`, `trades_of_an_order_of_before_the_file` (the book
    did not know the resting order) and `trades_off_the_best_price` (0 in continuous trading).
    """
    counts: dict[str, int] = {}
    matches = Matches(events, counts)
    rows = events.rows
    times = np.maximum.accumulate(utc_ns(rows["session"], rows["time_us"]))
    counts["times_behind_the_sequence_raised"] = int((times != utc_ns(rows["session"], rows["time_us"])).sum())
    standing = _standing(events)
    # the rows of a trade are one step, placed at its first row
    step = np.arange(rows.size)
    step[matches.second] = matches.first
    passive_first = np.zeros(rows.size, dtype=np.int64)
    passive_first[matches.other] = 1
    parts = [
        _trades(matches, events, times, step),
        *(_fills(matches, at, events, standing, times, step) for at in (matches.resting, matches.other)),
        _changes(events, standing, times, step, 2 + passive_first),
    ]
    keys = np.concatenate([key for key, _ in parts])
    made = np.concatenate([part for _, part in parts])
    place = np.lexsort((keys[:, 1], keys[:, 0]))
    counts["book_events"] = int(made.size)
    _check(events, matches, standing, step, counts)
    return made[place], counts


def _standing(events: OrderSequence) -> _Standing:
    kind, aggressor = events.kind, events.aggressor
    times = events.rows["time_us"].astype(np.float64)
    active = (kind == orders.TRADE) & (aggressor == 1)
    trades_next = (events.after(active.astype(np.float64), 0.0) > 0) & (events.after(times, -1.0) == times)
    incoming = (np.isin(kind, orders.ENTERING) | active) & trades_next
    rests = np.isin(kind, (*orders.ENTERING, orders.TRADE)) & (events.price > 0) & ~incoming
    left = np.where(rests, np.maximum(events.total - events.traded, 0.0), 0.0)
    return _Standing(events.before(events.price, 0.0), events.before(left, 0.0), events.price, left)


def _made(
    kind: NDArray[Any] | int, side: Ints, times: Ints, price: Floats, quantity: Floats, order: Ints | int
) -> NDArray[Any]:
    made = np.zeros(times.size, dtype=EVENT_DTYPE)
    flags = np.where(side > 0, BUY, np.where(side < 0, SELL, 0))
    made["ev"] = (np.asarray(kind) | flags | _BOTH).astype(np.uint64)
    made["exch_ts"] = made["local_ts"] = times
    made["px"], made["qty"], made["order_id"] = price, quantity, np.asarray(order).astype(np.uint64)
    return made


def _keys(step: Ints, phase: Ints | int) -> Ints:
    return np.column_stack([step, np.broadcast_to(phase, step.shape)])


def _trades(matches: Matches, events: OrderSequence, times: Ints, step: Ints) -> tuple[Ints, NDArray[Any]]:
    at = matches.first
    return _keys(step[at], 0), _made(TRADE, matches.side, times[at], matches.price, matches.size, 0)


def _fills(
    matches: Matches, at: Ints, events: OrderSequence, standing: _Standing, times: Ints, step: Ints
) -> tuple[Ints, NDArray[Any]]:
    stood = standing.left_before[at] > 0
    at = at[stood]
    made = _made(FILL, events.side[at], times[at], matches.price[stood], matches.size[stood], events.order[at])
    made["exch_ts"] = made["local_ts"] = times[matches.first[stood]]
    return _keys(step[at], 1), made


def _changes(
    events: OrderSequence, standing: _Standing, times: Ints, step: Ints, phase: Ints
) -> tuple[Ints, NDArray[Any]]:
    before, after = standing.left_before > 0, standing.left > 0
    moved = (standing.price != standing.price_before) | (standing.left != standing.left_before)
    gone = before & ~after
    changed = (before != after) | (before & after & moved)
    kind = np.where(gone, CANCEL, np.where(before, MODIFY, ADD))[changed]
    price = np.where(gone, standing.price_before, standing.price)[changed]
    quantity = np.where(gone, standing.left_before, standing.left)[changed]
    made = _made(kind, events.side[changed], times[step[changed]], price, quantity, events.order[changed])
    return _keys(step[changed], phase[changed]), made


def _check(events: OrderSequence, matches: Matches, standing: _Standing, step: Ints, counts: dict[str, int]) -> None:
    bid, ask, below = _best(events, standing, step)
    counts["book_levels_below_zero"] = below
    whole = np.ones(step.size, dtype=np.bool_)
    whole[matches.second] = False
    counts["crossed_book_states"] = int(((bid >= ask) & whole).sum())
    at = matches.first
    best = np.where(matches.side < 0, _row_before(bid, at), _row_before(ask, at))
    active = matches.side != 0
    exact = active & (best == matches.price)
    unseen = active & ~exact & (standing.left_before[matches.resting] == 0)
    counts["trades_at_the_best_price"] = int(exact.sum())
    counts["trades_of_an_order_of_before_the_file"] = int(unseen.sum())
    counts["trades_off_the_best_price"] = int((active & ~exact & ~unseen).sum())


def _row_before(values: Floats, at: Ints) -> Floats:
    return np.where(at > 0, values[np.maximum(at - 1, 0)], np.nan)


def _best(events: OrderSequence, standing: _Standing, step: Ints) -> tuple[Floats, Floats, int]:
    """Best bid and ask after each row's step, nan where a side is empty, and levels that fell below zero."""
    size = step.size
    prices, ranks = np.unique(np.r_[standing.price_before, standing.price], return_inverse=True)
    rows = np.repeat(np.arange(size), 2)
    change = np.column_stack([-(standing.left_before > 0).astype(np.int64), (standing.left > 0).astype(np.int64)])
    place = np.argsort(step[rows], kind="stable")
    best = np.empty((2, size), dtype=np.int64)
    shelves = np.zeros((2, prices.size), dtype=np.int64)
    below = best_levels(
        step[rows][place],
        (events.side[rows] == 1)[place],
        np.column_stack([ranks[:size], ranks[size:]]).ravel()[place],
        change.ravel()[place],
        shelves[0],
        shelves[1],
        best[0],
        best[1],
    )
    bid, ask = (np.where(row >= 0, prices[row], np.nan) for row in best)
    return bid, ask, int(below)
