"""The compiled book against the plain one, in chunks, on a clock, and on what must be refused."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_pipeline.book.events import (
    ADD,
    BEST_QUOTE,
    BUY,
    CANCEL,
    DEPTH,
    DEPTH_CLEAR,
    EVENT_DTYPE,
    EXCH,
    FILL,
    KIND_MASK,
    LOCAL,
    MODIFY,
    SELL,
    SNAPSHOT,
    TRADE,
)
from data_pipeline.book.grid import NO_ASK, NO_BID, inferred_grid, listed_grid, tick_grid
from data_pipeline.book.plain import replay_plainly
from data_pipeline.book.replay import (
    CROSSED,
    EMPTY,
    LOCKED,
    NO_ASKS,
    NO_BIDS,
    TWO_SIDED,
    book_source,
    feed,
    finish,
    replay,
    start_book,
)
from data_pipeline.errors import DataError

CENT = tick_grid(0.01)
FLAGS = {"exchange": EXCH, "local": LOCAL}


def array(*rows: tuple) -> np.ndarray:
    """Events from (kind | side, time, price, quantity[, order]), valid in both clocks."""
    events = np.zeros(len(rows), dtype=EVENT_DTYPE)
    for event, (ev, time, px, qty, *order) in zip(events, rows, strict=True):
        event["ev"], event["exch_ts"], event["local_ts"] = ev | EXCH | LOCAL, time, time
        event["px"], event["qty"], event["order_id"] = px, qty, order[0] if order else 0
    return events


def shown(rows, at: int) -> tuple[list, list]:
    """The levels of one row as (price, quantity), best first."""
    sides = []
    for side, nothing in ((0, NO_BID), (1, NO_ASK)):
        there = rows.ticks[at, side] != nothing
        prices = rows.grid.prices(rows.ticks[at, side][there])
        sides.append(list(zip(prices.tolist(), rows.quantities[at, side][there].tolist(), strict=True)))
    return sides[0], sides[1]


def same_rows(one, other) -> bool:
    return all(np.array_equal(getattr(one, k), getattr(other, k)) for k in ("times", "ticks", "quantities"))


def in_chunks(events, cuts, **options):
    book = start_book(CENT, **options)
    parts = [feed(book, part) for part in np.split(events, sorted(cuts))]
    parts.append(finish(book))
    joined = [np.concatenate([getattr(p, k) for p in parts]) for k in ("times", "ticks", "quantities")]
    return type(parts[0])(*joined, CENT), book.counts()


@settings(max_examples=60)
@given(
    seed=st.integers(0, 2**32),
    size=st.integers(0, 300),
    source=st.sampled_from(["l2", "l3", "best"]),
    clock=st.sampled_from(["exchange", "local"]),
    levels=st.sampled_from([1, 3, 50]),
)
def test_the_compiled_book_equals_two_dictionaries(make_events, seed, size, source, clock, levels) -> None:
    events = make_events(seed, size, source)
    rows, counts = replay(events, CENT, source=source, clock=clock, levels=levels)
    wanted = list(replay_plainly(events, FLAGS[clock], clock, source, levels))
    assert rows.times.tolist() == [time for time, _, _ in wanted]
    for at, (_, bids, asks) in enumerate(wanted):
        assert shown(rows, at) == (bids, asks)
    states = rows.state
    assert counts["moments"] == len(wanted)
    assert counts["crossed_moments"] == int((states == CROSSED).sum())
    assert counts["locked_moments"] == int((states == LOCKED).sum())


@settings(max_examples=40)
@given(
    seed=st.integers(0, 2**32),
    cuts=st.lists(st.integers(0, 200), max_size=8),
    source=st.sampled_from(["l2", "l3"]),
    every=st.sampled_from(["event", "time", "clock"]),
    changes=st.booleans(),
)
def test_any_chunks_give_the_same_rows_as_at_once(make_events, seed, cuts, source, every, changes) -> None:
    events = make_events(seed, 200, source)
    options = {
        "source": source,
        "levels": 2,
        "every": every,
        "interval_ns": 700 if every == "clock" else None,
        "only_changes": changes,
    }
    once, counts = in_chunks(events, [], **options)
    cut, cut_counts = in_chunks(events, cuts, **options)
    assert same_rows(once, cut)
    assert counts == cut_counts


@settings(max_examples=40)
@given(seed=st.integers(0, 2**32), at=st.integers(60, 199), every=st.sampled_from(["event", "time", "clock"]))
def test_rows_known_at_a_time_do_not_depend_on_what_comes_after(make_events, seed, at, every) -> None:
    events = make_events(seed, 200)
    now = int(events["exch_ts"][at - 1])
    other = events.copy()
    later = events["exch_ts"] > now
    other["px"][later], other["qty"][later] = 123.45, 7.0
    other["ev"][later] = DEPTH | BUY | EXCH | LOCAL
    interval = {"interval_ns": 700} if every == "clock" else {}
    seen, changed = (
        replay(e, CENT, source="l2", every=every, levels=3, **interval)[0].known_at(now) for e in (events, other)
    )
    assert len(seen.times) > 0 or every == "clock"
    assert same_rows(seen, changed)


def test_clock_rows_hold_all_that_is_valid_at_their_time(make_events) -> None:
    events = make_events(5, 3000)
    every_time, _ = replay(events, CENT, source="l2", levels=2)
    clocked, _ = replay(events, CENT, source="l2", levels=2, every="clock", interval_ns=1300, phase_ns=17)
    assert ((clocked.times - 17) % 1300 == 0).all()
    assert (np.diff(clocked.times) == 1300).all()
    place = np.searchsorted(every_time.times, clocked.times, side="right") - 1
    held = place >= 0
    assert held.sum() > 500
    assert np.array_equal(clocked.ticks[held], every_time.ticks[place[held]])
    assert np.array_equal(clocked.quantities[held], every_time.quantities[place[held]])


def test_a_finished_clock_runs_on_to_the_time_asked_for() -> None:
    events = array((DEPTH | BUY, 10, 1.0, 5.0))
    rows, _ = replay(events, CENT, source="l2", every="clock", interval_ns=10, until=45)
    assert rows.times.tolist() == [10, 20, 30, 40]
    assert rows.bid[:, 0].tolist() == [1.0] * 4


def test_only_changes_leaves_out_the_rows_that_repeat(make_events) -> None:
    events = make_events(7, 4000)
    everything, _ = replay(events, CENT, source="l2", levels=2)
    changes, _ = replay(events, CENT, source="l2", levels=2, only_changes=True)
    moved = (np.diff(everything.ticks, axis=0) != 0) | (np.diff(everything.quantities, axis=0) != 0)
    kept = np.r_[True, moved.any(axis=(1, 2))]
    assert 0 < kept.sum() < len(kept)
    assert np.array_equal(changes.times, everything.times[kept])
    assert np.array_equal(changes.ticks, everything.ticks[kept])


@settings(max_examples=30)
@given(seed=st.integers(0, 2**32))
def test_orders_and_levels_of_one_book_agree(seed) -> None:
    rng = np.random.default_rng(seed)
    l3, l2, orders, levels = [], [], {}, {}
    for step in range(300):
        time = 1000 + step
        number = int(rng.integers(1, 40))
        if number in orders and rng.random() < 0.6:
            side, tick, left = orders.pop(number)
            levels[side, tick] -= left
            kind = rng.choice([CANCEL, MODIFY])
            if kind == MODIFY:
                l2.append((DEPTH | side, time, tick / 100, levels[side, tick]))
                tick, left = tick + int(rng.integers(-2, 3)), int(rng.integers(1, 9))
                orders[number] = side, tick, left
                levels[side, tick] = levels.get((side, tick), 0) + left
            l3.append((kind | side, time, tick / 100, left, number))
        elif number not in orders:
            side = int(rng.choice([BUY, SELL]))
            tick, left = int(rng.integers(980, 1000)) + (20 if side == SELL else 0), int(rng.integers(1, 9))
            orders[number] = side, tick, left
            levels[side, tick] = levels.get((side, tick), 0) + left
            l3.append((ADD | side, time, tick / 100, left, number))
        else:
            # a fill is told and changes nothing by itself
            l3.append((FILL | orders[number][0], time, orders[number][1] / 100, 1, number))
            continue
        l2.append((DEPTH | side, time, tick / 100, levels[side, tick]))
    by_order, counts = replay(array(*l3), CENT, levels=30)
    by_level, _ = replay(array(*l2), CENT, levels=30)
    assert same_rows(by_order, by_level)
    assert counts["orders_unknown"] == counts["orders_added_twice"] == counts["orders_first_seen_in_a_change"] == 0


def test_a_picture_replaces_the_book_and_a_clear_only_what_it_names() -> None:
    before = ((DEPTH | BUY, 1, 9.98, 1), (DEPTH | BUY, 1, 9.90, 2), (DEPTH | SELL, 1, 10.0, 3))
    picture = (*before, (SNAPSHOT | BUY, 2, 9.95, 4), (TRADE | BUY, 2, 10.0, 1), (SNAPSHOT | SELL, 2, 10.1, 5))
    rows, counts = replay(array(*picture), CENT, levels=3)
    assert shown(rows, -1) == ([(9.95, 4.0)], [(10.1, 5.0)])
    assert counts["pictures_that_reset_the_book"] == 1
    partly = (*before, (DEPTH_CLEAR | BUY, 2, 9.95, 0), (SNAPSHOT | BUY, 2, 9.96, 4))
    rows, counts = replay(array(*partly), CENT, levels=3)
    assert shown(rows, -1) == ([(9.96, 4.0), (9.90, 2.0)], [(10.0, 3.0)])
    assert counts["pictures_that_reset_the_book"] == 0
    again = (*picture, (SNAPSHOT | BUY, 3, 9.5, 1))
    rows, counts = replay(array(*again), CENT, levels=3)
    assert shown(rows, -1) == ([(9.5, 1.0)], [])
    assert counts["pictures_that_reset_the_book"] == 2


@pytest.mark.parametrize(("price", "left"), [(1e30, [9.0]), (-1e30, []), (9.0, []), (9.005, [9.0]), (np.nan, [])])
def test_a_clear_of_bids_takes_those_at_its_price_and_above(price: float, left: list[float]) -> None:
    events = array((DEPTH | BUY, 1, 9.0, 1), (DEPTH | BUY, 1, 9.5, 1), (DEPTH_CLEAR | BUY, 2, price, 0))
    rows, _ = replay(events, CENT, levels=2)
    want = [9.5, 9.0] if price == 1e30 else left
    assert [p for p, _ in shown(rows, -1)[0]] == want
    listed, _ = replay(events, listed_grid(np.array([9.0, 9.5])), levels=2)
    assert [p for p, _ in shown(listed, -1)[0]] == want


def test_every_state_of_the_best_quotes_is_marked() -> None:
    events = array(
        (DEPTH | BUY, 1, 10.0, 1),
        (DEPTH | SELL, 2, 10.01, 1),
        (DEPTH | SELL, 3, 10.0, 1),
        (DEPTH | SELL, 4, 9.99, 1),
        (DEPTH_CLEAR | BUY, 5, np.nan, 0),
        (DEPTH_CLEAR, 6, np.nan, 0),
    )
    rows, counts = replay(events, CENT)
    assert rows.state.tolist() == [NO_ASKS, TWO_SIDED, LOCKED, CROSSED, NO_BIDS, EMPTY]
    assert (counts["crossed_moments"], counts["locked_moments"]) == (1, 1)


def test_what_orders_do_not_explain_is_counted() -> None:
    events = array(
        (ADD | BUY, 1, 10.0, 5, 1),
        (ADD | BUY, 2, 9.0, 5, 1),
        (CANCEL | BUY, 3, 0.0, 0, 99),
        (MODIFY | SELL, 4, 11.0, 3, 7),
        (MODIFY, 5, 11.0, 3, 8),
    )
    rows, counts = replay(events, CENT)
    assert shown(rows, -1) == ([(9.0, 5.0)], [(11.0, 3.0)])
    assert counts["orders_added_twice"] == 1
    assert counts["orders_unknown"] == 2
    assert counts["orders_first_seen_in_a_change"] == 1


def test_many_orders_come_and_go_in_a_table_that_does_not_grow_with_them() -> None:
    n = 60_000
    events = np.zeros(2 * n, dtype=EVENT_DTYPE)
    events["ev"] = np.tile([ADD, CANCEL], n) | BUY | EXCH
    events["exch_ts"] = np.arange(2 * n)
    events["px"], events["qty"] = 1.0, 0.1
    events["order_id"] = np.repeat(np.arange(n), 2)
    book = start_book(CENT, source="l3")
    feed(book, events)
    last = finish(book)
    assert shown(last, -1) == ([], [])  # whatever rounding left of 0.1 - 0.1, no order is no level
    assert book.ladder.keys.size <= 1 << 17


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ((DEPTH | BUY, 0, 10.0, 1), "before the event above"),
        ((DEPTH, 9, 10.0, 1), "neither the bid nor the ask"),
        ((DEPTH | BUY, 9, np.nan, 1), "price that is not a finite"),
        ((DEPTH | BUY, 9, 10.0, -1), "quantity that is not"),
        ((DEPTH | BUY, 9, 10.0, np.inf), "quantity that is not"),
        ((DEPTH | BUY, 9, 10.005, 1), "off the tick"),
        ((DEPTH | BUY, 9, 1e290, 1), "too far from zero"),
        ((DEPTH | BUY, 9, 1e13, 1), "too far from zero"),
        ((DEPTH | BUY, 9, 1e9, 1), "span"),
    ],
)
def test_an_event_that_cannot_be_is_refused_by_its_place(row: tuple, words: str) -> None:
    with pytest.raises(DataError, match=words):
        replay(array((DEPTH | BUY, 5, 10.0, 1), row), CENT)


def test_a_clock_with_too_many_moments_is_refused_before_memory_is_taken() -> None:
    events = array((DEPTH | BUY, 0, 10.0, 1), (DEPTH | BUY, 1 << 60, 10.0, 1))
    with pytest.raises(DataError, match="moments up to the next event"):
        replay(events, CENT, every="clock", interval_ns=1)


def test_prices_off_the_tick_are_moved_only_when_asked_and_counted() -> None:
    events = array((DEPTH | BUY, 1, 10.004, 1), (DEPTH | SELL, 1, 10.02, 1))
    rows, counts = replay(events, CENT, nearest=True)
    assert shown(rows, -1) == ([(10.0, 1.0)], [(10.02, 1.0)])
    assert counts["prices_moved_to_the_nearest_tick"] == 1


def test_a_book_of_listed_prices_needs_no_tick() -> None:
    prices = np.array([1 / 3, 2 / 3, np.pi])
    events = array((DEPTH | BUY, 1, 1 / 3, 1), (DEPTH | BUY, 2, 2 / 3, 1), (DEPTH | SELL, 3, np.pi, 2))
    rows, _ = replay(events, listed_grid(prices), levels=2)
    assert shown(rows, -1) == ([(2 / 3, 1.0), (1 / 3, 1.0)], [(np.pi, 2.0)])
    with pytest.raises(DataError, match="off the tick"):
        replay(array((DEPTH | BUY, 1, 0.5, 1)), listed_grid(prices))


def test_read_only_arrays_and_strided_ones_are_taken(make_events) -> None:
    events = make_events(3, 500)
    want, _ = replay(events, CENT, source="l2")
    events.flags.writeable = False
    got, _ = replay(events, CENT, source="l2")
    assert same_rows(want, got)
    doubled = np.repeat(events, 2)
    strided, _ = replay(doubled[::2], CENT, source="l2")
    assert same_rows(want, strided)


@given(tick=st.sampled_from(["0.01", "0.05", "0.5", "5", "0.1", "0.00000001", "0.015625"]), n=st.integers(0, 10**6))
def test_ticks_give_the_double_that_the_decimal_text_gives(tick: str, n: int) -> None:
    price = float(Fraction(tick) * n)
    grid = tick_grid(tick)
    assert grid.ticks(np.array([price])).tolist() == [n]
    assert grid.prices(np.array([n])).tolist() == [price]


@given(
    decimals=st.integers(0, 6),
    step=st.sampled_from([1, 2, 5, 25]),
    numbers=st.lists(st.integers(1, 10**6), min_size=1, max_size=20),
)
def test_the_inferred_tick_is_the_greatest_common_step(decimals: int, step: int, numbers: list[int]) -> None:
    prices = [float(Fraction(n * step, 10**decimals)) for n in numbers]
    wanted = Fraction(int(np.gcd.reduce(np.array(numbers) * step)), 10**decimals)
    grid = inferred_grid(np.array(prices))
    assert Fraction(grid.numerator, grid.denominator) == wanted


@pytest.mark.parametrize("tick", [0, -0.1, float("nan"), "a", 1 / 3])
def test_a_tick_size_that_is_no_decimal_number_is_refused(tick: object) -> None:
    with pytest.raises(ValueError, match="tick_size must be"):
        tick_grid(tick)


def test_off_grid_prices_are_counted_and_no_tick_is_made_up() -> None:
    with pytest.raises(DataError, match=r"2 of 3 prices are not on the grid .* place 1, is .*0\.015"):
        CENT.ticks(np.array([0.01, 0.015, 0.025]))
    with pytest.raises(DataError, match="cannot be inferred"):
        inferred_grid(np.array([np.pi]))
    with pytest.raises(DataError, match="finite"):
        inferred_grid(np.array([]))


def test_the_source_is_what_the_events_build() -> None:
    assert book_source(array((DEPTH | BUY, 1, 1, 1), (TRADE | BUY, 1, 1, 1))) == "l2"
    assert book_source(array((ADD | BUY, 1, 1, 1), (TRADE | BUY, 1, 1, 1))) == "l3"
    assert book_source(array((BEST_QUOTE | BUY, 1, 1, 1))) == "best"
    with pytest.raises(DataError, match="build no book"):
        book_source(array((TRADE | BUY, 1, 1, 1)))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"source": "l4"}, "source must be one of"),
        ({"every": "day"}, "every must be one of"),
        ({"clock": "mine"}, "clock must be"),
        ({"levels": 0}, "levels must be"),
        ({"every": "clock"}, "interval_ns must be"),
    ],
)
def test_arguments_are_checked(options: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        start_book(CENT, **options)


def test_a_finished_book_and_foreign_arrays_are_refused() -> None:
    book = start_book(CENT)
    with pytest.raises(ValueError, match="EVENT_DTYPE"):
        feed(book, np.zeros((3, 6)))
    feed(book, array((DEPTH | BUY, 5, 1.0, 1)))
    with pytest.raises(ValueError, match="until must not be before"):
        finish(book, 4)
    finish(book)
    with pytest.raises(ValueError, match="finished"):
        feed(book, array((DEPTH | BUY, 6, 1.0, 1)))


@settings(max_examples=40)
@given(data=st.binary(min_size=64 * 4, max_size=64 * 40), source=st.sampled_from(["l2", "l3", "best"]))
def test_any_bytes_are_a_book_or_a_data_error(data: bytes, source: str) -> None:
    events = np.frombuffer(data[: len(data) // 64 * 64], dtype=EVENT_DTYPE).copy()
    events["ev"] |= np.uint64(EXCH)
    events["ev"] &= ~np.uint64(KIND_MASK - 15)
    try:
        rows, _ = replay(events, CENT, source=source, levels=2)
    except DataError:
        return
    assert (rows.quantities >= 0).all()
    assert (np.diff(rows.times) > 0).all()


@pytest.mark.realdata
def test_the_real_crypto_book_equals_the_plain_one(realdata) -> None:
    events = np.load(realdata / "crypto" / "btcusdt_20240808_usdm.npz")["data"]
    assert events.size == 491_973
    rows, counts = replay(events, levels=3)
    assert rows.grid.tick_size == 0.1
    assert counts["crossed_moments"] == counts["locked_moments"] == 0
    for at, (time, bids, asks) in enumerate(replay_plainly(events[:30_000], EXCH, "exchange", "l2", 3)):
        if at < 400:  # the last time of a cut array is not whole
            assert (rows.times[at], *shown(rows, at)) == (time, bids, asks)


def test_a_price_that_no_tick_is_near_is_refused_not_moved_to_zero() -> None:
    for px in (1e200, 1e15, -1e15):
        events = array((DEPTH | BUY, 1, 10.0, 1), (DEPTH | SELL, 2, px, 1))
        words = "1 of 2 events have a price too far from zero .*; the first is event 1 .*, quantity 1.0;"
        with pytest.raises(DataError, match=words) as refused:
            replay(events, CENT, nearest=True)
        assert f"price {px!r}, " in str(refused.value)
    with pytest.raises(DataError, match=r"at place 1, is 1.001: give"):
        CENT.ticks(np.array([1.0, 1.001]))


def test_nearest_of_a_list_is_the_nearest_listed_price() -> None:
    prices = [-4.0, 1.2, 1.6, 2.9, 3.1, 99.0]
    listed = listed_grid([1.0, 2.0, 3.0])
    for price in prices:
        rows, counts = replay(array((DEPTH | BUY, 1, price, 1)), listed, nearest=True)
        assert rows.bid[0, 0] == min((1.0, 2.0, 3.0), key=lambda known: abs(known - price))
        assert counts["prices_moved_to_the_nearest_tick"] == 1
    with pytest.raises(DataError, match="off the tick"):
        replay(array((DEPTH | BUY, 1, 1.0, 1)), listed_grid([]), nearest=True)


def test_quantities_of_orders_that_cannot_be_added_up_exactly_are_refused() -> None:
    events = array((ADD | BUY, 1, 1.0, 2.0**60, 1), (ADD | BUY, 2, 1.0, 5, 2), (CANCEL | BUY, 3, 1.0, 0, 1))
    with pytest.raises(DataError, match=r"1 of 3 events have a quantity .* less than 2\^53"):
        replay(events, CENT)
    events["qty"][0] = 2.0**53 - 1
    rows, _ = replay(events, CENT)
    assert rows.bid_quantity[-1, 0] == 5.0
