"""The fixed-point methods that can stand in for each other in `solve_mfg`."""

from __future__ import annotations

from typing import TypeAlias

from mfg_core.fictitious_play import FictitiousPlay
from mfg_core.fixed_point import Anderson, Picard
from mfg_core.newton_krylov import NewtonKrylov

FixedPointMethod: TypeAlias = Anderson | Picard | FictitiousPlay | NewtonKrylov
