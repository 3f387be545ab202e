"""CPU seconds of many different market-making games: one by one, and as a batch with warm starts.

    python benchmarks/bench_batch.py [--games N] [--workers N] [--rtol X]

Parameters are drawn around the reference cases with a fixed seed (Q = 20): once with as many buyers as sellers, once
with up to 10 % more of either and a crowd that starts off balance, which takes more sweeps and finer grids. A sample of
each batch is compared with solves to a thousandth of the tolerance.
"""

from __future__ import annotations

import argparse
import time
import warnings

import numpy as np

from mfg_core import EdgeMassWarning, MarketMakingGame, solve_mfg
from mfg_core.study.batch import solve_many


def random_games(
    count: int, seed: int = 0, max_inventory: int = 20, *, lopsided: bool = True
) -> list[MarketMakingGame]:
    """Arrivals, decay, penalties and laws within a factor of two or so of the reference cases."""
    rng = np.random.default_rng(seed)
    games = []
    for _ in range(count):
        arrival, tilt = rng.uniform(0.5, 2.0), rng.uniform(-0.1, 0.1) * lopsided
        games.append(
            MarketMakingGame(
                ask_arrival=arrival * (1.0 + tilt),
                bid_arrival=arrival * (1.0 - tilt),
                fill_decay=rng.uniform(0.3, 1.5),
                running_penalty=10.0 ** rng.uniform(-2.3, -1.0),
                terminal_penalty=10.0 ** rng.uniform(-1.5, -0.5),
                horizon=rng.uniform(5.0, 15.0),
                max_inventory=max_inventory,
                competition=rng.uniform(0.5, 1.0),
                initial_mean=rng.uniform(-1.0, 1.0) * lopsided,
                initial_std=rng.uniform(1.0, 3.0),
            )
        )
    return games


def measure(games: list[MarketMakingGame], rtol: float, workers: int) -> tuple[float, float, object]:
    """(CPU seconds, wall seconds, the batch)."""
    began, clock = time.process_time(), time.perf_counter()
    batch = solve_many(games, rtol=rtol, workers=workers)
    return time.process_time() - began, time.perf_counter() - clock, batch


def report(games: list[MarketMakingGame], rtol: float, workers: int) -> None:
    """Print the figures of one draw."""
    solve_mfg(games[0], rtol=rtol)
    began = time.process_time()
    single = [solve_mfg(game, rtol=rtol) for game in games[:: max(1, len(games) // 100)]]
    each = (time.process_time() - began) / len(single)
    print(f"  one by one   {1e3 * each:7.2f} ms a game (sample of {len(single)})")
    cpu, wall, batch = measure(games, rtol, workers)
    solved = [equilibrium for equilibrium in batch.equilibria if equilibrium is not None]
    sweeps = np.mean([equilibrium.certificate.iterations for equilibrium in solved])
    steps = np.mean([equilibrium.times.size - 1 for equilibrium in solved])
    print(
        f"  batch        {1e3 * cpu / len(games):7.2f} ms a game, {cpu:.2f} s CPU and {wall:.2f} s wall in all with "
        f"{workers} worker(s); {sweeps:.1f} sweeps and {steps:.0f} steps a game; {len(batch.failures)} failed"
    )
    worst = 0.0
    for equilibrium in solved[:: max(1, len(solved) // 20)]:
        exact = solve_mfg(equilibrium.game, rtol=max(rtol / 1000.0, 1e-13)).value[0]
        worst = max(worst, float(np.max(np.abs(equilibrium.value[0] - exact)) / np.max(np.abs(exact))))
    print(f"  largest error of V(0, x) in a sample, relative to the largest |V(0, x)|: {worst:.1e}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--games", type=int, default=1000)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--rtol", type=float, default=1e-8)
    options = parser.parse_args()
    warnings.simplefilter("ignore", EdgeMassWarning)
    for words, lopsided in (("as many buyers as sellers", False), ("lopsided by up to 10 %", True)):
        print(f"{options.games} games, {words}, rtol {options.rtol:g}:")
        report(random_games(options.games, lopsided=lopsided), options.rtol, options.workers)


if __name__ == "__main__":
    main()
