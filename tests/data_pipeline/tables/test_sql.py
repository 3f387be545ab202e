from __future__ import annotations

import datetime
import os

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from data_pipeline.errors import DataError
from data_pipeline.ingest import ingest
from data_pipeline.store import Store
from data_pipeline.tables.catalog import TABLES
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
    assert store.sql("select * from cdi").to_pylist() == store.cdi().to_pylist()
    for view in ("quarantine", "company_events", "trades"):
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


def test_a_large_answer_comes_in_pieces_and_is_the_same(make, tmp_path):
    rows = make.rates([(day, f"S{day % 7}", day / 8) for day in range(3000)])
    make.put(tmp_path / "store", tmp_path / "s", ("a", "rates", "BCB", rows))
    store = Store.open(tmp_path / "store")
    query = "select r.session, r.symbol, r.value, n.range n from rates r, range(200) n order by r.session, n"
    first, *pieces = store.iter_sql(query)
    assert first.num_rows == 0
    assert max(piece.num_rows for piece in pieces) < 300_000 < sum(piece.num_rows for piece in pieces)
    assert pa.concat_tables(pieces).equals(store.sql(query))
    (alone,) = store.iter_sql("select symbol from rates where value < 0")
    assert (alone.num_rows, alone.column_names) == (0, ["symbol"])
    with pytest.raises(ValueError, match="query must be one that DuckDB can answer; Conversion Error"):
        list(store.iter_sql("select symbol::int from rates"))


def test_a_query_larger_than_its_memory_leaves_nothing_in_the_current_folder(make, tmp_path, monkeypatch):
    make.put(tmp_path / "store", tmp_path / "s", ("a", "rates", "BCB", make.rates([(0, "11", 1.0)])))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    store = Store.open(tmp_path / "store")
    (setting,) = store.sql("select current_setting('temp_directory') d")["d"].to_pylist()
    assert "fairfield-sql-" in setting
    assert not os.path.exists(setting)  # noqa: PTH110
    assert not list((tmp_path / "here").iterdir())


@pytest.mark.parametrize(
    ("condition", "kept"),
    [
        ("true", lambda r: True),
        ("symbol = 'B'", lambda r: r["symbol"] == "B"),
        ("symbol = $$B$$", lambda r: r["symbol"] == "B"),
        ("symbol > 'A' and condition = 'cross'", lambda r: r["symbol"] > "A" and r["condition"] == "cross"),
        ("condition in ($$cross$$)", lambda r: r["condition"] == "cross"),
    ],
)
def test_texts_read_as_codes_are_texts(make, tmp_path, condition, kept):
    """Without a text in the query the symbols are read as codes, which is several times cheaper."""
    spec = TABLES["trades"]
    records = [
        {"session": day, "symbol": symbol, "time": k, "sequence": k, "price": 1.0, "quantity": 1.0, "condition": word}
        for k, (symbol, word) in enumerate([("A", "regular"), ("B", "cross"), ("B", "regular"), ("C", "cross")] * 5)
        for day in [datetime.date(2023, 1, 3 + k % 3)]
    ]
    rows = pa.table({f.name: pa.array([r.get(f.name) for r in records], f.type) for f in spec.schema}, spec.schema)
    make.put(tmp_path / "store", tmp_path / "s", ("a", "trades", "B3", rows))
    store = Store.open(tmp_path / "store")
    found = store.sql(f"select symbol, condition, session, sequence from trades where {condition} order by sequence")
    assert found.to_pylist() == [{name: r[name] for name in found.column_names} for r in records if kept(r)]
    assert found.schema.field("symbol").type == pa.string()
    counts = store.sql("select condition, count(*) n from trades group by condition order by condition").to_pylist()
    assert counts == [{"condition": "cross", "n": 10}, {"condition": "regular", "n": 10}]
    kinds = {r["column_name"]: r["column_type"] for r in store.sql("describe trades").to_pylist()}
    assert (kinds["symbol"], kinds["condition"], kinds["venue"]) == ("VARCHAR",) * 3


def test_days_of_a_period():
    for period, first, last in (
        ("2024-02", "2024-02-01", "2024-02-29"),
        ("2023", "2023-01-01", "2023-12-31"),
        ("2023-12-31", "2023-12-31", "2023-12-31"),
    ):
        assert [str(day) for day in days_of(period)] == [first, last]
