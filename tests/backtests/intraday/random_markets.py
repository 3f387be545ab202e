"""Random feeds, settings and a rule driven by pseudo-random numbers, for the comparison of two engines."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from backtests.intraday.settings import Fees, FillSettings, Latency, OwnLimits, QueueModel, TradingSpan
from data_pipeline.book import events as ev
from strategies.intraday import rule as r

MID, STEP = 50, 10
"""Tick around which prices wander, and the ns between most events."""
INSTRUMENT = r.Instrument("X", "TEST", tick_size=0.05, lot_size=0.1, multiplier=1.5)

_SIGNATURE = r.SIGNATURE


@njit(cache=True)
def _tell(requests, row, place, value):
    requests[row]["action"] = 1
    requests[row]["order_id"] = 0
    if place == 0:
        requests[row]["side"] = value
    elif place == 1:
        requests[row]["tick"] = value
    elif place == 2:
        requests[row]["lots"] = value
    else:
        requests[row]["kind"] = value


@njit([_SIGNATURE], cache=True)
def random_rule(market, flow, book, own, table, numbers, memory, requests):
    """Requests drawn by a linear congruential generator that takes in all that the rule sees.

    numbers: seed, requests at most at a call, reach in ticks around the mid, chance of an illegal request (of 1024),
    the middle tick, and whether all that it sees is told in refused requests, whose rows show it.
    """
    state = int(memory[0]) + int(numbers[0])
    for i in range(17):
        if i == 7:  # where `book` begins is the engine's own affair
            continue
        state = (state * 1103515245 + 12345 + int(market[i]) % 65536) % 2147483648
    for i in range(10):
        state = (state * 1103515245 + 12345 + int(flow[i] * 4096.0) % 65536) % 2147483648
    centre = int(numbers[4])
    for tick in range(centre - 12, centre + 13):
        column = tick - int(market[7])
        for side in range(2):
            shown = 0.0
            if 0 <= column < book.shape[1]:
                shown = book[side, column]
            state = (state * 1103515245 + 12345 + int(shown * 16.0)) % 2147483648
    n_own = int(market[13])
    for i in range(n_own):
        seen = int(own[i]["order_id"]) + 3 * int(own[i]["side"]) + 7 * int(own[i]["tick"]) + 13 * int(own[i]["lots"])
        seen += 101 * int(own[i]["state"]) + int(own[i]["sent"])
        state = (state * 1103515245 + 12345 + seen % 65536) % 2147483648
    state = (state * 1103515245 + 12345) % 2147483648
    told = 0
    if numbers[5] > 0.0:
        for i in range(24):
            _tell(requests, told + i // 4, i % 4, 0 if i == 7 else market[i])
        for i in range(16):
            _tell(requests, told + 6 + i // 4, i % 4, int(flow[i] * 4096.0))
        told = 10
        for i in range(min(n_own, 10)):
            _tell(requests, told, 0, own[i]["order_id"])
            _tell(requests, told, 1, own[i]["tick"] * own[i]["side"])
            _tell(requests, told, 2, own[i]["lots"])
            _tell(requests, told, 3, own[i]["state"])
            told += 1
    wanted = (state >> 8) % (int(numbers[1]) + 1)
    if market[4] == 2 and (state >> 16) % 4:
        wanted = 0
    next_id = int(market[14])
    for n in range(told, told + wanted):
        state = (state * 1103515245 + 12345) % 2147483648
        what = (state >> 10) % 16
        state = (state * 1103515245 + 12345) % 2147483648
        reach = int(numbers[2])
        tick = centre - reach + (state >> 9) % (2 * reach + 1)
        state = (state * 1103515245 + 12345) % 2147483648
        side = 1 if (state >> 12) % 2 else -1
        if tick != centre and (state >> 13) % 4:  # mostly on the side where it may rest
            side = 1 if tick < centre else -1
        lots = 1 + (state >> 15) % 4
        state = (state * 1103515245 + 12345) % 2147483648
        kind = (state >> 11) % 8
        if kind >= 5:
            kind = kind % 2
        pick = (state >> 16) % max(n_own, 1)
        illegal = (state >> 5) % 1024 < int(numbers[3])
        action = 1 if what < 8 or n_own == 0 else (2 if what < 11 else 3)
        number = next_id
        if action != 1:
            number = int(own[pick]["order_id"])
        if illegal:
            fault = (state >> 20) % 6
            if fault == 0:
                number = next_id - 2
            elif fault == 1:
                side = 0
            elif fault == 2:
                lots = 0
            elif fault == 3:
                kind = 9
            elif fault == 4:
                action = 7
            else:
                lots = 1000
        if action == 1 and number >= next_id:
            next_id = number + 1
        requests[n]["action"] = action
        requests[n]["order_id"] = number
        requests[n]["side"] = side
        requests[n]["tick"] = tick
        requests[n]["lots"] = lots
        requests[n]["kind"] = kind
    memory[0] = state
    return told + wanted


def _row(kind: int, side: int, time: int, tick: int, lots: float, number: int = 0) -> tuple[Any, ...]:
    flags = kind | (ev.BUY if side > 0 else ev.SELL if side < 0 else 0)
    return flags, time, 0, tick / 20, lots * INSTRUMENT.lot_size, number, 0, 0.0


def _lots(rng: np.random.Generator, fractions: bool) -> float:
    return float(rng.integers(1, 9)) if not fractions else float(rng.integers(1, 33)) / 4


def _depth_rows(rng: np.random.Generator, n: int, fractions: bool) -> list[tuple[Any, ...]]:
    rows: list[tuple[Any, ...]] = []
    time, mid = 0, MID
    while len(rows) < n:
        time += int(rng.choice([0, 0, 1, STEP, 3 * STEP]))
        if rng.random() < 0.1:
            mid += int(rng.integers(-1, 2))
        what, side = rng.random(), int(rng.choice([-1, 1]))
        if what < 0.62:
            tick = mid - side * int(rng.integers(-1, 5))
            rows.append(_row(ev.DEPTH, side, time, tick, 0.0 if rng.random() < 0.3 else _lots(rng, fractions)))
        elif what < 0.94:
            rows.append(_trade(rng, side, time, mid, fractions))
        elif what < 0.97:
            time += 1
            for where in (1, -1):
                for depth in range(1, 4):
                    rows.append(_row(ev.SNAPSHOT, where, time, mid - where * depth, _lots(rng, fractions)))
        else:
            where = int(rng.choice([-1, 0, 1]))
            row = list(_row(ev.DEPTH_CLEAR, where, time, mid - where * 2, 0.0))
            rows.append(tuple(row))
            if rng.random() < 0.5:
                rows.append(_row(ev.SNAPSHOT, where or 1, time, mid - (where or 1) * 2, _lots(rng, fractions)))
    return rows


def _queue_rows(rng: np.random.Generator, n: int, fractions: bool) -> list[tuple[Any, ...]]:
    """Two levels a side that never cross, whose queues change and trade: what is ahead matters most."""
    rows = [_row(ev.DEPTH, side, 0, MID - side * away, 9.0) for side in (1, -1) for away in (1, 2, 3)]
    time = 0
    while len(rows) < n:
        time += int(rng.choice([0, 1, STEP, 3 * STEP]))
        side, away = int(rng.choice([-1, 1])), int(rng.integers(1, 3))
        if rng.random() < 0.6:
            lots = 0.0 if rng.random() < 0.08 else _lots(rng, fractions) + float(rng.integers(0, 6))
            rows.append(_row(ev.DEPTH, side, time, MID - side * away, lots))
        else:
            lots = float(rng.integers(1, 4)) / (4 if fractions else 1)
            rows.append(_row(ev.TRADE, -side, time, MID - side, lots))
    return rows


def _trade(rng: np.random.Generator, side: int, time: int, mid: int, fractions: bool) -> tuple[Any, ...]:
    side = 0 if rng.random() < 0.1 else side
    flags, exch, _, price, lots, *rest = _row(
        ev.TRADE, side, time, mid + int(rng.integers(-2, 3)), _lots(rng, fractions)
    )
    if rng.random() < 0.05:
        price += 0.02
    return flags, exch, 0, price, lots, *rest


def _quote_rows(rng: np.random.Generator, n: int, fractions: bool) -> list[tuple[Any, ...]]:
    rows: list[tuple[Any, ...]] = []
    time, mid = 0, MID
    while len(rows) < n:
        time += int(rng.choice([0, 1, STEP, 3 * STEP]))
        if rng.random() < 0.1:
            mid += int(rng.integers(-1, 2))
        side = int(rng.choice([-1, 1]))
        if rng.random() < 0.6:
            lots = 0.0 if rng.random() < 0.07 else _lots(rng, fractions)
            rows.append(_row(ev.BEST_QUOTE, side, time, mid - side * int(rng.integers(0, 3)), lots))
        else:
            rows.append(_trade(rng, side, time, mid, fractions))
    return rows


def _order_rows(rng: np.random.Generator, n: int) -> list[tuple[Any, ...]]:
    rows: list[tuple[Any, ...]] = []
    live: dict[int, tuple[int, int, int]] = {}
    time, mid, number = 0, MID, 0
    while len(rows) < n:
        time += int(rng.choice([0, 1, STEP, 3 * STEP]))
        if rng.random() < 0.1:
            mid += int(rng.integers(-1, 2))
        what, side = rng.random(), int(rng.choice([-1, 1]))
        if what < 0.5 or not live:
            number += 1
            held = (side, mid - side * int(rng.integers(0, 5)), int(rng.integers(1, 9)))
            live[number] = held
            rows.append(_row(ev.ADD, held[0], time, held[1], held[2], number))
            continue
        if what < 0.52:
            rows.append(_row(int(rng.choice([ev.CANCEL, ev.MODIFY, ev.FILL])), side, time, mid, 2, 10**6 + number))
            continue
        if what < 0.53:
            rows.append(_row(ev.DEPTH_CLEAR, int(rng.choice([-1, 0, 1])), time, mid, 0.0))
            live = {} if rng.random() < 0.5 else live
            continue
        chosen = int(rng.choice(list(live)))
        side, tick, left = live[chosen]
        if what < 0.54:
            live[chosen] = (side, tick + int(rng.integers(-1, 2)), int(rng.integers(1, 9)))
            rows.append(_row(ev.ADD, side, time, live[chosen][1], live[chosen][2], chosen))
            continue
        if what < 0.65:
            del live[chosen]
            rows.append(_row(ev.CANCEL, side, time, tick, left, chosen))
        elif what < 0.75:
            live[chosen] = (side, tick + int(rng.integers(-1, 2)), int(rng.integers(1, 9)))
            rows.append(_row(ev.MODIFY, side, time, live[chosen][1], live[chosen][2], chosen))
        elif what < 0.78:
            rows.append(_row(ev.TRADE, int(rng.choice([-1, 0, 1])), time, mid, 3))
        else:
            done = int(rng.integers(1, left + 1))
            rows.append(_row(ev.TRADE, -side, time, tick, done))
            rows.append(_row(ev.FILL, side, time, tick, done, chosen))
            if done == left:
                del live[chosen]
                rows.append(_row(ev.CANCEL, side, time, tick, 0, chosen))
            else:
                live[chosen] = (side, tick, left - done)
                rows.append(_row(ev.MODIFY, side, time, tick, left - done, chosen))
    return rows


def random_events(rng: np.random.Generator, source: str, n: int, *, fractions: bool = False) -> np.ndarray:
    """A feed of about n events, in one of the ways in which two clocks can stand in one array."""
    if source == "l3":
        rows = _order_rows(rng, n)
    else:
        depth = _queue_rows if rng.random() < 0.4 else _depth_rows
        rows = (depth if source == "l2" else _quote_rows)(rng, n, fractions)
    events = np.array(rows, dtype=ev.EVENT_DTYPE)
    delay = rng.choice([0, 0, 3, 2 * STEP, 7 * STEP], size=events.size) if rng.random() < 0.7 else 0
    wrong_clock = 30 if rng.random() < 0.1 else 0
    events["local_ts"] = np.maximum.accumulate(events["exch_ts"] + delay - wrong_clock)
    way = rng.random()
    if way < 0.6:
        events["ev"] |= ev.EXCH | ev.LOCAL
        return events
    exchange, local = events.copy(), events.copy()
    exchange["ev"] |= ev.EXCH
    local["ev"] |= ev.LOCAL
    if way < 0.8:
        local = local[rng.random(local.size) < 0.97]
    both = np.concatenate([exchange, local])
    at = np.concatenate([exchange["exch_ts"], local["local_ts"]])
    return both[np.argsort(at, kind="stable")]


def queue_session(seed: int, *, fractions: bool) -> tuple[Any, ...]:
    """A session in which few own orders wait in queues of the probabilistic models: the arguments of both engines."""
    rng = np.random.default_rng(seed)
    events = np.array(_queue_rows(rng, 400, fractions), dtype=ev.EVENT_DTYPE)
    events["local_ts"] = events["exch_ts"] + 1
    events["ev"] |= ev.EXCH | ev.LOCAL
    queue = QueueModel("probabilistic", ("log", "power")[seed % 2], 3.0, 1 + seed // 2 % 3)
    sizes = ("traded", "whole")[seed // 6 % 2]
    settings = FillSettings(queue, Latency(entry_ns=1, response_ns=1), limits=OwnLimits(60), sizes=sizes)
    last = int(events["exch_ts"][-1])
    rule = random_rule_of(rng, most=1, reach=2, interval_ns=150)
    return events, rule, INSTRUMENT, TradingSpan(0, last + 2, last + 1), settings


def random_settings(rng: np.random.Generator, source: str) -> FillSettings:
    """Settings of fills, each choice about as likely as the others."""
    kinds = ["pessimistic", "probabilistic", "trade_through", "assumed", *(["exact"] * 4 if source == "l3" else [])]
    queue = QueueModel(
        kind=str(rng.choice(kinds)),  # type: ignore[arg-type]
        shape=str(rng.choice(["log", "power"])),  # type: ignore[arg-type]
        exponent=float(rng.choice([1.0, 2.0, 3.0, 0.5])),
        version=int(rng.integers(1, 4)),
        assumed_lots=float(rng.choice([0.0, 3.0, 2.5])),
    )
    fees = Fees(*rng.choice([0.0, -1e-4, 3.3e-4, 0.0123], size=4).tolist())
    limits = OwnLimits(int(rng.choice([3, 8, 40])), int(rng.choice([3, 1000])))
    sizes = str(rng.choice(["traded", "traded", "whole"]))
    return FillSettings(queue, _random_latency(rng), fees, limits, sizes, int(rng.integers(0, 1 << 40)))  # type: ignore[arg-type]


def _random_latency(rng: np.random.Generator) -> Latency:
    kind = str(rng.choice(["constant", "constant", "sampled", "recorded"]))
    if kind == "constant":
        return Latency("constant", int(rng.choice([0, 1, 5, STEP, 57])), int(rng.choice([0, 1, 5, STEP, 57])))
    size = int(rng.integers(1, 6))
    drawn = rng.integers(0, 6 * STEP, size=(2, size))
    times = np.sort(rng.choice(4000, size=size, replace=False)) if kind == "recorded" else np.zeros(0, dtype=np.int64)
    return Latency(kind, times=times.astype(np.int64), entry=drawn[0], response=drawn[1])  # type: ignore[arg-type]


def random_span(rng: np.random.Generator, last: int) -> TradingSpan:
    """A span that begins and ends within the feed or beside it, with or without phases."""
    start = int(rng.choice([-5, last // 8]))
    stop = int(rng.choice([last - last // 8, last + 500]))
    liquidate = int(rng.integers((start + stop) // 2, stop))
    phases = []
    if rng.random() < 0.4:
        edges = np.sort(rng.choice(np.arange(max(start, 0), stop), size=4, replace=False)).tolist()
        phases = [
            (int(edges[0]), int(edges[1]), int(rng.integers(1, 4))),
            (int(edges[2]) if rng.random() < 0.7 else int(edges[1]), int(edges[3]), int(rng.integers(1, 4))),
        ]
    return TradingSpan(start, stop, liquidate, phases, "cross" if rng.random() < 0.8 else "mark")


def random_rule_of(
    rng: np.random.Generator,
    *,
    tells: bool = False,
    most: int | None = None,
    reach: int | None = None,
    interval_ns: int | None = None,
) -> r.Rule:
    """The rule with random numbers, but for those that are given."""
    numbers = [
        rng.integers(0, 1 << 30),
        most or rng.integers(1, 5),
        reach or rng.integers(1, 6),
        rng.choice([0, 100]),
        MID,
        tells,
    ]
    return r.Rule(
        "random",
        random_rule,
        numbers=np.array(numbers, dtype=np.float64),
        memory_size=1,
        interval_ns=interval_ns or int(rng.choice([7, 2 * STEP, 13 * STEP])),
        calls=int(rng.choice([0, r.ON_OWN, r.ON_TRADE, r.ON_OWN | r.ON_TRADE | r.ON_PHASE])),
    )
