"""The market-making game under regimes (calm, stressed, ...) that switch for everybody at once."""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import field as stored
from typing import TYPE_CHECKING, Any

import numpy as np

from mfg_core.family.finite_solver import solve_finite_state
from mfg_core.market.market_making import MarketMakingGame
from mfg_core.market.quoting import (
    QuotedBlocks,
    jump_tangent,
    market_part,
    quoted_blocks,
    require_markets,
    warn_of_edges,
)
from mfg_core.market.regime_policy import RegimeMeanField, RegimePolicy, RegimeSwitchingEquilibrium

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from mfg_core.iteration.fixed_point import UpdateRule

    Floats = NDArray[np.float64]
    Indices = NDArray[np.intp]

ROUNDING = 1e-12


@dataclass(frozen=True, slots=True, kw_only=True)
class RegimeSwitchingGame:
    """Makers in a market whose parameters follow a Markov chain s_t that everybody sees (common noise).

    In regime s a maker plays the `MarketMakingGame` s; the chain leaves s for s' at the rate q(s, s'), whatever anybody
    does, and the inventory stays. With V(s, T, x) = -gamma_s x^2 and the sup over the quotes,

        -V'(s, x) = sup lambda_a (delta_a + V(s, x-1) - V(s, x)) + sup lambda_b (delta_b + V(s, x+1) - V(s, x))
                    - eta_s x^2 + sum_s' q(s, s') (V(s', x) - V(s, x)),

        lambda_a = A_s exp(-k_s (delta_a - c_s abar_s)),

    where the reference quotes in regime s at time t are the means over the makers *given that the regime is s now*:

        abar_s(t) = E[delta_a(s, X_t) | s_t = s, X_t > -Q],    bbar_s(t) likewise.

    The law of (s_t, X_t) has the transposed generator. This closes the game on finitely many states. It is not the game
    in which the reference is the mean given the whole path of the regime up to t, as a maker who sees the crowd's
    quotes would have it (Carmona, Delarue & Lacker 2016): there the reference also remembers how long the market has
    been in this regime and what came before, since inventories do. abar_s is the average of that path's mean over the
    paths that are in s now, each counted by its makers who quote the side. The two agree when there is one regime, when
    the regime never switches, and at t = 0; `regime_mean_error` measures how far they are apart in the equilibrium.

    Parameters
    ----------
    regimes : tuple of MarketMakingGame
        One per regime, equal in `horizon`, `max_inventory`, `initial_mean`, `initial_std` and `risk_aversion` g; where
        g > 0, V is the certainty equivalent and a switch is worth (1 - exp(-g dV))/g.
    switching_rates : (S, S) array-like
        q, per unit of time: off-diagonal entries not negative, rows sum to 0.
    initial_regime : sequence of float
        Probability of each regime at t = 0, independent of the inventories. A regime that cannot have been reached by t
        has the mean over all makers as its reference.
    """

    regimes: tuple[MarketMakingGame, ...]
    switching_rates: tuple[tuple[float, ...], ...]
    initial_regime: tuple[float, ...]
    blocks: QuotedBlocks = stored(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Check the parameters."""
        same = ("horizon", "max_inventory", "initial_mean", "initial_std", "risk_aversion")
        regimes = require_markets("regimes", self.regimes, same)
        rates = _require_generator(self.switching_rates, len(regimes))
        initial = _require_probabilities(self.initial_regime, len(regimes))
        object.__setattr__(self, "regimes", regimes)
        object.__setattr__(self, "switching_rates", tuple(tuple(row) for row in rates.tolist()))
        object.__setattr__(self, "initial_regime", tuple(initial.tolist()))
        object.__setattr__(self, "blocks", quoted_blocks(regimes, range(len(regimes))))

    @property
    def horizon(self) -> float:
        """T."""
        return self.regimes[0].horizon

    @property
    def states(self) -> Floats:
        """(nx,) the inventories -Q..Q; regime s has the game's states s nx to (s + 1) nx."""
        return self.regimes[0].states

    @property
    def initial_density(self) -> Floats:
        """(S nx,) the regimes' probabilities times the law of the inventories."""
        return np.outer(self.initial_regime, self.regimes[0].initial_density).ravel()

    @property
    def terminal_value(self) -> Floats:
        """(S nx,) -gamma_s x^2."""
        return self.blocks.terminal_value

    @property
    def sources(self) -> Indices:
        """(m,) the states that quote, regime by regime and asks first, then those that switch regime."""
        return np.concatenate([self.blocks.sources, self._switches()[0]])

    @property
    def targets(self) -> Indices:
        """(m,) where fills and switches lead."""
        return np.concatenate([self.blocks.targets, self._switches()[1]])

    @property
    def value_unit(self) -> float:
        """The smallest 1/k_s."""
        return self.blocks.unit

    @property
    def field_unit(self) -> float:
        """The smallest 1/k_s."""
        return self.value_unit

    @property
    def first_field(self) -> Floats:
        """(2S,) each regime's best quote where inventory costs nothing."""
        return np.concatenate([block.first_field for block in self.blocks.blocks])

    def control(self, t: Floats, value: Floats, field: Floats) -> Floats:
        """(nt, quotes) half-spreads."""
        return self.blocks.control(t, value, field)

    def rates(self, t: Floats, control: Floats, field: Floats) -> Floats:
        """(nt, m) fill rates, then switching rates."""
        switching = np.tile(self._switches()[2], (control.shape[0], 1))
        return np.concatenate([self.blocks.rates(t, control, field), switching], axis=1)

    def reward(self, t: Floats, control: Floats, field: Floats) -> Floats:
        """(nt, S nx) money earned by fills less eta_s x^2."""
        return self.blocks.reward(t, control, field)

    def equations(self, t: Floats, value: Floats, control: Floats, field: Floats) -> tuple[Floats, Floats, Floats]:
        """(rates, those of the tangent, its reward), see `JointGame`."""
        fills, tangent, reward = self.blocks.equations(t, value, control, field)
        sources, targets, each = self._switches()
        switching = np.tile(each, (control.shape[0], 1))
        rates, g = np.concatenate([fills, switching], axis=1), self.regimes[0].risk_aversion
        if g == 0.0:
            return rates, rates, reward
        change = value[:, targets] - value[:, sources]
        weighted, left = jump_tangent(switching, np.zeros(1), change, g)
        # Pair of regimes by pair: within one no state repeats.
        for start in range(0, sources.size, self.states.size):
            pair = slice(start, start + self.states.size)
            reward[:, sources[pair]] += left[:, pair]
        return rates, np.concatenate([tangent, weighted], axis=1), reward

    def field(self, t: Floats, density: Floats, control: Floats) -> Floats:
        """(nt, 2S) `mean_quotes`, under `Share` the soft means: what the quotes compete with."""
        return self.blocks.field(t, self._given_regime(density), control)

    def mean_quotes(self, density: Floats, control: Floats) -> Floats:
        """(nt, 2S) mean ask and bid half-spreads given the regime, regime by regime."""
        return self.blocks.mean_quotes(self._given_regime(density), control)

    def switches(self, t: Floats, value: Floats, field: Floats) -> Floats:
        """(nt, q) what changes sign where a quote reaches a bound."""
        return self.blocks.switches(t, value, field)

    def conditional_law(self, density: Floats) -> Floats:
        """(nt, S, nx) law of the inventory given the regime; a regime of probability 0 has that of all makers."""
        joint = density.reshape(density.shape[0], len(self.regimes), -1)
        held = joint.sum(axis=2, keepdims=True)
        return np.where(held > 0, joint, joint.sum(axis=1, keepdims=True)) / np.where(held > 0, held, 1.0)

    def _given_regime(self, density: Floats) -> Floats:
        return self.conditional_law(density).reshape(density.shape)

    def _switches(self) -> tuple[Indices, Indices, Floats]:
        """Sources, targets and rates of the switches that happen."""
        rates = np.array(self.switching_rates)
        np.fill_diagonal(rates, 0.0)
        start, end = np.nonzero(rates)
        nx, inventory = self.states.size, np.arange(self.states.size)
        each = np.repeat(rates[start, end], nx)
        return (start[:, None] * nx + inventory).ravel(), (end[:, None] * nx + inventory).ravel(), each


@dataclass(frozen=True, slots=True, kw_only=True)
class RiskAverseRegimeSwitchingGame(RegimeSwitchingGame):
    """The same for the solver when makers are risk averse: V is the certainty equivalent."""

    def tangent(self, t: Floats, value: Floats, control: Floats, field: Floats) -> tuple[Floats, Floats]:
        """(rates, reward) of the tangent of the Hamiltonian."""
        return self.equations(t, value, control, field)[1:]


def solve_regime_switching(
    game: RegimeSwitchingGame, method: UpdateRule, rtol: float, atol: float
) -> RegimeSwitchingEquilibrium:
    """Equilibrium of the game, converged or not as its certificate says; see `solve_mfg` for the parameters."""
    averse = game.regimes[0].risk_aversion > 0
    solved = RiskAverseRegimeSwitchingGame(**_parameters(game)) if averse else game
    found = solve_finite_state(solved, method, rtol, atol)
    nodes, count = found.times.size, len(game.regimes)
    law, means = game.conditional_law(found.density), game.mean_quotes(found.density, found.control)
    rates = game.blocks.rates(found.times, found.control, found.mean_field)
    parts = tuple(
        market_part(
            regime,
            found.times,
            value=found.value[:, states],
            density=law[:, s],
            quotes=found.control[:, quotes],
            rates=rates[:, quotes],
            means=means[:, 2 * s : 2 * s + 2],
            certificate=found.certificate,
        )
        for s, (regime, states, quotes) in enumerate(
            zip(game.regimes, game.blocks.states, game.blocks.quotes, strict=True)
        )
    )
    warn_of_edges(parts, [f"regimes[{s}]" for s in range(count)])
    flows = [
        np.stack([getattr(part.mean_field, side) for part in parts], axis=1)
        for side in ("ask_fill_rate", "bid_fill_rate")
    ]
    return RegimeSwitchingEquilibrium(
        game,
        found.times,
        game.states,
        parts,
        found.density.reshape(nodes, count, -1).sum(axis=2),
        RegimePolicy(tuple(part.policy for part in parts)),
        RegimeMeanField(means[:, ::2], means[:, 1::2], flows[0], flows[1]),
        found.certificate,
    )


def _parameters(game: RegimeSwitchingGame) -> dict[str, Any]:
    return {name: getattr(game, name) for name in ("regimes", "switching_rates", "initial_regime")}


def _require_generator(given: ArrayLike, count: int) -> Floats:
    rates = np.asarray(given, dtype=np.float64)
    if rates.shape != (count, count) or not np.all(np.isfinite(rates)):
        raise ValueError(f"switching_rates must be a finite {count} by {count} matrix; was {given!r}")
    if np.any(rates[~np.eye(count, dtype=bool)] < 0):
        raise ValueError(f"switching_rates must not be negative off the diagonal; was {given!r}")
    sums = rates.sum(axis=1)
    if np.any(np.abs(sums) > ROUNDING * (1.0 + np.abs(rates).sum(axis=1))):
        raise ValueError(f"switching_rates must have rows that sum to 0; their sums were {sums.tolist()}")
    return rates


def _require_probabilities(given: ArrayLike, count: int) -> Floats:
    initial = np.asarray(given, dtype=np.float64)
    if initial.shape != (count,) or not np.all(initial >= 0) or abs(initial.sum() - 1.0) > ROUNDING:
        raise ValueError(f"initial_regime must be {count} probabilities that sum to 1; was {given!r}")
    return initial
