"""Compiled marches of the market-making game without quote bounds (arrays in, outputs last, nothing checked).

W = exp(k V) is linear, -W' = M(t) W: M is tridiagonal with off-diagonals A h exp(k c abar(t)) > 0 (`fill_moments`) and
diagonal -k eta x^2. One step is one exponential of the Magnus expansion to order 4 (Magnus 1954; Blanes, Casas, Oteo &
Ros 2009, section 5), whose commutators of a diagonal with the off-diagonals stay tridiagonal. Each exponential is a
Taylor series whose terms, but for the centred diagonal, are non-negative: every component keeps its relative accuracy,
so log W is right in the far tail too. The population moves with the same series transposed (Doob's h-transform): its
mass is kept to rounding and no entry is negative. Where fills are more frequent than M's (risk aversion), `march_rates`
moves it.

`march_scaled` carries W itself, scaled; where the range of W or a step is too long for that, `march_tilted` takes the
same steps with one exponent per state.
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

PATH_DEGREE = 5
"""Degree of the polynomial through a path's nearest nodes, between which the path is integrated."""

SMALLEST_SHARE = 1e-17
"""A series ends when what is left out is a smaller share of its sum."""

LONGEST_SERIES = 96

ROW_SUMS = np.array(
    [math.exp((math.log(SMALLEST_SHARE) + math.lgamma(n + 2)) / (n + 1)) for n in range(0, LONGEST_SERIES + 2, 2)]
)
"""Largest row sum R with R^(n+1)/(n+1)! within `SMALLEST_SHARE`, for n = 0, 2, 4, ... terms."""

LARGEST_SHIFT = 4.0
"""Up to it the diagonal of a step is centred: half the terms, and no more than two digits cancel at an end."""

SMALLEST_W = 1e-250
"""Share of the largest W below which one scale for all states is not enough."""

TILT_NORM = 40.0
"""Above it the tilt follows the end of the step instead of its start."""

TERM_RANGE = 100.0
"""In logs: terms so far below the largest are behind it for good in a series from a concave log W."""

SCALED_COST, TILTED_COST = 12.0, 60.0
"""Of a step without its series, per state, in terms of a series."""

LARGEST_NORM = 300.0
"""Above it no series is attempted: the step must be shorter."""


@njit(cache=True, nogil=True)
def fill_differences(times: Floats, path: Floats, differences: Floats) -> None:
    """Fill `differences` (degree + 1, nodes) with Newton's divided differences of the path."""
    nodes = times.size
    differences[0] = path
    for order in range(1, differences.shape[0]):
        lower = differences[order - 1]
        for i in range(nodes - order):
            differences[order, i] = (lower[i + 1] - lower[i]) / (times[i + order] - times[i])


@njit(cache=True, nogil=True)
def path_value(times: Floats, differences: Floats, step: int, t: float) -> float:
    """The polynomial through the nodes nearest to a step, at t."""
    degree = differences.shape[0] - 1
    first = min(max(step - degree // 2, 0), times.size - 1 - degree)
    value: float = differences[degree, first]
    for order in range(degree - 1, -1, -1):
        value = differences[order, first] + (t - times[first + order]) * value
    return value


@njit(cache=True, nogil=True)
def fill_moments(
    times: Floats, path: Floats, log_arrival: float, crowd: float, differences: Floats, moments: Floats
) -> None:
    """Fill `moments` (steps, 2): integral of exp(log_arrival + crowd path) over each step, and its first moment.

    The moment is about the middle of the step, over its length. Gauss-Lobatto sums of four points, order 6.
    """
    fill_differences(times, path, differences)
    inner = math.sqrt(0.2)
    right = math.exp(log_arrival + crowd * path[0])
    for step in range(times.size - 1):
        left, right = right, math.exp(log_arrival + crowd * path[step + 1])
        half = 0.5 * (times[step + 1] - times[step])
        middle = times[step] + half
        before = path_value(times, differences, step, middle - inner * half)
        after = path_value(times, differences, step, middle + inner * half)
        before = math.exp(log_arrival + crowd * before)
        after = math.exp(log_arrival + crowd * after)
        moments[step, 0] = half / 6.0 * (left + right + 5.0 * (before + after))
        moments[step, 1] = half / 12.0 * (right - left + 5.0 * inner * (after - before))


@njit(cache=True, nogil=True)
def fill_step(
    length: float, penalty: float, ask: Floats, bid: Floats, shift: float, stay: Floats, down: Floats, up: Floats
) -> bool:
    """Fill the bands of the shifted step matrix at 1..n (0 and n + 1 stay zero); False when one has the wrong sign.

    `ask` and `bid` are the step's moments of the off-diagonals. With M = a L + b U - D the second term of the Magnus
    expansion is the moment of a times [L, D], that of b times [U, D], and, at the two ends only, of [L, U].
    """
    n = stay.size - 2
    Q = (n - 1) // 2
    tilt_down, tilt_up = ask[1] * length * penalty, bid[1] * length * penalty
    good = True
    for i in range(1, n + 1):
        x = i - 1 - Q
        stay[i] = shift - length * penalty * x * x
        down[i] = ask[0] - tilt_down * (2 * x - 1)
        up[i] = bid[0] + tilt_up * (2 * x + 1)
        good &= 0.0 < down[i] < math.inf and 0.0 < up[i] < math.inf
    corner = ask[0] * bid[1] - bid[0] * ask[1]
    stay[1] -= corner
    stay[n] += corner
    down[1] = 0.0
    up[n] = 0.0
    return good


@njit(cache=True, nogil=True)
def transpose_step(down: Floats, up: Floats) -> None:
    """Overwrite the off-diagonals by those of the transposed matrix (`down` multiplies the state below)."""
    n = down.size - 2
    for i in range(1, n):
        down[i + 1], up[i] = up[i], down[i + 1]


@njit(cache=True, nogil=True)
def apply_series(
    start: Floats, stay: Floats, down: Floats, up: Floats, terms: int, spare: Floats, result: Floats
) -> None:
    """Fill `result` with the exponential's Taylor polynomial of an even degree, times `start`, by Horner's rule."""
    n = start.size - 2
    for i in range(1, n + 1):
        result[i] = start[i]
    for count in range(terms, 0, -2):
        share = 1.0 / count
        for i in range(1, n + 1):
            spare[i] = start[i] + share * (stay[i] * result[i] + down[i] * result[i - 1] + up[i] * result[i + 1])
        share = 1.0 / (count - 1)
        for i in range(1, n + 1):
            result[i] = start[i] + share * (stay[i] * spare[i] + down[i] * spare[i - 1] + up[i] * spare[i + 1])


@njit(cache=True, nogil=True)
def march_scaled(
    times: Floats, ask: Floats, bid: Floats, penalty: float, w_start: Floats, offset_start: Floats, rho_start: Floats,
    w: Floats, offset: Floats, rho: Floats,
) -> float:  # fmt: skip
    """Fill log W = log w + offset backwards from the last row, and the population forwards.

    The terms of the series that it took for each state, with what else a step costs; 0 when out of range.

    `ask`, `bid` (steps, 2) are the moments of the off-diagonals and `penalty` is k eta. Each step starts from its right
    node's row of `w_start` and `offset_start` and, forwards, from its left node's row of `rho_start`: `w`, `offset` and
    `rho` themselves for a march, another solution to see what one step makes of it. No population without rows for it.
    """
    steps, n = w.shape[0] - 1, w.shape[1]
    Q = (n - 1) // 2
    stay, down, up = np.zeros(n + 2), np.zeros(n + 2), np.zeros(n + 2)
    start, spare, result = np.zeros(n + 2), np.zeros(n + 2), np.zeros(n + 2)
    terms, scales, shifts = np.empty(steps, dtype=np.int64), np.empty(steps), np.empty(steps)
    for step in range(steps - 1, -1, -1):
        length = times[step + 1] - times[step]
        shift = length * penalty * Q * Q
        shifts[step] = 0.5 * shift if shift <= LARGEST_SHIFT else shift
        if not fill_step(length, penalty, ask[step], bid[step], shifts[step], stay, down, up):
            return 0.0
        for i in range(n):
            start[i + 1] = w_start[step + 1, i]
        largest = 0.0
        for i in range(1, n + 1):
            if not start[i] > SMALLEST_W:
                return 0.0
            row = (down[i] * start[i - 1] + up[i] * start[i + 1]) / start[i] + abs(stay[i])
            largest = max(largest, row)
        if not largest < ROW_SUMS[-1]:
            return 0.0
        count = 0
        while ROW_SUMS[count] < largest:
            count += 1
        terms[step] = 2 * count
        apply_series(start, stay, down, up, terms[step], spare, result)
        highest = lowest = result[1]
        for i in range(2, n + 1):
            highest, lowest = max(highest, result[i]), min(lowest, result[i])
        if not lowest > SMALLEST_W * highest:
            return 0.0
        scales[step] = 1.0 / highest
        for i in range(n):
            w[step, i] = scales[step] * result[i + 1]
        offset[step] = offset_start[step + 1] + math.log(highest) - shifts[step]
    cost: float = SCALED_COST * steps + float(terms.sum())
    if rho.shape[0] == 0:
        return cost
    for step in range(steps):
        fill_step(times[step + 1] - times[step], penalty, ask[step], bid[step], shifts[step], stay, down, up)
        transpose_step(down, up)
        for i in range(n):
            start[i + 1] = rho_start[step, i] / w[step, i]
        apply_series(start, stay, down, up, terms[step], spare, result)
        for i in range(n):
            rho[step + 1, i] = scales[step] * w_start[step + 1, i] * result[i + 1]
    return 2.0 * cost


@njit(cache=True, nogil=True)
def lift_tilt(log_right: Floats, ask: float, bid: float, penalty: float, logs: Floats, tilt: Floats) -> None:
    """Largest term of the series at each state, in logs: a tilt near the step's left end.

    `logs` are log 1, log 2, ... The search on a side ends where the terms have fallen by `TERM_RANGE`.
    """
    n = log_right.size
    Q = (n - 1) // 2
    log_ask, log_bid = math.log(ask), math.log(bid)
    for i in range(n):
        largest = log_right[i]
        cost = 0.0
        for j in range(1, i + 1):
            cost += log_ask - logs[j - 1]
            term = cost + log_right[i - j]
            largest = max(largest, term)
            if term < largest - TERM_RANGE:
                break
        cost = 0.0
        for j in range(1, n - i):
            cost += log_bid - logs[j - 1]
            term = cost + log_right[i + j]
            largest = max(largest, term)
            if term < largest - TERM_RANGE:
                break
        tilt[i] = largest - penalty * (i - Q) ** 2


@njit(cache=True, nogil=True)
def tilt_step(tilt: Floats, stay: Floats, down: Floats, up: Floats) -> float:
    """Largest row sum of the step matrix after the similarity by exp(tilt), which overwrites its off-diagonals."""
    n = tilt.size
    norm = 0.0
    for i in range(n):
        row = stay[i + 1]
        if i > 0:
            down[i + 1] *= math.exp(tilt[i - 1] - tilt[i])
            row += down[i + 1]
        if i < n - 1:
            up[i + 1] *= math.exp(tilt[i + 1] - tilt[i])
            row += up[i + 1]
        if not row < LARGEST_NORM:
            return math.inf
        norm = max(norm, row)
    return norm


@njit(cache=True, nogil=True)
def march_tilted(
    times: Floats, ask: Floats, bid: Floats, penalty: float, log_start: Floats, rho_start: Floats,
    log_w: Floats, rho: Floats,
) -> float:  # fmt: skip
    """As `march_scaled`, in log W and any range of it; 0 when a step is too long for the series."""
    steps, n = log_w.shape[0] - 1, log_w.shape[1]
    Q = (n - 1) // 2
    stay, down, up = np.zeros(n + 2), np.zeros(n + 2), np.zeros(n + 2)
    term, following, total = np.zeros(n + 2), np.zeros(n + 2), np.zeros(n + 2)
    tilts, totals = np.empty((steps, n)), np.empty((steps, n))
    shifts, terms = np.empty(steps), np.empty(steps, dtype=np.int64)
    lifted = 0
    logs = np.log(np.arange(1.0, n + 1.0))
    for step in range(steps - 1, -1, -1):
        length = times[step + 1] - times[step]
        shifts[step] = length * penalty * Q * Q + abs(ask[step, 0] * bid[step, 1] - bid[step, 0] * ask[step, 1])
        source, tilt, shift = log_start[step + 1], tilts[step], shifts[step]
        tilt[:] = source
        if not fill_step(length, penalty, ask[step], bid[step], shift, stay, down, up):
            return 0.0
        least = 0
        norm = tilt_step(tilt, stay, down, up)
        if not norm < TILT_NORM:
            least = n
            lifted += 1
            lift_tilt(source, ask[step, 0], bid[step, 0], length * penalty, logs, tilt)
            fill_step(length, penalty, ask[step], bid[step], shift, stay, down, up)
            norm = tilt_step(tilt, stay, down, up)
        if not norm < LARGEST_NORM:
            return 0.0
        for i in range(1, n + 1):
            term[i] = total[i] = math.exp(source[i - 1] - tilt[i - 1])
        count, rising = 0, True
        while rising or count < least:
            count += 1
            share = 1.0 / count
            rising = False
            for i in range(1, n + 1):
                following[i] = share * (stay[i] * term[i] + down[i] * term[i - 1] + up[i] * term[i + 1])
                total[i] += following[i]
                rising |= following[i] > SMALLEST_SHARE * total[i]
            term, following = following, term
        terms[step] = count
        for i in range(n):
            if not 0.0 < total[i + 1] < math.inf:
                return 0.0
            totals[step, i] = total[i + 1]
            log_w[step, i] = tilt[i] + math.log(total[i + 1]) - shift
    cost: float = TILTED_COST * steps + float(terms.sum() + n * lifted)
    if rho.shape[0] == 0:
        return cost
    for step in range(steps):
        length, tilt, shift = times[step + 1] - times[step], tilts[step], shifts[step]
        fill_step(length, penalty, ask[step], bid[step], shift, stay, down, up)
        tilt_step(tilt, stay, down, up)
        transpose_step(down, up)
        for i in range(n):
            # Not exp(tilt - log W - shift), of which the rounding of a large log W would move mass.
            term[i + 1] = total[i + 1] = rho_start[step, i] / totals[step, i]
        for count in range(1, terms[step] + 1):
            share = 1.0 / count
            for i in range(1, n + 1):
                following[i] = share * (stay[i] * term[i] + down[i] * term[i - 1] + up[i] * term[i + 1])
                total[i] += following[i]
            term, following = following, term
        for i in range(n):
            rho[step + 1, i] = total[i + 1] * math.exp(log_start[step + 1, i] - tilt[i])
    return 2.0 * cost


@njit(cache=True, nogil=True)
def fill_log_rates(
    log_w: Floats, ask: float, bid: float, growth: float, penalty: float, rates: Floats, slope: Floats
) -> None:
    """Fill `rates` (2, n) with fill rates exp(ask or bid + difference of log W), and `slope` with d log W / dt.

    `growth` is how many times as frequent fills are as the off-diagonals of M.
    """
    n = log_w.size
    Q = (n - 1) // 2
    rates[0, 0] = rates[1, n - 1] = 0.0
    for i in range(1, n):
        rates[0, i] = math.exp(ask + log_w[i - 1] - log_w[i])
        rates[1, i - 1] = math.exp(bid + log_w[i] - log_w[i - 1])
    for i in range(n):
        slope[i] = penalty * (i - Q) ** 2 - (rates[0, i] + rates[1, i]) / growth


@njit(cache=True, nogil=True)
def march_rates(
    times: Floats, path: Floats, log_arrivals: Floats, crowd: float, growth: float, penalty: float,
    log_start: Floats, log_w: Floats, rho_start: Floats, rho: Floats,
) -> bool:  # fmt: skip
    """Fill the population, forwards, where fills are `growth` times as frequent as M's; False when a step is too long.

    Two exponentials of the generator a step (commutator-free, order 4: Blanes & Moan 2006), each a series of
    non-negative terms; log W half-way by the cubic through its values and slopes.
    """
    steps, n = log_w.shape[0] - 1, log_w.shape[1]
    degree = min(PATH_DEGREE, steps)
    asks, bids = np.empty((degree + 1, steps + 1)), np.empty((degree + 1, steps + 1))
    fill_differences(times, path[0], asks)
    fill_differences(times, path[1], bids)
    stay, down, up = np.zeros(n + 2), np.zeros(n + 2), np.zeros(n + 2)
    law, spare, result = np.zeros(n + 2), np.zeros(n + 2), np.zeros(n + 2)
    left, centre, right = np.empty((2, n)), np.empty((2, n)), np.empty((2, n))
    left_slope, right_slope, middle = np.empty(n), np.empty(n), np.empty(n)
    to_ask, to_bid = log_arrivals[0] + math.log(growth), log_arrivals[1] + math.log(growth)
    for step in range(steps):
        length = times[step + 1] - times[step]
        fill_log_rates(log_w[step], to_ask + crowd * path[0, step], to_bid + crowd * path[1, step], growth, penalty,
                       left, left_slope)  # fmt: skip
        fill_log_rates(log_start[step + 1], to_ask + crowd * path[0, step + 1], to_bid + crowd * path[1, step + 1],
                       growth, penalty, right, right_slope)  # fmt: skip
        for i in range(n):
            middle[i] = 0.5 * (log_w[step, i] + log_start[step + 1, i])
            middle[i] += 0.125 * length * (left_slope[i] - right_slope[i])
        half_way = times[step] + 0.5 * length
        ask = to_ask + crowd * path_value(times, asks, step, half_way)
        bid = to_bid + crowd * path_value(times, bids, step, half_way)
        fill_log_rates(middle, ask, bid, growth, penalty, centre, spare[1 : n + 1])
        for i in range(n):
            law[i + 1] = rho_start[step, i]
        for part in range(2):
            first, second = (0.25, -1.0 / 12.0) if part == 0 else (-1.0 / 12.0, 0.25)
            shift = 0.0
            for i in range(n):
                down[i + 1] = length * (first * left[0, i] + centre[0, i] / 3.0 + second * right[0, i])
                up[i + 1] = length * (first * left[1, i] + centre[1, i] / 3.0 + second * right[1, i])
                if not (down[i + 1] >= 0.0 and up[i + 1] >= 0.0):
                    return False
                shift = max(shift, down[i + 1] + up[i + 1])
            if not shift < ROW_SUMS[-1]:
                return False
            count = 0
            while ROW_SUMS[count] < shift:
                count += 1
            for i in range(1, n + 1):
                stay[i] = shift - down[i] - up[i]
            transpose_step(down, up)
            apply_series(law, stay, down, up, 2 * count, spare, result)
            for i in range(1, n + 1):
                law[i] = math.exp(-shift) * result[i]
        for i in range(n):
            rho[step + 1, i] = law[i + 1]
    return True


@njit(cache=True, nogil=True)
def march_linear(
    times: Floats, path: Floats, log_arrivals: Floats, crowd: float, growth: float, penalty: float, each: bool,
    log_start: Floats, rho_start: Floats, log_w: Floats, rho: Floats,
) -> float:  # fmt: skip
    """Fill log W on the nodes, backwards from its last row, and the population forwards from its first.

    `path` (2, nodes) are the crowd's quotes, `log_arrivals` (2,) are log(A h), `crowd` is k c, `penalty` k eta. With
    `each` every step starts from `log_start` and `rho_start` instead of from the step before. Only W is wanted when
    `rho` has no rows. The terms of all series, per state, with what else the steps cost; 0 when a step is too long.
    """
    nodes, n = log_w.shape
    ask, bid = np.empty((nodes - 1, 2)), np.empty((nodes - 1, 2))
    differences = np.empty((min(PATH_DEGREE, nodes - 1) + 1, nodes))
    fill_moments(times, path[0], log_arrivals[0], crowd, differences, ask)
    fill_moments(times, path[1], log_arrivals[1], crowd, differences, bid)
    w, offset, rho_steps = np.empty((nodes, n)), np.empty(nodes), rho_start if each else rho
    w_start, offset_start = (np.empty((nodes, n)), np.empty(nodes)) if each else (w, offset)
    for node in range(0 if each else nodes - 1, nodes):
        offset_start[node] = log_start[node].max()
        for i in range(n):
            w_start[node, i] = math.exp(log_start[node, i] - offset_start[node])
    cost: float = march_scaled(times, ask, bid, penalty, w_start, offset_start, rho_steps, w, offset, rho)
    if cost > 0.0:
        for node in range(nodes - 1):
            for i in range(n):
                log_w[node, i] = math.log(w[node, i]) + offset[node]
    else:
        cost = march_tilted(times, ask, bid, penalty, log_start if each else log_w, rho_steps, log_w, rho)
    if cost == 0.0 or growth == 1.0 or rho.shape[0] == 0:
        return cost
    good = march_rates(
        times, path, log_arrivals, crowd, growth, penalty, log_start if each else log_w, log_w, rho_steps, rho
    )
    return 2.0 * cost if good else 0.0
