"""A large simulated L2 feed with queues that grow, are withdrawn from and trade, and the maker that is run on it.

The feed is quick to make (a few million events a second) and kind to nobody: never crossed, whole lots, prints that
sweep several levels, levels that vanish and come back, one print and then the change of its level at one instant.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numba import njit

from data_pipeline.book.events import EVENT_DTYPE
from strategies.intraday.rule import SIGNATURE, Instrument, Rule

START_NS: Final = 1_700_000_000_000_000_000
TICK: Final = 0.1
INSTRUMENT: Final = Instrument("SIM", "SIM", tick_size=TICK, lot_size=1.0)
DEPTH: Final = 60
"""Levels of a side that hold anything."""


@njit(cache=True)
def _fill_feed(rng: Any, mean_gap: float, middle: int, ev: Any, time: Any, tick: Any, lots: Any) -> int:
    """Write events until the arrays are full; the number written."""
    quantity = np.zeros((2, 2 * middle))
    best = np.array([middle, middle + 1])
    n, now = 0, 0.0
    for k in range(DEPTH):
        for side in range(2):
            at = best[side] + (k if side else -k)
            quantity[side, at] = 5.0 + rng.integers(0, 60)
            ev[n], time[n], tick[n], lots[n] = side, 0, at, quantity[side, at]
            n += 1
    while n < ev.size - DEPTH:
        now += rng.exponential(mean_gap)
        side = rng.integers(0, 2)
        step = 1 if side else -1  # away from the best
        what = rng.random()
        if what < 0.52:
            at = best[1 - side] + step * min(rng.geometric(0.25), DEPTH)
            quantity[side, at] += 1.0 + rng.geometric(0.12)
            best[side] = max(best[side], at) if side == 0 else min(best[side], at)
        elif what < 0.90:
            at = best[side] + step * (rng.geometric(0.25) - 1)
            held = quantity[side, at]
            if held == 0.0:
                continue
            quantity[side, at] = held - np.ceil(held * rng.random() ** 2)
        else:
            left = float(rng.geometric(0.05 if rng.random() < 0.2 else 0.3))
            while left > 0.0 and n < ev.size - 4:
                at = best[side]
                done = min(left, quantity[side, at])
                left -= done
                quantity[side, at] -= done
                ev[n], time[n], tick[n], lots[n] = 2 + side, int(now), at, done
                ev[n + 1], time[n + 1], tick[n + 1], lots[n + 1] = side, int(now), at, quantity[side, at]
                n += 2
                while quantity[side, best[side]] == 0.0:
                    best[side] += step
            continue
        ev[n], time[n], tick[n], lots[n] = side, int(now), at, quantity[side, at]
        n += 1
        while quantity[side, best[side]] == 0.0:
            best[side] += step
        if abs(best[side] - middle) > middle // 2:
            break
    return n


def simulated_feed(count: int, *, seed: int = 1, mean_gap_ns: float = 1e6, delay_ns: int = 2_000_000) -> np.ndarray:
    """(count,) L2 events, both flags, about one each `mean_gap_ns`; seen `delay_ns` and up to a half more later."""
    from data_pipeline.book import events as e

    what, time = np.empty(count + 2 * DEPTH, dtype=np.int64), np.empty(count + 2 * DEPTH, dtype=np.int64)
    tick, lots = np.empty_like(time), np.empty(time.size)
    if _fill_feed(np.random.default_rng(seed), mean_gap_ns, 100_000, what, time, tick, lots) < count:
        raise ValueError("the simulated price wandered out of its range: take another seed")
    kinds = np.array([e.DEPTH | e.BUY, e.DEPTH | e.SELL, e.TRADE | e.SELL, e.TRADE | e.BUY], dtype=np.uint64)
    events = np.zeros(count, dtype=EVENT_DTYPE)
    events["ev"] = kinds[what[:count]] | np.uint64(e.EXCH | e.LOCAL)
    events["exch_ts"] = START_NS + time[:count]
    late = delay_ns + np.random.default_rng(seed).integers(0, delay_ns // 2, count)
    events["local_ts"] = np.maximum.accumulate(events["exch_ts"] + late)
    events["px"], events["qty"] = tick[:count] / 10.0, lots[:count]
    return events


@njit([SIGNATURE], cache=True)
def maker(market, flow, book, own, table, numbers, memory, requests):
    """One order a side, `numbers[0]` half ticks from the mid: withdrawn when it is elsewhere, sent when there is none.

    numbers: distance from the mid in half ticks, lots of an order, the largest position, kind of order, and 1 to send
    nothing at or beyond an own order of the other side.
    """
    count = 0
    bid, ask = market[5], market[6]
    if bid <= -(1 << 62) or ask >= (1 << 62) - 1:
        return 0
    away, lots, most = int(numbers[0]), int(numbers[1]), int(numbers[2])
    wanted_bid = (bid + ask - away) // 2
    wanted_ask = -((-(bid + ask + away)) // 2)
    has_bid, has_ask = False, False
    lowest_ask, highest_bid = 1 << 40, -(1 << 40)
    for i in range(market[13]):
        at = own[i]["tick"]
        if own[i]["side"] == 1:
            highest_bid = max(highest_bid, at)
            stands = at == wanted_bid and market[10] < most
            has_bid = has_bid or at == wanted_bid
        else:
            lowest_ask = min(lowest_ask, at)
            stands = at == wanted_ask and -market[10] < most
            has_ask = has_ask or at == wanted_ask
        if not stands and own[i]["state"] == 2 and count < requests.size:
            requests[count]["action"] = 2
            requests[count]["order_id"] = own[i]["order_id"]
            count += 1
    number = market[14]
    for side in (1, -1):
        if (has_bid if side == 1 else has_ask) or side * market[10] >= most or count >= requests.size:
            continue
        if numbers[4] > 0.0 and (wanted_bid >= lowest_ask if side == 1 else wanted_ask <= highest_bid):
            continue
        requests[count]["action"] = 1
        requests[count]["order_id"] = number
        requests[count]["side"] = side
        requests[count]["tick"] = wanted_bid if side == 1 else wanted_ask
        requests[count]["lots"] = lots
        requests[count]["kind"] = int(numbers[3])
        number += 1
        count += 1
    return count


def maker_rule(
    interval_ns: int, *, away: int = 2, lots: int = 1, most: int = 5, kind: int = 1, apart: bool = True
) -> Rule:
    """The maker with its numbers, called on the clock alone."""
    numbers = np.array([away, lots, most, kind, apart], dtype=np.float64)
    return Rule("maker", maker, numbers=numbers, memory_size=1, interval_ns=interval_ns, calls=0)
