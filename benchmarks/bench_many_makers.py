"""How N makers approach their mean-field limit: distances and deviation gains by N with slopes, and what a path costs.

    python benchmarks/bench_many_makers.py [--paths N] [--picture FILE.svg]

Base case of the market-making reference (A 1, k 0.5, eta 0.01, gamma 0.1, T 10, Q 10, starts of std 2). The picture has
both axes in logarithms; the lines are the fitted powers.
"""

from __future__ import annotations

import argparse
import math
import time
import warnings
from pathlib import Path

import numpy as np

from mfg_core import EdgeMassWarning, MarketMakingGame, convergence_study, simulate_makers, solve_mfg

SIZES = (20, 50, 100, 200, 500, 1000, 2000)
NAMES = ("wasserstein", "total_variation", "quote_error", "gain_upper", "gain_lower")


def picture(study, path: Path) -> None:
    """A plain SVG of the estimates and fitted lines."""
    left, top, width, height = 60, 20, 480, 360
    shown = {"wasserstein": "#1b6ca8", "total_variation": "#2a9d5c", "quote_error": "#8e5ea2", "gain_upper": "#d1495b"}
    values = np.stack([getattr(study, name)[:, 0] for name in shown])
    low, high = math.floor(math.log10(values.min())), math.ceil(math.log10(values.max()))

    def x(n: float) -> float:
        return left + width * math.log(n / study.sizes[0]) / math.log(study.sizes[-1] / study.sizes[0])

    def y(value: float) -> float:
        return top + height * (high - math.log10(value)) / (high - low)

    parts = [
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 760 430" font-family="sans-serif" font-size="13">'
        '<rect width="760" height="430" fill="white"/>'
    ]
    for power in range(low, high + 1):
        parts.append(
            f'<line x1="{left}" x2="{left + width}" y1="{y(10.0**power):.1f}" y2="{y(10.0**power):.1f}" stroke="#ddd"/>'
            f'<text x="{left - 8}" y="{y(10.0**power) + 4:.1f}" text-anchor="end">1e{power}</text>'
        )
    parts += [f'<text x="{x(n):.1f}" y="{top + height + 20}" text-anchor="middle">{n}</text>' for n in study.sizes]
    parts.append(f'<text x="{left + width / 2}" y="{top + height + 42}" text-anchor="middle">makers N</text>')
    for row, (name, colour) in enumerate(shown.items()):
        estimates, slope = getattr(study, name), study.slope(name)
        weights = (estimates[:, 0] / estimates[:, 1]) ** 2
        level = np.average(np.log(estimates[:, 0]) - slope.slope * np.log(study.sizes), weights=weights)
        ends = [(x(n), y(math.exp(level + slope.slope * math.log(n)))) for n in study.sizes[[0, -1]]]
        parts.append(
            f'<line x1="{ends[0][0]:.1f}" y1="{ends[0][1]:.1f}" x2="{ends[1][0]:.1f}" y2="{ends[1][1]:.1f}" '
            f'stroke="{colour}"/>'
        )
        for n, (mean, error) in zip(study.sizes, estimates, strict=True):
            bottom = y(max(mean - 2 * error, 10.0**low))
            parts.append(
                f'<line x1="{x(n):.1f}" x2="{x(n):.1f}" y1="{y(mean + 2 * error):.1f}" y2="{bottom:.1f}" '
                f'stroke="{colour}"/><circle cx="{x(n):.1f}" cy="{y(mean):.1f}" r="3.5" fill="{colour}"/>'
            )
        parts.append(
            f'<text x="{left + width + 20}" y="{top + 40 + 26 * row}" fill="{colour}">{name.replace("_", " ")}: '
            f"N^{slope.slope:.2f}</text>"
        )
    path.write_text("\n".join([*parts, "</svg>"]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--paths", type=int, default=200)
    parser.add_argument("--picture", type=Path)
    asked = parser.parse_args()
    warnings.simplefilter("ignore", EdgeMassWarning)
    equilibrium = solve_mfg(
        MarketMakingGame(
            ask_arrival=1.0,
            bid_arrival=1.0,
            fill_decay=0.5,
            running_penalty=0.01,
            terminal_penalty=0.1,
            horizon=10.0,
            max_inventory=10,
            initial_std=2.0,
        )
    )
    simulate_makers(equilibrium, makers=10, seed=0, paths=1)
    begin = time.process_time()
    crowd = simulate_makers(equilibrium, makers=1000, seed=0, paths=50)
    spent = time.process_time() - begin
    print(
        f"1,000 makers: {1e3 * spent / 50:.1f} CPU ms a path, {1e9 * spent / crowd.fills:.0f} ns a fill, "
        f"{crowd.fills / crowd.candidates:.2%} of the candidates kept"
    )
    begin = time.process_time()
    study = convergence_study(equilibrium, sizes=SIZES, paths=asked.paths, seed=1)
    print(f"study of {asked.paths} paths a size: {time.process_time() - begin:.1f} CPU s")
    print(f"{'N':>6s} " + " ".join(f"{name:>22s}" for name in NAMES))
    for i, size in enumerate(study.sizes):
        cells = (getattr(study, name)[i] for name in NAMES)
        print(f"{size:6d} " + " ".join(f"{mean:12.3e} ± {error:7.1e}" for mean, error in cells))
    for name in NAMES:
        slope = study.slope(name)
        print(f"{name:16s} N^{slope.slope:.3f}   95 % interval [{slope.low:.3f}, {slope.high:.3f}]")
    gaps = study.value_gap[:, 0] / study.value_gap[:, 1]
    print(f"realised less promised value, in standard errors: {' '.join(f'{gap:.1f}' for gap in gaps)}")
    if asked.picture:
        picture(study, asked.picture)


if __name__ == "__main__":
    main()
