from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from backtests.evidence.comparison import MOST_PAIRED, compare_pods, compare_runs
from backtests.evidence.comparison_record import correlation_matrix
from backtests.evidence.sharpe import expected_maximum
from backtests.walk.result import Result, Run, account_statistics
from backtests.walk.result_files import write_run
from backtests.walk.run_kinds import INTRADAY, NUMPY_KINDS


def test_correlation_by_hand_and_without_dispersion():
    rng = np.random.default_rng(10)
    series = np.vstack([rng.standard_normal((3, 60)), np.full(60, 0.1)])
    matrix = correlation_matrix(series)
    for i, j in itertools.combinations(range(3), 2):
        assert matrix[i, j] == matrix[j, i] == pytest.approx(np.corrcoef(series[i], series[j])[0, 1])
    assert (np.diag(matrix)[:3] == 1.0).all()
    assert np.isnan(matrix[3]).all()


def test_the_record_names_each_pod_and_ranks_by_deflated_sharpe():
    rng = np.random.default_rng(12)
    returns = {name: 0.01 * rng.standard_normal(120) for name in ("hold", "fast", "slow")}
    statistics = {
        "hold": {"deflated_sharpe": 0.4, "sharpe": 0.9},
        "fast": {"deflated_sharpe": math.nan, "sharpe": 3.0},
        "slow": {"deflated_sharpe": 0.8, "sharpe": 0.1},
    }
    record = compare_pods(returns, np.zeros(120), "hold", statistics, draws=50)
    assert [row["pod"] for row in record["ranking"]] == ["slow", "hold", "fast"]
    assert set(record["differences"]) == {"fast", "slow"}
    assert record["pods"] == ["hold", "fast", "slow"]
    assert record["correlation"][0][1] == pytest.approx(np.corrcoef(returns["hold"], returns["fast"])[0, 1])
    with pytest.raises(ValueError, match="benchmark must be one of the pods"):
        compare_pods(returns, np.zeros(120), "none", statistics)


DAYS = np.arange("2023-01-02", "2023-09-01", dtype="datetime64[D]")[:200]


def written(folder, name, pods, days=DAYS, *, trial_variance=0.05, **configuration):
    """A run with the returns given by pod; the first session only opens the account."""
    year = configuration.get("sessions_per_year", 252)
    results = []
    for pod, returns in pods.items():
        tables = {}
        for table, columns in INTRADAY.tables.items():
            size = days.size if table == "account" else 0
            tables[table] = {item: np.zeros(size).astype(NUMPY_KINDS[kind]) for item, kind in columns.items()}
        value = 1e6 * np.cumprod(1.0 + returns)
        tables["account"] |= {"session": days, "return": returns, "net_asset_value": value}
        found = account_statistics(tables, 6, trial_variance, kind=INTRADAY, periods_per_year=year)
        results.append(Result(pod, tables, found, {"code_hash": "c"}, INTRADAY))
    run = Run(name, next(iter(pods)), tuple(results), configuration, {"code_hash": "c"}, (), {}, {})
    return write_run(folder, run)


def some_returns(seed, size=DAYS.size):
    return np.r_[0.0, 0.01 * np.random.default_rng(seed).standard_normal(size - 1)]


def lost_in(returns, row):
    return np.r_[returns[:row], -1.0, np.zeros(returns.size - row - 1)]


def test_annual_figures_have_the_sessions_of_the_runs_year(tmp_path):
    one = written(tmp_path, "one", {"a": some_returns(0)}, sessions_per_year=365)
    two = written(tmp_path, "two", {"b": some_returns(1)}, sessions_per_year=365)
    record = compare_runs([one, two], draws=50)
    (first, second) = record["statistics"].values()
    excess = some_returns(0)[1:]
    assert first["sharpe"] == pytest.approx(math.sqrt(365) * excess.mean() / excess.std(ddof=1))
    assert first["sessions_per_year"] == 365
    difference = excess.mean() - some_returns(1)[1:].mean()
    assert record["pairs"][0]["annual_difference"] == pytest.approx(365 * difference)
    assert record["pairs"][0]["sharpe_difference"] == pytest.approx(first["sharpe"] - second["sharpe"])
    assert record["differences_of_inputs"] == []
    three = written(tmp_path, "three", {"c": some_returns(2)}, sessions_per_year=250)
    (sentence,) = compare_runs([one, three], draws=50)["differences_of_inputs"]
    assert sentence.startswith("annual figures: three")
    assert "250 sessions a year; all pods are shown by the 365" in sentence


def test_a_lost_pod_does_not_lower_the_bar_for_the_others(tmp_path):
    """The lost pod comes first and has no variance of the trials in its statistics; the second has."""
    lost = lost_in(some_returns(0), 50)
    one = written(tmp_path, "one", {"a": lost, "b": some_returns(1)}, trial_variance=0.05)
    two = written(tmp_path, "two", {"c": some_returns(2)}, trial_variance=0.0)
    record = compare_runs([one, two], draws=50)
    first, second, third = record["statistics"].values()
    assert first["lost"]
    assert "sharpe" not in first
    assert second["trial_sharpe_variance"] == pytest.approx(0.05)
    threshold = math.sqrt(252 * 0.05) * expected_maximum(12)
    assert third["deflated_sharpe_threshold"] == pytest.approx(threshold)


def test_capital_lost_before_the_shared_sessions_stays_lost(tmp_path):
    one = written(tmp_path, "one", {"a": some_returns(1), "gone": lost_in(some_returns(0), 50)})
    two = written(tmp_path, "two", {"b": some_returns(2, 100)}, DAYS[100:])
    record = compare_runs([one, two], draws=50)
    assert record["sessions"] == 99
    (gone,) = (found for name, found in record["statistics"].items() if name.endswith("/gone"))
    assert gone["lost"]
    assert record["ranking"][-1]["pod"].endswith("/gone")


def test_sessions_between_that_one_run_lacks_are_told(tmp_path):
    keep = np.r_[0:50, 57:200]
    one = written(tmp_path, "one", {"a": some_returns(0)})
    two = written(tmp_path, "sessions", {"b": some_returns(1, keep.size)}, DAYS[keep])
    record = compare_runs([one, two], draws=50)
    assert record["sessions"] == 192
    assert not record["comparable"]
    (gap,) = (line for line in record["differences_of_inputs"] if line.startswith("gaps"))
    assert gap.startswith(f"gaps: left out of {one.name} between {DAYS[1]} and {DAYS[199]}: 7 ")
    same = written(tmp_path, "more", {"c": some_returns(1, keep.size)}, DAYS[keep], sessions_per_year=250)
    assert compare_runs([two, same], draws=50)["comparable"]


def test_runs_with_one_session_in_common_are_refused(tmp_path):
    one = written(tmp_path, "one", {"a": some_returns(0, 100)}, DAYS[:100])
    two = written(tmp_path, "two", {"b": some_returns(1, 102)}, DAYS[98:])
    with pytest.raises(ValueError, match="at least 3 sessions in common; had 1"):
        compare_runs([one, two])


def test_two_folders_of_one_name_are_refused_by_name(tmp_path):
    here, there = (written(tmp_path / place, "one", {"a": some_returns(0)}) for place in ("here", "there"))
    with pytest.raises(ValueError, match=f"different names; {here.name} is there twice: rename one"):
        compare_runs([here, there])


@pytest.mark.parametrize("count", [MOST_PAIRED, MOST_PAIRED + 1])
def test_of_many_pods_the_pairs_with_the_benchmark_are_tested(count):
    """A pod far better than the benchmark is found whatever the number of pods."""
    rng = np.random.default_rng(3)
    returns = {f"p{i}": 0.01 * rng.standard_normal(300) for i in range(count)}
    returns["p5"] = returns["p5"] + 0.01
    record = compare_pods(returns, np.zeros(300), "p2", {name: {} for name in returns})
    every = count <= MOST_PAIRED
    assert len(record["pairs"]) == (count * (count - 1) // 2 if every else count - 1)
    assert record["method"]["pairs"] == ("all" if every else "with the benchmark")
    assert set(record["differences"]) == set(returns) - {"p2"}
    (found,) = (pair for pair in record["pairs"] if {pair["first"], pair["second"]} == {"p2", "p5"})
    assert found["p_value_adjusted"] <= 0.05
    assert found["p_value_adjusted"] == pytest.approx(len(record["pairs"]) * found["p_value"])
