"""The solve of the market-making game: its error estimate, its corners, and games whose replies barely contract."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from scipy.integrate import solve_ivp
from scipy.interpolate import CubicSpline

from mfg_core import (
    Anderson,
    EdgeMassWarning,
    EpidemicGame,
    FictitiousPlay,
    MarketMakingGame,
    NewtonKrylov,
    Picard,
    Share,
    SolveError,
    solve_mfg,
)
from mfg_core.certificate import Status
from mfg_core.family.time_grid import divide
from mfg_core.market.market_reply import reply as march_reply


@pytest.fixture(autouse=True)
def _edges_are_meant():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", EdgeMassWarning)
        yield


def desk(**changes) -> MarketMakingGame:
    """A lopsided market per second, with the inventory costs of a desk."""
    parameters = {
        "ask_arrival": 0.8, "bid_arrival": 0.6, "fill_decay": 60.0, "running_penalty": 4e-7, "terminal_penalty": 0.003,
        "adverse_selection": 3e-4, "horizon": 300.0, "max_inventory": 5,
    }  # fmt: skip
    return MarketMakingGame(**(parameters | changes))


def drawn(seed: int) -> MarketMakingGame:
    rng = np.random.default_rng(seed)
    return MarketMakingGame(
        ask_arrival=rng.uniform(0.4, 2.2),
        bid_arrival=rng.uniform(0.4, 2.2),
        fill_decay=rng.uniform(0.3, 1.5),
        running_penalty=10.0 ** rng.uniform(-2.3, -1.0),
        terminal_penalty=10.0 ** rng.uniform(-1.5, 0.0),
        horizon=rng.uniform(2.0, 15.0),
        max_inventory=12,
        competition=rng.uniform(0.0, 0.95),
        initial_mean=rng.uniform(-1.0, 1.0),
        initial_std=rng.uniform(0.5, 3.0),
    )


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("rtol", [1e-5, 1e-8])
def test_the_claimed_error_is_not_below_the_true_one(seed, rtol):
    game = drawn(seed)
    found, exact = solve_mfg(game, rtol=rtol, atol=0.0), solve_mfg(game, rtol=rtol / 1000.0, atol=0.0)
    at = [0, -1]
    true = np.max(np.abs(found.value[0] - exact.value[0]) / (1.0 / game.fill_decay + np.abs(exact.value[0])))
    for rough, fine, unit in (
        (found.density[-1], exact.density[-1], 1.0),
        (found.mean_field.ask[at], exact.mean_field.ask[at], 1.0 / game.fill_decay),
        (found.mean_field.bid[at], exact.mean_field.bid[at], 1.0 / game.fill_decay),
    ):
        true = max(true, np.max(np.abs(rough - fine) / (unit + np.abs(fine))))
    assert true <= found.certificate.discretisation_error <= rtol


def test_a_close_too_steep_for_floating_point_is_answered_or_refused_with_the_reason():
    game = MarketMakingGame(
        ask_arrival=1, bid_arrival=1, fill_decay=0.5, running_penalty=0.01, terminal_penalty=25.6, horizon=2,
        max_inventory=5,
    )  # fmt: skip
    exact = solve_mfg(game, throw=False).certificate
    assert exact.status in (Status.CONVERGED, Status.RESOLUTION)
    assert "shorter time steps than floating point has; lower the terminal penalty" in Status.RESOLUTION.value
    assert solve_mfg(game, rtol=1e-5).certificate.converged


@pytest.mark.parametrize(
    "game",
    [
        MarketMakingGame(
            ask_arrival=0.025, bid_arrival=0.025, fill_decay=448.0, running_penalty=7.4e-4, terminal_penalty=1.64,
            horizon=42.4, max_inventory=5, competition=0.0, initial_std=3.1,
        ),
        MarketMakingGame(
            ask_arrival=85.0, bid_arrival=85.0, fill_decay=0.08, running_penalty=5.8e-7, terminal_penalty=5634.6,
            horizon=0.48, max_inventory=10, competition=0.0,
        ),
    ],
)  # fmt: skip
def test_exploitability_is_a_number_however_steep_the_close(game):
    assert 0.0 <= solve_mfg(game, rtol=1e-6).certificate.exploitability < np.inf


def test_time_is_not_refined_for_want_of_sweeps():
    game = desk(competition=0.9)
    slow = solve_mfg(game, rtol=1e-6, method=Picard(max_sweeps=100))
    assert slow.certificate.iterations <= 400
    assert slow.times.size <= 2 * solve_mfg(game, rtol=1e-6).times.size


def test_a_game_whose_replies_barely_contract_is_solved_by_default(monkeypatch):
    few = Anderson(max_sweeps=10)
    game = desk(bid_arrival=0.7, horizon=100.0)
    alone = solve_mfg(game, rtol=1e-6, method=few, throw=False)
    assert alone.certificate.status is Status.SWEEPS
    monkeypatch.setattr("mfg_core.solve.Anderson", lambda: few)
    found = solve_mfg(game, rtol=1e-6)
    assert found.certificate.converged
    assert found.certificate.iterations > alone.certificate.iterations


def test_the_remedy_of_a_lopsided_market_at_competition_1_is_to_compete_less():
    with pytest.raises(SolveError, match=r"no customer stays away.*Lower competition"):
        solve_mfg(desk(horizon=7200.0), rtol=1e-6)
    assert solve_mfg(desk(competition=0.9), rtol=1e-9).certificate.converged


def test_the_refusal_of_a_market_whose_skew_has_grown_says_why():
    with pytest.raises(SolveError, match=r"tolerance .* after .*net skew has reached.*no customer stays away"):
        solve_mfg(desk(), rtol=1e-6, method=Picard(max_sweeps=10, damping=0.5))


@pytest.mark.parametrize("horizon", [30.0, 300.0, 1000.0])
def test_a_skew_that_replies_to_itself_is_carried_to_the_close_in_few_sweeps(horizon):
    """Plain mixing passes it on by one memory of the inventories a sweep: 700 sweeps and more at 300 seconds."""
    game = desk(ask_arrival=0.803, bid_arrival=0.605, max_inventory=10, horizon=horizon)
    proof = solve_mfg(game, rtol=1e-6).certificate
    assert proof.converged
    assert proof.iterations <= 120


def test_a_lopsided_market_at_competition_1_replies_to_itself_under_other_integrators():
    game = desk(max_inventory=3, horizon=60.0, terminal_penalty=0.001)
    found = solve_mfg(game, rtol=1e-9)
    assert 60.0 * found.net_skew[0] > 10.0
    k, x, times = 60.0, game.states, found.times
    crowd = CubicSpline(times, np.stack([found.mean_field.ask, found.mean_field.bid], axis=1))

    def flows(t, value):
        ask, bid = np.zeros(7), np.zeros(7)
        gap = np.diff(value)
        mean_ask, mean_bid = crowd(t)
        ask[1:] = 0.8 * np.exp(-k * (1 / k + 3e-4 + gap - mean_ask))
        bid[:-1] = 0.6 * np.exp(-k * (1 / k + 3e-4 - gap - mean_bid))
        return ask, bid

    # A maker earns 1/k at each fill over what keeps it indifferent.
    back = solve_ivp(
        lambda t, v: -(sum(flows(t, v)) / k - 4e-7 * x**2),
        (60.0, 0.0), -0.001 * x**2, "DOP853", rtol=1e-11, atol=1e-13, dense_output=True,
    ).sol  # fmt: skip

    def spread(t, law):
        ask, bid = flows(t, back(t))
        change = -(ask + bid) * law
        change[:-1] += (ask * law)[1:]
        change[1:] += (bid * law)[:-1]
        return change

    law = solve_ivp(spread, (0.0, 60.0), game.initial_density, "DOP853", rtol=1e-11, atol=1e-14, t_eval=times).y.T
    value = back(times).T
    np.testing.assert_allclose(found.value, value, rtol=0, atol=1e-8 * np.max(np.abs(value)))
    np.testing.assert_allclose(found.density, law, rtol=0, atol=1e-7)
    gap = np.diff(value, axis=1)
    mean_ask = np.sum(law[:, 1:] * (1 / k + 3e-4 + gap), axis=1) / (1.0 - law[:, 0])
    np.testing.assert_allclose(found.mean_field.ask, mean_ask, rtol=1e-7)


def test_mass_is_kept_to_one_rounding_a_step_however_large_the_logarithms():
    game = desk(ask_arrival=0.803, bid_arrival=0.605, max_inventory=10, horizon=1000.0)
    found = solve_mfg(game, rtol=1e-6)
    assert 60.0 * np.max(np.ptp(found.value, axis=1)) > 1000.0
    assert found.certificate.mass_error <= found.times.size * np.finfo(float).eps


@pytest.mark.parametrize("clock", [1.0, 1 / 3600])
def test_a_residual_of_zero_does_not_make_a_grid_seem_coarse(clock):
    """A lone maker's replies meet themselves; whether to the last bit depends on the unit of time alone."""
    game = MarketMakingGame(
        ask_arrival=0.5 / clock, bid_arrival=0.5 / clock, fill_decay=1.0, running_penalty=0.5 / clock,
        terminal_penalty=0.5, horizon=clock, max_inventory=1, competition=0.0, min_half_spread=0.7, max_half_spread=1.6,
        risk_aversion=0.5,
    )  # fmt: skip
    assert solve_mfg(game, rtol=1e-9, atol=0.0).times.size < 100


@pytest.mark.parametrize(
    ("game", "method"),
    [
        (desk(competition=0.9), Anderson(max_work=3e6)),
        (desk(competition=0.9), Picard(max_work=3e6)),
        (desk(bid_arrival=0.7, horizon=100.0), NewtonKrylov(max_work=3e6)),
        (desk(bid_arrival=0.7, horizon=100.0), FictitiousPlay(max_work=3e6)),
        (desk(horizon=20.0, min_half_spread=0.0, max_half_spread=0.1), Anderson(max_work=3e6)),
        (
            EpidemicGame(
                contact_rate=0.2, recovery_rate=0.1, infection_cost=300.0, initial_infected=0.01, horizon=360.0
            ),
            Anderson(max_work=3e6),
        ),
    ],
)
def test_a_solve_ends_when_its_work_is_spent_and_says_so(game, method):
    with pytest.raises(SolveError, match="raise max_work"):
        solve_mfg(game, method=method)


def test_work_is_counted_over_all_grids_and_methods_alike_every_time():
    game = desk(bid_arrival=0.7, horizon=100.0, competition=Share())
    ends = [solve_mfg(game, rtol=1e-9, method=Anderson(max_work=3e7), throw=False).certificate for _ in range(2)]
    assert ends[0] == ends[1]
    assert ends[0].status is Status.WORK
    assert ends[0].residual > ends[0].tolerance or ends[0].discretisation_error > 1e-9


def test_an_interrupted_solve_leaves_nothing_half_done(monkeypatch):
    game, calls = desk(competition=0.9), []

    def interrupted(*arguments, **named):
        calls.append(1)
        if len(calls) == 10:
            raise KeyboardInterrupt
        return march_reply(*arguments, **named)

    whole = solve_mfg(game, rtol=1e-6)
    with monkeypatch.context() as patch:
        patch.setattr("mfg_core.market.market_reply.reply", interrupted)
        with pytest.raises(KeyboardInterrupt):
            solve_mfg(game, rtol=1e-6)
    np.testing.assert_array_equal(solve_mfg(game, rtol=1e-6).value, whole.value)


def test_divided_panels_have_equal_parts():
    np.testing.assert_allclose(divide(np.array([0.0, 1.0, 4.0]), np.array([2, 3])), [0, 0.5, 1, 2, 3, 4], rtol=1e-15)
