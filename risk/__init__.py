"""Losses, drawdowns, concentration and limits of a pod or the fund: arrays in, numbers out, no I/O.

    past returns, weights -> scenarios -> var          the forecast at a close
    forecasts, results    -> var_backtest              was it right
    net asset values      -> drawdown                  how far below the mark
    weights, issuers      -> concentration             how few names
    measures, limits      -> limits.evaluate -> limits.apply_actions    what the pod may do next

Losses, VaR, ES and drawdowns are positive numbers.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOME = {
    "value_at_risk": "var",
    "expected_shortfall": "var",
    "age_weights": "var",
    "drawdown_path": "drawdown",
    "drawdown_spells": "drawdown",
    "maximum_drawdown": "drawdown",
    "conditional_drawdown_at_risk": "drawdown",
    "ulcer_index": "drawdown",
    "herfindahl": "concentration",
    "effective_names": "concentration",
    "issuer_groups": "concentration",
    "largest_group": "concentration",
    "scenario_returns": "scenarios",
    "scenario_risk": "scenarios",
    "backtest_var": "var_backtest",
    "VarBacktest": "var_backtest",
    "Action": "limit_set",
    "Breach": "limits",
    "Limit": "limit_set",
    "LimitSet": "limit_set",
    "LimitState": "limits",
    "PodStatus": "limits",
    "apply_actions": "limits",
    "default_limits": "limit_set",
    "evaluate": "limits",
    "initial_state": "limits",
}

__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    """Import a public name's module when it is first used, so that `import risk` stays cheap."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
