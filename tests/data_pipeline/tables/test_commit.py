from __future__ import annotations

import datetime
import shutil
import uuid
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_pipeline.errors import DataError
from data_pipeline.manifest import MANIFEST, Manifest, read_manifest
from data_pipeline.reference.facts import facts_as_of
from data_pipeline.store import Store
from data_pipeline.tables import commit, maintenance, rewrite
from data_pipeline.tables.catalog import TABLES
from data_pipeline.tables.files import LocalFiles, open_files
from data_pipeline.tables.maintenance import compact
from data_pipeline.tables.publish import held_manifest, is_own_part, publish_manifest, sweep_orphans

CELLS = st.dictionaries(
    st.tuples(st.sampled_from([0, 1, 400, 800]), st.sampled_from(["11", "12", "433"])),
    st.lists(st.integers(0, 2).map(float), min_size=1, max_size=1),
    min_size=1,
    max_size=6,
)
OFFER = st.tuples(st.sampled_from(["first", "second", "third"]), st.sampled_from(["BCB", "B3"]), CELLS)


def rows_of(make, cells):
    return make.rates([(day, symbol, value) for (day, symbol), values in cells.items() for value in values])


@settings(max_examples=20)
@given(st.lists(st.lists(OFFER, min_size=1, max_size=3), min_size=1, max_size=4), st.booleans())
def test_the_last_file_with_a_symbol_and_session_holds_whatever_came_before(make, tmp_path_factory, calls, joined):
    """Against a dictionary; and the content is that of a store made at once from what is left."""
    folder = tmp_path_factory.mktemp("commit")
    left = {}
    for number, offers in enumerate(calls):
        given_rows = [(f"{name}{i}{number}", "rates", v, rows_of(make, c)) for i, (name, v, c) in enumerate(offers)]
        make.put(folder / "store", folder / "staging", *given_rows)
        for _, venue, cells in offers:
            left |= {(venue, *cell): values for cell, values in cells.items()}
    if joined:
        before = read_manifest(folder / "store")
        compact(folder / "store")
        after = read_manifest(folder / "store")
        assert after.content_hash == before.content_hash
        assert all(len(p.parts) == 1 for p in after.tables)
    store = Store.open(folder / "store")
    store.verify()
    found = store.table("rates", columns=["venue", "session", "symbol", "value"])
    expected = sorted(
        (venue, symbol, make.DAY0 + day, value) for (venue, day, symbol), values in left.items() for value in values
    )
    days = found["session"].cast("int32").to_pylist()
    columns = found["venue"].to_pylist(), found["symbol"].to_pylist(), days, found["value"].to_pylist()
    assert sorted(zip(*columns, strict=True)) == expected
    once = [
        ("x", "rates", venue, rows_of(make, {c[1:]: v for c, v in left.items() if c[0] == venue}))
        for venue in sorted({c[0] for c in left})
    ]
    fresh, _ = make.put(folder / "fresh", folder / "staging", *once)
    assert fresh.content_hash == store.content_hash
    on_disk = {p for p in open_files(folder / "store").list() if p.endswith(".parquet")}
    assert on_disk == {part.path for part in store.manifest.parts()}


@settings(max_examples=60)
@given(st.lists(st.tuples(st.sampled_from("PQRS"), CELLS), min_size=4, max_size=4), st.data())
def test_any_sequence_of_ingests_is_a_dictionary_that_is_updated(make, tmp_path_factory, contents, data):
    """Four files, given again and again in any order: a file is read again unless all it gave still holds."""
    folder = tmp_path_factory.mktemp("model")
    files = [(f"{name}{k}", cells) for k, (name, cells) in enumerate(contents)]
    left = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(commit, "MOST_SMALL", data.draw(st.sampled_from([1, 2, 64])))
        for k in data.draw(st.lists(st.integers(0, 3), min_size=1, max_size=7)):
            name, cells = files[k]
            known = [s for s in held_manifest(open_files(folder / "store")).sources if s.file == name]
            if not known or known[0].superseded:
                make.put(folder / "store", folder / "staging", (name, "rates", "BCB", rows_of(make, cells)))
            left |= cells
            found = Store.open(folder / "store").table("rates", columns=["session", "symbol", "value"])
            days = found["session"].cast("int32").to_pylist()
            held = {
                (day - make.DAY0, symbol): [value]
                for day, symbol, value in zip(
                    days, found["symbol"].to_pylist(), found["value"].to_pylist(), strict=True
                )
            }
            assert held == left
            assert found.num_rows == len(left)


@pytest.mark.parametrize("remote", [False, True])
def test_the_same_rows_again_change_nothing_and_others_are_told(make, tmp_path, remote):
    place = f"memory://{uuid.uuid4()}" if remote else tmp_path / "store"
    old = make.rates([(0, "11", 1.0), (0, "12", 1.0), (1, "11", 2.0), (400, "11", 3.0)])
    first, none = make.put(place, tmp_path / "s", ("old", "rates", "BCB", old))
    assert none == ()
    again, same = make.put(place, tmp_path / "s", ("old", "rates", "BCB", old))
    assert again == first
    assert again.generation == first.generation == 1
    assert [c.identical for c in same] == [True, True]
    part_of_it = make.rates([(0, "12", 1.0), (1, "11", 2.0)])
    still, same = make.put(place, tmp_path / "s", ("some", "rates", "BCB", part_of_it))
    assert still.content_hash == first.content_hash
    assert [p.path for t in still.tables for p in t.parts] == [p.path for t in first.tables for p in t.parts]
    assert [c.identical for c in same] == [True]
    new = make.rates([(0, "12", 9.0), (1, "12", 9.0)])
    second, (change,) = make.put(place, tmp_path / "s", ("new", "rates", "BCB", new))
    named = {s.sha256: s.file for s in second.sources}
    assert [named[s] for s in change.held_by] == ["old", "some"]
    assert [named[s] for s in change.offered_by] == ["new"]
    assert (change.table, change.venue, change.period, change.symbols) == ("rates", "BCB", "2023", ("12",))
    assert (change.cells, change.rows_held, change.rows_offered, change.identical) == (1, 1, 1, False)
    # "some" gave the same row as "old": it is replaced in both
    assert {s.file: s.superseded for s in second.sources} == {"new": False, "old": True, "some": True}
    third, _ = make.put(place, tmp_path / "s", ("old", "rates", "BCB", old))
    assert {s.file: s.superseded for s in third.sources} == {"new": True, "old": False, "some": True}
    values = Store.open(place).table("rates", columns=["symbol", "value"]).to_pylist()
    assert [(r["symbol"], r["value"]) for r in values] == [
        ("11", 1.0),
        ("11", 2.0),
        ("12", 1.0),
        ("12", 9.0),
        ("11", 3.0),
    ]
    assert read_manifest(place) == third


def test_parts_that_a_draft_does_not_touch_keep_their_files(make, tmp_path, monkeypatch):
    monkeypatch.setattr(commit, "SMALL_ROWS", 0)
    for symbol in "ABC":
        make.put(tmp_path / "store", tmp_path / "s", (symbol, "rates", "BCB", make.rates([(0, symbol, 1.0)])))
    before = {p: (tmp_path / "store" / p).stat().st_mtime_ns for p in open_files(tmp_path / "store").list()}
    manifest, _ = make.put(tmp_path / "store", tmp_path / "s", ("B2", "rates", "BCB", make.rates([(0, "B", 2.0)])))
    (partition,) = manifest.tables
    assert [(p.first, p.last, p.rows) for p in partition.parts] == [("A", "A", 1), ("B", "B", 1), ("C", "C", 1)]
    after = {p: (tmp_path / "store" / p).stat().st_mtime_ns for p in open_files(tmp_path / "store").list()}
    kept = {p for p in after if before.get(p) == after[p] and p.endswith(".parquet")}
    assert kept == {partition.parts[0].path, partition.parts[2].path}


def test_drafts_of_one_call_become_one_part_with_all_their_sources(make, tmp_path):
    offers = [(s, "rates", "BCB", make.rates([(0, s, 1.0), (1, s, 2.0)])) for s in "CAB"]
    manifest, _ = make.put(tmp_path / "store", tmp_path / "s", *offers)
    ((part,),) = (p.parts for p in manifest.tables)
    assert (part.first, part.last, part.symbols, part.rows) == ("A", "C", 3, 6)
    assert set(part.sources) == {s.sha256 for s in manifest.sources}
    assert Store.open(tmp_path / "store").table("rates")["symbol"].to_pylist() == list("AABBCC")


def test_of_a_company_s_day_only_the_same_document_is_replaced(make, tmp_path):
    """Two statements published on one day lie in two files: the second does not take the first one's place."""

    def facts(source, value):
        spec = TABLES["facts"]
        day = datetime.date(2023, 3, 30)
        record = {
            "known_on": day,
            "symbol": "33000167000101",
            "field": "assets",
            "event_start": None,
            "event_time": day,
            "known_at": datetime.datetime(2023, 3, 30, tzinfo=datetime.UTC),
            "version": int(value),
            "value": value,
            "unit": "R$",
            "source": source,
        }
        return pa.table({f.name: pa.array([record[f.name]], f.type) for f in spec.schema}, schema=spec.schema)

    place = tmp_path / "store"
    make.put(place, tmp_path / "s", ("zip of 2021", "facts", "CVM", facts("DFP 2021", 1.0)))
    _, changes = make.put(place, tmp_path / "s", ("zip of 2022", "facts", "CVM", facts("DFP 2022", 2.0)))
    assert changes == ()
    _, (change,) = make.put(place, tmp_path / "s", ("newer zip", "facts", "CVM", facts("DFP 2021", 3.0)))
    assert not change.identical
    found = Store.open(place).table("facts", columns=["source", "value"]).to_pylist()
    assert sorted((r["source"], r["value"]) for r in found) == [("DFP 2021", 3.0), ("DFP 2022", 2.0)]


def test_two_documents_that_state_one_fact_both_stay_and_can_be_joined(make, tmp_path):
    """In one call, and by compaction of what two calls left; within a document a fact is stated once."""

    def fact(source, value):
        spec = TABLES["facts"]
        day = datetime.date(2023, 3, 30)
        own = {"known_on": day, "symbol": "33000167000101", "field": "assets", "event_start": None, "event_time": day}
        own |= {"known_at": datetime.datetime(2023, 3, 30, tzinfo=datetime.UTC), "version": 1, "value": value}
        own |= {"unit": "R$", "source": source}
        return pa.table({f.name: pa.array([own[f.name]], f.type) for f in spec.schema}, schema=spec.schema)

    one, other = fact("DFP 2022", 1.0), fact("ITR 2022", 2.0)
    together, _ = make.put(tmp_path / "a", tmp_path / "s", ("x", "facts", "CVM", one), ("y", "facts", "CVM", other))
    for name, rows in (("x", one), ("y", other)):
        make.put(tmp_path / "b", tmp_path / "s", (name, "facts", "CVM", rows))
    assert compact(tmp_path / "b").parts_after == 1
    assert read_manifest(tmp_path / "b").content_hash == together.content_hash
    assert Store.open(tmp_path / "b").table("facts").num_rows == 2
    noon = datetime.datetime(2023, 3, 30, 12, tzinfo=datetime.UTC)
    for number in range(6):  # which of the two parts comes first depends on their bytes
        place = tmp_path / f"tie{number}"
        for source, value in (("DFP 2022", 10.0 + number), ("ITR 2022", 20.0 + number)):
            make.put(place, tmp_path / "s", (source, "facts", "CVM", fact(source, value)))
        assert facts_as_of(Store.open(place), ["33000167000101"], ["assets"], noon)["source"].to_pylist() == [
            "ITR 2022"
        ]
    with pytest.raises(DataError, match=r"facts must have each \(symbol, .*, source\) once"):
        make.put(tmp_path / "c", tmp_path / "s", ("x", "facts", "CVM", pa.concat_tables([one, fact("DFP 2022", 3.0)])))


def test_many_small_parts_become_one_without_being_asked(make, tmp_path, monkeypatch):
    monkeypatch.setattr(commit, "MOST_SMALL", 5)
    counts = []
    for number in range(14):
        rows = make.rates([(0, f"{number:02d}", float(number))])
        manifest, _ = make.put(tmp_path / "store", tmp_path / "s", (str(number), "rates", "BCB", rows))
        counts.append(len(manifest.tables[0].parts))
    assert counts == [1, 2, 3, 4, 5, 1, 2, 3, 4, 5, 1, 2, 3, 4]
    assert Store.open(tmp_path / "store").table("rates")["value"].to_pylist() == [float(k) for k in range(14)]


def test_more_overlapping_parts_than_may_be_open_are_joined_in_rounds(make, tmp_path, monkeypatch):
    """Every part spans all symbols, so that each would be open at once; the bytes are those of one round."""
    offers = [(str(k), "rates", "BCB", make.rates([(k, s, k / 8) for s in ("A", "M", "Z")])) for k in range(11)]
    plain, _ = make.put(tmp_path / "plain", tmp_path / "s", *offers)
    monkeypatch.setattr(rewrite, "MOST_OPEN", 3)
    rounds, _ = make.put(tmp_path / "rounds", tmp_path / "s", *offers)
    assert [p.path for t in rounds.tables for p in t.parts] == [p.path for t in plain.tables for p in t.parts]
    assert set(rounds.tables[0].parts[0].sources) == set(plain.tables[0].parts[0].sources)
    on_disk = {p for p in open_files(tmp_path / "rounds").list() if p.endswith(".parquet")}
    assert on_disk == {part.path for part in rounds.parts()}


def test_a_manifest_is_read_back_as_it_was_and_lies_an_item_a_line(make, tmp_path):
    manifest, _ = make.put(
        tmp_path / "store",
        tmp_path / "s",
        ('quote " and \\', "rates", "BCB", make.rates([(0, 'é"\\', 1.0)])),
        ("b", "book_events", "B3", make.book_events(0, "ABCD3", 9)),
    )
    assert read_manifest(tmp_path / "store") == manifest
    assert manifest.sources[0].notes == ("a note",)
    text = (tmp_path / "store" / MANIFEST).read_text()
    assert text.encode() == manifest.to_bytes()
    assert max(map(len, text.splitlines())) < 400
    assert Manifest().content_hash != manifest.content_hash


def test_only_the_store_s_own_files_are_swept(make, tmp_path):
    manifest, _ = make.put(tmp_path / "store", tmp_path / "s", ("a", "rates", "BCB", make.rates([(0, "11", 1.0)])))
    files = LocalFiles(tmp_path / "store")
    orphan = "rates/venue=BCB/date=2022/part-0123456789abcdef.parquet"
    foreign = ["rates/notes.txt", "other/part-0123456789abcdef.parquet", "rates/venue=BCB/date=2022/part-01.parquet"]
    begun = ["rates/venue=BCB/date=2022/.part-0123456789abcdef.parquet.12-ab34.tmp", ".manifest.json.12-ab34.tmp"]
    for path in (orphan, *begun, *foreign):
        files.put(path, b"x")
    assert is_own_part(orphan)
    assert not any(map(is_own_part, foreign))
    assert sweep_orphans(files, manifest) == 3
    assert set(files.list()) == {*foreign, MANIFEST, ".lock", *(p.path for p in manifest.parts())}


@pytest.mark.parametrize("remote", [False, True])
def test_two_writers_cannot_overwrite_each_other(make, tmp_path, remote):
    """Both read one state; the second to commit is refused and nothing of it is seen."""
    place = f"memory://{uuid.uuid4()}" if remote else tmp_path / "store"
    files = open_files(place)
    stale = held_manifest(files)
    first, _ = make.put(place, tmp_path / "s", ("a", "rates", "BCB", make.rates([(0, "11", 1.0)])))
    with pytest.raises(DataError, match=r"was changed by another writer \(generation 1, was 0\)"):
        publish_manifest(files, tmp_path / "s", Manifest(sources=first.sources), stale)
    assert read_manifest(place) == first
    with files.lock(), pytest.raises(DataError, match="is being written by"), files.lock():
        pass
    with files.lock():
        pass


class StoppedError(Exception):
    """A process that ends at one step."""


class Failing(LocalFiles):
    """Files whose n-th change of the disk does not happen."""

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


def test_stopped_at_any_step_the_store_is_the_old_or_the_new_one(make, tmp_path):
    old = make.rates([(day, symbol, 1.0) for day in (0, 400) for symbol in ("11", "12")])
    new = make.rates([(day, symbol, 2.0) for day in (0, 400, 800) for symbol in ("12", "13")])
    make.put(tmp_path / "base", tmp_path / "s", ("old", "rates", "BCB", old))
    shutil.copytree(tmp_path / "base", tmp_path / "after")
    make.put(tmp_path / "after", tmp_path / "s", ("new", "rates", "BCB", new))
    states = {Store.open(tmp_path / name).content_hash: name for name in ("base", "after")}
    seen = []
    for steps in range(20):
        place = tmp_path / f"try{steps}"
        shutil.copytree(tmp_path / "base", place)
        files = Failing(place)
        files.left = steps
        try:
            make.put(files, tmp_path / "s", ("new", "rates", "BCB", new))
        except StoppedError:
            store = Store.open(place)
            store.verify()
            seen.append(states[store.content_hash])
            make.put(place, tmp_path / "s", ("new", "rates", "BCB", new))
            assert Store.open(place).content_hash == Store.open(tmp_path / "after").content_hash
            kept = {p for p in open_files(place).list() if p.endswith(".parquet")}
            assert kept == {part.path for part in Store.open(place).manifest.parts()}
        else:
            break
    assert seen == ["base"] * 4 + ["after"] * 2


def test_compaction_commits_as_it_goes_and_needs_little_disk(make, tmp_path, monkeypatch):
    monkeypatch.setattr(maintenance, "COMMIT_BYTES", 0)
    for number in range(3):
        rows = make.rates([(day, f"{number}{day}", 1.0) for day in (0, 400)])
        make.put(tmp_path / "store", tmp_path / "s", (str(number), "rates", "BCB", rows))
    before = Store.open(tmp_path / "store")
    table = before.table("rates")
    said = []
    done = compact(tmp_path / "store", progress=said.append)
    assert (done.partitions, done.parts_before, done.parts_after, done.orphans) == (2, 6, 2, 0)
    assert said == ["joined 3 parts of rates/BCB/2023", "joined 3 parts of rates/BCB/2024"]
    after = Store.open(tmp_path / "store")
    assert after.manifest.generation == before.manifest.generation + 2
    assert after.content_hash == before.content_hash
    assert after.table("rates").equals(table)
    assert compact(tmp_path / "store").partitions == 0
    assert {Path(p).name.split("-")[0] for p in open_files(tmp_path / "store").list()} == {
        "part",
        MANIFEST,
        ".lock",
    }


def test_parts_stay_apart_above_the_largest_size(make, tmp_path, monkeypatch):
    monkeypatch.setattr(maintenance, "LARGEST_ROWS", 4)
    for number in range(5):
        rows = make.rates([(day, str(number), 1.0) for day in (0, 1)])
        make.put(tmp_path / "store", tmp_path / "s", (str(number), "rates", "BCB", rows))
    assert compact(tmp_path / "store").parts_after == 3


def test_a_damaged_part_stops_what_would_rewrite_it(make, tmp_path):
    manifest, _ = make.put(tmp_path / "store", tmp_path / "s", ("a", "rates", "BCB", make.rates([(0, "11", 1.0)])))
    path = tmp_path / "store" / manifest.tables[0].parts[0].path
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match=f"{path.name} is damaged"):
        make.put(tmp_path / "store", tmp_path / "s", ("b", "rates", "BCB", make.rates([(0, "11", 2.0)])))
    assert read_manifest(tmp_path / "store") == manifest
