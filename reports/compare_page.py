"""Pods of one or several runs side by side on one page: what differs beyond chance, when, and at which size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from backtests.evidence.comparison import compare_pods, compare_runs
from backtests.evidence.comparison_record import correlation_matrix
from backtests.evidence.sensitivity import read_study
from backtests.evidence.statistics import SESSIONS_PER_YEAR
from backtests.walk.result import Result, Run
from backtests.walk.result_files import read_run
from data_pipeline.errors import DataError
from reports import performance
from reports.compare_evidence import findings, pair_table, snooping_table
from reports.compare_regimes import crisis_table, regime_table, regime_words
from reports.compare_sensitivity import study_chapters
from reports.compare_sharpe import sharpe_table
from reports.formats import clip_text, day, integer, plain, short_hash
from reports.page import write_page
from reports.performance import POD_LINES, POD_NOTE, find
from reports.read_run import PodResult
from reports.record import flat
from reports.tables import Cell, Grid, Group, key_line

MOST_DRAWN = 12
"""More lines than this in one picture cannot be told apart."""

FEWEST = 4
"""Common sessions that statistics need."""


@dataclass(frozen=True, slots=True)
class ComparedRun:
    """What the comparison needs of a run of any kind: the pods' accounts and statistics, settings and hashes."""

    folder: Path
    folder_name: str
    name: str
    benchmark: str
    pods: tuple[PodResult, ...]
    configuration: Mapping[str, Any]
    provenance: Mapping[str, Any]


def write_comparison_page(run_folders: Sequence[Path | str], output: Path | str) -> Path:
    """Path of the page that shows the pods of several runs side by side.

    Parameters
    ----------
    run_folders : sequence of Path
        One or more run folders, daily or intraday; the first run's benchmark is drawn as the benchmark.
    output : Path

    Raises
    ------
    DataError
        When a folder is not that of a complete run, or one is given twice.
    ValueError
        When there is no folder.
    """
    folders = [Path(folder) for folder in run_folders]
    if not folders:
        raise ValueError("run_folders must name at least one run folder; was empty")
    repeated = [folder for i, folder in enumerate(folders) if folder.resolve() in [f.resolve() for f in folders[:i]]]
    if repeated:
        raise DataError(f"run_folders must differ; {repeated[0]} was given twice")
    return write_page(Path(output), "comparison.html.j2", values([compared_run(folder) for folder in folders]))


def compared_run(folder: Path) -> ComparedRun:
    """The run in `folder` without the tables that only its kind has.

    Raises
    ------
    DataError
        When it is not a complete run, or a pod has no session.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: no such run folder: give the folder that `fairfield backtest` wrote")
    run: Run = read_run(folder)
    if not run.results or any(result.sessions.size == 0 for result in run.results):
        raise DataError(f"{folder}: every pod must have at least one session: run the backtest again")
    pods = tuple(_pod(result) for result in run.results)
    return ComparedRun(folder, folder.resolve().name, run.name, run.benchmark, pods, run.configuration, run.provenance)


def _pod(result: Result) -> PodResult:
    import pandas as pd

    account, nothing = result.frame("account"), pd.DataFrame()
    return PodResult(result.pod, account, nothing, nothing, nothing, nothing, nothing, nothing, result.statistics)


def values(runs: Sequence[ComparedRun]) -> dict[str, Any]:
    """Everything that the comparison's template prints."""
    pods = labelled_pods(runs)
    benchmark = pods[[p.name for p in runs[0].pods].index(runs[0].benchmark)].name
    sessions = common_sessions(pods)
    drawn = [_restricted(pod, sessions) for i, pod in enumerate(pods) if i < MOST_DRAWN or pod.name == benchmark]
    record = _record(runs, pods, benchmark) if len(sessions) >= FEWEST else {}
    several = len(runs) > 1 and bool(record)
    measured = (
        [
            replace(pod, statistics=_shared_statistics(pod.statistics, found))
            for pod, found in zip(pods, record["statistics"].values(), strict=True)
        ]
        if several
        else pods
    )
    return {
        "runs": _run_table(runs),
        "pods": _pod_table(measured, benchmark, shared=several),
        "cautions": record.get("differences_of_inputs", []),
        "differing": _differing_settings(runs),
        "n_common": integer(len(sessions)),
        "first": day(sessions[0]) if len(sessions) else "",
        "last": day(sessions[-1]) if len(sessions) else "",
        "drawn": f"The first {len(drawn)} of the {len(pods)} pods." if len(drawn) < len(pods) else "",
        "equity": performance.equity_chart(drawn, benchmark) if len(sessions) > 1 else None,
        "drawdown": performance.drawdown_chart(drawn, benchmark, []) if len(sessions) > 1 else None,
        "correlation": _correlation(drawn) if len(sessions) > 1 else None,
        "evidence": _evidence(record, measured) if record else None,
        "sensitivity": _sensitivity(runs, benchmark),
    }


def _record(runs: Sequence[ComparedRun], pods: Sequence[PodResult], benchmark: str) -> dict[str, Any]:
    """The comparison of all pods on their common sessions, under the names of the page."""
    if len(runs) > 1:
        found = compare_runs([run.folder for run in runs])
        names = dict(zip(found["pods"], [pod.name for pod in pods], strict=True))
        return {key: _renamed(item, names) for key, item in found.items()}
    own = runs[0].configuration.get("sessions_per_year")
    return compare_pods(
        {pod.name: pod.column("return")[1:] for pod in pods},
        pods[0].column("risk_free")[1:],
        benchmark,
        {pod.name: pod.statistics for pod in pods},
        sessions=pods[0].sessions[1:],
        periods_per_year=int(own or SESSIONS_PER_YEAR),
    )


def _renamed(value: Any, names: Mapping[str, str]) -> Any:
    """The record with every pod's name, as a key or as a text, in the page's words."""
    if isinstance(value, Mapping):
        return {names.get(key, key): _renamed(item, names) for key, item in value.items()}
    if isinstance(value, list):
        return [_renamed(item, names) for item in value]
    return names.get(value, value) if isinstance(value, str) else value


def _evidence(record: Mapping[str, Any], pods: Sequence[PodResult]) -> dict[str, Any]:
    facts = findings(record, {pod.name: pod.statistics for pod in pods})
    return {
        "facts": facts,
        "in_stress": regime_words(record["regimes"]),
        "sharpe": sharpe_table(pods),
        "pairs": pair_table(record),
        "snooping": snooping_table(record),
        "regimes": regime_table(record["regimes"], record["pods"]),
        "crises": crisis_table(record["crises"], record["pods"]),
    }


def _sensitivity(runs: Sequence[ComparedRun], benchmark: str) -> list[dict[str, Any]]:
    """Chapters of each run that holds a study, headed by the run where there are several."""
    chapters = []
    for run, label in zip(runs, run_labels(runs), strict=True):
        study = read_study(run.folder)
        if study is not None:
            own = benchmark if len(runs) == 1 else run.benchmark
            chapters.append({"run": label if len(runs) > 1 else ""} | study_chapters(study, own))
    return chapters


def labelled_pods(runs: Sequence[ComparedRun]) -> list[PodResult]:
    """Every pod of every run, its name made unique by the run's where two runs have a pod of that name."""
    names = [pod.name for run in runs for pod in run.pods]
    labels = run_labels(runs)
    return [
        pod if names.count(pod.name) == 1 else replace(pod, name=f"{pod.name} · {label.removeprefix(f'{run.name}-')}")
        for run, label in zip(runs, labels, strict=True)
        for pod in run.pods
    ]


def run_labels(runs: Sequence[ComparedRun]) -> list[str]:
    """The runs' names; where two runs have one name, with the beginning of the hash in their folders' names."""
    names = [run.name for run in runs]
    short = [f"{run.name}-{run.folder_name.removeprefix(run.name).strip('-')[:4]}" for run in runs]
    unique = len(set(short)) == len(runs)
    return [
        run.name if names.count(run.name) == 1 else short[i] if unique else run.folder_name
        for i, run in enumerate(runs)
    ]


def common_sessions(pods: Sequence[PodResult]) -> NDArray[np.datetime64]:
    """Sessions of which every pod has a return: those of its account after the opening one."""
    shared = pods[0].sessions[1:]
    for pod in pods[1:]:
        shared = np.intersect1d(shared, pod.sessions[1:])
    return shared


def _restricted(pod: PodResult, sessions: NDArray[np.datetime64]) -> PodResult:
    """The pod on the common sessions, its drawdown counted from the first of them."""
    keep = np.isin(pod.sessions, sessions)
    account = pod.account[keep].reset_index(drop=True)
    if not keep.any():
        return replace(pod, account=account)
    growth = np.cumprod(1.0 + account["return"].to_numpy())
    highest = np.maximum.accumulate(np.maximum(growth, 1.0))
    return replace(pod, account=account.assign(drawdown=1.0 - growth / highest))


def _run_table(runs: Sequence[ComparedRun]) -> Grid:
    rows: list[tuple[str | Cell, ...]] = []
    for run, label in zip(runs, run_labels(runs), strict=True):
        sessions = run.pods[0].sessions
        rows.append(
            (
                label,
                Cell(f"{day(sessions[0])} to {day(sessions[-1])}", "w"),
                Cell(integer(len(sessions)), "n"),
                Cell(integer(len(run.pods)), "n"),
                run.benchmark,
                *(
                    Cell(short_hash(run.provenance.get(f"{name}_hash")), "mono")
                    for name in ("data", "configuration", "code")
                ),
            )
        )
    head = ("Run", "Sessions", Cell("Number", "n"), Cell("Pods", "n"), "Benchmark", "Data", "Configuration", "Code")
    return Grid(key="runs", head=head, rows=rows, words=8, style="wide")


def _shared_statistics(own: Mapping[str, Any], record: Mapping[str, Any]) -> Mapping[str, Any]:
    """The statistics on the common sessions; turnover and costs stay those of the run's own sessions."""
    return dict(record) | {name: own.get(name) for name in ("annual_turnover", "annual_cost")}


def _head(index: int, pod: PodResult, benchmark: str) -> str | Markup:
    """The pod's name, with its line where it is drawn."""
    if index >= MOST_DRAWN and pod.name != benchmark:
        return pod.name
    return key_line(performance.style_of(index, pod, benchmark), pod.name)


def _pod_table(pods: Sequence[PodResult], benchmark: str, *, shared: bool) -> Grid:
    rows: list[Any] = [
        line if isinstance(line, Group) else (line.words, *(line.form(find(p.statistics, line.path)) for p in pods))
        for line in POD_LINES
    ]
    head = (
        "Out of sample, common sessions" if shared else "Out of sample, each run's own sessions",
        *(_head(i, pod, benchmark) for i, pod in enumerate(pods)),
    )
    note = (
        "Computed again on the sessions that all runs have; with the cash of the first; deflated for the trials of "
        "all runs together, at the largest of their variances: who lays runs side by side chooses among all of them. "
        "Turnover and costs are of each run's own sessions. "
    )
    return Grid(key="pods", head=head, rows=rows, style="sticky wide", note=(note if shared else "") + POD_NOTE)


def _differing_settings(runs: Sequence[ComparedRun]) -> Grid | None:
    """Settings that are not the same in all runs; None for a single run."""
    if len(runs) < 2:
        return None
    settings = [dict(flat(run.configuration)) for run in runs]
    names = list(dict.fromkeys(name for each in settings for name in each))
    rows = []
    for name in names:
        found = [plain(each[name]) if name in each else "–" for each in settings]
        if len(set(found)) > 1:
            rows.append((Cell(name, "mono"), *(Cell(clip_text(text, 60), "", text) for text in found)))
    head = ("Setting", *run_labels(runs))
    return Grid(
        key="differing",
        head=head,
        rows=rows,
        words=1 + len(runs),
        style="wide",
        empty="The runs have the same settings.",
    )


def _correlation(pods: Sequence[PodResult]) -> Grid | None:
    matrix = correlation_matrix(np.stack([pod.column("return") for pod in pods])).tolist()
    return performance.correlation_table(pods, {"pods": [pod.name for pod in pods], "correlation": matrix})
