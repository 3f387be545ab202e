"""Company events from B3's listed-companies service, as JSON saved to disk.

Three answers of `listedCompaniesProxy/CompanyCall` are understood:

- GetListedSupplementCompany: recent cash dividends, share dividends and subscriptions of one company, by ISIN;
- GetListedCashDividends: the full cash history, by share class only: it does not even name the company;
- GetDetailsCompany: the company's codes and ISINs, which give the former its names.

Numbers are Brazilian ("1.234,56"), dates dd/mm/yyyy. `lastDatePrior` is the last session with the right; the ex
session is the next one. Cash is gross, per `quotedPerShares` shares.
"""

from __future__ import annotations

import datetime
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from data_pipeline.errors import DataError
from data_pipeline.schema import EVENT_SCHEMA

JCP_WITHHOLDING = 0.15
"""Income tax withheld from interest on own capital (Law 9.249/1995, art. 9)."""

RULE_NO_DATE = "events without a last session with the right were left out"
RULE_REPEATED = "records repeated in the file were joined"
RULE_UNMATCHED = "events of a share class without ISIN"
RULE_OTHER_PAPER = "bonuses in another paper than the one held"
RULE_UNKNOWN_LABEL = "events with a label that is not known"

CASH_KINDS: Mapping[str, str] = {
    "DIVIDENDO": "dividend",
    "JRS CAP PROPRIO": "jcp",
    "RENDIMENTO": "income",
    "REST CAP DIN": "capital_return",
    "AT MONETARIA": "monetary_update",
    "AMORTIZACAO RF": "amortisation",
    "JUROS RF": "interest",
}
STOCK_KINDS: Mapping[str, str] = {
    "DESDOBRAMENTO": "split",
    "GRUPAMENTO": "reverse_split",
    "BONIFICACAO": "bonus",
    "CIS RED CAP": "spin_off",
    "INCORPORACAO": "merger",
    "RESG TOTAL RV": "redemption",
    "REST CAP ACOES": "capital_return_in_shares",
    "REST CAP C/ RED": "capital_return_in_shares",
}
RIGHT_LABELS = frozenset({"SUBSCRICAO", "PRIORIDADE SUBS", "SUBS C/ RENUNC"})
"""Rights to subscribe: the holder pays for the new shares, so they are no price factor."""
OTHER = "other"
"""Kind of a label that the tables above do not know."""
BONUS_IN_OTHER_PAPER = "bonus_in_other_paper"
"""A bonus of another class than the one held: the number of shares held stays."""

_NUMBER = re.compile(r"\d{1,3}(\.\d{3})*(,\d+)?|\d+(,\d+)?")
_CASH_DECIMAL = 1e-4
"""Last decimal that GetListedCashDividends gives at least."""
_UNKNOWN_DATES = ("", "-", "31/12/9999")
_ISIN_CLASSES = {"OR": "ON", "PR": "PN"}
_CLASS_DIGITS = {"ON": "3", "PN": "4", "PNA": "5", "PNB": "6", "PNC": "7", "PND": "8", "UNT": "11"}

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Company:
    """What GetDetailsCompany says: issuer code, trading name, and the ISIN of each ticker."""

    issuer: str
    trading_name: str
    isins: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class EventFile:
    """Events of one file, and the counts of the rules that acted on it."""

    table: pa.Table
    rule_counts: Mapping[str, int]


def document_kind(document: Any) -> str | None:
    """ "supplement", "cash_dividends", "details", or None when the JSON is none of B3's three answers."""
    first = document[0] if isinstance(document, list) and document else document
    if not isinstance(first, dict):
        return None
    if "cashDividends" in first and "stockDividends" in first:
        return "supplement"
    if "issuingCompany" in first and "otherCodes" in first:
        return "details"
    return "cash_dividends" if "results" in first and "page" in first else None


def parse_details(document: Any, name: str) -> Company:
    """The company of a GetDetailsCompany answer.

    Raises
    ------
    DataError
        When the issuer code or the list of codes is missing.
    """
    first = document[0] if isinstance(document, list) else document
    issuer = _text(first, "issuingCompany", name)
    isins: dict[str, str] = {}
    for index, code in enumerate(_records(first, "otherCodes", name)):
        isins[_text(code, "code", f"{name} otherCodes {index}")] = _text_or_none(code, "isin", name)
    return Company(issuer, _text_or_none(first, "tradingName", name), isins)


def parse_supplement(document: Any, name: str) -> EventFile:
    """Events of a GetListedSupplementCompany answer, as a table of `schema.EVENT_SCHEMA`.

    A split or bonus of f % gives 1 + f/100 new shares per old one, a reverse split gives f; mergers, spin-offs and
    subscriptions are listed with a share factor of 1: their number is no price factor.

    Raises
    ------
    DataError
        With list and index of the record that has a missing field, or a date or number in another form.
    """
    companies = document if isinstance(document, list) else [document]
    rows: list[Row] = []
    for company in companies:
        issuer = _text(company, "code", name)
        for key, read in (("cashDividends", _cash), ("stockDividends", _stock), ("subscriptions", _subscription)):
            for index, record in enumerate(_records(company, key, name)):
                where = f"{name} {key} record {index}"
                rows.append(read(_object(record, where), where) | {"issuer": issuer, "feed": "supplement"})
    return _event_file(rows)


def parse_cash_dividends(document: Any, company: Company, name: str) -> EventFile:
    """Events of a GetListedCashDividends answer, given the company it belongs to.

    Raises
    ------
    DataError
        With the index of the record that has a missing field, or a date or number in another form; or when the
        answer is one page of several.
    """
    first = document[0] if isinstance(document, list) else document
    page = _object(first["page"], f"{name} page")
    if page.get("totalPages", 1) not in (0, 1):
        raise DataError(
            f"{name} is page {page.get('pageNumber')} of {page['totalPages']}: ask for all records (pageSize 9999)"
        )
    rows: list[Row] = []
    unmatched = 0
    for index, record in enumerate(_records(first, "results", name)):
        where = f"{name} record {index}"
        row = _listed_cash(_object(record, where), where) | {"issuer": company.issuer, "feed": "cash_dividends"}
        row["isin"] = _isin_of_class(company, row["share_class"])
        unmatched += row["isin"] is None
        rows.append(row)
    found = _event_file(rows)
    counts = {RULE_UNMATCHED: unmatched} if unmatched else {}
    return EventFile(found.table, {**found.rule_counts, **counts})


def merge_events(tables: Sequence[pa.Table]) -> pa.Table:
    """Union of event tables in a fixed order, whatever the order of the tables.

    Equal records of the cash history within one table are as many events (it leaves out the payment date, which
    tells two instalments apart); over several tables the largest number of them counts.
    """
    events: dict[tuple[Any, ...], Row] = {}
    for table in tables:
        seen: Counter[tuple[Any, ...]] = Counter()
        for row in table.to_pylist():
            identity = tuple(row.values())
            events[*identity, seen[identity]] = row
            seen[identity] += row["feed"] == "cash_dividends"
    return pa.Table.from_pylist(sorted(events.values(), key=_order), schema=EVENT_SCHEMA)


def distinct_events(table: pa.Table) -> pa.Table:
    """The events of a union, each once: the supplement's record stands for the same one in the cash history.

    They are the same when paper, label, approval and last session agree and the cash does to the history's decimals.
    """
    rows = table.to_pylist()
    told: dict[tuple[Any, ...], list[float]] = {}
    for row in rows:
        if row["feed"] == "supplement":
            told.setdefault(_dated(row), []).append(row["cash"])
    distinct = []
    for row in rows:
        if row["feed"] == "cash_dividends":
            candidates = told.get(_dated(row), [])
            gaps = [abs(cash - row["cash"]) for cash in candidates]
            if gaps and min(gaps) < _CASH_DECIMAL:
                # each record of the supplement stands for one of the history
                candidates.pop(gaps.index(min(gaps)))
                continue
        distinct.append(row)
    return pa.Table.from_pylist(distinct, schema=EVENT_SCHEMA)


def _dated(row: Row) -> tuple[Any, ...]:
    return (row["issuer"], row["isin"] or row["share_class"], row["label"], row["approved_on"], row["last_date_prior"])


def _order(row: Row) -> tuple[Any, ...]:
    names = ("last_date_prior", "issuer", "isin", "share_class", "label", "approved_on", "payment_date", "cash")
    values = (row[name] for name in (*names, "share_factor", "feed"))
    return tuple((value is not None, value if value is not None else 0) for value in values)


def _event_file(rows: list[Row]) -> EventFile:
    dated = [row for row in rows if row["last_date_prior"] is not None]
    table = merge_events([pa.Table.from_pylist(dated, schema=EVENT_SCHEMA)])
    counts = {
        RULE_NO_DATE: len(rows) - len(dated),
        RULE_REPEATED: len(dated) - table.num_rows,
        RULE_OTHER_PAPER: sum(row["kind"] == BONUS_IN_OTHER_PAPER for row in rows),
        RULE_UNKNOWN_LABEL: sum(row["kind"] == OTHER for row in rows),
    }
    return EventFile(table, {rule: count for rule, count in counts.items() if count})


def _cash(record: Mapping[str, Any], where: str) -> Row:
    label = _text(record, "label", where)
    return _common(record, where, label, CASH_KINDS) | {
        "payment_date": _date(record, "paymentDate", where),
        "cash": _number(record, "rate", where),
    }


def _stock(record: Mapping[str, Any], where: str) -> Row:
    label = _text(record, "label", where)
    factor = _number(record, "factor", where)
    shares = {"DESDOBRAMENTO": 1 + factor / 100, "BONIFICACAO": 1 + factor / 100, "GRUPAMENTO": factor}.get(label, 1.0)
    if shares <= 0:
        raise DataError(f"{where}: factor must be positive; was {record['factor']!r}")
    row = _common(record, where, label, STOCK_KINDS) | {"share_factor": shares}
    issued = record.get("assetIssued")
    if label == "BONIFICACAO" and isinstance(issued, str) and issued.strip() not in ("", row["isin"]):
        row |= {"kind": BONUS_IN_OTHER_PAPER, "share_factor": 1.0}
    return row


def _subscription(record: Mapping[str, Any], where: str) -> Row:
    label = _text(record, "label", where)
    for key in ("percentage", "priceUnit"):
        if record.get(key) not in (None, ""):
            _number(record, key, where)
    kind = "subscription" if label in RIGHT_LABELS else OTHER
    return _common(record, where, label, {}) | {"kind": kind}


def _common(record: Mapping[str, Any], where: str, label: str, kinds: Mapping[str, str]) -> Row:
    isin = _text(record, "isinCode", where)
    return {
        "isin": isin,
        "share_class": _class_of_isin(isin),
        "label": label,
        "kind": kinds.get(label, OTHER),
        "approved_on": _date(record, "approvedOn", where),
        "last_date_prior": _date(record, "lastDatePrior", where),
        "payment_date": None,
        "share_factor": 1.0,
        "cash": 0.0,
        "withholding": JCP_WITHHOLDING if label == "JRS CAP PROPRIO" else 0.0,
    }


def _listed_cash(record: Mapping[str, Any], where: str) -> Row:
    label = _text(record, "corporateAction", where)
    per_shares = _number(record, "quotedPerShares", where)
    if per_shares <= 0:
        raise DataError(f"{where}: quotedPerShares must be positive; was {record['quotedPerShares']!r}")
    return {
        "share_class": _text(record, "typeStock", where),
        "label": label,
        "kind": CASH_KINDS.get(label, OTHER),
        "approved_on": _date(record, "dateApproval", where),
        "last_date_prior": _date(record, "lastDatePriorEx", where),
        "payment_date": None,
        "share_factor": 1.0,
        "cash": _number(record, "valueCash", where) / per_shares,
        "withholding": JCP_WITHHOLDING if label == "JRS CAP PROPRIO" else 0.0,
    }


def _class_of_isin(isin: str) -> str | None:
    """Share class in an ISIN (BR + issuer 4 + type 3 + class 2 + check digit), None for other papers."""
    kind, code = isin[6:9], isin[9:11]
    if kind != "ACN":
        return None
    return _ISIN_CLASSES.get(code) or (f"PN{code[1]}" if re.fullmatch("P[A-H]", code) else None)


def _isin_of_class(company: Company, share_class: str) -> str | None:
    digit = _CLASS_DIGITS.get(share_class)
    return company.isins.get(f"{company.issuer}{digit}") or None


def _object(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise DataError(f"{where}: must be an object; was {value!r}")
    return value


def _records(record: Mapping[str, Any], key: str, where: str) -> list[Any]:
    """The list of that name; B3 writes null for an empty one."""
    value = _object(record, where).get(key)
    if value is not None and not isinstance(value, list):
        raise DataError(f"{where}: {key} must be a list; was {str(value)[:40]!r}")
    return value or []


def _text_or_none(record: Mapping[str, Any], key: str, where: str) -> str:
    """The text of that name, empty where there is none."""
    value = _object(record, where).get(key)
    if value is not None and not isinstance(value, str):
        raise DataError(f"{where}: {key} must be text; was {str(value)[:40]!r}")
    return (value or "").strip()


def _text(record: Mapping[str, Any], key: str, where: str) -> str:
    value = _object(record, where).get(key)
    if not isinstance(value, str) or not value.strip():
        raise DataError(f"{where}: {key} must be text; was {value!r}")
    return value.strip()


def _number(record: Mapping[str, Any], key: str, where: str) -> float:
    """A Brazilian number, "1.234,56"."""
    text = _text(record, key, where)
    if not _NUMBER.fullmatch(text):
        raise DataError(f"{where}: {key} must be a number like 1.234,56; was {text!r}")
    return float(text.replace(".", "").replace(",", "."))


def _date(record: Mapping[str, Any], key: str, where: str) -> datetime.date | None:
    """A date dd/mm/yyyy; None for the marks B3 uses where it is not known yet."""
    if key not in record:
        raise DataError(f"{where}: {key} is missing")
    value = record[key]
    if value is None or (isinstance(value, str) and value.strip() in _UNKNOWN_DATES):
        return None
    try:
        return datetime.datetime.strptime(value, "%d/%m/%Y").date()
    except (ValueError, TypeError) as error:
        raise DataError(f"{where}: {key} must be a date dd/mm/yyyy; was {value!r}") from error
