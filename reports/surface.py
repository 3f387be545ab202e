"""Functions of time and inventory as pictures: heat maps with labelled contour lines, the crowd with its quantiles."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from reports import charts, svg
from reports.charts import Series
from reports.formats import significant
from reports.svg import Frame

Floats = NDArray[np.float64]

WIDTH, HEIGHT = 560.0, 270.0
CUT = 0.04
PALEST = 0.06
PLACES = (0.5, 0.3, 0.7, 0.15, 0.85)
"""Where along a contour line its number may stand, as shares of its length."""
COLUMNS = 180
"""Columns of a heat map: times, equally spaced."""

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
SIDES = ((0, 1), (1, 2), (2, 3), (3, 0))
CORNERS = ((0, 0), (1, 0), (1, 1), (0, 1))


def heat_map(
    times: Floats,
    states: Floats,
    values: Floats,
    label: str,
    x_words: str,
    y_words: str,
    *,
    levels: Sequence[float] | None = None,
    number: Callable[[float], str] = lambda v: significant(v, 2),
) -> Markup:
    """Values (nt, nx) over time (across) and inventory (up): darker is larger, lines join equal values.

    The darkness has its whole range between the values that `CUT` of the cells are below and above, as a steep close
    would else leave the rest of the day without contrast. `levels` are the values of the lines, by default round ones,
    denser within that range; a cell without a value stays blank.
    """
    even, picture = even_columns(times, values)
    low, high = (float(v) for v in np.nanquantile(picture, [CUT, 1.0 - CUT]))
    if not high > low:
        low, high = float(np.nanmin(picture)), float(np.nanmax(picture))
    frame = _frame(times, states, 74.0)
    # The lowest value is not quite transparent: a cell without a value is.
    body = [_image(frame, PALEST + (1.0 - PALEST) * np.clip((picture - low) / (high - low or 1.0), 0.0, 1.0))]
    body += _axes(frame, x_words, y_words)
    labels: list[tuple[float, float, str]] = []
    for order, level in enumerate(round_levels(picture, low, high) if levels is None else levels):
        lines = contour_lines(picture, level)
        for line in lines:
            x = frame.left + line[:, 0] / (len(even) - 1) * frame.plot_width
            y = np.interp(line[:, 1], np.arange(states.size), [frame.y(float(s)) for s in states])
            body.append(svg.path(svg.polyline(x, np.asarray(y, dtype=np.float64)), "c"))
        if lines:
            _add_label(frame, states, max(lines, key=len), len(even), order, number(level), labels)
    texts = [svg.text(x, y, words, "o", "middle") for x, y, words in labels]
    ends = [number(high), number(low)]
    rounding = 1e-9 * (high - low)
    if float(np.nanmax(picture)) > high + rounding:
        ends[0] = f"\N{GREATER-THAN OR EQUAL TO} {ends[0]}"
    if float(np.nanmin(picture)) < low - rounding:
        ends[1] = f"\N{LESS-THAN OR EQUAL TO} {ends[1]}"
    return svg.document(WIDTH, HEIGHT, label, [*body, *texts, *_scale(frame, ends)])


def round_levels(picture: Floats, low: float, high: float) -> list[float]:
    """Round values: about six from `low` to `high`, and up to three beyond either of them."""
    inside = svg.nice_ticks(low, high, 6)
    lowest, highest = float(np.nanmin(picture)), float(np.nanmax(picture))
    step = (high - low) / 6.0
    # What lies less than a step beyond is not worth a line.
    below = [v for v in svg.nice_ticks(lowest, low, 2) if v < min(inside, default=low)] if low - lowest > step else []
    above = (
        [v for v in svg.nice_ticks(high, highest, 2) if v > max(inside, default=high)] if highest - high > step else []
    )
    rounding = 1e-9 * (highest - lowest)  # a plateau has no line along its top
    return [v for v in (*below[:3], *inside, *above[-3:]) if lowest + rounding < v < highest - rounding]


def crowd_map(times: Floats, states: Floats, density: Floats, label: str, x_words: str, y_words: str) -> Markup:
    """The crowd's law (nt, nx) over time and inventory, with the quantiles of `QUANTILES` as lines.

    The darkness is the probability over its highest value at the same time. A quantile is that of the law spread evenly
    over each unit of inventory, so that its line is continuous.
    """
    seen = np.flatnonzero((density > 0.002 * density.max(axis=1, keepdims=True)).any(axis=0))
    # A neighbour on either side, so that a crowd in one place is a line within the picture.
    first, last = max(int(seen[0]) - 1, 0), min(int(seen[-1]) + 1, states.size - 1)
    even, picture = even_columns(times, density[:, first : last + 1])
    frame = _frame(times, states[first : last + 1], 52.0)
    body = [_image(frame, picture / picture.max(axis=1, keepdims=True))]
    body += _axes(frame, x_words, y_words)
    _, law = even_columns(times, density)
    paths = [quantile(states, law, p) for p in QUANTILES]
    wanted = []
    for p, path in zip(QUANTILES, paths, strict=True):
        line = Series(f"{100 * p:.0f}%", path, "sm" if p == 0.5 else "c")
        x = frame.left + np.linspace(0.0, frame.plot_width, even.size)
        y = np.array([frame.y(float(v)) for v in line.values])
        body.append(svg.path(svg.polyline(x, y), line.style))
        wanted.append(float(y[-1]) + 4.0)
    places = svg.spread_labels(wanted, 13.0, frame.top, frame.height - frame.bottom + 4.0)
    body += [
        svg.text(frame.width - frame.right + 6, y, f"{100 * p:.0f}%", "k")
        for p, y in zip(QUANTILES, places, strict=True)
    ]
    return svg.document(WIDTH, HEIGHT, label, body)


def quantile(states: Floats, density: Floats, p: float) -> Floats:
    """(nt,) the p-quantile of laws (nt, nx) at the integers, each spread evenly over one unit of inventory.

    >>> quantile(np.array([-1.0, 0.0, 1.0]), np.array([[0.25, 0.5, 0.25]]), 0.5).tolist()
    [0.0]
    """
    below = np.cumsum(density, axis=1)
    target = p * below[:, -1:]
    cell = np.argmax(below >= target, axis=1)
    row = np.arange(density.shape[0])
    part = (target[:, 0] - (below[row, cell] - density[row, cell])) / density[row, cell]
    return np.asarray(states[cell] - 0.5 + part)


def even_columns(times: Floats, values: Floats, columns: int = COLUMNS) -> tuple[Floats, Floats]:
    """(times, values) at equally spaced times, linear between the given ones."""
    even = np.linspace(times[0], times[-1], columns)
    right = np.clip(np.searchsorted(times, even), 1, times.size - 1)
    share = ((even - times[right - 1]) / (times[right] - times[right - 1]))[:, None]
    left_value, right_value = values[right - 1], values[right]
    mixed = (1.0 - share) * left_value + share * right_value
    return even, np.asarray(np.where(share == 0.0, left_value, np.where(share == 1.0, right_value, mixed)))


def contour_lines(values: Floats, level: float) -> list[Floats]:
    """Lines (n, 2) of (column, row), counted from 0, on which the bilinear picture (columns, rows) has `level`.

    Marching squares (Lorensen & Cline 1987, in two dimensions); a saddle is cut by the mean of its cell. Cells with a
    missing value have no line.
    """
    above = values > level
    mixed = above[:-1, :-1].astype(int) + above[1:, :-1] + above[1:, 1:] + above[:-1, 1:]
    whole = np.isfinite(values[:-1, :-1] + values[1:, :-1] + values[1:, 1:] + values[:-1, 1:])
    links: dict[tuple[int, int, int], list[tuple[int, int, int]]] = {}
    for i, j in np.argwhere((mixed % 4 != 0) & whole).tolist():
        for one, two in _crossings(values[i : i + 2, j : j + 2], level):
            a, b = _edge(i, j, one), _edge(i, j, two)
            links.setdefault(a, []).append(b)
            links.setdefault(b, []).append(a)
    lines = []
    # Open lines first, from an end; what is left then is closed.
    for start in sorted(links, key=lambda edge: (len(links[edge]), edge)):
        while links[start]:
            line = [start]
            while links[line[-1]]:
                following = links[line[-1]].pop(0)
                links[following].remove(line[-1])
                line.append(following)
            lines.append(np.array([_point(values, level, edge) for edge in line]))
    return lines


def _crossings(cell: Floats, level: float) -> list[tuple[int, int]]:
    """Pairs of sides of a cell that a line joins; sides are numbered as `SIDES` of `CORNERS`."""
    up = [bool(cell[corner] > level) for corner in CORNERS]
    cut = [side for side, (a, b) in enumerate(SIDES) if up[a] != up[b]]
    if len(cut) == 2:
        return [(cut[0], cut[1])]
    joined = (float(cell.mean()) > level) == up[0]
    return [(0, 1), (2, 3)] if joined else [(0, 3), (1, 2)]


def _edge(i: int, j: int, side: int) -> tuple[int, int, int]:
    """The side as an edge of the grid: its lower node and 0 for one along the columns, 1 along the rows."""
    return ((i, j, 0), (i + 1, j, 1), (i, j + 1, 0), (i, j, 1))[side]


def _point(values: Floats, level: float, edge: tuple[int, int, int]) -> tuple[float, float]:
    i, j, along = edge
    start, end = float(values[i, j]), float(values[(i, j + 1) if along else (i + 1, j)])
    share = (level - start) / (end - start)
    return (float(i), j + share) if along else (i + share, float(j))


def _frame(times: Floats, states: Floats, right: float) -> Frame:
    half = 0.5 * float(states[1] - states[0])
    reach = (float(states[0]) - half, float(states[-1]) + half)
    return Frame(WIDTH, HEIGHT, 50, right, 24, 40, (float(times[0]), float(times[-1])), reach)


def _image(frame: Frame, darkness: Floats) -> str:
    """The picture (columns, rows) as a PNG of one blue, rows upwards; nan is transparent."""
    data = base64.b64encode(charts.alpha_png(np.nan_to_num(darkness).T[::-1])).decode("ascii")
    return (
        f'<image x="{frame.left:g}" y="{frame.top:g}" width="{frame.plot_width:.1f}" height="{frame.plot_height:.1f}"'
        f' preserveAspectRatio="none" style="image-rendering:pixelated" href="data:image/png;base64,{data}"/>'
    )


def _axes(frame: Frame, x_words: str, y_words: str) -> list[str]:
    base = frame.height - frame.bottom
    body = [svg.text(4, 12, y_words, "k")]
    for tick in (tick for tick in svg.nice_ticks(*frame.y_range, 6) if tick == round(tick)):  # inventories
        body.append(svg.text(frame.left - 6, frame.y(tick) + 4, significant(tick, 3), "k", "end"))
    for tick in svg.nice_ticks(*frame.x_range, 6):
        x = frame.x(tick)
        body += [svg.segment(x, base, x, base + 4, "g"), svg.text(x, base + 16, significant(tick, 3), "k", "middle")]
    body.append(svg.text(frame.left + frame.plot_width / 2, frame.height - 6, x_words, "k", "middle"))
    return body


def _add_label(
    frame: Frame,
    states: Floats,
    line: Floats,
    columns: int,
    order: int,
    words: str,
    labels: list[tuple[float, float, str]],
) -> None:
    """Put a contour line's number on it where it covers no other; none where there is no such place."""
    edge = 4.0 * len(words) + 4.0
    for share in np.roll(PLACES, order):
        column, row = line[min(int(share * len(line)), len(line) - 1)]
        x = frame.left + float(column) / (columns - 1) * frame.plot_width
        y = 4.0 + float(np.interp(row, np.arange(states.size), [frame.y(float(s)) for s in states]))
        inside = (
            frame.left + edge < x < frame.width - frame.right - edge
            and frame.top + 12 < y < frame.height - frame.bottom - 3
        )
        if inside and all(abs(x - a) > edge + 4.0 * len(other) or abs(y - b) > 13.0 for a, b, other in labels):
            labels.append((x, y, words))
            return


def _scale(frame: Frame, ends: Sequence[str]) -> list[str]:
    """A bar from light to dark with the numbers that its ends stand for."""
    steps = np.linspace(1.0, 0.0, 64)[:, None]
    data = base64.b64encode(charts.alpha_png(steps)).decode("ascii")
    x = frame.width - frame.right + 12
    return [
        f'<image x="{x:g}" y="{frame.top:g}" width="10" height="{frame.plot_height:.1f}" preserveAspectRatio="none"'
        f' href="data:image/png;base64,{data}"/>',
        svg.text(x + 15, frame.top + 9, ends[0], "k"),
        svg.text(x + 15, frame.top + frame.plot_height, ends[1], "k"),
    ]
