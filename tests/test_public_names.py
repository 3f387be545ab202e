"""What the rooms promise: their public names exist, importing them is cheap, the installed packages are listed."""

from __future__ import annotations

import importlib
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOMS = ("data_pipeline", "mfg_core", "strategies", "risk", "backtests", "reports", "fairfield")
REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize("room", ROOMS)
def test_every_public_name_resolves(room: str) -> None:
    package = importlib.import_module(room)
    names = {*getattr(package, "__all__", ()), *getattr(package, "_HOME", ()), *getattr(package, "_HOMES", ())}
    for name in sorted(names):
        assert getattr(package, name) is not None, f"{room}.{name}"


def test_importing_every_room_loads_no_heavy_package() -> None:
    heavy = ("pandas", "numba", "vectorbt", "matplotlib", "exchange_calendars", "scipy.stats", "empyrical")
    program = f"import sys, {', '.join(ROOMS)}; print([name for name in {heavy!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_build_lists_every_room_and_never_the_tests() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
    assert set(project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]) == set(ROOMS)
