from __future__ import annotations

import datetime

import pyarrow as pa
import pytest

from data_pipeline.errors import DataError
from data_pipeline.feeds.reading import Batch
from data_pipeline.tables.catalog import TABLES
from data_pipeline.tables.parts import draft_parts
from data_pipeline.tables.spec import Column, TableSpec
from data_pipeline.tables.validation import check_rows, check_schema, check_venue

SPEC = TableSpec(
    "toy",
    1,
    "a table with every rule",
    (
        Column("session", pa.date32(), "day"),
        Column("symbol", pa.string(), "code"),
        Column("count", pa.int32(), "whole", low=0, high=9),
        Column("value", pa.float64(), "number", nullable=True, low=-1.5),
        Column("top", pa.float64(), "number", nullable=True, high=2.5),
        Column("word", pa.string(), "word", nullable=True, words=("a", "b")),
        Column("levels", pa.list_(pa.float64()), "numbers"),
        Column("free", pa.float64(), "any", finite=False),
    ),
    date="session",
    period="day",
    symbol="symbol",
    order=("symbol", "count"),
)
GOOD = {
    "session": datetime.date(2023, 1, 3),
    "symbol": "ABCD3",
    "count": 3,
    "value": 1.0,
    "top": None,
    "word": "a",
    "levels": [1.0],
    "free": float("nan"),
}


def rows(*changes):
    records = [GOOD, {**GOOD, "value": None, "word": None, "levels": []}, *({**GOOD, **change} for change in changes)]
    return pa.table({f.name: pa.array([r[f.name] for r in records], f.type) for f in SPEC.schema}, schema=SPEC.schema)


def test_good_rows_pass():
    check_rows(SPEC, rows())
    check_rows(SPEC, SPEC.schema.empty_table())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"count": 10}, r"toy\.count must be from 0 to 9; was 10 in row 102"),
        ({"count": -1}, r"toy\.count must be from 0 to 9; was -1 in row 102"),
        ({"count": None}, r"toy\.count must be given \(it may not be null\); was None in row 102"),
        ({"value": -1.6}, r"toy\.value must be at least -1.5; was -1.6 in row 102"),
        ({"value": float("nan")}, r"toy\.value must be a finite number; was nan in row 102"),
        ({"value": float("inf")}, r"toy\.value must be a finite number; was inf in row 102"),
        ({"top": 2.6}, r"toy\.top must be at most 2.5; was 2.6 in row 102"),
        ({"word": "c"}, r"toy\.word must be one of a, b; was 'c' in row 102"),
        ({"levels": [1.0, float("nan")]}, r"toy\.levels must be a list of finite numbers; was \[1.0, nan\] in row 102"),
        ({"levels": [None]}, r"toy\.levels must be a list of finite numbers; was \[None\] in row 102"),
        ({"symbol": ""}, r"toy\.symbol must be 1 to 200 characters .*; was '' in row 102"),
        ({"symbol": "A\nB"}, r"toy\.symbol must be .*; was 'A\\nB' in row 102"),
        ({"symbol": "x" * 201}, r"toy\.symbol must be .*; was 'x+\.\.\. in row 102"),
        ({"session": datetime.date(1, 1, 1)}, r"toy\.session must be 1800-01-01 to 2261-12-31; was .*0001-01-01"),
        ({"session": datetime.date(9999, 12, 31)}, r"toy\.session must be .*; was .*9999-12-31"),
    ],
)
def test_a_value_that_cannot_be_is_named_with_table_column_row_and_value(change, words):
    with pytest.raises(DataError, match=words):
        check_rows(SPEC, rows(change), first_row=100)


def test_lists_that_belong_together_are_of_one_length():
    spec = TABLES["depth"]
    record = {name: [1.0] for name in spec.schema.names} | {"session": 19_360, "symbol": "A", "sequence": 0}
    record |= {"time": 1, "local_time": None}
    records = [record, {**record, "ask_quantities": []}]
    table = pa.table({f.name: pa.array([r[f.name] for r in records], f.type) for f in spec.schema}, spec.schema)
    check_rows(spec, table.slice(0, 1))
    with pytest.raises(DataError, match=r"depth\.ask_quantities must be as long as ask_prices; was \[\] in row 8 of"):
        check_rows(spec, table, first_row=7)


def test_text_that_is_no_utf8_is_refused():
    bad = pa.Array.from_buffers(
        pa.string(), 3, [None, pa.py_buffer(b"\0\0\0\0\1\0\0\0\2\0\0\0\3\0\0\0"), pa.py_buffer(b"A\xffB")]
    )
    table = rows({}).set_column(1, SPEC.schema.field("symbol"), bad)
    with pytest.raises(DataError, match="no valid Arrow data"):
        check_rows(SPEC, table)


def test_other_columns_are_the_caller_s_error():
    with pytest.raises(ValueError, match="lacking: free; foreign: none"):
        check_schema(SPEC, rows().drop_columns(["free"]))
    with pytest.raises(ValueError, match="column count of toy must be of type int32; was int64"):
        check_schema(SPEC, rows().set_column(2, "count", pa.array([1, 2], pa.int64())))
    for venue in ("", "b3", "B 3", "../B3", "B3/", 3):
        with pytest.raises(ValueError, match="venue must be upper-case letters"):
            check_venue(venue)


def test_a_draft_refuses_an_unknown_table(tmp_path):
    with pytest.raises(ValueError, match=r"table must be one of trades, .*; was 'trade'"):
        draft_parts([Batch("trade", "B3", rows())], tmp_path, "x")


@pytest.mark.parametrize("spec", TABLES.values(), ids=TABLES)
def test_every_table_of_the_catalog_can_be_kept(spec):
    names = spec.schema.names
    assert spec.order[0] == spec.symbol
    assert {spec.date, spec.symbol, *spec.order, *spec.key} <= set(names)
    assert not [name for name in (spec.date, spec.symbol) if spec.column(name).nullable]
    assert spec.column(spec.date).type == pa.date32()
    assert spec.column(spec.symbol).type == pa.string()
    assert not spec.key or set(spec.apart) <= set(names)
    assert not spec.key or set(spec.order) <= set(spec.key)
    assert "venue" not in names
    assert len(set(names)) == len(names)
