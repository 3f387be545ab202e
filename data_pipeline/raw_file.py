"""A raw file as a stream of bytes, whether it lies packed or plain, and the refusal of what is no such file."""

from __future__ import annotations

import hashlib
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from data_pipeline.archive import CHUNK, Choose, gunzipped, member_names, unpack_into, unzipped
from data_pipeline.errors import DataError
from data_pipeline.feeds.reading import RawHead

HEAD_BYTES = 4096
_BOMS = ((b"\xef\xbb\xbf", "UTF-8"), (b"\xff\xfe", "UTF-16"), (b"\xfe\xff", "UTF-16"))
_ZIP, _GZIP = b"PK", b"\x1f\x8b"


@dataclass(frozen=True, slots=True)
class RawFile:
    """An open raw file: its stream, the bytes it will give (None: a gzip file does not say), the name errors use."""

    stream: IO[bytes]
    size: int | None
    name: str

    def fill(self, view: memoryview) -> int:
        """Bytes read into `view`: all of it, or fewer at the end of the file."""
        filled = 0
        try:
            while filled < len(view):
                chunk = self.stream.read(min(len(view) - filled, CHUNK))
                if not chunk:
                    break
                view[filled : filled + len(chunk)] = chunk
                filled += len(chunk)
        except (zlib.error, zipfile.BadZipFile, EOFError) as error:
            raise DataError(f"{self.name} is a damaged zip file ({error}): download it again") from error
        return filled

    def whole(self, most: int) -> bytes:
        """The rest of the stream.

        Raises
        ------
        DataError
            When it is damaged or gives more than `most` bytes; memory never holds much more than the file gives.
        """
        if self.size is not None and self.size > most:
            raise DataError(f"{self.name} has {self.size:,} bytes, more than {most:,}: split it")
        content = bytearray()
        while chunk := self.stream.read(CHUNK):
            content += chunk
            if len(content) > most:
                raise DataError(f"{self.name} has more than {most:,} bytes: split it")
        return bytes(content)


def sha256_of_file(path: Path) -> str:
    """SHA-256 of the file's bytes, as hexadecimal digits."""
    digest = hashlib.sha256()
    with _open(path) as stream:
        while chunk := stream.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def newest(names: Sequence[str]) -> str:
    """The last name in order: of several versions that carry their time in the name, the one made last."""
    return max(names)


@contextmanager
def open_raw(path: Path, *, choose: Choose | str | None = None, markup: bool = False) -> Iterator[RawFile]:
    """An open `RawFile`: a plain file itself, the content of a gzip file, a member of a zip.

    Parameters
    ----------
    path : Path
    choose : str or callable, optional
        Which member of a zip is meant: its name, or a choice among the sorted names of all (`newest`); a zip inside the
        zip is looked into, its members are called "inner.zip/member". Without it the zip must hold exactly one file,
        which is no zip itself.
    markup : bool
        Whether the format is XML or HTML; where it is not, such a page is what a failed download leaves.

    Raises
    ------
    DataError
        When the file is empty, a page, in a Unicode encoding with a byte-order mark, or an archive that is damaged,
        encrypted, a bomb of compressed size, or without the one member that is meant. Reading the stream of an
        archive that is damaged further on raises it too.
    """
    with _open(path) as stream:
        start = stream.read(512)
        refuse_foreign(start, path.name, markup=markup)
        stream.seek(0)
        if start.startswith(_ZIP):
            with unzipped(stream, path.name, choose) as member:
                inside = f"{path.name}:{member.name}"
                first = member.stream.peek(512)
                refuse_foreign(first, inside, markup=markup)
                if first.startswith(_ZIP):
                    raise DataError(f"{inside} is itself a zip file: unzip the outer one and ingest what it holds")
                yield RawFile(member.stream, member.size, inside if choose else path.name)
        elif start.startswith(_GZIP):
            unpacked = gunzipped(stream, path.stat().st_size, path.name)
            first = unpacked.peek(512)
            refuse_foreign(first, path.name, markup=markup)
            if first.startswith((_ZIP, _GZIP)):
                raise DataError(f"{path.name} holds a packed file again: unpack the outer one and ingest what it holds")
            yield RawFile(unpacked, None, path.name)
        else:
            yield RawFile(stream, path.stat().st_size, path.name)


def read_head(path: Path) -> RawHead:
    """The start of a raw file, unpacked; of a zip of several members that of the newest by name.

    Markup is not refused here: some formats are XML or HTML.

    Raises
    ------
    DataError
        When the file is empty, cannot be read or is a damaged archive.
    """
    with _open(path) as stream:
        start = stream.read(HEAD_BYTES)
        if not start:
            refuse_foreign(start, path.name)
        stream.seek(0)
        if start.startswith(_ZIP):
            with unzipped(stream, path.name, newest) as member:
                return RawHead(path, member.name, member.stream.read(HEAD_BYTES))
        if start.startswith(_GZIP):
            unpacked = gunzipped(stream, path.stat().st_size, path.name)
            return RawHead(path, path.name, unpacked.read(HEAD_BYTES))
        return RawHead(path, path.name, start)


def list_members(path: Path) -> tuple[str, ...]:
    """Sorted names of what a zip holds, zips inside it included ("inner.zip/member"); () for what is no zip.

    Raises
    ------
    DataError
        When the file cannot be read or is a damaged archive.
    """
    with _open(path) as stream:
        start = stream.read(2)
        stream.seek(0)
        return member_names(stream, path.name) if start == _ZIP else ()


def unpack(path: Path, folder: Path) -> list[Path]:
    """The files of a zip, and of zips inside it, written below `folder`.

    Raises
    ------
    DataError
        When it cannot be read, is a damaged archive or a bomb.
    """
    with _open(path) as stream:
        return unpack_into(stream, path.name, folder)


def refuse_foreign(start: bytes, name: str, *, markup: bool = False) -> None:
    """Raise DataError when a file that starts so is empty, a page (unless `markup`), or Unicode with a mark."""
    if not start:
        raise DataError(f"{name} is empty: the download failed or the day had no session; fetch it again")
    if markup:
        return
    if start.lstrip()[:1] == b"<":
        raise DataError(
            f"{name} is an HTML or XML page, not market data: the download failed or the day does not exist; "
            "open it in a browser to see why, then fetch it again"
        )
    for mark, encoding in _BOMS:
        if start.startswith(mark):
            raise DataError(
                f"{name} starts with a {encoding} byte-order mark: it was re-saved by a program that changes bytes; "
                "use the file as the exchange gave it (ISO-8859-1, one byte per column)"
            )


def _open(path: Path) -> IO[bytes]:
    try:
        return path.open("rb")
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error
