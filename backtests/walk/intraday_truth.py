"""One training session measured, and several pooled to the market that a pod is fitted on."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from backtests.walk.intraday_plan import MarketCalibrationSettings, TradingDay
from data_pipeline.disk import canonical_json
from strategies.intraday.pod import MarketTruth
from strategies.intraday.rule import Instrument

if TYPE_CHECKING:
    from data_pipeline.book.record import IntradayRecord

Floats = NDArray[np.float64]
FEWEST_ORDERS = 20
"""Orders of a session below which it is not fitted: three parameters need more than a handful."""


def measure_session(
    record: IntradayRecord, settings: MarketCalibrationSettings, *, tick: float, lot: float
) -> dict[str, Any]:
    """What one session tells of the game's parameters, in JSON types; where it tells nothing, `reason` says why.

    `theta` is (log A ask, log A bid, k) at the mid, with one log A where the sides are told to be alike, and
    `information` the inverse of its robust covariance.
    """
    from data_pipeline.book.record import quotes_outside_gaps
    from mfg_core.errors import SolveError
    from mfg_core.intraday.intensity_exposure import BookPath, Trades
    from mfg_core.intraday.market_calibration import calibrate_market_making
    from mfg_core.intraday.market_orders import group_orders

    quotes, shown = quotes_outside_gaps(record), record.trades.take(~record.trades.hidden)
    book = BookPath(quotes.times, quotes.bid, quotes.ask)
    trades = Trades(shown.times, shown.price, shown.size, shown.side)
    try:
        orders = group_orders(trades, trades.side, within=settings.join_within)
        if orders.size.size < FEWEST_ORDERS:
            return {"session": record.day, "reason": f"{orders.size.size} market orders; {FEWEST_ORDERS} are needed"}
        found = calibrate_market_making(
            book,
            trades,
            tick=tick,
            max_ticks=settings.max_ticks,
            session_end=record.end,
            risk_aversion=0.0,
            competition=settings.competition,
            symmetric=settings.symmetric,
            horizon_seconds=settings.adverse_seconds,
            horizons=(settings.adverse_seconds,),
            evidence=settings.evidence,
            inside=settings.inside,
            within=settings.join_within,
            blocks=settings.blocks,
        )
    except (ValueError, SolveError) as error:
        return {"session": record.day, "reason": str(error)}
    seconds = np.diff(np.append(book.time, record.end))
    seen = np.isfinite(book.mid) & (seconds > 0)
    adverse_error = float(np.sqrt(found.covariance[3, 3]))
    last = len(found.intensity.names) - 1
    places = [0, last] if settings.symmetric else [0, 1, last]
    return {
        "session": record.day,
        "theta": found.intensity.coefficients[places],
        "information": np.linalg.inv(found.intensity.covariance[np.ix_(places, places)]),
        "variance": found.volatility.variance,
        "variance_error": found.volatility.variance_error,
        "half_spread": found.half_spread,
        "adverse_selection": found.adverse_selection,
        "adverse_error": adverse_error,
        "mid": float(book.mid[seen] @ seconds[seen] / seconds[seen].sum()),
        "trade_lots": float(orders.size.mean()) / lot,
        "orders": int(orders.size.size),
        "seconds": float(seconds[seen].sum()),
        "notes": list(found.notes),
    }


def session_features(
    record: IntradayRecord, day: TradingDay, instrument: Instrument, interval_seconds: float
) -> dict[str, Floats]:
    """Flow, moves and spread of each interval in which rules act; see `strategies.intraday.features`."""
    from strategies.intraday.features import interval_features

    quotes, shown = record.quotes, record.trades.take(~record.trades.hidden)
    return interval_features(
        quote_times=quotes.times,
        bid=quotes.bid,
        ask=quotes.ask,
        trade_times=shown.times,
        size=shown.size,
        side=shown.side,
        start=day.start,
        end=day.liquidate,
        interval_seconds=interval_seconds,
        tick_size=instrument.tick_size,
        lot_size=instrument.lot_size,
    )


def pool_sessions(
    measures: Sequence[Mapping[str, Any]], settings: MarketCalibrationSettings, *, where: str
) -> tuple[MarketTruth, dict[str, Any]]:
    """The market of several sessions, and the record of how it was found.

    Arrivals and decay are the generalised least squares of the sessions' estimates, each weighted by its information:
    to first order the likelihood of all sessions together (one A and k for all). `heterogeneity` is Cochran's Q with
    its degrees of freedom: far above them, the sessions differ by more than their errors. Variance and half-spread
    are means over the seconds, adverse selection and trade sizes over the orders, guesses of the queue over sessions.

    Raises
    ------
    ValueError
        When no session tells anything.
    """
    told = [item for item in measures if "reason" not in item]
    silent = [f"{item['session']}: {item['reason']}" for item in measures if "reason" in item]
    if not told:
        raise ValueError(f"{where}: no training session could be calibrated: {'; '.join(silent)}")
    theta = np.array([item["theta"] for item in told])
    information = np.array([item["information"] for item in told])
    total = information.sum(axis=0)
    pooled = np.linalg.solve(total, np.einsum("sij,sj->i", information, theta))
    apart = theta - pooled
    spread = float(np.einsum("si,sij,sj->", apart, information, apart))
    seconds = np.array([item["seconds"] for item in told])
    orders = np.array([item["orders"] for item in told], dtype=np.float64)

    def mean(name: str, weights: Floats) -> float:
        return float(weights @ np.array([item[name] for item in told]) / weights.sum())

    variance = mean("variance", seconds)
    if not pooled[-1] > 0.0 or not variance > 0.0:
        raise ValueError(
            f"{where}: the training sessions give a fill decay of {pooled[-1]:.4g} and a variance of {variance:.4g} "
            "a second; both must be positive: use more sessions, or other calibration settings"
        )
    errors = [float(error) for error in np.sqrt(np.diag(np.linalg.inv(total)))]
    ask, bid = (settings.fill_share * math.exp(float(pooled[place])) for place in (0, pooled.size - 2))
    truth = MarketTruth(
        ask_arrival=ask,
        bid_arrival=bid,
        fill_decay=float(pooled[-1]),
        volatility=math.sqrt(variance),
        half_spread=mean("half_spread", seconds),
        adverse_selection=mean("adverse_selection", orders),
        competition=settings.competition,
        mid=mean("mid", seconds),
        trade_lots=mean("trade_lots", orders),
    )
    record = {
        "sessions": [item["session"] for item in told],
        "left_out": silent,
        "ask_arrival_error": ask * errors[0],
        "bid_arrival_error": bid * errors[-2],
        "fill_decay_error": errors[-1],
        "volatility_error": _pooled_error(told, seconds, "variance_error") / (2.0 * truth.volatility),
        "adverse_selection_error": _pooled_error(told, orders, "adverse_error"),
        "heterogeneity": spread,
        "heterogeneity_degrees": pooled.size * (len(told) - 1),
        **{name: float(np.mean([item[name] for item in measures])) for name in ("queue_low", "queue_high")},
        "orders": int(orders.sum()),
        "seconds": float(seconds.sum()),
        "notes": sorted({note for item in told for note in item["notes"]}),
    }
    return truth, record


def _pooled_error(told: Sequence[Mapping[str, Any]], weights: Floats, name: str) -> float:
    """Standard error of a weighted mean of independent estimates."""
    errors = np.array([item[name] for item in told])
    return float(np.sqrt(np.sum((weights * errors) ** 2)) / weights.sum())


def measure_bytes(measure: Mapping[str, Any], features: Mapping[str, Floats]) -> bytes:
    """A session's measure and features as the ledger keeps them."""
    return canonical_json({"measure": measure, "features": {name: list(values) for name, values in features.items()}})


def read_measure(payload: bytes) -> tuple[dict[str, Any], dict[str, Floats]]:
    """Measure and features of a session; a feature that does not exist in an interval is NaN."""
    found = json.loads(payload)
    features = {
        name: np.array([math.nan if value is None else value for value in values], dtype=np.float64)
        for name, values in found["features"].items()
    }
    return found["measure"], features
