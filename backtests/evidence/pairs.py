"""Every pod against every other one: differences on the same days, with p-values adjusted for all the pairs."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from backtests.evidence.bootstrap import (
    CHUNK,
    DRAWS,
    Differences,
    automatic_block_length,
    check_days,
    difference_summary,
    differences_of_moments,
    mean_and_sharpe,
)
from backtests.evidence.haircut import adjusted_p_values
from backtests.evidence.statistics import SESSIONS_PER_YEAR

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class PairDifference:
    """First pod less second pod.

    Attributes
    ----------
    first, second : str
    found : Differences
        Annual differences of mean return and Sharpe ratio with intervals and plain p-values.
    mean_adjusted, sharpe_adjusted : float
        p-values adjusted by Holm for all pairs (of the one measure); NaN where the difference does not exist.
    """

    first: str
    second: str
    found: Differences
    mean_adjusted: float
    sharpe_adjusted: float


def pairwise_differences(
    returns: Mapping[str, Floats],
    risk_free: Floats,
    *,
    draws: int = DRAWS,
    seed: int = 0,
    confidence: float = 0.95,
    periods_per_year: int = SESSIONS_PER_YEAR,
    only_with: str | None = None,
) -> list[PairDifference]:
    """Differences of all pairs of pods, in the order of `returns`, by paired stationary bootstrap of the days.

    Each pair has its own automatic block length and the numbers of `bootstrap_differences`; the random numbers are
    drawn once for all pairs. Cost: pairs x draws x sessions. With `only_with` the pairs that this pod is part of are
    all that is tested, and all that the adjustment counts.

    Parameters
    ----------
    returns : mapping of (T,) float64
        Simple returns by pod on the same sessions.
    risk_free : (T,) float64
    """
    names = list(returns)
    cash = np.asarray(risk_free, dtype=np.float64)
    series = {name: np.asarray(returns[name], dtype=np.float64) for name in names}
    for name in names:
        check_days(series[name], cash, cash)
    pairs = [pair for pair in itertools.combinations(names, 2) if only_with is None or only_with in pair]
    if not pairs:
        return []
    blocks = [automatic_block_length(series[first] - series[second]) for first, second in pairs]
    excess = {name: series[name] - cash for name in names}
    drawn = _drawn(pairs, excess, blocks, draws, seed)
    found = []
    for place, (first, second) in enumerate(pairs):
        observed = mean_and_sharpe(np.stack([excess[first], excess[second]])[:, None, :], periods_per_year)[:, 0]
        samples = differences_of_moments(drawn[place], cash.size, periods_per_year)
        mean, sharpe = (difference_summary(observed[i], samples[i], confidence) for i in range(2))
        found.append(Differences(mean, sharpe, blocks[place]))
    mean_adjusted = _holm([item.mean.p_value for item in found])
    sharpe_adjusted = _holm([item.sharpe.p_value for item in found])
    return [
        PairDifference(first, second, item, float(mean), float(sharpe))
        for (first, second), item, mean, sharpe in zip(pairs, found, mean_adjusted, sharpe_adjusted, strict=True)
    ]


def _drawn(
    pairs: list[tuple[str, str]], excess: Mapping[str, Floats], blocks: list[float], draws: int, seed: int
) -> Floats:
    """(pairs, 4, draws) sums of both series over the drawn sessions, then of their squares.

    The random numbers are those of `stationary_rows`, chunk by chunk.
    """
    from backtests.evidence.bootstrap_kernels import pair_sums

    length = next(iter(excess.values())).size
    rng = np.random.default_rng(seed)
    sums = np.empty((len(pairs), 4, draws))
    for start in range(0, draws, CHUNK):
        count = min(CHUNK, draws - start)
        starts, uniforms = rng.integers(0, length, (count, length)), rng.random((count, length))
        for place, (first, second) in enumerate(pairs):
            out = np.empty((4, count))
            pair_sums(starts, uniforms, 1.0 / blocks[place], excess[first], excess[second], out)
            sums[place, :, start : start + count] = out
    return sums


def _holm(p_values: list[float]) -> Floats:
    """Holm's adjustment of the p-values that exist, for all pairs: one that does not exist counts as a test."""
    p = np.array(p_values)
    known = np.isfinite(p)
    adjusted = adjusted_p_values(np.where(known, p, 1.0), "holm")
    return np.where(known, adjusted, np.nan)
