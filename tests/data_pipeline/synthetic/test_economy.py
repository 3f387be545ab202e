"""The simulated economy against the stylised facts, closed forms and its own stated truth."""

from __future__ import annotations

from datetime import date

import numpy as np
import pytest
from scipy import stats
from scipy.integrate import quad

from data_pipeline.synthetic import ExchangeConfig
from data_pipeline.synthetic.companies import list_papers, root_of
from data_pipeline.synthetic.derivatives import black_scholes
from data_pipeline.synthetic.market import garch_path, simulate_market
from data_pipeline.synthetic.microstructure import _seen_path
from data_pipeline.synthetic.streams import autoregression, normals, stream, students, uniforms

YEARS = 16
SESSIONS = 252 * YEARS


def settings(**changes):
    base = {"seed": 3, "first_session": date(2010, 1, 1), "last_session": date(2025, 12, 31), "instruments": 36}
    return ExchangeConfig(**(base | changes))


@pytest.fixture(scope="module")
def risk_free():
    return np.full(SESSIONS, 0.09 / 252)


@pytest.fixture(scope="module")
def economy(risk_free):
    config = settings()
    papers = list_papers(config, SESSIONS)
    return papers, simulate_market(config, papers, risk_free, SESSIONS)


@pytest.fixture(scope="module")
def ordinary(economy):
    """Columns without a history of their own that trade in every session."""
    special = ("fraud", "bankruptcy", "takeover", "listing", "etf")
    return [i for i, paper in enumerate(economy[0]) if paper.presence == 1.0 and paper.role not in special]


def autocorrelation(values, lag):
    centred = values - values.mean()
    return float(np.mean(centred[lag:] * centred[:-lag]) / np.mean(centred**2))


def least_squares(y, *regressors):
    X = np.column_stack(regressors)
    slope = np.linalg.solve(X.T @ X, X.T @ y)
    residual = y - X @ slope
    bread = np.linalg.inv(X.T @ X)
    meat = (X * residual[:, None]).T @ (X * residual[:, None])
    return slope, np.sqrt(np.diag(bread @ meat @ bread))


def test_variates_have_their_laws():
    rng = stream(1, "test")
    assert stats.kstest(normals(rng, 20000), "norm").pvalue > 0.01
    assert stats.kstest(uniforms(rng, 20000), "uniform").pvalue > 0.01
    for degrees in (4, 6):
        law = stats.t(degrees, scale=np.sqrt((degrees - 2) / degrees))
        assert stats.kstest(students(rng, 20000, degrees), law.cdf).pvalue > 0.01


def test_streams_of_other_names_differ_and_the_same_repeat():
    draws = {key: stream(5, *key).random() for key in (("a", "b"), ("a", "c"), ("ab", ""), ("b", "a"))}
    assert len(set(draws.values())) == len(draws)
    assert stream(5, "a", "b").random() == draws["a", "b"] != stream(6, "a", "b").random()


def test_autoregression_has_unit_variance_and_its_memory():
    path = autoregression(normals(stream(2, "test"), 200_000), 0.6)
    assert path.var() == pytest.approx(1.0, abs=0.02)  # standard error 0.005
    assert autocorrelation(path, 3) == pytest.approx(0.6**3, abs=0.012)  # standard error about 0.003


def test_garch_path_is_the_scalar_recursion_and_has_its_variance():
    shocks = normals(stream(3, "test"), (150_000, 1))
    forced = np.full_like(shocks, np.nan)
    returns, deviation = garch_path(shocks, np.array([0.02]), (0.03, 0.06, 0.90), forced)
    variance = 0.02**2
    base = variance * (1 - 0.03 - 0.03 - 0.90)
    for row in range(200):
        assert deviation[row, 0] == pytest.approx(np.sqrt(variance), rel=1e-12)
        value = returns[row, 0]
        assert value == pytest.approx(np.sqrt(variance) * shocks[row, 0], rel=1e-12)
        variance = base + 0.03 * value**2 + 0.06 * value**2 * (value < 0) + 0.90 * variance
    assert returns.std() == pytest.approx(0.02, rel=0.02)


def test_a_forced_return_enters_the_next_variances():
    shocks, forced = np.zeros((3, 1)), np.full((3, 1), np.nan)
    forced[0] = -0.10
    returns, deviation = garch_path(shocks, np.array([0.01]), (0.03, 0.09, 0.90), forced)
    assert returns[0, 0] == -0.10
    base = 1e-4 * (1 - 0.03 - 0.045 - 0.90)
    assert deviation[1, 0] == pytest.approx(np.sqrt(base + 0.12 * 0.01 + 0.90e-4), rel=1e-12)


def test_volatility_clusters_and_the_memory_fades(economy):
    size = np.abs(economy[1].market)
    early, late = np.mean([autocorrelation(size, lag) for lag in range(1, 6)]), autocorrelation(size, 150)
    noise = 1.0 / np.sqrt(SESSIONS)
    assert early > 5 * noise
    assert early > autocorrelation(size, 20) > late
    assert abs(autocorrelation(economy[1].market, 1)) < 4 * noise


def test_tails_are_heavy_and_falls_raise_volatility(economy, ordinary):
    market = economy[1]
    total = market.overnight + market.intraday
    assert stats.kurtosis(market.market, fisher=False) > 4.0
    assert np.median(stats.kurtosis(total[:, ordinary], fisher=False)) > 4.0
    # tail exponent (Hill 1975) of the papers' standardised returns, near the cubic law
    pooled = np.abs(total[:, ordinary] / total[:, ordinary].std(axis=0)).ravel()
    tail = np.sort(pooled)[-len(pooled) // 200 :]
    assert 2.5 < 1.0 / np.mean(np.log(tail / tail[0])) < 5.0
    leverage = [np.corrcoef(market.market[:-lag], market.market[lag:] ** 2)[0, 1] for lag in range(1, 11)]
    assert np.mean(leverage) < -2.0 / np.sqrt(10 * SESSIONS)


def test_magnitudes_are_those_of_a_stock_market(economy, ordinary):
    papers, market = economy
    total = market.overnight + market.intraday
    annual = total[:, ordinary].std(axis=0) * np.sqrt(252)
    penny = [papers[i].role == "penny_reverse_50" for i in ordinary]
    assert ((annual > 0.2) & (annual < 0.6))[np.logical_not(penny)].all()
    assert annual[penny] > np.median(annual)
    assert 0.15 < market.market.std() * np.sqrt(252) < 0.25
    correlation = np.corrcoef(total[:, ordinary].T)
    assert 0.25 < correlation[np.triu_indices(len(ordinary), 1)].mean() < 0.45
    column = {paper.role: i for i, paper in enumerate(papers)}
    same = np.corrcoef(total[:, 0], total[:, 1])[0, 1]
    assert papers[1].role == "second_class"
    assert same > 0.8 > np.corrcoef(total[:, 0], total[:, column["bonus"]])[0, 1]


def test_crashes_are_where_the_truth_says(economy):
    market = economy[1]
    assert len(market.crash_rows) == 2
    # the factor's mean over its life, a few basis points, is taken off all its returns
    assert all(np.log(0.88) - 1e-3 <= market.market[row] <= np.log(0.92) + 1e-3 for row in market.crash_rows)


@pytest.mark.parametrize(("eta0", "eta1"), [(1.0, 3.0), (0.0, 0.0), (2.0, 1.0)])
def test_regressing_return_on_the_true_flow_finds_the_impact(eta0, eta1, risk_free):
    config = settings(temporary_impact=eta0, crowd_impact=eta1)
    papers = list_papers(config, SESSIONS)
    market = simulate_market(config, papers, risk_free, SESSIONS)
    normal = market.intraday / market.volatility
    own = market.flow - market.crowd[:, None]
    # within the day: the papers' departures from the crowd, so that the market's news drops out of most of it
    own, normal = own[:, :-1], normal[:, :-1] - normal[:, :-1].mean(axis=1, keepdims=True)
    own = own - own.mean(axis=1, keepdims=True)
    size = np.broadcast_to(np.abs(market.crowd)[:, None], own.shape)
    slope, error = least_squares(normal.ravel(), own.ravel(), (size * own).ravel())
    assert np.all(error < 0.15)
    assert abs(slope[0] - eta0) < 4 * error[0]
    assert abs(slope[1] - eta1) < 4 * error[1]


def test_the_transient_part_of_the_impact_is_released_overnight(economy):
    papers, market = economy
    ratio = market.overnight[1:, 0] / market.volatility[1:, 0]
    slope, error = least_squares(
        ratio, market.transient[:-1, 0] / market.volatility[1:, 0], np.ones(len(ratio)), market.flow[1:, 0]
    )
    assert abs(slope[0] - (0.7 - 1.0)) < 4 * error[0]
    assert papers[0].presence == 1.0


def annual_sharpe(signal, excess):
    weight = signal - signal.mean(axis=1, keepdims=True)
    weight = weight / np.abs(weight).sum(axis=1, keepdims=True)
    profit = np.sum(weight[:-1] * excess[1:], axis=1)
    return float(profit.mean() / profit.std() * np.sqrt(252))


def test_naive_signals_earn_far_less_than_one_sharpe_before_costs(economy, ordinary, risk_free):
    market = economy[1]
    total = (market.overnight + market.intraday)[:, ordinary]
    level = np.cumsum(total, axis=0)
    excess = np.expm1(total) - risk_free[:, None]
    week = level[5:] - level[:-5]
    year = level[252 - 21 : -21] - level[:-252]
    error = 1.0 / np.sqrt(YEARS)
    assert -2 * error < annual_sharpe(-week, excess[5:]) < 1.0
    assert -2 * error < annual_sharpe(year, excess[252:]) < 1.0


def test_the_market_has_the_stated_premium_over_its_life(economy, ordinary, risk_free):
    market = economy[1]
    assert abs(market.market.mean()) < 1e-15
    assert abs(market.crowd.mean()) < 1e-15
    excess = np.expm1((market.overnight + market.intraday)[:, ordinary]) - risk_free[:, None]
    equal = excess.mean(axis=1)
    # what is left are the papers' own returns: thirty of them, a third of a year's volatility each
    assert abs(equal.mean() * 252 - 0.05) < 3 * 0.33 / np.sqrt(len(ordinary) * YEARS)


def test_one_paper_more_leaves_the_others_alone(risk_free):
    small, large = (settings(instruments=count) for count in (24, 30))
    short = simulate_market(small, list_papers(small, 400), risk_free[:400], 400)
    long = simulate_market(large, list_papers(large, 400), risk_free[:400], 400)
    for name in ("overnight", "intraday", "flow", "volatility"):
        np.testing.assert_array_equal(getattr(short, name)[:, :24], getattr(long, name)[:, :24])


def test_roots_and_tickers_are_unique_for_the_largest_exchange():
    config = settings(instruments=400)
    papers = list_papers(config, 1000)
    tickers = [paper.ticker for paper in papers] + [paper.new_ticker for paper in papers if paper.new_ticker]
    assert len(set(tickers)) == len(tickers) == 402
    assert len({root_of(position) for position in range(400)}) == 400


def test_the_range_of_the_simulated_path_has_parkinson_s_mean():
    """E[(log H/L)^2] = 4 log 2 sigma^2 for Brownian motion (Parkinson 1980)."""
    count, sigma = 40_000, 0.02
    rng = stream(4, "test")
    close = 10.0 * np.exp(sigma * normals(rng, count))
    seen = _seen_path(rng, np.full(count, 10.0), close, np.full(count, sigma), np.full(count, 10_000))
    measured = np.mean(np.log(seen["high"] / seen["low"]) ** 2) / (4.0 * np.log(2.0))
    # independent extremes inside each of 16 bins add about a per cent
    assert measured == pytest.approx(sigma**2, rel=0.03)
    assert (seen["low"] <= np.minimum(10.0, close)).all()
    assert (seen["high"] >= np.maximum(10.0, close)).all()


def test_few_trades_see_few_prices():
    count = 2000
    rng = stream(5, "test")
    close = 10.0 * np.exp(0.02 * normals(rng, count))
    trades = np.repeat([1, 2, 30, 5000], count // 4)
    seen = _seen_path(rng, np.full(count, 10.0), close, np.full(count, 0.02), trades)
    width = np.log(seen["high"] / seen["low"]).reshape(4, -1)
    assert (width[0] == 0.0).all()
    assert np.all(np.diff(width.mean(axis=1)) > 0)


def test_black_scholes_is_the_discounted_mean_payoff():
    spot, strike, years, sigma, rate = 30.0, 32.0, 0.25, 0.4, 0.1

    def payoff(z):
        end = spot * np.exp((rate - 0.5 * sigma**2) * years + sigma * np.sqrt(years) * z)
        return max(end - strike, 0.0) * stats.norm.pdf(z)

    kink = (np.log(strike / spot) - (rate - 0.5 * sigma**2) * years) / (sigma * np.sqrt(years))
    expected = np.exp(-rate * years) * quad(payoff, kink, 12.0)[0]
    call, put = black_scholes(spot, strike, years, sigma, rate, np.array([True, False]))
    assert call == pytest.approx(expected, rel=1e-8)
    assert call - put == pytest.approx(spot - strike * np.exp(-rate * years), rel=1e-12)
