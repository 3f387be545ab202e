"""Addresses by the venues' own rules, and answers that are not what was asked for."""

from __future__ import annotations

import base64
import datetime as dt
import json

import pytest

from data_pipeline.feeds.crypto.binance_dump import BINANCE_DUMP
from data_pipeline.feeds.reading import RawHead
from data_pipeline.fetching import sources

DAY = dt.date(2024, 7, 3)


def test_addresses_are_those_of_the_venues():
    names = [item.url.rpartition("/")[2] for item in sources.cotahist([2023], ["2024-01"], [DAY])]
    assert names == ["COTAHIST_A2023.ZIP", "COTAHIST_M012024.ZIP", "COTAHIST_D03072024.ZIP"]
    assert next(sources.b3_trades([DAY])).url.endswith("/rapinegocios/tickercsv/2024-07-03")
    assert next(sources.price_reports([DAY])).url.endswith("filelist=PR240703.zip")
    assert next(sources.cvm([2023], ["ITR"])).url.endswith("/DOC/ITR/DADOS/itr_cia_aberta_2023.zip")
    dump = next(sources.binance(["BTCUSDT"], [DAY], "trades"))
    assert dump.url.endswith("/data/futures/um/daily/trades/BTCUSDT/BTCUSDT-trades-2024-07-03.zip")
    assert dump.checksum_url == f"{dump.url}.CHECKSUM"


def test_company_arguments_are_packed_as_the_service_wants_them():
    item = next(sources.company(["ABEV"]))
    packed = item.url.rpartition("/")[2]
    assert json.loads(base64.b64decode(packed)) == {"issuingCompany": "ABEV", "language": "pt-br"}
    answer = [{"codeCVM": "23264", "tradingName": "AMBEV S/A   ", "cashDividends": []}]
    assert item.follow is not None
    details, dividends = item.follow(json.dumps(answer).encode())
    assert json.loads(base64.b64decode(details.url.rpartition("/")[2]))["codeCVM"] == "23264"
    assert json.loads(base64.b64decode(dividends.url.rpartition("/")[2]))["tradingName"] == "AMBEV S/A"
    arguments = json.loads(base64.b64decode(dividends.url.rpartition("/")[2]))
    assert (arguments["pageNumber"], arguments["pageSize"]) == (1, 9999)


def test_a_long_series_is_asked_for_in_spans_that_later_requests_share():
    asked = list(sources.sgs([12], dt.date(2005, 3, 1), dt.date(2024, 7, 3)))
    assert [item.target for item in asked] == [
        "sgs/sgs_12_2005-03-01_2009-12-31.json",
        "sgs/sgs_12_2010-01-01_2019-12-31.json",
        "sgs/sgs_12_2020-01-01_2024-07-03.json",
    ]
    assert asked[1].url.endswith("bcdata.sgs.12/dados?formato=json&dataInicial=01/01/2010&dataFinal=31/12/2019")
    later = [item.target for item in sources.sgs([12], dt.date(2005, 3, 1), dt.date(2024, 7, 4))]
    assert [item.target for item in asked][:2] == later[:2]


@pytest.mark.parametrize(
    "body",
    [
        "[]x",
        '{"error": "O sistema aceita 10 anos"}',
        '[{"data": "01/01/2020"}]',
        "<Envelope/>",
        "",
        "null",
        "[1]",
        "[]",
    ],
)
def test_answers_of_the_series_service_that_are_no_series(tmp_path, body):
    path = tmp_path / "answer"
    path.write_text(body)
    item = next(sources.sgs([12], dt.date(2020, 1, 1), dt.date(2020, 2, 1)))
    assert item.check(path) is not None
    path.write_text('[{"data": "02/01/2020", "valor": "0.017089"}]')
    assert item.check(path) is None


@pytest.mark.parametrize(
    "body", ["[]", "{}", "null", '{"results": [], "page": null}', '{"results": [], "page": {"totalPages": null}}']
)
def test_answers_that_are_no_list_of_dividends(tmp_path, body):
    path = tmp_path / "answer"
    path.write_text(body)
    supplement = next(sources.company(["ABEV"]))
    assert supplement.follow is not None
    _, dividends = supplement.follow(b'[{"codeCVM": 1, "tradingName": "AMBEV S/A"}]')
    assert dividends.check(path) == "holds no list of dividends"


ROWS = {
    "aggTrades": b"1,2.0,3.0,4,5,1720000000000,true\n",
    "trades": b"1,2.0,3.0,6.0,1720000000000,true\n",
    "bookTicker": b"1,2.0,3.0,2.1,3.0,1720000000000,1720000000001\n",
}


@pytest.mark.parametrize("kind", sources.KINDS)
def test_every_dump_that_is_fetched_has_a_reader(tmp_path, kind):
    name = next(sources.binance(["BTCUSDT"], [DAY], kind)).target.rpartition("/")[2]
    assert BINANCE_DUMP.recognises(RawHead(tmp_path / name, name.replace(".zip", ".csv"), ROWS[kind]))


def test_one_page_of_several_is_not_the_history(tmp_path):
    supplement = next(sources.company(["ABEV"]))
    assert supplement.follow is not None
    _, dividends = supplement.follow(b'[{"codeCVM": 1, "tradingName": "AMBEV S/A"}]')
    path = tmp_path / "answer"
    path.write_text('{"page": {"totalPages": 3}, "results": []}')
    assert "is page 1 of 3" in str(dividends.check(path))
    path.write_text('{"page": {"totalPages": 1}, "results": []}')
    assert dividends.check(path) is None


@pytest.mark.parametrize("body", ["[]", "{}", '""', '[{"codeCVM": "1"}]'])
def test_an_unknown_issuer_is_told(tmp_path, body):
    path = tmp_path / "answer"
    path.write_text(body)
    assert "names no company" in str(next(sources.company(["XXXX"])).check(path))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: sources.company(["../x"]), "issuer must be"),
        (lambda: sources.binance(["btc/../x"], [DAY], "trades"), "symbol must be"),
        (lambda: sources.binance(["BTCUSDT"], [DAY], "candles"), "kind must be"),
        (lambda: sources.binance(["BTCUSDT"], [DAY], "trades", "moon"), "market must be"),
        (lambda: sources.sgs([0], DAY, DAY), "series must be"),
        (lambda: sources.sgs([12], DAY, dt.date(2020, 1, 1)), "end must be start"),
        (lambda: sources.cotahist([1900]), "year must be"),
        (lambda: sources.cotahist(months=["2023-13"]), "month must be"),
        (lambda: sources.cvm([2023], ["FRE"]), "documents must be"),
        (lambda: sources.address("ftp://x/y"), "url must be"),
        (lambda: sources.address("https://x.com/.hidden"), "url must be"),
        (lambda: sources.address("https://x.com/a.zip", "12"), "sha256 must be"),
    ],
)
def test_arguments_that_no_venue_has_are_refused(call, words):
    with pytest.raises(ValueError, match=words):
        list(call())
