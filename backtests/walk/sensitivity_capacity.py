"""At which size a pod's profit peaks and its Sharpe ratio has halved, with intervals from paired draws of sessions.

The gain per unit of size is taken to be quadratic in the logarithm of the size through the three sizes about the
largest profit; so profit K r(ln K) has its peak where r + r' = 0. Beyond the largest size nothing is known: what is
not reached there is told as not reached.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from backtests.evidence.bootstrap import CHUNK, automatic_block_length, stationary_rows

Floats = NDArray[np.float64]

CONFIDENCE = 0.95
NOT_REACHED, NONE = np.inf, 0.0
"""A size beyond the largest of the study; no size: no profit, or no positive ratio, anywhere."""


@dataclass(frozen=True, slots=True)
class SizeEstimate:
    """A size and its interval; infinity: beyond the largest size studied; 0: there is none."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Capacity:
    """Size at which the yearly profit is largest, and first size at which Sharpe is half of the smallest size's."""

    peak: SizeEstimate
    half_sharpe: SizeEstimate


def peak_size(sizes: Floats, rates: Floats) -> Floats:
    """(B,) sizes of the largest profit, size times rate, from mean `rates` (B, n) at rising `sizes` (n,).

    `NOT_REACHED` where profit still rises at the last size; `NONE` where no size has a profit. With two sizes the peak
    is one of them.
    """
    profits = sizes * rates
    best = profits.argmax(axis=1)
    rows, last = np.arange(rates.shape[0]), sizes.size - 1
    found = np.where(best == last, NOT_REACHED, sizes[best])
    if sizes.size > 2:
        logs = np.log(sizes)
        middle = np.clip(best, 1, last - 1)
        left, here, right = (rates[rows, middle + step] for step in (-1, 0, 1))
        back, ahead = logs[middle - 1] - logs[middle], logs[middle + 1] - logs[middle]
        slopes = (left - here) / back, (right - here) / ahead
        curve = (slopes[1] - slopes[0]) / (ahead - back)
        slope = slopes[0] - curve * back
        step = _turn(curve, slope + 2.0 * curve, here + slope)
        inside = (step > back) & (step < ahead)
        found = np.where(inside, np.exp(logs[middle] + np.where(inside, step, 0.0)), found)
    return np.where(profits[rows, best] > 0.0, found, NONE)


def _turn(a: Floats, b: Floats, c: Floats) -> Floats:
    """Where a x^2 + b x + c, the slope of profit, falls through 0; NaN where it does not."""
    square = b * b - 4.0 * a * c
    root = np.sqrt(np.where(square >= 0.0, square, np.nan))
    # the root with slope 2 a x + b = -root: 2 c / (root - b) loses no digits where b < 0, and holds for a = 0
    down = np.where(b < 0.0, root - b, 1.0)
    straight = np.where(b < 0.0, 2.0 * c / down, np.nan)
    safe = np.where(a != 0.0, a, 1.0)
    curved = np.where(a != 0.0, -(b + root) / (2.0 * safe), np.nan)
    return np.where(root > 0.0, np.where(b < 0.0, straight, curved), np.nan)


def half_size(sizes: Floats, sharpes: Floats) -> Floats:
    """(B,) first sizes at which the ratio (B, n), linear in ln size, is half of that at the smallest size.

    `NOT_REACHED` where it stays above; `NONE` where the smallest size has no positive ratio.
    """
    half = 0.5 * sharpes[:, :1]
    below = ~(sharpes > half)
    after = below.argmax(axis=1)
    rows, before = np.arange(sharpes.shape[0]), np.maximum(after - 1, 0)
    high, low = sharpes[rows, before], sharpes[rows, after]
    logs = np.log(sizes)
    drop = np.where(np.isfinite(low) & (high > low), high - low, np.nan)
    share = np.where(np.isnan(drop), 1.0, np.minimum((high - half[:, 0]) / drop, 1.0))
    found = np.exp(logs[before] + share * (logs[after] - logs[before]))
    found = np.where(below.any(axis=1), found, NOT_REACHED)
    return np.where(sharpes[:, 0] > 0.0, found, NONE)


def capacity(sizes: Floats, gains: Floats, *, draws: int, seed: int) -> Capacity:
    """The capacity from gains per unit of size (T, n) of the same T sessions at rising sizes (n,).

    Sessions are drawn by the stationary bootstrap, the same ones for every size, so that what sizes have in common
    cancels; blocks are as long as suits the smallest size's mean. Intervals hold the middle 95 % of the draws; their
    ends are draws, so that one may lie beyond the largest size.

    Raises
    ------
    ValueError
        When sizes do not rise, or are fewer than two.
    """
    if sizes.size < 2 or (np.diff(sizes) <= 0.0).any() or sizes[0] <= 0.0:
        raise ValueError(f"sizes must be at least two, positive and rising; were {sizes.tolist()}")
    peaks, halves = [], []
    for sums in drawn_sums(gains, automatic_block_length(gains[:, 0]), draws, seed):
        mean, ratio = _moments(*sums, gains.shape[0])
        peaks.append(peak_size(sizes, mean))
        halves.append(half_size(sizes, ratio))
    mean, ratio = _moments(gains.sum(axis=0)[None], (gains**2).sum(axis=0)[None], gains.shape[0])
    return Capacity(
        SizeEstimate(float(peak_size(sizes, mean)[0]), *_interval(np.concatenate(peaks))),
        SizeEstimate(float(half_size(sizes, ratio)[0]), *_interval(np.concatenate(halves))),
    )


def drawn_sums(series: Floats, block: float, draws: int, seed: int) -> Iterator[tuple[Floats, Floats]]:
    """Sums and sums of squares (B, n) of `series` (T, n) over drawn sessions, the draws in chunks."""
    rng = np.random.default_rng(seed)
    for start in range(0, draws, CHUNK):
        rows = stationary_rows(series.shape[0], block, min(CHUNK, draws - start), rng)
        count = np.zeros((rows.shape[0], series.shape[0]))
        np.add.at(count, (np.arange(rows.shape[0])[:, None], rows), 1.0)
        yield count @ series, count @ series**2


def _moments(total: Floats, squares: Floats, length: int) -> tuple[Floats, Floats]:
    """Means and mean over deviation (B, n); NaN where nothing moves."""
    mean = total / length
    deviation = np.sqrt(np.maximum(squares / length - mean**2, 0.0) * length / (length - 1))
    moved = deviation > 1e-7 * np.abs(mean) + 1e-300
    return mean, np.where(moved, mean / np.where(moved, deviation, 1.0), np.nan)


def _interval(drawn: Floats) -> tuple[float, float]:
    """Middle `CONFIDENCE` of the draws, its ends draws themselves."""
    ordered = np.sort(drawn)
    out = int(np.floor(0.5 * (1.0 - CONFIDENCE) * ordered.size))
    return float(ordered[out]), float(ordered[ordered.size - 1 - out])
