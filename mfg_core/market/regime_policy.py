"""What a regime-switching game is solved into: quotes and crowd by regime."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from mfg_core.certificate import Certificate
    from mfg_core.market.market_making import MarketMakingEquilibrium, MarketMakingPolicy
    from mfg_core.market.regimes import RegimeSwitchingGame

    Floats = NDArray[np.float64]


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
