"""LOBSTER: a message file and an order-book file of one NASDAQ day, of any number of levels, to an `IntradayRecord`.

Format (LOBSTER, "Data structure"): message rows are time (s after midnight, New York), type, order id, size, price
(USD x 10,000), direction; row k of the order book is the book after message k, ask price, ask size, bid price, bid size
for each level; an empty level has the price 9999999999 (ask) or -9999999999 (bid). The direction is that of the resting
order: an execution of a sell order was started by a buyer, so the aggressor's side is minus the direction.
"""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.csv as pc
from numpy.typing import NDArray

from data_pipeline.book.kernels import first_row_beyond
from data_pipeline.book.record import (
    FILLED,
    WITHDRAWN,
    WORKING,
    IntradayRecord,
    OrderLives,
    QuotePath,
    TradeTape,
    empty_side_gaps,
    merge_gaps,
    refuse_empty,
    whole_file,
)
from data_pipeline.errors import DataError

PRICE_SCALE: Final = 10_000.0
EMPTY_ASK: Final = 9_999_999_999
EMPTY_BID: Final = -9_999_999_999
NEW, PARTIAL_CANCEL, DELETE, EXECUTION, HIDDEN, CROSS, HALT = 1, 2, 3, 4, 5, 6, 7
TRADING_RESUMES: Final = 1
_KINDS: Final = {
    NEW: "new",
    PARTIAL_CANCEL: "partial_cancel",
    DELETE: "delete",
    EXECUTION: "execution",
    HIDDEN: "hidden_execution",
    CROSS: "cross_trade",
    HALT: "halt_message",
}
_FULL_DECIMALS: Final = 9
_DAY_SECONDS: Final = 86_400.0
_NAME: Final = re.compile(
    r"^(?P<ticker>.+)_(?P<day>\d{4}-\d{2}-\d{2})_(?P<start>\d+)_(?P<end>\d+)_(?P<kind>\w+?)_\d+\."
)

Ints = NDArray[np.int64]


def read_lobster(message: Path, orderbook: Path) -> IntradayRecord:
    """The day in a LOBSTER pair; files may lie plain or each alone in a zip.

    Raises
    ------
    DataError
        When a file is missing, empty, cut, in another encoding, of another shape, holds text or NaN, runs backwards in
        time, or the two files do not belong together.
    """
    times, fields, message_note, message_hash = _message(message)
    levels, book_note, book_hash = _book(orderbook)
    if len(times) != len(levels):
        raise DataError(
            f"{message.name} has {len(times):,} messages and {orderbook.name} {len(levels):,} rows of the book: they "
            "must have the same number; one of them is cut or of another day: fetch both again"
        )
    kind, order, size, price, direction = fields.T
    _check_messages(message.name, message_note.first_line, times, kind, size, price, direction)
    _check_pair(message.name, orderbook.name, kind, price, direction, levels)
    counts = {"messages": len(times)} | {words: int((kind == k).sum()) for k, words in _KINDS.items()}
    quotes = _quotes(times, levels, counts)
    refuse_empty(quotes, orderbook.name)
    trades = _trades(times, kind, size, price, direction)
    lives, unknown, lost = _lives(times, kind, order, size, price, direction, levels)
    counts["orders_seen_without_their_entry"] = unknown
    counts["orders_followed_until_out_of_view"] = lost
    halts = _halts(times, kind, price)
    counts["halts"] = len(halts)
    last = float(times[-1])
    gaps = merge_gaps(halts, empty_side_gaps(quotes, last))
    ticker, day = _identity(message, orderbook)
    notes = [*message_note.words(message.name, times), *book_note.words(orderbook.name, None)]
    if unknown or lost:
        notes.append(
            f"a file of {levels.shape[1] // 4} level(s) only shows what touches those levels: {unknown:,} orders "
            f"appear without their entry, {lost:,} are followed until they fall behind what is shown."
        )
    return IntradayRecord(
        feed="LOBSTER",
        instrument=ticker,
        day=day,
        clock="New York",
        quotes=quotes,
        trades=trades,
        orders=lives,
        start=float(times[0]),
        end=last,
        gaps=gaps,
        counts=counts,
        notes=tuple(notes),
        files={message.name: message_hash, orderbook.name: book_hash},
    )


class _Layout:
    """What was odd about a file's layout: a header row that LOBSTER does not write."""

    def __init__(self, header: bool) -> None:
        self.header = header
        self.first_line = 2 if header else 1

    def words(self, name: str, times: NDArray[np.float64] | None) -> list[str]:
        odd = ["header row"] if self.header else []
        if times is not None and (decimals := _decimals(times)) < _FULL_DECIMALS - 1:
            odd.append(f"times cut to {decimals} decimals")
        return [f"{name}: re-saved copy: {', '.join(odd)}."] if odd else []


def _message(path: Path) -> tuple[NDArray[np.float64], Ints, _Layout, str]:
    names = ("time", "type", "order id", "size", "price", "direction")
    table, layout, digest = _table(path, 6, (pa.float64(), *(pa.int64(),) * 5), names)
    columns = [column.to_numpy() for column in table.columns]
    times = np.asarray(columns[0], dtype=np.float64)
    if not np.isfinite(times).all():
        row = int(np.argmin(np.isfinite(times)))
        raise DataError(f"{path.name}, line {row + layout.first_line}: the time is not a number; fetch the file again")
    return times, np.column_stack(columns[1:]), layout, digest


def _book(path: Path) -> tuple[Ints, _Layout, str]:
    width = _first_line(path)[1].count(b",") + 1
    if width % 4:
        raise DataError(
            f"{path.name}, line 1: an order-book row has 4 columns per level; this has {width}: is it a message file?"
        )
    names = [f"{what} {level + 1}" for level in range(width // 4) for what in ("ask", "ask size", "bid", "bid size")]
    table, layout, digest = _table(path, width, (pa.int64(),) * width, names)
    return np.column_stack([column.to_numpy() for column in table.columns]), layout, digest


def _first_line(path: Path) -> tuple[bytes, bytes]:
    content = whole_file(path)
    return content, content[: content.find(b"\n")] if b"\n" in content else content


def _table(path: Path, width: int, types: Sequence[pa.DataType], names: Sequence[str]) -> tuple[pa.Table, _Layout, str]:
    """The file's columns in the types asked for, or a DataError that names the line."""
    content, first = _first_line(path)
    cells = first.strip().split(b",")
    if len(cells) != width:
        raise DataError(f"{path.name}, line 1: must have {width} columns; it has {len(cells)}: is this the right file?")
    layout = _Layout(header=any(re.search(rb"[A-Za-z]{2}", cell) and cell.lower() != b"nan" for cell in cells))
    columns = [str(k) for k in range(width)]
    try:
        table = pc.read_csv(
            io.BytesIO(content),
            read_options=pc.ReadOptions(
                column_names=columns, skip_rows=layout.first_line - 1, use_threads=False, block_size=1 << 24
            ),
            parse_options=pc.ParseOptions(quote_char=False),
            convert_options=pc.ConvertOptions(
                column_types=dict(zip(columns, types, strict=True)), null_values=[], check_utf8=False
            ),
        )
    except pa.ArrowInvalid as error:
        raise DataError(_csv_words(path.name, str(error), names)) from error
    if table.num_rows == 0:
        raise DataError(f"{path.name} has no rows: fetch it again")
    return table, layout, hashlib.sha256(content).hexdigest()


def _csv_words(name: str, error: str, names: Sequence[str]) -> str:
    """The parser's complaint with the line and the column in words."""
    row = re.search(r"[Rr]ow #(\d+)", error)
    column = re.search(r"In CSV column #(\d+)", error)
    wrong = re.search(r"invalid value '(.*?)'", error)
    counts = re.search(r"Expected (\d+) columns, got (\d+)", error)
    place = f"{name}, line {row.group(1)}" if row else name
    if counts:
        return f"{place}: must have {counts.group(1)} columns; it has {counts.group(2)}: the file is cut or damaged"
    if column and wrong:
        return f"{place}: {names[int(column.group(1))]} must be a number; was {wrong.group(1)[:40]!r}: fetch it again"
    return f"{place}: {error.splitlines()[0][:160]}"


def _check_messages(
    name: str, first_line: int, times: NDArray[np.float64], kind: Ints, size: Ints, price: Ints, direction: Ints
) -> None:
    """Raise DataError at the first row that cannot be: time runs backwards, an unknown type, a size below one."""
    order_row = (kind >= NEW) & (kind <= EXECUTION)
    faults = (
        (np.r_[False, np.diff(times) < 0.0], "the time is before that of the row above", times),
        ((times < 0.0) | (times > _DAY_SECONDS), "the time must be seconds after midnight", times),
        ((kind < NEW) | (kind > HALT), "the type must be 1 to 7", kind),
        ((np.abs(direction) != 1), "the direction must be 1 or -1", direction),
        (order_row & (size < 1), "the size must be at least 1", size),
        ((kind != HALT) & (kind != CROSS) & (price <= 0), "the price must be positive", price),
    )
    for bad, rule, values in faults:
        if bad.any():
            row = int(np.argmax(bad))
            raise DataError(f"{name}, line {row + first_line}: {rule}; was {values[row]}: fetch the file again")


def _check_pair(message: str, orderbook: str, kind: Ints, price: Ints, direction: Ints, levels: Ints) -> None:
    """A new order stands in the book row beside it: fewer than nine in ten means that the files are of two days."""
    rows = np.flatnonzero(kind == NEW)
    if rows.size == 0:
        return
    asks, bids = levels[rows, 0::4], levels[rows, 2::4]
    own = np.where((direction[rows] == 1)[:, None], bids, asks)
    share = float((own == price[rows][:, None]).any(axis=1).mean())
    if share < 0.9:
        raise DataError(
            f"{message} and {orderbook} do not belong together: only {share:.0%} of the new orders stand in the book "
            "row beside them; give the two files of one download"
        )


def _quotes(times: NDArray[np.float64], levels: Ints, counts: dict[str, int]) -> QuotePath:
    """Best quotes after each message; dummy prices of an empty side, and crossed rows, are nan and counted."""
    ask, bid = levels[:, 0], levels[:, 2]
    no_ask, no_bid = (ask >= EMPTY_ASK) | (ask <= 0), (bid <= EMPTY_BID) | (bid <= 0)
    crossed = ~no_ask & ~no_bid & (bid >= ask)
    counts["dummy_prices_removed"] = int(no_ask.sum() + no_bid.sum())
    counts["crossed_rows_removed"] = int(crossed.sum())
    return QuotePath(
        times,
        np.where(no_bid | crossed, np.nan, bid / PRICE_SCALE),
        np.where(no_ask | crossed, np.nan, ask / PRICE_SCALE),
    )


def _trades(times: NDArray[np.float64], kind: Ints, size: Ints, price: Ints, direction: Ints) -> TradeTape:
    traded = (kind == EXECUTION) | (kind == HIDDEN) | ((kind == CROSS) & (price > 0))
    side = np.where(kind == CROSS, 0, -direction)
    return TradeTape(
        times[traded],
        price[traded] / PRICE_SCALE,
        size[traded].astype(np.float64),
        side[traded].astype(np.int8),
        kind[traded] == HIDDEN,
    )


def _halts(times: NDArray[np.float64], kind: Ints, price: Ints) -> NDArray[np.float64]:
    """(g, 2) from a halt to the next message that trading resumes (quoting alone is no trading), or to the end."""
    rows = np.flatnonzero(kind == HALT)
    spans: list[tuple[float, float]] = []
    since: float | None = None
    for row in rows.tolist():
        if price[row] == TRADING_RESUMES:
            if since is not None:
                spans.append((since, float(times[row])))
            since = None
        elif since is None:
            since = float(times[row])
    if since is not None:
        spans.append((since, float(times[-1])))
    return np.array(spans, dtype=np.float64).reshape(-1, 2)


def _lives(
    times: NDArray[np.float64], kind: Ints, order: Ints, size: Ints, price: Ints, direction: Ints, levels: Ints
) -> tuple[OrderLives, int, int]:
    """Life of every order whose entry is in the file; orders whose entry is not; lives that end out of view.

    A life ends with the first fill or the deletion; a partial cancel leaves the order where it is. An order without an
    end is working as long as its price is among the levels shown: behind them its end would not be shown either.
    """
    rows = np.flatnonzero((kind >= NEW) & (kind <= EXECUTION) & (kind != PARTIAL_CANCEL))
    rows = rows[np.argsort(order[rows], kind="stable")]
    starts_order = np.diff(order[rows], prepend=order[rows[:1]] - 1) != 0
    is_entry = kind[rows] == NEW
    unknown = int((starts_order & ~is_entry).sum())
    first = np.flatnonzero(is_entry)
    entry = rows[first]
    following = np.minimum(first + 1, rows.size - 1)
    after = rows[following]
    ended = (following > first) & ~starts_order[following] & (kind[after] != NEW)
    hidden_from = np.full(entry.size, len(times), dtype=np.int64)
    first_row_beyond(entry, direction[entry], price[entry], levels[:, -2].copy(), levels[:, -4].copy(), hidden_from)
    lost = ~ended & (hidden_from < len(times))
    exit_row = np.where(ended, after, np.minimum(hidden_from, len(times) - 1))
    ending = np.where(ended, np.where(kind[after] == EXECUTION, FILLED, WITHDRAWN), WORKING)
    lives = OrderLives(
        times[entry],
        times[exit_row],
        price[entry] / PRICE_SCALE,
        size[entry].astype(np.float64),
        direction[entry].astype(np.int8),
        ending.astype(np.int8),
    )
    return lives, unknown, int(lost.sum())


def _decimals(times: NDArray[np.float64]) -> int:
    """Fewest decimals that hold every time of the file; float64 resolves nanoseconds of a day."""
    for decimals in range(_FULL_DECIMALS):
        scaled = times * 10.0**decimals
        # a double near 86,400 is right to 1.5e-11 s
        if np.all(np.abs(scaled - np.rint(scaled)) <= 2e-11 * 10.0**decimals):
            return decimals
    return _FULL_DECIMALS


def _identity(message: Path, orderbook: Path) -> tuple[str, str]:
    """Ticker and day from the file names, which LOBSTER writes; the two must agree."""
    found = [_NAME.match(path.name) for path in (message, orderbook)]
    named = [(match["ticker"], match["day"]) for match in found if match]
    if len(set(named)) > 1:
        raise DataError(f"{message.name} and {orderbook.name} are of different days or tickers: give one pair")
    return named[0] if named else (message.stem, "")
