"""Half-spreads by inventory and time, of whatever maker: sampled to a tolerance, and turned into the shared rule."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from strategies.intraday.pod import IntradayTraining
from strategies.intraday.rule import Rule

Floats = NDArray[np.float64]
QuoteFunction = Callable[[Floats], Floats]
"""Times (n,) to half-spreads (2Q+1, n, 2), nan where a side is not quoted."""

REFRESH = 0.5
"""Part of its wanted lots below which a standing order is filled up, at the cost of its place in the queue."""
REFERENCES = ("mid", "microprice", "last_trade")
"""What half-spreads may be measured from, by their numbers in the rule."""
MOST_TICKS = 1e9
MOST_PAIRS = 4096
_PLACES = (np.arange(9) / 8.0)[None, None, :, None]
_QUADRATIC = (
    (1.0 - _PLACES) * (1.0 - 2.0 * _PLACES), 4.0 * _PLACES * (1.0 - _PLACES), _PLACES * (2.0 * _PLACES - 1.0)
)  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class QuoteTable:
    """One maker's half-spreads in price units.

    Attributes
    ----------
    half_spreads : (2Q+1, 2 pairs + 1, 2) float64
        Bid and ask at the inventories -Q..Q, in orders, and at the ends and the middle of each pair of steps; nan where
        a side is not quoted.
    times : (pairs + 1,) float64
        Ends of the pairs, seconds from 0 to the horizon, which is the close.
    low, high : float
        Bounds of the quotes between the nodes, infinite for none.
    """

    half_spreads: Floats
    times: Floats
    low: float = -math.inf
    high: float = math.inf

    def __post_init__(self) -> None:
        """Check shape and spreads."""
        shape, times = self.half_spreads.shape, self.times
        if times.ndim != 1 or times.size < 2 or times[0] != 0.0 or not np.all(np.diff(times) > 0.0):
            raise ValueError(f"times must increase from 0, two at least; was {times}")
        if len(shape) != 3 or shape[0] < 3 or shape[0] % 2 == 0 or shape[1:] != (2 * times.size - 1, 2):
            raise ValueError(f"half_spreads must be (2Q+1, {2 * times.size - 1}, 2), Q at least 1; was {shape}")
        if np.any(np.isinf(self.half_spreads)):
            raise ValueError("half_spreads must be finite, or nan where a side is not quoted; had an infinite one")
        spread = self.half_spreads.sum(axis=2)
        if np.any(spread <= 0.0):
            row, node = np.argwhere(spread <= 0.0)[0]
            raise ValueError(
                f"half_spreads of bid and ask must have a positive sum; was {spread[row, node]} at inventory "
                f"{row - shape[0] // 2}"
            )

    @property
    def max_inventory(self) -> int:
        """Q, orders."""
        return int(self.half_spreads.shape[0] // 2)

    def at(self, times: Floats) -> Floats:
        """(2Q+1, n, 2) half-spreads at times from 0 to the horizon: quadratic over each pair, within the bounds."""
        pair = np.clip(np.searchsorted(self.times, times, side="right") - 1, 0, self.times.size - 2)
        share = ((times - self.times[pair]) / np.diff(self.times)[pair])[:, None]
        rest, table = 1.0 - share, self.half_spreads
        quotes = (
            rest * (rest - share) * table[:, 2 * pair]
            + 4.0 * share * rest * table[:, 2 * pair + 1]
            + share * (share - rest) * table[:, 2 * pair + 2]
        )
        return np.asarray(np.clip(quotes, self.low, self.high))


@dataclass(frozen=True, slots=True)
class QuotingStyle:
    """What all makers share beside their table.

    Attributes
    ----------
    interval_ms : int
        Step of the clock on which quotes are reconsidered.
    requote_ticks : int
        A standing order stays while it is at most so many ticks off.
    reference : "mid", "microprice" or "last_trade"
        What half-spreads are measured from. The microprice weighs the best prices with the other side's quantity. The
        last trade needs no book: its price less the training's half-spread in the direction of its aggressor.
    withdraw_seconds : float
        No quotes so long before the close.
    """

    interval_ms: int = 100
    requote_ticks: int = 0
    reference: str = "mid"
    withdraw_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class RegimeSignals:
    """When the rule uses its second table: thresholds on toxicity and volatility over the last intervals.

    Attributes
    ----------
    interval_seconds : float
    window : int
        Intervals that a value is taken over.
    toxicity, volatility : (float, float)
        Above the first the second table is used; when neither signal is above its second one the first is again.
        Volatility in ticks per square root of a second.
    """

    interval_seconds: float
    window: int
    toxicity: tuple[float, float]
    volatility: tuple[float, float]


def tabulate(
    quotes: QuoteFunction,
    horizon: float,
    tolerance: float,
    *,
    resolution: float = 0.0,
    low: float = -math.inf,
    high: float = math.inf,
    name: str = "quotes",
) -> QuoteTable:
    """A table whose quadratics between the nodes miss `quotes` by at most `tolerance` (price units), six times a pair.

    Pairs of steps are halved until they do, or until they are no longer than `resolution`, seconds: quotes that move
    within one step of the clock (as they may in the last instants before a penalised close) are not followed further.

    Raises
    ------
    ValueError
        When `MOST_PAIRS` do not suffice.
    """
    ends, settled = np.array([0.0, horizon]), np.zeros(1, dtype=np.bool_)
    while not settled.all():
        if settled.size > MOST_PAIRS:
            raise ValueError(
                f"quotes of {name} must need at most {MOST_PAIRS} pairs of steps of time to be within {tolerance:.2g}; "
                "shorten the horizon or raise interval_ms"
            )
        widths = np.diff(ends)
        open_pairs = np.flatnonzero(~settled)
        at = (ends[open_pairs, None] + widths[open_pairs, None] * np.arange(9) / 8.0).ravel()
        seen = quotes(at).reshape(-1, open_pairs.size, 9, 2)
        guess = _QUADRATIC[0] * seen[:, :, [0]] + _QUADRATIC[1] * seen[:, :, [4]] + _QUADRATIC[2] * seen[:, :, [8]]
        missed = np.abs(np.clip(guess, low, high) - seen)
        worst = np.where(np.isnan(missed), 0.0, missed).max(axis=(0, 2, 3))
        settled[open_pairs] = (worst <= tolerance) | (widths[open_pairs] <= resolution)
        halved = np.flatnonzero(~settled)
        ends = np.insert(ends, halved + 1, 0.5 * (ends[halved] + ends[halved + 1]))
        settled = np.repeat(settled, np.where(settled, 1, 2))
    nodes = np.empty(2 * ends.size - 1)
    nodes[::2], nodes[1::2] = ends, 0.5 * (ends[:-1] + ends[1:])
    return QuoteTable(np.ascontiguousarray(quotes(nodes)), ends, low, high)


def quoting_rule_of(
    name: str,
    training: IntradayTraining,
    tables: Sequence[QuoteTable],
    style: QuotingStyle,
    signals: RegimeSignals | None = None,
    notes: Mapping[str, Any] | None = None,
) -> Rule:
    """The shared quoting rule with these tables, in the training's lots and ticks.

    Parameters
    ----------
    tables
        One, or two of one size with `signals`: the second is used while the signals say so.

    Raises
    ------
    ValueError
        When the tables do not fit each other or the limits.
    """
    from strategies.intraday import quoting_kernels as places

    _check_tables(name, training, tables, signals)
    tick = training.instrument.tick_size
    most = max(one.half_spreads.shape[1] for one in tables)
    table = np.full((len(tables), 2 * tables[0].max_inventory + 1, most, 2), np.nan)
    head = places.FIRST_TABLE + places.TABLE_NUMBERS * len(tables)
    numbers = np.concatenate([np.zeros(head), *(one.times for one in tables)])
    for regime, one in enumerate(tables):
        table[regime, :, : one.half_spreads.shape[1]] = one.half_spreads / tick
        first = places.FIRST_TABLE + places.TABLE_NUMBERS * regime
        numbers[first + places.PAIRS], numbers[first + places.TIMES] = one.times.size - 1, head
        numbers[first + places.LOW], numbers[first + places.HIGH] = one.low / tick, one.high / tick
        head += one.times.size
    if np.nanmax(np.abs(table), initial=0.0) > MOST_TICKS:
        raise ValueError(f"half-spreads of pod {name!r} must be at most {MOST_TICKS:g} ticks; were more")
    numbers[places.ORDER_LOTS] = training.order_lots
    numbers[places.POSITION_LIMIT] = training.max_position
    numbers[places.WITHDRAW_NS] = round(1e9 * style.withdraw_seconds)
    numbers[places.REQUOTE_TICKS] = style.requote_ticks
    numbers[places.REFRESH] = REFRESH
    numbers[places.REFERENCE] = REFERENCES.index(style.reference)
    numbers[places.MARKET_HALF] = training.truth.half_spread / tick
    numbers[places.REGIMES] = len(tables)
    memory = places.FIRST_SLOT
    if signals is not None:
        numbers[places.INTERVAL_NS] = round(1e9 * signals.interval_seconds)
        numbers[places.WINDOW] = signals.window
        numbers[[places.TOXIC_IN, places.TOXIC_OUT]] = signals.toxicity
        numbers[[places.VOLATILE_IN, places.VOLATILE_OUT]] = signals.volatility
        memory += places.SLOT * signals.window
    return Rule(
        name=name,
        function=places.quoting_rule,
        table=table,
        numbers=numbers,
        memory_size=memory,
        interval_ns=1_000_000 * style.interval_ms,
        notes=dict(notes or {}),
    )


def _check_tables(
    name: str, training: IntradayTraining, tables: Sequence[QuoteTable], signals: RegimeSignals | None
) -> None:
    if len(tables) != (1 if signals is None else 2):
        raise ValueError(f"tables of pod {name!r} must be one, or two with signals; were {len(tables)}")
    sizes = {one.max_inventory for one in tables}
    if len(sizes) != 1:
        raise ValueError(f"tables of pod {name!r} must have one largest inventory; had {sorted(sizes)}")
    if signals is not None:
        steps = round(1e9 * signals.interval_seconds)
        if steps < 1 or signals.window < 1:
            raise ValueError(f"signals of pod {name!r} must have positive intervals and window; were {signals}")
