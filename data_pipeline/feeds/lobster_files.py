"""A LOBSTER pair, read side by side in blocks of bounded size: text to numbers, every row checked.

    find_pairs(files) -> Pair; open_pair(pair) -> Blocks; for block in blocks: block.times, .fields, .levels

Format (LOBSTER, "Data structure"): message rows are time (s after midnight, New York), type, order id, size, price
(USD x 10,000), direction; row k of the order book is the book after message k, ask price, ask size, bid price, bid size
for each level; an empty level has the price 9999999999 (ask) or -9999999999 (bid).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from data_pipeline.errors import DataError
from data_pipeline.feeds import lobster_kernels as kernels
from data_pipeline.raw_file import RawFile, list_members, open_raw

KINDS: Final = {
    kernels.NEW: "new",
    kernels.PARTIAL_CANCEL: "partial_cancel",
    kernels.DELETE: "delete",
    kernels.EXECUTION: "execution",
    kernels.HIDDEN: "hidden_execution",
    kernels.CROSS: "cross_trade",
    kernels.HALTED: "halt_message",
}
_FIELDS: Final = ("time", "type", "order id", "size", "price", "direction")
_FULL_DECIMALS: Final = 9
_BUFFER: Final = 1 << 22
_BEYOND: Final = 8
"""Bytes behind the buffer that eight bytes from its end reach into, and room for a last line feed."""
_LONGEST_LINE: Final = 1 << 18
_BLOCK_ROWS: Final = 1 << 16
_BLOCK_CELLS: Final = 1 << 22
_MOST_LEVELS: Final = 1000
_SHARE_STANDING: Final = 0.9
"""A new order stands in the book row beside it: fewer than nine in ten means that the files are of two days."""
_NAME: Final = re.compile(
    r"^(?P<ticker>.+)_(?P<day>\d{4}-\d{2}-\d{2})_(?P<start>\d+)_(?P<end>\d+)_(?P<kind>message|orderbook)_\d+\.\w+"
)
_KIND: Final = re.compile(r"message|orderbook", re.IGNORECASE)
MESSAGE_LINE: Final = re.compile(rb"^\s*\d+(\.\d*)?,[1-7],-?\d+,\d+,-?\d+,-?1\s*(,|\r?$)", re.MULTILINE)

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Part:
    """One of the two files: a path, or a member of a zip there."""

    path: Path
    member: str | None
    kind: str

    @property
    def name(self) -> str:
        """The member's or the file's own name."""
        return Path(self.member).name if self.member else self.path.name


@dataclass(frozen=True, slots=True)
class Pair:
    """The two files of one download, and the ticker and day that their names say ("" where they say none)."""

    message: Part
    orderbook: Part
    ticker: str
    day: str


@dataclass(frozen=True, slots=True)
class Block:
    """Consecutive rows of both files; the arrays are overwritten by the next block.

    Attributes
    ----------
    first : int
        Number of the first row, from 0.
    times : (n,) int64
        Nanoseconds after midnight.
    fields : (n, 5) int64
        Type, order id, size, price, direction.
    levels : (n, 4 * L) int64
        The book after each message.
    """

    first: int
    times: Ints
    fields: Ints
    levels: Ints


def parts_of(path: Path) -> list[Part]:
    """The message and order-book files at a path, told by their names; one of kind "" where names say nothing."""
    members = list_members(path)
    named = [(member, _KIND.findall(Path(member).name)) for member in members]
    found = [Part(path, member, kinds[-1].lower()) for member, kinds in named if kinds]
    if found:
        return found
    kinds = _KIND.findall(path.name)
    return [Part(path, None, kinds[-1].lower() if kinds else "")]


def pair_key(part: Part) -> str:
    """What the two names of a pair have in common."""
    return _KIND.sub("*", part.name.lower().removesuffix(".gz").removesuffix(".zip"))


def find_pairs(files: Sequence[Path]) -> list[Pair]:
    """The pairs among some files, in order of their names.

    Raises
    ------
    DataError
        When a file has no partner, or a ticker's day is there twice.
    """
    found: dict[str, dict[str, Part]] = {}
    for part in (part for path in files for part in parts_of(path)):
        known = found.setdefault(pair_key(part), {})
        if part.kind in known:
            raise DataError(f"{part.name} is there twice ({known[part.kind].path.name}, {part.path.name}): give one")
        known[part.kind] = part
    pairs = []
    for key in sorted(found):
        known = found[key]
        if set(known) != {"message", "orderbook"}:
            if len(files) == 2 and all(len(parts_of(path)) == 1 for path in files):
                return [make_pair(*_by_content(files))]
            one = next(iter(known.values()))
            missing = "orderbook" if one.kind == "message" else "message"
            raise DataError(f"{one.name} has no {missing} file beside it: a LOBSTER day is two files; give both")
        pairs.append(make_pair(known["message"], known["orderbook"]))
    days = [(pair.ticker, pair.day) for pair in pairs]
    for pair in pairs:
        if days.count((pair.ticker, pair.day)) > 1:
            raise DataError(
                f"{pair.message.path.name} holds {pair.ticker} {pair.day} more than once (of several levels?): unzip "
                "it and ingest one pair"
            )
    return pairs


def _by_content(files: Sequence[Path]) -> list[Part]:
    """Two files whose names do not pair: the one with message rows first."""
    parts = [parts_of(path)[0] for path in files]
    told = []
    for part in parts:
        with _open(part) as raw:
            told.append(bool(MESSAGE_LINE.search(raw.stream.read(4096))))
    if told[0] == told[1]:
        names = " and ".join(part.name for part in parts)
        raise DataError(f"{names} are no message and orderbook file of one day: give the two files of one download")
    first = told.index(True)
    return [parts[first], parts[1 - first]]


def make_pair(message: Part, orderbook: Part) -> Pair:
    """The pair, with the ticker and day of the names, which LOBSTER writes; the two must agree.

    Raises
    ------
    DataError
        When they do not.
    """
    named = []
    for part in (message, orderbook):
        match = _NAME.match(part.name) or _NAME.match(part.path.name)
        if match:
            named.append((match["ticker"], match["day"]))
    if len(set(named)) > 1:
        raise DataError(f"{message.name} and {orderbook.name} are of different days or tickers: give one pair")
    ticker, day = named[0] if named else (Path(message.name).stem, "")
    return Pair(message, orderbook, ticker, day)


@contextmanager
def _open(part: Part) -> Iterator[RawFile]:
    member = part.member
    if member is None or len(list_members(part.path)) == 1:
        with open_raw(part.path) as raw:
            yield raw
    else:
        with open_raw(part.path, choose=lambda names: member) as raw:
            yield raw


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


_NO_NUMBERS: Final = (b"nan", b"inf", b"-inf", b"+inf", b"null", b"none")


class Blocks:
    """The rows of a pair in blocks; what was counted is whole once they are drawn.

    Attributes
    ----------
    message, orderbook : Rows
    state : (15,) int64
        Counts of `lobster_kernels.check_rows`.
    """

    def __init__(self, message: Rows, orderbook: Rows) -> None:
        """Nothing is read yet."""
        self.message, self.orderbook = message, orderbook
        self.state = np.zeros(kernels.KINDS + 8, dtype=np.int64)
        self.rows = 0

    def __iter__(self) -> Iterator[Block]:
        """Blocks of up to 65,536 rows.

        Raises
        ------
        DataError
            When a row of either file cannot be, or the two do not belong together.
        """
        width = self.orderbook.width
        capacity = max(min(_BLOCK_ROWS, _BLOCK_CELLS // width), 1)
        messages, levels = np.empty((capacity, 6), dtype=np.int64), np.empty((capacity, width), dtype=np.int64)
        while True:
            count = self.message.read(messages)
            beside = self.orderbook.read(levels[: max(count, 1)])
            if count != beside:
                raise DataError(self._unequal(count, beside, levels))
            if count == 0:
                break
            times, fields = messages[:count, 0].copy(), messages[:count, 1:].copy()
            fault = np.zeros(2, dtype=np.int64)
            good = kernels.check_rows(times, fields, levels[:count], self.state, fault)
            if good < count:
                raise DataError(self._fault(messages, levels, good, count, fault))
            yield Block(self.rows, times, fields, levels[:count])
            self.rows += count
            self._check_pair(at_least=5_000)
        if self.rows == 0:
            raise DataError(f"{self.message.name} has no rows: fetch it again")
        self._check_pair(at_least=1)

    def counts(self) -> dict[str, int]:
        """Messages, and how many of each type."""
        kinds = {words: int(self.state[kernels.KINDS + kind]) for kind, words in KINDS.items()}
        return {"messages": self.rows} | kinds

    def notes(self) -> list[str]:
        """What was odd about the layout of the two files."""
        return [*self.message.notes(), *self.orderbook.notes()]

    def _check_pair(self, at_least: int) -> None:
        news = int(self.state[kernels.NEWS])
        share = int(self.state[kernels.NEWS_STANDING]) / max(news, 1)
        if news >= at_least and share < _SHARE_STANDING:
            raise DataError(
                f"{self.message.name} and {self.orderbook.name} do not belong together: only {share:.0%} of the new "
                "orders stand in the book row beside them; give the two files of one download"
            )

    def _unequal(self, count: int, beside: int, room: Ints) -> str:
        """The two counts in words; the longer file is read to its end for it."""
        totals = [self.rows + count, self.rows + beside]
        for place, rows in enumerate((self.message, self.orderbook)):
            spare = np.empty((len(room), 6 if rows.timed else rows.width), dtype=np.int64)
            while more := rows.read(spare):
                totals[place] += more
        return (
            f"{self.message.name} has {totals[0]:,} messages and {self.orderbook.name} {totals[1]:,} rows of the "
            "book: they must have the same number; one of them is cut or of another day: fetch both again"
        )

    def _fault(self, messages: Ints, levels: Ints, row: int, count: int, fault: Ints) -> str:
        code, level = int(fault[0]), int(fault[1])
        kind, order, size, price, direction = messages[row, 1:].tolist()
        rules = {
            kernels.EARLIER: ("the time is before that of the row above", messages[row, 0] / kernels.SECOND),
            kernels.WRONG_TIME: ("the time must be seconds after midnight", messages[row, 0] / kernels.SECOND),
            kernels.WRONG_KIND: ("the type must be 1 to 7", kind),
            kernels.WRONG_DIRECTION: ("the direction must be 1 or -1", direction),
            kernels.WRONG_SIZE: ("the size must be at least 1", size),
            kernels.WRONG_PRICE: ("the price must be positive and below 999,999.9999", price),
            kernels.WRONG_ORDER: ("the order id must be positive", order),
            kernels.ASKS_NOT_RISING: ("ask prices must rise", levels[row, 4 * level]),
            kernels.BIDS_NOT_FALLING: ("bid prices must fall", levels[row, 4 * level + 2]),
            kernels.LEVEL_WITHOUT_SIZE: (
                "the sizes must be at least 1",
                levels[row, 4 * level + 1 : 4 * level + 4 : 2].tolist(),
            ),
        }
        rule, value = rules[code]
        rows = self.orderbook if code >= kernels.ASKS_NOT_RISING else self.message
        line = rows.line() - (count - row)
        # where empty lines were passed over inside this block the number is too large by at most as many
        place = "at or just before line" if rows.state[kernels.BLANKS] else "line"
        where = f", level {level + 1}" if rows is self.orderbook else ""
        return f"{rows.name}, {place} {line}{where}: {rule}; was {value}: fetch the file again"


@contextmanager
def open_pair(pair: Pair, *, most_bytes: int | None = None, hashed: bool = False) -> Iterator[Blocks]:
    """The two files of a pair, open, as blocks of rows.

    Parameters
    ----------
    pair : Pair
    most_bytes : int, optional
        Largest size of one file's text that is taken.
    hashed : bool
        Whether `Rows.digest` is wanted.

    Raises
    ------
    DataError
        When a file is missing, empty, of another format or of another shape.
    """
    with _open(pair.message) as message, _open(pair.orderbook) as orderbook:
        yield Blocks(
            Rows(message, timed=True, most_bytes=most_bytes, hashed=hashed),
            Rows(orderbook, timed=False, most_bytes=most_bytes, hashed=hashed),
        )
