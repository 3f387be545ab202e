import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import truncnorm

from mfg_core.daily.spread_estimators import (
    edge_half_spread,
    median_and_error,
    pooled_moments,
    quoted_half_spread,
    roll_half_spread,
    shrunk_positive,
)


def bars_with_spread(rng, sessions, instruments, spread, volatility=0.02, trades=100):
    """Trades of a geometric random walk that hit bid or ask at random: the model of the estimators."""
    steps = rng.normal(0.0, volatility / np.sqrt(trades), (sessions * trades, instruments))
    side = rng.choice([-0.5, 0.5], steps.shape)
    prices = np.exp(np.cumsum(steps, axis=0) + spread * side).reshape(sessions, trades, instruments)
    return prices[:, 0], prices.max(axis=1), prices.min(axis=1), prices[:, -1]


def edge_by_loop(opening, high, low, close):
    """The squared effective spread of one instrument, written session by session from the paper's formulas."""
    o, h, l, c = (np.log(x) for x in (opening, high, low, close))  # noqa: E741
    rows = []
    for t in range(1, len(o)):
        m, before = (h[t] + l[t]) / 2, (h[t - 1] + l[t - 1]) / 2
        moved = h[t] != l[t] or l[t] != c[t - 1]
        rows.append(
            (
                moved,
                moved and o[t] != h[t],
                moved and o[t] != l[t],
                moved and c[t - 1] != h[t - 1],
                moved and c[t - 1] != l[t - 1],
                m - o[t],
                o[t] - before,
                m - c[t - 1],
                c[t - 1] - before,
                o[t] - c[t - 1],
            )
        )
    tau, oh, ol, ch, cl, r1, r2, r3, r4, r5 = np.array(rows, dtype=float).T
    po, pc = oh.mean() + ol.mean(), ch.mean() + cl.mean()
    d1, d3, d5 = (r - r.mean() / tau.mean() * tau for r in (r1, r3, r5))
    x1 = -4 / po * d1 * r2 - 4 / pc * d3 * r4
    x2 = -4 / po * d1 * r5 - 4 / pc * d5 * r4
    v1, v2 = x1.var(), x2.var()
    return (v2 * x1.mean() + v1 * x2.mean()) / (v1 + v2)


def test_edge_equals_the_papers_formulas_session_by_session():
    bars = bars_with_spread(np.random.default_rng(1), 60, 3, 0.01, trades=4)
    half, _ = edge_half_spread(*bars)
    for i in range(3):
        square = edge_by_loop(*(x[:, i] for x in bars))
        assert np.sign(half[i]) * (2 * half[i]) ** 2 == pytest.approx(square, rel=1e-10)


@pytest.mark.parametrize(("spread", "trades"), [(0.005, 100), (0.02, 100), (0.01, 5)])
def test_edge_recovers_a_known_spread_and_its_error_is_the_scatter(spread, trades):
    bars = bars_with_spread(np.random.default_rng(7), 250, 150, spread, trades=trades)
    half, error = edge_half_spread(*bars)
    square = np.sign(half) * half**2
    scatter = square.std(ddof=1)
    # Unbiased when every high is an ask and every low a bid: with 100 trades a session a few are not, which is worth
    # 3 % of the square (1 % with 1000 trades), beyond the sampling error.
    assert abs(square.mean() / (spread / 2) ** 2 - 1) < 0.03 + 4 * scatter / np.sqrt(150) / (spread / 2) ** 2
    # 150 estimates give the scatter to about 6 %; summands of neighbouring sessions are weakly dependent.
    assert np.median(2 * np.abs(half) * error) == pytest.approx(scatter, rel=0.25)


def test_edge_of_the_published_degenerate_case_is_not_a_number():
    bars = [np.array(x)[:, None] for x in ([18.21, 17.61, 17.61], [18.21, 17.61, 17.61], [17.61] * 3, [17.61] * 3)]
    half, error = edge_half_spread(*bars)
    assert np.isnan(half[0])
    assert np.isnan(error[0])


def test_edge_leaves_out_sessions_without_a_bar():
    bars = bars_with_spread(np.random.default_rng(3), 80, 1, 0.02)
    holes = [x.copy() for x in bars]
    holes[0][40], holes[1][41] = np.nan, np.nan
    half, _ = edge_half_spread(*holes)
    # Pairs (39,40), (40,41), (41,42) go; the means are over the rest. The two blocks are stacked for the second way,
    # with the pair that straddles the gap removed by making the gap itself incomplete.
    assert np.isfinite(half[0])
    assert half[0] != edge_half_spread(*bars)[0][0]
    shifted = [np.concatenate([x[:40], np.full((3, 1), np.nan), x[42:]]) for x in holes]
    assert edge_half_spread(*shifted)[0][0] == pytest.approx(half[0], rel=1e-12)


def test_roll_recovers_a_known_spread_from_closes():
    rng = np.random.default_rng(5)
    _, _, _, close = bars_with_spread(rng, 400, 200, 0.03, trades=1)
    half, error = roll_half_spread(close)
    square = np.sign(half) * half**2
    scatter = square.std(ddof=1)
    assert abs(square.mean() - 0.015**2) < 4 * scatter / np.sqrt(200)
    assert np.median(2 * np.abs(half) * error) == pytest.approx(scatter, rel=0.25)


def test_roll_of_trending_prices_is_negative():
    close = np.exp(np.cumsum(np.repeat([0.01, -0.01, 0.02, -0.02], 10)))[:, None]
    assert roll_half_spread(close)[0][0] < 0


def test_quotes_that_are_zero_absent_or_crossed_do_not_count():
    bid = np.array([[9.9], [0.0], [np.nan], [10.2], [9.8], [9.99]])
    ask = np.array([[10.1], [10.0], [10.0], [10.0], [10.2], [10.01]])
    half, _, count = quoted_half_spread(bid, ask)
    assert count[0] == 3
    assert half[0] == pytest.approx(0.01, rel=1e-12)


def test_median_and_error_agree_with_numpy_and_with_the_scatter_of_normal_medians():
    rng = np.random.default_rng(2)
    values = rng.normal(3.0, 2.0, (101, 400))
    values[::7, ::3] = np.nan
    median, error, count = median_and_error(values)
    np.testing.assert_allclose(median, np.nanmedian(values, axis=0), rtol=1e-14)
    np.testing.assert_array_equal(count, np.isfinite(values).sum(axis=0))
    full = np.arange(400) % 3 != 0
    # 266 medians give their scatter to 4.3 %.
    assert error[full].mean() == pytest.approx(median[full].std(ddof=1), rel=0.13)


def test_median_of_nothing_is_not_a_number():
    median, error, count = median_and_error(np.full((5, 2), np.nan))
    assert np.isnan(median).all()
    assert np.isnan(error).all()
    assert (count == 0).all()


def test_pooled_moments_recover_mean_and_variance_between_instruments():
    rng = np.random.default_rng(8)
    k = 4000
    error = rng.uniform(0.5, 2.0, k)
    truth = rng.normal(1.5, 0.8, k)
    mean, mean_error, between = pooled_moments(truth + error * rng.standard_normal(k), error)
    assert abs(mean - 1.5) < 4 * mean_error
    assert between == pytest.approx(0.64, abs=0.1)
    assert mean_error == pytest.approx((1.0 / (error**2 + 0.64)).sum() ** -0.5, rel=0.05)


def test_pooled_moments_see_no_variance_where_there_is_less_than_noise():
    assert pooled_moments(np.array([1.0, 1.01, 0.99]), np.full(3, 0.5))[2] == 0.0


@given(st.floats(-3.0, 3.0), st.floats(0.1, 3.0), st.floats(-2.0, 2.0), st.floats(0.1, 4.0))
def test_shrunk_positive_is_the_mean_of_the_truncated_posterior(estimate, error, mean, variance):
    value, deviation = shrunk_positive(np.array([estimate]), np.array([error]), mean, variance)
    total = error**-2.0 + 1 / variance
    m, s = (estimate * error**-2.0 + mean / variance) / total, total**-0.5
    posterior = truncnorm(-m / s, np.inf, loc=m, scale=s)
    assert value[0] == pytest.approx(posterior.mean(), rel=1e-6)
    assert deviation[0] == pytest.approx(posterior.std(), rel=1e-4)
    assert value[0] > 0


@pytest.mark.parametrize("estimate", [-2.0, -49.0, -51.0, -1e3, -1e8])
def test_an_estimate_far_below_zero_gives_a_small_positive_value(estimate):
    value, deviation = shrunk_positive(np.array([estimate]), np.array([1.0]), 0.0, 1e12)
    assert value[0] > 0
    if estimate < -10:
        # The cut-off tail is exponential with rate |m|/s^2: mean and deviation are s^2/|m| to relative order 2/m^2.
        assert value[0] == pytest.approx(-1 / estimate, rel=3 / estimate**2 + 1e-9)
        assert deviation[0] == pytest.approx(-1 / estimate, rel=1e-2)


def test_an_absent_estimate_leaves_the_prior():
    value, _ = shrunk_positive(np.array([np.nan]), np.array([np.nan]), 5.0, 0.01)
    assert value[0] == pytest.approx(5.0, rel=1e-12)


def test_a_market_that_reverses_is_no_spread_of_any_share():
    """Common reversal fakes the same wide spread in every share; off the market, Roll finds the true one."""
    rng = np.random.default_rng(11)
    sessions, shares, half_spread = 500, 60, 0.004
    shock = 0.02 * rng.standard_normal(sessions + 1)
    market = shock[1:] - 0.4 * shock[:-1]
    fair = np.cumsum(market[:, None] + 0.008 * rng.standard_normal((sessions, shares)), axis=0)
    close = np.exp(fair + half_spread * rng.choice([-1.0, 1.0], (sessions, shares)))
    covariances = {
        adjusted: np.mean(np.sign(estimate) * estimate**2)
        for adjusted in (False, True)
        for estimate, _ in [roll_half_spread(close, market_adjusted=adjusted)]
    }
    assert np.sqrt(covariances[False]) > 2.5 * half_spread
    # standard error of one covariance: (0.008^2 + 2 0.004^2)/sqrt(500); of the mean's root: 2 %
    assert np.sqrt(covariances[True]) == pytest.approx(half_spread, rel=0.1)


def test_too_few_shares_are_no_market():
    close = np.exp(np.cumsum(0.01 * np.random.default_rng(5).standard_normal((80, 9)), axis=0))
    for plain, adjusted in zip(roll_half_spread(close), roll_half_spread(close, market_adjusted=True), strict=True):
        np.testing.assert_array_equal(plain, adjusted)
