"""Competition from simulated books whose orders follow the best quote by a known share of its distance."""

import numpy as np
import pytest

from mfg_core.intraday.crowd_competition import DEFAULT_COMPETITION, calibrate_competition
from mfg_core.intraday.intensity_exposure import BookPath, Trades
from mfg_core.intraday.intensity_fit import calibrate_intensity
from mfg_core.intraday.market_calibration import PARAMETERS, calibrate_market_making

TICK, SECONDS, K = 0.01, 900.0, 60.0
OPTIONS = {"tick": TICK, "max_ticks": 30, "session_end": SECONDS}


def simulate(rng, c, *, arrivals=(2.0, 1.5), burst=1, price=1.0, widest=8):
    """A spread of 1 to `widest` ticks; orders reach c h + an exponential distance, `burst` of them at a time."""
    tick = TICK * price
    n = rng.poisson(SECONDS)
    time = np.concatenate([[0.0], np.sort(rng.uniform(0, SECONDS, n))])
    bid = 10_000 + np.cumsum(rng.choice([-1, 1], n + 1))
    ask = bid + rng.integers(1, widest + 1, n + 1)
    book = BookPath(time, bid * tick, ask * tick)
    parts = []
    for side, rate in zip((1, -1), arrivals, strict=True):
        at = np.sort(rng.uniform(0, SECONDS, rng.poisson(rate * SECONDS / burst)))
        at = np.sort((at[:, None] + 1e-4 * np.arange(burst)).ravel())
        row = book.row_before(at)
        half = 0.5 * (ask - bid)[row]
        reach = c * half + rng.exponential(1 / (K * TICK), at.size)
        hit = (reach >= half) & (at < SECONDS)
        at, row, beyond = at[hit], row[hit], np.floor((reach - half)[hit] + 1e-9)
        parts.append((at, (ask[row] + beyond if side > 0 else bid[row] - beyond) * tick, np.full(at.size, side)))
    at, price_of, side = (np.concatenate(column) for column in zip(*parts, strict=True))
    order = np.argsort(at, kind="stable")
    return book, Trades(at[order], price_of[order], np.ones(at.size), side[order])


@pytest.mark.parametrize(("c", "burst"), [(0.0, 1), (0.5, 1), (1.0, 1), (0.5, 4)])
def test_competition_comes_back_and_its_interval_covers(c, burst):
    rng = np.random.default_rng(round(10 * c) + burst)
    runs = 60
    found = [calibrate_competition(*simulate(rng, c, burst=burst), **OPTIONS) for _ in range(runs)]
    value, error = np.array([f.value for f in found]), np.array([f.error for f in found])
    scatter = value.std(ddof=1)
    assert abs(value.mean() - c) < 4 * scatter / np.sqrt(runs)
    # A scatter over 60 runs is known to 9 %; three and a half of it.
    assert error.mean() / scatter == pytest.approx(1.0, abs=0.32)
    covered = np.mean([f.low <= c <= f.high for f in found])
    # 57 of 60 are due; fewer than 50 have a probability below 1e-3.
    assert covered > 50 / 60
    # At an end of [0, 1] one interval in forty lies beyond it.
    assert np.mean([f.identified for f in found]) > 50 / 60
    assert all(0 <= f.used <= 1 for f in found)


def test_the_estimates_are_those_of_a_maximum_over_all_four_parameters():
    """Nelder-Mead on the likelihood of the game's own law, with c a parameter, against the covariate's coefficient."""
    from scipy.optimize import minimize

    book, trades = simulate(np.random.default_rng(3), 0.7)
    found = calibrate_market_making(book, trades, risk_aversion=1.0, **OPTIONS)
    cells = calibrate_intensity(book, trades, **OPTIONS).cells
    ask = cells.design[:, 0] > 0

    def loss(point):
        log_ask, log_bid, k, c = point
        if k <= 0:
            return np.inf
        felt = np.where(ask, log_ask, log_bid) - k * (1 - c) * cells.distance
        arrivals = cells.count @ felt - cells.exposure @ np.exp(felt)
        return -(arrivals + cells.closed.sum() * np.log(-np.expm1(-k)) - k * cells.depth.sum())

    start = [0.5, 0.5, 0.5, 0.5]
    best = minimize(loss, start, method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-10, "maxiter": 4000})
    assert np.exp(best.x[:2]) == pytest.approx([found.ask_arrival, found.bid_arrival], rel=1e-5)
    assert best.x[2:] == pytest.approx([found.fill_decay * TICK, found.competition], rel=1e-5)
    # Robust errors beside those of the curvature there: Poisson orders, so alike (50 blocks: 10 %, three of it).
    step = 1e-3
    hessian = np.array(
        [
            [
                (loss(best.x + i + j) - loss(best.x + i - j) - loss(best.x - i + j) + loss(best.x - i - j))
                / (4 * step**2)
                for j in step * np.eye(4)
            ]
            for i in step * np.eye(4)
        ]
    )
    model = np.sqrt(np.diag(np.linalg.inv(hessian))) * [found.ask_arrival, found.bid_arrival, 1 / TICK, 1.0]
    assert found.standard_errors[[0, 1, 2, 6]] == pytest.approx(model, rel=0.4)


@pytest.mark.parametrize("c", [0.5, 1.0])
def test_a_given_competition_is_in_the_fit_and_not_only_in_the_game(c):
    """At the true c arrivals, decay and the rate at any state of the market come back; at c = 0 the decay does not."""
    book, trades = simulate(np.random.default_rng(8), c)
    found = calibrate_market_making(book, trades, risk_aversion=1.0, competition=c, **OPTIONS)
    errors = dict(zip(PARAMETERS, found.standard_errors, strict=True))
    assert errors["competition"] == 0.0
    for name, truth in (("ask_arrival", 2.0), ("bid_arrival", 1.5), ("fill_decay", K)):
        assert abs(getattr(found, name) - truth) < 4 * errors[name], name
    alone = calibrate_intensity(book, trades, **OPTIONS)
    assert abs(alone.fill_decay - K) > 4 * alone.standard_errors()[-1]


def test_what_the_data_do_not_tell_is_said_and_a_default_taken():
    book, trades = simulate(np.random.default_rng(4), 0.5, widest=1)
    silent = calibrate_competition(book, trades, **OPTIONS)
    assert not silent.identified
    assert silent.used == DEFAULT_COMPETITION
    assert "do not tell it apart" in silent.reason
    one_part = calibrate_competition(book, trades, evidence="depth", **OPTIONS)
    assert "evidence must be 'all'" in one_part.reason
    found = calibrate_market_making(book, trades, risk_aversion=1.0, **OPTIONS)
    assert found.competition == DEFAULT_COMPETITION
    assert any("do not tell competition" in note for note in found.notes)
    # Orders that shun a narrow spread rise faster with it than any crowd of this form lets them.
    book, trades = simulate(np.random.default_rng(5), 1.0)
    wide = book.half_spread[book.row_before(trades.time)] > 2 * TICK
    kept = wide | (np.random.default_rng(6).random(wide.size) < 0.4)
    fewer = Trades(trades.time[kept], trades.price[kept], trades.size[kept], trades.side[kept])
    beyond = calibrate_competition(book, fewer, **OPTIONS)
    assert beyond.low > 1.0
    assert not beyond.identified
    assert "lies outside [0, 1]" in beyond.reason


def test_pooled_arrivals_are_one_rate_with_the_error_of_both_sides():
    book, trades = simulate(np.random.default_rng(6), 0.5, arrivals=(2.0, 2.0))
    apart = calibrate_market_making(book, trades, risk_aversion=1.0, competition=0.5, **OPTIONS)
    pooled = calibrate_market_making(book, trades, risk_aversion=1.0, competition=0.5, symmetric=True, **OPTIONS)
    assert apart.imbalance_p_value > 0.01
    assert pooled.imbalance_p_value == pytest.approx(apart.imbalance_p_value, rel=0.01)
    assert pooled.ask_arrival == pooled.bid_arrival
    counts = pooled.intensity.cells
    # With one decay for both the two arrivals are to each other as their counts, and the pooled one is their mean.
    assert pooled.ask_arrival == pytest.approx(0.5 * (apart.ask_arrival + apart.bid_arrival), rel=1e-6)
    assert pooled.fill_decay == pytest.approx(apart.fill_decay, rel=1e-6)
    model = pooled.intensity.model_covariance
    mean = 0.5 * np.array([1.0, 1.0])
    assert model[0, 0] == pytest.approx(mean @ apart.intensity.model_covariance[:2, :2] @ mean, rel=1e-2)
    assert model[0, 0] == pytest.approx(model[0, 1], rel=1e-12)
    assert counts.count[: counts.count.size // 2].sum() == counts.count.sum() / 2
    differ = calibrate_market_making(
        *simulate(np.random.default_rng(7), 0.5, arrivals=(2.0, 3.0)), risk_aversion=1.0, competition=0.5, **OPTIONS
    )
    assert differ.imbalance_p_value < 1e-6
    with pytest.raises(ValueError, match="symmetric pools the sides"):
        calibrate_intensity(book, trades, symmetric=True, decay_by_side=True, **OPTIONS)


def test_the_unit_of_price_and_the_lot_scale_everything_and_the_quotes():
    """Prices times s, sizes times l: k / s, xi s, and the same game in other words when risk aversion is / (s l)."""
    from mfg_core import solve_mfg

    s, lots = 25.0, 7.0
    options = dict(OPTIONS, competition=0.5, typical_inventory=4.0)
    one = calibrate_market_making(*simulate(np.random.default_rng(9), 0.5), risk_aversion=2.0, lot=1.0, **options)
    options["tick"] = TICK * s
    book, trades = simulate(np.random.default_rng(9), 0.5, price=s)
    two = calibrate_market_making(book, trades, risk_aversion=2.0 / (s * lots), lot=lots, **options)
    powers = {"fill_decay": -1, "adverse_selection": 1, "running_penalty": 1, "terminal_penalty": 1}
    for name in PARAMETERS:
        assert getattr(two, name) == pytest.approx(s ** powers.get(name, 0) * getattr(one, name), rel=1e-6), name
    quotes = [solve_mfg(found.game(max_inventory=8, horizon=5.0), rtol=1e-7).policy.ask[0] for found in (one, two)]
    np.testing.assert_allclose(quotes[1][1:], s * quotes[0][1:], rtol=1e-5)


def test_bad_competition_is_refused():
    book, trades = simulate(np.random.default_rng(10), 0.5)
    with pytest.raises(ValueError, match="competition must be 'estimated' or a number"):
        calibrate_market_making(book, trades, risk_aversion=1.0, competition="full", **OPTIONS)
    with pytest.raises(ValueError, match="competition must be from 0 to 1"):
        calibrate_market_making(book, trades, risk_aversion=1.0, competition=1.2, **OPTIONS)
    with pytest.raises(ValueError, match="evidence must not be 'arrivals' at competition 1"):
        calibrate_intensity(book, trades, competition=1.0, evidence="arrivals", **OPTIONS)
