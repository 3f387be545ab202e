"""The few drawing primitives of the page: axes, polylines, labels, as compact SVG text.

Own SVG instead of a plotting library: a chart is a few kilobytes of text, its colours are the page's CSS variables (so
that dark and light both work), its words stay words, and its bytes depend on nothing but the numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from markupsafe import Markup, escape
from numpy.typing import NDArray

SUBPIXEL = 10
"""Path coordinates are whole tenths of a pixel: short text, invisible rounding."""

CLOSE_TICKS = 52
"""Pixels between two dates below which they cover each other."""


@dataclass(frozen=True, slots=True)
class Frame:
    """A drawing area: pixel margins around the plot and the data range inside it.

    `x_range` counts sessions (or any numbers), `y_range` is in the data's unit; y grows upwards.
    """

    width: float
    height: float
    left: float
    right: float
    top: float
    bottom: float
    x_range: tuple[float, float]
    y_range: tuple[float, float]

    @property
    def plot_width(self) -> float:
        """Width of the plot in pixels."""
        return self.width - self.left - self.right

    @property
    def plot_height(self) -> float:
        """Height of the plot in pixels."""
        return self.height - self.top - self.bottom

    def x(self, value: float) -> float:
        """Pixel of the abscissa `value`."""
        low, high = self.x_range
        return self.left + (value - low) / (high - low or 1.0) * self.plot_width

    def y(self, value: float) -> float:
        """Pixel of the ordinate `value`."""
        low, high = self.y_range
        return self.top + (high - value) / (high - low or 1.0) * self.plot_height


def decimate(values: NDArray[np.float64], buckets: int) -> NDArray[np.int64]:
    """Indices that draw the same picture as all of `values` on `buckets` columns of pixels.

    Every bucket keeps its lowest and its highest finite value, in order, and a bucket with missing values keeps
    one of them so that a gap stays a gap; the first and the last index are kept. So no peak and no trough is ever
    lost (the min-max part of M4: Jugel, Jerzak, Hackenbroich and Markl 2014).
    """
    n = len(values)
    if n <= 2 * buckets:
        return np.arange(n)
    edges = np.linspace(0, n, buckets + 1).astype(np.int64)
    keep = {0, n - 1}
    for start, stop in pairwise(edges.tolist()):
        part = values[start:stop]
        missing = np.isnan(part)
        if missing.any():
            keep.add(start + int(np.argmax(missing)))
        if not missing.all():
            keep.update((start + int(np.nanargmin(part)), start + int(np.nanargmax(part))))
    return np.array(sorted(keep), dtype=np.int64)


def polyline(x: NDArray[np.float64], y: NDArray[np.float64]) -> str:
    """Path data of a line through pixels (x, y), with a gap where y is NaN; relative whole tenths of a pixel."""
    parts: list[str] = []
    last: tuple[int, int] | None = None
    for px, py in zip((SUBPIXEL * x).tolist(), (SUBPIXEL * y).tolist(), strict=True):
        if math.isnan(py):
            last = None
            continue
        point = (round(px), round(py))
        if last is None:
            parts.append(f"M{point[0]} {point[1]}l0 0")
        elif point != last:
            parts.append(_pair(point[0] - last[0], point[1] - last[1]))
        last = point
    return "".join(parts)


def _pair(dx: int, dy: int) -> str:
    """A relative step; the sign separates numbers where there is one, else a space does."""
    return f"{'' if dx < 0 else ' '}{dx}{'' if dy < 0 else ' '}{dy}"


def path(data: str, style: str) -> str:
    """A path in tenths of a pixel; widths are screen pixels whatever the scale (see the style sheet)."""
    return f'<path class="{style}" d="{data}" transform="scale(.1)"/>' if data else ""


def text(x: float, y: float, words: str, style: str = "", anchor: str = "start") -> str:
    """Escaped text at a pixel."""
    classes = f' class="{style}"' if style else ""
    anchors = f' text-anchor="{anchor}"' if anchor != "start" else ""
    return f'<text x="{_n(x)}" y="{_n(y)}"{classes}{anchors}>{escape(words)}</text>'


def segment(x0: float, y0: float, x1: float, y1: float, style: str) -> str:
    """A straight line between two pixels."""
    return f'<path class="{style}" d="M{_n(x0)} {_n(y0)}L{_n(x1)} {_n(y1)}"/>'


def document(width: float, height: float, label: str, body: Sequence[str]) -> Markup:
    """A whole picture with its description for readers who do not see it."""
    return Markup(  # every text in `body` went through `text`, which escapes
        f'<svg viewBox="0 0 {_n(width)} {_n(height)}" role="img" aria-label="{escape(label)}">{"".join(body)}</svg>'
    )


def nice_ticks(low: float, high: float, count: int) -> list[float]:
    """About `count` round numbers (1, 2 or 5 times a power of ten) inside [low, high].

    >>> nice_ticks(0.0, 1.0, 5)
    [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    """
    if not high > low:
        return [low]
    raw = (high - low) / max(count, 1)
    power = 10.0 ** math.floor(math.log10(raw))
    step = min((factor * power for factor in (1.0, 2.0, 5.0, 10.0)), key=lambda s: abs(s - raw))
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(k * step, 12) for k in range(first, last + 1)]


def date_ticks(sessions: NDArray[np.datetime64], count: int = 7) -> list[tuple[int, str]]:
    """Row and label of the first session of each year, quarter or month, whichever gives about `count`."""
    months = sessions.astype("datetime64[M]")
    starts = np.flatnonzero(np.r_[True, months[1:] != months[:-1]])
    if len(sessions) == 0:
        return []
    for every in (1, 3, 6, 12, 24, 60, 120):
        rows = [int(i) for i in starts if int(months[i].astype(int)) % every == 0]
        if len(rows) <= count:
            break
    if not rows:
        return [(0, str(sessions[0].astype("datetime64[D]")))]
    yearly = every >= 12
    return [(i, str(months[i])[:4] if yearly else str(months[i])) for i in rows]


def axes(frame: Frame, y_ticks: Sequence[float], y_format: Callable[[float], str]) -> list[str]:
    """Horizontal grid lines with their numbers on the left."""
    body = []
    for tick in y_ticks:
        y = frame.y(tick)
        body.append(segment(frame.left, y, frame.width - frame.right, y, "z" if tick == 0 else "g"))
        body.append(text(frame.left - 6, y + 4, y_format(tick), "k", "end"))
    return body


def date_axis(frame: Frame, sessions: NDArray[np.datetime64], count: int = 7) -> list[str]:
    """Tick marks and dates along the bottom."""
    base = frame.height - frame.bottom
    body = []
    ticks = date_ticks(sessions, count)
    if len(ticks) > 1 and frame.x(ticks[1][0]) - frame.x(ticks[0][0]) < CLOSE_TICKS:
        ticks = ticks[1:]  # the first period has only just begun to be shown: its date would cover the next one
    for row, label in ticks:
        x = frame.x(row)
        body.append(segment(x, base, x, base + 4, "g"))
        body.append(text(x, base + 16, label, "k", "middle" if x > frame.left + 20 else "start"))
    return body


def spread_labels(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Positions near the wanted ones, at least `gap` apart and inside [low, high] where there is room."""
    order = sorted(range(len(wanted)), key=lambda i: (wanted[i], i))
    placed = [0.0] * len(wanted)
    previous = -math.inf
    for i in order:
        placed[i] = max(wanted[i], low, previous + gap)
        previous = placed[i]
    limit = high
    for i in reversed(order):
        placed[i] = min(placed[i], limit)
        limit = placed[i] - gap
    return placed


def _n(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
