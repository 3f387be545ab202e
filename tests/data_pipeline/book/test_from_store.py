"""What the store gives of a session is what the direct readers give of the same files."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest

from data_pipeline.book.bar_tasks import compute_bars
from data_pipeline.book.events import EVENT_DTYPE
from data_pipeline.book.from_store import intraday_record
from data_pipeline.book.record import IntradayRecord, QuotePath, within
from data_pipeline.book.replay import replay
from data_pipeline.errors import DataError
from data_pipeline.feeds.b3.orders import read_b3_orders
from data_pipeline.feeds.crypto.binance_capture import read_binance_capture
from data_pipeline.feeds.lobster.record import read_lobster
from data_pipeline.ingest import ingest
from data_pipeline.store import Store
from data_pipeline.synthetic.order_book import BookConfig, simulate_book
from data_pipeline.synthetic.order_book_files import write_capture, write_lobster, write_ofer


def quotes_at(quotes: QuotePath, times: np.ndarray) -> np.ndarray:
    """(2, n) bid and ask in force at each time; of several at one time the last."""
    place = np.searchsorted(quotes.times, times, side="right") - 1
    assert (place >= 0).all()
    return np.stack([quotes.bid[place], quotes.ask[place]])


def assert_equal_records(found: IntradayRecord, wanted: IntradayRecord) -> None:
    """The same quotes at every time at which either changes, the same trades."""
    assert found.quotes.times[0] == wanted.quotes.times[0]
    times = np.union1d(found.quotes.times, wanted.quotes.times)
    np.testing.assert_array_equal(quotes_at(found.quotes, times), quotes_at(wanted.quotes, times))
    assert found.trades.times.size == wanted.trades.times.size > 0
    for name in ("times", "price", "size", "side", "hidden"):
        np.testing.assert_array_equal(getattr(found.trades, name), getattr(wanted.trades, name), err_msg=name)
    assert (found.instrument, found.day) == (wanted.instrument, wanted.day)
    # the record of the store ends with its last quote or trade
    np.testing.assert_array_equal(np.minimum(found.gaps, found.end), np.minimum(wanted.gaps, found.end))
    if found.orders is None:
        assert any("no single orders" in note for note in found.notes)
    else:
        for name in ("entry", "exit", "price", "size", "side", "ending"):
            np.testing.assert_array_equal(getattr(found.orders, name), getattr(wanted.orders, name), err_msg=name)


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> dict[str, tuple[Path, ...]]:
    """One simulated book in three raw formats."""
    folder = tmp_path_factory.mktemp("raw")
    events = simulate_book(BookConfig(seed=3, seconds=400.0, halts=((60.0, 90.0), (250.0, 251.0))))
    return {
        "lobster": write_lobster(folder, events, ticker="SYN", levels=5),
        "capture": (write_capture(folder / "synusdt.gz", events),),
        "ofer": (write_ofer(folder / "OFER_SYNT3F.csv", events),),
    }


@pytest.fixture(scope="module")
def store(files, tmp_path_factory) -> Store:
    """The three in one store."""
    place = tmp_path_factory.mktemp("stored") / "store"
    report = ingest([path for paths in files.values() for path in paths], place)
    assert report.complete, list(report.lines())
    return Store.open(place)


def read(feed: str, files) -> tuple[IntradayRecord, tuple[str, str, str]]:
    """What the direct reader gives, and where the store has it."""
    if feed == "lobster":
        record = read_lobster(*files[feed])
        return record, ("NASDAQ", record.instrument, record.day)
    if feed == "capture":
        record = read_binance_capture(*files[feed])
        return record, ("BINANCE_USDM", record.instrument, record.day)
    record = read_b3_orders(files[feed][0], "SYNT3F")
    return record, ("B3", record.instrument, record.day)


@pytest.mark.parametrize("feed", ["lobster", "capture", "ofer"])
def test_a_session_of_the_store_is_the_record_of_its_file(feed: str, files, store: Store) -> None:
    wanted, place = read(feed, files)
    found = intraday_record(store, *place)
    assert_equal_records(found, wanted)
    assert set(found.files) >= {path.name for path in files[feed]} or len(found.files) == 1
    first, last = wanted.start + 50.0, wanted.start + 200.0
    part = intraday_record(store, *place, first, last)
    assert (part.start, part.end) == (first, last)
    assert_equal_records(part, within(wanted, first, last))


def test_levels_and_best_quotes_of_one_file_give_one_book(files, store: Store) -> None:
    record, (venue, symbol, day) = read("lobster", files)
    rows, counts = replay(store.event_array(venue, symbol, day), only_changes=True)
    midnight = int(rows.times[0]) - round((record.quotes.times[0]) * 1e9)
    quotes = QuotePath((rows.times - midnight) / 1e9, rows.bid[:, 0], rows.ask[:, 0])
    times = record.quotes.times[1:]
    np.testing.assert_array_equal(quotes_at(quotes, times + 1e-7), quotes_at(record.quotes, times + 1e-7))
    assert counts["crossed_moments"] == counts["locked_moments"] == 0


def test_halts_and_lives_of_orders_come_from_their_tables(files, store: Store) -> None:
    wanted, place = read("lobster", files)
    found = intraday_record(store, *place)
    assert found.counts["halts"] == wanted.counts["halts"] == 2
    assert [round(stop - start) for start, stop in found.gaps.tolist() if stop - start > 0.5] == [30, 1]
    assert found.orders is None
    wanted, place = read("ofer", files)
    found = intraday_record(store, *place)
    assert found.orders is not None
    assert found.orders.entry.size > 1000


def test_a_halt_that_does_not_end_lasts_to_the_end_of_the_record(files, tmp_path: Path) -> None:
    message, book = files["lobster"]
    lines, rows = (path.read_text(encoding="ascii").splitlines() for path in (message, book))
    stop = next(k for k, line in enumerate(lines) if line.split(",")[1] == "7")
    halt = lines[stop].split(",")
    late = lines[stop - 1].split(",")[0]
    for path, kept in ((message, [*lines[:stop], ",".join([late, *halt[1:]])]), (book, [*rows[:stop], rows[stop - 1]])):
        (tmp_path / path.name).write_text("\n".join(kept) + "\n", encoding="ascii")
    assert ingest([tmp_path / message.name, tmp_path / book.name], tmp_path / "store").complete
    made = Store.open(tmp_path / "store")
    assert made.table("halts")["end"].to_pylist() == [None]
    wanted = read_lobster(tmp_path / message.name, tmp_path / book.name)
    assert_equal_records(intraday_record(made, "NASDAQ", wanted.instrument, wanted.day), wanted)


class Printed:
    """A store that has six trades and nothing else, the times in seconds after midnight."""

    name = "printed"
    manifest = SimpleNamespace(tables=(), sources=())
    trades = pa.table(
        {
            "time": pa.array([36_000 + second for second in range(6)], pa.int64()),
            "price": [10.0, 10.02, 10.03, 10.01, 10.01, 10.0],
            "quantity": [100.0] * 6,
            "side": pa.array([1, 0, None, 0, None, None], pa.int8()),
            "condition": ["regular", "cross", "regular", "regular", "hidden", "regular"],
        }
    )

    def event_array(self, *place):
        return np.zeros(0, dtype=EVENT_DTYPE)

    def table(self, name, *, columns, **place):
        if name != "trades":
            return pa.table({column: pa.array([], pa.float64()) for column in columns})
        day = int(np.datetime64("2021-03-15", "ns").astype(np.int64))
        nanoseconds = [day + second * 10**9 for second in self.trades["time"].to_pylist()]
        times = pa.array(nanoseconds, pa.int64()).cast(pa.timestamp("ns", "UTC"))
        return self.trades.set_column(0, "time", times).select(list(columns))


def test_the_tick_rule_signs_trades_of_unknown_side_and_none_that_had_no_aggressor():
    record = intraday_record(Printed(), "X", "Y", "2021-03-15", infer=True)  # type: ignore[arg-type]
    assert record.trades.side.tolist() == [1, 0, 1, 0, 0, -1]
    assert (record.counts["trades_of_unknown_side"], record.counts["trades_signed_by_the_tick_rule"]) == (3, 2)


def test_what_the_store_does_not_have_is_named(store: Store) -> None:
    with pytest.raises(DataError, match="NASDAQ OTHER 2012-06-21 has no quotes or book events"):
        intraday_record(store, "NASDAQ", "OTHER", "2012-06-21")
    session = store.table("trades", venue="NASDAQ")["session"][0].as_py().isoformat()
    with pytest.raises(DataError, match="lies outside"):
        intraday_record(store, "NASDAQ", "SYN", session, 0.0, 1.0)


@pytest.mark.realdata
def test_real_sessions_of_the_store_are_the_records_of_their_files(realdata: Path, tmp_path: Path) -> None:
    lobster, order_file = realdata / "lobster", realdata / "b3_trades" / "OFER_PETR4F_VALE5F_20151103.csv"
    capture = realdata / "crypto" / "binance_usdm_btcusdt_20240808.gz"
    report = ingest([lobster, order_file, capture], tmp_path / "store")
    assert report.complete, list(report.lines())
    found = Store.open(tmp_path / "store")
    amazon = [lobster / f"AMZN_2012-06-21_34200000_57600000_{kind}_1.csv" for kind in ("message", "orderbook")]
    assert_equal_records(intraday_record(found, "NASDAQ", "AMZN", "2012-06-21"), read_lobster(*amazon))
    for symbol in ("PETR4F", "VALE5F"):
        record = intraday_record(found, "B3", symbol, "2015-11-03")
        assert_equal_records(record, read_b3_orders(order_file, symbol))
    record = intraday_record(found, "BINANCE_USDM", "BTCUSDT", "2024-08-08")
    assert_equal_records(record, read_binance_capture(capture))
    report = compute_bars(tmp_path / "store", ["tick:1"], venue="NASDAQ")
    assert report.rows == 11_419 + 159
