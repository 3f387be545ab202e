"""The parts of a profit: by hand, against a ledger in decimals, and as an identity of any outcome."""

from __future__ import annotations

import runpy
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backtests.intraday.outcome import BY_AUCTION, BY_CROSSING, BY_LIQUIDATION, BY_QUEUE, NO_MID
from backtests.intraday.profit import PARTS, fill_mids, profit_split, total, total_money
from backtests.intraday.quote_path import QuotePath
from strategies.intraday.rule import Instrument

MADE = runpy.run_path(str(Path(__file__).with_name("outcomes.py")))
SECOND, SYN, outcome, decimal_ledger = (MADE[name] for name in ("SECOND", "SYN", "outcome", "decimal_ledger"))


def path_of(*rows, until=None):
    """A path from rows of (seconds, bid, ask)."""
    times, bid, ask = (np.array(column, dtype=np.int64) for column in zip(*rows, strict=True))
    return QuotePath(times * SECOND, bid, ask, bid + ask, SECOND * (rows[-1][0] if until is None else until))


DAY = path_of((0, 99, 101), (2, 100, 102), (10, 97, 99), (30, 98, 100), until=60)
# mids 100, 101, 98, 99 from seconds 0, 2, 10, 30
BY_HAND = [
    (1 * SECOND, 1, 1, 99, 3, 1, 200, BY_QUEUE),  # buys 3 a tick below the mid of 100
    (5 * SECOND, 2, -1, 102, 1, 1, 202, BY_QUEUE),  # sells 1 a tick above 101
    (12 * SECOND, 3, -1, 97, 1, 0, 196, BY_CROSSING),  # crosses: sells at the bid, a tick below 98 ...
    (12 * SECOND, 3, -1, 96, 1, 0, 196, BY_CROSSING),  # ... and one deeper
    (40 * SECOND, 4, 1, 100, 2, 0, 198, BY_LIQUIDATION),  # ends 2 long, having paid a tick through 99
]


def test_the_parts_of_a_session_worked_by_hand():
    made = outcome(BY_HAND, last_mid2=200, fees=1.25)
    split = profit_split(made, DAY, horizons=(4.0, 30.0))
    # half ticks x lots: 3 lots at 2 half ticks and 1 lot at 2
    assert split.captured == 3 * 2 + 1 * 2
    assert split.crossed == -(2 + 4)
    assert split.liquidated == -2 * 2
    assert split.walked == -2
    # positions 3, 2, 1, 0, 2 over mids 200 -> 202 -> 196 -> 196 -> 198 -> 200
    assert split.inventory == 3 * 2 + 2 * -6 + 0 + 0 + 2 * 2
    # 4 s on: the buy's mid rose by a tick, the sale's is still 101; 30 s on both stand at 99
    assert split.adverse == (3 * 2 + 0, 3 * -2 + 1 * 4)
    # crossings: 16 s and 42 s show 98 and 99; the liquidation's 44 s and, after the end, the last mid 100
    assert split.followed == (0 + 2 * 0, -2 * 2 + 2 * 2)
    assert split.held == (-2 - 6, -2 + 2)
    assert split.gross == 2 * made.cash_ticks + made.position * 200
    assert (split.position, split.marked) == (2, 400)


def test_money_is_exact_and_its_parts_are_the_profit():
    made = outcome(BY_HAND, last_mid2=200, fees=1.25)
    money = profit_split(made, DAY).money()
    assert money["captured"] == Decimal("4.00")  # 8 half ticks of half a cent, 100 shares
    assert money["fees"] == Decimal("-1.25")
    assert sum(money[name] for name in PARTS) == money["profit"]
    assert Fraction(money["profit"]) == decimal_ledger(made, BY_HAND) - Fraction("1.25")
    assert float(money["profit"]) == pytest.approx(made.profit, abs=1e-9)


FILLS = st.lists(
    st.tuples(
        st.integers(0, 50),
        st.sampled_from((-1, 1)),
        st.integers(-30, 30),
        st.integers(1, 9),
        st.booleans(),
        st.one_of(st.none(), st.integers(19_900, 20_100)),
        st.integers(1, 6),
    ),
    max_size=30,
)
MIDS = st.lists(st.tuples(st.integers(0, 5), st.integers(9_900, 10_000), st.integers(1, 30)), max_size=30)
SIZES = st.sampled_from((0.01, 0.1, 0.05, 5.0, 1e-7, 0.3))


@given(FILLS, MIDS, st.integers(19_800, 20_200), SIZES, SIZES, st.integers(-10_000_000, 10_000_000))
def test_any_outcome_splits_into_parts_that_sum_to_a_decimal_ledgers_profit(drawn, steps, last, tick, lot, micros):
    fills, time = [], 0
    for row, (gap, side, away, lots, maker, mid2, cause) in enumerate(drawn):
        time += gap * SECOND // 10
        fills.append((time, row // 2, side, 10_000 + away, lots, int(maker), mid2, cause))
    rows, at = [(0, 9_990, 10_010)], 0
    for gap, bid, spread in steps:
        at += gap
        rows.append((at, bid, bid + spread))
    made = outcome(fills, last_mid2=last, instrument=Instrument("A", "B", tick, lot, 0.5), fees=micros / 1e6)
    split = profit_split(made, path_of(*rows), horizons=(0.5, 7.0))
    assert split.gross == 2 * made.cash_ticks + made.position * last
    money = split.money()
    assert Fraction(money["profit"]) == decimal_ledger(made, fills) - Fraction(micros, 10**6)
    for horizon in ("0.5s", "7s"):
        parts = [money[f"{name}_{horizon}"] for name in ("adverse", "followed", "held")]
        assert total(parts) == money["inventory"]


@given(FILLS, st.integers(19_800, 20_200))
def test_without_a_position_left_the_last_mid_does_not_enter(drawn, last):
    fills = [(row, row, s, 10_000 + a, n, int(m), mid, c) for row, (_, s, a, n, m, mid, c) in enumerate(drawn)]
    held = sum(fill[2] * fill[4] for fill in fills)
    if held:
        side = -1 if held > 0 else 1
        fills.append((len(fills), len(fills), side, 10_000, abs(held), 0, None, BY_LIQUIDATION))
    some, other, none = (profit_split(outcome(fills, last_mid2=mid)) for mid in (last, last + 40, None))
    assert some == other == none


def test_sessions_add_up_to_the_millionth():
    splits = [
        profit_split(outcome(BY_HAND, last_mid2=200, fees=0.1, instrument=Instrument("A", "B", tick, 3.0)), DAY)
        for tick in (0.01, 0.3, 1e-7)
    ]
    found = total_money(splits)
    assert found["fees"] == Decimal("-0.3")
    assert found["profit"] == sum(split.money()["profit"] for split in splits)
    assert found["profit"] == sum(found[name] for name in PARTS)


def test_splits_of_other_horizons_are_not_added():
    made = outcome(BY_HAND, last_mid2=200)
    with pytest.raises(ValueError, match="horizons"):
        total_money([profit_split(made, DAY), profit_split(made)])


def test_a_fill_without_a_mid_is_measured_against_the_last_one_known():
    fills = [(1, 1, 1, 100, 1, 1, None, BY_QUEUE), (2, 2, 1, 100, 1, 1, 206, BY_QUEUE),
             (3, 3, -1, 101, 1, 1, None, BY_AUCTION)]  # fmt: skip
    mids, missing = fill_mids(outcome(fills, last_mid2=200))
    assert (mids.tolist(), missing) == ([200, 206, 206], 2)
    mids, missing = fill_mids(outcome(fills, last_mid2=200), path_of((0, 90, 94)))
    assert (mids.tolist(), missing) == ([184, 206, 184], 2)


def test_an_outcome_that_contradicts_its_fills_is_refused():
    made = outcome(BY_HAND, last_mid2=200)
    wrong = outcome(BY_HAND[:-1], last_mid2=200)
    with pytest.raises(ValueError, match="cash_ticks must be"):
        profit_split(replace(made, cash_ticks=made.cash_ticks + 1))
    with pytest.raises(ValueError, match=r"outcome\.position must be that of its fills, 0; was 2"):
        profit_split(replace(wrong, position=2))
    with pytest.raises(ValueError, match="no mid to mark it"):
        profit_split(replace(made, last_mid2=NO_MID))
    with pytest.raises(ValueError, match="horizons must be"):
        profit_split(made, DAY, horizons=(5.0, 1.0))


def test_no_fills_no_profit():
    split = profit_split(outcome([], last_mid2=None), DAY)
    assert (split.gross, split.adverse, split.fills) == (0, (0, 0, 0, 0), 0)
    assert profit_split(outcome([], last_mid2=200, instrument=SYN), DAY).money()["profit"] == 0
