"""Compiled loops of the market in which only intensities exist: fills by thinning, mids at and after them.

Time is cut into panels. In each, a quote is the quadratic through its three nodes, and so are the two numbers of each
side through which the crowd enters: with q the quote, s the shift and r the log scale, the fill rate is

    A exp(r) shape(k (q - s)).

`quotes` (policies, panels, nx, 2, 3) and `levels` (panels, 2, 2, 3) hold the nodes (side: ask, bid; level: s, r), nan
where a side is not quoted; `bounds` (policies, panels, nx, 2) is a bound of the rate over the panel, 0 where it is not.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from numba import njit

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Integers = NDArray[np.int64]

EXPONENTIAL, LOGISTIC, POWER = 0, 1, 2
"""Codes of the intensity shapes."""

EARNED, HELD, ASKS, BIDS, EXPECTED_ASKS, EXPECTED_BIDS = 0, 1, 2, 3, 4, 5
"""Columns of the totals of a path."""

DONE, ABOVE_BOUND, LOG_FULL = 0, -1, -2
"""How a simulation ended; when well, with the number of fills logged (0 or more)."""

GAUSS = 0.5 * math.sqrt(0.6)
"""Distance of the outer two of Gauss and Legendre's three points from the middle, in lengths of the interval."""


@njit(cache=True)
def quadratic(nodes: Floats, share: float) -> float:
    """The quadratic through three equally spaced nodes, a share (0 to 1) of the way."""
    left, middle, right = nodes[0], nodes[1], nodes[2]
    value: float = left + share * (right - left - 2.0 * (1.0 - share) * (left - 2.0 * middle + right))
    return value


@njit(cache=True)
def fill_rate(quote: float, levels: Floats, share: float, arrival: float, k: float, shape: int, bend: float) -> float:
    """Fills per second of a quote; `levels` (2, 3) are the panel's of its side, `bend` the shape's own parameter."""
    y = k * (quote - quadratic(levels[0], share))
    scale = quadratic(levels[1], share)
    if shape == EXPONENTIAL:
        return arrival * math.exp(scale - y)
    if shape == LOGISTIC:
        return arrival * math.exp(scale) / (1.0 + math.exp(bend + y))
    rate: float = arrival * math.exp(scale) * (1.0 + y / bend) ** -bend
    return rate


@njit(cache=True)
def expected_fills(quotes: Floats, levels: Floats, first: float, last: float, width: float, arrival: float, k: float,
                   shape: int, bend: float) -> float:  # fmt: skip
    """Integral of the fill rate from a share of the panel to another, by Gauss and Legendre's three points."""
    centre, length = 0.5 * (first + last), last - first
    total = 0.0
    for place in range(3):
        share = centre + (place - 1) * GAUSS * length
        rate = fill_rate(quadratic(quotes, share), levels, share, arrival, k, shape, bend)
        total += (8.0 if place == 1 else 5.0) / 18.0 * rate
    return total * length * width


@njit(cache=True, nogil=True)
def simulate_flow(
    random: np.random.Generator, edges: Floats, quotes: Floats, levels: Floats, bounds: Floats, arrivals: Floats,
    k: float, shape: int, bend: float, running_penalty: float, terminal_penalty: float, fill_cost: float,
    law: Floats, marks: Floats, starts: Integers, lasts: Integers, seen: Integers, totals: Floats,
    log_places: Integers, log_numbers: Floats,
) -> int:  # fmt: skip
    """Paths of several policies that each face the same order flow; the number of fills logged, or why it stopped.

    Candidates come at the highest of the policies' bounds; each brings one uniform number, and fills the policies whose
    rate at that very moment is above its share of the bound. So each policy's fills have exactly its own rate
    (Lewis & Shedler 1979), and policies that quote alike are filled alike.

    `law` (nx,) is the cumulative law of the first inventory. Per path p and policy m: `starts` (p,) and `lasts` (p, m)
    rows, `seen` (p, m, marks) rows at the sorted times `marks`, `totals` (p, m, 6). `log_places` (n, 4) takes path,
    policy, side and row before each fill, `log_numbers` (n, 2) its time and quote, unless n is 0.
    """
    policies, nx = quotes.shape[0], quotes.shape[2]
    flat = (nx - 1) // 2
    rows = np.empty(policies, dtype=np.int64)
    since = np.empty(policies)
    ceilings = np.empty(2)
    logging = log_places.shape[0] > 0
    logged = 0
    for path in range(totals.shape[0]):
        start = 0
        draw = random.random()
        while start < nx - 1 and law[start] <= draw:
            start += 1
        starts[path] = start
        rows[:] = start
        totals[path] = 0.0
        mark = 0
        for panel in range(edges.size - 1):
            begin, end = edges[panel], edges[panel + 1]
            width = end - begin
            t = begin
            since[:] = begin
            fresh = True
            while True:
                if fresh:
                    ceilings[:] = 0.0
                    for m in range(policies):
                        for side in range(2):
                            ceilings[side] = max(ceilings[side], bounds[m, panel, rows[m], side])
                    fresh = False
                both = ceilings[0] + ceilings[1]
                t = t + random.standard_exponential() / both if both > 0.0 else end
                while mark < marks.size and marks[mark] < min(t, end):
                    seen[path, :, mark] = rows
                    mark += 1
                if t >= end:
                    break
                place = random.random() * both
                side = 0 if place < ceilings[0] else 1
                if side == 1:
                    place -= ceilings[0]
                share = (t - begin) / width
                for m in range(policies):
                    row = rows[m]
                    bound = bounds[m, panel, row, side]
                    if place >= bound:
                        continue
                    quote = quadratic(quotes[m, panel, row, side], share)
                    rate = fill_rate(quote, levels[panel, side], share, arrivals[side], k, shape, bend)
                    if not rate <= bound:
                        return ABOVE_BOUND
                    if place >= rate:
                        continue
                    settle(totals[path, m], quotes[m, panel, row], levels[panel], bounds[m, panel, row], row - flat,
                           (since[m] - begin) / width, share, width, arrivals, k, shape, bend,
                           running_penalty)  # fmt: skip
                    totals[path, m, EARNED] += quote - fill_cost
                    totals[path, m, ASKS + side] += 1.0
                    if logging:
                        if logged == log_places.shape[0]:
                            return LOG_FULL
                        log_places[logged, 0], log_places[logged, 1] = path, m
                        log_places[logged, 2], log_places[logged, 3] = side, row
                        log_numbers[logged, 0], log_numbers[logged, 1] = t, quote
                        logged += 1
                    since[m] = t
                    rows[m] = row - 1 if side == 0 else row + 1
                    fresh = True
            for m in range(policies):
                settle(totals[path, m], quotes[m, panel, rows[m]], levels[panel], bounds[m, panel, rows[m]],
                       rows[m] - flat, (since[m] - begin) / width, 1.0, width, arrivals, k, shape, bend,
                       running_penalty)  # fmt: skip
        while mark < marks.size:
            seen[path, :, mark] = rows
            mark += 1
        for m in range(policies):
            lasts[path, m] = rows[m]
            totals[path, m, HELD] += terminal_penalty * (rows[m] - flat) ** 2
    return logged


@njit(cache=True)
def settle(
    totals: Floats, quotes: Floats, levels: Floats, bounds: Floats, inventory: int, first: float, last: float,
    width: float, arrivals: Floats, k: float, shape: int, bend: float, running_penalty: float,
) -> None:  # fmt: skip
    """Add to a path's totals what a stay in one inventory, from a share of a panel to another, costs and expects."""
    totals[HELD] += running_penalty * inventory * inventory * (last - first) * width
    for side in range(2):
        if bounds[side] > 0.0:
            totals[EXPECTED_ASKS + side] += expected_fills(
                quotes[side], levels[side], first, last, width, arrivals[side], k, shape, bend
            )


@njit(cache=True, nogil=True)
def simulate_mid(
    random: np.random.Generator, edges: Floats, quotes: Floats, levels: Floats, bounds: Floats, arrivals: Floats,
    k: float, shape: int, bend: float, volatility: float, adverse_selection: float, row: int,
    times: Floats, sides: Integers, horizons: Floats, marks: Floats, before: Floats, after: Floats, seen: Floats,
) -> float:  # fmt: skip
    """The mid at the end, less that at the start, of a path with fills at `times` (n,) of `sides` (n,), 0 the ask.

    The mid is a martingale: Brownian, and at each fill it jumps by `adverse_selection` against the maker, which a drift
    of opposite sign makes good on average. `before` (n,) takes it right before each fill, `after` (n, horizons) that
    long after it (nan beyond the end), `seen` (marks,) at the sorted times `marks`. `quotes` and `bounds` are those of
    one policy.
    """
    end = edges[-1]
    due = np.zeros(horizons.size, dtype=np.int64)
    after[:] = math.nan
    now = mid = 0.0
    fill = panel = mark = 0
    while True:
        then = edges[panel + 1]
        if mark < marks.size:
            then = min(then, marks[mark])
        if fill < times.size:
            then = min(then, times[fill])
        for h in range(horizons.size):
            if due[h] < fill:
                then = min(then, times[due[h]] + horizons[h])
        if then > now:
            begin, width = edges[panel], edges[panel + 1] - edges[panel]
            if adverse_selection != 0.0:
                for side in range(2):
                    if bounds[panel, row, side] > 0.0:
                        expected = expected_fills(quotes[panel, row, side], levels[panel, side], (now - begin) / width,
                                                  (then - begin) / width, width, arrivals[side], k, shape,
                                                  bend)  # fmt: skip
                        mid += (-1.0 if side == 0 else 1.0) * adverse_selection * expected
            mid += volatility * math.sqrt(then - now) * random.standard_normal()
            now = then
        for h in range(horizons.size):
            while due[h] < fill and times[due[h]] + horizons[h] <= now:
                after[due[h], h] = mid
                due[h] += 1
        while mark < marks.size and marks[mark] <= now:
            seen[mark] = mid
            mark += 1
        if fill < times.size and times[fill] <= now:
            before[fill] = mid
            mid += (1.0 if sides[fill] == 0 else -1.0) * adverse_selection
            row += -1 if sides[fill] == 0 else 1
            fill += 1
        elif now >= end:
            return mid
        elif now >= edges[panel + 1]:
            panel += 1
