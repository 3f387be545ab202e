import doctest
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reports import formats, svg
from reports.formats import MINUS, MISSING, THIN_SPACE

FORMS = (
    formats.number,
    formats.percent,
    formats.basis_points,
    formats.significant,
    formats.money,
    formats.integer,
    formats.probability,
)


def read_back(text: str) -> float:
    return float(text.replace(MINUS, "-").replace(THIN_SPACE, "").rstrip("%"))


@pytest.mark.parametrize("module", [formats, svg])
def test_the_examples_in_the_docstrings_hold(module):
    assert doctest.testmod(module).failed == 0


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("value", [None, math.nan, math.inf, -math.inf, "text", True, np.float64("nan")])
def test_what_is_not_a_finite_number_is_not_available(form, value):
    assert form(value) == MISSING


@given(st.floats(-1e12, 1e12))
def test_a_number_reads_back_within_half_of_its_last_digit(value):
    assert abs(read_back(formats.number(value, 2)) - value) <= 0.005 * (1 + 1e-9) + 1e-12 * abs(value)
    assert abs(read_back(formats.percent(value, 1)) - 100 * value) <= 0.05 * (1 + 1e-9) + 1e-12 * abs(100 * value)


@given(st.floats(allow_nan=False, allow_infinity=False).filter(lambda v: v == 0 or 1e-300 < abs(v) < 1e300))
def test_significant_digits_read_back_within_half_a_per_cent(value):
    assert read_back(formats.significant(value, 3)) == pytest.approx(value, rel=5.01e-3)


def test_a_loss_that_rounds_to_nothing_has_no_sign():
    assert formats.percent(-1e-9, 1) == "0.0%"
    assert formats.percent(-1e-9, 1, signed=True) == "0.0%"


def test_money_names_its_size():
    assert formats.money(2.5e9) == "2.50\N{NO-BREAK SPACE}bn"
    assert formats.money(-1234.0) == f"{MINUS}1.2\N{NO-BREAK SPACE}k"


def test_missing_dates_are_not_available():
    assert formats.day(np.datetime64("NaT", "D")) == MISSING
    assert formats.day(None) == MISSING
