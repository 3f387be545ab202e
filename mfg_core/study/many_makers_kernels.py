"""Compiled loops of the many-maker market: one exact path of N makers, and the best reply to such a path.

Makers in the same inventory are alike, so a path is a Markov chain in the number of makers at each inventory; who of
them is filled is drawn uniformly. Time is cut into panels in which each quote is the quadratic through the panel's
three nodes (`quotes` (panels, 3, nx, 2): node, inventory, ask or bid; nan where a side is not quoted), clipped to the
bounds.
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

BOUND_SLACK = 1.0 + 1e-9
"""The bound is raised by this factor, far above what rounding can take from it."""

LONGEST_SUBSTEP = 0.2
"""Longest Runge-Kutta step of the reply, times the fastest fill rate."""

GAUSS = 0.5 - 0.5 / math.sqrt(3.0)


@njit(cache=True)
def panel_quote(quotes: Floats, panel: int, share: float, row: int, side: int, low: float, high: float) -> float:
    """Half-spread a share (0 to 1) into a panel."""
    left = quotes[panel, 0, row, side]
    middle = quotes[panel, 1, row, side]
    right = quotes[panel, 2, row, side]
    quote: float = left + share * (right - left - 2.0 * (1.0 - share) * (left - 2.0 * middle + right))
    return min(max(quote, low), high)


@njit(cache=True)
def crowd_factor(counts: Integers, quotes: Floats, panel: int, share: float, side: int, k: float, crowd: float,
                 soft: bool, low: float, high: float) -> float:  # fmt: skip
    """exp(k c m), m the mean quote of the makers who quote the side (`soft`: the inverse mean of exp(-k delta)).

    When nobody quotes it, m is the quote of the first inventory that they will reach.
    """
    n = counts.size
    first = 1 if side == 0 else 0
    total = 0.0
    quoting = 0
    for row in range(first, first + n - 1):
        if counts[row] > 0:
            quote = panel_quote(quotes, panel, share, row, side, low, high)
            total += counts[row] * (math.exp(-k * quote) if soft else quote)
            quoting += counts[row]
    if quoting == 0:
        row = 1 if side == 0 else n - 2
        return math.exp(k * crowd * panel_quote(quotes, panel, share, row, side, low, high))
    return quoting / total if soft else math.exp(k * crowd * total / quoting)


@njit(cache=True)
def rate_bound(counts: Integers, lowest: Floats, highest: Floats, weights: Floats, panel: int, side: int,
               arrival: float, k: float, crowd: float, soft: bool) -> float:  # fmt: skip
    """A bound of the side's total fill rate over the panel: every quote at its lowest, the mean at its highest.

    `lowest`, `highest` (panels, nx, 2) bound the quotes; `weights` is exp(-k lowest).
    """
    n = counts.size
    first = 1 if side == 0 else 0
    fills = mean = 0.0
    quoting = 0
    for row in range(first, first + n - 1):
        if counts[row] > 0:
            fills += counts[row] * weights[panel, row, side]
            mean += counts[row] * (math.exp(-k * highest[panel, row, side]) if soft else highest[panel, row, side])
            quoting += counts[row]
    if quoting == 0:
        return 0.0
    factor = quoting / mean if soft else math.exp(k * crowd * mean / quoting)
    return BOUND_SLACK * arrival * factor * fills


@njit(cache=True, nogil=True)
def simulate_path(
    random: np.random.Generator, edges: Floats, quotes: Floats, lowest: Floats, highest: Floats, weights: Floats,
    arrivals: Floats, k: float, crowd: float, soft: bool, low: float, high: float,
    running_penalty: float, terminal_penalty: float, fill_cost: float, inventories: Integers,
    counts: Integers, recorded: Integers, records: Integers, wealth: Floats, factors: Floats, tally: Integers,
) -> bool:  # fmt: skip
    """One path of N makers from `inventories` (N,) (rows 0..nx-1), by thinning; False when a rate passed its bound.

    Exact in law: candidates come at the panel's bound and are kept with probability rate / bound; the rate is that of
    the very moment. `counts` (nx,) is scratch; `records` (len(recorded), nx) takes the counts at the panel edges
    `recorded`; `wealth` (N,) what each maker earned less its penalties; `factors` (panels, 2) the panel's mean of
    exp(k c m) for asks and bids, when it has a length; `tally` (2,) candidates and fills.
    """
    n, makers = counts.size, inventories.size
    flat = (n - 1) // 2
    counts[:] = 0
    members = np.empty((n, makers), dtype=np.int64)
    since = np.zeros(makers)
    for maker in range(makers):
        row = inventories[maker]
        members[row, counts[row]] = maker
        counts[row] += 1
    wealth[:] = 0.0
    tally[:] = 0
    record = 0
    for panel in range(edges.size - 1):
        start, end = edges[panel], edges[panel + 1]
        width = end - start
        while record < recorded.size and recorded[record] == panel:
            records[record] = counts
            record += 1
        t = piece = start
        while True:
            asks = rate_bound(counts, lowest, highest, weights, panel, 0, arrivals[0], k, crowd, soft)
            bids = rate_bound(counts, lowest, highest, weights, panel, 1, arrivals[1], k, crowd, soft)
            side = -1
            row = 0
            quote = 0.0
            while t < end:
                if not 0.0 < asks + bids < math.inf:
                    if asks + bids != 0.0:
                        return False
                    t = end
                    break
                t += random.standard_exponential() / (asks + bids)
                if t >= end:
                    t = end
                    break
                tally[0] += 1
                place = random.random() * (asks + bids)
                tried = 0 if place < asks else 1
                if tried == 1:
                    place -= asks
                share = (t - start) / width
                factor = arrivals[tried] * crowd_factor(counts, quotes, panel, share, tried, k, crowd, soft, low, high)
                reached = 0.0
                first = 1 if tried == 0 else 0
                for candidate in range(first, first + n - 1):
                    if counts[candidate] > 0:
                        offer = panel_quote(quotes, panel, share, candidate, tried, low, high)
                        reached += factor * counts[candidate] * math.exp(-k * offer)
                        if side < 0 and place < reached:
                            side, row, quote = tried, candidate, offer
                if reached > (asks if tried == 0 else bids):
                    return False
                if side >= 0:
                    break
            if factors.shape[0] > 0 and t > piece:
                for both in range(2):
                    for at in (GAUSS, 1.0 - GAUSS):
                        share = (piece + at * (t - piece) - start) / width
                        factors[panel, both] += (
                            0.5 * (t - piece) / width
                            * crowd_factor(counts, quotes, panel, share, both, k, crowd, soft, low, high)
                        )  # fmt: skip
                piece = t
            if side < 0:
                break
            tally[1] += 1
            chosen = int(random.random() * counts[row])
            maker = members[row, chosen]
            counts[row] -= 1
            members[row, chosen] = members[row, counts[row]]
            wealth[maker] += quote - fill_cost - running_penalty * (row - flat) ** 2 * (t - since[maker])
            since[maker] = t
            row += -1 if side == 0 else 1
            members[row, counts[row]] = maker
            counts[row] += 1
    while record < recorded.size:
        records[record] = counts
        record += 1
    for row in range(n):
        square = (row - flat) ** 2
        for place_in_row in range(counts[row]):
            maker = members[row, place_in_row]
            wealth[maker] -= square * (running_penalty * (edges[-1] - since[maker]) + terminal_penalty)
    return True


@njit(cache=True)
def slope_reply(
    state: Floats, quotes: Floats, rivals: Floats, panel: int, share: float, factors: Floats, arrivals: Floats,
    k: float, running_penalty: float, fill_cost: float, low: float, high: float, slope: Floats,
) -> float:  # fmt: skip
    """Fastest rate; -(V*)', -(V* - J)' and -(K - J)' for `state` (3, nx) = (V*, V* - J, K - J) go to `slope`.

    J is the value of `quotes` and K that of `rivals` in the crowd whose exp(k c m) are `factors`; V* the best reply's.
    """
    n = state.shape[1]
    flat = (n - 1) // 2
    fastest = 0.0
    for row in range(n):
        value = -running_penalty * (row - flat) ** 2
        gain = rival_gain = rate = 0.0
        for side in range(2):
            target = row - 1 if side == 0 else row + 1
            if target < 0 or target >= n:
                continue
            market = arrivals[side] * factors[side]
            gap = state[0, target] - state[0, row]
            best = min(max(1.0 / k + fill_cost - gap, low), high)
            ideal = market * math.exp(-k * best)
            margin = best - fill_cost + gap
            value += ideal * margin
            quote = panel_quote(quotes, panel, share, row, side, low, high)
            # What the quote forgoes, as two terms that are not negative: no difference of close numbers.
            y = k * (quote - best)
            fill = math.exp(-y)
            curve = y * y * (0.5 - y / 3.0 + y * y / 8.0) if abs(y) < 1e-3 else -math.expm1(-y) - y * fill
            excess = margin - 1.0 / k
            bound = -excess * math.expm1(-y) if abs(excess) * k > 1e-9 else 0.0
            rate_here = ideal * fill
            gain += ideal * (max(bound, 0.0) + curve / k) + rate_here * (state[1, target] - state[1, row])
            # K - J: the rival's rates carry the difference; its source is what the rival earns more in J's terms.
            own_gap = gap - (state[1, target] - state[1, row])
            rival = panel_quote(rivals, panel, share, row, side, low, high)
            rival_rate = market * math.exp(-k * rival)
            # lambda(rival)(rival + g) - lambda(quote)(quote + g) without the leading cancellation.
            shift = rival - quote
            more = rate_here * (math.expm1(-k * shift) * (quote - fill_cost + own_gap) + shift * math.exp(-k * shift))
            rival_gain += more + rival_rate * (state[2, target] - state[2, row])
            rate += max(ideal, max(rate_here, rival_rate))
        slope[0, row] = value
        slope[1, row] = gain
        slope[2, row] = rival_gain
        fastest = max(fastest, rate)
    return fastest


@njit(cache=True, nogil=True)
def march_reply(
    edges: Floats, quotes: Floats, rivals: Floats, factors: Floats, arrivals: Floats, k: float, running_penalty: float,
    terminal_penalty: float, fill_cost: float, low: float, high: float, best: Floats, state: Floats,
) -> bool:  # fmt: skip
    """Fill `state` (3, nx) with V*(0), V*(0) - J(0), K(0) - J(0) in one crowd, by Runge-Kutta 4 backwards.

    `best` (panels, 3, nx, 2), when it has a length, takes the best reply's quotes at the nodes of the panels. Steps
    are cut until none is longer than `LONGEST_SUBSTEP` over the fastest rate; False when that takes more than a
    million a panel.
    """
    n = state.shape[1]
    flat = (n - 1) // 2
    k1, k2, k3, k4, stage = (np.empty((3, n)), np.empty((3, n)), np.empty((3, n)), np.empty((3, n)), np.empty((3, n)))
    for row in range(n):
        state[0, row] = -terminal_penalty * (row - flat) ** 2
        state[1, row] = state[2, row] = 0.0
    for panel in range(edges.size - 2, -1, -1):
        width = edges[panel + 1] - edges[panel]
        place = 1.0
        for half in range(2):
            if best.shape[0] > 0:
                store_best(state[0], k, fill_cost, low, high, best[panel, 2 - half])
            floor = 0.5 * (1 - half)
            while place > floor:
                rate = slope_reply(state, quotes, rivals, panel, place, factors[panel], arrivals, k, running_penalty,
                                   fill_cost, low, high, k1)  # fmt: skip
                share = min(place - floor, LONGEST_SUBSTEP / max(rate * width, 1e-300))
                if not share > 1e-6:
                    return False
                # A step that would leave a sliver takes half of what is left.
                if share < place - floor < 2.0 * share:
                    share = 0.5 * (place - floor)
                h = share * width
                stage[:] = state + 0.5 * h * k1
                slope_reply(stage, quotes, rivals, panel, place - 0.5 * share, factors[panel], arrivals, k,
                            running_penalty, fill_cost, low, high, k2)  # fmt: skip
                stage[:] = state + 0.5 * h * k2
                slope_reply(stage, quotes, rivals, panel, place - 0.5 * share, factors[panel], arrivals, k,
                            running_penalty, fill_cost, low, high, k3)  # fmt: skip
                stage[:] = state + h * k3
                slope_reply(stage, quotes, rivals, panel, max(place - share, 0.0), factors[panel], arrivals, k,
                            running_penalty, fill_cost, low, high, k4)  # fmt: skip
                state += h / 6.0 * (k1 + 2.0 * k2 + 2.0 * k3 + k4)
                place = floor if place - share - floor < 1e-12 else place - share
        if best.shape[0] > 0:
            store_best(state[0], k, fill_cost, low, high, best[panel, 0])
    return True


@njit(cache=True)
def store_best(value: Floats, k: float, fill_cost: float, low: float, high: float, quotes: Floats) -> None:
    """Fill `quotes` (nx, 2) with the best half-spreads for a value; nan where a side is not quoted."""
    n = value.size
    quotes[0, 0] = quotes[n - 1, 1] = math.nan
    for row in range(1, n):
        gap = value[row - 1] - value[row]
        quotes[row, 0] = min(max(1.0 / k + fill_cost - gap, low), high)
        quotes[row - 1, 1] = min(max(1.0 / k + fill_cost + gap, low), high)
