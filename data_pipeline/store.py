"""The clean store: Parquet by table and period, committed by one manifest, in a folder or at a URL.

store/manifest.json                                     the commit point: what it does not name does not exist
store/cotahist/year=2023/month=01/part-<sha>.parquet    quotes, sorted by (session, ticker, market_type, forward_days)
store/quarantine/year=2023/month=01/part-<sha>.parquet  rows that parse but cannot be true, with the reason
store/events/part-<sha>.parquet, store/cdi/part-<sha>.parquet
store/<table>/venue=B3/date=2023-01-05/part-<sha>.parquet   the tables of data_pipeline.tables.catalog
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from data_pipeline.book.events import EVENT_DTYPE
from data_pipeline.errors import DataError
from data_pipeline.feeds.reference.company_feed import distinct_events
from data_pipeline.feeds.reference.rates import joined_cdi
from data_pipeline.manifest import Document, Manifest, Part, Partition, read_document
from data_pipeline.raw_file import sha256_of_file
from data_pipeline.schema import CDI_SCHEMA, EVENT_SCHEMA, QUARANTINE_SCHEMA, QUOTE_SCHEMA
from data_pipeline.tables.files import Place, StoreFiles, open_files
from data_pipeline.tables.reading import Day, Selection, event_rows, iso_day, read_selection, select
from data_pipeline.tables.versions import refuse_other_versions


@dataclass(frozen=True)
class Store:
    """A committed state of a store; opening again shows a later state.

    Attributes
    ----------
    files : StoreFiles
        Where it lies.
    document : Document
        Its manifest as read; `manifest` is it decoded.
    """

    files: StoreFiles
    document: Document

    @classmethod
    def open(cls, place: Place | StoreFiles) -> Store:
        """Store in that folder, or at that URL (s3://..., file://..., anything fsspec knows).

        Raises
        ------
        DataError
            When there is none, or it is damaged or of another schema version.
        """
        files = open_files(place)
        return cls(files, read_document(files))

    @property
    def name(self) -> str:
        """Its folder or URL, for messages."""
        return self.files.name

    @property
    def manifest(self) -> Manifest:
        """Sources, partitions, quarantine counts, tables, schema version."""
        return self.document.manifest

    @property
    def content_hash(self) -> str:
        """SHA-256 over the committed rows; independent of file names, order of ingestion, time and machine."""
        return self.manifest.content_hash

    def table(
        self,
        name: str,
        *,
        venue: str | None = None,
        symbols: Iterable[str] | str | None = None,
        start: Day | None = None,
        end: Day | None = None,
        columns: Sequence[str] | None = None,
    ) -> pa.Table:
        """Rows of a table, by period, venue and then the table's order.

        Parameters
        ----------
        name : str
            A table of `data_pipeline.tables.catalog`.
        venue : str, optional
            All by default; the column `venue` can be asked for.
        symbols : str or iterable of str, optional
            All by default.
        start, end : datetime64 or ISO date, optional
            First and last date (`TableSpec.date`), both included.
        columns : sequence of str, optional
            All columns of the table by default, without `venue`.

        Raises
        ------
        ValueError
            For an unknown table or column, or an `end` before `start`.
        DataError
            When a part is missing or damaged, or the table is of another version than the program's.
        """
        wanted = select(name, venue=venue, symbols=symbols, start=start, end=end, columns=columns)
        pieces = list(self._pieces(wanted))
        return pa.concat_tables(pieces) if pieces else wanted.schema.empty_table()

    def iter_table(
        self,
        name: str,
        *,
        venue: str | None = None,
        symbols: Iterable[str] | str | None = None,
        start: Day | None = None,
        end: Day | None = None,
        columns: Sequence[str] | None = None,
    ) -> Iterator[pa.Table]:
        """The rows of `table`, one venue and period (a day, for trades) at a time."""
        yield from self._pieces(select(name, venue=venue, symbols=symbols, start=start, end=end, columns=columns))

    def _pieces(self, wanted: Selection) -> Iterator[pa.Table]:
        partitions = self.document.table(wanted.spec.name, wanted.can_be_in)
        refuse_other_versions(self.name, partitions)
        return read_selection(self.files, partitions, wanted)

    def event_array(self, venue: str, symbol: str, start: Day, end: Day | None = None) -> NDArray[np.void]:
        """(n,) market events of a symbol, of `data_pipeline.book.events.EVENT_DTYPE`, in the order of the feed.

        Parameters
        ----------
        venue, symbol : str
        start, end : datetime64 or ISO date
            First and last session, both included; `start` alone is one session.
        """
        names = EVENT_DTYPE.names
        return event_rows(
            self.iter_table(
                "book_events",
                venue=venue,
                symbols=symbol,
                start=start,
                end=start if end is None else end,
                columns=names,
            )
        )

    def sql(self, query: str) -> pa.Table:
        """What a query in DuckDB's SQL gives; see `data_pipeline.tables.sql.run_query`."""
        from data_pipeline.tables.sql import run_query

        return run_query(self, query)

    def iter_sql(self, query: str) -> Iterator[pa.Table]:
        """The rows of `sql`, piece by piece; the first piece is empty and has the columns."""
        from data_pipeline.tables.sql import stream_query

        return stream_query(self, query)

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
        table = read_part(self.files, partition.part, needed)
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
        tables = [read_part(self.files, part) for part in parts]
        return pa.concat_tables(tables) if tables else QUARANTINE_SCHEMA.empty_table()

    def events(self) -> pa.Table:
        """Company events (`schema.EVENT_SCHEMA`), each once, in the order (last_date_prior, issuer, isin, ...)."""
        part = self.manifest.events
        return EVENT_SCHEMA.empty_table() if part is None else distinct_events(read_part(self.files, part))

    def cdi(self) -> pa.Table:
        """Daily CDI (`schema.CDI_SCHEMA`), one row per bank day, increasing: its own files, and series 12 of rates.

        Raises
        ------
        DataError
            When the two tell a day differently.
        """
        part = self.manifest.cdi
        held = CDI_SCHEMA.empty_table() if part is None else read_part(self.files, part)
        return joined_cdi(held, self.table("rates", venue="BCB", symbols="12"))

    def verify(self) -> None:
        """Read every part and compare its SHA-256 with the manifest.

        Raises
        ------
        DataError
            That names the first part which is missing or whose bytes changed.
        """
        for part in self.manifest.parts():
            place = f"{self.name.rstrip('/')}/{part.path}"
            try:
                with self.files.open_input(part.path) as stream:
                    found = sha256_of_stream(stream)
            except FileNotFoundError as error:
                raise DataError(_missing(place)) from error
            except OSError as error:
                raise DataError(f"cannot read {place}: {error.strerror or error}") from error
            if found != part.sha256:
                raise DataError(f"{place} changed since it was written: delete the store and ingest again")


def read_part(store: Place | StoreFiles, part: Part, columns: Sequence[str] | None = None) -> pa.Table:
    """Table of one committed part of the quotes, events or rates.

    Raises
    ------
    DataError
        When the file is missing, damaged or has another number of rows than the manifest says.
    """
    files = open_files(store)
    place = f"{files.name.rstrip('/')}/{part.path}"
    try:
        with files.open_input(part.path) as stream:
            table = pq.ParquetFile(stream).read(columns=None if columns is None else list(columns))
    except FileNotFoundError as error:
        raise DataError(_missing(place)) from error
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{place} is damaged ({error}): delete the store and ingest again") from error
    if table.num_rows != part.rows:
        raise DataError(f"{place} must have {part.rows} rows; has {table.num_rows}: delete the store and ingest again")
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


def _day(value: Day | None, name: str) -> np.datetime64 | None:
    day = iso_day(value, name)
    return None if day is None else np.datetime64(day)


def _missing(place: str) -> str:
    return f"{place} is missing: the store changed while it was read (open it again) or was damaged (ingest again)"


def sha256_of_stream(stream: pa.NativeFile) -> str:
    """SHA-256 of what is left of a stream, as hexadecimal digits."""
    digest = hashlib.sha256()
    while chunk := stream.read(1 << 20):
        digest.update(chunk)
    return digest.hexdigest()
