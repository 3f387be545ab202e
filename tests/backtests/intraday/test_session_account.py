"""Gains by piece of time, fees by role, and the record of several sessions."""

from __future__ import annotations

import json
import runpy
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import ttest_1samp

from backtests.intraday.gains import block_gains, fill_fees, gain_of, per_session
from backtests.intraday.outcome import BY_CROSSING, BY_QUEUE
from backtests.intraday.quote_path import QuotePath
from backtests.intraday.session_account import account_record, session_account
from backtests.intraday.settings import Fees, FillSettings, OwnLimits, TradingSpan
from strategies.intraday.rule import Instrument

MADE = runpy.run_path(str(Path(__file__).with_name("outcomes.py")))
SECOND, SYN, outcome = MADE["SECOND"], MADE["SYN"], MADE["outcome"]
FEES = Fees(maker=-0.0001, taker=0.0003, maker_per_lot=0.02, taker_per_lot=0.05)


def exact_micros(fill, instrument):
    """The fee of a fill by fractions, half to even, in millionths."""
    _, _, _, tick, lots, maker, _, _ = fill
    rate, each = (FEES.maker, FEES.maker_per_lot) if maker else (FEES.taker, FEES.taker_per_lot)
    worth = tick * lots * Fraction(repr(instrument.tick_size)) * Fraction(repr(instrument.lot_size))
    return round(10**6 * (Fraction(repr(rate)) * worth + Fraction(repr(each)) * lots))


def session(fills, last, path, instrument=SYN):
    fees = sum(exact_micros(fill, instrument) for fill in fills) / 1e6
    return outcome(fills, last_mid2=last, fees=fees, instrument=instrument), path


DRAWN = st.lists(
    st.tuples(st.integers(0, 60), st.sampled_from((-1, 1)), st.integers(990, 1010), st.integers(1, 7), st.booleans()),
    max_size=25,
)


@given(DRAWN, st.integers(1, 40))
def test_the_pieces_of_a_session_sum_to_its_profit(drawn, blocks):
    fills = [
        (time * SECOND, n, side, tick, lots, int(maker), 2000, BY_QUEUE if maker else BY_CROSSING)
        for n, (time, side, tick, lots, maker) in enumerate(sorted(drawn))
    ]
    times = np.arange(0, 61, 3) * SECOND
    bid = 995 + (np.arange(times.size) * 7) % 5
    made, path = session(fills, 2001, QuotePath(times, bid, bid + 2, 2 * bid + 2, 60 * SECOND))
    gains = block_gains(made, path, 0, 60 * SECOND, FEES, blocks)
    assert gains.size == blocks
    assert gains.sum() == pytest.approx(made.profit, abs=1e-8)


def test_pieces_worked_by_hand():
    fills = [(2 * SECOND, 1, 1, 999, 2, 1, 2000, BY_QUEUE), (15 * SECOND, 2, -1, 1004, 1, 0, 2010, BY_CROSSING)]
    path = QuotePath(
        np.array([0, 12]) * SECOND, np.array([999, 1004]), np.array([1001, 1006]), np.array([2000, 2010]), 20 * SECOND
    )
    made = outcome(fills, last_mid2=2014)
    # two lots a tick below 1000; then 1000 -> 1005 with two lots, a crossing a tick below 1005, one lot to 1007
    np.testing.assert_allclose(block_gains(made, path, 0, 20 * SECOND, Fees(), 2), [2.0, 2 * 5 - 1 + 2])
    with pytest.raises(ValueError, match="fees must be those of the outcome"):
        block_gains(made, path, 0, 20 * SECOND, FEES, 2)


@given(DRAWN, st.sampled_from((0.01, 0.05, 5.0)), st.sampled_from((1.0, 100.0, 0.001)))
def test_fees_are_those_of_fractions_to_a_millionth(drawn, tick_size, lot):
    instrument = Instrument("A", "B", tick_size, lot)
    fills = [(t, n, s, k, lots, int(m), 2000, BY_QUEUE) for n, (t, s, k, lots, m) in enumerate(sorted(drawn))]
    micros = fill_fees(outcome(fills, last_mid2=2000, instrument=instrument).fills, instrument, FEES)
    exact = [exact_micros(fill, instrument) for fill in fills]
    # doubles may fall on the other side of a half
    assert np.abs(micros - np.array(exact, dtype=np.int64)).max(initial=0) <= 1


def covered(sessions, truth):
    """Whether the 95 % interval of a total holds the true one; `sessions`: arrays of pieces."""
    return not gain_of(*(one - truth / sum(one.size for one in sessions) for one in sessions)).verdict


def test_intervals_hold_the_truth_also_where_neighbouring_pieces_or_whole_sessions_go_together():
    """2,000 totals with 95 % intervals: 95 % hold the truth, give or take 0.5 %, but for how well r is known."""
    rng = np.random.default_rng(12)
    noise = rng.normal(size=(2000, 60))
    linked = noise.copy()
    for at in range(1, 60):
        linked[:, at] = 0.4 * linked[:, at - 1] + noise[:, at]
    shares = {}
    for name, values in (("independent", noise[:, :30]), ("linked", linked[:, 30:])):
        shares[name] = np.mean([covered([one + 0.7], 30 * 0.7) for one in values])
        shares[f"{name}, naive"] = np.mean([ttest_1samp(one, 0.0).pvalue > 0.05 for one in values])
    assert 0.94 < shares["independent"] < 0.975
    assert shares["linked"] > 0.91
    assert shares["linked, naive"] < 0.86  # so the test would see the naive error
    days = rng.normal(size=(800, 6, 30)) + rng.normal(size=(800, 6, 1))
    assert 0.93 < np.mean([covered(list(one), 0.0) for one in days]) < 0.97
    assert np.mean([ttest_1samp(one.ravel(), 0.0).pvalue > 0.05 for one in days]) < 0.6


def test_the_error_of_linked_pieces_by_hand():
    """Deviations 1, 1, -1, -1: products 1 - 1 + 1 of 3 pairs over squares 4 of 4, and 1/4: r = 1/3 + 1/4 = 7/12."""
    found = gain_of(np.array([4.0, 4.0, 2.0, 2.0]))
    assert found.correlation == pytest.approx(7 / 12)
    effective = 4 * (5 / 12) / (19 / 12)
    assert found.error == pytest.approx(4 * np.sqrt(4 / 3) / np.sqrt(effective))
    whole = gain_of(*(np.array([1.0, 1.0, day]) for day in (1.0, 2.0, 3.0, 4.0, 5.0)))
    assert (whole.pieces, whole.correlation) == (5, 0.0)
    assert whole.t == pytest.approx(ttest_1samp([3.0, 4.0, 5.0, 6.0, 7.0], 0.0).statistic)
    rising = gain_of(np.arange(3.0) ** 9)  # neighbours that say nothing apart from each other
    assert rising.verdict == 0


def test_the_error_of_a_total_is_students():
    pieces = np.random.default_rng(4).normal(0.3, 1.0, 40)
    pieces = np.ravel(np.column_stack([np.sort(pieces)[:20], np.sort(pieces)[:19:-1]]))  # low, high, low, high
    found, other = gain_of(pieces), ttest_1samp(pieces, 0.0)
    assert found.correlation == 0.0
    assert (found.t, found.p) == (pytest.approx(other.statistic), pytest.approx(other.pvalue))
    assert found.total == pytest.approx(pieces.sum())
    assert found.verdict == (1 if other.pvalue < 0.05 else 0)
    assert gain_of(np.full(9, -2.0)).verdict == 0  # nothing varies: nothing can be said
    assert gain_of(-np.abs(pieces)).verdict == -1


def test_sharpe_by_session_is_not_annualised():
    found = per_session([1.0, 3.0, 2.0])
    assert found["sharpe_per_session"] == pytest.approx(2.0)
    assert found["sharpe_error"] == pytest.approx(np.sqrt(3.0 / 3.0))
    assert np.isnan(per_session([1.0])["sharpe_per_session"])


def made_account(shift=0):
    fills = [
        (2 * SECOND, 1, 1, 999, 2, 1, 2000, BY_QUEUE),
        (15 * SECOND + shift, 2, -1, 1004, 1, 0, 2010, BY_CROSSING),
    ]
    path = QuotePath(
        np.array([0, 12]) * SECOND, np.array([999, 1004]), np.array([1001, 1006]), np.array([2000, 2010]), 20 * SECOND
    )
    made, path = session(fills, 2014, path)
    settings = FillSettings(fees=FEES, limits=OwnLimits(max_position=2))
    span = TradingSpan(start=0, stop=20 * SECOND, liquidate=18 * SECOND)
    return session_account(made, path, span, settings, horizons=(4.0,), blocks=4)


def test_a_record_is_json_and_its_money_adds_exactly():
    accounts = [made_account(), made_account(SECOND)]
    record = json.loads(json.dumps(account_record(accounts), allow_nan=False))
    parts = ("captured", "auctioned", "crossed", "liquidated", "inventory", "fees")
    assert sum(Decimal(record["money"][name]) for name in parts) == Decimal(record["money"]["profit"])
    assert Decimal(record["money"]["captured"]) == 2 * Decimal(4) * Decimal("0.005") * 100
    assert record["profit"]["total"] == pytest.approx(float(record["money"]["profit"]))
    assert record["profit"]["pieces"] == 8
    assert record["maker_fees"] + record["taker_fees"] == pytest.approx(-float(record["money"]["fees"]))
    assert record["inventory"]["at_limit"] == pytest.approx((13 + 14) / 40)
    assert record["positions_left"] == [1, 1]
    assert record["orders"]["fill_ratio_lots"] is None  # the outcomes were made without orders
