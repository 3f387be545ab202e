"""Solved policies as files that prove themselves: `<hash>.json` says what the policy is, `<hash>.npz` holds its arrays.

The name is the SHA-256 of the JSON file, and the JSON holds the SHA-256 of the arrays: one name fixes every byte.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_pipeline.disk import npz_bytes, plain_json, pretty_json, read_npz, sha256_hex, write_atomic
from data_pipeline.errors import DataError

POLICY_FORMAT = 1
"""Version of the layout; files of another version are refused."""


@dataclass(frozen=True, slots=True, eq=False)
class PolicyArtefact:
    """A solved policy with everything that it came from.

    Attributes
    ----------
    arrays : mapping of arrays
        Times, states, value, density, fractions, crowd rate, ...; numbers only.
    parameters : mapping
        Of the game.
    certificate : mapping
        Residual, exploitability, mass error, convergence; `status` is a sentence.
    calibration : mapping
        The calibrated numbers with standard errors and notes.
    window : mapping
        The training window: first and last session.
    hashes : mapping
        Of the data rows (`data`) and the code (`code`).
    model : mapping
        Kind of the game and version of its arrays, as `mfg_core.rebuild_policy` reads them; the tolerance.
    """

    arrays: Mapping[str, NDArray[Any]]
    parameters: Mapping[str, Any]
    certificate: Mapping[str, Any]
    calibration: Mapping[str, Any]
    window: Mapping[str, Any]
    hashes: Mapping[str, str]
    model: Mapping[str, Any] = field(default_factory=dict)


_PARTS = ("parameters", "certificate", "calibration", "window", "hashes", "model")


def write_policy(folder: Path, artefact: PolicyArtefact) -> str:
    """Write the artefact's two files into `folder`; its hash. The same artefact twice is one pair of files."""
    for name, array in artefact.arrays.items():
        if np.asarray(array).dtype.kind not in "fiub":
            raise TypeError(f"arrays must be numeric; {name} was of type {np.asarray(array).dtype}")
    body = npz_bytes(artefact.arrays)
    description = {part: plain_json(getattr(artefact, part)) for part in _PARTS}
    text = pretty_json(description | {"format_version": POLICY_FORMAT, "arrays_sha256": sha256_hex(body)})
    digest = sha256_hex(text)
    # the arrays first: a JSON file that can be seen has its arrays beside it
    write_atomic(folder / f"{digest}.npz", body)
    write_atomic(folder / f"{digest}.json", text)
    return digest


def read_policy(folder: Path, digest: str) -> PolicyArtefact:
    """The policy of that hash, proven against it.

    Raises
    ------
    DataError
        When a file is missing, changed, or of another format version; the message names it and what to do.
    """
    path = folder / f"{digest}.json"
    text = _read(path)
    _check_hash(path, text, digest)
    description = json.loads(text)
    found = description.get("format_version")
    if found != POLICY_FORMAT:
        raise DataError(
            f"{path}: format_version must be {POLICY_FORMAT}; was {found!r}: solve the policy again with this version, "
            "or read it with the version that wrote it"
        )
    arrays_path = path.with_suffix(".npz")
    body = _read(arrays_path)
    _check_hash(arrays_path, body, description["arrays_sha256"])
    parts = {part: description[part] for part in _PARTS}
    return PolicyArtefact(arrays=read_npz(body), **parts)


def require_hashes(artefact: PolicyArtefact, digest: str, **expected: str) -> None:
    """Refuse a policy that was made from other data or other code than expected (`data=...`, `code=...`).

    Raises
    ------
    DataError
        Naming the policy, what differs, and what to do.
    """
    for name, value in expected.items():
        found = artefact.hashes.get(name)
        if found != value:
            raise DataError(
                f"policy {digest[:12]}: its {name} hash must be {value[:12]}; was {str(found)[:12]}: "
                f"it was calibrated on other {name}; run the backtest again to calibrate and solve it anew"
            )


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise DataError(f"{path}: no such policy file; run the backtest again to solve it anew") from None


def _check_hash(path: Path, content: bytes, expected: str) -> None:
    found = sha256_hex(content)
    if found != expected:
        raise DataError(
            f"{path}: damaged or changed (sha256 {found[:12]}, expected {expected[:12]}); "
            "delete the policy's two files and run the backtest again to solve it anew"
        )
