"""`fairfield fetch`: which files a request means, and what became of each."""

from __future__ import annotations

import datetime as dt
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from fairfield.errors import ConfigError

if TYPE_CHECKING:
    from data_pipeline.fetching.fetch import FetchReport, Progress
    from data_pipeline.fetching.items import Item, Policy


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a call of the command asks for; empty where nothing was said."""

    years: Sequence[int] = ()
    months: Sequence[str] = ()
    start: str | None = None
    end: str | None = None
    series: Sequence[int] = ()
    issuers: Sequence[str] = ()
    symbols: Sequence[str] = ()
    kind: str = "aggTrades"
    market: str = "um"
    url: str = ""
    sha256: str = ""


def run_fetch(source: str, folder: Path, wanted: Wanted, policy: Policy, *, refresh: bool, dry: bool) -> FetchReport:
    """Download what a source has of what is wanted, or with `dry` only say from where."""
    from data_pipeline.fetching.fetch import FetchReport, fetch

    try:
        items = list(_items(source, wanted))
    except ValueError as error:
        raise ConfigError(str(error)) from error
    if not items:
        span = f"{wanted.start} to {wanted.end or wanted.start}"
        why = f"B3 held no session from {span}" if wanted.start else "nothing was asked for"
        raise ConfigError(f"fetch {source}: {why}; see `fairfield fetch --help`")
    if dry:
        for item in items:
            print(f"{item.url} -> {folder / item.target}", flush=True)
        return FetchReport()
    with _bar() as progress:
        report = fetch(items, folder, policy, refresh=refresh, progress=progress)
    for line in (*report.fetched.values(), *report.kept.values()):
        print(line, flush=True)
    for line in (*report.absent.values(), *report.refused.values()):
        print(line, file=sys.stderr, flush=True)
    return report


def _items(source: str, wanted: Wanted) -> Iterator[Item]:
    from data_pipeline.fetching import sources

    match source:
        case "cotahist":
            return sources.cotahist(wanted.years, wanted.months, _sessions(wanted))
        case "b3_trades":
            return sources.b3_trades(_sessions(wanted))
        case "price_reports":
            return sources.price_reports(_sessions(wanted))
        case "sgs":
            first, last = _span(wanted)
            return sources.sgs(wanted.series, first, last)
        case "company":
            return sources.company(wanted.issuers)
        case "cvm":
            register = sources.cvm_companies() if wanted.years else iter(())
            return chain(sources.cvm(wanted.years), register)
        case "binance":
            return sources.binance(wanted.symbols, _days(wanted), wanted.kind, wanted.market)
        case _:
            return sources.address(wanted.url, wanted.sha256)


def _span(wanted: Wanted) -> tuple[dt.date, dt.date]:
    if wanted.start is None:
        raise ValueError("--start must be given: the first day (YYYY-MM-DD)")
    first = _day(wanted.start, "--start")
    last = first if wanted.end is None else _day(wanted.end, "--end")
    if last < first:
        raise ValueError(f"--end must not be before --start {first}; was {last}")
    return first, last


def _days(wanted: Wanted) -> list[dt.date]:
    first, last = _span(wanted)
    return [first + dt.timedelta(days=k) for k in range((last - first).days + 1)]


def _sessions(wanted: Wanted) -> list[dt.date]:
    """B3's sessions from start to end; none when neither was given."""
    if wanted.start is None and wanted.end is None:
        return []
    from data_pipeline.sessions.calendar import b3_sessions

    first, last = _span(wanted)
    return [dt.date.fromisoformat(str(day)) for day in b3_sessions(str(first), str(last))]


def _day(text: str, name: str) -> dt.date:
    try:
        return dt.date.fromisoformat(text)
    except ValueError as error:
        raise ValueError(f"{name} must be a date like 2023-01-31; was {text!r}") from error


@contextmanager
def _bar() -> Iterator[Progress]:
    """A progress bar of the file under way."""
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    from fairfield.stages import console

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("asking", total=None)

        def tick(name: str, done: int, total: int | None) -> None:
            bar.update(task, description=name, completed=done, total=total)

        yield tick
