"""B3's trade-by-trade files of today (NEGOCIOSAVISTA, before TradeIntraday) to the table `trades`.

    lines -> rows without test instruments -> (all cancels known) rows without cancelled trades -> batches

The files carry neither an aggressor nor quotes: `side` is null. A cancel repeats its trade and takes it out; it may
stand anywhere in the file, so the rows wait in a temporary file until the last line is read.

The session of a trade is DataReferencia, the day on whose file it is, also where DataNegocio (the date that its time
belongs to) is another one: nobody knew of the trade before that file, and a file then fills its own session only
instead of replacing an earlier day of an instrument by its one late row. `time` is that of DataNegocio.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from data_pipeline.errors import DataError
from data_pipeline.feeds.b3 import kernels
from data_pipeline.feeds.b3.trades_keys import ROW, Cancels, Repeats, Rows, chosen
from data_pipeline.feeds.b3.trades_text import (
    Block,
    Field,
    Layout,
    Symbols,
    Waiting,
    iter_blocks,
    session_column,
    time_column,
    utc_ns,
    words,
)
from data_pipeline.feeds.reading import Batch, RawHead, Tally
from data_pipeline.raw_file import open_raw
from data_pipeline.tables.catalog import TRADES

VENUE: Final = "B3"
_COLUMNS: Final = {
    "DataReferencia": ("RptDt", kernels.DATE),
    "CodigoInstrumento": ("TckrSymb", kernels.SYMBOL),
    "AcaoAtualizacao": ("UpdActn", kernels.WHOLE),
    "PrecoNegocio": ("GrssTradAmt", kernels.DECIMAL),
    "QuantidadeNegociada": ("TradQty", kernels.WHOLE),
    "HoraFechamento": ("NtryTm", kernels.DIGIT_CLOCK),
    "CodigoIdentificadorNegocio": ("TradId", kernels.WHOLE),
    "TipoSessaoPregao": ("TradgSsnId", kernels.WHOLE),
    "DataNegocio": ("TradDt", kernels.DATE),
}
_MEMBERS: Final = ("CodigoParticipanteComprador", "CodigoParticipanteVendedor")
_KNOWN_UNUSED: Final = ("TipoDoCanal",)
_NEW, _CANCEL = 0, 2
_REGULAR, _AFTER = 1, 6
_CONDITIONS: Final = pa.array(["regular", "after_market"])
_FUTURE: Final = re.compile(
    r"(IND|WIN|DOL|WDO|DI1|DDI|DAP|DCO|FRC|FRO|FRP|SCS|SCC|BGI|CCM|ICF|SJC|SOY|ETN|ETH|SOL|BIT|GLD|OZ1|WSP|ISP|EUR|EUP)"
    r"[FGHJKMNQUVXZ][0-9]{2}([CP][0-9]+)?"
)
_IN_MEMORY: Final = 160 << 20
_MOST_CANCELS: Final = 1 << 21
_MOST_COLUMNS: Final = 64


class TradesFeed:
    """The `Feed` of NEGOCIOSAVISTA and TradeIntraday, zipped or plain, with 9, 11, 12 or more columns in any order."""

    name = "b3_trades"

    def recognises(self, head: RawHead) -> bool:
        """Whether the first line names the columns, in the old or the new words."""
        names = set(_header_names(head.start.partition(b"\n")[0]))
        return all(new in names or old in names for new, (old, _) in _COLUMNS.items())

    def group(self, paths: Sequence[Path]) -> list[tuple[Path, ...]]:
        """Each file by itself."""
        return [(path,) for path in paths]

    def read(self, files: tuple[Path, ...], tally: Tally, options: Mapping[str, str]) -> Iterator[Batch]:
        """The trades that stand, in batches of some 100,000 rows.

        Raises
        ------
        DataError
            When a file is damaged: its name, the line, the field and the text.
        """
        for path in files:
            yield from _read(path, tally)


def _header_names(line: bytes) -> list[str]:
    return [cell.strip() for cell in line.decode("latin-1").strip("\r\n").split(";")]


@dataclass(slots=True)
class _File:
    """What is known of a file while it is read."""

    name: str
    tally: Tally
    symbols: Symbols
    sequence: int = 0

    def layout(self, line: bytes) -> Layout:
        """The fields by the header's names."""
        known = {alias: (new, kind) for new, (old, kind) in _COLUMNS.items() for alias in (new, old)}
        known |= {name: (name, kernels.OPTIONAL) for name in _MEMBERS}
        names = _header_names(line)
        if len(names) > _MOST_COLUMNS:
            raise DataError(
                f"{self.name}, line 1 names {len(names):,} columns, more than {_MOST_COLUMNS}: it is damaged"
            )
        fields = tuple(Field(*known.get(name, (name, kernels.SKIP))) for name in names)
        given = [one.name for one in fields if one.kind != kernels.SKIP]
        missing = [name for name in _COLUMNS if name not in given]
        if missing:
            raise DataError(
                f"{self.name}, line 1 lacks the column(s) {', '.join(missing[:4])}: give the file as B3 made it"
            )
        if len(set(given)) < len(given):
            raise DataError(f"{self.name}, line 1 names a column twice: give the file as B3 made it")
        other = [name for name in names if name not in known and name not in _KNOWN_UNUSED]
        if other:
            self.tally.notes.append(f"{self.name} has columns that are not used: {', '.join(other)[:200]}")
        return Layout(fields)

    def refuse(self, block: Block, column: str, bad: NDArray[np.bool_], rule: str) -> None:
        """Raise DataError at the first row that is `bad`."""
        if bad.any():
            row = int(np.argmax(bad))
            raise DataError(
                f"{self.name}, line {block.first_line + row}: {column} must be {rule}; was "
                f"{block.columns[column][row]}; fetch the file again"
            )

    def rows(self, block: Block) -> tuple[Rows, Rows]:
        """The block's trades and cancels, without test instruments and what cannot be a trade."""
        columns, tally = block.columns, self.tally
        action, quantity = columns["AcaoAtualizacao"], columns["QuantidadeNegociada"]
        session_type = columns["TipoSessaoPregao"]
        self.refuse(block, "AcaoAtualizacao", (action != _NEW) & (action != _CANCEL), "0 (new) or 2 (cancel)")
        self.refuse(block, "QuantidadeNegociada", quantity >= 1 << 53, "below 2^53")
        rows = np.empty(block.rows, dtype=ROW)
        rows["symbol"], rows["price"], rows["quantity"] = (
            columns["CodigoInstrumento"],
            columns["PrecoNegocio"],
            quantity,
        )
        rows["time_us"], rows["number"] = columns["HoraFechamento"], columns["CodigoIdentificadorNegocio"]
        rows["day"], rows["reference"] = columns["DataNegocio"], columns["DataReferencia"]
        for name, member in zip(("buyer", "seller"), _MEMBERS, strict=True):
            codes = columns.get(member)
            if codes is not None:
                self.refuse(block, member, codes >= 1 << 31, "below 2^31")
            rows[name] = -1 if codes is None else codes
        rows["after"] = session_type != _REGULAR
        rows["sequence"] = np.arange(self.sequence, self.sequence + block.rows)
        self.sequence += block.rows
        tally.rows += block.rows
        tally.add("other_session_types_as_after_market", ((session_type != _REGULAR) & (session_type != _AFTER)).sum())
        return self._possible(rows, action == _CANCEL)

    def _possible(self, rows: Rows, cancel: NDArray[np.bool_]) -> tuple[Rows, Rows]:
        symbols = self.symbols
        test = symbols.starting(b"TF") & np.isin(symbols.names[: symbols.count, 2], np.frombuffer(b"0123456789", "u1"))
        tested = test[rows["symbol"]]
        negative = (rows["price"] < 0) & ~tested
        empty = (rows["quantity"] == 0) & ~tested & ~negative
        self.tally.add("test_instrument_rows_dropped", tested.sum())
        self.tally.add("negative_prices_dropped", negative.sum())
        self.tally.add("trades_without_quantity_dropped", empty.sum())
        kept = ~(tested | negative | empty)
        if cancel.any():
            return chosen(rows, kept & ~cancel), chosen(rows, kept & cancel)
        return (rows if kept.all() else chosen(rows, kept)), rows[:0]


def _read(path: Path, tally: Tally) -> Iterator[Batch]:
    padded = [0]
    cancels: list[Rows] = []
    with open_raw(path) as raw, tempfile.TemporaryFile(prefix="fairfield-trades-") as spill:
        file = _File(raw.name, tally, Symbols())
        repeats = Repeats()
        waiting = Waiting(spill, ROW, _IN_MEMORY)
        for block in iter_blocks(raw, file.layout, file.symbols, padded):
            trades, cancelled = file.rows(block)
            waiting.put(trades)
            repeats.watch(trades, file.symbols.count)
            if cancelled.size:
                cancels.append(cancelled)
                if sum(part.size for part in cancels) > _MOST_CANCELS:
                    raise DataError(f"{raw.name} has more than {_MOST_CANCELS:,} cancels: it is no file of B3's")
        if file.sequence == 0:
            raise DataError(f"{raw.name} has no trades: fetch it again")
        tally.add("clocks_padded_to_nine_digits", padded[0])
        texts = file.symbols.texts()
        symbols = pa.array(texts, pa.string())
        strike = Cancels(cancels)
        repeats.close(raw.name, tally)
        standing = np.zeros(len(texts), dtype=np.bool_)
        future = np.array([_FUTURE.fullmatch(text) is not None for text in texts])
        for rows in waiting.take():
            trades = strike.out_of(repeats.out_of(rows, strike, tally), tally)
            if trades.size:
                standing[trades["symbol"]] = True
                tally.add("trades_of_futures_and_their_options", future[trades["symbol"]].sum())
                yield Batch("trades", VENUE, _table(trades, symbols, tally))
        strike.report(raw.name, texts, standing, tally)


def _table(trades: Rows, texts: pa.Array, tally: Tally) -> pa.Table:
    """The rows in the table's schema."""
    days, references = np.ascontiguousarray(trades["day"]), np.ascontiguousarray(trades["reference"])
    tally.add("trades_of_another_date", (days != references).sum())
    tally.add("after_market_trades", trades["after"].sum())
    size = len(trades)
    columns = {
        "session": session_column(references),
        "symbol": words(trades["symbol"], texts),
        "time": time_column(utc_ns(days, trades["time_us"])),
        "local_time": pa.nulls(size, TRADES.column("local_time").type),
        "sequence": pa.array(np.ascontiguousarray(trades["sequence"])),
        "price": pa.array(np.ascontiguousarray(trades["price"])),
        "quantity": pa.array(np.ascontiguousarray(trades["quantity"])),
        "side": pa.nulls(size, pa.int8()),
        "trade_id": pa.array(np.ascontiguousarray(trades["number"])).cast(pa.string()),
        "condition": words(trades["after"], _CONDITIONS),
        "buyer": members(trades["buyer"]),
        "seller": members(trades["seller"]),
    }
    return pa.table([columns[name] for name in TRADES.schema.names], schema=TRADES.schema)


def members(codes: NDArray[Any]) -> pa.Array:
    """A column of member codes, null where negative."""
    codes = np.ascontiguousarray(codes).astype(np.int32)
    return pa.array(codes, mask=codes < 0)


B3_TRADES: Final = TradesFeed()
