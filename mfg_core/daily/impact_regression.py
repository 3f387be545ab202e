"""Impact of net flow on price, from the cross-section of signed volume against return."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatTN = NDArray[np.float64]

MIN_DAYS = 60
"""Fewer days than this give no regression: the day-clustered error is not to be trusted."""

MIN_INSTRUMENTS = 10
"""A day with fewer instruments than this says nothing about the crowd and is left out."""

MAX_RELATIVE_VOLUME = 5.0
"""Sessions above this many usual volumes are left out: blocks and index days, far from where impact is linear."""


@dataclass(frozen=True, slots=True)
class ImpactRegression:
    """Slopes of r_it / sigma_i on (q_it, |m_t| q_it, c_it) within each day, and what they rest on.

    Attributes
    ----------
    slope : (3,) float64
        k0, k1 (volatilities per daily volume of net flow; per daily volume squared) and b, the mechanical slope on
        the close location c. NaN when the panel is too small or the regressors are collinear.
    covariance : (3, 3) float64
        Of the slopes, robust to heteroskedasticity and to any dependence within a day (Arellano 1987).
    crowd : (T,) float64
        m_t, cross-sectional mean of q; NaN on days that were left out.
    days, observations, dropped : int
        Days and (day, instrument) cells used; cells left out for their relative volume.
    """

    slope: NDArray[np.float64]
    covariance: NDArray[np.float64]
    crowd: NDArray[np.float64]
    days: int
    observations: int
    dropped: int


def close_location(high: FloatTN, low: FloatTN, close: FloatTN) -> FloatTN:
    """Where the close lies in the range, from -1 (low) to 1 (high): (2C - H - L)/(H - L); NaN without a range."""
    span = np.where(high > low, high - low, np.nan)
    return np.asarray((2.0 * close - high - low) / span)


def usual_volume(volume: FloatTN, window: int = 63, minimum: int = 21) -> FloatTN:
    """Geometric mean (T, N) of the volumes of the `window` sessions before each session (not its own).

    Sessions without a trade are left out; NaN where fewer than `minimum` traded. For the log-normal volumes of
    shares it is their median, at the cost of a cumulative sum.
    """
    traded = volume > 0
    logs = np.log(np.where(traded, volume, 1.0))
    width = min(window, len(volume))

    def sum_before(values: NDArray[np.float64]) -> FloatTN:
        total = np.zeros((len(values) + 1, values.shape[1]))
        np.cumsum(values, axis=0, out=total[1:])
        before = total[:-1].copy()
        before[width:] -= total[: len(values) - width]
        return before

    count = sum_before(traded.astype(np.float64))
    return np.exp(np.where(count >= minimum, sum_before(logs) / np.maximum(count, 1.0), np.nan))


def regress_impact(standardised_return: FloatTN, location: FloatTN, relative_volume: FloatTN) -> ImpactRegression:
    """Slopes of the day's return on signed flow, with day-clustered errors.

    Signed participation is q = location x relative_volume: the volume times the close location (the accumulation
    line of Chaikin), a proxy of net bought volume. It is circular: without any impact the close location
    of a random walk still goes with its return, and q alone then gets a slope of about 0.85. The location c
    itself is therefore a regressor too. The slope on q is what remains: how much further the price goes, at equal
    close location, when the volume was larger; it is zero for a random walk whose volume is independent of it.
    Each day's cross-sectional mean is removed from all (the market moves everything), so only that day enters.

    Parameters
    ----------
    standardised_return, location, relative_volume : (T, N) float64
        Return over the volatility, close location, volume over usual volume; NaN = absent.
    """
    q = location * relative_volume
    present = np.isfinite(standardised_return) & np.isfinite(q)
    ordinary = present & (relative_volume <= MAX_RELATIVE_VOLUME)
    dropped = int(present.sum() - ordinary.sum())
    counts = ordinary.sum(axis=1)
    used = counts >= MIN_INSTRUMENTS
    mask = (ordinary & used[:, None])[used]
    counts = counts[used].astype(np.float64)
    crowd = np.full(len(q), np.nan)
    days, observations = int(used.sum()), int(mask.sum())
    nothing = ImpactRegression(np.full(3, np.nan), np.full((3, 3), np.nan), crowd, days, observations, dropped)
    if days == 0:
        return nothing

    def within_day(values: FloatTN) -> FloatTN:
        filled = np.where(mask, values, 0.0)
        return np.asarray(np.where(mask, filled - (filled.sum(axis=1) / counts)[:, None], 0.0))

    m = np.where(mask, q[used], 0.0).sum(axis=1) / counts
    crowd[used] = m
    a = np.abs(m)
    q, c, y = within_day(q[used]), within_day(location[used]), within_day(standardised_return[used])
    qq, qc, cc, qy, cy = (np.einsum("ti,ti->t", *pair) for pair in ((q, q), (q, c), (c, c), (q, y), (c, y)))
    # The regressors q, a q and c differ from q and c by a factor of the day, so the day's moments hold everything.
    gram_by_day = np.array([[qq, a * qq, qc], [a * qq, a * a * qq, a * qc], [qc, a * qc, cc]])
    right_by_day = np.array([qy, a * qy, cy])
    gram = gram_by_day.sum(axis=2)
    scale = np.sqrt(np.diag(gram))
    if days < MIN_DAYS or not (scale > 0).all() or np.linalg.cond(gram / np.outer(scale, scale)) > 1e8:
        return nothing
    slope = np.linalg.solve(gram, right_by_day.sum(axis=1))
    score = right_by_day - np.einsum("ijt,j->it", gram_by_day, slope)
    bread = np.linalg.inv(gram)
    covariance = bread @ (score @ score.T) @ bread * days / (days - 1)
    return ImpactRegression(slope, covariance, crowd, days, observations, dropped)
