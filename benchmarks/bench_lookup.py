"""Quotes a second from a policy library on one core, and how long a library of 10,000 policies takes to open.

    python benchmarks/bench_lookup.py [--folder DIR] [--inventories Q] [--quotes N]

One quote is a (bid, ask) pair at one time and inventory. The library is built once below DIR (100 x 100 values of two
parameters, every game solved) and reused by later runs. Figures are CPU seconds, medians of five runs, compilation not
counted:
  prepared, random     one policy prepared for fixed parameters; times and inventories at random, from memory to memory
  prepared, pod        the loop of a pod: exponential waiting times, each event looks its quotes up, inventory moves
  between, random      new parameters for each quote: four policies of the mapped library interpolated each time
  between, one cell    new parameters for each quote, all between the same four policies
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from numba import njit

from mfg_core import MarketMakingGame
from mfg_core.library.lookup_kernels import LOOKUP_KERNELS, lookup_many, lookup_many_corners, lookup_quotes
from strategies.policy_library import open_policy_library
from strategies.policy_library_build import build_policy_library
from strategies.policy_library_plan import LibraryTolerances

OPEN = """
import json, sys, time
from strategies.policy_library import open_policy_library
spent = []
for _ in range(5):
    begin = time.perf_counter()
    library = open_policy_library(sys.argv[1])
    spent.append(1e3 * (time.perf_counter() - begin))
print(json.dumps({"policies": library.size, "first": spent[0], "later": sorted(spent[1:])[1]}))
"""


def pod(key: str):
    """The loop of a pod; `key` ties its cache to the look-up's code."""

    @njit(cache=True)
    def trade(prepared, waits, sides, out):
        key  # noqa: B018 - a closure that numba's cache key sees
        t, inventory, size, earned = 0.0, 0, prepared.table.shape[0] // 2, 0.0
        for i in range(waits.size):
            t += waits[i]
            if t > prepared.horizon:
                t = 0.0
            bid, ask = lookup_quotes(prepared, t, inventory)
            if sides[i] and inventory > -size:
                inventory -= 1
                earned += ask
            elif not sides[i] and inventory < size:
                inventory += 1
                earned += bid
        out[0] = earned

    return trade


def measure(work) -> float:
    work()
    spent = []
    for _ in range(5):
        begin = time.process_time()
        work()
        spent.append(time.process_time() - begin)
    return statistics.median(spent)


def library_of(folder: Path, size: int) -> Path:
    game = MarketMakingGame(
        ask_arrival=1.0,
        bid_arrival=1.0,
        fill_decay=0.5,
        running_penalty=0.01,
        terminal_penalty=0.1,
        horizon=10.0,
        max_inventory=size,
    )
    axes = {"fill_decay": np.geomspace(0.3, 0.8, 100), "running_penalty": np.geomspace(0.005, 0.05, 100)}
    begin = time.process_time()
    library = build_policy_library(
        folder, game, axes, tolerances=LibraryTolerances(rtol=1e-6, atol=1e-8), progress=show
    )
    print(f"\nbuilt in {time.process_time() - begin:.0f} CPU s", flush=True)
    return library.path


def show(done: int, total: int) -> None:
    print(f"\r{done} of {total} policies", end="", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("/tmp/fairfield-bench-lookup"))
    parser.add_argument("--inventories", type=int, default=10)
    parser.add_argument("--quotes", type=int, default=2_000_000)
    asked = parser.parse_args()
    folder = asked.folder / f"Q{asked.inventories}"
    found = [path for path in folder.glob("*/library.json") if not path.parent.name.startswith(".")]
    path = found[0].parent if found else library_of(folder, asked.inventories)
    cold = subprocess.run([sys.executable, "-c", OPEN, str(path)], capture_output=True, text=True, check=True)
    opened = json.loads(cold.stdout)
    library = open_policy_library(path)
    begin = time.perf_counter()
    library.verify()
    verified = time.perf_counter() - begin
    megabytes = sum(entry["bytes"] for entry in library.description["files"].values()) / 1e6
    print(
        f"{opened['policies']} policies, {megabytes:.0f} MB, {library.block.nodes}: opened in {opened['first']:.2f} ms "
        f"in a fresh process, {opened['later']:.2f} ms again; all bytes verified in {1e3 * verified:.0f} ms"
    )
    print(f"worst of the certificates: {library.description['worst']}")
    print(f"between policies: {library.description['off_grid_error']}")
    draw, n = np.random.default_rng(1), asked.quotes
    t, x = draw.uniform(0.0, 10.0, n), draw.integers(-asked.inventories, asked.inventories + 1, n)
    bid, ask = np.empty(n), np.empty(n)
    prepared = library.prepare(fill_decay=0.5, running_penalty=0.01)
    waits, sides, out = draw.exponential(0.002, n), draw.random(n) < 0.5, np.empty(1)
    trade, arrays = pod(LOOKUP_KERNELS), library.arrays()
    anywhere = np.stack([draw.uniform(axis[0], axis[-1], n) for axis in library.block.axes.values()], axis=1)
    cell = np.stack([draw.uniform(axis[50], axis[51], n) for axis in library.block.axes.values()], axis=1)
    corners, weights = np.empty(4, dtype=np.int64), np.empty(4)
    for name, work in (
        ("prepared, random", lambda: lookup_many(prepared, t, x, bid, ask)),
        ("prepared, pod", lambda: trade(prepared, waits, sides, out)),
        ("between, random", lambda: lookup_many_corners(arrays, 0, anywhere, t, x, corners, weights, bid, ask)),
        ("between, one cell", lambda: lookup_many_corners(arrays, 0, cell, t, x, corners, weights, bid, ask)),
    ):
        spent = measure(work)
        print(f"{name:20s} {n / spent / 1e6:8.1f} million quotes a second   {1e9 * spent / n:6.1f} ns each")


if __name__ == "__main__":
    main()
