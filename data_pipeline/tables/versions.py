"""Versions of the tables' schemas: what this program reads, and how rows of an older one become rows of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import pyarrow as pa

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


@dataclass(frozen=True, slots=True)
class Step:
    """How rows of one version of a table become rows of the next.

    Attributes
    ----------
    name : str
        What it does, for the person who migrates.
    change : callable
        Rows in the old schema -> rows in the new one, each from its own row alone.
    """

    name: str
    change: Callable[[pa.Table], pa.Table]


STEPS: Final[Mapping[tuple[str, int], Step]] = {}
"""By table and old version: the step to the next version. Whoever raises a table's version adds its step here."""


def steps_of(spec: TableSpec, version: int, steps: Mapping[tuple[str, int], Step] = STEPS) -> tuple[Step, ...]:
    """The steps from `version` to the table's own.

    Raises
    ------
    DataError
        When one is not known, or the version is newer than the program's.
    """
    if version > spec.version:
        raise DataError(
            f"table {spec.name} of version {version} is not known to this program: use the one that wrote it"
        )
    lacking = [v for v in range(version, spec.version) if (spec.name, v) not in steps]
    if lacking:
        raise DataError(
            f"table {spec.name} cannot go from version {lacking[0]} to {lacking[0] + 1}: "
            "ingest its raw files into a new store"
        )
    return tuple(steps[spec.name, v] for v in range(version, spec.version))
