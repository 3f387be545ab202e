"""Best quotes as trades alone tell them: the last price that was bought at and the last that was sold at.

They are as old as the last trade of their side, and a price that nobody traded at was never seen: the spread is too
wide after a move in one direction. Nothing here looks ahead: each quote comes from trades up to its own time.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray


class TradeQuotes(NamedTuple):
    """(n,) best quotes after each trade, nan where none is told, and the quantity of the trade that told each."""

    bid: NDArray[np.float64]
    ask: NDArray[np.float64]
    bid_quantity: NDArray[np.float64]
    ask_quantity: NDArray[np.float64]


def quotes_of_trades(price: ArrayLike, side: ArrayLike, quantity: ArrayLike) -> TradeQuotes:
    """Quotes after each trade: a purchase tells the ask, a sale the bid; trades without a side tell nothing.

    While the two have met or crossed, the older one is out of date: nan.

    Examples
    --------
    >>> found = quotes_of_trades([10.0, 10.2, 10.2, 9.9], [-1, 1, 1, -1], [1.0, 2.0, 3.0, 4.0])
    >>> found.bid.tolist(), found.ask.tolist()
    ([10.0, 10.0, 10.0, 9.9], [nan, 10.2, 10.2, 10.2])
    >>> quotes_of_trades([10.2, 10.0, 10.3], [1, -1, -1], [1.0, 1.0, 1.0]).ask.tolist()
    [10.2, 10.2, nan]
    """
    prices, sides, sizes = (np.asarray(values) for values in (price, side, quantity))
    told = {sign: _last(sides == sign) for sign in (-1, 1)}
    found: dict[int, NDArray[Any]] = {sign: _taken(prices, told[sign]) for sign in told}
    crossed = found[-1] >= found[1]
    for sign, rows in told.items():
        old = crossed & (rows < told[-sign])
        found[sign] = np.where(old, np.nan, found[sign])
    return TradeQuotes(found[-1], found[1], _taken(sizes, told[-1]), _taken(sizes, told[1]))


def _last(there: NDArray[np.bool_]) -> NDArray[np.intp]:
    """(n,) row of the last True up to each row, -1 before the first."""
    return np.maximum.accumulate(np.where(there, np.arange(there.size), -1))


def _taken(values: NDArray[Any], rows: NDArray[np.intp]) -> NDArray[np.float64]:
    if not values.size:
        return np.empty(0)
    return np.where(rows >= 0, values[np.maximum(rows, 0)].astype(np.float64), np.nan)
