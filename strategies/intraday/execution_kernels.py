"""The rule that works a parent order along a schedule: joins the best price, and crosses when it falls behind."""

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
POSITION, N_OWN, NEXT_ID, MAX_POSITION, MAX_ORDER = 10, 13, 14, 15, 16
NO_BID = -(1 << 62)
NO_ASK = (1 << 62) - 1
CONTINUOUS, CLOSED = 0, 3
SUBMIT, CANCEL, REPLACE = 1, 2, 3
POST_ONLY, IOC = 1, 2
WORKING, CANCEL_SENT = 2, 3
ON_CLOCK = 1

# Places in `numbers`.
SIDE, LOTS, CHILD_LOTS, TOLERANCE_LOTS, THROUGH_TICKS, REFRESH = 0, 1, 2, 3, 4, 5
"""+1 buy or -1 sell; lots of the parent; of a resting order; how far the fills may be from the schedule; ticks beyond
the best that a crossing order may pay; part of the wanted lots below which a resting order is filled up."""
START_SECONDS, WORK_SECONDS, FINISH_SECONDS = 6, 7, 8
"""The schedule begins so long after the session's start and lasts so long; 0: until so long before its end."""

# Places in `memory`.
CROSSING, TRIED, TRIED_TICK, TRIED_DONE = 0, 1, 2, 3
"""Number of the last crossing order; 1 while the answer to a resting order's price is not known, its tick, and what was
done when it was sent."""
MEMORY = 4

ROUNDING = 1e-9
"""Lots by which the schedule may miss a whole lot through rounding alone."""


# Helpers are inlined: calls between compiled functions count references of every array, a third of a rule's time.


@njit(cache=True, inline="always")
def scheduled_lots(market: Integers, table: Floats, numbers: Floats) -> tuple[float, float]:
    """(lots that should be done by now, lots that may be missing): linear between the schedule's equal steps."""
    session = 1e-9 * (market[CLOSE] - market[OPEN])
    length = numbers[WORK_SECONDS]
    if length <= 0.0:
        length = session - numbers[START_SECONDS] - numbers[FINISH_SECONDS]
    done_for = 1e-9 * (market[NOW] - market[OPEN]) - numbers[START_SECONDS]
    if done_for < 0.0:
        return 0.0, 0.0
    if done_for >= length:
        return numbers[LOTS], 0.0
    steps = table.shape[2] - 1
    place = done_for / length * steps
    node = min(int(place), steps - 1)
    left = table[0, 0, node, 0] + (place - node) * (table[0, 0, node + 1, 0] - table[0, 0, node, 0])
    return numbers[LOTS] * (1.0 - left), numbers[TOLERANCE_LOTS]


@njit(cache=True, inline="always")
def put_order(
    requests: Rows, count: int, action: int, order_id: int, side: int, tick: int, lots: int, kind: int
) -> int:
    """`count` + 1, with the request written at `count`."""
    requests[count].action = action
    requests[count].order_id = order_id
    requests[count].side = side
    requests[count].tick = tick
    requests[count].lots = lots
    requests[count].kind = kind
    return count + 1


@njit(cache=True, inline="always")
def was_refused(market: Integers, own: Rows, resting: int, done: int, memory: Floats) -> bool:
    """Whether the resting order's last price was refused since the last step of the clock, as in `quoting_kernels`."""
    if memory[TRIED] == 0.0:
        return False
    working = resting >= 0 and own[resting].state == WORKING
    stands = working and own[resting].tick == int(memory[TRIED_TICK])
    if market[WHY] & ON_CLOCK or stands or done > int(memory[TRIED_DONE]):
        memory[TRIED] = 0.0
        return False
    return working or resting < 0


@njit([SIGNATURE], cache=True)
def execution_rule(
    market: Integers,
    flow: Floats,
    book: Floats,
    own: Rows,
    table: Floats,
    numbers: Floats,
    memory: Floats,
    requests: Rows,
) -> int:
    """How many requests keep the parent order on its schedule; what is done and what is open never exceed its lots.

    Table: share of the parent still to do at equal steps of the schedule, [0, 0, step, 0]. A post-only order rests at
    the best price of its side, for no more than keeps within the tolerance ahead of the schedule. When more than the
    tolerance is missing at a step of the clock, an immediate-or-cancel order takes what is missing; a resting order
    that would make it too much is first taken back, and the next step awaited. A refused price waits for the next step.
    """
    side = int(numbers[SIDE])
    parent = min(int(numbers[LOTS]), market[MAX_POSITION])
    done = side * market[POSITION]
    if market[PHASE] == CLOSED:
        return 0
    count = 0
    resting, crossing_lots, other_lots = -1, 0, 0
    for row in range(market[N_OWN]):
        if own[row].order_id == int(memory[CROSSING]):
            crossing_lots += own[row].lots
        elif resting < 0 and own[row].side == side:
            resting = row
        else:
            other_lots += own[row].lots
            if own[row].state != CANCEL_SENT and count < requests.size - 2:
                count = put_order(
                    requests, count, CANCEL, own[row].order_id, own[row].side, own[row].tick, own[row].lots, POST_ONLY
                )
    if market[PHASE] != CONTINUOUS or other_lots > 0:
        return count
    near, far = market[BEST_BID], market[BEST_ASK]
    if side < 0:
        near, far = far, near
    has_near = near != NO_BID and near != NO_ASK
    has_far = far != NO_BID and far != NO_ASK
    target, tolerance = scheduled_lots(market, table, numbers)
    room = parent - done - crossing_lots
    left = own[resting].lots if resting >= 0 else 0
    next_id = market[NEXT_ID]
    missing = 0
    if crossing_lots == 0 and has_far and target - done > tolerance + ROUNDING:
        missing = min(math.ceil(target - done - ROUNDING), room, market[MAX_ORDER])
    if missing > 0 and left + missing > room:
        if own[resting].state != WORKING:
            return count
        keep = room - missing
        action = REPLACE if keep > 0 else CANCEL
        return put_order(requests, count, action, own[resting].order_id, side, own[resting].tick, keep, POST_ONLY)
    if missing > 0 and market[WHY] & ON_CLOCK != 0:
        count = put_order(
            requests, count, SUBMIT, next_id, side, far + side * int(numbers[THROUGH_TICKS]), missing, IOC
        )
        memory[CROSSING] = float(next_id)
        next_id += 1
    ahead = math.floor(target + tolerance + ROUNDING) - done - crossing_lots - missing
    lots = min(int(numbers[CHILD_LOTS]), room - missing, ahead, market[MAX_ORDER])
    if not has_near or (has_far and side * (far - near) <= 0):
        return count
    if was_refused(market, own, resting, done, memory):
        return count
    action, order_id, wanted = SUBMIT, next_id, lots
    if resting >= 0:
        if own[resting].state != WORKING or (own[resting].tick == near and left >= numbers[REFRESH] * lots):
            return count
        action, order_id, wanted = REPLACE, own[resting].order_id, max(lots, min(left, room - missing))
    if wanted > 0:
        count = put_order(requests, count, action, order_id, side, near, wanted, POST_ONLY)
        memory[TRIED], memory[TRIED_TICK], memory[TRIED_DONE] = 1.0, near, done
    return count
