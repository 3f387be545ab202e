"""The half-spread of every instrument: its quotes, else an estimate shrunk towards what the instruments share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mfg_core.daily.execution_prior import ExecutionPrior
from mfg_core.daily.spread_estimators import (
    edge_half_spread,
    pooled_moments,
    quoted_half_spread,
    roll_half_spread,
    shrunk_positive,
)

FloatTN = NDArray[np.float64]
FloatN = NDArray[np.float64]
Bars = tuple[FloatTN, FloatTN, FloatTN, FloatTN]

SPREAD_SOURCES = ("quotes", "bars", "closes", "pooled")
"""What `ExecutionCalibration.spread_source` numbers: closing quotes, EDGE, market-adjusted Roll, the others' mean."""

MIN_SESSIONS = 20
"""Returns, bars or quotes below which an instrument's own figure is not used."""

MAX_HALF_SPREAD = 0.5
"""Fraction of the price above which an estimated half-spread is cut off, with a note."""

MIN_ESTIMATES = 10
"""Instruments with an estimate of their own below which their common mean is not estimated."""


def calibrate_half_spread(
    arrays: dict[str, FloatTN], bars: Bars | None, sigma: FloatN, prior: ExecutionPrior, notes: list[str]
) -> tuple[FloatN, FloatN, NDArray[np.int8]]:
    """Quotes first; else bars or closes, shrunk in (half-spread/volatility)^2 towards what the instruments share.

    Daily bars cannot tell a spread of a few basis points from none, and to keep only the significant estimates would
    keep the largest errors: hence all are shrunk, by as much as they are noisy.

    Parameters
    ----------
    arrays : dict
        "close" and perhaps "bid" and "ask", (T, N).
    bars : (opening, high, low, close) or None
    sigma : (N,) float64
        Volatilities; NaN where there is none (that instrument gets the 90th percentile of the others).
    prior : ExecutionPrior
    notes : list of str
        Gets a sentence when quotes were missing.

    Returns
    -------
    half_spread, standard_error : (N,) float64
    source : (N,) int8
        Index into `SPREAD_SOURCES`.
    """
    n = sigma.size
    spread, error = np.full(n, np.nan), np.full(n, np.nan)
    source = np.full(n, SPREAD_SOURCES.index("pooled"), dtype=np.int8)
    if "bid" in arrays:
        quoted, quoted_error, count = by_blocks(quoted_half_spread, arrays["bid"], arrays["ask"])
        good = (count >= MIN_SESSIONS) & (quoted > 0)
        spread[good], error[good], source[good] = quoted[good], quoted_error[good], SPREAD_SOURCES.index("quotes")
    missing = np.flatnonzero(np.isnan(spread))
    if missing.size == 0:
        return spread, error, source
    if bars is not None:
        method, estimate, deviation = "bars", *by_blocks(edge_half_spread, *(prices[:, missing] for prices in bars))
    else:
        estimates = roll_half_spread(arrays["close"], market_adjusted=True)
        method, estimate, deviation = "closes", *(values[missing] for values in estimates)
    unit = sigma[missing] ** 2
    ratio = np.sign(estimate) * estimate**2 / unit
    ratio_error = 2.0 * np.abs(estimate) * deviation / unit
    own = np.isfinite(ratio) & (ratio_error > 0)
    quoted_ratio = ((spread / sigma) ** 2)[np.isfinite(spread) & np.isfinite(sigma)]
    mean, variance, towards = _shared_ratio(ratio[own], ratio_error[own], quoted_ratio, prior)
    shrunk, shrunk_error = shrunk_positive(ratio, ratio_error, mean, variance)
    spread[missing] = sigma[missing] * np.sqrt(shrunk)
    error[missing] = sigma[missing] * shrunk_error / (2.0 * np.sqrt(shrunk))
    source[missing[own]] = SPREAD_SOURCES.index(method)
    unknown = np.isnan(spread)
    spread[unknown] = np.quantile(spread[~unknown], 0.9)
    notes.append(
        f"{missing.size} of {n} half-spreads have no quotes: {int(own.sum())} estimated from {method} and shrunk "
        f"towards {towards}, {missing.size - int(own.sum())} pooled."
    )
    wide = spread > MAX_HALF_SPREAD
    if wide.any():
        notes.append(f"{int(wide.sum())} of {n} half-spreads above {MAX_HALF_SPREAD:.0%} of the price taken as that.")
    return np.minimum(spread, MAX_HALF_SPREAD), error, source


def _shared_ratio(ratio: FloatN, error: FloatN, quoted: FloatN, prior: ExecutionPrior) -> tuple[float, float, str]:
    """Mean and variance over instruments of (half-spread/volatility)^2, and in words what they are."""
    usual = prior.spread_per_volatility**2
    if ratio.size < MIN_ESTIMATES:
        if quoted.size < MIN_ESTIMATES:
            return usual, (2.0 * usual) ** 2, "the prior"
        return float(quoted.mean()), max(float(quoted.var(ddof=1)), (0.5 * usual) ** 2), "the mean of those with quotes"
    pooled, pooled_error, variance = pooled_moments(ratio, error)
    data, belief = pooled_error**-2, (2.0 * usual) ** -2
    mean = (data * pooled + belief * usual) / (data + belief)
    # Spreads differ from share to share even where the estimates are too noisy to show it.
    return mean, max(variance, (0.5 * usual) ** 2), "their mean"


def by_blocks(estimate: Callable[..., tuple[NDArray[Any], ...]], *columns: FloatTN) -> tuple[NDArray[Any], ...]:
    """`estimate` of all columns, made of blocks of columns: their temporaries stay in the processor's cache."""
    width, n = 64, columns[0].shape[1]
    parts = [estimate(*(x[:, start : start + width] for x in columns)) for start in range(0, max(n, 1), width)]
    return tuple(np.concatenate(part) for part in zip(*parts, strict=True))
