import numpy as np
import pytest

from mfg_core.intraday.intensity_exposure import BookPath, Trades
from mfg_core.intraday.market_orders import group_orders, sign_trades


def test_the_mid_is_missing_where_a_side_is_or_the_quotes_cross():
    book = BookPath([0, 1, 2, 3], [10.0, np.nan, 10.0, 10.2], [10.2, 10.2, 10.0, 10.0])
    np.testing.assert_array_equal(book.mid, [10.1, np.nan, np.nan, np.nan])
    assert book.half_spread[0] == pytest.approx(0.1)


def test_of_several_rows_at_one_time_none_is_before_it_and_the_last_holds():
    book = BookPath([0, 1, 1, 2], np.full(4, 1.0), np.full(4, 2.0))
    assert book.row_before(np.array([0.0, 1.0, 1.5, 2.0])).tolist() == [-1, 0, 2, 2]
    assert book.row_at(np.array([-1.0, 0.0, 1.0, 5.0])).tolist() == [-1, 0, 2, 3]


def test_inputs_are_copied_and_read_only():
    time = np.array([0.0, 1.0])
    book = BookPath(time, np.ones(2), np.full(2, 2.0))
    time[0] = 7.0
    assert book.time[0] == 0.0
    with pytest.raises(ValueError, match="read-only"):
        book.bid[0] = 3.0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"time": [0.0, -1.0]}, "time must be finite and nondecreasing in BookPath; was -1.0 at row 1"),
        ({"bid": [1.0, -2.0]}, "bid must be positive and finite, or nan .*; was -2.0 at row 1"),
        ({"ask": [1.0]}, r"ask must be one-dimensional and as long as time \(2\)"),
    ],
)
def test_a_bad_book_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        BookPath(**({"time": [0.0, 1.0], "bid": [1.0, 1.0], "ask": [2.0, 2.0]} | change))


def test_a_bad_tape_is_refused():
    with pytest.raises(ValueError, match=r"side must be -1, 0 or 1; was 2\.0 at row 0"):
        Trades([0.0], [1.0], [1.0], [2])
    with pytest.raises(ValueError, match="price must be positive and finite; was nan at row 0"):
        Trades([0.0], [np.nan], [1.0], [1])


def test_gaps_have_no_quotes_inside_and_the_right_ones_after():
    rng = np.random.default_rng(1)
    time = np.sort(rng.uniform(0, 10, 30))
    book = BookPath(time, np.arange(1.0, 31.0), np.arange(2.0, 32.0))
    gaps = np.array([[2.0, 3.0], [3.0, 3.5], [6.0, 7.0]])
    holed = book.without(gaps)
    for t in rng.uniform(time[0], 10.0, 400):
        old, new = book.row_at(np.array([t]))[0], holed.row_at(np.array([t]))[0]
        if ((gaps[:, 0] <= t) & (t < gaps[:, 1])).any():
            assert np.isnan(holed.bid[new])
        else:
            assert holed.bid[new] == book.bid[old]
    assert np.isnan(holed.bid[holed.row_at(np.array([3.0]))[0]])
    with pytest.raises(ValueError, match="do not overlap"):
        book.without([[1.0, 3.0], [2.0, 4.0]])


def test_the_signs_of_the_three_rules_on_a_worked_tape():
    book = BookPath([0.0], [99.0], [101.0])
    prices = [100.5, 99.5, 100.0, 100.0, 100.2, 100.0]
    tape = Trades(np.arange(1.0, 7.0), prices, np.ones(6), np.zeros(6))
    assert sign_trades(book, tape, "quote").tolist() == [1, -1, 0, 0, 1, 0]
    assert sign_trades(book, tape, "tick").tolist() == [0, -1, 1, 1, 1, -1]
    assert sign_trades(book, tape, "lee_ready").tolist() == [1, -1, 1, 1, 1, -1]
    known = Trades(tape.time, tape.price, tape.size, [-1, 0, 0, 0, 0, 0])
    assert sign_trades(book, known, "quote")[0] == -1
    with pytest.raises(ValueError, match="sign_rule must be one of quote, tick, lee_ready"):
        sign_trades(book, tape, "guess")


def test_no_sign_without_a_mid():
    book = BookPath([5.0], [99.0], [np.nan])
    tape = Trades([1.0, 6.0], [100.0, 100.0], np.ones(2), [0, 0])
    assert sign_trades(book, tape, "lee_ready").tolist() == [0, 0]


def test_trades_of_one_side_and_time_are_one_order_with_its_furthest_price():
    tape = Trades(
        [1.0, 1.0, 1.0, 1.0, 2.0, 2.5],
        [10.0, 10.2, 9.9, 10.1, 10.3, 9.8],
        [1.0, 3.0, 5.0, 1.0, 2.0, 4.0],
        [1, 1, -1, 1, 1, 0],
    )
    orders = group_orders(tape, tape.side)
    assert orders.time.tolist() == [1.0, 1.0, 2.0]
    by_side = dict(zip(orders.side.tolist()[:2], range(2), strict=True))
    buy, sell = by_side[1], by_side[-1]
    assert orders.furthest[buy] == 10.2
    assert orders.average[buy] == pytest.approx((10.0 + 3 * 10.2 + 10.1) / 5)
    assert (orders.trades[buy], orders.size[buy]) == (3, 5.0)
    assert orders.furthest[sell] == 9.9


def test_orders_within_a_span_are_chained():
    tape = Trades([1.0, 1.4, 1.8, 3.0], [10.0, 10.1, 10.2, 9.0], np.ones(4), [-1, -1, -1, -1])
    orders = group_orders(tape, tape.side, within=0.5)
    assert orders.trades.tolist() == [3, 1]
    assert orders.furthest.tolist() == [10.0, 9.0]


def test_a_tape_without_sides_has_no_orders():
    tape = Trades([1.0], [10.0], [1.0], [0])
    assert group_orders(tape, tape.side).time.size == 0
