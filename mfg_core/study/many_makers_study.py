"""How fast N makers approach their mean-field limit: distances and deviation gains by size, with slopes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from mfg_core.checks import require_count
from mfg_core.errors import SolveError
from mfg_core.study.many_makers import Market, PathMean, cut_panels, estimate, path_generator, run_path, simulate_makers

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mfg_core.market.market_making import MarketMakingEquilibrium

    Floats = NDArray[np.float64]

CONFIDENCE = 1.959963984540054
"""Normal quantile of a 95 % interval."""


class Slope(NamedTuple):
    """Power of N by weighted least squares in logs, its standard error and its 95 % interval."""

    slope: float
    standard_error: float
    low: float
    high: float


class DeviationGain(NamedTuple):
    """What one maker gains by leaving the mean-field policy, price units: bounds of the best gain, with errors.

    `upper` is that of a clairvoyant who knows the crowd's path in advance, `lower` that of the best reply to the
    crowd's mean path (an estimate of a gain that may be below its noise, so it may be negative).
    """

    upper: PathMean
    lower: PathMean


@dataclass(frozen=True, slots=True, eq=False)
class ConvergenceStudy:
    """PathMeans by number of makers, each (sizes,) with its standard error in the second column.

    Attributes
    ----------
    sizes : (n,) int64
    wasserstein, total_variation : (n, 2) float64
        Mean over the paths of the largest distance over time.
    quote_error : (n, 2) float64
        The same of the mean quotes, price units.
    value_gap : (n, 2) float64
        Mean of what makers realised less what V promised.
    gain_upper, gain_lower : (n, 2) float64
        See `DeviationGain`; nan for a single maker, who has no crowd.
    """

    sizes: NDArray[np.int64]
    wasserstein: Floats
    total_variation: Floats
    quote_error: Floats
    value_gap: Floats
    gain_upper: Floats
    gain_lower: Floats

    def slope(self, name: str) -> Slope:
        """Slope of the attribute `name` against N; nan where an estimate is not positive."""
        if name not in ("wasserstein", "total_variation", "quote_error", "gain_upper", "gain_lower"):
            raise ValueError(f"name must be that of a distance or a gain; was {name!r}")
        return fit_slope(self.sizes, getattr(self, name))


def convergence_study(
    equilibrium: MarketMakingEquilibrium, *, sizes: Sequence[int], paths: int, seed: int
) -> ConvergenceStudy:
    """Distances to the mean field and deviation gains for each number of makers.

    The distance of N independent draws falls like N^-1/2, and so does that of the interacting makers. The gain of a
    deviation is bounded by that order in theory (Carmona & Delarue 2018); here it falls faster: a quote that misses the
    best one by the crowd's fluctuation, of order N^-1/2, costs the square of it.
    """
    counts = np.array([require_count("sizes", size) for size in sizes], dtype=np.int64)
    if counts.size < 2 or np.any(np.diff(counts) <= 0):
        raise ValueError(f"sizes must be at least two increasing numbers of makers; was {list(sizes)}")
    if require_count("paths", paths) < 4:
        raise ValueError(f"paths must be at least 4; was {paths}")
    rows = []
    for size in counts:
        crowd = simulate_makers(equilibrium, makers=int(size), seed=seed, paths=paths)
        gain = (
            deviation_gain(equilibrium, makers=int(size), seed=seed, paths=paths)
            if size > 1
            else DeviationGain(PathMean(math.nan, math.nan), PathMean(math.nan, math.nan))
        )
        distances = [
            estimate(np.nanmax(one, axis=1)) for one in (crowd.wasserstein, crowd.total_variation, crowd.quote_error)
        ]
        rows.append([*distances, crowd.value_gap, gain.upper, gain.lower])
    table = np.array(rows)
    return ConvergenceStudy(counts, *(table[:, i] for i in range(6)))


def deviation_gain(equilibrium: MarketMakingEquilibrium, *, makers: int, seed: int, paths: int) -> DeviationGain:
    """Bounds of what one maker gains by deviating while N - 1 others play the mean-field policy; price units.

    The maker's fills depend on the mean quotes of the N - 1 others, who interact among themselves and do not see it.
    On each path of the others the value of any policy of the maker solves a linear equation and the best reply to the
    path a nonlinear one, so nothing of the maker's own fills is left to chance. `upper` is the mean over the paths of
    best reply less mean-field policy, a bound of every strategy that learns about the crowd only as time goes
    by (information relaxation; Brown, Smith & Sun 2010). `lower` is what the best reply to the mean over the paths of
    exp(k c m_t) gains on other paths than those that made the mean. Inventories at t = 0 follow the initial law.

    That the maker's own quote enters neither its reference nor that of the others is part of the definition: at c = 1 a
    maker who alone quotes a side, and whose quote were the mean, would be filled at rate A at any price, and one
    whose quotes are unbounded could move the mean of the others at will.

    Raises
    ------
    ValueError
        For an intensity that is not exponential, or a risk aversion.
    SolveError
        When fill rates are too fast for the explicit march of the reply.
    """
    if require_count("makers", makers) < 2:
        raise ValueError(f"makers must be at least 2, the deviating one and a crowd; was {makers}")
    if require_count("paths", paths) < 4:
        raise ValueError(f"paths must be at least 4; was {paths}")
    market = cut_panels(equilibrium)
    if market.game.risk_aversion > 0:
        raise ValueError(f"risk_aversion must be 0 for gains in price units; was {market.game.risk_aversion}")
    panels = market.edges.size - 1
    factors = np.zeros((paths, panels, 2))
    nothing = np.empty(0, dtype=np.int64), np.empty((0, equilibrium.states.size), dtype=np.int64)
    for path in range(paths):
        random = path_generator(seed, makers, path)
        run_path(market, random, *nothing, np.empty(makers - 1), factors[path])
    law = market.game.initial_density
    samples = np.empty((paths, 2))
    for half in range(2):
        rivals = best_reply(market, factors[1 - half :: 2].mean(axis=0))
        for path in range(half, paths, 2):
            samples[path] = reply_gains(market, rivals, factors[path])[1:] @ law
    return DeviationGain(estimate(samples[:, 0]), estimate(samples[:, 1]))


def best_reply(market: Market, factors: Floats) -> Floats:
    """(panels, 3, nx, 2) quotes that are best where the panel means of exp(k c m) are `factors` (panels, 2)."""
    best = np.empty_like(market.quotes)
    _march(market, market.quotes, factors, best)
    return best


def reply_gains(market: Market, rivals: Floats, factors: Floats) -> Floats:
    """(3, nx) at t = 0: best value, its gain over the market's policy, and the gain of the quotes `rivals`."""
    return _march(market, rivals, factors, np.empty((0, 3, market.quotes.shape[2], 2)))


def fit_slope(sizes: NDArray[np.int64], estimates: Floats) -> Slope:
    """Slope of log estimates[:, 0] on log sizes, weighted by their errors estimates[:, 1].

    Its error is widened by the root of the chi-square per degree of freedom where the points scatter more than their
    errors allow.
    """
    mean, error = estimates[:, 0], estimates[:, 1]
    if not (np.all(mean > 0) and np.all(error > 0)):
        return Slope(math.nan, math.nan, math.nan, math.nan)
    x, y, weight = np.log(sizes), np.log(mean), (mean / error) ** 2
    centre = np.average(x, weights=weight)
    leverage = float(np.sum(weight * (x - centre) ** 2))
    slope = float(np.sum(weight * (x - centre) * y)) / leverage
    misfit = float(np.sum(weight * (y - np.average(y, weights=weight) - slope * (x - centre)) ** 2))
    spread = math.sqrt(max(1.0, misfit / (x.size - 2)) if x.size > 2 else 1.0)
    width = spread / math.sqrt(leverage)
    return Slope(slope, width, slope - CONFIDENCE * width, slope + CONFIDENCE * width)


def _march(market: Market, rivals: Floats, factors: Floats, best: Floats) -> Floats:
    from mfg_core.study.many_makers_kernels import march_reply

    game = market.game
    state = np.empty((3, market.quotes.shape[2]))
    good = march_reply(
        market.edges, market.quotes, rivals, factors, market.arrivals, game.fill_decay, game.running_penalty,
        game.terminal_penalty, game.fill_cost, game.min_half_spread, game.max_half_spread, best, state,
    )  # fmt: skip
    if not good:
        raise SolveError("the reply needs more than a million steps in a panel: fill rates are too fast for this check")
    return state
