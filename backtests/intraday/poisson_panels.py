"""The market of a Poisson simulation, and policies in it as quadratics on panels of time with bounds of their fills."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from backtests.intraday.poisson_kernels import EXPONENTIAL, LOGISTIC, POWER
from mfg_core import Exponential, Logistic, MarketMakingEquilibrium, MarketMakingGame, Power, Share
from mfg_core.family.local_polynomial import interpolate_local
from mfg_core.family.time_grid import divide, interpolate_rows
from mfg_core.library.quote_block import PreparedQuotes, look_up
from mfg_core.market.market_family import as_family

Floats: TypeAlias = NDArray[np.float64]

Quoting: TypeAlias = Callable[[Floats, Floats], tuple[Floats, Floats]]
"""(bid, ask) half-spreads at times and inventories, broadcast; nan for a side that is not quoted. The method `quotes`
of a policy is one."""
Crowd: TypeAlias = Callable[[Floats], Floats]
"""(n, 2) what asks and bids compete with at times (n,): mean half-spreads of the crowd, soft means under `Share`."""

FEWEST_PANELS: Final = 64
PANEL_ERROR: Final = 1e-6
"""Largest error of the panels' quadratics, in units of 1/fill_decay."""
SHORTEST_PANEL: Final = 1e-6
"""Share of the horizon to which a kink is closed in on."""
BOUND_SLACK: Final = 1.0 + 1e-9
"""Bounds are raised by this factor, far above what rounding can take from them."""
_FIVE: Final = (0.0, 0.25, 0.5, 0.75, 1.0)


@dataclass(frozen=True, slots=True, eq=False)
class PoissonMarket:
    """Fill intensities of one maker, A shape(k (quote - c m_t)), in a crowd whose path m does not react to it.

    Attributes
    ----------
    game : MarketMakingGame
        Arrivals, decay, shape, form of competition, penalties, cost of a fill, horizon, limits of the inventory.
    crowd : Crowd
    """

    game: MarketMakingGame
    crowd: Crowd

    def __post_init__(self) -> None:
        """Check the types."""
        if not isinstance(self.game, MarketMakingGame):
            raise TypeError(f"game must be a MarketMakingGame; was {type(self.game).__name__}")
        shape_code(self.game)


@dataclass(frozen=True, slots=True, eq=False)
class CrowdPath:
    """A crowd's path between its nodes, as its equilibrium's policy is: of order 6, with quote bounds quadratic.

    Attributes
    ----------
    times : (n,) float64
    field : (n, 2) float64
    bounded : bool
    """

    times: Floats
    field: Floats
    bounded: bool

    def __call__(self, t: Floats) -> Floats:
        """(m, 2) at times (m,)."""
        return (interpolate_rows if self.bounded else interpolate_local)(self.times, self.field, t)


@dataclass(frozen=True, slots=True, eq=False)
class MarketPanels:
    """What the compiled loops read; see `poisson_kernels`.

    Attributes
    ----------
    edges : (panels + 1,) float64
    quotes : (policies, panels, nx, 2, 3) float64
    levels : (panels, 2, 2, 3) float64
    bounds : (policies, panels, nx, 2) float64
    """

    edges: Floats
    quotes: Floats
    levels: Floats
    bounds: Floats


def market_of(equilibrium: MarketMakingEquilibrium) -> PoissonMarket:
    """The market that a single maker faces when all others play the equilibrium."""
    if not isinstance(equilibrium, MarketMakingEquilibrium):
        raise TypeError(f"equilibrium must be that of a MarketMakingGame; was {type(equilibrium).__name__}")
    game, policy = equilibrium.game, equilibrium.policy
    quotes = np.concatenate([policy.ask[:, 1:], policy.bid[:, :-1]], axis=1)
    field = as_family(game).field(equilibrium.times, equilibrium.density, quotes)
    return PoissonMarket(game, CrowdPath(equilibrium.times, field, game.bounded))


def lone_market(game: MarketMakingGame) -> PoissonMarket:
    """The market without a crowd: A shape(k quote), whatever the game's form of competition."""
    return PoissonMarket(replace(game, competition=0.0), lambda t: np.zeros((t.size, 2)))


def prepared_quotes(prepared: PreparedQuotes) -> Quoting:
    """The policy of a library as a function of times and inventories."""

    def quotes(t: Floats, inventory: Floats) -> tuple[Floats, Floats]:
        at, x = np.broadcast_arrays(np.asarray(t, dtype=np.float64), np.asarray(inventory, dtype=np.float64))
        bid, ask = look_up(prepared, at.ravel(), x.ravel().astype(np.int64))
        return bid.reshape(at.shape), ask.reshape(at.shape)

    return quotes


def shape_code(game: MarketMakingGame) -> tuple[int, float]:
    """(code, own parameter) of the game's intensity shape, for the kernels."""
    shape = game.intensity_shape
    if isinstance(shape, Exponential):
        return EXPONENTIAL, 0.0
    if isinstance(shape, Logistic):
        return LOGISTIC, shape.offset
    if isinstance(shape, Power):
        return POWER, shape.exponent
    raise TypeError(f"intensity_shape must be Exponential, Logistic or Power to be simulated; was {shape!r}")


def cut_market(market: PoissonMarket, policies: Sequence[Quoting]) -> MarketPanels:
    """Policies and crowd on common panels, cut until no quadratic misses what it stands for by `PANEL_ERROR`.

    A kink is closed in on until its panel is `SHORTEST_PANEL` of the horizon; there the error is the kink's own.
    """
    game = market.game
    edges = np.linspace(0.0, game.horizon, FEWEST_PANELS + 1)
    if isinstance(market.crowd, CrowdPath):
        edges = np.union1d(edges, market.crowd.times[::2])
        edges = edges[np.append(np.diff(edges) > 1e-12 * game.horizon, True)]
    while True:
        at = np.stack([edges[:-1] + share * np.diff(edges) for share in _FIVE], axis=1)
        at[:, -1] = edges[1:]
        quotes = np.stack([quotes_at(policy, game, at.ravel()) for policy in policies])
        quotes = quotes.reshape(len(policies), *at.shape, -1, 2)
        levels = levels_at(market, at.ravel()).reshape(*at.shape, 2, 2)
        missed = np.maximum(
            _missed(quotes, 2).max(axis=(0, 2, 3), initial=0.0), _missed(levels, 1).max(axis=(1, 2), initial=0.0)
        )
        again = (missed > PANEL_ERROR / game.fill_decay) & (np.diff(edges) > SHORTEST_PANEL * game.horizon)
        if not again.any():
            return panels_of(
                market, edges, np.ascontiguousarray(np.moveaxis(quotes[:, :, ::2], 2, -1)),
                np.ascontiguousarray(np.moveaxis(levels[:, ::2], 1, -1)),
            )  # fmt: skip
        edges = divide(edges, 1 + again.astype(np.int64))


def panels_of(market: PoissonMarket, edges: Floats, quotes: Floats, levels: Floats) -> MarketPanels:
    """The panels with the bounds of their fill rates: each quote at its lowest, the crowd's levels at their highest."""
    game = market.game
    lowest, highest = _extremes(quotes)[0], _extremes(levels)[1]
    y = game.fill_decay * (lowest - highest[:, None, :, 0])
    quoted = np.isfinite(y)
    if np.any(y[quoted] <= game.intensity_shape.lowest):
        raise ValueError(
            "quotes must be so high that their fill rate is finite: fill_decay (quote - crowd's) above "
            f"{game.intensity_shape.lowest}; was {y[quoted].min():.6g}"
        )
    arrivals = np.array([game.ask_arrival, game.bid_arrival])
    bounds = np.zeros(y.shape)
    with np.errstate(over="ignore"):
        sizes = arrivals * np.exp(highest[:, None, :, 1]) * BOUND_SLACK
        bounds[quoted] = np.broadcast_to(sizes, y.shape)[quoted] * game.intensity_shape.intensity(y[quoted])
    if not np.all(np.isfinite(bounds)):
        raise ValueError(
            f"quotes must be so high that their fill rate is finite; the lowest was {lowest[quoted].min()}"
        )
    return MarketPanels(edges, quotes, levels, bounds)


def levels_at(market: PoissonMarket, t: Floats) -> Floats:
    """(n, 2, 2) shift of the quote and log scale of the arrivals, of asks and bids."""
    game, field = market.game, np.asarray(market.crowd(t), dtype=np.float64)
    if field.shape != (t.size, 2) or not np.all(np.isfinite(field)):
        raise ValueError(f"crowd must give finite numbers ({t.size}, 2) for {t.size} times; gave {field.shape}")
    levels = np.zeros((t.size, 2, 2))
    if isinstance(game.competition, Share) and not isinstance(game.intensity_shape, Exponential):
        levels[:, :, 1] = game.fill_decay * field
    else:
        levels[:, :, 0] = game.crowd_weight * field
    return levels


def quotes_at(policy: Quoting, game: MarketMakingGame, t: Floats) -> Floats:
    """(n, nx, 2) ask and bid, nan outwards at the ends of the grid."""
    bid, ask = policy(t[:, None], game.states[None, :])
    wanted = (t.size, game.states.size)
    quotes = np.stack([np.broadcast_to(ask, wanted), np.broadcast_to(bid, wanted)], axis=-1).astype(np.float64)
    quotes[:, 0, 0] = quotes[:, -1, 1] = np.nan
    if np.any(np.isinf(quotes)):
        raise ValueError("quotes of a policy must be finite, or nan for a side that is not quoted; one was infinite")
    return quotes


def _missed(fives: Floats, axis: int) -> Floats:
    """By how much the quadratic through the first, third and fifth misses the second and fourth; nan counts as 0."""
    one, two, three, four, five = (np.take(fives, j, axis=axis) for j in range(5))
    silent = np.isnan(fives).sum(axis=axis)
    if np.any((silent > 0) & (silent < 5)):
        raise ValueError("a policy must quote a side of an inventory at all times or at none")
    second = np.abs(two - (0.375 * one + 0.75 * three - 0.125 * five))
    fourth = np.abs(four - (0.375 * five + 0.75 * three - 0.125 * one))
    return np.asarray(np.nan_to_num(np.maximum(second, fourth)))


def _extremes(nodes: Floats) -> tuple[Floats, Floats]:
    """(lowest, highest) of the quadratics through nodes (..., 3), nan where these are."""
    left, middle, right = nodes[..., 0], nodes[..., 1], nodes[..., 2]
    bend = left - 2.0 * middle + right
    tilt = right - left - 2.0 * bend
    with np.errstate(divide="ignore", invalid="ignore"):
        turn = -tilt / (4.0 * bend)
    turn = np.where((turn > 0.0) & (turn < 1.0), turn, 0.0)
    stacked = np.stack([left, right, left + turn * (tilt + 2.0 * bend * turn)])
    return np.asarray(stacked.min(axis=0)), np.asarray(stacked.max(axis=0))
