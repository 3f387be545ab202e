import empyrical
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from risk.drawdown import (
    DrawdownSpell,
    conditional_drawdown_at_risk,
    drawdown_path,
    drawdown_spells,
    maximum_drawdown,
    path_from_returns,
    ulcer_index,
)

HAND = np.array([100.0, 120, 90, 105, 130, 117, 143])

paths = st.lists(st.floats(0.01, 1e6), min_size=1, max_size=50).map(np.array)


def test_path_of_the_hand_oracle():
    np.testing.assert_allclose(drawdown_path(HAND), [0, 0, 0.25, 0.125, 0, 0.10, 0], atol=1e-15)
    assert maximum_drawdown(HAND) == 0.25


def test_spells_of_the_hand_oracle():
    first, second = drawdown_spells(HAND)
    assert first == DrawdownSpell(depth=0.25, peak=1, trough=2, recovery=4, under_water=2)
    assert (second.peak, second.trough, second.recovery, second.under_water) == (4, 5, 6, 1)


def test_conditional_drawdown_and_ulcer_of_the_hand_oracle():
    assert conditional_drawdown_at_risk(HAND, 0.8) == pytest.approx((0.25 + 0.4 * 0.125) / 1.4, rel=1e-12)
    assert ulcer_index(HAND) == pytest.approx(0.112202, abs=5e-7)


def test_a_loss_on_the_first_day_counts_from_the_starting_value():
    assert maximum_drawdown([100.0, 80.0, 90.0]) == pytest.approx(0.2)
    (spell,) = drawdown_spells([100.0, 80.0, 90.0])
    assert (spell.peak, spell.trough, spell.recovery) == (0, 1, None)


def test_maximum_drawdown_equals_empyricals():
    returns = np.array([np.nan, 1.0, 10.0, -4.0, 2.0, 3.0, 2.0, 1.0, -10.0]) / 100
    assert maximum_drawdown(path_from_returns(returns)) == pytest.approx(0.10, rel=1e-12)
    random = np.random.default_rng(1).normal(0, 0.02, 500)
    assert maximum_drawdown(path_from_returns(random)) == pytest.approx(-empyrical.max_drawdown(random), rel=1e-10)


@given(paths)
def test_maximum_drawdown_is_the_worst_pair_of_peak_and_later_trough(values):
    worst = max(1 - values[j] / values[i] for i in range(values.size) for j in range(i, values.size))
    assert maximum_drawdown(values) == pytest.approx(worst, abs=1e-12)


@given(paths, st.floats(0.001, 1e3))
def test_the_currency_does_not_matter(values, factor):
    np.testing.assert_allclose(drawdown_path(factor * values), drawdown_path(values), atol=1e-12)


@given(paths)
def test_spells_cover_exactly_the_closes_under_water_and_hold_the_depth(values):
    path = drawdown_path(values)
    spells = drawdown_spells(values)
    assert sum(spell.under_water for spell in spells) == (path > 0).sum()
    assert max((spell.depth for spell in spells), default=0.0) == path.max()
    for spell in spells:
        assert path[spell.peak] == 0
        assert path[spell.trough] == spell.depth
        assert spell.recovery is None or path[spell.recovery] == 0


@given(paths)
def test_the_worst_tenth_is_no_deeper_than_the_worst_and_no_shallower_than_the_mean(values):
    tail = conditional_drawdown_at_risk(values, 0.9)
    assert drawdown_path(values).mean() - 1e-12 <= tail <= maximum_drawdown(values) + 1e-12


def test_a_path_that_never_falls_has_none():
    for values in ([100.0], [100.0, 100.0, 101.0]):
        assert maximum_drawdown(values) == 0.0
        assert ulcer_index(values) == 0.0
        assert drawdown_spells(values) == ()


def test_more_than_everything_can_be_lost():
    assert maximum_drawdown([1.0, -0.5]) == 1.5


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([], "not empty"),
        ([[1.0]], "one-dimensional"),
        ([1.0, np.nan], "not at row 1"),
        ([0.0, 1.0], "begin above zero"),
    ],
)
def test_paths_that_make_no_sense_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        drawdown_path(values)
