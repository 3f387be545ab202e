"""Compiled steps of the linear-quadratic games: the Riccati equation as a flow that is exact for constant friction.

With costate lambda = 2 a mu the pair (mu, lambda) obeys mu' = -lambda/eta, lambda' = -2 phi mu, a linear system whose
matrix changes only through the friction eta. A commutator-free Lie-group step of order 4 (Celledoni, Marthinsen &
Owren 2003, method of order 4) composes exponentials of that matrix, so no stiffness comes from a small eta or a large
terminal penalty. The steps run backwards from the close and carry a and log mu, which neither under- nor overflow.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from numba import njit

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

LN2 = math.log(2.0)


@njit(cache=True)
def flow(a: float, s: float, q: float) -> tuple[float, float]:
    """(a, growth of log mu) after exp([[0, s], [q, 0]]) acted on (mu, 2 a mu); (nan, nan) if mu changes sign."""
    z2 = s * q
    if z2 > 1e-8:
        z = math.sqrt(z2)
        ratio = math.tanh(z) / z
        log_cosh = z + math.log1p(math.exp(-2.0 * z)) - LN2
    elif z2 > -1e-8:
        ratio = 1.0 - z2 / 3.0
        log_cosh = 0.5 * z2
    elif z2 > -2.0:
        z = math.sqrt(-z2)
        ratio = math.tan(z) / z
        log_cosh = math.log(math.cos(z))
    else:
        return math.nan, math.nan
    grown = 2.0 * a * s * ratio
    if grown <= -1.0:
        return math.nan, math.nan
    return (0.5 * q * ratio + a) / (1.0 + grown), log_cosh + math.log1p(grown)


@njit(cache=True)
def inverse_friction(a: float, log_mean: float, eta0: float, eta1: float) -> float:
    """1/eta with eta = (eta0 + sqrt(eta0^2 + 8 eta1 a |mu|)) / 2."""
    return 2.0 / (eta0 + math.sqrt(eta0 * eta0 + 8.0 * eta1 * a * math.exp(log_mean)))


@njit(cache=True)
def step_coupled(a: float, log_mean: float, h: float, eta0: float, eta1: float, phi: float) -> tuple[float, float]:
    """(a, growth of log mu) one step of length h earlier, the friction following the mean itself."""
    q = phi * h
    k1 = inverse_friction(a, log_mean, eta0, eta1)
    a2, w2 = flow(a, 0.5 * h * k1, q)
    k2 = inverse_friction(a2, log_mean + w2, eta0, eta1)
    a3, w3 = flow(a, 0.5 * h * k2, q)
    k3 = inverse_friction(a3, log_mean + w3, eta0, eta1)
    a4, w4 = flow(a2, h * (k3 - 0.5 * k1), q)
    k4 = inverse_friction(a4, log_mean + w2 + w4, eta0, eta1)
    middle, first = flow(a, h / 12.0 * (3.0 * k1 + 2.0 * k2 + 2.0 * k3 - k4), q)
    end, second = flow(middle, h / 12.0 * (3.0 * k4 + 2.0 * k2 + 2.0 * k3 - k1), q)
    return end, first + second


@njit(cache=True)
def step_given(a: float, h: float, k_left: float, k_middle: float, k_right: float, phi: float) -> tuple[float, float]:
    """(a, growth of log mu) one step of length h earlier, for given 1/eta at its left end, middle and right end."""
    q = phi * h
    middle, first = flow(a, h / 12.0 * (3.0 * k_right + 4.0 * k_middle - k_left), q)
    end, second = flow(middle, h / 12.0 * (3.0 * k_left + 4.0 * k_middle - k_right), q)
    return end, first + second


@njit(cache=True)
def march_coupled(
    times: Floats, log_mean_end: float, gamma: float, eta0: float, eta1: float, phi: float, a: Floats, log_mean: Floats
) -> None:
    """Fill a and log |mu| on `times`, backwards from the close."""
    n = times.size - 1
    a[n] = gamma
    log_mean[n] = log_mean_end
    for i in range(n - 1, -1, -1):
        a[i], growth = step_coupled(a[i + 1], log_mean[i + 1], times[i + 1] - times[i], eta0, eta1, phi)
        log_mean[i] = log_mean[i + 1] + growth


@njit(cache=True)
def march_given(times: Floats, inverse: Floats, gamma: float, phi: float, a: Floats, remaining: Floats) -> None:
    """Fill a and log(mu(t)/mu(T)) on `times` for 1/eta given on `times` and the midpoints between (2n+1 values)."""
    n = times.size - 1
    a[n] = gamma
    remaining[n] = 0.0
    for i in range(n - 1, -1, -1):
        h = times[i + 1] - times[i]
        a[i], growth = step_given(a[i + 1], h, inverse[2 * i], inverse[2 * i + 1], inverse[2 * i + 2], phi)
        remaining[i] = remaining[i + 1] + growth


@njit(cache=True)
def march_adaptive(
    horizon: float,
    log_mean_end: float,
    log_mean_cap: float,
    gamma: float,
    eta0: float,
    eta1: float,
    phi: float,
    tolerance: float,
    longest: float,
    growth_cap: float,
    to_close: Floats,
) -> tuple[int, float]:
    """(steps, log |mu(0)|) with the time to the close of each step's end in `to_close`; steps = -1: it is too short.

    A step is accepted when it differs from its two halves by at most `tolerance` in log mu and relatively in a, and
    when log mu grows by at most `growth_cap`. Stops early once log |mu| passes `log_mean_cap`.
    """
    a = gamma
    log_mean = log_mean_end
    s = 0.0
    h = longest
    n = 0
    trials = 0
    to_close[0] = 0.0
    while s < horizon:
        trials += 1
        if trials > 4 * to_close.size:
            return -1, log_mean
        h = min(h, longest)
        last = s + h >= horizon * (1.0 - 1e-12)
        if last:
            h = horizon - s
        whole, whole_growth = step_coupled(a, log_mean, h, eta0, eta1, phi)
        middle, first = step_coupled(a, log_mean, 0.5 * h, eta0, eta1, phi)
        end, second = step_coupled(middle, log_mean + first, 0.5 * h, eta0, eta1, phi)
        growth = first + second
        error = abs(whole_growth - growth) + abs(whole - end) / (abs(end) + 1e-300)
        if not (error <= tolerance and growth <= growth_cap):
            factor = 0.9 * (tolerance / error) ** 0.2 if error > tolerance else 0.5
            if not factor > 0.1:
                factor = 0.1
            h *= factor
            if s + h == s:
                return -1, log_mean
            continue
        n += 1
        if n == to_close.size:
            return -1, log_mean
        a = end
        log_mean += growth
        s = horizon if last else s + h
        to_close[n] = s
        if log_mean > log_mean_cap:
            return n, log_mean
        h *= min(4.0, 0.9 * (tolerance / (error + 1e-300)) ** 0.2)
    return n, log_mean
