"""The wrapped trade count: found by size and level, never from later rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_pipeline.daily.spot import spot_rows
from data_pipeline.daily.trade_counts import MIN_COUNT, WRAP, unwrap_series, unwrap_trade_counts
from data_pipeline.feeds.cotahist.parser import read_cotahist


def liquid(seed, n=60, level=70_000.0):
    """True counts, shares and value of a liquid share."""
    rng = np.random.default_rng(seed)
    counts = np.round(level * np.exp(0.35 * rng.standard_normal(n))).astype(np.int64)
    counts[:6] = np.minimum(counts[:6], WRAP - 1)
    size = 700.0 * np.exp(0.15 * rng.standard_normal(n))
    quantity = np.round(counts * size / 100.0).astype(np.int64) * 100
    return counts, quantity, quantity * 30.0


def test_clear_wraps_are_undone():
    truth, quantity, value = liquid(1)
    truth[[20, 33]] = [100_080, 145_000]
    quantity[[20, 33]] = 700 * truth[[20, 33]]
    value = quantity * 30.0
    found = unwrap_series(truth % WRAP, quantity, value)
    np.testing.assert_array_equal(found[[20, 33]], [100_080, 145_000])


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6))
def test_what_is_changed_is_a_whole_number_of_turns_and_not_above_the_shares(seed):
    truth, quantity, value = liquid(seed, n=120)
    found = unwrap_series(truth % WRAP, quantity, value)
    changed = found != truth % WRAP
    assert ((found - truth % WRAP) % WRAP == 0).all()
    assert (found[changed] <= quantity[changed]).all()


def test_most_wraps_are_found_and_few_are_invented():
    """Rates over many shares together: one share alone may be unlucky (a wrong start misleads its own medians)."""
    wrapped = recovered = changed = right = 0
    for seed in range(150):
        truth, quantity, value = liquid(seed, n=120)
        found = unwrap_series(truth % WRAP, quantity, value)
        is_wrapped, is_changed = truth >= WRAP, found != truth % WRAP
        wrapped += is_wrapped.sum()
        recovered += (found == truth)[is_wrapped].sum()
        changed += is_changed.sum()
        right += (found == truth)[is_changed].sum()
    assert recovered / wrapped > 0.7
    assert right / changed > 0.9


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(6, 59))
def test_each_count_depends_on_its_past_only(seed, row):
    truth, quantity, value = liquid(seed)
    other, other_quantity, other_value = liquid(seed + 1, level=30_000.0)
    mixed = [
        np.concatenate([a[:row], b[row:]])
        for a, b in ((truth % WRAP, other % WRAP), (quantity, other_quantity), (value, other_value))
    ]
    np.testing.assert_array_equal(unwrap_series(truth % WRAP, quantity, value)[:row], unwrap_series(*mixed)[:row])


def test_a_block_trade_in_a_quiet_share_is_left_alone():
    counts = np.full(40, 300, dtype=np.int64)
    quantity = np.full(40, 60_000, dtype=np.int64)
    quantity[30] = 40_000_000
    assert (unwrap_series(counts, quantity, quantity * 10.0) == counts).all()
    assert counts.max() < MIN_COUNT


def test_a_split_does_not_look_like_a_wrap():
    counts = np.full(40, 60_000, dtype=np.int64)
    price = np.where(np.arange(40) < 20, 100.0, 10.0)
    quantity = np.round(60_000 * 50_000.0 / price).astype(np.int64)
    assert (unwrap_series(counts, quantity, quantity * price) == counts).all()


def test_a_residue_of_zero_can_be_a_full_turn():
    truth, quantity, value = liquid(4)
    truth[30], quantity[30] = WRAP, 700 * WRAP
    value[30] = quantity[30] * 30.0
    assert unwrap_series(truth % WRAP, quantity, value)[30] == WRAP


@pytest.mark.realdata
def test_real_wraps_of_2023(realdata: Path):
    rows = spot_rows(read_cotahist(realdata / "cotahist" / "COTAHIST_A2023_EQUITIES.ZIP"))
    counts, unwrapped = unwrap_trade_counts(rows)
    by_key = {(rows.ticker[k], str(rows.session[k])): int(counts[k]) for k in np.flatnonzero(unwrapped)}
    assert by_key["PETR4", "2023-01-17"] == 100_080
    assert by_key["VALE3", "2023-09-14"] == 100_559
    # a looser test of trade size alone marks 136 rows, PETR4 on 48 days; this one wants twenty to one
    assert 80 <= len(by_key) <= 136
    assert 40 <= sum(ticker == "PETR4" for ticker, _ in by_key) <= 48
    # after it PETR4's trade size stays within a factor of four of its median on every day
    span = rows.rows_of(rows.instruments.index("PETR4"))
    size = rows.traded_value[span] / counts[span]
    assert np.abs(np.log(size / np.median(size))).max() < np.log(4.0)
