"""The market-making game under regimes (calm, stressed, ...) that switch for everybody at once."""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import field as stored
from typing import TYPE_CHECKING

import numpy as np

from mfg_core.finite_solver import solve_finite_state
from mfg_core.market_making import MarketMakingEquilibrium, MarketMakingGame, MarketMakingPolicy
from mfg_core.quoting import Book, flat_quote, market_part, require_markets, warn_of_edges, write_book

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from mfg_core.certificate import Certificate
    from mfg_core.fixed_point import UpdateRule

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
        One per regime, equal in `horizon`, `max_inventory`, `initial_mean` and `initial_std`.
    switching_rates : (S, S) array-like
        q, per unit of time: off-diagonal entries not negative, rows sum to 0.
    initial_regime : sequence of float
        Probability of each regime at t = 0, independent of the inventories. A regime that cannot have been reached by t
        has the mean over all makers as its reference.
    """

    regimes: tuple[MarketMakingGame, ...]
    switching_rates: tuple[tuple[float, ...], ...]
    initial_regime: tuple[float, ...]
    book: Book = stored(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Check the parameters."""
        same = ("horizon", "max_inventory", "initial_mean", "initial_std")
        regimes = require_markets("regimes", self.regimes, same)
        rates = _require_generator(self.switching_rates, len(regimes))
        initial = _require_probabilities(self.initial_regime, len(regimes))
        object.__setattr__(self, "regimes", regimes)
        object.__setattr__(self, "switching_rates", tuple(tuple(row) for row in rates.tolist()))
        object.__setattr__(self, "initial_regime", tuple(initial.tolist()))
        object.__setattr__(self, "book", write_book(regimes, range(len(regimes))))

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
        return np.concatenate([-regime.terminal_penalty * self.states**2 for regime in self.regimes])

    @property
    def sources(self) -> Indices:
        """(m,) the states that quote an ask, those that quote a bid, then those that switch regime."""
        return np.concatenate([self.book.sources, self._switches()[0]])

    @property
    def targets(self) -> Indices:
        """(m,) where fills and switches lead."""
        return np.concatenate([self.book.targets, self._switches()[1]])

    @property
    def value_unit(self) -> float:
        """The smallest 1/k_s."""
        return min(1.0 / regime.fill_decay for regime in self.regimes)

    @property
    def field_unit(self) -> float:
        """The smallest 1/k_s."""
        return self.value_unit

    @property
    def first_field(self) -> Floats:
        """(2S,) each regime's best quote where inventory costs nothing."""
        return np.tile([flat_quote(regime) for regime in self.regimes], 2)

    def control(self, t: Floats, value: Floats, field: Floats) -> Floats:
        """(nt, quotes) half-spreads."""
        return self.book.best_quotes(value)

    def rates(self, t: Floats, control: Floats, field: Floats) -> Floats:
        """(nt, m) fill rates, then switching rates."""
        switching = np.tile(self._switches()[2], (control.shape[0], 1))
        return np.concatenate([self.book.fill_rates(control, field), switching], axis=1)

    def reward(self, t: Floats, control: Floats, field: Floats) -> Floats:
        """(nt, S nx) half-spreads earned less eta_s x^2."""
        costs = np.concatenate([regime.running_penalty * self.states**2 for regime in self.regimes])
        earned = self.book.income(control, self.book.fill_rates(control, field), costs.size)
        return np.asarray(earned - costs)

    def field(self, t: Floats, density: Floats, control: Floats) -> Floats:
        """(nt, 2S) what the quotes compete with given the regime: `mean_quotes`, under `Share` the soft means."""
        return self.book.references(self._given_regime(density), control)

    def switches(self, t: Floats, value: Floats, field: Floats) -> Floats:
        """(nt, q) what changes sign where a quote reaches a bound."""
        return self.book.bound_distances(value)

    def conditional_law(self, density: Floats) -> Floats:
        """(nt, S, nx) law of the inventory given the regime; a regime of probability 0 has that of all makers."""
        joint = density.reshape(density.shape[0], len(self.regimes), -1)
        held = joint.sum(axis=2, keepdims=True)
        return np.where(held > 0, joint, joint.sum(axis=1, keepdims=True)) / np.where(held > 0, held, 1.0)

    def mean_quotes(self, density: Floats, control: Floats) -> Floats:
        """(nt, 2S) mean half-spreads given the regime: the asks, then the bids."""
        return self.book.mean_quotes(self._given_regime(density), control)

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


@dataclass(frozen=True, slots=True, eq=False)
class RegimePolicy:
    """Half-spreads by time, inventory and regime; `regimes[s]` is the policy of regime s."""

    regimes: tuple[MarketMakingPolicy, ...]

    def quotes(self, t: ArrayLike, inventory: ArrayLike, regime: ArrayLike) -> tuple[Floats, Floats]:
        """(bid, ask) half-spreads, broadcast; nan where that side is not quoted."""
        now = np.asarray(regime)
        if now.dtype.kind not in "iu" or not np.all((now >= 0) & (now < len(self.regimes))):
            raise ValueError(f"regime must be an integer from 0 to {len(self.regimes) - 1}; was {regime!r}")
        at, x, now = np.broadcast_arrays(np.asarray(t, dtype=np.float64), np.asarray(inventory, dtype=np.float64), now)
        bid, ask = np.empty(now.shape), np.empty(now.shape)
        for s, policy in enumerate(self.regimes):
            here = now == s
            bid[here], ask[here] = policy.quotes(at[here], x[here])
        return bid, ask


@dataclass(frozen=True, slots=True, eq=False)
class RegimeMeanField:
    """The crowd given the regime, each (nt+1, S): mean half-spreads, fills per maker and unit of time."""

    ask: Floats
    bid: Floats
    ask_fill_rate: Floats
    bid_fill_rate: Floats


@dataclass(frozen=True, slots=True, eq=False)
class RegimeSwitchingEquilibrium:
    """Equilibrium of a `RegimeSwitchingGame`.

    Attributes
    ----------
    times : (nt+1,) float64
    states : (nx,) float64
        Inventories -Q..Q.
    regimes : tuple of MarketMakingEquilibrium
        Given the regime: value, law of the inventory (rows sum to 1), policy, mean quotes; the certificate is that of
        the whole game.
    regime_probability : (nt+1, S) float64
    policy : RegimePolicy
    mean_field : RegimeMeanField
    certificate : Certificate
    """

    game: RegimeSwitchingGame
    times: Floats
    states: Floats
    regimes: tuple[MarketMakingEquilibrium, ...]
    regime_probability: Floats
    policy: RegimePolicy
    mean_field: RegimeMeanField
    certificate: Certificate

    @property
    def full_spread(self) -> Floats:
        """(nt+1, S) abar_s + bbar_s."""
        return self.mean_field.ask + self.mean_field.bid

    @property
    def net_skew(self) -> Floats:
        """(nt+1, S) abar_s - bbar_s; not a spread."""
        return self.mean_field.ask - self.mean_field.bid

    @property
    def inventory_variance(self) -> Floats:
        """(nt+1, S) variance of the inventory given the regime."""
        return np.stack([regime.inventory_variance for regime in self.regimes], axis=1)


def solve_regime_switching(
    game: RegimeSwitchingGame, method: UpdateRule, rtol: float, atol: float
) -> RegimeSwitchingEquilibrium:
    """Equilibrium of the game, converged or not as its certificate says; see `solve_mfg` for the parameters."""
    found = solve_finite_state(game, method, rtol, atol)
    count, nodes = len(game.regimes), found.times.size
    fills = game.book.fill_rates(found.control, found.mean_field).reshape(nodes, 2, count, -1)
    quotes = found.control.reshape(nodes, 2, count, -1)
    means = game.mean_quotes(found.density, found.control)
    means = means.reshape(nodes, 2, count)
    value, law = found.value.reshape(nodes, count, -1), game.conditional_law(found.density)
    parts = tuple(
        market_part(
            regime,
            found.times,
            value=value[:, s],
            density=law[:, s],
            quotes=(quotes[:, 0, s], quotes[:, 1, s]),
            means=(means[:, 0, s], means[:, 1, s]),
            rates=(fills[:, 0, s], fills[:, 1, s]),
            certificate=found.certificate,
        )
        for s, regime in enumerate(game.regimes)
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
        RegimeMeanField(means[:, 0], means[:, 1], flows[0], flows[1]),
        found.certificate,
    )


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
