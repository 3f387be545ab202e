"""A raw CSV file in typed blocks of bounded size; every field that cannot be read names its line."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.csv as pc
from numpy.typing import NDArray

from data_pipeline.errors import DataError
from data_pipeline.feeds.crypto.text import line_blocks

_MOST_COLUMNS: Final = 1000
_TRUE: Final = ["true", "True", "TRUE"]
_FALSE: Final = ["false", "False", "FALSE"]


@dataclass(frozen=True, slots=True)
class CsvBlock:
    """Typed rows of a file.

    Attributes
    ----------
    rows : pyarrow.Table
    first_line : int
        Number of the first row's line in the file, from 1.
    name : str
        Of the file.
    """

    rows: pa.Table
    first_line: int
    name: str

    def ints(self, column: str) -> NDArray[np.int64]:
        """A column of whole numbers; DataError where a field is empty."""
        self._refuse(column, self.rows[column].is_null().to_numpy(), "be a whole number")
        return np.asarray(self.rows[column].to_numpy(), dtype=np.int64)

    def floats(self, column: str, *, empty: bool = False) -> NDArray[np.float64]:
        """A column of decimals, nan where a field is empty and may be; DataError where one is not finite."""
        values = self.rows[column]
        absent = values.is_null().to_numpy()
        numbers = np.asarray(values.to_numpy(), dtype=np.float64)
        self._refuse(column, (absent & (not empty)) | (~absent & ~np.isfinite(numbers)), "be a finite number")
        return numbers

    def amounts(self, column: str, *, empty: bool = False) -> NDArray[np.float64]:
        """Like `floats`, and not negative."""
        numbers = self.floats(column, empty=empty)
        self._refuse(column, numbers < 0, "not be negative")
        return numbers

    def flags(self, column: str) -> NDArray[np.bool_]:
        """A column of true and false."""
        self._refuse(column, self.rows[column].is_null().to_numpy(), "be true or false")
        return np.asarray(self.rows[column].to_numpy(), dtype=np.bool_)

    def codes(self, column: str, words: Sequence[str]) -> NDArray[np.int64]:
        """Place of each text among the words; DataError for any other."""
        encoded = self.rows[column].combine_chunks().dictionary_encode()
        known = encoded.dictionary.to_pylist()
        places = np.array([words.index(word) if word in words else -1 for word in known] or [0], dtype=np.int64)
        found = places[encoded.indices.to_numpy(zero_copy_only=False)] if len(encoded) else np.empty(0, dtype=np.int64)
        self._refuse(column, found < 0, f"be one of {', '.join(words)}")
        return np.asarray(found)

    def lines(self) -> NDArray[np.int64]:
        """(n,) line of each row."""
        return self.first_line + np.arange(self.rows.num_rows)

    def refuse(self, wrong: NDArray[np.bool_], rule: str) -> None:
        """Raise DataError for the first row that is wrong."""
        if wrong.any():
            line = self.first_line + int(np.argmax(wrong))
            raise DataError(f"{self.name}, line {line}: {rule}; the file is damaged, fetch it again")

    def _refuse(self, column: str, wrong: NDArray[np.bool_], rule: str) -> None:
        if wrong.any():
            value = self.rows[column][int(np.argmax(wrong))].as_py()
            self.refuse(wrong, f"{column} must {rule}; was {'empty' if value is None else value}")


def header_of(start: bytes) -> tuple[str, ...]:
    """Cells of the first line of a file's start, without quotation marks; not more than a thousand."""
    line = start.split(b"\n", 1)[0].strip().decode("ascii", "replace")
    return tuple(cell.strip().strip('"') for cell in line.split(",", _MOST_COLUMNS))


def csv_blocks(
    path: Path, columns: Sequence[str], types: Mapping[str, pa.DataType], *, header: bool
) -> Iterator[CsvBlock]:
    """The rows of a comma-separated file without quoting, packed or plain.

    Parameters
    ----------
    path : Path
    columns : sequence of str
        Of every row, in order.
    types : mapping
        Type of each column that is needed; others are not looked at.
    header : bool
        Whether the first line holds names.

    Raises
    ------
    DataError
        When the file is damaged or cut: file, line and what to do.
    """
    skip = 1 if header else 0
    for block in line_blocks(path):
        if not block.closed:
            raise DataError(
                f"{path.name} ends inside line {block.first_line} (no line end): it was cut; fetch it again, or remove "
                "that line"
            )
        text = block.text.tobytes()
        first = block.first_line
        if skip:
            text, skip, first = text[text.index(b"\n") + 1 :], 0, first + 1
        if text:
            yield CsvBlock(_parsed(text, columns, types, path.name, first), first, path.name)


def _parsed(text: bytes, columns: Sequence[str], types: Mapping[str, pa.DataType], name: str, first: int) -> pa.Table:
    try:
        return _read(text, columns, types)
    except pa.ArrowInvalid:
        line, words = _first_bad(text.split(b"\n")[:-1], columns, types)
        raise DataError(f"{name}, line {first + line}: {words}: the file is damaged; fetch it again") from None


def _read(text: bytes, columns: Sequence[str], types: Mapping[str, pa.DataType]) -> pa.Table:
    return pc.read_csv(
        pa.BufferReader(text),
        read_options=pc.ReadOptions(column_names=list(columns), use_threads=False, block_size=max(len(text), 1)),
        parse_options=pc.ParseOptions(quote_char=False, escape_char=False, ignore_empty_lines=False),
        convert_options=pc.ConvertOptions(
            column_types=dict(types),
            include_columns=list(types),
            null_values=[""],
            strings_can_be_null=False,
            true_values=_TRUE,
            false_values=_FALSE,
        ),
    )


def _first_bad(lines: list[bytes], columns: Sequence[str], types: Mapping[str, pa.DataType]) -> tuple[int, str]:
    """Place of the first line that cannot be read, by halving, and the reason."""
    low, high = 0, len(lines)
    reason = "it cannot be read"
    while high - low > 1:
        middle = (low + high) // 2
        try:
            _read(b"\n".join(lines[low:middle]) + b"\n", columns, types)
        except pa.ArrowInvalid:
            high = middle
        else:
            low = middle
    try:
        _read(b"\n".join(lines[low:high]) + b"\n", columns, types)
    except pa.ArrowInvalid as error:
        reason = re.sub(r"^(CSV \w+ error: |In CSV column #\d+: |Row #\d+: )+", "", str(error)).split("\n")[0][:160]
    return low, reason
