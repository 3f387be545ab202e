"""Builds a policy library: solves a grid of games in chunks that survive an interruption, then publishes it whole."""

from __future__ import annotations

import hashlib
import io
import math
import shutil
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tokenize import TokenError
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

import numpy as np

from data_pipeline.atomic import disk_errors, exclusive_lock, publish, write_atomically
from data_pipeline.errors import DataError
from mfg_core.checks import require_count
from mfg_core.errors import EdgeMassWarning, SolveError
from mfg_core.library.policy_grid import PolicyGrid, SwitchingRegimes, describe
from mfg_core.library.quote_block import QuoteBlock, TimeNodes, choose_nodes, sample_quotes, time_error
from mfg_core.solve import solve_mfg
from mfg_core.study.batch import solve_many
from strategies.policy_library import (
    CERTIFICATES,
    COLUMNS,
    DESCRIPTION,
    QUOTES,
    PolicyLibrary,
    open_policy_library,
)
from strategies.policy_library_plan import LibraryTolerances, library_plan, plan_bytes

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mfg_core.market.market_making import MarketMakingEquilibrium, MarketMakingGame

    Floats = NDArray[np.float64]

Progress = Callable[[int, int], None]

_UNREADABLE = (OSError, ValueError, KeyError, EOFError, RuntimeError, SyntaxError, TokenError, BadZipFile)
"""What reading a damaged chunk raises; RuntimeError: a flag says that it is encrypted or of an unknown kind."""

_SPARE = 0.5
"""Time nodes are chosen on the grid's corners for this share of the tolerance: the games between need their own."""


def build_policy_library(
    folder: str | Path,
    regimes: MarketMakingGame | Mapping[str, MarketMakingGame] | SwitchingRegimes,
    axes: Mapping[str, Sequence[float]],
    *,
    tolerances: LibraryTolerances | None = None,
    nodes: TimeNodes | None = None,
    dtype: str = "float32",
    chunk: int = 256,
    seed: int = 0,
    workers: int = 1,
    progress: Progress | None = None,
) -> PolicyLibrary:
    """Solve every game of the grid and store the policies below `folder`; the library, opened.

    An interrupted build goes on where it was: solved chunks are kept in a hidden folder beside, bound to the plan and
    to the code that solved them. A library becomes visible whole, under the hash of its content; the same build by the
    same code gives the same bytes.

    Parameters
    ----------
    folder : path
        Holds libraries, one folder each; made when missing.
    regimes, axes
        See `PolicyGrid`; with `SwitchingRegimes` the policies of each regime in the game in which they switch.
    tolerances : LibraryTolerances, optional
    nodes : TimeNodes, optional
        Time grid of all policies; by default the smallest that meets `tolerances.time` on the corners of the grid with
        a factor 2 to spare.
    dtype : "float32" or "float64"
        Of the stored quotes; float32 rounds by up to 6e-8 of a quote, which is part of the measured time error.
    chunk : int
        Solves per resumable chunk; the solves of a chunk start from one another, so it is part of the plan.
    seed : int
        Draws the off-grid games.
    workers : int
        Threads that solve; the bytes do not depend on it.
    progress : callable, optional
        Called as progress(policies done, policies).

    Raises
    ------
    SolveError
        When a game cannot be solved; the message names its parameters.
    ValueError
        For arguments, and when the time grid misses its tolerance for some policy; says how many steps to try.
    DataError
        When another process builds the same library, a kept chunk is damaged, or the disk is full.
    """
    if dtype not in ("float32", "float64"):
        raise ValueError(f"dtype must be float32 or float64; was {dtype!r}")
    require_count("chunk", chunk)
    require_count("workers", workers)
    require_count("seed", seed, 0)
    tolerances = tolerances or LibraryTolerances()
    grid = PolicyGrid(regimes, axes)
    if nodes is None:
        corners = _solve_part(grid, sorted({index % grid.solves for index in grid.corners()}), tolerances, workers)
        nodes = choose_nodes(corners, _SPARE * tolerances.time)
    plan = library_plan(grid, tolerances, nodes, dtype, chunk, seed)
    home = Path(folder)
    work = home / f".build-{hashlib.sha256(plan_bytes(plan)).hexdigest()[:16]}"
    with disk_errors(home):
        work.mkdir(parents=True, exist_ok=True)
    with disk_errors(home), _only_builder(work):
        chunks = [range(first, min(first + chunk, grid.solves)) for first in range(0, grid.solves, chunk)]
        for part in chunks:
            if not _chunk_path(work, part).exists():
                _solve_chunk(work, part, grid, tolerances, nodes, dtype, workers)
            if progress is not None:
                progress(part.stop * len(grid.policies(0)), grid.size)
        path = _publish(home, work, plan, chunks, grid, tolerances, nodes, seed)
    shutil.rmtree(work)
    return open_policy_library(path)


def _solve(
    games: Sequence[MarketMakingGame], names: Sequence[str], tolerances: LibraryTolerances, workers: int
) -> tuple[MarketMakingEquilibrium, ...]:
    """Their equilibria; SolveError with the name of the first that has none."""
    with _edges_in_certificates():
        solved = solve_many(games, rtol=tolerances.rtol, atol=tolerances.atol, workers=workers)
    for place, error in solved.failures.items():
        raise SolveError(f"{names[place]}: {error}", residual=error.residual, tolerance=error.tolerance) from error
    return tuple(one for one in solved.equilibria if one is not None)


@contextmanager
def _edges_in_certificates() -> Iterator[None]:
    """No EdgeMassWarning: it is said for each policy in the certificates, and for the worst in the description."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", EdgeMassWarning)
        yield


def _solve_part(
    grid: PolicyGrid, part: Sequence[int], tolerances: LibraryTolerances, workers: int
) -> tuple[MarketMakingEquilibrium, ...]:
    """The equilibria of the policies of these solves, one solve after the other."""
    if grid.switching is not None:
        points = [grid.parameters(solve) for solve in part]
        with _edges_in_certificates(), ThreadPoolExecutor(workers) as pool:
            found = pool.map(lambda at: _solve_switching(grid, at, tolerances), points)
            return tuple(regime for regimes in found for regime in regimes)
    names = [f"regime {grid.regime(index)}, {describe(grid.parameters(index))}" for index in part]
    return _solve([grid.game(index) for index in part], names, tolerances, workers)


def _solve_switching(
    grid: PolicyGrid, at: Mapping[str, float], tolerances: LibraryTolerances
) -> tuple[MarketMakingEquilibrium, ...]:
    """The equilibrium given each regime at these values of the axes."""
    try:
        return solve_mfg(grid.switching_game_at(at), rtol=tolerances.rtol, atol=tolerances.atol).regimes
    except SolveError as error:
        raise SolveError(f"{describe(at)}: {error}", residual=error.residual, tolerance=error.tolerance) from error


def _rows(grid: PolicyGrid, part: Sequence[int]) -> list[int]:
    """The policies of these solves."""
    return [index for solve in part for index in grid.policies(solve)]


def _solve_chunk(
    work: Path, part: range, grid: PolicyGrid, tolerances: LibraryTolerances, nodes: TimeNodes, dtype: str, workers: int
) -> None:
    rows = _rows(grid, part)
    quotes = np.empty((len(rows), *_table_shape(grid, nodes)), dtype=dtype)
    columns = np.empty((len(rows), len(COLUMNS)))
    for i, equilibrium in enumerate(_solve_part(grid, part, tolerances, workers)):
        quotes[i] = sample_quotes(equilibrium, nodes)
        columns[i] = _columns(equilibrium, time_error(equilibrium, nodes, quotes[i]))
        if columns[i, -1] * equilibrium.game.fill_decay > tolerances.time:
            raise ValueError(
                f"nodes must have more than {nodes.steps} steps, or the time tolerance must be above "
                f"{tolerances.time}; the error was {columns[i, -1] * equilibrium.game.fill_decay:.2g} at regime "
                f"{grid.regime(rows[i])}, {describe(grid.parameters(rows[i]))}"
            )
    buffer = io.BytesIO()
    np.savez(buffer, quotes=quotes, columns=columns)
    write_atomically(_chunk_path(work, part), buffer.getvalue())


def _columns(equilibrium: MarketMakingEquilibrium, error: float) -> list[float]:
    game, proof = equilibrium.game, equilibrium.certificate
    return [
        game.horizon,
        game.min_half_spread,
        game.max_half_spread,
        proof.iterations,
        proof.residual,
        proof.tolerance,
        proof.exploitability,
        proof.mass_error,
        proof.discretisation_error,
        float(np.max(equilibrium.edge_mass)),
        error,
    ]


def _publish(
    home: Path,
    work: Path,
    plan: Mapping[str, Any],
    chunks: Sequence[range],
    grid: PolicyGrid,
    tolerances: LibraryTolerances,
    nodes: TimeNodes,
    seed: int,
) -> Path:
    whole = work / "whole"
    shutil.rmtree(whole, ignore_errors=True)
    whole.mkdir()
    columns = np.empty((grid.size, len(COLUMNS)))
    shape = (grid.size, *_table_shape(grid, nodes))
    quotes = np.lib.format.open_memmap(whole / QUOTES, mode="w+", dtype=plan["dtype"], shape=shape)
    for part in chunks:
        rows = _rows(grid, part)
        quotes[rows], columns[rows] = _read_chunk(_chunk_path(work, part))
    quotes.flush()
    np.save(whole / CERTIFICATES, columns)
    description = dict(plan) | {
        "policies": grid.size,
        "certificate_columns": list(COLUMNS),
        "worst": {name: float(np.max(columns[:, i])) for i, name in enumerate(COLUMNS) if i > 2},
        "off_grid_error": _off_grid_error(quotes, columns, grid, tolerances, nodes, seed),
        "files": {name: _entry(whole / name, array) for name, array in ((QUOTES, quotes), (CERTIFICATES, columns))},
    }
    del quotes
    text = plan_bytes(description)
    write_atomically(whole / DESCRIPTION, text)
    path = home / hashlib.sha256(text).hexdigest()
    if not path.exists():
        for name in (QUOTES, CERTIFICATES):
            publish(whole / name, whole / name)
        publish(whole, path)
    return path


def _off_grid_error(
    quotes: NDArray[Any],
    columns: Floats,
    grid: PolicyGrid,
    tolerances: LibraryTolerances,
    nodes: TimeNodes,
    seed: int,
) -> dict[str, Any]:
    """Quotes interpolated in the middle of cells of the grid against solved ones, at the time nodes."""
    axes = {name: np.array(values) for name, values in grid.axes.items()}
    block = QuoteBlock(tuple(grid.regimes), axes, nodes, quotes, np.ascontiguousarray(columns[:, :3]))
    draw = np.random.default_rng(seed)
    found: list[tuple[float, float, str, dict[str, float]]] = []
    for _ in range(tolerances.off_grid if axes else 0):
        regime = block.regimes[draw.integers(len(block.regimes))]
        cells = {name: draw.integers(values.size - 1) for name, values in axes.items()}
        at = {name: float(0.5 * (axes[name][cell] + axes[name][cell + 1])) for name, cell in cells.items()}
        game = grid.game_at(regime, at)
        if grid.switching is not None:
            with _edges_in_certificates():
                solved = _solve_switching(grid, at, tolerances)[block.regimes.index(regime)]
        else:
            (solved,) = _solve([game], [f"regime {regime}, {describe(at)}"], tolerances, 1)
        table = block.prepare(regime, **at).table
        error = float(np.nanmax(np.abs(table - sample_quotes(solved, nodes))))
        found.append((error, error * game.fill_decay, regime, at))
    if not found:
        return {"games": 0}
    worst = max(found, key=lambda one: one[0])
    return {
        "games": len(found),
        "largest": worst[0],
        "largest_in_fill_decay": max(one[1] for one in found),
        "mean_of_largest": math.fsum(one[0] for one in found) / len(found),
        "regime": worst[2],
        "parameters": worst[3],
    }


def _entry(path: Path, array: NDArray[Any]) -> dict[str, Any]:
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return {
        "sha256": digest,
        "bytes": path.stat().st_size,
        "dtype": array.dtype.str,
        "shape": list(array.shape),
    }


def _table_shape(grid: PolicyGrid, nodes: TimeNodes) -> tuple[int, int, int]:
    size = next(iter(grid.regimes.values())).max_inventory
    return 2 * size + 1, nodes.steps + 1, 2


def _chunk_path(work: Path, part: range) -> Path:
    return work / f"chunk-{part.start}-{part.stop}.npz"


def _read_chunk(path: Path) -> tuple[NDArray[Any], Floats]:
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as held:
            return held["quotes"], held["columns"]
    except _UNREADABLE as error:
        raise DataError(f"{path}: damaged ({error}); delete this file and build again") from None


@contextmanager
def _only_builder(work: Path) -> Iterator[None]:
    with ExitStack() as held:
        try:
            held.enter_context(exclusive_lock(work / "lock"))
        except DataError:
            raise DataError(f"{work.parent}: another process builds this library: wait until it has ended") from None
        yield
