"""The compiled quoting rule: against its plain twin, its limits, its regimes, and one compilation for all pods."""

from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from strategies.intraday import execution_kernels, quoting_kernels
from strategies.intraday import rule as places
from strategies.intraday.makers import ConstantSpread, SkewedSpread
from strategies.intraday.pod import IntradayTraining, MarketTruth
from strategies.intraday.quote_table import REFERENCES, QuoteTable, QuotingStyle, RegimeSignals, quoting_rule_of
from strategies.intraday.rule import Instrument
from tests.strategies.intraday.plain_quoting import PlainMaker
from tests.strategies.intraday.stepping import OPENING, SECOND, Stepper

INSTRUMENT = Instrument("TEST", "NOWHERE", tick_size=0.01, lot_size=1.0)
TRUTH = MarketTruth(ask_arrival=1.0, bid_arrival=1.0, fill_decay=90.0, volatility=0.004, half_spread=0.012)
STATES = (places.SENT, places.WORKING, places.CANCEL_SENT, places.REPLACE_SENT)


def training(order_lots=10, max_position=35, seconds=600.0, **changes):
    return IntradayTraining(
        instrument=INSTRUMENT,
        truth=TRUTH,
        sessions=("2024-01-02",),
        seconds=seconds,
        order_lots=order_lots,
        max_position=max_position,
        **changes,
    )


def table_of(rng, largest, pairs, horizon=600.0):
    """Random quotes, some of them far through the mid, with a quadratic course in time."""
    ends = np.concatenate([[0.0], np.sort(rng.uniform(1.0, horizon - 1.0, pairs - 1)), [horizon]])
    lean = 0.02 * rng.normal(size=(2 * largest + 1, 2 * pairs + 1))
    half = rng.uniform(0.001, 0.03, size=lean.shape)
    quotes = np.stack([half + lean, half - lean], axis=-1)
    quotes[-1, :, 0] = quotes[0, :, 1] = np.nan
    return QuoteTable(quotes, ends, low=-0.05, high=0.06)


def looked_up(table, tick=0.01):
    """(orders held, seconds to the close) -> half-spreads in ticks, through `QuoteTable.at` and the inventories."""

    def at(held, left):
        horizon, largest = table.times[-1], table.max_inventory
        column = table.at(np.array([min(max(horizon - left, 0.0), horizon)]))[:, 0] / tick
        held = min(max(held, -largest), largest)
        low, high = column[math.floor(held) + largest], column[math.ceil(held) + largest]
        share = held - math.floor(held)
        mixed = np.where(np.isnan(low), high, np.where(np.isnan(high), low, (1 - share) * low + share * high))
        return tuple(np.where(share == 0.0, low, mixed))

    return at


@st.composite
def situations(draw):
    seen = {
        "NOW": OPENING + draw(st.integers(0, 600)) * SECOND,
        "OPEN": OPENING,
        "CLOSE": OPENING + 600 * SECOND,
        "PHASE": draw(st.sampled_from([0, 0, 0, 0, 0, 1, 2, 3])),
        "BEST_BID": draw(st.integers(1, 20)),
        "POSITION": draw(st.integers(-40, 40)),
        "NEXT_ID": draw(st.integers(50, 60)),
        "MAX_POSITION": draw(st.sampled_from([1_000, 35, 20])),
        "MAX_ORDER": draw(st.sampled_from([1_000, 4])),
        "BID_LOTS": draw(st.sampled_from([0.0, 3.0, 7.5])),
        "ASK_LOTS": draw(st.sampled_from([0.0, 1.0, 12.0])),
        "LAST_SIDE": draw(st.sampled_from([1, -1, 0])),
        "WHY": places.ON_CLOCK,
    }
    seen["LAST_TICK"] = draw(st.integers(0, 20))
    seen["BEST_ASK"] = seen["BEST_BID"] + draw(st.integers(-1, 6))
    for side in draw(st.sampled_from([(), (), (), ("BID",), ("ASK",), ("BID", "ASK")])):
        seen[f"BEST_{side}"] = getattr(places, f"NO_{side}")
    order = st.tuples(st.sampled_from([1, -1]), st.integers(1, 25), st.integers(1, 12), st.sampled_from(STATES))
    own = [(1 + i, *one) for i, one in enumerate(draw(st.lists(order, max_size=3)))]
    return seen, own


@given(
    situation=situations(), seed=st.integers(0, 30), tolerance=st.integers(0, 2), reference=st.sampled_from(REFERENCES)
)
def test_the_compiled_rule_does_what_the_plain_one_does(situation, seed, tolerance, reference):
    seen, own = situation
    table = table_of(np.random.default_rng(seed), largest=3, pairs=1 + seed % 4)
    style = QuotingStyle(100, tolerance, reference, withdraw_seconds=5.0)
    rule = quoting_rule_of("test", training(), [table], style)
    plain = PlainMaker([looked_up(table)], 10, 35, tolerance, 5.0, reference, half=1.2)
    assert Stepper(rule).see(**seen).hold(*own).call() == plain.requests(seen, own)


@given(situation=situations(), seed=st.integers(0, 30))
def test_no_request_goes_beyond_the_limits_or_through_the_market(situation, seed):
    seen, own = situation
    own = [order for side in (1, -1) for order in [one for one in own if one[1] == side][:1]]
    # Orders that the limits allow: what is open could still all be filled.
    limit = min(35, seen["MAX_POSITION"])
    own = [one for one in own if one[1] * seen["POSITION"] + one[3] <= limit]
    rule = quoting_rule_of("test", training(), [table_of(np.random.default_rng(seed), 3, 2)], QuotingStyle())
    for action, number, side, tick, lots, kind in Stepper(rule).see(**seen).hold(*own).call():
        assert kind == places.POST_ONLY
        if action == places.CANCEL:
            continue
        assert 1 <= lots <= min(10, seen["MAX_ORDER"])
        standing = [one for one in own if one[1] == side]
        assert side * seen["POSITION"] + lots <= limit
        assert action == (places.REPLACE if standing else places.SUBMIT)
        assert number in [one[0] for one in standing] or number >= seen["NEXT_ID"]
        assert tick < seen["BEST_ASK"] if side > 0 else tick > seen["BEST_BID"]
        assert tick >= 1


def test_quotes_are_rounded_away_from_the_reference():
    """Mid 10,001 and half-spreads of 1.2 ticks: 9,999.8 down, 10,002.2 up."""
    rule = ConstantSpread().fit(training())
    assert Stepper(rule).call() == [(1, 1, 1, 9_999, 10, 1), (1, 2, -1, 10_003, 10, 1)]
    whole = ConstantSpread(market_spreads=0.0, extra_ticks=3.0).fit(training())
    assert Stepper(whole).call() == [(1, 1, 1, 9_998, 10, 1), (1, 2, -1, 10_004, 10, 1)]


def test_the_microprice_moves_the_quotes_towards_the_thin_side():
    """9 lots bid, 1 offered: 10,000 + 2 x 0.9 = 10,001.8, with 1.2 ticks 10,000.6 and 10,003."""
    stepper = Stepper(ConstantSpread(reference="microprice").fit(training())).see(BID_LOTS=9.0, ASK_LOTS=1.0)
    assert [request[3] for request in stepper.call()] == [10_000, 10_003]
    assert [request[3] for request in stepper.see(BID_LOTS=0.0, ASK_LOTS=0.0).call()] == [9_999, 10_003]


def test_without_a_book_quotes_stand_around_the_price_half_a_spread_off_the_last_trade():
    """Half-spreads of 1.2 ticks. Bought at 10,000: the mid was 9,998.8, 9,997.6 to 10,000; sold: 10,000 to 10,002.4."""
    stepper = Stepper(ConstantSpread(reference="last_trade").fit(training()))
    stepper.see(BEST_BID=places.NO_BID, BEST_ASK=places.NO_ASK)
    assert stepper.call() == []  # nothing traded yet
    for side, quotes in ((1, [9_997, 10_000]), (-1, [10_000, 10_003]), (0, [9_998, 10_002])):
        assert [request[3] for request in stepper.see(LAST_TICK=10_000, LAST_SIDE=side).call()] == quotes
    mid = Stepper(ConstantSpread().fit(training())).see(BEST_BID=places.NO_BID, BEST_ASK=places.NO_ASK)
    assert mid.see(LAST_TICK=10_000, LAST_SIDE=1).call() == []


def test_without_a_book_no_quote_crosses_the_price_that_the_last_aggressor_met():
    """Skew 6 at the largest position wants the ask 6 ticks through the reference, and the bid where nothing may be."""
    stepper = Stepper(SkewedSpread(skew=6.0, reference="last_trade").fit(training()))
    stepper.see(BEST_BID=places.NO_BID, BEST_ASK=places.NO_ASK, LAST_TICK=10_000)
    for position, ticks in ((30, {1: 10_000, -1: 10_001, 0: 10_001}), (-30, {1: 9_999, -1: 10_000, 0: 9_999})):
        for side, tick in ticks.items():
            assert [request[3] for request in stepper.see(POSITION=position, LAST_SIDE=side).call()] == [tick]
    assert [one[3] for one in stepper.see(POSITION=30, LAST_SIDE=1, BEST_BID=10_004).call()] == [10_005]


def test_a_refused_price_waits_for_the_clock():
    """Bid and ask are sent; the bid is refused: nothing before the next step of the clock, the ask is left alone."""
    own = places.ON_OWN
    stepper = Stepper(ConstantSpread().fit(training()))
    first = stepper.call()
    assert [request[0] for request in first] == [places.SUBMIT, places.SUBMIT]
    answered = stepper.hold((2, -1, 10_003, 10)).see(NEXT_ID=3, WHY=own)
    assert answered.call() == []
    assert answered.see(BEST_BID=9_998, BEST_ASK=10_000).call() == [(3, 2, -1, 10_001, 10, 1)]  # the ask may move
    # its replacement is refused too: the old order works on
    assert answered.call() == []
    assert [one[:2] for one in answered.see(WHY=places.ON_CLOCK | own).call()] == [(1, 3), (3, 2)]


def test_a_filled_order_is_sent_again_at_once():
    stepper = Stepper(ConstantSpread().fit(training()))
    stepper.call()
    filled = stepper.hold((2, -1, 10_003, 10)).see(NEXT_ID=3, WHY=places.ON_OWN, POSITION=10)
    assert filled.call() == [(1, 3, 1, 9_999, 10, 1)]
    # and one that was told to stand, whatever became of it
    filled.hold((3, 1, 9_999, 10), (2, -1, 10_003, 10)).see(NEXT_ID=4).call()
    assert filled.hold((2, -1, 10_003, 10)).call() == [(1, 4, 1, 9_999, 10, 1)]


@given(data=st.data())
def test_the_compiled_rule_remembers_refusals_as_the_plain_one_does(data):
    table = table_of(np.random.default_rng(3), largest=3, pairs=2)
    rule = quoting_rule_of("test", training(), [table], QuotingStyle())
    stepper, plain = Stepper(rule), PlainMaker([looked_up(table)], 10, 35)
    for step in range(12):
        seen, own = data.draw(situations())
        seen |= {
            "PHASE": 0,
            "BEST_BID": 10,
            "BEST_ASK": 10 + data.draw(st.integers(1, 3)),
            "WHY": data.draw(st.sampled_from([places.ON_OWN, places.ON_OWN, places.ON_CLOCK])),
            "NOW": OPENING + step * SECOND,
        }
        assert stepper.see(**seen).hold(*own).call() == plain.requests(seen, own)


def test_quotes_through_the_mid_stay_outside_of_the_other_best():
    """Skew 6 at the largest inventory of 3 asks for 1.2 - 7.2 = -6 ticks: one tick above the best bid it is."""
    stepper = Stepper(SkewedSpread(skew=6.0).fit(training())).see(POSITION=30)
    assert stepper.call() == [(1, 2, -1, 10_001, 10, 1)]


def test_an_order_within_the_tolerance_keeps_its_place():
    for tolerance, moved in ((0, True), (1, False)):
        stepper = Stepper(ConstantSpread(requote_ticks=tolerance).fit(training()))
        stepper.hold((1, 1, 9_998, 10), (2, -1, 10_003, 10))
        assert bool(stepper.call()) == moved


def test_a_nearly_filled_order_is_filled_up():
    stepper = Stepper(ConstantSpread().fit(training()))
    assert stepper.hold((1, 1, 9_999, 5), (2, -1, 10_003, 10)).call() == []
    assert stepper.hold((1, 1, 9_999, 4), (2, -1, 10_003, 10)).call() == [(3, 1, 1, 9_999, 10, 1)]


def test_the_side_in_the_way_moves_first():
    stepper = Stepper(ConstantSpread().fit(training())).hold((1, 1, 9_999, 10), (2, -1, 10_003, 10))
    up = stepper.see(BEST_BID=10_010, BEST_ASK=10_012).call()
    assert up == [(3, 2, -1, 10_013, 10, 1), (3, 1, 1, 10_009, 10, 1)]
    down = stepper.see(BEST_BID=9_980, BEST_ASK=9_982).call()
    assert down == [(3, 1, 1, 9_979, 10, 1), (3, 2, -1, 9_983, 10, 1)]
    stuck = stepper.hold((1, 1, 9_999, 10), (2, -1, 10_003, 10, places.REPLACE_SENT))
    assert stuck.see(BEST_BID=10_010, BEST_ASK=10_012).call() == [(2, 1, 1, 9_999, 10, 1)]


def test_quotes_are_withdrawn_near_the_close_and_in_halts():
    own = ((1, 1, 9_999, 10, places.SENT), (2, -1, 10_003, 10, places.CANCEL_SENT))
    away = [(2, 1, 1, 9_999, 10, 1)]
    stepper = Stepper(ConstantSpread(withdraw_seconds=30.0).fit(training())).hold(*own)
    assert stepper.at(569.9).call() == []
    assert stepper.at(570.0).call() == away
    assert stepper.at(0.0).see(PHASE=places.HALTED).call() == away
    assert stepper.see(PHASE=places.AUCTION).call() == away
    assert stepper.see(PHASE=places.CLOSED).call() == []
    assert stepper.see(PHASE=places.CONTINUOUS, BEST_BID=places.NO_BID).call() == away


@given(data=st.data(), window=st.integers(1, 4))
def test_the_regime_follows_the_signals_with_hysteresis(data, window):
    signals = RegimeSignals(interval_seconds=2.0, window=window, toxicity=(0.6, 0.3), volatility=(2.0, 1.0))
    one, other = (table_of(np.random.default_rng(seed), 3, pairs) for seed, pairs in ((1, 2), (2, 3)))
    rule = quoting_rule_of("test", training(), [one, other], QuotingStyle(), signals)
    plain = PlainMaker([looked_up(one), looked_up(other)], 10, 35)
    plain.signals = {
        "interval_ns": 2 * SECOND, "window": window, "toxicity": signals.toxicity, "volatility": signals.volatility,
    }  # fmt: skip
    stepper, bought, sold, squared, now = Stepper(rule), 0.0, 0.0, 0.0, 0
    for _ in range(12):
        now += data.draw(st.sampled_from([1, 2, 2, 5]))
        bought += data.draw(st.sampled_from([0.0, 0.0, 1.0, 8.0]))
        sold += data.draw(st.sampled_from([0.0, 0.0, 1.0, 8.0]))
        squared += data.draw(st.sampled_from([0.0, 0.25, 1.0, 40.0]))
        seen = {
            "NOW": OPENING + now * SECOND, "OPEN": OPENING, "CLOSE": OPENING + 600 * SECOND, "PHASE": 0, "BEST_BID": 50,
            "BEST_ASK": 53, "POSITION": 0, "NEXT_ID": 1, "MAX_POSITION": 99, "MAX_ORDER": 99, "BID_LOTS": 1.0,
            "ASK_LOTS": 1.0, "BOUGHT": bought, "SOLD": sold, "SQUARED_MOVES": squared, "WHY": places.ON_CLOCK,
        }  # fmt: skip
        assert stepper.see(**seen).call() == plain.requests(seen, [])
        assert int(stepper.memory[quoting_kernels.REGIME]) == plain.regime


def test_the_regimes_of_a_quiet_and_a_one_sided_flow():
    """By hand: 8 bought and 2 sold is a toxicity of 0.6; above 0.5 it is passive, and stays so until it is 0.2."""
    signals = RegimeSignals(interval_seconds=10.0, window=1, toxicity=(0.5, 0.2), volatility=(9.0, 9.0))
    active = ConstantSpread().quotes(training()).table
    silent = QuoteTable(np.full((7, 3, 2), np.nan), np.array([0.0, 600.0]))
    stepper = Stepper(quoting_rule_of("test", training(), [active, silent], QuotingStyle(), signals))
    steps = ((9.9, 8.0, 2.0, True), (10.0, 8.0, 2.0, False), (20.0, 15.0, 5.0, False), (30.0, 21.0, 9.0, True))
    for seconds, bought, sold, quotes in steps:
        assert bool(stepper.at(seconds).see(BOUGHT=bought, SOLD=sold).call()) == quotes


def test_numbers_of_the_contract_are_the_same_in_the_kernels():
    for kernels in (quoting_kernels, execution_kernels):
        shared = [name for name in vars(kernels) if name.isupper() and hasattr(places, name)]
        assert len(shared) > 15
        assert {name: getattr(kernels, name) for name in shared} == {name: getattr(places, name) for name in shared}


def test_one_compilation_serves_all_makers_and_processes():
    rules = [ConstantSpread().fit(training()), SkewedSpread().fit(training(5, 100))]
    for rule in rules:
        Stepper(rule).call()
    assert rules[0].function is rules[1].function
    assert rules[0].function.signatures == [places.SIGNATURE.args]
    code = (
        "from strategies.intraday import execution_kernels as e, quoting_kernels as q; "
        "found = [k.stats for m in (e, q) for k in vars(m).values() if hasattr(k, 'stats')]; "
        "print(*(sum(sum(count.values()) for count in counts) for counts in "
        "([one.cache_misses for one in found], [one.cache_hits for one in found])))"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "0 2"


def test_tables_that_do_not_fit_are_refused():
    one = ConstantSpread().quotes(training()).table
    with pytest.raises(ValueError, match="must be one, or two with signals; were 2"):
        quoting_rule_of("x", training(), [one, one], QuotingStyle())
    signals = RegimeSignals(1.0, 1, (1.0, 1.0), (1.0, 1.0))
    two = ConstantSpread().quotes(training(max_position=60)).table
    with pytest.raises(ValueError, match="must have one largest inventory"):
        quoting_rule_of("x", training(), [one, two], QuotingStyle(), signals)
    with pytest.raises(ValueError, match=r"positive sum; was 0\.0 at inventory -1"):
        QuoteTable(np.zeros((3, 3, 2)), np.array([0.0, 1.0]))
    far = QuoteTable(np.full((7, 3, 2), 1e12), np.array([0.0, 1.0]))
    with pytest.raises(ValueError, match=r"at most 1e\+09 ticks"):
        quoting_rule_of("x", training(), [far], QuotingStyle())
