"""Derivatives of equilibria against differences of whole solves, and closed forms; bands against samples."""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
import pytest
from scipy.linalg import expm

from mfg_core import EdgeMassWarning, MarketMakingGame, solve_mfg
from mfg_core.market.competition import OutsideOption, Share
from mfg_core.study.bands import sample_bands, value_bands
from mfg_core.study.sensitivity import parameter_names, sensitivities

GAME = MarketMakingGame(
    ask_arrival=1.2,
    bid_arrival=0.8,
    fill_decay=0.5,
    running_penalty=0.01,
    terminal_penalty=0.1,
    horizon=3.0,
    max_inventory=4,
    competition=0.9,
    initial_mean=1.0,
    initial_std=1.5,
    adverse_selection=0.1,
    maker_fee=-0.05,
    risk_aversion=0.05,
)


@pytest.fixture(autouse=True)
def _small_grids():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", EdgeMassWarning)
        yield


def first_row(found):
    """What is compared: V, the asks and both mean quotes at t = 0, and the density at T."""
    means = [found.mean_field.ask[0], found.mean_field.bid[0]]
    return np.concatenate([found.value[0], found.policy.ask[0, 1:], means, found.density[-1]])


def first_row_slope(found, row):
    means = [found.mean_ask[row, 0], found.mean_bid[row, 0]]
    return np.concatenate([found.value[row, 0], found.ask[row, 0, 1:], means, found.density[row, -1]])


def whole_solves(game, name, step):
    """Slope of the Chebyshev interpolant of whole solves around the game, to one side at an end of the range."""
    at_top = name == "competition" and game.competition == 1.0
    at_bottom = name in ("running_penalty", "risk_aversion") and getattr(game, name) == 0.0
    low, high = 0.0 if at_bottom else -step, 0.0 if at_top else step
    changes = 0.5 * (low + high) - 0.5 * (high - low) * np.cos(np.pi * np.arange(9) / 8)
    changes[np.argmin(np.abs(changes))] = 0.0
    moved = [replace(game, **{name: getattr(game, name) + change}) for change in changes]
    answers = np.stack([first_row(solve_mfg(each, rtol=1e-12)) for each in moved], axis=1)
    fit = np.polynomial.chebyshev.Chebyshev.fit
    return np.array([fit(changes, row, 8, domain=[low, high]).deriv()(0.0) for row in answers])


STEPS = {
    "ask_arrival": 0.1,
    "bid_arrival": 0.1,
    "fill_decay": 0.04,
    "running_penalty": 0.008,
    "terminal_penalty": 0.02,
    "horizon": 0.2,
    "competition": 0.05,
    "initial_mean": 0.2,
    "initial_std": 0.15,
    "adverse_selection": 0.1,
    "maker_fee": 0.1,
    "risk_aversion": 0.04,
}


@pytest.mark.parametrize(
    "game",
    [
        GAME,
        replace(GAME, competition=1.0, risk_aversion=0.0, running_penalty=0.0),
        replace(GAME, competition=Share()),
        replace(GAME, competition=OutsideOption(0.3)),
    ],
    ids=["weight", "ends of ranges", "share", "outside option"],
)
def test_sensitivities_are_the_differences_of_whole_solves(game):
    found = sensitivities(solve_mfg(game, rtol=1e-11))
    assert found.names == parameter_names(game)
    # GCR ends at 1e-10 of the right side; eigenvalues near 1 magnify it.
    assert found.residual < 1e-8
    for row, name in enumerate(found.names):
        exact = whole_solves(game, name, STEPS[name])
        miss = np.max(np.abs(first_row_slope(found, row) - exact)) / np.max(np.abs(exact))
        # The interpolant of degree 8 leaves 1e-10 and less, and some 1e2 / step times what the solves leave.
        assert miss < 1e-8, name


def test_rows_between_the_ends_are_differences_of_whole_solves_too():
    game = replace(GAME, horizon=2.0)
    found = solve_mfg(game, rtol=1e-10)
    slopes = sensitivities(found, ("fill_decay", "horizon"))
    for row, name in enumerate(slopes.names):
        step = STEPS[name] / 20.0
        above, below = (solve_mfg(replace(game, **{name: getattr(game, name) + s}), rtol=1e-11) for s in (step, -step))
        for share in (0.25, 0.5, 0.75):
            node = int(np.argmin(np.abs(found.times / found.times[-1] - share)))
            at = found.times[node] / found.times[-1]
            high, low = (each.policy.quotes(at * each.game.horizon, 1.0)[1] for each in (above, below))
            # Quotes between nodes are quadratic on panels of some 2 % of the horizon.
            assert slopes.ask[row, node, 5] == pytest.approx((high - low) / (2 * step), rel=2e-4, abs=1e-6)


def test_a_lone_maker_without_risk_has_derivatives_in_closed_form():
    """eta = gamma = 0, far from the ends of the grid: d = 1/k + xi + f, V = 2 A (T - t) exp(-1 - k (xi + f))/k."""
    game = MarketMakingGame(
        ask_arrival=0.5,
        bid_arrival=0.5,
        fill_decay=2.0,
        running_penalty=0.0,
        terminal_penalty=0.0,
        horizon=1.0,
        max_inventory=12,
        competition=0.0,
        adverse_selection=0.1,
    )
    names = ("ask_arrival", "fill_decay", "adverse_selection", "horizon")
    found = sensitivities(solve_mfg(game, rtol=1e-11), names)
    k, cost, arrival = 2.0, 0.1, 0.5
    side = arrival * np.exp(-1.0 - k * cost) / k
    exact = np.array([side / arrival, 2.0 * side * (-1.0 / k - cost), -2.0 * k * side, 2.0 * side])
    np.testing.assert_allclose(found.value[:, 0, 12], exact, rtol=1e-9)
    np.testing.assert_allclose(found.ask[:, 0, 12], [0.0, -1.0 / k**2, 1.0, 0.0], atol=1e-9)


def lone_value(parameters, size):
    """V(0, .) of a maker without a crowd by the matrix exponential, analytic in all parameters."""
    ask, bid, k, eta, gamma, horizon, cost, g = parameters
    states = np.arange(-size, size + 1.0)
    log_factor = -(1.0 + k / g) * np.log(1.0 + g / k) - k * cost
    matrix = np.diag(-k * eta * states**2).astype(complex)
    matrix += np.diag(np.full(2 * size, ask * np.exp(log_factor)), -1)
    matrix += np.diag(np.full(2 * size, bid * np.exp(log_factor)), 1)
    return np.log(expm(matrix * horizon) @ np.exp(-k * gamma * states**2)) / k


def test_a_lone_maker_has_the_derivatives_of_the_matrix_exponential_by_complex_steps():
    names = ("ask_arrival", "bid_arrival", "fill_decay", "running_penalty", "terminal_penalty", "horizon", "maker_fee")
    names += ("risk_aversion",)
    game = replace(GAME, competition=0.0, adverse_selection=0.0)
    found = sensitivities(solve_mfg(game, rtol=1e-11), names)
    here = np.array([getattr(game, name) for name in names], dtype=complex)
    for row, name in enumerate(names):
        moved = here.copy()
        moved[row] += 1e-30j
        exact = lone_value(moved, game.max_inventory).imag / 1e-30
        # Truncation and rounding of the differences inside are some 1e-12 each.
        np.testing.assert_allclose(found.value[row, 0], exact, atol=1e-10 * np.abs(exact).max(), err_msg=name)


def test_a_change_of_units_ties_the_derivatives_together():
    """V k depends on A T, k eta T and k gamma only (no fees, no risk aversion), so Euler's theorem holds."""
    game = replace(GAME, adverse_selection=0.0, maker_fee=0.0, risk_aversion=0.0)
    equilibrium = solve_mfg(game, rtol=1e-11)
    names = ("ask_arrival", "bid_arrival", "fill_decay", "running_penalty", "terminal_penalty", "horizon")
    found = sensitivities(equilibrium, names)
    scaled = {name: getattr(game, name) * found.value[row] for row, name in enumerate(names)}
    size = np.max(np.abs(equilibrium.value))
    price = scaled["fill_decay"] - scaled["running_penalty"] - scaled["terminal_penalty"] + equilibrium.value
    time = scaled["horizon"] - scaled["ask_arrival"] - scaled["bid_arrival"] - scaled["running_penalty"]
    # Homogeneous of degree -1 in the price units of k, eta, gamma; of degree 0 in time at fixed shares of the horizon.
    np.testing.assert_allclose(price, 0.0, atol=1e-8 * size)
    np.testing.assert_allclose(time, 0.0, atol=1e-8 * size)


def test_swapping_the_sides_swaps_the_derivatives():
    game = replace(GAME, ask_arrival=1.0, bid_arrival=1.0, initial_mean=0.0, adverse_selection=0.0)
    found = sensitivities(solve_mfg(game, rtol=1e-11), ("ask_arrival", "bid_arrival", "running_penalty"))
    np.testing.assert_allclose(found.value[0], found.value[1][:, ::-1], atol=1e-8)
    np.testing.assert_allclose(found.mean_ask[0], found.mean_bid[1], atol=1e-8)
    np.testing.assert_allclose(found.mean_ask[2], found.mean_bid[2], atol=1e-8)


COVARIANCE = np.diag([0.02, 0.02, 0.006]) @ np.array([[1.0, 0.3, 0.5], [0.3, 1.0, 0.5], [0.5, 0.5, 1.0]])
COVARIANCE = COVARIANCE @ np.diag([0.02, 0.02, 0.006])
NAMES = ("ask_arrival", "bid_arrival", "fill_decay")


def test_bands_by_derivatives_and_by_samples_agree_for_small_errors():
    equilibrium = solve_mfg(replace(GAME, max_inventory=3, horizon=2.0), rtol=1e-7)
    exact = value_bands(equilibrium, COVARIANCE, NAMES)
    drawn = sample_bands(equilibrium, COVARIANCE, NAMES, samples=200, seed=1, rtol=1e-5)
    assert drawn.redrawn == 0
    # A standard deviation of 200 draws has a relative error of 1/sqrt(400) = 5 %; four of them at the worst place.
    np.testing.assert_allclose(drawn.value[0], exact.value[0], rtol=0.2)
    np.testing.assert_allclose(drawn.mean_ask[0], exact.mean_ask[0], rtol=0.2)
    np.testing.assert_allclose(drawn.ask[0, 1:], exact.ask[0, 1:], rtol=0.2)


def test_the_band_of_one_parameter_is_its_derivative_times_its_error():
    equilibrium = solve_mfg(GAME, rtol=1e-8)
    slopes = sensitivities(equilibrium, ("fill_decay",))
    bands = value_bands(equilibrium, [[0.01**2]], ("fill_decay",))
    np.testing.assert_allclose(bands.value, 0.01 * np.abs(slopes.value[0]), rtol=1e-12)
    np.testing.assert_allclose(bands.bid[:, :-1], 0.01 * np.abs(slopes.bid[0, :, :-1]), rtol=1e-12)
    assert np.all(np.isnan(bands.bid[:, -1]))


def test_draws_out_of_range_are_counted_and_too_many_refused():
    equilibrium = solve_mfg(replace(GAME, max_inventory=2, horizon=0.5, maker_fee=0.0), rtol=1e-4)
    some = sample_bands(equilibrium, [[0.1**2]], ("competition",), samples=30, seed=0, rtol=1e-4)
    assert 0 < some.redrawn < 25
    with pytest.raises(ValueError, match="covariance must leave most draws of competition within their ranges"):
        sample_bands(equilibrium, [[10.0**2]], ("competition",), samples=30)


@pytest.mark.parametrize(
    ("covariance", "message"),
    [
        (np.eye(2), r"covariance must be \(3, 3\), one row per name; was \(2, 2\)"),
        (np.triu(np.ones((3, 3))), "covariance must be finite and symmetric"),
        (np.diag([1.0, 1.0, -1.0]), "covariance must have no negative eigenvalue"),
    ],
)
def test_what_is_no_covariance_is_refused(covariance, message):
    with pytest.raises(ValueError, match=message):
        value_bands(solve_mfg(replace(GAME, horizon=0.1), rtol=1e-3), covariance, NAMES)


def test_what_has_no_derivative_is_refused_by_name():
    with pytest.raises(ValueError, match="equilibrium must be of a game without quote bounds"):
        sensitivities(solve_mfg(replace(GAME, max_half_spread=3.0, horizon=0.5), rtol=1e-3))
    point = solve_mfg(replace(GAME, initial_std=0.0, horizon=0.5), rtol=1e-3)
    with pytest.raises(ValueError, match=r"parameters must be among .*; was 'initial_mean'"):
        sensitivities(point, ("initial_mean",))
