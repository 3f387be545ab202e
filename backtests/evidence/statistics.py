"""What a return series shows: the statistics of a report, with the uncertainty of the Sharpe ratio beside it.

Conventions: returns are simple, one per session; Sharpe and Sortino are of the excess over the risk-free return (CDI)
of the same session; drawdown is positive. A number that does not exist (no dispersion, too few sessions) is NaN, never
infinity. The formulas of the Sharpe ratio are in `backtests.evidence.sharpe`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from backtests.evidence.sharpe import (
    checked_returns,
    deflated_sharpe,
    disperses,
    min_backtest_length,
    min_track_record_length,
    probabilistic_sharpe,
    sharpe_sample,
    sharpe_standard_error,
    trial_variance_over,
)

__all__ = [
    "SESSIONS_PER_YEAR",
    "monthly_returns",
    "performance",
    "sharpe_sample",
    "sharpe_statistics",
    "trial_variance_over",
]

SESSIONS_PER_YEAR = 252
_SHARPE_KEYS = (
    "sharpe_standard_error",
    "sharpe_standard_error_normal",
    "sharpe_standard_error_serial",
    "autocorrelation",
    "probabilistic_sharpe",
    "probabilistic_sharpe_2025",
    "probabilistic_sharpe_2025_serial",
    "min_track_record_sessions",
    "deflated_sharpe",
    "deflated_sharpe_2025",
    "deflated_sharpe_threshold",
)


def performance(
    returns: ArrayLike, risk_free: ArrayLike, *, periods_per_year: int = SESSIONS_PER_YEAR
) -> dict[str, float]:
    """Empyrical's statistics of (T,) simple returns with a risk-free return for each session.

    Keys: observations, cumulative_return, annual_return (geometric), annual_volatility, excess_return
    (arithmetic), sharpe and sortino (annual, of the excess), calmar (annual return over maximum drawdown),
    max_drawdown (positive; the starting value counts as a peak), tail_ratio, omega (of the excess), stability,
    skewness, kurtosis, best, worst, hit_rate (part of sessions above zero).

    Raises
    ------
    ValueError
        When a return is not finite or is -1 or less, lengths differ, or there are fewer than two sessions.
    """
    import empyrical

    values = checked_returns("returns", returns)
    cash = checked_returns("risk_free", risk_free)
    if values.shape != cash.shape:
        raise ValueError(f"risk_free must have one value per return; had {cash.size} for {values.size}")
    if values.min() <= -1.0:
        row = int(np.argmin(values))
        raise ValueError(f"returns must be greater than -1 (the account is not lost); was {values[row]} in row {row}")
    excess = values - cash
    moments = sharpe_sample(values)
    year = {"annualization": periods_per_year}
    ratios = {
        "sharpe": empyrical.sharpe_ratio(excess, **year) if disperses(excess) else math.nan,
        "sortino": empyrical.sortino_ratio(excess, **year) if excess.min() < 0.0 else math.nan,
        "calmar": empyrical.calmar_ratio(values, **year),
        "tail_ratio": empyrical.tail_ratio(values) if np.percentile(values, 5) != 0.0 else math.nan,
        "omega": empyrical.omega_ratio(excess, annualization=1) if excess.min() < 0.0 else math.nan,
        "stability": empyrical.stability_of_timeseries(values) if np.ptp(values) > 0.0 else math.nan,
    }
    numbers = ratios | {
        "observations": float(values.size),
        "cumulative_return": empyrical.cum_returns_final(values),
        "annual_return": empyrical.annual_return(values, **year),
        "annual_volatility": empyrical.annual_volatility(values, **year),
        "excess_return": float(excess.mean()) * periods_per_year,
        "max_drawdown": -empyrical.max_drawdown(values),
        "skewness": moments.skewness,
        "kurtosis": moments.kurtosis,
        "best": values.max(),
        "worst": values.min(),
        "hit_rate": np.mean(values > 0.0),
    }
    return {name: _or_nan(numbers[name]) for name in sorted(numbers)}


def sharpe_statistics(
    excess_returns: ArrayLike, trials: int, trial_variance: float, *, periods_per_year: int = SESSIONS_PER_YEAR
) -> dict[str, Any]:
    """The Sharpe ratio's uncertainty and its deflation, ready for a report.

    `sharpe_standard_error` (the sample's moments), `sharpe_standard_error_normal` (Lo's),
    `sharpe_standard_error_serial` (with the lag-one `autocorrelation` too) and `deflated_sharpe_threshold` are annual
    like `sharpe`; `trial_sharpe_variance` is per session. The key `probabilistic_sharpe_form` names the formula of
    `probabilistic_sharpe`, `deflated_sharpe` and `min_track_record_sessions`; keys with 2025 are of the form of that
    year, `deflated_sharpe_2025` with serial correlation.
    """
    sample = sharpe_sample(excess_returns)
    year = math.sqrt(periods_per_year)
    common: dict[str, Any] = {
        "probabilistic_sharpe_form": "2012 (Bailey & Lopez de Prado)",
        "trials": trials,
        "trial_sharpe_variance": trial_variance,
        "min_backtest_years": min_backtest_length(trials),
    }
    if math.isnan(sample.sharpe):
        return common | dict.fromkeys(_SHARPE_KEYS, math.nan)
    moments, serial = (sample.skewness, sample.kurtosis), sample.autocorrelation
    deflated = deflated_sharpe(sample, trials, trial_variance)
    observed = (sample.sharpe, sample.observations)
    return common | {
        "sharpe_standard_error": year * sharpe_standard_error(*observed, *moments),
        "sharpe_standard_error_normal": year * sharpe_standard_error(*observed),
        "autocorrelation": serial,
        "probabilistic_sharpe": probabilistic_sharpe(*observed, 0.0, *moments),
        "probabilistic_sharpe_2025": probabilistic_sharpe(*observed, 0.0, *moments, form="2025"),
        "probabilistic_sharpe_2025_serial": probabilistic_sharpe(
            *observed, 0.0, *moments, form="2025", autocorrelation=serial
        ),
        "sharpe_standard_error_serial": year
        * _where_it_exists(lambda: sharpe_standard_error(*observed, *moments, serial)),
        "min_track_record_sessions": min_track_record_length(sample.sharpe, 0.0, *moments),
        "deflated_sharpe": deflated.probability,
        "deflated_sharpe_2025": _where_it_exists(
            lambda: deflated_sharpe(sample, trials, trial_variance, form="2025").probability
        ),
        "deflated_sharpe_threshold": year * deflated.threshold,
    }


def _where_it_exists(number: Callable[[], float]) -> float:
    """The number; NaN for moments that no autoregression has, as those of a handful of sessions may be."""
    try:
        return number()
    except ValueError:
        return math.nan


def monthly_returns(sessions: NDArray[np.datetime64], returns: ArrayLike) -> Mapping[str, float]:
    """Compounded return of each calendar month that has a session, by "YYYY-MM", in time order."""
    values = checked_returns("returns", returns)
    days = np.asarray(sessions, dtype="datetime64[D]")
    if days.shape != values.shape:
        raise ValueError(f"sessions must be one per return; were {days.size} for {values.size}")
    if np.any(np.diff(days) <= np.timedelta64(0, "D")):
        raise ValueError("sessions must increase")
    months = days.astype("datetime64[M]")
    starts = np.flatnonzero(np.concatenate(([True], months[1:] != months[:-1])))
    growth = np.multiply.reduceat(1.0 + values, starts)
    return {str(months[start]): float(factor - 1.0) for start, factor in zip(starts, growth, strict=True)}


def _or_nan(value: float) -> float:
    number = float(value)
    return number if math.isfinite(number) else math.nan
