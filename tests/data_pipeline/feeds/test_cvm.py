"""CVM's zips, built here in the layout that CVM publishes, read and checked row by row."""

from __future__ import annotations

import datetime
import io
import zipfile
from decimal import Decimal
from zoneinfo import ZoneInfo

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_pipeline.errors import DataError
from data_pipeline.feeds.reading import RawHead, Tally
from data_pipeline.feeds.reference.cvm import CVM, RULE_CONTRADICTED, RULE_REPEATED
from data_pipeline.feeds.reference.cvm_documents import RULE_INDEX_REPEATED, RULE_TOO_EARLY, RULE_WIDTH
from data_pipeline.feeds.reference.cvm_statements import RULE_AHEAD, RULE_BACKWARD, RULE_COMPARATIVE, RULE_UNDATED
from data_pipeline.reference.facts import facts_as_of

DAY = datetime.date
SAO_PAULO = ZoneInfo("America/Sao_Paulo")
ONE, TWO = "11.111.111/0001-11", "22.222.222/0001-22"
INDEX = "CNPJ_CIA;DT_REFER;VERSAO;DENOM_CIA;CD_CVM;CATEG_DOC;ID_DOC;DT_RECEB;LINK_DOC"
FIRST = "CNPJ_CIA;DT_REFER;VERSAO;DENOM_CIA;CD_CVM;GRUPO_DFP;MOEDA;ESCALA_MOEDA;ORDEM_EXERC"
MOMENT = f"{FIRST};DT_FIM_EXERC;CD_CONTA;DS_CONTA;VL_CONTA;ST_CONTA_FIXA"
SPAN = f"{FIRST};DT_INI_EXERC;DT_FIM_EXERC;CD_CONTA;DS_CONTA;VL_CONTA;ST_CONTA_FIXA"
EQUITY = f"{FIRST};DT_INI_EXERC;DT_FIM_EXERC;COLUNA_DF;CD_CONTA;DS_CONTA;VL_CONTA;ST_CONTA_FIXA"
CAPITAL = (
    "CNPJ_CIA;DT_REFER;VERSAO;DENOM_CIA;QT_ACAO_ORDIN_CAP_INTEGR;QT_ACAO_PREF_CAP_INTEGR;QT_ACAO_TOTAL_CAP_INTEGR;"
    "QT_ACAO_ORDIN_TESOURO;QT_ACAO_PREF_TESOURO;QT_ACAO_TOTAL_TESOURO"
)


def document(cnpj=ONE, refer="2023-06-30", version=1, received="2023-08-10"):
    return f"{cnpj};{refer};{version};EMPRESA AÇÚCAR S.A.;012345;ITR;98765;{received};http://www.rad.cvm.gov.br/x"


def head(cnpj=ONE, refer="2023-06-30", version=1, order="ÚLTIMO", scale="MIL", currency="REAL"):
    return f"{cnpj};{refer};{version};EMPRESA AÇÚCAR S.A.;012345;DF Consolidado - x;{currency};{scale};{order}"


def balance(account="1", value="1234.5670000000", end="2023-06-30", **values):
    return f'{head(**values)};{end};{account};Ativo "Total" à vista;{value};S'


def income(account="3.01", value="100.0000000000", start="2023-04-01", end="2023-06-30", **values):
    return f"{head(**values)};{start};{end};{account};Receita de Venda;{value};S"


def equity(account="5.01", value="7", column="Capital Social Integralizado", **values):
    return f"{head(**values)};2023-01-01;2023-06-30;{column};{account};Saldos Iniciais;{value};S"


def packed(kind="itr", year=2023, **members):
    """The zip; a member is named by its statement ("BPA_con"), "index" being the index."""
    heads = {"index": INDEX, "BPA": MOMENT, "BPP": MOMENT, "DMPL": EQUITY, "composicao": CAPITAL}
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, lines in members.items():
            title = "" if name == "index" else f"{name}_"
            content = "".join(f"{line}\r\n" for line in (heads.get(name.split("_")[0], SPAN), *lines))
            archive.writestr(f"{kind}_cia_aberta_{title}{year}.csv", content.encode("latin-1"))
    return out.getvalue()


def facts(feed_run, content, name="itr_cia_aberta_2023.zip", **options):
    tables, tally = feed_run.read(CVM, {name: content}, **options)
    return tables.get("facts"), tally


def test_an_account_becomes_a_fact_known_when_its_day_of_receipt_is_over(feed_run):
    rows, tally = facts(feed_run, packed(index=[document()], BPA_con=[balance()], DRE_ind=[income()]))
    moment, span = rows.to_pylist()
    known = datetime.datetime(2023, 8, 11, tzinfo=SAO_PAULO)
    assert moment == {
        "known_on": known.astimezone(datetime.UTC).date(),
        "symbol": "11111111000111",
        "field": "BPA_con/1",
        "event_start": None,
        "event_time": DAY(2023, 6, 30),
        "known_at": known,
        "version": 1,
        "value": 1_234_567.0,
        "unit": "R$",
        "source": "ITR 2023-06-30 v1",
    }
    assert (span["field"], span["event_start"], span["value"]) == ("DRE_ind/3.01/3m", DAY(2023, 4, 1), 100_000.0)
    assert (tally.rows, tally.counts) == (2, {})


def test_summer_time_in_brazil_moves_the_midnight(feed_run):
    old = packed(
        year=2016,
        index=[document(refer="2016-09-30", received="2016-11-14")],
        BPA_con=[balance(refer="2016-09-30", end="2016-09-30")],
    )
    rows, _ = facts(feed_run, old, "itr_cia_aberta_2016.zip")
    assert rows["known_at"][0].as_py().isoformat() == "2016-11-15T02:00:00+00:00"


def test_spans_of_one_account_are_different_fields(feed_run):
    lines = [income(), income(start="2023-01-01", value="190"), income(start="2023-01-15", value="150")]
    rows, _ = facts(feed_run, packed(index=[document()], DRE_con=lines))
    assert dict(zip(rows["field"].to_pylist(), rows["value"].to_pylist(), strict=True)) == {
        "DRE_con/3.01/3m": 100_000.0,
        "DRE_con/3.01/6m": 190_000.0,
        "DRE_con/3.01/167d": 150_000.0,
    }


def test_one_companys_span_that_runs_backwards_does_not_cost_the_others_their_year(feed_run):
    lines = [income(), income("3.02", start="2023-07-01"), income("3.03")]
    rows, tally = facts(feed_run, packed(index=[document()], DRE_con=lines))
    assert rows["field"].to_pylist() == ["DRE_con/3.01/3m", "DRE_con/3.03/3m"]
    assert tally.counts == {RULE_BACKWARD: 1}


def test_year_to_date_and_quarter_of_one_file_and_the_years_document_stay_apart(feed_run):
    """What a quarter earned is never taken for what the year earned so far, nor for the parent alone."""
    quarter = packed(
        index=[document()],
        DRE_con=[income(value="100"), income(start="2023-01-01", value="190")],
        DRE_ind=[income(value="60"), income(start="2023-01-01", value="110")],
    )
    year = packed(
        "dfp",
        index=[document(refer="2023-12-31", received="2024-03-20")],
        DRE_con=[income(refer="2023-12-31", start="2023-01-01", end="2023-12-31", value="400")],
    )
    rows = pa.concat_tables([facts(feed_run, quarter)[0], facts(feed_run, year, "dfp_cia_aberta_2023.zip")[0]])

    def at(*day):
        names = [f"DRE_{scope}/3.01/{span}" for scope in ("con", "ind") for span in ("3m", "6m", "12m")]
        found = facts_as_of(rows, ["11111111000111"], names, datetime.datetime(*day, tzinfo=SAO_PAULO)).to_pylist()
        return {row["field"]: row["value"] / 1_000 for row in found}

    half = {"DRE_con/3.01/3m": 100.0, "DRE_con/3.01/6m": 190.0, "DRE_ind/3.01/3m": 60.0, "DRE_ind/3.01/6m": 110.0}
    assert at(2024, 3, 20, 23) == half
    assert at(2024, 3, 21) == half | {"DRE_con/3.01/12m": 400.0}


def test_a_document_sent_again_after_the_year_does_not_replace_the_newer_period(feed_run):
    index = [
        document(refer="2023-03-31", received="2023-05-10"),
        document(),
        document(refer="2023-03-31", version=2, received="2024-06-03"),
    ]
    spans = {"refer": "2023-03-31", "start": "2023-01-01", "end": "2023-03-31"}
    lines = [income(value="50", **spans), income(), income(value="45", version=2, **spans)]
    rows, _ = facts(feed_run, packed(index=index, DRE_con=lines))
    held = facts_as_of(rows, ["11111111000111"], ["DRE_con/3.01/3m"], datetime.datetime(2024, 7, 1, tzinfo=SAO_PAULO))
    assert held["value"].to_pylist() == [100_000.0]
    first = rows.to_pylist()[0]
    assert (first["version"], first["value"]) == (1, 50_000.0)


def test_columns_of_the_equity_statement_are_different_fields(feed_run):
    lines = [equity(), equity(column="Reservas de Lucro", value="8")]
    rows, _ = facts(feed_run, packed(index=[document()], DMPL_con=lines))
    assert rows["field"].to_pylist() == [
        "DMPL_con/5.01/Capital Social Integralizado/6m",
        "DMPL_con/5.01/Reservas de Lucro/6m",
    ]


@pytest.mark.parametrize(
    ("scale", "factor"), [("MIL", 1_000), ("UNIDADE", 1), ("MILHAR", 1_000), ("MILHÃO", 1_000_000)]
)
def test_the_scale_is_taken_in_but_not_on_earnings_per_share(feed_run, scale, factor):
    lines = [income(scale=scale, value="-0.3270000001"), income("3.99.01.01", "0.32", scale=scale)]
    rows, _ = facts(feed_run, packed(index=[document()], DRE_con=lines))
    assert rows["value"].to_pylist() == [float(Decimal("-0.3270000001") * factor), 0.32]
    assert rows["unit"].to_pylist() == ["R$", "R$ per share"]


def test_a_restatement_is_a_new_fact_and_the_first_one_stays(feed_run):
    content = packed(
        index=[document(), document(version=2, received="2023-09-20"), document(version=3, received="2023-09-20")],
        DRE_con=[income(), income(version=2, value="80"), income(version=3, value="75")],
    )
    rows, _ = facts(feed_run, content)
    assert rows["version"].to_pylist() == [1, 2, 3]

    def at(*day):
        found = facts_as_of(rows, ["11111111000111"], ["DRE_con/3.01/3m"], datetime.datetime(*day, tzinfo=SAO_PAULO))
        return found["value"].to_pylist()

    assert at(2023, 8, 10, 23, 59) == []
    assert at(2023, 8, 11) == [100_000.0]
    assert at(2023, 9, 20, 18) == [100_000.0]
    assert at(2023, 9, 21) == [75_000.0]


def test_the_comparative_column_restates_the_period_before(feed_run):
    index = [document(), document(refer="2022-06-30", received="2022-08-10")]
    lines = [
        income(refer="2022-06-30", start="2022-04-01", end="2022-06-30", value="50"),
        income(value="100"),
        income(order="PENÚLTIMO", start="2022-04-01", end="2022-06-30", value="48"),
    ]
    rows, _ = facts(feed_run, packed(index=index, DRE_con=lines))
    restated = [row for row in rows.to_pylist() if row["event_time"] == DAY(2022, 6, 30)]
    assert [(row["value"], row["source"]) for row in restated] == [
        (50_000.0, "ITR 2022-06-30 v1"),
        (48_000.0, "ITR 2023-06-30 v1 comparative"),
    ]
    without, tally = facts(feed_run, packed(index=index, DRE_con=lines), comparatives="no")
    assert without["value"].to_pylist() == [50_000.0, 100_000.0]
    assert tally.counts == {RULE_COMPARATIVE: 1}


def test_repeated_accounts_are_left_out_and_those_that_differ_counted(feed_run):
    rows, tally = facts(feed_run, packed(index=[document()], DRE_con=[income(), income(), income(value="99")]))
    assert rows["value"].to_pylist() == [99_000.0]
    assert tally.counts == {RULE_REPEATED: 2, RULE_CONTRADICTED: 1}


def test_documents_nobody_dates_and_lines_that_cannot_be_are_counted(feed_run):
    content = packed(
        index=[
            document(),
            document(received="2023-08-12"),
            document(cnpj=TWO, received="2023-06-01"),
            "broken line",
        ],
        BPA_con=[balance(), balance(version=2), balance(cnpj=TWO), balance() + ";more", balance("2", end="2023-09-30")],
    )
    rows, tally = facts(feed_run, content)
    assert rows.num_rows == 1
    # the later of two days of receipt: nothing is known too early
    assert rows["known_at"][0].as_py() == datetime.datetime(2023, 8, 13, tzinfo=SAO_PAULO)
    assert tally.rows == 5
    assert tally.counts == {
        RULE_INDEX_REPEATED: 1,
        RULE_TOO_EARLY: 1,
        RULE_WIDTH: 2,
        RULE_UNDATED: 2,
        RULE_AHEAD: 1,
    }


def test_share_counts_are_facts_of_the_day_of_reference(feed_run):
    line = f"{ONE};2023-06-30;1;EMPRESA;100;200;300;10;20;30"
    rows, _ = facts(feed_run, packed(index=[document()], composicao_capital=[line]))
    assert rows["field"].to_pylist()[0] == "capital/QT_ACAO_ORDIN_CAP_INTEGR"
    assert rows["value"].to_pylist() == [100.0, 200.0, 300.0, 10.0, 20.0, 30.0]
    assert set(rows["unit"].to_pylist()) == {"shares"}


def test_only_the_companies_asked_for_are_read(feed_run):
    content = packed(index=[document(), document(cnpj=TWO)], BPA_con=[balance(), balance(cnpj=TWO)])
    rows, _ = facts(feed_run, content, companies=TWO)
    assert rows["symbol"].to_pylist() == ["22222222000122"]
    with pytest.raises(ValueError, match="companies must be CNPJs of 14 digits"):
        facts(feed_run, content, companies="PETR4")


def test_years_and_kinds_are_venues_of_their_own(tmp_path):
    content = packed(
        "dfp",
        2022,
        index=[document(refer="2022-12-31", received="2023-03-01")],
        BPA_con=[balance(refer="2022-12-31", end="2022-12-31")],
    )
    path = tmp_path / "dfp_cia_aberta_2022.zip"
    path.write_bytes(content)
    (batch,) = CVM.read((path,), Tally(), {})
    assert batch.venue == "CVM_DFP_2022"
    assert batch.rows["source"].to_pylist() == ["DFP 2022-12-31 v1"]


def test_a_zip_is_recognised_by_its_member_and_header(tmp_path):
    assert CVM.recognises(RawHead(tmp_path, "itr_cia_aberta_parecer_2023.csv", b"CNPJ_CIA;DENOM_CIA"))
    assert CVM.recognises(RawHead(tmp_path, "dfp_cia_aberta_DRE_con_2023.csv", SPAN.encode()))
    assert not CVM.recognises(RawHead(tmp_path, "dfp_cia_aberta_DRE_con_2023.csv", b"<html>"))
    assert not CVM.recognises(RawHead(tmp_path, "cad_cia_aberta.csv", b"CNPJ_CIA;DENOM_SOCIAL"))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (packed(BPA_con=[balance()]), "lacks CVM's index of documents"),
        (packed(index=[document(received="today")], BPA_con=[]), "DT_RECEB must be a date"),
        (
            packed(index=[document()], BPA_con=[balance(value="1,5")]),
            r"VL_CONTA must be a number; was '1,5' in the doc",
        ),
        (packed(index=[document()], BPA_con=[balance(value="nan")]), "VL_CONTA must be a number"),
        (packed(index=[document()], BPA_con=[balance(value="9" * 30)]), "VL_CONTA must be a number"),
        (packed(index=[document()], BPA_con=[balance(scale="DUZIA")]), "ESCALA_MOEDA must be one of UNIDADE, MIL"),
        (packed(index=[document()], BPA_con=[balance(order="PRIMEIRO")]), "ORDEM_EXERC must be"),
        (packed(index=[document()], BPA_con=[balance(end="2023-06-31")]), "DT_FIM_EXERC must be a date"),
        (packed(index=[document()], BPA_con=[balance(account="x")]), "CD_CONTA must be an account"),
        (packed(index=[document()], BPA_con=[balance(cnpj="1")]), "CNPJ_CIA must be a CNPJ"),
        (packed(index=[document()], BPA_con=["x" * (9 << 20)]), "is no CSV file of CVM"),
        (packed(index=[document()], BPA_con=[balance()])[:-40], "damaged zip"),
    ],
)
def test_what_cannot_be_is_refused(feed_run, content, words):
    with pytest.raises(DataError, match=words):
        facts(feed_run, content)


def test_a_statement_without_a_column_is_refused(feed_run):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("itr_cia_aberta_2023.csv", f"{INDEX}\n{document()}\n".encode("latin-1"))
        archive.writestr("itr_cia_aberta_BPA_con_2023.csv", f"{MOMENT.replace('VL_CONTA', 'VALOR')}\n".encode())
    with pytest.raises(DataError, match=r"itr_cia_aberta_BPA_con_2023\.csv is no CSV file of CVM .*VL_CONTA"):
        facts(feed_run, out.getvalue())


def stored(*members):
    """A zip without compression, whose damaged bytes reach the parser (its checksums are made to fit)."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return out.getvalue()


@given(st.data())
@settings(max_examples=100)
def test_damaged_files_give_one_error_or_facts_that_can_be(feed_run, data):
    index = f"{INDEX}\r\n{document()}\r\n{document(version=2, received='2023-09-01')}\r\n".encode("latin-1")
    rows = f"{SPAN}\r\n{income()}\r\n{income('3.99', '0.5', version=2)}\r\n".encode("latin-1")
    which = data.draw(st.sampled_from(["index", "rows", "zip"]))
    if which == "index":
        index = data.draw(feed_run.damage(index))
    elif which == "rows":
        rows = data.draw(feed_run.damage(rows))
    content = stored(("itr_cia_aberta_2023.csv", index), ("itr_cia_aberta_DRE_con_2023.csv", rows))
    if which == "zip":
        content = data.draw(feed_run.damage(content))
    feed_run.survives(CVM, "itr_cia_aberta_2023.zip", content)


def test_many_rows_come_in_bounded_batches_and_equal_a_plain_reading(feed_run, tmp_path):
    lines = [income(f"3.{number % 90 + 1:02d}.{number // 90:03d}", f"{number}.5") for number in range(70_000)]
    path = tmp_path / "itr_cia_aberta_2023.zip"
    path.write_bytes(packed(index=[document()], DRE_con=lines))
    batches = list(CVM.read((path,), Tally(), {}))
    assert [batch.rows.num_rows for batch in batches] == [65_536, 4_464]
    rows = pa.concat_tables(batch.rows for batch in batches)
    expected = {f"DRE_con/{line.split(';')[11]}/3m": float(Decimal(line.split(";")[13]) * 1000) for line in lines}
    assert dict(zip(rows["field"].to_pylist(), rows["value"].to_pylist(), strict=True)) == expected
