"""The compiled loop that sums trades and quotes into bars; it stops when its output is full and goes on from there."""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
from numba import njit

BY_TIME, BY_VOLUME, BY_TRADES = 0, 1, 2

STARTED, NUMBER, START, CURSOR, TRADES, UNSIGNED, AT_TRADE, AT_QUOTE, MID_TIME, MID_COUNTS = range(10)
INTS: Final = 10
(
    OPEN,
    HIGH,
    LOW,
    CLOSE,
    VALUE,
    QUANTITY,
    BOUGHT,
    SOLD,
    SPREAD_AREA,
    SPREAD_TIME,
    LEAN_AREA,
    LEAN_TIME,
    QUANTITY_REST,
    BOUGHT_REST,
    SOLD_REST,
    VARIANCE,
    LAST_PRICE,
    LAST_MID,
    NEXT_MID,
    SPREAD,
    LEAN,
) = range(21)
FLOATS: Final = 21

OUT_NUMBER, OUT_START, OUT_END, OUT_TRADES, OUT_UNSIGNED = 0, 1, 2, 3, 4
OUT_INTS: Final = 5
OUT_FLOATS: Final = VARIANCE + 1
"""The first floats of the state are the bar's own: a row of output is a copy of them."""


@njit(cache=True)
def first_fault(times: Any, price: Any, quantity: Any, before: int, place: Any) -> int:
    """0, or the first rule that a trade breaks, its row into place (1,): 1 order of time, 2 price, 3 quantity."""
    for i in range(times.size):
        place[0] = i
        if times[i] < before:
            return 1
        before = times[i]
        if not abs(price[i]) < np.inf:
            return 2
        if not 0.0 <= quantity[i] < np.inf:
            return 3
    return 0


@njit(cache=True, inline="always")
def _rest(total: float, part: float, summed: float) -> float:
    """What rounding left out of total + part (Knuth's two-sum): ten trades of 0.1 are 1, not a little less."""
    back = summed - total
    return (total - (summed - back)) + (part - back)


@njit(cache=True)
def _close_bar(row: int, end: int, whole: Any, real: Any, out_whole: Any, out_real: Any) -> None:
    """Write the bar of the state and begin the next one at its end."""
    out_whole[row, OUT_NUMBER] = whole[NUMBER]
    out_whole[row, OUT_START] = whole[START]
    out_whole[row, OUT_END] = end
    out_whole[row, OUT_TRADES] = whole[TRADES]
    out_whole[row, OUT_UNSIGNED] = whole[UNSIGNED]
    for k in range(3):
        real[QUANTITY + k] += real[QUANTITY_REST + k]
    for k in range(OUT_FLOATS):
        out_real[row, k] = real[k]
        real[k] = 0.0
    whole[NUMBER] += 1
    whole[START] = end
    whole[TRADES] = 0
    whole[UNSIGNED] = 0


@njit(cache=True)
def _weigh(until: int, whole: Any, real: Any) -> None:
    """Let the quote in force count from the cursor to `until`."""
    if until > whole[CURSOR]:
        width = float(until - whole[CURSOR])
        if real[SPREAD] >= 0.0:
            real[SPREAD_AREA] += width * real[SPREAD]
            real[SPREAD_TIME] += width
        if -1.0 <= real[LEAN] <= 1.0:
            real[LEAN_AREA] += width * real[LEAN]
            real[LEAN_TIME] += width
        whole[CURSOR] = until


@njit(cache=True)
def _settle_mid(now: int, whole: Any, real: Any) -> None:
    """Let the mid that the last moment of quotes before `now` ended with add to the variance.

    A message that changes the book in steps shows several quotes at one time; only the last one was ever in force.
    """
    if real[NEXT_MID] > 0.0 and whole[MID_TIME] < now:
        if whole[MID_COUNTS] and real[LAST_MID] > 0.0 and real[NEXT_MID] != real[LAST_MID]:
            step = math.log(real[NEXT_MID] / real[LAST_MID])
            real[VARIANCE] += step * step
        real[LAST_MID], real[NEXT_MID] = real[NEXT_MID], 0.0


@njit(cache=True)
def _take_quote(
    now: int, bid: float, bid_size: float, ask: float, ask_size: float, counts: bool, whole: Any, real: Any
) -> None:
    """Put a quote in force; its mid waits for what else its moment brings."""
    _settle_mid(now, whole, real)
    real[SPREAD], real[LEAN], real[NEXT_MID] = math.nan, math.nan, 0.0
    if bid <= ask:  # false for a missing side and for a crossed book
        real[SPREAD] = ask - bid
        if bid_size + ask_size > 0.0:
            real[LEAN] = (bid_size - ask_size) / (bid_size + ask_size)
        mid = 0.5 * (bid + ask)
        if mid > 0.0:
            real[NEXT_MID] = mid
            whole[MID_TIME], whole[MID_COUNTS] = now, counts


@njit(cache=True)
def sum_bars(
    kind: int,
    size: int,
    amount: float,
    origin: int,
    until: int,
    times: Any,
    price: Any,
    quantity: Any,
    side: Any,
    quote_times: Any,
    bid: Any,
    bid_size: Any,
    ask: Any,
    ask_size: Any,
    quoted: bool,
    whole: Any,
    real: Any,
    out_whole: Any,
    out_real: Any,
) -> int:
    """Rows written: trades and quotes in order of time, trades first, from where the state stopped.

    size (ns or trades), amount (quantity); origin: a border of the time grid; until: borders up to here, included, are
    past when all trades and quotes are used. side int8: 1, -1, 0, or any other number for unknown. Trades of a run
    between two quotes are summed in registers.
    """
    rows, room = 0, out_whole.shape[0]
    i, j = whole[AT_TRADE], whole[AT_QUOTE]
    trades, quotes = times.size, quote_times.size
    while True:
        # the next event, and the moment up to which time has passed
        more = i < trades or j < quotes
        trade_next = i < trades and (j >= quotes or times[i] <= quote_times[j])
        now = (times[i] if trade_next else quote_times[j]) if more else until
        if kind == BY_TIME:
            if whole[STARTED] == 0:
                if not more:
                    break
                whole[STARTED] = 1
                whole[START] = origin + (now - origin) // size * size
                whole[CURSOR] = whole[START]
            end = whole[START] + size
            if now >= end:
                if rows == room:
                    break
                _weigh(end, whole, real)
                _settle_mid(end, whole, real)
                _close_bar(rows, end, whole, real, out_whole, out_real)
                rows += 1
                continue
        if not more:
            break
        if not trade_next:
            if whole[STARTED]:
                _weigh(now, whole, real)
            _take_quote(now, bid[j], bid_size[j], ask[j], ask_size[j], whole[STARTED] == 1, whole, real)
            j += 1
            continue
        if rows == room:
            break
        if whole[STARTED] == 0:
            whole[STARTED] = 1
            whole[START] = now
            whole[CURSOR] = now
        border = quote_times[j] if j < quotes else np.iinfo(np.int64).max
        if kind == BY_TIME:
            border = min(border, whole[START] + size - 1)
        count, unsigned = whole[TRADES], whole[UNSIGNED]
        high, low, last = real[HIGH], real[LOW], real[LAST_PRICE]
        value, total, bought, sold = real[VALUE], real[QUANTITY], real[BOUGHT], real[SOLD]
        total_rest, bought_rest, sold_rest = real[QUANTITY_REST], real[BOUGHT_REST], real[SOLD_REST]
        variance = real[VARIANCE]
        if count == 0:
            real[OPEN] = high = low = price[i]
        full = False
        while i < trades and times[i] <= border:
            p, q, s = price[i], quantity[i], side[i]
            now = times[i]
            if p > high:
                high = p
            if p < low:
                low = p
            value += p * q
            summed = total + q
            total_rest += _rest(total, q, summed)
            total = summed
            if s == 1:
                summed = bought + q
                bought_rest += _rest(bought, q, summed)
                bought = summed
            elif s == -1:
                summed = sold + q
                sold_rest += _rest(sold, q, summed)
                sold = summed
            elif s != 0:
                unsigned += 1
            if not quoted and p != last:
                if p > 0.0 and last > 0.0:
                    step = math.log(p / last)
                    variance += step * step
                last = p
            count += 1
            i += 1
            if (kind == BY_TRADES and count >= size) or (kind == BY_VOLUME and total + total_rest >= amount):
                full = True
                break
        real[HIGH], real[LOW], real[CLOSE], real[LAST_PRICE] = high, low, price[i - 1], last
        real[VALUE], real[QUANTITY], real[BOUGHT], real[SOLD] = value, total, bought, sold
        real[QUANTITY_REST], real[BOUGHT_REST], real[SOLD_REST] = total_rest, bought_rest, sold_rest
        real[VARIANCE] = variance
        whole[TRADES], whole[UNSIGNED] = count, unsigned
        # a quote is weighed where it ends or a bar does: at each trade, chunks would change the rounding
        if full:
            _weigh(now, whole, real)
            _settle_mid(now, whole, real)
            _close_bar(rows, now, whole, real, out_whole, out_real)
            rows += 1
    whole[AT_TRADE], whole[AT_QUOTE] = i, j
    return rows
