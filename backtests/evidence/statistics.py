"""What a return series shows, how uncertain that is, and what is left of it after counting every trial.

Conventions: returns are simple, one per session; Sharpe and Sortino are of the excess over the risk-free return (CDI)
of the same session; a Sharpe ratio without the word "annual" is per session; kurtosis is not in excess (normal: 3);
drawdown is positive. A number that does not exist (no dispersion, too few sessions) is NaN, never infinity.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr, ndtri

EULER_GAMMA = 0.5772156649015329
SESSIONS_PER_YEAR = 252
SharpeForm = Literal["2012", "2025"]
Floats = NDArray[np.float64]
_SHARPE_KEYS = (
    "sharpe_standard_error",
    "sharpe_standard_error_normal",
    "probabilistic_sharpe",
    "probabilistic_sharpe_2025",
    "min_track_record_sessions",
    "deflated_sharpe",
    "deflated_sharpe_threshold",
)


@dataclass(frozen=True, slots=True)
class SharpeSample:
    """What the Sharpe formulas need of a series of excess returns.

    Attributes
    ----------
    sharpe : float
        Mean over standard deviation (ddof 1), per session; NaN without dispersion.
    skewness, kurtosis : float
        Third and fourth standardised moments (ddof 0), kurtosis not in excess.
    observations : int
        Number of returns.
    """

    sharpe: float
    skewness: float
    kurtosis: float
    observations: int


def sharpe_sample(excess_returns: ArrayLike) -> SharpeSample:
    """Sharpe ratio per session and the moments of (T,) excess returns."""
    excess = _returns("excess_returns", excess_returns)
    centred = excess - excess.mean()
    variance = float(np.mean(centred**2))
    if not _disperses(excess):
        return SharpeSample(math.nan, math.nan, math.nan, excess.size)
    return SharpeSample(
        sharpe=float(excess.mean() / excess.std(ddof=1)),
        skewness=float(np.mean(centred**3) / variance**1.5),
        kurtosis=float(np.mean(centred**4) / variance**2),
        observations=excess.size,
    )


def sharpe_standard_error(sharpe: float, observations: int, skewness: float = 0.0, kurtosis: float = 3.0) -> float:
    """Standard error of a Sharpe ratio per session, sqrt((1 - g3 SR + (g4 - 1)/4 SR^2) / T).

    With the default moments this is Lo's (2002, "The statistics of Sharpe ratios", eq. 8) sqrt((1 + SR^2/2)/T) for
    normal returns; with the sample's moments it is the form of Mertens (2002) for independent returns of any law.
    """
    _check_observations(observations)
    return math.sqrt(_sharpe_variance(sharpe, skewness, kurtosis) / observations)


def probabilistic_sharpe(
    sharpe: float,
    observations: int,
    benchmark: float = 0.0,
    skewness: float = 0.0,
    kurtosis: float = 3.0,
    *,
    form: SharpeForm = "2012",
) -> float:
    """Probability that the true Sharpe ratio (per session) exceeds `benchmark`.

    Parameters
    ----------
    form : "2012" or "2025"
        "2012": Bailey & Lopez de Prado (2012), Phi[(SR - SR*) sqrt(T - 1) / sqrt(1 - g3 SR + (g4 - 1)/4 SR^2)].
        "2025": Lopez de Prado, Lipton & Zoonekynd (2025), the variance taken at the benchmark and divided by T.
        They differ visibly on short samples, so a report names the form.
    """
    _check_observations(observations)
    if form == "2012":
        error = math.sqrt(_sharpe_variance(sharpe, skewness, kurtosis) / (observations - 1))
    elif form == "2025":
        error = math.sqrt(_sharpe_variance(benchmark, skewness, kurtosis) / observations)
    else:
        raise ValueError(f"form must be '2012' or '2025'; was {form!r}")
    return float(ndtr((sharpe - benchmark) / error))


def min_track_record_length(
    sharpe: float,
    benchmark: float = 0.0,
    skewness: float = 0.0,
    kurtosis: float = 3.0,
    *,
    confidence: float = 0.95,
    form: SharpeForm = "2012",
) -> float:
    """Observations after which `probabilistic_sharpe` reaches `confidence`; infinity when SR <= benchmark.

    Bailey & Lopez de Prado (2012): 1 + (1 - g3 SR + (g4 - 1)/4 SR^2) (z / (SR - SR*))^2. The "2025" form takes the
    variance at the benchmark and has no 1.
    """
    if not 0.5 < confidence < 1.0:
        raise ValueError(f"confidence must be in (0.5, 1); was {confidence}")
    if not sharpe > benchmark:
        return math.nan if math.isnan(sharpe) else math.inf
    quantile = (float(ndtri(confidence)) / (sharpe - benchmark)) ** 2
    if form == "2012":
        return 1.0 + _sharpe_variance(sharpe, skewness, kurtosis) * quantile
    if form == "2025":
        return _sharpe_variance(benchmark, skewness, kurtosis) * quantile
    raise ValueError(f"form must be '2012' or '2025'; was {form!r}")


def expected_maximum(trials: int) -> float:
    """Approximate expected maximum of `trials` independent standard normals (0 for one trial).

    (1 - g) Phi^-1(1 - 1/N) + g Phi^-1(1 - 1/(N e)), g Euler's constant (Bailey, Borwein, Lopez de Prado & Zhu 2014).
    """
    if isinstance(trials, bool) or trials < 1:
        raise ValueError(f"trials must be at least 1; was {trials}")
    if trials == 1:
        return 0.0
    first, second = ndtri(1.0 - 1.0 / trials), ndtri(1.0 - 1.0 / (trials * math.e))
    return float((1.0 - EULER_GAMMA) * first + EULER_GAMMA * second)


def min_backtest_length(trials: int, target: float = 1.0) -> float:
    """Years of backtest below which the best of `trials` skill-less trials shows an annual Sharpe of `target`.

    (E[max_N] / target)^2 (Bailey, Borwein, Lopez de Prado & Zhu 2014).
    """
    if not target > 0:
        raise ValueError(f"target must be positive; was {target}")
    return (expected_maximum(trials) / target) ** 2


@dataclass(frozen=True, slots=True)
class DeflatedSharpe:
    """The Sharpe ratio that luck alone reaches over all trials, and the probability that the true one exceeds it.

    `threshold` is per session.
    """

    threshold: float
    probability: float


def deflated_sharpe(sample: SharpeSample, trials: int, trial_variance: float) -> DeflatedSharpe:
    """Deflated Sharpe ratio of Bailey & Lopez de Prado (2014): the 2012 PSR at sqrt(V[SR_n]) E[max_N].

    Parameters
    ----------
    sample : SharpeSample
        The series shown.
    trials : int
        How many series could have been shown instead of it (itself included).
    trial_variance : float
        Variance of the trials' Sharpe ratios per session, each estimated on as many sessions as `sample`.
    """
    if not 0.0 <= trial_variance < math.inf:
        raise ValueError(f"trial_variance must be finite and not negative; was {trial_variance}")
    threshold = math.sqrt(trial_variance) * expected_maximum(trials)
    if math.isnan(sample.sharpe):
        return DeflatedSharpe(threshold, math.nan)
    probability = probabilistic_sharpe(
        sample.sharpe, sample.observations, threshold, sample.skewness, sample.kurtosis, form="2012"
    )
    return DeflatedSharpe(threshold, probability)


def trial_variance_over(sessions: int, variance: float, noise: float) -> float:
    """Variance of trials' Sharpe ratios per session if each were estimated on `sessions` sessions.

    Parameters
    ----------
    variance, noise : float
        The variance that the ratios have, and the part of it that comes from estimation (1/T over T sessions). What is
        above it is that of the true ratios, whatever the length.
    """
    return max(variance - noise, 0.0) + 1.0 / sessions


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

    values = _returns("returns", returns)
    cash = _returns("risk_free", risk_free)
    if values.shape != cash.shape:
        raise ValueError(f"risk_free must have one value per return; had {cash.size} for {values.size}")
    if values.min() <= -1.0:
        row = int(np.argmin(values))
        raise ValueError(f"returns must be greater than -1 (the account is not lost); was {values[row]} in row {row}")
    excess = values - cash
    moments = sharpe_sample(values)
    year = {"annualization": periods_per_year}
    ratios = {
        "sharpe": empyrical.sharpe_ratio(excess, **year) if _disperses(excess) else math.nan,
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

    `sharpe_standard_error` (the sample's moments), `sharpe_standard_error_normal` (Lo's) and
    `deflated_sharpe_threshold` are annual like `sharpe`; `trial_sharpe_variance` is per session. The key
    `probabilistic_sharpe_form` names the formula of `probabilistic_sharpe` and `min_track_record_sessions`.
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
    moments = (sample.skewness, sample.kurtosis)
    deflated = deflated_sharpe(sample, trials, trial_variance)
    return common | {
        "sharpe_standard_error": year * sharpe_standard_error(sample.sharpe, sample.observations, *moments),
        "sharpe_standard_error_normal": year * sharpe_standard_error(sample.sharpe, sample.observations),
        "probabilistic_sharpe": probabilistic_sharpe(sample.sharpe, sample.observations, 0.0, *moments),
        "probabilistic_sharpe_2025": probabilistic_sharpe(
            sample.sharpe, sample.observations, 0.0, *moments, form="2025"
        ),
        "min_track_record_sessions": min_track_record_length(sample.sharpe, 0.0, *moments),
        "deflated_sharpe": deflated.probability,
        "deflated_sharpe_threshold": year * deflated.threshold,
    }


def monthly_returns(sessions: NDArray[np.datetime64], returns: ArrayLike) -> Mapping[str, float]:
    """Compounded return of each calendar month that has a session, by "YYYY-MM", in time order."""
    values = _returns("returns", returns)
    days = np.asarray(sessions, dtype="datetime64[D]")
    if days.shape != values.shape:
        raise ValueError(f"sessions must be one per return; were {days.size} for {values.size}")
    if np.any(np.diff(days) <= np.timedelta64(0, "D")):
        raise ValueError("sessions must increase")
    months = days.astype("datetime64[M]")
    starts = np.flatnonzero(np.concatenate(([True], months[1:] != months[:-1])))
    growth = np.multiply.reduceat(1.0 + values, starts)
    return {str(months[start]): float(factor - 1.0) for start, factor in zip(starts, growth, strict=True)}


def _returns(name: str, values: ArrayLike) -> Floats:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or array.size < 2:
        raise ValueError(f"{name} must be one-dimensional with at least 2 sessions; was of shape {array.shape}")
    if not np.isfinite(array).all():
        row = int(np.argmin(np.isfinite(array)))
        raise ValueError(f"{name} must be finite in every session; was {array[row]} in row {row}")
    return array


def _disperses(values: Floats) -> bool:
    """Whether the spread of the values exceeds the rounding of their mean."""
    return bool(np.ptp(values) > 1e-14 * max(1.0, float(np.abs(values).max())))


def _sharpe_variance(sharpe: float, skewness: float, kurtosis: float) -> float:
    variance = 1.0 - skewness * sharpe + 0.25 * (kurtosis - 1.0) * sharpe**2
    if variance <= 0.0:
        raise ValueError(
            "skewness and kurtosis must be moments of one law (kurtosis >= 1 + skewness^2); "
            f"were {skewness} and {kurtosis}"
        )
    return variance


def _check_observations(observations: int) -> None:
    if observations < 2:
        raise ValueError(f"observations must be at least 2; was {observations}")


def _or_nan(value: float) -> float:
    number = float(value)
    return number if math.isfinite(number) else math.nan
