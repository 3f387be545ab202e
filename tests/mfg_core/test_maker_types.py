"""Several types of makers in one crowd: against scipy's integrators, the single game, and laws."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import solve_ivp
from scipy.interpolate import BarycentricInterpolator

from mfg_core import EdgeMassWarning, MarketMakingGame, MixedMarketMakingGame, OutsideOption, Share, solve_mfg
from mfg_core.family.time_grid import interpolate_rows
from mfg_core.market.intensity_shapes import Exponential, Logistic, Power

HORIZON = 1.5
FAST = {
    "ask_arrival": 1.3,
    "bid_arrival": 1.0,
    "fill_decay": 1.2,
    "running_penalty": 0.05,
    "terminal_penalty": 0.2,
    "horizon": HORIZON,
    "max_inventory": 3,
    "initial_mean": 1.0,
    "initial_std": 1.0,
}
SLOW = {
    "ask_arrival": 0.4,
    "bid_arrival": 0.5,
    "fill_decay": 0.7,
    "running_penalty": 0.3,
    "terminal_penalty": 0.5,
    "horizon": HORIZON,
    "max_inventory": 2,
    "competition": 0.6,
    "adverse_selection": 0.15,
    "maker_fee": -0.05,
}


def make(parameters, **changes):
    return MarketMakingGame(**{**parameters, **changes})


TWO = MixedMarketMakingGame(makers=(make(FAST), make(SLOW)), shares=(0.3, 0.7))

AVERSE = MixedMarketMakingGame(makers=(make(FAST), make(SLOW, risk_aversion=0.4)), shares=(0.3, 0.7))


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


def quotes_of(market, value):
    """(ask, bid) by the formulas of the page, one inventory at a time; nan where a side is not quoted."""
    n = value.size
    ask, bid = np.full(n, np.nan), np.full(n, np.nan)
    for i in range(n):
        if i > 0:
            ask[i] = margin_of(market) - (value[i - 1] - value[i])
        if i < n - 1:
            bid[i] = margin_of(market) - (value[i + 1] - value[i])
    return [np.clip(side, market.min_half_spread, market.max_half_spread) for side in (ask, bid)]


def rates_of(market, value, means):
    c = market.competition
    return [
        arrival * np.exp(-market.fill_decay * (quote - c * mean))
        for arrival, quote, mean in zip(
            (market.ask_arrival, market.bid_arrival), quotes_of(market, value), means, strict=True
        )
    ]


def value_slope(market, value, means):
    cost, out = market.adverse_selection + market.maker_fee, np.empty(value.size)
    (ask, bid), (sold, bought) = quotes_of(market, value), rates_of(market, value, means)
    for i in range(value.size):
        gain = -market.running_penalty * (i - market.max_inventory) ** 2
        if i > 0:
            gain += sold[i] * utility(ask[i] - cost + value[i - 1] - value[i], market.risk_aversion)
        if i < value.size - 1:
            gain += bought[i] * utility(bid[i] - cost + value[i + 1] - value[i], market.risk_aversion)
        out[i] = -gain
    return out


def law_slope(market, law, value, means):
    out = np.zeros(law.size)
    sold, bought = rates_of(market, value, means)
    for i in range(law.size):
        if i > 0:
            out[i] -= law[i] * sold[i]
            out[i - 1] += law[i] * sold[i]
        if i < law.size - 1:
            out[i] -= law[i] * bought[i]
            out[i + 1] += law[i] * bought[i]
    return out


def reference(markets, shares, guess, nodes=24, sweeps=60):
    """Mean paths as polynomials through Chebyshev points, sweeps of scipy's DOP853 until they stand still.

    `guess` (t) to (2,) only saves sweeps: what is returned is a fixed point of these sweeps.
    """
    horizon = markets[0].horizon
    at = 0.5 * horizon * (1 - np.cos(np.pi * np.arange(nodes) / (nodes - 1)))
    means = np.array([guess(t) for t in at]).T
    options = {"method": "DOP853", "rtol": 1e-11, "atol": 1e-13, "dense_output": True}
    for _ in range(sweeps):
        path = BarycentricInterpolator(at, means.T)
        values, laws = [], []
        for market in markets:
            end = -market.terminal_penalty * market.states**2
            value = solve_ivp(
                lambda t, v, m=market, c=path: value_slope(m, v, c(t)), (horizon, 0.0), end, **options
            ).sol
            law = solve_ivp(
                lambda t, p, m=market, v=value, c=path: law_slope(m, p, v(t), c(t)),
                (0.0, horizon),
                market.initial_density,
                **options,
            ).sol
            values.append(value)
            laws.append(law)
        image = np.empty_like(means)
        for j, t in enumerate(at):
            for side in range(2):
                total = held = 0.0
                for market, share, value, law in zip(markets, shares, values, laws, strict=True):
                    quote = quotes_of(market, value(t))[side]
                    quoting = ~np.isnan(quote)
                    total += share * np.sum(law(t)[quoting] * quote[quoting])
                    held += share * np.sum(law(t)[quoting])
                image[side, j] = total / held
        moved = np.max(np.abs(image - means))
        means = image
        if moved < 1e-11:
            return values, laws, BarycentricInterpolator(at, means.T)
    raise AssertionError(f"the reference did not converge: {moved}")


def field_of(found):
    paths = np.stack([found.mean_field.ask, found.mean_field.bid], axis=1)
    return lambda t: interpolate_rows(found.times, paths, np.array([t]))[0]


@pytest.mark.parametrize("game", [TWO, AVERSE])
def test_two_types_equal_the_coupled_equations_integrated_by_scipy(game):
    found = solve_quietly(game, rtol=1e-9)
    values, laws, means = reference(game.makers, game.shares, field_of(found))
    # The reference's integrators are at 1e-11; the solve was asked for 1e-9 (1/k + |V|), a few 1e-9.
    for maker, value, law in zip(found.makers, values, laws, strict=True):
        assert maker.value == pytest.approx(value(found.times).T, abs=5e-9)
        assert maker.density == pytest.approx(law(found.times).T, abs=5e-9)
    both = np.stack([found.mean_field.ask, found.mean_field.bid], axis=1)
    assert both == pytest.approx(means(found.times), abs=5e-9)
    quick, slow = found.makers
    assert not np.allclose(quick.policy.ask[0, 1:6], slow.policy.ask[0, 1], atol=1e-3)


def test_an_outside_option_is_the_relative_weight_it_stands_for():
    weighted = MixedMarketMakingGame(makers=(make(FAST, competition=0.5), make(SLOW)), shares=(0.5, 0.5))
    optional = MixedMarketMakingGame(makers=(make(FAST, competition=OutsideOption(0.6)), make(SLOW)), shares=(0.5, 0.5))
    one, other = solve_quietly(weighted, rtol=1e-8), solve_quietly(optional, rtol=1e-8)
    np.testing.assert_array_equal(one.makers[0].value, other.makers[0].value)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"min_half_spread": 0.6, "max_half_spread": 1.2},
        {"maker_fee": 0.2, "risk_aversion": 0.3},
        {"intensity_shape": Logistic(0.5)},
        {"intensity_shape": Power(4.0), "competition": Share()},
    ],
)
def test_equal_types_and_one_type_are_the_single_game(changes):
    single = solve_quietly(make(FAST, **changes), rtol=1e-8)
    one = solve_quietly(MixedMarketMakingGame(makers=(make(FAST, **changes),), shares=(1.0,)), rtol=1e-8)
    three = solve_quietly(MixedMarketMakingGame(makers=(make(FAST, **changes),) * 3, shares=(0.5, 0.3, 0.2)), rtol=1e-8)
    # Two solvers, each within 1e-8 (1/k + |V|); the values are below 5.
    for found in (one, three):
        for maker in found.makers:
            assert maker.value[0] == pytest.approx(single.value[0], abs=1e-7)
            assert maker.inventory_variance[-1] == pytest.approx(single.inventory_variance[-1], abs=1e-7)
        assert found.mean_field.ask[0] == pytest.approx(single.mean_field.ask[0], abs=1e-7)
        assert found.mean_field.bid_fill_rate[-1] == pytest.approx(single.mean_field.bid_fill_rate[-1], abs=1e-7)
        assert found.full_spread[0] == pytest.approx(single.full_spread[0], abs=2e-7)
        assert found.net_skew[0] == pytest.approx(single.net_skew[0], abs=2e-7)
        assert found.inventory_variance[-1] == pytest.approx(single.inventory_variance[-1], abs=1e-7)


def test_one_type_that_starts_at_the_end_of_its_grid_is_the_single_game():
    market = make(FAST, initial_mean=3.0, initial_std=0.0)
    single = solve_quietly(market, rtol=1e-8)
    found = solve_quietly(MixedMarketMakingGame(makers=(market,), shares=(1.0,)), rtol=1e-8)
    # Nobody bids at t = 0; the mean is the limit there. Two solvers, each within 1e-8 (1/k + |V|).
    assert found.makers[0].value[0] == pytest.approx(single.value[0], abs=1e-7)
    assert found.mean_field.bid[0] == pytest.approx(single.mean_field.bid[0], abs=1e-7)


def test_without_competition_each_type_is_alone():
    makers = (make(FAST, competition=0.0), make(SLOW, competition=0.0))
    found = solve_quietly(MixedMarketMakingGame(makers=makers, shares=(0.4, 0.6)), rtol=1e-8)
    for market, part in zip(makers, found.makers, strict=True):
        # Two solves within 1e-8 (1/k + |V|) each.
        assert part.value[0] == pytest.approx(solve_quietly(market, rtol=1e-8).value[0], abs=1e-7)


@pytest.mark.parametrize("shape", [Exponential(), Power(5.0)])
def test_under_share_the_whole_flow_of_a_side_is_the_arrival(shape):
    flows = {"ask_arrival": 1.1, "bid_arrival": 0.8, "competition": Share()}
    makers = (make(FAST, **flows, intensity_shape=shape), make(SLOW, **flows))
    found = solve_quietly(MixedMarketMakingGame(makers=makers, shares=(0.3, 0.7)), rtol=1e-7)
    quoting = sum(share * part.density[:, 1:].sum(axis=1) for share, part in zip((0.3, 0.7), found.makers, strict=True))
    # An identity of the mean-field map, up to the residual 1e-7 (1/k + mean).
    assert found.mean_field.ask_fill_rate / quoting == pytest.approx(np.full(found.times.size, 1.1), rel=1e-6)


def test_inventories_over_all_makers_are_those_of_the_mixed_law():
    found = solve_quietly(TWO, rtol=1e-6)
    states = np.concatenate([maker.states for maker in found.makers])
    law = np.concatenate([share * maker.density for share, maker in zip(TWO.shares, found.makers, strict=True)], axis=1)
    mean = law @ states
    assert found.inventory_mean == pytest.approx(mean, abs=1e-12)
    assert found.inventory_variance == pytest.approx(law @ states**2 - mean**2, abs=1e-12)
    assert found.derisk_probability(1.5) == pytest.approx(law[:, np.abs(states) < 1.5].sum(axis=1), abs=1e-12)


@settings(max_examples=8, deadline=None)
@given(
    share=st.floats(0.05, 0.95),
    decays=st.tuples(st.floats(0.5, 2.0), st.floats(0.5, 2.0)),
    penalty=st.floats(0.0, 0.5),
    scale=st.sampled_from([0.01, 100.0]),
)
def test_mass_order_of_types_and_unit_of_price(share, decays, penalty, scale):
    first = make(FAST, max_inventory=2, fill_decay=decays[0], terminal_penalty=penalty)
    second = make(SLOW, fill_decay=decays[1])
    found = solve_quietly(MixedMarketMakingGame(makers=(first, second), shares=(share, 1 - share)), rtol=1e-6)
    proof = found.certificate
    assert proof.converged
    assert 0 <= proof.exploitability < 1e-6
    assert proof.mass_error < 1e-12
    for part in found.makers:
        assert np.all(part.density >= 0)
        # A type's mass is kept by itself: rounding over a few hundred steps.
        assert part.density.sum(axis=1) == pytest.approx(np.ones(found.times.size), abs=1e-11)
        np.testing.assert_array_equal(part.value[-1], -part.game.terminal_penalty * part.states**2)

    def in_unit(market):
        return make(
            {name: getattr(market, name) for name in market.__slots__},
            fill_decay=market.fill_decay / scale,
            **{
                name: getattr(market, name) * scale
                for name in ("running_penalty", "terminal_penalty", "adverse_selection", "maker_fee")
            },
        )

    swapped = MixedMarketMakingGame(makers=(in_unit(second), in_unit(first)), shares=(1 - share, share))
    other = solve_quietly(swapped, rtol=1e-6, atol=1e-12 * scale)
    # Both solves are within 1e-6 (1/k + |V|), values up to 10.
    assert other.makers[1].value[0] / scale == pytest.approx(found.makers[0].value[0], abs=3e-5)
    assert other.mean_field.ask[0] / scale == pytest.approx(found.mean_field.ask[0], abs=1e-5)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"makers": ()}, ValueError, "makers must hold at least one MarketMakingGame; was empty"),
        ({"makers": (1.0, 2.0)}, TypeError, "makers must be a tuple of MarketMakingGame"),
        ({"makers": (make(FAST), make(SLOW, horizon=2.0))}, ValueError, "horizon must be the same in all makers"),
        ({"makers": (make(FAST), make(SLOW, competition=Share()))}, ValueError, "competition must be Share"),
        (
            {"makers": (make(FAST, initial_mean=3, initial_std=0), make(SLOW, initial_mean=2))},
            ValueError,
            "initial_mean of makers must leave makers who quote each side",
        ),
        ({"shares": (1.0,)}, ValueError, "shares must be one number for each of the 2 makers"),
        ({"shares": (0.5, 0.6)}, ValueError, "shares must sum to 1"),
        ({"shares": (1.0, 0.0)}, ValueError, r"shares\[1\] must be finite and positive; was 0.0"),
        ({"shares": (math.nan, 1.0)}, ValueError, r"shares\[0\] must be a real number"),
    ],
)
def test_parameters_that_make_no_sense_are_refused_by_name(changes, error, message):
    with pytest.raises(error, match=message):
        MixedMarketMakingGame(**{"makers": TWO.makers, "shares": TWO.shares, **changes})
