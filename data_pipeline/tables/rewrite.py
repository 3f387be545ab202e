"""Parts into other parts: several into one, and one without some of its rows; memory holds a few row groups."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from data_pipeline.tables.digest import row_digest
from data_pipeline.tables.files import LocalFiles, StoreFiles
from data_pipeline.tables.part_reader import iter_rows
from data_pipeline.tables.part_writer import PartWriter
from data_pipeline.tables.sorting import merge_sorted, with_rows
from data_pipeline.tables.spec import TableSpec
from data_pipeline.tables.state import DIGEST_BITS, Name, TablePart

MOST_OPEN: Final = 64
"""Parts that are read side by side, each with a row group in memory; more of them are joined in rounds."""


class PlacedPart(NamedTuple):
    """A part and where it lies: in the store or in a staging folder."""

    part: TablePart
    files: StoreFiles


def join_parts(spec: TableSpec, name: Name, parts: Sequence[PlacedPart], staging: Path) -> TablePart:
    """One part below `staging` with the rows of all of them, whose symbols and sessions are disjoint."""
    chains = chains_of(parts)
    if len(chains) > MOST_OPEN:
        return _join_in_rounds(spec, name, chains, staging)
    sources = tuple(dict.fromkeys(source for placed in parts for source in placed.part.sources))
    with PartWriter(spec, name, staging, sources) as writer:
        numbered = {placed.part.path: number for number, placed in enumerate(parts)}
        runs = [_chain(chain, numbered) for chain in chains]
        for rows in merge_sorted(runs, spec.order):
            writer.write(rows)
    return writer.part


def _join_in_rounds(spec: TableSpec, name: Name, chains: Sequence[Sequence[PlacedPart]], staging: Path) -> TablePart:
    made: list[PlacedPart] = []
    for first in range(0, len(chains), MOST_OPEN):
        group = [placed for chain in chains[first : first + MOST_OPEN] for placed in chain]
        made.append(PlacedPart(join_parts(spec, name, group, staging), LocalFiles(staging)))
    whole = join_parts(spec, name, made, staging)
    for placed in made:
        placed.files.remove(placed.part.path)
    return whole


def chains_of(parts: Sequence[PlacedPart]) -> list[list[PlacedPart]]:
    """The parts in as few chains as their symbols allow: in a chain each part ends before the next one begins.

    Thousands of parts of one symbol each are then one run, read one after the other.
    """
    chains: list[list[PlacedPart]] = []
    for placed in sorted(parts, key=lambda p: (p.part.first, p.part.last)):
        chain = next((c for c in chains if c[-1].part.last < placed.part.first), None)
        if chain is None:
            chains.append([placed])
        else:
            chain.append(placed)
    return chains


def _chain(chain: Sequence[PlacedPart], numbered: Mapping[str, int]) -> Iterator[pa.Table]:
    for placed in chain:
        first = numbered[placed.part.path] << 40
        for rows in iter_rows(placed.files, placed.part):
            yield with_rows(rows, first)
            first += rows.num_rows


def cells_of(spec: TableSpec, placed: PlacedPart) -> pa.Table:
    """The cells (`TableSpec.cell`: pairs of symbol and session, for most tables) in a part, each once."""
    pieces = [distinct_cells(spec, rows) for rows in iter_rows(placed.files, placed.part, spec.cell)]
    return distinct_cells(spec, pa.concat_tables(pieces))


def distinct_cells(spec: TableSpec, rows: pa.Table) -> pa.Table:
    """The cells of some rows, each once."""
    names = list(spec.cell)
    return rows.select(names).group_by(names, use_threads=False).aggregate([])


def in_cells(spec: TableSpec, rows: pa.Table, cells: pa.Table) -> NDArray[np.bool_]:
    """Whether each row is of one of the cells."""
    values = {name: pc.unique(cells[name]) for name in spec.cell}
    wanted = np.unique(_codes(cells, values))
    return np.isin(_codes(rows, values), wanted)


def _codes(rows: pa.Table, values: Mapping[str, pa.Array]) -> NDArray[np.int64]:
    """One number for each cell made of `values`; -1 for rows with another value."""
    code = np.zeros(rows.num_rows, dtype=np.int64)
    known = np.ones(rows.num_rows, dtype=np.bool_)
    for name, own in values.items():
        place = pc.fill_null(pc.index_in(rows[name], own), -1).to_numpy().astype(np.int64)
        known &= place >= 0
        code = code * len(own) + place
    return np.where(known, code, -1)


def only_cells(spec: TableSpec, placed: PlacedPart, cells: pa.Table) -> tuple[int, int]:
    """Rows of a part that are of `cells`: their number and digest."""
    rows, digest = 0, 0
    for group in iter_rows(placed.files, placed.part):
        chosen = group.filter(pa.array(in_cells(spec, group, cells)))
        rows += chosen.num_rows
        digest += row_digest(chosen)
    return rows, digest % (1 << DIGEST_BITS)


def without_cells(spec: TableSpec, name: Name, placed: PlacedPart, cells: pa.Table, staging: Path) -> TablePart | None:
    """A part below `staging` with the rows that are of none of `cells`; None when there are none."""
    with PartWriter(spec, name, staging, placed.part.sources) as writer:
        for group in iter_rows(placed.files, placed.part):
            writer.write(group.filter(pa.array(~in_cells(spec, group, cells))))
    return writer.finished
