"""Oddities of one instrument's tape, as pure functions of arrays: silences, spikes, bursts, disorder of the clocks.

Times are int64 nanoseconds since 1970 UTC. Each rule states what it takes for granted; none repairs anything.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Times = NDArray[np.int64]
Floats = NDArray[np.float64]

SECOND: Final = 1_000_000_000
SILENCE_FLOOR: Final = 60 * SECOND
"""No shorter silence is told."""
SILENCE_EVENTS: Final = 50.0
"""Moments with events that a silence lacks, by the lower of the rates around it and of the whole day: e^-50 is its
probability under Poisson, and even clustered arrivals (Hawkes, 1971) with four events a cluster leave e^-12."""
SILENCE_SIDE: Final = 900 * SECOND
"""How far the rate is looked for on either side."""
SPIKE_NEIGHBOURS: Final = 5
SPIKE_DEVIATIONS: Final = 10.0
SPIKE_LEAST: Final = 0.005
"""A spike leaves its neighbours by half a per cent at least; where the tick is coarse, by five ticks."""
BURST_TRADES: Final = 20


def silences(times: Times, start: int, end: int) -> Times:
    """(g, 2) spans of [start, end] without any event although the rate around them would have brought `SILENCE_EVENTS`.

    Parameters
    ----------
    times : (n,) int64
        Not decreasing.
    start, end : int
        Span in which events are expected; its two ends count as neighbours.
    """
    inside = times[(times >= start) & (times <= end)]
    if inside.size == 0:
        return np.array([[start, end]], dtype=np.int64) if end - start >= SILENCE_FLOOR else _no_spans()
    # an order that meets many makes as many trades at one moment: moments are counted
    inside = inside[np.concatenate(([True], np.diff(inside) != 0))]
    edges = np.concatenate(([start], inside, [end]))
    place = np.flatnonzero(np.diff(edges) >= SILENCE_FLOOR)
    left, right = edges[place], edges[place + 1]
    before = np.searchsorted(inside, left, side="right") - np.searchsorted(inside, left - SILENCE_SIDE, side="left")
    after = np.searchsorted(inside, right + SILENCE_SIDE, side="right") - np.searchsorted(inside, right, side="left")
    around = np.minimum(left - start, SILENCE_SIDE) + np.minimum(end - right, SILENCE_SIDE)
    local, whole = (before + after) / np.maximum(around, 1), inside.size / max(1, end - start)
    expected = np.minimum(local, whole) * (right - left)
    # a rate that is known from a few events only says nothing
    chosen = (expected >= SILENCE_EVENTS) & (before + after >= SILENCE_EVENTS)
    return np.stack([left[chosen], right[chosen]], axis=1)


def spikes(price: Floats) -> NDArray[np.int64]:
    """(k,) places of single prices far from those just before and just after them, on the same side of both.

    The medians of the `SPIKE_NEIGHBOURS` prices on either side agree with each other far better than with the price: it
    leaves both by `SPIKE_DEVIATIONS` robust deviations of the neighbours (1.4826 times the median absolute deviation of
    log prices), by half a per cent, and by five of the smallest steps between the day's prices. A jump that stays is no
    spike.
    """
    count = price.size
    width = SPIKE_NEIGHBOURS
    if count < 2 * width + 1:
        return np.empty(0, dtype=np.int64)
    log = np.log(np.where(price > 0.0, price, np.nan))
    windows = np.lib.stride_tricks.sliding_window_view(log, 2 * width + 1)
    middle = windows[:, width]
    around = np.concatenate([windows[:, :width], windows[:, width + 1 :]], axis=1)
    centre = np.median(around, axis=1)
    scale = 1.4826 * np.median(np.abs(around - centre[:, None]), axis=1)
    steps = np.diff(np.unique(price))
    five_steps = 4.5 * (steps.min() if steps.size else 0.0)  # prices are decimals: five steps may be 4.999
    level = np.maximum(SPIKE_LEAST, SPIKE_DEVIATIONS * scale)
    before = middle - np.median(windows[:, :width], axis=1)
    after = middle - np.median(windows[:, width + 1 :], axis=1)
    with np.errstate(invalid="ignore"):
        found = (np.abs(before) >= level) & (np.abs(after) >= level) & (np.sign(before) == np.sign(after))
        found &= np.abs(np.exp(middle) - np.exp(centre)) >= five_steps
    return np.flatnonzero(found) + width


@dataclass(frozen=True, slots=True)
class Burst:
    """Many trades at one time and price: a call's print, or an auction during the day.

    Attributes
    ----------
    time : int
        Nanoseconds.
    price : float
    trades : int
    quantity : float
    quiet : int
        Nanoseconds without a trade before it; the longest int64 for the first.
    """

    time: int
    price: float
    trades: int
    quantity: float
    quiet: int


def bursts(times: Times, price: Floats, quantity: Floats) -> tuple[Burst, ...]:
    """Runs of at least `BURST_TRADES` trades at one time and price, in order of time.

    A call prints all of its orders at one price after a time without trades; a large order may print as many at once
    amid others, which `quiet` tells apart.
    """
    if times.size == 0:
        return ()
    fresh = np.concatenate(([True], (np.diff(times) != 0) | (np.diff(price) != 0.0)))
    first = np.flatnonzero(fresh)
    length = np.diff(np.append(first, times.size))
    sums = np.add.reduceat(quantity, first)
    quiet = np.append(np.iinfo(np.int64).max, times[first[1:]] - times[first[1:] - 1])
    return tuple(
        Burst(int(times[first[k]]), float(price[first[k]]), int(length[k]), float(sums[k]), int(quiet[k]))
        for k in np.flatnonzero(length >= BURST_TRADES)
    )


@dataclass(frozen=True, slots=True)
class ClockCheck:
    """How the two clocks of a feed agree.

    Attributes
    ----------
    compared : int
        Rows with both times.
    negative : int
        Rows received before they were sent.
    median_seconds : float
        Median of receiver's minus exchange's time; nan without any row.
    disordered : int
        Rows whose exchange time is before that of the row received just before.
    """

    compared: int
    negative: int
    median_seconds: float
    disordered: int


def clocks(exchange: Times, local: NDArray[np.float64] | Times, sequence: NDArray[np.int64]) -> ClockCheck:
    """What the times say of the clocks; `local` may be empty when the feed has one clock only."""
    order = np.argsort(sequence, kind="stable")
    disordered = int((np.diff(exchange[order]) < 0).sum())
    if local.size == 0:
        return ClockCheck(0, 0, float("nan"), disordered)
    delay = np.asarray(local, dtype=np.int64) - exchange
    return ClockCheck(delay.size, int((delay < 0).sum()), float(np.median(delay)) / SECOND, disordered)


@dataclass(frozen=True, slots=True)
class QuoteSpans:
    """Spans of time in which the best quotes cannot be traded on, (g, 2) each."""

    crossed: Times
    locked: Times
    one_sided: Times


def quote_spans(times: Times, bid: Floats, ask: Floats, end: int) -> QuoteSpans:
    """Where the bid is above the ask, where they are equal, where a side is empty; each quote holds until the next."""
    until = np.append(times[1:], max(end, int(times[-1]))) if times.size else times

    def spans(where: NDArray[np.bool_]) -> Times:
        kept = where & (until > times)
        return np.stack([times[kept], until[kept]], axis=1)

    return QuoteSpans(spans(bid > ask), spans(bid == ask), spans(np.isnan(bid) | np.isnan(ask)))


def covered(spans: list[Times], start: int, end: int) -> int:
    """Nanoseconds of [start, end] that lie in any of the spans."""
    found = [np.clip(s, start, end) for s in spans if s.size]
    if not found:
        return 0
    joined = np.concatenate(found)
    joined = joined[np.argsort(joined[:, 0], kind="stable")]
    reach = np.maximum.accumulate(joined[:, 1])
    begin = np.maximum(joined[:, 0], np.concatenate(([start], reach[:-1])))
    return int(np.maximum(joined[:, 1] - begin, 0).sum())


def _no_spans() -> Times:
    return np.empty((0, 2), dtype=np.int64)
