"""How results move with capital, fees, delays and the fill model: the file that a study leaves in a run folder.

`sensitivity.json`: {"capital": [point, ...], "fee_factor": [...], "delay_sessions": [...], "latency_ms": [...],
"queue": [...]}, each list optional. A point has `pod`, `value` (a number; for the queue the name of the model) and any
of the numbers `annual_return`, `sharpe`, `annual_cost`, `standard_error` (of the annual return), `profit` (money a
year; by default the value times the annual return, for capital).
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
DIMENSIONS = ("capital", "fee_factor", "delay_sessions", "latency_ms", "queue")
NUMBERS = ("annual_return", "sharpe", "annual_cost", "standard_error", "profit")


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


def read_sensitivity(folder: Path) -> Mapping[str, tuple[SensitivityPoint, ...]] | None:
    """The points of each dimension in the run folder's `sensitivity.json`, by pod and value; None without the file.

    Raises
    ------
    DataError
        When the file is not as described above; naming the list and the point.
    """
    path = folder / SENSITIVITY_FILE
    if not path.is_file():
        return None
    try:
        record = json.loads(path.read_bytes())
    except ValueError as error:
        raise DataError(f"{path}: not JSON: {error}: run the study again") from error
    if not isinstance(record, Mapping):
        raise DataError(f"{path}: must be an object with lists of points; was {type(record).__name__}")
    unknown = sorted(set(record) - set(DIMENSIONS))
    if unknown:
        raise DataError(f"{path}: keys must be among {', '.join(DIMENSIONS)}; had {', '.join(map(repr, unknown))}")
    return {name: _points(path, name, record[name]) for name in DIMENSIONS if name in record}


def _points(path: Path, dimension: str, points: Any) -> tuple[SensitivityPoint, ...]:
    if not isinstance(points, list):
        raise DataError(f"{path}: {dimension} must be a list of points; was {type(points).__name__}")
    found = [_point(f"{path}: {dimension}[{row}]", dimension, point) for row, point in enumerate(points)]
    keys = [(point.pod, point.value) for point in found]
    repeated = next((key for place, key in enumerate(keys) if key in keys[:place]), None)
    if repeated is not None:
        raise DataError(f"{path}: {dimension} must have one point per pod and value; {repeated} is there twice")
    if dimension == "queue":
        return tuple(found)
    return tuple(sorted(found, key=lambda point: (point.pod, float(point.value))))


def _point(where: str, dimension: str, point: Any) -> SensitivityPoint:
    if not isinstance(point, Mapping) or not isinstance(point.get("pod"), str):
        raise DataError(f"{where} must be an object with the name of a pod; was {point!r}")
    value = _value(where, dimension, point.get("value"))
    numbers = {}
    for name in NUMBERS:
        given = point.get(name)
        if given is not None and (isinstance(given, bool) or not isinstance(given, int | float)):
            raise DataError(f"{where}: {name} must be a number; was {given!r}")
        numbers[name] = math.nan if given is None else float(given)
    if dimension == "capital" and math.isnan(numbers["profit"]):
        numbers["profit"] = float(value) * numbers["annual_return"]
    return SensitivityPoint(point["pod"], value, **numbers)


def _value(where: str, dimension: str, value: Any) -> float | str:
    if dimension == "queue":
        if isinstance(value, str):
            return value
        raise DataError(f"{where}: value must be the name of a queue model; was {value!r}")
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise DataError(f"{where}: value must be a finite number; was {value!r}")
    if dimension == "capital" and value <= 0:
        raise DataError(f"{where}: value must be a positive capital; was {value!r}")
    return float(value)
