"""N makers against the generator of their product space, and the speed at which they approach the mean field."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.integrate import solve_ivp
from scipy.stats import wasserstein_distance

from mfg_core import (
    MarketMakingGame,
    OutsideOption,
    Share,
    convergence_study,
    deviation_gain,
    simulate_makers,
    solve_mfg,
)
from mfg_core.market.intensity_shapes import Logistic
from mfg_core.study.many_makers import Market, cut_panels, path_generator, run_path
from mfg_core.study.many_makers_study import best_reply, fit_slope, reply_gains

pytestmark = pytest.mark.filterwarnings("ignore::mfg_core.errors.EdgeMassWarning")

TINY = MarketMakingGame(
    ask_arrival=1.5,
    bid_arrival=1.0,
    fill_decay=1.2,
    running_penalty=0.1,
    terminal_penalty=0.3,
    horizon=1.5,
    max_inventory=1,
    initial_std=0.7,
    adverse_selection=0.05,
    maker_fee=0.02,
)
CROWD = MarketMakingGame(
    ask_arrival=1.1,
    bid_arrival=0.9,
    fill_decay=1.0,
    running_penalty=0.1,
    terminal_penalty=0.1,
    horizon=3.0,
    max_inventory=5,
    initial_std=1.0,
)
NO_RECORDS = np.empty(0, dtype=np.int64)


def market_rates(game, quotes):
    """Fill rates of makers who quote `quotes` (N,), nan for none; written from the game's definition."""
    quoting = quotes[~np.isnan(quotes)]
    if quoting.size == 0:
        return np.zeros(quotes.size)
    if isinstance(game.competition, Share):
        return np.nan_to_num(np.exp(-game.fill_decay * quotes) / np.mean(np.exp(-game.fill_decay * quoting)))
    if isinstance(game.competition, OutsideOption):
        beta = game.competition.crowd_decay
        kappa = game.fill_decay - beta
        return np.nan_to_num(np.exp(-kappa * quotes - beta * (quotes - quoting.mean())))
    return np.nan_to_num(np.exp(-game.fill_decay * (quotes - game.competition * quoting.mean())))


def product_chain(equilibrium, makers):
    """(laws at 0, T/2 and T, mean wealth of maker 0) of the N-maker chain on all (2Q+1)^N states, by scipy."""
    game = equilibrium.game
    grid = list(itertools.product(range(equilibrium.states.size), repeat=makers))
    place = {state: i for i, state in enumerate(grid)}
    penalties = game.running_penalty * equilibrium.states**2
    cost = game.adverse_selection + game.maker_fee

    def generator(t):
        bid, ask = equilibrium.policy.quotes(t, equilibrium.states)
        moves, reward = np.zeros((len(grid), len(grid))), np.zeros(len(grid))
        for i, state in enumerate(grid):
            reward[i] -= penalties[state[0]]
            for side, arrival, step in ((ask, game.ask_arrival, -1), (bid, game.bid_arrival, 1)):
                rates = arrival * market_rates(game, side[list(state)])
                for maker, rate in enumerate(rates):
                    if rate > 0:
                        target = list(state)
                        target[maker] += step
                        moves[i, place[tuple(target)]] += rate
                        moves[i, i] -= rate
                if rates[0] > 0:
                    reward[i] += rates[0] * (side[state[0]] - cost)
        return moves, reward

    start = np.array([math.prod(game.initial_density[list(state)]) for state in grid])

    def slope(t, y):
        moves, reward = generator(t)
        return np.append(moves.T @ y[:-1], y[:-1] @ reward)

    ends = [0.0, game.horizon / 2, game.horizon]
    solved = solve_ivp(slope, (0.0, game.horizon), np.append(start, 0.0), t_eval=ends, rtol=1e-8, atol=1e-10)
    final = np.array([game.terminal_penalty * equilibrium.states[state[0]] ** 2 for state in grid])
    counts = np.array([np.bincount(state, minlength=equilibrium.states.size) for state in grid]) / makers
    return grid, counts, solved.y[:-1].T, solved.y[-1, -1] - solved.y[:-1, -1] @ final


@pytest.mark.parametrize(
    ("makers", "competition"), [(1, 1.0), (2, 0.6), (2, Share()), (3, 1.0), (2, OutsideOption(0.5))], ids=str
)
def test_paths_have_the_law_of_the_product_chain(makers, competition):
    game = replace(TINY, competition=competition)
    equilibrium = solve_mfg(game, rtol=1e-8)
    _, counts, laws, wealth = product_chain(equilibrium, makers)
    paths = 4000
    crowd = simulate_makers(equilibrium, makers=makers, seed=5, paths=paths)
    middle = int(np.abs(crowd.times - game.horizon / 2).argmin())
    assert crowd.times[middle] == pytest.approx(game.horizon / 2, rel=1e-12)
    # Five standard errors of a binomial share for each of some 15 numbers: a right simulation fails once in 1e5.
    for row, law in ((0, laws[0]), (middle, laws[1]), (-1, laws[2])):
        for configuration in np.unique(counts, axis=0):
            exact = float(law[np.all(counts == configuration, axis=1)].sum())
            seen = np.all(np.abs(crowd.empirical[:, row] - configuration) < 1e-12, axis=1).mean()
            assert abs(seen - exact) <= 5.0 * math.sqrt(exact * (1 - exact) / paths) + 1e-9
    error = crowd.wealth.mean(axis=1).std(ddof=1) / math.sqrt(paths)
    assert abs(crowd.wealth.mean() - wealth) <= 4.5 * error


def test_makers_without_competition_are_independent_draws_of_the_mean_field():
    equilibrium = solve_mfg(replace(CROWD, competition=0.0, min_half_spread=0.6, max_half_spread=1.2), rtol=1e-8)
    crowd = simulate_makers(equilibrium, makers=200, seed=3, paths=50)
    draws = 200 * 50
    error = np.sqrt(crowd.density * (1 - crowd.density) / draws) + 1e-9
    # The largest of some 360 dependent normal errors; 5 is passed once in 4,000 seeds.
    assert np.max(np.abs(crowd.empirical.mean(axis=0) - crowd.density) / error) < 5.0
    assert abs(crowd.value_gap.mean) < 4.0 * crowd.value_gap.standard_error
    assert crowd.fills > 0.5 * crowd.candidates


def test_realised_utility_is_what_the_value_promised():
    equilibrium = solve_mfg(replace(CROWD, competition=0.0, risk_aversion=0.3), rtol=1e-8)
    gap = simulate_makers(equilibrium, makers=200, seed=4, paths=100).value_gap
    assert abs(gap.mean) < 4.0 * gap.standard_error
    assert gap.standard_error < 0.01  # so that a certainty equivalent mistaken for a mean would be seen


def test_distances_agree_with_scipy():
    equilibrium = solve_mfg(CROWD, rtol=1e-6)
    crowd = simulate_makers(equilibrium, makers=30, seed=1, paths=2)
    states = equilibrium.states
    for path, row in ((0, 3), (1, -1)):
        law, rho = crowd.empirical[path, row], crowd.density[row]
        assert crowd.wasserstein[path, row] == pytest.approx(wasserstein_distance(states, states, law, rho), rel=1e-10)
        assert crowd.total_variation[path, row] == pytest.approx(np.maximum(law - rho, 0).sum(), rel=1e-10)
    bid, ask = equilibrium.policy.quotes(crowd.times[-1], states)
    law = crowd.empirical[0, -1]
    ask_error = np.nansum(law * ask) / law[1:].sum() - equilibrium.mean_field.ask[-1]
    bid_error = np.nansum(law * bid) / law[:-1].sum() - equilibrium.mean_field.bid[-1]
    assert crowd.quote_error[0, -1] == pytest.approx(max(abs(ask_error), abs(bid_error)), rel=1e-9)


def test_a_seed_fixes_every_path_whatever_their_number():
    equilibrium = solve_mfg(CROWD, rtol=1e-6)
    few = simulate_makers(equilibrium, makers=20, seed=9, paths=3)
    more = simulate_makers(equilibrium, makers=20, seed=9, paths=6)
    other = simulate_makers(equilibrium, makers=20, seed=10, paths=3)
    np.testing.assert_array_equal(few.wealth, more.wealth[:3])
    np.testing.assert_array_equal(few.empirical, more.empirical[:3])
    assert not np.array_equal(few.wealth, other.wealth)


def test_the_bounds_hold_within_every_panel_and_a_wrong_one_is_noticed():
    game = replace(CROWD, terminal_penalty=2.0, min_half_spread=0.2)
    market = cut_panels(solve_mfg(game, rtol=1e-4))
    share = np.linspace(0, 1, 101)[:, None, None, None]
    left, middle, right = (market.quotes[None, :, j] for j in range(3))
    quadratic = (
        left * (1 - share) * (1 - 2 * share) + 4 * middle * share * (1 - share) + right * share * (2 * share - 1)
    )
    inside = np.clip(quadratic, game.min_half_spread, game.max_half_spread)
    quoted = ~np.isnan(left[0])
    assert np.all((inside >= market.lowest - 1e-12)[:, quoted])
    assert np.all((inside <= market.highest + 1e-12)[:, quoted])
    wrong = Market(game, market.edges, market.quotes, market.lowest + 0.5, market.highest - 0.5)
    arguments = (
        path_generator(0, 50, 0),
        NO_RECORDS,
        np.empty((0, 11), dtype=np.int64),
        np.empty(50),
        np.empty((0, 2)),
    )
    with pytest.raises(RuntimeError, match="above its bound"):
        run_path(wrong, *arguments)
    run_path(market, *arguments)


@pytest.mark.parametrize("bounds", [(-math.inf, math.inf), (0.8, 1.1)], ids=["free", "bounded"])
def test_the_time_panels_hold_the_policy(bounds):
    game = replace(CROWD, min_half_spread=bounds[0], max_half_spread=bounds[1])
    equilibrium = solve_mfg(game, rtol=1e-6)
    market = cut_panels(equilibrium)
    assert {*equilibrium.times[::2]} <= {*market.edges}
    for s in (0.1, 0.35, 0.6, 0.85):
        exact = equilibrium.policy.quotes((market.edges[:-1] + s * np.diff(market.edges))[:, None], equilibrium.states)
        left, middle, right = (market.quotes[:, j] for j in range(3))
        mixed = left * (1 - s) * (1 - 2 * s) + 4 * middle * s * (1 - s) + right * s * (2 * s - 1)
        # The error is asked for at two other points of each panel; near a kink it may be twice as large between them.
        np.testing.assert_allclose(np.clip(mixed, *bounds), np.stack(exact[::-1], axis=-1), atol=2e-6)


def test_distances_fall_like_one_over_root_n_and_gains_faster():
    study = convergence_study(solve_mfg(CROWD, rtol=1e-8), sizes=(100, 400, 1600), paths=150, seed=11)
    for name in ("wasserstein", "total_variation", "quote_error"):
        slope = study.slope(name)
        # Four standard errors of the slope; that error must be small for the test to say anything.
        assert slope.standard_error < 0.02
        assert abs(slope.slope + 0.5) < 4.0 * slope.standard_error, name
    gain = study.slope("gain_upper")
    assert gain.standard_error < 0.1
    assert abs(gain.slope + 1.0) < 4.0 * gain.standard_error
    assert gain.slope < -0.5 - 4.0 * gain.standard_error
    assert np.all(study.gain_lower[:, 0] <= study.gain_upper[:, 0])


def test_in_the_mean_field_nobody_gains():
    equilibrium = solve_mfg(replace(CROWD, min_half_spread=0.5), rtol=1e-9)
    market = cut_panels(equilibrium)
    factors = crowd_factors(equilibrium, market)
    value, gain, _ = reply_gains(market, market.quotes, factors)
    # The averages over a panel leave an error of second order in its width: 1e-4 relative in rates.
    np.testing.assert_allclose(value, equilibrium.value[0], rtol=1e-4)
    assert np.all((gain >= 0) & (gain < 1e-7))


def crowd_factors(equilibrium, market, extra=(0.0, 0.0)):
    """Panel means of exp(k c m) when the crowd's mean quotes are the mean field's and something more, by Simpson."""
    game = equilibrium.game
    nodes = np.stack([market.edges[:-1], 0.5 * (market.edges[1:] + market.edges[:-1]), market.edges[1:]])
    factors = []
    for mean, more in zip((equilibrium.mean_field.ask, equilibrium.mean_field.bid), extra, strict=True):
        values = np.exp(game.fill_decay * game.crowd_weight * (np.interp(nodes, equilibrium.times, mean) + more))
        factors.append((values[0] + 4 * values[1] + values[2]) / 6)
    return np.stack(factors, axis=1)


@pytest.mark.parametrize("low", [-math.inf, 0.9], ids=["free", "bounded"])
def test_gains_in_a_given_crowd_are_those_of_scipy(low):
    game = replace(CROWD, min_half_spread=low, adverse_selection=0.1, maker_fee=-0.03, max_inventory=3)
    equilibrium = solve_mfg(game, rtol=1e-8)
    market = cut_panels(equilibrium)
    factors = crowd_factors(equilibrium, market, extra=(0.4, -0.3))
    rivals = best_reply(market, factors)
    found = reply_gains(market, rivals, factors)
    cost, k, flat = game.fill_cost, game.fill_decay, game.max_inventory

    def at(quotes, t, side):
        panel = min(np.searchsorted(market.edges, t, side="right") - 1, market.edges.size - 2)
        s = (t - market.edges[panel]) / (market.edges[panel + 1] - market.edges[panel])
        one = quotes[panel, :, :, side]
        mixed = one[0] * (1 - s) * (1 - 2 * s) + 4 * one[1] * s * (1 - s) + one[2] * s * (2 * s - 1)
        return np.clip(mixed, game.min_half_spread, game.max_half_spread)

    def slope(t, y, panel):
        out = np.empty((3, 7))
        for row, quotes in enumerate((None, market.quotes, rivals)):
            value = y.reshape(3, 7)[row]
            out[row] = -game.running_penalty * (np.arange(7) - flat) ** 2
            for side, arrival, step in ((0, game.ask_arrival, -1), (1, game.bid_arrival, 1)):
                for x in range(7):
                    if not 0 <= x + step < 7:
                        continue
                    gap = value[x + step] - value[x]
                    quote = np.clip(1 / k + cost - gap, game.min_half_spread, game.max_half_spread)
                    if quotes is not None:
                        quote = at(quotes, t, side)[x]
                    out[row, x] += arrival * factors[panel, side] * np.exp(-k * quote) * (quote - cost + gap)
        return -out.ravel()

    state = np.tile(-game.terminal_penalty * (np.arange(7) - flat) ** 2, 3).astype(float)
    for panel in range(market.edges.size - 2, -1, -1):
        span = (market.edges[panel + 1], market.edges[panel])
        state = solve_ivp(slope, span, state, args=(panel,), method="DOP853", rtol=1e-9, atol=1e-11).y[:, -1]
    best, own, rival = state.reshape(3, 7)
    # Our steps of a fifth of a fill leave 1e-6; the gains themselves are some 1e-2.
    np.testing.assert_allclose(found[0], best, rtol=2e-6)
    np.testing.assert_allclose(found[1], best - own, atol=2e-6)
    np.testing.assert_allclose(found[2], rival - own, atol=2e-6)
    assert found[1].min() > 1e-3
    # The stored best reply is the best one, up to its quadratic in time.
    np.testing.assert_allclose(found[2], found[1], rtol=1e-3)


def informed_gain(equilibrium, others):
    """Gain, over the initial law, of the best strategy that sees the whole crowd: exact on (counts, x), for Q = 1."""
    game = equilibrium.game
    counts = [(a, b, others - a - b) for a in range(others + 1) for b in range(others + 1 - a)]
    place = {count: i for i, count in enumerate(counts)}
    table = np.array(counts, dtype=float)
    k, crowd = game.fill_decay, game.crowd_weight
    targets = np.full((len(counts), 2, 3), -1)
    for i, count in enumerate(counts):
        for side, step in ((0, -1), (1, 1)):
            for x in range(3):
                if count[x] > 0 and 0 <= x + step < 3:
                    moved = list(count)
                    moved[x] -= 1
                    moved[x + step] += 1
                    targets[i, side, x] = place[tuple(moved)]

    def slope(s, y):
        bid, ask = equilibrium.policy.quotes(game.horizon - s, equilibrium.states)
        out = np.empty((2, len(counts), 3))
        state = y.reshape(2, len(counts), 3)
        for row in range(2):
            value = state[row]
            out[row] = -game.running_penalty * equilibrium.states**2
            for side, quotes, arrival, step in ((0, ask, game.ask_arrival, -1), (1, bid, game.bid_arrival, 1)):
                rows = [x for x in range(3) if 0 <= x + step < 3]
                number = table[:, rows].sum(axis=1)
                total = table[:, rows] @ quotes[rows]
                first = quotes[1]  # where nobody quotes, the quote of the first inventory that they reach
                mean = np.where(number > 0, total / np.maximum(number, 1), first)
                market = arrival * np.exp(k * crowd * mean)
                for x in rows:
                    gap = value[:, x + step] - value[:, x]
                    quote = 1 / k + game.fill_cost - gap if row == 0 else quotes[x]
                    out[row, :, x] += market * np.exp(-k * quote) * (quote - game.fill_cost + gap)
                    can = targets[:, side, x] >= 0
                    fills = table[can, x] * market[can] * np.exp(-k * quotes[x])
                    out[row, can] += fills[:, None] * (value[targets[can, side, x]] - value[can])
        return out.ravel()

    final = np.tile(-game.terminal_penalty * equilibrium.states**2, 2 * len(counts))
    solved = solve_ivp(slope, (0.0, game.horizon), final, method="DOP853", rtol=1e-9, atol=1e-12)
    best, own = solved.y[:, -1].reshape(2, len(counts), 3)
    law = game.initial_density
    weights = np.array(
        [
            math.factorial(others) * math.prod(p**c / math.factorial(c) for p, c in zip(law, count, strict=True))
            for count in counts
        ]
    )
    return float(weights @ (best - own) @ law)


def test_the_exact_gain_of_an_informed_maker_is_between_the_bounds_and_falls_like_one_over_n():
    equilibrium = solve_mfg(replace(TINY, horizon=1.0), rtol=1e-9)
    exact = {others: informed_gain(equilibrium, others) for others in (1, 4, 8, 16)}
    gain = deviation_gain(equilibrium, makers=5, seed=2, paths=1500)
    assert gain.lower.mean - 4.0 * gain.lower.standard_error <= exact[4]
    assert exact[4] <= gain.upper.mean + 4.0 * gain.upper.standard_error
    assert gain.upper.mean < 20.0 * exact[4]
    # The slope tends to -1 from the side of the corrections of order 1/N.
    assert math.log2(exact[16] / exact[8]) == pytest.approx(-1.0, abs=0.15)


def test_slopes_are_fitted_with_their_errors():
    sizes = np.array([10, 100, 1000])
    exact = np.stack([3.0 * sizes**-0.5, 0.01 * 3.0 * sizes**-0.5], axis=1)
    slope = fit_slope(sizes, exact)
    assert slope.slope == pytest.approx(-0.5, abs=1e-12)
    # Equal relative errors of 0.01 on three points a decade apart: 0.01 / (sqrt 2 log 10).
    assert slope.standard_error == pytest.approx(0.01 / (math.sqrt(2) * math.log(10)))
    bent = exact * np.array([[1.0], [1.2], [1.0]])
    assert fit_slope(sizes, bent).standard_error > 5 * slope.standard_error
    assert math.isnan(fit_slope(sizes, exact - 1.0).slope)


def test_what_cannot_be_is_refused():
    equilibrium = solve_mfg(TINY, rtol=1e-6)
    with pytest.raises(ValueError, match="makers must be an integer of at least 1; was 0"):
        simulate_makers(equilibrium, makers=0, seed=0)
    with pytest.raises(ValueError, match="makers must be at least 2"):
        deviation_gain(equilibrium, makers=1, seed=0, paths=10)
    with pytest.raises(ValueError, match="sizes must be at least two increasing"):
        convergence_study(equilibrium, sizes=(10, 10), paths=10, seed=0)
    with pytest.raises(ValueError, match="paths must be at least 4; was 2"):
        convergence_study(equilibrium, sizes=(10, 20), paths=2, seed=0)
    with pytest.raises(TypeError, match="equilibrium must be that of a MarketMakingGame"):
        simulate_makers(TINY, makers=2, seed=0)
    logistic = replace(equilibrium, game=replace(TINY, intensity_shape=Logistic()))
    with pytest.raises(ValueError, match=r"intensity_shape must be Exponential\(\) to simulate makers"):
        simulate_makers(logistic, makers=2, seed=0)
    cautious = solve_mfg(replace(TINY, risk_aversion=0.5), rtol=1e-6)
    with pytest.raises(ValueError, match="risk_aversion must be 0"):
        deviation_gain(cautious, makers=3, seed=0, paths=10)
