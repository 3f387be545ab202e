"""The equilibrium of a calibrated game: bands to first order and by draws, and what other competitions would give."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from fairfield.calibration_config import CalibrationConfig

if TYPE_CHECKING:
    from mfg_core.intraday.market_calibration import MarketCalibration
    from mfg_core.market.market_making import MarketMakingEquilibrium

Floats = NDArray[np.float64]
Arrays = dict[str, NDArray[Any]]
SIDES = ("ask", "bid")

SHOWN_COMPETITIONS = (0.0, 0.5, 1.0)
DRAWS_RTOL = 1e-4
"""Of the equilibria of draws: their scatter is a sampling error anyway."""


def calibrated_equilibrium(calibration: MarketCalibration, config: CalibrationConfig) -> tuple[dict[str, Any], Arrays]:
    """The calibrated game's equilibrium with bands to first order in the errors, or the reason why there is none."""
    from mfg_core import SolveError, solve_mfg
    from mfg_core.study.sensitivity import sensitivities

    try:
        game = calibration.game(max_inventory=config.game.max_inventory, horizon=config.game.horizon)
        solved = solve_mfg(game, rtol=1e-6, atol=1e-9)
    except (ValueError, SolveError) as error:
        return {"reason": str(error)}, {}
    flat = config.game.max_inventory
    slopes = sensitivities(solved, calibration.names)
    width = float(ndtri(0.5 + 0.5 * config.uncertainty.level))
    skew, edge = _mean_in_time(solved.times, solved.net_skew), float(solved.edge_mass.max())

    def deviation(rows: Floats) -> Floats:
        variance = np.einsum("i...,ij,j...->...", rows, calibration.covariance, rows)
        return np.asarray(np.sqrt(np.maximum(variance, 0.0)))

    full = np.array([_mean_in_time(solved.times, row) for row in slopes.mean_ask + slopes.mean_bid])
    spread, spread_error = _mean_in_time(solved.times, solved.full_spread), float(deviation(full))
    bands: Arrays = {}
    for side in SIDES:
        quote, reach = getattr(solved.policy, side)[0], width * deviation(getattr(slopes, side)[:, 0])
        bands |= {f"quote_{side}_low": quote - reach, f"quote_{side}_high": quote + reach}
    proof = solved.certificate
    found = {
        "parameters": {
            name: value
            for name, value in asdict(game).items()
            if isinstance(value, int | float) and math.isfinite(value)
        },
        "full_spread": spread,
        "full_spread_error": spread_error,
        "full_spread_low": spread - width * spread_error,
        "full_spread_high": spread + width * spread_error,
        "sensitivities": {"names": list(slopes.names), "full_spread": full},
        "by_draws": _by_draws(calibration, config),
        "net_skew": skew,
        "flat_spread": float(solved.policy.ask[0, flat] + solved.policy.bid[0, flat]),
        "fills_a_side": _mean_in_time(
            solved.times, 0.5 * (solved.mean_field.ask_fill_rate + solved.mean_field.bid_fill_rate)
        ),
        "inventory_std_end": float(np.sqrt(solved.inventory_variance[-1])),
        "edge_mass": edge,
        "certificate": {
            "converged": bool(proof.converged),
            "residual": proof.residual,
            "exploitability": proof.exploitability,
            "mass_error": proof.mass_error,
            "iterations": proof.iterations,
        },
    }
    arrays: Arrays = {
        "quote_inventory": solved.states,
        "quote_ask": solved.policy.ask[0],
        "quote_bid": solved.policy.bid[0],
        "equilibrium_times": solved.times,
        "equilibrium_full_spread": solved.full_spread,
        "equilibrium_value": solved.value,
        "equilibrium_density": solved.density,
        "policy_ask": solved.policy.ask,
        "policy_bid": solved.policy.bid,
        **bands,
    }
    return found, arrays


def _mean_in_time(times: Floats, values: Floats) -> float:
    return float(np.trapezoid(values, times) / (times[-1] - times[0]))


def _by_draws(calibration: MarketCalibration, config: CalibrationConfig) -> dict[str, Any] | None:
    """Quantiles of the mean full spread over games drawn from the estimates; None without draws."""
    from mfg_core.study.batch import solve_table

    count = config.uncertainty.draws
    if count == 0:
        return None
    games = calibration.sample_games(
        count,
        rng=np.random.default_rng(config.uncertainty.seed),
        max_inventory=config.game.max_inventory,
        horizon=config.game.horizon,
    )
    shares = np.linspace(0.0, 1.0, 65)
    table = solve_table(games, shares, rtol=DRAWS_RTOL, atol=1e-9)
    spreads: Floats = np.asarray(np.trapezoid(table.mean_ask + table.mean_bid, shares, axis=1))
    solved = spreads[np.isfinite(spreads)]
    found = {"draws": count, "unsolved": len(table.failures)}
    if solved.size < 2:
        return found | {"low": math.nan, "median": math.nan, "high": math.nan}
    tail = 0.5 - 0.5 * config.uncertainty.level
    low, median, high = (float(np.quantile(solved, q)) for q in (tail, 0.5, 1.0 - tail))
    return found | {"low": low, "median": median, "high": high}


def competition_table(
    calibrate: Callable[..., MarketCalibration], used: float, config: CalibrationConfig
) -> list[dict[str, Any]]:
    """The game fitted and solved at other competitions, and at equal arrivals: what the choice does to the quotes."""
    from mfg_core import SolveError, solve_mfg

    own = config.game.symmetric
    chosen = [(c, own) for c in sorted({used, *SHOWN_COMPETITIONS})] + ([] if own else [(1.0, True)])
    rows = []
    for c, symmetric in chosen:
        row: dict[str, Any] = {"competition": c, "symmetric": symmetric, "used": False}
        row["used"] = c == used and symmetric == own
        try:
            found = calibrate(competition=c, symmetric=symmetric)
            game = found.game(max_inventory=config.game.max_inventory, horizon=config.game.horizon)
            solved = solve_mfg(game, rtol=DRAWS_RTOL, atol=1e-9)
        except (ValueError, SolveError) as error:
            rows.append(row | {"reason": str(error)})
            continue
        rows.append(row | {"fill_decay": found.fill_decay, **_quotes(solved)})
    return rows


def _quotes(solved: MarketMakingEquilibrium) -> dict[str, float]:
    return {
        "full_spread": _mean_in_time(solved.times, solved.full_spread),
        "net_skew": _mean_in_time(solved.times, solved.net_skew),
        "edge_mass": float(solved.edge_mass.max()),
    }
