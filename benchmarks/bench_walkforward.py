"""Seconds of a whole walk-forward, by number of workers, and of what a resumed run costs.

    python benchmarks/bench_walkforward.py [--sessions T] [--instruments N] [--workers 0 1 2]

Four pods with 13 parameter sets on a random panel, two-year training windows, half-year tests: the shape of the demo.
Each row is a fresh driver process with warm numba caches; CPU seconds count the driver and its workers. Every row must
give the same run folder, byte for byte (0 workers computes in the driver and may use several BLAS threads, so it is
left out of that check).
"""

from __future__ import annotations

import argparse
import hashlib
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

COLUMNS = ("workers", "state of the ledger", "wall s", "CPU s", "peak RSS of one process, MB", "tasks run", "bytes")


def make_plan():
    from backtests import FoldSettings, PodPlan, TradingRules, WalkForwardPlan
    from risk.limits import default_limits
    from strategies.equal_weight import EqualWeight
    from strategies.low_volatility import LowVolatility
    from strategies.momentum import TimeSeriesMomentum
    from strategies.pod import parameter_grid
    from strategies.reversal import ShortTermReversal

    limits = default_limits()
    grids = (
        (TimeSeriesMomentum(name="momentum"), {"signal_sessions": [63, 126, 252], "rebalance_every": [10, 21]}),
        (ShortTermReversal(name="reversal"), {"signal_sessions": [5, 10]}),
        (LowVolatility(name="low_volatility"), {"volatility_sessions": [126, 252], "quantile": [0.2, 0.33]}),
    )
    pods = [PodPlan("equal_weight", (EqualWeight(name="equal_weight"),))]
    pods += [PodPlan(pod.name, parameter_grid(pod, grid), limits=limits) for pod, grid in grids]
    return WalkForwardPlan(
        name="bench",
        pods=tuple(pods),
        benchmark="equal_weight",
        folds=FoldSettings(train=504, test=126),
        capital=50e6,
        rules=TradingRules(gross_limit=1.5),
    )


def child(out: Path, sessions: int, instruments: int, workers: int) -> None:
    from backtests import run_walkforward
    from backtests.audit.lookahead import random_panel

    panel, ran = random_panel(1, sessions, instruments), []

    def count(event) -> None:
        if event.kind == "finished":
            ran.append(event.name)

    start = time.perf_counter()
    folder = run_walkforward(make_plan(), panel, out, workers=workers, progress=count)
    wall = time.perf_counter() - start
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            digest.update(str(path.relative_to(folder)).encode() + path.read_bytes())
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    cpu = sum(usage.ru_utime + usage.ru_stime for usage in usages)
    peak = max(usage.ru_maxrss for usage in usages) / 1024
    print(wall, cpu, peak, len(ran), digest.hexdigest()[:12])


def measure(out: Path, options: argparse.Namespace, workers: int) -> list[str]:
    command = [sys.executable, __file__, "--child", str(out), "--sessions", str(options.sessions)]
    command += ["--instruments", str(options.instruments), "--workers", str(workers)]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.split()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sessions", type=int, default=1500)
    parser.add_argument("--instruments", type=int, default=60)
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options.child, options.sessions, options.instruments, options.workers[0])
        return
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    print(f"{options.sessions} sessions, {options.instruments} instruments; {os.cpu_count()} cores, load {load}; ")
    print(f"{platform.platform()}, Python {platform.python_version()}\n")
    print(f"| {' | '.join(COLUMNS)} |\n|{'--:|' * len(COLUMNS)}")
    digests = set()
    with tempfile.TemporaryDirectory(prefix="bench_walkforward_") as scratch:
        for workers in options.workers:
            out = Path(scratch) / str(workers)
            for state in ("empty", "complete"):
                wall, cpu, peak, ran, digest = measure(out, options, workers)
                numbers = f"{float(wall):.1f} | {float(cpu):.1f} | {float(peak):,.0f} | {ran} | {digest}"
                print(f"| {workers} | {state} | {numbers} |", flush=True)
                if workers:
                    digests.add(digest)
    if len(digests) > 1:
        sys.exit("the number of workers changed the bytes of the run")


if __name__ == "__main__":
    main()
