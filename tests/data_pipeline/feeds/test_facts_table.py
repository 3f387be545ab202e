from __future__ import annotations

import datetime
import io
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_pipeline.errors import DataError
from data_pipeline.feeds.reading import RawHead, Tally
from data_pipeline.feeds.reference.facts_table import FACTS_TABLE, RULE_CONTRADICTED, RULE_REPEATED
from data_pipeline.tables.catalog import TIME

UTC, SAO_PAULO = datetime.UTC, ZoneInfo("America/Sao_Paulo")
CSV = b"""entity,field,event_time,known_at,value,version
AAAA3,score,2023-03-31,2023-05-10T18:30:00-03:00,1.5,1
AAAA3,score,2023-03-31,2023-06-01T09:00:00Z,1.25,2
BBBB4,score,2023-03-31,2023-05-10,-7e-3,
"""


def read(feed_run, content, name="sentiment_2023.csv", **options):
    tables, tally = feed_run.read(FACTS_TABLE, {name: content}, **options)
    return tables["facts"].to_pylist(), tally


def test_a_table_with_the_names_of_facts_needs_no_mapping(feed_run):
    rows, tally = read(feed_run, CSV)
    assert rows[0] == {
        "known_on": datetime.date(2023, 5, 10),
        "symbol": "AAAA3",
        "field": "score",
        "event_start": None,
        "event_time": datetime.date(2023, 3, 31),
        "known_at": datetime.datetime(2023, 5, 10, 21, 30, tzinfo=UTC),
        "version": 1,
        "value": 1.5,
        "unit": "-",
        "source": "sentiment_2023.csv",
    }
    assert (rows[1]["version"], rows[1]["value"]) == (2, 1.25)
    # a mere date is known when it is over
    assert (rows[2]["known_at"], rows[2]["value"]) == (datetime.datetime(2023, 5, 11, tzinfo=SAO_PAULO), -0.007)
    assert (tally.rows, tally.counts) == (3, {})


def test_a_mapping_names_columns_and_constants(feed_run):
    content = b"ticker;day;seen;mood\nAAAA3;31/03/2023;2023-05-10 18:30:00;1.234,5\n"
    ((row), _) = read(
        feed_run,
        content,
        entity="Ticker",
        field="=mood",
        event_time="day",
        known_at="seen",
        value="mood",
        unit="=points",
        timezone="America/Sao_Paulo",
    )
    assert (row[0]["symbol"], row[0]["field"], row[0]["value"], row[0]["unit"]) == ("AAAA3", "mood", 1234.5, "points")
    assert row[0]["known_at"] == datetime.datetime(2023, 5, 10, 18, 30, tzinfo=SAO_PAULO)


def test_parquet_times_keep_their_zone(feed_run):
    moment = datetime.datetime(2023, 5, 10, 21, 30, 0, 123456, tzinfo=UTC)
    out = io.BytesIO()
    table = pa.table(
        {
            "entity": ["A"],
            "field": ["x"],
            "event_time": pa.array([datetime.date(2023, 3, 31)]),
            "known_at": pa.array([moment], TIME),
            "value": [1],
        }
    )
    pq.write_table(table, out)
    rows, _ = read(feed_run, out.getvalue(), "x.parquet")
    assert rows[0]["known_at"] == moment
    naive = table.set_column(3, "known_at", table["known_at"].cast(pa.timestamp("us")))
    out = io.BytesIO()
    pq.write_table(naive, out)
    with pytest.raises(DataError, match="has no zone"):
        read(feed_run, out.getvalue(), "x.parquet")


def test_the_venue_is_that_of_the_data_set(tmp_path):
    path = tmp_path / "my-scores_2023-05.csv"
    path.write_bytes(CSV)
    assert [batch.venue for batch in FACTS_TABLE.read((path,), Tally(), {})] == ["MY_SCORES"]
    assert [batch.venue for batch in FACTS_TABLE.read((path,), Tally(), {"venue": "DESK"})] == ["DESK"]
    assert FACTS_TABLE.recognises(RawHead(path, path.name, CSV))
    assert not FACTS_TABLE.recognises(RawHead(path, path.name, b"entity,field,value\n"))


def test_repeated_facts_are_left_out_and_those_that_differ_counted(feed_run):
    line = CSV.splitlines()[1]
    rows, tally = read(feed_run, CSV + line + b"\n" + line.replace(b"1.5", b"1.6") + b"\n")
    assert [row["value"] for row in rows] == [1.25, -0.007, 1.6]
    assert tally.counts == {RULE_REPEATED: 2, RULE_CONTRADICTED: 1}


@pytest.mark.parametrize(
    ("content", "options", "words"),
    [
        (CSV.replace(b"-03:00", b""), {}, "known_at '2023-05-10T18:30:00' has no zone"),
        (CSV.replace(b"2023-05-10T", b"2023-05-40T"), {}, "known_at must be a time"),
        (CSV.replace(b",score,2023-03-31,2023-06", b",,2023-03-31,2023-06"), {}, "row 2: field is absent"),
        (CSV.replace(b"1.5", b"inf"), {}, "line 2: value must be a number"),
        (CSV.replace(b",1\n", b",0\n", 1), {}, "row 1: version must be 1 or more; was 0"),
        (CSV, {"value": "score"}, "lacks the column score"),
        (CSV, {"event_time": "=soon"}, "option event_time must be a day; was 'soon'"),
        (CSV, {"event_start": "=2024-01-01"}, "event_start must not be after event_time"),
        (CSV.replace(b"2023-06-01T", b"0001-06-01T"), {}, "must be in the years 1900 to 2200"),
    ],
)
def test_what_cannot_be_is_refused(feed_run, content, options, words):
    with pytest.raises(DataError, match=words):
        read(feed_run, content, **options)


def test_a_table_without_rows_gives_none(feed_run):
    tables, tally = feed_run.read(FACTS_TABLE, {"s.csv": CSV.splitlines()[0] + b"\n"})
    assert (tables, tally.rows) == ({}, 0)


def test_an_unknown_zone_is_refused(feed_run):
    with pytest.raises(ValueError, match="timezone must be a name like America/Sao_Paulo; was 'Mars'"):
        read(feed_run, CSV, timezone="Mars")


@given(st.data())
@settings(max_examples=80)
def test_damaged_tables_give_one_error_or_facts_that_can_be(feed_run, data):
    feed_run.survives(FACTS_TABLE, "scores.csv", data.draw(feed_run.damage(CSV)))
