from __future__ import annotations

import hashlib
import json
import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_pipeline.disk import canonical_json, npz_bytes, plain_json, read_npz, write_atomic
from data_pipeline.tasks.ledger import Ledger, LedgerDamageError, task_key

DESCRIPTION = {"pod": "hold", "fold": 3, "parameters": {"window": 20}, "seed": 7}
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)


@given(json_values)
def test_canonical_json_is_read_back_to_the_same_value(value):
    assert json.loads(canonical_json(value)) == value


@given(st.dictionaries(st.text(), st.integers(), min_size=2, max_size=6))
def test_the_key_does_not_depend_on_the_order_of_the_names(values):
    backwards = dict(reversed(list(values.items())))
    assert task_key(values) == task_key(backwards)


def test_the_key_is_the_hash_of_the_text_written_by_hand():
    assert task_key({"b": [1, 2.5], "a": math.nan}) == hashlib.sha256(b'{"a":null,"b":[1,2.5]}').hexdigest()


@pytest.mark.parametrize("name", DESCRIPTION)
def test_a_change_of_any_part_changes_the_key(name):
    assert task_key(DESCRIPTION | {name: "other"}) != task_key(DESCRIPTION)


def test_numpy_values_become_plain_and_strangers_are_refused():
    value = {"n": np.int64(3), "x": np.float64(0.1), "day": np.datetime64("2023-01-02"), "bad": np.array([1.0, np.inf])}
    assert plain_json(value) == {"n": 3, "x": 0.1, "day": "2023-01-02", "bad": [1.0, None]}
    with pytest.raises(TypeError, match="was set"):
        canonical_json({"x": {1, 2}})


def test_an_entry_comes_back_as_written(tmp_path):
    ledger = Ledger(tmp_path / "ledger")
    payload = b"line one\nline two\n\x00\xff"
    assert not ledger.contains("ab12")
    with pytest.raises(KeyError):
        ledger.read("ab12")
    ledger.write("ab12", DESCRIPTION, payload)
    assert ledger.read("ab12") == payload
    ledger.discard("ab12")
    assert not ledger.contains("ab12")


@pytest.mark.parametrize("position", [0, 40, -1])
def test_a_changed_byte_anywhere_is_noticed(tmp_path, position):
    ledger = Ledger(tmp_path)
    ledger.write("ab12", DESCRIPTION, b"payload of some length")
    path = ledger.path("ab12")
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)
    if position == 40:
        # inside the description, which only people read: the payload is still proven by its own hash
        assert ledger.read("ab12") == b"payload of some length"
        return
    with pytest.raises(LedgerDamageError, match=str(path)):
        ledger.read("ab12")


@given(cut=st.integers(0, 200))
def test_a_cut_entry_is_noticed(tmp_path_factory, cut):
    ledger = Ledger(tmp_path_factory.mktemp("ledger"))
    ledger.write("ab12", DESCRIPTION, b"x" * 50)
    content = ledger.path("ab12").read_bytes()
    ledger.path("ab12").write_bytes(content[: min(cut, len(content) - 1)])
    with pytest.raises(LedgerDamageError):
        ledger.read("ab12")


def test_an_entry_under_another_key_is_noticed(tmp_path):
    ledger = Ledger(tmp_path)
    ledger.write("ab12", DESCRIPTION, b"x")
    ledger.path("ab12").rename(ledger.path("ab34"))
    with pytest.raises(LedgerDamageError, match="key is 'ab34'"):
        ledger.read("ab34")


def test_success_clears_the_record_of_failure(tmp_path):
    ledger = Ledger(tmp_path)
    ledger.write_failure("ab12", "fold 3", "its worker died 3 times", 3)
    assert [failure["name"] for failure in ledger.failures()] == ["fold 3"]
    ledger.write("ab12", DESCRIPTION, b"x")
    assert ledger.failures() == ()


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path, monkeypatch):
    path = tmp_path / "entry"
    write_atomic(path, b"old")

    def full_disk(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full_disk)
    with pytest.raises(OSError, match="No space left on device: free the space"):
        write_atomic(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_killed_writer_leaves_only_what_sweep_removes(tmp_path):
    program = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from data_pipeline import disk\n"
        "os.fsync = lambda handle: os.kill(os.getpid(), signal.SIGKILL)\n"
        "disk.write_atomic(Path(sys.argv[1]) / 'ab' / 'ab12.entry', b'payload')\n"
    )
    ended = subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=False)
    assert ended.returncode == -9
    ledger = Ledger(tmp_path)
    assert not ledger.contains("ab12")
    assert ledger.sweep() == 1
    assert not any(path.is_file() for path in tmp_path.rglob("*"))


def test_a_second_run_in_the_same_ledger_is_refused(tmp_path):
    program = (
        "import sys\n"
        "from pathlib import Path\n"
        "from data_pipeline.tasks.errors import LedgerInUseError\n"
        "from data_pipeline.tasks.ledger import Ledger\n"
        "try:\n"
        "    with Ledger(Path(sys.argv[1])).exclusive():\n"
        "        print('entered')\n"
        "except LedgerInUseError as error:\n"
        "    print(error)\n"
    )

    def run_other() -> str:
        return subprocess.run(
            [sys.executable, "-c", program, str(tmp_path)], check=True, capture_output=True, text=True
        ).stdout

    with Ledger(tmp_path).exclusive():
        assert "another run is writing here" in run_other()
    assert run_other() == "entered\n"


def test_npz_bytes_depend_on_names_and_values_only(tmp_path):
    arrays = {"b": np.arange(6.0).reshape(2, 3), "a": np.array(["x", "yz"]), "c": np.asfortranarray(np.ones((3, 2)))}
    data = npz_bytes(arrays)
    assert data == npz_bytes(dict(reversed(arrays.items())))
    (tmp_path / "x.npz").write_bytes(data)
    with np.load(tmp_path / "x.npz") as loaded:
        assert sorted(loaded.files) == ["a", "b", "c"]
        for name, array in arrays.items():
            np.testing.assert_array_equal(loaded[name], array)
    np.testing.assert_array_equal(read_npz(data)["b"], arrays["b"])
