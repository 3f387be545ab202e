"""What a reader of a capture remembers of one instrument: the ids it has seen, and which messages they make late."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from data_pipeline.book.normalise import EventStream
from data_pipeline.feeds.crypto import binance_scan as scan
from data_pipeline.feeds.crypto.rows import EventRows
from data_pipeline.feeds.reading import Tally

_REMEMBERED: Final = 100_000
"""Trade ids kept to tell a repeated trade from a late one."""

Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]


@dataclass(slots=True, eq=False)
class Instrument:
    """One symbol of one venue.

    Attributes
    ----------
    venue, symbol : str
    rows : EventRows
    stream : EventStream
    trade_kind : int
        TRADE or AGGREGATE, whichever its trades are taken from; OTHER before the first.
    price : float
        The latest price of a trade or ticker; nan before the first.
    exchange_ns : int
        Latest exchange time; -1 before the first.
    """

    venue: str
    symbol: str
    rows: EventRows
    stream: EventStream = field(default_factory=EventStream)
    trade_kind: int = scan.OTHER
    price: float = float("nan")
    exchange_ns: int = -1
    highest_ticker: int = -1
    last_update: int = -1
    highest_update: int = -1
    update_ns: int = -1
    recent_updates: Ints = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    recent_trades: Ints = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    trade_span: tuple[int, int] = (-1, -1)
    trades: int = 0

    def late_tickers(self, update: Ints) -> Flags:
        """(n,) whether the update id is not above all before."""
        before = np.maximum.accumulate(np.r_[self.highest_ticker, update[:-1]])
        self.highest_ticker = max(self.highest_ticker, int(update.max()))
        return np.asarray(update <= before)

    def repeated_trades(self, ids: Ints) -> Flags:
        """(n,) whether a trade of the same id came before."""
        repeated = np.ones(ids.size, dtype=np.bool_)
        repeated[np.unique(ids, return_index=True)[1]] = False
        if self.recent_trades.size and ids.min() <= self.trade_span[1]:
            repeated |= np.isin(ids, self.recent_trades)
        new = ids[~repeated]
        if new.size:
            low = int(new.min()) if self.trade_span[0] < 0 else min(self.trade_span[0], int(new.min()))
            self.trade_span = low, max(self.trade_span[1], int(new.max()))
            self.trades += new.size
            self.recent_trades = np.concatenate([self.recent_trades, new])[-_REMEMBERED:]
        return repeated

    def missing_trades(self) -> int:
        """How many ids between the lowest and the highest never came."""
        low, high = self.trade_span
        return 0 if low < 0 else max(high - low + 1 - self.trades, 0)

    def old_differences(self, update: Ints, exchange_ns: Ints) -> Flags:
        """(n,) whether a difference repeats what was there: neither its update id nor its time goes on."""
        highest = np.maximum.accumulate(np.r_[self.highest_update, update[:-1]])
        latest = np.maximum.accumulate(np.r_[self.update_ns, exchange_ns[:-1]])
        self.highest_update = max(self.highest_update, int(update.max()))
        self.update_ns = max(self.update_ns, int(exchange_ns.max()))
        return np.asarray((update <= highest) & (exchange_ns <= latest))

    def broken_sequence(self, whole: Ints) -> Ints:
        """Places of the differences that do not follow the one before: futures name it (pu), spot leaves no hole."""
        if not whole.shape[0]:
            return np.empty(0, dtype=np.int64)
        before = np.r_[self.last_update, whole[:-1, scan.LAST]]
        futures = whole[:, scan.PREVIOUS] >= 0
        broken = np.where(futures, whole[:, scan.PREVIOUS] != before, whole[:, scan.FIRST] != before + 1)
        self.last_update = int(whole[-1, scan.LAST])
        self.recent_updates = np.concatenate([self.recent_updates, whole[:, scan.LAST]])[-1000:]
        return np.flatnonzero(broken & (before >= 0))

    def choose_trades(self, kinds: Ints, tally: Tally) -> Flags:
        """(n,) whether a trade message is of the kind taken: single trades, or aggregates where there are none."""
        if self.trade_kind == scan.OTHER and kinds.size:
            self.trade_kind = scan.TRADE if (kinds == scan.TRADE).any() else scan.AGGREGATE
        chosen = kinds == self.trade_kind
        word = "aggregated" if self.trade_kind == scan.TRADE else "single"
        if not chosen.all():
            tally.add(f"{word}_trades_beside_the_other_kind_dropped", int((~chosen).sum()))
        return np.asarray(chosen)


def venue_of(symbol: str, futures: bool) -> str:
    """BINANCE_SPOT, BINANCE_USDM, or BINANCE_COINM for contracts on a coin against the dollar (BTCUSD_PERP)."""
    if not futures:
        return "BINANCE_SPOT"
    pair, _, _ = symbol.partition("_")
    return "BINANCE_COINM" if "_" in symbol and pair.endswith("USD") else "BINANCE_USDM"
