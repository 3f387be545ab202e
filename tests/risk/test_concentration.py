import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from risk.concentration import (
    effective_names,
    group_exposures,
    herfindahl,
    issuer_groups,
    largest_group,
    normalised_herfindahl,
)

HAND = np.array([0.4, 0.3, 0.2, 0.1])
books = st.lists(st.floats(-1e8, 1e8), min_size=1, max_size=30).map(np.array)


def test_the_hand_oracle():
    assert herfindahl(HAND) == pytest.approx(0.30, rel=1e-14)
    assert effective_names(HAND) == pytest.approx(1 / 0.3, rel=1e-14)
    assert normalised_herfindahl(HAND) == pytest.approx(0.0667, abs=5e-5)


@given(books, st.floats(1e-3, 1e3))
def test_neither_sign_nor_size_of_the_book_matters(weights, factor):
    assert herfindahl(-factor * weights) == pytest.approx(herfindahl(weights), rel=1e-12)


@given(books)
def test_the_index_lies_between_equal_positions_and_a_single_one(weights):
    index = herfindahl(weights)
    if np.abs(weights).max() > 0:
        assert 1 / weights.size - 1e-12 <= index <= 1 + 1e-12
        assert -1e-12 <= normalised_herfindahl(weights) <= 1 + 1e-12
        assert effective_names(weights) * index == pytest.approx(1.0)


def test_equal_positions_count_themselves_and_an_empty_book_counts_none():
    assert effective_names(np.full(7, -3.0)) == pytest.approx(7.0)
    assert herfindahl(np.zeros(3)) == effective_names(np.zeros(3)) == normalised_herfindahl(np.zeros(3)) == 0.0
    assert normalised_herfindahl([5.0]) == 1.0
    assert herfindahl([1e-320, 1e-320]) == pytest.approx(0.5)


def test_all_classes_of_an_issuer_count_together_long_and_short():
    tickers = ("PETR3", "VALE3", "PETR4", "ITUB4")
    groups, codes = issuer_groups(tickers)
    assert codes == ("ITUB", "PETR", "VALE")
    assert groups.tolist() == [1, 2, 1, 0]
    weights = np.array([0.10, 0.25, -0.18, 0.05])
    np.testing.assert_allclose(group_exposures(weights, groups), [0.05, 0.28, 0.25])
    group, exposure = largest_group(weights, groups)
    assert codes[group] == "PETR"
    assert exposure == pytest.approx(0.28)


def test_an_empty_book_has_no_largest_issuer():
    assert largest_group(np.zeros(2), np.array([0, 1])) == (-1, 0.0)
    assert largest_group(np.zeros(0), np.zeros(0, dtype=int)) == (-1, 0.0)


def test_books_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match="weights must be finite; was not at instrument 1"):
        herfindahl([0.5, np.nan])
    with pytest.raises(ValueError, match="weights must be one-dimensional"):
        herfindahl(np.ones((2, 2)))
    with pytest.raises(ValueError, match="groups must be integers"):
        group_exposures([0.5, 0.5], [0.0, 1.0])
    with pytest.raises(ValueError, match="groups must not be negative"):
        group_exposures([0.5, 0.5], [0, -1])
