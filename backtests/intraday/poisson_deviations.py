"""Makers that leave the equilibrium while the crowd plays it: rival policies, and what each gains or loses."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from backtests.intraday.poisson import PathMean, simulate_poisson
from backtests.intraday.poisson_panels import PoissonMarket, Quoting, market_of
from backtests.intraday.poisson_value import expected_value
from mfg_core import MarketMakingEquilibrium, MarketMakingGame, solve_mfg
from strategies.intraday.lone_maker import (
    LoneMaker,
    asymptotic_quotes,
    avellaneda_stoikov_quotes,
    finite_horizon_quotes,
)

Floats: TypeAlias = NDArray[np.float64]

CONFIDENCE: Final = 1.959963984540054
"""Normal quantile of a 95 % interval."""
SMALL_AVERSION: Final = 1e-6
"""Risk aversion over k of a rival whose volatility makes up the running penalty: its utility is linear to 1e-6."""


@dataclass(frozen=True, slots=True)
class Deviation:
    """What a maker gains by playing another policy against the crowd, price units over the horizon.

    Attributes
    ----------
    name : str
    gain : PathMean
        Simulated, on the order flow of the equilibrium policy.
    exact : float
        By the linear Bellman equation of both policies.
    """

    name: str
    gain: PathMean
    exact: float

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval of the simulated gain."""
        width = CONFIDENCE * self.gain.standard_error
        return self.gain.mean - width, self.gain.mean + width


@dataclass(frozen=True, slots=True)
class GridSearch:
    """The best of a grid of shifts on one order flow, and what it gains on another.

    Attributes
    ----------
    bid_shift, ask_shift : float
        The winner's, price units.
    tried : int
    found : PathMean
        Its gain on the flow on which it won: the best of many, so too high on average.
    gain : PathMean
        On fresh flow.
    """

    bid_shift: float
    ask_shift: float
    tried: int
    found: PathMean
    gain: PathMean


def shifted(quoting: Quoting, bid: float, ask: float, scale: float = 1.0) -> Quoting:
    """The policy with `scale` times its half-spreads, and `bid` and `ask` more."""

    def quotes(t: Floats, inventory: Floats) -> tuple[Floats, Floats]:
        bids, asks = quoting(t, inventory)
        return scale * bids + bid, scale * asks + ask

    return quotes


def skewed(half_spread: float, skew: float) -> Quoting:
    """A constant half-spread, and `skew` per unit of inventory more on the bid and less on the ask."""

    def quotes(t: Floats, inventory: Floats) -> tuple[Floats, Floats]:
        lean = skew * np.asarray(inventory, dtype=np.float64) + np.zeros(np.shape(t))
        return half_spread + lean, half_spread - lean

    return quotes


def within_bounds(game: MarketMakingGame, quoting: Quoting) -> Quoting:
    """The policy with its half-spreads put to the game's bounds where they are beyond."""
    if not game.bounded:
        return quoting

    def quotes(t: Floats, inventory: Floats) -> tuple[Floats, Floats]:
        bids, asks = quoting(t, inventory)
        low, high = game.min_half_spread, game.max_half_spread
        return np.clip(bids, low, high), np.clip(asks, low, high)

    return quotes


def rival_policies(equilibrium: MarketMakingEquilibrium) -> dict[str, Quoting]:
    """Other ways to quote in the equilibrium's market, by name.

    The equilibrium's quotes shifted, scaled, late or without regard to inventory; constant and skewed spreads; the
    equilibrium of makers without a crowd; and the policies of the classical single maker, who is told the order flow at
    the crowd's first quotes and a volatility whose risk is the running penalty, gamma sigma^2 = 2 eta. All within the
    game's bounds of the quotes: beyond them the equilibrium promises nothing.
    """
    game, own = equilibrium.game, equilibrium.policy.quotes
    unit = 1.0 / game.fill_decay
    ask, bid = float(equilibrium.mean_field.ask[0]), float(equilibrium.mean_field.bid[0])
    policies: dict[str, Quoting] = {}
    for share in (-0.5, -0.2, -0.05, 0.05, 0.2, 0.5):
        policies[f"both sides {share:+g}/k"] = shifted(own, share * unit, share * unit)
        policies[f"bid {share:+g}/k, ask {-share:+g}/k"] = shifted(own, share * unit, -share * unit)
    policies["spread x 0.8"] = shifted(own, 0.0, 0.0, 0.8)
    policies["spread x 1.25"] = shifted(own, 0.0, 0.0, 1.25)
    policies["a tenth of the day late"] = _late(own, 0.1 * game.horizon)
    policies["as if flat"] = lambda t, x: own(t, np.zeros(np.shape(x)))
    policies["crowd's first mean quotes"] = _constant(bid, ask)
    policies["constant 1/k"] = skewed(unit + game.fill_cost, 0.0)
    policies["skewed constant"] = skewed(0.5 * (ask + bid), 0.1 * unit)
    policies["without a crowd"] = solve_mfg(replace(game, competition=0.0)).policy.quotes
    return {name: within_bounds(game, quoting) for name, quoting in (policies | _classical(equilibrium)).items()}


def deviation_study(
    equilibrium: MarketMakingEquilibrium,
    policies: Mapping[str, Quoting] | None = None,
    *,
    paths: int,
    seed: int,
) -> tuple[Deviation, ...]:
    """The gain of each policy over the equilibrium's, in the equilibrium's crowd, from the initial law.

    The crowd does not react: one of infinitely many makers deviates. All policies meet the same order flow, so the
    interval is that of the difference. In an equilibrium no gain is positive.
    """
    market = market_of(equilibrium)
    rivals = dict(rival_policies(equilibrium) if policies is None else policies)
    run = simulate_poisson(market, {"": equilibrium.policy.quotes, **rivals}, paths=paths, seed=seed)
    law = equilibrium.game.initial_density
    own = expected_value(market, equilibrium.policy.quotes)
    return tuple(
        Deviation(name, run.gain(name, ""), float(law @ (expected_value(market, quoting) - own)))
        for name, quoting in rivals.items()
    )


def search_shifts(equilibrium: MarketMakingEquilibrium, *, steps: int, paths: int, seed: int) -> GridSearch:
    """The best pair of constant shifts out of `steps` x `steps` between -1/(4k) and 1/(4k), on fresh order flow."""
    market, own, unit = market_of(equilibrium), equilibrium.policy.quotes, 0.25 / equilibrium.game.fill_decay
    grid = np.linspace(-unit, unit, steps)
    shifts = {f"{bid} {ask}": (float(bid), float(ask)) for bid in grid for ask in grid if (bid, ask) != (0.0, 0.0)}
    policies = {name: within_bounds(equilibrium.game, shifted(own, *pair)) for name, pair in shifts.items()}
    first = _flow(market, {"": own, **policies}, paths, seed)
    best = max(policies, key=lambda name: first[name].mean)
    gain = _flow(market, {"": own, best: policies[best]}, paths, seed + 1)[best]
    return GridSearch(*shifts[best], len(shifts), first[best], gain)


def _flow(market: PoissonMarket, policies: Mapping[str, Quoting], paths: int, seed: int) -> dict[str, PathMean]:
    run = simulate_poisson(market, policies, paths=paths, seed=seed)
    return {name: run.gain(name, "", controlled=False) for name in policies if name}


def _constant(bid: float, ask: float) -> Quoting:
    def quotes(t: Floats, inventory: Floats) -> tuple[Floats, Floats]:
        shape = np.broadcast_shapes(np.shape(t), np.shape(inventory))
        return np.full(shape, bid), np.full(shape, ask)

    return quotes


def _late(quoting: Quoting, delay: float) -> Quoting:
    return lambda t, inventory: quoting(np.maximum(t - delay, 0.0), inventory)


def _classical(equilibrium: MarketMakingEquilibrium) -> dict[str, Quoting]:
    game = equilibrium.game
    field = market_of(equilibrium).crowd(np.zeros(1))[0]
    pull = np.exp(game.fill_decay * game.crowd_weight * field)
    aversion = SMALL_AVERSION * game.fill_decay
    maker = LoneMaker(
        ask_arrival=game.ask_arrival * float(pull[0]),
        bid_arrival=game.bid_arrival * float(pull[1]),
        fill_decay=game.fill_decay,
        volatility=math.sqrt(2.0 * game.running_penalty / aversion),
        risk_aversion=aversion,
        fill_cost=game.fill_cost,
    )
    size = game.max_inventory
    steady = asymptotic_quotes(maker, size)
    return {
        "Avellaneda-Stoikov": _tabled(game.horizon, lambda left: avellaneda_stoikov_quotes(maker, size, left)),
        "GLFT, asymptotic": _tabled(game.horizon, lambda left: np.repeat(steady[:, None], left.size, axis=1)),
        "GLFT, finite horizon": _tabled(game.horizon, lambda left: finite_horizon_quotes(maker, size, left)),
    }


def _tabled(horizon: float, quotes_at: Callable[[Floats], Floats]) -> Quoting:
    """A policy from (nx, n, 2) bids and asks at times to the close (n,)."""

    def quotes(t: Floats, inventory: Floats) -> tuple[Floats, Floats]:
        at, x = np.broadcast_arrays(np.asarray(t, dtype=np.float64), np.asarray(inventory, dtype=np.float64))
        times, column = np.unique(at, return_inverse=True)
        table = quotes_at(np.maximum(horizon - times, 0.0))
        row = x.astype(np.intp) + table.shape[0] // 2
        return table[row, column.reshape(at.shape), 0], table[row, column.reshape(at.shape), 1]

    return quotes
