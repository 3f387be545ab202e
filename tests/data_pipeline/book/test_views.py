"""Views of the book and estimates of variance against closed forms, plain loops and simulated truth."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_pipeline.book import views
from data_pipeline.book.grid import NO_ASK, NO_BID, tick_grid
from data_pipeline.book.replay import BookRows, replay
from data_pipeline.book.volatility import realised_variance, two_scale_variance


def rows(*levels: tuple[list, list]) -> BookRows:
    """Rows from lists of (tick, quantity) of bids and asks, two levels each."""
    ticks = np.empty((len(levels), 2, 2), dtype=np.int64)
    ticks[:, 0], ticks[:, 1] = NO_BID, NO_ASK
    amounts = np.zeros((len(levels), 2, 2))
    for k, sides in enumerate(levels):
        for side, found in enumerate(sides):
            for n, (tick, amount) in enumerate(found):
                ticks[k, side, n], amounts[k, side, n] = tick, amount
    return BookRows(np.arange(len(levels)), ticks, amounts, tick_grid(0.5))


def test_views_of_a_book_by_hand() -> None:
    book = rows(
        ([(20, 3.0), (19, 5.0)], [(22, 1.0), (23, 1.0)]),
        ([(20, 3.0)], []),
        ([(23, 1.0)], [(22, 1.0)]),
        ([(22, 1.0)], [(22, 3.0)]),
        ([], []),
    )
    np.testing.assert_array_equal(views.mid(book), [10.5, np.nan, np.nan, 11.0, np.nan])
    np.testing.assert_array_equal(views.spread(book), [1.0, np.nan, -0.5, 0.0, np.nan])
    np.testing.assert_array_equal(views.imbalance(book), [0.5, 1.0, 0.0, -0.5, np.nan])
    np.testing.assert_array_equal(views.imbalance(book, 2), [0.6, 1.0, 0.0, -0.5, np.nan])
    # (bid x ask quantity + ask x bid quantity) / (both) = (10 x 1 + 11 x 3) / 4
    np.testing.assert_array_equal(views.microprice(book), [10.75, np.nan, np.nan, 11.0, np.nan])
    with pytest.raises(ValueError, match="levels must be from 1 to the 2"):
        views.imbalance(book, 3)


@given(seed=st.integers(0, 2**32))
def test_the_microprice_lies_between_the_best_prices_and_the_imbalance_between_one_and_minus_one(
    make_events, seed: int
) -> None:
    found, _ = replay(make_events(seed, 150), tick_grid(0.01), source="l2", levels=2)
    price, good = views.microprice(found), np.isfinite(views.mid(found))
    ulp = np.spacing(1_000.0)
    assert (price[good] >= found.bid[good, 0] - ulp).all()
    assert (price[good] <= found.ask[good, 0] + ulp).all()
    lean = views.imbalance(found, 2)
    assert (np.abs(lean[np.isfinite(lean)]) <= 1).all()


def plain_two_scales(prices: list[float], scale: int) -> float:
    """The estimator written as in the papers: K subgrids, each summed by itself, then the area adjustment."""
    logs = [math.log(p) for p in prices]
    n = len(logs) - 1
    everything = sum((b - a) ** 2 for a, b in pairwise(logs))
    sums, sizes = [], []
    for start in range(scale):
        grid = logs[start::scale]
        sums.append(sum((b - a) ** 2 for a, b in pairwise(grid)))
        sizes.append(len(grid) - 1)
    mean_size = sum(sizes) / scale
    return n / ((scale - 1) * mean_size) * (sum(sums) / scale - mean_size / n * everything)


@given(prices=st.lists(st.floats(1.0, 100.0), min_size=4, max_size=60), scale=st.integers(2, 20))
def test_two_scales_equal_the_sums_over_subgrids(prices: list[float], scale: int) -> None:
    scale = min(scale, len(prices) - 1)
    found = two_scale_variance(np.array(prices), scale)
    wanted = plain_two_scales(prices, scale)
    assert found.variance == pytest.approx(wanted, rel=1e-9, abs=1e-9 * found.plain + 1e-18)


def test_two_scales_find_the_variance_below_the_noise() -> None:
    rng = np.random.default_rng(4)
    n, daily, noise = 23_400, 0.02, 0.0005
    estimates, plain = [], []
    for _ in range(60):
        path = np.cumsum(rng.normal(0, daily / math.sqrt(n), n)) + rng.normal(0, noise, n)
        found = two_scale_variance(np.exp(path))
        estimates.append(found.variance)
        plain.append(found.plain)
        assert found.noise == pytest.approx(noise**2, rel=0.1)
    # the plain sum is 2 n noise^2 too much: thirty times the truth
    assert np.mean(plain) == pytest.approx(daily**2 + 2 * n * noise**2, rel=0.02)
    error = np.std(estimates) / math.sqrt(len(estimates))
    assert abs(np.mean(estimates) - daily**2) < 4 * error
    # the paper's law for constant volatility: 8 n w^4 / K^2 + 4/3 K / n sigma^4, w^2 the noise's variance
    law = 8 * n * noise**4 / found.scale**2 + 4 / 3 * found.scale / n * daily**4
    assert np.std(estimates) == pytest.approx(math.sqrt(law), rel=0.3)


@pytest.mark.parametrize(("n", "scale", "noise"), [(100, 2, 1e-3), (100, 50, 1e-3), (300, None, 5e-4), (60, 60, 0.0)])
def test_two_scales_are_right_on_average_however_few_the_returns(n: int, scale: int | None, noise: float) -> None:
    rng = np.random.default_rng(5)
    daily, runs = 0.02, 4000
    found = []
    for _ in range(runs):
        path = np.cumsum(rng.normal(0, daily / math.sqrt(n), n + 1)) + rng.normal(0, noise, n + 1)
        found.append(two_scale_variance(np.exp(path), scale))
    for name, truth in (("variance", daily**2), ("noise", noise**2)):
        values = np.array([getattr(one, name) for one in found])
        assert abs(values.mean() - truth) < 4 * values.std() / math.sqrt(runs), name
        assert values.std() / math.sqrt(runs) < max(0.05 * truth, 1e-7)


def test_realised_variance_leaves_out_what_is_no_price() -> None:
    prices = np.array([np.nan, 100.0, 0.0, 110.0, np.nan, 121.0, 133.1])
    assert realised_variance(prices) == pytest.approx(3 * math.log(1.1) ** 2)
    assert realised_variance(prices, 2) == pytest.approx(math.log(1.21) ** 2)
    assert realised_variance(np.array([np.nan])) == 0.0


def test_estimates_that_cannot_be_are_refused() -> None:
    with pytest.raises(ValueError, match="step must be"):
        realised_variance(np.ones(3), 0)
    with pytest.raises(ValueError, match="3 or more"):
        two_scale_variance(np.ones(2))
    with pytest.raises(ValueError, match="scale must be from 2 to 4"):
        two_scale_variance(np.ones(5), 5)
