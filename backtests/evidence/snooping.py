"""Whether the best of many trials beats a benchmark at all, once the search for it is counted."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from backtests.evidence.bootstrap import CHUNK, DRAWS, automatic_block_length, stationary_rows

Floats = NDArray[np.float64]
FEWEST_SESSIONS = 10
_COLUMNS = 64


@dataclass(frozen=True, slots=True, eq=False)
class Snooping:
    """Tests of "no trial has a larger mean return than the benchmark".

    Attributes
    ----------
    best : int
        Column with the largest statistic.
    statistic : float
        Hansen's max_k sqrt(T) d_k / w_k, at least 0.
    lower, consistent, upper : float
        p-values of Hansen's test of superior predictive ability: losers left out, losers left out when they are clear,
        losers taken as equals. lower <= consistent <= upper; `consistent` is the one to report.
    reality_check : float
        p-value of White's reality check: not studentised, losers as equals.
    adjusted_p_values : (N,) float64
        By trial, p-value of not beating the benchmark, step-down adjusted for all others (Romano & Wolf 2005): those at
        or below 5 % survive a family-wise error of 5 %.
    block_length : float
        Mean block of the bootstrap, in sessions.
    draws : int
    """

    best: int
    statistic: float
    lower: float
    consistent: float
    upper: float
    reality_check: float
    adjusted_p_values: Floats
    block_length: float
    draws: int

    def survivors(self, size: float = 0.05) -> tuple[int, ...]:
        """Columns that beat the benchmark with a family-wise error of `size`."""
        return tuple(int(j) for j in np.flatnonzero(self.adjusted_p_values <= size))


def superior_predictive_ability(
    returns: ArrayLike,
    benchmark: ArrayLike,
    *,
    block_length: float | None = None,
    draws: int = DRAWS,
    seed: int = 0,
) -> Snooping:
    """White's reality check, Hansen's test and the trials that survive it, from one stationary bootstrap.

    Parameters
    ----------
    returns : (T, N) float64
        Returns per session of all N trials, one column each.
    benchmark : (T,) float64
        Returns of the benchmark: a pod's, or cash.
    block_length : float, optional
        Mean block in sessions; by default the mean over the trials of `automatic_block_length` of their differences.
    draws, seed : int

    Returns
    -------
    Snooping
        p-values are (1 + number of draws at least as large) / (1 + draws).

    Raises
    ------
    ValueError
        When the sessions differ or are fewer than 10, a value is not finite, or a trial's difference from the
        benchmark is a constant other than zero. A trial that equals the benchmark counts and does not beat it.

    Notes
    -----
    d_k: mean difference of trial k. White (2000, "A reality check for data snooping", Econometrica 68) compares
    max sqrt(T) d_k with the law of max sqrt(T) (d*_k - d_k). Hansen (2005, "A test for superior predictive ability",
    J. Business & Economic Statistics 23) divides by w_k, the standard deviation of sqrt(T) d*_k under the same
    bootstrap (Politis & Romano 1994, eq. 1 of Hansen's appendix), and centres only at trials with
    d_k >= -sqrt(2 ln ln T) w_k / sqrt(T) (consistent), at positive d_k only (lower) or at all (upper). Cost: T N draws.
    """
    difference = _differences(returns, benchmark)
    length, trials = difference.shape
    block = _mean_block(difference) if block_length is None else float(block_length)
    if not 1.0 <= block <= length:
        raise ValueError(f"block_length must be in [1, {length}] sessions; was {block}")
    if draws < 1:
        raise ValueError(f"draws must be positive; was {draws}")
    mean = difference.mean(axis=0)
    deviation = np.sqrt(bootstrap_variance(difference, block))
    dead = np.ptp(difference, axis=0) <= 1e-14 * max(float(np.abs(difference).max()), 1e-300)
    if (deviation[~dead] == 0.0).any():
        raise ValueError(f"block_length of {block} sessions leaves the bootstrap no variance; give a shorter one")
    scale = np.where(dead, 1.0, deviation)
    root = math.sqrt(length)
    ratio = np.where(dead, 0.0, root * mean / scale)
    centred = resampled_means(difference - mean, block, draws, seed)
    centred[:, dead] = 0.0
    studentised = root * centred / scale
    statistic = max(float(ratio.max()), 0.0)
    clear_loser = ratio < -math.sqrt(2.0 * math.log(math.log(length)))

    def p_value(shift: Floats) -> float:
        # a trial that is not centred keeps its negative mean
        return _exceeding(np.maximum((studentised + shift).max(axis=1), 0.0), statistic)

    plain = _exceeding(root * centred.max(axis=1), root * float(np.where(dead, 0.0, mean).max()))
    return Snooping(
        best=int(np.argmax(ratio)),
        statistic=statistic,
        lower=p_value(np.minimum(ratio, 0.0)),
        consistent=p_value(np.where(clear_loser, ratio, 0.0)),
        upper=p_value(np.zeros(trials)),
        reality_check=plain,
        adjusted_p_values=_step_down(ratio, studentised),
        block_length=block,
        draws=draws,
    )


def resampled_means(values: Floats, block_length: float, draws: int, seed: int) -> Floats:
    """(draws, N) means of (T, N) values over stationary bootstrap draws of the sessions, the same for all columns."""
    from backtests.evidence.bootstrap_kernels import count_rows, weighted_sums

    length, columns = values.shape
    rng = np.random.default_rng(seed)
    tiles = [np.ascontiguousarray(values[:, at : at + _COLUMNS]) for at in range(0, columns, _COLUMNS)]
    out = np.empty((draws, columns))
    for start in range(0, draws, CHUNK):
        rows = stationary_rows(length, block_length, min(CHUNK, draws - start), rng)
        counts = np.empty(rows.shape)
        count_rows(rows, counts)
        for place, tile in enumerate(tiles):
            sums = np.empty((rows.shape[0], tile.shape[1]))
            weighted_sums(counts, tile, sums)
            at = place * _COLUMNS
            out[start : start + rows.shape[0], at : at + tile.shape[1]] = sums / length
    return out


def bootstrap_variance(values: Floats, block_length: float) -> Floats:
    """(N,) variance of sqrt(T) times the mean of (T, N) values under the stationary bootstrap, in closed form.

    sum over lags i of k(i) R(i), R the sample autocovariance and k(i) = (1 - i/T) q^i + (i/T) q^(T - i) with
    q = 1 - 1/block_length (Politis & Romano 1994, lemma 1).
    """
    length = values.shape[0]
    centred = values - values.mean(axis=0)
    spectrum = np.abs(np.fft.rfft(centred, 2 * length, axis=0)) ** 2
    covariance = np.fft.irfft(spectrum, 2 * length, axis=0)[:length] / length
    lag = np.arange(length)[:, None]
    stay = 1.0 - 1.0 / block_length
    weight = (1.0 - lag / length) * stay**lag + lag / length * stay ** (length - lag)
    weight[1:] *= 2.0
    return np.asarray(np.maximum((weight * covariance).sum(axis=0), 0.0))


def _differences(returns: ArrayLike, benchmark: ArrayLike) -> Floats:
    matrix, base = np.asarray(returns, dtype=np.float64), np.asarray(benchmark, dtype=np.float64)
    if matrix.ndim != 2 or matrix.shape[1] < 1 or base.shape != matrix.shape[:1]:
        raise ValueError(
            f"returns must be (sessions, trials) and benchmark (sessions,); were {matrix.shape} and {base.shape}"
        )
    if matrix.shape[0] < FEWEST_SESSIONS:
        raise ValueError(f"returns must have at least {FEWEST_SESSIONS} sessions; had {matrix.shape[0]}")
    if not (np.isfinite(matrix).all() and np.isfinite(base).all()):
        raise ValueError("returns and benchmark must be finite in every session")
    difference = np.ascontiguousarray(matrix - base[:, None])
    size = 1e-14 * np.maximum(np.abs(matrix).max(axis=0), float(np.abs(base).max()))
    constant = (np.ptp(difference, axis=0) <= size) & (np.abs(difference).max(axis=0) > size)
    if constant.any():
        raise ValueError(f"column {int(np.argmax(constant))} of returns differs from benchmark by a constant")
    return difference


def _mean_block(difference: Floats) -> float:
    return float(np.mean([automatic_block_length(column) for column in difference.T]))


def _exceeding(drawn: Floats, observed: float) -> float:
    return float((1 + np.count_nonzero(drawn >= observed)) / (1 + drawn.size))


def _step_down(ratio: Floats, studentised: Floats) -> Floats:
    """Step-down p-values: each trial against the largest draw of those that are not better than it."""
    order = np.argsort(-ratio, kind="stable")
    largest = np.maximum.accumulate(studentised[:, order[::-1]], axis=1)[:, ::-1]
    p = (1 + np.count_nonzero(largest >= ratio[order], axis=0)) / (1 + studentised.shape[0])
    adjusted = np.empty(ratio.size)
    adjusted[order] = np.maximum.accumulate(p)
    return adjusted
