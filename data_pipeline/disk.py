"""Bytes that depend on their content only, and writes that are seen whole or not at all."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import math
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_pipeline.atomic import write_atomically

_ZIP_EPOCH = (1980, 1, 1, 0, 0, 0)


def plain_json(value: Any) -> Any:
    """`value` in JSON's own types: keys to str, NumPy scalars to Python's, dates to ISO text, NaN and infinity to None.

    Raises
    ------
    TypeError
        For an object that has no such form; nothing is turned into its `repr` silently.
    """
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float | np.floating):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, np.bool_):
        return bool(value)
    if isinstance(value, np.integer):
        return int(value)
    if isinstance(value, np.datetime64):
        return None if np.isnat(value) else str(value)
    if isinstance(value, Mapping):
        return {str(key): plain_json(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [plain_json(item) for item in value]
    if isinstance(value, np.ndarray):
        return [plain_json(item) for item in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {item.name: plain_json(getattr(value, item.name)) for item in dataclasses.fields(value)}
    raise TypeError(f"value must be made of JSON types, NumPy values and dataclasses; was {type(value).__name__}")


def canonical_json(value: Any) -> bytes:
    """The one JSON text of `value`: sorted keys, no spaces, shortest exact floats, UTF-8.

    >>> canonical_json({"b": 1.5, "a": [float("nan"), True]})
    b'{"a":[null,true],"b":1.5}'
    """
    return json.dumps(
        plain_json(value), sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False
    ).encode()


def pretty_json(value: Any) -> bytes:
    """Canonical JSON laid out for people: the same content, indented, with a final newline."""
    return (
        json.dumps(plain_json(value), sort_keys=True, ensure_ascii=False, indent=1, allow_nan=False) + "\n"
    ).encode()


def sha256_hex(data: bytes) -> str:
    """Hexadecimal SHA-256 of `data`."""
    return hashlib.sha256(data).hexdigest()


def npz_bytes(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """A NumPy `.npz` archive of `arrays` whose bytes depend on their names and values only.

    Members are sorted by name, stored without compression and dated 1980-01-01; `numpy.load` reads it.
    """
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(arrays):
            member = zipfile.ZipInfo(f"{name}.npy", date_time=_ZIP_EPOCH)
            member.create_system = 3
            member.external_attr = 0o644 << 16
            body = io.BytesIO()
            np.lib.format.write_array(body, np.ascontiguousarray(arrays[name]), version=(1, 0), allow_pickle=False)
            archive.writestr(member, body.getvalue())
    return buffer.getvalue()


def read_npz(data: bytes) -> dict[str, NDArray[Any]]:
    """The arrays of an `.npz` archive held in memory; pickled objects are refused."""
    with np.load(io.BytesIO(data), allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


def write_atomic(path: Path, data: bytes) -> None:
    """Write `data` to `path` so that a reader, or a crash, sees the old file or the new one, never a part.

    Raises
    ------
    OSError
        Naming the file; nothing half-written stays behind.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        write_atomically(path, data)
    except OSError as error:
        remedy = "name a file" if path.is_dir() else "free the space or fix the permission, then run again"
        raise OSError(error.errno, f"{error.strerror}: {remedy}", str(path)) from error


def sync_folder(folder: Path) -> None:
    """Make the folder's own entries durable, where the system has such a call."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
