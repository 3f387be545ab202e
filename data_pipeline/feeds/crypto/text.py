"""A raw text file in blocks of whole lines, of bounded size whatever the file holds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from data_pipeline.errors import DataError
from data_pipeline.raw_file import open_raw

BLOCK: Final = 4 << 20
"""Bytes of a block, and so of the longest line."""


@dataclass(frozen=True, slots=True)
class LineBlock:
    """Whole lines.

    Attributes
    ----------
    text : (n,) uint8
        Ends with a line feed. The array is used again for the next block.
    first_line : int
        Number of the first line in the file, from 1.
    closed : bool
        False where the file's last line had no line end and one was put there.
    """

    text: NDArray[np.uint8]
    first_line: int
    closed: bool = True


def line_blocks(path: Path, *, most: int | None = None, size: int = BLOCK) -> Iterator[LineBlock]:
    """The lines of a raw file, packed or plain, in order.

    Raises
    ------
    DataError
        When the file cannot be read or unpacked, has more than `most` bytes, or a line of more than `size`.
    """
    buffer = np.empty(size + 1, dtype=np.uint8)
    held, line, total = 0, 1, 0
    with open_raw(path) as raw:
        while True:
            got = raw.fill(buffer.data[held:size])
            total += got
            if most is not None and total > most:
                raise DataError(f"{path.name} unzips to more than {most:,} bytes: split it")
            held += got
            if got == 0 and held < size:
                if held:
                    buffer[held] = 10
                    yield LineBlock(buffer[: held + 1], line, closed=False)
                return
            ends = np.flatnonzero(buffer[:held] == 10)
            if ends.size == 0:
                if held < size:
                    continue
                raise DataError(
                    f"{path.name}, line {line} has more than {size:,} bytes: this is no file of one record a line"
                )
            stop = int(ends[-1]) + 1
            yield LineBlock(buffer[:stop], line)
            line += ends.size
            buffer[: held - stop] = buffer[stop:held].copy()
            held -= stop
