"""Half the bid-ask spread of each instrument: from quotes, from daily bars, or from closes alone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_ndtr

FloatTN = NDArray[np.float64]
FloatN = NDArray[np.float64]


def median_and_error(values: FloatTN) -> tuple[FloatN, FloatN, NDArray[np.int64]]:
    """Median of each column (N,), its standard error, and the number of entries; NaN entries are left out.

    The error is that of the median of a normal sample, 1.2533 s / sqrt(n), with s = interquartile range / 1.349, so
    outliers do not blow it up. A column without entries has NaN for both.
    """
    ordered = np.sort(values.T, axis=1)
    count = np.isfinite(ordered).sum(axis=1)
    rows = np.arange(len(ordered))

    def quantile(level: float) -> FloatN:
        place = level * np.maximum(count - 1, 0)
        low = np.floor(place).astype(np.int64)
        high = np.ceil(place).astype(np.int64)
        lower, upper = ordered[rows, low], ordered[rows, high]
        return np.asarray(lower + (place - low) * (upper - lower))

    if ordered.shape[1] == 0:
        nothing = np.full(len(ordered), np.nan)
        return nothing, nothing.copy(), count
    spread = (quantile(0.75) - quantile(0.25)) / 1.349
    return quantile(0.5), 1.2533 * spread / np.sqrt(np.maximum(count, 1)), count


def quoted_half_spread(bid: FloatTN, ask: FloatTN) -> tuple[FloatN, FloatN, NDArray[np.int64]]:
    """Median of (ask - bid)/(ask + bid) over the sessions, its standard error, and the number of quotes used.

    Parameters
    ----------
    bid, ask : (T, N) float64
        Closing quotes. A pair counts when both are positive and ask >= bid; zero, absent and crossed quotes do not.

    Notes
    -----
    A quote at the close is one moment of the session, usually a wide one: it is a proxy of what a fill pays.
    """
    # Written so that NaN compares false without a warning.
    good = (bid > 0) & (ask >= bid)
    total = np.where(good, bid + ask, np.nan)
    return median_and_error((ask - bid) / total)


def edge_half_spread(opening: FloatTN, high: FloatTN, low: FloatTN, close: FloatTN) -> tuple[FloatN, FloatN]:
    """Half of the effective spread (N,) estimated from daily bars, and its standard error; negative = pure noise.

    The estimator EDGE of Ardia, Guidotti & Kroencke (2024, Journal of Financial Economics 161, 103916), half of their
    signed root: the squared spread is a variance-weighted mean of two products of returns whose expectation
    contains only the bounce between bid and ask, corrected for the share of sessions in which the open or close
    is itself the high or the low. Chosen over Corwin & Schultz (2012) because it is unbiased with few trades and
    with overnight gaps.

    Parameters
    ----------
    opening, high, low, close : (T, N) float64
        Prices on one basis; NaN where the instrument did not trade. A session counts when its bar and that of the
        session before are complete.

    Returns
    -------
    half_spread, standard_error : (N,) float64
        The error is by the delta method from the sample variance of the summands; NaN where fewer than three
        sessions count, or all prices are equal. The squared spread is two standard errors above zero where
        half_spread > 4 standard_error.
    """
    o, h, l, c = (np.log(prices) for prices in (opening, high, low, close))  # noqa: E741
    m = 0.5 * (h + l)
    o1, h1, l1, c1, m1 = o[:-1], h[:-1], l[:-1], c[:-1], m[:-1]
    o, h, l, m = o[1:], h[1:], l[1:], m[1:]  # noqa: E741
    valid = np.isfinite(o + h + l + c[1:] + o1 + h1 + l1 + c1)
    count = valid.sum(axis=0)

    def mean(values: NDArray[np.float64] | NDArray[np.bool_]) -> FloatN:
        total = np.where(valid, values, 0.0).sum(axis=0)
        return np.where(count > 0, total / np.maximum(count, 1), np.nan)

    moved = ((h != l) | (l != c1)) & valid
    p_moved = mean(moved)
    p_open = mean(moved & (o != h)) + mean(moved & (o != l))
    p_close = mean(moved & (c1 != h1)) + mean(moved & (c1 != l1))
    usable = (moved.sum(axis=0) >= 2) & (p_open > 0) & (p_close > 0)
    p_moved, p_open, p_close = (np.where(usable, p, np.nan) for p in (p_moved, p_open, p_close))

    def centred(returns: FloatTN) -> FloatTN:
        return np.asarray(returns - mean(returns) / p_moved * moved)

    d1, d3, d5 = centred(m - o), centred(m - c1), centred(o - c1)
    x1 = -4.0 / p_open * d1 * (o - m1) - 4.0 / p_close * d3 * (c1 - m1)
    x2 = -4.0 / p_open * d1 * (o - c1) - 4.0 / p_close * d5 * (c1 - m1)
    e1, e2 = mean(x1), mean(x2)
    v1, v2 = mean((x1 - e1) ** 2), mean((x2 - e2) ** 2)
    total = np.where(v1 + v2 > 0, v1 + v2, np.nan)
    x = (v2 * x1 + v1 * x2) / total
    return _root_and_error(0.25 * mean(x), 0.25 * np.sqrt(mean((x - mean(x)) ** 2) / np.maximum(count, 1)))


MIN_CROSS_SECTION = 10
"""Returns in a session below which their median is not taken for the market's."""


def roll_half_spread(close: FloatTN, *, market_adjusted: bool = False) -> tuple[FloatN, FloatN]:
    """Half of the effective spread (N,) from closes alone, sqrt(-cov(r_t, r_(t-1))), and its standard error.

    Roll (1984, Journal of Finance 39, 1127). Where the covariance is positive the answer is minus the root: no
    spread can be read off. NaN where fewer than three pairs of returns exist.

    With `market_adjusted` each session's median return over the instruments is taken off first (where there are
    `MIN_CROSS_SECTION` of them). A market that falls one day and recovers the next puts the same covariance into
    every instrument, which is no spread of any of them, and which no averaging over instruments removes: in the
    windows that hold March 2020 it reads as a hundred basis points on the most liquid shares of B3.
    """
    r = np.diff(np.log(close), axis=0)
    if market_adjusted:
        r = r - _median_return(r)
    now, before = r[1:], r[:-1]
    valid = np.isfinite(now + before)
    count = np.where(valid.sum(axis=0) >= 3, valid.sum(axis=0), np.nan)

    def mean(values: FloatTN) -> FloatN:
        return np.asarray(np.where(valid, values, 0.0).sum(axis=0) / count)

    x = -(now - mean(now)) * (before - mean(before))
    return _root_and_error(mean(x), np.sqrt(mean((x - mean(x)) ** 2) / count))


def _median_return(r: FloatTN) -> FloatTN:
    """Median over the instruments of each session's return, (T, 1); 0 in sessions with too few of them."""
    enough = np.isfinite(r).sum(axis=1) >= MIN_CROSS_SECTION
    median = np.zeros((len(r), 1))
    median[enough, 0] = np.nanmedian(r[enough], axis=1)
    return median


def pooled_moments(estimate: FloatN, error: FloatN) -> tuple[float, float, float]:
    """Mean, its standard error, and variance between instruments of what noisy estimates measure.

    The moment method of DerSimonian & Laird (1986, Controlled Clinical Trials 7, 177).

    `estimate` and its standard `error` are finite, (k,), k >= 2, error > 0. The variance is 0 when the estimates
    differ by no more than their errors.
    """
    weight = error**-2.0
    mean = float(weight @ estimate / weight.sum())
    excess = float(weight @ (estimate - mean) ** 2) - (estimate.size - 1)
    between = max(0.0, excess / float(weight.sum() - (weight @ weight) / weight.sum()))
    weight = 1.0 / (error**2 + between)
    return float(weight @ estimate / weight.sum()), float(weight.sum() ** -0.5), between


def shrunk_positive(estimate: FloatN, error: FloatN, mean: float, variance: float) -> tuple[FloatN, FloatN]:
    """Mean and standard deviation (N,) of a positive quantity: a normal prior, a noisy estimate, cut off at zero.

    NaN estimates leave the prior alone. The mean of the cut-off normal is m + s phi(m/s)/Phi(m/s).
    """
    precision = np.where(np.isfinite(estimate) & (error > 0), error, np.inf) ** -2.0
    total = precision + 1.0 / variance
    m = (np.where(precision > 0, estimate, 0.0) * precision + mean / variance) / total
    s = total**-0.5
    # Far below zero phi/Phi cancels against m/s; its expansion in s/m does not.
    z = m / s
    near = np.maximum(z, -50.0)
    hazard = np.exp(-0.5 * near**2 - 0.5 * np.log(2 * np.pi) - log_ndtr(near))
    deviation = s * np.sqrt(np.maximum(1.0 - hazard * (hazard + near), 0.0))
    far = -s / np.minimum(z, -50.0)
    return np.where(z < -50.0, far, m + s * hazard), np.where(z < -50.0, far, deviation)


def _root_and_error(square: FloatN, error: FloatN) -> tuple[FloatN, FloatN]:
    root = np.sqrt(np.abs(square))
    slope = np.where(root > 0, root, np.nan)
    return np.sign(square) * root, error / (2.0 * slope)
