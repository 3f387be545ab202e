"""What lies packed in a raw file, as streams of bytes: gzip, zip, zips inside a zip, none of which may be a bomb.

A stream gives its bytes or raises DataError; nothing is unpacked before it is asked for, but for a zip inside a zip,
which lies in a temporary file while it is open.
"""

from __future__ import annotations

import io
import lzma
import re
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

from data_pipeline.errors import DataError

CHUNK: Final = 1 << 20
MOST_UNPACKED: Final = 64 << 30
"""Bytes that one packed file may give: sixty times the largest yearly file of B3."""
MOST_RATIO: Final = 250
"""Unpacked bytes per packed byte, beyond the first `FREE_BYTES`; market data give 5 to 60, deflate at most 1,032."""
FREE_BYTES: Final = 64 << 20
MOST_MEMBERS: Final = 10_000
MOST_DEPTH: Final = 3
_LONGEST_NAME: Final = 200

Choose = Callable[[Sequence[str]], str]
"""Which member is meant, of the sorted names of all; a member of a zip in the zip is "inner.zip/member"."""

# what zipfile and the decompressors raise on bytes that are no sound archive
DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    EOFError,
    RuntimeError,
    NotImplementedError,
    ValueError,
    OverflowError,
    OSError,
)


@dataclass(frozen=True, slots=True)
class Member:
    """One packed file: its name in the archive, the bytes that it will give (None: not stated), and the stream."""

    name: str
    size: int | None
    stream: io.BufferedReader


class _Counted(io.RawIOBase):
    """The bytes that `source` gives, counted against the caps; what it raises becomes a DataError."""

    def __init__(self, source: Any, packed: int, name: str, kind: str) -> None:
        self._source, self._packed, self._name, self._kind = source, packed, name, kind
        self._given = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        try:
            chunk = self._source.read(min(len(view), CHUNK))
        except DAMAGE as error:
            raise DataError(f"{self._name} is a damaged {self._kind} file ({error}): download it again") from error
        self._given += len(chunk)
        refuse_bomb(self._given, self._packed, self._name)
        view[: len(chunk)] = chunk
        return len(chunk)


class _Gunzipped:
    """`read` of the members of a gzip stream, one after the other; zeros after the last one are padding."""

    def __init__(self, source: IO[bytes]) -> None:
        self._source = source
        self._packed = b""
        self._inflate: Any = zlib.decompressobj(wbits=31)
        self._begun = False

    def read(self, size: int) -> bytes:
        while True:
            if not self._packed:
                self._packed = self._source.read(CHUNK >> 2)
                if not self._packed:
                    if self._begun:
                        raise EOFError("it ends inside the compressed data")
                    return b""
            if not self._begun:
                self._packed = self._packed.lstrip(b"\0")
                if not self._packed:
                    continue
            self._begun = True
            given: bytes = self._inflate.decompress(self._packed, size)
            self._packed = self._inflate.unconsumed_tail
            if self._inflate.eof:
                self._packed = self._inflate.unused_data
                self._inflate, self._begun = zlib.decompressobj(wbits=31), False
            if given:
                return given


def refuse_bomb(unpacked: int, packed: int, name: str) -> None:
    """Raise DataError when so many unpacked bytes cannot be market data."""
    if unpacked > MOST_UNPACKED or (unpacked > FREE_BYTES and unpacked > MOST_RATIO * packed):
        raise DataError(
            f"{name} unpacks to {unpacked:,} bytes or more from {packed:,}: refused as a bomb of compressed size; "
            "if it is what the venue gave, unpack it by hand and ingest the files"
        )


def gunzipped(stream: IO[bytes], packed: int, name: str) -> io.BufferedReader:
    """The unpacked bytes of a gzip file of `packed` bytes; reading raises DataError where they are damaged."""
    return io.BufferedReader(_Counted(_Gunzipped(stream), packed, name, "gzip"), CHUNK)


@contextmanager
def unzipped(stream: IO[bytes], name: str, choose: Choose | str | None = None) -> Iterator[Member]:
    """The only member of a zip, or the one that `choose` is or picks among all, those of zips inside it included.

    Raises
    ------
    DataError
        When the archive is damaged, encrypted, a bomb, or (without `choose`) does not hold exactly one file.
    """
    with ExitStack() as stack:
        if isinstance(choose, str):
            chosen = choose
        else:
            names = sorted(found for found, _, _ in _visit(stream, name, 0 if choose else MOST_DEPTH))
            if choose is None and len(names) != 1:
                raise DataError(
                    f"{name} must hold exactly one file; it holds {len(names)} ({_listed(names)}): "
                    "unzip it and ingest its files"
                )
            if not names:
                raise DataError(f"{name} holds no file: download it again")
            chosen = choose(names) if choose else names[0]
        archive, info = _find(stream, name, chosen, stack)
        refuse_bomb(info.file_size, info.compress_size, f"{name}:{chosen}")
        source = stack.enter_context(_opened(archive, info, name))
        # a member chosen by name is named in errors; the only one of its zip is known by the zip's own name
        shown = f"{name}:{chosen}" if choose else name
        counted = _Counted(source, info.compress_size, shown, "zip")
        yield Member(chosen, info.file_size, io.BufferedReader(counted, CHUNK))


def member_names(stream: IO[bytes], name: str) -> tuple[str, ...]:
    """Sorted names of all files in a zip, those of zips inside it as "inner.zip/member".

    Raises
    ------
    DataError
        When the archive is damaged or encrypted.
    """
    return tuple(sorted(found for found, _, _ in _visit(stream, name)))


def unpack_into(stream: IO[bytes], name: str, folder: Path) -> list[Path]:
    """Every file of a zip, those of zips inside it included, written below `folder`; files of one folder stay together.

    Only a file's last name is taken from the archive, so that nothing is written elsewhere.

    Raises
    ------
    DataError
        When the archive is damaged, encrypted or a bomb, or a member has no name that a file can have.
    """
    packed, given = stream.seek(0, io.SEEK_END), 0
    folders: dict[str, Path] = {}
    paths = []
    for found, archive, info in _visit(stream, name):
        place, own = re.fullmatch(r"(.*[/\\])?(.*)", found, re.DOTALL).groups()  # type: ignore[union-attr]
        if own in ("", ".", "..") or not own.isprintable() or len(own.encode()) > _LONGEST_NAME:
            raise DataError(
                f"{name} holds a file that cannot be written under its name {found[:80]!r}: unzip it by hand"
            )
        target = folders.setdefault(place or "", folder / str(len(folders))) / own
        target.parent.mkdir(parents=True, exist_ok=True)
        with _opened(archive, info, name) as source, target.open("xb") as sink:
            counted = _Counted(source, info.compress_size, f"{name}:{found}", "zip")
            while chunk := counted.read(CHUNK):
                sink.write(chunk)
                given += len(chunk)
                refuse_bomb(given, packed, name)
        paths.append(target)
    return paths


_Found = tuple[str, zipfile.ZipFile, zipfile.ZipInfo]


def _visit(stream: IO[bytes], name: str, depth: int = 0) -> Iterator[_Found]:
    """Each file of a zip, to be read before the next one is asked for: a zip inside is closed after its last file."""
    seen: set[str] = set()
    size, spooled = stream.seek(0, io.SEEK_END), 0

    def visit(inner: IO[bytes], shown: str, prefix: str, depth: int) -> Iterator[_Found]:
        nonlocal spooled
        with _archive(inner, shown) as archive:
            for info in _files(archive, shown):
                found = prefix + info.filename
                if found in seen:
                    raise DataError(f"{shown} holds two files of one name ({found}): unzip it by hand and ingest one")
                seen.add(found)
                if len(seen) > MOST_MEMBERS:
                    raise DataError(f"{name} must hold at most {MOST_MEMBERS:,} files; it holds more")
                # zips inside are opened only where a member may lie in one
                if depth < MOST_DEPTH and _is_zip(info):
                    with _spooled(archive, info, shown) as spool:
                        spooled += spool.seek(0, io.SEEK_END)
                        refuse_bomb(spooled, size, name)
                        yield from visit(spool, f"{shown}:{info.filename}", f"{found}/", depth + 1)
                else:
                    yield found, archive, info

    return visit(stream, name, "", depth)


def _find(stream: IO[bytes], name: str, chosen: str, stack: ExitStack) -> tuple[zipfile.ZipFile, zipfile.ZipInfo]:
    """The member of that name; of the zips inside only those on the way to it are opened."""
    archive = stack.enter_context(_archive(stream, name))
    files = _files(archive, name)
    same = [info for info in files if info.filename == chosen]
    if len(same) == 1:
        return archive, same[0]
    for info in files if not same else ():
        if _is_zip(info) and chosen.startswith(f"{info.filename}/"):
            spool = stack.enter_context(_spooled(archive, info, name))
            return _find(spool, f"{name}:{info.filename}", chosen.removeprefix(f"{info.filename}/"), stack)
    held = _listed([info.filename for info in files])
    raise DataError(f"{name} holds {'two members' if same else 'no member'} {chosen}; it holds {held}")


def _archive(stream: IO[bytes], name: str) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(stream)
    except DAMAGE as error:
        raise DataError(f"{name} is a damaged zip file ({error}): download it again") from error


def _files(archive: zipfile.ZipFile, name: str) -> list[zipfile.ZipInfo]:
    infos = [info for info in archive.infolist() if not info.is_dir()]
    if len(infos) > MOST_MEMBERS:
        raise DataError(f"{name} must hold at most {MOST_MEMBERS:,} files; it holds {len(infos):,}")
    return infos


def _is_zip(info: zipfile.ZipInfo) -> bool:
    return info.filename.lower().endswith(".zip")


def _listed(names: Sequence[str]) -> str:
    return ", ".join(sorted(names)[:5]) or "none"


@contextmanager
def _spooled(archive: zipfile.ZipFile, info: zipfile.ZipInfo, name: str) -> Iterator[IO[bytes]]:
    """A zip inside a zip as a file that can be read at any place."""
    shown = f"{name}:{info.filename}"
    refuse_bomb(info.file_size, info.compress_size, shown)
    with tempfile.SpooledTemporaryFile(max_size=FREE_BYTES) as spool:
        with _opened(archive, info, name) as source:
            counted = _Counted(source, info.compress_size, shown, "zip")
            while chunk := counted.read(CHUNK):
                spool.write(chunk)
        spool.seek(0)
        yield spool


def _opened(archive: zipfile.ZipFile, info: zipfile.ZipInfo, name: str) -> IO[bytes]:
    try:
        return archive.open(info)
    except DAMAGE as error:
        # zipfile tells an encrypted member by RuntimeError, an unknown compression by NotImplementedError
        raise DataError(f"{name} cannot be unzipped ({error}): download it again") from error
