"""How results move with capital, fees, delay, latency and queue: curves and tables of a study's file."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from markupsafe import Markup

from backtests.evidence.sensitivity import (
    NAMED,
    NO_SIZE,
    NOT_REACHED,
    PodCapacity,
    SensitivityPoint,
    SizeInterval,
    Study,
)
from reports import svg
from reports.charts import LABEL, WIDTH, pod_style
from reports.formats import clip_text, is_number, money, number, percent, significant
from reports.svg import Frame
from reports.tables import Cell, Grid, Group

Points = Sequence[SensitivityPoint]

TITLES = {
    "capital": ("Capacity: profit against capital", "Capital", "capital of a pod"),
    "fee_factor": ("Fees", "Fees, times the usual", "fees, times the usual"),
    "order_lots": ("Capacity: profit against order size", "Lots an order", "lots an order"),
    "max_position": ("Largest position", "Largest position, lots", "largest position, lots"),
    "delay_sessions": ("Delay of decisions", "Sessions of delay", "sessions between decision and order"),
    "participation_limit": ("Largest part of a session's volume", "Part of the volume", "part of a session's volume"),
    "fill_price": ("Fill price", "Fill price", ""),
    "latency_ms": ("Latency", "Latency, ms", "latency, ms"),
    "queue": ("Queue model", "Queue model", ""),
}


SIZES = ("capital", "order_lots")
WHOLE = ("order_lots", "max_position", "delay_sessions")
LARGE_SHARE = 0.1
"""Own fills above this share of what traded are marked: such orders would have moved the book."""


def study_chapters(study: Study, benchmark: str) -> dict[str, Any]:
    """Everything that a page prints of a study: chapters, the table of capacity, notes."""
    return {
        "chapters": sensitivity_chapters(study.points, benchmark),
        "capacity": capacity_table(study.capacity) if study.capacity else None,
        "notes": list(study.notes),
    }


def capacity_table(found: Sequence[PodCapacity]) -> Grid:
    """One row per pod: where profit peaks and where Sharpe has halved, each with its interval."""
    rows = [
        (
            item.pod,
            "capital" if item.size == "capital" else "lots an order",
            f"{_of(item, item.smallest)} to {_of(item, item.largest)}",
            _interval(item, item.peak, least=item.smallest),
            _interval(item, item.half_sharpe),
        )
        for item in found
    ]
    head = ("Pod", "Size", "Sizes studied", "Profit a year peaks at (95% interval)", "Sharpe is half at (95% interval)")
    note = (
        "Half of the Sharpe ratio at the smallest size. Sessions drawn together for all sizes. "
        f"{NOT_REACHED.capitalize()}: beyond the largest size studied. {NO_SIZE.capitalize()}: no size has a profit, "
        "or the smallest no positive ratio. At most: profit falls from the smallest size on."
    )
    return Grid(key="capacity", head=head, rows=rows, words=2, style="wide", note=note)


def _interval(item: PodCapacity, found: SizeInterval, least: float | None = None) -> str:
    """A size with its interval; of `least`, the smallest size studied, only that it is no larger is known."""
    value, low, high = (
        f"at most {_of(item, size)}" if size == least else _of(item, size)
        for size in (found.value, found.low, found.high)
    )
    return value if isinstance(found.value, str) and value == low == high else f"{value} ({low} to {high})"


def _of(item: PodCapacity, size: float | str) -> str:
    if isinstance(size, str):
        return size
    return money(size) if item.size == "capital" else number(size, 1).removesuffix(".0")


def sensitivity_chapters(studies: Mapping[str, Points], benchmark: str) -> list[dict[str, Any]]:
    """Title, named pictures (none over names) and table of each dimension that has points."""
    chapters = []
    for dimension, points in studies.items():
        if points:
            title, head, words = TITLES[dimension]
            pictures: list[tuple[str, Markup | None]] = []
            size = dimension in SIZES
            if size:
                profit = curve(
                    points, lambda p: p.profit, lambda p: p.profit_error, benchmark, title, words, _amount, log=True
                )
                pictures.append(("Profit a year", profit))
            if dimension not in NAMED:
                rate = curve(
                    points,
                    lambda p: p.annual_return,
                    lambda p: p.standard_error,
                    benchmark,
                    title,
                    words,
                    _rate,
                    log=size,
                )
                pictures.append(("Annual return", rate))
            shown = [(name, picture) for name, picture in pictures if picture is not None]
            chapters.append({"title": title, "pictures": shown, "table": _table(dimension, head, points)})
    return chapters


def curve(
    points: Points,
    height_of: Callable[[SensitivityPoint], float],
    error_of: Callable[[SensitivityPoint], float],
    benchmark: str,
    label: str,
    x_words: str,
    y_format: Callable[[float], str],
    *,
    log: bool = False,
) -> Markup | None:
    """One line per pod through its points with two standard errors each way; None without a finite point."""
    shown = [p for p in points if math.isfinite(height_of(p))]
    if not shown:
        return None
    pods = list(dict.fromkeys(p.pod for p in points))

    def place(p: SensitivityPoint) -> float:
        return math.log10(float(p.value)) if log else float(p.value)

    def reach(p: SensitivityPoint) -> float:
        return 2.0 * error_of(p) if math.isfinite(error_of(p)) else 0.0

    across = [place(p) for p in shown]
    low = min(0.0, *(height_of(p) - reach(p) for p in shown))
    high = max(0.0, *(height_of(p) + reach(p) for p in shown))
    air = 0.05 * ((high - low) or 1.0)
    room = 14.0 + 7.8 * max(min(len(pod), LABEL) for pod in pods)
    frame = Frame(WIDTH, 280.0, 62, room, 14, 42, (min(across), max(across)), (low - air, high + air))
    body = svg.axes(frame, svg.nice_ticks(low, high, 5), y_format) + _axis(frame, across, x_words, log)
    ends = []
    for index, pod in enumerate(pods):
        style = pod_style(index, benchmark=pod == benchmark)
        mine = sorted((p for p in shown if p.pod == pod), key=place)
        if not mine:
            continue
        xs = np.array([frame.x(place(p)) for p in mine])
        ys = np.array([frame.y(height_of(p)) for p in mine])
        body.append(svg.path(svg.polyline(xs, ys), style))
        for p, x, y in zip(mine, xs.tolist(), ys.tolist(), strict=True):
            if reach(p):
                top, bottom = (frame.y(height_of(p) + sign * reach(p)) for sign in (1.0, -1.0))
                body.append(svg.segment(x, top, x, bottom, style))
            body.append(svg.segment(x - 2.5, y, x + 2.5, y, style))
        ends.append((pod, style, float(ys[-1]) + 4.0))
    places = svg.spread_labels([end[2] for end in ends], 16.0, frame.top + 4, frame.height - frame.bottom + 4)
    for (pod, style, _), y in zip(ends, places, strict=True):
        body.append(svg.text(frame.width - frame.right + 6, y, clip_text(pod, LABEL), f"t{style}"))
    return svg.document(WIDTH, 280.0, label, body)


def _axis(frame: Frame, across: Sequence[float], words: str, log: bool) -> list[str]:
    base = frame.height - frame.bottom
    if log:
        decades = range(math.floor(min(across)), math.ceil(max(across)) + 1)
        ticks = [d + math.log10(m) for d in decades for m in ((1, 2, 5) if len(decades) < 4 else (1,))]
        ticks = [t for t in ticks if min(across) - 1e-9 <= t <= max(across) + 1e-9]
    else:
        ticks = svg.nice_ticks(min(across), max(across), 6)
    body = []
    for tick in ticks:
        x = frame.x(tick)
        body.append(svg.segment(x, base, x, base + 4, "g"))
        body.append(svg.text(x, base + 16, _amount(10.0**tick) if log else significant(tick, 3), "k", "middle"))
    body.append(svg.text(frame.left + frame.plot_width / 2, frame.height - 6, words, "k", "middle"))
    return body


def _table(dimension: str, head: str, points: Points) -> Grid:
    rows: list[Any] = []
    shares = any(is_number(p.volume_share) for p in points)
    for pod in dict.fromkeys(p.pod for p in points):
        rows.append(Group(pod))
        rows += [_row(dimension, p, shares) for p in points if p.pod == pod]
    names: tuple[str, ...] = (head, *(("Profit a year",) if dimension in SIZES else ()), "Annual return")
    names += ("± standard error", "Sharpe ratio", "Costs, bps a year")
    if any(is_number(p.difference) for p in points):
        names += ("Less the run's own ± standard error",)
    names += ("Own share of volume",) if shares else ()
    beyond = [p for p in points if is_number(p.volume_share) and p.volume_share > LARGE_SHARE]
    note = (
        f"Own fills above {LARGE_SHARE:.0%} of what traded (marked *): own orders do not move the simulated book, so "
        "these sizes are out of the model."
        if beyond
        else ""
    )
    return Grid(key=f"sensitivity-{dimension}", head=names, rows=rows, style="wide", note=note)


def _row(dimension: str, p: SensitivityPoint, shares: bool) -> tuple[str | Cell, ...]:
    cells: tuple[str | Cell, ...] = (
        _value(dimension, p.value),
        *((money(p.profit) if is_number(p.profit) else "n/a",) if dimension in SIZES else ()),
        percent(p.annual_return, 2, signed=True),
        percent(p.standard_error, 2),
        number(p.sharpe, 2),
        number(1e4 * p.annual_cost, 0) if is_number(p.annual_cost) else "n/a",
    )
    if is_number(p.difference):
        cells += (f"{percent(p.difference, 2, signed=True)} ± {percent(p.difference_error, 2)}",)
    if shares:
        mark = " *" if p.volume_share > LARGE_SHARE else ""
        cells += (percent(p.volume_share, 2) + mark,)
    return cells


def _value(dimension: str, value: float | str) -> str:
    if isinstance(value, str):
        return value
    if dimension == "capital":
        return money(value)
    return number(value, 0 if dimension in WHOLE else 2)


def _amount(value: float) -> str:
    """Money on an axis: whole numbers without their zeros."""
    return money(value).replace(".00", "")


def _rate(value: float) -> str:
    return percent(value, 1)
