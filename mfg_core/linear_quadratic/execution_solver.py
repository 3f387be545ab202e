"""Solves the execution game: adaptive grid, scalar shooting, certificate."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import brentq

from mfg_core.certificate import Certificate, Status
from mfg_core.errors import SolveError
from mfg_core.family.time_grid import bisect, middle_values
from mfg_core.iteration.fixed_point import Anderson, Picard, iterate
from mfg_core.linear_quadratic.execution import (
    ExecutionEquilibrium,
    ExecutionGame,
    ExecutionMeanField,
    ExecutionPolicy,
    Shooting,
)
from mfg_core.linear_quadratic.gaussian_law import gaussian_cells, make_states, march_constant, march_variance
from mfg_core.linear_quadratic.riccati import march_adaptive, march_coupled, march_given

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

ORDER = 4

LARGEST_PARAMETER = 1e75
"""Products of four parameters stay in the range of floating point."""


@dataclass(frozen=True, slots=True)
class Paths:
    """Paths on one time grid: the Riccati solution for the friction `given`, and how much of the mean then remains.

    `settled` is false when the fixed point on this grid was given up.
    """

    times: Floats
    riccati: Floats
    log_remaining: Floats
    given: Floats
    evaluations: int
    settled: bool = True


def solve_execution(
    game: ExecutionGame, method: Shooting | Picard | Anderson, rtol: float, atol: float
) -> ExecutionEquilibrium:
    """Equilibrium of the game, converged or not as its certificate says; see `solve_mfg` for the parameters.

    The scheme is of order 4 in the step, exact where the friction is constant; the error estimate compares each
    grid with its bisection, and the grid is bisected until the estimate is within the tolerance.
    """
    target = rtol + atol
    for name in game.__slots__:
        if abs(getattr(game, name)) > LARGEST_PARAMETER:
            raise SolveError(
                f"the execution game cannot be solved in floating point with {name} {getattr(game, name):.3g}; "
                f"use units in which it is below {LARGEST_PARAMETER:g}",
                tolerance=target,
            )
    if isinstance(method, Shooting):
        times, log_end = adaptive_times(game, target, method.max_steps)
        paths = _shoot(game, times, log_end)
    else:
        paths = _sweep(game, np.linspace(0.0, game.horizon, 65), None, method, target)
    iterations, error, residual = paths.evaluations, math.inf, math.inf
    while paths.settled and max(error, residual) > target and 2 * paths.times.size <= method.max_steps:
        coarse, times = paths, bisect(paths.times)
        if isinstance(method, Shooting):
            paths = _shoot(game, times, float(coarse.log_remaining[-1]))
        else:
            paths = _sweep(game, times, coarse, method, target)
        iterations += paths.evaluations
        error = _difference(game, coarse, paths) / (2**ORDER - 1)
        residual = measure_residual(game, make_policy(game, paths))
    return _certify(game, paths, error, iterations, target)


def clear_friction(game: ExecutionGame, riccati: Floats, log_remaining: Floats) -> Floats:
    """eta = (eta0 + sqrt(eta0^2 + 8 eta1 a |mu|))/2, the friction that the crowd's costate makes."""
    mean = abs(game.initial_mean) * np.exp(log_remaining)
    eta0 = game.temporary_impact
    return np.asarray(0.5 * (eta0 + np.sqrt(eta0 * eta0 + 8.0 * game.crowd_impact * riccati * mean)))


def _log_mean(game: ExecutionGame) -> float:
    return math.log(abs(game.initial_mean)) if game.initial_mean and game.crowd_impact else -math.inf


def adaptive_times(game: ExecutionGame, tolerance: float, max_steps: int) -> tuple[Floats, float]:
    """Times such that each step's local error is about the tolerance, at least 32 steps; and log(mu(T)/mu(0))."""
    to_close = np.empty(max_steps // 4 + 2)
    local = max(tolerance, 1e-12)
    growth_cap = 1.0 if game.inventory_noise else math.inf
    goal = _log_mean(game)

    def march(log_end: float, accuracy: float) -> tuple[int, float]:
        steps, log_start = march_adaptive(
            game.horizon, log_end, goal + 30.0 if goal > -math.inf else math.inf, game.terminal_penalty,
            game.temporary_impact, game.crowd_impact, game.running_penalty, accuracy,
            game.horizon / 32, growth_cap, to_close,
        )  # fmt: skip
        if steps < 0:
            raise SolveError(
                f"the execution game needs more than {max_steps} time steps; raise Shooting(max_steps=...), loosen "
                "rtol, or lower horizon * sqrt(running_penalty / temporary_impact)",
                tolerance=tolerance,
            )
        return steps, log_start

    log_end = goal
    if goal > -math.inf:
        log_end = _root(
            lambda guess: march(guess, max(local, 1e-6))[1] - goal, goal - _largest_growth(game), goal, 1e-3
        )
    steps, _ = march(log_end, local)
    times = game.horizon - to_close[steps::-1]
    times[0], times[-1] = 0.0, game.horizon
    return times, log_end - goal if goal > -math.inf else 0.0


def _largest_growth(game: ExecutionGame) -> float:
    """log(mu(0)/mu(T)) with the least possible friction eta0, which no crowd exceeds."""
    a, growth = np.empty(2), np.empty(2)
    grid = np.array([0.0, game.horizon])
    march_given(grid, np.full(3, 1.0 / game.temporary_impact), game.terminal_penalty, game.running_penalty, a, growth)
    return float(growth[0])


def _root(function: Callable[[float], float], low: float, high: float, width: float) -> float:
    """Root of an increasing function with function(low) <= 0 <= function(high), up to rounding at either end."""
    if function(high) <= 0.0:
        return high
    if function(low) >= 0.0:
        return low
    return float(brentq(function, low, high, xtol=width, rtol=8.9e-16, maxiter=200))


def _shoot(game: ExecutionGame, times: Floats, start_growth: float) -> Paths:
    """Paths on `times` whose mean starts at the initial mean; `start_growth` guesses log(mu(T)/mu(0))."""
    goal = _log_mean(game)
    a, log_mean = np.empty(times.size), np.empty(times.size)
    count = 0

    def miss(log_end: float) -> float:
        nonlocal count
        count += 1
        march_coupled(
            times, log_end, game.terminal_penalty, game.temporary_impact, game.crowd_impact, game.running_penalty,
            a, log_mean,
        )  # fmt: skip
        return float(log_mean[0] - goal)

    if goal == -math.inf:
        given = np.full(2 * times.size - 1, 1.0 / game.temporary_impact)
        march_given(times, given, game.terminal_penalty, game.running_penalty, a, log_mean)
        return Paths(times, a, log_mean - log_mean[0], np.full(times.size, game.temporary_impact), 1)
    guess = goal + start_growth
    low, high, width = guess, guess, 1e-3
    while miss(low) > 0.0:
        low, width = low - width, 4.0 * width
    width = 1e-3
    while miss(high) < 0.0:
        high, width = high + width, 4.0 * width
    root = _root(miss, low, high, 1e-15 * max(1.0, abs(low)))
    if not abs(miss(root)) <= 1e-6:
        raise SolveError("the crowd's terminal mean was not found in floating point; raise temporary_impact")
    log_remaining = log_mean - log_mean[0]
    return Paths(times, a.copy(), log_remaining, clear_friction(game, a, log_remaining), count)


def _sweep(game: ExecutionGame, times: Floats, start: Paths | None, rule: Picard | Anderson, target: float) -> Paths:
    """Paths after fixed-point sweeps on log eta over the equally spaced `times`."""
    a, growth = np.empty(times.size), np.empty(times.size)

    def phi(log_friction: Floats) -> Floats:
        inverse = np.empty(2 * times.size - 1)
        inverse[::2] = np.exp(-log_friction)
        inverse[1::2] = np.exp(-middle_values(log_friction))
        march_given(times, inverse, game.terminal_penalty, game.running_penalty, a, growth)
        return np.log(clear_friction(game, a, growth - growth[0]))

    first = np.full(times.size, math.log(game.temporary_impact))
    if start is not None:
        first[::2] = np.log(start.given)
        first[1::2] = middle_values(first[::2])
    found = iterate(phi, first, rule, lambda _: 0.1 * target)
    phi(found.point)
    settled = found.residual <= 0.1 * target
    return Paths(times, a.copy(), growth - growth[0], np.exp(found.point), found.sweeps, settled)


def _difference(game: ExecutionGame, coarse: Paths, fine: Paths) -> float:
    """Largest relative difference of a and eta, difference of the share remaining, and with noise of the moments."""
    a, b = coarse.riccati, fine.riccati[::2]
    size = np.where(b > 0, b, 1.0)
    shares = np.exp(coarse.log_remaining) - np.exp(fine.log_remaining[::2])
    frictions = clear_friction(game, a, coarse.log_remaining) / clear_friction(game, b, fine.log_remaining[::2]) - 1
    differences = [np.abs(a - b) / size, np.abs(shares), np.abs(frictions)]
    if game.inventory_noise:
        policies = make_policy(game, coarse), make_policy(game, fine)
        for moment in (_constant, _variance):
            rough, exact = moment(game, policies[0]), moment(game, policies[1])[::2]
            differences.append(np.abs(rough - exact) / max(float(np.max(exact)), math.ulp(0.0)))
    return float(max(np.max(difference) for difference in differences))


def _constant(game: ExecutionGame, policy: ExecutionPolicy) -> Floats:
    return march_constant(game.inventory_noise, policy)


def _variance(game: ExecutionGame, policy: ExecutionPolicy) -> Floats:
    return march_variance(game.initial_std, game.inventory_noise, policy)


def make_policy(game: ExecutionGame, paths: Paths) -> ExecutionPolicy:
    """The feedback that answers the friction in `paths`."""
    eta1, phi = game.crowd_impact, game.running_penalty
    mean = abs(game.initial_mean) * np.exp(paths.log_remaining)
    slope = -2.0 * phi * eta1 * mean / (2.0 * paths.given - game.temporary_impact)
    return ExecutionPolicy(paths.times, paths.riccati, paths.given, slope, paths.log_remaining, phi)


def _certify(game: ExecutionGame, paths: Paths, error: float, iterations: int, target: float) -> ExecutionEquilibrium:
    """The equilibrium object with its independently computed certificate."""
    policy = make_policy(game, paths)
    residual = measure_residual(game, policy)
    gain = 2.0 * paths.riccati / paths.given
    mean = game.initial_mean * np.exp(paths.log_remaining)
    rate = -gain * mean
    induced = game.temporary_impact + game.crowd_impact * np.abs(rate)
    variance, constant = _variance(game, policy), _constant(game, policy)
    exploitability = measure_exploitability(game, policy)
    states = make_states(mean, variance)
    coefficients = np.stack([paths.riccati, np.zeros_like(constant), constant], axis=1)
    value = coefficients[:, :1] * states**2 + constant[:, None]
    density = gaussian_cells(states, mean, np.sqrt(variance))
    mass_error = float(np.max(np.abs(density.sum(axis=1) * (states[1] - states[0]) - 1.0)))
    status = Status.CONVERGED
    if not paths.settled:
        status = Status.SWEEPS
    elif not max(residual, error) <= target:
        status = Status.STEPS
    certificate = Certificate(
        iterations, residual, exploitability, mass_error, error, target, status is Status.CONVERGED, status
    )
    field = ExecutionMeanField(mean, rate, induced)
    return ExecutionEquilibrium(
        game, paths.times, states, value, density, coefficients, variance, policy, field, certificate
    )


def measure_residual(game: ExecutionGame, policy: ExecutionPolicy) -> float:
    """Largest |log Phi(eta) - log eta| on the policy's times: the undamped map, marched anew for the given friction."""
    reply, growth = np.empty(policy.times.size), np.empty(policy.times.size)
    friction = policy.interpolate(bisect(policy.times))[2]
    march_given(policy.times, 1.0 / friction, game.terminal_penalty, game.running_penalty, reply, growth)
    image = clear_friction(game, reply, growth - growth[0])
    return float(np.max(np.abs(np.log(image / policy.friction))))


def measure_exploitability(game: ExecutionGame, policy: ExecutionPolicy) -> float:
    """What one trader gains by leaving `policy` while the crowd that plays it stays, in units of the cost.

    With K* the gain of the best response to that crowd, completing the square in the Bellman equation gives
    J(K) - J(K*) = E int 1/2 eta (K - K*)^2 x^2 dt along the inventory of K: no difference of close numbers.
    """
    times = bisect(policy.times)
    wide = bisect(times)
    mean = np.abs(game.initial_mean) * np.exp(policy.interpolate(wide)[1])
    friction = game.temporary_impact + game.crowd_impact * policy.gain(wide) * mean
    reply, growth = np.empty(times.size), np.empty(times.size)
    march_given(times, 1.0 / friction, game.terminal_penalty, game.running_penalty, reply, growth)
    variance = np.interp(times, policy.times, _variance(game, policy))
    regret = 0.5 * friction[::2] * (policy.gain(times) - 2.0 * reply / friction[::2]) ** 2
    integrand = regret * (mean[::2] ** 2 + variance)
    return float(np.sum(np.diff(times) * (integrand[1:] + integrand[:-1]) / 2.0))
