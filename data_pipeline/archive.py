"""What lies packed in a raw file, as streams of bytes: gzip, zip, zips inside a zip, none of which may be a bomb.

A stream gives its bytes or raises DataError; nothing is unpacked before it is asked for, but for a zip inside a zip,
which lies in a temporary file while it is open.
"""

from __future__ import annotations

import io
import lzma
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
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
def unzipped(stream: IO[bytes], name: str, choose: Choose | None = None) -> Iterator[Member]:
    """The only member of a zip, or the one that `choose` names among all, those of zips inside it included.

    Raises
    ------
    DataError
        When the archive is damaged, encrypted, a bomb, or (without `choose`) does not hold exactly one file.
    """
    with ExitStack() as stack:
        found = dict(sorted(_members(stream, name, "", stack, 0 if choose else MOST_DEPTH)))
        if choose is None and len(found) != 1:
            listed = ", ".join(list(found)[:5]) or "none"
            raise DataError(
                f"{name} must hold exactly one file; it holds {len(found)} ({listed}): unzip it and ingest its files"
            )
        if not found:
            raise DataError(f"{name} holds no file: download it again")
        chosen = choose(list(found)) if choose else next(iter(found))
        if chosen not in found:
            raise DataError(f"{name} holds no member {chosen}; it holds {', '.join(list(found)[:5])}")
        archive, info = found[chosen]
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
    with ExitStack() as stack:
        return tuple(sorted(found for found, _ in _members(stream, name, "", stack, 0)))


_Found = tuple[str, tuple[zipfile.ZipFile, zipfile.ZipInfo]]


def _members(stream: IO[bytes], name: str, prefix: str, stack: ExitStack, depth: int) -> Iterator[_Found]:
    try:
        archive = stack.enter_context(zipfile.ZipFile(stream))
    except DAMAGE as error:
        raise DataError(f"{name} is a damaged zip file ({error}): download it again") from error
    infos = [info for info in archive.infolist() if not info.is_dir()]
    if len(infos) > MOST_MEMBERS:
        raise DataError(f"{name} must hold at most {MOST_MEMBERS:,} files; it holds {len(infos):,}")
    for info in infos:
        # zips inside are opened only where a member may lie in one
        if depth < MOST_DEPTH and info.filename.lower().endswith(".zip"):
            inner = _spooled(archive, info, name, stack)
            yield from _members(inner, f"{name}:{info.filename}", f"{prefix}{info.filename}/", stack, depth + 1)
        else:
            yield prefix + info.filename, (archive, info)


def _spooled(archive: zipfile.ZipFile, info: zipfile.ZipInfo, name: str, stack: ExitStack) -> IO[bytes]:
    """A zip inside a zip as a file that can be read at any place."""
    shown = f"{name}:{info.filename}"
    refuse_bomb(info.file_size, info.compress_size, shown)
    spool = stack.enter_context(tempfile.SpooledTemporaryFile(max_size=FREE_BYTES))  # noqa: SIM115
    with _opened(archive, info, name) as source:
        counted = _Counted(source, info.compress_size, shown, "zip")
        buffer = bytearray(CHUNK)
        while count := counted.readinto(buffer):
            spool.write(memoryview(buffer)[:count])
    spool.seek(0)
    return spool


def _opened(archive: zipfile.ZipFile, info: zipfile.ZipInfo, name: str) -> IO[bytes]:
    try:
        return archive.open(info)
    except DAMAGE as error:
        # zipfile tells an encrypted member by RuntimeError, an unknown compression by NotImplementedError
        raise DataError(f"{name} cannot be unzipped ({error}): download it again") from error
