"""Sharpe ratios with their uncertainty and after counting the trials, each form by its name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from backtests.evidence.haircut import harvey_liu_haircut
from reports.formats import integer, is_number, number, percent, probability
from reports.performance import Line
from reports.read_run import PodResult
from reports.tables import Grid, Group

LINES: tuple[Line | Group, ...] = (
    Group("How uncertain"),
    Line("sharpe", "Sharpe ratio, annual", lambda v: number(v, 2)),
    Line("sharpe_standard_error", "± standard error, independent days", lambda v: number(v, 2)),
    Line("autocorrelation", "Correlation with the next day", lambda v: number(v, 3)),
    Line("sharpe_standard_error_serial", "± standard error with it", lambda v: number(v, 2)),
    Group("Against zero: one less the p value"),
    Line("probabilistic_sharpe", "Probabilistic Sharpe, form of 2012", probability),
    Line("probabilistic_sharpe_2025", "form of 2025", probability),
    Line("probabilistic_sharpe_2025_serial", "form of 2025 with serial correlation", probability),
    Line("min_track_record_years", "Years for 95% (2012)", lambda v: number(v, 1)),
    Group("After counting the trials"),
    Line("trials", "Trials", integer),
    Line("min_backtest_years", "Years for so many trials", lambda v: number(v, 1)),
    Line("years", "Years there are", lambda v: number(v, 1)),
    Line("deflated_sharpe", "Deflated Sharpe, form of 2014", probability),
    Line("deflated_sharpe_2025", "form of 2025 with serial correlation", probability),
    Line("haircut_sharpe", "Sharpe ratio left (Harvey and Liu)", lambda v: number(v, 2)),
    Line("haircut", "Haircut", lambda v: percent(v, 0)),
)

NOTE = (
    "Years for 95%: how long this Sharpe ratio must be shown before it is above zero with 95% confidence. Years for so "
    "many trials: over less, the best of as many without skill shows an annual Sharpe ratio of 1. Sharpe ratio left: "
    "the one that alone has the p value that this one has after Bonferroni's adjustment for all trials."
)


def sharpe_table(pods: Sequence[PodResult]) -> Grid:
    """The named forms of the Sharpe ratio's inference, pods as columns."""
    found = [_with_haircut(pod.statistics) for pod in pods]
    rows: list[Any] = [
        line if isinstance(line, Group) else (line.words, *(line.form(item.get(line.path)) for item in found))
        for line in LINES
    ]
    return Grid(key="sharpe", head=("", *(pod.name for pod in pods)), rows=rows, style="sticky wide", note=NOTE)


def _with_haircut(statistics: Mapping[str, Any]) -> Mapping[str, Any]:
    """The statistics with years in the place of sessions, and the haircut for all trials."""
    record = dict(statistics)
    year = float(statistics.get("sessions_per_year") or 252)
    shortest, observations = statistics.get("min_track_record_sessions"), statistics.get("observations")
    if is_number(shortest):
        record["min_track_record_years"] = float(shortest or 0.0) / year
    if is_number(observations):
        record["years"] = float(observations or 0.0) / year
    sharpe, trials = statistics.get("sharpe"), statistics.get("trials")
    if is_number(sharpe) and is_number(trials) and record.get("years"):
        cut = harvey_liu_haircut(float(sharpe or 0.0), record["years"], int(trials or 1), "bonferroni")
        record |= {"haircut_sharpe": cut.adjusted_sharpe, "haircut": cut.haircut}
    return record
