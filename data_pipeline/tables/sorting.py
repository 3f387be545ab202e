"""Rows in a table's order: sorting what fits into memory, merging what does not."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

ROW: Final = "__row"
"""int64 column beside the table's own: where a row stood in the feed; it makes every key different, sorting stable."""

Key = tuple[Any, ...]
_BELOW_ALL: Final = -(1 << 63)


def with_rows(rows: pa.Table, first: int) -> pa.Table:
    """The rows with their numbers, from `first` on."""
    numbers = pa.array(np.arange(first, first + rows.num_rows, dtype=np.int64))
    return rows.append_column(pa.field(ROW, pa.int64(), nullable=False), numbers)


def sort_rows(rows: pa.Table, order: Sequence[str]) -> pa.Table:
    """The rows sorted by `order`, in one chunk; rows equal in it stay in their order."""
    rows = rows.combine_chunks()
    if rows.num_rows < 2:
        return rows
    keys = [sort_key(rows[name]) for name in order]
    if _is_sorted(keys):
        return rows
    # most feeds are in time order for each symbol: one pass over 16-bit codes (a radix sort) is then enough
    index = np.argsort(keys[0], kind="stable")
    if not _is_sorted([key[index] for key in keys]):
        index = np.lexsort(keys[::-1])
    return rows.take(pa.array(index)).combine_chunks()


def sort_key(column: pa.ChunkedArray) -> NDArray[Any]:
    """Integers in the order of the values: text by its UTF-8 bytes, times and dates by their count, nulls first."""
    kind = column.type
    if pa.types.is_string(kind):
        return _ranks(column)
    if pa.types.is_temporal(kind):
        column = column.cast(pa.int32() if kind.bit_width == 32 else pa.int64())
    if column.null_count:
        column = pc.fill_null(column.cast(pa.int64()), _BELOW_ALL)
    values: NDArray[Any] = column.to_numpy()
    return values


def _ranks(column: pa.ChunkedArray) -> NDArray[Any]:
    encoded = column.combine_chunks().dictionary_encode()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.combine_chunks()
    places = pc.sort_indices(encoded.dictionary).to_numpy()
    rank = np.empty(len(places), dtype=np.uint16 if len(places) <= 1 << 16 else np.int32)
    rank[places] = np.arange(len(places), dtype=rank.dtype)
    if not encoded.null_count:
        return np.asarray(rank[encoded.indices.to_numpy()])
    known = rank[pc.fill_null(encoded.indices, 0).to_numpy()] if len(rank) else 0
    return np.where(encoded.is_valid().to_numpy(zero_copy_only=False), known, np.int64(-1))


def _is_sorted(keys: Sequence[NDArray[Any]]) -> bool:
    return bool(_not_falling(keys).all())


def _not_falling(keys: Sequence[NDArray[Any]]) -> NDArray[np.bool_]:
    """(n - 1,) whether each row is not below the one before it."""
    fine = keys[-1][1:] >= keys[-1][:-1]
    for key in keys[-2::-1]:
        fine = (key[1:] > key[:-1]) | ((key[1:] == key[:-1]) & fine)
    return fine


def equal_to_previous(keys: Sequence[NDArray[Any]]) -> NDArray[np.bool_]:
    """(n,) whether each row has the keys of the one before it; the first has not."""
    same = np.ones(len(keys[0]), dtype=np.bool_)
    same[:1] = False
    for key in keys:
        same[1:] &= key[1:] == key[:-1]
    return same


class _Cursor:
    """A sorted run, read block by block."""

    def __init__(self, blocks: Iterable[pa.Table], names: Sequence[str]) -> None:
        self._blocks = iter(blocks)
        self._names = names
        self._block: pa.Table | None = None
        self._columns: list[pa.Array] = []
        self._nullable: list[bool] = []
        self._first: Key = ()
        self.last: Key = ()
        self.advance()

    def advance(self) -> None:
        """Go to the next block that has rows."""
        self._block = next((block for block in self._blocks if block.num_rows), None)
        if self._block is not None:
            self._columns = [_plain(self._block[name]) for name in self._names]
            self._nullable = [self._block.schema.field(name).nullable for name in self._names]
            self._first, self.last = self.key(0), self.key(self._block.num_rows - 1)

    @property
    def is_live(self) -> bool:
        return self._block is not None

    def key(self, row: int) -> Key:
        values = [column[row].as_py() for column in self._columns]
        if not any(self._nullable):
            return tuple(values)
        # a null stands below every value, and Python compares it with none
        return tuple(
            (value is not None, value) if nullable else value
            for value, nullable in zip(values, self._nullable, strict=True)
        )

    def take_up_to(self, pivot: Key) -> pa.Table | None:
        """The rows with a key up to and including `pivot`, which are then gone; None when there are none."""
        block = self._block
        if block is None or self._first > pivot:
            return None
        if self.last <= pivot:
            self.advance()
            return block
        count = bisect_right(range(block.num_rows), pivot, key=self.key)
        self._block = block.slice(count)
        self._columns = [column.slice(count) for column in self._columns]
        self._first = self.key(0)
        return block.slice(0, count)


def _plain(column: pa.ChunkedArray) -> pa.Array:
    """One chunk of Python-comparable values: times as counts of nanoseconds."""
    if pa.types.is_temporal(column.type):
        column = column.cast(pa.int32() if column.type.bit_width == 32 else pa.int64())
    joined = column.combine_chunks()
    return pa.concat_arrays(joined.chunks) if isinstance(joined, pa.ChunkedArray) else joined


def merge_sorted(runs: Sequence[Iterable[pa.Table]], order: Sequence[str]) -> Iterator[pa.Table]:
    """All rows of the runs in one order; memory holds a block of each run.

    Parameters
    ----------
    runs : sequence of iterables of tables
        Each sorted by `order`, then by the column `ROW`, whose numbers differ between all rows.
    order : sequence of str
    """
    if len(runs) == 1:
        yield from runs[0]
        return
    names = (*order, ROW)
    cursors = [_Cursor(run, names) for run in runs]
    while live := [cursor for cursor in cursors if cursor.is_live]:
        # every block ends at or after the smallest of the last keys, so nothing below it is still to come
        pivot = min(cursor.last for cursor in live)
        pieces = [rows for cursor in live if (rows := cursor.take_up_to(pivot)) is not None]
        yield sort_rows(pa.concat_tables(pieces), names)
