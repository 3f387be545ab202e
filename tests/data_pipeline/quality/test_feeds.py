"""The verdict over a store: simulated feeds are judged, broken ones are told, and nothing is green unseen."""

from __future__ import annotations

import zipfile

import pytest

from data_pipeline.ingest import ingest
from data_pipeline.quality import feeds
from data_pipeline.quality.feeds import day_verdict, day_verdicts, feeds_quality
from data_pipeline.store import Store
from data_pipeline.synthetic.b3_trade_files import make_tape, write_trades
from data_pipeline.synthetic.order_book import BookConfig, simulate_book, simulate_market
from data_pipeline.synthetic.order_book_files import write_capture, write_lobster, write_ofer

SESSION = 24_899.0
"""Seconds of the continuous trading of 15 March 2021, less the one in which the closing call begins."""


def config(**changes) -> BookConfig:
    values = {"seconds": SESSION, "ask_arrival": 0.3, "bid_arrival": 0.24, "mid_moves": 0.02, "spread_switches": 0.02}
    return BookConfig(**(values | changes))


def stored(tmp_path, *paths) -> Store:
    report = ingest(list(paths), tmp_path / "store")
    assert report.complete
    return Store.open(tmp_path / "store")


def test_market_events_alone_are_judged_by_the_book_that_they_build(tmp_path):
    store = stored(tmp_path, write_ofer(tmp_path / "OFER_SYNT3F.csv", simulate_book(config()), symbol="PETR4"))
    assert {p.table for p in store.manifest.tables} == {"book_events", "orders"}
    (verdict,) = day_verdicts(store)
    assert (verdict.symbol, verdict.light) == ("PETR4", "green"), verdict.problems
    assert verdict.trades > 1000
    assert verdict.quotes > 500
    assert feeds_quality(store)["totals"]["intraday"] == 1
    assert day_verdict(store, "B3", "PETR4", "2021-03-15") == verdict
    assert verdict.words() == "quality of the day's data: green, score 1.000."


def test_half_of_a_session_of_market_events_is_not_green(tmp_path):
    book = simulate_book(config(seconds=9_000.0))
    summary = feeds_quality(stored(tmp_path, write_ofer(tmp_path / "OFER_SYNT3F.csv", book, symbol="PETR4")))
    assert summary["light"] == "red"
    assert "cover" in summary["intraday"][0]["problems"]


def test_a_cancel_whose_trade_is_missing_is_a_break(tmp_path):
    tape = make_tape(simulate_market(config(), ("PETR4", "VALE3")))
    path = write_trades(tmp_path / "15-03-2021_NEGOCIOSAVISTA.zip", tape)
    with zipfile.ZipFile(path) as archive:
        (name,) = archive.namelist()
        lines = archive.read(name).decode().splitlines()
    cells = [line.split(";") for line in lines]
    cancelled = next((row[1], row[6]) for row in cells[1:] if row[2] == "2")
    kept = [line for line, row in zip(lines, cells, strict=True) if row[2] != "0" or (row[1], row[6]) != cancelled]
    assert len(kept) == len(lines) - 1
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(name, "\n".join(kept) + "\n")
    summary = feeds_quality(stored(tmp_path, path))
    assert summary["sources"][0]["breaks"] == 1
    assert summary["reasons"] == [f"1 file(s) have breaks in their sequence, first {path.name}"]
    assert summary["light"] == "amber"


def test_a_dropped_depth_message_is_a_break(tmp_path):
    import gzip

    path = write_capture(tmp_path / "synusdt.gz", simulate_book(config(seconds=600.0)))
    lines = gzip.decompress(path.read_bytes()).splitlines(keepends=True)
    depth = [k for k, line in enumerate(lines) if b"depthUpdate" in line]
    del lines[depth[len(depth) // 2]]
    path.write_bytes(gzip.compress(b"".join(lines), mtime=0))
    summary = feeds_quality(stored(tmp_path, path))
    assert summary["sources"][0]["breaks"] == 1
    assert any("breaks in their sequence" in reason for reason in summary["reasons"])


def test_groups_of_few_rows_give_the_same_verdicts(tmp_path, monkeypatch):
    tape = make_tape(simulate_market(config(), ("PETR4", "VALE3", "ITUB4")))
    store = stored(tmp_path, write_trades(tmp_path / "15-03-2021_NEGOCIOSAVISTA.zip", tape))
    together = list(day_verdicts(store))
    monkeypatch.setattr(feeds, "_AT_ONCE", 1)
    assert list(day_verdicts(store)) == together
    assert [(v.symbol, v.light) for v in together] == [("ITUB4", "green"), ("PETR4", "green"), ("VALE3", "green")]


def test_of_the_green_days_some_are_listed_after_the_others(tmp_path, monkeypatch):
    books = simulate_market(config(), ("ITUB4", "PETR4", "VALE3"))
    books["PETR4"] = simulate_book(config(seconds=3600.0))
    store = stored(tmp_path, write_trades(tmp_path / "15-03-2021_NEGOCIOSAVISTA.zip", make_tape(books)))
    monkeypatch.setattr(feeds, "GREEN_SHOWN", 1)
    summary = feeds_quality(store)
    assert [(record["instrument"], record["light"]) for record in summary["intraday"]] == [
        ("PETR4", "red"),
        ("ITUB4", "green"),
    ]
    assert summary["totals"]["intraday"] == 3


@pytest.mark.parametrize("clustering", [0.0, 0.5])
def test_a_lobster_day_is_green_but_for_what_it_does_not_cover(tmp_path, clustering):
    book = simulate_book(config(seconds=21_600.0, clustering=clustering))
    (verdict,) = day_verdicts(stored(tmp_path, *write_lobster(tmp_path, book, ticker="SYN", levels=5)))
    # it begins at 10:00 and New York at 09:30
    assert {problem.check for problem in verdict.problems} <= {"silence"}
    assert verdict.score == pytest.approx(21_600 / 23_400, abs=2e-3)
