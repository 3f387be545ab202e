"""`fairfield solve`: a configuration in; the equilibrium's artefact folder, its page and the sanity checks out."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fairfield.errors import ConfigError
from fairfield.solve_artefact import artefact_files, publish_folder, require_free, settings_hash
from fairfield.solve_catalog import Problem, make_method, make_problem, refuse_loose
from fairfield.solve_config import SolveConfig, load_solve_config
from fairfield.stages import spinner, tell

if TYPE_CHECKING:
    from mfg_core.market.sanity import SanityCheck


def run_solve(config_path: Path, output: Path | None = None) -> tuple[Path, bool]:
    """(artefact folder, whether every sanity check that applies passes) of the game in a configuration.

    The folder is `output`, or `equilibria/<name of the file>-<hash of the configuration>` beside the file. It appears
    whole or not at all; solving the same configuration with the same code again writes the same bytes.

    Raises
    ------
    ConfigError
        When the configuration cannot be used, or `output` holds something else.
    SolveError
        When the game cannot be solved to the tolerance; nothing is written.
    """
    from mfg_core import SolveError

    config = load_solve_config(config_path)
    name = f"{config_path.stem}-{settings_hash(config)[:12]}"
    folder = (output or config_path.resolve().parent / "equilibria" / name).absolute()
    require_free(folder)
    try:
        problem = make_problem(config)
        equilibrium, notes = _solve(config, problem)
    except ConfigError as error:
        raise ConfigError(f"{config_path}: {error}") from error
    except SolveError as error:
        raise SolveError(f"{config_path}: {error}") from error
    checks = _check(config, problem, equilibrium)
    with spinner("drawing"):
        files = artefact_files(config, problem, equilibrium, title=config_path.stem, checks=checks, notes=notes)
    publish_folder(folder, files)
    for line in (*check_lines(checks), *(f"note: {note}" for note in notes)):
        tell(line)
    tell(f"folder: {folder}")
    tell(f"page:   {folder / 'equilibrium.html'}")
    return folder, all(check.passed for check in checks)


def check_lines(checks: Sequence[SanityCheck]) -> list[str]:
    """Lines of the checks: result, name, figure against limit, and what it means."""
    rows = [("result", "check", "figure, limit", "what it says")]
    for check in checks:
        sign = "<=" if check.passed else "> "
        figures = f"{check.figure:.2g} {sign} {check.limit:.2g}" if check.applies else ""
        rows.append((check.outcome.value, check.name, figures, check.words))
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)][:3]
    return ["  ".join([cell.ljust(width) for cell, width in zip(row, widths, strict=False)] + [row[3]]) for row in rows]


def _solve(config: SolveConfig, problem: Problem) -> tuple[Any, list[str]]:
    """The equilibrium, and the warnings of its solve."""
    from mfg_core import EdgeMassWarning, solve_mfg

    refuse_loose(config.solve, problem)
    method, solve = make_method(config.solve, config.game.kind), config.solve
    with spinner("solving"), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", EdgeMassWarning)
        try:
            equilibrium = solve_mfg(problem.game, method=method, rtol=solve.rtol, atol=solve.atol)
        except ValueError as error:  # the tolerance
            raise ConfigError(f"solve.{error}") from None
    return equilibrium, [str(warning.message) for warning in caught]


def _check(config: SolveConfig, problem: Problem, equilibrium: Any) -> tuple[SanityCheck, ...]:
    from mfg_core.market.sanity import check_equilibrium
    from mfg_core.market.sanity_compositions import check_composition, check_epidemic

    rtol, atol, edge = config.solve.rtol, config.solve.atol, config.checks.edge_mass
    if config.game.kind == "epidemic":
        return check_epidemic(equilibrium, rtol, atol)
    if config.game.kind == "market_making":
        return check_equilibrium(equilibrium, rtol, atol, edge)
    return check_composition(equilibrium, problem.names, rtol, atol, edge)
