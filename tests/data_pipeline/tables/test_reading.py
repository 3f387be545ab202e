from __future__ import annotations

import datetime
import subprocess
import sys
import uuid

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_pipeline.book.events import EVENT_DTYPE
from data_pipeline.errors import DataError
from data_pipeline.store import Store
from data_pipeline.tables import commit, part_writer
from data_pipeline.tables.catalog import TABLES
from data_pipeline.tables.files import LocalFiles, RemoteFiles, open_files
from data_pipeline.tables.part_reader import groups_of, open_part
from data_pipeline.tables.reading import event_rows

ROWS = [
    (day, symbol, day + len(symbol) / 10) for day in (0, 1, 5, 370, 372, 800) for symbol in ("11", "12", "4", "433")
]


@pytest.fixture(scope="module")
def store(make, tmp_path_factory):
    """Two venues, three years, several parts a year whose symbols interleave."""
    folder = tmp_path_factory.mktemp("reading")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(commit, "SMALL_ROWS", 0)
        offers = [(f"b{n}", "rates", "BCB", make.rates(ROWS[n::3])) for n in range(3)]
        make.put(folder / "store", folder / "s", *offers, ("x", "rates", "B3", make.rates([(0, "12", -1.0)])))
    return Store.open(folder / "store")


DAYS = st.one_of(st.none(), st.sampled_from(["2023-01-03", "2023-01-04", "2024-01-07", "2024-01-09", "2025-12-31"]))


@given(
    st.one_of(st.none(), st.sampled_from(["B3", "BCB", "CVM"])),
    st.one_of(st.none(), st.lists(st.sampled_from(["11", "12", "4", "433", "5", ""]), max_size=3)),
    DAYS,
    DAYS,
    st.one_of(st.none(), st.lists(st.sampled_from(["venue", "session", "symbol", "value", "unit"]), min_size=1)),
)
def test_a_selection_is_the_filtered_whole(store, venue, symbols, start, end, columns):
    if start is not None and end is not None and end < start:
        start, end = end, start
    whole = store.table("rates", columns=["session", "symbol", "value", "unit", "venue"]).to_pylist()
    names = list(dict.fromkeys(columns)) if columns else ["session", "symbol", "value", "unit"]
    expected = [
        {name: row[name] for name in names}
        for row in whole
        if (venue is None or row["venue"] == venue)
        and (symbols is None or row["symbol"] in symbols)
        and (start is None or str(row["session"]) >= start)
        and (end is None or str(row["session"]) <= end)
    ]
    options = {"venue": venue, "symbols": symbols, "start": start, "end": end, "columns": columns}
    found = store.table("rates", **options)
    assert found.column_names == names
    assert found.to_pylist() == expected
    pieces = list(store.iter_table("rates", **options))
    assert all(piece.num_rows for piece in pieces)
    assert [row for piece in pieces for row in piece.to_pylist()] == expected


def test_the_whole_is_every_row_by_year_then_venue_then_the_table_s_order(store, make):
    found = store.table("rates", columns=["session", "venue", "symbol", "value"])
    rows = [(make.DAY0 + day, "BCB", symbol, value) for day, symbol, value in ROWS] + [(make.DAY0, "B3", "12", -1.0)]
    rows.sort(key=lambda r: (str(np.datetime64(r[0], "D"))[:4], r[1], r[2], r[0]))
    columns = found["session"].cast("int32").to_pylist(), *(found[n].to_pylist() for n in found.column_names[1:])
    assert list(zip(*columns, strict=True)) == rows
    assert store.table("rates").schema == TABLES["rates"].schema


def test_a_table_without_rows_is_empty_with_its_columns(store):
    assert store.table("trades").equals(TABLES["trades"].schema.empty_table())
    assert store.table("rates", start="2030-01-01").schema == TABLES["rates"].schema
    assert (
        store.table("rates", symbols="11", start=np.datetime64("2023-01-03"), end=datetime.date(2023, 1, 3)).num_rows
        == 1
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"name": "trade"}, r"table must be one of trades, .*; was 'trade' \(did you mean trades.*\?\)"),
        ({"columns": ["valu"]}, r"columns must be one or more of .*; was valu \(did you mean value.*\?\)"),
        ({"columns": []}, "columns must be one or more of .*; was empty"),
        ({"start": "2023-02-01", "end": "2023-01-01"}, "end must not be before start 2023-02-01; was 2023-01-01"),
        ({"end": "03/01/2023"}, "end must be an ISO date"),
        ({"end": "NaT"}, "end must be an ISO date"),
    ],
)
def test_a_wrong_request_is_a_value_error(store, arguments, words):
    with pytest.raises(ValueError, match=words):
        store.table(**{"name": "rates", **arguments})


def test_events_come_back_as_the_array_that_went_in(make, tmp_path):
    offers = [
        (f"{s}{d}", "book_events", "B3", make.book_events(d, s, 50, first=7 * d)) for d in (0, 1, 2) for s in "AB"
    ]
    make.put(tmp_path / "store", tmp_path / "s", *offers)
    store = Store.open(tmp_path / "store")
    found = store.event_array("B3", "B", "2023-01-03", "2023-01-04")
    assert found.dtype == EVENT_DTYPE
    tables = [make.book_events(d, "B", 50, first=7 * d) for d in (0, 1)]
    for name in EVENT_DTYPE.names:
        assert found[name].tolist() == [value for t in tables for value in t[name].to_pylist()]
    assert len(store.event_array("B3", "A", "2023-01-05")) == 50
    assert len(store.event_array("B3", "A", "2023-01-06")) == len(store.event_array("B4", "A", "2023-01-05")) == 0
    assert (
        event_rows(
            [
                store.sql(
                    "select * from book_events where symbol = 'B' and session < '2023-01-05' order by session, sequence"
                )
            ]
        ).tobytes()
        == found.tobytes()
    )


def test_one_symbol_and_day_are_read_without_pandas(make, tmp_path):
    """Its import in a fresh process takes longer than the read."""
    make.put(tmp_path / "store", tmp_path / "s", ("a", "book_events", "B3", make.book_events(0, "B", 5)))
    script = (
        "import sys; from data_pipeline.store import Store; store = Store.open(sys.argv[1]); "
        "assert store.table('book_events', symbols='B', start='2023-01-03').num_rows == 5; "
        "assert store.table('book_events', symbols=['A', 'B']).num_rows == 5; assert 'pandas' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path / "store")], check=True)


def test_files_that_cannot_hold_a_row_are_not_opened(make, tmp_path, monkeypatch):
    monkeypatch.setattr(commit, "SMALL_ROWS", 0)
    offers = [(f"{s}{d}", "book_events", "B3", make.book_events(d, s, 5)) for d in range(3) for s in "ABC"]
    make.put(tmp_path / "store", tmp_path / "s", *offers)
    store = Store.open(tmp_path / "store")
    for p in store.manifest.tables:
        for part in p.parts:
            if (p.period, part.first) != ("2023-01-04", "B"):
                (tmp_path / "store" / part.path).unlink()
    assert len(store.event_array("B3", "B", "2023-01-04")) == 5
    query = "select count(*) n from book_events where symbol = 'B' and session = '2023-01-04' and venue = 'B3'"
    assert store.sql(query).to_pylist() == [{"n": 5}]
    with pytest.raises(DataError, match="is missing: the store changed while it was read"):
        store.table("book_events", symbols="A")


def test_of_a_large_part_only_the_row_groups_of_the_symbol_are_read(make, tmp_path, monkeypatch):
    monkeypatch.setattr(part_writer, "GROUP_ROWS", 10)
    counts = {"A": 3, "B": 25, "C": 4, "CC": 3, "D": 9, "F": 30}
    rows = pa.concat_tables([make.book_events(0, s, n) for s, n in counts.items()])
    manifest, _ = make.put(tmp_path / "store", tmp_path / "s", ("a", "book_events", "B3", rows))
    part = manifest.tables[0].parts[0]
    with open_part(open_files(tmp_path / "store"), part) as found:
        held = [set(found.read_row_group(k)["symbol"].to_pylist()) for k in range(found.metadata.num_row_groups)]
        assert len(held) > 6
        for wanted in (["A"], ["B"], ["C", "D"], ["CC"], ["F"], ["E"], ["", "Z"], []):
            groups = groups_of(found, "symbol", wanted)
            assert groups == [k for k, group in enumerate(held) if any(min(group) <= s <= max(group) for s in wanted)]
    store = Store.open(tmp_path / "store")
    for symbol, count in counts.items():
        assert store.table("book_events", symbols=symbol)["sequence"].to_pylist() == list(range(count))


@pytest.mark.parametrize("table", ["depth", "trades"])
def test_tables_with_lists_and_nanoseconds_come_back(make, tmp_path, table):
    """A list column before another one moves the place of statistics in the file."""
    spec = TABLES[table]
    count = 40
    values = {
        pa.date32(): [datetime.date(2023, 1, 3)] * count,
        pa.string(): ["A"] * 20 + ["B"] * 20,
        pa.int64(): list(range(count)),
        pa.float64(): [k / 7 for k in range(count)],
        pa.int8(): [1, -1] * 20,
        pa.int32(): [None] * count,
        pa.list_(pa.float64()): [[1.0] * (k % 4) for k in range(count)],
    }
    columns = {}
    for column in spec.columns:
        if pa.types.is_timestamp(column.type):
            columns[column.name] = pa.array(range(1_672_750_000_000_000_001, 1_672_750_000_000_000_041)).cast(
                column.type
            )
        elif column.words:
            columns[column.name] = pa.array([column.words[0]] * count)
        else:
            columns[column.name] = pa.array(values[column.type], column.type)
    rows = pa.table(columns, schema=spec.schema)
    make.put(tmp_path / "store", tmp_path / "s", ("a", table, "B3", rows))
    store = Store.open(tmp_path / "store")
    assert store.table(table).equals(rows)
    assert store.table(table, symbols=["B"]).equals(rows.slice(20))
    assert store.sql(f"select epoch_ns(time) t from {table} limit 1").to_pylist() == [{"t": 1_672_750_000_000_000_001}]
    assert store.sql(f"select time from {table}")["time"].cast("int64").equals(rows["time"].cast("int64"))


def test_a_store_lies_at_any_url(make, tmp_path):
    rows = make.rates(ROWS)
    for place, kind in (
        (f"memory://{uuid.uuid4()}/deep/store", RemoteFiles),
        (f"file://{tmp_path}/store", LocalFiles),
        (str(tmp_path / "plain"), LocalFiles),
    ):
        assert isinstance(open_files(place), kind)
        make.put(place, tmp_path / "s", ("a", "rates", "BCB", rows))
        store = Store.open(place)
        store.verify()
        assert store.table("rates", symbols="433")["value"].to_pylist() == [v for _, s, v in ROWS if s == "433"]
        assert store.sql("select count(*) n from rates").to_pylist() == [{"n": len(ROWS)}]
    for place in ("memory://nothing-here", f"file://{tmp_path}/no"):
        with pytest.raises(DataError, match="holds no store"):
            Store.open(place)
    with pytest.raises(DataError, match="cannot open nosuch://x"):
        Store.open("nosuch://x")


def test_a_table_of_another_version_is_refused_with_the_command(make, tmp_path):
    make.put(tmp_path / "store", tmp_path / "s", ("a", "rates", "BCB", make.rates(ROWS)))
    path = tmp_path / "store" / "manifest.json"
    text = path.read_text()
    path.write_text(text.replace('["BCB","2023",1,', '["BCB","2023",0,'))
    with pytest.raises(DataError, match=r"table rates has version 0, .* run `fairfield store migrate --store"):
        Store.open(tmp_path / "store").table("rates")
    path.write_text(text.replace('["BCB","2023",1,', '["BCB","2023",9,'))
    with pytest.raises(DataError, match="table rates of version 9 is not known to this program"):
        Store.open(tmp_path / "store").sql("select * from rates")
    path.write_text(text.replace('["BCB","2023",1,', '["BCB",'))
    with pytest.raises(DataError, match=r"manifest\.json is damaged"):
        Store.open(tmp_path / "store").table("rates")
