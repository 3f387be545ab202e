"""The clean store on disk: Parquet by month, committed by one manifest.

store/manifest.json                                     the commit point: what it does not name does not exist
store/cotahist/year=2023/month=01/part-<sha>.parquet    quotes, sorted by (session, ticker, market_type, forward_days)
store/quarantine/year=2023/month=01/part-<sha>.parquet  rows that parse but cannot be true, with the reason
store/events/part-<sha>.parquet, store/cdi/part-<sha>.parquet
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from data_pipeline.company_feed import distinct_events
from data_pipeline.errors import DataError
from data_pipeline.manifest import Manifest, Part, Partition, read_manifest
from data_pipeline.raw_file import sha256_of_file
from data_pipeline.schema import CDI_SCHEMA, EVENT_SCHEMA, QUARANTINE_SCHEMA, QUOTE_SCHEMA

Day = np.datetime64 | str


@dataclass(frozen=True, slots=True)
class Store:
    """A committed state of a store; opening again shows a later state.

    Attributes
    ----------
    path : Path
        Folder of the store.
    manifest : Manifest
        Sources, partitions, quarantine counts, schema version.
    """

    path: Path
    manifest: Manifest

    @classmethod
    def open(cls, path: Path | str) -> Store:
        """Store in that folder.

        Raises
        ------
        DataError
            When there is none, or it is damaged or of another schema version.
        """
        return cls(Path(path), read_manifest(Path(path)))

    @property
    def content_hash(self) -> str:
        """SHA-256 over the committed quotes, events and rates; independent of file names, order, time and machine."""
        return self.manifest.content_hash

    def sessions(self) -> NDArray[np.datetime64]:
        """(S,) datetime64[D], increasing: the sessions with at least one quote record."""
        days = [day for p in self.manifest.partitions for day, entry in p.sessions.items() if entry.rows]
        return np.array(sorted(days), dtype="datetime64[D]")

    def read(
        self,
        columns: Sequence[str] | None = None,
        start: Day | None = None,
        end: Day | None = None,
        market_types: Sequence[int] | None = None,
    ) -> pa.Table:
        """Quote rows in the order (session, ticker, market_type, forward_days).

        Parameters
        ----------
        columns : sequence of str, optional
            Columns of `schema.QUOTE_SCHEMA`, all by default.
        start, end : datetime64 or ISO date, optional
            First and last session, both included.
        market_types : sequence of int, optional
            TPMERC values to keep (10 is the spot market), all by default.

        Raises
        ------
        ValueError
            For no or an unknown column, or an `end` before `start`.
        DataError
            When a part is missing or damaged.
        """
        tables = list(self.iter_months(columns, start, end, market_types))
        names = QUOTE_SCHEMA.names if columns is None else list(columns)
        schema = pa.schema([QUOTE_SCHEMA.field(name) for name in names])
        return pa.concat_tables(tables) if tables else schema.empty_table()

    def iter_months(
        self,
        columns: Sequence[str] | None = None,
        start: Day | None = None,
        end: Day | None = None,
        market_types: Sequence[int] | None = None,
    ) -> Iterator[pa.Table]:
        """The rows of `read`, one table per month, so that a long history never sits in memory at once."""
        names = QUOTE_SCHEMA.names if columns is None else list(columns)
        unknown = [name for name in names if name not in QUOTE_SCHEMA.names]
        if unknown or not names:
            raise ValueError(
                f"columns must be one or more of {', '.join(QUOTE_SCHEMA.names)}; was {', '.join(unknown) or 'empty'}"
            )
        first, last = _day(start, "start"), _day(end, "end")
        if first is not None and last is not None and last < first:
            raise ValueError(f"end must not be before start {first}; was {last}")
        for partition in self.manifest.partitions:
            days = [np.datetime64(day, "D") for day in partition.sessions]
            if (first is None or max(days) >= first) and (last is None or min(days) <= last):
                yield self._read_month(partition, names, first, last, market_types)

    def _read_month(
        self,
        partition: Partition,
        names: Sequence[str],
        first: np.datetime64 | None,
        last: np.datetime64 | None,
        market_types: Sequence[int] | None,
    ) -> pa.Table:
        needed = list(dict.fromkeys([*names, "session", *(["market_type"] if market_types is not None else [])]))
        table = read_part(self.path, partition.part, needed)
        keep = []
        if first is not None:
            keep.append(pc.greater_equal(table["session"], pa.scalar(first.item(), pa.date32())))
        if last is not None:
            keep.append(pc.less_equal(table["session"], pa.scalar(last.item(), pa.date32())))
        if market_types is not None:
            keep.append(pc.is_in(table["market_type"], pa.array(list(market_types), pa.int16())))
        for mask in keep[1:]:
            keep[0] = pc.and_(keep[0], mask)
        return (table.filter(keep[0]) if keep else table).select(list(names))

    def quarantine(self) -> pa.Table:
        """Rows put aside as impossible, with `reason`, `source` (raw file) and `line`, in the order of `read`."""
        parts = [p.quarantine for p in self.manifest.partitions if p.quarantine is not None]
        tables = [read_part(self.path, part) for part in parts]
        return pa.concat_tables(tables) if tables else QUARANTINE_SCHEMA.empty_table()

    def events(self) -> pa.Table:
        """Company events (`schema.EVENT_SCHEMA`), each once, in the order (last_date_prior, issuer, isin, ...)."""
        part = self.manifest.events
        return EVENT_SCHEMA.empty_table() if part is None else distinct_events(read_part(self.path, part))

    def cdi(self) -> pa.Table:
        """Daily CDI (`schema.CDI_SCHEMA`), one row per bank day, increasing."""
        part = self.manifest.cdi
        return CDI_SCHEMA.empty_table() if part is None else read_part(self.path, part)

    def verify(self) -> None:
        """Read every part and compare its SHA-256 with the manifest.

        Raises
        ------
        DataError
            That names the first part which is missing or whose bytes changed.
        """
        for part in self.manifest.parts():
            path = self.path / part.path
            if not path.is_file():
                raise DataError(_missing(path))
            if sha256_of_file(path) != part.sha256:
                raise DataError(f"{path} changed since it was written: delete the store and ingest again")


def read_part(store: Path, part: Part, columns: Sequence[str] | None = None) -> pa.Table:
    """Table of one committed part.

    Raises
    ------
    DataError
        When the file is missing, damaged or has another number of rows than the manifest says.
    """
    path = store / part.path
    try:
        table = pq.ParquetFile(path).read(columns=None if columns is None else list(columns))
    except FileNotFoundError as error:
        raise DataError(_missing(path)) from error
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path} is damaged ({error}): delete the store and ingest again") from error
    if table.num_rows != part.rows:
        raise DataError(f"{path} must have {part.rows} rows; has {table.num_rows}: delete the store and ingest again")
    return table if columns is None else table.select(list(columns))


def write_part(table: pa.Table, staging: Path, folder: str) -> Part:
    """Write `table` below `staging` under its content-addressed name, the same bytes for equal tables."""
    target = staging / folder
    target.mkdir(parents=True, exist_ok=True)
    draft = target / "draft.parquet"
    # every option that shapes the bytes is pinned; a whole table in one chunk keeps the page borders fixed
    pq.write_table(
        table.combine_chunks(),
        draft,
        row_group_size=131_072,
        version="2.6",
        data_page_version="1.0",
        compression="zstd",
        compression_level=3,
        use_dictionary=[f.name for f in table.schema if f.type in _DICTIONARY_TYPES],
        column_encoding=None,
        write_statistics=True,
        store_schema=True,
    )
    sha256 = sha256_of_file(draft)
    path = f"{folder}/part-{sha256[:16]}.parquet"
    draft.rename(staging / path)
    return Part(path, sha256, table.num_rows)


_DICTIONARY_TYPES = (pa.string(), pa.date32(), pa.int8(), pa.int16(), pa.int32())


def _missing(path: Path) -> str:
    return f"{path} is missing: the store changed while it was read (open it again) or was damaged (ingest again)"


def _day(value: Day | None, name: str) -> np.datetime64 | None:
    if value is None:
        return None
    try:
        return np.datetime64(str(value), "D")
    except ValueError as error:
        raise ValueError(f"{name} must be an ISO date (2023-01-31); was {value!r}") from error
