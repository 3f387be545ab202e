"""Features by interval: against sums written out, and against the flow that a rule would have seen."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from strategies.intraday.features import FEATURES, interval_features, join_features, window_signals

START, END, STEP, TICK, LOT = 100.0, 147.0, 10.0, 0.5, 2.0


def measured(quotes, trades, **changes):
    """Quotes (time, bid, ask), trades (time, size, side)."""
    times, bid, ask = (np.array([row[i] for row in quotes], dtype=float) for i in range(3))
    at, size, side = (np.array([row[i] for row in trades], dtype=float) for i in range(3))
    arguments = {
        "quote_times": times, "bid": bid, "ask": ask, "trade_times": at, "size": size, "side": side.astype(np.int8),
        "start": START, "end": END, "interval_seconds": STEP, "tick_size": TICK, "lot_size": LOT,
    }  # fmt: skip
    return interval_features(**arguments | changes)


def plain(quotes, trades):
    """Interval by interval, the session walked through in steps of a quarter of a second (all times are such)."""
    out = {name: [] for name in FEATURES[2:]}
    mid = None
    for number in range(int((END - START) // STEP)):
        row = dict.fromkeys(out, 0.0)
        first, last = START + number * STEP, START + (number + 1) * STEP
        for at, size, side in trades:
            if (first < at or (number == 0 and at == first)) and at <= last and side:
                row["bought" if side > 0 else "sold"] += size / LOT
        for quarter in range(int(4 * STEP)):
            now = first + quarter / 4
            bid, ask = book(quotes, now)
            if bid < ask:
                row["seconds_quoted"] += 0.25
                row["spread_seconds"] += 0.25 * (ask - bid) / TICK
            if number == 0 and quarter == 0 and bid < ask:
                mid = (bid + ask) / 2
            bid, ask = book(quotes, now + 0.25)
            if bid < ask:
                row["squared_ticks"] += 0.0 if mid is None else ((bid + ask) / 2 - mid) ** 2 / TICK**2
                mid = (bid + ask) / 2
        for name, value in row.items():
            out[name].append(value)
    return out


def book(quotes, now):
    return ([(math.nan, math.nan)] + [(bid, ask) for at, bid, ask in quotes if at <= now])[-1]


quarters = st.integers(360, 600).map(lambda quarter: quarter / 4)
prices = st.one_of(st.just(math.nan), st.integers(20, 26).map(lambda ticks: ticks * TICK))
quote_rows = st.lists(st.tuples(quarters, prices, prices), max_size=30).map(
    lambda rows: sorted(rows, key=lambda r: r[0])
)
trade_rows = st.lists(st.tuples(quarters, st.sampled_from([2.0, 5.0]), st.sampled_from([1, -1, 0])), max_size=20).map(
    sorted
)


@given(quotes=quote_rows, trades=trade_rows)
def test_the_sums_are_those_of_a_slow_walk_through_the_session(quotes, trades):
    found, expected = measured(quotes, trades), plain(quotes, trades)
    assert found["seconds"].tolist() == [STEP] * 4
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, atol=1e-9, err_msg=name)


@given(quotes=quote_rows, trades=trade_rows, now=st.integers(1, 4))
def test_what_comes_later_changes_no_interval_before(quotes, trades, now):
    edge = START + now * STEP
    whole = measured(quotes, trades)
    cut = measured([row for row in quotes if row[0] <= edge], [row for row in trades if row[0] <= edge])
    for name in FEATURES:
        np.testing.assert_array_equal(whole[name][:now], cut[name][:now])


def test_signals_by_hand():
    """Windows of two intervals, never across sessions: (4 + 2) / (6 + 2), then (2 + 0) / (2 + 0 + 0)..."""
    one = {
        "session": np.zeros(3), "seconds": np.full(3, 4.0), "bought": np.array([5.0, 2.0, 0.0]),
        "sold": np.array([1.0, 0.0, 0.0]), "squared_ticks": np.array([1.0, 7.0, 0.0]), "seconds_quoted": np.zeros(3),
        "spread_seconds": np.zeros(3),
    }  # fmt: skip
    quiet = {name: np.zeros(2) for name in FEATURES} | {"seconds": np.full(2, 4.0)}
    toxicity, volatility = window_signals(join_features([one, quiet]), 2)
    np.testing.assert_allclose(toxicity, [0.75, 1.0, 0.0])
    np.testing.assert_allclose(volatility, [1.0, math.sqrt(7.0 / 8.0), 0.0])
    assert window_signals(join_features([quiet]), 3)[0].size == 0


def test_arguments_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match="end must be at least one interval of 10 s after start 100; was 105"):
        measured([], [], end=105.0)
    with pytest.raises(ValueError, match="tick_size must be"):
        measured([], [], tick_size=0.0)
