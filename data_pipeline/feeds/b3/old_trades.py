"""B3's old trade files (NEG_*, Bovespa and BMF, until about 2019) to the table `trades`, with who was the aggressor.

A line has 18 fields of fixed width between semicolons; the first line (RH) and the last (RT) say how many lines there
are, themselves included. Flags 1 and 2 are aggressor and passive side; where neither side was the aggressor (auctions,
crosses) the side is 0, and no sign is made up for it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa

from data_pipeline.errors import DataError
from data_pipeline.feeds.b3 import kernels
from data_pipeline.feeds.b3.trades import members
from data_pipeline.feeds.b3.trades_text import (
    Block,
    Field,
    Layout,
    Symbols,
    iter_blocks,
    session_column,
    time_column,
    utc_ns,
    words,
)
from data_pipeline.feeds.reading import Batch, RawHead, Tally
from data_pipeline.raw_file import open_raw
from data_pipeline.tables.catalog import TRADES

_FIELDS: Final = (
    Field("SessionDate", kernels.DATE),
    Field("InstrumentSymbol", kernels.SYMBOL),
    Field("TradeNumber", kernels.WHOLE),
    Field("TradePrice", kernels.DECIMAL),
    Field("TradedQuantity", kernels.WHOLE),
    Field("TradeTime", kernels.CLOCK),
    Field("TradeIndicator", kernels.WHOLE),
    Field("BuyOrderDate", kernels.SKIP),
    Field("SequentialBuyOrderNumber", kernels.SKIP),
    Field("SecondaryBuyOrderID", kernels.SKIP),
    Field("AggressorBuyOrderIndicator", kernels.WHOLE),
    Field("SellOrderDate", kernels.SKIP),
    Field("SequentialSellOrderNumber", kernels.SKIP),
    Field("SecondarySellOrderID", kernels.SKIP),
    Field("AggressorSellOrderIndicator", kernels.WHOLE),
    Field("CrossTradeIndicator", kernels.WHOLE),
    Field("BuyMember", kernels.OPTIONAL),
    Field("SellMember", kernels.OPTIONAL),
)
_VALID, _CANCELLED = 1, 2
_AGGRESSOR, _MOST_FLAG = 1, 2
_CONDITIONS: Final = pa.array(["regular", "cross"])
_EDGE: Final = re.compile(r"^R([HT]) (\w+) +(\d{4}-\d{2}-\d{2}) (\d{4}-\d{2}-\d{2}) (\d{1,12})$", re.ASCII)


class Frame:
    """The first and last line of an old file, which count its lines."""

    def __init__(self, name: str, kinds: Sequence[str], fields: tuple[Field, ...]) -> None:
        """A file called `name` in errors, whose first line says one of `kinds`."""
        self.name, self.kinds, self.fields = name, kinds, fields
        self.lines, self.kind = 0, ""
        self.ended = False

    def layout(self, line: bytes) -> Layout:
        """Take the first line."""
        found = _edge(line)
        if found is None or found[1] != "H" or not found[2].startswith(tuple(self.kinds)):
            raise DataError(
                f"{self.name}, line 1 must be the header RH {' or '.join(self.kinds)} with dates and a count; it "
                f"begins with {line[:40].decode('latin-1')!r}: give the file as B3 made it"
            )
        # a file of one market may say so after the kind (NEG_FRAC)
        self.lines, self.kind = int(found[5]), max((k for k in self.kinds if found[2].startswith(k)), key=len)
        return Layout(self.fields, comma=".", last=self._last)

    def _last(self, line: bytes, number: int) -> bool:
        found = _edge(line)
        if found is None or found[1] != "T":
            return False
        if not int(found[5]) == self.lines == number:
            raise DataError(
                f"{self.name}, line {number}: the first line says {self.lines:,} lines, the last one "
                f"{int(found[5]):,}, and there are {number:,}: the file is cut or damaged; fetch it again"
            )
        self.ended = True
        return True

    def check(self) -> None:
        """Raise DataError where the last line has not been seen."""
        if not self.ended:
            raise DataError(f"{self.name} has no last line RT: it is cut; fetch it again")


def _edge(line: bytes) -> re.Match[str] | None:
    return _EDGE.match(line.decode("latin-1").rstrip())


class OldTradesFeed:
    """The `Feed` of NEG_ files, zipped or plain."""

    name = "b3_old_trades"

    def recognises(self, head: RawHead) -> bool:
        """Whether the first line is RH NEG."""
        found = _edge(head.start.partition(b"\n")[0])
        return found is not None and found[1] == "H" and found[2].startswith("NEG")

    def group(self, paths: Sequence[Path]) -> list[tuple[Path, ...]]:
        """Each file by itself."""
        return [(path,) for path in paths]

    def read(self, files: tuple[Path, ...], tally: Tally, options: Mapping[str, str]) -> Iterator[Batch]:
        """The trades that stand.

        Raises
        ------
        DataError
            When a file is damaged or cut: its name, the line, the field and the text.
        """
        for path in files:
            yield from _read(path, tally)


def _read(path: Path, tally: Tally) -> Iterator[Batch]:
    symbols, sequence = Symbols(), 0
    with open_raw(path) as raw:
        frame = Frame(raw.name, ("NEG",), _FIELDS)
        for block in iter_blocks(raw, frame.layout, symbols):
            refuse = refusal(raw.name, block)
            refuse("TradeIndicator", (_VALID, _CANCELLED))
            refuse("AggressorBuyOrderIndicator", range(_MOST_FLAG + 1))
            refuse("AggressorSellOrderIndicator", range(_MOST_FLAG + 1))
            refuse("CrossTradeIndicator", (0, 1))
            yield Batch("trades", "B3", _table(block, symbols, sequence, tally, raw.name))
            sequence += block.rows
        frame.check()
    tally.rows += sequence
    if not sequence:
        raise DataError(f"{path.name} has no trades: fetch it again")


def refusal(name: str, block: Block) -> Callable[[str, Sequence[int]], None]:
    """A function that raises DataError where a column holds another number than it may."""

    def refuse(column: str, allowed: Sequence[int]) -> None:
        values = block.columns[column]
        bad = (values < min(allowed)) | (values > max(allowed))
        if bad.any():
            row = int(np.argmax(bad))
            raise DataError(
                f"{name}, line {block.first_line + row}: {column} must be {min(allowed)} to {max(allowed)}; was "
                f"{values[row]}; fetch the file again"
            )

    return refuse


def _table(block: Block, symbols: Symbols, sequence: int, tally: Tally, name: str) -> pa.Table:
    columns = block.columns
    limits = {"TradedQuantity": (0, (1 << 53) - 1), "BuyMember": (-1, (1 << 31) - 1), "SellMember": (-1, (1 << 31) - 1)}
    for column, allowed in limits.items():
        refusal(name, block)(column, allowed)
    buy = columns["AggressorBuyOrderIndicator"] == _AGGRESSOR
    sell = columns["AggressorSellOrderIndicator"] == _AGGRESSOR
    cross = columns["CrossTradeIndicator"] == 1
    cancelled = columns["TradeIndicator"] == _CANCELLED
    impossible = ~cancelled & ((columns["TradePrice"] < 0) | (columns["TradedQuantity"] == 0))
    kept = ~(cancelled | impossible)
    tally.add("trades_cancelled", cancelled.sum())
    tally.add("trades_without_quantity_or_of_negative_price_dropped", impossible.sum())
    tally.add("both_sides_aggressor_as_none", (buy & sell & kept).sum())
    tally.add("trades_without_aggressor", ((buy == sell) & kept).sum())
    tally.add("crosses", (cross & kept).sum())
    days = columns["SessionDate"][kept]
    size = int(kept.sum())
    texts = pa.array(symbols.texts(), pa.string())
    made = {
        "session": session_column(days),
        "symbol": words(columns["InstrumentSymbol"][kept], texts),
        "time": time_column(utc_ns(days, columns["TradeTime"][kept])),
        "local_time": pa.nulls(size, TRADES.column("local_time").type),
        "sequence": pa.array(np.flatnonzero(kept) + sequence),
        "price": pa.array(columns["TradePrice"][kept]),
        "quantity": pa.array(columns["TradedQuantity"][kept].astype(np.float64)),
        "side": pa.array((buy[kept].astype(np.int8) - sell[kept].astype(np.int8)).astype(np.int8)),
        "trade_id": pa.array(columns["TradeNumber"][kept]).cast(pa.string()),
        "condition": words(cross[kept], _CONDITIONS),
        "buyer": members(columns["BuyMember"][kept]),
        "seller": members(columns["SellMember"][kept]),
    }
    return pa.table([made[name] for name in TRADES.schema.names], schema=TRADES.schema)


B3_OLD_TRADES: Final = OldTradesFeed()
