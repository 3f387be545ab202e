import base64
import re
import struct
import xml.etree.ElementTree as ET
import zlib
from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from reports import charts, svg
from reports.charts import Reference, Series

NUMBER = re.compile(r"-?\d+")


def decode(data: str) -> list[tuple[float, float]]:
    """The points of a path that `polyline` wrote, in pixels."""
    points, here = [], (0, 0)
    for command, body in re.findall(r"([Ml])([^Ml]*)", data):
        numbers = [int(n) for n in NUMBER.findall(body)]
        for x, y in zip(numbers[::2], numbers[1::2], strict=True):
            here = (x, y) if command == "M" else (here[0] + x, here[1] + y)
            points.append((here[0] / 10, here[1] / 10))
    return points


def pictures(markup: str) -> ET.Element:
    return ET.fromstring(markup)


@given(hnp.arrays(float, st.integers(3, 900), elements=st.floats(-1e6, 1e6)), st.integers(2, 60))
def test_thinning_keeps_the_extremes_of_every_bucket_and_the_ends(values, buckets):
    keep = svg.decimate(values, buckets)
    assert keep[0] == 0
    assert keep[-1] == len(values) - 1
    assert (np.diff(keep) > 0).all()
    assert len(keep) <= max(2 * buckets + 2, 2 * buckets)
    edges = np.linspace(0, len(values), buckets + 1).astype(int)
    if len(values) > 2 * buckets:
        for start, stop in pairwise(edges):
            kept = values[keep[(keep >= start) & (keep < stop)]]
            assert kept.min() == values[start:stop].min()
            assert kept.max() == values[start:stop].max()


def test_thinning_keeps_gaps():
    values = np.sin(np.arange(1000.0))
    values[400:403] = np.nan
    assert np.isnan(values[svg.decimate(values, 50)]).any()


@given(hnp.arrays(float, st.integers(1, 80), elements=st.floats(0, 500)))
def test_a_path_holds_its_points_to_a_twentieth_of_a_pixel(y):
    x = np.arange(len(y), dtype=float)
    got = decode(svg.polyline(x, y))[1:]
    rounded = [(a, round(10 * b) / 10) for a, b in zip(x.tolist(), y.tolist(), strict=True)]
    assert got[0] == rounded[0]
    assert got[1:] == rounded[1:]


def test_a_gap_starts_a_new_stroke():
    data = svg.polyline(np.arange(5.0), np.array([1.0, 2.0, np.nan, 3.0, 4.0]))
    assert data.count("M") == 2


@given(st.lists(st.floats(0, 300), min_size=1, max_size=9))
def test_labels_do_not_overlap_and_stay_inside_where_there_is_room(wanted):
    placed = svg.spread_labels(wanted, 14.0, 10.0, 300.0)
    ordered = sorted(placed)
    assert all(b - a >= 14.0 - 1e-9 for a, b in pairwise(ordered))
    assert min(placed) >= 10.0 - 1e-9
    assert max(placed) <= 300.0 + 1e-9


@given(st.floats(-1e5, 1e5), st.floats(1e-3, 1e5), st.integers(2, 9))
def test_ticks_are_inside_the_range_and_evenly_spaced(low, width, count):
    ticks = svg.nice_ticks(low, low + width, count)
    assert 1 <= len(ticks) <= 2 * count + 2
    assert all(low - 1e-6 * width <= tick <= low + width + 1e-6 * width for tick in ticks)
    steps = np.diff(ticks)
    assert np.allclose(steps, steps[:1].repeat(len(steps)), rtol=1e-6)


def test_years_are_marked_at_their_first_session():
    days = np.arange("2019-06-03", "2024-06-03", dtype="datetime64[D]")
    assert [label for _, label in svg.date_ticks(days, 5)] == ["2020", "2021", "2022", "2023", "2024"]
    assert [str(days[row]) for row, _ in svg.date_ticks(days, 5)] == [f"{y}-01-01" for y in range(2020, 2025)]


def test_the_deepest_trough_of_a_long_series_is_drawn_where_it_is():
    days = np.arange("2000-01-03", "2020-01-03", dtype="datetime64[D]")
    values = -0.01 * np.abs(np.sin(np.arange(len(days)) / 50.0))
    values[4321] = -0.5
    drawn = pictures(charts.depth_panels(days, [Series("pod", values, "s0")], "x", str, references=[]))
    line = next(node for node in drawn.iter() if node.get("class") == "s0")
    points = decode(line.get("d"))
    x, y = max(points, key=lambda point: point[1])
    plot = 560 - 50 - 112
    assert abs(x - (50 + plot * 4321 / (len(days) - 1))) <= 0.06
    others = sorted(p[1] for p in points)[-2]
    assert y - others > 0.8 * (y - min(p[1] for p in points))


def test_every_exception_is_marked_on_its_result():
    days = np.arange("2020-01-01", "2022-09-27", dtype="datetime64[D]")
    rng = np.random.default_rng(3)
    results = 0.01 * rng.standard_normal(len(days))
    var = np.full(len(days), 0.015)
    flags = results < -var
    drawn = pictures(charts.daily_results(days, results, var, 1.2 * var, flags, "x"))
    marks = [node for node in drawn.iter() if node.get("class") == "x"]
    assert len(marks) == int(flags.sum()) > 20


def test_the_crowd_picture_is_the_density_over_its_peak():
    times, states = np.linspace(0, 2, 50), np.linspace(-1, 1, 41)
    density = np.exp(-((states[None, :] - 0.2 * times[:, None]) ** 2) / 0.05)
    markup = str(charts.density_map(times, states, density, 0.2 * times, "x", "t"))
    data = base64.b64decode(re.search(r"base64,([^\"]+)", markup).group(1))
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = struct.unpack(">II", data[16:24])
    start = data.index(b"IDAT")
    raw = zlib.decompress(data[start + 4 : start + 4 + struct.unpack(">I", data[start - 4 : start])[0]])
    levels = np.frombuffer(raw, np.uint8).reshape(height, width + 1)[:, 1:]
    reach = np.sqrt(-0.05 * np.log(0.01))
    top_down = states[(states > -reach) & (states < 0.4 + reach)][::-1]
    assert (width, height) == (160, len(top_down))
    drawn = list(pictures(markup).iter())
    image = next(node for node in drawn if node.tag.endswith("image"))
    mean = decode(next(node for node in drawn if node.get("class") == "sm").get("d"))
    cell = float(image.get("height")) / height
    for column in (0, 80, 159):
        t = times[round(column / 159 * 49)]
        assert levels[:, column].max() == 63
        assert abs(top_down[levels[:, column].argmax()] - 0.2 * t) <= 0.05
        row = levels[:, column].astype(float) ** 8
        centre = float(image.get("y")) + cell * (float((row * np.arange(height)).sum() / row.sum()) + 0.5)
        assert abs(centre - mean[1 + round(column / 159 * 49)][1]) <= 0.5 * cell


def test_words_in_a_picture_are_escaped():
    days = np.arange("2020-01-01", "2020-03-01", dtype="datetime64[D]")
    evil = '</text><script>"&'
    series = [Series(evil, np.arange(float(len(days))), "s0")]
    drawn = charts.time_lines(days, series, evil, str, references=[Reference(3.0, evil)])
    assert "<script" not in drawn
    pictures(drawn)


def test_pictures_of_nothing_are_still_pictures():
    day = np.array(["2020-01-01"], dtype="datetime64[D]")
    for values in (np.array([np.nan]), np.array([0.0])):
        pictures(charts.time_lines(day, [Series("a", values, "s0")], "x", str))
        pictures(charts.depth_panels(day, [Series("a", values, "s0")], "x", str))
        pictures(charts.daily_results(day, values, values, values, np.array([False]), "x"))


def test_each_depth_panel_has_its_own_scale_and_its_own_levels():
    """A pod that limits keep above -8 % is not flat beside one that fell by 40 %."""
    days = np.arange("2023-01-02", "2023-01-05", dtype="datetime64[D]")
    deep, shallow = np.array([0.0, -0.40, -0.30]), np.array([0.0, -0.07, -0.02])
    series = [Series("free", deep, "sb"), Series("limited", shallow, "s1")]
    levels = [[], [charts.Reference(-0.05, "halved", "ra")]]
    picture = str(charts.depth_panels(days, series, "x", "{:.2f}".format, references=levels))
    assert picture.count('class="ra"') == 1
    ticks = [float(text) for text in re.findall(r'class="k" text-anchor="end">([^<]*)<', picture)]
    assert min(ticks) <= -0.20
    assert any(-0.08 <= tick < 0.0 for tick in ticks)
