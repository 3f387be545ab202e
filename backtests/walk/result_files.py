"""Runs on disk: the folder of docs/contracts.md, seen whole or not at all, the same bytes for the same run."""

from __future__ import annotations

import io
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from backtests.walk.policy_files import read_policy
from backtests.walk.result import Result, Run, Table
from backtests.walk.run_kinds import KINDS, NUMPY_KINDS, RunKind
from data_pipeline.disk import canonical_json, plain_json, pretty_json, sha256_hex, sync_folder, write_atomic
from data_pipeline.errors import DataError

SCHEMA_VERSION = 2
"""Version of the run folder's layout."""

_HEADER = ("kind", "pods", "name", "benchmark", "configuration", "provenance", "limits", "sessions", "files", "seal")
_ARROW = {"date": pa.date32(), "text": pa.string(), "float": pa.float64(), "whole": pa.int64(), "flag": pa.bool_()}


def run_identity(name: str, configuration: Mapping[str, Any], provenance: Mapping[str, Any]) -> str:
    """Folder name of a run: its name and the hash of what decides its bytes."""
    return f"{name}-{sha256_hex(canonical_json([SCHEMA_VERSION, name, configuration, provenance]))[:12]}"


def write_run(
    out_folder: Path,
    run: Run,
    policies: Path | None = None,
    policy_hashes: Sequence[str] = (),
    files: Mapping[str, bytes] | None = None,
) -> Path:
    """Write `run` as a new folder in `out_folder`; the folder.

    Everything is written into a hidden sibling first and renamed at the end. A folder of the same name that holds the
    same bytes is left as it is (with a report that may lie in it); one that does not is replaced.

    Parameters
    ----------
    out_folder : Path
    run : Run
    policies : Path, optional
        Folder that holds the policies.
    policy_hashes : sequence of str
        Those that belong to the run; each is proven before it is copied.
    files : mapping of str to bytes, optional
        Further files of the run, by their path in it.

    Raises
    ------
    ValueError
        When a table does not fit the schema or a pod's name cannot be a folder's.
    OSError
        When the disk is full or not writable; nothing is left half-written.
    """
    final = out_folder / run_identity(run.name, run.configuration, run.provenance)
    files = dict(_files(run)) | dict(files or {})
    for digest in sorted(set(policy_hashes)):
        if policies is None:
            raise ValueError("policies must be the folder of the policies when policy_hashes are given; was None")
        read_policy(policies, digest)
        for suffix in (".npz", ".json"):
            files[f"policies/{digest}{suffix}"] = (policies / f"{digest}{suffix}").read_bytes()
    files["run.json"] = pretty_json(sealed(_header(run), files))
    if _holds(final, files):
        return final
    out_folder.mkdir(parents=True, exist_ok=True)
    hidden = out_folder / f".{final.name}.{os.getpid()}.tmp"
    try:
        shutil.rmtree(hidden, ignore_errors=True)
        for path, content in files.items():
            write_atomic(hidden / path, content)
        if final.exists():
            replaced = out_folder / f".{final.name}.{os.getpid()}.old.tmp"
            final.rename(replaced)
            hidden.rename(final)
            shutil.rmtree(replaced)
        else:
            hidden.rename(final)
        sync_folder(out_folder)
    finally:
        shutil.rmtree(hidden, ignore_errors=True)
    return final


def read_run(folder: Path) -> Run:
    """The run in `folder`.

    Raises
    ------
    DataError
        When a file is missing, unreadable, of another schema version, not as the schema says or not the one written.
    """
    header = _read_json(folder / "run.json")
    version = header.get("schema_version")
    if version != SCHEMA_VERSION:
        raise DataError(
            f"{folder / 'run.json'}: schema_version must be {SCHEMA_VERSION}; was {version!r}: run the backtest again"
        )
    for name in _HEADER:
        if name not in header:
            raise DataError(f"{folder / 'run.json'}: the key {name!r} is missing: run the backtest again")
    _require_seal(folder, header)
    if header["kind"] not in KINDS:
        raise DataError(f"{folder / 'run.json'}: kind must be one of {', '.join(KINDS)}; was {header['kind']!r}")
    results = tuple(_read_result(folder / "pods" / name, name, header) for name in header["pods"])
    run = Run(
        name=header["name"],
        benchmark=header["benchmark"],
        results=results,
        configuration=header["configuration"],
        provenance=header["provenance"],
        limits=tuple(header["limits"]),
        comparison=_read_json(folder / "comparison.json"),
        quality=_read_json(folder / "quality.json"),
        folder=folder,
    )
    _require_files(folder, header["files"])
    return run


def parquet_bytes(table: Table, columns: Mapping[str, str]) -> bytes:
    """Parquet of the table's columns with every writer option pinned: the same columns are the same bytes.

    NaN stays NaN, NaT becomes null; there is no pandas metadata.
    """
    schema = pa.schema([pa.field(name, _ARROW[kind]) for name, kind in columns.items()])
    arrays = [_arrow(table[name], kind) for name, kind in columns.items()]
    sink = io.BytesIO()
    pq.write_table(
        pa.Table.from_arrays(arrays, schema=schema),
        sink,
        version="2.6",
        data_page_version="1.0",
        compression="zstd",
        compression_level=3,
        use_dictionary=[name for name, kind in columns.items() if kind == "text"],
        write_statistics=True,
        store_schema=False,
        row_group_size=1 << 20,
        data_page_size=1 << 20,
    )
    return sink.getvalue()


def _arrow(values: Any, kind: str) -> pa.Array:
    if kind == "text":
        if isinstance(values, np.ndarray) and values.dtype.kind == "U":
            return pa.array(values, type=pa.string())
        return pa.array([None if item is None else str(item) for item in values], type=pa.string())
    return pa.array(np.asarray(values).astype(NUMPY_KINDS[kind]), type=_ARROW[kind], from_pandas=False)


def _files(run: Run) -> Iterator[tuple[str, bytes]]:
    names = [result.pod for result in run.results]
    if len(set(names)) != len(names) or not names:
        raise ValueError(f"results must be of at least one pod, each with its own name; were {names}")
    for result in run.results:
        if Path(result.pod).name != result.pod or result.pod in ("", ".", ".."):
            raise ValueError(f"pod must be a name that can be a folder's; was {result.pod!r}")
        if result.kind is not run.kind:
            raise ValueError(f"results must be of one kind of run; were {run.kind.name} and {result.kind.name}")
        run.kind.check(result.tables, f"pod {result.pod}")
        for name, columns in run.kind.tables.items():
            yield f"pods/{result.pod}/{name}.parquet", parquet_bytes(result.tables[name], columns)
        yield f"pods/{result.pod}/statistics.json", pretty_json(result.statistics)
    yield "comparison.json", pretty_json(run.comparison)
    yield "quality.json", pretty_json(run.quality)


def _header(run: Run) -> dict[str, Any]:
    sessions = run.results[0].sessions
    return {
        "schema_version": SCHEMA_VERSION,
        "kind": run.kind.name,
        "name": run.name,
        "benchmark": run.benchmark,
        "pods": [result.pod for result in run.results],
        "sessions": {"first": sessions[0], "last": sessions[-1], "count": sessions.size},
        "configuration": run.configuration,
        "provenance": run.provenance,
        "limits": run.limits,
    }


def sealed(header: Mapping[str, Any], files: Mapping[str, bytes]) -> dict[str, Any]:
    """The content of `run.json` with the SHA-256 of every other file of the run, and of itself without that entry."""
    listed = dict(header) | {"files": {path: sha256_hex(content) for path, content in sorted(files.items())}}
    return listed | {"seal": _seal(listed)}


def _seal(header: Mapping[str, Any]) -> str:
    return sha256_hex(canonical_json({name: value for name, value in header.items() if name != "seal"}))


def _require_seal(folder: Path, header: Mapping[str, Any]) -> None:
    if header["seal"] != _seal(header):
        raise DataError(f"{folder / 'run.json'}: damaged or changed since it was written: run the backtest again")


def _require_files(folder: Path, files: Mapping[str, str]) -> None:
    """Refuse a folder in which a file of the run is missing or is not the one that was written."""
    for path, digest in files.items():
        try:
            content = (folder / path).read_bytes()
        except FileNotFoundError:
            raise DataError(f"{folder / path}: missing from the run folder: run the backtest again") from None
        if sha256_hex(content) != digest:
            raise DataError(f"{folder / path}: damaged or changed since it was written: run the backtest again")


def _holds(folder: Path, files: Mapping[str, bytes]) -> bool:
    """Whether the folder already has exactly these bytes under these names."""
    return all((folder / path).is_file() and (folder / path).read_bytes() == content for path, content in files.items())


def _read_result(folder: Path, name: str, header: Mapping[str, Any]) -> Result:
    kind: RunKind = KINDS[header["kind"]]
    tables = {table: _read_table(folder / f"{table}.parquet", columns) for table, columns in kind.tables.items()}
    return Result(name, tables, _read_json(folder / "statistics.json"), plain_json(header["provenance"]), kind)


def _read_table(path: Path, columns: Mapping[str, str]) -> Table:
    try:
        table = pq.read_table(path)
    except FileNotFoundError:
        raise DataError(f"{path}: missing from the run folder: run the backtest again") from None
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(f"{path}: not a Parquet file ({error}): run the backtest again") from None
    if table.column_names != list(columns):
        raise DataError(
            f"{path}: must have the columns {', '.join(columns)}; had {', '.join(table.column_names)}: "
            "run the backtest again"
        )
    return {name: _numpy(table.column(name), kind) for name, kind in columns.items()}


def _numpy(column: pa.ChunkedArray, kind: str) -> Any:
    if kind == "text":
        return np.array(column.to_pylist(), dtype=object)
    return column.to_numpy().astype(NUMPY_KINDS[kind])


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise DataError(f"{path}: missing: this is not the folder of a complete run; run the backtest again") from None
    except ValueError as error:
        raise DataError(f"{path}: not a JSON file ({error}): run the backtest again") from None
    if not isinstance(content, dict):
        raise DataError(f"{path}: must hold one JSON object; was a {type(content).__name__}")
    return content
