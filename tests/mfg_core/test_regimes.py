"""Regimes that switch for everybody: against scipy's integrators, the single game, simulated paths, and laws."""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import solve_ivp
from scipy.interpolate import BarycentricInterpolator
from scipy.linalg import expm

from mfg_core import (
    EdgeMassWarning,
    FictitiousPlay,
    MarketMakingGame,
    NewtonKrylov,
    Picard,
    RegimeSwitchingGame,
    Share,
    regime_mean_error,
    solve_mfg,
)
from mfg_core.family.time_grid import interpolate_panels, interpolate_rows

HORIZON = 1.5
CALM = {
    "ask_arrival": 1.3,
    "bid_arrival": 1.0,
    "fill_decay": 1.2,
    "running_penalty": 0.05,
    "terminal_penalty": 0.2,
    "horizon": HORIZON,
    "max_inventory": 2,
    "initial_mean": 0.5,
    "initial_std": 0.8,
}
STRESSED = CALM | {
    "ask_arrival": 2.5,
    "fill_decay": 0.8,
    "running_penalty": 0.4,
    "terminal_penalty": 0.6,
    "competition": 0.7,
    "adverse_selection": 0.2,
}
RATES = ((-0.5, 0.5), (1.0, -1.0))


def make(parameters, **changes):
    return MarketMakingGame(**{**parameters, **changes})


def game_of(calm, stressed, rates=RATES, initial=(0.8, 0.2)):
    return RegimeSwitchingGame(regimes=(calm, stressed), switching_rates=rates, initial_regime=initial)


def solve_quietly(game, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", EdgeMassWarning)
        return solve_mfg(game, **options)


def utility(z, g):
    return z if g == 0 else (1 - np.exp(-g * z)) / g


def margin_of(market):
    """The best quote where a fill leaves V as it is."""
    g, k = market.risk_aversion, market.fill_decay
    return (np.log(1 + g / k) / g if g > 0 else 1 / k) + market.adverse_selection + market.maker_fee


def best(market, value, x):
    """(ask, bid) of inventory index x by the page's formulas; nan where the side is not quoted."""
    margin = margin_of(market)
    ask = margin - (value[x - 1] - value[x]) if x > 0 else np.nan
    bid = margin - (value[x + 1] - value[x]) if x < value.size - 1 else np.nan
    return ask, bid


def fills(market, quotes, means):
    pairs = zip((market.ask_arrival, market.bid_arrival), quotes, means, strict=True)
    return [a * np.exp(-market.fill_decay * (q - market.competition * m)) for a, q, m in pairs]


def value_slope(game, flat, means):
    V = flat.reshape(len(game.regimes), -1)
    out = np.zeros_like(V)
    for s, market in enumerate(game.regimes):
        cost, g = market.adverse_selection + market.maker_fee, market.risk_aversion
        for x in range(V.shape[1]):
            (ask, bid), gain = best(market, V[s], x), -market.running_penalty * (x - market.max_inventory) ** 2
            sold, bought = fills(market, (ask, bid), means[:, s])
            if x > 0:
                gain += sold * utility(ask - cost + V[s, x - 1] - V[s, x], g)
            if x < V.shape[1] - 1:
                gain += bought * utility(bid - cost + V[s, x + 1] - V[s, x], g)
            gain += sum(
                game.switching_rates[s][other] * utility(V[other, x] - V[s, x], g)
                for other in range(len(game.regimes))
                if other != s
            )
            out[s, x] = -gain
    return out.ravel()


def law_slope(game, flat, value, means):
    law, V = flat.reshape(len(game.regimes), -1), value.reshape(len(game.regimes), -1)
    out = np.zeros_like(law)
    for s, market in enumerate(game.regimes):
        for x in range(law.shape[1]):
            sold, bought = fills(market, best(market, V[s], x), means[:, s])
            if x > 0:
                out[s, x] -= sold * law[s, x]
                out[s, x - 1] += sold * law[s, x]
            if x < law.shape[1] - 1:
                out[s, x] -= bought * law[s, x]
                out[s, x + 1] += bought * law[s, x]
            for other in range(len(game.regimes)):
                out[other, x] += game.switching_rates[s][other] * law[s, x]
    return out.ravel()


def reference(game, guess, nodes=34, sweeps=60):
    """Means as polynomials through Chebyshev points, sweeps of scipy's DOP853 until they stand still.

    `guess` (t) to (2, S) only saves sweeps: what is returned is a fixed point of these sweeps.
    """
    count = len(game.regimes)
    at = 0.5 * game.horizon * (1 - np.cos(np.pi * np.arange(nodes) / (nodes - 1)))
    means = np.array([guess(t) for t in at])
    options = {"method": "DOP853", "rtol": 1e-10, "atol": 1e-12, "dense_output": True}
    x = np.arange(-game.regimes[0].max_inventory, game.regimes[0].max_inventory + 1)
    end = np.concatenate([-market.terminal_penalty * x**2 for market in game.regimes])
    first = np.outer(game.initial_regime, game.regimes[0].initial_density).ravel()
    for _ in range(sweeps):
        path = BarycentricInterpolator(at, means)
        value = solve_ivp(lambda t, v, c=path: value_slope(game, v, c(t)), (game.horizon, 0.0), end, **options).sol
        law = solve_ivp(
            lambda t, p, v=value, c=path: law_slope(game, p, v(t), c(t)), (0.0, game.horizon), first, **options
        ).sol
        image = np.empty_like(means)
        for j, t in enumerate(at):
            V, held = value(t).reshape(count, -1), law(t).reshape(count, -1)
            for s, market in enumerate(game.regimes):
                quotes = np.array([best(market, V[s], i) for i in range(x.size)])
                for side in range(2):
                    on = ~np.isnan(quotes[:, side])
                    image[j, side, s] = held[s, on] @ quotes[on, side] / held[s, on].sum()
        moved, means = np.max(np.abs(image - means)), image
        if moved < 1e-10:
            return value, law, BarycentricInterpolator(at, means)
    raise AssertionError(f"the reference did not converge: {moved}")


def field_of(found):
    paths = np.concatenate([found.mean_field.ask, found.mean_field.bid], axis=1)
    return lambda t: interpolate_rows(found.times, paths, np.array([t]))[0].reshape(2, -1)


@pytest.mark.parametrize("risk_aversion", [0.0, 0.4])
def test_two_regimes_equal_the_coupled_equations_integrated_by_scipy(risk_aversion):
    game = game_of(make(CALM, risk_aversion=risk_aversion), make(STRESSED, risk_aversion=risk_aversion))
    found = solve_quietly(game, rtol=1e-9)
    value, law, means = reference(game, field_of(found))
    joint = np.concatenate(
        [found.regime_probability[:, s : s + 1] * part.density for s, part in enumerate(found.regimes)], axis=1
    )
    # The reference's integrators are at 1e-10; the solve was asked for 1e-9 (1/k + |V|), a few 1e-9.
    assert np.concatenate([part.value for part in found.regimes], axis=1) == pytest.approx(
        value(found.times).T, abs=5e-9
    )
    assert joint == pytest.approx(law(found.times).T, abs=5e-9)
    exact = means(found.times)
    assert found.mean_field.ask == pytest.approx(exact[:, 0], abs=5e-9)
    assert found.mean_field.bid == pytest.approx(exact[:, 1], abs=5e-9)
    assert found.full_spread == pytest.approx(exact.sum(axis=1), abs=1e-8)
    assert found.net_skew == pytest.approx(exact[:, 0] - exact[:, 1], abs=1e-8)
    # The two regimes are not the same market: the test would not see a mix-up otherwise.
    assert np.min(np.abs(found.mean_field.ask[:, 1] - found.mean_field.ask[:, 0])) > 0.1


def test_regime_probabilities_are_those_of_the_chain():
    rates = np.array([[-0.7, 0.5, 0.2], [0.0, -0.3, 0.3], [1.0, 1.0, -2.0]])
    markets = (make(CALM), make(STRESSED), make(CALM, fill_decay=2.0))
    initial = (0.0, 0.4, 0.6)
    found = solve_quietly(
        RegimeSwitchingGame(regimes=markets, switching_rates=rates, initial_regime=initial), rtol=1e-8
    )
    for node in (1, found.times.size // 2, -1):
        exact = np.array(initial) @ expm(rates * found.times[node])
        # Exponentials of a constant generator, exact but for rounding and the truncation of their series.
        assert found.regime_probability[node] == pytest.approx(exact, abs=1e-11)


@pytest.mark.parametrize("changes", [{}, {"min_half_spread": 0.7, "max_half_spread": 1.1}])
@pytest.mark.parametrize("same", [True, False])
def test_equal_regimes_and_regimes_that_never_switch_are_single_games(same, changes):
    calm = make(CALM, **changes)
    stressed = calm if same else make(CALM, ask_arrival=2.5, running_penalty=0.4, **changes)
    rates = RATES if same else ((0.0, 0.0), (0.0, 0.0))
    found = solve_quietly(game_of(calm, stressed, rates), rtol=1e-8)
    for market, part, s in zip((calm, stressed), found.regimes, range(2), strict=True):
        single = solve_quietly(market, rtol=1e-8)
        # Two solvers, each within 1e-8 (1/k + |V|), with values below 10.
        assert part.value[0] == pytest.approx(single.value[0], abs=1e-7)
        assert part.density[-1] == pytest.approx(single.density[-1], abs=1e-7)
        assert found.mean_field.ask[0, s] == pytest.approx(single.mean_field.ask[0], abs=1e-7)
        assert found.mean_field.bid_fill_rate[-1, s] == pytest.approx(single.mean_field.bid_fill_rate[-1], abs=1e-7)
        assert found.inventory_variance[-1, s] == pytest.approx(single.inventory_variance[-1], abs=1e-7)


def test_a_regime_of_probability_zero_starts_from_the_law_of_all_makers():
    found = solve_quietly(game_of(make(CALM), make(STRESSED), initial=(1.0, 0.0)), rtol=1e-8)
    stressed = found.regimes[1]
    np.testing.assert_array_equal(stressed.density[0], found.game.regimes[0].initial_density)
    # Soon after, the makers in it came from the other regime with almost that law: no jump.
    assert stressed.density[1] == pytest.approx(stressed.density[0], abs=5 * found.times[1])
    # A regime that is never reached has the law of all makers throughout.
    never = solve_quietly(game_of(make(CALM), make(STRESSED), ((0.0, 0.0), (1.0, -1.0)), (1.0, 0.0)), rtol=1e-8)
    # Both are the one law over its mass, which is 1 up to rounding.
    assert never.regimes[1].density == pytest.approx(never.regimes[0].density, abs=1e-12)


def test_under_share_the_flow_of_each_regime_is_its_arrival():
    found = solve_quietly(game_of(make(CALM, competition=Share()), make(STRESSED, competition=Share())), rtol=1e-6)
    for market, part in zip(found.game.regimes, found.regimes, strict=True):
        flow = part.mean_field.ask_fill_rate / part.density[:, 1:].sum(axis=1)
        # An identity of the returned field up to the residual, 1e-6 (1/k + mean).
        assert flow == pytest.approx(np.full(flow.size, market.ask_arrival), rel=1e-5)


def test_quotes_are_those_of_the_regime_and_broadcast():
    found = solve_quietly(game_of(make(CALM), make(STRESSED)), rtol=1e-6)
    bid, ask = found.policy.quotes(found.times[:, None, None], found.states[:, None], np.arange(2))
    for s, part in enumerate(found.regimes):
        np.testing.assert_array_equal(ask[:, :, s], part.policy.ask)
        np.testing.assert_array_equal(bid[:, :, s], part.policy.bid)
    with pytest.raises(ValueError, match="regime must be an integer from 0 to 1; was 2"):
        found.policy.quotes(0.5, 0, 2)
    with pytest.raises(ValueError, match=r"regime must be an integer from 0 to 1; was 0\.5"):
        found.policy.quotes(0.5, 0, 0.5)


def test_the_law_along_a_path_is_that_of_scipy():
    found = solve_quietly(game_of(make(CALM), make(STRESSED)), rtol=1e-8)
    paths = regime_mean_error(found, paths=12, seed=4)
    switches = np.sum(np.diff(paths.regime, axis=1) != 0, axis=1)
    path = int(np.argmax(switches))
    assert switches[path] >= 2
    # Rates as the game states them, from the policy's quotes and the regime's means.
    asks, bids = (np.stack([getattr(part.policy, side) for part in found.regimes]) for side in ("ask", "bid"))

    def slope(t, law, s):
        market, out = found.game.regimes[s], np.zeros_like(law)
        at = np.array([t])
        for step, quotes, means, arrival in (
            (-1, asks, found.mean_field.ask, market.ask_arrival),
            (1, bids, found.mean_field.bid, market.bid_arrival),
        ):
            mean = interpolate_panels(found.times, means, at, np.array([s]))[0]
            for x in range(law.size):
                if 0 <= x + step < law.size:
                    quote = interpolate_panels(found.times, quotes[s], at, np.array([x]))[0]
                    rate = arrival * np.exp(-market.fill_decay * (quote - market.competition * mean))
                    out[x] -= rate * law[x]
                    out[x + step] += rate * law[x]
        return out

    # Where the path switches within a step is not in the result: scipy's law is for the path up to the first switch,
    # a whole number of steps.
    regime = paths.regime[path]
    last = int(np.nonzero(regime != regime[0])[0][0]) - 1
    assert last > 10
    exact = solve_ivp(
        slope,
        (0.0, found.times[last]),
        found.game.regimes[0].initial_density,
        args=(regime[0],),
        rtol=1e-10,
        atol=1e-12,
        method="DOP853",
    ).y[:, -1]
    ask = asks[regime[0], last]
    # Rates between nodes are interpolated in the one and their logarithms in the other: order 3 in the step.
    assert paths.ask[path, last] == pytest.approx(exact[1:] @ ask[1:] / exact[1:].sum(), abs=1e-6)
    assert paths.ask_error[path, last] == paths.ask[path, last] - found.mean_field.ask[last, regime[0]]


def test_path_laws_average_to_the_law_given_the_regime():
    found = solve_quietly(game_of(make(CALM), make(STRESSED)), rtol=1e-4)
    count = 3000
    paths = regime_mean_error(found, paths=count, seed=1)
    assert paths.final_density.sum(axis=1) == pytest.approx(np.ones(count), abs=1e-12)
    for s, part in enumerate(found.regimes):
        here = (paths.regime[:, -1] == s)[:, None] * paths.final_density
        exact = found.regime_probability[-1, s] * part.density[-1]
        # Sampling error of a mean over 3,000 paths, at four standard errors; the solve's 1e-4 beside it.
        assert np.all(np.abs(here.mean(axis=0) - exact) < 4 * here.std(axis=0) / np.sqrt(count) + 1e-4)


def test_the_reference_error_is_nil_without_switches_and_at_the_start_and_seen_with_them():
    still = solve_quietly(game_of(make(CALM), make(STRESSED), ((0.0, 0.0), (0.0, 0.0))), rtol=1e-9)
    # The two differ by the solver's own error alone.
    assert regime_mean_error(still, paths=5, seed=0).largest < 1e-7
    moving = solve_quietly(game_of(make(CALM), make(STRESSED)), rtol=1e-6)
    paths = regime_mean_error(moving, paths=50, seed=0)
    assert paths.rms[0] < 1e-12
    assert paths.rms[-1] > 1e-3
    again = regime_mean_error(moving, paths=50, seed=0)
    np.testing.assert_array_equal(again.ask, paths.ask)
    assert np.any(regime_mean_error(moving, paths=50, seed=1).ask != paths.ask)


@settings(max_examples=8, deadline=None)
@given(
    leave=st.tuples(st.floats(0.0, 3.0), st.floats(0.0, 3.0)),
    initial=st.floats(0.0, 1.0),
    arrival=st.floats(0.5, 3.0),
    penalty=st.floats(0.0, 0.5),
)
def test_mass_certificate_and_the_order_of_the_regimes(leave, initial, arrival, penalty):
    one, other = make(CALM, ask_arrival=arrival), make(STRESSED, terminal_penalty=penalty)
    rates = ((-leave[0], leave[0]), (leave[1], -leave[1]))
    found = solve_quietly(game_of(one, other, rates, (initial, 1 - initial)), rtol=1e-6)
    proof = found.certificate
    assert proof.converged
    assert 0 <= proof.exploitability < 1e-6
    assert proof.mass_error < 1e-12
    assert np.all(found.regime_probability >= 0)
    for part in found.regimes:
        assert np.all(part.density >= 0)
        assert part.density.sum(axis=1) == pytest.approx(np.ones(found.times.size), abs=1e-12)
    swapped = solve_quietly(game_of(other, one, (rates[1][::-1], rates[0][::-1]), (1 - initial, initial)), rtol=1e-6)
    # Both solves are within 1e-6 (1/k + |V|), values up to 10.
    assert swapped.regimes[1].value[0] == pytest.approx(found.regimes[0].value[0], abs=3e-5)
    assert swapped.mean_field.ask[0, 0] == pytest.approx(found.mean_field.ask[0, 1], abs=1e-5)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"regimes": (make(CALM), 3)}, TypeError, "regimes must be a tuple of MarketMakingGame"),
        ({"regimes": (make(CALM), make(CALM, max_inventory=3))}, ValueError, "max_inventory must be the same in all"),
        ({"regimes": (make(CALM), make(CALM, initial_std=2.0))}, ValueError, "initial_std must be the same in all"),
        (
            {"regimes": (make(CALM), make(CALM, risk_aversion=0.1))},
            ValueError,
            "risk_aversion must be the same in all regimes",
        ),
        ({"switching_rates": ((-1.0, 1.0),)}, ValueError, "switching_rates must be a finite 2 by 2 matrix"),
        ({"switching_rates": ((1.0, -1.0), (0.0, 0.0))}, ValueError, "must not be negative off the diagonal"),
        ({"switching_rates": ((-1.0, 0.5), (0.0, 0.0))}, ValueError, r"rows that sum to 0; their sums were \[-0.5"),
        ({"initial_regime": (0.5, 0.6)}, ValueError, "initial_regime must be 2 probabilities that sum to 1"),
        ({"initial_regime": (1.5, -0.5)}, ValueError, "initial_regime must be 2 probabilities"),
    ],
)
def test_parameters_that_make_no_sense_are_refused_by_name(changes, error, message):
    given_parameters = {"regimes": (make(CALM), make(STRESSED)), "switching_rates": RATES, "initial_regime": (1.0, 0.0)}
    with pytest.raises(error, match=message):
        RegimeSwitchingGame(**{**given_parameters, **changes})


def test_the_number_of_paths_is_checked():
    found = solve_quietly(game_of(make(CALM), make(STRESSED)), rtol=1e-4)
    with pytest.raises(ValueError, match="paths must be an integer of at least 1; was 0"):
        regime_mean_error(found, paths=0)


def test_the_exploitability_is_what_a_best_reply_to_the_fixed_crowd_gains():
    """Both sides of it by scipy: the best reply's equations, and the returned quotes held fixed."""
    game = game_of(make(CALM), make(STRESSED))
    found = solve_quietly(game, rtol=1e-9, method=Picard(max_sweeps=2), throw=False)
    means, T = field_of(found), game.horizon
    x = np.arange(-2, 3)

    def held(t, flat):
        t, J = min(max(t, 0.0), T), flat.reshape(2, -1)
        out = np.empty_like(J)
        for s, market in enumerate(game.regimes):
            bid, ask = found.policy.quotes(t, x, s)
            for i in range(x.size):
                gain = -market.running_penalty * x[i] ** 2 + game.switching_rates[s][1 - s] * (J[1 - s, i] - J[s, i])
                sold, bought = fills(market, (ask[i], bid[i]), means(t)[:, s])
                if i > 0:
                    gain += sold * (ask[i] - market.adverse_selection + J[s, i - 1] - J[s, i])
                if i < x.size - 1:
                    gain += bought * (bid[i] - market.adverse_selection + J[s, i + 1] - J[s, i])
                out[s, i] = -gain
        return out.ravel()

    def best_slope(t, V):
        return value_slope(game, V, means(min(max(t, 0.0), T)))

    end = np.concatenate([-market.terminal_penalty * x**2 for market in game.regimes])
    options = {"rtol": 1e-9, "atol": 1e-11, "max_step": 0.02}
    reply, kept = (solve_ivp(slope, (T, 0.0), end, **options).y[:, -1] for slope in (best_slope, held))
    gain = game.initial_density @ (reply - kept)
    assert gain > 1e-7
    # The policy is interpolated between nodes: a few digits.
    assert found.certificate.exploitability == pytest.approx(gain, rel=2e-3)


@pytest.mark.parametrize("method", [Picard(), FictitiousPlay(weight=10.0), NewtonKrylov()])
def test_every_method_finds_the_same_regimes(method):
    game = game_of(make(CALM), make(STRESSED))
    usual, found = solve_quietly(game, rtol=1e-6), solve_quietly(game, rtol=1e-6, method=method)
    assert found.certificate.converged
    for one, other in zip(found.regimes, usual.regimes, strict=True):
        # Twice the tolerance: rtol (1/k + |V|).
        assert one.value[0] == pytest.approx(other.value[0], rel=2e-6, abs=2e-6)


def test_a_grid_within_the_tolerance_but_for_the_sweeps_is_refined_not_refused():
    """At rtol 1e-6 what time steps and sweeps leave of the first grid is together 1.00015 of the tolerance."""
    calm = MarketMakingGame(
        ask_arrival=1.2,
        bid_arrival=0.9,
        fill_decay=0.9,
        running_penalty=0.2,
        terminal_penalty=0.2,
        horizon=2.0,
        max_inventory=3,
    )
    game = RegimeSwitchingGame(
        regimes=(calm, replace(calm, running_penalty=0.5, bid_arrival=1.4)),
        switching_rates=((-0.3, 0.3), (0.8, -0.8)),
        initial_regime=(1.0, 0.0),
    )
    warnings.simplefilter("ignore", EdgeMassWarning)
    for rtol in np.geomspace(1e-7, 1e-5, 21):
        assert solve_mfg(game, rtol=rtol, atol=1e-9).certificate.discretisation_error <= rtol + 1e-9
