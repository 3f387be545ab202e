"""B3's sessions against dates that are public knowledge."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from data_pipeline.feeds.cotahist.parser import read_cotahist
from data_pipeline.sessions.calendar import b3_sessions, calendar_gaps, next_session


def test_the_last_days_of_the_year_are_closed():
    days = {str(day) for day in b3_sessions("2021-12-20", "2022-01-05")}
    assert days == {
        "2021-12-20", "2021-12-21", "2021-12-22", "2021-12-23", "2021-12-27", "2021-12-28", "2021-12-29", "2021-12-30",
        "2022-01-03", "2022-01-04", "2022-01-05",
    }  # fmt: skip


def test_city_holidays_closed_the_exchange_until_2021():
    assert "2021-01-25" not in {str(day) for day in b3_sessions("2021-01-01", "2021-01-31")}
    assert "2023-01-25" in {str(day) for day in b3_sessions("2023-01-01", "2023-01-31")}


@pytest.mark.parametrize(
    ("day", "following"),
    [
        ("2021-12-17", "2021-12-20"),
        ("2023-02-17", "2023-02-22"),
        ("2024-12-30", "2025-01-02"),
        ("2023-01-07", "2023-01-09"),
    ],
)
def test_the_session_after_a_day(day, following):
    assert next_session(day) == np.datetime64(following)


def test_gaps_are_told_both_ways():
    sessions = np.array(["2023-01-02", "2023-01-04", "2023-01-07"], dtype="datetime64[D]")
    missing, unexpected = calendar_gaps(sessions)
    assert [str(day) for day in missing] == ["2023-01-03", "2023-01-05", "2023-01-06"]
    assert [str(day) for day in unexpected] == ["2023-01-07"]


def test_an_empty_span_is_refused():
    with pytest.raises(ValueError, match="start must be in"):
        b3_sessions("2023-02-01", "2023-01-01")


@pytest.mark.realdata
def test_the_real_year_2023_has_exactly_its_sessions(realdata: Path):
    table = read_cotahist(realdata / "cotahist" / "COTAHIST_A2023_EQUITIES.ZIP")
    sessions = np.unique(table["session"].to_numpy().astype("datetime64[D]"))
    missing, unexpected = calendar_gaps(sessions)
    assert (sessions.size, missing.size, unexpected.size) == (248, 0, 0)
