"""What an intraday rule is: a compiled function from what the trader's side knows to requests, with its numbers.

The event engine (`backtests.intraday`) calls a rule on the local clock. A rule sees arrays that hold only what had
arrived by then, writes requests, and returns how many. Compile it once, with its declared signature, so that the
engine's own compiled code is shared by all rules:

    @njit([SIGNATURE], cache=True)
    def rule(market, flow, book, own, table, numbers, memory, requests):
        ...
        return count                 # requests written; a negative number stops the session with an error

Prices are whole ticks (price = tick * tick_size), own quantities whole lots, times nanoseconds since 1970 UTC.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numba import from_dtype, int64, types
from numpy.typing import NDArray

from strategies.intraday.rule_digest import code_parts

Floats = NDArray[np.float64]

# Places in `market` (int64).
NOW, OPEN, CLOSE, PHASE, WHY = 0, 1, 2, 3, 4
"""The local time; first and last local time of the session; its phase; why the rule is called."""
BEST_BID, BEST_ASK, BASE = 5, 6, 7
"""Best ticks of the local book (`NO_BID`, `NO_ASK` where a side is empty); tick of column 0 of `book`."""
LAST_TICK, LAST_SIDE = 8, 9
"""The last trade seen: its tick, and +1 (bought), -1 (sold) or 0; side 0 and tick 0 before any."""
POSITION, OPEN_BUY, OPEN_SELL, N_OWN, NEXT_ID = 10, 11, 12, 13, 14
"""Lots held as far as is known; lots of own open orders on each side; rows of `own`; the least number that a new order
may have."""
MAX_POSITION, MAX_ORDER = 15, 16
"""Limits in lots; a request that could break one is refused by the engine and counted."""
MARKET_SIZE: Final = 24

# Places in `flow` (float64): quantities in lots, sums since the session's start in the local order.
BID_LOTS, ASK_LOTS, LAST_LOTS = 0, 1, 2
"""Quantities at the best quotes and of the last trade."""
BOUGHT, SOLD, TRADES = 3, 4, 5
"""Lots taken by buyers and by sellers, and the number of trades."""
SQUARED_MOVES, MID_MOVES = 6, 7
"""Sum of squared changes of the mid, in ticks squared, and their number."""
SECONDS_QUOTED, SPREAD_SECONDS = 8, 9
"""Seconds with both sides there, and the integral of the spread over them, ticks x seconds."""
FLOW_SIZE: Final = 16

NO_BID: Final = -(1 << 62)
NO_ASK: Final = (1 << 62) - 1

# Phases.
CONTINUOUS, AUCTION, HALTED, CLOSED = 0, 1, 2, 3
# Reasons of a call.
ON_CLOCK, ON_OWN, ON_TRADE, ON_PHASE = 1, 2, 4, 8
"""Bits: the clock's step; a fill or answer arrived; a trade was seen; the phase changed."""

# Requests.
SUBMIT, CANCEL, REPLACE = 1, 2, 3
LIMIT, POST_ONLY, IOC, FOK, MARKET = 0, 1, 2, 3, 4
BUY_SIDE, SELL_SIDE = 1, -1
# States of an own order as the trader's side knows it.
SENT, WORKING, CANCEL_SENT, REPLACE_SENT = 1, 2, 3, 4

REQUEST_DTYPE: Final = np.dtype(
    [("action", "<i8"), ("order_id", "<i8"), ("side", "<i8"), ("tick", "<i8"), ("lots", "<i8"), ("kind", "<i8")],
    align=True,
)
"""A request: what; the order (SUBMIT: a number of the rule's own, `market[NEXT_ID]` or above, at most 2^62); side +1
buy, -1 sell; tick; lots; kind. CANCEL needs the number alone, REPLACE number, tick and new lots."""
OWN_DTYPE: Final = np.dtype(
    [("order_id", "<i8"), ("side", "<i8"), ("tick", "<i8"), ("lots", "<i8"), ("state", "<i8"), ("sent", "<i8")],
    align=True,
)
"""An own order that may still be open: number, side, tick, lots left as known, state, local time it was sent."""
MOST_REQUESTS: Final = 64
"""Rows of `requests` at each call."""

_OWN, _REQUEST = from_dtype(OWN_DTYPE), from_dtype(REQUEST_DTYPE)
SIGNATURE: Final = int64(
    types.Array(int64, 1, "C"),  # market (MARKET_SIZE,)
    types.Array(types.float64, 1, "C"),  # flow (FLOW_SIZE,)
    types.Array(types.float64, 2, "C"),  # book (2, ticks): lots at each tick of the local book, bids then asks
    types.Array(_OWN, 1, "C"),  # own: the first market[N_OWN] rows count
    types.Array(types.float64, 4, "C"),  # table (regimes, inventories, times, 2), the rule's own
    types.Array(types.float64, 1, "C"),  # numbers, the rule's own
    types.Array(types.float64, 1, "C"),  # memory, the rule's own, zeros at the session's start
    types.Array(_REQUEST, 1, "C"),  # requests, to be filled from row 0
)
"""The signature that a rule is compiled with."""


@dataclass(frozen=True, slots=True)
class Instrument:
    """What one lot and one tick are worth.

    Attributes
    ----------
    symbol, venue : str
    tick_size : float
        Price step.
    lot_size : float
        Units (shares, contracts, coins) of one lot: the smallest order, and the step of all orders.
    multiplier : float
        Money per unit of price and unit of quantity.
    """

    symbol: str
    venue: str
    tick_size: float
    lot_size: float
    multiplier: float = 1.0

    def __post_init__(self) -> None:
        """Check the sizes."""
        for name in ("tick_size", "lot_size", "multiplier"):
            value = getattr(self, name)
            if not 0.0 < value < np.inf:
                raise ValueError(f"{name} must be positive and finite; was {value!r}")

    @property
    def tick_value(self) -> float:
        """Money of one tick on one lot."""
        return self.tick_size * self.lot_size * self.multiplier


@dataclass(frozen=True, slots=True, eq=False)
class Rule:
    """A compiled rule with its numbers: what the engine runs.

    Attributes
    ----------
    name : str
    function : compiled function of `SIGNATURE`
    table : (regimes, inventories, times, 2) float64
        Bid and ask half-spreads, or whatever the rule reads; may be empty, of four dimensions.
    numbers : (n,) float64
    memory_size : int
        Numbers that the rule remembers between its calls.
    interval_ns : int
        Step of the clock on which it is called.
    calls : int
        Further reasons to call it: bits of ON_OWN, ON_TRADE, ON_PHASE.
    notes : mapping
        What a report should say of it (fitted parameters), JSON types.
    """

    name: str
    function: Any
    table: Floats = field(default_factory=lambda: np.zeros((1, 1, 1, 2)))
    numbers: Floats = field(default_factory=lambda: np.zeros(1))
    memory_size: int = 1
    interval_ns: int = 100_000_000
    calls: int = ON_OWN
    notes: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check what the engine cannot."""
        if self.table.ndim != 4 or self.numbers.ndim != 1:
            raise ValueError(
                f"table must have 4 dimensions and numbers 1; had {self.table.ndim} and {self.numbers.ndim}"
            )
        for name, low in (("interval_ns", 1), ("memory_size", 1), ("calls", 0)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | np.integer):
                raise TypeError(f"{name} must be a whole number; was {value!r}")
            if value < low:
                raise ValueError(f"{name} must be at least {low}; was {value}")
        if self.calls > ON_CLOCK | ON_OWN | ON_TRADE | ON_PHASE:
            raise ValueError(f"calls must be bits of ON_OWN, ON_TRADE and ON_PHASE; was {self.calls}")

    @property
    def digest(self) -> str:
        """SHA-256 of the numbers and of all code that the function runs: see `code_parts`."""
        seen = hashlib.sha256(f"{self.name} {self.interval_ns} {self.calls} {self.memory_size}".encode())
        for text in code_parts(self.function):
            seen.update(text.encode())
            seen.update(b"\n")
        for array in (self.table, self.numbers):
            seen.update(repr(array.shape).encode())
            seen.update(np.ascontiguousarray(array, dtype="<f8").tobytes())
        return seen.hexdigest()
