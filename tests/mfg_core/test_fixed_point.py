"""The update rules on maps whose fixed points are known."""

from __future__ import annotations

import warnings
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mfg_core import EdgeMassWarning, FictitiousPlay, MarketMakingGame, NewtonKrylov, solve_mfg
from mfg_core.iteration.fixed_point import Anderson, Picard, iterate


def contraction(size, radius, seed):
    rng = np.random.default_rng(seed)
    rotation, _ = np.linalg.qr(rng.normal(size=(size, size)))
    matrix = rotation * np.linspace(-radius, radius, size) @ rotation.T
    shift = rng.normal(size=size)
    return (lambda x: matrix @ x + shift), np.linalg.solve(np.eye(size) - matrix, shift)


def test_picard_converges_at_the_rate_of_the_map():
    phi, exact = contraction(6, 0.5, 0)
    found = iterate(phi, np.zeros(6), Picard(), lambda _: 1e-10)
    np.testing.assert_allclose(found.point, exact, atol=1e-9)
    assert 25 <= found.sweeps <= 45


def test_anderson_solves_an_affine_map_in_as_many_sweeps_as_dimensions():
    phi, exact = contraction(4, 2.5, 1)
    found = iterate(phi, np.zeros(4), Anderson(depth=5), lambda _: 1e-9)
    np.testing.assert_allclose(found.point, exact, atol=1e-8)
    assert found.sweeps <= 8


@settings(deadline=None)
@given(damping=st.floats(0.05, 1.0), seed=st.integers(0, 50))
def test_damping_moves_the_iterates_and_not_the_residual(damping, seed):
    phi, _ = contraction(3, 0.5, seed)
    found = iterate(phi, np.zeros(3), Picard(damping=damping, max_sweeps=1), lambda _: 1e-12)
    assert found.sweeps == 1
    assert found.residual == np.abs(phi(np.zeros(3))).max()


@pytest.mark.parametrize("rule", [Picard(damping=0.7), Anderson(depth=2, damping=0.9)])
def test_reported_residual_is_the_undamped_one_at_the_returned_point(rule):
    phi, exact = contraction(5, 0.8, 2)
    found = iterate(phi, np.zeros(5), rule, lambda _: 1e-8)
    assert found.residual == np.abs(phi(found.point) - found.point).max()
    np.testing.assert_array_equal(found.image, phi(found.point))
    np.testing.assert_allclose(found.point, exact, atol=1e-7)


def least_squares_step(pairs, damping):
    """Anderson's step by its definition: the affine combination of points whose residual would be smallest."""
    moves = np.stack([later[0] - earlier[0] for earlier, later in pairwise(pairs)], axis=1)
    changes = np.stack([later[1] - earlier[1] for earlier, later in pairwise(pairs)], axis=1)
    point, residual = pairs[-1]
    weights = np.linalg.lstsq(changes, residual, rcond=None)[0]
    return point + damping * residual - (moves + damping * changes) @ weights


@settings(deadline=None, max_examples=30)
@given(depth=st.integers(1, 6), damping=st.floats(0.1, 1.0), size=st.integers(7, 23), seed=st.integers(0, 99))
def test_the_compiled_anderson_step_is_the_least_squares_one(depth, damping, size, seed):
    rng = np.random.default_rng(seed)
    rule, pairs = Anderson(depth=depth, damping=damping), []
    memory = rule.init()
    for _ in range(2 * depth + 2):
        point, image = rng.normal(size=(2, size))
        pairs = [*pairs[-depth:], (point, image - point)]
        following, memory = rule.step(memory, point, image)
    # Two ways to solve least squares of condition number below 1e4 in numbers of about 1e2.
    np.testing.assert_allclose(following, least_squares_step(pairs, damping), rtol=1e-9, atol=1e-9)


def test_anderson_drops_changes_that_repeat_older_ones():
    rule = Anderson(depth=5)
    memory = rule.init()
    for step in range(4):  # Every change of the residual is along one direction.
        point = np.array([1.0, 2.0, -1.0]) * step
        following, memory = rule.step(memory, point, 0.5 * point + 1.0)
    # Along the line the residual 1 - point/2 has its smallest norm where it is orthogonal to the line.
    line = np.array([1.0, 2.0, -1.0])
    best = line * (2.0 * line.sum() / (line @ line))
    np.testing.assert_allclose(following, best + (1.0 - 0.5 * best), atol=1e-12)


def test_sweeps_go_on_to_the_rounding_of_the_point():
    shift = np.random.default_rng(4).normal(size=260)
    found = iterate(lambda x: 0.9 * np.cos(x + shift), np.zeros(260), Anderson(), lambda _: 1e-14)
    assert found.residual <= 1e-14


@pytest.mark.parametrize("radius", [0.5, 3.0])
def test_newton_krylov_solves_an_affine_map_in_dimensions_plus_one_evaluations(radius):
    """GMRES is exact in as many directions as dimensions, and the Jacobian by differences of an affine map too."""
    phi, exact = contraction(6, radius, 3)
    found = iterate(phi, np.zeros(6), NewtonKrylov(), lambda _: 1e-10)
    np.testing.assert_allclose(found.point, exact, atol=1e-9)
    # The forcing term ends GMRES early in the first two steps; a step takes its directions and itself.
    assert found.sweeps <= 1 + 3 * (6 + 1)
    low_rank = np.outer(np.arange(1.0, 41.0), np.linspace(-1.0, 1.0, 40)) / 100.0
    found = iterate(lambda x: low_rank @ x + 1.0, np.zeros(40), NewtonKrylov(), lambda _: 1e-10)
    np.testing.assert_allclose(found.point, np.linalg.solve(np.eye(40) - low_rank, np.ones(40)), atol=1e-9)
    assert found.sweeps <= 6  # I minus rank one: two directions are enough.


def test_newton_converges_quadratically_on_a_curved_map():
    def phi(x):
        return np.array([x[0] - (x[0] ** 2 - x[1]), x[1] - (x[0] + x[1] - 6.0)])  # fixed at (2, 4)

    found = iterate(phi, np.array([5.0, 1.0]), NewtonKrylov(), lambda _: 1e-12)
    np.testing.assert_allclose(found.point, [2.0, 4.0], atol=1e-11)
    assert found.sweeps <= 8 * 3  # eight Newton steps, of two directions each
    assert iterate(phi, np.array([5.0, 1.0]), Picard(max_sweeps=6), lambda _: 1e-12).residual > 1e6


def test_newton_shortens_a_step_that_leaves_the_numbers():
    def phi(x):  # residual 1/x - 1 on x > 0: from x = 3 Newton's own step lands at -3, where the map is not defined.
        return np.where(x > 0, x + 1.0 / np.maximum(x, 1e-300) - 1.0, np.nan)

    found = iterate(phi, np.array([3.0]), NewtonKrylov(), lambda _: 1e-12)
    np.testing.assert_allclose(found.point, [1.0], atol=1e-11)


def test_newton_goes_round_directions_in_which_the_map_is_not_defined():
    """The fixed point is (-1, -2); the second direction at the start (0, 0) leads where a coordinate is positive."""

    def phi(x):
        if np.any(x > 0):
            return np.full(2, np.nan)
        return np.array([-1.0 - 0.5 * (x[1] + 2.0), -2.0 + 0.5 * (x[0] + 1.0)])

    found = iterate(phi, np.zeros(2), NewtonKrylov(), lambda _: 1e-12)
    np.testing.assert_allclose(found.point, [-1.0, -2.0], atol=1e-11)


@pytest.mark.parametrize("missing", [np.nan, np.inf])
def test_newton_that_can_go_nowhere_stops_at_its_last_sweep(missing):
    """The map is defined at the start only: every direction and every trial step leaves the numbers."""
    rule, start = NewtonKrylov(max_sweeps=150), np.array([3.0, 1.0])
    found = iterate(lambda x: np.where(np.all(x == start), x + 1.0, missing), start, rule, lambda _: 1e-8)
    assert found.sweeps == 150


def test_newton_without_a_fixed_point_says_so_by_its_residual():
    calls = []

    def phi(x):  # the residual 1 + x^2 has its least value, and a singular derivative, at 0
        calls.append(x)
        return x + 1.0 + x**2

    found = iterate(phi, np.array([1.0]), NewtonKrylov(max_sweeps=60), lambda _: 1e-8)
    assert found.sweeps == len(calls) == 60
    assert found.residual == abs(1.0 + found.point[0] ** 2) >= 1.0


@pytest.mark.parametrize("slope", [-4.0, -1.0, 0.5])
@pytest.mark.parametrize("weight", [1.0, 3.0])
def test_fictitious_play_is_the_weighted_average_of_the_replies(slope, weight):
    """Of phi(x) = s x the error after n sweeps is the product of 1 - share (1 - s), as the docstring says."""
    sweeps = 40
    found = iterate(lambda x: slope * x, np.ones(1), FictitiousPlay(weight, max_sweeps=sweeps), lambda _: 0.0)
    shares = weight / (np.arange(sweeps - 1) + weight)
    expected = np.prod(1.0 - shares * (1.0 - slope))
    np.testing.assert_allclose(found.point, [expected], rtol=1e-12, atol=1e-15)


def test_fictitious_play_settles_where_plain_sweeps_cycle_and_at_its_own_rate():
    def errors(sweeps):
        rule = FictitiousPlay(max_sweeps=sweeps)
        return abs(iterate(lambda x: -0.9 * x + 1.9, np.array([3.0]), rule, lambda _: 0.0).point[0] - 1.0)

    cycling = iterate(lambda x: -1.0 * x + 2.0, np.array([3.0]), Picard(max_sweeps=400), lambda _: 1e-3)
    assert cycling.residual == 4.0
    settled = iterate(lambda x: -1.0 * x + 2.0, np.array([3.0]), FictitiousPlay(), lambda _: 1e-3)
    assert settled.residual <= 1e-3
    slope = np.log(errors(4000) / errors(400)) / np.log(10.0)
    assert slope == pytest.approx(-1.9, abs=0.01)  # n^-(1 - q); the next term is of relative order 1/n


def games():
    base = {
        "fill_decay": 0.5,
        "running_penalty": 0.01,
        "terminal_penalty": 0.1,
        "horizon": 4.0,
        "max_inventory": 5,
        "initial_std": 1.0,
    }
    return (
        MarketMakingGame(ask_arrival=1.0, bid_arrival=1.0, **base),
        MarketMakingGame(ask_arrival=1.2, bid_arrival=0.8, initial_mean=1.0, **base),
        MarketMakingGame(ask_arrival=1.0, bid_arrival=1.0, **base, min_half_spread=0.0, max_half_spread=2.0),
    )


@pytest.mark.parametrize("number", range(3))
@pytest.mark.parametrize(
    ("method", "rtol"), [(Picard(0.7), 1e-7), (NewtonKrylov(), 1e-7), (FictitiousPlay(10.0), 1e-5)]
)
def test_all_methods_find_the_same_market_making_equilibrium(number, method, rtol):
    game = games()[number]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", EdgeMassWarning)
        reference, found = solve_mfg(game, rtol=1e-8), solve_mfg(game, rtol=rtol, method=method)
    assert found.certificate.converged
    # Each is within its tolerance, relative to 1/k + |V| and 1/k + |quote|.
    np.testing.assert_allclose(found.value[0], reference.value[0], rtol=rtol, atol=rtol / game.fill_decay)
    np.testing.assert_allclose(found.mean_field.ask[0], reference.mean_field.ask[0], rtol=2 * rtol)


@pytest.mark.parametrize("rule", [Picard(), Anderson(), FictitiousPlay(), NewtonKrylov()])
def test_a_map_that_leaves_the_numbers_stops(rule):
    found = iterate(lambda x: x * np.nan, np.ones(2), rule, lambda _: 1e-8)
    assert np.isnan(found.residual)
    assert found.sweeps == 1


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Picard(damping=0.0), r"damping must be in \(0, 1\]; was 0.0"),
        (lambda: Picard(damping=float("nan")), "damping must be a real number; was nan"),
        (lambda: Anderson(depth=0), "depth must be an integer of at least 1; was 0"),
        (lambda: Anderson(max_sweeps=1.5), "max_sweeps must be an integer of at least 1; was 1.5"),
        (lambda: Picard(max_steps=2), "max_steps must be an integer of at least 64; was 2"),
        (lambda: FictitiousPlay(weight=0.5), "weight must be at least 1; was 0.5"),
        (lambda: FictitiousPlay(weight=float("inf")), "weight must be finite; was inf"),
        (lambda: NewtonKrylov(max_directions=0), "max_directions must be an integer of at least 1; was 0"),
    ],
)
def test_nonsense_is_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
