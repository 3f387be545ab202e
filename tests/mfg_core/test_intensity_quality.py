import numpy as np
import pytest
from scipy.stats import kstest, kstwo

from mfg_core.intraday.intensity_distances import distance_table, reach_agreement, segment_rates
from mfg_core.intraday.intensity_exposure import BookPath, Trades
from mfg_core.intraday.intensity_fit import calibrate_intensity
from mfg_core.intraday.intensity_gaps import hawkes_branching, ks_distance
from mfg_core.intraday.intensity_kernels import hawkes_log_likelihood
from mfg_core.intraday.intensity_quality import intensity_quality

TICK = 0.01


def simulate(rng, *, seconds=600.0, rate=2.0, decay=60.0, repeat=None, depth_decay=None):
    """As the model has it; or orders that set others off; or a depth with a decay of its own."""
    n = rng.poisson(seconds)
    time = np.concatenate([[0.0], np.sort(rng.uniform(0, seconds, n))])
    bid = 10_000 + np.cumsum(rng.integers(-1, 2, n + 1))
    ask = bid + rng.integers(1, 6, n + 1)
    book = BookPath(time, bid * TICK, ask * TICK)
    parts = []
    for side in (1, -1):
        at = rng.uniform(0, seconds, rng.poisson(rate * seconds))
        if repeat is not None:
            at = np.repeat(at, 1 + rng.poisson(repeat, at.size))
            at = np.minimum(at + rng.uniform(0, 0.5, at.size), seconds)
        at = np.sort(at)
        row = book.row_before(at)
        hit = rng.uniform(size=at.size) < np.exp(-decay * book.half_spread[row])
        at, row = at[hit], row[hit]
        beyond = np.floor(rng.exponential(1 / (depth_decay or decay), at.size) / TICK)
        parts.append((at, (ask[row] + beyond if side > 0 else bid[row] - beyond) * TICK, np.full(at.size, side)))
    at, price, side = (np.concatenate(column) for column in zip(*parts, strict=True))
    order = np.argsort(at)
    return book, Trades(at[order], price[order], np.ones(at.size), side[order])


def fit_of(book, trades, seconds=600.0, **options):
    return calibrate_intensity(book, trades, tick=TICK, max_ticks=8, session_end=seconds, **options)


def test_gaps_are_integrals_of_the_intensity_between_orders():
    book, trades = simulate(np.random.default_rng(1), seconds=60.0)
    fit = fit_of(book, trades, 60.0)
    quality = intensity_quality(fit)
    buys = trades.time[trades.side > 0]
    grid = np.linspace(0, 60.0, 600_001)
    middle = 0.5 * (grid[1:] + grid[:-1])
    rate = fit.intensity(book.half_spread[book.row_at(middle)], side="ask")
    total = np.concatenate([[0.0], np.cumsum(rate * np.diff(grid))])
    expected = np.diff(np.interp(buys, grid, total), prepend=0.0)
    # The grid misses each of about 60 jumps by up to 1e-4 s.
    assert quality.ask.gaps == pytest.approx(expected, abs=2e-3)
    # The score of log A is zero: the integral over the session is the number of orders.
    session, rates = segment_rates(fit)
    assert rates @ session.seconds == pytest.approx([buys.size, (trades.side < 0).sum()], rel=1e-9)


def test_the_distance_is_that_of_scipy():
    gaps = np.random.default_rng(2).exponential(size=200)
    assert ks_distance(gaps) == pytest.approx(kstest(gaps, "expon").statistic, rel=1e-12)


def test_poisson_orders_pass_and_the_simulated_p_value_is_uniform_enough():
    rng = np.random.default_rng(3)
    p_values, plain, scores, squares = [], [], [], []
    for _ in range(25):
        fit = fit_of(*simulate(rng, seconds=150.0), 150.0)
        quality = intensity_quality(fit, replicates=19, rng=rng, windows=(1.0, 10.0))
        p_values += [quality.ask.p_value, quality.bid.p_value]
        plain.append(float(kstwo.sf(quality.ask.statistic, quality.ask.gaps.size)))
        scores.append(quality.dispersion_score)
        squares.append(quality.ask_distances.p_value)
    # 50 p values on {1/20, ..., 1}: mean 0.525, standard deviation 0.29/sqrt(50); three and a half of it.
    assert np.mean(p_values) == pytest.approx(0.525, abs=0.145)
    # Kolmogorov's own are too large on fitted data.
    assert np.mean(plain) > 0.5
    # 25 x 2 scores, standard normal under the model: means within 4/sqrt(50), variance within 4 sqrt(2/50).
    flat = np.concatenate(scores)
    assert np.abs(flat.mean(axis=0)).max() < 4 / np.sqrt(50)
    assert flat.var(axis=0) == pytest.approx(np.ones(2), abs=0.8)
    assert np.nanmean(squares) > 0.25


def test_clustered_orders_fail_and_the_report_says_so():
    book, trades = simulate(np.random.default_rng(4), repeat=2.0)
    quality = intensity_quality(fit_of(book, trades), windows=(1.0, 10.0), replicates=19, rng=np.random.default_rng(0))
    assert quality.ask.p_value == 1 / 20
    # Compound Poisson with 1 + Poisson(2): E N^2 / E N = 3.67 over windows much longer than a cluster.
    assert 2.0 < quality.dispersion[0, 1] < 6.0
    assert quality.dispersion_score[0, 1] > 5.0
    assert quality.ask.branching > 0.2
    assert quality.ask.likelihood_gain > 20.0
    assert any("not Poisson given the fit" in note for note in quality.notes)


def test_the_hawkes_likelihood_is_the_double_sum():
    rng = np.random.default_rng(5)
    time = np.sort(rng.uniform(0, 20.0, 30))
    base, n, b, end = 0.8, 0.4, 1.7, 21.0
    rate = [base + sum(n * b * np.exp(-b * (t - s)) for s in time if s < t) for t in time]
    expected = np.sum(np.log(rate)) - base * end - sum(n * (1 - np.exp(-b * (end - s))) for s in time)
    assert hawkes_log_likelihood(time, end, base, n, b) == pytest.approx(expected, rel=1e-12)


def simulate_hawkes(rng, end, base, branching, decay):
    """By generations."""
    born = rng.uniform(0, end, rng.poisson(base * end))
    every = [born]
    while born.size:
        children = np.repeat(born, rng.poisson(branching, born.size))
        born = children + rng.exponential(1 / decay, children.size)
        born = born[born < end]
        every.append(born)
    return np.sort(np.concatenate(every))


def test_the_branching_ratio_of_a_hawkes_process_is_found():
    rng = np.random.default_rng(6)
    found = []
    for _ in range(6):
        time = simulate_hawkes(rng, 1500.0, 0.5, 0.5, 2.0)
        found.append(hawkes_branching(np.diff(time, prepend=0.0))[:2])
    ratio, decay = np.array(found).T
    # About 1,500 orders: errors near 0.03 and 0.25 each; three and a half over sqrt(6).
    assert ratio.mean() == pytest.approx(0.5, abs=0.05)
    assert decay.mean() == pytest.approx(2.0, abs=0.4)
    poisson = hawkes_branching(rng.exponential(size=1500))
    # Twice the gain has the size of a chi-square with two degrees of freedom.
    assert poisson[2] < 8.0


def test_the_distances_add_up_to_the_orders_and_the_law_passes():
    book, trades = simulate(np.random.default_rng(7), seconds=2000.0)
    fit = fit_of(book, trades, 2000.0)
    table = distance_table(fit, "ask")
    assert table.observed.sum() == (trades.side > 0).sum()
    assert table.expected.sum() == pytest.approx((trades.side > 0).sum(), rel=1e-9)
    assert 0.001 < table.p_value < 0.999
    # The points of the picture: within four of their errors (plus the fit's own, smaller) of the fitted curve.
    curve = fit.intensity(table.distance, side="ask")
    near = table.observed > 20
    assert (np.abs(table.rate - curve)[near] < 4 * table.rate_error[near]).all()
    # A loop for one distance, two ticks: states with an even spread up to four ticks.
    ends = np.append(book.time[1:], 2000.0)
    spread = np.round((book.ask - book.bid) / TICK).astype(int)
    visible = np.isin(spread, (2, 4))
    row = book.row_before(trades.time)
    buys = (trades.side > 0) & visible[row]
    reached = np.round((trades.price - book.mid[row]) / TICK, 6) >= 2.0
    place = int(np.flatnonzero(np.isclose(table.distance, 0.02))[0])
    assert table.seconds[place] == pytest.approx((ends - book.time)[visible].sum(), rel=1e-9)
    assert table.rate[place] == pytest.approx((buys & reached).sum() / table.seconds[place], rel=1e-9)


def test_two_sources_that_disagree_are_reported():
    rng = np.random.default_rng(8)
    good = reach_agreement(fit_of(*simulate(rng, seconds=1500.0), 1500.0))
    assert good.p_value > 0.001
    assert abs(good.from_arrivals - 60.0) < 4 * good.from_arrivals_error
    bad = fit_of(*simulate(rng, seconds=1500.0, depth_decay=150.0), 1500.0)
    quality = intensity_quality(bad, windows=(1.0, 10.0))
    assert quality.agreement.p_value < 1e-6
    assert abs(quality.agreement.from_depth - 150.0) < 4 * quality.agreement.from_depth_error
    assert any("does not hold over both" in note for note in quality.notes)
    assert quality.ask_distances.p_value < 1e-3


def test_bad_arguments_are_refused():
    fit = fit_of(*simulate(np.random.default_rng(10), seconds=100.0), 100.0)
    with pytest.raises(ValueError, match="rng must be given"):
        intensity_quality(fit, replicates=5)
    with pytest.raises(ValueError, match="windows must be increasing"):
        intensity_quality(fit, windows=(2.0, 1.0))


def test_a_window_longer_than_half_the_session_tells_nothing():
    quality = intensity_quality(fit_of(*simulate(np.random.default_rng(11), seconds=100.0), 100.0))
    assert np.isnan(quality.dispersion[:, 2]).all()
    assert np.isfinite(quality.dispersion[:, :2]).all()
    assert 0.0 <= quality.ask.branching_by_variance < 0.6
