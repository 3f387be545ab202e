"""Which instruments become columns of a panel."""

from __future__ import annotations

import difflib
import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from data_pipeline.daily.spot import SpotRows

REVIEW_EVERY: Final = 21
"""Sessions between two looks at which instruments are liquid."""


@dataclass(frozen=True, slots=True)
class UniverseRules:
    """What an instrument needs to become a column.

    An instrument is in when it met the rules at any review (every 21 sessions) on the window before it, so one that
    was liquid and later died stays in: the columns do not know who survived. That it is a column tells of its future
    all the same, so it is a member only from the first review that it passed: before that no view calls it eligible
    and no calibration counts it. Membership is not yet an invitation to trade: `MarketView.eligible` says at each
    close what was liquid then.

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


def choose_instruments(
    rules: UniverseRules, rows: SpotRows, sessions: NDArray[np.datetime64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the instruments that meet the rules on these sessions, increasing, and the session row of each from which
    that was known.

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
    since = {instrument: _member_from(rules, *_on_sessions(rows, instrument, sessions)) for instrument in named}
    chosen = sorted(instrument for instrument, row in since.items() if row >= 0)
    return np.array(chosen, dtype=np.int64), np.array([since[instrument] for instrument in chosen], dtype=np.int64)


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


def _member_from(rules: UniverseRules, value: NDArray[np.float64], traded: NDArray[np.bool_]) -> int:
    """Return the row of the first review that the instrument passed: 0 without rules, -1 for none."""
    if not traded.any():
        return -1
    if rules.min_median_value == 0.0 and rules.min_presence == 0.0:
        return 0
    window = min(rules.window, value.size)
    for end in sorted({*range(window, value.size + 1, REVIEW_EVERY), value.size}):
        present = float(np.mean(traded[end - window : end])) >= rules.min_presence
        if present and float(np.median(value[end - window : end])) >= rules.min_median_value:
            return int(end) - 1
    return -1
