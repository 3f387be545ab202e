"""B3's order events: clocks, book, trades with aggressor, order lifetimes, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from data_pipeline.book.record import FILLED, WITHDRAWN, WORKING
from data_pipeline.errors import DataError
from data_pipeline.feeds.b3.orders import read_b3_orders
from data_pipeline.synthetic.order_book import FILL, BookConfig, simulate_book
from data_pipeline.synthetic.order_book_files import write_ofer

HEADER = (
    "SessionDate,InstrumentSymbol,OrderSide,SequentialOrderNumber,SecondaryOrderID,ExecutionType,PriorityTime,"
    "PriorityIndicator,OrderPrice,TotalQuantity,TradedQuantity,OrderDatetime,OrderStatus,AgressorIndicator,Member\n"
)


def row(
    sequence: int, order: int, side: str, what: str, second: float, price: float, total=100, traded=0, flag=0
) -> str:
    clock = f"10:00:{second:09.6f}"
    utc = f"2016-07-05 13:00:{int(second):02d}"  # no summer time: UTC-3
    return (
        f"2016-07-05,ABCD3F,{side},{order}.0,{sequence},{what},{clock},0,{price},{float(total)},{float(traded)},{utc},x,"
        f"{flag},3\n"
    )


ROWS = [
    row(1, 51, "Buy", "New", 1.0, 9.99),
    row(2, 52, "Sell", "New", 2.0, 10.01, 50),
    row(3, 53, "Sell", "New", 3.0, 10.03),
    row(4, 54, "Buy", "New", 4.0, 10.05, 60),  # takes all of 52 and rests with what is left
    row(5, 54, "Buy", "Trade", 4.0, 10.05, 60, 50, 1),
    row(6, 52, "Sell", "Trade", 4.0, 10.01, 50, 50, 2),
    row(8, 54, "Buy", "Trade", 4.0, 10.05, 60, 60, 1),
    row(9, 53, "Sell", "Trade", 4.0, 10.03, 100, 10, 2),
    row(10, 51, "Buy", "Update", 5.0, 10.0),
    row(11, 55, "Sell", "New", 6.0, 0.0, 30),  # a market order
    row(12, 55, "Sell", "Trade", 6.0, 0.0, 30, 30, 1),
    row(13, 51, "Buy", "Trade", 6.0, 10.0, 100, 30, 2),
    row(14, 51, "Buy", "Cancel", 7.0, 10.0, 100, 30),
    row(15, 56, "Buy", "New", 7.5, 9.98),
    row(16, 57, "Buy", "New", 8.0, 9.97),
]


def write(folder: Path, rows: list[str] | None = None, header: str = HEADER) -> Path:
    path = folder / "ofer.csv"
    path.write_text(header + "".join(ROWS if rows is None else rows))
    return path


def refused(path: Path, *words: str, instrument: str = "ABCD3F") -> None:
    with pytest.raises(DataError) as error:
        read_b3_orders(path, instrument)
    for word in ("ofer.csv", *words):
        assert word in str(error.value), error.value


def test_trades_have_the_resting_orders_price_and_the_aggressors_side(tmp_path):
    record = read_b3_orders(write(tmp_path), "ABCD3F")
    assert record.trades.times.tolist() == [36004.0, 36004.0, 36006.0]
    assert record.trades.price.tolist() == [10.01, 10.03, 10.0]
    assert record.trades.size.tolist() == [50, 10, 30]
    assert record.trades.side.tolist() == [1, 1, -1]
    assert record.counts["market_orders"] == 1


def test_the_book_follows_new_moved_traded_and_cancelled_orders(tmp_path):
    quotes = read_b3_orders(write(tmp_path), "ABCD3F").quotes
    at = [np.searchsorted(quotes.times, 36000 + s, side="right") - 1 for s in (1.5, 2.5, 3.5, 4.5, 5.5, 6.5, 7.2, 7.6)]
    np.testing.assert_array_equal(quotes.bid[at], [9.99, 9.99, 9.99, 9.99, 10.0, 10.0, np.nan, 9.98])
    np.testing.assert_array_equal(quotes.ask[at], [np.nan, 10.01, 10.01, 10.03, 10.03, 10.03, 10.03, 10.03])


def test_lives_are_of_orders_that_rested(tmp_path):
    record = read_b3_orders(write(tmp_path), "ABCD3F")
    lives = record.orders
    # 51 at 9.99 is moved away, 52 and 53 are filled, 51 at 10.00 is filled, 56 and 57 still stand
    assert lives.price.tolist() == [9.99, 10.0, 10.01, 10.03, 9.98, 9.97]
    assert lives.ending.tolist() == [WITHDRAWN, FILLED, FILLED, FILLED, WORKING, WORKING]
    assert lives.exit.tolist() == [36005.0, 36006.0, 36004.0, 36004.0, 36008.0, 36008.0]
    assert record.counts["orders_that_traded_on_arrival"] == 1


def test_the_files_order_does_not_matter(tmp_path):
    straight = read_b3_orders(write(tmp_path), "ABCD3F")
    mixed = read_b3_orders(
        write(tmp_path, [ROWS[i] for i in np.random.default_rng(1).permutation(len(ROWS))]), "ABCD3F"
    )
    np.testing.assert_array_equal(straight.quotes.bid, mixed.quotes.bid)
    np.testing.assert_array_equal(straight.trades.price, mixed.trades.price)
    assert straight.counts["rows_put_in_sequence"] == 0 < mixed.counts["rows_put_in_sequence"]


def test_summer_time_is_that_of_the_day(tmp_path):
    """UTC-2 in the summers until 2019: the same clock times are right in November 2015 and wrong in July 2016."""
    summer = [line.replace("2016-07-05,", "2015-11-03,").replace("2016-07-05 13", "2015-11-03 12") for line in ROWS]
    record = read_b3_orders(write(tmp_path, summer), "ABCD3F")
    assert record.counts["order_times_that_disagree"] == 0
    assert record.trades.times[0] == 36004.0
    refused(write(tmp_path, [line.replace("13:00", "12:00") for line in ROWS]), "+1.0 h", "decode the file again")


def test_trades_without_aggressor_keep_no_side(tmp_path):
    neutral = [line[: line.rindex(",1,3")] + ",0,3\n" if ",1,3" in line else line for line in ROWS]
    record = read_b3_orders(write(tmp_path, neutral), "ABCD3F")
    assert record.trades.side.tolist() == [0, 0, 0]
    assert record.counts["trades_without_aggressor"] == 3


def test_rows_without_their_other_side_are_dropped_and_counted(tmp_path):
    record = read_b3_orders(write(tmp_path, [*ROWS[:5], *ROWS[6:]]), "ABCD3F")
    assert record.counts["trade_rows_without_their_other_side_dropped"] == 1
    assert record.trades.price.tolist() == [10.03, 10.0]


def test_the_traded_quantity_of_an_order_seen_late_is_its_partners(tmp_path):
    """An order of before the file shows what it traded in all, not in this trade."""
    late = [row(3, 40, "Sell", "New", 2.0, 10.01), row(4, 40, "Sell", "Trade", 3.0, 10.01, 100, 20, 2)]
    late.append(row(5, 33, "Buy", "Trade", 3.0, 10.01, 90, 75, 1))
    record = read_b3_orders(write(tmp_path, [ROWS[0], *late]), "ABCD3F")
    assert record.trades.size.tolist() == [20]
    assert record.counts["orders_seen_without_their_entry"] == 1


def test_bad_files_are_refused_with_file_line_and_remedy(tmp_path):
    refused(write(tmp_path), "has no events of XYZ", "ABCD3F", instrument="XYZ")
    refused(write(tmp_path, header=HEADER.replace("OrderPrice", "Price")), "lacks the column(s) OrderPrice")
    refused(write(tmp_path, [*ROWS[:3], ROWS[3][:40] + "\n"]), "line 5", "columns", "cut or damaged")
    refused(
        write(tmp_path, [ROWS[0].replace("9.99", "nan"), *ROWS[1:]]), "line 2", "OrderPrice must be a number", "nan"
    )
    refused(write(tmp_path, [ROWS[0].replace("9.99", "9,99"), *ROWS[1:]]), "columns")
    refused(write(tmp_path, [ROWS[0], ROWS[1].replace("New", "Nova")]), "line 3", "ExecutionType", "'Nova'")
    refused(
        write(tmp_path, [ROWS[0], ROWS[1].replace("10:00:02", "10h00m02")]), "line 3", "PriorityTime must be a time"
    )
    refused(write(tmp_path, [ROWS[0], ROWS[1].replace(",2,New", ",2.5,New")]), "line 3", "must be a whole number")
    refused(write(tmp_path, [ROWS[0], ROWS[1].replace("2016-07-05", "2916-07-05")]), "line 3", "1970 to 2261")
    refused(write(tmp_path, [ROWS[1], ROWS[0].replace(",1,New", ",9,New")]), "run backwards")
    refused(write(tmp_path, [ROWS[0], ROWS[1].replace("2016-07-05,A", "2016-07-06,A")]), "2 sessions")
    refused(write(tmp_path, ROWS[:1]), "both a bid and an ask")
    refused(write(tmp_path, []), "no events")
    refused(write(tmp_path, ["9" * (40 << 20)]), "a line is longer than 16 MiB")
    (tmp_path / "ofer.csv").write_bytes((HEADER + "".join(ROWS)).encode("utf-16"))
    refused(tmp_path / "ofer.csv", "UTF-16")


def test_a_simulated_file_reads_back_as_it_happened(tmp_path):
    events = simulate_book(BookConfig(seed=8, seconds=200.0))
    record = read_b3_orders(write_ofer(tmp_path / "ofer.csv", events), "SYNT3F")
    filled = events.kind == FILL
    np.testing.assert_allclose(record.trades.times, events.time_ns[filled] // 10**6 / 1e3, rtol=0, atol=1e-9)
    np.testing.assert_allclose(record.trades.price, events.price[filled] * 0.01, rtol=1e-12)
    np.testing.assert_array_equal(record.trades.side, -events.side[filled])
    assert record.counts["order_times_that_disagree"] == record.counts["trade_sizes_that_disagree"] == 0
    last = np.r_[record.quotes.times[1:] > record.quotes.times[:-1], True]
    spread = np.unique(np.rint((record.quotes.ask - record.quotes.bid)[last] / 0.01))
    assert spread.tolist() == [2.0, 6.0]


@pytest.mark.realdata
def test_the_real_day_of_two_shares(realdata):
    path = realdata / "b3_trades" / "OFER_PETR4F_VALE5F_20151103.csv"
    both = [read_b3_orders(path, name) for name in ("PETR4F", "VALE5F")]
    assert sum(r.counts["rows_of_the_instrument"] for r in both) == both[0].counts["rows"] == 20_673
    assert [sum(r.counts[f"{kind}_events"] for r in both) for kind in ("update", "new", "trade", "cancel")] == [
        15_818,
        2_044,
        2_012,
        799,
    ]
    for record in both:
        assert record.counts["order_times_that_disagree"] == 0  # UTC-2: summer time of 2015
        assert record.counts["trade_rows_without_their_other_side_dropped"] == 0
        before = np.searchsorted(record.quotes.times, record.trades.times, side="left") - 1
        touch = np.where(record.trades.side > 0, record.quotes.ask[before], record.quotes.bid[before])
        assert (np.abs(touch - record.trades.price) < 1e-9).mean() > 0.9
