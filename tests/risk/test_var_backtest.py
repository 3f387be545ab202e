import numpy as np
import pytest
from scipy.stats import binom, binomtest, chi2

from risk.var_backtest import (
    backtest_var,
    basel_zone,
    basel_zones,
    binomial_p_value,
    christoffersen,
    exceptions,
    independence_ratio,
    kupiec,
)

# Kupiec's statistic for 0..12 exceptions in 250 sessions at 1 %, computed in exact arithmetic.
KUPIEC_250 = [
    5.0252, 1.1765, 0.1084, 0.0949, 0.7691, 1.9568, 3.5554, 5.4970, 7.7336, 10.2290, 12.9555, 15.8906, 19.0162,
]  # fmt: skip


@pytest.mark.parametrize(("count", "statistic"), list(enumerate(KUPIEC_250)))
def test_kupiec_of_250_sessions_at_one_per_cent(count, statistic):
    assert kupiec(count, 250, 0.01).statistic == pytest.approx(statistic, abs=5e-5)


@pytest.mark.parametrize(
    ("sessions", "count", "probability", "statistic", "p_value"),
    [
        (1043, 57, 0.05, 0.46147, 0.49694),  # MathWorks, varbacktest.pof
        (1043, 17, 0.01, 3.5118, 0.060933),  # MathWorks, varbacktest.pof
        (252, 20, 0.05, 3.9126, None),  # Jorion, J.P. Morgan 1998 (printed 3.91)
        (500, 35, 0.05, 3.7651, None),
        (500, 40, 0.05, 8.0790, None),
        (500, 45, 0.05, 13.7550, None),
        (255, 0, 0.01, 5.13, None),
    ],
)
def test_kupiec_of_published_cases(sessions, count, probability, statistic, p_value):
    found = kupiec(count, sessions, probability)
    assert found.statistic == pytest.approx(statistic, abs=5e-3 if statistic == 5.13 else 5.1e-5)
    if p_value is not None:
        assert found.p_value == pytest.approx(p_value, abs=5e-6)


# Kupiec (1995) and Jorion: counts that a 5 % test does not reject, inclusive. At 255 sessions and 1 % the asymptotic
# ratio also rejects zero, which the published "N < 7" does not say.
REGIONS = [
    (0.01, 255, 1, 6), (0.01, 510, 2, 10), (0.01, 1000, 5, 16),
    (0.025, 255, 3, 11), (0.025, 510, 7, 20), (0.025, 1000, 16, 35),
    (0.05, 255, 7, 20), (0.05, 510, 17, 35), (0.05, 1000, 38, 64),
    (0.075, 255, 12, 27), (0.075, 510, 28, 50), (0.075, 1000, 60, 91),
    (0.10, 255, 17, 35), (0.10, 510, 39, 64), (0.10, 1000, 82, 119),
]  # fmt: skip


@pytest.mark.parametrize(("probability", "sessions", "first", "last"), REGIONS)
def test_kupiec_regions_of_non_rejection(probability, sessions, first, last):
    kept = [n for n in range(sessions // 2) if kupiec(n, sessions, probability).statistic < chi2.ppf(0.95, 1)]
    assert (kept[0], kept[-1]) == (first, last)
    assert kept == list(range(first, last + 1))


def test_kupiec_at_its_ends_and_at_the_expected_count():
    assert kupiec(0, 250, 0.01).statistic == pytest.approx(-500 * np.log(0.99), rel=1e-12)
    assert kupiec(10, 10, 0.05).statistic == pytest.approx(-20 * np.log(0.05), rel=1e-12)
    assert kupiec(5, 100, 0.05).statistic == pytest.approx(0.0, abs=1e-12)
    assert kupiec(0, 0, 0.01).p_value == 1.0


@pytest.mark.parametrize("count", [0, 1, 2, 3, 6, 7, 12])
def test_exact_binomial_equals_scipys_and_keeps_the_clean_series_that_kupiec_rejects(count):
    assert binomial_p_value(count, 250, 0.01) == pytest.approx(binomtest(count, 250, 0.01).pvalue, rel=1e-9)
    assert binomial_p_value(0, 250, 0.01) > 0.05 > kupiec(0, 250, 0.01).p_value


def test_christoffersen_of_the_published_counts():
    found = independence_ratio(932, 53, 53, 4)  # MathWorks, varbacktest.cc
    assert found.statistic == pytest.approx(0.25866, abs=5e-6)
    assert found.p_value == pytest.approx(0.61104, abs=5e-6)
    both = found.statistic + kupiec(57, 1043, 0.05).statistic
    assert both == pytest.approx(0.72013, abs=1e-5)
    assert chi2.sf(both, 2) == pytest.approx(0.69763, abs=5e-6)


def test_christoffersen_counts_transitions_and_never_gives_nan():
    hit = np.array([0, 1, 1, 0, 0, 1, 0, 0], dtype=bool)
    ratio, counts = christoffersen(hit)
    assert counts == (2, 2, 2, 1)
    n00, n01, n10, n11 = counts
    p01, p11, p = n01 / (n00 + n01), n11 / (n10 + n11), (n01 + n11) / 7
    chain = (1 - p01) ** n00 * p01**n01 * (1 - p11) ** n10 * p11**n11
    assert ratio.statistic == pytest.approx(2 * np.log(chain / ((1 - p) ** (n00 + n10) * p ** (n01 + n11))), rel=1e-12)
    for series in ([], [True], [False] * 5, [True] * 5, [False, True, False, False]):
        assert np.isfinite(christoffersen(np.array(series, dtype=bool))[0].statistic)


@pytest.mark.parametrize(
    ("sessions", "probability", "zones"),
    [(250, 0.01, (5, 10)), (250, 0.025, (11, 17)), (250, 0.05, (18, 27)), (750, 0.005, (7, 13))],
)
def test_basel_zones_of_published_cases(sessions, probability, zones):
    assert basel_zones(sessions, probability) == zones
    assert binom.cdf(zones[0] - 1, sessions, probability) < 0.95 <= binom.cdf(zones[0], sessions, probability)


@pytest.mark.parametrize(("count", "zone"), [(0, "green"), (4, "green"), (5, "amber"), (9, "amber"), (10, "red")])
def test_the_basel_traffic_light(count, zone):
    assert basel_zone(count, 250, 0.01) == zone


def test_no_exception_is_green_in_any_number_of_sessions():
    assert [basel_zone(0, n, 0.05) for n in range(6)] == ["green"] * 6


def test_sessions_without_forecast_or_result_are_left_out_and_a_loss_equal_to_the_forecast_is_no_exception():
    profit = np.array([-0.03, np.nan, -0.05, -0.02, 0.01])
    forecast = np.array([0.02, 0.02, np.nan, 0.02, 0.02])
    np.testing.assert_array_equal(exceptions(profit, forecast), [True, False, False])
    report = backtest_var(profit, forecast, 0.95)
    assert (report.sessions, report.exceptions) == (3, 1)
    assert report.expected == pytest.approx(0.15)


def test_a_right_forecast_is_rarely_rejected_and_a_wrong_one_is_rejected():
    rng = np.random.default_rng(3)
    profit = rng.standard_normal((400, 500))
    right = [backtest_var(row, np.full(500, 1.6448536), 0.95) for row in profit]
    # 400 tests at 5 %: 20 expected, four deviations are 17; the asymptotic law is a little off.
    assert sum(report.kupiec.p_value < 0.05 for report in right) < 45
    assert sum(report.conditional_coverage.p_value < 0.05 for report in right) < 45
    wrong = [backtest_var(row, np.full(500, 1.2), 0.95) for row in profit[:100]]
    assert sum(report.kupiec.p_value < 0.05 for report in wrong) > 95


def test_clustered_exceptions_fail_independence_though_their_number_is_right():
    profit = np.zeros(1000)
    profit[100:150] = -1.0
    report = backtest_var(profit, np.full(1000, 0.5), 0.95)
    assert report.kupiec.statistic == pytest.approx(0.0, abs=1e-9)
    assert report.independence.p_value < 1e-6


def test_a_backtest_of_nothing_is_green_and_finite():
    report = backtest_var(np.full(5, np.nan), np.full(5, np.nan))
    assert (report.sessions, report.exceptions, report.zone) == (0, 0, "green")
    assert np.isfinite([report.kupiec.statistic, report.independence.statistic, report.binomial_p_value]).all()


def test_counts_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match="count must be between 0 and sessions; was 3 of 2"):
        kupiec(3, 2, 0.01)
    with pytest.raises(ValueError, match="probability must be in"):
        basel_zones(250, 1.0)
    with pytest.raises(ValueError, match="one length"):
        exceptions([1.0], [1.0, 2.0])
