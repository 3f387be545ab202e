"""`fairfield audit`: does anything in a configuration depend on what was not known at its time?"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from data_pipeline.atomic import write_atomically
from data_pipeline.disk import canonical_json
from fairfield.config import load_config
from fairfield.errors import ConfigError
from fairfield.stages import console, disk_of, read_panel, tell
from fairfield.tables import aligned

if TYPE_CHECKING:
    from backtests.audit.findings import Audit, Check, Progress

AUDIT_FILE = "audit.json"


def run_audit(config_path: Path, output: Path | None = None, *, cuts: int = 3, seed: int = 0) -> bool:
    """Audit a configuration, print a table and write audit.json; whether it passed.

    Parameters
    ----------
    output : Path, optional
        The file; by default audit.json in the configuration's output folder.

    Raises
    ------
    ConfigError
        When the configuration cannot be used.
    """
    from fairfield.intraday_stage import is_intraday

    started = time.perf_counter()
    sys.path.append(str(config_path.resolve().parent))  # pods of the user's own lie beside the configuration
    try:
        folder, audit = (_intraday if is_intraday(config_path) else _daily)(config_path, cuts, seed)
    except KeyboardInterrupt as interrupt:
        raise KeyboardInterrupt("interrupted: nothing was written; the next audit starts anew") from interrupt
    for line in audit_lines(audit):
        tell(line)
    place = output or folder / AUDIT_FILE
    with disk_of(place.parent):
        place.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(place, canonical_json(audit.record()))
    count = f"{len(audit.checks)} checks in {time.perf_counter() - started:,.1f} s"
    tell(f"{count}: {'nothing changed' if audit.passed else f'{len(audit.found)} found something, see above'}")
    tell(f"audit: {place}")
    return audit.passed


def _daily(config_path: Path, cuts: int, seed: int) -> tuple[Path, Audit]:
    from backtests.audit.daily import audit_daily
    from fairfield.catalog import make_plan

    config = load_config(config_path)
    try:
        plan = make_plan(config)
    except ConfigError as error:
        raise ConfigError(f"{config_path}: {error}") from error
    with console.status("reading the data"):
        panel, _ = read_panel(config)
    with _bar() as progress:
        return config.run.output, audit_daily(plan, panel, cuts=cuts, seed=seed, progress=progress)


def _intraday(config_path: Path, cuts: int, seed: int) -> tuple[Path, Audit]:
    from backtests.audit.intraday import audit_intraday
    from fairfield.intraday_catalog import make_intraday_plan
    from fairfield.intraday_config import load_intraday_config

    config = load_intraday_config(config_path)
    try:
        plan = make_intraday_plan(config)
    except ConfigError as error:
        raise ConfigError(f"{config_path}: {error}") from error
    with _bar() as progress:
        return config.run.output, audit_intraday(plan, cuts=cuts, seed=seed, progress=progress)


def audit_lines(audit: Audit) -> list[str]:
    """A row for each pod, with its number of checks in each test, and a sentence for each with a finding.

    The table fits 80 columns for pods of up to 18 letters.
    """
    groups: dict[tuple[str, str], list[Check]] = {}
    for check in audit.checks:
        groups.setdefault((check.pod, check.test), []).append(check)
    tests = list(dict.fromkeys(test for pod, test in groups if pod))
    lines = [f"{test}: {_cell(checks)}" for (pod, test), checks in groups.items() if not pod]
    pods = dict.fromkeys(pod for pod, _ in groups if pod)
    rows = [(pod, *(_cell(groups.get((pod, test), [])) for test in tests)) for pod in pods]
    lines += ["checks that changed nothing:", *aligned(("pod", *tests), rows)] if rows else []
    for checks in groups.values():
        found = sorted((check for check in checks if check.verdict != "same"), key=lambda check: check.verdict)
        if found:
            more = f" (and {len(found) - 1} more of its {len(checks)} checks)" if len(found) > 1 else ""
            lines.append(found[0].words + more)
    return lines


def _cell(checks: list[Check]) -> str:
    verdicts = {check.verdict for check in checks}
    return "CHANGED" if "changed" in verdicts else "UNTESTED" if "untested" in verdicts else str(len(checks) or "")


@contextmanager
def _bar() -> Iterator[Progress]:
    """A progress bar over the checks, on a terminal."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
    quiet = not console.is_terminal or console.is_dumb_terminal
    with Progress(*columns, console=console, disable=quiet, transient=True) as bar:
        task = bar.add_task("audit", total=None)

        def progress(done: int, total: int, words: str) -> None:
            bar.update(task, completed=done, total=total or None, description=words)

        yield progress
