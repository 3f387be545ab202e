"""The market-making game: makers on an inventory grid compete through the distance of their quotes to the crowd's."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from mfg_core.checks import require_count, require_finite, require_nonnegative, require_positive, require_real
from mfg_core.family.local_polynomial import interpolate_local_columns
from mfg_core.family.time_grid import interpolate_panels
from mfg_core.market.competition import Competition, OutsideOption, Share
from mfg_core.market.intensity_shapes import Exponential, check_shape

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from mfg_core.certificate import Certificate
    from mfg_core.market.intensity_shapes import IntensityShape

    Floats = NDArray[np.float64]

LARGEST_INVENTORY = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class MarketMakingGame:
    """Quoting around a mid price on the inventories -Q..Q, with intensities relative to the crowd's mean quotes.

    A maker quotes mid + delta_a and mid - delta_b; unit fills are Poisson with rates

        lambda_a = A_a exp(-k (delta_a - c abar_t)),    lambda_b = A_b exp(-k (delta_b - c bbar_t)),

    abar and bbar being the mean quotes of the makers who quote that side. With V(T, x) = -gamma x^2,

        -V' = sup lambda_a (delta_a + V(x-1) - V(x)) + sup lambda_b (delta_b + V(x+1) - V(x)) - eta x^2,

    over delta in [min_half_spread, max_half_spread]; no bid at Q, no ask at -Q (Avellaneda & Stoikov 2008;
    Guéant, Lehalle & Fernandez-Tapia 2013 for c = 0). With adverse selection xi, a fee f and risk aversion g a fill
    is worth (1 - exp(-g m))/g instead of m = delta + V(x-+1) - V(x), with m = delta - xi - f + V(x-+1) - V(x), and V is
    the certainty equivalent; at g = 0 it is m.

    Parameters
    ----------
    ask_arrival, bid_arrival : float
        A_a, A_b > 0, fills per unit of time at the crowd's quote (c = 1) or at the mid (c = 0).
    fill_decay : float
        k > 0, per unit of price.
    running_penalty, terminal_penalty : float
        eta >= 0 (price per inventory^2 and time) and gamma >= 0 (price per inventory^2).
    horizon : float
        T > 0.
    max_inventory : int
        Q, from 1 to 10,000.
    competition : float, OutsideOption or Share
        A number is c in [0, 1]: 1 quotes against the crowd, 0 against nobody. At c = 1 nothing but the crowd itself
        holds quotes back, and the side's flow may exceed A; under `Share` it is A, under `OutsideOption` it falls as
        the mean quote rises.
    min_half_spread, max_half_spread : float
        Bounds of both quotes; infinite by default.
    initial_mean, initial_std : float
        Law of the inventories at t = 0: Gaussian density at the integers, normalised on the grid; std 0 puts everybody
        at `initial_mean`, then an integer of the grid.
    adverse_selection : float
        xi, price per fill: how far the mid is expected to move against the maker when it is filled.
    maker_fee : float
        f, price per fill; negative for a rebate.
    risk_aversion : float
        g >= 0, per unit of price: the maker maximises the mean of -exp(-g wealth) (0: of wealth).
    intensity_shape : Exponential or another shape
        exp(-y) above, or another decreasing function of y = k (delta - c abar).
    """

    ask_arrival: float
    bid_arrival: float
    fill_decay: float
    running_penalty: float
    terminal_penalty: float
    horizon: float
    max_inventory: int
    competition: Competition = 1.0
    min_half_spread: float = -math.inf
    max_half_spread: float = math.inf
    initial_mean: float = 0.0
    initial_std: float = 0.0
    adverse_selection: float = 0.0
    maker_fee: float = 0.0
    risk_aversion: float = 0.0
    intensity_shape: IntensityShape = Exponential()  # noqa: RUF009

    def __post_init__(self) -> None:
        """Check every parameter and store it as a float (the grid size as an int)."""
        for name, check in (
            ("ask_arrival", require_positive),
            ("bid_arrival", require_positive),
            ("fill_decay", require_positive),
            ("running_penalty", require_nonnegative),
            ("terminal_penalty", require_nonnegative),
            ("horizon", require_positive),
            ("max_inventory", require_count),
            ("adverse_selection", require_finite),
            ("maker_fee", require_finite),
            ("risk_aversion", require_nonnegative),
            ("min_half_spread", require_real),
            ("max_half_spread", require_real),
            ("initial_mean", require_finite),
            ("initial_std", require_nonnegative),
        ):
            object.__setattr__(self, name, check(name, getattr(self, name)))
        if self.max_inventory > LARGEST_INVENTORY:
            shown = self.max_inventory if self.max_inventory < 10**18 else "beyond 1e18"
            raise ValueError(f"max_inventory must be at most {LARGEST_INVENTORY}; was {shown}")
        if isinstance(self.competition, OutsideOption):
            if self.competition.crowd_decay > self.fill_decay:
                raise ValueError(
                    f"crowd_decay must not be above fill_decay {self.fill_decay}; was {self.competition.crowd_decay}"
                )
        elif not isinstance(self.competition, Share):
            object.__setattr__(self, "competition", require_nonnegative("competition", self.competition))
            if self.competition > 1:
                raise ValueError(f"competition must be in [0, 1]; was {self.competition}")
        if not isinstance(self.intensity_shape, Exponential):
            check_shape(self.intensity_shape)
        if self.min_half_spread == math.inf or self.min_half_spread > self.max_half_spread:
            raise ValueError(
                f"min_half_spread must be below inf and not above max_half_spread {self.max_half_spread}; "
                f"was {self.min_half_spread}"
            )
        if self.max_half_spread == -math.inf:
            raise ValueError("max_half_spread must be above -inf; was -inf")
        if abs(self.initial_mean) > self.max_inventory:
            raise ValueError(
                f"initial_mean must be within max_inventory {self.max_inventory} either side of 0; "
                f"was {self.initial_mean}"
            )
        if self.initial_std == 0 and not self.initial_mean.is_integer():
            raise ValueError(f"initial_mean must be an integer when initial_std is 0; was {self.initial_mean}")

    @property
    def bounded(self) -> bool:
        """Whether a quote bound is finite."""
        return math.isfinite(self.min_half_spread) or math.isfinite(self.max_half_spread)

    @property
    def crowd_weight(self) -> float:
        """The weight c of the crowd's quote in the exponent; under `Share` 1, of the crowd's soft mean quote."""
        if isinstance(self.competition, OutsideOption):
            return self.competition.crowd_decay / self.fill_decay
        return 1.0 if isinstance(self.competition, Share) else self.competition

    @property
    def fill_cost(self) -> float:
        """Adverse selection and fee, price per fill."""
        return self.adverse_selection + self.maker_fee

    @property
    def margin(self) -> float:
        """Best half-spread when a fill leaves V as it is: log(1 + g/k)/g + xi + f, 1/k + xi + f at g = 0.

        The quote m maximises exp(-k m)(1 - exp(-g (m - xi - f)))/g.
        """
        ratio = self.risk_aversion / self.fill_decay
        risky = math.log1p(ratio) / ratio if ratio > 0 else 1.0
        return risky / self.fill_decay + self.fill_cost

    @property
    def log_hamiltonian_factor(self) -> float:
        """log of h, where A h exp(k (c abar + gap))/k is the best gain per unit of time on a side.

        h = (1 + g/k)^-(1 + k/g) exp(-k (xi + f)), exp(-1 - k (xi + f)) at g = 0: the gain (1 - (1 + g/k)^-1)/g of a
        fill at the best quote margin - gap, times exp(-k margin), times k. In W = exp(k V) the equation is linear with
        off-diagonals A h exp(k c abar) (Guéant, Lehalle & Fernandez-Tapia 2013, proposition 1).
        """
        ratio = self.risk_aversion / self.fill_decay
        return -self.fill_decay * self.margin - math.log1p(ratio)

    @property
    def states(self) -> Floats:
        """(2Q+1,) the inventories -Q..Q."""
        return inventories(self.max_inventory).copy()

    @property
    def initial_density(self) -> Floats:
        """(2Q+1,) probability of each inventory at t = 0."""
        return initial_law(self.max_inventory, self.initial_mean, self.initial_std).copy()


@lru_cache(maxsize=64)
def inventories(max_inventory: int) -> Floats:
    """(2Q+1,) -Q..Q, read-only."""
    states = np.arange(-max_inventory, max_inventory + 1, dtype=np.float64)
    states.flags.writeable = False
    return states


@lru_cache(maxsize=64)
def initial_law(max_inventory: int, mean: float, std: float) -> Floats:
    """(2Q+1,) Gaussian density at the inventories, normalised on the grid; all at `mean` when std is 0; read-only."""
    states = inventories(max_inventory)
    if std == 0:
        weights = np.asarray((states == mean).astype(np.float64))
    else:
        square = (states - mean) ** 2
        with np.errstate(over="ignore"):
            weights = np.exp(-0.5 * ((square - square.min()) / std) / std)
    law: Floats = weights / weights.sum()
    law.flags.writeable = False
    return law


@dataclass(frozen=True, slots=True, eq=False)
class MarketMakingPolicy:
    """Half-spreads by time and inventory.

    Attributes
    ----------
    times : (nt+1,) float64
        Pairs of equal steps: every second one is half-way between its neighbours.
    states : (nx,) float64
    ask, bid : (nt+1, nx) float64
        Half-spreads in units of price, nan where that side is not quoted (ask at -Q, bid at Q).
    min_half_spread, max_half_spread : float
        The game's bounds, which hold between the times too.
    """

    times: Floats
    states: Floats
    ask: Floats
    bid: Floats
    min_half_spread: float = -math.inf
    max_half_spread: float = math.inf

    def quotes(self, t: ArrayLike, inventory: ArrayLike) -> tuple[Floats, Floats]:
        """(bid, ask) half-spreads at time t and inventory x, broadcast; nan where that side is not quoted.

        In time the polynomial through six nodes, with bounds quadratic over each pair of steps and within them; linear
        in inventory between the integers.
        """
        at, x = np.broadcast_arrays(np.asarray(t, dtype=np.float64), np.asarray(inventory, dtype=np.float64))
        if not np.all((at >= self.times[0]) & (at <= self.times[-1])):
            raise ValueError(f"t must be in [{self.times[0]}, {self.times[-1]}]; was {t!r}")
        if not np.all(np.abs(x) <= self.states[-1]):
            raise ValueError(f"inventory must be in [{self.states[0]}, {self.states[-1]}]; was {inventory!r}")
        column = np.floor(x - self.states[0]).astype(np.intp)
        share = x - self.states[column]
        sides = []
        for side in (self.bid, self.ask):
            quote = self._at(side, at, column)
            above = self._at(side, at, np.minimum(column + 1, self.states.size - 1))
            sides.append(np.where(share == 0, quote, (1 - share) * quote + share * above))
        return sides[0], sides[1]

    def _at(self, side: Floats, t: Floats, column: NDArray[np.intp]) -> Floats:
        if math.isinf(self.min_half_spread) and math.isinf(self.max_half_spread):
            return interpolate_local_columns(self.times, side, t, column)
        return np.clip(interpolate_panels(self.times, side, t, column), self.min_half_spread, self.max_half_spread)


@dataclass(frozen=True, slots=True, eq=False)
class MarketMakingMeanField:
    """The crowd, each (nt+1,).

    Attributes
    ----------
    ask, bid : (nt+1,) float64
        Mean half-spreads of the makers who quote that side, under any form of competition.
    ask_fill_rate, bid_fill_rate : (nt+1,) float64
        Fills per maker and unit of time: the side's whole flow over the number of makers, to compare with A. With
        competition 1 it may be more than A; under `Share` it is A times the share of makers who quote the side.
    """

    ask: Floats
    bid: Floats
    ask_fill_rate: Floats
    bid_fill_rate: Floats


@dataclass(frozen=True, slots=True, eq=False)
class MarketMakingEquilibrium:
    """Equilibrium of a `MarketMakingGame`.

    Attributes
    ----------
    times : (nt+1,) float64
        Chosen by the error control, in pairs of equal steps.
    states : (nx,) float64
        Inventories -Q..Q.
    value : (nt+1, nx) float64
        V in units of price.
    density : (nt+1, nx) float64
        Probability of each inventory; rows sum to 1.
    """

    game: MarketMakingGame
    times: Floats
    states: Floats
    value: Floats
    density: Floats
    policy: MarketMakingPolicy
    mean_field: MarketMakingMeanField
    certificate: Certificate

    @property
    def full_spread(self) -> Floats:
        """(nt+1,) abar + bbar."""
        return self.mean_field.ask + self.mean_field.bid

    @property
    def net_skew(self) -> Floats:
        """(nt+1,) abar - bbar; zero in a symmetric game, and not a spread."""
        return self.mean_field.ask - self.mean_field.bid

    @property
    def inventory_mean(self) -> Floats:
        """(nt+1,) mean inventory."""
        return np.asarray(self.density @ self.states)

    @property
    def inventory_variance(self) -> Floats:
        """(nt+1,) variance of the inventory."""
        mean = self.inventory_mean
        return np.asarray(np.sum(self.density * (self.states - mean[:, None]) ** 2, axis=1))

    @property
    def marginal_cost(self) -> Floats:
        """(nt+1,) (V(t, 1) - V(t, -1))/2."""
        flat = self.game.max_inventory
        return np.asarray(0.5 * (self.value[:, flat + 1] - self.value[:, flat - 1]))

    @property
    def edge_mass(self) -> Floats:
        """(nt+1,) probability of the two ends of the grid."""
        return np.asarray(self.density[:, 0] + self.density[:, -1])

    def derisk_probability(self, eps: float) -> Floats:
        """(nt+1,) probability that |inventory| < eps."""
        return np.asarray(self.density[:, np.abs(self.states) < require_positive("eps", eps)].sum(axis=1))
