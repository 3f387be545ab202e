"""Rows per CPU second from a NEGOCIOSAVISTA file to the table `trades`, beside pandas and polars doing the same work.

    python benchmarks/bench_trades.py [--rows N] [--repeat K] [--long N]

A day is simulated, written in today's format with cancels and an after-market, and repeated under other instruments and
numbers to N rows. Every method gives the same columns of the trades that stand (UTC nanoseconds, price, quantity,
trade number, condition, members; cancels and their trades and test instruments out), in a fresh process, page cache
warm, one thread; the checksums must agree. CPU seconds are without imports and compilation. `--long` shows the memory
on a longer file. polars is no dependency of the project: without it its row is left out.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import resource
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
import zlib
from pathlib import Path

SYMBOLS = 40


def with_fairfield(path: Path, keep: bool = True):
    from data_pipeline.feeds.b3.trades import B3_TRADES
    from data_pipeline.feeds.reading import Tally

    start = clock()
    rows, tables = 0, []
    for batch in B3_TRADES.read((path,), Tally(), {}):
        rows += batch.rows.num_rows
        if keep:
            tables.append(batch.rows)
    spent = clock_since(start)
    if not keep:
        return spent, rows, None
    import pyarrow as pa
    import pyarrow.compute as pc

    table = pa.concat_tables(tables)
    found = {
        "time": table["time"].cast(pa.int64()).to_numpy(),
        "price": table["price"].to_numpy(),
        "quantity": table["quantity"].to_numpy(),
        "number": table["trade_id"].cast(pa.int64()).to_numpy(),
        "buyer": table["buyer"].to_numpy(),
        "after": pc.equal(table["condition"], "after_market").to_numpy(),
    }
    return spent, rows, found


def streaming(path: Path):
    return with_fairfield(path, keep=False)


def with_pandas(path: Path):
    import pandas as pd

    start = clock()
    frame = pd.read_csv(path, sep=";", decimal=",", encoding="latin-1", dtype={"HoraFechamento": str})
    frame = frame[~frame["CodigoInstrumento"].str.match(r"TF\d")]
    key = ["CodigoInstrumento", "DataNegocio", "CodigoIdentificadorNegocio"]
    cancels = frame.loc[frame["AcaoAtualizacao"] == 2, key].assign(gone=True)
    frame = frame[frame["AcaoAtualizacao"] == 0].merge(cancels, on=key, how="left")
    frame = frame[frame["gone"].isna()]
    text = frame["DataNegocio"] + frame["HoraFechamento"].str.zfill(9)
    local = pd.to_datetime(text, format="%Y-%m-%d%H%M%S%f")
    utc = local.dt.tz_localize("America/Sao_Paulo").dt.tz_convert("UTC")
    found = {
        "time": utc.astype("datetime64[ns, UTC]").astype("int64").to_numpy(),
        "price": frame["PrecoNegocio"].to_numpy(),
        "quantity": frame["QuantidadeNegociada"].to_numpy(dtype="float64"),
        "number": frame["CodigoIdentificadorNegocio"].to_numpy(),
        "buyer": frame["CodigoParticipanteComprador"].to_numpy(),
        "after": (frame["TipoSessaoPregao"] == 6).to_numpy(),
    }
    return clock_since(start), len(frame), found


def with_polars(path: Path):
    import polars as pl

    start = clock()
    frame = pl.read_csv(
        path, separator=";", decimal_comma=True, encoding="utf8-lossy", schema_overrides={"HoraFechamento": pl.String}
    )
    frame = frame.filter(~pl.col("CodigoInstrumento").str.contains(r"^TF\d"))
    key = ["CodigoInstrumento", "DataNegocio", "CodigoIdentificadorNegocio"]
    cancels = frame.filter(pl.col("AcaoAtualizacao") == 2).select(key)
    frame = frame.filter(pl.col("AcaoAtualizacao") == 0).join(cancels, on=key, how="anti", maintain_order="left")
    digits = pl.col("HoraFechamento").str.zfill(9)
    text = pl.concat_str(pl.col("DataNegocio"), pl.lit(" "), digits.str.slice(0, 6), pl.lit("."), digits.str.slice(6))
    frame = frame.with_columns(
        text.str.to_datetime("%Y-%m-%d %H%M%S%.f", time_unit="ns")
        .dt.replace_time_zone("America/Sao_Paulo")
        .dt.convert_time_zone("UTC")
        .alias("time")
    )
    found = {
        "time": frame["time"].dt.timestamp("ns").to_numpy(),
        "price": frame["PrecoNegocio"].to_numpy(),
        "quantity": frame["QuantidadeNegociada"].cast(pl.Float64).to_numpy(),
        "number": frame["CodigoIdentificadorNegocio"].to_numpy(),
        "buyer": frame["CodigoParticipanteComprador"].to_numpy(),
        "after": (frame["TipoSessaoPregao"] == 6).to_numpy(),
    }
    return clock_since(start), len(frame), found


METHODS = {
    "fairfield, zip": with_fairfield,
    "fairfield, text": with_fairfield,
    "polars, zip (unzipped first)": with_polars,
    "polars, text": with_polars,
    "pandas.read_csv, text": with_pandas,
}
STREAM = "fairfield, streaming, zip"


def clock():
    return time.process_time(), time.perf_counter()


def clock_since(start):
    return time.process_time() - start[0], time.perf_counter() - start[1]


def child(method: str, path: Path) -> None:
    """Run one method in this process and print what it cost as JSON."""
    import numpy as np

    call = {**METHODS, STREAM: streaming}[method]
    call(path.parent / "warm.txt")
    extra = (0.0, 0.0)
    if "unzipped first" in method:
        start = clock()
        with zipfile.ZipFile(path) as archive:
            content = archive.read(archive.namelist()[0])
        extra = clock_since(start)
        path = path.with_suffix(".txt")
        if path.stat().st_size != len(content):
            sys.exit("zip and text differ")
        del content
    spent, rows, found = call(path)
    sums = None if found is None else {name: float(np.sum(values.astype("float64"))) for name, values in found.items()}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    cpu, wall = (a + b for a, b in zip(spent, extra, strict=True))
    print(json.dumps({"cpu": cpu, "wall": wall, "rows": rows, "peak": peak, "sums": sums}))


def run_child(method: str, path: Path, repeat: int = 1):
    """Best of some runs (by CPU seconds), each in a fresh process with one thread."""
    one = dict.fromkeys(("POLARS_MAX_THREADS", "OMP_NUM_THREADS", "ARROW_NUM_THREADS"), "1")
    results = []
    for _ in range(repeat):
        ended = subprocess.run(
            [sys.executable, __file__, "--child", method, str(path)],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, **one},
        )
        if ended.returncode:
            sys.exit(f"{method} failed:\n{ended.stderr}")
        results.append(json.loads(ended.stdout))
    return min(results, key=lambda result: result["cpu"])


def write_file(path: Path, rows: int) -> None:
    """The simulated day, repeated: each copy under another instrument, with prices, quantities and members of its own.

    Without that a zip of it would be far smaller, and faster to unpack, than one of a real day.
    """
    from data_pipeline.synthetic.b3_trade_files import make_tape, write_trades
    from data_pipeline.synthetic.order_book import BookConfig, simulate_book

    books = {f"SY{k:02d}3": simulate_book(BookConfig(seed=k, seconds=300.0)) for k in range(SYMBOLS)}
    seed = write_trades(path.with_suffix(".seed"), make_tape(books), test_rows=0)
    header, *lines = seed.read_text(encoding="latin-1").splitlines()
    seed.unlink()
    copies = -(-rows // len(lines))
    with path.open("w", encoding="latin-1", newline="") as file:
        file.write(header + "\n")
        written = 0
        for line in lines:
            take = min(copies, rows - written)
            file.write("".join(copy_of(line, k) for k in range(take)))
            written += take
    with zipfile.ZipFile(path.with_suffix(".zip"), "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(path, "15-03-2021_NEGOCIOSAVISTA.txt")


def copy_of(line: str, k: int) -> str:
    """The k-th copy of a line; a cancel is changed as its trade is."""
    day, symbol, action, _, _, clock_text, number, kind, date, _, _ = line.split(";")
    draw = zlib.crc32(f"{symbol}{k}{number}".encode())
    price = f"{10 + draw % 7},{draw // 7 % 100:02d}0"
    symbol = f"{symbol[:4]}{k % 10}{k // 10}F"
    quantity, buyer, seller = 100 * (1 + draw // 700 % 20), 1 + draw // 14_000 % 150, 1 + draw // 2_100_000 % 150
    return f"{day};{symbol};{action};{price};{quantity};{clock_text};{number};{kind};{date};{buyer};{seller}\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--repeat", type=int, default=3, help="runs of each method; the best counts")
    parser.add_argument("--long", type=int, default=0, help="rows of a longer file, whose memory is shown")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options.child[0], Path(options.child[1]))
        return
    folder = Path(tempfile.mkdtemp(prefix="bench_trades_"))
    try:
        measure(folder, options.rows, options.repeat, options.long)
    finally:
        shutil.rmtree(folder)


def measure(folder: Path, rows: int, repeat: int, longer: int) -> None:
    write_file(folder / "warm.txt", 1000)
    path = folder / "day.txt"
    write_file(path, rows)
    sizes = [one.stat().st_size / 1e6 for one in (path, path.with_suffix(".zip"))]
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    print(f"{rows:,} rows, {sizes[0]:.0f} MB of text, {sizes[1]:.0f} MB zipped; load {load}; {platform.platform()},")
    print(f"Python {platform.python_version()}; best of {repeat} in fresh processes of one thread.\n")
    print("| method | CPU s | wall s | rows per CPU s | peak RSS MB |\n|---|--:|--:|--:|--:|")
    results = {}
    for method in METHODS:
        if "polars" in method and importlib.util.find_spec("polars") is None:
            print(f"| {method} | polars is not installed | | | |")
            continue
        result = run_child(method, path.with_suffix(".zip") if "zip" in method else path, repeat)
        results[method] = result
        speed = rows / result["cpu"]
        print(f"| {method} | {result['cpu']:.2f} | {result['wall']:.2f} | {speed:,.0f} | {result['peak']:,.0f} |")
    first = next(iter(results.values()))
    if any((other["rows"], other["sums"]) != (first["rows"], first["sums"]) for other in results.values()):
        sys.exit(f"the methods disagree: {results}")
    print(f"\nAll methods give {first['rows']:,} standing trades and the same sum of {len(first['sums'])} columns.")
    if longer:
        grown = folder / "long.txt"
        write_file(grown, longer)
        result = run_child(STREAM, grown.with_suffix(".zip"))
        speed = longer / result["cpu"]
        print(f"Batch by batch, {longer:,} rows: {speed:,.0f} rows per CPU s, peak RSS {result['peak']:,.0f} MB.")


if __name__ == "__main__":
    main()
