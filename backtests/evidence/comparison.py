"""Pods beside each other on the same days: correlation, differences of all pairs, the best after the search for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from backtests.evidence.bootstrap import DRAWS
from backtests.evidence.comparison_record import (
    correlation_matrix,
    from_benchmark,
    in_regimes,
    pair_record,
    ranking,
    snooping_record,
)
from backtests.evidence.pairs import pairwise_differences
from backtests.evidence.statistics import SESSIONS_PER_YEAR, performance, sharpe_statistics, trial_variance_over

if TYPE_CHECKING:
    from backtests.walk.result import Result, Run

Floats = NDArray[np.float64]
MOST_PAIRED = 14
"""Pods of which every pair is tested, 91 pairs; of more only those with the benchmark.

Holm's smallest p-value is pairs / (1 + draws): of many pods' pairs nothing could be significant.
"""


def compare_pods(
    returns: Mapping[str, Floats],
    risk_free: Floats,
    benchmark: str,
    statistics: Mapping[str, Mapping[str, Any]],
    *,
    sessions: NDArray[np.datetime64] | None = None,
    market: Floats | None = None,
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
    sessions : (T,) datetime64, optional
        Their days: with them the record has regimes and crises.
    market : (T,) float64, optional
        Returns that tell calm from stressed sessions; by default the benchmark's.

    Returns
    -------
    dict
        pods, benchmark, sessions, correlation (list of rows in the order of pods, null without dispersion),
        differences (by pod: annual_difference, low, high, p_value, the same with the prefix sharpe_, block_length),
        pairs (list of first, second, the same numbers of first less second, p_value_adjusted and
        sharpe_p_value_adjusted; of more than `MOST_PAIRED` pods only those with the benchmark), snooping (against
        "benchmark" and "cash"), ranking (list of pod, deflated_sharpe, sharpe), method; with sessions also regimes
        ("calm", "stressed", the rule, and the pod that is the market or null) and crises.
    """
    names = list(returns)
    if benchmark not in returns:
        raise ValueError(f"benchmark must be one of the pods {names}; was {benchmark!r}")
    many = len(names) > MOST_PAIRED
    pairs = pairwise_differences(
        returns,
        risk_free,
        draws=draws,
        seed=seed,
        periods_per_year=periods_per_year,
        only_with=benchmark if many else None,
    )
    record = {
        "pods": names,
        "benchmark": benchmark,
        "sessions": int(np.asarray(risk_free).size),
        "correlation": correlation_matrix(np.stack([returns[name] for name in names])).tolist(),
        "differences": from_benchmark(pairs, benchmark),
        "pairs": [pair_record(pair) for pair in pairs],
        "snooping": {
            "benchmark": snooping_record(
                {name: returns[name] for name in names if name != benchmark}, returns[benchmark], draws, seed
            ),
            "cash": snooping_record(returns, risk_free, draws, seed),
        },
        "ranking": ranking(statistics, names),
        "method": {
            "bootstrap": "stationary (Politis & Romano 1994), percentile interval, re-centred two-sided p-value",
            "block_length": "automatic (Politis & White 2004, corrected by Patton, Politis & White 2009)",
            "pairs": "with the benchmark" if many else "all",
            "adjustment": "Holm (1979) over these pairs, mean returns and Sharpe ratios each for themselves",
            "snooping": "Hansen (2005), White (2000), step-down of Romano & Wolf (2005), one-sided on mean returns",
            "draws": draws,
            "confidence": 0.95,
            "seed": seed,
            "differences": "annual; excess over the risk-free return of the session",
        },
    }
    if sessions is None:
        return record
    return record | in_regimes(returns, risk_free, sessions, benchmark, market, periods_per_year)


def compare_runs(
    folders: Sequence[Path], *, benchmark: str | None = None, seed: int = 0, draws: int = DRAWS
) -> dict[str, Any]:
    """Every pod of several run folders side by side on the sessions that they share.

    Pods are named "run folder/pod". The record is that of `compare_pods` with `comparable` (whether sessions and data
    are the same), `differences_of_inputs` (sentences), and `statistics` by pod, computed anew on the shared sessions.
    The trials of all runs together deflate the Sharpe ratios, at the largest of the runs' variances, each brought to
    the number of shared sessions: whoever lays runs side by side chooses among all of them. Annual figures have as
    many sessions a year as the first run. A pod that lost its capital in its run has no ratios here either, also where
    that was before the shared sessions.

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
    from backtests.walk.result_files import read_run

    if len(folders) < 2:
        raise ValueError(f"folders must be at least two run folders; were {len(folders)}")
    names = [Path(folder).resolve().name for folder in folders]
    repeated = next((name for place, name in enumerate(names) if name in names[:place]), None)
    if repeated is not None:
        raise ValueError(f"folders must be of different names; {repeated} is there twice: rename one if they differ")
    runs = {name: read_run(Path(folder)) for name, folder in zip(names, folders, strict=True)}
    results = {f"{name}/{result.pod}": result for name, run in runs.items() for result in run.results}
    shared = _shared_sessions(results)
    first_name, first = next(iter(runs.items()))
    chosen = benchmark or f"{first_name}/{first.benchmark}"
    risk_free = _on(shared, first.results[0], "risk_free")
    returns = {name: _on(shared, result, "return") for name, result in results.items()}
    year = _sessions_per_year(first)
    statistics = _shared_statistics(returns, risk_free, runs, results, year)
    record = compare_pods(
        returns, risk_free, chosen, statistics, sessions=shared, seed=seed, draws=draws, periods_per_year=year
    )
    differences = [*_differences_of_inputs(runs), *_gaps(runs, shared)]
    return record | {
        "runs": list(runs),
        "comparable": not any(line.startswith(("sessions:", "data_hash:", "gaps:")) for line in differences),
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


def _sessions_per_year(run: Run) -> int:
    return int(run.configuration.get("sessions_per_year") or SESSIONS_PER_YEAR)


def _shared_statistics(
    returns: Mapping[str, Floats],
    risk_free: Floats,
    runs: Mapping[str, Run],
    results: Mapping[str, Result],
    periods_per_year: int,
) -> dict[str, dict[str, Any]]:
    from backtests.walk.register import trials_of_runs

    trials = trials_of_runs(runs.values())
    variance = max(
        trial_variance_over(
            risk_free.size,
            # a pod that lost its capital does not have it
            float(result.statistics.get("trial_sharpe_variance") or 0.0),
            1.0 / int(result.statistics["observations"]),
        )
        for result in results.values()
    )
    year = {"periods_per_year": periods_per_year}
    found = {}
    for name, values in returns.items():
        lost = bool(results[name].statistics.get("lost")) or values.min() <= -1.0
        ratios: dict[str, Any] = {}
        if not lost:
            excess = values - risk_free
            ratios = performance(values, risk_free, **year) | sharpe_statistics(excess, trials, variance, **year)
        found[name] = ratios | {"lost": lost, "trials": trials, "sessions_per_year": periods_per_year}
    return found


def _gaps(runs: Mapping[str, Run], shared: NDArray[np.datetime64]) -> list[str]:
    """One sentence for each run that has sessions between the shared ones which another run does not have."""
    sentences = []
    for name, run in runs.items():
        own = run.results[0].sessions
        left_out = int(((own > shared[0]) & (own < shared[-1])).sum()) - (shared.size - 2)
        if left_out:
            sentences.append(
                f"gaps: left out of {name} between {shared[0]} and {shared[-1]}: {left_out} that not all runs have; on "
                "the session after such a gap, a return may cover more days in one run than in another"
            )
    return sentences


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
        mine_a_year, theirs_a_year = _sessions_per_year(first), _sessions_per_year(run)
        if mine_a_year != theirs_a_year:
            sentences.append(
                f"annual figures: {name} has {theirs_a_year} sessions a year; all pods are shown by the {mine_a_year} "
                f"of {first_name}"
            )
        for key in ("data_hash", "code_hash", "libraries"):
            if first.provenance.get(key) != run.provenance.get(key):
                sentences.append(f"{key}: that of {name} is not that of {first_name}")
    return sentences
