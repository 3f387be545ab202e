"""What a pod is: it is fitted on a training view, then decides at closes from views of the past."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from data_pipeline.view import MarketView


@dataclass(frozen=True, slots=True)
class Targets:
    """What a pod wants after a decision: exactly one of the two arrays, one entry per instrument of the view.

    Attributes
    ----------
    weights : (N,) float64 or None
        Wanted position values as fractions of the pod's net asset value, signed; the rest is cash.
    orders : (N,) float64 or None
        Wanted changes of position in shares, signed.
    """

    weights: NDArray[np.float64] | None = None
    orders: NDArray[np.float64] | None = None


class Decider(Protocol):
    """A fitted pod."""

    def decide(self, view: MarketView) -> Targets | None:
        """New targets at this close, or None to keep the previous ones."""
        ...


class Pod(Protocol):
    """A strategy with its parameters set: a frozen, picklable dataclass.

    `lookback` is how many sessions of history `decide` reads at most (the warm-up before the first decision).
    """

    @property
    def name(self) -> str: ...

    @property
    def parameters(self) -> Mapping[str, float | int | str | bool]: ...

    @property
    def lookback(self) -> int: ...

    def fit(self, training: MarketView) -> Decider:
        """A decider fitted on `training`, whose last visible session is the last of the training window."""
        ...
