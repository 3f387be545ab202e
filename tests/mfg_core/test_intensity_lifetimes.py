import numpy as np
import pytest

from mfg_core.intraday.intensity_exposure import BookPath
from mfg_core.intraday.intensity_lifetimes import RestingOrders, calibrate_intensity_events

TICK = 0.01
SECONDS = 600.0


def quotes(rng, seconds=SECONDS):
    n = rng.poisson(seconds)
    bid = 10_000 + np.cumsum(rng.integers(-1, 2, n + 1))
    time = np.concatenate([[0.0], np.sort(rng.uniform(0, seconds, n))])
    return BookPath(time, bid * TICK, (bid + rng.integers(1, 6, n + 1)) * TICK)


def simulate(rng, count=3000, decay=60.0, arrivals=(2.0, 1.5)):
    """Resting orders that are filled at the rate of their distance while it is between 0 and 10 ticks."""
    book = quotes(rng)
    entry, side = rng.uniform(0, SECONDS, count), rng.choice([-1, 1], count)
    leave = np.minimum(entry + rng.exponential(4.0, count), SECONDS)
    row = book.row_at(entry)
    price = np.where(side > 0, book.bid[row], book.ask[row]) - side * rng.integers(0, 5, count) * TICK
    filled = np.zeros(count, dtype=bool)
    ends = np.append(book.time[1:], SECONDS)
    for i in range(count):
        t, j, left = entry[i], row[i], rng.exponential()
        while t < leave[i]:
            until = min(ends[j], leave[i])
            distance = round(-side[i] * (price[i] - book.mid[j]), 6)
            rate = arrivals[0 if side[i] < 0 else 1] * np.exp(-decay * distance) if 0 < distance < 0.1001 else 0.0
            if rate * (until - t) >= left:
                leave[i], filled[i] = t + left / rate, True
                break
            left -= rate * (until - t)
            t, j = until, j + 1
    return book, RestingOrders(entry, leave, price, side, filled)


def fit_of(book, orders, **options):
    return calibrate_intensity_events(book, orders, tick=TICK, max_ticks=10, session_end=SECONDS, **options)


def test_time_at_distance_equals_a_loop_over_orders_and_quotes():
    book, orders = simulate(np.random.default_rng(1), count=400)
    bid = book.bid.copy()
    bid[40:60] = np.nan
    book = BookPath(book.time, bid, book.ask)
    cells = fit_of(book, orders, blocks=7).cells
    exposure = np.zeros((7, 2, 20))
    edges = np.unique(np.concatenate([book.time, np.linspace(0, SECONDS, 8)]))
    mid = book.mid[book.row_at(edges[:-1])]
    block = np.minimum(np.floor(edges[:-1] / SECONDS * 7 + 1e-9), 6).astype(int)
    for i in range(orders.entry.size):
        seconds = np.minimum(edges[1:], orders.exit[i]) - np.maximum(edges[:-1], orders.entry[i])
        away = -2 * orders.side[i] * (orders.price[i] - mid) / TICK
        for s in np.flatnonzero((seconds > 0) & (away > 0.5) & (away < 20.5)):
            exposure[block[s], 0 if orders.side[i] < 0 else 1, round(away[s]) - 1] += seconds[s]
    found = np.zeros_like(exposure)
    place = (cells.block, (cells.design[:, 1] > 0).astype(int), np.round(2 * cells.distance).astype(int) - 1)
    np.add.at(found, place, cells.exposure)
    # Sums of at most a few thousand seconds.
    np.testing.assert_allclose(found, exposure, atol=1e-9)
    assert exposure.sum() > 500


def test_the_estimates_are_unbiased_and_their_errors_are_the_scatter():
    rng = np.random.default_rng(2)
    runs = 12
    fits = [fit_of(*simulate(rng, count=1500)) for _ in range(runs)]
    estimate = np.array([fit.coefficients for fit in fits])
    model = np.array([fit.standard_errors(robust=False) for fit in fits]).mean(axis=0)
    truth = np.array([np.log(2.0), np.log(1.5), 60.0])
    # Four errors of a mean over the runs, from the model's errors.
    assert (np.abs(estimate.mean(axis=0) - truth) < 4 * model / np.sqrt(runs)).all()
    # A variance ratio of 12 runs is chi2(11)/11: its 0.1 % and 99.9 % points are 0.14 and 2.8.
    ratio = (estimate.std(axis=0, ddof=1) / model) ** 2
    assert ((ratio > 0.14) & (ratio < 2.85)).all()


def test_withdrawn_orders_count_as_time_at_risk_and_not_as_fills():
    book = BookPath([0.0], [99.99], [100.01])
    entry = np.zeros(6)
    leave = np.array([1.0, 3.0, 5.0, 2.0, 4.0, 6.0])
    price = np.array([100.01, 100.02, 100.01, 99.99, 99.98, 99.99])
    orders = RestingOrders(entry, leave, price, [-1, -1, -1, 1, 1, 1], [True, True, False, True, True, False])
    fit = calibrate_intensity_events(book, orders, tick=TICK, max_ticks=5, session_end=10.0, blocks=2)
    # Four equations by hand: with x = e^-k, A_a (6 x + 3 x^2) = 2, A_b (8 x + 4 x^2) = 2, and the weighted sums agree:
    # A_a (6 x + 6 x^2) + A_b (8 x + 8 x^2) = 2 (1 + 2), so 4 (1 + x)/(2 + x) = 3 twice over: x = 2.
    assert np.exp(-fit.fill_decay * TICK) == pytest.approx(2.0, rel=1e-9)
    assert fit.ask_arrival == pytest.approx(2 / (6 * 2 + 3 * 4), rel=1e-9)
    assert "not positive" in fit.notes[-1]


def test_fills_that_are_not_at_risk_are_counted():
    book, orders = simulate(np.random.default_rng(4), count=500)
    far = RestingOrders(
        np.append(orders.entry, [1.0, 1.0]),
        np.append(orders.exit, [SECONDS / 2, SECONDS + 5.0]),
        np.append(orders.price, [150.0, orders.price[0]]),
        np.append(orders.side, [-1, 1]),
        np.append(orders.filled, [True, True]),
    )
    fit = fit_of(book, far)
    assert "2 of" in fit.notes[0]
    assert "1 outside the session" in fit.notes[0]
    assert "1 beyond max_ticks" in fit.notes[0]


def test_prices_off_the_grid_and_bad_lifetimes_are_refused():
    book = BookPath([0.0], [99.99], [100.01])
    with pytest.raises(ValueError, match=r"price must be a whole number of ticks of 0.01; was 100.015"):
        fit_of(book, RestingOrders([0.0], [1.0], [100.015], [-1], [True]))
    with pytest.raises(ValueError, match="exit must not be before entry; was not at order 0"):
        RestingOrders([2.0], [1.0], [100.0], [-1], [True])
    with pytest.raises(ValueError, match=r"side must be 1 \(a bid\) or -1"):
        RestingOrders([0.0], [1.0], [100.0], [0], [True])
