"""A LOBSTER pair, read side by side in blocks of bounded size: text to numbers, every row checked.

    lobster_pairs.find_pairs(files) -> Pair; open_pair(pair) -> Blocks -> Block: times, fields, levels

Format (LOBSTER, "Data structure"): message rows are time (s after midnight, New York), type, order id, size, price
(USD x 10,000), direction; row k of the order book is the book after message k, ask price, ask size, bid price, bid size
for each level; an empty level has the price 9999999999 (ask) or -9999999999 (bid).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from data_pipeline.errors import DataError
from data_pipeline.feeds.lobster import kernels
from data_pipeline.feeds.lobster.lines import Rows
from data_pipeline.feeds.lobster.pairs import Pair, open_part

KINDS: Final = {
    kernels.NEW: "new",
    kernels.PARTIAL_CANCEL: "partial_cancel",
    kernels.DELETE: "delete",
    kernels.EXECUTION: "execution",
    kernels.HIDDEN: "hidden_execution",
    kernels.CROSS: "cross_trade",
    kernels.HALTED: "halt_message",
}
_BLOCK_ROWS: Final = 1 << 16
_BLOCK_CELLS: Final = 1 << 22
_SHARE_STANDING: Final = 0.9
"""A new order stands in the book row beside it: fewer than nine in ten means that the files are of two days."""

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Block:
    """Consecutive rows of both files; the arrays are overwritten by the next block.

    Attributes
    ----------
    first : int
        Number of the first row, from 0.
    times : (n,) int64
        Nanoseconds after midnight.
    fields : (n, 5) int64
        Type, order id, size, price, direction.
    levels : (n, 4 * L) int64
        The book after each message.
    """

    first: int
    times: Ints
    fields: Ints
    levels: Ints


class Blocks:
    """The rows of a pair in blocks; what was counted is whole once they are drawn.

    Attributes
    ----------
    message, orderbook : Rows
    state : (15,) int64
        Counts of `lobster_kernels.check_rows`.
    """

    def __init__(self, message: Rows, orderbook: Rows) -> None:
        """Nothing is read yet."""
        self.message, self.orderbook = message, orderbook
        self.state = np.zeros(kernels.KINDS + 8, dtype=np.int64)
        self.rows = 0

    def __iter__(self) -> Iterator[Block]:
        """Blocks of up to 65,536 rows.

        Raises
        ------
        DataError
            When a row of either file cannot be, or the two do not belong together.
        """
        width = self.orderbook.width
        capacity = max(min(_BLOCK_ROWS, _BLOCK_CELLS // width), 1)
        messages, levels = np.empty((capacity, 6), dtype=np.int64), np.empty((capacity, width), dtype=np.int64)
        while True:
            count = self.message.read(messages)
            beside = self.orderbook.read(levels[: max(count, 1)])
            if count != beside:
                raise DataError(self._unequal(count, beside, levels))
            if count == 0:
                break
            times, fields = messages[:count, 0].copy(), messages[:count, 1:].copy()
            fault = np.zeros(2, dtype=np.int64)
            good = kernels.check_rows(times, fields, levels[:count], self.state, fault)
            if good < count:
                raise DataError(self._fault(messages, levels, good, count, fault))
            yield Block(self.rows, times, fields, levels[:count])
            self.rows += count
            self._check_pair(at_least=5_000)
        if self.rows == 0:
            raise DataError(f"{self.message.name} has no rows: fetch it again")
        self._check_pair(at_least=1)

    def counts(self) -> dict[str, int]:
        """Messages, and how many of each type."""
        kinds = {words: int(self.state[kernels.KINDS + kind]) for kind, words in KINDS.items()}
        return {"messages": self.rows} | kinds

    def notes(self) -> list[str]:
        """What was odd about the layout of the two files."""
        return [*self.message.notes(), *self.orderbook.notes()]

    def _check_pair(self, at_least: int) -> None:
        news = int(self.state[kernels.NEWS])
        share = int(self.state[kernels.NEWS_STANDING]) / max(news, 1)
        if news >= at_least and share < _SHARE_STANDING:
            raise DataError(
                f"{self.message.name} and {self.orderbook.name} do not belong together: only {share:.0%} of the new "
                "orders stand in the book row beside them; give the two files of one download"
            )

    def _unequal(self, count: int, beside: int, room: Ints) -> str:
        """The two counts in words; the longer file is read to its end for it."""
        totals = [self.rows + count, self.rows + beside]
        for place, rows in enumerate((self.message, self.orderbook)):
            spare = np.empty((len(room), 6 if rows.timed else rows.width), dtype=np.int64)
            while more := rows.read(spare):
                totals[place] += more
        return (
            f"{self.message.name} has {totals[0]:,} messages and {self.orderbook.name} {totals[1]:,} rows of the "
            "book: they must have the same number; one of them is cut or of another day: fetch both again"
        )

    def _fault(self, messages: Ints, levels: Ints, row: int, count: int, fault: Ints) -> str:
        code, level = int(fault[0]), int(fault[1])
        kind, order, size, price, direction = messages[row, 1:].tolist()
        rules = {
            kernels.EARLIER: ("the time is before that of the row above", messages[row, 0] / kernels.SECOND),
            kernels.WRONG_TIME: ("the time must be seconds after midnight", messages[row, 0] / kernels.SECOND),
            kernels.WRONG_KIND: ("the type must be 1 to 7", kind),
            kernels.WRONG_DIRECTION: ("the direction must be 1 or -1", direction),
            kernels.WRONG_SIZE: ("the size must be at least 1 and below 2^53", size),
            kernels.WRONG_PRICE: ("the price must be positive and below 999,999.9999", price),
            kernels.WRONG_ORDER: ("the order id must be positive", order),
            kernels.ASKS_NOT_RISING: ("ask prices must rise", levels[row, 4 * level]),
            kernels.BIDS_NOT_FALLING: ("bid prices must fall", levels[row, 4 * level + 2]),
            kernels.LEVEL_WITHOUT_SIZE: (
                "the sizes must be at least 1 and below 2^53",
                levels[row, 4 * level + 1 : 4 * level + 4 : 2].tolist(),
            ),
        }
        rule, value = rules[code]
        rows = self.orderbook if code >= kernels.ASKS_NOT_RISING else self.message
        line = rows.line() - (count - row)
        # where empty lines were passed over inside this block the number is too large by at most as many
        place = "at or just before line" if rows.state[kernels.BLANKS] else "line"
        where = f", level {level + 1}" if rows is self.orderbook else ""
        return f"{rows.name}, {place} {line}{where}: {rule}; was {value}: fetch the file again"


@contextmanager
def open_pair(pair: Pair, *, most_bytes: int | None = None, hashed: bool = False) -> Iterator[Blocks]:
    """The two files of a pair, open, as blocks of rows.

    Parameters
    ----------
    pair : Pair
    most_bytes : int, optional
        Largest size of one file's text that is taken.
    hashed : bool
        Whether `Rows.digest` is wanted.

    Raises
    ------
    DataError
        When a file is missing, empty, of another format or of another shape.
    """
    with open_part(pair.message) as message, open_part(pair.orderbook) as orderbook:
        yield Blocks(
            Rows(message, timed=True, most_bytes=most_bytes, hashed=hashed),
            Rows(orderbook, timed=False, most_bytes=most_bytes, hashed=hashed),
        )
