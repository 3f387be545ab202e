"""Quotes of the maker without a crowd: reference numbers, the ODE, the matrix exponential, the equilibrium solver."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import solve_ivp
from scipy.linalg import expm

from mfg_core import EdgeMassWarning, MarketMakingGame, solve_mfg
from strategies.intraday.lone_maker import (
    LoneMaker,
    asymptotic_quotes,
    avellaneda_stoikov_quotes,
    finite_horizon_quotes,
)

REFERENCE = LoneMaker(ask_arrival=0.9, bid_arrival=0.9, fill_decay=0.3, volatility=0.3, risk_aversion=0.01)
UNEVEN = LoneMaker(ask_arrival=0.7, bid_arrival=1.3, fill_decay=0.8, volatility=0.5, risk_aversion=0.3, fill_cost=-0.05)

makers = st.builds(
    LoneMaker,
    ask_arrival=st.floats(0.1, 5.0),
    bid_arrival=st.floats(0.1, 5.0),
    fill_decay=st.floats(0.1, 5.0),
    volatility=st.floats(0.0, 1.0),
    risk_aversion=st.floats(0.001, 1.0),
    fill_cost=st.floats(-0.5, 0.5),
)


def solved_by_ode(maker, largest, seconds):
    """Bid half-spreads (2Q,) from log v' = alpha q^2 - eta (v_q+1 / v_q) - ..., integrated by a stiff solver."""
    q = np.arange(-largest, largest + 1)
    gamma, k = maker.risk_aversion, maker.fill_decay
    loss = math.exp(-k * maker.fill_cost) * (1.0 + gamma / k) ** -(1.0 + k / gamma)
    buys, sells = maker.bid_arrival * loss, maker.ask_arrival * loss

    def slope(_, u):
        out = -0.5 * k * gamma * maker.volatility**2 * q**2
        out[:-1] += buys * np.exp(u[1:] - u[:-1])
        out[1:] += sells * np.exp(u[:-1] - u[1:])
        return out

    u = solve_ivp(slope, (0.0, seconds), np.zeros(q.size), method="Radau", rtol=1e-10, atol=1e-11).y[:, -1]
    return math.log1p(gamma / k) / gamma + maker.fill_cost + (u[:-1] - u[1:]) / k


def test_the_exact_quotes_are_the_published_ones():
    """Computed by others from Guéant, Lehalle & Fernandez-Tapia (2013): A = 0.9, T = 600, Q = 30."""
    quotes = finite_horizon_quotes(REFERENCE, 30, np.array([600.0]))[:, 0]
    assert quotes[30, 0] == pytest.approx(3.3130454098, abs=6e-11)
    assert quotes[40, 0] == pytest.approx(3.9929325621, abs=6e-11)
    np.testing.assert_allclose(quotes[::-1, 1], quotes[:, 0], rtol=1e-12)  # sides alike: the ask mirrors the bid


def test_the_closed_formula_gives_the_published_quotes():
    quotes = asymptotic_quotes(REFERENCE, 30)
    assert quotes[30, 0] == pytest.approx(3.3129151986, abs=6e-11)
    assert quotes[40, 0] == pytest.approx(3.9915735239, abs=6e-11)
    np.testing.assert_allclose(quotes[::-1, 1], quotes[:, 0], rtol=1e-12)


@pytest.mark.parametrize("maker", [REFERENCE, UNEVEN])
@pytest.mark.parametrize("seconds", [0.3, 20.0])
def test_the_exact_quotes_solve_the_equation(maker, seconds):
    quotes = finite_horizon_quotes(maker, 6, np.array([0.0, seconds]))
    np.testing.assert_allclose(quotes[:-1, 1, 0], solved_by_ode(maker, 6, seconds), rtol=1e-8)
    np.testing.assert_allclose(quotes[:-1, 0, 0], maker.margin, rtol=1e-14)  # at the close a lot is worth the mid


@given(maker=makers, largest=st.integers(1, 5), seconds=st.floats(0.0, 5.0))
def test_the_exact_quotes_are_those_of_the_matrix_exponential(maker, largest, seconds):
    q = np.arange(-largest, largest + 1.0)
    eta = math.exp(maker.log_gain_factor)
    system = np.diag(0.5 * maker.fill_decay * maker.risk_aversion * maker.volatility**2 * q**2)
    system -= np.diag(np.full(2 * largest, maker.bid_arrival * eta), 1)
    system -= np.diag(np.full(2 * largest, maker.ask_arrival * eta), -1)
    v = expm(-seconds * system) @ np.ones(q.size)
    quotes = finite_horizon_quotes(maker, largest, np.array([seconds]))[:, 0]
    np.testing.assert_allclose(quotes[:-1, 0], maker.margin + np.log(v[:-1] / v[1:]) / maker.fill_decay, atol=1e-9)
    np.testing.assert_allclose(quotes[1:, 1], maker.margin + np.log(v[1:] / v[:-1]) / maker.fill_decay, atol=1e-9)
    assert np.isnan(quotes[-1, 0])
    assert np.isnan(quotes[0, 1])


@pytest.mark.parametrize("maker", [REFERENCE, UNEVEN])
def test_the_solver_of_the_game_without_a_crowd_agrees(maker):
    game = MarketMakingGame(
        ask_arrival=maker.ask_arrival,
        bid_arrival=maker.bid_arrival,
        fill_decay=maker.fill_decay,
        running_penalty=0.5 * maker.risk_aversion * maker.volatility**2,
        terminal_penalty=0.0,
        horizon=50.0,
        max_inventory=5,
        competition=0.0,
        adverse_selection=maker.fill_cost,
        risk_aversion=maker.risk_aversion,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", EdgeMassWarning)
        policy = solve_mfg(game, rtol=1e-11, atol=1e-13).policy
    times = np.linspace(0.0, 50.0, 23)
    bid, ask = policy.quotes(times[None, :], np.arange(-5, 6)[:, None])
    ours = finite_horizon_quotes(maker, 5, 50.0 - times)
    np.testing.assert_allclose(ours[..., 0], bid, atol=2e-9)
    np.testing.assert_allclose(ours[..., 1], ask, atol=2e-9)


def test_the_closed_formula_is_the_limit_of_the_exact_quotes_also_for_uneven_sides():
    """Far from the close and from the limits, and the nearer the smaller the risk of one unit."""
    gaps = []
    for risk in (0.04, 0.01):
        maker = LoneMaker(ask_arrival=0.8, bid_arrival=1.1, fill_decay=0.3, volatility=0.3, risk_aversion=risk)
        exact = finite_horizon_quotes(maker, 60, np.array([5e4]))[57:64, 0]
        gaps.append(np.abs(exact - asymptotic_quotes(maker, 60)[57:64]).max())
    # The formula is first order in sqrt(gamma); what it leaves out is of second order.
    assert gaps[1] < gaps[0] / 3.0
    assert gaps[1] < 2e-3


def test_far_from_the_close_the_quotes_stand_still():
    late, later = finite_horizon_quotes(UNEVEN, 4, np.array([1e4, 9e6])).transpose(1, 0, 2)
    np.testing.assert_allclose(late, later, rtol=1e-12)


def test_the_formulas_of_2008_give_their_reservation_price_and_spread():
    """r = s - q gamma sigma^2 (T - t), delta_a + delta_b = gamma sigma^2 (T - t) + 2/gamma log(1 + gamma/k)."""
    maker = LoneMaker(ask_arrival=140.0, bid_arrival=140.0, fill_decay=1.5, volatility=2.0, risk_aversion=0.1)
    quotes = avellaneda_stoikov_quotes(maker, 3, np.array([1.0, 0.25, 0.0]))
    for column, left in enumerate((1.0, 0.25, 0.0)):
        for q in range(-2, 3):
            bid, ask = quotes[q + 3, column]
            assert bid + ask == pytest.approx(0.1 * 4.0 * left + 20.0 * math.log(1.0 + 0.1 / 1.5), rel=1e-13)
            assert 0.5 * (ask - bid) == pytest.approx(-q * 0.1 * 4.0 * left, abs=1e-13)


@given(maker=makers, largest=st.integers(1, 4), seconds=st.floats(0.0, 100.0))
def test_without_volatility_or_time_the_quotes_know_no_risk(maker, largest, seconds):
    calm = LoneMaker(
        ask_arrival=maker.bid_arrival,
        bid_arrival=maker.bid_arrival,
        fill_decay=maker.fill_decay,
        volatility=0.0,
        risk_aversion=maker.risk_aversion,
    )
    np.testing.assert_allclose(asymptotic_quotes(calm, largest)[:-1, 0], calm.margin)
    np.testing.assert_allclose(avellaneda_stoikov_quotes(calm, largest, np.array([seconds]))[:-1, 0, 0], calm.margin)
    assert calm.margin < 1.0 / calm.fill_decay  # and 1/k is the limit without risk aversion
    still = finite_horizon_quotes(maker, largest, np.zeros(1))
    np.testing.assert_allclose(still[:-1, 0, 0], maker.margin)


def test_the_margin_tends_to_one_over_k():
    margins = [
        LoneMaker(ask_arrival=1.0, bid_arrival=1.0, fill_decay=2.0, volatility=1.0, risk_aversion=g).margin
        for g in (1e-6, 0.0)
    ]
    assert margins[0] == pytest.approx(0.5, rel=1e-6)
    assert margins[1] == 0.5


def test_quotes_beyond_floating_point_are_refused():
    maker = LoneMaker(ask_arrival=1e-3, bid_arrival=1e-3, fill_decay=5.0, volatility=5.0, risk_aversion=5.0)
    with pytest.raises(ValueError, match="risk_aversion 5 with max_inventory 40 makes quotes beyond the range"):
        finite_horizon_quotes(maker, 40, np.array([1e4]))


def test_arguments_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match="fill_decay must be"):
        LoneMaker(ask_arrival=1.0, bid_arrival=1.0, fill_decay=0.0, volatility=1.0, risk_aversion=0.1)
    with pytest.raises(ValueError, match="to_close must be"):
        finite_horizon_quotes(REFERENCE, 3, np.array([-1.0]))
    with pytest.raises(ValueError, match="max_inventory must be"):
        asymptotic_quotes(REFERENCE, 0)
