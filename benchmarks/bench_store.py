"""Reading one symbol and day, and the whole, of a store of events, beside pandas on one file per symbol and day.

    python benchmarks/bench_store.py [--symbols N] [--days N] [--rows N] [--parts N] [--folder PATH]

Three stores: `symbols` x `days` symbol-days in day partitions as ingest makes them; the same rows as the usual way
keeps them, one Parquet file for each symbol and day in one folder per symbol; and a store of `parts` tiny parts that
nobody has compacted. Every read checks its rows. CPU and wall milliseconds, best and median of 20, files in the page
cache, imports not counted.
"""

from __future__ import annotations

import argparse
import dataclasses
import shutil
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from data_pipeline.feeds.reading import Batch
from data_pipeline.store import Store
from data_pipeline.tables import commit
from data_pipeline.tables.catalog import TABLES
from data_pipeline.tables.commit import merge_drafts
from data_pipeline.tables.files import LocalFiles
from data_pipeline.tables.maintenance import compact
from data_pipeline.tables.parts import draft_parts
from data_pipeline.tables.publish import held_manifest, publish_manifest

DAY0 = 19_000
REPEATS = 20


def main() -> None:
    options = _options()
    folder = Path(options.folder or tempfile.mkdtemp(prefix="bench-store-"))
    try:
        _symbol_days(folder, options.symbols, options.days, options.rows)
        _many_parts(folder, options.parts)
    finally:
        if options.folder is None:
            shutil.rmtree(folder)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--symbols", type=int, default=50)
    parser.add_argument("--days", type=int, default=20)
    parser.add_argument("--rows", type=int, default=20_000, help="events of one symbol and day")
    parser.add_argument("--parts", type=int, default=10_000)
    parser.add_argument("--folder", help="keep the stores there")
    return parser.parse_args()


def _symbol_days(folder: Path, symbols: int, days: int, rows: int) -> None:
    print(f"{symbols * days:,} symbol-days of {rows:,} events, {symbols * days * rows:,} rows")
    batches = [[_events(s, d, rows) for s in range(symbols)] for d in range(days)]
    made = time.process_time()
    _commit(folder / "store", [("day", day) for day in batches])
    written = time.process_time()
    _say("write the store", symbols * days * rows / (written - made), "rows a CPU second (validated, sorted, hashed)")
    for day in batches:
        for batch in day:
            place = folder / "files" / batch.rows["symbol"][0].as_py()
            place.mkdir(parents=True, exist_ok=True)
            frame = batch.rows.to_pandas()
            frame.to_parquet(place / f"{batch.rows['session'][0].as_py()}.parquet")
    (folder / "one").mkdir()
    pq.write_table(pa.concat_tables([b.rows for day in batches for b in day]), folder / "one" / "all.parquet")
    session, symbol = str(np.datetime64(DAY0 + days // 2, "D")), _name(symbols // 2)
    expected = batches[days // 2][symbols // 2].rows["px"].to_numpy().sum()

    def through_store() -> float:
        return float(Store.open(folder / "store").event_array("B3", symbol, session)["px"].sum())

    def one_column() -> float:
        table = Store.open(folder / "store").table(
            "book_events", venue="B3", symbols=symbol, start=session, end=session, columns=["px"]
        )
        return float(table["px"].to_numpy().sum())

    def through_sql() -> float:
        query = f"select px from book_events where symbol = '{symbol}' and session = '{session}' and venue = 'B3'"
        return float(Store.open(folder / "store").sql(query)["px"].to_numpy().sum())

    def pandas_one_file() -> float:
        return float(pd.read_parquet(folder / "files" / symbol / f"{session}.parquet")["px"].to_numpy().sum())

    def pandas_filter() -> float:
        day = pd.Timestamp(session).date()
        frame = pd.read_parquet(folder / "one", filters=[("symbol", "==", symbol), ("session", "==", day)])
        return float(frame["px"].to_numpy().sum())

    for name, read, times in (
        ("fairfield, Store.open and event_array", through_store, REPEATS),
        ("fairfield, Store.open and one column", one_column, REPEATS),
        ("fairfield, Store.open and SQL", through_sql, REPEATS),
        ("pandas, a file for each symbol and day", pandas_one_file, REPEATS),
        ("pandas, one file of everything, filtered", pandas_filter, 3),
    ):
        _measure(name, read, expected, times)
    total = sum(float(b.rows["px"].to_numpy().sum()) for day in batches for b in day)
    query = "select sum(px) total from book_events"
    _measure(
        "fairfield, SQL over all rows", lambda: Store.open(folder / "store").sql(query)["total"][0].as_py(), total, 3
    )
    whole = folder / "files"
    _measure(
        "pandas, all rows of all files, one column",
        lambda: float(pd.read_parquet(whole, columns=["px"])["px"].sum()),
        total,
        3,
    )


def _many_parts(folder: Path, parts: int) -> None:
    days = 20
    symbols = parts // days
    print(f"{symbols * days:,} parts of 10 events each, in {days} days")
    commit.SMALL_ROWS = 0  # as many calls of ingest would leave them
    _commit(folder / "parts", [(f"{d}-{s}", [_events(s, d, 10)]) for d in range(days) for s in range(symbols)])
    session, symbol = str(np.datetime64(DAY0 + 3, "D")), _name(symbols // 2)
    expected = _events(symbols // 2, 3, 10).rows["px"].to_numpy().sum()

    def read() -> float:
        return float(Store.open(folder / "parts").event_array("B3", symbol, session)["px"].sum())

    _measure("Store.open alone", lambda: Store.open(folder / "parts") and expected, expected, REPEATS)
    _measure("Store.open and event_array", read, expected, REPEATS)
    before, start = Store.open(folder / "parts").content_hash, time.process_time()
    done = compact(folder / "parts")
    _say("compact", time.process_time() - start, f"CPU s, {done.parts_before:,} parts to {done.parts_after:,}")
    if Store.open(folder / "parts").content_hash != before:
        raise SystemExit("compaction changed the content")
    _measure("Store.open and event_array, compacted", read, expected, REPEATS)


def _commit(place: Path, offers: list[tuple[str, list[Batch]]]) -> None:
    files, staging = LocalFiles(place), place / ".staging"
    drafts = [d for source, batches in offers for d in draft_parts(batches, staging, source)]
    with files.lock():
        base = held_manifest(files)
        tables, _ = merge_drafts(files, base, drafts, staging)
        publish_manifest(files, staging, dataclasses.replace(base, tables=tables), base)


def _name(symbol: int) -> str:
    return f"SYM{symbol:04d}"


def _events(symbol: int, day: int, count: int) -> Batch:
    random = np.random.default_rng((symbol, day))
    times = np.sort(random.integers(0, 7 * 3_600 * 10**9, count)) + (DAY0 + day) * 86_400 * 10**9
    kinds = np.array([1, 2], dtype=np.uint64)[random.integers(0, 2, count)]
    rows = pa.table(
        [
            pa.array(np.full(count, DAY0 + day, np.int32)).cast(pa.date32()),
            pa.repeat(_name(symbol), count),
            np.arange(count),
            kinds | np.uint64(3 << 30) | np.uint64(1 << 29),
            times,
            times + random.integers(10_000, 90_000, count),
            np.round(10 + np.cumsum(random.integers(-1, 2, count)) / 100, 2),
            random.integers(1, 50, count) * 100.0,
            np.zeros(count, np.uint64),
            np.zeros(count, np.int64),
            np.zeros(count),
        ],
        schema=TABLES["book_events"].schema,
    )
    return Batch("book_events", "B3", rows)


def _measure(name: str, read, expected: float, times: int) -> None:
    read()
    cpu, wall = [], []
    for _ in range(times):
        start, begun = time.process_time(), time.perf_counter()
        found = read()
        cpu.append(1e3 * (time.process_time() - start))
        wall.append(1e3 * (time.perf_counter() - begun))
        if not np.isclose(found, expected, rtol=1e-9):
            raise SystemExit(f"{name}: sum of prices {found} must be {expected}")
    figures = f"CPU ms best {min(cpu):8.2f} median {statistics.median(cpu):8.2f}"
    print(f"{name:45}  {figures}   wall ms median {statistics.median(wall):8.2f}", flush=True)


def _say(name: str, figure: float, words: str) -> None:
    print(f"{name:45}  {figure:,.2f} {words}", flush=True)


if __name__ == "__main__":
    main()
