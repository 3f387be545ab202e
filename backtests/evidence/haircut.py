"""What is left of a Sharpe ratio after its p-value is adjusted for the other trials (Harvey & Liu 2015)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import log_ndtr, ndtr, ndtri_exp

_LOG_2 = math.log(2.0)
Adjustment = Literal["independent", "bonferroni", "holm", "bhy"]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Haircut:
    """A Sharpe ratio before and after the adjustment.

    Attributes
    ----------
    sharpe, adjusted_sharpe : float
        Annual. The adjusted one has the adjusted p-value on the same number of years; NaN where `sharpe` is not
        positive: there is nothing to cut.
    t_ratio, p_value, adjusted_p_value : float
        Two-sided, of no Sharpe ratio.
    haircut : float
        1 - adjusted / unadjusted.
    """

    sharpe: float
    t_ratio: float
    p_value: float
    adjusted_p_value: float
    adjusted_sharpe: float
    haircut: float


def adjusted_p_values(p_values: ArrayLike, method: Adjustment) -> Floats:
    """(N,) p-values of N tests, adjusted for each other.

    Parameters
    ----------
    p_values : (N,) float64
    method : "bonferroni", "holm", "bhy" or "independent"
        "bonferroni": min(N p, 1). "holm": step-down, max over j <= i of (N + 1 - j) p_(j); never above Bonferroni. Both
        hold the probability of one false discovery under any dependence. "bhy": Benjamini, Hochberg & Yekutieli,
        step-up, min over j >= i of N c(N) / j p_(j) with c(N) = 1 + 1/2 + ... + 1/N; the rate of false discoveries,
        under any dependence. "independent": 1 - (1 - p)^N (Sidak), for independent tests.
    """
    p = np.asarray(p_values, dtype=np.float64)
    if p.ndim != 1 or p.size == 0 or not ((p >= 0.0) & (p <= 1.0)).all():
        raise ValueError(f"p_values must be one-dimensional, each in [0, 1]; were {p_values!r}")
    if method == "independent":
        return independent_p_value(p, p.size)
    factors, step = _factors(p.size, method)
    order = np.argsort(p, kind="stable")
    adjusted = np.empty(p.size)
    adjusted[order] = np.minimum(step(factors * p[order]), 1.0)
    return adjusted


def _factors(count: int, method: Adjustment) -> tuple[Floats, Callable[[Floats], Floats]]:
    """By rank, what the p-value is multiplied by, and the step that keeps the products in order."""
    place = np.arange(1.0, count + 1.0)
    if method == "bonferroni":
        return np.full(count, float(count)), np.asarray
    if method == "holm":
        return count + 1.0 - place, np.maximum.accumulate
    if method == "bhy":
        return count * float(np.sum(1.0 / place)) / place, lambda p: np.minimum.accumulate(p[::-1])[::-1]
    raise ValueError(f"method must be 'independent', 'bonferroni', 'holm' or 'bhy'; was {method!r}")


def independent_p_value(p_value: ArrayLike, trials: float) -> Floats:
    """Probability that the smallest of `trials` independent p-values is at most `p_value`, 1 - (1 - p)^N."""
    p = np.asarray(p_value, dtype=np.float64)
    with np.errstate(divide="ignore"):
        return np.asarray(-np.expm1(trials * np.log1p(-p)), dtype=np.float64)


def harvey_liu_haircut(
    sharpe: float,
    years: float,
    trials: int,
    method: Adjustment = "bonferroni",
    *,
    other_sharpes: ArrayLike | None = None,
) -> Haircut:
    """The annual Sharpe ratio that has, alone, the p-value that `sharpe` has among all trials.

    t = SR sqrt(years), p two-sided, p_M its adjusted value, and Phi^-1(1 - p_M / 2) / sqrt(years) what is left (Harvey
    & Liu 2015, "Backtesting", J. Portfolio Management 42).

    Parameters
    ----------
    sharpe : float
        Annual Sharpe ratio of the trial that is shown.
    years : float
    trials : int
        All trials, the one shown included.
    method : str
        As in `adjusted_p_values`.
    other_sharpes : (trials - 1,) float64, optional
        Annual Sharpe ratios of the other trials over as many years: "holm" and "bhy" need them. The paper draws them
        from a law fitted to published equity factors instead; here the trials are known.

    Examples
    --------
    The paper's example, 0.75 over 20 years after 200 tests (it prints 0.15, 0.32 and 60 %):

    >>> cut = harvey_liu_haircut(0.75, 20, 200, "independent")
    >>> round(cut.adjusted_p_value, 3), round(cut.adjusted_sharpe, 3), round(cut.haircut, 2)
    (0.147, 0.324, 0.57)
    """
    if not (math.isfinite(sharpe) and 0.0 < years < math.inf):
        raise ValueError(f"sharpe must be finite and years positive; were {sharpe} and {years}")
    if isinstance(trials, bool) or trials < 1:
        raise ValueError(f"trials must be at least 1; was {trials}")
    ratio = sharpe * math.sqrt(years)
    adjusted = _adjusted_log(ratio, years, trials, method, other_sharpes)
    left = max(0.0, -float(ndtri_exp(adjusted - _LOG_2))) / math.sqrt(years) if sharpe > 0.0 else math.nan
    cut = 1.0 - left / sharpe if sharpe > 0.0 else math.nan
    return Haircut(sharpe, ratio, 2.0 * float(ndtr(-abs(ratio))), math.exp(adjusted), left, cut)


def _adjusted_log(
    ratio: float, years: float, trials: int, method: Adjustment, other_sharpes: ArrayLike | None
) -> float:
    """Logarithm of the adjusted p-value: that of a t-ratio above 38 is no float64, and what is left of it is."""
    log_p = min(_LOG_2 + float(log_ndtr(-abs(ratio))), 0.0)
    if method == "independent":
        rare = log_p < -40.0  # then 1 - (1 - p)^N is N p to rounding
        return min(math.log(trials) + log_p if rare else math.log(independent_p_value(math.exp(log_p), trials)), 0.0)
    if method == "bonferroni":
        return min(math.log(trials) + log_p, 0.0)
    if other_sharpes is None:
        if trials > 1:
            raise ValueError(
                f"method {method!r} needs other_sharpes, the Sharpe ratios of the other {trials - 1} trials"
            )
        return log_p
    others = np.asarray(other_sharpes, dtype=np.float64)
    if others.shape != (trials - 1,) or not np.isfinite(others).all():
        raise ValueError(f"other_sharpes must be {trials - 1} finite numbers; was of shape {others.shape}")
    every = np.concatenate(([log_p], _LOG_2 + log_ndtr(-np.abs(others) * math.sqrt(years))))
    factors, step = _factors(trials, method)
    order = np.argsort(every, kind="stable")
    return min(float(step(np.log(factors) + every[order])[np.flatnonzero(order == 0)[0]]), 0.0)
