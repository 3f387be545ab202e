"""One verb: game, method and tolerance in, equilibrium and certificate out."""

from __future__ import annotations

from dataclasses import replace
from typing import TypeAlias, overload

import numpy as np

from mfg_core.certificate import Status
from mfg_core.checks import require_nonnegative
from mfg_core.errors import SolveError
from mfg_core.family.finite_solver import solve_finite_state
from mfg_core.family.finite_state import FiniteStateEquilibrium, FiniteStateGame
from mfg_core.iteration.fixed_point import Anderson, Picard
from mfg_core.iteration.methods import FixedPointMethod
from mfg_core.iteration.newton_krylov import NewtonKrylov
from mfg_core.iteration.work import Work
from mfg_core.linear_quadratic.clearing import ClearingEquilibrium, ClearingGame, solve_clearing
from mfg_core.linear_quadratic.execution import ExecutionEquilibrium, ExecutionGame, Shooting
from mfg_core.linear_quadratic.execution_solver import solve_execution
from mfg_core.market.entry_exit import ENTRY_EXIT_DAMPING, EntryExitGame, solve_entry_exit
from mfg_core.market.entry_exit_policy import EntryExitEquilibrium
from mfg_core.market.maker_types import (
    MixedMarketMakingEquilibrium,
    MixedMarketMakingGame,
    solve_mixed_market_making,
)
from mfg_core.market.market_making import MarketMakingEquilibrium, MarketMakingGame
from mfg_core.market.market_solver import solve_market_making
from mfg_core.market.regime_policy import RegimeSwitchingEquilibrium
from mfg_core.market.regimes import RegimeSwitchingGame, solve_regime_switching
from mfg_core.market.steady_skew import FREE_SKEW, LARGE_SKEW, skew_is_free

SMALLEST_RTOL = 1e-13

Composition: TypeAlias = MixedMarketMakingGame | RegimeSwitchingGame | EntryExitGame
ComposedEquilibrium: TypeAlias = MixedMarketMakingEquilibrium | RegimeSwitchingEquilibrium | EntryExitEquilibrium
Equilibrium: TypeAlias = (
    ExecutionEquilibrium | MarketMakingEquilibrium | ClearingEquilibrium | ComposedEquilibrium | FiniteStateEquilibrium
)


@overload
def solve_mfg(
    game: ExecutionGame,
    *,
    rtol: float = ...,
    atol: float = ...,
    method: Shooting | Picard | Anderson | None = ...,
    throw: bool = ...,
) -> ExecutionEquilibrium: ...
@overload
def solve_mfg(
    game: MarketMakingGame,
    *,
    rtol: float = ...,
    atol: float = ...,
    method: FixedPointMethod | None = ...,
    throw: bool = ...,
) -> MarketMakingEquilibrium: ...
@overload
def solve_mfg(
    game: ClearingGame,
    *,
    rtol: float = ...,
    atol: float = ...,
    method: Shooting | None = ...,
    throw: bool = ...,
) -> ClearingEquilibrium: ...
# The games of several markets are of the family too; the first overload that fits holds.
@overload
def solve_mfg(  # type: ignore[overload-overlap]
    game: MixedMarketMakingGame,
    *,
    rtol: float = ...,
    atol: float = ...,
    method: FixedPointMethod | None = ...,
    throw: bool = ...,
) -> MixedMarketMakingEquilibrium: ...
@overload
def solve_mfg(  # type: ignore[overload-overlap]
    game: RegimeSwitchingGame,
    *,
    rtol: float = ...,
    atol: float = ...,
    method: FixedPointMethod | None = ...,
    throw: bool = ...,
) -> RegimeSwitchingEquilibrium: ...
@overload
def solve_mfg(  # type: ignore[overload-overlap]
    game: EntryExitGame,
    *,
    rtol: float = ...,
    atol: float = ...,
    method: FixedPointMethod | None = ...,
    throw: bool = ...,
) -> EntryExitEquilibrium: ...
@overload
def solve_mfg(
    game: FiniteStateGame,
    *,
    rtol: float = ...,
    atol: float = ...,
    method: FixedPointMethod | None = ...,
    throw: bool = ...,
) -> FiniteStateEquilibrium: ...
def solve_mfg(
    game: ExecutionGame | MarketMakingGame | ClearingGame | Composition | FiniteStateGame,
    *,
    rtol: float = 1e-9,
    atol: float = 1e-12,
    method: Shooting | FixedPointMethod | None = None,
    throw: bool = True,
) -> Equilibrium:
    """The equilibrium of a game, with a certificate.

    Parameters
    ----------
    game : MarketMakingGame, ExecutionGame or ClearingGame; MixedMarketMakingGame, RegimeSwitchingGame or EntryExitGame
        Or any other game of the finite-state family, such as EpidemicGame or your own (see `FiniteStateGame`).
    rtol, atol : float
        Relative and absolute tolerance, met by the undamped residual and by the estimated discretisation error.
    method : method object, optional
        `Shooting` for the execution game; `Anderson` or `Picard` for any game that has a fixed point, `FictitiousPlay`
        and `NewtonKrylov` for market making too. By default the best one for the game; for market making `Anderson`,
        and `NewtonKrylov` if that runs out of sweeps (the certificate counts the sweeps of both, `max_work` the work).
    throw : bool
        Raise when the tolerance is missed; with False the certificate's `converged` and `status` say it.

    Raises
    ------
    SolveError
        When the tolerance is missed (and `throw`), or when no solution can be had in floating point.

    Examples
    --------
    >>> from mfg_core import ExecutionGame, solve_mfg
    >>> game = ExecutionGame(temporary_impact=1.0, crowd_impact=0.5, running_penalty=0.1, terminal_penalty=1.0,
    ...                      initial_mean=1.0, horizon=1.0)
    >>> equilibrium = solve_mfg(game)
    >>> round(float(equilibrium.mean_field.inventory[-1]), 8)
    0.3785108
    >>> equilibrium.certificate.converged
    True
    """
    rtol, atol = require_nonnegative("rtol", rtol), require_nonnegative("atol", atol)
    if rtol < SMALLEST_RTOL:
        raise ValueError(f"rtol must be at least {SMALLEST_RTOL}, a few hundred units of rounding; was {rtol}")
    equilibrium: Equilibrium
    if isinstance(game, MarketMakingGame):
        chosen = _fixed_point_method(game, method)
        work = Work(chosen.max_work)
        equilibrium = solve_market_making(game, chosen, rtol, atol, work=work)
        if method is None and equilibrium.certificate.status is Status.SWEEPS:
            # Replies that barely contract, as at competition 1 with lopsided arrivals.
            spent = equilibrium.certificate.iterations
            equilibrium = solve_market_making(game, NewtonKrylov(), rtol, atol, work=work)
            proof = replace(equilibrium.certificate, iterations=spent + equilibrium.certificate.iterations)
            equilibrium = replace(equilibrium, certificate=proof)
    elif isinstance(game, ExecutionGame):
        if method is not None and not isinstance(method, Shooting | Picard | Anderson):
            raise TypeError(f"method must be a Shooting, Picard or Anderson for an ExecutionGame; was {method!r}")
        equilibrium = solve_execution(game, method or Shooting(), rtol, atol)
    elif isinstance(game, ClearingGame):
        if method is not None and not isinstance(method, Shooting):
            raise TypeError(f"method must be left out, or a Shooting, for a ClearingGame; was {method!r}")
        equilibrium = solve_clearing(game, method or Shooting(), rtol, atol)
    elif isinstance(game, MixedMarketMakingGame):
        equilibrium = solve_mixed_market_making(game, _fixed_point_method(game, method), rtol, atol)
    elif isinstance(game, RegimeSwitchingGame):
        equilibrium = solve_regime_switching(game, _fixed_point_method(game, method), rtol, atol)
    elif isinstance(game, EntryExitGame):
        usual = Anderson(damping=ENTRY_EXIT_DAMPING)
        equilibrium = solve_entry_exit(game, _fixed_point_method(game, method or usual), rtol, atol)
    elif isinstance(game, FiniteStateGame):
        equilibrium = solve_finite_state(game, _fixed_point_method(game, method), rtol, atol)
    else:
        raise TypeError(
            "game must be a MarketMakingGame, ExecutionGame, ClearingGame, MixedMarketMakingGame, RegimeSwitchingGame, "
            f"EntryExitGame or another FiniteStateGame; was {type(game).__name__}"
        )
    if throw and not equilibrium.certificate.converged:
        raise _missed(equilibrium)
    return equilibrium


def _fixed_point_method(game: object, method: object) -> FixedPointMethod:
    if method is None:
        return Anderson()
    if not isinstance(method, FixedPointMethod):
        raise TypeError(
            f"method must be an Anderson, Picard, FictitiousPlay or NewtonKrylov for a {type(game).__name__}; "
            f"was {method!r}"
        )
    return method


def _missed(equilibrium: Equilibrium) -> SolveError:
    certificate, why = equilibrium.certificate, ""
    if isinstance(equilibrium, MarketMakingEquilibrium) and certificate.status in (
        Status.SWEEPS,
        Status.STEPS,
        Status.WORK,
    ):
        game = equilibrium.game
        skew = game.fill_decay * float(np.max(np.abs(equilibrium.net_skew)))
        if skew_is_free(game) and skew > LARGE_SKEW:
            why = f" The net skew has reached {skew:.3g} times 1/fill_decay. {FREE_SKEW}"
    return SolveError(
        f"residual {certificate.residual:.3g} and discretisation error {certificate.discretisation_error:.3g} against "
        f"the tolerance {certificate.tolerance:.3g} after {certificate.iterations} sweeps: "
        f"{certificate.status.value}{why}",
        residual=certificate.residual,
        tolerance=certificate.tolerance,
    )
