"""The one rule by which all market makers quote: half-spreads from a table, whole ticks, one post-only order a side."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from numba import njit

from strategies.intraday.rule import SIGNATURE

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Integers = NDArray[np.int64]
    Rows = NDArray[Any]

# Of strategies.intraday.rule; compiled functions read numbers of their own file only.
NOW, OPEN, CLOSE, PHASE = 0, 1, 2, 3
BEST_BID, BEST_ASK = 5, 6
POSITION, N_OWN, NEXT_ID, MAX_POSITION, MAX_ORDER = 10, 13, 14, 15, 16
BID_LOTS, ASK_LOTS = 0, 1
BOUGHT, SOLD, SQUARED_MOVES = 3, 4, 6
NO_BID = -(1 << 62)
NO_ASK = (1 << 62) - 1
CONTINUOUS, CLOSED = 0, 3
SUBMIT, CANCEL, REPLACE = 1, 2, 3
POST_ONLY = 1
WORKING, CANCEL_SENT = 2, 3

# Places in `numbers`.
ORDER_LOTS, POSITION_LIMIT, WITHDRAW_NS, REQUOTE_TICKS, REFRESH, MICROPRICE, REGIMES = 0, 1, 2, 3, 4, 5, 6
"""Lots of an order; largest position; quiet time before the close; ticks that a standing order may be off; part of the
wanted lots below which an order is filled up; 1 for the microprice; regimes of the table."""
INTERVAL_NS, WINDOW, TOXIC_IN, TOXIC_OUT, VOLATILE_IN, VOLATILE_OUT = 7, 8, 9, 10, 11, 12
"""Length and number of the intervals of the signals, and where regime 1 begins and ends."""
FIRST_TABLE, TABLE_NUMBERS = 13, 4
PAIRS, TIMES, LOW, HIGH = 0, 1, 2, 3
"""Of each regime's table, from `FIRST_TABLE` on: pairs of steps of time, where in `numbers` the pairs' ends are
(seconds from 0 to the horizon, one more than pairs), bounds of the quotes in ticks."""

# Places in `memory`.
REGIME, INTERVALS, MARK_BOUGHT, MARK_SOLD, MARK_SQUARED, FIRST_SLOT = 0, 1, 2, 3, 4, 5
SLOT = 3

ROUNDING = 1e-9
"""Ticks by which a wanted price may miss a whole tick through rounding of the half-spread alone."""


# Helpers are inlined: calls between compiled functions count references of every array, a third of a rule's time.


@njit(cache=True, inline="always")
def table_quotes(
    table: Floats, numbers: Floats, regime: int, orders_held: float, time_to_close: float
) -> tuple[float, float]:
    """(bid, ask) half-spreads in ticks at an inventory in orders, whole or not; nan where a side is not quoted.

    Quadratic in time over each pair of steps, linear in inventory; between a quoted and an unquoted inventory the
    quoted one counts. Beyond the table its nearest end counts.
    """
    first = FIRST_TABLE + TABLE_NUMBERS * regime
    pairs, times = int(numbers[first + PAIRS]), int(numbers[first + TIMES])
    horizon = numbers[times + pairs]
    t = min(max(horizon - time_to_close, 0.0), horizon)
    low, high = 0, pairs
    while high - low > 1:
        middle_pair = (low + high) // 2
        if numbers[times + middle_pair] <= t:
            low = middle_pair
        else:
            high = middle_pair
    node = 2 * low
    share = (t - numbers[times + low]) / (numbers[times + low + 1] - numbers[times + low])
    rest = 1.0 - share
    left, middle, right = rest * (rest - share), 4.0 * share * rest, share * (share - rest)
    largest = table.shape[1] // 2
    held = min(max(orders_held, -float(largest)), float(largest))
    row = math.floor(held) + largest
    share = held - math.floor(held)
    bid = ask = math.nan
    for side in range(2):
        here = (
            left * table[regime, row, node, side]
            + middle * table[regime, row, node + 1, side]
            + right * table[regime, row, node + 2, side]
        )
        if share > 0.0:
            above = (
                left * table[regime, row + 1, node, side]
                + middle * table[regime, row + 1, node + 1, side]
                + right * table[regime, row + 1, node + 2, side]
            )
            if math.isnan(here):
                here = above
            elif not math.isnan(above):
                here = (1.0 - share) * here + share * above
        # Comparisons, not min and max: they leave nan as it is.
        if here < numbers[first + LOW]:
            here = numbers[first + LOW]
        if here > numbers[first + HIGH]:
            here = numbers[first + HIGH]
        if side == 0:
            bid = here
        else:
            ask = here
    return bid, ask


@njit(cache=True, inline="always")
def follow_regime(market: Integers, flow: Floats, numbers: Floats, memory: Floats) -> int:
    """Regime 0 or 1 after the intervals that are complete; remembers their flow.

    Toxicity is sum |bought - sold| / sum (bought + sold), volatility the root of the mid's squared moves a second, both
    over the last `WINDOW` intervals, each (a, b] counted from the session's first time. 1 begins when either is above
    its first threshold, and ends when neither is above its second; nothing changes before the first whole window.
    """
    step = int(numbers[INTERVAL_NS])
    complete = (market[NOW] - market[OPEN]) // step
    seen = int(memory[INTERVALS])
    if complete <= seen:
        return int(memory[REGIME])
    window = int(numbers[WINDOW])
    for interval in range(seen, complete):
        slot = FIRST_SLOT + SLOT * (interval % window)
        bought, sold = flow[BOUGHT] - memory[MARK_BOUGHT], flow[SOLD] - memory[MARK_SOLD]
        memory[slot] = abs(bought - sold)
        memory[slot + 1] = bought + sold
        memory[slot + 2] = flow[SQUARED_MOVES] - memory[MARK_SQUARED]
        memory[MARK_BOUGHT], memory[MARK_SOLD], memory[MARK_SQUARED] = flow[BOUGHT], flow[SOLD], flow[SQUARED_MOVES]
    memory[INTERVALS] = complete
    if complete < window:
        return int(memory[REGIME])
    imbalance = volume = squared = 0.0
    for slot in range(window):
        imbalance += memory[FIRST_SLOT + SLOT * slot]
        volume += memory[FIRST_SLOT + SLOT * slot + 1]
        squared += memory[FIRST_SLOT + SLOT * slot + 2]
    toxicity = imbalance / volume if volume > 0.0 else 0.0
    volatility = math.sqrt(squared / (1e-9 * step * window))
    if memory[REGIME] == 0.0:
        if toxicity > numbers[TOXIC_IN] or volatility > numbers[VOLATILE_IN]:
            memory[REGIME] = 1.0
    elif not (toxicity > numbers[TOXIC_OUT] or volatility > numbers[VOLATILE_OUT]):
        memory[REGIME] = 0.0
    return int(memory[REGIME])


@njit(cache=True, inline="always")
def wanted_quotes(
    market: Integers, flow: Floats, table: Floats, numbers: Floats, regime: int
) -> tuple[int, int, int, int]:
    """(bid tick, ask tick, bid lots, ask lots) to have in the book; `NO_BID`, `NO_ASK` and 0 lots for none."""
    nothing = (NO_BID, NO_ASK, 0, 0)
    best_bid, best_ask = market[BEST_BID], market[BEST_ASK]
    to_close = 1e-9 * (market[CLOSE] - market[NOW])
    if market[PHASE] != CONTINUOUS or best_bid == NO_BID or best_ask == NO_ASK or best_bid >= best_ask:
        return nothing
    if market[CLOSE] - market[NOW] <= numbers[WITHDRAW_NS]:
        return nothing
    reference = 0.5 * (best_bid + best_ask)
    shown = flow[BID_LOTS] + flow[ASK_LOTS]
    if numbers[MICROPRICE] == 1.0 and shown > 0.0:
        reference = best_bid + (best_ask - best_bid) * flow[BID_LOTS] / shown
    position = market[POSITION]
    bid_half, ask_half = table_quotes(table, numbers, regime, position / numbers[ORDER_LOTS], to_close)
    limit = min(int(numbers[POSITION_LIMIT]), market[MAX_POSITION])
    size = min(int(numbers[ORDER_LOTS]), market[MAX_ORDER])
    bid, ask = NO_BID, NO_ASK
    bid_lots, ask_lots = min(size, limit - position), min(size, limit + position)
    if bid_lots > 0 and not math.isnan(bid_half):
        bid = min(math.floor(reference - bid_half + ROUNDING), best_ask - 1)
        if bid < 1:
            bid = NO_BID
    if ask_lots > 0 and not math.isnan(ask_half):
        ask = max(math.ceil(reference + ask_half - ROUNDING), best_bid + 1)
    if bid >= ask:
        return nothing
    if bid == NO_BID:
        bid_lots = 0
    if ask == NO_ASK:
        ask_lots = 0
    return bid, ask, bid_lots, ask_lots


@njit(cache=True, inline="always")
def put_request(requests: Rows, count: int, action: int, order_id: int, side: int, tick: int, lots: int) -> int:
    """`count` + 1, with the request written at `count`."""
    requests[count].action = action
    requests[count].order_id = order_id
    requests[count].side = side
    requests[count].tick = tick
    requests[count].lots = lots
    requests[count].kind = POST_ONLY
    return count + 1


@njit(cache=True, inline="always")
def move_side(
    numbers: Floats,
    own: Rows,
    row: int,
    side: int,
    tick: int,
    lots: int,
    other_tick: int,
    order_id: int,
    requests: Rows,
    count: int,
) -> tuple[int, int]:
    """(requests so far, own tick of this side once they have arrived: `NO_BID`, `NO_ASK` for none).

    `row` is the side's order, -1 for none; `other_tick` where an own order of the other side will stand. A request that
    would meet it waits, and so does a new price for an order whose last request has no answer yet.
    """
    none = NO_BID if side > 0 else NO_ASK
    meets = (side > 0 and tick >= other_tick) or (side < 0 and tick <= other_tick)
    if row < 0:
        if lots == 0 or meets:
            return count, none
        return put_request(requests, count, SUBMIT, order_id, side, tick, lots), tick
    standing, left, state = own[row].tick, own[row].lots, own[row].state
    if lots == 0 and state != CANCEL_SENT:
        return put_request(requests, count, CANCEL, own[row].order_id, side, standing, left), none
    if state != WORKING:
        return count, standing
    if abs(tick - standing) <= numbers[REQUOTE_TICKS] and numbers[REFRESH] * lots <= left <= lots:
        return count, standing
    # More is left than may be held only when a limit has become smaller.
    if meets or left > lots:
        return put_request(requests, count, CANCEL, own[row].order_id, side, standing, left), none
    return put_request(requests, count, REPLACE, own[row].order_id, side, tick, lots), tick


@njit([SIGNATURE], cache=True)
def quoting_rule(
    market: Integers,
    flow: Floats,
    book: Floats,
    own: Rows,
    table: Floats,
    numbers: Floats,
    memory: Floats,
    requests: Rows,
) -> int:
    """How many requests bring the own quotes to the wanted ones: one post-only order a side.

    Table: half-spreads in ticks by (regime, inventory in orders, time, bid and ask); numbers and memory as above.
    """
    if market[PHASE] == CLOSED:
        return 0
    regime = follow_regime(market, flow, numbers, memory) if numbers[REGIMES] > 1.0 else 0
    bid, ask, bid_lots, ask_lots = wanted_quotes(market, flow, table, numbers, regime)
    buying = selling = -1
    count = 0
    for row in range(market[N_OWN]):
        if own[row].side > 0 and buying < 0:
            buying = row
        elif own[row].side < 0 and selling < 0:
            selling = row
        elif own[row].state != CANCEL_SENT and count < requests.size - 2:
            count = put_request(requests, count, CANCEL, own[row].order_id, own[row].side, own[row].tick, own[row].lots)
    own_bid = own[buying].tick if buying >= 0 else NO_BID
    own_ask = own[selling].tick if selling >= 0 else NO_ASK
    bid_id = market[NEXT_ID]
    # The side that makes room goes first: requests arrive in the order of sending.
    if bid_lots > 0 and bid >= own_ask:
        count, own_ask = move_side(numbers, own, selling, -1, ask, ask_lots, own_bid, bid_id, requests, count)
        count, own_bid = move_side(numbers, own, buying, 1, bid, bid_lots, own_ask, bid_id + 1, requests, count)
    else:
        count, own_bid = move_side(numbers, own, buying, 1, bid, bid_lots, own_ask, bid_id, requests, count)
        count, own_ask = move_side(numbers, own, selling, -1, ask, ask_lots, own_bid, bid_id + 1, requests, count)
    return count
