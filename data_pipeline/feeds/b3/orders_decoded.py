"""B3's order events decoded to CSV (comma, words for codes, PriorityTime local, OrderDatetime in UTC) to rows."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.csv as pc
from numpy.typing import NDArray

from data_pipeline.errors import DataError
from data_pipeline.feeds.b3 import orders_rows as orders
from data_pipeline.raw_file import open_raw

NEEDED: Final = (
    "SessionDate",
    "InstrumentSymbol",
    "OrderSide",
    "SequentialOrderNumber",
    "SecondaryOrderID",
    "ExecutionType",
    "PriorityTime",
    "OrderPrice",
    "TotalQuantity",
    "TradedQuantity",
    "OrderDatetime",
    "AggressorIndicator",
)
_OPTIONAL: Final = ("OrderStatus", "Member")
_OTHER_SPELLING: Final = {"AgressorIndicator": "AggressorIndicator"}
_KINDS: Final = {
    "New": orders.NEW,
    "Update": orders.UPDATE,
    "Cancel": orders.CANCEL,
    "Trade": orders.TRADE,
    "Reentry": orders.REENTRY,
    "NewStopPrice": orders.NEW_STOP_PRICE,
    "Rejected": orders.REJECTED,
    "Removed": orders.REMOVED,
    "StopTriggered": orders.STOP_TRIGGERED,
    "Expired": orders.EXPIRED,
    "Eliminated": orders.ELIMINATED,
}
_SIDES: Final = {"Buy": 1, "Sell": -1}
_DATE: Final = re.compile(r"^\d{4}-\d{2}-\d{2}([ T]\d{2}:\d{2}:\d{2})?$", re.ASCII)
_TIME: Final = re.compile(r"^([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d{1,6})?$", re.ASCII)
_LONGEST_SYMBOL: Final = 50
_MOST_COLUMNS: Final = 64
_MOST_BYTES: Final = 1 << 29
"""Some three million events: what is decoded is one instrument's day or a few."""
_BLOCK_BYTES: Final = 1 << 24
_MOST_MEMBER: Final = 2.0**31
_NO_NANOSECONDS: Final = np.datetime64("2262", "s")
"""From then on nanoseconds since 1970 do not fit 64 bits."""

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]


def header_names(line: bytes) -> list[str]:
    """Column names of a first line, in one spelling."""
    return [_OTHER_SPELLING.get(cell, cell) for cell in line.strip().decode("ascii", "replace").split(",")]


def read_decoded(path: Path) -> tuple[orders.Rows, list[str]]:
    """The events of a decoded order file in the file's order, and the instruments that `symbol` numbers.

    Raises
    ------
    DataError
        When the file is missing, empty, cut, not decoded, lacks a column, or holds text for numbers.
    """
    table, name = _table(path), path.name
    rows = np.zeros(table.num_rows, dtype=orders.ROW)
    symbols = table["InstrumentSymbol"].combine_chunks().dictionary_encode()
    texts: list[str] = symbols.dictionary.to_pylist()
    bad = np.array([not 0 < len(text) <= _LONGEST_SYMBOL or not text.isprintable() for text in texts])
    rows["symbol"] = symbols.indices.to_numpy(zero_copy_only=False)
    _refuse(table, "InstrumentSymbol", bad[rows["symbol"]], name, f"1 to {_LONGEST_SYMBOL} printable characters")
    rows["session"] = _moments(table, "SessionDate", name).astype("datetime64[D]").astype(np.int64)
    rows["secondary"] = _whole(table, "SecondaryOrderID", name)
    rows["order"] = _whole(table, "SequentialOrderNumber", name)
    rows["kind"] = _coded(table, "ExecutionType", _KINDS, name)
    rows["side"] = _coded(table, "OrderSide", _SIDES, name)
    rows["price"] = _number(table, "OrderPrice", name)
    rows["total"] = _number(table, "TotalQuantity", name)
    rows["traded"] = _number(table, "TradedQuantity", name)
    aggressor = _whole(table, "AggressorIndicator", name)
    _refuse(table, "AggressorIndicator", aggressor > 2, name, "0, 1 or 2")
    rows["aggressor"] = aggressor
    rows["time_us"] = _local_microseconds(table, name)
    rows["moment_us"] = _moments(table, "OrderDatetime", name).astype("datetime64[us]").astype(np.int64)
    rows["line"] = np.arange(len(rows))
    rows["member"] = _members(table, name)
    if "OrderStatus" in table.column_names:
        codes = {word: code for code, word in orders.STATUS_WORDS.items()}
        rows["status"] = [codes.get(text, orders.NO_STATUS) for text in table["OrderStatus"].to_pylist()]
    return rows, texts


def _table(path: Path) -> pa.Table:
    """The needed columns as text, found by name."""
    with open_raw(path) as raw:
        content = raw.whole(_MOST_BYTES)
    header = header_names(content[: content.find(b"\n")] if b"\n" in content else content)
    missing = [column for column in NEEDED if column not in header]
    if missing:
        raise DataError(
            f"{path.name}, line 1 lacks the column(s) {', '.join(missing[:4])}: give the OFER file decoded to CSV "
            "with its header"
        )
    if len(header) > _MOST_COLUMNS:
        raise DataError(f"{path.name}, line 1 names {len(header):,} columns, more than {_MOST_COLUMNS}: it is damaged")
    if len(set(header)) < len(header):
        raise DataError(f"{path.name}, line 1 names a column twice: decode the file again")
    try:
        table = pc.read_csv(
            io.BytesIO(content),
            read_options=pc.ReadOptions(column_names=header, skip_rows=1, use_threads=False, block_size=_BLOCK_BYTES),
            convert_options=pc.ConvertOptions(
                column_types={column: pa.string() for column in header},
                include_columns=[*NEEDED, *(column for column in _OPTIONAL if column in header)],
                null_values=[],
            ),
        )
    except pa.ArrowInvalid as error:
        raise DataError(f"{path.name}: {_words(str(error))}") from error
    if table.num_rows == 0:
        raise DataError(f"{path.name} has no events: fetch it again")
    return table.append_column("line", pa.array(np.arange(2, table.num_rows + 2)))


def _words(error: str) -> str:
    row = re.search(r"[Rr]ow #(\d+)", error)
    counts = re.search(r"Expected (\d+) columns, got (\d+)", error)
    place = f"line {int(row.group(1))}: " if row else ""
    if "straddl" in error:
        return f"a line is longer than {_BLOCK_BYTES >> 20} MiB: it is no file of orders"
    if counts:
        return f"{place}must have {counts.group(1)} columns; it has {counts.group(2)}: the file is cut or damaged"
    return place + error.splitlines()[0][:160]


def _refuse(table: pa.Table, column: str, bad: Flags, name: str, rule: str) -> None:
    if bad.any():
        at = int(np.argmax(bad))
        raise DataError(
            f"{name}, line {table['line'][at].as_py()}: {column} must be {rule}; was {table[column][at].as_py()!r}: "
            "fetch the file again"
        )


def _number(table: pa.Table, column: str, name: str) -> Floats:
    try:
        values = np.asarray(table[column].cast(pa.float64()).to_numpy(), dtype=np.float64)
    except pa.ArrowInvalid:
        values = np.array([_float(text) for text in table[column].to_pylist()])
    _refuse(table, column, ~(np.isfinite(values) & (values >= 0)), name, "a number, not negative")
    return values


def _float(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")


def _whole(table: pa.Table, column: str, name: str) -> Ints:
    values = _number(table, column, name)
    _refuse(table, column, (values != np.rint(values)) | (values >= 2.0**53), name, "a whole number")
    return values.astype(np.int64)


def _members(table: pa.Table, name: str) -> Ints:
    """Members, -1 where the column is absent or empty."""
    if "Member" not in table.column_names:
        return np.full(table.num_rows, -1, dtype=np.int64)
    empty = pa.compute.equal(table["Member"], "").to_numpy()
    filled = table.set_column(
        table.column_names.index("Member"), "Member", pa.compute.if_else(pa.array(empty), "0", table["Member"])
    )
    values = _whole(filled, "Member", name)
    _refuse(table, "Member", values >= _MOST_MEMBER, name, "below 2^31")
    return np.where(empty, -1, values)


def _coded(table: pa.Table, column: str, codes: dict[str, int], name: str) -> Ints:
    found = pa.compute.index_in(table[column], pa.array(list(codes))).to_numpy(zero_copy_only=False)
    unknown = np.isnan(found.astype(np.float64))
    _refuse(table, column, unknown, name, f"one of {', '.join(codes)}")
    return np.asarray(np.array(list(codes.values()), dtype=np.int64)[found.astype(np.int64)])


def _local_microseconds(table: pa.Table, name: str) -> Ints:
    texts = table["PriorityTime"].to_pylist()
    bad = np.array([_TIME.match(text) is None for text in texts])
    _refuse(table, "PriorityTime", bad, name, "a time like 11:00:17.055")
    return np.array([_microseconds(text) for text in texts], dtype=np.int64)


def _microseconds(text: str) -> int:
    whole, _, part = text.partition(".")
    hours, minutes, seconds = whole.split(":")
    return 1_000_000 * (3600 * int(hours) + 60 * int(minutes) + int(seconds)) + int(part.ljust(6, "0"))


def _moments(table: pa.Table, column: str, name: str) -> NDArray[Any]:
    texts = table[column].to_pylist()
    known = {text: _moment(text[:19]) for text in set(texts)}
    moments = np.array([known[text] for text in texts], dtype="datetime64[s]")
    bad = np.isnat(moments) | (moments < np.datetime64(0, "s")) | (moments >= _NO_NANOSECONDS)
    _refuse(table, column, bad, name, "a date or time like 2015-11-03 13:00:17, from 1970 to 2261")
    return moments


def _moment(text: str) -> np.datetime64:
    if not _DATE.match(text):
        return np.datetime64("NaT", "s")
    try:
        return np.datetime64(text.replace(" ", "T"), "s")
    except ValueError:
        return np.datetime64("NaT", "s")
