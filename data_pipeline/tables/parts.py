"""Batches of any size and order into sorted, validated, content-addressed Parquet parts, in bounded memory.

batches -> check -> by partition -> (sorted runs on disk when memory is full) -> merge -> part
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data_pipeline.feeds.reading import Batch
from data_pipeline.tables.catalog import TABLES
from data_pipeline.tables.part_writer import PartWriter
from data_pipeline.tables.sorting import ROW, merge_sorted, sort_rows, with_rows
from data_pipeline.tables.spec import Period, TableSpec
from data_pipeline.tables.state import Name, TablePart
from data_pipeline.tables.validation import check_rows, check_schema, check_venue

DRAFT_MEMORY: Final = 128 << 20
"""Bytes of rows that are held before they are sorted and spilled. The peak is about three times as much: the rows, one
partition of them sorted, and what the writer holds; it does not grow with the number of rows drawn."""
_RUN_BATCH: Final = 16_384


@dataclass(frozen=True, slots=True)
class DraftPart:
    """A part that lies in a staging folder, not yet in the store.

    Attributes
    ----------
    table, venue, period : str
    version : int
        Of the table's schema.
    part : TablePart
        Its `path` is relative to `staging`, and the one it will have in the store.
    staging : Path
    """

    table: str
    venue: str
    period: str
    version: int
    part: TablePart
    staging: Path

    @property
    def name(self) -> Name:
        """Table, venue and period."""
        return self.table, self.venue, self.period

    @property
    def path(self) -> Path:
        """The file."""
        return self.staging / self.part.path


def draft_parts(
    batches: Iterable[Batch],
    staging: Path,
    source: str,
    *,
    tables: Mapping[str, TableSpec] = TABLES,
    memory: int = DRAFT_MEMORY,
) -> tuple[DraftPart, ...]:
    """One part for each table, venue and period of the batches, in that order, written below `staging`.

    Parameters
    ----------
    batches : iterable of Batch
        In any order; rows that are equal in the table's order keep the order in which they came.
    staging : Path
        Folder on this machine; made if it is not there.
    source : str
        SHA-256 (or another stable name) of the raw files that the batches come from.
    tables : mapping, optional
        What the tables are.
    memory : int, optional
        See `DRAFT_MEMORY`.

    Raises
    ------
    DataError
        When a value, a key or a date is not allowed: table, column, row and value.
    ValueError
        For an unknown table, a bad venue or rows in another schema than the table's.
    """
    staging.mkdir(parents=True, exist_ok=True)
    spill = Path(tempfile.mkdtemp(prefix="spill-", dir=staging))
    try:
        piles = _Piles(spill, tables, memory)
        for batch in batches:
            piles.add(batch)
        return tuple(_draft(piles, name, staging, source) for name in piles.names())
    finally:
        shutil.rmtree(spill, ignore_errors=True)


def _draft(piles: _Piles, name: Name, staging: Path, source: str) -> DraftPart:
    spec = piles.tables[name[0]]
    with PartWriter(spec, name, staging, (source,)) as writer:
        for rows in piles.merged(name):
            writer.write(rows)
    return DraftPart(*name, spec.version, writer.part, staging)


class _Piles:
    """Rows by partition: in memory up to a limit, then as sorted runs on disk."""

    def __init__(self, spill: Path, tables: Mapping[str, TableSpec], memory: int) -> None:
        self.tables = tables
        self._spill, self._memory = spill, memory
        self._held: dict[Name, list[pa.Table]] = {}
        self._runs: dict[Name, list[Path]] = {}
        self._bytes = 0
        self._rows: dict[tuple[str, str], int] = {}

    def names(self) -> list[Name]:
        return sorted({*self._held, *self._runs})

    def add(self, batch: Batch) -> None:
        spec = self.tables.get(batch.table)
        if spec is None:
            raise ValueError(f"table must be one of {', '.join(self.tables)}; was {batch.table!r}")
        check_venue(batch.venue)
        check_schema(spec, batch.rows)
        place = batch.table, batch.venue
        first = self._rows.get(place, 0)
        check_rows(spec, batch.rows, first)
        self._rows[place] = first + batch.rows.num_rows
        numbered = with_rows(batch.rows.cast(spec.schema), first)
        for period, rows in by_period(numbered, spec.date, spec.period):
            self._held.setdefault((*place, period), []).append(rows)
            self._bytes += rows.nbytes
        if self._bytes > self._memory:
            self._spill_all()

    def _spill_all(self) -> None:
        for name in list(self._held):
            rows = self._sorted(name)
            path = self._spill / f"{len(self._runs.setdefault(name, []))}-{'-'.join(name)}.arrow"
            options = pa.ipc.IpcWriteOptions(compression="lz4")
            with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, rows.schema, options=options) as writer:
                writer.write_table(rows, max_chunksize=_RUN_BATCH)
            self._runs[name].append(path)
        self._bytes = 0

    def _sorted(self, name: Name) -> pa.Table:
        return sort_rows(pa.concat_tables(self._held.pop(name)), self.tables[name[0]].order)

    def merged(self, name: Name) -> Iterator[pa.Table]:
        """The rows of a partition in order, each with its number."""
        runs: list[Iterable[pa.Table]] = [_read_run(path) for path in self._runs.get(name, ())]
        if name in self._held:
            runs.append([self._sorted(name)])
        yield from merge_sorted(runs, self.tables[name[0]].order)


def _read_run(path: Path) -> Iterator[pa.Table]:
    with pa.OSFile(str(path), "rb") as file:
        reader = pa.ipc.open_file(file)
        for number in range(reader.num_record_batches):
            yield pa.Table.from_batches([reader.get_batch(number)])


_UNITS: Final[Mapping[Period, str]] = {"day": "D", "month": "M", "year": "Y"}


def by_period(rows: pa.Table, date: str, period: Period) -> Iterator[tuple[str, pa.Table]]:
    """The rows of each day, month or year, in order, rows of one in their order; the name is ISO ("2023-01")."""
    ends = pc.min_max(rows[date].cast(pa.int32()))
    if ends["min"].as_py() is None:
        return
    unit = f"datetime64[{_UNITS[period]}]"
    low, high = (np.datetime64(ends[end].as_py(), "D").astype(unit) for end in ("min", "max"))
    if low == high:
        yield str(low), rows
        return
    keys = rows[date].cast(pa.int32()).to_numpy().astype("datetime64[D]").astype(unit)
    order = np.argsort(keys, kind="stable")
    keys = keys[order]
    starts = np.flatnonzero(np.r_[True, keys[1:] != keys[:-1]])
    for start, stop in zip(starts, np.r_[starts[1:], len(keys)], strict=True):
        yield str(keys[start]), rows.take(pa.array(order[start:stop]))


__all__ = ["DRAFT_MEMORY", "ROW", "DraftPart", "by_period", "draft_parts"]
