"""The form of 2025: serial correlation, the largest of many, power and false discoveries."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import norm

from backtests.evidence.discovery import (
    critical_sharpe,
    observed_false_discovery_rate,
    planned_false_discovery_rate,
    sharpe_power,
)
from backtests.evidence.sharpe import (
    SharpeSample,
    deflated_sharpe,
    expected_maximum,
    min_track_record_length,
    probabilistic_sharpe,
    sharpe_sample,
    sharpe_standard_error,
    variance_of_maximum,
)
from backtests.evidence.statistics import sharpe_statistics

SHARPE, MONTHS, SKEW, KURTOSIS = 0.036 / 0.079, 24, -2.448, 10.164


def rounded(digits, text):
    """Half a unit of the last printed digit."""
    return pytest.approx(float(text), abs=0.5000001 * 10.0**-digits)


def test_the_paper_s_example_with_an_autocorrelation_of_one_fifth():
    serial = {"autocorrelation": 0.2}
    assert sharpe_standard_error(SHARPE, MONTHS, SKEW, KURTOSIS, **serial) == rounded(3, "0.379")
    assert probabilistic_sharpe(SHARPE, MONTHS, 0.0, SKEW, KURTOSIS, form="2025", **serial) == rounded(3, "0.966")
    length = min_track_record_length(SHARPE, 0.0, SKEW, KURTOSIS, form="2025", **serial)
    assert length == rounded(3, "19.543")
    # under the null of none only the variance of the mean is left: effective sessions T (1 - r) / (1 + r)
    assert length == pytest.approx(min_track_record_length(SHARPE, form="2025") * 1.2 / 0.8)


def test_power_and_false_discoveries_of_the_paper():
    power = sharpe_power(MONTHS, 0.5, 0.0, SKEW, KURTOSIS)
    assert 1 - power == rounded(3, "0.315")
    assert planned_false_discovery_rate(0.05, 0.05, power) == rounded(3, "0.581")
    found = observed_false_discovery_rate(SHARPE, MONTHS, 0.5, 0.05, 0.0, SKEW, KURTOSIS)
    assert found == rounded(3, "0.306")


@pytest.mark.parametrize("correlation", [-0.4, 0.3, 0.6])
def test_the_serial_standard_error_is_the_spread_of_simulated_sharpe_ratios(correlation):
    rng = np.random.default_rng(21)
    paths, length, warm, mean = 6000, 600, 60, 0.25
    noise = 1.0 - rng.standard_exponential((paths, length + warm))  # skewness -2, kurtosis 9
    series = np.zeros_like(noise)
    for t in range(1, noise.shape[1]):
        series[:, t] = correlation * series[:, t - 1] + noise[:, t]
    deviation = 1 / math.sqrt(1 - correlation**2)
    returns = series[:, warm:] + mean * deviation
    sharpes = returns.mean(axis=1) / returns.std(axis=1, ddof=1)
    # sums of geometric series: cumulants of the autoregression from those of its noise
    skewness = -2 / (1 - correlation**3) / deviation**3
    kurtosis = 3 + 6 / (1 - correlation**4) / deviation**4
    error = sharpe_standard_error(mean, length, skewness, kurtosis, correlation)
    # known to 1/sqrt(2 x 6,000) = 0.9 %; terms of order 1/T are left out
    assert sharpes.std() == pytest.approx(error, rel=0.035)
    assert abs(sharpes.std() / sharpe_standard_error(mean, length, skewness, kurtosis) - 1) > 0.15


def test_the_sample_s_autocorrelation_by_hand():
    excess = np.random.default_rng(22).standard_normal(200)
    centred = excess - excess.mean()
    products = sum(centred[t] * centred[t + 1] for t in range(199))
    assert sharpe_sample(excess).autocorrelation == pytest.approx(products / (centred**2).sum())


@pytest.mark.parametrize(
    ("trials", "variance"), [(1, 1.0), (2, 1 - 1 / math.pi), (3, (4 * math.pi - 9 + 2 * math.sqrt(3)) / (4 * math.pi))]
)
def test_variance_of_the_maximum_in_closed_form(trials, variance):
    assert variance_of_maximum(trials) == pytest.approx(variance, abs=1e-12)


def test_variance_of_the_maximum_of_many_is_simulated():
    # the largest of N uniforms is U^(1/N), so one draw each
    draws = norm.isf(-np.expm1(np.log(np.random.default_rng(23).random(200_000)) / 1000))
    assert variance_of_maximum(1000) == pytest.approx(draws.var(), rel=0.02)


def test_of_the_best_of_many_without_skill_the_form_of_2025_finds_as_many_as_it_says():
    rng = np.random.default_rng(24)
    runs, trials, sessions = 1000, 20, 120
    returns = rng.standard_normal((runs, trials, sessions))
    best = (returns.mean(axis=2) / returns.std(axis=2, ddof=1)).max(axis=1)
    found = {
        form: np.array(
            [
                deflated_sharpe(SharpeSample(s, 0.0, 3.0, sessions), trials, 1 / sessions, form=form).probability
                for s in best
            ]
        )
        for form in ("2012", "2025")
    }
    # 5 % within 4 standard errors of 0.7 %; the law of a maximum leans to the right, which a normal one does not see
    assert 0.022 < np.mean(found["2025"] > 0.95) < 0.09
    assert found["2025"].std() == pytest.approx(1 / math.sqrt(12), abs=0.03)  # uniform, or nearly
    assert np.mean(found["2012"] > 0.95) < 0.01


def test_one_trial_leaves_the_probabilistic_ratio_in_both_forms():
    sample = SharpeSample(0.08, -0.5, 6.0, 700, 0.1)
    expected = probabilistic_sharpe(0.08, 700, 0.0, -0.5, 6.0, form="2025", autocorrelation=0.1)
    assert deflated_sharpe(sample, 1, 0.01, form="2025").probability == pytest.approx(expected, rel=1e-12)


def test_false_discoveries_as_simulated():
    rng = np.random.default_rng(25)
    sessions, runs, prior, alternative = 60, 40_000, 0.2, 0.3
    skilled = rng.random(runs) < prior
    errors = [sharpe_standard_error(true, sessions) for true in (0.0, alternative)]
    sharpes = np.where(skilled, rng.normal(alternative, errors[1], runs), rng.normal(0.0, errors[0], runs))
    passed = sharpes > critical_sharpe(sessions)
    power = sharpe_power(sessions, alternative)
    assert passed[skilled].mean() == pytest.approx(power, abs=0.02)
    assert passed[~skilled].mean() == pytest.approx(0.05, abs=0.005)
    rate = planned_false_discovery_rate(prior, 0.05, power)
    assert (~skilled)[passed].mean() == pytest.approx(rate, abs=0.02)
    above = sharpes >= 0.35
    observed = observed_false_discovery_rate(0.35, sessions, alternative, prior)
    assert (~skilled)[above].mean() == pytest.approx(observed, abs=0.02)


def test_a_ratio_far_above_both_hypotheses_is_hardly_a_false_discovery():
    """Beyond 38 standard errors no tail is a float64; with x standard errors it is phi(x) / x (1 - 1/x^2 + ...)."""
    sessions, alternative, prior = 10_000, 0.1, 1e-6
    scale = [sharpe_standard_error(true, sessions) for true in (0.0, alternative)]
    for sharpe in (0.5, 0.6, 3.0):
        x, y = sharpe / scale[0], (sharpe - alternative) / scale[1]
        tails = 0.5 * (y * y - x * x) + math.log(y / x) + math.log((1 - x**-2 + 3 * x**-4) / (1 - y**-2 + 3 * y**-4))
        expected = math.exp(tails) * (1 - prior) / prior
        assert observed_false_discovery_rate(sharpe, sessions, alternative, prior) == pytest.approx(expected, rel=1e-5)
    assert planned_false_discovery_rate(0.5, 0.05, sharpe_power(sessions, 0.5)) == pytest.approx(0.05 / 1.05)


def test_moments_that_no_autoregression_has_leave_the_serial_numbers_out():
    """Of two values the kurtosis is 1 + skewness^2, the least there can be."""
    variance = (2.37 / expected_maximum(10)) ** 2
    with pytest.raises(ValueError, match="moments of one law"):
        deflated_sharpe(sharpe_sample([0.0, 0.0, 1.0]), 10, variance, form="2025")
    found = sharpe_statistics([0.0, 0.0, 1.0], 10, variance)
    assert math.isnan(found["deflated_sharpe_2025"])
    assert math.isfinite(found["sharpe_standard_error_serial"])
    assert math.isfinite(found["deflated_sharpe"])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: probabilistic_sharpe(0.1, 99, autocorrelation=0.1), "use form='2025'"),
        (lambda: sharpe_standard_error(0.1, 99, autocorrelation=1.0), r"autocorrelation must be in \(-1, 1\); was 1.0"),
        (lambda: sharpe_power(24, 0.0), "alternative must be above null, 0.0; was 0.0"),
        (lambda: planned_false_discovery_rate(0.0, 0.05, 0.5), r"prior must be in \(0, 1\); was 0.0"),
        (lambda: planned_false_discovery_rate(0.1, 0.05, 1.1), r"power must be in \(0, 1\]; was 1.1"),
        (lambda: critical_sharpe(24, size=1.5), r"size must be in \(0, 1\); was 1.5"),
        (lambda: variance_of_maximum(0), "trials must be at least 1; was 0"),
    ],
)
def test_bad_input_is_one_clear_error(call, message):
    with pytest.raises(ValueError, match=message):
        call()
