from __future__ import annotations

import datetime
import json
import random

import pytest

from data_pipeline.errors import DataError
from data_pipeline.feeds.reference.company_feed import (
    CASH_KINDS,
    RIGHT_LABELS,
    RULE_NO_DATE,
    RULE_OTHER_PAPER,
    RULE_REPEATED,
    RULE_UNKNOWN_LABEL,
    RULE_UNMATCHED,
    STOCK_KINDS,
    Company,
    distinct_events,
    document_kind,
    merge_events,
    parse_cash_dividends,
    parse_details,
    parse_supplement,
)
from data_pipeline.schema import EVENT_SCHEMA

DAY = datetime.date
AAAA = Company("AAAA", "EXAMPLE S/A", {"AAAA3": "BRAAAAACNOR1", "AAAA4": "BRAAAAACNPR8", "AAAA11": "BRAAAACDAM15"})


def cash(**values):
    return {
        "assetIssued": "BRAAAAACNOR1",
        "paymentDate": "30/12/2021",
        "rate": "0,13340000000",
        "relatedTo": "Anual/2021",
        "approvedOn": "09/12/2021",
        "isinCode": "BRAAAAACNOR1",
        "label": "DIVIDENDO",
        "lastDatePrior": "17/12/2021",
        "remarks": "",
    } | values


def stock(**values):
    return {
        "assetIssued": "BRAAAAACNOR1",
        "factor": "100,00000000000",
        "approvedOn": "09/12/2021",
        "isinCode": "BRAAAAACNOR1",
        "label": "DESDOBRAMENTO",
        "lastDatePrior": "17/12/2021",
        "remarks": "",
    } | values


def supplement(cash_dividends=(), stock_dividends=(), subscriptions=()):
    lists = {"cashDividends": cash_dividends, "stockDividends": stock_dividends, "subscriptions": subscriptions}
    return [{"code": "AAAA", "tradingName": "EXAMPLE S/A"} | {name: list(records) for name, records in lists.items()}]


def listed(**values):
    return {
        "typeStock": "ON",
        "dateApproval": "09/12/2021",
        "valueCash": "0,1334",
        "ratio": "1",
        "corporateAction": "DIVIDENDO",
        "lastDatePriorEx": "17/12/2021",
        "quotedPerShares": "1",
    } | values


def history(*records, pages=1):
    return {"page": {"pageNumber": 1, "totalPages": pages}, "results": list(records)}


def test_a_dividend_keeps_its_dates_and_gross_cash():
    table = parse_supplement(supplement([cash()]), "s.json").table
    assert table.schema == EVENT_SCHEMA
    assert table.to_pylist() == [
        {
            "issuer": "AAAA",
            "isin": "BRAAAAACNOR1",
            "share_class": "ON",
            "label": "DIVIDENDO",
            "kind": "dividend",
            "approved_on": DAY(2021, 12, 9),
            "last_date_prior": DAY(2021, 12, 17),
            "payment_date": DAY(2021, 12, 30),
            "share_factor": 1.0,
            "cash": 0.1334,
            "withholding": 0.0,
            "feed": "supplement",
        }
    ]


@pytest.mark.parametrize(
    ("label", "kind", "withholding"),
    [
        ("JRS CAP PROPRIO", "jcp", 0.15),
        ("DIVIDENDO", "dividend", 0.0),
        ("REST CAP DIN", "capital_return", 0.0),
        ("RENDIMENTO", "income", 0.0),
        ("SOMETHING NEW", "other", 0.0),
    ],
)
def test_cash_labels_have_kinds_and_interest_on_capital_is_taxed(label, kind, withholding):
    (row,) = parse_supplement(supplement([cash(label=label)]), "s.json").table.to_pylist()
    assert (row["kind"], row["withholding"], row["cash"]) == (kind, withholding, 0.1334)


@pytest.mark.parametrize(
    ("label", "factor", "kind", "shares"),
    [
        ("DESDOBRAMENTO", "100,00000000000", "split", 2.0),
        ("DESDOBRAMENTO", "1.900,00", "split", 20.0),
        ("BONIFICACAO", "10,00000000000", "bonus", 1.1),
        ("GRUPAMENTO", "0,10000000000", "reverse_split", 0.1),
        ("INCORPORACAO", "55,12345678901", "merger", 1.0),
        ("CIS RED CAP", "18,00000000000", "spin_off", 1.0),
    ],
)
def test_share_factors_follow_the_meaning_of_the_label(label, factor, kind, shares):
    (row,) = parse_supplement(supplement((), [stock(label=label, factor=factor)]), "s.json").table.to_pylist()
    assert row["kind"] == kind
    assert row["share_factor"] == pytest.approx(shares, rel=1e-15)
    assert row["cash"] == 0.0


@pytest.mark.parametrize(
    ("isin", "share_class"),
    [("BRAAAAACNPR8", "PN"), ("BRAAAAACNPA3", "PNA"), ("BRAAAAACNPB1", "PNB"), ("BRAAAACDAM15", None)],
)
def test_the_share_class_is_read_from_the_isin(isin, share_class):
    (row,) = parse_supplement(supplement([cash(isinCode=isin)]), "s.json").table.to_pylist()
    assert row["share_class"] == share_class


def test_a_subscription_is_listed_and_changes_no_price():
    right = {k: v for k, v in stock(label="SUBSCRICAO").items() if k != "factor"} | {"percentage": "0,139"}
    (row,) = parse_supplement(supplement((), (), [right]), "s.json").table.to_pylist()
    assert (row["kind"], row["share_factor"], row["cash"]) == ("subscription", 1.0, 0.0)


def right(**values):
    record = {key: value for key, value in stock(label="SUBSCRICAO").items() if key != "factor"}
    return record | {"percentage": "0,13994090200", "priceUnit": "16,09000000000"} | values


@pytest.mark.parametrize(
    "label",
    # the labels of B3's service, as its answers give them
    [
        *("DIVIDENDO", "JRS CAP PROPRIO", "RENDIMENTO", "REST CAP DIN", "AT MONETARIA", "AMORTIZACAO RF", "JUROS RF"),
        *("DESDOBRAMENTO", "GRUPAMENTO", "BONIFICACAO", "CIS RED CAP", "INCORPORACAO", "RESG TOTAL RV"),
        *("REST CAP ACOES", "REST CAP C/ RED", "SUBSCRICAO", "PRIORIDADE SUBS", "SUBS C/ RENUNC"),
    ],
)
def test_every_label_of_the_service_has_a_kind_and_only_three_change_the_shares(label):
    lists = {
        "cash_dividends": [cash(label=label)] if label in CASH_KINDS else [],
        "stock_dividends": [stock(label=label, factor="10,0")] if label in STOCK_KINDS else [],
        "subscriptions": [right(label=label)] if label in RIGHT_LABELS else [],
    }
    found = parse_supplement(supplement(**lists), "s.json")
    (row,) = found.table.to_pylist()
    assert row["kind"] != "other"
    assert found.rule_counts == {}
    factors = {"DESDOBRAMENTO": 1.1, "BONIFICACAO": 1.1, "GRUPAMENTO": 10.0}
    assert row["share_factor"] == pytest.approx(factors.get(label, 1.0), rel=1e-15)


def test_a_bonus_in_another_paper_leaves_the_number_of_shares():
    other = stock(label="BONIFICACAO", factor="10,0", assetIssued="BRAAAAACNPR8")
    found = parse_supplement(supplement((), [other, stock(label="BONIFICACAO", factor="10,0")]), "s.json")
    assert sorted((row["kind"], row["share_factor"]) for row in found.table.to_pylist()) == [
        ("bonus", 1.1),
        ("bonus_in_other_paper", 1.0),
    ]
    assert found.rule_counts == {RULE_OTHER_PAPER: 1}


def test_an_unknown_label_is_kept_and_counted():
    found = parse_supplement(supplement([cash(label="NOVO")], (), [right(label="NOVO")]), "s.json")
    assert [row["kind"] for row in found.table.to_pylist()] == ["other", "other"]
    assert found.rule_counts == {RULE_UNKNOWN_LABEL: 2}


def test_a_subscription_without_numbers_is_refused():
    with pytest.raises(
        DataError, match=r"subscriptions record 0: priceUnit must be a number like 1\.234,56; was '16\.09'"
    ):
        parse_supplement(supplement((), (), [right(priceUnit="16.09")]), "s.json")


def test_unknown_dates_are_null_and_an_event_without_ex_date_is_counted():
    found = parse_supplement(supplement([cash(paymentDate="31/12/9999", approvedOn=""), cash(lastDatePrior="")]), "s")
    (row,) = found.table.to_pylist()
    assert row["payment_date"] is None
    assert row["approved_on"] is None
    assert found.rule_counts == {RULE_NO_DATE: 1}


def test_cash_of_the_history_is_per_share_and_matched_by_class():
    document = history(
        listed(valueCash="1.334,5", quotedPerShares="1.000"), listed(typeStock="PN"), listed(typeStock="PNE")
    )
    found = parse_cash_dividends(document, AAAA, "c.json")
    rows = {row["share_class"]: row for row in found.table.to_pylist()}
    assert rows["ON"]["cash"] == 1.3345
    assert rows["PN"]["isin"] == "BRAAAAACNPR8"
    assert rows["PNE"]["isin"] is None
    assert found.rule_counts == {RULE_UNMATCHED: 1}


def test_a_record_told_twice_in_a_file_is_joined_and_counted():
    found = parse_supplement(supplement([cash(), cash(), cash(rate="0,2")]), "s.json")
    assert found.table.num_rows == 2
    assert found.rule_counts == {RULE_REPEATED: 1}


def test_both_feeds_together_tell_each_event_once_and_keep_the_better_record():
    left = parse_supplement(supplement([cash(rate="0,01765432100"), cash(label="JRS CAP PROPRIO")]), "s.json").table
    right = parse_cash_dividends(
        history(listed(valueCash="0,0177"), listed(valueCash="0,5"), listed(typeStock="PN", valueCash="0,0177")),
        AAAA,
        "c.json",
    ).table
    rows = distinct_events(merge_events([left, right])).to_pylist()
    ordinary = [row["cash"] for row in rows if row["share_class"] == "ON" and row["kind"] == "dividend"]
    assert sorted(ordinary) == [0.017654321, 0.5]
    assert len(rows) == 4


def test_two_equal_instalments_stay_two_events_in_either_feed_and_in_both():
    instalments = [cash(paymentDate="30/05/2022"), cash(paymentDate="30/11/2022")]
    left = parse_supplement(supplement(instalments), "s.json").table
    right = parse_cash_dividends(history(listed(), listed()), AAAA, "c.json").table
    three = parse_cash_dividends(history(listed(), listed(), listed()), AAAA, "c.json").table
    for tables, count in (
        ([left], 2),
        ([right], 2),
        ([right, right], 2),
        ([left, right], 2),
        ([left, right, three], 3),
    ):
        union = merge_events(tables)
        assert distinct_events(union).num_rows == count
        assert distinct_events(merge_events([union, *tables])).num_rows == count


def test_the_order_of_files_does_not_change_the_union():
    tables = [
        parse_supplement(supplement([cash()], [stock()]), "s.json").table,
        parse_cash_dividends(history(listed(), listed(valueCash="0,5"), listed(typeStock="XX")), AAAA, "c").table,
        parse_supplement(supplement([cash(paymentDate="31/01/2022")]), "s.json").table,
    ]
    expected = merge_events(tables)
    shuffled = list(tables)
    for seed in range(6):
        random.Random(seed).shuffle(shuffled)
        assert merge_events(shuffled).equals(expected)
        assert merge_events([merge_events(shuffled[:2]), shuffled[2]]).equals(expected)


@pytest.mark.parametrize(
    ("record", "words"),
    [
        (cash(rate="0.1334.1"), r"cashDividends record 1: rate must be a number like 1\.234,56; was '0\.1334\.1'"),
        (cash(rate=None), "cashDividends record 1: rate must be text; was None"),
        (cash(rate="-0,1"), "rate must be a number"),
        (cash(approvedOn="2021-12-09"), "approvedOn must be a date dd/mm/yyyy; was '2021-12-09'"),
        (cash(lastDatePrior="31/02/2021"), "lastDatePrior must be a date"),
        (cash(isinCode=""), "isinCode must be text"),
        ({"label": "DIVIDENDO"}, "isinCode must be text; was None"),
        ("text", "cashDividends record 1: must be an object"),
    ],
)
def test_a_wrong_record_is_refused_with_its_list_and_index(record, words):
    with pytest.raises(DataError, match=words):
        parse_supplement(supplement([cash(), record]), "s.json")


def test_a_factor_of_zero_is_refused():
    with pytest.raises(DataError, match="stockDividends record 0: factor must be positive; was '0,00'"):
        parse_supplement(supplement((), [stock(label="GRUPAMENTO", factor="0,00")]), "s.json")


def test_cash_per_no_shares_is_refused():
    with pytest.raises(DataError, match="record 0: quotedPerShares must be positive"):
        parse_cash_dividends(history(listed(quotedPerShares="0")), AAAA, "c.json")


def test_one_page_of_several_is_refused():
    with pytest.raises(DataError, match="is page 1 of 2: ask for all records"):
        parse_cash_dividends(history(pages=2), AAAA, "c.json")


def test_details_give_the_codes_of_the_company():
    document = {
        "issuingCompany": "AAAA",
        "tradingName": "EXAMPLE S/A ",
        "otherCodes": [{"code": "AAAA3", "isin": "BRAAAAACNOR1"}, {"code": "AAAA4", "isin": None}],
    }
    assert parse_details(document, "d.json") == Company("AAAA", "EXAMPLE S/A", {"AAAA3": "BRAAAAACNOR1", "AAAA4": ""})
    with pytest.raises(DataError, match="issuingCompany must be text; was None"):
        parse_details(document | {"issuingCompany": None}, "d.json")


def test_each_answer_is_recognised_by_its_content():
    assert document_kind(supplement()) == "supplement"
    assert document_kind(history()) == "cash_dividends"
    assert document_kind({"issuingCompany": "AAAA", "otherCodes": []}) == "details"
    assert [document_kind(other) for other in ([], {}, [1], "x", {"taxa": "11,65"})] == [None] * 5


@pytest.mark.realdata
def test_real_answers_agree_with_each_other(realdata):
    folder = realdata / "corporate_actions"
    read = {p.stem: json.loads(p.read_text(encoding="utf-8")) for p in folder.glob("*.json")}
    company = parse_details(read["GetDetailsCompany"], "d.json")
    told = parse_cash_dividends(read["GetListedCashDividends"], company, "c.json")
    recent = parse_supplement(read["GetListedSupplementCompany"], "s.json").table
    assert told.table.num_rows == len(read["GetListedCashDividends"]["results"])
    assert told.rule_counts == {}
    cash_events = [row for row in recent.to_pylist() if row["cash"]]
    assert len(cash_events) == 2
    # the recent events are in the history too: the union has each once
    union = distinct_events(merge_events([told.table, recent]))
    assert union.num_rows == told.table.num_rows + recent.num_rows - len(cash_events)
    assert {row["isin"] for row in union.to_pylist()} == {cash_events[0]["isin"]}
