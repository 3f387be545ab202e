"""One instrument's record to estimates, tests, equilibrium and verdict: plain dictionaries and arrays for disk."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fairfield.calibration_config import CalibrationConfig
from fairfield.calibration_curves import SIDES, Arrays, calibration_arrays, intensity_curves
from fairfield.calibration_equilibrium import calibrated_equilibrium, competition_table
from fairfield.calibration_verdict import verdict

if TYPE_CHECKING:
    from data_pipeline.book.record import IntradayRecord
    from mfg_core.intraday.intensity_exposure import BookPath, Trades
    from mfg_core.intraday.intensity_fit import IntensityFit
    from mfg_core.intraday.intensity_quality import ArrivalTest, IntensityQuality
    from mfg_core.intraday.market_calibration import MarketCalibration

Floats = NDArray[np.float64]


def calibrate_record(record: IntradayRecord, config: CalibrationConfig) -> tuple[dict[str, Any], Arrays]:
    """(what calibration.json holds apart from hashes, what calibration.npz holds) of one record."""
    from mfg_core.intraday.intensity_quality import intensity_quality
    from mfg_core.intraday.market_calibration import calibrate_market_making

    book, trades = game_inputs(record)
    market = _market(record, book, trades, config)
    lot = config.game.lot or market["mean_order_size"]
    calibrate = partial(
        calibrate_market_making,
        book,
        trades,
        session_end=record.end,
        risk_aversion=config.game.risk_aversion,
        lot=lot,
        typical_inventory=config.game.typical_inventory or 0.5 * config.game.max_inventory,
        liquidation_impact=config.game.liquidation_impact,
        fill_share=config.game.fill_share,
        level=config.uncertainty.level,
        horizon_seconds=config.adverse_selection.horizon,
        horizons=[h for h in config.adverse_selection.horizons if h <= 0.25 * market["seconds"]],
        **_fit_options(config),
    )
    calibration = calibrate(competition=config.game.competition, symmetric=config.game.symmetric)
    rng = np.random.default_rng(config.uncertainty.seed)
    quality = intensity_quality(
        calibration.intensity,
        windows=[w for w in (1.0, 10.0, 60.0) if w <= market["seconds"] / 20.0] or [market["seconds"] / 20.0],
        replicates=config.uncertainty.replicates,
        rng=rng,
    )
    found: dict[str, Any] = {
        "data": {
            "feed": record.feed,
            "instrument": config.data.instrument or record.instrument,
            "day": record.day,
            "clock": record.clock,
            "files": dict(record.files),
            "counts": dict(record.counts),
            "notes": list(record.notes),
            "gaps": record.gaps.tolist(),
        },
        "window": {
            "start": record.start,
            "end": record.end,
            "tick": config.window.tick,
            "currency": config.window.currency,
        },
        "market": market | {"lot": lot},
        "mark_out_horizon": calibration.horizon_seconds,
        "parameters": _parameters(calibration, config),
        "covariance": {"names": list(calibration.names), "matrix": calibration.covariance},
        "intensity": _intensity(calibration.intensity),
        "counts_of_the_fit": asdict(calibration.intensity.session.counts) if calibration.intensity.session else {},
        "quality": _quality(quality),
        "sides": None if calibration.sides is None else asdict(calibration.sides),
        "imbalance_p_value": calibration.imbalance_p_value,
        "competition": _competition(calibration),
        "orders": _resting_orders(record, book, config),
        "volatility": asdict(calibration.volatility),
        "notes": [*calibration.notes, *quality.notes],
    }
    arrays = calibration_arrays(calibration, quality, book, record, config)
    found["parts"], part_arrays = _parts(record, config, calibration.competition)
    found["equilibrium"], equilibrium_arrays = calibrated_equilibrium(calibration, config)
    found["competitions"] = competition_table(calibrate, calibration.competition, config)
    arrays |= part_arrays | equilibrium_arrays
    found["verdict"] = verdict(found)
    return found, arrays


def game_inputs(record: IntradayRecord) -> tuple[BookPath, Trades]:
    """The book and the visible trades as the calibration takes them; hidden ones met no quote."""
    from data_pipeline.book.record import quotes_outside_gaps
    from mfg_core.intraday.intensity_exposure import BookPath, Trades

    quotes, shown = quotes_outside_gaps(record), record.trades.take(~record.trades.hidden)
    return BookPath(quotes.times, quotes.bid, quotes.ask), Trades(shown.times, shown.price, shown.size, shown.side)


def _fit_options(config: CalibrationConfig) -> dict[str, Any]:
    fit = config.intensity
    return {
        "tick": config.window.tick,
        "max_ticks": fit.max_ticks,
        "evidence": fit.evidence,
        "inside": fit.inside,
        "within": fit.join_within,
        "blocks": fit.blocks,
    }


def _market(record: IntradayRecord, book: BookPath, trades: Trades, config: CalibrationConfig) -> dict[str, Any]:
    """What the market showed by itself: spread, orders and sizes."""
    from mfg_core.intraday.market_orders import group_orders

    orders = group_orders(trades, trades.side, within=config.intensity.join_within)
    if orders.size.size == 0:
        raise ValueError(f"{record.instrument}: no trade with a known side in the window; widen [window]")
    seconds = np.diff(np.append(book.time, record.end))
    spread = 2.0 * book.half_spread
    seen = np.isfinite(spread) & (seconds > 0)
    if not seen.any():
        raise ValueError(f"{record.instrument}: no quotes on both sides in the window; widen [window]")
    ordered = np.argsort(spread[seen], kind="stable")
    share = np.cumsum(seconds[seen][ordered]) / seconds[seen].sum()
    quantiles = [float(spread[seen][ordered][np.searchsorted(share, q)]) for q in (0.05, 0.5, 0.95)]
    visible = ~record.trades.hidden
    return {
        "seconds": record.end - record.start,
        "seconds_with_quotes": float(seconds[seen].sum()),
        "quotes": int(book.time.size),
        "trades": int(visible.sum()),
        "hidden_trades": int((~visible).sum()),
        "orders": int(orders.size.size),
        "trades_in_an_order": float(orders.trades.mean()),
        "quoted_spread": float(spread[seen] @ seconds[seen] / seconds[seen].sum()),
        "quoted_spread_quantiles": quantiles,
        "mean_mid": float(book.mid[seen] @ seconds[seen] / seconds[seen].sum()),
        "mean_order_size": float(orders.size.mean()),
        "median_order_size": float(np.median(orders.size)),
    }


def _parameters(calibration: MarketCalibration, config: CalibrationConfig) -> dict[str, Any]:
    """Every parameter with its error and unit; the arrivals of the fit (at the mid) and of the game."""
    fit, currency = calibration.intensity, config.window.currency
    robust, model = fit.standard_errors(), fit.standard_errors(robust=False)
    found = {
        f"mid_{side}_arrival": {
            "value": getattr(fit, f"{side}_arrival"),
            "error": getattr(fit, f"{side}_arrival") * robust[place],
            "model_error": getattr(fit, f"{side}_arrival") * model[place],
            "unit": "orders/s at the mid",
        }
        for place, side in enumerate(SIDES)
    } | _at_the_touch(fit)
    units = {
        "ask_arrival": "fills/s in the game",
        "bid_arrival": "fills/s in the game",
        "fill_decay": f"1/{currency}",
        "adverse_selection": currency,
        "running_penalty": f"{currency} per lot² and s",
        "terminal_penalty": f"{currency} per lot²",
        "competition": "",
    }
    for name, value, error in zip(calibration.names, calibration.values, calibration.standard_errors, strict=True):
        found[name] = {"value": float(value), "error": float(error), "unit": units[name]}
    found["fill_decay"]["model_error"] = float(model[-1])
    volatility = calibration.volatility
    found["volatility"] = {
        "value": volatility.volatility,
        "error": volatility.volatility_error,
        "unit": f"{currency} per √s",
    }
    return found


def _at_the_touch(fit: IntensityFit) -> dict[str, Any]:
    """Orders per second that reach the best quote at its mean distance: what was seen, unlike the rate at the mid."""
    assert fit.session is not None
    mean = fit.session.mean_half_spread * fit.session.tick
    found = {}
    for place, side in enumerate(SIDES):
        slope = np.zeros(len(fit.names))
        slope[place], slope[-1] = 1.0, -mean
        rate = float(fit.intensity(mean, side=side))
        errors = [float(np.sqrt(slope @ covariance @ slope)) for covariance in (fit.covariance, fit.model_covariance)]
        found[f"touch_{side}_arrival"] = {
            "value": rate,
            "error": rate * errors[0],
            "model_error": rate * errors[1],
            "unit": "orders/s",
        }
    return found


def _competition(calibration: MarketCalibration) -> dict[str, Any]:
    """Where competition comes from: estimated (with its interval), a default with the reason, or the configuration."""
    crowd = calibration.crowd
    same = {"symmetric": calibration.intensity.cells.symmetric}
    if crowd is None:
        return {"source": "configuration", **same}
    names = ("value", "error", "low", "high", "identified", "reason", "p_alone", "p_full")
    return {"source": "estimated" if crowd.identified else "default", **same} | {
        name: getattr(crowd, name) for name in names
    }


def _intensity(fit: IntensityFit) -> dict[str, Any]:
    return {
        "names": list(fit.names),
        "coefficients": fit.coefficients,
        "covariance": fit.covariance,
        "model_covariance": fit.model_covariance,
        "blocks": fit.blocks,
        "evidence": fit.evidence,
        "log_likelihood": fit.log_likelihood,
        "iterations": fit.iterations,
    }


def _test(test: ArrivalTest) -> dict[str, Any]:
    kept = asdict(test)
    return {name: value for name, value in kept.items() if name not in ("gaps", "uniform")} | {"orders": test.gaps.size}


def _quality(quality: IntensityQuality) -> dict[str, Any]:
    return {
        "ask": _test(quality.ask),
        "bid": _test(quality.bid),
        "windows": quality.windows,
        "dispersion": quality.dispersion,
        "dispersion_score": quality.dispersion_score,
        "distances": {
            side: {"chi_square": table.chi_square, "p_value": table.p_value, "bins": table.bins}
            for side, table in (("ask", quality.ask_distances), ("bid", quality.bid_distances))
        },
        "agreement": None if quality.agreement is None else asdict(quality.agreement),
    }


def _parts(
    record: IntradayRecord, config: CalibrationConfig, competition: float
) -> tuple[list[dict[str, Any]], Arrays]:
    """Separate fits of equal parts of the window at one competition; a part that tells nothing says why."""
    from data_pipeline.book.record import within
    from mfg_core.errors import SolveError
    from mfg_core.intraday.intensity_fit import calibrate_intensity

    count = config.window.parts
    if count == 1:
        return [], {}
    cuts = np.linspace(record.start, record.end, count + 1)
    found: list[dict[str, Any]] = []
    arrays: Arrays = {}
    for number, (start, end) in enumerate(pairwise(cuts), start=1):
        part: dict[str, Any] = {"part": number, "start": start, "end": end}
        book, trades = game_inputs(within(record, float(start), float(end)))
        try:
            fit = calibrate_intensity(
                book, trades, session_end=float(end), competition=competition, **_fit_options(config)
            )
        except (ValueError, SolveError) as error:
            found.append(part | {"reason": str(error)})
            continue
        errors = fit.standard_errors()
        part |= {
            "orders": int(fit.session.counts.used) if fit.session else 0,
            "coefficients": fit.coefficients,
            "errors": errors,
            "covariance": fit.covariance,
        } | _at_the_touch(fit)
        found.append(part)
        arrays |= intensity_curves(fit, f"part{number}_", config)
    return found, arrays


def _resting_orders(record: IntradayRecord, book: BookPath, config: CalibrationConfig) -> dict[str, Any] | None:
    """The intensity that resting orders of the feed met, with their place in the queue; None where it shows none."""
    from data_pipeline.book.record import FILLED
    from mfg_core.errors import SolveError
    from mfg_core.intraday.intensity_lifetimes import RestingOrders, calibrate_intensity_events

    if record.orders is None or record.orders.entry.size == 0:
        return None
    lives = record.orders
    resting = RestingOrders(lives.entry, lives.exit, lives.price, lives.side, lives.ending == FILLED)
    found: dict[str, Any] = {"orders": int(lives.entry.size), "filled": int((lives.ending == FILLED).sum())}
    try:
        fit = calibrate_intensity_events(
            book,
            resting,
            tick=config.window.tick,
            max_ticks=config.intensity.max_ticks,
            session_end=record.end,
            blocks=config.intensity.blocks,
        )
    except (ValueError, SolveError) as error:
        return found | {"reason": str(error)}
    return found | {"coefficients": fit.coefficients, "errors": fit.standard_errors(), "notes": list(fit.notes)}
