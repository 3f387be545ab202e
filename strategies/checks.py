"""Checks of pod parameters, with one wording."""

from __future__ import annotations

import math
from typing import Protocol

from data_pipeline.daily.view import MarketView


def require(good: bool, pod: str, name: str, rule: str, value: object) -> None:
    """Raise ValueError unless `good`: "<name> of pod <pod> must be <rule>; was <value>"."""
    if not good:
        raise ValueError(f"{name} of pod {pod!r} must be {rule}; was {value!r}")


def require_sessions(pod: str, **values: int) -> None:
    """Raise ValueError unless every value is a whole number of sessions, at least 1."""
    for name, value in values.items():
        whole = isinstance(value, int) and not isinstance(value, bool)
        require(whole and value >= 1, pod, name, "a whole number of sessions, at least 1", value)


class SizedPod(Protocol):
    """The parameters that every shipped pod has: its universe and the size of its book."""

    @property
    def name(self) -> str:
        """Name in results."""
        ...

    @property
    def target_volatility(self) -> float:
        """Wanted volatility of the book, a year."""
        ...

    @property
    def gross_limit(self) -> float:
        """Largest sum of absolute weights."""
        ...

    @property
    def max_weight(self) -> float:
        """Largest absolute weight of one share."""
        ...

    @property
    def min_traded_value(self) -> float:
        """Least median traded value of a share, R$ per session."""
        ...

    @property
    def min_presence(self) -> float:
        """Least part of the sessions with a trade."""
        ...


def require_sizes(pod: SizedPod) -> None:
    """Raise ValueError unless the parameters of universe and size make sense."""
    target, gross, value = pod.target_volatility, pod.gross_limit, pod.min_traded_value
    require(target > 0.0, pod.name, "target_volatility", "positive (infinity: no target)", target)
    require(0.0 < gross < math.inf, pod.name, "gross_limit", "positive and finite", gross)
    require(0.0 < pod.max_weight <= gross, pod.name, "max_weight", "in (0, gross_limit]", pod.max_weight)
    require(0.0 <= value < math.inf, pod.name, "min_traded_value", "zero or positive", value)
    require(0.0 <= pod.min_presence <= 1.0, pod.name, "min_presence", "in [0, 1]", pod.min_presence)


def require_history(pod: str, lookback: int, training: MarketView) -> None:
    """Raise ValueError when the training window is shorter than what the pod reads for one decision."""
    if training.n_sessions < lookback:
        raise ValueError(
            f"training window of pod {pod!r} must be at least {lookback} sessions, which one decision reads; was "
            f"{training.n_sessions} up to {training.session}: lengthen the window or shorten the pod's lookback"
        )
