"""What an entry-and-exit game is solved into: quotes, rates of leaving and entering, and how many make the market."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mfg_core.family.time_grid import interpolate_panels

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from mfg_core.certificate import Certificate
    from mfg_core.market.entry_exit import EntryExitGame
    from mfg_core.market.market_making import MarketMakingEquilibrium, MarketMakingMeanField, MarketMakingPolicy

    Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class EntryExitPolicy:
    """Half-spreads of a maker in the market, and the rates of leaving and entering it.

    Attributes
    ----------
    quoting : MarketMakingPolicy
    log_exit : (nt+1, nx) float64
        beta (U - l x^2 - V), the log of the rate of leaving over `exit_rate`.
    log_entry : (nt+1,) float64
        beta (V(0) - U), the log of the rate of entering over `entry_rate`.
    usual_exit_rate, usual_entry_rate : float
        The game's `exit_rate` and `entry_rate`.
    """

    quoting: MarketMakingPolicy
    log_exit: Floats
    log_entry: Floats
    usual_exit_rate: float
    usual_entry_rate: float

    def quotes(self, t: ArrayLike, inventory: ArrayLike) -> tuple[Floats, Floats]:
        """(bid, ask) half-spreads at time t and inventory x, broadcast; nan where that side is not quoted."""
        return self.quoting.quotes(t, inventory)

    def exit_rate(self, t: ArrayLike, inventory: ArrayLike) -> Floats:
        """Rate of leaving at time t with an inventory on the grid, broadcast, per unit of time."""
        at, x = np.broadcast_arrays(self._checked(t), np.asarray(inventory, dtype=np.float64))
        if not np.all(np.isin(x, self.quoting.states)):
            last = self.quoting.states[-1]
            raise ValueError(f"inventory must be an integer from {-last:.0f} to {last:.0f}; was {inventory!r}")
        column = (x - self.quoting.states[0]).astype(np.intp)
        log = interpolate_panels(self.quoting.times, self.log_exit, at, column)
        return np.asarray(self.usual_exit_rate * np.exp(log))

    def entry_rate(self, t: ArrayLike) -> Floats:
        """Rate of entering at time t, per unit of time."""
        at = self._checked(t)
        log = interpolate_panels(self.quoting.times, self.log_entry[:, None], at, np.zeros(at.shape, dtype=np.intp))
        return np.asarray(self.usual_entry_rate * np.exp(log))

    def _checked(self, t: ArrayLike) -> Floats:
        at, times = np.asarray(t, dtype=np.float64), self.quoting.times
        if not np.all((at >= times[0]) & (at <= times[-1])):
            raise ValueError(f"t must be in [{times[0]}, {times[-1]}]; was {t!r}")
        return at


@dataclass(frozen=True, slots=True, eq=False)
class EntryExitEquilibrium:
    """Equilibrium of an `EntryExitGame`.

    Attributes
    ----------
    times : (nt+1,) float64
    makers : MarketMakingEquilibrium
        Those in the market: value, law of the inventory (rows sum to 1), quotes, fills per maker in the market (the
        arrivals of its `game` are over `active`); the certificate is that of the whole game.
    active : (nt+1,) float64
        N, the share of the population that is in the market.
    outside_value : (nt+1,) float64
        U, what being outside is worth, the chance to come back included.
    exit_hazard : (nt+1, nx) float64
        Rate at which a maker leaves, by inventory.
    entry_hazard : (nt+1,) float64
        Rate at which a player outside enters.
    policy : EntryExitPolicy
    certificate : Certificate
        The exploitability is averaged over the population; quotes and both rates are the policy.
    """

    game: EntryExitGame
    times: Floats
    makers: MarketMakingEquilibrium
    active: Floats
    outside_value: Floats
    exit_hazard: Floats
    entry_hazard: Floats
    policy: EntryExitPolicy
    certificate: Certificate

    @property
    def mean_field(self) -> MarketMakingMeanField:
        """Mean half-spreads over the makers in the market, and fills per maker in it."""
        return self.makers.mean_field

    @property
    def full_spread(self) -> Floats:
        """(nt+1,) abar + bbar."""
        return self.makers.full_spread

    @property
    def net_skew(self) -> Floats:
        """(nt+1,) abar - bbar; not a spread."""
        return self.makers.net_skew

    @property
    def exit_flow(self) -> Floats:
        """(nt+1,) share of the population that leaves, per unit of time."""
        return np.asarray(self.active * np.sum(self.makers.density * self.exit_hazard, axis=1))

    @property
    def entry_flow(self) -> Floats:
        """(nt+1,) share of the population that enters, per unit of time."""
        return np.asarray((1.0 - self.active) * self.entry_hazard)
