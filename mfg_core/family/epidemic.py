"""The epidemic game: everybody chooses how much to meet others while an infection spreads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mfg_core.checks import require_positive

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Indices = NDArray[np.intp]


@dataclass(frozen=True, slots=True, kw_only=True)
class EpidemicGame:
    """Susceptible, infected, recovered (states 0, 1, 2), with a contact rate b chosen by the susceptible.

    With I(t) the share of the infected, a susceptible player is infected at rate b I and an infected one recovers.
    Avoiding contacts costs c(b) = b0/b - 1 per unit of time and an infection costs r_I. The family maximises, so its
    value V is minus the expected cost; with V(T) = 0, and V = 0 once infected,

        -V' = max over 0 < b <= b0 of  -c(b) - b I (r_I + V),    b* = min(b0, sqrt(b0/(I (r_I + V))))

    for the susceptible (Elie, Hubert & Turinici 2020). The mean field is log I.

    Parameters
    ----------
    contact_rate : float
        b0 > 0, per unit of time, the contacts of somebody who does not care.
    recovery_rate : float
        Per unit of time, > 0.
    infection_cost : float
        r_I > 0, in the units of c times time.
    initial_infected : float
        I(0), in (0, 1); nobody has recovered yet.
    horizon : float
        T > 0.
    """

    contact_rate: float
    recovery_rate: float
    infection_cost: float
    initial_infected: float
    horizon: float

    def __post_init__(self) -> None:
        """Check every parameter."""
        for name in ("contact_rate", "recovery_rate", "infection_cost", "initial_infected", "horizon"):
            object.__setattr__(self, name, require_positive(name, getattr(self, name)))
        if self.initial_infected >= 1:
            raise ValueError(f"initial_infected must be below 1; was {self.initial_infected}")

    @property
    def initial_density(self) -> Floats:
        """(3,) shares of susceptible, infected and recovered at t = 0."""
        return np.array([1.0 - self.initial_infected, self.initial_infected, 0.0])

    @property
    def terminal_value(self) -> Floats:
        """(3,) zeros."""
        return np.zeros(3)

    @property
    def sources(self) -> Indices:
        """(2,) susceptible, infected."""
        return np.array([0, 1], dtype=np.intp)

    @property
    def targets(self) -> Indices:
        """(2,) infected, recovered."""
        return np.array([1, 2], dtype=np.intp)

    @property
    def value_unit(self) -> float:
        """1, the unit of c."""
        return 1.0

    @property
    def field_unit(self) -> float:
        """1, as the field is a logarithm."""
        return 1.0

    @property
    def first_field(self) -> Floats:
        """(1,) log I(0)."""
        return np.log([self.initial_infected])

    def control(self, t: Floats, value: Floats, field: Floats) -> Floats:
        """(nt, 1) best contact rate."""
        return np.sqrt(self.contact_rate / np.maximum(self._danger(value, field), 1.0 / self.contact_rate))

    def rates(self, t: Floats, control: Floats, field: Floats) -> Floats:
        """(nt, 2) infection at rate b I, and recovery."""
        return np.concatenate([control * np.exp(field), np.full_like(control, self.recovery_rate)], axis=1)

    def reward(self, t: Floats, control: Floats, field: Floats) -> Floats:
        """(nt, 3) of the susceptible -c(b) - b I r_I; the others have none."""
        out = np.zeros((control.shape[0], 3))
        out[:, :1] = 1.0 - self.contact_rate / control - control * np.exp(field) * self.infection_cost
        return out

    def field(self, t: Floats, density: Floats, control: Floats) -> Floats:
        """(nt, 1) log I."""
        return np.log(density[:, 1:2])

    def switches(self, t: Floats, value: Floats, field: Floats) -> Floats:
        """(nt, 1) positive where it pays to avoid contacts."""
        return np.log(self.contact_rate * np.maximum(self._danger(value, field), 1e-300))

    def _danger(self, value: Floats, field: Floats) -> Floats:
        """(nt, 1) I (r_I + V), what one contact costs on average."""
        return np.asarray(np.exp(field) * (self.infection_cost + value[:, :1]))
