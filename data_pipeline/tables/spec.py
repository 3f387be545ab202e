"""What a table of the store is: its columns with units and ranges, its key, its order, and how it is cut into files."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import pyarrow as pa

Period = Literal["day", "month", "year"]


@dataclass(frozen=True, slots=True)
class Column:
    """One column.

    Attributes
    ----------
    name : str
    type : pyarrow.DataType
    meaning : str
        What a value says, with its unit.
    nullable : bool
        Whether a value may be absent; an absent value is null, never a made-up number.
    low, high : float, optional
        Smallest and largest value that can be true, both included.
    words : tuple of str
        The only texts allowed, where there are few.
    finite : bool
        Whether a floating value must be a finite number (the rule).
    """

    name: str
    type: pa.DataType
    meaning: str
    nullable: bool = False
    low: float | None = None
    high: float | None = None
    words: tuple[str, ...] = ()
    finite: bool = True


@dataclass(frozen=True)
class TableSpec:
    """One table.

    Attributes
    ----------
    name : str
    version : int
        Of the schema; a store with an older one is migrated by a named step, never read as if it were new.
    meaning : str
    columns : tuple of Column
    date : str
        date32 column that places a row in a partition.
    period : "day", "month" or "year"
        What one partition spans.
    symbol : str
        String column on which rows are clustered: reading one symbol touches few row groups.
    order : tuple of str
        The sort order of the rows in a part, beginning with `symbol`; rows equal in it keep the feed's order.
    key : tuple of str
        Columns that together occur once among the rows of one cell; empty where rows may repeat. It holds every column
        of `order`.
    apart : tuple of str
        Columns that, with the symbol and the date, tell what a later file replaces: rows of another document of the
        same entity and day stay. Empty for most tables: a file gives all of a symbol's session.
    paired : tuple of pairs of str
        List columns that have as many items as one another in every row.
    """

    name: str
    version: int
    meaning: str
    columns: tuple[Column, ...]
    date: str
    period: Period
    symbol: str
    order: tuple[str, ...]
    key: tuple[str, ...] = ()
    apart: tuple[str, ...] = ()
    paired: tuple[tuple[str, str], ...] = ()

    @property
    def cell(self) -> tuple[str, ...]:
        """Columns whose values together come from one file: the later one that has them."""
        return self.symbol, self.date, *self.apart

    @property
    def once(self) -> tuple[str, ...]:
        """Columns that together occur once in the table: the key within a cell; none where rows may repeat.

        Two documents may state the same fact: they are two cells, and the rows of both stay.
        """
        return tuple(dict.fromkeys((*self.key, *self.cell))) if self.key else ()

    @cached_property
    def schema(self) -> pa.Schema:
        """The Arrow schema of the rows."""
        return pa.schema([pa.field(c.name, c.type, nullable=c.nullable) for c in self.columns])

    def column(self, name: str) -> Column:
        """The column of that name.

        Raises
        ------
        ValueError
            When there is none.
        """
        for column in self.columns:
            if column.name == name:
                return column
        raise ValueError(f"column must be one of {', '.join(c.name for c in self.columns)}; was {name!r}")
