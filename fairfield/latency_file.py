"""Delays of orders in a CSV file, as a latency of the event engine."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fairfield.errors import ConfigError

if TYPE_CHECKING:
    from backtests.intraday.settings import Latency

_DELAYS = ("entry_ms", "response_ms")
_MOST_MS = 60_000.0


def read_latency(path: Path, kind: str) -> Latency:
    """The latency of a file: columns entry_ms and response_ms, of "recorded" ones with `time` (ISO 8601, UTC) first.

    Raises
    ------
    ConfigError
        When the file cannot be read; naming it, the line and what is wrong.
    """
    from backtests.intraday.settings import Latency

    columns = ("time", *_DELAYS) if kind == "recorded" else _DELAYS
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            lines = list(csv.reader(stream))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(f"{path}: the delays cannot be read ({error})") from error
    if not lines or tuple(name.strip() for name in lines[0]) != columns:
        had = ",".join(lines[0]) if lines else "nothing"
        raise ConfigError(f"{path}: the first line must be {','.join(columns)}; was {had}")
    rows = [(number, line) for number, line in enumerate(lines[1:], start=2) if line]
    if not rows:
        raise ConfigError(f"{path}: must have at least one row of delays under the first line; had none")
    delays = np.array([_delays(path, number, line, len(columns)) for number, line in rows])
    nanoseconds = np.rint(1e6 * delays).astype(np.int64)
    times = np.zeros(0, dtype=np.int64)
    if kind == "recorded":
        times = np.array([_time(path, number, line[0]) for number, line in rows], dtype=np.int64)
        wrong = np.flatnonzero(np.diff(times) <= 0)
        if wrong.size:
            number = rows[int(wrong[0]) + 1][0]
            raise ConfigError(f"{path}, line {number}: time must be after that of the line before; was not")
    entry, response = (np.ascontiguousarray(nanoseconds[:, place]) for place in (0, 1))
    return Latency("recorded" if kind == "recorded" else "sampled", times=times, entry=entry, response=response)


def _delays(path: Path, number: int, line: list[str], columns: int) -> tuple[float, float]:
    if len(line) != columns:
        raise ConfigError(f"{path}, line {number}: must have {columns} values; had {len(line)}")
    found = []
    for name, text in zip(_DELAYS, line[-2:], strict=True):
        try:
            value = float(text)
        except ValueError:
            value = np.nan
        if not 0.0 <= value <= _MOST_MS:
            raise ConfigError(f"{path}, line {number}: {name} must be from 0 to {_MOST_MS:g}; was {text!r}")
        found.append(value)
    return found[0], found[1]


def _time(path: Path, number: int, text: str) -> int:
    moment: np.datetime64 | None
    try:
        moment = np.datetime64(text.strip().removesuffix("Z"), "ns")
    except ValueError:
        moment = None
    if moment is None or np.isnat(moment):
        raise ConfigError(f"{path}, line {number}: time must be a UTC time as 2024-08-08T14:00:00.5; was {text!r}")
    return int(moment.astype(np.int64))
