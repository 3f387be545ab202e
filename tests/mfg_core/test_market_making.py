"""The market-making game against published values, dense matrices, scipy's integrators and closed forms."""

from __future__ import annotations

import contextlib
import math
import warnings

import numpy as np
import pytest
from scipy.integrate import solve_ivp
from scipy.linalg import expm
from scipy.special import ive

from mfg_core import (
    Anderson,
    EdgeMassWarning,
    MarketMakingGame,
    Picard,
    Shooting,
    SolveError,
    Status,
    solve_mfg,
)
from mfg_core.family.local_polynomial import interpolate_local
from mfg_core.family.time_grid import bisect, interpolate_rows
from mfg_core.market import kernels, linear_kernels
from mfg_core.market.market_reply import reply
from mfg_core.market.market_solver import bound_times

BASE = {
    "ask_arrival": 1.0,
    "bid_arrival": 1.0,
    "fill_decay": 0.5,
    "running_penalty": 0.01,
    "terminal_penalty": 0.1,
    "horizon": 10.0,
    "max_inventory": 10,
    "competition": 1.0,
    "initial_mean": 0.0,
    "initial_std": 2.0,
}


def make(**changes):
    return MarketMakingGame(**{**BASE, **changes})


def point_start(arrival, k, eta, gamma, horizon, size):
    return MarketMakingGame(
        ask_arrival=arrival,
        bid_arrival=arrival,
        fill_decay=k,
        running_penalty=eta,
        terminal_penalty=gamma,
        horizon=horizon,
        max_inventory=size,
    )


SMALL = MarketMakingGame(
    ask_arrival=1.3,
    bid_arrival=0.9,
    fill_decay=0.8,
    running_penalty=0.05,
    terminal_penalty=0.3,
    horizon=2.0,
    max_inventory=3,
    initial_mean=1.0,
    initial_std=1.0,
)
BOUNDS = {"min_half_spread": 0.6, "max_half_spread": 2.0}


def solve_quietly(game, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", EdgeMassWarning)
        return solve_mfg(game, **options)


def at(equilibrium, values, t):
    between = interpolate_rows if equilibrium.game.bounded else interpolate_local
    return float(between(equilibrium.times, np.ascontiguousarray(values), np.array([t]))[0])


@pytest.mark.parametrize(
    ("changes", "value", "ask", "bid", "middle", "last", "digits"),
    [
        ({}, 39.99599847, 2.071757308, 2.071757308, 6.129850071, 5.752760971, 1.0),
        (
            {"ask_arrival": 1.2, "bid_arrival": 0.8, "initial_mean": 1.0},
            *(41.15062318, 2.901542191, 1.242485000, 6.084771308, 5.649925268, 1.0),
        ),
        ({"competition": 0.0}, 13.93038074, 2.114707214, 2.114707214, 4.248010124, 4.519730764, 1.0),
        (
            {"running_penalty": 0.05, "terminal_penalty": 1.0, "min_half_spread": 0.0, "max_half_spread": 4.0},
            *(39.763633, 2.1549019, 2.1549019, 3.162426, 1.089517, 100.0),
        ),
    ],
)
def test_the_published_reference_values_hold_to_all_their_digits(changes, value, ask, bid, middle, last, digits):
    found = solve_quietly(make(**changes), rtol=1e-9 if digits == 1.0 else 1e-8)
    variance = found.inventory_variance
    # The bounded value is printed cut off, not rounded: 39.763633 stands for 39.76363358.
    assert found.value[0, 10] == pytest.approx(value, abs=5.1e-9 if digits == 1.0 else 1e-6)
    assert found.mean_field.ask[0] == pytest.approx(ask, abs=5.1e-10 * digits)
    assert found.mean_field.bid[0] == pytest.approx(bid, abs=5.1e-10 * digits)
    assert at(found, variance, 5.0) == pytest.approx(middle, abs=5.1e-9 * digits)
    assert variance[-1] == pytest.approx(last, abs=5.1e-9 * digits)


@pytest.mark.parametrize(
    ("parameters", "value", "start", "middle", "variance", "tolerances"),
    [
        ((10, 1.5, 0.05, 0.1, 1, 10), 13.32297242, 0.69628551, 0.70091379, 2.56662207, (5e-9, 5e-9)),
        ((1, 1.5, 5, 0, 1, 3), 1.25039182, 1.41597652, 1.37185849, 0.36071007, (5e-9, 5e-9)),
        ((5, 10, 0.5, 0.2, 1, 8), 0.959479, 0.14726077, 0.14438143, 0.15631, (5e-5, 4e-5)),
        ((10, 1.5, 1, 1, 1, 5), 13.1632, 0.79282085, 0.78974935, 0.28175, (5e-4, 1e-5)),
    ],
)
def test_reference_values_from_a_flat_start(parameters, value, start, middle, variance, tolerances):
    game = point_start(*parameters)
    found = solve_quietly(game)
    assert found.value[0, game.max_inventory] == pytest.approx(value, abs=tolerances[0])
    assert found.mean_field.ask[0] == pytest.approx(start, abs=5.1e-9)
    assert at(found, found.mean_field.ask, 0.5) == pytest.approx(middle, abs=5.1e-9)
    assert found.inventory_variance[-1] == pytest.approx(variance, abs=tolerances[1])


@pytest.mark.parametrize(
    ("parameters", "horizon", "spread", "gain", "variance"),
    [
        ((10, 1.5, 0.05, 10), 40.0, 0.6952773855, 13.3311134777, 5.82251969),
        ((1, 1.5, 5, 3), 20.0, 1.3721559415, 1.2205326237, 0.17329372),
    ],
)
def test_a_long_game_reaches_the_ergodic_reference_in_its_middle(parameters, horizon, spread, gain, variance):
    arrival, k, eta, size = parameters
    found = solve_quietly(point_start(arrival, k, eta, 0.0, horizon, size), rtol=1e-10)
    half = horizon / 2
    assert at(found, found.mean_field.ask, half) == pytest.approx(spread, abs=5e-10)
    assert at(found, found.inventory_variance, half) == pytest.approx(variance, abs=5e-8)
    slope = (at(found, found.value[:, size], half) - at(found, found.value[:, size], half + 1.0)) / 1.0
    assert slope == pytest.approx(gain, rel=2e-9)


def test_without_risk_everybody_quotes_one_over_k_and_inventories_are_skellam():
    game = point_start(1.0, 1.0, 0.0, 0.0, 4.0, 30)
    found = solve_mfg(game)
    np.testing.assert_allclose(found.mean_field.ask, 1.0, atol=1e-12)
    np.testing.assert_allclose(found.value[:, 30], 2 * (4.0 - found.times), atol=1e-11)
    skellam = ive(np.abs(found.states), 2 * 4.0)
    np.testing.assert_allclose(found.density[-1], skellam, atol=1e-13)
    np.testing.assert_allclose(found.mean_field.ask_fill_rate, 1.0, atol=1e-12)


def best_quotes(game, value):
    k, low, high = game.fill_decay, game.min_half_spread, game.max_half_spread
    ask, bid = np.full(value.size, np.nan), np.full(value.size, np.nan)
    ask[1:] = np.clip(1 / k - value[:-1] + value[1:], low, high)
    bid[:-1] = np.clip(1 / k - value[1:] + value[:-1], low, high)
    return ask, bid


def reply_by_scipy(game, ask_mean, bid_mean):
    """(value, law) as functions of time: both equations by an explicit method of order 8 for given mean quotes."""
    states, k, c = game.states, game.fill_decay, game.competition
    options = {"rtol": 1e-11, "atol": 1e-13, "method": "DOP853", "dense_output": True}

    def rates(t, value):
        ask, bid = best_quotes(game, value)
        down = np.nan_to_num(game.ask_arrival * np.exp(-k * (ask - c * ask_mean(t))))
        up = np.nan_to_num(game.bid_arrival * np.exp(-k * (bid - c * bid_mean(t))))
        return np.nan_to_num(ask), np.nan_to_num(bid), down, up

    def backward(s, value):
        ask, bid, down, up = rates(game.horizon - s, value)
        lower, upper = np.roll(value, 1), np.roll(value, -1)
        return down * (ask + lower - value) + up * (bid + upper - value) - game.running_penalty * states**2

    values = solve_ivp(backward, (0, game.horizon), -game.terminal_penalty * states**2, **options).sol

    def forward(t, law):
        _, _, down, up = rates(t, values(game.horizon - t))
        return np.roll(law * down, -1) + np.roll(law * up, 1) - law * (down + up)

    laws = solve_ivp(forward, (0, game.horizon), game.initial_density, **options).sol
    return (lambda t: values(game.horizon - t)), laws


def equilibrium_by_scipy(game, nodes=41, sweeps=60):
    """(V(0), rho(T), Chebyshev times, mean quotes there) by plain substitution, the paths as Chebyshev polynomials."""
    grid = 0.5 * game.horizon * (1 - np.cos(np.pi * np.arange(nodes) / (nodes - 1)))
    path = np.full((2, nodes), 1 / game.fill_decay)
    fit = np.polynomial.chebyshev.Chebyshev.fit
    for _ in range(sweeps):
        value, law = reply_by_scipy(game, *(fit(grid, side, nodes - 1, domain=[0, game.horizon]) for side in path))
        image = np.empty_like(path)
        for j, t in enumerate(grid):
            ask, bid = best_quotes(game, value(t))
            weights = law(t)
            image[0, j] = weights[1:] @ ask[1:] / weights[1:].sum()
            image[1, j] = weights[:-1] @ bid[:-1] / weights[:-1].sum()
        step = np.abs(image - path).max()
        path = image
        if step < 1e-11:
            break
    return value(0.0), law(game.horizon), grid, path


@pytest.mark.parametrize("competition", [1.0, 0.5])
def test_coupled_equations_by_scipy_give_the_same_equilibrium(competition):
    changes = {name: getattr(SMALL, name) for name in BASE}
    game = MarketMakingGame(**{**changes, "competition": competition})
    value, law, grid, path = equilibrium_by_scipy(game)
    found = solve_quietly(game)
    np.testing.assert_allclose(found.value[0], value, atol=5e-9)
    np.testing.assert_allclose(found.density[-1], law, atol=5e-9)
    for side, exact in zip((found.mean_field.ask, found.mean_field.bid), path, strict=True):
        np.testing.assert_allclose(side[[0, -1]], exact[[0, -1]], atol=5e-9)
        np.testing.assert_allclose(interpolate_local(found.times, side, grid), exact, atol=1e-7)


def test_far_bounds_change_nothing_though_another_scheme_solves_them():
    free = solve_quietly(SMALL)
    changes = {name: getattr(SMALL, name) for name in BASE}
    bounded = solve_quietly(MarketMakingGame(**changes, min_half_spread=-8.0, max_half_spread=9.0))
    np.testing.assert_allclose(bounded.value[0], free.value[0], atol=1e-8)
    np.testing.assert_allclose(bounded.density[-1], free.density[-1], atol=1e-8)


def test_bounded_quotes_stay_within_the_bounds_and_enter_the_value():
    changes = {name: getattr(SMALL, name) for name in BASE}
    game = MarketMakingGame(**{**changes, "competition": 0.0}, **BOUNDS)
    found = solve_quietly(game)
    value, law, _, _ = equilibrium_by_scipy(game, sweeps=1)
    np.testing.assert_allclose(found.value[0], value, atol=1e-8)
    np.testing.assert_allclose(found.density[-1], law, atol=1e-8)
    quotes = np.concatenate([found.policy.ask[:, 1:], found.policy.bid[:, :-1]])
    assert quotes.min() == 0.6
    assert quotes.max() == 2.0
    between = np.stack(found.policy.quotes(np.linspace(0, 2, 77)[:, None], np.arange(-2, 3)))
    assert between.min() >= 0.6
    assert between.max() <= 2.0
    assert np.all(found.value[0] < solve_quietly(MarketMakingGame(**{**changes, "competition": 0.0})).value[0])


def test_one_panel_of_the_linear_march_is_the_matrix_exponential():
    """With a constant crowd the two exponentials of each half make expm(h M), and the law is its h-transform."""
    times = bisect(np.array([0.0, 0.7]))
    path = np.array([[1.1] * 3, [0.8] * 3])
    value, law, _ = reply(SMALL, times, path)
    k, states = SMALL.fill_decay, SMALL.states
    down = SMALL.ask_arrival / math.e * math.exp(k * 1.1)
    up = SMALL.bid_arrival / math.e * math.exp(k * 0.8)
    matrix = np.diag(-k * SMALL.running_penalty * states**2) + down * np.eye(7, k=-1) + up * np.eye(7, k=1)
    last = np.exp(k * value[-1])
    first = expm(0.7 * matrix) @ last
    np.testing.assert_allclose(value[0], np.log(first) / k, rtol=1e-12)
    transition = expm(0.7 * matrix) * last / first[:, None]
    np.testing.assert_allclose(law[-1], transition.T @ SMALL.initial_density, rtol=1e-12)


@pytest.mark.parametrize("bounds", [{}, {"min_half_spread": -8.0, "max_half_spread": 9.0}])
def test_order_of_the_schemes_is_four_in_smooth_games(bounds):
    changes = {name: getattr(SMALL, name) for name in BASE}
    game = MarketMakingGame(**changes, **bounds)

    def means(t):
        return np.stack([1.2 + 0.3 * np.sin(2 * t), 1.0 + 0.2 * np.cos(3 * t)])

    def solve(panels):
        times = bisect(np.linspace(0, 2, panels + 1))
        value, law, _ = reply(game, times, means(times))
        return np.concatenate([value[0], law[-1]])

    exact = solve(512)
    errors = [np.abs(solve(panels) - exact).max() for panels in (16, 32, 64)]
    slopes = np.log2(np.array(errors[:-1]) / errors[1:])
    assert np.all(slopes > 3.6), (errors, slopes)


def test_a_looser_solve_is_within_its_own_error_estimate():
    exact = solve_quietly(make(**{"ask_arrival": 1.2}), rtol=1e-12)
    for rtol in (1e-4, 1e-6, 1e-8):
        found = solve_quietly(make(**{"ask_arrival": 1.2}), rtol=rtol)
        error = np.abs(found.value[0] - exact.value[0]).max()
        allowed = rtol * (2.0 + np.abs(exact.value[0]).max())
        assert error <= allowed
        assert found.certificate.discretisation_error <= rtol + 1e-12
        assert found.certificate.residual <= found.certificate.tolerance


@pytest.mark.parametrize(
    "changes",
    [
        # Many fills in a crowd whose mean quote is steep at the close: a small residual moves the value by much.
        {"ask_arrival": 8.0, "bid_arrival": 6.0, "terminal_penalty": 1.5, "max_inventory": 6, "horizon": 6.0},
        {"ask_arrival": 3.0, "terminal_penalty": 0.6, "max_inventory": 5, "initial_std": 0.0, "competition": 0.9},
        {"terminal_penalty": 1.0, "min_half_spread": 1.0, "max_half_spread": 3.0, "ask_arrival": 1.5},
    ],
)
@pytest.mark.parametrize("rtol", [1e-4, 1e-6])
def test_the_error_claimed_is_not_below_the_true_one(changes, rtol):
    exact = solve_quietly(make(**changes), rtol=1e-10)
    found = solve_quietly(make(**changes), rtol=rtol, atol=0.0)
    claim = found.certificate.discretisation_error
    assert claim <= rtol
    error = np.abs(found.value[0] - exact.value[0]) / (2.0 + np.abs(exact.value[0]))
    assert error.max() <= claim
    assert np.abs(found.density[-1] - exact.density[-1]).max() <= claim
    for loose, tight in zip(
        found.policy.quotes(0.0, found.states), exact.policy.quotes(0.0, found.states), strict=True
    ):
        assert np.nanmax(np.abs(loose - tight) / (2.0 + np.abs(tight))) <= claim


def test_times_at_which_a_quote_meets_a_bound_are_on_the_grid():
    """The published bounded case: with them 1e-9 takes fewer steps than order 2 would."""
    found = solve_quietly(
        make(running_penalty=0.05, terminal_penalty=1.0, min_half_spread=0.0, max_half_spread=4.0), rtol=1e-9
    )
    met = bound_times(found.game, found)
    assert met.size == 6
    distance = np.abs(met[:, None] - found.times[None, :]).min(axis=1)
    # A cut is put where the coarser grid sees the quote meet its bound; five of six had to be cut more than once.
    assert np.sort(distance)[4] < 1e-6
    assert distance.max() < 1e-4
    assert found.times.size < 5000


def test_bounds_far_above_one_over_k_are_solved_as_fills_follow_the_crowd():
    found = solve_quietly(make(min_half_spread=1e6, terminal_penalty=0.0, running_penalty=0.0), rtol=1e-8)
    np.testing.assert_allclose(found.mean_field.ask, 1e6)
    # Everybody quotes the bound and is filled at the rate A; the edges of the grid alone differ.
    np.testing.assert_allclose(found.mean_field.ask_fill_rate, 1.0 - found.density[:, 0], rtol=1e-9)


@pytest.mark.parametrize("changes", [{"ask_arrival": 1000.0}, {"terminal_penalty": 1e6}, {"terminal_penalty": 1e300}])
def test_games_out_of_range_are_refused_without_a_floating_point_warning(changes):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(SolveError, match=r"raise max_steps|no customer stays away"):
            solve_mfg(make(**changes), method=Anderson(max_steps=2000))


def test_value_is_highest_when_flat_and_a_long_maker_near_the_close_asks_less():
    found = solve_mfg(make())
    assert np.all(found.value.argmax(axis=1) == 10)
    np.testing.assert_allclose(found.net_skew, 0.0, atol=1e-12)
    np.testing.assert_allclose(found.full_spread, 2 * found.mean_field.ask, atol=1e-12)
    np.testing.assert_allclose(found.marginal_cost, 0.0, atol=1e-11)
    late = found.policy.ask[-1]
    assert late[15] < 2.0 < late[5]
    assert np.isnan(found.policy.ask[:, 0]).all()
    assert np.isnan(found.policy.bid[:, -1]).all()
    mean = np.sum(found.density[0, 1:] * found.policy.ask[0, 1:]) / found.density[0, 1:].sum()
    # Twenty terms summed in another order.
    assert found.mean_field.ask[0] == pytest.approx(mean, rel=20 * np.finfo(float).eps)


def test_reported_statistics_are_those_of_the_density():
    found = solve_quietly(make(ask_arrival=1.2, bid_arrival=0.8, initial_mean=1.0))
    mean = found.density @ found.states
    np.testing.assert_allclose(found.inventory_variance, found.density @ found.states**2 - mean**2, rtol=1e-10)
    np.testing.assert_allclose(found.derisk_probability(1.5), found.density[:, 9:12].sum(axis=1))
    np.testing.assert_allclose(found.derisk_probability(1.0), found.density[:, 10])
    np.testing.assert_allclose(found.edge_mass, found.density[:, 0] + found.density[:, 20])
    rate = found.mean_field.bid_fill_rate - found.mean_field.ask_fill_rate
    drift = np.array([np.trapezoid(rate, found.times)])
    np.testing.assert_allclose(drift, mean[-1] - mean[0], rtol=2e-4)
    with pytest.raises(ValueError, match="eps must be finite and positive"):
        found.derisk_probability(0.0)


def test_quotes_between_times_and_inventories():
    found = solve_mfg(make(), rtol=1e-6)
    finer = solve_mfg(make(), rtol=1e-10)
    t = np.linspace(0, 10, 53)
    for mine, exact in zip(found.policy.quotes(t, 3), finer.policy.quotes(t, 3), strict=True):
        np.testing.assert_allclose(mine, exact, atol=1e-4)
    bid, ask = finer.policy.quotes(finer.times[7], np.array([-10, 0, 10]))
    np.testing.assert_array_equal(bid, finer.policy.bid[7, [0, 10, 20]])
    np.testing.assert_array_equal(ask, finer.policy.ask[7, [0, 10, 20]])
    half = finer.policy.quotes(finer.times[7], 0.5)[1]
    assert float(half) == pytest.approx(0.5 * (finer.policy.ask[7, 10] + finer.policy.ask[7, 11]))
    with pytest.raises(ValueError, match="inventory must be in"):
        found.policy.quotes(0.0, 11)
    with pytest.raises(ValueError, match="t must be in"):
        found.policy.quotes(10.5, 0)


def gain_from_leaving(game, found):
    """Best-reply value less the returned policy's value in the returned crowd, by scipy."""
    states, k, c = game.states, game.fill_decay, game.competition

    def slopes(s, y, best):
        t = min(max(game.horizon - s, 0.0), game.horizon)
        means = [at(found, side, t) for side in (found.mean_field.ask, found.mean_field.bid)]
        gaps = (np.roll(y, 1) - y, np.roll(y, -1) - y)
        if best:
            quotes = [np.clip(1 / k - gap, game.min_half_spread, game.max_half_spread) for gap in gaps]
        else:
            bid, ask = found.policy.quotes(t, states)
            quotes = [ask, bid]
        arrivals = (game.ask_arrival, game.bid_arrival)
        gains = [
            arrival * np.exp(-k * (quote - c * mean)) * (quote + gap)
            for arrival, quote, mean, gap in zip(arrivals, quotes, means, gaps, strict=True)
        ]
        gains[0][0] = gains[1][-1] = 0.0
        return gains[0] + gains[1] - game.running_penalty * states**2

    ends = [
        solve_ivp(
            slopes,
            (0, game.horizon),
            -game.terminal_penalty * states**2,
            args=(best,),
            rtol=1e-9,
            atol=1e-11,
            max_step=game.horizon / 200,
        ).y[:, -1]
        for best in (True, False)
    ]
    return game.initial_density @ (ends[0] - ends[1])


@pytest.mark.parametrize("bounds", [{}, BOUNDS])
def test_a_stopped_solve_reports_residual_and_exploitability_honestly(bounds):
    changes = {name: getattr(SMALL, name) for name in BASE} | {"horizon": 1.0}
    game = MarketMakingGame(**changes, **bounds)
    found = solve_quietly(game, method=Picard(max_sweeps=1), throw=False)
    assert found.certificate.status is Status.SWEEPS
    assert not found.certificate.converged
    assert found.certificate.residual > 1e-2
    assert found.certificate.exploitability > 1e-6
    assert found.certificate.exploitability == pytest.approx(gain_from_leaving(game, found), rel=2e-2)


def test_damping_does_not_hide_the_residual():
    found = solve_quietly(SMALL, method=Picard(damping=1e-9, max_sweeps=30), throw=False)
    assert found.certificate.residual > 1e-2
    assert not found.certificate.converged


def test_throw_raises_with_residual_tolerance_and_what_to_change():
    with pytest.raises(SolveError, match=r"residual .* against the tolerance .* raise max_sweeps") as caught:
        solve_quietly(SMALL, method=Picard(max_sweeps=1))
    assert caught.value.residual > caught.value.tolerance > 0
    with pytest.raises(SolveError, match="raise max_steps"):
        solve_quietly(SMALL, rtol=1e-12, method=Anderson(max_steps=80))


def test_picard_and_anderson_agree():
    plain, mixed = (solve_quietly(SMALL, method=method) for method in (Picard(), Anderson()))
    np.testing.assert_allclose(plain.value[0], mixed.value[0], atol=1e-8)


@pytest.mark.parametrize(
    "changes",
    [
        {"terminal_penalty": 10.0, "running_penalty": 0.01},
        {"max_inventory": 30, "ask_arrival": 140.0, "bid_arrival": 140.0, "fill_decay": 1.5, "terminal_penalty": 0.0},
        {"horizon": 1000.0},
    ],
)
def test_steep_wide_and_long_games_are_solved(changes):
    found = solve_quietly(make(**changes), rtol=1e-6)
    assert found.certificate.converged
    assert np.isfinite(found.value).all()
    assert found.density.min() >= 0
    assert found.certificate.mass_error < 1e-10


@pytest.mark.parametrize(
    "changes",
    [
        {"terminal_penalty": 100.0, "fill_decay": 2.0, "max_inventory": 5},
        {"terminal_penalty": 10.0, "max_half_spread": 4.0, "horizon": 1.0},
    ],
)
def test_games_too_steep_for_floating_point_are_refused(changes):
    with pytest.raises(SolveError, match=r"floating point.* fill_decay \* terminal_penalty \* max_inventory"):
        solve_quietly(make(**changes), rtol=1e-6)


def test_a_grid_that_is_too_small_warns_with_the_remedy():
    with pytest.warns(EdgeMassWarning, match="raise max_inventory above 2"):
        solve_mfg(make(max_inventory=2))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        solve_mfg(make())


def test_compiled_kernels_equal_plain_python():
    times = bisect(np.linspace(0, 1, 4))
    nodes = times.size
    path = np.stack([1.0 + 0.1 * times, 1.2 - 0.1 * times])
    last = -0.3 * SMALL.states**2
    arrivals = np.log([0.5, 0.4])
    answers = []
    for plain in (False, True):
        found = []
        with plain_python(linear_kernels, kernels) if plain else contextlib.nullcontext():
            # A range of log W that one scale serves, and one that needs an exponent per state.
            for steepness, growth in ((1.0, 1.2), (250.0, 1.0)):
                value, law = np.empty((nodes, 7)), np.empty((nodes, 7))
                value[-1], law[0] = steepness * last, SMALL.initial_density
                assert linear_kernels.march_linear(
                    times, path, arrivals, 0.8, growth, 0.05, False, value, law, value, law
                )
                found += [value, law]
            means = np.empty((4, nodes))
            kernels.quote_means(found[0], found[1], 1.3, 0.0, means[0], means[1])
            kernels.quote_means(found[0], found[1], 1.3, 0.8, means[2], means[3])
            quotes = np.hstack([np.full((nodes, 7), 1.4), np.full((nodes, 7), 1.1)])
            levels, gaps = 0.8 * (path[:, :, None] - 1.3), 0.8 * np.diff(found[0])
            ideal = np.exp(np.hstack([levels[0] - gaps, levels[1] + gaps]))
            summed = kernels.sum_regret(
                times, found[0], quotes, ideal, path, np.exp(arrivals), 0.8, 1.0, 1.3, 0.1, SMALL.initial_density
            )
            fast = np.full(7, 1 / 7)
            kernels.move_fast_law(fast, np.arange(7.0), np.arange(7.0)[::-1].copy(), np.empty(7))
        answers.append(np.concatenate([x.ravel() for x in (*found, means, np.array([summed]), fast)]))
    np.testing.assert_allclose(answers[0], answers[1], rtol=1e-11, atol=1e-14)


@contextlib.contextmanager
def plain_python(*modules):
    """The kernels of these modules as the Python they are written in, calls between them included."""
    with pytest.MonkeyPatch.context() as patch:
        for module in modules:
            for name, kernel in vars(module).copy().items():
                if hasattr(kernel, "py_func"):
                    patch.setattr(module, name, kernel.py_func)
        yield


@pytest.mark.parametrize(
    ("name", "value", "rule"),
    [
        ("ask_arrival", 0.0, "finite and positive"),
        ("bid_arrival", math.nan, "a real number"),
        ("fill_decay", -1.0, "finite and positive"),
        ("running_penalty", math.inf, "finite and not negative"),
        ("terminal_penalty", -0.1, "finite and not negative"),
        ("horizon", 0.0, "finite and positive"),
        ("max_inventory", 2.5, "an integer of at least 1"),
        ("max_inventory", 0, "an integer of at least 1"),
        ("max_inventory", 20_000, "at most 10000"),
        ("competition", -0.1, "finite and not negative"),
        ("competition", 1.5, r"in \[0, 1\]"),
        ("min_half_spread", math.nan, "a real number"),
        ("min_half_spread", 5.0, "below inf and not above max_half_spread 4.0"),
        ("initial_std", -1.0, "finite and not negative"),
        ("initial_mean", 11.0, "within max_inventory 10 either side of 0"),
    ],
)
def test_nonsense_parameters_are_named_with_the_rule_and_the_value(name, value, rule):
    with pytest.raises(ValueError, match=rf"^{name} must be {rule}; was {value!r}$"):
        make(**{"max_half_spread": 4.0, name: value})


def test_a_point_start_must_be_on_the_grid_and_shooting_is_for_execution():
    with pytest.raises(ValueError, match=r"initial_mean must be an integer when initial_std is 0; was 0\.5"):
        make(initial_mean=0.5, initial_std=0.0)
    with pytest.raises(TypeError, match="method must be an Anderson, Picard,"):
        solve_mfg(make(), method=Shooting())
    with pytest.raises(TypeError, match=r"method must be an Anderson, Picard, .* was 'anderson'"):
        solve_mfg(make(), method="anderson")
    with pytest.raises(ValueError, match=r"horizon must be a real number below 1\.8e308; was a larger integer"):
        make(horizon=10**400)
    with pytest.raises(TypeError, match="game must be a"):
        solve_mfg("game")
