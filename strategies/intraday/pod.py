"""What an intraday pod is: parameters that become a compiled rule, fitted on training sessions alone."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from strategies.intraday.rule import Instrument, Rule
from strategies.pod import Parameter


@dataclass(frozen=True, slots=True)
class MarketTruth:
    """The market as a fold's training sessions show it; prices in price units, time in seconds, quantity in lots.

    Attributes
    ----------
    ask_arrival, bid_arrival, fill_decay : float
        A of each side and k, per unit of price: fills of one `order_lots` a second are A exp(-k distance from the mid)
        in the market as it is, that is, while it quotes `half_spread` on average. Of a game with competition c the
        arrivals are A exp(-c k half_spread).
    volatility : float
        Of the mid, price units per square root of a second.
    half_spread : float
        Mean half-spread of the market, price units.
    adverse_selection : float
        Mean move of the mid against a maker after a fill, price units; 0 where it is not estimated.
    competition : float
        Weight of the crowd's mean quote in the intensities, 0 to 1.
    mid : float
        Mean mid, price units.
    trade_lots : float
        Mean lots of a trade.
    """

    ask_arrival: float
    bid_arrival: float
    fill_decay: float
    volatility: float
    half_spread: float
    adverse_selection: float = 0.0
    competition: float = 1.0
    mid: float = 1.0
    trade_lots: float = 1.0

    def __post_init__(self) -> None:
        """Check the numbers."""
        for name in ("ask_arrival", "bid_arrival", "fill_decay", "mid", "trade_lots"):
            _require(0.0 < getattr(self, name) < math.inf, name, "positive and finite", getattr(self, name))
        for name in ("volatility", "half_spread"):
            _require(0.0 <= getattr(self, name) < math.inf, name, "finite and not negative", getattr(self, name))
        _require(math.isfinite(self.adverse_selection), "adverse_selection", "finite", self.adverse_selection)
        _require(0.0 <= self.competition <= 1.0, "competition", "in [0, 1]", self.competition)


@dataclass(frozen=True, slots=True, eq=False)
class IntradayTraining:
    """All that a pod may be fitted on.

    Attributes
    ----------
    instrument : Instrument
    truth : MarketTruth
        Calibrated on the training sessions.
    sessions : tuple of str
        The training sessions, ISO dates.
    seconds : float
        Length of a trading session.
    order_lots, max_position : int
        What each order is for and the largest position, lots: the same for every pod of a run.
    fee : float
        What a maker pays per unit of quantity, price units (a rebate is negative).
    features : mapping of str to (n,) float64
        What happened in each interval of the training sessions: `strategies.intraday.features.interval_features`.
    calibration : mapping
        What the calibration reports, JSON types.
    """

    instrument: Instrument
    truth: MarketTruth
    sessions: tuple[str, ...]
    seconds: float
    order_lots: int
    max_position: int
    fee: float = 0.0
    features: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    calibration: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check the numbers."""
        _require(0.0 < self.seconds < math.inf, "seconds", "positive and finite", self.seconds)
        _require(self.order_lots >= 1, "order_lots", "at least 1", self.order_lots)
        whole = f"at least order_lots {self.order_lots}"
        _require(self.max_position >= self.order_lots, "max_position", whole, self.max_position)
        _require(math.isfinite(self.fee), "fee", "finite", self.fee)


class IntradayPod(Protocol):
    """A strategy with its parameters set: a frozen, picklable dataclass."""

    @property
    def name(self) -> str:
        """Name in results and messages."""
        ...

    @property
    def parameters(self) -> Mapping[str, Parameter]:
        """Every parameter by name: part of the key under which finished work is found again."""
        ...

    def fit(self, training: IntradayTraining) -> Rule:
        """The compiled rule for the sessions after the training window."""
        ...


def _require(good: bool, name: str, rule: str, value: object) -> None:
    if not good:
        raise ValueError(f"{name} must be {rule}; was {value!r}")
