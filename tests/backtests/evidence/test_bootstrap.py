from __future__ import annotations

import math

import numpy as np
import pytest
from arch.bootstrap import optimal_block_length

from backtests.evidence import bootstrap
from backtests.evidence.bootstrap import automatic_block_length, bootstrap_differences, stationary_rows


def autoregressive(rng, paths, length, coefficient):
    noise = rng.standard_normal((paths, length + 100))
    values = np.zeros_like(noise)
    for t in range(1, noise.shape[1]):
        values[:, t] = coefficient * values[:, t - 1] + noise[:, t]
    return values[:, 100:]


def test_stationary_rows_wrap_and_have_the_asked_mean_block_length():
    rows = stationary_rows(500, 8.0, 400, np.random.default_rng(0))
    assert rows.shape == (400, 500)
    assert rows.min() >= 0
    assert rows.max() < 500
    follows = (rows[:, 1:] - rows[:, :-1]) % 500 == 1
    # a new block starts with probability 1/8 and then follows its predecessor by chance with probability 1/500
    expected = 1 - 1 / 8 + 1 / 8 / 500
    assert follows.mean() == pytest.approx(expected, abs=4 * math.sqrt(expected * (1 - expected) / follows.size))
    counts = np.bincount(rows.ravel(), minlength=500)
    assert counts.std() / counts.mean() < 0.15


def test_blocks_of_one_are_independent_draws():
    rows = stationary_rows(50, 1.0, 4000, np.random.default_rng(1))
    counts = np.bincount(rows.ravel(), minlength=50)
    chi_square = ((counts - 4000) ** 2 / 4000).sum()
    assert 20 < chi_square < 90  # 49 degrees of freedom: beyond the 0.9999 range at both ends


@pytest.mark.parametrize("coefficient", [0.3, 0.6])
def test_automatic_block_length_of_an_autoregression(coefficient):
    length = 20_000
    found = [automatic_block_length(path) for path in autoregressive(np.random.default_rng(2), 12, length, coefficient)]
    # R(k) = R0 c^k gives G / sum R = 2c / (1 - c^2)
    expected = (2 * coefficient / (1 - coefficient**2)) ** (2 / 3) * length ** (1 / 3)
    assert np.mean(found) == pytest.approx(expected, rel=0.1)


def test_automatic_block_length_is_that_of_arch_from_the_same_lag(monkeypatch):
    """arch takes the first of the quiet lags where Politis & White (2004) take the one before it."""

    def one_later(correlation, n, quiet):
        small = correlation < 2 * math.sqrt(math.log10(n) / n)
        return next(m + 1 for m in range(small.size) if small[m : m + quiet].all())

    monkeypatch.setattr(bootstrap, "_last_significant_lag", one_later)
    for coefficient in (0.0, 0.2, 0.5):
        for path in autoregressive(np.random.default_rng(14), 8, 1000, coefficient):
            theirs = float(optimal_block_length(path)["stationary"].iloc[0])
            assert automatic_block_length(path) == pytest.approx(max(theirs, 1.0), rel=1e-9)


def test_automatic_block_length_of_noise_and_of_a_constant_is_short():
    noise = np.random.default_rng(3).standard_normal((50, 1000))
    assert np.median([automatic_block_length(row) for row in noise]) < 5
    assert automatic_block_length(np.full(100, 0.3)) == 1.0


def test_block_length_stays_within_its_bound_for_a_trend():
    assert 1.0 <= automatic_block_length(np.arange(300.0)) <= math.ceil(3 * math.sqrt(300))


@pytest.mark.parametrize("coefficient", [0.0, 0.3])
def test_the_interval_covers_the_true_difference_as_often_as_it_says(coefficient):
    rng = np.random.default_rng(4)
    simulations, length, true_difference = 250, 400, 0.02
    common = autoregressive(rng, simulations, length, coefficient)
    pod = common + autoregressive(rng, simulations, length, coefficient) + true_difference
    bench = common + autoregressive(rng, simulations, length, 0.0)
    cash = np.zeros(length)
    covered = 0
    for i in range(simulations):
        found = bootstrap_differences(pod[i], bench[i], cash, draws=200, seed=i, periods_per_year=1).mean
        covered += found.low <= true_difference <= found.high
    # 3.5 standard errors of a share of 95 % over 250 runs are 4.8 %; block methods undercover slightly under dependence
    assert 0.90 - 0.03 * (coefficient > 0) <= covered / simulations <= 0.99


def test_the_sharpe_interval_covers_and_no_difference_is_rejected_as_often_as_it_says():
    rng = np.random.default_rng(5)
    simulations, length = 250, 400
    common = rng.standard_t(6, (simulations, length))
    pod = 0.01 * (common + rng.standard_normal((simulations, length)) + 0.1)
    bench = 0.02 * (common + rng.standard_normal((simulations, length)) + 0.1)
    results = [
        bootstrap_differences(pod[i], bench[i], np.zeros(length), draws=200, seed=i).sharpe for i in range(simulations)
    ]
    covered = np.mean([found.low <= 0.0 <= found.high for found in results])
    rejected = np.mean([found.p_value <= 0.05 for found in results])
    assert 0.90 <= covered <= 0.99
    assert 0.005 <= rejected <= 0.10


def test_the_point_estimates_are_the_plain_differences_and_the_interval_moves_with_the_level():
    rng = np.random.default_rng(6)
    pod, bench, cash = 0.01 * rng.standard_normal((3, 300))
    found = bootstrap_differences(pod, bench, cash, seed=1)
    excess = [pod - cash, bench - cash]
    sharpe = [item.mean() / item.std(ddof=1) * math.sqrt(252) for item in excess]
    assert found.mean.estimate == pytest.approx(252 * (pod - bench).mean())
    assert found.sharpe.estimate == pytest.approx(sharpe[0] - sharpe[1])
    shifted = bootstrap_differences(pod + 0.001, bench, cash, seed=1)
    assert shifted.mean.low == pytest.approx(found.mean.low + 0.252)
    assert shifted.mean.high == pytest.approx(found.mean.high + 0.252)


def test_a_large_difference_has_the_smallest_p_value_that_the_draws_allow():
    rng = np.random.default_rng(7)
    bench = 0.001 * rng.standard_normal(200)
    found = bootstrap_differences(bench + 0.01 + 0.001 * rng.standard_normal(200), bench, np.zeros(200), draws=99)
    assert found.mean.p_value == 0.01
    assert found.mean.low > 0


def test_the_same_seed_gives_the_same_numbers_and_another_seed_others():
    rng = np.random.default_rng(8)
    pod, bench = 0.01 * rng.standard_normal((2, 200))
    one, same, other = (bootstrap_differences(pod, bench, np.zeros(200), seed=s, draws=300) for s in (1, 1, 2))
    assert one == same
    assert one.mean != other.mean


def test_a_pod_that_only_earns_the_risk_free_return_has_no_sharpe_difference():
    rng = np.random.default_rng(9)
    cash = np.full(100, 0.0004)
    found = bootstrap_differences(cash, 0.01 * rng.standard_normal(100), cash)
    assert math.isfinite(found.mean.p_value)
    assert math.isnan(found.sharpe.estimate)
    assert math.isnan(found.sharpe.p_value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"returns": np.zeros(4)}, "same 3 or more sessions"),
        ({"returns": np.array([0.0, math.nan, 0.0])}, "must be finite"),
        ({"block_length": 0.5}, r"block_length must be in \[1, 3\] sessions; was 0.5"),
        ({"draws": 0}, "draws must be positive"),
    ],
)
def test_bad_input_is_one_clear_error(arguments, message):
    given = {"returns": np.zeros(3), "benchmark": np.zeros(3), "risk_free": np.zeros(3)} | arguments
    with pytest.raises(ValueError, match=message):
        bootstrap_differences(**given)
