"""A run under combinatorial cross-validation and nested choice, from the plan to the files of its folder."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pyarrow.parquet as pq
import pytest

from backtests.audit.lookahead import random_panel
from backtests.daily.accounting import TradingRules
from backtests.daily.screening import replay
from backtests.daily.simulator import Segment, simulate
from backtests.errors import WindowError
from backtests.evidence.overfitting import probability_of_backtest_overfitting
from backtests.evidence.sharpe import expected_maximum
from backtests.evidence.statistics import SESSIONS_PER_YEAR
from backtests.walk.choice import score_choices
from backtests.walk.combinatorial import CombinatorialSettings, path_splits
from backtests.walk.fold_tasks import best_index, calibrate_view, policy_costs
from backtests.walk.folds import FoldSettings, make_folds
from backtests.walk.overfit_record import grid_record, haircut_record
from backtests.walk.plan import PodPlan, WalkForwardPlan, describe
from backtests.walk.policy_files import read_policy
from backtests.walk.register import REGISTER_FOLDER, Register, trials_of_runs, unregistered_runs
from backtests.walk.result_files import read_run
from backtests.walk.sweep import sweep
from backtests.walk.training import training_view
from backtests.walk.walkforward import run_walkforward
from mfg_core import solve_mfg
from strategies.equal_weight import EqualWeight
from strategies.execution import Immediate, mean_field_schedule
from strategies.momentum import TimeSeriesMomentum
from strategies.pod import parameter_grid

ROWS = 170
SMALL = {"min_traded_value": 0.0, "max_weight": 1.0, "min_presence": 0.5}
SETTINGS = CombinatorialSettings(4, 2, purge=2, embargo=0.02)


def make_plan(*, signals=(10, 20), **changes) -> WalkForwardPlan:
    hold = EqualWeight(universe_window=20, rebalance_every=10, **SMALL, name="hold")
    momentum = tuple(
        TimeSeriesMomentum(signal_sessions=n, volatility_sessions=20, rebalance_every=5, **SMALL, name="momentum")
        for n in signals
    )
    parts = {
        "name": "paths",
        "pods": (PodPlan("hold", (hold,), "immediate"), PodPlan("momentum", momentum, "immediate", None, 2)),
        "benchmark": "hold",
        "folds": FoldSettings(90, 40, purge=2),
        "capital": 1e7,
        "var_window": 60,
        "bootstrap_draws": 50,
        "combinatorial": SETTINGS,
        "selection": "nested",
        "inner_folds": 3,
    }
    return WalkForwardPlan(**(parts | changes))


def make_panel():
    return random_panel(4, sessions=ROWS, instruments=5)


def tree(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module", autouse=True)
def unchanging_code():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("backtests.walk.walkforward.code_hash", lambda rooms: "c" * 64)
        yield


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    out = tmp_path_factory.mktemp("base")
    return out, run_walkforward(make_plan(), make_panel(), out, workers=0)


def paths_of(folder):
    return json.loads((folder / "evidence/paths.json").read_bytes()), pq.read_table(folder / "evidence/paths.parquet")


def test_each_path_has_every_group_once_and_each_test_of_a_group_is_in_one_path(base):
    record, table = paths_of(base[1])
    assert len(record["splits"]) == 6
    assert record["paths"] == (path_splits(SETTINGS) + 1).tolist()
    assert record["embargo"] == 3  # two in a hundred of the 150 sessions after the warm-up
    frame = table.to_pandas()
    days = make_panel().sessions
    for (_, _path), rows in frame.groupby(["pod", "path"]):
        assert rows["session"].is_monotonic_increasing
        assert rows["group"].unique().tolist() == [1, 2, 3, 4]
        assert len(rows) == (ROWS - 20) - 4
    cells = frame[["pod", "group", "split"]].drop_duplicates()
    assert len(cells) == 2 * 12
    for _, group, split in cells.itertuples(index=False):
        assert group in record["splits"][split - 1]["tests"]
    for split in record["splits"]:
        for first, last in split["train"]:
            for group in split["tests"]:
                start, end = record["groups"][group - 1]
                assert last < start or first > end
    assert record["groups"][0][0] == str(days[20])


def test_a_block_is_the_account_of_its_parts_by_hand(base):
    """Second way: calibration, choice, fit and simulation of one split put together here."""
    _, table = paths_of(base[1])
    plan, panel = make_plan(), make_panel()
    split = plan.splits(ROWS)[4]
    assert split.groups == (1, 3)
    calibration = calibrate_view(training_view(panel, split), plan, split.ranges)
    costs = calibration.costs
    pod = plan.pods[1]
    found = score_choices(panel, split.ranges, pod.grid, costs, plan.choice_rule(3))
    chosen = pod.grid[best_index(found.scores)]
    game = calibration.execution_game(horizon=3.0, risk_aversion=1.0, terminal_penalty=5.0)
    executor = Immediate(tuple(mean_field_schedule(solve_mfg(game, rtol=plan.rtol)).crowd_rate.tolist()))
    frame = table.to_pandas()
    known = split.ranges[-1].stop - 1
    for group, rows in zip(split.groups, split.tests, strict=True):
        volume = costs.daily_volume.copy()
        for event in panel.events:  # a volume that is known later counts the shares of later splits
            volume[event.instrument] /= event.share_factor if rows.start < event.ex_session <= known else 1.0
        segment = Segment(
            rows.start,
            rows.stop - 1,
            chosen.fit(training_view(panel, split)),
            dataclasses.replace(costs, daily_volume=volume),
            executor,
            group,
            min(known, rows.start),
        )
        account = simulate(panel, [segment], rules=TradingRules(), capital=1e7, pod="momentum", var_window=60)
        mine = frame[(frame["pod"] == "momentum") & (frame["group"] == group + 1) & (frame["split"] == 5)]
        np.testing.assert_allclose(mine["return"], account.returns[1:], rtol=1e-9, atol=1e-12)


def test_the_measures_of_a_path_are_those_of_its_returns(base):
    record, table = paths_of(base[1])
    frame = table.to_pandas()
    for pod, measures in record["pods"].items():
        for path in range(3):
            rows = frame[(frame["pod"] == pod) & (frame["path"] == path + 1)]
            excess = rows["return"] - rows["risk_free"]
            value = (1.0 + rows["return"]).cumprod()
            drawdown = 1.0 - value / value.cummax().clip(lower=1.0)
            by_hand = {
                "sharpe": excess.mean() / excess.std() * SESSIONS_PER_YEAR**0.5,
                "max_drawdown": drawdown.max(),
                "final_value": 1e7 * value.iloc[-1],
                "annual_return": value.iloc[-1] ** (SESSIONS_PER_YEAR / len(rows)) - 1.0,
            }
            for name, expected in by_hand.items():
                assert measures[name]["by_path"][path] == pytest.approx(expected, rel=1e-9)
            np.testing.assert_allclose(rows["net_asset_value"], 1e7 * value, rtol=1e-12)
        assert measures["sharpe"]["median"] == pytest.approx(np.median(measures["sharpe"]["by_path"]))
        assert measures["sharpe"]["lowest"] == min(measures["sharpe"]["by_path"])


def test_the_walk_forward_account_does_not_know_of_the_paths(base, tmp_path):
    alone = run_walkforward(make_plan(combinatorial=None), make_panel(), tmp_path, workers=0)
    assert not (alone / "evidence/paths.json").exists()
    for one, other in zip(read_run(alone).results, read_run(base[1]).results, strict=True):
        np.testing.assert_array_equal(one.returns, other.returns)
        assert one.statistics == other.statistics


def test_a_worker_gives_the_same_bytes_as_none(base, tmp_path):
    """Two, one of them killed, and a cluster: tests/backtests/walk/test_walkforward.py."""
    one = run_walkforward(make_plan(), make_panel(), tmp_path, workers=1)
    assert one.name == base[1].name
    assert tree(one) == tree(base[1])


def test_every_choice_is_kept_with_the_scores_of_its_inner_folds(base):
    record = json.loads((base[1] / "evidence/choices.json").read_bytes())
    assert record["selection"] == "nested"
    assert {name: (len(pod["folds"]), len(pod["splits"])) for name, pod in record["pods"].items()} == {
        "hold": (2, 6),
        "momentum": (2, 6),
    }
    for choice in record["pods"]["momentum"]["folds"]:
        assert np.shape(choice["inner_scores"]) == (3, 2)
        assert choice["scores"][choice["chosen"]] == max(choice["scores"])
    table = read_run(base[1]).result("momentum").tables["folds"]
    best = [max(choice["scores"]) for choice in record["pods"]["momentum"]["folds"]]
    assert table["training_score"].tolist() == best


def test_a_screened_run_chooses_by_other_scores(base, tmp_path):
    screened = run_walkforward(make_plan(combinatorial=None, selection="screen"), make_panel(), tmp_path, workers=0)
    one, other = (read_run(f).result("momentum").tables["folds"]["training_score"] for f in (screened, base[1]))
    assert not np.array_equal(one, other)
    record = json.loads((screened / "evidence/choices.json").read_bytes())
    assert record["pods"]["momentum"]["folds"][0]["inner_scores"] == []


def test_trials_of_earlier_runs_on_the_same_data_deflate_the_next(tmp_path):
    """Two pods: one set over two folds, and two sets over two folds, make six; another grid adds its new sets only."""
    plan = make_plan(combinatorial=None)
    first = read_run(run_walkforward(plan, make_panel(), tmp_path, workers=0))
    again = read_run(run_walkforward(plan, make_panel(), tmp_path, workers=0))
    assert first.folder == again.folder
    wider = make_plan(combinatorial=None, signals=(20, 15, 12))
    second = read_run(run_walkforward(wider, make_panel(), tmp_path, workers=0))
    counts = [run.result("momentum").statistics["trial_count"] for run in (first, second)]
    assert counts[0] == {"of_study": 6, "of_data": 6, "recorded": 6, "earlier": 0}
    assert counts[1] == {"of_study": 8, "of_data": 10, "recorded": 10, "earlier": 2}
    for run in (first, second):
        for result in run.results:
            assert result.statistics["trials"] == result.statistics["trial_count"]["of_data"]
    fresh = read_run(run_walkforward(wider, make_panel(), tmp_path / "fresh", workers=0))
    assert fresh.result("momentum").statistics["trials"] == 8
    one, other = (run.result("momentum").statistics for run in (fresh, second))
    assert one["min_backtest_years"] < other["min_backtest_years"]
    assert one["deflated_sharpe"] > other["deflated_sharpe"]
    np.testing.assert_array_equal(fresh.result("momentum").returns, second.result("momentum").returns)
    assert trials_of_runs([first, second]) == 10
    assert trials_of_runs([first, fresh]) == 10 + 8  # two registers: nobody can tell what they share
    unknown = dataclasses.replace(second, provenance={})
    assert trials_of_runs([unknown]) == second.result("hold").statistics["trials"]


def test_one_set_in_one_fold_is_deflated_for_the_sweep_that_it_came_from(tmp_path):
    """With no second score to compare, luck was taken to show a Sharpe ratio of zero, whatever had been tried."""
    hold = EqualWeight(universe_window=20, rebalance_every=10, **SMALL, name="hold")
    plan = make_plan(pods=(PodPlan("hold", (hold,), "immediate"),), folds=FoldSettings(120, 60, purge=2))
    plan = dataclasses.replace(plan, combinatorial=None)
    grid = parameter_grid(hold, {"rebalance_every": list(range(5, 25))})
    sweep(make_panel(), grid, Register(tmp_path / REGISTER_FOLDER))
    found = read_run(run_walkforward(plan, make_panel(), tmp_path, workers=0)).result("hold").statistics
    assert found["trials"] == 21
    expected = expected_maximum(21) * (SESSIONS_PER_YEAR / found["observations"]) ** 0.5
    assert found["deflated_sharpe_threshold"] == pytest.approx(expected)
    assert found["deflated_sharpe"] < found["probabilistic_sharpe"]


def test_other_tests_and_inner_folds_of_the_same_training_are_other_trials(tmp_path):
    plans = [
        make_plan(combinatorial=None, **change)
        for change in (
            {},
            {"folds": FoldSettings(90, 40, purge=3)},
            {"folds": FoldSettings(90, 60, purge=2)},
            {"inner_folds": 2},
        )
    ]
    counts = [
        read_run(run_walkforward(plan, make_panel(), tmp_path, workers=0)).results[0].statistics["trials"]
        for plan in plans
    ]
    assert counts == [6, 12, 18, 24]


def test_a_deleted_register_shows(tmp_path):
    plan = make_plan(combinatorial=None)
    first = run_walkforward(plan, make_panel(), tmp_path, workers=0)
    for path in (tmp_path / REGISTER_FOLDER).iterdir():
        path.unlink()
    wider = make_plan(combinatorial=None, signals=(20, 15))
    second = read_run(run_walkforward(wider, make_panel(), tmp_path, workers=0))
    assert second.provenance["trials"]["not_registered"] == [first.name]
    assert second.result("momentum").statistics["trials"] == 6
    assert unregistered_runs(tmp_path, Register(tmp_path / REGISTER_FOLDER)) == (first.name,)


def test_what_is_said_of_overfitting_is_that_of_the_replays(base):
    plan, panel, run = make_plan(), make_panel(), read_run(base[1])
    parts = []
    for fold, digest in zip(
        make_folds(ROWS, plan.folds), run.result("momentum").tables["folds"]["policy_hash"], strict=True
    ):
        costs = policy_costs(read_policy(base[1] / "policies", digest))
        fitted = [pod.fit(training_view(panel, fold)) for pod in plan.pods[1].grid]
        parts.append(replay(panel, fitted, fold.test, costs))
    matrix = np.concatenate(parts)
    found = run.result("momentum").statistics["overfitting"]
    assert (found["sessions"], found["trials"], found["blocks"]) == (*matrix.shape, 6)
    expected = probability_of_backtest_overfitting(matrix, 6)
    assert found["probability_of_backtest_overfitting"] == expected.probability
    assert found["degradation"] == pytest.approx(expected.degradation * SESSIONS_PER_YEAR**0.5)
    assert run.result("hold").statistics["overfitting"]["probability_of_backtest_overfitting"] is None
    assert run.comparison["all_trials"]["trials"] == 3
    statistics = run.result("momentum").statistics
    assert statistics["haircut"]["trials"] == statistics["trials"]


def test_evidence_that_cannot_be_had_is_none():
    short = grid_record(np.zeros((5, 3)), draws=10, seed=0, periods_per_year=252)
    names = ("probability_of_backtest_overfitting", "superior_predictive_ability", "reality_check", "degradation")
    assert [short[name] for name in names] == [None] * 4
    assert haircut_record(None, 100, 5, 252)["bonferroni"] is None
    assert haircut_record(float("nan"), 100, 5, 252)["independent"] is None


def test_trials_that_never_trade_are_no_error():
    noise = np.random.default_rng(0).normal(0.0, 0.01, (80, 3))
    found = grid_record(np.column_stack([noise, np.zeros(80)]), draws=50, seed=0, periods_per_year=252)
    assert 0.0 <= found["probability_of_backtest_overfitting"] <= 1.0
    assert 0.0 < found["superior_predictive_ability"] <= 1.0


def test_the_harvey_liu_example_is_in_the_record():
    """0.75 over 20 years after 200 tests: the paper prints p 0.15 and 0.32."""
    cut = haircut_record(0.75, 240, 200, 12)["independent"]
    assert (round(cut["adjusted_p_value"], 3), round(cut["adjusted_sharpe"], 3)) == (0.147, 0.324)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"folds": FoldSettings(90, 40, purge=1)}, "purge must be at least the 2 sessions .* pod 'momentum' .* was 1"),
        ({"combinatorial": CombinatorialSettings(4, 2, purge=1)}, "purge must be at least the 2 sessions"),
        ({"selection": "best"}, "selection must be one of screen, nested; was 'best'"),
        ({"inner_folds": 1}, "inner_folds must be at least 2; was 1"),
    ],
)
def test_plans_that_make_no_sense_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        make_plan(**changes)


def test_groups_that_leave_no_room_for_a_warm_up_are_refused(tmp_path):
    plan = make_plan(combinatorial=CombinatorialSettings(10, 5, purge=2))
    with pytest.raises(WindowError, match=r"groups must leave a training range of 23 sessions, .* groups 1, 3, "):
        run_walkforward(plan, make_panel(), tmp_path, workers=0)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("folds", "message"),
    [
        (75, r"inner_folds must be at most the \d+ sessions of the training window that begins with row \d+; was 75"),
        (10**9, "inner_folds must be at most the 90 sessions of the training window that begins with row 0"),
    ],
)
def test_inner_folds_that_do_not_fit_a_window_are_refused_before_anything_is_computed(tmp_path, folds, message):
    with pytest.raises(WindowError, match=message):
        run_walkforward(make_plan(inner_folds=folds), make_panel(), tmp_path, workers=0)
    assert list(tmp_path.iterdir()) == []


def test_the_scheme_and_the_choice_are_in_the_description():
    texts = {
        json.dumps(describe(make_plan(**change)), sort_keys=True)
        for change in (
            {},
            {"combinatorial": None},
            {"combinatorial": dataclasses.replace(SETTINGS, embargo=3)},
            {"selection": "screen"},
            {"inner_folds": 4},
        )
    }
    assert len(texts) == 5
