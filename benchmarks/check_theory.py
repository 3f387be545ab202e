"""Theory against simulation: values, deviations, finitely many makers, the event engine (docs/theory-checks.md).

    python benchmarks/check_theory.py [--paths N] [--sessions N] [--seed N] [--only values,deviations,makers,engine]

The cases are those of the market-making reference: A 1, k 0.5, eta 0.01, gamma 0.1, T 10, Q 10, starts of std 2.
"""

from __future__ import annotations

import argparse
import time
import warnings
from dataclasses import replace

import numpy as np

from backtests.intraday.poisson import simulate_poisson
from backtests.intraday.poisson_deviations import deviation_study, search_shifts
from backtests.intraday.poisson_exchange import known_exchange, simulate_exchange
from backtests.intraday.poisson_many_makers import clairvoyant_gains
from backtests.intraday.poisson_panels import market_of
from backtests.intraday.settings import Latency
from mfg_core import (
    EdgeMassWarning,
    Logistic,
    MarketMakingGame,
    OutsideOption,
    Power,
    Share,
    deviation_gain,
    solve_mfg,
)

BASE = MarketMakingGame(
    ask_arrival=1.0,
    bid_arrival=1.0,
    fill_decay=0.5,
    running_penalty=0.01,
    terminal_penalty=0.1,
    horizon=10.0,
    max_inventory=10,
    competition=1.0,
    initial_std=2.0,
)
CLIP = replace(BASE, running_penalty=0.05, terminal_penalty=1.0, min_half_spread=0.0, max_half_spread=4.0)
COSTS = replace(BASE, competition=0.5, adverse_selection=0.3, maker_fee=0.05)
CASES = {
    "base": BASE,
    "asym": replace(BASE, ask_arrival=1.2, bid_arrival=0.8, initial_mean=1.0),
    "lone": replace(BASE, competition=0.0),
    "clip": CLIP,
    "costs, c 0.5": COSTS,
    "rebate, c 0.5": replace(COSTS, adverse_selection=0.0, maker_fee=-0.1),
    "risk aversion 0.05": replace(BASE, risk_aversion=0.05),
    "outside option 0.2": replace(BASE, competition=OutsideOption(0.2)),
    "share": replace(BASE, competition=Share()),
    "logistic, c 0.5": replace(BASE, competition=0.5, intensity_shape=Logistic(0.0)),
    "power 4, c 0.5": replace(BASE, competition=0.5, intensity_shape=Power(4.0)),
}
DEVIATIONS = ("base", "asym", "clip", "costs, c 0.5", "logistic, c 0.5")
ENGINE = ("base", "asym", "lone", "clip", "costs, c 0.5", "share")


def solve(name: str):
    """The case's equilibrium."""
    return solve_mfg(CASES[name], rtol=1e-8)


def check_values(paths: int, seed: int) -> None:
    """Value of the equilibrium policy less V at its start, plain and with expected fills as a control."""
    print("\nValue of the equilibrium policy less V(0, x0), Poisson fills\n")
    print("| case | V(0, 0) | simulated less V | standard errors | with expected fills | standard errors |")
    print("|---|---|---|---|---|---|")
    for place, name in enumerate(CASES):
        equilibrium = solve(name)
        run = simulate_poisson(
            market_of(equilibrium), {"crowd": equilibrium.policy.quotes}, paths=paths, seed=100 * seed + place
        )
        plain = run.value_gap("crowd", equilibrium.value[0], controlled=False)
        tight = run.value_gap("crowd", equilibrium.value[0])
        print(
            f"| {name} | {equilibrium.value[0, 10]:.6f} | {plain.mean:+.4f} ± {plain.standard_error:.4f} | "
            f"{plain.mean / plain.standard_error:+.2f} | {tight.mean:+.1e} ± {tight.standard_error:.1e} | "
            f"{tight.mean / tight.standard_error:+.2f} |",
            flush=True,
        )


def check_deviations(paths: int, seed: int) -> None:
    """What a lone deviator gains: simulated with a 95 % interval, and exact."""
    for name in DEVIATIONS:
        equilibrium = solve(name)
        print(f"\nGains of a lone deviator from the equilibrium of {name}, V(0, 0) {equilibrium.value[0, 10]:.4f}\n")
        print("| policy | gain | 95 % interval | exact | standard errors off |")
        print("|---|---|---|---|---|")
        for one in deviation_study(equilibrium, paths=paths // 10 if name == "clip" else paths, seed=seed):
            low, high = one.interval
            off = (one.gain.mean - one.exact) / one.gain.standard_error
            print(
                f"| {one.name} | {one.gain.mean:+.5f} | {low:+.5f} to {high:+.5f} | {one.exact:+.6f} | {off:+.2f} |",
                flush=True,
            )
        if name != "clip":
            best = search_shifts(equilibrium, steps=7, paths=paths // 4, seed=seed)
            print(
                f"\nBest of {best.tried} shifts (bid {best.bid_shift:+.3f}, ask {best.ask_shift:+.3f}): "
                f"{best.found.mean:+.4f} ± {best.found.standard_error:.4f} on the flow on which it was chosen, "
                f"{best.gain.mean:+.4f} ± {best.gain.standard_error:.4f} on fresh flow."
            )


def check_makers(paths: int, seed: int) -> None:
    """What a clairvoyant among N gains: simulated, exact, and the bounds of `deviation_gain`."""
    equilibrium = solve("base")
    print("\nBest reply to each path of the N - 1 others, base; and the bounds of mfg_core.deviation_gain\n")
    print("| N | simulated gain | exact, same crowds | upper bound | lower bound | largest standard errors off |")
    print("|---|---|---|---|---|---|")
    for makers in (5, 20, 100, 500):
        crowds = 40
        found = clairvoyant_gains(equilibrium, makers=makers, crowds=crowds, paths=paths // 20, seed=seed)
        bound = deviation_gain(equilibrium, makers=makers, seed=seed, paths=crowds)
        errors = found.simulated[:, 1] / np.sqrt(crowds)
        off = np.abs(found.simulated[:, 0] - found.exact) / found.simulated[:, 1]
        print(
            f"| {makers} | {found.simulated[:, 0].mean():.5f} ± {np.sqrt(np.mean(errors**2)):.5f} | "
            f"{found.exact.mean():.5f} | {bound.upper.mean:.5f} | {bound.lower.mean:+.5f} | {off.max():.2f} |",
            flush=True,
        )


def engine_row(words: str, check) -> None:
    plain, tight = check.gap, check.controlled_gap
    print(
        f"| {words} | {check.promised:.4f} | {plain.mean:+.3f} ± {plain.standard_error:.3f} | "
        f"{plain.mean / plain.standard_error:+.2f} | {tight.mean:+.4f} ± {tight.standard_error:.4f} | "
        f"{tight.mean / tight.standard_error:+.2f} | {-check.rounding_loss:+.4f} |",
        flush=True,
    )


def check_engine(sessions: int, seed: int) -> None:
    """The equilibrium's pod in the event engine on the exchange of known truth."""
    print("\nThe equilibrium's pod in the event engine, less V(0, 0)\n")
    print("| case | V(0, 0) | engine less V | s.e. off | with expected fills | s.e. off | rounding to ticks predicts |")
    print("|---|---|---|---|---|---|---|")
    for place, name in enumerate(ENGINE):
        equilibrium = solve(name)
        engine_row(name, simulate_exchange(equilibrium, sessions=sessions, seed=100_000 * (seed + place)))
    equilibrium = solve("base")
    for tick in (0.0625, 0.25, 0.5):
        exchange = known_exchange(equilibrium, tick=tick)
        engine_row(
            f"base, tick {tick:g}", simulate_exchange(equilibrium, sessions=sessions, seed=seed, exchange=exchange)
        )
    for step in (0.1, 1.0):
        exchange = known_exchange(equilibrium, interval_ns=round(1e9 * step))
        engine_row(
            f"base, clock {step:g} s", simulate_exchange(equilibrium, sessions=sessions, seed=seed, exchange=exchange)
        )
    for delay in (0.01, 0.1, 0.5):
        exchange = known_exchange(equilibrium)
        late = Latency(entry_ns=round(1e9 * delay), response_ns=round(1e9 * delay))
        exchange = replace(exchange, settings=replace(exchange.settings, latency=late))
        engine_row(
            f"base, latency {delay:g} s each way",
            simulate_exchange(equilibrium, sessions=sessions, seed=seed, exchange=exchange),
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--paths", type=int, default=20_000)
    parser.add_argument("--sessions", type=int, default=1_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="values,deviations,makers,engine")
    words = parser.parse_args()
    checks = {
        "values": lambda: check_values(words.paths, words.seed),
        "deviations": lambda: check_deviations(words.paths, words.seed),
        "makers": lambda: check_makers(words.paths, words.seed),
        "engine": lambda: check_engine(words.sessions, words.seed),
    }
    warnings.simplefilter("ignore", EdgeMassWarning)
    for name in words.only.split(","):
        start = time.process_time()
        checks[name]()
        print(f"\n{name}: {time.process_time() - start:.1f} CPU seconds")


if __name__ == "__main__":
    main()
