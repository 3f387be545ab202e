"""Every planted leak is found, by the test and the field that it is about; its honest twin passes the same audit."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from backtests.audit import daily
from backtests.audit.daily import audit_daily
from backtests.audit.lookahead import random_panel
from backtests.audit.variants import UNPUBLISHED
from backtests.walk import fold_tasks
from backtests.walk.combinatorial import CombinatorialSettings
from backtests.walk.folds import FoldSettings
from backtests.walk.plan import PodPlan, WalkForwardPlan
from data_pipeline.daily.panel import CorporateEvent
from data_pipeline.daily.view import MarketView

sys.path.insert(0, str(Path(__file__).parent))
from planted import PLANTED, FittedOnAll, N, NormalisedOverAll, ShiftMinusOne

TRAIN, TEST, ROWS = 60, 20, 102


def make_panel():
    """Random walks in which cash of every session becomes public ten sessions after its ex session."""
    panel = random_panel(5, sessions=ROWS, instruments=N, silent=0.0)
    random = np.random.default_rng(1)
    late = tuple(
        CorporateEvent(row % N, row, row + 10, 1.0, float(random.uniform(0.001, 0.01)), 0.0, "dividend", 1.0, "late")
        for row in range(20, ROWS - 1)
    )
    volume = np.round(np.exp(random.normal(13.0, 0.5, (ROWS, N))))
    ask = panel.bid * np.exp(random.uniform(0.0005, 0.003, (ROWS, N)))
    return dataclasses.replace(panel, events=late, volume=volume, traded_value=volume * panel.vwap, ask=ask)


def make_plan(pods) -> WalkForwardPlan:
    return WalkForwardPlan(
        name="planted",
        pods=tuple(PodPlan(pod.name, (pod,), "immediate") for pod in pods),
        benchmark=pods[0].name,
        folds=FoldSettings(TRAIN, TEST),
        capital=1e8,
        var_window=60,
        bootstrap_draws=10,
    )


@pytest.fixture(scope="module", autouse=True)
def code_without_reading_it():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("backtests.audit.daily.code_hash", lambda rooms: "c" * 64)
        yield


@pytest.fixture(scope="module")
def panel():
    return make_panel()


@pytest.fixture(scope="module")
def leaks(panel):
    return audit_daily(make_plan([kind(name=kind.__name__) for kind in PLANTED]), panel, cuts=2)


EXPECTED = {
    "ShiftMinusOne": ("decisions", "close"),
    "CentredWindow": ("decisions", "volume"),
    "NormalisedOverAll": ("decisions", "ask"),
    "JoinedByPeriod": ("decisions", UNPUBLISHED),
    "FittedOnAll": ("fit", "close"),
    "CountsSessions": ("decisions", "the number of sessions"),
    "Understated": ("warm-up", "close"),
    "FromTheStart": ("history", "traded_value"),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_a_planted_leak_is_found_with_its_field(leaks, name):
    test, field = EXPECTED[name]
    found = [check for check in leaks.found if check.pod == name and check.test == test]
    assert found
    assert field in {read for check in found for read in check.fields}
    assert all(check.difference is not None and check.difference.session for check in found)
    if field in ("close", "volume", "ask", "traded_value"):
        others = {"open", "high", "low", "trade_count", "risk_free", "vwap"}
        assert not others & {read for check in found for read in check.fields}
    assert f"pod {name!r}: {test} changed when the data were changed" in found[0].words
    assert not leaks.passed


def test_the_honest_twins_pass(panel):
    audit = audit_daily(make_plan([kind(name=kind.__name__, honest=True) for kind in PLANTED]), panel, cuts=2)
    assert [check.words for check in audit.found] == []
    assert audit.passed
    assert {check.test for check in audit.checks} == {
        "costs", "parameters", "fit", "decisions", "account", "warm-up", "history"
    }  # fmt: skip


def test_the_first_decision_that_the_leak_changes_is_the_one_at_the_cut(panel, leaks):
    """shift(-1) reads one session ahead, so nothing before the cut itself can change."""
    wanted = "ShiftMinusOne", "decisions", "scramble"
    cut_off = [check for check in leaks.found if (check.pod, check.test, check.variant) == wanted]
    assert cut_off
    assert all(check.difference.session == check.cut for check in cut_off)


def test_costs_calibrated_on_test_rows_are_found(panel, monkeypatch):
    real = fold_tasks.calibrate_view

    def leaking(view, plan, ranges=None):
        longer = min(view._now + 10, view._panel.sessions.size - 1)
        return real(MarketView(view._panel, longer, first=view._first), plan)

    plan = make_plan([ShiftMinusOne(honest=True)])
    monkeypatch.setattr(fold_tasks, "calibrate_view", leaking)
    found = [check for check in audit_daily(plan, panel, cuts=1).found if check.test == "costs"]
    assert {check.variant for check in found} == {"scramble", "truncate", "delay"}
    assert {"close", "volume"} <= set(found[0].fields)
    assert "risk_free" not in found[0].fields


def test_parameters_scored_on_test_rows_are_found(panel, monkeypatch):
    real = fold_tasks.score_choices

    def leaking(panel, ranges, *rest):
        longer = min(ranges[0].stop + 10, panel.sessions.size)
        return real(panel, [range(ranges[0].start, longer)], *rest)

    plan = make_plan([ShiftMinusOne(honest=True)])
    monkeypatch.setattr(fold_tasks, "score_choices", leaking)
    audit = audit_daily(plan, panel, cuts=1)
    assert "close" in next(check for check in audit.found if check.test == "parameters").fields
    assert not [check for check in audit.found if check.test == "costs"]


SPLITS = CombinatorialSettings(3, 1, purge=2, embargo=1)


def of_splits(audit):
    """The checks of splits, by pod, test and split."""
    return {(check.pod, check.test, check.cut): check for check in audit.checks if check.variant == "scramble outside"}


def test_an_honest_plan_with_splits_and_a_nested_choice_passes(panel):
    kinds = FittedOnAll, NormalisedOverAll
    pods = [PodPlan("two", tuple(kind(name="two", honest=True) for kind in kinds), "immediate")]
    plan = dataclasses.replace(
        make_plan([kinds[0](name="one", honest=True)]), combinatorial=SPLITS, selection="nested", inner_folds=3
    )
    audit = audit_daily(dataclasses.replace(plan, pods=(*plan.pods, *pods)), panel, cuts=3)
    assert [check.words for check in audit.found] == []
    wanted = {("", "costs"), *((pod, test) for pod in ("one", "two") for test in ("parameters", "fit"))}
    assert of_splits(audit).keys() == {(*name, f"split {number}") for name in wanted for number in (1, 2, 3)}


def test_a_pod_fitted_on_tested_rows_is_found_in_a_split(panel):
    plan = dataclasses.replace(make_plan([FittedOnAll(name="cheat")]), combinatorial=SPLITS)
    found = of_splits(audit_daily(plan, panel, cuts=3))
    for number in (1, 3):  # rows outside of a window in several pieces are empty, so there is nothing to cheat with
        check = found["cheat", "fit", f"split {number}"]
        assert (check.verdict, check.fields) == ("changed", ("close",))
    assert found["cheat", "fit", "split 2"].verdict == "same"
    assert {found["", "costs", f"split {number}"].verdict for number in (1, 2, 3)} == {"same"}


def test_a_choice_that_reads_purged_rows_is_found_in_a_split(panel, monkeypatch):
    real = fold_tasks.score_choices

    def leaking(panel, ranges, *rest):
        longer = range(ranges[0].start, ranges[0].stop + 1), *ranges[1:]
        return real(panel, longer if len(ranges) > 1 else ranges, *rest)

    monkeypatch.setattr(fold_tasks, "score_choices", leaking)
    plan = dataclasses.replace(make_plan([ShiftMinusOne(honest=True)]), combinatorial=SPLITS)
    audit = audit_daily(plan, panel, cuts=3)
    assert {check.words.split(": ")[1][:10] for check in audit.found} == {"parameters"}
    assert [check.cut for check in audit.found] == ["split 2"]
    assert "close" in audit.found[0].fields


def test_a_calibration_that_reads_the_hole_of_a_split_is_found(panel, monkeypatch):
    real = fold_tasks.calibrate_view

    def leaking(view, plan, ranges=None):
        return real(MarketView(panel_of[0], view._now, first=view._first), plan)

    loaded, panel_of = fold_tasks._panel, []

    def remember(place):
        panel_of[:] = [loaded(place)]
        return panel_of[0]

    monkeypatch.setattr(fold_tasks, "_panel", remember)
    monkeypatch.setattr(fold_tasks, "calibrate_view", leaking)
    plan = dataclasses.replace(make_plan([ShiftMinusOne(honest=True)]), combinatorial=SPLITS)
    audit = audit_daily(plan, panel, cuts=3)
    assert [(check.test, check.cut) for check in audit.found] == [("costs", "split 2")]
    assert {"close", "volume"} <= set(audit.found[0].fields)


def test_a_pod_that_decides_nothing_is_no_pass(panel):
    class Never(ShiftMinusOne):
        def decide(self, view):
            return None

    audit = audit_daily(make_plan([Never(name="never")]), panel, cuts=1)
    assert not audit.passed
    assert [(check.verdict, check.why) for check in audit.found] == [
        ("untested", "the pod never decides before the last session")
    ]


def test_the_record_is_the_same_every_time_and_names_what_was_audited(panel, leaks):
    again = audit_daily(make_plan([kind(name=kind.__name__) for kind in PLANTED[:1]]), panel, cuts=1)
    twin = audit_daily(make_plan([kind(name=kind.__name__) for kind in PLANTED[:1]]), panel, cuts=1)
    assert json.dumps(again.record()) == json.dumps(twin.record())
    record = leaks.record()
    assert record["schema_version"] == 1
    assert set(record["audited"]) == {"data_hash", "code_hash", "plan_hash", "cuts", "seed"}
    assert len(record["checks"]) == len(leaks.checks)


def test_of_the_changed_panels_one_at_a_time_is_on_disk(panel, monkeypatch):
    """Each is as large as the data: all of them would fill a disk."""
    real, counts = daily.save_panel, []

    def save(panel, folder, **more):
        real(panel, folder, **more)
        counts.append(len(list(Path(folder).parent.glob("panel-*"))))

    monkeypatch.setattr(daily, "save_panel", save)
    assert audit_daily(make_plan([ShiftMinusOne(honest=True)]), panel, cuts=1).passed
    assert len(counts) > 3
    assert max(counts) == 2


def test_the_number_of_cuts_is_checked(panel):
    with pytest.raises(ValueError, match="cuts must be at least 1; was 0"):
        audit_daily(make_plan([ShiftMinusOne()]), panel, cuts=0)
