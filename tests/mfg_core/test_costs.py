import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.interpolate import CubicSpline

from mfg_core.daily.costs import TradingCosts, urgency_from_risk_aversion
from mfg_core.linear_quadratic.execution import ExecutionGame
from mfg_core.solve import solve_mfg

PRICE = np.array([30.0, 8.5])


def make_costs(**changes):
    given = {
        "half_spread": np.array([4e-4, 1e-3]),
        "volatility": np.array([0.02, 0.035]),
        "daily_volume": np.array([2e6, 3e5]),
        "temporary_impact": 1.8,
        "crowd_impact": 0.7,
        "fee": 3e-4,
    }
    return TradingCosts(**{**given, **changes})


def test_fill_cost_is_the_sum_of_its_formula_by_hand():
    cost = make_costs().fill_cost(np.array([-20_000.0, 0.0]), PRICE, crowd_rate=-0.5)
    assert cost.half_spread[0] == pytest.approx(600_000 * 4e-4, rel=1e-14)
    assert cost.fees[0] == pytest.approx(600_000 * 3e-4, rel=1e-14)
    assert cost.impact[0] == pytest.approx(0.5 * (1.8 + 0.7 * 0.5) * 0.02 * 30.0 * 20_000.0**2 / 2e6, rel=1e-14)
    assert cost.total[1] == 0.0
    assert cost.total[0] == cost.half_spread[0] + cost.impact[0] + cost.fees[0]


def test_a_share_that_does_not_trade_needs_no_price():
    cost = make_costs().fill_cost(np.array([100.0, 0.0]), np.array([30.0, np.nan]))
    assert np.isfinite(cost.total).all()


@given(
    st.floats(-1e6, 1e6), st.floats(0.01, 1e3), st.floats(-3.0, 3.0), st.sampled_from([0.1, 2.0, 10.0]),
)  # fmt: skip
def test_a_split_changes_no_cost(quantity, price, crowd, factor):
    costs = make_costs()
    before = costs.fill_cost(quantity, price, crowd)
    after = costs.after_split(factor).fill_cost(quantity * factor, price / factor, crowd)
    # below the smallest normal number products lose digits: no money is that small
    np.testing.assert_allclose(after.total, before.total, rtol=1e-12, atol=np.finfo(np.float64).tiny)


@given(st.floats(1.0, 1e6), st.integers(2, 50))
def test_slicing_a_fill_over_sessions_divides_impact_and_keeps_the_linear_costs(quantity, pieces):
    costs = make_costs()
    whole = costs.fill_cost(quantity, PRICE)
    slices = costs.fill_cost(np.full((pieces, 2), quantity / pieces), PRICE)
    np.testing.assert_allclose(slices.half_spread.sum(axis=0), whole.half_spread, rtol=1e-12)
    np.testing.assert_allclose(slices.fees.sum(axis=0), whole.fees, rtol=1e-12)
    np.testing.assert_allclose(slices.impact.sum(axis=0), whole.impact / pieces, rtol=1e-12)


def test_the_games_optimal_cost_is_what_the_simulator_charges_for_its_schedule():
    """Slices of the solved schedule, in shares and money, converge to a(0) x0^2 at second order."""
    costs = make_costs()
    horizon, urgency, terminal, crowd, own = 3.0, 0.05, 5.0, 0.8, 0.3
    game = costs.execution_game(horizon=horizon, urgency=urgency, terminal_penalty=terminal, initial_mean=crowd)
    assert game == ExecutionGame(
        temporary_impact=1.8, crowd_impact=0.7, running_penalty=0.05, terminal_penalty=5.0, inventory_noise=0.0,
        initial_mean=0.8, initial_std=0.0, horizon=3.0,
    )  # fmt: skip
    equilibrium = solve_mfg(game, rtol=1e-10, atol=1e-13)
    expected = equilibrium.value_coefficients[0, 0] * own**2 * costs.money_unit(PRICE)

    times = equilibrium.times
    # Everybody trades the same fraction of the remaining inventory, so one's path is the crowd's, rescaled.
    path = own * equilibrium.mean_field.inventory / crowd
    errors = []
    for pieces in (100, 200):
        edges = np.linspace(0.0, horizon, pieces + 1)
        step = horizon / pieces
        holding = _spline(times, path, edges)
        rate = _spline(times, equilibrium.mean_field.rate, 0.5 * (edges[1:] + edges[:-1]))
        sold = costs.in_shares(np.diff(holding)[:, None])
        impact = costs.fill_cost(sold, PRICE, rate[:, None], sessions=step).impact.sum(axis=0)
        held = costs.in_shares(holding[:, None])
        risk = urgency * costs.volatility * PRICE * held**2 / costs.daily_volume
        waiting = step * (0.5 * risk[0] + risk[1:-1].sum(axis=0) + 0.5 * risk[-1])
        left = terminal * costs.volatility * PRICE * held[-1] ** 2 / costs.daily_volume
        errors.append(np.abs((impact + waiting + left) / expected - 1).max())
    assert errors[1] < 1e-5
    assert errors[0] / errors[1] == pytest.approx(4.0, rel=0.2)


def _spline(x, y, at):
    return CubicSpline(x, y)(at)


def test_no_other_schedule_is_charged_less_in_the_same_crowd():
    costs = make_costs(crowd_impact=0.0)
    game = costs.execution_game(horizon=2.0, urgency=0.1, terminal_penalty=2.0, initial_mean=1.0)
    equilibrium = solve_mfg(game, rtol=1e-10, atol=1e-13)
    grid = np.linspace(0.0, 2.0, 401)
    best = _spline(equilibrium.times, equilibrium.mean_field.inventory, grid)

    def charged(path):
        shares = costs.in_shares(path[:, None])
        impact = costs.fill_cost(np.diff(shares, axis=0), PRICE, sessions=0.005).impact.sum(axis=0)
        risk = 0.1 * costs.volatility * PRICE * shares**2 / costs.daily_volume
        waiting = 0.005 * (0.5 * risk[0] + risk[1:-1].sum(axis=0) + 0.5 * risk[-1])
        return (impact + waiting + 2.0 * costs.volatility * PRICE * shares[-1] ** 2 / costs.daily_volume)[0]

    bump = np.sin(0.5 * np.pi * grid / 2.0)
    for size in (-0.05, 0.05):
        assert charged(best + size * bump) > charged(best)
    assert charged(np.linspace(1.0, 0.0, 401)) > charged(best)


def test_urgency_is_half_the_variance_of_a_held_daily_volume_in_game_money():
    costs = make_costs()
    risk_aversion = 0.6
    absolute = risk_aversion / (PRICE * costs.daily_volume)
    money = 0.5 * absolute * (costs.volatility * PRICE * costs.daily_volume) ** 2
    expected = money / costs.money_unit(PRICE)
    found = [urgency_from_risk_aversion(risk_aversion, sigma) for sigma in costs.volatility]
    np.testing.assert_allclose(found, expected, rtol=1e-14)


def test_shares_to_daily_volumes_and_back():
    costs = make_costs()
    np.testing.assert_allclose(costs.in_shares(costs.in_daily_volumes([1e5, -3e4])), [1e5, -3e4], rtol=1e-15)


def test_arrays_are_private_and_read_only():
    mine = np.array([0.02, 0.035])
    costs = make_costs(volatility=mine)
    mine[0] = 9.0
    assert costs.volatility[0] == 0.02
    with pytest.raises(ValueError, match="read-only"):
        costs.volatility[0] = 1.0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"half_spread": [4e-4, np.nan]}, "half_spread must be finite and in .0, 1. .*nan at instrument 1"),
        ({"half_spread": [-1e-9, 0.0]}, "half_spread must be .* at instrument 0"),
        ({"volatility": [0.02, 0.0]}, "volatility must be finite and positive .* 0.0 at instrument 1"),
        ({"daily_volume": [np.inf, 1.0]}, "daily_volume must be finite and positive"),
        ({"daily_volume": [1.0]}, "one length"),
        ({"volatility": [[0.02, 0.01]]}, "one-dimensional"),
        ({"temporary_impact": 0.0}, "temporary_impact must be finite and positive; was 0.0"),
        ({"crowd_impact": -0.1}, "crowd_impact must be finite and not negative; was -0.1"),
        ({"fee": 1.0}, "fee must be in .0, 1."),
    ],
)
def test_costs_that_make_no_sense_are_refused_by_name(change, message):
    with pytest.raises(ValueError, match=message):
        make_costs(**change)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([np.nan, 0.0], PRICE), "quantity must be finite"),
        (([1.0, 0.0], [0.0, 1.0]), "price must be finite and positive wherever quantity is not zero"),
        (([1.0, 0.0], [np.nan, 1.0]), "price must be finite and positive"),
    ],
)
def test_fills_that_make_no_sense_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        make_costs().fill_cost(*arguments)
    with pytest.raises(ValueError, match="sessions must be finite and positive"):
        make_costs().fill_cost(1.0, PRICE, sessions=0.0)
