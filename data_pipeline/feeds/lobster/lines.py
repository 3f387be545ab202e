"""One LOBSTER file as rows of whole numbers, some at a time, in bounded memory; what is wrong with a bad line."""

from __future__ import annotations

import hashlib
import re
from typing import Final

import numpy as np
from numpy.typing import NDArray

from data_pipeline.errors import DataError
from data_pipeline.feeds.lobster import kernels
from data_pipeline.raw_file import RawFile

_FIELDS: Final = ("time", "type", "order id", "size", "price", "direction")
_FULL_DECIMALS: Final = 9
_BUFFER: Final = 1 << 22
_BEYOND: Final = 8
"""Bytes behind the buffer that eight bytes from its end reach into, and room for a last line feed."""
_LONGEST_LINE: Final = 1 << 18
_MOST_LEVELS: Final = 1000
_NO_NUMBERS: Final = (b"nan", b"inf", b"-inf", b"+inf", b"null", b"none")

Ints = NDArray[np.int64]


class Rows:
    """The rows of one of the files, some at a time."""

    def __init__(self, raw: RawFile, *, timed: bool, most_bytes: int | None, hashed: bool) -> None:
        """Read the start; DataError when it is no file of this kind (`timed`: messages, else book rows)."""
        self.name, self.timed = raw.name, timed
        self._raw, self._most = raw, most_bytes
        if most_bytes is not None and raw.size is not None and raw.size > most_bytes:
            raise DataError(f"{raw.name} has {raw.size:,} bytes, more than {most_bytes:,}: give one instrument's day")
        self._digest = hashlib.sha256() if hashed else None
        self._buffer = np.zeros(_BUFFER + _BEYOND, dtype=np.uint8)
        # the eight bytes from each place on; numpy marks the view as unaligned, and numba heeds that
        self._words = np.ndarray((_BUFFER + 1,), dtype="<u8", buffer=self._buffer.data, strides=(1,))
        self._filled, self._whole, self._read, self._ended = 0, 0, 0, False
        self.state = np.zeros(6, dtype=np.int64)
        self.state[kernels.UNIT] = kernels.SECOND
        self._refill()
        self.header = self._skip_header()
        self.width = self._check_width()
        self._places = np.zeros(self.width + 1, dtype=np.int64)

    @property
    def digest(self) -> str:
        """SHA-256 of the text, once all of it was read; "" where it was not wanted."""
        return self._digest.hexdigest() if self._digest else ""

    @property
    def levels(self) -> int:
        """Levels of an order-book file."""
        return self.width // 4

    def line(self) -> int:
        """Number of the line that comes next, from 1."""
        return int(self.state[kernels.LINES]) + 1

    def read(self, out: Ints) -> int:
        """Rows put into `out`: as many as it holds, or fewer at the end of the file.

        Raises
        ------
        DataError
            At the first line that is no row of this file.
        """
        rows = 0
        while rows < len(out):
            room = out[rows:]
            if self.timed:
                bad = kernels.parse_messages(
                    self._buffer, self._words, self._whole, self.width, len(room), self.state, room
                )
            else:
                bad = kernels.parse_book_rows(
                    self._buffer, self._words, self._whole, self.width, len(room), self.state, self._places, room
                )
            rows += int(self.state[kernels.ROWS])
            if bad:
                raise DataError(self._complaint())
            if rows < len(out) and not self._refill():
                break
        return rows

    def notes(self) -> list[str]:
        """What was odd about the layout: what LOBSTER does not write."""
        odd = ["header row"] if self.header else []
        decimals = self.decimals()
        if self.timed and decimals < _FULL_DECIMALS - 1:
            odd.append(f"times cut to {decimals} decimals")
        if self.timed and self.width > len(_FIELDS):
            odd.append("a seventh column, left out")
        if self.state[kernels.ROUNDED]:
            odd.append(f"{int(self.state[kernels.ROUNDED]):,} times with more than nine decimals, rounded")
        if self.state[kernels.BLANKS]:
            odd.append(f"{int(self.state[kernels.BLANKS]):,} empty lines, left out")
        return [f"{self.name}: re-saved copy: {', '.join(odd)}."] if odd else []

    def decimals(self) -> int:
        """Fewest decimals that hold every time so far."""
        return _FULL_DECIMALS + 1 - len(str(int(self.state[kernels.UNIT])))

    def _refill(self) -> bool:
        """Move what is left to the front and read on; False when there is no further whole line."""
        at = int(self.state[kernels.POSITION])
        rest = self._filled - at
        self._buffer[:rest] = self._buffer[at : self._filled].copy()
        self.state[kernels.POSITION] = 0
        if not self._ended:
            view = memoryview(self._buffer.data)[rest:_BUFFER]
            count = self._raw.fill(view)
            self._ended = count < len(view)
            self._read += count
            if self._digest:
                self._digest.update(view[:count])
            if self._most is not None and self._read > self._most:
                raise DataError(f"{self.name} has more than {self._most:,} bytes: give one instrument's day")
            rest += count
            if self._ended and rest and self._buffer[rest - 1] != 10:
                self._buffer[rest] = 10
                rest += 1
        self._filled = rest
        ends = np.flatnonzero(self._buffer[max(rest - _LONGEST_LINE, 0) : rest] == 10)
        self._whole = int(ends[-1]) + 1 + max(rest - _LONGEST_LINE, 0) if ends.size else 0
        if rest > _LONGEST_LINE and self._whole == 0:
            raise DataError(f"{self.name}, line {self.line()}: is longer than {_LONGEST_LINE:,} bytes: fetch it again")
        return self._whole > 0

    def _next_line(self) -> bytes:
        at = int(self.state[kernels.POSITION])
        stop = min(self._whole, at + _LONGEST_LINE)
        return self._buffer[at:stop].tobytes().split(b"\n", 1)[0]

    def _skip_blanks(self) -> None:
        while self.state[kernels.POSITION] < self._whole and self._next_line() in (b"", b"\r"):
            self._skip_line()
            self.state[kernels.BLANKS] += 1

    def _skip_line(self) -> None:
        self.state[kernels.POSITION] += len(self._next_line()) + 1
        self.state[kernels.LINES] += 1

    def _skip_header(self) -> bool:
        self._skip_blanks()
        cells = self._next_line().strip().split(b",")
        header = any(re.search(rb"[A-Za-z]{2}", cell) and cell.strip().lower() not in _NO_NUMBERS for cell in cells[:6])
        if header:
            self._skip_line()
            self._skip_blanks()
        return header

    def _check_width(self) -> int:
        """Cells of a row, from the first line."""
        width = self._next_line().count(b",") + 1 if self._whole > self.state[kernels.POSITION] else 0
        if self.header and width == 0:
            raise DataError(f"{self.name} has no rows: fetch it again")
        if self.timed and width not in (len(_FIELDS), len(_FIELDS) + 1):
            raise DataError(
                f"{self.name}, line {self.line()}: must have 6 columns; it has {width}: is this the right file?"
            )
        if not self.timed and (width % 4 or not 4 <= width <= 4 * _MOST_LEVELS):
            raise DataError(
                f"{self.name}, line {self.line()}: an order-book row has 4 columns per level; this has {width}: is it "
                "a message file?"
            )
        return width

    def _complaint(self) -> str:
        """What is wrong with the line at which the tokenizer stopped."""
        line = self._next_line().rstrip(b"\r")
        cells = line.split(b",")
        place = f"{self.name}, line {self.line()}"
        if len(cells) != self.width:
            return f"{place}: must have {self.width} columns; it has {len(cells)}: the file is cut or damaged"
        for column, cell in enumerate(cells):
            shown = cell.strip()[:40].decode("latin-1")
            if self.timed and column == 0:
                if not re.fullmatch(rb" *-?\d{1,8}(\.\d*)? *", cell):
                    return f"{place}: the time is not a number of seconds; was {shown!r}: fetch the file again"
            elif not re.fullmatch(rb" *-?\d{1,18} *", cell):
                return f"{place}: {self._column(column)} must be a number; was {shown!r}: fetch it again"
        return f"{place}: is not a row of numbers: fetch it again"

    def _column(self, column: int) -> str:
        if self.timed:
            return (*_FIELDS, "seventh column")[column]
        return f"{('ask', 'ask size', 'bid', 'bid size')[column % 4]} {column // 4 + 1}"
