"""B3's intraday text files block by block: lines of separated fields to columns, with the place of what is wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import IO, Any, Final, NamedTuple
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from data_pipeline.errors import DataError
from data_pipeline.feeds.b3 import kernels
from data_pipeline.raw_file import RawFile

ZONE: Final = "America/Sao_Paulo"
BLOCK_BYTES: Final = 8 << 20
MOST_SYMBOLS: Final = 1 << 20
_FIRST_SYMBOLS: Final = 1 << 12
_FEWEST_BYTES: Final = 32
"""A line of any of these files is longer: so many rows a block can hold at most."""
_DAY_NS: Final = 86_400_000_000_000

Ints = NDArray[np.int64]

_RULES: Final = {
    kernels.SKIP: "text without a line break",
    kernels.DATE: "a date YYYY-MM-DD from 1970 to 2261",
    kernels.SYMBOL: f"an instrument code of 1 to {kernels.SYMBOL_BYTES} printable characters",
    kernels.WHOLE: "a whole number of at most 18 digits",
    kernels.OPTIONAL: "a whole number of at most 18 digits, or empty",
    kernels.DECIMAL: "a decimal number below 2^53 without its comma",
    kernels.DIGIT_CLOCK: "a time HHMMSSmmm",
    kernels.CLOCK: "a time HH:MM:SS.mmm",
    kernels.LETTER: "one character",
}


class Field(NamedTuple):
    """A field of a line: its name, what it holds (a kind of `b3_kernels`)."""

    name: str
    kind: int


@dataclass(slots=True)
class Symbols:
    """The instruments met so far, numbered from 0."""

    names: NDArray[np.uint8] = field(
        default_factory=lambda: np.zeros((_FIRST_SYMBOLS, kernels.SYMBOL_BYTES), dtype=np.uint8)
    )
    widths: NDArray[np.int32] = field(default_factory=lambda: np.zeros(_FIRST_SYMBOLS, dtype=np.int32))
    table: NDArray[np.int32] = field(default_factory=lambda: np.full(4 * _FIRST_SYMBOLS, -1, dtype=np.int32))
    count: int = 0

    def grow(self, name: str) -> None:
        """Make room for twice as many."""
        most = 2 * len(self.widths)
        if most > MOST_SYMBOLS:
            raise DataError(f"{name} has more than {len(self.widths):,} instruments: it is no file of B3's")
        self.names = np.concatenate([self.names, np.zeros_like(self.names)])
        self.widths = np.concatenate([self.widths, np.zeros_like(self.widths)])
        self.table = np.full(4 * most, -1, dtype=np.int32)
        kernels.place_symbols(self.count, self.names, self.widths, self.table)

    def texts(self) -> list[str]:
        """Their codes."""
        return [self.names[k, : self.widths[k]].tobytes().decode("ascii") for k in range(self.count)]

    def starting(self, prefix: bytes) -> NDArray[np.bool_]:
        """(count,) whether each starts with `prefix`."""
        wanted = np.frombuffer(prefix, dtype=np.uint8)
        return np.asarray((self.names[: self.count, : wanted.size] == wanted).all(axis=1))


@dataclass(frozen=True, slots=True)
class Block:
    """The rows of some lines.

    Attributes
    ----------
    first_line : int
        Line number of the first row in the file, from 1.
    columns : dict of str to (rows,) array
        By field name: int64, float64 for decimal numbers. They are views that the next block overwrites.
    rows : int
    """

    first_line: int
    columns: dict[str, NDArray[Any]]
    rows: int


@dataclass(frozen=True, slots=True)
class Layout:
    """How the lines of one file are cut.

    Attributes
    ----------
    fields : tuple of Field
    separator, comma : str
        Between fields, and before decimals.
    last : callable, optional
        Told a line that is no row and its line number: True where it is the file's last line, checked by the callable.
    """

    fields: tuple[Field, ...]
    separator: str = ";"
    comma: str = ","
    last: Callable[[bytes, int], bool] | None = None


class _Reader:
    """One pass through a file; the arrays are made once."""

    def __init__(self, raw: RawFile, symbols: Symbols, padded: list[int]) -> None:
        self.raw, self.symbols, self.padded = raw, symbols, padded
        self.buffer = np.empty(BLOCK_BYTES + 1, dtype=np.uint8)
        self.line = 2
        self.ended = False
        self.state = np.zeros(4, dtype=np.int64)

    def blocks(self, layout_of: Callable[[bytes], Layout]) -> Iterator[Block]:
        """Read, cut at the last newline, parse, carry the rest over."""
        kept, layout = 0, None
        view = self.buffer.data
        while True:
            wanted = BLOCK_BYTES - kept
            got = self.raw.fill(view[kept : kept + wanted])
            total, done = kept + got, got < wanted
            if done and total and self.buffer[total - 1] != 10:
                self.buffer[total] = 10
                total += 1
            stop = self._last_newline(total)
            if total and not stop:
                raise DataError(
                    f"{self.raw.name}, line {self.line if layout else 1} is longer than {BLOCK_BYTES >> 20} MiB: "
                    "it is no file of B3's"
                )
            at = 0
            if layout is None:
                at = bytes(self.buffer[:total]).find(b"\n") + 1
                layout = layout_of(self.buffer[:at].tobytes().rstrip(b"\r\n"))
                self._prepare(layout)
            yield from self._parsed(layout, at, stop)
            if done:
                return
            kept = total - stop
            self.buffer[:kept] = self.buffer[stop:total].copy()

    def _last_newline(self, total: int) -> int:
        """Place after the last newline of the buffer's first `total` bytes, 0 where there is none."""
        reach = 1 << 12
        while True:
            low = max(total - reach, 0)
            found = np.flatnonzero(self.buffer[low:total] == 10)
            if found.size:
                return low + int(found[-1]) + 1
            if low == 0:
                return 0
            reach *= 8

    def _prepare(self, layout: Layout) -> None:
        rows = BLOCK_BYTES // _FEWEST_BYTES
        kinds = [one.kind for one in layout.fields]
        slots, counts = [], [0, 0]
        for kind in kinds:
            real = kind == kernels.DECIMAL
            slots.append(counts[real])
            counts[real] += kind != kernels.SKIP
        self.kinds, self.slots = np.array(kinds, dtype=np.int64), np.array(slots, dtype=np.int64)
        self.wholes = np.empty((counts[0], rows), dtype=np.int64)
        self.reals = np.empty((counts[1], rows), dtype=np.float64)
        self.starts, self.dates = np.empty(rows, dtype=np.int64), np.empty(len(kinds), dtype=np.int64)

    def _parsed(self, layout: Layout, at: int, stop: int) -> Iterator[Block]:
        while at < stop:
            symbols = self.symbols
            self.state[kernels.SYMBOLS] = symbols.count
            rows = kernels.parse_lines(
                self.buffer,
                at,
                stop,
                ord(layout.separator),
                ord(layout.comma),
                self.kinds,
                self.slots,
                symbols.table,
                symbols.names,
                symbols.widths,
                self.wholes,
                self.reals,
                self.starts,
                self.dates,
                self.state,
            )
            at, fault, symbols.count, self.padded[0] = (int(value) for value in self.state)
            if rows:
                if self.ended:
                    raise self._error(f"line {self.line}", "follows the end of the rows")
                yield self._block(layout, rows)
                self.line += rows
            if fault == kernels.FULL:
                symbols.grow(self.raw.name)
            elif fault != kernels.NO_FAULT:
                at = self._no_row(layout, self.buffer[at:stop].tobytes(), fault) + at

    def _block(self, layout: Layout, rows: int) -> Block:
        columns = {}
        for one, slot in zip(layout.fields, self.slots.tolist(), strict=True):
            if one.kind != kernels.SKIP:
                columns[one.name] = (self.reals if one.kind == kernels.DECIMAL else self.wholes)[slot, :rows]
        return Block(self.line, columns, rows)

    def _no_row(self, layout: Layout, rest: bytes, fault: int) -> int:
        """Bytes of `rest` that are done with: the file's last line, or blank lines to the end; else an error."""
        if not rest.strip():
            self.ended = True
            return len(rest)
        end = rest.index(b"\n")
        line, place = rest[:end].rstrip(b"\r"), f"line {self.line}"
        if self.ended:
            raise self._error(place, "follows the end of the rows")
        self.line += 1
        if layout.last is not None and layout.last(line, self.line - 1):
            self.ended = True
            return end + 1
        texts = line.split(layout.separator.encode())
        if len(texts) != len(layout.fields):
            raise self._error(place, f"must have {len(layout.fields)} fields; it has {len(texts)}: cut or damaged")
        one, text = layout.fields[fault], texts[fault][:60].decode("latin-1")
        raise self._error(place, f"{one.name} must be {_RULES[one.kind]}; was {text!r}")

    def _error(self, place: str, what: str) -> DataError:
        return DataError(f"{self.raw.name}, {place}: {what}; fetch the file again")


class Waiting:
    """Rows that wait for the end of a file: in memory while they are few, the others in a temporary file."""

    def __init__(self, spill: IO[bytes], dtype: np.dtype[Any], in_memory: int) -> None:
        """No rows yet; the first `in_memory` bytes of them are held in memory."""
        self.spill, self.dtype, self.in_memory = spill, dtype, in_memory
        self.held: list[NDArray[Any]] = []
        self.bytes = 0
        self.spilled: list[int] = []

    def put(self, rows: NDArray[Any]) -> None:
        """Add rows after those before."""
        self.bytes += rows.nbytes
        if self.bytes <= self.in_memory:
            self.held.append(rows)
        elif rows.size:
            self.spill.write(rows.data)
            self.spilled.append(rows.size)

    def take(self) -> Iterator[NDArray[Any]]:
        """All rows in their order; those in memory are let go as they are given."""
        self.held.reverse()
        while self.held:
            yield self.held.pop()
        self.spill.seek(0)
        for size in self.spilled:
            yield np.frombuffer(self.spill.read(size * self.dtype.itemsize), dtype=self.dtype)


def iter_blocks(
    raw: RawFile, layout_of: Callable[[bytes], Layout], symbols: Symbols, padded: list[int] | None = None
) -> Iterator[Block]:
    """The rows after the first line, in blocks of bounded size; `layout_of` is told the first line.

    `padded`, a list of one number, is set to the clocks that had lost their leading zeros.

    Raises
    ------
    DataError
        Naming file, line, field and text, at the first line that is no row; blank lines may only follow the last one.
    """
    yield from _Reader(raw, symbols, [0] if padded is None else padded).blocks(layout_of)


@lru_cache(maxsize=4096)
def utc_offset_ns(day: int) -> int:
    """Nanoseconds to add to the local time of a day (since 1970) to have UTC: its offset at noon.

    Summer time, until February 2019, began and ended at midnight between a Saturday and a Sunday, without a session.
    """
    noon = datetime.combine(date(1970, 1, 1) + timedelta(days=day), datetime.min.time()) + timedelta(hours=12)
    offset = noon.replace(tzinfo=ZoneInfo(ZONE)).astimezone(UTC).replace(tzinfo=None) - noon
    return int(offset.total_seconds()) * 1_000_000_000


def utc_ns(day: NDArray[Any], microseconds: NDArray[Any]) -> Ints:
    """(n,) nanoseconds since 1970 UTC of local days and microseconds after their midnight."""
    days, place = distinct(day)
    moved = np.array([one * _DAY_NS + utc_offset_ns(one) for one in days.tolist()], dtype=np.int64)
    return np.asarray(moved[place] + microseconds.astype(np.int64) * 1000)


def distinct(values: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.intp]]:
    """The distinct values and each row's place among them; at once where all are equal, as in most files."""
    if values.size and values[0] == values.min() == values.max():
        return values[:1], np.zeros(values.size, dtype=np.intp)
    found, place = np.unique(values, return_inverse=True)
    return found, place


def words(codes: NDArray[Any], texts: pa.Array) -> pa.Array:
    """A string column from numbers into `texts`."""
    return pa.DictionaryArray.from_arrays(pa.array(codes.astype(np.int32)), texts).cast(pa.string())


def session_column(days: NDArray[Any]) -> pa.Array:
    """A date32 column of days since 1970."""
    return pa.array(days.astype(np.int32)).cast(pa.date32())


def time_column(ns: Ints) -> pa.Array:
    """A timestamp column of nanoseconds since 1970 UTC."""
    return pa.array(ns).cast(pa.timestamp("ns", tz="UTC"))
