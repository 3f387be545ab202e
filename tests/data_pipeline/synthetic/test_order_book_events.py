"""The events of the simulated book build the book that its own rows say."""

from __future__ import annotations

import numpy as np

from data_pipeline.book.events import BUY, KIND_MASK, SELL, TRADE
from data_pipeline.book.grid import tick_grid
from data_pipeline.book.replay import replay
from data_pipeline.synthetic.order_book import CANCEL, FILL, HIDDEN, MOVE, NEW, REDUCE, BookConfig, simulate_book
from data_pipeline.synthetic.order_book_events import book_events

CONFIG = BookConfig(
    seed=4, seconds=10.0, queue=3, largest_lots=3, queue_cancels=0.5, reductions=0.5, temporary_share=0.3, levels=50
)


def plain_best(book):
    """Time -> (best bid, best ask) in ticks after the last row of the instant, from the rows alone."""
    orders, found = {}, {}
    columns = (book.time_ns, book.kind, book.order, book.side, book.price, book.left)
    for time, kind, order, side, price, left in zip(*(column.tolist() for column in columns), strict=True):
        if kind in (NEW, MOVE, FILL, REDUCE) and left > 0:
            orders[order] = (side, price)
        elif kind in (CANCEL, FILL):
            del orders[order]
        bids, asks = ([p for s, p in orders.values() if s == one] for one in (1, -1))
        found[time] = (max(bids, default=None), min(asks, default=None))
    return found


def test_replayed_best_quotes_are_those_of_the_rows():
    book = simulate_book(CONFIG)
    rows, counts = replay(book_events(book, midnight_ns=1_000), tick_grid(0.01), levels=1)
    assert not any(counts[name] for name in counts if name.startswith("orders_"))
    wanted = plain_best(book)
    times = np.array(sorted(wanted))
    at = np.searchsorted(rows.times, times + 1_000, side="right") - 1
    assert np.array_equal(rows.ticks[at, :, 0], np.array([wanted[time] for time in times.tolist()]))


def test_trades_have_the_side_of_the_incoming_order_and_the_quantity_of_the_fills():
    book = simulate_book(CONFIG)
    events = book_events(book)
    trades = events[(events["ev"] & KIND_MASK) == TRADE]
    for side, flag in ((1, SELL), (-1, BUY)):
        rows = ((book.kind == FILL) | (book.kind == HIDDEN)) & (book.side == side)
        assert trades["qty"][(trades["ev"] & flag) != 0].sum() == book.size[rows].sum()
    assert np.all(np.diff(events["exch_ts"]) >= 0)
