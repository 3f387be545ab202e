"""One array in both clocks' orders: against a plain reference, in pieces of any size, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_pipeline.book.events import BUY, DEPTH, EVENT_DTYPE, EXCH, LOCAL, SELL, TRADE
from data_pipeline.book.normalise import EventStream, check_event_order, normalise_events, shift_local_clock
from data_pipeline.errors import DataError

TIMES = st.lists(st.tuples(st.integers(1, 30), st.integers(1, 30)), max_size=40)


def array(times):
    events = np.zeros(len(times), dtype=EVENT_DTYPE)
    for row, (exchange, local) in enumerate(times):
        events[row] = (DEPTH | (BUY if row % 2 else SELL), exchange, local, 100 + row, row, row, 0, 0.0)
    return events


def reference(events):
    """The rule in words: the two orders merged; an event at the head of both is written once."""
    exchange = sorted(range(events.size), key=lambda row: events["exch_ts"][row])
    local = sorted(range(events.size), key=lambda row: events["local_ts"][row])
    merged = []
    while exchange or local:
        if exchange and local and exchange[0] == local[0]:
            merged.append((exchange.pop(0), EXCH | LOCAL))
            local.pop(0)
            continue
        heads = [
            (int(events["exch_ts"][q[0]]), int(events["local_ts"][q[0]])) if q else None for q in (exchange, local)
        ]
        first = heads[1] is None or (heads[0] is not None and heads[0] <= heads[1])
        merged.append((exchange.pop(0), EXCH) if first else (local.pop(0), LOCAL))
    out = events[[row for row, _ in merged]]
    out["ev"] |= np.array([flag for _, flag in merged], dtype=np.uint64)
    return out


@given(TIMES)
def test_it_is_the_plain_merge_of_both_orders(times):
    events = array(times)
    np.testing.assert_array_equal(normalise_events(events), reference(events))


@given(TIMES)
def test_both_orders_are_monotone_and_hold_every_event_once(times):
    events, out = array(times), normalise_events(array(times))
    check_event_order(out, "the array")
    for flag, clock in ((EXCH, "exch_ts"), (LOCAL, "local_ts")):
        seen = out[(out["ev"] & np.uint64(flag)) > 0]
        assert (np.diff(seen[clock]) >= 0).all()
        # equal times keep the feed's order, so the order numbers are those of a stable sort
        np.testing.assert_array_equal(seen["order_id"], np.argsort(events[clock], kind="stable"))


@given(TIMES, st.lists(st.integers(0, 7), max_size=30), st.integers(30, 60))
def test_a_stream_in_pieces_gives_the_same_array(times, pieces, hold):
    events, stream, parts, at = array(times), EventStream(hold_ns=hold), [], 0
    for size in [*pieces, events.size]:
        parts.append(stream.push(events[at : at + size]))
        at += size
    parts.append(stream.finish())
    np.testing.assert_array_equal(np.concatenate(parts), normalise_events(events))
    assert stream.raised == 0


def test_a_stream_gives_events_out_before_its_end_and_raises_what_is_too_late():
    events = array([(100, 101), (200, 201), (300, 301)])
    stream = EventStream(hold_ns=50)
    assert stream.push(events)["exch_ts"].tolist() == [100, 200]
    late = array([(120, 400), (290, 401)])
    rest = np.concatenate([stream.push(late), stream.finish()])
    assert stream.raised == 1
    assert rest["exch_ts"].tolist() == [250, 290, 300, 250, 290]
    check_event_order(rest, "the rest")
    assert late["exch_ts"].tolist() == [120, 290]  # the caller's array is left alone


def test_agreeing_clocks_need_no_second_row():
    out = normalise_events(array([(1, 2), (1, 2), (3, 4)]))
    assert out["ev"].tolist() == [DEPTH | SELL | EXCH | LOCAL, DEPTH | BUY | EXCH | LOCAL, DEPTH | SELL | EXCH | LOCAL]


def test_a_slow_receivers_clock_is_shifted_only_where_latencies_are_negative():
    events = array([(1000, 400), (2000, 1300), (2500, 1900)])
    moved, shift = shift_local_clock(events, base_latency_ns=5)
    assert shift == 705
    assert (moved["local_ts"] - moved["exch_ts"]).tolist() == [105, 5, 105]
    assert events["local_ts"].tolist() == [400, 1300, 1900]
    same, none = shift_local_clock(array([(1000, 1000)]))
    assert (same["local_ts"].tolist(), none) == ([1000], 0)
    assert shift_local_clock(array([]))[1] == 0
    with pytest.raises(ValueError, match="base_latency_ns must be 0 or more"):
        shift_local_clock(events, base_latency_ns=-1)


def test_disorder_is_refused_by_event_and_clock():
    events = normalise_events(array([(1, 2), (3, 4), (5, 6)]))
    events["local_ts"][2] = 3
    with pytest.raises(DataError, match=r"x\.npz, event 2 is at 3 ns of the receiver's clock, before event 1 at 4 ns"):
        check_event_order(events, "x.npz")
    events["local_ts"][2], events["exch_ts"][1] = 6, 7
    with pytest.raises(DataError, match="event 2 is at 5 ns of the exchange's clock"):
        check_event_order(events, "x.npz")


def test_other_layouts_and_flagged_arrays_are_refused():
    with pytest.raises(ValueError, match="64-byte layout"):
        normalise_events(np.zeros((3, 6)))
    with pytest.raises(ValueError, match="without the flags"):
        normalise_events(normalise_events(array([(1, 2)])))


def test_the_kind_and_the_numbers_of_an_event_are_kept():
    events = np.zeros(1, dtype=EVENT_DTYPE)
    events[0] = (TRADE | BUY, 7, 9, 61_800.2, 0.006, 11, -3, 2.5)
    out = normalise_events(events)
    assert out[0].tolist() == (TRADE | BUY | EXCH | LOCAL, 7, 9, 61_800.2, 0.006, 11, -3, 2.5)
