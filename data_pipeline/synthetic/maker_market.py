"""A market for one maker whose fill rates are known: prints that reach a quote at exactly A exp(-k (distance - crowd)).

    config = MakerMarketConfig(ask_arrival=1.0, bid_arrival=1.0, fill_decay=0.5, seconds=10.0, tick=0.01)
    events = simulate_maker_market(config, times, crowd)          # EVENT_DTYPE, for the event engine

The market's own best quotes stand far out and only say where the mid is. Buyers and sellers print one lot each. A print
goes as far as its reach, rounded down to ticks; so a resting quote on a tick, at a distance from the mid, is reached at
exactly the rate above. What a maker loses against quotes between ticks is its own rounding alone: a policy that is best
at y loses, with offsets of at most a tick, of the order of (k tick)^2 of its gains.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from data_pipeline.book.events import BEST_QUOTE, BUY, EVENT_DTYPE, EXCH, LOCAL, SELL, TRADE
from data_pipeline.book.grid import tick_grid
from data_pipeline.synthetic.streams import FloatArray, normals, stream, uniforms

Ints = NDArray[np.int64]

_SPARE: Final = 10.0
"""Standard deviations more than the mean number of arrivals that are drawn at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MakerMarketConfig:
    """The market and its truth; prices in price units, times in seconds, one lot a print.

    Parameters
    ----------
    seed : int
    symbol : str
        Names the random stream: markets of one seed and different symbols are independent.
    ask_arrival, bid_arrival : float
        A of prints that buy (reach asks) and that sell.
    fill_decay : float
        k.
    seconds : float
        Length.
    start_ns : int
        First instant, ns since 1970 UTC.
    tick, mid : float
        Price step, a decimal number; first mid, in whole ticks after rounding.
    lowest : float
        Lowest distance from the mid at which a maker may quote; prints reach at least so far. Below it a quote is
        filled too rarely.
    quote_distance : float
        Of the market's own best quotes from the mid.
    volatility : float
        Of the mid, price per root of a second; it moves by whole ticks.
    mid_step : float
        Seconds between its moves. A maker whose clock has the same step moves its quotes at the same instants.
    """

    seed: int = 1
    symbol: str = ""
    ask_arrival: float
    bid_arrival: float
    fill_decay: float
    seconds: float
    start_ns: int = 1_700_000_000_000_000_000
    tick: float
    mid: float = 1000.0
    lowest: float = 0.0
    quote_distance: float = 100.0
    volatility: float = 0.0
    mid_step: float = 0.01

    def __post_init__(self) -> None:
        """Check the values that a simulation would silently bend."""
        for name in ("ask_arrival", "bid_arrival", "fill_decay", "seconds", "tick", "mid", "mid_step"):
            value = getattr(self, name)
            if not 0 < value < math.inf:
                raise ValueError(f"{name} must be positive and finite; was {value}")
        if not 0 <= self.volatility < math.inf or not math.isfinite(self.lowest):
            raise ValueError(
                f"volatility must be at least 0 and lowest finite; were {self.volatility} and {self.lowest}"
            )
        if not max(-self.lowest, 0.0) + self.tick < self.quote_distance < self.mid:
            raise ValueError(
                f"quote_distance must be above a tick more than -lowest, and below the mid; was {self.quote_distance}"
            )

    @property
    def mid_tick(self) -> int:
        """First mid in ticks."""
        return round(self.mid / self.tick)


def simulate_maker_market(config: MakerMarketConfig, times: FloatArray, crowd: FloatArray) -> NDArray[Any]:
    """The market's events, (n,) of EVENT_DTYPE, the same for the same arguments; both clocks alike.

    Parameters
    ----------
    config : MakerMarketConfig
    times : (m,) float64
        Increasing, from 0 to `config.seconds` or beyond.
    crowd : (m, 2) float64
        By how much asks and bids may be further out for the same rate (the weight of the crowd's quote times the
        quote); linear between the times.

    Notes
    -----
    Prints of a side are a Poisson process of rate A exp(-k (lowest - crowd)), thinned from its largest rate
    (Lewis & Shedler 1979), and each reaches `lowest` plus an exponential distance of mean 1/k: so those that reach a
    distance d or more come at A exp(-k (d - crowd)). Times are rounded to nanoseconds, no two prints at the same.

    Raises
    ------
    ValueError
        When the crowd's path does not cover the session, or a price falls to zero.
    """
    at, path = np.asarray(times, dtype=np.float64), np.asarray(crowd, dtype=np.float64)
    if path.shape != (at.size, 2) or not np.all(np.isfinite(path)):
        raise ValueError(f"crowd must be finite and of shape ({at.size}, 2); was of shape {path.shape}")
    if at.size < 2 or np.any(np.diff(at) <= 0) or at[0] > 0 or at[-1] < config.seconds:
        raise ValueError(f"times must increase and reach from 0 to {config.seconds}; was {at}")
    moves, mids = _mids(config)
    prints = [_prints(config, at, path[:, side], side) for side in range(2)]
    when = np.concatenate([one for one, _ in prints])
    reach = np.concatenate([one for _, one in prints])
    side = np.repeat([1, -1], [one.size for one, _ in prints])
    order = np.argsort(when, kind="stable")
    when, reach, side = when[order], reach[order], side[order]
    # A maker answers a print before the next one: no two at the same nanosecond.
    when = np.maximum.accumulate(when - np.arange(when.size)) + np.arange(when.size)
    centre = mids[np.searchsorted(moves, when, side="right") - 1]
    events = np.concatenate([_quotes(config, moves, mids), _trades(config, when, side, centre + side * reach)])
    events = events[np.argsort(events["exch_ts"], kind="stable")]
    if events["px"].min() <= 0.0:
        raise ValueError(f"mid must be so high that no price falls to zero in the session; was {config.mid}")
    return np.asarray(events)


def _prints(config: MakerMarketConfig, at: FloatArray, crowd: FloatArray, side: int) -> tuple[Ints, Ints]:
    """(ns since 1970, reach in ticks) of the prints of a side, 0 those that reach asks."""
    rng = stream(config.seed, "maker market", f"{config.symbol}/{'ask' if side == 0 else 'bid'}")
    arrival = config.ask_arrival if side == 0 else config.bid_arrival
    highest = float(crowd.max())
    most = arrival * math.exp(config.fill_decay * (highest - config.lowest))
    when = np.zeros(1)
    while when[-1] < config.seconds:
        mean = most * (config.seconds - when[-1])
        gaps = -np.log(uniforms(rng, math.ceil(mean + _SPARE * math.sqrt(mean) + _SPARE))) / most
        when = np.concatenate([when, when[-1] + np.cumsum(gaps)])
    when = when[1:]
    draws = uniforms(rng, (2, when.size))
    kept = (when < config.seconds) & (draws[0] < np.exp(config.fill_decay * (np.interp(when, at, crowd) - highest)))
    reach = config.lowest - np.log(draws[1, kept]) / config.fill_decay
    nanoseconds = config.start_ns + 1 + np.floor(1e9 * when[kept]).astype(np.int64)
    return nanoseconds, np.floor(reach / config.tick).astype(np.int64)


def _mids(config: MakerMarketConfig) -> tuple[Ints, Ints]:
    """(ns since 1970, tick) of the mid from each move on; the first at the start."""
    step = round(1e9 * config.mid_step)
    if step < 1:
        raise ValueError(f"mid_step must be at least a nanosecond; was {config.mid_step}")
    count = math.ceil(1e9 * config.seconds / step) if config.volatility > 0 else 1
    moves = config.start_ns + step * np.arange(count, dtype=np.int64)
    shocks = normals(stream(config.seed, "maker market", f"{config.symbol}/mid"), count - 1)
    walk = np.concatenate([[0.0], config.volatility * math.sqrt(1e-9 * step) * np.cumsum(shocks)])
    mids = config.mid_tick + np.rint(walk / config.tick).astype(np.int64)
    kept = np.concatenate([[True], np.diff(mids) != 0])
    return moves[kept], mids[kept]


def _quotes(config: MakerMarketConfig, moves: Ints, mids: Ints) -> NDArray[Any]:
    """The market's best quotes, both at each move of the mid."""
    away = math.ceil(config.quote_distance / config.tick)
    events = np.zeros(2 * moves.size, dtype=EVENT_DTYPE)
    events["ev"] = BEST_QUOTE | EXCH | LOCAL | np.tile(np.array([BUY, SELL]), moves.size)
    events["exch_ts"] = events["local_ts"] = np.repeat(moves, 2)
    events["px"] = tick_grid(config.tick).prices(np.repeat(mids, 2) + np.tile(np.array([-away, away]), moves.size))
    events["qty"] = 1.0
    return events


def _trades(config: MakerMarketConfig, when: Ints, side: Ints, tick: Ints) -> NDArray[Any]:
    events = np.zeros(when.size, dtype=EVENT_DTYPE)
    events["ev"] = np.where(side > 0, TRADE | EXCH | LOCAL | BUY, TRADE | EXCH | LOCAL | SELL)
    events["exch_ts"] = events["local_ts"] = when
    events["px"] = tick_grid(config.tick).prices(tick)
    events["qty"] = 1.0
    return events
