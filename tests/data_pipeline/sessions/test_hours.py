"""The dated hours against the daylight saving that they follow, and against what was published."""

from __future__ import annotations

import datetime as dt
import itertools
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from data_pipeline.errors import DataError
from data_pipeline.sessions.calendar import b3_sessions
from data_pipeline.sessions.hours import B3_CASH_CLOSES, b3_hours, venue_hours

SAO_PAULO = ZoneInfo("America/Sao_Paulo")


def local(moment: np.datetime64) -> str:
    utc = dt.datetime.fromisoformat(str(moment)[:19]).replace(tzinfo=dt.UTC)
    return utc.astimezone(SAO_PAULO).strftime("%H:%M")


def saves_daylight(day: np.datetime64) -> bool:
    return bool(dt.datetime.fromisoformat(f"{day}T12:00").replace(tzinfo=ZoneInfo("America/New_York")).dst())


@pytest.mark.parametrize(
    ("session", "close"),
    [
        ("2018-03-09", "18:00"),
        ("2018-03-12", "17:00"),
        ("2019-11-01", "17:00"),
        ("2019-11-04", "18:00"),
        ("2020-03-06", "18:00"),
        ("2020-03-09", "17:00"),
        ("2020-11-03", "18:00"),
        ("2021-11-05", "17:00"),
        ("2021-11-08", "18:00"),
        ("2022-03-14", "17:00"),
        ("2024-11-04", "18:00"),
        ("2025-03-10", "17:00"),
        ("2025-11-03", "18:00"),
    ],
)
def test_the_cash_market_closes_as_it_was_announced(session, close):
    hours = b3_hours(session)
    assert local(hours.phases[0].start) == "09:30"
    assert local(hours.continuous.start) == "10:00"
    call = next(phase for phase in hours.phases if phase.name == "closing_call")
    assert local(call.end) == close
    assert ("after_market" in {phase.name for phase in hours.phases}) == (close == "17:00")


def test_since_november_2019_every_session_follows_new_york():
    for day in b3_sessions("2019-11-04", "2028-12-29"):
        call = next(phase for phase in b3_hours(day).phases if phase.name == "closing_call")
        assert local(call.end) == ("17:00" if saves_daylight(day) else "18:00"), day


def test_every_entry_of_the_table_is_a_session_and_changes_the_close():
    days = [np.datetime64(entry[0]) for entry in B3_CASH_CLOSES]
    assert days == sorted(days)
    assert all(b3_sessions(day, day).size == 1 for day in days)
    closes = [entry[1] for entry in B3_CASH_CLOSES]
    assert all(a != b for a, b in itertools.pairwise(closes))


def test_before_2019_summer_time_in_both_countries_is_in_the_utc_times():
    summer, winter = b3_hours("2018-12-03"), b3_hours("2018-07-02")
    assert str(summer.continuous.start) == "2018-12-03T12:00:00.000000000"  # UTC-2
    assert str(winter.continuous.start) == "2018-07-02T13:00:00.000000000"  # UTC-3


def test_ash_wednesday_opens_at_one():
    for day in ("2023-02-22", "2024-02-14", "2026-02-18"):
        hours = b3_hours(day)
        assert local(hours.continuous.start) == "13:00"
        assert local(hours.phases[1].start) == "12:45"
        assert local(b3_hours(day, "index_futures").continuous.start) == "13:00"
    assert local(b3_hours("2023-02-23").continuous.start) == "10:00"


def test_options_open_five_minutes_later_and_close_fifteen_later():
    hours = b3_hours("2021-11-08", "options_etf")
    assert [(p.name, local(p.start), local(p.end)) for p in hours.phases] == [
        ("cancel", "09:30", "09:45"),
        ("opening_call", "09:45", "10:05"),
        ("continuous", "10:05", "17:55"),
        ("closing_call", "17:55", "18:15"),
    ]


def test_futures_close_later_than_shares():
    assert local(b3_hours("2020-11-03", "index_futures").continuous.end) == "18:25"
    assert local(b3_hours("2020-11-03", "dollar_futures").continuous.end) == "18:30"
    assert local(b3_hours("2022-03-14", "index_futures").continuous.end) == "17:55"
    assert local(b3_hours("2022-03-14", "dollar_futures").continuous.end) == "18:00"


def test_each_moment_has_its_phase():
    hours = b3_hours("2023-08-01")
    clock = np.array(["12:29", "12:30", "12:45", "13:00", "19:54", "19:55", "20:00", "20:15", "20:30", "21:00"])
    times = np.array([f"2023-08-01T{c}" for c in clock], dtype="datetime64[ns]")
    names = [hours.phases[k].name if k >= 0 else "" for k in hours.phase_of(times)]
    assert names == [
        "",
        "cancel",
        "opening_call",
        "continuous",
        "continuous",
        "closing_call",
        "",
        "",
        "after_market",
        "",
    ]


def test_half_days_of_new_york_are_known():
    hours = venue_hours("NASDAQ", "2012-06-21")
    assert str(hours.continuous.start) == "2012-06-21T13:30:00.000000000"
    assert str(venue_hours("NASDAQ", "2023-11-24").continuous.end) == "2023-11-24T18:00:00.000000000"
    with pytest.raises(DataError, match="no session on 2023-11-23"):
        venue_hours("NASDAQ", "2023-11-23")


def test_other_venues_never_close():
    hours = venue_hours("BINANCE_USDM", "2024-08-10")
    assert hours.continuous.end - hours.continuous.start == np.timedelta64(24, "h")


def test_what_the_table_does_not_hold_is_refused():
    with pytest.raises(DataError, match="known from 2016-10-17 on"):
        b3_hours("2015-11-03")
    with pytest.raises(DataError, match="known from 2020-03-09 on"):
        b3_hours("2019-11-04", "index_futures")
    with pytest.raises(DataError, match="no session on 2023-12-25"):
        b3_hours("2023-12-25")
    with pytest.raises(ValueError, match="segment must be"):
        b3_hours("2023-08-01", "swaps")
