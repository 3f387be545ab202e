"""The execution rule: its schedules, never more than the parent, passive before it crosses, done at the end."""

from __future__ import annotations

import math
import pickle
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import solve_bvp

from strategies.intraday import rule as places
from strategies.intraday.pod import IntradayTraining, MarketTruth
from strategies.intraday.rule import Instrument
from strategies.intraday.worked_order import WorkedOrder
from tests.strategies.intraday.stepping import Stepper

TRAINING = IntradayTraining(
    instrument=Instrument("TEST", "NOWHERE", tick_size=0.01, lot_size=1.0),
    truth=MarketTruth(ask_arrival=1.0, bid_arrival=1.0, fill_decay=90.0, volatility=0.004, half_spread=0.012),
    sessions=("2024-01-02",),
    seconds=110.0,
    order_lots=10,
    max_position=100,
)
BID, ASK = 10_000, 10_002


def stepper(**parameters):
    return Stepper(WorkedOrder(**{"schedule": "twap", **parameters}).fit(TRAINING), seconds=110.0)


def test_equal_parts_rest_at_the_best_and_cross_when_the_tolerance_is_used_up():
    """100 lots in 100 seconds, tolerance 10: at 20 s ten may be missing, at 20.5 s eleven cross, and nine may rest."""
    order = stepper().at(0.0)
    assert order.call() == [(1, 1, 1, BID, 10, places.POST_ONLY)]
    order.hold((1, 1, BID, 10))
    assert order.at(10.0).call() == []
    assert order.at(20.0).see(POSITION=10).hold((1, 1, BID, 10)).call() == []
    assert order.at(20.5).call() == [(1, 1, 1, ASK, 11, places.IOC)]
    both = order.see(POSITION=10, NEXT_ID=7).hold().call()
    assert both == [(1, 7, 1, ASK, 11, places.IOC), (1, 8, 1, BID, 9, places.POST_ONLY)]


def test_a_seller_mirrors_a_buyer():
    order = stepper(side="sell", through_ticks=2).at(50.0)
    sent = [(1, 1, -1, BID - 2, 50, places.IOC), (1, 2, -1, ASK, 10, places.POST_ONLY)]
    assert order.call() == sent
    assert order.hold((1, -1, BID - 2, 50), (2, -1, ASK, 10)).call() == []


def test_all_at_once_crosses_what_stands_at_the_best_until_it_is_done():
    order = stepper(schedule="immediate", tolerance=0.0, child_lots=3)
    assert order.call() == [(1, 1, 1, ASK, 100, places.IOC)]
    assert order.hold((1, 1, ASK, 100, places.SENT)).call() == []
    order.hold().see(POSITION=60, NEXT_ID=2)
    assert order.see(WHY=places.ON_OWN).call() == []  # what stood there is taken: again at the next step of the clock
    assert order.see(WHY=places.ON_OWN | places.ON_CLOCK).call() == [(1, 2, 1, ASK, 40, places.IOC)]
    assert order.see(POSITION=100).call() == []


def test_a_resting_order_that_would_make_it_too_much_is_taken_back_first():
    """At the end 95 are done and 5 rest: the order is withdrawn, and only after the answer the 5 cross."""
    order = stepper().at(100.0).see(POSITION=95, NEXT_ID=9).hold((8, 1, BID, 5))
    assert order.call() == [(2, 8, 1, BID, 0, places.POST_ONLY)]
    assert order.hold((8, 1, BID, 5, places.CANCEL_SENT)).call() == []
    assert order.hold().call() == [(1, 9, 1, ASK, 5, places.IOC)]


def test_a_part_of_a_resting_order_is_taken_back_when_the_rest_has_room():
    order = stepper(tolerance=0.05).at(70.0).see(POSITION=60, NEXT_ID=9).hold((8, 1, BID, 35))
    assert order.call() == [(3, 8, 1, BID, 30, places.POST_ONLY)]
    assert order.hold((8, 1, BID, 30)).call() == [(1, 9, 1, ASK, 10, places.IOC)]


def test_a_resting_order_follows_the_best_both_ways():
    order = stepper().at(1.0).hold((1, 1, BID, 10))
    for best in (BID - 1, BID + 1):
        assert order.see(BEST_BID=best).call() == [(3, 1, 1, best, 10, places.POST_ONLY)]


def test_nothing_is_sent_outside_of_continuous_trading_or_before_the_start():
    order = stepper(start_seconds=30.0)
    assert order.at(29.9).call() == []
    assert order.at(90.0).see(PHASE=places.AUCTION).call() == []
    assert order.see(PHASE=places.CLOSED).hold((1, 1, BID, 10)).call() == []
    assert order.see(PHASE=places.CONTINUOUS, BEST_BID=places.NO_BID, BEST_ASK=places.NO_ASK).hold().call() == []
    assert order.see(BEST_BID=BID).call() == [(1, 1, 1, BID, 10, places.POST_ONLY)]
    assert order.see(BEST_ASK=ASK).call()[0][5] == places.IOC


def test_the_equilibriums_schedule_solves_its_equations():
    """mu'' = 2 phi mu / eta - mu' eta' / eta with eta = eta0 + eta1 |mu'|, as a boundary value problem."""
    rule = WorkedOrder(urgency=2.0, crowd_impact=0.7, terminal_penalty=4.0).fit(TRAINING)
    left = rule.table[0, 0, :, 0]
    t = np.linspace(0.0, 1.0, left.size)

    def slopes(_, y):
        # p = eta(mu') mu' is the costate: p' = 2 phi mu, |mu'| = (sqrt(eta0^2 + 4 eta1 |p|) - eta0) / (2 eta1).
        return np.stack([-(np.sqrt(1.0 + 2.8 * np.abs(y[1])) - 1.0) / 1.4, 4.0 * y[0]])

    def ends(first, last):
        return np.array([first[0] - 1.0, last[1] + 8.0 * last[0]])

    found = solve_bvp(slopes, ends, t, np.stack([1.0 - 0.8 * t, -1.0 + 0.5 * t]), tol=1e-8)
    assert found.status == 0
    np.testing.assert_allclose(left, found.sol(t)[0], atol=1e-6)
    assert rule.notes["left_at_the_end"] == left[-1] > 0.0
    assert rule.notes["certificate"]["converged"] is True


class Market:
    """Answers each request with a delay of one step, and fills by chance; the position is what the rule knows."""

    def __init__(self, rule, side, rng):
        self.rule, self.side, self.rng = Stepper(rule, seconds=110.0), side, rng
        self.open, self.waiting, self.done, self.next_id = {}, [], 0, 1

    def step(self, seconds):
        bid = BID + int(self.rng.integers(-3, 4))
        for action, number, _, tick, lots, kind in self.waiting:
            self.arrive(action, number, tick, lots, kind)
        for number, (_, lots, kind) in list(self.open.items()):
            if kind == places.POST_ONLY and self.rng.random() < 0.2:
                self.fill(number, int(self.rng.integers(1, lots + 1)))
        rows = [(number, self.side, tick, lots) for number, (tick, lots, _) in self.open.items()]
        self.rule.see(BEST_BID=bid, BEST_ASK=bid + 2, POSITION=self.side * self.done, NEXT_ID=self.next_id)
        self.waiting = self.rule.at(seconds).hold(*rows).call()
        new = [number for action, number, *_ in self.waiting if action == places.SUBMIT]
        assert new == list(range(self.next_id, self.next_id + len(new)))
        self.next_id += len(new)
        worst = {number: lots for number, (_, lots, _) in self.open.items()}
        for action, number, side, _, lots, _ in self.waiting:
            assert side == self.side
            if action != places.CANCEL:
                assert lots >= 1
                worst[number] = max(worst.get(number, 0), lots)
        return self.done + sum(worst.values())

    def arrive(self, action, number, tick, lots, kind):
        if action == places.SUBMIT:
            self.open[number] = (tick, lots, kind)
            if kind == places.IOC:
                self.fill(number, int(self.rng.integers(0, lots + 1)))
                self.open.pop(number, None)
        elif number in self.open and action == places.CANCEL:
            del self.open[number]
        elif number in self.open:
            self.open[number] = (tick, lots, kind)

    def fill(self, number, lots):
        tick, left, kind = self.open.pop(number)
        self.done += lots
        if left > lots:
            self.open[number] = (tick, left - lots, kind)


@given(
    seed=st.integers(0, 10_000),
    side=st.sampled_from(["buy", "sell"]),
    schedule=st.sampled_from(["twap", "immediate"]),
    tolerance=st.sampled_from([0.0, 0.03, 0.2, 1.0]),
    lots=st.integers(1, 100),
)
def test_no_course_of_fills_makes_more_than_the_parent_and_all_is_done_at_the_end(
    seed, side, schedule, tolerance, lots
):
    pod = WorkedOrder(side=side, schedule=schedule, tolerance=tolerance, lots=lots, child_lots=7)
    market = Market(pod.fit(TRAINING), 1 if side == "buy" else -1, np.random.default_rng(seed))
    for seconds in np.arange(0.0, 100.0, 2.0):
        assert market.step(seconds) <= lots
    for seconds in np.linspace(100.0, 109.9, 60):
        assert market.step(seconds) <= lots
    assert market.done == lots


@given(now=st.floats(0.0, 109.9), done=st.integers(0, 100), tolerance=st.floats(0.0, 1.0))
def test_what_crosses_brings_the_fills_to_the_schedule(now, done, tolerance):
    order = stepper(tolerance=tolerance).at(now).see(POSITION=done)
    crossing = sum(request[4] for request in order.call() if request[5] == places.IOC)
    scheduled = min(now, 100.0)
    allowed = 0.0 if now >= 100.0 or tolerance == 0.0 else max(100.0 * tolerance, 1.0)
    if scheduled - done > allowed + 1e-6:
        assert crossing == math.ceil(round(scheduled - done, 6))
    elif scheduled - done < allowed - 1e-6:
        assert crossing == 0


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"side": "both"}, "side of pod 'worked_order' must be buy or sell; was 'both'"),
        ({"schedule": "vwap"}, "schedule .* must be one of mean_field, twap, immediate"),
        ({"lots": -1}, "lots .* must be a whole number, at least 0"),
        ({"tolerance": 1.5}, r"tolerance .* must be in \[0, 1\]"),
        ({"urgency": -1.0}, "urgency .* must be finite and at least 0"),
        ({"interval_ms": 0}, "interval_ms .* at least 1"),
    ],
)
def test_a_parameter_that_makes_no_sense_is_named(parameters, message):
    with pytest.raises(ValueError, match=message):
        WorkedOrder(**parameters)


def test_a_parent_that_does_not_fit_the_training_is_refused():
    with pytest.raises(ValueError, match="lots of pod 'worked_order' must be at most max_position 100; was 101"):
        WorkedOrder(lots=101).fit(TRAINING)
    with pytest.raises(ValueError, match="together below the session's 110 seconds"):
        WorkedOrder(start_seconds=100.0).fit(TRAINING)
    pod = WorkedOrder(lots=5, schedule="twap")
    assert pickle.loads(pickle.dumps(pod)) == pod
    assert pod.fit(TRAINING).digest != replace(pod, side="sell").fit(TRAINING).digest
