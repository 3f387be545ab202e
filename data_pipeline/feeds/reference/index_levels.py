"""Closing levels of indices to the table index_levels: CSV or Parquet, and B3's small JSON of the DI rate and index.

A table has the columns symbol, refdate and value. The JSON (CDIIDI) tells the DI rate of a day in % a year over 252
business days, which goes to the table rates as the series "DI" of B3, and the level of the IDI index of another day.

Rule, counted: of rows that repeat an index and day the last holds.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from data_pipeline.errors import DataError
from data_pipeline.feeds.reading import Batch, RawHead, Tally
from data_pipeline.feeds.reference.files import content_of, names_in
from data_pipeline.feeds.reference.tables import (
    distinct_rows,
    header_of,
    is_parquet,
    parquet_names,
    read_columns,
    refuse_null,
)
from data_pipeline.feeds.reference.text import comma_number, day_of, decoded
from data_pipeline.tables.catalog import INDEX_LEVELS as SPEC
from data_pipeline.tables.catalog import RATES

BATCH_ROWS: Final = 65_536
RULE_REPEATED: Final = "repeated_index_days_left_out"
RULE_CONTRADICTED: Final = "repeated_index_days_with_other_levels"
_COLUMNS: Final = {"symbol", "refdate", "value"}
_KEYS: Final = ("taxa", "dataTaxa", "indice", "dataIndice")
_SYMBOL: Final = r"^[A-Z0-9][A-Z0-9&._-]{0,19}$"
MOST_RATE: Final = 100.0
"""Highest DI rate, % a year, of any day since the file exists."""


class IndexLevelsFeed:
    """Index levels: CSV, Parquet, CDIIDI JSON."""

    name = "b3_index_levels"

    def recognises(self, head: RawHead) -> bool:
        """Whether the content says so: exactly the three columns, or the four keys of CDIIDI."""
        if is_parquet(head.start):
            return set(parquet_names(head.path)) == _COLUMNS
        return set(header_of(head.start)) == _COLUMNS or all(f'"{key}"'.encode() in head.start for key in _KEYS)

    def group(self, paths: Sequence[Path]) -> list[tuple[Path, ...]]:
        """Each file alone."""
        return [(path,) for path in paths]

    def read(self, files: tuple[Path, ...], tally: Tally, options: Mapping[str, str]) -> Iterator[Batch]:
        """Levels in the file's order; nothing here takes options.

        Raises
        ------
        DataError
            When the file is damaged, or a level is not above 0.
        """
        (path,) = files
        for name in names_in(path):
            shown = f"{path.name}:{name}" if name else path.name
            content = content_of(path, name)
            if content.lstrip(b"\xef\xbb\xbf \r\n\t").startswith(b"{"):
                tally.rows += 1
                yield from _rate_and_index(content, shown)
                continue
            found = read_columns(path, {"symbol": "text", "refdate": "day", "value": "number"}, (), name)
            refuse_null(found, ("symbol", "refdate", "value"), shown)
            tally.rows += len(found["value"])
            _refuse(shown, pc.greater(found["value"], 0.0), found["value"], "value must be above 0")
            _refuse(
                shown, pc.match_substring_regex(found["symbol"], _SYMBOL), found["symbol"], "symbol must be capitals"
            )
            rows = pa.table(
                {"session": found["refdate"], "symbol": found["symbol"], "level": found["value"]}, schema=SPEC.schema
            )
            rows = distinct_rows(rows, ("session", "symbol"), tally, RULE_REPEATED, RULE_CONTRADICTED)
            for start in range(0, rows.num_rows, BATCH_ROWS):
                yield Batch("index_levels", "B3", rows.slice(start, BATCH_ROWS))


def _refuse(shown: str, fits: pa.Array, values: pa.Array, rule: str) -> None:
    wrong = pc.index(fits, False).as_py()
    if wrong >= 0:
        raise DataError(f"{shown} row {wrong + 1}: {rule}; was {str(values[wrong].as_py())[:40]!r}")


def _rate_and_index(content: bytes, shown: str) -> Iterator[Batch]:
    try:
        document: Any = json.loads(decoded(content))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{shown} is no JSON ({error}): fetch it again") from error
    given = [document.get(key) if isinstance(document, dict) else None for key in _KEYS]
    said = [text for text in given if isinstance(text, str)]
    if len(said) < len(_KEYS):
        raise DataError(f"{shown} must have {', '.join(_KEYS)} as text: fetch it again")
    rate = comma_number(said[0], shown, "taxa")
    level = comma_number(said[2], shown, "indice")
    if not (0.0 <= rate <= MOST_RATE and level > 0.0):
        raise DataError(f"{shown}: taxa must be 0 to {MOST_RATE:g} % a year and indice above 0; was {rate}, {level}")
    day = day_of(said[1], shown, "dataTaxa")
    row = {"session": day, "symbol": "DI", "value": rate, "unit": "% per year (252)"}
    yield Batch("rates", "B3", pa.Table.from_pylist([row], schema=RATES.schema))
    index = {"session": day_of(said[3], shown, "dataIndice"), "symbol": "IDI", "level": level}
    yield Batch("index_levels", "B3", pa.Table.from_pylist([index], schema=SPEC.schema))


INDEX_LEVELS: Final = IndexLevelsFeed()
