"""Exact Poisson fills against matrix exponentials, linear Bellman equations, and what the crowd's solver promised."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.integrate import solve_ivp
from scipy.linalg import expm

from backtests.intraday.poisson import simulate_poisson
from backtests.intraday.poisson_kernels import fill_rate
from backtests.intraday.poisson_mids import simulate_mids
from backtests.intraday.poisson_panels import PoissonMarket, lone_market, market_of, prepared_quotes, shape_code
from mfg_core import Logistic, MarketMakingGame, OutsideOption, Power, Share, solve_mfg
from mfg_core.library.quote_block import PreparedQuotes, TimeNodes, sample_quotes
from mfg_core.market.market_family import as_family

pytestmark = pytest.mark.filterwarnings("ignore::mfg_core.errors.EdgeMassWarning")

SMALL = MarketMakingGame(
    ask_arrival=1.2,
    bid_arrival=0.8,
    fill_decay=1.5,
    running_penalty=0.1,
    terminal_penalty=0.3,
    horizon=3.0,
    max_inventory=3,
    competition=0.7,
    initial_std=1.0,
    adverse_selection=0.05,
    maker_fee=0.02,
)
# Means are allowed 4 standard errors: one false alarm in 16,000 draws; the seeds are fixed.


def constant(ask, bid):
    def quotes(t, x):
        shape = np.broadcast_shapes(np.shape(t), np.shape(x))
        return np.full(shape, bid), np.full(shape, ask)

    return quotes


def wave(t, x):
    """Quotes that move with time and inventory, on both sides."""
    return 0.5 + 0.2 * np.sin(2.0 * t) + 0.1 * x, 0.4 + 0.15 * np.cos(3.0 * t) - 0.1 * x


def moving_crowd(t):
    return np.stack([0.6 + 0.1 * np.sin(t), 0.7 + 0.05 * t], axis=-1)


def chain(market, quoting):
    """(law at T from each first inventory (nx, nx), value at 0 (nx,)) by scipy, from the game's definition."""
    game = market.game
    n = game.states.size

    def slope(t, y):
        law, value = y[: n * n].reshape(n, n), y[n * n :]
        # Backwards for the value: its own time is T - t.
        return np.concatenate([(law @ generator(t)[0]).ravel(), backward(game.horizon - t, value)])

    def generator(t):
        bid, ask = quoting(np.array([[t]]), game.states[None, :])
        crowd = market.crowd(np.array([t]))[0]
        moves, reward = np.zeros((n, n)), -game.running_penalty * game.states**2
        for side, (quotes, arrival, step) in enumerate(((ask, game.ask_arrival, -1), (bid, game.bid_arrival, 1))):
            for row in range(n):
                if 0 <= row + step < n:
                    distance = game.fill_decay * (quotes[0, row] - game.crowd_weight * crowd[side])
                    rate = arrival * float(game.intensity_shape.intensity(np.array([distance]))[0])
                    moves[row, row + step] += rate
                    moves[row, row] -= rate
                    reward[row] += rate * (quotes[0, row] - game.fill_cost)
        return moves, reward

    def backward(t, value):
        moves, reward = generator(t)
        return reward + moves @ value

    start = np.concatenate([np.eye(n).ravel(), -game.terminal_penalty * game.states**2])
    solved = solve_ivp(slope, (0.0, game.horizon), start, rtol=1e-9, atol=1e-11).y[:, -1]
    return solved[: n * n].reshape(n, n), solved[n * n :]


@pytest.mark.parametrize("shape", [None, Logistic(0.4), Power(3.0)], ids=str)
def test_law_and_value_are_those_of_the_chain(shape):
    game = SMALL if shape is None else replace(SMALL, intensity_shape=shape)
    market = PoissonMarket(game, moving_crowd)
    law, value = chain(market, wave)
    paths = 20_000
    run = simulate_poisson(market, {"wave": wave}, paths=paths, seed=3, start=1)
    exact = law[1 + game.max_inventory]
    seen = np.bincount(run.last[:, 0] + game.max_inventory, minlength=exact.size) / paths
    assert np.all(np.abs(seen - exact) <= 4.0 * np.sqrt(exact * (1 - exact) / paths))
    for controlled in (False, True):
        gap = run.value_gap("wave", value, controlled=controlled)
        assert abs(gap.mean) <= 4.0 * gap.standard_error
    assert run.value("wave").standard_error < 0.02


def test_constant_quotes_without_a_crowd_have_the_law_of_a_matrix_exponential():
    market = lone_market(replace(SMALL, competition=1.0))
    run = simulate_poisson(market, {"flat": constant(0.5, 0.7)}, paths=20_000, seed=5, start=0)
    game = market.game
    asks, bids = 1.2 * math.exp(-1.5 * 0.5), 0.8 * math.exp(-1.5 * 0.7)
    generator = np.diag(np.full(6, asks), -1) + np.diag(np.full(6, bids), 1)
    generator -= np.diag(generator.sum(axis=1))
    exact = expm(game.horizon * generator)[game.max_inventory]
    seen = np.bincount(run.last[:, 0] + game.max_inventory, minlength=7) / 20_000
    assert np.all(np.abs(seen - exact) <= 4.0 * np.sqrt(exact * (1 - exact) / 20_000))


def test_fills_less_expected_fills_are_a_martingale():
    run = simulate_poisson(PoissonMarket(SMALL, moving_crowd), {"wave": wave}, paths=20_000, seed=8)
    surprise = run.fill_counts("wave") - run.expected_counts("wave")
    for side in range(2):
        assert abs(surprise[:, side].mean()) <= 4.0 * surprise[:, side].std() / math.sqrt(20_000)
    # Its variance is the mean of what was expected (the predictable bracket of a counting process).
    squares = surprise[:, 0] ** 2 - run.expected_counts("wave")[:, 0]
    assert abs(squares.mean()) <= 4.0 * squares.std() / math.sqrt(20_000)


def test_totals_follow_from_the_fills_by_plain_sums():
    policies = {"wave": wave, "flat": constant(0.6, 0.6)}
    run = simulate_poisson(
        PoissonMarket(SMALL, moving_crowd), policies, paths=40, seed=2, log_fills=True, times=np.linspace(0.0, 3.0, 7)
    )
    for m, (name, quoting) in enumerate((("wave", wave), ("flat", constant(0.6, 0.6)))):
        for path in range(40):
            fills = run.fills[m][run.fills[m]["path"] == path]
            x, t, earned, held = int(run.start[path]), 0.0, 0.0, 0.0
            for fill in fills:
                assert fill["inventory"] == x
                assert fill["time"] > t
                bid, ask = quoting(fill["time"], float(x))
                assert fill["half_spread"] == pytest.approx(float(bid if fill["side"] > 0 else ask), abs=2e-6)
                held += 0.1 * x**2 * (fill["time"] - t)
                earned += fill["half_spread"] - 0.07
                x, t = x + int(fill["side"]), float(fill["time"])
            held += 0.1 * x**2 * (3.0 - t) + 0.3 * x**2
            assert run.last[path, m] == x
            assert run.values(name, controlled=False)[path] == pytest.approx(earned - held, abs=1e-9)
            for j, at in enumerate(run.times):
                before = fills["side"][fills["time"] < at].sum()
                assert run.inventory[path, m, j] == run.start[path] + before


def test_a_path_is_the_same_however_many_follow_and_equal_policies_are_filled_alike():
    market = PoissonMarket(SMALL, moving_crowd)
    few = simulate_poisson(market, {"a": wave}, paths=300, seed=4, log_fills=True)
    many = simulate_poisson(market, {"a": wave}, paths=700, seed=4, log_fills=True)
    assert np.array_equal(few.totals, many.totals[:300])
    assert np.array_equal(few.fills[0], many.fills[0][many.fills[0]["path"] < 300])
    twins = simulate_poisson(market, {"a": wave, "b": wave}, paths=50, seed=4)
    assert np.array_equal(twins.totals[:, 0], twins.totals[:, 1])
    assert twins.gain("b", "a").mean == 0.0
    assert not np.array_equal(few.totals, simulate_poisson(market, {"a": wave}, paths=300, seed=5).totals)


def test_later_quotes_do_not_change_earlier_fills():
    def changed(t, x):
        bid, ask = wave(t, x)
        return bid + 0.3 * np.clip(t - 1.5, 0.0, 0.1), ask

    market = PoissonMarket(SMALL, moving_crowd)
    # On one flow: both are filled alike until they differ.
    run = simulate_poisson(market, {"a": wave, "b": changed}, paths=100, seed=6, log_fills=True)
    first, second = (fills[fills["time"] <= 1.5] for fills in run.fills)
    assert np.array_equal(first, second)
    assert not np.array_equal(run.fills[0], run.fills[1])


@pytest.mark.parametrize(
    "change",
    [{}, {"competition": Share()}, {"competition": OutsideOption(0.6)}, {"competition": 1.0, "initial_mean": 1.0}],
    ids=["relative", "share", "outside", "full"],
)
def test_without_bounds_every_path_of_the_equilibrium_earns_its_value(change):
    """Exponential intensity: a fill at the best quote is worth 1/k, so value less (fills - expected)/k is V itself."""
    equilibrium = solve_mfg(replace(SMALL, **change), rtol=1e-9, atol=1e-12)
    run = simulate_poisson(market_of(equilibrium), {"crowd": equilibrium.policy.quotes}, paths=200, seed=1)
    promised = equilibrium.value[0, run.start + 3]
    # The panels' quadratics miss quotes and crowd by 1e-6/k; some ten fills a path.
    assert np.max(np.abs(run.values("crowd") - promised)) < 2e-5
    assert run.values("crowd", controlled=False).std() > 0.5


@pytest.mark.parametrize("competition", [0.6, Share()], ids=str)
@pytest.mark.parametrize("shape", [Logistic(0.3), Power(4.0)], ids=str)
def test_other_shapes_and_bounds_earn_their_value_on_average(shape, competition):
    game = replace(SMALL, intensity_shape=shape, competition=competition, min_half_spread=0.3, max_half_spread=2.0)
    if isinstance(shape, Power) and isinstance(competition, Share):
        game = replace(game, min_half_spread=0.0)
    equilibrium = solve_mfg(game, rtol=1e-7)
    run = simulate_poisson(market_of(equilibrium), {"crowd": equilibrium.policy.quotes}, paths=3000, seed=2)
    gap = run.value_gap("crowd", equilibrium.value[0])
    assert abs(gap.mean) <= 4.0 * gap.standard_error
    assert gap.standard_error < 0.02


def test_under_risk_aversion_the_mean_utility_is_that_of_the_value():
    equilibrium = solve_mfg(replace(SMALL, risk_aversion=0.5), rtol=1e-8)
    run = simulate_poisson(market_of(equilibrium), {"crowd": equilibrium.policy.quotes}, paths=10_000, seed=2)
    for controlled in (False, True):
        gap = run.value_gap("crowd", equilibrium.value[0], controlled=controlled)
        assert abs(gap.mean) <= 4.0 * gap.standard_error
    # The mean wealth is above the certainty equivalent, by far more than the error.
    wealth = run.value("crowd")
    assert wealth.mean - equilibrium.value[0] @ equilibrium.game.initial_density > 10.0 * wealth.standard_error


def test_fill_rates_are_those_of_the_game():
    for shape in (Logistic(0.3), Power(4.0), None):
        for competition in (0.6, Share()):
            game = replace(SMALL, competition=competition, **({} if shape is None else {"intensity_shape": shape}))
            field = np.array([[0.6, 0.8]])
            quotes = np.full((1, 12), 0.9)
            expected = as_family(game).rates(np.zeros(1), quotes, field)[0, [0, -1]]
            code, bend = shape_code(game)
            market = PoissonMarket(game, lambda t, field=field: np.repeat(field, t.size, axis=0))
            run = simulate_poisson(market, {"flat": constant(0.9, 0.9)}, paths=1, seed=1)
            for side, arrival in enumerate((1.2, 0.8)):
                rate = fill_rate(0.9, run.panels.levels[0, side], 0.3, arrival, 1.5, code, bend)
                assert rate == pytest.approx(expected[side], rel=1e-13)


def test_a_policy_of_a_library_is_simulated_like_its_equilibrium():
    equilibrium = solve_mfg(SMALL, rtol=1e-9)
    nodes = TimeNodes(256, 1)
    prepared = PreparedQuotes(sample_quotes(equilibrium, nodes), 3.0, 1, -math.inf, math.inf)
    market = market_of(equilibrium)
    policies = {"solved": equilibrium.policy.quotes, "library": prepared_quotes(prepared)}
    run = simulate_poisson(market, policies, paths=200, seed=1)
    assert abs(run.gain("library", "solved").mean) < 1e-5


def test_mid_is_a_martingale_that_moves_against_the_fills():
    game = replace(SMALL, adverse_selection=0.3)
    paths = 4000
    run = simulate_poisson(
        PoissonMarket(game, moving_crowd),
        {"wave": wave},
        paths=paths,
        seed=3,
        log_fills=True,
        times=np.array([1.0, 2.0]),
    )
    mids = simulate_mids(run, "wave", volatility=0.4, seed=9, horizons=(0.1, 1.0))
    for sample in (mids.last, mids.mids[:, 0], mids.mids[:, 1] - mids.mids[:, 0]):
        assert abs(sample.mean()) <= 4.0 * sample.std() / math.sqrt(paths)
    # Brownian part and jumps: volatility^2 T + xi^2 E[fills].
    variance = 0.16 * 3.0 + 0.09 * run.fill_counts("wave").sum(axis=1).mean()
    assert mids.last.var() == pytest.approx(variance, rel=4.0 * math.sqrt(3.0 / paths))
    assert mids.horizons.tolist() == [0.1, 1.0]
    for h in range(2):
        each = mids.mark_outs[:, h]
        known = ~np.isnan(each)
        assert np.array_equal(known, run.fills[0]["time"] + mids.horizons[h] <= 3.0)
        assert abs(each[known].mean() - 0.3) <= 4.0 * each[known].std() / math.sqrt(known.sum())
    gap = mids.profit - run.totals[:, 0, 0]
    assert abs(gap.mean()) <= 4.0 * gap.std() / math.sqrt(paths)


def test_without_volatility_and_adverse_selection_profit_is_what_the_quotes_earned():
    game = replace(SMALL, adverse_selection=0.0)
    run = simulate_poisson(PoissonMarket(game, moving_crowd), {"wave": wave}, paths=50, seed=3, log_fills=True)
    mids = simulate_mids(run, "wave", volatility=0.0, seed=9)
    np.testing.assert_allclose(mids.profit, run.totals[:, 0, 0], atol=1e-12)


def test_bad_input_is_named():
    market = PoissonMarket(SMALL, moving_crowd)
    with pytest.raises(ValueError, match="policies must hold at least one"):
        simulate_poisson(market, {}, paths=1, seed=1)
    with pytest.raises(ValueError, match="at all times or at none"):
        simulate_poisson(market, {"a": lambda t, x: (np.where(t > 1.0, np.nan, 0.5 + 0 * x),) * 2}, paths=1, seed=1)
    with pytest.raises(ValueError, match="must be finite"):
        simulate_poisson(market, {"a": constant(math.inf, 0.5)}, paths=1, seed=1)
    with pytest.raises(ValueError, match="start must be within 3"):
        simulate_poisson(market, {"a": wave}, paths=1, seed=1, start=4)
    with pytest.raises(ValueError, match="times must be sorted"):
        simulate_poisson(market, {"a": wave}, paths=1, seed=1, times=np.array([2.0, 1.0]))
    with pytest.raises(ValueError, match="rate is finite"):
        simulate_poisson(
            PoissonMarket(replace(SMALL, intensity_shape=Power(2.0)), moving_crowd), {"a": constant(-3.0, 0.5)},
            paths=1, seed=1,
        )  # fmt: skip
    run = simulate_poisson(market, {"a": wave}, paths=5, seed=1)
    with pytest.raises(ValueError, match="log_fills"):
        simulate_mids(run, "a", volatility=0.1, seed=1)
    with pytest.raises(ValueError, match="name must be one of a"):
        run.value("b")
