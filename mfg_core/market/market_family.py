"""Market making as a game of the finite-state family: any intensity shape, quote bounds, every form of competition."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from mfg_core.market.competition import Share
from mfg_core.market.intensity_shapes import Exponential, Logistic, Power, best_distance, check_shape
from mfg_core.market.quote_kernels import fill_exponents, fill_quotes, fill_reward, fill_tangent

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mfg_core.market.market_making import MarketMakingGame

    Floats = NDArray[np.float64]
    Indices = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class QuotedMarket:
    """A `MarketMakingGame` whose states are the inventories -Q..Q and whose controls are the quotes, asks first.

    Transition j is the fill of quote j: asks of -Q+1..Q lead one state down, bids of -Q..Q-1 one up. With m the crowd's
    mean quote on that side, y = k (delta - c m), and a fill worth delta - xi - f in money,

        lambda = A shape(y),    -V' = sup sum of lambda U(delta - xi - f + dV) - eta x^2,    U(z) = (1 - exp(-g z))/g,

    U(z) = z at g = 0 (Guéant, Lehalle & Fernandez-Tapia 2013). Under `Share`, A shape(k delta)/E[shape(k delta)] over
    the makers who quote that side, and the mean field is m = -log E[shape(k delta)]/k.
    """

    market: MarketMakingGame
    sources: Indices = field(init=False, repr=False, compare=False)
    targets: Indices = field(init=False, repr=False, compare=False)
    arrival: Floats = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Check the shape if it is the user's own, and lay out the fills."""
        if not isinstance(self.market.intensity_shape, Exponential | Logistic | Power):
            check_shape(self.market.intensity_shape)
        lower = np.arange(2 * self.market.max_inventory, dtype=np.intp)
        object.__setattr__(self, "sources", np.concatenate([lower + 1, lower]))
        object.__setattr__(self, "targets", np.concatenate([lower, lower + 1]))
        sides = np.array([self.market.ask_arrival, self.market.bid_arrival])
        object.__setattr__(self, "arrival", np.repeat(sides, lower.size))

    @property
    def horizon(self) -> float:
        """T."""
        return self.market.horizon

    @property
    def initial_density(self) -> Floats:
        """(2Q+1,) the market's."""
        return self.market.initial_density

    @property
    def terminal_value(self) -> Floats:
        """(2Q+1,) -gamma x^2."""
        return -self.market.terminal_penalty * self.market.states**2

    @property
    def value_unit(self) -> float:
        """1/k."""
        return 1.0 / self.market.fill_decay

    @property
    def field_unit(self) -> float:
        """1/k."""
        return 1.0 / self.market.fill_decay

    @property
    def first_field(self) -> Floats:
        """(2,) the best quote where inventory costs nothing and the shape is exponential."""
        return np.full(2, np.clip(self.market.margin, self.market.min_half_spread, self.market.max_half_spread))

    def control(self, t: Floats, value: Floats, field: Floats) -> Floats:
        """(nt, 4Q) half-spreads."""
        if isinstance(self.market.intensity_shape, Exponential):
            return self._chain(value, self.market.min_half_spread, self.market.max_half_spread)
        return np.clip(self.free_quotes(value, field), self.market.min_half_spread, self.market.max_half_spread)

    def free_quotes(self, value: Floats, field: Floats) -> Floats:
        """(nt, 4Q) best half-spreads without bounds."""
        market = self.market
        if isinstance(market.intensity_shape, Exponential):
            return self._chain(value, -math.inf, math.inf)
        k, shift, gap = market.fill_decay, self._shift(field), self._gap(value)
        worth = k * (gap - market.fill_cost + shift)
        y = best_distance(market.intensity_shape, worth, market.risk_aversion / k)
        return y / k + shift

    def rates(self, t: Floats, control: Floats, field: Floats) -> Floats:
        """(nt, 4Q) fill rates A shape(k (delta - c m))."""
        k = self.market.fill_decay
        if isinstance(self.market.intensity_shape, Exponential):
            rates = np.empty(control.shape)
            shifts = self.market.crowd_weight * field + np.log(self.arrival[[0, -1]]) / k
            fill_exponents(control, shifts, k, rates)
            # Of numpy, whose exponential does several at once.
            return np.asarray(np.exp(rates, out=rates))
        y = control - self._shift(field)
        y *= k
        sizes = self.market.intensity_shape.intensity(y)
        if self._shared_by_shape:
            sizes *= np.exp(k * self._sides(field))
        sizes *= self.arrival
        return sizes

    def reward(self, t: Floats, control: Floats, field: Floats) -> Floats:
        """(nt, 2Q+1) money earned by fills less eta x^2."""
        return self._earned(control, self.rates(t, control, field))

    def equations(self, t: Floats, value: Floats, control: Floats, field: Floats) -> tuple[Floats, Floats, Floats]:
        """(rates, the same, reward), see `JointGame`."""
        rates = self.rates(t, control, field)
        return rates, rates, self._earned(control, rates)

    def field(self, t: Floats, density: Floats, control: Floats) -> Floats:
        """(nt, 2) the crowd's mean ask and bid half-spreads; under `Share` its soft means."""
        k = self.market.fill_decay
        if not isinstance(self.market.competition, Share):
            return self.mean_over_quoting(density, control)
        # Relative to the lowest quote of each time, so that nothing underflows.
        lowest = np.min(control, axis=1, keepdims=True)
        if self._shared_by_shape:
            return np.asarray(
                -np.log(self.mean_over_quoting(density, self.market.intensity_shape.intensity(k * control))) / k
            )
        return np.asarray(lowest - np.log(self.mean_over_quoting(density, np.exp(k * (lowest - control)))) / k)

    def mean_over_quoting(self, density: Floats, each: Floats) -> Floats:
        """(nt, 2) mean of something of each quote over the makers who quote that side.

        When nobody does (all start at one end of the grid), that of the first state that they reach: the limit.
        """
        half = each.shape[1] // 2
        means = []
        for side, law, first in ((each[:, :half], density[:, 1:], 0), (each[:, half:], density[:, :-1], -1)):
            mass = law.sum(axis=1)
            total = np.einsum("ti,ti->t", law, side)
            means.append(np.where(mass > 0, total / np.where(mass > 0, mass, 1.0), side[:, first]))
        return np.stack(means, axis=1)

    def switches(self, t: Floats, value: Floats, field: Floats) -> Floats:
        """(nt, 0, 4Q or 8Q) best quotes without bounds less each finite bound."""
        market = self.market
        bounds = [bound for bound in (market.min_half_spread, market.max_half_spread) if math.isfinite(bound)]
        free = self.free_quotes(value, field) if bounds else np.empty((t.size, 0))
        return np.concatenate([free - bound for bound in bounds], axis=1) if bounds else free

    @property
    def _shared_by_shape(self) -> bool:
        """Whether shares follow a shape for which the crowd's part is not a shift of the quote."""
        return isinstance(self.market.competition, Share) and not isinstance(self.market.intensity_shape, Exponential)

    def _gap(self, value: Floats) -> Floats:
        half = value.shape[1] - 1
        out = np.empty((value.shape[0], 2 * half))
        np.subtract(value[:, 1:], value[:, :-1], out=out[:, half:])
        np.negative(out[:, half:], out=out[:, :half])
        return out

    def _sides(self, field: Floats) -> Floats:
        """(nt, 4Q) the mean field of each quote's side."""
        return np.repeat(field, self.sources.size // 2, axis=1)

    def _shift(self, field: Floats) -> Floats:
        """(nt, 4Q) c m, the quote at which y = 0."""
        if self._shared_by_shape:
            return np.zeros((field.shape[0], self.sources.size))
        return self.market.crowd_weight * self._sides(field)

    def _chain(self, value: Floats, low: float, high: float) -> Floats:
        """(nt, 4Q) best half-spreads within bounds, of the exponential shape."""
        quotes = np.empty((value.shape[0], self.sources.size))
        fill_quotes(value, self.market.margin, low, high, quotes)
        return quotes

    def _earned(self, control: Floats, rates: Floats) -> Floats:
        """(nt, 2Q+1) money earned by fills at these rates less eta x^2."""
        reward = np.empty((control.shape[0], self.market.states.size))
        fill_reward(control, rates, self.market.fill_cost, self._holding, reward)
        return reward

    @property
    def _holding(self) -> Floats:
        return -self.market.running_penalty * self.market.states**2


@dataclass(frozen=True, slots=True)
class RiskAverseQuotedMarket(QuotedMarket):
    """The same with g > 0: V is the certainty equivalent, and enters the utility of a fill."""

    def tangent(self, t: Floats, value: Floats, control: Floats, field: Floats) -> tuple[Floats, Floats]:
        """lambda exp(-g z) and what is left of lambda U(z) - eta x^2, with z what a fill is worth."""
        return self.equations(t, value, control, field)[1:]

    def equations(self, t: Floats, value: Floats, control: Floats, field: Floats) -> tuple[Floats, Floats, Floats]:
        """(rates, those of the tangent, its reward), see `JointGame`."""
        rates = self.rates(t, control, field)
        tangent, reward = np.empty_like(rates), np.empty(value.shape)
        fill_tangent(
            control, rates, value, self.market.fill_cost, self.market.risk_aversion, self._holding, tangent, reward
        )
        return rates, tangent, reward


def as_family(market: MarketMakingGame) -> QuotedMarket:
    """The market as a game of the finite-state family."""
    return RiskAverseQuotedMarket(market) if market.risk_aversion > 0 else QuotedMarket(market)
