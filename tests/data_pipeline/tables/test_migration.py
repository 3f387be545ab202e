from __future__ import annotations

import json
import shutil

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from data_pipeline.errors import DataError
from data_pipeline.ingest import ingest
from data_pipeline.manifest import MANIFEST, read_manifest
from data_pipeline.store import Store
from data_pipeline.tables.catalog import TABLES
from data_pipeline.tables.files import LocalFiles
from data_pipeline.tables.migration import migrate
from data_pipeline.tables.part_reader import iter_rows
from data_pipeline.tables.spec import Column, TableSpec
from data_pipeline.tables.versions import Step, steps_of

V1_SOURCE = ("sha256", "file", "kind", "generated", "rows", "quarantined", "sessions", "rule_counts")


def as_version_1(folder):
    """Write the manifest as version 1 did: one indented object, sorted keys, without what version 2 added."""
    path = folder / MANIFEST
    document = json.loads(path.read_text())
    assert document.pop("tables") == {}
    del document["generation"]
    document["sources"] = [{key: source[key] for key in V1_SOURCE} for source in document["sources"]]
    document["schema_version"] = 1
    path.write_text(json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False) + "\n")


@pytest.fixture
def old_store(raw, tmp_path):
    records = [raw.record(DATA=day, CODNEG=code) for day in (20221229, 20230102) for code in ("AAAA3", "BBBB4")]
    (tmp_path / "COTAHIST_A2023.TXT").write_bytes(raw.text(records, generated=20230102))
    ingest(tmp_path / "COTAHIST_A2023.TXT", tmp_path / "store")
    new = Store.open(tmp_path / "store")
    as_version_1(tmp_path / "store")
    return tmp_path / "store", new.read(), new.content_hash


def test_a_version_1_store_is_refused_with_the_command_and_then_migrated(old_store, tmp_path):
    folder, rows, content = old_store
    words = rf"store has schema version 1, this program reads version 2: run `fairfield store migrate --store {folder}`"
    for action in (Store.open, lambda place: ingest(tmp_path / "COTAHIST_A2023.TXT", place)):
        with pytest.raises(DataError, match=words):
            action(folder)
    parts = {p: p.read_bytes() for p in folder.rglob("*.parquet")}
    assert migrate(folder) == ("store: version 1 to 2: tables, notes of sources and a generation in the manifest",)
    store = Store.open(folder)
    store.verify()
    assert store.read().equals(rows)
    assert store.content_hash == content
    assert {p: p.read_bytes() for p in folder.rglob("*.parquet")} == parts
    assert migrate(folder) == ()
    assert ingest(tmp_path / "COTAHIST_A2023.TXT", folder).unchanged == ("COTAHIST_A2023.TXT",)


def test_a_damaged_or_newer_store_is_not_migrated(old_store):
    folder, _, _ = old_store
    path = folder / MANIFEST
    whole = path.read_text()
    for content, words in (
        ("{", "is damaged"),
        ('{"schema_version": 1}', "is damaged"),
        ('{"schema_version": 1, "sources": [{}]}', "is damaged"),
        (whole.replace('"rows"', '"row"'), "is damaged"),
        ('{"schema_version": 3}', "has schema version 3, this program reads version 2"),
        ('{"schema_version": "x"}', "has schema version x"),
    ):
        path.write_text(content)
        with pytest.raises(DataError, match=words):
            migrate(folder)
        assert path.read_text() == content
        assert not (folder / ".upkeep").exists()


OLD = TABLES["rates"]
CENTS = TableSpec(
    "rates",
    3,
    "rates in basis points, by month, with the year",
    (
        *OLD.columns[:2],
        Column("value_bps", pa.int64(), "1 is 0.01 %", low=0),
        Column("year", pa.int32(), "of the session"),
    ),
    date="session",
    period="month",
    symbol="symbol",
    order=("symbol", "session"),
    key=("session", "symbol"),
)


def to_bps(rows):
    return pa.table(
        {
            "session": rows["session"],
            "symbol": rows["symbol"],
            "value_bps": pc.cast(pc.round(pc.multiply(rows["value"], 100)), pa.int64()),
        }
    )


STEPS = {
    ("rates", 1): Step("values in basis points", to_bps),
    ("rates", 2): Step("the year", lambda rows: rows.append_column("year", pc.year(rows["session"]).cast(pa.int32()))),
}
NEW = {**TABLES, "rates": CENTS}
ROWS = [(day, symbol, day / 4) for day in (0, 3, 40, 400) for symbol in ("12", "433")]


@pytest.fixture
def store_of_rates(make, tmp_path):
    for number in range(2):
        offer = (str(number), "rates", "BCB", make.rates(ROWS[number::2]))
        make.put(
            tmp_path / "store",
            tmp_path / "s",
            offer,
            (f"e{number}", "book_events", "B3", make.book_events(0, "AB"[number], 3)),
        )
    return tmp_path / "store"


def test_a_table_goes_through_its_steps_into_the_new_layout(store_of_rates, make):
    before = read_manifest(store_of_rates)
    lines = migrate(store_of_rates, specs=NEW, steps=STEPS)
    assert lines == ("rates: version 1 to 2: values in basis points", "rates: version 2 to 3: the year")
    after = read_manifest(store_of_rates)
    assert [(p.table, p.period, p.version) for p in after.tables] == [
        ("book_events", "2023-01-03", 1),
        ("rates", "2023-01", 3),
        ("rates", "2023-02", 3),
        ("rates", "2024-02", 3),
    ]
    assert after.sources == before.sources
    files = LocalFiles(store_of_rates)
    found = [row for p in after.tables[1:] for part in p.parts for t in iter_rows(files, part) for row in t.to_pylist()]
    years = {0: 2023, 3: 2023, 40: 2023, 400: 2024}
    expected = [(symbol, value * 100, years[day]) for day, symbol, value in ROWS]
    assert sorted((r["symbol"], r["value_bps"], r["year"]) for r in found) == sorted(expected)
    assert {s for p in after.tables[1:] for part in p.parts for s in part.sources} == {
        s.sha256 for s in after.sources if s.file in "01"
    }
    assert {p.path for p in after.parts()} == {p for p in files.list() if p.endswith(".parquet")}
    assert migrate(store_of_rates, specs=NEW, steps=STEPS) == ()


@pytest.mark.parametrize(
    ("steps", "words"),
    [
        ({}, "table rates cannot go from version 1 to 2: ingest its raw files into a new store"),
        ({("rates", 1): STEPS["rates", 1]}, "table rates cannot go from version 2 to 3"),
        (
            {**STEPS, ("rates", 1): Step("minus", lambda r: to_bps(r.set_column(2, "value", pc.negate(r["value"]))))},
            "value_bps must be at least 0; was -",
        ),
    ],
)
def test_a_step_that_is_missing_or_wrong_leaves_the_old_store(store_of_rates, steps, words):
    before = {p: p.read_bytes() for p in store_of_rates.rglob("*") if p.is_file()}
    with pytest.raises(DataError, match=words):
        migrate(store_of_rates, specs=NEW, steps=steps)
    assert {p: p.read_bytes() for p in store_of_rates.rglob("*") if p.is_file()} == before
    assert Store.open(store_of_rates).table("rates").num_rows == len(ROWS)


def test_stopped_at_any_step_a_migration_leaves_the_old_store_or_the_new_one(store_of_rates, tmp_path):
    class StoppedError(Exception):
        pass

    class Failing(LocalFiles):
        __slots__ = ("left",)

        def _step(self):
            self.left -= 1
            if self.left < 0:
                raise StoppedError

        def put(self, path, content):
            self._step()
            super().put(path, content)

        def put_file(self, path, source):
            self._step()
            super().put_file(path, source)

        def remove(self, path):
            self._step()
            super().remove(path)

    seen = []
    for steps in range(30):
        place = tmp_path / f"try{steps}"
        shutil.copytree(store_of_rates, place)
        files = Failing(place)
        files.left = steps
        try:
            migrate(files, specs=NEW, steps=STEPS)
        except StoppedError:
            Store.open(place).verify()
            seen.append(max(p.version for p in read_manifest(place).tables))
            migrate(place, specs=NEW, steps=STEPS)
            manifest = read_manifest(place)
            assert max(p.version for p in manifest.tables) == 3
            Store.open(place).verify()
        else:
            break
    assert seen == sorted(seen)
    assert set(seen) == {1, 3}


def test_steps_are_those_between_the_versions():
    assert [s.name for s in steps_of(CENTS, 2, STEPS)] == ["the year"]
    assert steps_of(CENTS, 3, {}) == ()
    with pytest.raises(DataError, match="version 4 is not known to this program"):
        steps_of(CENTS, 4, STEPS)
