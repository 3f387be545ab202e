from __future__ import annotations

import datetime
import json
import os
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_pipeline.errors import DataError
from data_pipeline.feeds.reading import RawHead
from data_pipeline.feeds.reference.issuers import ISSUERS, RULE_FILE_TIME, RULE_NO_CODE, RULE_REPEATED

SAO_PAULO = ZoneInfo("America/Sao_Paulo")
RECORD = {
    "issuingCompany": "AAAA",
    "companyName": "EXAMPLE S.A.",
    "tradingName": "EXAMPLE ",
    "cnpj": "1111111000111",
    "industryClassification": "Consumo não Cíclico / Bebidas / Cervejas e Refrigerantes",
    "status": "A",
    "code": "AAAA3",
    "codeCVM": "23264",
    "lastDate": "06/06/2022 23:05:06",
    "otherCodes": [{"code": "AAAA3", "isin": "BRAAAAACNOR1"}, {"code": "AAAA4", "isin": None}],
}
HEADER = "CNPJ_CIA;DENOM_SOCIAL;DENOM_COMERC;DT_REG;DT_CANCEL;SIT;CD_CVM;SETOR_ATIV;TP_MERC"
LINES = [
    "11.111.111/0001-11;EXEMPLO AÇÚCAR S.A.;EXEMPLO;2000-01-01;;ATIVO;1023;Bancos;BOLSA",
    "22.222.222/0001-22;SAIU S.A.;;2000-01-01;2015-06-30;CANCELADA;4170;;",
]


def details(**values):
    return json.dumps(RECORD | values, ensure_ascii=False).encode()


def register(*lines, header=HEADER):
    return "\r\n".join([header, *lines, ""]).encode("latin-1")


def test_a_record_tells_each_paper_of_a_company_from_when_it_was_written(feed_run):
    tables, tally = feed_run.read(ISSUERS, {"GetDetailsCompany.json": details()})
    first, second = tables["issuers"].to_pylist()
    known = datetime.datetime(2022, 6, 6, 23, 5, 6, tzinfo=SAO_PAULO)
    assert first == {
        "known_on": known.astimezone(datetime.UTC).date(),
        "known_at": known,
        "symbol": "AAAA3",
        "issuer": "AAAA",
        "isin": "BRAAAAACNOR1",
        "name": "EXAMPLE S.A.",
        "trading_name": "EXAMPLE",
        "cnpj": "01111111000111",
        "cvm_code": "23264",
        "sector": "Consumo não Cíclico",
        "subsector": "Bebidas",
        "segment": "Cervejas e Refrigerantes",
        "active": True,
    }
    assert (second["symbol"], second["isin"]) == ("AAAA4", None)
    assert (tally.rows, tally.counts) == (2, {})


def test_papers_without_a_code_are_counted_and_the_own_code_serves_without_a_list(feed_run):
    tables, tally = feed_run.read(ISSUERS, {"d.json": details(otherCodes=[{"code": None}, {"code": "AAAA3"}])})
    assert tables["issuers"]["symbol"].to_pylist() == ["AAAA3"]
    assert tally.counts == {RULE_NO_CODE: 1}
    tables, _ = feed_run.read(ISSUERS, {"d.json": details(otherCodes=None)})
    assert tables["issuers"]["symbol"].to_pylist() == ["AAAA3"]


def test_the_register_tells_companies_by_their_number(feed_run):
    tables, tally = feed_run.read(ISSUERS, {"cad_cia_aberta_20240131.csv": register(*LINES)})
    first, second = tables["issuers"].to_pylist()
    assert (first["symbol"], first["name"], first["sector"]) == ("11111111000111", "EXEMPLO AÇÚCAR S.A.", "Bancos")
    assert (first["active"], second["active"], second["sector"]) == (True, False, None)
    assert first["known_at"] == datetime.datetime(2024, 2, 1, tzinfo=SAO_PAULO)
    assert (tally.rows, tally.counts) == (2, {})


def test_of_a_company_told_several_times_the_active_one_holds(feed_run):
    again = LINES[0].replace("ATIVO", "CANCELADA")
    tables, tally = feed_run.read(ISSUERS, {"cad_2024-01-31.csv": register(LINES[0], again, LINES[1], LINES[1])})
    assert tables["issuers"]["active"].to_pylist() == [True, False]
    assert tally.counts == {RULE_REPEATED: 2}


def test_without_a_date_the_file_is_known_from_its_own_time_of_change(feed_run, tmp_path):
    path = tmp_path / "cad_cia_aberta.csv"
    path.write_bytes(register(*LINES))
    os.utime(path, (1_700_000_000, 1_700_000_000))
    tables, tally = feed_run.drain(ISSUERS, [path])
    assert tables["issuers"]["known_at"][0].as_py().timestamp() == 1_700_000_000
    assert tally.counts == {RULE_FILE_TIME: 1}
    tables, tally = feed_run.drain(ISSUERS, [path], known_at="2023-03-01")
    assert tables["issuers"]["known_at"][0].as_py() == datetime.datetime(2023, 3, 2, tzinfo=SAO_PAULO)
    assert tally.counts == {}


def test_both_are_recognised_by_their_content(tmp_path):
    assert ISSUERS.recognises(RawHead(tmp_path, "x", details()))
    assert ISSUERS.recognises(RawHead(tmp_path, "x", register(*LINES)))
    assert not ISSUERS.recognises(RawHead(tmp_path, "x", b'{"page": 1}'))
    assert not ISSUERS.recognises(RawHead(tmp_path, "x", b"CNPJ_CIA;DT_REFER;VERSAO\n"))


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("d.json", details(companyName=None), "issuingCompany and companyName must be text"),
        ("d.json", details(lastDate="2022-06-06"), "lastDate must be a time dd/mm/yyyy"),
        ("d.json", details(lastDate="31/02/2022 00:00:00"), "lastDate must be a time"),
        ("d.json", details(cnpj="123456789012345"), "a CNPJ must have up to 14 digits"),
        ("d.json", details(otherCodes=[{"code": "AAAA3", "isin": "x"}]), "a paper must have a code and an ISIN"),
        ("d.json", details()[:-9], "is no JSON"),
        ("d.json", b"[1]", "must be B3's record of a company"),
        ("cad_20240131.csv", register(header=HEADER.replace("SIT", "S")), "lacks the column SIT"),
        ("cad_20240131.csv", register(LINES[0] + ";x"), "line 2: must have 9 columns; has 10"),
        ("cad_20240131.csv", register(LINES[0].replace("11.111", "x")), "line 2: a CNPJ must have"),
        ("cad_20240131.csv", register(), "has no companies"),
        ("cad_20241331.csv", register(*LINES), "the day in the name must be a date"),
        ("cad_20240131.csv", b" ", "is empty"),
    ],
)
def test_what_cannot_be_is_refused(feed_run, name, content, words):
    with pytest.raises(DataError, match=words):
        feed_run.read(ISSUERS, {name: content})


@given(st.data())
@settings(max_examples=80)
def test_damaged_files_give_one_error_or_rows_that_can_be(feed_run, data):
    name, content = data.draw(st.sampled_from([("d.json", details()), ("cad_20240131.csv", register(*LINES))]))
    feed_run.survives(ISSUERS, name, data.draw(feed_run.damage(content)))


@pytest.mark.realdata
def test_the_real_record_is_read(feed_run, realdata):
    path = realdata / "corporate_actions" / "GetDetailsCompany.json"
    raw = json.loads(path.read_text(encoding="utf-8"))
    (row,) = feed_run.drain(ISSUERS, [path])[0]["issuers"].to_pylist()
    assert row["symbol"] == raw["code"]
    assert row["isin"] == raw["otherCodes"][0]["isin"]
    assert " / ".join([row["sector"], row["subsector"], row["segment"]]) == raw["industryClassification"]
    assert f"{row['known_at'].astimezone(SAO_PAULO):%d/%m/%Y %H:%M:%S}" == raw["lastDate"]
