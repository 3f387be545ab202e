"""The limits of one account, session by session: their state, and what they let a decision become."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backtests.daily.measures import Measures
from risk.limits import Action, Breach, LimitSet, apply_actions, evaluate, initial_state

Floats = NDArray[np.float64]

HISTORICAL = ("drawdown", "day_loss")
"""Measures of what has happened: no order can bring them down."""


class Gate:
    """Between what a pod wants and its parent orders.

    A reducing pod may only make positions smaller, with one exception: when every limit that blocks it measures
    positions (VaR, concentration, gross, ...) and the wanted portfolio as a whole would be below all their hard
    levels, the orders do not increase the risk that is limited, and they pass. Without it a portfolio that was
    half built when it tripped a concentration limit could never be completed.
    """

    def __init__(self, limits: LimitSet | None, capital: float) -> None:
        """Start ACTIVE with the high-water mark at `capital`."""
        self._limits = limits
        self._state = None if limits is None else initial_state(limits, capital)
        self.restores = False
        self.acts = False

    @property
    def status(self) -> str:
        """ACTIVE, REDUCING, HALVED or FLAT."""
        return "ACTIVE" if self._state is None else str(self._state.status)

    def close(
        self, session: Any, value: float, measures: Measures, passive: Callable[[], Measures], positions: Floats
    ) -> tuple[Breach, ...]:
        """Evaluate the limits at a close; afterwards `acts` and `restores` say what is new.

        `passive` gives the measures without the session's own fills; it is called only when a breach has to be told as
        active or passive, which is rare.
        `acts`: the pod's pending orders must pass `allow` again. `restores`: what the pod last wanted must, because
        another part of it is allowed now than before.
        """
        if self._limits is None or self._state is None:
            return ()
        before = self._state
        judge = partial(
            evaluate, self._limits, measures.for_limits(), before, net_asset_value=value, session=session,
            positions=positions,
        )  # fmt: skip
        after, breaches = judge()
        if breaches:
            after, breaches = judge(passive_measures=passive().for_limits())
        self._state = after
        self.restores = after.capital_fraction != before.capital_fraction or (before.reducing and not after.reducing)
        self.acts = self.restores or after.reducing
        return breaches

    def undo_halving(self, positions: Floats) -> Floats:
        """What the pod wanted (N,) when half of it is `positions`: `allow` takes a wish, not what it made of one."""
        if self._state is None or self._state.capital_fraction == 0.0:
            return positions
        return np.asarray(positions / self._state.capital_fraction)

    def allow(self, held: Floats, wanted: Floats, resulting: Callable[[Floats], Measures]) -> Floats:
        """The part of `wanted` (N,) shares that the limits allow, given the `held` ones."""
        if self._state is None:
            return wanted
        allowed = apply_actions(self._state, held, wanted)
        if not self._state.reducing or self._state.capital_fraction == 0.0 or np.array_equal(allowed, wanted):
            return allowed
        whole = wanted * self._state.capital_fraction
        return whole if self._cures(resulting(whole).for_limits()) else allowed

    def _cures(self, measures: dict[str, float]) -> bool:
        """Whether only limits on positions block, and `measures` are below all of their hard levels."""
        limits = () if self._limits is None else self._limits.limits
        levels = () if self._state is None else self._state.levels
        for limit, level in zip(limits, levels, strict=True):
            blocks = level >= 2 and Action.BLOCK in (limit.action_hard, limit.action_kill)
            if limit.measure in HISTORICAL:
                if blocks:
                    return False
            elif not measures[limit.measure] < limit.hard and limit.hard < np.inf:
                return False
        return True
