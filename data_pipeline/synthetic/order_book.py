"""A simulated order book whose arrivals, fill decay, adverse selection and volatility are known.

Both sides hold one order on each of `levels` ticks behind the best quotes, mid -/+ the half-spread. Market orders reach
a distance d of the mid or more at the rate A exp(-k d): one arrives at the best quote, h away, at A exp(-k h), and
takes a geometric number of further ticks. What it took is refilled at once, with the mid one tick further in its
direction with a known probability: that is the adverse selection. Apart from that the mid moves by itself, and the
half-spread switches between two values, so that arrivals are seen from two distances.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from data_pipeline.synthetic.streams import stream

NEW, MOVE, FILL, CANCEL, HIDDEN = 1, 2, 3, 4, 5
"""Kinds of events: an order enters, is put to another price, is taken, is withdrawn; a trade without a shown order."""

_BEYOND_LEVELS: Final = 1e-9
"""Probability of a market order deeper than the book that a configuration may have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BookConfig:
    """A book and its truth.

    Parameters
    ----------
    seed : int
    seconds, start : float
        Length, and first second after midnight.
    tick, mid : float
        Price step, and first mid (in whole ticks after rounding).
    half_spreads : (int, int)
        Ticks, switched between at `spread_switches` per second.
    levels : int
        Orders on each side.
    ask_arrival, bid_arrival : float
        A of orders that buy (take asks) and that sell, per second.
    fill_decay : float
        k, per unit of price.
    shift_probability : float
        That a market order moves the mid by one tick: the adverse selection is this times the tick.
    mid_moves : float
        Moves of one tick by itself, up or down, per second.
    clustering, clustering_decay : float
        Share of orders that follow others of their side (Hawkes 1971, exponential kernel), and its decay per second.
        The base rate is lowered so that the mean rate stays the same.
    cancels, hidden_trades : float
        Withdrawals at the last level (replaced at once) and trades at the mid that the book does not show, per second.
    size : int
        Of every order.
    """

    seed: int = 1
    seconds: float = 3600.0
    start: float = 36_000.0
    tick: float = 0.01
    mid: float = 50.0
    half_spreads: tuple[int, int] = (1, 3)
    spread_switches: float = 0.1
    levels: int = 50
    ask_arrival: float = 3.0
    bid_arrival: float = 2.4
    fill_decay: float = 50.0
    shift_probability: float = 0.3
    mid_moves: float = 0.2
    clustering: float = 0.0
    clustering_decay: float = 5.0
    cancels: float = 0.05
    hidden_trades: float = 0.02
    size: int = 100

    def __post_init__(self) -> None:
        """Check the values that a simulation would silently bend."""
        for name in ("seconds", "tick", "ask_arrival", "bid_arrival", "fill_decay", "clustering_decay"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive; was {getattr(self, name)}")
        if not 0 <= self.clustering < 1 or not 0 <= self.shift_probability <= 1:
            raise ValueError("clustering must be in [0, 1) and shift_probability in [0, 1]")
        if min(self.half_spreads) < 1 or len(self.half_spreads) != 2:
            raise ValueError(f"half_spreads must be two whole numbers of ticks from 1; was {self.half_spreads}")
        if math.exp(-self.fill_decay * self.tick * self.levels) > _BEYOND_LEVELS:
            raise ValueError(f"levels must be so many that no order goes beyond them; was {self.levels}")

    @property
    def adverse_selection(self) -> float:
        """Mean move of the mid against the maker after a fill, in price (exact without clustering)."""
        return self.shift_probability * self.tick


@dataclass(frozen=True, slots=True, eq=False)
class BookEvents:
    """What happened, one row per event, (n,) each.

    `time_ns` after midnight, `kind`, `order` (of the resting order, 0 for hidden), `side` (+1 a bid, -1 an ask),
    `price` and `price_before` (ticks; the second of a MOVE), `taker` (number of the incoming order of a FILL or
    HIDDEN).
    """

    config: BookConfig
    time_ns: NDArray[np.int64]
    kind: NDArray[np.int64]
    order: NDArray[np.int64]
    side: NDArray[np.int64]
    price: NDArray[np.int64]
    price_before: NDArray[np.int64]
    taker: NDArray[np.int64]


class _Book:
    """Resting orders by side and price, and the log of what happens to them."""

    def __init__(self, config: BookConfig) -> None:
        self.levels = config.levels
        self.orders: dict[int, dict[int, int]] = {1: {}, -1: {}}
        self.rows: list[tuple[int, int, int, int, int, int, int]] = []
        self.next_order = 1
        self.takers = 0

    def log(self, time: int, kind: int, order: int, side: int, price: int, before: int = 0, taker: int = 0) -> None:
        self.rows.append((time, kind, order, side, price, before, taker))

    def settle(self, time: int, mid: int, half: int, away: int) -> None:
        """Put one order on each level around `mid`; the side that the mid moves towards (`away`) gives way first."""
        for side in (-away, away):
            best = mid - side * half
            wanted = {best - side * level for level in range(self.levels)}
            there = self.orders[side]
            missing = sorted(wanted - there.keys(), key=lambda price: -side * price)
            surplus = sorted(there.keys() - wanted, key=lambda price: -side * price)
            for old, new in zip(surplus, missing, strict=False):
                there[new] = there.pop(old)
                self.log(time, MOVE, there[new], side, new, old)
            for price in missing[len(surplus) :]:
                self.enter(time, side, price)
            for price in surplus[len(missing) :]:
                self.log(time, CANCEL, there.pop(price), side, price)

    def enter(self, time: int, side: int, price: int) -> None:
        self.orders[side][price] = self.next_order
        self.log(time, NEW, self.next_order, side, price)
        self.next_order += 1

    def take(self, time: int, side: int, best: int, ticks: int) -> None:
        """A market order takes the orders of `side` from `best` to `ticks` behind it."""
        self.takers += 1
        for level in range(ticks + 1):
            price = best - side * level
            self.log(time, FILL, self.orders[side].pop(price), side, price, 0, self.takers)

    def replace_last(self, time: int, side: int, best: int) -> None:
        """The order of the last level is withdrawn and another one enters there."""
        price = best - side * (self.levels - 1)
        self.log(time, CANCEL, self.orders[side].pop(price), side, price)
        self.enter(time, side, price)


def simulate_book(config: BookConfig) -> BookEvents:
    """The events of one session, the same for the same configuration (thinning: Ogata 1981)."""
    draws = _uniforms(stream(config.seed, "order book"))
    book = _Book(config)
    mid, half = round(config.mid / config.tick), config.half_spreads[0]
    base = {-1: config.ask_arrival, 1: config.bid_arrival}
    excited = {-1: 0.0, 1: 0.0}
    walk = config.fill_decay * config.tick
    others = (config.mid_moves, config.spread_switches, config.cancels, config.hidden_trades)
    now, clock = 0.0, round(config.start * 1e9)
    book.settle(clock, mid, half, 1)
    while True:
        steady = {side: (1.0 - config.clustering) * rate * math.exp(-walk * half) for side, rate in base.items()}
        bound = (*(steady[side] + excited[side] for side in (-1, 1)), *others)
        wait = -math.log(next(draws)) / sum(bound)
        now += wait
        if now >= config.seconds:
            break
        excited = {side: rate * math.exp(-config.clustering_decay * wait) for side, rate in excited.items()}
        time = clock + round(now * 1e9)
        what, rest = _choose(bound, next(draws) * sum(bound))
        if what < 2:
            side = (-1, 1)[what]
            if rest >= steady[side] + excited[side]:
                continue  # the excitement has faded since the bound was taken
            ticks = min(int(-math.log(next(draws)) / walk), config.levels - 1)
            book.take(time, side, mid - side * half, ticks)
            excited[side] += config.clustering * config.clustering_decay
            mid -= side * (next(draws) < config.shift_probability)
            book.settle(time, mid, half, -side)
            continue
        way = 1 if next(draws) < 0.5 else -1
        if what == 2:
            mid += way
            book.settle(time, mid, half, way)
        elif what == 3:
            half = sum(config.half_spreads) - half
            book.settle(time, mid, half, 1)
        elif what == 4:
            book.replace_last(time, way, mid - way * half)
        else:
            book.takers += 1
            book.log(time, HIDDEN, 0, way, mid, 0, book.takers)
    time_ns, kind, order, side_of, price, before, taker = np.array(book.rows, dtype=np.int64).T
    return BookEvents(config, time_ns, kind, order, side_of, price, before, taker)


def _choose(rates: Sequence[float], point: float) -> tuple[int, float]:
    """Which rate the point of [0, their sum) falls into, and how far."""
    for place, rate in enumerate(rates[:-1]):
        if point < rate:
            return place, point
        point -= rate
    return len(rates) - 1, point


def _uniforms(rng: np.random.Generator) -> Iterator[float]:
    """Uniform variates in (0, 1), drawn a block at a time."""
    while True:
        yield from (rng.random(4096) + 2.0**-54).tolist()
