"""Closes and traded values out of CSV and Parquet; what cannot be a close is refused."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data_pipeline.errors import DataError
from data_pipeline.feeds.reading import RawHead, Tally
from data_pipeline.feeds.reference.closes import CLOSES
from data_pipeline.feeds.registry import recognise
from data_pipeline.raw_file import read_head
from data_pipeline.tables.catalog import CLOSES as SPEC

TEXT = b"date;asset;close;value\n2023-01-02;AAAA3;10,50;1.000.000,00\n2023-01-03;AAAA3;10,70;2.000.000,00\n"


def read(path: Path) -> tuple[pa.Table, Tally]:
    tally = Tally()
    batches = [batch.rows for batch in CLOSES.read((path,), tally, {})]
    return pa.concat_tables(batches) if batches else SPEC.schema.empty_table(), tally


def test_csv_and_parquet_give_the_same_rows(tmp_path):
    text, parquet = tmp_path / "closes.csv", tmp_path / "closes.parquet"
    text.write_bytes(TEXT)
    rows, tally = read(text)
    assert (tally.rows, rows["close"].to_pylist(), rows["traded_value"].to_pylist()) == (2, [10.5, 10.7], [1e6, 2e6])
    days = pa.array(["2023-01-02", "2023-01-03"]).cast(pa.date32())
    columns = {"date": days, "ticker": ["AAAA3"] * 2, "close": [10.5, 10.7], "volume": [1e6, 2e6]}
    pq.write_table(pa.table(columns), parquet)
    assert read(parquet)[0].equals(rows)
    for path in (text, parquet):
        assert CLOSES.recognises(RawHead(path, path.name, path.read_bytes()[:4096]))


def test_other_tables_are_not_taken_for_closes(tmp_path):
    path = tmp_path / "x.csv"
    path.write_bytes(b"symbol;refdate;value\n")
    assert not CLOSES.recognises(RawHead(path, path.name, path.read_bytes()))


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (b"10,50", b"0,00", "row 1: close must be above 0"),
        (b"2.000.000,00", b"-2,00", "row 2: value must not be below 0"),
        (b"10,70", b"nan", "close"),
        (b"AAAA3;10,7", b"../x;10,7", "row 2: asset must be a code"),
        (b"2023-01-03", b"2023-13-03", "line 3: date must be a day of the calendar; was '2023-13-03'"),
    ],
)
def test_what_cannot_be_a_close_is_refused_with_its_place(tmp_path, old, new, words):
    path = tmp_path / "closes.csv"
    path.write_bytes(TEXT.replace(old, new))
    with pytest.raises(DataError, match=words):
        read(path)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.integers(0, len(TEXT) - 1), st.integers(0, 255), st.integers(0, len(TEXT)))
def test_damaged_bytes_are_refused_or_give_rows_of_the_table(tmp_path, place, byte, cut):
    path = tmp_path / "closes.csv"
    path.write_bytes((TEXT[:place] + bytes([byte]) + TEXT[place + 1 :])[:cut])
    try:
        rows, _ = read(path)
    except DataError:
        return
    assert rows.schema == SPEC.schema
    assert rows.num_rows == 0 or pc.min(rows["close"]).as_py() > 0


@pytest.mark.realdata
def test_the_panel_of_the_index_members(realdata: Path):
    path = realdata / "reference" / "ibov_members_close_volume_2017_2025.parquet"
    assert recognise(read_head(path)) is CLOSES
    rows, tally = read(path)
    assert (tally.rows, rows.num_rows) == (137_210, 137_210)
    assert len(pc.unique(rows["symbol"])) == 138
    assert (str(pc.min(rows["session"])), str(pc.max(rows["session"]))) == ("2017-09-04", "2025-10-06")
