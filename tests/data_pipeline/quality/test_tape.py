"""Oddities put into a tape are found, and an honest tape has none."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_pipeline.quality.tape import SECOND, bursts, clocks, covered, quote_spans, silences, spikes

HOUR = 3600 * SECOND


def poisson(rate: float, seconds: float, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.sort(rng.uniform(0, seconds, rng.poisson(rate * seconds)) * SECOND).astype(np.int64)


@pytest.mark.parametrize("rate", [0.02, 0.5, 5.0])
def test_poisson_arrivals_have_no_silence(rate):
    for seed in range(5):
        assert silences(poisson(rate, 8 * 3600.0, seed), 0, 8 * HOUR).size == 0


def test_a_hole_in_the_data_is_a_silence():
    times = poisson(1.0, 8 * 3600.0)
    cut = times[(times < 3 * HOUR) | (times > 3 * HOUR + 300 * SECOND)]
    ((start, end),) = silences(cut, 0, 8 * HOUR)
    assert start <= 3 * HOUR
    assert end >= 3 * HOUR + 300 * SECOND
    assert end - start < 320 * SECOND


def test_a_feed_that_ends_early_or_is_empty_is_silent():
    times = poisson(1.0, 8 * 3600.0)
    ((start, end),) = silences(times[times < 5 * HOUR], 0, 8 * HOUR)
    assert end == 8 * HOUR
    assert 5 * HOUR - start < 30 * SECOND
    assert silences(times[:0], 0, HOUR).tolist() == [[0, HOUR]]


def test_a_quiet_share_may_be_silent_for_long():
    assert silences(poisson(0.005, 8 * 3600.0), 0, 8 * HOUR).size == 0


def test_a_few_events_say_nothing_of_a_silence():
    times = np.array([0, 1, 2, 1200, 1201]) * SECOND
    assert silences(times, 0, 1201 * SECOND).size == 0


def test_a_price_of_a_few_ticks_that_moves_by_one_is_no_spike():
    price = np.full(100, 0.02)
    price[[20, 50, 80]] = (0.01, 0.03, 0.10)
    assert spikes(price).tolist() == [80]


def test_single_wrong_prices_are_spikes_and_jumps_that_stay_are_not():
    rng = np.random.default_rng(1)
    price = np.round(30.0 + 0.01 * np.cumsum(rng.integers(-1, 2, 500)), 2)
    assert spikes(price).size == 0
    wrong = price.copy()
    wrong[[100, 300]] *= (1.1, 0.1)
    assert spikes(wrong).tolist() == [100, 300]
    moved = price.copy()
    moved[250:] *= 1.2
    assert spikes(moved).size == 0
    assert spikes(price[:10]).size == 0


def test_bursts_are_prints_at_one_time_and_price():
    times = np.concatenate([np.arange(50) * SECOND, np.full(30, 60 * SECOND), np.full(25, 61 * SECOND)])
    price = np.concatenate([np.full(80, 10.0), np.linspace(10.0, 10.24, 25)])
    (burst,) = bursts(times, price, np.full(105, 100.0))
    assert (burst.time, burst.price, burst.trades, burst.quantity) == (60 * SECOND, 10.0, 30, 3000.0)
    assert burst.quiet == 11 * SECOND
    assert bursts(times[:0], price[:0], price[:0]) == ()


def test_clocks_are_compared_in_the_order_of_the_feed():
    exchange = np.array([10, 20, 15, 30], dtype=np.int64) * SECOND
    check = clocks(exchange, exchange - SECOND, np.arange(4))
    assert (check.compared, check.negative, check.median_seconds, check.disordered) == (4, 4, -1.0, 1)
    assert clocks(exchange, exchange + 1, np.array([0, 2, 1, 3])).disordered == 0


def test_quotes_hold_until_the_next():
    times = np.array([0, 10, 20, 30], dtype=np.int64)
    bid, ask = np.array([1.0, 3.0, 2.0, np.nan]), np.array([2.0, 2.0, 2.0, 2.0])
    spans = quote_spans(times, bid, ask, 50)
    assert spans.crossed.tolist() == [[10, 20]]
    assert spans.locked.tolist() == [[20, 30]]
    assert spans.one_sided.tolist() == [[30, 50]]


@given(st.lists(st.tuples(st.integers(-20, 120), st.integers(0, 60)), max_size=8), st.integers(0, 50))
def test_covered_time_counts_every_moment_once(pairs, start):
    spans = [np.array([[a, a + length]], dtype=np.int64) for a, length in pairs]
    moments = {t for a, length in pairs for t in range(a, a + length) if start <= t < 100}
    assert covered(spans, start, 100) == len(moments)
