"""Rules made with the session's own future are found, honest ones are not; so is training that reads later sessions."""

from __future__ import annotations

import dataclasses
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from numba import njit

from backtests.audit import events as events_audit
from backtests.audit import intraday as intraday_audit
from backtests.audit.events import assert_no_intraday_lookahead, first_after, vary_events
from backtests.audit.intraday import audit_intraday
from backtests.audit.lookahead import LookaheadError
from backtests.intraday.settings import QueueModel
from backtests.walk import intraday_tasks
from backtests.walk.folds import FoldSettings
from backtests.walk.intraday_plan import FillCase, IntradayPodPlan
from backtests.walk.intraday_rules import read_rule
from backtests.walk.intraday_sessions import trading_span
from data_pipeline.store import Store
from data_pipeline.synthetic.order_book_sessions import SYMBOLS, write_sessions
from strategies.intraday.rule import (
    BEST_BID,
    BUY_SIDE,
    N_OWN,
    NEXT_ID,
    NO_BID,
    POST_ONLY,
    SIGNATURE,
    SUBMIT,
    Instrument,
    Rule,
)

sys.path.insert(0, str(Path(__file__).parents[1] / "walk"))
from intraday_market import BOOK, FIRST, SYMBOL, VENUE, make_plan, make_raw, make_store

INSTRUMENT = Instrument(SYMBOL, VENUE, 0.01, 1.0)


@njit(SIGNATURE)
def joins_the_bid(market, flow, book, own, table, numbers, memory, requests):
    """One buy at a time, numbers[0] ticks below the best bid."""
    if market[N_OWN] > 0 or market[BEST_BID] == NO_BID:
        return 0
    requests[0].action = SUBMIT
    requests[0].order_id = market[NEXT_ID]
    requests[0].side = BUY_SIDE
    requests[0].tick = market[BEST_BID] - np.int64(numbers[0])
    requests[0].lots = 1
    requests[0].kind = POST_ONLY
    return 1


def rule(numbers: float) -> Rule:
    return Rule("joins", joins_the_bid, numbers=np.array([numbers]))


@pytest.fixture(scope="module")
def market(tmp_path_factory):
    folder = tmp_path_factory.mktemp("audited")
    store = make_store(folder / "store", make_raw(folder / "raw", 8))
    plan = make_plan(store, pods=(IntradayPodPlan("constant", make_plan(store).pods[0].grid),), bounds=())
    return store, plan


@pytest.fixture(scope="module")
def session(market):
    store, plan = market
    return Store.open(store).event_array(VENUE, SYMBOL, FIRST), trading_span(VENUE, FIRST, plan.day)


def test_a_rule_passes_that_knows_only_what_it_is_shown(session):
    events, span = session
    assert_no_intraday_lookahead(rule(1.0), events, INSTRUMENT, span)


@pytest.mark.parametrize(
    ("field", "feature"),
    [
        ("px", lambda events: 1.0 + events["px"][-1] % 1.0 * 100 // 7),
        ("qty", lambda events: 1.0 + events["qty"].sum() % 5),
    ],
)
def test_a_rule_made_of_the_whole_session_is_found_with_the_field(session, field, feature):
    events, span = session
    with pytest.raises(LookaheadError, match=rf"rule 'joins': orders at 2021-03-15.* it reads .*{field}"):
        assert_no_intraday_lookahead(lambda seen: rule(feature(seen)), events, INSTRUMENT, span)


def test_a_rule_that_sends_nothing_is_no_pass(session):
    events, span = session
    with pytest.raises(ValueError, match="events must make rule 'joins' send orders"):
        assert_no_intraday_lookahead(rule(1.0), events[:1], INSTRUMENT, span)


@pytest.mark.parametrize("variant", ["scramble", "truncate", "delay"])
def test_events_up_to_the_instant_keep_their_bytes_and_later_ones_do_not(session, variant):
    events, _ = session
    instant = int(events["local_ts"][events.size // 2])
    row = first_after(events, instant)
    changed = vary_events(events, row, variant, 0.01)
    assert changed[:row].tobytes() == events[:row].tobytes()
    assert changed[row:].tobytes() != events[row:].tobytes()
    assert min(events["exch_ts"][row:].min(), events["local_ts"][row:].min()) > instant


def test_an_honest_walk_forward_passes(market):
    audit = audit_intraday(market[1], cuts=2)
    assert [check.words for check in audit.found] == []
    assert audit.passed
    assert {(check.test, check.variant) for check in audit.checks} == {
        ("rule", "truncate"), ("rule", "scramble"),
        ("fills", "scramble"), ("fills", "truncate"), ("fills", "delay"),
    }  # fmt: skip


def make_engine_that_peeks(monkeypatch, when) -> None:
    """Lots of orders follow from all events of the session, where `when` says so of the rule and the settings."""
    real = events_audit.simulate_session

    def peeking(events, rule, instrument, span, settings, **more):
        outcome = real(events, rule, instrument, span, settings, **more)
        if when(rule, settings):
            outcome.orders["lots"] += zlib.crc32(events.tobytes()) % 1009
        return outcome

    monkeypatch.setattr(events_audit, "simulate_session", peeking)


def test_every_parameter_set_is_audited(market, monkeypatch):
    """Only the second set of a pod peeks: its checks find it, those of the first and of the other pod do not."""
    plan = dataclasses.replace(market[1], pods=make_plan(market[0]).pods, folds=FoldSettings(train=3, test=5, purge=0))
    second = plan.pods[1].grid[1]
    assert (second.name, second.skew) == ("skewed", 1.0)
    made, real = [], intraday_audit.fit_rule

    def remember(task):
        payload = real(task)
        if task.pod is second:
            made.append(read_rule(payload).digest)
        return payload

    monkeypatch.setattr(intraday_audit, "fit_rule", remember)
    make_engine_that_peeks(monkeypatch, lambda rule, settings: rule.digest in made)
    found = audit_intraday(plan, cuts=1).found
    assert {(check.pod, check.test, check.of) for check in found} == {("skewed", "fills", "set 2, main")}
    assert "pod 'skewed' (set 2, main): fills changed when the data were changed" in found[0].words


def test_every_assumption_about_fills_is_audited(market, monkeypatch):
    plan = dataclasses.replace(market[1], bounds=make_plan(market[0]).bounds)
    make_engine_that_peeks(monkeypatch, lambda rule, settings: settings.queue.kind == "assumed")
    assert {check.of for check in audit_intraday(plan, cuts=1).found} == {"assumed_high"}


def test_fills_at_the_calibrated_rates_are_audited(market, monkeypatch):
    def peeking(task):
        store = Store.open(task.market.store)
        return str(len(store.event_array(VENUE, SYMBOL, "2021-03-24"))).encode()

    monkeypatch.setattr(intraday_audit, "poisson_session", peeking)
    found = audit_intraday(market[1], cuts=1).found
    assert [(check.pod, check.test, check.variant) for check in found] == [("constant", "rule", "scramble")]


def test_a_rule_that_trades_in_no_first_session_is_audited_in_a_later_one(market, monkeypatch):
    """The first session without an order is no verdict on the rule; a fold without one is."""
    plan, real = market[1], intraday_audit.run_once

    def idle(until):
        def run(made, events, *rest):
            outcome, sent = real(made, events, *rest)
            return outcome, sent if events["exch_ts"][0] >= until else []

        return run

    monkeypatch.setattr(intraday_audit, "run_once", idle(np.datetime64("2021-03-18", "ns").astype(np.int64)))
    audit = audit_intraday(plan, cuts=1)
    assert audit.passed
    assert all(check.cut >= "2021-03-18" for check in audit.checks if check.test == "fills")
    monkeypatch.setattr(intraday_audit, "run_once", idle(2**62))
    assert [(check.verdict, check.why) for check in audit_intraday(plan, cuts=2).found] == [
        ("untested", "the rule sends no order with events behind it in the test sessions")
    ] * 2


def test_trades_alone_are_audited_under_the_bounds_that_they_allow(tmp_path):
    files = write_sessions(tmp_path / "raw", BOOK, first=FIRST, count=8, feed="b3_trades")
    plan = make_plan(make_store(tmp_path / "store", files), pods=make_plan(tmp_path).pods[:1])
    venue, symbol = SYMBOLS["b3_trades"]
    plan = dataclasses.replace(
        plan,
        venue=venue,
        instruments=(Instrument(symbol, venue, 0.01, 100.0),),
        fills=dataclasses.replace(plan.fills, queue=QueueModel("assumed")),
        guess="low",
        bounds=(*plan.bounds, FillCase("book", plan.fills)),
    )
    audit = audit_intraday(plan, cuts=1)
    assert [check.words for check in audit.found] == []
    assert {(check.test, check.of) for check in audit.checks} == {
        ("rule", ""), ("fills", "main"), ("fills", "assumed_high")
    }  # fmt: skip


def test_a_calibration_that_reads_the_first_test_session_is_found(market, monkeypatch):
    store, plan = market
    real = intraday_tasks.measure_session

    def leaking(record, settings, **units):
        later = Store.open(leaking.store).event_array(VENUE, SYMBOL, "2021-03-18")
        measure = real(record, settings, **units)
        return measure | {"half_spread": measure["half_spread"] * (1.0 + 1e-9 * later.size)}

    opened = Store.open

    def remember(place):
        leaking.store = place
        return opened(place)

    leaking.store = store
    monkeypatch.setattr(Store, "open", staticmethod(remember))
    monkeypatch.setattr(intraday_tasks, "measure_session", leaking)
    found = [check for check in audit_intraday(plan, cuts=1).found if check.test == "rule"]
    assert {check.variant for check in found} == {"scramble", "truncate"}
    assert "book_events" in found[-1].fields
