from __future__ import annotations

import dataclasses
import hashlib
import json
import multiprocessing
import os
import shutil
import signal
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from backtests.audit.lookahead import scramble_future
from backtests.daily.accounting import TradingRules
from backtests.daily.simulator import Segment, simulate
from backtests.errors import BacktestError, WalkForwardError, WindowError
from backtests.walk.assembly import count_trials
from backtests.walk.fold_tasks import (
    Selection,
    best_index,
    calibrate_view,
    costs_of_all,
    make_executor,
    training_view,
)
from backtests.walk.folds import FoldSettings, make_folds
from backtests.walk.plan import PodPlan, WalkForwardPlan, describe, describe_pod
from backtests.walk.policy_files import read_policy
from backtests.walk.register import REGISTER_FOLDER
from backtests.walk.result_files import read_run
from backtests.walk.walkforward import LEDGER_FOLDER, run_walkforward
from data_pipeline.daily.panel import CorporateEvent, DailyPanel
from data_pipeline.tasks.executor import DaskCluster
from data_pipeline.tasks.ledger import Ledger
from data_pipeline.tasks.pool import RunInterruptedError
from mfg_core import rebuild_policy, solve_mfg
from risk.limits import default_limits
from strategies.equal_weight import EqualWeight
from strategies.execution import mean_field_schedule
from strategies.momentum import TimeSeriesMomentum
from strategies.pod import Targets

ROWS, TRAIN, TEST = 150, 70, 40
SMALL = {"min_traded_value": 1e5, "max_weight": 1.0}


def make_panel(rows: int = ROWS, seed: int = 0) -> DailyPanel:
    rng = np.random.default_rng(seed)
    shape = (ROWS, 5)
    moves = 0.008 * rng.standard_normal((ROWS, 1)) + 0.012 * rng.standard_normal(shape)
    close = 20.0 * np.exp(np.cumsum(moves, axis=0))
    opening = close * np.exp(-0.5 * moves + 0.002 * rng.standard_normal(shape))
    high = np.maximum(opening, close) * (1 + 0.004 * rng.random(shape))
    low = np.minimum(opening, close) * (1 - 0.004 * rng.random(shape))
    volume = np.floor(1e6 * np.exp(0.3 * rng.standard_normal(shape)))
    vwap = (high + low + close) / 3
    grids = {
        "open": opening,
        "high": high,
        "low": low,
        "close": close,
        "vwap": vwap,
        "bid": close * 0.9995,
        "ask": close * 1.0005,
        "volume": volume,
        "traded_value": volume * vwap,
        "trade_count": np.floor(volume / 500),
    }
    events = (
        CorporateEvent(0, 60, 60, 2.0, 0.0, 0.0, "split", 1.0, "made up"),
        CorporateEvent(1, 90, 90, 1.0, 0.5, 0.15, "jcp", 1.0, "made up"),
    )
    return DailyPanel(
        sessions=np.arange("2022-01-03", "2022-12-31", dtype="datetime64[D]")[:rows],
        instruments=("AAAA3", "BBBB3", "CCCC4", "DDDD3", "EEEE11"),
        lot_size=np.full(5, 100),
        risk_free=np.full(rows, 4e-4),
        events=tuple(event for event in events if event.ex_session < rows),
        **{name: values[:rows] for name, values in grids.items()},
    )


def make_plan(**changes) -> WalkForwardPlan:
    hold = EqualWeight(universe_window=20, rebalance_every=10, **SMALL, name="hold")
    momentum = tuple(
        TimeSeriesMomentum(signal_sessions=n, volatility_sessions=20, rebalance_every=5, **SMALL, name="momentum")
        for n in (10, 20)
    )
    parts = {
        "name": "small",
        "pods": (
            PodPlan("hold", (hold,), "immediate"),
            PodPlan("momentum", momentum, "mean_field", default_limits()),
        ),
        "benchmark": "hold",
        "folds": FoldSettings(TRAIN, TEST),
        "capital": 1e7,
        "var_window": 60,
        "bootstrap_draws": 50,
    }
    return WalkForwardPlan(**(parts | changes))


class Events(list):
    """A progress callback that keeps what it was told."""

    def __call__(self, event) -> None:
        self.append(event)

    def names(self, kind: str) -> list[str]:
        return [event.name for event in self if event.kind == kind]


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module", autouse=True)
def unchanging_code():
    """One code hash for the whole module, so that editing the project while its tests run does not part the runs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("backtests.walk.walkforward.code_hash", lambda rooms: "c" * 64)
        yield


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A finished run: output folder, run folder, events."""
    out, events = tmp_path_factory.mktemp("base"), Events()
    return out, run_walkforward(make_plan(), make_panel(), out, workers=0, progress=events), events


def test_each_task_runs_once_and_the_run_folder_is_complete(base):
    out, folder, events = base
    assert len(events.names("finished")) == len(set(events.names("finished"))) == 2 * (1 + 2) + 2
    assert [event.done for event in events] == list(range(1, 9))
    assert {event.total for event in events} == {8}
    assert sorted(path.name for path in out.iterdir()) == [LEDGER_FOLDER, REGISTER_FOLDER, folder.name]
    run = read_run(folder)
    assert [result.pod for result in run.results] == ["hold", "momentum"]
    assert json.loads(json.dumps(describe(make_plan()))) == run.configuration
    assert run.provenance["source"] == {}


def test_the_account_is_continuous_over_all_test_windows(base):
    run, panel = read_run(base[1]), make_panel()
    folds = make_folds(ROWS, FoldSettings(TRAIN, TEST))
    for result in run.results:
        np.testing.assert_array_equal(result.sessions, panel.sessions[folds[0].test.start :])
        assert result.tables["account"]["fold"].tolist() == [fold.index for fold in folds for _ in fold.test]
        wealth = result.tables["account"]["net_asset_value"]
        np.testing.assert_allclose(wealth[1:] / wealth[:-1] - 1.0, result.returns[1:], atol=1e-12)
    # the border of the folds sells nothing: the hold pod still holds what it held
    positions = run.result("hold").positions
    border = panel.sessions[folds[1].test.start].astype("datetime64[s]")
    assert (positions["session"] == border).sum() == 5


def test_training_ends_before_each_test_begins(base):
    for result in read_run(base[1]).results:
        table = result.tables["folds"]
        assert (table["train_end"] < table["test_start"]).all()
        assert table["trials"].tolist() == [{"hold": 1, "momentum": 2}[result.pod]] * 2


def test_the_account_is_what_the_parts_give_by_hand(base):
    run, panel, plan = read_run(base[1]), make_panel(), make_plan()
    folds = make_folds(ROWS, plan.folds)
    table = run.result("momentum").tables["folds"]
    segments = []
    for fold, chosen in zip(folds, table["parameters"], strict=True):
        calibration = calibrate_view(training_view(panel, fold), plan)
        game = calibration.execution_game(horizon=3.0, risk_aversion=1.0, terminal_penalty=5.0)
        pod = TimeSeriesMomentum(**json.loads(chosen), name="momentum")
        segments.append(
            Segment(
                fold.test[0],
                fold.test[-1],
                pod.fit(training_view(panel, fold)),
                calibration.costs,
                mean_field_schedule(solve_mfg(game, rtol=plan.rtol)),
                fold.index,
                fold.train[-1],
            )
        )
    account = simulate(
        panel, segments, rules=TradingRules(), capital=1e7, limits=default_limits(), pod="momentum", var_window=60
    )
    np.testing.assert_array_equal(account.net_asset_value, run.result("momentum").tables["account"]["net_asset_value"])
    np.testing.assert_array_equal(account.fills.shares, run.result("momentum").tables["fills"]["shares"])


def test_who_is_no_member_yet_changes_nothing_of_the_calibration_and_gets_dear_costs():
    panel, plan = make_panel(), make_plan()
    joins = dataclasses.replace(panel, member_from=np.array([0, 0, 0, 0, 100]))
    alone = dataclasses.replace(joins, close=panel.close * np.array([1, 1, 1, 1, 3.0]))
    fold = make_folds(ROWS, plan.folds)[0]
    one, other = (calibrate_view(training_view(data, fold), plan) for data in (joins, alone))
    assert one.summary() == other.summary()
    members = training_view(joins, fold).members
    assert members.tolist() == [True] * 4 + [False]
    costs = costs_of_all(one.costs, members)
    np.testing.assert_array_equal(costs.volatility[:4], one.costs.volatility)
    assert costs.volatility[4] >= np.median(one.costs.volatility)
    assert costs.half_spread[4] >= np.median(one.costs.half_spread)
    assert costs.daily_volume[4] <= np.median(one.costs.daily_volume)
    with pytest.raises(ValueError, match="the universe must have a member by the end of the training window, 2022-"):
        calibrate_view(training_view(dataclasses.replace(panel, member_from=np.full(5, 100)), fold), plan)


def test_the_policy_file_is_the_solved_game_and_names_what_it_came_from(base):
    folder = base[1]
    plan, panel = make_plan(), make_panel()
    table = read_run(folder).result("momentum").tables["folds"]
    for fold, digest in zip(make_folds(ROWS, plan.folds), table["policy_hash"], strict=True):
        artefact = read_policy(folder / "policies", digest)
        policy = rebuild_policy(artefact.arrays, artefact.model | {"game": artefact.parameters})
        np.testing.assert_allclose(policy.fractions(3), artefact.arrays["session_fractions"], rtol=1e-6)
        assert artefact.certificate["converged"] is True
        assert artefact.window == {
            "first": str(panel.sessions[fold.train[0]]),
            "last": str(panel.sessions[fold.train[-1]]),
            "sessions": TRAIN,
        }
        executors = [make_executor(kind, 3, artefact) for kind in ("mean_field", "twap", "immediate")]
        assert [len(item.fractions) for item in executors] == [3, 3, 3]
        for item in executors:
            np.testing.assert_array_equal(item.crowd_rate, artefact.arrays["session_crowd_rate"])
    assert sorted(path.stem for path in (folder / "policies").glob("*.npz")) == sorted(set(table["policy_hash"]))


def test_the_result_as_a_vectorbt_portfolio_has_the_same_equity(base):
    run = read_run(base[1])
    for result in run.results:
        portfolio = result.to_vectorbt(make_panel())
        np.testing.assert_allclose(np.asarray(portfolio.value()).ravel(), result.equity.to_numpy(), rtol=1e-9)
    other = dataclasses.replace(make_panel(), instruments=("X", "BBBB3", "CCCC4", "DDDD3", "EEEE11"))
    with pytest.raises(
        ValueError, match="panel must be the one that the backtest ran on; it does not have instrument AAAA3"
    ):
        result.to_vectorbt(other)


def test_a_second_run_computes_nothing_and_gives_the_same_folder(base):
    out, folder, _ = base
    before, events = tree(folder), Events()
    assert run_walkforward(make_plan(), make_panel(), out, workers=0, progress=events) == folder
    assert events.names("finished") == []
    assert len(events.names("skipped")) == 8
    assert tree(folder) == before


def test_other_code_finds_nothing_of_the_ledger(base, tmp_path, monkeypatch):
    shutil.copytree(base[0], tmp_path / "out")
    monkeypatch.setattr("backtests.walk.walkforward.code_hash", lambda rooms: "d" * 64)
    events = Events()
    folder = run_walkforward(make_plan(), make_panel(), tmp_path / "out", workers=0, progress=events)
    assert events.names("skipped") == []
    assert len(events.names("finished")) == 8
    assert folder.name != base[1].name
    for before, after in zip(read_run(base[1]).results, read_run(folder).results, strict=True):
        np.testing.assert_array_equal(before.returns, after.returns)


def test_damage_in_the_ledger_or_to_a_policy_is_found_and_computed_again(tmp_path):
    plan, panel = make_plan(), make_panel()
    folder = run_walkforward(plan, panel, tmp_path, workers=0)
    before = tree(folder)
    store = tmp_path / LEDGER_FOLDER
    entry = sorted(store.glob("??/*.entry"))[0]
    entry.write_bytes(entry.read_bytes()[:-2])
    policy = sorted((store / "policies").glob("*.npz"))[0]
    policy.write_bytes(b"damaged")
    events = Events()
    assert run_walkforward(plan, panel, tmp_path, workers=0, progress=events) == folder
    assert 1 <= len(events.names("finished")) <= 2
    assert len(events.names("damaged")) == len(events.names("finished"))
    assert all("is computed again" in event.message for event in events if event.kind == "damaged")
    assert tree(folder) == before


def test_an_interrupted_run_goes_on_and_runs_nothing_twice(tmp_path):
    done = []

    def stop_after_four(event):
        done.append(event.name)
        if event.done == 4:
            raise KeyboardInterrupt

    with pytest.raises(RunInterruptedError, match="4 of 8 tasks are finished and kept"):
        run_walkforward(make_plan(), make_panel(), tmp_path, workers=0, progress=stop_after_four)
    assert sorted(path.name for path in tmp_path.iterdir()) == [LEDGER_FOLDER, REGISTER_FOLDER]
    events = Events()
    run_walkforward(make_plan(), make_panel(), tmp_path, workers=0, progress=events)
    assert events.names("skipped") == done
    assert sorted(done + events.names("finished")) == sorted(set(done + events.names("finished")))
    assert len(done + events.names("finished")) == 8


def test_no_workers_two_with_one_killed_and_a_dask_cluster_give_the_same_bytes(base, tmp_path):
    """One worker: tests/backtests/walk/test_combinatorial_run.py."""
    plan, panel = make_plan(), make_panel()
    none = base[1]
    events, killed = Events(), []

    def kill_the_first(event):
        events(event)
        if not killed:
            killed.append(multiprocessing.active_children()[0].pid)
            os.kill(killed[0], signal.SIGKILL)

    two = run_walkforward(plan, panel, tmp_path / "two", workers=2, progress=kill_the_first)
    assert killed
    assert sorted(events.names("finished")) == sorted(set(events.names("finished")))
    assert len(events.names("finished")) == 8
    three = run_walkforward(plan, panel, tmp_path / "three", executor=DaskCluster("local:1"))
    assert none.name == two.name == three.name
    assert tree(none) == tree(two) == tree(three)


def test_scrambling_the_future_of_a_fold_changes_none_of_its_artefacts(base, tmp_path):
    plan, panel = make_plan(), make_panel()
    first = make_folds(ROWS, plan.folds)[0]
    scrambled = scramble_future(panel, first.test[-1])
    run = read_run(base[1])
    other = read_run(run_walkforward(plan, scrambled, tmp_path, workers=0))
    end = panel.sessions[first.test[-1]]
    for before, after in zip(run.results, other.results, strict=True):
        for name, table in before.tables.items():
            date = {"orders": "decision_session", "folds": "test_end"}.get(name, "session")
            for column, values in table.items():
                mine = values[table[date] <= end]
                theirs = after.tables[name][column][after.tables[name][date] <= end]
                if column == "cleared_session":
                    mine, theirs = (np.where(days <= end, days, np.datetime64("NaT", "D")) for days in (mine, theirs))
                assert mine.tolist() == theirs.tolist() or np.array_equal(mine, theirs, equal_nan=True), (name, column)
        assert not np.array_equal(before.returns, after.returns)


def test_scrambling_the_test_window_changes_nothing_that_was_trained(base, tmp_path):
    plan, panel = make_plan(), make_panel()
    first = make_folds(ROWS, plan.folds)[0]
    other = read_run(run_walkforward(plan, scramble_future(panel, first.train[-1]), tmp_path, workers=0))
    run = read_run(base[1])
    for before, after in zip(run.results, other.results, strict=True):
        for column in ("parameters", "training_score", "policy_hash", "temporary_impact", "median_volatility"):
            assert before.tables["folds"][column][0] == after.tables["folds"][column][0]
        for column in ("training_score", "policy_hash", "median_volatility"):
            assert before.tables["folds"][column][1] != after.tables["folds"][column][1]


def test_new_days_leave_the_work_on_old_folds_found(base, tmp_path):
    plan = make_plan()
    run_walkforward(plan, make_panel(TRAIN + 1 + TEST), tmp_path, workers=0)
    events = Events()
    folder = run_walkforward(plan, make_panel(), tmp_path, workers=0, progress=events)
    assert [name for name in events.names("skipped") if not name.startswith("fold 0")] == []
    assert len(events.names("skipped")) == 3
    assert tree(folder) == tree(base[1])


@dataclass(frozen=True)
class Stumbling:
    """A pod that cannot decide after its first session out of sample."""

    name: str = "stumbling"
    lookback: int = 2

    @property
    def parameters(self):
        return {}

    def fit(self, training):
        return self

    def decide(self, view):
        if view.n_sessions > TRAIN + 5:
            raise ValueError("no idea")
        return Targets(weights=np.full(5, 0.1))


def test_a_pod_that_fails_is_named_and_the_others_are_finished(tmp_path):
    plan = make_plan()
    with_bad = dataclasses.replace(plan, pods=(*plan.pods, PodPlan("stumbling", (Stumbling(),))))
    events = Events()
    with pytest.raises(WalkForwardError, match=r"(?s)account of stumbling: ValueError: no idea .*kept in") as caught:
        run_walkforward(with_bad, make_panel(), tmp_path, workers=0, progress=events)
    assert isinstance(caught.value, BacktestError)
    assert events.names("failed") == ["account of stumbling"]
    assert {"account of hold", "account of momentum"} <= set(events.names("finished"))
    assert [failure["name"] for failure in Ledger(tmp_path / LEDGER_FOLDER).failures()] == ["account of stumbling"]
    assert sorted(path.name for path in tmp_path.iterdir()) == [LEDGER_FOLDER, REGISTER_FOLDER]


def test_a_panel_of_closes_only_goes_through(tmp_path):
    panel = make_panel()
    gone = {name: np.full_like(panel.close, np.nan) for name in ("open", "high", "low", "vwap", "bid", "ask")}
    plan = make_plan(rules=TradingRules(fill_price="close"))
    run = read_run(run_walkforward(plan, dataclasses.replace(panel, **gone), tmp_path, workers=0))
    assert len(run.result("momentum").fills) > 0
    assert all("prior" in notes.lower() for notes in run.result("hold").tables["folds"]["calibration_notes"])


def test_windows_that_do_not_fit_are_one_sentence(tmp_path):
    plan = make_plan(folds=FoldSettings(200, 40))
    with pytest.raises(WindowError, match="need 202 sessions, the data have 150"):
        run_walkforward(plan, make_panel(), tmp_path, workers=0)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"benchmark": "none"}, "benchmark must be one of the pods hold, momentum; was 'none'"),
        ({"capital": -1.0}, "capital must be positive and finite; was -1.0"),
        ({"folds": FoldSettings(70, 40, step=20)}, "step must be equal to test"),
        ({"folds": FoldSettings(15, 40)}, "training window must cover the 21 sessions that pod 'hold' reads; was 15"),
        ({"horizon": 0}, "horizon must be at least 1; was 0"),
        ({"name": "../x"}, "name must be usable as a folder's name"),
        ({"pods": ()}, "pods must be at least one"),
    ],
)
def test_plans_that_make_no_sense_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        make_plan(**changes)


def test_the_description_holds_all_that_can_change_a_result():
    plan = make_plan()
    described = json.dumps(describe(plan), sort_keys=True)
    changed = (
        {"capital": 2e7},
        {"horizon": 4},
        {"risk_aversion": 2.0},
        {"fee": 1e-3},
        {"rules": TradingRules(participation_limit=0.2)},
        {"folds": FoldSettings(TRAIN, TEST, purge=2)},
        {"pods": (dataclasses.replace(plan.pods[0], execution="twap"), plan.pods[1])},
        {"pods": (plan.pods[0], dataclasses.replace(plan.pods[1], limits=None))},
        {"seed": 2},
    )
    texts = {json.dumps(describe(make_plan(**change)), sort_keys=True) for change in changed}
    assert len(texts | {described}) == len(changed) + 1
    fields = {item.name for item in dataclasses.fields(WalkForwardPlan)}
    in_execution = {"horizon", "risk_aversion", "terminal_penalty", "fee", "prior", "rtol"}
    assert set(describe(plan)) == fields - in_execution | {"execution"}


def test_a_test_of_a_few_sessions_is_refused_before_any_work(tmp_path):
    with pytest.raises(WindowError, match="must hold at least 5 sessions together"):
        run_walkforward(make_plan(folds=FoldSettings(ROWS - 4, 40)), make_panel(), tmp_path, workers=0)
    assert list(tmp_path.iterdir()) == []


def test_only_the_panel_of_the_last_run_stays(base, tmp_path):
    for rows in (TRAIN + 31, TRAIN + 32):
        run_walkforward(make_plan(), make_panel(rows), tmp_path, workers=0)
    assert len(list((tmp_path / LEDGER_FOLDER / "panels").iterdir())) == 1


def test_a_pod_of_the_users_own_is_known_by_its_source_and_parameters():
    described = describe_pod(Stumbling())
    assert described["source"] == hashlib.sha256(Path(__file__).read_bytes()).hexdigest()
    assert "source" not in describe_pod(make_plan().pods[0].grid[0])
    assert describe_pod(make_plan().pods[0].grid[0])["parameters"]["target_volatility"] == "inf"


def test_the_best_score_wins_the_first_among_equals_and_nan_never():
    nan = float("nan")
    assert best_index([1.0, 3.0, 3.0]) == 1
    assert best_index([nan, -2.0]) == 1
    assert best_index([nan, nan]) == 0


def test_trials_are_counted_over_pods_parameters_and_folds():
    choices = [Selection(0, {}, (1.0, 2.0, float("nan")), 126), Selection(1, {}, (0.5, 1.5), 63)]
    trials, variance = count_trials(choices, 252)
    assert trials == 5
    # A spread of the scores below the noise of their windows says nothing of the trials: the noise of the test is left.
    assert variance == pytest.approx(1 / 252)
    # One set in one fold, the pick of a sweep in the register perhaps: nothing is known of the other trials' spread.
    assert count_trials([Selection(0, {}, (1.0,), 126)], 252) == (1, 1 / 252)


def test_what_trials_differ_by_does_not_shrink_with_the_length_of_the_test():
    rng = np.random.default_rng(1)
    true = rng.normal(0.0, 0.1, 4000)
    noise = rng.standard_normal((4000, 100))
    estimates = true + noise.mean(axis=1)
    choices = [Selection(0, {}, (ratio * 252**0.5,), 100) for ratio in estimates]
    for sessions in (50, 1000):
        assert count_trials(choices, sessions)[1] == pytest.approx(0.1**2 + 1 / sessions, rel=0.1)


def test_scores_of_skill_less_trials_have_the_variance_of_the_null():
    rng = np.random.default_rng(0)
    sharpe = [
        (row.mean() / row.std(ddof=1) * 252**0.5, row.size)
        for length in (100, 400)
        for row in rng.standard_normal((2000, length))
    ]
    choices = [Selection(0, {}, (score,), length) for score, length in sharpe]
    # an estimated Sharpe ratio per session over T sessions has variance 1/T; 4,000 draws know it to 2.2 %
    assert count_trials(choices, 250)[1] == pytest.approx(1 / 250, rel=0.08)
