"""The profit of a session under fills at the calibrated rates: what the fitted market says of a table of quotes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backtests.intraday.poisson import simulate_panels
from backtests.intraday.poisson_mids import simulate_mids
from backtests.intraday.poisson_panels import Quoting, cut_market, lone_market
from mfg_core import MarketMakingGame
from mfg_core.checks import require_count
from strategies.intraday.pod import IntradayTraining
from strategies.intraday.quote_table import QuoteTable

Floats = NDArray[np.float64]
LEVEL = 0.05
PATHS = 2_000
PART = 8
"""Sessions whose fills are in memory at one time."""


@dataclass(frozen=True, slots=True, eq=False)
class PoissonBound:
    """Profits of simulated sessions in money, after fees.

    Attributes
    ----------
    profits : (paths,) float64
    fills : float
        Mean number of a session.
    adverse_ticks : float
        Move of the mid against the maker that each fill was given.
    words : str
    """

    profits: Floats
    fills: float
    adverse_ticks: float
    words: str

    @property
    def mean(self) -> float:
        """Mean profit of a session."""
        return float(self.profits.mean())

    @property
    def deviation(self) -> float:
        """Standard deviation between sessions: what one session's profit is uncertain by."""
        return float(self.profits.std(ddof=1))

    @property
    def verdict(self) -> int:
        """1 or -1 where twice the share of sessions without that sign is below `LEVEL`; else 0."""
        for sign in (1, -1):
            if 2.0 * float((sign * self.profits <= 0).mean()) < LEVEL:
                return sign
        return 0

    @staticmethod
    def joined(bounds: Sequence[PoissonBound]) -> PoissonBound:
        """Several sessions as one: path by path, the profits added."""
        profits = np.sum([one.profits for one in bounds], axis=0)
        return PoissonBound(profits, sum(one.fills for one in bounds), bounds[0].adverse_ticks, bounds[0].words)

    def table_row(self) -> dict[str, Any]:
        """A row beside those of the other models."""
        deviation = self.deviation
        return {
            "model": "poisson",
            "kind": "fit",
            "profit": self.mean,
            "error": deviation,
            "t": self.mean / deviation if deviation > 0 else None,
            "verdict": self.verdict,
            "fills": self.fills,
            "adverse_ticks": self.adverse_ticks,
        }


def poisson_bound(
    training: IntradayTraining, quotes: Quoting, *, seconds: float, paths: int = PATHS, seed: int = 1
) -> PoissonBound:
    """Sessions of a table of quotes in the market that training calibrated, the mid a martingale.

    Fills of one order come at A exp(-k distance), the law of the market as it was while it was calibrated; each moves
    the mid by the adverse selection found there. Nothing is liquidated: what is left is marked at the mid. Memory is
    that of the fills of `PART` sessions, time some 0.4 microseconds a fill.

    Parameters
    ----------
    training : IntradayTraining
    quotes : callable
        (bid, ask) half-spreads in price at times since the session's start and inventories in orders, nan where a side
        is not quoted; of a pod's table `table_quoting`.
    seconds : float
        Length of the session.
    """
    truth, instrument = training.truth, training.instrument
    game = MarketMakingGame(
        ask_arrival=truth.ask_arrival,
        bid_arrival=truth.bid_arrival,
        fill_decay=truth.fill_decay,
        running_penalty=0.0,
        terminal_penalty=0.0,
        horizon=seconds,
        max_inventory=training.max_position // training.order_lots,
        competition=0.0,
        initial_mean=0.0,
        initial_std=0.0,
        adverse_selection=truth.adverse_selection,
        maker_fee=training.fee,
    )
    count = require_count("paths", paths)
    market = lone_market(game)
    panels = cut_market(market, [quotes])
    profits, fills = np.empty(count), 0.0
    for part, first in enumerate(range(0, count, PART)):
        own = int(np.random.SeedSequence(seed, spawn_key=(part,)).generate_state(1)[0])
        made = profits[first : first + PART]
        run = simulate_panels(market, panels, ("table",), paths=made.size, seed=own, start=0, log_fills=True)
        made[:] = simulate_mids(run, "table", volatility=truth.volatility, seed=own).profit
        fills += float(run.fill_counts("table").sum())
    unit = training.order_lots * instrument.lot_size * instrument.multiplier
    return PoissonBound(
        profits * unit,
        fills / count,
        truth.adverse_selection / instrument.tick_size,
        f"fills at the calibrated rates, A = {truth.ask_arrival:.3g} and {truth.bid_arrival:.3g} a second, "
        f"1/k = {1 / truth.fill_decay / instrument.tick_size:.3g} ticks, whatever the queue",
    )


def table_quoting(table: QuoteTable, seconds: float) -> Quoting:
    """A pod's table as a function of the time since the start of a session of `seconds` and of inventories in orders.

    The table ends with the session; what lies before it begins has its first quotes, as in the quoting rule.
    """
    horizon = float(table.times[-1])

    def quotes(t: Floats, inventory: Floats) -> tuple[Floats, Floats]:
        at, held = np.broadcast_arrays(np.asarray(t, dtype=np.float64), np.asarray(inventory))
        clock = np.clip(horizon - (seconds - at), 0.0, horizon)
        times, place = np.unique(clock.ravel(), return_inverse=True)
        found = table.at(times)[held.ravel().astype(np.int64) + table.max_inventory, place.ravel()]
        return found[:, 0].reshape(at.shape), found[:, 1].reshape(at.shape)

    return quotes
