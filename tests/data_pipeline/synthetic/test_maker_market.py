"""Prints of the maker's market reach every distance at the stated rate, through the whole session."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import kstest

from data_pipeline.book.events import BEST_QUOTE, BUY, EXCH, KIND_MASK, LOCAL, TRADE
from data_pipeline.book.replay import book_source
from data_pipeline.synthetic.maker_market import MakerMarketConfig, simulate_maker_market

CONFIG = MakerMarketConfig(
    ask_arrival=1.2, bid_arrival=0.7, fill_decay=1.5, seconds=3000.0, tick=2.0**-7, lowest=-0.25, seed=3
)
TIMES = np.linspace(0.0, 3000.0, 31)
CROWD = np.stack([0.5 + 0.2 * np.sin(TIMES / 300.0), 0.4 + 1e-4 * TIMES], axis=-1)


def prints(events, config, side):
    """(seconds, ticks from the mid) of the prints that buy (0) or sell (1), the mid being still."""
    trades = events[(events["ev"] & KIND_MASK) == TRADE]
    mine = trades[((trades["ev"] & BUY) != 0) == (side == 0)]
    ticks = np.rint(mine["px"] / config.tick).astype(np.int64) - config.mid_tick
    return 1e-9 * (mine["exch_ts"] - config.start_ns), ticks if side == 0 else -ticks


@pytest.mark.parametrize("side", [0, 1])
def test_prints_reach_each_tick_at_the_stated_rate(side):
    events = simulate_maker_market(CONFIG, TIMES, CROWD)
    seconds, ticks = prints(events, CONFIG, side)
    arrival = (1.2, 0.7)[side]
    for distance in (-0.25, 0.0, 0.5, 1.5):
        reached = seconds[ticks >= round(distance / CONFIG.tick)]
        mean = quad(
            lambda t, d=distance: arrival * math.exp(-1.5 * (d - np.interp(t, TIMES, CROWD[:, side]))),
            0.0, 3000.0, points=TIMES[1:-1], limit=200,
        )[0]  # fmt: skip
        # A Poisson number: 4 standard deviations, one false alarm in 16,000.
        assert abs(reached.size - mean) < 4.0 * math.sqrt(mean)
    # In time: by the cumulative rate the prints are uniform (Kolmogorov-Smirnov, one false alarm in 1,000).
    grid = np.linspace(0.0, 3000.0, 30_001)
    rate = np.exp(1.5 * np.interp(grid, TIMES, CROWD[:, side]))
    cumulative = np.concatenate([[0.0], np.cumsum(0.5 * (rate[1:] + rate[:-1]))])
    assert kstest(np.interp(seconds, grid, cumulative / cumulative[-1]), "uniform").pvalue > 1e-3


def test_reach_is_exponential_and_does_not_depend_on_the_gap_before():
    seconds, ticks = prints(simulate_maker_market(CONFIG, TIMES, CROWD), CONFIG, 0)
    ratio = math.exp(-1.5 * CONFIG.tick)
    steps = ticks - round(-0.25 / CONFIG.tick)
    assert steps.min() >= 0
    # Geometric in ticks: mean ratio / (1 - ratio), variance ratio / (1 - ratio)^2.
    assert abs(steps.mean() - ratio / (1 - ratio)) < 4.0 * math.sqrt(ratio) / (1 - ratio) / math.sqrt(steps.size)
    assert abs(np.corrcoef(np.diff(seconds), steps[1:])[0, 1]) < 4.0 / math.sqrt(steps.size)


def test_events_are_in_order_and_of_one_source():
    events = simulate_maker_market(replace(CONFIG, volatility=0.05, mid_step=1.0), TIMES, CROWD)
    assert book_source(events) == "best"
    assert np.all(np.diff(events["exch_ts"]) >= 0)
    assert np.array_equal(events["exch_ts"], events["local_ts"])
    assert np.all(events["ev"] & (EXCH | LOCAL) == (EXCH | LOCAL))
    trades = events[(events["ev"] & KIND_MASK) == TRADE]
    assert np.all(np.diff(trades["exch_ts"]) > 0)
    assert np.all(trades["exch_ts"] > CONFIG.start_ns)
    assert np.all(trades["qty"] == 1.0)


def test_the_mid_moves_at_its_steps_with_its_volatility_and_carries_the_prints():
    config = replace(CONFIG, volatility=0.2, mid_step=0.5, mid=10_000.0)
    events = simulate_maker_market(config, TIMES, CROWD)
    quotes = events[(events["ev"] & KIND_MASK) == BEST_QUOTE]
    assert np.all((quotes["exch_ts"] - config.start_ns) % 500_000_000 == 0)
    bids, asks = quotes[::2]["px"], quotes[1::2]["px"]
    mids = 0.5 * (bids + asks)
    assert np.all(asks - bids == 200.0)
    assert mids[0] == 10_000.0
    # Moves of half a second, those of no tick included: sigma^2 / 2 each, and a twelfth of a tick squared twice.
    squares = np.concatenate([np.diff(mids) ** 2, np.zeros(6000 - mids.size)])
    expected = 0.2**2 * 0.5 + config.tick**2 / 6.0
    assert abs(squares.mean() - expected) < 4.0 * math.sqrt(2.0 / 6000) * expected
    trades = events[(events["ev"] & KIND_MASK) == TRADE]
    centre = mids[np.searchsorted(quotes[::2]["exch_ts"], trades["exch_ts"], side="right") - 1]
    away = np.where(trades["ev"] & BUY, trades["px"] - centre, centre - trades["px"])
    assert away.min() >= -0.25
    still, _ = prints(simulate_maker_market(CONFIG, TIMES, CROWD), CONFIG, 0)
    assert still.size == np.count_nonzero(trades["ev"] & BUY)


def test_same_arguments_same_bytes_and_another_symbol_other_events():
    first = simulate_maker_market(CONFIG, TIMES, CROWD)
    assert first.tobytes() == simulate_maker_market(CONFIG, TIMES, CROWD).tobytes()
    other = simulate_maker_market(replace(CONFIG, symbol="B"), TIMES, CROWD)
    assert first.tobytes() != other.tobytes()


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="times must increase and reach from 0 to 3000"):
        simulate_maker_market(CONFIG, TIMES / 2.0, CROWD)
    with pytest.raises(ValueError, match="crowd must be finite and of shape"):
        simulate_maker_market(CONFIG, TIMES, CROWD[:, :1])
    with pytest.raises(ValueError, match="fill_decay must be positive"):
        replace(CONFIG, fill_decay=0.0)
    with pytest.raises(ValueError, match="quote_distance must be"):
        replace(CONFIG, quote_distance=0.2)
