"""Schedules: what they send, that TWAP is even, and that the mean-field one is the game's own trajectory."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mfg_core import ExecutionGame, solve_mfg
from strategies.execution import Immediate, MeanFieldSchedule, Twap, mean_field_schedule, schedule_of


def sent_by(fractions, quantity=1.0):
    sent = []
    for fraction in fractions:
        sent.append(quantity * fraction)
        quantity -= sent[-1]
    return np.array(sent)


@given(horizon=st.integers(1, 40))
def test_twap_sends_equal_parts_and_all(horizon):
    np.testing.assert_allclose(sent_by(Twap(horizon).fractions), np.full(horizon, 1.0 / horizon), rtol=1e-12)


def test_immediate_sends_all():
    assert Immediate().fractions.tolist() == [1.0]
    assert Immediate(crowd=(-0.3, -0.1)).crowd_rate.tolist() == [-0.3, -0.1]


GAME = ExecutionGame(
    temporary_impact=0.4, crowd_impact=0.8, running_penalty=0.05, terminal_penalty=2.0, initial_mean=0.6, horizon=4.0
)


def test_the_mean_field_schedule_follows_the_crowds_mean_inventory():
    equilibrium = solve_mfg(GAME, rtol=1e-10, atol=1e-13)
    executor = mean_field_schedule(equilibrium)
    # A second way: a trader of any size sends what the crowd's own mean falls by. The grid is the solver's.
    inventory = np.array([float(np.interp(k, equilibrium.times, equilibrium.mean_field.inventory)) for k in range(5)])
    np.testing.assert_allclose(executor.fractions, 1.0 - inventory[1:] / inventory[:-1], atol=2e-4)
    np.testing.assert_allclose(executor.crowd_rate, np.diff(inventory), atol=2e-4)
    assert executor.name == "mean_field_4"


def test_the_mean_field_schedule_equals_a_fine_integration_of_the_feedback_rate():
    equilibrium = solve_mfg(GAME, rtol=1e-10, atol=1e-13)
    executor = mean_field_schedule(equilibrium)
    steps, left, after = 4000, 1.0, [1.0]
    for k in range(4 * steps):
        t = k / steps
        h = 1.0 / steps
        # Midpoint rule of x' = alpha(t, x).
        middle = left + 0.5 * h * float(equilibrium.policy.rate(t, left))
        left += h * float(equilibrium.policy.rate(t + 0.5 * h, middle))
        if (k + 1) % steps == 0:
            after.append(left)
    np.testing.assert_allclose(executor.fractions, 1.0 - np.array(after[1:]) / np.array(after[:-1]), atol=1e-6)


def test_without_crowd_and_running_cost_the_schedule_is_known_in_closed_form():
    # a' = 2 a^2 / eta, a(T) = gamma: the rate is 2 / (eta / gamma + 2 (T - t)), so what is left falls linearly.
    eta, gamma, horizon = 0.5, 3.0, 3
    game = ExecutionGame(
        temporary_impact=eta,
        crowd_impact=0.0,
        running_penalty=0.0,
        terminal_penalty=gamma,
        initial_mean=1.0,
        horizon=3.0,
    )
    executor = mean_field_schedule(solve_mfg(game, rtol=1e-10, atol=1e-13))
    c = eta / (2 * gamma)
    left = np.array([(c + horizon - k) / (c + horizon) for k in range(horizon + 1)])
    np.testing.assert_allclose(executor.fractions, 1.0 - left[1:] / left[:-1], rtol=1e-9)
    np.testing.assert_allclose(executor.crowd_rate, np.diff(left), rtol=1e-9)


def test_a_horizon_that_is_no_whole_number_of_sessions_is_refused():
    game = ExecutionGame(
        temporary_impact=0.4,
        crowd_impact=0.8,
        running_penalty=0.05,
        terminal_penalty=2.0,
        initial_mean=0.6,
        horizon=2.5,
    )
    with pytest.raises(ValueError, match=r"horizon must be a whole number of sessions, at least 1; was 2.5"):
        mean_field_schedule(solve_mfg(game, rtol=1e-8, atol=1e-10))


@dataclass
class Given:
    fractions: np.ndarray
    crowd_rate: np.ndarray
    name: str = "given"


@pytest.mark.parametrize(
    ("fractions", "crowd", "message"),
    [
        ([1.5], [0.0], r"fractions of executor 'given' must be in \[0, 1\] and not all zero"),
        ([0.0, 0.0], [0.0, 0.0], "not all zero"),
        ([np.nan], [0.0], r"must be in \[0, 1\]"),
        ([[0.5, 0.5]], [0.0], r"must be \(h,\) or \(h, 3\); was \(1, 2\)"),
        ([0.5, 1.0], [0.0], "crowd_rate of executor 'given' must be 2 finite numbers"),
    ],
)
def test_a_schedule_that_makes_no_sense_is_refused(fractions, crowd, message):
    with pytest.raises(ValueError, match=message):
        schedule_of(Given(np.array(fractions), np.array(crowd)), 3)


def test_horizons_are_checked():
    with pytest.raises(ValueError, match="horizon must be a whole number of sessions, at least 1; was 0"):
        Twap(0)
    with pytest.raises(ValueError, match="crowd must have one rate for each of 2 sessions; had 1"):
        Twap(2, crowd=(0.1,))
    with pytest.raises(ValueError, match="crowd must have one rate for each of 2 sessions; had 1"):
        MeanFieldSchedule((0.5, 0.5), (0.1,))
