"""Trades alone as a feed that a market maker can act on: quotes at the trader's side, told by the trades themselves.

    trades -> with_trade_quotes -> trades, quotes seen by the rule alone, and one pair that a closing order can meet

The exchange has no book, so that own orders fill by prints beyond their price or through an assumed queue and by
nothing else. Only the order that closes a position at the end meets a book: the last prices bought and sold at by then,
with the quantity that traded there. It pays the spread for that much; what is more is marked, and told.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from data_pipeline.book.events import BEST_QUOTE, BUY, EVENT_DTYPE, EXCH, KIND_MASK, LOCAL, SELL, TRADE
from data_pipeline.book.trade_quotes import quotes_of_trades

Events = NDArray[Any]

_SIDES: Final = ((BUY, "bid", "bid_quantity"), (SELL, "ask", "ask_quantity"))


def trades_of(events: Events) -> Events:
    """The trades of a feed: what is left of `with_trade_quotes` when its quotes are taken out."""
    chosen: Events = events[(events["ev"] & np.uint64(KIND_MASK)) == TRADE]
    return chosen


def with_trade_quotes(trades: Events, liquidate: int) -> Events:
    """The trades with best quotes for the rule after each, and for the exchange at `liquidate`.

    Parameters
    ----------
    trades : (n,) of EVENT_DTYPE
        Each once, for both places; in both orders.
    liquidate : int
        When positions begin to be closed, ns of the exchange's clock.
    """
    signs = np.where(trades["ev"] & np.uint64(BUY), 1, np.where(trades["ev"] & np.uint64(SELL), -1, 0))
    quotes = quotes_of_trades(trades["px"], signs, trades["qty"])
    made, places = [trades], [3 * np.arange(trades.size)]
    last = int(np.searchsorted(trades["exch_ts"], liquidate, side="right")) - 1
    for part, (flag, price, quantity) in enumerate(_SIDES):
        prices, sizes = getattr(quotes, price), getattr(quotes, quantity)
        told = np.where(np.isnan(prices), 0.0, prices)
        changed = np.flatnonzero(np.diff(told, prepend=0.0) != 0.0)
        made.append(_quotes(trades[changed], LOCAL | flag, told[changed], sizes[changed]))
        places.append(3 * changed + 1 + part)
        if last >= 0 and told[last]:
            closing = trades[[last]].copy()
            closing["exch_ts"] = liquidate
            made.append(_quotes(closing, EXCH | flag, told[[last]], sizes[[last]]))
            places.append(np.array([3 * last + 2]))
    order = np.argsort(np.concatenate(places), kind="stable")
    return np.concatenate(made)[order]


def _quotes(like: Events, flags: int, prices: NDArray[np.float64], sizes: NDArray[np.float64]) -> Events:
    quotes = np.zeros(like.size, dtype=EVENT_DTYPE)
    quotes["ev"] = np.uint64(BEST_QUOTE | flags)
    quotes["exch_ts"], quotes["local_ts"] = like["exch_ts"], like["local_ts"]
    quotes["px"] = prices
    quotes["qty"] = np.where(prices == 0.0, 0.0, sizes)
    return quotes
