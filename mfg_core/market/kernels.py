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
def fill_regret(
    value: Floats, quotes: Floats, means: Floats, arrivals: Floats, k: float, crowd: float, margin: float, ratio: float,
    rates: Floats, regret: Floats,
) -> None:  # fmt: skip
    """Fill, at one time, what `quotes` (2, n) lose against the best reply of value `value`, and their fill rates.

    Asks first. Under risk aversion the rates are those of the law under which gains are counted: times
    exp(-g profit), the profit that of the best reply's value, which at the best quote is 1/(1 + g/k).
    """
    n = value.size
    regret[:] = 0.0
    for side in range(2):
        for i in range(n):
            j = i - 1 if side == 0 else i + 1
            rates[side, i] = 0.0
            if j < 0 or j == n:
                continue
            best = margin - value[j] + value[i]
            exponent = k * (crowd * means[side] - best)
            ideal = arrivals[side] * math.exp(min(exponent, LARGEST_EXPONENT))
            y = k * (quotes[side, i] - best)
            z = (1.0 + ratio) * y
            if exponent - z > LARGEST_EXPONENT or -z > LARGEST_EXPONENT:
                regret[i] += arrivals[side] / k * math.exp(LARGEST_EXPONENT)
                rates[side, i] = arrivals[side] * math.exp(LARGEST_EXPONENT)
                continue
            regret[i] += ideal / k * regret_per_fill(y, ratio)
            if abs(z) < SMALL_MISS:
                rates[side, i] = ideal / (1.0 + ratio) * (1.0 - z * (1.0 - z / 2.0 * (1.0 - z / 3.0 * (1.0 - z / 4.0))))
            else:
                rates[side, i] = ideal / (1.0 + ratio) * math.exp(-z)


@njit(cache=True, nogil=True)
def move_law(rho: Floats, down: Floats, up: Floats, term: Floats, following: Floats, total: Floats) -> bool:
    """Overwrite `rho` by exp(G)^T rho for these rates; False when one is negative or too large."""
    n = rho.size
    shift = 0.0
    for i in range(n):
        if not (down[i] >= 0.0 and up[i] >= 0.0):
            return False
        shift = max(shift, down[i] + up[i])
    if not shift < LARGEST_NORM:
        return False
    scale = math.exp(-shift)
    for i in range(n):
        term[i] = scale * rho[i]
        total[i] = term[i]
    count = 0
    weight = scale
    while weight > 1e-18 or count < shift:
        count += 1
        for i in range(n):
            inflow = (shift - down[i] - up[i]) * term[i]
            if i < n - 1:
                inflow += down[i + 1] * term[i + 1]
            if i > 0:
                inflow += up[i - 1] * term[i - 1]
            following[i] = inflow / count
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
    times: Floats, value: Floats, quotes: Floats, paths: Floats, arrivals: Floats, k: float, crowd: float,
    margin: float, aversion: float, start: Floats,
) -> float:  # fmt: skip
    """Regret of playing `quotes` (2, nodes, n) summed over the day along their own inventories, Simpson on each panel.

    With risk aversion g the law grows at the rate g times the regret, so that the sum S is (e^(g gain) - 1)/g.
    """
    nodes, n = value.shape
    law = start.copy()
    down, up, ratio = np.empty(n), np.empty(n), np.empty(n)
    term, following, total = np.empty(n), np.empty(n), np.empty(n)
    left_rates, right_rates = np.empty((2, n)), np.empty((2, n))
    left, right = np.empty(n), np.empty(n)
    gain = 0.0
    for t in range(nodes):
        fill_regret(value[t], quotes[:, t], paths[:, t], arrivals, k, crowd, margin, aversion / k, right_rates, right)
        if t > 0:
            h = times[t] - times[t - 1]
            for i in range(n):
                down[i] = 0.5 * h * (left_rates[0, i] + right_rates[0, i])
                up[i] = 0.5 * h * (left_rates[1, i] + right_rates[1, i])
                if aversion > 0.0:
                    law[i] *= math.exp(min(0.5 * h * aversion * (left[i] + right[i]), LARGEST_EXPONENT))
            if not move_law(law, down, up, term, following, total):
                move_fast_law(law, down, up, ratio)
        loss = 0.0
        for i in range(n):
            loss += law[i] * right[i]
        # Simpson: 4/6 of the panel to its middle node, 1/6 of each neighbouring panel to a node between.
        if t % 2:
            gain += loss * (times[t + 1] - times[t - 1]) * 4.0 / 6.0
        else:
            gain += loss * (times[min(t + 2, nodes - 1)] - times[max(t - 2, 0)]) / 6.0
        left_rates, right_rates = right_rates, left_rates
        left, right = right, left
    return gain
