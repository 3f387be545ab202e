"""The quoting rule in plain Python, from its description: dictionaries and exact arithmetic on the table's doubles."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from strategies.intraday.rule import CANCEL, CLOSED, CONTINUOUS, NO_ASK, NO_BID, ON_CLOCK, POST_ONLY, REPLACE, SUBMIT

WORKING, CANCEL_SENT = 2, 3


@dataclass
class PlainMaker:
    """`tables`: for each regime a function (orders held, seconds to the close) -> (bid, ask) half-spreads, nan."""

    tables: list
    order_lots: int
    limit: int
    tolerance: int = 0
    withdraw: float = 0.0
    reference: str = "mid"
    half: float = 0.0
    refresh: float = 0.5
    signals: dict | None = None
    history: list = field(default_factory=list)
    regime: int = 0
    tried: dict = field(default_factory=dict)

    def requests(self, seen, own):
        """`seen`: what the rule sees, by name; own: (number, side, tick, lots, state). Answers as the stepper's."""
        if seen["PHASE"] == CLOSED:
            return []
        if self.signals:
            self.follow(seen)
        wanted = self.wanted(seen)
        orders, extra = {}, []
        for order in own:
            if order[1] in orders:
                extra.append(order)
            else:
                orders[order[1]] = order
        out = [(CANCEL, *order[:4], POST_ONLY) for order in extra if order[4] != CANCEL_SENT]
        stands = {side: orders[side][2] if side in orders else None for side in (1, -1)}
        bid_waits_for_ask = wanted[1] is not None and stands[-1] is not None and wanted[1][0] >= stands[-1]
        number = seen["NEXT_ID"]
        refused = {side: self.refused(side, orders.get(side), seen) for side in (1, -1)}
        for side in (-1, 1) if bid_waits_for_ask else (1, -1):
            request, after = self.move(side, wanted[side], orders.get(side), stands[-side], number)
            if refused[side] and wanted[side] is not None:
                request, after = [], stands[side]
            stands[side] = after
            for one in request:
                self.tried.pop(side, None)
                if one[0] != CANCEL:
                    self.tried[side] = (one[3], seen["POSITION"])
            out += request
            number += 1
        return out

    def refused(self, side, order, seen):
        """Whether the last price sent has got no place, as far as can be seen before the clock's next step."""
        if side not in self.tried:
            return False
        tick, held = self.tried[side]
        taken = order is not None and order[4] == WORKING and order[2] == tick
        if seen["WHY"] & ON_CLOCK or taken or side * seen["POSITION"] > side * held:
            del self.tried[side]
            return False
        return order is None or order[4] == WORKING

    def move(self, side, wanted, order, other, number):
        if order is None:
            if wanted is None or crosses(side, wanted[0], other):
                return [], None
            return [(SUBMIT, number, side, *wanted, POST_ONLY)], wanted[0]
        name, _, tick, left, state = order
        withdrawal = ([(CANCEL, name, side, tick, left, POST_ONLY)], None)
        if wanted is None and state != CANCEL_SENT:
            return withdrawal
        if wanted is None or state != WORKING:
            return [], tick
        price, lots = wanted
        if abs(price - tick) <= self.tolerance and self.refresh * lots <= left <= lots:
            return [], tick
        if crosses(side, price, other) or left > lots:
            return withdrawal
        return [(REPLACE, name, side, price, lots, POST_ONLY)], price

    def wanted(self, seen):
        none = {1: None, -1: None}
        left = (seen["CLOSE"] - seen["NOW"]) * 1e-9
        if seen["PHASE"] != CONTINUOUS or seen["CLOSE"] - seen["NOW"] <= self.withdraw * 10**9:
            return none
        bid = None if seen["BEST_BID"] == NO_BID else seen["BEST_BID"]
        ask = None if seen["BEST_ASK"] == NO_ASK else seen["BEST_ASK"]
        if bid is not None and ask is not None and bid >= ask:
            return none
        if self.reference == "last_trade":
            last, side = seen["LAST_TICK"], seen["LAST_SIDE"]
            if (last, side) == (0, 0):
                return none
            middle = last - {1: self.half, -1: -self.half, 0: 0}[side]
            # The other side stands at a price that was taken from it, and beyond any other.
            ask = ask if ask is not None else (last if side == 1 else last + (side == -1))
            bid = bid if bid is not None else (last if side == -1 else last - (side == 1))
        elif bid is None or ask is None:
            return none
        else:
            middle = (bid + ask) / 2
            quantity = seen["BID_LOTS"] + seen["ASK_LOTS"]
            if self.reference == "microprice" and quantity > 0:
                middle = bid + (ask - bid) * seen["BID_LOTS"] / quantity
        position = seen["POSITION"]
        below, above = self.tables[self.regime](position / self.order_lots, left)
        limit, size = min(self.limit, seen["MAX_POSITION"]), min(self.order_lots, seen["MAX_ORDER"])
        found = dict(none)
        if not math.isnan(below) and limit - position > 0:
            price = min(math.floor(middle - below + 1e-9), ask - 1)
            found[1] = (price, min(size, limit - position)) if price >= 1 else None
        if not math.isnan(above) and limit + position > 0:
            found[-1] = (max(math.ceil(middle + above - 1e-9), bid + 1), min(size, limit + position))
        return none if found[1] and found[-1] and found[1][0] >= found[-1][0] else found

    def follow(self, seen):
        """Sums of every interval from the flow at its end; an interval that no call ended has nothing."""
        step, window = self.signals["interval_ns"], self.signals["window"]
        complete = (seen["NOW"] - seen["OPEN"]) // step
        if complete <= len(self.history):
            return
        now = (seen["BOUGHT"], seen["SOLD"], seen["SQUARED_MOVES"])
        before = self.signals.setdefault("mark", (0.0, 0.0, 0.0))
        self.signals["mark"] = now
        self.history.append([after - first for after, first in zip(now, before, strict=True)])
        while len(self.history) < complete:
            self.history.append([0.0, 0.0, 0.0])
        if complete < window:
            return
        last = self.history[-window:]
        volume = sum(bought + sold for bought, sold, _ in last)
        toxicity = sum(abs(bought - sold) for bought, sold, _ in last) / volume if volume else 0.0
        volatility = math.sqrt(sum(squared for *_, squared in last) / (window * step * 1e-9))
        over = [
            toxicity > self.signals["toxicity"][self.regime],
            volatility > self.signals["volatility"][self.regime],
        ]
        self.regime = int(any(over))


def crosses(side, tick, other):
    """Whether an order would meet the own one of the other side."""
    return other is not None and (tick >= other if side > 0 else tick <= other)
