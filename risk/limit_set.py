"""Limits as data: the levels of each measure and what they do."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import pairwise


class Action(StrEnum):
    """What a level does to the pod for as long as it holds."""

    NOTE = "NOTE"
    BLOCK = "BLOCK"
    HALVE = "HALVE"
    FLATTEN = "FLATTEN"
    REARM = "REARM"


LEVELS = ("amber", "hard", "kill")
"""Names of the levels, mildest first."""


@dataclass(frozen=True, slots=True)
class Limit:
    """One limit: a measure (large is bad) and the values from which it is amber, hard and kill.

    Attributes
    ----------
    name : str
        Name of the limit, unique in a set.
    measure : str
        Key of the measure that it reads.
    amber, hard, kill : float
        Levels, positive, increasing; infinity = that level never holds. A level begins to hold when the measure is
        at or above it and ends when the measure falls below `LimitSet.clear_fraction` of it.
    action_hard, action_kill : Action
        What those levels do; amber is always a note.
    """

    name: str
    measure: str
    amber: float = math.inf
    hard: float = math.inf
    kill: float = math.inf
    action_hard: Action = Action.BLOCK
    action_kill: Action = Action.FLATTEN

    def __post_init__(self) -> None:
        """Check the levels and the actions."""
        for level, value in zip(LEVELS, self.thresholds, strict=True):
            if not value > 0:
                raise ValueError(f"{level} of limit {self.name!r} must be positive (infinity: never); was {value}")
        finite = [value for value in self.thresholds if value < math.inf]
        if any(low >= high for low, high in pairwise(finite)):
            raise ValueError(f"amber, hard and kill of limit {self.name!r} must increase; were {self.thresholds}")
        for action in (self.action_hard, self.action_kill):
            if action not in (Action.NOTE, Action.BLOCK, Action.HALVE, Action.FLATTEN):
                raise ValueError(
                    f"actions of limit {self.name!r} must be NOTE, BLOCK, HALVE or FLATTEN; was {action!r}"
                )

    @property
    def thresholds(self) -> tuple[float, float, float]:
        """(amber, hard, kill)."""
        return (self.amber, self.hard, self.kill)

    def action(self, level: int) -> Action:
        """What `level` (0 none, 1 amber, 2 hard, 3 kill) does."""
        return (Action.NOTE, Action.NOTE, self.action_hard, self.action_kill)[level]


@dataclass(frozen=True, slots=True)
class LimitSet:
    """The limits of one pod and the two rules that they share.

    Attributes
    ----------
    limits : tuple of Limit
    clear_fraction : float
        A level is cleared when the measure falls below this fraction of it (hysteresis), in (0, 1].
    rearm_sessions : int
        Sessions after a FLATTEN at which the pod is armed again with its high-water mark set to the net asset
        value of that close; 0 = never.
    """

    limits: tuple[Limit, ...]
    clear_fraction: float = 0.9
    rearm_sessions: int = 63

    def __post_init__(self) -> None:
        """Check the names and the two rules."""
        names = [limit.name for limit in self.limits]
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise ValueError(f"names of limits must differ; {repeated[0]!r} is used twice")
        if not 0 < self.clear_fraction <= 1:
            raise ValueError(f"clear_fraction must be in (0, 1]; was {self.clear_fraction}")
        if self.rearm_sessions < 0:
            raise ValueError(f"rearm_sessions must not be negative (0: never); was {self.rearm_sessions}")

    def with_levels(self, name: str, amber: float | None, hard: float | None, kill: float | None) -> LimitSet:
        """The same set with other levels for the limit `name`; None = that level never holds.

        Raises
        ------
        ValueError
            When no limit has that name (the names are listed) or the levels break a rule.
        """
        if name not in [limit.name for limit in self.limits]:
            known = ", ".join(limit.name for limit in self.limits)
            raise ValueError(f"name must be one of the limits {known}; was {name!r}")
        never = [math.inf if level is None else level for level in (amber, hard, kill)]
        changed = (
            replace(limit, amber=never[0], hard=never[1], kill=never[2]) if limit.name == name else limit
            for limit in self.limits
        )
        return replace(self, limits=tuple(changed))


def default_limits(rearm_sessions: int = 63) -> LimitSet:
    """The shipped limits of a pod.

    The drawdown ladder (capital halved at 5 %, all out at 7.5 %) and the day-loss ladder are those reported of
    multi-manager funds; the others stand at 80 %, 100 % and 120 % of the hard level, which is ours to choose. Measures
    are fractions of the net asset value: `var_99`, `es_975` (forecasts at this close, one session), `gross`, `net`
    (absolute), `largest_issuer` (all classes of one issuer together), and `hhi` of the gross weights
    (0.25 = four effective names). `drawdown` and `day_loss` are computed by `evaluate`.
    """

    def scaled(name: str, measure: str, hard: float, action_kill: Action) -> Limit:
        return Limit(name, measure, 0.8 * hard, hard, 1.2 * hard, Action.BLOCK, action_kill)

    return LimitSet(
        limits=(
            Limit("drawdown", "drawdown", 0.035, 0.05, 0.075, Action.HALVE, Action.FLATTEN),
            Limit("day_loss", "day_loss", 0.01, 0.02, 0.03, Action.BLOCK, Action.FLATTEN),
            scaled("var_99", "var_99", 0.04, Action.HALVE),
            scaled("es_975", "es_975", 0.04, Action.HALVE),
            Limit("largest_issuer", "largest_issuer", 0.20, 0.25),
            Limit("hhi", "hhi", 0.20, 0.25),
            scaled("gross", "gross", 2.0, Action.HALVE),
            scaled("net", "net", 1.5, Action.HALVE),
        ),
        rearm_sessions=rearm_sessions,
    )
