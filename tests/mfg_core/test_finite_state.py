"""The generic solver against dense exponentials, scipy's integrators, the exact linear path and a two-state game."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import solve_bvp, solve_ivp
from scipy.linalg import expm

from mfg_core import (
    Anderson,
    EdgeMassWarning,
    EntryExitGame,
    FiniteStateGame,
    JointGame,
    KinkedGame,
    MarketMakingGame,
    Picard,
    RiskSensitiveGame,
    SolveError,
    Status,
    solve_mfg,
)
from mfg_core.family import finite_kernels
from mfg_core.family.finite_reply import (
    best_play,
    best_reply,
    build_network,
    density_of,
    first_value,
    set_up,
    value_of,
    weigh,
)
from mfg_core.family.finite_solver import solve_finite_state
from mfg_core.family.time_grid import bisect, crossing_times, half_way, interpolate_rows, interpolate_smooth
from mfg_core.market.competition import OutsideOption, Share
from mfg_core.market.intensity_shapes import Logistic, Power
from mfg_core.market.maker_types import RiskAverseMixedMarketMakingGame
from mfg_core.market.market_family import as_family
from mfg_core.market.regimes import RiskAverseRegimeSwitchingGame

BASE = MarketMakingGame(
    ask_arrival=1.0,
    bid_arrival=1.0,
    fill_decay=0.5,
    running_penalty=0.01,
    terminal_penalty=0.1,
    horizon=10.0,
    max_inventory=10,
    initial_std=2.0,
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


@dataclass(frozen=True)
class Commuters:
    """Two roads: a driver changes road at a chosen rate u, which costs u^2/2; a road costs its share of the drivers.

    The other state's value less this one's, if positive, is the best rate.
    """

    horizon: float = 2.0
    crowding: float = 1.5
    initial_density: np.ndarray = field(default_factory=lambda: np.array([0.9, 0.1]))
    terminal_value: np.ndarray = field(default_factory=lambda: np.array([0.0, -0.2]))
    sources: np.ndarray = field(default_factory=lambda: np.array([0, 1]))
    targets: np.ndarray = field(default_factory=lambda: np.array([1, 0]))
    value_unit: float = 1.0
    field_unit: float = 1.0
    first_field: np.ndarray = field(default_factory=lambda: np.array([0.5]))

    def control(self, t, value, field):
        return np.maximum(value[:, ::-1] - value, 0.0)

    def rates(self, t, control, field):
        return control

    def reward(self, t, control, field):
        return -self.crowding * np.concatenate([field, 1.0 - field], axis=1) - 0.5 * control**2

    def field(self, t, density, control):
        return density[:, :1]

    def switches(self, t, value, field):
        return value[:, 1:] - value[:, :1]


def solve_quietly(game, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", EdgeMassWarning)
        return solve_mfg(game, **options)


def test_a_game_written_by_a_user_agrees_with_a_boundary_value_solver():
    game = Commuters()
    assert isinstance(game, FiniteStateGame)
    assert isinstance(game, KinkedGame)
    found = solve_mfg(game, rtol=1e-10)

    # With g = V_1 - V_0 and m the share on road 0:  g' = c (1 - 2 m) + g|g|/2,  m' = (1 - m) (-g)^+ - m g^+.
    def slopes(t, y):
        g, m = y
        return np.stack(
            [
                game.crowding * (1.0 - 2.0 * m) + 0.5 * g * np.abs(g),
                (1.0 - m) * np.maximum(-g, 0.0) - m * np.maximum(g, 0.0),
            ]
        )

    t = np.linspace(0.0, game.horizon, 41)
    second = solve_bvp(
        slopes,
        lambda a, b: np.array([a[1] - 0.9, b[0] + 0.2]),
        t,
        np.stack([0 * t + 0.3, 0 * t + 0.6]),
        tol=1e-9,
        max_nodes=20_000,
    )
    assert second.success
    # `tol` bounds scipy's relative residual; 1e-7 leaves room for what the problem makes of it.
    at = np.linspace(0.0, game.horizon, 17)
    gap = interpolate_rows(found.times, found.value[:, 1] - found.value[:, 0], at)
    np.testing.assert_allclose(gap, second.sol(at)[0], atol=1e-7)
    np.testing.assert_allclose(
        interpolate_rows(found.times, found.density[:, 0].copy(), at), second.sol(at)[1], atol=1e-7
    )
    # The gap changes sign: there the control has a kink, and the grid a node.
    assert gap[0] > 0 > gap[-1]
    kink = crossing_times(found.times, game.switches(found.times, found.value, found.mean_field))
    assert kink.size == 1
    assert np.abs(found.times - kink[0]).min() < 1e-5
    assert found.certificate.converged
    assert 0.0 <= found.certificate.exploitability < 1e-12
    np.testing.assert_allclose(found.control_at(found.times), found.control, atol=1e-15)


def random_network(rng, n):
    """All pairs of states with random rates on a grid, and rewards."""
    sources, targets = np.nonzero(~np.eye(n, dtype=bool))
    shuffle = rng.permutation(sources.size)
    return sources[shuffle], targets[shuffle]


@dataclass(frozen=True)
class Given:
    """A game without choice: rates and rewards are polynomials in time."""

    sources: np.ndarray
    targets: np.ndarray
    rate: np.ndarray
    gain: np.ndarray
    initial_density: np.ndarray
    terminal_value: np.ndarray
    horizon: float = 1.0
    value_unit: float = 1.0
    field_unit: float = 1.0
    first_field: np.ndarray = field(default_factory=lambda: np.zeros(1))

    def control(self, t, value, field):
        return np.zeros((t.size, 1))

    def rates(self, t, control, field):
        return self.rate[0] + np.sin(3.0 * t)[:, None] ** 2 * self.rate[1]

    def reward(self, t, control, field):
        return self.gain[0] + np.cos(2.0 * t)[:, None] * self.gain[1]

    def field(self, t, density, control):
        return np.zeros((t.size, 1))


def given_game(n=5, seed=1, speed=1.0):
    rng = np.random.default_rng(seed)
    sources, targets = random_network(rng, n)
    law = rng.random(n)
    return Given(
        sources,
        targets,
        speed * rng.random((2, sources.size)),
        rng.normal(size=(2, n)),
        law / law.sum(),
        rng.normal(size=n),
    )


def generator(game, rates):
    dense = np.zeros((game.initial_density.size,) * 2)
    np.add.at(dense, (game.sources, game.targets), rates)
    np.fill_diagonal(dense, -dense.sum(axis=1))
    return dense


def marched(game, panels):
    """(V, density) of a game without choice on equal panels."""
    setting = set_up(game, 1e-9, 1e-12)
    times = bisect(np.linspace(0.0, game.horizon, panels + 1))
    still = np.zeros((times.size, game.initial_density.size))
    at = best_play(setting, times, still, still, np.zeros((1, times.size)))
    value, _ = value_of(setting.network, times, at, setting.terminal_value)
    return value, density_of(setting.network, times, at, setting.initial_density)


@pytest.mark.parametrize("speed", [1e-6, 1.0, 40.0, 3000.0])
def test_one_step_with_constant_rates_is_the_dense_exponential(speed):
    game = given_game(speed=speed)
    game = replace(game, rate=game.rate * np.array([[1.0], [0.0]]), gain=game.gain * np.array([[1.0], [0.0]]))
    value, density = marched(game, 1)
    dense = generator(game, game.rate[0])
    # d/ds (V, 1) = [[G, r], [0, 0]] (V, 1), s the time to the end.
    joined = np.zeros((6, 6))
    joined[:5, :5], joined[:5, 5] = dense, game.gain[0]
    # The dense exponential squares: its rounding grows with the norm.
    tolerance = 1e-14 * max(speed, 10.0)
    expected = expm(joined) @ np.append(game.terminal_value, 1.0)
    np.testing.assert_allclose(value[0], expected[:5], atol=tolerance)
    np.testing.assert_allclose(density[-1], game.initial_density @ expm(dense), atol=tolerance)


def test_marches_are_of_order_four():
    game = given_game(speed=2.0)

    def backward(s, y):
        t = np.array([game.horizon - s])
        return generator(game, game.rates(t, None, None)[0]) @ y + game.reward(t, None, None)[0]

    def forward(t, y):
        return y @ generator(game, game.rates(np.array([t]), None, None)[0])

    options = {"method": "DOP853", "rtol": 1e-13, "atol": 1e-14}
    value = solve_ivp(backward, (0, 1), game.terminal_value, **options).y[:, -1]
    law = solve_ivp(forward, (0, 1), game.initial_density, **options).y[:, -1]
    errors = []
    for panels in (2, 4, 8, 16):
        found, density = marched(game, panels)
        errors.append((np.abs(found[0] - value).max(), np.abs(density[-1] - law).max()))
    slopes = np.log2(np.array(errors)[:-1] / np.array(errors)[1:])
    # Order 4 is a factor of 16; half an order either side on grids this coarse.
    assert np.all(np.abs(slopes[1:] - 4.0) < 0.5)


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 10**6), n=st.integers(2, 6), panels=st.integers(1, 4), speed=st.floats(0.0, 50.0))
def test_the_marches_are_adjoint_and_keep_mass_and_sign(seed, n, panels, speed):
    game = given_game(n, seed, speed)
    game = replace(game, gain=0.0 * game.gain)
    value, density = marched(game, panels)
    # <rho, V> is the mean of V(T): the same at every node. Rounding of up to a few hundred terms a step.
    products = np.sum(density * value, axis=1)
    np.testing.assert_allclose(products, products[0], rtol=0, atol=1e-12)
    assert density.min() >= 0.0
    np.testing.assert_allclose(density.sum(axis=1), 1.0, rtol=0, atol=1e-13)
    assert value.max() <= game.terminal_value.max() + 1e-13
    assert value.min() >= game.terminal_value.min() - 1e-13


def test_a_rate_below_the_normal_numbers_moves_nobody():
    game = given_game(2, speed=1e-309)
    value, density = marched(replace(game, gain=0.0 * game.gain), 1)
    np.testing.assert_array_equal(value, np.tile(game.terminal_value, (3, 1)))
    np.testing.assert_array_equal(density, np.tile(game.initial_density, (3, 1)))


def test_rates_that_vanish_within_a_step_do_not_turn_negative():
    setting = set_up(given_game(2), 1e-9, 1e-12)
    rates = np.array([[0.0, 1.0], [0.0, 0.1], [1.0, 0.0]])
    weights, _ = weigh(setting.network, np.array([0.0, 1.0]), rates, np.zeros((3, 2)))
    assert weights.min() >= 0.0
    # Simpson's rule over the step whatever the split.
    simpson = (rates[0] + 4.0 * rates[1] + rates[2]) / 6.0
    np.testing.assert_allclose(weights.sum(axis=1)[0, setting.network.columns], simpson, rtol=1e-15)


def test_policy_iteration_converges_quadratically():
    market = replace(SMALL, terminal_penalty=1.0)
    family = as_family(market)
    setting = set_up(family, 1e-9, 1e-12)
    times = bisect(np.linspace(0.0, market.horizon, 33))
    path = np.full((2, times.size), 1.5)
    exact = best_reply(replace_tolerance(setting), times, path, None)[0]
    value, slopes = first_value(setting, times, path)
    errors = []
    for _ in range(4):
        errors.append(np.abs(value - exact).max())
        at = best_play(setting, times, value, slopes, path)
        value, slopes = value_of(setting.network, times, at, setting.terminal_value)
    # Newton: the error after is of the square of the error before.
    constants = np.array(errors[1:3]) / np.array(errors[:2]) ** 2
    assert errors[0] > 1e-2
    assert errors[3] < 1e-9
    assert constants.max() < 5.0


def replace_tolerance(setting):
    return replace(setting, rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"ask_arrival": 1.2, "bid_arrival": 0.8, "initial_mean": 1.0},
        {"competition": 0.0},
        {"running_penalty": 0.05, "terminal_penalty": 1.0},
        {"competition": Share(), "adverse_selection": 0.3, "maker_fee": -0.1},
        {"competition": OutsideOption(crowd_decay=0.2), "risk_aversion": 0.2},
        {"initial_mean": 10.0, "initial_std": 0.0, "horizon": 1.0},
    ],
)
def test_the_family_agrees_with_the_exact_linear_path(changes):
    game = replace(BASE, **changes)
    exact = solve_quietly(game, rtol=1e-10)
    found = solve_finite_state(as_family(game), Anderson(), 1e-8, 1e-12)
    unit = 2.0 + np.abs(exact.value[0])
    assert np.max(np.abs(found.value[0] - exact.value[0]) / unit) < 1e-8
    np.testing.assert_allclose(found.density[-1], exact.density[-1], atol=1e-8)
    if not isinstance(game.competition, Share):
        np.testing.assert_allclose(found.mean_field[0], [exact.mean_field.ask[0], exact.mean_field.bid[0]], atol=6e-8)
    assert found.certificate.converged
    assert found.certificate.mass_error < 1e-12
    assert found.density.min() >= 0.0


STEEP = replace(BASE, terminal_penalty=2.0)
"""k gamma (2Q - 1) = 19: fill rates of 1e8 at the close, for 1e-8 of a unit of time."""


@pytest.mark.parametrize("changes", [{}, {"initial_mean": 3.0, "ask_arrival": 1.2}])
def test_a_steep_close_agrees_with_the_exact_linear_path(changes):
    game = replace(STEEP, **changes)
    exact = solve_quietly(game, rtol=1e-9)
    found = solve_finite_state(as_family(game), Anderson(), 1e-7, 1e-12)
    assert found.certificate.converged
    unit = 2.0 + np.abs(exact.value[0])
    assert np.max(np.abs(found.value[0] - exact.value[0]) / unit) < 1e-7
    np.testing.assert_allclose(found.density[-1], exact.density[-1], atol=1e-7)


def test_a_steep_close_with_bounds_is_solved():
    # Bounds that no maker meets: the answer is the unbounded one's.
    free = solve_quietly(STEEP, rtol=1e-9)
    wide = solve_quietly(replace(STEEP, min_half_spread=-100.0, max_half_spread=100.0), rtol=1e-7)
    assert np.max(np.abs(wide.value[0] - free.value[0]) / (2.0 + np.abs(free.value[0]))) < 1e-7
    bounded = solve_quietly(replace(STEEP, max_half_spread=4.0), rtol=1e-6)
    assert bounded.certificate.converged
    assert np.nanmax(bounded.policy.ask) == 4.0


def best_by_search(game, worth_of_fill, mean, arrival):
    """(best quote, gain) on one side by scipy's bounded search on a fine bracket."""
    k, c, g = game.fill_decay, game.crowd_weight, game.risk_aversion
    grid = np.linspace(max(game.min_half_spread, -30.0), min(game.max_half_spread, 60.0), 20_001)

    def gain(quote):
        money = quote - game.fill_cost + worth_of_fill
        utility = -np.expm1(-g * money) / g if g > 0 else money
        return arrival * game.intensity_shape.intensity(k * (quote - c * mean)) * utility

    best = grid[np.argmax(gain(grid))]
    width = grid[1] - grid[0]
    for _ in range(3):
        grid = np.clip(np.linspace(best - width, best + width, 2001), game.min_half_spread, game.max_half_spread)
        best, width = grid[np.argmax(gain(grid))], width / 500.0
    return best, gain(best)


@pytest.mark.parametrize(
    "changes", [{"intensity_shape": Logistic()}, {"intensity_shape": Power(4.0), "risk_aversion": 0.3}]
)
@pytest.mark.parametrize("bounds", [{}, {"min_half_spread": 0.5, "max_half_spread": 3.0}])
def test_other_shapes_solve_the_equations_as_written(changes, bounds):
    """V(0) by scipy's Radau for the mean quotes found, with the best quotes by search."""
    game = replace(SMALL, max_inventory=2, horizon=1.0, adverse_selection=0.1, **changes, **bounds)
    found = solve_quietly(game, rtol=1e-8)
    means = np.stack([found.mean_field.ask, found.mean_field.bid], axis=1)

    def backward(s, value):
        t = np.array([game.horizon - s])
        mean = interpolate_rows(found.times, means, t)[0]
        out = -game.running_penalty * game.states**2
        for x in range(1, 5):
            out[x] += best_by_search(game, value[x - 1] - value[x], mean[0], game.ask_arrival)[1]
            out[x - 1] += best_by_search(game, value[x] - value[x - 1], mean[1], game.bid_arrival)[1]
        return out

    last = -game.terminal_penalty * game.states**2
    value = solve_ivp(backward, (0, 1.0), last, method="RK45", rtol=1e-5, atol=1e-7).y[:, -1]
    np.testing.assert_allclose(found.value[0], value, atol=2e-5)
    quote = best_by_search(game, found.value[0, 1] - found.value[0, 2], means[0, 0], 1.0)[0]
    assert found.policy.ask[0, 2] == pytest.approx(quote, abs=1e-6)


def test_quotes_between_nodes_keep_the_order_of_the_cubic():
    times = np.linspace(0.0, 1.0, 9)
    errors = []
    for t in (times, bisect(times)):
        values, slopes = np.sin(3.0 * t)[:, None], 3.0 * np.cos(3.0 * t)[:, None]
        middles = 0.5 * (t[1:] + t[:-1])
        np.testing.assert_allclose(
            interpolate_smooth(t, values, slopes, middles), half_way(t, values, slopes), atol=1e-15
        )
        errors.append(np.abs(half_way(t, values, slopes)[:, 0] - np.sin(3.0 * middles)).max())
    assert 14.0 < errors[0] / errors[1] < 18.0


def test_a_stopped_solve_says_so_and_its_exploitability_is_what_a_leaver_gains():
    game = as_family(SMALL)
    found = solve_mfg(game, method=Picard(max_sweeps=1), throw=False)
    assert found.certificate.status is Status.SWEEPS
    assert found.certificate.residual > 1e-2

    def slopes(s, y, best):
        t = np.array([min(max(SMALL.horizon - s, 0.0), SMALL.horizon)])
        field = interpolate_rows(found.times, found.mean_field, t)
        control = game.control(t, y[None, :], field) if best else found.control_at(t)
        rates = game.rates(t, control, field)[0]
        gain = np.bincount(game.sources, rates * (y[game.targets] - y[game.sources]), y.size)
        return game.reward(t, control, field)[0] + gain

    ends = [
        solve_ivp(slopes, (0, SMALL.horizon), game.terminal_value, args=(best,), rtol=1e-9, atol=1e-11, max_step=0.02)
        for best in (True, False)
    ]
    gain = game.initial_density @ (ends[0].y[:, -1] - ends[1].y[:, -1])
    assert gain > 1e-6
    # The policy is marched through nodes whose controls are interpolated: a few digits.
    assert found.certificate.exploitability == pytest.approx(gain, rel=1e-3)


def test_exploitability_falls_with_the_tolerance():
    gains = [
        solve_finite_state(as_family(SMALL), Anderson(), rtol, 0.0).certificate.exploitability
        for rtol in (1e-4, 1e-7, 1e-10)
    ]
    assert all(gain >= 0.0 for gain in gains)
    assert gains[0] > gains[1] > gains[2]


@settings(deadline=None, max_examples=10)
@given(
    shape=st.sampled_from([Logistic(), Logistic(-1.0), Power(3.0)]),
    competition=st.sampled_from([0.0, 0.5, Share()]),
    risk_aversion=st.sampled_from([0.0, 0.4]),
    arrival=st.floats(0.3, 2.0),
    terminal=st.floats(0.0, 0.3),
)
def test_laws_of_games_of_every_shape(shape, competition, risk_aversion, arrival, terminal):
    game = replace(
        SMALL,
        ask_arrival=arrival,
        terminal_penalty=terminal,
        horizon=1.0,
        intensity_shape=shape,
        competition=competition,
        risk_aversion=risk_aversion,
    )
    found = solve_quietly(game, rtol=1e-6)
    assert found.density.min() >= 0.0
    assert found.certificate.mass_error < 1e-12
    assert 0.0 <= found.certificate.exploitability < 1e-7
    if isinstance(competition, Share):
        # The flow of each side is its arrival, per maker who quotes it.
        np.testing.assert_allclose(found.mean_field.ask_fill_rate, arrival * (1.0 - found.density[:, 0]), rtol=1e-9)
    mirror = replace(game, ask_arrival=game.bid_arrival, bid_arrival=arrival, initial_mean=-game.initial_mean)
    swapped = solve_quietly(mirror, rtol=1e-6)
    np.testing.assert_allclose(swapped.value[0, ::-1], found.value[0], atol=4e-6 * (1 + np.abs(found.value[0]).max()))


AVERSE = replace(SMALL, risk_aversion=0.3, min_half_spread=0.2, max_half_spread=1.5)


@pytest.mark.parametrize(
    "game",
    [
        as_family(replace(SMALL, min_half_spread=0.2)),
        as_family(replace(SMALL, competition=Share(), maker_fee=0.1)),
        as_family(replace(SMALL, intensity_shape=Logistic(), competition=Share())),
        as_family(AVERSE),
        RiskAverseMixedMarketMakingGame(makers=(SMALL, AVERSE), shares=(0.4, 0.6)),
        RiskAverseRegimeSwitchingGame(
            regimes=(AVERSE, replace(AVERSE, ask_arrival=2.0)),
            switching_rates=((-1.0, 1.0), (0.5, -0.5)),
            initial_regime=(1.0, 0.0),
        ),
        EntryExitGame(market=SMALL, outside_value=2.0, exit_rate=0.3, entry_rate=0.4, sensitivity=0.5),
    ],
    ids=lambda game: type(game).__name__,
)
def test_joint_equations_are_what_the_pages_write(game):
    """-V' by `equations` against sums over states of the defining formulas, at random values, quotes and fields."""
    assert isinstance(game, JointGame)
    rng = np.random.default_rng(4)
    n, t = game.initial_density.size, np.zeros(3)
    value = rng.normal(size=(3, n))
    field = np.tile(game.first_field, (3, 1)) + 0.1 * rng.normal(size=(3, game.first_field.size))
    control = game.control(t, value, field) + 0.05
    rates, tangent, reward = game.equations(t, value, control, field)
    np.testing.assert_allclose(rates, game.rates(t, control, field), rtol=1e-14)
    if isinstance(game, RiskSensitiveGame):
        for one, other in zip(game.tangent(t, value, control, field), (tangent, reward), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-13, atol=1e-13)
        # The tangent is one: the Hamiltonian's difference quotient in any direction, control held.
        step, aim = 1e-6, rng.normal(size=(3, n))
        ends = []
        for sign in (1.0, -1.0):
            moved = value + sign * step * aim
            _, slope, left = game.equations(t, moved, control, field)
            ends.append(hamiltonian(game, moved, slope, left))
        along = hamiltonian(game, aim, tangent, np.zeros_like(reward))
        np.testing.assert_allclose((ends[0] - ends[1]) / (2.0 * step), along, rtol=1e-7, atol=1e-7)
    else:
        assert tangent is rates
        np.testing.assert_allclose(reward, game.reward(t, control, field), rtol=1e-13, atol=1e-13)


def hamiltonian(game, value, rates, reward):
    """reward + sum of rate times difference, state by state."""
    out = reward.copy()
    for j, (source, target) in enumerate(zip(game.sources, game.targets, strict=True)):
        out[:, source] += rates[:, j] * (value[:, target] - value[:, source])
    return out


def test_compiled_kernels_equal_plain_python():
    game = given_game(3)
    setting = set_up(game, 1e-9, 1e-12)
    net, times = setting.network, np.array([0.0, 0.2, 0.4])
    t = bisect(times)
    rates, reward = game.rates(t, None, None), game.reward(t, None, None)
    answers, far = [], (net.sources[net.far], net.targets[net.far])
    assert 0 < net.far.size < net.sources.size
    for version in (lambda kernel: kernel, lambda kernel: kernel.py_func):
        weights, rewards = np.empty((2, 2, 6 + net.far.size)), np.empty((2, 2, 3))
        assert version(finite_kernels.weigh_steps)(times, rates, reward, net.columns, weights, rewards) == -1
        value, density, slopes = np.empty((3, 3)), np.empty((3, 3)), np.empty((3, 3))
        value[-1], density[0] = game.terminal_value, game.initial_density
        assert version(finite_kernels.march_value)(*far, weights, rewards, value, value) == -1
        assert version(finite_kernels.march_density)(*far, weights, density, density) == -1
        version(finite_kernels.fill_slopes)(net.sources, net.targets, rates, reward, value, slopes)
        answers.append(np.concatenate([value, density, slopes]))
    np.testing.assert_allclose(answers[0], answers[1], rtol=1e-13)


def test_games_that_make_no_sense_are_named():
    game = Commuters()
    with pytest.raises(ValueError, match=r"initial_density must be \(n,\), not negative, with sum 1"):
        solve_mfg(replace(game, initial_density=np.array([0.9, 0.2])))
    with pytest.raises(ValueError, match=r"targets must be states 0\.\.1; was from 0 to 2"):
        solve_mfg(replace(game, targets=np.array([2, 0])))
    with pytest.raises(ValueError, match="targets must differ from sources; transition 1 stays"):
        build_network(replace(game, targets=np.array([1, 1])))
    with pytest.raises(ValueError, match="horizon must be finite and positive"):
        solve_mfg(replace(game, horizon=0.0))
    with pytest.raises(TypeError, match="another FiniteStateGame"):
        solve_mfg(object())


def test_a_negative_rate_and_a_game_too_fast_are_refused():
    @dataclass(frozen=True)
    class Wrong(Commuters):
        def rates(self, t, control, field):
            return control - 1.0

    with pytest.raises(SolveError, match="rates must not be negative; was -1"):
        solve_mfg(Wrong())
    with pytest.raises(SolveError, match="more than 100 time steps; raise max_steps"):
        solve_quietly(replace(STEEP, max_half_spread=4.0), method=Anderson(max_steps=100))
    assert math.isfinite(solve_quietly(replace(BASE, max_half_spread=4.0), rtol=1e-5).value[0, 0])
    # k gamma (2Q - 1) = 95: rates of 1e41 at the close, whose layer is far shorter than the rounding of its time.
    with pytest.raises(SolveError, match=r"rate is .* at time 1, too fast .* lower .* fill_decay \* terminal_penalty"):
        solve_quietly(replace(BASE, max_half_spread=4.0, terminal_penalty=10.0, horizon=1.0))


def test_a_power_shape_without_a_best_quote_is_refused_with_the_remedy():
    steep = replace(BASE, intensity_shape=Power(3.0), terminal_penalty=2.0, max_inventory=4, horizon=1.0)
    with pytest.raises(SolveError, match=r"no quote is too low .* set min_half_spread"):
        solve_quietly(steep, rtol=1e-6)
    assert solve_quietly(replace(steep, min_half_spread=0.0), rtol=1e-4).certificate.converged
