"""An event run's study of sensitivity: accounts a second way, sizes as a scaled market, what is out of the model."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import numpy as np
import pytest

from backtests.evidence.sensitivity import read_study
from backtests.intraday.settings import Fees, Latency, OwnLimits
from backtests.walk.intraday_rules import read_rule
from backtests.walk.intraday_tasks import Market, SessionName, run_session
from backtests.walk.intraday_walkforward import run_intraday_walkforward
from backtests.walk.result_files import read_run
from backtests.walk.sensitivity import IntradaySensitivity
from backtests.walk.sensitivity_intraday import resized, traded_lots
from data_pipeline.book.events import EVENT_DTYPE, EXCH, LOCAL, TRADE
from data_pipeline.tasks.executor import LocalProcesses
from reports.intraday_page import write_intraday_report

sys.path.insert(0, str(Path(__file__).parent))
from intraday_market import FEES, make_plan, make_raw, make_store

HERE = LocalProcesses(0)
STUDY = IntradaySensitivity(
    latency_ms=(0.0, 50.0), fee_factor=(0.0, 1.0, 3.0), order_lots=(1, 2, 3), max_position=(2, 5)
)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("makers")
    return make_store(folder / "store", make_raw(folder / "raw"))


@pytest.fixture(scope="module")
def runs(store, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs")
    return run_intraday_walkforward(make_plan(store, sensitivity=STUDY), out, executor=HERE), out


def points(folder: Path, dimension: str, pod: str) -> dict:
    return {point.value: point for point in read_study(folder).points[dimension] if point.pod == pod}


@pytest.mark.parametrize(
    ("dimension", "value", "change"),
    [
        ("latency_ms", 50.0, {"latency": Latency(entry_ns=50_000_000, response_ns=50_000_000)}),
        ("fee_factor", 3.0, {"fees": Fees(maker=3 * FEES.maker, taker=3 * FEES.taker)}),
        ("fee_factor", 0.0, {"fees": Fees()}),
    ],
)
def test_a_value_is_the_run_that_has_it_where_fits_do_not_depend_on_it(runs, store, tmp_path, dimension, value, change):
    folder, _ = runs
    plan = make_plan(store)
    pod = plan.pods[0]  # one parameter set: nothing is chosen in training
    fills = dataclasses.replace(plan.fills, **change)
    other = dataclasses.replace(plan, pods=(pod,), fills=fills, bounds=())
    result = read_run(run_intraday_walkforward(other, tmp_path, executor=HERE)).results[0]
    point = points(folder, dimension, pod.name)[value]
    assert point.annual_return == pytest.approx(result.statistics["annual_return"], rel=1e-12)
    assert point.sharpe == pytest.approx(result.statistics["sharpe"], rel=1e-12)
    profit = result.tables["account"]["profit"][1:]
    assert point.profit == pytest.approx(252 * profit.mean(), rel=1e-9)
    own = points(folder, dimension, pod.name).get(1.0)
    if own is not None:
        assert (own.difference, own.difference_error) == (0.0, 0.0)


def test_queue_models_are_those_of_the_run(runs):
    folder, _ = runs
    for result in read_run(folder).results:
        found = points(folder, "queue", result.pod)
        assert list(found) == ["main", "assumed_high"]
        assert found["main"].sharpe == result.statistics["sharpe"]
        sessions = result.tables["sessions"]
        profit = sessions["profit"][sessions["fill_case"] == "assumed_high"]
        assert found["assumed_high"].profit == pytest.approx(252 * profit.mean(), rel=1e-9)


def test_sizes_are_simulated_with_the_rules_that_were_fitted(runs, store):
    folder, out = runs
    plan = make_plan(store)
    run = read_run(folder)
    result, item = run.result("constant"), plan.instruments[0]
    sessions = result.tables["sessions"]
    rules = dict(zip(*(result.tables["folds"][name] for name in ("fold", "rule_hash")), strict=True))
    profit, lots = {1: [], 3: []}, {1: 0, 3: 0}
    for session, fold, case in zip(*(sessions[name] for name in ("session", "fold", "fill_case")), strict=True):
        if case != "main":
            continue
        market = Market(str(store), out / ".ledger", plan.venue, plan.day)
        rule = read_rule((folder / "rules" / f"{rules[fold]}.npz").read_bytes())
        for size in (1, 3):
            settings = dataclasses.replace(plan.fills, limits=OwnLimits(max_position=5 * size))
            name = SessionName(item, str(session), "")
            made = run_session(market, resized(rule, size, 5 * size), name, settings, plan.seed, 0)
            assert abs(made.fills["position"]).max(initial=0) <= 5 * size
            profit[size].append(made.profit)
            lots[size] += int(made.fills["lots"].sum())
    found = points(folder, "order_lots", "constant")
    for size in (1, 3):
        assert found[size].profit == pytest.approx(252 * np.mean(profit[size]), rel=1e-9)
    assert found[3].volume_share / found[1].volume_share == pytest.approx(lots[3] / lots[1], rel=1e-12)
    assert lots[3] > 1.5 * lots[1]


def test_the_share_is_of_every_trade_once():
    from strategies.intraday.rule import Instrument

    events = np.zeros(5, dtype=EVENT_DTYPE)
    events["ev"] = [TRADE | EXCH | LOCAL, TRADE | EXCH, TRADE | LOCAL, TRADE | EXCH | LOCAL, TRADE | EXCH | LOCAL]
    events["exch_ts"] = [10, 20, 20, 31, 30]
    events["qty"] = [100.0, 50.0, 50.0, 7.0, 25.0]
    assert traded_lots(events, Instrument("A", "v", 0.01, 25.0), 10, 30) == 7.0


def test_a_smaller_largest_position_holds(runs):
    folder, _ = runs
    found = points(folder, "max_position", "skewed")
    assert set(found) == {2.0, 5.0}
    assert found[5.0].sharpe == read_run(folder).result("skewed").statistics["sharpe"]
    assert found[2.0].profit != found[5.0].profit


def test_capacity_and_shares_are_on_the_page_with_what_they_mean(runs, tmp_path):
    folder, _ = runs
    study = read_study(folder)
    assert {(item.pod, item.size) for item in study.capacity} == {("constant", "order_lots"), ("skewed", "order_lots")}
    assert any("Own orders do not move the simulated book" in note for note in study.notes)
    page = write_intraday_report(folder, output=tmp_path / "page.html").read_text()
    for name in ("latency_ms", "fee_factor", "order_lots", "max_position", "queue"):
        assert f'data-t="sensitivity-{name}"' in page
    assert "Own share of volume" in page


def test_no_other_byte_of_the_run_changes_and_no_trial_is_added(runs, store, tmp_path):
    folder, _ = runs
    plain = run_intraday_walkforward(make_plan(store), tmp_path, executor=HERE)
    for path in sorted(plain.rglob("*.parquet")):
        assert path.read_bytes() == (folder / path.relative_to(plain)).read_bytes()
    assert not (plain / "sensitivity.json").exists()
    before, after = (read_run(run).provenance["trials"]["of_study"] for run in (plain, folder))
    assert before == after


def test_positions_that_no_quote_was_made_for_are_refused(store):
    with pytest.raises(ValueError, match="max_position of the sensitivity must be from order_lots 1 to the run's 5"):
        make_plan(store, sensitivity=IntradaySensitivity(max_position=(6,)))
