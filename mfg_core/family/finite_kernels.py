"""Compiled marches of the finite-state family (arrays in, outputs last, nothing checked).

Transitions come grouped by the state they leave: `first[i]:first[i+1]` are those of state i, `targets` where they go.
The population reads them by the state they reach: `entry_first`, and `entries`, the positions in the first order.

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

SMALLEST_SHARE = 1e-18
"""A series ends at a Poisson weight that is this share of the largest."""


@njit(cache=True)
def weigh_steps(
    times: Floats, rates: Floats, reward: Floats, order: Indices, weights: Floats, rewards: Floats
) -> bool:  # fmt: skip
    """Integrate rates and reward over each step's two exponentials, the one near the right end first.

    `rates` (2 steps + 1, m) and `reward` (2 steps + 1, n) are at the nodes and half-way between; `order` groups the
    transitions by source. To `weights` (steps, 2, m) and `rewards` (steps, 2, n). The two exponentials share the
    integral by Simpson's rule; a rate that falls to near zero within one step gives all of it to one of them, so that
    neither is negative. False when a rate is not finite.
    """
    good = True
    for step in range(times.size - 1):
        h = times[step + 1] - times[step]
        for j in range(order.size):
            column = order[j]
            left, centre, right = rates[2 * step, column], rates[2 * step + 1, column], rates[2 * step + 2, column]
            half = h * (left + 4.0 * centre + right) / 12.0
            lean = h * (right - left) / 6.0
            lean = min(max(lean, -half), half)
            weights[step, 0, j] = half + lean
            weights[step, 1, j] = half - lean
            good &= half < math.inf
        for i in range(reward.shape[1]):
            left, centre, right = reward[2 * step, i], reward[2 * step + 1, i], reward[2 * step + 2, i]
            half = h * (left + 4.0 * centre + right) / 12.0
            lean = h * (right - left) / 6.0
            rewards[step, 0, i] = half + lean
            rewards[step, 1, i] = half - lean
            good &= abs(half) < math.inf
    return good


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
def scale_rates(first: Indices, rates: Floats, jumps: Floats, stay: Floats) -> float:
    """Largest exit rate s; `jumps` gets the rates over s and `stay` what is left of each state: the rows of P."""
    n = stay.size
    fastest = 0.0
    for i in range(n):
        out = 0.0
        for j in range(first[i], first[i + 1]):
            out += rates[j]
        stay[i] = out
        fastest = max(fastest, out)
    unit = 1.0 / fastest if fastest > 0.0 else 0.0
    for i in range(n):
        stay[i] = max(1.0 - stay[i] * unit, 0.0)
    for j in range(rates.size):
        jumps[j] = rates[j] * unit
    return fastest


@njit(cache=True)
def march_value(
    first: Indices, targets: Indices, weights: Floats, rewards: Floats, start: Floats, value: Floats
) -> bool:  # fmt: skip
    """Fill V on the nodes, backwards from `value[-1]`; False when a step is too long.

    Each step starts from its right node's row of `start`: `value` itself for a march, another solution to see what one
    step makes of it.
    """
    steps, n = weights.shape[0], value.shape[1]
    jumps, stay, law = np.empty(targets.size), np.empty(n), np.empty(int(2 * LARGEST_NORM) + 200)
    term, following = np.empty(n), np.empty(n)
    for step in range(steps - 1, -1, -1):
        now = value[step]
        now[:] = start[step + 1]
        for part in range(2):
            s = scale_rates(first, weights[step, part], jumps, stay)
            if not s < LARGEST_NORM * MOST_PIECES:
                return False
            pieces = int(s / LARGEST_NORM) + 1
            s /= pieces
            count = fill_poisson(s, law)
            # Tails from the far end, so that the small ones are accurate too: law[k] becomes P(Poisson > k)/s.
            tail = 0.0
            for k in range(count - 1, -1, -1):
                at = law[k]
                law[k] = tail
                tail += at
            for _ in range(pieces):
                for i in range(n):
                    change = rewards[step, part, i] / pieces
                    for j in range(first[i], first[i + 1]):
                        change += s * jumps[j] * (now[targets[j]] - now[i])
                    term[i] = change
                lead = -math.expm1(-s) / s if s > 0.0 else 1.0
                for i in range(n):
                    now[i] += lead * term[i]
                for k in range(1, count - 1):
                    share = law[k] / s
                    for i in range(n):
                        next_ = stay[i] * term[i]
                        for j in range(first[i], first[i + 1]):
                            next_ += jumps[j] * term[targets[j]]
                        following[i] = next_
                    for i in range(n):
                        now[i] += share * following[i]
                    term, following = following, term
    return True


@njit(cache=True)
def march_density(
    first: Indices,
    sources: Indices,
    entry_first: Indices,
    entries: Indices,
    weights: Floats,
    start: Floats,
    density: Floats,
) -> bool:
    """Fill the population on the nodes, forwards from `density[0]`, with the transposed steps of `march_value`."""
    steps, n = weights.shape[0], density.shape[1]
    jumps, stay, law = np.empty(sources.size), np.empty(n), np.empty(int(2 * LARGEST_NORM) + 200)
    term, following = np.empty(n), np.empty(n)
    for step in range(steps):
        now = density[step + 1]
        now[:] = start[step]
        for part in (1, 0):
            s = scale_rates(first, weights[step, part], jumps, stay)
            if not s < LARGEST_NORM * MOST_PIECES:
                return False
            pieces = int(s / LARGEST_NORM) + 1
            s /= pieces
            count = fill_poisson(s, law)
            for _ in range(pieces):
                for i in range(n):
                    term[i] = now[i]
                    now[i] *= law[0]
                for k in range(1, count):
                    share = law[k]
                    for i in range(n):
                        next_ = stay[i] * term[i]
                        for e in range(entry_first[i], entry_first[i + 1]):
                            next_ += jumps[entries[e]] * term[sources[entries[e]]]
                        following[i] = next_
                    for i in range(n):
                        now[i] += share * following[i]
                    term, following = following, term
    return True


@njit(cache=True)
def fill_slopes(
    first: Indices, targets: Indices, order: Indices, rates: Floats, reward: Floats, value: Floats, slopes: Floats
) -> None:  # fmt: skip
    """Fill V' = -(reward + G V) on the nodes; `rates` (2 steps + 1, m) and `reward` as for `weigh_steps`."""
    nodes, n = value.shape
    for t in range(nodes):
        for i in range(n):
            total = reward[2 * t, i]
            for j in range(first[i], first[i + 1]):
                total += rates[2 * t, order[j]] * (value[t, targets[j]] - value[t, i])
            slopes[t, i] = -total
