"""Pods of several runs side by side on one page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backtests.evidence.comparison import compare_runs, correlation_matrix
from data_pipeline.errors import DataError
from reports import performance
from reports.formats import clip_text, day, integer, plain, short_hash
from reports.page import write_page
from reports.performance import POD_LINES, POD_NOTE, find
from reports.read_run import PodResult, RunView, view_run
from reports.record import flat
from reports.tables import Cell, Grid, Group, key_line

MOST_PODS = 12
"""More lines than this in one picture cannot be told apart."""

FEWEST = 4
"""Common sessions that statistics need."""


def write_comparison_page(run_folders: Sequence[Path | str], output: Path | str) -> Path:
    """Path of the page that shows the pods of several runs side by side.

    Parameters
    ----------
    run_folders : sequence of Path
        One or more run folders; the first run's benchmark is drawn as the benchmark.
    output : Path

    Raises
    ------
    DataError
        When a folder is not that of a complete run, one is given twice, or the runs have too many pods.
    ValueError
        When there is no folder.
    """
    folders = [Path(folder) for folder in run_folders]
    if not folders:
        raise ValueError("run_folders must name at least one run folder; was empty")
    repeated = [folder for i, folder in enumerate(folders) if folder.resolve() in [f.resolve() for f in folders[:i]]]
    if repeated:
        raise DataError(f"run_folders must differ; {repeated[0]} was given twice")
    runs = [view_run(folder) for folder in folders]
    return write_page(Path(output), "comparison.html.j2", values(folders, runs))


def values(folders: Sequence[Path], runs: Sequence[RunView]) -> dict[str, Any]:
    """Everything that the comparison's template prints."""
    pods = labelled_pods(runs)
    if len(pods) > MOST_PODS:
        raise DataError(f"at most {MOST_PODS} pods fit on one page; the runs have {len(pods)}: compare fewer runs")
    benchmark = pods[[p.name for p in runs[0].pods].index(runs[0].benchmark)].name
    sessions = common_sessions(pods)
    shared = [_restricted(pod, sessions) for pod in pods]
    common = compare_runs(folders) if len(folders) > 1 and len(sessions) > FEWEST else {}
    measured = (
        [
            replace(pod, statistics=_shared_statistics(pod.statistics, record))
            for pod, record in zip(pods, common["statistics"].values(), strict=True)
        ]
        if common
        else pods
    )
    return {
        "runs": _run_table(runs),
        "pods": _pod_table(measured, benchmark, shared=bool(common)),
        "cautions": common.get("differences_of_inputs", []),
        "differing": _differing_settings(runs),
        "n_common": integer(len(sessions)),
        "first": day(sessions[0]) if len(sessions) else "",
        "last": day(sessions[-1]) if len(sessions) else "",
        "equity": performance.equity_chart(shared, benchmark) if len(sessions) > 1 else None,
        "drawdown": performance.drawdown_chart(shared, benchmark, []) if len(sessions) > 1 else None,
        "correlation": _correlation(shared) if len(sessions) > 2 else None,
    }


def labelled_pods(runs: Sequence[RunView]) -> list[PodResult]:
    """Every pod of every run, its name made unique by the run's where two runs have a pod of that name."""
    names = [pod.name for run in runs for pod in run.pods]
    labels = run_labels(runs)
    return [
        pod if names.count(pod.name) == 1 else replace(pod, name=f"{pod.name} · {label.removeprefix(f'{run.name}-')}")
        for run, label in zip(runs, labels, strict=True)
        for pod in run.pods
    ]


def run_labels(runs: Sequence[RunView]) -> list[str]:
    """The runs' names; where two runs have one name, with the beginning of the hash in their folders' names."""
    names = [run.name for run in runs]
    short = [f"{run.name}-{run.folder_name.removeprefix(run.name).strip('-')[:4]}" for run in runs]
    unique = len(set(short)) == len(runs)
    return [
        run.name if names.count(run.name) == 1 else short[i] if unique else run.folder_name
        for i, run in enumerate(runs)
    ]


def common_sessions(pods: Sequence[PodResult]) -> NDArray[np.datetime64]:
    """Sessions that every pod has."""
    shared = pods[0].sessions
    for pod in pods[1:]:
        shared = np.intersect1d(shared, pod.sessions)
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


def _run_table(runs: Sequence[RunView]) -> Grid:
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


def _pod_table(pods: Sequence[PodResult], benchmark: str, *, shared: bool) -> Grid:
    rows: list[Any] = [
        line if isinstance(line, Group) else (line.words, *(line.form(find(p.statistics, line.path)) for p in pods))
        for line in POD_LINES
    ]
    head = (
        "Out of sample, common sessions" if shared else "Out of sample, each run's own sessions",
        *(key_line(performance.style_of(i, pod, benchmark), pod.name) for i, pod in enumerate(pods)),
    )
    note = (
        "Computed again on the sessions that all runs have; with the cash of the first; deflated for the trials of "
        "all runs together, at the largest of their variances: who lays runs side by side chooses among all of them. "
        "Turnover and costs are of each run's own sessions. "
    )
    return Grid(key="pods", head=head, rows=rows, style="sticky wide", note=(note if shared else "") + POD_NOTE)


def _differing_settings(runs: Sequence[RunView]) -> Grid | None:
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
