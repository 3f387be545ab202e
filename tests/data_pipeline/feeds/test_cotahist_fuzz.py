"""The COTAHIST parser on damaged and hostile bytes: one DataError, or the rows that plain slicing gives."""

from __future__ import annotations

import gzip
import io
import tracemalloc
import zipfile

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from data_pipeline.errors import DataError
from data_pipeline.feeds.cotahist import kernels
from data_pipeline.feeds.cotahist.parser import iter_blocks
from data_pipeline.schema import QUOTE_SCHEMA, REASONS

RECORDS = 9
BLOCK = 4

OPERATIONS = st.one_of(
    st.tuples(st.just("flip"), st.floats(0, 1, exclude_max=True), st.integers(0, 7)),
    st.tuples(st.just("put"), st.floats(0, 1, exclude_max=True), st.binary(min_size=1, max_size=9)),
    st.tuples(
        st.just("insert"), st.floats(0, 1), st.sampled_from([b"\n", b"\r\n", b"\0", b"9", b"\xff\xfe", b" " * 247])
    ),
    st.tuples(st.just("drop"), st.floats(0, 1, exclude_max=True), st.integers(1, 500)),
    st.tuples(st.just("cut"), st.floats(0, 1), st.none()),
    st.tuples(st.just("repeat"), st.floats(0, 1, exclude_max=True), st.integers(1, 600)),
)


def damaged(content, operations):
    whole = bytearray(content)
    for kind, share, value in operations:
        at = int(share * len(whole))
        if kind == "flip" and at < len(whole):
            whole[at] ^= 1 << value
        elif kind == "put":
            whole[at : at + len(value)] = value
        elif kind == "insert":
            whole[at:at] = value
        elif kind == "drop":
            del whole[at : at + value]
        elif kind == "cut":
            del whole[at:]
        elif kind == "repeat":
            whole[at:at] = whole[at : at + value]
    return bytes(whole)


def sound(raw):
    """A good file: every kind of field filled, an accent, an option, a forward, rows for the quarantine."""
    records = [raw.record(CODNEG=f"AAAA{i}", NOMRES="AÇÃO ON", QUATOT=10**17 + i) for i in range(RECORDS - 3)]
    records.append(raw.record(CODNEG="AAAAB12", TPMERC=70, PRAZOT="000", DATVEN=20230217, PREEXE=1234))
    records.append(raw.record(CODNEG="AAAA3T", TPMERC=30, PRAZOT="030", PREOFC=0, PREOFV=0))
    records.append(raw.record(PREMAX=890))
    return raw.text(records)


def outcome(path):
    """Blocks of the file, or None when it is refused in one sentence that names it."""
    refusal, blocks = None, []
    try:
        blocks = list(iter_blocks(path, BLOCK))
    except DataError as error:
        refusal = str(error)
    if refusal is None:
        return blocks
    assert path.name in refusal
    assert "\n" not in refusal
    return None


def plain_rows(content, columns):
    """What slicing at the layout's columns gives for the numbers and texts of every record between the ends."""
    ends = {b"\r\n": 2, b"\n0": 1, b"\n9": 1}
    stride = 245 + ends.get(content[245:247], 0)
    lines = [content[i : i + 245] for i in range(0, len(content), stride)]
    return [
        {
            "ticker": line[columns["CODNEG"][0] - 1 : columns["CODNEG"][1]].decode("latin-1").rstrip(" "),
            "short_name": line[columns["NOMRES"][0] - 1 : columns["NOMRES"][1]].decode("latin-1").rstrip(" "),
            "session": line[2:10].decode("ascii"),
            **{
                column: int(line[columns[name][0] - 1 : columns[name][1]])
                for column, name in (
                    ("close_cents", "PREULT"),
                    ("quantity", "QUATOT"),
                    ("traded_value_cents", "VOLTOT"),
                    ("strike_points_e6", "PTOEXE"),
                    ("distribution", "DISMES"),
                )
            },
        }
        for line in lines[1:-1]
    ]


def check(blocks, content, raw):
    for block in blocks:
        block.batch.validate(full=True)
        assert block.batch.schema == QUOTE_SCHEMA
        assert block.batch.num_rows == len(block.reason) == len(block.month)
        assert all(0 <= code < len(REASONS) for code in block.reason)
    table = pa.Table.from_batches([block.batch for block in blocks], schema=QUOTE_SCHEMA)
    expected = plain_rows(content, raw.columns)
    found = table.select(["ticker", "short_name", "session", *list(expected[0])[3:]] if expected else []).to_pylist()
    for row in found:
        row["session"] = row["session"].strftime("%Y%m%d").zfill(8)
    assert found == expected


@settings(max_examples=250)
@given(operations=st.lists(OPERATIONS, min_size=1, max_size=3))
@example(operations=[("put", 0.0, b"00COTAHIS")])
def test_damaged_text_is_refused_or_read_as_it_stands(raw, tmp_path_factory, operations):
    content = damaged(sound(raw), operations)
    path = tmp_path_factory.getbasetemp() / "fuzz.txt"
    path.write_bytes(content)
    blocks = outcome(path)
    if blocks is not None:
        check(blocks, content, raw)


@pytest.mark.parametrize("pack", ["zip", "gz"])
@settings(max_examples=120)
@given(operations=st.lists(OPERATIONS, min_size=1, max_size=2))
def test_damaged_archives_are_refused_or_hold_what_was_packed(raw, tmp_path_factory, pack, operations):
    content = sound(raw)
    packed = io.BytesIO()
    if pack == "zip":
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("COTAHIST.TXT", content)
    else:
        packed.write(gzip.compress(content, mtime=0))
    path = tmp_path_factory.getbasetemp() / f"fuzz.{pack}"
    path.write_bytes(damaged(packed.getvalue(), operations))
    blocks = outcome(path)
    if blocks is not None:
        # both containers carry a checksum of the content: what opens is what was packed
        check(blocks, content, raw)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be", "utf-32", "cp500"])
def test_a_file_in_another_encoding_is_refused(raw, tmp_path, encoding):
    path = tmp_path / "a.txt"
    path.write_bytes(sound(raw).decode("latin-1").encode(encoding))
    assert outcome(path) is None


def peak_of(path):
    tracemalloc.start()
    blocks = 0
    try:
        for _ in iter_blocks(path):
            blocks += 1
    except DataError:
        return blocks, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    raise AssertionError("the bomb was taken for a file")


@pytest.mark.parametrize("filler", [b"\0", b" ", b"0", b"\n", b"01" + b"0" * 243 + b"\r\n"])
def test_a_bomb_is_refused_in_little_memory(raw, tmp_path, filler):
    path = tmp_path / "bomb.zip"
    megabyte = (filler * (2**20 // len(filler) + 1))[: 2**20 // 247 * 247]
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("COTAHIST.TXT", "w") as member:
        member.write(raw.text([])[:247])
        for _ in range(64):
            member.write(megabyte)
    assert path.stat().st_size < 2**20
    assert peak_of(path)[1] < 24 * 2**20


def test_good_records_without_end_stream_in_the_memory_of_a_block(raw, tmp_path):
    path = tmp_path / "bomb.zip"
    records = (raw.record() + b"\r\n") * 4_000
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("COTAHIST.TXT", "w") as member:
        member.write(raw.text([])[:247])
        for _ in range(20):
            member.write(records)
    blocks, peak = peak_of(path)
    assert blocks >= 9, "the file has no trailer, which shows at its end alone"
    assert peak < 32 * 2**20


def test_digits_in_words_are_those_of_python():
    for byte in range(256):
        for place in range(8):
            text = bytearray(b"12345678")
            text[place] = byte
            word = int.from_bytes(text, "little")
            digits = kernels._not_digits(kernels.np.uint64(word)) == 0
            assert digits == bytes(text).isdigit()
            if digits:
                assert kernels._eight(kernels.np.uint64(word)) == int(text)
            for width in range(1, 8):
                last = kernels._last(kernels.np.uint64(word), kernels.np.uint64(width))
                assert int(last).to_bytes(8, "little") == bytes(text[8 - width :]).rjust(8, b"0")
