from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from backtests.evidence.comparison import compare_pods
from backtests.evidence.comparison_record import correlation_matrix


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
