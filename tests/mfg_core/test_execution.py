"""The execution game against closed forms, an energy integral, boundary-value solvers and simulation."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad, solve_ivp
from scipy.optimize import brentq

from mfg_core import Anderson, ExecutionGame, Picard, Shooting, SolveError, Status, solve_mfg
from mfg_core.linear_quadratic.execution import step_back
from mfg_core.linear_quadratic.execution_solver import _shoot
from mfg_core.linear_quadratic.riccati import flow, march_coupled, march_given, step_coupled, step_given


def make(phi, gamma, eta0, eta1, mean, horizon, **more):
    return ExecutionGame(
        temporary_impact=eta0,
        crowd_impact=eta1,
        running_penalty=phi,
        terminal_penalty=gamma,
        initial_mean=mean,
        horizon=horizon,
        **more,
    )


REFERENCE = make(0.1, 1.0, 1.0, 0.5, 1.0, 1.0, initial_std=1.0)
SECOND = make(0.1, 1.0, 0.05, 0.5, 0.5, 0.5)
PROTOTYPE = make(0.087811, 2.778412, 1e-4, 0.071428, 0.0, 0.5, initial_std=1.0)
STIFF = make(0.087811, 2.778412, 1e-4, 0.071428, 2.0, 0.5, initial_std=1.0)


def solve_as_boundary_problem(game, method="LSODA"):
    """a(0), mu(T) by scipy: integrate (mu, lambda) backwards from the close, root on mu(T); mu_0 > 0."""
    eta0, eta1 = game.temporary_impact, game.crowd_impact

    def slope(_, y):
        mean, costate = y
        friction = 0.5 * (eta0 + math.sqrt(eta0**2 + 4 * eta1 * costate))
        return [costate / friction, 2 * game.running_penalty * mean]

    def start(end):
        found = solve_ivp(
            slope, (0, game.horizon), [end, 2 * game.terminal_penalty * end], method=method, rtol=1e-12, atol=1e-14
        )
        return found.y[:, -1]

    end = brentq(lambda guess: start(guess)[0] - game.initial_mean, 1e-9, game.initial_mean, xtol=1e-14)
    mean, costate = start(end)
    return costate / (2 * mean), end


@pytest.mark.parametrize(
    ("game", "riccati", "end", "rate"),
    [(REFERENCE, 0.44673754, 0.37851080, -0.66941611), (SECOND, 0.31317967, 0.14065944, -0.74300652)],
)
def test_the_published_reference_values_hold_to_all_their_digits(game, riccati, end, rate):
    found = solve_mfg(game)
    assert found.value_coefficients[0, 0] == pytest.approx(riccati, abs=5e-9)
    assert found.mean_field.inventory[-1] == pytest.approx(end, abs=5.1e-9)
    assert found.mean_field.rate[0] == pytest.approx(rate, abs=5e-9)


@pytest.mark.parametrize("game", [REFERENCE, SECOND, STIFF, make(1.0, 0.0, 1e-2, 1.0, 1.0, 1.0)])
def test_a_boundary_value_solver_finds_the_same_equilibrium(game):
    found = solve_mfg(game)
    riccati, end = solve_as_boundary_problem(game)
    assert found.value_coefficients[0, 0] == pytest.approx(riccati, rel=2e-9)
    assert found.mean_field.inventory[-1] == pytest.approx(end, rel=2e-8)


@pytest.mark.parametrize("game", [REFERENCE, SECOND, STIFF])
def test_energy_is_constant_along_the_crowd_and_gives_the_time(game):
    """eta0 r^2/2 + 2 eta1 r^3/3 - phi mu^2 is constant (r = |mean rate|), and T = int dmu/r by quadrature."""
    found = solve_mfg(game)
    mean, rate = found.mean_field.inventory, -found.mean_field.rate
    energy = game.temporary_impact * rate**2 / 2 + 2 * game.crowd_impact * rate**3 / 3
    energy -= game.running_penalty * mean**2
    scale = game.running_penalty * game.initial_mean**2 + abs(energy[0])
    np.testing.assert_allclose(energy, energy[0], atol=2e-9 * scale)

    def speed(at):
        def excess(r):
            left = game.temporary_impact * r**2 / 2 + 2 * game.crowd_impact * r**3 / 3
            return left - game.running_penalty * at**2 - energy[0]

        return brentq(excess, 0.0, 10.0 * rate.max(), xtol=1e-15)

    elapsed = quad(lambda at: 1.0 / speed(at), mean[-1], mean[0], epsabs=1e-11, epsrel=1e-11)[0]
    assert elapsed == pytest.approx(game.horizon, rel=1e-7)


def test_prototype_case_has_the_exact_control_with_a_crowd_of_mean_zero():
    """Constant friction: a = l (gamma + l th)/(l + gamma th), l^2 = phi eta/2, th = tanh(sqrt(2 phi/eta)(T - t))."""
    found = solve_mfg(PROTOTYPE)
    eta, phi, gamma = PROTOTYPE.temporary_impact, PROTOTYPE.running_penalty, PROTOTYPE.terminal_penalty
    level, speed = math.sqrt(phi * eta / 2), math.sqrt(2 * phi / eta)
    to_close = PROTOTYPE.horizon - found.times
    shape = np.tanh(speed * to_close)
    exact = level * (gamma + level * shape) / (level + gamma * shape)
    np.testing.assert_allclose(found.value_coefficients[:, 0], exact, rtol=1e-12)
    inventory = np.linspace(-5, 5, 11)
    np.testing.assert_allclose(found.policy.rate(0.0, inventory), -41.907 * inventory, rtol=1e-5)
    np.testing.assert_allclose(found.policy.rate(0.0, inventory), -2 * exact[0] / eta * inventory, rtol=1e-12)
    between = np.linspace(0, 0.5, 997)
    shape = np.tanh(speed * (0.5 - between))
    exact = level * (gamma + level * shape) / (level + gamma * shape)
    np.testing.assert_allclose(found.policy.rate(between, 1.0), -2 * exact / eta, rtol=1e-11)


def test_the_stiff_case_takes_milliseconds():
    solve_mfg(STIFF)
    begin = time.process_time()
    for _ in range(5):
        solve_mfg(STIFF)
    assert (time.process_time() - begin) / 5 < 0.05


@pytest.mark.parametrize("game", [REFERENCE, SECOND])
def test_order_of_the_scheme_is_four(game):
    exact = solve_mfg(game, rtol=1e-12)
    growth = float(exact.policy.log_remaining[-1])
    errors = []
    for steps in (4, 8, 16):
        paths = _shoot(game, np.linspace(0.0, game.horizon, steps + 1), growth)
        errors.append(abs(paths.riccati[0] - exact.value_coefficients[0, 0]))
    slopes = np.log2(np.array(errors[:-1]) / errors[1:])
    assert np.all(slopes > 3.7), slopes


def test_compiled_steps_equal_the_plain_ones():
    rng = np.random.default_rng(3)
    for _ in range(20):
        a, h, phi = rng.uniform(0, 2), rng.uniform(0, 3), rng.uniform(0, 2)
        k = rng.uniform(0.5, 1.0, 3)
        plain = step_back(*(np.array(v) for v in (a, h, *k)), phi)
        np.testing.assert_allclose(step_given(a, h, *k, phi), plain, rtol=1e-13)
        np.testing.assert_allclose(flow(a, h, phi), flow.py_func(a, h, phi), rtol=1e-13)
        arguments = (a, math.log(0.7), h, 0.3, 0.5, phi)
        np.testing.assert_allclose(step_coupled(*arguments), step_coupled.py_func(*arguments), rtol=1e-13)
    assert math.isnan(flow(0.1, -5.0, 5.0)[0])


def test_compiled_marches_equal_plain_python():
    times = np.linspace(0, 1, 9)
    for march, arguments in (
        (march_coupled, (times, -0.3, 1.0, 0.5, 0.7, 0.1)),
        (march_given, (times, np.linspace(1, 2, 17), 1.0, 0.1)),
    ):
        out, plain = (np.empty(9), np.empty(9)), (np.empty(9), np.empty(9))
        march(*arguments, *out)
        march.py_func(*arguments, *plain)
        np.testing.assert_allclose(out, plain, rtol=1e-13)


@pytest.mark.parametrize("method", [Picard(), Picard(damping=0.4), Anderson(depth=3)])
def test_fixed_point_sweeps_reach_the_equilibrium_of_the_shooting(method):
    exact = solve_mfg(STIFF, rtol=1e-11)
    found = solve_mfg(STIFF, rtol=1e-9, method=method)
    assert found.value_coefficients[0, 0] == pytest.approx(exact.value_coefficients[0, 0], rel=2e-9)
    assert found.mean_field.inventory[-1] == pytest.approx(exact.mean_field.inventory[-1], rel=1e-8)


def test_policy_between_times_has_the_accuracy_of_the_grid():
    coarse, fine = solve_mfg(STIFF, rtol=1e-8), solve_mfg(STIFF, rtol=1e-12)
    t = np.linspace(0, 0.5, 301)
    np.testing.assert_allclose(coarse.policy.gain(t), fine.policy.gain(t), rtol=3e-8)
    np.testing.assert_allclose(coarse.policy.gain(coarse.times), -coarse.mean_field.rate / coarse.mean_field.inventory)


def test_share_remaining_is_the_ratio_of_means_and_the_integral_of_the_gain():
    found = solve_mfg(STIFF)
    policy, mean = found.policy, found.mean_field.inventory
    np.testing.assert_allclose(policy.remaining(0.0, found.times), mean / mean[0], rtol=1e-12)
    pull = quad(lambda t: float(policy.gain(t)), 0.1, 0.37, epsabs=1e-11, epsrel=1e-11)[0]
    assert float(policy.remaining(0.1, 0.37)) == pytest.approx(math.exp(-pull), rel=1e-8)
    shares = policy.fractions(5)
    np.testing.assert_allclose(np.prod(1 - shares), mean[-1] / mean[0], rtol=1e-12)
    with pytest.raises(ValueError, match="end must not be before start"):
        policy.remaining(0.2, 0.1)
    with pytest.raises(ValueError, match=r"t must be in \[0.0, 0.5\]"):
        policy.rate(0.6, 1.0)


def test_noise_enters_variance_and_value_as_their_differential_equations_say():
    game = make(0.5, 3.0, 0.05, 0.5, 0.8, 1.0, initial_std=0.4, inventory_noise=0.3)
    found = solve_mfg(game)

    def forward(t, v):
        return -2 * found.policy.gain(t) * v + 2 * 0.3

    exact = solve_ivp(forward, (0, 1), [0.16], rtol=1e-10, atol=1e-12, t_eval=found.times[::8])
    np.testing.assert_allclose(found.inventory_variance[::8], exact.y[0], rtol=2e-8)
    area = quad(lambda t: float(found.policy.interpolate(t)[0]), 0, 1, epsabs=1e-11, limit=200)[0]
    assert found.value_coefficients[0, 2] == pytest.approx(2 * 0.3 * area, rel=1e-8)
    assert solve_mfg(make(0.5, 3.0, 0.05, 0.5, 0.8, 1.0)).mean_field.inventory[-1] == pytest.approx(
        found.mean_field.inventory[-1], rel=1e-8
    )


def test_simulated_cost_is_the_value():
    game = make(0.5, 3.0, 0.5, 0.5, 0.8, 1.0, initial_std=0.4, inventory_noise=0.1)
    found = solve_mfg(game)
    rng = np.random.default_rng(11)
    paths, steps = 20_000, 200
    h = game.horizon / steps
    x = rng.normal(0.8, 0.4, paths)
    cost = np.zeros(paths)
    for i in range(steps):
        rate = found.policy.rate((i + 0.5) * h, x)
        friction = np.interp((i + 0.5) * h, found.times, found.mean_field.temporary_impact)
        cost += h * (0.5 * friction * rate**2 + game.running_penalty * x**2)
        x = x + h * rate + math.sqrt(2 * game.inventory_noise * h) * rng.normal(size=paths)
    cost += game.terminal_penalty * x**2
    a, _, c = found.value_coefficients[0]
    expected = a * (0.8**2 + 0.4**2) + c
    assert cost.mean() == pytest.approx(expected, abs=4 * cost.std() / math.sqrt(paths) + 0.01 * expected)


def test_density_is_the_gaussian_of_mean_and_variance_and_keeps_its_mass():
    found = solve_mfg(REFERENCE)
    cell = found.states[1] - found.states[0]
    np.testing.assert_allclose(found.density.sum(axis=1) * cell, 1.0, atol=1e-13)
    np.testing.assert_allclose(found.density @ found.states * cell, found.mean_field.inventory, atol=1e-8)
    spread = found.density @ found.states**2 * cell - found.mean_field.inventory**2
    np.testing.assert_allclose(spread - cell**2 / 12, found.inventory_variance, atol=1e-8)
    a, b, c = found.value_coefficients[3]
    np.testing.assert_allclose(found.value[3], a * found.states**2 + b * found.states + c, rtol=1e-13)


def test_a_crowd_without_spread_sits_in_one_cell():
    found = solve_mfg(make(0.1, 1.0, 1.0, 0.5, 1.0, 1.0))
    cell = found.states[1] - found.states[0]
    assert np.all((found.density > 0).sum(axis=1) == 1)
    np.testing.assert_allclose(found.density @ found.states * cell, found.mean_field.inventory, atol=0.5 * cell)


@settings(deadline=None, max_examples=20)
@given(
    phi=st.floats(0, 2),
    gamma=st.floats(0, 50),
    eta0=st.floats(1e-4, 2),
    eta1=st.floats(0, 2),
    mean=st.floats(0, 5),
    horizon=st.floats(0.1, 5),
)
def test_laws_of_the_equilibrium(phi, gamma, eta0, eta1, mean, horizon):
    found = solve_mfg(make(phi, gamma, eta0, eta1, mean, horizon, initial_std=0.5))
    field, certificate = found.mean_field, found.certificate
    assert certificate.converged
    assert certificate.residual <= certificate.tolerance
    assert 0 <= certificate.exploitability <= 1e-12 * (1 + gamma) * (1 + mean) ** 2 * (1 + horizon)
    assert certificate.mass_error < 1e-12
    np.testing.assert_allclose(field.temporary_impact, eta0 + eta1 * np.abs(field.rate), rtol=1e-8)
    assert np.all(np.diff(field.inventory) <= 1e-15)
    assert np.all(found.value_coefficients[:, 0] >= 0)

    mirrored = solve_mfg(make(phi, gamma, eta0, eta1, -mean, horizon, initial_std=0.5))
    np.testing.assert_array_equal(mirrored.mean_field.inventory, -field.inventory)
    np.testing.assert_array_equal(mirrored.value_coefficients, found.value_coefficients)

    money, units, clock = 3.0, 2.0, 4.0
    scaled = solve_mfg(
        make(
            phi * money / units**2 / clock,
            gamma * money / units**2,
            eta0 * money * clock / units**2,
            eta1 * money * clock**2 / units**3,
            mean * units,
            horizon * clock,
            initial_std=0.5 * units,
        )
    )
    assert scaled.value_coefficients[0, 0] == pytest.approx(
        found.value_coefficients[0, 0] * money / units**2, rel=4e-9, abs=1e-300
    )
    assert scaled.mean_field.inventory[-1] == pytest.approx(units * field.inventory[-1], rel=1e-6, abs=1e-12)


def gain_from_leaving(game, found):
    """J(policy) - J(best reply) by scipy, both costs integrated backwards in the returned crowd."""
    policy, mean = found.policy, found.mean_field

    def friction(t):
        at = np.abs(game.initial_mean) * policy.remaining(0.0, t)
        return game.temporary_impact + game.crowd_impact * policy.gain(t) * at

    def slopes(s, y):
        t = min(max(game.horizon - s, 0.0), game.horizon)
        eta, gain = float(friction(t)), float(policy.gain(t))
        best, own = y
        return [game.running_penalty - 2 * best**2 / eta, game.running_penalty + 0.5 * eta * gain**2 - 2 * gain * own]

    end = solve_ivp(slopes, (0, game.horizon), [game.terminal_penalty] * 2, rtol=1e-10, atol=1e-13, method="LSODA")
    best, own = end.y[:, -1]
    return (own - best) * (mean.inventory[0] ** 2 + game.initial_std**2)


@pytest.mark.parametrize("sweeps", [1, 2])
def test_a_stopped_solve_reports_residual_and_exploitability_honestly(sweeps):
    game = make(0.1, 1.0, 0.2, 2.0, 1.0, 1.0, initial_std=0.5)
    found = solve_mfg(game, method=Picard(max_sweeps=sweeps), throw=False)
    assert found.certificate.status is Status.SWEEPS
    assert not found.certificate.converged
    assert found.certificate.residual > 1e-4
    assert found.certificate.exploitability > 1e-9
    expected = gain_from_leaving(game, found)
    assert found.certificate.exploitability == pytest.approx(expected, rel=2e-2, abs=1e-9)


def test_damping_does_not_hide_the_residual():
    game = make(0.1, 1.0, 0.2, 2.0, 1.0, 1.0)
    found = solve_mfg(game, method=Picard(damping=1e-9, max_sweeps=20), throw=False)
    assert found.certificate.residual > 0.1
    assert not found.certificate.converged


def test_throw_raises_with_residual_tolerance_and_what_to_change():
    with pytest.raises(SolveError, match=r"residual .* against the tolerance .* raise max_sweeps") as caught:
        solve_mfg(SECOND, method=Picard(max_sweeps=1))
    assert caught.value.residual > caught.value.tolerance > 0


def test_a_grid_that_cannot_be_fine_enough_is_refused():
    with pytest.raises(SolveError, match="more than 64 time steps"):
        solve_mfg(make(1.0, 0.0, 1e-6, 5.0, 1.0, 10.0), method=Shooting(max_steps=64))


@pytest.mark.parametrize(
    ("name", "value", "rule"),
    [
        ("temporary_impact", 0.0, "finite and positive"),
        ("temporary_impact", math.inf, "finite and positive"),
        ("crowd_impact", -1.0, "finite and not negative"),
        ("running_penalty", math.nan, "a real number"),
        ("terminal_penalty", -0.1, "finite and not negative"),
        ("inventory_noise", -1.0, "finite and not negative"),
        ("initial_mean", math.inf, "finite"),
        ("initial_std", "wide", "a real number"),
        ("horizon", 0.0, "finite and positive"),
    ],
)
def test_nonsense_parameters_are_named_with_the_rule_and_the_value(name, value, rule):
    good = {
        "temporary_impact": 1.0,
        "crowd_impact": 0.5,
        "running_penalty": 0.1,
        "terminal_penalty": 1.0,
        "inventory_noise": 0.0,
        "initial_mean": 1.0,
        "initial_std": 1.0,
        "horizon": 1.0,
    }
    with pytest.raises(ValueError, match=rf"^{name} must be {rule}; was {value!r}$"):
        ExecutionGame(**{**good, name: value})


def test_tolerances_below_rounding_are_refused():
    with pytest.raises(ValueError, match="rtol must be at least"):
        solve_mfg(REFERENCE, rtol=0.0)


@pytest.mark.parametrize("name", ["temporary_impact", "terminal_penalty", "initial_mean", "initial_std"])
def test_parameters_beyond_floating_point_are_refused_by_name(name):
    ordinary = {
        "temporary_impact": 1.0,
        "crowd_impact": 0.5,
        "running_penalty": 0.1,
        "terminal_penalty": 1.0,
        "initial_mean": 1.0,
        "initial_std": 1.0,
        "horizon": 1.0,
    }
    with pytest.raises(SolveError, match=rf"floating point with {name} 1e\+200; use units"):
        solve_mfg(ExecutionGame(**{**ordinary, name: 1e200}))
