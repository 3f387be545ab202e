"""Execution at event level: a parent order of the session, worked along a schedule."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from strategies.checks import require
from strategies.intraday.maker_pod import require_number, require_whole
from strategies.intraday.pod import IntradayTraining
from strategies.intraday.rule import Rule
from strategies.pod import Parameter, parameters_of

SCHEDULES = ("mean_field", "twap", "immediate")
STEPS = 256
"""Equal steps of the schedule; between them it is linear."""
REFRESH = 0.5
"""Part of its wanted lots below which a resting order is filled up, at the cost of its place in the queue."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkedOrder:
    """Buys or sells `lots` over the session: rests at the best price, crosses what falls behind the schedule.

    The engine should mark the position at the end, not close it (`TradingSpan.liquidation`), and allow it
    (`OwnLimits.max_position`).

    Attributes
    ----------
    side : "buy" or "sell"
    lots : int
        Of the parent; 0 is the largest position of the training.
    schedule : "mean_field", "twap" or "immediate"
        The equilibrium of the execution game, equal parts, or all at once.
    tolerance : float
        Part of the parent by which the fills may be behind the schedule before the missing lots cross, and ahead of it
        before no order rests; one lot at least, unless it is 0 (then nothing rests). At the schedule's end nothing may
        be missing.
    child_lots : int
        Largest resting order; 0 is the training's `order_lots`.
    through_ticks : int
        How far beyond the best a crossing order may go.
    start_seconds, work_seconds, finish_seconds : float
        The schedule begins so long after the session's start, and lasts so long; 0: until `finish_seconds` before its
        end.
    urgency, crowd_impact, terminal_penalty : float
        Of "mean_field", in units of the parent, the schedule's length and the temporary impact: phi, eta1 and gamma_T
        of `ExecutionGame` with eta0 = 1 and a crowd that starts with the same parent. What the game leaves at its end
        is crossed there.
    interval_ms : int
        Step of the clock.
    """

    name: str = "worked_order"
    side: str = "buy"
    lots: int = 0
    schedule: str = "mean_field"
    tolerance: float = 0.1
    child_lots: int = 0
    through_ticks: int = 0
    start_seconds: float = 0.0
    work_seconds: float = 0.0
    finish_seconds: float = 10.0
    urgency: float = 1.0
    crowd_impact: float = 0.5
    terminal_penalty: float = 10.0
    interval_ms: int = 100

    def __post_init__(self) -> None:
        """Check the parameters."""
        require(self.side in ("buy", "sell"), self.name, "side", "buy or sell", self.side)
        require(self.schedule in SCHEDULES, self.name, "schedule", f"one of {', '.join(SCHEDULES)}", self.schedule)
        for name in ("lots", "child_lots", "through_ticks"):
            require_whole(self.name, name, getattr(self, name), 0)
        require_whole(self.name, "interval_ms", self.interval_ms, 1)
        for name in ("start_seconds", "work_seconds", "finish_seconds", "urgency", "crowd_impact", "terminal_penalty"):
            require_number(self.name, name, getattr(self, name), low=0.0)
        require_number(self.name, "tolerance", self.tolerance, low=0.0)
        require(self.tolerance <= 1.0, self.name, "tolerance", "in [0, 1]", self.tolerance)

    @property
    def parameters(self) -> Mapping[str, Parameter]:
        """Every parameter by name."""
        return parameters_of(self)

    def fit(self, training: IntradayTraining) -> Rule:
        """The execution rule; of the training it reads session length, order size and limit."""
        from strategies.intraday import execution_kernels as places

        lots = self.lots or training.max_position
        require(lots <= training.max_position, self.name, "lots", f"at most max_position {training.max_position}", lots)
        busy = self.start_seconds + (self.work_seconds or self.finish_seconds)
        require(busy < training.seconds, self.name, "start_seconds and work_seconds (or finish_seconds)",
                f"together below the session's {training.seconds:g} seconds", busy)  # fmt: skip
        left, notes = self._remaining()
        numbers = np.zeros(9)
        numbers[places.SIDE] = 1.0 if self.side == "buy" else -1.0
        numbers[places.LOTS] = lots
        numbers[places.CHILD_LOTS] = self.child_lots or training.order_lots
        numbers[places.TOLERANCE_LOTS] = max(self.tolerance * lots, 1.0) if self.tolerance > 0.0 else 0.0
        numbers[places.THROUGH_TICKS] = self.through_ticks
        numbers[places.REFRESH] = REFRESH
        numbers[places.START_SECONDS] = self.start_seconds
        numbers[places.WORK_SECONDS] = self.work_seconds
        numbers[places.FINISH_SECONDS] = self.finish_seconds
        return Rule(
            name=self.name,
            function=places.execution_rule,
            table=np.ascontiguousarray(np.stack([left, left], axis=-1)[None, None]),
            numbers=numbers,
            memory_size=places.MEMORY,
            interval_ns=1_000_000 * self.interval_ms,
            notes={"schedule": self.schedule, "lots": lots, **notes},
        )

    def _remaining(self) -> tuple[NDArray[np.float64], dict[str, Any]]:
        """(STEPS + 1,) share of the parent left at equal steps, and what to say of it."""
        if self.schedule == "immediate":
            return np.zeros(STEPS + 1), {}
        at = np.linspace(0.0, 1.0, STEPS + 1)
        if self.schedule == "twap":
            return 1.0 - at, {}
        from mfg_core import ExecutionGame, policy_metadata, solve_mfg

        equilibrium = solve_mfg(
            ExecutionGame(
                temporary_impact=1.0,
                crowd_impact=self.crowd_impact,
                running_penalty=self.urgency,
                terminal_penalty=self.terminal_penalty,
                initial_mean=1.0,
                horizon=1.0,
            )
        )
        left = np.asarray(equilibrium.policy.remaining(np.zeros_like(at), at), dtype=np.float64)
        described = policy_metadata(equilibrium)
        notes = {name: described[name] for name in ("game", "certificate")}
        return left, {**notes, "left_at_the_end": float(left[-1])}
