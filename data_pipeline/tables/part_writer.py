"""One Parquet part from rows in order: keys checked, row groups cut between symbols, the same bytes for equal rows."""

from __future__ import annotations

import uuid
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from data_pipeline.errors import DataError
from data_pipeline.raw_file import sha256_of_file
from data_pipeline.tables.digest import row_digest
from data_pipeline.tables.sorting import ROW, equal_to_previous, sort_key
from data_pipeline.tables.spec import TableSpec
from data_pipeline.tables.state import DIGEST_BITS, Name, TablePart, part_path

GROUP_ROWS: Final = 65_536
"""Most rows of a row group. A group ends between two symbols where the second half of it has such a place."""


class PartWriter:
    """Writes one part below `staging`; `part` is it once the block has ended without an error.

    Every option that shapes the bytes is pinned, and the groups follow from the rows alone, so that equal rows give
    equal bytes whatever tables they came in.
    """

    def __init__(self, spec: TableSpec, name: Name, staging: Path, sources: tuple[str, ...]) -> None:
        """A part of the partition `name`, of the rows that `sources` gave."""
        self._spec, self._name, self._staging, self._sources = spec, name, staging, sources
        self._waiting: list[pa.Table] = []
        self._waiting_rows = 0
        self._rows = self._symbols = self._digest = 0
        self._first = self._last = ""
        self._tail: pa.Table | None = None
        self._part: TablePart | None = None

    @property
    def part(self) -> TablePart:
        """The finished part.

        Raises
        ------
        ValueError
            When it is not finished, or there was no row.
        """
        if self._part is None:
            raise ValueError(f"part of {self._spec.name} must be finished and have rows; was not")
        return self._part

    @property
    def finished(self) -> TablePart | None:
        """The finished part; None when there was no row."""
        return self._part

    def __enter__(self) -> PartWriter:
        """Open the draft."""
        self._staging.mkdir(parents=True, exist_ok=True)
        # a name of its own: several processes may draft into one folder
        self._draft = self._staging / f"draft-{uuid.uuid4().hex}.parquet"
        self._file = _open_parquet(self._draft, self._spec.schema)
        return self

    def write(self, rows: pa.Table) -> None:
        """Add rows (with or without the column `ROW`) that come after those before in the table's order.

        Raises
        ------
        DataError
            When two rows have the same key.
        """
        if not rows.num_rows:
            return
        if self._spec.key:
            self._check_keys(rows)
        own = rows.select(self._spec.schema.names)
        self._digest += row_digest(own)
        self._count_symbols(own[self._spec.symbol])
        self._rows += own.num_rows
        self._waiting.append(own)
        self._waiting_rows += own.num_rows
        if self._waiting_rows > GROUP_ROWS:
            self._flush(pa.concat_tables(self._waiting), whole=False)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Finish the part, or remove the draft after an error."""
        try:
            if kind is None and self._waiting:
                self._flush(pa.concat_tables(self._waiting), whole=True)
            self._file.close()
            if kind is None and self._rows:
                self._part = self._finish()
        finally:
            self._draft.unlink(missing_ok=True)

    def _finish(self) -> TablePart:
        sha256, size = sha256_of_file(self._draft), self._draft.stat().st_size
        path = part_path(self._name, sha256)
        target = self._staging / path
        target.parent.mkdir(parents=True, exist_ok=True)
        self._draft.rename(target)
        digest = self._digest % (1 << DIGEST_BITS)
        return TablePart(path, sha256, self._rows, size, self._first, self._last, self._symbols, digest, self._sources)

    def _flush(self, rows: pa.Table, *, whole: bool) -> None:
        """Write full groups; the rest waits, unless this is the `whole` of what comes."""
        start = 0
        while rows.num_rows - start > GROUP_ROWS:
            window = rows.slice(start, GROUP_ROWS + 1)
            stop = start + _cut(window[self._spec.symbol])
            self._write_group(rows.slice(start, stop - start))
            start = stop
        rest = rows.slice(start)
        if whole and rest.num_rows:
            self._write_group(rest)
        self._waiting = [] if whole else [rest]
        self._waiting_rows = 0 if whole else rest.num_rows

    def _write_group(self, rows: pa.Table) -> None:
        self._file.write_table(rows.combine_chunks(), row_group_size=GROUP_ROWS)

    def _count_symbols(self, symbols: pa.ChunkedArray) -> None:
        changes = int(np.count_nonzero(np.diff(sort_key(symbols)) != 0))
        first = symbols[0].as_py()
        if not self._rows:
            self._first = first
        self._symbols += changes + (not self._rows or first != self._last)
        self._last = symbols[-1].as_py()

    def _check_keys(self, rows: pa.Table) -> None:
        """Rows with one key have equal order columns, so they lie side by side: only such neighbours are compared."""
        seen = rows if self._tail is None else pa.concat_tables([self._tail, rows])
        keys = [sort_key(seen[name]) for name in self._spec.order]
        same = equal_to_previous(keys)
        starts = np.flatnonzero(~same)
        self._tail = seen.slice(int(starts[-1])).combine_chunks()
        if not same.any():
            return
        near = same.copy()
        near[:-1] |= same[1:]
        _refuse_repeated(self._spec, seen.filter(pa.array(near)))


def _refuse_repeated(spec: TableSpec, rows: pa.Table) -> None:
    names = list(spec.once)
    counted = rows.group_by(names, use_threads=False).aggregate([([], "count_all")])
    repeated = counted.filter(pc.greater(counted["count_all"], 1))
    if not repeated.num_rows:
        return
    key = {name: _shown(repeated[name][0]) for name in names}
    found = [row for row in range(rows.num_rows) if all(_shown(rows[name][row]) == key[name] for name in names)]
    places = [str(rows[ROW][row].as_py()) for row in found[:2]] if ROW in rows.column_names else []
    where = f"rows {' and '.join(places)} of the file's rows" if places else "two rows"
    words = ", ".join(f"{name} {value}" for name, value in key.items())
    raise DataError(f"{spec.name} must have each ({', '.join(names)}) once; {where} both have {words}")


def _shown(value: pa.Scalar) -> str:
    return str(value) if value.is_valid else "null"


def _cut(symbols: pa.ChunkedArray) -> int:
    """Rows of the next group, given the symbols of `GROUP_ROWS` rows and the one after them."""
    keys = sort_key(symbols)
    changes = np.flatnonzero(keys[1:] != keys[:-1]) + 1
    return int(changes[-1]) if len(changes) and changes[-1] > GROUP_ROWS // 2 else GROUP_ROWS


def _open_parquet(path: Path, schema: pa.Schema) -> Any:
    counted = [f.name for f in schema if pa.types.is_int64(f.type) or pa.types.is_timestamp(f.type)]
    listed = [f.name for f in schema if pa.types.is_list(f.type)]
    return pq.ParquetWriter(
        path,
        schema,
        version="2.6",
        data_page_version="1.0",
        compression="zstd",
        compression_level=1,
        use_dictionary=[f.name for f in schema if f.name not in {*counted, *listed}],
        # times and sequence numbers rise slowly: their differences take a few bits
        column_encoding=dict.fromkeys(counted, "DELTA_BINARY_PACKED"),
        write_statistics=True,
        store_schema=True,
    )
