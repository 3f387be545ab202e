"""Shapes of the fill intensity: lambda = A shape(y), y = k (half-spread - crowd's)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Exponential:
    """exp(-y): the shape of Avellaneda & Stoikov (2008)."""


IntensityShape: TypeAlias = Exponential
