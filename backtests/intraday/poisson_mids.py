"""The mid along the paths of a Poisson simulation: profit in money, and mark-outs of the fills."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from backtests.intraday.poisson import PoissonRun
from backtests.intraday.poisson_kernels import ASKS, BIDS, simulate_mid
from backtests.intraday.poisson_panels import shape_code
from mfg_core.checks import require_count, require_nonnegative

__all__ = ["MidRun", "simulate_mids"]

Floats: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class MidRun:
    """The mid of one policy's paths, price units from where it starts.

    Attributes
    ----------
    profit : (paths,) float64
        Cash from the fills, the last inventory at the last mid less the first at the first, less fees.
    last : (paths,) float64
        Mid at the end.
    mids : (paths, n) float64
        At the run's `times`.
    before : (fills,) float64
        Right before each of the policy's fills.
    horizons : (h,) float64
        Seconds.
    mark_outs : (fills, h) float64
        How far the mid has moved against the maker that long after a fill, since right before it; nan beyond the end.
    """

    profit: Floats
    last: Floats
    mids: Floats
    before: Floats
    horizons: Floats
    mark_outs: Floats


def simulate_mids(
    run: PoissonRun, name: str, *, volatility: float, seed: int, horizons: Floats | tuple[float, ...] = ()
) -> MidRun:
    """The mid along every path of a policy, exact at its fills, at the horizons after them and at the run's times.

    The mid is a martingale: a Brownian motion of `volatility` (price units per root of a second), and a jump by the
    game's adverse selection xi against the maker at each fill, which a drift of opposite sign makes up for on average.
    So inventory earns nothing on average and each fill loses xi, as the game has it: the mean of `profit` is that of
    the half-spreads earned less xi and fees, and the mean of every mark-out is xi.

    Raises
    ------
    ValueError
        When the run has not kept its fills.
    """
    place, game, panels = run.place(name), run.market.game, run.panels
    sigma = require_nonnegative("volatility", volatility)
    require_count("seed", seed, 0)
    waits = np.ascontiguousarray(horizons, dtype=np.float64)
    if not np.all(waits > 0):
        raise ValueError(f"horizons must be above 0; was {waits}")
    fills = run.fills[place]
    if fills.size != int(run.totals[:, place, [ASKS, BIDS]].sum()):
        raise ValueError("run must have been made with log_fills=True")
    times, sides = np.ascontiguousarray(fills["time"]), np.ascontiguousarray((fills["side"] + 1) // 2)
    edges = np.searchsorted(fills["path"], np.arange(run.start.size + 1))
    before, after = np.empty(fills.size), np.empty((fills.size, waits.size))
    last, mids = np.empty(run.start.size), np.empty((run.start.size, run.times.size))
    shape, bend = shape_code(game)
    arrivals = np.array([game.ask_arrival, game.bid_arrival])
    # apart from every stream of the fills, which have one number, also where both are given one seed
    random = np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=(place, 1))))
    for path in range(run.start.size):
        own = slice(edges[path], edges[path + 1])
        last[path] = simulate_mid(
            random, panels.edges, panels.quotes[place], panels.levels, panels.bounds[place], arrivals, game.fill_decay,
            shape, bend, sigma, game.adverse_selection, int(run.start[path]) + game.max_inventory, times[own],
            sides[own], waits, run.times, before[own], after[own], mids[path],
        )  # fmt: skip
    paid = fills["side"] * before - fills["half_spread"] + game.maker_fee
    profit = run.last[:, place] * last - np.bincount(fills["path"], weights=paid, minlength=run.start.size)
    return MidRun(profit, last, mids, before, waits, -fills["side"][:, None] * (after - before[:, None]))
