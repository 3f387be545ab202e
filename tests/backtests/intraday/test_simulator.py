"""The event engine by hand: the worked queue, races, phases, the end; nothing of the future; compiled once."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numba import njit

sys.path.insert(0, str(Path(__file__).parent))
import random_markets

from backtests.intraday import kernels, outcome, settings
from backtests.intraday.settings import Fees, FillSettings, Latency, OwnLimits, QueueModel, TradingSpan
from backtests.intraday.simulator import simulate_session
from data_pipeline.book import events as layout
from data_pipeline.book.events import (
    BEST_QUOTE,
    BUY,
    DEPTH,
    EVENT_DTYPE,
    EXCH,
    LOCAL,
    SELL,
    SNAPSHOT,
    TRADE,
)
from data_pipeline.errors import DataError
from strategies.intraday import rule as contract
from strategies.intraday.rule import SIGNATURE, Instrument, Rule

ROOT = Path(__file__).parents[3]
ONE = Instrument("X", "TEST", 1.0, 1.0)
SPAN = TradingSpan(start=1, stop=1000, liquidate=900, liquidation="mark")
SUBMIT, CANCEL, REPLACE = 1, 2, 3


@njit([SIGNATURE], cache=True)
def script(market, flow, book, own, table, numbers, memory, requests):
    """Rows of numbers: time after the start, action, order, side, tick, lots, kind; memory: how far it is."""
    count, at = 0, int(memory[0])
    while at + 6 < numbers.size and numbers[at] <= market[0] - market[1]:
        wish = requests[count]
        wish.action, wish.order_id, wish.side = int(numbers[at + 1]), int(numbers[at + 2]), int(numbers[at + 3])
        wish.tick, wish.lots, wish.kind = int(numbers[at + 4]), int(numbers[at + 5]), int(numbers[at + 6])
        count += 1
        at += 7
    memory[0] = at
    return count


@njit([SIGNATURE], cache=True)
def quoter(market, flow, book, own, table, numbers, memory, requests):
    """A bid and an ask at the best quotes, moved by REPLACE; what it saw is in every order's tick."""
    if market[5] < -(1 << 60) or market[6] > (1 << 60):
        return 0
    count, has_bid, has_ask = 0, False, False
    for j in range(market[13]):
        order = own[j]
        want = market[5] if order.side > 0 else market[6]
        if order.side > 0:
            has_bid = True
        else:
            has_ask = True
        if order.state == 2 and order.tick != want:
            requests[count].action, requests[count].order_id = 3, order.order_id
            requests[count].tick, requests[count].lots = want, order.lots
            count += 1
    number = market[14]
    for side in (1, -1):
        if (has_bid if side > 0 else has_ask) or abs(market[10] + 2 * side) > market[15]:
            continue
        wish = requests[count]
        wish.action, wish.order_id, wish.side, wish.lots, wish.kind = 1, number, side, 2, 0
        wish.tick = market[5] if side > 0 else market[6]
        number += 1
        count += 1
    return count


def feed(*rows, local=0):
    """Events of rows (kind with side, time, price, quantity), seen `local` later by the trader's side."""
    made = np.zeros(len(rows), dtype=EVENT_DTYPE)
    for row, (kind, time, price, quantity) in zip(made, rows, strict=True):
        row["ev"], row["exch_ts"], row["local_ts"] = kind | EXCH | LOCAL, time, time + local
        row["px"], row["qty"] = price, quantity
    return made


def run(events, *wishes, span=SPAN, instrument=ONE, source="l2", calls=0, **fills):
    numbers = np.array([number for wish in wishes for number in wish], dtype=np.float64)
    rule = Rule("script", script, numbers=numbers if numbers.size else np.zeros(1), interval_ns=1, calls=calls)
    fills.setdefault("limits", OwnLimits(max_position=1000))
    return simulate_session(events, rule, instrument, span, FillSettings(**fills), source=source, sample_every=0)


BOOK = ((DEPTH | BUY, 0, 100, 100), (DEPTH | SELL, 0, 101, 100))
BID_50 = (0, SUBMIT, 1, 1, 100, 50, 0)


@pytest.mark.parametrize("kind", ["pessimistic", "probabilistic"])
def test_the_worked_queue(kind):
    """100 ahead, buy 50: a sale of 80 leaves 20 ahead, one of 30 fills 10, one of 50 fills 40."""
    prints = ((TRADE | SELL, 10, 100, 80), (TRADE | SELL, 20, 100, 30), (TRADE | SELL, 30, 100, 50))
    done = run(feed(*BOOK, *prints), BID_50, queue=QueueModel(kind))
    assert done.fills[["exch_ts", "lots", "position", "cause"]].tolist() == [(20, 10, 10, 1), (30, 40, 50, 1)]
    assert done.orders[["filled", "end", "ahead", "ahead_end"]].tolist() == [(50, outcome.FILLED, 100.0, 0.0)]
    assert (done.cash_ticks, done.position, done.last_mid2) == (-5000, 50, 201)
    one = run(feed(*BOOK, prints[0]), BID_50, queue=QueueModel(kind))
    assert one.orders["ahead_end"].tolist() == [20.0]


@pytest.mark.parametrize("fee", [1e10, -1e300])
def test_fees_beyond_what_is_counted_are_refused_not_wrapped(fee):
    sale = (TRADE | SELL, 10, 100, 150)
    with pytest.raises(ValueError, match=r"the fee of a fill must be below 9.0072e\+09, .* lower fees"):
        run(feed(*BOOK, sale), BID_50, fees=Fees(maker_per_lot=fee))
    assert run(feed(*BOOK, sale), BID_50, fees=Fees(maker_per_lot=1e8)).fees == 50e8


def test_a_level_that_is_deleted_clears_the_queue_and_fills_nothing():
    gone = feed(*BOOK, (DEPTH | BUY, 10, 100, 0), (TRADE | SELL, 20, 100, 7))
    done = run(gone, BID_50)
    assert done.fills[["exch_ts", "lots"]].tolist() == [(20, 7)]


def test_an_update_caps_what_is_ahead_and_a_larger_one_does_not_raise_it():
    events = feed(*BOOK, (DEPTH | BUY, 10, 100, 30), (DEPTH | BUY, 11, 100, 500), (TRADE | SELL, 20, 100, 31))
    assert run(events, BID_50).fills[["exch_ts", "lots"]].tolist() == [(20, 1)]


def test_a_change_of_price_resets_the_queue_and_fewer_lots_keep_it():
    events = feed(*BOOK, (DEPTH | BUY, 0, 99, 40), (TRADE | SELL, 20, 100, 80), (TRADE | SELL, 40, 100, 30))
    kept = run(events, BID_50, (30, REPLACE, 1, 1, 100, 8, 0))
    assert kept.orders[["lots", "filled", "end", "ahead"]].tolist() == [
        (50, 0, outcome.REPLACED, 100.0),
        (8, 8, outcome.FILLED, 20.0),
    ]
    moved = run(events, BID_50, (30, REPLACE, 1, 1, 99, 50, 0), (35, REPLACE, 1, 1, 100, 50, 0))
    assert moved.orders["ahead"].tolist() == [100.0, 40.0, 100.0]
    assert moved.fills.size == 0


def test_a_withdrawal_is_split_by_the_probability_that_it_is_behind():
    """200 at the level of which 100 ahead, 40 withdrawn: half of them ahead with f(x) = x; after 10 traded only 30."""
    events = feed(*BOOK, (DEPTH | BUY, 10, 100, 200), (DEPTH | BUY, 20, 100, 160))
    queue = QueueModel("probabilistic", exponent=1.0)
    assert run(events, BID_50, queue=queue).orders["ahead_end"].tolist() == [100.0 - 40.0 / 2]
    traded = feed(*BOOK, (DEPTH | BUY, 10, 100, 200), (TRADE | SELL, 15, 100, 10), (DEPTH | BUY, 20, 100, 160))
    ahead, behind = 90.0, 110.0
    assert run(traded, BID_50, queue=queue).orders["ahead_end"].tolist() == [
        pytest.approx(ahead - 30.0 * ahead / (ahead + behind), rel=1e-14)
    ]


def test_the_same_liquidity_fills_once():
    """A print of 10 through two bids of 8, then a level of 12 through what is left, told twice."""
    wishes = ((0, SUBMIT, 1, 1, 100, 8, 0), (0, SUBMIT, 2, 1, 99, 8, 0))
    events = feed(*BOOK, (TRADE | SELL, 10, 98, 10), (DEPTH | SELL, 20, 99, 4), (DEPTH | SELL, 30, 99, 4))
    done = run(events, *wishes)
    assert done.fills[["exch_ts", "order_id", "lots", "tick"]].tolist() == [
        (10, 1, 8, 100),
        (10, 2, 2, 99),
        (20, 2, 4, 99),
    ]
    whole = run(events, *wishes, sizes="whole")
    assert whole.fills[["exch_ts", "order_id", "lots"]].tolist() == [(10, 1, 8), (10, 2, 8)]


def test_crossing_takes_levels_best_first_and_what_is_taken_stays_taken():
    asks = feed(*BOOK[:1], (DEPTH | SELL, 0, 101, 3), (DEPTH | SELL, 0, 102, 4), (DEPTH | SELL, 0, 103, 9))
    wishes = ((0, SUBMIT, 1, 1, 102, 9, 0), (5, SUBMIT, 2, 1, 103, 2, 2), (6, SUBMIT, 3, 1, 103, 8, 3))
    done = run(asks, *wishes)
    assert done.fills[["order_id", "tick", "lots", "maker"]].tolist() == [
        (1, 101, 3, 0),
        (1, 102, 4, 0),
        (2, 103, 2, 0),
    ]
    assert done.orders[["filled", "end"]].tolist() == [
        (7, outcome.CANCELLED),  # the rest stood at 102 until the engine withdrew it
        (2, outcome.FILLED),
        (0, outcome.EXPIRED),
    ]
    post = run(asks, (0, SUBMIT, 1, 1, 101, 1, 1))
    assert post.orders["end"].tolist() == [outcome.REJECTED_POST_ONLY]


def test_a_cancel_loses_the_race_by_one_nanosecond():
    latency = Latency(entry_ns=10, response_ns=5)
    events = feed(*BOOK, (TRADE | SELL, 110, 99, 50))
    late, early = (run(events, BID_50, (at, CANCEL, 1, 0, 0, 0, 0), latency=latency) for at in (99, 98))
    assert late.fills[["exch_ts", "local_ts", "lots"]].tolist() == [(110, 115, 50)]
    assert late.counts["too_late_cancels"] == 1  # the print of the instant comes first
    assert early.fills.size == 0
    assert early.orders[["arrived", "ended", "end"]].tolist() == [(11, 109, outcome.CANCELLED)]


def test_a_replacement_counts_what_was_filled_on_its_way():
    """50 asked for, 30 left wanted; 45 fill before the request is there: nothing of the 30 - 45 is left."""
    latency = Latency(entry_ns=10, response_ns=20)
    events = feed(*BOOK, (TRADE | SELL, 105, 99, 45), (TRADE | SELL, 200, 90, 500))
    done = run(events, BID_50, (101, REPLACE, 1, 1, 98, 30, 0), latency=latency)
    assert done.position == 45
    assert done.orders[["filled", "end"]].tolist() == [(45, outcome.REPLACED), (0, outcome.CANCELLED)]


def test_limits_hold_whatever_is_on_its_way():
    wishes = (BID_50, (0, SUBMIT, 2, 1, 99, 51, 0), (0, SUBMIT, 3, 1, 99, 50, 0), (0, SUBMIT, 4, -1, 105, 101, 0))
    done = run(feed(*BOOK), *wishes, limits=OwnLimits(max_position=100), latency=Latency(entry_ns=50))
    assert done.orders["end"].tolist() == [
        outcome.CANCELLED,
        outcome.REJECTED_LIMIT,
        outcome.CANCELLED,
        outcome.REJECTED_LIMIT,
    ]
    assert done.counts["refused_limit"] == 2


def test_an_order_behind_what_a_best_quote_shows_has_an_unknown_queue():
    quotes = feed(
        (BEST_QUOTE | BUY, 0, 100, 5),
        (BEST_QUOTE | SELL, 0, 101, 5),
        (TRADE | SELL, 10, 99, 1000),
        (BEST_QUOTE | BUY, 20, 98, 7),
        (TRADE | SELL, 30, 98, 9),
    )
    done = run(quotes, (0, SUBMIT, 1, 1, 98, 5, 0), (2, SUBMIT, 2, 1, 99, 5, 0), source="best")
    assert done.orders["ahead"].tolist() == [np.inf, np.inf]
    assert done.fills[["exch_ts", "order_id", "lots", "cause"]].tolist() == [
        (30, 2, 5, outcome.BY_PRINT_THROUGH),  # the print at its price saw an unknown queue
    ]


def test_an_auction_fills_at_its_price_and_a_halt_takes_withdrawals_only():
    span = TradingSpan(start=1, stop=1000, liquidate=900, phases=[(50, 100, 1), (200, 300, 2)], liquidation="mark")
    wishes = (
        (60, SUBMIT, 1, 1, 105, 5, 0),
        (61, SUBMIT, 2, 1, 105, 5, 2),
        (120, SUBMIT, 3, 1, 90, 5, 0),
        (210, SUBMIT, 4, 1, 91, 5, 0),
        (220, CANCEL, 3, 0, 0, 0, 0),
    )
    done = run(feed(*BOOK, (TRADE, 99, 103, 3), (TRADE | SELL, 250, 80, 10)), *wishes, span=span)
    assert done.fills[["exch_ts", "tick", "lots", "cause"]].tolist() == [(99, 103, 3, outcome.BY_AUCTION)]
    assert done.orders[["order_id", "end"]].tolist() == [
        (1, outcome.CANCELLED),
        (2, outcome.REJECTED_PHASE),
        (3, outcome.CANCELLED),
        (4, outcome.REJECTED_PHASE),
    ]
    assert done.quoted_ns[3] == 999 - 50 - 100


def test_the_end_withdraws_and_sends_the_position_until_it_is_gone():
    span = TradingSpan(start=1, stop=1000, liquidate=500)
    events = feed(*BOOK, (TRADE | SELL, 10, 99, 30), (DEPTH | BUY, 20, 100, 20), (DEPTH | BUY, 600, 99, 15))
    done = run(events, BID_50, span=span)
    assert done.position == 0
    assert done.fills[["exch_ts", "tick", "lots", "cause"]].tolist() == [
        (10, 100, 30, outcome.BY_PRINT_THROUGH),
        (500, 100, 20, outcome.BY_LIQUIDATION),
        (600, 99, 10, outcome.BY_LIQUIDATION),
    ]
    assert done.orders["end"][0] == outcome.CANCELLED


def test_fees_are_rounded_to_a_millionth_half_to_even():
    money = Instrument("X", "TEST", 0.5, 10.0, 2.0)
    events = feed((DEPTH | BUY, 0, 50.0, 70.0), (DEPTH | SELL, 0, 50.5, 70.0))
    done = run(
        events, (0, SUBMIT, 1, 1, 101, 3, 2), instrument=money, fees=Fees(taker=0.00025, taker_per_lot=0.0000005)
    )
    value = 101 * 3 * 0.5 * 10.0 * 2.0
    assert done.fills["tick"].tolist() == [101]
    assert done.fees == round((0.00025 * value + 0.0000005 * 3) * 1e6) / 1e6


def test_a_snapshot_shows_a_level_again_and_moves_no_order():
    pictures = ((SNAPSHOT | BUY, 10, 100, 100), (SNAPSHOT | SELL, 10, 101, 100))
    events = feed(*BOOK, *pictures, (TRADE | SELL, 20, 100, 101))
    assert run(events, BID_50).fills[["exch_ts", "lots"]].tolist() == [(20, 1)]


# ---- whole sessions


def random_session(seed, size=3000):
    """Levels around a mid that wanders, prints at and through the best, an irregular feed latency."""
    rng = np.random.default_rng(seed)
    mid = 1000 + np.cumsum(rng.integers(-1, 2, size))
    side = rng.integers(0, 2, size)
    is_print = rng.random(size) < 0.3
    made = np.zeros(size, dtype=EVENT_DTYPE)
    made["px"] = np.where(side == 0, mid - rng.integers(1, 5, size), mid + rng.integers(1, 5, size))
    made["qty"] = np.where(is_print, rng.integers(1, 9, size), rng.integers(0, 12, size) * (rng.random(size) < 0.7))
    flags = np.where(side == 0, np.where(is_print, SELL, BUY), np.where(is_print, BUY, SELL))
    made["ev"] = np.where(is_print, TRADE, DEPTH) | flags | EXCH | LOCAL
    made["exch_ts"] = np.cumsum(rng.integers(0, 40, size))
    made["local_ts"] = np.maximum.accumulate(made["exch_ts"] + rng.integers(1, 60, size))
    return made


def whole_session(events, stop, calls=7, **fills):
    span = TradingSpan(start=1000, stop=stop, liquidate=stop - 500, phases=[(5000, 6000, 2)])
    rule = Rule("quoter", quoter, interval_ns=50, calls=calls)
    fills = FillSettings(
        latency=fills.pop("latency", Latency(entry_ns=30, response_ns=20)), limits=OwnLimits(6), **fills
    )
    return simulate_session(events, rule, ONE, span, fills, source="l2")


def same(one, other):
    for name in ("fills", "orders", "samples"):
        assert getattr(one, name).tobytes() == getattr(other, name).tobytes(), name
    for name in ("cash_ticks", "fees", "position", "last_mid2", "counts"):
        assert getattr(one, name) == getattr(other, name), name
    assert one.quoted_ns.tolist() == other.quoted_ns.tolist()


@pytest.mark.parametrize("pieces", [2, 7, 500, 3000])
def test_the_outcome_does_not_depend_on_how_the_events_are_cut(pieces):
    events = random_session(1)
    whole = whole_session(events, 55_000)
    assert whole.fills.size > 50
    same(whole, whole_session(iter(np.array_split(events, pieces)), 55_000))


@pytest.mark.parametrize("clock", ["exch_ts", "local_ts"])
@pytest.mark.parametrize("cut", [4321, 20_000, 39_999])
def test_nothing_before_a_moment_changes_when_everything_after_it_does(clock, cut):
    """Exchange: all that happened there by then; local: all that was decided by then."""
    events, other = random_session(2), random_session(3)
    later = events[clock] > cut
    if (
        clock == "local_ts"
    ):  # a fill is told 20 ns after the event that made it, which may be before the feed tells that
        later &= events["exch_ts"] + 20 > cut
    changed = events.copy()
    changed["px"][later] = other["px"][later] + 700  # far away: both books grow
    changed["qty"][later] = other["qty"][later] * 3
    changed = changed[~later | (np.arange(events.size) % 3 > 0)]
    queue = QueueModel("probabilistic")
    one, two = (whole_session(part, 55_000, queue=queue) for part in (events, changed))
    assert not np.array_equal(one.fills, two.fills)
    for name, time in (
        ("samples", "local_ts"),
        ("orders", "sent"),
        ("fills", clock if clock == "exch_ts" else "local_ts"),
    ):
        a, b = (getattr(done, name) for done in (one, two))
        a, b = a[a[time] <= cut], b[b[time] <= cut]
        assert a.size > 5
        if name == "orders":  # how they ended may lie beyond the cut
            sent = ["order_id", "side", "tick", "lots", "kind", "sent"]
            a, b = a[sent], b[sent]
        assert a.tolist() == b.tolist(), name


def changed_later(events, flag, clock, cut):
    """The rows of one place after a moment at other prices and quantities, and a third of them gone."""
    later = ((events["ev"] & np.uint64(flag)) != 0) & (events[clock] > cut)
    changed = events.copy()
    changed["px"][later] = np.round(events["px"][later] * 20 + 5) / 20
    changed["qty"][later] = 2 * events["qty"][later] + 2
    return changed[~later | (np.arange(events.size) % 3 > 0)]


@pytest.mark.parametrize(("flag", "clock"), [(EXCH, "exch_ts"), (LOCAL, "local_ts")])
@pytest.mark.parametrize("source", ["l2", "l3", "best"])
def test_no_source_queue_or_latency_lets_a_place_see_its_future(source, flag, clock):
    """Only one place's later events change: up to then both places' pasts are the same."""
    seen, differ, queues, latencies = 0, 0, set(), set()
    for seed in range(40):
        rng = np.random.default_rng(seed)
        events = random_markets.random_events(rng, source, 250)
        parts = [events[(events["ev"] & np.uint64(one)) != 0] for one in (EXCH, LOCAL)]
        for part, other in zip(parts, (LOCAL, EXCH), strict=True):
            part["ev"] &= ~np.uint64(other)
        both = np.concatenate(parts)
        both = both[np.argsort(np.concatenate([parts[0]["exch_ts"], parts[1]["local_ts"]]), kind="stable")]
        rule, fills = random_markets.random_rule_of(rng), random_markets.random_settings(rng, source)
        span = random_markets.random_span(rng, int(both["exch_ts"].max()))
        cut = int(rng.integers(span.start, span.stop)) if span.start > 0 else int(rng.integers(200, span.stop))
        try:
            one, two = (
                simulate_session(part, rule, random_markets.INSTRUMENT, span, fills, source=source)
                for part in (both, changed_later(both, flag, clock, cut))
            )
        except ValueError as error:
            if "at one instant" not in str(error):
                raise
            continue
        queues.add(fills.queue.kind)
        latencies.add(fills.latency.kind)
        sent = ["order_id", "side", "tick", "lots", "kind", "sent"]
        for name, time, columns in (
            ("samples", "local_ts", list(outcome.SAMPLE_DTYPE.names)),
            ("orders", "sent", sent),
            ("fills", "exch_ts", ["exch_ts", "order_id", "side", "tick", "lots", "maker", "mid2", "position", "cause"]),
        ):
            a, b = (getattr(done, name) for done in (one, two))
            differ += a.tobytes() != b.tobytes()
            a, b = (rows[rows[time] <= cut][columns].tolist() for rows in (a, b))
            assert a == b, (seed, name)
            seen += len(a)
    assert seen > 1000
    assert differ > 30
    assert queues >= {"pessimistic", "probabilistic", "trade_through", "assumed"}
    assert latencies == {"constant", "sampled", "recorded"}


def test_the_same_seed_gives_the_same_session_and_another_one_other_delays():
    latency = Latency("sampled", entry=np.array([5, 60, 200]), response=np.array([9, 2, 80]))
    events = random_session(4)
    one, again, other = (whole_session(events, 55_000, latency=latency, seed=seed) for seed in (5, 5, 6))
    same(one, again)
    assert not np.array_equal(one.orders["arrived"], other.orders["arrived"])
    sent = one.orders[one.orders["arrived"] >= 0]
    assert (np.diff(sent["arrived"]) >= 0).all()
    assert set(np.unique(sent["arrived"] - sent["sent"])) >= {60, 200}


def test_positions_stay_within_their_limit_and_cash_is_that_of_the_fills():
    done = whole_session(random_session(5), 55_000)
    assert np.abs(done.fills["position"]).max() <= 6
    sides, ticks, lots = (done.fills[name].tolist() for name in ("side", "tick", "lots"))
    assert done.cash_ticks == -sum(s * t * n for s, t, n in zip(sides, ticks, lots, strict=True))
    assert done.position == sum(s * n for s, n in zip(sides, lots, strict=True))
    for number in np.unique(done.fills["order_id"]):
        rows = done.orders["order_id"] == number
        assert done.orders["filled"][rows].sum() == done.fills["lots"][done.fills["order_id"] == number].sum()


# ---- what is refused


def test_a_price_absurdly_far_away_names_itself_and_its_event():
    with pytest.raises(DataError, match=r"the price 9999999999\.0 of the event at 10 is more than"):
        run(feed(*BOOK, (DEPTH | SELL, 10, 9_999_999_999, 1)))


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ((DEPTH | BUY, 10, 100.5, 1), "off the tick"),
        ((DEPTH, 10, 100, 1), "neither the bid nor the ask flag"),
        ((DEPTH | BUY, 10, np.nan, 1), "price that is not a finite number"),
        ((TRADE | BUY, 10, 100, -1), "quantity"),
        ((DEPTH | BUY, -1, 100, 1), "before the event above"),
    ],
)
def test_events_that_cannot_be_are_refused_with_the_first(row, words):
    with pytest.raises(DataError, match=f"{words}.*the first is event 2 "):
        run(feed(*BOOK, row))


def test_requests_without_form_are_refused_and_counted():
    wishes = (
        (0, 9, 1, 1, 100, 1, 0),
        (0, SUBMIT, 0, 1, 100, 1, 0),
        (0, SUBMIT, 1, 2, 100, 1, 0),
        (0, CANCEL, 7, 0, 0, 0, 0),
    )
    done = run(feed(*BOOK), *wishes)
    assert done.counts["refused_form"] == 4
    assert done.orders["end"].tolist() == [outcome.REJECTED_FORM] * 2


@njit([SIGNATURE])
def endless(market, flow, book, own, table, numbers, memory, requests):
    wish = requests[0]
    wish.action, wish.order_id, wish.side, wish.tick, wish.lots, wish.kind = 1, market[14], 1, 50, 1, 2
    return 1


@njit([SIGNATURE])
def counts_wrongly(market, flow, book, own, table, numbers, memory, requests):
    return int(numbers[0])


@njit([SIGNATURE])
def breaks(market, flow, book, own, table, numbers, memory, requests):
    if market[0] > market[1] + 20:
        raise IndexError("a fault of the rule's own")
    return 0


@njit([SIGNATURE])
def asks_for_too_much(market, flow, book, own, table, numbers, memory, requests):
    for n in range(4000):
        requests[n].action = requests[n].order_id = requests[n].side = requests[n].lots = n + 1
    return 4000


def run_rule(function, *numbers):
    rule = Rule("mine", function, numbers=np.array(numbers or (0.0,)), interval_ns=10)
    return simulate_session(feed(*BOOK), rule, ONE, SPAN, source="l2")


def test_an_error_of_a_rule_names_it_its_instrument_and_the_time():
    where = r"the rule 'mine' on TEST X at 1 \(1970-01-01T00:00:00.000000001 UTC\) must"
    for number in (-3, 65):
        with pytest.raises(ValueError, match=f"{where} return the number of its requests, 0 to 64; returned {number}"):
            run_rule(counts_wrongly, number)
    with pytest.raises(ValueError, match=f"{where} return the number of its requests, 0 to 64; returned 4000"):
        run_rule(asks_for_too_much)
    with pytest.raises(ValueError, match=f"{where} come to an end at one instant"):
        run_rule(endless)
    with pytest.raises(IndexError, match="a fault of the rule's own") as caught:
        run_rule(breaks)
    assert caught.value.__notes__ == ["raised by the rule 'mine' on TEST X at 31 (1970-01-01T00:00:00.000000031 UTC)"]


def test_a_function_of_another_signature_is_refused():
    for function in (script.py_func, njit(lambda market: 0), njit(["int64(int64)"])(lambda market: 0)):
        with pytest.raises(
            ValueError, match="function of the rule 'mine' must be compiled with the signature of a rule"
        ):
            run_rule(function)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"interval_ns": 1.5}, "interval_ns must be a whole number; was 1.5"),
        ({"calls": True}, "calls must be a whole number; was True"),
        ({"calls": 99}, "calls must be bits of ON_OWN, ON_TRADE and ON_PHASE; was 99"),
    ],
)
def test_a_rule_that_cannot_be_is_refused(changes, words):
    with pytest.raises((TypeError, ValueError), match=words):
        Rule("mine", script, **changes)


def test_the_highest_numbers_of_orders_are_never_used_twice():
    """After 2^63 - 1 the next one would be negative, and every number free again."""
    highest = float(1 << 62)
    done = run(
        feed(*BOOK),
        (0, SUBMIT, np.nextafter(2.0**63, 0), 1, 99, 5, 0),
        (1, SUBMIT, highest, 1, 99, 5, 0),
        (2, SUBMIT, highest, 1, 98, 5, 0),
    )
    assert done.orders["end"].tolist() == [outcome.REJECTED_FORM, outcome.CANCELLED, outcome.REJECTED_FORM]


def test_cash_is_exact_beyond_64_bits():
    coin = Instrument("X", "TEST", 1.0, 1e-8)
    events = feed((DEPTH | BUY, 0, 2e7, 2e4), (DEPTH | SELL, 0, 2e7 + 1, 2e4))
    lots = 10**12
    done = run(events, (0, SUBMIT, 1, 1, 20_000_001, lots, 2), instrument=coin, limits=OwnLimits(lots, lots))
    assert done.cash_ticks == -20_000_001 * lots < -(1 << 63)


@njit([SIGNATURE])
def tells_the_spread(market, flow, book, own, table, numbers, memory, requests):
    """An order it may not send, whose tick shows the integral of the spread in whole seconds."""
    wish = requests[0]
    wish.action, wish.order_id, wish.side, wish.tick = 1, market[14], 0, int(flow[9])
    return 1


def test_a_spread_of_millions_of_ticks_for_a_day_is_summed_exactly():
    hour = 3600 * 10**9
    span = TradingSpan(start=0, stop=25 * hour, liquidate=24 * hour + 1, liquidation="mark")
    quotes = (
        (DEPTH | BUY, 0, 1, 1), (DEPTH | SELL, 0, 20_000_001, 1), (DEPTH | SELL, 12 * hour, 10_000_001, 1),
        (DEPTH | SELL, 18 * hour, 10_000_001, 0),
    )  # fmt: skip
    rule = Rule("tells", tells_the_spread, interval_ns=6 * hour, calls=0)
    done = simulate_session(feed(*quotes), rule, ONE, span, source="l2")
    hours = 3600 * np.array([0, 6, 12, 18, 24])
    assert done.orders["tick"].tolist() == [
        0, hours[1] * 20_000_000, hours[2] * 20_000_000, hours[2] * 20_000_000 + hours[1] * 10_000_000,
        hours[2] * 20_000_000 + hours[1] * 10_000_000 + hours[1] * 20_000_000,
    ]  # fmt: skip


def test_events_seen_before_they_happened_are_counted_however_they_are_cut():
    events = random_session(6)
    events["local_ts"][100:103] = events["exch_ts"][100:103] - 1
    events["local_ts"] = np.minimum.accumulate(events["local_ts"][::-1])[::-1]
    early = int((events["local_ts"] < events["exch_ts"]).sum())
    assert early >= 3
    assert whole_session(events, 55_000).counts["events_seen_before_they_happened"] == early
    same(whole_session(events, 20_000), whole_session(iter(np.array_split(events, 40)), 20_000))


def test_an_exact_queue_needs_single_orders():
    with pytest.raises(ValueError, match="must not be exact without order-by-order events"):
        run(feed(*BOOK), queue=QueueModel("exact"))


def test_an_iterable_needs_its_source():
    with pytest.raises(ValueError, match="source must be given"):
        simulate_session(iter([feed(*BOOK)]), Rule("script", script), ONE, SPAN)


# ---- compiled once


def test_numbers_written_again_are_those_of_their_source():
    compared = 0
    for module in (contract, layout, outcome):
        for name, value in vars(module).items():
            mine = vars(kernels).get(name)
            if name.isupper() and isinstance(value, int) and isinstance(mine, int | np.integer) and name not in OTHERS:
                assert mine == value, name
                compared += 1
    assert compared > 60
    assert (kernels.CANCEL, kernels.OPEN, kernels.STILL_OPEN) == (contract.CANCEL, contract.OPEN, outcome.OPEN)
    assert (settings.AUCTION, settings.HALTED, settings.CLOSED) == (kernels.AUCTION, kernels.HALTED, kernels.CLOSED)


OTHERS = ("ADD", "CANCEL", "OPEN")
"""Names that two of the sources, or the engine, use for something else: compared below."""


def test_a_second_process_and_a_new_rule_compile_no_engine(tmp_path):
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from new_rule import rule\n"
        "import numpy as np\n"
        "from backtests.intraday import kernels\n"
        "from backtests.intraday.simulator import simulate_session\n"
        "from backtests.intraday.settings import TradingSpan\n"
        "from data_pipeline.book.events import EVENT_DTYPE\n"
        "from strategies.intraday.rule import Instrument, Rule\n"
        "done = simulate_session(np.zeros(0, dtype=EVENT_DTYPE), Rule('new', rule, interval_ns=10),\n"
        "    Instrument('X', 'T', 1.0, 1.0), TradingSpan(1, 1000, 900))\n"
        "missed = sum(kernels.march.stats.cache_misses.values())\n"
        "print(done.counts['calls'], missed, len(kernels.march.signatures))\n"
    )
    (tmp_path / "new_rule.py").write_text(
        "from numba import njit\nfrom strategies.intraday.rule import SIGNATURE\n\n"
        "@njit([SIGNATURE], cache=True)\n"
        "def rule(market, flow, book, own, table, numbers, memory, requests):\n    return 0\n"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("NUMBA_CACHE")}
    command = [sys.executable, "-c", code, str(tmp_path)]
    answer = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    assert answer.stdout.split() == ["90", "0", "1"]
