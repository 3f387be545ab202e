"""What is wrong with a record of a COTAHIST file, in one sentence: looked at again, slowly, once the parser stopped."""

from __future__ import annotations

import numpy as np

from data_pipeline.feeds.cotahist import kernels
from data_pipeline.schema import LAYOUT, RECORD_WIDTH, RecordField


def read_date(digits: bytes) -> np.datetime64 | None:
    """The day AAAAMMDD, None where there is no such day."""
    text = digits.decode("latin-1")
    if not digits.isdigit() or text.startswith("0000"):
        return None
    try:
        return np.datetime64(f"{text[:4]}-{text[4:6]}-{text[6:]}", "D")
    except ValueError:
        return None


def explain_record(rest: bytes, line: int, name: str, stride: int) -> str:
    """What is wrong with the first record of `rest`, in one sentence."""
    ended = b"\n" in rest
    record = rest.partition(b"\n")[0].removesuffix(b"\r") if stride > RECORD_WIDTH else rest[:RECORD_WIDTH]
    where = f"{name} line {line}"
    if len(record) > RECORD_WIDTH and _multibyte(record):
        return (
            f"{where}: holds UTF-8 characters of several bytes, which shift the columns after them: "
            "use the file as the exchange gave it (ISO-8859-1, one byte per column)"
        )
    if len(record) < RECORD_WIDTH and not ended:
        return f"{where}: the file ends inside a record ({len(record)} of {RECORD_WIDTH} bytes): it is truncated"
    if len(record) != RECORD_WIDTH:
        return f"{where}: a record must have {RECORD_WIDTH} bytes; this one has {len(record)}"
    if ended and len(rest.partition(b"\n")[0]) + 1 != stride:
        return f"{where}: ends in another line end than the lines before it: the file was edited"
    if record[:2] != b"01":
        return f"{where}, columns 1-2 (TIPREG): must be 01 (quote) or 99 (trailer); was {shown(record[:2])}"
    for field in LAYOUT:
        fault = _field_fault(field, record[field.start : field.stop])
        if fault:
            return f"{where}, columns {field.start + 1}-{field.stop} ({field.name}): {fault}"
    return f"{where}: not a well-formed quote record"


def _field_fault(field: RecordField, value: bytes) -> str:
    digits = value.isdigit()
    if field.kind == "number" and not digits:
        return f"must be digits; was {shown(value)}"
    if field.kind == "days" and not digits and value.strip(b" "):
        return f"must be digits or blank; was {shown(value)}"
    if field.kind == "date" and read_date(value) is None:
        return f"must be a date AAAAMMDD; was {shown(value)}"
    if field.name == "DATA" and not kernels.FIRST_SESSION <= int(value) <= kernels.LAST_SESSION:
        return f"must be a session of 1986 to 2199; was {shown(value)}"
    printable = range(32, 127) if field.kind == "code" else (*range(32, 127), *range(128, 256))
    if field.kind in ("code", "text") and any(byte not in printable for byte in value):
        return f"must be printable characters; was {shown(value)}"
    return ""


def _multibyte(record: bytes) -> bool:
    try:
        return len(record.decode("utf-8")) == RECORD_WIDTH
    except UnicodeDecodeError:
        return False


def shown(value: bytes) -> str:
    """The bytes as a person may read them, in quotes."""
    return repr(value.decode("latin-1"))
