from __future__ import annotations

import json
import math

import pytest

from backtests.evidence.sensitivity import read_sensitivity
from data_pipeline.errors import DataError

STUDY = {
    "capital": [
        {"pod": "fast", "value": 1e8, "annual_return": 0.02, "sharpe": 0.3, "annual_cost": 0.08},
        {"pod": "fast", "value": 1e6, "annual_return": 0.1, "sharpe": 1.2, "standard_error": 0.03},
    ],
    "queue": [{"pod": "maker", "value": "risk_averse", "annual_return": -0.1, "profit": -5.0}],
    "latency_ms": [],
}


def test_points_are_read_in_order_with_their_profit(tmp_path):
    (tmp_path / "sensitivity.json").write_text(json.dumps(STUDY))
    found = read_sensitivity(tmp_path)
    assert list(found) == ["capital", "latency_ms", "queue"]
    small, large = found["capital"]
    assert (small.value, small.profit, small.standard_error) == (1e6, 1e5, 0.03)
    assert (large.profit, large.annual_cost) == (2e6, 0.08)
    assert math.isnan(large.standard_error)
    assert (found["queue"][0].value, found["queue"][0].profit) == ("risk_averse", -5.0)
    assert found["latency_ms"] == ()


def test_a_run_without_a_study_has_none(tmp_path):
    assert read_sensitivity(tmp_path) is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not JSON"),
        ("[]", "must be an object with lists of points; was list"),
        ('{"capitol": []}', "keys must be among capital, .*; had 'capitol'"),
        ('{"capital": {}}', "capital must be a list of points; was dict"),
        ('{"fee_factor": [{"value": 1}]}', r"fee_factor\[0\] must be an object with the name of a pod"),
        ('{"fee_factor": [{"pod": "a", "value": "1"}]}', r"fee_factor\[0\]: value must be a finite number; was '1'"),
        ('{"capital": [{"pod": "a", "value": 0}]}', "value must be a positive capital; was 0"),
        ('{"queue": [{"pod": "a", "value": 1}]}', "value must be the name of a queue model; was 1"),
        ('{"capital": [{"pod": "a", "value": 1, "sharpe": "x"}]}', "sharpe must be a number; was 'x'"),
        ('{"queue": [{"pod": "a", "value": "b"}, {"pod": "a", "value": "b"}]}', "is there twice"),
    ],
)
def test_a_wrong_file_is_refused_with_the_place(tmp_path, text, message):
    (tmp_path / "sensitivity.json").write_text(text)
    with pytest.raises(DataError, match=message):
        read_sensitivity(tmp_path)
