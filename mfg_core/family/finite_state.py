"""The finite-state family: what a continuous-time mean-field game on finitely many states must say about itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np

from mfg_core.family.time_grid import interpolate_rows

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from mfg_core.certificate import Certificate

    Floats = NDArray[np.float64]
    Indices = NDArray[np.intp]


@runtime_checkable
class FiniteStateGame(Protocol):
    """States 0..n-1, controlled transition rates, running and terminal rewards, a mean-field map.

    Transition j moves a player from state `sources[j]` to `targets[j]`. With a control u the player's value obeys

        -V_i' = max_u  reward_i(u, m) + sum over j with sources[j] = i of rate_j(u, m) (V_targets[j] - V_i),

    and the crowd moves with the transpose of the same generator. The mean field m(t) is a vector of `fields` numbers, a
    map of the crowd's density and control. Methods take nt times at once; arrays have time first:
    `t` (nt,), `value`, `density`, `reward` (nt, n), `control` (nt, controls), `rates` (nt, m), `field` (nt, fields).
    They must be smooth in time between kinks and must not keep or change their arguments.
    """

    @property
    def horizon(self) -> float:
        """T > 0."""
        ...

    @property
    def initial_density(self) -> Floats:
        """(n,) probability of each state at t = 0."""
        ...

    @property
    def terminal_value(self) -> Floats:
        """(n,) V at T."""
        ...

    @property
    def sources(self) -> Indices:
        """(m,) state that each transition leaves."""
        ...

    @property
    def targets(self) -> Indices:
        """(m,) state that each transition reaches."""
        ...

    @property
    def value_unit(self) -> float:
        """Size below which differences of V are measured absolutely: the tolerance of V is rtol (unit + |V|) + atol."""
        ...

    @property
    def field_unit(self) -> float:
        """The same for the mean field."""
        ...

    @property
    def first_field(self) -> Floats:
        """(fields,) a guess of the mean field to start from."""
        ...

    def control(self, t: Floats, value: Floats, field: Floats) -> Floats:
        """The control that attains the maximum, (nt, controls)."""
        ...

    def rates(self, t: Floats, control: Floats, field: Floats) -> Floats:
        """Rate of each transition under the control, (nt, m), not negative."""
        ...

    def reward(self, t: Floats, control: Floats, field: Floats) -> Floats:
        """Reward per unit of time in each state, payments at transitions times their rate included, (nt, n)."""
        ...

    def field(self, t: Floats, density: Floats, control: Floats) -> Floats:
        """The mean field that this crowd makes, (nt, fields)."""
        ...


@runtime_checkable
class RiskSensitiveGame(FiniteStateGame, Protocol):
    """A game in which V enters the Hamiltonian not only through rate times difference (utility of payments, say)."""

    def tangent(self, t: Floats, value: Floats, control: Floats, field: Floats) -> tuple[Floats, Floats]:
        """(rates (nt, m), reward (nt, n)) of the tangent of the Hamiltonian at V.

        With H_i(V) what -V_i' is under the control, the rates are its derivatives in V_targets - V_source, not
        negative, and the reward is what is left of H_i(V) after rate times difference. `rates` moves the crowd.
        """
        ...


@runtime_checkable
class JointGame(FiniteStateGame, Protocol):
    """A game that answers with its rates and rewards at once, and is then asked for nothing else: it saves time."""

    def equations(self, t: Floats, value: Floats, control: Floats, field: Floats) -> tuple[Floats, Floats, Floats]:
        """(rates, tangent rates, reward), the last two as `tangent`'s of a `RiskSensitiveGame`, else `rates`, `reward`.

        Where V enters the payments not at all, the first two may be one array.
        """
        ...


@runtime_checkable
class KinkedGame(FiniteStateGame, Protocol):
    """A game whose control is smooth in time only between switches (a bound met, a regime of the argmax entered)."""

    def switches(self, t: Floats, value: Floats, field: Floats) -> Floats:
        """(nt, q) smooth functions of time that change sign where the control is not smooth."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class FiniteStateEquilibrium:
    """Equilibrium of a finite-state game; row 0 is t = 0.

    Attributes
    ----------
    times : (nt+1,) float64
        Chosen by the error control, in pairs of equal steps.
    value, density : (nt+1, n) float64
        V, and the probability of each state; rows of the density sum to 1.
    control : (nt+1, controls) float64
    mean_field : (nt+1, fields) float64
    """

    game: FiniteStateGame
    times: Floats
    value: Floats
    density: Floats
    control: Floats
    mean_field: Floats
    certificate: Certificate

    def control_at(self, t: ArrayLike) -> Floats:
        """(nt, controls) the policy at times t: the best control for V and the field, both quadratic between nodes."""
        at = np.atleast_1d(np.asarray(t, dtype=np.float64))
        if not np.all((at >= self.times[0]) & (at <= self.times[-1])):
            raise ValueError(f"t must be in [{self.times[0]}, {self.times[-1]}]; was {t!r}")
        value, field = (interpolate_rows(self.times, rows, at) for rows in (self.value, self.mean_field))
        return self.game.control(at, value, field)
