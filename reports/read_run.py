"""A run as the page reads it: the run folder's tables as data frames, cut at a date when one is asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from backtests.evidence.comparison import compare_pods
from backtests.evidence.sensitivity import Study, read_study
from backtests.evidence.statistics import SESSIONS_PER_YEAR
from backtests.walk.policy_files import PolicyArtefact, read_policy
from backtests.walk.result import Result, account_statistics
from backtests.walk.result_files import read_run as read_run_folder
from data_pipeline.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

_DATE_OF_ROW = {"orders": "decision_session", "folds": "test_start"}
"""The column that says when a table's row was known, where it is not `session`."""

_FEWEST = 3
"""Sessions that statistics need."""


@dataclass(frozen=True, slots=True)
class PodResult:
    """Everything one pod left on disk."""

    name: str
    account: pd.DataFrame
    positions: pd.DataFrame
    orders: pd.DataFrame
    fills: pd.DataFrame
    breaches: pd.DataFrame
    folds: pd.DataFrame
    risk: pd.DataFrame
    statistics: Mapping[str, Any]

    @property
    def sessions(self) -> NDArray[np.datetime64]:
        """(T,) sessions of the account."""
        return days(self.account["session"])

    def column(self, name: str, table: str = "account") -> NDArray[np.float64]:
        """One numeric column as float64."""
        return np.asarray(getattr(self, table)[name].to_numpy(), dtype=np.float64)


@dataclass(frozen=True, slots=True)
class Paths:
    """The paths of a combinatorial run: evidence/paths.json, and the columns of evidence/paths.parquet."""

    record: Mapping[str, Any]
    table: Mapping[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class RunView:
    """A run's content; `date` is the last session shown, `complete` whether that is the run's last.

    `policies` holds the policies of the last fold that is shown, by hash. `paths` are those of a combinatorial run;
    None for others, and as of an earlier session: every path knows of later ones. So for `study`, a run's study of
    sensitivity.
    """

    folder_name: str
    name: str
    benchmark: str
    pods: tuple[PodResult, ...]
    configuration: Mapping[str, Any]
    provenance: Mapping[str, Any]
    limits: Sequence[Mapping[str, Any]]
    comparison: Mapping[str, Any]
    quality: Mapping[str, Any]
    policies: Mapping[str, PolicyArtefact]
    date: np.datetime64
    complete: bool
    paths: Paths | None = None
    study: Study | None = None


def view_run(folder: Path, as_of: date | np.datetime64 | str | None = None) -> RunView:
    """The run in `folder`, complete, or as it stood at the close of `as_of`.

    Parameters
    ----------
    folder : Path
        The folder that a backtest wrote.
    as_of : date, optional
        A day of the run; rows of later sessions are dropped before anything is computed. A day without a session
        stands for the last session before it.

    Raises
    ------
    DataError
        When a file is missing, cannot be read or is of another schema version, or the day is outside the run.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: no such run folder: give the folder that `fairfield backtest` wrote")
    stored = read_run_folder(folder)
    results = stored.results
    if not results or any(result.sessions.size == 0 for result in results):
        raise DataError(f"{folder}: every pod must have at least one session: run the backtest again")
    first, last = results[0].sessions[0], results[0].sessions[-1]
    shown = last if as_of is None else _day_within(as_of, first, last)
    comparison = stored.comparison
    if shown < last:
        counted = stored.provenance.get("trials") or {}
        earlier = int(counted.get("of_data", 0)) - int(counted.get("of_study", 0))
        year = int(stored.configuration.get("sessions_per_year") or SESSIONS_PER_YEAR)
        results = _cut_all(results, shown, year, earlier)
        shown = results[0].sessions[-1]
        comparison = _compare(results, stored.benchmark, stored.comparison)
    pods = tuple(_pod(result) for result in results)
    return RunView(
        folder_name=folder.resolve().name,
        name=stored.name,
        benchmark=stored.benchmark,
        pods=pods,
        configuration=stored.configuration,
        provenance=stored.provenance,
        limits=stored.limits,
        comparison=comparison,
        quality=stored.quality,
        policies=_last_policies(folder / "policies", pods),
        date=shown,
        complete=bool(shown == last),
        paths=read_paths(folder) if shown == last else None,
        study=read_study(folder) if shown == last else None,
    )


def days(column: Any) -> NDArray[np.datetime64]:
    """A date column as datetime64[D]; missing dates are NaT."""
    return np.asarray(column.to_numpy()).astype("datetime64[D]")


def _day_within(as_of: date | np.datetime64 | str, first: np.datetime64, last: np.datetime64) -> np.datetime64:
    try:
        day: np.datetime64 = np.array([as_of], dtype="datetime64[D]")[0]
    except ValueError:
        raise DataError(f"date must be a day written YYYY-MM-DD; was {as_of!r}") from None
    if not first <= day <= last:
        raise DataError(f"date must be within the run, {first} to {last}; was {day}")
    return day


def _pod(result: Result) -> PodResult:
    tables = {name: result.frame(name) for name in result.tables}
    return PodResult(name=result.pod, statistics=result.statistics, **tables)


def read_paths(folder: Path) -> Paths | None:
    """The paths of a run whose bytes have been proven; None when it has none."""
    import json

    import pyarrow.parquet as pq

    record, table = folder / "evidence" / "paths.json", folder / "evidence" / "paths.parquet"
    if not record.is_file():
        return None
    columns = pq.read_table(table)
    arrays = {name: columns.column(name).to_numpy(zero_copy_only=False) for name in columns.column_names}
    return Paths(json.loads(record.read_bytes()), arrays)


def _cut_all(results: Sequence[Result], day: np.datetime64, periods_per_year: int, earlier: int) -> tuple[Result, ...]:
    """The results as they stood at the close of `day`, with statistics made again from what is left.

    Every parameter set that was tried in a fold begun by then is a trial, and so are the `earlier` ones of other runs
    on the same data. Their own Sharpe ratios are not in the run
    folder, so their variance is that of independent trials without skill, one over the number of sessions.
    """
    cut = [_cut(result, day) for result in results]
    trials = max(1, earlier + sum(int(result.tables["folds"]["trials"].sum()) for result in cut))
    sessions = cut[0].sessions.size
    if sessions < _FEWEST:
        return tuple(replace(result, statistics={}) for result in cut)
    variance = 1.0 / (sessions - 1)
    return tuple(
        replace(
            result, statistics=account_statistics(result.tables, trials, variance, periods_per_year=periods_per_year)
        )
        for result in cut
    )


def _cut(result: Result, day: np.datetime64) -> Result:
    """The result without any row that was not known at the close of `day`."""
    tables: dict[str, Mapping[str, Any]] = {}
    for name, table in result.tables.items():
        keep = table[_DATE_OF_ROW.get(name, "session")] <= day
        tables[name] = {column: values[keep] for column, values in table.items()}
    cleared = tables["breaches"]["cleared_session"]
    never = np.datetime64("NaT", "D")
    tables["breaches"] = {**tables["breaches"], "cleared_session": np.where(cleared <= day, cleared, never)}
    tables["folds"] = {**tables["folds"], "test_end": np.minimum(tables["folds"]["test_end"], day)}
    return replace(result, tables=tables)


def _compare(results: Sequence[Result], benchmark: str, stored: Mapping[str, Any]) -> Mapping[str, Any]:
    if len(results[0].sessions) <= _FEWEST or any(result.statistics.get("lost") for result in results):
        return {}
    method = stored.get("method") or {}
    return compare_pods(
        {result.pod: result.returns[1:] for result in results},
        results[0].risk_free[1:],
        benchmark,
        {result.pod: result.statistics for result in results},
        seed=int(method.get("seed", 0)),
        draws=int(method.get("draws", 2000)),
    )


def _last_policies(folder: Path, pods: Sequence[PodResult]) -> dict[str, PolicyArtefact]:
    """The policies that the pods' last folds name, each proven against its hash."""
    digests = []
    for pod in pods:
        if len(pod.folds):
            digest = pod.folds["policy_hash"].iloc[-1]
            if isinstance(digest, str) and digest:
                digests.append(digest)
    return {digest: read_policy(folder, digest) for digest in sorted(set(digests))}
