"""Rows of a table between dates, of some symbols and columns: partitions, parts and row groups that cannot hold any
are never opened."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from data_pipeline.book.events import EVENT_DTYPE
from data_pipeline.tables.catalog import TABLES
from data_pipeline.tables.files import StoreFiles
from data_pipeline.tables.part_reader import read_symbols
from data_pipeline.tables.sorting import sort_rows
from data_pipeline.tables.spec import TableSpec
from data_pipeline.tables.state import TablePartition

Day = np.datetime64 | str
VENUE: Final = "venue"
"""Column that can be asked for besides those of a table."""


@dataclass(frozen=True, slots=True)
class Selection:
    """What is wanted of a table; None is everything.

    Attributes
    ----------
    spec : TableSpec
    venue : str, optional
    symbols : tuple of str, optional
        In order, each once.
    start, end : str, optional
        ISO dates, both included.
    columns : tuple of str
    """

    spec: TableSpec
    venue: str | None
    symbols: tuple[str, ...] | None
    start: str | None
    end: str | None
    columns: tuple[str, ...]

    @property
    def schema(self) -> pa.Schema:
        """Of the rows."""
        kinds = {**{c.name: pa.field(c.name, c.type, c.nullable) for c in self.spec.columns}, VENUE: _VENUE_FIELD}
        return pa.schema([kinds[name] for name in self.columns])

    def can_be_in(self, venue: str, period: str) -> bool:
        """Whether the partition of that venue and period can have such rows."""
        size = len(period)
        return (
            (self.venue is None or venue == self.venue)
            and (self.start is None or self.start[:size] <= period)
            and (self.end is None or self.end[:size] >= period)
        )


_VENUE_FIELD: Final = pa.field(VENUE, pa.string(), nullable=False)


def select(
    name: str,
    *,
    venue: str | None = None,
    symbols: Iterable[str] | str | None = None,
    start: Day | None = None,
    end: Day | None = None,
    columns: Sequence[str] | None = None,
    specs: Mapping[str, TableSpec] = TABLES,
) -> Selection:
    """The checked selection.

    Raises
    ------
    ValueError
        For an unknown table or column (the nearest ones are named), no column, or an `end` before `start`.
    """
    if name not in specs:
        raise ValueError(f"table must be one of {', '.join(specs)}; was {name!r}{nearest(name, specs)}")
    spec = specs[name]
    known = (*spec.schema.names, VENUE)
    chosen = tuple(spec.schema.names if columns is None else dict.fromkeys(columns))
    unknown = [column for column in chosen if column not in known]
    if unknown or not chosen:
        hint = nearest(unknown[0], known) if unknown else ""
        raise ValueError(
            f"columns must be one or more of {', '.join(known)}; was {', '.join(unknown) or 'empty'}{hint}"
        )
    first, last = iso_day(start, "start"), iso_day(end, "end")
    if first is not None and last is not None and last < first:
        raise ValueError(f"end must not be before start {first}; was {last}")
    if isinstance(symbols, str):
        symbols = (symbols,)
    wanted = None if symbols is None else tuple(sorted(set(symbols)))
    return Selection(spec, venue, wanted, first, last, chosen)


def nearest(name: str, known: Iterable[str]) -> str:
    """Words that point to what was perhaps meant."""
    close = difflib.get_close_matches(name, list(known), n=3, cutoff=0.5)
    return f" (did you mean {' or '.join(close)}?)" if close else ""


def iso_day(value: Day | None, name: str) -> str | None:
    """ISO text of a day; ValueError when it is none."""
    if value is None:
        return None
    try:
        day = np.datetime64(str(value), "D")
    except ValueError as error:
        raise ValueError(f"{name} must be an ISO date (2023-01-31); was {value!r}") from error
    if np.isnat(day):
        raise ValueError(f"{name} must be an ISO date (2023-01-31); was {value!r}")
    return str(day)


def read_selection(files: StoreFiles, partitions: Iterable[TablePartition], wanted: Selection) -> Iterator[pa.Table]:
    """One table for each partition with such rows, in order of period, then venue; rows in the table's order."""
    near = [p for p in partitions if wanted.can_be_in(p.venue, p.period)]
    for partition in sorted(near, key=lambda p: (p.period, p.venue)):
        rows = _read_partition(files, partition, wanted)
        if rows.num_rows:
            yield rows


def _read_partition(files: StoreFiles, partition: TablePartition, wanted: Selection) -> pa.Table:
    spec, symbols = wanted.spec, wanted.symbols
    parts = [p for p in partition.parts if symbols is None or any(p.first <= s <= p.last for s in symbols)]
    edges = _cut_dates(partition.period, wanted)
    needed = [name for name in wanted.columns if name != VENUE]
    needed += [spec.symbol] if symbols is not None or len(parts) > 1 else []
    needed += [spec.date] if edges else []
    needed += spec.order if len(parts) > 1 else ()
    needed = list(dict.fromkeys(needed)) or [spec.symbol]
    pieces = [_filtered(read_symbols(files, p, spec.symbol, symbols, needed), spec, symbols, edges) for p in parts]
    pieces = [piece for piece in pieces if piece.num_rows]
    if not pieces:
        return wanted.schema.empty_table()
    rows = pieces[0] if len(pieces) == 1 else sort_rows(pa.concat_tables(pieces), spec.order)
    if VENUE in wanted.columns:
        rows = rows.append_column(_VENUE_FIELD, pa.repeat(partition.venue, rows.num_rows))
    return rows.select(list(wanted.columns))


def _cut_dates(period: str, wanted: Selection) -> tuple[str | None, str | None] | None:
    """First and last day to keep where the selection cuts through the partition's period."""
    size = len(period)
    if size == len("2023-01-05"):
        return None
    first = wanted.start if wanted.start is not None and wanted.start[:size] == period else None
    last = wanted.end if wanted.end is not None and wanted.end[:size] == period else None
    return None if first is None and last is None else (first, last)


def _filtered(
    rows: pa.Table, spec: TableSpec, symbols: tuple[str, ...] | None, edges: tuple[str | None, str | None] | None
) -> pa.Table:
    if symbols is not None:
        column = rows[spec.symbol]
        own = _texts(symbols)
        mask = pc.equal(column, own[0]) if len(symbols) == 1 else pc.is_in(column, own)
        # a copy of all rows of a large symbol would double the memory
        rows = rows if pc.all(mask).as_py() else rows.filter(mask)
    first, last = edges or (None, None)
    if first is not None:
        rows = rows.filter(pc.greater_equal(rows[spec.date], _date(first)))
    if last is not None:
        rows = rows.filter(pc.less_equal(rows[spec.date], _date(last)))
    return rows


def _texts(values: tuple[str, ...]) -> pa.Array:
    """An array from its buffers: `pa.array` and `pa.scalar` import pandas, which takes longer than the read."""
    encoded = [value.encode() for value in values]
    ends = np.cumsum([0, *map(len, encoded)], dtype=np.int32)
    return pa.StringArray.from_buffers(len(values), pa.py_buffer(ends), pa.py_buffer(b"".join(encoded)))


def _date(day: str) -> pa.Scalar:
    return pa.scalar(np.datetime64(day, "D").item(), pa.date32())


def event_rows(tables: Iterable[pa.Table]) -> NDArray[np.void]:
    """(n,) array of `EVENT_DTYPE` from rows of book_events."""
    held = list(tables)
    events = np.empty(sum(table.num_rows for table in held), dtype=EVENT_DTYPE)
    start = 0
    for table in held:
        stop = start + table.num_rows
        for name in EVENT_DTYPE.names or ():
            events[name][start:stop] = table[name].to_numpy()
        start = stop
    return events
