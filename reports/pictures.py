"""What the views of an equilibrium share: units in words, pictures in chapters, lines over time."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from reports import charts
from reports.charts import Series
from reports.formats import number, significant

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Units:
    """What the numbers of a game are counted in; words only."""

    time: str = "units of time"
    price: str = "price units"
    inventory: str = "units"


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture with its title and what it says."""

    title: str
    drawing: Markup
    words: str


@dataclass(frozen=True, slots=True)
class Chapter:
    """Pictures that belong together."""

    anchor: str
    title: str
    sentence: str
    pictures: Sequence[Picture]


def over_time(
    times: Floats, lines: Sequence[Series], label: str, units: Units, y_words: str, include: Sequence[float] = ()
) -> Markup:
    """Lines over the time of a game, with ticks that differ from each other."""
    write = tick_number([*(line.values for line in lines), np.asarray(include, dtype=np.float64)])
    return charts.curves(times, lines, label, time_words(units), write, y_words=y_words, include=include)


def tick_number(arrays: Sequence[Floats]) -> Callable[[float], str]:
    """How to write round numbers between the lowest and the highest of the arrays so that neighbours differ."""
    values = np.concatenate([np.ravel(array) for array in arrays])
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    if not 1e-3 <= max(abs(low), abs(high)) < 1e5 or high == low:
        return lambda v: significant(v, 3)
    digits = min(max(0, 1 - math.floor(math.log10((high - low) / 2.0))), 8)
    return lambda v: _bare(number(v, digits))


def time_words(units: Units) -> str:
    """The words of a time axis."""
    return f"time, {units.time}"


def inventory_words(units: Units) -> str:
    """The words of an inventory axis."""
    return f"inventory, {units.inventory}"


def one(unit: str) -> str:
    """One of a unit: "units of time" is "unit of time", "seconds" is "second"."""
    first, space, rest = unit.partition(" of ")
    return first.removesuffix("s") + space + rest


def _bare(text: str) -> str:
    """Without the zeros at the end of a fraction."""
    return text.rstrip("0").rstrip(".") if "." in text else text
