from __future__ import annotations

import datetime
import io
import json

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_pipeline.errors import DataError
from data_pipeline.feeds.reading import RawHead
from data_pipeline.feeds.reference.index_levels import INDEX_LEVELS, RULE_CONTRADICTED, RULE_REPEATED
from data_pipeline.sessions.calendar import b3_sessions

DAY = datetime.date
CSV = b"symbol,refdate,value\nIBOV,2023-01-02,106376.02\nIDIV,2023-01-02,6500.5\nIBOV,2023-01-03,104165.74\n"
RATE = json.dumps(
    {"taxa": "11,65", "dataTaxa": "14/04/2022", "indice": "34.679,17", "dataIndice": "18/04/2022"}
).encode()


def parquet():
    out = io.BytesIO()
    days = [datetime.datetime(2023, 1, 2), datetime.datetime(2023, 1, 3)]
    pq.write_table(pa.table({"symbol": ["IBOV", "IBOV"], "refdate": days, "value": [106376.02, 104165.74]}), out)
    return out.getvalue()


def test_levels_are_read_from_csv_and_parquet(feed_run, tmp_path):
    from_csv = feed_run.read(INDEX_LEVELS, {"i.csv": CSV})[0]["index_levels"].to_pylist()
    from_parquet = feed_run.read(INDEX_LEVELS, {"i.parquet": parquet()})[0]["index_levels"].to_pylist()
    assert from_parquet == [row for row in from_csv if row["symbol"] == "IBOV"]
    assert from_csv[0] == {"session": DAY(2023, 1, 2), "symbol": "IBOV", "level": 106376.02}
    brazilian = b"symbol;refdate;value\r\nIBOV;02/01/2023;106.376,02\r\n"
    assert feed_run.read(INDEX_LEVELS, {"i.csv": brazilian})[0]["index_levels"].to_pylist() == [from_csv[0]]
    assert INDEX_LEVELS.recognises(RawHead(tmp_path, "i.csv", CSV))
    assert not INDEX_LEVELS.recognises(RawHead(tmp_path, "i.csv", b"symbol,refdate,value,other\n"))


def test_repeated_days_are_left_out_and_those_that_differ_counted(feed_run):
    tables, tally = feed_run.read(INDEX_LEVELS, {"i.csv": CSV + b"IBOV,2023-01-03,104165.74\nIBOV,2023-01-02,106377\n"})
    assert tables["index_levels"].num_rows == 3
    assert tally.rows == 5
    assert tally.counts == {RULE_REPEATED: 2, RULE_CONTRADICTED: 1}


def test_the_di_rate_and_its_index_keep_their_own_days(feed_run, tmp_path):
    tables = feed_run.read(INDEX_LEVELS, {"CDIIDI.json": RATE})[0]
    assert tables["index_levels"].to_pylist() == [{"session": DAY(2022, 4, 18), "symbol": "IDI", "level": 34679.17}]
    assert tables["rates"].to_pylist() == [
        {"session": DAY(2022, 4, 14), "symbol": "DI", "value": 11.65, "unit": "% per year (252)"}
    ]
    assert INDEX_LEVELS.recognises(RawHead(tmp_path, "CDIIDI.json", RATE))


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("i.csv", CSV.replace(b"6500.5", b"0"), "row 2: value must be above 0; was '0.0'"),
        ("i.csv", CSV.replace(b"6500.5", b""), "value is absent"),
        ("i.csv", CSV.replace(b"IDIV", b"idiv"), "row 2: symbol must be capitals"),
        (
            "i.csv",
            CSV.replace(b"2023-01-03", b"2023-13-03"),
            "line 4: refdate must be a day of the calendar; was '2023-13-03'",
        ),
        ("i.json", RATE.replace(b"11,65", b"1165,00"), "taxa must be 0 to 100"),
        ("i.json", RATE.replace(b"taxa", b"tax", 1), "must have taxa, dataTaxa"),
        ("i.json", RATE[:-5], "is no JSON"),
        ("i.json", b'{"a":' * 100_000, "is no JSON"),
    ],
)
def test_what_cannot_be_is_refused(feed_run, name, content, words):
    with pytest.raises(DataError, match=words):
        feed_run.read(INDEX_LEVELS, {name: content})


@given(st.data())
@settings(max_examples=80)
def test_damaged_files_give_one_error_or_rows_that_can_be(feed_run, data):
    name, content = data.draw(st.sampled_from([("i.csv", CSV), ("i.json", RATE), ("i.parquet", parquet())]))
    feed_run.survives(INDEX_LEVELS, name, data.draw(feed_run.damage(content)))


@pytest.mark.realdata
def test_the_real_history_is_whole_and_on_the_exchanges_sessions(feed_run, realdata):
    path = realdata / "reference" / "index_history_IBOV_IDIV_SMLL_2018_2023.parquet"
    tables, tally = feed_run.drain(INDEX_LEVELS, [path])
    raw = pd.read_parquet(path)
    rows = tables["index_levels"].to_pandas()
    assert tally.rows == len(rows) == 4461
    assert rows["level"].to_list() == raw["value"].to_list()
    sessions = {str(day) for day in b3_sessions("2018-01-02", "2023-12-28")}
    for symbol in ("IBOV", "IDIV", "SMLL"):
        days = {str(day) for day in rows.loc[rows["symbol"] == symbol, "session"]}
        assert len(days) == 1487
        assert days == sessions


@pytest.mark.realdata
def test_the_real_di_rate_is_read(feed_run, realdata):
    tables = feed_run.drain(INDEX_LEVELS, [realdata / "reference" / "CDIIDI.json"])[0]
    assert {name: rows.num_rows for name, rows in tables.items()} == {"rates": 1, "index_levels": 1}
