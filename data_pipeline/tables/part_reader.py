"""Rows of a part: only the row groups that can hold the symbols asked for, only the columns asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from data_pipeline.errors import DataError
from data_pipeline.tables.files import StoreFiles
from data_pipeline.tables.state import TablePart


@contextmanager
def open_part(files: StoreFiles, part: TablePart) -> Iterator[pq.ParquetFile]:
    """The Parquet file of a part, with its faults in words.

    Raises
    ------
    DataError
        When the file is missing, damaged or has another number of rows than the manifest says; also when that shows
        while it is read inside the block.
    """
    place = f"{files.name.rstrip('/')}/{part.path}"
    try:
        with files.open_input(part.path) as stream:
            found = pq.ParquetFile(stream)
            if found.metadata.num_rows != part.rows:
                raise DataError(
                    f"{place} must have {part.rows} rows; has {found.metadata.num_rows}: "
                    "delete the store and ingest again"
                )
            yield found
    except FileNotFoundError as error:
        raise DataError(
            f"{place} is missing: the store changed while it was read (open it again) or was damaged (ingest again)"
        ) from error
    except (pa.ArrowException, OSError) as error:
        # Arrow says of damaged bytes that they are an OSError without a number; anything else is the system's fault
        if isinstance(error, OSError) and (error.errno is not None or type(error) is not OSError):
            raise DataError(f"cannot read {place}: {error.strerror or error} (the store is unharmed)") from error
        raise DataError(f"{place} is damaged ({error}): delete the store and ingest again") from error


def groups_of(found: pq.ParquetFile, symbol: str, symbols: Sequence[str] | None) -> list[int]:
    """Numbers of the row groups whose range of symbols has one of `symbols` (sorted); all when None.

    The groups are in order of symbol, so two searches by halves for each symbol read few of a large file's statistics.
    """
    count = found.metadata.num_row_groups
    if symbols is None:
        return list(range(count))
    column = found.schema_arrow.get_field_index(symbol)
    if any(pa.types.is_nested(field.type) for field in list(found.schema_arrow)[:column]):
        column = [found.metadata.schema.column(k).name for k in range(found.metadata.num_columns)].index(symbol)

    def ends(group: int) -> Any:
        return found.metadata.row_group(group).column(column).statistics

    chosen: set[int] = set()
    for wanted in symbols:
        low, high = 0, count
        while low < high:
            middle = (low + high) // 2
            if ends(middle).max < wanted:
                low = middle + 1
            else:
                high = middle
        while low < count and ends(low).min <= wanted:
            chosen.add(low)
            low += 1
    return sorted(chosen)


def iter_rows(files: StoreFiles, part: TablePart, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
    """The rows of a part, a row group at a time."""
    with open_part(files, part) as found:
        for group in range(found.metadata.num_row_groups):
            yield found.read_row_group(group, columns=None if columns is None else list(columns), use_threads=False)


def read_symbols(
    files: StoreFiles, part: TablePart, symbol: str, symbols: Sequence[str] | None, columns: Sequence[str]
) -> pa.Table:
    """Rows of the groups that can hold `symbols` (sorted); other symbols of those groups are among them."""
    with open_part(files, part) as found:
        groups = groups_of(found, symbol, symbols)
        # threads help wide reads only; for one symbol they cost more than they save
        table = found.read_row_groups(groups, columns=list(columns), use_threads=len(groups) > 4)
        return table.select(list(columns))
