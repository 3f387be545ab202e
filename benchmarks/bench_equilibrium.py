"""CPU milliseconds of each reference equilibrium, and the order of the schemes by slope.

    python benchmarks/bench_equilibrium.py [--repeat N]

Times are medians of warm solves (compilation not counted) to rtol 1e-9, the certificate included.
"""

from __future__ import annotations

import argparse
import itertools
import math
import statistics
import time
import warnings

import numpy as np

from mfg_core import ClearingGame, EdgeMassWarning, ExecutionGame, MarketMakingGame, solve_mfg
from mfg_core.execution_solver import _shoot
from mfg_core.market_reply import reply
from mfg_core.time_grid import bisect


def market(arrivals, k, eta, gamma, horizon, size, competition=1.0, mean=0.0, std=0.0, low=-math.inf, high=math.inf):
    return MarketMakingGame(
        ask_arrival=arrivals[0],
        bid_arrival=arrivals[1],
        fill_decay=k,
        running_penalty=eta,
        terminal_penalty=gamma,
        horizon=horizon,
        max_inventory=size,
        competition=competition,
        initial_mean=mean,
        initial_std=std,
        min_half_spread=low,
        max_half_spread=high,
    )


def execution(phi, gamma, eta0, eta1, mean, horizon):
    return ExecutionGame(
        temporary_impact=eta0,
        crowd_impact=eta1,
        running_penalty=phi,
        terminal_penalty=gamma,
        initial_mean=mean,
        initial_std=1.0,
        horizon=horizon,
    )


CASES = {
    "market making, base": market((1.0, 1.0), 0.5, 0.01, 0.1, 10.0, 10, std=2.0),
    "market making, asymmetric": market((1.2, 0.8), 0.5, 0.01, 0.1, 10.0, 10, mean=1.0, std=2.0),
    "market making, lone": market((1.0, 1.0), 0.5, 0.01, 0.1, 10.0, 10, competition=0.0, std=2.0),
    "market making, bounded": market((1.0, 1.0), 0.5, 0.05, 1.0, 10.0, 10, std=2.0, low=0.0, high=4.0),
    "market making, A 10, flat start": market((10.0, 10.0), 1.5, 0.05, 0.1, 1.0, 10),
    "market making, steep (k gamma (2Q-1) = 30)": market((5.0, 5.0), 10.0, 0.5, 0.2, 1.0, 8),
    "execution, phi .1": execution(0.1, 1.0, 1.0, 0.5, 1.0, 1.0),
    "execution, eta0 .05": execution(0.1, 1.0, 0.05, 0.5, 0.5, 0.5),
    "execution, prototype, mean 0": execution(0.087811, 2.778412, 1e-4, 0.071428, 0.0, 0.5),
    "execution, prototype, mean 2": execution(0.087811, 2.778412, 1e-4, 0.071428, 2.0, 0.5),
    "clearing, constant supply": ClearingGame(
        supply=-0.3, temporary_impact=0.1, running_penalty=0.5, terminal_penalty=2.0, initial_mean=1.0, horizon=2.0
    ),
}


def measure(game, repeat: int) -> tuple[float, object]:
    solved = solve_mfg(game)
    spent = []
    for _ in range(repeat):
        begin = time.process_time()
        solve_mfg(game)
        spent.append(1e3 * (time.process_time() - begin))
    return statistics.median(spent), solved


def slopes(answer, sizes: tuple[int, ...], finest: int) -> list[float]:
    exact = answer(finest)
    errors = [float(np.max(np.abs(answer(size) - exact))) for size in sizes]
    return [math.log2(rough / fine) for rough, fine in itertools.pairwise(errors)]


def market_answer(game):
    def answer(panels: int) -> np.ndarray:
        times = bisect(np.linspace(0.0, game.horizon, panels + 1))
        path = np.stack([2.0 + 0.3 * np.sin(times), 2.0 + 0.2 * np.cos(times)])
        value, density, _ = reply(game, times, path)
        return np.concatenate([value[0], density[-1]])

    return answer


def execution_answer(game):
    growth = float(solve_mfg(game).policy.log_remaining[-1])
    return lambda steps: _shoot(game, np.linspace(0.0, game.horizon, steps + 1), growth).riccati[:1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeat", type=int, default=15)
    repeat = parser.parse_args().repeat
    warnings.simplefilter("ignore", EdgeMassWarning)
    print(
        f"{'case':44s} {'CPU ms':>8s} {'steps':>6s} {'sweeps':>6s} {'residual':>9s} {'grid err':>9s} {'exploit.':>9s}"
    )
    for name, game in CASES.items():
        spent, solved = measure(game, repeat)
        proof = solved.certificate
        print(
            f"{name:44s} {spent:8.2f} {solved.times.size - 1:6d} {proof.iterations:6d} {proof.residual:9.1e} "
            f"{proof.discretisation_error:9.1e} {proof.exploitability:9.1e}"
        )
    wide = market((1.0, 1.0), 0.5, 0.01, 0.1, 10.0, 10, std=2.0, low=-40.0, high=40.0)
    print("order of one march by halving the step (4 expected):")
    for name, answer in (
        ("linear transform", market_answer(CASES["market making, base"])),
        ("bounded scheme, bounds far", market_answer(wide)),
        ("Riccati flow", execution_answer(CASES["execution, phi .1"])),
    ):
        sizes, finest = ((4, 8, 16), 256) if name == "Riccati flow" else ((16, 32, 64), 1024)
        print(f"  {name:30s} " + " ".join(f"{slope:.2f}" for slope in slopes(answer, sizes, finest)))


if __name__ == "__main__":
    main()
