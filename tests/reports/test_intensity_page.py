"""The calibration page: its pictures hold the numbers, its verdict comes first, nothing in it is trusted."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from data_pipeline.synthetic.order_book import BookConfig, simulate_book
from data_pipeline.synthetic.order_book_files import write_ofer
from fairfield.calibration_config import CalibrationConfig
from fairfield.calibration_stage import read_feed
from fairfield.calibration_work import calibrate_record
from reports.intensity_page import clock, estimates_table, intensity_page
from reports.intensity_view import Axis, Dots, Line, intervals, plot, quantile_plot

CIRCLE = re.compile(r'<circle class="f (\w+)"[^>]* cx="([-\d.]+)" cy="([-\d.]+)"')


def numbers(markup: str) -> dict[str, float]:
    """Numbers along the axes, by their words, with the pixel they stand at: {words: position} of the left axis."""
    found = re.findall(r'<text x="([-\d.]+)" y="([-\d.]+)" class="k" text-anchor="end">([^<]*)<', markup)
    return {words: float(y) - 4 for _, y, words in found}


@pytest.fixture(scope="module")
def calibrated(tmp_path_factory):
    """A record and its arrays as the command makes them."""
    folder = tmp_path_factory.mktemp("raw")
    write_ofer(folder / "ofer.csv", simulate_book(BookConfig(seed=9, seconds=900.0)))
    config = CalibrationConfig.model_validate(
        {
            "data": {"feed": "b3_orders", "files": ["ofer.csv"], "instrument": "SYNT3F"},
            "window": {"tick": 0.01, "parts": 2, "currency": "BRL"},
            "intensity": {"max_ticks": 40},
            "adverse_selection": {"horizon": 1.0, "horizons": [0.1, 1.0]},
            "game": {"risk_aversion": 1e-3, "max_inventory": 20, "horizon": 30.0, "competition": 0.5},
        }
    )
    found, arrays = calibrate_record(read_feed(config, folder), config)
    found |= {
        "title": "A & <b>",
        "warnings": [],
        "configuration": config.model_dump(mode="json", exclude_none=True),
        "hashes": {"code": "0" * 64},
        "versions": {"numpy": "x"},
    }
    return found, arrays


@pytest.fixture(scope="module")
def page(calibrated) -> str:
    return intensity_page(*calibrated)


def test_a_logarithmic_picture_puts_an_exponential_on_a_line():
    x = np.linspace(0.0, 5.0, 11)
    dots = Dots(x, np.exp(-x), np.exp(-x) / 2, np.exp(-x) * 2, "sm")
    markup = str(plot("law", Axis("x"), Axis("y", log=True), [Line("fit", x, np.exp(-x), "s0")], [dots]))
    points = np.array([(float(a), float(b)) for _, a, b in CIRCLE.findall(markup)])
    slope = np.diff(points[:, 1]) / np.diff(points[:, 0])
    assert np.ptp(slope) < 0.01 * abs(slope.mean())  # pixels are written to a tenth
    ticks = numbers(markup)
    decade = ticks["0.01"] - ticks["0.1"]
    # from x = 0 to 5 the curve falls by 5 log10(e) decades
    assert points[-1, 1] - points[0, 1] == pytest.approx(5 * np.log10(np.e) * decade, abs=0.3)


def test_intervals_stand_where_their_numbers_are():
    rows = [("real", 4.0, 2.0, 6.0, "sm"), ("model", 8.0, 7.0, 9.0, "s0"), ("none", float("nan"), 0.0, 0.0, "s1")]
    markup = str(intervals("spreads", rows, "ticks"))
    places = {style: float(x) for style, x, _ in CIRCLE.findall(markup)}
    ticks = dict(re.findall(r'<text x="([-\d.]+)" y="[-\d.]+" class="k" text-anchor="middle">(\d+)<', markup))
    scale = {float(words): float(x) for x, words in ticks.items()}
    assert places["sm"] == pytest.approx(scale[4.0], abs=0.2)
    assert places["s0"] == pytest.approx(scale[8.0], abs=0.2)
    assert len(places) == 2


def test_pictures_of_nothing_are_still_pictures():
    none = np.empty(0)
    nan = np.array([np.nan])
    for drawn in (
        plot("x", Axis("a", log=True), Axis("b", log=True), [], [Dots(none, none, none, none, "sm")]),
        plot("x", Axis("a"), Axis("b"), [Line("n", nan, nan, "s0", nan, nan)]),
        quantile_plot("x", [("ask", none, none, "s0")]),
        intervals("x", [("n", np.nan, np.nan, np.nan, "s0")], "y"),
    ):
        ET.fromstring(str(drawn))


def test_the_page_is_whole_and_shows_every_chapter(page):
    assert page.count("<svg") == page.count("</svg>") == 2 + 2 + 2 + 2 + 2  # quotes, intensity, parts, gaps, after
    for svg in re.findall(r"<svg.*?</svg>", page, re.DOTALL):
        ET.fromstring(svg)
    for anchor in ("verdict", "estimates", "quotes", "intensity", "gaps", "after", "parts", "data", "provenance"):
        assert f'<section id="{anchor}"' in page
    assert "<script" not in page
    assert not re.search(r'(?:src|href)="(?!#|data:)', page)
    assert "A &amp; &lt;b&gt;" in page
    assert "<b></h1>" not in page


def test_the_real_spread_stands_beside_the_equilibrium(calibrated, page):
    found, _ = calibrated
    section = page[page.index('<section id="quotes"') : page.index('<section id="intensity"')]
    assert "quoted, time-weighted" in section
    for value in (found["market"]["quoted_spread"], found["equilibrium"]["full_spread"]):
        assert f"{value / 0.01:.3g}" in section


def test_points_and_law_of_a_true_model_agree_on_the_picture(calibrated, page):
    """The drawn points are the counted rates, and most of them lie within two errors of the drawn law."""
    found, arrays = calibrated
    picture = page[page.index("Buyers, who fill asks") :]
    drawn = [place for place in CIRCLE.findall(picture[: picture.index("</svg>")]) if place[0] == "sm"]
    rate, error = arrays["ask_rate"], arrays["ask_rate_error"]
    assert len(drawn) == ((rate > 0) & (rate**2 >= 3 * error**2)).sum()
    law = found["parameters"]["mid_ask_arrival"]["value"] * np.exp(
        -found["parameters"]["fill_decay"]["value"] * arrays["ask_distance"]
    )
    many = rate > 4 * error
    assert (np.abs(rate - law) < 2.5 * error)[many].mean() > 0.8


def test_estimates_stand_below_their_own_headings(calibrated):
    found, _ = calibrated
    grid = estimates_table(found)
    assert grid.head == ("Parameter", "Unit", "Estimate", "Std. error", "If Poisson")
    rows = {row[0]: row[1:] for row in grid.rows}
    decay = found["parameters"]["fill_decay"]
    unit, value, error, model = rows["k, decay of fills with distance"]
    assert unit == decay["unit"]
    # The configuration gives the competition: that is no error of zero.
    assert rows["c, competition: how far orders follow the crowd"][2] == "chosen"
    for text, number in ((value, decay["value"]), (error, decay["error"]), (model, decay["model_error"])):
        assert float(text) == pytest.approx(number, rel=0.06)  # two digits of an error


def test_other_competitions_stand_below_the_one_used(calibrated, page):
    found, _ = calibrated
    used = [row for row in found["competitions"] if row["used"]]
    assert [row["competition"] for row in used] == [0.5]
    assert used[0]["full_spread"] == pytest.approx(found["equilibrium"]["full_spread"], rel=1e-3)
    assert "0.5 (used)" in page
    assert "one rate" in page


def test_a_rejection_is_said_first_and_a_game_without_solution_has_no_quotes(calibrated):
    found, arrays = calibrated
    broken = found | {
        "equilibrium": {"reason": "fill_decay must be positive; was -1"},
        "verdict": [{"level": "bad", "words": "There is no equilibrium to show.", "detail": "why <i>"}],
    }
    page = intensity_page(broken, arrays)
    assert '<section id="quotes"' not in page
    assert page.index("rejected") < page.index("There is no equilibrium") < page.index('<section id="estimates"')
    assert "why &lt;i&gt;" in page


def test_the_page_depends_on_its_input_only(calibrated, page):
    found, arrays = calibrated
    assert intensity_page(found, arrays) == page
    from data_pipeline.disk import pretty_json

    assert intensity_page(json.loads(pretty_json(found)), arrays) == page


def test_the_time_of_day_is_written_as_people_do():
    assert [clock(s) for s in (0.0, 34_200.5, 86_399.9)] == ["00:00:00", "09:30:00", "23:59:59"]
