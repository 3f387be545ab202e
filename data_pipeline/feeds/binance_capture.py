"""A raw capture of Binance's websocket streams to an `IntradayRecord`.

Each line is the local time in nanoseconds, a blank, and one message: `bookTicker` (best quotes), `depthUpdate`
(absolute quantities, 0 deletes the level; Binance, "How to manage a local order book correctly"), `trade` or
`aggTrade` (m: the buyer was the maker, so the seller was the aggressor), or a REST snapshot of the book. Times are the
exchange's transaction times T: the local clock may be wrong by seconds, and then every quote would be.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import zlib
from dataclasses import dataclass, field
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
from data_pipeline.raw_file import refuse_foreign

_DAY_MS: Final = 86_400_000
_MOST_BYTES: Final = 4 << 30
Floats = NDArray[np.float64]


@dataclass(slots=True)
class _Depth:
    """One message of the book: a difference (first, last, previous update id) or, without `first`, a snapshot."""

    time: int | None
    last: int
    first: int | None
    previous: int | None
    bids: list[list[str]]
    asks: list[list[str]]
    line: int


@dataclass(slots=True)
class _Messages:
    """The capture's messages by kind, in the order of the file."""

    tickers: list[tuple[int | None, int, str, str, str, str]] = field(default_factory=list)
    trades: dict[str, list[tuple[int, int, str, str, bool]]] = field(default_factory=dict)
    depths: list[_Depth] = field(default_factory=list)
    times: list[int] = field(default_factory=list)
    local: list[int] = field(default_factory=list)
    other: int = 0
    off_market: int = 0
    symbols: set[str] = field(default_factory=set)


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
    content, digest = _content(path)
    found = _messages(path.name, content)
    if len(found.symbols) > 1:
        raise DataError(
            f"{path.name} holds {len(found.symbols)} symbols ({', '.join(sorted(found.symbols)[:5])}): split it"
        )
    if not found.times:
        raise DataError(f"{path.name} holds no message with an exchange time: is it a capture of market streams?")
    midnight = found.times[0] // _DAY_MS * _DAY_MS
    counts: dict[str, int] = {"lines": content.count(b"\n") + (not content.endswith(b"\n"))}
    times = np.array(found.times, dtype=np.int64)
    end = float(times.max() - midnight) / 1e3
    timed = bool(found.tickers) and all(row[0] is not None for row in found.tickers)
    if quotes == "ticker" and not timed:
        raise DataError(
            f"{path.name} has no bookTicker messages with an exchange time (spot has none): use quotes = depth"
        )
    if quotes == "ticker" or (quotes == "auto" and timed):
        path_of_quotes, breaks = _ticker_quotes(path.name, found, midnight, counts), np.empty((0, 2))
    else:
        path_of_quotes, breaks = _depth_quotes(path.name, found, midnight, end, counts)
    _count_breaks(found.depths, counts)
    refuse_empty(path_of_quotes, path.name)
    trades = _trades(path.name, found, midnight, counts)
    delays = np.array(found.local, dtype=np.int64) / 1e6 - times
    counts["negative_latencies"] = int((delays < 0.0).sum())
    counts["times_out_of_order_across_streams"] = int((np.diff(times) < 0).sum())
    counts["other_messages"] = found.other
    counts["trades_off_the_market_dropped"] = found.off_market
    notes = []
    if counts["negative_latencies"]:
        notes.append(
            f"the local clock is behind the exchange's: {counts['negative_latencies']:,} of {delays.size:,} latencies "
            f"are negative (median {np.median(delays):+,.0f} ms); exchange times are used."
        )
    return IntradayRecord(
        feed="Binance capture",
        instrument=next(iter(found.symbols), path.stem),
        day=datetime.fromtimestamp(midnight / 1e3, UTC).date().isoformat(),
        clock="UTC",
        quotes=path_of_quotes,
        trades=trades,
        orders=None,
        start=float(path_of_quotes.times[0]),
        end=end,
        gaps=merge_gaps(breaks, empty_side_gaps(path_of_quotes, end)),
        counts=counts,
        notes=tuple(notes),
        files={path.name: digest},
    )


def _content(path: Path) -> tuple[bytes, str]:
    """The file's text, unzipped, and the hash of the file itself."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error
    refuse_foreign(raw[:512], path.name)
    digest = hashlib.sha256(raw).hexdigest()
    if not raw.startswith(b"\x1f\x8b"):
        return raw, digest
    try:
        with gzip.open(path) as stream:
            content = stream.read(_MOST_BYTES)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path.name} is a cut or damaged gzip file ({error}): fetch it again") from error
    if len(content) == _MOST_BYTES:
        raise DataError(f"{path.name} unzips to more than {_MOST_BYTES >> 30} GiB: split it")
    return content, digest


def _messages(name: str, content: bytes) -> _Messages:
    found = _Messages()
    decode = json.loads
    for number, line in enumerate(content.splitlines(), start=1):
        try:
            local, message = line.split(b" ", 1)
            _sort_message(found, int(local), decode(message), number)
        except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
            what = f"has no {error}" if isinstance(error, KeyError) else "is not a time and a whole message"
            shown = line[:60].decode("ascii", "replace")
            raise DataError(
                f"{name}, line {number} {what} (starts {shown!r}): the capture is cut or of another format; remove "
                "what follows the last whole line, or record it again"
            ) from error
    return found


def _sort_message(found: _Messages, local: int, message: dict[str, Any], number: int) -> None:
    """Put one message where its kind belongs."""
    data = message.get("data", message)
    kind = data.get("e")
    if kind is None and "lastUpdateId" in data:
        found.depths.append(_Depth(data.get("T"), data["lastUpdateId"], None, None, data["bids"], data["asks"], number))
        return
    if kind is None and "u" in data and "b" in data:  # spot tickers name no event
        kind = "bookTicker"
    if kind == "bookTicker":
        time = data.get("T")
        found.tickers.append((time, data["u"], data["b"], data["B"], data["a"], data["A"]))
    elif kind in ("trade", "aggTrade"):
        time = data["T"]
        if data.get("X", "MARKET") == "MARKET":
            row = (time, data["t" if kind == "trade" else "a"], data["p"], data["q"], data["m"])
            found.trades.setdefault(kind, []).append(row)
        else:
            found.off_market += 1
    elif kind == "depthUpdate":
        time = data.get("T", data["E"])
        found.depths.append(_Depth(time, data["u"], data["U"], data.get("pu"), data["b"], data["a"], number))
    else:
        found.other += 1
        return
    found.symbols.add(data["s"])
    if time is not None:
        found.times.append(time)
        found.local.append(local)


def _seconds(milliseconds: Any, midnight: int) -> Floats:
    return (np.asarray(milliseconds, dtype=np.int64) - midnight) / 1e3


def _numbers(name: str, what: str, texts: list[str]) -> Floats:
    try:
        values = np.array(texts, dtype=np.float64)
    except ValueError as error:
        raise DataError(f"{name}: a {what} is no number ({error}): record the capture again") from error
    if not (np.isfinite(values) & (values >= 0)).all():
        bad = texts[int(np.argmin(np.isfinite(values) & (values >= 0)))]
        raise DataError(f"{name}: a {what} must be finite and not negative; was {bad!r}: record the capture again")
    return values


def _ticker_quotes(name: str, found: _Messages, midnight: int, counts: dict[str, int]) -> QuotePath:
    """Quotes from the ticker in order of update id; late ones (an id not above all before) are dropped and counted."""
    columns = list(zip(*found.tickers, strict=True))
    update = np.array(columns[1], dtype=np.int64)
    highest = np.maximum.accumulate(np.r_[np.int64(-1), update[:-1]])
    late = update <= highest
    counts["ticker_messages"], counts["ticker_messages_late_dropped"] = update.size, int(late.sum())
    times = _seconds(columns[0], midnight)[~late]
    bid, bid_size, ask, ask_size = (
        _numbers(name, what, list(columns[place]))[~late]
        for place, what in ((2, "bid"), (3, "bid quantity"), (4, "ask"), (5, "ask quantity"))
    )
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
    name: str, found: _Messages, midnight: int, end: float, counts: dict[str, int]
) -> tuple[QuotePath, Floats]:
    """Quotes rebuilt from each snapshot on until the sequence breaks, and the spans without a book to trust."""
    snapshots = [item for item in found.depths if item.first is None]
    differences = [item for item in found.depths if item.first is not None]
    if not snapshots or not differences:
        raise DataError(
            f"{name} has {len(snapshots)} snapshots and {len(differences)} depth messages: a book needs both; record "
            "the REST snapshot too, or use the bookTicker stream"
        )
    parts: list[tuple[Floats, Floats, Floats]] = []
    gaps: list[tuple[float, float]] = []
    applied, reached, closed = 0, 0, _seconds(found.times[0], midnight).item()
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
        part = _replay(name, snapshot, differences[start:stop], midnight)
        if part[0][0] > closed:
            gaps.append((closed, float(part[0][0])))
        broken = stop < len(differences) and _breaks_sequence(differences[stop - 1], differences[stop])
        closed = float(part[0][-1]) if broken else _at(differences, stop, midnight, end)
        parts.append(part)
        applied, reached = applied + stop - start, stop
    if not parts:
        raise DataError(f"{name}: no depth message continues a snapshot (update ids do not meet): record them together")
    if closed < end:
        gaps.append((closed, end))
    counts["depth_messages_without_a_book"] = len(differences) - applied
    times, bid, ask = (np.concatenate([part[k] for part in parts]) for k in range(3))
    return _clean(times, bid, ask, counts), np.array(gaps).reshape(-1, 2)


def _at(differences: list[_Depth], place: int, midnight: int, end: float) -> float:
    return end if place >= len(differences) else float(_seconds(differences[place].time, midnight))


def _replay(name: str, snapshot: _Depth, differences: list[_Depth], midnight: int) -> tuple[Floats, Floats, Floats]:
    """Times and best quotes after each difference applied to a snapshot."""
    steps: list[int] = []
    sides: list[bool] = []
    texts: list[list[str]] = []
    for step, item in enumerate((snapshot, *differences)):
        for side, levels in ((True, item.bids), (False, item.asks)):
            steps += [step] * len(levels)
            sides += [side] * len(levels)
            texts += levels
    step_of, is_bid = np.array(steps, dtype=np.int64), np.array(sides, dtype=np.bool_)
    price = _numbers(name, "price", [level[0] for level in texts])
    there = (_numbers(name, "quantity", [level[1] for level in texts]) > 0).astype(np.int64)
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
    return _seconds([item.time for item in differences], midnight), bid, ask


def _trades(name: str, found: _Messages, midnight: int, counts: dict[str, int]) -> TradeTape:
    """Trades in order of their ids; repeated ids are dropped and counted."""
    rows = found.trades.get("trade") or found.trades.get("aggTrade")
    if not rows:
        raise DataError(f"{name} has no trade messages: record the trade stream too")
    columns = list(zip(*rows, strict=True))
    ids, first = np.unique(np.array(columns[1], dtype=np.int64), return_index=True)
    counts["trades"], counts["trades_repeated_dropped"] = len(rows), len(rows) - ids.size
    counts["trade_ids_missing"] = int(ids[-1] - ids[0] + 1 - ids.size)
    times = _seconds(columns[0], midnight)[first]
    forward = np.maximum.accumulate(times)
    counts["trade_times_raised_to_the_one_before"] = int((forward > times).sum())
    price, size = _numbers(name, "price", list(columns[2]))[first], _numbers(name, "quantity", list(columns[3]))[first]
    side = np.where(np.array(columns[4], dtype=np.bool_)[first], -1, 1).astype(np.int8)
    good = (price > 0) & (size > 0)
    counts["trades_without_price_or_quantity_dropped"] = int((~good).sum())
    return TradeTape(forward, price, size, side, np.zeros(price.size, dtype=np.bool_)).take(good)
