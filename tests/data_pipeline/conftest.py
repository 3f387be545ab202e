"""Raw COTAHIST files for tests, built from the official layout's column numbers and nothing of the parser."""

from __future__ import annotations

import datetime
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest

from data_pipeline.schema import QUOTE_SCHEMA

# 1-based, inclusive columns of the quote record, typed in from B3's layout (revision of 22/09/2005)
COLUMNS = {
    "TIPREG": (1, 2),
    "DATA": (3, 10),
    "CODBDI": (11, 12),
    "CODNEG": (13, 24),
    "TPMERC": (25, 27),
    "NOMRES": (28, 39),
    "ESPECI": (40, 49),
    "PRAZOT": (50, 52),
    "MODREF": (53, 56),
    "PREABE": (57, 69),
    "PREMAX": (70, 82),
    "PREMIN": (83, 95),
    "PREMED": (96, 108),
    "PREULT": (109, 121),
    "PREOFC": (122, 134),
    "PREOFV": (135, 147),
    "TOTNEG": (148, 152),
    "QUATOT": (153, 170),
    "VOLTOT": (171, 188),
    "PREEXE": (189, 201),
    "INDOPC": (202, 202),
    "DATVEN": (203, 210),
    "FATCOT": (211, 217),
    "PTOEXE": (218, 230),
    "CODISI": (231, 242),
    "DISMES": (243, 245),
}
TEXT = {"CODBDI", "CODNEG", "NOMRES", "ESPECI", "PRAZOT", "MODREF", "CODISI"}
USUAL: dict[str, Any] = {
    "TIPREG": 1,
    "DATA": 20230102,
    "CODBDI": "02",
    "CODNEG": "AAAA3",
    "TPMERC": 10,
    "NOMRES": "EXAMPLE",
    "ESPECI": "ON      NM",
    "PRAZOT": "",
    "MODREF": "R$",
    "PREABE": 1000,
    "PREMAX": 1100,
    "PREMIN": 900,
    "PREMED": 1010,
    "PREULT": 1050,
    "PREOFC": 1049,
    "PREOFV": 1051,
    "TOTNEG": 25,
    "QUATOT": 10000,
    "VOLTOT": 10100000,
    "PREEXE": 0,
    "INDOPC": 0,
    "DATVEN": 99991231,
    "FATCOT": 1,
    "PTOEXE": 0,
    "CODISI": "BRAAAAACNOR1",
    "DISMES": 101,
}


def record(**values: Any) -> bytes:
    """One quote record of 245 bytes; a field of `values` replaces the usual one."""
    line = bytearray(b"?" * 245)
    for name, (first, last) in COLUMNS.items():
        width = last - first + 1
        value = {**USUAL, **values}[name]
        field = value.ljust(width).encode("latin-1") if name in TEXT else str(value).zfill(width).encode()
        assert len(field) == width, name
        line[first - 1 : last] = field
    return bytes(line)


def lines(records: list[bytes], generated: int = 20230131, count: int | None = None) -> list[bytes]:
    """Header, records, trailer."""
    total = len(records) + 2 if count is None else count
    header = f"00COTAHIST.{generated // 10000}BOVESPA {generated}"
    trailer = f"99COTAHIST.{generated // 10000}BOVESPA {generated}{total:011d}"
    return [header.ljust(245).encode(), *records, trailer.ljust(245).encode()]


def text(records: list[bytes], generated: int = 20230131, end: bytes = b"\r\n", count: int | None = None) -> bytes:
    """A whole file."""
    return b"".join(line + end for line in lines(records, generated, count))


def write_zip(path: Path, **members: bytes) -> Path:
    """A zip with those members (a double underscore in the name stands for the dot)."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name.replace("__", "."), content)
    return path


@pytest.fixture(scope="session")
def raw() -> SimpleNamespace:
    """The builders above, as one object."""
    return SimpleNamespace(columns=COLUMNS, usual=USUAL, record=record, lines=lines, text=text, write_zip=write_zip)


def quote_table(rows: list[dict[str, Any]]) -> pa.Table:
    """Store table of spot quotes; a row gives ticker, session and what differs from a quiet day at R$ 10.00.

    `price` sets opening, high, low and close at once, in R$; `state` is the rights state inside ESPECI.
    """
    records = []
    for row in rows:
        values = dict(row)
        cents = round(100 * values.pop("price", 10.0))
        state = values.pop("state", "")
        ticker = values["ticker"]
        usual = {
            "bdi_code": "02",
            "market_type": 10,
            "short_name": ticker[:4],
            "specification": f"ON  {state:<3} NM",
            "forward_days": None,
            "currency": "R$",
            "open_cents": cents,
            "high_cents": max(cents, values.get("open_cents", 0), values.get("close_cents", 0)),
            "low_cents": min(cents, values.get("open_cents", cents), values.get("close_cents", cents)),
            "average_cents": cents,
            "close_cents": cents,
            "bid_cents": cents,
            "ask_cents": cents + 1,
            "trade_count_mod": 500,
            "quantity": 10_000,
            "traded_value_cents": 10_000 * cents,
            "strike_cents": 0,
            "indexation": 0,
            "expiry": None,
            "quotation_factor": 1,
            "strike_points_e6": 0,
            "isin": f"BR{ticker[:4]}ACNOR1",
            "distribution": 100,
        }
        record_ = usual | values
        record_["session"] = datetime.date.fromisoformat(str(record_["session"]))
        records.append(record_)
    return pa.Table.from_pylist(records, schema=QUOTE_SCHEMA)


@pytest.fixture
def quotes() -> Any:
    """The builder of store tables for the rules on spot rows."""
    return quote_table
