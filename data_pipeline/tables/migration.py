"""A store of an older version into one of this program's: only when asked, never by opening it.

Each of the two stages (the store's own version, then its tables' versions) becomes visible by one write of the
manifest. Stopped before it, the older store is whole and readable by the program that wrote it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from data_pipeline.atomic import disk_errors
from data_pipeline.errors import DataError
from data_pipeline.feeds.reading import Batch
from data_pipeline.manifest import MANIFEST, Document, Manifest, read_any_version, read_manifest
from data_pipeline.schema import SCHEMA_VERSION
from data_pipeline.tables.catalog import TABLES
from data_pipeline.tables.files import Place, StoreFiles, open_files
from data_pipeline.tables.maintenance import upkeep_folder
from data_pipeline.tables.part_reader import iter_rows
from data_pipeline.tables.parts import draft_parts
from data_pipeline.tables.publish import publish_manifest, sweep_orphans
from data_pipeline.tables.spec import TableSpec
from data_pipeline.tables.state import Name, TablePart, TablePartition, in_order
from data_pipeline.tables.versions import STEPS, Step, steps_of

Content = Mapping[str, Any]


def _with_tables(content: Content) -> Content:
    """Version 1 held daily quotes, events and the CDI alone; their files stay as they are."""
    sources = [{**source, "notes": [], "tables": {}, "superseded": False} for source in content["sources"]]
    return {**content, "sources": sources, "tables": {}, "generation": 0, "schema_version": 2}


STORE_STEPS: Final[Mapping[int, tuple[str, Callable[[Content], Content]]]] = {
    1: ("tables, notes of sources and a generation in the manifest", _with_tables)
}
"""By old version of the store: what the step does, and the manifest's document of the next version from the old one."""


def migrate(
    place: Place | StoreFiles,
    *,
    specs: Mapping[str, TableSpec] = TABLES,
    steps: Mapping[tuple[str, int], Step] = STEPS,
) -> tuple[str, ...]:
    """Bring the store and every table in it to this program's version; a sentence for each step taken.

    Raises
    ------
    DataError
        When there is no store, it is damaged or newer than the program, a step is not known or gives rows that the
        table does not allow, another command is writing to it, or the disk is full. The store is then as it was.
    """
    files = open_files(place)
    read_any_version(files)
    with disk_errors(files.name), files.lock(), upkeep_folder(files) as staging:
        lines = _upgrade_store(files)
        base = read_manifest(files)
        tables, changed = _upgrade_tables(files, base, specs, steps, staging)
        if changed:
            committed = publish_manifest(files, staging, replace(base, tables=tables), base)
            sweep_orphans(files, committed)
    return (*lines, *changed)


def _upgrade_store(files: StoreFiles) -> list[str]:
    document = read_any_version(files)
    lines = []
    content = document.content
    while (version := content["schema_version"]) in STORE_STEPS and version < SCHEMA_VERSION:
        words, step = STORE_STEPS[version]
        try:
            content = step(content)
        except (KeyError, TypeError, AttributeError) as error:
            raise document.damaged(error) from error
        lines.append(f"store: version {version} to {version + 1}: {words}")
    if lines:
        # decoding it proves that the old manifest was whole
        files.put(MANIFEST, Document(document.place, content).manifest.to_bytes())
    return lines


def _upgrade_tables(
    files: StoreFiles,
    base: Manifest,
    specs: Mapping[str, TableSpec],
    steps: Mapping[tuple[str, int], Step],
    staging: Path,
) -> tuple[tuple[TablePartition, ...], list[str]]:
    kept: list[TablePartition] = []
    fresh: dict[Name, list[TablePart]] = {}
    lines: dict[str, None] = {}
    for p in base.tables:
        if p.table not in specs:
            raise DataError(f"{files.name}: table {p.table} is not known to this program: use the one that wrote it")
        spec = specs[p.table]
        chain = steps_of(spec, p.version, steps)
        if not chain:
            kept.append(p)
            continue
        for number, step in enumerate(chain, start=p.version):
            lines[f"{p.table}: version {number} to {number + 1}: {step.name}"] = None
        for part in p.parts:
            batches = _changed(files, p, part, chain)
            for draft in draft_parts(batches, staging, "", tables={spec.name: spec}):
                fresh.setdefault(draft.name, []).append(draft.part._replace(sources=part.sources))
    made = [TablePartition(*name, specs[name[0]].version, tuple(parts)) for name, parts in fresh.items()]
    return in_order([*kept, *made]), list(lines)


def _changed(files: StoreFiles, p: TablePartition, part: TablePart, chain: Sequence[Step]) -> Iterator[Batch]:
    for rows in iter_rows(files, part):
        yield Batch(p.table, p.venue, _through(rows, chain))


def _through(rows: pa.Table, chain: Sequence[Step]) -> pa.Table:
    for step in chain:
        rows = step.change(rows)
    return rows
