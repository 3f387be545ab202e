"""Risk measures of one account at a close: what the limits read, and the forecasts that the report checks later."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data_pipeline.view import MarketView

Floats = NDArray[np.float64]

MIN_SCENARIOS = 60
"""Fewer past sessions than this give no forecast (NaN): a 1 % quantile of them is their worst day."""

_B3_TICKER = re.compile(r"^([A-Z0-9]{4})\d{1,2}[A-Z]?$")


def issuers_of(instruments: tuple[str, ...]) -> tuple[str, ...]:
    """The issuer of each ticker: its first four characters where it looks like B3's (PETR3, PETR4), else itself.

    >>> issuers_of(("PETR3", "PETR4", "ABC"))
    ('PETR', 'PETR', 'ABC')
    """
    matches = (_B3_TICKER.match(name) for name in instruments)
    return tuple(match.group(1) if match else name for match, name in zip(matches, instruments, strict=True))


@dataclass(frozen=True, slots=True)
class Measures:
    """Measures of one set of weights at one close, as positive fractions of net asset value; NaN: not measurable.

    `hhi` is the sum of squared shares of gross (1 / hhi effective names). `hhi_of_capital` counts cash as a holding
    that does not concentrate: the same while gross is at least the net asset value, less below. The limits read that
    one, so that three small positions and much cash are not a concentrated pod.
    """

    var_99: float
    es_975: float
    gross: float
    net: float
    hhi: float
    hhi_of_capital: float
    largest_issuer: str
    largest_issuer_weight: float

    def for_limits(self) -> dict[str, float]:
        """The measures by the names that limits read."""
        return {
            "var_99": self.var_99,
            "es_975": self.es_975,
            "gross": self.gross,
            "net": abs(self.net),
            "largest_issuer": self.largest_issuer_weight,
            "hhi": self.hhi_of_capital,
        }


def scenario_returns(view: MarketView, window: int) -> Floats:
    """Total returns of the last `window` visible sessions, (W, N), the first visible session left out.

    A session in which an instrument has no return counts as 0 for it: a share that seldom trades looks calmer than it
    is, which the data-quality page shows as stale quotes.
    """
    usable = min(window, view.n_sessions - 1)
    if usable < 1:
        return np.empty((0, len(view.instruments)))
    return np.nan_to_num(view.returns(usable), nan=0.0)


def measure(weights: Floats, scenarios: Floats, issuers: tuple[str, ...]) -> Measures:
    """Measures of `weights` (N,) under equally likely `scenarios` (W, N), by historical simulation."""
    from risk import expected_shortfall, historical_var

    gross = np.abs(weights)
    total = float(gross.sum())
    if total == 0.0:
        return Measures(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, "", 0.0)
    var, shortfall = np.nan, np.nan
    if scenarios.shape[0] >= MIN_SCENARIOS:
        losses = -(scenarios @ weights)
        var = max(float(historical_var(losses, 0.99)), 0.0)
        shortfall = max(float(expected_shortfall(losses, 0.975)), 0.0)
    by_issuer: dict[str, float] = {}
    for column in np.flatnonzero(gross):
        by_issuer[issuers[column]] = by_issuer.get(issuers[column], 0.0) + float(gross[column])
    largest = max(by_issuer, key=lambda name: (by_issuer[name], name))
    squares = float((gross**2).sum())
    return Measures(
        var_99=var,
        es_975=shortfall,
        gross=total,
        net=float(weights.sum()),
        hhi=squares / total**2,
        hhi_of_capital=squares / max(total, 1.0) ** 2,
        largest_issuer=largest,
        largest_issuer_weight=by_issuer[largest],
    )
