"""Settlements from pages, CSV and Parquet that are built here, and from the real weekly file."""

from __future__ import annotations

import datetime
import io

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_pipeline.errors import DataError
from data_pipeline.feeds.reading import RawHead
from data_pipeline.feeds.reference.contracts import MONTHS, ROOTS, Contract, expiry_of, parse_contract
from data_pipeline.feeds.reference.settlements import (
    RULE_CHANGE,
    RULE_CONTRADICTED,
    RULE_NO_PREVIOUS,
    RULE_REPEATED,
    RULE_VALUE,
    SETTLEMENTS,
)
from data_pipeline.sessions.calendar import b3_sessions

DAY = datetime.date
NAMES = (
    "refdate",
    "symbol",
    "commodity",
    "maturity_code",
    "previous_price",
    "price",
    "price_change",
    "settlement_value",
)
ROW = {
    "refdate": "2021-01-04",
    "symbol": "DOLG21",
    "commodity": "DOL",
    "maturity_code": "G21",
    "previous_price": 5190.5,
    "price": 5279.412,
    "price_change": 88.912,
    "settlement_value": 4445.6,
}


def brazilian(number, decimals=3):
    return f"{number:,.{decimals}f}".translate(str.maketrans(",.", ".,"))


def page(*rows, asked="04/01/2021", updated="04/01/2021"):
    """B3's page: the commodity only in the first row of its contracts, ISO-8859-1, nested in a table for layout."""
    cells = "".join(
        f'<tr class="tabelaConteudo{1 + number % 2}"><td>{title}</td><td>{maturity}</td>'
        + "".join(f'<td class="text-right">{value}</td>' for value in values)
        + "</tr>\n"
        for number, (title, maturity, *values) in enumerate(rows)
    )
    return (
        '<html><head><meta charset="iso-8859-1"></head><body><table><tr><td>Atualizado em: '
        f'{updated}</td></tr></table><input type="text" id="dData1" name="dData1" value="{asked}">'
        '<table id="tblDadosAjustes"><tr><th>Mercadoria</th><th>Vct</th><th>Preço de Ajuste Anterior</th>'
        "<th>Preço de ajuste Atual</th><th>Variação</th><th>Valor do Ajuste por Contrato (R$)</th></tr>"
        f"{cells}</table></body></html>"
    ).encode("latin-1")


def csv(*rows, delimiter=",", number=str):
    lines = [delimiter.join(NAMES)]
    for row in rows:
        values = (row[name] for name in NAMES)
        lines.append(delimiter.join(value if isinstance(value, str) else number(value) for value in values))
    return ("\n".join(lines) + "\n").encode()


def parquet(*rows):
    table = pa.Table.from_pylist([row | {"refdate": datetime.datetime.fromisoformat(row["refdate"])} for row in rows])
    out = io.BytesIO()
    pq.write_table(table, out)
    return out.getvalue()


DOLLAR = (
    "DOL   - Dólar comercial",
    "G21",
    "5.190,500",
    "5.279,412",
    "88,912",
    "4.445,60",
)
EXPECTED = {
    "session": DAY(2021, 1, 4),
    "symbol": "DOLG21",
    "root": "DOL",
    "maturity": "G21",
    "expiry": DAY(2021, 2, 1),
    "settlement": 5279.412,
    "previous": 5190.5,
    "change": 88.912,
    "value": 4445.6,
}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("page.html", page(DOLLAR)),
        ("table.csv", csv(ROW)),
        ("table.csv", csv(ROW, delimiter=";", number=brazilian)),
        ("table.parquet", parquet(ROW)),
    ],
)
def test_page_csv_and_parquet_tell_the_same_row(feed_run, name, content, tmp_path):
    tables, tally = feed_run.read(SETTLEMENTS, {name: content})
    assert tables["settlements"].to_pylist() == [EXPECTED]
    assert (tally.rows, tally.counts) == (1, {})
    (tmp_path / name).write_bytes(content)
    assert SETTLEMENTS.recognises(RawHead(tmp_path / name, name, content[:4096]))


def test_a_commodity_holds_for_the_rows_below_it(feed_run):
    rows = page(DOLLAR, ("", "H21", "5.190,5", "5.290,5", "100,0", "5.000,00"), ("IND - x", "G21", "1", "2", "1", "1"))
    table = feed_run.read(SETTLEMENTS, {"p.html": rows})[0]["settlements"]
    assert table["symbol"].to_pylist() == ["DOLG21", "DOLH21", "INDG21"]


def test_a_first_days_previous_of_0_is_none_and_its_change_too(feed_run):
    first = ROW | {"previous_price": 0.0, "price_change": 5279.412, "settlement_value": 0.0}
    tables, tally = feed_run.read(SETTLEMENTS, {"t.csv": csv(first)})
    (row,) = tables["settlements"].to_pylist()
    assert (row["previous"], row["change"], row["settlement"]) == (None, None, 5279.412)
    assert tally.counts == {RULE_NO_PREVIOUS: 1}


def test_repeated_rows_are_left_out_and_those_that_differ_counted(feed_run):
    other = ROW | {"symbol": "DOLH21", "maturity_code": "H21"}
    mended = other | {"price": 5279.5, "price_change": 89.0, "settlement_value": 4450.0}
    tables, tally = feed_run.read(SETTLEMENTS, {"t.csv": csv(ROW, ROW, other, mended, ROW)})
    assert sorted(tables["settlements"]["settlement"].to_pylist()) == [5279.412, 5279.5]
    assert tally.counts == {RULE_REPEATED: 3, RULE_CONTRADICTED: 1}


def test_what_does_not_fit_together_is_counted_and_kept(feed_run):
    wrong = ROW | {"price_change": 914_000.0}
    small = ROW | {
        "symbol": "WDOG21",
        "commodity": "WDO",
        "price": 5279.5,
        "price_change": 89.0,
        "settlement_value": 890.0,
    }
    tables, tally = feed_run.read(SETTLEMENTS, {"t.csv": csv(wrong, small)})
    assert tables["settlements"]["change"].to_pylist() == [914_000.0, 89.0]
    assert tally.counts == {RULE_CHANGE: 1, RULE_VALUE: 1, "WDO_settled_unlike_DOL": 1}


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("p.html", page(DOLLAR, asked="05/01/2021"), "asked for 05/01/2021 and shows the settlements of 04/01/2021"),
        ("p.html", page(DOLLAR).replace(b"tblDados", b"tblXados"), "has no table of settlements"),
        ("p.html", b"<html>N\xe3o h\xe1 dados para a data consultada.</html>", "has no data for its day"),
        ("p.html", page(("", "G21", "1", "2", "1", "1")), "table row 2: names no commodity"),
        ("p.html", page(("DOL", "G21", "1.5", "2", "1", "1")), "previous must be a number like 1.234,56; was '1.5'"),
        ("p.html", page(DOLLAR[:5]), "table row 2: must have commodity, maturity and four numbers"),
        ("p.html", page(), "has an empty table"),
        ("t.csv", csv(ROW).replace(b"price_change", b"x").replace(b",price,", b",y,"), "lacks the column price"),
        ("t.csv", csv(ROW | {"price": "NaN"}), "line 2: price must be a number; was 'NaN'"),
        ("t.csv", csv(ROW, ROW | {"price": "NaN"}).replace(b"\n", b"\r\n\r\n"), "line 5: price must be a number"),
        ("t.csv", csv(ROW | {"price": "1e400"}), "line 2: price must be a number"),
        (
            "t.csv",
            csv(ROW | {"refdate": "2021-02-30"}),
            "line 2: refdate must be a day of the calendar; was '2021-02-30'",
        ),
        ("t.csv", csv(ROW | {"refdate": "0001-01-01"}), "line 2: refdate must be a date of 1900 to 2200"),
        ("t.csv", csv(ROW | {"symbol": "DOLH21"}), "symbol must be commodity and maturity_code"),
        ("t.csv", csv(ROW | {"symbol": "DOLG1", "maturity_code": "G1"}), "session must be before 2006-05-22"),
        ("t.csv", csv(ROW | {"price": ""}), "price is absent"),
        ("t.csv", csv(ROW)[:-20] + b"\n", "is no CSV file of one width"),
        ("t.parquet", parquet(ROW)[:-9], "is a damaged Parquet file"),
    ],
)
def test_what_cannot_be_is_refused(feed_run, name, content, words):
    with pytest.raises(DataError, match=words):
        feed_run.read(SETTLEMENTS, {name: content})


@given(st.data())
@settings(max_examples=60)
def test_damaged_pages_give_one_error_or_rows_that_can_be(feed_run, data):
    content = page(DOLLAR, ("", "H21", "5.190,5", "5.290,5", "100,0", "5.000,00"))
    feed_run.survives(SETTLEMENTS, "p.html", data.draw(feed_run.damage(content)))


@given(st.data())
@settings(max_examples=60)
def test_damaged_csv_gives_one_error_or_rows_that_can_be(feed_run, data):
    feed_run.survives(SETTLEMENTS, "t.csv", data.draw(feed_run.damage(csv(ROW, ROW | {"refdate": "2021-01-05"}))))


@given(st.data())
@settings(max_examples=60)
def test_damaged_parquet_gives_one_error_or_rows_that_can_be(feed_run, data):
    feed_run.survives(SETTLEMENTS, "t.parquet", data.draw(feed_run.damage(parquet(ROW))))


def test_a_code_says_root_month_and_year():
    assert parse_contract("DOLG18") == Contract("DOL", 2, 2018)
    assert parse_contract("B3SAOF21") == Contract("B3SAO", 1, 2021)
    assert parse_contract("DI1F99") == Contract("DI1", 1, 1999)
    assert parse_contract("DI1F3", DAY(2002, 12, 30)).symbol == "DI1F03"
    assert parse_contract("DI1F3", DAY(2003, 1, 2)).symbol == "DI1F03"
    assert parse_contract("DI1F3", DAY(2004, 1, 2)).symbol == "DI1F13"
    # what is quoted after the contract of this year has expired is that of the next decade
    assert parse_contract("DI1F3", DAY(2003, 1, 3)).symbol == "DI1F13"
    assert parse_contract("INDG3", DAY(2003, 2, 12)).symbol == "INDG03"
    assert parse_contract("INDG3", DAY(2003, 2, 13)).symbol == "INDG13"
    assert parse_contract("XYZG3", DAY(2003, 2, 28)).symbol == "XYZG03"
    assert parse_contract("XYZG3", DAY(2003, 3, 3)).symbol == "XYZG13"
    for wrong in ("DOLA18", "DOLG", "PETRG21", "DOLF18C003275", "", "dolg18"):
        with pytest.raises(ValueError, match="code must be a root, a month letter"):
            parse_contract(wrong)
    with pytest.raises(ValueError, match="session must be before 2006-05-22"):
        parse_contract("DI1F3")


@given(st.sampled_from(sorted(ROOTS)), st.integers(1, 12), st.integers(1990, 2077))
def test_a_contract_is_read_back_from_its_code(root, month, year):
    contract = Contract(root, month, year)
    assert parse_contract(contract.symbol) == contract


@given(st.integers(2000, 2005), st.integers(0, 9), st.integers(1, 12))
def test_one_digit_is_the_next_year_that_ends_in_it(session_year, ahead, month):
    code = f"DI1{MONTHS[month - 1]}{(session_year + ahead) % 10}"
    assert parse_contract(code, DAY(session_year, 1, 1)).year == session_year + ahead


# from B3's contract calendars and, for the first, the carnival of 2018 (Wednesday 14 February opened at 13:00)
@pytest.mark.parametrize(
    ("code", "day"),
    [
        ("INDG18", DAY(2018, 2, 14)),
        ("WINV23", DAY(2023, 10, 18)),
        ("WINZ23", DAY(2023, 12, 13)),
        ("WINM24", DAY(2024, 6, 12)),
        ("DOLF24", DAY(2024, 1, 2)),
        ("WDOG21", DAY(2021, 2, 1)),
        ("DI1F25", DAY(2025, 1, 2)),
        ("INDH24", None),
        ("XYZH24", None),
    ],
)
def test_expiries_are_those_of_the_exchange(code, day):
    assert expiry_of(parse_contract(code)) == day


def test_every_expiry_is_the_nearest_wednesday_or_first_session_by_a_search_over_all_days():
    sessions = set(b3_sessions("2010-01-01", "2032-01-31").tolist())
    one = datetime.timedelta(days=1)
    for year in range(2010, 2032):
        for month in range(1, 13):
            days = [DAY(year, month, day) for day in range(1, 29)]
            first = next(day for day in days if day in sessions)
            assert {expiry_of(Contract(root, month, year)) for root in ("DOL", "WDO", "DI1")} == {first}
            wednesday = min((day for day in days if day.weekday() == 2), key=lambda day: abs(day.day - 15))
            while wednesday not in sessions:
                wednesday += one
            assert expiry_of(Contract("WIN", month, year)) == (wednesday if month % 2 == 0 else None)


@pytest.mark.realdata
def test_the_real_weekly_file_is_whole_and_fits_together(feed_run, realdata):
    path = realdata / "reference" / "futures_settlement_weekly_2021_2022.parquet"
    tables, tally = feed_run.drain(SETTLEMENTS, [path])
    assert tally.rows == 57_342
    raw = pd.read_parquet(path)
    assert tally.counts == {RULE_NO_PREVIOUS: int((raw["previous_price"] == 0).sum())}
    rows = tables["settlements"].to_pandas()
    assert len(rows) == 57_342
    assert rows["settlement"].to_list() == raw["price"].to_list()
    known = rows[rows["root"].isin(ROOTS)]
    assert len(known) == 9_976
    assert known["expiry"].notna().all()
    assert (pd.to_datetime(known["expiry"]) >= pd.to_datetime(known["session"])).all()
    # the last settlement of DOL, WDO and DI1 is of the day of expiry: DI1 is then worth its face
    last = known[known["expiry"] == known["session"]]
    assert set(last["root"]) == {"DOL", "WDO", "DI1"} | set(last["root"])
    assert (last.loc[last["root"] == "DI1", "settlement"] == 100_000.0).all()
    for small, large in (("WIN", "IND"), ("WDO", "DOL")):
        pair = rows[rows["root"] == small].merge(rows[rows["root"] == large], on=["session", "maturity"])
        assert pair["session"].nunique() == 104
        assert (pair["settlement_x"] == pair["settlement_y"]).all()
    worth = known["change"].abs() * known["root"].map({name: root.multiplier for name, root in ROOTS.items()})
    assert np.nanmax((worth - known["value"]).abs()) < 0.0051


@pytest.mark.realdata
def test_a_real_table_of_one_root_is_read(feed_run, realdata):
    path = realdata / "reference" / "futures_settlement_20240131_DI1.parquet"
    assert feed_run.drain(SETTLEMENTS, [path])[0]["settlements"].num_rows == 39
