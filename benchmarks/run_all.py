"""Run every benchmark of benchmarks/README.md, one after the other, on data that the project makes itself.

python benchmarks/run_all.py
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
JOBS = (
    ("bench_parse.py",),
    ("bench_synthetic.py",),
    ("bench_ingest.py",),
    ("bench_trades.py",),
    ("bench_lobster.py",),
    ("bench_capture.py",),
    ("compare_hftbacktest.py",),
    ("bench_store.py",),
    ("bench_book.py",),
    ("bench_facts.py",),
    ("bench_cluster.py",),
    ("bench_equilibrium.py",),
    ("bench_batch.py",),
    ("bench_peers.py",),
    ("bench_lookup.py",),
    ("bench_many_makers.py",),
    ("bench_stability.py",),
    ("bench_accounting.py", "daily"),
    ("bench_accounting.py", "minutes"),
    ("bench_walkforward.py",),
    ("bench_daily.py",),
    ("bench_events.py", "--events", "500000"),
    ("compare_fills.py", "--events", "100000", "--explained", "20000"),
    ("check_theory_book.py",),
    ("bench_sweep.py",),
    ("bench_start.py",),
)


def main() -> int:
    """Run the jobs; the number that failed."""
    failed = 0
    for name, *arguments in JOBS:
        print(f"\n== {name} {' '.join(arguments)}", flush=True)
        failed += subprocess.run([sys.executable, str(HERE / name), *arguments], check=False).returncode != 0
    return failed


if __name__ == "__main__":
    raise SystemExit(main())
