"""`fairfield solve`: a configuration in; the equilibrium's artefact folder, its page and the sanity checks out."""

from __future__ import annotations

import os
import shutil
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fairfield.errors import ConfigError
from fairfield.solve_config import SolveConfig, load_solve_config, make_game, make_method
from fairfield.stages import console, tell

if TYPE_CHECKING:
    from mfg_core.market_making import MarketMakingEquilibrium
    from mfg_core.sanity import SanityCheck

FORMAT = 1
"""Version of equilibrium.json."""

FILES = ("equilibrium.json", "equilibrium.npz", "equilibrium.html")


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
    from backtests.disk import canonical_json, sha256_hex

    config = load_solve_config(config_path)
    settings = config.model_dump(mode="json", exclude_none=True)
    digest = sha256_hex(canonical_json(settings))
    folder = output or config_path.resolve().parent / "equilibria" / f"{config_path.stem}-{digest[:12]}"
    _require_free(folder)
    try:
        equilibrium, notes = _solve(config)
    except ConfigError as error:
        raise ConfigError(f"{config_path}: {error}") from error
    checks = _check(config, equilibrium)
    with console.status("drawing"):
        files = _files(config, config_path.stem, settings, equilibrium, checks, notes)
    publish_folder(folder, files)
    for line in check_lines(checks):
        tell(line)
    for note in notes:
        tell(f"note: {note}")
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


def _solve(config: SolveConfig) -> tuple[MarketMakingEquilibrium, list[str]]:
    """The equilibrium, and the warnings of its solve."""
    from mfg_core import EdgeMassWarning, solve_mfg

    game, method = make_game(config), make_method(config.solve)
    with console.status("solving"), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", EdgeMassWarning)
        try:
            equilibrium = solve_mfg(game, method=method, rtol=config.solve.rtol, atol=config.solve.atol)
        except ValueError as error:  # the tolerance
            raise ConfigError(f"solve.{error}") from None
    return equilibrium, [str(warning.message) for warning in caught]


def _check(config: SolveConfig, equilibrium: MarketMakingEquilibrium) -> tuple[SanityCheck, ...]:
    from mfg_core.sanity import check_equilibrium

    return check_equilibrium(equilibrium, config.solve.rtol, config.solve.atol, config.checks.edge_mass)


def _files(
    config: SolveConfig,
    name: str,
    settings: Mapping[str, Any],
    equilibrium: MarketMakingEquilibrium,
    checks: Sequence[SanityCheck],
    notes: Sequence[str],
) -> dict[str, bytes]:
    """Content of every file of the artefact folder."""
    from backtests.disk import canonical_json, npz_bytes, pretty_json, sha256_hex
    from backtests.provenance import code_hash, library_versions
    from mfg_core import Picard, policy_arrays, policy_metadata
    from mfg_core.residual_history import residual_history
    from reports.equilibrium_page import equilibrium_page
    from reports.equilibrium_view import History, Units

    method = make_method(config.solve)
    histories = [History(type(rule).__name__, residual_history(equilibrium, rule)) for rule in (method, Picard())]
    arrays = npz_bytes(policy_arrays(equilibrium) | {"value": equilibrium.value})
    provenance = {
        "configuration": sha256_hex(canonical_json(settings)),
        "arrays": sha256_hex(arrays),
        "code": code_hash(("mfg_core",)),
        **{f"version of {library}": version for library, version in library_versions().items()},
    }
    record = {
        "format_version": FORMAT,
        "policy": policy_metadata(equilibrium),
        "configuration": settings,
        "hashes": {key: provenance[key] for key in ("configuration", "arrays", "code")},
        "versions": library_versions(),
        "checks": [
            {"name": c.name, "outcome": c.outcome.value, "figure": c.figure, "limit": c.limit, "words": c.words}
            for c in checks
        ],
        "notes": list(notes),
    }
    page = equilibrium_page(
        equilibrium,
        title=config.title or name,
        checks=checks,
        histories=histories if len({type(method), Picard}) == 2 else histories[:1],
        units=Units(**config.units.model_dump()),
        notes=notes,
        provenance=provenance,
    )
    return dict(zip(FILES, (pretty_json(record), arrays, page.encode("utf-8")), strict=True))


def _require_free(folder: Path) -> None:
    """Refuse to replace a folder that this command did not write."""
    if folder.is_dir():
        others = sorted({path.name for path in folder.iterdir()} - set(FILES))
        if others:
            raise ConfigError(
                f"--output must be a new folder, an empty one or one of this command's; {others[0]} is in it"
            )
    elif folder.exists():
        raise ConfigError(f"--output must be a folder; {folder} is a file")


def publish_folder(folder: Path, files: Mapping[str, bytes]) -> None:
    """Make `folder` hold exactly these files, all at once; an unchanged folder is left alone."""
    from backtests.disk import sync_folder, write_atomic

    if folder.is_dir() and {p.name: p.read_bytes() for p in folder.iterdir()} == dict(files):
        return
    hidden = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    replaced = folder.with_name(f".{folder.name}.{os.getpid()}.old.tmp")
    try:
        shutil.rmtree(hidden, ignore_errors=True)
        for name, content in files.items():
            write_atomic(hidden / name, content)
        if folder.exists():
            folder.rename(replaced)
        hidden.rename(folder)
        sync_folder(folder.parent)
    finally:
        for rest in (hidden, replaced):
            shutil.rmtree(rest, ignore_errors=True)
