"""The examples run, and what they say is so."""

from __future__ import annotations

import importlib.util
import math
import re
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

FOLDER = Path(__file__).parents[1] / "examples"


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"example_{name}", FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def apples():
    return load("apple_fair")


@pytest.fixture(scope="module")
def fair(apples):
    return apples.solve_fair()


def test_every_example_is_in_the_list_and_tested():
    names = {path.name for path in FOLDER.glob("*.py")}
    assert (
        names
        == set(re.findall(r"`(\w+\.py)`", (FOLDER / "README.md").read_text()))
        == {
            "apple_fair.py",
            "day_of_trades.py",
            "desk.py",
        }
    )


def test_the_story_is_told_in_plain_words(apples, capsys):
    apples.main()
    told = capsys.readouterr().out
    for heading in ("A FAIR", "THE CROWD", "CLOSING TIME", "A TIGHTER CROWD", "A FEE", "A NERVOUS OWNER", "HOW SURE"):
        assert heading in told
    assert not re.search(r"\b(nan|inf|equilibria|Hamilton|Bellman|density|lambda)\b", told)
    assert max(len(line) for line in told.splitlines()) <= 100


def test_without_cost_of_carrying_everybody_stands_at_one_over_the_decay(apples, fair):
    for crates in (-4, 0, 7):
        np.testing.assert_allclose(apples.half_spreads(fair.relaxed, 0.0, crates), 20.0, atol=5e-3)


def test_a_full_stall_lowers_both_prices_and_more_so_near_closing_time(apples, fair):
    buy, sell = apples.half_spreads(fair.crowd, 120.0, 5)
    flat = apples.half_spreads(fair.crowd, 120.0, 0)
    assert sell < flat[1]
    assert buy > flat[0]
    late = apples.half_spreads(fair.crowd, 239.0, 5)
    assert late[1] < sell
    assert late[0] > buy


def test_a_tighter_crowd_takes_customers_and_income_but_hardly_moves_the_margin(apples, fair):
    kept = fair.against_tighter.mean_field.ask_fill_rate.mean() / fair.against_usual.mean_field.ask_fill_rate.mean()
    assert kept == pytest.approx(math.exp(-0.5), rel=0.03)
    moved = apples.half_spreads(fair.against_usual, 0.0, 5)[1] - apples.half_spreads(fair.against_tighter, 0.0, 5)[1]
    assert 0 < moved < 0.1 * apples.TIGHTER
    flat = apples.FAIR.max_inventory
    assert fair.against_tighter.value[0, flat] / fair.against_usual.value[0, flat] == pytest.approx(
        math.exp(-0.5), rel=0.02
    )


def test_one_stall_against_a_constant_crowd_is_what_the_fair_itself_nearly_is(apples, fair):
    usual, flat = fair.against_usual, apples.FAIR.max_inventory
    assert usual.value[0, flat] == pytest.approx(fair.crowd.value[0, flat], rel=0.02)


def test_a_fee_is_passed_on_whole_unless_customers_can_stay_at_home(apples, fair):
    flat = apples.FAIR.max_inventory
    np.testing.assert_allclose(fair.taxed.value[0], fair.crowd.value[0], rtol=1e-8)  # ten times the solves' tolerance
    np.testing.assert_allclose(fair.taxed.mean_field.ask[0] - fair.crowd.mean_field.ask[0], apples.FEE, atol=1e-7)
    lost = fair.alone_taxed.value[0, flat] / fair.alone.value[0, flat]
    assert lost == pytest.approx(math.exp(-apples.FAIR.fill_decay * apples.FEE), rel=0.02)


def test_the_nervous_hold_less_sell_cheaper_and_earn_less(apples, fair):
    calm, nervous = fair.nervous.makers
    assert apples.half_spreads(nervous, 120.0, 5)[1] < apples.half_spreads(calm, 120.0, 5)[1]
    assert nervous.inventory_variance.max() < calm.inventory_variance.max()
    assert nervous.value[0, 16] < calm.value[0, 24]


def test_together_the_stalls_sell_more_than_at_equal_prices(fair):
    assert (fair.crowd.mean_field.ask_fill_rate / 0.25).max() > 1.0


def test_the_desk_finds_the_market_that_was_simulated():
    desk = load("desk")
    morning = desk.prepare(seed=3)
    found = morning.calibration
    error = found.standard_errors[found.names.index("fill_decay")]
    assert abs(found.fill_decay - desk.TRUE_DECAY) < 4.0 * error
    for side, name in ((1, "ask_arrival"), (-1, "bid_arrival")):
        error = found.standard_errors[found.names.index(name)]
        assert abs(getattr(found, name) - desk.TRUE_RATES[side]) < 4.0 * error
    bid, ask = morning.equilibrium.policy.quotes(0.0, 0)
    low, high = morning.bands
    assert low[0] < bid < high[0]
    assert low[1] < ask < high[1]
    text = "\n".join(desk.report(morning))
    assert "bands at flat" in text
    again = desk.prepare(seed=3)
    assert desk.report(again) == desk.report(morning)
    long_bid, long_ask = morning.equilibrium.policy.quotes(0.0, 5)
    assert long_bid > bid
    assert long_ask < ask


def test_a_day_of_trades_ends_in_the_market_that_was_simulated(tmp_path):
    from data_pipeline.synthetic.order_book import BookConfig, simulate_book
    from data_pipeline.synthetic.order_book_files import write_capture

    day = load("day_of_trades")
    truth = BookConfig(seconds=1200.0, queue=3, largest_lots=4)
    events = simulate_book(truth)
    raw = write_capture(tmp_path / "synusdt.gz", events)
    bars, found, equilibrium = day.study(raw, "SYNUSDT", truth.tick, tmp_path / "store")
    for name in ("ask_arrival", "bid_arrival", "fill_decay"):
        error = found.standard_errors[found.names.index(name)]
        assert abs(getattr(found, name) - getattr(truth, name)) < 4.0 * error
    assert bars.num_rows == 4
    assert sum(bars["trades"].to_pylist()) > 0
    assert equilibrium.policy.quotes(0.0, 5)[1] < equilibrium.policy.quotes(0.0, 0)[1]  # eager to sell
    told = day.report((bars, found, equilibrium), truth.tick)
    assert len(told) == 1 + bars.num_rows + len(found.names) + 4


def test_a_file_that_is_none_is_refused_by_name(tmp_path):
    (tmp_path / "photo.csv").write_bytes(b"no such thing\n")
    with pytest.raises(SystemExit, match=r"photo\.csv is of no known format"):
        load("day_of_trades").study(tmp_path / "photo.csv", "X", 0.01, tmp_path / "store")
