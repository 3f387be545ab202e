"""Checks of pod parameters, with one wording."""

from __future__ import annotations

from data_pipeline.view import MarketView


def require(good: bool, pod: str, name: str, rule: str, value: object) -> None:
    """Raise ValueError unless `good`: "<name> of pod <pod> must be <rule>; was <value>"."""
    if not good:
        raise ValueError(f"{name} of pod {pod!r} must be {rule}; was {value!r}")


def require_sessions(pod: str, **values: int) -> None:
    """Raise ValueError unless every value is a whole number of sessions, at least 1."""
    for name, value in values.items():
        whole = isinstance(value, int) and not isinstance(value, bool)
        require(whole and value >= 1, pod, name, "a whole number of sessions, at least 1", value)


def require_sizes(
    pod: str, *, target_volatility: float, gross_limit: float, max_weight: float, min_traded_value: float
) -> None:
    """Raise ValueError unless the sizing parameters make sense."""
    require(target_volatility > 0.0, pod, "target_volatility", "positive (infinity: no target)", target_volatility)
    require(0.0 < gross_limit < float("inf"), pod, "gross_limit", "positive and finite", gross_limit)
    require(0.0 < max_weight <= gross_limit, pod, "max_weight", "in (0, gross_limit]", max_weight)
    require(0.0 <= min_traded_value < float("inf"), pod, "min_traded_value", "zero or positive", min_traded_value)


def require_history(pod: str, lookback: int, training: MarketView) -> None:
    """Raise ValueError when the training window is shorter than what the pod reads for one decision."""
    if training.n_sessions < lookback:
        raise ValueError(
            f"training window of pod {pod!r} must be at least {lookback} sessions, which one decision reads; was "
            f"{training.n_sessions} up to {training.session}: lengthen the window or shorten the pod's lookback"
        )
