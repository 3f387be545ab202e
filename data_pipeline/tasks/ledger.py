"""Finished work on disk, found again by the hash of everything it depends on.

An entry is one file: a JSON line (key, description, size and SHA-256 of the payload), then the payload's bytes. It
appears under its name complete or not at all, so a run that was stopped in any way goes on from what it had.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_pipeline.disk import canonical_json, sha256_hex, write_atomic
from data_pipeline.tasks.errors import LedgerInUseError

_FORMAT = 1


class LedgerDamageError(Exception):
    """An entry whose bytes are not those that were written; the message names the file and what differs."""


def task_key(description: Mapping[str, Any]) -> str:
    """SHA-256 of the canonical JSON of what a result depends on (pod, fold, parameters, data, code, seed).

    >>> task_key({"pod": "hold", "fold": 1}) == task_key({"fold": 1, "pod": "hold"})
    True
    """
    return sha256_hex(canonical_json(description))


@dataclass(frozen=True, slots=True)
class Ledger:
    """A folder of entries; opening one that does not exist makes it at the first write."""

    folder: Path

    def path(self, key: str) -> Path:
        """File that holds, or would hold, the entry of `key`."""
        return self.folder / key[:2] / f"{key}.entry"

    def contains(self, key: str) -> bool:
        """Whether there is an entry, sound or not."""
        return self.path(key).is_file()

    def write(self, key: str, description: Mapping[str, Any], payload: bytes) -> None:
        """Store `payload`; an entry of the same key is replaced."""
        header = {
            "format": _FORMAT,
            "key": key,
            "description": description,
            "size": len(payload),
            "sha256": sha256_hex(payload),
        }
        write_atomic(self.path(key), canonical_json(header) + b"\n" + payload)
        self.failure_path(key).unlink(missing_ok=True)

    def read(self, key: str) -> bytes:
        """The payload of `key`, checked against its stored size and SHA-256.

        Raises
        ------
        KeyError
            When there is no entry.
        LedgerDamageError
            When the entry is not what was written.
        """
        path = self.path(key)
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            raise KeyError(key) from None
        first_line, _, payload = content.partition(b"\n")
        try:
            header = json.loads(first_line)
        except ValueError as error:
            raise LedgerDamageError(f"{path}: the first line is not the JSON header of an entry ({error})") from error
        found = {"format": _FORMAT, "key": key, "size": len(payload), "sha256": sha256_hex(payload)}
        for name, value in found.items():
            stored = header.get(name) if isinstance(header, dict) else None
            if stored != value:
                raise LedgerDamageError(f"{path}: {name} is {value!r} where the header says {stored!r}")
        return payload

    def discard(self, key: str) -> None:
        """Remove the entry of `key`, if there is one."""
        self.path(key).unlink(missing_ok=True)

    def failure_path(self, key: str) -> Path:
        """File that names a failed task."""
        return self.folder / "failed" / f"{key}.json"

    def write_failure(self, key: str, name: str, reason: str, deaths: int) -> None:
        """Record that a task was given up in this run; a later run tries it again."""
        record = {"key": key, "name": name, "reason": reason, "worker_deaths": deaths}
        write_atomic(self.failure_path(key), canonical_json(record) + b"\n")

    def failures(self) -> tuple[Mapping[str, Any], ...]:
        """Tasks recorded as failed and not finished since, in the order of their keys."""
        return tuple(json.loads(path.read_bytes()) for path in sorted(self.folder.glob("failed/*.json")))

    def sweep(self) -> int:
        """Remove what killed writers left behind; the number of files removed. Call it only as the one writer."""
        leftovers = list(self.folder.rglob(".*.tmp"))
        for path in leftovers:
            path.unlink(missing_ok=True)
        return len(leftovers)

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Hold the ledger for one run; the system releases it when the process ends, however it ends.

        Raises
        ------
        LedgerInUseError
            When another process holds it. (Not checked where the system has no `flock`.)
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "lock").open("w") as stream:
            _lock(stream.fileno(), self.folder)
            yield


def _lock(handle: int, folder: Path) -> None:
    try:
        import fcntl
    except ImportError:
        return
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise LedgerInUseError(
            f"{folder}: another run is writing here; wait for it to end, or give this run another output folder"
        ) from error
