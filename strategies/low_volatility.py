"""Low volatility: hold the calmest part of the universe."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from data_pipeline.daily.view import MarketView
from strategies.checks import require, require_history, require_sessions, require_sizes
from strategies.pod import Targets, parameters_of
from strategies.weighting import annual_volatility, cap_weights, rebalances, scale_to_volatility, tradable_universe


@dataclass(frozen=True, slots=True)
class LowVolatility:
    """Equal weights in the quantile of the universe with the lowest past volatility.

    Blitz & van Vliet (2007) rank by three years of weekly returns and hold the lowest decile; here daily returns of
    `volatility_sessions` and the lowest `quantile`, because B3's liquid universe has tens of names, not thousands.

    Attributes
    ----------
    volatility_sessions : int
        Sessions of the ranking volatility.
    quantile : float
        Part of the universe that is held, in (0, 1].
    rebalance_every : int
    target_volatility, gross_limit, max_weight, min_traded_value, min_presence : float
        As in `TimeSeriesMomentum`.
    name : str
    """

    volatility_sessions: int = 252
    quantile: float = 0.25
    rebalance_every: int = 21
    target_volatility: float = 0.10
    gross_limit: float = 1.0
    max_weight: float = 0.10
    min_traded_value: float = 1e6
    min_presence: float = 0.9
    name: str = "low_volatility"

    def __post_init__(self) -> None:
        """Check every parameter."""
        require_sessions(self.name, volatility_sessions=self.volatility_sessions, rebalance_every=self.rebalance_every)
        require(
            self.volatility_sessions >= 20, self.name, "volatility_sessions", "at least 20", self.volatility_sessions
        )
        require(0.0 < self.quantile <= 1.0, self.name, "quantile", "in (0, 1]", self.quantile)
        require_sizes(self)

    @property
    def parameters(self) -> Mapping[str, float | int | str | bool]:
        """Every parameter by name."""
        return parameters_of(self)

    @property
    def lookback(self) -> int:
        """Sessions that one decision reads."""
        return self.volatility_sessions + 1

    def fit(self, training: MarketView) -> LowVolatility:
        """The pod itself: nothing is estimated."""
        require_history(self.name, self.lookback, training)
        return self

    def decide(self, view: MarketView) -> Targets | None:
        """Weights in the calmest quantile when due."""
        if view.n_sessions < self.lookback or not rebalances(view, self.rebalance_every):
            return None
        returns = view.returns(self.volatility_sessions)
        needed = int(self.min_presence * self.volatility_sessions)
        volatility = annual_volatility(returns, needed)
        chosen = tradable_universe(view, self.min_traded_value, self.volatility_sessions, self.min_presence)
        chosen &= np.isfinite(volatility)
        count = math.ceil(self.quantile * int(chosen.sum()))
        # A stable sort, so that ties are broken by the instruments' order.
        calmest = np.argsort(np.where(chosen, volatility, np.inf), kind="stable")[:count]
        weights = np.zeros(chosen.size)
        weights[calmest] = self.gross_limit / max(count, 1)
        weights = scale_to_volatility(weights, returns, self.target_volatility, self.gross_limit)
        return Targets(weights=cap_weights(weights, self.max_weight))
