"""Which instruments become columns of a panel."""

from __future__ import annotations

import difflib
import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from data_pipeline.spot import SpotRows

REVIEW_EVERY: Final = 21
"""Sessions between two looks at which instruments are liquid."""


@dataclass(frozen=True, slots=True)
class UniverseRules:
    """What an instrument needs to become a column.

    An instrument is in when it met the rules at any review (every 21 sessions) on the window before it, so one that
    was liquid and later died stays in: the columns do not know who survived. A column is not yet an invitation to
    trade: `MarketView.eligible` says at each close what was liquid then.

    Attributes
    ----------
    tickers : tuple of str, optional
        Only these; any name an instrument ever had will do. All by default.
    min_median_value : float
        Least median traded value, R$ per session, sessions without a trade counting as zero.
    min_presence : float
        Least fraction of sessions with a trade, in [0, 1].
    window : int
        Sessions looked back at.
    """

    tickers: tuple[str, ...] | None = None
    min_median_value: float = 0.0
    min_presence: float = 0.0
    window: int = 60

    def __post_init__(self) -> None:
        """Check the ranges."""
        if not (math.isfinite(self.min_median_value) and self.min_median_value >= 0.0):
            raise ValueError(f"min_median_value must be zero or positive and finite; was {self.min_median_value}")
        if not 0.0 <= self.min_presence <= 1.0:
            raise ValueError(f"min_presence must be in [0, 1]; was {self.min_presence}")
        if self.window < 1:
            raise ValueError(f"window must be at least 1 session; was {self.window}")
        if self.tickers is not None and not self.tickers:
            raise ValueError("tickers must name at least one instrument, or be None for all")


def choose_instruments(rules: UniverseRules, rows: SpotRows, sessions: NDArray[np.datetime64]) -> NDArray[np.int64]:
    """Return the instruments that meet the rules on these sessions, increasing.

    Parameters
    ----------
    rules : UniverseRules
    rows : SpotRows
        Spot rows; rows outside the sessions are not looked at.
    sessions : (T,) datetime64[D]
        Sessions of the panel.

    Raises
    ------
    ValueError
        When a ticker asked for is not in the data.
    """
    named = range(len(rows.instruments)) if rules.tickers is None else _named(rules.tickers, rows)
    chosen = [instrument for instrument in named if _was_liquid(rules, *_on_sessions(rows, instrument, sessions))]
    return np.array(sorted(chosen), dtype=np.int64)


def _named(tickers: tuple[str, ...], rows: SpotRows) -> list[int]:
    owner = {name: i for i in range(len(rows.instruments)) for name in set(rows.ticker[rows.rows_of(i)])}
    for ticker in tickers:
        if ticker not in owner:
            near = difflib.get_close_matches(ticker, owner, 1)
            hint = f" (did you mean {near[0]}?)" if near else ""
            raise ValueError(f"tickers must be equities of the data's spot market; was {ticker!r}{hint}")
    return sorted({owner[ticker] for ticker in tickers})


def _on_sessions(
    rows: SpotRows, instrument: int, sessions: NDArray[np.datetime64]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    span = rows.rows_of(instrument)
    inside = (rows.session[span] >= sessions[0]) & (rows.session[span] <= sessions[-1])
    place = np.searchsorted(sessions, rows.session[span][inside])
    value = np.zeros(sessions.size)
    traded = np.zeros(sessions.size, dtype=np.bool_)
    value[place] = rows.traded_value[span][inside]
    traded[place] = True
    return value, traded


def _was_liquid(rules: UniverseRules, value: NDArray[np.float64], traded: NDArray[np.bool_]) -> bool:
    if not traded.any():
        return False
    if rules.min_median_value == 0.0 and rules.min_presence == 0.0:
        return True
    window = min(rules.window, value.size)
    reviews = sorted({*range(window, value.size + 1, REVIEW_EVERY), value.size})
    return any(
        float(np.mean(traded[end - window : end])) >= rules.min_presence
        and float(np.median(value[end - window : end])) >= rules.min_median_value
        for end in reviews
    )
