"""Pods beside each other on the same days: correlation, difference from the benchmark, rank after counting trials."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from backtests.statistics import SESSIONS_PER_YEAR, performance, sharpe_statistics

if TYPE_CHECKING:
    from backtests.result import Result, Run

Floats = NDArray[np.float64]
DRAWS = 2000
_CHUNK = 250


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
    _check_days(first, second, cash)
    if draws < 1 or not 0.0 < confidence < 1.0:
        raise ValueError(f"draws must be positive and confidence in (0, 1); were {draws} and {confidence}")
    block = automatic_block_length(first - second) if block_length is None else float(block_length)
    if not 1.0 <= block <= first.size:
        raise ValueError(f"block_length must be in [1, {first.size}] sessions; was {block}")
    excess = np.stack([first - cash, second - cash])
    observed = _mean_and_sharpe(excess[:, None, :], periods_per_year)[:, 0]
    rng = np.random.default_rng(seed)
    drawn = np.empty((2, draws))
    for start in range(0, draws, _CHUNK):
        rows = stationary_rows(first.size, block, min(_CHUNK, draws - start), rng)
        drawn[:, start : start + rows.shape[0]] = _mean_and_sharpe(excess[:, rows], periods_per_year)
    mean, sharpe = (_summary(observed[i], drawn[i], confidence) for i in range(2))
    return Differences(mean, sharpe, block)


def _mean_and_sharpe(excess: Floats, periods_per_year: int) -> Floats:
    """(2, draws) annual differences of mean and Sharpe from (2, draws, T) excess returns of pod and benchmark."""
    mean = excess.mean(axis=2)
    deviation = np.sqrt(np.maximum((excess**2).mean(axis=2) - mean**2, 0.0) * excess.shape[2] / (excess.shape[2] - 1))
    rounding = 1e-7 * np.abs(mean) + 1e-14
    with np.errstate(divide="ignore", invalid="ignore"):
        sharpe = np.where(deviation > rounding, mean / deviation, np.nan)
    return np.stack([(mean[0] - mean[1]) * periods_per_year, (sharpe[0] - sharpe[1]) * math.sqrt(periods_per_year)])


def _summary(observed: float, drawn: Floats, confidence: float) -> BootstrapDifference:
    if not (math.isfinite(observed) and np.isfinite(drawn).all()):
        return BootstrapDifference(float(observed), math.nan, math.nan, math.nan)
    low, high = np.quantile(drawn, [(1.0 - confidence) / 2.0, (1.0 + confidence) / 2.0])
    beyond = int(np.sum(np.abs(drawn - observed) >= abs(observed)))
    return BootstrapDifference(float(observed), float(low), float(high), (1 + beyond) / (1 + drawn.size))


def compare_pods(
    returns: Mapping[str, Floats],
    risk_free: Floats,
    benchmark: str,
    statistics: Mapping[str, Mapping[str, Any]],
    *,
    seed: int = 0,
    draws: int = DRAWS,
    periods_per_year: int = SESSIONS_PER_YEAR,
) -> dict[str, Any]:
    """The comparison of pods on the same sessions, as it is written to `comparison.json`.

    Parameters
    ----------
    returns : mapping of (T,) float64
        Simple returns by pod, on the same sessions.
    risk_free : (T,) float64
    benchmark : str
        Name of the pod that the others are measured against.
    statistics : mapping
        `statistics.json` by pod; the rank is by `deflated_sharpe`, then by `sharpe`, then by name.

    Returns
    -------
    dict
        pods, benchmark, sessions, correlation (list of rows in the order of pods, null without dispersion),
        differences (by pod: annual_difference, low, high, p_value, the same with the prefix sharpe_, block_length),
        ranking (list of pod, deflated_sharpe, sharpe), method.
    """
    names = list(returns)
    if benchmark not in returns:
        raise ValueError(f"benchmark must be one of the pods {names}; was {benchmark!r}")
    differences = {
        name: _difference_record(
            bootstrap_differences(
                returns[name], returns[benchmark], risk_free, draws=draws, seed=seed, periods_per_year=periods_per_year
            )
        )
        for name in names
        if name != benchmark
    }
    return {
        "pods": names,
        "benchmark": benchmark,
        "sessions": int(np.asarray(risk_free).size),
        "correlation": correlation_matrix(np.stack([returns[name] for name in names])).tolist(),
        "differences": differences,
        "ranking": _ranking(statistics, names),
        "method": {
            "bootstrap": "stationary (Politis & Romano 1994), percentile interval, re-centred two-sided p-value",
            "block_length": "automatic (Politis & White 2004, corrected by Patton, Politis & White 2009)",
            "draws": draws,
            "confidence": 0.95,
            "seed": seed,
            "differences": "annual; excess over the risk-free return of the session",
        },
    }


def compare_runs(
    folders: Sequence[Path], *, benchmark: str | None = None, seed: int = 0, draws: int = DRAWS
) -> dict[str, Any]:
    """Every pod of several run folders side by side on the sessions that they share.

    Pods are named "run folder/pod". The record is that of `compare_pods` with `comparable` (whether sessions and data
    are the same), `differences_of_inputs` (sentences), and `statistics` by pod, computed anew on the shared sessions.
    The trials of all runs together deflate the Sharpe ratios, at the largest of the runs' variances: whoever lays runs
    side by side chooses among all of them.

    Parameters
    ----------
    folders : sequence of Path
        At least two run folders.
    benchmark : str, optional
        By default the first run's.

    Raises
    ------
    DataError
        When a folder is not that of a complete run.
    ValueError
        When there are fewer than two folders, or fewer than 3 sessions in common.
    """
    from backtests.result_files import read_run

    if len(folders) < 2:
        raise ValueError(f"folders must be at least two run folders; were {len(folders)}")
    runs = {Path(folder).resolve().name: read_run(Path(folder)) for folder in folders}
    if len(runs) < len(folders):
        raise ValueError("folders must be different runs with different names; one is there twice")
    results = {f"{name}/{result.pod}": result for name, run in runs.items() for result in run.results}
    shared = _shared_sessions(results)
    first_name, first = next(iter(runs.items()))
    chosen = benchmark or f"{first_name}/{first.benchmark}"
    risk_free = _on(shared, first.results[0], "risk_free")
    returns = {name: _on(shared, result, "return") for name, result in results.items()}
    statistics = _shared_statistics(returns, risk_free, runs)
    record = compare_pods(returns, risk_free, chosen, statistics, seed=seed, draws=draws)
    differences = _differences_of_inputs(runs)
    return record | {
        "runs": list(runs),
        "comparable": not any("sessions" in line or "data_hash" in line for line in differences),
        "differences_of_inputs": differences,
        "first": shared[0],
        "last": shared[-1],
        "statistics": statistics,
    }


def _shared_sessions(results: Mapping[str, Result]) -> NDArray[np.datetime64]:
    """Sessions of every account after its opening one."""
    shared = next(iter(results.values())).sessions[1:]
    for result in results.values():
        shared = np.intersect1d(shared, result.sessions[1:])
    if shared.size < 3:
        raise ValueError(f"the runs must have at least 3 sessions in common; had {shared.size}")
    return shared


def _on(sessions: NDArray[np.datetime64], result: Result, column: str) -> Floats:
    values: Floats = result.tables["account"][column][np.searchsorted(result.sessions, sessions)]
    return values


def _shared_statistics(
    returns: Mapping[str, Floats], risk_free: Floats, runs: Mapping[str, Run]
) -> dict[str, dict[str, Any]]:
    known = [run.results[0].statistics for run in runs.values()]
    trials = sum(int(item.get("trials") or 1) for item in known)
    variance = max(float(item.get("trial_sharpe_variance") or 0.0) for item in known)
    return {
        name: performance(values, risk_free) | sharpe_statistics(values - risk_free, trials, variance)
        if values.min() > -1.0
        else {"lost": True}
        for name, values in returns.items()
    }


def _differences_of_inputs(runs: Mapping[str, Run]) -> list[str]:
    """One sentence for each run and input in which it differs from the first run."""
    (first_name, first), *others = runs.items()
    sentences = []
    for name, run in others:
        mine, theirs = first.results[0].sessions, run.results[0].sessions
        if not np.array_equal(mine, theirs):
            sentences.append(
                f"sessions: {first_name} has {mine.size} ({mine[0]} to {mine[-1]}), "
                f"{name} has {theirs.size} ({theirs[0]} to {theirs[-1]})"
            )
        for key in ("data_hash", "code_hash", "libraries"):
            if first.provenance.get(key) != run.provenance.get(key):
                sentences.append(f"{key}: that of {name} is not that of {first_name}")
    return sentences


def correlation_matrix(returns: Floats) -> Floats:
    """(P, P) Pearson correlations of (P, T) returns; NaN where a series has no dispersion, 1 on the diagonal else."""
    centred = returns - returns.mean(axis=1, keepdims=True)
    norm = np.sqrt((centred**2).sum(axis=1))
    norm[np.ptp(returns, axis=1) <= 1e-14] = np.nan
    unit = centred / norm[:, None]
    # einsum sums in one order; a threaded matrix product would not, and its bytes go to disk
    matrix = np.clip(np.einsum("it,jt->ij", unit, unit), -1.0, 1.0)
    np.fill_diagonal(matrix, np.where(np.isnan(norm), np.nan, 1.0))
    return np.asarray(matrix)


def _difference_record(found: Differences) -> dict[str, float]:
    return {
        "annual_difference": found.mean.estimate,
        "low": found.mean.low,
        "high": found.mean.high,
        "p_value": found.mean.p_value,
        "sharpe_difference": found.sharpe.estimate,
        "sharpe_low": found.sharpe.low,
        "sharpe_high": found.sharpe.high,
        "sharpe_p_value": found.sharpe.p_value,
        "block_length": found.block_length,
    }


def _ranking(statistics: Mapping[str, Mapping[str, Any]], names: list[str]) -> list[dict[str, Any]]:
    def order(name: str) -> tuple[float, float, str]:
        found = statistics[name]
        return (-_number(found.get("deflated_sharpe")), -_number(found.get("sharpe")), name)

    return [
        {
            "rank": rank,
            "pod": name,
            "deflated_sharpe": statistics[name].get("deflated_sharpe"),
            "sharpe": statistics[name].get("sharpe"),
        }
        for rank, name in enumerate(sorted(names, key=order), start=1)
    ]


def _number(value: Any) -> float:
    """The value, or minus infinity for one that does not exist: it ranks last."""
    return float(value) if value is not None and math.isfinite(value) else -math.inf


def _check_days(first: Floats, second: Floats, cash: Floats) -> None:
    if not first.shape == second.shape == cash.shape or first.ndim != 1 or first.size < 3:
        raise ValueError(
            "returns, benchmark and risk_free must be one-dimensional on the same 3 or more sessions; "
            f"were {first.shape}, {second.shape} and {cash.shape}"
        )
    if not (np.isfinite(first).all() and np.isfinite(second).all() and np.isfinite(cash).all()):
        raise ValueError("returns, benchmark and risk_free must be finite in every session")
