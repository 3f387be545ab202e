import numpy as np
import pytest

from mfg_core.intraday.intensity_exposure import BookPath, Trades
from mfg_core.intraday.intraday_volatility import intraday_volatility
from mfg_core.intraday.inventory_penalties import running_penalty_from_risk, terminal_penalty_from_liquidation
from mfg_core.intraday.mark_outs import mark_outs
from mfg_core.intraday.market_calibration import PARAMETERS, calibrate_market_making
from mfg_core.solve import solve_mfg

TICK, SECONDS = 0.01, 900.0


def simulate(rng, *, decay=60.0, arrivals=(2.0, 1.5), decays=None):
    """A mid that walks by ticks, a spread of 1 to 4 ticks, orders of exponential reach."""
    n = rng.poisson(SECONDS)
    time = np.concatenate([[0.0], np.sort(rng.uniform(0, SECONDS, n))])
    bid = 10_000 + np.cumsum(rng.choice([-1, 1], n + 1))
    ask = bid + rng.integers(1, 5, n + 1)
    book = BookPath(time, bid * TICK, ask * TICK)
    parts = []
    for side, rate, k in zip((1, -1), arrivals, decays or (decay, decay), strict=True):
        at = np.sort(rng.uniform(0, SECONDS, rng.poisson(rate * SECONDS)))
        reach, row = rng.exponential(1 / k, at.size), book.row_before(at)
        hit = reach >= book.half_spread[row]
        at, reach, row = at[hit], reach[hit], row[hit]
        beyond = np.floor((reach - book.half_spread[row]) / TICK + 1e-9)
        parts.append((at, (ask[row] + beyond if side > 0 else bid[row] - beyond) * TICK, np.full(at.size, side)))
    at, price, side = (np.concatenate(column) for column in zip(*parts, strict=True))
    order = np.argsort(at)
    return book, Trades(at[order], price[order], np.ones(at.size), side[order])


def calibration_of(book, trades, **options):
    given = {"tick": TICK, "max_ticks": 8, "session_end": SECONDS, "risk_aversion": 5.0, "typical_inventory": 5.0}
    return calibrate_market_making(book, trades, **(given | options))


def test_the_parts_are_those_of_their_estimators():
    book, trades = simulate(np.random.default_rng(1))
    found = calibration_of(book, trades, competition=1.0, horizon_seconds=10.0, lot=2.0)
    moves = mark_outs(book, trades, [10.0], session_end=SECONDS)
    variance = intraday_volatility(book.time, book.mid)
    assert found.adverse_selection == moves.impact[2, 0]
    assert found.standard_errors[3] == moves.impact_error[2, 0]
    assert found.running_penalty == pytest.approx(0.5 * 5.0 * 2.0 * variance.variance, rel=1e-12)
    assert found.standard_errors[4] == pytest.approx(5.0 * variance.variance_error, rel=1e-12)
    seconds = np.diff(np.append(book.time, SECONDS))
    half = (book.ask - book.bid) @ seconds / SECONDS / 2
    assert found.half_spread == pytest.approx(half, rel=1e-12)
    assert found.terminal_penalty == pytest.approx(half / 5.0, rel=1e-12)
    assert found.names == PARAMETERS


def test_at_the_crowds_quote_the_game_has_the_markets_rate():
    book, trades = simulate(np.random.default_rng(2))
    for competition in (0.0, 0.4, 1.0):
        found = calibration_of(book, trades, competition=competition, fill_share=0.5)
        game = found.game(max_inventory=10, horizon=10.0)
        assert game.competition == competition
        for delta in (0.0, 0.02):
            in_game = game.ask_arrival * np.exp(-game.fill_decay * (delta - competition * found.half_spread))
            assert in_game == pytest.approx(0.5 * found.intensity.intensity(delta, side="ask"), rel=1e-12)


def test_the_covariance_of_the_arrivals_is_that_of_the_fit_carried_to_the_crowds_quote():
    book, trades = simulate(np.random.default_rng(3))
    found = calibration_of(book, trades, competition=1.0)
    fit, half = found.intensity, found.half_spread

    def carried(theta):
        return np.exp(theta[:2] - theta[2] * half)

    step = 1e-6 * np.array([1.0, 1.0, 60.0])
    slope = np.column_stack(
        [(carried(fit.coefficients + s) - carried(fit.coefficients - s)) / (2 * s.sum()) for s in np.diag(step)]
    )
    # Central differences of exponentials of order one.
    assert found.covariance[:2, :2] == pytest.approx(slope @ fit.covariance @ slope.T, rel=1e-6)
    assert found.covariance[2, 2] == fit.covariance[2, 2]
    assert found.covariance[0, 2] == pytest.approx(float(slope[0] @ fit.covariance[:, 2]), rel=1e-6)


def test_the_parameters_scatter_by_their_errors():
    rng = np.random.default_rng(4)
    runs = 40
    found = [calibration_of(*simulate(rng), competition=0.0) for _ in range(runs)]
    values = np.array([f.values[:3] for f in found])
    errors = np.array([f.standard_errors[:3] for f in found])
    scatter = values.std(axis=0, ddof=1)
    truth = np.array([2.0, 1.5, 60.0])
    assert (np.abs(values.mean(axis=0) - truth) < 4 * scatter / np.sqrt(runs)).all()
    # A scatter over 40 runs is known to 11 %; three of it.
    assert errors.mean(axis=0) / scatter == pytest.approx(np.ones(3), abs=0.36)


def test_draws_have_the_means_and_the_covariance():
    book, trades = simulate(np.random.default_rng(5))
    found = calibration_of(book, trades)
    draws = found.sample(20_000, rng=np.random.default_rng(0))
    assert (draws[:, [0, 1, 2, 4]] > 0).all()
    # Log-normal draws of parameters known to 2 to 8 %: the spread is the first-order one to a percent or so.
    assert draws.std(axis=0)[:5] == pytest.approx(found.standard_errors[:5], rel=0.04)
    correlation = np.corrcoef(draws[:, :3].T)
    scale = np.outer(found.standard_errors[:3], found.standard_errors[:3])
    # 20,000 draws: 0.007 each.
    assert correlation == pytest.approx(found.covariance[:3, :3] / scale, abs=0.04)
    games = found.sample_games(3, rng=np.random.default_rng(0), max_inventory=5, horizon=5.0)
    assert [game.ask_arrival for game in games] == [
        row[0] for row in found.sample(3, rng=np.random.default_rng(0)).tolist()
    ]


def test_the_game_solves_and_quotes():
    book, trades = simulate(np.random.default_rng(6), arrivals=(2.0, 2.0))
    found = calibration_of(book, trades)
    equilibrium = solve_mfg(found.game(max_inventory=15, horizon=20.0), rtol=1e-6)
    bid, ask = equilibrium.policy.quotes(0.0, 0)
    assert 0.0 < bid < 0.1
    assert 0.0 < ask < 0.1


def test_sides_that_differ_are_reported_and_sides_that_do_not_are_not():
    rng = np.random.default_rng(7)
    same = calibration_of(*simulate(rng))
    assert same.sides.p_value > 0.001
    differ = calibration_of(*simulate(rng, decays=(40.0, 90.0)))
    assert differ.sides.p_value < 1e-6
    assert abs(differ.sides.ask - 40.0) < 4 * differ.sides.ask_error
    assert any("The sides differ" in note for note in differ.notes)


def test_penalties_from_risk_have_their_units():
    # Money per second of holding x lots of L shares is g/2 v (x L)^2; divided by L it is price.
    g, v, lot, x = 0.3, 0.02, 100.0, 3.0
    assert running_penalty_from_risk(g, v, lot=lot) * x**2 * lot == pytest.approx(0.5 * g * v * (x * lot) ** 2)
    gamma = terminal_penalty_from_liquidation(0.05, typical_inventory=4.0, impact=0.001)
    assert gamma * 4.0**2 == pytest.approx(0.05 * 4.0 + 0.001 * 4.0**2)
    with pytest.raises(ValueError, match="variance must be finite and not negative"):
        running_penalty_from_risk(1.0, -1.0)


def test_bad_arguments_are_refused():
    book, trades = simulate(np.random.default_rng(8))
    with pytest.raises(ValueError, match="fill_share must be at most 1"):
        calibration_of(book, trades, fill_share=2.0)
    with pytest.raises(ValueError, match="horizon_seconds 900 leaves too few orders"):
        calibration_of(book, trades, horizon_seconds=900.0)
