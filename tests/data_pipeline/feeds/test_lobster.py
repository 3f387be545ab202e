"""LOBSTER pairs: every rule of the format on files written by hand, the simulated book, and the real days."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest

from data_pipeline.book.from_store import intraday_record
from data_pipeline.book.record import FILLED, WITHDRAWN, WORKING, within
from data_pipeline.errors import DataError
from data_pipeline.feeds.lobster.record import read_lobster
from data_pipeline.ingest import ingest
from data_pipeline.store import Store
from data_pipeline.synthetic.order_book import FILL, HIDDEN, BookConfig, simulate_book
from data_pipeline.synthetic.order_book_files import write_lobster

NAME = "ABC_2020-03-02_34200000_57600000_{}_{}.csv"
MESSAGES = """\
34200.000000001,1,11,100,1000100,-1
34200.000000002,1,12,50,999900,1
34201.123456789,4,11,40,1000100,-1
34201.123456789,4,11,60,1000100,-1
34202.5,1,13,10,1000300,-1
34203.0,5,0,7,1000000,1
34204.0,2,12,20,999900,1
34205.0,3,12,30,999900,1
"""
BOOK = """\
1000100,100,-9999999999,0
1000100,100,999900,50
1000100,60,999900,50
9999999999,0,999900,50
1000300,10,999900,50
1000300,10,999900,50
1000300,10,999900,30
1000300,10,-9999999999,0
"""


def write(
    folder: Path, messages: str | bytes = MESSAGES, book: str | bytes = BOOK, levels: int = 1
) -> tuple[Path, Path]:
    paths = folder / NAME.format("message", levels), folder / NAME.format("orderbook", levels)
    for path, content in zip(paths, (messages, book), strict=True):
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return paths


def refused(folder: Path, *words: str, **files: str | bytes) -> None:
    with pytest.raises(DataError) as error:
        read_lobster(*write(folder, **files))
    for word in words:
        assert word in str(error.value), error.value


def test_the_aggressor_is_on_the_other_side_of_the_resting_order(tmp_path):
    record = read_lobster(*write(tmp_path))
    assert record.trades.side.tolist() == [1, 1, -1]
    assert record.trades.price.tolist() == [100.01, 100.01, 100.0]
    assert record.trades.size.tolist() == [40, 60, 7]
    assert record.trades.hidden.tolist() == [False, False, True]
    assert (record.instrument, record.day, record.clock) == ("ABC", "2020-03-02", "New York")


def test_dummy_prices_are_empty_sides_and_counted(tmp_path):
    record = read_lobster(*write(tmp_path))
    np.testing.assert_array_equal(record.quotes.bid, [np.nan] + [99.99] * 6 + [np.nan])
    np.testing.assert_array_equal(record.quotes.ask, [100.01] * 3 + [np.nan] + [100.03] * 4)
    assert record.counts["dummy_prices_removed"] == 3
    # without a bid, without an ask; the last row has no length
    np.testing.assert_array_equal(record.gaps, [[34200.000000001, 34200.000000002], [34201.123456789, 34202.5]])


def test_crossed_and_locked_rows_are_in_the_table_and_no_quotes_of_a_record(tmp_path):
    lines = BOOK.splitlines()
    lines[1], lines[2] = "1000100,100,1000200,50", "1000100,60,1000100,50"
    files = write(tmp_path, MESSAGES.replace(",999900,1", ",1000200,1", 1), "\n".join(lines) + "\n")
    direct = read_lobster(*files)
    assert np.isnan(direct.quotes.bid[1:3]).all()
    assert np.isnan(direct.quotes.ask[1:3]).all()
    assert direct.counts["crossed_rows_removed"] == 2
    ingest(tmp_path, tmp_path / "store")
    store = Store.open(tmp_path / "store")
    quotes = store.table("quotes", venue="NASDAQ", symbols="ABC")
    assert (quotes["bid"].to_pylist()[1:3], quotes["ask"].to_pylist()[1:3]) == ([100.02, 100.01], [100.01, 100.01])
    for name in ("quotes", "trades"):
        assert store.table(name, venue="NASDAQ", symbols="ABC")["local_time"].null_count > 0
    kept = intraday_record(store, "NASDAQ", "ABC", "2020-03-02")
    assert kept.counts["crossed_rows_removed"] == 2
    np.testing.assert_array_equal(kept.quotes.bid[1:3], [np.nan, np.nan])
    np.testing.assert_array_equal(kept.gaps, direct.gaps[direct.gaps[:, 0] < kept.end])


def test_order_lives_end_with_their_first_fill_or_their_deletion(tmp_path):
    lives = read_lobster(*write(tmp_path)).orders
    assert lives.ending.tolist() == [FILLED, WITHDRAWN, WORKING]
    assert lives.entry.tolist() == [34200.000000001, 34200.000000002, 34202.5]
    assert lives.exit.tolist() == [34201.123456789, 34205.0, 34205.0]
    assert lives.side.tolist() == [-1, 1, -1]


def test_an_order_is_followed_only_while_its_level_is_shown(tmp_path):
    messages = (
        "34200.0,1,1,10,1000300,-1\n34200.5,1,9,10,999900,1\n34201.0,1,2,10,1000200,-1\n34203.0,1,3,10,1000000,1\n"
    )
    book = "1000300,10,-9999999999,0\n1000300,10,999900,10\n1000200,10,999900,10\n1000200,10,1000000,10\n"
    record = read_lobster(*write(tmp_path, messages, book))
    assert record.orders.exit[:1].tolist() == [34201.0]  # a better ask hides it in a file of one level
    assert record.orders.ending.tolist() == [WORKING] * 4
    assert record.counts["orders_followed_until_out_of_view"] == 2


@pytest.mark.parametrize("empty", ["9999999999,0,-9999999999,0", "0,0,0,0"])
def test_an_empty_side_hides_no_order(tmp_path, empty):
    messages = "34200.0,1,1,10,1000300,-1\n34200.5,1,9,10,999900,1\n34201.0,3,8,5,1000200,-1\n"
    book = f"1000300,10,-9999999999,0\n1000300,10,999900,10\n{empty}\n"
    record = read_lobster(*write(tmp_path, messages, book))
    assert record.orders.exit.tolist() == [34201.0, 34201.0]
    assert record.counts["orders_followed_until_out_of_view"] == 0


def test_a_halt_is_a_gap_until_trading_resumes(tmp_path):
    """Price -1 halts, 0 lets quoting resume, 1 trading; the book row is repeated and the direction is -1."""
    halt = "".join(f"3420{6 + k}.0,7,0,0,{price},-1\n" for k, price in enumerate((-1, 0, 1)))
    start = MESSAGES[: MESSAGES.index("34205.0")]
    book = BOOK[: BOOK.rindex("1000300")]
    last = book.splitlines()[-1] + "\n"
    record = read_lobster(
        *write(tmp_path, start + halt + "34210.0,1,14,5,1000200,-1\n", book + 3 * last + "1000200,5,999900,30\n")
    )
    assert record.counts["halts"] == 1
    assert [34206.0, 34208.0] in record.gaps.tolist()


def test_a_saved_again_copy_is_read_and_said(tmp_path):
    cut = "\n".join(f"{float(line.split(',')[0]):.5f},{line.split(',', 1)[1]}" for line in MESSAGES.splitlines())
    record = read_lobster(*write(tmp_path, "Time,Type,OrderId,Size,Price,Direction\n" + cut, "AskPrice,a,b,c\n" + BOOK))
    assert len(record.quotes.times) == 8
    assert any("header row, times cut to 5 decimals" in note for note in record.notes)
    assert not read_lobster(*write(tmp_path)).notes


def test_times_keep_their_nanoseconds(tmp_path):
    record = read_lobster(*write(tmp_path))
    assert np.rint(record.trades.times[0] * 1e9).astype(np.int64) == 34_201_123_456_789


def test_a_zipped_pair_reads_the_same(tmp_path):
    plain = read_lobster(*write(tmp_path))
    zipped = []
    for path in write(tmp_path):
        zipped.append(path.with_suffix(".zip"))
        with zipfile.ZipFile(zipped[-1], "w") as archive:
            archive.write(path, path.name)
    again = read_lobster(*zipped)
    np.testing.assert_array_equal(plain.quotes.bid, again.quotes.bid)
    np.testing.assert_array_equal(plain.trades.times, again.trades.times)


def test_bad_files_are_refused_with_file_line_and_remedy(tmp_path):
    lines = MESSAGES.splitlines(keepends=True)
    refused(tmp_path, "8 messages", "7 rows", "fetch both", book=BOOK[: BOOK.rindex("1000300")])
    refused(tmp_path, "message_1.csv, line 8", "6 columns", "it has 3", messages=MESSAGES[:-14])
    refused(tmp_path, "line 4", "before that of the row above", messages="".join([*lines[:3], lines[0], *lines[4:]]))
    refused(tmp_path, "line 5", "time is not a number", messages=MESSAGES.replace("34202.5", "nan"))
    refused(tmp_path, "line 5", "size must be a number", "'x'", messages=MESSAGES.replace("1,13,10", "1,13,x"))
    refused(tmp_path, "line 5", "size must be at least 1", messages=MESSAGES.replace("1,13,10", "1,13,0"))
    refused(tmp_path, "line 5", "below 2^53", messages=MESSAGES.replace("1,13,10", f"1,13,{1 << 53}"))
    refused(tmp_path, "orderbook_1.csv, line 5", "2^53", book=BOOK.replace("300,10,", f"300,{1 << 53},", 1))
    refused(tmp_path, "line 6", "type must be 1 to 7", messages=MESSAGES.replace(",5,0,7,", ",9,0,7,"))
    refused(tmp_path, "line 1", "direction must be 1 or -1", messages=MESSAGES.replace("1000100,-1", "1000100,2"))
    refused(tmp_path, "UTF-16", messages=MESSAGES.encode("utf-16"))
    refused(tmp_path, "is empty", messages="")
    refused(tmp_path, "HTML", book="<html>not found</html>")
    refused(tmp_path, "line 1", "is it a message file", book=MESSAGES)
    refused(tmp_path, "line 1", "must have 6 columns", messages=BOOK)
    refused(tmp_path, "has no rows", messages="Time,Type,OrderId,Size,Price,Direction\n", book=BOOK)
    refused(
        tmp_path,
        "line 3",
        "bid 1 must be a number",
        book=BOOK.replace("60,999900,50", "60,99\xe9900,50").encode("latin-1"),
    )


def test_files_of_two_days_are_refused(tmp_path):
    refused(tmp_path, "do not belong together", book=BOOK.replace("\n1000", "\n2000").replace(",9999", ",1999"))
    message, book = write(tmp_path)
    other = book.rename(tmp_path / book.name.replace("ABC", "XYZ"))
    with pytest.raises(DataError, match="different days or tickers"):
        read_lobster(message, other)


def test_a_file_without_a_pair_of_quotes_is_refused(tmp_path):
    messages = "34200.0,3,1,10,1000100,-1\n34201.0,3,2,10,1000100,-1\n"
    refused(tmp_path, "both a bid and an ask", messages=messages, book="1000100,100,-9999999999,0\n" * 2)


def test_a_window_carries_the_quote_that_holds_and_cuts_lives(tmp_path):
    record = within(read_lobster(*write(tmp_path)), 34202.0, 34203.5)
    assert record.quotes.times[0] == 34202.0
    assert np.isnan(record.quotes.ask[0])
    assert record.quotes.bid[0] == 99.99
    assert record.trades.times.tolist() == [34203.0]
    assert record.orders.entry.tolist() == [34202.5]
    assert record.orders.exit.tolist() == [34203.5]
    assert (record.start, record.end) == (34202.0, 34203.5)
    np.testing.assert_array_equal(record.gaps, [[34202.0, 34202.5]])
    with pytest.raises(DataError, match="lies outside"):
        within(record, 50_000.0)


@pytest.mark.parametrize("levels", [1, 3])
def test_a_simulated_day_reads_back_as_it_happened(tmp_path, levels):
    events = simulate_book(BookConfig(seed=5, seconds=300.0))
    record = read_lobster(*write_lobster(tmp_path, events, levels=levels))
    shown = (events.kind == FILL) | (events.kind == HIDDEN)
    np.testing.assert_allclose(record.trades.times, events.time_ns[shown] / 1e9, rtol=0, atol=1e-10)
    np.testing.assert_allclose(record.trades.price, events.price[shown] * 0.01, rtol=1e-12)
    np.testing.assert_array_equal(record.trades.side, -events.side[shown])
    assert record.counts["dummy_prices_removed"] == record.counts["crossed_rows_removed"] == 0


@pytest.mark.realdata
def test_the_real_day_of_amzn(realdata):
    folder = realdata / "lobster"
    record = read_lobster(*(folder / f"AMZN_2012-06-21_34200000_57600000_{k}_1.csv" for k in ("message", "orderbook")))
    counts = record.counts
    assert (counts["messages"], counts["new"], counts["delete"]) == (57_515, 27_845, 18_235)
    assert (counts["execution"], counts["hidden_execution"], counts["partial_cancel"]) == (8_974, 2_445, 16)
    assert any("header row, times cut to 5 decimals" in note for note in record.notes)
    visible, book = record.trades.take(~record.trades.hidden), record.quotes
    # on ties of time the book before a trade is not known from the time alone: compare trades alone in their instant
    _, first, many = np.unique(book.times, return_index=True, return_counts=True)
    alone = np.isin(visible.times, book.times[first[many == 1]])
    before = np.searchsorted(book.times, visible.times[alone], side="left") - 1
    touch = np.where(visible.side[alone] > 0, book.ask[before], book.bid[before])
    assert (touch == visible.price[alone]).all()
    hidden = record.trades.take(record.trades.hidden)
    assert np.abs(hidden.price * 100 - np.rint(hidden.price * 100) > 1e-6).sum() > 0
    spread_ticks = np.rint((book.ask - book.bid) * 100)
    assert np.median(spread_ticks) == 13


@pytest.mark.realdata
def test_the_real_start_of_aapl(realdata):
    folder = realdata / "lobster"
    record = read_lobster(*(folder / f"AAPL_2012-06-21_34200000_57600000_{k}_10.csv" for k in ("message", "orderbook")))
    assert record.counts["messages"] == 999
    assert not any("re-saved" in note for note in record.notes)
    assert record.counts["orders_seen_without_their_entry"] == 9
