from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm
from statsmodels.stats.multitest import multipletests

from backtests.evidence.haircut import adjusted_p_values, harvey_liu_haircut


def test_the_paper_s_example():
    """SR 0.75 over 20 years, 200 tests; the paper prints p_M 0.15, HSR 0.32 and a haircut of 60 %."""
    cut = harvey_liu_haircut(0.75, 20, 200, "independent")
    assert cut.t_ratio == pytest.approx(3.354, abs=5e-4)
    assert cut.p_value == pytest.approx(0.0008, abs=5e-5)
    assert cut.adjusted_p_value == pytest.approx(0.147, abs=5e-4)
    assert cut.adjusted_sharpe == pytest.approx(0.324, abs=5e-4)
    assert cut.haircut == pytest.approx(0.57, abs=5e-3)
    assert harvey_liu_haircut(0.75, 20, 200).adjusted_p_value == pytest.approx(0.159, abs=5e-4)


@settings(max_examples=12, deadline=None)  # the library collects garbage at every call
@given(st.lists(st.floats(0, 1, exclude_max=True), min_size=1, max_size=40))
def test_adjusted_values_are_those_of_statsmodels(p_values):
    names = {"bonferroni": "bonferroni", "holm": "holm", "bhy": "fdr_by", "independent": "sidak"}
    for method, theirs in names.items():
        expected = multipletests(p_values, method=theirs)[1]
        assert adjusted_p_values(p_values, method) == pytest.approx(expected, rel=1e-9, abs=1e-15)


def test_holm_is_between_the_plain_value_and_bonferroni():
    p = np.random.default_rng(0).random(30) ** 3
    holm = adjusted_p_values(p, "holm")
    assert (p <= holm).all()
    assert (holm <= adjusted_p_values(p, "bonferroni")).all()
    assert adjusted_p_values(p, "holm")[p.argmin()] == min(30 * p.min(), 1)


@pytest.mark.parametrize("method", ["bonferroni", "independent", "holm", "bhy"])
def test_one_trial_is_not_cut_and_the_adjusted_ratio_has_the_adjusted_p_value(method):
    alone = harvey_liu_haircut(0.8, 6, 1, method)
    assert alone.adjusted_sharpe == pytest.approx(0.8)
    assert alone.haircut == pytest.approx(0.0, abs=1e-12)
    others = np.linspace(-0.3, 0.6, 9)
    cut = harvey_liu_haircut(0.8, 6, 10, method, other_sharpes=others)
    assert 2 * norm.sf(cut.adjusted_sharpe * math.sqrt(6)) == pytest.approx(cut.adjusted_p_value)
    assert cut.adjusted_sharpe < 0.8


def test_a_tiny_p_value_is_not_lost_to_rounding():
    cut = harvey_liu_haircut(3.0, 12, 1000, "independent")
    assert cut.adjusted_p_value == pytest.approx(1000 * cut.p_value, rel=1e-9)
    assert 2.5 < cut.adjusted_sharpe < 3.0


def test_there_is_nothing_to_cut_from_a_loss_and_nothing_left_when_all_is_luck():
    assert math.isnan(harvey_liu_haircut(-0.5, 10, 5).haircut)
    cut = harvey_liu_haircut(0.1, 2, 500)
    assert (cut.adjusted_p_value, cut.adjusted_sharpe, cut.haircut) == (1.0, 0.0, 1.0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: harvey_liu_haircut(0.5, 0, 3), "years positive; were 0.5 and 0"),
        (lambda: harvey_liu_haircut(0.5, 3, 0), "trials must be at least 1; was 0"),
        (lambda: harvey_liu_haircut(0.5, 3, 9, "holm"), "'holm' needs other_sharpes, .* other 8 trials"),
        (lambda: harvey_liu_haircut(0.5, 3, 9, "bhy", other_sharpes=[1.0]), "must be 8 finite numbers"),
        (lambda: adjusted_p_values([0.1, 1.2], "holm"), r"each in \[0, 1\]"),
        (lambda: adjusted_p_values([0.1], "fdr"), "method must be"),
    ],
)
def test_bad_input_is_one_clear_error(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def log_upper_tail(x):
    """Of a standard normal, by the asymptotic series: 1e-10 of the logarithm at 38 and above."""
    series = 1 - x**-2 + 3 * x**-4 - 15 * x**-6 + 105 * x**-8
    return -0.5 * x * x - math.log(x * math.sqrt(2 * math.pi)) + math.log(series)


@pytest.mark.parametrize("method", ["bonferroni", "independent", "holm", "bhy"])
@pytest.mark.parametrize("t_ratio", [39.0, 60.0, 500.0])
def test_a_ratio_whose_p_value_is_no_float64_is_cut_all_the_same(method, t_ratio):
    others = np.zeros(99)
    cut = harvey_liu_haircut(t_ratio / 2.0, 4.0, 100, method, other_sharpes=others)
    factor = 100 * sum(1 / k for k in range(1, 101)) if method == "bhy" else 100
    assert cut.adjusted_p_value < 1e-300
    assert 0.0 < cut.haircut < 0.01
    left = log_upper_tail(2.0 * cut.adjusted_sharpe)
    # 1e-11 of the logarithm is what scipy.special.ndtri_exp holds
    assert left == pytest.approx(log_upper_tail(t_ratio) + math.log(factor), rel=1e-11)


@pytest.mark.parametrize("method", ["bonferroni", "independent", "holm", "bhy"])
def test_nothing_is_left_of_no_ratio(method):
    cut = harvey_liu_haircut(1e-300, 4.0, 3, method, other_sharpes=[0.5, 1.0])
    assert (cut.p_value, cut.adjusted_p_value, cut.adjusted_sharpe, cut.haircut) == (1.0, 1.0, 0.0, 1.0)
