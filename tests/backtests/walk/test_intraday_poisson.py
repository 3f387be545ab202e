"""Fills at the calibrated rates beside the other models: sums of independent sessions, and whose quotes have none."""

from __future__ import annotations

import math

import numpy as np
import pytest

from backtests.walk.intraday_poisson import poisson_record


def record(mean, deviation, paths=400, fills=10.0):
    return {"mean": mean, "deviation": deviation, "paths": paths, "fills": fills, "words": "w", "adverse_ticks": 0.0}


def test_sessions_add_as_independent_draws_of_a_mean_that_is_estimated():
    """Against drawing it: means of 25 paths, then three sessions of one law and five of another."""
    rng = np.random.default_rng(3)
    parts = [(record(2.0, 4.0, paths=25), 3), (record(-1.0, 6.0, paths=25), 5)]
    found = poisson_record(parts)
    draws = sum(
        count * rng.normal(item["mean"], item["deviation"] / math.sqrt(item["paths"]), 200_000)
        + item["deviation"] * rng.normal(size=(count, 200_000)).sum(axis=0)
        for item, count in parts
    )
    assert found["profit"]["total"] == pytest.approx(3 * 2.0 - 5 * 1.0)
    assert found["profit"]["error"] == pytest.approx(draws.std(), rel=0.01)  # 200,000 draws: 0.16 % of it
    assert (found["fills"], found["sessions"], found["profit"]["verdict"]) == (80.0, 8, 0)


@pytest.mark.parametrize(("mean", "verdict"), [(1.0, 0), (1.97, 1), (-1.97, -1), (1.95, 0), (0.0, 0)])
def test_the_sign_is_sure_beyond_the_normal_laws_two_sided_five_per_cent(mean, verdict):
    found = poisson_record([(record(mean, 1.0, paths=10**12), 1)])
    assert found["profit"]["verdict"] == verdict


def test_a_pod_without_a_table_says_why():
    assert poisson_record([(record(1.0, 1.0), 2), ({"reason": "no table"}, 1)]) == {"reason": "no table"}
