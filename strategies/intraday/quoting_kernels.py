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
NOW, OPEN, CLOSE, PHASE, WHY = 0, 1, 2, 3, 4
BEST_BID, BEST_ASK = 5, 6
LAST_TICK, LAST_SIDE = 8, 9
POSITION, N_OWN, NEXT_ID, MAX_POSITION, MAX_ORDER = 10, 13, 14, 15, 16
BID_LOTS, ASK_LOTS = 0, 1
BOUGHT, SOLD, SQUARED_MOVES = 3, 4, 6
NO_BID = -(1 << 62)
NO_ASK = (1 << 62) - 1
CONTINUOUS, CLOSED = 0, 3
ON_CLOCK = 1
SUBMIT, CANCEL, REPLACE = 1, 2, 3
POST_ONLY = 1
WORKING, CANCEL_SENT = 2, 3

# Places in `numbers`.
ORDER_LOTS, POSITION_LIMIT, WITHDRAW_NS, REQUOTE_TICKS, REFRESH, REFERENCE, REGIMES = 0, 1, 2, 3, 4, 5, 6
"""Lots of an order; largest position; quiet time before the close; ticks that a standing order may be off; part of the
wanted lots below which an order is filled up; what half-spreads are measured from; regimes of the table."""
MID, MICROPRICE, LAST_TRADE = 0.0, 1.0, 2.0
"""The references."""
INTERVAL_NS, WINDOW, TOXIC_IN, TOXIC_OUT, VOLATILE_IN, VOLATILE_OUT = 7, 8, 9, 10, 11, 12
"""Length and number of the intervals of the signals, and where regime 1 begins and ends."""
MARKET_HALF = 13
"""Half-spread of the market in training, ticks: how far a trade was from the mid."""
FIRST_TABLE, TABLE_NUMBERS = 14, 4
PAIRS, TIMES, LOW, HIGH = 0, 1, 2, 3
"""Of each regime's table, from `FIRST_TABLE` on: pairs of steps of time, where in `numbers` the pairs' ends are
(seconds from 0 to the horizon, one more than pairs), bounds of the quotes in ticks."""

# Places in `memory`.
REGIME, INTERVALS, MARK_BOUGHT, MARK_SOLD, MARK_SQUARED = 0, 1, 2, 3, 4
TRIED, TRY = 5, 3
"""`TRY` numbers of the bid, then of the ask: 1 while the answer to a price that was sent is not known, its tick, and
the position when it was sent."""
FIRST_SLOT, SLOT = 11, 3

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
def reference_price(market: Integers, flow: Floats, numbers: Floats) -> tuple[float, int, int]:
    """(what half-spreads are measured from, highest bid, lowest ask), ticks; nan where there is nothing to go by.

    The last trade was half a spread from the mid, on its aggressor's side. Where the book does not show the other side,
    it is taken to stand where the aggressor met it: a bid stays below the price that was paid, and may join a price
    that was sold at; without aggressor both stay off it.
    """
    best_bid, best_ask = market[BEST_BID], market[BEST_ASK]
    two_sided = best_bid != NO_BID and best_ask != NO_ASK
    if two_sided and best_bid >= best_ask:
        return math.nan, NO_BID, NO_ASK
    if numbers[REFERENCE] == LAST_TRADE:
        last, side = market[LAST_TICK], market[LAST_SIDE]
        highest = best_ask - 1 if best_ask != NO_ASK else last - (side >= 0)
        lowest = best_bid + 1 if best_bid != NO_BID else last + (side <= 0)
        seen = last != 0 or side != 0
        return (last - side * numbers[MARKET_HALF] if seen else math.nan), highest, lowest
    if not two_sided:
        return math.nan, NO_BID, NO_ASK
    reference = 0.5 * (best_bid + best_ask)
    shown = flow[BID_LOTS] + flow[ASK_LOTS]
    if numbers[REFERENCE] == MICROPRICE and shown > 0.0:
        reference = best_bid + (best_ask - best_bid) * flow[BID_LOTS] / shown
    return reference, best_ask - 1, best_bid + 1


@njit(cache=True, inline="always")
def wanted_quotes(
    market: Integers, flow: Floats, table: Floats, numbers: Floats, regime: int
) -> tuple[int, int, int, int]:
    """(bid tick, ask tick, bid lots, ask lots) to have in the book; `NO_BID`, `NO_ASK` and 0 lots for none."""
    nothing = (NO_BID, NO_ASK, 0, 0)
    to_close = 1e-9 * (market[CLOSE] - market[NOW])
    if market[PHASE] != CONTINUOUS or market[CLOSE] - market[NOW] <= numbers[WITHDRAW_NS]:
        return nothing
    reference, highest_bid, lowest_ask = reference_price(market, flow, numbers)
    if math.isnan(reference):
        return nothing
    position = market[POSITION]
    bid_half, ask_half = table_quotes(table, numbers, regime, position / numbers[ORDER_LOTS], to_close)
    limit = min(int(numbers[POSITION_LIMIT]), market[MAX_POSITION])
    size = min(int(numbers[ORDER_LOTS]), market[MAX_ORDER])
    bid, ask = NO_BID, NO_ASK
    bid_lots, ask_lots = min(size, limit - position), min(size, limit + position)
    if bid_lots > 0 and not math.isnan(bid_half):
        bid = min(math.floor(reference - bid_half + ROUNDING), highest_bid)
        if bid < 1:
            bid = NO_BID
    if ask_lots > 0 and not math.isnan(ask_half):
        ask = max(math.ceil(reference + ask_half - ROUNDING), lowest_ask)
    if bid >= ask:
        return nothing
    if bid == NO_BID:
        bid_lots = 0
    if ask == NO_ASK:
        ask_lots = 0
    return bid, ask, bid_lots, ask_lots


@njit(cache=True, inline="always")
def was_refused(market: Integers, own: Rows, row: int, side: int, memory: Floats) -> bool:
    """Whether a side's last price was refused since the last step of the clock: it is not tried again before the next.

    An answer that the order stands at the tick, or a position that went the order's way, says that it was taken. What
    the local book shows may be older than the exchange's: to try again at once would be refused again, without end
    where nothing takes any time.
    """
    first = TRIED + (TRY if side < 0 else 0)
    if memory[first] == 0.0:
        return False
    stands = row >= 0 and own[row].state == WORKING and own[row].tick == int(memory[first + 1])
    filled = side * (market[POSITION] - int(memory[first + 2])) > 0
    if market[WHY] & ON_CLOCK or stands or filled:
        memory[first] = 0.0
        return False
    return row < 0 or own[row].state == WORKING


@njit(cache=True, inline="always")
def remember_try(market: Integers, requests: Rows, first_request: int, count: int, memory: Floats) -> None:
    """Keep what was just asked for until its answer is known."""
    for place in range(first_request, count):
        first = TRIED + (TRY if requests[place].side < 0 else 0)
        memory[first] = 1.0 if requests[place].action != CANCEL else 0.0
        memory[first + 1], memory[first + 2] = requests[place].tick, market[POSITION]


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
    waits: bool,
    requests: Rows,
    count: int,
) -> tuple[int, int]:
    """(requests so far, own tick of this side once they have arrived: `NO_BID`, `NO_ASK` for none).

    `row` is the side's order, -1 for none; `other_tick` where an own order of the other side will stand. A request that
    would meet it waits, and so does a new price for an order whose last request has no answer yet, or on a side that
    `waits`.
    """
    none = NO_BID if side > 0 else NO_ASK
    meets = (side > 0 and tick >= other_tick) or (side < 0 and tick <= other_tick)
    if row < 0:
        if lots == 0 or meets or waits:
            return count, none
        return put_request(requests, count, SUBMIT, order_id, side, tick, lots), tick
    standing, left, state = own[row].tick, own[row].lots, own[row].state
    if lots == 0 and state != CANCEL_SENT:
        return put_request(requests, count, CANCEL, own[row].order_id, side, standing, left), none
    if state != WORKING or waits:
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
    bid_id, first_request = market[NEXT_ID], count
    bid_waits = was_refused(market, own, buying, 1, memory)
    ask_waits = was_refused(market, own, selling, -1, memory)
    # The side that makes room goes first: requests arrive in the order of sending.
    if bid_lots > 0 and bid >= own_ask:
        count, own_ask = move_side(
            numbers, own, selling, -1, ask, ask_lots, own_bid, bid_id, ask_waits, requests, count
        )
        count, own_bid = move_side(
            numbers, own, buying, 1, bid, bid_lots, own_ask, bid_id + 1, bid_waits, requests, count
        )
    else:
        count, own_bid = move_side(numbers, own, buying, 1, bid, bid_lots, own_ask, bid_id, bid_waits, requests, count)
        count, own_ask = move_side(
            numbers, own, selling, -1, ask, ask_lots, own_bid, bid_id + 1, ask_waits, requests, count
        )
    remember_try(market, requests, first_request, count, memory)
    return count
