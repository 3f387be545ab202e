"""Executors: how the shares of a parent order are spread over the sessions after the decision.

An executor is a schedule: `fractions[k]` is the part of what is still to trade that is sent in the k-th session after
the decision, and `crowd_rate[k]` is the speed (daily volumes per session) at which the crowd trades in that session,
which the cost object charges. The three schedules are interchangeable parts of a backtest.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from mfg_core.linear_quadratic.execution import ExecutionEquilibrium, ExecutionPolicy

Floats = NDArray[np.float64]


class Executor(Protocol):
    """A schedule of child orders. Implementations are final."""

    @property
    def name(self) -> str:
        """Name in results."""
        ...

    @property
    def fractions(self) -> Floats:
        """(h,) or (h, N) in [0, 1]: the part of the remainder sent in session k = 0..h-1 after the decision."""
        ...

    @property
    def crowd_rate(self) -> Floats:
        """(h,) the crowd's mean trading rate in those sessions, daily volumes per session, signed."""
        ...


@dataclass(frozen=True, slots=True)
class Immediate:
    """Everything in the first session.

    `crowd` is the crowd's rate per session of the same equilibrium that other executors are compared under;
    empty means that nobody else trades.
    """

    crowd: tuple[float, ...] = ()

    @property
    def name(self) -> str:
        """Name in results."""
        return "immediate"

    @property
    def fractions(self) -> Floats:
        """All that remains, in every session (a remainder is what the market did not take)."""
        return np.ones(max(len(self.crowd), 1))

    @property
    def crowd_rate(self) -> Floats:
        """The crowd's rate, per session."""
        return _crowd(self.crowd, self.fractions.size)


@dataclass(frozen=True, slots=True)
class Twap:
    """Equal parts in each of `horizon` sessions; `crowd` as in `Immediate`.

    >>> Twap(4).fractions.tolist()
    [0.25, 0.3333333333333333, 0.5, 1.0]
    """

    horizon: int
    crowd: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        """Check the horizon."""
        _check_horizon(self.horizon)
        if self.crowd and len(self.crowd) != self.horizon:
            raise ValueError(f"crowd must have one rate for each of {self.horizon} sessions; had {len(self.crowd)}")

    @property
    def name(self) -> str:
        """Name in results."""
        return f"twap_{self.horizon}"

    @property
    def fractions(self) -> Floats:
        """1 / (h - k)."""
        return np.asarray(1.0 / (self.horizon - np.arange(self.horizon, dtype=np.float64)))

    @property
    def crowd_rate(self) -> Floats:
        """The crowd's rate, per session."""
        return _crowd(self.crowd, self.horizon)


@dataclass(frozen=True, slots=True)
class MeanFieldSchedule:
    """The equilibrium policy of an execution game, session by session.

    In the game the best reply is linear in the inventory, alpha* = -2 a(t) x / eta(t), so every trader, whatever its
    size, sends the same part of what remains: 1 - exp(-int_k^{k+1} 2 a / eta dt) in session k. The last session is
    not special: a remainder below one lot is for `backtests.daily.kernels.child_order`, a larger one starts the
    schedule again. Made by `mean_field_schedule`, or by `schedule_of_policy` from a stored one.
    """

    sent: tuple[float, ...]
    crowd: tuple[float, ...]

    def __post_init__(self) -> None:
        """Check the schedule."""
        _check_horizon(len(self.sent))
        if len(self.crowd) != len(self.sent):
            raise ValueError(f"crowd must have one rate for each of {len(self.sent)} sessions; had {len(self.crowd)}")

    @property
    def name(self) -> str:
        """Name in results."""
        return f"mean_field_{len(self.sent)}"

    @property
    def fractions(self) -> Floats:
        """The policy's fractions."""
        return np.array(self.sent, dtype=np.float64)

    @property
    def crowd_rate(self) -> Floats:
        """The crowd's mean rate of the same equilibrium."""
        return np.array(self.crowd, dtype=np.float64)


def mean_field_schedule(equilibrium: ExecutionEquilibrium) -> MeanFieldSchedule:
    """The executor that follows a solved `ExecutionGame` whose horizon is a whole number of sessions.

    Raises
    ------
    ValueError
        When the horizon is not a whole number of sessions.
    """
    horizon = float(equilibrium.times[-1])
    sessions = round(horizon)
    if sessions < 1 or not math.isclose(horizon, sessions, rel_tol=1e-9):
        raise ValueError(f"horizon must be a whole number of sessions, at least 1; was {horizon}")
    return schedule_of_policy(equilibrium.policy, sessions, float(equilibrium.mean_field.inventory[0]))


def schedule_of_policy(policy: ExecutionPolicy, sessions: int, initial_mean: float) -> MeanFieldSchedule:
    """The schedule of a policy whose horizon is `sessions`, in a crowd that starts at `initial_mean` daily volumes.

    The crowd trades by the same policy, so in session k its mean inventory falls by the session's fraction of what is
    left of it; noise in its inventories has no part in the mean.
    """
    sent = np.asarray(policy.fractions(sessions), dtype=np.float64)
    left = initial_mean * np.concatenate(([1.0], np.cumprod(1.0 - sent)))
    return MeanFieldSchedule(tuple(sent.tolist()), tuple(np.diff(left).tolist()))


def schedule_of(executor: Executor, n_instruments: int) -> tuple[Floats, Floats]:
    """The checked schedule of an executor: fractions (h, N) and the crowd's rate (h,).

    Raises
    ------
    ValueError
        When a fraction is outside [0, 1], every fraction is zero, or shapes disagree.
    """
    fractions = np.asarray(executor.fractions, dtype=np.float64)
    crowd = np.array(executor.crowd_rate, dtype=np.float64)
    if fractions.ndim == 1:
        fractions = np.repeat(fractions[:, None], n_instruments, axis=1)
    if fractions.ndim != 2 or fractions.shape[0] == 0 or fractions.shape[1] != n_instruments:
        raise ValueError(
            f"fractions of executor {executor.name!r} must be (h,) or (h, {n_instruments}); was {fractions.shape}"
        )
    if not np.all((fractions >= 0.0) & (fractions <= 1.0)) or np.any(fractions.max(axis=0) == 0.0):
        raise ValueError(
            f"fractions of executor {executor.name!r} must be in [0, 1] and not all zero; was {fractions[:, 0]}"
        )
    if crowd.shape != fractions.shape[:1] or not np.all(np.isfinite(crowd)):
        raise ValueError(
            f"crowd_rate of executor {executor.name!r} must be {fractions.shape[0]} finite numbers; was {crowd}"
        )
    return np.ascontiguousarray(fractions), crowd


def _check_horizon(horizon: int) -> None:
    if isinstance(horizon, bool) or not isinstance(horizon, int) or horizon < 1:
        raise ValueError(f"horizon must be a whole number of sessions, at least 1; was {horizon!r}")


def _crowd(rates: tuple[float, ...], horizon: int) -> Floats:
    return np.array(rates, dtype=np.float64) if rates else np.zeros(horizon)
