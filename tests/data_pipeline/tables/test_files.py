"""Locks that outlive their process, faults of the disk told from damage, and processes killed at any step."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import textwrap
import uuid

import fsspec
import pyarrow as pa
import pytest

from data_pipeline import atomic
from data_pipeline.errors import DataError
from data_pipeline.manifest import MANIFEST, read_manifest
from data_pipeline.store import Store
from data_pipeline.tables import commit
from data_pipeline.tables.files import LOCK, LocalFiles, open_files
from data_pipeline.tables.maintenance import compact, unlock
from data_pipeline.tables.part_reader import open_part


@pytest.fixture
def url():
    """A store's URL in a file system of this process."""
    return f"memory://{uuid.uuid4()}/store"


def lock_of(url, process, host):
    files = open_files(url)
    files.put(LOCK, f"process {process} on {host} since 2026-01-02T03:04:05Z\nabc".encode())
    return files


def ended_process():
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    return child.pid


def test_the_lock_of_a_killed_process_is_removed_by_name_and_only_then(make, tmp_path, url):
    process = ended_process()
    files = lock_of(url, process, socket.gethostname())
    with pytest.raises(DataError, match=rf"written by process {process} on .* run `fairfield store unlock --store"):
        make.put(url, tmp_path / "s", ("a", "rates", "BCB", make.rates([(0, "11", 1.0)])))
    assert files.exists(LOCK)
    assert unlock(url) == f"process {process} on {socket.gethostname()} since 2026-01-02T03:04:05Z"
    assert unlock(url) is None
    make.put(url, tmp_path / "s", ("a", "rates", "BCB", make.rates([(0, "11", 1.0)])))
    assert not files.exists(LOCK)


def test_a_lock_whose_owner_may_live_stays_unless_forced(url):
    for process, host in ((os.getpid(), socket.gethostname()), (ended_process(), "another-machine")):
        files = lock_of(url, process, host)
        with pytest.raises(DataError, match=r"which may still run.*fairfield store unlock --force"):
            unlock(url)
        assert files.exists(LOCK)
        assert unlock(url, force=True).startswith(f"process {process} on {host}")
        assert not files.exists(LOCK)
    files.put(LOCK, b"words of nobody")
    with pytest.raises(DataError, match="written by words of nobody"):
        unlock(url)


def test_a_folder_s_lock_needs_no_unlocking(tmp_path):
    with LocalFiles(tmp_path).lock():
        assert unlock(tmp_path) is None


def test_who_lost_the_lock_leaves_the_new_owner_s_alone(url):
    files = open_files(url)
    with files.lock():
        unlock(url, force=True)
        lock_of(url, 1, "another-machine")
    assert files.holder() == "process 1 on another-machine since 2026-01-02T03:04:05Z"


def test_of_two_that_both_put_a_lock_one_has_it(url, monkeypatch):
    """A file system without creation in one step: the other writer's put comes right after ours."""
    files = open_files(url)
    system = fsspec.filesystem("memory")
    plain = type(system).pipe_file

    def pipe(self, path, value, mode="overwrite", **options):
        plain(self, path, value, mode=mode, **options)
        if path.endswith(LOCK):
            plain(self, path, b"process 7 on desk since 2026-01-02T03:04:05Z\nother", mode="overwrite")

    monkeypatch.setattr(type(system), "pipe_file", pipe)
    with pytest.raises(DataError, match="is being written by process 7 on desk"), files.lock():
        pytest.fail("both have the lock")
    assert files.holder() == "process 7 on desk since 2026-01-02T03:04:05Z"


@pytest.mark.parametrize(
    "fault", [PermissionError(13, "Permission denied"), OSError(24, "Too many open files"), TimeoutError("no answer")]
)
def test_a_fault_of_the_system_is_not_called_damage(make, tmp_path, fault):
    """Whoever is told that a store is damaged deletes it."""

    class Failing(LocalFiles):
        def open_input(self, path):
            raise fault

    manifest, _ = make.put(tmp_path / "store", tmp_path / "s", ("a", "rates", "BCB", make.rates([(0, "11", 1.0)])))
    with (
        pytest.raises(DataError, match=r"cannot read .*: .* \(the store is unharmed\)"),
        open_part(Failing(tmp_path / "store"), manifest.tables[0].parts[0]),
    ):
        pass
    with pytest.raises(DataError, match=r"cannot read "):
        Store.open(Failing(tmp_path / "store")).table("rates")


KILLED = """
    import os, signal, sys
    from pathlib import Path
    from data_pipeline.tables.maintenance import compact

    left = int(sys.argv[2])

    def step(call):
        def done(*arguments, **options):
            global left
            left -= 1
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*arguments, **options)
        return done

    os.replace, Path.unlink = step(os.replace), step(Path.unlink)
    compact(sys.argv[1])
"""


@pytest.mark.parametrize("steps", [0, 1, 2, 3, 4])
def test_killed_while_it_compacts_nothing_is_lost_and_the_next_one_tidies_up(make, tmp_path, monkeypatch, steps):
    """At the draft's removal, the part's rename, the manifest's rename and each old part's removal."""
    monkeypatch.setattr(commit, "SMALL_ROWS", 0)
    for symbol in "ABC":
        make.put(tmp_path / "store", tmp_path / "s", (symbol, "rates", "BCB", make.rates([(0, symbol, 1.0)])))
    before = Store.open(tmp_path / "store")
    rows = before.table("rates")
    script = textwrap.dedent(KILLED)
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path / "store"), str(steps)], check=False)
    assert done.returncode == -signal.SIGKILL
    after = Store.open(tmp_path / "store")
    after.verify()
    assert after.content_hash == before.content_hash
    assert after.table("rates").equals(rows)
    compact(tmp_path / "store")
    named = {part.path for part in read_manifest(tmp_path / "store").parts()}
    assert len(named) == 1
    assert {p for p in LocalFiles(tmp_path / "store").list() if p.endswith((".parquet", ".tmp"))} == named


def test_a_reader_that_is_open_during_a_commit_sees_one_state_or_says_so(make, tmp_path):
    """Rows of a part that a later commit replaced are never mixed with its new ones."""
    make.put(tmp_path / "store", tmp_path / "s", ("a", "rates", "BCB", make.rates([(d, "11", 1.0) for d in (0, 400)])))
    pieces = Store.open(tmp_path / "store").iter_table("rates")
    first = next(pieces)
    make.put(tmp_path / "store", tmp_path / "s", ("b", "rates", "BCB", make.rates([(d, "11", 2.0) for d in (0, 400)])))
    assert first["value"].to_pylist() == [1.0]
    with pytest.raises(DataError, match="the store changed while it was read"):
        next(pieces)
    assert pa.concat_tables(Store.open(tmp_path / "store").iter_table("rates"))["value"].to_pylist() == [2.0, 2.0]


def test_the_folders_of_a_part_are_on_disk_before_the_manifest_names_it(make, tmp_path, monkeypatch):
    """A synced file in a folder whose own name is not on disk is lost with the power."""
    done = []
    plain = atomic._sync
    monkeypatch.setattr(atomic, "_sync", lambda path: (plain(path), done.append(path)))
    manifest, _ = make.put(tmp_path / "store", tmp_path / "s", ("a", "rates", "BCB", make.rates([(0, "11", 1.0)])))
    (part,) = manifest.parts()
    place = tmp_path / "store" / part.path
    wanted = [folder for folder in place.parents if folder.is_relative_to(tmp_path / "store")]
    named = [done.index(folder) for folder in wanted]
    assert named == sorted(named, reverse=True)  # the deepest last
    (draft,) = [path for path in done if path.name.startswith(f".{MANIFEST}.")]
    assert max(named) < done.index(draft)
