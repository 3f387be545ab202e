"""Caps, volatilities and targets: laws that hold for every input."""

from __future__ import annotations

import doctest

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import strategies.execution
import strategies.pod
import strategies.weighting
from strategies.weighting import annual_volatility, cap_weights, compound_return, scale_to_volatility

WEIGHTS = arrays(float, st.integers(1, 12), elements=st.floats(-1.0, 1.0).map(lambda x: round(x, 6)))


@given(weights=WEIGHTS, cap=st.floats(0.01, 1.0))
def test_caps_keep_signs_and_gross_unless_every_position_is_at_its_cap(weights, cap):
    capped = cap_weights(weights, cap)
    assert np.abs(capped).max() <= cap * (1 + 1e-12)
    assert np.all(capped * weights >= 0.0)
    assert np.array_equal(capped == 0.0, weights == 0.0)
    gross = np.abs(weights).sum()
    room = cap * np.count_nonzero(weights)
    assert np.abs(capped).sum() == pytest.approx(min(gross, room), rel=1e-9, abs=1e-12)


@given(weights=WEIGHTS)
def test_weights_below_the_cap_do_not_change(weights):
    np.testing.assert_allclose(cap_weights(weights, 1.0), weights, rtol=1e-15)


def test_capped_positions_are_the_largest_and_the_rest_stays_in_proportion():
    capped = cap_weights(np.array([0.5, -0.3, 0.15, 0.05]), 0.35)
    # 0.15 of the first goes to the others in the ratio 30 : 15 : 5, which puts the second above the cap too.
    np.testing.assert_allclose(capped, [0.35, -0.35, 0.225, 0.075])


def test_volatility_leaves_out_missing_returns_and_refuses_too_few():
    returns = np.random.default_rng(1).normal(0, 0.01, (40, 3))
    returns[::2, 1] = np.nan
    returns[:25, 2] = np.nan
    found = annual_volatility(returns)
    assert found[0] == pytest.approx(returns[:, 0].std(ddof=1) * np.sqrt(252))
    assert found[1] == pytest.approx(returns[1::2, 1].std(ddof=1) * np.sqrt(252))
    assert np.isnan(found[2])
    assert np.isnan(annual_volatility(np.zeros((40, 1)))[0])


def test_compound_return_multiplies_what_is_known():
    returns = np.array([[0.1, np.nan], [-0.5, np.nan], [1.0, 0.2]])
    np.testing.assert_allclose(compound_return(returns, 2), [0.1, np.nan])


@given(seed=st.integers(0, 1000), target=st.floats(0.01, 0.5), limit=st.floats(0.2, 3.0))
def test_scaling_hits_the_target_or_the_gross_limit(seed, target, limit):
    random = np.random.default_rng(seed)
    returns = random.normal(0, 0.02, (60, 4))
    weights = scale_to_volatility(random.uniform(-1, 1, 4), returns, target, limit)
    volatility = (returns @ weights).std(ddof=1) * np.sqrt(252)
    gross = np.abs(weights).sum()
    assert gross <= limit * (1 + 1e-12)
    assert volatility == pytest.approx(target, rel=1e-9) or (gross == pytest.approx(limit) and volatility < target)


@pytest.mark.parametrize("module", [strategies.weighting, strategies.execution, strategies.pod])
def test_examples_in_the_text_run(module):
    assert doctest.testmod(module).failed == 0
