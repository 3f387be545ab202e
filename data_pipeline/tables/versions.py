"""Versions of the tables' schemas: what this program reads, and how rows of an older one become rows of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from data_pipeline.errors import DataError
from data_pipeline.tables.catalog import TABLES
from data_pipeline.tables.spec import TableSpec
from data_pipeline.tables.state import TablePartition


def refuse_other_versions(
    place: str, partitions: Iterable[TablePartition], specs: Mapping[str, TableSpec] = TABLES
) -> None:
    """Raise DataError when a table is of another version than this program's."""
    for p in partitions:
        wanted = specs[p.table].version if p.table in specs else 0
        if p.version < wanted:
            raise DataError(
                f"{place}: table {p.table} has version {p.version}, this program reads version {wanted}: "
                f"run `fairfield store migrate --store {place}`"
            )
        if p.version > wanted:
            raise DataError(
                f"{place}: table {p.table} of version {p.version} is not known to this program: "
                "use the program's version that wrote it"
            )
