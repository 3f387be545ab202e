"""Batches against single solves: values, order, bytes, failures, tables."""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
import pytest

from mfg_core import Anderson, EdgeMassWarning, MarketMakingGame, Picard, SolveError, solve_mfg
from mfg_core.study.batch import CHAIN, neighbour_order, solve_many, solve_table

BASE = MarketMakingGame(
    ask_arrival=1.0,
    bid_arrival=1.0,
    fill_decay=0.5,
    running_penalty=0.02,
    terminal_penalty=0.1,
    horizon=4.0,
    max_inventory=5,
    initial_std=1.0,
)
RUNAWAY = replace(BASE, bid_arrival=20.0, ask_arrival=0.1, terminal_penalty=20.0, fill_decay=1.5)
"""Its rates at the close are beyond any time grid of 300 steps."""


def draw(count, seed=0):
    rng = np.random.default_rng(seed)
    return [
        replace(
            BASE,
            ask_arrival=rng.uniform(0.5, 1.5),
            fill_decay=rng.uniform(0.4, 1.0),
            running_penalty=rng.uniform(0.0, 0.05),
            horizon=rng.uniform(1.0, 5.0),
            competition=rng.uniform(0.0, 1.0),
            initial_mean=rng.uniform(-1.0, 1.0),
        )
        for _ in range(count)
    ]


@pytest.fixture(autouse=True)
def _small_grids():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", EdgeMassWarning)
        yield


def test_a_batch_is_the_single_solves_in_the_order_of_the_games():
    games = draw(12)
    batch = solve_many(games, rtol=1e-8)
    assert not batch.failures
    for game, found in zip(games, batch.equilibria, strict=True):
        alone = solve_mfg(game, rtol=1e-10)
        assert found.game is game
        assert found.certificate.converged
        # Both within their tolerance, relative to 1/k + |V|.
        scale = 1.0 / game.fill_decay + np.abs(alone.value[0])
        np.testing.assert_array_less(np.abs(found.value[0] - alone.value[0]) / scale, 1.2e-8)


def test_the_number_of_workers_changes_no_byte():
    games = draw(CHAIN + 10, seed=1)
    one, two = (solve_many(games, rtol=1e-5, workers=workers) for workers in (1, 2))
    for first, second in zip(one.equilibria, two.equilibria, strict=True):
        assert first.times.tobytes() == second.times.tobytes()
        assert first.value.tobytes() == second.value.tobytes()
        assert first.density.tobytes() == second.density.tobytes()


def test_one_failed_game_does_not_lose_the_others():
    games = [*draw(3), RUNAWAY, *draw(2, seed=2)]
    method = Anderson(max_steps=300)
    batch = solve_many(games, rtol=1e-4, method=method)
    assert list(batch.failures) == [3]
    assert isinstance(batch.failures[3], SolveError)
    assert [found is None for found in batch.equilibria] == [False, False, False, True, False, False]
    with pytest.raises(SolveError):
        solve_many(games, rtol=1e-4, method=method, throw=True)


def test_a_missed_tolerance_is_a_failure_too():
    batch = solve_many([BASE, replace(BASE, ask_arrival=1.5)], method=Picard(max_sweeps=2))
    assert list(batch.failures) == [0, 1]
    assert "after" in str(batch.failures[0])


def test_progress_counts_the_games_done():
    seen = []
    solve_many(draw(CHAIN + 3, seed=3), rtol=1e-3, progress=seen.append)
    assert seen == [CHAIN, CHAIN + 3]


def test_crowded_grids_are_warned_of_once():
    games = [replace(BASE, max_inventory=2, horizon=1.0, ask_arrival=1.0 + 0.1 * j) for j in range(3)]
    with pytest.warns(EdgeMassWarning, match="in 3 of 3 games") as caught:
        solve_many(games, rtol=1e-3)
    assert len(caught) == 1


def test_a_table_holds_the_values_and_quotes_of_the_single_solves():
    games = draw(4, seed=4)
    shares = np.linspace(0.0, 1.0, 9)
    table = solve_table(games, shares, rtol=1e-7)
    assert table.value.shape == (4, 9, 11)
    for row, game in enumerate(games):
        alone = solve_mfg(game, rtol=1e-9)
        bid, ask = alone.policy.quotes((shares * game.horizon)[:, None], alone.states)
        # Quadratics over panels of a few per cent of the horizon.
        np.testing.assert_allclose(table.ask[row], ask, atol=2e-5)
        np.testing.assert_allclose(table.bid[row], bid, atol=2e-5)
        np.testing.assert_allclose(table.value[row, 0], alone.value[0], atol=1e-5)
        assert table.mean_ask[row, 0] == pytest.approx(alone.mean_field.ask[0], abs=1e-6)
        np.testing.assert_allclose(table.value[row, -1], -game.terminal_penalty * alone.states**2, rtol=1e-14)


def test_the_rows_of_failed_games_are_nan():
    table = solve_table([BASE, RUNAWAY], [0.0, 1.0], rtol=1e-4, method=Anderson(max_steps=300))
    assert list(table.failures) == [1]
    assert np.all(np.isnan(table.value[1]))
    assert np.all(np.isfinite(table.value[0]))


def test_the_order_goes_on_to_the_nearest_game():
    games = [replace(BASE, fill_decay=0.5 + 0.1 * place) for place in (0, 7, 1, 5, 3)]
    assert neighbour_order(games) == [0, 2, 4, 3, 1]
    assert neighbour_order([]) == []
    assert neighbour_order([BASE, BASE, BASE]) == [0, 1, 2]
    apart = [BASE, replace(BASE, max_inventory=6), replace(BASE, ask_arrival=1.4)]
    assert neighbour_order(apart) == [0, 2, 1]


def test_nonsense_is_named():
    with pytest.raises(TypeError, match="games must be MarketMakingGame; element 1 was int"):
        solve_many([BASE, 3])
    with pytest.raises(ValueError, match="workers must be an integer of at least 1; was 0"):
        solve_many([BASE], workers=0)
    with pytest.raises(ValueError, match=r"games must have one max_inventory; were \[5, 6\]"):
        solve_table([BASE, replace(BASE, max_inventory=6)], [0.0, 1.0])
    with pytest.raises(ValueError, match=r"shares must be \(nt,\), within 0 and 1 and rising; was \[0.5, 0.2\]"):
        solve_table([BASE], [0.5, 0.2])
    assert solve_many([]).equilibria == ()
