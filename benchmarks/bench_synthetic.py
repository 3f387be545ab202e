"""Speed and size of the demo's synthetic exchange: six years of sixty shares.

Run: python -m pytest benchmarks/bench_synthetic.py
"""

from __future__ import annotations

import itertools
import resource
import time
from datetime import date

from data_pipeline.synthetic import ExchangeConfig, write_exchange

DEMO = ExchangeConfig(seed=2026, first_session=date(2018, 1, 1), last_session=date(2023, 12, 31))


def test_writing_the_demo_exchange(benchmark, tmp_path):
    number = itertools.count()
    start = time.process_time()
    manifest = benchmark.pedantic(lambda: write_exchange(tmp_path / str(next(number)), DEMO), rounds=2, iterations=1)
    cpu_seconds = (time.process_time() - start) / 2
    benchmark.extra_info |= {
        "records": sum(manifest.records.values()),
        "cpu_seconds": round(cpu_seconds, 2),
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }
    assert cpu_seconds < 20.0
