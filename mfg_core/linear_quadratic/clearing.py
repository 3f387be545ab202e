"""The clearing game: a price that makes the crowd trade exactly what is supplied, at every instant."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

from mfg_core.certificate import Certificate, Status
from mfg_core.checks import require_finite, require_nonnegative, require_positive
from mfg_core.family.time_grid import bisect
from mfg_core.linear_quadratic.execution import ExecutionGame, ExecutionPolicy, Shooting
from mfg_core.linear_quadratic.execution_solver import adaptive_times
from mfg_core.linear_quadratic.gaussian_law import (
    GAUSS_NODES,
    GAUSS_WEIGHTS,
    gaussian_cells,
    make_states,
    march_constant,
    march_variance,
)
from mfg_core.linear_quadratic.riccati import march_given

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

Floats: TypeAlias = NDArray[np.float64]
Supply: TypeAlias = Callable[[Floats], Floats]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClearingGame:
    """Linear-quadratic inventories whose price clears the market: mean alpha = supply(t) at every t.

    A trader with inventory x minimises, with dx = alpha dt + sqrt(2 nu) dW,

        E  int_0^T  1/2 eta alpha^2 + p_t alpha + phi x^2 dt  +  gamma_T x_T^2.

    The value is u = a x^2 + b x + c, and minimising 1/2 eta alpha^2 + (u_x + p) alpha gives alpha = -(u_x + p)/eta. By
    powers of x, with terminal values gamma_T, 0, 0,

        a' = 2 a^2/eta - phi,      b' = 2 a (b + p)/eta,      c' = (b + p)^2/(2 eta) - 2 nu a.

    Clearing says -(2 a mu + b + p)/eta = s, hence mu = mu_0 + int s whatever the price. The mean costate
    lambda = 2 a mu + b then obeys lambda' = 2 a' mu + 2 a s + b' = -2 phi mu with lambda(T) = 2 gamma_T mu(T), so

        p(t) = -eta s(t) - 2 gamma_T mu(T) - 2 phi int_t^T mu dtau:

    the price is explicit and unique, and does not depend on a.

    Parameters
    ----------
    supply : float or callable
        s(t), inventory per time that the crowd must take up; a callable maps times (n,) to rates (n,).
    temporary_impact : float
        eta > 0.
    running_penalty, terminal_penalty, inventory_noise, initial_mean, initial_std, horizon
        As in `ExecutionGame`.
    """

    supply: float | Supply
    temporary_impact: float
    running_penalty: float
    terminal_penalty: float
    inventory_noise: float = 0.0
    initial_mean: float
    initial_std: float = 0.0
    horizon: float

    def __post_init__(self) -> None:
        """Check every parameter and store it as a float."""
        for name, check in (
            ("temporary_impact", require_positive),
            ("running_penalty", require_nonnegative),
            ("terminal_penalty", require_nonnegative),
            ("inventory_noise", require_nonnegative),
            ("initial_mean", require_finite),
            ("initial_std", require_nonnegative),
            ("horizon", require_positive),
        ):
            object.__setattr__(self, name, check(name, getattr(self, name)))
        if not callable(self.supply):
            object.__setattr__(self, "supply", require_finite("supply", self.supply))

    def supply_at(self, times: Floats) -> Floats:
        """s at the times, with their shape; ValueError when the callable gives another shape or is not finite."""
        if not callable(self.supply):
            return np.full(times.shape, self.supply)
        rates = np.asarray(self.supply(times.ravel()), dtype=np.float64)
        if rates.shape != (times.size,) or not np.isfinite(rates).all():
            raise ValueError(
                f"supply must map times (n,) to finite rates (n,); for {times.size} times it gave shape {rates.shape}"
            )
        return rates.reshape(times.shape)


@dataclass(frozen=True, slots=True, eq=False)
class ClearingPolicy:
    """Feedback alpha = s(t) - gain(t) (x - mu(t)), with gain = 2 a/eta from `feedback`.

    Attributes
    ----------
    feedback : ExecutionPolicy
    mean, mean_rate : (nt+1,) float64
        mu and s on the feedback's times; between them mu is a cubic Hermite polynomial and s its derivative.
    """

    feedback: ExecutionPolicy
    mean: Floats
    mean_rate: Floats

    def rate(self, t: ArrayLike, inventory: ArrayLike) -> Floats:
        """Trading rate alpha at time t with inventory x (broadcast); negative sells."""
        at = np.asarray(t, dtype=np.float64)
        gain = self.feedback.gain(at)
        mean, rate = hermite(self.feedback.times, self.mean, self.mean_rate, at)
        return np.asarray(rate - gain * (np.asarray(inventory, dtype=np.float64) - mean))


@dataclass(frozen=True, slots=True, eq=False)
class ClearingMeanField:
    """The crowd on the equilibrium's times: mean inventory, mean rate, friction, clearing price; each (nt+1,)."""

    inventory: Floats
    rate: Floats
    temporary_impact: Floats
    price: Floats


@dataclass(frozen=True, slots=True, eq=False)
class ClearingEquilibrium:
    """Equilibrium of a `ClearingGame`; the fields are those of `ExecutionEquilibrium`."""

    game: ClearingGame
    times: Floats
    states: Floats
    value: Floats
    density: Floats
    value_coefficients: Floats
    inventory_variance: Floats
    policy: ClearingPolicy
    mean_field: ClearingMeanField
    certificate: Certificate


@dataclass(frozen=True, slots=True, eq=False)
class _Paths:
    times: Floats
    riccati: Floats
    log_remaining: Floats
    supply: Floats
    mean: Floats
    costate: Floats
    constant: Floats

    def feedback(self, game: ClearingGame) -> ExecutionPolicy:
        friction = np.full(self.times.size, game.temporary_impact)
        return ExecutionPolicy(
            self.times, self.riccati, friction, np.zeros_like(friction), self.log_remaining, game.running_penalty
        )


def hermite(times: Floats, values: Floats, slopes: Floats, t: Floats) -> tuple[Floats, Floats]:
    """(value, derivative) at t of the cubic Hermite interpolant."""
    right = np.clip(np.searchsorted(times, t, side="left"), 1, times.size - 1)
    width = times[right] - times[right - 1]
    s = (t - times[right - 1]) / width
    rise = values[right] - values[right - 1]
    first, second = width * slopes[right - 1] - rise, rise - width * slopes[right]
    value = values[right - 1] + s * rise + s * (1 - s) * ((1 - s) * first + s * second)
    slope = rise + (1 - s) * (1 - 3 * s) * first + s * (2 - 3 * s) * second
    return np.asarray(value), np.asarray(slope / width)


def solve_clearing(game: ClearingGame, method: Shooting, rtol: float, atol: float) -> ClearingEquilibrium:
    """Equilibrium of the game by quadrature (Gauss, order 4 through the mean's interpolation); see `solve_mfg`."""
    target = rtol + atol
    layer = ExecutionGame(
        temporary_impact=game.temporary_impact,
        crowd_impact=0.0,
        running_penalty=game.running_penalty,
        terminal_penalty=game.terminal_penalty,
        inventory_noise=1.0,
        initial_mean=0.0,
        horizon=game.horizon,
    )
    coarse = _quadrature(game, adaptive_times(layer, target, method.max_steps)[0])
    while True:
        fine = _quadrature(game, bisect(coarse.times))
        error = max(
            float(np.max(np.abs(a - b[::2]))) / max(float(np.max(np.abs(b))), math.ulp(1.0))
            for a, b in (
                (coarse.mean, fine.mean),
                (coarse.costate, fine.costate),
                (coarse.constant, fine.constant),
            )
        )
        if error <= target or 2 * fine.times.size > method.max_steps:
            return _certify(game, fine, error, target)
        coarse = fine


def _quadrature(game: ClearingGame, times: Floats) -> _Paths:
    """Mean, costate and value on the grid."""
    h, eta = np.diff(times), game.temporary_impact
    riccati, growth = np.empty(times.size), np.empty(times.size)
    march_given(
        times, np.full(2 * times.size - 1, 1.0 / eta), game.terminal_penalty, game.running_penalty, riccati, growth
    )
    inner = times[:-1, None] + h[:, None] * GAUSS_NODES
    supply, supply_inner = game.supply_at(times), game.supply_at(inner)
    mean = game.initial_mean + np.concatenate([[0.0], np.cumsum(h * (supply_inner @ GAUSS_WEIGHTS))])
    areas = h * mean[:-1] + h**2 * ((supply_inner * (1.0 - GAUSS_NODES)) @ GAUSS_WEIGHTS)
    costate = 2.0 * game.terminal_penalty * mean[-1] + 2.0 * game.running_penalty * _to_close(areas)
    paths = _Paths(times, riccati, growth - growth[0], supply, mean, costate, costate)
    feedback = paths.feedback(game)
    push = eta * supply_inner + 2.0 * feedback.interpolate(inner)[0] * hermite(times, mean, supply, inner)[0]
    constant = march_constant(game.inventory_noise, feedback)
    constant -= _to_close(h * (push**2 @ GAUSS_WEIGHTS)) / (2.0 * eta)
    return _Paths(times, riccati, paths.log_remaining, supply, mean, costate, constant)


def _to_close(parts: Floats) -> Floats:
    """(n+1,) sums of the parts (n,) from each time to the close."""
    return np.concatenate([np.cumsum(parts[::-1])[::-1], [0.0]])


def reply_intercept(game: ClearingGame, policy: ExecutionPolicy, price: Callable[[Floats], Floats]) -> Floats:
    """(nt+1,) b(t) of the best reply to a price path: b' = 2 a (b + p)/eta backwards from 0, step by step."""
    times, w = policy.times, policy.log_remaining
    h = np.diff(times)
    inner = times[:-1, None] + h[:, None] * GAUSS_NODES
    riccati, log_remaining, friction = policy.interpolate(inner)
    pull = np.exp(log_remaining - w[:-1, None]) * 2.0 * riccati / friction * price(inner)
    parts, kept = h * (pull @ GAUSS_WEIGHTS), np.exp(np.diff(w))
    intercept = np.zeros(times.size)
    for i in range(times.size - 2, -1, -1):
        intercept[i] = kept[i] * intercept[i + 1] - parts[i]
    return intercept


def _certify(game: ClearingGame, paths: _Paths, error: float, target: float) -> ClearingEquilibrium:
    """The equilibrium object; residual and exploitability come from a best reply computed without the closed form."""
    eta, feedback = game.temporary_impact, paths.feedback(game)
    price = -eta * paths.supply - paths.costate
    intercept = paths.costate - 2.0 * paths.riccati * paths.mean

    def price_at(t: Floats) -> Floats:
        slope = -2.0 * game.running_penalty * paths.mean
        return -eta * game.supply_at(t) - hermite(paths.times, paths.costate, slope, t)[0]

    reply = reply_intercept(game, feedback, price_at)
    traded = -(2.0 * paths.riccati * paths.mean + reply + price) / eta
    scale = float(np.max(np.abs(paths.costate) / eta + np.abs(paths.supply)))
    # Below the normal range numbers have few digits, and nothing has a relative error.
    residual = float(np.max(np.abs(traded - paths.supply))) / max(scale, float(np.finfo(np.float64).tiny))
    regret = (intercept - reply) ** 2 / (2.0 * eta)
    exploitability = float(np.sum(np.diff(paths.times) * (regret[1:] + regret[:-1]) / 2.0))
    variance = march_variance(game.initial_std, game.inventory_noise, feedback)
    states = make_states(paths.mean, variance)
    coefficients = np.stack([paths.riccati, intercept, paths.constant], axis=1)
    value = coefficients @ np.stack([states**2, states, np.ones_like(states)])
    density = gaussian_cells(states, paths.mean, np.sqrt(variance))
    mass_error = float(np.max(np.abs(density.sum(axis=1) * (states[1] - states[0]) - 1.0)))
    status = Status.CONVERGED if residual <= target and error <= target else Status.STEPS
    certificate = Certificate(
        1, residual, exploitability, mass_error, error, target, status is Status.CONVERGED, status
    )
    field = ClearingMeanField(paths.mean, paths.supply, np.full(price.size, eta), price)
    policy = ClearingPolicy(feedback, paths.mean, paths.supply)
    return ClearingEquilibrium(
        game, paths.times, states, value, density, coefficients, variance, policy, field, certificate
    )
