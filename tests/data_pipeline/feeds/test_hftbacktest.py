"""hftbacktest's arrays: in and out identical, version 1 refused, damage refused, and its own reader where installed."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data_pipeline.book.events import (
    ADD,
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
    TRADE,
)
from data_pipeline.book.normalise import normalise_events, shift_local_clock
from data_pipeline.errors import DataError
from data_pipeline.feeds.crypto import hftbacktest_export
from data_pipeline.feeds.crypto.hftbacktest import HFTBACKTEST, read_hftbacktest
from data_pipeline.feeds.crypto.hftbacktest_export import export_hftbacktest, with_trades
from data_pipeline.feeds.reading import Tally
from data_pipeline.ingest import ingest
from data_pipeline.raw_file import read_head
from data_pipeline.store import Store
from data_pipeline.tables import part_writer
from data_pipeline.tables.catalog import TABLES
from data_pipeline.tables.reading import event_rows
from data_pipeline.tables.validation import check_rows, check_schema

MIDNIGHT = 1_700_006_400_000_000_000  # 2023-11-15 00:00 UTC
COMPARE = Path(__file__).resolve().parents[3] / "benchmarks" / "compare_hftbacktest.py"


def events(count=200, seed=0, late_ns=0):
    """Made-up events around a midnight, clocks in disorder, in both orders."""
    rng = np.random.default_rng(seed)
    made = np.zeros(count, dtype=EVENT_DTYPE)
    made["ev"] = rng.choice([DEPTH, TRADE], count).astype(np.uint64) | rng.choice([BUY, SELL], count).astype(np.uint64)
    made["exch_ts"] = MIDNIGHT - 10**9 + np.cumsum(rng.integers(0, 2 * 10**7, count))
    made["local_ts"] = np.sort(made["exch_ts"] + rng.integers(1, 4 * 10**7, count)) - late_ns
    made["px"], made["qty"] = rng.integers(900, 1100, count) / 10, rng.integers(0, 9, count) / 1000
    return normalise_events(made)


def ingested(path, **options):
    tally = Tally()
    batches = list(HFTBACKTEST.read((path,), tally, options))
    for batch in batches:
        check_schema(TABLES[batch.table], batch.rows)
        check_rows(TABLES[batch.table], batch.rows)
    return batches, tally


def as_array(batches):
    rows = pa.concat_tables([batch.rows for batch in batches])
    array = np.zeros(rows.num_rows, dtype=EVENT_DTYPE)
    for name in EVENT_DTYPE.names:
        array[name] = rows[name].to_numpy()
    return array, rows


@pytest.mark.parametrize("ending", [".npz", ".npy"])
def test_export_and_back_is_identical(tmp_path, ending):
    array = events()
    path = tmp_path / f"abcusdt_20231115_usdm{ending}"
    assert export_hftbacktest(array, path).events == array.size
    assert read_hftbacktest(path).tobytes() == array.tobytes()
    loaded = np.load(path)["data"] if ending == ".npz" else np.load(path)  # NumPy reads it too
    assert (loaded.dtype, loaded.tobytes()) == (EVENT_DTYPE, array.tobytes())
    batches, tally = ingested(path)
    back, rows = as_array(batches)
    assert back.tobytes() == array.tobytes()
    assert (tally.rows, batches[0].venue, batches[0].table) == (array.size, "BINANCE_USDM", "book_events")
    assert set(rows["symbol"].to_pylist()) == {"ABCUSDT"}
    days = rows["session"].to_pylist()
    assert days == sorted(days)  # sessions one after the other are the array again
    assert len(set(days)) == 2
    assert rows["sequence"].to_pylist() == list(range(array.size))


def test_what_numpy_and_hftbacktest_write_is_read(tmp_path):
    array = events(50)
    plain = np.dtype([(name, EVENT_DTYPE[name]) for name in EVENT_DTYPE.names])  # without the mark of alignment
    np.savez_compressed(tmp_path / "a.npz", data=array)
    np.savez(tmp_path / "b.npz", data=array.astype(plain))
    np.save(tmp_path / "c.npy", array)
    for name in ("a.npz", "b.npz", "c.npy"):
        assert read_hftbacktest(tmp_path / name).tobytes() == array.tobytes()
        assert HFTBACKTEST.recognises(read_head(tmp_path / name))


def orders(count=500):
    """Events of single orders over five days: every field of the layout used to its ends."""
    rng = np.random.default_rng(1)
    made = np.zeros(count, dtype=EVENT_DTYPE)
    kinds = rng.choice([ADD, CANCEL, MODIFY, FILL], count).astype(np.uint64)
    made["ev"] = kinds | rng.choice([BUY, SELL], count).astype(np.uint64)
    made["exch_ts"] = MIDNIGHT + np.sort(rng.integers(0, 4 * 86_400 * 10**9, count))
    made["local_ts"] = np.sort(made["exch_ts"] + rng.integers(1, 10**12, count))
    made["px"], made["qty"], made["fval"] = rng.random(count), rng.random(count), rng.normal(size=count)
    made["order_id"] = rng.integers(2**63, 2**64 - 1, count, dtype=np.uint64)
    made["ival"] = rng.integers(-(2**63), 2**63 - 1, count)
    return normalise_events(made)


@pytest.mark.parametrize("made", [events, orders])
def test_through_the_store_and_back_is_identical(tmp_path, made, monkeypatch):
    array, raw, store = made(), tmp_path / "abcusdt_20231115_usdm.npz", tmp_path / "store"
    np.savez_compressed(raw, data=array)
    assert ingest(raw, store).complete
    days = np.unique(Store.open(store).table("book_events", columns=["session"])["session"].to_numpy())
    assert days.size == (2 if made is events else 5)
    place = {"venue": "BINANCE_USDM", "symbol": "ABCUSDT", "start": str(days[0]), "end": str(days[-1])}
    export_hftbacktest(Store.open(store), tmp_path / "out.npz", **place)
    assert np.load(tmp_path / "out.npz")["data"].tobytes() == array.tobytes()
    with pytest.raises(DataError, match="no book events of ABCUSDT at BINANCE_USDM, 2020-01-01"):
        export_hftbacktest(Store.open(store), tmp_path / "no.npz", **(place | {"start": "2020-01-01", "end": None}))


def test_a_session_is_exported_a_row_group_at_a_time(tmp_path, monkeypatch):
    monkeypatch.setattr(part_writer, "GROUP_ROWS", 64)
    array, paths = events(2000), []
    for symbol in ("aaa", "abc", "zzz"):  # neighbours in the same row groups
        paths.append(tmp_path / f"{symbol}_20231115_usdm.npz")
        export_hftbacktest(array, paths[-1])
    assert ingest(paths, tmp_path / "store").complete
    sizes = []
    monkeypatch.setattr(
        hftbacktest_export, "event_rows", lambda rows: (sizes.append(rows[0].num_rows), event_rows(rows))[1]
    )
    place = {"venue": "BINANCE_USDM", "symbol": "ABC", "start": "2023-11-14", "end": "2023-11-15"}
    export_hftbacktest(Store.open(tmp_path / "store"), tmp_path / "out.npz", **place)
    assert np.load(tmp_path / "out.npz")["data"].tobytes() == array.tobytes()
    assert max(sizes) <= 64
    assert sum(sizes) == array.size


def test_a_file_of_several_arrays_gives_the_one_called_data(tmp_path):
    array, store = events(50), tmp_path / "store"
    np.savez(tmp_path / "abcusdt_20231115_usdm.npz", data=array, other=np.arange(3), zoo=np.array([{}]))
    assert ingest(tmp_path / "abcusdt_20231115_usdm.npz", store).complete
    rows = Store.open(store).table("book_events", columns=["symbol", "venue"])
    assert set(map(tuple, (row.values() for row in rows.to_pylist()))) == {("ABCUSDT", "BINANCE_USDM")}
    for name, arrays, words in (
        ("keys", {"events": array, "trades": array}, "holds events.npy, trades.npy, not the array data"),
        ("objects", {"data": np.array([{}])}, "not the 64-byte events"),  # never unpickled
        ("big", {"data": array.astype(EVENT_DTYPE.newbyteorder(">"))}, "little endian"),
        ("none", {"data": array[:0]}, "holds no events"),
        ("one", {"data": array[0]}, "no one-dimensional array"),
    ):
        np.savez(tmp_path / f"{name}.npz", **arrays)
        [refusal] = ingest(tmp_path / f"{name}.npz", tmp_path / "refused").refused
        assert words in refusal.reason
    whole = (tmp_path / "abcusdt_20231115_usdm.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(whole[: len(whole) // 2])
    assert not ingest(tmp_path / "cut.npz", tmp_path / "refused").complete


def test_the_same_events_are_the_same_bytes_and_nothing_is_overwritten(tmp_path):
    export_hftbacktest(events(), tmp_path / "a.npz")
    export_hftbacktest([events()[:50], events()[50:]], tmp_path / "b.npz")
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    with pytest.raises(DataError, match=r"a\.npz is there already"):
        export_hftbacktest(events(), tmp_path / "a.npz")
    with pytest.raises(ValueError, match=r"must end with \.npz or \.npy"):
        export_hftbacktest(events(), tmp_path / "a.csv")
    with pytest.raises(DataError, match=r"the events to export .* is at"):
        export_hftbacktest(events()[::-1], tmp_path / "c.npz")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.npz", "b.npz"]  # no half-written file


def test_a_symbol_and_venue_can_be_named(tmp_path):
    export_hftbacktest(events(), tmp_path / "x.npz")
    batches, tally = ingested(tmp_path / "x.npz", venue="BYBIT", symbol="ABC-1")
    assert (batches[0].venue, batches[0].rows["symbol"][0].as_py(), tally.notes) == ("BYBIT", "ABC-1", [])
    guessed, tally = ingested(tmp_path / "x.npz")
    assert guessed[0].venue == "HFTBACKTEST"
    assert "x.npz was taken as X of HFTBACKTEST" in tally.notes[0]
    with pytest.raises(ValueError, match="options of hftbacktest"):
        ingested(tmp_path / "x.npz", colour="red")
    with pytest.raises(ValueError, match="venue must be"):
        ingested(tmp_path / "x.npz", venue="bybit")


def test_a_shift_on_export_moves_the_clock_as_far_as_the_worst_latency(tmp_path):
    slow = events(late_ns=10**9)
    done = export_hftbacktest(slow, tmp_path / "slow.npz", shift=True)
    moved = read_hftbacktest(tmp_path / "slow.npz")
    assert done.seen_before_they_happened == 0
    assert int((moved["local_ts"] - moved["exch_ts"]).min()) == 0
    once = slow[(slow["ev"] & np.uint64(LOCAL)) > 0]
    once["ev"] &= ~np.uint64(EXCH | LOCAL)
    expected, shift = shift_local_clock(once)
    assert (done.shift_ns, moved.tobytes()) == (shift, normalise_events(expected).tobytes())
    assert export_hftbacktest(slow, tmp_path / "kept.npz").seen_before_they_happened > 0


def test_trades_of_a_table_come_before_the_book_at_equal_times():
    book = np.zeros(2, dtype=EVENT_DTYPE)
    book["ev"], book["exch_ts"], book["local_ts"], book["px"] = DEPTH | BUY | EXCH | LOCAL, [10, 20], [15, 25], 9.0
    time = pa.array([20, 9, 30]).cast(pa.timestamp("ns", tz="UTC"))
    local = pa.array([25, 14, None]).cast(pa.timestamp("ns", tz="UTC"))
    side = pa.array([1, -1, None], pa.int8())
    table = pa.table(
        {"time": time, "local_time": local, "price": [9.1, 9.0, 9.2], "quantity": [1.0, 2.0, 3.0], "side": side}
    )
    joined, count = with_trades(book, table)
    assert count == 3
    assert joined["local_ts"].tolist() == [14, 15, 25, 25, 30]
    assert joined["ev"].tolist() == [TRADE | SELL, DEPTH | BUY, TRADE | BUY, DEPTH | BUY, TRADE]


def test_version_one_and_other_arrays_are_refused_with_words(tmp_path):
    def refused(words, **arrays):
        path = tmp_path / "a.npz"
        np.savez(path, **arrays)
        with pytest.raises(DataError, match=words):
            read_hftbacktest(path)

    np.savez(tmp_path / "v1.npz", data=np.zeros((5, 6)))
    assert HFTBACKTEST.recognises(read_head(tmp_path / "v1.npz"))  # so that it is refused with the right words
    refused("layout of hftbacktest 1 .*migration2", data=np.zeros((5, 6)))
    refused(r"a\.npz holds events\.npy, not the array data", events=events())
    refused(
        "must hold the fields ev",
        data=events().astype([(n, "<f4" if n == "fval" else EVENT_DTYPE[n]) for n in EVENT_DTYPE.names]),
    )
    refused("layout of hftbacktest 1 .*or another one", data=np.zeros(5))
    late = events()
    late["exch_ts"][-1] = 1
    refused("the exchange's clock", data=late[(late["ev"] & np.uint64(EXCH)) > 0])
    (tmp_path / "a.npy").write_bytes(b"1,2,3\n")
    with pytest.raises(DataError, match="no NumPy file"):
        read_hftbacktest(tmp_path / "a.npy")
    for column, value in (("px", np.nan), ("qty", -1.0), ("qty", np.inf), ("local_ts", 0), ("exch_ts", 2**62)):
        wrong = events()
        wrong[column][-1] = value
        np.savez(tmp_path / "abc_20231115.npz", data=wrong)
        with pytest.raises(DataError, match=f"event {wrong.size - 1}|event {wrong.size - 2}|before event"):
            ingested(tmp_path / "abc_20231115.npz")
    unflagged = events()
    unflagged["ev"] &= ~np.uint64(EXCH | LOCAL)
    np.savez(tmp_path / "abc_20231115.npz", data=unflagged)
    with pytest.raises(DataError, match="event 0 is in neither order"):
        ingested(tmp_path / "abc_20231115.npz")


def test_a_clear_of_a_whole_side_has_no_price(tmp_path):
    array = events()
    array["ev"][5] = (array["ev"][5] & ~np.uint64(KIND_MASK)) | np.uint64(DEPTH_CLEAR)
    array["px"][5] = np.nan
    export_hftbacktest(array, tmp_path / "abc_20231115.npz")
    assert as_array(ingested(tmp_path / "abc_20231115.npz")[0])[0].tobytes() == array.tobytes()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_damage_is_a_data_error_or_valid_rows(tmp_path, data):
    buffer = io.BytesIO()
    if data.draw(st.booleans()):
        np.savez_compressed(buffer, data=events(20))
    else:
        np.save(buffer, events(20))
    raw = bytearray(buffer.getvalue())
    for _ in range(data.draw(st.integers(0, 3))):
        raw[data.draw(st.integers(0, len(raw) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    cut = data.draw(st.integers(0, len(raw)))
    path = tmp_path / "abc_20231115.npz"
    path.write_bytes(raw[: cut if data.draw(st.booleans()) else len(raw)])
    try:
        batches, tally = ingested(path)
    except DataError as error:
        assert "abc_20231115.npz" in str(error)  # noqa: PT017 - both endings are right
    else:
        assert tally.rows == sum(batch.rows.num_rows for batch in batches) == 0 or tally.rows > 0


@pytest.mark.realdata
def test_the_real_array_goes_in_and_out_unchanged(tmp_path, realdata):
    path = realdata / "crypto" / "btcusdt_20240808_usdm.npz"
    array = np.load(path)["data"]
    assert array.size == 491_973
    batches, tally = ingested(path)
    assert (tally.rows, batches[0].venue, batches[0].rows["symbol"][0].as_py()) == (491_973, "BINANCE_USDM", "BTCUSDT")
    back, _ = as_array(batches)
    assert back.tobytes() == array.tobytes()
    export_hftbacktest(list(np.array_split(back, 7)), tmp_path / "out.npz")
    assert np.load(tmp_path / "out.npz")["data"].tobytes() == array.tobytes()


def test_hftbacktest_reads_what_we_write_and_sees_the_same_best_quotes():
    python = os.environ.get("FAIRFIELD_HFTBACKTEST")
    if python is None:
        pytest.skip("hftbacktest needs a Python of its own: FAIRFIELD_HFTBACKTEST names it (compare_hftbacktest.py)")
    done = subprocess.run(
        [sys.executable, str(COMPARE), "--python", python, "--seconds", "120"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_command_writes_what_the_store_holds(tmp_path):
    from typer.testing import CliRunner

    from fairfield.cli import app

    array, run = events(late_ns=10**9), CliRunner()
    raw, store, out = tmp_path / "abcusdt_20231115_usdm.npz", tmp_path / "store", tmp_path / "out.npz"
    export_hftbacktest(array, raw)
    assert run.invoke(app, ["ingest", str(raw), "--store", str(store)]).exit_code == 0
    wanted = ["--venue", "BINANCE_USDM", "--symbol", "ABCUSDT", "--start", "2023-11-14", "--store", str(store)]
    done = run.invoke(app, ["export", str(out), *wanted, "--end", "2023-11-15"])
    assert done.exit_code == 0, done.output
    assert np.load(out)["data"].tobytes() == array.tobytes()
    assert f"{array.size:,} events of ABCUSDT at BINANCE_USDM: {out}" in done.output
    early = int((array["local_ts"] < array["exch_ts"]).sum())
    assert f"{early:,} events have a receiver's time before the exchange's" in done.output
    moved = run.invoke(app, ["export", str(tmp_path / "moved.npz"), *wanted, "--end", "2023-11-15", "--shift"])
    assert "the receiver's times were moved later by 0.9" in moved.output
    assert run.invoke(app, ["export", str(out), *wanted]).exit_code == 1  # nothing is overwritten
    none = run.invoke(app, ["export", str(tmp_path / "x.npz"), *wanted[:2], "--symbol", "XYZ", *wanted[4:]])
    assert none.exit_code == 1
    assert not (tmp_path / "x.npz").exists()
