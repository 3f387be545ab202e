"""Raw files of reference data: each file that a plain file, a gzip or a zip (in a zip) holds, by name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from data_pipeline.errors import DataError
from data_pipeline.raw_file import RawFile, list_members, open_raw

MOST_BYTES: Final = 512 << 20
"""Unpacked bytes of a file that is read whole; the largest real one has a tenth of it."""


def names_in(path: Path) -> tuple[str, ...]:
    """Sorted names of the files that a zip holds; "" alone for any other file, which is its own content.

    Raises
    ------
    DataError
        When the file cannot be read, is a damaged archive or an empty one.
    """
    names = list_members(path)
    if names:
        return names
    with path.open("rb") as stream:
        if stream.read(2) == b"PK":
            raise DataError(f"{path.name} is a zip without files: the download failed; fetch it again")
    return ("",)


@contextmanager
def opened(path: Path, name: str = "") -> Iterator[RawFile]:
    """The open file of that name inside `path` (as `names_in` gives it), pages and byte-order marks allowed.

    Raises
    ------
    DataError
        As `open_raw`.
    """
    with open_raw(path, choose=name or None, markup=True) as raw:
        yield raw


def content_of(path: Path, name: str = "", most: int = MOST_BYTES) -> bytes:
    """The bytes of that file.

    Raises
    ------
    DataError
        As `open_raw`, and when it has more than `most` bytes.
    """
    with opened(path, name) as raw:
        return raw.whole(most)
