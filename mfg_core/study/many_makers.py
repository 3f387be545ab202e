"""N makers who play the mean-field policy, simulated exactly, and how far they are from their mean-field limit."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mfg_core.checks import require_count
from mfg_core.family.time_grid import bisect, divide
from mfg_core.market.competition import Share
from mfg_core.market.intensity_shapes import Exponential
from mfg_core.market.market_making import MarketMakingEquilibrium

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mfg_core.market.market_making import MarketMakingGame

    Floats = NDArray[np.float64]
    Integers = NDArray[np.int64]

FEWEST_PANELS = 128

PANEL_ERROR = 1e-6
"""Largest error of the panels' quadratics against the policy, in units of 1/fill_decay."""

_FIVE = (0.0, 0.25, 0.5, 0.75, 1.0)

RECORDS = 33


class PathMean(NamedTuple):
    """A mean over independent paths and its standard error."""

    mean: float
    standard_error: float


@dataclass(frozen=True, slots=True, eq=False)
class MakerSimulation:
    """Paths of N interacting makers beside the mean-field law.

    Attributes
    ----------
    equilibrium : MarketMakingEquilibrium
    makers : int
        N.
    times : (nr,) float64
        Where the law is compared; nodes of the equilibrium's grid, 0 and T among them.
    density : (nr, nx) float64
        Of the mean field.
    empirical : (paths, nr, nx) float64
        Share of the makers at each inventory.
    initial : (paths, N) int64
        Inventory of each maker at t = 0, drawn from the game's initial law.
    wealth : (paths, N) float64
        What each maker earned by T less its penalties, price units.
    candidates, fills : int
        Of the thinning, over all paths; fills / candidates is its acceptance.
    """

    equilibrium: MarketMakingEquilibrium
    makers: int
    times: Floats
    density: Floats
    empirical: Floats
    initial: Integers
    wealth: Floats
    candidates: int
    fills: int

    @property
    def wasserstein(self) -> Floats:
        """(paths, nr) Wasserstein-1 distance of the empirical law to the mean field's, units of inventory."""
        return np.asarray(np.abs(np.cumsum(self.empirical - self.density, axis=2)).sum(axis=2))

    @property
    def total_variation(self) -> Floats:
        """(paths, nr) total variation distance, 0 to 1."""
        return np.asarray(0.5 * np.abs(self.empirical - self.density).sum(axis=2))

    @property
    def quote_error(self) -> Floats:
        """(paths, nr) larger |mean quote of the N makers - that of the mean field| of the two sides.

        nan when nobody quotes a side.
        """
        equilibrium = self.equilibrium
        rows = np.searchsorted(equilibrium.times, self.times)
        errors = []
        for side, mean in (
            (equilibrium.policy.ask, equilibrium.mean_field.ask),
            (equilibrium.policy.bid, equilibrium.mean_field.bid),
        ):
            quotes = side[rows]
            quoting = self.empirical * ~np.isnan(quotes)
            with np.errstate(invalid="ignore"):
                average = np.sum(quoting * np.nan_to_num(quotes), axis=2) / quoting.sum(axis=2)
            errors.append(np.abs(average - mean[rows]))
        return np.asarray(np.maximum(*errors))

    @property
    def value_gap(self) -> PathMean:
        """Mean over the makers of what they realised less V(0, their start); (1 - exp(-g w))/g of both when g > 0."""
        game, flat = self.equilibrium.game, self.equilibrium.game.max_inventory
        promised, realised = self.equilibrium.value[0, self.initial + flat], self.wealth
        if game.risk_aversion > 0:
            promised, realised = (
                -np.expm1(-game.risk_aversion * one) / game.risk_aversion for one in (promised, realised)
            )
        return estimate((realised - promised).mean(axis=1))


@dataclass(frozen=True, slots=True, eq=False)
class Market:
    """What the compiled loops read: panels in which each quote is a quadratic, and its bounds there."""

    game: MarketMakingGame
    edges: Floats
    quotes: Floats
    lowest: Floats
    highest: Floats

    @property
    def arrivals(self) -> Floats:
        """(2,) of asks and bids."""
        return np.array([self.game.ask_arrival, self.game.bid_arrival])


def estimate(samples: Floats) -> PathMean:
    """Mean and standard error of independent samples."""
    spread = float(np.std(samples, ddof=1)) if samples.size > 1 else math.nan
    return PathMean(float(np.mean(samples)), spread / math.sqrt(samples.size))


def simulate_makers(
    equilibrium: MarketMakingEquilibrium, *, makers: int, seed: int, paths: int = 100
) -> MakerSimulation:
    """Exact paths of N makers who each play the mean-field policy.

    Maker i's fills have rates A exp(-k (delta(t, x_i) - c m_t)) with m_t the mean current quote of those of the N, i
    among them, who quote that side (under `Share` the soft mean of its formula). Starts are independent draws from the
    initial law. No time step: candidates come at a bound of the total rate that holds over a panel of time, because
    there each quote is a quadratic with known extremes, and are kept with probability rate / bound
    (Lewis & Shedler 1979; Ogata 1981). Each path has its own stream, so a path is the same whatever their number.
    Cost: about one microsecond a fill and inventory in use, whatever N.

    Raises
    ------
    ValueError
        For an intensity that is not exponential.
    RuntimeError
        When a rate passed its bound, which no valid policy does.

    Examples
    --------
    >>> from mfg_core import MarketMakingGame, solve_mfg
    >>> game = MarketMakingGame(ask_arrival=1.0, bid_arrival=1.0, fill_decay=0.5, running_penalty=0.05,
    ...                         terminal_penalty=0.1, horizon=5.0, max_inventory=8)
    >>> crowd = simulate_makers(solve_mfg(game), makers=100, seed=1, paths=20)
    >>> bool(crowd.wasserstein.max() < 1.0), crowd.empirical.shape[2]
    (True, 17)
    """
    require_count("makers", makers)
    require_count("seed", seed, 0)
    require_count("paths", paths)
    market = cut_panels(equilibrium)
    kept, recorded = _records(equilibrium, market)
    nx = equilibrium.states.size
    records = np.empty((paths, recorded.size, nx), dtype=np.int64)
    initial, wealth = np.empty((paths, makers), dtype=np.int64), np.empty((paths, makers))
    tally = np.zeros(2, dtype=np.int64)
    for path in range(paths):
        initial[path], counted = run_path(
            market, path_generator(seed, makers, path), recorded, records[path], wealth[path], np.empty((0, 2))
        )
        tally += counted
    return MakerSimulation(
        equilibrium=equilibrium,
        makers=makers,
        times=equilibrium.times[kept],
        density=equilibrium.density[kept],
        empirical=records / makers,
        initial=initial - equilibrium.game.max_inventory,
        wealth=wealth,
        candidates=int(tally[0]),
        fills=int(tally[1]),
    )


def path_generator(seed: int, makers: int, path: int) -> np.random.Generator:
    """The stream of one path."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=(makers, path))))


def cut_panels(equilibrium: MarketMakingEquilibrium) -> Market:
    """The policy as quadratics in time on at least `FEWEST_PANELS` panels, cut where they miss it by `PANEL_ERROR`."""
    if not isinstance(equilibrium, MarketMakingEquilibrium):
        raise TypeError(f"equilibrium must be that of a MarketMakingGame; was {type(equilibrium).__name__}")
    game = equilibrium.game
    if not isinstance(game.intensity_shape, Exponential):
        raise ValueError(  # noqa: TRY004 - of the right type, and what it holds is not for this
            f"intensity_shape must be Exponential() to simulate makers; was {game.intensity_shape!r}"
        )
    edges = equilibrium.times[::2]
    while edges.size <= FEWEST_PANELS:
        edges = bisect(edges)
    while True:
        fives = np.stack([_quotes_at(equilibrium, edges[:-1] + share * np.diff(edges)) for share in _FIVE], axis=1)
        left, middle, right = (fives[:, j] for j in (0, 2, 4))
        missed = [
            fives[:, 1] - (0.375 * left + 0.75 * middle - 0.125 * right),
            fives[:, 3] - (0.375 * right + 0.75 * middle - 0.125 * left),
        ]
        error = game.fill_decay * np.nanmax(np.abs(missed), axis=(0, 2, 3))
        # A kink (a quote that meets a bound) is closed in on until its panel is a millionth of the horizon.
        again = (error > PANEL_ERROR) & (np.diff(edges) > 1e-6 * game.horizon)
        if not again.any():
            break
        edges = divide(edges, 1 + again.astype(np.int64))
    quotes = np.ascontiguousarray(fives[:, ::2])
    lowest, highest = (np.clip(one, game.min_half_spread, game.max_half_spread) for one in _extremes(quotes))
    return Market(game, edges, quotes, lowest, highest)


def _quotes_at(equilibrium: MarketMakingEquilibrium, times: Floats) -> Floats:
    """(n, nx, 2) asks and bids of the policy."""
    bid, ask = equilibrium.policy.quotes(np.minimum(times, equilibrium.times[-1])[:, None], equilibrium.states)
    return np.stack([ask, bid], axis=-1)


def run_path(
    market: Market,
    random: np.random.Generator,
    recorded: Integers,
    records: Integers,
    wealth: Floats,
    factors: Floats,
) -> tuple[Integers, Integers]:
    """One path; (N,) rows that the makers start from and (2,) candidates and fills. See `simulate_path`."""
    from mfg_core.study.many_makers_kernels import simulate_path

    game = market.game
    law = np.cumsum(game.initial_density)
    initial = np.searchsorted(law / law[-1], random.random(wealth.size), side="right")
    tally = np.zeros(2, dtype=np.int64)
    good = simulate_path(
        random, market.edges, market.quotes, market.lowest, market.highest, np.exp(-game.fill_decay * market.lowest),
        market.arrivals, game.fill_decay, game.crowd_weight, isinstance(game.competition, Share),
        game.min_half_spread, game.max_half_spread, game.running_penalty, game.terminal_penalty, game.fill_cost,
        initial, np.empty(game.states.size, dtype=np.int64), recorded, records, wealth, factors, tally,
    )  # fmt: skip
    if not good:
        raise RuntimeError(
            "a fill rate was above its bound, or not finite: the policy's quotes are not those of its grid"
        )
    return initial, tally


def _records(equilibrium: MarketMakingEquilibrium, market: Market) -> tuple[Integers, Integers]:
    """Nodes of the equilibrium nearest to equally spaced times, and the same as panel edges."""
    ends = equilibrium.times[::2]
    wanted = np.linspace(ends[0], ends[-1], RECORDS)
    nearest = np.unique(np.abs(ends[None, :] - wanted[:, None]).argmin(axis=1))
    return 2 * nearest, np.asarray(np.searchsorted(market.edges, ends[nearest]), dtype=np.int64)


def _extremes(quotes: Floats) -> tuple[Any, Any]:
    """Lowest and highest value of each panel's quadratic, (panels, nx, 2)."""
    left, middle, right = quotes[:, 0], quotes[:, 1], quotes[:, 2]
    bend = left - 2.0 * middle + right
    tilt = right - left - 2.0 * bend
    with np.errstate(divide="ignore", invalid="ignore"):
        turn = -tilt / (4.0 * bend)
    turn = np.where((turn > 0.0) & (turn < 1.0), turn, 0.0)
    extreme = left + turn * (tilt + 2.0 * bend * turn)
    stacked = np.stack([left, right, extreme])
    return stacked.min(axis=0), stacked.max(axis=0)
