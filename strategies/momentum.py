"""Time-series momentum: hold what has risen, each position scaled by its own volatility."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from data_pipeline.daily.view import MarketView
from strategies.checks import require, require_history, require_sessions, require_sizes
from strategies.pod import Targets, parameters_of
from strategies.weighting import (
    annual_volatility,
    cap_weights,
    compound_return,
    rebalances,
    scale_to_volatility,
    tradable_universe,
)


@dataclass(frozen=True, slots=True)
class TimeSeriesMomentum:
    """Long the instruments whose past return beat cash, short (unless `long_only`) the others, in inverse volatility.

    Moskowitz, Ooi & Pedersen (2012, equation 5): position = sign(past 12-month excess return) / ex-ante volatility.
    Their 40 % per instrument is replaced by one target for the whole portfolio. `skip` leaves out the last sessions,
    in which reversal works against momentum (Jegadeesh 1990).

    Attributes
    ----------
    signal_sessions : int
        Sessions of the past return.
    skip : int
        Latest sessions left out of it.
    volatility_sessions : int
        Sessions from which volatilities are measured.
    rebalance_every : int
    long_only : bool
    target_volatility : float
        Annual volatility of the whole portfolio.
    gross_limit, max_weight : float
        Largest sum of |weights|, largest |weight|.
    min_traded_value, min_presence : float
        Universe, as in `EqualWeight`, judged over `volatility_sessions`.
    name : str
    """

    signal_sessions: int = 252
    skip: int = 0
    volatility_sessions: int = 63
    rebalance_every: int = 21
    long_only: bool = True
    target_volatility: float = 0.10
    gross_limit: float = 1.0
    max_weight: float = 0.10
    min_traded_value: float = 1e6
    min_presence: float = 0.9
    name: str = "momentum"

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

    def fit(self, training: MarketView) -> TimeSeriesMomentum:
        """The pod itself: nothing is estimated."""
        require_history(self.name, self.lookback, training)
        return self

    def decide(self, view: MarketView) -> Targets | None:
        """Momentum weights when due."""
        if view.n_sessions < self.lookback or not rebalances(view, self.rebalance_every):
            return None
        window = max(self.signal_sessions, self.volatility_sessions)
        returns = view.returns(window)
        recent = returns[-self.volatility_sessions :]
        past = slice(window - self.signal_sessions, window - self.skip)
        cash = np.prod(1.0 + view.risk_free(window)[past]) - 1.0
        needed = int(self.min_presence * (self.signal_sessions - self.skip))
        excess = compound_return(returns[past], needed) - cash
        volatility = annual_volatility(recent)
        chosen = tradable_universe(view, self.min_traded_value, self.volatility_sessions, self.min_presence)
        chosen &= np.isfinite(excess) & np.isfinite(volatility)
        sign = np.where(chosen, np.sign(np.where(chosen, excess, 0.0)), 0.0)
        if self.long_only:
            sign = np.maximum(sign, 0.0)
        weights = np.where(sign != 0.0, sign / np.where(chosen, volatility, 1.0), 0.0)
        weights = _normalised(weights, self.gross_limit)
        weights = scale_to_volatility(weights, recent, self.target_volatility, self.gross_limit)
        return Targets(weights=cap_weights(weights, self.max_weight))


def _normalised(weights: np.ndarray, gross: float) -> np.ndarray:  # type: ignore[type-arg]
    total = np.abs(weights).sum()
    return weights * (gross / total) if total > 0.0 else weights
