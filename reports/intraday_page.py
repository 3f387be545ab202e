"""The report of an event run: one HTML file, made from the run folder's files and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from backtests.evidence.sensitivity import read_study
from backtests.walk.result import Run
from backtests.walk.result_files import read_run
from data_pipeline.errors import DataError
from reports import intraday_figures as figures
from reports import intraday_pictures as pictures
from reports import intraday_words as sentences
from reports.compare_sensitivity import study_chapters
from reports.formats import day, integer, plain, short_hash, words
from reports.overview import quality_light
from reports.page import write_page
from reports.paths_view import PathAccount, grid_of, pictures_of
from reports.read_run import read_paths
from reports.record import flat
from reports.tables import Cell, Grid


def write_intraday_report(run_folder: Path | str, *, output: Path | str | None = None) -> Path:
    """Path of the report written for an event run; by default `report.html` in its folder.

    Raises
    ------
    DataError
        When the folder is not that of a complete event run.
    OSError
        When the page cannot be written.
    """
    folder = Path(run_folder)
    run = read_run(folder)
    if run.kind.name != "intraday":
        raise DataError(f"{folder}: a run of kind {run.kind.name!r}: this page is for event runs; use write_report")
    place = Path(output) if output is not None else folder / "report.html"
    study = read_study(folder)
    shown = {"study": study_chapters(study, run.benchmark) if study else None}
    return write_page(place, "intraday.html.j2", values(run) | shown)


def values(run: Run) -> dict[str, Any]:
    """Everything that the page's template prints."""
    return {
        "head": _header(run),
        "facts": sentences.facts(run),
        "bounds": figures.bound_table(run),
        "case_chart": pictures.case_chart(run),
        "profit_chart": pictures.profit_chart(run),
        "split": figures.split_table(run),
        "mark_outs": figures.mark_out_table(run),
        "mark_out_chart": pictures.mark_out_chart(run),
        "inventories": pictures.inventory_charts(run),
        "activity": figures.activity_table(run),
        "statistics": figures.statistic_table(run),
        "assumptions": figures.assumption_table(run),
        **_paths(run),
        "folds": figures.fold_table(run),
        "choices": figures.choice_tables(run),
        "left_out": figures.left_out_table(run),
        "notes": figures.note_list(run),
        "quality": {"light": quality_light(run.quality), "reasons": list(run.quality.get("reasons") or ())},
        "method": sentences.method(run),
        "provenance": _provenance(run),
        "configuration": _configuration(run),
    }


def _header(run: Run) -> dict[str, Any]:
    sessions = run.results[0].sessions
    symbols = ", ".join(item["symbol"] for item in run.configuration["instruments"])
    hashes = [
        (words(name), short_hash(value))
        for name, value in sorted(run.provenance.items())
        if isinstance(value, str) and name.endswith("_hash")
    ]
    return {
        "name": run.name,
        "first": day(sessions[1]),
        "last": day(sessions[-1]),
        "sessions": integer(sessions.size - 1),
        "symbols": symbols,
        "venue": run.configuration["venue"],
        "pods": len(run.results),
        "benchmark": run.benchmark,
        "chips": [figures.dependent_chip(run), quality_light(run.quality)],
        "hashes": hashes,
    }


def _paths(run: Run) -> dict[str, Any]:
    """Table and pictures of a combinatorial run's paths; nothing of another run, nor of one that is not on disk."""
    paths = read_paths(run.folder) if run.folder else None
    if paths is None:
        return {"path_table": None, "path_pictures": []}
    accounts = [PathAccount(result.pod, result.sessions, result.statistics) for result in run.results]
    return {
        "path_table": grid_of(paths, accounts, sentences.path_words(run)),
        "path_pictures": pictures_of(paths, [account.name for account in accounts]),
    }


def _provenance(run: Run) -> Grid:
    rows = [("Run folder", Cell(run.folder.resolve().name if run.folder else "in memory", "mono"))]
    rows += [(words(name), Cell(plain(value), "mono")) for name, value in flat(run.provenance)]
    return Grid(key="provenance", head=("Provenance", ""), rows=rows, words=2, style="wide")


def _configuration(run: Run) -> Grid:
    rows = [(Cell(name, "mono"), Cell(plain(value), "mono")) for name, value in flat(run.configuration)]
    return Grid(key="configuration", head=("Setting", "Value"), rows=rows, words=2, style="wide")
