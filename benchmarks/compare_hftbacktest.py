"""Does hftbacktest read what we write, and see the same best quotes? Does its converter make the same array?

    python -m venv venv-hft && venv-hft/bin/pip install hftbacktest==2.4.4
    python benchmarks/compare_hftbacktest.py --python venv-hft/bin/python [capture.gz]

hftbacktest needs another NumPy than fairfield, hence the Python of its own; without `--python` (or the environment
variable FAIRFIELD_HFTBACKTEST) there is nothing to compare with and the script says so. Without a capture a simulated
one is written. The capture becomes an event array by our feed, is exported, and is replayed by hftbacktest's market
depth and by data_pipeline.book.replay at every tenth of a second; both must show the same ticks at every moment.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

STEP_NS = 100_000_000
# runs in hftbacktest's Python: replay, then its own converter
CHILD = """
import gzip, itertools, sys
import numpy as np
from numba import njit
from hftbacktest import BacktestAsset, HashMapMarketDepthBacktest
from hftbacktest.data.utils import binancefutures
events, capture, quotes, converted, step, tick = sys.argv[1:]
data = np.load(events)["data"]  # hftbacktest keeps only its address: the name keeps it alive
asset = (
    BacktestAsset().data([data]).linear_asset(1.0).constant_order_latency(0, 0)
    .risk_adverse_queue_model().no_partial_fill_exchange().trading_value_fee_model(0.0, 0.0)
    .tick_size(float(tick)).lot_size(0.001)
)
backtest = HashMapMarketDepthBacktest([asset])

@njit
def walk(backtest, step, out):
    n = 0
    while n < out.shape[0] and backtest.elapse(step) == 0:
        depth = backtest.depth(0)
        out[n, 0], out[n, 1], out[n, 2] = backtest.current_timestamp, depth.best_bid_tick, depth.best_ask_tick
        n += 1
    return n

out = np.zeros((1_000_000, 3), dtype=np.int64)
n = walk(backtest, int(step), out)
backtest.close()
np.save(quotes, out[:n])
sys.stdout = open("/dev/null", "w")
with gzip.open(capture) as lines:
    combined = any(b'"stream"' in line[:60] for line in itertools.islice(lines, 100))
np.savez(converted, data=binancefutures.convert(capture, buffer_size=20_000_000, combined_stream=combined))
"""


def exported(capture: Path, output: Path) -> np.ndarray:
    """The capture's events with the clock shifted, as hftbacktest's converter does, written to `output`."""
    from data_pipeline.book.events import EVENT_DTYPE
    from data_pipeline.feeds.crypto.binance_feed import BINANCE_CAPTURE
    from data_pipeline.feeds.crypto.hftbacktest_export import export_hftbacktest
    from data_pipeline.feeds.reading import Tally

    batches = BINANCE_CAPTURE.read((capture,), Tally(), {"local_clock": "shift"})
    rows = [batch.rows for batch in batches if batch.table == "book_events"]
    array = np.zeros(sum(part.num_rows for part in rows), dtype=EVENT_DTYPE)
    start = 0
    for part in rows:
        for name in EVENT_DTYPE.names or ():
            array[name][start : start + part.num_rows] = part[name].to_numpy()
        start += part.num_rows
    export_hftbacktest(array, output)
    return array


def compare(python: str, capture: Path, tick: float, folder: Path) -> int:
    """Print both comparisons; the number that failed."""
    from data_pipeline.book.grid import tick_grid
    from data_pipeline.book.replay import replay

    events = exported(capture, folder / "events.npz")
    quotes, converted = folder / "quotes.npy", folder / "converted.npz"
    arguments = [folder / "events.npz", capture, quotes, converted, STEP_NS, tick]
    subprocess.run([python, "-c", CHILD, *map(str, arguments)], check=True)
    theirs = np.load(quotes)
    rows, _ = replay(
        events, tick_grid(tick), clock="local", every="clock", interval_ns=STEP_NS, phase_ns=int(theirs[0, 0])
    )
    _, ours_at, theirs_at = np.intersect1d(rows.times, theirs[:, 0], return_indices=True)
    ours = rows.ticks[ours_at][:, :, 0]
    both = rows.state[ours_at] == 0
    equal = (ours == theirs[theirs_at, 1:]).all(axis=1)
    print(f"{events.size:,} events written; hftbacktest read them and gave {theirs.shape[0]:,} moments")
    print(f"best quotes equal at {int(equal[both].sum()):,} of {int(both.sum()):,} moments with both sides")
    own = np.load(converted)["data"]
    same = own.tobytes() == events.tobytes()
    print(f"its converter made {own.size:,} events of the capture: {'the same bytes' if same else 'DIFFERENT ones'}")
    return int(not (equal[both].all() and both.sum() > 10)) + int(not same)


def main() -> int:
    """Run the comparison, or say why there is none."""
    parser = argparse.ArgumentParser(description="Compare with hftbacktest.")
    parser.add_argument("capture", type=Path, nargs="?", help="a gzipped Binance futures capture; else a simulated one")
    parser.add_argument("--python", default=os.environ.get("FAIRFIELD_HFTBACKTEST"), help="Python with hftbacktest")
    parser.add_argument("--tick", type=float, default=0.1, help="tick size")
    parser.add_argument("--seconds", type=float, default=600.0, help="length of the simulated capture")
    chosen = parser.parse_args()
    if chosen.python is None:
        print("skipped: no Python with hftbacktest is named (--python, or FAIRFIELD_HFTBACKTEST); see the first lines")
        return 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        capture = chosen.capture
        if capture is None:
            from data_pipeline.synthetic.order_book import BookConfig, simulate_book
            from data_pipeline.synthetic.order_book_files import write_capture

            truth = BookConfig(seed=1, seconds=chosen.seconds, tick=chosen.tick, mid=6000.0)
            capture = write_capture(folder / "capture.gz", simulate_book(truth))
        return compare(chosen.python, capture, chosen.tick, folder)


if __name__ == "__main__":
    sys.exit(main())
