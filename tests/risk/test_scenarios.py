import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from risk.scenarios import scenario_returns, scenario_risk
from risk.var import expected_shortfall, value_at_risk


def test_the_book_goes_through_each_past_session():
    returns = np.array([[0.01, -0.02, 0.03], [0.0, 0.05, -0.01]])
    np.testing.assert_allclose(scenario_returns([0.5, -0.3, 0.2], returns), [0.017, -0.017], atol=1e-15)


@given(st.integers(0, 2**32 - 1), st.integers(1, 6), st.floats(0.1, 3.0))
def test_scenarios_are_linear_in_the_book_when_nothing_is_missing(seed, count, factor):
    rng = np.random.default_rng(seed)
    returns, a, b = rng.normal(0, 0.02, (20, count)), rng.normal(size=count), rng.normal(size=count)
    both = scenario_returns(factor * a + b, returns)
    np.testing.assert_allclose(both, factor * scenario_returns(a, returns) + scenario_returns(b, returns), atol=1e-12)


def test_missing_returns_are_scaled_up_and_a_session_with_too_few_is_absent():
    returns = np.array([[-0.10, np.nan], [np.nan, -0.10], [np.nan, np.nan]])
    found = scenario_returns([0.95, 0.05], returns)
    assert found[0] == pytest.approx(-0.095 / 0.95)
    assert np.isnan(found[1:]).all()
    np.testing.assert_array_equal(scenario_returns([1.0, 0.0], returns)[:1], [-0.10])


def test_an_instrument_that_is_not_held_does_not_matter():
    returns = np.array([[0.01, np.nan]])
    assert scenario_returns([1.0, 0.0], returns)[0] == 0.01


def test_an_empty_book_has_no_risk():
    np.testing.assert_array_equal(scenario_returns([0.0, 0.0], np.full((3, 2), np.nan)), np.zeros(3))
    assert scenario_risk([0.0], np.full((150, 1), 0.01)) == (0.0, 0.0)


def test_risk_is_var_and_shortfall_of_the_scenarios_and_absent_in_a_warm_up():
    returns = np.random.default_rng(1).normal(0, 0.02, (250, 3))
    weights = np.array([0.3, 0.3, -0.2])
    var, shortfall = scenario_risk(weights, returns)
    assert var == pytest.approx(value_at_risk(returns @ weights, 0.99), rel=1e-12)
    assert shortfall == pytest.approx(expected_shortfall(returns @ weights, 0.975), rel=1e-12)
    assert np.isnan(scenario_risk(weights, returns[:99])).all()


def test_arguments_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match=r"returns must have shape \(T, 2\)"):
        scenario_returns([0.5, 0.5], np.zeros((3, 3)))
    with pytest.raises(ValueError, match="weights must be finite"):
        scenario_returns([np.nan], np.zeros((3, 1)))
    with pytest.raises(ValueError, match="returns must be finite or NaN"):
        scenario_returns([1.0], np.full((3, 1), np.inf))
    with pytest.raises(ValueError, match="min_coverage"):
        scenario_returns([1.0], np.zeros((3, 1)), min_coverage=0.0)


def test_a_return_that_no_weight_reads_changes_nothing():
    returns = np.random.default_rng(2).normal(0.0, 0.02, (20, 3))
    odd = returns.copy()
    odd[4, 1] = np.inf
    weights = [0.5, 0.0, -0.5]
    assert scenario_returns(weights, odd).tobytes() == scenario_returns(weights, returns).tobytes()
    with pytest.raises(ValueError, match="infinite for an instrument that is held"):
        scenario_returns([0.5, 0.1, -0.5], odd)
