"""Checks of single rows of a panel: stale quotes, unexplained returns, values that cannot be right."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from data_pipeline.daily.panel import DailyPanel

STALE_SESSIONS: Final = 5
OUTLIER_Z: Final = 10.0
OUTLIER_WINDOW: Final = 60
MIN_WINDOW: Final = 20
MIN_DEVIATION: Final = 0.005
_CENT: Final = 0.01

Record = dict[str, Any]
"""One line of the quality summary, plain JSON types."""


def stale_quotes(panel: DailyPanel, sessions: int = STALE_SESSIONS) -> list[Record]:
    """Return quotes that cannot be of the close.

    Two kinds: "unchanged", bid and ask both the same in `sessions` or more consecutive rows with trades; and
    "outside the day", the number of sessions whose last bid is above the day's high or last ask below its low.
    """
    records: list[Record] = []
    for column, name in enumerate(panel.instruments):
        rows = np.flatnonzero(~np.isnan(panel.bid[:, column]) & ~np.isnan(panel.ask[:, column]))
        bid, ask = panel.bid[rows, column], panel.ask[rows, column]
        changed = np.ones(rows.size, dtype=np.bool_)
        changed[1:] = (np.diff(bid) != 0.0) | (np.diff(ask) != 0.0) | (np.diff(rows) != 1)
        starts = np.flatnonzero(changed)
        lengths = np.diff(np.append(starts, rows.size))
        records += [
            _stale(panel, name, "unchanged", int(length), rows[start], rows[start + length - 1])
            for start, length in zip(starts, lengths, strict=True)
            if length >= sessions
        ]
        outside = (panel.bid[:, column] > panel.high[:, column]) | (panel.ask[:, column] < panel.low[:, column])
        where = np.flatnonzero(outside)
        if where.size:
            records.append(_stale(panel, name, "outside the day", int(where.size), where[0], where[-1]))
    return sorted(records, key=lambda r: (-r["sessions"], r["instrument"], r["first"]))


def _stale(panel: DailyPanel, name: str, kind: str, count: int, first: int, last: int) -> Record:
    span = {"first": str(panel.sessions[first]), "last": str(panel.sessions[last])}
    return {"instrument": name, "kind": kind, "sessions": count} | span


def outliers(panel: DailyPanel, least: float = OUTLIER_Z) -> list[Record]:
    """Return total returns that no event explains and that lie `least` robust deviations from zero.

    The deviation is 1.4826 times the median absolute log return of the share's last 60 returns before it, at least
    half a per cent; 20 returns are needed.
    """
    moves = np.log1p(panel.factors.total_return)
    explained = {(event.ex_session, event.instrument) for event in panel.events}
    records: list[Record] = []
    for column, name in enumerate(panel.instruments):
        rows = np.flatnonzero(~np.isnan(moves[:, column]))
        series = np.abs(moves[rows, column])
        for k in np.flatnonzero(series > least * MIN_DEVIATION):
            past = series[max(0, k - OUTLIER_WINDOW) : k]
            row = int(rows[k])
            if past.size < MIN_WINDOW or (row, column) in explained:
                continue
            z = float(moves[row, column] / max(MIN_DEVIATION, 1.4826 * median_or_zero(past)))
            if abs(z) < least:
                continue
            usual = median_or_zero(panel.traded_value[rows[max(0, k - MIN_WINDOW) : k], column])
            records.append(
                {
                    "session": str(panel.sessions[row]),
                    "instrument": name,
                    "return": round(float(np.expm1(moves[row, column])), 6),
                    "robust_z": round(z, 3),
                    "value_ratio": round(float(panel.traded_value[row, column] / usual), 4) if usual > 0.0 else None,
                }
            )
    return sorted(records, key=lambda r: (-abs(r["robust_z"]), r["session"], r["instrument"]))


def suspicious_rows(panel: DailyPanel) -> list[Record]:
    """Return rows that cannot be right: crossed quotes, average outside the day's range, fewer shares than trades.

    The average price (traded value over shares) may leave the range by a cent: the value is rounded to it.
    """
    with np.errstate(invalid="ignore"):
        problems = {
            "bid above ask": panel.bid > panel.ask,
            "average price outside low..high": (panel.vwap > panel.high + _CENT) | (panel.vwap < panel.low - _CENT),
            "more trades than shares": panel.trade_count > panel.volume,
        }
    return sorted(
        (
            {"session": str(panel.sessions[row]), "instrument": panel.instruments[column], "problem": problem}
            for problem, where in problems.items()
            for row, column in np.argwhere(where)
        ),
        key=lambda record: (record["session"], record["instrument"], record["problem"]),
    )


def median_or_zero(values: NDArray[np.float64]) -> float:
    """Return the median, 0.0 of nothing."""
    return float(np.median(values)) if values.size else 0.0
