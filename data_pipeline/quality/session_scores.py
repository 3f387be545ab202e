"""A score for each session of a daily panel: which days a backtest should not trust.

The score of a session is the product of two shares: its instruments that traded over the median of the 20 sessions
before it (a partial file shows here; 1 where no fewer traded than those sessions make usual), and its rows without a
defect (quarantined, suspicious, or an outlier that no event explains). It uses nothing after the session.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

USUAL_SESSIONS: Final = 20
UNUSUAL: Final = 4.0
"""Robust deviations below the median (1.4826 times the median absolute one): illiquid shares come and go, and a few of
them fewer is no defect of the data."""
LEAST_SESSIONS: Final = 5
"""Fewer sessions do not tell a deviation: only `MOST_USUAL` counts then."""
MOST_USUAL: Final = 0.25
"""Share of the median beyond which fewer are never usual."""
LEAST_DEVIATION: Final = 0.2
"""Instruments: where all of them always trade, a single one that does not is told."""
TOLD_BELOW: Final = 0.98
"""Sessions with a lower score are told one by one."""

Record = dict[str, Any]


def session_scores(
    sessions: NDArray[np.datetime64], traded: NDArray[np.bool_], defects: Mapping[str, Sequence[Record]]
) -> tuple[NDArray[np.float64], list[str]]:
    """Score (T,) of each session and, where it is below 1, what lowered it.

    Parameters
    ----------
    sessions : (T,) datetime64[D]
    traded : (T, N) bool
        Whether the instrument traded.
    defects : mapping
        Kind ("quarantined", ...) to records with a "session" (ISO date), one for each bad row.
    """
    present = traded.sum(axis=1)
    counts = {kind: Counter(record["session"] for record in records) for kind, records in defects.items()}
    scores, words = np.ones(sessions.size), list[str]()
    for row, day in enumerate(sessions):
        said = []
        usual, deviation = _usual(present[max(0, row - USUAL_SESSIONS) : row])
        fewer = usual - present[row] > min(UNUSUAL * deviation, MOST_USUAL * usual)
        share = min(1.0, present[row] / usual) if fewer else 1.0
        if share < TOLD_BELOW:
            said.append(f"{present[row]:,} instruments traded, {usual:,.0f} usually")
        bad = {kind: counter[str(day)] for kind, counter in counts.items() if counter[str(day)]}
        said += [f"{count} {kind}" for kind, count in bad.items()]
        rows = max(1, int(present[row]) + bad.get("quarantined", 0))
        scores[row] = share * max(0.0, 1.0 - sum(bad.values()) / rows)
        words.append("; ".join(said))
    return scores, words


def _usual(present: NDArray[np.int64]) -> tuple[float, float]:
    """Median of the counts and their robust deviation, infinite where they are too few; zeros of nothing."""
    if present.size == 0:
        return 0.0, 0.0
    middle = float(np.median(present))
    if present.size < LEAST_SESSIONS:
        return middle, math.inf
    return middle, max(LEAST_DEVIATION, 1.4826 * float(np.median(np.abs(present - middle))))


def score_records(sessions: NDArray[np.datetime64], scores: NDArray[np.float64], words: Sequence[str]) -> list[Record]:
    """The sessions below `TOLD_BELOW`, worst first."""
    found = [
        {"session": str(sessions[row]), "score": round(float(scores[row]), 6), "problems": words[row]}
        for row in np.flatnonzero(scores < TOLD_BELOW).tolist()
    ]
    return sorted(found, key=lambda record: (record["score"], record["session"]))
