"""The pictures of an event run's page: profit by session and by fill model, mark-outs, the path of the inventory."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from backtests.walk.result import Result, Run
from reports import charts, svg
from reports.charts import Series
from reports.formats import clip_text, number, significant
from reports.intraday_figures import horizons, profits_of, resting
from reports.svg import Frame

Floats = NDArray[np.float64]
ROW = 17.0
MOST_POINTS = 600


def style_of(run: Run, place: int) -> str:
    """A pod's line style, the same in every picture."""
    return charts.pod_style(place, benchmark=run.results[place].pod == run.benchmark and len(run.results) > 1)


def profit_chart(run: Run) -> Markup:
    """Profit so far of every pod, session by session."""
    sessions = run.results[0].sessions
    series = [
        Series(result.pod, np.cumsum(result.tables["account"]["profit"]), style_of(run, place))
        for place, result in enumerate(run.results)
    ]
    return charts.time_lines(sessions, series, "Profit so far by pod", lambda v: significant(v, 3), include=[0.0])


def case_chart(run: Run) -> Markup:
    """Each pod's profit under each case of fills as a dot with two standard errors to either side."""
    rows = [
        (place, result.pod, case, profit)
        for place, result in enumerate(run.results)
        for case, profit in profits_of(result).items()
    ]
    ends = [item["total"] + sign * 2.0 * (item["error"] or 0.0) for _, _, _, item in rows for sign in (-1.0, 1.0)]
    low, high = min(0.0, *ends), max(0.0, *ends)
    gaps = len(run.results)
    height = 34.0 + ROW * len(rows) + 12.0 * gaps
    frame = Frame(charts.WIDTH, height, 210, 12, 8, 26, (low, high or 1.0), (0.0, 1.0))
    body: list[str] = []
    base = height - frame.bottom
    for tick in svg.nice_ticks(low, high, 5):
        x = frame.x(tick)
        body.append(svg.segment(x, frame.top, x, base, "z" if tick == 0 else "g"))
        body.append(svg.text(x, base + 16, significant(tick, 3), "k", "middle"))
    y, before = frame.top, -1
    for place, pod, case, item in rows:
        if place != before:
            y += 12.0
            body.append(svg.text(4, y + 5, clip_text(pod, 16), f"t{style_of(run, place)}"))
            before = place
        body.append(svg.text(frame.left - 8, y + 5, case.replace("_", " "), "k", "end"))
        reach = 2.0 * (item["error"] or 0.0)
        style = style_of(run, place)
        body.append(svg.segment(frame.x(item["total"] - reach), y, frame.x(item["total"] + reach), y, style))
        x = frame.x(item["total"])
        body.append(svg.segment(x, y - 5, x, y + 5, style))
        y += ROW
    return svg.document(charts.WIDTH, height, "Profit by pod and fill model, two standard errors each way", body)


def mark_out_chart(run: Run) -> Markup:
    """What is left of the maker's edge after each horizon, by pod, with one standard error each way.

    Pods without a resting fill have no line, and no name beside it.
    """
    seconds = horizons(run)
    lines: dict[int, tuple[Floats, Floats]] = {}
    for place, result in enumerate(run.results):
        found = resting(result)
        means = [_value(next(iter(found.values()), None), "edge")]
        means += [_value(found.get(horizon), "kept") for horizon in seconds]
        errors = [0.0, *(_value(found.get(horizon), "kept_error") for horizon in seconds)]
        known = np.isfinite(means)
        if (known[1:] & known[:-1]).any():
            lines[place] = np.array(means), np.array(errors)
    names = [clip_text(run.results[place].pod, charts.LABEL) for place in lines]
    both = [value for kept, error in lines.values() for value in (*(kept - error), *(kept + error))]
    reach = [value for value in both if math.isfinite(value)]
    low, high = min([0.0, *reach]), max([0.0, *reach])
    room = 14.0 + 7.8 * max((len(name) for name in names), default=0)
    frame = Frame(charts.WIDTH, 280, 46, room, 14, 40, (0.0, float(max(len(seconds), 1))), (low, high or 1.0))
    body = svg.axes(frame, svg.nice_ticks(low, high, 5), lambda v: significant(v, 3))
    for column, words in enumerate(["fill", *(f"{horizon:g} s" for horizon in seconds)]):
        body.append(svg.text(frame.x(column), 258, words, "k", "middle"))
    body.append(svg.text(frame.left + frame.plot_width / 2, 274, "after the fill", "k", "middle"))
    wide = len(run.results)
    ends = []
    for place, (kept, error) in lines.items():
        style, shift = style_of(run, place), 3.0 * (place - 0.5 * (wide - 1))
        x = np.array([frame.x(column) + shift for column in range(kept.size)])
        y = np.array([frame.y(value) if math.isfinite(value) else math.nan for value in kept])
        body.append(svg.path(svg.polyline(x, y), style))
        for column in range(1, kept.size):
            if math.isfinite(kept[column]) and math.isfinite(error[column]):
                top, bottom = frame.y(kept[column] + error[column]), frame.y(kept[column] - error[column])
                body.append(svg.segment(x[column], top, x[column], bottom, style))
        finite = y[np.isfinite(y)]
        ends.append(float(finite[-1]) + 4)
    places = svg.spread_labels(ends, 16.0, frame.top + 4, frame.height - frame.bottom + 4)
    for place, name, at in zip(lines, names, places, strict=True):
        body.append(svg.text(frame.width - frame.right + 8, at, name, f"t{style_of(run, place)}"))
    return svg.document(charts.WIDTH, 280, "Ticks kept of the edge after each horizon, by pod", body)


def _value(row: object, name: str) -> float:
    value = row[name] if isinstance(row, dict) else None
    return math.nan if value is None else float(value)


def inventory_charts(run: Run) -> list[tuple[str, Markup]]:
    """The last test session of each pod and instrument: position, and the mid with the pod's own quotes."""
    pictures = []
    for place, result in enumerate(run.results):
        table = result.tables["inventory"]
        for symbol in dict.fromkeys(table["instrument"].tolist()):
            last = table["session"] == result.sessions[-1]
            chosen = np.flatnonzero(last & (table["instrument"] == symbol))
            if chosen.size:
                title = f"{result.pod}, {symbol}, {result.sessions[-1]}"
                pictures.append((title, _session_picture(result, chosen, style_of(run, place), title)))
    return pictures


def _session_picture(result: Result, rows: NDArray[np.intp], style: str, label: str) -> Markup:
    table = result.tables["inventory"]
    rows = rows[:: max(1, rows.size // MOST_POINTS)]
    minutes = (table["time"][rows] - table["time"][rows[0]]) / 60e9
    position = table["position"][rows].astype(np.float64)
    prices = [table[name][rows] for name in ("bid", "ask", "mid")]
    across = (0.0, float(minutes[-1]) or 1.0)
    top = _frame(prices, across, 14.0, 150.0)
    low = _frame([position, np.zeros(1)], across, 176.0, 106.0)
    body = svg.axes(top, svg.nice_ticks(*top.y_range, 4), lambda v: number(v, _digits(top.y_range)))
    for values, line in zip(prices, (style, style, "c"), strict=True):
        body.append(_steps(top, minutes, values, line))
    body += svg.axes(low, svg.nice_ticks(*low.y_range, 4), lambda v: significant(v, 3))
    body.append(_steps(low, minutes, position, style))
    base = low.height - low.bottom
    for tick in svg.nice_ticks(*across, 6):
        x = low.x(tick)
        body += [svg.segment(x, base, x, base + 4, "g"), svg.text(x, base + 16, significant(tick, 3), "k", "middle")]
    body.append(svg.text(low.left + low.plot_width / 2, base + 31, "minutes", "k", "middle"))
    body.append(svg.text(low.left, top.top - 3, "mid and own quotes", "k"))
    body.append(svg.text(low.left, low.top - 4, "position, lots", "k"))
    return svg.document(charts.WIDTH, low.height, label, body)


def _frame(values: Sequence[Floats], across: tuple[float, float], top: float, plot: float) -> Frame:
    known = np.concatenate([part[np.isfinite(part)] for part in values])
    low, high = (float(known.min()), float(known.max())) if known.size else (0.0, 1.0)
    air = 0.05 * (high - low) or 1.0
    total = 320.0
    return Frame(charts.WIDTH, total, 56, 12, top, total - top - plot, across, (low - air, high + air))


def _digits(span: tuple[float, float]) -> int:
    return max(0, 1 - math.floor(math.log10(max(span[1] - span[0], 1e-9))))


def _steps(frame: Frame, x: Floats, values: Floats, style: str) -> str:
    """A line that stays at each value until the next one."""
    across = np.repeat([frame.x(value) for value in x], 2)[1:]
    down = np.repeat([frame.y(value) if math.isfinite(value) else math.nan for value in values], 2)[:-1]
    return svg.path(svg.polyline(across, down), style)
