"""The daily engine beside its peers: whole walk-forwards, the same share orders on many assets, a sweep of pairs.

    python benchmarks/bench_daily.py [walk] [assets] [sweep] [--full] [--all-at-once]

walk    the walk-forward alone, which no peer has: 10 pods with 24 parameter sets; calibration, screening, accounts with
        lots, volume limits, impact, events, limits and forecasts of risk in every fold. --full: 500 assets x 2,500
        sessions, 20 folds.
assets  SMA(20, 100) on every asset (--full: 500 assets x 2,500 bars), 10 bps a trade, decided at one close and traded
        at the next. A position is a number of shares, which every engine can express: the kernel of our accounts,
        vectorbt (numba), backtesting.py (one run an asset: it knows one) and bt (one portfolio).
sweep   pairs (fast, slow) on one series (--full: 1,000 pairs on 100,000 bars): the kernel pair by pair, vectorbt in
        chunks of 50 pairs, and with --all-at-once in one call where the memory is there.

Signals are integer sums of cents, made once by the same code for every engine, so that no tie breaks two ways. Orders
must be equal in number and final values to 1e-9, or the program fails. Each engine runs in a fresh process after one
small warm-up call. CPU seconds and peak memory of that process. backtesting.py and bt are looked for in the interpreter
that the environment variable FAIRFIELD_PEERS names; without it their rows are left out, with a word.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from bench_accounting import (
    CAPITAL,
    FEE,
    SHARES,
    changes,
    closes,
    long_or_flat,
    moving_average,
    run_kernel,
    run_vectorbt,
)

CHUNK = 50
SMALL = {"walk": (60, 700, 4), "assets": (40, 1_000), "sweep": (40, 20_000)}
FULL = {"walk": (500, 2_500, 20), "assets": (500, 2_500), "sweep": (1_000, 100_000)}
TRAIN = 500
PEERS = "FAIRFIELD_PEERS"
NEEDED_GB = 10.0
"""What vectorbt takes for 1,000 pairs of 100,000 bars in one call, with room."""


def run_backtesting(close: np.ndarray, wanted: list[np.ndarray]) -> tuple[int, np.ndarray]:
    """One run of backtesting.py an asset; an order of one bar is filled at the next bar's open, here its close."""
    import pandas as pd
    from backtesting import Backtest, Strategy

    class Shares(Strategy):
        targets = None

        def init(self):
            self.held = 0.0

        def next(self):
            target = self.targets[len(self.data) - 1]
            if np.isnan(target) or target == self.held:
                return
            change, self.held = target - self.held, target
            if change > 0.0:
                self.buy(size=int(change))
            else:
                self.position.close()

    orders, final = 0, []
    index = pd.date_range("2000-01-01", periods=close.shape[0], freq="min")
    for column in range(close.shape[1]):
        price = close[:, column]
        bars = pd.DataFrame(dict.fromkeys(("Open", "High", "Low", "Close"), price), index=index)
        test = Backtest(bars, Shares, cash=CAPITAL, commission=FEE, trade_on_close=False, finalize_trades=False)
        found = test.run(targets=wanted[0][:, column])
        orders += 2 * len(found["_trades"]) + len(found["_strategy"].trades)
        final.append(found["_equity_curve"]["Equity"].iloc[-1])
    return orders, np.array(final)


def run_bt(close: np.ndarray, wanted: list[np.ndarray]) -> tuple[int, np.ndarray]:
    """One portfolio of bt with every asset; orders are sent at the close after the decision, as it fills at once."""
    import bt
    import pandas as pd

    names = [f"a{column}" for column in range(close.shape[1])]
    index = pd.date_range("2000-01-01", periods=close.shape[0], freq="D")
    due = np.full(close.shape, np.nan)
    due[1:] = wanted[0][:-1]
    place, held = {day: row for row, day in enumerate(index)}, np.zeros(close.shape[1])

    class Trade(bt.Algo):
        def __call__(self, target):
            row = place.get(target.now)
            if row is None:
                return True
            for column in np.flatnonzero(due[row] != held):
                if not np.isnan(due[row, column]):
                    target.transact(due[row, column] - held[column], child=names[column])
                    held[column] = due[row, column]
            return True

    strategy = bt.Strategy("shares", [Trade()], children=names)
    test = bt.Backtest(
        strategy,
        pd.DataFrame(close, index=index, columns=names),
        initial_capital=CAPITAL * close.shape[1],
        commissions=lambda quantity, price: abs(quantity) * price * FEE,
        progress_bar=False,
    )
    test.run()
    return len(test.strategy.get_transactions()), np.array([test.strategy.values.iloc[-1]])


ENGINES = {"kernel": run_kernel, "vectorbt": run_vectorbt, "backtesting.py": run_backtesting, "bt": run_bt}


def assets_job(columns: int, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Closes and decisions of SMA(20, 100) on every asset."""
    close = closes(rows, columns, 0.02)
    return close, changes(long_or_flat(close, 20, 100))


def pairs_of(columns: int) -> list[tuple[int, int]]:
    return [(5 + 5 * (i % 20), 120 + 20 * (i // 20)) for i in range(columns)]


def sweep_chunks(close: np.ndarray, columns: int, size: int):
    """Decisions of `size` pairs at a time, (rows, size); each window's sums are made when they are needed."""
    cents = np.round(close[:, 0] * 100).astype(np.int64)[:, None]
    fast_sums = {fast: moving_average(cents, fast)[:, 0] for fast in {pair[0] for pair in pairs_of(columns)}}
    pairs = pairs_of(columns)
    for start in range(0, columns, size):
        block = np.empty((close.shape[0], min(size, columns - start)))
        slow_sums: dict[int, np.ndarray] = {}
        for at, (fast, slow) in enumerate(pairs[start : start + size]):
            if slow not in slow_sums:
                slow_sums = {slow: moving_average(cents, slow)[:, 0]}
            above = fast_sums[fast] * slow > slow_sums[slow] * fast
            above[: slow - 1] = False
            block[:, at : at + 1] = changes(above[:, None])
        yield block


def measure(part: str, engine: str, columns: int, rows: int, chunk: int) -> None:
    """Run one engine in this process and print a line of JSON."""
    run = ENGINES[engine]
    orders, final, spent = 0, [], 0.0
    if part == "assets":
        close, wanted = assets_job(columns, rows)
        if engine in ("kernel", "vectorbt"):
            run(close[:300], [wanted[:300]])
        else:
            run(close[:300, :2], [wanted[:300, :2]])
        chunks = [wanted]
    else:
        close = closes(rows, 1, 0.0005)
        for block in sweep_chunks(close[:300], min(columns, 2), 1):
            run(close[:300], [block])
        chunks = sweep_chunks(close, columns, chunk)
    whole = time.process_time()
    for block in chunks:
        start = time.process_time()
        found = run(close, [block])
        spent += time.process_time() - start
        orders += found[0]
        final.append(found[1])
        gc.collect()  # portfolios of vectorbt hold each other: their memory would be that of several chunks
    whole = time.process_time() - whole
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    total = np.concatenate(final)
    print(json.dumps({"cpu": spent, "whole": whole, "peak": peak, "orders": orders, "final": total.tolist()}))


def child(interpreter: str, *arguments: object) -> dict:
    command = [interpreter, __file__, *(str(item) for item in arguments)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    finished = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
    if finished.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{finished.stderr[-2000:]}")
    return dict(json.loads(finished.stdout.splitlines()[-1]))


def compare(own: dict, other: dict, name: str) -> str:
    """The largest relative difference of final values; the program ends where answers are not equal."""
    ours, theirs = np.array(own["final"]), np.array(other["final"])
    if theirs.size == 1 and ours.size > 1:
        ours = ours.sum(keepdims=True)
    gap = float(np.max(np.abs(ours / theirs - 1.0)))
    if own["orders"] != other["orders"] or gap > 1e-9:
        raise SystemExit(
            f"{name} does not agree: {other['orders']} orders for {own['orders']}, values off by {gap:.1e}"
        )
    return f"{gap:.0e}"


def show(rows: list[tuple[str, dict]]) -> None:
    own = rows[0][1]
    print("| engine | CPU s | times ours | with signals, CPU s | peak MB | orders | values off by at most |")
    print("|---|--:|--:|--:|--:|--:|--:|")
    for name, found in rows:
        gap = compare(own, found, name) if found is not own else ""
        ratio = f"{found['cpu'] / own['cpu']:.1f}"
        numbers = (
            f"{found['cpu']:.3f} | {ratio} | {found['whole']:.2f} | {found['peak']:.0f} | {found['orders']:,} | {gap}"
        )
        print(f"| {name} | {numbers} |", flush=True)


def assets(columns: int, rows: int) -> None:
    print(f"\nassets: SMA(20, 100), {columns} assets x {rows} bars, {FEE:.2%} a trade, {SHARES:g} shares\n")
    found = [
        (engine, child(sys.executable, "--child", "assets", engine, columns, rows, 0))
        for engine in ("kernel", "vectorbt")
    ]
    peers = os.environ.get(PEERS)
    if peers:
        found += [
            (engine, child(peers, "--child", "assets", engine, columns, rows, 0)) for engine in ("backtesting.py", "bt")
        ]
    show(found)
    if not peers:
        print(f"\nbacktesting.py and bt are left out: {PEERS} names no interpreter that has them")


def sweep(columns: int, rows: int, *, at_once: bool) -> None:
    print(f"\nsweep: {columns} pairs on {rows} bars, {FEE:.2%} a trade\n")
    found = [("kernel", child(sys.executable, "--child", "sweep", "kernel", columns, rows, CHUNK))]
    found.append(
        (f"vectorbt, {CHUNK} pairs a call", child(sys.executable, "--child", "sweep", "vectorbt", columns, rows, CHUNK))
    )
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    needed = NEEDED_GB * columns * rows / 1e8
    if at_once and free > needed:
        found.append(
            ("vectorbt, one call", child(sys.executable, "--child", "sweep", "vectorbt", columns, rows, columns))
        )
    show(found)
    if at_once and free <= needed:
        print(f"\nvectorbt in one call is left out: it takes about {needed:.0f} GB and {free:.0f} GB are free")


def make_plan(test: int):
    from backtests import FoldSettings, PodPlan, TradingRules, WalkForwardPlan
    from risk.limits import default_limits
    from strategies.equal_weight import EqualWeight
    from strategies.low_volatility import LowVolatility
    from strategies.momentum import TimeSeriesMomentum
    from strategies.pod import parameter_grid
    from strategies.reversal import ShortTermReversal

    limits = default_limits()
    signal = {"signal_sessions": [63, 126, 252]}
    grids = [
        (TimeSeriesMomentum(name="momentum"), signal),
        (TimeSeriesMomentum(name="momentum_10", rebalance_every=10), signal),
        (TimeSeriesMomentum(name="momentum_both", long_only=False), signal),
        (TimeSeriesMomentum(name="momentum_skip", skip=21), signal),
        (ShortTermReversal(name="reversal"), {"signal_sessions": [5, 10]}),
        (ShortTermReversal(name="reversal_long", long_only=True), {"signal_sessions": [5, 10]}),
        (ShortTermReversal(name="reversal_10", rebalance_every=10), {"signal_sessions": [5, 10]}),
        (LowVolatility(name="low_volatility"), {"volatility_sessions": [126, 252]}),
        (LowVolatility(name="low_volatility_10", rebalance_every=10), {"volatility_sessions": [63, 126, 252]}),
    ]
    pods = [PodPlan("equal_weight", (EqualWeight(name="equal_weight"),))]
    pods += [PodPlan(pod.name, parameter_grid(pod, grid), limits=limits) for pod, grid in grids]
    return WalkForwardPlan(
        name="bench", pods=tuple(pods), benchmark="equal_weight", folds=FoldSettings(train=TRAIN, test=test),
        capital=50e6, rules=TradingRules(gross_limit=1.5),
    )  # fmt: skip


def measure_walk(columns: int, rows: int, folds: int) -> None:
    """The whole walk-forward in this process; seconds by kind of task."""
    from backtests import run_walkforward
    from backtests.audit.lookahead import random_panel

    panel, spent, last = random_panel(1, rows, columns), {}, [0.0]
    plan = make_plan((rows - TRAIN - 1) // folds)

    def count(event) -> None:
        if event.kind == "finished":
            now = time.process_time()
            kind = "calibration" if "costs" in event.name else "screening" if "parameters" in event.name else "accounts"
            spent[kind] = spent.get(kind, 0.0) + now - last[0]
            last[0] = now

    with tempfile.TemporaryDirectory(prefix="bench_daily_") as scratch:
        last[0] = start = time.process_time()
        folder = run_walkforward(plan, panel, Path(scratch), workers=0, progress=count)
        cpu = time.process_time() - start
        made = json.loads((folder / "pods" / "momentum" / "statistics.json").read_text())["observations"]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"cpu": cpu, "peak": peak, "trials": plan.trials, "sessions": made, "by": spent}))


def walk(columns: int, rows: int, folds: int) -> None:
    print(f"\nwalk: {columns} assets x {rows} sessions, 10 pods, {folds} folds\n")
    found = child(sys.executable, "--child", "walk", "fairfield", columns, rows, folds)
    parts = ", ".join(f"{name} {seconds:.1f}" for name, seconds in found["by"].items())
    rest = found["cpu"] - sum(found["by"].values())
    print(
        f"{found['cpu']:.1f} CPU s ({parts}, statistics and files {rest:.1f}), peak {found['peak']:.0f} MB; "
        f"{found['trials']} parameter sets, {found['sessions']:,} tested sessions of each account"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", choices=("walk", "assets", "sweep", []), help="all by default")
    parser.add_argument("--full", action="store_true", help="the sizes named above; minutes")
    parser.add_argument("--all-at-once", action="store_true")
    given = parser.parse_args()
    sizes = FULL if given.full else SMALL
    for part in given.parts or ("assets", "sweep", "walk"):
        if part == "sweep":
            sweep(*sizes["sweep"], at_once=given.all_at_once)
        else:
            {"walk": walk, "assets": assets}[part](*sizes[part])


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        kind, engine, *numbers = sys.argv[2:]
        columns, rows, third = (int(number) for number in numbers)
        if kind == "walk":
            measure_walk(columns, rows, third)
        else:
            measure(kind, engine, columns, rows, third)
    else:
        main()
