"""The market-making game with entry and exit: the flow is shared by the makers who are there."""

from __future__ import annotations

from dataclasses import dataclass, fields
from dataclasses import field as stored
from typing import TYPE_CHECKING, Any

import numpy as np

from mfg_core.checks import require_finite, require_nonnegative, require_real
from mfg_core.errors import SolveError
from mfg_core.family.finite_solver import solve_finite_state
from mfg_core.market.entry_exit_policy import EntryExitEquilibrium, EntryExitPolicy
from mfg_core.market.market_making import MarketMakingGame
from mfg_core.market.quoting import (
    QuotedBlocks,
    jump_tangent,
    market_part,
    quoted_blocks,
    require_both_sides,
    utility,
    warn_of_edges,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mfg_core.iteration.fixed_point import UpdateRule

    Floats = NDArray[np.float64]
    Indices = NDArray[np.intp]

ENTRY_EXIT_DAMPING = 0.3
"""Of the Anderson mixing that solves these games unless told otherwise.

More makers mean less for each, so that everybody replies to too many by leaving: undamped, the first sweeps swing from
a full market to an empty one.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryExitGame:
    """Makers who may leave the market and come back, while its order flow is shared by those who are in it.

    Of a population of mass 1, N_t make the market at time t. Their fill rates are those of `market` with its arrivals
    as the flow per unit of mass of the whole population, so that fewer makers get more each:

        lambda_a = A_a / N_t exp(-k (delta_a - c abar_t)),    lambda_b likewise,

    abar, bbar the means over the makers in the market. A maker with inventory x chooses the rate theta at which it
    leaves, and one outside the rate at which it enters, flat. Rates away from the usual theta_0 cost
    (theta log(theta/theta_0) - theta + theta_0) / beta per unit of time (the entropy of the changed jump process, as in
    the logit choice of Matějka & McKay 2015 and the control of jump rates of Todorov 2009), whose maximisation gives

        theta* = theta_0 e^{beta gap},    sup theta gap - cost(theta) = theta_0 (e^{beta gap} - 1) / beta,

    with the gap that a jump gains: U_t - l x^2 - V(t, x) on leaving and V(t, 0) - U_t on entering. l x^2 is what the
    inventory of a leaver costs to liquidate at once. U_t, the value of being outside, is itself one of the
    unknowns: outside a player earns `outside_value` / T per unit of time and may come back.

        -V'(x) = sup lambda_a (...) + sup lambda_b (...) - eta x^2 + exit_rate (e^{beta (U - l x^2 - V(x))} - 1) / beta
        -U'    = outside_value / T + entry_rate (e^{beta (V(0) - U)} - 1) / beta,    V(T, x) = -gamma x^2,  U(T) = 0

    The states are the inventories -Q..Q, then `outside`. The mean field is (abar, bbar, log(N) / k), all in price.

    Parameters
    ----------
    market : MarketMakingGame
        The market; `initial_mean` and `initial_std` are the law of those who are in it at t = 0.
    outside_value : float
        What staying outside from 0 to T is worth, in price; earned evenly over time.
    exit_rate, entry_rate : float
        theta_0 >= 0 of each, per unit of time: the rate of a maker who is indifferent. 0: never.
    sensitivity : float
        beta >= 0, per unit of price: a gap of 1/beta multiplies the rate by e. 0: rates are `exit_rate`, `entry_rate`.
    initial_active : float
        N_0, in (0, 1].
    liquidation_penalty : float, optional
        l >= 0, price per inventory^2; by default the market's `terminal_penalty`.
    """

    market: MarketMakingGame
    outside_value: float
    exit_rate: float
    entry_rate: float
    sensitivity: float
    initial_active: float = 1.0
    liquidation_penalty: float | None = None
    blocks: QuotedBlocks = stored(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Check every parameter."""
        if not isinstance(self.market, MarketMakingGame):
            raise TypeError(f"market must be a MarketMakingGame; was {type(self.market).__name__}")
        require_both_sides("market", [self.market])
        for name, check in (
            ("outside_value", require_finite),
            ("exit_rate", require_nonnegative),
            ("entry_rate", require_nonnegative),
            ("sensitivity", require_nonnegative),
            ("initial_active", require_real),
        ):
            object.__setattr__(self, name, check(name, getattr(self, name)))
        if self.liquidation_penalty is not None:
            penalty = require_nonnegative("liquidation_penalty", self.liquidation_penalty)
            object.__setattr__(self, "liquidation_penalty", penalty)
        if not 0 < self.initial_active <= 1:
            raise ValueError(f"initial_active must be in (0, 1]; was {self.initial_active}")
        object.__setattr__(self, "blocks", quoted_blocks([self.market], [0]))

    @property
    def horizon(self) -> float:
        """T."""
        return self.market.horizon

    @property
    def outside(self) -> int:
        """The state of those outside, after the inventories."""
        return 2 * self.market.max_inventory + 1

    @property
    def initial_density(self) -> Floats:
        """(nx+1,) the market's law times N_0, then 1 - N_0."""
        return np.append(self.initial_active * self.market.initial_density, 1.0 - self.initial_active)

    @property
    def terminal_value(self) -> Floats:
        """(nx+1,) -gamma x^2, then 0."""
        return np.append(-self.market.terminal_penalty * self.market.states**2, 0.0)

    @property
    def sources(self) -> Indices:
        """(m,) those who quote an ask, those who quote a bid, those who may leave, and those outside."""
        return np.concatenate([self.blocks.sources, np.arange(self.outside + 1)])

    @property
    def targets(self) -> Indices:
        """(m,) where fills, exits and the entry lead."""
        return np.concatenate([self.blocks.targets, np.full(self.outside, self.outside), [self.market.max_inventory]])

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
        """(3,) the best quotes where inventory costs nothing, and how many makers may share the flow then."""
        shift = np.log(self._first_active()) / self.market.fill_decay
        return np.append(self.blocks.blocks[0].first_field, shift)

    def control(self, t: Floats, value: Floats, field: Floats) -> Floats:
        """(nt, quotes + nx + 1) half-spreads, then log(theta / theta_0) = beta gap of each exit and of the entry."""
        quotes = self.blocks.control(t, value[:, :-1], field[:, :2])
        gap = utility(self._payments() + self._changes(value), self.market.risk_aversion)
        return np.concatenate([quotes, self.sensitivity * gap], axis=1)

    def rates(self, t: Floats, control: Floats, field: Floats) -> Floats:
        """(nt, m) fill rates, then the rates of leaving and entering."""
        quotes, logs = self._split(control)
        hazards = self._usual_rates() * np.exp(logs)
        return np.concatenate([self._fill_rates(quotes, field), hazards], axis=1)

    def reward(self, t: Floats, control: Floats, field: Floats) -> Floats:
        """(nt, nx+1) half-spreads less inventory costs, liquidations and the cost of unusual rates; income outside."""
        logs = self._split(control)[1]
        paid = self._usual_rates() * np.exp(logs) * self._payments()
        return np.asarray(self._held(t, control, field) + paid)

    def equations(self, t: Floats, value: Floats, control: Floats, field: Floats) -> tuple[Floats, Floats, Floats]:
        """(rates, those of the tangent, its reward), see `JointGame`."""
        quotes, logs = self._split(control)
        still, scale = -self.market.running_penalty * self.market.states**2, self._scale(field)
        fills, tangent, earned = self.blocks.equations(t, value[:, :-1], quotes, field[:, :2])
        income = np.full((control.shape[0], 1), self.outside_value / self.horizon)
        usual = self._usual_rates() * np.exp(logs)
        doors, left = jump_tangent(usual, self._payments(), self._changes(value), self.market.risk_aversion)
        reward = np.concatenate([scale * (earned - still) + still, income], axis=1) - self._effort(logs) + left
        rates = np.concatenate([scale * fills, usual], axis=1)
        if self.market.risk_aversion == 0.0:
            return rates, rates, reward
        return rates, np.concatenate([scale * tangent, doors], axis=1), reward

    def field(self, t: Floats, density: Floats, control: Floats) -> Floats:
        """(nt, 3) mean ask and bid over the makers in the market (under `Share` soft means), log(N) / k."""
        means = self.blocks.field(t, density[:, :-1], self._split(control)[0])
        active = np.sum(density[:, :-1], axis=1, keepdims=True)
        return np.concatenate([means, np.log(active) / self.market.fill_decay], axis=1)

    def switches(self, t: Floats, value: Floats, field: Floats) -> Floats:
        """(nt, q) what changes sign where a quote reaches a bound."""
        return self.blocks.switches(t, value[:, :-1], field[:, :2])

    def _held(self, t: Floats, control: Floats, field: Floats) -> Floats:
        """(nt, nx+1) what a player earns without jumping through a door, less the cost of unusual rates."""
        quotes, logs = self._split(control)
        market = self.blocks.blocks[0]
        scale = self._scale(field)
        still = -self.market.running_penalty * self.market.states**2
        earned = scale * (market.reward(t, quotes, field[:, :2]) - still) + still
        income = np.full((control.shape[0], 1), self.outside_value / self.horizon)
        return np.concatenate([earned, income], axis=1) - self._effort(logs)

    def _effort(self, logs: Floats) -> Floats:
        """(theta log(theta/theta_0) - theta + theta_0) / beta; nobody deviates when beta is 0."""
        if self.sensitivity == 0.0:
            return np.zeros_like(logs)
        return np.asarray(self._usual_rates() * (logs * np.exp(logs) - np.expm1(logs)) / self.sensitivity)

    def _first_active(self) -> float:
        """N_0, or the largest N at which staying is worth about 1/beta less than being outside, if that is smaller.

        Only a guess to start from: with too many makers in it everybody would leave at rates of e to the many. A maker
        earns `flow` / N per unit of time, an outsider its income.
        """
        quotes = self.blocks.blocks[0].first_field
        control = np.repeat(quotes, 2 * self.market.max_inventory)[None, :]
        flow = float(self.blocks.reward(np.zeros(1), control, quotes[None, :])[0, self.market.max_inventory])
        excess = self.sensitivity * self.outside_value - 1.0
        if flow <= 0.0 or excess <= 0.0:
            return self.initial_active
        return min(self.initial_active, flow * self.sensitivity * self.horizon / excess)

    def _split(self, control: Floats) -> tuple[Floats, Floats]:
        quotes = self.blocks.sources.size
        return control[:, :quotes], control[:, quotes:]

    def _scale(self, field: Floats) -> Floats:
        """(nt, 1) 1/N."""
        return np.asarray(np.exp(-self.market.fill_decay * field[:, 2:]))

    def _fill_rates(self, quotes: Floats, field: Floats) -> Floats:
        return self._scale(field) * self.blocks.rates(np.empty(0), quotes, field[:, :2])

    def _payments(self) -> Floats:
        """(nx+1,) what is paid on leaving with each inventory, and nothing on entering."""
        given = self.liquidation_penalty
        paid = (self.market.terminal_penalty if given is None else given) * self.market.states**2
        return np.append(-paid, 0.0)

    def _changes(self, value: Floats) -> Floats:
        """(nt, nx+1) U - V(x) on leaving and V(0) - U on entering."""
        outside = value[:, -1:]
        return np.concatenate([outside - value[:, :-1], value[:, [self.market.max_inventory]] - outside], axis=1)

    def _usual_rates(self) -> Floats:
        return np.append(np.full(self.outside, self.exit_rate), self.entry_rate)


@dataclass(frozen=True, slots=True, kw_only=True)
class RiskAverseEntryExitGame(EntryExitGame):
    """The same for the solver when makers are risk averse: V and U are certainty equivalents."""

    def tangent(self, t: Floats, value: Floats, control: Floats, field: Floats) -> tuple[Floats, Floats]:
        """(rates, reward) of the tangent of the Hamiltonian."""
        return self.equations(t, value, control, field)[1:]


def solve_entry_exit(game: EntryExitGame, method: UpdateRule, rtol: float, atol: float) -> EntryExitEquilibrium:
    """Equilibrium of the game, converged or not as its certificate says; see `solve_mfg` for the parameters."""
    try:
        averse = game.market.risk_aversion > 0
        solved = RiskAverseEntryExitGame(**_parameters(game)) if averse else game
        found = solve_finite_state(solved, method, rtol, atol)
    except SolveError as error:
        raise SolveError(
            f"{error}; with initial_active {game.initial_active:.3g} a maker's fill rates are "
            f"{1.0 / game.initial_active:.3g} times the market's arrivals: if these are too fast, raise "
            "initial_active; where makers come and go fast, damp the fixed point more, as in Anderson(damping=0.1), or "
            "use NewtonKrylov()",
            residual=error.residual,
            tolerance=error.tolerance,
        ) from error
    count = game.blocks.sources.size
    quotes, logs = found.control[:, :count], found.control[:, count:]
    rates = game.rates(found.times, found.control, found.mean_field)
    active = np.sum(found.density[:, :-1], axis=1)
    makers = market_part(
        game.market,
        found.times,
        value=found.value[:, :-1],
        density=found.density[:, :-1] / active[:, None],
        quotes=quotes,
        rates=rates[:, :count],
        means=game.blocks.mean_quotes(found.density[:, :-1], quotes),
        certificate=found.certificate,
    )
    warn_of_edges([makers], ["market"])
    policy = EntryExitPolicy(makers.policy, logs[:, :-1], logs[:, -1], game.exit_rate, game.entry_rate)
    return EntryExitEquilibrium(
        game,
        found.times,
        makers,
        active,
        found.value[:, -1],
        rates[:, count:-1],
        rates[:, -1],
        policy,
        found.certificate,
    )


def _parameters(game: EntryExitGame) -> dict[str, Any]:
    return {field.name: getattr(game, field.name) for field in fields(game) if field.init}
