from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar

from risk.var import age_weights, expected_shortfall, value_at_risk

TWENTY = np.array([-10, -6, -5, -3, -2, -1, 0, 1, 2, 3, 1, 2, 3, 4, 5, 1, 2, 0, 1, 2], dtype=float)

samples = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=60).map(np.array)
confidences = st.floats(0.5, 0.999)


@pytest.mark.parametrize(("tail", "shortfall"), [(0.05, 10.0), (0.10, 8.0), (0.12, 7.5), (0.25, 5.2)])
def test_expected_shortfall_of_the_hand_oracle(tail, shortfall):
    assert expected_shortfall(TWENTY, 1 - tail) == pytest.approx(shortfall, rel=1e-12)


def test_var_is_the_loss_after_the_tail_and_not_the_interpolated_one():
    assert value_at_risk(TWENTY, 0.95) == 6.0
    assert np.quantile(-TWENTY, 0.95) == pytest.approx(6.2)
    assert value_at_risk(TWENTY, 0.96) == 10.0


def test_the_tail_count_survives_rounding_of_the_confidence():
    # In binary (1 - 0.9) * 10 is just below 1; the second loss is meant.
    losses = np.arange(10.0, 0.0, -1.0)
    assert (1 - 0.9) * 10 < 1
    assert value_at_risk(-losses, 0.9) == 9.0
    assert value_at_risk(-np.arange(1.0, 301.0), 0.99) == 297.0


@given(samples, confidences)
def test_var_equals_numpys_inverted_cdf(profit, confidence):
    tail = float((1 - Decimal(repr(confidence))) * profit.size)
    if abs(tail - round(tail)) > 1e-6:
        expected = np.quantile(-profit, confidence, method="inverted_cdf")
        assert value_at_risk(profit, confidence) == expected


@given(st.lists(st.floats(-100, 100), min_size=1, max_size=30).map(np.array), st.floats(0.5, 0.99))
def test_expected_shortfall_is_the_minimum_of_rockafellar_and_uryasev(profit, confidence):
    losses = -profit

    def objective(level):
        return level + np.maximum(losses - level, 0).sum() / ((1 - confidence) * losses.size)

    # The objective is piecewise linear and convex with kinks at the losses: the least kink is the minimum.
    assert expected_shortfall(profit, confidence) == pytest.approx(min(map(objective, losses)), rel=1e-9, abs=1e-9)


def test_expected_shortfall_is_that_minimum_found_by_a_search_too():
    losses = -TWENTY
    found = minimize_scalar(
        lambda v: v + np.maximum(losses - v, 0).sum() / (0.12 * 20), bounds=(-10, 10), method="bounded"
    )
    assert expected_shortfall(TWENTY, 0.88) == pytest.approx(found.fun, rel=1e-6)


@given(samples, confidences)
def test_expected_shortfall_is_never_below_var(profit, confidence):
    assert expected_shortfall(profit, confidence) >= value_at_risk(profit, confidence)


@given(samples, confidences, st.floats(-1e5, 1e5))
def test_a_sure_gain_lowers_both_by_itself(profit, confidence, gain):
    size = np.abs(profit).max() + abs(gain) + 1
    for measure in (value_at_risk, expected_shortfall):
        assert measure(profit + gain, confidence) == pytest.approx(measure(profit, confidence) - gain, abs=1e-9 * size)


@given(samples, confidences, st.floats(0.0, 1e3))
def test_a_larger_book_scales_both(profit, confidence, factor):
    size = np.abs(profit).max() * factor + 1
    for measure in (value_at_risk, expected_shortfall):
        assert measure(factor * profit, confidence) == pytest.approx(
            factor * measure(profit, confidence), abs=1e-9 * size
        )


@given(st.integers(1, 40), st.integers(0, 2**32 - 1), confidences)
def test_expected_shortfall_of_two_books_is_at_most_the_sum(count, seed, confidence):
    rng = np.random.default_rng(seed)
    a, b = rng.standard_t(3, (2, count))
    apart = expected_shortfall(a, confidence) + expected_shortfall(b, confidence)
    assert expected_shortfall(a + b, confidence) <= apart + 1e-9


@given(st.lists(st.integers(0, 4), min_size=1, max_size=12), st.integers(0, 2**32 - 1), st.floats(0.6, 0.95))
def test_a_scenario_of_integer_weight_is_that_scenario_repeated(weights, seed, confidence):
    weights = np.array(weights)
    if weights.sum() == 0:
        return
    profit = np.random.default_rng(seed).standard_normal(weights.size)
    repeated = np.repeat(profit, weights)
    if abs((1 - confidence) * repeated.size % 1 - 0.5) < 0.499:
        assert value_at_risk(profit, confidence, weights=weights) == value_at_risk(repeated, confidence)
    assert expected_shortfall(profit, confidence, weights=weights) == pytest.approx(
        expected_shortfall(repeated, confidence), rel=1e-9, abs=1e-12
    )


def test_age_weights_fall_by_the_decay_and_sum_to_one():
    weights = age_weights(100, 0.97)
    np.testing.assert_allclose(weights[:-1] / weights[1:], 0.97, rtol=1e-12)
    assert weights[-1] == pytest.approx((1 - 0.97) / (1 - 0.97**100), rel=1e-12)
    assert weights.sum() == pytest.approx(1.0, rel=1e-14)


def test_recent_losses_count_more_with_age_weights():
    profit = np.zeros(250)
    profit[:3], profit[-3:] = -1.0, -2.0
    assert value_at_risk(profit, 0.99) == 2.0
    assert value_at_risk(profit[::-1], 0.95, weights=age_weights(250, 0.97)) == 1.0
    assert value_at_risk(profit, 0.95, weights=age_weights(250, 0.97)) == 2.0


def test_absent_scenarios_are_left_out_and_nothing_is_not_a_number():
    holes = np.concatenate([TWENTY, np.full(7, np.nan)])
    assert value_at_risk(holes, 0.95) == 6.0
    assert expected_shortfall(holes, 0.9) == pytest.approx(8.0)
    for empty in ([], [np.nan, np.nan]):
        assert np.isnan(value_at_risk(empty))
        assert np.isnan(expected_shortfall(empty))


def test_one_day_constant_and_lossless_series():
    assert value_at_risk([-0.02]) == expected_shortfall([-0.02]) == 0.02
    assert value_at_risk(np.full(50, 0.001)) == expected_shortfall(np.full(50, 0.001)) == -0.001
    gains = np.arange(1.0, 101.0)
    assert value_at_risk(gains, 0.99) == -2.0
    assert expected_shortfall(gains, 0.99) == pytest.approx(-1.0, rel=1e-12)
    assert value_at_risk(np.zeros(10)) == 0.0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([1.0], 1.0), "confidence must be in .0, 1.; was 1.0"),
        (([[1.0]], 0.9), "profit must be one-dimensional"),
        (([np.inf], 0.9), "profit must be finite or NaN"),
    ],
)
def test_samples_that_make_no_sense_are_refused(arguments, message):
    for measure in (value_at_risk, expected_shortfall):
        with pytest.raises(ValueError, match=message):
            measure(*arguments)


def test_weights_that_make_no_sense_are_refused():
    for weights in ([1.0], [-1.0, 1.0], [np.nan, 1.0]):
        with pytest.raises(ValueError, match="weights must be finite, not negative, and of the shape"):
            value_at_risk([1.0, 2.0], 0.9, weights=weights)
    with pytest.raises(ValueError, match="must not all be zero"):
        value_at_risk([1.0, 2.0], 0.9, weights=[0.0, 0.0])
    with pytest.raises(ValueError, match="decay must be in"):
        age_weights(5, 1.0)
    with pytest.raises(ValueError, match="count must be at least 1"):
        age_weights(0)
