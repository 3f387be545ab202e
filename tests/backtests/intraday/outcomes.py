"""Outcomes made by hand, and a ledger in plain Python that knows nothing of the code under test."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import numpy as np

from backtests.intraday.outcome import FILL_DTYPE, NO_MID, ORDER_DTYPE, SAMPLE_DTYPE, SessionOutcome
from strategies.intraday.rule import Instrument

SYN = Instrument("SYN", "X", tick_size=0.01, lot_size=100.0)
SECOND = 1_000_000_000


def outcome(fills, *, last_mid2, instrument=SYN, fees=0.0, orders=(), samples=(), quoted=(0, 0, 0, 0), counts=None):
    """Fills as (time, order, side, tick, lots, maker, mid2, cause); the rest of the outcome follows from them."""
    rows, position, cash = np.zeros(len(fills), dtype=FILL_DTYPE), 0, 0
    for row, (time, order, side, tick, lots, maker, mid2, cause) in zip(rows, fills, strict=True):
        position += side * lots
        cash -= side * lots * tick
        for name, value in zip(
            FILL_DTYPE.names,
            (time, time, order, side, tick, lots, maker, NO_MID if mid2 is None else mid2, position, cause),
            strict=True,
        ):
            row[name] = value
    return SessionOutcome(
        instrument=instrument,
        fills=rows,
        orders=np.array(list(orders), dtype=ORDER_DTYPE),
        samples=np.array(list(samples), dtype=SAMPLE_DTYPE),
        cash_ticks=cash,
        fees=fees,
        position=position,
        last_mid2=NO_MID if last_mid2 is None else last_mid2,
        quoted_ns=np.array(quoted, dtype=np.int64),
        counts=counts or {},
    )


def decimal_ledger(made, fills):
    """Cash and worth of a list of fills in money, one by one, in decimals: the profit before fees."""
    price = [Decimal(repr(made.instrument.tick_size)) * tick for _, _, _, tick, *_ in fills]
    unit = Decimal(repr(made.instrument.lot_size)) * Decimal(repr(made.instrument.multiplier))
    cash, held = Decimal(0), 0
    for paid, (_, _, side, _, lots, *_) in zip(price, fills, strict=True):
        cash -= side * lots * paid * unit
        held += side * lots
    worth = Decimal(0)
    if held:
        worth = held * Decimal(repr(made.instrument.tick_size)) * Decimal(int(made.last_mid2)) / 2 * unit
    return Fraction(cash + worth)
