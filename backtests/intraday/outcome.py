"""What a simulated session leaves behind: fills, orders, samples of the state, counts."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from strategies.intraday.rule import Instrument

FILL_DTYPE: Final = np.dtype(
    [
        ("exch_ts", "<i8"),  # ns
        ("local_ts", "<i8"),  # when the rule's side knew
        ("order_id", "<i8"),
        ("side", "<i8"),  # +1 bought, -1 sold
        ("tick", "<i8"),
        ("lots", "<i8"),
        ("maker", "<i8"),  # 1 a resting order was hit, 0 it crossed on arrival
        (
            "mid2",
            "<i8",
        ),  # best bid + best ask tick of the exchange's book before the fill's instant; NO_MID without one
        ("position", "<i8"),  # after the fill, exchange's order
        ("cause", "<i8"),  # how it came about, below
    ],
    align=True,
)
NO_MID: Final = -(1 << 62)
BY_QUEUE, BY_PRINT_THROUGH, BY_BOOK_THROUGH, BY_CROSSING, BY_AUCTION, BY_LIQUIDATION = 1, 2, 3, 4, 5, 6

ORDER_DTYPE: Final = np.dtype(
    [
        ("order_id", "<i8"),
        ("side", "<i8"),
        ("tick", "<i8"),
        ("lots", "<i8"),  # as sent; a replaced order has a row for each of its prices, all with its number
        ("kind", "<i8"),
        ("sent", "<i8"),  # local ns
        ("arrived", "<i8"),  # exchange ns, -1 never
        ("ended", "<i8"),  # exchange ns, -1 still open at the end
        ("filled", "<i8"),  # lots
        ("end", "<i8"),  # how it ended, below
        ("ahead", "<f8"),  # lots ahead in its level on arrival
        ("ahead_end", "<f8"),  # lots still ahead when it ended
    ],
    align=True,
)
(
    OPEN,
    FILLED,
    CANCELLED,
    REPLACED,
    REJECTED_POST_ONLY,
    REJECTED_PHASE,
    REJECTED_LIMIT,
    EXPIRED,
    REJECTED_FORM,
    TOO_LATE,
) = range(10)

SAMPLE_DTYPE: Final = np.dtype(
    [
        ("local_ts", "<i8"),  # a call of the rule on the clock
        ("mid2", "<i8"),  # of the local book; NO_MID without one
        ("position", "<i8"),  # lots, as known locally
        ("bid", "<i8"),  # own best open bid and ask as known locally; NO_BID, NO_ASK without one
        ("ask", "<i8"),
    ],
    align=True,
)


@dataclass(frozen=True, slots=True, eq=False)
class SessionOutcome:
    """One rule over one session of one instrument under one set of assumptions.

    Attributes
    ----------
    instrument : Instrument
    fills : (n,) of FILL_DTYPE, exchange order
    orders : (m,) of ORDER_DTYPE, order of sending
    samples : (s,) of SAMPLE_DTYPE
        At every `sample_every`-th call on the clock.
    cash_ticks : int
        Sum of -side * tick * lots over the fills: exact.
    fees : float
        Money paid (received when negative), each fill's rounded to 1e-6 of a unit of money, half to even.
    position : int
        Lots left at the end (0 after a complete liquidation).
    last_mid2 : int
        At which it is marked: best bid + best ask tick of the exchange's last two-sided book; twice the last print's
        tick where there never was one, NO_MID where there was no print either.
    quoted_ns : (4,) int64
        Exchange time in which an own bid stood, an own ask, both, and the session's continuous time.
    counts : mapping of str to int
        events, calls, submitted, cancelled, replaced, refused by each reason, crossings of the book ...
    """

    instrument: Instrument
    fills: NDArray[Any]
    orders: NDArray[Any]
    samples: NDArray[Any]
    cash_ticks: int
    fees: float
    position: int
    last_mid2: int
    quoted_ns: NDArray[np.int64]
    counts: Mapping[str, int]

    @property
    def profit(self) -> float:
        """Money: cash, the position at the last mid, less fees; nan for a position that no mid and no print marks."""
        if self.position != 0 and self.last_mid2 == NO_MID:
            return math.nan
        marked = 0.0 if self.position == 0 else 0.5 * self.position * self.last_mid2
        return (self.cash_ticks + marked) * self.instrument.tick_value - self.fees
