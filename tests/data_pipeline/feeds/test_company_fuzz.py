"""B3's company JSON with anything in place of a value, and with damaged bytes: events of the schema, or one error."""

from __future__ import annotations

import copy
import json
import math

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data_pipeline.errors import DataError
from data_pipeline.feeds.reference.company_feed import Company
from data_pipeline.ingestion.feed_files import Document, read_document, read_feed
from data_pipeline.schema import EVENT_SCHEMA

COMPANY = Company("AAAA", "EXAMPLE S/A", {"AAAA3": "BRAAAAACNOR1"})
CASH = {
    "assetIssued": "BRAAAAACNOR1",
    "paymentDate": "30/12/2021",
    "rate": "0,13340000000",
    "approvedOn": "09/12/2021",
    "isinCode": "BRAAAAACNOR1",
    "label": "DIVIDENDO",
    "lastDatePrior": "17/12/2021",
}
STOCK = CASH | {"label": "DESDOBRAMENTO", "factor": "100,00000000000"}
RIGHT = CASH | {"label": "SUBSCRICAO", "percentage": "5,00", "priceUnit": "10,00", "subscriptionDate": "20/12/2021"}
SUPPLEMENT = [{"code": "AAAA", "cashDividends": [CASH], "stockDividends": [STOCK], "subscriptions": [RIGHT]}]
HISTORY = {
    "page": {"pageNumber": 1, "totalPages": 1},
    "results": [
        {
            "typeStock": "ON",
            "dateApproval": "09/12/2021",
            "valueCash": "0,1334",
            "ratio": "1",
            "corporateAction": "DIVIDENDO",
            "lastDatePriorEx": "17/12/2021",
            "quotedPerShares": "1",
        }
    ],
}
DETAILS = {"issuingCompany": "AAAA", "tradingName": "X", "otherCodes": [{"code": "AAAA3", "isin": "BRAAAAACNOR1"}]}
CDI = [{"data": "02/01/2023", "valor": "0.050788"}, {"data": "03/01/2023", "valor": "0.050788"}]
DOCUMENTS = {"supplement": SUPPLEMENT, "history": HISTORY, "details": DETAILS, "cdi": CDI}

ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**30), 10**30),
    st.floats(),
    st.text(max_size=12),
    st.sampled_from(
        ["", "-1,0", "1e999", "nan", "31/02/2021", "01/01/0001", "31/12/9999", "1.234,56", "0,00", "9" * 40]
    ),
    st.lists(st.none(), max_size=2),
    st.dictionaries(st.text(max_size=3), st.none(), max_size=2),
)


def places(document) -> list[tuple]:
    """Path of every value in the document."""
    found = []

    def walk(value, path):
        found.append(path)
        inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        for key, part in inner:
            walk(part, (*path, key))

    walk(document, ())
    return found


def check(document: Document) -> None:
    try:
        feed = read_feed(document, [COMPANY])
    except DataError:
        return
    if feed.table is None or feed.source.kind != "company_events":
        return
    assert feed.table.schema == EVENT_SCHEMA
    for row in feed.table.to_pylist():
        assert math.isfinite(row["share_factor"])
        assert row["share_factor"] > 0
        assert math.isfinite(row["cash"])
        assert row["cash"] >= 0


@pytest.mark.parametrize("kind", DOCUMENTS)
@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_any_value_anywhere_is_an_event_or_an_error(kind, tmp_path, data):
    document = copy.deepcopy(DOCUMENTS[kind])
    path = data.draw(st.sampled_from(places(document)))
    odd = data.draw(ODD)
    if path:
        inner = document
        for key in path[:-1]:
            inner = inner[key]
        inner[path[-1]] = odd
    else:
        document = odd
    check(Document(tmp_path / "answer.json", "0" * 64, document))


@pytest.mark.parametrize("kind", DOCUMENTS)
@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(place=st.integers(0, 10_000), byte=st.integers(0, 255), cut=st.integers(0, 10_000))
def test_damaged_bytes_are_an_event_or_an_error(kind, tmp_path, place, byte, cut):
    content = json.dumps(DOCUMENTS[kind]).encode()
    damaged = bytearray(content)
    damaged[place % len(content)] = byte
    path = tmp_path / "answer.json"
    path.write_bytes(bytes(damaged)[: len(content) if cut % 3 else cut % len(content)])
    try:
        document = read_document(path, "0" * 64)
    except DataError:
        return
    check(document)
