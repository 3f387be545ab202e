import numpy as np
import pytest
from scipy.stats import t as student

from mfg_core.daily.volatility_estimators import close_to_close_volatility, yang_zhang_volatility

SIGMA = 0.02


def simulate_bars(rng, sessions, instruments, steps=400, overnight=0.3, drift=0.0):
    """Brownian log prices with a share `overnight` of the variance between the sessions."""
    jump = rng.normal(0.0, SIGMA * np.sqrt(overnight), (sessions, 1, instruments))
    inside = rng.normal(drift / steps, SIGMA * np.sqrt((1 - overnight) / steps), (sessions, steps, instruments))
    path = np.concatenate([jump, inside], axis=1)
    log = np.cumsum(path.reshape(-1, instruments), axis=0).reshape(sessions, steps + 1, instruments)
    return tuple(np.exp(x) for x in (log[:, 0], log.max(axis=1), log.min(axis=1), log[:, -1]))


def test_close_to_close_is_the_sample_standard_deviation_of_present_returns():
    rng = np.random.default_rng(1)
    close = np.exp(np.cumsum(rng.normal(0.0, SIGMA, (50, 2)), axis=0))
    close[20, 1] = np.nan
    sigma, _, count = close_to_close_volatility(close)
    returns = np.diff(np.log(close[:, 1]))
    assert count.tolist() == [49, 47]
    assert sigma[1] == pytest.approx(np.std(returns[np.isfinite(returns)], ddof=1), rel=1e-12)


@pytest.mark.parametrize("degrees", [None, 6])
def test_the_error_of_close_to_close_is_the_scatter_over_samples(degrees):
    rng = np.random.default_rng(4)
    shape = (500, 400)
    draws = rng.standard_normal(shape) if degrees is None else student(degrees).rvs(shape, random_state=rng)
    sigma, error, _ = close_to_close_volatility(np.exp(np.cumsum(SIGMA * draws, axis=0)))
    assert np.sqrt((error**2).mean()) == pytest.approx(sigma.std(ddof=1), rel=0.15)


def test_yang_zhang_recovers_the_volatility_with_gaps_and_drift_and_beats_closes():
    bars = simulate_bars(np.random.default_rng(9), 100, 120, drift=0.01)
    sigma, error, count = yang_zhang_volatility(*bars)
    closes, _, _ = close_to_close_volatility(bars[3])
    assert (count == 99).all()
    # A path of 400 steps misses the true extremes: the range is low by about 0.6/sqrt(400) on each side.
    assert sigma.mean() == pytest.approx(SIGMA, rel=0.03)
    assert sigma.std() < 0.8 * closes.std()
    assert np.sqrt((error**2).mean()) == pytest.approx(sigma.std(ddof=1), rel=0.2)


def test_yang_zhang_equals_its_formula_on_one_column():
    o, h, l, c = (np.log(x[:, 0]) for x in simulate_bars(np.random.default_rng(2), 30, 1))  # noqa: E741
    n = 29
    k = 0.34 / (1.34 + (n + 1) / (n - 1))
    u, d, day = h[1:] - o[1:], l[1:] - o[1:], c[1:] - o[1:]
    variance = (
        np.var(o[1:] - c[:-1], ddof=1) + k * np.var(day, ddof=1) + (1 - k) * np.mean(u * (u - day) + d * (d - day))
    )
    found = yang_zhang_volatility(*(np.exp(x)[:, None] for x in (o, h, l, c)))[0]
    assert found[0] == pytest.approx(np.sqrt(variance), rel=1e-10)


def test_too_few_sessions_are_not_a_number():
    prices = np.array([[10.0], [10.1]])
    assert np.isnan(close_to_close_volatility(prices)[0][0])
    assert np.isnan(yang_zhang_volatility(prices, prices, prices, prices)[0][0])


def test_a_constant_price_has_volatility_zero_and_no_error():
    prices = np.full((10, 1), 7.0)
    sigma, error, _ = yang_zhang_volatility(prices, prices, prices, prices)
    assert sigma[0] == 0.0
    assert np.isnan(error[0])
