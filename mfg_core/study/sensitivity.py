"""Derivatives of a market-making equilibrium to its parameters, by implicit differentiation of the fixed point."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from mfg_core.errors import SolveError
from mfg_core.market.competition import OutsideOption
from mfg_core.market.intensity_shapes import Exponential
from mfg_core.market.market_reply import best_quotes, mean_quotes, reply
from mfg_core.study.equilibrium_map import equilibrium_map

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from mfg_core.market.market_making import MarketMakingEquilibrium, MarketMakingGame

    Floats = NDArray[np.float64]

STEP = 1e-3
"""Of differences of order 4, relative: truncation errors of order 1e-12 and rounding errors of order 1e-12."""

CENTRAL = (np.array([-2.0, -1.0, 1.0, 2.0]), np.array([1.0, -8.0, 8.0, -1.0]) / 12.0)
ONE_SIDED = (np.array([0.0, 1.0, 2.0, 3.0, 4.0]), np.array([-25.0, 48.0, -36.0, 16.0, -3.0]) / 12.0)
"""(Points, weights) of first differences of order 4 in units of the step."""

SETTLED = 1e-10
"""Residual of the linear system at which it is solved, relative to its right side."""

MOST_DIRECTIONS = 400


@dataclass(frozen=True, slots=True, eq=False)
class Sensitivities:
    """Derivatives of an equilibrium, one row per parameter, on its time grid.

    Attributes
    ----------
    equilibrium : MarketMakingEquilibrium
    names : tuple of str
        The parameters, (np,).
    value : (np, nt+1, nx) float64
        dV per unit of the parameter.
    density : (np, nt+1, nx) float64
    ask, bid : (np, nt+1, nx) float64
        Of the half-spreads; nan where a side is not quoted.
    mean_ask, mean_bid : (np, nt+1) float64
        Of the mean quotes.
    residual : float
        Largest departure of the derivative of the mean quotes from that of the map, relative to its size.
    """

    equilibrium: MarketMakingEquilibrium
    names: tuple[str, ...]
    value: Floats
    density: Floats
    ask: Floats
    bid: Floats
    mean_ask: Floats
    mean_bid: Floats
    residual: float


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """What makers do when the crowd's quotes are a path: all that is differentiated."""

    value: Floats
    density: Floats
    ask: Floats
    bid: Floats
    means: Floats
    image: Floats


def parameter_names(game: MarketMakingGame) -> tuple[str, ...]:
    """The parameters to which this game's equilibrium can be differentiated."""
    names = ["ask_arrival", "bid_arrival", "fill_decay", "running_penalty", "terminal_penalty", "horizon"]
    if isinstance(game.competition, float):
        names.append("competition")
    if game.initial_std > 0:
        names += ["initial_mean", "initial_std"]
    return (*names, "adverse_selection", "maker_fee", "risk_aversion")


def sensitivities(equilibrium: MarketMakingEquilibrium, parameters: Sequence[str] | None = None) -> Sensitivities:
    """Derivatives of value, density, quotes and mean quotes to parameters of the game.

    The equilibrium path m solves m = Phi(m, p), so that its derivative solves (I - dPhi/dm) dm = dPhi/dp. The
    derivatives of Phi along a direction are differences of order 4 of one march on the equilibrium's own time grid,
    whose rounding is 1e-14: no equilibrium is solved again. The linear systems are solved by GCR (Eisenstat, Elman &
    Schultz 1983), each parameter using the directions of those before it.

    Rows are at fixed shares of the horizon: the derivative to `horizon` stretches the time grid with it.

    Parameters
    ----------
    equilibrium : MarketMakingEquilibrium
        Of a game without quote bounds and with exponential intensities. Solve it to the accuracy wanted here.
    parameters : sequence of str, optional
        By default all of `parameter_names(equilibrium.game)`. A parameter at the end of its range is differentiated
        from the inside.

    Raises
    ------
    ValueError
        When the game has bounds, another intensity shape, or no such parameter.
    SolveError
        When a linear system cannot be solved (1 is an eigenvalue of the map's derivative).
    """
    game = equilibrium.game
    if game.bounded or not isinstance(game.intensity_shape, Exponential):
        raise ValueError(
            "equilibrium must be of a game without quote bounds and with exponential intensities, whose quotes are "
            f"smooth in the parameters; was of {game}"
        )
    names = parameter_names(game) if parameters is None else tuple(parameters)
    for name in names:
        if name not in parameter_names(game):
            raise ValueError(f"parameters must be among {', '.join(parameter_names(game))}; was {name!r}")
    tangent = Tangent(equilibrium)
    rows = [tangent.solve(name) for name in names]
    shape = equilibrium.value.shape

    def stacked(part: Callable[[Answer], Floats], size: tuple[int, ...]) -> Floats:
        return np.array([part(row) for row, _ in rows]).reshape((len(names), *size))

    return Sensitivities(
        equilibrium,
        names,
        stacked(lambda row: row.value, shape),
        stacked(lambda row: row.density, shape),
        stacked(lambda row: row.ask, shape),
        stacked(lambda row: row.bid, shape),
        stacked(lambda row: row.means[0], shape[:1]),
        stacked(lambda row: row.means[1], shape[:1]),
        max((missed for _, missed in rows), default=0.0),
    )


class Tangent:
    """The linearised equilibrium: solves for derivatives of the path, keeping its directions for the next one."""

    def __init__(self, equilibrium: MarketMakingEquilibrium) -> None:
        """Start at the equilibrium's path, one sweep on."""
        self.game, self.times = equilibrium.game, equilibrium.times
        start = equilibrium_map(equilibrium)[1].reshape(2, -1)
        self.path = respond(self.game, self.times, start).image
        self.directions: list[Floats] = []
        self.images: list[Floats] = []

    def solve(self, name: str) -> tuple[Answer, float]:
        """The derivatives to one parameter, and what is left of its fixed-point equation relative to its size."""
        slope = self._along(name, np.zeros_like(self.path)).image.ravel()
        change = self._solve_path(slope).reshape(self.path.shape)
        answer = self._along(name, change)
        size = float(np.max(np.abs(answer.image)))
        return answer, float(np.max(np.abs(answer.image - change))) / size if size > 0 else 0.0

    def _solve_path(self, right: Floats) -> Floats:
        left, found = right.copy(), np.zeros_like(right)
        goal = SETTLED * float(np.linalg.norm(right))
        for used in range(MOST_DIRECTIONS):
            if used == len(self.images):
                if np.linalg.norm(left) <= goal:
                    return found
                self._extend(left)
            share = float(self.images[used] @ left)
            found += share * self.directions[used]
            left -= share * self.images[used]
        raise SolveError(
            f"the derivative of the mean quotes left {np.linalg.norm(left) / np.linalg.norm(right):.3g} of its "
            f"equation after {MOST_DIRECTIONS} directions; the equilibrium is close to one that is not locally unique"
        )

    def _extend(self, direction: Floats) -> None:
        """Add a direction whose image under I - dPhi/dm is orthonormal to those known."""
        image = direction - self._along(None, direction.reshape(self.path.shape)).image.ravel()
        for _ in range(2):
            for known, known_image in zip(self.directions, self.images, strict=True):
                share = float(known_image @ image)
                image = image - share * known_image
                direction = direction - share * known
        size = float(np.linalg.norm(image))
        self.images.append(image / size)
        self.directions.append(direction / size)

    def _along(self, name: str | None, change: Floats) -> Answer:
        """Derivative of the answer when the parameter moves at unit speed and the path by `change`."""
        game, scheme = self.game, CENTRAL
        length = np.inf if not np.any(change) else STEP / (game.fill_decay * float(np.max(np.abs(change))))
        if name is not None:
            length, scheme = min(length, STEP * parameter_unit(game, name)), difference_scheme(game, name)
        parts: list[Answer] = []
        for point in scheme[0]:
            moved = game if name is None else replace(game, **{name: getattr(game, name) + point * length})
            times = self.times if name != "horizon" else self.times * (moved.horizon / game.horizon)
            parts.append(respond(moved, times, self.path + point * length * change))
        weights = scheme[1] / length

        def combined(part: Callable[[Answer], Floats]) -> Floats:
            return np.asarray(sum(weight * part(each) for weight, each in zip(weights, parts, strict=True)))

        return Answer(
            combined(lambda each: each.value),
            combined(lambda each: each.density),
            combined(lambda each: each.ask),
            combined(lambda each: each.bid),
            combined(lambda each: each.means),
            combined(lambda each: each.image),
        )


def respond(game: MarketMakingGame, times: Floats, path: Floats) -> Answer:
    """The makers' answer to a path of the crowd's quotes."""
    value, density, image = reply(game, times, path)
    return Answer(value, density, *best_quotes(game, value), mean_quotes(game, value, density), image)


def parameter_unit(game: MarketMakingGame, name: str) -> float:
    """Size of the parameter, or where it is near zero that of a change which the quotes feel."""
    k = game.fill_decay
    least = {
        "running_penalty": 0.01 / (k * game.horizon),
        "terminal_penalty": 0.01 / k,
        "competition": 0.1,
        "initial_mean": 1.0,
        "adverse_selection": 0.1 / k,
        "maker_fee": 0.1 / k,
        "risk_aversion": 0.1 * k,
    }
    return max(abs(float(getattr(game, name))), least.get(name, 0.0))


def difference_scheme(game: MarketMakingGame, name: str) -> tuple[Floats, Floats]:
    """Central differences, or one-sided ones where the parameter is at an end of its range."""
    reach = 4.0 * STEP * parameter_unit(game, name)
    here = float(getattr(game, name))
    low, high = -np.inf, np.inf
    if name in ("running_penalty", "terminal_penalty", "risk_aversion", "competition"):
        low = 0.0
    if name == "competition":
        high = 1.0
    elif name == "initial_mean":
        low, high = -game.max_inventory, game.max_inventory
    elif name == "fill_decay" and isinstance(game.competition, OutsideOption):
        low = game.competition.crowd_decay
    if here - low < reach:
        return ONE_SIDED
    return CENTRAL if high - here >= reach else (-ONE_SIDED[0], -ONE_SIDED[1])
