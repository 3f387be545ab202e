"""How results move with capital, fees, delays and the fill model: the file that a study leaves in a run folder.

`sensitivity.json`: {"capital": [point, ...], "fee_factor": [...], ...}, lists by the names of `DIMENSIONS`, each
optional. A point has `pod`, `value` (a number; a name for the queue and the fill price) and any of the numbers
`annual_return`, `sharpe`, `annual_cost`, `standard_error` (of the annual return), `profit` (money a year; by default
the value times the annual return, for capital), `difference` (of the annual mean return over cash from the run's own)
with `difference_error`, `profit_error`, and `volume_share` (own fills as a share of what traded). Beside the lists
there may be `capacity` (see `PodCapacity`) and `notes`, sentences for whoever reads.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_pipeline.errors import DataError

SENSITIVITY_FILE = "sensitivity.json"
DIMENSIONS = (
    "capital", "order_lots", "max_position", "fee_factor", "delay_sessions", "participation_limit", "fill_price",
    "latency_ms", "queue",
)  # fmt: skip
NAMED = ("queue", "fill_price")
"""Dimensions whose values are names."""
NUMBERS = ("annual_return", "sharpe", "annual_cost", "standard_error", "profit")
MORE_NUMBERS = ("difference", "difference_error", "profit_error", "volume_share")
CAPACITY, NOTES = "capacity", "notes"
NOT_REACHED, NO_SIZE = "not reached", "none"
"""In place of a size: beyond the largest one studied; no size has a profit, or the smallest no positive ratio."""


@dataclass(frozen=True, slots=True)
class SensitivityPoint:
    """One pod under one setting; a number that the study did not give is NaN."""

    pod: str
    value: float | str
    annual_return: float
    sharpe: float
    annual_cost: float
    standard_error: float
    profit: float
    difference: float = math.nan
    difference_error: float = math.nan
    profit_error: float = math.nan
    volume_share: float = math.nan


@dataclass(frozen=True, slots=True)
class SizeInterval:
    """A size with the ends of its interval: each a number, `NOT_REACHED` or `NO_SIZE`."""

    value: float | str
    low: float | str
    high: float | str


@dataclass(frozen=True, slots=True)
class PodCapacity:
    """Of one pod, in units of `size` ("capital" or "order_lots"): where profit peaks, where Sharpe has halved.

    `smallest` and `largest` are the sizes studied.
    """

    pod: str
    size: str
    smallest: float
    largest: float
    peak: SizeInterval
    half_sharpe: SizeInterval


@dataclass(frozen=True, slots=True)
class Study:
    """What a study left: points by dimension, capacity of the pods, and sentences for whoever reads."""

    points: Mapping[str, tuple[SensitivityPoint, ...]]
    capacity: tuple[PodCapacity, ...] = ()
    notes: tuple[str, ...] = ()


def read_sensitivity(folder: Path) -> Mapping[str, tuple[SensitivityPoint, ...]] | None:
    """The points of each dimension in the run folder's `sensitivity.json`, by pod and value; None without the file.

    Raises
    ------
    DataError
        When the file is not as described above; naming the list and the point.
    """
    path, record = _record(folder)
    if record is None:
        return None
    return {name: _points(path, name, record[name]) for name in DIMENSIONS if name in record}


def read_study(folder: Path) -> Study | None:
    """All that the run folder's `sensitivity.json` holds; None without the file.

    Raises
    ------
    DataError
        As `read_sensitivity`, and when an entry of `capacity` is not one of a pod with sizes.
    """
    points = read_sensitivity(folder)
    path, record = _record(folder)
    if points is None or record is None:
        return None
    found = enumerate(record.get(CAPACITY, []))
    capacity = tuple(_capacity(f"{path}: {CAPACITY}[{row}]", item) for row, item in found)
    return Study(points, capacity, tuple(str(note) for note in record.get(NOTES, [])))


def _record(folder: Path) -> tuple[Path, Mapping[str, Any] | None]:
    path = folder / SENSITIVITY_FILE
    if not path.is_file():
        return path, None
    try:
        record = json.loads(path.read_bytes())
    except ValueError as error:
        raise DataError(f"{path}: not JSON: {error}: run the study again") from error
    if not isinstance(record, Mapping):
        raise DataError(f"{path}: must be an object with lists of points; was {type(record).__name__}")
    unknown = sorted(set(record) - {*DIMENSIONS, CAPACITY, NOTES})
    if unknown:
        raise DataError(f"{path}: keys must be among {', '.join(DIMENSIONS)}; had {', '.join(map(repr, unknown))}")
    for name in (CAPACITY, NOTES):
        if not isinstance(record.get(name, []), list):
            raise DataError(f"{path}: {name} must be a list; was {type(record[name]).__name__}")
    return path, record


def _capacity(where: str, item: Any) -> PodCapacity:
    try:
        sizes = {
            name: SizeInterval(*(_size(item[name][key]) for key in ("value", "low", "high")))
            for name in ("peak", "half_sharpe")
        }
        return PodCapacity(
            str(item["pod"]), str(item["size"]), float(item["smallest"]), float(item["largest"]), **sizes
        )
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{where} must have pod, size, smallest, largest, peak and half_sharpe: {error!r}") from None


def _size(value: Any) -> float | str:
    return value if value in (NOT_REACHED, NO_SIZE) else float(value)


def _points(path: Path, dimension: str, points: Any) -> tuple[SensitivityPoint, ...]:
    if not isinstance(points, list):
        raise DataError(f"{path}: {dimension} must be a list of points; was {type(points).__name__}")
    found = [_point(f"{path}: {dimension}[{row}]", dimension, point) for row, point in enumerate(points)]
    keys = [(point.pod, point.value) for point in found]
    repeated = next((key for place, key in enumerate(keys) if key in keys[:place]), None)
    if repeated is not None:
        raise DataError(f"{path}: {dimension} must have one point per pod and value; {repeated} is there twice")
    if dimension in NAMED:
        return tuple(found)
    return tuple(sorted(found, key=lambda point: (point.pod, float(point.value))))


def _point(where: str, dimension: str, point: Any) -> SensitivityPoint:
    if not isinstance(point, Mapping) or not isinstance(point.get("pod"), str):
        raise DataError(f"{where} must be an object with the name of a pod; was {point!r}")
    value = _value(where, dimension, point.get("value"))
    numbers = {}
    for name in (*NUMBERS, *MORE_NUMBERS):
        given = point.get(name)
        if given is not None and (isinstance(given, bool) or not isinstance(given, int | float)):
            raise DataError(f"{where}: {name} must be a number; was {given!r}")
        numbers[name] = math.nan if given is None else float(given)
    if dimension == "capital" and math.isnan(numbers["profit"]):
        numbers["profit"] = float(value) * numbers["annual_return"]
    if dimension == "capital" and math.isnan(numbers["profit_error"]):
        numbers["profit_error"] = float(value) * numbers["standard_error"]
    return SensitivityPoint(point["pod"], value, **numbers)


def _value(where: str, dimension: str, value: Any) -> float | str:
    if dimension in NAMED:
        if isinstance(value, str):
            return value
        what = "queue model" if dimension == "queue" else "fill price"
        raise DataError(f"{where}: value must be the name of a {what}; was {value!r}")
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise DataError(f"{where}: value must be a finite number; was {value!r}")
    if dimension == "capital" and value <= 0:
        raise DataError(f"{where}: value must be a positive capital; was {value!r}")
    return float(value)
