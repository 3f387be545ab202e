"""The fixed-point methods that can stand in for each other in `solve_mfg`."""

from __future__ import annotations

from typing import TypeAlias

from mfg_core.iteration.fictitious_play import FictitiousPlay
from mfg_core.iteration.fixed_point import Anderson, Picard
from mfg_core.iteration.newton_krylov import NewtonKrylov

FixedPointMethod: TypeAlias = Anderson | Picard | FictitiousPlay | NewtonKrylov
