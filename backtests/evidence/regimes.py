"""Pods in calm and stressed markets, and in the days of B3's crises."""

from __future__ import annotations

import bisect
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from backtests.evidence.sharpe import sharpe_sample, sharpe_standard_error
from backtests.evidence.statistics import SESSIONS_PER_YEAR

Floats = NDArray[np.float64]
UNKNOWN, CALM, STRESSED = -1, 0, 1
_FEWEST = 20
"""Sessions below which a regime's ratios are not shown."""


@dataclass(frozen=True, slots=True)
class RegimeRule:
    """When a session counts as stressed, known at the close before it.

    Attributes
    ----------
    decay : float
        Of the weights of past squared market returns: the volatility at a close is the root of their weighted mean.
    quantile : float
        A session is stressed when the volatility at the close before it is above this quantile of the volatilities at
        all closes up to then, else calm.
    warm_up : int
        Closes before the first label.
    """

    decay: float = 0.94
    quantile: float = 0.75
    warm_up: int = 60

    def __post_init__(self) -> None:
        """Check the ranges."""
        if not (0.0 < self.decay < 1.0 and 0.0 < self.quantile < 1.0):
            raise ValueError(f"decay and quantile must be in (0, 1); were {self.decay} and {self.quantile}")
        if self.warm_up < 2:
            raise ValueError(f"warm_up must be at least 2 closes; was {self.warm_up}")

    def words(self, market: str) -> str:
        """The rule in a sentence."""
        return (
            f"Stressed: at the close before, the exponentially weighted volatility of {market} (decay {self.decay:g}) "
            f"was above the {self.quantile:.0%} quantile of its own past; else calm. The first {self.warm_up} sessions "
            "have no label."
        )


@dataclass(frozen=True, slots=True)
class CrisisWindow:
    """Days of a crisis at B3, both ends included, and what happened."""

    name: str
    first: str
    last: str
    words: str


CRISES = (
    CrisisWindow("Asia 1997", "1997-10-27", "1997-10-28", "Asian currencies fall; trading is interrupted"),
    CrisisWindow("Russia 1998", "1998-09-10", "1998-09-10", "two circuit breakers in one session"),
    CrisisWindow("Real floats 1999", "1999-01-13", "1999-01-14", "the exchange-rate band is given up; breakers"),
    CrisisWindow("Election 2002", "2002-01-02", "2002-10-16", "the real loses a third of its value before the vote"),
    CrisisWindow("Credit 2008", "2008-09-29", "2008-10-22", "six circuit breakers in four weeks"),
    CrisisWindow("Joesley 2017", "2017-05-18", "2017-05-18", "a recording of the president; breaker in the morning"),
    CrisisWindow("Truckers 2018", "2018-05-21", "2018-06-01", "roads blocked; Petrobras loses its pricing rule"),
    CrisisWindow("Covid 2020", "2020-02-26", "2020-03-18", "six circuit breakers in eight sessions"),
)
"""Crises by date; the dates are public record (the exchange's history of circuit breakers, newspapers of the days)."""


def label_regimes(market: ArrayLike, rule: RegimeRule | None = None) -> NDArray[np.int8]:
    """(T,) labels of sessions from (T,) market returns: STRESSED, CALM, or UNKNOWN while warming up.

    The label of a session uses the returns of the sessions before it and nothing else.
    """
    chosen = rule or RegimeRule()
    returns = np.asarray(market, dtype=np.float64)
    if returns.ndim != 1 or not np.isfinite(returns).all():
        raise ValueError("market must be one-dimensional and finite in every session")
    labels = np.full(returns.size, UNKNOWN, dtype=np.int8)
    past: list[float] = []
    squares = weight = 0.0
    for t, value in enumerate(returns.tolist()):
        if len(past) >= chosen.warm_up:
            place = math.ceil(chosen.quantile * len(past)) - 1
            labels[t] = STRESSED if squares / weight > past[place] else CALM
        squares = chosen.decay * squares + value * value
        weight = chosen.decay * weight + 1.0
        bisect.insort(past, squares / weight)
    return labels


def regime_breakdown(
    returns: Mapping[str, Floats],
    risk_free: Floats,
    labels: NDArray[np.int8],
    *,
    periods_per_year: int = SESSIONS_PER_YEAR,
) -> dict[str, Any]:
    """By regime ("calm", "stressed"): its sessions, and by pod what it earned in them.

    Each pod has `return` (compounded over the regime's sessions), `annual_excess` (arithmetic, over cash),
    `annual_volatility`, `sharpe` and `sharpe_standard_error` (annual; None below 20 sessions or without dispersion).
    """
    found: dict[str, Any] = {}
    for name, label in (("calm", CALM), ("stressed", STRESSED)):
        inside = labels == label
        found[name] = {
            "sessions": int(inside.sum()),
            "pods": {
                pod: _measures(values[inside], risk_free[inside], periods_per_year) for pod, values in returns.items()
            },
        }
    return found


def crisis_results(
    sessions: NDArray[np.datetime64], returns: Mapping[str, Floats], windows: tuple[CrisisWindow, ...] = CRISES
) -> list[dict[str, Any]]:
    """For each window that shares a session with the run: its days and the compounded and worst returns of each pod.

    `whole` is False when the run begins or ends inside the window.
    """
    days = sessions.astype("datetime64[D]")
    found = []
    for window in windows:
        first, last = np.datetime64(window.first), np.datetime64(window.last)
        inside = (days >= first) & (days <= last)
        if inside.any():
            found.append(
                {
                    "name": window.name,
                    "first": window.first,
                    "last": window.last,
                    "words": window.words,
                    "sessions": int(inside.sum()),
                    "whole": bool(days[0] <= first and days[-1] >= last),
                    "pods": {
                        pod: {
                            "return": float(np.prod(1.0 + values[inside]) - 1.0),
                            "worst": float(values[inside].min()),
                        }
                        for pod, values in returns.items()
                    },
                }
            )
    return found


def _measures(values: Floats, cash: Floats, periods_per_year: int) -> dict[str, float | None]:
    excess = values - cash
    record: dict[str, float | None] = {
        "return": float(np.prod(1.0 + values) - 1.0),
        "annual_excess": float(excess.mean()) * periods_per_year if excess.size else None,
        "annual_volatility": None,
        "sharpe": None,
        "sharpe_standard_error": None,
    }
    if excess.size < _FEWEST:
        return record
    record["annual_volatility"] = float(values.std(ddof=1)) * math.sqrt(periods_per_year)
    sample = sharpe_sample(excess)
    if math.isfinite(sample.sharpe):
        error = sharpe_standard_error(sample.sharpe, sample.observations, sample.skewness, sample.kurtosis)
        record |= {
            "sharpe": sample.sharpe * math.sqrt(periods_per_year),
            "sharpe_standard_error": error * math.sqrt(periods_per_year),
        }
    return record
