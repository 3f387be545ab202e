"""Order-book events and trades per CPU second: best quotes, depth, bars, beside plain Python, pandas, hftbacktest.

    python benchmarks/bench_book.py [--events N] [--trades N] [--hft-python PATH]

The events are a simulated L2 stream: levels near the best change most, one event in five deletes a level, messages of
ten events. Every method of a table works on the same array in this process, after a warm-up (hftbacktest in its own
interpreter, whose path --hft-python names: its NumPy is another one). The slow ways get a part of the events, and the
results are compared on it: best quotes bit by bit, bars to rounding.
"""

from __future__ import annotations

import argparse
import math
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from data_pipeline.book.bar_rules import bar_rule
from data_pipeline.book.bars import Quotes, Trades, make_bars
from data_pipeline.book.events import BUY, DEPTH, EVENT_DTYPE, EXCH, LOCAL, SELL
from data_pipeline.book.grid import tick_grid
from data_pipeline.book.plain import replay_plainly
from data_pipeline.book.replay import feed, finish, replay, start_book

TICK = 0.1
PLAIN_EVENTS, PANDAS_EVENTS = 30_000, 300_000
CHUNK = 1 << 17

HFT = """
import sys, time, numpy as np
from numba import njit
from hftbacktest import BacktestAsset, HashMapMarketDepthBacktest, ROIVectorMarketDepthBacktest
data = np.load(sys.argv[1])["data"]
def asset(part):
    made = BacktestAsset().data([part]).linear_asset(1.0).constant_order_latency(0, 0)
    made = made.risk_adverse_queue_model().no_partial_fill_exchange().trading_value_fee_model(0.0, 0.0)
    return made.tick_size(0.1).lot_size(0.001).roi_lb(0.0).roi_ub(20000.0)
@njit
def run(hbt):
    steps = 0
    while hbt.elapse(100_000_000) == 0:
        steps += 1
    return steps
for name, kind in (("HashMap", HashMapMarketDepthBacktest), ("ROI vector", ROIVectorMarketDepthBacktest)):
    warm = kind([asset(data[:1000])]); run(warm); warm.close()
    hbt = kind([asset(data)])
    start = time.process_time(); run(hbt); spent = time.process_time() - start
    print(name, len(data) / spent, hbt.depth(0).best_bid, hbt.depth(0).best_ask, sep=";")
    hbt.close()
"""


def simulated_levels(count: int, seed: int = 1) -> np.ndarray:
    """(count,) DEPTH events around a wandering mid, never crossed; both clocks, ten events a message.

    Where the mid moves, the event deletes the level that would be in its way.
    """
    rng = np.random.default_rng(seed)
    events = np.zeros(count, dtype=EVENT_DTYPE)
    move = rng.choice([-1, 0, 1], count, p=[0.02, 0.96, 0.02])
    middle = 100_000 + np.cumsum(move)
    bid = np.where(move == 0, rng.random(count) < 0.5, move < 0)
    away = np.where(move == 0, np.minimum(rng.geometric(0.02, count), 500), 0)
    events["ev"] = np.where(bid, BUY, SELL) | DEPTH | EXCH | LOCAL
    events["exch_ts"] = events["local_ts"] = 1_700_000_000_000_000_000 + np.arange(count) // 10 * 1_000_000
    events["px"] = np.where(bid, middle - away, middle + away) / 10.0
    events["qty"] = np.where((rng.random(count) < 0.2) | (move != 0), 0.0, rng.integers(1, 1000, count) / 1000.0)
    return events


def simulated_trades(count: int, seed: int = 2) -> Trades:
    """(count,) trades of eight hours in milliseconds."""
    rng = np.random.default_rng(seed)
    times = np.sort(rng.integers(0, 28_800_000, count)) * 1_000_000
    price = np.round(50 + 0.01 * np.cumsum(rng.choice([-1, 0, 0, 0, 1], count)), 2)
    return Trades(times, price, rng.integers(1, 50, count) * 100.0, rng.choice(np.array([-1, 0, 1], np.int8), count))


def spent(work, repeat: int = 3) -> tuple[float, object]:
    """CPU seconds of the fastest of some runs, and what it gave."""
    best, result = math.inf, None
    for _ in range(repeat):
        start = time.process_time()
        result = work()
        best = min(best, time.process_time() - start)
    return best, result


def say(what: str, rows: int, seconds: float) -> None:
    print(f"| {what} | {rows:,} | {seconds:.3f} | {rows / seconds / 1e6:.2f} M/s |")


def streamed(events: np.ndarray, **options):
    """Best quotes with bounded memory: chunks in, only the last row kept."""
    book = start_book(tick_grid(TICK), **options)
    rows = 0
    for at in range(0, events.size, CHUNK):
        rows += feed(book, events[at : at + CHUNK]).times.size
    last = finish(book, int(events["exch_ts"][-1]) + 100_000_000)
    return rows + last.times.size, last, book.counts()


def replay_with_pandas(events: np.ndarray):
    """Best bid after each message the frame way: the levels of a side in a Series, its largest index read."""
    import pandas as pd

    frame = pd.DataFrame({name: events[name] for name in ("exch_ts", "px", "qty")})
    frame["bid"] = events["ev"] & np.uint64(BUY) != 0
    book = pd.Series(dtype=float)
    best = []
    for _, message in frame.groupby("exch_ts", sort=False):
        own = message[message.bid]
        changes = own.drop_duplicates("px", keep="last").set_index("px").qty
        book = pd.concat([book[~book.index.isin(changes.index)], changes[changes > 0]])
        best.append(book.index.max() if len(book) else math.nan)
    return np.array(best)


def bench_book(count: int, hft_python: str | None) -> None:
    events = simulated_levels(count)
    replay(events[:5000], tick_grid(TICK), source="l2", levels=10)
    print("\n| L2 book | events | CPU s | events |\n|---|--:|--:|--:|")
    for name, options in (
        ("fairfield, best quotes after each message", {}),
        ("fairfield, best quotes after each event", {"every": "event"}),
        ("fairfield, best quotes each 100 ms", {"every": "clock", "interval_ns": 100_000_000}),
        ("fairfield, 10 levels after each message", {"levels": 10}),
        ("fairfield, 10 levels each 100 ms", {"levels": 10, "every": "clock", "interval_ns": 100_000_000}),
    ):
        seconds, result = spent(lambda options=options: streamed(events, **options))
        say(name, count, seconds)
    _, last, counts = result
    part = events[:PLAIN_EVENTS]
    seconds, plain = spent(lambda: list(replay_plainly(part, EXCH, "exchange", "l2", 1)), 1)
    say("plain Python, two dictionaries, sorted", part.size, seconds)
    ours, _ = replay(part, tick_grid(TICK), source="l2")
    wanted = [[side[0][0] if side else math.nan for side in row[1:]] for row in plain]
    if not np.array_equal(np.column_stack([ours.bid, ours.ask]), np.array(wanted), equal_nan=True):
        sys.exit("the compiled book differs from the plain one")
    part = events[: PANDAS_EVENTS // 10]
    seconds, best = spent(lambda: replay_with_pandas(part), 1)
    say("pandas, a Series of levels, bids only", part.size, seconds)
    np.testing.assert_array_equal(best, replay(part, tick_grid(TICK), source="l2")[0].bid[:, 0])
    print(f"\ncrossed moments in the simulated stream: {counts['crossed_moments']:,} of {counts['moments']:,}")
    if hft_python:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "events.npz"
            np.savez(path, data=events)
            found = subprocess.run([hft_python, "-c", HFT, str(path)], capture_output=True, text=True, check=True)
        for line in found.stdout.splitlines():
            name, rate, bid, ask = line.split(";")
            say(f"hftbacktest, {name} book, replay only, a step each 100 ms", count, count / float(rate))
            print(f"  last best quotes: {bid} {ask}; fairfield: {last.bid[-1:, 0]} {last.ask[-1:, 0]}")


def bench_bars(count: int) -> None:
    import pandas as pd

    trades = simulated_trades(count)
    quotes_at = np.arange(0, 28_800_000, 29) * 1_000_000
    middle = 50 + 0.01 * np.cumsum(np.random.default_rng(3).choice([-1, 0, 1], quotes_at.size))
    ones = np.ones(quotes_at.size)
    quotes = Quotes(quotes_at, middle - 0.01, ones, middle + 0.01, 2 * ones)
    print("\n| bars | trades | CPU s | trades |\n|---|--:|--:|--:|")
    for text in ("time:60s", "volume:1000000", "tick:100"):
        rule = bar_rule(text)
        make_bars(rule, Trades(*(getattr(trades, name)[:1000] for name in Trades.__slots__)))
        seconds, bars = spent(lambda rule=rule: make_bars(rule, trades))
        say(f"fairfield, {text}", count, seconds)
        if text == "time:60s":
            seconds, _ = spent(lambda rule=rule: make_bars(rule, trades, quotes))
            say(f"fairfield, {text}, with {quotes_at.size:,} quotes", count, seconds)
            minutes = bars
    frame = pd.DataFrame({"price": trades.price, "quantity": trades.quantity}, index=pd.to_datetime(trades.times))
    frame["side"] = trades.side

    def with_pandas():
        grid = frame.resample("60s")
        found = grid.price.ohlc()
        found["quantity"], found["trades"] = grid.quantity.sum(), grid.price.count()
        found["vwap"] = (frame.price * frame.quantity).resample("60s").sum() / found.quantity
        found["bought"] = frame.quantity.where(frame.side == 1, 0.0).resample("60s").sum()
        found["sold"] = frame.quantity.where(frame.side == -1, 0.0).resample("60s").sum()
        found["variance"] = (np.log(frame.price).diff() ** 2).resample("60s").sum()
        return found

    seconds, found = spent(with_pandas)
    say("pandas resample, 60 s, the same figures", count, seconds)
    np.testing.assert_array_equal(found.close, minutes.close)
    np.testing.assert_allclose(found.vwap, minutes.vwap, rtol=1e-12)
    np.testing.assert_allclose(found.variance, minutes.realised_variance, rtol=1e-9)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=5_000_000)
    parser.add_argument("--trades", type=int, default=10_000_000)
    parser.add_argument("--hft-python", help="interpreter of an environment with hftbacktest 2.4.4")
    chosen = parser.parse_args()
    print(f"Python {platform.python_version()}, NumPy {np.__version__}, {platform.machine()}; CPU seconds, one thread")
    bench_book(chosen.events, chosen.hft_python)
    bench_bars(chosen.trades)


if __name__ == "__main__":
    main()
