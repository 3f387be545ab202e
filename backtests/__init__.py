"""Honest backtests: folds, one continuous account per pod, and what its results are worth.

    plan -> walkforward -> run folder
    folds -> (calibrate, screen, fit on the training window) -> simulator -> account -> statistics -> comparison
    ledger, pool      finished work is kept, found again, and computed on processes that may die

A pod author starts with `simulate` and the checks of `backtests.audit.lookahead`; a user of results with `read_run`.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOME = {
    "Account": "daily.account",
    "BacktestError": "errors",
    "CombinatorialSettings": "walk.combinatorial",
    "FoldSettings": "walk.folds",
    "PodPlan": "walk.plan",
    "Register": "walk.register",
    "Result": "walk.result",
    "Run": "walk.result",
    "Segment": "daily.simulator",
    "TradingRules": "daily.accounting",
    "WalkForwardPlan": "walk.plan",
    "assert_no_lookahead": "audit.lookahead",
    "assert_warm_up": "audit.lookahead",
    "compare_pods": "evidence.comparison",
    "compare_runs": "evidence.comparison",
    "deflated_sharpe": "evidence.sharpe",
    "effective_trials": "evidence.trials",
    "harvey_liu_haircut": "evidence.haircut",
    "make_folds": "walk.folds",
    "make_splits": "walk.combinatorial",
    "pairwise_differences": "evidence.pairs",
    "performance": "evidence.statistics",
    "probabilistic_sharpe": "evidence.sharpe",
    "probability_of_backtest_overfitting": "evidence.overfitting",
    "read_policy": "walk.policy_files",
    "read_run": "walk.result_files",
    "run_walkforward": "walk.walkforward",
    "simulate": "daily.simulator",
    "sweep": "walk.sweep",
    "superior_predictive_ability": "evidence.snooping",
    "to_vectorbt": "daily.vectorbt_bridge",
}

__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    """Import a public name's module when it is first used, so that `import backtests` stays cheap."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
