"""The simulated order book as events of the store's layout, order by order, without files in between."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_pipeline.book.events import ADD, BUY, EVENT_DTYPE, EXCH, LOCAL, MODIFY, SELL, TRADE
from data_pipeline.book.events import CANCEL as CANCEL_EVENT
from data_pipeline.book.events import FILL as FILL_EVENT
from data_pipeline.book.grid import tick_grid
from data_pipeline.synthetic.order_book import CANCEL, CROSS, FILL, HALT, HIDDEN, MOVE, NEW, REDUCE, BookEvents


def book_events(book: BookEvents, *, midnight_ns: int = 0) -> NDArray[Any]:
    """(n,) of EVENT_DTYPE, of source "l3", both clocks alike; times from `midnight_ns` on.

    A fill is a TRADE of the incoming order's side, a FILL of the resting one, and what is left of that: a MODIFY, or a
    CANCEL when nothing is. Halts are no events.
    """
    parts = np.where(book.kind == FILL, 3, np.where(book.kind == HALT, 0, 1))
    row = np.repeat(np.arange(len(book)), parts)
    part = np.arange(row.size) - np.repeat(np.cumsum(parts) - parts, parts)
    kind, side, left = book.kind[row], book.side[row], book.left[row]
    # What each row becomes; a fill's second and third event replace it below.
    becomes = np.zeros(9, dtype=np.int64)
    becomes[[NEW, MOVE, FILL, CANCEL, HIDDEN, REDUCE, CROSS]] = ADD, MODIFY, TRADE, CANCEL_EVENT, TRADE, MODIFY, TRADE
    what = becomes[kind]
    what[part == 1] = FILL_EVENT
    what[part == 2] = np.where(left[part == 2] > 0, MODIFY, CANCEL_EVENT)
    told = np.where(what == TRADE, -side, side)
    events = np.zeros(row.size, dtype=EVENT_DTYPE)
    flags = np.where(told > 0, BUY, np.where(told < 0, SELL, 0))
    events["ev"] = (what | flags | EXCH | LOCAL).astype(np.uint64)
    events["exch_ts"] = events["local_ts"] = midnight_ns + book.time_ns[row]
    events["px"] = tick_grid(book.config.tick).prices(book.price[row])
    traded = (what == TRADE) | (what == FILL_EVENT)
    events["qty"] = np.where(traded | (what == ADD) | (what == CANCEL_EVENT), book.size[row], left)
    events["order_id"] = np.where(what == TRADE, 0, book.order[row]).astype(np.uint64)
    return events
