"""B3's order-by-order files (OFER) to the tables `orders` and `book_events`; `read_b3_orders` reads one instrument.

Every row is an event of one order: New, Update (a new price or quantity), Trade (one row for each of the two orders),
Cancel. SecondaryOrderID counts the events of an instrument and gives their order. PriorityTime is the event's local
time; OrderDatetime of the decoded CSV is the same in UTC and whole seconds.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from data_pipeline.feeds.b3 import orders_rows as orders
from data_pipeline.feeds.b3.orders_book import rebuild_book
from data_pipeline.feeds.b3.orders_decoded import NEEDED, header_names, read_decoded
from data_pipeline.feeds.b3.orders_raw import BUYS, SELLS, raw_instruments, split_instruments
from data_pipeline.feeds.b3.orders_record import check_clock, read_b3_orders
from data_pipeline.feeds.b3.orders_rows import OrderSequence
from data_pipeline.feeds.b3.trades import members
from data_pipeline.feeds.b3.trades_text import session_column, time_column, utc_ns, words
from data_pipeline.feeds.reading import Batch, RawHead, Tally
from data_pipeline.raw_file import read_head
from data_pipeline.tables.catalog import BOOK_EVENTS, ORDERS

__all__ = ["B3_ORDERS", "OrdersFeed", "read_b3_orders"]

_RAW: Final = re.compile(rf"^RH ({BUYS}|{SELLS})\w* ", re.ASCII)
_BATCH_ROWS: Final = 100_000
_KINDS: Final = pa.array([orders.KIND_WORDS.get(code, "") for code in range(orders.ELIMINATED + 1)])
_STATUS_CODES: Final = np.array([orders.NO_STATUS, *orders.STATUS_WORDS])
_STATUS: Final = pa.array([None, *orders.STATUS_WORDS.values()], pa.string())


class OrdersFeed:
    """The `Feed` of order files: the raw pair OFER_CPA, OFER_VDA, or one CSV decoded from them; zipped or plain."""

    name = "b3_orders"

    def recognises(self, head: RawHead) -> bool:
        """Whether the first line is RH OFER_CPA, RH OFER_VDA, or names the columns of a decoded file."""
        line = head.start.partition(b"\n")[0]
        return _is_raw(line) or set(NEEDED) <= set(header_names(line))

    def group(self, paths: Sequence[Path]) -> list[tuple[Path, ...]]:
        """Buys and sells of the same name and folder together, decoded files by themselves."""
        sets: dict[tuple[Path, str], list[Path]] = {}
        for path in sorted(paths):
            sets.setdefault((path.parent, path.name.upper().replace(SELLS, BUYS)), []).append(path)
        return [tuple(found) for found in sets.values()]

    def read(self, files: tuple[Path, ...], tally: Tally, options: Mapping[str, str]) -> Iterator[Batch]:
        """The order events as they are, and the book events that follow from them.

        Raises
        ------
        DataError
            When a file is damaged: its name, the line, the field and the text; or one of a raw pair is missing.
        """
        if _is_raw(read_head(files[0]).start):
            instruments = raw_instruments(files, tally)
        else:
            instruments = (one for path in files for one in _decoded_instruments(path, tally))
        yield from _batches(instruments, files[0].name, tally)


def _is_raw(start: bytes) -> bool:
    return _RAW.match(start[:40].decode("latin-1")) is not None


def _decoded_instruments(path: Path, tally: Tally) -> Iterator[tuple[str, orders.Rows]]:
    rows, texts = read_decoded(path)
    tally.rows += rows.size
    tally.add("order_times_that_disagree", check_clock(rows, path.name))
    tally.add("events_with_more_traded_than_ordered", (rows["traded"] > rows["total"]).sum())
    yield from split_instruments(rows[np.lexsort((rows["line"], rows["session"], rows["symbol"]))], texts)


def _batches(instruments: Iterator[tuple[str, orders.Rows]], name: str, tally: Tally) -> Iterator[Batch]:
    """Both tables, instrument by instrument; small instruments are put together."""
    waiting: list[tuple[pa.Table, pa.Table]] = []
    size = 0
    unknown = 0
    for symbol, rows in instruments:
        events = OrderSequence(rows)
        events.refuse_two_sides(f"{name}, {symbol}")
        made, counts = rebuild_book(events)
        for rule, number in (events.counts | counts).items():
            tally.add(rule, number)
        unknown += events.entered_before()
        waiting.append((_orders_table(symbol, events.rows), _events_table(symbol, int(rows["session"][0]), made)))
        size += rows.size
        if size >= _BATCH_ROWS:
            yield from _joined(waiting)
            waiting, size = [], 0
    if waiting:
        yield from _joined(waiting)
    tally.add("orders_seen_without_their_entry", unknown)
    if unknown:
        tally.notes.append(
            f"{name}: {unknown:,} orders were there before the file begins; until its first event each is missing in "
            "the rebuilt book"
        )


def _joined(waiting: list[tuple[pa.Table, pa.Table]]) -> Iterator[Batch]:
    yield Batch("orders", "B3", pa.concat_tables([one for one, _ in waiting]))
    yield Batch("book_events", "B3", pa.concat_tables([one for _, one in waiting]))


def _orders_table(symbol: str, rows: orders.Rows) -> pa.Table:
    times = time_column(utc_ns(rows["session"], rows["time_us"]))
    place = np.searchsorted(_STATUS_CODES, rows["status"])
    columns = {
        "session": session_column(rows["session"]),
        "symbol": pa.repeat(symbol, rows.size),
        "time": times,
        "sequence": pa.array(np.ascontiguousarray(rows["line"])),
        "side": pa.array(np.ascontiguousarray(rows["side"])),
        "order_id": pa.array(np.ascontiguousarray(rows["order"])),
        "secondary_id": pa.array(np.ascontiguousarray(rows["secondary"])),
        "event": words(rows["kind"], _KINDS),
        "priority_time": times,
        "price": pa.array(np.ascontiguousarray(rows["price"])),
        "quantity": pa.array(np.ascontiguousarray(rows["total"])),
        "traded_quantity": pa.array(np.ascontiguousarray(rows["traded"])),
        "status": _STATUS.take(pa.array(place)),
        "aggressor": pa.array(np.ascontiguousarray(rows["aggressor"])),
        "member": members(rows["member"]),
    }
    return pa.table([columns[name] for name in ORDERS.schema.names], schema=ORDERS.schema)


def _events_table(symbol: str, session: int, made: NDArray[Any]) -> pa.Table:
    columns: dict[str, pa.Array] = {
        "session": session_column(np.full(made.size, session)),
        "symbol": pa.repeat(symbol, made.size),
        "sequence": pa.array(np.arange(made.size)),
    }
    columns |= {field: pa.array(np.ascontiguousarray(made[field])) for field in made.dtype.names or ()}
    return pa.table([columns[name] for name in BOOK_EVENTS.schema.names], schema=BOOK_EVENTS.schema)


B3_ORDERS: Final = OrdersFeed()
