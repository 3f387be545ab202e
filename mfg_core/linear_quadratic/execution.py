"""The execution game: everybody liquidates, and trading is dearer the more the crowd trades."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mfg_core.checks import require_count, require_finite, require_nonnegative, require_positive

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from mfg_core.certificate import Certificate

    Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutionGame:
    """Linear-quadratic liquidation with friction that grows with the crowd's mean rate.

    A trader with inventory x chooses the rate alpha, dx = alpha dt + sqrt(2 nu) dW, and minimises

        E  int_0^T  1/2 eta(m_t) alpha^2 + phi x^2 dt  +  gamma_T x_T^2,      eta(m) = eta0 + eta1 |mean alpha|.

    The value is u = a(t) x^2 + c(t) with a' = 2 a^2/eta - phi, c' = -2 nu a, the policy alpha = -2 a x/eta, the mean
    mu' = -2 a mu/eta, hence eta = (eta0 + sqrt(eta0^2 + 8 eta1 a |mu|))/2 (Almgren & Chriss 2001 for one trader;
    Cardaliaguet & Lehalle 2018 for the crowd). The equilibrium is unique: backwards from the close, |mu| and the
    costate 2 a |mu| both grow faster the larger they are, so |mu(0)| is a strictly increasing function of |mu(T)|.

    Parameters
    ----------
    temporary_impact : float
        eta0 > 0, cost units per (inventory per time)^2 times time.
    crowd_impact : float
        eta1 >= 0, what one unit of the crowd's mean rate adds to it.
    running_penalty, terminal_penalty : float
        phi >= 0 (per inventory^2 and time) and gamma_T >= 0 (per inventory^2).
    inventory_noise : float
        nu >= 0, half the variance of the inventory noise per unit of time.
    initial_mean, initial_std : float
        The Gaussian law of the inventories at t = 0; std 0 puts everybody at the mean.
    horizon : float
        T > 0.
    """

    temporary_impact: float
    crowd_impact: float
    running_penalty: float
    terminal_penalty: float
    inventory_noise: float = 0.0
    initial_mean: float
    initial_std: float = 0.0
    horizon: float

    def __post_init__(self) -> None:
        """Check every parameter and store it as a float."""
        for name, check in (
            ("temporary_impact", require_positive),
            ("crowd_impact", require_nonnegative),
            ("running_penalty", require_nonnegative),
            ("terminal_penalty", require_nonnegative),
            ("inventory_noise", require_nonnegative),
            ("initial_mean", require_finite),
            ("initial_std", require_nonnegative),
            ("horizon", require_positive),
        ):
            object.__setattr__(self, name, check(name, getattr(self, name)))


@dataclass(frozen=True, slots=True)
class Shooting:
    """Backward shooting on the crowd's terminal mean: one scalar root, for the execution game.

    Parameters
    ----------
    max_steps : int
        Longest time grid before the solve is refused.
    """

    max_steps: int = 40_000

    def __post_init__(self) -> None:
        """Check the parameters."""
        require_count("max_steps", self.max_steps, 64)


@dataclass(frozen=True, slots=True, eq=False)
class ExecutionPolicy:
    """Linear feedback alpha = -gain(t) x with gain = 2 a/eta, known on a time grid and between its points.

    Attributes
    ----------
    times, riccati, friction, friction_slope, log_remaining : (nt+1,) float64
        Time, a, eta and d eta/dt; log of the share of an inventory (without noise) that is left, 0 at t = 0.
    running_penalty : float
        phi, needed to step between the grid's points.

    Notes
    -----
    Between two times the Riccati flow is stepped back from the later one with eta as a cubic Hermite polynomial, so
    values there have the grid's own order and a friction that does not vary costs no error at all.
    """

    times: Floats
    riccati: Floats
    friction: Floats
    friction_slope: Floats
    log_remaining: Floats
    running_penalty: float

    def gain(self, t: ArrayLike) -> Floats:
        """2 a/eta at the times t, with the shape of t; one over time."""
        riccati, _, friction = self.interpolate(t)
        return 2.0 * riccati / friction

    def rate(self, t: ArrayLike, inventory: ArrayLike) -> Floats:
        """Trading rate alpha at time t with inventory x (broadcast); negative sells."""
        return -self.gain(t) * np.asarray(inventory, dtype=np.float64)

    def remaining(self, start: ArrayLike, end: ArrayLike) -> Floats:
        """Share of an inventory held at `start` that is still held at `end`: exp(-int 2 a/eta dt)."""
        begin, finish = np.broadcast_arrays(np.asarray(start, dtype=np.float64), np.asarray(end, dtype=np.float64))
        if np.any(begin > finish):
            raise ValueError(f"end must not be before start; was {finish} for start {begin}")
        return np.asarray(np.exp(self.interpolate(finish)[1] - self.interpolate(begin)[1]))

    def fractions(self, sessions: int) -> Floats:
        """(sessions,) share of what is left that is traded in each of `sessions` equal parts of the horizon."""
        grid = np.linspace(self.times[0], self.times[-1], require_count("sessions", sessions) + 1)
        log_remaining = self.interpolate(grid)[1]
        return np.asarray(-np.expm1(np.diff(log_remaining)))

    def interpolate(self, t: ArrayLike) -> tuple[Floats, Floats, Floats]:
        """(a, log share remaining, eta) at the times t in [0, T]."""
        at = np.asarray(t, dtype=np.float64)
        if not np.all((at >= self.times[0]) & (at <= self.times[-1])):
            raise ValueError(f"t must be in [{self.times[0]}, {self.times[-1]}]; was {t!r}")
        right = np.clip(np.searchsorted(self.times, at, side="left"), 1, self.times.size - 1)
        h = self.times[right] - at
        edge, middle, here = (self._friction(right, at + share * h) for share in (1.0, 0.5, 0.0))
        riccati, growth = step_back(self.riccati[right], h, 1.0 / here, 1.0 / middle, 1.0 / edge, self.running_penalty)
        return riccati, self.log_remaining[right] + growth, here

    def _friction(self, right: NDArray[np.intp], t: Floats) -> Floats:
        width = self.times[right] - self.times[right - 1]
        s = (t - self.times[right - 1]) / width
        left_value, right_value = self.friction[right - 1], self.friction[right]
        left_slope, right_slope = width * self.friction_slope[right - 1], width * self.friction_slope[right]
        rise = right_value - left_value
        curve = s * (1 - s) * ((1 - s) * (left_slope - rise) + s * (rise - right_slope))
        return np.asarray(left_value + s * rise + curve)


@dataclass(frozen=True, slots=True, eq=False)
class ExecutionMeanField:
    """The crowd, on the equilibrium's times: mean inventory, mean rate and the friction they make, each (nt+1,)."""

    inventory: Floats
    rate: Floats
    temporary_impact: Floats


@dataclass(frozen=True, slots=True, eq=False)
class ExecutionEquilibrium:
    """Equilibrium of an `ExecutionGame`.

    Attributes
    ----------
    times : (nt+1,) float64
        Not equally spaced: chosen by the error control, from 0 to the horizon.
    states : (nx,) float64
        Inventories at which `value` and `density` are given, equally spaced.
    value : (nt+1, nx) float64
        Expected cost to go u(t, x) = a x^2 + b x + c.
    density : (nt+1, nx) float64
        Mean of the Gaussian law over the cell around each state, per unit of inventory; the end cells hold the
        tails, so `density.sum(axis=1) * cell` is 1.
    value_coefficients : (nt+1, 3) float64
        a, b, c.
    inventory_variance : (nt+1,) float64
    """

    game: Any
    times: Floats
    states: Floats
    value: Floats
    density: Floats
    value_coefficients: Floats
    inventory_variance: Floats
    policy: ExecutionPolicy
    mean_field: ExecutionMeanField
    certificate: Certificate


def step_back(
    riccati: Floats, h: Floats, k_left: Floats, k_middle: Floats, k_right: Floats, phi: float
) -> tuple[Floats, Floats]:
    """(a, growth of log mu) a time h earlier for 1/eta given at the step's ends and middle; arrays of one shape.

    The plain twin of `riccati.step_given`.
    """
    q = phi * h
    middle, first = _flow(riccati, h / 12.0 * (3.0 * k_right + 4.0 * k_middle - k_left), q)
    end, second = _flow(middle, h / 12.0 * (3.0 * k_left + 4.0 * k_middle - k_right), q)
    return end, first + second


def _flow(a: Floats, s: Floats, q: Floats) -> tuple[Floats, Floats]:
    """exp([[0, s], [q, 0]]) acted on (mu, 2 a mu), as (a, growth of log mu); s and q not negative."""
    z = np.sqrt(np.maximum(s * q, 0.0))
    small = z < 1e-4
    safe = np.where(small, 1.0, z)
    ratio = np.where(small, 1.0 - z * z / 3.0, np.tanh(safe) / safe)
    log_cosh = np.where(small, 0.5 * z * z, z + np.log1p(np.exp(-2.0 * z)) - np.log(2.0))
    grown = 2.0 * a * s * ratio
    return np.asarray((0.5 * q * ratio + a) / (1.0 + grown)), np.asarray(log_cosh + np.log1p(grown))
