"""Local stability of an equilibrium: how fast plain replies to replies return to it, or leave it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mfg_core.checks import require_count, require_positive
from mfg_core.family.finite_state import FiniteStateEquilibrium
from mfg_core.study.equilibrium_map import equilibrium_map

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from mfg_core.market.market_making import MarketMakingEquilibrium

    Floats = NDArray[np.float64]

STEP = np.finfo(np.float64).eps ** (1.0 / 3.0)
"""Of central differences over the size of the point: truncation and rounding errors of the same size."""


def contraction_rate(equilibrium: MarketMakingEquilibrium | FiniteStateEquilibrium) -> float:
    """Largest modulus of an eigenvalue of the map's derivative at the equilibrium.

    Below 1 plain sweeps (`Picard()`) started near the equilibrium shrink the error by this factor each, in the long
    run; above 1 they leave it, although the equilibrium is one. Damping by a share s has the eigenvalues
    1 - s (1 - eigenvalue).
    """
    return float(np.abs(leading_eigenvalues(equilibrium)[0]))


def leading_eigenvalues(
    equilibrium: MarketMakingEquilibrium | FiniteStateEquilibrium,
    count: int = 1,
    *,
    rtol: float = 1e-5,
    max_directions: int = 80,
) -> NDArray[np.complex128]:
    """(up to count,) eigenvalues of dPhi at the equilibrium, the largest in modulus first.

    Arnoldi's method (1951) on central differences of the map on the equilibrium's own time grid; the start is a fixed
    random vector. The map smooths in time, so that a few directions settle the leading eigenvalues; those below 1e-8 of
    the largest are lost in rounding.

    Parameters
    ----------
    equilibrium : MarketMakingEquilibrium or FiniteStateEquilibrium
    count : int
        How many.
    rtol : float
        Error allowed, by the residual of the eigenvectors, relative to the largest eigenvalue.
    max_directions : int
        Most Arnoldi directions, two evaluations of the map each.
    """
    phi, point = equilibrium_map(equilibrium)
    length = STEP * max(float(np.linalg.norm(point)), np.sqrt(point.size) * field_unit(equilibrium))

    def derivative(direction: Floats) -> Floats:
        return np.asarray((phi(point + length * direction) - phi(point - length * direction)) / (2.0 * length))

    count = min(require_count("count", count), point.size)
    return arnoldi(derivative, point.size, count, require_positive("rtol", rtol), max_directions)


def field_unit(equilibrium: MarketMakingEquilibrium | FiniteStateEquilibrium) -> float:
    """Size below which differences of the mean field are absolute: 1/k, or the finite-state game's own."""
    if isinstance(equilibrium, FiniteStateEquilibrium):
        return equilibrium.game.field_unit
    return 1.0 / equilibrium.game.fill_decay


def arnoldi(
    apply: Callable[[Floats], Floats], size: int, count: int, rtol: float, max_directions: int
) -> NDArray[np.complex128]:
    """The leading eigenvalues of a linear map (size,) to (size,), the largest in modulus first."""
    basis = np.empty((min(max_directions, size) + 1, size))
    matrix = np.zeros((basis.shape[0], basis.shape[0] - 1))
    start = np.random.default_rng(0).normal(size=size)
    basis[0] = start / np.linalg.norm(start)
    for j in range(basis.shape[0] - 1):
        fresh = apply(basis[j])
        whole = float(np.linalg.norm(fresh))
        for _ in range(2):
            parts = basis[: j + 1] @ fresh
            matrix[: j + 1, j] += parts
            fresh = fresh - parts @ basis[: j + 1]
        left = float(np.linalg.norm(fresh))
        values, vectors = np.linalg.eig(matrix[: j + 1, : j + 1])
        order = np.argsort(-np.abs(values), kind="stable")
        values, vectors = values[order], vectors[:, order]
        missed = left * np.abs(vectors[-1, :count])
        if left <= 1e-9 * max(whole, 1e-300) or (j + 1 >= count and np.all(missed <= rtol * np.abs(values[0]))):
            break
        matrix[j + 1, j] = left
        basis[j + 1] = fresh / left
    return np.asarray(values[:count], dtype=np.complex128)
