"""A simulated order book whose arrivals, fill decay, price impact and volatility are known.

Both sides hold a queue of orders on each of `levels` ticks behind the best quotes, mid -/+ the half-spread. Market
orders reach a distance d of the mid or more at the rate A exp(-k d): one arrives at the best quote, h away, at
A exp(-k h), and goes a geometric number of further ticks. What it took is refilled at once, with the mid one tick
further in its direction with a known probability; a known share of those moves reverts. Apart from that the mid moves
by itself, and the half-spread switches between two values, so that arrivals are seen from two distances.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from data_pipeline.synthetic.order_book_kernels import (
    CANCEL,
    CROSS,
    DONE,
    FILL,
    HALF,
    HALT,
    HIDDEN,
    KIND,
    MID,
    MOVE,
    NEW,
    PRICE,
    REDUCE,
    SIZE,
    SPARE_DRAWS,
    TIME,
    USED,
    march_book,
)
from data_pipeline.synthetic.streams import stream

__all__ = [
    "CANCEL",
    "CROSS",
    "FILL",
    "HALT",
    "HIDDEN",
    "MOVE",
    "NEW",
    "REDUCE",
    "BookConfig",
    "BookEvents",
    "simulate_book",
    "simulate_market",
]

HALTED, QUOTING_RESUMES, TRADING_RESUMES = -1, 0, 1
"""What a HALT event says, in its price."""

_BEYOND_LEVELS: Final = 1e-9
"""Probability of a market order deeper than the book that a configuration may have."""
_DRAWS: Final = 1 << 18
_ROWS: Final = 1 << 17

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class BookConfig:
    """A book and its truth.

    Parameters
    ----------
    seed : int
    symbol : str
        Names the random stream: books of one seed and different symbols are independent.
    seconds, start : float
        Length, halts included, and first second after midnight.
    tick, mid : float
        Price step, and first mid (in whole ticks after rounding).
    half_spreads : (int, int)
        Ticks, switched between at `spread_switches` per second.
    levels : int
        Ticks with orders on each side.
    queue : int
        Orders on each of them. An order enters at the back and moves up as those before it trade or leave.
    size, largest_lots : int
        A lot, and the most lots of an order: 1 to that many, alike.
    ask_arrival, bid_arrival : float
        A of orders that buy (take asks) and that sell, per second.
    fill_decay : float
        k, per unit of price; of both sides, or of the asks where the bids have their own.
    bid_fill_decay : float, optional
        k of the bids.
    shift_probability, temporary_share, recovery : float
        That a market order moves the mid by one tick; the share of such moves that revert, and their rate per second.
    mid_moves : float
        Moves of one tick by itself, up or down, per second.
    clustering, clustering_decay : float
        Share of orders that follow others of their side (Hawkes 1971, exponential kernel), and its decay per second.
        The base rate is lowered so that the mean rate stays the same.
    cancels, queue_cancels, reductions : float
        Per second: withdrawals of the last order of the last level, of any order alike (both replaced at once, at the
        back of their queue), and cuts of any order by one lot (of those that have more).
    hidden_trades : float
        Trades at the mid that the book does not show, per second.
    halts : tuple of (float, float)
        Seconds after the start at which trading stops and goes on again, one after the other; nothing happens between.
    call_size : int
        Shares that trade at one price in an opening and in a closing call, without aggressor; 0 for no calls.
    """

    seed: int = 1
    symbol: str = ""
    seconds: float = 3600.0
    start: float = 36_000.0
    tick: float = 0.01
    mid: float = 50.0
    half_spreads: tuple[int, int] = (1, 3)
    spread_switches: float = 0.1
    levels: int = 50
    queue: int = 1
    ask_arrival: float = 3.0
    bid_arrival: float = 2.4
    fill_decay: float = 50.0
    bid_fill_decay: float | None = None
    shift_probability: float = 0.3
    temporary_share: float = 0.0
    recovery: float = 1.0
    mid_moves: float = 0.2
    clustering: float = 0.0
    clustering_decay: float = 5.0
    cancels: float = 0.05
    queue_cancels: float = 0.0
    reductions: float = 0.0
    hidden_trades: float = 0.02
    size: int = 100
    largest_lots: int = 1
    halts: tuple[tuple[float, float], ...] = ()
    call_size: int = 0

    def __post_init__(self) -> None:
        """Check the values that a simulation would silently bend."""
        for name in ("seconds", "tick", "ask_arrival", "bid_arrival", "fill_decay", "clustering_decay", "recovery"):
            _refuse(not 0 < getattr(self, name) < math.inf, name, "positive and finite", getattr(self, name))
        for name in ("spread_switches", "mid_moves", "cancels", "queue_cancels", "reductions", "hidden_trades"):
            _refuse(not 0 <= getattr(self, name) < math.inf, name, "at least 0 and finite", getattr(self, name))
        for name in ("levels", "queue", "size", "largest_lots"):
            _refuse(getattr(self, name) < 1, name, "at least 1", getattr(self, name))
        if not 0 <= self.clustering < 1 or not 0 <= self.shift_probability <= 1:
            raise ValueError("clustering must be in [0, 1) and shift_probability in [0, 1]")
        _refuse(not 0 <= self.temporary_share <= 1, "temporary_share", "in [0, 1]", self.temporary_share)
        _refuse(self.call_size < 0, "call_size", "at least 0", self.call_size)
        if min(self.half_spreads) < 1 or len(self.half_spreads) != 2:
            raise ValueError(f"half_spreads must be two whole numbers of ticks from 1; was {self.half_spreads}")
        if max(self.half_spreads) - min(self.half_spreads) > self.levels:
            raise ValueError(f"half_spreads must differ by no more than the levels; were {self.half_spreads}")
        decay = min(self.fill_decay, self.bid_fill_decay or self.fill_decay)
        _refuse(not decay > 0, "bid_fill_decay", "positive", decay)
        if math.exp(-decay * self.tick * self.levels) > _BEYOND_LEVELS:
            raise ValueError(f"levels must be so many that no order goes beyond them; was {self.levels}")
        edges = [0.0, *(moment for halt in self.halts for moment in halt), self.seconds]
        if any(after <= before for before, after in pairwise(edges)):
            raise ValueError(f"halts must lie inside the session, one after the other; were {self.halts}")

    @property
    def adverse_selection(self) -> float:
        """Mean move of the mid against the maker after a fill and before any recovery, in price (no clustering)."""
        return self.shift_probability * self.tick

    @property
    def permanent_impact(self) -> float:
        """What of the adverse selection stays, in price."""
        return self.adverse_selection * (1.0 - self.temporary_share)

    def impact_after(self, seconds: float) -> float:
        """Mean move of the mid against the maker that long after a fill, in price (exact without clustering)."""
        temporary = self.adverse_selection * self.temporary_share
        return self.permanent_impact + temporary * math.exp(-self.recovery * seconds)

    @property
    def trading_seconds(self) -> float:
        """Length without the halts."""
        return self.seconds - sum(stop - start for start, stop in self.halts)


def _refuse(wrong: bool, name: str, rule: str, value: object) -> None:
    if wrong:
        raise ValueError(f"{name} must be {rule}; was {value}")


@dataclass(frozen=True, slots=True, eq=False)
class BookEvents:
    """What happened, one row per event, (n,) each, in the order in which it happened.

    Attributes
    ----------
    config : BookConfig
    time_ns
        After midnight.
    kind
        NEW an order enters; MOVE it is put to another price, behind nobody; FILL it trades; CANCEL it is withdrawn;
        REDUCE a part of it is; HIDDEN a trade without a shown order; CROSS the trade of a call; HALT trading stops or
        goes on (the price says which: HALTED, QUOTING_RESUMES, TRADING_RESUMES).
    order
        Number of the resting order; 0 for HIDDEN, CROSS and HALT.
    side
        Of the resting order: +1 a bid, -1 an ask, 0 for CROSS and HALT.
    price, price_before
        Ticks; the second of a MOVE.
    taker
        Number of the incoming order of a FILL or HIDDEN, else 0.
    size, left
        Shares that the event is about (entering, moved, traded, withdrawn), and what is left of the order after it.
    """

    config: BookConfig
    time_ns: Ints
    kind: Ints
    order: Ints
    side: Ints
    price: Ints
    price_before: Ints
    taker: Ints
    size: Ints
    left: Ints

    def __len__(self) -> int:
        """Number of events."""
        return int(self.time_ns.size)


def simulate_book(config: BookConfig) -> BookEvents:
    """The events of one session, the same for the same configuration (thinning: Ogata 1981).

    Raises
    ------
    ValueError
        When a price falls to zero: the first mid is too low for the session.
    """
    rng = stream(config.seed, "order book", config.symbol)
    levels, queue = config.levels, config.queue
    whole, real = np.zeros(8, dtype=np.int64), np.zeros(3)
    whole[MID], whole[HALF] = round(config.mid / config.tick), config.half_spreads[0]
    shelf, waiting = np.zeros((2, levels), dtype=np.int64), np.zeros((2, levels), dtype=np.int64)
    orders, left = np.zeros((2, levels, queue), dtype=np.int64), np.zeros((2, levels, queue), dtype=np.int64)
    walk = np.array([config.fill_decay, config.bid_fill_decay or config.fill_decay]) * config.tick
    others = (config.mid_moves, config.spread_switches, config.cancels, config.hidden_trades)
    rates = np.array([*others, config.queue_cancels, config.reductions])
    opening_mid = int(whole[MID])
    rows = np.empty((max(_ROWS, 16 * levels * queue), 9), dtype=np.int64)
    draws = np.empty(0)
    found: list[Ints] = []
    while not whole[DONE]:
        if draws.size - whole[USED] < SPARE_DRAWS + 2 * levels * queue:
            fresh = rng.random(max(_DRAWS, 8 * levels * queue)) + 2.0**-54
            draws, whole[USED] = np.r_[draws[whole[USED] :], fresh], 0
        count = march_book(
            round(config.start * 1e9), config.trading_seconds, np.array(config.half_spreads),
            np.array([config.ask_arrival, config.bid_arrival]), walk, rates, config.shift_probability,
            config.temporary_share, config.recovery, config.clustering, config.clustering_decay, queue,
            config.largest_lots, config.size, draws, whole, real, shelf, waiting, orders, left, rows,
        )  # fmt: skip
        found.append(rows[:count].T.copy())
    table = np.concatenate(found, axis=1)
    if table[PRICE].min() < 1:
        raise ValueError(f"mid must be so high that no price falls to zero in the session; was {config.mid}")
    table = _with_calls(_with_halts(table, config), config, opening_mid, int(whole[MID]))
    return BookEvents(config, *table)


def simulate_market(config: BookConfig, symbols: tuple[str, ...]) -> dict[str, BookEvents]:
    """Independent books of several symbols with the same truth."""
    return {symbol: simulate_book(replace(config, symbol=symbol)) for symbol in symbols}


def _with_halts(table: Ints, config: BookConfig) -> Ints:
    """The events on the wall clock, which goes on in the halts, and the halts themselves."""
    for start, stop in config.halts:
        begin, end = (round((config.start + moment) * 1e9) for moment in (start, stop))
        later = int(np.searchsorted(table[TIME], begin, side="left"))
        table[TIME, later:] += end - begin
        marks = np.zeros((9, 3), dtype=np.int64)
        marks[TIME], marks[KIND] = (begin, end, end), HALT
        marks[PRICE] = HALTED, QUOTING_RESUMES, TRADING_RESUMES
        table = np.concatenate([table[:, :later], marks, table[:, later:]], axis=1)
    return table


def _with_calls(table: Ints, config: BookConfig, opening_mid: int, closing_mid: int) -> Ints:
    """The trade of the opening call once the first orders stand, and that of the closing call at the end."""
    if config.call_size == 0:
        return table
    begin, end = (round((config.start + moment) * 1e9) for moment in (0.0, config.seconds))
    calls = np.zeros((9, 2), dtype=np.int64)
    calls[TIME], calls[KIND], calls[SIZE] = (begin, end), CROSS, config.call_size
    calls[PRICE] = opening_mid, closing_mid
    standing = int(np.searchsorted(table[TIME], begin, side="right"))
    return np.concatenate([table[:, :standing], calls[:, :1], table[:, standing:], calls[:, 1:]], axis=1)
