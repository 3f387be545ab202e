"""Lines a second of one core from a Binance capture, beside the usual ways, in one run.

    python benchmarks/bench_capture.py [capture.gz] [--lines 200000] [--hftbacktest venv-hft/bin/python]

Without a capture a simulated one of about so many lines is written. Every way unpacks the gzip and keeps each line's
message; `fairfield` goes on to validated columns of three tables with every event in both clocks' orders, hftbacktest's
converter (in a Python of its own, see compare_hftbacktest.py) to its event array, json and orjson to lists of event
rows, pandas to a frame of the nested messages. Each way runs in a process of its own, twice; the better CPU time
counts (the first run of compiled code may compile). Memory is that process's peak over its start.
"""

from __future__ import annotations

import argparse
import gzip
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

RUNS = 2
CONVERTER = """
import gzip, itertools, re, sys, time
from hftbacktest.data.utils import binancefutures
path, rows = sys.argv[1], int(sys.argv[2])
with gzip.open(path) as lines:
    combined = any(b'"stream"' in line[:60] for line in itertools.islice(lines, 100))
out, sys.stdout = sys.stdout, open("/dev/null", "w")
def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1])
before = peak()
best = 1e9
for _ in range(2):
    start = time.process_time()
    array = binancefutures.convert(path, buffer_size=rows, combined_stream=combined)
    best = min(best, time.process_time() - start)
print(best, len(array), peak() - before, file=out)
"""


def by_fairfield(path: Path) -> int:
    """Events from the feed's tables."""
    from data_pipeline.feeds.crypto.binance_feed import BINANCE_CAPTURE
    from data_pipeline.feeds.reading import Tally

    batches = BINANCE_CAPTURE.read((path,), Tally(), {})
    return sum(batch.rows.num_rows for batch in batches if batch.table == "book_events")


def by_parser(path: Path, loads: Callable[[bytes], Any]) -> int:
    """Events as Python rows, in the order of the file."""
    rows: list[tuple[str, int, int, float, float]] = []
    with gzip.open(path) as lines:
        for line in lines:
            local, text = line.split(b" ", 1)
            message = loads(text)
            data = message.get("data", message)
            kind, at = data.get("e"), int(local)
            if kind == "trade":
                rows.append(("sell" if data["m"] else "buy", data["T"], at, float(data["p"]), float(data["q"])))
            elif kind == "depthUpdate":
                rows += [("bid", data["T"], at, float(p), float(q)) for p, q in data["b"]]
                rows += [("ask", data["T"], at, float(p), float(q)) for p, q in data["a"]]
    return len(rows)


def by_json(path: Path) -> int:
    """The standard library."""
    import json

    return by_parser(path, json.loads)


def by_orjson(path: Path) -> int:
    """orjson and a loop."""
    import orjson

    return by_parser(path, orjson.loads)


def by_pandas(path: Path) -> int:
    """A frame of the messages; their levels stay lists of text."""
    import io

    import pandas as pd

    with gzip.open(path) as lines:
        text = b"".join(line.split(b" ", 1)[1] for line in lines)
    return len(pd.read_json(io.BytesIO(text), lines=True))


WAYS = {"fairfield": by_fairfield, "orjson": by_orjson, "json": by_json, "pandas": by_pandas}


def peak_memory() -> int:
    """Largest memory of this process so far, KiB (getrusage would count the parent's too)."""
    found = re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())
    return int(found[1]) if found else 0


def measure(way: str, path: Path) -> None:
    """Print best CPU seconds, rows and peak memory (KiB over the start) of one way."""
    if way == "fairfield":
        import data_pipeline.feeds.crypto.binance_feed  # noqa: F401 - what importing takes is no part of the memory
    before = peak_memory()
    best, rows = float("inf"), 0
    for _ in range(RUNS):
        start = time.process_time()
        rows = WAYS[way](path)
        best = min(best, time.process_time() - start)
    print(best, rows, peak_memory() - before)


def simulated(path: Path, lines: int) -> Path:
    """A capture of about so many lines."""
    from data_pipeline.synthetic.order_book import BookConfig, simulate_book
    from data_pipeline.synthetic.order_book_files import write_capture

    truth = BookConfig(seed=1, seconds=36_000.0, tick=0.1, mid=6000.0)
    once = gzip.decompress(write_capture(path, simulate_book(truth)).read_bytes())
    return path if once.count(b"\n") >= lines else repeated(path, once, lines)


def repeated(path: Path, once: bytes, lines: int) -> Path:
    """The capture written out again, times moved on by a day each time, until it has so many lines."""
    out = []
    for turn in range(-(-lines // once.count(b"\n"))):
        day = turn * 86_400_000
        moved = re.sub(rb'"([TE])":(\d+)', lambda m, d=day: b'"%s":%d' % (m[1], int(m[2]) + d), once)
        ids = turn * 10**9
        moved = re.sub(rb'"(U|u|pu|t|lastUpdateId)":(\d+)', lambda m, d=ids: b'"%s":%d' % (m[1], int(m[2]) + d), moved)
        out.append(re.sub(rb"(?m)^\d+", lambda m, d=day: b"%d" % (int(m[0]) + d * 10**6), moved))
    path.write_bytes(gzip.compress(b"".join(out), 6, mtime=0))
    return path


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description="Lines a second from a capture.")
    parser.add_argument("capture", type=Path, nargs="?", help="a gzipped capture of Binance futures")
    parser.add_argument("--lines", type=int, default=200_000, help="lines of the simulated capture")
    parser.add_argument(
        "--hftbacktest", default=os.environ.get("FAIRFIELD_HFTBACKTEST"), help="Python with hftbacktest"
    )
    parser.add_argument("--way", choices=list(WAYS), help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.way:
        measure(chosen.way, chosen.capture)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        path = chosen.capture or simulated(Path(folder) / "capture.gz", chosen.lines)
        with gzip.open(path) as stream:
            content = stream.read()
        lines, size = content.count(b"\n"), len(content)
        print(f"{lines:,} lines, {size / 1e6:.1f} MB unpacked, {size / lines:.0f} bytes a line")
        print(f"{'way':<24}{'CPU s':>8}{'lines/s':>12}{'rows':>12}{'MiB':>8}")
        for way in WAYS:
            report(way, [sys.executable, __file__, str(path), "--way", way], lines)
        if chosen.hftbacktest:
            report("hftbacktest's converter", [chosen.hftbacktest, "-c", CONVERTER, str(path), str(size // 10)], lines)
        else:
            print("hftbacktest's converter: skipped, no Python with it is named (--hftbacktest)")
    return 0


def report(way: str, command: list[str], lines: int) -> None:
    """Run one way in its process and print its row."""
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    seconds, rows, memory = done.stdout.split()[-3:]
    print(f"{way:<24}{float(seconds):>8.2f}{lines / float(seconds):>12,.0f}{int(rows):>12,}{int(memory) / 1024:>8.0f}")


if __name__ == "__main__":
    sys.exit(main())
