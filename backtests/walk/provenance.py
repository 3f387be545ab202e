"""What a result came from, as hashes: the data rows that it could see, the code, and the libraries."""

from __future__ import annotations

import hashlib
import importlib.util
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

import numpy as np

from data_pipeline.daily.panel import GRID_FIELDS, DailyPanel
from data_pipeline.disk import canonical_json

ROOMS = ("data_pipeline", "mfg_core", "risk", "strategies", "backtests")
"""The rooms whose code can change a backtest."""

LIBRARIES = ("numpy", "scipy", "numba", "pandas", "pyarrow", "vectorbt", "empyrical-reloaded")
"""The libraries whose version can change a number or a byte of a backtest."""


def code_hash(packages: Sequence[str] = ROOMS) -> str:
    """SHA-256 over the paths and contents of every Python file of `packages`.

    Raises
    ------
    ValueError
        When a package is not installed as a folder of files.
    """
    digest = hashlib.sha256()
    for package in sorted(packages):
        spec = importlib.util.find_spec(package)
        places = list(spec.submodule_search_locations or ()) if spec else []
        if len(places) != 1:
            raise ValueError(f"packages must be folders of Python files; {package!r} is not")
        root = Path(places[0])
        for path in sorted(root.rglob("*.py")):
            content = hashlib.sha256(path.read_bytes()).hexdigest()
            digest.update(f"{package}/{path.relative_to(root).as_posix()} {content}\n".encode())
    return digest.hexdigest()


def library_versions() -> Mapping[str, str]:
    """Versions of Python and of `LIBRARIES`."""
    return {"python": platform.python_version()} | {name: version(name) for name in LIBRARIES}


def rows_hash(panel: DailyPanel, rows: range) -> str:
    """SHA-256 of what the panel shows in `rows` to somebody who stands at the close of the last of them.

    Dates, names, lots, every grid, the risk-free return, and the events that are ex and known by then. Later rows do
    not enter, so work on an early window is found again when the panel grows.

    Raises
    ------
    ValueError
        When `rows` is empty or leaves the panel.
    """
    if len(rows) == 0 or rows.step != 1 or rows.start < 0 or rows.stop > panel.sessions.size:
        raise ValueError(f"rows must be consecutive rows of the panel, in [0, {panel.sessions.size}); was {rows}")
    digest = hashlib.sha256()
    window = slice(rows.start, rows.stop)
    for name in ("sessions", *GRID_FIELDS, "risk_free"):
        array = np.ascontiguousarray(getattr(panel, name)[window])
        digest.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        digest.update(array.tobytes())
    last = rows.stop - 1
    events = [asdict(event) for event in panel.events if event.ex_session <= last and event.known_session <= last]
    rest = {
        "first": rows.start,
        "instruments": panel.instruments,
        "lot_size": panel.lot_size,
        "member_from": np.minimum(panel.member_from, rows.stop),
        "events": events,
    }
    digest.update(canonical_json(rest))
    return digest.hexdigest()
