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
        sharpe_p_value_adjusted), snooping (against "benchmark" and "cash"), ranking (list of pod, deflated_sharpe,
        sharpe), method; with sessions also regimes ("calm", "stressed", the rule, and the pod that is the market or
        null) and crises.
    """
    names = list(returns)
    if benchmark not in returns:
        raise ValueError(f"benchmark must be one of the pods {names}; was {benchmark!r}")
    pairs = pairwise_differences(returns, risk_free, draws=draws, seed=seed, periods_per_year=periods_per_year)
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
            "adjustment": "Holm (1979) over all pairs, mean returns and Sharpe ratios each for themselves",
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
    the number of shared sessions: whoever lays runs side by side chooses among all of them.

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
    record = compare_pods(returns, risk_free, chosen, statistics, sessions=shared, seed=seed, draws=draws)
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
    from backtests.walk.register import trials_of_runs

    known = [run.results[0].statistics for run in runs.values()]
    trials = trials_of_runs(runs.values())
    variance = max(
        trial_variance_over(
            risk_free.size, float(item.get("trial_sharpe_variance") or 0.0), 1.0 / int(item["observations"])
        )
        for item in known
    )
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
