"""The market-making game with several types of makers, who all compete with the same crowd."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field as stored
from typing import TYPE_CHECKING

import numpy as np

from mfg_core.checks import require_positive
from mfg_core.family.finite_solver import solve_finite_state
from mfg_core.market.competition import Share
from mfg_core.market.market_making import MarketMakingEquilibrium, MarketMakingGame, MarketMakingMeanField
from mfg_core.market.quoting import (
    QuotedBlocks,
    market_part,
    quoted_blocks,
    require_both_sides,
    require_markets,
    warn_of_edges,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mfg_core.certificate import Certificate
    from mfg_core.iteration.fixed_point import UpdateRule

    Floats = NDArray[np.float64]
    Indices = NDArray[np.intp]

SHARES_ROUNDING = 1e-12


@dataclass(frozen=True, slots=True, kw_only=True)
class MixedMarketMakingGame:
    """Makers of several types i, each with its own market-making parameters, in one crowd.

    A maker of type i plays its own `MarketMakingGame`, with fill rates A_i exp(-k_i (delta - c_i mean)), against the
    mean quotes of all types: with shares p_i and inventory laws rho_i,

        abar = sum_i p_i sum_x rho_i(x) delta_i^a(x) / sum_i p_i sum_x rho_i(x),    over the x that quote an ask,

    bbar likewise (several populations in one game: Huang, Malhamé & Caines 2006). The states are the types' inventories
    one type after another; no transition leads from one type to another, and the mass of a type is its share.

    Parameters
    ----------
    makers : tuple of MarketMakingGame
        One per type. All have the same `horizon`; everything else may differ, but all or none compete by `Share`, in
        which E shape_i(k_i delta) is over all makers.
    shares : tuple of float
        p_i > 0, the types' shares of the makers; they sum to 1.
    """

    makers: tuple[MarketMakingGame, ...]
    shares: tuple[float, ...]
    blocks: QuotedBlocks = stored(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Check the parameters."""
        makers = require_markets("makers", self.makers, ("horizon",))
        if len(makers) > 1:
            require_both_sides("makers", makers)
        if len({isinstance(maker.competition, Share) for maker in makers}) > 1:
            raise ValueError(
                f"competition must be Share() for all makers or none; was {[m.competition for m in makers]}"
            )
        if not isinstance(self.shares, Sequence) or len(self.shares) != len(makers):
            raise ValueError(f"shares must be one number for each of the {len(makers)} makers; was {self.shares!r}")
        shares = tuple(require_positive(f"shares[{i}]", share) for i, share in enumerate(self.shares))
        if abs(sum(shares) - 1.0) > SHARES_ROUNDING:
            raise ValueError(f"shares must sum to 1; was {shares}, whose sum is {sum(shares)}")
        object.__setattr__(self, "makers", makers)
        object.__setattr__(self, "shares", shares)
        object.__setattr__(self, "blocks", quoted_blocks(makers, [0] * len(makers)))

    @property
    def horizon(self) -> float:
        """T."""
        return self.makers[0].horizon

    @property
    def initial_density(self) -> Floats:
        """(n,) each type's law times its share."""
        return np.concatenate(
            [share * maker.initial_density for share, maker in zip(self.shares, self.makers, strict=True)]
        )

    @property
    def terminal_value(self) -> Floats:
        """(n,) -gamma_i x^2."""
        return self.blocks.terminal_value

    @property
    def sources(self) -> Indices:
        """(m,) the states that quote: type by type, asks first."""
        return self.blocks.sources

    @property
    def targets(self) -> Indices:
        """(m,) where the fills lead."""
        return self.blocks.targets

    @property
    def value_unit(self) -> float:
        """The smallest 1/k_i."""
        return self.blocks.unit

    @property
    def field_unit(self) -> float:
        """The smallest 1/k_i."""
        return self.blocks.unit

    @property
    def first_field(self) -> Floats:
        """(2,) the mean of the types' best quotes where inventory costs nothing."""
        return np.asarray(np.dot(self.shares, [block.first_field for block in self.blocks.blocks]))

    def control(self, t: Floats, value: Floats, field: Floats) -> Floats:
        """(nt, m) half-spreads."""
        return self.blocks.control(t, value, field)

    def rates(self, t: Floats, control: Floats, field: Floats) -> Floats:
        """(nt, m) fill rates."""
        return self.blocks.rates(t, control, field)

    def reward(self, t: Floats, control: Floats, field: Floats) -> Floats:
        """(nt, n) money earned by fills less eta_i x^2."""
        return self.blocks.reward(t, control, field)

    def equations(self, t: Floats, value: Floats, control: Floats, field: Floats) -> tuple[Floats, Floats, Floats]:
        """(rates, those of the tangent, its reward), see `JointGame`."""
        return self.blocks.equations(t, value, control, field)

    def field(self, t: Floats, density: Floats, control: Floats) -> Floats:
        """(nt, 2) the crowd's mean ask and bid half-spreads, under `Share` its soft means."""
        return self.blocks.field(t, density, control)

    def switches(self, t: Floats, value: Floats, field: Floats) -> Floats:
        """(nt, q) what changes sign where a quote reaches a bound."""
        return self.blocks.switches(t, value, field)


@dataclass(frozen=True, slots=True, kw_only=True)
class RiskAverseMixedMarketMakingGame(MixedMarketMakingGame):
    """The same for the solver when a type is risk averse: its V is the certainty equivalent."""

    def tangent(self, t: Floats, value: Floats, control: Floats, field: Floats) -> tuple[Floats, Floats]:
        """(rates, reward) of the tangent of the Hamiltonian."""
        return self.blocks.tangent(t, value, control, field)


@dataclass(frozen=True, slots=True, eq=False)
class MixedMarketMakingEquilibrium:
    """Equilibrium of a `MixedMarketMakingGame`.

    Attributes
    ----------
    times : (nt+1,) float64
    makers : tuple of MarketMakingEquilibrium
        Each type's value, density (rows sum to 1) and policy; its `mean_field` is the whole crowd's mean quotes and the
        type's own fill rates, its certificate that of the whole game.
    mean_field : MarketMakingMeanField
        Mean quotes over all types, and fills per maker and unit of time averaged over all makers.
    certificate : Certificate
        The exploitability is averaged over all makers.
    """

    game: MixedMarketMakingGame
    times: Floats
    makers: tuple[MarketMakingEquilibrium, ...]
    mean_field: MarketMakingMeanField
    certificate: Certificate

    @property
    def full_spread(self) -> Floats:
        """(nt+1,) abar + bbar."""
        return self.mean_field.ask + self.mean_field.bid

    @property
    def net_skew(self) -> Floats:
        """(nt+1,) abar - bbar; not a spread."""
        return self.mean_field.ask - self.mean_field.bid

    @property
    def inventory_mean(self) -> Floats:
        """(nt+1,) mean inventory over all makers."""
        return self._average([maker.inventory_mean for maker in self.makers])

    @property
    def inventory_variance(self) -> Floats:
        """(nt+1,) variance of the inventory over all makers: within the types and between their means."""
        between = [(maker.inventory_mean - self.inventory_mean) ** 2 for maker in self.makers]
        within = [maker.inventory_variance for maker in self.makers]
        return self._average(within) + self._average(between)

    def derisk_probability(self, eps: float) -> Floats:
        """(nt+1,) share of all makers with |inventory| < eps."""
        return self._average([maker.derisk_probability(eps) for maker in self.makers])

    def _average(self, paths: Sequence[Floats]) -> Floats:
        return np.asarray(np.tensordot(self.game.shares, np.stack(paths), axes=1))


def solve_mixed_market_making(
    game: MixedMarketMakingGame, method: UpdateRule, rtol: float, atol: float
) -> MixedMarketMakingEquilibrium:
    """Equilibrium of the game, converged or not as its certificate says; see `solve_mfg` for the parameters."""
    averse = any(maker.risk_aversion > 0 for maker in game.makers)
    solved = RiskAverseMixedMarketMakingGame(makers=game.makers, shares=game.shares) if averse else game
    found = solve_finite_state(solved, method, rtol, atol)
    means = game.blocks.mean_quotes(found.density, found.control)
    rates = game.rates(found.times, found.control, found.mean_field)
    parts = tuple(
        market_part(
            maker,
            found.times,
            value=found.value[:, states],
            density=found.density[:, states] / share,
            quotes=found.control[:, quotes],
            rates=rates[:, quotes],
            means=means,
            certificate=found.certificate,
        )
        for maker, share, states, quotes in zip(
            game.makers, game.shares, game.blocks.states, game.blocks.quotes, strict=True
        )
    )
    warn_of_edges(parts, [f"makers[{i}]" for i in range(len(parts))])
    flows = [
        np.tensordot(game.shares, np.stack([getattr(part.mean_field, side) for part in parts]), axes=1)
        for side in ("ask_fill_rate", "bid_fill_rate")
    ]
    field = MarketMakingMeanField(means[:, 0], means[:, 1], flows[0], flows[1])
    return MixedMarketMakingEquilibrium(game, found.times, parts, field, found.certificate)
