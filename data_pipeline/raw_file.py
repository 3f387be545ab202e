"""A raw file as a stream of bytes, whether it lies zipped or plain, and the refusal of what is no such file."""

from __future__ import annotations

import hashlib
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from data_pipeline.errors import DataError

_CHUNK = 1 << 20
_BOMS = ((b"\xef\xbb\xbf", "UTF-8"), (b"\xff\xfe", "UTF-16"), (b"\xfe\xff", "UTF-16"))


@dataclass(frozen=True, slots=True)
class RawFile:
    """An open raw file: its stream, the number of bytes it will give, and the name errors use."""

    stream: IO[bytes]
    size: int
    name: str

    def fill(self, view: memoryview) -> int:
        """Bytes read into `view`: all of it, or fewer at the end of the file."""
        filled = 0
        try:
            while filled < len(view):
                chunk = self.stream.read(min(len(view) - filled, _CHUNK))
                if not chunk:
                    break
                view[filled : filled + len(chunk)] = chunk
                filled += len(chunk)
        except (zlib.error, zipfile.BadZipFile, EOFError) as error:
            raise DataError(f"{self.name} is a damaged zip file ({error}): download it again") from error
        return filled


def sha256_of_file(path: Path) -> str:
    """SHA-256 of the file's bytes, as hexadecimal digits."""
    digest = hashlib.sha256()
    with _open(path) as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


@contextmanager
def open_raw(path: Path) -> Iterator[RawFile]:
    """An open `RawFile`: the single member of a zip, or the plain file itself.

    Raises
    ------
    DataError
        When the file is empty, an HTML page, in a Unicode encoding with a byte-order mark, or a zip that is
        damaged, encrypted or does not hold exactly one file.
    """
    with _open(path) as stream:
        start = stream.read(512)
        refuse_foreign(start, path.name)
        stream.seek(0)
        if start.startswith(b"PK"):
            with _open_member(stream, path.name) as raw:
                yield raw
        else:
            yield RawFile(stream, path.stat().st_size, path.name)


def refuse_foreign(start: bytes, name: str) -> None:
    """Raise DataError when a file that starts so is empty, an HTML or XML page, or Unicode with a mark."""
    if not start:
        raise DataError(f"{name} is empty: the download failed or the day had no session; fetch it again")
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


@contextmanager
def _open_member(stream: IO[bytes], name: str) -> Iterator[RawFile]:
    try:
        archive = zipfile.ZipFile(stream)
    except zipfile.BadZipFile as error:
        raise DataError(f"{name} is a damaged zip file ({error}): download it again") from error
    with archive:
        members = [info for info in archive.infolist() if not info.is_dir()]
        if len(members) != 1:
            listed = ", ".join(info.filename for info in members[:5]) or "none"
            raise DataError(
                f"{name} must hold exactly one file; it holds {len(members)} ({listed}): unzip it and ingest its files"
            )
        try:
            member = archive.open(members[0])
        except (zipfile.BadZipFile, RuntimeError, NotImplementedError) as error:
            # zipfile tells an encrypted member by RuntimeError, an unknown compression by NotImplementedError
            raise DataError(f"{name} cannot be unzipped ({error}): download it again") from error
        with member:
            raw = RawFile(member, members[0].file_size, f"{name}:{members[0].filename}")
            start = bytearray(512)
            count = raw.fill(memoryview(start))
            refuse_foreign(bytes(start[:count]), raw.name)
            if start.startswith(b"PK"):
                raise DataError(f"{raw.name} is itself a zip file: unzip the outer one and ingest what it holds")
        with archive.open(members[0]) as member:
            yield RawFile(member, members[0].file_size, name)
