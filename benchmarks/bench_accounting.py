"""Bar backtests: the accounting kernel beside vectorbt's numba engine in one run, orders and values cross-checked.

    python benchmarks/bench_accounting.py [daily | minutes] [--columns N] [--rows N] [--repeat N]

daily    SMA(20, 100) on 500 assets x 2,500 daily bars, 10 bps per trade, signals act one bar later, no shared cash
minutes  a sweep of (fast, slow) pairs on one series of minute bars

A position is a fixed number of shares, which both engines can express: a signal to be all in is a number of shares at
the decision for the kernel, and whatever the cash buys at the fill for vectorbt.

Each engine runs in its own process (so that peak memory is its own), after one warm-up call (so that compilation is
not counted; it is shown apart). CPU seconds, because the wall clock of a shared machine says little. Both engines
account fully: shares, cash, costs and value at every bar. vectorbt counts fixed fees only; the kernel also has events,
interest, volume limits, lots and impact in its loop and pays for them here.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time

import numpy as np

FEE = 0.001
CAPITAL = 1e6
SHARES = 500.0


def closes(rows: int, columns: int, scale: float) -> np.ndarray:
    random = np.random.default_rng(7)
    return np.round(50.0 * np.exp(np.cumsum(random.normal(0.0, scale, (rows, columns)), axis=0)), 2).clip(1.0)


def moving_average(cents: np.ndarray, window: int) -> np.ndarray:
    """Rolling sums of integer cents, so that ties are exact in every engine; int64 (rows, columns)."""
    total = np.cumsum(cents, axis=0)
    total[window:] = total[window:] - total[:-window]
    return total


def long_or_flat(close: np.ndarray, fast: int, slow: int) -> np.ndarray:
    """1 while the fast average is above the slow one (both known), 0 else."""
    cents = np.round(close * 100).astype(np.int64)
    above = moving_average(cents, fast) * slow > moving_average(cents, slow) * fast
    above[: slow - 1] = False
    return above


def changes(above: np.ndarray) -> np.ndarray:
    """Shares wanted at the bars where that changes, NaN elsewhere: the decisions of both engines."""
    before = np.zeros_like(above)
    before[1:] = above[:-1]
    return np.where(above != before, SHARES * above, np.nan)


def run_kernel(close: np.ndarray, wanted: list[np.ndarray]) -> tuple[int, np.ndarray]:
    """One account of one instrument per column; `wanted` holds blocks of columns, all on `close` (one or as many)."""
    from backtests.daily import kernels
    from backtests.daily.accounting import TradingRules, kernel_schedule
    from backtests.daily.kernel_arrays import Costs, Market, march_target_path, opening_book
    from strategies.execution import Immediate

    rows = close.shape[0]
    rules = TradingRules(fill_price="close", participation_limit=1.0, whole_lots=False, gross_limit=1.0).kernel_rules()
    schedule = kernel_schedule(Immediate(), 1)
    grid = np.ones((rows, 6, 1))
    grid[:, kernels.VOLUME], grid[:, kernels.CASH_GROSS :] = 1e15, 0.0
    market = Market(grid, np.zeros(rows), np.array([[0.0], [1.0]]))
    costs = Costs(np.array([[0.0], [0.02], [1e15]]), np.array([1e-12, 0.0, FEE]))
    path, count = np.empty((rows, kernels.N_TOTALS)), np.zeros(1, dtype=np.int64)
    final, at = [], 0
    for block in wanted:
        for column in range(block.shape[1]):
            price = close[:, at % close.shape[1]]
            grid[:, kernels.FILL_PRICE, 0] = grid[:, kernels.CLOSE, 0] = price
            targets = np.ascontiguousarray(block[:, column])[:, None]
            book = opening_book(CAPITAL, price[:1])
            march_target_path(market, costs, schedule, rules, book, targets, True, path, count)
            final.append(path[-1, kernels.NET_ASSET_VALUE])
            at += 1
    return int(count[0]), np.array(final)


def run_vectorbt(close: np.ndarray, wanted: list[np.ndarray]) -> tuple[int, np.ndarray]:
    import vectorbt as vbt

    orders, final = 0, []
    for block in wanted:
        columns = block.shape[1]
        prices = close if close.shape[1] == columns else np.repeat(close, columns, axis=1)
        size = np.full(block.shape, np.nan)
        size[1:] = block[:-1]
        portfolio = vbt.Portfolio.from_orders(
            close=prices, size=size, size_type="targetamount", direction="longonly", fees=FEE, init_cash=CAPITAL,
            freq="1D", engine="numba",
        )  # fmt: skip
        value = portfolio.value()
        orders += int(portfolio.orders.count().sum())
        final.append(value.iloc[-1].to_numpy())
    return orders, np.concatenate(final)


def job(name: str, columns: int, rows: int, block: int) -> tuple[np.ndarray, list[np.ndarray]]:
    if name == "daily":
        close = closes(rows, columns, 0.02)
        return close, [changes(long_or_flat(close, 20, 100))]
    close = closes(rows, 1, 0.0005)
    pairs = [(5 + 5 * (i % 20), 120 + 20 * (i // 20)) for i in range(columns)]
    made = (np.concatenate([changes(long_or_flat(close, *pair)) for pair in pairs[at : at + block]], axis=1)
            for at in range(0, columns, block))  # fmt: skip
    return close, list(made)


def measure(engine: str, name: str, columns: int, rows: int, repeat: int) -> None:
    """Run one engine in this process and print a line of JSON."""
    run = run_kernel if engine == "kernel" else run_vectorbt
    close, wanted = job(name, columns, rows, 50)
    base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    start = time.process_time()
    run(close[:200], [wanted[0][:200, : close.shape[1] if name == "daily" else 2]])
    first = time.process_time() - start
    seconds = []
    for _ in range(repeat):
        start = time.process_time()
        orders, final = run(close, wanted)
        seconds.append(time.process_time() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"engine": engine, "first": first, "cpu": min(seconds), "peak": peak, "base": base,
                      "orders": orders, "final": final.tolist()}))  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("job", nargs="?", default="daily", choices=("daily", "minutes"))
    parser.add_argument("--columns", type=int)
    parser.add_argument("--rows", type=int)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--engine", choices=("kernel", "vectorbt"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    columns = given.columns or (500 if given.job == "daily" else 100)
    rows = given.rows or (2_500 if given.job == "daily" else 100_000)
    if given.engine:
        measure(given.engine, given.job, columns, rows, given.repeat)
        return
    results = []
    for engine in ("kernel", "vectorbt"):
        command = [sys.executable, __file__, given.job, "--columns", str(columns), "--rows", str(rows),
                   "--repeat", str(given.repeat), "--engine", engine]  # fmt: skip
        finished = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        results.append(json.loads(finished.stdout.splitlines()[-1]))
    print(f"{given.job}: {columns} columns x {rows} bars, {FEE:.2%} per trade\n")
    print("| engine | CPU s | first call s (import, JIT) | peak MB | of it data MB | orders |")
    print("|---|---|---|---|---|---|")
    for r in results:
        numbers = f"{r['cpu']:.3f} | {r['first']:.2f} | {r['peak']:.0f} | {r['base']:.0f} | {r['orders']:,}"
        print(f"| {r['engine']} | {numbers} |")
    own, other = (np.array(r["final"]) for r in results)
    print(f"\nlargest relative difference of final values: {np.max(np.abs(own / other - 1.0)):.1e}")
    if results[0]["orders"] != results[1]["orders"]:
        raise SystemExit(f"orders differ: {results[0]['orders']} and {results[1]['orders']}")


if __name__ == "__main__":
    main()
