"""Columns of crypto feeds as rows of the store's tables, and an event array as rows that give the same array back.

The session of a row is the UTC date on the receiver's clock (the exchange's where the feed has no receiver): raw files
are cut by it, so that no session is spread over the files of two days, one of which would replace the other's rows.
For the same reason it is the clock as recorded, also where the receiver's times are moved (`shift`, by so many ns).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from data_pipeline.book.events import LOCAL
from data_pipeline.tables.catalog import BOOK_EVENTS, DEPTH, QUOTES, TRADES
from data_pipeline.tables.spec import TableSpec

DAY_NS: Final = 86_400 * 10**9

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


def trade_rows(
    symbol: pa.Array,
    time: Ints,
    local: Ints | None,
    sequence: Ints,
    price: Floats,
    quantity: Floats,
    side: pa.Array,
    trade_id: pa.Array,
    *,
    shift: int = 0,
) -> pa.Table:
    """Rows of `trades`; side and trade_id may hold nulls."""
    nobody = pa.nulls(len(time), pa.int32())
    return _table(
        TRADES,
        symbol,
        time,
        local,
        sequence,
        shift,
        price=pa.array(price),
        quantity=pa.array(quantity),
        side=side,
        trade_id=trade_id,
        condition=pa.repeat("regular", len(time)),
        buyer=nobody,
        seller=nobody,
    )


def quote_rows(
    symbol: pa.Array,
    time: Ints,
    local: Ints | None,
    sequence: Ints,
    bid: Floats,
    bid_quantity: Floats,
    ask: Floats,
    ask_quantity: Floats,
    *,
    shift: int = 0,
) -> pa.Table:
    """Rows of `quotes`; a side whose price is not above 0 or whose quantity is 0 (or nan) is null: it is empty."""
    no_bid, no_ask = ~((bid > 0) & (bid_quantity > 0)), ~((ask > 0) & (ask_quantity > 0))
    return _table(
        QUOTES,
        symbol,
        time,
        local,
        sequence,
        shift,
        bid=pa.array(bid, mask=no_bid),
        bid_quantity=pa.array(bid_quantity, mask=no_bid),
        ask=pa.array(ask, mask=no_ask),
        ask_quantity=pa.array(ask_quantity, mask=no_ask),
    )


def depth_rows(
    symbol: pa.Array,
    time: Ints,
    local: Ints | None,
    sequence: Ints,
    bid: tuple[Floats, Floats],
    ask: tuple[Floats, Floats],
) -> pa.Table:
    """Rows of `depth` from (n, levels) prices and quantities of each side, best first; nan where there is no level."""
    columns = {}
    for side, (price, quantity) in (("bid", bid), ("ask", ask)):
        there = ~np.isnan(price)
        offsets = pa.array(np.concatenate([[0], np.cumsum(there.sum(axis=1))]).astype(np.int32))
        columns[f"{side}_prices"] = pa.ListArray.from_arrays(offsets, pa.array(price[there]))
        columns[f"{side}_quantities"] = pa.ListArray.from_arrays(offsets, pa.array(quantity[there]))
    return _table(DEPTH, symbol, time, local, sequence, 0, **columns)


def _table(
    spec: TableSpec, symbol: pa.Array, time: Ints, local: Ints | None, sequence: Ints, shift: int, **more: pa.Array
) -> pa.Table:
    kind = spec.column("time").type
    columns = {
        "session": days_of(time if local is None else local - shift),
        "symbol": symbol,
        "time": pa.array(time).cast(kind),
        "local_time": pa.nulls(len(time), kind) if local is None else pa.array(local).cast(kind),
        "sequence": pa.array(sequence),
        **more,
    }
    return pa.Table.from_arrays([columns[name] for name in spec.schema.names], schema=spec.schema)


def days_of(nanoseconds: Ints) -> pa.Array:
    """UTC dates (date32) of times in ns."""
    return pa.array((nanoseconds // DAY_NS).astype(np.int32)).view(pa.date32())


@dataclass(slots=True)
class EventRows:
    """Successive pieces of one symbol's event array, in both orders, as rows of `book_events`.

    A session ends with the first event that the receiver saw after midnight UTC, so sessions one after the other are
    the array again.
    """

    symbol: str
    shift: int = 0
    sequence: int = 0
    latest: int = -1

    def rows(self, events: NDArray[np.void]) -> pa.Table:
        """Rows of the next piece."""
        seen = np.where(events["ev"] & np.uint64(LOCAL), events["local_ts"], -1)
        if self.latest < 0 and events.size:
            seen[0] = events["local_ts"][0]
        reached = np.maximum(np.maximum.accumulate(seen), self.latest) if events.size else seen
        columns: dict[str, Any] = {name: np.ascontiguousarray(events[name]) for name in events.dtype.names or ()}
        sequence = np.arange(self.sequence, self.sequence + events.size)
        self.sequence += events.size
        self.latest = int(reached[-1]) if events.size else self.latest
        spec = BOOK_EVENTS.schema
        arrays = {
            "session": days_of(reached - self.shift),
            "symbol": pa.repeat(self.symbol, events.size),
            "sequence": sequence,
        }
        return pa.Table.from_arrays(
            [pa.array(columns[name]) if name in columns else pa.array(arrays[name]) for name in spec.names], schema=spec
        )
