"""Companies of papers as of a time, against a plain search."""

from __future__ import annotations

import datetime

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_pipeline.reference.issuers import companies_as_of, issuers_as_of
from data_pipeline.tables.catalog import ISSUERS, TIME

EPOCH = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)


def moment(hours):
    return EPOCH + datetime.timedelta(hours=hours)


def record(symbol, known, cnpj="1" * 14):
    row = dict.fromkeys(ISSUERS.schema.names)
    at = moment(known)
    return row | {"known_on": at.date(), "known_at": at, "symbol": symbol, "issuer": "AAAA", "name": "A", "cnpj": cnpj}


def table(rows):
    return pa.Table.from_pylist(rows, schema=ISSUERS.schema)


def spine(*pairs):
    times = pa.array([moment(hours) for _, hours in pairs], TIME)
    return pa.table({"symbol": pa.array([symbol for symbol, _ in pairs], pa.string()), "time": times})


RECORDS = st.lists(
    st.builds(record, st.sampled_from("ABC"), st.integers(0, 50), st.sampled_from([None, "1" * 14, "2" * 14])),
    max_size=15,
    unique_by=lambda row: (row["symbol"], row["known_at"]),
)


def plain(rows, symbol, at):
    seen = [row for row in rows if row["symbol"] == symbol and row["known_at"] <= at]
    return max(seen, key=lambda row: row["known_at"], default=None)


@given(RECORDS, st.lists(st.tuples(st.sampled_from("ABCD"), st.integers(-1, 60)), max_size=10))
def test_each_row_gets_the_number_that_a_plain_search_finds(rows, pairs):
    found = companies_as_of(spine(*pairs), table(rows))["cnpj"].to_pylist()
    held = [plain(rows, symbol, moment(hours)) for symbol, hours in pairs]
    assert found == [None if row is None else row["cnpj"] for row in held]


@given(RECORDS, RECORDS, st.integers(0, 50))
def test_the_record_of_each_symbol_holds_and_later_ones_change_nothing(rows, others, cut):
    at = moment(cut)
    found = issuers_as_of(table(rows), at)
    held = [plain(rows, symbol, at) for symbol in "ABC"]
    assert found.to_pylist() == [row for row in held if row is not None]
    kept = [row for row in rows if row["known_at"] <= at]
    assert issuers_as_of(table(kept + [row for row in others if row["known_at"] > at]), at).equals(found)


def test_a_code_that_passes_to_another_company_leads_to_the_new_number_from_then_on():
    rows = table([record("AAAA3", 10, "1" * 14), record("AAAA3", 20, "2" * 14)])
    pairs = [("AAAA3", 9), ("AAAA3", 10), ("AAAA3", 19), ("AAAA3", 20), ("BBBB3", 30)]
    assert companies_as_of(spine(*pairs), rows)["cnpj"].to_pylist() == [None, "1" * 14, "1" * 14, "2" * 14, None]


def test_what_is_no_moment_and_a_taken_name_are_refused():
    with pytest.raises(ValueError, match="at must be aware of its zone"):
        issuers_as_of(table([]), datetime.datetime(2020, 1, 1))
    left = spine(("A", 1))
    with pytest.raises(ValueError, match="left must not have a column cnpj"):
        companies_as_of(left.append_column("cnpj", left["symbol"]), table([]))
