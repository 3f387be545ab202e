"""CSV, Parquet and HTML tables of reference data as Arrow columns of text, numbers, whole numbers and dates."""

from __future__ import annotations

import html
import io
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from data_pipeline.errors import DataError
from data_pipeline.feeds.reading import RawHead, Tally
from data_pipeline.feeds.reference.files import content_of
from data_pipeline.feeds.reference.text import FIRST_YEAR, LAST_YEAR, decoded

Kind = Literal["text", "number", "count", "day"]
MOST_ROWS: Final = 20_000_000
MOST_PAGE: Final = 16 << 20
_TYPES: Final = {"text": pa.string(), "number": pa.float64(), "count": pa.int64(), "day": pa.date32()}
_RULES: Final = {
    "text": "text",
    "number": "a number",
    "count": "a whole number",
    "day": "a day of the calendar",
}
_POINT: Final = r"^[+-]?\d{1,15}(\.\d{1,20})?([eE][+-]?\d{1,2})?$"
_COMMA: Final = r"^[+-]?(\d{1,3}(\.\d{3}){1,4}|\d{1,15}),\d{1,15}$"
_DAY: Final = r"^(\d{4}-\d{2}-\d{2}([ T]00:00:00(\.0+)?)?|\d{2}/\d{2}/\d{4})$"
_NONE: Final = ["", "NA", "None", "null", "-"]
_TAG: Final = re.compile(r"<(/?)([a-zA-Z][a-zA-Z0-9]{0,20})([^<>]{0,2000})>|<[^<>]*>")
_ATTRIBUTE: Final = re.compile(r"([a-zA-Z]{1,20})\s*=\s*(?:\"([^\"]*)\"|'([^']*)'|([^\s\"'>]+))")


def header_of(start: bytes) -> tuple[str, ...]:
    """Lower-case column names in the first line of a CSV file that starts so."""
    line = decoded(start).split("\n", 1)[0].strip("\r")
    return tuple(name.strip().strip('"').lower() for name in re.split("[;,]", line))


def is_parquet(start: bytes) -> bool:
    """Whether a file that starts so is Parquet."""
    return start.startswith(b"PAR1")


def is_page_or_table(head: RawHead, marks: Iterable[bytes], columns: Iterable[str]) -> bool:
    """Whether a file is a page with one of the marks (lower case), or a CSV or Parquet table with all the columns."""
    if is_parquet(head.start):
        return set(columns) <= set(parquet_names(head.path))
    start = head.start.lower()
    return any(mark in start for mark in marks) or set(columns) <= set(header_of(head.start))


def parquet_names(path: Path) -> tuple[str, ...]:
    """Lower-case column names of a Parquet file, () where it cannot be read."""
    try:
        return tuple(name.lower() for name in pq.read_schema(path).names)
    except (pa.ArrowException, OSError, ValueError):
        return ()


def read_columns(
    path: Path, wanted: Mapping[str, Kind], optional: Sequence[str] = (), name: str = ""
) -> dict[str, pa.Array]:
    """The wanted columns of a CSV or Parquet file, each of the Arrow type of its kind; absent values are null.

    A CSV file is UTF-8 or ISO-8859-1, separated by commas or semicolons, with a header; numbers with a comma are
    Brazilian (1.234,56), others have a decimal point; dates are yyyy-mm-dd or dd/mm/yyyy.

    Parameters
    ----------
    path : Path
    wanted : mapping
        Kind of each column.
    optional : sequence of str
        Columns that may be missing; they are then absent from the answer.
    name : str
        Which file inside a zip.

    Raises
    ------
    DataError
        When the file is damaged, lacks a column or has a value that is not of its kind, with the line of a CSV file
        and the row (from 1) of a Parquet one.
    """
    content = content_of(path, name)
    shown = f"{path.name}:{name}" if name else path.name
    if not content:
        raise DataError(f"{shown} is empty: the download failed; fetch it again")
    text = None if is_parquet(content) else decoded(content)
    raw = _parquet(content, shown) if text is None else _csv(text, shown)
    names = {column.strip().lower(): number for number, column in enumerate(raw.column_names)}
    missing = [column for column in wanted if column not in names and column not in optional]
    if missing:
        raise DataError(f"{shown} lacks the column {missing[0]}; it has {', '.join(list(names)[:20])}")
    where = _Where(shown, text)
    return {
        column: _as_kind(raw.column(names[column]), kind, column, where)
        for column, kind in wanted.items()
        if column in names
    }


@dataclass(frozen=True, slots=True)
class _Where:
    """Names places of a file; `text` is that of a CSV file."""

    name: str
    text: str | None

    def at(self, index: int) -> str:
        if self.text is None:
            return f"{self.name} row {index + 1}"
        # the reader passes over empty lines
        lines = (number for number, line in enumerate(re.split("\r\n|\r|\n", self.text), 1) if line and number > 1)
        return f"{self.name} line {next(islice(lines, index, None), index + 2)}"


def _csv(text: str, shown: str) -> pa.Table:
    line = text.split("\n", 1)[0]
    options = pyarrow.csv.ParseOptions(delimiter=";" if ";" in line else ",")
    names = header_of(text[: 1 << 16].encode("utf-8"))
    if len(set(names)) != len(names):
        raise DataError(f"{shown} has two columns of one name in its header: {line[:80]!r}")
    try:
        return pyarrow.csv.read_csv(
            io.BytesIO(text.encode("utf-8")),
            read_options=pyarrow.csv.ReadOptions(use_threads=False, column_names=list(names), skip_rows=1),
            parse_options=options,
            convert_options=pyarrow.csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=True, null_values=_NONE
            ),
        )
    except (pa.ArrowException, ValueError) as error:
        raise DataError(f"{shown} is no CSV file of one width ({str(error)[:200]}): fetch it again") from error


def _parquet(content: bytes, shown: str) -> pa.Table:
    try:
        file = pq.ParquetFile(pa.BufferReader(content), pre_buffer=False)
        rows = file.metadata.num_rows
        groups = [file.metadata.row_group(number) for number in range(file.metadata.num_row_groups)]
        if rows > MOST_ROWS or sum(group.total_byte_size for group in groups) > 64 * len(content) + (64 << 20):
            raise DataError(f"{shown} says that it has {rows} rows, more than such a file can: it is damaged")
        return file.read(use_threads=False)
    except (pa.ArrowException, OSError, ValueError, MemoryError, OverflowError) as error:
        raise DataError(f"{shown} is a damaged Parquet file ({str(error)[:200]}): fetch it again") from error


def _as_kind(values: pa.ChunkedArray, kind: Kind, column: str, where: _Where) -> pa.Array:
    values = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
    try:
        if pa.types.is_dictionary(values.type):
            values = values.dictionary_decode()
        text = pa.types.is_string(values.type) or pa.types.is_large_string(values.type)
        made = _from_text(values.cast(pa.string()), kind, column, where) if text else _cast(values, kind, column, where)
        made.validate(full=True)
    except (pa.ArrowException, ValueError, OverflowError) as error:
        raise DataError(f"{where.name}: {column} must hold a {kind}; {str(error)[:200]}") from error
    _refuse_impossible(made, kind, column, where)
    return made


def _cast(values: pa.Array, kind: Kind, column: str, where: _Where) -> pa.Array:
    """The values as Arrow's type of the kind; the first one that is none is named with its place."""
    try:
        return values.cast(_TYPES[kind])
    except pa.ArrowInvalid as error:
        # a cast fails where its first wrong value is among them: the longest start without it is searched by halves
        sound, wrong = 0, len(values)
        while wrong - sound > 1:
            half = (sound + wrong) // 2
            try:
                values.slice(sound, half - sound).cast(_TYPES[kind])
                sound = half
            except pa.ArrowInvalid:
                wrong = half
        was = values[sound].as_py()
        raise DataError(f"{where.at(sound)}: {column} must be {_RULES[kind]}; was {str(was)[:40]!r}") from error


def _from_text(values: pa.Array, kind: Kind, column: str, where: _Where) -> pa.Array:
    values = pc.utf8_trim_whitespace(values)
    values = pc.if_else(pc.is_in(values, pa.array(_NONE)), pa.scalar(None, pa.string()), values)
    if kind == "text":
        return values
    if kind == "day":
        _refuse(values, pc.match_substring_regex(values, _DAY), column, "a date yyyy-mm-dd or dd/mm/yyyy", where)
        values = pc.replace_substring_regex(values, r"^(\d{2})/(\d{2})/(\d{4})$", r"\3-\2-\1")
        return _cast(pc.utf8_slice_codeunits(values, 0, 10), kind, column, where)
    comma = pc.match_substring_regex(values, _COMMA)
    fits = pc.or_(comma, pc.match_substring_regex(values, _POINT))
    _refuse(values, fits, column, "a number", where)
    plain = pc.replace_substring(pc.replace_substring(values, ".", ""), ",", ".")
    numbers = pc.if_else(comma, plain, values).cast(pa.float64())
    return numbers if kind == "number" else _cast(numbers, kind, column, where)


def _refuse(values: pa.Array, fits: pa.Array, column: str, rule: str, where: _Where) -> None:
    wrong = pc.index(pc.fill_null(fits, True), False).as_py()
    if wrong >= 0:
        value = values[wrong]
        # a day far outside of Python's years has no form in it: its number since 1970 is shown
        shown = value.cast(pa.int32()) if pa.types.is_date(value.type) else value
        raise DataError(f"{where.at(wrong)}: {column} must be {rule}; was {str(shown.as_py())[:40]!r}")


def _refuse_impossible(made: pa.Array, kind: Kind, column: str, where: _Where) -> None:
    if kind == "number":
        _refuse(made, pc.is_finite(made), column, "a finite number", where)
    elif kind == "day":
        year = pc.year(made)
        fits = pc.and_(pc.greater_equal(year, FIRST_YEAR), pc.less_equal(year, LAST_YEAR))
        _refuse(made, fits, column, f"a date of {FIRST_YEAR} to {LAST_YEAR}", where)


def refuse_null(columns: Mapping[str, pa.Array], names: Sequence[str], shown: str, first: int = 1) -> None:
    """Raise DataError when one of the columns has an absent value."""
    for name in names:
        if columns[name].null_count:
            row = pc.index(pc.is_null(columns[name]), True).as_py() + first
            raise DataError(f"{shown} row {row}: {name} is absent: fetch the file again")


def distinct_rows(rows: pa.Table, keys: Sequence[str], tally: Tally, repeated: str, contradicted: str) -> pa.Table:
    """The last row of each key, in their order; the others are counted under the rule `repeated`.

    Those among them that differ from each other in more than nothing are counted under `contradicted` too.
    """
    numbered = rows.append_column("row", pa.array(np.arange(rows.num_rows)))
    last = numbered.group_by(list(keys)).aggregate([("row", "max")])["row_max"]
    if len(last) == rows.num_rows:
        return rows
    tally.add(repeated, rows.num_rows - len(last))
    different = rows.group_by(rows.column_names).aggregate([]).num_rows
    if different > len(last):
        tally.add(contradicted, different - len(last))
    return rows.take(pa.array(np.sort(last.to_numpy())))


def page_table(content: bytes, table: str, shown: str) -> tuple[list[list[str]], dict[str, str], str]:
    """Cells of the rows of the HTML table with that id, the values of the page's inputs, and the page's text.

    Tags need not be closed; tables inside the table are passed over. Selected options count as the input of their
    select.

    Raises
    ------
    DataError
        When the page is too long to be one.
    """
    if len(content) > MOST_PAGE:
        raise DataError(f"{shown} has {len(content)} bytes, more than a page of B3 has")
    reader = _Page(table)
    text = decoded(content)
    at = 0
    for tag in _TAG.finditer(text):
        reader.said(text[at : tag.start()])
        at = tag.end()
        if tag[2]:
            reader.tag(tag[1] == "/", tag[2].lower(), tag[3])
    reader.said(text[at:])
    return reader.rows, reader.inputs, re.sub(r"\s+", " ", html.unescape(" ".join(reader.words)))


class _Page:
    def __init__(self, table: str) -> None:
        self._wanted = table
        self._depth = 0
        self._cell: list[str] | None = None
        self._select = ""
        self.rows: list[list[str]] = []
        self.inputs: dict[str, str] = {}
        self.words: list[str] = []

    def said(self, text: str) -> None:
        self.words.append(text)
        if self._cell is not None:
            self._cell.append(text)

    def tag(self, closing: bool, name: str, said: str) -> None:
        action: Callable[[bool, dict[str, str]], None] | None = {
            "table": self._table,
            "tr": self._row,
            "td": self._cells,
            "th": self._cells,
        }.get(name)
        if action is not None:
            action(closing, _attributes(said))
        elif name in ("input", "select", "option") and not closing:
            self._input(name, _attributes(said), said)

    def _table(self, closing: bool, attributes: dict[str, str]) -> None:
        if self._depth:
            self._depth += -1 if closing else 1
            if not self._depth:
                self._close()
        elif not closing and self._wanted in (attributes.get("id"), attributes.get("name")):
            self._depth = 1

    def _row(self, closing: bool, _: dict[str, str]) -> None:
        if self._depth == 1:
            self._close()
            if not closing:
                self.rows.append([])

    def _cells(self, closing: bool, _: dict[str, str]) -> None:
        if self._depth == 1:
            self._close()
            if not closing:
                self.rows = self.rows or [[]]
                self._cell = []

    def _close(self) -> None:
        if self._cell is not None:
            self.rows[-1].append(re.sub(r"\s+", " ", html.unescape("".join(self._cell))).strip())
            self._cell = None

    def _input(self, name: str, attributes: dict[str, str], said: str) -> None:
        called = attributes.get("id") or attributes.get("name") or ""
        if name == "select":
            self._select = called
        elif name == "option":
            if re.search(r"\bselected\b", said, re.IGNORECASE) and self._select:
                self.inputs[self._select] = attributes.get("value", "")
        elif called and "value" in attributes:
            self.inputs[called] = attributes["value"]


def _attributes(said: str) -> dict[str, Any]:
    return {
        match[1].lower(): html.unescape(match[2] or match[3] or match[4] or "") for match in _ATTRIBUTE.finditer(said)
    }
