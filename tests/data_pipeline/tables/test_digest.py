from __future__ import annotations

import struct

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_pipeline.tables.digest import row_digest

SCHEMA = pa.schema(
    [
        ("day", pa.date32()),
        ("name", pa.string()),
        ("count", pa.int32()),
        ("code", pa.uint64()),
        ("value", pa.float64()),
        ("flag", pa.bool_()),
        ("levels", pa.list_(pa.float64())),
    ]
)
ROWS = st.lists(
    st.tuples(
        st.integers(0, 40_000),
        st.one_of(st.none(), st.text(max_size=20)),
        st.one_of(st.none(), st.integers(-(2**31), 2**31 - 1)),
        st.integers(0, 2**64 - 1),
        st.one_of(st.none(), st.floats(allow_nan=False)),
        st.one_of(st.none(), st.booleans()),
        st.lists(st.floats(allow_nan=False), max_size=3),
    ),
    max_size=12,
)


def table(rows):
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(SCHEMA)
    arrays = [pa.array(columns[0], pa.int32()).cast(pa.date32())]
    arrays += [pa.array(column, field.type) for column, field in zip(columns[1:], list(SCHEMA)[1:], strict=True)]
    return pa.table(arrays, schema=SCHEMA)


MASK = (1 << 64) - 1
A, B, C = 0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0xFF51AFD7ED558CCD


def fold(state, word, factor):
    mixed = (state ^ word) * factor & MASK
    mixed = (mixed ^ mixed >> 33) * 0xC4CEB9FE1A85EC53 & MASK
    return mixed ^ mixed >> 29


def plain_digest(rows):
    """The same sum in Python's own integers."""
    total = 0
    for row in rows:
        a = b = 0
        for place, value in enumerate(row):
            if value is None:
                a, b = fold(a + C & MASK, 0x6A09E667F3BCC908, A), fold(b + A & MASK, 0xBB67AE8584CAA73B, C)
            elif isinstance(value, str | list):
                text = value.encode() if isinstance(value, str) else struct.pack(f"<{len(value)}d", *value)
                a, b = fold(a, len(text), A), fold(b + B & MASK, len(text), C)
                for start in range(0, len(text), 8):
                    word = int.from_bytes(text[start : start + 8], "little")
                    a, b = fold(a, word, A), fold(b, word, C)
            else:
                is_float = SCHEMA.field(place).type == pa.float64()
                word = int.from_bytes(struct.pack("<d", value), "little") if is_float else int(value) & MASK
                a, b = fold(a, word, A), fold(b + B & MASK, word, C)
        total += (a << 64) + b
    return total % (1 << 128)


@given(ROWS)
def test_the_digest_is_the_plain_sum_over_rows(rows):
    assert row_digest(table(rows)) == plain_digest(rows)


@given(ROWS, st.randoms(use_true_random=False), st.integers(0, 12))
def test_the_digest_depends_neither_on_order_nor_on_chunks_and_adds_up(rows, random, cut):
    whole = table(rows)
    shuffled = list(rows)
    random.shuffle(shuffled)
    assert row_digest(table(shuffled)) == row_digest(whole)
    head, tail = whole.slice(0, cut), whole.slice(min(cut, len(rows)))
    assert row_digest(pa.concat_tables([head, tail])) == row_digest(whole)
    assert (row_digest(head) + row_digest(tail)) % (1 << 128) == row_digest(whole)


@given(ROWS.filter(bool), ROWS)
def test_other_rows_have_another_digest(rows, others):
    def key(row):
        # 0.0 and -0.0 are other bits, so other content
        return repr(row)

    same = sorted(map(key, rows)) == sorted(map(key, others))
    assert (row_digest(table(rows)) == row_digest(table(others))) is same
    assert row_digest(table(rows + rows[:1])) != row_digest(table(rows))


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ({"a": ["x"], "b": [""]}, {"a": [""], "b": ["x"]}),
        ({"a": ["ab"], "b": ["c"]}, {"a": ["a"], "b": ["bc"]}),
        ({"a": [0], "b": [1]}, {"a": [1], "b": [0]}),
        ({"a": pa.array([None], pa.int64())}, {"a": [0]}),
        ({"a": pa.array([None], pa.string())}, {"a": [""]}),
        ({"a": ["abcdefgh\0"]}, {"a": ["abcdefgh"]}),
        ({"a": [[1.0], [2.0, 3.0]]}, {"a": [[1.0, 2.0], [3.0]]}),
        ({"a": [1, 2], "b": [1, 2]}, {"a": [1, 2], "b": [2, 1]}),
    ],
)
def test_what_is_easily_confused_is_told_apart(one, two):
    assert row_digest(pa.table(one)) != row_digest(pa.table(two))
