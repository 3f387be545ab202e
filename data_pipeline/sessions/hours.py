"""When B3 and the other venues trade, session by session: a dated table, because no calendar package has it right.

B3 keeps its closing time near New York's: the cash market closes at 17:00 Sao Paulo time while the United States have
daylight saving, and at 18:00, without an after-market, while they have not. From October 2016 to February 2019 Brazil's
own daylight saving began the late close earlier. Each entry of `B3_CASH_CLOSES` is the first session of a regime, with
where it is known from: the exchange's notices as the press of the time reported them, or the rule above.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from data_pipeline.errors import DataError
from data_pipeline.sessions.calendar import Day, b3_sessions

PhaseName = Literal["cancel", "opening_call", "continuous", "closing_call", "after_market"]
Segment = Literal["cash", "options_etf", "index_futures", "dollar_futures"]

SAO_PAULO: Final = ZoneInfo("America/Sao_Paulo")
NEW_YORK: Final = ZoneInfo("America/New_York")

_NOTICE: Final = "exchange's notice, press of the time"
_RULE: Final = "rule: follows the daylight saving of the United States"
LATE, EARLY = "18:00", "17:00"

B3_CASH_CLOSES: Final[tuple[tuple[str, str, str], ...]] = (
    ("2016-10-17", LATE, _NOTICE),
    ("2017-03-13", EARLY, _RULE),
    ("2017-10-16", LATE, _NOTICE),
    ("2018-03-12", EARLY, _NOTICE),
    ("2018-11-05", LATE, _NOTICE),
    ("2019-03-11", EARLY, _NOTICE),
    ("2019-11-04", LATE, _NOTICE),
    ("2020-03-09", EARLY, _NOTICE),
    ("2020-11-03", LATE, _NOTICE),
    ("2021-03-15", EARLY, _NOTICE),
    ("2021-11-08", LATE, _NOTICE),
    ("2022-03-14", EARLY, _NOTICE),
    ("2022-11-07", LATE, _NOTICE),
    ("2023-03-13", EARLY, _RULE),
    ("2023-11-06", LATE, _RULE),
    ("2024-03-11", EARLY, _NOTICE),
    ("2024-11-04", LATE, _NOTICE),
    ("2025-03-10", EARLY, _NOTICE),
    ("2025-11-03", LATE, _NOTICE),
    ("2026-03-09", EARLY, _RULE),
    ("2026-11-03", LATE, _RULE),
)
"""(first session, end of the closing call in Sao Paulo, where it is known from); later sessions follow the rule."""

FUTURES_SINCE: Final = np.datetime64("2020-03-09")
"""Before, the hours of the futures are not in the table."""
_LAST_ENTRY: Final = np.datetime64("2027-03-01")

_EXCHANGES: Final = {"NASDAQ": "XNAS", "NYSE": "XNYS"}


@dataclass(frozen=True, slots=True)
class Phase:
    """One phase of a session: from `start` until before `end`, datetime64[ns] UTC."""

    name: PhaseName
    start: np.datetime64
    end: np.datetime64


@dataclass(frozen=True, slots=True)
class SessionHours:
    """The phases of one session.

    Attributes
    ----------
    venue : str
    session : datetime64[D]
    segment : str
    phases : tuple of Phase
        In order of time; moments between two phases belong to none.
    source : str
        Where the hours are known from.
    """

    venue: str
    session: np.datetime64
    segment: str
    phases: tuple[Phase, ...]
    source: str

    @property
    def continuous(self) -> Phase:
        """The continuous trading."""
        return next(phase for phase in self.phases if phase.name == "continuous")

    def phase_of(self, times: NDArray[np.datetime64]) -> NDArray[np.int64]:
        """(n,) place of each time's phase in `phases`, -1 outside all of them."""
        moments = np.asarray(times).astype("datetime64[ns]")
        starts = np.array([phase.start for phase in self.phases], dtype="datetime64[ns]")
        ends = np.array([phase.end for phase in self.phases], dtype="datetime64[ns]")
        place = np.searchsorted(starts, moments, side="right") - 1
        inside = (place >= 0) & (moments < ends[np.maximum(place, 0)])
        return np.where(inside, place, -1)


def b3_hours(session: Day, segment: Segment = "cash") -> SessionHours:
    """The phases of a B3 session.

    Parameters
    ----------
    session : datetime64 or ISO date
    segment : "cash", "options_etf", "index_futures" or "dollar_futures"
        Shares, units, funds, BDRs and odd lots; options and exchange-traded funds; IND and WIN; DOL and WDO.

    Raises
    ------
    DataError
        When B3 held no session that day, or it lies before the table begins (October 2016; March 2020 for futures).

    Examples
    --------
    >>> b3_hours("2023-08-01").continuous.end.astype("datetime64[m]")
    np.datetime64('2023-08-01T19:55')
    """
    if segment not in ("cash", "options_etf", "index_futures", "dollar_futures"):
        raise ValueError(f"segment must be cash, options_etf, index_futures or dollar_futures; was {segment!r}")
    day = np.datetime64(str(session), "D")
    if b3_sessions(day, day).size == 0:
        raise DataError(f"B3 held no session on {day}: its hours cannot be asked for")
    first = np.datetime64(B3_CASH_CLOSES[0][0]) if segment in ("cash", "options_etf") else FUTURES_SINCE
    if day < first:
        raise DataError(f"the hours of B3's {segment} market are known from {first} on; asked for {day}")
    close, source = _cash_close(day)
    opening = "13:00" if _is_ash_wednesday(day) else "10:00"
    if segment in ("cash", "options_etf"):
        parts = _cash_phases(opening, close, options=segment == "options_etf")
    else:
        parts = _futures_phases(segment, _is_ash_wednesday(day), close)
    phases = tuple(Phase(name, _utc(day, start, SAO_PAULO), _utc(day, end, SAO_PAULO)) for name, start, end in parts)
    return SessionHours("B3", day, segment, phases, source)


def venue_hours(venue: str, session: Day, segment: Segment = "cash") -> SessionHours:
    """The phases of a session at B3, NASDAQ or NYSE (half days included); any other venue never closes.

    Raises
    ------
    DataError
        When the venue held no session that day, or B3's hours of that time are not known.
    """
    if venue == "B3":
        return b3_hours(session, segment)
    day = np.datetime64(str(session), "D")
    if venue in _EXCHANGES:
        start, end = _exchange_span(_EXCHANGES[venue], str(day))
        source = f"exchange_calendars {_EXCHANGES[venue]}"
    else:
        start, end = day.astype("datetime64[ns]"), (day + np.timedelta64(1, "D")).astype("datetime64[ns]")
        source = "trades around the clock; the UTC date"
    return SessionHours(venue, day, segment, (Phase("continuous", start, end),), source)


def _cash_close(day: np.datetime64) -> tuple[str, str]:
    """End of the closing call, and where it is known from."""
    if day >= _LAST_ENTRY:
        return (EARLY if _new_york_saves_daylight(day) else LATE), _RULE
    _, close, source = max(entry for entry in B3_CASH_CLOSES if np.datetime64(entry[0]) <= day)
    return close, source


def _cash_phases(opening: str, close: str, *, options: bool) -> list[tuple[PhaseName, str, str]]:
    first_call = _shift(opening, -15)
    continuous = _shift(opening, 5) if options else opening
    last_call = _shift(close, -5)
    parts: list[tuple[PhaseName, str, str]] = [
        ("cancel", _shift(opening, -30), first_call),
        ("opening_call", first_call, continuous),
        ("continuous", continuous, last_call),
        ("closing_call", last_call, _shift(close, 15) if options else close),
    ]
    if close == EARLY and not options:
        parts.append(("after_market", "17:30", "18:00"))
    return parts


def _futures_phases(segment: str, late_opening: bool, close: str) -> list[tuple[PhaseName, str, str]]:
    opening = "13:00" if late_opening else "09:00"
    last = {"index_futures": {EARLY: "17:55", LATE: "18:25"}, "dollar_futures": {EARLY: "18:00", LATE: "18:30"}}
    return [("opening_call", _shift(opening, -5), opening), ("continuous", opening, last[segment][close])]


def _shift(clock: str, minutes: int) -> str:
    hour, minute = clock.split(":")
    total = 60 * int(hour) + int(minute) + minutes
    return f"{total // 60:02d}:{total % 60:02d}"


def _utc(day: np.datetime64, clock: str, zone: ZoneInfo) -> np.datetime64:
    local = dt.datetime.fromisoformat(f"{day}T{clock}:00").replace(tzinfo=zone)
    return np.datetime64(local.astimezone(dt.UTC).replace(tzinfo=None), "ns")


def _is_ash_wednesday(day: np.datetime64) -> bool:
    """Whether the two weekdays before are Carnival Monday and Tuesday, which B3 closes for."""
    date = dt.date.fromisoformat(str(day))
    return date.weekday() == 2 and date == _easter(date.year) - dt.timedelta(days=46)


def _easter(year: int) -> dt.date:
    """Easter Sunday of the Gregorian calendar (Meeus 1991, chapter 8)."""
    a, (b, c) = year % 19, divmod(year, 100)
    d, e = divmod(b, 4)
    g = (8 * b + 13) // 25
    h = (19 * a + b - d - g + 15) % 30
    i, k = divmod(c, 4)
    shift = (32 + 2 * e + 2 * i - h - k) % 7
    m = (a + 11 * h + 22 * shift) // 451
    month, day = divmod(h + shift - 7 * m + 114, 31)
    return dt.date(year, month, day + 1)


def _new_york_saves_daylight(day: np.datetime64) -> bool:
    noon = dt.datetime.fromisoformat(f"{day}T12:00:00").replace(tzinfo=NEW_YORK)
    return bool(noon.dst())


@lru_cache(maxsize=1024)
def _exchange_span(code: str, day: str) -> tuple[np.datetime64, np.datetime64]:
    import warnings

    import exchange_calendars

    year = int(day[:4])
    with warnings.catch_warnings():
        # the library's own use of pandas, which a caller can do nothing about
        warnings.simplefilter("ignore", DeprecationWarning)
        calendar = exchange_calendars.get_calendar(code, start=f"{year}-01-01", end=f"{year}-12-31")
    if not calendar.is_session(day):
        raise DataError(f"{code} held no session on {day}: its hours cannot be asked for")
    start, end = calendar.session_open(day), calendar.session_close(day)
    return np.datetime64(start.tz_localize(None), "ns"), np.datetime64(end.tz_localize(None), "ns")
