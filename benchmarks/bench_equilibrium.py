"""CPU milliseconds and true errors of each reference equilibrium, and the order of the schemes by slope.

    python benchmarks/bench_equilibrium.py [--repeat N]

Times are medians of warm solves (compilation not counted), the certificate included. The true error of the
market-making games is that of V(0, 0), against a solve to 1e-12, or against the value published for the case (1e-10).
"""

from __future__ import annotations

import argparse
import itertools
import math
import statistics
import time
import warnings

import numpy as np

from mfg_core import ClearingGame, EdgeMassWarning, ExecutionGame, MarketMakingGame, OutsideOption, Share, solve_mfg
from mfg_core.family.time_grid import bisect
from mfg_core.linear_quadratic.execution_solver import _shoot
from mfg_core.market.market_reply import reply


def market(
    arrivals, k, eta, gamma, horizon, size, competition=1.0, mean=0.0, std=0.0, low=-math.inf, high=math.inf, **others
):
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
        **others,
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


BASE = ((1.0, 1.0), 0.5, 0.01, 0.1, 10.0)
PUBLISHED = {
    "market making, base": 39.99599847,
    "market making, asymmetric": 41.15062318,
    "market making, lone": 13.93038074,
}
"""V(0, 0) to ten digits."""

CASES = {
    "market making, base": market(*BASE, 10, std=2.0),
    "market making, Q = 20": market(*BASE, 20, std=2.0),
    "market making, Q = 50": market(*BASE, 50, std=2.0),
    "market making, asymmetric": market((1.2, 0.8), 0.5, 0.01, 0.1, 10.0, 10, mean=1.0, std=2.0),
    "market making, lone": market((1.0, 1.0), 0.5, 0.01, 0.1, 10.0, 10, competition=0.0, std=2.0),
    "market making, adverse selection and fee": market(*BASE, 10, std=2.0, adverse_selection=0.3, maker_fee=-0.1),
    "market making, risk aversion": market(*BASE, 10, std=2.0, risk_aversion=0.1),
    "market making, outside option": market(*BASE, 10, OutsideOption(crowd_decay=0.25), std=2.0),
    "market making, shared flow": market(*BASE, 10, Share(), std=2.0),
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


def measure(game, rtol: float, repeat: int) -> tuple[float, object]:
    solved = solve_mfg(game, rtol=rtol)
    spent = []
    for _ in range(repeat):
        begin = time.process_time()
        solve_mfg(game, rtol=rtol)
        spent.append(1e3 * (time.process_time() - begin))
    return statistics.median(spent), solved


def true_error(name: str, game, solved) -> str:
    """Error of V(0, 0), relative; of the bounded game against 1e-10, whose exact grid would be long."""
    if not isinstance(game, MarketMakingGame):
        return ""
    exact = PUBLISHED.get(name)
    if exact is None:
        exact = solve_mfg(game, rtol=1e-10 if game.bounded else 1e-12).value[0, game.max_inventory]
    return f"{abs(solved.value[0, game.max_inventory] / exact - 1):.1e}"


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
        f"{'case':44s} {'rtol':>6s} {'CPU ms':>8s} {'steps':>6s} {'sweeps':>6s} {'V error':>8s} {'residual':>9s} "
        f"{'grid err':>9s} {'exploit.':>9s}"
    )
    for name, game in CASES.items():
        for rtol in (1e-8, 1e-9):
            spent, solved = measure(game, rtol, repeat)
            proof = solved.certificate
            print(
                f"{name:44s} {rtol:6.0e} {spent:8.2f} {solved.times.size - 1:6d} {proof.iterations:6d} "
                f"{true_error(name, game, solved):>8s} {proof.residual:9.1e} {proof.discretisation_error:9.1e} "
                f"{proof.exploitability:9.1e}"
            )
    print("order of one march by halving the step (4 expected):")
    for name, answer in (
        ("linear transform", market_answer(CASES["market making, base"])),
        ("Riccati flow", execution_answer(CASES["execution, phi .1"])),
    ):
        sizes, finest = ((4, 8, 16), 256) if name == "Riccati flow" else ((16, 32, 64), 1024)
        print(f"  {name:30s} " + " ".join(f"{slope:.2f}" for slope in slopes(answer, sizes, finest)))


if __name__ == "__main__":
    main()
