"""A market in which only fill intensities exist: policies simulated exactly against a crowd whose path is given.

    market = market_of(equilibrium)                               # A, k, shape, penalties; the crowd's quotes by time
    run = simulate_poisson(market, {"equilibrium": equilibrium.policy.quotes, "wider": ...}, paths=10_000, seed=1)
    run.value("equilibrium")                                      # mean and standard error of the penalised gain
    run.gain("wider", "equilibrium")                              # of the difference, on the same order flow

No time step and no probability lambda dt: fills come by thinning at the rate of the very moment.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from backtests.intraday.poisson_kernels import (
    ABOVE_BOUND,
    ASKS,
    BIDS,
    EARNED,
    EXPECTED_ASKS,
    EXPECTED_BIDS,
    HELD,
    LOG_FULL,
    simulate_flow,
)
from backtests.intraday.poisson_panels import MarketPanels, PoissonMarket, Quoting, cut_market, shape_code
from mfg_core.checks import require_count
from mfg_core.study.many_makers import PathMean, estimate

__all__ = ["POISSON_FILL_DTYPE", "PathMean", "PoissonRun", "simulate_panels", "simulate_poisson"]

Floats: TypeAlias = NDArray[np.float64]
Integers: TypeAlias = NDArray[np.int64]

BLOCK: Final = 256
"""Paths of one random stream; a path is the same however many follow it."""

POISSON_FILL_DTYPE: Final = np.dtype(
    [
        ("path", "<i8"),
        ("time", "<f8"),  # seconds since the start
        ("side", "<i8"),  # +1 bought, -1 sold
        ("inventory", "<i8"),  # before the fill
        ("half_spread", "<f8"),  # the quote that was hit, price from the mid
    ],
    align=True,
)


@dataclass(frozen=True, slots=True, eq=False)
class PoissonRun:
    """Paths of one or more policies, each path with one order flow for all of them.

    Attributes
    ----------
    market : PoissonMarket
    panels : MarketPanels
    names : tuple of str
        Of the policies, M.
    seed : int
    start : (paths,) int64
        First inventory.
    last : (paths, M) int64
        Inventory at the end.
    totals : (paths, M, 6) float64
        Half-spreads earned less adverse selection and fees; running and terminal penalty; asks and bids filled, and as
        many as were expected given where the inventory went, the integrals of the fill rates.
    times : (n,) float64
    inventory : (paths, M, n) int64
        At `times`, before a fill at that very time.
    fills : tuple of arrays of POISSON_FILL_DTYPE
        Of each policy, by path and time; empty when they were not asked for.
    """

    market: PoissonMarket
    panels: MarketPanels
    names: tuple[str, ...]
    seed: int
    start: Integers
    last: Integers
    totals: Floats
    times: Floats
    inventory: Integers
    fills: tuple[NDArray[Any], ...]

    def place(self, name: str) -> int:
        """The policy's place."""
        if name not in self.names:
            raise ValueError(f"name must be one of {', '.join(self.names)}; was {name!r}")
        return self.names.index(name)

    def values(self, name: str, *, controlled: bool = True) -> Floats:
        """(paths,) what the policy earned less its penalties, price units.

        With `controlled`, less (fills - expected fills) times what a fill is worth at the best quote when V stays as it
        is (1/k when the intensity is exponential and there is no risk aversion). The mean of that is 0 whatever the
        policy, since expected fills compensate fills; so the mean of the values stays and most of their noise goes.
        """
        totals = self.totals[:, self.place(name)]
        values = totals[:, EARNED] - totals[:, HELD]
        return values - self._worth() * self._surprise(totals) if controlled else values

    def value(self, name: str, *, controlled: bool = True) -> PathMean:
        """Mean and standard error of `values`."""
        return estimate(self.values(name, controlled=controlled))

    def gain(self, name: str, other: str, *, controlled: bool = True) -> PathMean:
        """What a policy makes more than another, path by path on the same order flow: mean and standard error."""
        return estimate(self.values(name, controlled=controlled) - self.values(other, controlled=controlled))

    def value_gap(self, name: str, promised: Floats, *, controlled: bool = True) -> PathMean:
        """Mean over the paths of value less `promised` (nx,) at the first inventory, with its standard error.

        Under risk aversion g of (1 - exp(-g (value - promised)))/g, whose mean is 0 when `promised` is the policy's
        certainty equivalent.
        """
        totals = self.totals[:, self.place(name)]
        flat, g = self.market.game.max_inventory, self.market.game.risk_aversion
        gap = totals[:, EARNED] - totals[:, HELD] - np.asarray(promised)[self.start + flat]
        gap = -np.expm1(-g * gap) / g if g > 0 else gap
        return estimate(gap - self._worth() * self._surprise(totals) if controlled else gap)

    def fill_counts(self, name: str) -> Floats:
        """(paths, 2) asks and bids filled."""
        return self.totals[:, self.place(name), [ASKS, BIDS]]

    def expected_counts(self, name: str) -> Floats:
        """(paths, 2) integrals of the fill rates of asks and bids along the path."""
        return self.totals[:, self.place(name), [EXPECTED_ASKS, EXPECTED_BIDS]]

    def _surprise(self, totals: Floats) -> Floats:
        return np.asarray(
            totals[:, ASKS] + totals[:, BIDS] - totals[:, EXPECTED_ASKS] - totals[:, EXPECTED_BIDS], dtype=np.float64
        )

    def _worth(self) -> float:
        game = self.market.game
        margin, g = game.margin - game.fill_cost, game.risk_aversion
        return float(-np.expm1(-g * margin) / g) if g > 0 else margin


def simulate_poisson(
    market: PoissonMarket,
    policies: Mapping[str, Quoting],
    *,
    paths: int,
    seed: int,
    start: int | None = None,
    times: Floats | None = None,
    log_fills: bool = False,
) -> PoissonRun:
    """Exact paths of each policy against the market's crowd, all policies on one order flow.

    Parameters
    ----------
    market : PoissonMarket
    policies : mapping of str to Quoting
        What they quote outwards at the ends of the inventory grid is left out.
    paths : int
    seed : int
    start : int, optional
        First inventory of all paths; drawn from the game's initial law otherwise.
    times : (n,) float64, optional
        Sorted times in [0, horizon] at which inventories are kept.
    log_fills : bool
        Keep every fill, which `simulate_mids` needs.

    Raises
    ------
    ValueError
        When a policy quotes where fill rates are not finite, or a side for only a part of the time.

    Notes
    -----
    Each policy's quotes, and the crowd's path, are quadratics in time on panels that miss them by at most 1e-6/k; given
    these the law is exact. Cost: some 15 microseconds a path and policy of 100 panels and fills.

    Examples
    --------
    >>> from mfg_core import MarketMakingGame, solve_mfg
    >>> from backtests.intraday.poisson_panels import market_of
    >>> game = MarketMakingGame(ask_arrival=1.0, bid_arrival=1.0, fill_decay=0.5, running_penalty=0.05,
    ...                         terminal_penalty=0.1, horizon=5.0, max_inventory=8)
    >>> equilibrium = solve_mfg(game)
    >>> run = simulate_poisson(market_of(equilibrium), {"crowd": equilibrium.policy.quotes}, paths=50, seed=1)
    >>> bool(abs(run.value_gap("crowd", equilibrium.value[0]).mean) < 1e-5)
    True
    """
    if not policies:
        raise ValueError("policies must hold at least one; was empty")
    panels = cut_market(market, list(policies.values()))
    return simulate_panels(
        market, panels, tuple(policies), paths=paths, seed=seed, start=start, times=times, log_fills=log_fills
    )


def simulate_panels(
    market: PoissonMarket,
    panels: MarketPanels,
    names: tuple[str, ...],
    *,
    paths: int,
    seed: int,
    start: int | None = None,
    times: Floats | None = None,
    log_fills: bool = False,
) -> PoissonRun:
    """The same with the panels given."""
    game, count = market.game, require_count("paths", paths)
    require_count("seed", seed, 0)
    marks = np.zeros(0) if times is None else np.ascontiguousarray(times, dtype=np.float64)
    if marks.size and not (marks[0] >= 0 and marks[-1] <= game.horizon and np.all(np.diff(marks) >= 0)):
        raise ValueError(f"times must be sorted and in [0, {game.horizon}]; was {marks}")
    law = np.cumsum(game.initial_density)
    if start is not None:
        if abs(start) > game.max_inventory:
            raise ValueError(f"start must be within {game.max_inventory} either side of 0; was {start}")
        law = np.asarray(game.states >= start, dtype=np.float64)
    starts, lasts = np.empty(count, dtype=np.int64), np.empty((count, len(names)), dtype=np.int64)
    totals, seen = np.empty((count, len(names), 6)), np.empty((count, len(names), marks.size), dtype=np.int64)
    logs: list[tuple[NDArray[Any], Integers]] = []
    for block, first in enumerate(range(0, count, BLOCK)):
        at = slice(first, min(first + BLOCK, count))
        logs.append(
            _simulate_block(
                market,
                panels,
                seed,
                block,
                law / law[-1],
                marks,
                starts[at],
                lasts[at],
                seen[at],
                totals[at],
                log_fills,
            )
        )
        logs[-1][0]["path"] += first
    fills, whose = (np.concatenate(parts) for parts in zip(*logs, strict=True))
    flat = game.max_inventory
    return PoissonRun(
        market=market,
        panels=panels,
        names=names,
        seed=seed,
        start=starts - flat,
        last=lasts - flat,
        totals=totals,
        times=marks,
        inventory=seen - flat,
        fills=tuple(fills[whose == m] for m in range(len(names))),
    )


def _simulate_block(
    market: PoissonMarket,
    panels: MarketPanels,
    seed: int,
    block: int,
    law: Floats,
    marks: Floats,
    starts: Integers,
    lasts: Integers,
    seen: Integers,
    totals: Floats,
    log_fills: bool,
) -> tuple[NDArray[Any], Integers]:
    """Fill the block's part of the outputs; its fills, and the policy of each."""
    game = market.game
    shape, bend = shape_code(game)
    room = _room(panels, totals.shape[0]) if log_fills else 0
    while True:
        random = np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=(block,))))
        places, numbers = np.empty((room, 4), dtype=np.int64), np.empty((room, 2))
        logged = simulate_flow(
            random, panels.edges, panels.quotes, panels.levels, panels.bounds,
            np.array([game.ask_arrival, game.bid_arrival]), game.fill_decay, shape, bend, game.running_penalty,
            game.terminal_penalty, game.fill_cost, law, marks, starts, lasts, seen, totals, places, numbers,
        )  # fmt: skip
        if logged == ABOVE_BOUND:
            raise RuntimeError("a fill rate was above its bound: the panels' bounds are not those of their quotes")
        if logged != LOG_FULL:
            break
        room *= 2
    fills = np.empty(logged, dtype=POISSON_FILL_DTYPE)
    fills["path"], fills["time"], fills["half_spread"] = places[:logged, 0], numbers[:logged, 0], numbers[:logged, 1]
    fills["side"] = 2 * places[:logged, 2] - 1
    fills["inventory"] = places[:logged, 3] - game.max_inventory
    return fills, places[:logged, 1]


def _room(panels: MarketPanels, paths: int) -> int:
    """Fills to make room for: those at the rates' bounds of a flat inventory, and three deviations more."""
    flat = panels.quotes.shape[2] // 2
    rates = panels.bounds[:, :, flat].sum(axis=(0, 2))
    likely = paths * float(np.diff(panels.edges) @ rates)
    return 64 + int(min(likely + 3.0 * np.sqrt(likely), 1e8))
