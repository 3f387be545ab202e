"""Was the forecast value at risk right? Exceptions, their number, their independence, the traffic light."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import xlogy
from scipy.stats import binom, chi2


@dataclass(frozen=True, slots=True)
class LikelihoodRatio:
    """A likelihood-ratio statistic and the probability of one at least as large under the hypothesis."""

    statistic: float
    p_value: float


@dataclass(frozen=True, slots=True)
class VarBacktest:
    """The verdict on one series of forecasts.

    Attributes
    ----------
    sessions, exceptions : int
        Sessions with both a forecast and a result; those whose loss was above the forecast.
    expected : float
        sessions * (1 - confidence).
    kupiec, independence, conditional_coverage : LikelihoodRatio
    binomial_p_value : float
        Two-sided exact probability, beside Kupiec's asymptotic one.
    zone : str
        "green", "amber" or "red".
    """

    sessions: int
    exceptions: int
    expected: float
    kupiec: LikelihoodRatio
    binomial_p_value: float
    independence: LikelihoodRatio
    conditional_coverage: LikelihoodRatio
    zone: str


def exceptions(profit: ArrayLike, forecast: ArrayLike) -> NDArray[np.bool_]:
    """Whether the loss was above the forecast, one entry per session that has both; the others are left out.

    Parameters
    ----------
    profit : (T,) float64
        Result of each session, in the unit of the forecast; NaN = none.
    forecast : (T,) float64
        Value at risk (positive = a loss) forecast for that session at the close before; NaN = none.
    """
    result, limit = np.asarray(profit, dtype=np.float64), np.asarray(forecast, dtype=np.float64)
    if result.shape != limit.shape or result.ndim != 1:
        raise ValueError(
            f"profit and forecast must be one-dimensional of one length; were {result.shape}, {limit.shape}"
        )
    both = ~(np.isnan(result) | np.isnan(limit))
    return np.asarray(-result[both] > limit[both])


def kupiec(count: int, sessions: int, probability: float) -> LikelihoodRatio:
    """Proportion-of-failures test of `count` exceptions in `sessions`: chi-square with one degree of freedom.

    Kupiec (1995, Journal of Derivatives 3, 73), with 0 ln 0 = 0. At 250 sessions and 1 % it rejects a series without
    any exception at 5 %, which the exact test does not: read both.
    """
    _check_counts(count, sessions, probability)
    if sessions == 0:
        return LikelihoodRatio(0.0, 1.0)
    found = count / sessions
    free = xlogy(sessions - count, 1 - found) + xlogy(count, found)
    fixed = xlogy(sessions - count, 1 - probability) + xlogy(count, probability)
    return _ratio(2.0 * float(free - fixed), 1)


def binomial_p_value(count: int, sessions: int, probability: float) -> float:
    """Exact two-sided probability: of all counts that are no likelier than `count`."""
    _check_counts(count, sessions, probability)
    masses = binom.pmf(np.arange(sessions + 1), sessions, probability)
    # Counts that are equally likely up to rounding count as no likelier.
    return min(1.0, float(masses[masses <= masses[count] * (1 + 1e-9)].sum()))


def christoffersen(exception: ArrayLike) -> tuple[LikelihoodRatio, tuple[int, int, int, int]]:
    """Test that an exception does not make the next likelier, and the transitions (n00, n01, n10, n11).

    Christoffersen (1998, International Economic Review 39, 841): a Markov chain against independence, chi-square with
    one degree of freedom; with 0 ln 0 = 0 no count gives NaN. Consecutive entries count as consecutive sessions.
    """
    hit = np.asarray(exception, dtype=bool)
    before, now = hit[:-1], hit[1:]
    n00, n01 = int((~before & ~now).sum()), int((~before & now).sum())
    n10, n11 = int((before & ~now).sum()), int((before & now).sum())
    return independence_ratio(n00, n01, n10, n11), (n00, n01, n10, n11)


def independence_ratio(n00: int, n01: int, n10: int, n11: int) -> LikelihoodRatio:
    """The statistic of `christoffersen` from counts of transitions: n01 from no exception to one, and so on."""

    def likelihood(stays: int, hits: int) -> float:
        total = stays + hits
        return float(xlogy(stays, stays / total) + xlogy(hits, hits / total)) if total else 0.0

    chain = likelihood(n00, n01) + likelihood(n10, n11)
    return _ratio(2.0 * (chain - likelihood(n00 + n10, n01 + n11)), 1)


def basel_zones(sessions: int, probability: float) -> tuple[int, int]:
    """First count of the amber and of the red zone: binomial cdf of at least 95 % and 99.99 %.

    The rule of the Basel Committee (1996) for any number of sessions; 5 and 10 for 250 sessions at 1 %. At least 1:
    no exception is green however few the sessions.
    """
    _check_counts(0, sessions, probability)
    cumulative = binom.cdf(np.arange(sessions + 1), sessions, probability)
    return max(1, int(np.searchsorted(cumulative, 0.95))), max(1, int(np.searchsorted(cumulative, 0.9999)))


def basel_zone(count: int, sessions: int, probability: float) -> str:
    """The traffic light, "green", "amber" or "red", of `count` exceptions in `sessions`."""
    _check_counts(count, sessions, probability)
    amber, red = basel_zones(sessions, probability)
    return "red" if count >= red else "amber" if count >= amber else "green"


def backtest_var(profit: ArrayLike, forecast: ArrayLike, confidence: float = 0.99) -> VarBacktest:
    """Every test of one series of forecasts (see `exceptions` for the arguments)."""
    hit = exceptions(profit, forecast)
    count, sessions, probability = int(hit.sum()), int(hit.size), 1.0 - confidence
    coverage = kupiec(count, sessions, probability)
    independence, _ = christoffersen(hit)
    return VarBacktest(
        sessions=sessions,
        exceptions=count,
        expected=sessions * probability,
        kupiec=coverage,
        binomial_p_value=binomial_p_value(count, sessions, probability),
        independence=independence,
        conditional_coverage=_ratio(coverage.statistic + independence.statistic, 2),
        zone=basel_zone(count, sessions, probability),
    )


def _ratio(statistic: float, degrees: int) -> LikelihoodRatio:
    # The free maximum cannot be below the restricted one; a negative difference is rounding.
    statistic = max(statistic, 0.0)
    return LikelihoodRatio(statistic, float(chi2.sf(statistic, degrees)))


def _check_counts(count: int, sessions: int, probability: float) -> None:
    if sessions < 0 or not 0 <= count <= sessions:
        raise ValueError(f"count must be between 0 and sessions; was {count} of {sessions}")
    if not 0 < probability < 1:
        raise ValueError(f"probability must be in (0, 1); was {probability}")
