"""A raw capture of Binance's websocket streams to an `IntradayRecord`.

Each line is the local time in nanoseconds, a blank, and one message: `bookTicker` (best quotes), `depthUpdate`
(absolute quantities, 0 deletes the level; Binance, "How to manage a local order book correctly"), `trade` or
`aggTrade` (m: the buyer was the maker, so the seller was the aggressor), or a REST snapshot of the book. Times are the
exchange's transaction times T: the local clock may be wrong by seconds, and then every quote would be.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from data_pipeline.book.kernels import best_levels
from data_pipeline.book.record import (
    IntradayRecord,
    QuotePath,
    TradeTape,
    empty_side_gaps,
    merge_gaps,
    refuse_empty,
)
from data_pipeline.errors import DataError
from data_pipeline.feeds.crypto import binance_scan as scan
from data_pipeline.feeds.crypto.binance_messages import MessageReader, Messages
from data_pipeline.raw_file import sha256_of_file

_DAY_NS: Final = 86_400 * 10**9
_MOST_BYTES: Final = 4 << 30
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class _Depth:
    """One message of the book: a difference (first, last, previous update id) or, without `first`, a snapshot."""

    row: int
    time: int
    last: int
    first: int | None
    previous: int | None


@dataclass(frozen=True, slots=True, eq=False)
class _Capture:
    """All messages of a capture."""

    name: str
    messages: Messages
    symbols: tuple[str, ...]

    def rows(self, *kinds: int) -> Ints:
        """Places of the messages of these kinds."""
        return np.flatnonzero(np.isin(self.messages.kind, kinds))

    def timed(self) -> Ints:
        """Places of tickers, trades and differences with an exchange time."""
        rows = self.rows(scan.TICKER, scan.TRADE, scan.AGGREGATE, scan.DEPTH)
        return rows[_times(self.messages)[rows] >= 0]

    def depths(self) -> list[_Depth]:
        """Snapshots and differences in the order of the file."""
        rows = self.rows(scan.DEPTH, scan.SNAPSHOT)
        whole = self.messages.whole[rows]
        columns = (rows, self.messages.exchange_ns[rows], whole[:, scan.LAST])
        first, previous = whole[:, scan.FIRST], whole[:, scan.PREVIOUS]
        return [
            _Depth(row, time, last, None if f < 0 else f, None if p < 0 else p)
            for row, time, last, f, p in zip(*(column.tolist() for column in (*columns, first, previous)), strict=True)
        ]


def _times(messages: Messages) -> Ints:
    """(n,) exchange times in ns; a ticker without a transaction time has none (-1)."""
    untimed = (messages.kind == scan.TICKER) & (messages.whole[:, scan.TRADE_TIME] < 0)
    return np.where(untimed, -1, messages.exchange_ns)


def read_binance_capture(path: Path, *, quotes: Literal["auto", "ticker", "depth"] = "auto") -> IntradayRecord:
    """The best quotes and trades in a capture of one symbol, plain or gzipped.

    Parameters
    ----------
    path : Path
    quotes : "auto", "ticker" or "depth"
        Best quotes from `bookTicker`, or rebuilt from the snapshot and the depth differences; "auto" takes the ticker
        where it is there with exchange times (spot tickers have none).

    Raises
    ------
    DataError
        When the file is missing, cut, no capture, holds several symbols, or has no quotes or no trades.
    """
    capture = _read(path)
    messages, timed = capture.messages, capture.timed()
    if len(capture.symbols) > 1:
        raise DataError(
            f"{path.name} holds {len(capture.symbols)} symbols ({', '.join(sorted(capture.symbols)[:5])}): split it"
        )
    if not timed.size:
        raise DataError(f"{path.name} holds no message with an exchange time: is it a capture of market streams?")
    times = messages.exchange_ns[timed]
    midnight = int(times[0]) // _DAY_NS * _DAY_NS
    counts: dict[str, int] = {"lines": messages.line.size}
    end = float(times.max() - midnight) / 1e9
    tickers = capture.rows(scan.TICKER)
    ticking = tickers.size > 0 and bool((_times(messages)[tickers] >= 0).all())
    if quotes == "ticker" and not ticking:
        raise DataError(
            f"{path.name} has no bookTicker messages with an exchange time (spot has none): use quotes = depth"
        )
    depths = capture.depths()
    if quotes == "ticker" or (quotes == "auto" and ticking):
        path_of_quotes, breaks = _ticker_quotes(messages, tickers, midnight, counts), np.empty((0, 2))
    else:
        path_of_quotes, breaks = _depth_quotes(capture, depths, midnight, int(times[0]), end, counts)
    _count_breaks(depths, counts)
    refuse_empty(path_of_quotes, path.name)
    trades = _trades(capture, midnight, counts)
    delays = (messages.local_ns[timed] - times) / 1e6
    counts["negative_latencies"] = int((delays < 0.0).sum())
    counts["times_out_of_order_across_streams"] = int((np.diff(times) < 0).sum())
    counts["other_messages"] = int((messages.kind == scan.OTHER).sum())
    notes = []
    if counts["negative_latencies"]:
        notes.append(
            f"the local clock is behind the exchange's: {counts['negative_latencies']:,} of {delays.size:,} latencies "
            f"are negative (median {np.median(delays):+,.0f} ms); exchange times are used."
        )
    return IntradayRecord(
        feed="Binance capture",
        instrument=next(iter(capture.symbols), path.stem),
        day=datetime.fromtimestamp(midnight / 1e9, UTC).date().isoformat(),
        clock="UTC",
        quotes=path_of_quotes,
        trades=trades,
        orders=None,
        start=float(path_of_quotes.times[0]),
        end=end,
        gaps=merge_gaps(breaks, empty_side_gaps(path_of_quotes, end)),
        counts=counts,
        notes=tuple(notes),
        files={path.name: sha256_of_file(path)},
    )


def _read(path: Path) -> _Capture:
    """Every message of the file."""
    reader = MessageReader()
    batches = list(reader.read(path, most=_MOST_BYTES))
    if not batches:
        raise DataError(f"{path.name} is empty: record the capture again")
    levels = np.cumsum([0, *(batch.price.size for batch in batches)]).tolist()
    for batch, before in zip(batches, levels, strict=False):
        batch.whole[:, [scan.BIDS, scan.ASKS]] += before

    def joined(column: str) -> Any:
        return np.concatenate([getattr(batch, column) for batch in batches])

    return _Capture(path.name, Messages(**{name: joined(name) for name in Messages.__slots__}), tuple(reader.symbols))


def _seconds(nanoseconds: Ints | int, midnight: int) -> Floats:
    return np.asarray((np.asarray(nanoseconds) - midnight) / 1e9)


def _ticker_quotes(messages: Messages, rows: Ints, midnight: int, counts: dict[str, int]) -> QuotePath:
    """Quotes from the ticker in order of update id; late ones (an id not above all before) are dropped and counted."""
    update = messages.whole[rows, scan.LAST]
    highest = np.maximum.accumulate(np.r_[np.int64(-1), update[:-1]])
    late = update <= highest
    counts["ticker_messages"], counts["ticker_messages_late_dropped"] = update.size, int(late.sum())
    kept = rows[~late]
    bid, bid_size, ask, ask_size = messages.real[kept].T
    times = _seconds(messages.exchange_ns[kept], midnight)
    return _clean(times, np.where(bid_size > 0, bid, np.nan), np.where(ask_size > 0, ask, np.nan), counts)


def _clean(times: Floats, bid: Floats, ask: Floats, counts: dict[str, int]) -> QuotePath:
    """Times made to not decrease, crossed rows emptied; both counted."""
    forward = np.maximum.accumulate(times) if times.size else times
    counts["quote_times_raised_to_the_one_before"] = int((forward > times).sum())
    bid, ask = np.where(bid > 0, bid, np.nan), np.where(ask > 0, ask, np.nan)
    crossed = bid >= ask
    counts["crossed_rows_removed"] = int(crossed.sum())
    return QuotePath(forward, np.where(crossed, np.nan, bid), np.where(crossed, np.nan, ask))


def _breaks_sequence(before: _Depth, after: _Depth) -> bool:
    """Futures name the update before (pu); spot differences follow each other without a hole."""
    if after.previous is not None:
        return after.previous != before.last
    return after.first != before.last + 1


def _count_breaks(depths: list[_Depth], counts: dict[str, int]) -> None:
    differences = [item for item in depths if item.first is not None]
    counts["depth_messages"] = len(differences)
    counts["depth_sequence_breaks"] = sum(_breaks_sequence(before, after) for before, after in pairwise(differences))


def _depth_quotes(
    capture: _Capture, depths: list[_Depth], midnight: int, first: int, end: float, counts: dict[str, int]
) -> tuple[QuotePath, Floats]:
    """Quotes rebuilt from each snapshot on until the sequence breaks, and the spans without a book to trust."""
    snapshots = [item for item in depths if item.first is None]
    differences = [item for item in depths if item.first is not None]
    if not snapshots or not differences:
        raise DataError(
            f"{capture.name} has {len(snapshots)} snapshots and {len(differences)} depth messages: a book needs both; "
            "record the REST snapshot too, or use the bookTicker stream"
        )
    parts: list[tuple[Floats, Floats, Floats]] = []
    gaps: list[tuple[float, float]] = []
    applied, reached, closed = 0, 0, float(_seconds(first, midnight))
    for number, snapshot in enumerate(snapshots):
        limit = snapshots[number + 1].last if number + 1 < len(snapshots) else None
        start = next((i for i in range(reached, len(differences)) if differences[i].last >= snapshot.last), None)
        if start is None:
            continue
        if (differences[start].first or 0) > snapshot.last + 1:  # the snapshot is older than the stream
            continue
        stop = start + 1
        while stop < len(differences) and not (
            _breaks_sequence(differences[stop - 1], differences[stop])
            or (limit is not None and differences[stop].last >= limit)
        ):
            stop += 1
        part = _replay(capture.messages, snapshot, differences[start:stop], midnight)
        if part[0][0] > closed:
            gaps.append((closed, float(part[0][0])))
        broken = stop < len(differences) and _breaks_sequence(differences[stop - 1], differences[stop])
        closed = float(part[0][-1]) if broken else _at(differences, stop, midnight, end)
        parts.append(part)
        applied, reached = applied + stop - start, stop
    if not parts:
        raise DataError(
            f"{capture.name}: no depth message continues a snapshot (update ids do not meet): record them together"
        )
    if closed < end:
        gaps.append((closed, end))
    counts["depth_messages_without_a_book"] = len(differences) - applied
    times, bid, ask = (np.concatenate([part[k] for part in parts]) for k in range(3))
    return _clean(times, bid, ask, counts), np.array(gaps).reshape(-1, 2)


def _at(differences: list[_Depth], place: int, midnight: int, end: float) -> float:
    return end if place >= len(differences) else float(_seconds(differences[place].time, midnight))


def _replay(
    messages: Messages, snapshot: _Depth, differences: list[_Depth], midnight: int
) -> tuple[Floats, Floats, Floats]:
    """Times and best quotes after each difference applied to a snapshot."""
    step_of, is_bid, level = _levels_of(messages, np.array([item.row for item in (snapshot, *differences)]))
    price, there = messages.price[level], (messages.quantity[level] > 0).astype(np.int64)
    prices, rank = np.unique(price, return_inverse=True)
    # quantities are absolute: what changes is whether anything stands at the level
    order = np.lexsort((np.arange(rank.size), rank, is_bid))
    same = np.r_[False, (np.diff(rank[order]) == 0) & (np.diff(is_bid[order].astype(np.int8)) == 0)]
    change = np.empty(rank.size, dtype=np.int64)
    change[order] = there[order] - np.where(same, np.r_[0, there[order][:-1]], 0)
    best = np.empty((2, 1 + len(differences)), dtype=np.int64)
    shelves = np.zeros((2, prices.size), dtype=np.int64)
    best_levels(step_of, is_bid, np.asarray(rank, dtype=np.int64), change, shelves[0], shelves[1], best[0], best[1])
    bid, ask = (np.where(row >= 0, prices[row], np.nan)[1:] for row in best)
    return _seconds(np.array([item.time for item in differences], dtype=np.int64), midnight), bid, ask


def _levels_of(messages: Messages, rows: Ints) -> tuple[Ints, NDArray[np.bool_], Ints]:
    """Each level's step (place in `rows`), whether it is a bid, and its place; bids before asks in each step."""
    whole = messages.whole[rows]
    first = whole[:, [scan.BIDS, scan.ASKS]].ravel()
    size = whole[:, [scan.BID_LEVELS, scan.ASK_LEVELS]].ravel()
    part = np.repeat(np.arange(first.size), size)
    level = np.arange(part.size) + np.repeat(first - (np.cumsum(size) - size), size)
    return part // 2, part % 2 == 0, level


def _trades(capture: _Capture, midnight: int, counts: dict[str, int]) -> TradeTape:
    """Trades in order of their ids; repeated ids are dropped and counted."""
    messages = capture.messages
    every = capture.rows(scan.TRADE, scan.AGGREGATE)
    market = every[(messages.whole[every, scan.FLAGS] & scan.OFF_MARKET) == 0]
    counts["trades_off_the_market_dropped"] = every.size - market.size
    single = messages.kind[market] == scan.TRADE
    rows = market[single] if single.any() else market
    if not rows.size:
        raise DataError(f"{capture.name} has no trade messages: record the trade stream too")
    ids, first = np.unique(messages.whole[rows, scan.FIRST], return_index=True)
    counts["trades"], counts["trades_repeated_dropped"] = rows.size, rows.size - ids.size
    counts["trade_ids_missing"] = int(ids[-1] - ids[0] + 1 - ids.size)
    chosen = rows[first]
    times = _seconds(messages.exchange_ns[chosen], midnight)
    forward = np.maximum.accumulate(times)
    counts["trade_times_raised_to_the_one_before"] = int((forward > times).sum())
    price, size = messages.real[chosen, 0], messages.real[chosen, 1]
    side = np.where(messages.whole[chosen, scan.FLAGS] & scan.BUYER_MADE, -1, 1).astype(np.int8)
    good = (price > 0) & (size > 0)
    counts["trades_without_price_or_quantity_dropped"] = int((~good).sum())
    return TradeTape(forward, price, size, side, np.zeros(price.size, dtype=np.bool_)).take(good)
