"""The state of an order book that is being replayed: the compiled ladder's arrays, and how they grow."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from data_pipeline.book import ladder_kernels as kernels
from data_pipeline.book.grid import NO_ASK, NO_BID, PriceGrid, inferred_grid, listed_grid
from data_pipeline.errors import DataError

_rehash: Any = kernels.rehash

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

MOST_TICKS: Final = 1 << 28
"""Widest range of ticks of one book; wider ones mean a wrong tick size or a damaged price."""
MOST_PAGES: Final = 1 << 16
"""Most pages of 512 levels with anything ever in them: 0.4 GiB."""


def covering_grid(prices: NDArray[Any]) -> PriceGrid:
    """A grid that a book of any finite prices can be kept on: their ticks, or the list of them.

    The list where they share no decimal tick, or lie further apart than the pages of a book reach. Best quotes and
    levels are the same on either; only numbers of ticks between prices are not.

    Raises
    ------
    DataError
        When there is none, or one is not finite.
    """
    try:
        grid = inferred_grid(prices)
    except DataError:
        if not np.size(prices):
            raise
        return listed_grid(prices)
    # both sides may need a page of their own everywhere between
    narrow = float(np.ptp(prices)) / grid.tick_size < MOST_PAGES * kernels.PAGE // 4
    return grid if narrow else listed_grid(prices)


def _empty(*shape: int, of: type[np.generic] = np.int64) -> NDArray[Any]:
    return np.zeros(shape, dtype=of)


def _fresh_head() -> Ints:
    head = _empty(kernels.HEAD)
    head[kernels.BEST_BID], head[kernels.BEST_ASK] = NO_BID, NO_ASK
    head[[kernels.NOW, kernels.PICTURE, kernels.NEXT_CLOCK]] = kernels.NEVER
    return head


def _no_page() -> NDArray[np.int32]:
    return np.full((2, 0), -1, dtype=np.int32)


@dataclass(slots=True, eq=False)
class Ladder:
    """Price levels of both sides and the orders in them; the layout is that of `ladder_kernels`.

    Attributes
    ----------
    head : (HEAD,) int64
        Best prices, counts and places by the indices of `ladder_kernels`.
    directory : (2, d) int32
        Slot of each page of ticks in the pool, -1 where it has none; page `head[BASE]` first.
    summary : (2, d / 32) int64
        One bit a page: whether any of its levels is occupied.
    words, quantity, count
        The pool: (p, 16) int64 one bit a level, (p, 512) float64 quantities, (p, 512) int32 orders.
    keys, order_side, order_tick, order_left, order_epoch : (h,)
        The hash table of orders, h a power of two; side -1 where a slot was never used.
    """

    head: Ints = field(default_factory=_fresh_head)
    directory: NDArray[np.int32] = field(default_factory=_no_page)
    summary: Ints = field(default_factory=lambda: _empty(2, 0))
    words: Ints = field(default_factory=lambda: _empty(0, kernels.WORDS))
    quantity: Floats = field(default_factory=lambda: _empty(0, kernels.PAGE, of=np.float64))
    count: NDArray[np.int32] = field(default_factory=lambda: _empty(0, kernels.PAGE, of=np.int32))
    keys: Ints = field(default_factory=lambda: _empty(64))
    order_side: NDArray[np.int8] = field(default_factory=lambda: np.full(64, -1, dtype=np.int8))
    order_tick: Ints = field(default_factory=lambda: _empty(64))
    order_left: Floats = field(default_factory=lambda: _empty(64, of=np.float64))
    order_epoch: Ints = field(default_factory=lambda: _empty(64))

    def levels(self) -> tuple[Any, ...]:
        """The arrays that every kernel takes first."""
        return self.head, self.directory, self.summary, self.words, self.quantity

    def orders(self) -> tuple[Any, ...]:
        """The hash table's arrays."""
        return self.keys, self.order_side, self.order_tick, self.order_left, self.order_epoch

    def make_room(self, code: NDArray[np.int8], side: NDArray[np.int8], tick: Ints, grid: PriceGrid) -> None:
        """Grow so that these events can be applied.

        Raises
        ------
        DataError
            When prices span more ticks, or more pages, than a book may have.
        """
        span = np.empty(2, dtype=np.int64)
        kernels.page_span(code, tick, span)
        if span[0] > span[1]:
            return
        self._widen(int(span[0]), int(span[1]), grid)
        kernels.reserve(code, side, tick, self.directory, self.head)
        used, held = int(self.head[kernels.USED]), len(self.words)
        if used > MOST_PAGES:
            raise DataError(
                f"prices lie in more than {MOST_PAGES:,} places of {kernels.PAGE} ticks each ({grid.words()}): is the "
                "tick size too small, or are prices damaged?"
            )
        if used > held:
            size = min(max(2 * held, used, 16), MOST_PAGES)
            self.words = _longer(self.words, size)
            self.quantity = _longer(self.quantity, size)
            self.count = _longer(self.count, size)
        self._widen_orders(int((code >= kernels.ORDER_ADD).sum()))

    def _widen(self, first: int, last: int, grid: PriceGrid) -> None:
        """A directory that covers pages `first` to `last` and all before, a multiple of 32 of them."""
        base, width = int(self.head[kernels.BASE]), self.directory.shape[1]
        low, high = (first, last) if width == 0 else (min(base, first), max(base + width - 1, last))
        if width and low == base and high == base + width - 1:
            return
        if (high - low + 1) * kernels.PAGE > MOST_TICKS:
            raise DataError(
                f"prices span {(high - low + 1) * kernels.PAGE:,} ticks ({grid.words()}), more than {MOST_TICKS:,}: is "
                "the tick size too small, or is a price damaged?"
            )
        # room on both sides, so that a drifting price does not widen at every step
        low, high = (low - 32) // 32 * 32, (high + 64) // 32 * 32
        directory = np.full((2, high - low), -1, dtype=np.int32)
        summary = _empty(2, (high - low) // 32)
        if width:
            shift = base - low  # a multiple of 32: both bases are
            directory[:, shift : shift + width] = self.directory
            summary[:, shift // 32 : (shift + width) // 32] = self.summary
        self.head[kernels.BASE], self.directory, self.summary = low, directory, summary

    def _widen_orders(self, added: int) -> None:
        """A hash table at most half full after `added` more orders."""
        if 2 * (int(self.head[kernels.FILLED_SLOTS]) + added) <= self.keys.size:
            return
        size = 1 << (4 * (int(self.head[kernels.LIVE]) + added)).bit_length()
        grown = (
            _empty(size),
            np.full(size, -1, dtype=np.int8),
            _empty(size),
            _empty(size, of=np.float64),
            _empty(size),
        )
        _rehash(*self.orders(), self.head, *grown)
        self.keys, self.order_side, self.order_tick, self.order_left, self.order_epoch = grown


def _longer(array: NDArray[Any], size: int) -> NDArray[Any]:
    grown = np.zeros((size, *array.shape[1:]), dtype=array.dtype)
    grown[: len(array)] = array
    return grown
