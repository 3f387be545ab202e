"""What a reader of a raw format gives: rows of the store's tables in bounded batches, and what it dropped, by name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import pyarrow as pa


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows of one table of one venue, in any order; they may span several sessions and symbols.

    Attributes
    ----------
    table : str
        Name in `data_pipeline.tables.catalog.TABLES`.
    venue : str
        Upper case, letters, digits and underscores: B3, NASDAQ, BINANCE_USDM, DERIBIT, CVM, BCB, ...
    rows : pyarrow.Table
        In the table's schema.
    """

    table: str
    venue: str
    rows: pa.Table


@dataclass(slots=True)
class Tally:
    """What a reader counts while its batches are drawn; whole once they are.

    Attributes
    ----------
    rows : int
        Records in the file, whatever became of them.
    counts : dict of str to int
        Each named rule (a repair, a drop, an oddity) with the records it touched.
    notes : list of str
        Sentences for the person who ingests the file.
    """

    rows: int = 0
    counts: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def add(self, rule: str, number: int) -> None:
        """Count `number` more records under `rule`."""
        self.counts[rule] = self.counts.get(rule, 0) + int(number)


@dataclass(frozen=True, slots=True)
class RawHead:
    """The start of a raw file, unpacked: what tells its format.

    Attributes
    ----------
    path : Path
    member : str
        Name of the member when the file is an archive, else the file's own name.
    start : bytes
        First bytes (up to 4,096) of the content.
    """

    path: Path
    member: str
    start: bytes


class Feed(Protocol):
    """A raw format."""

    name: str

    def recognises(self, head: RawHead) -> bool:
        """Whether the file is of this format, by its content and, where content cannot tell, its name."""
        ...

    def group(self, paths: Sequence[Path]) -> list[tuple[Path, ...]]:
        """The recognised files in sets that are read together (most formats: one each)."""
        ...

    def read(self, files: tuple[Path, ...], tally: Tally, options: Mapping[str, str]) -> Iterator[Batch]:
        """The rows, in batches of bounded size; `tally` is whole when the iterator ends.

        Raises
        ------
        DataError
            When the files cannot be used: what, where (file, line or byte) and what to do. Batches drawn before must
            then be thrown away.
        """
        ...
