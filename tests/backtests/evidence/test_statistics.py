from __future__ import annotations

import math
import statistics as plain

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm

from backtests.evidence.sharpe import (
    SharpeSample,
    deflated_sharpe,
    expected_maximum,
    min_backtest_length,
    min_track_record_length,
    probabilistic_sharpe,
    sharpe_sample,
    sharpe_standard_error,
)
from backtests.evidence.statistics import monthly_returns, performance, sharpe_statistics

SKEW, KURTOSIS = -2.448, 10.164


def rounded(digits, text):
    """Half a unit of the last printed digit."""
    return pytest.approx(float(text), abs=0.5000001 * 10.0**-digits)


def test_psr_of_the_2012_paper():
    assert probabilistic_sharpe(0.458, 24, 0.0, SKEW, KURTOSIS) == rounded(3, "0.913")
    assert probabilistic_sharpe(0.458, 24) == rounded(3, "0.982")


def test_psr_of_the_2025_form():
    sharpe = 0.036 / 0.079
    assert sharpe_standard_error(sharpe, 24, SKEW, KURTOSIS) == rounded(3, "0.329")
    assert sharpe_standard_error(sharpe, 24) == rounded(3, "0.214")
    assert probabilistic_sharpe(sharpe, 24, 0.0, SKEW, KURTOSIS, form="2025") == rounded(3, "0.987")
    assert probabilistic_sharpe(sharpe, 24, 0.1, SKEW, KURTOSIS, form="2025") == rounded(3, "0.939")
    assert min_track_record_length(sharpe, 0.0, SKEW, KURTOSIS, form="2025") == rounded(3, "13.029")


@pytest.mark.parametrize(("per_year", "years"), [(252, "2.73"), (52, "2.83"), (12, "3.24")])
def test_minimum_track_record_for_normal_returns(per_year, years):
    length = min_track_record_length(2 / math.sqrt(per_year), 1 / math.sqrt(per_year))
    assert length / per_year == rounded(2, years)


def test_minimum_track_record_with_skew_and_fat_tails():
    length = min_track_record_length(2 / math.sqrt(12), 1 / math.sqrt(12), -0.72, 5.78)
    assert length / 12 == rounded(2, "4.99")


@given(
    sharpe=st.floats(0.02, 0.4),
    benchmark=st.floats(-0.2, 0.01),
    skewness=st.floats(-2, 1),
    confidence=st.floats(0.6, 0.999),
    form=st.sampled_from(["2012", "2025"]),
)
def test_the_minimum_track_record_is_where_psr_reaches_the_confidence(sharpe, benchmark, skewness, confidence, form):
    length = min_track_record_length(sharpe, benchmark, skewness, 8.0, confidence=confidence, form=form)
    enough, short = max(math.ceil(length), 2), math.floor(length)
    assert probabilistic_sharpe(sharpe, enough, benchmark, skewness, 8.0, form=form) >= confidence - 1e-9
    if short >= 2:
        assert probabilistic_sharpe(sharpe, short, benchmark, skewness, 8.0, form=form) <= confidence + 1e-9


def test_no_track_record_is_long_enough_below_the_benchmark():
    assert min_track_record_length(0.05, 0.05) == math.inf


@pytest.mark.parametrize(("trials", "value"), [(10, "1.5746"), (45, "2.2356"), (100, "2.5306"), (1000, "3.2551")])
def test_expected_maximum_as_published(trials, value):
    assert expected_maximum(trials) == rounded(4, value)


@pytest.mark.parametrize("trials", [5, 50, 500])
def test_expected_maximum_against_its_integral(trials):
    x = np.linspace(-9.0, 9.0, 200_001)
    density = trials * norm.cdf(x) ** (trials - 1) * norm.pdf(x)
    exact = np.trapezoid(x * density, x)
    # an asymptotic formula: 2.1 % above the integral at 5 trials, 1.2 % at 50, 0.5 % at 500
    assert expected_maximum(trials) == pytest.approx(exact, rel=0.03)
    assert expected_maximum(1) == 0.0


def test_minimum_backtest_length_as_published():
    assert min_backtest_length(45) == rounded(3, "4.998")
    assert min_backtest_length(7) == rounded(2, "1.92")
    assert expected_maximum(45) / math.sqrt(5) == rounded(4, "0.9998")


@given(st.integers(2, 100_000), st.floats(0.3, 3.0))
def test_minimum_backtest_length_stays_below_its_bound(trials, target):
    assert min_backtest_length(trials, target) < 2 * math.log(trials) / target**2


def test_deflated_sharpe_of_the_2014_paper():
    variance = 0.5 / 250
    sample = SharpeSample(2.5 / math.sqrt(250), -3.0, 10.0, 1250)
    result = deflated_sharpe(sample, 100, variance)
    assert result.threshold == rounded(4, "0.1132")
    assert result.probability == rounded(4, "0.9004")
    assert deflated_sharpe(sample, 46, variance).probability == rounded(4, "0.9505")
    normal = SharpeSample(2.5 / math.sqrt(250), 0.0, 3.0, 1250)
    assert deflated_sharpe(normal, 88, variance).probability == rounded(4, "0.9505")
    with_252 = SharpeSample(2.5 / math.sqrt(252), -3.0, 10.0, 1250)
    assert deflated_sharpe(with_252, 100, 0.5 / 252).probability == rounded(4, "0.8997")


def test_one_trial_leaves_the_psr_as_it_is():
    sample = SharpeSample(0.08, -0.5, 6.0, 700)
    assert deflated_sharpe(sample, 1, 0.01).probability == probabilistic_sharpe(0.08, 700, 0.0, -0.5, 6.0)


def test_standard_error_of_lo():
    daily = 1.3 / math.sqrt(252)
    error = sharpe_standard_error(daily, 1200) * math.sqrt(252)
    assert error == rounded(2, "0.46")
    assert 1.3 / error == rounded(1, "2.8")
    assert norm.sf(1.3 / error) == rounded(4, "0.0023")


def test_standard_error_is_the_spread_of_simulated_sharpe_ratios():
    rng = np.random.default_rng(11)
    # centred gamma returns: skewness 2/sqrt(k), kurtosis 3 + 6/k; sign turned for a left tail
    shape, mean, length, paths = 4.0, 0.25, 400, 8000
    draws = mean - (rng.standard_gamma(shape, (paths, length)) - shape) / math.sqrt(shape)
    sharpes = draws.mean(axis=1) / draws.std(axis=1, ddof=1)
    error = sharpe_standard_error(mean, length, -2 / math.sqrt(shape), 3 + 6 / shape)
    # the spread over 8,000 paths is itself known to 1/sqrt(16,000) = 0.8 %
    assert sharpes.std() == pytest.approx(error, rel=0.03)
    assert sharpe_standard_error(mean, length) < 0.95 * error


@pytest.fixture(scope="module")
def series():
    rng = np.random.default_rng(3)
    return 0.0006 + 0.012 * rng.standard_t(5, 500), np.full(500, 0.0004) + 0.0001 * rng.random(500)


def test_performance_is_what_plain_python_computes(series):
    returns, cash = series
    result = performance(returns, cash)
    excess = [float(r - c) for r, c in zip(returns, cash, strict=True)]
    wealth, peak, worst = 1.0, 1.0, 0.0
    for value in returns:
        wealth *= 1.0 + value
        peak = max(peak, wealth)
        worst = max(worst, 1.0 - wealth / peak)
    annual = wealth ** (252 / 500) - 1.0
    downside = math.sqrt(sum(min(e, 0.0) ** 2 for e in excess) / 500) * math.sqrt(252)
    ordered = sorted(returns)

    def percentile(p):
        place = p / 100 * 499
        low = math.floor(place)
        return ordered[low] + (place - low) * (ordered[low + 1] - ordered[low])

    log_wealth = np.cumsum([math.log1p(r) for r in returns])
    expected = {
        "observations": 500,
        "cumulative_return": wealth - 1.0,
        "annual_return": annual,
        "annual_volatility": plain.stdev(returns) * math.sqrt(252),
        "excess_return": 252 * plain.fmean(excess),
        "sharpe": plain.fmean(excess) / plain.stdev(excess) * math.sqrt(252),
        "sortino": plain.fmean(excess) * 252 / downside,
        "max_drawdown": worst,
        "calmar": annual / worst,
        "tail_ratio": abs(percentile(95)) / abs(percentile(5)),
        "omega": sum(max(e, 0) for e in excess) / -sum(min(e, 0) for e in excess),
        "stability": np.corrcoef(np.arange(500), log_wealth)[0, 1] ** 2,
        "best": max(returns),
        "worst": min(returns),
        "hit_rate": sum(r > 0 for r in returns) / 500,
    }
    mean, deviation = plain.fmean(returns), plain.pstdev(returns)
    expected["skewness"] = plain.fmean(((r - mean) / deviation) ** 3 for r in returns)
    expected["kurtosis"] = plain.fmean(((r - mean) / deviation) ** 4 for r in returns)
    assert set(result) == set(expected)
    for name, value in expected.items():
        assert result[name] == pytest.approx(value, rel=1e-9), name


def test_a_loss_on_the_first_day_counts_from_the_starting_value():
    assert performance([-0.1, 0.02], [0.0, 0.0])["max_drawdown"] == pytest.approx(0.1)


@pytest.mark.parametrize("returns", [[0.0] * 30, [0.01] * 30, [0.01, 0.02] * 15])
def test_what_does_not_exist_is_nan_and_never_infinite(returns):
    result = performance(returns, [0.0] * 30)
    assert not any(math.isinf(value) for value in result.values())
    assert math.isnan(result["calmar"])
    assert math.isnan(result["sortino"])
    if len(set(returns)) == 1:
        assert math.isnan(result["sharpe"])
        assert math.isnan(sharpe_statistics(returns, 3, 0.01)["deflated_sharpe"])


def test_an_account_that_only_earns_the_risk_free_return_has_no_sharpe_ratio():
    cash = 0.0004 + 0.0002 * np.random.default_rng(0).random(100)
    assert math.isnan(performance(cash, cash)["sharpe"])


def test_sharpe_statistics_agree_with_the_parts(series):
    returns, cash = series
    excess = returns - cash
    sample = sharpe_sample(excess)
    result = sharpe_statistics(excess, 24, 0.002)
    assert result["probabilistic_sharpe"] == probabilistic_sharpe(
        sample.sharpe, 500, 0.0, sample.skewness, sample.kurtosis
    )
    assert result["deflated_sharpe"] < result["probabilistic_sharpe"]
    assert result["deflated_sharpe_threshold"] == pytest.approx(
        math.sqrt(0.002) * expected_maximum(24) * math.sqrt(252)
    )
    assert result["trials"] == 24
    assert performance(returns, cash)["sharpe"] == pytest.approx(sample.sharpe * math.sqrt(252))


def test_monthly_returns_compound_to_the_whole(series):
    returns, _ = series
    sessions = np.arange("2022-01-20", "2023-06-04", dtype="datetime64[D]")[:500]
    table = monthly_returns(sessions, returns)
    assert list(table) == sorted(table)
    assert list(table)[:2] == ["2022-01", "2022-02"]
    assert table["2022-01"] == pytest.approx(math.prod(1 + returns[:12]) - 1)
    assert math.prod(1 + value for value in table.values()) == pytest.approx(math.prod(1 + returns))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: performance([0.1, math.nan], [0, 0]), "returns must be finite in every session; was nan in row 1"),
        (lambda: performance([0.1, -1.0], [0, 0]), r"greater than -1 .*; was -1.0 in row 1"),
        (lambda: performance([0.1, 0.2], [0, 0, 0]), "risk_free must have one value per return; had 3 for 2"),
        (lambda: performance([0.1], [0.0]), "at least 2 sessions"),
        (lambda: probabilistic_sharpe(0.1, 1), "observations must be at least 2; was 1"),
        (lambda: probabilistic_sharpe(0.1, 9, form="1999"), "form must be '2012' or '2025'; was '1999'"),
        (lambda: probabilistic_sharpe(2.0, 9, 0.0, 3.0, 3.0), r"kurtosis >= 1 \+ skewness"),
        (lambda: expected_maximum(0), "trials must be at least 1; was 0"),
        (lambda: deflated_sharpe(SharpeSample(0.1, 0, 3, 99), 3, -1.0), "trial_variance must be finite"),
        (lambda: monthly_returns(np.array(["2022-01-02"] * 2, "M8[D]"), [0, 0]), "sessions must increase"),
    ],
)
def test_bad_input_is_one_clear_error(call, message):
    with pytest.raises(ValueError, match=message):
        call()
