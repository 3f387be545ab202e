"""The polynomial through the nodes around a step: exact to degree five, of order six, itself at the nodes."""

from __future__ import annotations

import numpy as np

from mfg_core.family.local_polynomial import interpolate_local, interpolate_local_columns, local_weights
from mfg_core.family.time_grid import bisect

UNEVEN = bisect(np.array([0.0, 1.0, 1.1, 1.15, 1.6, 2.4]))


def test_polynomials_of_degree_five_are_kept_on_uneven_grids():
    t = np.linspace(0, 2.4, 101)
    poly = np.polynomial.Polynomial([1.0, -2.0, 0.5, 0.3, -0.2, 0.1])
    rows = np.stack([poly(UNEVEN), 2 * poly(UNEVEN)], axis=1)
    np.testing.assert_allclose(interpolate_local(UNEVEN, rows, t), np.stack([poly(t), 2 * poly(t)], axis=1), atol=1e-12)
    np.testing.assert_allclose(
        interpolate_local_columns(UNEVEN, rows, t, np.ones(101, dtype=int)), 2 * poly(t), atol=1e-12
    )


def test_nodes_are_met_exactly_and_short_grids_lower_the_degree():
    rows = np.random.default_rng(1).normal(size=UNEVEN.size)
    np.testing.assert_array_equal(interpolate_local(UNEVEN, rows, UNEVEN), rows)
    short = np.array([0.0, 1.0, 2.0])
    assert local_weights(short, np.array([0.3]))[1].shape == (1, 3)
    np.testing.assert_allclose(interpolate_local(short, short**2, np.array([0.3])), [0.09], atol=1e-15)


def test_the_order_is_six():
    t = np.linspace(0, 3, 997)
    errors = [
        np.abs(interpolate_local(grid, np.sin(3 * grid), t) - np.sin(3 * t)).max()
        for grid in (np.linspace(0, 3, n + 1) for n in (16, 32, 64))
    ]
    slopes = np.log2(np.array(errors[:-1]) / errors[1:])
    assert np.all(slopes > 5.5), slopes
