"""Mutated LOBSTER pairs: a DataError that names a file, or rows that satisfy the tables."""

from __future__ import annotations

import tempfile
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_pipeline.errors import DataError
from data_pipeline.feeds.lobster import files as lobster_files
from data_pipeline.feeds.lobster.feed import EVENT_KINDS, LOBSTER
from data_pipeline.feeds.reading import Tally
from data_pipeline.synthetic.order_book import BookConfig, simulate_book
from data_pipeline.synthetic.order_book_files import write_lobster
from data_pipeline.tables.catalog import TABLES
from data_pipeline.tables.validation import check_rows

NAME = "SYN_2021-03-15_36000000_36020000_{}_2.csv"
TOKENS = (
    b"-1", b"0", b"nan", b"inf", b"1e400", b"9" * 40, b"9" * 18, b"-" + b"9" * 18, b"0x10", b"1_000", b"", b" ", b'"',
    b"1.5", b"\xff", b"\0", b"\n", b"\r", b"\r\n", b",", b",,,,", b"-", b".", b"-9999999999", b"9999999999", b"7", b"6",
    b"\n\n\n", b"-0", b"+1",
)  # fmt: skip


@pytest.fixture(scope="module")
def pair(tmp_path_factory) -> tuple[bytes, bytes]:
    config = BookConfig(
        seed=2, seconds=20.0, queue=2, largest_lots=3, reductions=2.0, call_size=100, halts=((5.0, 6.0),)
    )
    files = write_lobster(tmp_path_factory.mktemp("pair"), simulate_book(config), levels=2)
    return files[0].read_bytes(), files[1].read_bytes()


@st.composite
def mutations(draw: st.DrawFn) -> list[tuple[float, str, object]]:
    """Where (as a share of the file), what, and with what."""
    kinds = st.sampled_from(("flip", "cut", "insert", "replace", "drop", "repeat"))
    one = st.tuples(
        st.floats(0.0, 1.0, exclude_max=True), kinds, st.one_of(st.integers(0, 255), st.sampled_from(TOKENS))
    )
    return draw(st.lists(one, min_size=0, max_size=4))


def mutated(content: bytes, changes: list[tuple[float, str, object]]) -> bytes:
    data = bytearray(content)
    for share, kind, what in changes:
        at = int(share * len(data))
        piece = what if isinstance(what, bytes) else bytes([what])
        if kind == "flip" and data:
            data[at] ^= piece[0] if piece else 1
        elif kind == "cut":
            del data[at:]
        elif kind == "insert":
            data[at:at] = piece
        elif kind == "replace":  # one cell of a line
            stop = min((k for k in (data.find(b",", at), data.find(b"\n", at)) if k >= 0), default=len(data))
            data[at:stop] = piece
        elif kind == "drop":
            del data[at : at + 1 + len(piece) * 7]
        elif kind == "repeat":
            data[at:at] = data[at : at + 200]
    return bytes(data)


def read_or_refuse(files: tuple[Path, ...], events: str) -> int:
    """Rows, all of them valid; -1 for a refusal that names a file."""
    names = [name for path in files for name in (path.name, NAME.format("message"), NAME.format("orderbook"))]
    tally, rows, refusal = Tally(), 0, ""
    try:
        for batch in LOBSTER.read(files, tally, {"events": events}):
            check_rows(TABLES[batch.table], batch.rows)
            rows += batch.rows.num_rows
    except DataError as error:
        refusal = str(error)
    if refusal:
        assert any(name in refusal for name in names), refusal
        return -1
    assert tally.rows == tally.counts["messages"] > 0
    return rows


@given(mutations(), mutations(), st.sampled_from(EVENT_KINDS), st.sampled_from((5, 64, 1 << 16)))
@settings(max_examples=150)
def test_mutated_text_is_refused_or_gives_valid_rows(pair, in_message, in_book, events, rows_at_once):
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(lobster_files, "_BLOCK_ROWS", rows_at_once)
        files = tuple(Path(folder) / NAME.format(kind) for kind in ("message", "orderbook"))
        for path, content, changes in zip(files, pair, (in_message, in_book), strict=True):
            path.write_bytes(mutated(content, changes))
        rows = read_or_refuse(files, events)
        if not in_message and not in_book:
            assert rows > 0


@given(mutations())
@settings(max_examples=80)
def test_a_mutated_zip_is_refused_or_gives_valid_rows(pair, changes):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "days.zip"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for kind, content in zip(("message", "orderbook"), pair, strict=True):
                archive.writestr(NAME.format(kind), content)
        path.write_bytes(mutated(path.read_bytes(), changes))
        rows = read_or_refuse((path,), "levels")
        assert changes or rows > 0


@given(st.binary(max_size=2000), st.binary(max_size=2000))
@settings(max_examples=60)
def test_any_bytes_are_answered(message, book):
    with tempfile.TemporaryDirectory() as folder:
        files = tuple(Path(folder) / NAME.format(kind) for kind in ("message", "orderbook"))
        for path, content in zip(files, (message, book), strict=True):
            path.write_bytes(content)
        # what looks like a damaged archive cannot be paired, but no file is lost
        assert sorted(path for group in LOBSTER.group(files) for path in group) == sorted(files)
        read_or_refuse(files, "levels")


def test_an_endless_line_is_refused_before_it_fills_the_memory(pair, tmp_path):
    import tracemalloc

    files = tuple(tmp_path / NAME.format(kind) for kind in ("message", "orderbook"))
    files[0].write_bytes(pair[0])
    files[1].write_bytes(b"1" * (40 << 20))
    tracemalloc.start()
    with pytest.raises(DataError, match=r"_orderbook_2\.csv, line 1: is longer than 262,144 bytes"):
        list(LOBSTER.read(files, Tally(), {}))
    assert tracemalloc.get_traced_memory()[1] < 20 << 20
    tracemalloc.stop()
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(NAME.format("message"), pair[0])
        archive.writestr(NAME.format("orderbook"), b"1" * (40 << 20))
    with pytest.raises(DataError, match="orderbook"):
        list(LOBSTER.read((tmp_path / "bomb.zip",), Tally(), {}))
