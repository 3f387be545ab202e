"""Mark-outs by hand, against those of the market's orders, and on a book whose impact is known."""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
import pytest

from backtests.intraday.mark_outs import fill_mark_outs, mark_out_means, weighted_mean
from backtests.intraday.outcome import BY_CROSSING, BY_QUEUE
from backtests.intraday.profit import profit_split
from backtests.intraday.quote_path import QuotePath
from mfg_core.intraday.intensity_exposure import BookPath, Trades
from mfg_core.intraday.mark_outs import clustered_mean, mark_outs

MADE = runpy.run_path(str(Path(__file__).with_name("outcomes.py")))
SECOND, SYN, outcome = MADE["SECOND"], MADE["SYN"], MADE["outcome"]


def path_of(times, bid, ask, until):
    bid, ask = np.array(bid), np.array(ask)
    return QuotePath(np.array(times) * SECOND, bid, ask, bid + ask, until * SECOND)


def test_moves_worked_by_hand():
    path = path_of((0, 10, 20), (99, 100, 96), (101, 103, 98), until=30)  # mids 100, 101.5, 97
    fills = [
        (5 * SECOND, 1, 1, 99, 2, 1, 200, BY_QUEUE),
        (10 * SECOND, 2, -1, 103, 1, 1, 203, BY_QUEUE),
        (28 * SECOND, 3, -1, 96, 1, 0, 194, BY_CROSSING),
    ]
    found = fill_mark_outs(outcome(fills, last_mid2=194), path, (5.0, 15.0))
    np.testing.assert_array_equal(found.moves, [[1.5, -3.0], [0.0, 4.5], [np.nan, np.nan]])
    np.testing.assert_array_equal(found.edge, [1.0, 1.5, -1.0])
    assert (found.after_end.tolist(), found.without_mid.tolist()) == ([1, 1], [0, 0])
    means = mark_out_means([found])
    np.testing.assert_allclose(means.move[0, 2], [(2 * 1.5 + 0) / 3, (2 * -3.0 + 4.5) / 3])
    np.testing.assert_allclose(means.kept[0, 2], [(2 * 2.5 + 1.5) / 3, (2 * -2.0 + 6.0) / 3])
    assert means.fills[:, :, 0].tolist() == [[1, 1, 2], [0, 0, 0]]
    assert np.isnan(means.move[1]).all()


def test_lots_times_the_mean_move_is_the_adverse_selection_of_the_split():
    rng = np.random.default_rng(5)
    times = np.arange(0, 400)
    mid = 1000 + np.cumsum(rng.integers(-2, 3, times.size))
    path = path_of(times, mid - 1, mid + 1, until=1000)
    fills = [
        (int(t) * SECOND + 1, n, int(rng.choice((-1, 1))), 1000, int(rng.integers(1, 5)), 1, None, BY_QUEUE)
        for n, t in enumerate(np.sort(rng.integers(1, 400, 60)))
    ]
    made = outcome(fills, last_mid2=2000)
    split, found = profit_split(made, path, (3.0, 20.0)), fill_mark_outs(made, path, (3.0, 20.0))
    means = mark_out_means([found])
    lots = found.weight.sum()
    np.testing.assert_allclose(means.move[0, 2] * lots * 2, split.adverse)
    np.testing.assert_allclose((means.edge[0, 2] * lots * 2)[0], split.captured)


def market_orders(seed):
    """A mid that walks, and trades at random times against it, one order each."""
    rng = np.random.default_rng(seed)
    times = np.cumsum(rng.integers(1, 9, 900))
    mid = 5000 + np.cumsum(rng.integers(-3, 4, times.size))
    at = np.sort(rng.choice(np.arange(20, int(times[-1])), 300, replace=False))
    return times, mid, at, rng.choice((-1, 1), at.size)


def test_unit_fills_give_the_mark_outs_of_the_orders_that_hit_them():
    times, mid, at, taker = market_orders(11)
    end = int(times[-1])
    path = path_of(times, mid - 2, mid + 2, until=end)
    price = mid[np.searchsorted(times, at, side="left") - 1] + 3 * taker
    fills = [
        (int(t) * SECOND, n, -int(side), int(p), 1, 1, None, BY_QUEUE)
        for n, (t, side, p) in enumerate(zip(at, taker, price, strict=True))
    ]
    found = mark_out_means([fill_mark_outs(outcome(fills, last_mid2=int(2 * mid[-1])), path, (7.0, 40.0))])
    book = BookPath(times.astype(float), (mid - 2).astype(float), (mid + 2).astype(float))
    other = mark_outs(book, Trades(at.astype(float), price.astype(float), np.ones(at.size), taker.astype(np.int8)),
                      (7.0, 40.0), session_end=float(end))  # fmt: skip
    # buyers fill own sales: rows ask, bid, both are sold, bought, both
    mine = np.array([1, 0, 2])
    np.testing.assert_allclose(-found.move[0, mine], other.impact, rtol=1e-12)
    np.testing.assert_allclose(found.move_error[0, mine], other.impact_error, rtol=1e-12)
    np.testing.assert_allclose(found.kept[0, mine], other.realised, rtol=1e-12)
    np.testing.assert_allclose(found.kept_error[0, mine], other.realised_error, rtol=1e-12)
    assert found.fills[0, mine].tolist() == other.orders.tolist()


def test_a_fill_of_three_lots_counts_as_three_fills_of_one_in_its_block():
    rng = np.random.default_rng(2)
    values, weight, block = rng.normal(size=50), rng.integers(1, 4, 50), rng.integers(0, 9, 50)
    one_by_one = clustered_mean(np.repeat(values, weight), np.repeat(block, weight))
    np.testing.assert_allclose(weighted_mean(values, weight, block), one_by_one, rtol=1e-12)


def test_sessions_are_joined_without_joining_their_blocks():
    times, mid, at, side = market_orders(3)
    path = path_of(times, mid - 2, mid + 2, until=int(times[-1]))
    fills = [
        (int(t) * SECOND, n, int(s), 5000, 1, 1, None, BY_QUEUE) for n, (t, s) in enumerate(zip(at, side, strict=True))
    ]
    one = fill_mark_outs(outcome(fills, last_mid2=10_000), path, (5.0,))
    alone, twice = mark_out_means([one]), mark_out_means([one, one])
    np.testing.assert_allclose(twice.move, alone.move)
    blocks = np.unique(one.block).size
    # the sums of squares double over twice the lots; the small-sample factor B/(B-1) is of twice the blocks
    factor = np.sqrt((2 * blocks / (2 * blocks - 1)) / (blocks / (blocks - 1)) / 2)
    np.testing.assert_allclose(twice.move_error[0, 2], alone.move_error[0, 2] * factor)
    assert twice.fills[0, 2, 0] == 2 * alone.fills[0, 2, 0]


def test_blocks_are_of_the_session_and_not_of_a_picture_long_before_it():
    times, mid, at, side = market_orders(3)
    path = path_of(times, mid - 2, mid + 2, until=int(times[-1]))
    before = path_of(np.r_[-(10**6), times], np.r_[0, mid - 2], np.r_[9999, mid + 2], until=int(times[-1]))
    fills = [
        (int(t) * SECOND, n, int(s), 5000, 1, 1, None, BY_QUEUE) for n, (t, s) in enumerate(zip(at, side, strict=True))
    ]
    made = outcome(fills, last_mid2=10_000)
    found = fill_mark_outs(made, before, (5.0,), start=int(times[0]) * SECOND)
    np.testing.assert_array_equal(found.block, fill_mark_outs(made, path, (5.0,)).block)
    assert np.unique(fill_mark_outs(made, before, (5.0,)).block).size == 1


def test_no_sessions_no_means():
    with pytest.raises(ValueError, match="at least one"):
        mark_out_means([])
