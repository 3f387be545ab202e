"""The files of a solved game: arrays, their description with hashes, and the page; one folder, written at once."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fairfield.errors import ConfigError
from fairfield.solve_catalog import Problem, make_method
from fairfield.solve_config import SolveConfig

if TYPE_CHECKING:
    from mfg_core.market.sanity import SanityCheck

SWEEPS, MOST_WORK = (8, 60), 100_000
"""Sweeps in the picture of convergence, from and to, and most sweeps times points in time."""

FILES = ("equilibrium.json", "equilibrium.npz", "equilibrium.html")


def settings_of(config: SolveConfig) -> dict[str, Any]:
    """The configuration as JSON types, without what was left out."""
    return config.model_dump(mode="json", exclude_none=True, warnings=False)  # the calibration is a hash by now


def settings_hash(config: SolveConfig) -> str:
    """SHA-256 of the configuration's content: the same for files that differ in layout and comments only."""
    from data_pipeline.disk import canonical_json, sha256_hex

    return sha256_hex(canonical_json(_finite(settings_of(config))))


def artefact_files(
    config: SolveConfig,
    problem: Problem,
    equilibrium: Any,
    *,
    title: str,
    checks: Sequence[SanityCheck],
    notes: Sequence[str],
) -> dict[str, bytes]:
    """Content of every file of the artefact folder; the same bytes for the same configuration and code."""
    from backtests.walk.provenance import code_hash, library_versions
    from data_pipeline.disk import npz_bytes, pretty_json, sha256_hex
    from mfg_core.policy_table import ARTEFACT_FORMAT
    from reports.equilibrium_page import equilibrium_page
    from reports.pictures import Units

    arrays, description = describe(config.game.kind, problem, equilibrium)
    body = npz_bytes(arrays)
    hashes = {"configuration": settings_hash(config), "arrays": sha256_hex(body), "code": code_hash(("mfg_core",))}
    record = {
        "format_version": ARTEFACT_FORMAT,
        **description,
        "configuration": _finite(settings_of(config)),
        "hashes": hashes,
        "versions": library_versions(),
        "checks": [
            {"name": c.name, "outcome": c.outcome.value, "figure": c.figure, "limit": c.limit, "words": c.words}
            for c in checks
        ],
        "notes": list(notes),
    }
    page = equilibrium_page(
        equilibrium,
        title=config.title or title,
        checks=checks,
        names=problem.names,
        histories=_histories(config, equilibrium),
        units=Units(**config.units.model_dump()),
        notes=notes,
        provenance={
            **{f"SHA-256 of {name}": value for name, value in hashes.items()},
            **{f"version of {name}": value for name, value in library_versions().items()},
        },
    )
    return dict(zip(FILES, (pretty_json(record), body, page.encode("utf-8")), strict=True))


def describe(kind: str, problem: Problem, equilibrium: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """(arrays, description) of an equilibrium.

    `mfg_core.rebuild_policies` reads them: those of a single market are under `policy`, those of several under
    `parts`, in order, the arrays of part i with the prefix `i_`.
    """
    from mfg_core import policy_arrays, policy_metadata
    from mfg_core.family.finite_state import FiniteStateEquilibrium
    from mfg_core.market.market_making import MarketMakingEquilibrium
    from reports.composition_view import parts_of
    from reports.equilibrium_tables import plain_parameters

    if isinstance(equilibrium, MarketMakingEquilibrium):
        arrays = policy_arrays(equilibrium) | {"value": equilibrium.value}
        return arrays, {"kind": kind, "policy": policy_metadata(equilibrium)}
    if isinstance(equilibrium, FiniteStateEquilibrium):
        names = ("times", "value", "density", "control", "mean_field")
        arrays = {name: getattr(equilibrium, name) for name in names}
        certificate = equilibrium.certificate
        proof = {name: getattr(certificate, name) for name in ("residual", "exploitability", "discretisation_error")}
        return arrays, {"kind": kind, "game": plain_parameters(equilibrium.game), "certificate": proof}
    arrays, parts = {}, []
    for i, (name, part) in enumerate(parts_of(equilibrium, problem.names)):
        held = policy_arrays(part) | {"value": part.value}
        arrays |= {f"{i}_{key}": values for key, values in held.items()}
        parts.append({"name": name, "policy": policy_metadata(part)})
    for name in ("regime_probability", "active", "outside_value", "exit_hazard", "entry_hazard"):
        if name in type(equilibrium).__dataclass_fields__:
            arrays[name] = getattr(equilibrium, name)
    return arrays, {"kind": kind, "parts": parts, "game": plain_parameters(equilibrium.game)}


def require_free(folder: Path) -> None:
    """Refuse to replace a folder that this command did not write.

    Raises
    ------
    ConfigError
        Naming what is in the way.
    """
    if folder.is_dir():
        others = sorted({path.name for path in folder.iterdir()} - set(FILES))
        if others:
            raise ConfigError(
                f"{folder}: must be a new folder, an empty one or one that this command wrote; it has {others[0]} in it"
            )
    elif folder.exists():
        raise ConfigError(f"{folder}: must be a folder; it is a file")


def publish_folder(folder: Path, files: Mapping[str, bytes]) -> None:
    """Make `folder` hold exactly these files, all at once; an unchanged folder is left alone.

    One writer at a time; what one that was killed left beside the folder is cleared away by the next.
    """
    from data_pipeline.disk import sync_folder, write_atomic

    hidden, replaced = (folder.with_name(f".{folder.name}.{rest}.tmp") for rest in ("new", "old"))
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _alone_in(folder.parent):
        if folder.is_dir() and {path.name: path.read_bytes() for path in folder.iterdir()} == dict(files):
            return
        try:
            shutil.rmtree(hidden, ignore_errors=True)
            for name, content in files.items():
                write_atomic(hidden / name, content)
            if folder.exists():
                shutil.rmtree(replaced, ignore_errors=True)
                folder.rename(replaced)
            hidden.rename(folder)
            sync_folder(folder.parent)
        finally:
            if replaced.exists() and not folder.exists():
                replaced.rename(folder)
            for rest in (hidden, replaced):
                shutil.rmtree(rest, ignore_errors=True)


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Wait until no other process publishes into `folder`; the lock ends with its process and leaves no file."""
    if os.name != "posix":
        yield
        return
    import fcntl

    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _histories(config: SolveConfig, equilibrium: Any) -> list[Any]:
    """Residuals by sweep of the method that solved the game, and of the plain iteration.

    Fewer sweeps on a long time grid: the picture is not to take longer than the solve.
    """
    import numpy as np

    from mfg_core import Picard
    from mfg_core.iteration.residual_history import residual_history
    from reports.convergence_view import History

    usual = config.solve.model_copy(update={"method": config.solve.method or "anderson"})
    methods = Picard(), make_method(usual, config.game.kind)
    rules = {type(rule).__name__: rule for rule in methods if rule is not None}
    most = int(np.clip(MOST_WORK // equilibrium.times.size, *SWEEPS))
    return [History(name, residual_history(equilibrium, rule, most)) for name, rule in rules.items()]


def _finite(value: Any) -> Any:
    """Infinite numbers as the words "inf" and "-inf", which JSON has no numbers for."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return str(value) if isinstance(value, float) and value in (float("inf"), float("-inf")) else value
