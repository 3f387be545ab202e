"""Compiled loops of the market-making game on the inventories -Q..Q (arrays in, outputs last, nothing checked).

Time grids are panels of two equal halves: nodes 2j, 2j+1, 2j+2 are the start, middle and end of panel j, and the
crowd's mean quotes are quadratic in a panel. `quote_means` couples the two marches.

Without quote bounds W = exp(k V) is linear: -W' = M W with M tridiagonal, off-diagonals (A/e) exp(k c abar) >= 0 and
diagonal -k eta x^2. One half panel is two exponentials of M (commutator-free, order 4), each a Taylor series of
non-negative terms: every component keeps its relative accuracy, so log W is right in the far tail too. Before a series
the vector is divided by exp(tilt), which keeps its entries near 1 whatever the penalties. The population moves with the
same exponentials transposed (Doob's h-transform), so its mass is kept to rounding and no entry is negative.
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

TILT_NORM = 40.0
"""Above it the tilt follows the end of the step instead of its start."""

SMALLEST_SHARE = 1e-17
"""A series ends when no term is a larger share of its sum."""

FLAT_RANGE = 30.0
"""Below this range of log W one tilt serves all states, which saves the exponentials."""


@njit(cache=True)
def panel_value(values: Floats, node: int, share: float) -> float:
    """Value a share (1/4 or 3/4) into the panel whose middle is `node`, by the quadratic through its three nodes."""
    left: float = values[node - 1]
    middle: float = values[node]
    right: float = values[node + 1]
    slope = right - left
    bend = 2.0 * (left - 2.0 * middle + right)
    return left + share * (slope - bend * (1.0 - share))


@njit(cache=True)
def fill_tilted(
    tilt: Floats, flat: bool, ask: float, bid: float, penalty: float, down: Floats, up: Floats, stay: Floats
) -> tuple[float, float]:
    """(largest row sum, shift) of the tilted, shifted step matrix, bands in `down`, `up`, `stay` (>= 0)."""
    n = tilt.size
    Q = (n - 1) // 2
    shift = penalty * Q * Q
    norm = 0.0
    for i in range(n):
        x = i - Q
        stay[i] = shift - penalty * x * x
        down[i] = 0.0 if i == 0 else ask if flat else ask * math.exp(tilt[i - 1] - tilt[i])
        up[i] = 0.0 if i == n - 1 else bid if flat else bid * math.exp(tilt[i + 1] - tilt[i])
        norm = max(norm, stay[i] + down[i] + up[i])
    return norm, shift


@njit(cache=True)
def lift_tilt(log_right: Floats, ask: float, bid: float, penalty: float, tilt: Floats) -> None:
    """Largest term of the series at each state, in logs: a tilt near the step's left end."""
    n = log_right.size
    Q = (n - 1) // 2
    log_ask, log_bid = math.log(ask), math.log(bid)
    for i in range(n):
        tilt[i] = log_right[i] - penalty * (i - Q) ** 2
        cost = 0.0
        for j in range(1, i + 1):
            cost += log_ask - math.log(j)
            tilt[i] = max(tilt[i], cost + log_right[i - j] - penalty * (i - Q) ** 2)
        cost = 0.0
        for j in range(1, n - i):
            cost += log_bid - math.log(j)
            tilt[i] = max(tilt[i], cost + log_right[i + j] - penalty * (i - Q) ** 2)


@njit(cache=True)
def march_linear(
    moves: Floats,
    penalties: Floats,
    log_start: Floats,
    log_w: Floats,
    log_w_between: Floats,
    tilts: Floats,
    terms: Integers,
) -> bool:
    """Fill log W on the nodes, backwards from `log_w[-1]`; False when a step is too long for the series.

    `moves` (2, halves, 2) holds the off-diagonals times their weight in time: side (ask, bid), half panel, exponential
    (the one near the half's right end first); `penalties` (halves,) k eta times half the half's length. Each half panel
    starts from its right node's row of `log_start`: `log_w` itself for a march, another solution to see what one step
    makes of it. `log_w_between` (halves, nx) holds log W between a half's two exponentials; it, `tilts` (2 halves, nx)
    and `terms` (2 halves,), the number of terms, negative under one tilt for all states, let `march_population` repeat
    the exponentials transposed.
    """
    n = log_w.shape[1]
    down, up, stay = np.empty(n), np.empty(n), np.empty(n)
    term, following, total = np.empty(n), np.empty(n), np.empty(n)
    for half in range(penalties.size - 1, -1, -1):
        penalty = penalties[half]
        for part in range(2):
            source = log_start[half + 1] if part == 0 else log_w_between[half]
            target = log_w_between[half] if part == 0 else log_w[half]
            ask, bid = moves[0, half, part], moves[1, half, part]
            if not (ask > 0.0 and bid > 0.0):
                return False
            row = 2 * half + part
            tilt = tilts[row]
            highest = source.max()
            flat = highest - source.min() < FLAT_RANGE
            tilt[:] = source
            if flat:
                tilt[:] = highest
            norm, shift = fill_tilted(tilt, flat, ask, bid, penalty, down, up, stay)
            least = 0
            if not norm < TILT_NORM:
                least = n
                flat = False
                lift_tilt(source, ask, bid, penalty, tilt)
                norm, shift = fill_tilted(tilt, flat, ask, bid, penalty, down, up, stay)
            if not norm < LARGEST_NORM:
                return False
            for i in range(n):
                term[i] = math.exp(source[i] - tilt[i])
                total[i] = term[i]
            count = 0
            rising = True
            while rising or count < least:
                count += 1
                share = 1.0 / count
                following[0] = share * (stay[0] * term[0] + up[0] * term[1])
                following[n - 1] = share * (stay[n - 1] * term[n - 1] + down[n - 1] * term[n - 2])
                for i in range(1, n - 1):
                    following[i] = share * (stay[i] * term[i] + down[i] * term[i - 1] + up[i] * term[i + 1])
                rising = False
                for i in range(n):
                    total[i] += following[i]
                    rising |= following[i] > SMALLEST_SHARE * total[i]
                term, following = following, term
            terms[row] = -count if flat else count
            for i in range(n):
                target[i] = tilt[i] + math.log(total[i]) - shift
    return True


@njit(cache=True)
def march_population(
    moves: Floats,
    penalties: Floats,
    log_start: Floats,
    log_w: Floats,
    log_w_between: Floats,
    tilts: Floats,
    terms: Integers,
    rho_start: Floats,
    rho: Floats,
) -> None:
    """Fill the population on the nodes, forwards from `rho[0]`, with the transposed steps of `march_linear`."""
    n = log_w.shape[1]
    down, up, stay = np.empty(n), np.empty(n), np.empty(n)
    term, following, total = np.empty(n), np.empty(n), np.empty(n)
    for half in range(penalties.size):
        total[:] = rho_start[half]
        for part in (1, 0):
            source = log_start[half + 1] if part == 0 else log_w_between[half]
            target = log_w_between[half] if part == 0 else log_w[half]
            ask, bid = moves[0, half, part], moves[1, half, part]
            row = 2 * half + part
            tilt = tilts[row]
            _, shift = fill_tilted(tilt, terms[row] < 0, ask, bid, penalties[half], down, up, stay)
            for i in range(n):
                term[i] = total[i] * math.exp(tilt[i] - target[i] - shift)
                total[i] = term[i]
            for count in range(1, abs(terms[row]) + 1):
                share = 1.0 / count
                following[0] = share * (stay[0] * term[0] + down[1] * term[1])
                following[n - 1] = share * (stay[n - 1] * term[n - 1] + up[n - 2] * term[n - 2])
                for i in range(1, n - 1):
                    following[i] = share * (stay[i] * term[i] + down[i + 1] * term[i + 1] + up[i - 1] * term[i - 1])
                for i in range(n):
                    total[i] += following[i]
                term, following = following, term
            for i in range(n):
                total[i] *= math.exp(source[i] - tilt[i])
        rho[half + 1] = total


@njit(cache=True)
def best_quote(gap: float, k: float, low: float, high: float) -> float:
    """clip(1/k - gap, low, high), the best half-spread when a fill changes the value by `gap`."""
    return min(max(1.0 / k - gap, low), high)


@njit(cache=True)
def value_slope(
    value: Floats, ask_mean: float, bid_mean: float, ask_arrival: float, bid_arrival: float,
    k: float, crowd: float, eta: float, low: float, high: float, slope: Floats,
) -> float:  # fmt: skip
    """Largest total fill rate; -V' goes to `slope`."""
    n = value.size
    Q = (n - 1) // 2
    fastest = 0.0
    for i in range(n):
        total = -eta * (i - Q) ** 2
        rate = 0.0
        if i > 0:
            gap = value[i - 1] - value[i]
            quote = best_quote(gap, k, low, high)
            ask = ask_arrival * math.exp(k * (crowd * ask_mean - quote))
            total += ask * (quote + gap)
            rate += ask
        if i < n - 1:
            gap = value[i + 1] - value[i]
            quote = best_quote(gap, k, low, high)
            bid = bid_arrival * math.exp(k * (crowd * bid_mean - quote))
            total += bid * (quote + gap)
            rate += bid
        slope[i] = total
        fastest = max(fastest, rate)
    return fastest


@njit(cache=True)
def march_bounded(
    times: Floats, ask_path: Floats, bid_path: Floats, ask_arrival: float, bid_arrival: float,
    k: float, crowd: float, eta: float, low: float, high: float, start_value: Floats, value: Floats, slopes: Floats,
) -> bool:  # fmt: skip
    """Fill V and -V' on the nodes, backwards from `value[-1]`, by Runge-Kutta 4; False when a step is unstable."""
    n = value.shape[1]
    k2, k3, k4, stage = np.empty(n), np.empty(n), np.empty(n), np.empty(n)
    for half in range(times.size - 2, -1, -1):
        h = times[half + 1] - times[half]
        share = 0.25 if half % 2 == 0 else 0.75
        ask_middle = panel_value(ask_path, 2 * (half // 2) + 1, share)
        bid_middle = panel_value(bid_path, 2 * (half // 2) + 1, share)
        start, k1 = start_value[half + 1], slopes[half + 1]
        rate = value_slope(start, ask_path[half + 1], bid_path[half + 1], ask_arrival, bid_arrival, k, crowd, eta, low,
                           high, k1)  # fmt: skip
        for i in range(n):
            stage[i] = start[i] + 0.5 * h * k1[i]
        value_slope(stage, ask_middle, bid_middle, ask_arrival, bid_arrival, k, crowd, eta, low, high, k2)
        for i in range(n):
            stage[i] = start[i] + 0.5 * h * k2[i]
        value_slope(stage, ask_middle, bid_middle, ask_arrival, bid_arrival, k, crowd, eta, low, high, k3)
        for i in range(n):
            stage[i] = start[i] + h * k3[i]
        value_slope(stage, ask_path[half], bid_path[half], ask_arrival, bid_arrival, k, crowd, eta, low, high, k4)
        for i in range(n):
            value[half, i] = start[i] + h / 6.0 * (k1[i] + 2.0 * k2[i] + 2.0 * k3[i] + k4[i])
        if not h * rate < 1.25:
            return False
    value_slope(start_value[0], ask_path[0], bid_path[0], ask_arrival, bid_arrival, k, crowd, eta, low, high, slopes[0])
    return True


@njit(cache=True)
def fill_rates(
    value: Floats, ask_mean: float, bid_mean: float, ask_arrival: float, bid_arrival: float,
    k: float, crowd: float, low: float, high: float, rates: Floats,
) -> None:  # fmt: skip
    """Fill `rates` (2, n) with the fill rates under the best quotes, asks first; 0 where that side is not quoted."""
    n = value.size
    rates[0, 0] = rates[1, n - 1] = 0.0
    for i in range(1, n):
        gap = value[i - 1] - value[i]
        rates[0, i] = ask_arrival * math.exp(k * (crowd * ask_mean - best_quote(gap, k, low, high)))
        rates[1, i - 1] = bid_arrival * math.exp(k * (crowd * bid_mean - best_quote(-gap, k, low, high)))


@njit(cache=True)
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


@njit(cache=True)
def march_law(
    times: Floats, ask_path: Floats, bid_path: Floats, ask_arrival: float, bid_arrival: float,
    k: float, crowd: float, low: float, high: float, value: Floats, slopes: Floats, rho_start: Floats, rho: Floats,
) -> bool:  # fmt: skip
    """Fill the population on the nodes, forwards from `rho[0]`, under the best quotes; False when a step fails."""
    n = value.shape[1]
    down, up, middle = np.empty(n), np.empty(n), np.empty(n)
    term, following, total = np.empty(n), np.empty(n), np.empty(n)
    left, centre, right = np.empty((2, n)), np.empty((2, n)), np.empty((2, n))
    fill_rates(value[0], ask_path[0], bid_path[0], ask_arrival, bid_arrival, k, crowd, low, high, right)
    for half in range(times.size - 1):
        h = times[half + 1] - times[half]
        share = 0.25 if half % 2 == 0 else 0.75
        ask_middle = panel_value(ask_path, 2 * (half // 2) + 1, share)
        bid_middle = panel_value(bid_path, 2 * (half // 2) + 1, share)
        for i in range(n):
            middle[i] = 0.5 * (value[half, i] + value[half + 1, i]) + h / 8.0 * (slopes[half + 1, i] - slopes[half, i])
        left, right = right, left
        fill_rates(middle, ask_middle, bid_middle, ask_arrival, bid_arrival, k, crowd, low, high, centre)
        fill_rates(value[half + 1], ask_path[half + 1], bid_path[half + 1], ask_arrival, bid_arrival, k, crowd,
                   low, high, right)  # fmt: skip
        rho[half + 1] = rho_start[half]
        for part in range(2):
            first, second = (0.25 * h, -h / 12.0) if part == 0 else (-h / 12.0, 0.25 * h)
            for i in range(n):
                down[i] = first * left[0, i] + h / 3.0 * centre[0, i] + second * right[0, i]
                up[i] = first * left[1, i] + h / 3.0 * centre[1, i] + second * right[1, i]
            if not move_law(rho[half + 1], down, up, term, following, total):
                return False
    return True


@njit(cache=True)
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


@njit(cache=True)
def march_quoted(times: Floats, ask_rates: Floats, bid_rates: Floats, rho: Floats) -> None:
    """Fill the population on `times`, forwards from `rho[0]`, for fill rates on `times` and the midpoints between."""
    n = rho.shape[1]
    down, up, ratio = np.empty(n), np.empty(n), np.empty(n)
    term, following, total = np.empty(n), np.empty(n), np.empty(n)
    for step in range(times.size - 1):
        h = times[step + 1] - times[step]
        law = rho[step + 1]
        law[:] = rho[step]
        for i in range(n):
            down[i] = h / 6.0 * (ask_rates[2 * step, i] + 4.0 * ask_rates[2 * step + 1, i] + ask_rates[2 * step + 2, i])
            up[i] = h / 6.0 * (bid_rates[2 * step, i] + 4.0 * bid_rates[2 * step + 1, i] + bid_rates[2 * step + 2, i])
        if not move_law(law, down, up, term, following, total):
            move_fast_law(law, down, up, ratio)


@njit(cache=True)
def quote_means(value: Floats, rho: Floats, k: float, low: float, high: float, ask: Floats, bid: Floats) -> None:
    """Fill the population's mean ask and bid half-spread on each node, over those who quote that side.

    When nobody does (all start at one end of the grid), the quote of the first state that they reach: the limit.
    """
    nodes, n = value.shape
    for t in range(nodes):
        ask_sum = ask_mass = bid_sum = bid_mass = 0.0
        for i in range(1, n):
            gap = value[t, i - 1] - value[t, i]
            ask_sum += rho[t, i] * best_quote(gap, k, low, high)
            ask_mass += rho[t, i]
            bid_sum += rho[t, i - 1] * best_quote(-gap, k, low, high)
            bid_mass += rho[t, i - 1]
        ask[t] = ask_sum / ask_mass if ask_mass > 0.0 else best_quote(value[t, 0] - value[t, 1], k, low, high)
        bid[t] = bid_sum / bid_mass if bid_mass > 0.0 else best_quote(value[t, n - 1] - value[t, n - 2], k, low, high)
