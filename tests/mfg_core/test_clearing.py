"""The clearing game against its closed form, a boundary-value solver and a finite crowd."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.integrate import quad, solve_bvp, solve_ivp

from mfg_core import ClearingGame, Picard, Shooting, SolveError, solve_mfg


def make(**changes):
    return ClearingGame(
        **{
            "supply": lambda t: 0.4 * np.sin(3 * t) - 0.2,
            "temporary_impact": 0.3,
            "running_penalty": 0.5,
            "terminal_penalty": 2.0,
            "initial_mean": 1.0,
            "initial_std": 0.5,
            "horizon": 2.0,
            **changes,
        }
    )


def test_constant_supply_has_a_polynomial_price():
    """mu = mu0 + s t, p = -eta s - 2 gamma mu(T) - 2 phi (mu0 (T - t) + s (T^2 - t^2)/2)."""
    found = solve_mfg(make(supply=-0.3))
    t, s = found.times, -0.3
    mean = 1.0 + s * t
    price = -0.3 * s - 2 * 2.0 * mean[-1] - 2 * 0.5 * (1.0 * (2.0 - t) + s * (4.0 - t**2) / 2)
    np.testing.assert_allclose(found.mean_field.inventory, mean, atol=1e-12)
    np.testing.assert_allclose(found.mean_field.price, price, atol=1e-11)


def test_price_of_a_varying_supply_by_adaptive_quadrature():
    game = make()
    found = solve_mfg(game)

    def mean(t):
        return 1.0 - 0.2 * t + 0.4 * (1 - math.cos(3 * t)) / 3

    for i in (0, found.times.size // 3, found.times.size - 1):
        t = float(found.times[i])
        area = quad(mean, t, 2.0, epsabs=1e-13)[0]
        supply = 0.4 * math.sin(3 * t) - 0.2
        assert found.mean_field.inventory[i] == pytest.approx(mean(t), abs=1e-9)
        assert found.mean_field.price[i] == pytest.approx(-0.3 * supply - 4.0 * mean(2.0) - area, abs=1e-8)


def test_a_boundary_value_solver_that_knows_only_bellman_and_clearing_agrees():
    """Unknowns mu, a, b with p eliminated by clearing; nothing of the closed form is used."""
    game = make()

    def slopes(t, y):
        mean, a, b = y
        supply = 0.4 * np.sin(3 * t) - 0.2
        price = -game.temporary_impact * supply - 2 * a * mean - b
        return np.stack(
            [
                supply,
                2 * a**2 / game.temporary_impact - game.running_penalty,
                2 * a * (b + price) / game.temporary_impact,
            ]
        )

    grid = np.linspace(0, 2, 60)
    guess = np.stack([np.ones(60), np.ones(60), np.zeros(60)])
    exact = solve_bvp(
        slopes, lambda left, right: [left[0] - 1.0, right[1] - 2.0, right[2]], grid, guess, tol=1e-10, max_nodes=50_000
    )
    assert exact.success
    found = solve_mfg(game)
    mean, a, b = exact.sol(found.times)
    np.testing.assert_allclose(found.value_coefficients[:, 0], a, atol=1e-8)
    np.testing.assert_allclose(found.value_coefficients[:, 1], b, atol=1e-7)
    np.testing.assert_allclose(found.mean_field.inventory, mean, atol=1e-8)


def test_the_crowd_that_plays_the_policy_trades_the_supply():
    game = make(inventory_noise=0.05)
    found = solve_mfg(game)
    rng = np.random.default_rng(5)
    inventory = rng.normal(1.0, 0.5, 20_000)
    for t in (0.0, 0.71, 2.0):
        rates = found.policy.rate(
            t, inventory - inventory.mean() + np.interp(t, found.times, found.mean_field.inventory)
        )
        assert rates.mean() == pytest.approx(0.4 * math.sin(3 * t) - 0.2, abs=1e-5)
    np.testing.assert_allclose(
        found.policy.rate(found.times, found.mean_field.inventory), found.mean_field.rate, atol=1e-9
    )


def test_the_policy_is_minus_marginal_value_and_price_over_friction():
    game = make()
    found = solve_mfg(game)
    a, b, _ = found.value_coefficients[7]
    for x in (-1.0, 0.3, 2.0):
        expected = -(2 * a * x + b + found.mean_field.price[7]) / game.temporary_impact
        assert float(found.policy.rate(found.times[7], x)) == pytest.approx(expected, rel=1e-8)


def test_value_is_the_cost_of_following_the_policy():
    game = make(inventory_noise=0.05)
    found = solve_mfg(game)
    start, spread = 0.4, 0.0

    def slopes(t, y):
        mean, variance, _ = y
        gain = float(found.policy.feedback.gain(t))
        rate = float(found.policy.rate(t, mean))
        price = np.interp(t, found.times, found.mean_field.price)
        cost = 0.5 * game.temporary_impact * (rate**2 + gain**2 * variance) + price * rate
        cost += game.running_penalty * (mean**2 + variance)
        return [rate, -2 * gain * variance + 2 * game.inventory_noise, cost]

    end = solve_ivp(slopes, (0, 2), [start, spread, 0.0], rtol=1e-9, atol=1e-11).y[:, -1]
    cost = end[2] + game.terminal_penalty * (end[0] ** 2 + end[1])
    a, b, c = found.value_coefficients[0]
    assert a * start**2 + b * start + c == pytest.approx(cost, rel=1e-5)


@settings(deadline=None, max_examples=15)
@given(
    supply=st.floats(-2, 2),
    eta=st.floats(0.01, 2),
    phi=st.floats(0, 2),
    gamma=st.floats(0, 20),
    mean=st.floats(-3, 3),
)
@example(supply=0.0, eta=1.0, phi=0.0, gamma=1.0, mean=5e-324)
def test_laws_of_the_equilibrium(supply, eta, phi, gamma, mean):
    parameters = {
        "temporary_impact": eta,
        "running_penalty": phi,
        "terminal_penalty": gamma,
        "horizon": 1.5,
    }
    found = solve_mfg(make(supply=supply, initial_mean=mean, **parameters), rtol=1e-6)
    certificate = found.certificate
    assert certificate.converged
    assert certificate.mass_error < 1e-12
    assert 0 <= certificate.exploitability < 1e-12 * (1 + gamma) ** 2 * (1 + mean**2 + supply**2)
    mirrored = solve_mfg(make(supply=-supply, initial_mean=-mean, **parameters), rtol=1e-6)
    np.testing.assert_allclose(mirrored.mean_field.price, -found.mean_field.price, atol=1e-11)
    np.testing.assert_allclose(np.diff(found.mean_field.inventory), supply * np.diff(found.times), atol=1e-12)


def test_a_supply_that_is_too_rough_for_the_grid_is_refused():
    with pytest.raises(SolveError, match="raise max_steps"):
        solve_mfg(make(supply=lambda t: np.sign(np.sin(300 * t))), method=Shooting(max_steps=512))


def test_nonsense_is_named():
    with pytest.raises(ValueError, match="temporary_impact must be finite and positive; was -1"):
        make(temporary_impact=-1)
    with pytest.raises(ValueError, match="supply must be finite; was inf"):
        make(supply=math.inf)
    with pytest.raises(ValueError, match="supply must map times"):
        solve_mfg(make(supply=lambda t: np.full(t.shape, np.nan)))
    with pytest.raises(TypeError, match="method must be left out"):
        solve_mfg(make(), method=Picard())
