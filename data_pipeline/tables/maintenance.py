"""Upkeep of a store: many small parts into few, and files without a name removed. The rows stay as they are."""

from __future__ import annotations

import os
import re
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from data_pipeline.atomic import disk_errors
from data_pipeline.errors import DataError
from data_pipeline.manifest import Manifest, read_manifest
from data_pipeline.tables.catalog import TABLES
from data_pipeline.tables.files import LOCK, LocalFiles, Place, StoreFiles, open_files
from data_pipeline.tables.publish import publish_manifest, sweep_orphans
from data_pipeline.tables.rewrite import PlacedPart, join_parts
from data_pipeline.tables.spec import TableSpec
from data_pipeline.tables.state import Name, TablePartition, in_order
from data_pipeline.tables.versions import refuse_other_versions

LARGEST_ROWS: Final = 1 << 26
"""Parts are joined up to so many rows; larger ones read no faster."""
COMMIT_BYTES: Final = 1 << 30
"""After so many bytes of new parts they are committed and the old ones removed: what upkeep needs of a disk besides."""
_STAGING: Final = ".upkeep"

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Compaction:
    """What `compact` did: partitions rewritten, parts before and after, orphans removed."""

    partitions: int
    parts_before: int
    parts_after: int
    orphans: int


def compact(
    place: Place | StoreFiles, *, specs: Mapping[str, TableSpec] = TABLES, progress: Progress | None = None
) -> Compaction:
    """Join the parts of each partition; `Manifest.content_hash` and every row stay the same.

    Stopped in the middle, the store is whole, with some partitions joined already.

    Raises
    ------
    DataError
        When there is no store, it is damaged or of another version, another command is writing to it, or the disk is
        full.
    """
    files = open_files(place)
    read_manifest(files)
    with disk_errors(files.name), files.lock(), upkeep_folder(files) as staging:
        manifest = read_manifest(files)
        refuse_other_versions(files.name, manifest.tables, specs)
        before = sum(len(p.parts) for p in manifest.tables)
        orphans, rewritten = sweep_orphans(files, manifest), 0
        waiting: dict[Name, TablePartition] = {}
        size = 0
        for partition in manifest.tables:
            joined = _joined(files, specs[partition.table], partition, staging)
            if joined == partition:
                continue
            rewritten += 1
            waiting[joined.name] = joined
            size += sum(part.bytes for part in joined.parts if part not in partition.parts)
            if progress is not None:
                progress(f"joined {len(partition.parts)} parts of {'/'.join(partition.name)}")
            if size > COMMIT_BYTES:
                manifest, waiting, size = _commit(files, staging, waiting, manifest), {}, 0
        if waiting:
            manifest = _commit(files, staging, waiting, manifest)
    return Compaction(rewritten, before, sum(len(p.parts) for p in manifest.tables), orphans)


def _commit(files: StoreFiles, staging: Path, joined: Mapping[Name, TablePartition], base: Manifest) -> Manifest:
    manifest = replace(base, tables=in_order(joined.get(p.name, p) for p in base.tables))
    if manifest.content_hash != base.content_hash:
        raise DataError(f"{files.name}: joined parts have other rows than before: run `fairfield store verify`")
    committed = publish_manifest(files, staging, manifest, base)
    sweep_orphans(files, committed)
    return committed


def _joined(files: StoreFiles, spec: TableSpec, partition: TablePartition, staging: Path) -> TablePartition:
    """The partition with neighbouring parts joined while they stay below `LARGEST_ROWS`."""
    groups: list[list[PlacedPart]] = [[]]
    rows = 0
    for part in partition.parts:
        if rows + part.rows > LARGEST_ROWS and groups[-1]:
            groups.append([])
            rows = 0
        groups[-1].append(PlacedPart(part, files))
        rows += part.rows
    parts = [group[0].part if len(group) == 1 else join_parts(spec, partition.name, group, staging) for group in groups]
    (joined,) = in_order([partition._replace(parts=tuple(parts))])
    return joined


def unlock(place: Place | StoreFiles, *, force: bool = False) -> str | None:
    """Remove the lock that a killed process left in a store at a URL, and say whose it was; None when there is none.

    Parameters
    ----------
    place : path, str or StoreFiles
    force : bool, optional
        Also when nothing shows from here that the process has ended: it ran on another machine.

    Raises
    ------
    DataError
        When the process still runs, or may, and `force` is not given.
    """
    files = open_files(place)
    holder = files.holder()
    if holder is None:
        return None
    if not force and not _has_ended(holder):
        raise DataError(
            f"{files.name} is being written by {holder}, which may still run: end it first; if you know that it has "
            f"ended, run `fairfield store unlock --force --store {files.name}`"
        )
    files.remove(LOCK)
    return holder


def _has_ended(holder: str) -> bool:
    """Whether it is a process of this machine that is no more."""
    found = re.match(r"process (\d+) on (\S+) since ", holder)
    if found is None or found[2] != socket.gethostname():
        return False
    try:
        os.kill(int(found[1]), 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False


@contextmanager
def upkeep_folder(files: StoreFiles) -> Iterator[Path]:
    """A folder for new parts: on the disk of a local store, else a temporary one. Hold the lock."""
    if not isinstance(files, LocalFiles):
        with tempfile.TemporaryDirectory(prefix="fairfield-upkeep-") as name:
            yield Path(name)
        return
    folder = files.root / _STAGING
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
