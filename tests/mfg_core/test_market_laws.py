"""Laws that every market-making equilibrium obeys, over all forms of competition, costs, risk aversion and bounds."""

from __future__ import annotations

import math
import warnings
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mfg_core import EdgeMassWarning, MarketMakingGame, OutsideOption, Picard, Share, solve_mfg

RTOL = 1e-7
FEW = settings(deadline=None, max_examples=25)
EPS = np.finfo(np.float64).eps


@st.composite
def market_games(draw, bounds=True, sides=("ask_arrival", "bid_arrival")):
    """Games of any kind, in units of 1/k and of the horizon, so that none is too steep for its grid."""
    k, horizon = draw(st.floats(0.2, 5.0)), draw(st.floats(0.2, 20.0))
    size = draw(st.integers(1, 4))
    forms = st.sampled_from([0.0, 0.4, 1.0, OutsideOption(0.6 * k), OutsideOption(k), Share()])
    flow, tilt = draw(st.floats(0.5, 6.0)), draw(st.floats(-0.3, 0.3)) if len(sides) == 2 else 0.0
    parameters = {
        "ask_arrival": flow * (1.0 + tilt) / horizon,
        "bid_arrival": flow * (1.0 - tilt) / horizon,
        "fill_decay": k,
        "running_penalty": draw(st.floats(0.0, 0.5)) / (k * horizon),
        "terminal_penalty": draw(st.floats(0.0, 0.5)) / k,
        "horizon": horizon,
        "max_inventory": size,
        "competition": draw(forms),
        "initial_mean": float(draw(st.integers(-1, 1))) if len(sides) == 2 and size > 1 else 0.0,
        "initial_std": draw(st.sampled_from([0.0, 0.5, 2.0])),
        "adverse_selection": draw(st.sampled_from([0.0, 0.3])) / k,
        "maker_fee": draw(st.sampled_from([-0.2, 0.0, 0.1])) / k,
        "risk_aversion": draw(st.sampled_from([0.0, 0.5])) * k,
    }
    if bounds and draw(st.booleans()):
        parameters["min_half_spread"] = draw(st.sampled_from([-math.inf, 0.7])) / k
        parameters["max_half_spread"] = draw(st.sampled_from([1.6, math.inf])) / k
    return MarketMakingGame(**parameters)


def solve_quietly(game, rtol=RTOL, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", EdgeMassWarning)
        return solve_mfg(game, rtol=rtol, atol=0.0, **options)


def price_unit(found):
    """1/k + the largest value: what errors of values and quotes are relative to."""
    return 1.0 / found.game.fill_decay + float(np.abs(found.value).max())


def scaled(game, money, clock):
    """The same game with prices in a unit `money` times smaller and times in one `clock` times smaller."""
    prices = ("adverse_selection", "maker_fee", "min_half_spread", "max_half_spread", "terminal_penalty")
    changes = {name: money * getattr(game, name) for name in prices}
    changes |= {name: getattr(game, name) / money for name in ("fill_decay", "risk_aversion")}
    changes |= {name: getattr(game, name) / clock for name in ("ask_arrival", "bid_arrival")}
    changes |= {"running_penalty": money * game.running_penalty / clock, "horizon": clock * game.horizon}
    if isinstance(game.competition, OutsideOption):
        changes["competition"] = OutsideOption(game.competition.crowd_decay / money)
    return replace(game, **changes)


def reflected(game):
    """Buyers for sellers, short for long."""
    return replace(game, ask_arrival=game.bid_arrival, bid_arrival=game.ask_arrival, initial_mean=-game.initial_mean)


@FEW
@given(game=market_games())
def test_probability_is_kept_and_the_value_ends_at_the_terminal_cost(game):
    found = solve_quietly(game)
    assert found.certificate.converged
    assert found.certificate.residual <= found.certificate.tolerance
    assert found.density.min() >= 0.0
    # A few rounding errors a step.
    np.testing.assert_allclose(found.density.sum(axis=1), 1.0, rtol=0.0, atol=8 * EPS * found.times.size)
    assert found.certificate.mass_error == np.abs(found.density.sum(axis=1) - 1.0).max()
    np.testing.assert_allclose(found.density[0], game.initial_density, rtol=4 * EPS)
    tiny = np.finfo(np.float64).tiny  # below it numbers have no relative rounding
    np.testing.assert_allclose(found.value[-1], -game.terminal_penalty * game.states**2, rtol=4 * EPS, atol=tiny)
    assert np.array_equal(
        np.isnan(found.policy.ask), np.broadcast_to(game.states == -game.max_inventory, found.value.shape)
    )
    assert np.array_equal(
        np.isnan(found.policy.bid), np.broadcast_to(game.states == game.max_inventory, found.value.shape)
    )


@FEW
@given(game=market_games())
def test_the_value_is_concave_and_a_longer_maker_asks_less_unless_quotes_are_bounded_above(game):
    found = solve_quietly(replace(game, max_half_spread=math.inf))
    rounding = 64 * EPS * price_unit(found)
    assert np.diff(found.value, 2, axis=1).max() <= rounding
    assert np.diff(found.policy.ask[:, 1:], axis=1).max(initial=-math.inf) <= rounding
    assert np.diff(found.policy.bid[:, :-1], axis=1).min(initial=math.inf) >= -rounding


def test_an_upper_bound_below_the_cost_of_a_fill_breaks_concavity_and_the_peak_at_flat():
    """A maker at the limit loses on one side only, so that it is better off than its neighbour (docs/derivation.md)."""
    game = MarketMakingGame(
        ask_arrival=1.0,
        bid_arrival=1.0,
        fill_decay=1.0,
        running_penalty=0.0,
        terminal_penalty=0.0,
        horizon=1.0,
        max_inventory=3,
        max_half_spread=0.5,
        adverse_selection=1.0,
    )
    found = solve_quietly(game)
    assert np.diff(found.value[0], 2).max() > 0.01
    assert found.value[0].argmax() in (0, 6)


@FEW
@given(game=market_games(sides=()))
def test_in_a_symmetric_game_flat_is_best_and_no_side_is_dearer(game):
    assert game.max_half_spread >= game.fill_cost  # some quote earns something
    found = solve_quietly(game)
    unit = price_unit(found)
    flat = game.max_inventory
    assert np.max(found.value - found.value[:, flat : flat + 1]) <= 64 * EPS * unit
    np.testing.assert_allclose(found.net_skew, 0.0, atol=1e-9 * unit)
    np.testing.assert_allclose(found.value, found.value[:, ::-1], atol=1e-9 * unit)


@FEW
@given(game=market_games(), money=st.sampled_from([1 / 64, 100.0]), clock=st.sampled_from([1 / 3600, 8.0]))
def test_units_of_price_and_time_change_nothing_but_the_numbers(game, money, clock):
    found, other = solve_quietly(game), solve_quietly(scaled(game, money, clock))
    unit = price_unit(found)
    # With atol 0 every decision is taken on pure numbers: the same grid, the same answer to rounding. Only where a
    # residual is nothing but rounding may the sweeps be one more or one less.
    np.testing.assert_allclose(other.times / clock, found.times, atol=1e-9 * game.horizon)
    np.testing.assert_allclose(other.value / money, found.value, atol=1e-9 * unit)
    np.testing.assert_allclose(other.density, found.density, atol=1e-9)
    np.testing.assert_allclose(other.policy.ask / money, found.policy.ask, atol=1e-9 * unit)
    np.testing.assert_allclose(other.full_spread / money, found.full_spread, atol=1e-9 * unit)
    np.testing.assert_allclose(
        other.mean_field.bid_fill_rate * clock, found.mean_field.bid_fill_rate, atol=1e-8 * game.bid_arrival
    )
    proof, same = found.certificate, other.certificate
    assert same.tolerance / money == pytest.approx(proof.tolerance, rel=1e-9)
    assert same.exploitability / money == pytest.approx(proof.exploitability, rel=1e-3, abs=1e-12 * unit)


@FEW
@given(game=market_games())
def test_swapping_the_sides_reflects_the_equilibrium(game):
    found, mirror = solve_quietly(game), solve_quietly(reflected(game))
    close, unit = 4 * RTOL, price_unit(found)
    np.testing.assert_allclose(mirror.value[0], found.value[0, ::-1], atol=close * unit)
    np.testing.assert_allclose(mirror.density[-1], found.density[-1, ::-1], atol=close)
    np.testing.assert_allclose(mirror.policy.ask[0], found.policy.bid[0, ::-1], atol=close * unit)
    for side, other in (("ask", "bid"), ("ask_fill_rate", "bid_fill_rate")):
        for row in (0, -1):
            here, there = getattr(found.mean_field, side)[row], getattr(mirror.mean_field, other)[row]
            assert there == pytest.approx(here, rel=close * unit * game.fill_decay, abs=close * unit)


@FEW
@given(game=market_games(bounds=False), fee=st.floats(-0.5, 0.5), form=st.sampled_from([1.0, Share()]))
def test_a_fee_that_all_pay_is_passed_on_whole_where_nobody_can_stay_away(game, fee, form):
    game = replace(game, competition=form)
    fee /= game.fill_decay
    found, taxed = solve_quietly(game), solve_quietly(replace(game, maker_fee=game.maker_fee + fee))
    close, unit = 4 * RTOL, price_unit(found)
    np.testing.assert_allclose(taxed.value[0], found.value[0], atol=close * unit)
    np.testing.assert_allclose(taxed.policy.ask[0], found.policy.ask[0] + fee, atol=close * unit)
    np.testing.assert_allclose(taxed.density[-1], found.density[-1], atol=close)


@FEW
@given(game=market_games())
def test_exploitability_is_not_negative_and_falls_with_the_square_of_the_tolerance(game):
    unit = 1.0 / game.fill_decay
    for rtol in (1e-2, 1e-4, 1e-7):
        found = solve_quietly(game, rtol)
        # Quotes that are off by e/k cost the share e^2/2 of the gain of a fill, of which there are up to ten or so.
        # Between the nodes of the coarsest grid they are off by up to 1e-5/k.
        off = rtol * (1.0 + np.abs(found.value).max() / unit)
        assert 0.0 <= found.certificate.exploitability <= (5.0 * off**2 + 1e-9) * unit


@FEW
@given(game=market_games().filter(lambda game: game.crowd_weight > 0.0))
def test_exploitability_falls_as_a_stopped_solve_goes_on(game):
    stopped = solve_quietly(game, method=Picard(damping=0.3, max_sweeps=1), throw=False).certificate
    done = [solve_quietly(game, rtol).certificate.exploitability for rtol in (1e-2, 1e-7)]
    unit = 1.0 / game.fill_decay
    # A path that is off by e shifts V, hence all quotes, by much less where fills are few: the least is asked.
    assert stopped.exploitability >= 0.0
    assert done[1] <= done[0] + 1e-9 * unit
    if stopped.residual > 0.05 * unit:  # the first guess was not the answer
        assert not stopped.converged
        assert stopped.exploitability > 10.0 * done[1]
