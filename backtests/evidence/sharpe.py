"""How uncertain a Sharpe ratio is, and what is left of it after counting every trial.

Sharpe ratios here are per session unless a name says annual; kurtosis is not in excess (normal: 3). Two forms are in
use, and a report names the one it prints, because they differ visibly on short samples:

"2012"  Bailey & Lopez de Prado (2012, 2014): variance at the Sharpe ratio observed, over T - 1, independent returns.
"2025"  Lopez de Prado, Lipton & Zoonekynd (2025, "How to Use the Sharpe Ratio"): variance at the Sharpe ratio of the
        null hypothesis, over T, with first-order serial correlation.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr, ndtri

EULER_GAMMA = 0.5772156649015329
SharpeForm = Literal["2012", "2025"]
Floats = NDArray[np.float64]


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
    autocorrelation : float
        Of a session's return with the next one's.
    """

    sharpe: float
    skewness: float
    kurtosis: float
    observations: int
    autocorrelation: float = 0.0


def sharpe_sample(excess_returns: ArrayLike) -> SharpeSample:
    """Sharpe ratio per session and the moments of (T,) excess returns."""
    excess = checked_returns("excess_returns", excess_returns)
    centred = excess - excess.mean()
    variance = float(np.mean(centred**2))
    if not disperses(excess):
        return SharpeSample(math.nan, math.nan, math.nan, excess.size, math.nan)
    return SharpeSample(
        sharpe=float(excess.mean() / excess.std(ddof=1)),
        skewness=float(np.mean(centred**3) / variance**1.5),
        kurtosis=float(np.mean(centred**4) / variance**2),
        observations=excess.size,
        autocorrelation=float(np.sum(centred[1:] * centred[:-1]) / (excess.size * variance)),
    )


def sharpe_standard_error(
    sharpe: float, observations: int, skewness: float = 0.0, kurtosis: float = 3.0, autocorrelation: float = 0.0
) -> float:
    """Standard error of a Sharpe ratio per session, sqrt((a - b g3 SR + c (g4 - 1)/4 SR^2) / T).

    For independent returns a = b = c = 1: with the default moments Lo's (2002, "The statistics of Sharpe ratios",
    eq. 8) sqrt((1 + SR^2/2)/T) for normal returns; with the sample's moments the form of Mertens (2002).

    For an autoregression of order one, x_t = r x_{t-1} + e_t with independent e (Lopez de Prado, Lipton & Zoonekynd
    2025, eq. 2), a = (1 + r)/(1 - r), b = 1 + r/(1 - r) + r^2/(1 - r^2), c = (1 + r^2)/(1 - r^2).
    """
    _check_observations(observations)
    return math.sqrt(_sharpe_variance(sharpe, skewness, kurtosis, autocorrelation) / observations)


def probabilistic_sharpe(
    sharpe: float,
    observations: int,
    benchmark: float = 0.0,
    skewness: float = 0.0,
    kurtosis: float = 3.0,
    *,
    form: SharpeForm = "2012",
    autocorrelation: float = 0.0,
) -> float:
    """One minus the p-value of "the true Sharpe ratio (per session) is `benchmark`" against "it is larger".

    It is often read as the probability that the true ratio exceeds the benchmark; that needs a prior (`discovery`).

    Parameters
    ----------
    form : "2012" or "2025"
        "2012": Bailey & Lopez de Prado (2012), Phi[(SR - SR*) sqrt(T - 1) / sqrt(1 - g3 SR + (g4 - 1)/4 SR^2)].
        "2025": Lopez de Prado, Lipton & Zoonekynd (2025), the variance taken at the benchmark and divided by T.
    autocorrelation : float
        Of successive returns; only the "2025" form has it.
    """
    _check_observations(observations)
    _check_form(form, autocorrelation)
    if form == "2012":
        error = math.sqrt(_sharpe_variance(sharpe, skewness, kurtosis) / (observations - 1))
    else:
        error = sharpe_standard_error(benchmark, observations, skewness, kurtosis, autocorrelation)
    return float(ndtr((sharpe - benchmark) / error))


def min_track_record_length(
    sharpe: float,
    benchmark: float = 0.0,
    skewness: float = 0.0,
    kurtosis: float = 3.0,
    *,
    confidence: float = 0.95,
    form: SharpeForm = "2012",
    autocorrelation: float = 0.0,
) -> float:
    """Observations after which `probabilistic_sharpe` reaches `confidence`; infinity when SR <= benchmark.

    Bailey & Lopez de Prado (2012): 1 + (1 - g3 SR + (g4 - 1)/4 SR^2) (z / (SR - SR*))^2. The "2025" form takes the
    variance at the benchmark, with serial correlation, and has no 1.
    """
    if not 0.5 < confidence < 1.0:
        raise ValueError(f"confidence must be in (0.5, 1); was {confidence}")
    _check_form(form, autocorrelation)
    if not sharpe > benchmark:
        return math.nan if math.isnan(sharpe) else math.inf
    quantile = (float(ndtri(confidence)) / (sharpe - benchmark)) ** 2
    if form == "2012":
        return 1.0 + _sharpe_variance(sharpe, skewness, kurtosis) * quantile
    return _sharpe_variance(benchmark, skewness, kurtosis, autocorrelation) * quantile


def expected_maximum(trials: int) -> float:
    """Approximate expected maximum of `trials` independent standard normals (0 for one trial).

    (1 - g) Phi^-1(1 - 1/N) + g Phi^-1(1 - 1/(N e)), g Euler's constant (Bailey, Borwein, Lopez de Prado & Zhu 2014).
    """
    _check_trials(trials)
    if trials == 1:
        return 0.0
    first, second = ndtri(1.0 - 1.0 / trials), ndtri(1.0 - 1.0 / (trials * math.e))
    return float((1.0 - EULER_GAMMA) * first + EULER_GAMMA * second)


def variance_of_maximum(trials: int) -> float:
    """Variance of the maximum of `trials` independent standard normals, by quadrature of its density N phi Phi^(N-1).

    1 for one trial, 1 - 1/pi for two; the trapezoidal rule on so smooth a density is exact to rounding.
    """
    _check_trials(trials)
    z = np.linspace(-10.0, 14.0, 9601)
    density = trials * np.exp(-0.5 * z**2) / math.sqrt(2.0 * math.pi) * ndtr(z) ** (trials - 1)
    step = z[1] - z[0]
    mean = float(step * np.sum(z * density))
    return float(step * np.sum((z - mean) ** 2 * density))


def min_backtest_length(trials: int, target: float = 1.0) -> float:
    """Years of backtest below which the best of `trials` skill-less trials shows an annual Sharpe of `target`.

    (E[max_N] / target)^2 (Bailey, Borwein, Lopez de Prado & Zhu 2014).
    """
    if not target > 0:
        raise ValueError(f"target must be positive; was {target}")
    return (expected_maximum(trials) / target) ** 2


@dataclass(frozen=True, slots=True)
class DeflatedSharpe:
    """The Sharpe ratio that luck alone reaches over all trials, and the probabilistic Sharpe ratio against it.

    `threshold` is per session.
    """

    threshold: float
    probability: float


def deflated_sharpe(
    sample: SharpeSample, trials: int, trial_variance: float, *, form: SharpeForm = "2012"
) -> DeflatedSharpe:
    """Deflated Sharpe ratio: the probabilistic one at sqrt(V[SR_n]) E[max_N].

    Parameters
    ----------
    sample : SharpeSample
        The series shown.
    trials : int
        How many series could have been shown instead of it (itself included).
    trial_variance : float
        Variance of the trials' Sharpe ratios per session, each estimated on as many sessions as `sample`.
    form : "2012" or "2025"
        "2012": Bailey & Lopez de Prado (2014). "2025": Lopez de Prado, Lipton & Zoonekynd (2025, eq. 29-30): the
        variance taken at the threshold, with the sample's autocorrelation, times that of the largest of N normals.
        That maximum varies less than one draw, so this form is the more decided one on either side of the threshold.
    """
    if not 0.0 <= trial_variance < math.inf:
        raise ValueError(f"trial_variance must be finite and not negative; was {trial_variance}")
    _check_form(form, 0.0)
    threshold = math.sqrt(trial_variance) * expected_maximum(trials)
    if math.isnan(sample.sharpe):
        return DeflatedSharpe(threshold, math.nan)
    moments = (sample.skewness, sample.kurtosis)
    if form == "2012":
        return DeflatedSharpe(
            threshold, probabilistic_sharpe(sample.sharpe, sample.observations, threshold, *moments, form="2012")
        )
    error = sharpe_standard_error(threshold, sample.observations, *moments, sample.autocorrelation)
    error *= math.sqrt(variance_of_maximum(trials))
    return DeflatedSharpe(threshold, float(ndtr((sample.sharpe - threshold) / error)))


def trial_variance_over(sessions: int, variance: float, noise: float) -> float:
    """Variance of trials' Sharpe ratios per session if each were estimated on `sessions` sessions.

    Parameters
    ----------
    variance, noise : float
        The variance that the ratios have, and the part of it that comes from estimation (1/T over T sessions). What is
        above it is that of the true ratios, whatever the length.
    """
    return max(variance - noise, 0.0) + 1.0 / sessions


def checked_returns(name: str, values: ArrayLike) -> Floats:
    """(T,) finite float64 returns of at least two sessions, or a ValueError naming the first that is not finite."""
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or array.size < 2:
        raise ValueError(f"{name} must be one-dimensional with at least 2 sessions; was of shape {array.shape}")
    if not np.isfinite(array).all():
        row = int(np.argmin(np.isfinite(array)))
        raise ValueError(f"{name} must be finite in every session; was {array[row]} in row {row}")
    return array


def disperses(values: Floats) -> bool:
    """Whether the spread of the values exceeds the rounding of their mean."""
    return bool(np.ptp(values) > 1e-14 * max(1.0, float(np.abs(values).max())))


def _sharpe_variance(sharpe: float, skewness: float, kurtosis: float, autocorrelation: float = 0.0) -> float:
    """T times the asymptotic variance of the Sharpe ratio."""
    if not -1.0 < autocorrelation < 1.0:
        raise ValueError(f"autocorrelation must be in (-1, 1); was {autocorrelation}")
    r = autocorrelation
    once, twice = r / (1.0 - r), r**2 / (1.0 - r**2)
    squares = (1.0 + 2.0 * twice) * 0.25 * (kurtosis - 1.0) * sharpe**2
    variance = 1.0 + 2.0 * once - (1.0 + once + twice) * skewness * sharpe + squares
    if variance <= 0.0:
        raise ValueError(
            "skewness and kurtosis must be moments of one law (kurtosis >= 1 + skewness^2); "
            f"were {skewness} and {kurtosis}"
        )
    return variance


def _check_form(form: SharpeForm, autocorrelation: float) -> None:
    if form not in ("2012", "2025"):
        raise ValueError(f"form must be '2012' or '2025'; was {form!r}")
    if form == "2012" and autocorrelation != 0.0:
        raise ValueError(
            f"autocorrelation must be 0 in the 2012 form (independent returns); was {autocorrelation}: use form='2025'"
        )


def _check_observations(observations: int) -> None:
    if observations < 2:
        raise ValueError(f"observations must be at least 2; was {observations}")


def _check_trials(trials: int) -> None:
    if isinstance(trials, bool) or trials < 1:
        raise ValueError(f"trials must be at least 1; was {trials}")
