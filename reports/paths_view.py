"""What the run says of its own search: trials counted, overfitting, haircuts, and the paths of a combinatorial run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from backtests.evidence.statistics import SESSIONS_PER_YEAR
from backtests.walk.path_record import path_measures
from reports import charts
from reports.charts import Series
from reports.formats import MISSING, day, integer, is_number, money, number, percent, probability
from reports.performance import find
from reports.read_run import Paths, RunView
from reports.tables import Cell, Grid, Group

MOST_LINES = 8
"""Paths that one picture shows each; more are shown by their lowest, quartiles and highest at each session."""

_SEARCH: Sequence[tuple[str, str, Any] | Group] = (
    Group("Trials: parameter sets x folds, each counted once however often it was run"),
    ("trial_count.of_study", "Of this run", integer),
    ("trial_count.earlier", "Of other runs and sweeps on the same data", integer),
    ("trial_count.of_data", "Deflated for", integer),
    ("min_backtest_years", "Years below which luck shows a Sharpe of 1", lambda v: number(v, 1)),
    Group("Sharpe ratio left after the haircut for them"),
    ("haircut.independent.adjusted_sharpe", "If trials were independent", lambda v: number(v, 2)),
    ("haircut.bonferroni.adjusted_sharpe", "Whatever their dependence (Bonferroni)", lambda v: number(v, 2)),
    Group("The pod's own grid over the test windows"),
    ("overfitting.trials", "Parameter sets", integer),
    ("overfitting.probability_of_backtest_overfitting", "Probability of overfitting (PBO)", probability),
    ("overfitting.degradation", "Sharpe lost from choosing to using", lambda v: number(v, 2)),
    ("overfitting.superior_predictive_ability", "Best set no better than CDI: p value (SPA)", probability),
    ("overfitting.reality_check", "The same by the reality check", probability),
)

SEARCH_NOTE = (
    "Haircut: Harvey & Liu (2015). PBO: combinatorially symmetric cross-validation (Bailey, Borwein, Lopez de Prado & "
    "Zhu 2017); 0.5 is what sets without any difference show. SPA: Hansen (2005); reality check: White (2000). PBO, "
    "SPA and reality check judge cheap replays of every parameter set, fitted on each training window and traded with "
    f"flat costs over its test window. {MISSING} stands where a grid has one set or too few sessions."
)


def search_table(run: RunView) -> Grid:
    """How many trials there were and what is left after counting them, the pods as columns."""
    rows: list[Any] = [
        line if isinstance(line, Group) else (line[1], *(line[2](find(pod.statistics, line[0])) for pod in run.pods))
        for line in _SEARCH
    ]
    head = ["", *(pod.name for pod in run.pods)]
    return Grid(key="search", head=head, rows=rows, style="sticky wide" if len(run.pods) > 2 else "sticky",
                note=SEARCH_NOTE + _all_trials(run.comparison))  # fmt: skip


def register_words(run: RunView) -> str:
    """Since when trials are counted, and what is known to be missing from the count."""
    counted = run.provenance.get("trials")
    if not isinstance(counted, Mapping):
        return "This run is from before trials were counted: only its own are known."
    earlier = int(counted["of_data"]) - int(counted["of_study"])
    if earlier:
        words = f"The register of trials holds {integer(earlier)} trials of other runs and sweeps on this data."
    else:
        words = "The register of trials holds no other run or sweep on this data: it counts from this run on."
    lost = counted.get("not_registered") or []
    if lost:
        shown = ", ".join(str(name) for name in lost[:5]) + (", ..." if len(lost) > 5 else "")
        lie = "run lies" if len(lost) == 1 else "runs lie"
        words += (
            f" {len(lost)} {lie} beside this one without being in it ({shown}): the register was deleted or is "
            "younger, and the count is too low."
        )
    return words


@dataclass(frozen=True, slots=True)
class PathWords:
    """What the page says of a kind of run's paths.

    Attributes
    ----------
    measures : sequence of (str, str, function, str or None)
        Rows of the table: name of the measure, title, its form, and the account's statistic beside it.
    start : str
        How groups begin and end: sentences.
    """

    measures: Sequence[tuple[str, str, Callable[[Any], str], str | None]]
    start: str


DAILY_WORDS = PathWords(
    (
        ("sharpe", "Sharpe ratio (over CDI)", lambda v: number(v, 2), "sharpe"),
        ("annual_return", "Annual return", lambda v: percent(v, 2, signed=True), "annual_return"),
        ("max_drawdown", "Largest drawdown", lambda v: percent(v, 2), "max_drawdown"),
        ("final_value", "Final value, R$", money, None),
    ),
    "Each group starts from cash with the whole capital, limits and high-water mark anew; what it holds at its last "
    "close is marked there, its sale not paid.",
)


@dataclass(frozen=True, slots=True)
class PathAccount:
    """A pod's walk-forward account, which stands beside its paths: all its sessions, the opening one first."""

    name: str
    sessions: NDArray[np.datetime64]
    statistics: Mapping[str, Any]


def path_pictures(run: RunView) -> list[tuple[str, Markup]]:
    """One picture per pod: growth of 1 along each path."""
    if run.paths is None:
        return []
    return pictures_of(run.paths, [pod.name for pod in run.pods])


def pictures_of(paths: Paths, pods: Sequence[str]) -> list[tuple[str, Markup]]:
    """One picture per pod: growth of 1 along each path."""
    return [(pod, _path_picture(paths, pod)) for pod in pods]


def path_grid(run: RunView) -> Grid | None:
    """The table of a daily run's paths; see `grid_of`."""
    if run.paths is None:
        return None
    accounts = [PathAccount(pod.name, pod.sessions, pod.statistics) for pod in run.pods]
    return grid_of(run.paths, accounts, DAILY_WORDS)


def grid_of(paths: Paths, accounts: Sequence[PathAccount], words: PathWords) -> Grid:
    """Measures over the paths of each pod: lowest, quartiles, highest; the account's, and the median where it ran.

    The account has only the test windows of the walk-forward, the paths nearly all sessions: without the same sessions
    in both, what the market did in the others would be taken for an effect of training.
    """
    rows: list[Any] = []
    for pod in accounts:
        rows.append(Group(pod.name))
        beside = _where_the_account_ran(paths, pod)
        for name, title, form, own in words.measures:
            found = paths.record["pods"][pod.name][name]
            quantiles = [form(found[level]) for level in LEVELS]
            both = (beside.get(name), find(pod.statistics, own)) if own else (None, None)
            rows.append((title, *quantiles, *(form(value) if is_number(value) else "–" for value in both)))
    head = ("Over the paths", "Lowest", "Lower quartile", "Median", "Upper quartile", "Highest",
            "Median where the account ran", "Walk-forward account")  # fmt: skip
    note = path_note(paths, accounts[0].sessions, words)
    return Grid(key="paths", head=tuple(Cell(name) for name in head), rows=rows, style="wide", note=note)


LEVELS = ("lowest", "lower_quartile", "median", "upper_quartile", "highest")


def path_note(paths: Paths, sessions: NDArray[np.datetime64], words: PathWords) -> str:
    """What the paths are and are not; `sessions` are the account's."""
    record, groups = paths.record, paths.record["groups"]
    return (
        f"{counted(len(record['paths']), 'path')} from {counted(len(record['splits']), 'split')} of {len(groups)} "
        f"groups (Lopez de Prado 2018), {day(groups[0][0])} to {day(groups[-1][1])}; labels purged over "
        f"{counted(record['purge'], 'session')}, embargo {counted(record['embargo'], 'session')}. In a split a pod "
        "also trains on sessions after those that it is tested on: nobody could have traded a path. "
        f"{words.start} Paths share sessions and training, so their spread is no standard error. The account trained "
        f"on the past alone and ran from {day(sessions[0])} to {day(sessions[-1])}; the column before it has the paths "
        "over those sessions."
    )


def counted(number_of: int, noun: str) -> str:
    """A number with its noun.

    >>> counted(1, "path"), counted(15, "split")
    ('1 path', '15 splits')
    """
    return f"{integer(number_of)} {noun}{'' if number_of == 1 else 's'}"


def _where_the_account_ran(paths: Paths, pod: PathAccount) -> dict[str, Any]:
    """Median of each measure over the paths, of the sessions that the account has too; none without two of them."""
    sessions = paths.table["session"]
    shared = (sessions > pod.sessions[0]) & (sessions <= pod.sessions[-1])
    table = {name: values[shared] for name, values in paths.table.items()}
    if np.unique(table["session"]).size < 2:
        return {}
    found = path_measures(table, pod.name, 1.0, int(pod.statistics.get("sessions_per_year", SESSIONS_PER_YEAR)))
    return {name: measure["median"] for name, measure in found.items()}


def _path_picture(paths: Paths, pod: str) -> Markup:
    mine = paths.table["pod"] == pod
    number_of = paths.table["path"][mine]
    returns = paths.table["return"][mine]
    growth = np.array([np.cumprod(1.0 + returns[number_of == path]) for path in np.unique(number_of)])
    sessions = paths.table["session"][mine][number_of == 1]
    words = f"Growth of 1 along {len(growth)} paths of {pod}, after costs"
    return charts.time_lines(sessions, _lines(growth), words, charts.growth, include=[1.0], height=260.0)


def _lines(growth: NDArray[np.float64]) -> list[Series]:
    if len(growth) <= MOST_LINES:
        return [
            Series(f"path {row + 1}", values, f"s{row % charts.SERIES_STYLES}") for row, values in enumerate(growth)
        ]
    levels = zip(LEVELS, np.quantile(growth, [0.0, 0.25, 0.5, 0.75, 1.0], axis=0), strict=True)
    return [Series(name.replace("_", " "), values, f"s{row}") for row, (name, values) in enumerate(levels)]


def _all_trials(comparison: Mapping[str, Any]) -> str:
    found = comparison.get("all_trials")
    if not isinstance(found, Mapping) or not is_number(found.get("probability_of_backtest_overfitting")):
        return ""
    return (
        f" All {integer(found['trials'])} sets of all pods together: PBO "
        f"{probability(found['probability_of_backtest_overfitting'])}, SPA p value "
        f"{probability(found['superior_predictive_ability'])}."
    )
