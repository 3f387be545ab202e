"""The names and shapes that other rooms rely on."""

from __future__ import annotations

import doctest
import subprocess
import sys
from dataclasses import FrozenInstanceError
from math import inf

import numpy as np
import pytest

import mfg_core
from mfg_core import ExecutionGame, MarketMakingGame, solve_mfg
from mfg_core import solve as solve_module


def test_market_making_has_the_promised_names_and_shapes():
    game = MarketMakingGame(
        ask_arrival=1.0,
        bid_arrival=1.0,
        fill_decay=0.5,
        running_penalty=0.01,
        terminal_penalty=0.1,
        horizon=10.0,
        max_inventory=10,
        competition=1.0,
        min_half_spread=-inf,
        max_half_spread=inf,
        initial_mean=0.0,
        initial_std=2.0,
    )
    eq = solve_mfg(game, rtol=1e-9, atol=1e-12)
    times, nx = eq.times.size, 21
    assert eq.times[0] == 0.0
    assert eq.times[-1] == 10.0
    assert np.all(np.diff(eq.times) > 0)
    np.testing.assert_array_equal(eq.states, np.arange(-10.0, 11.0))
    for name in ("value", "density"):
        assert getattr(eq, name).shape == (times, nx)
    assert eq.policy.ask.shape == eq.policy.bid.shape == (times, nx)
    for values in (
        *(eq.mean_field.ask, eq.mean_field.bid, eq.full_spread, eq.net_skew, eq.inventory_variance),
        *(eq.marginal_cost, eq.derisk_probability(1.0)),
    ):
        assert values.shape == (times,)
    bid, ask = eq.policy.quotes(1.0, 3)
    assert np.shape(bid) == np.shape(ask) == ()
    assert eq.certificate.converged
    assert isinstance(eq.certificate.iterations, int)
    assert "tolerance" in eq.certificate.status.value


def test_execution_has_the_promised_names_and_shapes():
    game = ExecutionGame(
        temporary_impact=1.0,
        crowd_impact=0.5,
        running_penalty=0.1,
        terminal_penalty=1.0,
        inventory_noise=0.0,
        initial_mean=1.0,
        initial_std=1.0,
        horizon=1.0,
    )
    eq = solve_mfg(game, rtol=1e-9, atol=1e-12, throw=True)
    times = eq.times.size
    assert eq.value.shape == eq.density.shape == (times, eq.states.size)
    assert eq.value_coefficients.shape == (times, 3)
    for values in (eq.mean_field.inventory, eq.mean_field.rate, eq.mean_field.temporary_impact):
        assert values.shape == (times,)
    assert eq.policy.rate(0.5, np.ones(4)).shape == (4,)
    for name in ("residual", "exploitability", "mass_error"):
        assert isinstance(getattr(eq.certificate, name), float)


def test_games_cannot_be_changed():
    game = ExecutionGame(
        temporary_impact=1.0,
        crowd_impact=0.5,
        running_penalty=0.1,
        terminal_penalty=1.0,
        initial_mean=1.0,
        horizon=1.0,
    )
    with pytest.raises(FrozenInstanceError):
        game.horizon = 2.0
    with pytest.raises(TypeError):
        solve_mfg(game, 1e-9)


def test_the_example_of_solve_mfg_runs():
    assert doctest.testmod(solve_module).failed == 0
    assert doctest.testmod(solve_module).attempted > 0


def test_every_public_name_can_be_imported():
    for name in mfg_core.__all__:
        assert getattr(mfg_core, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'solve_everything'"):
        mfg_core.solve_everything  # noqa: B018


def test_importing_the_room_is_cheap():
    code = "import sys, mfg_core; print([m for m in ('numba', 'scipy', 'pandas') if m in sys.modules])"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"
