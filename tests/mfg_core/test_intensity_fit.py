import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import approx_fprime, minimize

from mfg_core.errors import SolveError
from mfg_core.intraday.intensity_cells import cells_of_session
from mfg_core.intraday.intensity_covariates import Covariate, session_parts, spread_covariate, trailing_volatility
from mfg_core.intraday.intensity_exposure import BookPath, Trades
from mfg_core.intraday.intensity_fit import calibrate_intensity, fit_intensity
from mfg_core.intraday.intensity_session import observe_session

TICK = 0.01


def simulate(rng, *, seconds=1200.0, arrivals=(2.0, 1.5), decay=60.0, spreads=(1, 2, 3, 4, 5), repeat=None):
    """Quotes that jump once a second; orders whose reach beyond the mid is exponential, seen on the grid.

    `repeat` sets off, per order, that many more orders of its kind within the next second on average.
    """
    n = rng.poisson(seconds)
    time = np.concatenate([[0.0], np.sort(rng.uniform(0, seconds, n))])
    bid = 10_000 + np.cumsum(rng.integers(-1, 2, n + 1))
    ask = bid + rng.choice(spreads, size=n + 1)
    book = BookPath(time, bid * TICK, ask * TICK)
    parts = []
    for side, rate in ((1, arrivals[0]), (-1, arrivals[1])):
        at = rng.uniform(0, seconds, rng.poisson(rate * seconds))
        if repeat is not None:
            at = np.repeat(at, 1 + rng.poisson(repeat, at.size))
            at = np.minimum(at + rng.uniform(0, 1, at.size), seconds)
        at = np.sort(at)
        reach, row = rng.exponential(1 / decay, at.size), book.row_before(at)
        hit = reach >= book.half_spread[row]
        at, reach, row = at[hit], reach[hit], row[hit]
        beyond = np.floor((reach - book.half_spread[row]) / TICK + 1e-9)
        parts.append((at, (ask[row] + beyond if side > 0 else bid[row] - beyond) * TICK, np.full(at.size, side)))
    at, price, side = (np.concatenate(column) for column in zip(*parts, strict=True))
    order = np.argsort(at)
    return book, Trades(at[order], price[order], np.ones(at.size), side[order])


def fit_of(book, trades, seconds=1200.0, **options):
    return calibrate_intensity(book, trades, tick=TICK, max_ticks=8, session_end=seconds, **options)


def test_exposure_and_counts_equal_a_loop_over_the_session():
    rng = np.random.default_rng(2)
    book, trades = simulate(rng, seconds=40.0)
    bid = book.bid.copy()
    bid[[3, 11]] = np.nan
    bid[7] = book.ask[7]
    book = BookPath(book.time, bid, book.ask)
    session = observe_session(book, trades, tick=TICK, max_ticks=2, session_end=35.0, blocks=4)
    cells = cells_of_session(session)
    seconds, count = {}, {}
    edges = np.append(book.time, 35.0)
    for i in range(book.time.size):
        half = round(100 * (book.ask[i] - book.bid[i])) / 2 if book.ask[i] > book.bid[i] else np.inf
        if half <= 2 and edges[i] < 35.0:
            seconds[half] = seconds.get(half, 0.0) + min(edges[i + 1], 35.0) - edges[i]
    for t, p, s in zip(trades.time, trades.price, trades.side, strict=True):
        i = max(j for j in range(book.time.size) if book.time[j] < t)
        half = round(100 * (book.ask[i] - book.bid[i])) / 2 if book.ask[i] > book.bid[i] else np.inf
        if half <= 2 and t <= 35.0:
            depth = round(100 * (p - book.ask[i] if s > 0 else book.bid[i] - p))
            key = (int(s), half)
            old = count.get(key, (0, 0, 0))
            last = int(np.ceil(2 - half))
            count[key] = (old[0] + 1, old[1] + min(depth, last), old[2] + (depth < last))
    for half, expected in seconds.items():
        rows = (cells.distance == half) & (cells.design[:, 0] == 1)
        assert cells.exposure[rows].sum() == pytest.approx(expected, rel=1e-12)
    for (side, half), expected in count.items():
        rows = (cells.distance == half) & (cells.design[:, 0 if side > 0 else 1] == 1)
        assert (cells.count[rows].sum(), cells.depth[rows].sum(), cells.closed[rows].sum()) == expected
    assert cells.count.sum() == sum(n for n, _, _ in count.values()) == session.counts.used
    assert session.counts.seconds_used == pytest.approx(sum(seconds.values()), rel=1e-12)
    counts = session.counts
    lost = counts.outside_session + counts.without_mid + counts.wide_spread + counts.inside_spread
    assert counts.without_mid > 0
    assert counts.wide_spread > 0
    assert counts.used + lost == counts.orders


def poisson_by_cell(cells, theta):
    """Log-likelihood cell by cell from Poisson means A (exp(-k d) - exp(-k d')) T, without telescoping sums."""
    rate = np.exp(cells.design @ theta[:-1])
    k = theta[-1]
    total = 0.0
    for r in range(cells.distance.size):
        total -= cells.exposure[r] * rate[r] * np.exp(-k * cells.distance[r])
        # The sum of logs over orders needs only the sum of their depths: each is log A - k (h + j) + log(1 - e^-k).
        total += cells.count[r] * (np.log(rate[r]) - k * cells.distance[r]) - k * cells.depth[r]
        total += cells.closed[r] * np.log(1 - np.exp(-k))
    return total


def test_the_telescoped_likelihood_is_that_of_independent_poisson_cells():
    # One state, two closed cells and an open one, written out in full with its Poisson terms.
    book = BookPath([0.0], [99.99], [100.01])
    trades = Trades([1.0, 2.0, 3.0, 4.0, 5.0], [100.01, 100.01, 100.02, 100.05, 99.99], np.ones(5), [1, 1, 1, 1, -1])
    session = observe_session(book, trades, tick=TICK, max_ticks=3, session_end=10.0, blocks=2)
    cells = cells_of_session(session)
    for a, b, k in ((0.7, 0.2, 0.4), (1.3, 0.5, 0.9)):
        edges = np.array([1.0, 2.0, 3.0, np.inf])
        cell = np.exp(-k * edges[:-1]) - np.exp(-k * edges[1:])
        direct = 0.0
        for rate, n in ((a, np.array([2, 1, 1])), (b, np.array([1, 0, 0]))):
            mean = 10.0 * rate * cell
            direct += float(n @ np.log(mean / 10.0) - mean.sum())
        theta = np.array([np.log(a), np.log(b), k])
        # 1e-12: sums of about ten terms of order one.
        assert cells.log_likelihood(theta, "all") == pytest.approx(direct, rel=1e-12)
        assert poisson_by_cell(cells, theta) == pytest.approx(direct, rel=1e-12)


@pytest.mark.parametrize("evidence", ["all", "arrivals"])
def test_score_and_information_are_derivatives_of_the_likelihood(evidence):
    rng = np.random.default_rng(4)
    book, trades = simulate(rng, seconds=300.0)
    session = observe_session(
        book, trades, tick=TICK, max_ticks=8, session_end=300.0, covariates=session_parts([0.0, 100.0, 300.0])
    )
    cells = cells_of_session(session, decay_by_side=True)
    theta = np.array([0.5, 0.2, -0.3, 0.5, 0.7])
    step = 1e-6
    slope = [
        (cells.log_likelihood(theta + step * e, evidence) - cells.log_likelihood(theta - step * e, evidence))
        / (2 * step)
        for e in np.eye(5)
    ]
    # Central differences: rounding 1e-16 |l| / step is about 1e-7 of scores of order 100.
    assert cells.scores(theta, evidence).sum(axis=0) == pytest.approx(np.array(slope), rel=1e-5, abs=1e-4)
    assert cells.block_scores(theta, evidence).sum(axis=0) == pytest.approx(np.array(slope), rel=1e-5, abs=1e-4)
    hessian = approx_fprime(theta, lambda x: cells.scores(x, evidence).sum(axis=0), 1e-7)
    assert cells.information(theta, evidence) == pytest.approx(-hessian, rel=1e-4, abs=1e-3)


def test_newton_finds_what_a_general_optimiser_finds():
    book, trades = simulate(np.random.default_rng(5))
    fit = fit_of(book, trades, covariates=session_parts([0.0, 400.0, 800.0, 1200.0]))
    cells = fit.cells
    found = minimize(
        lambda x: -cells.log_likelihood(x, "all"),
        np.array([0.0, 0.0, 0.0, 0.0, 0.5]),
        jac=lambda x: -cells.scores(x, "all").sum(axis=0),
        method="BFGS",
        options={"gtol": 1e-6},
    )
    ours = fit.coefficients * np.array([1, 1, 1, 1, TICK])
    # gtol 1e-6 over an information of at least 100.
    assert ours == pytest.approx(found.x, abs=1e-7)
    assert fit.log_likelihood >= -found.fun - 1e-9
    assert np.abs(cells.scores(ours, "all").sum(axis=0)).max() < 1e-8


@pytest.mark.parametrize("evidence", ["all", "arrivals", "depth"])
def test_estimates_are_unbiased_and_their_errors_are_the_scatter(evidence):
    rng = np.random.default_rng(6)
    truth = np.array([np.log(2.0), np.log(1.5), 60.0])
    runs = 60
    fits = [fit_of(*simulate(rng), evidence=evidence) for _ in range(runs)]
    estimate = np.array([fit.coefficients for fit in fits])
    model = np.array([fit.standard_errors(robust=False) for fit in fits]).mean(axis=0)
    robust = np.array([fit.standard_errors() for fit in fits]).mean(axis=0)
    scatter = estimate.std(axis=0, ddof=1)
    # Four standard errors of the mean of the runs.
    assert (np.abs(estimate.mean(axis=0) - truth) < 4 * scatter / np.sqrt(runs)).all()
    # A scatter over 60 runs is known to 1/sqrt(118) = 9 %: three and a half of that.
    assert model / scatter == pytest.approx(np.ones(3), abs=0.33)
    assert robust / scatter == pytest.approx(np.ones(3), abs=0.33)


def test_depth_alone_is_the_closed_form_of_the_censored_geometric_law():
    book, trades = simulate(np.random.default_rng(7))
    fit = fit_of(book, trades, evidence="depth")
    session = fit.session
    expected = np.log1p(session.closed.sum() / session.depth.sum()) / TICK
    assert fit.fill_decay == pytest.approx(expected, rel=1e-12)
    rate = np.where(session.observed, np.exp(-fit.fill_decay * TICK * session.half_spread), 0.0)
    arrivals = (session.side > 0).sum() / (rate @ session.seconds)
    assert fit.ask_arrival == pytest.approx(arrivals, rel=1e-10)


def test_clustered_orders_need_the_robust_errors():
    rng = np.random.default_rng(8)
    runs = 40
    fits = [fit_of(*simulate(rng, seconds=600.0, repeat=3.0), seconds=600.0) for _ in range(runs)]
    scatter = np.std([fit.coefficients[0] for fit in fits], ddof=1)
    model = np.mean([fit.standard_errors(robust=False)[0] for fit in fits])
    robust = np.mean([fit.standard_errors()[0] for fit in fits])
    # Clusters of 1 + Poisson(3): variance E N^2 / E N = 4.75 times Poisson's, errors 2.2 times (less what the
    # spread's changes break up).
    assert scatter > 1.4 * model
    # 40 runs: 1/sqrt(78) = 11 %, three of that.
    assert robust == pytest.approx(scatter, rel=0.34)


def test_a_covariate_is_found_and_arrivals_are_those_at_its_mean():
    rng = np.random.default_rng(9)
    book, trades = simulate(rng, seconds=3000.0, arrivals=(3.0, 3.0))
    # Thin the orders of the second half by exp(-0.7).
    kept = (trades.time < 1500.0) | (rng.uniform(size=trades.time.size) < np.exp(-0.7))
    thinned = Trades(trades.time[kept], trades.price[kept], trades.size[kept], trades.side[kept])
    parts = session_parts([0.0, 1500.0, 3000.0])
    fit = fit_of(book, thinned, seconds=3000.0, covariates=parts)
    error = fit.standard_errors()
    assert fit.names == ("log_ask_arrival", "log_bid_arrival", "part_2", "fill_decay")
    assert abs(fit.coefficients[2] + 0.7) < 4 * error[2]
    assert fit.covariate_means == pytest.approx([0.5])
    first = fit.intensity(0.0, side="ask", covariates={"part_2": 0.0})
    assert first == pytest.approx(fit.ask_arrival * np.exp(-0.5 * fit.coefficients[2]), rel=1e-12)
    assert abs(np.log(first / 3.0)) < 4 * np.hypot(error[0], 0.5 * error[2])


def test_the_spread_as_covariate_leaves_the_decay_to_the_depth():
    book, trades = simulate(np.random.default_rng(10))
    with_spread = fit_of(book, trades, covariates=[spread_covariate(book, TICK)])
    assert with_spread.fill_decay == pytest.approx(fit_of(book, trades, evidence="depth").fill_decay, rel=1e-8)
    with pytest.raises(ValueError, match="spread_ticks, fill_decay apart"):
        fit_of(book, trades, covariates=[spread_covariate(book, TICK)], evidence="arrivals")


def test_the_trailing_volatility_knows_only_the_past():
    rng = np.random.default_rng(11)
    book, _ = simulate(rng, seconds=200.0)
    before = trailing_volatility(book, window=20.0, step=1.0)
    later = book.time > 100.0
    changed = BookPath(book.time, np.where(later, book.bid + 5, book.bid), np.where(later, book.ask + 5, book.ask))
    after = trailing_volatility(changed, window=20.0, step=1.0)
    past = before.time <= 100.0
    np.testing.assert_array_equal(before.value[past], after.value[past])
    assert not np.array_equal(before.value, after.value, equal_nan=True)
    row = 50
    grid = before.time
    mids = [book.mid[book.row_at(np.array([t]))[0]] for t in grid[row - 20 : row + 1]]
    assert before.value[row] == pytest.approx(0.5 * np.log(np.sum(np.diff(mids) ** 2) / 20.0), rel=1e-12)


@settings(max_examples=15, deadline=None)
@given(price=st.sampled_from([0.1, 7.0, 100.0]), time=st.sampled_from([0.01, 60.0]))
def test_the_units_of_price_and_time_do_not_matter(price, time):
    book, trades = simulate(np.random.default_rng(12), seconds=300.0)
    one = fit_of(book, trades, seconds=300.0)
    scaled = calibrate_intensity(
        BookPath(book.time * time, book.bid * price, book.ask * price),
        Trades(trades.time * time, trades.price * price, trades.size, trades.side),
        tick=TICK * price,
        max_ticks=8,
        session_end=300.0 * time,
    )
    # Rounding of the prices' scaling moves nothing but the last digits.
    assert scaled.fill_decay * price == pytest.approx(one.fill_decay, rel=1e-9)
    assert scaled.ask_arrival * time == pytest.approx(one.ask_arrival, rel=1e-9)


def test_swapping_the_sides_swaps_the_arrivals():
    book, trades = simulate(np.random.default_rng(13), seconds=300.0)
    one = fit_of(book, trades, seconds=300.0)
    other = fit_of(
        BookPath(book.time, 300.0 - book.ask, 300.0 - book.bid),
        Trades(trades.time, 300.0 - trades.price, trades.size, -trades.side),
        seconds=300.0,
    )
    assert other.ask_arrival == pytest.approx(one.bid_arrival, rel=1e-9)
    assert other.fill_decay == pytest.approx(one.fill_decay, rel=1e-9)


def test_quotes_and_trades_after_an_order_do_not_move_its_cell():
    book, trades = simulate(np.random.default_rng(14), seconds=100.0)
    session = observe_session(book, trades, tick=TICK, max_ticks=8, session_end=50.0)
    later = book.time > 50.0
    other = BookPath(book.time, np.where(later, np.nan, book.bid), book.ask)
    again = observe_session(other, trades, tick=TICK, max_ticks=8, session_end=50.0)
    for name in ("edges", "half_spread", "depth", "segment"):
        np.testing.assert_array_equal(getattr(session, name), getattr(again, name))


def test_an_order_at_the_time_of_a_quote_meets_the_quote_before_it():
    book = BookPath([0.0, 1.0, 1.0], [99.99, 99.98, 99.95], [100.01, 100.02, 100.03])
    trades = Trades([1.0], [100.02], [1.0], [1])
    session = observe_session(book, trades, tick=TICK, max_ticks=8, session_end=2.0, blocks=2)
    assert session.half_spread[session.segment[0]] == 1.0
    assert session.depth[0] == 1.0


def test_the_band_holds_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(15)
    delta = np.array([0.0, 0.01, 0.03])
    inside = np.zeros(3)
    runs = 80
    for _ in range(runs):
        fit = fit_of(*simulate(rng, seconds=400.0), seconds=400.0)
        low, high = fit.band(delta, side="ask", level=0.9)
        truth = 2.0 * np.exp(-60.0 * delta)
        inside += (low < truth) & (truth < high)
    # Binomial(80, 0.9): standard deviation 0.034; three and a half of it.
    assert inside / runs == pytest.approx(np.full(3, 0.9), abs=0.12)


def test_what_the_data_cannot_tell_is_said():
    book, trades = simulate(np.random.default_rng(16), spreads=(2,))
    with pytest.raises(ValueError, match="never changed its distance"):
        fit_of(book, trades, evidence="arrivals")
    at_touch = Trades(
        trades.time,
        np.where(trades.side > 0, book.ask[book.row_before(trades.time)], book.bid[book.row_before(trades.time)]),
        trades.size,
        trades.side,
    )
    with pytest.raises(ValueError, match="no order went beyond the best quote"):
        fit_of(book, at_touch)
    buys = trades.side > 0
    with pytest.raises(ValueError, match="no order is left on the bid side"):
        fit_of(book, Trades(trades.time[buys], trades.price[buys], trades.size[buys], trades.side[buys]))
    with pytest.raises(ValueError, match="max_ticks must be an integer of at least 1"):
        calibrate_intensity(book, trades, tick=TICK, max_ticks=0, session_end=10.0)
    with pytest.raises(ValueError, match="session_end must be after the first row"):
        calibrate_intensity(book, trades, tick=TICK, max_ticks=3, session_end=0.0)


def test_a_decay_of_the_wrong_sign_is_returned_with_a_note():
    rng = np.random.default_rng(17)
    book, trades = simulate(rng, seconds=300.0, decay=5.0, spreads=(1, 3))
    wide = book.half_spread[book.row_before(trades.time)] > 0.01
    kept = wide | (rng.uniform(size=wide.size) < 0.3)
    fewer = Trades(trades.time[kept], trades.price[kept], trades.size[kept], trades.side[kept])
    fit = fit_of(book, fewer, seconds=300.0, evidence="arrivals")
    assert fit.fill_decay < 0
    assert "No game can be made of it" in fit.notes[-1]


def test_a_covariate_that_is_not_known_leaves_its_time_out():
    book, trades = simulate(np.random.default_rng(18), seconds=300.0)
    known = Covariate("x", [0.0, 100.0, 200.0], [0.0, np.nan, 1.0])
    fit = fit_of(book, trades, seconds=300.0, covariates=[known])
    counts = fit.session.counts
    assert counts.seconds_used == pytest.approx(200.0)
    assert counts.without_covariate == np.sum((trades.time > 100.0) & (trades.time <= 200.0))


def test_a_coefficient_that_runs_away_is_refused():
    book, trades = simulate(np.random.default_rng(19), seconds=100.0)
    early = trades.time < 50.0
    cut = Trades(trades.time[early], trades.price[early], trades.size[early], trades.side[early])
    session = observe_session(
        book, cut, tick=TICK, max_ticks=8, session_end=100.0, covariates=session_parts([0.0, 50.0, 100.0])
    )
    with pytest.raises(SolveError, match=r"part_2 was -.* runs to infinity"):
        fit_intensity(cells_of_session(session))
