"""Order files as tables: the rebuilt book against a plain one, trades against the best prices, pairs, hostile bytes."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_pipeline.book.events import ADD, BUY, CANCEL, EVENT_DTYPE, FILL, KIND_MASK, MODIFY, SELL, TRADE
from data_pipeline.errors import DataError
from data_pipeline.feeds.b3.orders import B3_ORDERS, read_b3_orders
from data_pipeline.feeds.reading import RawHead, Tally
from data_pipeline.raw_file import read_head
from data_pipeline.synthetic.b3_trade_files import write_raw_orders
from data_pipeline.synthetic.order_book import BookConfig, simulate_book
from data_pipeline.tables.catalog import BOOK_EVENTS, ORDERS

DAY = "2016-07-05"
REAL = "OFER_PETR4F_VALE5F_20151103.csv"
BID, ASK = 1, 2


def row(second, order, side, kind, price, total=100, traded=0, flag=0, clock="10:00:01.000", symbol="ABCD3F"):
    return (
        f"{DAY};{symbol:<50};{side};{order:015d};{second:015d};{kind:03d};{clock};0000000000; {price:019.6f};"
        f"{total:018d};{traded:018d};{DAY};{DAY} 10:00:00;0;{flag};00000003"
    )


def write_pair(folder, rows):
    paths = []
    for name, side in (("OFER_CPA", "1"), ("OFER_VDA", "2")):
        own = [line for line in rows if line.split(";")[2] == side]
        edge = f"{name:<20}{DAY} {DAY} {len(own) + 2:09d}"
        paths.append(folder / f"{name}_20160705.TXT")
        paths[-1].write_bytes("\n".join([f"RH {edge}", *own, f"RT {edge}", ""]).encode("latin-1"))
    return tuple(paths)


def read(*paths):
    tally = Tally()
    tables = {"orders": [ORDERS.schema.empty_table()], "book_events": [BOOK_EVENTS.schema.empty_table()]}
    for batch in B3_ORDERS.read(paths, tally, {}):
        tables[batch.table].append(batch.rows)
    return pa.concat_tables(tables["orders"]), pa.concat_tables(tables["book_events"]), tally


def listed(table):
    """(kind, side, px, qty, order) of every event."""
    ev = table["ev"].to_numpy()
    words = {ADD: "add", CANCEL: "cancel", MODIFY: "modify", FILL: "fill", TRADE: "trade"}
    side = np.where(ev & BUY, 1, np.where(ev & SELL, -1, 0)).tolist()
    rest = (table[name].to_pylist() for name in ("px", "qty", "order_id"))
    return list(zip([words[int(one)] for one in ev & KIND_MASK], side, *rest, strict=True))


ROWS = [
    row(1, 51, BID, 1, 9.99),
    row(2, 52, ASK, 1, 10.01, 50),
    row(3, 53, ASK, 1, 10.03, 60),
    row(4, 54, BID, 1, 10.05, 130),  # takes 52 and 53, rests with what is left
    row(5, 54, BID, 4, 10.05, 130, 50, 1),
    row(6, 52, ASK, 4, 10.01, 50, 50, 2),
    row(7, 53, ASK, 4, 10.03, 60, 60, 2),
    row(8, 54, BID, 4, 10.05, 130, 110, 1),
    row(9, 51, BID, 2, 10.0, clock="10:00:02.000"),
    row(10, 55, ASK, 1, 0.0, 15, clock="10:00:03.000"),  # a market order
    row(11, 55, ASK, 4, 0.0, 15, 15, 1, clock="10:00:03.000"),
    row(12, 54, BID, 4, 10.05, 130, 125, 2, clock="10:00:03.000"),
    row(13, 51, BID, 3, 10.0, clock="10:00:04.000"),
]
EVENTS = [
    ("add", 1, 9.99, 100, 51), ("add", -1, 10.01, 50, 52), ("add", -1, 10.03, 60, 53),
    ("trade", 1, 10.01, 50, 0), ("fill", -1, 10.01, 50, 52), ("cancel", -1, 10.01, 50, 52),
    ("trade", 1, 10.03, 60, 0), ("fill", -1, 10.03, 60, 53), ("cancel", -1, 10.03, 60, 53), ("add", 1, 10.05, 20, 54),
    ("modify", 1, 10.0, 100, 51),
    ("trade", -1, 10.05, 15, 0), ("fill", 1, 10.05, 15, 54), ("modify", 1, 10.05, 5, 54),
    ("cancel", 1, 10.0, 100, 51),
]  # fmt: skip


def test_events_of_the_book_follow_from_the_orders(tmp_path):
    orders, events, tally = read(*write_pair(tmp_path, ROWS))
    assert listed(events) == EVENTS
    assert events["sequence"].to_pylist() == list(range(len(EVENTS)))
    times = events["exch_ts"].to_numpy() - np.datetime64(f"{DAY}T13:00:00", "ns").astype(np.int64)
    assert sorted(set(times.tolist())) == [10**9, 2 * 10**9, 3 * 10**9, 4 * 10**9]
    assert tally.rows == len(ROWS) == orders.num_rows
    assert tally.counts["trades_at_the_best_price"] == 2 + 1
    assert tally.counts["crossed_book_states"] == tally.counts["trades_off_the_best_price"] == 0
    assert orders.schema == ORDERS.schema
    assert events.schema == BOOK_EVENTS.schema


def test_all_that_the_file_says_of_an_order_is_kept(tmp_path):
    orders, _, _ = read(*write_pair(tmp_path, ROWS))
    one = next(each for each in orders.to_pylist() if each["secondary_id"] == 7)
    assert one["time"].to_pydatetime() == dt.datetime(2016, 7, 5, 13, 0, 1, tzinfo=dt.UTC) == one["priority_time"]
    assert (one["order_id"], one["side"], one["event"], one["aggressor"]) == (53, -1, "trade", 2)
    assert (one["price"], one["quantity"], one["traded_quantity"], one["member"]) == (10.03, 60.0, 60.0, 3)
    assert (one["status"], one["symbol"]) == ("New", "ABCD3F")
    assert sorted(orders["sequence"].to_pylist()) == list(range(len(ROWS)))


def test_several_instruments_do_not_touch_each_other(tmp_path):
    other = [line.replace("ABCD3F", "WXYZ4F") for line in ROWS]
    mixed = [line for pair in zip(ROWS, other, strict=True) for line in pair]
    _, events, _ = read(*write_pair(tmp_path, mixed))
    for symbol in ("ABCD3F", "WXYZ4F"):
        assert listed(events.filter(pa.compute.equal(events["symbol"], symbol))) == EVENTS


def test_an_order_of_before_the_file_enters_at_its_first_event(tmp_path):
    rows = [row(1, 40, ASK, 4, 10.0, 100, 30, 2), row(2, 41, BID, 4, 10.0, 20, 20, 1), row(3, 42, BID, 3, 9.0)]
    _, events, tally = read(*write_pair(tmp_path, rows))
    assert listed(events) == [("trade", 1, 10.0, 20, 0), ("add", -1, 10.0, 70, 40)]
    assert tally.counts["orders_seen_without_their_entry"] == 3
    assert tally.counts["trades_of_an_order_of_before_the_file"] == 1


def test_no_event_of_the_book_knows_of_later_rows(tmp_path):
    """Cut after any time, what happened until then is the same."""
    _, whole, _ = read(*write_pair(tmp_path, ROWS))
    for stop in (8, 9, 12):
        _, part, _ = read(*write_pair(tmp_path, ROWS[:stop]))
        assert part.equals(whole.slice(0, part.num_rows))
        assert part.num_rows > 0


def replay(events):
    """A plain order book: (standing orders, best bid, best ask) after each event."""
    standing = {}
    for kind, side, px, qty, order in listed(events):
        if kind == "add":
            assert order not in standing
            standing[order] = (side, px, qty)
        elif kind == "modify":
            assert standing[order][0] == side
            standing[order] = (side, px, qty)
        elif kind == "cancel":
            assert standing.pop(order) == (side, px, qty)
        elif kind == "fill":
            assert standing[order][0] == side
            assert standing[order][2] >= qty > 0
        bids = [price for own, price, _ in standing.values() if own > 0]
        asks = [price for own, price, _ in standing.values() if own < 0]
        yield standing, max(bids, default=np.nan), min(asks, default=np.nan)


def test_a_simulated_book_is_never_crossed_and_agrees_with_its_record(tmp_path):
    events = simulate_book(BookConfig(seed=8, seconds=60.0))
    _, made, tally = read(*write_raw_orders(tmp_path, events, symbol="SYNT3F"))
    for _, bid, ask in replay(made):
        assert not bid >= ask
    assert tally.counts["crossed_book_states"] == tally.counts["book_levels_below_zero"] == 0


def test_a_pair_must_be_whole(tmp_path):
    buys, sells = write_pair(tmp_path, ROWS)
    buys.write_text(buys.read_text().replace("OFER_CPA      ", "OFER_CPA_FRAC "))
    assert B3_ORDERS.recognises(read_head(buys))
    assert listed(read(buys, sells)[1]) == EVENTS
    assert B3_ORDERS.group([sells, buys]) == [(buys, sells)]
    for files in ((buys,), (buys, buys), (sells,)):
        with pytest.raises(DataError, match=r"OFER_CPA and OFER_VDA.*give the other file"):
            read(*files)


def test_bad_rows_are_refused_with_line_field_and_text(tmp_path):
    for bad, words in {
        row(2, 52, BID, 10, 1.0): ("line 3", "ExecutionType must be 1 to 9, 11 or 12; was 10"),
        row(2, 52, BID, 1, 1.0, flag=3): ("line 3", "AggressorIndicator"),
        row(2, 52, BID, 1, 1.0, clock="25:00:00.000"): ("line 3", "PriorityTime", "'25:00:00.000'"),
        row(2, 52, BID, 1, 1.0).replace(" 10:00:00;0;", " 10:00:00;Z;"): ("line 3", "OrderStatus"),
        row(2, 52, BID, 1, 1.0).replace("2016-07-05", "2262-07-05"): ("line 3", "SessionDate", "1970 to 2261"),
        row(2, 52, BID, 1, 1.0)[:150]: ("line 3", "must have 16 fields"),
    }.items():
        paths = write_pair(tmp_path, [ROWS[0], bad, ROWS[1]])
        with pytest.raises(DataError) as error:
            read(*paths)
        for word in ("OFER_CPA_20160705.TXT", *words):
            assert word in str(error.value), error.value
    two_sides = write_pair(tmp_path, [row(1, 51, BID, 1, 9.0), row(2, 51, ASK, 2, 9.5)])
    with pytest.raises(DataError, match="order 51 is a buy and a sell"):
        read(*two_sides)


orders_rows = st.builds(
    row,
    st.integers(1, 30),
    st.integers(50, 55),
    st.sampled_from((BID, ASK)),
    st.sampled_from((1, 2, 3, 4, 4, 5, 6, 9, 11)),
    st.sampled_from((0.0, 9.99, 10.0, 10.01)),
    st.integers(0, 200),
    st.integers(0, 250),
    st.integers(0, 2),
    st.sampled_from(("10:00:01.000", "10:00:00.500", "10:00:02.000")),
)


@given(rows=st.lists(orders_rows, min_size=1, max_size=25), flip=st.tuples(st.integers(0, 5000), st.integers(0, 255)))
@settings(max_examples=120)
def test_any_rows_and_damaged_bytes_are_refused_or_give_a_book_that_can_be(rows, flip, tmp_path_factory):
    # an order has one side: its number says which
    rows = [line if (int(line.split(";")[3]) % 2 == 0) == (line.split(";")[2] == "1") else None for line in rows]
    paths = write_pair(tmp_path_factory.getbasetemp(), [line for line in rows if line])
    content = bytearray(paths[0].read_bytes())
    if flip[0] < len(content):
        content[flip[0]] = flip[1]
        paths[0].write_bytes(bytes(content))
    try:
        _, events, tally = read(*paths)
    except DataError:
        return
    for _ in replay(events):
        pass
    assert tally.counts["book_levels_below_zero"] == 0
    for name in ("px", "qty"):
        assert np.isfinite(events[name]).all()
        assert (np.asarray(events[name]) >= 0).all()
    assert (np.diff(events["exch_ts"]) >= 0).all()


@given(
    flips=st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), min_size=1, max_size=4), cut=st.integers(0, 99)
)
@settings(max_examples=80)
def test_a_damaged_decoded_file_is_refused_or_read(flips, cut, tmp_path_factory):
    header = (
        "SessionDate,InstrumentSymbol,OrderSide,SequentialOrderNumber,SecondaryOrderID,ExecutionType,PriorityTime,"
        "OrderPrice,TotalQuantity,TradedQuantity,OrderDatetime,AgressorIndicator,Member,OrderStatus\n"
    )
    lines = [
        f"{DAY},ABCD3F,{side},{order}.0,{number},{what},10:00:0{number}.000000,{price},100.0,0.0,{DAY} 13:00:0{number},"
        "0,3,New\n"
        for number, (side, order, what, price) in enumerate(
            [("Buy", 1, "New", 9.9), ("Sell", 2, "New", 10.1), ("Buy", 1, "Update", 9.8), ("Sell", 2, "Cancel", 10.1)]
        )
    ]
    content = bytearray((header + "".join(lines)).encode())
    for place, byte in flips:
        content[place % len(content)] = byte
    path = tmp_path_factory.getbasetemp() / "decoded.csv"
    path.write_bytes(bytes(content[: len(content) - cut]))
    try:
        orders, events, _ = read(path)
    except DataError:
        return
    assert 0 < orders.num_rows <= 5
    for _ in replay(events):
        pass


def test_the_first_line_tells_the_format():
    raw = "RH OFER_VDA            2016-07-05 2016-07-05 000000005\n"
    assert B3_ORDERS.recognises(RawHead(Path("x"), "x", raw.encode()))
    assert not B3_ORDERS.recognises(RawHead(Path("x"), "x", raw.replace("OFER_VDA", "NEG").encode()))
    assert not B3_ORDERS.recognises(RawHead(Path("x"), "x", b"time,price\n"))


@pytest.mark.realdata
def test_the_real_day_is_rebuilt_without_a_trade_off_the_best_price(realdata):
    path = realdata / "b3_trades" / REAL
    assert B3_ORDERS.recognises(read_head(path))
    orders, events, tally = read(path)
    assert tally.rows == orders.num_rows == 20_673
    kinds = orders["event"].to_pylist()
    found = [kinds.count(word) for word in ("update", "new", "trade", "cancel")]
    assert found == [15_818, 2_044, 2_012, 799]
    made = tally.counts
    assert made["order_times_that_disagree"] == made["trade_rows_without_their_other_side_dropped"] == 0
    assert made["trades_off_the_best_price"] == made["book_levels_below_zero"] == 0
    sides = made["trades_at_the_best_price"] + made["trades_of_an_order_of_before_the_file"]
    assert sides + made["trades_without_aggressor"] == 2_012 // 2
    array = np.zeros(events.num_rows, dtype=EVENT_DTYPE)
    for name in EVENT_DTYPE.names:
        array[name] = events[name].to_numpy()
    assert ((array["ev"] & KIND_MASK) == TRADE).sum() == 2_012 // 2
    for symbol in ("PETR4F", "VALE5F"):
        own = events.filter(pa.compute.equal(events["symbol"], symbol))
        times = own["exch_ts"].to_numpy()
        assert (np.diff(times) >= 0).all()
        # 16:55 local, UTC-2: the closing call, in which orders wait across each other
        call = np.datetime64("2015-11-03T18:55:00", "ns").astype(np.int64)
        states = [bid >= ask for _, bid, ask in replay(own)]
        early = [at for at, crossed in enumerate(states) if crossed and times[at] < call]
        kinds = own["ev"].to_numpy() & KIND_MASK
        # only the two orders of a cross stand against each other, within one moment
        assert len({times[at] for at in early}) <= 1
        assert all(kinds[at + 1] in (TRADE, FILL, CANCEL) for at in early)
        record = read_b3_orders(path, symbol)
        trades = own.filter(pa.array(kinds == TRADE))
        np.testing.assert_array_equal(trades["px"], record.trades.price)
        np.testing.assert_array_equal(trades["qty"], record.trades.size)
