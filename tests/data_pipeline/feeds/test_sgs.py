"""SGS answers as its service writes them, and what it gives instead of an answer."""

from __future__ import annotations

import datetime
import itertools
import json
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_pipeline.daily.risk_free import risk_free_returns
from data_pipeline.errors import DataError
from data_pipeline.feeds.reading import RawHead
from data_pipeline.feeds.reference.rates import parse_cdi
from data_pipeline.feeds.reference.sgs import (
    RULE_NO_VALUE,
    RULE_REPEATED,
    SERIES,
    SGS,
    rates_known,
    sgs_failure,
    sgs_windows,
)
from data_pipeline.sessions.calendar import b3_sessions

DAY = datetime.date
TYPICAL = {
    "12": "0.050788",
    "4389": "13.65",
    "11": "0.050788",
    "1178": "13.65",
    "432": "13.75",
    "433": "0.53",
    "189": "-1.84",
    "1": "5.3440",
}


def answer(*entries):
    return json.dumps([{"data": day, "valor": value} for day, value in entries]).encode()


def csv(*entries):
    return "".join(["data;valor\r\n", *(f'"{day}";"{value}"\r\n' for day, value in entries)]).encode("latin-1")


@pytest.mark.parametrize("code", sorted(SERIES))
def test_each_known_series_has_its_unit_and_the_double_nearest_to_the_text(feed_run, code):
    name = f"bcdata.sgs.{code}.json"
    tables, tally = feed_run.read(SGS, {name: answer(("02/01/2023", TYPICAL[code]))})
    assert tables["rates"].to_pylist() == [
        {"session": DAY(2023, 1, 2), "symbol": code, "value": float(Fraction(TYPICAL[code])), "unit": SERIES[code].unit}
    ]
    assert (tally.rows, tally.counts) == (1, {})


def test_json_and_csv_tell_the_same(feed_run):
    from_json = feed_run.read(SGS, {"sgs_4389.json": answer(("03/01/2023", "13.65"), ("02/01/2023", "13.64"))})[0]
    from_csv = feed_run.read(SGS, {"sgs_4389.csv": csv(("02/01/2023", "13,64"), ("03/01/2023", "13,65"))})[0]
    assert from_json["rates"].equals(from_csv["rates"])
    assert from_json["rates"]["value"].to_pylist() == [13.64, 13.65]


def test_the_daily_cdi_is_that_of_the_older_table(feed_run):
    entries = [("02/01/2023", "0.050788"), ("24/12/2021", "0.034749"), ("03/01/2023", "0.05")]
    rows = feed_run.read(SGS, {"sgs_12.json": answer(*entries)})[0]["rates"]
    older, _ = parse_cdi(json.loads(answer(*entries)), "cdi.json")
    assert rows["session"].to_pylist() == older["date"].to_pylist()
    assert rows["value"].to_numpy() / 100 == pytest.approx(older["daily_return"].to_numpy(), rel=1e-15)


def test_bank_days_without_a_session_are_kept_and_their_return_is_not_lost(feed_run):
    days = ["23/12/2021", "24/12/2021", "27/12/2021"]
    rows = feed_run.read(SGS, {"sgs_12.json": answer(*((day, "0.05") for day in days))})[0]["rates"]
    assert DAY(2021, 12, 24) in rows["session"].to_pylist()
    sessions = b3_sessions("2021-12-23", "2021-12-27")
    assert np.datetime64("2021-12-24") not in sessions
    cdi = parse_cdi([{"data": day, "valor": "0.05"} for day in days], "cdi.json")[0]
    earned = risk_free_returns(sessions, cdi, None).returns
    assert earned[1] == pytest.approx(1.0005**2 - 1, rel=1e-12)


def test_days_without_a_value_and_repeated_days_are_counted(feed_run):
    content = json.dumps(
        [
            {"data": "02/01/2023", "valor": "0.05"},
            {"data": "03/01/2023", "valor": None},
            {"data": "02/01/2023", "valor": "0.05"},
            {"data": "04/01/2023", "valor": ""},
        ]
    ).encode()
    tables, tally = feed_run.read(SGS, {"sgs_12.json": content})
    assert tables["rates"].num_rows == 1
    assert tally.counts == {RULE_NO_VALUE: 2, RULE_REPEATED: 1}


def test_an_unknown_series_needs_its_unit(feed_run):
    content = answer(("01/01/2023", "1.2"))
    with pytest.raises(DataError, match="series 4390 is not known"):
        feed_run.read(SGS, {"sgs_4390.json": content})
    rows = feed_run.read(SGS, {"sgs_4390.json": content}, unit="% per month")[0]["rates"]
    assert rows.to_pylist()[0] == {"session": DAY(2023, 1, 1), "symbol": "4390", "value": 1.2, "unit": "% per month"}


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("sgs_12.json", True),
        ("BCB-433.json", True),
        ("12.json", True),
        ("bcdata.sgs.4389.2010.json", True),
        ("cdi.json", False),
        ("rates2023.json", False),
    ],
)
def test_an_answer_is_recognised_by_shape_and_name(tmp_path, name, known):
    assert SGS.recognises(RawHead(tmp_path / name, name, answer(("02/01/2023", "1")))) is known
    assert not SGS.recognises(RawHead(tmp_path / name, name, b"<html>"))


def test_a_number_that_begins_the_name_is_not_the_series_where_another_is_named(feed_run):
    """Else the inflation of file 1 would be an exchange rate: 0.53 is possible for both."""
    rows = feed_run.read(SGS, {"1_sgs_433.json": answer(("01/01/2023", "0.53"))})[0]["rates"]
    assert rows["symbol"].to_pylist() == ["433"]
    rows = feed_run.read(SGS, {"2023-01_sgs_12.json": answer(("02/01/2023", "0.05"))})[0]["rates"]
    assert rows["symbol"].to_pylist() == ["12"]


PAGE = b'<?xml version="1.0"?><soap:Fault><faultstring>Gateway Timeout</faultstring></soap:Fault>'
SPAN = (
    '{"error": "Not Acceptable", "message": "O sistema aceita uma janela de consulta de, no máximo, 10 anos"}'.encode()
)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (PAGE, "it is a page that says 'Gateway Timeout'"),
        (b"\n <!DOCTYPE html><html><head><title>504</title></head></html>", "it is a page that says '504'"),
        (SPAN, "10 anos"),
        (b"", "it is empty"),
        (b"  \n", "it is empty"),
        (b'{"error": ', "it is damaged JSON"),
        (b"upstream connect error", "it begins with 'upstream connect error'"),
    ],
)
def test_what_came_instead_of_an_answer_is_named(feed_run, content, words):
    assert words in (sgs_failure(content) or "")
    if content:
        with pytest.raises(DataError, match=r"sgs_12\.json is no answer of the SGS"):
            feed_run.read(SGS, {"sgs_12.json": content})


def test_an_answer_is_no_failure():
    assert sgs_failure(answer(("02/01/2023", "1"))) is None
    assert sgs_failure(csv(("02/01/2023", "1"))) is None


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("sgs_12.json", answer(("02/01/2023", "13.65")), r"series 12 \(CDI, % per day\) must be 0 to 0.5; was 13.65"),
        ("sgs_4389.json", answer(("02/01/2023", "0.050788")), "is it another series"),
        ("cdi_sgs_11.json", answer(("02/01/2023", "0.05")), r"is named cdi and has the number of another series, 11"),
        ("selic_sgs_12.json", answer(("02/01/2023", "0.05")), "is named selic"),
        ("sgs_12.json", answer(("02/01/2023", "0.05"), ("02/01/2023", "0.06")), "has two values"),
        ("sgs_12.json", answer(("02/01/2023", "")), "has no value of series 12"),
        ("sgs_12.json", b"[]", "must be a list of objects"),
        ("sgs_12.json", answer(("31/02/2023", "0.05")), "record 0: data must be a date"),
        ("sgs_12.json", answer(("02/01/2023", "NaN")), "must be a finite number"),
        ("sgs_12.json", b'[{"data": "02/01/2023", "valor": 0.05}]', "must be text with a decimal point"),
        ("sgs_12.json", b'[{"data":' + b"[" * 100_000, "is no whole JSON"),
        ("sgs_12.csv", csv(("02/01/2023", "0.05")), "line 2: valor must be a number like 1.234,56"),
        ("sgs_12.csv", b"data;valor\n02/01/2023;0,05;1\n", "line 2: must be a date and a value"),
        ("rates.json", answer(("02/01/2023", "0.05")), "does not say its series"),
    ],
)
def test_what_cannot_be_is_refused(feed_run, name, content, words):
    with pytest.raises(DataError, match=words):
        feed_run.read(SGS, {name: content})


@given(st.data())
@settings(max_examples=80)
def test_damaged_answers_give_one_error_or_rows_that_can_be(feed_run, data):
    entries = [("02/01/2023", "0.050788"), ("03/01/2023", "0.05")]
    name, content = data.draw(
        st.sampled_from([("sgs_12.json", answer(*entries)), ("sgs_433.csv", csv(("01/01/2023", "0,53")))])
    )
    feed_run.survives(SGS, name, data.draw(feed_run.damage(content)))


@given(st.dates(DAY(1986, 1, 1), DAY(2040, 1, 1)), st.integers(0, 20_000), st.integers(1, 12))
def test_windows_cover_every_day_once_and_none_is_too_long(start, days, years):
    end = start + datetime.timedelta(days=days)
    windows = sgs_windows(start, end, years)
    assert windows[0][0] == start
    assert windows[-1][1] == end
    for (_, last), (first, _) in itertools.pairwise(windows):
        assert first == last + datetime.timedelta(days=1)
    for first, last in windows:
        assert first <= last
        # a span of whole years ends at the latest on the day before its anniversary
        assert (last.year - first.year, last.month, last.day) <= (years, first.month, first.day)
        assert (last + datetime.timedelta(days=1) - first).days <= 365.25 * years + 1


def test_windows_of_nothing_are_refused():
    with pytest.raises(ValueError, match=r"end must be start \(2023-01-02\) or later; was 2023-01-01"):
        sgs_windows(DAY(2023, 1, 2), DAY(2023, 1, 1))
    with pytest.raises(ValueError, match="years must be 1 or more"):
        sgs_windows(DAY(2023, 1, 2), DAY(2023, 1, 3), 0)


def test_a_months_inflation_is_not_known_in_that_month(feed_run):
    rows = feed_run.read(SGS, {"sgs_433.json": answer(("01/01/2023", "0.53"), ("01/02/2023", "0.84"))})[0]["rates"]
    assert rates_known(rows, DAY(2023, 2, 9)).num_rows == 0
    assert rates_known(rows, DAY(2023, 2, 15))["value"].to_pylist() == [0.53]
    daily = feed_run.read(SGS, {"sgs_12.json": answer(("02/01/2023", "0.05"), ("03/01/2023", "0.05"))})[0]["rates"]
    assert rates_known(daily, DAY(2023, 1, 3))["session"].to_pylist() == [DAY(2023, 1, 2)]
    with pytest.raises(ValueError, match="rows must be of the series"):
        rates_known(rows.set_column(1, "symbol", [["x", "x"]]), DAY(2023, 1, 1))
