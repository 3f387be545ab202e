"""Drafts into the committed state: what they replace, what stays, and the one write that makes it so."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data_pipeline.manifest import Manifest, Source
from data_pipeline.tables.catalog import TABLES
from data_pipeline.tables.files import LocalFiles, StoreFiles
from data_pipeline.tables.parts import DraftPart
from data_pipeline.tables.rewrite import PlacedPart, cells_of, join_parts, only_cells, without_cells
from data_pipeline.tables.spec import TableSpec
from data_pipeline.tables.state import Name, TablePart, TablePartition, in_order
from data_pipeline.tables.versions import refuse_other_versions

SMALL_ROWS: Final = 1 << 20
"""New parts of one partition with fewer rows than this are joined into one when they come in one call."""
MOST_SMALL: Final = 64
"""A partition with more parts of fewer rows than `SMALL_ROWS` has them joined by the call that adds to it."""
_PLACE: Final = "__place"


@dataclass(frozen=True, slots=True)
class TableChange:
    """Rows of a symbol and session that the store had already and that a draft gave again.

    Attributes
    ----------
    table, venue, period : str
    held_by, offered_by : tuple of str
        Sources (SHA-256) of the part that held them, and of the draft.
    symbols : tuple of str
        The symbols, in order.
    cells : int
        How many cells (`TableSpec.cell`): pairs of symbol and session, for most tables.
    rows_held, rows_offered : int
    identical : bool
        Whether the rows are the same; else the offered ones took the place of the held ones.
    refused : bool
        Whether they were not allowed to: the held ones stayed.
    """

    table: str
    venue: str
    period: str
    held_by: tuple[str, ...]
    offered_by: tuple[str, ...]
    symbols: tuple[str, ...]
    cells: int
    rows_held: int
    rows_offered: int
    identical: bool
    refused: bool = False


@dataclass(frozen=True, slots=True)
class _Meeting:
    """The symbols and sessions that a draft shares with a part, and that part without them."""

    held: PlacedPart
    cells: pa.Table
    change: TableChange


def merge_drafts(
    files: StoreFiles,
    manifest: Manifest,
    drafts: Sequence[DraftPart],
    staging: Path,
    *,
    specs: Mapping[str, TableSpec] = TABLES,
    may_replace: Callable[[TableChange], bool] = lambda change: True,
) -> tuple[tuple[TablePartition, ...], tuple[TableChange, ...]]:
    """The tables of the next manifest, every new part lying below `staging`, and what the drafts met.

    The rows of a symbol and session (of a table and venue) come from one draft: the last in `drafts` that has them,
    else what the store held. A draft whose rows are all there already changes nothing; one that `may_replace` forbids
    to take the place of others is left out, its changes marked as refused.

    Raises
    ------
    DataError
        When a part of the store is missing or damaged, or a table of the store is of another version.
    """
    refuse_other_versions(files.name, manifest.tables, specs)
    partitions = {p.name: p for p in manifest.tables}
    held: dict[Name, list[PlacedPart]] = {}
    cells = _Cells(specs)
    changes: list[TableChange] = []
    for draft in drafts:
        name = draft.name
        if name not in held:
            known = partitions[name].parts if name in partitions else ()
            held[name] = [PlacedPart(part, files) for part in known]
        held[name], met = _settle(specs[draft.table], draft, held[name], cells, staging, may_replace)
        changes += met
    for name, parts in held.items():
        spec = specs[name[0]]
        partitions[name] = TablePartition(*name, spec.version, _joined(spec, name, parts, files, staging))
    return in_order(partitions.values()), tuple(changes)


class _Cells:
    """The cells of each part, read once: every draft of a partition is compared with all of its parts."""

    def __init__(self, specs: Mapping[str, TableSpec]) -> None:
        self._specs = specs
        self._known: dict[str, pa.Table] = {}

    def of(self, table: str, placed: PlacedPart) -> pa.Table:
        path = placed.part.path
        if path not in self._known:
            self._known[path] = cells_of(self._specs[table], placed)
        return self._known[path]


def _settle(
    spec: TableSpec,
    draft: DraftPart,
    held: list[PlacedPart],
    cells: _Cells,
    staging: Path,
    may_replace: Callable[[TableChange], bool],
) -> tuple[list[PlacedPart], list[TableChange]]:
    """The parts of a partition after a draft, and what it met there."""
    own = PlacedPart(draft.part, LocalFiles(draft.staging))
    near = [h for h in held if h.part.first <= draft.part.last and draft.part.first <= h.part.last]
    meetings = _meetings(spec, draft, own, near, cells)
    changes = [m.change for m in meetings]
    met = {m.held.part.path: m for m in meetings}
    if met and all(c.identical for c in changes) and sum(c.rows_offered for c in changes) == draft.part.rows:
        return [_also_from(h, draft.part.sources) if h.part.path in met else h for h in held], changes
    if any(not c.identical and not may_replace(c) for c in changes):
        return held, [c if c.identical else replace(c, refused=True) for c in changes]
    kept = [h for h in held if h.part.path not in met]
    for meeting in meetings:
        if meeting.change.rows_held < meeting.held.part.rows:
            rest = without_cells(spec, draft.name, meeting.held, meeting.cells, staging)
            kept += [PlacedPart(rest, LocalFiles(staging))] if rest is not None else []
        if meeting.change.identical:
            own = _also_from(own, meeting.held.part.sources)
    return [*kept, own], changes


def _also_from(placed: PlacedPart, sources: Iterable[str]) -> PlacedPart:
    """The part, with the names of other files that gave the same rows: who replaces them replaces theirs too."""
    together = tuple(dict.fromkeys((*placed.part.sources, *sources)))
    return placed._replace(part=placed.part._replace(sources=together))


def _meetings(
    spec: TableSpec, draft: DraftPart, own: PlacedPart, near: Sequence[PlacedPart], cells: _Cells
) -> list[_Meeting]:
    """What the draft shares with each part, in the parts' order; one join finds it for all of them."""
    if not near:
        return []
    there = [cells.of(spec.name, h) for h in near]
    places = np.repeat(np.arange(len(near)), [t.num_rows for t in there])
    offered = cells.of(spec.name, own)
    both = pa.concat_tables(there).append_column(_PLACE, pa.array(places))
    both = both.join(offered, list(spec.cell), join_type="inner", use_threads=False)
    found = both[_PLACE].to_numpy()
    return [
        _meet(spec, draft, own, offered, near[place], there[place], both.filter(pa.array(found == place)))
        for place in np.unique(found).tolist()
    ]


def _meet(
    spec: TableSpec,
    draft: DraftPart,
    own: PlacedPart,
    offered: pa.Table,
    held: PlacedPart,
    there: pa.Table,
    common: pa.Table,
) -> _Meeting:
    rows_held, digest_held = _content(spec, held, there, common)
    rows_offered, digest_offered = _content(spec, own, offered, common)
    change = TableChange(
        *draft.name,
        held_by=held.part.sources,
        offered_by=draft.part.sources,
        symbols=tuple(sorted(pc.unique(common[spec.symbol]).to_pylist())),
        cells=common.num_rows,
        rows_held=rows_held,
        rows_offered=rows_offered,
        identical=(rows_held, digest_held) == (rows_offered, digest_offered),
    )
    return _Meeting(held, common, change)


def _content(spec: TableSpec, placed: PlacedPart, cells: pa.Table, common: pa.Table) -> tuple[int, int]:
    """Rows and digest of the part's rows that are of `common`, without reading it when that is all of them."""
    if cells.num_rows == common.num_rows:
        return placed.part.rows, placed.part.digest
    return only_cells(spec, placed, common)


def _joined(
    spec: TableSpec, name: Name, parts: list[PlacedPart], files: StoreFiles, staging: Path
) -> tuple[TablePart, ...]:
    """The parts of a partition: the small ones among the new ones joined, and all small ones when they are many."""
    small = [p for p in parts if p.part.rows < SMALL_ROWS]
    if len(small) <= MOST_SMALL:
        small = [p for p in small if p.files is not files]
    if len(small) < 2 or all(p.files is files for p in small):
        return tuple(p.part for p in parts)
    rest = tuple(p.part for p in parts if p not in small)
    return (*rest, join_parts(spec, name, sorted(small, key=lambda p: (p.part.first, p.part.sha256)), staging))


def mark_superseded(sources: Iterable[Source], changes: Iterable[TableChange]) -> tuple[Source, ...]:
    """The sources, in order; those of whose rows some were replaced by other ones are marked.

    A marked source that is ingested again is read again, and its rows then hold again.
    """
    lost: set[str] = set()
    for change in changes:
        if not change.identical:
            lost = (lost | set(change.held_by)) - set(change.offered_by)
    marked = [replace(s, superseded=True) if s.sha256 in lost else s for s in sources]
    return tuple(sorted(marked, key=lambda s: (s.kind, s.file, s.sha256)))
