"""`fairfield sql`: the rows that a query gives, as a table on the terminal or a file."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fairfield.errors import ConfigError

if TYPE_CHECKING:
    import pyarrow as pa

SUFFIXES = (".parquet", ".csv")
WIDEST = 40
"""Characters of a cell that are shown."""


def answer_query(query: str, place: str, output: Path | None, rows: int) -> None:
    """Print the first `rows` rows of a query's answer, or write all of it to `output`."""
    if output is not None and output.suffix.lower() not in SUFFIXES:
        raise ConfigError(f"--output must end in {' or '.join(SUFFIXES)}; was {output}")
    from data_pipeline.store import Store

    try:
        pieces = Store.open(place).iter_sql(query)
        if output is None:
            _print_rows(pieces, rows)
        else:
            print(f"{_write_rows(pieces, output):,} rows: {output}")
    except ValueError as error:
        raise ConfigError(str(error)) from error


def _print_rows(pieces: Iterator[pa.Table], rows: int) -> None:
    shown = next(pieces)
    total = 0
    for piece in pieces:
        if total < rows:
            shown = _joined(shown, piece.slice(0, rows - total))
        total += piece.num_rows
    columns = [[name, *(_cell(value) for value in shown[place])] for place, name in enumerate(shown.column_names)]
    numbers = [_is_number(field.type) for field in shown.schema]
    widths = [max(map(len, column)) for column in columns]
    for cells in zip(*columns, strict=True):
        lined = (c.rjust(w) if n else c.ljust(w) for c, w, n in zip(cells, widths, numbers, strict=True))
        print("  ".join(lined).rstrip())
    if total > shown.num_rows:
        print(f"... {total - shown.num_rows:,} more rows: ask with --rows, or write all with --output")
    else:
        print("1 row" if total == 1 else f"{total:,} rows")


def _joined(above: pa.Table, below: pa.Table) -> pa.Table:
    import pyarrow as pa

    return pa.concat_tables([above, below])


def _is_number(kind: pa.DataType) -> bool:
    from pyarrow import types

    return bool(types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind))


def _cell(value: pa.Scalar) -> str:
    if not value.is_valid:
        return ""
    # Arrow's own words for times: Python's have no nanoseconds
    text = repr(value.as_py()) if isinstance(_python(value), float) else str(value)
    text = "".join(letter if letter.isprintable() else "?" for letter in text)
    return text if len(text) <= WIDEST else text[: WIDEST - 3] + "..."


def _python(value: pa.Scalar) -> Any:
    from pyarrow import types

    return value.as_py() if types.is_floating(value.type) else None


def _write_rows(pieces: Iterator[pa.Table], output: Path) -> int:
    """Write the rows, a piece at a time; how many."""
    from data_pipeline.atomic import atomic_path, disk_errors

    first = next(pieces)
    total = 0
    with disk_errors(output):
        output.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(output) as temporary, _writer(temporary, output.suffix.lower(), first.schema) as writer:
            for piece in pieces:
                writer.write_table(piece)
                total += piece.num_rows
    return total


def _writer(path: Path, suffix: str, schema: pa.Schema) -> Any:
    if suffix == ".parquet":
        import pyarrow.parquet as pq

        return pq.ParquetWriter(path, schema, version="2.6", compression="zstd")
    from pyarrow import csv

    return csv.CSVWriter(os.fspath(path), schema)
