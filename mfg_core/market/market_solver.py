"""Solves the market-making game: by its exact linear transform where it has one, else in the finite-state family."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mfg_core.errors import EdgeMassWarning, SolveError
from mfg_core.family.finite_solver import solve_finite_state
from mfg_core.family.refinement import Reply, StepTooLongError, grade_edges, solve_on_grids
from mfg_core.family.time_grid import crossing_times, interpolate_rows
from mfg_core.iteration.fixed_point import Anderson
from mfg_core.iteration.work import Work
from mfg_core.market import market_reply
from mfg_core.market.intensity_shapes import Exponential
from mfg_core.market.market_certificate import EDGE_MASS, LARGEST_EXPONENT, certify
from mfg_core.market.market_family import as_family
from mfg_core.market.market_making import (
    MarketMakingEquilibrium,
    MarketMakingGame,
    MarketMakingMeanField,
    MarketMakingPolicy,
)
from mfg_core.market.skew_kernels import carry_skew
from mfg_core.market.steady_skew import FREE_SKEW, LARGE_SKEW, skew_is_free, steady_quotes
from mfg_core.market.warm_start import path_near

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from mfg_core.family.finite_state import FiniteStateEquilibrium
    from mfg_core.family.refinement import Sweep
    from mfg_core.iteration.fixed_point import UpdateRule

    Floats = NDArray[np.float64]

SHORTEST_PANEL = 1e-5
"""Of the horizon, in the grid to start from."""


def solve_market_making(
    game: MarketMakingGame,
    method: UpdateRule,
    rtol: float,
    atol: float,
    near: MarketMakingEquilibrium | None = None,
    work: Work | None = None,
) -> MarketMakingEquilibrium:
    """Equilibrium of the game, converged or not as its certificate says; see `solve_mfg` for the parameters.

    With exponential intensities and no quote bounds the scheme is that of the linear transform W = exp(k V), of order 4
    in the time step; else that of the finite-state family, of order 4 between the times at which a quote meets a bound,
    where the grid is cut. Grids are refined as `solve_on_grids` says, with the unit 1/k for V and quotes.
    The solve starts from the mean quotes and the time grid of `near`, the equilibrium of a similar game, if given.
    `work` is the work done and allowed when it is shared with other solves, by default `method.max_work`.
    """
    work = work or Work(method.max_work)
    start = None if near is None else path_near(near, game)
    if game.bounded or not isinstance(game.intensity_shape, Exponential):
        return _solve_in_family(game, method, rtol, atol, start, work)
    market = LinearMarket(game, work, isinstance(method, Anderson), start)

    def share_of(edges: Floats, exact: Reply, arising: Floats) -> float:
        return market.observed_share(edges, exact, arising, rtol, atol)

    found = solve_on_grids(market, first_edges(game), method, rtol, atol, share_of)
    if found is None and work.spent:
        raise work.refusal(rtol + atol)
    if found is None:
        raise _too_many_steps(game, method.max_steps, rtol + atol)
    return certify(game, *found, rtol, atol)


@dataclass(frozen=True, slots=True, eq=False)
class LinearMarket:
    """A game without bounds as the refinement of grids sees it."""

    market: MarketMakingGame
    work: Work
    foresees: bool
    start: Callable[[Floats], Floats] | None = None
    error_share: float = 1.0 / 4.0

    @property
    def value_unit(self) -> float:
        """1/k."""
        return 1.0 / self.market.fill_decay

    @property
    def field_unit(self) -> float:
        """1/k."""
        return 1.0 / self.market.fill_decay

    def first_path(self, times: Floats) -> Floats:
        """The start that was asked for, else the best quote where inventory costs nothing."""
        if self.start is not None:
            return self.start(times)
        game = self.market
        # Only where the imbalance alone would carry makers to a limit is the skew near its steady growth.
        imbalance = abs(game.ask_arrival - game.bid_arrival) * game.horizon
        if skew_is_free(game) and imbalance > game.max_inventory:
            growth, spread = steady_quotes(game)
            skew = growth * (times[-1] - times)
            return np.stack([spread + skew, spread - skew])
        return np.full((2, times.size), game.margin)

    def start_from(self, known: Sweep, times: Floats) -> None:
        """Nothing: the transform needs no guess."""
        return

    def reply(self, times: Floats, path: Floats, near: Reply | None) -> Reply:
        """The best reply to `path` and its population."""
        return Reply(*market_reply.reply(self.market, times, np.ascontiguousarray(path), work=self.work))

    def foresee(self, times: Floats, path: Floats, reply: Reply) -> Floats:
        """The image with its change of the skew carried back in time; see `carry_skew`."""
        game = self.market
        if not (self.foresees and skew_is_free(game)):
            return reply.image
        logs = np.log((game.ask_arrival, game.bid_arrival)) + game.log_hamiltonian_factor
        carried = np.empty_like(path)
        carry_skew(times, reply.value, reply.density, path, reply.image, logs, game.fill_decay, carried)
        return carried

    def reply_by_step(self, times: Floats, path: Floats, exact: Reply) -> tuple[Floats, Floats]:
        """(value, density) of which each step starts from `exact`."""
        value, density, _ = market_reply.reply(self.market, times, path, (exact.value, exact.density))
        return value, density

    def observed_share(self, edges: Floats, exact: Reply, arising: Floats, rtol: float, atol: float) -> float:
        """Error of a grid over its difference from every second node, by the order seen where steps are still longer.

        The errors that arise in the panels are compared with those of one step over each panel: their ratio is 2^p, 16
        in the long run, and a geometric series with it leaves the share 1/(2^p - 1). No less than that of order 4 is
        claimed, and a quarter more. Where steps from a steep close are too long for any order the ratio is low.
        """
        known = Reply(exact.value[::2].copy(), exact.density[::2].copy(), exact.image[:, ::2].copy())
        try:
            value, density = self.reply_by_step(edges, np.ascontiguousarray(known.image), known)
        except StepTooLongError:
            return 1.0
        largest = 0.0
        for rough, row, unit in (
            (value[:-1], known.value[:-1], self.value_unit),
            (density[1:], known.density[1:], 1.0),
        ):
            scaled = np.max(np.abs(rough - row) / (rtol * (unit + np.abs(row)) + atol), axis=1)
            largest = max(largest, float(np.sum(scaled)))
        ratio = largest / max(float(np.sum(arising)), 1e-300)
        return 1.25 / (min(max(ratio, 2.25), 16.0) - 1.0)

    def kinks(self, known: Sweep) -> Floats:
        """None: V is analytic."""
        return np.empty(0)


def first_edges(game: MarketMakingGame) -> Floats:
    """Panel edges to start from: equal ones, shorter near the close where a steep terminal penalty speeds fills."""
    k, Q = game.fill_decay, game.max_inventory
    tightest = game.margin - game.terminal_penalty * (2 * Q - 1)
    exponent = min(max(-k * tightest, -LARGEST_EXPONENT), LARGEST_EXPONENT)
    slowest = math.exp(-exponent) / max(game.ask_arrival, game.bid_arrival)
    return grade_edges(game.horizon, max(slowest, SHORTEST_PANEL * game.horizon))


def bound_times(game: MarketMakingGame, found: MarketMakingEquilibrium | FiniteStateEquilibrium) -> Floats:
    """Sorted times at which some best quote reaches a bound: there V is not smooth."""
    field = found.mean_field
    paths = np.stack([field.ask, field.bid], axis=1) if isinstance(field, MarketMakingMeanField) else field
    return crossing_times(found.times, as_family(game).switches(found.times, found.value, paths))


def _solve_in_family(
    game: MarketMakingGame,
    method: UpdateRule,
    rtol: float,
    atol: float,
    start: Callable[[Floats], Floats] | None,
    work: Work,
) -> MarketMakingEquilibrium:
    """The equilibrium by the generic solver; the exploitability is that of the quotes as the policy gives them."""
    family, low, high = as_family(game), game.min_half_spread, game.max_half_spread

    def quotes_at(times: Floats, quotes: Floats, t: Floats) -> Floats:
        return np.clip(interpolate_rows(times, quotes, t), low, high)

    try:
        found = solve_finite_state(family, method, rtol, atol, start=start, control_at=quotes_at, work=work)
    except SolveError as error:
        if math.isfinite(game.intensity_shape.lowest) and low == -math.inf:
            raise SolveError(
                f"{error}. The intensity of {game.intensity_shape} has no upper bound, so that no quote is too low "
                "where a fill saves too much: raise its exponent, lower the penalties or set min_half_spread",
                tolerance=error.tolerance,
            ) from error
        raise
    half = found.control.shape[1] // 2
    ask, bid = np.full_like(found.value, np.nan), np.full_like(found.value, np.nan)
    ask[:, 1:], bid[:, :-1] = found.control[:, :half], found.control[:, half:]
    policy = MarketMakingPolicy(found.times, game.states, ask, bid, low, high)
    flows = family.rates(found.times, found.control, found.mean_field) * found.density[:, family.sources]
    means = family.mean_over_quoting(found.density, found.control)
    field = MarketMakingMeanField(
        np.ascontiguousarray(means[:, 0]),
        np.ascontiguousarray(means[:, 1]),
        flows[:, :half].sum(axis=1),
        flows[:, half:].sum(axis=1),
    )
    equilibrium = MarketMakingEquilibrium(
        game, found.times, game.states, found.value, found.density, policy, field, found.certificate
    )
    edge = float(np.max(equilibrium.edge_mass))
    if edge > EDGE_MASS:
        warnings.warn(
            f"up to {edge:.2g} of the makers are at the ends of the inventory grid; raise max_inventory above "
            f"{game.max_inventory}",
            EdgeMassWarning,
            stacklevel=4,
        )
    return equilibrium


def _too_many_steps(game: MarketMakingGame, max_steps: int, tolerance: float) -> SolveError:
    skew = 2.0 * game.fill_decay * abs(steady_quotes(game)[0]) * game.horizon if skew_is_free(game) else 0.0
    if skew > LARGE_SKEW:
        return SolveError(
            f"the skew of this market would grow to some {skew:.3g} times 1/fill_decay. {FREE_SKEW}",
            tolerance=tolerance,
        )
    return SolveError(
        f"the market-making game needs more than {max_steps} time steps, or shorter ones near the close than floating "
        "point has; raise max_steps, lower fill_decay * terminal_penalty * max_inventory, or raise min_half_spread",
        tolerance=tolerance,
    )
