"""`fairfield ingest`: raw files into the store, by processes of this machine or a Dask cluster."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from fairfield.errors import ConfigError
from fairfield.stages import console

if TYPE_CHECKING:
    from data_pipeline.ingestion.report import IngestReport
    from data_pipeline.tasks.executor import Engine, Workforce

_SMALL: Final = 64 << 20
"""Bytes of raw files below which starting other processes costs more than it saves."""


def ingest_files(
    paths: Sequence[Path],
    store: Path | str,
    *,
    workers: int | None = None,
    cluster: str | None = None,
    engine: Engine | None = None,
    scheduler: str | None = None,
    options: Sequence[str] = (),
    staging: Path | None = None,
    replace: bool = False,
) -> IngestReport:
    """Ingest files and folders, and print what became of each.

    Raises
    ------
    ConfigError
        When options contradict each other, or an option is not "name=value" or given twice.
    """
    from data_pipeline.ingest import ingest

    executor = _workforce(paths, workers, cluster, engine, scheduler)
    facts: dict[str, str] = {}
    for name, value in map(_fact, options):
        if facts.setdefault(name, value) != value:
            raise ConfigError(f"--option {name} must be given once; was {facts[name]!r} and {value!r}")
    with _bar() as bar:
        report = ingest(
            list(paths),
            store,
            bar.rows,
            executor=executor,
            options=facts,
            staging=staging,
            on_task=bar.event,
            replace=replace,
        )
    for line in report.lines():
        print(line, file=sys.stderr if line.startswith("refused ") else sys.stdout, flush=True)
    return report


def _workforce(
    paths: Sequence[Path], workers: int | None, cluster: str | None, engine: Engine | None, scheduler: str | None
) -> Workforce:
    from data_pipeline.tasks.executor import LocalProcesses, make_workforce

    wishes = workers, cluster, engine, scheduler
    if all(wish is None for wish in wishes) and _size(paths) < _SMALL:
        return LocalProcesses(0)
    try:
        return make_workforce(workers, cluster, engine=engine, scheduler=scheduler)
    except ValueError as error:
        raise ConfigError(f"--{error}") from error


def _size(paths: Sequence[Path]) -> int:
    """Bytes of the files at and below `paths`; what cannot be looked at is told by the ingest itself."""
    files = (file for path in paths for file in (path.rglob("*") if path.is_dir() else (path,)))
    return sum(file.stat().st_size for file in files if file.is_file())


def _fact(option: str) -> tuple[str, str]:
    name, sign, value = option.partition("=")
    if not (name.strip() and sign and value.strip()):
        raise ConfigError(f"--option must be name=value, like venue=BINANCE_USDM; was {option!r}")
    return name.strip(), value.strip()


@dataclass(slots=True)
class _Bar:
    """The progress bar's two ears."""

    bar: Any
    task: Any
    read: dict[str, int] = field(default_factory=dict)

    def event(self, event: Any) -> None:
        self.bar.update(self.task, completed=event.done, total=event.total)
        if event.message and event.kind != "failed":
            self.bar.console.print(event.message, markup=False, soft_wrap=True)

    def rows(self, what: str, rows: int) -> None:
        if not what.startswith("merging "):  # those rows were read before
            self.read[what] = rows
        self.bar.update(self.task, description=f"{sum(self.read.values()):,} rows; {what}: {rows:,}")


@contextmanager
def _bar() -> Iterator[_Bar]:
    """A bar over the files, then over the months, with all rows and those of the file at hand; only on a terminal."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
    quiet = not console.is_terminal or console.is_dumb_terminal
    with Progress(*columns, console=console, disable=quiet, transient=True) as bar:
        yield _Bar(bar, bar.add_task("looking at the files", total=None))
