"""How sure a difference between two return series is: stationary bootstrap of the days that both share."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from backtests.evidence.statistics import SESSIONS_PER_YEAR

Floats = NDArray[np.float64]
DRAWS = 2000
CHUNK = 250


@dataclass(frozen=True, slots=True)
class BootstrapDifference:
    """A difference, its two-sided bootstrap interval, and the p-value of no difference.

    NaN where the difference does not exist (a series without dispersion).
    """

    estimate: float
    low: float
    high: float
    p_value: float


@dataclass(frozen=True, slots=True)
class Differences:
    """Annual differences from the benchmark in mean return and in Sharpe ratio; `block_length` in sessions."""

    mean: BootstrapDifference
    sharpe: BootstrapDifference
    block_length: float


def stationary_rows(length: int, block_length: float, draws: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """(draws, length) row numbers of the stationary bootstrap (Politis & Romano 1994).

    Blocks start at uniform rows, have geometric lengths of mean `block_length`, and wrap around the end.
    """
    starts = rng.integers(0, length, (draws, length))
    fresh = rng.random((draws, length)) < 1.0 / block_length
    fresh[:, 0] = True
    place = np.arange(length)
    begun = np.maximum.accumulate(np.where(fresh, place, 0), axis=1)
    return np.asarray((np.take_along_axis(starts, begun, axis=1) + place - begun) % length, dtype=np.int64)


def automatic_block_length(values: ArrayLike) -> float:
    """Block length of the stationary bootstrap that suits the mean of (T,) `values`.

    Politis & White (2004) with the correction of Patton, Politis & White (2009): (2 G^2 / D)^{1/3} T^{1/3} with
    G = sum lambda(k/M) |k| R(k), D = 2 (sum lambda(k/M) R(k))^2, lambda the flat-top window, and M twice the lag after
    which autocorrelations are insignificant. At least 1, at most min(3 sqrt(T), T/3).
    """
    series = np.asarray(values, dtype=np.float64)
    n = series.size
    centred = series - series.mean()
    variance = float(np.mean(centred**2))
    most = max(1.0, math.ceil(min(3.0 * math.sqrt(n), n / 3.0)))
    if variance <= 1e-28 * max(1.0, float(np.max(np.abs(series))) ** 2):
        return 1.0
    quiet = max(5, math.ceil(math.sqrt(math.log10(n))))
    lags = min(math.ceil(math.sqrt(n)) + quiet, n - 1)
    covariance = np.array([(centred[lag:] * centred[: n - lag]).sum() / n for lag in range(lags + 1)])
    bandwidth = min(2 * _last_significant_lag(np.abs(covariance[1:]) / variance, n, quiet), lags)
    k = np.arange(-bandwidth, bandwidth + 1)
    window = np.clip(2.0 * (1.0 - np.abs(k) / max(bandwidth, 1)), 0.0, 1.0)
    weighted = window * covariance[np.abs(k)]
    spread = 2.0 * weighted.sum() ** 2
    if spread <= 0.0:
        return most
    best = (2.0 * float(np.sum(weighted * np.abs(k))) ** 2 / spread) ** (1.0 / 3.0) * n ** (1.0 / 3.0)
    return float(min(max(best, 1.0), most))


def _last_significant_lag(correlation: Floats, n: int, quiet: int) -> int:
    """The smallest m >= 1 after which `quiet` autocorrelations in a row are below 2 sqrt(log10(n) / n)."""
    small = correlation < 2.0 * math.sqrt(math.log10(n) / n)
    for m in range(small.size - quiet + 1):
        if small[m : m + quiet].all():
            return max(m, 1)
    large = np.flatnonzero(~small)
    return int(large[-1]) + 1 if large.size else 1


def bootstrap_differences(
    returns: ArrayLike,
    benchmark: ArrayLike,
    risk_free: ArrayLike,
    *,
    block_length: float | None = None,
    draws: int = DRAWS,
    seed: int = 0,
    confidence: float = 0.95,
    periods_per_year: int = SESSIONS_PER_YEAR,
) -> Differences:
    """Annual differences of mean return and of Sharpe ratio from the benchmark, by stationary bootstrap of the days.

    Both series are drawn on the same days, so their dependence stays. The interval is the percentile interval; the
    p-value is the part of draws whose difference, re-centred at the null of none, is at least as large as the one
    observed (two-sided, (1 + count) / (1 + draws)).

    Parameters
    ----------
    returns, benchmark, risk_free : (T,) float64
        Simple returns on the same sessions.
    block_length : float, optional
        Mean block length in sessions; by default `automatic_block_length` of the difference of the returns.

    Raises
    ------
    ValueError
        When the series do not have the same finite sessions, or a setting is out of its range.
    """
    first, second, cash = (np.asarray(item, dtype=np.float64) for item in (returns, benchmark, risk_free))
    check_days(first, second, cash)
    if draws < 1 or not 0.0 < confidence < 1.0:
        raise ValueError(f"draws must be positive and confidence in (0, 1); were {draws} and {confidence}")
    block = automatic_block_length(first - second) if block_length is None else float(block_length)
    if not 1.0 <= block <= first.size:
        raise ValueError(f"block_length must be in [1, {first.size}] sessions; was {block}")
    excess = np.stack([first - cash, second - cash])
    observed = mean_and_sharpe(excess[:, None, :], periods_per_year)[:, 0]
    rng = np.random.default_rng(seed)
    drawn = np.empty((2, draws))
    for start in range(0, draws, CHUNK):
        rows = stationary_rows(first.size, block, min(CHUNK, draws - start), rng)
        drawn[:, start : start + rows.shape[0]] = mean_and_sharpe(excess[:, rows], periods_per_year)
    mean, sharpe = (difference_summary(observed[i], drawn[i], confidence) for i in range(2))
    return Differences(mean, sharpe, block)


def mean_and_sharpe(excess: Floats, periods_per_year: int) -> Floats:
    """(2, draws) annual differences of mean and Sharpe from (2, draws, T) excess returns of pod and benchmark."""
    sums = np.concatenate([excess.sum(axis=2), (excess**2).sum(axis=2)])
    return differences_of_moments(sums, excess.shape[2], periods_per_year)


def differences_of_moments(sums: Floats, length: int, periods_per_year: int) -> Floats:
    """The same from (4, draws) sums over `length` sessions: both series, then their squares."""
    mean, square = sums[:2] / length, sums[2:] / length
    deviation = np.sqrt(np.maximum(square - mean**2, 0.0) * length / (length - 1))
    rounding = 1e-7 * np.abs(mean) + 1e-14
    with np.errstate(divide="ignore", invalid="ignore"):
        sharpe = np.where(deviation > rounding, mean / deviation, np.nan)
    return np.stack([(mean[0] - mean[1]) * periods_per_year, (sharpe[0] - sharpe[1]) * math.sqrt(periods_per_year)])


def difference_summary(observed: float, drawn: Floats, confidence: float) -> BootstrapDifference:
    """Percentile interval and re-centred two-sided p-value of a difference; NaN where it does not exist."""
    if not (math.isfinite(observed) and np.isfinite(drawn).all()):
        return BootstrapDifference(float(observed), math.nan, math.nan, math.nan)
    low, high = np.quantile(drawn, [(1.0 - confidence) / 2.0, (1.0 + confidence) / 2.0])
    beyond = int(np.sum(np.abs(drawn - observed) >= abs(observed)))
    return BootstrapDifference(float(observed), float(low), float(high), (1 + beyond) / (1 + drawn.size))


def check_days(first: Floats, second: Floats, cash: Floats) -> None:
    """Raise when the three series are not finite on the same 3 or more sessions."""
    if not first.shape == second.shape == cash.shape or first.ndim != 1 or first.size < 3:
        raise ValueError(
            "returns, benchmark and risk_free must be one-dimensional on the same 3 or more sessions; "
            f"were {first.shape}, {second.shape} and {cash.shape}"
        )
    if not (np.isfinite(first).all() and np.isfinite(second).all() and np.isfinite(cash).all()):
        raise ValueError("returns, benchmark and risk_free must be finite in every session")
