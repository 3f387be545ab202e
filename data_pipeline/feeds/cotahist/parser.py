"""B3's COTAHIST file as typed columns, block by block.

    bytes -> stride (CRLF, LF or none) -> header 00 -> blocks of quotes 01 -> trailer 99 with the record count

Works on bytes (one byte is one column), never decodes the file, keeps every quote record whatever its market or BDI
code, and sorts nothing: the file's own order is not by date.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from data_pipeline.errors import DataError
from data_pipeline.feeds.cotahist import kernels
from data_pipeline.feeds.cotahist.faults import explain_record, read_date, shown
from data_pipeline.raw_file import RawFile, open_raw
from data_pipeline.schema import QUOTE_SCHEMA, RECORD_WIDTH

BLOCK_ROWS = 8_192
"""Records parsed at a time: 2 MB of text and 3 MB of columns, about what a processor's cache holds."""

MOST_MONTHS = 600
"""Months of one file: any concatenation of B3's own has fewer, and each costs a reader an open file and a partition."""

RULES = ("expiry 99991231 is none", "bid 0 is none", "ask 0 is none")
"""Names of the parser's counted rules."""

_FOREVER = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Header:
    """What record 00 says: the file's name in the exchange's words and the day it was made (DATGER)."""

    name: str
    generated: np.datetime64


@dataclass(frozen=True, slots=True)
class Block:
    """Consecutive quote records of one file.

    Attributes
    ----------
    first_line : int
        Line (1-based) of the first record.
    batch : pyarrow.RecordBatch
        Columns of `schema.QUOTE_SCHEMA`, n rows.
    month : (n,) int32
        12 * year + month - 1 of the session.
    reason : (n,) uint8
        Quarantine code (`schema.REASONS`), 0 for a good row.
    rule_counts : mapping
        How often each rule of `RULES` acted.
    """

    first_line: int
    batch: pa.RecordBatch
    month: NDArray[np.int32]
    reason: NDArray[np.uint8]
    rule_counts: Mapping[str, int]


def read_header(path: Path | str) -> Header:
    """Header of a COTAHIST file.

    Raises
    ------
    DataError
        When the file cannot be such a file (see `iter_blocks`).
    """
    with open_raw(Path(path)) as raw:
        start = bytearray(1024)
        count = raw.fill(memoryview(start))
        stride = _stride(bytes(start[:count]), raw.name)
        return _header(bytes(start[:stride]), raw.name)


def iter_blocks(path: Path | str, block_rows: int = BLOCK_ROWS) -> Iterator[Block]:
    """Blocks of the quote records of a COTAHIST file, zipped or plain, in file order and bounded memory.

    A row that parses but cannot be true keeps its place and carries a quarantine code.

    Raises
    ------
    ValueError
        When `block_rows` is not positive.
    DataError
        With file, line, columns and field: a damaged or foreign file, a record of another length, a byte out of
        place, an impossible date; or a missing header or trailer, or a trailer whose count is not the number of
        records, which is known only after the last block: use no block before the iteration has ended.
    """
    if block_rows < 1:
        raise ValueError(f"block_rows must be positive; was {block_rows}")
    with open_raw(Path(path)) as raw:
        yield from _blocks(raw, block_rows)


def read_cotahist(path: Path | str) -> pa.Table:
    """Every quote record of a COTAHIST file as one table of `schema.QUOTE_SCHEMA`, in file order.

    Holds the whole file in memory (about 200 bytes a row) and includes rows that an ingest would quarantine.

    Raises
    ------
    DataError
        See `iter_blocks`.
    """
    return pa.Table.from_batches([block.batch for block in iter_blocks(path)], schema=QUOTE_SCHEMA)


def parse_records(raw: bytes, name: str = "records") -> pa.Table:
    """Quote records without header and trailer, as a table of `schema.QUOTE_SCHEMA`.

    Raises
    ------
    DataError
        With line, columns and field when a record is not a well-formed quote record.
    """
    stride = _stride(raw, name)
    rows, rest = divmod(len(raw), stride)
    buffer = bytearray(raw)
    if rest == RECORD_WIDTH:
        buffer += b"\r\n"[RECORD_WIDTH - stride :]
        rows, rest = rows + 1, 0
    array = np.frombuffer(buffer, dtype=np.uint8)
    block, parsed = _parse(array, stride, rows, _FOREVER, first_line=1)
    if parsed < rows or rest:
        raise DataError(explain_record(bytes(buffer[parsed * stride :]), parsed + 1, name, stride))
    return pa.Table.from_batches([block.batch])


def _blocks(raw: RawFile, block_rows: int) -> Iterator[Block]:
    start = bytearray(1024)
    count = raw.fill(memoryview(start))
    stride = _stride(bytes(start[:count]), raw.name)
    header = _header(bytes(start[:stride]), raw.name)
    generated = int(header.generated.astype(np.int64))

    buffer = bytearray(stride * block_rows + 2)
    view = memoryview(buffer)
    array = np.frombuffer(buffer, dtype=np.uint8)
    carried = bytes(start[stride:count])
    line = 2
    months: set[int] = set()
    while True:
        filled, carried = _refill(raw, view[: stride * block_rows], carried)
        rows, rest = divmod(filled, stride)
        if rest == RECORD_WIDTH:
            # the last record of a file may lack its line end
            buffer[filled : filled + stride - rest] = b"\r\n"[RECORD_WIDTH - stride :]
            rows, rest = rows + 1, 0
        block, parsed = _parse(array, stride, rows, generated, line)
        months.update(np.unique(block.month).tolist())
        if len(months) > MOST_MONTHS:
            raise DataError(
                f"{raw.name} line {line + parsed - 1}: sessions of more than {MOST_MONTHS} months, where a file has "
                "those of a year at most: it is damaged or was put together from others"
            )
        if parsed:
            yield block
        line += parsed
        if parsed < rows:
            record = bytes(buffer[parsed * stride : max(filled, rows * stride)])
            if not record.startswith(b"99"):
                raise DataError(explain_record(record, line, raw.name, stride))
            if parsed + 1 < rows or rest or carried or raw.fill(memoryview(bytearray(1))):
                raise DataError(f"{raw.name} line {line + 1}: bytes follow the trailer (99): two files in one?")
            _check_trailer(record[:RECORD_WIDTH], line, raw.name)
            return
        if rest:
            raise DataError(explain_record(bytes(buffer[rows * stride : filled]), line, raw.name, stride))
        if filled < stride * block_rows:
            raise DataError(
                f"{raw.name} ends after line {line - 1} without a trailer (99): it is truncated; download it again"
            )


def _refill(raw: RawFile, view: memoryview, carried: bytes) -> tuple[int, bytes]:
    """Fill `view` with what was read ahead, then with the stream; gives the bytes filled and those left over."""
    ahead = min(len(carried), len(view))
    view[:ahead] = carried[:ahead]
    return ahead + raw.fill(view[ahead:]), carried[ahead:]


def _parse(array: NDArray[np.uint8], stride: int, rows: int, generated: int, first_line: int) -> tuple[Block, int]:
    fields = len(kernels.NUMBER_COLUMNS)
    texts = len(kernels.TEXT_COLUMNS)
    numbers = np.empty((fields, rows), dtype=np.int64)
    forward_days = np.empty(rows, dtype=np.int16)
    session, expiry, month = (np.empty(rows, dtype=np.int32) for _ in range(3))
    reason = np.empty(rows, dtype=np.uint8)
    offsets = np.zeros((texts, rows + 1), dtype=np.int32)
    text = np.empty((texts, rows * kernels.TEXT_CAPACITY), dtype=np.uint8)
    counts = np.zeros(len(RULES), dtype=np.int64)
    parsed = kernels.parse_block(
        array,
        # overlapping words of eight bytes, one from each byte on
        np.ndarray(max(array.size - 7, 0), dtype="<u8", buffer=array, strides=(1,)),
        stride,
        rows,
        generated,
        numbers,
        forward_days,
        session,
        expiry,
        month,
        reason,
        offsets,
        text,
        counts,
    )
    columns: dict[str, Any] = {
        "session": pa.array(session[:parsed]).view(pa.date32()),
        "forward_days": pa.array(forward_days[:parsed], mask=forward_days[:parsed] < 0),
        "expiry": pa.array(expiry[:parsed], mask=expiry[:parsed] == kernels.NO_DATE).view(pa.date32()),
    }
    for name, values in zip(kernels.NUMBER_COLUMNS, numbers[:, :parsed], strict=True):
        # 0 is B3's mark of an empty side of the book
        mask = values == 0 if name in ("bid_cents", "ask_cents") else None
        columns[name] = pa.array(values.astype(QUOTE_SCHEMA.field(name).type.to_pandas_dtype(), copy=False), mask=mask)
    for k, name in enumerate(kernels.TEXT_COLUMNS):
        used = text[k, : offsets[k, parsed]].copy()
        columns[name] = pa.StringArray.from_buffers(parsed, pa.py_buffer(offsets[k, : parsed + 1]), pa.py_buffer(used))
    batch = pa.RecordBatch.from_arrays([columns[name] for name in QUOTE_SCHEMA.names], schema=QUOTE_SCHEMA)
    rules = {rule: int(count) for rule, count in zip(RULES, counts, strict=True)}
    return Block(first_line, batch, month[:parsed], reason[:parsed], rules), int(parsed)


def _stride(start: bytes, name: str) -> int:
    """Bytes from one record to the next: 247 (CRLF), 246 (LF) or 245 (no line ends)."""
    if b"\0\0\0\0" in (start[:8:2], start[1:8:2]):
        raise DataError(
            f"{name} has a zero at every other byte: it was re-saved as UTF-16; use the file as the exchange gave it"
        )
    end = start.find(b"\n")
    if end == RECORD_WIDTH + 1 and start[RECORD_WIDTH : RECORD_WIDTH + 1] == b"\r":
        return RECORD_WIDTH + 2
    if end == RECORD_WIDTH:
        return RECORD_WIDTH + 1
    if end < 0 and len(start) >= RECORD_WIDTH:
        return RECORD_WIDTH
    raise DataError(explain_record(start, 1, name, RECORD_WIDTH + 2))


def _header(record: bytes, name: str) -> Header:
    if not record.startswith(b"00COTAHIST"):
        raise DataError(
            f"{name} line 1: must be the header (00COTAHIST...); was {shown(record[:31])}: "
            "not a COTAHIST file, or its first records are missing"
        )
    generated = read_date(record[23:31])
    if generated is None:
        raise DataError(f"{name} line 1, columns 24-31 (DATGER): must be a date AAAAMMDD; was {shown(record[23:31])}")
    return Header(record[2:15].decode("latin-1").rstrip(), generated)


def _check_trailer(record: bytes, line: int, name: str) -> None:
    count = record[31:42]
    if not count.isdigit():
        raise DataError(f"{name} line {line}, columns 32-42 (TOTREG): must be digits; was {shown(count)}")
    if int(count) != line:
        raise DataError(
            f"{name} line {line}: the trailer says {int(count):,} records, the file has {line:,}: "
            "it is truncated or was edited; download it again"
        )
