"""`fairfield store` and `fairfield sql` on the store of the small synthetic exchange."""

from __future__ import annotations

import csv
import json
import shutil
import uuid
from pathlib import Path

import fsspec
import pyarrow.parquet as pq
import pytest

from data_pipeline.store import Store


def test_info_and_verify_say_what_is_there(world) -> None:
    said = world.fairfield("store", "info", "--store", world.store)
    assert said.exit_code == 0
    store = Store.open(world.store)
    assert store.content_hash in said.stdout
    (quotes,) = [line.split() for line in said.stdout.splitlines() if line.startswith("daily_quotes")]
    days = [str(day) for day in store.sessions()[[0, -1]]]
    assert quotes[1:4] == ["B3", *days]
    assert int(quotes[-1].replace(",", "")) == store.read(["session"]).num_rows
    checked = world.fairfield("store", "verify", "--store", world.store)
    assert f"{len(store.manifest.parts())} parts are as they were written" in checked.stdout


def test_verify_names_the_part_that_changed(world, tmp_path: Path) -> None:
    shutil.copytree(world.store, tmp_path / "store")
    part = next((tmp_path / "store").rglob("part-*.parquet"))
    part.write_bytes(part.read_bytes()[:-1] + b"?")
    world.refused(world.fairfield("store", "verify", "--store", tmp_path / "store"), part.name, "changed since")


def test_compact_and_migrate_leave_a_store_that_needs_neither(world, tmp_path: Path) -> None:
    shutil.copytree(world.store, tmp_path / "store")
    before = world.contents(tmp_path / "store")
    assert "nothing to join" in world.fairfield("store", "compact", "--store", tmp_path / "store").stdout
    assert "this program's version already" in world.fairfield("store", "migrate", "--store", tmp_path / "store").stdout
    assert world.contents(tmp_path / "store") == before


def test_an_older_store_names_the_command_that_migrates_it(world, tmp_path: Path) -> None:
    shutil.copytree(world.store, tmp_path / "store")
    manifest = tmp_path / "store" / "manifest.json"
    document = json.loads(manifest.read_text())
    del document["tables"], document["generation"]
    manifest.write_text(json.dumps(document | {"schema_version": 1}))
    sentence = world.refused(world.fairfield("store", "info", "--store", tmp_path / "store"), "schema version 1")
    command = sentence.partition("run `")[2].rstrip("`").split()
    assert world.fairfield(*command[1:]).stdout.startswith("store: version 1 to 2")
    assert Store.open(tmp_path / "store").content_hash == Store.open(world.store).content_hash


QUERY = "select ticker, count(*) as days, max(close_cents) as top from daily_quotes group by ticker order by ticker"


def test_sql_prints_an_aligned_table(world) -> None:
    said = world.fairfield("sql", QUERY, "--store", world.store, "--rows", 3)
    assert said.exit_code == 0
    expected = Store.open(world.store).sql(QUERY)
    head, *rows, rest = said.stdout.splitlines()
    assert head.split() == ["ticker", "days", "top"]
    assert [row.split() for row in rows] == [[str(v) for v in row.values()] for row in expected.slice(0, 3).to_pylist()]
    assert len({len(line) for line in (head, *rows)}) == 1
    assert rest == f"... {expected.num_rows - 3:,} more rows: ask with --rows, or write all with --output"


@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
def test_sql_writes_all_rows_to_a_file(world, tmp_path: Path, suffix: str) -> None:
    output = tmp_path / f"answer{suffix}"
    said = world.fairfield("sql", QUERY, "--store", world.store, "--output", output)
    expected = Store.open(world.store).sql(QUERY).to_pylist()
    assert said.stdout == f"{len(expected):,} rows: {output}\n"
    if suffix == ".parquet":
        assert pq.read_table(output).to_pylist() == expected
    else:
        with output.open(newline="") as file:
            assert list(csv.DictReader(file)) == [{k: str(v) for k, v in row.items()} for row in expected]


def test_a_query_that_cannot_be_is_one_sentence(world, tmp_path: Path) -> None:
    ask = ("sql", "--store", world.store)
    world.refused(world.fairfield(*ask, "select * from daily_quote"), "there is no table daily_quote", "daily_quotes")
    world.refused(world.fairfield(*ask, "select tickr from daily_quotes"), '"tickr" not found', '"ticker"')
    world.refused(world.fairfield(*ask, "drop view cdi"), "a store is read by SQL, never written")
    world.refused(world.fairfield(*ask, "select 1", "-o", tmp_path / "x.xlsx"), "--output must end in .parquet or .csv")
    world.refused(world.fairfield("sql", "select 1", "--store", tmp_path / "none"), "holds no store")


def test_cells_hold_times_whole_and_no_control_characters(world) -> None:
    query = "select make_timestamp_ns(1643266799684700533) t, chr(27) || 'x' s, null n, [1.5::double] l"
    query += ", 0.1::double d, 'é' e"
    lines = world.fairfield("sql", query, "--store", world.store).stdout.splitlines()
    assert lines[0].split() == ["t", "s", "n", "l", "d", "e"]
    assert lines[1].split() == ["2022-01-27", "06:59:59.684700533", "?x", "[1.5]", "0.1", "é"]
    assert lines[2] == "1 row"


def test_every_command_takes_a_url(world, tmp_path: Path, monkeypatch) -> None:
    """A path object would lose a slash of s3://bucket; the answers are those of the folder."""
    url = f"memory://{uuid.uuid4()}/store"
    system = fsspec.filesystem("memory")
    system.put(str(world.store), url.removeprefix("memory:/"), recursive=True)
    monkeypatch.chdir(tmp_path)
    for command in (("store", "info"), ("store", "verify"), ("sql", QUERY), ("bars",)):
        here, there = (world.fairfield(*command, "--store", place) for place in (world.store, url))
        assert (there.exit_code, there.output) == (here.exit_code, here.output.replace(str(world.store), url))
    assert world.fairfield("store", "compact", "--store", url).exit_code == 0
    assert "is of this program's version already" in world.fairfield("store", "migrate", "--store", url).stdout
    assert world.fairfield("quality", "--store", url).exit_code == 0
    assert (tmp_path / "store-quality.html").exists()
    ask = ("export", tmp_path / "x.npz", "--venue", "B3", "--symbol", "NONE3", "--start", "2023-01-05")
    world.refused(world.fairfield(*ask, "--store", url), "NONE3")


def test_unlock_says_whose_lock_it_removed(world) -> None:
    url = f"memory://{uuid.uuid4()}/store"
    assert world.fairfield("store", "unlock", "--store", url).stdout == f"{url}: no lock was left there\n"
    fsspec.filesystem("memory").pipe_file(f"{url}/.lock", b"process 7 on desk since 2026-01-02T03:04:05Z\nx")
    world.refused(world.fairfield("store", "compact", "--store", url), "holds no store")
    world.refused(world.fairfield("store", "unlock", "--store", url), "process 7 on desk", "unlock --force")
    done = world.fairfield("store", "unlock", "--force", "--store", url)
    assert done.stdout == f"{url}: the lock of process 7 on desk since 2026-01-02T03:04:05Z is removed\n"
