"""Rows per CPU second from raw COTAHIST text to typed columns and to a finished store, beside numpy, polars and pandas.

    python benchmarks/bench_parse.py [FILE...] [--rows N] [--repeat K]

FILE is a COTAHIST zip or text; without one a file is generated. Every method runs in a fresh process on the same
text file (page cache warm), all 26 fields, and must give the same checksum: the sum of every integer column modulo
2^64. CPU seconds count all threads of the process, without imports and compilation. polars is no dependency of the
project: without it its row is left out.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

from data_pipeline.schema import LAYOUT

FIELDS = [f for f in LAYOUT if f.name != "TIPREG"]
INTEGERS = [f for f in FIELDS if f.kind == "number"]
HEADER = f"00{'COTAHIST.2199':<13}{'BOVESPA':<8}21991231".ljust(245)


def parse_with_fairfield(path: Path):
    import pyarrow as pa

    from data_pipeline.feeds.cotahist.parser import iter_blocks
    from data_pipeline.schema import QUOTE_SCHEMA

    start = clock()
    table = pa.Table.from_batches([block.batch for block in iter_blocks(path)], schema=QUOTE_SCHEMA)
    spent = clock_since(start)
    # a null bid or ask is 0 in the file, so it adds nothing
    return spent, table.num_rows, {f.name: table[f.column].to_numpy() for f in INTEGERS}


def stream_with_fairfield(path: Path):
    from data_pipeline.feeds.cotahist.parser import iter_blocks

    start = clock()
    rows = sum(block.batch.num_rows for block in iter_blocks(path))
    return clock_since(start), rows, {}


def store_with_fairfield(path: Path):
    from data_pipeline.ingest import ingest
    from data_pipeline.store import Store

    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        start = clock()
        report = ingest(path, Path(folder) / "store")
        spent = clock_since(start)
        if report.refused or report.accepted[0].quarantined:
            sys.exit("\n".join(report.lines()))
        store = Store.open(Path(folder) / "store")
        sums = {f.name: 0 for f in INTEGERS}
        rows = 0
        for table in store.iter_months():
            rows += table.num_rows
            for f in INTEGERS:
                sums[f.name] += checksum(table[f.column].to_numpy())
        return spent, rows, {name: value % 2**64 for name, value in sums.items()}


def parse_with_read_fwf(path: Path):
    import pandas as pd

    rows = path.stat().st_size // 247 - 2
    start = clock()
    frame = pd.read_fwf(
        path,
        colspecs=[(f.start, f.stop) for f in FIELDS],
        names=[f.name for f in FIELDS],
        dtype={f.name: "int64" if f.kind == "number" else "str" for f in FIELDS},
        header=None,
        skiprows=1,
        nrows=rows,
        encoding="latin-1",
    )
    for name in ("DATA", "DATVEN"):
        frame[name] = pd.to_datetime(frame[name], format="%Y%m%d")
    spent = clock_since(start)
    return spent, len(frame), {f.name: frame[f.name].to_numpy() for f in INTEGERS}


def parse_with_polars(path: Path):
    import polars as pl

    start = clock()
    raw = pl.read_csv(
        path,
        has_header=False,
        new_columns=["line"],
        separator="\x01",
        quote_char=None,
        encoding="utf8-lossy",
        skip_rows=1,
        n_rows=path.stat().st_size // 247 - 2,
    )
    columns = []
    for f in FIELDS:
        field = pl.col("line").str.slice(f.start, f.stop - f.start)
        if f.kind == "number":
            field = field.cast(pl.Int64)
        elif f.kind == "date":
            field = field.str.to_date("%Y%m%d")
        else:
            field = field.str.strip_chars_end(" ")
        columns.append(field.alias(f.name))
    frame = raw.select(columns)
    spent = clock_since(start)
    return spent, frame.height, {f.name: frame[f.name].to_numpy() for f in INTEGERS}


def parse_with_numpy(path: Path):
    """Blocks of 8,192 records, each digit column added to a transposed block: the fast way without a compiler."""
    import numpy as np

    start = clock()
    lines = np.memmap(path, np.uint8, "r").reshape(-1, 247)[1:-1]
    columns = {
        f.name: np.empty(len(lines), np.int64 if f.kind in ("number", "date") else f"S{f.stop - f.start}")
        for f in FIELDS
    }
    days = {name: np.empty(len(lines), "M8[D]") for name in ("DATA", "DATVEN")}
    for first in range(0, len(lines), 8_192):
        block = np.ascontiguousarray(lines[first : first + 8_192])
        digits = np.ascontiguousarray(block.T).astype(np.int64) - 48
        rows = slice(first, first + len(block))
        for f in FIELDS:
            if f.kind in ("number", "date"):
                value = columns[f.name][rows]
                value[:] = 0
                for digit in digits[f.start : f.stop]:
                    value *= 10
                    value += digit
            else:
                text = np.ascontiguousarray(block[:, f.start : f.stop]).view(f"S{f.stop - f.start}")[:, 0]
                columns[f.name][rows] = np.strings.rstrip(text, b" ")
        for name, day in days.items():
            number = columns[name][rows]
            months = (number // 10_000 - 1970) * 12 + number // 100 % 100 - 1
            day[rows] = months.astype("M8[M]").astype("M8[D]") + (number % 100 - 1)
    spent = clock_since(start)
    return spent, len(lines), {f.name: columns[f.name] for f in INTEGERS}


METHODS = {
    "fairfield, text to typed columns": parse_with_fairfield,
    "fairfield, text to finished Parquet store": store_with_fairfield,
    "numpy, blocks of digit columns": parse_with_numpy,
    "polars str.slice and cast": parse_with_polars,
    "pandas.read_fwf, dtypes given": parse_with_read_fwf,
}
STREAM = "fairfield, streaming"


def clock():
    return time.process_time(), time.perf_counter()


def clock_since(start):
    return time.process_time() - start[0], time.perf_counter() - start[1]


def checksum(values) -> int:
    import numpy as np

    return int(np.nansum(values) if values.dtype.kind == "f" else values.astype(np.int64).sum()) % 2**64


def child(method: str, path: Path) -> None:
    """Run one method in this process and print what it cost as JSON."""
    warm = path.parent / "warm.txt"
    call = {**METHODS, STREAM: stream_with_fairfield}[method]
    call(warm)
    (cpu, wall), rows, columns = call(path)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    sums = {name: value if isinstance(value, int) else checksum(value) for name, value in columns.items()}
    print(json.dumps({"cpu": cpu, "wall": wall, "rows": rows, "peak": peak, "sums": sums}))


def run_child(method: str, path: Path, repeat: int = 1):
    """Best of some runs (by CPU seconds), each in a fresh process."""
    command = [sys.executable, __file__, "--child", method, str(path)]
    results = []
    for _ in range(repeat):
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
        if ended.returncode:
            sys.exit(f"{method} failed:\n{ended.stderr}")
        results.append(json.loads(ended.stdout))
    return min(results, key=lambda result: result["cpu"])


def read_records(path: Path) -> list[bytes]:
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            content = archive.read(archive.namelist()[0])
    else:
        content = path.read_bytes()
    return [line for line in content.splitlines() if line.startswith(b"01")]


def generate_records(rows: int) -> list[bytes]:
    """Random but possible records, unsorted, 20 sessions of one month."""
    draw = random.Random(0)
    records = []
    for number in range(rows):
        day, paper = divmod(number, -(-rows // 20))
        low = draw.randrange(100, 9_000)
        high = low + draw.randrange(500)
        prices = (draw.randint(low, high), high, low, draw.randint(low, high), draw.randint(low, high), low, high)
        quantity = draw.randrange(1, 10**9)
        numbers = "".join(f"{price:013d}" for price in prices)
        records.append(
            f"012023{1:02d}{day + 1:02d}02{f'T{paper:06d}':<12}010{'GENERATED':<12}{'ON      NM':<10}   R$  {numbers}"
            f"{draw.randrange(10**5):05d}{quantity:018d}{quantity * low:018d}{0:013d}0999912310000001{0:013d}"
            f"BRGENRACNOR1{draw.randrange(1000):03d}".encode()
        )
    draw.shuffle(records)
    return records


def write_copies(path: Path, records: list[bytes], rows: int) -> None:
    """Write `rows` records: whole copies, each four years after the one before, so that no key repeats."""
    with path.open("wb") as file:
        file.write(HEADER.encode() + b"\r\n")
        for start in range(0, rows, len(records)):
            shift = 4 * (start // len(records))
            for record in records[: rows - start]:
                year = int(record[2:6]) + shift
                file.write(b"01%04d" % year + record[6:] + b"\r\n")
        file.write(f"99{HEADER[2:31]}{rows + 2:011d}".ljust(245).encode() + b"\r\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--rows", type=int, help="records to measure on (whole files repeated); default: all, once")
    parser.add_argument("--repeat", type=int, default=3, help="runs of the fast methods; the best counts")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options.child[0], Path(options.child[1]))
        return
    records = [line for path in options.files for line in read_records(path)] or generate_records(200_000)
    rows = options.rows or len(records)
    folder = Path(tempfile.mkdtemp(prefix="bench_parse_"))
    try:
        measure(folder, records, rows, options.repeat)
    finally:
        shutil.rmtree(folder)


def measure(folder: Path, records: list[bytes], rows: int, repeat: int) -> None:
    path = folder / "1x.txt"
    write_copies(folder / "warm.txt", records[:100], 100)
    write_copies(path, records, rows)
    megabytes = path.stat().st_size / 1e6
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    print(f"{rows:,} records, {megabytes:.0f} MB of text; {os.cpu_count()} cores, load {load}; {platform.platform()},")
    print(f"Python {platform.python_version()}; best of {repeat} in fresh processes (read_fwf once).\n")
    print("| method | CPU s | wall s | rows per CPU s | peak RSS MB |\n|---|--:|--:|--:|--:|")
    results = {}
    for method in METHODS:
        if "polars" in method and importlib.util.find_spec("polars") is None:
            print(f"| {method} | polars is not installed | | | |")
            continue
        result = run_child(method, path, 1 if "read_fwf" in method else repeat)
        results[method] = result
        speed = result["rows"] / result["cpu"]
        print(f"| {method} | {result['cpu']:.2f} | {result['wall']:.2f} | {speed:,.0f} | {result['peak']:,.0f} |")
    sums = [result["sums"] for result in results.values()]
    counts = {result["rows"] for result in results.values()}
    if counts != {rows} or any(other != sums[0] for other in sums):
        sys.exit(f"the methods disagree: rows {counts}, sums {sums}")
    print(f"\nAll methods give {rows:,} rows and the same sum of each of {len(sums[0])} integer columns.\n")
    print("| copies of the file | rows | streaming, peak RSS MB | to Parquet store, peak RSS MB |\n|--:|--:|--:|--:|")
    for copies in (1, 3, 5):
        grown = folder / f"{copies}x.txt"
        write_copies(grown, records, rows * copies)
        peaks = [run_child(method, grown)["peak"] for method in (STREAM, "fairfield, text to finished Parquet store")]
        print(f"| {copies} | {rows * copies:,} | {peaks[0]:,.0f} | {peaks[1]:,.0f} |")


if __name__ == "__main__":
    main()
