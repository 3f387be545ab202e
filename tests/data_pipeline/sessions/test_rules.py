"""Ticks, lots and the circuit breaker by their published rules."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_pipeline.sessions.rules import circuit_breaker, latest_close, off_tick, trading_unit

CLOSE = np.datetime64("2020-03-12T20:00", "ns")


@pytest.mark.parametrize(
    ("symbol", "kind", "tick", "lot", "multiplier"),
    [
        ("PETR4", "share", 0.01, 100, 1.0),
        ("PETR4F", "odd_lot", 0.01, 1, 1.0),
        ("SANB11", "fund_or_unit", 0.01, 1, 1.0),
        ("AAPL34", "receipt", 0.01, 1, 1.0),
        ("PETRA325", "option", 0.01, 100, 1.0),
        ("VALEM62W2", "option", 0.01, 100, 1.0),
        ("WINQ24", "future", 5.0, 1, 0.2),
        ("INDV23", "future", 5.0, 5, 1.0),
        ("WDOF25", "future", 0.5, 1, 10.0),
        ("DOLG18", "future", 0.5, 5, 50.0),
        ("B3SA3", "share", 0.01, 100, 1.0),
    ],
)
def test_a_code_tells_how_its_instrument_is_quoted(symbol, kind, tick, lot, multiplier):
    unit = trading_unit(symbol)
    assert (unit.kind, unit.tick, unit.lot, unit.multiplier) == (kind, tick, lot, multiplier)


@pytest.mark.parametrize("symbol", ["", "PETR", "petr4", "WINI24", "PETR99", "TF583R"])
def test_an_unknown_code_is_refused(symbol):
    with pytest.raises(ValueError, match="symbol must be"):
        trading_unit(symbol)


@given(st.integers(1, 10**7), st.sampled_from([0.01, 0.5, 5.0]))
def test_multiples_of_the_tick_are_on_it_and_halves_are_not(steps, tick):
    prices = np.array([steps * tick, (steps + 0.5) * tick])
    assert off_tick(prices, tick).tolist() == [False, True]


def moments(*clocks):
    return np.array([f"2020-03-12T{clock}" for clock in clocks], dtype="datetime64[ns]")


def test_ten_then_fifteen_percent_stop_for_thirty_and_sixty_minutes():
    times = moments("13:00", "13:20", "13:30", "13:50", "14:12", "15:12")
    halts = circuit_breaker(times, np.array([95.0, 90.0, 80.0, 88.0, 85.0, 86.0]), 100.0, CLOSE)
    assert [(h.stage, str(h.start)[11:16], str(h.end)[11:16]) for h in halts] == [
        (1, "13:20", "13:50"),  # the 80 of 13:30 lies in the stop
        (2, "14:12", "15:12"),
    ]


def test_twenty_percent_stops_until_the_exchange_decides():
    times = moments("13:00", "13:30", "14:30")
    halts = circuit_breaker(times, np.array([90.0, 85.0, 80.0]), 100.0, CLOSE)
    assert [h.stage for h in halts] == [1, 2, 3]
    assert np.isnat(halts[-1].end)


def test_the_last_half_hour_is_never_stopped():
    assert circuit_breaker(moments("19:30", "19:59"), np.array([85.0, 80.0]), 100.0, CLOSE) == []
    assert len(circuit_breaker(moments("19:29"), np.array([85.0]), 100.0, CLOSE)) == 1


@pytest.mark.parametrize(
    ("at", "level", "ends"),
    [
        ("18:59", 90.0, "20:00"),  # before the last hour
        ("19:00", 90.0, "20:00"),  # half an hour of trading is left
        ("19:01", 90.0, "20:01"),
        ("19:29", 90.0, "20:29"),
        ("19:29", 95.0, "20:00"),  # no stop
    ],
)
def test_a_stop_in_the_last_hour_leaves_half_an_hour_of_trading(at, level, ends):
    halts = circuit_breaker(moments(at), np.array([level]), 100.0, CLOSE)
    assert str(latest_close(halts, CLOSE))[11:16] == ends


@given(st.integers(0, 59), st.integers(30, 90))
def test_no_session_is_extended_by_more_than_half_an_hour(first, second):
    start = CLOSE - np.timedelta64(60 + second, "m")
    times = np.array([start, start + np.timedelta64(30 + first, "m")])
    end = latest_close(circuit_breaker(times, np.array([90.0, 85.0]), 100.0, CLOSE), CLOSE)
    assert CLOSE <= end <= CLOSE + np.timedelta64(30, "m")


def test_after_the_third_stop_the_exchange_decides():
    halts = circuit_breaker(moments("13:00", "13:30", "14:30"), np.array([90.0, 85.0, 80.0]), 100.0, CLOSE)
    assert np.isnat(latest_close(halts, CLOSE))


@given(st.lists(st.floats(70.0, 110.0), min_size=2, max_size=30), st.integers(1, 29))
def test_a_stop_depends_only_on_the_path_before_it(levels, cut):
    times = np.datetime64("2020-03-12T13:00", "ns") + np.arange(len(levels)) * np.timedelta64(11, "m")
    changed = np.array(levels)
    changed[cut:] = 100.0
    whole = circuit_breaker(times, np.array(levels), 100.0, CLOSE)
    other = circuit_breaker(times, changed, 100.0, CLOSE)
    if cut < len(levels):
        # as text: the end of a stop without one, NaT, equals nothing
        assert [str(h) for h in whole if h.start < times[cut]] == [str(h) for h in other if h.start < times[cut]]


def test_impossible_arguments_are_named():
    with pytest.raises(ValueError, match="previous_close must be"):
        circuit_breaker(moments("13:00"), np.array([1.0]), float("nan"), CLOSE)
    with pytest.raises(ValueError, match="tick must be"):
        off_tick(np.array([1.0]), 0.0)
