"""Prices as whole numbers of ticks and back, exactly: a price is on the grid when its decimal text is.

A tick size is a ratio of whole numbers (0.05 is 1 / 20), so tick number times numerator, divided by the denominator, is
one correctly rounded division: the double nearest to the decimal price, the same one that reading the text gives.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from data_pipeline.errors import DataError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

NO_BID: Final = -(1 << 62)
NO_ASK: Final = 1 << 62
"""Tick numbers of an empty side."""
MOST_DECIMALS: Final = 12
_EXACT: Final = 2.0**53


@dataclass(frozen=True, slots=True, eq=False)
class PriceGrid:
    """The prices that a book can hold: multiples of a tick size, or a list.

    Attributes
    ----------
    numerator, denominator : int
        The tick size as a ratio; both 0 for a list.
    listed : (p,) float64
        The prices of a list, rising; empty for a tick size.
    """

    numerator: int
    denominator: int
    listed: Floats = field(default_factory=lambda: np.empty(0))

    @property
    def tick_size(self) -> float:
        """The price step; nan for a list."""
        return self.numerator / self.denominator if self.denominator else float("nan")

    def prices(self, ticks: NDArray[Any]) -> Floats:
        """Prices of tick numbers; nan for an empty side (`NO_BID`, `NO_ASK`)."""
        ticks = np.asarray(ticks, dtype=np.int64)
        there = (ticks != NO_BID) & (ticks != NO_ASK)
        if self.denominator:
            return np.where(there, np.where(there, ticks, 0) * float(self.numerator) / float(self.denominator), np.nan)
        if not self.listed.size:
            return np.full(ticks.shape, np.nan)
        return np.where(there, self.listed[np.where(there, ticks, 0)], np.nan)

    def ticks(self, prices: NDArray[Any]) -> Ints:
        """Tick numbers of prices.

        Raises
        ------
        DataError
            When a price is not on the grid: how many, and the first.
        """
        prices = np.asarray(prices, dtype=np.float64)
        if self.denominator:
            with np.errstate(invalid="ignore", over="ignore"):
                scaled = np.rint(prices * float(self.denominator) / float(self.numerator))
            good = np.abs(scaled) * self.numerator < _EXACT
            ticks = np.where(good, scaled, 0).astype(np.int64)
        else:
            ticks = np.minimum(np.searchsorted(self.listed, prices), max(self.listed.size - 1, 0)).astype(np.int64)
            good = np.full(prices.shape, self.listed.size > 0)
        bad = ~good | (self.prices(ticks) != prices)
        if bad.any():
            place = int(np.argmax(bad.ravel()))
            raise DataError(
                f"{int(bad.sum()):,} of {prices.size:,} prices are not on the grid of {self.words()}; the first, at "
                f"place {place}, is {float(prices.ravel()[place])!r}: give the right tick size, or list the prices"
            )
        return ticks

    def words(self) -> str:
        """The grid in words."""
        return f"tick size {self.tick_size:.12g}" if self.denominator else f"{self.listed.size:,} listed prices"


def tick_grid(tick_size: float | str | Decimal) -> PriceGrid:
    """The grid of multiples of a tick size, read as a decimal number: 0.1 is one tenth.

    Raises
    ------
    ValueError
        When it is not a positive decimal number of up to 12 decimals.

    >>> grid = tick_grid(0.1)
    >>> float(grid.prices(grid.ticks([0.3]))[0])
    0.3
    """
    try:
        ratio = Fraction(Decimal(str(tick_size)))
    except (InvalidOperation, ValueError, OverflowError) as error:
        raise ValueError(f"tick_size must be a decimal number; was {tick_size!r}") from error
    if not 0 < ratio < 10**9 or 10**MOST_DECIMALS % ratio.denominator:
        raise ValueError(
            f"tick_size must be positive, with {MOST_DECIMALS} decimals at most, below 1e9; was {tick_size!r}"
        )
    return PriceGrid(ratio.numerator, ratio.denominator)


def inferred_grid(prices: NDArray[Any]) -> PriceGrid:
    """The coarsest tick grid that holds every price exactly.

    It says what the prices share, which may be more than the venue's tick when few prices were seen.

    Raises
    ------
    DataError
        When there are none, or they are not decimal numbers of up to 12 decimals.
    """
    distinct = np.unique(np.asarray(prices, dtype=np.float64))
    if distinct.size == 0 or not np.isfinite(distinct).all():
        raise DataError("a tick size cannot be inferred: the prices must be finite numbers, at least one of them")
    for decimals in range(MOST_DECIMALS + 1):
        scaled = np.rint(distinct * 10.0**decimals)
        if np.abs(scaled).max() >= _EXACT:
            break
        if (scaled / 10.0**decimals == distinct).all():
            step = int(np.gcd.reduce(scaled.astype(np.int64))) or 1
            ratio = Fraction(step, 10**decimals)
            return PriceGrid(ratio.numerator, ratio.denominator)
    raise DataError(
        f"a tick size cannot be inferred: the prices are no decimal numbers of up to {MOST_DECIMALS} decimals; give "
        "tick_size, or list the prices"
    )


def listed_grid(prices: NDArray[Any]) -> PriceGrid:
    """The grid of exactly these prices, for feeds whose prices share no tick.

    Raises
    ------
    DataError
        When one is not finite.
    """
    distinct = np.unique(np.asarray(prices, dtype=np.float64))
    if not np.isfinite(distinct).all():
        raise DataError("listed prices must be finite")
    return PriceGrid(0, 0, distinct)
