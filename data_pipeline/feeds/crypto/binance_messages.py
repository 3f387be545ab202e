"""The messages of a Binance capture as columns, a block of lines at a time.

Each line is the receiver's time, a blank, and one message, plain or wrapped in {"stream":..., "data":...}. Most lines
go through the compiled scanner; what differs from the known form by one byte goes through a JSON parser to the same
columns, or is refused by its line.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from data_pipeline.errors import DataError
from data_pipeline.feeds.crypto import binance_scan as scan
from data_pipeline.feeds.crypto.text import LineBlock, line_blocks

FIRST_NS: Final = 1_230_768_000 * 10**9
"""2009-01-01, before any coin was traded."""
LAST_NS: Final = 4_102_444_800 * 10**9
"""2100-01-01."""
_MOST_ROWS: Final = 65_536
_MOST_SYMBOLS: Final = 10_000
_MOST_SYMBOL_BYTES: Final = 64
_NUMBER: Final = re.compile(r"-?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_KINDS: Final = {
    "bookTicker": scan.TICKER,
    "trade": scan.TRADE,
    "aggTrade": scan.AGGREGATE,
    "depthUpdate": scan.DEPTH,
}

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Messages:
    """Messages of one batch in the order of the file, one row each; see `binance_scan` for the columns.

    Attributes
    ----------
    whole : (n, WHOLE_COLUMNS) int64
    real : (n, 4) float64
    price, quantity : (m,) float64
        Levels of the depth messages and snapshots.
    symbol : (n,) int64
        Place in the reader's `symbols`; -1 for messages that name none.
    exchange_ns, local_ns : (n,) int64
        Transaction time (event time where there is none; -1 where there is neither), receiver's time.
    line : (n,) int64
        Number of the line in its file, from 1.
    """

    whole: Ints
    real: Floats
    price: Floats
    quantity: Floats
    symbol: Ints
    exchange_ns: Ints
    local_ns: Ints
    line: Ints

    @property
    def kind(self) -> Ints:
        """(n,) kinds of `binance_scan`."""
        return np.asarray(self.whole[:, scan.KIND])


@dataclass(slots=True)
class MessageReader:
    """Reads captures; `symbols` grows as they are met, in order."""

    symbols: dict[str, int] = field(default_factory=dict)
    _slot: Ints = field(default_factory=lambda: np.zeros((128, 3), dtype=np.int64))

    def read(self, path: Path, *, most: int | None = None) -> Iterator[Messages]:
        """The messages of one file.

        Raises
        ------
        DataError
            When the file cannot be read, or a line is no message: file, line and what to do.
        """
        whole = np.empty((_MOST_ROWS, scan.WHOLE_COLUMNS), dtype=np.int64)
        real = np.empty((_MOST_ROWS, 4))
        for block in line_blocks(path, most=most):
            levels = np.empty((2, block.text.size // 10 + 1))
            at, line = 0, block.first_line
            while at < block.text.size:
                rows, used, at = scan.scan_lines(
                    block.text, at, block.text.size, self._slot, whole, real, levels[0], levels[1]
                )
                yield self._messages(path.name, block, whole[:rows].copy(), real[:rows].copy(), levels[:, :used], line)
                line += rows

    def _messages(
        self, name: str, block: LineBlock, whole: Ints, real: Floats, levels: Floats, first_line: int
    ) -> Messages:
        symbol = self._symbols(name, block, whole, first_line)
        unread = np.flatnonzero(whole[:, scan.KIND] == scan.UNREAD)
        more: list[tuple[float, float]] = []
        for row in unread.tolist():
            text = block.text[whole[row, scan.LINE] : whole[row, scan.LINE_END]].tobytes()
            place = f"{name}, line {first_line + row}"
            found = _parse(text, place, whole[row], real[row], more, levels.shape[1])
            symbol[row] = -1 if found is None else self._code(found, place)
        price, quantity = levels
        if more:
            added = np.array(more)
            price, quantity = np.concatenate([price, added[:, 0]]), np.concatenate([quantity, added[:, 1]])
        line = first_line + np.arange(whole.shape[0])
        trade_time, event_time = whole[:, scan.TRADE_TIME], whole[:, scan.EVENT_TIME]
        exchange = nanoseconds(np.where(trade_time >= 0, trade_time, event_time), name, line)
        return Messages(
            whole,
            real,
            np.array(price),
            np.array(quantity),
            symbol,
            np.where(whole[:, scan.KIND] == scan.OTHER, -1, exchange),
            nanoseconds(whole[:, scan.LOCAL], name, line),
            line,
        )

    def _symbols(self, name: str, block: LineBlock, whole: Ints, first_line: int) -> Ints:
        """(n,) codes of the symbols that the scanner found."""
        symbol = np.full(whole.shape[0], -1, dtype=np.int64)
        rows = np.flatnonzero((whole[:, scan.KIND] != scan.UNREAD) & (whole[:, scan.SYMBOL] >= 0))
        if not rows.size:
            return symbol
        start, size = whole[rows, scan.SYMBOL], whole[rows, scan.SYMBOL_SIZE]
        width = int(size.max())
        if width > _MOST_SYMBOL_BYTES:
            line = first_line + int(rows[int(np.argmax(size))])
            raise DataError(f"{name}, line {line} has a symbol of {width} bytes: this is no capture of market streams")
        offset = np.arange(max(width, 1))
        letters = block.text[np.minimum(start[:, None] + offset, block.text.size - 1)]
        letters[offset >= size[:, None]] = 0
        if (letters == letters[0]).all():
            symbol[rows] = self._code(letters[0].tobytes().rstrip(b"\0").decode("ascii"), f"{name}, line {first_line}")
            return symbol
        names, inverse = np.unique(letters.reshape(rows.size, -1).view(f"S{letters.shape[1]}"), return_inverse=True)
        codes = [self._code(word.decode("ascii"), f"{name}, line {first_line}") for word in names.ravel().tolist()]
        symbol[rows] = np.array(codes, dtype=np.int64)[inverse.ravel()]
        return symbol

    def _code(self, symbol: str, place: str) -> int:
        if not symbol or len(symbol.encode()) > _MOST_SYMBOL_BYTES or not symbol.isprintable():
            raise DataError(f"{place} has the symbol {symbol[:40]!r}: this is no capture of market streams")
        if symbol not in self.symbols and len(self.symbols) == _MOST_SYMBOLS:
            raise DataError(f"{place}: the capture has more than {_MOST_SYMBOLS:,} symbols: split it")
        return self.symbols.setdefault(symbol, len(self.symbols))


def nanoseconds(times: Ints, name: str, line: Ints) -> Ints:
    """Times in ms, µs or ns since 1970 as ns, the unit told by the magnitude; what is below zero stays as it is.

    Raises
    ------
    DataError
        For a time outside of 2009 to 2099 in every unit.
    """
    scale = np.where(times < 10**14, 10**6, np.where(times < 10**17, 1000, 1))
    # 10^14 ms is the year 5138 and 10^14 µs 1973; 10^17 µs is 5138 and 10^17 ns 1973: no year is read in two ways
    scaled = np.where(times < 0, -1, times * scale)
    wrong = (times >= 0) & ((scaled < FIRST_NS) | (scaled >= LAST_NS))
    if wrong.any():
        at = int(np.argmax(wrong))
        raise DataError(
            f"{name}, line {line[at]} has the time {times[at]}, which is in no unit a time between 2009 and 2099: the "
            "file is damaged or of another format; fetch it again"
        )
    return np.asarray(scaled)


def _parse(
    text: bytes, place: str, whole: Ints, real: Floats, more: list[tuple[float, float]], levels_before: int
) -> str | None:
    """Fill one message's columns by a JSON parser: the symbol that it names."""
    import orjson

    whole[: scan.LINE] = -1
    whole[scan.FLAGS], whole[scan.KIND] = 0, scan.OTHER
    try:
        local, content = text.split(b" ", 1)
        if not local.isdigit() or len(local) > 19 or int(local) >= LAST_NS:
            raise ValueError("local time")
        whole[scan.LOCAL] = int(local)
        message = orjson.loads(content)
        inner = message.get("data")
        if not isinstance(inner, dict) and "data" in message and "e" not in message:
            raise TypeError("data")
        return _fill(inner if isinstance(inner, dict) else message, place, whole, real, more, levels_before)
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        what = f"has no {error}" if isinstance(error, KeyError) else "is not a time and a whole message"
        shown = text[:60].decode("ascii", "replace")
        raise DataError(
            f"{place} {what} (starts {shown!r}): the capture is cut or of another format; remove what follows the last "
            "whole line, or record it again"
        ) from error


def _fill(
    data: dict[str, Any], place: str, whole: Ints, real: Floats, more: list[tuple[float, float]], levels_before: int
) -> str | None:
    kind = _KINDS.get(data.get("e", ""), scan.OTHER) if data.get("e") is not None else _unnamed_kind(data)
    whole[scan.KIND] = kind
    if kind == scan.OTHER:
        return None
    whole[scan.EVENT_TIME], whole[scan.TRADE_TIME] = _count(data, "E", absent=True), _count(data, "T", absent=True)
    if kind in (scan.SNAPSHOT, scan.DEPTH):
        if kind == scan.SNAPSHOT:
            whole[scan.LAST] = _count(data, "lastUpdateId")
        else:
            whole[scan.FIRST], whole[scan.LAST] = _count(data, "U"), _count(data, "u")
            whole[scan.PREVIOUS] = _count(data, "pu", absent=True)
            whole[scan.EVENT_TIME] = _count(data, "E")
            whole[scan.FLAGS] = scan.FUTURES if whole[scan.PREVIOUS] >= 0 else 0
        sides = ("bids", "asks") if kind == scan.SNAPSHOT else ("b", "a")
        for key, first, size in zip(sides, (scan.BIDS, scan.ASKS), (scan.BID_LEVELS, scan.ASK_LEVELS), strict=True):
            rows = data[key]
            whole[first], whole[size] = levels_before + len(more), len(rows)
            more += [(_amount(row[0], "price", place), _amount(row[1], "quantity", place)) for row in rows]
    elif kind == scan.TICKER:
        whole[scan.LAST] = _count(data, "u")
        whole[scan.FLAGS] = scan.FUTURES if whole[scan.TRADE_TIME] >= 0 else 0
        named = (("b", "bid"), ("B", "bid quantity"), ("a", "ask"), ("A", "ask quantity"))
        real[:] = [_amount(data[key], what, place) for key, what in named]
    else:
        whole[scan.FIRST] = _count(data, "t" if kind == scan.TRADE else "a")
        whole[scan.TRADE_TIME] = _count(data, "T")
        real[0], real[1] = _amount(data["p"], "price", place), _amount(data["q"], "quantity", place)
        if not isinstance(data["m"], bool):
            raise TypeError("m")
        off = scan.OFF_MARKET if data.get("X", "MARKET") != "MARKET" else 0
        whole[scan.FLAGS] = data["m"] * scan.BUYER_MADE | off | (0 if "M" in data else scan.FUTURES)
    if kind == scan.SNAPSHOT:
        named_symbol = data.get("s")
        return named_symbol if isinstance(named_symbol, str) else None
    if not isinstance(data["s"], str):
        raise TypeError("s")
    return data["s"]


def _unnamed_kind(data: dict[str, Any]) -> int:
    """Kind of a message without an event name: a REST snapshot, or the ticker of spot."""
    if "lastUpdateId" in data:
        return scan.SNAPSHOT
    return scan.TICKER if "u" in data and "b" in data else scan.OTHER


def _count(data: dict[str, Any], key: str, *, absent: bool = False) -> int:
    """A whole number that is not negative; -1 where it may be absent and is."""
    value = data.get(key) if absent else data[key]
    if value is None and absent:
        return -1
    if type(value) is not int or not 0 <= value < 10**18:
        raise TypeError(key)
    return value


def _amount(value: Any, what: str, place: str) -> float:
    if isinstance(value, str):
        if not _NUMBER.fullmatch(value) and value.lower().strip("+-") not in ("nan", "inf", "infinity"):
            raise DataError(f"{place}: a {what} is no number ({value[:40]!r}): record the capture again")
    elif type(value) not in (int, float):
        raise TypeError(what)
    number = float(value)
    if not 0.0 <= number < float("inf"):
        shown = repr(value[:40]) if isinstance(value, str) else value
        raise DataError(f"{place}: a {what} must be finite and not negative; was {shown}: record the capture again")
    return number
