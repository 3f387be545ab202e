"""LOBSTER messages per CPU second: the message file alone and whole pairs of one and ten levels, beside the usual ways.

    python benchmarks/bench_lobster.py [--messages N] [--repeat K]

The files are written by the simulated book. Every method runs in a fresh process on the same files (page cache warm),
one thread, without imports and compilation; CPU seconds count all threads of the process. All must give the same sum
of every number of what they read. polars is no dependency of the project: without it its row is left out.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

LEVELS = (1, 10)


def generate(folder: Path, messages: int) -> None:
    """Pairs of one busy day; about 200 messages a second at one level."""
    from data_pipeline.synthetic.order_book import BookConfig, simulate_book
    from data_pipeline.synthetic.order_book_files import write_lobster

    started = time.process_time()
    config = BookConfig(
        seed=1, start=34_200.0, seconds=messages / 200.0, mid=500.0, ask_arrival=60.0, bid_arrival=60.0, mid_moves=4.0,
        cancels=5.0, hidden_trades=1.0,
    )  # fmt: skip
    events = simulate_book(config)
    print(f"simulated {len(events):,} events in {time.process_time() - started:.2f} CPU s")
    for levels in LEVELS:
        started = time.process_time()
        written = write_lobster(folder, events, levels=levels)
        size = sum(path.stat().st_size for path in written) / 1e6
        print(f"wrote {levels} level(s), {size:,.0f} MB, in {time.process_time() - started:.2f} CPU s")


def files_of(folder: Path, levels: int) -> tuple[Path, Path]:
    """The message and the order-book file."""
    return tuple(next(folder.glob(f"*_{kind}_{levels}.csv")) for kind in ("message", "orderbook"))  # type: ignore[return-value]


def fairfield_message(folder: Path, levels: int) -> tuple[float, int, int]:
    """The message file alone, to whole numbers in blocks."""
    from data_pipeline.feeds.lobster.lines import Rows
    from data_pipeline.raw_file import open_raw

    out, total, rows = np.empty((1 << 16, 6), dtype=np.int64), 0, 0
    started = time.process_time()
    with open_raw(files_of(folder, levels)[0]) as raw:
        lines = Rows(raw, timed=True, most_bytes=None, hashed=False)
        while count := lines.read(out):
            rows += count
            total += int(out[:count, 1:].sum())
    return time.process_time() - started, rows, total


def fairfield_pair(folder: Path, levels: int) -> tuple[float, int, int]:
    """Both files in blocks, every row checked."""
    from data_pipeline.feeds.lobster.files import open_pair
    from data_pipeline.feeds.lobster.pairs import find_pairs

    total = 0
    started = time.process_time()
    with open_pair(find_pairs(files_of(folder, levels))[0]) as blocks:
        for block in blocks:
            total += int(block.fields.sum()) + int(block.levels.sum())
    return time.process_time() - started, blocks.rows, total


def fairfield_tables(folder: Path, levels: int) -> tuple[float, int, int]:
    """Trades, quotes and book events as Arrow tables, in batches that are thrown away."""
    from data_pipeline.feeds.lobster.feed import LOBSTER
    from data_pipeline.feeds.reading import Tally

    tally = Tally()
    started = time.process_time()
    for _ in LOBSTER.read(files_of(folder, levels), tally, {}):
        pass
    return time.process_time() - started, tally.rows, 0


def pandas_pair(folder: Path, levels: int) -> tuple[float, int, int]:
    import pandas as pd

    started = time.process_time()
    message, book = (pd.read_csv(path, header=None) for path in files_of(folder, levels))
    spent = time.process_time() - started
    return spent, len(message), int(message.iloc[:, 1:].to_numpy().sum()) + int(book.to_numpy().sum())


def pandas_message(folder: Path, levels: int) -> tuple[float, int, int]:
    import pandas as pd

    started = time.process_time()
    message = pd.read_csv(files_of(folder, levels)[0], header=None)
    spent = time.process_time() - started
    return spent, len(message), int(message.iloc[:, 1:].to_numpy().sum())


def _arrow(path: Path) -> object:
    import pyarrow.csv as pc

    return pc.read_csv(path, read_options=pc.ReadOptions(autogenerate_column_names=True, use_threads=False))


def _arrow_sum(table: object, first: int) -> int:
    return sum(int(column.to_numpy().sum()) for column in table.columns[first:])  # type: ignore[attr-defined]


def pyarrow_message(folder: Path, levels: int) -> tuple[float, int, int]:
    started = time.process_time()
    message = _arrow(files_of(folder, levels)[0])
    spent = time.process_time() - started
    return spent, message.num_rows, _arrow_sum(message, 1)  # type: ignore[attr-defined]


def pyarrow_pair(folder: Path, levels: int) -> tuple[float, int, int]:
    started = time.process_time()
    message, book = (_arrow(path) for path in files_of(folder, levels))
    spent = time.process_time() - started
    return spent, message.num_rows, _arrow_sum(message, 1) + _arrow_sum(book, 0)  # type: ignore[attr-defined]


def polars_message(folder: Path, levels: int) -> tuple[float, int, int]:
    import polars as pl

    started = time.process_time()
    message = pl.read_csv(files_of(folder, levels)[0], has_header=False)
    spent = time.process_time() - started
    return spent, message.height, int(message[:, 1:].to_numpy().sum())


def polars_pair(folder: Path, levels: int) -> tuple[float, int, int]:
    import polars as pl

    started = time.process_time()
    message, book = (pl.read_csv(path, has_header=False) for path in files_of(folder, levels))
    spent = time.process_time() - started
    return spent, message.height, int(message[:, 1:].to_numpy().sum()) + int(book.to_numpy().sum())


METHODS: dict[str, tuple[str, Callable[[Path, int], tuple[float, int, int]]]] = {
    "message file: fairfield": ("", fairfield_message),
    "message file: polars.read_csv": ("polars", polars_message),
    "message file: pyarrow.csv": ("pyarrow", pyarrow_message),
    "message file: pandas.read_csv": ("pandas", pandas_message),
    "pair: fairfield, every row checked": ("", fairfield_pair),
    "pair: fairfield, to trades, quotes, book events": ("", fairfield_tables),
    "pair: polars.read_csv": ("polars", polars_pair),
    "pair: pyarrow.csv": ("pyarrow", pyarrow_pair),
    "pair: pandas.read_csv": ("pandas", pandas_pair),
}


def measure(name: str, folder: Path, small: Path, levels: int) -> None:
    """One method in this process, after a small run that compiles and imports; its figures as JSON."""
    run = METHODS[name][1]
    run(small, levels)
    seconds, rows, total = run(folder, levels)
    # not ru_maxrss: it begins with what the parent process had when it started this one
    status = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    peak = next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) / 1024
    print(json.dumps({"seconds": seconds, "rows": rows, "sum": total, "peak": peak}))


def main() -> None:
    """Write the files, run every method, print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=2_000_000)
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--method", nargs=4, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.method:
        name, folder, small, levels = chosen.method
        measure(name, Path(folder), Path(small), int(levels))
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder, small = Path(scratch) / "day", Path(scratch) / "small"
        for place, messages in ((small, 2_000), (folder, chosen.messages)):
            place.mkdir()
            generate(place, messages)
        environment = os.environ | {"POLARS_MAX_THREADS": "1", "OMP_NUM_THREADS": "1"}
        print(f"{platform.processor() or platform.machine()}, Python {platform.python_version()}, one thread")
        print(f"{'levels':>6}  {'method':<50}{'CPU s':>8}{'million messages/CPU s':>24}{'peak MiB':>10}")
        sums: dict[tuple[int, str], int] = {}
        for levels in LEVELS:
            for name, (library, _) in METHODS.items():
                if library and importlib.util.find_spec(library) is None:
                    continue
                command = [sys.executable, __file__, "--method", name, str(folder), str(small), str(levels)]
                runs = []
                for _ in range(chosen.repeat):
                    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
                    runs.append(json.loads(done.stdout.splitlines()[-1]))
                best = min(runs, key=lambda run: run["seconds"])
                what = name.split(":")[0]
                if best["sum"] and sums.setdefault((levels, what), best["sum"]) != best["sum"]:
                    sys.exit(f"{name} reads other numbers than the first method")
                rate = best["rows"] / best["seconds"] / 1e6
                print(f"{levels:>6}  {name:<50}{best['seconds']:>8.2f}{rate:>24.2f}{best['peak']:>10.0f}")


if __name__ == "__main__":
    main()
