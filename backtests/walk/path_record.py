"""The distribution of out-of-sample paths of a combinatorial run, as tables and JSON.

A path is each group's account once, in the order of time: C(N-1, k-1) paths, each over the same sessions, each from
another set of trainings. They share sessions and training rows, so they are no independent draws: their spread shows
how much a result hangs on which sessions it was trained on, not its standard error.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backtests.evidence.sharpe import sharpe_sample
from backtests.walk.blocks import Block
from backtests.walk.combinatorial import CombinatorialSettings, Split, make_groups, path_splits
from backtests.walk.plan import WalkForwardPlan
from data_pipeline.daily.panel import DailyPanel

Floats = NDArray[np.float64]

PATH_COLUMNS: Mapping[str, str] = {
    "pod": "text", "path": "whole", "group": "whole", "split": "whole", "session": "date", "return": "float",
    "risk_free": "float", "net_asset_value": "float",
}  # fmt: skip
"""Columns of evidence/paths.parquet; groups, splits and paths count from 1 there, as in the literature."""

QUANTILES = {"lowest": 0.0, "lower_quartile": 0.25, "median": 0.5, "upper_quartile": 0.75, "highest": 1.0}
"""Quantiles over the paths that are written for every measure."""

MEASURES = ("sharpe", "annual_return", "max_drawdown", "final_value")
"""Measures of a path: the ratio is of the excess over cash, annual; drawdown is positive; the value is in R$."""


def path_table(
    plan: WalkForwardPlan,
    settings: CombinatorialSettings,
    panel: DailyPanel,
    blocks: Mapping[tuple[str, int, int], Block],
) -> dict[str, NDArray[Any]]:
    """Every path of every pod session by session, as columns of `PATH_COLUMNS`.

    A group's first session is left out: its account opens at that close, from cash, with the whole capital. What is
    held at a group's last close is marked there. The value of a path is that of the capital under its returns.
    """
    table, groups = path_splits(settings), grouped_rows(plan, settings, panel)
    parts: dict[str, list[NDArray[Any]]] = {name: [] for name in PATH_COLUMNS}
    for pod in plan.pods:
        for path, chosen in enumerate(table):
            value = plan.capital
            for group, (rows, split) in enumerate(zip(groups, chosen, strict=True)):
                block = blocks[pod.name, group, int(split)]
                growth = value * np.cumprod(1.0 + block.returns)
                value = float(growth[-1])
                size = block.returns.size
                names = np.full(size, pod.name, dtype=object)
                places = (np.full(size, number + 1) for number in (path, group, int(split)))
                columns = (
                    names,
                    *places,
                    panel.sessions[rows.start + 1 : rows.stop],
                    block.returns,
                    block.risk_free,
                    growth,
                )
                for name, values in zip(PATH_COLUMNS, columns, strict=True):
                    parts[name].append(values)
    return {name: np.concatenate(values) for name, values in parts.items()}


def path_record(
    plan: WalkForwardPlan,
    settings: CombinatorialSettings,
    panel: DailyPanel,
    splits: Sequence[Split],
    table: Mapping[str, NDArray[Any]],
) -> dict[str, Any]:
    """The scheme in dates, and each pod's measures by path with their quantiles: evidence/paths.json."""
    days, groups = panel.sessions, grouped_rows(plan, settings, panel)
    sessions = sum(len(rows) for rows in groups)
    return {
        "groups": [[days[rows.start], days[rows.stop - 1]] for rows in groups],
        "splits": [
            {
                "tests": [group + 1 for group in split.groups],
                "train": [[days[piece.start], days[piece.stop - 1]] for piece in split.train],
            }
            for split in splits
        ],
        "paths": (path_splits(settings) + 1).tolist(),
        "purge": settings.purge,
        "embargo": settings.embargo_sessions(sessions),
        "pods": {pod.name: path_measures(table, pod.name, plan.capital, plan.sessions_per_year) for pod in plan.pods},
    }


def path_measures(
    table: Mapping[str, NDArray[Any]], pod: str, capital: float, periods_per_year: int
) -> dict[str, dict[str, Any]]:
    """Each measure of `MEASURES` by path (`by_path`), with its quantiles over the paths.

    A path that lost everything has no ratio: it is NaN, and then so are the quantiles.
    """
    mine = table["pod"] == pod
    measured = []
    for path in np.unique(table["path"][mine]):
        rows = mine & (table["path"] == path)
        measured.append(_measure(table["return"][rows], table["risk_free"][rows], capital, periods_per_year))
    return {
        name: {"by_path": [found[name] for found in measured]}
        | {words: float(np.quantile([found[name] for found in measured], level)) for words, level in QUANTILES.items()}
        for name in MEASURES
    }


def _measure(returns: Floats, risk_free: Floats, capital: float, periods_per_year: int) -> dict[str, float]:
    growth = np.cumprod(1.0 + returns)
    lost = bool(growth.min() <= 0.0)
    highest = np.maximum.accumulate(np.maximum(growth, 1.0))
    year = periods_per_year / returns.size
    return {
        "sharpe": np.nan if lost else sharpe_sample(returns - risk_free).sharpe * periods_per_year**0.5,
        "annual_return": np.nan if lost else float(growth[-1] ** year - 1.0),
        "max_drawdown": float(np.max(1.0 - growth / highest)),
        "final_value": float(capital * growth[-1]),
    }


def grouped_rows(plan: WalkForwardPlan, settings: CombinatorialSettings, panel: DailyPanel) -> tuple[range, ...]:
    """The groups as rows of the panel: all sessions but the warm-up of the slowest pod."""
    return make_groups(plan.tested_rows(panel.sessions.size), settings.groups)
