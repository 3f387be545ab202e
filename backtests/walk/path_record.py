"""The distribution of out-of-sample paths of a combinatorial run, as tables and JSON.

A path is each group's account once, in the order of time: C(N-1, k-1) paths, each over the same sessions, each from
another set of trainings. They share sessions and training rows, so they are no independent draws: their spread shows
how much a result hangs on which sessions it was trained on, not its standard error.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backtests.evidence.sharpe import sharpe_sample
from backtests.walk.blocks import Block
from backtests.walk.combinatorial import CombinatorialSettings, Split, make_groups, path_splits
from backtests.walk.result_files import parquet_bytes
from data_pipeline.disk import pretty_json

Floats = NDArray[np.float64]

PATH_COLUMNS: Mapping[str, str] = {
    "pod": "text", "path": "whole", "group": "whole", "split": "whole", "session": "date", "return": "float",
    "risk_free": "float", "net_asset_value": "float",
}  # fmt: skip
"""Columns of evidence/paths.parquet; groups, splits and paths count from 1 there, as in the literature."""

QUANTILES = {"lowest": 0.0, "lower_quartile": 0.25, "median": 0.5, "upper_quartile": 0.75, "highest": 1.0}
"""Quantiles over the paths that are written for every measure."""

MEASURES = ("sharpe", "annual_return", "max_drawdown", "final_value")
"""Measures of a path: the ratio is of the excess over cash, annual; drawdown is positive; the value is in money."""


@dataclass(frozen=True, slots=True, eq=False)
class PathScheme:
    """What the paths of a run are joined over.

    Attributes
    ----------
    settings : CombinatorialSettings
    days : (T,) datetime64[D]
        All sessions of the data.
    rows : range
        Those that the groups share out.
    pods : tuple of str
    capital : float
        Money that each path starts with.
    sessions_per_year : int
    """

    settings: CombinatorialSettings
    days: NDArray[np.datetime64]
    rows: range
    pods: tuple[str, ...]
    capital: float
    sessions_per_year: int

    @property
    def groups(self) -> tuple[range, ...]:
        """The groups as rows of the data."""
        return make_groups(self.rows, self.settings.groups)


def joined_blocks(
    scheme: PathScheme, blocks: Mapping[tuple[str, int, int], Block]
) -> dict[tuple[str, int], tuple[Block, ...]]:
    """Blocks of each pod and path, in the order of the groups, from those by pod, group and split."""
    return {
        (pod, path): tuple(blocks[pod, group, int(split)] for group, split in enumerate(chosen))
        for pod in scheme.pods
        for path, chosen in enumerate(path_splits(scheme.settings))
    }


def path_table(scheme: PathScheme, blocks: Mapping[tuple[str, int], Sequence[Block]]) -> dict[str, NDArray[Any]]:
    """Every path of every pod session by session, as columns of `PATH_COLUMNS`.

    Parameters
    ----------
    scheme : PathScheme
    blocks : mapping of (pod, path)
        Its block of each group. One that is shorter than its group ends with it: an account that opens at a close has
        no return of that session. The value of a path is that of the capital under its returns.
    """
    table, groups = path_splits(scheme.settings), scheme.groups
    parts: dict[str, list[NDArray[Any]]] = {name: [] for name in PATH_COLUMNS}
    for pod in scheme.pods:
        for path, chosen in enumerate(table):
            value = scheme.capital
            for rows, split, block in zip(groups, chosen, blocks[pod, path], strict=True):
                growth = value * np.cumprod(1.0 + block.returns)
                value = float(growth[-1])
                size = block.returns.size
                names = np.full(size, pod, dtype=object)
                places = (np.full(size, number + 1) for number in (path, block.group, int(split)))
                columns = (
                    names,
                    *places,
                    scheme.days[rows.stop - size : rows.stop],
                    block.returns,
                    block.risk_free,
                    growth,
                )
                for name, values in zip(PATH_COLUMNS, columns, strict=True):
                    parts[name].append(values)
    return {name: np.concatenate(values) for name, values in parts.items()}


def path_record(scheme: PathScheme, splits: Sequence[Split], table: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
    """The scheme in dates, and each pod's measures by path with their quantiles: evidence/paths.json."""
    days, settings = scheme.days, scheme.settings
    return {
        "groups": [[days[rows.start], days[rows.stop - 1]] for rows in scheme.groups],
        "splits": [
            {
                "tests": [group + 1 for group in split.groups],
                "train": [[days[piece.start], days[piece.stop - 1]] for piece in split.train],
            }
            for split in splits
        ],
        "paths": (path_splits(settings) + 1).tolist(),
        "purge": settings.purge,
        "embargo": settings.embargo_sessions(len(scheme.rows)),
        "pods": {pod: path_measures(table, pod, scheme.capital, scheme.sessions_per_year) for pod in scheme.pods},
    }


def path_files(
    scheme: PathScheme, splits: Sequence[Split], blocks: Mapping[tuple[str, int], Sequence[Block]]
) -> dict[str, bytes]:
    """The files of a run that hold its paths, by their place in the run folder."""
    table = path_table(scheme, blocks)
    return {
        "evidence/paths.parquet": parquet_bytes(table, PATH_COLUMNS),
        "evidence/paths.json": pretty_json(path_record(scheme, splits, table)),
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
