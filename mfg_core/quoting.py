"""Quoting on the states of a larger game: one side of the book, its best quotes, fill rates and mean quotes."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mfg_core.competition import Share
from mfg_core.errors import EdgeMassWarning
from mfg_core.intensity_shapes import Exponential
from mfg_core.market_making import (
    MarketMakingEquilibrium,
    MarketMakingGame,
    MarketMakingMeanField,
    MarketMakingPolicy,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mfg_core.certificate import Certificate

    Floats = NDArray[np.float64]
    Indices = NDArray[np.intp]

EDGE_MASS = 1e-3


@dataclass(frozen=True, slots=True, eq=False)
class Book:
    """Both sides of the book over the states of a game in which blocks of states are the inventories of a market.

    Attributes
    ----------
    sources, targets : (m,) intp
        The state that quotes and the one that a fill leads to: all asks, then as many bids.
    arrival, decay, weight, margin, cost, low, high : (m,) float64
        A, k, c, best quote where a fill leaves V as it is, cost of a fill, bounds of the quote.
    column : (m,) intp
        The crowd that the quote competes with and counts in: those of the asks, then those of the bids.
    soft_decay : (columns,) float64
        nan where the crowd's reference is its mean quote; under `Share` the decay k_0 of its soft mean
        -log(E exp(-k delta)) / k_0, with which lambda = A exp(-k delta) / E exp(-k delta) has weight c = k_0 / k.
    """

    sources: Indices
    targets: Indices
    arrival: Floats
    decay: Floats
    weight: Floats
    margin: Floats
    cost: Floats
    low: Floats
    high: Floats
    column: Indices
    soft_decay: Floats

    def best_quotes(self, value: Floats) -> Floats:
        """(nt, m) quotes that maximise lambda(delta) (delta - cost + V_target - V_source), within the bounds."""
        gap = value[:, self.targets] - value[:, self.sources]
        return np.clip(self.margin - gap, self.low, self.high)

    def bound_distances(self, value: Floats) -> Floats:
        """(nt, q) how far the best quotes without bounds are above each finite bound: there they are not smooth."""
        free = self.margin - (value[:, self.targets] - value[:, self.sources])
        return np.concatenate([(free - bound)[:, np.isfinite(bound)] for bound in (self.low, self.high)], axis=1)

    def fill_rates(self, quotes: Floats, references: Floats) -> Floats:
        """(nt, m) A exp(-k (delta - c reference)) in crowds with references (nt, columns)."""
        # A rate beyond floating point is refused by the solver.
        with np.errstate(over="ignore"):
            return np.asarray(self.arrival * np.exp(-self.decay * (quotes - self.weight * references[:, self.column])))

    def income(self, quotes: Floats, rates: Floats, states: int) -> Floats:
        """(nt, states) half-spreads less costs of fills, per unit of time in each state."""
        out, asks = np.zeros((quotes.shape[0], states)), self.sources.size // 2
        earned = (quotes - self.cost) * rates
        # A state quotes each side at most once, so that no index repeats within one.
        out[:, self.sources[:asks]] += earned[:, :asks]
        out[:, self.sources[asks:]] += earned[:, asks:]
        return out

    def mean_quotes(self, density: Floats, quotes: Floats) -> Floats:
        """(nt, columns) mean quote over the makers of a crowd that quote the side."""
        return self._average(density, quotes)

    def references(self, density: Floats, quotes: Floats) -> Floats:
        """(nt, columns) what the crowds' quotes are to a maker: their mean, under `Share` their soft mean."""
        means, soft = self._average(density, quotes), np.isfinite(self.soft_decay)
        if not soft.any():
            return means
        k = np.where(soft, self.soft_decay, 1.0)
        # Distances from the mean in the exponent: only quotes hundreds of 1/k below it could overflow.
        excess = self.decay * quotes - (k * means)[:, self.column]
        with np.errstate(over="ignore"):
            attraction = self._average(density, np.exp(-excess))
        return np.where(soft, means - np.log(attraction) / k, means)

    def _average(self, density: Floats, values: Floats) -> Floats:
        law, member = density[:, self.sources], np.eye(self.soft_decay.size)[self.column]
        return np.asarray(((law * values) @ member) / (law @ member))


def write_book(markets: Sequence[MarketMakingGame], crowds: Sequence[int]) -> Book:
    """The book of markets whose inventories are consecutive blocks of states; market i is of crowd `crowds[i]`."""
    sizes = np.array([2 * market.max_inventory for market in markets])
    first = np.cumsum([0, *(sizes + 1)])
    lower = np.concatenate([start + np.arange(size) for start, size in zip(first, sizes, strict=False)])
    crowd = np.repeat(np.asarray(crowds, dtype=np.intp), sizes)
    soft = np.full(max(crowds) + 1, np.nan)
    for market, i in zip(reversed(markets), reversed(crowds), strict=True):
        soft[i] = market.fill_decay if isinstance(market.competition, Share) else np.nan
    weights = [
        soft[i] / market.fill_decay if isinstance(market.competition, Share) else market.crowd_weight
        for market, i in zip(markets, crowds, strict=True)
    ]

    def spread(asks: Sequence[float], bids: Sequence[float] | None = None) -> Floats:
        return np.concatenate([np.repeat(np.asarray(side, dtype=np.float64), sizes) for side in (asks, bids or asks)])

    return Book(
        sources=np.concatenate([lower + 1, lower]),
        targets=np.concatenate([lower, lower + 1]),
        arrival=spread([market.ask_arrival for market in markets], [market.bid_arrival for market in markets]),
        decay=spread([market.fill_decay for market in markets]),
        weight=spread(weights),
        margin=spread([market.margin for market in markets]),
        cost=spread([market.fill_cost for market in markets]),
        low=spread([market.min_half_spread for market in markets]),
        high=spread([market.max_half_spread for market in markets]),
        column=np.concatenate([crowd, crowd + soft.size]),
        soft_decay=np.tile(soft, 2),
    )


def flat_quote(market: MarketMakingGame) -> float:
    """The best half-spread where a fill leaves V as it is, within the bounds."""
    return min(max(market.margin, market.min_half_spread), market.max_half_spread)


def require_markets(name: str, markets: object, same: Sequence[str]) -> tuple[MarketMakingGame, ...]:
    """`markets` as a tuple of at least one MarketMakingGame, equal in the parameters `same`.

    Risk-averse makers and other intensity shapes than `Exponential` are refused: the value of a fill is then not linear
    in V, or its best quote not closed.
    """
    if not isinstance(markets, Sequence) or not all(isinstance(market, MarketMakingGame) for market in markets):
        raise TypeError(f"{name} must be a tuple of MarketMakingGame; was {markets!r:.100}")
    if not markets:
        raise ValueError(f"{name} must hold at least one MarketMakingGame; was empty")
    for parameter in same:
        values = [getattr(market, parameter) for market in markets]
        if any(value != values[0] for value in values):
            raise ValueError(f"{parameter} must be the same in all {name}; was {values}")
    for i, market in enumerate(markets):
        if market.risk_aversion > 0:
            raise ValueError(
                f"risk_aversion of {name}[{i}] must be 0 in a game of several parts; was {market.risk_aversion}: use "
                "running_penalty for the price of inventory risk"
            )
        if market.intensity_shape != Exponential():
            raise ValueError(
                f"intensity_shape of {name}[{i}] must be Exponential() in a game of several parts; "
                f"was {market.intensity_shape!r}"
            )
    starts = {market.initial_mean / market.max_inventory for market in markets if market.initial_std == 0}
    if all(market.initial_std == 0 for market in markets) and starts in ({1.0}, {-1.0}):
        raise ValueError(f"initial_mean of {name} must leave makers who quote each side; was at the end of every grid")
    return tuple(markets)


def market_part(
    market: MarketMakingGame,
    times: Floats,
    value: Floats,
    density: Floats,
    quotes: tuple[Floats, Floats],
    means: tuple[Floats, Floats],
    rates: tuple[Floats, Floats],
    certificate: Certificate,
) -> MarketMakingEquilibrium:
    """One block of a larger equilibrium as that of a single market; `density` (nt+1, nx) sums to 1.

    `quotes` and `rates` are (ask, bid) of the states that quote, (nt+1, nx-1); `means` the crowd's, (nt+1,).
    """
    ask, bid = np.full_like(value, np.nan), np.full_like(value, np.nan)
    ask[:, 1:], bid[:, :-1] = quotes
    field = MarketMakingMeanField(
        *means, np.sum(density[:, 1:] * rates[0], axis=1), np.sum(density[:, :-1] * rates[1], axis=1)
    )
    policy = MarketMakingPolicy(times, market.states, ask, bid, market.min_half_spread, market.max_half_spread)
    return MarketMakingEquilibrium(market, times, market.states, value, density, policy, field, certificate)


def warn_of_edges(parts: Sequence[MarketMakingEquilibrium], names: Sequence[str]) -> None:
    """An EdgeMassWarning for each part whose grid of inventories is too small."""
    for part, name in zip(parts, names, strict=True):
        edge = float(np.max(part.edge_mass))
        if edge > EDGE_MASS:
            warnings.warn(
                f"up to {edge:.2g} of the makers of {name} are at the ends of the inventory grid; raise its "
                f"max_inventory above {part.game.max_inventory}",
                EdgeMassWarning,
                stacklevel=4,
            )
