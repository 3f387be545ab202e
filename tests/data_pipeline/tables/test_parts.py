from __future__ import annotations

import datetime
import hashlib

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_pipeline.errors import DataError
from data_pipeline.feeds.reading import Batch
from data_pipeline.tables import part_writer, parts
from data_pipeline.tables.digest import row_digest
from data_pipeline.tables.parts import draft_parts
from data_pipeline.tables.sorting import merge_sorted, sort_rows, with_rows
from data_pipeline.tables.spec import Column, TableSpec

SPEC = TableSpec(
    "toy",
    1,
    "rows with ties and nulls in the order",
    (
        Column("session", pa.date32(), "day"),
        Column("symbol", pa.string(), "code"),
        Column("time", pa.timestamp("ns", tz="UTC"), "moment"),
        Column("term", pa.int16(), "part of the order that may be absent", nullable=True),
        Column("tag", pa.string(), "the same, as text", nullable=True),
        Column("value", pa.float64(), "number"),
    ),
    date="session",
    period="month",
    symbol="symbol",
    order=("symbol", "time", "term", "tag"),
)
TOYS = {"toy": SPEC}
ROW = st.tuples(
    st.integers(0, 70),
    st.sampled_from(["A", "AA", "B", "É", "z", "\U0001f600", "\uffee"]),
    st.integers(-2, 2),
    st.sampled_from([None, -1, 0, 5]),
    st.sampled_from([None, "", "x", "é"]),
    st.integers(0, 5).map(float),
)


def table(rows):
    columns = list(zip(*rows, strict=True)) if rows else [()] * 6
    days = pa.array([19_360 + day for day in columns[0]], pa.int32()).cast(pa.date32())
    rest = [pa.array(c, f.type) for c, f in zip(columns[1:], list(SPEC.schema)[1:], strict=True)]
    return pa.table([days, *rest], schema=SPEC.schema)


def in_order(rows):
    """Plain sorting of tuples: nulls first, text by its UTF-8 bytes, ties as they came."""
    return sorted(
        rows,
        key=lambda r: (
            r[1].encode(),
            r[2],
            (r[3] is not None, r[3] or 0),
            (r[4] is not None, (r[4] or "").encode()),
        ),
    )


def day(number):
    return datetime.date(2023, 1, 3) + datetime.timedelta(days=number)


@settings(max_examples=60)
@given(st.lists(st.lists(ROW, max_size=12), max_size=8))
def test_parts_hold_the_rows_of_their_month_in_order_and_spilling_changes_no_byte(tmp_path_factory, batches):
    folder = tmp_path_factory.mktemp("draft")
    offered = [Batch("toy", "B3", table(rows)) for rows in batches]
    whole = draft_parts(offered, folder / "a", "s", tables=TOYS)
    spilled = draft_parts(iter(offered), folder / "b", "s", tables=TOYS, memory=0)
    assert [d.part for d in whole] == [d.part for d in spilled]
    every = [row for rows in batches for row in rows]
    months = sorted({day(row[0]).strftime("%Y-%m") for row in every})
    assert [d.period for d in whole] == months
    for draft in whole:
        own = [row for row in every if day(row[0]).strftime("%Y-%m") == draft.period]
        expected = table(in_order(own))
        found = pq.ParquetFile(draft.path).read()
        assert found.equals(expected)
        assert found.schema == SPEC.schema
        part = draft.part
        symbols = sorted({row[1] for row in own}, key=str.encode)
        assert (part.rows, part.first, part.last, part.symbols) == (len(own), symbols[0], symbols[-1], len(symbols))
        assert part.digest == row_digest(expected)
        content = draft.path.read_bytes()
        assert (part.bytes, part.sha256) == (len(content), hashlib.sha256(content).hexdigest())
        assert part.path == f"toy/venue=B3/date={draft.period}/part-{part.sha256[:16]}.parquet"
    assert sorted(p.name for p in (folder / "b").iterdir()) == (["toy"] if every else [])


@given(st.lists(st.lists(ROW, max_size=9), min_size=1, max_size=6), st.integers(1, 4))
def test_merging_runs_is_sorting_their_rows(runs, size):
    numbered, first = [], 0
    for rows in runs:
        numbered.append(with_rows(table(rows), first))
        first += len(rows)
    blocks = [
        [s.slice(k, size) for k in range(0, s.num_rows, size)] for s in (sort_rows(run, SPEC.order) for run in numbered)
    ]
    merged = list(merge_sorted(blocks, SPEC.order))
    found = pa.concat_tables(merged) if merged else numbered[0]
    assert found.select(SPEC.schema.names).equals(table(in_order([row for rows in runs for row in rows])))


def test_row_groups_end_between_symbols_and_their_borders_follow_from_the_rows(tmp_path, monkeypatch):
    monkeypatch.setattr(part_writer, "GROUP_ROWS", 100)
    counts = {"A": 30, "B": 65, "C": 40, "D": 260, "E": 5}
    rows = [(0, symbol, n, None, None, 1.0) for symbol, count in counts.items() for n in range(count)]
    (whole,) = draft_parts([Batch("toy", "B3", table(rows))], tmp_path / "a", "s", tables=TOYS)
    pieces = [Batch("toy", "B3", table(rows[k : k + 7])) for k in range(0, len(rows), 7)]
    (cut,) = draft_parts(pieces, tmp_path / "b", "s", tables=TOYS, memory=4_000)
    assert cut.part == whole.part
    file = pq.ParquetFile(whole.path)
    groups = [file.read_row_group(k)["symbol"].to_pylist() for k in range(file.num_row_groups)]
    assert [(len(g), g[0], g[-1]) for g in groups] == [
        (95, "A", "B"),
        (100, "C", "D"),
        (100, "D", "D"),
        (100, "D", "D"),
        (5, "E", "E"),
    ]


KEYED = TableSpec("keyed", 1, "", SPEC.columns, "session", "month", "symbol", SPEC.order[:2], ("session", *SPEC.order))


@pytest.mark.parametrize("memory", [0, 1 << 20])
def test_a_key_that_occurs_twice_is_named_with_both_rows(tmp_path, memory):
    rows = [(k, "A", k, None, "x", 0.0) for k in range(9)]
    tables = {"keyed": KEYED}
    fine = [Batch("keyed", "B3", table(rows[k : k + 3])) for k in (6, 0, 3)]
    (draft,) = draft_parts(fine, tmp_path, "s", tables=tables, memory=memory)
    assert draft.part.rows == 9
    words = r"keyed must have each \(session, symbol, time, term, tag\) once; rows 4 and 9 of the file's rows both"
    with pytest.raises(DataError, match=words):
        draft_parts([*fine, Batch("keyed", "B3", table([rows[1]]))], tmp_path, "s", tables=tables, memory=memory)
    other = [Batch("keyed", "B3", table([(1, "A", 1, 0, "x", 0.0)])), Batch("keyed", "B4", table([rows[1]]))]
    assert sum(d.part.rows for d in draft_parts([*fine, *other], tmp_path, "s", tables=tables, memory=memory)) == 11
    assert not list(tmp_path.glob("spill-*"))
    assert not list(tmp_path.glob("draft-*"))


def test_a_bad_row_late_in_a_file_is_named_by_its_number_and_leaves_no_draft(tmp_path):
    good = table([(0, "A", k, None, None, 0.0) for k in range(50)])
    bad = table([(0, "A", 1, None, None, 0.0), (0, "A", 1, None, None, float("nan"))])
    with pytest.raises(DataError, match=r"toy\.value must be a finite number; was nan in row 101"):
        draft_parts([Batch("toy", "B3", rows) for rows in (good, good, bad)], tmp_path, "s", tables=TOYS, memory=0)
    assert list(tmp_path.iterdir()) == []


def test_memory_stays_at_a_few_times_the_limit(tmp_path, monkeypatch):
    """Thirty times the memory limit goes through; blocks and groups are scaled down with the limit."""
    monkeypatch.setattr(parts, "_RUN_BATCH", 256)
    monkeypatch.setattr(part_writer, "GROUP_ROWS", 2_048)
    limit, count = 1 << 18, 4_096

    def batches():
        for number in range(40):
            random = np.random.default_rng(number)
            yield Batch(
                "toy",
                "B3",
                pa.table(
                    [
                        pa.array(np.full(count, 19_360, np.int32)).cast(pa.date32()),
                        pa.array(["AA", "BB", "CC"]).take(pa.array(random.integers(0, 3, count))),
                        pa.array(random.integers(0, 10**15, count)).cast(pa.timestamp("ns", "UTC")),
                        pa.nulls(count, pa.int16()),
                        pa.nulls(count, pa.string()),
                        pa.array(random.random(count)),
                    ],
                    schema=SPEC.schema,
                ),
            )

    pool = pa.system_memory_pool()
    before = pa.default_memory_pool()
    pa.set_memory_pool(pool)
    try:
        (draft,) = draft_parts(batches(), tmp_path, "s", tables=TOYS, memory=limit)
    finally:
        pa.set_memory_pool(before)
    assert draft.part.rows == 40 * count
    assert draft.part.rows * 45 > 25 * limit
    assert pool.max_memory() < 6 * limit
