"""Intensity shapes and their best quotes against closed forms, Lambert's function and a search."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar

from mfg_core import Exponential, IntensityShape, Logistic, Power
from mfg_core.market.intensity_shapes import best_distance, check_shape

SHAPES = [Exponential(), Logistic(), Logistic(2.0), Power(1.5), Power(20.0)]
WORTH = np.linspace(-60.0, 60.0, 481)


@pytest.mark.parametrize("shape", SHAPES)
def test_hazards_are_the_slopes_of_the_intensities(shape):
    y = np.linspace(max(shape.lowest + 0.1, -8.0), 8.0, 65)
    h = 1e-5
    slope = (np.log(shape.intensity(y + h)) - np.log(shape.intensity(y - h))) / (2.0 * h)
    # Central differences: h^2 times a third derivative, and rounding over h.
    np.testing.assert_allclose(-slope, shape.hazard(y), rtol=1e-6, atol=1e-9)
    curve = (shape.hazard(y + h) - shape.hazard(y - h)) / (2.0 * h)
    np.testing.assert_allclose(curve, shape.hazard_slope(y), rtol=1e-6, atol=1e-9)
    assert check_shape(shape) is shape


@dataclass(frozen=True)
class Copy:
    """A shape of the user's own with the numbers of another one: its best quote is found by Newton's method."""

    other: IntensityShape

    @property
    def lowest(self):
        return self.other.lowest

    def intensity(self, y):
        return self.other.intensity(y)

    def hazard(self, y):
        return self.other.hazard(y)

    def hazard_slope(self, y):
        return self.other.hazard_slope(y)


@pytest.mark.parametrize("shape", [Logistic(-1.0), Logistic(2.0), Power(1.5), Power(20.0)])
def test_the_closed_forms_are_what_newton_finds(shape):
    # Near a worth of -lowest the margin of Power is a difference of large numbers.
    np.testing.assert_allclose(best_distance(shape, WORTH), best_distance(Copy(shape), WORTH), rtol=1e-13, atol=1e-12)


@pytest.mark.parametrize("exponent", [1.5, 3.0, 20.0])
def test_the_power_quote_is_linear_until_no_quote_is_too_low(exponent):
    exact = np.where(exponent > WORTH, (1.0 - WORTH) * exponent / (exponent - 1.0), -exponent)
    np.testing.assert_allclose(best_distance(Power(exponent), WORTH), exact, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("risk_aversion", [0.0, 0.3, 5.0])
def test_the_exponential_quote_is_the_published_one(risk_aversion):
    # Guéant, Lehalle & Fernandez-Tapia (2013): log(1 + g/k)/g above what a fill is worth, 1/k at g = 0.
    margin = np.log1p(risk_aversion) / risk_aversion if risk_aversion else 1.0
    np.testing.assert_allclose(best_distance(Exponential(), WORTH, risk_aversion), margin - WORTH, rtol=1e-15)


def test_a_large_exponent_is_nearly_exponential():
    worth = np.linspace(-2.0, 2.0, 9)
    error = [np.abs(best_distance(Power(a), worth) - best_distance(Exponential(), worth)).max() for a in (1e3, 1e4)]
    # y = (1 - worth) a/(a - 1): off by (1 - worth)/(a - 1).
    np.testing.assert_allclose(error, [3.0 / 999.0, 3.0 / 9999.0], rtol=1e-9)


@settings(deadline=None, max_examples=60)
@given(
    shape=st.sampled_from(SHAPES),
    worth=st.floats(-5.0, 5.0),
    risk_aversion=st.sampled_from([0.0, 0.2, 3.0]),
)
def test_no_other_quote_earns_more(shape, worth, risk_aversion):
    best = float(best_distance(shape, np.array([worth]), risk_aversion)[0])
    if best == shape.lowest:
        assert worth >= -shape.lowest
        return

    def loss(y):
        money = y + worth
        utility = -np.expm1(-risk_aversion * money) / risk_aversion if risk_aversion else money
        return -float(shape.intensity(np.array([y]))[0] * utility)

    low, high = max(-worth, shape.lowest + 1e-9), best + 20.0
    search = minimize_scalar(loss, bounds=(low, high), method="bounded", options={"xatol": 1e-10})
    assert loss(best) <= search.fun + 1e-14 * abs(search.fun)


def test_a_users_shape_is_used_and_a_wrong_one_refused():
    @dataclass(frozen=True)
    class Mixed:
        """Half exponential, half twice as steep: patient and hurried customers."""

        wrong_hazard: float = 1.0
        lowest: float = -np.inf

        def intensity(self, y):
            return 0.5 * np.exp(-y) + 0.5 * np.exp(-2.0 * y)

        def hazard(self, y):
            return self.wrong_hazard * (np.exp(-y) + 2.0 * np.exp(-2.0 * y)) / (np.exp(-y) + np.exp(-2.0 * y))

        def hazard_slope(self, y):
            return -np.exp(-y) / (1.0 + np.exp(-y)) ** 2 * self.wrong_hazard

    assert isinstance(Mixed(), IntensityShape)
    assert check_shape(Mixed()) == Mixed()
    y = best_distance(Mixed(), np.array([0.3]))
    assert Mixed().hazard(y)[0] * (y[0] + 0.3) == pytest.approx(1.0, abs=1e-12)
    with pytest.raises(ValueError, match="hazard of intensity_shape must be minus its logarithmic slope"):
        check_shape(Mixed(wrong_hazard=2.0))
    with pytest.raises(TypeError, match="intensity_shape must have lowest, intensity, hazard and hazard_slope"):
        check_shape("logistic")
    with pytest.raises(ValueError, match=r"exponent must be finite and above 1; was 1\.0"):
        Power(1.0)
    with pytest.raises(ValueError, match="offset must be finite"):
        Logistic(np.inf)


def test_a_shape_with_two_best_quotes_is_refused():
    @dataclass(frozen=True)
    class Steps:
        """Flat, then a fall, then flat again: 1 + tanh fallen onto a floor."""

        lowest: float = -np.inf

        def intensity(self, y):
            return np.exp(-0.05 * y) * (1.05 - np.tanh(4.0 * y))

        def hazard(self, y):
            return 0.05 + 4.0 / np.cosh(4.0 * y) ** 2 / (1.05 - np.tanh(4.0 * y))

        def hazard_slope(self, y):
            h = 1e-6
            return (self.hazard(y + h) - self.hazard(y - h)) / (2.0 * h)

    with np.errstate(over="ignore"), pytest.raises(ValueError, match=r"h' > -h\^2, so that the best quote is unique"):
        check_shape(Steps())


@settings(deadline=None, max_examples=200)
@given(exponent=st.floats(1.001, 1e3))
def test_every_power_shape_passes_its_own_check(exponent):
    check_shape(Power(exponent))


@settings(deadline=None, max_examples=50)
@given(worth=st.floats(-200.0, 200.0), offset=st.floats(-5.0, 5.0), exponent=st.floats(1.1, 50.0))
def test_closed_forms_of_the_best_quote_satisfy_the_first_order_condition(worth, offset, exponent):
    at = np.array([worth])
    for shape in (Logistic(offset), Power(exponent)):
        if shape.lowest + worth >= 0:
            assert best_distance(shape, at) == shape.lowest
            continue
        y = best_distance(shape, at)
        # Rounding of y is that of worth; the margin y + worth is at least 1 under Logistic, and may be small else.
        margin = y + at
        slack = 1e-15 * (2.0 + abs(worth)) / margin * (10.0 + 10.0 * margin)
        assert abs(shape.hazard(y) * margin - 1.0) < 1e-12 + 4.0 * slack
