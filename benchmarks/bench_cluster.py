"""One ingest by this process, by local processes and by a local Dask cluster: seconds, memory, and the same bytes.

   python benchmarks/bench_cluster.py [--rows 2000000] [--workers 1 2] [--folder FOLDER]

A year of COTAHIST records from the synthetic exchange (all markets) is cut into monthly files as the exchange
publishes them, so that there is something to share out. Each way runs in a fresh process; wall and CPU seconds and the
peak memory of its whole process tree are measured from outside, and the stores must have one content hash.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import zipfile
from pathlib import Path

from bench_ingest import measured, write_history


def cut_by_month(raw: Path, folder: Path) -> int:
    """Write the records of the yearly archives as one archive a month; how many records."""
    folder.mkdir(parents=True)
    count = 0
    for archive in sorted(raw.glob("COTAHIST_*.ZIP")):
        with zipfile.ZipFile(archive) as packed, packed.open(packed.namelist()[0]) as stream:
            lines = stream.read().splitlines(keepends=True)
        months: dict[bytes, list[bytes]] = {}
        for line in lines[1:-1]:
            months.setdefault(line[2:8], []).append(line)
        for month, records in sorted(months.items()):
            name = f"COTAHIST_M{month[4:].decode()}{month[:4].decode()}"
            trailer = lines[-1][:31] + f"{len(records) + 2:011d}".encode() + lines[-1][42:]
            with zipfile.ZipFile(folder / f"{name}.ZIP", "w", zipfile.ZIP_DEFLATED) as packed:
                packed.writestr(f"{name}.TXT", b"".join([lines[0], *records, trailer]))
            count += len(records)
    return count


def ingest_by(way: str, files: Path, store: Path) -> dict[str, str | int]:
    from data_pipeline.ingest import ingest
    from data_pipeline.store import Store
    from data_pipeline.tasks.executor import make_workforce

    kind, _, count = way.partition(":")
    workforce = make_workforce(int(count)) if kind == "processes" else make_workforce(cluster=f"local:{count}")
    report = ingest(files, store, executor=workforce)
    if not report.complete:
        sys.exit("\n".join(report.lines()))
    manifest = Store.open(store).manifest
    return {"hash": manifest.content_hash, "rows": sum(partition.part.rows for partition in manifest.partitions)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--folder", type=Path, help="for the history and the stores; a temporary one by default")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(ingest_by(options.child, options.folder / "months", options.folder / "store")))
        return
    folder = options.folder or Path(tempfile.mkdtemp(prefix="bench_cluster_"))
    try:
        write_history(folder / "exchange", options.rows)
        count = cut_by_month(folder / "exchange" / "raw", folder / "months")
        compare(folder, count, options.workers)
    finally:
        for name in ("exchange", "months", "store"):
            shutil.rmtree(folder / name, ignore_errors=True)


def compare(folder: Path, count: int, workers: list[int]) -> None:
    files = len(list((folder / "months").iterdir()))
    print(f"{count:,} records in {files} monthly files; {os.cpu_count()} cores, load before {os.getloadavg()[0]:.1f}\n")
    print("| by | wall s | CPU s | records per wall s | peak memory of all processes, MB |\n|---|--:|--:|--:|--:|")
    ways = ["processes:0", *(f"{kind}:{n}" for n in workers for kind in ("processes", "dask"))]
    hashes = set()
    for way in ways:
        shutil.rmtree(folder / "store", ignore_errors=True)
        cost, printed = measured([sys.executable, __file__, "--folder", str(folder), "--child", way])
        outcome = json.loads(printed)
        if outcome["rows"] != count:
            sys.exit(f"{way}: the store has {outcome['rows']:,} rows of {count:,}")
        hashes.add(outcome["hash"])
        words = "this process" if way == "processes:0" else way.replace(":", " x ")
        print(f"| {words} | {cost.wall:.1f} | {cost.cpu:.1f} | {count / cost.wall:,.0f} | {cost.peak / 2**20:,.0f} |")
    if len(hashes) != 1:
        sys.exit(f"the stores differ: {hashes}")
    print("\nEvery store has the same content hash.")


if __name__ == "__main__":
    main()
