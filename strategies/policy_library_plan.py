"""What a policy library is made of, in JSON types: the plan, whose hash names a build that is under way."""

from __future__ import annotations

import hashlib
import json
import math
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, is_dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mfg_core
from mfg_core.checks import require_count, require_nonnegative, require_positive
from strategies.policy_library import KIND, SCHEMA_VERSION

if TYPE_CHECKING:
    from mfg_core.library.policy_grid import PolicyGrid
    from mfg_core.library.quote_block import TimeNodes
    from mfg_core.market.market_making import MarketMakingGame


@dataclass(frozen=True, slots=True, kw_only=True)
class LibraryTolerances:
    """How exact a library is.

    Attributes
    ----------
    rtol, atol : float
        Of each solve, see `solve_mfg`.
    time : float
        Largest error of the stored time grid with its rounding, in units of 1/fill_decay; measured for each policy.
    off_grid : int
        Games in the middle of the cells of the grid that are solved directly to measure the error between policies.
    """

    rtol: float = 1e-8
    atol: float = 1e-10
    time: float = 1e-4
    off_grid: int = 16

    def __post_init__(self) -> None:
        """Check the numbers."""
        require_nonnegative("rtol", self.rtol)
        require_nonnegative("atol", self.atol)
        require_positive("time", self.time)
        require_count("off_grid", self.off_grid, 0)


def library_plan(
    grid: PolicyGrid, tolerances: LibraryTolerances, nodes: TimeNodes, dtype: str, chunk: int, seed: int
) -> dict[str, Any]:
    """What fixes the policies, as JSON types: the description without what was measured."""
    plan: dict[str, Any] = {
        "kind": KIND,
        "schema_version": SCHEMA_VERSION,
        "regimes": {name: _plain_game(game) for name, game in grid.regimes.items()},
        "axes": [{"name": name, "values": list(values)} for name, values in grid.axes.items()],
        "time_nodes": asdict(nodes),
        "dtype": dtype,
        "tolerances": asdict(tolerances),
        "chunk": chunk,
        "seed": seed,
        "mfg_core_sha256": core_hash(),
        "versions": {"python": platform.python_version()}
        | {name: version(name) for name in ("fairfield", "numba", "numpy", "scipy")},
    }
    if grid.switching is not None:
        game = grid.switching.game(tuple(grid.regimes.values()))
        plan["switching"] = {"rates": game.switching_rates, "initial": game.initial_regime}
    return plan


def core_hash() -> str:
    """SHA-256 over the Python files of `mfg_core`: the code that a library's policies came from."""
    digest = hashlib.sha256()
    root = Path(mfg_core.__path__[0])
    for path in sorted(root.rglob("*.py")):
        digest.update(f"{path.relative_to(root).as_posix()} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()


def _plain_game(game: MarketMakingGame) -> dict[str, Any]:
    return {field.name: _plain(getattr(game, field.name)) for field in fields(game)}


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if is_dataclass(value) and not isinstance(value, type):
        return {"kind": type(value).__name__} | {one.name: _plain(getattr(value, one.name)) for one in fields(value)}
    return value


def plan_bytes(value: Mapping[str, Any]) -> bytes:
    """The one JSON text of a plan or a description."""
    return json.dumps(value, sort_keys=True, indent=1, allow_nan=False).encode()
