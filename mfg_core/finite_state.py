"""The finite-state family: what a continuous-time mean-field game on finitely many states must say about itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Indices = NDArray[np.intp]


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
