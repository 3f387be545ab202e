"""The equilibrium of a finite-state game as an object, with the evidence for it."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from mfg_core.certificate import Certificate, Status
from mfg_core.errors import SolveError
from mfg_core.family.finite_reply import Setting, best_play, best_reply, density_of, play, slopes_of
from mfg_core.family.finite_state import FiniteStateEquilibrium
from mfg_core.family.refinement import StepTooLongError, Sweep, allowed_residual
from mfg_core.family.time_grid import bisect, half_way, interpolate_rows, interpolate_smooth, quarter_values
from mfg_core.iteration.work import Work

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

FEWEST_CHECK_TIMES = 129


ControlBetween: TypeAlias = "Callable[[Floats, Floats, Floats], Floats]"
"""(times, control (nt+1, controls), t (m,)) to the control at t, (m, controls)."""


def certify(
    setting: Setting, sweep: Sweep, scaled_error: float, sweeps: int, control_at: ControlBetween | None
) -> FiniteStateEquilibrium:
    """The equilibrium object; the crowd is the population that plays the returned policy."""
    game, rtol, atol = setting.game, setting.rtol, setting.atol
    field = np.ascontiguousarray(sweep.image.T)
    control = np.asarray(game.control(sweep.times, sweep.value, field), dtype=np.float64)

    def policy(t: Floats) -> Floats:
        if control_at is not None:
            return control_at(sweep.times, control, t)
        value, mean = (interpolate_rows(sweep.times, rows, t) for rows in (sweep.value, field))
        return np.asarray(game.control(t, value, mean), dtype=np.float64)

    allowed = allowed_residual(game.field_unit, sweep.image, rtol, atol)
    status = Status.CONVERGED
    if not sweep.residual <= allowed:
        status = Status.WORK if sweep.spent else Status.SWEEPS
    elif not scaled_error <= 1.0:
        status = Status.STEPS
    try:
        exploitability = measure_regret(replace(setting, work=Work(setting.work.allowed)), sweep, policy)
    except (StepTooLongError, SolveError) as error:
        if status is Status.CONVERGED:
            raise SolveError(
                "the exploitability could not be measured on a finer grid; loosen rtol and atol or raise max_work",
                residual=sweep.residual,
                tolerance=allowed,
            ) from error
        exploitability = math.inf
    certificate = Certificate(
        iterations=sweeps,
        residual=sweep.residual,
        exploitability=exploitability,
        mass_error=float(np.max(np.abs(sweep.density.sum(axis=1) - 1.0))),
        discretisation_error=scaled_error * (rtol + atol),
        tolerance=allowed,
        converged=status is Status.CONVERGED,
        status=status,
    )
    return FiniteStateEquilibrium(game, sweep.times, sweep.value, sweep.density, control, field, certificate)


def measure_regret(setting: Setting, sweep: Sweep, policy: Callable[[Floats], Floats]) -> float:
    """What one player gains by leaving `policy` (times to controls) while the field stays; objective's unit, >= 0.

    With V* the best reply's value, on a finer grid, and H_i(u, V) the Hamiltonian of state i at control u,

        V*(0) - J(0) = E int [max_u H(u, V*) - H(policy, V*)] dt

    along the policy's own law (performance difference; Kakade & Langford 2002): an integral of local losses, not a
    difference of two large values. For a risk-averse game the law has the rates of the tangent at V*, which leaves out
    terms of second order in V* - J.
    """
    times = bisect(sweep.times)
    while times.size < FEWEST_CHECK_TIMES:
        times = bisect(times)
    path = np.stack([interpolate_rows(sweep.times, row, times) for row in sweep.image])
    assert sweep.slopes is not None
    near = (
        interpolate_smooth(sweep.times, sweep.value, sweep.slopes, times),
        interpolate_rows(sweep.times, sweep.slopes, times),
    )
    value, slopes, _ = best_reply(setting, times, path, near)
    best = best_play(setting, times, value, slopes, path)
    between = np.empty((2 * times.size - 1, value.shape[1]))
    field = np.empty((between.shape[0], path.shape[0]))
    between[::2], between[1::2] = value, half_way(times, value, slopes)
    field[::2], field[1::2] = path.T, quarter_values(path).T
    t = bisect(times)
    played = play(setting, t, policy(t), between, field)
    # Slopes are minus Hamiltonians; what is negative is rounding.
    network = setting.network
    regret = np.maximum(slopes_of(network, played, value) - slopes_of(network, best, value), 0.0)
    law = density_of(network, times, played, setting.initial_density)
    loss = np.sum(law * regret, axis=1)
    return float(np.sum(np.diff(times) * (loss[1:] + loss[:-1]) / 2.0))
