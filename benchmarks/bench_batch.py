"""CPU seconds of many different market-making games: one by one, and as a batch with warm starts.

    python benchmarks/bench_batch.py [--games N] [--workers N] [--rtol X]

Parameters are drawn around the reference cases with a fixed seed (Q = 20). A sample of the batch is compared with
solves to a hundredth of the tolerance.
"""

from __future__ import annotations

import argparse
import time
import warnings

import numpy as np

from mfg_core import EdgeMassWarning, MarketMakingGame, solve_mfg
from mfg_core.study.batch import solve_many


def random_games(count: int, seed: int = 0, max_inventory: int = 20) -> list[MarketMakingGame]:
    """Arrivals, decay, penalties and laws within a factor of two or so of the reference cases."""
    rng = np.random.default_rng(seed)
    games = []
    for _ in range(count):
        arrival, lopsided = rng.uniform(0.5, 2.0), rng.uniform(-0.1, 0.1)
        games.append(
            MarketMakingGame(
                ask_arrival=arrival * (1.0 + lopsided),
                bid_arrival=arrival * (1.0 - lopsided),
                fill_decay=rng.uniform(0.3, 1.5),
                running_penalty=10.0 ** rng.uniform(-2.3, -1.0),
                terminal_penalty=10.0 ** rng.uniform(-1.5, -0.5),
                horizon=rng.uniform(5.0, 15.0),
                max_inventory=max_inventory,
                competition=rng.uniform(0.5, 1.0),
                initial_mean=rng.uniform(-1.0, 1.0),
                initial_std=rng.uniform(1.0, 3.0),
            )
        )
    return games


def measure(games: list[MarketMakingGame], rtol: float, workers: int) -> tuple[float, float, object]:
    """(CPU seconds, wall seconds, the batch)."""
    began, clock = time.process_time(), time.perf_counter()
    batch = solve_many(games, rtol=rtol, workers=workers)
    return time.process_time() - began, time.perf_counter() - clock, batch


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--games", type=int, default=1000)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--rtol", type=float, default=1e-9)
    options = parser.parse_args()
    warnings.simplefilter("ignore", EdgeMassWarning)
    games = random_games(options.games)
    solve_mfg(games[0], rtol=options.rtol)
    began = time.process_time()
    single = [solve_mfg(game, rtol=options.rtol) for game in games[:: max(1, len(games) // 100)]]
    each = (time.process_time() - began) / len(single)
    print(f"one by one   {1e3 * each:7.2f} ms a game (sample of {len(single)})")
    cpu, wall, batch = measure(games, options.rtol, options.workers)
    solved = [equilibrium for equilibrium in batch.equilibria if equilibrium is not None]
    sweeps = np.mean([equilibrium.certificate.iterations for equilibrium in solved])
    steps = np.mean([equilibrium.times.size - 1 for equilibrium in solved])
    print(
        f"batch        {1e3 * cpu / len(games):7.2f} ms a game, {cpu:.2f} s CPU and {wall:.2f} s wall in all with "
        f"{options.workers} worker(s); {sweeps:.1f} sweeps and {steps:.0f} steps a game; {len(batch.failures)} failed"
    )
    worst = 0.0
    for equilibrium in solved[:: max(1, len(solved) // 20)]:
        exact = solve_mfg(equilibrium.game, rtol=max(options.rtol / 100.0, 1e-13))
        worst = max(worst, float(np.max(np.abs(equilibrium.value[0] - exact.value[0]))))
    print(f"largest error of V(0, x) in a sample: {worst:.1e}")


if __name__ == "__main__":
    main()
