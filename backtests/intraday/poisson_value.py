"""What a policy earns on average in a market of intensities: a linear Bellman equation, without simulation."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from backtests.intraday.poisson_panels import PoissonMarket, Quoting, levels_at, quotes_at

Floats: TypeAlias = NDArray[np.float64]


def expected_value(market: PoissonMarket, quoting: Quoting, *, rtol: float = 1e-9, atol: float = 1e-10) -> Floats:
    """(nx,) mean of what a policy earns less its penalties, by first inventory; price units.

        -J' = lambda_a (a - cost + J(x-1) - J) + lambda_b (b - cost + J(x+1) - J) - eta x^2,    J(T, x) = -gamma x^2

    with the policy's own quotes a, b: an ordinary differential equation, solved to the tolerances of each step by LSODA
    (Petzold 1983). Of policies with kinks in time the steps close in on them.

    Raises
    ------
    ValueError
        Under risk aversion, whose value is no mean of money, and when the equation cannot be solved.
    """
    from scipy.integrate import solve_ivp

    game = market.game
    if game.risk_aversion > 0:
        raise ValueError(f"risk_aversion must be 0 for a mean value; was {game.risk_aversion}")
    arrivals = np.array([game.ask_arrival, game.bid_arrival])
    held = game.running_penalty * game.states**2

    def slope(to_close: float, value: Floats) -> Floats:
        t = np.array([min(max(game.horizon - to_close, 0.0), game.horizon)])
        quotes, levels = quotes_at(quoting, game, t)[0], levels_at(market, t)[0]
        distance = game.fill_decay * (quotes - levels[:, 0])
        quoted = ~np.isnan(quotes)
        rates = np.zeros(quotes.shape)
        rates[quoted] = game.intensity_shape.intensity(distance[quoted])
        rates *= arrivals * np.exp(levels[:, 1])
        jump = np.zeros(quotes.shape)
        jump[1:, 0], jump[:-1, 1] = value[:-1] - value[1:], value[1:] - value[:-1]
        worth = np.where(quoted, quotes - game.fill_cost + jump, 0.0)
        return np.asarray(np.sum(rates * worth, axis=1) - held)

    last = -game.terminal_penalty * game.states**2
    # One neighbour on each side: a banded Jacobian.
    solved = solve_ivp(slope, (0.0, game.horizon), last, method="LSODA", rtol=rtol, atol=atol, lband=1, uband=1)
    if not solved.success:
        raise ValueError(f"quoting must give a value that can be integrated in time; {solved.message}")
    return np.asarray(solved.y[:, -1])
