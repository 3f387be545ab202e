"""Standard errors of value and quotes that the uncertainty of parameters leaves: by derivatives, or by sampling."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from mfg_core.checks import require_count
from mfg_core.study.batch import solve_table
from mfg_core.study.sensitivity import parameter_names, sensitivities

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

    from mfg_core.market.market_making import MarketMakingEquilibrium, MarketMakingGame

    Floats = NDArray[np.float64]

MOST_REDRAWS = 0.5
"""Share of draws outside the parameters' ranges above which sampling is refused."""


@dataclass(frozen=True, slots=True, eq=False)
class Bands:
    """Standard errors on the equilibrium's time grid.

    Attributes
    ----------
    equilibrium : MarketMakingEquilibrium
        At the estimated parameters.
    names : tuple of str
        The uncertain parameters.
    value, ask, bid : (nt+1, nx) float64
        Units of price; nan where a side is not quoted.
    mean_ask, mean_bid : (nt+1,) float64
    redrawn : int
        Draws that made no sense as parameters and were drawn again; 0 by derivatives.
    """

    equilibrium: MarketMakingEquilibrium
    names: tuple[str, ...]
    value: Floats
    ask: Floats
    bid: Floats
    mean_ask: Floats
    mean_bid: Floats
    redrawn: int = 0


def value_bands(equilibrium: MarketMakingEquilibrium, covariance: ArrayLike, names: Sequence[str]) -> Bands:
    """Standard errors by the delta method: the root of d' C d at each time and inventory, d being the derivatives.

    Right to first order in the parameters' errors; `sample_bands` is right beyond.

    Parameters
    ----------
    equilibrium : MarketMakingEquilibrium
        At the estimates.
    covariance : (np, np) array_like
        Of the estimates of `names`, in their units.
    names : sequence of str
        The uncertain parameters, see `parameter_names`.

    Raises
    ------
    ValueError
        When the covariance is not one, or for what `sensitivities` refuses.
    """
    spread = checked_covariance(covariance, names)
    slopes = sensitivities(equilibrium, names)

    def error(rows: Floats) -> Floats:
        variance = np.einsum("i...,ij,j...->...", rows, spread, rows)
        return np.asarray(np.sqrt(np.maximum(variance, 0.0)))

    return Bands(
        equilibrium,
        slopes.names,
        error(slopes.value),
        error(slopes.ask),
        error(slopes.bid),
        error(slopes.mean_ask),
        error(slopes.mean_bid),
    )


def sample_bands(
    equilibrium: MarketMakingEquilibrium,
    covariance: ArrayLike,
    names: Sequence[str],
    *,
    samples: int = 200,
    seed: int = 0,
    rtol: float = 1e-7,
    atol: float = 1e-10,
    workers: int = 1,
) -> Bands:
    """Standard errors by sampling: the standard deviation over equilibria of games drawn around the estimates.

    Parameters are Gaussian with the covariance; draws outside a parameter's range are drawn again and counted. The
    sampling error of a standard error is 1/sqrt(2 samples) of it. Rows are at fixed shares of the horizon.

    Parameters
    ----------
    equilibrium, covariance, names
        As for `value_bands`.
    samples : int
        At least 2.
    seed : int
    rtol, atol, workers
        As for `solve_many`.

    Raises
    ------
    ValueError
        When the covariance is not one, or so wide that half of the draws make no sense.
    SolveError
        When a drawn game has no solution.
    """
    spread = checked_covariance(covariance, names)
    game = equilibrium.game
    for name in names:
        if name not in parameter_names(game):
            raise ValueError(f"names must be among {', '.join(parameter_names(game))}; was {name!r}")
    count = require_count("samples", samples, 2)
    games, redrawn = draw_games(game, spread, tuple(names), count, np.random.default_rng(seed))
    table = solve_table(games, equilibrium.times / game.horizon, rtol=rtol, atol=atol, workers=workers)
    if table.failures:
        raise next(iter(table.failures.values()))
    return Bands(
        equilibrium,
        tuple(names),
        table.value.std(axis=0, ddof=1),
        table.ask.std(axis=0, ddof=1),
        table.bid.std(axis=0, ddof=1),
        table.mean_ask.std(axis=0, ddof=1),
        table.mean_bid.std(axis=0, ddof=1),
        redrawn,
    )


def draw_games(
    game: MarketMakingGame, spread: Floats, names: tuple[str, ...], count: int, rng: np.random.Generator
) -> tuple[list[MarketMakingGame], int]:
    """Games with drawn parameters, and how many draws were outside the parameters' ranges."""
    centre = np.array([float(getattr(game, name)) for name in names])
    games: list[MarketMakingGame] = []
    redrawn = 0
    while len(games) < count:
        drawn = rng.multivariate_normal(centre, spread, method="cholesky" if _definite(spread) else "eigh")
        try:
            games.append(replace(game, **dict(zip(names, drawn.tolist(), strict=True))))
        except ValueError:
            redrawn += 1
            if redrawn > 20 and redrawn > MOST_REDRAWS * (redrawn + len(games)):
                raise ValueError(
                    f"covariance must leave most draws of {', '.join(names)} within their ranges; "
                    f"{redrawn} of {redrawn + len(games)} were not"
                ) from None
    return games, redrawn


def checked_covariance(covariance: ArrayLike, names: Sequence[str]) -> Floats:
    """The covariance as an array; ValueError unless it is (names, names), symmetric and not negative."""
    spread = np.array(covariance, dtype=np.float64)
    if spread.shape != (len(names), len(names)):
        raise ValueError(f"covariance must be ({len(names)}, {len(names)}), one row per name; was {spread.shape}")
    if not np.all(np.isfinite(spread)) or not np.allclose(spread, spread.T, rtol=1e-9, atol=0.0):
        raise ValueError(f"covariance must be finite and symmetric; was {spread.tolist()}")
    scale = np.sqrt(np.maximum(np.diag(spread), 0.0))
    scale[scale == 0] = 1.0
    unit = spread / np.outer(scale, scale)
    if np.any(np.diag(spread) < 0) or np.linalg.eigvalsh(unit)[0] < -1e-9:
        raise ValueError(f"covariance must have no negative eigenvalue; was {spread.tolist()}")
    return spread


def _definite(spread: Floats) -> bool:
    return bool(np.linalg.eigvalsh(spread)[0] > 1e-12 * np.linalg.eigvalsh(spread)[-1])
