"""Parts of the intraday walk-forward by hand: pooled truth, rules and results as bytes, the account, bad plans."""

from __future__ import annotations

import dataclasses
import math
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from numba import njit

sys.path.insert(0, str(Path(__file__).parent))
from intraday_market import BOOK, SYMBOL, VENUE, make_plan, make_raw, make_store

from backtests.intraday.quote_path import quote_path
from backtests.intraday.session_account import account_record, session_account
from backtests.intraday.settings import FillSettings, Latency, OwnLimits
from backtests.intraday.simulator import simulate_session
from backtests.walk import intraday_tasks
from backtests.walk.folds import Fold
from backtests.walk.intraday_assembly import account_table, trial_variance
from backtests.walk.intraday_outcomes import (
    SessionResult,
    fill_rows,
    read_result,
    result_bytes,
    sample_rows,
    session_tables,
)
from backtests.walk.intraday_plan import FillCase, MarketCalibrationSettings, describe_fills
from backtests.walk.intraday_rules import read_rule, rule_bytes
from backtests.walk.intraday_sessions import midnight_ns, trading_span
from backtests.walk.intraday_truth import measure_session, pool_sessions
from backtests.walk.run_kinds import INTRADAY
from data_pipeline.book.from_store import intraday_record
from data_pipeline.store import Store
from data_pipeline.synthetic.order_book import BookConfig
from strategies.intraday.makers import ConstantSpread
from strategies.intraday.pod import IntradayTraining, MarketTruth
from strategies.intraday.rule import SIGNATURE, Rule

SETTINGS = MarketCalibrationSettings(competition=0.0)


def measure(session, theta, information, *, seconds=100.0, orders=50):
    return {
        "session": session,
        "theta": list(theta),
        "information": np.asarray(information).tolist(),
        "variance": 1e-4,
        "variance_error": 1e-5,
        "half_spread": 0.02,
        "adverse_selection": 0.003,
        "adverse_error": 0.001,
        "mid": 50.0,
        "trade_lots": 2.0,
        "orders": orders,
        "seconds": seconds,
        "queue_low": 1.0,
        "queue_high": 3.0,
        "notes": [],
    }


def random_information(rng):
    root = rng.standard_normal((3, 3))
    return root @ root.T + np.eye(3)


def test_pooled_estimates_are_those_of_stacked_least_squares():
    rng = np.random.default_rng(3)
    thetas = [np.array([1.0, 0.9, 40.0]) + 0.1 * rng.standard_normal(3) for _ in range(4)]
    informations = [random_information(rng) for _ in thetas]
    measures = [measure(f"2021-03-{k}", *pair) for k, pair in enumerate(zip(thetas, informations, strict=True), 10)]
    truth, record = pool_sessions(measures, SETTINGS, where="x")
    # a second way: whiten every session and solve the stacked system by ordinary least squares
    roots = [np.linalg.cholesky(information).T for information in informations]
    design, values = np.vstack(roots), np.concatenate([r @ t for r, t in zip(roots, thetas, strict=True)])
    solution, residual, *_ = np.linalg.lstsq(design, values)
    assert math.log(truth.ask_arrival) == pytest.approx(solution[0], rel=1e-12)
    assert math.log(truth.bid_arrival) == pytest.approx(solution[1], rel=1e-12)
    assert truth.fill_decay == pytest.approx(solution[2], rel=1e-12)
    assert record["heterogeneity"] == pytest.approx(residual[0], rel=1e-9)
    assert record["heterogeneity_degrees"] == 9
    covariance = np.linalg.inv(design.T @ design)
    assert record["fill_decay_error"] == pytest.approx(math.sqrt(covariance[2, 2]), rel=1e-12)
    assert record["ask_arrival_error"] == pytest.approx(truth.ask_arrival * math.sqrt(covariance[0, 0]), rel=1e-12)


def test_the_same_session_four_times_has_half_the_error():
    rng = np.random.default_rng(4)
    one = measure("2021-03-15", [1.0, 0.9, 40.0], random_information(rng))
    truth, single = pool_sessions([one], SETTINGS, where="x")
    same, four = pool_sessions([one] * 4, SETTINGS, where="x")
    assert dataclasses.astuple(same) == pytest.approx(dataclasses.astuple(truth), rel=1e-12)
    for name in ("fill_decay_error", "ask_arrival_error", "volatility_error", "adverse_selection_error"):
        assert four[name] == pytest.approx(0.5 * single[name], rel=1e-12)
    assert four["heterogeneity"] == pytest.approx(0.0, abs=1e-18)


def test_sessions_without_an_answer_are_left_out_and_told():
    rng = np.random.default_rng(5)
    good = measure("2021-03-15", [1.0, 0.9, 40.0], random_information(rng))
    silent = {"session": "2021-03-16", "reason": "3 market orders", "queue_low": 2.0, "queue_high": 2.0}
    _, record = pool_sessions([good, silent], SETTINGS, where="x")
    assert record["left_out"] == ["2021-03-16: 3 market orders"]
    assert record["queue_low"] == 1.5
    with pytest.raises(ValueError, match=r"ABC: no training session could be calibrated: 2021-03-16: 3 market orders"):
        pool_sessions([silent], SETTINGS, where="ABC")


def test_the_truth_of_the_simulated_book_is_found(tmp_path):
    book = BookConfig(seed=11, seconds=900.0)
    store = Store.open(make_store(tmp_path / "store", make_raw(tmp_path / "raw", 3, book)))
    measures = []
    for session in ("2021-03-15", "2021-03-16", "2021-03-17"):
        record = intraday_record(store, VENUE, SYMBOL, session)
        measures.append(measure_session(record, SETTINGS, tick=0.01, lot=1.0) | {"queue_low": 1.0, "queue_high": 1.0})
    truth, record = pool_sessions(measures, SETTINGS, where="x")
    known = {"ask_arrival": book.ask_arrival, "bid_arrival": book.bid_arrival, "fill_decay": book.fill_decay}
    known["adverse_selection"] = book.adverse_selection
    for name, value in known.items():
        assert abs(getattr(truth, name) - value) < 4.0 * record[f"{name}_error"], name
    alike, _ = pool_sessions(
        [
            measure_session(
                intraday_record(store, VENUE, SYMBOL, "2021-03-15"),
                dataclasses.replace(SETTINGS, symmetric=True),
                tick=0.01,
                lot=1.0,
            )
            | {"queue_low": 1.0, "queue_high": 1.0}
        ],
        SETTINGS,
        where="x",
    )
    assert alike.ask_arrival == alike.bid_arrival


def training(plan):
    truth = MarketTruth(3.0, 3.0, 50.0, 0.01, 0.02)
    return IntradayTraining(plan.instruments[0], truth, ("2021-03-15",), 60.0, 1, 5)


def test_a_rule_comes_back_from_its_bytes():
    rule = ConstantSpread(name="flat").fit(training(make_plan(Path())))
    payload = rule_bytes(rule, "flat", {"parameters": {"a": 1}})
    again = read_rule(payload)
    assert again.digest == rule.digest
    assert again.function is rule.function
    np.testing.assert_array_equal(again.table, rule.table)
    assert rule_bytes(again, "flat", {"parameters": {"a": 1}}) == payload


def test_a_pod_whose_fit_returns_no_rule_is_named(monkeypatch):
    class Forgetful:
        name = "forgetful"

        def fit(self, training):
            return None

    monkeypatch.setattr(intraday_tasks, "training_of", lambda task: (None, {}))
    with pytest.raises(TypeError, match="fit of pod forgetful must return a Rule; returned NoneType"):
        intraday_tasks.fit_rule(SimpleNamespace(pod=Forgetful()))


def test_a_rule_that_no_module_names_is_refused():
    @njit([SIGNATURE])
    def local(market, flow, book, own, table, numbers, memory, requests):
        return 0

    with pytest.raises(ValueError, match="must be a compiled function that its module names"):
        rule_bytes(Rule("local", local), "local", {})


def test_a_result_comes_back_from_its_bytes(tmp_path):
    store = Store.open(make_store(tmp_path / "store", make_raw(tmp_path / "raw", 1)))
    plan = make_plan(tmp_path)
    events = store.event_array(VENUE, SYMBOL, "2021-03-15")
    span = trading_span(VENUE, "2021-03-15", plan.day)
    instrument = plan.instruments[0]
    rule = ConstantSpread(name="flat").fit(training(plan))
    outcome = simulate_session(events, rule, instrument, span, plan.fills)
    path = quote_path(events, instrument, until=span.stop)
    account = session_account(outcome, path, span, plan.fills)
    rows = fill_rows(outcome, "2021-03-15"), sample_rows(outcome, "2021-03-15")
    written = SessionResult("2021-03-15", instrument, 0, {"main": account, "again": account}, *rows)
    payload = result_bytes(written)
    found = read_result(payload)
    assert result_bytes(found) == payload
    assert list(found.accounts) == ["main", "again"]
    assert account_record([found.accounts["again"]]) == account_record([account])
    tables = session_tables([found])
    for name, table in tables.items():
        assert list(table) == list(INTRADAY.tables[name])
    assert tables["sessions"]["profit"][0] == pytest.approx(outcome.profit, abs=1e-9)
    assert tables["fills"]["lots"].sum() == outcome.fills["lots"].sum() == tables["sessions"]["lots"][0]
    moves = tables["mark_outs"]
    maker = moves["maker"] & (moves["fill_case"] == "main")
    # the edge of all resting fills is what was captured; at a horizon that every fill has, that is the whole of it
    whole = maker & (moves["lots"] == tables["sessions"]["maker_lots"][0])
    assert whole.any()
    np.testing.assert_allclose(moves["edge"][whole], tables["sessions"]["captured"][0], atol=1e-9)


def test_the_account_adds_profits_and_interest_and_a_lost_one_stays_lost():
    plan = dataclasses.replace(make_plan(Path()), capital=100.0, risk_free_annual=0.1)
    sessions = [f"2021-03-{day}" for day in (15, 16, 17, 18, 19)]
    folds = [Fold(0, range(2), range(2, 5))]
    days = np.array(sessions[2:], dtype="datetime64[D]")
    zeros = np.zeros(6)
    rows = {
        "session": np.repeat(days, 2),
        "fill_case": np.array(["main", "bound"] * 3, dtype=object),
        "profit": np.array([10.0, 99.0, -200.0, 99.0, 5.0, 99.0]),
        "traded_value": np.array([50.0, 0.0, 60.0, 0.0, 70.0, 0.0]),
        "crossed": zeros - 1.0,
        "liquidated": zeros - 0.5,
        "fees": zeros - 0.25,
    }
    account = account_table(plan, sessions, folds, rows)
    rate = 1.1 ** (1 / 252) - 1
    first = 100.0 * (1 + rate) + 10.0
    second = first * (1 + rate) - 200.0
    assert account["session"].astype(str).tolist() == sessions[1:]
    np.testing.assert_allclose(account["net_asset_value"], [100.0, first, second, second + 5.0], rtol=1e-14)
    np.testing.assert_allclose(account["return"], [0.0, first / 100.0 - 1.0, -1.0, 0.0], rtol=1e-12)
    np.testing.assert_allclose(account["turnover"], [0.0, 0.5, 60.0 / first, 0.0])
    np.testing.assert_allclose(account["cost_crossing"], [0.0, 1.5, 1.5, 1.5])
    np.testing.assert_allclose(account["cost_fees"], [0.0, 0.25, 0.25, 0.25])
    np.testing.assert_allclose(account["drawdown"], [0.0, 0.0, 1 - second / first, 1 - (second + 5) / first])


def test_trials_that_do_not_differ_leave_the_noise_of_estimation():
    rng = np.random.default_rng(1)
    returns = rng.standard_normal(50)
    assert trial_variance([returns, returns]) == pytest.approx(1 / 50)
    assert trial_variance([returns]) == pytest.approx(1 / 50)
    spread = [returns + shift for shift in (0.0, 3.0)]
    ratios = [one.mean() / one.std(ddof=1) for one in spread]
    # all of their noise is common, so that none of it is in what they differ by
    assert trial_variance(spread) == pytest.approx(np.var(ratios, ddof=1) + 1 / 50, rel=1e-12)


@pytest.mark.parametrize(("correlation", "apart"), [(0.0, 0.0), (0.6, 0.0), (0.0, 0.5), (0.6, 0.5)])
def test_trials_of_high_ratios_differ_by_what_their_true_ratios_do(correlation, apart):
    """200 pods with true ratios of 3 a session and `apart` around it; a common part of the noise is no difference."""
    rng = np.random.default_rng(7)
    sessions, pods = 60, 200
    found = []
    for _ in range(20):
        true = 3.0 + apart * rng.standard_normal(pods)
        noise = rng.standard_normal((pods, sessions)) * np.sqrt(1 - correlation)
        noise += rng.standard_normal(sessions) * np.sqrt(correlation)
        found.append(trial_variance(list(true[:, None] + noise)))
    # standard errors over the draws are below 0.01; a noise of 1 / T would leave 4.5 / 60 = 0.075 more
    assert np.mean(found) == pytest.approx(apart**2 + 1 / sessions, abs=0.03)


def test_hours_follow_the_clock_of_the_venue():
    # Sao Paulo is three hours behind UTC; New York four in summer, five in winter
    day = 86_400 * 10**9
    assert midnight_ns("2021-03-15", "America/Sao_Paulo") % day == 3 * 3600 * 10**9
    assert midnight_ns("2021-07-15", "America/New_York") % day == 4 * 3600 * 10**9
    assert midnight_ns("2021-01-15", "America/New_York") % day == 5 * 3600 * 10**9
    plan = make_plan(Path())
    span = trading_span(VENUE, "2021-03-15", plan.day)
    assert span.start == midnight_ns("2021-03-15", "UTC") + round((BOOK.start + 10.0) * 1e9)


def test_recorded_latencies_are_described_by_their_hash():
    times = np.arange(3)
    one = FillSettings(latency=Latency("recorded", times=times, entry=times, response=times))
    two = FillSettings(latency=Latency("recorded", times=times, entry=times, response=times + 1))
    assert describe_fills(one)["latency"]["rows"] == 3
    assert describe_fills(one) != describe_fills(two)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"benchmark": "x"}, "benchmark must be one of the pods constant, skewed; was 'x'"),
        ({"order_lots": 6}, "order_lots must be at least 1 and within max_position 5"),
        ({"capital": 0.0}, "capital must be positive and finite"),
        ({"venue": "B3"}, "venue of instrument SYNUSDT must be 'B3'"),
        (
            {"bounds": (FillCase("main", FillSettings(limits=OwnLimits(5))),)},
            "bounds must be .* each with its own name",
        ),
        ({"bounds": (FillCase("x", FillSettings(limits=OwnLimits(5))),)}, "fees of the bound 'x' must be those"),
        ({"pods": ()}, "pods must be at least one"),
        ({"sample_every": 0}, "sample_every must be at least 1"),
    ],
)
def test_a_plan_that_makes_no_sense_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        make_plan(Path(), **changes)


def test_a_guess_is_of_an_assumed_queue():
    with pytest.raises(ValueError, match="queue of case 'x' must be assumed"):
        FillCase("x", FillSettings(), "low")
