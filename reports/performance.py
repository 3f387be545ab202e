"""How the pods did: the table of statistics, equity, drawdown, correlation, the months."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from reports import charts
from reports.charts import Reference, Series
from reports.formats import MISSING, basis_points, integer, is_number, number, percent, probability
from reports.overview import action_words, cash_returns
from reports.read_run import PodResult
from reports.tables import Cell, Grid, Group, key_line

MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


@dataclass(frozen=True, slots=True)
class Line:
    """A row of the pod table: where its number lies in statistics.json, its words and its form."""

    path: str
    words: str
    form: Callable[[Any], str]


def _signed_percent(value: Any) -> str:
    return percent(value, 2, signed=True)


def _loss(value: Any) -> str:
    """A loss as a positive percentage, whichever sign the file has."""
    return percent(abs(value), 2) if is_number(value) else MISSING


POD_LINES: tuple[Line | Group, ...] = (
    Group("Return"),
    Line("annual_return", "Annual return", _signed_percent),
    Line("excess_return", "Annual excess over CDI", _signed_percent),
    Line("annual_volatility", "Annual volatility", lambda v: percent(v, 2)),
    Group("Return for risk"),
    Line("sharpe", "Sharpe ratio (over CDI)", lambda v: number(v, 2)),
    Line("sharpe_standard_error", "± standard error", lambda v: number(v, 2)),
    Line("probabilistic_sharpe", "Probabilistic Sharpe (1 less p)", probability),
    Line("deflated_sharpe", "Deflated Sharpe (1 less p)", probability),
    Line("trials", "Trials deflated for", integer),
    Line("deflated_sharpe_threshold", "Sharpe that luck alone shows", lambda v: number(v, 2)),
    Line("sortino", "Sortino ratio (over CDI)", lambda v: number(v, 2)),
    Line("calmar", "Calmar ratio (CDI not deducted)", lambda v: number(v, 2)),
    Line("max_drawdown", "Largest drawdown", _loss),
    Group("Trading"),
    Line("annual_turnover", "Turnover, times NAV a year", lambda v: number(v, 1)),
    Line("annual_cost", "Costs, bps of NAV a year", basis_points),
)
"""The pod table's rows; difference to the benchmark follows from comparison.json."""


def pod_table(pods: Sequence[PodResult], comparison: Mapping[str, Any], benchmark: str) -> Grid:
    """Statistics of all pods side by side, the pods as columns."""
    rows: list[Any] = []
    for line in POD_LINES:
        rows.append(
            line if isinstance(line, Group) else (line.words, *(line.form(find(p.statistics, line.path)) for p in pods))
        )
    if benchmark and len(pods) > 1:
        rows += [Group(f"Against {benchmark}"), *_difference_rows(pods, comparison, benchmark)]
    place = next((i for i, row in enumerate(rows) if not isinstance(row, Group) and row[0] == "Annual return"), -1)
    rows.insert(place + 1, ("CDI, annual return", *(percent(annual_cash(p), 2, signed=True) for p in pods)))
    note = POD_NOTE + (DIFFERENCE_NOTE if benchmark and len(pods) > 1 else "")
    head = [Markup("Out of sample")] + [key_line(style_of(i, p, benchmark), p.name) for i, p in enumerate(pods)]
    return Grid(key="pods", head=head, rows=rows, style="sticky wide" if len(pods) > 2 else "sticky", note=note)


POD_NOTE = (
    "Annual figures, after costs. Two standard errors each way are about a 95% interval. Probabilistic "
    "Sharpe: one less the p value of a true Sharpe ratio of zero. Deflated Sharpe: the same of what the best of that "
    "many trials without skill would show; below 0.95 is no evidence. Neither is the probability of skill."
)
DIFFERENCE_NOTE = (
    " p value: how often a difference this large would come from chance alone if the true one were zero; with several "
    "pods, divide the usual 0.05 by their number."
)


def annual_cash(pod: PodResult) -> float:
    """Geometric annual return of cash over the pod's sessions, NaN for a single one."""
    earned = cash_returns(pod)[1:]
    periods = float(pod.statistics.get("sessions_per_year") or 252)
    return float(np.prod(1.0 + earned) ** (periods / len(earned)) - 1.0) if len(earned) else float("nan")


def find(record: Mapping[str, Any], path: str) -> Any:
    """The value at a dotted path of nested mappings, None where there is none."""
    value: Any = record
    for part in path.split("."):
        if not isinstance(value, Mapping):
            return None
        value = value.get(part)
    return value


def _difference_rows(pods: Sequence[PodResult], comparison: Mapping[str, Any], benchmark: str) -> list[Any]:
    found = comparison.get("differences", {})
    mean, interval, chance = ["Annual difference"], ["95% bootstrap interval"], ["p value of no difference"]
    for pod in pods:
        record = found.get(pod.name) if isinstance(found, Mapping) else None
        if pod.name == benchmark or not isinstance(record, Mapping):
            blank = "–" if pod.name == benchmark else MISSING
            for row in (mean, interval, chance):
                row.append(blank)
            continue
        mean.append(percent(record.get("annual_difference"), 2, signed=True))
        low, high = (percent(record.get(k), 1, signed=True) for k in ("low", "high"))
        interval.append(MISSING if MISSING in (low, high) else f"{low} to {high}")
        chance.append(probability(record.get("p_value")))
    return [mean, interval, chance]


def equity_chart(pods: Sequence[PodResult], benchmark: str) -> Markup:
    """Growth of 1 R$ of every pod, after costs."""
    sessions = pods[0].sessions
    series = [
        Series(p.name, on_sessions(p, sessions, growth(p)), style_of(i, p, benchmark)) for i, p in enumerate(pods)
    ]
    cash = on_sessions(pods[0], sessions, np.asarray(np.cumprod(1.0 + cash_returns(pods[0]), dtype=np.float64)))
    series.append(Series("CDI", cash, "sm"))
    return charts.time_lines(
        sessions, series, "Growth of 1 by pod and of CDI, after costs", charts.growth, include=[1.0]
    )


def growth(pod: PodResult) -> NDArray[np.float64]:
    """(T,) value of 1 R$ put in before the first session."""
    return np.asarray(np.cumprod(1.0 + pod.column("return")))


def drawdown_chart(pods: Sequence[PodResult], benchmark: str, levels: Sequence[Sequence[Reference]]) -> Markup:
    """Fall from the highest value so far, one panel per pod on its own scale, with the levels at which its limits act.

    `levels` has the lines of each pod; a pod without limits has none.
    """
    sessions = pods[0].sessions
    series = [
        Series(p.name, on_sessions(p, sessions, -p.column("drawdown")), style_of(i, p, benchmark))
        for i, p in enumerate(pods)
    ]
    return charts.depth_panels(sessions, series, "Drawdown by pod", lambda v: percent(v, 1), references=levels)


def drawdown_levels(limits: Sequence[Mapping[str, Any]]) -> list[Reference]:
    """The hard and kill levels of the drawdown limit as lines below zero."""
    styles = {"hard": "ra", "kill": "rk"}
    levels = []
    for limit in limits:
        if limit.get("measure", limit.get("name")) == "drawdown":
            for level, style in styles.items():
                if is_number(limit.get(level)):
                    value = float(limit[level])
                    levels.append(
                        Reference(
                            -value,
                            f"{number(100 * value, 1)}% {action_words(str(limit.get(f'action_{level}')))}",
                            style,
                        )
                    )
    return levels


def on_sessions(pod: PodResult, sessions: NDArray[np.datetime64], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """`values` of the pod placed on another calendar, NaN where the pod has no session."""
    own = pod.sessions
    if len(own) == len(sessions) and bool((own == sessions).all()):
        return values
    out = np.full(len(sessions), np.nan)
    row = np.searchsorted(own, sessions)
    inside = row < len(own)
    inside[inside] = own[row[inside]] == sessions[inside]
    out[inside] = values[row[inside]]
    return out


def correlation_table(pods: Sequence[PodResult], comparison: Mapping[str, Any]) -> Grid | None:
    """Correlation of the pods' daily returns as a coloured triangle; None for a single pod."""
    if len(pods) < 2:
        return None
    names = [p.name for p in pods]
    found = comparison.get("correlation")
    listed = [str(n) for n in comparison.get("pods", names)]
    rows: list[Any] = []
    for name in names[1:]:
        cells: list[Any] = [name]
        for other in names[:-1]:
            if names.index(other) >= names.index(name):
                cells.append("")
            else:
                cells.append(_correlation_cell(_pick(found, listed, name, other)))
        rows.append(cells)
    return Grid(key="correlation", head=["", *names[:-1]], rows=rows, style="heat")


def _pick(found: Any, listed: Sequence[str], name: str, other: str) -> Any:
    if isinstance(found, Mapping):
        return find(found, f"{name}.{other}") if "." not in name + other else found.get(name, {}).get(other)
    if isinstance(found, list) and name in listed and other in listed:
        return found[listed.index(name)][listed.index(other)]
    return None


def _correlation_cell(value: Any) -> Cell:
    return Cell(number(value, 2), shade(value, 1.0))


def month_tables(pods: Sequence[PodResult]) -> list[tuple[str, Grid]]:
    """Per pod, the months' returns: years down, months across, coloured on one scale for all pods."""
    tables = [(pod.name, *monthly(pod)) for pod in pods]
    everything = np.concatenate([m[np.isfinite(m)] for _, _, m, _ in tables] or [np.zeros(1)])
    scale = float(np.quantile(np.abs(everything), 0.95)) if len(everything) else 1.0
    out = []
    for name, years, months, totals in tables:
        rows: list[tuple[str | Cell, ...]] = [
            (
                str(year),
                *(Cell("" if np.isnan(v) else number(100 * v, 1), shade(v, scale or 1.0)) for v in months[i]),
                Cell(number(100 * totals[i], 1), "sum"),
            )
            for i, year in enumerate(years)
        ]
        out.append((name, Grid(key=f"months-{name}", head=("", *MONTHS, "Year"), rows=rows, style="heat wide")))
    return out


def monthly(pod: PodResult) -> tuple[list[int], NDArray[np.float64], NDArray[np.float64]]:
    """Years, (years, 12) compounded monthly returns (NaN where there is no session), (years,) yearly returns."""
    months = pod.sessions.astype("datetime64[M]").astype(int)
    factor = 1.0 + pod.column("return")
    years = sorted(set((1970 + months // 12).tolist()))
    table = np.full((len(years), 12), np.nan)
    totals = np.empty(len(years))
    for i, year in enumerate(years):
        totals[i] = np.prod(factor[1970 + months // 12 == year]) - 1.0
        for month in range(12):
            inside = months == (year - 1970) * 12 + month
            if inside.any():
                table[i, month] = np.prod(factor[inside]) - 1.0
    return years, table, totals


def shade(value: Any, scale: float) -> str:
    """Background class of a heat cell: seven steps of blue for gains, of orange for losses."""
    if not is_number(value):
        return ""
    step = min(7, round(7 * abs(float(value)) / scale))
    return "" if step == 0 else f"{'p' if value > 0 else 'm'}{step}"


def style_of(index: int, pod: PodResult, benchmark: str) -> str:
    """The line style of a pod, the same in every picture of a page."""
    return charts.pod_style(index, benchmark=pod.name == benchmark)
