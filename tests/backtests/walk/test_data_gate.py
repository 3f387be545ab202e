"""Sessions below the minimum quality are refused by name, or flagged in the result."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from backtests.errors import DataQualityError
from backtests.walk.data_gate import judge_sessions

SESSIONS = np.array(["2023-01-02", "2023-01-03", "2023-01-04", "2023-01-05", "2023-01-06"], dtype="datetime64[D]")
FOLDS = [SimpleNamespace(train=range(0, 2), test=range(2, 4))]
POOR = [
    {"session": "2023-01-03", "score": 0.2, "problems": "12 instruments traded, 60 usually"},
    {"session": "2023-01-04", "score": 0.6, "problems": "24 suspicious"},
    {"session": "2023-01-06", "score": 0.0, "problems": "outside of every window"},
]
QUALITY = {"light": "green", "reasons": [], "poor_sessions": POOR}


def plan(minimum: float, action: str = "flag") -> SimpleNamespace:
    return SimpleNamespace(minimum_quality=minimum, below_minimum=action)


def test_sessions_below_the_minimum_are_flagged_with_their_windows():
    judged = judge_sessions(plan(0.7), SESSIONS, FOLDS, QUALITY)
    assert [(r["session"], r["windows"]) for r in judged["flagged_sessions"]] == [
        ("2023-01-03", "training"),
        ("2023-01-04", "test"),
    ]
    assert judged["light"] == "amber"
    assert judged["reasons"] == ["2 session(s) of the run, 1 of them tested on, have a poor score"]
    assert QUALITY["reasons"] == [], "the summary given is not changed"


def test_a_good_run_has_an_empty_list_and_keeps_its_light():
    judged = judge_sessions(plan(0.1), SESSIONS, FOLDS, QUALITY)
    assert (judged["flagged_sessions"], judged["light"]) == ([], "green")


def test_a_run_that_refuses_names_the_sessions_and_what_to_do():
    with pytest.raises(
        DataQualityError, match=r"1 session\(s\) of the run .* 2023-01-03 \(0.20: 12 instruments.*below_minimum"
    ):
        judge_sessions(plan(0.5, "refuse"), SESSIONS, FOLDS, QUALITY)


def test_a_summary_without_scores_is_left_alone():
    assert judge_sessions(plan(1.0, "refuse"), SESSIONS, FOLDS, {"light": "none"}) == {"light": "none"}
