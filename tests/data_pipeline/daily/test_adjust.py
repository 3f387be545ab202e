"""Factors of splits and cash: worked numbers, grouping, and what is left to the view."""

from __future__ import annotations

import numpy as np
import pytest

from data_pipeline.daily.adjust import (
    compute_factors,
    group_events,
    price_multiplier,
    window_price_factor,
    window_share_factor,
    window_total_return,
)
from data_pipeline.daily.panel import CorporateEvent
from data_pipeline.errors import DataError


def event(
    ex: int, known: int | None = None, shares: float = 1.0, cash: float = 0.0, tax: float = 0.0
) -> CorporateEvent:
    return CorporateEvent(0, ex, ex if known is None else known, shares, cash, tax, "x", 1.0, "test")


CLOSE = np.array([[10.0], [11.0], [5.5], [5.0], [4.8]])


def test_a_two_for_one_split_halves_the_prices_before_it_and_doubles_the_volumes():
    factors = compute_factors(CLOSE, [event(2, shares=2.0)])
    np.testing.assert_array_equal(window_price_factor(factors, 0, 4).ravel(), [0.5, 0.5, 1.0, 1.0, 1.0])
    np.testing.assert_array_equal(window_share_factor(factors, 0, 4).ravel(), [2.0, 2.0, 1.0, 1.0, 1.0])
    assert factors.total_return[2, 0] == 0.0, "11.00 became two times 5.50"


def test_a_dividend_scales_the_prices_before_it_by_the_gross_drop_and_pays_net():
    factors = compute_factors(CLOSE, [event(3, cash=0.55, tax=0.15)])
    np.testing.assert_allclose(window_price_factor(factors, 1, 4).ravel(), [0.9, 0.9, 1.0, 1.0], rtol=1e-15)
    assert factors.total_return[3, 0] == pytest.approx((5.0 + 0.55 * 0.85) / 5.5 - 1.0, rel=1e-15)
    np.testing.assert_array_equal(window_share_factor(factors, 1, 4), np.ones((4, 1)))


def test_dividend_and_jcp_of_one_session_add_before_they_scale():
    events = (event(2, cash=1.0), event(2, cash=2.0, tax=0.15), event(2, shares=2.0))
    assert price_multiplier(events, 10.0) == pytest.approx(0.7 / 2.0, rel=1e-15)


def test_the_reference_is_the_last_close_even_when_the_share_did_not_trade_the_day_before():
    close = np.array([[8.0], [np.nan], [np.nan], [7.0]])
    (group,) = group_events([event(3, cash=2.0)], close)
    assert group.reference == 8.0
    factors = compute_factors(close, [event(3, cash=2.0)])
    assert window_price_factor(factors, 0, 3)[0, 0] == 0.75


def test_events_in_one_silence_follow_each_other():
    """10.00, two for one, then 1.00 on each new share: 4.00 without either is what the share was worth."""
    close = np.array([[10.0], [np.nan], [np.nan], [4.0], [4.4]])
    events = [event(1, shares=2.0), event(2, cash=1.0)]
    factors = compute_factors(close, events)
    adjusted = (close * window_price_factor(factors, 0, 4)).ravel()
    assert adjusted[0] == pytest.approx(4.0, rel=1e-15)
    np.testing.assert_array_equal(adjusted[3:], [4.0, 4.4])
    # with a trade between them the later event has a close of its own
    traded = close.copy()
    traded[1] = 4.8
    first, second = group_events(events, traded)
    assert (first.reference, second.reference) == (10.0, 4.8)


def test_an_event_unknown_at_the_next_one_leaves_its_reference_alone():
    close = np.array([[10.0], [np.nan], [np.nan], [4.0], [4.4]])
    late, later = (group_events([event(1, known=known, cash=2.0), event(2, cash=1.0)], close) for known in (4, 9))
    assert [group.reference for group in late] == [10.0, 10.0]
    assert [group.reference for group in later] == [10.0, 10.0]
    (_, prompt) = group_events([event(1, known=2, cash=2.0), event(2, cash=1.0)], close)
    assert prompt.reference == 8.0


def test_cash_before_the_first_trade_adjusts_nothing():
    close = np.array([[np.nan], [np.nan], [7.0]])
    factors = compute_factors(close, [event(1, cash=2.0)])
    np.testing.assert_array_equal(window_price_factor(factors, 0, 2), np.ones((3, 1)))


def test_a_group_with_one_late_event_is_applied_part_by_part():
    events = [event(2, shares=2.0), event(2, known=4, cash=1.1)]
    factors = compute_factors(CLOSE, events)
    assert len(factors.late) == 1
    np.testing.assert_array_equal(factors.price_growth.ravel(), [1.0, 1.0, 0.5, 0.5, 0.5])
    assert window_price_factor(factors, 0, 3)[1, 0] == 0.5
    assert window_price_factor(factors, 0, 4)[1, 0] == pytest.approx((1.0 - 1.1 / 11.0) / 2.0, rel=1e-15)
    assert window_total_return(factors, CLOSE, 2, 3)[0, 0] == 0.0
    assert window_total_return(factors, CLOSE, 2, 4)[0, 0] == pytest.approx((2 * 5.5 + 1.1) / 11.0 - 1.0, rel=1e-15)


def test_no_event_leaves_every_bit_alone():
    factors = compute_factors(CLOSE, [])
    np.testing.assert_array_equal(window_price_factor(factors, 0, 4) * CLOSE, CLOSE)


def test_factors_are_read_only():
    with pytest.raises(ValueError, match="read-only"):
        compute_factors(CLOSE, []).price_growth[0, 0] = 2.0


def test_cash_of_the_whole_price_is_refused():
    with pytest.raises(DataError, match="must be below the last close"):
        compute_factors(CLOSE, [event(2, cash=11.0)])
