"""Who was the aggressor, guessed by a named rule for trades whose feed does not say: nothing on ingest asks for it.

Both rules look only at what came before the trade. `0` says that the rule has no answer, never that nobody was.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray

Signs = NDArray[np.int8]
_ROUNDING: Final = 8.0 * float(np.finfo(np.float64).eps)


def tick_rule(price: ArrayLike) -> Signs:
    """(n,) int8: +1 where the last different price before was lower, -1 where it was higher, 0 where there is none.

    Prices are those of one instrument and session in the order of the trades; a price that is not finite gets 0 and is
    passed over. The rule is compared with others by Lee & Ready (1991).

    Examples
    --------
    >>> tick_rule([10.0, 10.1, 10.1, 10.0]).tolist()
    [0, 1, 1, -1]
    """
    prices = np.asarray(price, dtype=np.float64)
    if prices.ndim != 1:
        raise ValueError(f"price must be a list of prices; had {prices.ndim} dimensions")
    signs = np.zeros(prices.size, dtype=np.int8)
    known = np.flatnonzero(np.isfinite(prices))
    if known.size == 0:
        return signs
    step = np.r_[0.0, np.sign(np.diff(prices[known]))]
    # each trade takes the sign of the last move up to it
    last = np.maximum.accumulate(np.where(step != 0.0, np.arange(step.size), 0))
    signs[known] = step[last]
    return signs


def lee_ready(trades: pa.Table, quotes: pa.Table, *, delay_ns: int = 0) -> Signs:
    """(n,) int8, in the order of the rows of `trades`: the quote rule, and the tick rule for trades at the mid.

    A trade above the mid of the quotes in force strictly before it is a buy, below it a sell; at the mid, or where a
    side is empty, the tick rule decides (Lee & Ready 1991). Quotes of the very time of a trade may be its consequence
    and do not count.

    Parameters
    ----------
    trades : pyarrow.Table
        Columns session, symbol, time, price (and sequence, the order of equal times, where there is one) of the table
        `trades`; several sessions and symbols may be mixed, and none looks at another.
    quotes : pyarrow.Table
        Columns session, symbol, time, bid, ask (and sequence) of the table `quotes`.
    delay_ns : int
        A trade meets the quotes of so many nanoseconds before it: Lee and Ready took 5 s, as trades were reported late
        in 1988; where both have one clock, 0.

    Raises
    ------
    ValueError
        When a column is missing or `delay_ns` is negative.
    """
    if delay_ns < 0:
        raise ValueError(f"delay_ns must be 0 or more: later quotes are not known to a trade; was {delay_ns}")
    for name, table, needed in (("trades", trades, ("price",)), ("quotes", quotes, ("bid", "ask"))):
        missing = [column for column in ("session", "symbol", "time", *needed) if column not in table.column_names]
        if missing:
            raise ValueError(f"{name} must have the column(s) {', '.join(missing)}")
    groups = _groups(trades)
    of_quotes = _groups(quotes)
    signs = np.zeros(trades.num_rows, dtype=np.int8)
    times, price = _nanoseconds(trades), _floats(trades, "price")
    quote_times = _nanoseconds(quotes)
    mid = (_floats(quotes, "bid") + _floats(quotes, "ask")) / 2.0
    for key, rows in groups.items():
        shown = of_quotes.get(key, np.empty(0, dtype=np.int64))
        at_mid = tick_rule(price[rows])
        met = np.searchsorted(quote_times[shown], times[rows] - delay_ns, side="left") - 1
        held = np.where(met >= 0, mid[shown][np.maximum(met, 0)], np.nan) if shown.size else np.full(rows.size, np.nan)
        apart = price[rows] - held
        # half the sum of two decimal prices is rounded: a price that close to it is at it
        told = np.abs(apart) > _ROUNDING * np.abs(held)
        signs[rows] = np.where(told, np.sign(np.where(told, apart, 0.0)), at_mid)
    return signs


def _nanoseconds(table: pa.Table) -> NDArray[np.int64]:
    return np.asarray(table["time"].cast(pa.timestamp("ns", tz="UTC")).cast(pa.int64()).to_numpy())


def _floats(table: pa.Table, column: str) -> NDArray[np.float64]:
    return np.asarray(table[column].to_numpy(zero_copy_only=False), dtype=np.float64)


def _groups(table: pa.Table) -> dict[tuple[Any, Any], NDArray[np.int64]]:
    """Rows of each session and symbol, in order of time and sequence."""
    if table.num_rows == 0:
        return {}
    coded = []
    for name in ("session", "symbol"):
        column = table[name].combine_chunks().dictionary_encode()
        coded.append((column.indices.to_numpy(), column.dictionary.to_pylist()))
    (session, days), (symbol, texts) = coded
    times = _nanoseconds(table)
    sequence = table["sequence"].to_numpy() if "sequence" in table.column_names else np.arange(times.size)
    order = np.lexsort((sequence, times, symbol, session))
    cuts = np.flatnonzero((np.diff(session[order]) != 0) | (np.diff(symbol[order]) != 0)) + 1
    return {(days[session[rows[0]]], texts[symbol[rows[0]]]): rows for rows in np.split(order, cuts)}
