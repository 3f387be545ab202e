"""Settings of a simulation refuse what cannot be, with the argument and its value."""

from __future__ import annotations

import numpy as np
import pytest

from backtests.intraday.settings import Fees, FillSettings, Latency, OwnLimits, QueueModel, TradingSpan

FIVE = np.array([5], dtype=np.int64)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Latency(entry_ns=-1), "entry_ns must be a whole number from 0 on; was -1"),
        (lambda: Latency(response_ns=0.5), "response_ns must be a whole number"),
        (lambda: Latency("gamma"), "constant, sampled or recorded; was 'gamma'"),
        (lambda: Latency("sampled"), "at least one; had 0 and 0"),
        (lambda: Latency("sampled", entry=FIVE, response=-FIVE), "response of latency must be 0 or more; was -5"),
        (lambda: Latency("sampled", entry=FIVE.astype(float), response=FIVE), "entry of latency must be"),
        (
            lambda: Latency("recorded", times=np.array([2, 2]), entry=np.array([1, 1]), response=np.array([1, 1])),
            "must rise",
        ),
        (lambda: Fees(maker=float("nan")), "fee maker must be a finite number"),
        (lambda: Fees(taker=7.5), "a fraction of the value"),
        (lambda: OwnLimits(max_position=0), "max_position must be a whole number from 1 on; was 0"),
        (lambda: TradingSpan(5, 4, 5), "start < liquidate <= stop; had 5, 5 and 4"),
        (lambda: TradingSpan(1, 9, 8, liquidation="hold"), "cross or mark; was 'hold'"),
        (lambda: TradingSpan(1, 9, 8, phases=[(3, 5, 1), (4, 6, 2)]), r"number 1 was \(4, 6, 2\)"),
        (lambda: TradingSpan(1, 9, 8, phases=[(3, 5, 0)]), "phase 0 must be AUCTION, HALTED or CLOSED"),
        (lambda: QueueModel("fifo"), "pessimistic, probabilistic, exact, trade_through, assumed; was 'fifo'"),
        (lambda: FillSettings(sizes="half"), "sizes must be traded or whole; was 'half'"),
        (lambda: FillSettings(seed=-1), "seed must be a whole number from 0 on; was -1"),
    ],
)
def test_what_cannot_be_is_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()
