"""Files of feeds through ingest: versions, options, faults, interruptions, places, executors."""

from __future__ import annotations

import errno
import hashlib
import io
import itertools
import re
import runpy
import zipfile
from pathlib import Path

import numpy as np
import pytest

from data_pipeline.book.events import EVENT_DTYPE
from data_pipeline.errors import DataError
from data_pipeline.feeds import registry
from data_pipeline.feeds.crypto.hftbacktest import HFTBACKTEST
from data_pipeline.feeds.crypto.tardis import TARDIS
from data_pipeline.feeds.reference.facts_table import FACT_COLUMNS
from data_pipeline.ingest import ingest
from data_pipeline.ingestion import tasks as ingest_tasks
from data_pipeline.store import Store
from data_pipeline.tables.files import open_files
from data_pipeline.tasks.executor import LocalProcesses
from data_pipeline.tasks.report import RunInterruptedError

DAY_US = 1_583_020_800_000_000  # 2020-03-01 00:00 UTC
HEADER = "exchange,symbol,timestamp,local_timestamp,id,side,price,amount\n"


def tree(folder):
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != ".lock"
    }


@pytest.fixture
def tardis(tmp_path):
    """Write a Tardis file of trades: `tardis(name, [(symbol, day, price), ...])`."""

    def make(name, trades):
        lines = []
        for number, (symbol, day, price) in enumerate(trades):
            time = DAY_US + day * 86_400_000_000 + number * 1_000_000
            lines.append(f"deribit,{symbol},{time},{time + 5_000},{number},buy,{price},1\n")
        path = tmp_path / "raw" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(HEADER + "".join(lines))
        return path

    return make


def prices(store, **where):
    rows = Store.open(store).table("trades", columns=["session", "symbol", "price"], **where).to_pylist()
    return [(str(row["session"]), row["symbol"], row["price"]) for row in rows]


def test_rows_of_a_feed_are_in_the_store_and_the_report_says_where(tardis, tmp_path):
    path = tardis("a.csv", [("BTC", 0, 100), ("ETH", 0, 10), ("BTC", 1, 101)])
    report = ingest(path, tmp_path / "store")
    assert report.complete
    assert prices(tmp_path / "store") == [
        ("2020-03-01", "BTC", 100.0),
        ("2020-03-01", "ETH", 10.0),
        ("2020-03-02", "BTC", 101.0),
    ]
    [source] = report.accepted
    assert (source.kind, source.file, source.rows, dict(source.tables)) == (TARDIS.name, "a.csv", 3, {"trades": 3})
    assert next(report.lines()).startswith("accepted a.csv: 3 rows, 3 to trades")
    before = tree(tmp_path / "store")
    assert ingest(path, tmp_path / "store").unchanged == ("a.csv",)
    assert tree(tmp_path / "store") == before
    assert set(before) == {"manifest.json", *(part.path for part in Store.open(tmp_path / "store").manifest.parts())}


def test_files_in_any_order_and_grouping_give_the_same_content(tardis, tmp_path):
    files = [tardis(f"{s}{d}.csv", [(s, d, 10 + d), (s, d, 11 + d)]) for s in ("BTC", "ETH") for d in (0, 1)]
    hashes = set()
    for number, order in enumerate(itertools.permutations(files, 4)):
        if number % 8 == 0:
            store = tmp_path / f"store{number}"
            for group in (order[:1], order[1:]) if number % 2 else (order,):
                ingest(group, store)
            hashes.add(Store.open(store).content_hash)
    assert len(hashes) == 1


def test_the_later_of_two_files_holds_and_the_earlier_one_when_it_comes_again(tardis, tmp_path):
    store = tmp_path / "store"
    first = tardis("first.csv", [("BTC", 0, 100), ("ETH", 0, 10)])
    second = tardis("second.csv", [("BTC", 0, 200), ("BTC", 0, 201)])
    ingest(first, store)
    report = ingest(second, store, replace=True)
    assert prices(store) == [("2020-03-01", "BTC", 200.0), ("2020-03-01", "BTC", 201.0), ("2020-03-01", "ETH", 10.0)]
    words = "replaced trades of DERIBIT 2020-03-01 (BTC) of first.csv by second.csv: 1 rows before, 2 after"
    assert words in list(report.lines())
    assert ingest(second, store).unchanged == ("second.csv",)
    report = ingest(first, store, replace=True)
    assert prices(store) == [("2020-03-01", "BTC", 100.0), ("2020-03-01", "ETH", 10.0)]
    assert [change.offered_by for change in report.tables] == [("first.csv",)]
    ingest([first, second], tmp_path / "both", replace=True)
    assert prices(tmp_path / "both")[0] == ("2020-03-01", "BTC", 200.0)


NPZ_OPTIONS = {"hftbacktest.symbol": "ABC", "venue": "BINANCE_USDM"}


@pytest.fixture
def array(tmp_path):
    """An hftbacktest file of one trade, whose name says nothing."""
    rows = np.zeros(1, dtype=EVENT_DTYPE)
    rows["ev"], rows["px"], rows["qty"] = 2 | 1 << 29 | 1 << 30 | 1 << 31, 100.0, 1.0
    rows["exch_ts"] = rows["local_ts"] = DAY_US * 1000
    path = tmp_path / "raw" / "data.npz"
    path.parent.mkdir(exist_ok=True)
    np.savez(path, data=rows)
    return path


def test_an_option_reaches_the_feeds_that_know_it_and_no_other(tardis, array, tmp_path):
    tardis("a.csv", [("BTC", 0, 100)])
    store = tmp_path / "store"
    report = ingest(tmp_path / "raw", store, options=NPZ_OPTIONS)
    assert report.complete
    events = Store.open(store).table("book_events", columns=["symbol"], venue="BINANCE_USDM").to_pylist()
    assert events == [{"symbol": "ABC"}]
    # for the file that does not know them it is the same source without them
    assert ingest(tmp_path / "raw" / "a.csv", store).unchanged == ("a.csv",)
    assert ingest(array, store, options=NPZ_OPTIONS).unchanged == ("data.npz",)
    assert len(ingest(array, store, options={"symbol": "XYZ"}).accepted) == 1


@pytest.mark.parametrize("option", ["vanue", "lobster.venue", "symbol", "hftbacktest.symbol"])
def test_an_option_that_no_format_of_the_files_knows_is_refused_by_name(tardis, tmp_path, option):
    path = tardis("a.csv", [("BTC", 0, 100)])
    with pytest.raises(DataError, match=f"option {option} is known to no format of these files; known are none"):
        ingest(path, tmp_path / "store", options={option: "X"})
    assert not (tmp_path / "store" / "manifest.json").exists()


def test_a_misspelt_option_is_refused_with_those_that_are_known(array, tmp_path):
    with pytest.raises(DataError, match=r"option vanue is known .* known are hftbacktest: symbol, venue"):
        ingest(array, tmp_path / "store", options={"vanue": "X"})


def test_of_a_refused_file_the_reason_is_told_and_not_its_option(tmp_path):
    path = tmp_path / "data.npz"
    path.write_bytes(b"PK\x03\x04 no array")
    [refusal] = ingest(path, tmp_path / "store", options={"symbol": "X"}).refused
    assert "damaged zip file" in refusal.reason


def test_a_wrong_value_of_an_option_is_no_fault_of_the_program(tmp_path):
    for name, line in (("message", "34200.5,1,7,100,1000000,1"), ("orderbook", "1000100,5,1000000,100")):
        (tmp_path / f"ABC_2012-06-21_34200000_57600000_{name}_1.csv").write_text(line + "\n")
    report = ingest(sorted(tmp_path.glob("*.csv")), tmp_path / "store", options={"events": "some"})
    [refusal] = report.refused
    assert "option events must be one of" in refusal.reason
    assert "fault of the program" not in refusal.reason


def test_every_option_that_a_reader_asks_for_is_in_the_table():
    texts = [path.read_text() for path in Path(registry.__file__).parent.rglob("*.py")]
    asked = {name for text in texts for name in re.findall(r"options(?:\.get\(|\[)\"(\w+)\"", text)}
    table = set().union(*registry.OPTIONS.values())
    assert asked | set(FACT_COLUMNS) == table
    assert set(registry.OPTIONS) <= {feed.name for feed in registry.FEEDS}


def test_options_name_the_columns_of_a_table_of_facts(tmp_path):
    path = tmp_path / "scores.csv"
    path.write_text("ticker,day,published,score\nPETR4,2023-05-10,2023-05-10T18:30:00-03:00,0.5\n")
    named = {"entity": "ticker", "event_time": "day", "known_at": "published", "value": "score", "field": "=mood"}
    report = ingest(path, tmp_path / "store", options=named)
    assert report.complete
    [row] = Store.open(tmp_path / "store").table("facts", columns=["symbol", "field", "value"]).to_pylist()
    assert row == {"symbol": "PETR4", "field": "mood", "value": 0.5}


def test_an_option_that_nobody_needed_is_told(array, tmp_path, monkeypatch):
    read = HFTBACKTEST.read
    named = {"venue": "V", "symbol": "S"}
    monkeypatch.setattr(type(HFTBACKTEST), "read", lambda self, files, tally, options: read(files, tally, named))
    assert ingest(array, tmp_path / "store", options={"symbol": "X"}).notes == (
        "option symbol was not needed by these files",
    )


@pytest.mark.parametrize("workers", [0, 1])
def test_a_bad_file_is_refused_and_the_others_go_in(tardis, tmp_path, workers):
    good = tardis("good.csv", [("BTC", 0, 100)])
    bad = tardis("bad.csv", [("ETH", 0, "1,2,3")])
    empty = tardis("empty.csv", [])
    odd = tmp_path / "raw" / "odd.csv"
    odd.write_text("year;rain\n2020;7\n")
    report = ingest(tmp_path / "raw", tmp_path / "store", executor=LocalProcesses(workers))
    assert [source.file for source in report.accepted] == [good.name]
    assert [refusal.file for refusal in report.refused] == [bad.name, empty.name, odd.name]
    assert "odd.csv is of no known format (it starts 'year;rain')" in report.refused[2].reason
    assert not (tmp_path / "store" / ".staging").exists()


def test_a_fault_in_a_reader_refuses_its_file_only(tardis, tmp_path, monkeypatch):
    read = TARDIS.read

    def faulty(self, files, tally, options):
        yield from read(files, tally, options)
        if files[0].name == "bad.csv":
            raise ZeroDivisionError("division by zero")

    monkeypatch.setattr(type(TARDIS), "read", faulty)
    tardis("bad.csv", [("BTC", 0, 100)])
    tardis("good.csv", [("ETH", 0, 100)])
    report = ingest(tmp_path / "raw", tmp_path / "store")
    assert [refusal.file for refusal in report.refused] == ["bad.csv"]
    assert "ZeroDivisionError: division by zero (test_ingest_feeds.py:" in report.refused[0].reason
    assert "this is a fault of the program" in report.refused[0].reason
    assert prices(tmp_path / "store") == [("2020-03-01", "ETH", 100.0)]


def test_a_full_disk_in_a_reader_stops_the_ingest_and_leaves_the_store(tardis, tmp_path, monkeypatch):
    store = tmp_path / "store"
    ingest(tardis("a.csv", [("BTC", 0, 100)]), store)
    before = tree(store)

    def full(self, files, tally, options):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(type(TARDIS), "read", full)
    with pytest.raises(DataError, match=r"cannot write to .*store: no space left on the disk"):
        ingest(tardis("b.csv", [("ETH", 0, 100)]), store)
    assert tree(store) == before


def test_an_interrupted_ingest_does_not_read_finished_files_again(tardis, tmp_path, monkeypatch):
    files = [tardis(f"{name}.csv", [(name, 0, 100)]) for name in "ABCD"]
    ingest(files, tmp_path / "whole")
    read, seen = TARDIS.read, []

    def reading(self, paths, tally, options):
        seen.append(paths[0].name)
        if seen == ["A.csv", "B.csv", "C.csv"]:
            raise KeyboardInterrupt
        return read(paths, tally, options)

    monkeypatch.setattr(type(TARDIS), "read", reading)
    store = tmp_path / "store"
    with pytest.raises(RunInterruptedError, match="2 of 4 tasks are finished and kept in"):
        ingest(files, store)
    with pytest.raises(DataError, match="holds no store"):
        Store.open(store)
    told = []
    assert ingest(files, store, lambda what, rows: told.append((what, rows))).complete
    assert seen == ["A.csv", "B.csv", "C.csv", "C.csv", "D.csv"]
    assert told == [("A.csv", 1), ("B.csv", 1), ("C.csv", 1), ("D.csv", 1)]
    assert tree(store) == tree(tmp_path / "whole")


def test_what_was_staged_by_other_code_or_before_a_restart_is_not_taken_up(tardis, tmp_path, monkeypatch):
    files = [tardis(f"{name}.csv", [(name, 0, 100)]) for name in "AB"]
    read, seen = TARDIS.read, []

    def reading(self, paths, tally, options):
        seen.append(paths[0].name)
        if len(seen) in (2, 4, 6):
            raise KeyboardInterrupt
        return read(paths, tally, options)

    monkeypatch.setattr(type(TARDIS), "read", reading)
    for _ in range(2):
        with pytest.raises(RunInterruptedError):
            ingest(files, tmp_path / "store")
        monkeypatch.setattr(ingest_tasks, "code_hash", lambda: "other")
    assert seen == ["A.csv", "B.csv", "A.csv", "B.csv"]
    (tmp_path / "store" / ".staging" / "boot").write_text("before")
    with pytest.raises(RunInterruptedError):
        ingest(files, tmp_path / "store")
    assert seen[4:] == ["A.csv", "B.csv"]
    assert ingest(files, tmp_path / "store").complete
    assert seen[6:] == ["B.csv"]


@pytest.mark.parametrize("scheme", ["file", "local"])
def test_a_folder_by_url_is_that_folder_with_its_lock(tardis, tmp_path, scheme):
    store, url = tmp_path / "store", f"{scheme}://{tmp_path}/store"
    path = tardis("a.csv", [("BTC", 0, 100)])
    ingest(path, store)
    assert ingest(path, url).unchanged == ("a.csv",)
    Store.open(url).verify()
    with open_files(url).lock(), pytest.raises(DataError, match="is being written by another command"):
        ingest(path, store)
    with open_files(store).lock(), pytest.raises(DataError, match="is being written by another command"):
        ingest(path, url)


def test_a_store_at_a_url_has_the_same_files(tardis, write_quotes, tmp_path, monkeypatch):
    runpy.run_path(str(Path(__file__).with_name("shared_filesystem.py")))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    files = [tardis("a.csv", [("BTC", 0, 100)]), write_quotes("A.TXT", 20230130, 20230201)]
    more = [tardis("b.csv", [("BTC", 0, 101), ("ETH", 0, 5)]), write_quotes("B.TXT", 20230131)]
    ingest(files, tmp_path / "here")
    report = ingest(more, tmp_path / "here")
    for url in (f"shared://{tmp_path}/there", "memory://ingest-feeds"):
        ingest(files, url)
        assert list(ingest(more, url).lines()) == list(report.lines())
        assert Store.open(url).content_hash == Store.open(tmp_path / "here").content_hash
        Store.open(url).verify()
    assert tree(tmp_path / "there") == tree(tmp_path / "here")
    assert not any(path.is_file() for path in (tmp_path / "cache").rglob("*"))


@pytest.fixture
def write_quotes(raw, tmp_path):
    def make(name, *days):
        path = tmp_path / "raw" / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(
            raw.text([raw.record(DATA=day, CODNEG=code) for day in days for code in ("AAAA3", "BBBB4")], 20230228)
        )
        return path

    return make


def test_any_number_of_workers_gives_the_same_bytes(tardis, write_quotes, tmp_path):
    files = [tardis(f"{name}.csv", [(name, 0, 100), ("BTC", 1, 7)]) for name in "ABC"]
    files += [write_quotes("A.TXT", 20230130, 20230201), write_quotes("B.TXT", 20230131)]
    for workers in (0, 2):
        ingest(files, tmp_path / str(workers), executor=LocalProcesses(workers))
    assert tree(tmp_path / "0") == tree(tmp_path / "2")


@pytest.mark.realdata
def test_every_real_file_goes_in_with_its_number_of_records_but_for_two_that_cannot(realdata, tmp_path):
    # the folder holds some days twice: as a capture and as an array, with 5 and with 25 levels
    report = ingest(realdata, tmp_path / "store", replace=True)
    assert {refusal.file for refusal in report.refused} == {
        "COTAHIST_D04012016_TRUNCATED.TXT",
        "EVENT_RECORDS_2024.TXT",
    }
    rows = {source.file: source.rows for source in report.accepted}
    for start, count in {
        "NEG_OPCOES_20151126": 18_302,
        "OFER_PETR4F_VALE5F_20151103": 20_673,
        "AMZN_2012-06-21": 57_515,
        "AAPL_2012-06-21": 999,
        "binance_usdm_btcusdt_20240808.gz": 93_954,
        "btcusdt_20240808_usdm.npz": 491_973,
        "BVBG086_PriceReport_20180102": 9_261,
        "futures_settlement_weekly_2021_2022": 57_342,
        "COTAHIST_A2021_16_SESSIONS": 110_290,
    }.items():
        assert [found for name, found in rows.items() if name.startswith(start)] == [count], start
    store = Store.open(tmp_path / "store")
    store.verify()
    # one trade of the old file was cancelled
    assert store.table("trades", venue="B3", start="2015-11-26", end="2015-11-26").num_rows == 18_302 - 1
    assert store.table("orders").num_rows == 20_673


def test_a_zip_of_many_raw_files_goes_in_file_by_file(tardis, raw, tmp_path):
    """Daily quotes of two months (one of them in a zip of its own), trades, company records and a note, in one zip."""
    trades = [tardis(f"{name}.csv", [(name, 0, 100)]) for name in "AB"]
    months = [raw.text([raw.record(DATA=day, CODNEG="AAAA3")], 20230228) for day in (20230130, 20230201)]
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as packed:
        packed.writestr("COTAHIST_M022023.TXT", months[1])
    with zipfile.ZipFile(tmp_path / "year.zip", "w") as packed:
        packed.writestr("quotes/COTAHIST_M012023.TXT", months[0])
        packed.writestr("quotes/COTAHIST_M022023.ZIP", inner.getvalue())
        for path in trades:
            packed.write(path, f"trades/{path.name}")
        packed.writestr("readme.txt", "words")
    report = ingest(tmp_path / "year.zip", tmp_path / "store")
    names = ["COTAHIST_M012023.TXT", "COTAHIST_M022023.TXT", "A.csv", "B.csv"]
    assert [source.file for source in report.accepted] == names
    assert [(refusal.file, "of no known format" in refusal.reason) for refusal in report.refused] == [
        ("year.zip:readme.txt", True)
    ]
    assert report.notes[0] == "year.zip was unpacked: 5 files"
    assert not (tmp_path / "store" / ".staging").exists()
    ingest(trades, tmp_path / "plain")
    assert Store.open(tmp_path / "store").table("trades").equals(Store.open(tmp_path / "plain").table("trades"))
    assert ingest(tmp_path / "year.zip", tmp_path / "store").unchanged == tuple(names)


def test_many_files_of_a_kind_are_told_together_with_totals(tardis, tmp_path):
    for number in range(30):
        tardis(f"S{number}.csv", [(f"S{number}", 0, 100), (f"S{number}", 1, 101)])
    few = list(ingest(sorted((tmp_path / "raw").glob("S?.csv")), tmp_path / "few").lines())
    assert sum(line.startswith("accepted S") for line in few) == 10
    assert few[-1] == "accepted in all: 10 files, 20 rows"
    lines = list(ingest(tmp_path / "raw", tmp_path / "store").lines())
    assert lines[0] == "accepted 30 tardis files: 60 rows, 60 to trades"
    assert any(line.startswith("  30 files: times are in microseconds") for line in lines)
    assert lines[-1] == "accepted in all: 30 files, 60 rows"
    assert len(lines) < 6
