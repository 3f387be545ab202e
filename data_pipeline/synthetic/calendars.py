"""Bank business days, on which CDI accrues, and option expiries."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
from numpy.typing import NDArray

Days = NDArray[np.datetime64]


def bank_days(first: date, last: date) -> Days:
    """Business days of Brazilian banks between two days: weekdays that are not national holidays.

    The bank calendar has days on which B3 is closed (24 and 31 December; 25 January, 9 July and 20 November in the
    years when they were only holidays of the city or state): CDI accrues on them all the same.
    """
    days = np.arange(np.datetime64(first), np.datetime64(last) + np.timedelta64(1, "D"))
    holidays = [day for year in range(first.year, last.year + 1) for day in national_holidays(year)]
    return np.asarray(days[np.is_busday(days, holidays=holidays)])


def national_holidays(year: int) -> tuple[np.datetime64, ...]:
    """National bank holidays of Brazil in `year` (20 November is one since 2024: Law 14.759 of 2023)."""
    fixed = [(1, 1), (4, 21), (5, 1), (9, 7), (10, 12), (11, 2), (11, 15), (12, 25)]
    if year >= 2024:
        fixed.append((11, 20))
    easter = easter_sunday(year)
    movable = [easter + timedelta(days) for days in (-48, -47, -2, 60)]
    return tuple(np.datetime64(day) for day in sorted([date(year, *day) for day in fixed] + movable))


def easter_sunday(year: int) -> date:
    """Gregorian Easter Sunday (the anonymous algorithm, in Meeus 1991, chapter 8)."""
    golden = year % 19
    century, rest = divmod(year, 100)
    leap_century, century_rest = divmod(century, 4)
    correction = (century - (century + 8) // 25 + 1) // 3
    epact = (19 * golden + century - leap_century - correction + 15) % 30
    leap, leap_rest = divmod(rest, 4)
    weekday = (32 + 2 * century_rest + 2 * leap - epact - leap_rest) % 7
    shift = (golden + 11 * epact + 22 * weekday) // 451
    month, day = divmod(epact + weekday - 7 * shift + 114, 31)
    return date(year, month, day + 1)


def option_expiries(sessions: Days) -> NDArray[np.int64]:
    """Rows of the monthly option expiries: the third Friday, or the session before it when B3 is closed."""
    months = np.unique(sessions.astype("datetime64[M]"))
    first_days = months.astype("datetime64[D]")
    fridays = np.busday_offset(first_days, 2, roll="forward", weekmask="Fri")
    fridays = fridays[(fridays >= sessions[0]) & (fridays <= sessions[-1])]
    return np.asarray(np.searchsorted(sessions, fridays, side="right") - 1, dtype=np.int64)
