"""Crypto files that give the same symbol and day under different names: none takes the place of another unasked."""

from __future__ import annotations

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from data_pipeline.book.events import BUY, EVENT_DTYPE, EXCH, LOCAL, TRADE
from data_pipeline.ingest import ingest
from data_pipeline.store import Store
from fairfield.cli import app

T0 = 1_700_000_000_000  # 2023-11-14 22:13:20 UTC


@pytest.fixture
def write(tmp_path):
    """`write(name, text)` -> the path of a raw file."""

    def make(name, text):
        path = tmp_path / "raw" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        return path

    return make


def capture(first, count, price="9.9"):
    """A capture of so many trades, a second apart, from trade `first` on."""
    lines = []
    for number in range(first, first + count):
        time = T0 + 1000 * number
        data = {"e": "trade", "E": time, "T": time, "s": "ABC", "t": number, "p": price, "q": "1", "X": "MARKET"}
        lines.append(f"{time * 10**6 + 1} {json.dumps(data | {'m': True}, separators=(',', ':'))}\n")
    return "".join(lines)


def dump(first, count, *, aggregated=False, day=0):
    """Lines of a dump of trades, or of one aggregate of them all, so many days after the first."""
    time = T0 + 86_400_000 * day
    if aggregated:
        return f"{first},9.9,{count},{first},{first + count - 1},{time},true,true\n"
    return "".join(f"{number},9.9,1,9.9,{time + number},true,true\n" for number in range(first, first + count))


def pictures(levels, count):
    """A file of Tardis of so many pictures of so many levels."""
    sides = [f"{side}[{k}].{what}" for k in range(levels) for side in ("asks", "bids") for what in ("price", "amount")]
    out = [",".join(["exchange,symbol,timestamp,local_timestamp", *sides])]
    for number in range(count):
        cells = [str(cell) for k in range(levels) for cell in (10 + k, 1, 9 - k / 100, number + 1)]
        out.append(",".join([f"deribit,ABC,{T0 * 1000 + number},{T0 * 1000 + number}", *cells]))
    return "\n".join(out) + "\n"


def rows(store, table):
    return Store.open(store).table(table)


def test_an_hour_ingested_later_does_not_take_the_place_of_the_hours_before(write, tmp_path):
    store = tmp_path / "store"
    first = write("abc_20231114_22.txt", capture(0, 5))
    second = write("abc_20231114_23.txt", capture(5, 3))
    assert ingest(first, store).complete
    before = rows(store, "trades")
    report = ingest(second, store)
    [refusal] = report.refused
    words = "would replace book_events of BINANCE_USDM 2023-11-14 (ABC) of abc_20231114_22.txt, 5 rows by 3"
    assert words in refusal.reason
    assert "parts of one day in one call" in refusal.reason
    assert rows(store, "trades").equals(before)
    assert rows(store, "book_events").num_rows == 5
    # both in one call hold what the first held: they take its place
    assert ingest([first, second], store).complete
    assert rows(store, "trades").num_rows == rows(store, "book_events").num_rows == 8
    # and the first alone would lose the second
    assert [refusal.file for refusal in ingest(first, store).refused] == ["abc_20231114_22.txt"]
    assert rows(store, "trades").num_rows == 8


def test_a_file_fetched_again_replaces_itself(write, tmp_path):
    store = tmp_path / "store"
    ingest(write("abc_20231114.txt", capture(0, 5)), store)
    report = ingest(write("abc_20231114.txt", capture(0, 5, "8.8")), store)
    assert report.complete
    assert set(rows(store, "trades")["price"].to_pylist()) == {8.8}
    # the same rows under another name are no loss
    assert ingest(write("copy_of_abc_20231114.txt", capture(0, 5, "8.8")), store).complete


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
@pytest.mark.parametrize("apart", [True, False])
def test_two_kinds_of_the_same_rows_do_not_replace_each_other(write, tmp_path, order, apart):
    kinds = {
        "trades": ("ABC-aggTrades-2023-11-14.csv", "ABC-trades-2023-11-14.csv"),
        "depth": ("deribit_book_snapshot_25.csv", "deribit_book_snapshot_5.csv"),
    }
    contents = {
        "trades": (dump(1, 4, aggregated=True), dump(1, 4)),
        "depth": (pictures(25, 3), pictures(5, 2)),
    }
    for table, names in kinds.items():
        paths = [write(names[k], contents[table][k]) for k in order]
        store = tmp_path / table
        reports = [ingest(path, store) for path in paths] if apart else [ingest(paths, store)]
        [refusal] = [refusal for report in reports for refusal in report.refused]
        assert f"{refusal.file} would replace {table} of " in refusal.reason
        held = next(path for path in paths if path.name != refusal.file)
        ingest(held, tmp_path / f"{table}_alone")
        assert rows(store, table).equals(rows(tmp_path / f"{table}_alone", table))
        assert [source.file for source in Store.open(store).manifest.sources] == [held.name]


def test_an_array_does_not_replace_the_capture_of_its_day_unless_asked(write, tmp_path):
    store = tmp_path / "store"
    ingest(write("abc_20231114_usdm.txt", capture(0, 5)), store)
    array = np.zeros(2, dtype=EVENT_DTYPE)
    array["ev"], array["px"], array["qty"] = TRADE | BUY | EXCH | LOCAL, 9.9, 1.0
    array["exch_ts"] = array["local_ts"] = T0 * 10**6 + np.arange(2)
    path = tmp_path / "raw" / "abc_20231114_usdm.npz"
    np.savez(path, data=array)
    command = ["ingest", str(path), "--store", str(store)]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 1
    assert (
        "would replace book_events of BINANCE_USDM 2023-11-14 (ABC) of abc_20231114_usdm.txt, 5 rows by 2"
        in done.output
    )
    assert rows(store, "book_events").num_rows == 5
    done = CliRunner().invoke(app, [*command, "--replace"])
    assert done.exit_code == 0, done.output
    assert "replaced book_events of BINANCE_USDM 2023-11-14 (ABC)" in done.output
    assert rows(store, "book_events").num_rows == 2
    assert rows(store, "trades").num_rows == 5


def test_other_symbols_and_days_of_a_call_are_no_loss(write, tmp_path):
    paths = [
        write(f"{symbol}-trades-2023-11-{14 + day}.csv", dump(1, 3, day=day))
        for symbol in ("ABC", "XYZ")
        for day in (0, 1)
    ]
    store = tmp_path / "store"
    assert ingest(paths, store).complete
    assert rows(store, "trades").num_rows == 12
    # the part of a day holds both symbols; one of them fetched again replaces its own rows
    again = write("ABC-trades-2023-11-14.csv", dump(1, 2))
    assert ingest(again, store).complete
    assert rows(store, "trades").num_rows == 11


def test_that_a_sequence_has_no_breaks_is_said(write, tmp_path):
    def difference(k):
        time, text = T0 + k, {"e": "depthUpdate", "s": "ABC", "U": k, "u": k, "pu": k - 1, "b": [["9", "1"]], "a": []}
        return f"{time * 10**6} {json.dumps(text | {'E': time, 'T': time}, separators=(',', ':'))}\n"

    report = ingest(write("abc_20231114.txt", difference(1) + difference(2)), tmp_path / "store")
    [line] = [line for line in report.lines() if line.startswith("accepted")]
    assert "; 0 depth_sequence_breaks" in line
    assert [words for words in line.split("; ")[1:] if words.startswith("0 ")] == ["0 depth_sequence_breaks"]
