from __future__ import annotations

import errno
import os
import subprocess
import sys

import pytest

from data_pipeline.atomic import atomic_path, disk_errors, exclusive_lock, write_atomically
from data_pipeline.errors import DataError


def test_a_written_file_holds_the_bytes_and_leaves_nothing_beside_it(tmp_path):
    write_atomically(tmp_path / "a.json", b"one")
    write_atomically(tmp_path / "a.json", b"two")
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]
    assert (tmp_path / "a.json").read_bytes() == b"two"


@pytest.mark.parametrize("call", ["replace", "fsync"])
@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_a_failure_leaves_the_old_file(tmp_path, monkeypatch, call, error):
    write_atomically(tmp_path / "a.json", b"old")

    def fail(*_):
        raise error

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(type(error)):
        write_atomically(tmp_path / "a.json", b"new")
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]
    assert (tmp_path / "a.json").read_bytes() == b"old"


def test_an_error_while_writing_leaves_the_old_file(tmp_path):
    write_atomically(tmp_path / "a.json", b"old")

    def write_half():
        with atomic_path(tmp_path / "a.json") as temporary:
            temporary.write_bytes(b"half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write_half()
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]
    assert (tmp_path / "a.json").read_bytes() == b"old"


def test_a_lock_is_held_once_and_free_again_afterwards(tmp_path):
    path = tmp_path / ".lock"
    with exclusive_lock(path), pytest.raises(DataError, match="by another command"), exclusive_lock(path):
        pass
    with exclusive_lock(path):
        pass


def test_a_killed_process_frees_its_lock(tmp_path):
    code = (
        "import os, sys; from pathlib import Path; from data_pipeline.atomic import exclusive_lock\n"
        "with exclusive_lock(Path(sys.argv[1])): os._exit(9)"
    )
    ended = subprocess.run([sys.executable, "-c", code, str(tmp_path / ".lock")], check=False)
    assert ended.returncode == 9
    with exclusive_lock(tmp_path / ".lock"):
        pass


@pytest.mark.parametrize(
    ("code", "words"),
    [(errno.ENOSPC, "no space left on the disk"), (errno.EROFS, "read-only"), (errno.ENOTEMPTY, "Directory not empty")],
)
def test_a_disk_error_becomes_one_sentence_with_the_path(tmp_path, code, words):
    with pytest.raises(DataError, match=f"cannot write to .*{tmp_path.name}: .*{words}"), disk_errors(tmp_path):
        raise OSError(code, os.strerror(code))
