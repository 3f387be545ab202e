"""How likely a Sharpe ratio that passes a test is a false discovery, given how often strategies of a kind are real.

Lopez de Prado, Lipton & Zoonekynd (2025, "How to Use the Sharpe Ratio", sections 3 to 6). A p-value is not the
probability that a strategy has no skill; that needs a prior and the power of the test. Everything is per session.
"""

from __future__ import annotations

from scipy.special import expit, log_ndtr, logit, ndtr, ndtri

from backtests.evidence.sharpe import sharpe_standard_error


def critical_sharpe(
    observations: int,
    null: float = 0.0,
    skewness: float = 0.0,
    kurtosis: float = 3.0,
    *,
    size: float = 0.05,
    autocorrelation: float = 0.0,
) -> float:
    """Sharpe ratio above which a true one of `null` is rejected at `size` (one-sided)."""
    _check_probability("size", size)
    error = sharpe_standard_error(null, observations, skewness, kurtosis, autocorrelation)
    return null + float(ndtri(1.0 - size)) * error


def sharpe_power(
    observations: int,
    alternative: float,
    null: float = 0.0,
    skewness: float = 0.0,
    kurtosis: float = 3.0,
    *,
    size: float = 0.05,
    autocorrelation: float = 0.0,
) -> float:
    """Probability that a true Sharpe ratio of `alternative` passes the test against `null`; one less it is the beta."""
    if not alternative > null:
        raise ValueError(f"alternative must be above null, {null}; was {alternative}")
    moments = (skewness, kurtosis)
    critical = critical_sharpe(observations, null, *moments, size=size, autocorrelation=autocorrelation)
    error = sharpe_standard_error(alternative, observations, *moments, autocorrelation)
    return float(ndtr((alternative - critical) / error))


def planned_false_discovery_rate(prior: float, size: float, power: float) -> float:
    """Probability of no skill given that the test of that size and power is passed (pFDR).

    Parameters
    ----------
    prior : float
        Part of all strategies tried that have the alternative's Sharpe ratio.
    """
    _check_probability("prior", prior)
    _check_probability("size", size)
    if not 0.0 < power <= 1.0:  # that of a test of many sessions rounds to 1
        raise ValueError(f"power must be in (0, 1]; was {power}")
    return size * (1.0 - prior) / (size * (1.0 - prior) + power * prior)


def observed_false_discovery_rate(
    sharpe: float,
    observations: int,
    alternative: float,
    prior: float,
    null: float = 0.0,
    skewness: float = 0.0,
    kurtosis: float = 3.0,
    *,
    autocorrelation: float = 0.0,
) -> float:
    """Probability of no skill given a Sharpe ratio of at least the one observed (oFDR).

    By logarithms of the tails: of a ratio far above both hypotheses neither tail is a float64, and their ratio is.
    """
    _check_probability("prior", prior)
    if not alternative > null:
        raise ValueError(f"alternative must be above null, {null}; was {alternative}")
    tails = [
        float(
            log_ndtr((true - sharpe) / sharpe_standard_error(true, observations, skewness, kurtosis, autocorrelation))
        )
        for true in (null, alternative)
    ]
    return float(expit(tails[0] - tails[1] - logit(prior)))


def _check_probability(name: str, value: float) -> None:
    if not 0.0 < value < 1.0:
        raise ValueError(f"{name} must be in (0, 1); was {value}")
