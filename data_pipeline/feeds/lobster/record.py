"""LOBSTER: a message file and an order-book file of one NASDAQ day, of any number of levels, to an `IntradayRecord`.

The direction of a message is that of the resting order: an execution of a sell order was started by a buyer, so the
aggressor's side is minus the direction. The files' format is in `data_pipeline.feeds.lobster.files`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from data_pipeline.book import record as intraday
from data_pipeline.book.kernels import first_row_beyond
from data_pipeline.book.record import (
    FILLED,
    WITHDRAWN,
    WORKING,
    IntradayRecord,
    OrderLives,
    QuotePath,
    TradeTape,
    empty_side_gaps,
    merge_gaps,
    refuse_empty,
)
from data_pipeline.feeds.lobster.files import Blocks, open_pair
from data_pipeline.feeds.lobster.kernels import (
    CROSS,
    CROSSED,
    DUMMIES,
    EMPTY_ASK,
    EXECUTION,
    HALTED,
    HIDDEN,
    NEW,
    PARTIAL_CANCEL,
    PRICE_SCALE,
    SECOND,
)
from data_pipeline.feeds.lobster.pairs import make_pair, parts_of

TRADING_RESUMES: Final = 1

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


def read_lobster(message: Path, orderbook: Path) -> IntradayRecord:
    """The day in a LOBSTER pair; files may lie plain, each alone in a zip, or gzipped.

    Raises
    ------
    DataError
        When a file is missing, empty, cut, in another encoding, of another shape, holds text or NaN, runs backwards in
        time, or the two files do not belong together.
    """
    pair = make_pair(parts_of(message)[0], parts_of(orderbook)[0])
    with open_pair(pair, most_bytes=intraday.MOST_BYTES, hashed=True) as blocks:
        nanoseconds, fields, shown = _whole(blocks)
        counts = blocks.counts()
        notes = blocks.notes()
        levels = blocks.orderbook.levels
        files = {message.name: blocks.message.digest, orderbook.name: blocks.orderbook.digest}
    times = nanoseconds / SECOND
    kind, order, size, price, direction = fields.T
    quotes = _quotes(times, shown)
    counts["dummy_prices_removed"] = int(blocks.state[DUMMIES])
    counts["crossed_rows_removed"] = int(blocks.state[CROSSED])
    refuse_empty(quotes, orderbook.name)
    trades = _trades(times, kind, size, price, direction)
    lives, unknown, lost = _lives(times, kind, order, size, price, direction, shown)
    counts["orders_seen_without_their_entry"] = unknown
    counts["orders_followed_until_out_of_view"] = lost
    halts = _halts(times, kind, price)
    counts["halts"] = len(halts)
    last = float(times[-1])
    gaps = merge_gaps(halts, empty_side_gaps(quotes, last))
    if unknown or lost:
        notes.append(
            f"a file of {levels} level(s) only shows what touches those levels: {unknown:,} orders "
            f"appear without their entry, {lost:,} are followed until they fall behind what is shown."
        )
    return IntradayRecord(
        feed="LOBSTER",
        instrument=pair.ticker,
        day=pair.day,
        clock="New York",
        quotes=quotes,
        trades=trades,
        orders=lives,
        start=float(times[0]),
        end=last,
        gaps=gaps,
        counts=counts,
        notes=tuple(notes),
        files=files,
    )


def _whole(blocks: Blocks) -> tuple[Ints, Ints, Ints]:
    """Times, fields, and of the book only what a record needs: best ask and bid, worst shown ask and bid."""
    times, fields, shown = [], [], []
    for block in blocks:
        times.append(block.times)
        fields.append(block.fields)
        shown.append(block.levels[:, [0, 2, -4, -2]])
    return np.concatenate(times), np.concatenate(fields), np.concatenate(shown)


def _quotes(times: Floats, shown: Ints) -> QuotePath:
    """Best quotes after each message; dummy prices of an empty side, and crossed rows, are nan."""
    ask, bid = shown[:, 0], shown[:, 1]
    no_ask, no_bid = (ask >= EMPTY_ASK) | (ask <= 0), bid <= 0
    crossed = ~no_ask & ~no_bid & (bid >= ask)
    return QuotePath(
        times,
        np.where(no_bid | crossed, np.nan, bid / PRICE_SCALE),
        np.where(no_ask | crossed, np.nan, ask / PRICE_SCALE),
    )


def _trades(times: Floats, kind: Ints, size: Ints, price: Ints, direction: Ints) -> TradeTape:
    traded = (kind == EXECUTION) | (kind == HIDDEN) | ((kind == CROSS) & (price > 0) & (size > 0))
    side = np.where(kind == CROSS, 0, -direction)
    return TradeTape(
        times[traded],
        price[traded] / PRICE_SCALE,
        size[traded].astype(np.float64),
        side[traded].astype(np.int8),
        kind[traded] == HIDDEN,
    )


def _halts(times: Floats, kind: Ints, price: Ints) -> Floats:
    """(g, 2) from a halt to the next message that trading resumes (quoting alone is no trading), or to the end."""
    rows = np.flatnonzero(kind == HALTED)
    spans: list[tuple[float, float]] = []
    since: float | None = None
    for row in rows.tolist():
        if price[row] == TRADING_RESUMES:
            if since is not None:
                spans.append((since, float(times[row])))
            since = None
        elif since is None:
            since = float(times[row])
    if since is not None:
        spans.append((since, float(times[-1])))
    return np.array(spans, dtype=np.float64).reshape(-1, 2)


def _lives(
    times: Floats, kind: Ints, order: Ints, size: Ints, price: Ints, direction: Ints, shown: Ints
) -> tuple[OrderLives, int, int]:
    """Life of every order whose entry is in the file; orders whose entry is not; lives that end out of view.

    A life ends with the first fill or the deletion; a partial cancel leaves the order where it is. An order without an
    end is working as long as its price is among the levels shown: behind them its end would not be shown either.
    """
    rows = np.flatnonzero((kind >= NEW) & (kind <= EXECUTION) & (kind != PARTIAL_CANCEL))
    rows = rows[np.argsort(order[rows], kind="stable")]
    starts_order = np.diff(order[rows], prepend=order[rows[:1]] - 1) != 0
    is_entry = kind[rows] == NEW
    unknown = int((starts_order & ~is_entry).sum())
    first = np.flatnonzero(is_entry)
    entry = rows[first]
    following = np.minimum(first + 1, rows.size - 1)
    after = rows[following]
    ended = (following > first) & ~starts_order[following] & (kind[after] != NEW)
    hidden_from = _behind_what_is_shown(entry, direction[entry], price[entry], shown)
    lost = ~ended & (hidden_from < len(times))
    exit_row = np.where(ended, after, np.minimum(hidden_from, len(times) - 1))
    ending = np.where(ended, np.where(kind[after] == EXECUTION, FILLED, WITHDRAWN), WORKING)
    lives = OrderLives(
        times[entry],
        times[exit_row],
        price[entry] / PRICE_SCALE,
        size[entry].astype(np.float64),
        direction[entry].astype(np.int8),
        ending.astype(np.int8),
    )
    return lives, unknown, int(lost.sum())


def _behind_what_is_shown(entry: Ints, direction: Ints, price: Ints, shown: Ints) -> Ints:
    """Row from which on each order stands behind every level of its side that is shown; the number of rows if never."""
    hidden_from = np.empty(entry.size, dtype=np.int64)
    waiting = np.empty(len(shown), dtype=np.int64)
    worst_ask, worst_bid = shown[:, 2], shown[:, 3]
    # a higher bid or a lower ask hides an order: with its sign turned the ask's case is the bid's
    for side, worst in ((1, worst_bid), (-1, -np.where(worst_ask <= 0, EMPTY_ASK, worst_ask))):
        own = np.flatnonzero(direction == side)
        own = own[np.argsort(-entry[own], kind="stable")]
        found = np.empty(own.size, dtype=np.int64)
        first_row_beyond(entry[own], side * price[own], np.ascontiguousarray(worst), waiting, found)
        hidden_from[own] = found
    return hidden_from
