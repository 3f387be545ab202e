"""Policies on one common time grid: sampled, measured against the solved ones, and looked up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mfg_core.checks import require_count, require_finite

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from mfg_core.market.market_making import MarketMakingEquilibrium

    Floats = NDArray[np.float64]

GRADINGS = (1, 2, 4)
MOST_STEPS = 1024
_BETWEEN = np.array([1, 2, 3, 5, 6, 7]) / 8.0
"""Where in a pair of steps the quadratic is compared with the solved policy."""


class PreparedQuotes(NamedTuple):
    """One policy for `lookup_quotes`, in the library or between its policies; numba takes it as an argument.

    Attributes
    ----------
    table : (nx, nt, 2) float64
        Bid and ask half-spreads by inventory -Q..Q and time node; nan where the side is not quoted.
    horizon : float
    grading : int
        Of the time nodes, see `TimeNodes`.
    low, high : float
        Bounds of the quotes, infinite for none.
    """

    table: Floats
    horizon: float
    grading: int
    low: float
    high: float


class LibraryArrays(NamedTuple):
    """A whole library for `place_parameters` and `lookup_corners`; numba takes it as an argument.

    Attributes
    ----------
    flat : (policies * nx * nt * 2,) float32 or float64
        `QuoteBlock.block`, in one dimension.
    inventories, steps : int
        nx and nt - 1.
    limits : (policies, 3) float64
        Horizon and both bounds of the quotes; one row when they are those of all policies.
    values : float64
        The axes' values, one axis after the other.
    sizes, strides : (axes,) int64
        Values on each axis, and policies from one to the next.
    grading : int
    """

    flat: NDArray[Any]
    inventories: int
    steps: int
    limits: Floats
    values: Floats
    sizes: NDArray[np.int64]
    strides: NDArray[np.int64]
    grading: int


@dataclass(frozen=True, slots=True)
class TimeNodes:
    """Nodes t_j = T (1 - (1 - j/steps)^grading): equal steps for grading 1, finer towards the close for 2 and 4."""

    steps: int
    grading: int

    def __post_init__(self) -> None:
        """Check the numbers."""
        if require_count("steps", self.steps, 2) % 2 or self.steps > MOST_STEPS:
            raise ValueError(f"steps must be even and at most {MOST_STEPS}; was {self.steps}")
        if self.grading not in GRADINGS:
            raise ValueError(f"grading must be 1, 2 or 4; was {self.grading!r}")

    def times(self, horizon: float) -> Floats:
        """(steps+1,) the nodes."""
        return self._at(np.arange(self.steps + 1) / self.steps, horizon)

    def between(self, horizon: float) -> Floats:
        """(3 steps,) six times in each pair of steps, no node among them."""
        pairs = np.arange(0, self.steps, 2)[:, None] + 2.0 * _BETWEEN
        return self._at(pairs.ravel() / self.steps, horizon)

    def _at(self, share: Floats, horizon: float) -> Floats:
        return np.asarray(horizon * (1.0 - (1.0 - share) ** self.grading))


def sample_quotes(equilibrium: MarketMakingEquilibrium, nodes: TimeNodes) -> Floats:
    """(nx, steps+1, 2) bid and ask of the solved policy at the nodes, nan where a side is not quoted."""
    return _solved(equilibrium, nodes.times(equilibrium.game.horizon))


def time_error(equilibrium: MarketMakingEquilibrium, nodes: TimeNodes, table: Floats) -> float:
    """Largest difference between the sampled quotes and the solved ones, price units.

    At the nodes (rounding of the table) and at six times in each pair of steps.
    """
    game = equilibrium.game
    at = np.concatenate([nodes.times(game.horizon), nodes.between(game.horizon)])
    prepared = PreparedQuotes(
        table.astype(np.float64), game.horizon, nodes.grading, game.min_half_spread, game.max_half_spread
    )
    states = np.repeat(np.arange(table.shape[0]) - table.shape[0] // 2, at.size)
    quoted = np.stack(look_up(prepared, np.tile(at, table.shape[0]), states), axis=-1)
    return float(np.nanmax(np.abs(quoted.reshape(table.shape[0], at.size, 2) - _solved(equilibrium, at))))


def choose_nodes(equilibria: Sequence[MarketMakingEquilibrium], tolerance: float) -> TimeNodes:
    """The fewest nodes whose `time_error`, in units of 1/fill_decay, is within the tolerance for all the equilibria.

    Raises
    ------
    ValueError
        When `MOST_STEPS` do not suffice.
    """
    worst = np.inf
    steps = 8
    while steps <= MOST_STEPS:
        for grading in GRADINGS:
            nodes = TimeNodes(steps, grading)
            error = max(one.game.fill_decay * time_error(one, nodes, sample_quotes(one, nodes)) for one in equilibria)
            if error <= tolerance:
                return nodes
            worst = min(worst, error)
        steps *= 2
    raise ValueError(f"time_tolerance must be at least {worst:.2g}, what {MOST_STEPS} steps reach; was {tolerance}")


@dataclass(frozen=True, slots=True, eq=False)
class QuoteBlock:
    """The quotes of all policies of a grid, with the look-ups.

    Between its values a parameter enters multilinearly, time as the quadratic of each pair of steps (in the graded
    time of `TimeNodes`; where the horizon is an axis, at equal shares of the horizon). At a grid point the answer is
    the stored number, to rounding of the time's place.

    Attributes
    ----------
    regimes : tuple of str
    axes : mapping of str to (n,) float64
    nodes : TimeNodes
    block : (policies, nx, nt, 2) float32 or float64
        Regimes first, then the axes, the last fastest; inventory -Q..Q; time; bid, ask.
    limits : (policies, 3) float64
        Horizon, min_half_spread, max_half_spread.
    """

    regimes: tuple[str, ...]
    axes: Mapping[str, Floats]
    nodes: TimeNodes
    block: NDArray[Any]
    limits: Floats

    @property
    def max_inventory(self) -> int:
        """Q."""
        return int(self.block.shape[1] // 2)

    def arrays(self) -> LibraryArrays:
        """The bundle for the compiled look-ups."""
        sizes = np.array([values.size for values in self.axes.values()], dtype=np.int64)
        strides = np.append(np.cumprod(sizes[:0:-1])[::-1], 1)[: sizes.size].astype(np.int64)
        values = np.concatenate([np.empty(0), *self.axes.values()])
        limits = self.limits[:1] if np.all(self.limits == self.limits[0]) else self.limits
        flat, limits, values = (_read_only(one) for one in (self.block.reshape(-1), limits, values))
        return LibraryArrays(
            flat, self.block.shape[1], self.nodes.steps, limits, values, sizes, strides, self.nodes.grading
        )

    def prepare(self, regime: str | None = None, **parameters: float) -> PreparedQuotes:
        """The policy at these parameters, for `lookup_quotes`; ValueError outside the grid."""
        row, at = self._row(regime), self._parameters(parameters)
        corners, weights, count = self._corners(row, at)
        table = np.zeros(self.block.shape[1:])
        limits = np.zeros(3)
        for corner, weight in zip(corners[:count], weights[:count], strict=True):
            table += weight * self.block[corner]
            limits += weight * self.limits[corner]
        return PreparedQuotes(table, float(limits[0]), self.nodes.grading, float(limits[1]), float(limits[2]))

    def quotes(
        self, t: ArrayLike, inventory: ArrayLike, regime: str | None = None, **parameters: ArrayLike
    ) -> tuple[Floats, Floats]:
        """(bid, ask) half-spreads, broadcast over t, inventory and the parameters; nan where a side is not quoted.

        Raises
        ------
        ValueError
            Outside the grid, or for an inventory that is not an integer; naming what and the first such value.
        """
        row = self._row(regime)
        self._check_names(parameters)
        names = list(self.axes)
        held = np.broadcast_arrays(
            np.asarray(t, dtype=np.float64),
            np.asarray(inventory, dtype=np.float64),
            *(np.asarray(parameters[name], dtype=np.float64) for name in names),
        )
        at, x, values = held[0], held[1], held[2:]
        _require_all("inventory", f"an integer in [-{self.max_inventory}, {self.max_inventory}]", x,
                     (np.abs(x) <= self.max_inventory) & (x == np.round(x)))  # fmt: skip
        for name, value in zip(names, values, strict=True):
            first, last = self.axes[name][0], self.axes[name][-1]
            _require_all(name, f"in [{first}, {last}]", value, (value >= first) & (value <= last))
        flat = np.stack([value.ravel() for value in values], axis=1) if values else np.empty((at.size, 0))
        bid, ask = self._look_up_each(row, flat, at.ravel(), x.ravel().astype(np.int64))
        # A quoted side is never nan inside the grid, and Q >= 1 quotes one side at least: both nan is outside in time.
        _require_all("t", "in [0, horizon]", at, ~(np.isnan(bid) & np.isnan(ask)).reshape(at.shape))
        return bid.reshape(at.shape), ask.reshape(at.shape)

    def _look_up_each(
        self, row: int, parameters: Floats, t: Floats, inventory: NDArray[np.int64]
    ) -> tuple[Floats, Floats]:
        from mfg_core.library.lookup_kernels import lookup_many_corners

        room = 2 ** len(self.axes)
        bid, ask = np.empty(t.size), np.empty(t.size)
        corners, weights = np.empty(room, dtype=np.int64), np.empty(room)
        lookup_many_corners(
            self.arrays(), row, parameters, np.ascontiguousarray(t), inventory, corners, weights, bid, ask
        )
        return bid, ask

    def _corners(self, row: int, at: Floats) -> tuple[NDArray[np.int64], Floats, int]:
        from mfg_core.library.lookup_kernels import place_parameters

        corners, weights = np.empty(2**at.size, dtype=np.int64), np.empty(2**at.size)
        return corners, weights, int(place_parameters(self.arrays(), row, at, corners, weights))

    def _row(self, regime: str | None) -> int:
        if regime is None and len(self.regimes) == 1:
            return 0
        if regime not in self.regimes:
            raise ValueError(f"regime must be one of {', '.join(self.regimes)}; was {regime!r}")
        return self.regimes.index(regime)

    def _check_names(self, parameters: Mapping[str, Any]) -> None:
        if parameters.keys() != self.axes.keys():
            raise ValueError(
                f"parameters must be {', '.join(self.axes) or 'none'}; was {', '.join(parameters) or 'none'}"
            )

    def _parameters(self, parameters: Mapping[str, float]) -> Floats:
        self._check_names(parameters)
        for name, values in self.axes.items():
            if not values[0] <= require_finite(name, parameters[name]) <= values[-1]:
                raise ValueError(f"{name} must be in [{values[0]}, {values[-1]}]; was {parameters[name]!r}")
        return np.array([float(parameters[name]) for name in self.axes])


def look_up(prepared: PreparedQuotes, t: Floats, inventory: NDArray[np.int64]) -> tuple[Floats, Floats]:
    """(bid, ask) (n,) of a prepared policy at times and inventories (n,); nan outside its grid."""
    from mfg_core.library.lookup_kernels import lookup_many

    bid, ask = np.empty(t.size), np.empty(t.size)
    lookup_many(prepared, np.ascontiguousarray(t), np.ascontiguousarray(inventory, dtype=np.int64), bid, ask)
    return bid, ask


def _solved(equilibrium: MarketMakingEquilibrium, at: Floats) -> Floats:
    return np.stack(equilibrium.policy.quotes(at[None, :], equilibrium.states[:, None]), axis=-1)


def _read_only(array: NDArray[Any]) -> NDArray[Any]:
    """A view that cannot be written, so that compiled functions see one type whether or not the array is mapped."""
    view = array[:]
    view.flags.writeable = False
    return view


def _require_all(name: str, rule: str, values: Floats, good: NDArray[np.bool_]) -> None:
    if not np.all(good):
        raise ValueError(f"{name} must be {rule}; was {values[~good].flat[0]}")
