"""The risk report of a run: one HTML file, made from the run folder's files and nothing else."""

from __future__ import annotations

from datetime import date as Date  # noqa: N812
from pathlib import Path
from typing import Any

import numpy as np

from reports import folds_view, headline, overview, paths_view, performance, policy_view, record, risk_view, trading
from reports.compare_sensitivity import study_chapters
from reports.page import write_page
from reports.quality_view import brief_chapters, totals_table
from reports.read_run import RunView, view_run

RECENT = 20
"""Breaches with an action that are listed at once; earlier ones and mere notes are folded away."""


def write_report(
    run_folder: Path | str, *, date: Date | np.datetime64 | str | None = None, output: Path | str | None = None
) -> Path:
    """Path of the risk report written for a run.

    Parameters
    ----------
    run_folder : Path
        The folder of a run (layout: docs/contracts.md, "Result on disk").
    date : date, optional
        The report as it would have been at the close of that day; by default the run's last session.
    output : Path, optional
        By default `report.html` in the run folder, with the date in its name when one is given.

    Returns
    -------
    Path
        The file: self-contained, no scripts, no outside resources; the same bytes for the same run folder.

    Raises
    ------
    DataError
        When the folder is incomplete or damaged, or the date is outside the run.
    OSError
        When the page cannot be written.
    """
    run = view_run(Path(run_folder), date)
    name = "report.html" if date is None else f"report_{run.date}.html"
    return write_page(Path(output) if output is not None else Path(run_folder) / name, "report.html.j2", values(run))


def values(run: RunView) -> dict[str, Any]:
    """Everything that the report's template prints."""
    pods = run.pods
    benchmark = run.benchmark if len(pods) > 1 else ""
    policies = policy_view.last_policies(run)
    levels = [performance.drawdown_levels(overview.pod_limits(run, pod.name)) for pod in pods]
    words = list(dict.fromkeys(level.words for each in levels for level in each))
    acted = sum(int((pod.breaches["action"] != "NOTE").sum()) for pod in pods)
    rearmed = any((pod.breaches["action"] == "REARM").any() for pod in pods)
    noted = sum(len(pod.breaches) for pod in pods) - acted
    return {
        "head": overview.header(run),
        "facts": headline.headline(run),
        "cards": overview.cards(run),
        "open_breaches": overview.breach_table(pods, "open-breaches", only_open=True, most=60),
        "profit": overview.profit_table(run),
        "pod_table": performance.pod_table(pods, run.comparison, benchmark),
        "equity": performance.equity_chart(pods, benchmark),
        "drawdown": performance.drawdown_chart(pods, benchmark, levels),
        "drawdown_words": "Each panel has its own scale."
        + (f" Dashed lines, where limits act: {', '.join(words)}." if words else "")
        + (
            " A re-armed pod's limit counts from its value on that day: the whole fall may be deeper."
            if rearmed
            else ""
        ),
        "correlation": performance.correlation_table(pods, run.comparison),
        "months": performance.month_tables(pods),
        "var_table": risk_view.var_table(pods),
        "var_charts": [(pod.name, risk_view.var_chart(pod)) for pod in pods],
        "exceptions": risk_view.exception_table(pods),
        "concentration_charts": risk_view.concentration_charts(pods, benchmark),
        "concentration": risk_view.concentration_table(pods, benchmark),
        "breach_counts": overview.breach_counts(pods),
        "breaches": overview.breach_table(pods, "breaches", notes=False, most=RECENT),
        "older_breaches": overview.breach_table(pods, "older-breaches", notes=False, first=RECENT, most=150)
        if acted > RECENT
        else None,
        "noted": overview.breach_table(pods, "noted-breaches", notes=True, most=150) if noted else None,
        "costs": trading.cost_table(pods),
        "fills": trading.fill_table(pods),
        "search": paths_view.search_table(run) if run.complete else None,
        "register": paths_view.register_words(run),
        "path_pictures": paths_view.path_pictures(run),
        "path_table": paths_view.path_grid(run),
        "study": study_chapters(run.study, benchmark) if run.study else None,
        "choice": folds_view.choice_words(run),
        "folds": folds_view.fold_tables(run),
        "calibration": folds_view.calibration_table(pods),
        "calibration_notes": folds_view.note_table(pods),
        "policies": [
            policy_view.policy_page(policy, digest, names, fold, everybody=len(names) == len(pods))
            for policy, digest, names, fold in policies[:2]
        ],
        "quality": {
            "light": overview.quality_light(run.quality),
            "reasons": [str(reason) for reason in run.quality.get("reasons") or ()],
            "totals": totals_table(run.quality),
            "chapters": brief_chapters(run.quality, None if run.complete else run.date),
        },
        "positions": trading.position_tables(pods),
        "method": record.methodology(run),
        "provenance": record.provenance_table(run),
        "configuration": record.configuration_table(run),
    }
