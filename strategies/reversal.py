"""Short-term reversal: buy last week's losers against last week's winners."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from data_pipeline.daily.view import MarketView
from strategies.checks import require, require_history, require_sessions, require_sizes
from strategies.pod import Targets, parameters_of
from strategies.weighting import cap_weights, compound_return, rebalances, scale_to_volatility, tradable_universe


@dataclass(frozen=True, slots=True)
class ShortTermReversal:
    """Weights proportional to minus the past return in excess of the cross-section's mean.

    Lehmann (1990, equation 1): w_i = -(r_i - mean r) / sum |r - mean r|, a portfolio without net investment;
    Jegadeesh (1990) finds the same at a month. Long only: the losers' side alone. Each side of a market-neutral pod
    holds half of the gross; caps are applied side by side, so that it stays neutral.

    Attributes
    ----------
    signal_sessions : int
        Sessions of the past return.
    skip : int
        Latest sessions left out of it (1 keeps the bid-ask bounce of the last close out of the signal).
    volatility_sessions : int
        Sessions from which the portfolio's volatility and the universe are judged.
    rebalance_every : int
    long_only : bool
    target_volatility, gross_limit, max_weight, min_traded_value, min_presence : float
        As in `TimeSeriesMomentum`.
    name : str
    """

    signal_sessions: int = 5
    skip: int = 0
    volatility_sessions: int = 63
    rebalance_every: int = 5
    long_only: bool = False
    target_volatility: float = 0.08
    gross_limit: float = 1.0
    max_weight: float = 0.05
    min_traded_value: float = 1e6
    min_presence: float = 0.9
    name: str = "reversal"

    def __post_init__(self) -> None:
        """Check every parameter."""
        require_sessions(
            self.name,
            signal_sessions=self.signal_sessions,
            volatility_sessions=self.volatility_sessions,
            rebalance_every=self.rebalance_every,
        )
        require(isinstance(self.skip, int) and 0 <= self.skip < self.signal_sessions, self.name, "skip",
                "a whole number in [0, signal_sessions)", self.skip)  # fmt: skip
        require(
            self.volatility_sessions >= 20, self.name, "volatility_sessions", "at least 20", self.volatility_sessions
        )
        require_sizes(self)

    @property
    def parameters(self) -> Mapping[str, float | int | str | bool]:
        """Every parameter by name."""
        return parameters_of(self)

    @property
    def lookback(self) -> int:
        """Sessions that one decision reads."""
        return max(self.signal_sessions, self.volatility_sessions) + 1

    def fit(self, training: MarketView) -> ShortTermReversal:
        """The pod itself: nothing is estimated."""
        require_history(self.name, self.lookback, training)
        return self

    def decide(self, view: MarketView) -> Targets | None:
        """Reversal weights when due."""
        if view.n_sessions < self.lookback or not rebalances(view, self.rebalance_every):
            return None
        window = max(self.signal_sessions, self.volatility_sessions)
        returns = view.returns(window)
        past = compound_return(returns[window - self.signal_sessions : window - self.skip], 1)
        chosen = tradable_universe(view, self.min_traded_value, self.volatility_sessions, self.min_presence)
        chosen &= np.isfinite(past)
        if chosen.sum() < 2:
            return Targets(weights=np.zeros(chosen.size))
        against = np.where(chosen, -(past - past[chosen].mean()), 0.0)
        side = self.gross_limit if self.long_only else 0.5 * self.gross_limit
        bought, sold = _side(against, side), _side(-against, side)
        weights = bought if self.long_only else bought - sold
        recent = returns[-self.volatility_sessions :]
        weights = scale_to_volatility(weights, recent, self.target_volatility, self.gross_limit)
        bought, sold = (cap_weights(np.maximum(sign * weights, 0.0), self.max_weight) for sign in (1.0, -1.0))
        if not self.long_only:
            # A side with few names can end below the other at its caps; the larger one gives way.
            level = min(bought.sum(), sold.sum())
            bought, sold = (leg * (level / leg.sum()) if level > 0.0 else 0.0 * leg for leg in (bought, sold))
        return Targets(weights=bought - sold)


def _side(signal: np.ndarray, gross: float) -> np.ndarray:  # type: ignore[type-arg]
    positive = np.maximum(signal, 0.0)
    total = positive.sum()
    return np.asarray(positive * (gross / total)) if total > 0.0 else positive
