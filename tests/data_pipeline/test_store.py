from __future__ import annotations

import datetime
import json
import subprocess
import sys
import uuid

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from data_pipeline.errors import DataError
from data_pipeline.ingest import ingest
from data_pipeline.manifest import Manifest
from data_pipeline.schema import CDI_SCHEMA, EVENT_SCHEMA, QUARANTINE_SCHEMA, QUOTE_SCHEMA
from data_pipeline.store import Store, read_part, write_part
from data_pipeline.tables.files import open_files

DAYS = (20221229, 20230102, 20230103, 20230201)


@pytest.fixture
def folder(raw, tmp_path):
    """Store of four sessions in three months: shares and one option a day, in no order."""
    records = []
    for day in reversed(DAYS):
        records.append(raw.record(DATA=day, CODNEG="BBBB4"))
        records.append(raw.record(DATA=day, CODNEG="AAAAB10", TPMERC=70, DATVEN=20230217))
        records.append(raw.record(DATA=day, CODNEG="AAAA3"))
    path = tmp_path / "COTAHIST_A2023.TXT"
    path.write_bytes(raw.text(records, generated=20230201))
    ingest(path, tmp_path / "store")
    return tmp_path / "store"


def test_rows_come_back_sorted_with_the_contract_s_columns(folder):
    store = Store.open(folder)
    table = store.read()
    assert table.schema == QUOTE_SCHEMA
    keys = list(zip(table["session"].to_pylist(), table["ticker"].to_pylist(), strict=True))
    days = [datetime.datetime.strptime(str(day), "%Y%m%d").date() for day in DAYS]
    assert keys == [(day, ticker) for day in days for ticker in ("AAAA3", "AAAAB10", "BBBB4")]
    assert store.sessions().dtype == np.dtype("datetime64[D]")
    assert store.sessions().tolist() == days


def test_months_are_partitions_that_any_parquet_reader_understands(folder):
    names = sorted(str(p.parent.relative_to(folder)) for p in folder.glob("cotahist/*/*/*.parquet"))
    assert names == [
        "cotahist/year=2022/month=12",
        "cotahist/year=2023/month=01",
        "cotahist/year=2023/month=02",
    ]
    assert pq.read_table(folder / "cotahist").num_rows == 12


def test_reading_a_part_of_the_columns_days_and_markets_is_filtering_the_whole(folder):
    store = Store.open(folder)
    whole = store.read()
    for columns in (None, ["close_cents"], ["ticker", "session"]):
        for start in (None, "2022-12-29", "2023-01-03", np.datetime64("2023-01-04"), datetime.date(2024, 1, 1)):
            for end in (None, "2023-01-02", "2023-03-01"):
                if start is not None and end is not None and np.datetime64(str(start)) > np.datetime64(end):
                    continue
                for markets in (None, [10], [70, 80], []):
                    keep = np.ones(whole.num_rows, dtype=bool)
                    session = whole["session"].to_numpy()
                    keep &= True if start is None else session >= np.datetime64(str(start))
                    keep &= True if end is None else session <= np.datetime64(end)
                    keep &= True if markets is None else np.isin(whole["market_type"].to_numpy(), markets)
                    expected = whole.filter(pa.array(keep)).select(QUOTE_SCHEMA.names if columns is None else columns)
                    found = store.read(columns, start, end, markets)
                    assert found.column_names == expected.column_names
                    assert found.to_pylist() == expected.to_pylist()


def test_months_come_one_at_a_time_and_only_those_asked_for(folder):
    store = Store.open(folder)
    tables = list(store.iter_months())
    assert [t.num_rows for t in tables] == [3, 6, 3]
    assert pa.concat_tables(tables).equals(store.read())
    for partition in store.manifest.partitions[:2]:
        (folder / partition.part.path).unlink()
    assert store.read(start="2023-02-01").num_rows == 3  # the other months' parts are not even opened


def test_an_empty_range_gives_an_empty_table_with_the_columns(folder):
    table = Store.open(folder).read(["ticker"], start="2030-01-01")
    assert table.num_rows == 0
    assert table.column_names == ["ticker"]
    assert table.schema.field("ticker").type == pa.string()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"columns": ["close"]}, r"columns must be one or more of session, .*; was close"),
        ({"columns": []}, r"columns must be one or more of session, .*; was empty"),
        ({"start": "2023-02-01", "end": "2023-01-01"}, "end must not be before start 2023-02-01; was 2023-01-01"),
        ({"start": "01/02/2023"}, "start must be an ISO date"),
    ],
)
def test_a_wrong_request_is_a_value_error(folder, arguments, words):
    with pytest.raises(ValueError, match=words):
        Store.open(folder).read(**arguments)


def test_a_store_without_quarantine_events_or_rates_gives_empty_tables(folder):
    store = Store.open(folder)
    assert store.quarantine().schema == QUARANTINE_SCHEMA
    assert store.events().schema == EVENT_SCHEMA
    assert store.cdi().schema == CDI_SCHEMA
    assert store.manifest.quarantined_rows == store.events().num_rows == store.cdi().num_rows == 0


def test_the_manifest_tells_the_source_of_every_session(folder):
    manifest = Store.open(folder).manifest
    (source,) = manifest.sources
    assert (source.file, source.kind, source.generated, source.rows) == (
        "COTAHIST_A2023.TXT",
        "cotahist",
        "2023-02-01",
        12,
    )
    assert source.sessions == ("2022-12-29", "2023-01-02", "2023-01-03", "2023-02-01")
    assert source.rule_counts == {"expiry 99991231 is none": 8, "bid 0 is none": 0, "ask 0 is none": 0}
    given = {day: entry for partition in manifest.partitions for day, entry in partition.sessions.items()}
    assert sorted(given) == list(source.sessions)
    assert {(entry.source, entry.rows) for entry in given.values()} == {(source.sha256, 3)}


def test_a_folder_without_a_store_is_an_error_that_says_what_to_do(tmp_path):
    with pytest.raises(DataError, match=r"holds no store .*fairfield ingest"):
        Store.open(tmp_path)


def test_a_store_of_another_schema_version_is_refused_for_reading_and_writing(folder, raw, tmp_path):
    path = folder / "manifest.json"
    document = json.loads(path.read_text())
    path.write_text(json.dumps(document | {"schema_version": 99}))
    words = "has schema version 99, this program reads version 2: ingest the raw files into a new folder"
    with pytest.raises(DataError, match=words):
        Store.open(folder)
    before = sorted(folder.rglob("*"))
    with pytest.raises(DataError, match=words):
        ingest(tmp_path / "COTAHIST_A2023.TXT", folder)
    assert sorted(folder.rglob("*")) == before


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "{}", '{"schema_version": 2}', '{"schema_version": 2, "sources": 3}']
)
def test_a_damaged_manifest_is_an_error_that_names_it(folder, content):
    (folder / "manifest.json").write_text(content)
    with pytest.raises(DataError, match=r"manifest\.json is damaged .*ingest the raw files again"):
        Store.open(folder)


def test_a_missing_or_damaged_part_is_an_error_that_names_it(folder):
    store = Store.open(folder)
    store.verify()
    path = folder / store.manifest.partitions[1].part.path
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match=rf"{path.name} changed since it was written"):
        store.verify()
    path.write_bytes(content[:100])
    with pytest.raises(DataError, match=rf"{path.name} is damaged"):
        store.read()
    path.unlink()
    for action in (store.verify, store.read):
        with pytest.raises(DataError, match=rf"{path.name} is missing: the store changed while it was read"):
            action()


def test_a_part_with_other_rows_than_the_manifest_says_is_refused(folder):
    store = Store.open(folder)
    first, second, _ = (partition.part for partition in store.manifest.partitions)
    (folder / second.path).write_bytes((folder / first.path).read_bytes())
    with pytest.raises(DataError, match="must have 6 rows; has 3"):
        store.read()


def test_daily_quotes_are_read_from_a_url_as_from_a_folder(folder):
    url = f"memory://{uuid.uuid4()}/store"
    local, remote = open_files(folder), open_files(url)
    for path in local.list():
        remote.put(path, local.read_bytes(path))
    store, away = Store.open(folder), Store.open(url)
    away.verify()
    assert away.content_hash == store.content_hash
    assert away.read().equals(store.read())
    assert away.quarantine().equals(store.quarantine())
    assert [t.num_rows for t in away.iter_months()] == [3, 6, 3]
    query = "select ticker, count(*) n from daily_quotes group by ticker order by ticker"
    assert away.sql(query).equals(store.sql(query))
    lost = away.manifest.partitions[0].part.path
    remote.remove(lost)
    for action in (away.verify, away.read):
        with pytest.raises(DataError, match=f"{url}/{lost} is missing"):
            action()


def test_the_bytes_of_a_part_depend_on_its_rows_only(tmp_path):
    rows = 300_000
    values = pa.array(np.arange(rows) % 977 * 1000)
    words = pc.cast(values, pa.string())
    table = pa.table({"quantity": values, "ticker": words})
    pieces = pa.concat_tables([table.slice(start, 7_001) for start in range(0, rows, 7_001)])
    whole = write_part(table, tmp_path / "a", "cotahist")
    assert write_part(pieces, tmp_path / "b", "cotahist") == whole
    offset = pa.concat_tables([table.slice(0, 5), table]).slice(5)
    assert write_part(offset, tmp_path / "c", "cotahist") == whole
    again = read_part(tmp_path / "a", whole)
    assert write_part(again, tmp_path / "d", "cotahist") == whole


def test_the_content_hash_changes_with_any_part_and_not_with_the_sources(folder):
    manifest = Store.open(folder).manifest
    assert Manifest(partitions=manifest.partitions).content_hash == manifest.content_hash
    hashes = {Manifest(partitions=manifest.partitions[:n]).content_hash for n in range(4)}
    hashes.add(Manifest(partitions=manifest.partitions, cdi=manifest.partitions[0].part).content_hash)
    assert len(hashes) == 5


def test_importing_the_package_loads_neither_arrow_nor_numba():
    code = "import sys, data_pipeline; print(sorted({'pyarrow', 'numba', 'pandas', 'numpy'} & set(sys.modules)))"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "[]"


def test_the_package_gives_its_public_names_when_asked():
    import data_pipeline

    assert data_pipeline.Store is Store
    assert set(data_pipeline.__all__) <= set(dir(data_pipeline))
    for name in data_pipeline.__all__:
        assert getattr(data_pipeline, name).__name__ == name
    with pytest.raises(AttributeError, match="module 'data_pipeline' has no attribute 'Stor'"):
        _ = data_pipeline.Stor
