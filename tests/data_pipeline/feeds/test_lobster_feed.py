"""LOBSTER pairs as table rows: the rebuilt book equals the file's at every message, times are UTC, nothing unsaid."""

from __future__ import annotations

import datetime as dt
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from data_pipeline.book.events import (
    ADD,
    BUY,
    CANCEL,
    DEPTH,
    DEPTH_CLEAR,
    EXCH,
    FILL,
    KIND_MASK,
    LOCAL,
    MODIFY,
    SELL,
    SNAPSHOT,
    TRADE,
)
from data_pipeline.errors import DataError
from data_pipeline.feeds.lobster import files as lobster_files
from data_pipeline.feeds.lobster.feed import LOBSTER
from data_pipeline.feeds.reading import Tally
from data_pipeline.raw_file import read_head
from data_pipeline.synthetic.order_book import BookConfig, simulate_book
from data_pipeline.synthetic.order_book_files import write_lobster
from data_pipeline.tables.catalog import TABLES
from data_pipeline.tables.validation import check_rows

NAME = "ABC_2020-03-02_34200000_57600000_{}_1.csv"
MESSAGES = """\
34200.000000001,1,11,100,1000100,-1
34200.000000002,1,12,50,999900,1
34201.123456789,4,11,40,1000100,-1
34201.123456789,4,11,60,1000100,-1
34202.5,1,13,10,1000300,-1
34203.0,5,0,7,1000050,1
34204.0,2,12,20,999900,1
34204.5,6,-1,500,1000000,-1
34204.6,7,0,0,-1,-1
34204.7,7,0,0,0,-1
34204.8,7,0,0,1,-1
34205.0,3,12,30,999900,1
34206.0,4,99,5,1000400,-1
"""
BOOK = """\
1000100,100,-9999999999,0
1000100,100,999900,50
1000100,60,999900,50
9999999999,0,999900,50
1000300,10,999900,50
1000300,10,999900,50
1000300,10,999900,30
1000300,10,999900,30
1000300,10,999900,30
1000300,10,999900,30
1000300,10,999900,30
1000300,10,-9999999999,0
1000300,10,-9999999999,0
"""
MONDAY_IN_WINTER = 14 * 3600 + 30 * 60
"""09:30 in New York is 14:30 UTC on 2 March 2020."""


def write(folder: Path, messages: str = MESSAGES, book: str = BOOK, name: str = NAME) -> tuple[Path, Path]:
    paths = folder / name.format("message"), folder / name.format("orderbook")
    for path, content in zip(paths, (messages, book), strict=True):
        path.write_text(content)
    return paths


def ingest(files, **options: str) -> tuple[dict[str, pa.Table], Tally]:
    """The tables, checked against their specifications, and the tally."""
    tally, batches = Tally(), {}
    for batch in LOBSTER.read(tuple(files), tally, options):
        assert batch.venue == "NASDAQ"
        check_rows(TABLES[batch.table], batch.rows)
        assert batch.rows.schema == TABLES[batch.table].schema
        batches.setdefault(batch.table, []).append(batch.rows)
    return {name: pa.concat_tables(rows) for name, rows in batches.items()}, tally


def books_of(events: pa.Table) -> list[tuple[int, dict[float, float], dict[float, float]]]:
    """The book after each exchange time, rebuilt by dictionaries: (time, bids, asks)."""
    sides: dict[int, dict[float, float]] = {BUY: {}, SELL: {}}
    after = []
    for ev, time, price, quantity in zip(
        *(events[name].to_pylist() for name in ("ev", "exch_ts", "px", "qty")), strict=True
    ):
        kind, side = ev & KIND_MASK, ev & (BUY | SELL)
        assert ev & (EXCH | LOCAL) == EXCH | LOCAL
        if kind == DEPTH_CLEAR:
            assert side == 0
            sides = {BUY: {}, SELL: {}}
        elif kind in (DEPTH, SNAPSHOT):
            if quantity:
                sides[side][price] = quantity
            else:
                del sides[side][price]  # a level that is not there is not taken away
        if after and after[-1][0] == time:
            after.pop()
        after.append((time, dict(sides[BUY]), dict(sides[SELL])))
    return after


def rows_of(orderbook: Path, message: Path) -> list[tuple[int, dict[float, float], dict[float, float]]]:
    """The same from the files, by Python's own parsing: the last row of each time."""
    found: dict[int, tuple[dict[float, float], dict[float, float]]] = {}
    lines = zip(message.read_text().split(), orderbook.read_text().split(), strict=True)
    for said, row in lines:
        if said[:1].isalpha():
            continue
        seconds, _, part = said.split(",")[0].partition(".")
        cells = [int(cell) for cell in row.split(",")]
        asks = {cells[k] / 1e4: float(cells[k + 1]) for k in range(0, len(cells), 4) if cells[k] < 9_999_999_999}
        bids = {cells[k] / 1e4: float(cells[k + 1]) for k in range(2, len(cells), 4) if cells[k] > 0}
        found[int(seconds) * 10**9 + int(f"{part:0<9}")] = (bids, asks)
    return [(time, *book) for time, book in found.items()]


def test_trades_are_signed_by_the_aggressor_and_a_cross_by_nobody(tmp_path):
    tables, _ = ingest(write(tmp_path))
    trades = tables["trades"]
    assert trades["side"].to_pylist() == [1, 1, -1, 0, 1]
    assert trades["condition"].to_pylist() == ["regular", "regular", "hidden", "cross", "regular"]
    assert trades["price"].to_pylist() == [100.01, 100.01, 100.005, 100.0, 100.04]
    assert trades["quantity"].to_pylist() == [40.0, 60.0, 7.0, 500.0, 5.0]
    assert trades["sequence"].to_pylist() == [2, 3, 5, 7, 12]
    assert set(trades["symbol"].to_pylist()) == {"ABC"}
    assert set(trades["session"].to_pylist()) == {dt.date(2020, 3, 2)}


def test_new_york_wall_clock_becomes_utc_by_the_rules_of_the_day(tmp_path):
    for day, hours in (("2020-03-02", 5), ("2020-03-09", 4), ("2012-06-21", 4), ("2020-11-02", 5)):
        files = write(tmp_path, name=NAME.replace("2020-03-02", day))
        tables, _ = ingest(files)
        midnight = int(np.datetime64(day, "ns").astype(np.int64))
        first = tables["quotes"]["time"].cast(pa.int64())[0].as_py()
        assert first == midnight + (hours * 3600 + 34_200) * 10**9 + 1
        assert tables["book_events"]["exch_ts"].equals(tables["book_events"]["local_ts"])


def test_quotes_are_the_rows_whose_best_level_is_new_and_an_empty_side_is_null(tmp_path):
    tables, tally = ingest(write(tmp_path))
    quotes = tables["quotes"]
    assert quotes["sequence"].to_pylist() == [0, 1, 2, 3, 4, 6, 11]
    assert quotes["bid"].to_pylist() == [None, 99.99, 99.99, 99.99, 99.99, 99.99, None]
    assert quotes["bid_quantity"].to_pylist() == [None, 50.0, 50.0, 50.0, 50.0, 30.0, None]
    assert quotes["ask"].to_pylist() == [100.01, 100.01, 100.01, None, 100.03, 100.03, 100.03]
    assert quotes["ask_quantity"].to_pylist() == [100.0, 100.0, 60.0, None, 10.0, 10.0, 10.0]
    assert tally.counts["book_rows_without_a_new_best_quote"] == 6
    assert tally.counts["dummy_prices_made_null"] == 4
    assert tally.rows == tally.counts["messages"] == 13


def test_halts_are_counted_and_said_with_their_times(tmp_path):
    _, tally = ingest(write(tmp_path))
    names = ("halt_message", "trading_halted", "quoting_resumed", "trading_resumed", "cross_trade")
    assert [tally.counts[name] for name in names] == [3, 1, 1, 1, 1]
    assert any("no trading from 09:30:04 to 09:30:04 New York time" in note for note in tally.notes)


def test_the_first_row_is_a_picture_and_the_rest_are_exact_differences(tmp_path):
    tables, _ = ingest(write(tmp_path))
    events = tables["book_events"]
    kinds = [ev & KIND_MASK for ev in events["ev"].to_pylist()]
    assert kinds[:2] == [DEPTH_CLEAR, SNAPSHOT]
    assert kinds[2:] == [DEPTH, TRADE, DEPTH, TRADE, DEPTH, DEPTH, TRADE, DEPTH, TRADE, DEPTH, TRADE]
    assert events["sequence"].to_pylist() == list(range(events.num_rows))


@pytest.mark.parametrize("levels", [1, 2, 10])
@pytest.mark.parametrize("rows_at_once", [7, 1 << 16])
def test_the_rebuilt_book_is_the_files_at_every_message(tmp_path, monkeypatch, levels, rows_at_once):
    """Whatever the block: queues, varied sizes, partial fills and cancels, a call and a halt."""
    monkeypatch.setattr(lobster_files, "_BLOCK_ROWS", rows_at_once)
    config = BookConfig(
        seed=levels, seconds=60.0, queue=3, largest_lots=4, queue_cancels=5.0, reductions=5.0, call_size=900,
        halts=((20.0, 30.0),),
    )  # fmt: skip
    files = write_lobster(tmp_path, simulate_book(config), levels=levels)
    tables, tally = ingest(files)
    midnight = int(np.datetime64("2021-03-15T04:00:00", "ns").astype(np.int64))  # summer time since the day before
    found = [(time - midnight, bids, asks) for time, bids, asks in books_of(tables["book_events"])]
    there = {time: book for time, *book in found}
    held = None
    for time, bids, asks in rows_of(files[1], files[0]):
        held = there.get(time, held)  # rows that change nothing have no event
        assert held == [bids, asks]
    assert tally.counts["levels_out_of_view"] > 0
    assert tally.counts["partial_cancel"] > 0
    assert tally.counts["trading_halted"] == tally.counts["trading_resumed"] == 1
    assert tables["trades"]["condition"].to_pylist().count("cross") == 2


def test_a_trade_comes_before_the_change_that_it_makes(tmp_path):
    tables, _ = ingest(write(tmp_path))
    events = tables["book_events"].select(["ev", "px", "qty"]).to_pylist()
    at = next(k for k, event in enumerate(events) if event["ev"] & KIND_MASK == TRADE)
    assert events[at] == {"ev": EXCH | LOCAL | BUY | TRADE, "px": 100.01, "qty": 40.0}
    assert events[at + 1] == {"ev": EXCH | LOCAL | SELL | DEPTH, "px": 100.01, "qty": 60.0}


def test_order_events_follow_each_order_and_count_those_without_an_entry(tmp_path):
    tables, tally = ingest(write(tmp_path), events="orders")
    told = [
        (ev & KIND_MASK, ev & (BUY | SELL), order, quantity)
        for ev, order, quantity in zip(
            *(tables["book_events"][name].to_pylist() for name in ("ev", "order_id", "qty")), strict=True
        )
    ]
    assert told == [
        (DEPTH_CLEAR, 0, 0, 0.0),
        (ADD, SELL, 11, 100.0),
        (ADD, BUY, 12, 50.0),
        (TRADE, BUY, 0, 40.0),
        (FILL, SELL, 11, 40.0),
        (MODIFY, SELL, 11, 60.0),
        (TRADE, BUY, 0, 60.0),
        (FILL, SELL, 11, 60.0),
        (CANCEL, SELL, 11, 0.0),
        (ADD, SELL, 13, 10.0),
        (TRADE, SELL, 0, 7.0),
        (MODIFY, BUY, 12, 30.0),
        (TRADE, 0, 0, 500.0),
        (CANCEL, BUY, 12, 30.0),
        (TRADE, BUY, 0, 5.0),
    ]
    assert tally.counts["messages_of_orders_without_their_entry_left_out"] == 1
    assert tally.counts["orders_never_seen_to_end"] == 1
    assert any("no whole book" in note for note in tally.notes)


def test_order_events_of_a_whole_book_rebuild_it(tmp_path, monkeypatch):
    """All 60 levels are in the file, so what is added must sum to what the book rows show; over many blocks."""
    monkeypatch.setattr(lobster_files, "_BLOCK_ROWS", 500)
    config = BookConfig(seed=8, seconds=200.0, queue=2, largest_lots=3, queue_cancels=8.0, reductions=8.0, levels=45)
    files = write_lobster(tmp_path, simulate_book(config), levels=60)
    tables, tally = ingest(files, events="orders")
    # what stood before the first message has no entry: follow what entered in the file, by dictionaries
    live: dict[int, list[float]] = {}
    for ev, order, price, quantity in zip(
        *(tables["book_events"][name].to_pylist() for name in ("ev", "order_id", "px", "qty")), strict=True
    ):
        kind = ev & KIND_MASK
        if kind == ADD:
            assert order not in live
            live[order] = [price, quantity]
        elif kind == MODIFY:
            assert quantity < live[order][1]
            live[order] = [price, quantity]
        elif kind == CANCEL:
            del live[order]
    assert len(live) == tally.counts["orders_never_seen_to_end"] > 50
    last = [int(cell) for cell in files[1].read_text().splitlines()[-1].split(",")]
    shown = {last[k] / 1e4: last[k + 1] for k in range(0, len(last), 2) if 0 < last[k] < 9_999_999_999}
    standing: dict[float, float] = {}
    for price, quantity in live.values():
        standing[price] = standing.get(price, 0.0) + quantity
    assert all(quantity <= shown[price] for price, quantity in standing.items())
    assert sum(standing.values()) > 0.5 * sum(shown.values())


def test_pairs_are_found_plain_zipped_apart_and_in_one_zip(tmp_path):
    message, book = write(tmp_path)
    plain, _ = ingest((message, book))
    apart = []
    for path in (message, book):
        apart.append(path.with_suffix(".zip"))
        with zipfile.ZipFile(apart[-1], "w") as archive:
            archive.write(path, path.name)
    together = tmp_path / "days.zip"
    with zipfile.ZipFile(together, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(message, f"inside/{message.name}")
        archive.write(book, f"inside/{book.name}")
    # one name gives the key, so plain and zipped files of one day do not mix up
    assert LOBSTER.group([book, message]) == [(message, book)]
    assert LOBSTER.group([*apart, together]) == [(apart[0], apart[1]), (together,)]
    assert LOBSTER.group([message]) == [(message,)]
    for files in (apart, [together], [book, message]):
        again, _ = ingest(files)
        assert all(again[name].equals(plain[name]) for name in plain)
    for path in (message, book, *apart, together):
        assert LOBSTER.recognises(read_head(path))


def test_two_days_in_one_zip_are_both_read_and_two_levels_of_a_day_are_refused(tmp_path):
    other = NAME.replace("2020-03-02", "2020-03-03")
    packed = tmp_path / "days.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        for name in (NAME, other):
            archive.writestr(name.format("message"), MESSAGES)
            archive.writestr(name.format("orderbook"), BOOK)
    tables, tally = ingest([packed])
    assert tally.rows == 26
    assert set(tables["trades"]["session"].to_pylist()) == {dt.date(2020, 3, 2), dt.date(2020, 3, 3)}
    with zipfile.ZipFile(packed, "a") as archive:
        for kind, text in (("message", MESSAGES), ("orderbook", BOOK)):
            archive.writestr(NAME.format(kind).replace("_1.csv", "_2.csv"), text)
    with pytest.raises(DataError, match=r"days\.zip holds ABC 2020-03-02 more than once"):
        ingest([packed])


def test_names_that_say_nothing_need_the_options(tmp_path):
    a, b = tmp_path / "a.csv", tmp_path / "b.csv"
    a.write_text(BOOK)
    b.write_text(MESSAGES)
    assert LOBSTER.recognises(read_head(b))
    assert not LOBSTER.recognises(read_head(a))
    with pytest.raises(DataError, match="give the options symbol and day"):
        ingest([a, b])
    tables, _ = ingest([a, b], symbol="xyz", day="2020-03-02")
    assert tables["trades"]["symbol"].to_pylist() == ["XYZ"] * 5
    with pytest.raises(DataError, match="the day must be YYYY-MM-DD"):
        ingest([a, b], symbol="xyz", day="02/03/2020")
    with pytest.raises(ValueError, match="must be symbol, day or events; was 'ticker'"):
        ingest([a, b], ticker="xyz")
    with pytest.raises(ValueError, match="events must be one of levels, orders, none; was 'l3'"):
        ingest([a, b], events="l3")
    b.write_text(BOOK)
    with pytest.raises(DataError, match="are no message and orderbook file"):
        ingest([a, b])


def test_a_file_without_its_partner_is_refused(tmp_path):
    message, book = write(tmp_path)
    with pytest.raises(DataError, match="has no orderbook file beside it"):
        ingest([message])
    with pytest.raises(DataError, match="has no message file beside it"):
        ingest([book])


def test_a_seventh_column_is_left_out_and_said(tmp_path):
    plain, _ = ingest(write(tmp_path))
    seven = "".join(f"{line},null\n" for line in MESSAGES.splitlines())
    again, tally = ingest(write(tmp_path, messages=seven))
    assert all(again[name].equals(plain[name]) for name in plain)
    assert any("a seventh column, left out" in note for note in tally.notes)


def test_a_saved_again_copy_is_read_and_said(tmp_path):
    odd = "Time,Type,OrderId,Size,Price,Direction\r\n" + MESSAGES.replace("\n", "\r\n").replace(
        "34202.5,", "34202.5000000004, "
    )
    tables, tally = ingest(write(tmp_path, messages=odd, book="A,b,c,dd\n\n" + BOOK + "\n"))
    plain, _ = ingest(write(tmp_path))
    assert all(tables[name].equals(plain[name]) for name in plain)
    said = " ".join(tally.notes)
    assert "header row" in said
    assert "1 times with more than nine decimals, rounded" in said
    assert "2 empty lines, left out" in said


def test_levels_out_of_order_or_without_a_size_are_refused(tmp_path):
    for wrong, words in (
        ("1000100,0,999900,50", "line 2, level 1: the sizes must be at least 1"),
        ("1000100,100,999900,50,1000100,1,999800,1", "line 1: must have 4 columns; it has 8"),
    ):
        lines = BOOK.splitlines()
        lines[1 if "size" in words else 0] = wrong
        book = "\n".join(lines)
        expected = words if "size" in words else "an order-book row|must have"
        with pytest.raises(DataError, match=expected):
            ingest(write(tmp_path, book=book))
    two = "".join(f"{line},{line}\n" for line in BOOK.splitlines())
    with pytest.raises(DataError, match="line 1, level 2: ask prices must rise"):
        ingest(write(tmp_path, book=two))


def test_memory_stays_bounded_on_a_long_day(tmp_path, monkeypatch):
    """Blocks are the only rows held: reading eight times as much allocates no more."""
    import tracemalloc

    monkeypatch.setattr(lobster_files, "_BLOCK_ROWS", 1 << 12)

    def peak(seconds: float) -> int:
        config = BookConfig(seed=1, seconds=seconds, ask_arrival=60.0, bid_arrival=60.0, mid=500.0)
        files = write_lobster(tmp_path, simulate_book(config), levels=1)
        for _ in LOBSTER.read(files, Tally(), {}):  # compiled before it is measured
            break
        tracemalloc.start()
        rows = sum(batch.rows.num_rows for batch in LOBSTER.read(files, Tally(), {}))
        size = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert rows > 100 * seconds
        return size

    assert peak(1_600.0) < 1.1 * peak(200.0)


@pytest.mark.realdata
def test_the_real_day_of_amzn_has_the_counts_of_its_own_statistics(realdata):
    """Figures counted apart from this reader, with plain tools."""
    files = LOBSTER.group(sorted((realdata / "lobster").glob("AMZN*")))
    assert len(files) == 1
    tables, tally = ingest(files[0])
    wanted = {
        "messages": 57_515, "new": 27_845, "delete": 18_235, "execution": 8_974, "hidden_execution": 2_445,
        "partial_cancel": 16, "trades_off_the_cent_grid": 63,
    }  # fmt: skip
    assert {name: tally.counts[name] for name in wanted} == wanted
    assert round(tally.counts["times_equal_to_the_row_above"] / 57_515, 3) == 0.078
    assert any("header row, times cut to 5 decimals" in note for note in tally.notes)
    trades, quotes = tables["trades"].to_pandas(), tables["quotes"].to_pandas()
    assert trades["condition"].value_counts().to_dict() == {"regular": 8_974, "hidden": 2_445}
    row = np.arange(57_515)
    held = np.searchsorted(quotes["sequence"], row, side="right") - 1
    spread = np.rint((quotes["ask"] - quotes["bid"]).to_numpy()[held] * 100)
    assert np.median(spread) == 13
    hidden = trades[trades["condition"] == "hidden"]
    before = hidden["sequence"].to_numpy() - 1  # the book that the trade met; the day's first message met none
    at, price = held[before], hidden["price"].to_numpy()
    inside = (before >= 0) & (price > quotes["bid"].to_numpy()[at]) & (price < quotes["ask"].to_numpy()[at])
    assert round(float(inside.mean()), 4) == 0.9996
    assert str(quotes["time"].iloc[0].tz_convert("America/New_York")).startswith("2012-06-21 09:30:00.01746")


@pytest.mark.realdata
@pytest.mark.parametrize("ticker", ["AAPL", "AMZN"])
def test_the_real_book_is_rebuilt_at_every_message(realdata, ticker):
    message, book = LOBSTER.group(sorted((realdata / "lobster").glob(f"{ticker}*")))[0]
    tables, tally = ingest((message, book))
    midnight = int(np.datetime64("2012-06-21T04:00:00", "ns").astype(np.int64))
    there = {time - midnight: parts for time, *parts in books_of(tables["book_events"])}
    held = None
    rows = rows_of(book, message)
    for time, bids, asks in rows:
        held = there.get(time, held)
        assert held == [bids, asks]
    assert tally.rows == {"AAPL": 999, "AMZN": 57_515}[ticker]
    assert len(rows) > 800
