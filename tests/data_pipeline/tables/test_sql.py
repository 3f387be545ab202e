from __future__ import annotations

import os

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from data_pipeline.errors import DataError
from data_pipeline.ingest import ingest
from data_pipeline.store import Store
from data_pipeline.tables.sql import VIEWS, days_of


@pytest.fixture(scope="module")
def store(make, raw, tmp_path_factory):
    """Daily quotes of two months, and rates of two venues."""
    folder = tmp_path_factory.mktemp("sql")
    days = (20221229, 20230102, 20230103)
    records = [raw.record(DATA=day, CODNEG=code) for day in days for code in ("AAAA3", "BBBB4")]
    (folder / "COTAHIST_A2023.TXT").write_bytes(raw.text(records, generated=20230103))
    ingest(folder / "COTAHIST_A2023.TXT", folder / "store")
    rows = make.rates([(day, symbol, day / 8 + len(symbol)) for day in range(0, 800, 50) for symbol in ("12", "433")])
    make.put(folder / "store", folder / "s", ("a", "rates", "BCB", rows), ("b", "rates", "B3", rows.slice(0, 4)))
    return Store.open(folder / "store")


def test_a_query_gives_what_arrow_gives(store):
    table = store.table("rates", columns=["session", "symbol", "value", "venue"])
    found = store.sql("select venue, symbol, count(*) n, sum(value) total from rates group by all order by all")
    expected = table.group_by(["venue", "symbol"]).aggregate([([], "count_all"), ("value", "sum")])
    expected = expected.sort_by([("venue", "ascending"), ("symbol", "ascending")])
    assert found["n"].to_pylist() == expected["count_all"].to_pylist()
    assert found["total"].to_pylist() == expected["value_sum"].to_pylist()  # eighths: exact in any order
    some = store.sql(
        "select session, value from rates where session between '2023-06-01' and '2024-02-01' order by 1, 2"
    )
    day = pa.scalar
    kept = table.filter(
        pc.and_(
            pc.greater_equal(table["session"], pc.strptime(day("2023-06-01"), "%Y-%m-%d", "s").cast(pa.date32())),
            pc.less_equal(table["session"], pc.strptime(day("2024-02-01"), "%Y-%m-%d", "s").cast(pa.date32())),
        )
    ).sort_by([("session", "ascending"), ("value", "ascending")])
    assert some.to_pylist() == kept.select(["session", "value"]).to_pylist()
    assert some.num_rows > 5


def test_the_older_tables_are_views_too(store):
    found = store.sql("select session, ticker, close_cents from daily_quotes order by session, ticker")
    assert found.to_pylist() == store.read(["session", "ticker", "close_cents"]).to_pylist()
    assert store.sql("select count(*) n from daily_quotes where session >= '2023-01-01'").to_pylist() == [{"n": 4}]
    for view in ("quarantine", "company_events", "cdi", "trades"):
        assert store.sql(f"select * from {view}").num_rows == 0
    joined = "select count(*) n from daily_quotes d join rates r on r.session = d.session and r.venue = 'B3'"
    assert store.sql(joined).to_pylist() == [{"n": 4}]  # two quotes and two series on 2023-01-03


def test_every_view_is_listed_and_described(store):
    assert store.sql("show tables")["name"].to_pylist() == sorted(VIEWS)
    columns = store.sql("describe book_events")["column_name"].to_pylist()
    assert columns == [*store.table("book_events").column_names, "venue"]
    assert store.sql("explain select 1").num_rows


@pytest.mark.parametrize(
    ("query", "words"),
    [
        (
            "select * from daily_quote",
            r"there is no table daily_quote \(did you mean daily_quotes.*\?\): the tables are",
        ),
        ("select valu from rates", r'Referenced column "valu" not found .* Candidate bindings: "value"'),
        ("selec 1", "query must be SQL that DuckDB understands; Parser Error"),
        ("", "query must be one SELECT"),
        ("select 1; select 2", "query must be one SELECT"),
        ("select 'x'::int", "query must be one that DuckDB can answer; Conversion Error"),
    ],
)
def test_a_wrong_query_is_a_value_error_that_says_what_is_there(store, query, words):
    with pytest.raises(ValueError, match=words):
        store.sql(query)


OUTSIDE = (
    "select * from '{file}'",
    "select * from read_parquet('{file}')",
    "select * from read_csv('{file}')",
    "select * from read_text('{file}')",
    "select * from read_blob('{file}')",
    "select * from glob('{folder}/*')",
    "select * from sniff_csv('{file}')",
    "select * from query('select * from read_text(''{file}'')')",
    "select * from parquet_metadata('{file}')",
    "select * from parquet_scan('https://example.com/x.parquet')",
    "copy rates to '{folder}/stolen.csv'",
    "copy (select 1) to '{file}'",
    "export database '{folder}/db'",
    "attach '{folder}/x.db'",
    "install httpfs",
    "load httpfs",
    "set enable_external_access = true",
    "pragma enable_profiling",
    "create table t as select 1",
    "create or replace view rates as select 1",
    "drop view rates",
    "delete from rates",
    "insert into rates values (1)",
    "update rates set value = 0",
    "call pragma_version()",
    "explain analyze copy rates to '{folder}/stolen.csv'",
    "select * from store",
    "select getenv('HOME')",
    "with x as (select * from read_text('{file}')) select * from x",
)


@pytest.mark.parametrize("query", OUTSIDE)
def test_a_query_reads_the_store_and_nothing_else_and_writes_nothing(store, tmp_path, query):
    secret = tmp_path / "secret.parquet"
    secret.write_bytes(b"a,b\n1,2\n")
    before = {p: p.read_bytes() for p in [*store.files.root.rglob("*"), *tmp_path.rglob("*")] if p.is_file()}
    with pytest.raises(ValueError, match="query must be"):
        store.sql(query.format(file=secret, folder=tmp_path))
    assert {p: p.read_bytes() for p in [*store.files.root.rglob("*"), *tmp_path.rglob("*")] if p.is_file()} == before


def test_only_committed_parts_are_read(store):
    stray = store.files.root / "rates/venue=BCB/date=2023/part-0000000000000000.parquet"
    named = next(part for p in store.manifest.tables for part in p.parts)
    stray.write_bytes((store.files.root / named.path).read_bytes())
    try:
        count = store.sql("select count(*) n from rates").to_pylist()[0]["n"]
    finally:
        stray.unlink()
    assert count == store.table("rates").num_rows == sum(p.rows for p in store.manifest.tables)


def test_a_missing_file_is_an_error_about_the_store(make, tmp_path):
    manifest, _ = make.put(tmp_path / "store", tmp_path / "s", ("a", "rates", "BCB", make.rates([(0, "12", 1.0)])))
    os.truncate(tmp_path / "store" / manifest.tables[0].parts[0].path, 30)
    with pytest.raises(DataError, match=r"could not be read: .*fairfield store verify"):
        Store.open(tmp_path / "store").sql("select * from rates")
    (tmp_path / "store" / manifest.tables[0].parts[0].path).unlink()
    with pytest.raises(DataError, match="could not be read"):
        Store.open(tmp_path / "store").sql("select * from rates")


def test_days_of_a_period():
    for period, first, last in (
        ("2024-02", "2024-02-01", "2024-02-29"),
        ("2023", "2023-01-01", "2023-12-31"),
        ("2023-12-31", "2023-12-31", "2023-12-31"),
    ):
        assert [str(day) for day in days_of(period)] == [first, last]
