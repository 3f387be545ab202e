"""The intraday walk-forward end to end: money by hand, the same bytes however it is run, and nothing of the future."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from backtests.errors import WalkForwardError, WindowError
from backtests.intraday.poisson_bound import poisson_bound, table_quoting
from backtests.intraday.settings import QueueModel
from backtests.walk import intraday_tasks
from backtests.walk.folds import FoldSettings, make_folds
from backtests.walk.intraday_plan import FillCase
from backtests.walk.intraday_poisson import PATHS
from backtests.walk.intraday_rules import read_rule, rule_record
from backtests.walk.intraday_sessions import SessionData, list_sessions, session_hash, trading_span
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
from backtests.walk.result_files import read_run
from data_pipeline.store import Store
from data_pipeline.synthetic.order_book_sessions import write_sessions
from data_pipeline.tasks.executor import LocalProcesses
from data_pipeline.tasks.ledger import Ledger
from data_pipeline.tasks.report import RunInterruptedError
from strategies.intraday.makers import ConstantSpread, SkewedSpread
from strategies.intraday.pod import IntradayTraining, MarketTruth
from strategies.intraday.rule import Instrument

sys.path.insert(0, str(Path(__file__).parent))
from intraday_market import BOOK, COUNT, FEES, FIRST, SYMBOL, VENUE, make_plan, make_raw, make_store

HERE = LocalProcesses(0)


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    return make_raw(tmp_path_factory.mktemp("raw"))


@pytest.fixture(scope="module")
def store(raw, tmp_path_factory):
    return make_store(tmp_path_factory.mktemp("makers") / "store", raw)


@pytest.fixture(scope="module")
def folder(store, tmp_path_factory):
    return run_intraday_walkforward(make_plan(store), tmp_path_factory.mktemp("runs"), executor=HERE)


def tree(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_the_account_is_the_cash_of_its_fills_less_fees(folder):
    for result in read_run(folder).results:
        account, sessions, fills = (result.tables[name] for name in ("account", "sessions", "fills"))
        assert account["session"].size == COUNT - 2 + 1
        assert account["net_asset_value"][0] == 1000.0
        value = 1000.0
        for row, day in enumerate(account["session"][1:], start=1):
            own = fills["session"] == day
            assert own.sum() > 20
            cash, fees = 0.0, 0.0
            for side, price, lots, maker in zip(
                *(fills[name][own] for name in ("side", "price", "lots", "maker")), strict=True
            ):
                cash -= side * price * lots
                fees += round((FEES.maker if maker else FEES.taker) * price * lots, 6)
            main = (sessions["session"] == day) & (sessions["fill_case"] == "main")
            assert sessions["position_left"][main].tolist() == [0]
            assert account["profit"][row] == pytest.approx(cash - fees, abs=1e-6)
            assert account["cost_fees"][row] == pytest.approx(fees, abs=1e-6)
            assert account["return"][row] == pytest.approx((cash - fees) / value, abs=1e-9)
            value += account["profit"][row]
            assert account["net_asset_value"][row] == pytest.approx(value, abs=1e-9)
        parts = ("captured", "auctioned", "crossed", "liquidated", "inventory", "fees")
        np.testing.assert_allclose(sum(sessions[name] for name in parts), sessions["profit"], rtol=0, atol=1e-9)


def test_every_test_session_is_there_under_every_case(folder):
    for result in read_run(folder).results:
        sessions = result.tables["sessions"]
        assert sessions["fill_case"].tolist() == ["main", "assumed_high"] * (COUNT - 2)
        assert sessions["fold"].tolist() == [0] * 6 + [1] * 6
        assert set(result.statistics["fill_cases"]) == {"main", "assumed_high"}
        total = float(result.statistics["fill_cases"]["main"]["money"]["profit"])
        assert total == pytest.approx(result.tables["account"]["profit"].sum(), abs=1e-9)


def test_the_best_set_of_the_training_sessions_is_chosen(folder, store):
    plan, opened = make_plan(store), Store.open(store)
    sessions, partial = list_sessions(opened, plan)
    assert partial == ()
    assert len(sessions) == COUNT
    folds = read_run(folder).result("skewed").tables["folds"]
    market = Market(str(store), folder.parent / ".ledger", VENUE, plan.day)
    rules = [read_rule(path.read_bytes()) for path in sorted((folder / "rules").iterdir())]
    shown = {rule.notes["skew"]: rule for rule in rules if rule.name == "skewed"}
    for fold in make_folds(COUNT, plan.folds):
        chosen = json.loads(folds["parameters"][fold.index])["skew"]
        assert folds["trials"][fold.index] == 2
        rule = read_rule((folder / "rules" / f"{folds['rule_hash'][fold.index]}.npz").read_bytes())
        assert rule.notes["skew"] == chosen
        assert chosen in shown
        names = [
            SessionName(plan.instruments[0], sessions[row], session_hash(opened, VENUE, sessions[row], SYMBOL))
            for row in fold.train
        ]
        profits = np.array([run_session(market, rule, name, plan.fills, plan.seed, 0).profit for name in names])
        score = profits.mean() / profits.std(ddof=1) * np.sqrt(252)
        assert folds["training_score"][fold.index] == pytest.approx(score, rel=1e-12)


def test_fills_at_the_calibrated_rates_are_those_of_each_folds_own_training(folder):
    run = read_run(folder)
    for result in run.results:
        found, folds = result.statistics["poisson"], result.tables["folds"]
        total = fills = 0.0
        for row in range(folds["fold"].size):
            rule = json.loads(folds["parameters"][row])
            truth = {
                name: float(folds[name][row])
                for name in (
                    "ask_arrival",
                    "bid_arrival",
                    "fill_decay",
                    "volatility",
                    "half_spread",
                    "adverse_selection",
                )
            }
            payload = (folder / "rules" / f"{folds['rule_hash'][row]}.npz").read_bytes()
            told = rule_record(payload)["about"]["truth"]
            assert {name: told[name] for name in truth} == truth
            training = IntradayTraining(
                Instrument(SYMBOL, VENUE, 0.01, 1.0), MarketTruth(**told), ("x",), 130.0, 1, 5, FEES.maker * told["mid"]
            )
            pod = ConstantSpread() if result.pod == "constant" else SkewedSpread(skew=rule["skew"])
            quotes = table_quoting(pod.quotes(training).table, 130.0)
            bound = poisson_bound(training, quotes, seconds=130.0, paths=PATHS)
            total, fills = total + 3 * bound.mean, fills + 3 * bound.fills
        assert found["profit"]["total"] == pytest.approx(total, rel=1e-12)
        assert found["fills"] == pytest.approx(fills, rel=1e-12)
        assert found["sessions"] == COUNT - 2
        verdicts = {
            (np.sign(profit["total"]), profit["verdict"])
            for profit in (*(c["profit"] for c in result.statistics["fill_cases"].values()), found["profit"])
        }
        assert result.statistics["model_dependent"] == (len(verdicts) > 1)


def test_two_processes_write_the_same_bytes_as_none(folder, store, tmp_path):
    again = run_intraday_walkforward(make_plan(store), tmp_path, executor=LocalProcesses(2))
    assert again.name == folder.name
    assert tree(again) == tree(folder)


def test_an_interrupted_run_goes_on_where_it_was(folder, store, tmp_path):
    seen = []

    def stop(event):
        seen.append(event.kind)
        if seen.count("finished") == 12:
            raise KeyboardInterrupt

    with pytest.raises(RunInterruptedError, match="12 of"):
        run_intraday_walkforward(make_plan(store), tmp_path, executor=HERE, progress=stop)
    kinds = []
    again = run_intraday_walkforward(
        make_plan(store), tmp_path, executor=HERE, progress=lambda event: kinds.append(event.kind)
    )
    assert kinds.count("skipped") == 12
    assert set(kinds) == {"skipped", "finished"}
    assert tree(again) == tree(folder)


def test_later_sessions_change_no_earlier_fold(folder, raw, tmp_path):
    other = make_raw(tmp_path / "other", book=dataclasses.replace(BOOK, seed=99))
    changed = make_store(tmp_path / "store", (*raw[:5], *other[5:]))
    found = []
    again = run_intraday_walkforward(
        make_plan(changed), folder.parent, executor=HERE, progress=lambda event: found.append(event)
    )
    assert again != folder
    skipped = {event.name for event in found if event.kind == "skipped"}
    finished = {event.name for event in found if event.kind == "finished"}
    assert {name for name in skipped | finished if name.startswith("fold 0")} <= skipped
    assert finished  # fold 1 trades other sessions
    before, after = read_run(folder), read_run(again)
    for one, two in zip(before.results, after.results, strict=True):
        for name in ("sessions", "fills", "inventory", "mark_outs"):
            first = one.tables["account"]["session"][3]
            for column, values in one.tables[name].items():
                early, same = one.tables[name]["session"] <= first, two.tables[name]["session"] <= first
                np.testing.assert_array_equal(values[early], two.tables[name][column][same])
        assert one.tables["folds"]["rule_hash"][0] == two.tables["folds"]["rule_hash"][0]
        late = one.tables["sessions"]["fold"] == 1
        assert not np.array_equal(one.tables["sessions"]["profit"][late], two.tables["sessions"]["profit"][late])


def test_events_after_a_moment_change_no_fill_before_it(folder, store, monkeypatch):
    plan, opened = make_plan(store), Store.open(store)
    session = list_sessions(opened, plan)[0][4]
    name = SessionName(plan.instruments[0], session, session_hash(opened, VENUE, session, SYMBOL))
    market = Market(str(store), folder.parent / ".ledger", VENUE, plan.day)
    rule = read_rule(sorted((folder / "rules").iterdir())[0].read_bytes())
    whole = run_session(market, rule, name, plan.fills, 1, 1)
    events = opened.event_array(VENUE, SYMBOL, session)
    span = trading_span(VENUE, session, plan.day)
    moment = span.start + (span.liquidate - span.start) // 2
    altered = events.copy()
    later = altered["exch_ts"] > moment
    altered["qty"][later] *= 3.0
    monkeypatch.setattr(intraday_tasks, "read_session", lambda *place: SessionData(altered, altered, span))
    other = run_session(market, rule, name, plan.fills, 1, 1)
    early = whole.fills["exch_ts"] <= moment
    assert early.sum() > 10
    np.testing.assert_array_equal(whole.fills[early], other.fills[other.fills["exch_ts"] <= moment])
    seen = whole.samples["local_ts"] <= moment
    np.testing.assert_array_equal(whole.samples[seen], other.samples[other.samples["local_ts"] <= moment])
    assert not np.array_equal(whole.fills, other.fills)


def test_a_repeated_ingestion_in_another_order_has_the_same_hash(store, raw, tmp_path):
    other = make_store(tmp_path / "store", raw[::-1])
    for session in ("2021-03-15", "2021-03-17"):
        hashes = {session_hash(Store.open(place), VENUE, session, SYMBOL) for place in (store, other)}
        assert len(hashes) == 1
    assert session_hash(Store.open(store), VENUE, "2021-03-15", SYMBOL) not in hashes


def test_folds_that_do_not_fit_are_refused(store, tmp_path):
    with pytest.raises(WindowError, match="the training window must fit into the data"):
        run_intraday_walkforward(make_plan(store, folds=FoldSettings(train=9, test=1, purge=0)), tmp_path)
    with pytest.raises(WindowError, match=r"at least 5 sessions together.*held 4 of the 8"):
        run_intraday_walkforward(make_plan(store, folds=FoldSettings(train=4, test=2, purge=0)), tmp_path)


def test_a_symbol_that_the_store_does_not_have_is_named(store, tmp_path):
    plan = make_plan(store)
    missing = dataclasses.replace(plan.instruments[0], symbol="NONE")
    with pytest.raises(WindowError, match="no session of BINANCE_USDM has market events or trades of NONE"):
        run_intraday_walkforward(make_plan(store, instruments=(missing,)), tmp_path)


def test_a_task_that_fails_is_named_with_its_reason(store, tmp_path):
    plan = make_plan(store)
    wrong = dataclasses.replace(plan.instruments[0], tick_size=0.03)
    with pytest.raises(WalkForwardError, match=r"SYNUSDT 2021-03-15: measured: .*tick"):
        run_intraday_walkforward(make_plan(store, instruments=(wrong,)), tmp_path, executor=HERE)


@pytest.fixture(scope="module")
def trades_store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trades")
    files = write_sessions(folder / "raw", BOOK, first=FIRST, count=COUNT, feed="b3_trades")
    return make_store(folder / "store", files)


def trades_plan(store, **changes):
    plan = make_plan(store)
    queue = QueueModel("assumed")
    book = FillCase("book", dataclasses.replace(plan.fills, queue=QueueModel("probabilistic")))
    through = FillCase("through", dataclasses.replace(plan.fills, queue=QueueModel("trade_through")))
    values = {
        "venue": "B3",
        "instruments": (Instrument("SYNT3", "B3", 0.01, 100.0),),
        "fills": dataclasses.replace(plan.fills, queue=queue),
        "guess": "high",
        "bounds": (through, FillCase("low", dataclasses.replace(plan.fills, queue=queue), "low"), book),
        "capital": 1e5,
    }
    return make_plan(store, **(values | changes))


def test_trades_alone_run_and_what_they_cannot_tell_is_left_out(trades_store, tmp_path):
    run = read_run(run_intraday_walkforward(trades_plan(trades_store), tmp_path, executor=HERE))
    assert run.quality["light"] == "amber"
    assert run.quality["feeds"] == {"SYNT3": "trades"}
    assert run.quality["cases_left_out"] == ["book"]
    assert "left out without a book: book" in " ".join(run.quality["reasons"])
    for result in run.results:
        assert set(result.statistics["fill_cases"]) == {"main", "through", "low"}
        record = result.statistics["fill_cases"]["main"]
        assert record["orders"]["fills"] > 20
        fills = result.tables["fills"]
        assert set(fills["cause"].tolist()) <= {"the_price", "print_through", "liquidation", "at_the_price"}
        sessions = result.tables["sessions"]
        main = sessions["fill_case"] == "main"
        assert sessions["lots_liquidation"][main].sum() > 0
        assert sessions["lots_book_through"].sum() == 0
        assert sessions["liquidated"][main].sum() < 0  # closing pays the spread


def test_a_queue_in_a_book_is_refused_where_there_are_trades_alone(trades_store, tmp_path):
    plan = make_plan(trades_store)
    with pytest.raises(
        WindowError, match=r"kind of the main queue must be trade_through, or assumed .*was pessimistic"
    ):
        run_intraday_walkforward(trades_plan(trades_store, fills=plan.fills, guess=None), tmp_path, executor=HERE)


def test_a_nested_choice_scores_each_set_where_it_was_not_fitted(store, tmp_path):
    folds = FoldSettings(train=3, test=5, purge=0)
    plan = make_plan(store, folds=folds, selection="nested", inner_folds=3)
    run = run_intraday_walkforward(plan, tmp_path, executor=HERE)
    opened = Store.open(store)
    sessions, _ = list_sessions(opened, plan)
    market = Market(str(store), tmp_path / ".ledger", VENUE, plan.day)
    names = [
        SessionName(plan.instruments[0], session, session_hash(opened, VENUE, session, SYMBOL))
        for session in sessions[:3]
    ]
    measures = {}
    ledger = Ledger(market.ledger)
    for name in names:
        payload = measure_training_session(MeasureTask(market, name, plan.calibration))
        measures[name.session] = f"{len(measures):064x}"
        ledger.write(measures[name.session], {}, payload)
    scores = []
    for member in plan.pods[1].grid:
        profits = []
        for out in range(3):
            inner = [name.session for place, name in enumerate(names) if place != out]
            task = FitTask(market, member, plan.instruments[0], tuple(inner), tuple(measures[day] for day in inner),
                           plan.calibration, 1, 5, FEES.maker, 0.0)  # fmt: skip
            rule = read_rule(fit_rule(task))
            profits.append(run_session(market, rule, names[out], plan.fills, plan.seed, 0).profit)
        scores.append(np.mean(profits) / np.std(profits, ddof=1) * np.sqrt(252))
    table = read_run(run).result("skewed").tables["folds"]
    assert table["training_score"][0] == pytest.approx(max(scores), rel=1e-12)
    chosen = plan.pods[1].grid[int(np.argmax(scores))]
    assert json.loads(table["parameters"][0])["skew"] == chosen.skew


def test_a_nested_choice_needs_more_sessions_than_folds(store, tmp_path):
    plan = make_plan(store, selection="nested", inner_folds=3)
    with pytest.raises(WindowError, match="inner_folds must be at most the 2 sessions"):
        run_intraday_walkforward(plan, tmp_path, executor=HERE)
