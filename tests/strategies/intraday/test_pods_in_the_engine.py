"""All pods over a simulated session in the event engine: within limits, nothing refused, nothing from the future."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from backtests.intraday.outcome import BY_CROSSING, BY_LIQUIDATION, REJECTED_POST_ONLY
from backtests.intraday.settings import FillSettings, Latency, OwnLimits, QueueModel, TradingSpan
from backtests.intraday.simulator import feed_session, finish_session, simulate_session, start_session
from data_pipeline.book.bar_session import quotes_of_events, trades_of_events
from data_pipeline.book.events import KIND_MASK, TRADE
from data_pipeline.synthetic.order_book import BookConfig, simulate_book
from data_pipeline.synthetic.order_book_events import book_events
from strategies.intraday import quoting_kernels as places
from strategies.intraday.features import interval_features, window_signals
from strategies.intraday.makers import AvellanedaStoikov, ConstantSpread, SingleMaker, SkewedSpread
from strategies.intraday.mean_field_maker import MeanFieldMaker
from strategies.intraday.pod import IntradayTraining, MarketTruth
from strategies.intraday.regime_switch import RegimeSwitch
from strategies.intraday.rule import Instrument
from strategies.intraday.worked_order import WorkedOrder
from tests.strategies.intraday.stepping import SECOND

BOOK = BookConfig(seed=3, seconds=300.0, start=36_000.0, queue=2)
START = 36_000 * SECOND
SPAN = TradingSpan(START + 5 * SECOND, START + 300 * SECOND, START + 285 * SECOND)
SETTINGS = FillSettings(
    queue=QueueModel("exact"), latency=Latency(entry_ns=3_000_000, response_ns=2_000_000), limits=OwnLimits(7)
)
INSTRUMENT = Instrument("TEST", "NOWHERE", tick_size=0.01, lot_size=100.0)


def interval_sums(events, seconds):
    quotes, trades = quotes_of_events(events), trades_of_events(events)
    return interval_features(
        quote_times=quotes.times / SECOND,
        bid=quotes.bid,
        ask=quotes.ask,
        trade_times=trades.times / SECOND,
        size=trades.quantity,
        side=trades.side,
        start=SPAN.start / SECOND,
        end=SPAN.liquidate / SECOND,
        interval_seconds=seconds,
        tick_size=0.01,
        lot_size=100.0,
    )


@pytest.fixture(scope="module")
def events():
    return book_events(simulate_book(BOOK))


@pytest.fixture(scope="module")
def training(events):
    truth = MarketTruth(
        ask_arrival=3.0,
        bid_arrival=2.4,
        fill_decay=50.0,
        volatility=0.012,
        half_spread=0.015,
        competition=0.5,
        mid=50.0,
    )
    return IntradayTraining(
        instrument=INSTRUMENT,
        truth=truth,
        sessions=("2024-01-02",),
        seconds=280.0,
        order_lots=2,
        max_position=7,
        features=interval_sums(events, 5.0),
    )


MAKERS = (
    MeanFieldMaker(risk_aversion=1e-3),
    SingleMaker(risk_aversion=1e-3),
    SingleMaker(risk_aversion=1e-3, solution="asymptotic", requote_ticks=1, reference="microprice"),
    AvellanedaStoikov(risk_aversion=1e-3, horizon_seconds=60.0),
    ConstantSpread(withdraw_seconds=20.0),
    SkewedSpread(interval_ms=50),
    RegimeSwitch(active=SkewedSpread(), passive=ConstantSpread(market_spreads=2.0), window=2),
    RegimeSwitch(name="stands_aside", active=SkewedSpread(), window=3, toxicity_enter=0.5, toxicity_leave=0.3),
)


@pytest.mark.parametrize("pod", MAKERS, ids=lambda pod: f"{pod.name}-{pod.reference}")
def test_makers_keep_the_limits_and_nothing_they_ask_is_refused(pod, events, training):
    outcome = simulate_session(events, pod.fit(training), INSTRUMENT, SPAN, SETTINGS)
    counts, fills = outcome.counts, outcome.fills
    assert counts["refused_form"] == counts["refused_limit"] == counts["rejected_form"] == 0
    own = fills[fills["cause"] != BY_LIQUIDATION]
    assert own.size > 60
    assert np.abs(own["position"]).max() <= 7
    assert set(own["maker"]) == {1}
    sent = outcome.orders[outcome.orders["kind"] == 1]
    assert sent["lots"].max() <= 2
    assert {1, -1} == set(sent["side"])
    if pod.withdraw_seconds:
        assert sent["sent"].max() < SPAN.liquidate - 20 * SECOND
        assert (outcome.samples["bid"][outcome.samples["local_ts"] > SPAN.liquidate - 19 * SECOND] < 0).all()


def test_a_quote_refused_by_a_newer_book_waits_for_the_clock(events, training):
    """The local book is 50 ms old and a request takes no time: a refused price would be sent again without end."""
    late = events.copy()
    late["local_ts"] += 50_000_000
    pod = SkewedSpread(market_spreads=0.3, skew=3.0, reference="microprice")
    for latency in (Latency(), Latency(entry_ns=1_000, response_ns=1_000)):
        outcome = simulate_session(late, pod.fit(training), INSTRUMENT, SPAN, replace(SETTINGS, latency=latency))
        refused = outcome.orders[outcome.orders["end"] == REJECTED_POST_ONLY]
        assert refused.size > 20
        steps = (refused["sent"] - SPAN.start) // 100_000_000
        for side in (1, -1):
            mine = refused["side"] == side
            # twice within a step only where a fill came between
            again = np.flatnonzero(np.diff(steps[mine]) == 0)
            times = refused["sent"][mine]
            for first, second in zip(times[again], times[again + 1], strict=True):
                between = (outcome.fills["exch_ts"] >= first) & (outcome.fills["exch_ts"] <= second)
                assert between.any()


@pytest.mark.parametrize("entry_ns", [0, 1_000])
def test_a_worked_order_refused_by_a_newer_book_waits_for_the_clock(entry_ns, events, training):
    late = events.copy()
    late["local_ts"] += 2_000_000_000
    pod, span = WorkedOrder(lots=200, child_lots=2, tolerance=0.2), replace(SPAN, liquidation="mark")
    many = replace(SETTINGS, latency=Latency(entry_ns=entry_ns, response_ns=entry_ns), limits=OwnLimits(200))
    outcome = simulate_session(late, pod.fit(replace(training, max_position=200)), INSTRUMENT, span, many)
    assert outcome.position == 200
    # one try at each of the 2,800 steps, and one for each fill
    assert 0 < outcome.counts["rejected_post_only"] <= 3_000


@pytest.mark.parametrize("pod", MAKERS, ids=lambda pod: f"{pod.name}-{pod.reference}")
def test_makers_trade_on_prints_alone_when_they_quote_around_the_last_trade(pod, events, training):
    prints = events[(events["ev"] & np.uint64(KIND_MASK)) == TRADE]
    settings = replace(SETTINGS, queue=QueueModel("trade_through"))
    blind = simulate_session(prints, pod.fit(training), INSTRUMENT, SPAN, settings)
    assert blind.orders.size == 0
    outcome = simulate_session(prints, replace(pod, reference="last_trade").fit(training), INSTRUMENT, SPAN, settings)
    own = outcome.fills[outcome.fills["cause"] != BY_LIQUIDATION]
    assert own.size > 20
    assert {1, -1} == set(own["side"])
    assert np.abs(own["position"]).max() <= 7
    assert outcome.counts["refused_form"] == outcome.counts["refused_limit"] == outcome.counts["rejected_form"] == 0


def test_the_future_changes_no_order(events, training):
    """Everything after a moment is another market: the orders sent until then are the same."""
    now = START + 150 * SECOND
    other = book_events(simulate_book(replace(BOOK, seed=4)))
    changed = np.concatenate([events[events["exch_ts"] <= now], other[other["exch_ts"] > now]])
    changed["order_id"][changed["exch_ts"] > now] += 1_000_000
    for pod in (MAKERS[0], MAKERS[6], WorkedOrder(lots=6, child_lots=2)):
        rule = pod.fit(training)
        seen = [simulate_session(one, rule, INSTRUMENT, SPAN, SETTINGS) for one in (events, changed)]
        sent = [one.orders[one.orders["sent"] <= now] for one in seen]
        assert sent[0].size > 3
        for name in ("order_id", "side", "tick", "lots", "kind", "sent"):
            np.testing.assert_array_equal(sent[0][name], sent[1][name])
        assert not np.array_equal(seen[0].orders["tick"], seen[1].orders["tick"])


def test_the_rule_measures_the_signals_that_training_measures(events, training):
    """The intervals that the rule remembers at the end are the features of the same session."""
    pod = RegimeSwitch(active=ConstantSpread(), window=4)
    session = start_session(pod.fit(training), INSTRUMENT, SPAN, SETTINGS, source="l3")
    feed_session(session, events)
    finish_session(session)
    memory, rows = session.state.memory, training.features
    complete = int(memory[places.INTERVALS])
    assert complete == rows["seconds"].size - 1 == 55  # the last call is one step of the clock before the close
    slots = memory[places.FIRST_SLOT :].reshape(4, places.SLOT)
    for interval in range(complete - 4, complete):
        slot = slots[interval % 4]
        bought, sold = rows["bought"][interval], rows["sold"][interval]
        np.testing.assert_allclose(slot, [abs(bought - sold), bought + sold, rows["squared_ticks"][interval]])
    toxicity, volatility = window_signals(rows, 4)
    turned, volume, squared = slots.sum(axis=0)
    assert toxicity[-2] == pytest.approx(turned / volume)
    assert volatility[-2] == pytest.approx(np.sqrt(squared / 20.0))


@pytest.mark.parametrize("side", ["buy", "sell"])
@pytest.mark.parametrize("schedule", ["mean_field", "twap", "immediate"])
def test_a_worked_order_is_done_at_its_end_and_never_overdone(side, schedule, events, training):
    pod = WorkedOrder(side=side, schedule=schedule, lots=7, tolerance=0.2, finish_seconds=15.0)
    span = replace(SPAN, liquidation="mark")
    outcome = simulate_session(events, pod.fit(training), INSTRUMENT, span, SETTINGS)
    sign = 1 if side == "buy" else -1
    assert outcome.position == 7 * sign
    assert (sign * outcome.fills["position"] >= 0).all()
    assert np.all(outcome.fills["side"] == sign)
    assert outcome.counts["refused_limit"] == outcome.counts["refused_form"] == 0
    lots = outcome.fills["lots"]
    crossed = lots[outcome.fills["cause"] == BY_CROSSING].sum()
    seconds = (outcome.fills["exch_ts"] - SPAN.start) / SECOND
    if schedule == "immediate":
        assert seconds.max() < 30.0
    else:
        assert crossed < 7
        missing = np.minimum(seconds / 265.0, 1.0) * 7 - (np.cumsum(lots) - lots)
        if schedule == "twap":  # at each fill, what was missing before it: the tolerance and one step of the clock
            assert missing.max() <= 1.4 + 7 * 0.2 / 265.0 + 1e-9
