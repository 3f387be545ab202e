"""The update rules on maps whose fixed points are known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mfg_core.fixed_point import Anderson, Picard, iterate


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


def test_a_map_that_leaves_the_numbers_stops():
    found = iterate(lambda x: x * np.nan, np.ones(2), Anderson(), lambda _: 1e-8)
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
    ],
)
def test_nonsense_is_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
