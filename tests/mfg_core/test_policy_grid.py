"""Policies between grid points: against plain interpolation and direct solves, and from a user's compiled function."""

from __future__ import annotations

import functools
import math
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from numba import njit
from scipy.interpolate import RegularGridInterpolator

from mfg_core import MarketMakingGame, PolicyGrid, solve_mfg
from mfg_core.library.lookup_kernels import LOOKUP_KERNELS, lookup_corners, lookup_quotes, place_parameters
from mfg_core.library.quote_block import QuoteBlock, TimeNodes, choose_nodes, look_up, sample_quotes, time_error

pytestmark = pytest.mark.filterwarnings("ignore::mfg_core.errors.EdgeMassWarning")

GAME = MarketMakingGame(
    ask_arrival=1.2,
    bid_arrival=0.8,
    fill_decay=0.8,
    running_penalty=0.05,
    terminal_penalty=0.2,
    horizon=4.0,
    max_inventory=3,
    initial_std=1.0,
)
AXES = {"fill_decay": np.array([0.5, 0.7, 1.2]), "horizon": np.array([2.0, 3.0, 4.5, 5.0])}


@functools.cache
def solved():
    return solve_mfg(GAME, rtol=1e-9)


def made_up(draw, dtype=np.float64, regimes=("calm", "wild"), bounds=(-math.inf, math.inf)):
    """A block of random quotes, with the horizon as an axis: a look-up must get everything right."""
    nodes = TimeNodes(8, 2)
    block = draw.uniform(0.5, 3.0, (len(regimes) * 12, 7, 9, 2)).astype(dtype)
    block[:, 0, :, 1] = block[:, -1, :, 0] = np.nan
    limits = np.column_stack(
        [np.tile(AXES["horizon"], len(regimes) * 3), *(np.full(len(block), one) for one in bounds)]
    )
    return QuoteBlock(regimes, AXES, nodes, block, limits)


def plain_quotes(block, regime, decay, horizon, t, inventory):
    """(bid, ask) by scipy's multilinear interpolation of the table and a polynomial through three nodes."""
    shape = (len(block.regimes), 3, 4, *block.block.shape[1:])
    tables = block.block.reshape(shape)[block.regimes.index(regime)].astype(np.float64)
    table = RegularGridInterpolator(tuple(AXES.values()), tables)([decay, horizon])[0]
    place = (1.0 - (1.0 - t / horizon) ** (1.0 / block.nodes.grading)) * block.nodes.steps
    node = min(int(place) // 2 * 2, block.nodes.steps - 2)
    rows = table[inventory + block.max_inventory, node : node + 3]
    if np.isnan(rows).any():
        one = 0 if not np.isnan(rows[0, 0]) else 1
        found = np.full(2, np.nan)
        found[one] = np.polyval(np.polyfit([0, 1, 2], rows[:, one], 2), place - node)
        return tuple(found)
    return tuple(np.polyval(np.polyfit([0, 1, 2], rows[:, side], 2), place - node) for side in range(2))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_every_look_up_is_the_plain_interpolation(dtype):
    draw = np.random.default_rng(8)
    block = made_up(draw, dtype)
    corners, weights = np.empty(4, dtype=np.int64), np.empty(4)
    for _ in range(60):
        regime = block.regimes[draw.integers(2)]
        decay, horizon = draw.uniform(0.5, 1.2), draw.uniform(2.0, 5.0)
        t, inventory = draw.uniform(0.0, horizon), int(draw.integers(-3, 4))
        exact = plain_quotes(block, regime, decay, horizon, t, inventory)
        prepared = block.prepare(regime, fill_decay=decay, horizon=horizon)
        np.testing.assert_allclose(lookup_quotes(prepared, t, inventory), exact, rtol=1e-11)
        np.testing.assert_allclose(
            block.quotes(t, inventory, regime, fill_decay=decay, horizon=horizon), exact, rtol=1e-11
        )
        at = np.array([decay, horizon])
        count = place_parameters(block.arrays(), block.regimes.index(regime), at, corners, weights)
        found = lookup_corners(block.arrays(), corners, weights, count, t, inventory)
        np.testing.assert_allclose(found, exact, rtol=1e-11)


def test_on_the_grid_the_stored_numbers_come_back():
    block = made_up(np.random.default_rng(3), np.float32)
    for index in range(24):
        regime, (i, j) = block.regimes[index // 12], divmod(index % 12, 4)
        at = {"fill_decay": AXES["fill_decay"][i], "horizon": AXES["horizon"][j]}
        assert np.array_equal(block.prepare(regime, **at).table, block.block[index].astype(np.float64), equal_nan=True)
        times = block.nodes.times(float(at["horizon"]))
        found = np.stack(block.quotes(times[None, :], np.arange(-3, 4)[:, None], regime, **at), axis=-1)
        # The place of a node in time is found to rounding: 1e-15 of it, times slopes of order 10.
        np.testing.assert_allclose(found, block.block[index], rtol=1e-12)


def test_bounds_hold_between_the_nodes_too():
    block = made_up(np.random.default_rng(4), bounds=(1.0, 2.0))
    at_bounds = np.where(block.block > 1.75, 2.0, np.where(block.block < 1.75, 1.0, np.nan))
    t, x = np.linspace(0, 2, 301)[:, None], np.arange(-2, 3)
    for bounds, (lowest, highest) in (((1.0, 2.0), (1.0, 2.0)), ((-math.inf, math.inf), (0.875, 2.125))):
        # Three values at the bounds overshoot by an eighth of their distance where the third differs from the others.
        held = replace(
            block,
            block=at_bounds,
            limits=np.column_stack([block.limits[:, 0], *np.full((2, 24), [[one] for one in bounds])]),
        )
        for quotes in held.quotes(t, x, "wild", fill_decay=0.7, horizon=2.0):
            assert quotes.min() == pytest.approx(lowest, abs=2e-3)
            assert quotes.max() == pytest.approx(highest, abs=2e-3)
            if math.isfinite(bounds[0]):
                assert quotes.min() == lowest
                assert quotes.max() == highest


def test_outside_the_grid_kernels_say_nan_and_checked_calls_refuse():
    block = made_up(np.random.default_rng(5))
    prepared = block.prepare("calm", fill_decay=0.6, horizon=2.5)
    outside = ((-1e-9, 0), (2.5 + 1e-9, 0), (1.0, 4), (1.0, -4), (math.nan, 0))
    for t, x in outside:
        assert all(math.isnan(quote) for quote in lookup_quotes(prepared, t, x))
    inside = lookup_quotes(prepared, 2.5, 0)
    assert not any(math.isnan(quote) for quote in inside)
    assert [math.isnan(quote) for quote in lookup_quotes(prepared, 1.0, 3)] == [True, False]
    assert [math.isnan(quote) for quote in lookup_quotes(prepared, 1.0, -3)] == [False, True]
    corners, weights, library = np.empty(4, dtype=np.int64), np.empty(4), block.arrays()
    for at in ((0.49, 2.5), (0.6, 5.01), (math.nan, 2.5)):
        assert place_parameters(library, 0, np.array(at), corners, weights) == 0
    assert all(math.isnan(quote) for quote in lookup_corners(library, corners, weights, 0, 1.0, 0))
    fine = {"regime": "calm", "fill_decay": 0.6, "horizon": 2.5}
    for change, message in (
        ({"regime": None}, "regime must be one of calm, wild; was None"),
        ({"fill_decay": 0.4}, r"fill_decay must be in \[0.5, 1.2\]; was 0.4"),
        ({"fill_decay": [0.6, math.nan]}, "fill_decay must be in .* was nan"),
        ({"t": 2.6}, r"t must be in \[0, horizon\]; was 2.6"),
        ({"inventory": 4}, r"inventory must be an integer in \[-3, 3\]; was 4"),
        ({"inventory": 0.5}, r"inventory must be an integer in \[-3, 3\]; was 0.5"),
        ({"eta": 1.0}, "parameters must be fill_decay, horizon; was fill_decay, horizon, eta"),
    ):
        with pytest.raises(ValueError, match=message):
            block.quotes(**({"t": 1.0, "inventory": 0} | fine | change))
    with pytest.raises(ValueError, match="horizon must be in"):
        block.prepare("calm", fill_decay=0.6, horizon=6.0)


def test_the_error_in_time_is_measured_and_of_third_order():
    equilibrium = solved()
    errors = [
        time_error(equilibrium, nodes, sample_quotes(equilibrium, nodes))
        for nodes in (TimeNodes(16, 2), TimeNodes(32, 2), TimeNodes(64, 2))
    ]
    assert math.log2(errors[1] / errors[2]) == pytest.approx(3.0, abs=0.4)
    at = np.linspace(0, 4, 4001)
    nodes = TimeNodes(32, 2)
    prepared = block_of(equilibrium, nodes).prepare()
    for x in range(-3, 4):
        found = np.stack(look_up(prepared, at, np.full(at.size, x)))
        exact = np.stack(equilibrium.policy.quotes(at, x))
        # Six points in each pair of steps see all but a few per cent of the largest error.
        assert np.nanmax(np.abs(found - exact)) <= 1.05 * errors[1]
    single = sample_quotes(equilibrium, nodes).astype(np.float32)
    assert errors[1] < time_error(equilibrium, nodes, single) <= errors[1] + 6e-8 * np.nanmax(single)


def block_of(equilibrium, nodes):
    limits = np.array([[equilibrium.game.horizon, -math.inf, math.inf]])
    return QuoteBlock(("base",), {}, nodes, sample_quotes(equilibrium, nodes)[None], limits)


def test_the_nodes_chosen_are_the_fewest_that_do():
    equilibrium = solved()
    unit = 1.0 / GAME.fill_decay
    for tolerance in (1e-2, 1e-4, 1e-6):
        nodes = choose_nodes([equilibrium], tolerance)
        assert time_error(equilibrium, nodes, sample_quotes(equilibrium, nodes)) <= tolerance * unit
        if nodes.steps > 8:
            for grading in (1, 2, 4):
                fewer = TimeNodes(nodes.steps // 2, grading)
                assert time_error(equilibrium, fewer, sample_quotes(equilibrium, fewer)) > tolerance * unit
    with pytest.raises(ValueError, match="time_tolerance must be at least"):
        choose_nodes([equilibrium], 1e-18)
    assert TimeNodes(4, 2).times(8.0).tolist() == [0.0, 3.5, 6.0, 7.5, 8.0]
    with pytest.raises(ValueError, match="steps must be even"):
        TimeNodes(5, 1)
    with pytest.raises(ValueError, match="grading must be 1, 2 or 4; was 3"):
        TimeNodes(4, 3)


def test_the_error_between_policies_is_of_second_order_in_their_distance():
    nodes, middle, errors = TimeNodes(16, 2), 0.8, []
    exact = sample_quotes(solve_mfg(GAME, rtol=1e-8), nodes)
    for width in (0.2, 0.1):
        ends = np.array([middle - width, middle + width])
        tables = np.stack([sample_quotes(solve_mfg(replace(GAME, fill_decay=k), rtol=1e-8), nodes) for k in ends])
        block = QuoteBlock(("base",), {"fill_decay": ends}, nodes, tables, np.tile([4.0, -math.inf, math.inf], (2, 1)))
        errors.append(np.nanmax(np.abs(block.prepare(fill_decay=middle).table - exact)))
    assert math.log2(errors[0] / errors[1]) == pytest.approx(2.0, abs=0.15)


def test_the_games_of_a_grid_are_those_of_nested_loops():
    wild = replace(GAME, ask_arrival=3.0, running_penalty=0.2)
    axes = {"arrival_scale": (0.5, 1.0, 2.0), "running_penalty": np.array([0.01, 0.1])}
    grid = PolicyGrid({"calm": GAME, "wild": wild}, axes)
    assert grid.shape == (2, 3, 2)
    index = 0
    for name, base in (("calm", GAME), ("wild", wild)):
        for scale in axes["arrival_scale"]:
            for eta in axes["running_penalty"]:
                game = replace(
                    base,
                    ask_arrival=scale * base.ask_arrival,
                    bid_arrival=scale * base.bid_arrival,
                    running_penalty=eta,
                )
                assert grid.game(index) == game
                assert grid.regime(index) == name
                assert grid.parameters(index) == {"arrival_scale": scale, "running_penalty": eta}
                index += 1
    assert grid.size == index
    assert sorted(grid.corners()) == [0, 1, 4, 5, 6, 7, 10, 11]


@pytest.mark.parametrize(
    ("regimes", "axes", "message"),
    [
        (GAME, {"max_inventory": (1, 2)}, "axes must be arrival_scale or a float parameter"),
        (GAME, {"fill_decay": (0.5,)}, "must be at least two increasing values"),
        (GAME, {"fill_decay": (0.5, 0.4)}, "must be at least two increasing values"),
        (GAME, {"fill_decay": (0.5, math.inf)}, "must be finite; was inf"),
        (GAME, {"arrival_scale": (1, 2), "ask_arrival": (1, 2)}, "must not hold both"),
        ({}, {}, "regimes must hold at least one game"),
        ({"a": GAME, "b": replace(GAME, max_inventory=4)}, {}, "regimes must have one max_inventory"),
    ],
)
def test_a_grid_that_makes_no_sense_is_refused(regimes, axes, message):
    with pytest.raises(ValueError, match=message):
        PolicyGrid(regimes, axes)


def test_a_combination_that_is_no_game_is_named():
    grid = PolicyGrid(GAME, {"competition": (0.5, 1.5)})
    with pytest.raises(ValueError, match=r"regime base has no game at competition=1.5: competition must be in"):
        grid.game(1)


def test_a_pod_calls_the_look_up_in_its_own_compiled_loop():
    prepared = block_of(solved(), TimeNodes(64, 2)).prepare()

    @njit
    def pod(prepared, times, sides):
        inventory, earned = 0, 0.0
        for i in range(times.size):
            bid, ask = lookup_quotes(prepared, times[i], inventory)
            earned += ask if sides[i] else bid
            inventory += -1 if sides[i] else 1
        return earned, inventory

    times, sides = np.array([0.5, 1.5, 3.0, 3.9]), np.array([True, True, False, True])
    earned, inventory = pod(prepared, times, sides)
    quotes = [solved().policy.quotes(t, x)[int(side)] for t, x, side in zip(times, (0, -1, -2, -1), sides, strict=True)]
    assert earned == pytest.approx(sum(map(float, quotes)), abs=1e-4)
    assert inventory == -2


CALLEE = """
import hashlib
from pathlib import Path
from numba import njit
KEY = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()
@njit(cache=True)
def answer(x):
    return x + {number}
"""
USER = """
from numba import njit
import callee
def make(key):
    @njit(cache=True)
    def keyed(x):
        key
        return callee.answer(x)
    return keyed
@njit(cache=True)
def plain(x):
    return callee.answer(x)
keyed = make(callee.KEY)
print(keyed(1), plain(1), sum(keyed.stats.cache_hits.values()))
"""


def test_a_closure_over_the_hash_makes_numba_notice_an_edited_look_up(tmp_path):
    assert len(LOOKUP_KERNELS) == 64
    (tmp_path / "user.py").write_text(USER)
    seen = []
    for number in (1, 1, 20):
        (tmp_path / "callee.py").write_text(CALLEE.format(number=number))
        environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path / "cache"), "PYTHONDONTWRITEBYTECODE": "1"}
        done = subprocess.run(
            [sys.executable, "user.py"], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
        )
        seen.append(done.stdout.split())
    # Compiled, then from the cache; after the edit the keyed one is right and the plain one, as numba does it, stale.
    assert [row[0] for row in seen] == ["2", "2", "21"]
    assert [row[2] for row in seen] == ["0", "1", "0"]
    assert seen[2][1] == "2"
