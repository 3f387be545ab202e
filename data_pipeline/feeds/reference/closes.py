"""Closing prices and traded values, one row a share and session, to the table closes: CSV or Parquet.

The columns are date, asset (or ticker), close and value (or volume), the traded value in R$; others are left out.
Prices are as they traded: nothing is adjusted. Rule, counted: of rows that repeat a share and session the last holds.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from data_pipeline.errors import DataError
from data_pipeline.feeds.reading import Batch, RawHead, Tally
from data_pipeline.feeds.reference.files import names_in
from data_pipeline.feeds.reference.tables import (
    distinct_rows,
    header_of,
    is_parquet,
    parquet_names,
    read_columns,
    refuse_null,
)
from data_pipeline.tables.catalog import CLOSES as SPEC

BATCH_ROWS: Final = 65_536
RULE_REPEATED: Final = "repeated_closes_left_out"
RULE_CONTRADICTED: Final = "repeated_closes_with_other_prices"
_TICKER: Final = r"^[A-Z0-9]{4,12}$"


class ClosesFeed:
    """Files of closes and traded values."""

    name = "b3_closes"

    def recognises(self, head: RawHead) -> bool:
        """Whether the columns say so."""
        names = parquet_names(head.path) if is_parquet(head.start) else header_of(head.start)
        return _columns(names) is not None

    def group(self, paths: Sequence[Path]) -> list[tuple[Path, ...]]:
        """Each file alone."""
        return [(path,) for path in paths]

    def read(self, files: tuple[Path, ...], tally: Tally, options: Mapping[str, str]) -> Iterator[Batch]:
        """Closes in the file's order; nothing here takes options.

        Raises
        ------
        DataError
            When the file is damaged, a price is not above 0 or a value is below 0.
        """
        (path,) = files
        for name in names_in(path):
            shown = f"{path.name}:{name}" if name else path.name
            symbol, value = _found_columns(path, name, shown)
            found = read_columns(path, {"date": "day", symbol: "text", "close": "number", value: "number"}, (), name)
            refuse_null(found, ("date", symbol, "close", value), shown)
            tally.rows += len(found["close"])
            _refuse(shown, pc.greater(found["close"], 0.0), found["close"], "close must be above 0")
            _refuse(shown, pc.greater_equal(found[value], 0.0), found[value], f"{value} must not be below 0")
            _refuse(shown, pc.match_substring_regex(found[symbol], _TICKER), found[symbol], f"{symbol} must be a code")
            rows = pa.table(
                {
                    "session": found["date"],
                    "symbol": found[symbol],
                    "close": found["close"],
                    "traded_value": found[value],
                },
                schema=SPEC.schema,
            )
            rows = distinct_rows(rows, ("session", "symbol"), tally, RULE_REPEATED, RULE_CONTRADICTED)
            for start in range(0, rows.num_rows, BATCH_ROWS):
                yield Batch("closes", "B3", rows.slice(start, BATCH_ROWS))


def _found_columns(path: Path, name: str, shown: str) -> tuple[str, str]:
    if name or not is_parquet(path.read_bytes()[:4]):
        from data_pipeline.feeds.reference.files import content_of

        found = _columns(header_of(content_of(path, name)[: 1 << 16]))
    else:
        found = _columns(parquet_names(path))
    if found is None:
        raise DataError(f"{shown} must have the columns date, asset or ticker, close, and value or volume")
    return found


def _columns(names: Sequence[str]) -> tuple[str, str] | None:
    """Names of the columns of the code and of the traded value, or None when it is no such table."""
    symbol = [name for name in ("asset", "ticker") if name in names]
    value = [name for name in ("value", "volume") if name in names]
    whole = len(symbol) == len(value) == 1 and {"date", "close"} <= set(names)
    return (symbol[0], value[0]) if whole and len(names) <= 6 else None


def _refuse(shown: str, fits: pa.Array, values: pa.Array, rule: str) -> None:
    wrong = pc.index(fits, False).as_py()
    if wrong >= 0:
        raise DataError(f"{shown} row {wrong + 1}: {rule}; was {str(values[wrong].as_py())[:40]!r}")


CLOSES: Final = ClosesFeed()
