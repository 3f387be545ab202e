"""Compiled marches of the finite-state family (arrays in, outputs last, nothing checked).

The rates of a step are one row of columns: for each state i that of moving to i - 1, for each that of moving to i + 1,
then those of all `far` transitions (sources, targets) one by one. Chains (inventories, stages of an illness) live in
the first two parts, whose loops have no indices to follow.

One step of a time grid is two exponentials of the generator integrated with commutator-free weights (order 4;
Thalhammer 2006). With an exponential's rates scaled by their largest exit rate s, A = s (P - 1) and P is stochastic, so
that exp(A)^T rho = sum of Poisson(s; k) (P^T)^k rho, and the value's step V + phi(A)(r + A V) with phi(A) = sum of
Poisson tail(s; k)/s P^k, are series of non-negative terms (uniformisation: Jensen 1953): the population keeps its mass
to rounding and stays >= 0, and the two are adjoint to rounding.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from numba import njit

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Indices = NDArray[np.intp]

LARGEST_NORM = 500.0
"""Largest exit rate times length of one series; above it the exponential is cut into equal pieces."""

MOST_PIECES = 64
"""More pieces than that are not attempted: the step must be shorter."""

SLOWEST = 1e-300
"""Rates times step below it are none: their inverse would overflow."""

SMALLEST_SHARE = 1e-17
"""A series ends at a Poisson weight that is this share of the largest."""


@njit(cache=True)
def weigh_steps(
    times: Floats, rates: Floats, reward: Floats, columns: Indices, weights: Floats, rewards: Floats
) -> int:  # fmt: skip
    """Integrate rates and reward over each step's two exponentials, the one near the right end first.

    `rates` (2 steps + 1, m) and `reward` (2 steps + 1, n) are at the nodes and half-way between; transition j belongs
    to `columns[j]`. To `weights` (steps, 2, columns) and `rewards` (steps, 2, n). The two exponentials share the
    integral by Simpson's rule; a rate that falls to near zero within one step gives all of it to one of them, so that
    neither is negative. -1, or the last step in which a rate or a reward is not finite.
    """
    wrong = -1
    weights[:] = 0.0
    for step in range(times.size - 1):
        good = True
        h = times[step + 1] - times[step]
        for j in range(columns.size):
            left, centre, right = rates[2 * step, j], rates[2 * step + 1, j], rates[2 * step + 2, j]
            half = h * (left + 4.0 * centre + right) / 12.0
            lean = h * (right - left) / 6.0
            lean = min(max(lean, -half), half)
            weights[step, 0, columns[j]] += half + lean
            weights[step, 1, columns[j]] += half - lean
            good &= half < math.inf
        for i in range(reward.shape[1]):
            left, centre, right = reward[2 * step, i], reward[2 * step + 1, i], reward[2 * step + 2, i]
            half = h * (left + 4.0 * centre + right) / 12.0
            lean = h * (right - left) / 6.0
            rewards[step, 0, i] = half + lean
            rewards[step, 1, i] = half - lean
            good &= abs(half) < math.inf
        if not good:
            wrong = step
    return wrong


@njit(cache=True)
def fill_poisson(s: float, law: Floats) -> int:
    """Number of terms: `law` gets the Poisson(s) probabilities down to `SMALLEST_SHARE` of the largest."""
    law[0] = math.exp(-s)
    largest = law[0]
    count = 1
    while count < law.size and (count <= s or law[count - 1] > SMALLEST_SHARE * largest):
        law[count] = law[count - 1] * s / count
        largest = max(largest, law[count])
        count += 1
    return count


@njit(cache=True)
def scale_rates(n: int, rates: Floats, sources: Indices, jumps: Floats, stay: Floats) -> float:
    """Largest exit rate s; `jumps` gets the rates over s and `stay` what is left of each state: the rows of P."""
    fastest = 0.0
    for i in range(n):
        stay[i] = rates[i] + rates[n + i]
    for j in range(sources.size):
        stay[sources[j]] += rates[2 * n + j]
    for i in range(n):
        fastest = max(fastest, stay[i])
    if fastest < SLOWEST:
        fastest = 0.0
    unit = 1.0 / fastest if fastest > 0.0 else 0.0
    for i in range(n):
        stay[i] = max(1.0 - stay[i] * unit, 0.0)
    for j in range(rates.size):
        jumps[j] = rates[j] * unit
    return fastest


@njit(cache=True)
def spread_term(below: Floats, stay: Floats, above: Floats, term: Floats, following: Floats) -> None:
    """Fill `following` with stay term(i) + below term(i-1) + above term(i+1); terms are states 1..n of n + 2."""
    for i in range(stay.size):
        following[i + 1] = stay[i] * term[i + 1] + below[i] * term[i] + above[i] * term[i + 2]


@njit(cache=True)
def march_value(
    sources: Indices, targets: Indices, weights: Floats, rewards: Floats, start: Floats, value: Floats
) -> int:  # fmt: skip
    """Fill V on the nodes, backwards from `value[-1]`; -1, or the step that is too long.

    Each step starts from its right node's row of `start`: `value` itself for a march, another solution to see what one
    step makes of it. `sources` and `targets` are those of the far transitions.
    """
    steps, n = weights.shape[0], value.shape[1]
    jumps, stay, law = np.empty(weights.shape[2]), np.empty(n), np.empty(int(2 * LARGEST_NORM) + 200)
    below, above, far = jumps[:n], jumps[n : 2 * n], jumps[2 * n :]
    now, term, following = np.zeros(n + 2), np.zeros(n + 2), np.zeros(n + 2)
    for step in range(steps - 1, -1, -1):
        for i in range(n):
            now[i + 1] = start[step + 1, i]
        for part in range(2):
            s = scale_rates(n, weights[step, part], sources, jumps, stay)
            if not s < LARGEST_NORM * MOST_PIECES:
                return step
            pieces = int(s / LARGEST_NORM) + 1
            s /= pieces
            count = fill_poisson(s, law)
            # Tails from the far end, so that the small ones are accurate too: law[k] becomes P(Poisson > k)/s.
            tail = 0.0
            for k in range(count - 1, -1, -1):
                at = law[k]
                law[k] = tail / s if s > 0.0 else 0.0
                tail += at
            lead = -math.expm1(-s) / s if s > 0.0 else 1.0
            for _ in range(pieces):
                for i in range(n):
                    change = below[i] * (now[i] - now[i + 1]) + above[i] * (now[i + 2] - now[i + 1])
                    term[i + 1] = rewards[step, part, i] / pieces + s * change
                for j in range(far.size):
                    term[sources[j] + 1] += s * far[j] * (now[targets[j] + 1] - now[sources[j] + 1])
                for i in range(n):
                    now[i + 1] += lead * term[i + 1]
                for k in range(1, count - 1):
                    spread_term(below, stay, above, term, following)
                    for j in range(far.size):
                        following[sources[j] + 1] += far[j] * term[targets[j] + 1]
                    for i in range(n):
                        now[i + 1] += law[k] * following[i + 1]
                    term, following = following, term
        for i in range(n):
            value[step, i] = now[i + 1]
    return -1


@njit(cache=True)
def march_density(sources: Indices, targets: Indices, weights: Floats, start: Floats, density: Floats) -> int:
    """Fill the population on the nodes, forwards from `density[0]`, with the transposed steps of `march_value`."""
    steps, n = weights.shape[0], density.shape[1]
    jumps, stay, law = np.empty(weights.shape[2]), np.empty(n), np.empty(int(2 * LARGEST_NORM) + 200)
    far = jumps[2 * n :]
    # What comes from i - 1 left it upwards, what comes from i + 1 downwards.
    below, above = np.zeros(n), np.zeros(n)
    now, term, following = np.empty(n), np.zeros(n + 2), np.zeros(n + 2)
    for step in range(steps):
        for i in range(n):
            now[i] = start[step, i]
        for part in (1, 0):
            s = scale_rates(n, weights[step, part], sources, jumps, stay)
            if not s < LARGEST_NORM * MOST_PIECES:
                return step
            for i in range(1, n):
                below[i] = jumps[n + i - 1]
                above[i - 1] = jumps[i]
            pieces = int(s / LARGEST_NORM) + 1
            count = fill_poisson(s / pieces, law)
            for _ in range(pieces):
                for i in range(n):
                    term[i + 1] = now[i]
                    now[i] *= law[0]
                for k in range(1, count):
                    spread_term(below, stay, above, term, following)
                    for j in range(far.size):
                        following[targets[j] + 1] += far[j] * term[sources[j] + 1]
                    for i in range(n):
                        now[i] += law[k] * following[i + 1]
                    term, following = following, term
        for i in range(n):
            density[step + 1, i] = now[i]
    return -1


@njit(cache=True)
def fill_slopes(
    sources: Indices, targets: Indices, rates: Floats, reward: Floats, value: Floats, slopes: Floats
) -> None:  # fmt: skip
    """Fill V' = -(reward + G V) on the nodes; `rates` (2 steps + 1, m) and `reward` as for `weigh_steps`.

    `sources` and `targets` are those of all transitions.
    """
    for t in range(value.shape[0]):
        for i in range(value.shape[1]):
            slopes[t, i] = -reward[2 * t, i]
        for j in range(sources.size):
            slopes[t, sources[j]] -= rates[2 * t, j] * (value[t, targets[j]] - value[t, sources[j]])
