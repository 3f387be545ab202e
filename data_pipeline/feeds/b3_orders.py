"""B3's order-by-order file (OFER, decoded to CSV) to an `IntradayRecord`: book, trades with aggressor, order lifetimes.

Every row is an event of one order: New, Update (a new price or quantity), Trade (one row for each of the two orders),
Cancel. The file is grouped by order inside each second; SecondaryOrderID counts the events of an instrument and gives
their order. PriorityTime is the event's local time in milliseconds, OrderDatetime the same in UTC and whole seconds.
"""

from __future__ import annotations

import io
import re
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.csv as pc
from numpy.typing import NDArray

from data_pipeline.book.kernels import best_levels
from data_pipeline.book.record import (
    FILLED,
    WITHDRAWN,
    WORKING,
    IntradayRecord,
    OrderLives,
    QuotePath,
    TradeTape,
    empty_side_gaps,
    refuse_empty,
    whole_file,
)
from data_pipeline.errors import DataError
from data_pipeline.raw_file import sha256_of_file

ZONE: Final = "America/Sao_Paulo"
_NEEDED: Final = (
    "SessionDate",
    "InstrumentSymbol",
    "OrderSide",
    "SequentialOrderNumber",
    "SecondaryOrderID",
    "ExecutionType",
    "PriorityTime",
    "OrderPrice",
    "TotalQuantity",
    "TradedQuantity",
    "OrderDatetime",
    "AggressorIndicator",
)
_OTHER_SPELLING: Final = {"AgressorIndicator": "AggressorIndicator"}
_KINDS: Final = ("New", "Update", "Trade", "Cancel", "Reentry", "Expired", "Eliminated")
_NEW, _UPDATE, _TRADE, _REENTRY = 0, 1, 2, 4
_SIDES: Final = {"Buy": 1, "Sell": -1}
_DATE: Final = re.compile(r"^\d{4}-\d{2}-\d{2}([ T]\d{2}:\d{2}:\d{2})?$", re.ASCII)
_TIME: Final = re.compile(r"^\d{2}:\d{2}:\d{2}(\.\d{1,6})?$")

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]


class _Events:
    """The events of one instrument in sequence, one array per field."""

    def __init__(self, table: pa.Table, name: str, counts: dict[str, int]) -> None:
        sequence = _whole(table, "SecondaryOrderID", name)
        place = np.argsort(sequence, kind="stable")
        counts["rows_put_in_sequence"] = int((place != np.arange(place.size)).sum())
        repeated = np.r_[False, np.diff(sequence[place]) == 0]
        counts["rows_repeated_dropped"] = int(repeated.sum())
        place = place[~repeated]
        self.sequence: Ints = sequence[place]
        self.order: Ints = _whole(table, "SequentialOrderNumber", name)[place]
        self.kind: Ints = _coded(table, "ExecutionType", {word: k for k, word in enumerate(_KINDS)}, name)[place]
        self.side: Ints = _coded(table, "OrderSide", _SIDES, name)[place]
        self.price: Floats = _number(table, "OrderPrice", name)[place]
        self.total: Floats = _number(table, "TotalQuantity", name)[place]
        self.traded: Floats = _number(table, "TradedQuantity", name)[place]
        self.aggressor: Ints = _whole(table, "AggressorIndicator", name)[place]
        self.times: Floats = _local_seconds(table, name)[place]
        _check_clock(table, self.times, place, name, counts)
        back = np.r_[False, np.diff(self.times) < 0.0]
        if back.any():
            at = int(np.argmax(back))
            raise DataError(
                f"{name}: event {self.sequence[at]} is at {self.times[at]:.3f} s, before event {self.sequence[at - 1]} "
                f"at {self.times[at - 1]:.3f} s: times run backwards along SecondaryOrderID; fetch the file again"
            )
        self.by_order = np.argsort(self.order, kind="stable")
        """Rows grouped by order, each group in sequence."""
        self.starts_order: Flags = np.r_[True, np.diff(self.order[self.by_order]) != 0]
        """Along `by_order`: whether the row is the first of its order."""

    def before(self, values: Floats, first: float) -> Floats:
        """The value that each event's order had at its event before; `first` where there is none."""
        grouped = values[self.by_order]
        out = np.empty_like(grouped)
        out[self.by_order] = np.where(self.starts_order, first, np.r_[first, grouped[:-1]])
        return out


def read_b3_orders(path: Path, instrument: str) -> IntradayRecord:
    """The day of one instrument in an order-by-order file, plain or alone in a zip.

    Raises
    ------
    DataError
        When the file is missing, empty, cut, not decoded, lacks a column or the instrument, holds text for numbers, or
        runs backwards in time.
    """
    table = _table(path)
    symbols = table["InstrumentSymbol"].to_numpy(zero_copy_only=False).astype(str)
    chosen = symbols == instrument
    if not chosen.any():
        known = ", ".join(sorted(set(symbols.tolist()))[:12])
        raise DataError(f"{path.name} has no events of {instrument}; it has {known}: name one of them")
    counts: dict[str, int] = {"rows": table.num_rows, "rows_of_the_instrument": int(chosen.sum())}
    own = table.filter(pa.array(chosen))
    days = sorted(set(own["SessionDate"].to_pylist()))
    if len(days) != 1:
        raise DataError(
            f"{path.name} holds {len(days)} sessions of {instrument} ({days[0]} to {days[-1]}): give one day"
        )
    events = _Events(own, path.name, counts)
    counts |= {f"{word.lower()}_events": int((events.kind == k).sum()) for k, word in enumerate(_KINDS[:4])}
    quotes = _quotes(events, counts)
    refuse_empty(quotes, f"{path.name}, {instrument}")
    start, end = float(quotes.times[0]), float(events.times[-1])
    notes = [
        f"Times are B3's local ones ({ZONE}); OrderDatetime is UTC and only checked.",
        "The book is rebuilt from events and starts empty: until the orders of before the first event are touched, the "
        "best quotes may be too far from each other.",
    ]
    return IntradayRecord(
        feed="B3 OFER",
        instrument=instrument,
        day=str(days[0]),
        clock=ZONE,
        quotes=quotes,
        trades=_trades(events, counts),
        orders=_lives(events, counts),
        start=start,
        end=end,
        gaps=empty_side_gaps(quotes, end),
        counts=counts,
        notes=tuple(notes),
        files={path.name: sha256_of_file(path)},
    )


def _table(path: Path) -> pa.Table:
    """The needed columns as text, found by name."""
    content = whole_file(path)
    first = (content[: content.find(b"\n")] if b"\n" in content else content).strip()
    header = [_OTHER_SPELLING.get(cell, cell) for cell in first.decode("ascii", "replace").split(",")]
    missing = [column for column in _NEEDED if column not in header]
    if missing:
        raise DataError(
            f"{path.name}, line 1 lacks the column(s) {', '.join(missing[:4])}: give the OFER file decoded to CSV "
            "with its header"
        )
    try:
        table = pc.read_csv(
            io.BytesIO(content),
            read_options=pc.ReadOptions(column_names=header, skip_rows=1, use_threads=False, block_size=1 << 24),
            convert_options=pc.ConvertOptions(
                column_types={column: pa.string() for column in header}, include_columns=list(_NEEDED), null_values=[]
            ),
        )
    except pa.ArrowInvalid as error:
        raise DataError(f"{path.name}: {_words(str(error))}") from error
    if table.num_rows == 0:
        raise DataError(f"{path.name} has no events: fetch it again")
    return table.append_column("line", pa.array(np.arange(2, table.num_rows + 2)))


def _words(error: str) -> str:
    row = re.search(r"[Rr]ow #(\d+)", error)
    counts = re.search(r"Expected (\d+) columns, got (\d+)", error)
    place = f"line {int(row.group(1))}: " if row else ""
    if counts:
        return f"{place}must have {counts.group(1)} columns; it has {counts.group(2)}: the file is cut or damaged"
    return place + error.splitlines()[0][:160]


def _refuse(table: pa.Table, column: str, bad: Flags, name: str, rule: str) -> None:
    if bad.any():
        at = int(np.argmax(bad))
        raise DataError(
            f"{name}, line {table['line'][at].as_py()}: {column} must be {rule}; was {table[column][at].as_py()!r}: "
            "fetch the file again"
        )


def _number(table: pa.Table, column: str, name: str) -> Floats:
    texts = table[column].to_numpy(zero_copy_only=False)
    try:
        values = np.array(texts, dtype=np.float64)
    except ValueError:
        values = np.array([_float(text) for text in texts])
    _refuse(table, column, ~(np.isfinite(values) & (values >= 0)), name, "a number, not negative")
    return values


def _float(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")


def _whole(table: pa.Table, column: str, name: str) -> Ints:
    values = _number(table, column, name)
    _refuse(table, column, (values != np.rint(values)) | (values >= 2.0**53), name, "a whole number")
    return values.astype(np.int64)


def _coded(table: pa.Table, column: str, codes: dict[str, int], name: str) -> Ints:
    found = pa.compute.index_in(table[column], pa.array(list(codes))).to_numpy(zero_copy_only=False)
    unknown = np.isnan(found.astype(np.float64))
    _refuse(table, column, unknown, name, f"one of {', '.join(codes)}")
    return np.asarray(np.array(list(codes.values()), dtype=np.int64)[found.astype(np.int64)])


def _local_seconds(table: pa.Table, name: str) -> Floats:
    texts = table["PriorityTime"].to_pylist()
    bad = np.array([_TIME.match(text) is None for text in texts])
    _refuse(table, "PriorityTime", bad, name, "a time like 11:00:17.055")
    parts = [text.split(":") for text in texts]
    return np.array([3600.0 * int(h) + 60.0 * int(m) + float(s) for h, m, s in parts])


def _moments(table: pa.Table, column: str, name: str) -> NDArray[np.datetime64]:
    texts = [text[:19] for text in table[column].to_pylist()]
    moments = np.array([_moment(text) for text in texts], dtype="datetime64[s]")
    _refuse(table, column, np.isnat(moments), name, "a date or time like 2015-11-03 13:00:17")
    return moments


def _moment(text: str) -> np.datetime64:
    if not _DATE.match(text):
        return np.datetime64("NaT", "s")
    try:
        return np.datetime64(text.replace(" ", "T"), "s")
    except ValueError:
        return np.datetime64("NaT", "s")


def _check_clock(table: pa.Table, times: Floats, place: Ints, name: str, counts: dict[str, int]) -> None:
    """OrderDatetime, in UTC, must be the local time cut to seconds in that day's offset (summer time until 2019)."""
    utc = _moments(table, "OrderDatetime", name)
    midnight = _moments(table, "SessionDate", name)[0]
    noon = datetime.fromisoformat(f"{np.datetime_as_string(midnight, unit='D')}T12:00:00").replace(
        tzinfo=ZoneInfo(ZONE)
    )
    offset = (noon.utcoffset() or timedelta()).total_seconds()
    behind = times - ((utc[place] - midnight).astype(np.int64) + offset)
    wrong = (behind < -0.5) | (behind >= 1.5)
    counts["order_times_that_disagree"] = int(wrong.sum())
    if wrong.mean() > 0.5:
        raise DataError(
            f"{name}: PriorityTime and OrderDatetime differ by {np.median(behind) / 3600:+.1f} h from the offset of "
            f"{ZONE} ({offset / 3600:+.0f} h): one of the two was shifted; decode the file again"
        )


def _quotes(events: _Events, counts: dict[str, int]) -> QuotePath:
    """Best quotes after each event.

    An order stands in the book after its event when it has a price (0 is a market order) and quantity left. While an
    incoming order is matched the book is crossed for the rows of its trades; those states are left out and counted.
    """
    prices, rank = np.unique(events.price, return_inverse=True)
    stands = (
        np.isin(events.kind, (_NEW, _UPDATE, _TRADE, _REENTRY)) & (events.price > 0) & (events.total > events.traded)
    )
    counts["market_orders"] = int(((events.kind == _NEW) & (events.price == 0)).sum())
    counts["orders_seen_without_their_entry"] = int((events.kind[events.by_order[events.starts_order]] != _NEW).sum())
    stood = events.before(stands.astype(np.float64), 0.0) > 0
    old_rank = events.before(rank.astype(np.float64), 0.0).astype(np.int64)
    # an event takes its order from where it stood and puts it where it stands
    rows = np.repeat(np.arange(rank.size), 2)
    change = np.column_stack([-stood.astype(np.int64), stands.astype(np.int64)]).ravel()
    places = np.column_stack([old_rank, rank]).ravel()
    best = np.empty((2, rank.size), dtype=np.int64)
    shelves = np.zeros((2, prices.size), dtype=np.int64)
    best_levels(rows, events.side[rows] == 1, places, change, shelves[0], shelves[1], best[0], best[1])
    bid, ask = (np.where(row >= 0, prices[row], np.nan) for row in best)
    crossed = bid >= ask
    counts["crossed_states_while_matching_left_out"] = int(crossed.sum())
    changed = np.r_[True, (best[:, ~crossed][:, 1:] != best[:, ~crossed][:, :-1]).any(axis=0)]
    return QuotePath(events.times[~crossed][changed], bid[~crossed][changed], ask[~crossed][changed])


def _trades(events: _Events, counts: dict[str, int]) -> TradeTape:
    """Each trade from its two rows, neighbours in the sequence on opposite sides, at the resting order's price."""
    size = events.traded - events.before(events.traded, 0.0)
    known = events.before(np.ones(size.size), 0.0) > 0
    known |= events.kind == _NEW
    rows = np.flatnonzero(events.kind == _TRADE)
    first, second, alone = _pairs(rows, events)
    counts["trade_rows_without_their_other_side_dropped"] = alone
    first_active, second_active = events.aggressor[first] == 1, events.aggressor[second] == 1
    side = np.where(first_active == second_active, 0, np.where(first_active, events.side[first], events.side[second]))
    counts["trades_without_aggressor"] = int((side == 0).sum())
    resting = np.where(first_active, second, first)
    other = np.where(first_active, first, second)
    price = np.where(events.price[resting] > 0, events.price[resting], events.price[other])
    # of an order first seen trading, the quantity traded before is not known: its row says too much
    quantity = np.where(
        known[first] & known[second],
        size[first],
        np.where(
            known[first], size[first], np.where(known[second], size[second], np.minimum(size[first], size[second]))
        ),
    )
    counts["trade_sizes_that_disagree"] = int((known[first] & known[second] & (size[first] != size[second])).sum())
    good = (price > 0) & (quantity > 0)
    counts["trades_without_price_or_quantity_dropped"] = int((~good).sum())
    tape = TradeTape(events.times[second], price, quantity, side.astype(np.int8), np.zeros(side.size, dtype=np.bool_))
    return tape.take(good)


def _pairs(rows: Ints, events: _Events) -> tuple[Ints, Ints, int]:
    """Rows of the first and second side of every trade, and how many rows found no partner."""
    first: list[int] = []
    at = 0
    while at < rows.size - 1:
        a, b = rows[at], rows[at + 1]
        if events.sequence[b] == events.sequence[a] + 1 and events.side[a] != events.side[b]:
            first.append(at)
            at += 2
        else:
            at += 1
    chosen = np.array(first, dtype=np.int64)
    return rows[chosen], rows[chosen + 1], int(rows.size - 2 * chosen.size)


def _lives(events: _Events, counts: dict[str, int]) -> OrderLives:
    """Stays of resting orders at one price; orders that traded on arrival never rested and are left out, counted."""
    group, start = events.by_order, events.starts_order
    price_before, kind = events.before(events.price, np.nan), events.kind
    same_price = (kind == _UPDATE) & (events.price == price_before)
    kept = ~same_price[group] | start
    rows, start = group[kept], np.r_[True, np.diff(events.order[group][kept]) != 0]
    follows = np.r_[~start[1:], False]
    after = np.r_[rows[1:], rows[-1:]]
    enters = np.isin(kind[rows], (_NEW, _UPDATE, _REENTRY)) & (events.price[rows] > 0)
    aggressive = follows & (kind[after] == _TRADE) & (events.aggressor[after] == 1)
    counts["orders_that_traded_on_arrival"] = int((enters & aggressive).sum())
    chosen = enters & ~aggressive
    ending = np.where(~follows, WORKING, np.where(kind[after] == _TRADE, FILLED, WITHDRAWN))
    entry = rows[chosen]
    return OrderLives(
        events.times[entry],
        np.where(follows, events.times[after], events.times[-1])[chosen],
        events.price[entry],
        (events.total - events.traded)[entry],
        events.side[entry].astype(np.int8),
        ending[chosen].astype(np.int8),
    )
