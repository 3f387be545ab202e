"""The rows of a trade file by their key (instrument, trade date, trade number): cancels meet trades, repeats go."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from data_pipeline.feeds.b3 import kernels
from data_pipeline.feeds.reading import Tally

_NAMED: Final = 5
"""So many cancels without a trade are named in the notes."""
_MOST_WATCHED: Final = 1 << 20

ROW: Final = np.dtype(
    [
        ("number", "<i8"),
        ("time_us", "<i8"),
        ("sequence", "<i8"),
        ("price", "<f8"),
        ("quantity", "<f8"),
        ("symbol", "<i4"),
        ("day", "<i4"),
        ("reference", "<i4"),
        ("buyer", "<i4"),
        ("seller", "<i4"),
        ("after", "<i4"),
    ]
)
"""A trade or cancel: its number, microseconds after local midnight, row of the file, price, quantity, instrument (a
number), trade date and file's date (days since 1970), members (-1 none), whether it is outside the regular
session."""

_WORDS: Final = (
    ("time_us", "i8"), ("price", "i8"), ("quantity", "i8"), ("buyer", "i4"), ("seller", "i4"), ("after", "i4"),
)  # fmt: skip
"""What two rows of one key must share to be one trade, floats by their bits."""

Rows = NDArray[Any]
Keys = tuple[NDArray[Any], NDArray[Any], NDArray[Any]]


def chosen(rows: Rows, mask: NDArray[np.bool_]) -> Rows:
    """The rows where `mask` is true: `take` copies whole records, which indexing does field by field."""
    return rows.take(np.flatnonzero(mask))


def _keys(rows: Rows) -> Keys:
    return (
        np.ascontiguousarray(rows["symbol"]),
        np.ascontiguousarray(rows["day"]),
        np.ascontiguousarray(rows["number"]),
    )


class Cancels:
    """All cancels of a file, and which of them have met their trade."""

    def __init__(self, cancels: list[Rows]) -> None:
        """None of them has met its trade yet."""
        rows = np.concatenate(cancels) if cancels else np.empty(0, dtype=ROW)
        self.rows = rows[np.lexsort((rows["sequence"], rows["number"], rows["day"], rows["symbol"]))]
        self.symbol, self.day, self.number = _keys(self.rows)
        self.sequence = np.ascontiguousarray(self.rows["sequence"])
        changes = np.diff(self.symbol) | np.diff(self.day) | np.diff(self.number)
        ends = np.append(np.flatnonzero(changes) + 1, rows.size)
        self.ends = ends[np.searchsorted(ends, np.arange(rows.size), side="right")]
        self.taken = np.zeros(rows.size, dtype=np.int64)
        self.met = np.zeros(rows.size, dtype=np.bool_)

    def out_of(self, trades: Rows, tally: Tally) -> Rows:
        """The trades that no cancel takes out."""
        if not self.rows.size:
            return trades
        struck = np.empty(trades.size, dtype=np.int64)
        symbol, day, number = _keys(trades)
        kernels.strike_cancelled(symbol, day, number, self.symbol, self.day, self.number, self.taken, struck)
        gone = struck >= 0
        cancel, trade = self.rows[struck[gone]], chosen(trades, gone)
        self.met[struck[gone]] = True
        tally.add("trades_cancelled", gone.sum())
        tally.add("cancels_before_their_trade", (cancel["sequence"] < trade["sequence"]).sum())
        differs = (cancel["price"] != trade["price"]) | (cancel["quantity"] != trade["quantity"])
        tally.add("cancels_that_differ_from_their_trade", differs.sum())
        return chosen(trades, ~gone)

    def places(self, trades: Rows) -> NDArray[np.int64]:
        """(n,) where the first cancel of each trade's key is among the cancels, -1 where it has none."""
        found = np.empty(trades.size, dtype=np.int64)
        kernels.find_keys(*_keys(trades), self.symbol, self.day, self.number, found)
        return found

    def report(self, name: str, texts: list[str], standing: NDArray[np.bool_], tally: Tally) -> None:
        """Count and name the cancels that no trade of the file answers to, and the instruments without a trade left.

        standing (symbols,): whether a trade of the instrument stands.
        """
        alone = self.rows[~self.met]
        tally.add("cancels", self.rows.size)
        tally.add("cancels_without_their_trade", alone.size)
        if alone.size:
            first = ", ".join(f"{texts[row['symbol']]} trade {row['number']}" for row in alone[:_NAMED])
            tally.notes.append(f"{name} cancels {alone.size:,} trade(s) that it does not hold, first {first}")
        bare = [texts[code] for code in np.unique(self.symbol).tolist() if not standing[code]]
        tally.add("instruments_whose_every_trade_is_cancelled", len(bare))
        if bare:
            tally.notes.append(
                f"{name} cancels every trade of {len(bare):,} instrument(s), first {', '.join(bare[:_NAMED])}: it has "
                "no rows that could replace those of an earlier file of the same day"
            )


class Repeats:
    """Trades that are in the file twice, as in one put together from several downloads.

    The numbers of an instrument rise through a file, so only a number that does not can be one seen before: no other
    key need be remembered. A row that follows a cancel of its number is no repeat: it was entered anew.
    """

    def __init__(self) -> None:
        """Nothing seen yet."""
        self.highest = np.full(1024, -1, dtype=np.int64)
        self.watched: list[Rows] = []
        self.count = 0
        self.symbol, self.day, self.number = _keys(np.empty(0, dtype=ROW))
        self.table, self.nodes = np.empty(0, dtype=np.int32), np.empty((0, 0), dtype=np.int64)
        self.used, self.counts = np.empty(0, dtype=np.bool_), np.zeros(3, dtype=np.int64)

    def watch(self, rows: Rows, symbols: int) -> None:
        """Take note of the numbers that do not rise."""
        if symbols > self.highest.size:
            more = np.full(2 * symbols - self.highest.size, -1, dtype=np.int64)
            self.highest = np.concatenate([self.highest, more])
        marked = np.empty(rows.size, dtype=np.bool_)
        symbol, _, number = _keys(rows)
        kernels.mark_not_rising(symbol, number, self.highest, marked)
        self.count += int(marked.sum())
        if self.count > _MOST_WATCHED:
            self.watched.clear()
        elif marked.any():
            self.watched.append(chosen(rows, marked))

    def close(self, name: str, tally: Tally) -> None:
        """All rows have been seen; their number is counted, and where it is too large for looking closer, said."""
        tally.add("trade_numbers_that_do_not_rise", self.count)
        if self.count > _MOST_WATCHED:
            tally.notes.append(f"{name} is not in the order of its trade numbers: rows given twice were not looked for")
        elif self.watched:
            symbol, day, number = _keys(np.concatenate(self.watched))
            order = np.lexsort((number, day, symbol))
            symbol, day, number = symbol[order], day[order], number[order]
            first = np.r_[True, (np.diff(symbol) != 0) | (np.diff(day) != 0) | (np.diff(number) != 0)]
            self.symbol, self.day, self.number = symbol[first], day[first], number[first]
            # of the rows of a key at most the first is not marked
            most = self.count + self.symbol.size
            self.table = np.full(1 << (2 * most).bit_length(), -1, dtype=np.int32)
            self.nodes = np.empty((most, len(_WORDS) + 2), dtype=np.int64)
            self.used = np.zeros(self.symbol.size, dtype=np.bool_)

    def out_of(self, trades: Rows, cancels: Cancels, tally: Tally) -> Rows:
        """The trades without those given before, word for word; another trade of that number stays, counted."""
        if not self.symbol.size:
            return trades
        found = np.empty(trades.size, dtype=np.int64)
        kernels.find_keys(*_keys(trades), self.symbol, self.day, self.number, found)
        watched = found >= 0
        rows = chosen(trades, watched)
        words = np.column_stack([np.ascontiguousarray(rows[name]).view(kind).astype("i8") for name, kind in _WORDS])
        kept = np.ones(trades.size, dtype=np.bool_)
        news = np.empty(rows.size, dtype=np.bool_)
        before = self.counts.copy()
        kernels.mark_repeats(
            found[watched], words, np.ascontiguousarray(rows["sequence"]), cancels.places(rows), cancels.sequence,
            cancels.ends, self.table, self.nodes, self.used, self.counts, news,
        )  # fmt: skip
        kept[watched] = news
        _, repeated, further = (self.counts - before).tolist()
        tally.add("rows_repeated_dropped", repeated)
        tally.add("trade_numbers_used_twice", further)
        return chosen(trades, kept)
