"""Compiled loops of the market-making game without bounds: its mean quotes, and the regret of a policy.

Arrays in, outputs last, nothing checked. The best quote is margin - gap when a fill changes V by `gap`; a fill at
profit m is worth (1 - exp(-g m))/g, m at g = 0.
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

LARGEST_NORM = 300.0
"""Above it the series is not attempted: the step must be shorter."""

LARGEST_EXPONENT = 600.0
"""Fill rates, and what they lose, are cut at its exponential: only policies far from any best reply come near."""

SMALL_MISS = 1e-3
"""Below it, times 1/k, the regret of a quote is its series: the closed form cancels."""


@njit(cache=True, nogil=True)
def quote_means(value: Floats, rho: Floats, margin: float, decay: float, ask: Floats, bid: Floats) -> None:
    """Fill the population's mean ask and bid half-spread on each node, over those who quote that side.

    With a `decay` above 0 the soft mean -log(mean of exp(-decay quote))/decay. When nobody quotes a side (all start at
    one end of the grid), the quote of the first state that they reach: the limit.
    """
    nodes, n = value.shape
    for t in range(nodes):
        law, values = rho[t], value[t]
        if decay == 0.0:
            # Sums side by side, which do not wait for each other.
            asked = bid_for = asking = bidding = 0.0
            for i in range(n - 1):
                gap = values[i + 1] - values[i]
                asked += law[i + 1] * (margin + gap)
                bid_for += law[i] * (margin - gap)
                asking += law[i + 1]
                bidding += law[i]
            if asking > 0.0 and bidding > 0.0:
                ask[t], bid[t] = asked / asking, bid_for / bidding
                continue
        ask[t] = side_mean(values[1:], values[: n - 1], law[1:], margin, decay, 0)
        bid[t] = side_mean(values[: n - 1], values[1:], law[: n - 1], margin, decay, n - 2)


@njit(cache=True, nogil=True)
def side_mean(here: Floats, there: Floats, law: Floats, margin: float, decay: float, first: int) -> float:
    """Mean best quote, soft with a `decay` above 0, where a fill moves V from `here` to `there`."""
    total = mass = 0.0
    if decay == 0.0:
        for i in range(law.size):
            total += law[i] * (margin - there[i] + here[i])
            mass += law[i]
        return total / mass if mass > 0.0 else margin - there[first] + here[first]
    tightest = math.inf
    for i in range(law.size):
        if law[i] > 0.0:
            tightest = min(tightest, margin - there[i] + here[i])
    for i in range(law.size):
        if law[i] > 0.0:
            total += law[i] * math.exp(decay * (tightest - margin + there[i] - here[i]))
            mass += law[i]
    return tightest - math.log(total / mass) / decay if mass > 0.0 else margin - there[first] + here[first]


@njit(cache=True, nogil=True)
def worth(profit: float, aversion: float) -> float:
    """(1 - exp(-g m))/g, m at g = 0: what a fill at profit m is worth."""
    return profit if aversion == 0.0 else -math.expm1(-aversion * profit) / aversion


@njit(cache=True, nogil=True)
def regret_per_fill(y: float, ratio: float) -> float:
    """What a quote `y` from the best one loses, for each fill at the best one; both in units of 1/k; `ratio` = g/k.

    (1 - e^-y - e^-y (1 - e^(-u y))/u)/(1 + u) with u = g/k: zero at the best quote, positive elsewhere.
    """
    if abs(y) * (1.0 + ratio) < SMALL_MISS:
        return y * y * (0.5 - y * ((2.0 + ratio) / 6.0 - y * (3.0 + 3.0 * ratio + ratio * ratio) / 24.0))
    return max((-math.expm1(-y) - math.exp(-y) * worth(y, ratio)) / (1.0 + ratio), 0.0)


@njit(cache=True, nogil=True)
def fill_between(first: Integers, weights: Floats, rows: Floats) -> None:
    """Fill the odd rows by these weights (panels, degree + 1) of the even ones first, first + 1, ..."""
    panels, many = weights.shape
    for panel in range(panels):
        middle = rows[2 * panel + 1]
        middle[:] = 0.0
        for j in range(many):
            share, known = weights[panel, j], rows[2 * (first[panel] + j)]
            for i in range(middle.size):
                middle[i] += share * known[i]


@njit(cache=True, nogil=True)
def fill_regret(
    value: Floats, quotes: Floats, ideal: Floats, means: Floats, arrivals: Floats, k: float, crowd: float,
    margin: float, ratio: float, rates: Floats, regret: Floats,
) -> None:  # fmt: skip
    """Fill, at one time, what `quotes` (2n,) lose against the best reply of value `value`, and their fill rates.

    Asks first, as everywhere; `ideal` (2n - 2,) are fills at the best quotes over the arrivals, of the states that have
    one. Rates are padded with a zero on each side. Under risk aversion they are those of the law under which gains are
    counted: times exp(-g profit), the profit that of the best reply's value, which at the best quote is 1/(1 + g/k).
    """
    n = value.size
    regret[:] = 0.0
    rates[0, 1] = rates[1, n] = 0.0
    for side in range(2):
        for pair in range(n - 1):
            i, gap = (pair + 1, value[pair + 1] - value[pair]) if side == 0 else (pair, value[pair] - value[pair + 1])
            best = margin + gap
            fills = arrivals[side] * ideal[side * (n - 1) + pair]
            y = k * (quotes[side * n + i] - best)
            z = (1.0 + ratio) * y
            if abs(z) < SMALL_MISS:
                regret[i] += fills / k * regret_per_fill(y, ratio)
                part = 1.0 - z * (1.0 - z / 2.0 * (1.0 - z / 3.0 * (1.0 - z / 4.0)))
                rates[side, i + 1] = fills / (1.0 + ratio) * part
                continue
            exponent = k * (crowd * means[side] - best)
            if exponent - z > LARGEST_EXPONENT or -z > LARGEST_EXPONENT:
                regret[i] += arrivals[side] / k * math.exp(LARGEST_EXPONENT)
                rates[side, i + 1] = arrivals[side] * math.exp(LARGEST_EXPONENT)
                continue
            regret[i] += fills / k * regret_per_fill(y, ratio)
            rates[side, i + 1] = fills / (1.0 + ratio) * math.exp(-z)


@njit(cache=True, nogil=True)
def move_law(
    rho: Floats, down: Floats, up: Floats, stay: Floats, term: Floats, following: Floats, total: Floats
) -> bool:
    """Overwrite `rho` by exp(G)^T rho for these rates; False when one is negative or too large.

    All are padded with a zero on each side.
    """
    n = rho.size - 2
    shift = 0.0
    good = True
    for i in range(1, n + 1):
        good &= down[i] >= 0.0 and up[i] >= 0.0
        stay[i] = down[i] + up[i]
        shift = max(shift, stay[i])
    if not (good and shift < LARGEST_NORM):
        return False
    weight = math.exp(-shift)
    for i in range(1, n + 1):
        stay[i] = shift - stay[i]
        term[i] = weight * rho[i]
        total[i] = term[i]
    count = 0
    while weight > 1e-18 or count < shift:
        count += 1
        share = 1.0 / count
        for i in range(1, n + 1):
            following[i] = share * (stay[i] * term[i] + down[i + 1] * term[i + 1] + up[i - 1] * term[i - 1])
        for i in range(1, n + 1):
            total[i] += following[i]
        weight *= shift / count
        term, following = following, term
    rho[:] = total
    return True


@njit(cache=True, nogil=True)
def move_fast_law(rho: Floats, down: Floats, up: Floats, ratio: Floats) -> None:
    """Overwrite `rho` by one implicit Euler step with these rates: any rates, positive, mass kept, first order."""
    n = rho.size
    for i in range(n):
        pivot = 1.0 + down[i] + up[i]
        if i > 0:
            pivot -= up[i - 1] * ratio[i - 1]
            rho[i] += up[i - 1] * rho[i - 1]
        if i < n - 1:
            ratio[i] = down[i + 1] / pivot
        rho[i] /= pivot
    for i in range(n - 2, -1, -1):
        rho[i] += ratio[i] * rho[i + 1]


@njit(cache=True, nogil=True)
def sum_regret(
    times: Floats, value: Floats, quotes: Floats, ideal: Floats, paths: Floats, arrivals: Floats, k: float,
    crowd: float, margin: float, aversion: float, start: Floats,
) -> float:  # fmt: skip
    """Regret of playing `quotes` (nodes, 2n) summed over the day along their own inventories, Simpson on each panel.

    `ideal` (nodes, 2n - 2) as in `fill_regret`. With risk aversion g the law grows at the rate g times the regret, so
    that the sum S is (e^(g gain) - 1)/g.
    """
    nodes, n = value.shape
    law, down, up, stay = np.zeros(n + 2), np.zeros(n + 2), np.zeros(n + 2), np.zeros(n + 2)
    term, following, total = np.zeros(n + 2), np.zeros(n + 2), np.zeros(n + 2)
    left_rates, right_rates = np.zeros((2, n + 2)), np.zeros((2, n + 2))
    left, right = np.empty(n), np.empty(n)
    for i in range(n):
        law[i + 1] = start[i]
    gain = 0.0
    for t in range(nodes):
        fill_regret(value[t], quotes[t], ideal[t], paths[:, t], arrivals, k, crowd, margin, aversion / k,
                    right_rates, right)  # fmt: skip
        if t > 0:
            half = 0.5 * (times[t] - times[t - 1])
            for i in range(1, n + 1):
                down[i] = half * (left_rates[0, i] + right_rates[0, i])
                up[i] = half * (left_rates[1, i] + right_rates[1, i])
            if aversion > 0.0:
                for i in range(n):
                    law[i + 1] *= math.exp(min(half * aversion * (left[i] + right[i]), LARGEST_EXPONENT))
            if not move_law(law, down, up, stay, term, following, total):
                move_fast_law(law[1 : n + 1], down[1 : n + 1], up[1 : n + 1], stay[1 : n + 1])
        loss = 0.0
        for i in range(n):
            loss += law[i + 1] * right[i]
        # Simpson: 4/6 of the panel to its middle node, 1/6 of each neighbouring panel to a node between.
        if t % 2:
            gain += loss * (times[t + 1] - times[t - 1]) * 4.0 / 6.0
        else:
            gain += loss * (times[min(t + 2, nodes - 1)] - times[max(t - 2, 0)]) / 6.0
        left_rates, right_rates = right_rates, left_rates
        left, right = right, left
    return gain
