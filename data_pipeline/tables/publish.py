"""The commit: parts first, the manifest last, then the sweep of what no manifest names."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Final

from data_pipeline.errors import DataError
from data_pipeline.manifest import MANIFEST, Manifest, read_manifest
from data_pipeline.tables.catalog import TABLES
from data_pipeline.tables.files import StoreFiles

_PART: Final = r"part-[0-9a-f]{16}\.parquet"
_BEGUN: Final = r"\.[0-9a-f-]+\.tmp"
"""How the name ends of what a killed process had begun to write in a file's place (`atomic.atomic_path`)."""
_OWN_PART: Final = re.compile(rf"(?P<table>[a-z_]+)/(?:[a-z]+=[^/]+/)*(?:{_PART}|\.{_PART}{_BEGUN})")
_OWN_MANIFEST: Final = re.compile(rf"\.{re.escape(MANIFEST)}{_BEGUN}")
_TABLES: Final = frozenset(("cotahist", "quarantine", "events", "cdi", *TABLES))
"""Folders of the store's own parts: nothing else is ever removed."""


def is_own_part(path: str) -> bool:
    """Whether a path below the store is that of a part, finished or not, by its name."""
    match = _OWN_PART.fullmatch(path)
    return match is not None and match["table"] in _TABLES


def held_manifest(files: StoreFiles) -> Manifest:
    """The manifest of the store, an empty one when there is none yet."""
    return read_manifest(files) if files.exists(MANIFEST) else Manifest()


def publish_manifest(files: StoreFiles, staging: Path, manifest: Manifest, base: Manifest) -> Manifest:
    """Commit `manifest`, made from `base`: its parts that lie below `staging` first, then itself. Hold the lock.

    Returns
    -------
    Manifest
        As committed, with its generation.

    Raises
    ------
    DataError
        When another writer committed since `base` was read: nothing of this commit is then visible.
    """
    committed = replace(manifest, generation=base.generation + 1)
    for part in committed.parts():
        draft = staging / part.path
        if draft.exists():
            files.put_file(part.path, draft)
    found = held_manifest(files)
    if found.generation != base.generation or found != base:
        raise DataError(
            f"{files.name} was changed by another writer (generation {found.generation}, was {base.generation}) "
            "while this one worked: run the command again"
        )
    files.put(MANIFEST, committed.to_bytes())
    return committed


def sweep_orphans(files: StoreFiles, manifest: Manifest) -> int:
    """Remove what `manifest` does not name, left by a stopped writer or replaced; how many files. Hold the lock."""
    named = {part.path for part in manifest.parts()}
    own = [path for path in files.list() if is_own_part(path) or _OWN_MANIFEST.fullmatch(path)]
    orphans = [path for path in own if path not in named]
    for path in orphans:
        files.remove(path)
    return len(orphans)
