"""The page's pictures: lines through time, daily results against VaR, curves of a policy, the crowd's density."""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from reports import svg
from reports.formats import clip_text, number, percent, significant
from reports.svg import Frame

WIDTH = 560.0
BUCKETS = 240
LABEL = 24
"""Characters of a pod's name beside its line."""

SERIES_STYLES = 8
"""Number of distinct line styles in the style sheet (`s0`, `s1`, ...)."""


@dataclass(frozen=True, slots=True)
class Series:
    """One line: its name, one value per abscissa (NaN = gap), and its style class."""

    name: str
    values: NDArray[np.float64]
    style: str


@dataclass(frozen=True, slots=True)
class Reference:
    """A horizontal line with words, e.g. a limit."""

    level: float
    words: str
    style: str = "r"


def pod_style(index: int, *, benchmark: bool) -> str:
    """The line style of a pod, the same in every picture of the page."""
    return "sb" if benchmark else f"s{index % SERIES_STYLES}"


def time_lines(
    sessions: NDArray[np.datetime64],
    series: Sequence[Series],
    label: str,
    y_format: Callable[[float], str],
    *,
    references: Sequence[Reference] = (),
    include: Sequence[float] = (),
    height: float = 300.0,
) -> Markup:
    """Lines over the sessions, each named at its right end with its last value."""
    rows = np.arange(len(sessions), dtype=np.float64)
    shown = [r.level for r in references]
    low, high = _range([s.values for s in series], [*include, *shown])
    names = [f"{clip_text(s.name, LABEL)} {y_format(_last(s.values))}" for s in series]
    frame = Frame(WIDTH, height, 50, _label_room(names), 14, 26, (0.0, float(max(len(sessions) - 1, 1))), (low, high))
    body = svg.axes(frame, svg.nice_ticks(low, high, 5), y_format)
    body += svg.date_axis(frame, sessions, int(frame.plot_width // 70))
    for item in series:
        keep = svg.decimate(item.values, BUCKETS)
        body.append(_line(frame, rows[keep], item.values[keep], item.style))
    body += _references(frame, references)
    body += _end_labels(frame, series, names)
    return svg.document(WIDTH, height, label, body)


def depth_panels(
    sessions: NDArray[np.datetime64],
    series: Sequence[Series],
    label: str,
    y_format: Callable[[float], str],
    *,
    references: Sequence[Sequence[Reference]] = (),
    height: float = 300.0,
) -> Markup:
    """Values at or below zero as filled areas, one panel under the other, each with its own scale and lowest value.

    `references` has the lines of each panel, or is empty.
    """
    rows = np.arange(len(sessions), dtype=np.float64)
    right = max(112.0, 14.0 + 6.6 * max((min(len(s.name), LABEL) for s in series), default=0))
    panel = max((height - 40.0) / len(series), 72.0)
    total = panel * len(series) + 40.0
    body: list[str] = []
    for i, item in enumerate(series):
        top = 14.0 + i * panel
        lines = references[i] if references else ()
        low, _ = _range([item.values], [0.0, *(1.15 * r.level for r in lines)])
        frame = Frame(
            WIDTH, total, 50, right, top + 4, total - top - panel + 10, (0.0, max(len(rows) - 1.0, 1.0)), (low, 0.0)
        )
        body += svg.axes(frame, svg.nice_ticks(low, 0.0, 2 if panel < 90 else 4), y_format)
        keep = svg.decimate(item.values, BUCKETS)
        body.append(_area(frame, rows[keep], item.values[keep], f"f {item.style}"))
        body.append(_line(frame, rows[keep], item.values[keep], item.style))
        body += _references(frame, lines, named=False)
        x = frame.width - frame.right + 6
        lowest = float(np.nanmin(item.values)) if np.isfinite(item.values).any() else float("nan")
        body.append(svg.text(x, top + 12, clip_text(item.name, LABEL), f"t{item.style}"))
        body.append(svg.text(x, top + 27, f"worst {y_format(lowest)}", "k"))
        body.append(svg.text(x, top + 42, f"now {y_format(_last(item.values))}", "k"))
    frame = Frame(WIDTH, total, 50, right, 14, 26, (0.0, max(len(rows) - 1.0, 1.0)), (-1.0, 0.0))
    body += svg.date_axis(frame, sessions, int(frame.plot_width // 70))
    return svg.document(WIDTH, total, label, body)


def curves(
    x: NDArray[np.float64],
    series: Sequence[Series],
    label: str,
    x_words: str,
    y_format: Callable[[float], str] = lambda v: significant(v, 3),
    *,
    include: Sequence[float] = (),
    height: float = 240.0,
    y_words: str = "",
) -> Markup:
    """Lines over a number (the time of a game), each named at its right end; `y_words` stand above the left axis."""
    low, high = _range([s.values for s in series], include)
    names = [clip_text(s.name, 22) for s in series]
    top = 26.0 if y_words else 14.0
    frame = Frame(WIDTH, height, 56, _label_room(names), top, 40, (float(x[0]), float(x[-1])), (low, high))
    body = svg.axes(frame, svg.nice_ticks(low, high, 5), y_format)
    body += _number_axis(frame, x_words)
    if y_words:
        body.append(svg.text(4, 12, y_words, "k"))
    for item in series:
        keep = svg.decimate(item.values, BUCKETS // 2)
        body.append(_line(frame, x[keep], item.values[keep], item.style))
    body += _end_labels(frame, series, names)
    return svg.document(WIDTH, height, label, body)


def daily_results(
    sessions: NDArray[np.datetime64],
    returns: NDArray[np.float64],
    value_at_risk: NDArray[np.float64],
    expected_shortfall: NDArray[np.float64],
    exceptions: NDArray[np.bool_],
    label: str,
    *,
    height: float = 220.0,
) -> Markup:
    """Daily returns as bars under the forecast loss levels, with a marker on every day that was worse than VaR.

    Bars are thinned to pixel columns by their extremes; markers never are.
    """
    rows = np.arange(len(sessions), dtype=np.float64)
    loss, deeper = -value_at_risk, -expected_shortfall
    low, high = _range([returns, loss, deeper], [0.0])
    frame = Frame(WIDTH, height, 50, 76, 10, 26, (0.0, float(max(len(sessions) - 1, 1))), (low, high))
    body = svg.axes(frame, svg.nice_ticks(low, high, 5), lambda v: percent(v, 1))
    body += svg.date_axis(frame, sessions, int(frame.plot_width // 70))
    body.append(svg.path(_bars(frame, returns), "d"))
    for values, style in ((loss, "v"), (deeper, "e")):
        keep = svg.decimate(values, BUCKETS)
        body.append(_line(frame, rows[keep], values[keep], style))
    ends = [_last(loss), _last(deeper)]
    places = svg.spread_labels([frame.y(e) + 4 if np.isfinite(e) else height / 2 for e in ends], 14, 12, height - 30)
    for words, place, style in zip(("VaR 99%", "ES 97.5%"), places, ("tv", "te"), strict=True):
        body.append(svg.text(frame.width - frame.right + 6, place, words, style))
    for row in np.flatnonzero(exceptions & np.isfinite(returns)):
        x, y = frame.x(float(row)), frame.y(float(returns[row]))
        body.append(f'<path class="x" d="M{x:.1f} {y + 1:.1f}l-4.5 8h9z"/>')
    return svg.document(WIDTH, height, label, body)


def density_map(
    times: NDArray[np.float64],
    states: NDArray[np.float64],
    density: NDArray[np.float64],
    mean: NDArray[np.float64],
    label: str,
    x_words: str,
    *,
    height: float = 240.0,
) -> Markup:
    """The crowd's density over time (across) and inventory (up), with the path of its mean.

    The darkness is the density over its highest value at the same moment: the width is what the reader compares.
    Inventories at which it is never above a hundredth of that are left out.
    """
    inhabited = np.flatnonzero((density > 0.01 * density.max(axis=1, keepdims=True)).any(axis=0))
    first, last = int(inhabited[0]), int(inhabited[-1])
    half_cell = 0.5 * float(states[1] - states[0])
    states, density = states[first : last + 1], density[:, first : last + 1]
    low, high = min(0.0, float(states[0]) - half_cell), max(0.0, float(states[-1]) + half_cell)
    frame = Frame(WIDTH, height, 56, 96, 14, 40, (float(times[0]), float(times[-1])), (low, high))
    top, bottom = frame.y(float(states[-1]) + half_cell), frame.y(float(states[0]) - half_cell)
    even = np.linspace(times[0], times[-1], 160)
    nearest = np.clip(np.searchsorted(times, even), 1, len(times) - 1)
    nearest -= (even - times[nearest - 1]) < (times[nearest] - even)
    law = np.maximum(density[nearest], 0.0)
    darkness = law / np.maximum(law.max(axis=1, keepdims=True), 1e-300)
    picture = _resample(darkness.T[::-1], 96, 160)
    data = base64.b64encode(alpha_png(picture)).decode("ascii")
    body = [
        f'<image x="{frame.left}" y="{top:.1f}" width="{frame.plot_width:.1f}" height="{bottom - top:.1f}"'
        f' preserveAspectRatio="none" href="data:image/png;base64,{data}"/>'
    ]
    body += svg.axes(frame, svg.nice_ticks(low, high, 5), lambda v: significant(v, 3))
    body += _number_axis(frame, x_words)
    line = Series("crowd mean", mean, "sm")
    body.append(_line(frame, times, mean, line.style))
    body += _end_labels(frame, [line], [line.name])
    return svg.document(WIDTH, height, label, body)


def _area(frame: Frame, x: NDArray[np.float64], y: NDArray[np.float64], style: str) -> str:
    """The area between a line and zero; a gap counts as zero."""
    if len(x) == 0:
        return ""
    closed = np.concatenate([[0.0], np.nan_to_num(y), [0.0]])
    return _line(frame, np.concatenate([x[:1], x, x[-1:]]), closed, style)


def _line(frame: Frame, x: NDArray[np.float64], y: NDArray[np.float64], style: str) -> str:
    low, high = frame.x_range
    px = frame.left + (x - low) / (high - low or 1.0) * frame.plot_width
    bottom, top = frame.y_range
    py = frame.top + (top - y) / (top - bottom or 1.0) * frame.plot_height
    return svg.path(svg.polyline(px, py), style)


def _bars(frame: Frame, values: NDArray[np.float64]) -> str:
    """One vertical stroke per column of pixels, from the lowest to the highest value in it and to zero."""
    n = len(values)
    columns = np.minimum((np.arange(n) * 2 * BUCKETS) // max(n, 1), 2 * BUCKETS - 1)
    parts = []
    for column in np.unique(columns):
        inside = values[columns == column]
        inside = inside[np.isfinite(inside)]
        if len(inside):
            row = float(np.flatnonzero(columns == column).mean())
            top, bottom = frame.y(max(0.0, float(inside.max()))), frame.y(min(0.0, float(inside.min())))
            x, y0, y1 = (round(svg.SUBPIXEL * v) for v in (frame.x(row), top, bottom))
            if y1 > y0:
                parts.append(f"M{x} {y0}v{y1 - y0}")
    return "".join(parts)


def _number_axis(frame: Frame, words: str) -> list[str]:
    base = frame.height - frame.bottom
    body = []
    for tick in svg.nice_ticks(*frame.x_range, 6):
        x = frame.x(tick)
        body += [svg.segment(x, base, x, base + 4, "g"), svg.text(x, base + 16, significant(tick, 3), "k", "middle")]
    body.append(svg.text(frame.left + frame.plot_width / 2, frame.height - 6, words, "k", "middle"))
    return body


def _references(frame: Frame, references: Sequence[Reference], *, named: bool = True) -> list[str]:
    body = []
    for item in references:
        y = frame.y(item.level)
        body.append(svg.segment(frame.left, y, frame.width - frame.right, y, item.style))
        if named:
            body.append(svg.text(frame.left + 4, y - 3, item.words, "k o"))
    return body


def _end_labels(frame: Frame, series: Sequence[Series], names: Sequence[str]) -> list[str]:
    ends = [_last(item.values) for item in series]
    wanted = [frame.y(e) + 4 if np.isfinite(e) else frame.height / 2 for e in ends]
    places = svg.spread_labels(wanted, 16.0, frame.top + 4, frame.height - frame.bottom + 4)
    x = frame.width - frame.right + 6
    return [svg.text(x, y, n, f"t{s.style}") for s, y, n in zip(series, places, names, strict=True)]


def _range(arrays: Sequence[NDArray[np.float64]], extra: Sequence[float]) -> tuple[float, float]:
    """Lowest and highest finite value with a little air; a flat picture gets a band around its level."""
    values = np.concatenate([*(np.asarray(a, dtype=np.float64).ravel() for a in arrays), np.asarray(extra, float)])
    values = values[np.isfinite(values)]
    if len(values) == 0:
        return 0.0, 1.0
    low, high = float(values.min()), float(values.max())
    air = 0.04 * (high - low) if high > low else max(abs(high) * 0.05, 1e-6)
    return (low if low == 0.0 and high > low else low - air), (high if high == 0.0 and high > low else high + air)


def _last(values: NDArray[np.float64]) -> float:
    finite = values[np.isfinite(values)]
    return float(finite[-1]) if len(finite) else float("nan")


def _label_room(names: Sequence[str]) -> float:
    """Pixels to the right of the plot for the longest label at the page's font."""
    return 14.0 + 7.8 * max((len(name) for name in names), default=0)


def _resample(picture: NDArray[np.float64], rows: int, columns: int) -> NDArray[np.float64]:
    """The picture on at most rows x columns cells, by nearest neighbour."""
    down, across = (
        np.round(np.linspace(0, n - 1, min(n, most))).astype(int)
        for n, most in zip(picture.shape, (rows, columns), strict=True)
    )
    return np.asarray(picture[np.ix_(down, across)])


def alpha_png(darkness: NDArray[np.float64], levels: int = 64) -> bytes:
    """A PNG of one blue with `levels` opacities: it reads on a light and on a dark page. `darkness` is in [0, 1]."""
    height, width = darkness.shape
    index = np.clip(np.round(darkness * (levels - 1)), 0, levels - 1).astype(np.uint8)
    raw = np.hstack([np.zeros((height, 1), np.uint8), index]).tobytes()
    alpha = np.round(np.linspace(0.0, 235.0, levels)).astype(np.uint8).tobytes()
    chunks = (
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)),
        (b"PLTE", bytes((40, 120, 200)) * levels),
        (b"tRNS", alpha),
        (b"IDAT", zlib.compress(raw, 9)),
        (b"IEND", b""),
    )
    out = b"\x89PNG\r\n\x1a\n"
    for kind, data in chunks:
        out += struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    return out


def growth(value: float) -> str:
    """Growth of 1 as the axis of an equity curve shows it."""
    return number(value, 2)
