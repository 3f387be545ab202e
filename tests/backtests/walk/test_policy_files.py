from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest

from backtests.walk.policy_files import PolicyArtefact, read_policy, require_hashes, write_policy
from data_pipeline.errors import DataError


def artefact(**changes):
    parts = {
        "arrays": {"times": np.linspace(0.0, 3.0, 7), "fractions": np.array([0.5, 0.6, 1.0])},
        "parameters": {"temporary_impact": 0.1, "horizon": 3.0},
        "certificate": {"converged": True, "residual": 1e-12},
        "calibration": {"temporary_impact": 0.1, "temporary_impact_se": float("nan"), "notes": ["shrunk"]},
        "window": {"first": np.datetime64("2022-01-03"), "last": np.datetime64("2022-12-29")},
        "hashes": {"data": "d" * 64, "code": "c" * 64},
    }
    return PolicyArtefact(**(parts | changes))


def test_a_policy_comes_back_as_written(tmp_path):
    digest = write_policy(tmp_path, artefact())
    found = read_policy(tmp_path, digest)
    for name, array in artefact().arrays.items():
        np.testing.assert_array_equal(found.arrays[name], array)
    assert found.parameters == artefact().parameters
    assert found.calibration["temporary_impact_se"] is None
    assert found.window == {"first": "2022-01-03", "last": "2022-12-29"}
    require_hashes(found, digest, data="d" * 64, code="c" * 64)


def test_the_name_is_the_hash_of_the_description_which_holds_the_hash_of_the_arrays(tmp_path):
    digest = write_policy(tmp_path, artefact())
    text = (tmp_path / f"{digest}.json").read_bytes()
    assert hashlib.sha256(text).hexdigest() == digest
    body = (tmp_path / f"{digest}.npz").read_bytes()
    assert json.loads(text)["arrays_sha256"] == hashlib.sha256(body).hexdigest()
    with np.load(tmp_path / f"{digest}.npz") as arrays:
        np.testing.assert_array_equal(arrays["fractions"], [0.5, 0.6, 1.0])


def test_the_same_policy_has_the_same_bytes_and_another_one_another_name(tmp_path):
    first = write_policy(tmp_path / "a", artefact())
    reordered = dict(reversed(artefact().arrays.items()))
    second = write_policy(tmp_path / "b", artefact(arrays=reordered))
    assert first == second
    for suffix in (".npz", ".json"):
        assert (tmp_path / "a" / f"{first}{suffix}").read_bytes() == (tmp_path / "b" / f"{first}{suffix}").read_bytes()
    changed = dict(artefact().arrays)
    changed["fractions"][0] = np.nextafter(0.5, 1)
    assert write_policy(tmp_path / "a", artefact(arrays=changed)) != first
    assert write_policy(tmp_path / "a", artefact(hashes={"data": "e" * 64})) != first


@pytest.mark.parametrize("suffix", [".json", ".npz"])
def test_a_changed_file_is_refused_by_name(tmp_path, suffix):
    digest = write_policy(tmp_path, artefact())
    path = tmp_path / f"{digest}{suffix}"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match=rf"{digest}\{suffix}: damaged or changed .* run the backtest again"):
        read_policy(tmp_path, digest)


@pytest.mark.parametrize("suffix", [".json", ".npz"])
def test_a_missing_file_is_refused_by_name(tmp_path, suffix):
    digest = write_policy(tmp_path, artefact())
    (tmp_path / f"{digest}{suffix}").unlink()
    with pytest.raises(DataError, match=rf"{digest}\{suffix}: no such policy file"):
        read_policy(tmp_path, digest)


def test_another_format_version_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("backtests.walk.policy_files.POLICY_FORMAT", 2)
    digest = write_policy(tmp_path, artefact())
    monkeypatch.undo()
    with pytest.raises(DataError, match="format_version must be 1; was 2: solve the policy again"):
        read_policy(tmp_path, digest)


def test_a_policy_of_other_data_is_refused():
    with pytest.raises(DataError, match="its data hash must be eeeeeeeeeeee; was dddddddddddd"):
        require_hashes(artefact(), "f" * 64, data="e" * 64)


def test_arrays_of_objects_are_refused(tmp_path):
    with pytest.raises(TypeError, match="names was of type"):
        write_policy(tmp_path, artefact(arrays={"names": np.array(["a"])}))
