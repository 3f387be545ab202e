"""The parts of a comparison's record: pairs turned towards the benchmark, tests of the best, regimes, ranks."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backtests.evidence.bootstrap import BootstrapDifference, Differences
from backtests.evidence.pairs import PairDifference
from backtests.evidence.regimes import RegimeRule, crisis_results, label_regimes, regime_breakdown
from backtests.evidence.snooping import superior_predictive_ability

Floats = NDArray[np.float64]


def in_regimes(
    returns: Mapping[str, Floats],
    risk_free: Floats,
    sessions: NDArray[np.datetime64],
    benchmark: str,
    market: Floats | None,
    periods_per_year: int,
) -> dict[str, Any]:
    """Regimes by the market, or by the benchmark where there is none, and crises."""
    rule = RegimeRule()
    labels = label_regimes(returns[benchmark] if market is None else market, rule)
    breakdown = regime_breakdown(returns, risk_free, labels, periods_per_year=periods_per_year)
    named = {"rule": asdict(rule), "market": benchmark if market is None else None}
    return {"regimes": breakdown | named, "crises": crisis_results(sessions, returns)}


def from_benchmark(pairs: Sequence[PairDifference], benchmark: str) -> dict[str, dict[str, float]]:
    """Each other pod less the benchmark, in the order of the pods."""
    found = {}
    for pair in pairs:
        if pair.second == benchmark:
            found[pair.first] = _difference_record(pair.found)
        elif pair.first == benchmark:
            found[pair.second] = _difference_record(_turned(pair.found))
    return found


def _turned(found: Differences) -> Differences:
    mean, sharpe = (
        BootstrapDifference(-item.estimate, -item.high, -item.low, item.p_value) for item in (found.mean, found.sharpe)
    )
    return Differences(mean, sharpe, found.block_length)


def pair_record(pair: PairDifference) -> dict[str, Any]:
    """One pair, the first pod less the second, with adjusted p-values."""
    return {
        "first": pair.first,
        "second": pair.second,
        **_difference_record(pair.found),
        "p_value_adjusted": pair.mean_adjusted,
        "sharpe_p_value_adjusted": pair.sharpe_adjusted,
    }


def snooping_record(returns: Mapping[str, Floats], against: Floats, draws: int, seed: int) -> dict[str, Any] | None:
    """The tests of all pods against one series; `unavailable` says why where there are none, None without pods."""
    names = list(returns)
    if not names:
        return None
    matrix = np.stack([returns[name] for name in names], axis=1)
    try:
        found = superior_predictive_ability(matrix, against, draws=draws, seed=seed)
    except ValueError as error:
        return {"unavailable": str(error)}
    return {
        "pods": names,
        "best": names[found.best],
        "statistic": found.statistic,
        "p_value": found.consistent,
        "p_value_lower": found.lower,
        "p_value_upper": found.upper,
        "reality_check_p_value": found.reality_check,
        "adjusted_p_values": dict(zip(names, found.adjusted_p_values.tolist(), strict=True)),
        "survivors": [names[j] for j in found.survivors()],
        "block_length": found.block_length,
    }


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


def ranking(statistics: Mapping[str, Mapping[str, Any]], names: list[str]) -> list[dict[str, Any]]:
    """Pods by deflated Sharpe ratio, then Sharpe ratio, then name; what does not exist ranks last."""

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
