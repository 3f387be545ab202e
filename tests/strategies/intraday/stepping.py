"""One call of a rule by hand: a market and own orders in, requests out."""

from __future__ import annotations

import numpy as np

from strategies.intraday import rule as places
from strategies.intraday.rule import MARKET_SIZE, MOST_REQUESTS, OWN_DTYPE, REQUEST_DTYPE

SECOND = 1_000_000_000
OPENING = 1_600_000_000 * SECOND


class Stepper:
    """Calls a rule as the engine does, with its memory."""

    def __init__(self, rule, *, seconds=600.0):
        self.rule = rule
        self.memory = np.zeros(rule.memory_size)
        self.market = np.zeros(MARKET_SIZE, dtype=np.int64)
        self.flow = np.zeros(places.FLOW_SIZE)
        self.book = np.zeros((2, 1))
        self.own = np.zeros(1024, dtype=OWN_DTYPE)
        self.requests = np.zeros(MOST_REQUESTS, dtype=REQUEST_DTYPE)
        self.see(NOW=OPENING, OPEN=OPENING, CLOSE=OPENING + round(seconds * SECOND), NEXT_ID=1)
        self.see(WHY=places.ON_CLOCK, BEST_BID=10_000, BEST_ASK=10_002, MAX_POSITION=1_000_000, MAX_ORDER=1_000_000)

    def see(self, **values):
        """Set places of `market` or `flow` by name."""
        for name, value in values.items():
            integer = name in MARKET_NAMES
            (self.market if integer else self.flow)[getattr(places, name)] = value
        return self

    def at(self, seconds):
        """Move the clock to so many seconds after the opening."""
        return self.see(NOW=OPENING + round(seconds * SECOND))

    def hold(self, *orders):
        """Own orders: (order_id, side, tick, lots) or with their state."""
        for row, order in enumerate(orders):
            number, side, tick, lots, *state = order
            self.own[row] = (number, side, tick, lots, state[0] if state else places.WORKING, OPENING)
        return self.see(N_OWN=len(orders))

    def call(self):
        """Requests as tuples (action, order_id, side, tick, lots, kind)."""
        count = self.rule.function(
            self.market, self.flow, self.book, self.own, self.rule.table, self.rule.numbers, self.memory, self.requests
        )
        assert 0 <= count <= MOST_REQUESTS
        return [tuple(int(part) for part in row) for row in self.requests[:count]]


MARKET_NAMES = (
    "NOW", "OPEN", "CLOSE", "PHASE", "WHY", "BEST_BID", "BEST_ASK", "BASE", "LAST_TICK", "LAST_SIDE", "POSITION",
    "OPEN_BUY", "OPEN_SELL", "N_OWN", "NEXT_ID", "MAX_POSITION", "MAX_ORDER",
)  # fmt: skip
