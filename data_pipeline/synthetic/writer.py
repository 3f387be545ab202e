"""Quote records as a structured array, and the raw COTAHIST bytes that B3's layout makes of them.

Layout: B3, "Layout do arquivo - Cotações históricas" (245-byte records, implied decimals), with CRLF line ends as in
B3's own archives.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data_pipeline.synthetic import kernels

RECORD = np.dtype(
    [
        ("session", "<M8[D]"),
        ("bdi_code", "S2"),
        ("ticker", "S12"),
        ("market_type", "<i8"),
        ("short_name", "S12"),
        ("specification", "S10"),
        ("forward_days", "S3"),
        ("open_cents", "<i8"),
        ("high_cents", "<i8"),
        ("low_cents", "<i8"),
        ("average_cents", "<i8"),
        ("close_cents", "<i8"),
        ("bid_cents", "<i8"),
        ("ask_cents", "<i8"),
        ("trade_count", "<i8"),
        ("quantity", "<i8"),
        ("traded_value_cents", "<i8"),
        ("strike_cents", "<i8"),
        ("expiry", "<M8[D]"),
        ("quotation_factor", "<i8"),
        ("isin", "S12"),
        ("distribution", "<i8"),
    ]
)
"""One quote record; `trade_count` is the true one, `expiry` NaT where there is none."""

Records = NDArray[np.void]

TRADE_COUNT_MODULUS = 100_000
RECORD_LENGTH = 245
_STRIDE = RECORD_LENGTH + 2
_BLOCK = 4_096
"""Records encoded at a time: their lines, 1 MB, stay in a processor's cache while the fields go in one by one."""
_NO_EXPIRY = 99991231

# (field, first column, width), 1-based as in B3's layout
_NUMBERS = (
    ("market_type", 25, 3),
    ("open_cents", 57, 13),
    ("high_cents", 70, 13),
    ("low_cents", 83, 13),
    ("average_cents", 96, 13),
    ("close_cents", 109, 13),
    ("bid_cents", 122, 13),
    ("ask_cents", 135, 13),
    ("trade_count", 148, 5),
    ("quantity", 153, 18),
    ("traded_value_cents", 171, 18),
    ("strike_cents", 189, 13),
    ("quotation_factor", 211, 7),
    ("distribution", 243, 3),
)
_TEXTS = (
    ("bdi_code", 11, 2),
    ("ticker", 13, 12),
    ("short_name", 28, 12),
    ("specification", 40, 10),
    ("forward_days", 50, 3),
    ("isin", 231, 12),
)


def blank_records(count: int) -> Records:
    """Records of zeros and empty texts, in no particular session."""
    records = np.zeros(count, RECORD)
    records["expiry"] = np.datetime64("NaT", "D")
    records["quotation_factor"] = 1
    return records


def ticker_keys(records: Records) -> tuple[NDArray[np.uint32], NDArray[np.uint64]]:
    """Keys for `np.lexsort`, least first, in whose order the tickers are alphabetical: integers sort faster."""
    letters = np.ascontiguousarray(records["ticker"]).view(np.uint8).reshape(len(records), 12)
    head = np.ascontiguousarray(letters[:, :8]).view(">u8").astype(np.uint64)[:, 0]
    return np.ascontiguousarray(letters[:, 8:]).view(">u4").astype(np.uint32)[:, 0], head


def encode_records(records: Records) -> bytes:
    """The records' lines, each of 245 bytes and CRLF; the trade count is written modulo 100,000 as B3 does.

    Raises
    ------
    ValueError
        When a number is negative or has more digits than its field.
    """
    return b"".join(iter_lines(records))


def iter_lines(records: Records) -> Iterator[bytes]:
    """The bytes of `encode_records`, some thousand lines at a time."""
    for first in range(0, len(records), _BLOCK):
        block = records[first : first + _BLOCK]
        lines = np.empty((len(block), _STRIDE), np.uint8)
        _encode_block(block, lines)
        yield lines.tobytes()


def _encode_block(records: Records, lines: NDArray[np.uint8]) -> None:
    lines[:] = ord(" ")
    lines[:, 0], lines[:, 1] = ord("0"), ord("1")
    lines[:, 52:54] = np.frombuffer(b"R$", np.uint8)
    lines[:, 245], lines[:, 246] = ord("\r"), ord("\n")
    for name, column, width in _NUMBERS:
        values = records[name] % TRADE_COUNT_MODULUS if name == "trade_count" else records[name]
        _put_digits(lines, column, width, np.ascontiguousarray(values), name)
    _put_digits(lines, 3, 8, _calendar_number(records["session"]), "session")
    expiry = np.where(np.isnat(records["expiry"]), _NO_EXPIRY, _calendar_number(records["expiry"]))
    _put_digits(lines, 203, 8, expiry, "expiry")
    # INDOPC and PTOEXE: neither indexed nor index options are written
    lines[:, 201] = ord("0")
    lines[:, 217:230] = ord("0")
    for name, column, width in _TEXTS:
        letters = np.ascontiguousarray(records[name]).view(np.uint8).reshape(len(records), width)
        kernels.put_text(letters, column - 1, lines)


def annual_file(year: int, generated: np.datetime64, parts: Sequence[Records]) -> Iterator[bytes]:
    """The text of COTAHIST_A{year} in pieces: header, records in the order given, trailer with the count of all."""
    stamp = int(_calendar_number(np.array([generated], "M8[D]"))[0])
    count = sum(len(part) for part in parts) + 2
    yield f"{f'00COTAHIST.{year}BOVESPA {stamp:08d}':<{RECORD_LENGTH}}\r\n".encode("ascii")
    for part in parts:
        yield from iter_lines(part)
    yield f"{f'99COTAHIST.{year}BOVESPA {stamp:08d}{count:011d}':<{RECORD_LENGTH}}\r\n".encode("ascii")


def write_archive(path: Path, member: str, pieces: Iterable[bytes], level: int = 6) -> None:
    """A zip of one member whose bytes depend on the content only (a fixed time stamp and permissions)."""
    info = zipfile.ZipInfo(member, date_time=(2000, 1, 1, 0, 0, 0))
    info.compress_type = zipfile.ZIP_DEFLATED
    info.external_attr = 0o644 << 16
    info.create_system = 3
    # the name that Python 3.11 to 3.13 all know; ZipFile(compresslevel=) does not reach a member opened by its ZipInfo
    info._compresslevel = level  # type: ignore[attr-defined]
    with zipfile.ZipFile(path, "w") as archive, archive.open(info, "w") as file:
        for piece in pieces:
            file.write(piece)


def _put_digits(lines: NDArray[np.uint8], column: int, width: int, values: NDArray[np.int64], name: str) -> None:
    """Write zero-padded decimals from a 1-based column on."""
    if not kernels.put_digits(values, column - 1, width, lines):
        raise ValueError(f"{name} must fit {width} digits; was {values.min()} to {values.max()}")


def _calendar_number(days: NDArray[np.datetime64]) -> NDArray[np.int64]:
    """AAAAMMDD as an integer (0 for NaT)."""
    known = np.where(np.isnat(days), np.datetime64("1970-01-01"), days)
    months = known.astype("datetime64[M]").astype(np.int64)
    day = (known - known.astype("datetime64[M]").astype("datetime64[D]")).astype(np.int64) + 1
    return np.asarray((1970 + months // 12) * 10000 + (months % 12 + 1) * 100 + day)
