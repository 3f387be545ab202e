"""What a sweep of many small tasks costs beside its work: seconds and memory, on both engines.

   python benchmarks/bench_sweep.py [--tasks 10000] [--dask-tasks 1000] [--workers 2]

Prints CPU and wall seconds of: tasks that do nothing (the overhead of each: pickling, a file in the ledger, fsync),
resuming when all are done (every entry is read and proven), the ledger's bytes and files; a panel of 500 shares by
2,500 sessions saved and loaded; and the peak memory of this process.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from pathlib import Path

import numpy as np

from data_pipeline.tasks.executor import Workforce, make_workforce
from data_pipeline.tasks.ledger import Ledger, task_key
from data_pipeline.tasks.worker import Task


def nothing(argument: int) -> bytes:
    return str(argument).encode()


def sweep(workforce: Workforce, folder: Path, count: int) -> tuple[float, float]:
    """Wall seconds of a first run of `count` tasks, and of a second one that finds them all."""
    tasks = [Task(task_key({"task": i}), f"task {i}", nothing, i, {"task": i}) for i in range(count)]
    ledger, seconds = Ledger(folder), []
    for _ in range(2):
        started = time.perf_counter()
        with workforce.over(ledger) as pool:
            report = pool.run(tasks)
        seconds.append(time.perf_counter() - started)
    assert len(report.skipped) == count
    return seconds[0], seconds[1]


def panel_seconds(folder: Path) -> tuple[float, float, float]:
    """Seconds to save and to load a panel of 500 shares by 2,500 sessions, and its megabytes."""
    from backtests.audit.lookahead import random_panel
    from data_pipeline.daily.panel_files import load_panel, save_panel

    panel = random_panel(1, sessions=2500, instruments=500)
    started = time.perf_counter()
    save_panel(panel, folder)
    saved = time.perf_counter()
    load_panel(folder)
    loaded = time.perf_counter()
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return saved - started, loaded - saved, size / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=10_000)
    parser.add_argument("--dask-tasks", type=int, default=1_000)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="fairfield-sweep-") as folder:
        for engine, count in (("processes", options.tasks), ("dask", options.dask_tasks)):
            workforce = make_workforce(options.workers, engine=engine)  # type: ignore[arg-type]
            place = Path(folder) / engine
            first, again = sweep(workforce, place, count)
            files = [path for path in place.rglob("*") if path.is_file()]
            size = np.mean([path.stat().st_size for path in files])
            print(
                f"{engine}: {count:,} tasks by {options.workers} workers in {first:.1f} s, "
                f"{1e3 * first / count:.2f} ms each with the workers' start; resumed in {again:.2f} s; "
                f"{len(files):,} files of {size:,.0f} bytes",
                flush=True,
            )
        saved, loaded, size = panel_seconds(Path(folder) / "panel")
        print(f"panel of 500 x 2,500: {size:.0f} MB, saved in {saved:.2f} s, loaded in {loaded:.3f} s")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    workers = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e3
    print(f"peak memory: driver {peak:.0f} MB, largest worker {workers:.0f} MB")


if __name__ == "__main__":
    main()
