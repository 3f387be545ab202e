"""Inventory, uptime, orders and queue of a session, by hand and against plain loops."""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backtests.intraday.inventory import inventory_figures, inventory_path
from backtests.intraday.order_figures import first_resting_fill, order_figures, queue_figures
from backtests.intraday.outcome import (
    BY_BOOK_THROUGH,
    BY_CROSSING,
    BY_QUEUE,
    CANCELLED,
    FILLED,
    OPEN,
    REJECTED_POST_ONLY,
    REPLACED,
)
from backtests.intraday.quote_path import QuotePath
from backtests.intraday.quoting import continuous_spans, own_best, uptime
from strategies.intraday.rule import NO_ASK, NO_BID

MADE = runpy.run_path(str(Path(__file__).with_name("outcomes.py")))
SECOND, outcome = MADE["SECOND"], MADE["outcome"]


def buys(*changes):
    """Fills of one tick: (second, signed lots)."""
    return [
        (t * SECOND, n, 1 if lots > 0 else -1, 100, abs(lots), 1, 200, BY_QUEUE) for n, (t, lots) in enumerate(changes)
    ]


def test_inventory_worked_by_hand():
    made = outcome(buys((2, 3), (6, -5), (8, 2)), last_mid2=200)  # 0, 3, -2, 0 from 0, 2, 6, 8 to 10 s
    found = inventory_figures(made, 0, 10 * SECOND, limit=3)
    assert (found.mean, found.mean_absolute) == (pytest.approx(0.8), pytest.approx(1.6))
    assert (found.highest, found.lowest, found.final, found.sign_changes) == (3, -2, 0, 1)
    assert (found.at_limit, found.flat) == (pytest.approx(0.4), pytest.approx(0.4))
    # 3 lots held 4 s and 2 lots 2 s, five lots in all
    assert found.holding_seconds == pytest.approx((3 * 4 + 2 * 2) / 5)
    assert found.deviation == pytest.approx(np.sqrt((4 * 0.8**2 + 4 * 2.2**2 + 2 * 2.8**2) / 10))


def test_the_half_life_of_a_reverting_inventory_is_found():
    """An Ehrenfest urn of N balls reverts by 1 - 2 / N a step: half-life log 2 / -log(1 - 2 / N)."""
    rng, balls, position, changes = np.random.default_rng(1), 40, 0, []
    for second in range(1, 60_001):
        up = rng.random() < 0.5 - position / balls
        position += 1 if up else -1
        changes.append((second, 1 if up else -1))
    found = inventory_figures(outcome(buys(*changes), last_mid2=200), 0, 60_001 * SECOND, limit=99)
    truth = np.log(2) / -np.log(1 - 2 / balls)  # 13.5 s
    # error of the coefficient sqrt((1 - rho^2) / n) = 0.0013, of the half-life 2.6 %: four of them
    assert found.half_life_seconds == pytest.approx(truth, rel=0.105)


def test_a_still_inventory_has_no_half_life():
    still = inventory_figures(outcome([], last_mid2=None), 0, 60 * SECOND, limit=1)
    assert np.isnan(still.half_life_seconds)
    assert np.isnan(still.holding_seconds)
    assert still.flat == 1.0


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(-4, 4).filter(bool)), max_size=30))
def test_inventory_agrees_with_a_loop_over_seconds(drawn):
    changes = sorted(drawn, key=lambda change: change[0])
    made = outcome(buys(*changes), last_mid2=200)
    position = [sum(lots for t, lots in changes if t <= second) for second in range(50)]
    found = inventory_figures(made, 0, 50 * SECOND, limit=2)
    assert found.mean == pytest.approx(np.mean(position))
    assert found.mean_absolute == pytest.approx(np.mean(np.abs(position)))
    assert found.at_limit == pytest.approx(np.mean(np.abs(position) >= 2))
    running = np.cumsum([0, *(lots for _, lots in changes)])
    assert (found.highest, found.lowest) == (running.max(), running.min())
    at, last, low, high = inventory_path(made, 0, 50 * SECOND, points=10)
    assert at.tolist() == list(range(5, 51, 5))
    assert last.tolist() == [sum(lots for t, lots in changes if t <= edge) for edge in range(5, 51, 5)]
    assert low.min() == running.min()
    assert high.max() == running.max()


def order(number, side, tick, arrived, ended, lots=1, end=CANCELLED, filled=0, ahead=0.0, ahead_end=0.0):
    """A row of ORDER_DTYPE; seconds."""
    gone = -1 if ended is None else ended * SECOND
    came = -1 if arrived is None else arrived * SECOND
    return (number, side, tick, lots, 1, 0, came, gone, filled, end, ahead, ahead_end)


def quotes(*rows, until):
    times, bid, ask = (np.array(column) for column in zip(*rows, strict=True))
    return QuotePath(times * SECOND, bid, ask, bid + ask, until * SECOND)


def test_uptime_worked_by_hand():
    made = outcome(
        [],
        last_mid2=200,
        orders=[
            order(1, 1, 99, 0, 4),
            order(2, 1, 97, 2, 8),
            order(3, -1, 101, 1, None, end=OPEN),
            order(4, -1, 100, None, 3, end=REJECTED_POST_ONLY),
            order(5, 1, 103, 5, 5, end=REJECTED_POST_ONLY),
        ],
    )
    path = quotes((0, 99, 101), (6, 98, 100), until=12)
    # time from 0 to 12 without 9 to 10: 11 s. own bid 99 to 4 s, 97 to 8 s; own ask 101 from 1 s on
    spans = continuous_spans(0, 12 * SECOND, [(9 * SECOND, 10 * SECOND, 2)])
    found = uptime(made, path, spans, near=(0, 1))
    assert found.seconds == 11
    assert [found.bid, found.ask, found.both, found.one_side] == pytest.approx([8 / 11, 10 / 11, 7 / 11, 4 / 11])
    # bid at the best 0-4 s; 97 is two behind 99 and from 6 s one behind 98. ask at the best 1-6 s, then one behind
    assert found.near_bid == pytest.approx((4 / 11, 6 / 11))
    assert found.near_ask == pytest.approx((5 / 11, 10 / 11))
    assert found.near_both == pytest.approx((3 / 11, 5 / 11))
    assert found.none == 0


INTERVALS = st.lists(
    st.tuples(
        st.sampled_from((1, -1)), st.integers(90, 110), st.integers(0, 20), st.one_of(st.none(), st.integers(0, 20))
    ),
    max_size=12,
)


@given(INTERVALS)
def test_own_best_quotes_agree_with_a_scan_of_every_moment(drawn):
    rows = [order(n, s, tick, a, None if e is None else a + e) for n, (s, tick, a, e) in enumerate(drawn, 1)]
    made = outcome([], last_mid2=None, orders=rows)
    for side, best, none in ((1, max, NO_BID), (-1, min, NO_ASK)):
        times, ticks = own_best(made.orders, side, 50 * SECOND)
        for second in range(45):
            standing = [tick for s, tick, a, e in drawn if s == side and a <= second < (50 if e is None else a + e)]
            row = np.searchsorted(times, second * SECOND, side="right") - 1
            assert (ticks[row] if row >= 0 else none) == (best(standing) if standing else none)


def test_orders_and_queue_worked_by_hand():
    fills = [
        (4 * SECOND, 1, 1, 99, 2, 1, 200, BY_QUEUE),
        (6 * SECOND, 1, 1, 99, 1, 1, 200, BY_QUEUE),
        (7 * SECOND, 2, -1, 102, 1, 1, 200, BY_BOOK_THROUGH),
        (9 * SECOND, 3, -1, 98, 2, 0, 198, BY_CROSSING),
    ]
    made = outcome(
        fills,
        last_mid2=198,
        orders=[
            order(1, 1, 99, 1, 6, lots=3, end=FILLED, filled=3, ahead=10.0),
            order(2, -1, 103, 1, 5, lots=1, end=REPLACED, ahead=7.0, ahead_end=4.0),
            order(2, -1, 102, 5, 7, lots=1, end=FILLED, filled=1, ahead=2.0),
            order(3, -1, 98, 9, 9, lots=2, end=FILLED, filled=2),
            order(4, 1, 95, 2, None, lots=5, end=OPEN, ahead=np.inf, ahead_end=np.inf),
            order(5, 1, 95, 2, 8, lots=5, end=CANCELLED, ahead=30.0, ahead_end=12.0),
            order(6, 1, 120, 2, 2, lots=1, end=REJECTED_POST_ONLY),
        ],
    )
    found = order_figures(made)
    assert (found.orders, found.orders_filled, found.lots_sent, found.lots_filled) == (7, 3, 18, 6)
    assert (found.fill_ratio_lots, found.fill_ratio_orders) == (6 / 18, 3 / 7)
    assert found.fill_lots["at_the_price"] == 3
    assert found.fill_counts["at_the_price"] == 2
    assert found.touch_share == 3 / 4
    assert found.ends["cancelled"] == 1
    assert found.messages == 8  # seven rows arrived, one withdrawal
    assert found.turnover == pytest.approx((99 * 3 + 102 + 98 * 2) * 0.01 * 100)
    queue = queue_figures(made, 20 * SECOND)
    assert first_resting_fill(made).tolist() == [0, -1, 2, -1, -1, -1, -1]
    assert (queue.rested, queue.filled, queue.place_unknown) == (5, 2, 1)
    assert (queue.ahead, queue.ahead_filled, queue.ahead_unfilled) == (12.25, 6.0, 18.5)
    assert queue.ahead_end_unfilled == 8.0
    assert queue.seconds_to_fill == pytest.approx(np.quantile([3.0, 2.0], (0.1, 0.5, 0.9)))
    assert queue.seconds_resting == pytest.approx(np.quantile([4.0, 18.0, 6.0], (0.1, 0.5, 0.9)))


def test_nothing_sent_is_told_as_nothing():
    made = outcome([], last_mid2=None)
    assert np.isnan(order_figures(made).fill_ratio_lots)
    assert np.isnan(queue_figures(made, SECOND).seconds_to_fill[0])
    with pytest.raises(ValueError, match="spans must hold some time"):
        uptime(made, quotes((0, 1, 2), until=3), [(5, 5)])
    with pytest.raises(ValueError, match="start must not be after the first fill"):
        inventory_figures(outcome(buys((1, 1)), last_mid2=2), 2 * SECOND, 3 * SECOND, limit=1)
