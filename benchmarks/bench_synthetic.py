"""CPU seconds and peak memory of writing the demo's synthetic exchange (six years of 60 shares, with options).

python benchmarks/bench_synthetic.py [--repeat N]
"""

from __future__ import annotations

import argparse
import resource
import statistics
import tempfile
import time
from datetime import date
from pathlib import Path

from data_pipeline.synthetic import ExchangeConfig, write_exchange

DEMO = ExchangeConfig(seed=2026, first_session=date(2018, 1, 1), last_session=date(2023, 12, 31))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=3)
    seconds, records = [], 0
    for _ in range(parser.parse_args().repeat):
        with tempfile.TemporaryDirectory() as folder:
            start = time.process_time()
            records = sum(write_exchange(Path(folder) / "exchange", DEMO).records.values())
            seconds.append(time.process_time() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print("| records | CPU s | peak MB |\n|--:|--:|--:|")
    print(f"| {records:,} | {statistics.median(seconds):.2f} | {peak} |")


if __name__ == "__main__":
    main()
