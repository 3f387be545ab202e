"""A panel on disk: memory-mapped arrays that worker processes share, beside one JSON file that commits them.

`panel.json` names every array file together with its sha256; array files carry their own hash in the name. A new
panel is written beside the old one and becomes visible when `panel.json` is replaced, so a crash leaves the old panel.
The bytes are a pure function of the panel.
"""

from __future__ import annotations

import hashlib
import io
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_pipeline.atomic import write_atomically
from data_pipeline.daily.panel import GRID_FIELDS, CorporateEvent, DailyPanel
from data_pipeline.errors import DataError

PANEL_SCHEMA_VERSION = 2
_INDEX = "panel.json"
_ARRAYS = ("sessions", *GRID_FIELDS, "lot_size", "risk_free", "member_from")


def panel_hash(panel: DailyPanel) -> str:
    """Return the sha256 of a panel's data: dates, names, arrays and events, not its provenance."""
    digest = hashlib.sha256()
    for name in _ARRAYS:
        array = _plain(panel, name)
        digest.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        digest.update(array.tobytes())
    digest.update(_canonical({"instruments": list(panel.instruments), "events": [asdict(e) for e in panel.events]}))
    return digest.hexdigest()


def save_panel(panel: DailyPanel, folder: str | Path, *, durable: bool = True) -> None:
    """Write a panel into a folder, atomically; a panel that was there is replaced.

    Parameters
    ----------
    durable : bool
        Wait until the disk has every file; False for a new folder that ends with the process.

    Raises
    ------
    OSError
        When the folder cannot be written (permissions, full disk); the panel that was there is untouched.
    """
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    write = write_atomically if durable else Path.write_bytes
    files: dict[str, dict[str, str]] = {}
    for name in _ARRAYS:
        payload = _npy_bytes(_plain(panel, name))
        digest = hashlib.sha256(payload).hexdigest()
        file_name = f"{name}-{digest[:16]}.npy"
        files[name] = {"file": file_name, "sha256": digest}
        write(target / file_name, payload)
    index = {
        "schema_version": PANEL_SCHEMA_VERSION,
        "files": files,
        "instruments": list(panel.instruments),
        "events": [asdict(event) for event in panel.events],
        "provenance": dict(panel.provenance),
        "rule_counts": dict(panel.rule_counts),
    }
    write(target / _INDEX, json.dumps(index, indent=1, sort_keys=True, ensure_ascii=False).encode())
    current = {entry["file"] for entry in files.values()}
    for stale in sorted(target.glob("*-*.npy")):
        if stale.name not in current:
            stale.unlink(missing_ok=True)


def load_panel(folder: str | Path) -> DailyPanel:
    """Return the panel of a folder, its arrays memory-mapped read-only and checked against their sha256.

    Raises
    ------
    DataError
        When the folder holds no panel, one of another schema version, or a file that does not match its hash.
    """
    source = Path(folder)
    index = _read_index(source)
    arrays = {name: _load_array(source, name, index["files"]) for name in _ARRAYS}
    return DailyPanel(
        instruments=tuple(index["instruments"]),
        events=tuple(CorporateEvent(**event) for event in index["events"]),
        provenance=index["provenance"],
        rule_counts=index["rule_counts"],
        **arrays,
    )


def _read_index(source: Path) -> dict[str, Any]:
    path = source / _INDEX
    try:
        index = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise DataError(f"{source}: no panel here ({_INDEX} is missing); make one with save_panel") from None
    except ValueError as error:
        raise DataError(f"{path}: not a panel index ({error}); make the panel again") from None
    version = index.get("schema_version") if isinstance(index, dict) else None
    if version != PANEL_SCHEMA_VERSION:
        raise DataError(f"{path}: schema_version must be {PANEL_SCHEMA_VERSION}; was {version!r}: make the panel again")
    result: dict[str, Any] = index
    return result


def _load_array(source: Path, name: str, files: dict[str, dict[str, str]]) -> NDArray[Any]:
    entry = files[name]
    path = source / entry["file"]
    try:
        with path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
    except FileNotFoundError:
        raise DataError(f"{path}: missing, but {_INDEX} names it; make the panel again") from None
    if digest != entry["sha256"]:
        raise DataError(
            f"{path}: damaged (sha256 {digest[:12]}, expected {entry['sha256'][:12]}); make the panel again"
        )
    array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    return array


def _plain(panel: DailyPanel, name: str) -> NDArray[Any]:
    array = np.ascontiguousarray(getattr(panel, name))
    kind = {"M": "<M8[D]", "i": "<i8", "f": "<f8"}[array.dtype.kind]
    return array.astype(kind, copy=False)


def _npy_bytes(array: NDArray[Any]) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, array, version=(1, 0), allow_pickle=False)
    return buffer.getvalue()


def _canonical(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
