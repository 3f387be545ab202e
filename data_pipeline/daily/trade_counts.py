"""The number of trades, freed of its wrap at 100,000: TOTNEG has five digits and drops the sixth.

PETR4 shows 80 trades for 91.8 million shares on 2023-01-17; with 100,080 the trade size is that of the days around
it. The rule compares two logs with their medians over the share's last `MEDIAN_ROWS` rows, unwrapped before: the R$
value per trade, which does not jump with splits, and the count itself. Of the counts TOTNEG + 100,000 k that are not
above the shares traded, it takes the one with the least

    (log value per trade - median)^2 / SIZE_SPREAD^2 + (log count - median)^2 / COUNT_SPREAD^2,

provided that this is lower than for k = 0 by `MIN_GAIN` (twenty times as likely for normal deviations), and that the
share has a past of `MIN_ROWS` rows with a median of `MIN_COUNT` trades: one block trade in a quiet share is not a
hundred thousand trades. Each row uses rows before it and itself, nothing later.
"""

from __future__ import annotations

import bisect
import math
from collections import deque
from typing import Final

import numpy as np
from numpy.typing import NDArray

from data_pipeline.daily.spot import SpotRows

WRAP: Final = 100_000
MEDIAN_ROWS: Final = 20
MIN_ROWS: Final = 5
MIN_COUNT: Final = 10_000
MIN_GAIN: Final = 2.0 * math.log(20.0)
SIZE_SPREAD: Final = 0.3
"""Typical spread of a liquid share's daily log value per trade about its median of 20 days (2023)."""
COUNT_SPREAD: Final = 0.5
"""The same for the log number of trades."""

RULE_UNWRAPPED: Final = "trade_counts_unwrapped"


def unwrap_trade_counts(rows: SpotRows) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return the trade count of each row, and which rows were unwrapped, both (R,)."""
    counts = rows.trade_count_mod.copy()
    for instrument in range(len(rows.instruments)):
        span = rows.rows_of(instrument)
        # a share whose residue never reaches the threshold has no median above it
        if counts[span].max(initial=0) >= MIN_COUNT:
            counts[span] = unwrap_series(rows.trade_count_mod[span], rows.quantity[span], rows.traded_value[span])
    return counts, counts != rows.trade_count_mod


def unwrap_series(
    residue: NDArray[np.int64], quantity: NDArray[np.int64], traded_value: NDArray[np.float64]
) -> NDArray[np.int64]:
    """Return the trade counts of one instrument's rows in order of session.

    Parameters
    ----------
    residue : (R,) int64
        TOTNEG, the count modulo 100,000.
    quantity : (R,) int64
        Shares traded: no trade is below one share.
    traded_value : (R,) float64
        R$.
    """
    counts = residue.astype(np.int64).copy()
    sizes = _RollingMedian()
    levels = _RollingMedian()
    for row in range(counts.size):
        if sizes.count >= MIN_ROWS and levels.median() >= math.log(MIN_COUNT):
            counts[row] = _likeliest_count(
                int(residue[row]), int(quantity[row]), traded_value[row], sizes.median(), levels.median()
            )
        if counts[row] > 0 and traded_value[row] > 0.0:
            sizes.add(math.log(traded_value[row] / counts[row]))
            levels.add(math.log(counts[row]))
    return counts


def _likeliest_count(residue: int, quantity: int, traded_value: float, usual_size: float, usual_count: float) -> int:
    if traded_value <= 0.0:
        return residue
    largest = min(quantity, int(2.0 * traded_value / math.exp(usual_size)) + WRAP)
    costs = {
        count: ((math.log(traded_value / count) - usual_size) / SIZE_SPREAD) ** 2
        + ((math.log(count) - usual_count) / COUNT_SPREAD) ** 2
        for count in range(residue, largest + 1, WRAP)
        if count > 0
    }
    best = min(costs, key=lambda count: (costs[count], count), default=residue)
    return best if costs.get(residue, math.inf) - costs.get(best, math.inf) > MIN_GAIN else residue


class _RollingMedian:
    """Median of the last MEDIAN_ROWS values, kept sorted."""

    def __init__(self) -> None:
        self._order: deque[float] = deque()
        self._sorted: list[float] = []

    @property
    def count(self) -> int:
        return len(self._sorted)

    def add(self, value: float) -> None:
        if len(self._order) == MEDIAN_ROWS:
            del self._sorted[bisect.bisect_left(self._sorted, self._order.popleft())]
        self._order.append(value)
        bisect.insort(self._sorted, value)

    def median(self) -> float:
        middle = len(self._sorted) // 2
        if len(self._sorted) % 2:
            return self._sorted[middle]
        return 0.5 * (self._sorted[middle - 1] + self._sorted[middle])
