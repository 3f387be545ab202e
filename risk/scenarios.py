"""Today's weights through the past: the scenarios of the historical method."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from risk.var import expected_shortfall, value_at_risk


def scenario_returns(weights: ArrayLike, returns: ArrayLike, *, min_coverage: float = 0.9) -> NDArray[np.float64]:
    """Return (T,) that the book `weights` would have had in each past session, as a fraction of the net asset value.

    Parameters
    ----------
    weights : (N,) float64
        Signed, finite; the rest of the book is cash, whose return is left out.
    returns : (T, N) float64
        Past simple returns; NaN where the instrument had none (not listed, not traded). Only those of instruments with
        a weight are read.
    min_coverage : float
        A session in which the instruments with a return make up less than this share of the gross book is NaN.

    Notes
    -----
    Where some positions have no return, the sum over the others is divided by the share of the gross book that they
    make up: to count the missing ones as zero would understate every loss. An empty book has 0 everywhere.
    """
    w = np.asarray(weights, dtype=np.float64)
    r = np.asarray(returns, dtype=np.float64)
    if w.ndim != 1 or r.ndim != 2 or r.shape[1] != w.size:
        raise ValueError(f"returns must have shape (T, {w.size}) for weights of shape {w.shape}; was {r.shape}")
    if not np.isfinite(w).all():
        raise ValueError(f"weights must be finite; was not at instrument {int(np.argmin(np.isfinite(w)))}")
    if not 0 < min_coverage <= 1:
        raise ValueError(f"min_coverage must be in (0, 1]; was {min_coverage}")
    held = np.flatnonzero(w)
    if held.size == 0:
        return np.zeros(len(r))
    w, r = w[held], r[:, held]
    present = np.isfinite(r)
    if present.all():
        return np.asarray(r @ w)
    if np.isinf(r).any():
        raise ValueError("returns must be finite or NaN; were infinite for an instrument that is held")
    # Exactly 1 for a complete row, whatever the rounding of the shares' sum.
    coverage = np.where(present.all(axis=1), 1.0, present @ (np.abs(w) / np.abs(w).sum()))
    total = np.where(present, r, 0.0) @ w
    enough = coverage >= min_coverage
    return np.where(enough, total / np.where(enough, coverage, 1.0), np.nan)


def scenario_risk(
    weights: ArrayLike,
    returns: ArrayLike,
    *,
    var_confidence: float = 0.99,
    es_confidence: float = 0.975,
    min_scenarios: int = 100,
    min_coverage: float = 0.9,
) -> tuple[float, float]:
    """(VaR, ES) of the book over one session from past returns; (NaN, NaN) with fewer than `min_scenarios` sessions.

    The least number is 100 for a 99 % VaR: below it the answer is the worst day and says nothing about 1 %.
    """
    profit = scenario_returns(weights, returns, min_coverage=min_coverage)
    if np.isfinite(profit).sum() < min_scenarios:
        return np.nan, np.nan
    return value_at_risk(profit, var_confidence), expected_shortfall(profit, es_confidence)
