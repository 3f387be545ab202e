"""Equal-weight hold: the benchmark, which has no view of its own and trades as little as it can."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from data_pipeline.daily.view import MarketView
from strategies.checks import require_history, require_sessions, require_sizes
from strategies.pod import Targets, parameters_of
from strategies.weighting import cap_weights, rebalances, scale_to_volatility, tradable_universe


@dataclass(frozen=True, slots=True)
class EqualWeight:
    """The same weight in every liquid instrument, restored every `rebalance_every` sessions.

    Equal weights are a hard benchmark to beat out of sample (DeMiguel, Garlappi & Uppal 2009). It also rebalances on
    the day on which a held instrument has been silent for `missing_sessions` sessions.

    Attributes
    ----------
    rebalance_every : int
        Sessions between rebalancings.
    universe_window : int
        Sessions over which liquidity is judged.
    min_traded_value : float
        Least median traded value per session, R$.
    min_presence : float
        Least fraction of those sessions with a trade.
    missing_sessions : int
        Sessions without a trade after which a held instrument counts as gone.
    target_volatility : float
        Annual volatility target; infinity (the default) stays fully invested.
    gross_limit : float
        Largest sum of weights.
    max_weight : float
        Largest weight.
    name : str
    """

    rebalance_every: int = 63
    universe_window: int = 63
    min_traded_value: float = 1e6
    min_presence: float = 0.9
    missing_sessions: int = 5
    target_volatility: float = math.inf
    gross_limit: float = 1.0
    max_weight: float = 1.0
    name: str = "equal_weight"

    def __post_init__(self) -> None:
        """Check every parameter."""
        require_sessions(
            self.name,
            rebalance_every=self.rebalance_every,
            universe_window=self.universe_window,
            missing_sessions=self.missing_sessions,
        )
        require_sizes(self)

    @property
    def parameters(self) -> Mapping[str, float | int | str | bool]:
        """Every parameter by name."""
        return parameters_of(self)

    @property
    def lookback(self) -> int:
        """Sessions that one decision reads."""
        return max(self.universe_window, self.missing_sessions) + 1

    def fit(self, training: MarketView) -> EqualWeight:
        """The pod itself: nothing is estimated."""
        require_history(self.name, self.lookback, training)
        return self

    def decide(self, view: MarketView) -> Targets | None:
        """Equal weights when due."""
        if view.n_sessions < self.lookback or not (rebalances(view, self.rebalance_every) or self._lost_one(view)):
            return None
        chosen = tradable_universe(view, self.min_traded_value, self.universe_window, self.min_presence)
        weights = chosen / max(int(chosen.sum()), 1) * self.gross_limit
        weights = cap_weights(weights, self.max_weight)
        if math.isfinite(self.target_volatility):
            returns = view.returns(self.universe_window)
            weights = scale_to_volatility(weights, returns, self.target_volatility, self.gross_limit)
        return Targets(weights=weights)

    def _lost_one(self, view: MarketView) -> bool:
        """Whether a held instrument completed its `missing_sessions`-th silent session today (so only once)."""
        traded = np.isfinite(view.history("close", self.missing_sessions + 1, adjusted=False))
        silent = traded[0] & ~traded[1:].any(axis=0)
        return bool(np.any(silent & (view.weights != 0.0)))
