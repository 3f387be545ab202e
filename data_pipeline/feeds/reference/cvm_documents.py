"""CVM's index of documents, and its CSV files as batches of text columns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from data_pipeline.errors import DataError
from data_pipeline.feeds.reading import Tally
from data_pipeline.feeds.reference.files import opened
from data_pipeline.feeds.reference.text import day_of, end_of_day
from data_pipeline.raw_file import RawFile

RULE_WIDTH: Final = "lines_of_another_width_left_out"
RULE_INDEX_REPEATED: Final = "documents_received_more_than_once"
RULE_TOO_EARLY: Final = "documents_received_before_their_period_ended_left_out"
BLOCK_BYTES: Final = 4 << 20
MOST_DOCUMENTS: Final = 1_000_000
_INDEX_COLUMNS: Final = ("CNPJ_CIA", "DT_REFER", "VERSAO", "DT_RECEB")
_MOST_VERSIONS: Final = 10_000


@dataclass(frozen=True, slots=True)
class Documents:
    """When each document of a zip was public.

    Attributes
    ----------
    keys : pyarrow.Array
        CNPJ, day of reference and version of each, as `document_keys` joins them.
    known_at : pyarrow.Array
        timestamp[ns, UTC] of each.
    """

    keys: pa.Array
    known_at: pa.Array


def document_keys(rows: pa.Table) -> pa.ChunkedArray:
    """One text per row that tells its document: columns CNPJ_CIA, DT_REFER, VERSAO joined."""
    return pc.binary_join_element_wise(rows["CNPJ_CIA"], rows["DT_REFER"], rows["VERSAO"], " ")


def read_documents(path: Path, name: str, tally: Tally) -> Documents:
    """The index inside a zip.

    Of a document that is listed with several days of receipt the last day holds: nothing is known too early.

    Raises
    ------
    DataError
        When it is damaged, lacks a column or has a date that is none.
    """
    known: dict[str, int] = {}
    with opened(path, name) as raw:
        line = 1
        for rows, skipped in text_batches(raw, _INDEX_COLUMNS):
            if skipped:
                tally.add(RULE_WIDTH, skipped)
            keys = document_keys(rows).to_pylist()
            for key, refer, received in zip(
                keys, rows["DT_REFER"].to_pylist(), rows["DT_RECEB"].to_pylist(), strict=True
            ):
                line += 1
                where = f"{raw.name} row {line - 1}"
                day = day_of(received, where, "DT_RECEB")
                if day < day_of(refer, where, "DT_REFER"):
                    tally.add(RULE_TOO_EARLY, 1)
                    continue
                if key in known:
                    tally.add(RULE_INDEX_REPEATED, 1)
                known[key] = max(known.get(key, 0), end_of_day(day))
            if len(known) > MOST_DOCUMENTS:
                raise DataError(f"{raw.name} has more than {MOST_DOCUMENTS} documents: it is no index of CVM")
    times = pa.array(list(known.values()), pa.int64()).cast(pa.timestamp("ns", tz="UTC"))
    return Documents(pa.array(list(known), pa.string()), times)


def text_batches(raw: RawFile, columns: Sequence[str]) -> Iterator[tuple[pa.Table, int]]:
    """Batches of the wanted columns as text, each with the number of lines of another width that were passed over.

    Raises
    ------
    DataError
        When a column is missing, a line is endless, or a value of a wanted column is absent.
    """
    skipped = 0

    def passed(_: Any) -> str:
        nonlocal skipped
        skipped += 1
        return "skip"

    names: list[str] | None = None
    try:
        for lines in _whole_lines(raw):
            if names and not lines.strip():
                continue
            # whole blocks, not a stream: Arrow's reader of streams reads ahead from Python in a thread of its own, and
            # can wait for ever when it is left after an error
            rows = pyarrow.csv.read_csv(
                pa.BufferReader(lines),
                read_options=pyarrow.csv.ReadOptions(
                    encoding="latin-1", use_threads=False, block_size=2 * BLOCK_BYTES, column_names=names
                ),
                parse_options=pyarrow.csv.ParseOptions(delimiter=";", quote_char=False, invalid_row_handler=passed),
                convert_options=pyarrow.csv.ConvertOptions(
                    include_columns=list(columns),
                    column_types=dict.fromkeys(columns, pa.string()),
                    strings_can_be_null=False,
                ),
            )
            names = names or lines.split(b"\n", 1)[0].decode("latin-1").strip("\r").split(";")
            yield rows, skipped
            skipped = 0
    except (pa.ArrowException, KeyError, ValueError, OSError) as error:
        raise DataError(f"{raw.name} is no CSV file of CVM ({str(error)[:200]}): download it again") from error


def _whole_lines(raw: RawFile) -> Iterator[bytes]:
    """The file in blocks that end with a line; what the archive raises passes through."""
    rest = b""
    while chunk := raw.stream.read(BLOCK_BYTES):
        lines, newline, rest_of_line = (rest + chunk).rpartition(b"\n")
        if len(rest_of_line) >= BLOCK_BYTES:
            raise DataError(f"{raw.name} is no CSV file of CVM (a line is longer than {BLOCK_BYTES:,} bytes)")
        if newline:
            yield lines + newline
        rest = rest_of_line
    if rest:
        yield rest
