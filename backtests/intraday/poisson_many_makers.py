"""One maker among N: what the best reply to each path of the others gains, simulated and by its Bellman equation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from backtests.intraday.poisson import PathMean, simulate_panels
from backtests.intraday.poisson_panels import market_of, panels_of
from mfg_core import MarketMakingEquilibrium
from mfg_core.checks import require_count
from mfg_core.study.many_makers import Market, cut_panels, estimate, path_generator, run_path
from mfg_core.study.many_makers_study import best_reply, reply_gains

Floats: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class CrowdPathGains:
    """Gains of a clairvoyant maker over the mean-field policy, one entry for each path of the N - 1 others.

    Attributes
    ----------
    simulated : (crowds, 2) float64
        Mean and standard error, by Poisson fills against that path.
    exact : (crowds,) float64
        By the linear Bellman equation in that path.
    """

    simulated: Floats
    exact: Floats

    @property
    def mean(self) -> PathMean:
        """Mean of the simulated gains over the crowds' paths."""
        return estimate(self.simulated[:, 0])


def clairvoyant_gains(
    equilibrium: MarketMakingEquilibrium, *, makers: int, crowds: int, paths: int, seed: int
) -> CrowdPathGains:
    """What one maker gains who knows the path of the N - 1 others, who interact and play the mean-field policy.

    The paths of the others are those of `mfg_core.deviation_gain` for the same seed; its upper bound is the mean of the
    exact gains. Between them the crowd's pull exp(k c m_t) is constant on each of its panels.
    """
    if require_count("makers", makers) < 2:
        raise ValueError(f"makers must be at least 2, the deviating one and a crowd; was {makers}")
    require_count("crowds", crowds)
    panels = cut_panels(equilibrium)
    nothing = np.empty(0, dtype=np.int64), np.empty((0, equilibrium.states.size), dtype=np.int64)
    law = equilibrium.game.initial_density
    simulated, exact = np.empty((crowds, 2)), np.empty(crowds)
    for crowd in range(crowds):
        factors = np.zeros((panels.edges.size - 1, 2))
        run_path(panels, path_generator(seed, makers, crowd), *nothing, np.empty(makers - 1), factors)
        best = best_reply(panels, factors)
        exact[crowd] = reply_gains(panels, best, factors)[2] @ law
        simulated[crowd] = _simulate(equilibrium, panels, best, factors, paths, seed + crowd)
    return CrowdPathGains(simulated, exact)


def _simulate(
    equilibrium: MarketMakingEquilibrium, panels: Market, best: Floats, factors: Floats, paths: int, seed: int
) -> PathMean:
    """Gain of the quotes `best` over the market's in the crowd with these factors."""
    levels = np.zeros((factors.shape[0], 2, 2, 3))
    levels[:, :, 1] = np.log(factors)[:, :, None]
    quotes = np.stack([np.moveaxis(one, 1, -1) for one in (panels.quotes, best)])
    market = market_of(equilibrium)
    cut = panels_of(market, panels.edges, np.ascontiguousarray(quotes), levels)
    run = simulate_panels(market, cut, ("crowd", "best"), paths=paths, seed=seed)
    return run.gain("best", "crowd")
