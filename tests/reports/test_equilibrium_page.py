"""The page of an equilibrium: its pictures hold the numbers, its surfaces are right, its bytes are its own."""

from __future__ import annotations

import re
import warnings
import xml.etree.ElementTree as ET
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import norm

from mfg_core import EpidemicGame, MarketMakingGame, MixedMarketMakingGame, Picard, solve_mfg
from mfg_core.iteration.residual_history import residual_history
from mfg_core.market.sanity import check_equilibrium
from mfg_core.market.sanity_compositions import check_composition
from reports import surface
from reports.composition_view import own_mean
from reports.convergence_view import History, contraction
from reports.crowd_view import flow_words
from reports.equilibrium_page import certificate_words, equilibrium_page
from reports.equilibrium_view import quotes_words
from reports.pictures import Units, one, tick_number
from reports.quotes_view import inhabited, slice_words

MARKET = {
    "ask_arrival": 2.0,
    "bid_arrival": 2.0,
    "fill_decay": 1.5,
    "running_penalty": 0.1,
    "terminal_penalty": 0.3,
    "horizon": 1.0,
    "max_inventory": 8,
}


@pytest.fixture(scope="module")
def solved():
    return solve_mfg(MarketMakingGame(**MARKET), rtol=1e-6)


@pytest.fixture(scope="module")
def page(solved):
    histories = [History("Picard", residual_history(solved, Picard()))]
    checks = check_equilibrium(solved, 1e-6, 1e-12)
    return equilibrium_page(
        solved, title="a <b> & c", checks=checks, histories=histories, units=Units("s", "cents", "kg")
    )


def test_the_page_is_whole_self_contained_and_escaped(page, solved):
    assert page.startswith("\n<!DOCTYPE html>") or page.startswith("<!DOCTYPE html>")
    assert page.rstrip().endswith("</html>")
    assert "<script" not in page
    assert not re.search(r"(?:src|href)=\"(?!data:|#)", page)
    assert "a &lt;b&gt; &amp; c" in page
    for picture in re.findall(r"<svg.*?</svg>", page, re.DOTALL):
        ET.fromstring(picture)
    checks = check_equilibrium(solved, 1e-6, 1e-12)
    bare = equilibrium_page(solved, title="x", checks=checks)
    assert bare == equilibrium_page(solved, title="x", checks=checks)


@pytest.mark.parametrize(
    "words",
    [
        "Ask half-spread", "Bid half-spread", "Value against flat inventory", "Inventories of the crowd",
        "Mean ask and bid", "Full spread and net skew", "Inventory: variance (kg²)", "De-risk probability",
        "Cost of the first unit", "Fill rates per side", "Flow against A", "ends of the inventory grid",
        "Residual by sweep", "Sanity checks", "Certificate", "Parameters", "|x| &lt; 0.5", "|x| &lt; 2.5",
    ],
)  # fmt: skip
def test_what_the_page_must_show_is_there(page, words):
    assert words in page


def test_the_numbers_of_the_page_are_those_of_the_equilibrium(page, solved):
    bid, ask = solved.policy.quotes(0.0, 0)
    found = re.search(r"asks ([\d.]+) above the mid and bids ([\d.]+) below", page)
    assert [float(text) for text in found.groups()] == pytest.approx([float(ask), float(bid)], rel=1e-3)
    spread = re.search(r"full spread is ([\d.]+) at the open and ([\d.]+) at the close", page)
    assert [float(text) for text in spread.groups()] == pytest.approx(list(solved.full_spread[[0, -1]]), rel=1e-3)
    rows = re.search(r'data-t="quotes".*?</table>', page, re.DOTALL).group(0)
    flat = re.search(r">0</th>(.*?)</tr>", rows, re.DOTALL).group(1)
    figures = [float(text) for text in re.findall(r">([\d.]+)<", flat)]
    close = solved.policy.quotes(1.0, 0)
    assert figures == pytest.approx([float(bid), float(ask), float(close[0]), float(close[1])], rel=1e-3)


def test_more_flow_than_arrivals_is_explained_and_less_too(page, solved):
    most = (solved.mean_field.ask_fill_rate + solved.mean_field.bid_fill_rate).max() / 4.0
    assert most > 1.0
    assert f"{most:.4g} times A" in page
    assert "Jensen" in page
    alone = solve_mfg(MarketMakingGame(**MARKET, competition=0.0), rtol=1e-6)
    assert "Jensen" not in equilibrium_page(alone, title="x", checks=())


def variant(**changes):
    return solve_mfg(MarketMakingGame(**{**MARKET, "max_inventory": 16, **changes}), rtol=1e-6)


def test_a_gain_below_the_rounding_of_the_values_is_said_to_be_that_and_a_larger_one_is_a_number(solved):
    units = Units(price="cents")
    rounding = float(np.spacing(np.abs(solved.value).max()))
    below = replace(solved, certificate=replace(solved.certificate, exploitability=rounding / 8.0))
    assert "gains less than " in certificate_words(below, units)
    assert ", the rounding of the values," in certificate_words(below, units)
    above = replace(solved, certificate=replace(solved.certificate, exploitability=2.5e-7))
    assert "gains 2.5e−7 cents over the whole horizon, averaged" in certificate_words(above, units)
    assert "rounding" not in certificate_words(above, units)


def test_the_residual_of_the_epidemic_is_of_the_logarithm_of_the_infected():
    game = EpidemicGame(contact_rate=0.2, recovery_rate=0.1, infection_cost=300.0, initial_infected=0.01, horizon=60.0)
    page = equilibrium_page(solve_mfg(game, rtol=1e-6), title="x", checks=(), names=("population",))
    table = re.search(r'data-t="certificate".*?</table>', page, re.DOTALL).group(0)
    assert re.search(r"Residual.*?log of the infected", table)
    assert "relative to 1 plus their size" in table
    assert "1/k" not in page


def test_the_page_of_a_game_without_risk_says_of_no_maker_that_it_wants_to_sell():
    free = variant(running_penalty=0.0, terminal_penalty=0.0)
    assert quotes_words(free).endswith("inventory.")
    page = equilibrium_page(free, title="x", checks=())
    assert "wants to sell" not in page
    assert "one unit long the same" in page
    assert "asks less and bids less" in quotes_words(variant())


def test_what_the_quotes_of_a_long_maker_say_is_read_off_them():
    units = Units()
    assert slice_words("ask", 1.0, 0.8, units).endswith(": it wants to sell.")
    assert slice_words("bid", 1.0, 1.2, units).endswith(": it does not want to buy.")
    for side, flat, long in (("ask", 1.0, 1.2), ("bid", 1.0, 0.8), ("ask", 1.0, 1.0)):
        assert "want" not in slice_words(side, flat, long, units)
    assert slice_words("ask", 1.0, np.nan, units) == "Each line is one moment."


def test_the_reason_for_the_flow_is_the_game_s_own():
    assert "Jensen" in flow_words(variant())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert "makers at a limit" in flow_words(variant(max_inventory=1))
    # A rebate makes them quote below the mid: more than A comes, and not by Jensen.
    generous = variant(competition=0.0, maker_fee=-2.0)
    assert (generous.mean_field.ask_fill_rate / 2.0).max() > 1.5
    assert "the flow at the mid: " in flow_words(generous)
    assert "0.9 times the crowd's mean quote" in flow_words(variant(competition=0.9))
    assert "Jensen" not in flow_words(variant(competition=0.9))


def test_a_utility_is_said_to_be_one():
    page = equilibrium_page(variant(risk_aversion=0.3), title="x", checks=())
    assert page.count("certainty equivalent") == 2
    assert "certainty equivalent" not in equilibrium_page(variant(), title="x", checks=())


def test_equal_arrivals_are_one_line_called_a():
    assert "dashed: A." in equilibrium_page(variant(), title="x", checks=())
    assert "dashed: A, bid and A, ask." in equilibrium_page(variant(ask_arrival=2.1), title="x", checks=())


def test_only_inventories_that_exist_are_on_the_axis_and_a_scale_has_no_sign_for_rounding():
    states = np.arange(-1.0, 2.0)
    values = np.array([[0.0, 0.1, 0.1], [0.0, 0.1 + 1e-17, 0.1]])
    drawing = surface.heat_map(np.array([0.0, 1.0]), states, values, "x", "t", "inventory", number=lambda v: f"[{v:g}]")
    assert ">[0.1]<" in drawing
    axis = re.findall(r'text-anchor="end">([^<]*)<', drawing)
    assert axis == ["−1", "0", "1"]


def test_a_plateau_with_rounding_on_it_has_no_line_along_its_top():
    picture = np.array([[0.0, 4.0, 4.0 + 1e-15], [0.0, 4.0, 4.0 - 1e-15]])
    assert 4.0 not in surface.round_levels(picture, 0.0, 4.0)


def test_a_contour_of_a_plane_is_the_straight_line_that_it_should_be():
    columns, rows = np.meshgrid(np.arange(12.0), np.arange(9.0), indexing="ij")
    (line,) = surface.contour_lines(columns + 2.0 * rows, 9.3)
    np.testing.assert_allclose(line[:, 0] + 2.0 * line[:, 1], 9.3, atol=1e-12)
    assert {line[0, 0], line[-1, 0]} == {0.0, 9.3}
    assert np.all(np.abs(np.diff(line[:, 0])) <= 1.0)


def test_a_contour_around_a_hill_is_closed_and_of_its_length():
    x, y = np.meshgrid(np.linspace(-1, 1, 81), np.linspace(-1, 1, 81), indexing="ij")
    (line,) = surface.contour_lines(x**2 + y**2, 0.49)
    np.testing.assert_array_equal(line[0], line[-1])
    length = np.linalg.norm(np.diff(line, axis=0), axis=1).sum() * 0.025
    assert length == pytest.approx(2 * np.pi * 0.7, rel=2e-3)  # a polygon with sides of about 0.02


def test_a_saddle_gives_two_lines_and_a_missing_corner_none():
    saddle = np.array([[1.0, 0.0], [0.0, 1.0]])
    assert len(surface.contour_lines(saddle, 0.4)) == 2
    assert len(surface.contour_lines(saddle, 0.6)) == 2
    assert surface.contour_lines(np.array([[1.0, np.nan], [0.0, 1.0]]), 0.5) == []


def test_quantiles_are_those_of_the_law_spread_over_units():
    states = np.arange(-60.0, 61.0)
    law = norm.pdf((states - 3.0) / 9.0)[None, :] / 9.0
    for p in (0.05, 0.25, 0.5, 0.95):
        # Spreading over units adds 1/12 to the variance.
        exact = 3.0 + np.hypot(9.0, np.sqrt(1 / 12)) * norm.ppf(p)
        assert surface.quantile(states, law, p)[0] == pytest.approx(exact, abs=5e-3)


def test_columns_are_the_values_at_equal_times():
    times = np.array([0.0, 0.1, 0.5, 2.0])
    even, values = surface.even_columns(times, np.stack([3.0 * times, np.full(4, np.nan)], axis=1), 9)
    np.testing.assert_allclose(values[:, 0], 3.0 * even, atol=1e-14)
    assert np.isnan(values[:, 1]).all()


def test_round_levels_are_denser_where_most_cells_are():
    picture = np.concatenate([np.linspace(0.0, 1.0, 96), [40.0, 60.0, -30.0, -50.0]])[:, None]
    levels = surface.round_levels(picture, 0.0, 1.0)
    assert sum(0 <= level <= 1 for level in levels) >= 5
    assert max(levels) > 1.0
    assert min(levels) < 0.0
    assert levels == sorted(set(levels))


def test_ticks_of_a_narrow_range_are_told_apart():
    write = tick_number([np.array([2.071, 2.100])])
    assert [write(v) for v in (2.075, 2.08, 2.085)] == ["2.075", "2.08", "2.085"]


def test_words_for_one_unit_and_the_last_ratio_of_residuals():
    assert [one(unit) for unit in ("seconds", "units of time", "R$", "ticks")] == [
        "second",
        "unit of time",
        "R$",
        "tick",
    ]
    assert contraction([1.0, 0.5, 0.1]) == pytest.approx(0.2)
    assert contraction([1.0]) is None


def test_inventories_that_nobody_has_are_left_out(solved):
    kept = solved.states[inhabited(solved)]
    np.testing.assert_array_equal(kept, -kept[::-1])
    assert solved.density[:, np.abs(solved.states) > kept.max()].max(initial=0.0) <= 1e-4


def test_the_page_of_maker_types_shows_each_type_and_their_own_means():
    game = MixedMarketMakingGame(
        makers=(MarketMakingGame(**MARKET), MarketMakingGame(**{**MARKET, "running_penalty": 0.6})), shares=(0.5, 0.5)
    )
    mixed = solve_mfg(game, rtol=1e-5)
    names = ("patient", "nervous")
    page = equilibrium_page(mixed, title="x", checks=check_composition(mixed, names, 1e-5, 1e-12, 1.0), names=names)
    assert page.count("Patient") >= 2
    assert "Nervous: value at the close" in page or "nervous: value at the close" in page.lower()
    means = [own_mean(part, "ask") for part in mixed.makers]
    weights = [part.density[:, 1:].sum(axis=1) for part in mixed.makers]
    whole = (weights[0] * means[0] + weights[1] * means[1]) / (weights[0] + weights[1])
    np.testing.assert_allclose(whole, mixed.mean_field.ask, rtol=1e-12)
