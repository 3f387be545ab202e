"""B3's raw order files, OFER_CPA_* (buys) and OFER_VDA_* (sells): both are parsed, then taken instrument by instrument.

A day of all shares has tens of millions of events and an instrument's buys and sells lie in two files, so the rows wait
in temporary files, a few instruments in each; one of these at a time is in memory.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import numpy as np

from data_pipeline.errors import DataError
from data_pipeline.feeds.b3 import kernels
from data_pipeline.feeds.b3 import orders_rows as orders
from data_pipeline.feeds.b3.old_trades import Frame, refusal
from data_pipeline.feeds.b3.trades_text import Block, Field, Symbols, Waiting, iter_blocks
from data_pipeline.feeds.reading import Tally
from data_pipeline.raw_file import open_raw

FIELDS: Final = (
    Field("SessionDate", kernels.DATE),
    Field("InstrumentSymbol", kernels.SYMBOL),
    Field("OrderSide", kernels.WHOLE),
    Field("SequentialOrderNumber", kernels.WHOLE),
    Field("SecondaryOrderID", kernels.WHOLE),
    Field("ExecutionType", kernels.WHOLE),
    Field("PriorityTime", kernels.CLOCK),
    Field("PriorityIndicator", kernels.SKIP),
    Field("OrderPrice", kernels.DECIMAL),
    Field("TotalQuantity", kernels.WHOLE),
    Field("TradedQuantity", kernels.WHOLE),
    Field("OrderDate", kernels.SKIP),
    Field("OrderDatetime", kernels.SKIP),
    Field("OrderStatus", kernels.LETTER),
    Field("AggressorIndicator", kernels.WHOLE),
    Field("Member", kernels.OPTIONAL),
)
BUYS, SELLS = "OFER_CPA", "OFER_VDA"
_SIDE_OF: Final = {BUYS: 1, SELLS: 2}
_GROUPS: Final = 32
_IN_MEMORY: Final = 4 << 20
"""Bytes of each of the groups that do not go to disk."""
_EXACT: Final = (1 << 53) - 1


def raw_instruments(files: tuple[Path, ...], tally: Tally) -> Iterator[tuple[str, orders.Rows]]:
    """Each instrument's events of a session, (name, rows), from a pair of raw files; sorted by name within a group.

    Raises
    ------
    DataError
        When a file is damaged or cut, or one of the pair is missing or there twice.
    """
    symbols = Symbols()
    with ExitStack() as stack:
        groups = [
            Waiting(stack.enter_context(tempfile.TemporaryFile(prefix="fairfield-orders-")), orders.ROW, _IN_MEMORY)
            for _ in range(_GROUPS)
        ]
        kinds: list[str] = []
        rows_before = tally.rows
        for path in files:
            kinds.append(_spread(path, symbols, groups, tally))
        names = ", ".join(path.name for path in files)
        if sorted(kinds) != [BUYS, SELLS]:
            raise DataError(
                f"{names} must be two files of one day, {BUYS} and {SELLS}; they are {' and '.join(kinds)}: a book "
                "needs both sides, give the other file too"
            )
        if tally.rows == rows_before:
            raise DataError(f"{names} have no events: fetch them again")
        texts = symbols.texts()
        for group in groups:
            yield from _instruments(group, texts)


def _instruments(group: Waiting, texts: list[str]) -> Iterator[tuple[str, orders.Rows]]:
    parts = [part for part in group.take() if part.size]
    if not parts:
        return
    rows = np.concatenate(parts)
    parts.clear()
    rows = rows.take(np.lexsort((rows["line"], rows["session"], rows["symbol"])))
    yield from split_instruments(rows, texts)


def split_instruments(rows: orders.Rows, texts: list[str]) -> Iterator[tuple[str, orders.Rows]]:
    """(instrument, rows) of each instrument and session; rows are sorted by these."""
    cuts = np.flatnonzero((np.diff(rows["symbol"]) != 0) | (np.diff(rows["session"]) != 0)) + 1
    for part in np.split(rows, cuts):
        yield texts[int(part["symbol"][0])], part


def _spread(path: Path, symbols: Symbols, groups: list[Waiting], tally: Tally) -> str:
    """Put the rows of a file into the groups; which of the two files it is."""
    with open_raw(path) as raw:
        frame = Frame(raw.name, tuple(_SIDE_OF), FIELDS)
        for block in iter_blocks(raw, frame.layout, symbols):
            rows = _rows(block, raw.name, _SIDE_OF[frame.kind], tally.rows)
            tally.rows += block.rows
            tally.add("events_with_more_traded_than_ordered", (rows["traded"] > rows["total"]).sum())
            group = rows["symbol"] % _GROUPS
            for number in np.unique(group).tolist():
                groups[number].put(rows.take(np.flatnonzero(group == number)))
        frame.check()
        return frame.kind


def _rows(block: Block, name: str, side: int, start: int) -> orders.Rows:
    columns, refuse = block.columns, refusal(name, block)
    refuse("OrderSide", (side,))
    refuse("ExecutionType", (orders.NEW, orders.ELIMINATED))
    refuse("AggressorIndicator", (0, 2))
    refuse("Member", (-1, (1 << 31) - 1))
    refuse("TotalQuantity", (0, _EXACT))
    refuse("TradedQuantity", (0, _EXACT))
    kind, price = columns["ExecutionType"], columns["OrderPrice"]
    for bad, column, rule in (
        (~np.isin(kind, list(orders.KIND_WORDS)), "ExecutionType", "1 to 9, 11 or 12"),
        (price < 0, "OrderPrice", "0 or more"),
        (~np.isin(columns["OrderStatus"], list(orders.STATUS_WORDS)), "OrderStatus", "0, 1, 2, 4, 5, 8 or C"),
    ):
        if bad.any():
            row = int(np.argmax(bad))
            raise DataError(
                f"{name}, line {block.first_line + row}: {column} must be {rule}; was {columns[column][row]}; "
                "fetch the file again"
            )
    rows = np.zeros(block.rows, dtype=orders.ROW)
    rows["symbol"], rows["session"] = columns["InstrumentSymbol"], columns["SessionDate"]
    rows["order"], rows["secondary"] = columns["SequentialOrderNumber"], columns["SecondaryOrderID"]
    rows["time_us"], rows["price"] = columns["PriorityTime"], price
    rows["total"], rows["traded"] = columns["TotalQuantity"], columns["TradedQuantity"]
    rows["side"] = 1 if side == 1 else -1
    rows["kind"], rows["aggressor"] = kind, columns["AggressorIndicator"]
    rows["status"], rows["member"] = columns["OrderStatus"], columns["Member"]
    rows["line"] = np.arange(start, start + block.rows)
    return rows
