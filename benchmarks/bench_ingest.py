"""A long COTAHIST history, written by the synthetic exchange and ingested in a fresh process on some workers.

    python benchmarks/bench_ingest.py [--rows 20000000] [--workers 2] [--folder FOLDER] [--keep]

The history has all markets, options first (300 papers, options on 148 of them, some 3,300 records a session), and as
many whole years as give `--rows` records, 25 at most. Wall and CPU seconds and the peak memory of the whole process
tree are measured from outside, ten times a second: the sum of the resident sets, which counts a page that processes
share once for each and so errs to the high side. 20 million records are 0.7 GB of archives and 0.5 GB
of store.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import date
from pathlib import Path

LAST_YEAR = 2024
MOST_YEARS = 25
RECORDS_PER_YEAR = 800_000
PAPERS = 300
UNDERLYINGS = 148
_TICK = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass
class Cost:
    """What a process and its descendants took."""

    wall: float = 0.0
    cpu: float = 0.0
    peak: int = 0
    most_processes: int = 0


def measured(command: list[str], interval: float = 0.1) -> tuple[Cost, str]:
    """Run the command; its cost and what it printed. CPU seconds are those of all the processes that ended under it."""
    cost, before, start = Cost(), os.times(), time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        while process.poll() is None:
            tree = descendants(process.pid)
            cost.peak = max(cost.peak, sum(map(resident, tree)))
            cost.most_processes = max(cost.most_processes, len(tree))
            time.sleep(interval)
        printed = process.stdout.read() if process.stdout else ""
    after = os.times()
    cost.wall = time.perf_counter() - start
    cost.cpu = after.children_user + after.children_system - before.children_user - before.children_system
    if process.returncode:
        sys.exit(f"{' '.join(command)} failed")
    return cost, printed


def descendants(root: int) -> list[int]:
    """The process and all that descend from it, now."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                text = (entry / "stat").read_text("ascii", "replace")
            except OSError:
                continue
            # the command's name, in brackets, may hold blanks
            parents[int(entry.name)] = int(text.rpartition(")")[2].split()[1])
    family = [root]
    for member in family:
        family += [child for child, parent in parents.items() if parent == member]
    return family


def resident(process: int) -> int:
    """Bytes of a process's resident set, 0 once it has gone."""
    try:
        return int(Path(f"/proc/{process}/statm").read_text("ascii").split()[1]) * _PAGE
    except (OSError, IndexError):
        return 0


def write_history(folder: Path, rows: int) -> int:
    from data_pipeline.synthetic import ExchangeConfig, write_exchange

    years = min(MOST_YEARS, math.ceil(rows / RECORDS_PER_YEAR))
    config = ExchangeConfig(
        seed=2026,
        first_session=date(LAST_YEAR - years + 1, 1, 1),
        last_session=date(LAST_YEAR, 12, 31),
        instruments=PAPERS,
        option_underlyings=UNDERLYINGS,
    )
    return sum(write_exchange(folder, config).records.values())


def ingest_history(folder: Path, store: Path, workers: int) -> dict[str, int]:
    from data_pipeline.ingest import ingest
    from data_pipeline.store import Store
    from data_pipeline.tasks.executor import LocalProcesses

    archives = sorted((folder / "raw").glob("COTAHIST_*.ZIP"))
    report = ingest(archives, store, executor=LocalProcesses(workers))
    if not report.complete:
        sys.exit("\n".join(report.lines()))
    manifest = Store.open(store).manifest
    return {
        "rows": sum(partition.part.rows for partition in manifest.partitions),
        "quarantined": sum(source.quarantined for source in manifest.sources),
        "months": len(manifest.partitions),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--folder", type=Path, help="where to write; a history that lies there already is used again")
    parser.add_argument("--keep", action="store_true", help="leave the history there (the store is always deleted)")
    parser.add_argument("--child", choices=("write", "ingest"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child == "write":
        print(json.dumps(write_history(options.folder / "exchange", options.rows)))
    elif options.child == "ingest":
        print(json.dumps(ingest_history(options.folder / "exchange", options.folder / "store", options.workers)))
    else:
        folder = options.folder or Path(tempfile.mkdtemp(prefix="bench_ingest_"))
        folder.mkdir(parents=True, exist_ok=True)
        try:
            measure(folder, options.rows, options.workers)
        finally:
            shutil.rmtree(folder / "store", ignore_errors=True)
            if not options.keep:
                shutil.rmtree(folder / "exchange", ignore_errors=True)


def measure(folder: Path, rows: int, workers: int) -> None:
    common = [sys.executable, __file__, "--folder", str(folder), "--rows", str(rows), "--workers", str(workers)]
    present = (folder / "exchange" / "exchange.json").exists()
    written, printed = measured([*common, "--child", "write"])
    count = int(json.loads(printed))
    archives = sum(path.stat().st_size for path in (folder / "exchange" / "raw").glob("*.ZIP"))
    print(f"{count:,} records, {count * 247 / 1e9:.2f} GB of text, {archives / 1e9:.2f} GB zipped;")
    print(f"{os.cpu_count()} cores, load before {', '.join(f'{value:.1f}' for value in os.getloadavg())}\n")
    ingested, printed = measured([*common, "--child", "ingest"])
    outcome = json.loads(printed)
    if outcome["rows"] + outcome["quarantined"] != count:
        sys.exit(f"the store has {outcome['rows']:,} rows and {outcome['quarantined']:,} in quarantine, of {count:,}")
    size = sum(path.stat().st_size for path in (folder / "store").rglob("*.parquet"))
    print("| step | wall s | CPU s | records per wall s | peak memory of all processes, MB | processes |")
    print("|---|--:|--:|--:|--:|--:|")
    steps = [(f"ingested by {workers} workers", ingested)]
    for name, cost in steps if present else [("written by the exchange", written), *steps]:
        print(
            f"| {name} | {cost.wall:.1f} | {cost.cpu:.1f} | {count / cost.wall:,.0f} "
            f"| {cost.peak / 2**20:,.0f} | {cost.most_processes} |"
        )
    print(f"\nThe store has {outcome['rows']:,} rows in {outcome['months']} months, {size / 1e9:.2f} GB of Parquet.")


if __name__ == "__main__":
    main()
