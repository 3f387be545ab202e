"""What all market-making pods share: their parameters of style, the units of a training, and the way to a rule."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from strategies.checks import require
from strategies.intraday.lone_maker import LoneMaker
from strategies.intraday.pod import IntradayTraining
from strategies.intraday.quote_table import REFERENCES, QuoteTable, QuotingStyle
from strategies.pod import Parameter, parameters_of

Floats = NDArray[np.float64]

TIME_TOLERANCE = 1e-4
"""Largest error of a table between its nodes of time, in ticks."""


@dataclass(frozen=True, slots=True, eq=False)
class FittedQuotes:
    """A maker's table in price units, with what a report should say of it (JSON types)."""

    table: QuoteTable
    notes: Mapping[str, Any]


class QuoteMaker(Protocol):
    """A pod whose rule is the shared one with a table of its own."""

    @property
    def name(self) -> str:
        """Name in results and messages."""
        ...

    @property
    def parameters(self) -> Mapping[str, Parameter]:
        """Every parameter by name."""
        ...

    def quotes(self, training: IntradayTraining) -> FittedQuotes:
        """The table, fitted."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class MakerStyle:
    """Parameters of every market-making pod: see `QuotingStyle`."""

    name: str
    interval_ms: int = 100
    requote_ticks: int = 0
    reference: str = "mid"
    withdraw_seconds: float = 0.0

    @property
    def parameters(self) -> Mapping[str, Parameter]:
        """Every parameter by name."""
        return parameters_of(self)

    @property
    def style(self) -> QuotingStyle:
        """They alone."""
        return QuotingStyle(self.interval_ms, self.requote_ticks, self.reference, self.withdraw_seconds)

    def check_style(self) -> None:
        """Raise ValueError unless they make sense."""
        require_whole(self.name, "interval_ms", self.interval_ms, 1)
        require_whole(self.name, "requote_ticks", self.requote_ticks, 0)
        require(self.reference in REFERENCES, self.name, "reference", " or ".join(REFERENCES), self.reference)
        require_number(self.name, "withdraw_seconds", self.withdraw_seconds, low=0.0)


def require_whole(pod: str, name: str, value: object, low: int) -> None:
    """Raise ValueError unless the value is a whole number of at least `low`."""
    whole = isinstance(value, int) and not isinstance(value, bool)
    require(whole and value >= low, pod, name, f"a whole number, at least {low}", value)  # type: ignore[operator]


def require_number(pod: str, name: str, value: object, *, low: float = -math.inf, above: float = -math.inf) -> None:
    """Raise ValueError unless the value is finite, at least `low` and above `above`."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    good = number and math.isfinite(value) and value >= low and value > above  # type: ignore[arg-type, operator]
    rule = f"finite and at least {low:g}" if low > -math.inf else f"finite and above {above:g}"
    require(good, pod, name, rule if low > -math.inf or above > -math.inf else "finite", value)


def largest_inventory(training: IntradayTraining) -> int:
    """Q: whole orders within the position limit."""
    return training.max_position // training.order_lots


def money_of_price(training: IntradayTraining) -> float:
    """Money that one unit of price is worth on one order."""
    instrument = training.instrument
    return training.order_lots * instrument.lot_size * instrument.multiplier


def lone_maker(
    training: IntradayTraining, risk_aversion: float, *, symmetric: bool = False, with_costs: bool = True
) -> LoneMaker:
    """The lone maker's problem in this market: `risk_aversion` per unit of money becomes one per unit of price."""
    truth = training.truth
    ask, bid = arrivals(training, symmetric)
    return LoneMaker(
        ask_arrival=ask,
        bid_arrival=bid,
        fill_decay=truth.fill_decay,
        volatility=truth.volatility,
        risk_aversion=risk_aversion * money_of_price(training),
        fill_cost=truth.adverse_selection + training.fee if with_costs else 0.0,
    )


def arrivals(training: IntradayTraining, symmetric: bool) -> tuple[float, float]:
    """(ask, bid) arrival at the mid; their geometric mean twice when `symmetric`."""
    truth = training.truth
    mean = math.sqrt(truth.ask_arrival) * math.sqrt(truth.bid_arrival)
    return (mean, mean) if symmetric else (truth.ask_arrival, truth.bid_arrival)


def horizon_of(training: IntradayTraining, horizon_seconds: float) -> float:
    """The horizon in seconds: the session's length where the parameter is 0 or longer."""
    return min(horizon_seconds, training.seconds) if horizon_seconds > 0.0 else training.seconds
