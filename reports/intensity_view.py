"""The pictures of a calibration: intensities on a log scale, gaps against their law, mark-outs, signature, quotes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from reports import svg
from reports.formats import significant
from reports.svg import Frame

Floats = NDArray[np.float64]

WIDTH, HEIGHT = 560.0, 280.0
RIGHT = 92.0
BUCKETS = 200
DOT = 2.6


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture with its title and what it says."""

    title: str
    drawing: Markup
    words: str


@dataclass(frozen=True, slots=True)
class Line:
    """A named line with an optional band around it, in a style of the page."""

    name: str
    x: Floats
    y: Floats
    style: str
    low: Floats | None = None
    high: Floats | None = None


@dataclass(frozen=True, slots=True)
class Dots:
    """Measured points with their errors (half-widths of bars)."""

    x: Floats
    y: Floats
    low: Floats
    high: Floats
    style: str


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis: its words, whether it is logarithmic, and values that must be inside."""

    words: str
    log: bool = False
    include: tuple[float, ...] = ()

    def scale(self, values: Floats) -> Floats:
        """Values as the frame counts them: their decimal logarithms on a logarithmic axis."""
        if not self.log:
            return np.asarray(values, dtype=np.float64)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(np.asarray(values) > 0, np.log10(np.maximum(values, 1e-300)), np.nan)

    def range(self, parts: Sequence[Floats]) -> tuple[float, float]:
        """Lowest and highest finite value, with a little air."""
        every = self.scale(np.concatenate([*(np.asarray(part, dtype=np.float64) for part in parts), self.include]))
        every = every[np.isfinite(every)]
        if every.size == 0:
            return 0.0, 1.0
        low, high = float(every.min()), float(every.max())
        air = 0.04 * (high - low) if high > low else max(0.05 * abs(high), 0.05)
        return (low if low == 0.0 and not self.log else low - air), high + air

    def ticks(self, low: float, high: float, count: int) -> list[tuple[float, str]]:
        """Places on the frame's scale, with their numbers."""
        if not self.log:
            return [(tick, significant(tick, 3)) for tick in svg.nice_ticks(low, high, count)]
        decades = range(math.floor(low), math.ceil(high) + 1)
        steps = (1.0,) if high - low > count else (1.0, 2.0, 5.0) if high - low < 0.6 * count else (1.0, 3.0)
        every = max(1, round((high - low) / count)) if steps == (1.0,) else 1
        found = [
            (decade + math.log10(step), step * 10.0**decade)
            for decade in decades
            if decade % every == 0
            for step in steps
        ]
        return [(place, significant(value, 2)) for place, value in found if low <= place <= high]


def plot(
    label: str,
    x: Axis,
    y: Axis,
    lines: Sequence[Line],
    dots: Sequence[Dots] = (),
    *,
    levels: Sequence[tuple[float, str]] = (),
    height: float = HEIGHT,
) -> Markup:
    """Lines with bands, measured points with error bars, and named horizontal levels."""
    horizontal = x.range([line.x for line in lines] + [points.x for points in dots])
    bands = [band for line in lines for band in (line.y, line.low, line.high) if band is not None]
    bars = [side for points in dots for side in (points.y, points.low, points.high)]
    vertical = y.range([*bands, *bars, np.array([level for level, _ in levels])])
    frame = Frame(WIDTH, height, 62, RIGHT, 22, 40, horizontal, vertical)
    body = _axes(frame, x, y)
    for level, words in levels:
        at = frame.y(float(y.scale(np.array([level]))[0]))
        body.append(svg.segment(frame.left, at, frame.width - frame.right, at, "r"))
        body.append(svg.text(frame.left + 6, at - 4, words, "k o"))
    for line in lines:
        body.append(_band(frame, x, y, line))
    for line in lines:
        keep = svg.decimate(y.scale(line.y), BUCKETS)
        body.append(_path(frame, x.scale(line.x)[keep], y.scale(line.y)[keep], line.style))
    for points in dots:
        body += _dots(frame, x, y, points)
    body += _names(frame, y, [line for line in lines if line.name])
    return svg.document(WIDTH, height, label, body)


def quantile_plot(label: str, sides: Sequence[tuple[str, Floats, Floats, str]]) -> Markup:
    """Quantiles of the rescaled gaps against the uniform law, with the band that holds all of a true model's at 95 %.

    `sides` are name, expected, observed and style. The band is that of Kolmogorov for known parameters: a line inside
    it may still be rejected, a line outside it is.
    """
    frame = Frame(WIDTH, 330.0, 62, RIGHT, 22, 40, (0.0, 1.0), (0.0, 1.0))
    unit = Axis("expected under the model (uniform quantile)"), Axis("observed")
    body = _axes(frame, *unit)
    ends = np.array([0.0, 1.0])
    fewest = min((observed.size for _, _, observed, _ in sides), default=0)
    if fewest:
        width = 1.358 / math.sqrt(fewest)
        low, high = np.linspace(0.0, 1.0, 101) - width, np.linspace(0.0, 1.0, 101) + width
        band = Line("", np.linspace(0.0, 1.0, 101), ends, "sb", np.clip(low, 0, 1), np.clip(high, 0, 1))
        body.append(_band(frame, *unit, band))
    body.append(_path(frame, ends, ends, "sb"))
    for _, expected, observed, style in sides:
        keep = np.unique(np.linspace(0, max(observed.size - 1, 0), min(observed.size, 2 * BUCKETS)).astype(int))
        body.append(_path(frame, expected[keep], observed[keep], style))
    x = frame.width - frame.right + 6
    for place, (name, _, _, style) in enumerate(sides):
        body.append(svg.text(x, frame.top + 12 + 17 * place, name, f"t{style}"))
    if fewest:
        body.append(svg.text(x, frame.top + 12 + 17 * len(sides), "95 % band", "tsb"))
    return svg.document(WIDTH, 330.0, label, body)


def intervals(label: str, rows: Sequence[tuple[str, float, float, float, str]], words: str) -> Markup:
    """Named values with intervals on one scale, one below the other: name, value, low, high, style."""
    shown = [value for row in rows for value in row[1:4] if math.isfinite(value)]
    room, step = 214.0, 34.0
    height = 56.0 + step * len(rows)
    frame = Frame(WIDTH, height, room, 66.0, 10, 44, Axis("", include=(0.0,)).range([np.array(shown)]), (0.0, 1.0))
    base = height - frame.bottom
    body = []
    for tick in svg.nice_ticks(*frame.x_range, 6):
        at = frame.x(tick)
        body += [
            svg.segment(at, frame.top, at, base, "g"),
            svg.text(at, base + 16, significant(tick, 3), "k", "middle"),
        ]
    body.append(svg.text(frame.left + frame.plot_width / 2, height - 6, words, "k", "middle"))
    for place, (name, value, low, high, style) in enumerate(rows):
        y = frame.top + step * (place + 0.5)
        body.append(svg.text(room - 10, y + 4, name, "", "end"))
        if not math.isfinite(value):
            body.append(svg.text(frame.left + 6, y + 4, "none", "k"))
            continue
        if math.isfinite(low) and math.isfinite(high):
            body.append(svg.segment(frame.x(low), y, frame.x(high), y, style))
            body += [svg.segment(frame.x(end), y - 5, frame.x(end), y + 5, style) for end in (low, high)]
        body.append(_dot(frame.x(value), y, 4.0, style))
        end = max(v for v in (value, high) if math.isfinite(v))
        body.append(svg.text(frame.x(end) + 9, y + 4, significant(value, 3), f"t{style}"))
    return svg.document(WIDTH, height, label, body)


def _axes(frame: Frame, x: Axis, y: Axis) -> list[str]:
    base, right = frame.height - frame.bottom, frame.width - frame.right
    body = []
    for place, number in y.ticks(*frame.y_range, 5):
        at = frame.y(place)
        zero = not y.log and place == 0
        body += [
            svg.segment(frame.left, at, right, at, "z" if zero else "g"),
            svg.text(frame.left - 6, at + 4, number, "k", "end"),
        ]
    for place, number in x.ticks(*frame.x_range, 6):
        at = frame.x(place)
        body += [svg.segment(at, base, at, base + 4, "g"), svg.text(at, base + 16, number, "k", "middle")]
    body.append(svg.text(frame.left + frame.plot_width / 2, frame.height - 6, x.words, "k", "middle"))
    body.append(svg.text(4, 12, y.words, "k"))
    return body


def _path(frame: Frame, x: Floats, y: Floats, style: str) -> str:
    px = np.array([frame.x(value) for value in x.tolist()])
    py = np.array([frame.y(value) for value in y.tolist()])
    return svg.path(svg.polyline(px, py), style)


def _band(frame: Frame, x: Axis, y: Axis, line: Line) -> str:
    """The area between a line's low and high, cut at the plot's edges."""
    if line.low is None or line.high is None:
        return ""
    at, low, high = x.scale(line.x), y.scale(line.low), y.scale(line.high)
    there = np.isfinite(low) & np.isfinite(high)
    bottom, top = frame.y_range
    outline = np.concatenate([np.clip(low, bottom, top)[there], np.clip(high, bottom, top)[there][::-1]])
    return _path(frame, np.concatenate([at[there], at[there][::-1]]), outline, f"f {line.style}")


def _dots(frame: Frame, x: Axis, y: Axis, points: Dots) -> list[str]:
    body = []
    at, value = x.scale(points.x), y.scale(points.y)
    low, high = y.scale(points.low), y.scale(points.high)
    for px, py, a, b in zip(at.tolist(), value.tolist(), low.tolist(), high.tolist(), strict=True):
        if not math.isfinite(py):
            continue
        top = frame.y(min(b, frame.y_range[1])) if math.isfinite(b) else frame.y(py)
        bottom = frame.y(max(a, frame.y_range[0])) if math.isfinite(a) else frame.height - frame.bottom
        body += [
            svg.segment(frame.x(px), top, frame.x(px), bottom, points.style),
            _dot(frame.x(px), frame.y(py), DOT, points.style),
        ]
    return body


def _dot(x: float, y: float, radius: float, style: str) -> str:
    return f'<circle class="f {style}" fill="currentColor" cx="{x:.1f}" cy="{y:.1f}" r="{radius}"/>'


def _names(frame: Frame, y: Axis, lines: Sequence[Line]) -> list[str]:
    """Each line's name at its right end."""
    ends = [y.scale(line.y)[np.isfinite(y.scale(line.y))] for line in lines]
    wanted = [frame.y(float(end[-1])) + 4 if end.size else frame.height / 2 for end in ends]
    places = svg.spread_labels(wanted, 16.0, frame.top + 4, frame.height - frame.bottom + 4)
    at = frame.width - frame.right + 6
    return [svg.text(at, place, line.name, f"t{line.style}") for line, place in zip(lines, places, strict=True)]
