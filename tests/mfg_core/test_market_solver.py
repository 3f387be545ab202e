"""The solve of the market-making game: its error estimate, its corners, and games whose replies barely contract."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from mfg_core import Anderson, EdgeMassWarning, MarketMakingGame, Picard, SolveError, solve_mfg
from mfg_core.certificate import Status
from mfg_core.family.time_grid import divide


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
        solve_mfg(desk(), rtol=1e-9, method=Anderson(max_sweeps=100))
    assert solve_mfg(desk(competition=0.9), rtol=1e-9).certificate.converged


def test_divided_panels_have_equal_parts():
    np.testing.assert_allclose(divide(np.array([0.0, 1.0, 4.0]), np.array([2, 3])), [0, 0.5, 1, 2, 3, 4], rtol=1e-15)
