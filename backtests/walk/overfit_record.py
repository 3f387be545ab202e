"""What a run says of its own search: overfitting of each grid, of all grids together, and the haircut for all trials.

The returns are those of cheap replays: each parameter set fitted on each fold's training window and traded, with flat
costs, over its test window. So every column is out of sample of its fit, and only the choice among them is judged.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backtests.evidence.haircut import Adjustment, harvey_liu_haircut
from backtests.evidence.overfitting import probability_of_backtest_overfitting
from backtests.evidence.snooping import FEWEST_SESSIONS, superior_predictive_ability

Floats = NDArray[np.float64]

SESSIONS_PER_BLOCK = 10
"""Sessions that a block of the cross-validation has at least: below that a half's Sharpe ratio is noise."""

HAIRCUTS: tuple[Adjustment, ...] = ("independent", "bonferroni")
"""Adjustments that need no more of the other trials than their number."""

PBO_FORM = "CSCV (Bailey, Borwein, Lopez de Prado & Zhu 2017), Sharpe ratio"
SPA_FORM = "Hansen (2005), consistent; White (2000); stationary bootstrap; against cash"
HAIRCUT_FORM = "Harvey & Liu (2015), two-sided"


def grid_record(returns: Floats, *, draws: int, seed: int, periods_per_year: int) -> dict[str, Any]:
    """Evidence on the best of the trials whose daily excess returns are the columns of `returns` (T, P).

    Keys that cannot be computed (one trial, too few sessions) are None.
    """
    sessions, trials = returns.shape
    record: dict[str, Any] = {"sessions": sessions, "trials": trials, "returns": "replays over the test windows"}
    return record | _overfitting(returns, periods_per_year) | _snooping(returns, draws, seed)


def haircut_record(sharpe: float | None, observations: int, trials: int, periods_per_year: int) -> dict[str, Any]:
    """The account's annual Sharpe ratio after the haircut for `trials`, by adjustment; None without a Sharpe ratio."""
    if sharpe is None or not math.isfinite(sharpe):
        return {"form": HAIRCUT_FORM, "trials": trials} | dict.fromkeys(HAIRCUTS)
    years = observations / periods_per_year
    return {"form": HAIRCUT_FORM, "trials": trials} | {
        method: dataclasses.asdict(harvey_liu_haircut(sharpe, years, trials, method)) for method in HAIRCUTS
    }


def all_returns(trials: Mapping[str, Floats]) -> Floats:
    """The trials of every pod side by side, (T, all sets)."""
    return np.concatenate(list(trials.values()), axis=1)


def block_count(sessions: int) -> int:
    """Blocks of the cross-validation: 16, or the largest even number with `SESSIONS_PER_BLOCK` in each; 0 below 4.

    >>> [block_count(sessions) for sessions in (39, 40, 79, 1000)]
    [0, 4, 6, 16]
    """
    blocks = min(16, sessions // SESSIONS_PER_BLOCK // 2 * 2)
    return blocks if blocks >= 4 else 0


def _overfitting(returns: Floats, periods_per_year: int) -> dict[str, Any]:
    sessions, trials = returns.shape
    blocks = block_count(sessions)
    names = ("probability_of_backtest_overfitting", "probability_of_loss", "degradation")
    if trials < 2 or not blocks:
        return {"overfitting_form": PBO_FORM, "blocks": blocks} | dict.fromkeys(names)
    found = probability_of_backtest_overfitting(returns, blocks, more_trials_than_sessions=trials > sessions)
    year = math.sqrt(periods_per_year)
    values = (found.probability, found.probability_of_loss, year * found.degradation)
    return {"overfitting_form": PBO_FORM, "blocks": blocks} | dict(zip(names, values, strict=True))


def _snooping(returns: Floats, draws: int, seed: int) -> dict[str, Any]:
    names = ("superior_predictive_ability", "reality_check")
    if returns.shape[0] < FEWEST_SESSIONS:
        return {"snooping_form": SPA_FORM} | dict.fromkeys(names)
    found = superior_predictive_ability(returns, np.zeros(returns.shape[0]), draws=draws, seed=seed)
    return {
        "snooping_form": SPA_FORM,
        "superior_predictive_ability": found.consistent,
        "reality_check": found.reality_check,
    }
