"""Mean-field games of trading: a game, a method and a tolerance in; an equilibrium with its certificate out.

    game = ExecutionGame(...) or MarketMakingGame(...) or ClearingGame(...)
    equilibrium = solve_mfg(game, rtol=1e-9, atol=1e-12)
    equilibrium.policy, .density, .mean_field, .certificate

Arrays in, arrays out: no input or output, no pandas. Calibration and the cost object live here too.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOME = {
    "MarketMakingGame": "market_making",
    "MarketMakingEquilibrium": "market_making",
    "MarketMakingPolicy": "market_making",
    "ExecutionGame": "execution",
    "ExecutionEquilibrium": "execution",
    "ExecutionPolicy": "execution",
    "Shooting": "execution",
    "ClearingGame": "clearing",
    "ClearingEquilibrium": "clearing",
    "ClearingPolicy": "clearing",
    "solve_mfg": "solve",
    "Picard": "fixed_point",
    "Anderson": "fixed_point",
    "Certificate": "certificate",
    "Status": "certificate",
    "SolveError": "errors",
    "EdgeMassWarning": "errors",
    "policy_arrays": "policy_table",
    "policy_metadata": "policy_table",
    "rebuild_policy": "policy_table",
    "TradingCosts": "costs",
    "FillCost": "costs",
    "calibrate_execution": "calibration",
}

__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    """Import a public name's module when it is first used, so that `import mfg_core` stays cheap."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
