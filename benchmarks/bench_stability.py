"""Where plain replies to replies contract, what the methods need, and whether a second equilibrium shows up.

    python benchmarks/bench_stability.py [--games N] [--starts N] [--picture FILE.svg]

Random games have k = 1, arrivals of 0.1 to 30 with a ratio of up to 8 between the sides, eta 1e-3 to 3, gamma 1e-2 to
2, T 0.3 to 10 (all log-uniform) and Q 1 to 5. The picture shows the contraction rate over the competition c and the
ratio of the arrivals on the two sides.
"""

from __future__ import annotations

import argparse
import math
import time
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np

from mfg_core import (
    EdgeMassWarning,
    MarketMakingGame,
    Picard,
    Share,
    SolveError,
    contraction_rate,
    find_equilibria,
    leading_eigenvalues,
    scan_stability,
    solve_mfg,
)
from mfg_core.iteration.fixed_point import Anderson

WEIGHTS = np.linspace(0.0, 1.0, 11)
RATIOS = 2.0 ** np.linspace(0.0, 3.0, 7)
SHORT = MarketMakingGame(
    ask_arrival=1.0,
    bid_arrival=1.0,
    fill_decay=1.0,
    running_penalty=0.1,
    terminal_penalty=0.1,
    horizon=2.0,
    max_inventory=4,
)
LONG = replace(SHORT, horizon=8.0, running_penalty=2.0)


def lopsided(game: MarketMakingGame, ratio: float) -> MarketMakingGame:
    """The game with its arrivals in this ratio, their product kept."""
    root = math.sqrt(ratio)
    return replace(game, ask_arrival=game.ask_arrival * root, bid_arrival=game.bid_arrival / root)


def rate_of(game: MarketMakingGame) -> float:
    try:
        return contraction_rate(solve_mfg(game, rtol=1e-5, atol=1e-8))
    except SolveError:
        return math.nan


def rate_map(game: MarketMakingGame) -> np.ndarray:
    """(ratios, weights) contraction rates, nan where the game was not solved."""
    return np.array([[rate_of(replace(lopsided(game, ratio), competition=c)) for c in WEIGHTS] for ratio in RATIOS])


def picture(maps: dict[str, np.ndarray], path: Path) -> None:
    """A plain SVG: one heat map beside the other, the rate in each cell."""
    cell, tall, left, top, gap = 34, 26, 70, 50, 70
    width = left + len(maps) * (cell * WEIGHTS.size + gap)
    height = top + tall * RATIOS.size + 60
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" '
        f'font-size="12"><rect width="{width}" height="{height}" fill="white"/>'
    ]
    for number, (title, rates) in enumerate(maps.items()):
        x0 = left + number * (cell * WEIGHTS.size + gap)
        parts.append(f'<text x="{x0}" y="{top - 28}" font-size="14">{title}</text>')
        for row, ratio in enumerate(RATIOS):
            y = top + tall * (RATIOS.size - 1 - row)
            parts.append(f'<text x="{x0 - 8}" y="{y + 17}" text-anchor="end">{ratio:.3g}</text>')
            for column, rate in enumerate(rates[row]):
                shade = "#eee" if math.isnan(rate) else f"hsl(215,60%,{96 - 62 * min(rate, 1.0):.0f}%)"
                ink = "white" if rate > 0.55 else "#222"
                word = "?" if math.isnan(rate) else f"{rate:.3f}"[1:] if rate < 1.0 else f"{rate:.2f}"
                x = x0 + cell * column
                parts.append(
                    f'<rect x="{x}" y="{y}" width="{cell - 1}" height="{tall - 1}" fill="{shade}"/>'
                    f'<text x="{x + cell / 2}" y="{y + 17}" text-anchor="middle" fill="{ink}">{word}</text>'
                )
        base = top + tall * RATIOS.size
        for column, c in enumerate(WEIGHTS):
            parts.append(f'<text x="{x0 + cell * (column + 0.5)}" y="{base + 16}" text-anchor="middle">{c:.1f}</text>')
        middle = x0 + cell * WEIGHTS.size / 2
        parts.append(f'<text x="{middle}" y="{base + 38}" text-anchor="middle">competition c</text>')
    parts.append(f'<text x="12" y="{top - 10}">arrivals, ask : bid</text>')
    path.write_text("\n".join([*parts, "</svg>"]) + "\n")


def random_games(count: int, form: str, seed: int) -> list[MarketMakingGame]:
    """Games of a form: "relative" (c in 0.5, 0.9, 1), "share", or "bounded" (relative with bounds)."""
    draw = np.random.default_rng(seed)

    def between(low: float, high: float) -> float:
        return float(np.exp(draw.uniform(math.log(low), math.log(high))))

    games = []
    for _ in range(count):
        game = MarketMakingGame(
            ask_arrival=between(0.1, 30.0),
            bid_arrival=1.0,
            fill_decay=1.0,
            running_penalty=between(1e-3, 3.0),
            terminal_penalty=between(1e-2, 2.0),
            horizon=between(0.3, 10.0),
            max_inventory=int(draw.integers(1, 6)),
            competition=Share() if form == "share" else float(draw.choice([0.5, 0.9, 1.0])),
            initial_std=float(draw.choice([0.0, 1.0])),
        )
        game = replace(game, bid_arrival=game.ask_arrival * between(1 / 8, 8))
        if form == "bounded":
            game = replace(game, min_half_spread=between(0.1, 1.0), max_half_spread=between(1.0, 5.0))
        games.append(game)
    return games


def report_scan(form: str, count: int) -> None:
    """Rates of random games, and how often each method converged."""
    methods = (Picard(max_sweeps=500, max_steps=2000), Anderson(max_steps=2000))
    rates, least, solved = [], [], [0, 0]
    for game in random_games(count, form, 7):
        (scanned,) = scan_stability([game], methods=methods, rtol=1e-4, atol=1e-7)
        for i, used in enumerate(scanned.evaluations):
            solved[i] += used is not None
        if not math.isnan(scanned.rate):
            rates.append(scanned.rate)
            found = solve_mfg(game, rtol=1e-4, atol=1e-7, method=methods[scanned.evaluations[0] is None])
            least.append(float(leading_eigenvalues(found).real.min()))
    print(
        f"{form:9s} {count:4d} games, {len(rates):4d} solved (Picard {solved[0]}, Anderson {solved[1]}); "
        f"largest rate {max(rates):.3f}, median {np.median(rates):.2f}, most negative {min(least):+.2f}",
        flush=True,
    )


def report_search(count: int, starts: int) -> None:
    """Distinct equilibria from random starts in random games at c = 1 and of shares."""
    one = several = none = 0
    games = random_games(count, "relative", 11)[: count // 2] + random_games(count, "share", 12)[: count - count // 2]
    for game in games:
        game = replace(game, max_inventory=min(game.max_inventory, 3))
        game = game if isinstance(game.competition, Share) else replace(game, competition=1.0)
        found = find_equilibria(game, starts=starts, seed=1, method=Anderson(max_steps=600), rtol=1e-4, atol=1e-7)
        one += len(found.equilibria) == 1
        several += len(found.equilibria) > 1
        none += not found.equilibria
    print(f"search    {count:4d} games, {starts} starts each: one {one}, several {several}, not solved {none}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--games", type=int, default=200)
    parser.add_argument("--starts", type=int, default=4)
    parser.add_argument("--picture", type=Path)
    asked = parser.parse_args()
    warnings.simplefilter("ignore", EdgeMassWarning)
    begin = time.process_time()
    maps = {"T = 2, eta = 0.1": rate_map(SHORT), "T = 8, eta = 2": rate_map(LONG)}
    for name, rates in maps.items():
        print(f"{name}: rates at equal arrivals {np.round(rates[0], 3)}, at 8 to 1 {np.round(rates[-1], 3)}")
    if asked.picture:
        picture(maps, asked.picture)
    for form in ("relative", "share", "bounded"):
        report_scan(form, asked.games)
    report_search(asked.games, asked.starts)
    print(f"{time.process_time() - begin:.0f} CPU s")


if __name__ == "__main__":
    main()
