"""A desk's morning: yesterday's trades in, today's quotes with their bands out: python examples/desk.py

Yesterday is simulated with parameters that are known here, so that the estimates can be compared with the truth.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mfg_core import MarketMakingEquilibrium, solve_mfg
from mfg_core.intraday.intensity_exposure import BookPath, Trades
from mfg_core.intraday.market_calibration import MarketCalibration, calibrate_market_making

TICK = 0.01
SECONDS = 4 * 3600.0
TRUE_DECAY = 80.0  # per unit of money: a tick wider keeps exp(-0.8) of the orders
TRUE_RATES = {1: 0.45, -1: 0.45}  # orders a second if everybody quoted the mid, by side: buyers take the ask
LIMIT, HORIZON = 30, 600.0
DRAWS = 20
COMPETITION = (
    0.5  # half of the decay is against the crowd: at 1 nobody stays away, and a small imbalance skews everybody
)


@dataclass(frozen=True)
class Morning:
    """What the desk knows before the open; `bands` (2, 2) are 5 and 95 % of the flat (bid, ask)."""

    calibration: MarketCalibration
    equilibrium: MarketMakingEquilibrium
    bands: np.ndarray


def simulate_yesterday(rng: np.random.Generator) -> tuple[BookPath, Trades]:
    """Best quotes that move now and then, and orders that reach them at the game's rate and go on exponentially."""
    moves = rng.poisson(0.2 * SECONDS)
    times = np.concatenate([[0.0], np.sort(rng.uniform(0.0, SECONDS, moves))])
    bid = 10_000 + np.cumsum(rng.integers(-1, 2, moves + 1))
    ask = bid + rng.integers(1, 6, moves + 1)
    book = BookPath(times, bid * TICK, ask * TICK)
    parts = []
    for side, rate in TRUE_RATES.items():
        when = np.sort(rng.uniform(0.0, SECONDS, rng.poisson(rate * SECONDS)))
        row = np.searchsorted(times, when, side="right") - 1
        felt = (1.0 - COMPETITION) * (ask - bid)[row] * TICK / 2.0  # of the distance, relative to the crowd's
        beyond = rng.exponential(1.0 / TRUE_DECAY, when.size) - felt
        met = beyond >= 0.0
        depth = np.floor(beyond[met] / TICK)
        price = (ask[row][met] + depth) if side > 0 else (bid[row][met] - depth)
        parts.append(np.stack([when[met], price * TICK, np.full(depth.size, float(side))]))
    when, price, side = np.concatenate(parts, axis=1)
    order = np.argsort(when, kind="stable")
    return book, Trades(when[order], price[order], np.ones(order.size), side[order].astype(np.int64))


def prepare(seed: int = 7) -> Morning:
    """Calibrate yesterday, solve today's game, and solve it again for draws of the estimates."""
    rng = np.random.default_rng(seed)
    book, trades = simulate_yesterday(rng)
    calibration = calibrate_market_making(
        book, trades, tick=TICK, max_ticks=6, session_end=SECONDS, risk_aversion=1.0, competition=COMPETITION,
        typical_inventory=5.0,
    )  # fmt: skip
    equilibrium = solve_mfg(calibration.game(max_inventory=LIMIT, horizon=HORIZON), rtol=1e-7)
    games = calibration.sample_games(DRAWS, rng=rng, max_inventory=LIMIT, horizon=HORIZON)
    flat = np.array([solve_mfg(game, rtol=1e-5).policy.quotes(0.0, 0) for game in games])
    return Morning(calibration, equilibrium, np.quantile(flat, [0.05, 0.95], axis=0))


def report(morning: Morning) -> list[str]:
    """What the desk reads."""
    found, solved = morning.calibration, morning.equilibrium
    lines = ["yesterday's estimates (game units: money and seconds)"]
    for name, value, error in zip(found.names, found.values, found.standard_errors, strict=True):
        lines.append(f"  {name:18} {value:12.6g} +- {error:.2g}")
    lines.append(f"  (the simulated market's: {TRUE_RATES[1]:g}, {TRUE_RATES[-1]:g}, {TRUE_DECAY:g}, 0)")
    lines += [f"  note: {note}" for note in found.notes]
    lines.append("today's quotes at the open, ticks from the mid")
    for crates in (10, 5, 0, -5, -10):
        bid, ask = solved.policy.quotes(0.0, crates)
        lines.append(f"  inventory {crates:+4d}: bid {float(bid) / TICK:6.3f}  ask {float(ask) / TICK:6.3f}")
    low, high = morning.bands / TICK
    lines.append(f"  bands at flat, 5 to 95 %: bid {low[0]:.3f} to {high[0]:.3f}, ask {low[1]:.3f} to {high[1]:.3f}")
    rounding = np.spacing(np.abs(solved.value).max())
    gain = max(solved.certificate.exploitability, rounding)
    lines.append(f"  quoting otherwise gains nobody more than {gain:.0e} (values are rounded at {rounding:.0e})")
    return lines


if __name__ == "__main__":
    print("\n".join(report(prepare())))
