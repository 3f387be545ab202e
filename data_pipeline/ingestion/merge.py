"""From raw files in any order to sorted months: spill blocks by month, then settle each month session by session.

An external bucket sort: memory holds one block while a file is read and one month while it is merged, so a history
of forty years needs no more than its largest month. A file's spill and a month's merge each depend on nothing but
their arguments: they are tasks (data_pipeline.ingestion.tasks) that run side by side.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from data_pipeline.errors import DataError
from data_pipeline.feeds.cotahist import kernels
from data_pipeline.feeds.cotahist.parser import Block, iter_blocks
from data_pipeline.manifest import Manifest, Partition, SessionEntry
from data_pipeline.schema import DUPLICATE_KEY, QUARANTINE_SCHEMA, QUOTE_SCHEMA, REASONS
from data_pipeline.store import read_part, write_part
from data_pipeline.tables.files import StoreFiles

_SPILL_SCHEMA = QUOTE_SCHEMA.append(pa.field("reason", pa.uint8())).append(pa.field("line", pa.int64()))


@dataclass(frozen=True, slots=True)
class Spilled:
    """One COTAHIST file, parsed and spilled: an Arrow file per month in `folder`."""

    sha256: str
    file: str
    generated: str
    folder: Path
    rows: int
    months: tuple[str, ...]
    sessions: tuple[str, ...]
    rule_counts: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class SessionChange:
    """A session that another file gave before: replaced by a version made on the same day or later, or kept.

    Attributes
    ----------
    session : str
        ISO date.
    held_by, offered_by : str
        File names.
    rows_held, rows_offered : int
        Good rows in either.
    replaced : bool
        Whether the offered rows took the place of the held ones; else the held version was made later.
    identical : bool
        Whether both have the same rows.
    vanished_market_types : tuple of int
        Market types (TPMERC) that the session had and has no longer.
    """

    session: str
    held_by: str
    offered_by: str
    rows_held: int
    rows_offered: int
    replaced: bool
    identical: bool
    vanished_market_types: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Month:
    """A merged month: its partition (parts in the staging folder), what changed, rows quarantined by source."""

    partition: Partition
    changes: tuple[SessionChange, ...]
    quarantined: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class _Day:
    source: str
    file: str
    generated: str
    good: pa.Table
    bad: pa.Table


@dataclass(frozen=True, slots=True)
class Held:
    """What the store has of a month: its partition, and file name and making date (DATGER) of each source in it."""

    partition: Partition
    names: Mapping[str, tuple[str, str]]


def spill(path: Path, generated: str, sha256: str, folder: Path, tick: Callable[[int], None] | None = None) -> Spilled:
    """Parse the COTAHIST file at `path` and write its rows below `folder`, one Arrow file per month.

    Raises
    ------
    DataError
        When the file is refused (see `cotahist.iter_blocks`) or holds no quote record.
    """
    folder.mkdir(parents=True)
    days: set[int] = set()
    rules: dict[str, int] = {}
    rows = 0
    with _writers(folder) as write:
        for block in iter_blocks(path):
            for month, batch in _by_month(block):
                write(month, batch)
            rows += block.batch.num_rows
            days.update(pc.unique(block.batch["session"].view(pa.int32())).to_pylist())
            for rule, count in block.rule_counts.items():
                rules[rule] = rules.get(rule, 0) + count
            if tick is not None:
                tick(rows)
    if not rows:
        raise DataError(f"{path.name} holds no quote record (01): the day had no session, or the file was cut")
    months = tuple(sorted(file.stem for file in folder.iterdir()))
    sessions = tuple(str(np.datetime64(day, "D")) for day in sorted(days))
    return Spilled(sha256, path.name, generated, folder, rows, months, sessions, rules)


@contextmanager
def _writers(folder: Path) -> Iterator[Callable[[str, pa.RecordBatch], None]]:
    with ExitStack() as stack:
        writers: dict[str, pa.RecordBatchFileWriter] = {}

        def write(month: str, batch: pa.RecordBatch) -> None:
            if month not in writers:
                sink = stack.enter_context(pa.OSFile(str(folder / f"{month}.arrow"), "wb"))
                options = pa.ipc.IpcWriteOptions(compression="lz4")
                writers[month] = stack.enter_context(pa.ipc.new_file(sink, _SPILL_SCHEMA, options=options))
            writers[month].write_batch(batch)

        yield write


def _by_month(block: Block) -> Iterator[tuple[str, pa.RecordBatch]]:
    rows = block.batch.num_rows
    lines = pa.array(np.arange(block.first_line, block.first_line + rows, dtype=np.int64))
    batch = pa.RecordBatch.from_arrays(
        [*block.batch.columns, pa.array(block.reason), lines],
        schema=_SPILL_SCHEMA,
    )
    low, high = int(block.month.min()), int(block.month.max())
    for key in range(low, high + 1):
        if low == high:
            yield _month_name(key), batch
        elif len(chosen := np.flatnonzero(block.month == key)):
            yield _month_name(key), batch.take(pa.array(chosen))


def _month_name(key: int) -> str:
    return f"{key // 12:04d}-{key % 12 + 1:02d}"


def held_of(manifest: Manifest, month: str) -> Held | None:
    """What the store has of a month, None when it has nothing.

    Raises
    ------
    DataError
        When a session names a source that the manifest does not have.
    """
    partition = next((p for p in manifest.partitions if p.month == month), None)
    if partition is None:
        return None
    names = {}
    for session, entry in partition.sessions.items():
        source = manifest.source(entry.source)
        if source is None:
            raise DataError(f"the manifest names an unknown source for {session}: delete the folder and ingest again")
        names[source.sha256] = source.file, source.generated
    return Held(partition, names)


def merge_month(files: StoreFiles, staging: Path, held: Held | None, month: str, spilled: Sequence[Spilled]) -> Month:
    """The month with the sessions of `spilled` (in that order) settled against those of the store.

    Of two versions of a session the one from the file made later (DATGER) holds; made on the same day, the one
    ingested later. The parts are written below `staging`, where nothing reads them yet.
    """
    days = _held_days(files, held) if held is not None else {}
    changes: list[SessionChange] = []
    quarantined: dict[str, int] = {}
    for source in spilled:
        offered = _spilled_days(source, month)
        quarantined[source.sha256] = sum(day.bad.num_rows for day in offered.values())
        for session, day in offered.items():
            before = days.get(session)
            replaces = before is None or day.generated >= before.generated
            if before is not None and before.source != day.source:
                changes.append(_change(session, before, day, replaces))
            if replaces:
                days[session] = day
    return Month(_write_month(staging, month, days), tuple(changes), quarantined)


def _change(session: str, held: _Day, offered: _Day, replaced: bool) -> SessionChange:
    before = set(pc.unique(held.good["market_type"]).to_pylist())
    after = set(pc.unique(offered.good["market_type"]).to_pylist())
    return SessionChange(
        session=session,
        held_by=held.file,
        offered_by=offered.file,
        rows_held=held.good.num_rows,
        rows_offered=offered.good.num_rows,
        replaced=replaced,
        identical=held.good.equals(offered.good),
        vanished_market_types=tuple(sorted(before - after)) if replaced else (),
    )


def _held_days(files: StoreFiles, held: Held) -> dict[str, _Day]:
    partition = held.partition
    good = read_part(files, partition.part)
    bad = QUARANTINE_SCHEMA.empty_table() if partition.quarantine is None else read_part(files, partition.quarantine)
    return {
        session: _Day(entry.source, *held.names[entry.source], _session(good, session), _session(bad, session))
        for session, entry in partition.sessions.items()
    }


def _spilled_days(source: Spilled, month: str) -> dict[str, _Day]:
    with pa.OSFile(str(source.folder / f"{month}.arrow"), "rb") as file:
        table = pa.ipc.open_file(file).read_all().combine_chunks()
    good, bad = _split(_sorted(table), source.file)
    sessions = pc.unique(table["session"]).cast(pa.string()).to_pylist()
    return {
        day: _Day(source.sha256, source.file, source.generated, _session(good, day), _session(bad, day))
        for day in sessions
    }


def _sorted(table: pa.Table) -> pa.Table:
    """The rows in the store's order; rows of one key in file order."""
    keys = _keys(table)
    return table.take(pa.array(np.lexsort(keys[::-1]))).combine_chunks()


def _keys(table: pa.Table) -> tuple[NDArray[np.int32], NDArray[np.uint64], NDArray[np.uint64]]:
    rows = table.num_rows
    head, tail = np.empty(rows, dtype=np.uint64), np.empty(rows, dtype=np.uint64)
    if rows:
        ticker = table["ticker"].combine_chunks()
        _, offsets, text = ticker.buffers()
        kernels.pack_key(
            np.frombuffer(offsets, dtype=np.int32)[ticker.offset :],
            np.frombuffer(text, dtype=np.uint8),
            _numbers(table["market_type"]),
            _numbers(pc.fill_null(table["forward_days"], -1)),
            head,
            tail,
        )
    return _session_days(table), head, tail


def _numbers(column: pa.ChunkedArray) -> NDArray[Any]:
    return np.ascontiguousarray(column.combine_chunks().to_numpy(zero_copy_only=False))


def _session_days(table: pa.Table) -> NDArray[np.int32]:
    return _numbers(table["session"].cast(pa.int32()))


def _split(table: pa.Table, file: str) -> tuple[pa.Table, pa.Table]:
    """Good rows, and the rest as quarantine rows; of good rows with one key the first in the file stays."""
    reason = _numbers(table["reason"]).astype(np.uint8)
    clean = np.flatnonzero(reason == 0)
    keys = [key[clean] for key in _keys(table)]
    if len(clean) > 1:
        repeated = np.logical_and.reduce([key[1:] == key[:-1] for key in keys])
        reason[clean[1:][repeated]] = DUPLICATE_KEY
    good, bad = table.select(QUOTE_SCHEMA.names), table.select(QUOTE_SCHEMA.names)
    if not reason.any():
        return good, QUARANTINE_SCHEMA.empty_table()
    faults = np.flatnonzero(reason)
    columns = [
        *bad.take(faults).columns,
        pa.array([REASONS[code] for code in reason[faults]]),
        pa.array([file] * len(faults)),
        table["line"].take(pa.array(faults)),
    ]
    return good.filter(pa.array(reason == 0)), pa.Table.from_arrays(columns, schema=QUARANTINE_SCHEMA)


def _session(table: pa.Table, session: str) -> pa.Table:
    """Rows of one session of a table in order of session."""
    days = _session_days(table)
    day = int(np.datetime64(session, "D").astype(np.int64))
    first, last = np.searchsorted(days, [day, day + 1])
    return table.slice(first, last - first)


def _write_month(staging: Path, month: str, days: Mapping[str, _Day]) -> Partition:
    ordered = [days[session] for session in sorted(days)]
    good = pa.concat_tables([day.good for day in ordered])
    bad = pa.concat_tables([day.bad for day in ordered])
    year, number = month.split("-")
    folder = f"year={year}/month={number}"
    part = write_part(good, staging, f"cotahist/{folder}")
    quarantine = write_part(bad, staging, f"quarantine/{folder}") if bad.num_rows else None
    entries = {session: SessionEntry(days[session].source, days[session].good.num_rows) for session in sorted(days)}
    return Partition(month, part, quarantine, entries)
