"""The one cost object: the execution game is made from it, and the simulator charges it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    from mfg_core.linear_quadratic.execution import ExecutionGame

FloatN = NDArray[np.float64]
"""One entry per instrument, float64."""


@dataclass(frozen=True, slots=True)
class FillCost:
    """Money paid for fills, by cause; each array has the broadcast shape of the fills, entries >= 0."""

    half_spread: NDArray[np.float64]
    impact: NDArray[np.float64]
    fees: NDArray[np.float64]

    @property
    def total(self) -> NDArray[np.float64]:
        """Half-spread, impact and fees together."""
        return np.asarray(self.half_spread + self.impact + self.fees)


@dataclass(frozen=True, slots=True)
class TradingCosts:
    """What trading costs, per instrument, as calibrated on one training window.

    A fill of q shares at price p in one session costs

        p |q| (half_spread + fee)  +  1/2 eta(m) sigma p q^2 / V,     eta(m) = temporary_impact + crowd_impact |m|,

    with m the crowd's mean rate in daily volumes per session: spread and fees are linear, impact is the linear
    temporary impact of Almgren & Chriss (2001) in the normalisation of Almgren, Thum, Hauptmann & Li (2005)
    (relative price move in daily volatilities, size in daily volumes), and the crowd term makes it dearer to
    trade while everybody trades.

    Attributes
    ----------
    half_spread : (N,) float64
        Half the bid-ask spread as a fraction of the price, in [0, 1).
    volatility : (N,) float64
        Sigma, standard deviation of the return over one session (a fraction, per sqrt(session)), > 0.
    daily_volume : (N,) float64
        V, shares traded in a usual session, > 0.
    temporary_impact, crowd_impact : float
        eta_0 > 0 and eta_1 >= 0, numbers without unit, the same for every instrument.
    fee : float
        Exchange and clearing fees as a fraction of the traded value, in [0, 1).

    Notes
    -----
    The arrays are read-only copies. `execution_game` holds the table of the game's units.
    """

    half_spread: FloatN
    volatility: FloatN
    daily_volume: FloatN
    temporary_impact: float
    crowd_impact: float
    fee: float = 0.0

    def __post_init__(self) -> None:
        """Check and freeze the arrays."""
        for name, rule in (
            ("half_spread", "finite and in [0, 1)"),
            ("volatility", "finite and positive"),
            ("daily_volume", "finite and positive"),
        ):
            values = np.array(getattr(self, name), dtype=np.float64)
            if values.ndim != 1:
                raise ValueError(
                    f"{name} must be one-dimensional, one entry per instrument; was of shape {values.shape}"
                )
            good = (values >= 0) & (values < 1) if name == "half_spread" else (values > 0) & (values < np.inf)
            if not good.all():
                worst = int(np.argmin(good))
                raise ValueError(
                    f"{name} must be {rule} for every instrument; was {values[worst]} at instrument {worst}"
                )
            values.flags.writeable = False
            object.__setattr__(self, name, values)
        sizes = (self.half_spread.size, self.volatility.size, self.daily_volume.size)
        if len(set(sizes)) != 1:
            raise ValueError(f"half_spread, volatility and daily_volume must have one length; were {sizes}")
        if not 0 < self.temporary_impact < np.inf:
            raise ValueError(f"temporary_impact must be finite and positive; was {self.temporary_impact}")
        if not 0 <= self.crowd_impact < np.inf:
            raise ValueError(f"crowd_impact must be finite and not negative; was {self.crowd_impact}")
        if not 0 <= self.fee < 1:
            raise ValueError(f"fee must be in [0, 1); was {self.fee}")

    def impact(self, crowd_rate: ArrayLike = 0.0) -> NDArray[np.float64]:
        """eta(m) = temporary_impact + crowd_impact |crowd_rate|, shaped like `crowd_rate` (daily volumes/session)."""
        return np.asarray(self.temporary_impact + self.crowd_impact * np.abs(np.asarray(crowd_rate, dtype=np.float64)))

    def fill_cost(
        self, quantity: ArrayLike, price: ArrayLike, crowd_rate: ArrayLike = 0.0, *, sessions: float = 1.0
    ) -> FillCost:
        """Money that filling `quantity` shares at `price` costs, split by cause.

        Parameters
        ----------
        quantity : (..., N) float64
            Shares, signed; the sign does not change the cost.
        price : (..., N) float64
            Money per share, positive and finite wherever `quantity` is not zero (elsewhere it is not read).
        crowd_rate : float or (..., N) float64
            The crowd's mean rate, daily volumes per session, signed or not.
        sessions : float
            How long the fill took, in sessions; 1 in the daily simulator. The impact of a given quantity is
            inversely proportional to it.

        Raises
        ------
        ValueError
            When a quantity is not finite, a needed price is not positive and finite, or `sessions` is not positive.
        """
        if not 0 < sessions < np.inf:
            raise ValueError(f"sessions must be finite and positive; was {sessions}")
        shares = np.abs(np.asarray(quantity, dtype=np.float64))
        if not np.isfinite(shares).all():
            raise ValueError("quantity must be finite in every entry; a share that does not trade has quantity 0")
        shares, prices = np.broadcast_arrays(shares, np.asarray(price, dtype=np.float64))
        if not ((shares == 0) | ((prices > 0) & (prices < np.inf))).all():
            raise ValueError("price must be finite and positive wherever quantity is not zero")
        value = np.where(shares == 0, 0.0, prices) * shares
        eta = self.impact(crowd_rate)
        return FillCost(
            half_spread=value * self.half_spread,
            impact=0.5 * eta * self.volatility * value * shares / (self.daily_volume * sessions),
            fees=value * self.fee,
        )

    def after_split(self, share_factor: ArrayLike) -> TradingCosts:
        """The same costs after `share_factor` (N,) new shares replaced each old one: only the daily volume rescales."""
        return replace(self, daily_volume=self.daily_volume * np.asarray(share_factor, dtype=np.float64))

    def in_daily_volumes(self, quantity: ArrayLike) -> NDArray[np.float64]:
        """Shares (..., N) as the game's inventory, quantity / V."""
        return np.asarray(np.asarray(quantity, dtype=np.float64) / self.daily_volume)

    def in_shares(self, inventory: ArrayLike) -> NDArray[np.float64]:
        """The game's inventory (..., N) as shares, inventory * V."""
        return np.asarray(np.asarray(inventory, dtype=np.float64) * self.daily_volume)

    def money_unit(self, price: ArrayLike) -> NDArray[np.float64]:
        """Money per unit of the game's cost at `price` (..., N): sigma p V."""
        return np.asarray(self.volatility * np.asarray(price, dtype=np.float64) * self.daily_volume)

    def execution_game(
        self,
        *,
        horizon: float,
        urgency: float,
        terminal_penalty: float,
        initial_mean: float,
        initial_std: float = 0.0,
        inventory_noise: float = 0.0,
    ) -> ExecutionGame:
        """The execution game whose impact cost is the one that `fill_cost` charges.

        =====================  =================================  =================================================
        quantity               game                               market
        =====================  =================================  =================================================
        time                   t, sessions                        sessions
        inventory              x, daily volumes                   x V shares
        rate                   alpha, daily volumes per session   alpha V shares per session
        money                  1                                  sigma p V (one volatility on one daily volume)
        friction               1/2 eta alpha^2 per session        1/2 eta sigma p q^2 / V with q = alpha V in a session
        crowd                  |mean alpha|                       crowd_rate, daily volumes per session
        urgency                phi x^2 per session                phi sigma p Q^2 / V per session of holding Q shares
        terminal penalty       gamma x_T^2                        gamma sigma p Q_T^2 / V for Q_T shares left
        =====================  =================================  =================================================

        In these units every instrument has the same eta, so one game serves all. Spread and fees are proportional
        to the traded value: the same for every schedule that only sells (or only buys), so the game leaves them out.

        Parameters
        ----------
        horizon : float
            Sessions in which to trade.
        urgency : float
            phi; see `urgency_from_risk_aversion`.
        terminal_penalty : float
            gamma_T.
        initial_mean, initial_std : float
            The crowd's parent orders, daily volumes: mean and standard deviation (the policy does not depend on the
            latter).
        inventory_noise : float
            nu, noise of the inventories, daily volumes squared per session.
        """
        from mfg_core.linear_quadratic.execution import ExecutionGame

        return ExecutionGame(
            temporary_impact=self.temporary_impact,
            crowd_impact=self.crowd_impact,
            running_penalty=urgency,
            terminal_penalty=terminal_penalty,
            inventory_noise=inventory_noise,
            initial_mean=initial_mean,
            initial_std=initial_std,
            horizon=horizon,
        )


def urgency_from_risk_aversion(risk_aversion: float, volatility: float) -> float:
    """phi of the execution game, 1/2 risk_aversion volatility, in the game's units.

    A trader with constant absolute risk aversion g (per unit of money) who holds Q = x V shares for a session
    charges itself 1/2 g (sigma p Q)^2. In units of money sigma p V that is 1/2 (g p V) sigma x^2, so
    phi = 1/2 A sigma with A = g p V.

    Parameters
    ----------
    risk_aversion : float
        A, without unit: the absolute risk aversion times the money traded in a usual session, >= 0.
    volatility : float
        sigma, standard deviation of the return over one session, > 0 (for one game that serves several
        instruments: their median).
    """
    if not 0 <= risk_aversion < np.inf:
        raise ValueError(f"risk_aversion must be finite and not negative; was {risk_aversion}")
    if not 0 < volatility < np.inf:
        raise ValueError(f"volatility must be finite and positive; was {volatility}")
    return 0.5 * risk_aversion * volatility
