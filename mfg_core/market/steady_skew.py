"""Where a lopsided market at competition 1 drifts to: the steady growth of the crowd's skew before the close."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.linalg import eigh_tridiagonal

from mfg_core.market.competition import Share
from mfg_core.market.market_making import MarketMakingGame, inventories

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

SMALLEST_SHARE = 1e-150
"""Of the largest amplitude: makers that rare have no weight."""

LARGE_SKEW = 10.0
"""Times 1/fill_decay: a skew of which a failed solve speaks."""

FREE_SKEW = (
    "At competition 1 no customer stays away, so that only the close and the inventory limits hold back the skew of a "
    "lopsided market, which grows with the horizon. Lower competition (0.9 may do), use OutsideOption or Share, pool "
    "the arrivals of both sides if their difference is not meant, or shorten the horizon."
)

BISECTIONS = 16
ROUNDS = 2


def skew_is_free(game: MarketMakingGame) -> bool:
    """Whether only the close and the limits hold back the skew: lopsided arrivals of which none is turned away."""
    full = game.crowd_weight == 1.0 and not isinstance(game.competition, Share)
    return full and game.ask_arrival != game.bid_arrival


def steady_quotes(game: MarketMakingGame) -> tuple[float, float]:
    """(growth of the skew's half per unit of time to the close, mean half-spread) far from the close, at competition 1.

    With V = U + b(t) x, b the half of the crowd's skew, the crowd's skew leaves the equation and b' x joins the costs:

        -U' = sup over quotes relative to b, costs eta x^2 - b' x.

    Steady, exp(k U) is the first eigenvector of a tridiagonal matrix, and b' is such that U's own mean skew is zero.
    """
    k, x = game.fill_decay, inventories(game.max_inventory)
    logs = np.log((game.ask_arrival, game.bid_arrival)) + game.log_hamiltonian_factor
    tilt, spread = 0.5 * (logs[0] - logs[1]), game.margin
    growth = 0.0
    for _ in range(ROUNDS):
        coupling = np.exp(0.5 * (logs[0] + logs[1]) + k * spread)
        # The cost of a unit is at most what keeps every maker at a limit.
        reach = (2.0 * coupling + abs(k * game.running_penalty) * float(x[-1]) ** 2) / k
        low, high = -reach, reach
        for _ in range(BISECTIONS):
            growth = 0.5 * (low + high)
            skew, spread = _steady_means(x, k, tilt, coupling, game.running_penalty, growth, game.margin)
            # The more a unit costs, the lower both quotes of asks against bids.
            low, high = (growth, high) if skew > 0 else (low, growth)
    return growth, spread


def _steady_means(
    x: Floats, k: float, tilt: float, coupling: float, penalty: float, growth: float, margin: float
) -> tuple[float, float]:
    """(half of the mean skew, mean half-spread) of U's quotes in its own steady population."""
    diagonal, last = -k * (penalty * x**2 + growth * x), x.size - 1
    first = eigh_tridiagonal(diagonal, np.full(last, coupling), select="i", select_range=(last, last))[1][:, 0]
    amplitude = np.maximum(np.abs(first), SMALLEST_SHARE)
    gap = (tilt + np.diff(np.log(amplitude))) / k
    law = amplitude**2 / np.sum(amplitude**2)
    ask = margin + float(law[1:] @ gap) / float(np.sum(law[1:]))
    bid = margin - float(law[:-1] @ gap) / float(np.sum(law[:-1]))
    return float(0.5 * (ask - bid)), float(0.5 * (ask + bid))
