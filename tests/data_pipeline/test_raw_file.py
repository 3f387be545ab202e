from __future__ import annotations

import gzip
import io
import tempfile
import warnings
import zipfile

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data_pipeline import archive
from data_pipeline.errors import DataError
from data_pipeline.raw_file import list_members, newest, open_raw, read_head, unpack

TEXT = b"".join(b"line %d;12,5\r\n" % number for number in range(2_000))


def zipped(method=zipfile.ZIP_DEFLATED, **members: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as packed:
        for name, content in members.items():
            packed.writestr(zipfile.ZipInfo(name.replace("__", "."), (2020, 1, 1, 0, 0, 0)), content, method)
    return buffer.getvalue()


@pytest.fixture
def put(tmp_path):
    def make(content: bytes, name: str = "raw.bin"):
        path = tmp_path / name
        path.write_bytes(content)
        return path

    return make


def content_of(path, **options) -> bytes:
    with open_raw(path, **options) as raw:
        return raw.whole(1 << 30)


@pytest.mark.parametrize(
    ("packed", "size"),
    [
        (TEXT, len(TEXT)),
        (zipped(a__txt=TEXT), len(TEXT)),
        (gzip.compress(TEXT), None),
        (gzip.compress(TEXT[:500]) + gzip.compress(TEXT[500:]) + bytes(100), None),
    ],
    ids=["plain", "zip", "gzip", "gzip of two members and padding"],
)
def test_the_content_is_the_same_however_it_is_packed(put, packed, size):
    path = put(packed)
    with open_raw(path) as raw:
        assert (raw.size, raw.name) == (size, "raw.bin")
        start = bytearray(10)
        assert raw.fill(memoryview(start)) == 10
        assert bytes(start) + raw.whole(len(TEXT)) == TEXT
    assert read_head(path).start == TEXT[:4096]


def test_a_member_is_chosen_by_name_and_zips_inside_are_looked_into(put):
    inner = zipped(r_01__xml=b"<old/>", r_02__xml=b"<new/>")
    path = put(zipped(readme__txt=b"words", p__ZIP=inner, **{"deep/q__zip": zipped(r__zip=zipped(z__csv=b"deep"))}))
    names = ("deep/q.zip/r.zip/z.csv", "p.ZIP/r_01.xml", "p.ZIP/r_02.xml", "readme.txt")
    assert list_members(path) == names
    assert content_of(path, choose=lambda given: given[0]) == b"deep"
    with open_raw(path, choose=lambda given: newest([n for n in given if n.endswith("xml")]), markup=True) as raw:
        assert (raw.name, raw.whole(99)) == ("raw.bin:p.ZIP/r_02.xml", b"<new/>")
    assert (read_head(path).member, read_head(path).start) == ("readme.txt", b"words")
    with pytest.raises(DataError, match=r"raw\.bin holds no member x; it holds deep/q"):
        content_of(path, choose=lambda _: "x")
    with pytest.raises(DataError, match="must hold exactly one file; it holds 3"):
        content_of(path)
    assert list_members(put(TEXT)) == ()


def test_pages_are_refused_unless_the_format_is_markup(put):
    for content in (b"<html>", b"\n  <?xml version='1.0'?><a/>"):
        for packed in (content, gzip.compress(content), zipped(a__xml=content)):
            path = put(packed)
            with pytest.raises(DataError, match=r"raw\.bin.* is an HTML or XML page, not market data"):
                content_of(path)
            assert content_of(path, markup=True) == content
            assert read_head(path).start == content


def test_an_empty_content_is_refused_however_it_is_packed(put):
    for packed in (b"", gzip.compress(b""), zipped(a__txt=b"")):
        with pytest.raises(DataError, match=r"raw\.bin.* is empty"):
            content_of(put(packed))
    with pytest.raises(DataError, match="is empty"):
        read_head(put(b""))


def test_more_than_the_caller_can_hold_is_refused_before_it_is_held(put):
    for packed in (TEXT, gzip.compress(TEXT), zipped(a__txt=TEXT)):
        with pytest.raises(DataError, match=r"raw\.bin has .*more than"), open_raw(put(packed)) as raw:
            raw.whole(len(TEXT) - 1)


@pytest.mark.parametrize("limit", ["MOST_RATIO", "MOST_UNPACKED"])
def test_a_bomb_is_refused_in_words(put, monkeypatch, limit):
    """The limits are lowered, so that the test needs no gigabytes."""
    zeros = bytes(5 << 20)
    bombs = [gzip.compress(zeros), zipped(a__txt=zeros)]
    nested = zipped(n__zip=zipped(a__txt=zeros))
    assert all(content_of(put(bomb)) == zeros for bomb in bombs)
    assert content_of(put(nested), choose=newest) == zeros
    monkeypatch.setattr(archive, "FREE_BYTES", 1 << 20)
    monkeypatch.setattr(archive, limit, 100)
    for bomb in bombs:
        with pytest.raises(DataError, match="refused as a bomb of compressed size; if it is what the venue gave"):
            content_of(put(bomb))
    with pytest.raises(DataError, match="refused as a bomb"):
        content_of(put(nested), choose=newest)


def test_a_size_that_lies_is_found(put):
    whole = bytearray(zipped(a__txt=TEXT))
    place = whole.index(b"PK\x01\x02") + 24
    whole[place : place + 4] = (len(TEXT) - 1).to_bytes(4, "little")
    with pytest.raises(DataError, match="is a damaged zip file"):
        content_of(put(bytes(whole)))


def test_too_many_members_are_refused(put, monkeypatch):
    monkeypatch.setattr(archive, "MOST_MEMBERS", 2)
    with pytest.raises(DataError, match="must hold at most 2 files; it holds 3"):
        list_members(put(zipped(a=b"", b=b"", c=b"")))


def test_of_two_members_of_one_name_it_cannot_be_told_which(put):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        whole = zipped(aa=b"1", ab=b"2").replace(b"ab", b"aa")
    for opening in (list_members, read_head, lambda path: content_of(path, choose="aa")):
        with pytest.raises(DataError, match=r"two (files of one name|members)"):
            opening(put(whole))


def test_a_packed_file_in_a_gzip_is_told(put):
    for inner in (gzip.compress(TEXT), zipped(a__txt=TEXT)):
        with pytest.raises(DataError, match="holds a packed file again: unpack the outer one"):
            content_of(put(gzip.compress(inner)))


def test_zips_inside_are_bombs_together_and_lie_open_one_at_a_time(put, monkeypatch):
    """Each of them is small enough; all of them unpack to more than the whole may."""
    inner = bytes(900_000) + zipped(a__txt=b"1")
    whole = put(zipped(**{f"n{k}__zip": inner for k in range(20)}))
    spools = []
    spool = tempfile.SpooledTemporaryFile

    def opened(**options):
        spools.append(spool(**options))
        assert sum(not one.closed for one in spools) == 1
        return spools[-1]

    monkeypatch.setattr(tempfile, "SpooledTemporaryFile", opened)
    assert len(list_members(whole)) == 20
    assert content_of(whole, choose="n7.zip/a.txt") == b"1"
    assert len(spools) == 21  # to read one of them by name no other is unpacked
    monkeypatch.setattr(archive, "FREE_BYTES", 1 << 20)
    with pytest.raises(DataError, match="refused as a bomb"):
        list_members(whole)


def test_what_is_unpacked_stays_below_the_folder_and_together(put, tmp_path):
    members = {"../up__txt": b"1", "/root__txt": b"2", "d/a__txt": b"3", "d/b__txt": b"4"}
    paths = unpack(put(zipped(**members, in__zip=zipped(c__txt=b"5"))), tmp_path / "out")
    assert [path.name for path in paths] == ["up.txt", "root.txt", "a.txt", "b.txt", "c.txt"]
    assert [path.read_bytes() for path in paths] == [b"1", b"2", b"3", b"4", b"5"]
    assert all(path.resolve().parent.parent == tmp_path / "out" for path in paths)
    assert paths[2].parent == paths[3].parent != paths[4].parent
    for number, name in enumerate(("..", "d/.", "n" * 201, "line\nfeed")):
        with pytest.raises(DataError, match="holds a file that cannot be written under its name"):
            unpack(put(zipped(**{name: b"1"})), tmp_path / str(number))


def test_an_encrypted_member_is_refused(put):
    whole = bytearray(zipped(a__txt=TEXT))
    whole[6] |= 1
    whole[whole.index(b"PK\x01\x02") + 8] |= 1
    with pytest.raises(DataError, match=r"cannot be unzipped \(.*encrypted"):
        content_of(put(bytes(whole)))


PACKED = {
    "gzip": gzip.compress(TEXT, mtime=0),
    "zip": zipped(a__txt=TEXT),
    "stored": zipped(zipfile.ZIP_STORED, a__txt=TEXT),
    "lzma": zipped(zipfile.ZIP_LZMA, a__txt=TEXT),
    "bzip2": zipped(zipfile.ZIP_BZIP2, a__txt=TEXT),
    "nested": zipped(n__zip=zipped(a__txt=TEXT)),
}


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    kind=st.sampled_from(sorted(PACKED)),
    flips=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 7)), max_size=3),
    cut=st.none() | st.floats(0, 1, exclude_max=True),
)
def test_damaged_archives_give_their_content_or_a_data_error(put, kind, flips, cut):
    damaged = bytearray(PACKED[kind])
    for place, bit in flips:
        damaged[int(place * len(damaged))] ^= 1 << bit
    path = put(bytes(damaged[: None if cut is None else int(cut * len(damaged))]))
    for options in ({}, {"choose": newest}):
        given = answered(lambda options=options: content_of(path, **options))
        # a file that no longer starts as an archive is plain; an inner zip under another name is a plain member
        packed = path.read_bytes().startswith((b"PK", b"\x1f\x8b"))
        renamed = kind == "nested" and path.read_bytes().count(b"n.zip") < 2
        assert given in (None, TEXT) or not packed or renamed
    answered(lambda: read_head(path))
    answered(lambda: list_members(path))


def answered(read):
    """What `read` gives, or None when it says in words that the file is no good; anything else it raises is a fault."""
    try:
        return read()
    except DataError:
        return None
