"""From one training window of daily data to the costs and the execution game, each figure with its error."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mfg_core.daily.costs import TradingCosts, urgency_from_risk_aversion
from mfg_core.daily.execution_prior import Estimate, ExecutionPrior, weigh
from mfg_core.daily.impact_regression import (
    MIN_DAYS,
    MIN_INSTRUMENTS,
    ImpactRegression,
    close_location,
    regress_impact,
    usual_volume,
)
from mfg_core.daily.spread_calibration import MIN_SESSIONS, SPREAD_SOURCES, Bars, by_blocks, calibrate_half_spread
from mfg_core.daily.spread_estimators import median_and_error
from mfg_core.daily.volatility_estimators import close_to_close_volatility, yang_zhang_volatility

if TYPE_CHECKING:
    from mfg_core.linear_quadratic.execution import ExecutionGame

FloatTN = NDArray[np.float64]
FloatN = NDArray[np.float64]

__all__ = ["SPREAD_SOURCES", "Estimate", "ExecutionCalibration", "ExecutionPrior", "calibrate_execution"]

VOLUME_WINDOW = 63
"""Sessions at the end of the window of which the median volume is the usual one."""

CROWD_PROXY_ERROR = 0.5
"""Systematic error of the crowd's rate, relative: closes that move together make |m| about twice the true flow's."""


@dataclass(frozen=True, slots=True)
class ExecutionCalibration:
    """The costs of one training window, the errors of their parts, and what had to be replaced.

    Attributes
    ----------
    costs : TradingCosts
    volatility_error, daily_volume_error, half_spread_error : (N,) float64
        Standard errors of the costs' arrays; NaN where the figure is pooled or the prior's.
    volatility_close, volatility_range : (N,) float64
        Close-to-close and Yang-Zhang volatility; NaN where there are too few sessions.
    spread_source : (N,) int8
        Index into `SPREAD_SOURCES`.
    replaced : (N,) bool
        Instruments whose volatility or volume is pooled, because their own data are too few: 90th percentile of the
        volatility, 10th of the volume (dear on purpose).
    temporary_impact, crowd_impact, crowd_rate : Estimate
        eta_0, eta_1, and the mean over days of |m_t|, the cross-section's mean signed participation.
    sessions : int
        Rows of the window.
    regression_days, regression_observations : int
        What the impact regression rests on.
    notes : tuple of str
        Sentences for the report: every refusal and replacement.
    """

    costs: TradingCosts
    volatility_error: FloatN
    volatility_close: FloatN
    volatility_range: FloatN
    daily_volume_error: FloatN
    half_spread_error: FloatN
    spread_source: NDArray[np.int8]
    replaced: NDArray[np.bool_]
    temporary_impact: Estimate
    crowd_impact: Estimate
    crowd_rate: Estimate
    sessions: int
    regression_days: int
    regression_observations: int
    notes: tuple[str, ...]

    def execution_game(self, *, horizon: float, risk_aversion: float, terminal_penalty: float) -> ExecutionGame:
        """The game of the fold: urgency of the median volatility, a crowd with a parent order of |m| horizon.

        The crowd that trades |m| daily volumes per session all through the horizon has |m| horizon daily volumes to
        trade; the individuals spread around it with the same standard deviation.
        """
        crowd = self.crowd_rate.value * horizon
        return self.costs.execution_game(
            horizon=horizon,
            urgency=urgency_from_risk_aversion(risk_aversion, float(np.median(self.costs.volatility))),
            terminal_penalty=terminal_penalty,
            initial_mean=crowd,
            initial_std=crowd,
        )

    def summary(self) -> dict[str, float | int | str]:
        """Scalars for a table of folds: estimates with errors, medians over instruments, counts, and the notes."""
        row: dict[str, float | int | str] = {}
        for name in ("temporary_impact", "crowd_impact", "crowd_rate"):
            estimate: Estimate = getattr(self, name)
            row[name] = estimate.value
            row[f"{name}_error"] = estimate.standard_error
            row[f"{name}_sampled"] = estimate.sampled
            row[f"{name}_sampling_error"] = estimate.sampling_error
            row[f"{name}_source"] = estimate.source
        row["median_volatility"] = float(np.median(self.costs.volatility))
        row["median_half_spread"] = float(np.median(self.costs.half_spread))
        for code, source in enumerate(SPREAD_SOURCES):
            row[f"spreads_from_{source}"] = int((self.spread_source == code).sum())
        row["replaced"] = int(self.replaced.sum())
        row["regression_days"] = self.regression_days
        row["regression_observations"] = self.regression_observations
        row["notes"] = " ".join(self.notes)
        return row


def calibrate_execution(
    *,
    close: ArrayLike,
    traded_value: ArrayLike,
    opening: ArrayLike | None = None,
    high: ArrayLike | None = None,
    low: ArrayLike | None = None,
    volume: ArrayLike | None = None,
    bid: ArrayLike | None = None,
    ask: ArrayLike | None = None,
    fee: float = 0.0,
    prior: ExecutionPrior | None = None,
    session: ArrayLike | None = None,
) -> ExecutionCalibration:
    """Volatility, volume, spread, impact and crowd of one training window, and the costs made of them.

    All arrays are (T, N) of the training window only, oldest row first, prices and volumes on one split-adjusted
    basis (that of the last row, so that the costs hold for the shares that trade next).

    Parameters
    ----------
    close : (T, N)
        NaN where the instrument did not trade.
    traded_value : (T, N)
        Money; 0 or NaN where it did not trade. Gives the volume (value/close) when `volume` is absent.
    opening, high, low : (T, N), optional
        All or none. Absent: volatility from closes, the impact and the crowd's terms are the prior's (a sign of
        the flow taken from the return would be circular), spreads without quotes by Roll (1984).
    volume : (T, N), optional
        Shares.
    bid, ask : (T, N), optional
        Closing quotes, NaN or 0 where there is none.
    fee : float
        Passed on to the costs.
    prior : ExecutionPrior, optional
    session : (T,) bool, optional
        False in rows that are no sessions but part windows which do not follow each other: nothing traded in them
        (NaN, 0), no return reaches across them, and no count or median knows of them. `VOLUME_WINDOW` such rows
        part two windows altogether.

    Returns
    -------
    ExecutionCalibration

    Raises
    ------
    ValueError
        When shapes differ, a price is negative, zero or infinite, or no instrument has 20 returns.

    Notes
    -----
    From slope to impact: the regression says that net flow Q moves the price by k sigma Q/V over the session. When
    the flow and the move accumulate evenly, the flow's mean price is half of that away from the start, and its cost
    is Q p (1/2 k sigma Q/V), which is the cost 1/2 eta sigma p Q^2/V with eta = k.
    """
    prior = prior or ExecutionPrior()
    arrays = _checked(
        close=close, traded_value=traded_value, opening=opening, high=high, low=low, volume=volume, bid=bid, ask=ask
    )
    c, value = arrays["close"], np.nan_to_num(arrays["traded_value"])
    shares = np.nan_to_num(arrays["volume"]) if "volume" in arrays else np.where(c > 0, value / c, 0.0)
    bars = (arrays["opening"], arrays["high"], arrays["low"], c) if "opening" in arrays else None
    notes: list[str] = []

    sigma_close, error_close, returns = by_blocks(close_to_close_volatility, c)
    known = (returns >= MIN_SESSIONS) & (sigma_close > 0)
    if not known.any():
        raise ValueError(
            f"close must hold at least {MIN_SESSIONS} returns of one instrument; had {returns.max(initial=0)}"
        )
    sigma_close = np.where(known, sigma_close, np.nan)
    sigma, sigma_error, sigma_range = _volatility(sigma_close, error_close, returns, bars)
    real = np.ones(len(c), dtype=np.bool_) if session is None else np.asarray(session, dtype=np.bool_)
    if real.shape != (len(c),) or np.isfinite(c[~real]).any() or shares[~real].any():
        raise ValueError("session must be one flag per row, and nothing may trade in rows that are none")
    usual, usual_error = _daily_volume(shares[real])
    replaced = ~(known & (usual > 0))
    spread, spread_error, source = calibrate_half_spread(arrays, bars, sigma, prior, notes)

    if replaced.any():
        notes.append(
            f"{int(replaced.sum())} of {replaced.size} instruments have too few sessions: "
            "their volatility or volume is pooled, dear on purpose."
        )
    if not (usual > 0).any():
        raise ValueError("traded_value must be positive for some instrument in the last sessions of the window")
    regression, impact, crowd_impact, crowd_rate = _impact(c, shares, sigma, bars, prior, notes)
    costs = TradingCosts(
        half_spread=spread,
        volatility=np.where(known, sigma, np.quantile(sigma[known], 0.9)),
        daily_volume=np.where(usual > 0, usual, np.quantile(usual[usual > 0], 0.1)),
        temporary_impact=impact.value,
        crowd_impact=crowd_impact.value,
        fee=fee,
    )
    return ExecutionCalibration(
        costs=costs,
        volatility_error=np.where(known, sigma_error, np.nan),
        volatility_close=sigma_close,
        volatility_range=sigma_range,
        daily_volume_error=usual_error,
        half_spread_error=spread_error,
        spread_source=source,
        replaced=replaced,
        temporary_impact=impact,
        crowd_impact=crowd_impact,
        crowd_rate=crowd_rate,
        sessions=int(real.sum()),
        regression_days=regression.days,
        regression_observations=regression.observations,
        notes=tuple(notes),
    )


def _checked(**given: ArrayLike | None) -> dict[str, FloatTN]:
    arrays = {name: np.asarray(values, dtype=np.float64) for name, values in given.items() if values is not None}
    shape = arrays["close"].shape
    if len(shape) != 2 or shape[0] < 2 or shape[1] < 1:
        raise ValueError(f"close must have shape (sessions >= 2, instruments >= 1); was {shape}")
    for name, values in arrays.items():
        if values.shape != shape:
            raise ValueError(f"{name} must have the shape of close, {shape}; was {values.shape}")
        least = 0.0 if name in ("traded_value", "volume", "bid", "ask") else np.finfo(np.float64).tiny
        # The reductions leave NaN out; the place is looked up only when there is something to say.
        if np.fmin.reduce(values, axis=None) < least or np.fmax.reduce(values, axis=None) == np.inf:
            row, column = np.argwhere((values < least) | np.isinf(values))[0]
            rule = "not negative" if least == 0.0 else "positive"
            raise ValueError(
                f"{name} must be {rule} and finite, or NaN; was {values[row, column]} at row {row}, instrument {column}"
            )
    for group in (("opening", "high", "low"), ("bid", "ask")):
        there = [name for name in group if name in arrays]
        if there and len(there) < len(group):
            raise ValueError(f"{', '.join(group)} must be given together; had only {', '.join(there)}")
    return arrays


def _volatility(
    sigma_close: FloatN, error_close: FloatN, returns: NDArray[np.int64], bars: Bars | None
) -> tuple[FloatN, FloatN, FloatN]:
    """Yang-Zhang where at least nine in ten of the returns have a full bar, else close to close."""
    if bars is None:
        return sigma_close, error_close, np.full(sigma_close.size, np.nan)
    sigma_range, error_range, count = by_blocks(yang_zhang_volatility, *bars)
    sigma_range = np.where((count >= MIN_SESSIONS) & (sigma_range > 0), sigma_range, np.nan)
    better = np.isfinite(sigma_range) & np.isfinite(sigma_close) & (count >= 0.9 * returns)
    return np.where(better, sigma_range, sigma_close), np.where(better, error_range, error_close), sigma_range


def _daily_volume(shares: FloatTN) -> tuple[FloatN, FloatN]:
    """Median of the last sessions, sessions without trade counted as 0; the mean where that median is 0."""
    last = shares[-VOLUME_WINDOW:]
    median, error, _ = median_and_error(last)
    mean = last.mean(axis=0)
    traded = (last > 0).sum(axis=0) > 1
    mean_error = last.std(axis=0, ddof=1) / np.sqrt(len(last))
    usual = np.where(median > 0, median, mean)
    return np.where(traded, usual, np.nan), np.where(traded, np.where(median > 0, error, mean_error), np.nan)


def _impact(
    close: FloatTN,
    shares: FloatTN,
    sigma: FloatN,
    bars: Bars | None,
    prior: ExecutionPrior,
    notes: list[str],
) -> tuple[ImpactRegression, Estimate, Estimate, Estimate]:
    standardised = np.full_like(close, np.nan)
    standardised[1:] = np.diff(np.log(close), axis=0) / sigma
    location = np.full_like(close, np.nan) if bars is None else close_location(bars[1], bars[2], close)
    relative = np.where(shares > 0, shares / usual_volume(shares), np.nan)
    regression = regress_impact(standardised, location, relative)
    if bars is None:
        notes.append(
            "No daily bars: the sign of the flow would be that of the return, so impact and crowd are the prior's."
        )
    elif not np.isfinite(regression.slope).all():
        notes.append(
            f"Impact regression refused ({regression.days} days of at least {MIN_INSTRUMENTS} instruments, {MIN_DAYS} "
            "needed, with volumes that vary): prior used."
        )
    else:
        notes.append(
            "Daily bars show a proxy of the flow: the impact's slope is biased towards 0 and the crowd term's hardly "
            "answers to the truth, so both stay near the prior, with its error."
        )
    if regression.dropped:
        notes.append(
            f"{regression.dropped} sessions of instruments with outsize volume left out of the impact regression."
        )
    slopes = []
    for place, name, symbol in ((0, "temporary_impact", "eta0"), (1, "crowd_impact", "eta1")):
        slopes.append(
            weigh(
                float(regression.slope[place]),
                float(np.sqrt(regression.covariance[place, place])),
                getattr(prior, name),
                getattr(prior, f"{name}_std"),
                getattr(prior, f"{name}_proxy_error"),
                symbol,
                notes,
            )
        )
    return regression, slopes[0], slopes[1], _crowd_rate(regression.crowd, prior)


def _crowd_rate(crowd: NDArray[np.float64], prior: ExecutionPrior) -> Estimate:
    rates = np.abs(crowd[np.isfinite(crowd)])
    if rates.size < MIN_DAYS:
        return Estimate(prior.crowd_rate, prior.crowd_rate, np.nan, np.nan, "prior")
    mean, error = float(rates.mean()), float(rates.std(ddof=1) / np.sqrt(rates.size))
    return Estimate(mean, float(np.hypot(error, CROWD_PROXY_ERROR * mean)), mean, error, "data")
