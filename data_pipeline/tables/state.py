"""What the manifest says of the tables: the parts that hold the rows of each venue and period, and their sources.

Named tuples, not dataclasses: a store of ten thousand parts is opened in milliseconds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

DIGEST_BITS: Final = 128
Name = tuple[str, str, str]
"""Table, venue and period: what one folder of the store holds."""


class TablePart(NamedTuple):
    """One Parquet file of a table. The rows of one cell (`TableSpec.cell`) lie in one part only.

    Attributes
    ----------
    path : str
        Relative to the store.
    sha256 : str
        Of the file's bytes.
    rows, bytes : int
    first, last : str
        Smallest and largest symbol in it.
    symbols : int
        How many different ones.
    digest : int
        Sum of the digests of its rows (`digest.row_digest`): the same for equal rows in however many parts.
    sources : tuple of str
        SHA-256 of the raw files (see `Manifest.sources`) whose rows it holds, in order.
    """

    path: str
    sha256: str
    rows: int
    bytes: int
    first: str
    last: str
    symbols: int
    digest: int
    sources: tuple[str, ...]


class TablePartition(NamedTuple):
    """The rows of one table, venue and period ("2023-01-05", "2023-01" or "2023"): parts in order of `first`, `sha256`.

    `version` is that of the table's schema when the parts were written.
    """

    table: str
    venue: str
    period: str
    version: int
    parts: tuple[TablePart, ...]

    @property
    def name(self) -> Name:
        """Table, venue and period."""
        return self.table, self.venue, self.period

    @property
    def rows(self) -> int:
        """Rows in all parts."""
        return sum(part.rows for part in self.parts)

    @property
    def bytes(self) -> int:
        """Bytes of all parts on disk."""
        return sum(part.bytes for part in self.parts)

    @property
    def digest(self) -> int:
        """Digest of the rows, whatever parts they lie in."""
        return sum(part.digest for part in self.parts) % (1 << DIGEST_BITS)


def folder_of(name: Name) -> str:
    """The folder of a partition, relative to the store."""
    table, venue, period = name
    return f"{table}/venue={venue}/date={period}"


def part_path(name: Name, sha256: str) -> str:
    """The content-addressed path of a part, relative to the store."""
    return f"{folder_of(name)}/part-{sha256[:16]}.parquet"


def in_order(partitions: Iterable[TablePartition]) -> tuple[TablePartition, ...]:
    """The partitions by table, venue and period, each with its parts in order; empty ones are left out."""
    return tuple(
        sorted(
            p._replace(parts=tuple(sorted(p.parts, key=lambda q: (q.first, q.sha256)))) for p in partitions if p.parts
        )
    )


def encode(partitions: Sequence[TablePartition]) -> dict[str, list[list[Any]]]:
    """JSON form: for each table, rows of venue, period, version and parts; paths follow from the hashes."""
    tables: dict[str, list[list[Any]]] = {}
    for p in partitions:
        parts = [
            [q.sha256, q.rows, q.bytes, q.first, q.last, q.symbols, f"{q.digest:032x}", list(q.sources)]
            for q in p.parts
        ]
        tables.setdefault(p.table, []).append([p.venue, p.period, p.version, parts])
    return tables


def decode(
    table: str, rows: Sequence[Sequence[Any]], near: Callable[[str, str], bool] | None = None
) -> tuple[TablePartition, ...]:
    """The partitions of one table from their JSON form; only those whose venue and period are `near`, if given.

    Raises
    ------
    KeyError, TypeError, ValueError
        When it is not that form.
    """
    found = []
    for venue, period, version, parts in rows:
        if near is not None and not near(venue, period):
            continue
        folder = f"{table}/venue={venue}/date={period}/part-"
        found.append(
            TablePartition(
                table,
                venue,
                period,
                version,
                tuple(
                    TablePart(
                        f"{folder}{sha[:16]}.parquet", sha, n, size, first, last, symbols, int(digest, 16), tuple(own)
                    )
                    for sha, n, size, first, last, symbols, digest, own in parts
                ),
            )
        )
    return tuple(found)


def totals(partitions: Iterable[TablePartition]) -> Mapping[str, tuple[int, int]]:
    """Rows and parts by table."""
    sums: dict[str, tuple[int, int]] = {}
    for p in partitions:
        rows, parts = sums.get(p.table, (0, 0))
        sums[p.table] = rows + p.rows, parts + len(p.parts)
    return sums
