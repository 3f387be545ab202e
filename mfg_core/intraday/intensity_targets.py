"""Intensities from what a desk knows by heart: fills a minute at the mid, what a tick is worth, the usual spread."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from scipy.optimize import brentq

from mfg_core.checks import require_positive
from mfg_core.errors import EdgeMassWarning, SolveError

if TYPE_CHECKING:
    from mfg_core.market.market_making import MarketMakingGame

SPREAD_PARAMETERS = ("arrival", "fill_decay", "running_penalty", "terminal_penalty")
STEPS = (1.0, 2.0, 4.0, 8.0, 16.0)
"""Powers of 2 by which the bracket grows from the starting value, in either direction."""


@dataclass(frozen=True, slots=True)
class IntensityTargets:
    """A (fills per second and side at the mid) and k (per unit of price) of A exp(-k delta)."""

    arrival: float
    fill_decay: float


def intensity_from_targets(
    *, rate_at_mid: float, per_seconds: float = 60.0, flow_doubling_ticks: float, tick: float
) -> IntensityTargets:
    """A and k such that a quote at the mid fills `rate_at_mid` times and `flow_doubling_ticks` closer doubles the flow.

    A = rate_at_mid / per_seconds and k = log 2 / (flow_doubling_ticks tick).

    Parameters
    ----------
    rate_at_mid : float
        Fills on one side in `per_seconds` (a minute unless said otherwise) of a quote at the mid.
    flow_doubling_ticks : float
        Ticks of improvement that double the fills.
    tick : float
        Price step.

    Examples
    --------
    >>> found = intensity_from_targets(rate_at_mid=20, flow_doubling_ticks=1, tick=0.01)
    >>> round(found.arrival, 6), round(found.fill_decay, 6)
    (0.333333, 69.314718)
    """
    rate, seconds = require_positive("rate_at_mid", rate_at_mid), require_positive("per_seconds", per_seconds)
    ticks = require_positive("flow_doubling_ticks", flow_doubling_ticks)
    return IntensityTargets(arrival=rate / seconds, fill_decay=math.log(2.0) / (ticks * require_positive("tick", tick)))


def game_with_spread(
    game: MarketMakingGame, full_spread: float, *, parameter: str, rtol: float = 1e-8
) -> MarketMakingGame:
    """The game with one parameter moved until the equilibrium's mean full spread at t = 0 is `full_spread`.

    The bracket grows from the game's own value, by factors up to 2^16 in either direction; within it the root is
    found by Brent's method in the logarithm of the parameter.

    Parameters
    ----------
    game : MarketMakingGame
        With a positive value of the parameter to start from.
    full_spread : float
        abar + bbar at t = 0, price.
    parameter : {"arrival", "fill_decay", "running_penalty", "terminal_penalty"}
        "arrival" scales both sides by one factor.
    rtol : float
        Of the parameter.

    Raises
    ------
    ValueError
        When an argument is out of range, or no value within reach gives that spread; the message gives the spreads
        that were reached.
    """
    from mfg_core.solve import solve_mfg

    target = require_positive("full_spread", full_spread)
    if parameter not in SPREAD_PARAMETERS:
        raise ValueError(f"parameter must be one of {', '.join(SPREAD_PARAMETERS)}; was {parameter!r}")
    if parameter != "arrival":
        require_positive(parameter, getattr(game, parameter))

    def moved(log_factor: float) -> MarketMakingGame:
        factor = math.exp(log_factor)
        if parameter == "arrival":
            return replace(game, ask_arrival=game.ask_arrival * factor, bid_arrival=game.bid_arrival * factor)
        return replace(game, **{parameter: getattr(game, parameter) * factor})

    def miss(log_factor: float) -> float:
        with warnings.catch_warnings():
            # A grid too small at a trial value is no news; the game returned warns when it is solved.
            warnings.simplefilter("ignore", EdgeMassWarning)
            solved = solve_mfg(moved(log_factor), rtol=min(1e-9, rtol), atol=1e-12 * target)
        return float(solved.full_spread[0]) / target - 1.0

    low, high = _bracket(miss, parameter, target)
    root = low if low == high else brentq(miss, low, high, xtol=rtol, rtol=4e-16 + rtol)
    return moved(float(root))


def _bracket(miss: Callable[[float], float], parameter: str, target: float) -> tuple[float, float]:
    """Two log factors between which `miss` changes its sign."""
    at_start = miss(0.0)
    if at_start == 0:
        return 0.0, 0.0
    reached = [at_start]
    ends = {1.0: 0.0, -1.0: 0.0}
    open_ends = {1.0, -1.0}
    for power in STEPS:
        for direction in sorted(open_ends):
            trial = direction * power * math.log(2.0)
            try:
                found = miss(trial)
            except (SolveError, ValueError):
                # No equilibrium can be had out there: that end of the search is closed.
                open_ends.discard(direction)
                continue
            reached.append(found)
            if found * at_start <= 0:
                low, high = sorted((ends[direction], trial))
                return low, high
            ends[direction] = trial
    spreads = [target * (1.0 + value) for value in reached]
    raise ValueError(
        f"full_spread {target:.6g} is out of reach of {parameter}: from {math.exp(ends[-1.0]):.3g} to "
        f"{math.exp(ends[1.0]):.3g} times its value the equilibrium's spread goes from {min(spreads):.6g} to "
        f"{max(spreads):.6g}; move another parameter"
    )
