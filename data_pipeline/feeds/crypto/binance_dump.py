"""Binance's daily and monthly CSV files (data.binance.vision) and its depth history, to rows of the store's tables.

trades, aggTrades and bookTicker: spot files have no header, those of futures mostly have; times are in ms, on spot in
µs from 2025-01-01 (github.com/binance/binance-public-data). The symbol stands in the file's name only. Depth history
(T_DEPTH: symbol, timestamp, first and last update id, side, snap or set, price, quantity, pu) has one clock.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from data_pipeline.errors import DataError
from data_pipeline.feeds.crypto.binance_messages import nanoseconds
from data_pipeline.feeds.crypto.binance_state import venue_of
from data_pipeline.feeds.crypto.csv import CsvBlock, csv_blocks, header_of
from data_pipeline.feeds.crypto.events import BookEvents, split_by
from data_pipeline.feeds.crypto.options import days_together
from data_pipeline.feeds.crypto.rows import quote_rows, trade_rows
from data_pipeline.feeds.reading import Batch, RawHead, Tally
from data_pipeline.raw_file import read_head

_NAME: Final = re.compile(r"([A-Z0-9]{2,30}(?:_[A-Z0-9]{1,10})?)-(aggTrades|trades|bookTicker)-20\d\d-\d\d(?:-\d\d)?\b")
_TRADES: Final = ("id", "price", "qty", "quote_qty", "time", "is_buyer_maker")
_AGGREGATES: Final = (
    "agg_trade_id",
    "price",
    "quantity",
    "first_trade_id",
    "last_trade_id",
    "transact_time",
    "is_buyer_maker",
)
_TICKERS: Final = (
    "update_id",
    "best_bid_price",
    "best_bid_qty",
    "best_ask_price",
    "best_ask_qty",
    "transaction_time",
    "event_time",
)
_DEPTH: Final = (
    "symbol",
    "timestamp",
    "first_update_id",
    "last_update_id",
    "side",
    "update_type",
    "price",
    "qty",
    "pu",
)
_WHOLE: Final = rb"\d{1,19}"
_REAL: Final = rb"\d{1,15}(?:\.\d{0,17})?(?:[eE][+-]?\d{1,2})?"
_BOOL: Final = rb"(?:[Tt]rue|TRUE|[Ff]alse|FALSE)"


def _row(*cells: bytes) -> re.Pattern[bytes]:
    return re.compile(rb",".join(cells) + rb"\r?\n")


_BARE: Final[tuple[tuple[str, bool, tuple[str, ...], re.Pattern[bytes]], ...]] = (
    ("trades", True, (*_TRADES, "best_match"), _row(_WHOLE, _REAL, _REAL, _REAL, _WHOLE, _BOOL, _BOOL)),
    ("trades", False, _TRADES, _row(_WHOLE, _REAL, _REAL, _REAL, _WHOLE, _BOOL)),
    (
        "aggTrades",
        True,
        (*_AGGREGATES, "best_match"),
        _row(_WHOLE, _REAL, _REAL, _WHOLE, _WHOLE, _WHOLE, _BOOL, _BOOL),
    ),
    ("aggTrades", False, _AGGREGATES, _row(_WHOLE, _REAL, _REAL, _WHOLE, _WHOLE, _WHOLE, _BOOL)),
    ("bookTicker", False, _TICKERS, _row(_WHOLE, _REAL, _REAL, _REAL, _REAL, _WHOLE, _WHOLE)),
)
"""Rows of files without a header: kind, whether of spot, columns, form of the first line."""
_MICROSECONDS_FROM: Final = 1_735_689_600 * 10**9
"""2025-01-01, from which spot files have µs."""

Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class _Form:
    """What a file holds: kind (trades, aggTrades, bookTicker, depth), whether of spot, its columns, a header or not."""

    kind: str
    spot: bool
    columns: tuple[str, ...]
    header: bool


@dataclass(frozen=True, slots=True)
class BinanceDumpFeed:
    """CSV files of data.binance.vision, in their zips or out of them, and depth history."""

    name = "binance_dump"

    def recognises(self, head: RawHead) -> bool:
        """Whether header or first row is of a known form and the name says the symbol."""
        form = _form(head.start)
        return form is not None and (form.kind == "depth" or _NAME.search(head.path.name + head.member) is not None)

    def group(self, paths: Sequence[Path]) -> list[tuple[Path, ...]]:
        """One file each; a depth snapshot together with the updates of its day."""
        sets: dict[tuple[Path, str], list[Path]] = {}
        for first, *rest in days_together(paths):
            key = re.sub(r"depth_(snap|update)", "depth", first.name)
            sets.setdefault((first.parent, key), []).extend((first, *rest))
        return [tuple(files) for files in sets.values()]

    def read(self, files: tuple[Path, ...], tally: Tally, options: Mapping[str, str]) -> Iterator[Batch]:
        """The rows; see `data_pipeline.feeds.reading.Feed.read`. Options: `symbol`, `venue`, where a name says none."""
        unknown = sorted(set(options) - {"venue", "symbol"})
        if unknown:
            raise ValueError(f"options of binance_dump must be venue or symbol; was {', '.join(unknown)}")
        reading = _Reading(tally, options, BookEvents(tally))
        for path in files:
            before = tally.rows
            yield from reading.file(path)
            if tally.rows == before:
                raise DataError(f"{path.name} has no rows: fetch it again")
        yield from reading.books.finish()
        reading.say()


def _form(start: bytes) -> _Form | None:
    header = header_of(start)
    known: tuple[tuple[str, tuple[str, ...]], ...] = (
        ("trades", _TRADES),
        ("aggTrades", _AGGREGATES),
        ("bookTicker", _TICKERS),
        ("depth", _DEPTH),
    )
    for kind, columns in known:
        if header == columns:
            return _Form(kind, False, columns, True)
        if header == (*columns, "is_best_match"):
            return _Form(kind, True, (*columns, "best_match"), True)
    for kind, spot, bare, form in _BARE:
        if form.match(start):
            return _Form(kind, spot, bare, False)
    return None


@dataclass(slots=True, eq=False)
class _Reading:
    """One reading of a set of files."""

    tally: Tally
    options: Mapping[str, str]
    books: BookEvents
    units: set[str] = field(default_factory=set)
    last_id: int = -1
    last_time: int = -1
    last_update: dict[str, tuple[int, int, int]] = field(default_factory=dict)
    words: list[str] = field(default_factory=list)

    def file(self, path: Path) -> Iterator[Batch]:
        """Rows of one file."""
        head = read_head(path)
        form = _form(head.start)
        if form is None:
            raise DataError(
                f"{path.name}, line 1 is of no known form: known are trades, aggTrades, bookTicker and T_DEPTH of "
                "data.binance.vision"
            )
        whole, real, text = pa.int64(), pa.float64(), pa.string()
        if form.kind == "depth":
            types = dict.fromkeys(("timestamp", "first_update_id", "last_update_id", "pu"), whole)
            types |= {"symbol": text, "side": text, "update_type": text, "price": real, "qty": real}
            for block in csv_blocks(path, form.columns, types, header=True):
                yield from self._depth(block)
            return
        symbol, venue = self._whose(path.name + head.member, path.name, form)
        if form.kind == "bookTicker":
            types = dict.fromkeys(form.columns[1:5], real) | {form.columns[0]: whole, form.columns[5]: whole}
        else:
            types = {form.columns[0]: whole, "price": real, form.columns[2]: real, "is_buyer_maker": pa.bool_()}
            types |= {"transact_time" if form.kind == "aggTrades" else "time": whole}
        make = self._tickers if form.kind == "bookTicker" else self._trades
        for block in csv_blocks(path, form.columns, types, header=form.header):
            yield make(block, form, symbol, venue)

    def _whose(self, name: str, shown: str, form: _Form) -> tuple[str, str]:
        """Symbol and venue of a file."""
        found = _NAME.search(name)
        symbol = self.options.get("symbol", found[1] if found else "")
        if not re.fullmatch(r"[!-~]{1,64}", symbol):
            raise DataError(
                f"{shown} does not name its symbol (BTCUSDT-trades-2024-01-01): give it by the option symbol"
            )
        venue = self.options.get("venue", venue_of(symbol, not form.spot))
        if not re.fullmatch(r"[A-Z][A-Z0-9_]{0,39}", venue):
            raise ValueError(f"venue must be upper-case letters, digits and underscores; was {venue!r}")
        word = f"{shown} was taken as {form.kind} of {symbol}, {venue}, by its name and columns."
        if word not in self.words:
            self.words.append(word)
        return symbol, venue

    def _times(self, block: CsvBlock, column: str, *, spot: bool) -> Ints:
        """Times in ns; the unit by magnitude, and whether it is the one that the date leads to expect."""
        stamp = block.ints(column)
        block.refuse(stamp < 0, "a time must be ms or µs since 1970")
        time = nanoseconds(stamp, block.name, block.lines())
        in_ms = stamp < 10**14
        self.units |= ({"milliseconds"} if in_ms.any() else set()) | ({"microseconds"} if not in_ms.all() else set())
        expected_ms = ~((time >= _MICROSECONDS_FROM) & spot)
        self.tally.add("times_in_another_unit_than_their_date_has", int((in_ms != expected_ms).sum()))
        self.tally.add("times_out_of_order", int((np.diff(np.r_[self.last_time, time]) < 0).sum()))
        self.last_time = int(time[-1])
        return time

    def _fresh(self, block: CsvBlock, column: str, rule: str) -> Flags:
        """(n,) whether an id is above all before; others are counted."""
        ids = block.ints(column)
        before = np.maximum.accumulate(np.r_[self.last_id, ids[:-1]])
        fresh = ids > before
        self.tally.add(rule, int((~fresh).sum()))
        if rule == "trades_repeated_dropped":
            gaps = (ids - before - 1)[fresh & (before >= 0)]
            self.tally.add("trade_ids_missing", int(gaps.sum()))
        self.last_id = max(self.last_id, int(ids.max()))
        return np.asarray(fresh)

    def _sequence(self, block: CsvBlock) -> Ints:
        sequence = self.tally.rows + np.arange(block.rows.num_rows)
        self.tally.rows += block.rows.num_rows
        return sequence

    def _trades(self, block: CsvBlock, form: _Form, symbol: str, venue: str) -> Batch:
        sequence = self._sequence(block)
        time = self._times(block, "transact_time" if form.kind == "aggTrades" else "time", spot=form.spot)
        keep = self._fresh(block, form.columns[0], "trades_repeated_dropped")
        price, quantity = block.amounts("price"), block.amounts(form.columns[2])
        empty = (price <= 0) | (quantity <= 0)
        self.tally.add("trades_without_price_or_quantity_dropped", int((keep & empty).sum()))
        keep &= ~empty
        side = np.where(block.flags("is_buyer_maker"), -1, 1).astype(np.int8)
        rows = trade_rows(
            pa.repeat(symbol, int(keep.sum())),
            time[keep],
            None,
            sequence[keep],
            price[keep],
            quantity[keep],
            pa.array(side[keep]),
            pa.array(block.ints(form.columns[0])[keep]).cast(pa.string()),
        )
        return Batch("trades", venue, rows)

    def _tickers(self, block: CsvBlock, form: _Form, symbol: str, venue: str) -> Batch:
        sequence = self._sequence(block)
        time = self._times(block, "transaction_time", spot=form.spot)
        keep = self._fresh(block, "update_id", "ticker_messages_late_dropped")
        bid, bid_quantity, ask, ask_quantity = (block.amounts(name)[keep] for name in form.columns[1:5])
        self.tally.add(
            "quotes_crossed", int(((bid >= ask) & (bid_quantity > 0) & (ask_quantity > 0) & (ask > 0)).sum())
        )
        symbols = pa.repeat(symbol, int(keep.sum()))
        rows = quote_rows(symbols, time[keep], None, sequence[keep], bid, bid_quantity, ask, ask_quantity)
        return Batch("quotes", venue, rows)

    def _depth(self, block: CsvBlock) -> Iterator[Batch]:
        """Depth history: rows of one message agree in their update ids."""
        self._sequence(block)
        self.last_time = -1
        time = self._times(block, "timestamp", spot=False)
        bid = block.codes("side", ("b", "a")) == 0
        snapshot = block.codes("update_type", ("snap", "set")) == 0
        first, last = block.ints("first_update_id"), block.ints("last_update_id")
        previous = np.asarray(block.rows["pu"].fill_null(-1).to_numpy(), dtype=np.int64)  # snapshots may have none
        price, quantity = block.amounts("price"), block.amounts("qty")
        venues = pa.chunked_array([pa.repeat("", block.rows.num_rows)])
        for _, symbol, rows in split_by(venues, block.rows["symbol"]):
            if not re.fullmatch(r"[!-~]{1,64}", symbol):
                raise DataError(f"{block.name}: symbol must be 1 to 64 plain characters; was {symbol[:40]!r}")
            before = self.last_update.get(symbol, (-1, -1, -1))
            names = np.column_stack([first[rows], last[rows], snapshot[rows]])
            new = (np.diff(np.concatenate([[before], names]), axis=0) != 0).any(axis=1)
            self.tally.add("depth_messages", int(new.sum()))
            reached = np.r_[before[1], names[:-1, 1]]
            held = np.r_[before[2] == 1, snapshot[rows][:-1]]
            # the first update after a snapshot may begin before it: only updates among themselves name the one before
            breaks = new & ~snapshot[rows] & ~held & (reached >= 0) & (previous[rows] != reached)
            self.tally.add("depth_sequence_breaks", int(breaks.sum()))
            self.last_update[symbol] = (int(names[-1, 0]), int(names[-1, 1]), int(names[-1, 2]))
            venue = self.options.get("venue", venue_of(symbol, True))
            batch = self.books.push(
                venue, symbol, time[rows], time[rows], snapshot[rows], bid[rows], price[rows], quantity[rows], new
            )
            if batch.rows.num_rows:
                yield batch

    def say(self) -> None:
        """The words about names and units."""
        self.tally.notes += self.words
        self.tally.notes.append(f"times are in {' and '.join(sorted(self.units))}, as their magnitude tells.")
        if self.tally.counts.get("times_in_another_unit_than_their_date_has"):
            self.tally.notes.append(
                "spot files have microseconds from 2025-01-01 and milliseconds before; this differs."
            )
        breaks = self.tally.counts.get("depth_sequence_breaks", 0)
        if breaks:
            self.tally.notes.append(
                f"updates of the book are lost ({breaks:,} breaks of the sequence): "
                "from each break to the next snapshot the book is not to be trusted."
            )
        if self.last_update:
            self.tally.notes.append("depth history has one clock: the receiver's times are the exchange's.")


BINANCE_DUMP: Final = BinanceDumpFeed()
