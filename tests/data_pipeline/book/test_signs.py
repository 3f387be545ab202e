"""Tick rule and Lee-Ready against plain loops, at equal times, across instruments, and against true aggressors."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_pipeline.book.signs import lee_ready, tick_rule
from data_pipeline.feeds.b3.old_trades import B3_OLD_TRADES
from data_pipeline.feeds.lobster.record import read_lobster
from data_pipeline.feeds.reading import Tally

DAY = dt.date(2024, 7, 3)


def table(times, *, symbol="A", day=DAY, **columns):
    size = len(times)
    symbols = [symbol] * size if isinstance(symbol, str) else list(symbol)
    made = {
        "session": pa.array([day] * size, pa.date32()),
        "symbol": pa.array(symbols, pa.string()),
        "time": pa.array(times, pa.int64()).cast(pa.timestamp("ns", tz="UTC")),
    }
    return pa.table(made | {name: pa.array(values, pa.float64()) for name, values in columns.items()})


def plain_tick(prices):
    signs, sign = [], 0
    for place, price in enumerate(prices):
        if place and price != prices[place - 1]:
            sign = 1 if price > prices[place - 1] else -1
        signs.append(sign)
    return signs


def plain_lee_ready(times, prices, quotes, delay):
    signs = []
    for time, price, tick in zip(times, prices, plain_tick(prices), strict=True):
        held = [quote for quote in quotes if quote[0] < time - delay]
        # cents are whole, so a price at the mid is at the mid
        beyond = round(200 * price) - round(100 * held[-1][1]) - round(100 * held[-1][2]) if held else 0
        signs.append(tick if beyond == 0 else 1 if beyond > 0 else -1)
    return signs


def test_the_tick_rule_takes_the_last_different_price():
    assert tick_rule([10, 10, 11, 11, 10, 10, 12]).tolist() == [0, 0, 1, 1, -1, -1, 1]
    assert tick_rule([10, np.nan, 11, np.nan, 11]).tolist() == [0, 0, 1, 0, 1]
    assert tick_rule([]).size == tick_rule([np.nan]).sum() == 0
    with pytest.raises(ValueError, match="price must be a list of prices; had 2 dimensions"):
        tick_rule([[1.0]])


def test_a_trade_meets_the_quotes_strictly_before_it():
    trades = table([5, 10, 20, 30], price=[10.0, 10.02, 10.02, 10.01])
    quotes = table([10, 25], bid=[10.02, 10.0], ask=[10.04, 10.02])
    # at 5 no quotes: no answer; at 10 none yet, the tick rule; at 20 below the mid 10.03; at 30 at the mid: last tick
    assert lee_ready(trades, quotes).tolist() == [0, 1, -1, -1]
    assert lee_ready(trades, quotes, delay_ns=12).tolist() == [0, 1, 1, -1]


def test_an_empty_side_leaves_the_tick_rule():
    trades = table([5, 10], price=[10.0, 11.0])
    assert lee_ready(trades, table([1], bid=[None], ask=[10.0])).tolist() == [0, 1]


@given(
    trades=st.lists(st.tuples(st.integers(0, 40), st.sampled_from((9.98, 9.99, 10.0, 10.01))), max_size=25),
    quotes=st.lists(st.tuples(st.integers(0, 40), st.sampled_from((9.97, 9.98, 9.99))), max_size=15),
    delay=st.sampled_from((0, 3)),
)
def test_both_rules_equal_plain_loops(trades, quotes, delay):
    trades, quotes = sorted(trades, key=lambda one: one[0]), sorted(quotes, key=lambda one: one[0])
    times, prices = [one[0] for one in trades], [one[1] for one in trades]
    book = [(time, bid, bid + 0.02) for time, bid in quotes]
    assert tick_rule(prices).tolist() == plain_tick(prices)
    found = lee_ready(
        table(times, price=prices),
        table([one[0] for one in book], bid=[one[1] for one in book], ask=[one[2] for one in book]),
        delay_ns=delay,
    )
    assert found.tolist() == plain_lee_ready(times, prices, book, delay)


def test_instruments_and_rows_out_of_order_do_not_touch_each_other():
    draw = np.random.default_rng(3)
    times = draw.permutation(60)
    symbols = draw.choice(["A", "B"], 60)
    prices = draw.integers(990, 1010, 60) / 100
    quotes = table(np.arange(0, 60, 7), symbol="A", bid=np.full(9, 9.99), ask=np.full(9, 10.01))
    signs = lee_ready(table(times, symbol=symbols, price=prices), quotes)
    for symbol in ("A", "B"):
        own = np.flatnonzero(symbols == symbol)[np.argsort(times[symbols == symbol])]
        held = [(time, 9.99, 10.01) for time in range(0, 60, 7)] if symbol == "A" else []
        assert signs[own].tolist() == plain_lee_ready(times[own], prices[own].tolist(), held, 0)


def test_later_trades_and_quotes_change_nothing_before_them():
    draw = np.random.default_rng(5)
    prices, bids = draw.integers(990, 1010, 50) / 100, draw.integers(985, 1005, 50) / 100
    trades, quotes = table(range(50), price=prices), table(range(50), bid=bids, ask=bids + 0.05)
    past = lee_ready(trades, quotes)[:30]
    other = lee_ready(
        table(range(50), price=np.r_[prices[:30], prices[30:] + 3]),
        table(range(50), bid=np.r_[bids[:30], bids[30:] - 3], ask=np.r_[bids[:30] + 0.05, bids[30:] + 4]),
    )
    np.testing.assert_array_equal(other[:30], past)


def test_bad_arguments_are_named():
    trades, quotes = table([1], price=[1.0]), table([1], bid=[1.0], ask=[2.0])
    with pytest.raises(ValueError, match="delay_ns must be 0 or more"):
        lee_ready(trades, quotes, delay_ns=-1)
    with pytest.raises(ValueError, match=r"quotes must have the column\(s\) bid"):
        lee_ready(trades, quotes.drop(["bid"]))
    assert lee_ready(trades.slice(0, 0), quotes).size == 0


@pytest.mark.realdata
def test_the_tick_rule_agrees_with_most_true_aggressors_of_options(realdata):
    feed = B3_OLD_TRADES.read((realdata / "b3_trades" / "NEG_OPCOES_20151126.zip",), Tally(), {})
    trades = pa.concat_tables([batch.rows for batch in feed])
    true = trades["side"].to_numpy()
    found = lee_ready(trades, table([], bid=[], ask=[]))
    told = (true != 0) & (found != 0)
    # half right would be guessing: 15,816 trades have a standard error of 0.004
    assert 0.6 < (found[told] == true[told]).mean() < 0.75
    assert (found[true != 0] == 0).mean() < 0.1


@pytest.mark.realdata
def test_lee_ready_finds_every_aggressor_where_the_quotes_are_exact(realdata):
    message, book = (next((realdata / "lobster").glob(f"AMZN*_{kind}_1.csv")) for kind in ("message", "orderbook"))
    record = read_lobster(message, book)
    trades = table(np.rint(record.trades.times * 1e9).astype(np.int64), price=record.trades.price)
    quotes = table(np.rint(record.quotes.times * 1e9).astype(np.int64), bid=record.quotes.bid, ask=record.quotes.ask)
    seen, true = ~record.trades.hidden & (record.trades.side != 0), record.trades.side
    found = lee_ready(trades, quotes)
    assert seen.sum() == 8974
    np.testing.assert_array_equal(found[seen], true[seen])
    # a delay of 1988 and the tick rule alone are worse
    late = lee_ready(trades, quotes, delay_ns=5 * 10**9)
    assert (late[seen] == true[seen]).mean() < 0.9 > (tick_rule(record.trades.price)[seen] == true[seen]).mean()
