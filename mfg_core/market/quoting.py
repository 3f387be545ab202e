"""Markets as blocks of states of a larger game: their quotes, fills and the mean quotes of the crowds they form."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from mfg_core.errors import EdgeMassWarning
from mfg_core.market.competition import Share
from mfg_core.market.market_family import QuotedMarket, as_family
from mfg_core.market.market_making import (
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
class QuotedBlocks:
    """Markets one after another: the inventories of each are a block of states, its quotes a block of controls.

    A block's quotes are those of `QuotedMarket`, asks first; each is a transition, in the same order. The mean field
    has two columns for each crowd, ask and bid: what the quotes of its blocks are on average over all its makers,
    weighted by the mass of each block that quotes the side. Under `Share` it is the crowd's soft mean
    -log E[shape(k delta)]/k_0 with the k_0 of its first block.

    Attributes
    ----------
    blocks : tuple of QuotedMarket
    crowds : tuple of int
        The crowd of each block, from 0.
    """

    blocks: tuple[QuotedMarket, ...]
    crowds: tuple[int, ...]

    @property
    def states(self) -> tuple[slice, ...]:
        """The states of each block."""
        return _slices([block.market.states.size for block in self.blocks])

    @property
    def quotes(self) -> tuple[slice, ...]:
        """The controls, and transitions, of each block."""
        return _slices([block.sources.size for block in self.blocks])

    @property
    def sources(self) -> Indices:
        """(m,) the state of each quote."""
        return np.concatenate([at.start + block.sources for at, block in zip(self.states, self.blocks, strict=True)])

    @property
    def targets(self) -> Indices:
        """(m,) the state that its fill leads to."""
        return np.concatenate([at.start + block.targets for at, block in zip(self.states, self.blocks, strict=True)])

    @property
    def terminal_value(self) -> Floats:
        """(n,) -gamma x^2."""
        return np.concatenate([block.terminal_value for block in self.blocks])

    @property
    def unit(self) -> float:
        """The smallest 1/k."""
        return min(block.value_unit for block in self.blocks)

    def control(self, t: Floats, value: Floats, field: Floats) -> Floats:
        """(nt, m) best half-spreads."""
        each = zip(self.blocks, self.states, self._fields(field), strict=True)
        return np.concatenate([block.control(t, value[:, at], mean) for block, at, mean in each], axis=1)

    def rates(self, t: Floats, control: Floats, field: Floats) -> Floats:
        """(nt, m) fill rates."""
        each = zip(self.blocks, self.quotes, self._fields(field), strict=True)
        return np.concatenate([block.rates(t, control[:, at], mean) for block, at, mean in each], axis=1)

    def reward(self, t: Floats, control: Floats, field: Floats) -> Floats:
        """(nt, n) money earned by fills less eta x^2."""
        each = zip(self.blocks, self.quotes, self._fields(field), strict=True)
        return np.concatenate([block.reward(t, control[:, at], mean) for block, at, mean in each], axis=1)

    def tangent(self, t: Floats, value: Floats, control: Floats, field: Floats) -> tuple[Floats, Floats]:
        """(rates (nt, m), reward (nt, n)) of the tangent of the Hamiltonian, see `RiskSensitiveGame`."""
        return self.equations(t, value, control, field)[1:]

    def equations(self, t: Floats, value: Floats, control: Floats, field: Floats) -> tuple[Floats, Floats, Floats]:
        """(rates (nt, m), those of the tangent, its reward (nt, n)), see `JointGame`."""
        each = zip(self.blocks, self.states, self.quotes, self._fields(field), strict=True)
        parts = [block.equations(t, value[:, at], control[:, quotes], mean) for block, at, quotes, mean in each]
        rates = np.concatenate([part[0] for part in parts], axis=1)
        neutral = all(part[1] is part[0] for part in parts)
        tangent = rates if neutral else np.concatenate([part[1] for part in parts], axis=1)
        return rates, tangent, np.concatenate([part[2] for part in parts], axis=1)

    def field(self, t: Floats, density: Floats, control: Floats) -> Floats:
        """(nt, 2 crowds) what the quotes compete with: mean half-spreads, under `Share` soft means."""
        own = [
            block.field(t, density[:, at], control[:, quotes])
            for block, at, quotes in zip(self.blocks, self.states, self.quotes, strict=True)
        ]
        return self._combine(density, own, soft=True)

    def mean_quotes(self, density: Floats, control: Floats) -> Floats:
        """(nt, 2 crowds) mean half-spreads."""
        own = [
            block.mean_over_quoting(density[:, at], control[:, quotes])
            for block, at, quotes in zip(self.blocks, self.states, self.quotes, strict=True)
        ]
        return self._combine(density, own, soft=False)

    def switches(self, t: Floats, value: Floats, field: Floats) -> Floats:
        """(nt, q) what changes sign where a quote reaches a bound."""
        each = zip(self.blocks, self.states, self._fields(field), strict=True)
        return np.concatenate([block.switches(t, value[:, at], mean) for block, at, mean in each], axis=1)

    def _combine(self, density: Floats, own: Sequence[Floats], soft: bool) -> Floats:
        """The crowds' means from those of their blocks (nt, 2)."""
        out = []
        for crowd in range(max(self.crowds) + 1):
            members = [i for i, at in enumerate(self.crowds) if at == crowd]
            if len(members) == 1:
                out.append(own[members[0]])
                continue
            laws = [density[:, self.states[i]] for i in members]
            masses = np.stack([np.stack([law[:, 1:].sum(axis=1), law[:, :-1].sum(axis=1)], axis=1) for law in laws])
            weights = masses / masses.sum(axis=0)
            means = np.stack([own[i] for i in members])
            if soft and isinstance(self.blocks[members[0]].market.competition, Share):
                decays = np.array([self.blocks[i].market.fill_decay for i in members])
                out.append(-_log_mean_exp(-decays[:, None, None] * means, weights) / decays[0])
            else:
                out.append(np.sum(weights * means, axis=0))
        return np.concatenate(out, axis=1)

    def _fields(self, field: Floats) -> list[Floats]:
        """Each block's mean field (nt, 2), a soft mean in the units of its own decay."""
        first = {crowd: self.blocks[self.crowds.index(crowd)] for crowd in self.crowds}
        out = []
        for block, crowd in zip(self.blocks, self.crowds, strict=True):
            mean = field[:, 2 * crowd : 2 * crowd + 2]
            shared = isinstance(block.market.competition, Share)
            out.append(mean * (first[crowd].market.fill_decay / block.market.fill_decay) if shared else mean)
        return out


def quoted_blocks(markets: Sequence[MarketMakingGame], crowds: Sequence[int]) -> QuotedBlocks:
    """The blocks of these markets; market i belongs to crowd `crowds[i]`."""
    return QuotedBlocks(tuple(as_family(market) for market in markets), tuple(crowds))


def jump_tangent(rates: Floats, payments: Floats, change: Floats, risk_aversion: float) -> tuple[Floats, Floats]:
    """(rate of the tangent, what is left of rate times utility) of jumps that pay and change V, elementwise.

    A jump that is worth z = payment + change adds rate U(z) to -V', U(z) = (1 - exp(-g z))/g, z at g = 0; the tangent
    at the present change is rate exp(-g z).
    """
    worth = payments + change
    if risk_aversion == 0.0:
        return rates, rates * payments
    weighted = rates * np.exp(-risk_aversion * worth)
    return weighted, rates * utility(worth, risk_aversion) - weighted * change


def utility(worth: Floats, risk_aversion: float) -> Floats:
    """(1 - exp(-g z))/g, z at g = 0."""
    return worth if risk_aversion == 0.0 else np.asarray(-np.expm1(-risk_aversion * worth) / risk_aversion)


def require_markets(name: str, markets: object, same: Sequence[str]) -> tuple[MarketMakingGame, ...]:
    """`markets` as a tuple of at least one MarketMakingGame, equal in the parameters `same`."""
    if not isinstance(markets, Sequence) or not all(isinstance(market, MarketMakingGame) for market in markets):
        raise TypeError(f"{name} must be a tuple of MarketMakingGame; was {markets!r:.100}")
    if not markets:
        raise ValueError(f"{name} must hold at least one MarketMakingGame; was empty")
    for parameter in same:
        values = [getattr(market, parameter) for market in markets]
        if any(value != values[0] for value in values):
            raise ValueError(f"{parameter} must be the same in all {name}; was {values}")
    return tuple(markets)


def require_both_sides(name: str, markets: Sequence[MarketMakingGame]) -> None:
    """ValueError when at t = 0 nobody quotes one of the sides: its mean is then not defined."""
    starts = {market.initial_mean / market.max_inventory for market in markets if market.initial_std == 0}
    if all(market.initial_std == 0 for market in markets) and starts in ({1.0}, {-1.0}):
        raise ValueError(f"initial_mean of {name} must leave makers who quote each side; was at the end of the grid")


def market_part(
    market: MarketMakingGame,
    times: Floats,
    value: Floats,
    density: Floats,
    quotes: Floats,
    rates: Floats,
    means: Floats,
    certificate: Certificate,
) -> MarketMakingEquilibrium:
    """One block of a larger equilibrium as that of a single market; `density` (nt+1, nx) sums to 1.

    `quotes` and `rates` (nt+1, 2 (nx-1)) are the block's, asks first; `means` (nt+1, 2) its crowd's, ask and bid.
    """
    ask, bid = np.full_like(value, np.nan), np.full_like(value, np.nan)
    ask[:, 1:], bid[:, :-1] = np.split(quotes, 2, axis=1)
    sold, bought = np.split(rates, 2, axis=1)
    flows = np.sum(density[:, 1:] * sold, axis=1), np.sum(density[:, :-1] * bought, axis=1)
    field = MarketMakingMeanField(means[:, 0], means[:, 1], *flows)
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


def _slices(sizes: Sequence[int]) -> tuple[slice, ...]:
    return tuple(slice(start, end) for start, end in pairwise(np.cumsum([0, *sizes]).tolist()))


def _log_mean_exp(logs: Floats, weights: Floats) -> Floats:
    """log of the mean of exp(logs) over the first axis, without overflow."""
    top = np.max(logs, axis=0)
    return np.asarray(top + np.log(np.sum(weights * np.exp(logs - top), axis=0)))
