"""Trades as the market orders behind them: signed by a named rule, grouped by one, with the price each reached."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mfg_core.checks import require_nonnegative
from mfg_core.intraday.intensity_exposure import BookPath, Trades

Floats = NDArray[np.float64]
Signs = NDArray[np.int8]

SIGN_RULES = ("quote", "tick", "lee_ready")


@dataclass(frozen=True, slots=True, eq=False)
class MarketOrders:
    """Aggressive orders in the order of their times.

    Attributes
    ----------
    time : (n,) float64
        Seconds, that of the first trade.
    side : (n,) int8
        +1 bought, -1 sold.
    furthest : (n,) float64
        Highest price of a purchase, lowest of a sale: how far the order reached.
    average : (n,) float64
        Mean price, weighted by size.
    size : (n,) float64
        Traded in all.
    trades : (n,) int64
        Number of trades.
    """

    time: Floats
    side: Signs
    furthest: Floats
    average: Floats
    size: Floats
    trades: NDArray[np.int64]


def sign_trades(book: BookPath, trades: Trades, rule: str) -> Signs:
    """Sides (m,) int8 with the unknown ones filled in by `rule`; 0 where the rule does not tell either.

    Parameters
    ----------
    rule : {"quote", "tick", "lee_ready"}
        "quote": bought above the mid before the trade, sold below it. "tick": bought above the last different trade
        price, sold below it. "lee_ready": the quote rule, and at the mid the tick rule (Lee & Ready 1991).
    """
    if rule not in SIGN_RULES:
        raise ValueError(f"sign_rule must be one of {', '.join(SIGN_RULES)}, or None; was {rule!r}")
    row = book.row_before(trades.time)
    mid = np.where(row >= 0, book.mid[row], np.nan) if book.time.size else np.full(trades.time.size, np.nan)
    # nan compares false on both sides: no sign.
    by_quote = (trades.price > mid).astype(np.int8) - (trades.price < mid).astype(np.int8)
    guess = by_quote if rule == "quote" else _tick_sign(trades.price)
    if rule == "lee_ready":
        guess = np.where(by_quote != 0, by_quote, np.where(trades.price == mid, guess, 0))
    return np.where(trades.side != 0, trades.side, guess).astype(np.int8)


def _tick_sign(price: Floats) -> Signs:
    """Sign of the last price change at or before each trade; 0 while there was none."""
    change = np.sign(np.diff(price, prepend=price[:1]))
    last = np.maximum.accumulate(np.where(change != 0, np.arange(price.size), -1))
    return np.where(last >= 0, change[last], 0.0).astype(np.int8)


def group_orders(trades: Trades, side: Signs, *, within: float = 0.0) -> MarketOrders:
    """Orders behind the trades with a side: trades of one side no more than `within` seconds after one another.

    With `within` 0 trades of one side are one order when they carry one time stamp. Trades without a side are left
    out; count them before.

    Parameters
    ----------
    side : (m,) int8
        Of each trade; 0 leaves it out.
    within : float
        Seconds, >= 0.
    """
    within = require_nonnegative("within", within)
    kept = np.flatnonzero(side)
    kept = kept[np.argsort(side[kept], kind="stable")]
    time, sign, price, size = trades.time[kept], side[kept], trades.price[kept], trades.size[kept]
    first = np.ones(kept.size, dtype=bool)
    first[1:] = (np.diff(sign) != 0) | (np.diff(time) > within)
    start = np.flatnonzero(first)
    if start.size == 0:
        none = np.empty(0)
        return MarketOrders(none, np.empty(0, np.int8), none, none, none, np.empty(0, np.int64))
    # The furthest price is a maximum on either side once sales are mirrored.
    reach = np.maximum.reduceat(price * sign, start) * sign[start]
    total = np.add.reduceat(size, start)
    average = np.add.reduceat(price * size, start) / total
    order = np.argsort(time[start], kind="stable")
    return MarketOrders(
        time=time[start][order],
        side=sign[start][order],
        furthest=np.asarray(reach[order], dtype=np.float64),
        average=average[order],
        size=total[order],
        trades=np.diff(np.append(start, kept.size))[order].astype(np.int64),
    )
