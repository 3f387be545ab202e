"""Events per CPU second of a market maker's backtest: fairfield, hftbacktest, nautilus_trader, in one run.

    FAIRFIELD_HFTBACKTEST=venv-hft/bin/python FAIRFIELD_NAUTILUS=venv-nautilus/bin/python \\
        python benchmarks/bench_events.py [--events 5000000] [--nautilus-events 300000] [--days 10]

The same simulated L2 feed, the same maker (one order a side, a tick off the mid, at most 5 lots) looked at each 100, 10
or 1 ms, the same constant latency, no partial fills where both have that. A fresh process for each run, the engine warm
(compilation apart), the fastest of `--repeat`; the peak memory is the process's, events in it included. Without the
variables the peers' rows are left out. The last table streams days one by one: memory must not grow with their number.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from events_feed import INSTRUMENT, maker_rule, simulated_feed
from events_peers import HFT, NAUTILUS, hft_wish, interpreter, run_child

from backtests.intraday.settings import FillSettings, Latency, OwnLimits, TradingSpan
from backtests.intraday.simulator import simulate_session

INTERVALS = (100_000_000, 10_000_000, 1_000_000)
DAY_NS = 86_400 * 1_000_000_000
DAY_EVENTS = 1_000_000


def settings(sizes: str = "whole") -> FillSettings:
    """The exchange of all runs."""
    latency = Latency("constant", 1_000_003, 1_000_007)
    return FillSettings(latency=latency, limits=OwnLimits(1_000, 1_000), sizes=sizes)  # type: ignore[arg-type]


def peak_mib() -> float:
    """The most memory that this process held; not ru_maxrss, which begins with what its parent held."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def our_run(path: str, interval: int, sizes: str) -> dict[str, Any]:
    """One simulation in this process, after a short one."""
    events = np.load(path)["data"]
    start = int(events["local_ts"][0]) + 1_000_000_500
    stop = int(events["local_ts"][-1]) + 1
    span = TradingSpan(start, stop, stop, (), "mark")
    early = TradingSpan(start, start + 5_000_000_000, start + 5_000_000_000, (), "mark")
    simulate_session(events[:5_000], maker_rule(interval), INSTRUMENT, early, settings(sizes), source="l2")
    begun = time.process_time()
    outcome = simulate_session(
        events, maker_rule(interval), INSTRUMENT, span, settings(sizes), source="l2", sample_every=1_000_000
    )
    spent = time.process_time() - begun
    return {"seconds": spent, "steps": outcome.counts["calls"], "orders": outcome.counts["submitted"],
            "trades": len(outcome.fills)}  # fmt: skip


def day_chunks(days: int) -> Iterator[np.ndarray]:
    """The same million events on each of some days, a tenth at a time."""
    first = simulated_feed(DAY_EVENTS)
    for day in range(days):
        for part in np.array_split(first, 10):
            events = part.copy()
            for clock in ("exch_ts", "local_ts"):
                events[clock] += day * DAY_NS
            yield events


def our_days(days: int) -> dict[str, Any]:
    """Days streamed one after the other through one session."""
    start = int(simulated_feed(1_000)["local_ts"][0]) + 1_000_000_500
    stop = start + days * DAY_NS
    span = TradingSpan(start, stop, stop, (), "mark")
    fills = settings("traded")
    begun = time.process_time()
    simulate_session(
        day_chunks(days), maker_rule(1_000_000_000), INSTRUMENT, span, fills, source="l2", sample_every=3_600
    )
    return {"seconds": time.process_time() - begun}


def fresh(*arguments: str) -> dict[str, Any]:
    """The same script's run in a fresh process."""
    done = subprocess.run(
        [sys.executable, __file__, "--child", *arguments], capture_output=True, text=True, check=False, env=os.environ
    )
    if done.returncode != 0:
        raise RuntimeError(done.stderr[-3000:])
    result: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return result


def fastest(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """The run that took least CPU time."""
    return min(runs, key=lambda run: run["seconds"])


def say(engine: str, count: int, interval: int, run: dict[str, Any]) -> None:
    """One row."""
    print(
        f"| {engine} | {count:,} | {interval / 1e6:g} ms | {run['steps']:,} | {run['orders']:,} | {run['trades']:,} "
        f"| {run['seconds']:.3f} | {count / run['seconds'] / 1e6:.3f} M/s | {run['rss_mib']:,.0f} |",
        flush=True,
    )


def table(chosen: argparse.Namespace, folder: Path, hft: str | None, nautilus: str | None) -> None:
    """Every engine on the same feed."""
    print("| engine | events | each | calls | orders | fills | CPU s | events per CPU s | peak RSS MiB |")
    print("|---|" + "--:|" * 8)
    for count in sorted({chosen.events, *([2 * chosen.events] if chosen.double else [])}):
        path = folder / f"{count}.npz"
        events = simulated_feed(count)
        np.savez(path, data=events)
        start = int(events["local_ts"][0]) + 1_000_000_500
        for interval in INTERVALS:
            for sizes in ("whole", "traded"):
                runs = [fresh("run", str(path), str(interval), sizes) for _ in range(chosen.repeat)]
                say(f"**fairfield**, {sizes}", count, interval, fastest(runs))
            if hft is None:
                continue
            for book in ("hashmap", "roi"):
                wish = hft_wish(
                    path, folder / "steps.npy", book=book, interval=interval, start=start, rows=0, apart=True
                )
                runs = [run_child(hft, HFT, wish) for _ in range(chosen.repeat)]
                say(f"hftbacktest, {book} book", count, interval, fastest(runs))
    if nautilus is not None:
        wish = hft_wish(path, folder / "none", start=start, count=min(chosen.nautilus_events, chosen.events))
        run = run_child(nautilus, NAUTILUS, wish)
        say("nautilus_trader", wish["count"], wish["interval"], run)
        print(f"\nnautilus_trader: {run['objects_seconds']:.1f} CPU s more to make its objects of the events")


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description="Throughput of event-driven backtests.")
    parser.add_argument("--events", type=int, default=5_000_000)
    parser.add_argument("--double", action="store_true", help="twice as many too")
    parser.add_argument("--nautilus-events", type=int, default=300_000)
    parser.add_argument("--days", type=int, default=10)
    parser.add_argument("--repeat", type=int, default=2)
    parser.add_argument("--child", nargs="+", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.child is not None:
        what, *rest = chosen.child
        result = our_run(rest[0], int(rest[1]), rest[2]) if what == "run" else our_days(int(rest[0]))
        result["rss_mib"] = peak_mib()
        print(json.dumps(result))
        return 0
    hft, nautilus = interpreter("FAIRFIELD_HFTBACKTEST"), interpreter("FAIRFIELD_NAUTILUS")
    with tempfile.TemporaryDirectory() as name:
        table(chosen, Path(name), hft, nautilus)
    print("\n| days of a million events, streamed | CPU s | peak RSS MiB |\n|--:|--:|--:|")
    for days in (1, chosen.days):
        run = fresh("days", str(days))
        print(f"| {days} | {run['seconds']:.2f} | {run['rss_mib']:,.0f} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
