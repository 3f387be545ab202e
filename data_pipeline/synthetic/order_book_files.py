"""The simulated order book as raw files: a LOBSTER pair, a Binance futures capture, B3's order events as CSV."""

from __future__ import annotations

import gzip
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from data_pipeline.synthetic.order_book import CANCEL, CROSS, FILL, HALT, MOVE, NEW, REDUCE, BookEvents
from data_pipeline.synthetic.order_book_rows import LONGEST_NUMBER, lobster_rows, rows_as_text

DAY: Final = "2021-03-15"
_LINES_AT_ONCE: Final = 1 << 14
_OFER_HEADER: Final = (
    "SessionDate,InstrumentSymbol,OrderSide,SequentialOrderNumber,SecondaryOrderID,ExecutionType,PriorityTime,"
    "PriorityIndicator,OrderPrice,TotalQuantity,TradedQuantity,OrderDatetime,OrderStatus,AgressorIndicator,Member"
)

Ints = NDArray[np.int64]
Row = tuple[int, int, int, int, int, int, int, int]
_EVENTS_AT_ONCE: Final = 1 << 14


def _rows(events: BookEvents) -> Iterator[Row]:
    """Each event as (time_ns, kind, order, side, price, price_before, taker, size)."""
    columns = (
        events.time_ns, events.kind, events.order, events.side, events.price, events.price_before, events.taker,
        events.size,
    )  # fmt: skip
    return zip(*(column.tolist() for column in columns), strict=True)


def write_lobster(
    folder: Path, events: BookEvents, *, ticker: str = "SYN", levels: int = 5, day: str = DAY
) -> tuple[Path, Path]:
    """The message and order-book files; a level-n pair holds only what touches the n best levels.

    Calls and halts are messages of the types 6 and 7. About 2 million messages a second at one level.
    """
    config = events.config
    span = f"{round(config.start * 1e3)}_{round((config.start + config.seconds) * 1e3)}"
    paths = tuple(folder / f"{ticker}_{day}_{span}_{kind}_{levels}.csv" for kind in ("message", "orderbook"))
    with paths[0].open("wb") as message, paths[1].open("wb") as book:
        for messages, books in _lobster_rows(events, levels):
            message.write(_text(messages, timed=True))
            book.write(_text(books, timed=False))
    return paths[0], paths[1]


def _lobster_rows(events: BookEvents, levels: int) -> Iterator[tuple[Ints, Ints]]:
    """Rows of the two files, of some thousands of events at a time."""
    config = events.config
    stands = (events.kind != HALT) & (events.kind != CROSS)
    lowest = int(
        np.minimum(events.price, np.where(events.kind == MOVE, events.price_before, events.price))[stands].min()
    )
    highest = int(np.maximum(events.price, events.price_before)[stands].max())
    shelves = np.zeros((2, highest - lowest + 1), dtype=np.int64)
    state = np.array([shelves.shape[1], -1, int(events.order.max()) + 1, 0])
    renamed = np.zeros(int(events.order.max()) + 1, dtype=np.int64)
    last = np.full(4 * levels, -1, dtype=np.int64)
    messages = np.empty((2 * _EVENTS_AT_ONCE + 1, 6), dtype=np.int64)
    books = np.empty((2 * _EVENTS_AT_ONCE + 1, 4 * levels), dtype=np.int64)
    for first in range(0, len(events), _EVENTS_AT_ONCE):
        part = slice(first, first + _EVENTS_AT_ONCE)
        count = lobster_rows(
            events.time_ns[part], events.kind[part], events.order[part], events.side[part], events.price[part],
            events.price_before[part], events.size[part], round(config.start * 1e9), round(config.tick * 10_000),
            lowest, shelves, renamed, state, last, messages, books,
        )  # fmt: skip
        yield messages[:count], books[:count]


def _text(rows: Ints, *, timed: bool) -> bytes:
    text = np.empty(max(rows.shape[0] * (rows.shape[1] * LONGEST_NUMBER + 1), 1), dtype=np.uint8)
    return text[: rows_as_text(rows, timed, text)].tobytes()


class _Shelves:
    """What stands at each price of both sides, for the formats that are written line by line."""

    def __init__(self) -> None:
        self.quantity: dict[int, dict[int, int]] = {1: {}, -1: {}}

    def apply(self, row: Row) -> list[tuple[int, int]]:
        """Bring them up to date with one event; the (price, quantity) that changed."""
        _, kind, _, side, price, before, _, size = row
        changed = []
        if kind == MOVE:
            changed.append(self._add(side, before, -size))
        if kind in (NEW, MOVE):
            changed.append(self._add(side, price, size))
        elif kind in (FILL, CANCEL, REDUCE):
            changed.append(self._add(side, price, -size))
        return changed

    def _add(self, side: int, price: int, size: int) -> tuple[int, int]:
        there = self.quantity[side]
        quantity = there.get(price, 0) + size
        if quantity:
            there[price] = quantity
        else:
            there.pop(price, None)
        return price, quantity


def write_capture(
    path: Path,
    events: BookEvents,
    *,
    symbol: str = "SYNUSDT",
    latency_ms: float = -1200.0,
    day: str = DAY,
    compression: int = 9,
) -> Path:
    """A gzipped websocket capture: snapshot, then depthUpdate, bookTicker and trade messages in local order.

    What happens at one time is one depthUpdate. Calls, halts and hidden trades have no message there.
    """
    with (
        path.open("wb") as file,
        gzip.GzipFile("", mode="wb", fileobj=file, mtime=0, compresslevel=compression) as stream,
    ):
        text: list[str] = []
        for line in _capture_lines(events, symbol, round(latency_ms * 1e6), _midnight_ms(day)):
            text.append(line)
            if len(text) == _LINES_AT_ONCE:
                stream.write(("\n".join(text) + "\n").encode("ascii"))
                text.clear()
        stream.write("".join(f"{line}\n" for line in text).encode("ascii"))
    return path


def _midnight_ms(day: str) -> int:
    return int(np.datetime64(day, "ms").astype(np.int64))


def _capture_lines(events: BookEvents, symbol: str, latency: int, midnight: int) -> Iterator[str]:
    config = events.config
    shelves = _Shelves()
    words = cache(lambda price: f"{price * config.tick:.8f}".rstrip("0").rstrip("."))
    amount = cache(lambda shares: f"{shares / 100:.3f}")
    update, trade = 1_000, 0
    previous = update
    started = round(config.start * 1e9)
    stream = symbol.lower()
    pending: dict[int, dict[int, int]] = {1: {}, -1: {}}
    opened, time_before = False, started

    def levels(changes: Iterable[tuple[int, int]]) -> str:
        return ",".join(f'["{words(price)}","{amount(quantity)}"]' for price, quantity in changes)

    end = (round((config.start + config.seconds) * 1e9), 0, 0, 1, 0, 0, 0, 0)
    for row in (*_rows(events), end):
        time, kind, _, side, price, _, _, size = row
        if time != time_before:
            local = midnight * 10**6 + time_before + latency
            if not opened:
                bids, asks = sorted(shelves.quantity[1].items(), reverse=True), sorted(shelves.quantity[-1].items())
                yield (
                    f'{local} {{"lastUpdateId":{update},"E":{midnight},"T":{midnight},"bids":[{levels(bids)}],'
                    f'"asks":[{levels(asks)}]}}'
                )
                opened = True
            if pending[1] or pending[-1] or time_before == started:
                at = midnight + time_before // 10**6
                first, update = update + 1, update + 1 + len(pending[1]) + len(pending[-1])
                yield (
                    f'{local} {{"stream":"{stream}@depth@0ms","data":{{"e":"depthUpdate","E":{at},"T":{at},'
                    f'"s":"{symbol}","U":{first},"u":{update},"pu":{previous},"b":[{levels(pending[1].items())}],'
                    f'"a":[{levels(pending[-1].items())}]}}}}'
                )
                previous = update
                bid, ask = max(shelves.quantity[1]), min(shelves.quantity[-1])
                yield (
                    f'{local} {{"stream":"{stream}@bookTicker","data":{{"e":"bookTicker","u":{update},"s":"{symbol}",'
                    f'"b":"{words(bid)}","B":"{amount(shelves.quantity[1][bid])}",'
                    f'"a":"{words(ask)}","A":"{amount(shelves.quantity[-1][ask])}","T":{at},"E":{at}}}}}'
                )
            pending, time_before = {1: {}, -1: {}}, time
        if kind == FILL:
            trade += 1
            at, local = midnight + time // 10**6, midnight * 10**6 + time + latency
            yield (
                f'{local} {{"stream":"{stream}@trade","data":{{"e":"trade","E":{at},"T":{at},'
                f'"s":"{symbol}","t":{trade},"p":"{words(price)}","q":"{amount(size)}","X":"MARKET",'
                f'"m":{"true" if side == 1 else "false"}}}}}'
            )
        for changed, quantity in shelves.apply(row):
            pending[side][changed] = quantity


def write_ofer(path: Path, events: BookEvents, *, symbol: str = "SYNT3F", day: str = DAY) -> Path:
    """B3's order events: grouped by order inside each second, PriorityTime local (UTC-3), OrderDatetime in UTC.

    The two orders of a call's trade enter and trade without aggressor; halts and hidden trades have no row there.
    """
    rows = sorted(_ofer_rows(events, symbol, day), key=lambda row: row[:3])
    path.write_text("\n".join([_OFER_HEADER, *(row[3] for row in rows)]) + "\n", encoding="ascii")
    return path


def _ofer_rows(events: BookEvents, symbol: str, day: str) -> Iterator[tuple[int, int, int, str]]:
    """Second, order, place in the sequence and line of every event."""
    config = events.config
    midnight = np.datetime64(f"{day}T00:00:00")
    sequence, taker_now, taken = 0, 0, 0
    taker_orders = int(events.order.max()) + 1
    call_orders = taker_orders + int(events.taker.max(initial=0)) + 1
    filled = events.kind == FILL
    wanted = np.bincount(events.taker[filled], weights=events.size[filled]).astype(np.int64).tolist()
    all_rows = list(_rows(events))
    deepest: dict[int, int] = {row[6]: row[4] for row in all_rows if row[1] == FILL}
    totals: dict[int, int] = {}
    traded: dict[int, int] = {}

    def line(time: int, order: int, side: int, what: str, price: int, flag: int = 0) -> tuple[int, int, int, str]:
        nonlocal sequence
        sequence += 1
        ms = time // 10**6
        clock = f"{ms // 3_600_000:02d}:{ms // 60_000 % 60:02d}:{ms // 1000 % 60:02d}"
        utc = midnight + np.timedelta64(ms // 1000 + 3 * 3600, "s")
        total, done = totals[order], traded.get(order, 0)
        state = {"New": "New", "Update": "Replaced", "Cancel": "Canceled"}.get(
            what, "Filled" if done == total else "Partially Filled"
        )
        text = (
            f"{day},{symbol},{'Buy' if side > 0 else 'Sell'},{80_000_000_000 + order}.0,{sequence},{what},"
            f"{clock}.{ms % 1000:03d}000,0000000000,{price * config.tick:.2f},{total:.1f},{done:.1f},"
            f"{str(utc).replace('T', ' ')},{state},{flag},3"
        )
        return ms // 1000, order, sequence, text

    for time, kind, order, side, price, _, taker, size in all_rows:
        if kind in (NEW, MOVE, CANCEL, REDUCE):
            if kind == NEW:
                totals[order] = size
            elif kind == REDUCE:
                totals[order] -= size
            yield line(time, order, side, {NEW: "New", CANCEL: "Cancel"}.get(kind, "Update"), price)
        elif kind == FILL:
            active = taker_orders + taker
            if taker != taker_now:
                taker_now, taken = taker, 0
                totals[active] = wanted[taker]
                yield line(time, active, -side, "New", deepest[taker])
            taken += size
            traded[active], traded[order] = taken, traded.get(order, 0) + size
            yield line(time, active, -side, "Trade", deepest[taker], 1)
            yield line(time, order, side, "Trade", price, 2)
        elif kind == CROSS:
            both = ((call_orders, 1), (call_orders + 1, -1))
            call_orders += 2
            for own, sign in both:
                totals[own] = size
                yield line(time, own, sign, "New", price)
            for own, sign in both:
                traded[own] = size
                yield line(time, own, sign, "Trade", price)
