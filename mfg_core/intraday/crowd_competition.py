"""How much of the crowd's quote orders follow: the competition c of A exp(-k (delta - c h)), with its error."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from mfg_core.errors import SolveError
from mfg_core.intraday.intensity_covariates import spread_covariate
from mfg_core.intraday.intensity_fit import IntensityFit, calibrate_intensity

if TYPE_CHECKING:
    from mfg_core.intraday.intensity_exposure import BookPath, Trades

Floats = NDArray[np.float64]

DEFAULT_COMPETITION = 0.5
"""Where the data do not tell c. At 0 there is no crowd; at 1 its quotes turn nobody away, so that the total flow has no
bound and a few per cent of imbalance skew every quote. Half-way is neither, and is a choice, not an estimate."""

WIDEST = 0.5
"""Width of the confidence interval of c from which on it does not tell a crowd from none."""


@dataclass(frozen=True, slots=True, eq=False)
class CompetitionEstimate:
    """c from the flow at different spreads against the depth that orders reach.

    Attributes
    ----------
    value, error : float
        The estimate, which the data may put outside [0, 1], and its robust standard error; nan without one.
    low, high : float
        Confidence interval.
    used : float
        The estimate within [0, 1], or `DEFAULT_COMPETITION`.
    identified : bool
        The interval is narrower than `WIDEST` and meets [0, 1].
    reason : str
        Why it is not; empty when it is.
    p_alone, p_full : float
        Two-sided p values of c = 0 and of c = 1.
    fit : IntensityFit or None
        With the spread as a covariate.
    covariance : (4, 4) float64
        Of (log ask_arrival, log bid_arrival, fill_decay, c), the arrivals being the game's: those of a crowd that
        quotes the mid.
    """

    value: float
    error: float
    low: float
    high: float
    used: float
    identified: bool
    reason: str
    p_alone: float
    p_full: float
    fit: IntensityFit | None
    covariance: Floats


def calibrate_competition(
    book: BookPath, trades: Trades, *, tick: float, level: float = 0.95, **options: Any
) -> CompetitionEstimate:
    """c of lambda = A exp(-k (delta - c h)), h being the crowd's distance from the mid (the best quote's).

    At a fixed distance the intensity rises with the half-spread h: with h as a covariate of the Poisson regression its
    coefficient is k c. k itself is told by how far orders walk beyond the best quote, k (1 - c) by how much rarer they
    are while the best quote is far away; so c = 1 - (decay by arrivals) / (decay by depth), and errors of either move
    it: orders that are sized to the best quote make k too large and c too near to 1, and orders that come in bursts
    which widen the spread have the same effect.

    Parameters
    ----------
    book, trades, tick
    level : float
        Of the interval.
    options
        Of `calibrate_intensity`, without `competition` and `decay_by_side`.

    Returns
    -------
    CompetitionEstimate
        Also when the data do not tell c: with the reason.

    Raises
    ------
    ValueError
        When an argument is out of range.
    """
    if not 0.5 < level < 1.0:
        raise ValueError(f"level must be between 0.5 and 1; was {level}")
    if options.get("evidence", "all") != "all":
        return _untold("evidence must be 'all': it takes both arrivals and depth to tell competition")
    covariates = (*options.pop("covariates", ()), spread_covariate(book, tick))
    try:
        fit = calibrate_intensity(book, trades, tick=tick, covariates=covariates, **options)
    except (ValueError, SolveError) as error:
        return _untold(f"flow at different spreads and depth do not tell it apart: {error}")
    value, covariance = _with_competition(fit)
    error_of_value = float(np.sqrt(covariance[3, 3]))
    reach = float(ndtri(0.5 + 0.5 * level)) * error_of_value
    low, high = value - reach, value + reach
    if high < 0.0 or low > 1.0:
        way = "more" if low > 1.0 else "less"
        reason = (
            f"the estimate {value:.3g} ± {error_of_value:.2g} lies outside [0, 1]: the flow rises {way} with the "
            "spread than any competition between 0 and 1 lets it"
        )
    elif not 2.0 * reach < WIDEST:
        reason = f"the interval {low:.3g} to {high:.3g} is too wide to tell a crowd from none"
    else:
        reason = ""
    return CompetitionEstimate(
        value=value,
        error=error_of_value,
        low=low,
        high=high,
        used=DEFAULT_COMPETITION if reason else min(max(value, 0.0), 1.0),
        identified=not reason,
        reason=reason,
        p_alone=_two_sided(value / error_of_value),
        p_full=_two_sided((value - 1.0) / error_of_value),
        fit=fit,
        covariance=covariance,
    )


def _untold(reason: str) -> CompetitionEstimate:
    unknown = float("nan")
    return CompetitionEstimate(
        *(unknown,) * 4, DEFAULT_COMPETITION, False, reason, unknown, unknown, None, np.full((4, 4), unknown)
    )


def _two_sided(score: float) -> float:
    return float(2.0 * ndtr(-abs(score)))


def _with_competition(fit: IntensityFit) -> tuple[float, Floats]:
    """c and the covariance of (log A_a, log A_b, k, c), by the delta method.

    The fit has log A_s - k delta + b (spread / tick - its mean); so k c = 2 b / tick, and the game's arrivals are
    log A_s - b mean.
    """
    size, b, k = len(fit.names), float(fit.coefficients[-2]), fit.fill_decay
    if fit.session is None:
        raise ValueError("fit must be of trades and quotes")
    c = 2.0 * b / fit.session.tick / k
    mean = float(fit.covariate_means[-1])
    slope = np.zeros((4, size))
    for side in (0, 1):
        slope[side, side], slope[side, size - 2] = 1.0, -mean
    slope[2, size - 1] = 1.0
    slope[3, size - 2], slope[3, size - 1] = 2.0 / fit.session.tick / k, -c / k
    return c, slope @ fit.covariance @ slope.T


def game_intensities(
    fit: IntensityFit, crowd: CompetitionEstimate | None, c: float, share: float
) -> tuple[tuple[float, float], Floats]:
    """The game's arrivals, and the (4, 4) covariance of (A_a, A_b, k, c).

    log A_game = log A - c k mean half-spread. At the end of [0, 1] the estimate's covariance stays what it was.
    """
    if fit.session is None:
        raise ValueError("fit must be of trades and quotes")
    crowd_quote = fit.session.mean_half_spread * fit.session.tick
    anchor = float(np.exp(-c * fit.fill_decay * crowd_quote))
    ask, bid = fit.ask_arrival * anchor, fit.bid_arrival * anchor
    if crowd is not None and crowd.identified:
        scale = np.array([ask * share, bid * share, 1.0, 1.0])
        return (ask * share, bid * share), crowd.covariance * np.outer(scale, scale)
    scale = np.array([share, share, 1.0, 1.0])
    slope = np.array(
        [
            [anchor, 0.0, -c * crowd_quote * ask],
            [0.0, anchor, -c * crowd_quote * bid],
            [0.0, 0.0, 1.0],
            [0.0, 0.0, 0.0],
        ]
    )
    covariance = slope @ fit.game_covariance() @ slope.T
    return (ask * share, bid * share), np.asarray(covariance * np.outer(scale, scale))
