"""The simulated order book as raw files: a LOBSTER pair, a Binance futures capture, B3's order events as CSV."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np

from data_pipeline.synthetic.order_book import CANCEL, FILL, HIDDEN, MOVE, NEW, BookEvents

DAY: Final = "2021-03-15"
_DAY_MS: Final = 1_615_766_400_000
"""Midnight UTC of DAY."""
_LOBSTER_EMPTY: Final = 9_999_999_999
_OFER_HEADER: Final = (
    "SessionDate,InstrumentSymbol,OrderSide,SequentialOrderNumber,SecondaryOrderID,ExecutionType,PriorityTime,"
    "PriorityIndicator,OrderPrice,TotalQuantity,TradedQuantity,OrderDatetime,OrderStatus,AgressorIndicator,Member"
)

Row = tuple[int, int, int, int, int, int, int]


def _rows(events: BookEvents) -> Iterator[Row]:
    """Each event as (time_ns, kind, order, side, price, price_before, taker)."""
    columns = (events.time_ns, events.kind, events.order, events.side, events.price, events.price_before, events.taker)
    return zip(*(column.tolist() for column in columns), strict=True)


def _shown(row: Row, shelves: dict[int, set[int]]) -> None:
    """Bring the shelves of prices up to date with one event."""
    _, kind, _, side, price, before, _ = row
    if kind == MOVE:
        shelves[side].discard(before)
    if kind in (NEW, MOVE):
        shelves[side].add(price)
    elif kind in (FILL, CANCEL):
        shelves[side].discard(price)


def write_lobster(folder: Path, events: BookEvents, *, ticker: str = "SYN", levels: int = 5) -> tuple[Path, Path]:
    """The message and order-book files; a level-n pair holds only what touches the n best levels."""
    config = events.config
    unit = round(config.tick * 10_000)
    messages: list[str] = []
    books: list[str] = []
    shelves: dict[int, set[int]] = {1: set(), -1: set()}
    last: list[int] = []
    started = round(config.start * 1e9)

    def emit(time: int, kind: int, order: int, side: int, price: int) -> None:
        nonlocal last
        book: list[int] = []
        bids, asks = sorted(shelves[1], reverse=True)[:levels], sorted(shelves[-1])[:levels]
        for level in range(levels):
            book += [asks[level] * unit, config.size] if level < len(asks) else [_LOBSTER_EMPTY, 0]
            book += [bids[level] * unit, config.size] if level < len(bids) else [-_LOBSTER_EMPTY, 0]
        if (book != last or kind == 5) and time > started:
            messages.append(f"{time // 10**9}.{time % 10**9:09d},{kind},{order},{config.size},{price * unit},{side}")
            books.append(",".join(map(str, book)))
        last = book

    renamed: dict[int, int] = {}  # a replacement has a new id in LOBSTER
    next_id = int(events.order.max()) + 1
    for row in _rows(events):
        time, kind, order, side, price, before, _ = row
        if kind == MOVE:
            shelves[side].discard(before)
            emit(time, 3, renamed.get(order, order), side, before)
            renamed[order], next_id = next_id, next_id + 1
            shelves[side].add(price)
            emit(time, 1, renamed[order], side, price)
            continue
        _shown(row, shelves)
        emit(time, {NEW: 1, CANCEL: 3, FILL: 4, HIDDEN: 5}[kind], renamed.get(order, order), side, price)
    span = f"{round(config.start * 1e3)}_{round((config.start + config.seconds) * 1e3)}"
    paths = tuple(folder / f"{ticker}_{DAY}_{span}_{kind}_{levels}.csv" for kind in ("message", "orderbook"))
    for path, lines in zip(paths, (messages, books), strict=True):
        path.write_text("\n".join(lines) + "\n", encoding="ascii")
    return paths[0], paths[1]


def write_capture(path: Path, events: BookEvents, *, symbol: str = "SYNUSDT", latency_ms: float = -1200.0) -> Path:
    """A gzipped websocket capture: snapshot, then depthUpdate, bookTicker and trade messages in local order."""
    config = events.config
    lines: list[str] = []
    shelves: dict[int, set[int]] = {1: set(), -1: set()}
    update, previous, trade = 1_000, 1_000, 0
    started = round(config.start * 1e9)
    quantity = f"{config.size / 100:.3f}"

    def say(time: int, message: dict[str, object]) -> None:
        lines.append(f"{_DAY_MS * 10**6 + time + round(latency_ms * 1e6)} {json.dumps(message, separators=(',', ':'))}")

    def words(price: int) -> str:
        return f"{price * config.tick:.8f}".rstrip("0").rstrip(".")

    def ladder(side: int) -> list[list[str]]:
        return [[words(price), quantity] for price in sorted(shelves[side], reverse=side > 0)]

    def publish(time: int, changes: dict[int, dict[int, str]], best: tuple[int, int]) -> None:
        nonlocal update, previous
        at = _DAY_MS + time // 10**6
        first, update = update + 1, update + 1 + len(changes[1]) + len(changes[-1])
        sides = {name: [[words(p), q] for p, q in changes[side].items()] for name, side in (("b", 1), ("a", -1))}
        data = {"e": "depthUpdate", "E": at, "T": at, "s": symbol, "U": first, "u": update, "pu": previous, **sides}
        previous = update
        say(time, {"stream": f"{symbol.lower()}@depth@0ms", "data": data})
        quotes = {"b": words(best[0]), "B": quantity, "a": words(best[1]), "A": quantity, "T": at, "E": at}
        ticker = {"e": "bookTicker", "u": update, "s": symbol, **quotes}
        say(time, {"stream": f"{symbol.lower()}@bookTicker", "data": ticker})

    pending: dict[int, dict[int, str]] = {1: {}, -1: {}}
    opened, time_before = False, started
    for row in [*_rows(events), (round((config.start + config.seconds) * 1e9), 0, 0, 1, 0, 0, 0)]:
        time, kind, _, side, price, before, _ = row
        if time != time_before:
            if not opened:
                book = {"lastUpdateId": update, "E": _DAY_MS, "T": _DAY_MS, "bids": ladder(1), "asks": ladder(-1)}
                say(time_before, book)
                opened = True
            if pending[1] or pending[-1] or time_before == started:
                publish(time_before, pending, (max(shelves[1]), min(shelves[-1])))
            pending, time_before = {1: {}, -1: {}}, time
        if kind == FILL:
            trade += 1
            at = _DAY_MS + time // 10**6
            data = {"e": "trade", "E": at, "T": at, "s": symbol, "t": trade, "p": words(price), "q": quantity}
            say(time, {"stream": f"{symbol.lower()}@trade", "data": {**data, "X": "MARKET", "m": side == 1}})
        _shown(row, shelves)
        if kind == MOVE:
            pending[side][before] = "0.000"
        if kind in (NEW, MOVE):
            pending[side][price] = quantity
        elif kind in (FILL, CANCEL):
            pending[side][price] = "0.000"
    buffer = io.BytesIO()
    with gzip.GzipFile(fileobj=buffer, mode="wb", mtime=0, filename="") as stream:
        stream.write(("\n".join(lines) + "\n").encode("ascii"))
    path.write_bytes(buffer.getvalue())
    return path


def write_ofer(path: Path, events: BookEvents, *, symbol: str = "SYNT3F") -> Path:
    """B3's order events: grouped by order inside each second, PriorityTime local (UTC-3), OrderDatetime in UTC."""
    config = events.config
    rows: list[tuple[int, int, int, str]] = []
    sequence, taker_now = 0, 0
    taker_orders = int(events.order.max()) + 1
    all_rows = list(_rows(events))
    fills_of = np.bincount(events.taker[events.kind == FILL], minlength=int(events.taker.max(initial=0)) + 1)
    deepest: dict[int, int] = {row[6]: row[4] for row in all_rows if row[1] == FILL}
    taken = 0

    def add(time: int, order: int, side: int, what: str, price: int, traded: int, total: int, flag: int = 0) -> None:
        nonlocal sequence
        sequence += 1
        ms = time // 10**6
        clock = f"{ms // 3_600_000:02d}:{ms // 60_000 % 60:02d}:{ms // 1000 % 60:02d}"
        utc = np.datetime64(f"{DAY}T00:00:00") + np.timedelta64(ms // 1000 + 3 * 3600, "s")
        state = {"New": "New", "Update": "Replaced", "Cancel": "Canceled"}.get(
            what, "Filled" if traded == total else "Partially Filled"
        )
        line = (
            f"{DAY},{symbol},{'Buy' if side > 0 else 'Sell'},{80_000_000_000 + order}.0,{sequence},{what},"
            f"{clock}.{ms % 1000:03d}000,0000000000,{price * config.tick:.2f},{total:.1f},{traded:.1f},"
            f"{str(utc).replace('T', ' ')},{state},{flag},3"
        )
        rows.append((ms // 1000, order, sequence, line))

    for time, kind, order, side, price, _, taker in all_rows:
        if kind in (NEW, MOVE, CANCEL):
            what = {NEW: "New", MOVE: "Update", CANCEL: "Cancel"}[kind]
            add(time, order, side, what, price, 0, config.size)
        elif kind == FILL:
            total = int(fills_of[taker]) * config.size
            if taker != taker_now:
                taker_now, taken = taker, 0
                add(time, taker_orders + taker, -side, "New", deepest[taker], 0, total)
            taken += config.size
            add(time, taker_orders + taker, -side, "Trade", deepest[taker], taken, total, 1)
            add(time, order, side, "Trade", price, config.size, config.size, 2)
    rows.sort(key=lambda row: row[:3])
    path.write_text("\n".join([_OFER_HEADER, *(row[3] for row in rows)]) + "\n", encoding="ascii")
    return path
