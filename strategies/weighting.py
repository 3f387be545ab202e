"""What the pods share: who may be bought, how large a position may be, and how much volatility the whole may have."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from data_pipeline.daily.view import MarketView

Floats = NDArray[np.float64]

SESSIONS_PER_YEAR = 252


def tradable_universe(view: MarketView, min_traded_value: float, window: int, min_presence: float) -> NDArray[np.bool_]:
    """Instruments (N,) that were liquid over the last `window` sessions and traded in the decision session itself.

    Parameters
    ----------
    min_traded_value : float
        Least median traded value per session, R$.
    min_presence : float
        Least fraction of the sessions with a trade.
    """
    window = min(window, view.n_sessions)
    traded_now = np.isfinite(view.history("close", 1, adjusted=False)[0])
    return np.asarray(view.eligible(min_traded_value, window, min_presence) & traded_now)


def annual_volatility(returns: Floats, min_observations: int = 20) -> Floats:
    """Annualised sample standard deviation of each column of `returns` (W, N); NaN where unknown or zero.

    Missing returns are left out, and fewer than `min_observations` give NaN; so does a volatility of zero, which is a
    share that did not really trade.
    """
    known = np.isfinite(returns)
    count = known.sum(axis=0)
    filled = np.where(known, returns, 0.0)
    enough = count >= max(min_observations, 2)
    divisor = np.where(enough, count, 2)
    mean = filled.sum(axis=0) / divisor
    squares = np.where(known, (returns - mean) ** 2, 0.0).sum(axis=0)
    deviation = np.sqrt(squares / (divisor - 1) * SESSIONS_PER_YEAR)
    return np.where(enough & (deviation > 0.0), deviation, np.nan)


def compound_return(returns: Floats, min_observations: int) -> Floats:
    """Product of 1 + return minus 1 down each column of `returns` (W, N); NaN where fewer than that are known."""
    known = np.isfinite(returns)
    total = np.prod(1.0 + np.where(known, returns, 0.0), axis=0) - 1.0
    return np.where(known.sum(axis=0) >= max(min_observations, 1), total, np.nan)


def cap_weights(weights: Floats, max_weight: float) -> Floats:
    """`weights` (N,) with no |weight| above `max_weight`, the excess given to the others in proportion to their own.

    Signs stay. The gross sum stays too, unless every position is at its cap.

    >>> cap_weights(np.array([0.6, 0.3, 0.1]), 0.5).round(12).tolist()
    [0.5, 0.375, 0.125]
    """
    size = np.abs(weights)
    gross = float(size.sum())
    capped = np.zeros(size.shape, dtype=np.bool_)
    result = size.copy()
    # Each round caps at least one more position, so N rounds are enough.
    for _ in range(size.size):
        over = (result > max_weight) & ~capped
        if not over.any():
            break
        capped |= over
        free = size[~capped].sum()
        room = gross - max_weight * float(capped.sum())
        result[capped] = max_weight
        if free > 0.0:
            result[~capped] = size[~capped] * (max(room, 0.0) / free)
    return np.asarray(np.copysign(result, weights) * (weights != 0.0))


def scale_to_volatility(weights: Floats, returns: Floats, target: float, gross_limit: float) -> Floats:
    """`weights` (N,) times one factor, so that their past volatility is `target`, never above the gross limit.

    The past volatility is that of the returns (W, N) which these very weights would have had (a missing return counts
    as zero), so correlation is taken as it was. When it cannot be measured the weights are only kept to the limit.

    Parameters
    ----------
    target : float
        Annual volatility of the whole, a fraction; infinity: as much as the gross limit allows.
    """
    gross = float(np.abs(weights).sum())
    if gross == 0.0:
        return weights
    volatility = float(annual_volatility((np.nan_to_num(returns) @ weights)[:, None])[0])
    factor = target / volatility if np.isfinite(volatility) else 1.0
    return np.asarray(weights * min(factor, gross_limit / gross))


def rebalances(view: MarketView, every: int) -> bool:
    """Whether a decision is due: every `every` sessions of the panel, and at once while nothing is held."""
    return view.n_sessions % every == 0 or not np.any(view.weights)
