"""What a study of sensitivity varies: execution assumptions, one at a time, around those of the run.

Fits, choices and calibrations stay those of the run. A value changes how decisions become fills, so nothing is chosen
by it and no trial is added: each value is one more account per pod, from the same fitted pods.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Literal

Value = float | str
Variant = tuple[str, Value]
"""Name of what is varied, and its value."""

MOST_DELAY = 252
"""Sessions; an order that is a year late is no order."""


@dataclass(frozen=True, slots=True)
class Sensitivity:
    """What a daily run is repeated under; an empty tuple varies nothing.

    Attributes
    ----------
    capital : tuple of float
        What the account starts with, money: the capacity curve.
    fee_factor : tuple of float
        Exchange and clearing fees, times the run's. Half-spreads and impact stay: they are measured, not charged.
    delay_sessions : tuple of int
        Sessions that a decision waits before its orders are sent (`sensitivity_tasks.Delayed`); 0 is the run.
    fill_price : tuple of "vwap" or "close"
    participation_limit : tuple of float
        Largest part of a session's volume that a fill may be.
    """

    KIND: ClassVar[str] = "daily"

    capital: tuple[float, ...] = ()
    fee_factor: tuple[float, ...] = ()
    delay_sessions: tuple[int, ...] = ()
    fill_price: tuple[Literal["vwap", "close"], ...] = ()
    participation_limit: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        """Check every value."""
        _distinct(self)
        _numbers("capital", self.capital, lambda value: value > 0.0, "positive")
        _numbers("fee_factor", self.fee_factor, lambda value: value >= 0.0, "0 or more")
        _whole("delay_sessions", self.delay_sessions, 0, MOST_DELAY)
        for price in self.fill_price:
            if price not in ("vwap", "close"):
                raise ValueError(f"fill_price must be vwap or close; was {price!r}")
        _numbers("participation_limit", self.participation_limit, lambda value: 0.0 < value <= 1.0, "in (0, 1]")

    def variants(self, base: Mapping[str, Value]) -> Iterator[Variant]:
        """Every value that is not the run's own, `base` by name."""
        return _variants(self, base)


@dataclass(frozen=True, slots=True)
class IntradaySensitivity:
    """What an event run is repeated under; an empty tuple varies nothing.

    The bounds of the run are its queue models: their accounts are there already.

    Attributes
    ----------
    latency_ms : tuple of float
        Milliseconds from a decision to the exchange, and the same from its answer back.
    fee_factor : tuple of float
        Fees and rebates, times the run's.
    order_lots : tuple of int
        What each order is for; largest positions grow with it, so that a maker holds as many orders as before. The
        capacity curve. Own orders do not move the simulated book: a size whose fills are a large share of the traded
        volume is out of the model, so every point says its share.
    max_position : tuple of int
        Largest position, at most the run's: quotes beyond it were not solved for.
    """

    KIND: ClassVar[str] = "intraday"

    latency_ms: tuple[float, ...] = ()
    fee_factor: tuple[float, ...] = ()
    order_lots: tuple[int, ...] = ()
    max_position: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        """Check every value."""
        _distinct(self)
        _numbers("latency_ms", self.latency_ms, lambda value: 0.0 <= value <= 60_000.0, "in [0, 60000]")
        _numbers("fee_factor", self.fee_factor, lambda value: value >= 0.0, "0 or more")
        _whole("order_lots", self.order_lots, 1, 1 << 40)
        _whole("max_position", self.max_position, 1, 1 << 40)

    def variants(self, base: Mapping[str, Value]) -> Iterator[Variant]:
        """Every value that is not the run's own, `base` by name."""
        return _variants(self, base)


def varied(settings: Sensitivity | IntradaySensitivity) -> tuple[str, ...]:
    """Names of what has values, in the order of the settings."""
    return tuple(item.name for item in fields(settings) if getattr(settings, item.name))


def _variants(settings: Any, base: Mapping[str, Value]) -> Iterator[Variant]:
    for name in varied(settings):
        for value in getattr(settings, name):
            if value != base.get(name):
                yield name, value


def _distinct(settings: Any) -> None:
    for item in fields(settings):
        values = getattr(settings, item.name)
        if not isinstance(values, tuple):
            raise TypeError(f"{item.name} must be a tuple of values; was {values!r}")
        repeated = next((value for place, value in enumerate(values) if value in values[:place]), None)
        if repeated is not None:
            raise ValueError(f"{item.name} must name each value once; {repeated!r} is there twice")


def _numbers(name: str, values: tuple[float, ...], good: Any, rule: str) -> None:
    for value in values:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise TypeError(f"{name} must be numbers; was {value!r}")
        if not math.isfinite(value) or not good(value):
            raise ValueError(f"{name} must be finite and {rule}; was {value}")


def _whole(name: str, values: tuple[int, ...], least: int, most: int) -> None:
    for value in values:
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise ValueError(f"{name} must be whole numbers from {least} to {most}; was {value!r}")
