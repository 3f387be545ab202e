"""Many games at once: solved in chains of neighbours, each started from the one before, with failures kept apart."""

from __future__ import annotations

import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mfg_core.checks import require_count
from mfg_core.errors import EdgeMassWarning, SolveError
from mfg_core.family.time_grid import interpolate_rows
from mfg_core.iteration.fixed_point import Anderson
from mfg_core.market.market_certificate import EDGE_MASS
from mfg_core.market.market_making import MarketMakingEquilibrium, MarketMakingGame
from mfg_core.market.market_solver import solve_market_making
from mfg_core.solve import solve_mfg

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import ArrayLike, NDArray

    from mfg_core.iteration.methods import FixedPointMethod

    Floats = NDArray[np.float64]

CHAIN = 50
"""Games in a chain; fixed, so that answers do not depend on the number of workers."""


@dataclass(frozen=True, slots=True, eq=False)
class BatchResult:
    """What became of many games.

    Attributes
    ----------
    equilibria : tuple of MarketMakingEquilibrium or None
        In the order of the games; None where the solve failed.
    failures : dict of int to SolveError
        Why, by position.
    """

    equilibria: tuple[MarketMakingEquilibrium | None, ...]
    failures: dict[int, SolveError]


@dataclass(frozen=True, slots=True, eq=False)
class QuoteTable:
    """Many equilibria on common shares of the horizon; nan in the rows of games that failed.

    Attributes
    ----------
    shares : (nt,) float64
        Times over the horizon, from 0 to 1.
    value, ask, bid : (n, nt, nx) float64
        One row per game; nan too where a side is not quoted.
    mean_ask, mean_bid : (n, nt) float64
    failures : dict of int to SolveError
    """

    shares: Floats
    value: Floats
    ask: Floats
    bid: Floats
    mean_ask: Floats
    mean_bid: Floats
    failures: dict[int, SolveError]


def solve_table(
    games: Sequence[MarketMakingGame],
    shares: ArrayLike,
    *,
    rtol: float = 1e-9,
    atol: float = 1e-12,
    method: FixedPointMethod | None = None,
    workers: int = 1,
    progress: Callable[[int], None] | None = None,
) -> QuoteTable:
    """Value and quotes of many games as arrays; nothing else of an equilibrium is kept, unlike by `solve_many`.

    Between an equilibrium's own times its value and mean quotes are quadratic, as its policy's quotes are.

    Parameters
    ----------
    games : sequence of MarketMakingGame
        Of one `max_inventory`.
    shares : (nt,) array_like
        Times over the horizon, rising from 0 to 1 at most.
    rtol, atol, method, workers, progress
        As for `solve_many`.

    Raises
    ------
    ValueError
        When the games differ in `max_inventory`, or the shares make no sense.
    """
    at = np.array(shares, dtype=np.float64)
    if at.ndim != 1 or at.size == 0 or not (at[0] >= 0 and at[-1] <= 1 and np.all(np.diff(at) > 0)):
        raise ValueError(f"shares must be (nt,), within 0 and 1 and rising; was {shares!r}")
    sizes = {game.max_inventory for game in games if isinstance(game, MarketMakingGame)}
    if len(sizes) > 1:
        raise ValueError(f"games must have one max_inventory; were {sorted(sizes)}")
    width = 2 * sizes.pop() + 1 if sizes else 0
    value, ask, bid = np.full((3, len(games), at.size, width), np.nan)
    mean_ask, mean_bid = np.full((2, len(games), at.size), np.nan)
    failures: dict[int, SolveError] = {}

    def keep(place: int, answer: MarketMakingEquilibrium | SolveError) -> None:
        if isinstance(answer, SolveError):
            failures[place] = answer
            return
        times = np.minimum(at * answer.game.horizon, answer.times[-1])
        value[place] = interpolate_rows(answer.times, answer.value, times)
        bid[place], ask[place] = answer.policy.quotes(times[:, None], answer.states)
        mean_ask[place] = interpolate_rows(answer.times, answer.mean_field.ask, times)
        mean_bid[place] = interpolate_rows(answer.times, answer.mean_field.bid, times)

    run_chains(games, keep, rtol, atol, method, workers, progress)
    return QuoteTable(at, value, ask, bid, mean_ask, mean_bid, dict(sorted(failures.items())))


def solve_many(
    games: Sequence[MarketMakingGame],
    *,
    rtol: float = 1e-9,
    atol: float = 1e-12,
    method: FixedPointMethod | None = None,
    workers: int = 1,
    throw: bool = False,
    progress: Callable[[int], None] | None = None,
) -> BatchResult:
    """The equilibria of many games, in their order, each to the tolerance and with the certificate of `solve_mfg`.

    Games are ordered along a path through near neighbours and cut into chains; within a chain each solve starts from
    the mean quotes of the one before. The answers are the same bytes for any number of workers.

    Parameters
    ----------
    games : sequence of MarketMakingGame
    rtol, atol, method
        As for `solve_mfg`.
    workers : int
        Threads; the compiled marches run outside Python's lock.
    throw : bool
        Raise the failure of the first game that failed, instead of keeping it in `failures`.
    progress : callable, optional
        Called with the number of games done, after each chain.

    Raises
    ------
    TypeError
        When an element is not a MarketMakingGame.
    SolveError
        When a solve fails and `throw`.
    """
    equilibria: list[MarketMakingEquilibrium | None] = [None] * len(games)
    failures: dict[int, SolveError] = {}

    def keep(place: int, answer: MarketMakingEquilibrium | SolveError) -> None:
        if isinstance(answer, SolveError):
            failures[place] = answer
        else:
            equilibria[place] = answer

    run_chains(games, keep, rtol, atol, method, workers, progress)
    failures = dict(sorted(failures.items()))
    if throw and failures:
        raise next(iter(failures.values()))
    return BatchResult(tuple(equilibria), failures)


def run_chains(
    games: Sequence[MarketMakingGame],
    keep: Callable[[int, MarketMakingEquilibrium | SolveError], None],
    rtol: float,
    atol: float,
    method: FixedPointMethod | None,
    workers: int,
    progress: Callable[[int], None] | None,
) -> None:
    """Solve all games and hand each answer, with its position, to `keep` as soon as it is there."""
    for place, game in enumerate(games):
        if not isinstance(game, MarketMakingGame):
            raise TypeError(f"games must be MarketMakingGame; element {place} was {type(game).__name__}")
    order = neighbour_order(games)
    chains = [order[first : first + CHAIN] for first in range(0, len(order), CHAIN)]
    crowded: list[float] = []

    def solve_chain(chain: list[int]) -> int:
        known: MarketMakingEquilibrium | None = None
        for place in chain:
            answer = _solve(games[place], known, rtol, atol, method)
            if isinstance(answer, MarketMakingEquilibrium):
                known = answer
                crowded.append(float(np.max(answer.edge_mass)))
            keep(place, answer)
        return len(chain)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", EdgeMassWarning)
        done = 0
        with ThreadPoolExecutor(require_count("workers", workers)) as pool:
            for count in (map if workers == 1 else pool.map)(solve_chain, chains):
                done += count
                if progress is not None:
                    progress(done)
    crowded = [edge for edge in crowded if edge > EDGE_MASS]
    if crowded:
        warnings.warn(
            f"in {len(crowded)} of {len(games)} games up to {max(crowded):.2g} of the makers are at the ends of the "
            "inventory grid; raise max_inventory",
            EdgeMassWarning,
            stacklevel=3,
        )


def _solve(
    game: MarketMakingGame,
    known: MarketMakingEquilibrium | None,
    rtol: float,
    atol: float,
    method: FixedPointMethod | None,
) -> MarketMakingEquilibrium | SolveError:
    """The equilibrium, from a neighbour's if that works, else from scratch; or why there is none."""
    if known is not None:
        with suppress(SolveError):
            found = solve_market_making(game, method or Anderson(), rtol, atol, known)
            if found.certificate.converged:
                return found
    try:
        return solve_mfg(game, rtol=rtol, atol=atol, method=method)
    except SolveError as error:
        return error


def neighbour_order(games: Sequence[MarketMakingGame]) -> list[int]:
    """Positions along a path that goes on to the nearest game not yet visited.

    Distance is Euclidean in the parameters that shape the quotes, in logarithms where they are positive, each divided
    by its spread over the games; games of different grid size or form of competition are apart. Ties go to the first.
    """
    if not games:
        return []
    features = np.array([_features(game) for game in games])
    spread = features.std(axis=0)
    features = features[:, spread > 0] / spread[spread > 0]
    left = np.arange(len(games))
    here, order = 0, []
    while True:
        order.append(int(left[here]))
        at = features[left[here]]
        left = np.delete(left, here)
        if left.size == 0:
            return order
        here = int(np.argmin(np.sum((features[left] - at) ** 2, axis=1)))


def _features(game: MarketMakingGame) -> list[float]:
    """Numbers whose differences say how far apart two games are."""
    k, horizon = game.fill_decay, game.horizon
    positive = (game.ask_arrival * horizon, game.bid_arrival * horizon, k, horizon)
    weights = (k * game.running_penalty * horizon, k * game.terminal_penalty, game.risk_aversion / k)
    form = type(game.competition).__name__, type(game.intensity_shape).__name__, game.max_inventory, game.bounded
    return [
        *np.log(positive),
        *np.log1p(np.multiply(100.0, weights)),
        game.initial_mean,
        game.initial_std,
        k * game.adverse_selection,
        k * game.maker_fee,
        game.crowd_weight,
        1e3 * (zlib.crc32(repr(form).encode()) % 1000),
    ]
