"""B3's sessions: a thin wrapper of exchange_calendars' BVMF, which agrees with every session of 2018-2023.

Holidays are B3's, not the banks': 24 and 31 December, and until 2021 25 January and 9 July, have a CDI and no session.
The library is imported at first use: it takes a large part of a second.
"""

from __future__ import annotations

import warnings
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Day = np.datetime64 | str
_FIRST = np.datetime64("1986-01-01")
"""COTAHIST begins in 1986; the library's holiday rules reach back that far."""
_MARGIN = np.timedelta64(40, "D")
"""More than the longest run of days without a session."""


def b3_sessions(start: Day, end: Day) -> NDArray[np.datetime64]:
    """Return B3's sessions from start to end, both included, (S,) datetime64[D].

    Raises
    ------
    ValueError
        When end is before start, or start before 1986.

    Examples
    --------
    >>> [str(day) for day in b3_sessions("2023-12-28", "2024-01-02")]
    ['2023-12-28', '2024-01-02']
    """
    first, last = np.datetime64(str(start), "D"), np.datetime64(str(end), "D")
    if not _FIRST <= first <= last:
        raise ValueError(f"start must be in [{_FIRST}, end = {last}]; was {first}")
    sessions = _all_sessions(
        int(first.astype("datetime64[Y]").astype(int)), int(last.astype("datetime64[Y]").astype(int))
    )
    chosen: NDArray[np.datetime64] = sessions[(sessions >= first) & (sessions <= last)].copy()
    return chosen


def next_session(day: Day) -> np.datetime64:
    """Return the first session after a day: the ex session of a "data com".

    Examples
    --------
    >>> str(next_session("2021-12-17"))
    '2021-12-20'
    """
    date = np.datetime64(str(day), "D")
    following: np.datetime64 = b3_sessions(date + np.timedelta64(1, "D"), date + _MARGIN)[0]
    return following


def calendar_gaps(sessions: NDArray[np.datetime64]) -> tuple[NDArray[np.datetime64], NDArray[np.datetime64]]:
    """Return the B3 sessions that are missing between the first and last of `sessions`, and those B3 did not hold."""
    if sessions.size == 0:
        return sessions.astype("datetime64[D]"), sessions.astype("datetime64[D]")
    held = b3_sessions(sessions[0], sessions[-1])
    return np.setdiff1d(held, sessions), np.setdiff1d(sessions, held)


@lru_cache(maxsize=8)
def _all_sessions(first_year: int, last_year: int) -> NDArray[np.datetime64]:
    import exchange_calendars

    start = str(np.datetime64(first_year, "Y").astype("datetime64[D]"))
    end = str(np.datetime64(last_year + 1, "Y").astype("datetime64[D]") - np.timedelta64(1, "D"))
    with warnings.catch_warnings():
        # the library's own use of pandas, which a caller can do nothing about
        warnings.simplefilter("ignore", DeprecationWarning)
        calendar: Any = exchange_calendars.get_calendar("BVMF", start=start, end=end)
    sessions: NDArray[np.datetime64] = calendar.sessions.to_numpy().astype("datetime64[D]")
    sessions.setflags(write=False)
    return sessions
