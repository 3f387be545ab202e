"""The event engine in plain Python: what docs/event-engine.md says, one thing after another, with no speed in mind.

Everything that will happen lies in one heap; the books are dictionaries, the own orders lists. Nothing of the compiled
engine is used, and rules are called as the Python functions that they were written as.
"""

from __future__ import annotations

import heapq
import math
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from plain_market import ASK, BID, Book, Change, Event, read_events

from backtests.intraday import outcome as out
from backtests.intraday.settings import FillSettings, TradingSpan
from data_pipeline.book import events as ev
from strategies.intraday import rule as r

GOLDEN, MODULUS = 0x9E3779B97F4A7C15, 1 << 64
NEW_PHASE, AT_EXCHANGE, REQUEST_ARRIVES, AT_LOCAL, MESSAGE_ARRIVES, CALL = range(6)
RESTING_KINDS = (r.LIMIT, r.POST_ONLY)
REASONS = {"clock": r.ON_CLOCK, "own": r.ON_OWN, "trade": r.ON_TRADE, "phase": r.ON_PHASE}
REFUSALS = {
    out.REJECTED_FORM: "rejected_form",
    out.REJECTED_PHASE: "rejected_phase",
    out.REJECTED_POST_ONLY: "rejected_post_only",
    out.EXPIRED: "expired",
}
CAUSES = {
    out.BY_QUEUE: "fills_by_queue",
    out.BY_PRINT_THROUGH: "fills_by_print_through",
    out.BY_BOOK_THROUGH: "fills_by_book_through",
    out.BY_CROSSING: "fills_by_crossing",
    out.BY_AUCTION: "fills_by_auction",
    out.BY_LIQUIDATION: "fills_by_liquidation",
}


def floor(lots: float) -> int:
    """Whole lots of a quantity, none of minus infinity."""
    return 0 if lots == -math.inf else math.floor(lots)


def mix(seed: int, j: int) -> int:
    """The j-th draw of splitmix64 (Steele, Lea and Flood 2014)."""
    z = (seed + (j + 1) * GOLDEN) % MODULUS
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) % MODULUS
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) % MODULUS
    return z ^ (z >> 31)


def share_behind(ahead: float, behind: float, shape: str, exponent: float, version: int) -> float:
    """Probability that a withdrawal is behind."""

    def f(x: float) -> float:
        return math.log(1.0 + x) if shape == "log" else math.pow(x, exponent)

    if version == 1:
        return f(behind) / (f(behind) + f(ahead))
    if version == 2:
        return f(behind) / f(behind + ahead)
    return 1.0 - f(ahead / (ahead + behind))


@dataclass
class Own:
    """An own order at the exchange; `row` is its row among the results."""

    number: int
    side: int
    tick: int
    left: int
    kind: int
    row: dict[str, Any]
    engine: bool
    filled: int = 0
    ahead: float = 0.0
    joined: int = 0
    arrival: int = 0
    rests: bool = False


@dataclass
class Known:
    """An own order as the trader's side knows it."""

    number: int
    side: int
    tick: int
    left: int
    state: int
    sent: int
    kind: int
    engine: bool = False
    wanted: int = 0
    filled: int = 0

    def at_most(self) -> int:
        """Lots that could still trade."""
        return max(self.left, self.wanted)


@dataclass
class Request:
    """What travels to the exchange."""

    action: int
    number: int
    side: int
    tick: int
    lots: int
    kind: int
    sent: int
    engine: bool = False
    known_filled: int = 0
    row: dict[str, Any] | None = None
    response: int = 0


@dataclass
class Message:
    """What travels back: a fill, the answer to a request (`action`), or a phase."""

    number: int = 0
    action: int = 0
    accepted: bool = True
    left: int = 0
    tick: int = 0
    fill: dict[str, int] | None = None
    phase: int | None = None


@dataclass
class Session:
    """Everything of one simulated session."""

    rule: r.Rule
    instrument: r.Instrument
    span: TradingSpan
    settings: FillSettings
    source: str
    sample_every: int
    heap: list[Any] = field(default_factory=list)
    pushed: int = 0
    counts: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        """Empty books, no orders, no position."""
        self.book, self.local = Book(self.source), Book(self.source)
        self.own: list[Own] = []
        self.taken: dict[tuple[int, int], int] = {}
        self.traded: Counter[tuple[int, int]] = Counter()
        self.fills: list[dict[str, int]] = []
        self.rows: list[dict[str, Any]] = []
        self.samples: list[tuple[int, ...]] = []
        self.position = self.cash = self.micro = 0
        self.last_mid2 = self.mid2_before = out.NO_MID
        self.last_print: int | None = None
        self.instant: int | None = None
        self.arrivals = self.requests_sent = self.unasked = 0
        self.last_arrival = self.last_message = -(1 << 62)
        self.quoted, self.quoted_until = [0, 0, 0, 0], self.span.start
        # the trader's side
        self.known: list[Known] = []
        self.known_position, self.next_id = 0, 1
        self.known_phase = self.phase(self.span.start)
        self.flow = np.zeros(r.FLOW_SIZE)
        self.last_trade = (0, 0)
        self.flow_until, self.quoted_ns, self.spread_ns = self.span.start, 0, 0
        self.seen_mid2, self.flow_begun = out.NO_MID, False
        self.memory = np.zeros(self.rule.memory_size)
        self.asked = np.zeros(r.MOST_REQUESTS, dtype=r.REQUEST_DTYPE)
        self.called_at: int | None = None
        self.called_again = 0
        self.liquidating = False

    # ---- time

    def push(self, time: int, stage: int, what: Any) -> None:
        """Put something that will happen into the heap."""
        self.pushed += 1
        heapq.heappush(self.heap, (time, stage, self.pushed, what))

    def phase(self, time: int) -> int:
        """The exchange's phase at a time."""
        return next((phase for first, last, phase in self.span.phases if first <= time < last), r.CONTINUOUS)

    def run(self, events: Any) -> None:
        """Let everything happen up to the end of the span."""
        for flag, event in read_events(events, self.instrument):
            self.push(event.time, AT_EXCHANGE if flag == ev.EXCH else AT_LOCAL, event)
        for time in sorted({edge for first, last, _ in self.span.phases for edge in (first, last)}):
            if time > self.span.start and self.phase(time) != self.phase(time - 1):
                self.push(time, NEW_PHASE, self.phase(time))
        if self.span.start < self.span.liquidate:
            self.push(self.span.start, CALL, "clock")
        self.push(self.span.liquidate, CALL, "liquidate")
        while self.heap and self.heap[0][0] <= self.span.stop:
            time, stage, _, what = heapq.heappop(self.heap)
            self.happen(time, stage, what)
        self.end_instant()
        self.count_quoted(self.span.stop)
        for own in list(self.own):
            self.end(own, out.EXPIRED, self.span.stop)
        if self.last_mid2 == out.NO_MID and self.last_print is not None:
            self.last_mid2 = 2 * self.last_print

    def happen(self, time: int, stage: int, what: Any) -> None:
        """One thing happens."""
        if stage == NEW_PHASE:
            self.count_quoted(time)
            self.tell(Message(phase=what), time, None)
        elif stage == AT_EXCHANGE:
            self.count_quoted(time)
            self.at_exchange(what)
        elif stage == REQUEST_ARRIVES:
            self.count_quoted(time)
            self.arrives(what, time)
        elif stage == AT_LOCAL:
            self.at_local(what)
        elif stage == MESSAGE_ARRIVES:
            self.told(what, time)
        else:
            reasons = {what}
            while self.heap and self.heap[0][:2] == (time, CALL):
                reasons.add(heapq.heappop(self.heap)[3])
            self.wake(reasons, time)

    def count_quoted(self, time: int) -> None:
        """Add the continuous time since the last look to what was quoted in it."""
        if time <= self.quoted_until:
            return
        much = time - self.quoted_until
        for first, last, phase in self.span.phases:
            if phase != r.CONTINUOUS:
                much -= max(0, min(time, last) - max(self.quoted_until, first))
        bid, ask = (any(own.side == side for own in self.own) for side in (BID, ASK))
        for place, there in enumerate((bid, ask, bid and ask, True)):
            self.quoted[place] += much * there
        self.quoted_until = time

    # ---- the exchange: market events

    def in_priority(self, side: int) -> list[Own]:
        """Own orders of a side, better price first, then the earlier."""
        return sorted((o for o in self.own if o.side == side), key=lambda o: (-o.tick * side, o.arrival))

    def available(self, side: int, tick: int) -> int:
        """Whole lots of a market's level that no own order has taken."""
        return max(0, floor(self.book.levels[side].get(tick, 0.0) - self.taken.get((side, tick), 0)))

    def take(self, side: int, tick: int, lots: int) -> None:
        """Remember lots that an own order took of a market's level."""
        self.taken[(side, tick)] = self.taken.get((side, tick), 0) + lots

    def reached(self, side: int, limit: int | None) -> list[int]:
        """The market's ticks of a side that a price limit reaches, best first; all without a limit."""
        ticks = [t for t in self.book.levels[side] if limit is None or t * side >= limit * side]
        return sorted(ticks, key=lambda t: -t * side)

    def end_instant(self) -> None:
        """An instant of the exchange is over: what its last book shows."""
        self.mid2_before = self.book.mid2()
        if self.instant is None:
            return
        bid, ask = self.book.best(BID), self.book.best(ASK)
        if bid is not None and ask is not None:
            self.last_mid2 = bid + ask
            self.counts["crossed_moments"] += bid >= ask

    def at_exchange(self, event: Event) -> None:
        """One market event at the exchange."""
        if event.time != self.instant:
            self.end_instant()
            self.instant = event.time
        self.counts["events"] += 1
        self.counts["events_seen_before_they_happened"] += event.early
        phase = self.phase(event.time)
        if event.kind == ev.TRADE:
            self.counts["trades_without_side"] += event.side == 0
            self.last_print = event.tick
            self.printed(event, phase)
        elif event.kind == ev.FILL:
            if phase in (r.CONTINUOUS, r.AUCTION) and self.settings.queue.kind == "exact":
                self.filled_in_queue(event, phase)
        else:
            for change in self.book.apply(event):
                self.level_changed(change)
                told = event.kind not in (ev.DEPTH_CLEAR, ev.CANCEL) and change.tick == event.tick
                if told and change.after > 0 and phase == r.CONTINUOUS:
                    self.book_reaches(change.side, change.tick, event.time)
            if event.kind in (ev.DEPTH, ev.BEST_QUOTE):
                self.see_unseen(event.side)

    def level_changed(self, change: Change) -> None:
        """Move own orders at a level forward; what traded there since the last change is forgotten."""
        place = (change.side, change.tick)
        traded = self.traded.pop(place, 0.0)
        if place in self.taken:
            self.taken[place] = min(self.taken[place], change.after)
        for own in self.own:
            if (own.side, own.tick) == place:
                own.ahead = self.moved(own, change, traded)

    def moved(self, own: Own, change: Change, traded: float) -> float:
        """Lots ahead of an own order after its level changed."""
        queue = self.settings.queue
        if queue.kind == "assumed" or own.ahead <= 0:
            return own.ahead
        if queue.kind == "exact":
            return self.standing_before(own)
        d = change.before - change.after - traded
        if queue.kind != "probabilistic" or d <= 0 or own.ahead == math.inf:
            return min(own.ahead, change.after)
        behind = max(change.before - own.ahead, 0.0)
        try:
            share = share_behind(own.ahead, behind, queue.shape, queue.exponent, queue.version)
        except ZeroDivisionError:
            return min(own.ahead, change.after)
        estimate = own.ahead - (1.0 - share) * d + min(behind - share * d, 0.0)
        return max(0.0, min(estimate, change.after))

    def standing_before(self, own: Own) -> float:
        """Lots of the market's orders that joined the own order's level before it."""
        before = [o for o in self.book.orders.values() if (o.side, o.tick) == (own.side, own.tick)]
        return float(sum(o.left for o in before if o.joined <= own.joined))

    def see_unseen(self, side: int) -> None:
        """Nothing is ahead of an order better than all that its side shows."""
        best = self.book.best(side)
        for own in self.own:
            if own.side == side and own.ahead == math.inf and (best is None or best * side < own.tick * side):
                own.ahead = 0.0

    def place_at_arrival(self, side: int, tick: int) -> float:
        """Lots ahead of an order that comes to a level."""
        if self.settings.queue.kind == "assumed":
            return float(self.settings.queue.assumed_lots)
        if self.settings.queue.kind != "exact" and self.book.unseen(side, tick):
            return math.inf
        return self.book.levels[side].get(tick, 0.0)

    def printed(self, event: Event, phase: int) -> None:
        """A trade: fills what it reaches, of one side or in an auction of both."""
        auction = phase == r.AUCTION
        sides = [BID, ASK] if auction else [-event.side] if event.side else []
        if phase not in (r.CONTINUOUS, r.AUCTION):
            return
        if not event.between:
            for side in sides:
                self.traded[(side, event.tick)] += event.lots
        left = event.lots
        for side in sides:
            for own in self.in_priority(side):
                beyond = (2 * own.tick - 2 * event.tick - event.between) * side
                if beyond < 0:
                    break
                if beyond > 0:
                    n = own.left
                    if self.settings.sizes == "traded":
                        n = min(own.left, floor(left))
                        own.ahead = own.ahead if self.settings.queue.kind == "exact" else min(own.ahead, 0.0)
                else:
                    n = self.reached_by_print(own, left, event.lots)
                if n > 0:
                    if self.settings.sizes == "traded":
                        left = max(left - n, 0.0)
                    cause = out.BY_AUCTION if auction else out.BY_PRINT_THROUGH if beyond else out.BY_QUEUE
                    self.fill(own, event.tick if auction else own.tick, n, event.time, self.mid2_before, cause, None)

    def reached_by_print(self, own: Own, left: float, lots: float) -> int:
        """Lots of an own order that a print at its price fills; its place moves forward."""
        kind = self.settings.queue.kind
        if kind == "exact":
            return 0
        if self.settings.sizes == "whole":
            own.ahead -= lots
            return own.left if own.ahead <= -0.5 and kind != "trade_through" else 0
        n = 0 if kind == "trade_through" else min(own.left, max(0, floor(left - own.ahead)))
        own.ahead = own.ahead - left + n
        return n

    def filled_in_queue(self, event: Event, phase: int) -> None:
        """A FILL of a market's order fills the own orders that came to its level before it."""
        market = self.book.orders.get(event.number)
        if market is None:
            return
        left = event.lots
        for own in self.in_priority(market.side):
            if own.tick == market.tick and market.joined > own.joined:
                n = own.left if self.settings.sizes == "whole" else min(own.left, floor(left))
                if n > 0:
                    left -= n
                    cause = out.BY_AUCTION if phase == r.AUCTION else out.BY_QUEUE
                    self.fill(own, own.tick, n, event.time, self.mid2_before, cause, None)

    def book_reaches(self, side: int, tick: int, time: int) -> None:
        """A level of the market stands at or beyond own orders of the other side."""
        if self.settings.queue.kind == "trade_through":
            return
        for own in self.in_priority(-side):
            if (own.tick - tick) * own.side < 0:
                break
            n = own.left
            if self.settings.sizes == "traded":
                n = 0
                for level in self.reached(side, own.tick):
                    part = min(own.left - n, self.available(side, level))
                    self.take(side, level, part)
                    n += part
            if n > 0:
                self.fill(own, own.tick, n, time, self.mid2_before, out.BY_BOOK_THROUGH, None)

    # ---- the exchange: own orders

    def fill(self, own: Own, tick: int, lots: int, time: int, mid2: int, cause: int, request: Request | None) -> None:
        """Record one fill of an own order, and send the news of it."""
        own.left -= lots
        own.filled += lots
        own.row["filled"] += lots
        self.position += own.side * lots
        self.cash -= own.side * tick * lots
        fees, value = self.settings.fees, self.instrument.tick_value
        rate, per_lot = (fees.taker, fees.taker_per_lot) if request else (fees.maker, fees.maker_per_lot)
        money = rate * (float(abs(tick) * lots) * value) + per_lot * lots
        self.micro += int(np.rint(money * 1e6))
        cause = out.BY_LIQUIDATION if own.engine else cause
        self.counts[CAUSES[cause]] += 1
        row = {
            "exch_ts": time, "local_ts": 0, "order_id": own.number, "side": own.side, "tick": tick, "lots": lots,
            "maker": int(request is None), "mid2": mid2, "position": self.position, "cause": cause,
        }  # fmt: skip
        self.fills.append(row)
        self.tell(Message(own.number, left=own.left, tick=own.tick, fill=row), time, request)
        if own.left == 0:
            self.end(own, out.FILLED, time)

    def end(self, own: Own, how: int, time: int) -> None:
        """An own order's row is over."""
        own.row.update(end=how, ended=time, ahead_end=max(0.0, own.ahead) if own.rests else 0.0)
        self.own = [other for other in self.own if other is not own]

    def tell(self, message: Message, time: int, request: Request | None) -> None:
        """Send something back; nothing overtakes."""
        if request is None:
            _, response = self.latency(time, 2 * self.unasked + 1)
            self.unasked += 1
        else:
            response = request.response
        self.last_message = max(self.last_message, time + response)
        if message.fill is not None:
            message.fill["local_ts"] = self.last_message
        self.push(self.last_message, MESSAGE_ARRIVES, message)

    def arrives(self, request: Request, time: int) -> None:
        """A request reaches the exchange."""
        if request.row is not None:
            request.row["arrived"] = time
        if request.action == r.SUBMIT:
            self.new_order(request, time)
            return
        own = next((o for o in self.own if o.number == request.number), None)
        if request.action == r.REPLACE:
            self.replaced(own, request, time)
        elif own is None:
            self.counts["too_late_cancels"] += 1
            self.tell(Message(request.number, r.CANCEL, accepted=False), time, request)
        elif self.phase(time) == r.CLOSED:
            self.counts["rejected_phase"] += 1
            self.tell(Message(own.number, r.CANCEL, False, own.left, own.tick), time, request)
        else:
            self.end(own, out.CANCELLED, time)
            self.tell(Message(own.number, r.CANCEL, True, 0, own.tick), time, request)

    def refusal(self, own: Own, time: int) -> int:
        """Why the exchange does not take an order, OPEN where it does."""
        phase, market = self.phase(time), own.kind == r.MARKET
        if phase in (r.HALTED, r.CLOSED) or (phase == r.AUCTION and own.kind not in RESTING_KINDS):
            return out.REJECTED_PHASE
        others = [o for o in self.own if o.side == -own.side]
        if any(market or (own.tick - o.tick) * own.side >= 0 for o in others):
            return out.REJECTED_FORM
        if phase == r.CONTINUOUS and own.kind == r.POST_ONLY and self.reached(-own.side, own.tick):
            return out.REJECTED_POST_ONLY
        if own.kind == r.FOK and sum(lots for _, lots in self.takes(own)) < own.left:
            return out.EXPIRED
        return out.OPEN

    def new_order(self, request: Request, time: int) -> None:
        """An order arrives."""
        row = request.row
        assert row is not None
        own = Own(request.number, request.side, request.tick, request.lots, request.kind, row, request.engine)
        why = self.refusal(own, time)
        if why == out.OPEN:
            self.take_and_rest(own, request, time)
            return
        self.counts[REFUSALS[why]] += 1
        self.end(own, why, time)
        self.tell(Message(own.number, r.SUBMIT, False, 0, own.tick), time, request)

    def take_and_rest(self, own: Own, request: Request, time: int) -> None:
        """Match an order that arrives, then let it rest or withdraw what is left."""
        mid2 = self.book.mid2()
        if self.phase(time) == r.CONTINUOUS:
            for tick, lots in self.takes(own):
                if self.settings.sizes == "traded":
                    self.take(-own.side, tick, lots)
                self.fill(own, tick, lots, time, mid2, out.BY_CROSSING, request)
        if own.left > 0 and own.kind in RESTING_KINDS:
            self.rest(own, self.place_at_arrival(own.side, own.tick))
        elif own.left > 0:
            self.counts["expired"] += 1
            self.end(own, out.EXPIRED, time)
        left = own.left if own.rests else 0
        self.tell(Message(own.number, request.action, True, left, own.tick), time, request)

    def rest(self, own: Own, ahead: float) -> None:
        """An order joins the back of its level."""
        self.arrivals += 1
        own.ahead, own.joined, own.arrival, own.rests = ahead, self.book.joined, self.arrivals, True
        own.row["ahead"] = ahead
        self.own.append(own)

    def takes(self, own: Own) -> list[tuple[int, int]]:
        """(tick, lots) that an arriving order takes."""
        ticks = self.reached(-own.side, None if own.kind == r.MARKET else own.tick)
        if self.settings.sizes == "whole":
            return [(ticks[0], own.left)] if ticks else []
        plan, left = [], own.left
        for tick in ticks:
            n = min(left, self.available(-own.side, tick))
            if n > 0:
                plan.append((tick, n))
                left -= n
        return plan

    def replaced(self, old: Own | None, request: Request, time: int) -> None:
        """A REPLACE arrives."""
        row = request.row
        assert row is not None
        if old is None:
            self.counts["too_late_replaces"] += 1
            row.update(end=out.TOO_LATE, ended=time)
            self.tell(Message(request.number, r.REPLACE, accepted=False), time, request)
            return
        left = request.lots - (old.filled - request.known_filled)
        new = Own(old.number, old.side, request.tick, max(left, 0), old.kind, row, old.engine, old.filled)
        stays = left <= 0 or (request.tick == old.tick and left <= old.left)
        why = out.REJECTED_PHASE if self.phase(time) in (r.HALTED, r.CLOSED) else out.OPEN
        if why == out.OPEN and not stays:
            why = self.refusal(new, time)
        if why != out.OPEN:
            self.counts[REFUSALS[why]] += 1
            row.update(end=why, ended=time)
            self.tell(Message(old.number, r.REPLACE, False, old.left, old.tick), time, request)
            return
        self.end(old, out.REPLACED, time)
        if not stays:
            self.take_and_rest(new, request, time)
            return
        if left <= 0:
            self.end(new, out.CANCELLED, time)
        else:
            self.rest(new, old.ahead)
            row["ahead"] = max(0.0, old.ahead)
            new.joined, new.arrival = old.joined, old.arrival
        self.tell(Message(new.number, r.REPLACE, True, new.left, new.tick), time, request)

    # ---- the trader's side

    def awake(self, time: int) -> bool:
        """Whether the rule may be called at a time."""
        return self.span.start <= time < self.span.liquidate

    def at_local(self, event: Event) -> None:
        """One market event at the trader's side."""
        self.advance_flow(event.time)
        if event.kind != ev.TRADE:
            if event.kind != ev.FILL:
                self.local.apply(event)
            return
        self.last_trade = (event.tick, event.side)
        self.flow[r.LAST_LOTS] = event.lots
        if event.time >= self.span.start:
            self.flow[r.TRADES] += 1
            if event.side:
                self.flow[r.BOUGHT if event.side > 0 else r.SOLD] += event.lots
        if self.awake(event.time):
            self.push(event.time, CALL, "trade")

    def advance_flow(self, time: int) -> None:
        """The book stood as it is until `time`: its last instant is over."""
        if time >= self.span.start and not self.flow_begun:
            self.flow_begun = True
            self.note_mid()
        if time <= self.flow_until:
            return
        self.note_mid()
        bid, ask = self.local.best(BID), self.local.best(ASK)
        if bid is not None and ask is not None and bid < ask:
            self.quoted_ns += time - self.flow_until
            self.spread_ns += (time - self.flow_until) * (ask - bid)
        self.flow_until = time

    def note_mid(self) -> None:
        """Count a move of the mid at the end of an instant."""
        bid, ask = self.local.best(BID), self.local.best(ASK)
        if bid is None or ask is None or bid >= ask:
            return
        if self.seen_mid2 not in (out.NO_MID, bid + ask):
            self.flow[r.SQUARED_MOVES] += (0.5 * (bid + ask - self.seen_mid2)) ** 2
            self.flow[r.MID_MOVES] += 1
        self.seen_mid2 = bid + ask

    def told(self, message: Message, time: int) -> None:
        """A message reaches the trader's side."""
        if message.phase is not None:
            self.known_phase = message.phase
            if self.awake(time):
                self.push(time, CALL, "phase")
            return
        known = next((k for k in self.known if k.number == message.number), None)
        if message.fill is not None:
            self.known_position += message.fill["side"] * message.fill["lots"]
        if known is not None:
            if message.fill is not None:
                known.filled += message.fill["lots"]
            self.learn(known, message)
        if self.awake(time):
            self.push(time, CALL, "own")

    def learn(self, known: Known, message: Message) -> None:
        """What a message says of an own order."""
        known.left = message.left
        if message.action == r.SUBMIT and known.state == r.SENT:
            known.state = r.WORKING
        elif message.action == r.REPLACE:
            known.wanted, known.tick = 0, message.tick
            if known.state == r.REPLACE_SENT:
                known.state = r.WORKING
        elif message.action == r.CANCEL:
            known.state = r.WORKING
        if known.left == 0:
            self.known.remove(known)

    def wake(self, reasons: set[str], time: int) -> None:
        """Everything else of the instant has happened: call the rule, or close the position."""
        if "liquidate" in reasons or self.liquidating:
            if reasons & {"liquidate", "clock"}:
                self.liquidate(time)
        else:
            why = sum(bit for name, bit in REASONS.items() if name in reasons)
            if why & (self.rule.calls | r.ON_CLOCK):
                self.call(why, time)
        if "clock" in reasons:
            self.push(time + self.rule.interval_ns, CALL, "clock")

    def call(self, why: int, time: int) -> None:
        """Call the rule, and send what it asks for."""
        self.called_again = self.called_again + 1 if self.called_at == time else 0
        self.called_at = time
        if self.called_again > 16:
            raise ValueError("the rule answered its own answers more than 16 times at one instant")
        self.advance_flow(time)
        self.note_mid()
        if why & r.ON_CLOCK:
            if self.counts["calls_on_clock"] % self.sample_every == 0:
                bids = [k.tick for k in self.known if k.side > 0 and k.state != r.SENT]
                asks = [k.tick for k in self.known if k.side < 0 and k.state != r.SENT]
                best = (max(bids, default=r.NO_BID), min(asks, default=r.NO_ASK))
                self.samples.append((time, self.local.mid2(), self.known_position, *best))
            self.counts["calls_on_clock"] += 1
        self.counts["calls"] += 1
        market, book = self.view(why, time)
        rows = np.zeros(max(1, len(self.known)), dtype=r.OWN_DTYPE)
        for n, k in enumerate(self.known):
            rows[n] = (k.number, k.side, k.tick, k.left, k.state, k.sent)
        wanted = self.rule.function.py_func(
            market, self.flow.copy(), book, rows.view(np.recarray), self.rule.table, self.rule.numbers, self.memory,
            self.asked.view(np.recarray),
        )  # fmt: skip
        for request in self.asked[: int(wanted)].tolist():
            self.ask_for(*request, time)

    def view(self, why: int, time: int) -> tuple[Any, Any]:
        """The arrays that the rule sees."""
        market = np.zeros(r.MARKET_SIZE, dtype=np.int64)
        bid, ask = self.local.best(BID), self.local.best(ASK)
        market[[r.NOW, r.OPEN, r.CLOSE]] = time, self.span.start, self.span.liquidate
        market[[r.PHASE, r.WHY]] = self.known_phase, why
        market[r.BEST_BID] = r.NO_BID if bid is None else bid
        market[r.BEST_ASK] = r.NO_ASK if ask is None else ask
        ticks = [*self.local.levels[BID], *self.local.levels[ASK]] or [0]
        market[r.BASE] = min(ticks)
        book = np.zeros((2, max(ticks) - min(ticks) + 1))
        for row, side in enumerate((BID, ASK)):
            for tick, lots in self.local.levels[side].items():
                book[row, tick - min(ticks)] = lots
        market[[r.LAST_TICK, r.LAST_SIDE]] = self.last_trade
        market[r.POSITION] = self.known_position
        market[r.OPEN_BUY], market[r.OPEN_SELL] = self.open_lots(BID), self.open_lots(ASK)
        market[[r.N_OWN, r.NEXT_ID]] = len(self.known), self.next_id
        market[[r.MAX_POSITION, r.MAX_ORDER]] = self.settings.limits.max_position, self.settings.limits.max_order
        self.flow[r.BID_LOTS] = 0.0 if bid is None else self.local.levels[BID][bid]
        self.flow[r.ASK_LOTS] = 0.0 if ask is None else self.local.levels[ASK][ask]
        self.flow[r.SECONDS_QUOTED], self.flow[r.SPREAD_SECONDS] = self.quoted_ns * 1e-9, self.spread_ns * 1e-9
        return market, book

    def open_lots(self, side: int) -> int:
        """Lots of a side that could still trade, as known."""
        return sum(k.at_most() for k in self.known if k.side == side)

    def breaks_limit(self, side: int, lots: int, more: int) -> bool:
        """Whether an order is too large, or further lots of a side could take the position beyond its limit."""
        limits = self.settings.limits
        worst = side * self.known_position + self.open_lots(side) + more
        return lots > limits.max_order or worst > limits.max_position

    def ask_for(self, action: int, number: int, side: int, tick: int, lots: int, kind: int, time: int) -> None:
        """Check a request of the rule and send it."""
        known = next((k for k in self.known if k.number == number), None)
        if action == r.SUBMIT:
            self.submit(number, side, tick, lots, kind, time)
        elif action == r.CANCEL and known is not None and known.state != r.CANCEL_SENT:
            self.cancel(known, time)
        elif (
            action == r.REPLACE
            and known is not None
            and known.state == r.WORKING
            and lots >= 1
            and abs(tick) <= 1 << 40
        ):
            self.replace(known, tick, lots, time)
        else:
            self.counts["refused_form"] += 1

    def submit(self, number: int, side: int, tick: int, lots: int, kind: int, time: int) -> None:
        """A new order of the rule."""
        row = new_row(number, side, tick, lots, kind, time)
        self.rows.append(row)
        fresh = self.next_id <= number <= 1 << 62
        formed = side in (1, -1) and lots >= 1 and 0 <= kind <= 4 and (kind == r.MARKET or abs(tick) <= 1 << 40)
        formed = formed and fresh and len(self.known) < 1024
        if fresh:
            self.next_id = number + 1
        if not formed or self.breaks_limit(side, lots, lots):
            row.update(end=out.REJECTED_LIMIT if formed else out.REJECTED_FORM, ended=time)
            self.counts["refused_limit" if formed else "refused_form"] += 1
            return
        self.known.append(Known(number, side, tick, lots, r.SENT, time, kind))
        self.counts["submitted"] += 1
        self.send(Request(r.SUBMIT, number, side, tick, lots, kind, time, row=row))

    def replace(self, known: Known, tick: int, lots: int, time: int) -> None:
        """A new tick and size for an own order."""
        if self.breaks_limit(known.side, lots, max(lots - known.left, 0)):
            self.counts["refused_limit"] += 1
            return
        row = new_row(known.number, known.side, tick, lots, known.kind, time)
        self.rows.append(row)
        known.state, known.wanted = r.REPLACE_SENT, lots
        self.counts["replaces_sent"] += 1
        self.send(Request(r.REPLACE, known.number, known.side, tick, lots, 0, time, known_filled=known.filled, row=row))

    def cancel(self, known: Known, time: int) -> None:
        """A withdrawal."""
        known.state = r.CANCEL_SENT
        self.counts["cancels_sent"] += 1
        self.send(Request(r.CANCEL, known.number, known.side, known.tick, 0, 0, time))

    def send(self, request: Request) -> None:
        """Send a request; nothing overtakes."""
        entry, request.response = self.latency(request.sent, 2 * self.requests_sent)
        self.requests_sent += 1
        self.last_arrival = max(self.last_arrival, request.sent + entry)
        self.push(self.last_arrival, REQUEST_ARRIVES, request)

    def latency(self, time: int, draw: int) -> tuple[int, int]:
        """Entry and response latency at a time; `draw` numbers what is drawn."""
        latency = self.settings.latency
        if latency.kind == "constant":
            return latency.entry_ns, latency.response_ns
        if latency.kind == "sampled":
            row = mix(self.settings.seed, draw) % len(latency.entry)
            return int(latency.entry[row]), int(latency.response[row])
        times = latency.times.tolist()
        after = next((n for n, t in enumerate(times) if t > time), len(times))
        if after in (0, len(times)):
            end = min(after, len(times) - 1)
            return int(latency.entry[end]), int(latency.response[end])
        share = float(time - times[after - 1]) / float(times[after] - times[after - 1])
        both = [
            int(np.rint(values[after - 1] + float(values[after] - values[after - 1]) * share))
            for values in (latency.entry.tolist(), latency.response.tolist())
        ]
        return both[0], both[1]

    def liquidate(self, time: int) -> None:
        """Withdraw own orders and send the position as a market order."""
        self.liquidating = True
        for known in self.known:
            if known.state != r.CANCEL_SENT and not known.engine:
                self.cancel(known, time)
        waiting = any(known.engine for known in self.known)
        if self.span.liquidation != "cross" or waiting or self.known_position == 0:
            return
        side, lots, number = (-1 if self.known_position > 0 else 1), abs(self.known_position), self.next_id
        self.next_id += 1
        row = new_row(number, side, 0, lots, r.MARKET, time)
        self.rows.append(row)
        self.known.append(Known(number, side, 0, lots, r.SENT, time, r.MARKET, engine=True))
        self.counts["submitted"] += 1
        self.counts["liquidation_orders"] += 1
        self.send(Request(r.SUBMIT, number, side, 0, lots, r.MARKET, time, engine=True, row=row))


def new_row(number: int, side: int, tick: int, lots: int, kind: int, sent: int) -> dict[str, Any]:
    """An order's row as it is when it is sent."""
    return {
        "order_id": number, "side": side, "tick": tick, "lots": lots, "kind": kind, "sent": sent, "arrived": -1,
        "ended": -1, "filled": 0, "end": out.OPEN, "ahead": 0.0, "ahead_end": 0.0,
    }  # fmt: skip


def simulate_plainly(
    events: Any,
    rule: r.Rule,
    instrument: r.Instrument,
    span: TradingSpan,
    settings: FillSettings,
    *,
    source: str = "l2",
    sample_every: int = 1,
) -> out.SessionOutcome:
    """What a rule does in one session: the same as the compiled engine, slowly."""
    session = Session(rule, instrument, span, settings, source, sample_every)
    session.run(events)
    if source == "l3":
        book = session.book
        session.counts.update(
            orders_unknown=book.unknown,
            orders_added_twice=book.added_twice,
            orders_first_seen_in_a_change=book.first_seen,
        )
    fills = np.array([tuple(row.values()) for row in session.fills], dtype=out.FILL_DTYPE)
    orders = np.array([tuple(row.values()) for row in session.rows], dtype=out.ORDER_DTYPE)
    return out.SessionOutcome(
        instrument, fills, orders, np.array(session.samples, dtype=out.SAMPLE_DTYPE), session.cash,
        session.micro / 1e6, session.position, session.last_mid2, np.array(session.quoted, dtype=np.int64),
        dict(session.counts),
    )  # fmt: skip
