"""Historical value at risk and expected shortfall of a sample of profits and losses."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

COUNT_TOLERANCE = 1e-12
"""a n counts as the integer just above it when it is that close below: 0.01 * 300 is 3, not 2.9999999999999996."""


def value_at_risk(profit: ArrayLike, confidence: float = 0.99, *, weights: ArrayLike | None = None) -> float:
    """The loss L(floor(a n) + 1), a = 1 - confidence, L(1) >= L(2) >= ...: the lower quantile of the losses.

    Parameters
    ----------
    profit : (n,) float64
        Profit (positive) or loss of each scenario, in money or as a return. NaN scenarios are left out (an instrument
        that did not exist then); without any other the answer is NaN.
    confidence : float
        In (0, 1), such as 0.99.
    weights : (n,) float64, optional
        Weights of the scenarios, >= 0, normalised here (`age_weights`); equal when absent. With weights the answer is
        the largest loss such that the losses at least as large weigh more than a.

    Returns
    -------
    float
        Positive = a loss. In a sample of gains only it is negative: minus the smallest gain of the tail.

    Notes
    -----
    The infimum of the x with P(loss <= x) >= confidence, numpy's "inverted_cdf" on the losses. The linear rule of
    numpy's default interpolates between scenarios and gives other numbers.
    """
    losses, weight, tail = _sorted_losses(profit, confidence, weights)
    return float(losses[_tail_count(weight, tail)]) if losses.size else np.nan


def expected_shortfall(profit: ArrayLike, confidence: float = 0.975, *, weights: ArrayLike | None = None) -> float:
    """Mean of the worst a n losses, a = 1 - confidence, the last one counted by its fraction.

    [sum_(i<=k) L(i) + (a n - k) L(k+1)] / (a n), k = floor(a n): the exact minimum of Rockafellar & Uryasev (2002,
    Journal of Banking & Finance 26, 1443). Arguments as in `value_at_risk`; never below it at the same confidence.
    """
    losses, weight, tail = _sorted_losses(profit, confidence, weights)
    if not losses.size:
        return np.nan
    k = _tail_count(weight, tail)
    inside = float(weight[:k].sum())
    value = losses[k]
    # Written as the quantile plus the mean excess, so that it cannot fall below the quantile by rounding.
    return float(value + weight[:k] @ (losses[:k] - value) / max(tail, inside))


def age_weights(count: int, decay: float = 0.98) -> NDArray[np.float64]:
    """Weights (count,) of scenarios in time order, newest last: decay^age (1 - decay)/(1 - decay^count).

    Boudoukh, Richardson & Whitelaw (1998, Risk 11, 64). They sum to 1.
    """
    if count < 1:
        raise ValueError(f"count must be at least 1; was {count}")
    if not 0 < decay < 1:
        raise ValueError(f"decay must be in (0, 1); was {decay}")
    powers = decay ** np.arange(count - 1, -1, -1.0)
    return np.asarray(powers / powers.sum())


def _sorted_losses(
    profit: ArrayLike, confidence: float, weights: ArrayLike | None
) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    """Losses, largest first, their weights in units of one scenario (they sum to n), and a n."""
    profits = np.asarray(profit, dtype=np.float64)
    if profits.ndim != 1:
        raise ValueError(f"profit must be one-dimensional; was of shape {profits.shape}")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must be in (0, 1); was {confidence}")
    present = ~np.isnan(profits)
    if np.isinf(profits).any():
        raise ValueError(f"profit must be finite or NaN; was {profits[np.isinf(profits)][0]}")
    if weights is None:
        weight = np.ones(int(present.sum()))
    else:
        given = np.asarray(weights, dtype=np.float64)
        if given.shape != profits.shape or not ((given >= 0) & (given < np.inf)).all():
            raise ValueError("weights must be finite, not negative, and of the shape of profit")
        weight = given[present]
        if weight.size and weight.sum() == 0:
            raise ValueError("weights must not all be zero on the scenarios that are present")
    losses = -profits[present]
    order = np.argsort(-losses, kind="stable")
    weight = weight[order]
    if weights is not None and weight.size:
        weight = weight * (weight.size / weight.sum())
    return losses[order], weight, (1.0 - confidence) * losses.size


def _tail_count(weight: NDArray[np.float64], tail: float) -> int:
    """Scenarios that lie wholly in the tail: k = floor(a n) for equal weights."""
    count = int(np.searchsorted(np.cumsum(weight), tail + COUNT_TOLERANCE * weight.size, side="right"))
    return min(count, weight.size - 1)
