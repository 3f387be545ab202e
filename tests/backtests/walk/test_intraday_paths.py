"""Combinatorial paths of an event run: what trains and what is tested, money by hand, fits that know no test."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from backtests.errors import WindowError
from backtests.intraday.settings import QueueModel
from backtests.walk.combinatorial import CombinatorialSettings, Split, path_splits
from backtests.walk.folds import FoldSettings
from backtests.walk.intraday_assembly import fixed_lots_account
from backtests.walk.intraday_paths import path_blocks
from backtests.walk.intraday_plan import IntradayPodPlan, describe_intraday
from backtests.walk.intraday_rules import read_rule
from backtests.walk.intraday_sessions import list_sessions, session_hash
from backtests.walk.intraday_tasks import (
    FitTask,
    Market,
    MeasureTask,
    SessionName,
    fit_rule,
    measure_training_session,
    run_session,
)
from backtests.walk.intraday_walkforward import run_intraday_walkforward
from backtests.walk.path_record import PathScheme
from backtests.walk.result_files import read_run
from data_pipeline.store import Store
from data_pipeline.synthetic.order_book_sessions import SYMBOLS, write_sessions
from data_pipeline.tasks.executor import LocalProcesses
from data_pipeline.tasks.ledger import Ledger
from strategies.intraday.makers import ConstantSpread, SkewedSpread
from strategies.intraday.rule import Instrument
from strategies.intraday.worked_order import WorkedOrder

sys.path.insert(0, str(Path(__file__).parent))
from intraday_market import BOOK, COUNT, FIRST, SYMBOL, VENUE, make_plan, make_raw, make_store

HERE = LocalProcesses(0)
SETTINGS = CombinatorialSettings(4, 2, purge=0, embargo=0)


@pytest.fixture(scope="module", autouse=True)
def unchanging_code():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("backtests.walk.intraday_walkforward.code_hash", lambda rooms: "c" * 64)
        yield


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    return make_raw(tmp_path_factory.mktemp("raw"))


@pytest.fixture(scope="module")
def store(raw, tmp_path_factory):
    return make_store(tmp_path_factory.mktemp("makers") / "store", raw)


def plan_of(store, **changes):
    """A worked order, whose rule no training changes; a maker that has one set; one that has two."""
    pods = (
        IntradayPodPlan("worked", (WorkedOrder(name="worked", schedule="twap"),)),
        IntradayPodPlan("constant", (ConstantSpread(name="constant"),)),
        IntradayPodPlan("skewed", (SkewedSpread(name="skewed", skew=0.2), SkewedSpread(name="skewed", skew=1.0))),
    )
    return make_plan(store, **({"pods": pods, "bounds": (), "combinatorial": SETTINGS} | changes))


@pytest.fixture(scope="module")
def run(store, tmp_path_factory):
    events = []
    folder = run_intraday_walkforward(
        plan_of(store), tmp_path_factory.mktemp("runs"), executor=HERE, progress=events.append
    )
    return folder, [event.name for event in events if event.kind == "finished"]


def tree(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def paths_of(folder):
    record = json.loads((folder / "evidence/paths.json").read_bytes())
    return record, pq.read_table(folder / "evidence/paths.parquet").to_pandas()


def choices_of(folder):
    return json.loads((folder / "evidence/choices.json").read_bytes())["pods"]


def test_each_path_has_every_session_once_and_no_split_trains_on_what_it_tests(run):
    record, frame = paths_of(run[0])
    assert record["paths"] == (path_splits(SETTINGS) + 1).tolist()
    assert [len(record["splits"]), len(record["groups"])] == [6, 4]
    for _, rows in frame.groupby(["pod", "path"]):
        assert len(rows) == COUNT
        assert rows["session"].is_monotonic_increasing
        assert rows["group"].tolist() == [1, 1, 2, 2, 3, 3, 4, 4]
    cells = frame[["group", "split"]].drop_duplicates()
    assert len(cells) == 12
    for group, split in cells.itertuples(index=False):
        assert group in record["splits"][split - 1]["tests"]
    for split in record["splits"]:
        for first, last in split["train"]:
            for group in split["tests"]:
                start, end = record["groups"][group - 1]
                assert last < start or first > end


def test_a_path_is_the_account_of_its_splits_rules_by_hand(run, store, tmp_path):
    """Second way: measure, fit and simulate here, session by session; the value adds up profit by profit."""
    _, frame = paths_of(run[0])
    plan, opened = plan_of(store), Store.open(store)
    sessions, _ = list_sessions(opened, plan)
    market, ledger = Market(str(store), tmp_path / "ledger", VENUE, plan.day), Ledger(tmp_path / "ledger")
    item = plan.instruments[0]
    names = [SessionName(item, day, session_hash(opened, VENUE, day, SYMBOL)) for day in sessions]
    for name in names:
        measured = measure_training_session(MeasureTask(market, name, plan.calibration))
        ledger.write(name.digest, {"session": name.session}, measured)
    profits = {}
    for split in plan.splits(COUNT):
        train = [row for piece in split.train for row in piece]
        days, keys = tuple(sessions[row] for row in train), tuple(names[row].digest for row in train)
        for pod in plan.pods:
            chosen = choices_of(run[0])[pod.name]["splits"][split.index]["chosen"]
            fit = FitTask(
                market, pod.grid[chosen], item, days, keys, plan.calibration, 1, 5, plan.fills.fees.maker, 0.0
            )
            rule = read_rule(fit_rule(fit))
            for row in (row for test in split.tests for row in test):
                profits[pod.name, split.index, row] = run_session(
                    market, rule, names[row], plan.fills, plan.seed, 0
                ).profit
    assert len({round(profits["skewed", split, 0], 9) for split in range(3)}) > 1  # trainings differ
    for (pod, path), rows in frame.groupby(["pod", "path"]):
        value = plan.capital
        for row, found in enumerate(rows.itertuples(index=False)):
            profit = profits[pod, found.split - 1, row]
            assert str(found.session)[:10] == sessions[row]
            assert found[rows.columns.get_loc("return")] == pytest.approx(profit / value, rel=1e-9, abs=1e-12)
            value += profit
            assert found.net_asset_value == pytest.approx(value, rel=1e-12)
        assert path in (1, 2, 3)


def test_the_better_set_of_a_splits_training_sessions_is_chosen(run, store, tmp_path):
    for pod, choices in choices_of(run[0]).items():
        assert [len(choices["folds"]), len(choices["splits"])] == [2, 6]
        for choice in choices["splits"]:
            assert choice["observations"] == 4
            if pod == "skewed":
                assert choice["scores"][choice["chosen"]] == max(choice["scores"])
                assert len(set(choice["scores"])) == 2


def test_a_rule_that_no_training_changes_has_the_accounts_profits_and_is_simulated_once_a_session(run):
    """Its paths are one and the same, and over the account's sessions they are the account."""
    folder, finished = run
    _, frame = paths_of(folder)
    mine = frame[frame["pod"] == "worked"].pivot_table(index="session", columns="path", values="net_asset_value")
    assert (mine.nunique(axis=1) == 1).all()
    account = read_run(folder).result("worked").tables["account"]
    steps = np.diff(np.r_[1000.0, mine[1].to_numpy()])
    np.testing.assert_allclose(steps[2:], account["profit"][1:], rtol=0, atol=1e-9)
    assert sum(name.startswith("paths: worked") for name in finished) == COUNT
    assert sum(name.startswith("paths: constant") for name in finished) == 6 * 4


@pytest.mark.parametrize("selection", ["screen", "nested"])
def test_tested_and_purged_sessions_change_no_fit_and_no_choice_of_their_split(selection, tmp_path):
    """Ten sessions in five groups; all that a split does not train on becomes another market."""
    settings = CombinatorialSettings(5, 1, purge=1, embargo=0)
    changes = {
        "selection": selection,
        "inner_folds": 2,
        "combinatorial": settings,
        "folds": FoldSettings(4, 3, purge=0),
    }
    files = make_raw(tmp_path / "raw", 10)
    other = make_raw(tmp_path / "other", 10, dataclasses.replace(BOOK, seed=99))
    before = run_intraday_walkforward(
        plan_of(make_store(tmp_path / "store", files), **changes), tmp_path / "runs", executor=HERE
    )
    splits = plan_of(tmp_path, **changes).splits(10)
    assert [splits[0].train, splits[2].train] == [(range(3, 10),), (range(3), range(7, 10))]
    for split in (splits[0], splits[2]):
        kept = {row for piece in split.train for row in piece}
        mixed = tuple(files[row] if row in kept else other[row] for row in range(10))
        store = make_store(tmp_path / f"store{split.index}", mixed)
        after = run_intraday_walkforward(plan_of(store, **changes), tmp_path / f"runs{split.index}", executor=HERE)
        for pod, choices in choices_of(before).items():
            found = choices_of(after)[pod]["splits"]
            assert found[split.index] == choices["splits"][split.index]
            assert len(found[split.index]["inner_scores"]) == (2 if (pod, selection) == ("skewed", "nested") else 0)
            same = [one["rules"] == two["rules"] for one, two in zip(found, choices["splits"], strict=True)]
            assert same.count(True) == 1  # every other split trains on something that was changed, and says on what
        one, two = (paths_of(folder)[1] for folder in (before, after))
        tested = one["split"] == split.index + 1
        assert not np.array_equal(one["return"][tested], two["return"][tested])


def test_two_processes_write_the_same_bytes_as_none(run, store, tmp_path):
    again = run_intraday_walkforward(plan_of(store), tmp_path, executor=LocalProcesses(2))
    assert again.name == run[0].name
    assert tree(again) == tree(run[0])


def test_the_account_does_not_know_of_the_paths(run, store, tmp_path):
    alone = run_intraday_walkforward(plan_of(store, combinatorial=None), tmp_path, executor=HERE)
    assert not (alone / "evidence/paths.json").exists()
    assert {pod: len(found["splits"]) for pod, found in choices_of(alone).items()} == dict.fromkeys(
        ("worked", "constant", "skewed"), 0
    )
    for one, other in zip(read_run(alone).results, read_run(run[0]).results, strict=True):
        assert one.statistics == other.statistics
        for name, table in one.tables.items():
            for column, values in table.items():
                np.testing.assert_array_equal(values, other.tables[name][column])


def test_an_account_whose_capital_is_lost_has_no_returns_after():
    value, returns, interest = fixed_lots_account(np.array([10.0, -200.0, 50.0, 20.0]), 100.0, 0.01)
    np.testing.assert_allclose(value, [100.0, 111.0, 111.0 * 1.01 - 200.0, value[2] + 50.0, value[3] + 20.0])
    np.testing.assert_allclose(interest, [1.0, 1.11, 0.0, 0.0])
    np.testing.assert_allclose(
        returns, [0.11, -1.0, 0.0, max(value[4] / value[3] - 1.0, -1.0) if value[3] > 0 else 0.0]
    )


def test_what_a_path_has_become_goes_from_group_to_group():
    """Two groups, one tested at a time: one path; 100, then 150, so the third session's 30 are a fifth."""
    scheme = PathScheme(
        CombinatorialSettings(2, 1, purge=0), np.arange(4).astype("M8[D]"), range(4), ("a",), 100.0, 252
    )
    profits = {("a", 0, 0): 20.0, ("a", 0, 1): 30.0, ("a", 1, 2): 30.0, ("a", 1, 3): -90.0}
    first, second = path_blocks(scheme, profits, 0.0)["a", 0]
    np.testing.assert_allclose(np.r_[first.returns, second.returns], [0.2, 0.25, 0.2, -0.5])
    assert (first.group, second.group) == (0, 1)


def test_schemes_that_do_not_fit_are_refused_before_anything_is_computed(store, tmp_path):
    for changes, message in (
        ({"combinatorial": CombinatorialSettings(9, 2)}, "groups must be at most the 8 sessions"),
        ({"combinatorial": CombinatorialSettings(8, 7, purge=0)},
         r"at least 2 training sessions .* groups 1, .* has 1:"),
        (
            {"selection": "nested", "inner_folds": 3, "folds": FoldSettings(3, 3, purge=0),
             "combinatorial": CombinatorialSettings(4, 3, purge=0)},
            "inner_folds must be at most the 2 sessions of the training window",
        ),
    ):  # fmt: skip
        with pytest.raises(WindowError, match=message):
            run_intraday_walkforward(plan_of(store, **changes), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_scheme_is_in_the_description():
    changes = ({}, {"combinatorial": None}, {"combinatorial": dataclasses.replace(SETTINGS, embargo=0.1)})
    texts = {json.dumps(describe_intraday(plan_of(Path("x"), **one)), sort_keys=True) for one in changes}
    assert len(texts) == 3
    rule = plan_of(Path("x"), combinatorial=CombinatorialSettings(4, 2, 3, 0.1)).choice_rule(25, of_split=True)
    assert (rule.purge, rule.embargo) == (3, 3)
    assert isinstance(plan_of(Path("x")).splits(8)[0], Split)


def test_of_trades_alone_the_paths_have_the_accounts_money(tmp_path):
    """Positions that a feed of trades cannot close are marked by its last print, in paths as in accounts."""
    files = write_sessions(tmp_path / "raw", BOOK, first=FIRST, count=COUNT, feed="b3_trades")
    store = make_store(tmp_path / "store", files)
    venue, symbol = SYMBOLS["b3_trades"]
    base = plan_of(store)
    plan = plan_of(
        store,
        venue=venue,
        instruments=(Instrument(symbol, venue, 0.01, 100.0),),
        fills=dataclasses.replace(base.fills, queue=QueueModel("trade_through")),
        pods=base.pods[:1],
        benchmark="worked",
        capital=1e5,
    )
    folder = run_intraday_walkforward(plan, tmp_path / "runs", executor=HERE)
    account = read_run(folder).result("worked").tables["account"]
    _, frame = paths_of(folder)
    for _, rows in frame.groupby("path"):
        steps = np.diff(np.r_[plan.capital, rows["net_asset_value"]])
        assert np.count_nonzero(steps) == COUNT
        np.testing.assert_allclose(steps[2:], account["profit"][1:], rtol=0, atol=1e-9)
