"""How long own quotes stood, and how near to the best: from the orders and the path of the market's quotes."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from backtests.intraday.outcome import SessionOutcome
from backtests.intraday.quote_path import QuotePath
from strategies.intraday.rule import NO_ASK, NO_BID

Ints = NDArray[np.int64]
Spans = Sequence[tuple[int, int]]
NEAR: Final = (0, 1, 2, 5)


@dataclass(frozen=True, slots=True)
class Uptime:
    """Shares of the session's continuous time.

    Attributes
    ----------
    seconds : float
        Continuous time.
    bid, ask, both, one_side, none : float
        With an own bid, an own ask, both, exactly one of them, neither.
    near : tuple of int
        Ticks.
    near_bid, near_ask, near_both : tuple of float
        Time in which the own bid (ask, each of the two) stood at most so many ticks behind the market's best.
    """

    seconds: float
    bid: float
    ask: float
    both: float
    one_side: float
    none: float
    near: tuple[int, ...]
    near_bid: tuple[float, ...]
    near_ask: tuple[float, ...]
    near_both: tuple[float, ...]


def uptime(outcome: SessionOutcome, path: QuotePath, spans: Spans, *, near: Sequence[int] = NEAR) -> Uptime:
    """Shares of the time of `spans` in which own quotes stood at the exchange.

    Parameters
    ----------
    outcome : SessionOutcome
    path : QuotePath
    spans : sequence of (first, last)
        Times of continuous trading, ns, in order, not overlapping (`continuous_spans`).
    near : sequence of int
        Ticks behind the best.

    Raises
    ------
    ValueError
        When there is no time in the spans.
    """
    total = sum(last - first for first, last in spans)
    if total <= 0 or any(last < first for first, last in spans):
        raise ValueError(f"spans must hold some time, each first before its last; was {list(spans)}")
    stop = spans[-1][1]
    bids = own_best(outcome.orders, 1, stop)
    asks = own_best(outcome.orders, -1, stop)
    edges = np.array([edge for span in spans for edge in span], dtype=np.int64)
    times = np.unique(np.concatenate([edges, bids[0], asks[0], path.times]))
    times = times[(times >= edges[0]) & (times <= stop)]
    inside = np.searchsorted(edges, times[:-1], side="right") % 2 == 1
    stay = np.where(inside, np.diff(times), 0)
    own_bid, own_ask = (_held(*own, times[:-1], none) for own, none in ((bids, NO_BID), (asks, NO_ASK)))
    best_bid = _held(path.times, path.bid, times[:-1], NO_BID)
    best_ask = _held(path.times, path.ask, times[:-1], NO_ASK)
    has_bid, has_ask = own_bid != NO_BID, own_ask != NO_ASK

    def share(where: NDArray[np.bool_]) -> float:
        return int(stay[where].sum()) / total

    close_bid = [has_bid & (best_bid != NO_BID) & (own_bid >= best_bid - ticks) for ticks in near]
    close_ask = [has_ask & (best_ask != NO_ASK) & (own_ask <= best_ask + ticks) for ticks in near]
    return Uptime(
        seconds=total / 1e9,
        bid=share(has_bid),
        ask=share(has_ask),
        both=share(has_bid & has_ask),
        one_side=share(has_bid != has_ask),
        none=share(~has_bid & ~has_ask),
        near=tuple(near),
        near_bid=tuple(share(where) for where in close_bid),
        near_ask=tuple(share(where) for where in close_ask),
        near_both=tuple(share(a & b) for a, b in zip(close_bid, close_ask, strict=True)),
    )


def continuous_spans(start: int, stop: int, phases: Sequence[tuple[int, int, int]] = ()) -> list[tuple[int, int]]:
    """What is left of start to stop (ns) without the phases (first, last, phase), which are in order."""
    spans, at = [], start
    for first, last, _ in phases:
        if min(first, stop) > at:
            spans.append((at, min(first, stop)))
        at = max(at, min(last, stop))
    return [*spans, (at, stop)] if at < stop else spans


def own_best(orders: NDArray[Any], side: int, stop: int) -> tuple[Ints, Ints]:
    """Times at which the best own tick of a side changes, and the tick from then on; NO_BID or NO_ASK without one.

    An order stands from its arrival until its end; one still open stands until `stop`.
    """
    chosen = orders[(orders["side"] == side) & (orders["arrived"] >= 0)]
    ended = np.where(chosen["ended"] < 0, stop, chosen["ended"])
    rested = ended > chosen["arrived"]
    start, end, ticks = chosen["arrived"][rested], ended[rested], chosen["tick"][rested]
    moments = np.unique(np.r_[start, end])
    best = np.full(moments.size, NO_BID if side > 0 else NO_ASK, dtype=np.int64)
    order = np.argsort(start, kind="stable")
    waiting = list(zip(start[order].tolist(), (-side * ticks[order]).tolist(), end[order].tolist(), strict=True))
    standing: list[tuple[int, int]] = []
    at = 0
    for row, moment in enumerate(moments.tolist()):
        while at < len(waiting) and waiting[at][0] <= moment:
            heapq.heappush(standing, waiting[at][1:])
            at += 1
        while standing and standing[0][1] <= moment:
            heapq.heappop(standing)
        if standing:
            best[row] = -side * standing[0][0]
    return moments, best


def _held(times: Ints, values: Ints, at: Ints, none: int) -> Ints:
    """The value in force at each time; of several at one time the last; `none` before the first."""
    if not times.size:
        return np.full(at.size, none, dtype=np.int64)
    rows = np.searchsorted(times, at, side="right") - 1
    return np.where(rows >= 0, values[np.maximum(rows, 0)], none)
