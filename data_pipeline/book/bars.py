"""Trades, and quotes where there are any, summed into bars: streaming, and a bar is given out when it is known.

    start_bars -> add, add, ... -> close_bars          make_bars does the three at once

A time bar is [start, end): a trade exactly at the border belongs to the next one, and a bar without trades is a row
that says so. A volume or tick bar ends with the trade that fills it and begins where the one before ended; what a
session leaves unfilled is no bar, because nobody knew at its last trade that it was the last.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from data_pipeline.book import bar_kernels as kernels
from data_pipeline.book.bar_rules import BarRule
from data_pipeline.errors import DataError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

UNKNOWN_SIDE: Final = 2
"""Side of a trade whose feed does not say who the aggressor was; 0 is nobody."""
MOST_BARS: Final = 2_000_000
_BLOCK: Final = 4096
_DECIMAL: Final = 1.0 - 2.0**-52
"""Quantities are decimal, their doubles up to 2^-53 off: so far below the amount a sum may be that has reached it."""
_SORT: Final = "sort them by time first, chunk after chunk"
_FAULTS: Final = {
    1: f"is before the one above: {_SORT}",
    2: "has a price that is not a finite number",
    3: "has a quantity that is not a finite number, 0 or more",
}
_KINDS: Final = {"time": kernels.BY_TIME, "volume": kernels.BY_VOLUME, "tick": kernels.BY_TRADES}


@dataclass(frozen=True, slots=True, eq=False)
class Trades:
    """Trades in order of time: times (n,) int64 ns since 1970 UTC, price, quantity (n,) float64, side (n,) int8."""

    times: Ints
    price: Floats
    quantity: Floats
    side: NDArray[np.int8]

    @classmethod
    def none(cls) -> Trades:
        """No trades."""
        return cls(np.empty(0, dtype=np.int64), np.empty(0), np.empty(0), np.empty(0, dtype=np.int8))


@dataclass(frozen=True, slots=True, eq=False)
class Quotes:
    """Best quotes from each time on: times (n,) int64 ns, prices and quantities (n,) float64, nan for no side."""

    times: Ints
    bid: Floats
    bid_quantity: Floats
    ask: Floats
    ask_quantity: Floats

    @classmethod
    def none(cls) -> Quotes:
        """No quotes."""
        return cls(np.empty(0, dtype=np.int64), np.empty(0), np.empty(0), np.empty(0), np.empty(0))


@dataclass(frozen=True, slots=True, eq=False)
class Bars:
    """Bars of one symbol, session and rule, the columns of the table `bars`; nan where there is no figure.

    `spread` and `imbalance` are means over the time of the bar in which there was a bid not above the ask (and a
    quantity there). `realised_variance` sums the squared log returns of the mid from one moment with such a quote to
    the next, or of the trades where no quotes were given: each return in the bar in which it ends, so that bars add up.
    Of several quotes at one time only the last was in force, and only its mid counts.
    """

    number: Ints
    start: Ints
    end: Ints
    trades: Ints
    open: Floats
    high: Floats
    low: Floats
    close: Floats
    vwap: Floats
    quantity: Floats
    bought: Floats
    sold: Floats
    spread: Floats
    imbalance: Floats
    realised_variance: Floats

    def known_at(self, time: int) -> Bars:
        """The bars that were known at `time` (ns since 1970 UTC): those whose `end` is not after it."""
        stop = int(np.searchsorted(self.end, time, side="right"))
        return Bars(*(getattr(self, name)[:stop] for name in self.__slots__))


@dataclass(slots=True, eq=False)
class BarState:
    """Bars of one rule under way: what is summed so far; `whole` and `real` are laid out as in `bar_kernels`."""

    rule: BarRule
    origin: int
    quoted: bool
    whole: Ints = field(default_factory=lambda: np.zeros(kernels.INTS, dtype=np.int64))
    real: Floats = field(default_factory=lambda: np.zeros(kernels.FLOATS))
    last_trade: int = -(1 << 63)
    last_quote: int = -(1 << 63)
    bars: int = 0


def start_bars(rule: BarRule, *, origin: int = 0, quoted: bool = False) -> BarState:
    """No trades yet.

    Parameters
    ----------
    rule : BarRule
    origin : int
        A border of the time grid, ns since 1970 UTC (`rule.origin(session)`).
    quoted : bool
        Whether quotes will be given: the variance is then that of the mid.
    """
    state = BarState(rule, origin, quoted)
    state.real[kernels.SPREAD] = state.real[kernels.LEAN] = np.nan
    return state


def add(state: BarState, trades: Trades, quotes: Quotes | None = None) -> Bars:
    """The bars that these trades and quotes complete.

    Trades and quotes of one call must cover the same span: a later call may not begin before either's last time.

    Raises
    ------
    DataError
        When times run backwards, a price is not finite, a quantity is not a number, 0 or more; or a grid has
        unreasonably many bars.
    """
    quotes = Quotes.none() if quotes is None else quotes
    _check(state, trades, quotes)
    latest = [int(part[-1]) for part in (trades.times, quotes.times) if part.size]
    return _sum(state, trades, quotes, max(latest, default=-(1 << 63)))


def close_bars(state: BarState, until: int | None = None) -> Bars:
    """The bars that end by `until` (ns), nothing else having happened; without it, the bar of the last event too."""
    if until is None:
        if state.rule.kind != "time" or not state.whole[kernels.STARTED]:
            return _bars(state, [])
        until = int(state.whole[kernels.START]) + int(state.rule.size)
    return _sum(state, Trades.none(), Quotes.none(), until)


def make_bars(
    rule: BarRule, trades: Trades, quotes: Quotes | None = None, *, origin: int = 0, until: int | None = None
) -> Bars:
    """All bars of a session's trades and quotes; the arguments are those of `start_bars`, `add` and `close_bars`."""
    state = start_bars(rule, origin=origin, quoted=quotes is not None)
    parts = [add(state, trades, quotes), close_bars(state, until)]
    return Bars(*(np.concatenate([getattr(part, name) for part in parts]) for name in Bars.__slots__))


def _check(state: BarState, trades: Trades, quotes: Quotes) -> None:
    place = np.zeros(1, dtype=np.int64)
    fault = kernels.first_fault(trades.times, trades.price, trades.quantity, state.last_trade, place)
    if fault:
        raise DataError(f"trade {place[0]} {_FAULTS[fault]}")
    back = quotes.times[1:] < quotes.times[:-1]
    if quotes.times.size and (int(quotes.times[0]) < state.last_quote or back.any()):
        raise DataError(f"quote {int(np.argmax(back)) + 1 if back.any() else 0} is before the one above: {_SORT}")
    for name in ("bid", "ask", "bid_quantity", "ask_quantity"):
        wrong = np.isinf(getattr(quotes, name))
        if wrong.any():
            raise DataError(f"quote {int(np.argmax(wrong))} has an infinite {name}: a side without a quote is nan")
    if trades.times.size:
        state.last_trade = int(trades.times[-1])
    if quotes.times.size:
        state.last_quote = int(quotes.times[-1])


def _sum(state: BarState, trades: Trades, quotes: Quotes, until: int) -> Bars:
    """Run the kernel until it has used everything, a block of bars at a time."""
    whole, rule = state.whole, state.rule
    whole[kernels.AT_TRADE] = whole[kernels.AT_QUOTE] = 0
    blocks: list[tuple[Ints, Floats]] = []
    while True:
        out = np.empty((_BLOCK, kernels.OUT_INTS), dtype=np.int64), np.empty((_BLOCK, kernels.OUT_FLOATS))
        rows = kernels.sum_bars(
            _KINDS[rule.kind],
            int(rule.size),
            float(rule.size) * _DECIMAL,
            state.origin,
            until,
            trades.times,
            trades.price,
            trades.quantity,
            trades.side,
            quotes.times,
            quotes.bid,
            quotes.bid_quantity,
            quotes.ask,
            quotes.ask_quantity,
            state.quoted,
            whole,
            state.real,
            *out,
        )
        blocks.append((out[0][:rows], out[1][:rows]))
        state.bars += rows
        if rows < _BLOCK:
            return _bars(state, blocks)
        if state.bars > MOST_BARS:
            raise DataError(f"{rule.text} gives more than {MOST_BARS:,} bars: take longer ones, or is a time damaged?")


def _bars(state: BarState, blocks: list[tuple[Ints, Floats]]) -> Bars:
    whole = np.concatenate([block[0] for block in blocks] or [np.empty((0, kernels.OUT_INTS), dtype=np.int64)])
    real = np.concatenate([block[1] for block in blocks] or [np.empty((0, kernels.OUT_FLOATS))])
    trades, unsigned = whole[:, kernels.OUT_TRADES], whole[:, kernels.OUT_UNSIGNED]
    traded, quantity = trades > 0, real[:, kernels.QUANTITY]

    def where(told: NDArray[np.bool_], place: int) -> Floats:
        return np.where(told, real[:, place], np.nan)

    return Bars(
        whole[:, kernels.OUT_NUMBER],
        whole[:, kernels.OUT_START],
        whole[:, kernels.OUT_END],
        trades,
        where(traded, kernels.OPEN),
        where(traded, kernels.HIGH),
        where(traded, kernels.LOW),
        where(traded, kernels.CLOSE),
        _ratio(real[:, kernels.VALUE], quantity),
        quantity,
        where(unsigned == 0, kernels.BOUGHT),
        where(unsigned == 0, kernels.SOLD),
        _ratio(real[:, kernels.SPREAD_AREA], real[:, kernels.SPREAD_TIME]),
        _ratio(real[:, kernels.LEAN_AREA], real[:, kernels.LEAN_TIME]),
        real[:, kernels.VARIANCE],
    )


def _ratio(above: Floats, below: Floats) -> Floats:
    out: Floats = np.full(above.shape, np.nan)
    np.divide(above, below, out=out, where=below > 0)
    return out
