"""Volatility of each instrument per sqrt(session), from closes or from daily bars."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FloatTN = NDArray[np.float64]
FloatN = NDArray[np.float64]


def close_to_close_volatility(close: FloatTN) -> tuple[FloatN, FloatN, NDArray[np.int64]]:
    """Standard deviation of the log returns of each column (N,), its standard error, and the number of returns.

    Returns over consecutive sessions with both closes. The error is sqrt(m4 - m2^2) / (2 sigma sqrt(n)), right for
    heavy tails but not for volatility that clusters (then it is too small). NaN below two returns.
    """
    r = np.diff(np.log(close), axis=0)
    valid = np.isfinite(r)
    count = valid.sum(axis=0)
    variance, error = _mean_and_error((r - _mean(r, valid, count)) ** 2, valid, count)
    # Dividing by n - 1 instead of n: the mean was estimated.
    scale = np.where(count > 1, count / np.maximum(count - 1, 1), np.nan)
    return *_root(variance * scale, error * scale), count


def yang_zhang_volatility(
    opening: FloatTN, high: FloatTN, low: FloatTN, close: FloatTN
) -> tuple[FloatN, FloatN, NDArray[np.int64]]:
    """Volatility of each column (N,) from daily bars, its standard error, and the number of sessions used.

    Yang & Zhang (2000, Journal of Business 73, 477): sigma^2 = V_overnight + k V_open-to-close + (1 - k) V_RS, with
    V_RS of Rogers & Satchell (1991) and k = 0.34 / (1.34 + (n + 1)/(n - 1)). It does not depend on the drift, holds
    with overnight gaps, and needs far fewer sessions than closes do; it is too low for shares with few trades a day,
    whose true highs and lows are not seen.

    Parameters
    ----------
    opening, high, low, close : (T, N) float64
        Prices on one basis; a session counts when its bar and the close before are there.
    """
    o, h, l, c = (np.log(prices) for prices in (opening, high, low, close))  # noqa: E741
    overnight = o[1:] - c[:-1]
    up, down, day = h[1:] - o[1:], l[1:] - o[1:], c[1:] - o[1:]
    valid = np.isfinite(overnight + up + down + day)
    count = valid.sum(axis=0)
    n = np.where(count > 1, count, np.nan)
    k = 0.34 / (1.34 + (n + 1) / (n - 1))
    unbiased = n / (n - 1)
    rogers_satchell = up * (up - day) + down * (down - day)
    summand = (
        unbiased * (overnight - _mean(overnight, valid, count)) ** 2
        + k * unbiased * (day - _mean(day, valid, count)) ** 2
        + (1 - k) * rogers_satchell
    )
    return *_root(*_mean_and_error(summand, valid, count)), count


def _mean(values: FloatTN, valid: NDArray[np.bool_], count: NDArray[np.int64]) -> FloatN:
    total = np.where(valid, values, 0.0).sum(axis=0)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _mean_and_error(values: FloatTN, valid: NDArray[np.bool_], count: NDArray[np.int64]) -> tuple[FloatN, FloatN]:
    mean = _mean(values, valid, count)
    return mean, np.sqrt(_mean((values - mean) ** 2, valid, count) / np.maximum(count, 1))


def _root(variance: FloatN, error: FloatN) -> tuple[FloatN, FloatN]:
    root = np.sqrt(np.maximum(variance, 0.0))
    return root, error / (2.0 * np.where(root > 0, root, np.nan))
