"""The games of a policy library: every combination of parameter values, in one or several regimes."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from mfg_core.checks import require_finite
from mfg_core.market.market_making import MarketMakingGame
from mfg_core.market.regimes import RegimeSwitchingGame

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

ARRIVAL_SCALE = "arrival_scale"
"""The axis that multiplies both arrivals of a regime's game."""

MOST_AXES = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class SwitchingRegimes:
    """Named regimes of one `RegimeSwitchingGame`: makers know that the market may change under them.

    Attributes
    ----------
    regimes : mapping of str to MarketMakingGame
    switching_rates, initial_regime
        As of `RegimeSwitchingGame`, in the order of the names.
    """

    regimes: Mapping[str, MarketMakingGame]
    switching_rates: Sequence[Sequence[float]]
    initial_regime: Sequence[float]

    def game(self, games: Sequence[MarketMakingGame]) -> RegimeSwitchingGame:
        """The switching game of these games, one per name."""
        return RegimeSwitchingGame(
            regimes=tuple(games),
            switching_rates=tuple(tuple(row) for row in self.switching_rates),
            initial_regime=tuple(self.initial_regime),
        )


@dataclass(frozen=True, slots=True, eq=False)
class PolicyGrid:
    """Games at every combination of the axes' values, for each regime; the last axis varies fastest.

    Attributes
    ----------
    regimes : mapping of str to MarketMakingGame
        Named points, all with one `max_inventory`; a game alone is the regime "base".
    axes : mapping of str to increasing floats
        A float parameter of the game each, or "arrival_scale", which multiplies both arrivals; at least two values.
        The value replaces (or scales) the regime's own.
    switching : SwitchingRegimes, optional
        Where the regimes switch into each other; else each is a game of its own.

    Examples
    --------
    >>> game = MarketMakingGame(ask_arrival=1.0, bid_arrival=1.0, fill_decay=0.5, running_penalty=0.01,
    ...                         terminal_penalty=0.1, horizon=10.0, max_inventory=5)
    >>> grid = PolicyGrid(game, {"fill_decay": (0.4, 0.5), "arrival_scale": (1.0, 2.0, 3.0)})
    >>> grid.size, grid.parameters(4), grid.game(4).ask_arrival
    (6, {'fill_decay': 0.5, 'arrival_scale': 2.0}, 2.0)
    """

    regimes: Mapping[str, MarketMakingGame]
    axes: Mapping[str, tuple[float, ...]]
    switching: SwitchingRegimes | None

    def __init__(
        self,
        regimes: MarketMakingGame | Mapping[str, MarketMakingGame] | SwitchingRegimes,
        axes: Mapping[str, Sequence[float]],
    ) -> None:
        """Check names and values; the games are made when they are asked for."""
        switching = regimes if isinstance(regimes, SwitchingRegimes) else None
        separate = regimes.regimes if isinstance(regimes, SwitchingRegimes) else regimes
        named = {"base": separate} if isinstance(separate, MarketMakingGame) else dict(separate)
        if not named:
            raise ValueError("regimes must hold at least one game; was empty")
        for name, game in named.items():
            if not isinstance(name, str) or not isinstance(game, MarketMakingGame):
                raise TypeError(f"regimes must map names to MarketMakingGame; was {name!r}: {type(game).__name__}")
        sizes = {game.max_inventory for game in named.values()}
        if len(sizes) > 1:
            raise ValueError(f"regimes must have one max_inventory; was {sorted(sizes)}")
        if len(axes) > MOST_AXES:
            raise ValueError(f"axes must be at most {MOST_AXES}; was {len(axes)}")
        if ARRIVAL_SCALE in axes and not {"ask_arrival", "bid_arrival"}.isdisjoint(axes):
            raise ValueError(f"axes must not hold both {ARRIVAL_SCALE} and an arrival; was {', '.join(axes)}")
        checked = {name: _axis(name, values, next(iter(named.values()))) for name, values in axes.items()}
        object.__setattr__(self, "regimes", named)
        object.__setattr__(self, "axes", checked)
        object.__setattr__(self, "switching", switching)
        if switching is not None:
            switching.game(tuple(named.values()))

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of regimes, then of values on each axis."""
        return (len(self.regimes), *(len(values) for values in self.axes.values()))

    @property
    def size(self) -> int:
        """Number of games."""
        return math.prod(self.shape)

    @property
    def solves(self) -> int:
        """Number of games to solve: one per policy; of switching regimes one for all of them at a point of the axes."""
        return self.size if self.switching is None else self.size // len(self.regimes)

    def policies(self, solve: int) -> tuple[int, ...]:
        """The policies that solve number `solve` gives."""
        return (solve,) if self.switching is None else tuple(range(solve, self.size, self.solves))

    def regime(self, index: int) -> str:
        """Name of the regime of game `index`."""
        return tuple(self.regimes)[np.unravel_index(index, self.shape)[0]]

    def parameters(self, index: int) -> dict[str, float]:
        """The axes' values at game `index`."""
        place = np.unravel_index(index, self.shape)[1:]
        return {name: values[i] for (name, values), i in zip(self.axes.items(), place, strict=True)}

    def game(self, index: int) -> MarketMakingGame:
        """Game `index`; ValueError where the game refuses the combination."""
        return self.game_at(self.regime(index), self.parameters(index))

    def game_at(self, regime: str, parameters: Mapping[str, float]) -> MarketMakingGame:
        """The regime's game with these values of the axes, on the grid or not."""
        game = self.regimes[regime]
        changes: dict[str, Any] = dict(parameters)
        scale = changes.pop(ARRIVAL_SCALE, None)
        if scale is not None:
            changes |= {"ask_arrival": scale * game.ask_arrival, "bid_arrival": scale * game.bid_arrival}
        try:
            return replace(game, **changes)
        except ValueError as error:
            raise ValueError(f"regime {regime} has no game at {describe(parameters)}: {error}") from None

    def switching_game_at(self, parameters: Mapping[str, float]) -> RegimeSwitchingGame:
        """The game of all regimes with these values of the axes; only of a grid with `switching`."""
        if self.switching is None:
            raise ValueError("regimes must be SwitchingRegimes; were games of their own")
        try:
            return self.switching.game([self.game_at(name, parameters) for name in self.regimes])
        except ValueError as error:
            raise ValueError(f"no switching game at {describe(parameters)}: {error}") from None

    def corners(self) -> Iterator[int]:
        """Games at the ends of all axes: of a smooth family the extreme ones."""
        ends = [range(len(self.regimes)), *({0, len(values) - 1} for values in self.axes.values())]
        for place in itertools.product(*ends):
            yield int(np.ravel_multi_index(place, self.shape))


def describe(parameters: Mapping[str, float]) -> str:
    """`name=value, ...` for messages."""
    return ", ".join(f"{name}={value:g}" for name, value in parameters.items()) or "its own parameters"


def _axis(name: str, values: Sequence[float], game: MarketMakingGame) -> tuple[float, ...]:
    able = [field.name for field in fields(game) if isinstance(getattr(game, field.name), float)]
    if name not in (ARRIVAL_SCALE, *able):
        raise ValueError(f"axes must be {ARRIVAL_SCALE} or a float parameter ({', '.join(able)}); was {name!r}")
    numbers = tuple(require_finite(f"axes[{name!r}]", _plain(value)) for value in values)
    if len(numbers) < 2 or any(right <= left for left, right in itertools.pairwise(numbers)):
        raise ValueError(f"axes[{name!r}] must be at least two increasing values; was {numbers}")
    return numbers


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value
