"""The Gaussian law of linear-quadratic inventories, and what its noise adds to the value."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.special import ndtr

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mfg_core.linear_quadratic.execution import ExecutionPolicy

    Floats = NDArray[np.float64]

STATES = 201
SMALLEST_RANGE = 1e-280
GAUSS_NODES, GAUSS_WEIGHTS = (
    0.5 * (np.polynomial.legendre.leggauss(3)[0] + 1.0),
    np.polynomial.legendre.leggauss(3)[1] / 2,
)


def at_gauss_points(policy: ExecutionPolicy) -> tuple[Floats, Floats, Floats]:
    """(a, log share remaining, eta) at the three Gauss points of each step, each (nt, 3)."""
    h = np.diff(policy.times)
    return policy.interpolate(policy.times[:-1, None] + h[:, None] * GAUSS_NODES)


def march_variance(std: float, noise: float, policy: ExecutionPolicy) -> Floats:
    """(nt+1,) variance of the inventory: v' = -2 gain v + 2 nu."""
    remaining = policy.log_remaining
    variance = std**2 * np.exp(2.0 * remaining)
    if noise:
        log_remaining = at_gauss_points(policy)[1]
        fresh = (
            2.0 * noise * np.diff(policy.times) * (np.exp(2.0 * (remaining[1:, None] - log_remaining)) @ GAUSS_WEIGHTS)
        )
        kept = np.exp(2.0 * np.diff(remaining))
        added = 0.0
        for i in range(fresh.size):
            added = kept[i] * added + fresh[i]
            variance[i + 1] += added
    return variance


def march_constant(noise: float, policy: ExecutionPolicy) -> Floats:
    """(nt+1,) value constant c(t) = 2 nu int_t^T a ds."""
    constant = np.zeros(policy.times.size)
    if noise:
        parts = 2.0 * noise * np.diff(policy.times) * (at_gauss_points(policy)[0] @ GAUSS_WEIGHTS)
        constant[:-1] = np.cumsum(parts[::-1])[::-1]
    return constant


def make_states(mean: Floats, variance: Floats) -> Floats:
    """Equally spaced inventories that hold the law at all times, six standard deviations either side, and zero."""
    reach = 6.0 * np.sqrt(variance)
    low, high = float(min(np.min(mean - reach), 0.0)), float(max(np.max(mean + reach), 0.0))
    if high - low < SMALLEST_RANGE:
        low, high = -1.0, 1.0
    return np.linspace(low, high, STATES)


def gaussian_cells(states: Floats, mean: Floats, std: Floats) -> Floats:
    """(nt+1, nx) mean density of Gaussian laws over the cells around `states`; the tails are in the end cells."""
    cell = states[1] - states[0]
    edges = states[:-1] + 0.5 * cell
    gap = edges - mean[:, None]
    spread = std[:, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        score = np.where(spread > 0, gap / spread, np.where(gap >= 0, np.inf, -np.inf))
    below = np.concatenate([np.zeros((mean.size, 1)), ndtr(score), np.ones((mean.size, 1))], axis=1)
    return np.asarray(np.diff(below, axis=1) / cell)
