"""Realised variance of a price path: the plain sum, sparse and averaged, and the two-scale estimator.

Mids bounce by the spread and by the tick, so the plain sum over every change measures noise: with independent noise of
variance w, n returns add 2 n w. Zhang, Mykland and Ait-Sahalia (2005), "A tale of two time scales", JASA 100, average
the sums over subgrids of every K-th price and take off what the full grid says of the noise. Returns near both ends
are in fewer subgrids: about K / n of the variance would be missing without the area adjustment of Ait-Sahalia, Mykland
and Zhang (2011), "Ultra high frequency volatility estimation with dependent microstructure noise", J. Econometrics 160.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class TwoScales:
    """Result of `two_scale_variance`.

    Attributes
    ----------
    variance : float
        The estimate, free of the noise and unbiased; may be slightly negative where there is little but noise.
    plain : float
        Sum of squared log returns over every price.
    averaged : float
        Mean of the sums over the subgrids.
    noise : float
        Variance of the noise of one log price, (plain - variance) / (2 n); slightly negative where there is none.
    scale : int
        K, prices between two of a subgrid.
    """

    variance: float
    plain: float
    averaged: float
    noise: float
    scale: int


def realised_variance(prices: NDArray[np.float64], step: int = 1) -> float:
    """Sum of squared log returns over every `step`-th price; nan and prices not above 0 are left out first.

    Raises
    ------
    ValueError
        When `step` is not positive.
    """
    if step < 1:
        raise ValueError(f"step must be 1 or more; was {step}")
    steps = np.diff(_logs(prices)[::step])
    return float(steps @ steps)


def two_scale_variance(prices: NDArray[np.float64], scale: int | None = None) -> TwoScales:
    """The area-adjusted two-scale estimate: right on average for independent noise and constant volatility, at any n.

    With n returns, m = (n - K + 1) / K on average in a subgrid: n / ((K - 1) m) (averaged - m / n plain).

    Parameters
    ----------
    prices : (n + 1,) float64
        One per change; nan and prices not above 0 are left out first.
    scale : int, optional
        K. The best one is c n^(2/3) with a c that depends on the unknown noise; without a value it is n^(2/3), at
        least 2.

    Raises
    ------
    ValueError
        When there are fewer than 3 prices, or the scale is not from 2 to n.
    """
    logs = _logs(prices)
    n = logs.size - 1
    if n < 2:
        raise ValueError(f"prices must be 3 or more positive numbers; was {logs.size}")
    scale = max(2, min(n, round(n ** (2.0 / 3.0)))) if scale is None else scale
    if not 2 <= scale <= n:
        raise ValueError(f"scale must be from 2 to {n}, the number of returns; was {scale}")
    returns, long = np.diff(logs), logs[scale:] - logs[:-scale]
    plain, averaged = float(returns @ returns), float(long @ long) / scale
    share = (n - scale + 1) / scale / n
    variance = (averaged - share * plain) / ((scale - 1) * share)
    return TwoScales(variance, plain, averaged, (plain - variance) / (2 * n), scale)


def _logs(prices: NDArray[np.float64]) -> Floats:
    prices = np.asarray(prices, dtype=np.float64)
    logs: Floats = np.log(prices[prices > 0])
    return logs
