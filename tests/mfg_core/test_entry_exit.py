"""Entry and exit with shared flow: against scipy's integrators, closed forms, the single game, and laws."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import solve_ivp
from scipy.interpolate import BarycentricInterpolator
from scipy.optimize import minimize_scalar

from mfg_core import (
    Anderson,
    EdgeMassWarning,
    EntryExitGame,
    FictitiousPlay,
    MarketMakingGame,
    NewtonKrylov,
    Picard,
    Share,
    SolveError,
    solve_mfg,
)
from mfg_core.family.time_grid import interpolate_rows

MARKET = {
    "ask_arrival": 1.2,
    "bid_arrival": 0.9,
    "fill_decay": 1.1,
    "running_penalty": 0.1,
    "terminal_penalty": 0.2,
    "horizon": 2.0,
    "max_inventory": 2,
    "initial_mean": 0.5,
    "initial_std": 0.8,
    "competition": 0.8,
    "maker_fee": 0.1,
}
DOORS = {
    "outside_value": 1.5,
    "exit_rate": 0.6,
    "entry_rate": 0.8,
    "sensitivity": 1.3,
    "initial_active": 0.7,
    "liquidation_penalty": 0.3,
}


def make(market=None, **changes):
    return EntryExitGame(market=market or MarketMakingGame(**MARKET), **{**DOORS, **changes})


def market_of(**changes):
    return MarketMakingGame(**{**MARKET, **changes})


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


def quotes(market, V, x):
    margin = margin_of(market)
    ask = margin - (V[x - 1] - V[x]) if x > 0 else np.nan
    bid = margin - (V[x + 1] - V[x]) if x < 2 * market.max_inventory else np.nan
    return ask, bid


def fills(market, both, field):
    """Fill rates A / N exp(-k (delta - c mean)) in the field (abar, bbar, N)."""
    return [
        arrival / field[2] * np.exp(-market.fill_decay * (quote - market.competition * mean))
        for arrival, quote, mean in zip((market.ask_arrival, market.bid_arrival), both, field, strict=False)
    ]


def hazards(game, V):
    """(exit rates by inventory, entry rate) for values (V, U)."""
    Q, b, g = game.market.max_inventory, game.sensitivity, game.market.risk_aversion
    x = np.arange(-Q, Q + 1)
    leave = game.exit_rate * np.exp(b * utility(V[-1] - game.liquidation_penalty * x**2 - V[:-1], g))
    return leave, game.entry_rate * np.exp(b * utility(V[Q] - V[-1], g))


def value_slope(game, V, field):
    market, out = game.market, np.empty_like(V)
    leave, enter = hazards(game, V)
    cost = market.adverse_selection + market.maker_fee
    for x in range(V.size - 1):
        (ask, bid), gain = quotes(market, V, x), -market.running_penalty * (x - market.max_inventory) ** 2
        sold, bought = fills(market, (ask, bid), field)
        if x > 0:
            gain += sold * utility(ask - cost + V[x - 1] - V[x], market.risk_aversion)
        if x < V.size - 2:
            gain += bought * utility(bid - cost + V[x + 1] - V[x], market.risk_aversion)
        out[x] = -gain - (leave[x] - game.exit_rate) / game.sensitivity
    out[-1] = -game.outside_value / market.horizon - (enter - game.entry_rate) / game.sensitivity
    return out


def law_slope(game, law, V, field):
    market, out = game.market, np.zeros_like(law)
    leave, enter = hazards(game, V)
    for x in range(law.size - 1):
        sold, bought = fills(market, quotes(market, V, x), field)
        if x > 0:
            out[x] -= sold * law[x]
            out[x - 1] += sold * law[x]
        if x < law.size - 2:
            out[x] -= bought * law[x]
            out[x + 1] += bought * law[x]
        out[x] -= leave[x] * law[x]
        out[-1] += leave[x] * law[x]
    out[-1] -= enter * law[-1]
    out[market.max_inventory] += enter * law[-1]
    return out


def reference(game, guess, nodes=22, sweeps=80):
    """(abar, bbar, N) as polynomials through Chebyshev points, sweeps of scipy's DOP853 until they stand still.

    `guess` (t) to (3,) only saves sweeps: what is returned is a fixed point of these sweeps.
    """
    market, Q = game.market, game.market.max_inventory
    x = np.arange(-Q, Q + 1)
    at = 0.5 * market.horizon * (1 - np.cos(np.pi * np.arange(nodes) / (nodes - 1)))
    field = np.array([guess(t) for t in at])
    options = {"method": "DOP853", "rtol": 1e-10, "atol": 1e-12, "dense_output": True}
    end = np.append(-market.terminal_penalty * x**2, 0.0)
    first = np.append(game.initial_active * market.initial_density, 1 - game.initial_active)
    for _ in range(sweeps):
        path = BarycentricInterpolator(at, field)
        value = solve_ivp(lambda t, v, c=path: value_slope(game, v, c(t)), (market.horizon, 0.0), end, **options).sol
        law = solve_ivp(
            lambda t, p, v=value, c=path: law_slope(game, p, v(t), c(t)), (0.0, market.horizon), first, **options
        ).sol
        image = np.empty_like(field)
        for j, t in enumerate(at):
            V, held = value(t), law(t)[:-1]
            both = np.array([quotes(market, V, i) for i in range(x.size)])
            for side in range(2):
                on = ~np.isnan(both[:, side])
                image[j, side] = held[on] @ both[on, side] / held[on].sum()
            image[j, 2] = held.sum()
        moved, field = np.max(np.abs(image - field)), image
        if moved < 1e-10:
            return value, law, BarycentricInterpolator(at, field)
    raise AssertionError(f"the reference did not converge: {moved}")


def field_of(found):
    paths = np.stack([found.mean_field.ask, found.mean_field.bid, found.active], axis=1)
    return lambda t: interpolate_rows(found.times, paths, np.array([t]))[0]


@pytest.mark.parametrize("risk_aversion", [0.0, 0.4])
def test_the_equilibrium_equals_the_coupled_equations_integrated_by_scipy(risk_aversion):
    game = make(market_of(risk_aversion=risk_aversion))
    found = solve_quietly(game, rtol=1e-9)
    value, law, field = reference(game, field_of(found))
    exact, crowd = value(found.times).T, law(found.times).T
    # The reference's integrators are at 1e-10; the solve was asked for 1e-9 (1/k + |V|), a few 1e-9.
    assert found.makers.value == pytest.approx(exact[:, :-1], abs=1e-8)
    assert found.outside_value == pytest.approx(exact[:, -1], abs=1e-8)
    assert found.makers.density * found.active[:, None] == pytest.approx(crowd[:, :-1], abs=1e-8)
    both = np.stack([found.mean_field.ask, found.mean_field.bid, found.active], axis=1)
    assert both == pytest.approx(field(found.times), abs=1e-8)
    rates = [hazards(game, row) for row in exact]
    assert found.exit_hazard == pytest.approx(np.array([leave for leave, _ in rates]), abs=1e-7)
    assert found.entry_hazard == pytest.approx(np.array([enter for _, enter in rates]), abs=1e-7)
    assert found.exit_flow == pytest.approx(
        [leave @ held[:-1] for (leave, _), held in zip(rates, crowd, strict=True)], abs=1e-7
    )
    assert found.entry_flow == pytest.approx(
        [enter * held[-1] for (_, enter), held in zip(rates, crowd, strict=True)], abs=1e-7
    )
    assert found.full_spread == pytest.approx(found.mean_field.ask + found.mean_field.bid, abs=0)
    assert abs(found.active[-1] - found.active[0]) > 0.01


def test_the_hazard_is_the_maximiser_of_gap_less_entropy_cost():
    usual, b, gap = 0.6, 1.3, 0.8

    def loss(theta):
        return -(theta * gap - (theta * np.log(theta / usual) - theta + usual) / b)

    best = minimize_scalar(loss, bounds=(1e-6, 20.0), method="bounded", options={"xatol": 1e-10})
    # A maximum is found to the square root of rounding.
    assert best.x == pytest.approx(usual * np.exp(b * gap), abs=1e-6)
    assert -best.fun == pytest.approx(usual * (np.exp(b * gap) - 1) / b, abs=1e-12)
    # The game's own reward at that control, in the row of those outside: income less cost, V_target - V_source apart.
    game = make(exit_rate=usual, sensitivity=b)
    control = np.zeros((1, game.blocks.sources.size + game.outside + 1))
    control[0, -1] = b * gap
    t, field = np.zeros(1), np.zeros((1, 3))
    reward = game.reward(t, control, field)[0, -1]
    theta = game.rates(t, control, field)[0, -1]
    enter = game.entry_rate
    assert theta == pytest.approx(enter * np.exp(b * gap), rel=1e-14)
    assert reward == pytest.approx(
        game.outside_value / game.horizon - (theta * np.log(theta / enter) - theta + enter) / b, rel=1e-13
    )


def test_without_doors_the_game_is_the_single_one_with_the_flow_over_the_makers():
    closed = {"exit_rate": 0.0, "entry_rate": 0.0}
    found = solve_quietly(make(initial_active=0.5, **closed), rtol=1e-8)
    arrivals = {"ask_arrival": MARKET["ask_arrival"] / 0.5, "bid_arrival": MARKET["bid_arrival"] / 0.5}
    single = solve_quietly(market_of(**arrivals), rtol=1e-8)
    # Two solvers, each within 1e-8 (1/k + |V|), with values below 10.
    assert found.makers.value[0] == pytest.approx(single.value[0], abs=1e-7)
    assert found.makers.density[-1] == pytest.approx(single.density[-1], abs=1e-7)
    assert found.mean_field.ask[0] == pytest.approx(single.mean_field.ask[0], abs=1e-7)
    assert found.mean_field.ask_fill_rate[-1] == pytest.approx(single.mean_field.ask_fill_rate[-1], abs=1e-7)
    assert found.active == pytest.approx(np.full(found.times.size, 0.5), abs=1e-12)
    # Nobody comes or goes: outside is worth its income.
    assert found.outside_value == pytest.approx(1.5 * (1 - found.times / 2.0), abs=1e-12)


def test_insensitive_makers_come_and_go_at_the_usual_rates():
    found = solve_quietly(make(sensitivity=0.0), rtol=1e-8)
    leave, enter = DOORS["exit_rate"], DOORS["entry_rate"]
    steady = enter / (leave + enter)
    exact = steady + (DOORS["initial_active"] - steady) * np.exp(-(leave + enter) * found.times)
    # Exponentials of constant rates between the two groups: rounding and series truncation only.
    assert found.active == pytest.approx(exact, abs=1e-11)
    np.testing.assert_array_equal(found.exit_hazard, np.full_like(found.exit_hazard, leave))


def test_a_better_outside_option_empties_the_market_and_leaves_more_to_those_who_stay():
    poor, rich = (solve_quietly(make(outside_value=value), rtol=1e-7) for value in (0.5, 3.0))
    assert rich.active[-1] < poor.active[-1] - 0.05
    half = np.searchsorted(rich.times, 1.0), np.searchsorted(poor.times, 1.0)
    assert rich.mean_field.ask_fill_rate[half[0]] > poor.mean_field.ask_fill_rate[half[1]]


def test_in_the_middle_of_a_long_game_the_market_is_steady():
    # Penalties and outside income per unit of time as in a day of length 40.
    game = make(market_of(horizon=40.0), outside_value=20.0)
    found = solve_quietly(game, rtol=1e-7)
    middle = np.searchsorted(found.times, 20.0)
    assert found.entry_flow[middle] == pytest.approx(found.exit_flow[middle], abs=1e-6)
    # Long integration of the population alone, by scipy, with the policy frozen as it is in the middle.
    V = np.append(found.makers.value[middle], found.outside_value[middle])
    field = (found.mean_field.ask[middle], found.mean_field.bid[middle], found.active[middle])
    start = np.full(V.size, 1 / V.size)
    end = solve_ivp(
        lambda t, law: law_slope(game, law, V, field), (0.0, 200.0), start, method="Radau", rtol=1e-9, atol=1e-12
    ).y[:, -1]
    # The middle is e^-20 of the relaxation rate from both ends; the solve's tolerance, 1e-7 (1/k + |V|), V about 30.
    assert end[:-1].sum() == pytest.approx(found.active[middle], abs=1e-5)
    assert end[:-1] / end[:-1].sum() == pytest.approx(found.makers.density[middle], abs=1e-5)


def test_under_share_the_whole_flow_is_the_arrival_however_many_makers_there_are():
    found = solve_quietly(make(market_of(competition=Share())), rtol=1e-6)
    quoting = found.active * found.makers.density[:, 1:].sum(axis=1)
    flow = found.active * found.mean_field.ask_fill_rate / (quoting / found.active)
    # An identity of the returned field up to the residual, 1e-6 (1/k + mean).
    assert flow == pytest.approx(np.full(flow.size, MARKET["ask_arrival"]), rel=1e-5)


def test_few_makers_are_solved_and_next_to_none_refused():
    few = solve_quietly(make(initial_active=0.01), rtol=1e-5)
    assert few.certificate.converged
    assert few.active[0] == pytest.approx(0.01, abs=1e-15)
    assert few.mean_field.ask_fill_rate[0] > 50 * MARKET["ask_arrival"]
    with pytest.raises(SolveError, match=r"initial_active 1e-08 .* raise initial_active.*damp the fixed point"):
        solve_quietly(make(initial_active=1e-8), rtol=1e-5, method=Anderson(max_steps=2_000))


def test_the_policy_answers_for_quotes_and_both_rates():
    found = solve_quietly(make(), rtol=1e-6)
    bid, ask = found.policy.quotes(found.times[:, None], found.makers.states)
    np.testing.assert_array_equal(bid, found.makers.policy.bid)
    np.testing.assert_array_equal(ask, found.makers.policy.ask)
    leave = found.policy.exit_rate(found.times[:, None], found.makers.states)
    assert leave == pytest.approx(found.exit_hazard, rel=1e-13)
    assert found.policy.entry_rate(found.times) == pytest.approx(found.entry_hazard, rel=1e-13)
    with pytest.raises(ValueError, match=r"t must be in \[0.0, 2.0\]; was 3.0"):
        found.policy.entry_rate(3.0)
    with pytest.raises(ValueError, match=r"inventory must be an integer from -2 to 2; was 0.5"):
        found.policy.exit_rate(0.0, 0.5)


@settings(max_examples=8, deadline=None)
@given(
    outside=st.floats(-2.0, 4.0),
    doors=st.tuples(st.floats(0.0, 2.0), st.floats(0.0, 2.0)),
    sensitivity=st.floats(0.0, 2.0),
    active=st.floats(0.1, 1.0),
    scale=st.sampled_from([0.01, 100.0]),
)
def test_mass_balance_certificate_and_unit_of_price(outside, doors, sensitivity, active, scale):
    parameters = {"exit_rate": doors[0], "entry_rate": doors[1], "initial_active": active}
    found = solve_quietly(make(outside_value=outside, sensitivity=sensitivity, **parameters), rtol=1e-6)
    proof = found.certificate
    assert proof.converged
    assert 0 <= proof.exploitability < 1e-6
    assert proof.mass_error < 1e-12
    assert np.all((found.active > 0) & (found.active <= 1 + 1e-12))
    # dN/dt = entry - exit, integrated by Simpson's rule on the pairs of steps.
    flow, step = found.entry_flow - found.exit_flow, np.diff(found.times)[::2]
    gained = np.sum(step / 3 * (flow[:-2:2] + 4 * flow[1:-1:2] + flow[2::2]))
    assert found.active[-1] - found.active[0] == pytest.approx(gained, abs=1e-5)
    priced = {name: MARKET[name] * scale for name in ("running_penalty", "terminal_penalty", "maker_fee")} | {
        "fill_decay": MARKET["fill_decay"] / scale
    }
    other = solve_quietly(
        make(
            market_of(**priced),
            outside_value=outside * scale,
            sensitivity=sensitivity / scale,
            liquidation_penalty=DOORS["liquidation_penalty"] * scale,
            **parameters,
        ),
        rtol=1e-6,
        atol=1e-12 * scale,
    )
    # Both solves are within 1e-6 (1/k + |V|), values up to 20.
    assert other.makers.value[0] / scale == pytest.approx(found.makers.value[0], abs=5e-5)
    assert other.active[-1] == pytest.approx(found.active[-1], abs=1e-5)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"market": 1.0}, TypeError, "market must be a MarketMakingGame; was float"),
        ({"market": market_of(initial_mean=2, initial_std=0)}, ValueError, "initial_mean of market must leave makers"),
        ({"outside_value": np.inf}, ValueError, "outside_value must be finite"),
        ({"exit_rate": -1.0}, ValueError, "exit_rate must be finite and not negative; was -1.0"),
        ({"entry_rate": -1.0}, ValueError, "entry_rate must be finite and not negative; was -1.0"),
        ({"sensitivity": -1.0}, ValueError, "sensitivity must be finite and not negative; was -1.0"),
        ({"initial_active": 0.0}, ValueError, r"initial_active must be in \(0, 1\]; was 0.0"),
        ({"initial_active": 1.5}, ValueError, r"initial_active must be in \(0, 1\]; was 1.5"),
        ({"liquidation_penalty": -0.1}, ValueError, "liquidation_penalty must be finite and not negative; was -0.1"),
    ],
)
def test_parameters_that_make_no_sense_are_refused_by_name(changes, error, message):
    with pytest.raises(error, match=message):
        EntryExitGame(**{"market": MarketMakingGame(**MARKET), **DOORS, **changes})


def test_leavers_pay_the_terminal_penalty_unless_told():
    one, other = (solve_quietly(make(liquidation_penalty=given_), rtol=1e-6) for given_ in (None, 0.2))
    np.testing.assert_array_equal(one.makers.value, other.makers.value)


def test_an_unfinished_fixed_point_is_more_exploitable_than_a_finished_one():
    rough = solve_quietly(make(), rtol=1e-9, method=Picard(max_sweeps=3), throw=False).certificate
    assert not rough.converged
    assert rough.exploitability > 1e3 * solve_quietly(make(), rtol=1e-9).certificate.exploitability


def test_a_market_that_most_makers_leave_is_the_same_by_two_methods():
    # Undamped, replies swing between a full and an empty market here; U - V would be 20/beta in a full one.
    rich = {"outside_value": 60.0, "exit_rate": 0.5, "entry_rate": 0.2, "sensitivity": 1.0, "initial_active": 1.0}
    market = market_of(horizon=10.0, fill_decay=0.5, max_inventory=4, competition=1.0, maker_fee=0.0)
    mixed = solve_quietly(make(market, **rich), rtol=1e-6)
    newton = solve_quietly(make(market, **rich), rtol=1e-6, method=NewtonKrylov())
    assert mixed.active[-1] < 0.8
    # Both within 1e-6 (1/k + |V|), V up to 60; N moves by beta N per unit of V.
    assert newton.active[-1] == pytest.approx(mixed.active[-1], abs=1e-4)
    assert newton.makers.value[0] == pytest.approx(mixed.makers.value[0], abs=2e-4)


def test_the_exploitability_is_what_a_best_reply_to_the_fixed_crowd_gains():
    """Both sides of it by scipy: the best reply's equations, and the returned quotes and rates held fixed."""
    game = make()
    found = solve_quietly(game, rtol=1e-9, method=Picard(max_sweeps=2), throw=False)
    market, field, policy = game.market, field_of(found), found.policy
    Q, T, beta = market.max_inventory, market.horizon, game.sensitivity
    x = np.arange(-Q, Q + 1)

    def effort(rate, usual):
        return (rate * np.log(rate / usual) - rate + usual) / beta

    def held(t, J):
        t, out = min(max(t, 0.0), T), np.empty_like(J)
        leave, enter = policy.exit_rate(t, x), float(policy.entry_rate(t))
        bid, ask = policy.quotes(t, x)
        for i in range(x.size):
            gain = -market.running_penalty * x[i] ** 2
            sold, bought = fills(market, (ask[i], bid[i]), field(t))
            if i > 0:
                gain += sold * (ask[i] - market.maker_fee + J[i - 1] - J[i])
            if i < 2 * Q:
                gain += bought * (bid[i] - market.maker_fee + J[i + 1] - J[i])
            gain += leave[i] * (J[-1] - game.liquidation_penalty * x[i] ** 2 - J[i]) - effort(leave[i], game.exit_rate)
            out[i] = -gain
        out[-1] = -game.outside_value / T - enter * (J[Q] - J[-1]) + effort(enter, game.entry_rate)
        return out

    def best(t, V):
        return value_slope(game, V, field(min(max(t, 0.0), T)))

    end = np.append(-market.terminal_penalty * x**2, 0.0)
    options = {"rtol": 1e-9, "atol": 1e-11, "max_step": 0.02}
    reply, kept = (solve_ivp(slope, (T, 0.0), end, **options).y[:, -1] for slope in (best, held))
    gain = game.initial_density @ (reply - kept)
    assert gain > 1e-5
    # The policy is interpolated between nodes: a few digits.
    assert found.certificate.exploitability == pytest.approx(gain, rel=1e-3)
    # At the equilibrium there is nothing to gain.
    assert solve_quietly(game, rtol=1e-9).certificate.exploitability < 1e-9 * gain


def test_a_market_that_everybody_leaves_for_good_is_refused():
    market = market_of(horizon=4000.0)
    with pytest.raises(SolveError, match="the mean field left the range of floating point"):
        solve_quietly(make(market, exit_rate=1.0, entry_rate=0.0, sensitivity=0.0), rtol=1e-4)


@pytest.mark.parametrize("method", [Picard(), FictitiousPlay(weight=10.0), NewtonKrylov()])
def test_every_method_finds_the_same_market(method):
    usual, found = solve_quietly(make(), rtol=1e-6), solve_quietly(make(), rtol=1e-6, method=method)
    assert found.certificate.converged
    # Twice the tolerance: rtol (1/k + |V|).
    assert found.makers.value[0] == pytest.approx(usual.makers.value[0], rel=2e-6, abs=2e-6)
