"""What a sweep of many tasks costs: each task's own seconds and memory, and what comes on top of them.

   python benchmarks/bench_sweep.py [--tasks 10000] [--dask-tasks 3000] [--workers 1 2]
       [--only daily|events|overhead]

Work: a daily walk-forward (500 shares by 2,500 sessions) and an event walk-forward (sessions of the simulated order
book), with the tasks of the commands themselves, by so many processes: of each kind of task the CPU seconds and the
peak memory of the worker at its end; of trading a session, also per million events.
Overhead: tasks that do nothing (pickling, an fsynced file in the ledger), on both engines, the start of the workers
apart; and resuming when all are done (every entry is read and proven).
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import resource
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from data_pipeline.tasks.executor import Executor, LocalProcesses, Workforce, make_workforce
from data_pipeline.tasks.ledger import Ledger, task_key
from data_pipeline.tasks.report import Progress, TaskReport, ignore_progress
from data_pipeline.tasks.worker import Task

PEAK_UNIT = 1e6 if sys.platform == "darwin" else 1e3
"""Of `ru_maxrss` in a megabyte: bytes on macOS, kilobytes elsewhere."""


def nothing(argument: int) -> bytes:
    return str(argument).encode()


def watched(argument: tuple[str, Callable[[Any], bytes], Any]) -> bytes:
    """A task as it is, its CPU seconds and the peak memory of its process in a file of the process."""
    folder, function, own = argument
    wall, cpu = time.perf_counter(), time.process_time()
    payload = function(own)
    row = {
        "kind": function.__name__,
        "cpu": time.process_time() - cpu,
        "wall": time.perf_counter() - wall,
        "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / PEAK_UNIT,
        "payload": len(payload),
    }
    with (Path(folder) / f"{os.getpid()}.jsonl").open("a") as stream:
        stream.write(json.dumps(row) + "\n")
    return payload


@dataclass(frozen=True)
class Watched:
    """Another's workers, each task watched."""

    workforce: Workforce
    folder: Path

    def over(self, ledger: Ledger, progress: Progress = ignore_progress) -> AbstractContextManager[Executor]:
        pool = self.workforce.over(ledger, progress)
        run = pool.run  # type: ignore[attr-defined]

        def run_watched(tasks: Sequence[Task], **more: Any) -> TaskReport:
            own = [
                dataclasses.replace(task, function=watched, argument=(str(self.folder), task.function, task.argument))
                for task in tasks
            ]
            report: TaskReport = run(own, **more)
            return report

        pool.run = run_watched  # type: ignore[attr-defined]
        return pool

    def rows(self) -> dict[str, list[dict[str, Any]]]:
        """What was written, by kind of task; a process' first task of a kind loads compiled code and says so."""
        found = defaultdict(list)
        for path in self.folder.glob("*.jsonl"):
            seen = set()
            for line in path.read_text().splitlines():
                row = json.loads(line)
                row["first"] = row["kind"] not in seen
                seen.add(row["kind"])
                found[row["kind"]].append(row)
        return found


def children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def watch(title: str, run: Callable[[Path, Watched], object], folder: Path, workers: int, events: float = 0.0) -> None:
    """Run by so many workers, and print a line for each kind of task."""
    crew = Watched(LocalProcesses(workers), folder / f"watched-{title}-{workers}")
    crew.folder.mkdir()
    before, started, driver = children(), time.perf_counter(), time.process_time()
    run(folder / f"out-{title}-{workers}", crew)
    wall, own = time.perf_counter() - started, time.process_time() - driver
    total, rows = children() - before, crew.rows()
    inside = sum(row["cpu"] for kind in rows.values() for row in kind)
    count = sum(len(kind) for kind in rows.values())
    print(
        f"{title}, {workers} workers: {count} tasks in {wall:.1f} s, {total:.1f} CPU s of workers ({inside:.1f} in "
        f"tasks), {own:.1f} CPU s of the driver"
    )
    for kind, found in rows.items():
        later = [row["cpu"] for row in found if not row["first"]] or [row["cpu"] for row in found]
        peak = max(row["peak"] for row in found)
        text = f"  {kind}: {len(found)} tasks, CPU s median {np.median(later):.3f}, largest {max(later):.3f}"
        text += f", a worker's first {max(row['cpu'] for row in found if row['first']):.2f}"
        text += f"; peak {peak:.0f} MB; result {np.mean([row['payload'] for row in found]) / 1e3:.1f} kB"
        if events and kind == "trade_session":
            text += f"; {1e6 * np.sum(later) / (events * len(later)):.2f} CPU s a million events"
        print(text, flush=True)


def daily_walk(out: Path, crew: Workforce) -> Path:
    """500 shares by 2,500 sessions: a plain pod and one with six parameter sets, three folds."""
    from backtests.audit.lookahead import random_panel
    from backtests.walk.folds import FoldSettings
    from backtests.walk.plan import PodPlan, WalkForwardPlan
    from backtests.walk.walkforward import run_walkforward
    from strategies.equal_weight import EqualWeight
    from strategies.reversal import ShortTermReversal

    hold = EqualWeight(name="hold", min_traded_value=0.0)
    grid = tuple(ShortTermReversal(name="reversal", signal_sessions=count) for count in (3, 5, 8, 10, 15, 20))
    plan = WalkForwardPlan(
        name="daily",
        pods=(PodPlan("hold", (hold,), "immediate"), PodPlan("reversal", grid, "immediate")),
        benchmark="hold",
        folds=FoldSettings(train=1000, test=500),
        capital=1e8,
        bootstrap_draws=20,
    )
    return run_walkforward(plan, random_panel(1, sessions=2500, instruments=500), out, executor=crew)


def book_store(folder: Path, seconds: float, sessions: int) -> tuple[Path, float]:
    """Sessions of the simulated order book in a store, and the mean number of events in each."""
    from data_pipeline.ingest import ingest
    from data_pipeline.store import Store
    from data_pipeline.synthetic.order_book import BookConfig
    from data_pipeline.synthetic.order_book_sessions import SYMBOLS, write_sessions

    files = write_sessions(folder / "raw", BookConfig(seed=5, seconds=seconds), first="2021-03-15", count=sessions)
    ingest(files, folder / "store")
    store, (venue, symbol) = Store.open(folder / "store"), SYMBOLS["binance"]
    return folder / "store", float(store.event_array(venue, symbol, "2021-03-15").size)


def event_walk(store: Path, seconds: float) -> Callable[[Path, Workforce], Path]:
    """Two makers, one with two parameter sets, on the sessions of the store."""
    from backtests.intraday.settings import FillSettings, QueueModel
    from backtests.walk.folds import FoldSettings
    from backtests.walk.intraday_plan import FillCase, IntradayPlan, IntradayPodPlan, TradingDay
    from backtests.walk.intraday_walkforward import run_intraday_walkforward
    from data_pipeline.synthetic.order_book import BookConfig
    from data_pipeline.synthetic.order_book_sessions import SYMBOLS
    from strategies.intraday.makers import ConstantSpread, SkewedSpread
    from strategies.intraday.rule import Instrument

    start, (venue, symbol) = BookConfig().start, SYMBOLS["binance"]
    skewed = tuple(SkewedSpread(name="skewed", skew=skew) for skew in (0.2, 1.0))
    plan = IntradayPlan(
        name="events",
        store=store,
        venue=venue,
        instruments=(Instrument(symbol, venue, 0.01, 1.0),),
        day=TradingDay(start + 60.0, start + seconds - 30.0, start + seconds),
        folds=FoldSettings(train=2, test=2, purge=0),
        pods=(IntradayPodPlan("constant", (ConstantSpread(name="constant"),)), IntradayPodPlan("skewed", skewed)),
        benchmark="constant",
        bounds=(FillCase("trade_through", FillSettings(queue=QueueModel("trade_through"))),),
        bootstrap_draws=50,
    )

    def run(out: Path, crew: Workforce) -> Path:
        return run_intraday_walkforward(plan, out, executor=crew)

    return run


def overhead(workforce: Workforce, folder: Path, count: int, title: str) -> None:
    """Wall and CPU seconds of tasks that do nothing, the start of the workers apart; and of finding them all done."""
    ledger = Ledger(folder)
    tasks = [Task(task_key({"task": i}), f"task {i}", nothing, i, {"task": i}) for i in range(count)]
    before, started = children(), time.perf_counter()
    with workforce.over(ledger) as pool:
        pool.run([Task(task_key({"start": i}), f"start {i}", nothing, i, {"start": i}) for i in range(4)])
        ready, driver = time.perf_counter(), time.process_time()
        pool.run(tasks)
        done, driver = time.perf_counter(), time.process_time() - driver
    workers = children() - before
    again, own = time.perf_counter(), time.process_time()
    with workforce.over(ledger) as pool:
        report = pool.run(tasks)
    assert len(report.skipped) == count
    size = np.mean([path.stat().st_size for path in folder.rglob("*.entry")])
    each = f"{1e3 * (done - ready) / count:.2f} ms each, {1e3 * driver / count:.2f} CPU ms of the driver"
    found = f"resumed in {time.perf_counter() - again:.2f} s ({time.process_time() - own:.2f} CPU)"
    print(
        f"{title}, {count:,} tasks that do nothing: start {ready - started:.1f} s; then {each}; {workers:.1f} CPU s of "
        f"all workers with their start; {found}; entries of {size:.0f} bytes",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=10_000)
    parser.add_argument("--dask-tasks", type=int, default=3_000)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--seconds", type=float, default=1800.0, help="of each simulated session")
    parser.add_argument("--sessions", type=int, default=22)
    parser.add_argument("--only", choices=("daily", "events", "overhead"))
    options = parser.parse_args()
    wanted = (options.only,) if options.only else ("daily", "events", "overhead")
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    with tempfile.TemporaryDirectory(prefix="fairfield-sweep-") as name:
        folder = Path(name)
        for workers in options.workers if "daily" in wanted else ():
            watch("daily", daily_walk, folder, workers)
        if "events" in wanted:
            store, events = book_store(folder, options.seconds, options.sessions)
            print(f"sessions of {events:,.0f} events")
            for workers in options.workers:
                watch("events", event_walk(store, options.seconds), folder, workers, events)
        if "overhead" in wanted:
            crew = max(options.workers)
            for engine, count in (("processes", options.tasks), ("dask", options.dask_tasks)):
                workforce = make_workforce(crew, engine=engine)  # type: ignore[arg-type]
                overhead(workforce, folder / engine, count, f"{engine}, {crew} workers")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / PEAK_UNIT
    print(f"peak memory of the driver {peak:.0f} MB; load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
