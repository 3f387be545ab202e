"""Tardis' CSV files of every kind to rows of `trades`, `quotes`, `depth` and `book_events`.

All start with exchange, symbol, timestamp, local_timestamp, in µs since 1970 UTC (copies in ns exist; the magnitude
tells). Rows are in the order of local_timestamp (https://docs.tardis.dev, "Downloadable CSV files"). In
incremental_book_L2 an amount is absolute, 0 deletes the level, and is_snapshot turning true discards the book. Amounts
are the venue's own units: contracts on some, and they are kept.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from data_pipeline.errors import DataError
from data_pipeline.feeds.crypto.binance_messages import nanoseconds
from data_pipeline.feeds.crypto.csv import CsvBlock, csv_blocks, header_of
from data_pipeline.feeds.crypto.events import BookEvents, split_by
from data_pipeline.feeds.crypto.options import days_together
from data_pipeline.feeds.crypto.rows import depth_rows, quote_rows, trade_rows
from data_pipeline.feeds.reading import Batch, RawHead, Tally
from data_pipeline.raw_file import read_head

_COMMON: Final = ("exchange", "symbol", "timestamp", "local_timestamp")
_TRADES: Final = ("id", "side", "price", "amount")
_LEVELS: Final = ("is_snapshot", "side", "price", "amount")
_QUOTES: Final = ("ask_amount", "ask_price", "bid_price", "bid_amount")
_EXCHANGE: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,38}", re.ASCII)
_REMEMBERED: Final = 100_000
"""Trade ids kept to tell a repeated one from block to block."""
_SYMBOL: Final = re.compile(r"[!-~]{1,64}")
_VENUES: Final = {"binance": "BINANCE_SPOT", "binance-futures": "BINANCE_USDM", "binance-delivery": "BINANCE_COINM"}
_CONTRACTS: Final = {
    "bitmex": "contracts (inverse ones are US dollars of face)",
    "deribit": "contracts in US dollars for futures and perpetuals, coins for options",
    "huobi-dm": "contracts",
    "huobi-dm-swap": "contracts",
    "binance-delivery": "contracts in US dollars",
    "okex-futures": "contracts",
    "okex-swap": "contracts",
    "cryptofacilities": "contracts",
}

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class TardisFeed:
    """Tardis' downloadable CSV files, plain or gzipped."""

    name = "tardis"

    def recognises(self, head: RawHead) -> bool:
        """Whether the header begins as all of Tardis' do."""
        return header_of(head.start)[:4] == _COMMON

    def group(self, paths: Sequence[Path]) -> list[tuple[Path, ...]]:
        """One file each; parts of one day together."""
        return days_together(paths)

    def read(self, files: tuple[Path, ...], tally: Tally, options: Mapping[str, str]) -> Iterator[Batch]:
        """The rows; see `data_pipeline.feeds.reading.Feed.read`. There are no options."""
        if options:
            raise ValueError(f"options of tardis must be none; was {', '.join(sorted(options))}")
        reading = _Reading(tally, BookEvents(tally))
        for path in files:
            before = tally.rows
            yield from reading.file(path)
            if tally.rows == before:
                raise DataError(f"{path.name} has a header and no rows: fetch it again")
        yield from reading.books.finish()
        reading.say()


def _kind(header: Sequence[str], name: str) -> str:
    """Which of Tardis' kinds a file is; DataError for one that no table holds."""
    rest = tuple(header[4:])
    if tuple(header[:4]) != _COMMON:
        raise DataError(f"{name}, line 1 must begin with {', '.join(_COMMON)}: give a CSV file of Tardis")
    if len(set(header)) < len(header):
        raise DataError(f"{name}, line 1 names a column twice: fetch the file again")
    if "liquidations" in name:
        raise DataError(
            f"{name} holds liquidations, which are among the trades already: ingest the trades file of the day instead"
        )
    for kind, columns in (("trades", _TRADES), ("levels", _LEVELS), ("quotes", _QUOTES)):
        if rest == columns:
            return kind
    if rest and all(re.fullmatch(r"(asks|bids)\[\d{1,3}\]\.(price|amount)", cell) for cell in rest):
        return "snapshots"
    if {"strike_price", "bid_price", "bid_amount", "ask_price", "ask_amount"} <= set(rest):
        return "options"
    if "funding_rate" in rest:
        raise DataError(
            f"{name} holds Tardis' derivative_ticker (funding, open interest, mark and index price): no table of the "
            "store holds these; ingest trades, quotes, book_snapshot or incremental_book_L2 files"
        )
    raise DataError(
        f"{name}, line 1 has Tardis' first columns and then {', '.join(rest[:4]) or 'none'}: known are trades, quotes, "
        "book_ticker, book_snapshot_5 and _25, incremental_book_L2 and options_chain"
    )


@dataclass(slots=True, eq=False)
class _Reading:
    """One reading of a set of files."""

    tally: Tally
    books: BookEvents
    units: set[str] = field(default_factory=set)
    exchanges: set[str] = field(default_factory=set)
    options: bool = False
    last_local: int = -1
    recent_ids: pa.Array = field(default_factory=lambda: pa.array([], pa.string()))

    def file(self, path: Path) -> Iterator[Batch]:
        """Rows of one file."""
        header = header_of(read_head(path).start)
        kind = _kind(header, path.name)
        text, whole, real = pa.string(), pa.int64(), pa.float64()
        types: dict[str, pa.DataType] = {"exchange": text, "symbol": text, "timestamp": whole, "local_timestamp": whole}
        if kind in ("trades", "levels"):
            types |= {"side": text, "price": real, "amount": real}
            types |= {"id": text} if kind == "trades" else {"is_snapshot": pa.bool_()}
        else:
            wanted = _QUOTES if kind == "options" else header[4:]
            types |= dict.fromkeys(wanted, real)
        self.options |= kind == "options"
        make = {"trades": self._trades, "levels": self._book, "snapshots": self._depth}.get(kind, self._quotes)
        for block in csv_blocks(path, header, types, header=True):
            exchange, local = self._times(block)
            venue = self._venues(block)
            sequence = self.tally.rows + np.arange(block.rows.num_rows)
            self.tally.rows += block.rows.num_rows
            yield from make(block, venue, exchange, local, sequence)

    def _times(self, block: CsvBlock) -> tuple[Ints, Ints]:
        stamps = [block.ints(column) for column in ("timestamp", "local_timestamp")]
        for stamp in stamps:
            block.refuse(stamp < 0, "a time must be a number of µs since 1970")
            for unit, low, high in (("ms", 0, 10**14), ("µs", 10**14, 10**17), ("ns", 10**17, 2**63)):
                if ((stamp >= low) & (stamp < high)).any():
                    self.units.add(unit)
        exchange, local = (nanoseconds(stamp, block.name, block.lines()) for stamp in stamps)
        self.tally.add("negative_latencies", int((local < exchange).sum()))
        reached = np.r_[self.last_local, local]
        self.tally.add("receivers_times_out_of_order", int((np.diff(reached) < 0).sum()))
        self.last_local = int(local[-1])
        return exchange, local

    def _venues(self, block: CsvBlock) -> pa.Array:
        """Venue of each row."""
        encoded = block.rows["exchange"].combine_chunks().dictionary_encode()
        names = encoded.dictionary.to_pylist()
        codes = encoded.indices.to_numpy(zero_copy_only=False)
        good = np.array([bool(_EXCHANGE.fullmatch(name)) for name in names])
        block.refuse(~good[codes], "exchange must be a name of Tardis (binance-futures)")
        symbols = block.rows["symbol"].combine_chunks().dictionary_encode()
        plain = np.array([bool(_SYMBOL.fullmatch(name)) for name in symbols.dictionary.to_pylist()])
        of_row = symbols.indices.to_numpy(zero_copy_only=False)
        block.refuse(~plain[of_row], "symbol must be 1 to 64 plain characters")
        self.exchanges.update(names)
        venues = [_VENUES.get(name, re.sub(r"[^A-Z0-9]", "_", name.upper())) for name in names]
        venues = [name if name[0].isalpha() else f"X{name}" for name in venues]
        return pa.chunked_array([pa.array(venues).take(encoded.indices)])

    def _split(self, table: str, venue: pa.ChunkedArray, rows: pa.Table) -> Iterator[Batch]:
        for name in pc.unique(venue).to_pylist():
            yield Batch(table, name, rows.filter(pc.equal(venue, name)) if len(pc.unique(venue)) > 1 else rows)

    def _trades(
        self, block: CsvBlock, venue: pa.ChunkedArray, exchange: Ints, local: Ints, sequence: Ints
    ) -> Iterator[Batch]:
        code = block.codes("side", ("buy", "sell", "unknown"))
        side = pa.array(np.array([1, -1, 0], dtype=np.int8)[code], mask=code == 2)
        ids, symbol = block.rows["id"].combine_chunks(), block.rows["symbol"].combine_chunks()
        given = pc.not_equal(ids, "")
        named = pc.binary_join_element_wise(symbol, ids, "/").filter(given)
        once = pc.unique(named)
        again = pc.sum(pc.is_in(once, self.recent_ids)).as_py() or 0
        self.tally.add("trade_ids_repeated", len(named) - len(once) + again)
        self.recent_ids = pa.concat_arrays([self.recent_ids, once])[-_REMEMBERED:]
        self.tally.add("trades_of_unknown_side", int((code == 2).sum()))
        trade_id = pc.if_else(given, ids, pa.scalar(None, pa.string()))
        price, amount = block.amounts("price"), block.amounts("amount")
        yield from self._split(
            "trades", venue, trade_rows(symbol, exchange, local, sequence, price, amount, side, trade_id)
        )

    def _quotes(
        self, block: CsvBlock, venue: pa.ChunkedArray, exchange: Ints, local: Ints, sequence: Ints
    ) -> Iterator[Batch]:
        bid, ask = block.floats("bid_price", empty=True), block.floats("ask_price", empty=True)
        sizes = [block.amounts(column, empty=True) for column in ("bid_amount", "ask_amount")]
        self.tally.add("quotes_crossed", int(((bid >= ask) & (sizes[0] > 0) & (sizes[1] > 0) & (ask > 0)).sum()))
        symbol = block.rows["symbol"].combine_chunks()
        yield from self._split(
            "quotes", venue, quote_rows(symbol, exchange, local, sequence, bid, sizes[0], ask, sizes[1])
        )

    def _depth(
        self, block: CsvBlock, venue: pa.ChunkedArray, exchange: Ints, local: Ints, sequence: Ints
    ) -> Iterator[Batch]:
        sides = []
        for side in ("bids", "asks"):
            levels = sorted({int(name.split("[")[1].split("]")[0]) for name in block.rows.column_names if side in name})
            names = [[f"{side}[{level}].{what}" for level in levels] for what in ("price", "amount")]
            for wanted in (*names[0], *names[1]):
                if wanted not in block.rows.column_names:
                    raise DataError(f"{block.name}, line 1 lacks the column {wanted}: fetch the file again")
            price = np.column_stack([block.floats(name, empty=True) for name in names[0]])
            amount = np.column_stack([block.amounts(name, empty=True) for name in names[1]])
            block.refuse((np.isnan(price) != np.isnan(amount)).any(axis=1), "a level must have a price and an amount")
            sides.append((price, amount))
        wrong = (np.diff(sides[0][0], axis=1) >= 0).any(axis=1) | (np.diff(sides[1][0], axis=1) <= 0).any(axis=1)
        self.tally.add("levels_not_in_order_of_price", int(wrong.sum()))
        self.tally.add("pictures_crossed", int((sides[0][0][:, 0] >= sides[1][0][:, 0]).sum()))
        symbol = block.rows["symbol"].combine_chunks()
        yield from self._split("depth", venue, depth_rows(symbol, exchange, local, sequence, sides[0], sides[1]))

    def _book(
        self, block: CsvBlock, venue: pa.ChunkedArray, exchange: Ints, local: Ints, sequence: Ints
    ) -> Iterator[Batch]:
        bid = block.codes("side", ("bid", "ask")) == 0
        snapshot, price, amount = block.flags("is_snapshot"), block.floats("price"), block.amounts("amount")
        for name, symbol, rows in split_by(venue, block.rows["symbol"]):
            batch = self.books.push(
                name, symbol, exchange[rows], local[rows], snapshot[rows], bid[rows], price[rows], amount[rows]
            )
            if batch.rows.num_rows:
                yield batch

    def say(self) -> None:
        """The words about units."""
        words = {"ms": "milliseconds", "µs": "microseconds", "ns": "nanoseconds"}
        found = " and ".join(words[unit] for unit in sorted(self.units))
        self.tally.notes.append(f"times are in {found}, as their magnitude tells.")
        for exchange in sorted(self.exchanges & set(_CONTRACTS)):
            self.tally.notes.append(f"amounts of {exchange} are {_CONTRACTS[exchange]}; they are kept as they are.")
        if self.options:
            self.tally.notes.append("of the options chain the quotes are kept; volatilities and greeks are not.")


TARDIS: Final = TardisFeed()
