"""Bars of a store: made once, the same from any number of workers, stale when the trades change."""

from __future__ import annotations

import datetime as dt
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from data_pipeline.book.bar_rules import bar_rule
from data_pipeline.book.bar_tasks import bars_states, compute_bars
from data_pipeline.book.bars import UNKNOWN_SIDE, Bars, Quotes, Trades, make_bars
from data_pipeline.book.events import BUY, DEPTH, EXCH, LOCAL, SELL, TRADE
from data_pipeline.errors import DataError
from data_pipeline.feeds.reading import Batch
from data_pipeline.manifest import Manifest
from data_pipeline.store import Store
from data_pipeline.tables.catalog import TABLES
from data_pipeline.tables.commit import merge_drafts
from data_pipeline.tables.files import open_files
from data_pipeline.tables.parts import draft_parts
from data_pipeline.tables.publish import held_manifest, publish_manifest
from data_pipeline.tasks.executor import LocalProcesses
from data_pipeline.tasks.report import TaskEvent

DAY = dt.date(2023, 1, 5)
NOON = 1_672_920_000 * 10**9
RULES = ("time:60s", "volume:2500", "tick:7")


def rows(table: str, symbol: str, session: dt.date, **columns) -> pa.Table:
    """Rows of a table from the columns given, the others null."""
    spec = TABLES[table]
    count = len(columns["sequence"])
    columns |= {"session": pa.repeat(pa.scalar(session), count), "symbol": pa.repeat(symbol, count)}
    arrays = [
        pa.array(columns[c.name]).cast(c.type) if c.name in columns else pa.nulls(count, c.type) for c in spec.columns
    ]
    return pa.Table.from_arrays(arrays, schema=spec.schema)


def trades_of(seed: int, symbol: str, session: dt.date = DAY, size: int = 300) -> tuple[pa.Table, Trades]:
    rng = np.random.default_rng(seed)
    times = NOON + np.cumsum(rng.integers(0, 4 * 10**9, size))
    price, quantity = np.round(20 + 0.01 * rng.integers(-50, 50, size), 2), rng.integers(1, 9, size) * 100.0
    side = rng.choice(np.array([-1, 0, 1], dtype=np.int8), size)
    condition = rng.choice(["regular", "after_market", "cross"], size, p=[0.8, 0.1, 0.1])
    table = rows(
        "trades", symbol, session, time=times, sequence=np.arange(size), price=price, quantity=quantity, side=side,
        condition=condition,
    )  # fmt: skip
    kept = condition != "after_market"
    return table, Trades(times[kept], price[kept], quantity[kept], side[kept])


def quotes_of(seed: int, symbol: str, size: int = 200) -> tuple[pa.Table, Quotes]:
    rng = np.random.default_rng(seed)
    times = NOON + np.cumsum(rng.integers(0, 6 * 10**9, size))
    bid = np.round(20 + 0.01 * rng.integers(-5, 5, size), 2)
    ask = np.round(bid + 0.01 * rng.integers(-1, 4, size), 2)
    bid_q, ask_q = rng.integers(0, 9, size) * 1.0, rng.integers(0, 9, size) * 1.0
    bid[3], bid_q[3] = np.nan, np.nan
    columns = {"bid": bid, "bid_quantity": bid_q, "ask": ask, "ask_quantity": ask_q}
    table = rows(
        "quotes", symbol, DAY, time=times, sequence=np.arange(size),
        **{name: pa.array(values, mask=np.isnan(values)) for name, values in columns.items()},
    )  # fmt: skip
    return table, Quotes(times, bid, bid_q, ask, ask_q)


def put(place: Path, source: str, *tables: tuple[str, str, pa.Table]) -> None:
    """Commit rows of (table, venue, rows) to a store."""
    files = open_files(place)
    place.mkdir(exist_ok=True)
    staging = place.parent / f"staging-{source}"
    drafts = draft_parts([Batch(*table) for table in tables], staging, source)
    base = held_manifest(files)
    held, _ = merge_drafts(files, base, drafts, staging)
    publish_manifest(files, staging, Manifest(base.sources, tables=held), base)


def contents(place: Path) -> dict[str, bytes]:
    found = {str(p.relative_to(place)): p.read_bytes() for p in sorted(place.rglob("*")) if p.is_file()}
    found.pop(".lock", None)
    return found


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Trades of three shares, quotes of two of them, a second session."""
    place = tmp_path / "store"
    tables = [("trades", "B3", trades_of(k, name)[0]) for k, name in enumerate(("ABCD3", "EFGH4", "IJKL11"))]
    tables += [("quotes", "B3", quotes_of(k, name)[0]) for k, name in enumerate(("ABCD3", "EFGH4"))]
    tables.append(("trades", "B3", trades_of(9, "ABCD3", dt.date(2023, 1, 6))[0]))
    put(place, "raw", *tables)
    return place


def assert_rows_are(found: pa.Table, wanted: Bars) -> None:
    assert found.num_rows == wanted.start.size > 0
    for name in Bars.__slots__:
        values = found[name].cast(pa.int64()) if name in ("start", "end") else found[name]
        np.testing.assert_array_equal(values.to_numpy().astype(float), getattr(wanted, name).astype(float))
        assert (values.null_count > 0) == bool(np.isnan(getattr(wanted, name).astype(float)).any())


def test_bars_of_the_store_are_those_of_its_trades_and_quotes(store: Path) -> None:
    report = compute_bars(store, RULES)
    assert report.made == (("B3", "2023-01-05"), ("B3", "2023-01-06"))
    opened = Store.open(store)
    for k, symbol in enumerate(("ABCD3", "EFGH4", "IJKL11")):
        quotes = quotes_of(k, symbol)[1] if k < 2 else None
        for text in RULES:
            found = opened.table("bars", symbols=symbol, start="2023-01-05", end="2023-01-05")
            own = found.filter(pa.compute.equal(found["rule"], text))
            rule = bar_rule(text)
            wanted = make_bars(rule, trades_of(k, symbol)[1], quotes, origin=rule.origin(DAY))
            assert_rows_are(own, wanted)
    assert report.rows == opened.table("bars").num_rows


def test_bars_made_again_change_nothing_and_more_rules_keep_the_old_ones(store: Path) -> None:
    compute_bars(store, ["time:60s"])
    before = contents(store)
    again = compute_bars(store, ["time:60s"])
    assert (again.made, again.rows, len(again.fresh)) == ((), 0, 2)
    assert compute_bars(store).made == ()
    assert contents(store) == before
    first = Store.open(store).table("bars")
    compute_bars(store, ["tick:7"])
    both = Store.open(store).table("bars")
    assert both.filter(pa.compute.equal(both["rule"], "time:60s")).equals(first)
    assert set(both["rule"].unique().to_pylist()) == {"time:60s", "tick:7"}
    assert {s.state for s in bars_states(Store.open(store))} == {"fresh"}


def test_bars_are_stale_when_their_trades_change_and_are_made_again(store: Path) -> None:
    compute_bars(store, ["tick:7"])
    put(store, "later", ("trades", "B3", trades_of(77, "ABCD3")[0]))
    states = {s.session: (s.state, s.rules) for s in bars_states(Store.open(store))}
    assert states == {"2023-01-05": ("stale", ("tick:7",)), "2023-01-06": ("fresh", ("tick:7",))}
    report = compute_bars(store)
    assert report.made == (("B3", "2023-01-05"),)
    assert {s.state for s in bars_states(Store.open(store))} == {"fresh"}
    found = Store.open(store).table("bars", symbols="ABCD3", end="2023-01-05")
    assert_rows_are(found, make_bars(bar_rule("tick:7"), trades_of(77, "ABCD3")[1], quotes_of(0, "ABCD3")[1]))
    sources = [s for s in Store.open(store).manifest.sources if s.kind == "bars"]
    assert [s.file for s in sources] == ["B3 2023-01-05", "B3 2023-01-06"]
    parts = {p.sha256 for t in Store.open(store).manifest.tables if t.table != "bars" for p in t.parts}
    assert {note.split()[1] for s in sources for note in s.notes[1:]} == parts


def test_workers_and_their_number_do_not_reach_the_bytes(store: Path, tmp_path: Path) -> None:
    put(tmp_path / "other", "raw", *[("trades", "B3", trades_of(k, name)[0]) for k, name in enumerate(("A", "B"))])
    put(tmp_path / "same", "raw", *[("trades", "B3", trades_of(k, name)[0]) for k, name in enumerate(("A", "B"))])
    compute_bars(tmp_path / "other", RULES)
    compute_bars(tmp_path / "same", RULES, executor=LocalProcesses(1))
    assert contents(tmp_path / "other") == contents(tmp_path / "same")


def levels_of(seed: int, symbol: str, *trades: tuple[int, float, float, int]) -> tuple[pa.Table, Quotes]:
    """DEPTH events of a book with TRADE events (time, price, quantity, side flag) among them, and its best quotes."""
    rng = np.random.default_rng(seed)
    times = NOON + np.cumsum(rng.integers(1, 6 * 10**9, 100))
    side = rng.choice([BUY, SELL], 100)
    price = np.round(np.where(side == BUY, 19.9, 20.1) + 0.05 * rng.integers(-1, 2, 100), 2)
    quantity = rng.integers(0, 3, 100) * 1.0
    # the second way: two dictionaries
    levels: tuple[dict, dict] = {}, {}
    best = []
    for where, px, qty in zip(side.tolist(), price.tolist(), quantity.tolist(), strict=True):
        own = levels[0 if where == BUY else 1]
        own.pop(px, None)
        if qty:
            own[px] = qty
        bid, ask = max(levels[0], default=np.nan), min(levels[1], default=np.nan)
        best.append((bid, levels[0].get(bid, np.nan), ask, levels[1].get(ask, np.nan)))
    made = [*zip(times.tolist(), price.tolist(), quantity.tolist(), (side | DEPTH).tolist(), strict=True)]
    made = sorted([*made, *((time, px, qty, TRADE | flag) for time, px, qty, flag in trades)], key=lambda row: row[0])
    when, px, qty, ev = (np.array(column) for column in zip(*made, strict=True))
    count = when.size
    table = rows(
        "book_events", symbol, DAY, sequence=np.arange(count), exch_ts=when, local_ts=when,
        ev=(ev | EXCH | LOCAL).astype(np.uint64), px=px, qty=qty,
        order_id=np.zeros(count, dtype=np.uint64), ival=np.zeros(count, dtype=np.int64), fval=np.zeros(count),
    )  # fmt: skip
    return table, Quotes(times, *np.array(best).T.copy())


def assert_bars_are(found: pa.Table, wanted: Bars) -> None:
    """The same trades; sums over quotes to rounding, since quotes that repeat are left out and cut elsewhere."""
    assert found.num_rows == wanted.start.size > 0
    for name in ("trades", "quantity", "close", "bought", "sold"):
        np.testing.assert_array_equal(found[name].to_numpy().astype(float), getattr(wanted, name))
    for name in ("spread", "imbalance", "realised_variance"):
        np.testing.assert_allclose(found[name].to_numpy(), getattr(wanted, name), rtol=1e-9, atol=1e-15)
    assert np.isfinite(wanted.spread).any()


def bars_of(place: Path, symbol: str) -> pa.Table:
    return Store.open(place).table("bars", symbols=symbol)


def test_a_symbol_without_quotes_has_those_of_its_book_events_whatever_the_others_have(tmp_path: Path) -> None:
    rule = bar_rule("time:60s")
    quoted, quotes = trades_of(0, "ABCD3")[0], quotes_of(0, "ABCD3")[0]
    table, trades = trades_of(1, "BTCUSDT")
    events, best = levels_of(2, "BTCUSDT")
    more = [("trades", "X", quoted), ("quotes", "X", quotes), ("book_events", "X", levels_of(3, "ABCD3")[0])]
    for name, rest in (("alone", []), ("mixed", more)):
        put(tmp_path / name, f"raw-{name}", ("trades", "X", table), ("book_events", "X", events), *rest)
        compute_bars(tmp_path / name, ["time:60s"])
        assert_bars_are(bars_of(tmp_path / name, "BTCUSDT"), make_bars(rule, trades, best))
    assert_rows_are(
        bars_of(tmp_path / "mixed", "ABCD3"), make_bars(rule, trades_of(0, "ABCD3")[1], quotes_of(0, "ABCD3")[1])
    )


def test_a_symbol_whose_trades_are_market_events_has_bars(tmp_path: Path) -> None:
    printed = [(NOON + 10**9, 20.0, 5.0, BUY), (NOON + 2 * 10**9, 20.1, 3.0, SELL), (NOON + 200 * 10**9, 20.2, 1.0, 0)]
    events, best = levels_of(4, "PETR4F", *printed)
    silent, _ = levels_of(5, "SILENT3F")
    put(tmp_path / "store", "raw", ("book_events", "B3", events), ("book_events", "B3", silent))
    assert [s.state for s in bars_states(Store.open(tmp_path / "store"))] == ["missing"]
    compute_bars(tmp_path / "store", ["time:60s"])
    found = bars_of(tmp_path / "store", "PETR4F")
    time, price, quantity, _ = (np.array(column) for column in zip(*printed, strict=True))
    # no flag: nobody says who the aggressor was
    trades = Trades(time, price, quantity, np.array([1, -1, UNKNOWN_SIDE], dtype=np.int8))
    assert_bars_are(found, make_bars(bar_rule("time:60s"), trades, best))
    assert found["bought"].to_pylist()[0] == 5.0
    assert found["bought"].to_pylist()[3] is None
    assert bars_of(tmp_path / "store", "SILENT3F").num_rows == 0
    assert {s.state for s in bars_states(Store.open(tmp_path / "store"))} == {"fresh"}


@pytest.mark.parametrize("odd", [1 / 3, 5e6, 1e9])
def test_prices_that_fit_no_tick_are_a_book_too(tmp_path: Path, odd: float) -> None:
    table, trades = trades_of(1, "BTCUSDT")
    events, best = levels_of(2, "BTCUSDT")
    before = rows(
        "book_events", "BTCUSDT", DAY, sequence=[100], exch_ts=[NOON - 1], local_ts=[NOON - 1], px=[odd], qty=[0.0],
        ev=np.array([SELL | DEPTH | EXCH | LOCAL], dtype=np.uint64), order_id=np.zeros(1, dtype=np.uint64),
        ival=[0], fval=[0.0],
    )  # fmt: skip
    events = pa.concat_tables([before, events])
    events = events.set_column(2, "sequence", pa.array(np.arange(events.num_rows)))
    put(tmp_path / "store", "raw", ("trades", "X", table), ("book_events", "X", events))
    compute_bars(tmp_path / "store", ["tick:10"])
    assert_bars_are(bars_of(tmp_path / "store", "BTCUSDT"), make_bars(bar_rule("tick:10"), trades, best))


def test_a_session_whose_trades_fill_no_bar_is_fresh_all_the_same(store: Path) -> None:
    report = compute_bars(store, ["volume:1000000000"])
    assert report.rows == 0
    assert {s.state for s in bars_states(Store.open(store))} == {"fresh"}
    assert compute_bars(store).made == ()


def test_what_cannot_be_done_is_said_and_changes_nothing(store: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="a bar rule must be like"):
        compute_bars(store, ["daily"])
    with pytest.raises(DataError, match="has no trades of that venue"):
        compute_bars(store, ["tick:5"], venue="NYSE")
    trades = rows(
        "trades", "ZZZZ3", dt.date(2023, 1, 6), time=np.array([0, NOON]), sequence=np.arange(2),
        price=np.ones(2), quantity=np.ones(2), side=np.zeros(2, dtype=np.int8), condition=["regular"] * 2,
    )  # fmt: skip
    put(store, "odd", ("trades", "B3", trades))
    before = contents(store)
    with pytest.raises(DataError, match=r"(?s)1 of 2 tasks failed; the first, bars B3 2023-01-06: .*2,000,000 bars"):
        compute_bars(store, ["time:100ms"])
    assert contents(store) == before
    with pytest.raises(DataError, match="holds no store"):
        compute_bars(tmp_path / "nothing", ["tick:5"])
    assert not (tmp_path / "nothing").exists()


@pytest.mark.parametrize("damage", [False, True])
def test_a_call_that_was_stopped_is_gone_on_from(store: Path, tmp_path: Path, damage: bool) -> None:
    shutil.copytree(store, tmp_path / "whole")
    compute_bars(tmp_path / "whole", RULES)

    def stop(event: TaskEvent) -> None:
        if event.kind == "finished":
            raise KeyboardInterrupt

    before = Store.open(store).content_hash
    with pytest.raises(KeyboardInterrupt):
        compute_bars(store, RULES, progress=stop)
    assert Store.open(store).content_hash == before
    kept = sorted((store / ".staging").rglob("*.parquet"))
    assert len(kept) == 1
    if damage:
        kept[0].write_bytes(kept[0].read_bytes()[:-1])
    said: list[TaskEvent] = []
    compute_bars(store, RULES, progress=said.append)
    kinds = sorted(event.kind for event in said if event.kind != "running")
    assert kinds == (["finished", "finished"] if damage else ["finished", "skipped"])
    assert contents(store) == contents(tmp_path / "whole")


KILLED = """
import os, signal, sys
from data_pipeline.book.bar_tasks import compute_bars
def die(event):
    if event.kind == "finished":
        os.kill(os.getpid(), signal.SIGKILL)
compute_bars(sys.argv[1], sys.argv[2:], progress=die)
"""


def test_a_call_that_was_killed_is_gone_on_from(store: Path, tmp_path: Path) -> None:
    shutil.copytree(store, tmp_path / "whole")
    compute_bars(tmp_path / "whole", RULES)
    killed = subprocess.run([sys.executable, "-c", KILLED, str(store), *RULES], check=False, cwd=Path.cwd())
    assert killed.returncode == -signal.SIGKILL
    said: list[TaskEvent] = []
    compute_bars(store, RULES, progress=said.append)
    assert sorted(event.kind for event in said if event.kind != "running") == ["finished", "skipped"]
    assert contents(store) == contents(tmp_path / "whole")


def test_what_was_left_is_not_taken_up_when_the_trades_changed_since(store: Path) -> None:
    def stop(event: TaskEvent) -> None:
        if event.kind == "finished":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compute_bars(store, ["tick:7"], end="2023-01-05", progress=stop)
    put(store, "later", ("trades", "B3", trades_of(77, "ABCD3")[0]))
    compute_bars(store, ["tick:7"], end="2023-01-05")
    assert_rows_are(
        bars_of(store, "ABCD3"), make_bars(bar_rule("tick:7"), trades_of(77, "ABCD3")[1], quotes_of(0, "ABCD3")[1])
    )


def test_a_store_at_a_url_gets_the_same_bars(store: Path, tmp_path: Path) -> None:
    fsspec = pytest.importorskip("fsspec")
    system = fsspec.filesystem("memory")
    for path, content in contents(store).items():
        system.pipe(f"/bars-test/{path}", content)
    compute_bars("memory://bars-test", ["tick:7"])
    compute_bars(store, ["tick:7"])
    assert Store.open("memory://bars-test").table("bars").equals(Store.open(store).table("bars"))
    assert Store.open("memory://bars-test").content_hash == Store.open(store).content_hash
    system.rm("/bars-test", recursive=True)
