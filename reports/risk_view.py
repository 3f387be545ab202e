"""Forecasts of loss against what happened, and how concentrated the pods were."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from markupsafe import Markup

from reports import charts
from reports.charts import Series
from reports.formats import MISSING, clip_text, day, integer, is_number, number, percent, probability
from reports.overview import forecast_text, hhi_of_capital
from reports.performance import find, on_sessions
from reports.read_run import PodResult, days
from reports.tables import Cell, Grid, key_line, light

ZONES = {"green": "ok", "amber": "warn", "yellow": "warn", "red": "bad"}


def var_chart(pod: PodResult) -> Markup:
    """Daily results of a pod under its VaR and expected shortfall, exceptions marked."""
    sessions = pod.sessions
    forecast = days(pod.risk["session"])
    returns = on_sessions(pod, sessions, pod.column("return"))
    rows = np.searchsorted(sessions, forecast)
    values = {name: np.full(len(sessions), np.nan) for name in ("var_99", "es_975")}
    for name, out in values.items():
        out[rows] = pod.column(name, "risk")
    flags = np.zeros(len(sessions), dtype=bool)
    flags[rows] = _flags(pod)
    words = f"{pod.name}: daily results, VaR 99% and expected shortfall 97.5%, {int(flags.sum())} exceptions"
    return charts.daily_results(sessions, returns, values["var_99"], values["es_975"], flags, words)


def var_table(pods: Sequence[PodResult]) -> Grid:
    """The backtest of VaR 99%, one row per pod."""
    rows = []
    for pod in pods:
        record = find(pod.statistics, "var_backtest") or {}
        zone = str(record.get("zone") or MISSING)
        rows.append(
            (
                pod.name,
                integer(record.get("sessions")),
                integer(record.get("exceptions")),
                number(record.get("expected"), 1),
                number(record.get("kupiec_statistic"), 2),
                probability(record.get("kupiec_p_value")),
                Cell(light(ZONES.get(zone, "none"), zone), "n"),
                forecast_text(pod, "var_99"),
                forecast_text(pod, "es_975"),
                integer(int(np.isnan(pod.column("var_99", "risk")).sum())),
            )
        )
    head = (
        "Pod",
        "Sessions",
        "Exceptions",
        "Expected",
        "Kupiec LR",
        "p value",
        "Basel zone",
        "VaR 99%",
        "ES 97.5%",
        "No forecast",
    )
    note = (
        "Kupiec's p value: how often a count of exceptions this far from the expected one, on either side, comes from "
        "chance when VaR is right; below 0.05 VaR is rejected. The Basel zone counts only too many exceptions. VaR and "
        "ES: the latest forecast, parts of net asset value. A session has no forecast where the book was empty at the "
        "close before or had too few days of history; it does not count."
    )
    return Grid(key="var", head=head, rows=rows, style="wide sticky", note=note)


def exception_table(pods: Sequence[PodResult], most: int = 12) -> Grid:
    """The worst exceptions: the result, the forecast that it exceeded."""
    found: list[tuple[float, Any]] = []
    for pod in pods:
        by_day = dict(zip(pod.sessions.tolist(), pod.column("return").tolist(), strict=True))
        forecast = days(pod.risk["session"])
        var, flags = pod.column("var_99", "risk"), _flags(pod)
        for i in np.flatnonzero(flags):
            result = by_day.get(forecast[i].item(), float("nan"))
            row = (
                day(forecast[i]),
                pod.name,
                percent(result, 2),
                percent(-var[i], 2),
                number(-result / var[i] if var[i] > 0 else None, 2),
            )
            found.append((result, row))
    found.sort(key=lambda item: (item[0], item[1]))
    left = len(found) - most
    return Grid(
        key="exceptions",
        head=("Session", "Pod", "Result", "VaR forecast", "Result / VaR"),
        rows=[row for _, row in found[:most]],
        words=2,
        empty="No day was worse than its VaR forecast.",
        note=f"The {most} worst; {left} more are in the pods' risk.parquet." if left > 0 else "",
    )


def concentration_charts(pods: Sequence[PodResult], benchmark: str) -> list[tuple[str, Markup]]:
    """HHI of capital, which the limits read, and weight of the largest issuer, through time."""
    made = []
    for column, title, form in (
        ("hhi", "Concentration (HHI of capital)", lambda v: number(v, 3)),
        ("largest_issuer_weight", "Weight of the largest issuer", lambda v: percent(v, 0)),
    ):
        sessions = pods[0].sessions
        series = []
        for i, pod in enumerate(pods):
            values = np.full(len(pod.sessions), np.nan)
            values[np.searchsorted(pod.sessions, days(pod.risk["session"]))] = (
                hhi_of_capital(pod) if column == "hhi" else pod.column(column, "risk")
            )
            style = charts.pod_style(i, benchmark=pod.name == benchmark)
            series.append(Series(pod.name, on_sessions(pod, sessions, values), style))
        made.append((title, charts.time_lines(sessions, series, title, form, include=[0.0], height=250.0)))
    return made


def concentration_table(pods: Sequence[PodResult], benchmark: str) -> Grid:
    """Concentration at the last close."""
    rows = []
    for i, pod in enumerate(pods):
        hhi = _last(pod, "hhi")
        names = pod.risk["largest_issuer"]
        issuer = str(names.iloc[-1]) if len(names) and isinstance(names.iloc[-1], str) else MISSING
        issuer = issuer or "no position"
        rows.append(
            (
                key_line(charts.pod_style(i, benchmark=pod.name == benchmark), pod.name),
                number(float(hhi_of_capital(pod)[-1]) if len(pod.risk) else None, 3),
                number(hhi if is_number(hhi) and hhi > 0 else None, 3),
                number(1.0 / hhi if is_number(hhi) and hhi > 0 else None, 1),
                Cell(clip_text(issuer, 24), "l", issuer),
                percent(_last(pod, "largest_issuer_weight")),
            )
        )
    head = ("Pod", "HHI of capital", "HHI of gross", "Effective names", Cell("Largest issuer", "l"), "Its weight")
    note = (
        "HHI of gross: sum of squared shares of the gross book, 1 / effective names; one small position left has 1. "
        "HHI of capital: the same with cash as a holding that does not concentrate; the limits and the picture use it."
    )
    return Grid(key="concentration", head=head, rows=rows, note=note)  # type: ignore[arg-type]


def _flags(pod: PodResult) -> Any:
    """Exceptions as booleans; a session without a forecast is none."""
    return pod.risk["var_exception"].fillna(False).to_numpy(dtype=bool)


def _last(pod: PodResult, column: str) -> float:
    values = pod.column(column, "risk")
    return float(values[-1]) if len(values) else float("nan")
