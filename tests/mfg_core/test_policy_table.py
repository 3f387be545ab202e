"""Policies survive the way to plain arrays and back, bit for bit."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from mfg_core import (
    ClearingGame,
    ExecutionGame,
    MarketMakingGame,
    OutsideOption,
    Share,
    policy_arrays,
    policy_metadata,
    rebuild_policy,
    solve_mfg,
)

EXECUTION = ExecutionGame(
    temporary_impact=0.1,
    crowd_impact=0.5,
    running_penalty=0.1,
    terminal_penalty=1.0,
    initial_mean=1.0,
    initial_std=1.0,
    horizon=5.0,
)
MARKET = MarketMakingGame(
    ask_arrival=1.0,
    bid_arrival=1.0,
    fill_decay=0.5,
    running_penalty=0.05,
    terminal_penalty=0.1,
    horizon=1.0,
    max_inventory=6,
    min_half_spread=0.5,
)
CLEARING = ClearingGame(
    supply=lambda t: np.cos(t),
    temporary_impact=0.1,
    running_penalty=0.1,
    terminal_penalty=1.0,
    initial_mean=1.0,
    horizon=1.0,
)


def round_trip(game):
    solved = solve_mfg(game, rtol=1e-6)
    metadata = json.loads(json.dumps(policy_metadata(solved), allow_nan=False, sort_keys=True))
    return solved, policy_arrays(solved), metadata


def test_an_execution_policy_answers_the_same_after_the_round_trip():
    solved, arrays, metadata = round_trip(EXECUTION)
    rebuilt = rebuild_policy(arrays, metadata)
    t = np.linspace(0, 5, 31)
    np.testing.assert_array_equal(rebuilt.rate(t, 2.0), solved.policy.rate(t, 2.0))
    np.testing.assert_array_equal(rebuilt.remaining(0.3, t[10:]), solved.policy.remaining(0.3, t[10:]))
    np.testing.assert_array_equal(rebuilt.fractions(5), solved.policy.fractions(5))
    np.testing.assert_array_equal(arrays["crowd_inventory"], solved.mean_field.inventory)
    assert metadata["kind"] == "execution"
    assert metadata["game"]["crowd_impact"] == 0.5
    assert metadata["certificate"]["converged"] is True
    assert metadata["certificate"]["residual"] == solved.certificate.residual


def test_a_market_making_policy_keeps_its_bounds():
    solved, arrays, metadata = round_trip(MARKET)
    rebuilt = rebuild_policy(arrays, metadata)
    t = np.linspace(0, 1, 17)[:, None]
    for mine, exact in zip(rebuilt.quotes(t, np.arange(-6, 7)), solved.policy.quotes(t, np.arange(-6, 7)), strict=True):
        np.testing.assert_array_equal(mine, exact)
    assert metadata["game"]["max_half_spread"] == "inf"
    assert rebuilt.max_half_spread == math.inf
    assert rebuilt.min_half_spread == 0.5


@pytest.mark.parametrize(
    ("competition", "plain"),
    [
        (0.5, 0.5),
        (OutsideOption(crowd_decay=0.25), {"form": "OutsideOption", "crowd_decay": 0.25}),
        (Share(), {"form": "Share"}),
    ],
)
def test_forms_of_competition_and_shapes_are_plain_types(competition, plain):
    game = replace(MARKET, competition=competition, min_half_spread=-math.inf, risk_aversion=0.1)
    solved, arrays, metadata = round_trip(game)
    assert metadata["game"]["competition"] == plain
    assert metadata["game"]["intensity_shape"] == {"form": "Exponential"}
    assert metadata["game"]["risk_aversion"] == 0.1
    rebuilt = rebuild_policy(arrays, metadata)
    t = np.linspace(0, 1, 17)[:, None]
    for mine, exact in zip(rebuilt.quotes(t, np.arange(-6, 7)), solved.policy.quotes(t, np.arange(-6, 7)), strict=True):
        np.testing.assert_array_equal(mine, exact)


def test_metadata_written_before_the_newer_parameters_still_loads():
    solved, arrays, metadata = round_trip(MARKET)
    newer = {"adverse_selection", "maker_fee", "risk_aversion", "intensity_shape"}
    older = {**metadata, "game": {name: value for name, value in metadata["game"].items() if name not in newer}}
    rebuilt = rebuild_policy(arrays, older)
    np.testing.assert_array_equal(rebuilt.quotes(0.3, 2), solved.policy.quotes(0.3, 2))


def test_a_clearing_policy_does_not_need_its_supply():
    solved, arrays, metadata = round_trip(CLEARING)
    rebuilt = rebuild_policy(arrays, metadata)
    t = np.linspace(0, 1, 17)
    np.testing.assert_array_equal(rebuilt.rate(t, -1.0), solved.policy.rate(t, -1.0))
    assert metadata["game"]["supply"] == "function"


def test_equal_games_give_equal_bytes():
    first, second = (policy_arrays(solve_mfg(EXECUTION)) for _ in range(2))
    assert first.keys() == second.keys()
    for name, values in first.items():
        assert values.dtype == np.float64
        assert values.tobytes() == second[name].tobytes()


def test_what_does_not_fit_is_refused_by_name():
    _, arrays, metadata = round_trip(EXECUTION)
    with pytest.raises(ValueError, match="version of the policy must be 1; was 99"):
        rebuild_policy(arrays, {**metadata, "version": 99})
    with pytest.raises(ValueError, match="kind of the policy must be one of"):
        rebuild_policy(arrays, {**metadata, "kind": "guess"})
    with pytest.raises(ValueError, match="missing riccati"):
        rebuild_policy({name: values for name, values in arrays.items() if name != "riccati"}, metadata)
    with pytest.raises(ValueError, match="friction must have shape"):
        rebuild_policy({**arrays, "friction": arrays["friction"][1:]}, metadata)
    with pytest.raises(ValueError, match="times must be one-dimensional and increasing"):
        rebuild_policy({**arrays, "times": arrays["times"][::-1]}, metadata)
