"""The trades and best quotes that market events hold, as rows of the tables `trades` and `quotes`."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from data_pipeline.book.bar_session import quotes_of_events
from data_pipeline.book.events import EXCH, KIND_MASK, TRADE
from data_pipeline.tables.catalog import QUOTES, TRADES
from data_pipeline.tables.spec import TableSpec


def event_trades(events: NDArray[Any]) -> pa.Table:
    """Rows of `trades`, in the exchange's order, all of the condition "regular": events tell of no other."""
    kind = events["ev"].astype(np.int64)
    chosen = events[(kind & KIND_MASK == TRADE) & (kind & EXCH != 0)]
    return _rows(
        TRADES,
        chosen.size,
        time=chosen["exch_ts"],
        local_time=chosen["local_ts"],
        price=chosen["px"],
        quantity=chosen["qty"],
        condition=np.full(chosen.size, "regular"),
    )


def event_quotes(events: NDArray[Any]) -> pa.Table:
    """Rows of `quotes`, one for each change of the best prices or quantities; none where the events build no book.

    Raises
    ------
    DataError
        When an event cannot be.
    """
    best = quotes_of_events(events)
    if best is None:
        return QUOTES.schema.empty_table()
    return _rows(
        QUOTES,
        best.times.size,
        time=best.times,
        bid=best.bid,
        bid_quantity=best.bid_quantity,
        ask=best.ask,
        ask_quantity=best.ask_quantity,
    )


def _rows(spec: TableSpec, count: int, **columns: NDArray[Any]) -> pa.Table:
    arrays = []
    for column in spec.columns:
        values = np.arange(count) if column.name == "sequence" else columns.get(column.name)
        arrays.append(pa.nulls(count, column.type) if values is None else pa.array(values).cast(column.type))
    return pa.table(arrays, names=[column.name for column in spec.columns])
