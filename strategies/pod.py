"""What a pod is: it is fitted on a training view, then decides at closes from views of the past."""

from __future__ import annotations

import dataclasses
import difflib
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from data_pipeline.daily.view import MarketView

Parameter = float | int | str | bool

P = TypeVar("P", bound="Pod")


@dataclass(frozen=True, slots=True)
class Targets:
    """What a pod wants after a decision: exactly one of the two, one entry per instrument of the view.

    Either is an array in the order of `view.instruments`, or a mapping from ticker to number in which absent tickers
    are zero.

    Attributes
    ----------
    weights : (N,) float64, mapping or None
        Wanted position values as fractions of the pod's net asset value, signed; the rest is cash.
    orders : (N,) float64, mapping or None
        Wanted changes of position in shares, signed, instead of what is still pending.
    """

    weights: NDArray[np.float64] | Mapping[str, float] | None = None
    orders: NDArray[np.float64] | Mapping[str, float] | None = None


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
    def name(self) -> str:
        """Name in results and messages."""
        ...

    @property
    def parameters(self) -> Mapping[str, Parameter]:
        """Every parameter by name: part of the key under which finished work is found again."""
        ...

    @property
    def lookback(self) -> int:
        """Sessions of history that one decision reads at most."""
        ...

    def fit(self, training: MarketView) -> Decider:
        """A decider fitted on `training`, whose last visible session is the last of the training window."""
        ...


def parameters_of(pod: Any) -> dict[str, Parameter]:
    """The fields of a pod dataclass by name, without its name."""
    return {item.name: getattr(pod, item.name) for item in dataclasses.fields(pod) if item.name != "name"}


def parameter_grid(pod: P, grid: Mapping[str, Sequence[Parameter]]) -> tuple[P, ...]:
    """The same pod with every combination of the grid's values, the last name varying fastest; all keep its name.

    An empty grid gives the pod itself.

    Raises
    ------
    ValueError
        When a name is not a parameter of the pod (the nearest one is given), has no values, or a combination breaks a
        rule of the pod.

    Examples
    --------
    >>> from strategies.momentum import TimeSeriesMomentum
    >>> pods = parameter_grid(TimeSeriesMomentum(), {"signal_sessions": [126, 252], "long_only": [True, False]})
    >>> [(pod.signal_sessions, pod.long_only) for pod in pods]
    [(126, True), (126, False), (252, True), (252, False)]
    """
    known = tuple(pod.parameters)
    for name, values in grid.items():
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"its parameters: {', '.join(known)}"
            raise ValueError(f"grid of pod {pod.name!r} must name its parameters; {name!r} is not one; {hint}")
        if len(values) == 0:
            raise ValueError(f"grid of pod {pod.name!r} must hold at least one value for {name!r}; was empty")
    combinations = itertools.product(*grid.values())
    return tuple(dataclasses.replace(pod, **dict(zip(grid, values, strict=True))) for values in combinations)  # type: ignore[type-var]
