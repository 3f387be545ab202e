from __future__ import annotations

import datetime
import json
from fractions import Fraction

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_pipeline.errors import DataError
from data_pipeline.feeds.reference.rates import (
    RULE_NO_VALUE,
    RULE_REPEATED,
    RULE_SORTED,
    is_rates,
    joined_cdi,
    parse_cdi,
)
from data_pipeline.ingest import ingest
from data_pipeline.schema import CDI_SCHEMA
from data_pipeline.store import Store


def entry(day="02/01/2023", value="0.050788"):
    return {"data": day, "valor": value}


def test_a_percentage_per_day_becomes_a_simple_return():
    table, counts = parse_cdi([entry(), entry("03/01/2023", "0.05")], "cdi.json")
    assert table.schema == CDI_SCHEMA
    assert table["date"].to_pylist() == [datetime.date(2023, 1, 2), datetime.date(2023, 1, 3)]
    assert table["daily_return"].to_pylist() == [0.00050788, 0.0005]
    assert counts == {}


@given(st.lists(st.integers(0, 500_000), min_size=1, max_size=20))
def test_every_return_is_the_double_nearest_to_the_published_rate(millionths):
    first = datetime.date(2001, 3, 1)
    days = [first + datetime.timedelta(i) for i in range(len(millionths))]
    document = [entry(day.strftime("%d/%m/%Y"), f"0.{m:06d}") for day, m in zip(days, millionths, strict=True)]
    table, _ = parse_cdi(document, "cdi.json")
    assert table["daily_return"].to_pylist() == [float(Fraction(m, 10**8)) for m in millionths]


def test_days_out_of_order_are_sorted_and_counted():
    days = ["04/01/2023", "02/01/2023", "05/01/2023", "03/01/2023"]
    table, counts = parse_cdi([entry(day) for day in days], "cdi.json")
    assert [day.day for day in table["date"].to_pylist()] == [2, 3, 4, 5]
    assert counts == {RULE_SORTED: 2}


def test_days_without_a_value_and_repeated_days_are_counted_as_the_series_does():
    document = [entry(), entry("03/01/2023", None), entry(), entry("04/01/2023", "")]
    table, counts = parse_cdi(document, "cdi.json")
    assert table["date"].to_pylist() == [datetime.date(2023, 1, 2)]
    assert counts == {RULE_NO_VALUE: 2, RULE_REPEATED: 1}


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ([entry(), entry(value="0.05")], "record 1: the day 2023-01-02 has two values, 0.050788 and 0.05"),
        ([entry("31/02/2023")], "record 0: data must be a date dd/mm/yyyy; was '31/02/2023'"),
        ([entry("2023-01-02")], "data must be a date dd/mm/yyyy"),
        ([entry(value="0,05")], "valor must be text with a decimal point"),
        ([entry(value=0.05)], "valor must be text with a decimal point"),
        ([entry(value="NaN")], "valor must be a finite number"),
        ([entry(value="13.65")], "series 12 is per day, series 4389 per year"),
        ([entry(value="-0.01")], "between 0 and 0.5; was -0.01 on 2023-01-02"),
        ([entry(), {"data": "03/01/2023"}], "record 1: must be an object with data and valor"),
        ([entry(), None], "record 1: must be an object with data and valor"),
    ],
)
def test_a_wrong_record_is_refused_with_its_index(document, words):
    with pytest.raises(DataError, match=words):
        parse_cdi(document, "cdi.json")


def test_rates_of_the_hyperinflation_are_accepted():
    table, _ = parse_cdi([entry("15/03/1990", "2.5")], "cdi.json")
    assert table["daily_return"].to_pylist() == [0.025]


@pytest.mark.parametrize(("document", "known"), [([entry()], True), ([], False), ({}, False), ([{"data": 1}], False)])
def test_an_answer_is_recognised_by_its_shape(document, known):
    assert is_rates(document) is known


def test_the_daily_series_of_the_bank_fills_the_cdi_and_the_rates_once(tmp_path):
    path = tmp_path / "sgs_12_2023-01-01_2023-01-31.json"
    path.write_text(json.dumps([entry(), entry("03/01/2023", "0.05")]), encoding="utf-8")
    assert ingest([path], tmp_path / "store").complete
    again = ingest([path], tmp_path / "store")
    assert again.accepted == ()
    store = Store.open(tmp_path / "store")
    assert store.cdi()["daily_return"].to_pylist() == [0.00050788, 0.0005]
    assert store.table("rates", venue="BCB")["value"].to_pylist() == [0.050788, 0.05]


def test_a_csv_of_the_series_is_cdi_too_and_windows_may_meet_in_a_day(tmp_path):
    names = ["sgs_12_2022.csv", "sgs_12_2023.json", "sgs_11_2023.json"]
    paths = [tmp_path / name for name in names]
    paths[0].write_text("data;valor\n30/12/2022;0,050788\n02/01/2023;0,050788\n", encoding="utf-8")
    paths[1].write_text(json.dumps([entry(), entry("03/01/2023", "0.1"), entry("04/01/2023", None)]), encoding="utf-8")
    paths[2].write_text(json.dumps([entry("03/01/2023", "0.2")]), encoding="utf-8")
    assert ingest(paths, tmp_path / "store").complete
    cdi = Store.open(tmp_path / "store").cdi()
    assert cdi["date"].to_pylist() == [datetime.date(2022, 12, 30), *(datetime.date(2023, 1, day) for day in (2, 3))]
    assert cdi["daily_return"].to_pylist() == [0.00050788, 0.00050788, 0.001]


@given(st.lists(st.integers(0, 500_000), min_size=1, max_size=20))
def test_the_cdi_made_of_rates_is_that_of_its_own_file_to_the_last_bit(millionths):
    first = datetime.date(2001, 3, 1)
    days = [first + datetime.timedelta(i) for i in range(len(millionths))]
    document = [entry(day.strftime("%d/%m/%Y"), f"0.{m:06d}") for day, m in zip(days, millionths, strict=True)]
    held, _ = parse_cdi(document, "cdi.json")
    rates = pa.table({"session": pa.array(days), "value": [float(f"0.{m:06d}") for m in millionths]})
    assert joined_cdi(CDI_SCHEMA.empty_table(), rates).equals(held)
    assert joined_cdi(held, rates).equals(held)
    assert joined_cdi(held, rates.slice(0, 0)).equals(held)


def test_two_tellings_of_one_day_are_refused():
    held, _ = parse_cdi([entry()], "cdi.json")
    rates = pa.table({"session": pa.array([datetime.date(2023, 1, 2)]), "value": [0.05]})
    with pytest.raises(DataError, match=r"CDI of 2023-01-02 is 0.00050788 in the table of the CDI and 0.0005 in the r"):
        joined_cdi(held, rates)
