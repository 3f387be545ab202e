"""What the page of a calibration draws: fitted and counted rates by distance, mark-outs, the volatility signature."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fairfield.calibration_config import CalibrationConfig

if TYPE_CHECKING:
    from data_pipeline.book.record import IntradayRecord
    from mfg_core.intraday.intensity_exposure import BookPath
    from mfg_core.intraday.intensity_fit import IntensityFit
    from mfg_core.intraday.intensity_quality import IntensityQuality
    from mfg_core.intraday.market_calibration import MarketCalibration

Floats = NDArray[np.float64]
Arrays = dict[str, NDArray[Any]]
SIDES = ("ask", "bid")

SIGNATURE_STEPS = 12
LEAST_CHANGES_OF_SIGNATURE = 20
"""Intervals that the longest step of the signature must leave."""


def calibration_arrays(
    calibration: MarketCalibration,
    quality: IntensityQuality,
    book: BookPath,
    record: IntradayRecord,
    config: CalibrationConfig,
) -> Arrays:
    """Everything drawn apart from the equilibrium and the parts of the day, by name."""
    marks = calibration.adverse
    arrays = intensity_curves(calibration.intensity, "", config)
    for test in (quality.ask, quality.bid):
        arrays |= {f"{test.side}_uniform": test.uniform, f"{test.side}_expected_uniform": test.expected_uniform}
    arrays |= {
        "mark_out_horizons": marks.horizons,
        "mark_out_impact": marks.impact,
        "mark_out_impact_error": marks.impact_error,
        "mark_out_realised": marks.realised,
        "mark_out_realised_error": marks.realised_error,
        "mark_out_effective": marks.effective,
        "mark_out_orders": marks.orders,
    }
    steps, variance, error = volatility_signature(book, record.end)
    return arrays | {"signature_step": steps, "signature_variance": variance, "signature_error": error}


def volatility_signature(book: BookPath, end: float) -> tuple[Floats, Floats, Floats]:
    """(steps in seconds, mean squared change of the mid per second over each step, its standard error), (s,) each.

    Without noise or dependence the curve is flat (Andersen, Bollerslev, Diebold & Labys 2000). The error is that of
    independent squares.
    """
    start, mid = float(book.time[0]), book.mid
    longest = (end - start) / LEAST_CHANGES_OF_SIGNATURE
    steps = np.geomspace(min(0.1, longest / 2.0), longest, SIGNATURE_STEPS)
    variance, error = np.full(steps.size, np.nan), np.full(steps.size, np.nan)
    for place, step in enumerate(steps.tolist()):
        at = np.arange(start, end, step)
        moves = np.diff(mid[book.row_at(at)]) ** 2 / step
        moves = moves[np.isfinite(moves)]
        if moves.size > 1:
            variance[place], error[place] = moves.mean(), moves.std(ddof=1) / math.sqrt(moves.size)
    return steps, variance, error


def intensity_curves(fit: IntensityFit, prefix: str, config: CalibrationConfig) -> Arrays:
    """Fitted intensities with bands over distance, and the observed rates."""
    from mfg_core.intraday.intensity_distances import distance_table

    arrays: Arrays = {}
    # Where orders follow the crowd nothing was seen between the mid and its quote.
    follows = fit.session is not None and (fit.cells.competition > 0 or "spread_ticks" in fit.names)
    nearest = fit.session.mean_half_spread * fit.session.tick if fit.session is not None and follows else 0.0
    for side in SIDES:
        table = distance_table(fit, side)
        furthest = float(table.distance[table.rate > 0].max(initial=config.window.tick))
        grid = np.linspace(nearest, max(1.05 * furthest, nearest + config.window.tick), 80)
        low, high = fit.band(grid, side=side, level=config.uncertainty.level)
        arrays |= {
            f"{prefix}{side}_distance": table.distance,
            f"{prefix}{side}_observed": table.observed,
            f"{prefix}{side}_expected": table.expected,
            f"{prefix}{side}_seconds": table.seconds,
            f"{prefix}{side}_rate": table.rate,
            f"{prefix}{side}_rate_error": table.rate_error,
            f"{prefix}{side}_expected_rate": table.expected_rate,
            f"{prefix}{side}_grid": grid,
            f"{prefix}{side}_fit": fit.intensity(grid, side=side),
            f"{prefix}{side}_low": low,
            f"{prefix}{side}_high": high,
        }
    return arrays
