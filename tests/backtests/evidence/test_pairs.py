from __future__ import annotations

import math

import numpy as np
import pytest

from backtests.evidence.bootstrap import bootstrap_differences
from backtests.evidence.comparison import compare_pods
from backtests.evidence.pairs import pairwise_differences


@pytest.fixture(scope="module")
def pods():
    rng = np.random.default_rng(30)
    common = rng.standard_normal(300)
    return {name: 0.01 * (common + rng.standard_normal(300)) + drift for name, drift in
            (("hold", 0.0), ("slow", 0.0004), ("fast", 0.006), ("late", -0.0003))}  # fmt: skip


CASH = np.full(300, 0.0003)


def test_each_pair_has_the_numbers_of_its_own_bootstrap(pods):
    found = pairwise_differences(pods, CASH, draws=400, seed=3)
    assert [(pair.first, pair.second) for pair in found] == [
        ("hold", "slow"), ("hold", "fast"), ("hold", "late"), ("slow", "fast"), ("slow", "late"), ("fast", "late"),
    ]  # fmt: skip
    for pair in found:
        alone = bootstrap_differences(pods[pair.first], pods[pair.second], CASH, draws=400, seed=3)
        assert pair.found.block_length == alone.block_length
        for ours, theirs in ((pair.found.mean, alone.mean), (pair.found.sharpe, alone.sharpe)):
            assert (ours.estimate, ours.low, ours.high) == pytest.approx((theirs.estimate, theirs.low, theirs.high))
            assert ours.p_value == theirs.p_value


def test_p_values_are_adjusted_by_holm_for_all_pairs(pods):
    found = pairwise_differences(pods, CASH, draws=400)
    plain = [pair.found.mean.p_value for pair in found]
    order = np.argsort(plain, kind="stable")
    largest = 0.0
    for place, index in enumerate(order):
        largest = max(largest, min(1.0, (len(plain) - place) * plain[index]))
        assert found[index].mean_adjusted == pytest.approx(largest)


def test_a_pair_without_a_sharpe_ratio_has_none_and_still_counts(pods):
    with_cash = pods | {"cash": CASH}
    found = pairwise_differences(with_cash, CASH, draws=200)
    missing = [pair for pair in found if pair.second == "cash"]
    assert len(missing) == 4
    assert all(math.isnan(pair.sharpe_adjusted) and math.isfinite(pair.mean_adjusted) for pair in missing)
    best = next(pair for pair in found if (pair.first, pair.second) == ("hold", "fast"))
    assert best.sharpe_adjusted >= 10 * best.found.sharpe.p_value - 1e-12


def test_one_pod_has_no_pairs(pods):
    assert pairwise_differences({"hold": pods["hold"]}, CASH) == []


def test_the_record_turns_pairs_towards_the_benchmark(pods):
    statistics = {name: {"deflated_sharpe": 0.5, "sharpe": 1.0} for name in pods}
    record = compare_pods(pods, CASH, "slow", statistics, draws=300, seed=2)
    assert list(record["differences"]) == ["hold", "fast", "late"]
    for name, found in record["differences"].items():
        alone = bootstrap_differences(pods[name], pods["slow"], CASH, draws=300, seed=2)
        assert found["annual_difference"] == pytest.approx(alone.mean.estimate)
        assert (found["low"], found["high"]) == pytest.approx((alone.mean.low, alone.mean.high))
        assert found["sharpe_p_value"] == alone.sharpe.p_value
    assert record["snooping"]["benchmark"]["survivors"] == ["fast"]
    assert record["snooping"]["cash"]["best"] == "fast"
    assert set(record["snooping"]["cash"]["adjusted_p_values"]) == set(pods)


def test_the_record_says_why_a_test_is_not_there(pods):
    short = {name: values[:6] for name, values in pods.items()}
    record = compare_pods(short, CASH[:6], "hold", {name: {} for name in pods}, draws=20)
    assert "at least 10 sessions; had 6" in record["snooping"]["cash"]["unavailable"]
    alone = compare_pods({"hold": pods["hold"]}, CASH, "hold", {"hold": {}}, draws=20)
    assert alone["snooping"]["benchmark"] is None
    assert alone["pairs"] == []
