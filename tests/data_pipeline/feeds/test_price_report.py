"""Price reports built tag by tag in B3's layout, and the real one against a reading by another parser."""

from __future__ import annotations

import collections
import datetime
import gzip
import io
import xml.etree.ElementTree
import zipfile

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data_pipeline.errors import DataError
from data_pipeline.feeds.reading import RawHead
from data_pipeline.feeds.reference.price_report import (
    PRICE_REPORT,
    RULE_CONTRADICTED,
    RULE_OLD_VERSIONS,
    RULE_OTHER_SESSION,
    RULE_REPEATED,
    RULE_TEST,
)

PRICES = {"BestBidPric", "LastPric", "AdjstdQt", "PrvsAdjstdQt", "MaxTradLmt", "NtlFinVol"}


def instrument(symbol="AAAA3", day="2018-01-02", made="2018-01-02T22:43:42Z", days=None, currency="BRL", **figures):
    term = "" if days is None else f"<DaysToSttlm>{days}</DaysToSttlm>"
    count = figures.pop("TradQty", None)
    trades = "<TradDtls />" if count is None else f"<TradDtls>{term}<TradQty>{count}</TradQty></TradDtls>"
    inside = "".join(
        f'<{tag} Ccy="{currency}">{value}</{tag}>' if tag in PRICES else f"<{tag}>{value}</{tag}>"
        for tag, value in figures.items()
    )
    return (
        f"<BizGrp><AppHdr><CreDt>{made}</CreDt></AppHdr><Document><PricRpt><TradDt><Dt>{day}</Dt></TradDt>"
        f"<SctyId><TckrSymb>{symbol}</TckrSymb></SctyId><FinInstrmId><OthrId><Id>1</Id></OthrId></FinInstrmId>"
        f"{trades}<FinInstrmAttrbts>{inside}</FinInstrmAttrbts></PricRpt></Document></BizGrp>\n"
    )


def report(*instruments, created="2018-01-02T20:43:42", count=None, kind="BVBG.086.01", head="utf-8"):
    told = len(instruments) if count is None else count
    return (
        f'<?xml version="1.0" encoding="{head}"?><Document xmlns="urn:bvmf.052.01.xsd"><BizFileHdr><Xchg><BizGrpDesc>'
        f"<BizGrpDtls><TtlNbOfMsg>{told}</TtlNbOfMsg><BizGrpTp>{kind}</BizGrpTp><CreDtAndTm>{created}</CreDtAndTm>"
        f"</BizGrpDtls></BizGrpDesc>{''.join(instruments)}</Xchg></BizFileHdr></Document>"
    ).encode(head)


def zipped(**members):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name.replace("__", "."), content)
    return packed.getvalue()


FUTURE = {
    "TradQty": 7,
    "FinInstrmQty": "20",
    "LastPric": "3271",
    "AdjstdQt": "3270.387",
    "AdjstdQtStin": "F",
    "PrvsAdjstdQt": "3315.727",
    "OscnPctg": "-1.34",
    "VartnPts": "-45.34",
    "AdjstdValCtrct": "-2267",
    "MaxTradLmt": "3514.5",
}


def test_an_instrument_becomes_a_row_and_absent_figures_are_null(feed_run):
    tables, tally = feed_run.read(PRICE_REPORT, {"r.xml": report(instrument("DOLG18", **FUTURE), instrument("XXXX4"))})
    full, empty = tables["price_reports"].to_pylist()
    assert full["session"] == datetime.date(2018, 1, 2)
    assert full["known_at"].isoformat() == "2018-01-02T22:43:42+00:00"
    assert (full["trades"], full["quantity"], full["close"], full["currency"]) == (7, 20.0, 3271.0, "BRL")
    assert (full["settlement"], full["previous_settlement"], full["settlement_state"]) == (3270.387, 3315.727, "F")
    assert full["oscillation"] == -0.0134
    assert full["settlement_value"] == -2267.0
    assert {value for key, value in empty.items() if key not in ("session", "symbol", "known_at")} == {None}
    assert tally.rows == 2
    assert tally.counts == {}


def test_futures_of_a_report_are_settlements_too(feed_run):
    rows = report(
        instrument("DOLG18", **FUTURE), instrument("DOLF18C003275", **FUTURE), instrument("PETRG21", AdjstdQt=1)
    )
    (row,) = feed_run.read(PRICE_REPORT, {"r.xml": rows})[0]["settlements"].to_pylist()
    assert row == {
        "session": datetime.date(2018, 1, 2),
        "symbol": "DOLG18",
        "root": "DOL",
        "maturity": "G18",
        "expiry": datetime.date(2018, 2, 1),
        "settlement": 3270.387,
        "previous": 3315.727,
        "change": -45.34,
        "value": 2267.0,
    }


def test_a_forward_has_a_row_per_term(feed_run):
    rows = report(*(instrument("AAAA3T", days=days, TradQty=1, LastPric="2.5") for days in (30, 60, 90)))
    table = feed_run.read(PRICE_REPORT, {"r.xml": rows})[0]["price_reports"]
    assert table["forward_days"].to_pylist() == [30, 60, 90]


def test_rows_of_another_session_repeated_rows_and_test_instruments_are_left_out_and_counted(feed_run):
    rows = report(
        instrument("AAAA3", LastPric="10"),
        instrument("BBBB3", LastPric="20"),
        instrument("BBBB3", LastPric="20"),
        instrument("CCCC3", LastPric="30"),
        instrument("CCCC3", LastPric="31", made="2018-01-02T22:50:00Z"),
        instrument("CCCC3", LastPric="29", made="2018-01-02T22:40:00Z"),
        instrument("DOLG18", day="2018-01-03", LastPric="40"),
        instrument("TF583R", LastPric="50"),
        instrument("TFOF11", LastPric="60"),
    )
    tables, tally = feed_run.read(PRICE_REPORT, {"r.xml": rows})
    closes = dict(zip(*(tables["price_reports"][name].to_pylist() for name in ("symbol", "close")), strict=True))
    assert closes == {"AAAA3": 10.0, "BBBB3": 20.0, "CCCC3": 31.0, "TFOF11": 60.0}
    assert tally.counts == {RULE_OTHER_SESSION: 1, RULE_TEST: 1, RULE_REPEATED: 3, RULE_CONTRADICTED: 2}


def test_of_several_versions_in_a_zip_of_zips_the_newest_holds(feed_run):
    old = report(instrument(LastPric="1"), created="2018-01-02T19:00:00")
    new = report(instrument(LastPric="2"), created="2018-01-02T21:00:00")
    inner = zipped(a__xml=new, b__xml=old, readme__txt=b"text")
    tables, tally = feed_run.read(PRICE_REPORT, {"PR180102.zip": zipped(PR180102__zip=inner)})
    assert tables["price_reports"]["close"].to_pylist() == [2.0]
    assert tally.counts == {RULE_OLD_VERSIONS: 1}


def test_a_damaged_newest_version_is_told_as_such(feed_run):
    old = report(instrument(LastPric="1"), created="2018-01-02T19:00:00")
    new = report(instrument(LastPric="2"), created="2018-01-02T21:00:00")[:-200]
    with pytest.raises(
        DataError, match=r"a\.xml is no whole XML file .*newest of 2 versions: to use an older one, take"
    ):
        feed_run.read(PRICE_REPORT, {"PR180102.zip": zipped(PR180102__zip=zipped(a__xml=new, b__xml=old))})


def test_rows_of_a_later_session_are_never_the_reports_own_however_many(feed_run):
    """A day with few or no rows of its own: its evening's rows would else pass for the next day's report."""
    evening = [instrument(f"AAAA{number}", day="2018-01-03", LastPric="10") for number in range(5)]
    tables, tally = feed_run.read(PRICE_REPORT, {"r.xml": report(instrument("BBBB3", LastPric="20"), *evening)})
    assert tables["price_reports"]["symbol"].to_pylist() == ["BBBB3"]
    assert tally.counts == {RULE_OTHER_SESSION: 5}
    with pytest.raises(DataError, match=r"made on 2018-01-02 and has only trades of later sessions \(2018-01-03\)"):
        feed_run.read(PRICE_REPORT, {"r.xml": report(*evening)})


def test_a_report_that_tells_everything_twice_is_read_once(feed_run):
    rows = [instrument(f"AAAA{number}", LastPric=str(number)) for number in range(2_000)]
    tables, tally = feed_run.read(PRICE_REPORT, {"r.xml": report(*rows, *rows)})
    assert tables["price_reports"]["close"].to_pylist() == [float(number) for number in range(2_000)]
    assert tally.counts == {RULE_REPEATED: 2_000}


@pytest.mark.parametrize(("said", "value"), [("0E-8", 0.0), ("1.5E+3", 1500.0), ("-2.5e-3", -0.0025), ("1E-10", 1e-10)])
def test_numbers_with_an_exponent_are_read(feed_run, said, value):
    tables, _ = feed_run.read(PRICE_REPORT, {"r.xml": report(instrument(AdjstdValCtrct=said, OscnPctg=said))})
    (row,) = tables["price_reports"].to_pylist()
    assert (row["settlement_value"], row["oscillation"]) == (value, pytest.approx(value / 100, rel=1e-15))


@pytest.mark.parametrize("head", ["utf-8", "latin-1", "utf-8-sig", "utf-16"])
def test_other_encodings_and_a_byte_order_mark_read_the_same(feed_run, head):
    content = report(instrument(LastPric="2.5"), head="utf-8" if head == "utf-8-sig" else head)
    content = b"\xef\xbb\xbf" + content if head == "utf-8-sig" else content
    assert feed_run.read(PRICE_REPORT, {"r.xml": content})[0]["price_reports"]["close"].to_pylist() == [2.5]


def test_a_gzip_is_read_and_recognised_by_its_content(feed_run, tmp_path):
    content = report(instrument(LastPric="2.5"))
    assert feed_run.read(PRICE_REPORT, {"r.xml.gz": gzip.compress(content)})[0]["price_reports"].num_rows == 1
    assert PRICE_REPORT.recognises(RawHead(tmp_path, "x", content[:4096]))
    assert not PRICE_REPORT.recognises(RawHead(tmp_path, "PR180102.zip", b"<html><body>captcha"))
    assert not PRICE_REPORT.recognises(RawHead(tmp_path, "x", report(kind="BVBG.028.02")))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (report(instrument(), count=2), "says that it has 2 messages and has 1: it is cut"),
        (report(instrument())[:-200], "is no whole XML file"),
        (report(instrument(LastPric="1,5")), "line 1: LastPric must be a number like -1234.56; was '1,5'"),
        (report(instrument(LastPric="NaN")), "LastPric must be a number"),
        (report(instrument(LastPric="9" * 16)), "LastPric must be a number"),
        (report(instrument(LastPric="9" * 300)), "LastPric is longer than 256 characters"),
        (report(instrument(TradQty="1.5")), "TradQty must be a whole number"),
        (report(instrument(FinInstrmQty="-1")), "FinInstrmQty must be 0 or more"),
        (report(instrument(day="2018-02-30")), "TradDt must be a date"),
        (report(instrument(made="yesterday")), "CreDt must be a time"),
        (report(instrument(made="2017-01-02T22:43:42Z")), "no earlier than a week before the session"),
        (report(instrument(symbol="aa$")), "TckrSymb must be capital letters and digits"),
        (report(instrument(symbol="")), "without TckrSymb"),
        (report(instrument(currency="R$", LastPric="1")), "Ccy must be three letters"),
        (report(), "has no instruments"),
        (report(instrument(), kind="BVBG.028.02"), "holds no price report"),
        (b"<html><body>Request Rejected</body></html>", "holds no price report"),
        (
            report(instrument()).replace(b"<Document ", b'<!DOCTYPE d [<!ENTITY a "aaaa">]><Document ', 1),
            "declares a document type",
        ),
        (report(instrument()).replace(b"<SctyId>", b"<a>" * 80 + b"</a>" * 80 + b"<SctyId>"), "more than 64 deep"),
        (report(instrument()).replace(b"<SctyId>", b"<" + b"a" * (3 << 20) + b"/><SctyId>"), "a tag or text longer"),
        (report("<PricRpt><PricRpt></PricRpt></PricRpt>"), "a PricRpt inside a PricRpt"),
        (report(instrument(LastPric="1").replace("</Dt>", "</Dt><Dt>2018-01-02</Dt>")), "Dt is given twice"),
    ],
)
def test_a_report_that_cannot_be_is_refused(feed_run, content, words):
    with pytest.raises(DataError, match=words):
        feed_run.read(PRICE_REPORT, {"r.xml": content})


WHOLE = report(
    instrument("DOLG18", **FUTURE), instrument("AAAA3T", days=30, TradQty=1, LastPric="2.5"), instrument("TF583R")
)


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_damaged_reports_give_one_error_or_rows_that_can_be(feed_run, data):
    feed_run.survives(PRICE_REPORT, "r.xml", data.draw(feed_run.damage(WHOLE)))


@settings(max_examples=40)
@given(st.data())
def test_damaged_zips_of_reports_give_one_error_or_rows_that_can_be(feed_run, data):
    feed_run.survives(PRICE_REPORT, "r.zip", data.draw(feed_run.damage(zipped(PR__zip=zipped(a__xml=WHOLE)))))


@pytest.mark.realdata
def test_the_real_report_has_the_figures_that_a_tree_parser_finds(feed_run, realdata):
    path = realdata / "reference" / "BVBG086_PriceReport_20180102.xml.gz"
    tables, tally = feed_run.drain(PRICE_REPORT, [path])
    assert tally.rows == 9261
    assert tally.counts == {RULE_OTHER_SESSION: 6}
    rows = {(row["symbol"], row["forward_days"]): row for row in tables["price_reports"].to_pylist()}
    assert len(rows) == 9255
    dollar = rows["DOLG18", None]
    assert (dollar["settlement"], dollar["previous_settlement"]) == (3270.387, 3315.727)
    space = "{urn:bvmf.217.01.xsd}"
    names = {"LastPric": "close", "AdjstdQt": "settlement", "NtlFinVol": "traded_value", "OpnIntrst": "open_interest"}
    seen = collections.Counter()
    with gzip.open(path) as stream:
        for _, element in xml.etree.ElementTree.iterparse(stream):
            if element.tag == f"{space}PricRpt" and element.findtext(f".//{space}Dt") == "2018-01-02":
                days = element.findtext(f".//{space}DaysToSttlm")
                row = rows[element.findtext(f".//{space}TckrSymb"), days and int(days)]
                for tag, name in names.items():
                    text = element.findtext(f".//{space}{tag}")
                    assert row[name] == (None if text is None else float(text))
                    seen[tag] += text is not None
                oscillation = element.findtext(f".//{space}OscnPctg")
                assert row["oscillation"] == (None if oscillation is None else pytest.approx(float(oscillation) / 100))
                element.clear()
    assert min(seen.values()) > 300
    # B3 settles the small contracts at the price of the large ones
    futures = {(row["root"], row["maturity"]): row for row in tables["settlements"].to_pylist()}
    pairs = [
        (futures["WDO", maturity], row)
        for (root, maturity), row in futures.items()
        if root == "DOL" and ("WDO", maturity) in futures
    ]
    assert len(pairs) > 10
    assert all(small["settlement"] == large["settlement"] for small, large in pairs)
