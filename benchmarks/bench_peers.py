"""The market-making equilibrium beside explicit Euler with damped Picard, MFGLib and OpenSpiel, in one run.

    python benchmarks/bench_peers.py [--finest-euler 16000] [--picture benchmarks/work_precision.png]

(a) The plain scheme: numpy, explicit Euler in time, Picard damped by one half; its error falls like 1/steps. What it
would take to reach an accuracy that was not run is extrapolated from its two finest runs and printed as such.
(b) The closest game that the discrete-time libraries can express: N steps, S inventories, A half-spreads a side, a fill
a side and step at most. Neither is a dependency: where one is not installed its rows are left out, with a word.
Times are CPU seconds of warm runs in this process; torch is held to one thread.
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
import warnings
from pathlib import Path

import numpy as np

from mfg_core import EdgeMassWarning, MarketMakingGame, solve_mfg

BASE = MarketMakingGame(
    ask_arrival=1.0,
    bid_arrival=1.0,
    fill_decay=0.5,
    running_penalty=0.01,
    terminal_penalty=0.1,
    horizon=10.0,
    max_inventory=10,
    initial_std=2.0,
)
REFERENCE = 39.99599847
"""V(0, 0) of the base case, exact in time, to the digits printed."""


def worst(value: np.ndarray, exact: np.ndarray) -> float:
    """Largest error of V(0, x) over the inventories, relative to the largest |V(0, x)|."""
    return float(np.max(np.abs(value - exact)) / np.max(np.abs(exact)))


def solve_by_euler(game: MarketMakingGame, steps: int, damping: float = 0.5, tolerance: float = 1e-11):
    """(V(0, .), sweeps) of the plain scheme: explicit Euler both ways, damped Picard on the mean quotes."""
    k, n, dt = game.fill_decay, game.states.size, game.horizon / steps
    penalty, terminal = game.running_penalty * game.states**2, -game.terminal_penalty * game.states**2
    means = np.full((2, steps + 1), 1.0 / k)
    asks, bids = np.empty((steps + 1, n - 1)), np.empty((steps + 1, n - 1))
    for sweep in range(1, 1000):
        value = terminal.copy()
        for step in range(steps, -1, -1):
            rise = np.diff(value)
            asks[step], bids[step] = 1.0 / k + rise, 1.0 / k - rise
            if step == 0:
                break
            ask_rate = game.ask_arrival * np.exp(k * (means[0, step] - asks[step]))
            bid_rate = game.bid_arrival * np.exp(k * (means[1, step] - bids[step]))
            slope = -penalty
            slope[1:] += ask_rate / k
            slope[:-1] += bid_rate / k
            value = value + dt * slope
        law = game.initial_density
        image = np.empty_like(means)
        for step in range(steps + 1):
            image[0, step] = law[1:] @ asks[step] / law[1:].sum()
            image[1, step] = law[:-1] @ bids[step] / law[:-1].sum()
            if step == steps:
                break
            down = dt * game.ask_arrival * np.exp(k * (means[0, step] - asks[step])) * law[1:]
            up = dt * game.bid_arrival * np.exp(k * (means[1, step] - bids[step])) * law[:-1]
            flow = down - up
            law = law.copy()
            law[:-1] += flow
            law[1:] -= flow
        residual = np.max(np.abs(image - means))
        if residual <= tolerance:
            return value, sweep
        means += damping * (image - means)
    raise RuntimeError("the plain scheme did not converge")


def spent(function, repeat: int):
    """(median CPU seconds, last answer)."""
    times = []
    for _ in range(repeat):
        begin = time.process_time()
        answer = function()
        times.append(time.process_time() - begin)
    return statistics.median(times), answer


def fairfield_work():
    """V(0, .) and rows (rtol, CPU s, worst relative error, exploitability); the certificate is in the time."""
    exact = solve_mfg(BASE, rtol=1e-12).value[0]
    if abs(exact[10] - REFERENCE) > 0.6e-8:
        raise RuntimeError(f"the finest solve gives {exact[10]!r}, the published reference is {REFERENCE}")
    rows = []
    for rtol in (1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8, 1e-9, 1e-10, 1e-11):
        solve_mfg(BASE, rtol=rtol)
        cpu, found = spent(lambda rtol=rtol: solve_mfg(BASE, rtol=rtol), 15)
        rows.append((rtol, cpu, worst(found.value[0], exact), found.certificate.exploitability))
    return exact, rows


def euler_work(exact: np.ndarray, finest: int):
    """Rows (steps, CPU s, worst relative error)."""
    rows, steps = [], 1000
    while steps <= finest:
        cpu, (value, sweeps) = spent(lambda steps=steps: solve_by_euler(BASE, steps), 1)
        rows.append((steps, cpu, worst(value, exact)))
        print(f"  explicit Euler {steps:7d} steps {sweeps:3d} sweeps {cpu:9.2f} s, relative error {rows[-1][2]:.2e}")
        steps *= 4
    return rows


def print_euler(fair, euler) -> None:
    """Ratios at the accuracies the plain scheme reached, then what it would take for 1e-8."""
    for steps, cpu, error in euler:
        ours = next((row for row in fair if row[2] <= error), fair[-1])
        print(
            f"  to {error:.1e}: Euler with {steps} steps {cpu:.3g} s, fairfield (rtol {ours[0]:.0e}) "
            f"{1e3 * ours[1]:.2f} ms: {cpu / ours[1]:,.0f} times"
        )
    (rough_steps, _, rough), (steps, cpu, error) = euler[-2:]
    order = math.log(rough / error) / math.log(steps / rough_steps)
    # Work grows with the steps (the sweeps stay); the order is measured.
    needed = cpu * (error / 1e-8) ** (1.0 / order)
    ours = next(row for row in fair if row[0] == 1e-8)
    print(
        f"  to 1e-8: Euler's measured order {order:.2f} makes it {needed:,.0f} s (extrapolated, not run), fairfield "
        f"(rtol 1e-08) {1e3 * ours[1]:.2f} ms: {needed / ours[1]:,.0f} times"
    )


def discrete_game(steps: int, inventories: int, levels: int):
    """Parameters of the discrete game: half-spreads, inventories, step, starting law."""
    game = BASE
    states = np.arange(inventories) - inventories // 2
    law = np.exp(-0.5 * (states / game.initial_std) ** 2)
    return np.linspace(0.5, 3.5, levels), states, game.horizon / steps, law / law.sum()


def mfglib_rows():
    """Rows (size, method, iterations, CPU s, exploitability) of MFGLib."""
    try:
        import torch
        from mfglib.alg import FictitiousPlay, OnlineMirrorDescent
        from mfglib.env import Environment
        from mfglib.scoring import exploitability_score
    except ImportError:
        print("  MFGLib is not installed: left out")
        return []
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)

    def environment(steps: int, inventories: int, levels: int):
        quotes, states, dt, law = (torch.as_tensor(item) for item in discrete_game(steps, inventories, levels))
        k, n = BASE.fill_decay, inventories
        # The fictitious play of this library wants one axis of actions: pairs (ask, bid).
        ask_quotes, bid_quotes = quotes.repeat_interleave(levels), quotes.repeat(levels)

        def fill_odds(crowd):
            ask = (crowd[1:].sum(dim=0) @ ask_quotes) / crowd[1:].sum()
            bid = (crowd[:-1].sum(dim=0) @ bid_quotes) / crowd[:-1].sum()
            odds = [1.0 - torch.exp(-dt * torch.exp(k * (mean - quotes))) for mean in (ask, bid)]
            down = odds[0].repeat_interleave(levels).repeat(n, 1)
            up = odds[1].repeat(levels).repeat(n, 1)
            down[0], up[-1] = 0.0, 0.0
            return down, up

        def transition(env, t, crowd):
            down, up = fill_odds(crowd)
            moves = torch.zeros(n, n, levels**2)
            at = torch.arange(n)
            moves[at, at] = down * up + (1 - down) * (1 - up)
            moves[at[:-1], at[1:]] = (down * (1 - up))[1:]
            moves[at[1:], at[:-1]] = (up * (1 - down))[:-1]
            return moves

        def reward(env, t, crowd):
            if t == steps:
                return (-BASE.terminal_penalty * states**2)[:, None].repeat(1, levels**2)
            down, up = fill_odds(crowd)
            paid = down * ask_quotes + up * bid_quotes
            return paid - BASE.running_penalty * dt * (states**2)[:, None]

        return Environment(
            T=steps, S=(n,), A=(levels**2,), mu0=law, r_max=100.0, reward_fn=reward, transition_fn=transition
        )

    rows = []
    for steps, inventories, levels in ((100, 21, 10), (100, 41, 10)):
        env = environment(steps, inventories, levels)
        for name, method, most in (
            ("best response", FictitiousPlay(alpha=1.0), 6),
            ("fictitious play 1/n", FictitiousPlay(), 20),
            ("online mirror descent", OnlineMirrorDescent(alpha=1.0), 20),
        ):
            if inventories > 21 and name != "best response":
                continue
            begin = time.process_time()
            policies, scores, _ = method.solve(env, max_iter=most, atol=1e-4, rtol=None)
            cpu = time.process_time() - begin
            score = min(scores) if scores else float(exploitability_score(env, policies[-1]))
            rows.append(((steps, inventories, levels), name, len(scores) - 1, cpu, float(score)))
    return rows


def openspiel_rows():
    """Rows (size, method, iterations, CPU s, exploitability) of OpenSpiel, on a game small enough for it."""
    try:
        from open_spiel.python.mfg.algorithms import fictitious_play, mirror_descent, nash_conv
        from openspiel_game import MarketGame
    except ImportError:
        print("  OpenSpiel is not installed: left out")
        return []
    steps, inventories, levels = 10, 11, 3
    rows = []
    for name, method, most in (
        ("fictitious play", fictitious_play.FictitiousPlay, 10),
        ("mirror descent", mirror_descent.MirrorDescent, 10),
    ):
        game = MarketGame({"steps": steps, "inventories": inventories, "levels": levels})
        solver = method(game)
        begin = time.process_time()
        for _ in range(most):
            solver.iteration()
        cpu = time.process_time() - begin
        score = nash_conv.NashConv(game, solver.get_policy()).nash_conv()
        rows.append(((steps, inventories, levels), name, most, cpu, float(score)))
    return rows


def draw(fair, euler, path: Path) -> None:
    """The work-precision picture."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(7.2, 4.4), dpi=130)
    rounding = [max(row[2], 1e-16) for row in fair]
    axes.loglog([row[1] for row in fair], rounding, "o-", color="#0b6e4f", label="fairfield, certificate included")
    axes.loglog(
        [row[1] for row in euler],
        [row[2] for row in euler],
        "s-",
        color="#9a3b3b",
        label="explicit Euler, damped Picard",
    )
    axes.set_xlabel("CPU seconds, warm, one core")
    axes.set_ylabel("largest relative error of V(0, x)")
    axes.grid(visible=True, which="major", alpha=0.3)
    axes.legend(frameon=False)
    axes.set_title("Market making, base case: work and precision", fontsize=11)
    figure.tight_layout()
    figure.savefig(path, metadata={"Software": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--finest-euler", type=int, default=16_000)
    parser.add_argument("--picture", type=Path, default=None)
    arguments = parser.parse_args()
    if arguments.finest_euler < 4000:
        parser.error("--finest-euler must be at least 4000: the order is measured between two runs")
    warnings.simplefilter("ignore", EdgeMassWarning)
    exact, fair = fairfield_work()
    print("fairfield, base case, whole solves with the certificate:")
    for rtol, cpu, error, gain in fair:
        print(f"  rtol {rtol:.0e} {1e3 * cpu:8.2f} ms, relative error {error:.1e}, exploitability {gain:.1e}")
    print("(a) the plain scheme:")
    euler = euler_work(exact, arguments.finest_euler)
    print_euler(fair, euler)
    if arguments.picture:
        draw(fair, euler, arguments.picture)
    print("(b) discrete-time libraries on the closest game they can express (value about 40):")
    for library, rows in (("MFGLib", mfglib_rows()), ("OpenSpiel", openspiel_rows())):
        for size, name, iterations, cpu, score in rows:
            ours = next((row for row in fair if row[3] <= score), fair[-1])
            print(
                f"  {library:9s} N={size[0]} S={size[1]} A={size[2]} {name:22s} {iterations:3d} iterations "
                f"{cpu:8.2f} s, exploitability {score:.1e}; fairfield reaches {ours[3]:.1e} in {1e3 * ours[1]:.2f} ms"
            )


if __name__ == "__main__":
    main()
