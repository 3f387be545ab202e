"""Risk measures of one account at a close: what the limits read, and the forecasts that the report checks later."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data_pipeline.daily.view import MarketView
from risk.concentration import herfindahl, issuer_groups, largest_group
from risk.scenarios import scenario_risk

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Issuers:
    """Which issuer each instrument is of: `groups` (N,) numbers into `names`."""

    groups: NDArray[np.int64]
    names: tuple[str, ...]


def issuers_of(instruments: tuple[str, ...], given: tuple[str, ...] | None = None) -> Issuers:
    """The issuers of tickers by their first four characters (PETR3 and PETR4 are both PETR), or the `given` names.

    >>> issuers_of(("PETR3", "PETR4", "VALE3")).names
    ('PETR', 'VALE')
    """
    if given is None:
        return Issuers(*issuer_groups(instruments))
    names = tuple(sorted(set(given)))
    return Issuers(np.array([names.index(name) for name in given], dtype=np.int64), names)


@dataclass(frozen=True, slots=True)
class Measures:
    """Measures of one set of weights at one close, as fractions of net asset value; NaN: not measurable.

    `var_99` and `es_975` are losses of one session, positive; an empty book has none, and its next session, in which it
    may trade, is no test of a forecast. `hhi` is the sum of squared shares of gross (1 / hhi
    effective names). `hhi_of_capital` counts cash as a holding that does not concentrate: the same while gross is at
    least the net asset value, less below. The limits read that one, so that three small positions and much cash are
    not a concentrated pod.
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


def past_returns(view: MarketView, window: int) -> Floats:
    """Total returns of the last `window` visible sessions, (W, N), without the first session of all, which has none.

    A share that was silent books the whole move at its next close, as the account does: dropped, the worst days of thin
    shares would be missing from the scenarios.
    """
    usable = min(window, view.n_sessions - 1)
    return view.returns(usable, since_last_close=True) if usable >= 1 else np.empty((0, len(view.instruments)))


def measure(weights: Floats, returns: Floats, issuers: Issuers) -> Measures:
    """Measures of `weights` (N,) by historical simulation over past `returns` (W, N)."""
    gross = float(np.abs(weights).sum())
    if gross == 0.0:
        return Measures(np.nan, np.nan, 0.0, 0.0, 0.0, 0.0, "", 0.0)
    var, shortfall = scenario_risk(weights, returns)
    largest, exposure = largest_group(weights, issuers.groups)
    concentration = herfindahl(weights)
    return Measures(
        var_99=float(var),
        es_975=float(shortfall),
        gross=gross,
        net=float(weights.sum()),
        hhi=concentration,
        hhi_of_capital=concentration * min(gross, 1.0) ** 2,
        largest_issuer=issuers.names[largest],
        largest_issuer_weight=exposure,
    )
