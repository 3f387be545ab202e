"""What each command does, in plain calls of the rooms below; progress and sentences go to the terminal."""

from __future__ import annotations

import datetime as dt
import errno
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

from rich.console import Console

from data_pipeline.atomic import write_atomically
from fairfield.config import RunConfig, load_config
from fairfield.errors import ConfigError
from fairfield.tables import pod_table

if TYPE_CHECKING:
    from data_pipeline.daily.panel import DailyPanel
    from data_pipeline.synthetic.exchange import ExchangeManifest
    from data_pipeline.tasks.executor import Engine

CONFIGURATIONS = Path(__file__).parent / "configurations"
"""The configurations that ship: demo.toml, b3.toml, b3_closes.toml."""

_DEMO_LAST_YEAR = 2023
console = Console(stderr=True, highlight=False)
"""Progress goes to standard error; what a command found, to standard output (`tell`)."""


def tell(line: str) -> None:
    """Print one line of a command's answer, whole: a path in it can be copied from a terminal and from a pipe."""
    print(line, flush=True)


def write_synthetic(folder: Path, *, years: int, instruments: int, seed: int) -> ExchangeManifest:
    """Write the synthetic exchange; the whole calendar years up to 2023."""
    from data_pipeline.synthetic import ExchangeConfig, write_exchange

    try:
        settings = ExchangeConfig(
            seed=seed,
            first_session=dt.date(_DEMO_LAST_YEAR - years + 1, 1, 1),
            last_session=dt.date(_DEMO_LAST_YEAR, 12, 31),
            instruments=instruments,
        )
        words = f"writing {years} years of {instruments} synthetic shares to {folder}"
        with console.status(words), disk_of(folder):
            manifest = write_exchange(folder, settings)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    tell(f"{folder}: {sum(manifest.records.values()):,} records in {len(manifest.records)} yearly files")
    return manifest


def write_synthetic_book(folder: Path, *, feed: str, seconds: float, seed: int) -> Path:
    """Write a simulated order book in a feed's raw format; the configuration that calibrates to it."""
    from data_pipeline.synthetic.order_book import BookConfig, simulate_book
    from data_pipeline.synthetic.order_book_files import write_capture, write_lobster, write_ofer

    with console.status(f"simulating an order book in {folder}"), disk_of(folder):
        folder.mkdir(parents=True, exist_ok=True)
        book = BookConfig(seed=seed, seconds=seconds)
        events = simulate_book(book)
        files: tuple[Path, ...]
        if feed == "lobster":
            files = write_lobster(folder, events, ticker="SYN", levels=5)
        elif feed == "binance":
            files = (write_capture(folder / "synusdt.gz", events),)
        else:
            files = (write_ofer(folder / "OFER_SYNT3F.csv", events),)
        named = ", ".join(f'"{path.name}"' for path in files)
        instrument = 'instrument = "SYNT3F"\n' if feed == "b3_orders" else ""
        config = folder / "calibrate.toml"
        words = (CONFIGURATIONS / "synthetic_book.toml.in").read_text(encoding="utf-8")
        words = words.replace("FEED", feed).replace("FILES", named).replace("INSTRUMENT\n", instrument)
        write_atomically(config, words.encode("utf-8"))
    sizes = f"{book.ask_arrival} and {book.bid_arrival} orders a second, decay {book.fill_decay} per unit of price"
    tell(f"{folder}: {len(files)} {feed} file{'s' * (len(files) > 1)} of {seconds:,.0f} s (truth: {sizes})")
    tell(f"fairfield calibrate {quote(str(config))}")
    return config


def run_backtest(
    config_path: Path,
    *,
    workers: int | None = None,
    cluster: str | None = None,
    engine: Engine | None = None,
    scheduler: str | None = None,
) -> Path:
    """Run a configuration's walk-forward and write its report; the run folder.

    Raises
    ------
    ConfigError
        When the configuration cannot be used, or options contradict each other.
    """
    from backtests.walk.result_files import read_run
    from backtests.walk.walkforward import run_walkforward
    from data_pipeline.tasks.executor import LocalProcesses, make_workforce
    from fairfield.catalog import make_plan
    from fairfield.intraday_stage import is_intraday, run_intraday_backtest
    from reports.report import write_report

    try:
        chosen = make_workforce(workers, cluster, engine=engine, scheduler=scheduler)
    except ValueError as error:
        raise ConfigError(f"--{error}") from error
    # processes without a number are as many as the configuration says
    executor = chosen if engine == "serial" or not isinstance(chosen, LocalProcesses) else None
    if is_intraday(config_path):
        return run_intraday_backtest(config_path, workers=workers, executor=executor)
    config = load_config(config_path)
    sys.path.append(str(config_path.resolve().parent))  # pods of the user's own lie beside the configuration
    try:
        plan = make_plan(config)
    except ConfigError as error:
        raise ConfigError(f"{config_path}: {error}") from error
    with console.status("reading the data"):
        panel, quality = read_panel(config)
    tell(
        f"data: {panel.sessions.size:,} sessions {panel.sessions[0]} to {panel.sessions[-1]}, "
        f"{len(panel.instruments)} instruments, {len(panel.events)} corporate events"
    )
    with task_bar() as progress, disk_of(config.run.output):
        folder = run_walkforward(
            plan,
            panel,
            config.run.output,
            workers=config.run.workers if workers is None else workers,
            progress=progress,
            quality=quality,
            executor=executor,
        )
    page = write_report(folder)
    for line in pod_table({result.pod: result.statistics for result in read_run(folder).results}):
        tell(line)
    tell(f"run:    {folder}")
    tell(f"report: {page}")
    return folder


def compare_runs(runs: Sequence[Path], output: Path | None) -> Path:
    """Compare the pods of several runs on the same days; print a table and write a page."""
    from reports.compare_page import write_comparison_page

    with console.status("comparing"):
        lines = _comparison_lines(runs)
        page = write_comparison_page(list(runs), output or runs[0].resolve().with_name("comparison.html"))
    for line in lines:
        tell(line)
    tell(f"page: {page}")
    return page


def _comparison_lines(runs: Sequence[Path]) -> list[str]:
    """The table of all pods; of several runs on the sessions that they share, with what else differs between them."""
    from backtests.evidence.comparison import compare_runs as compare
    from backtests.walk.result_files import read_run

    if len(runs) == 1:
        return pod_table({result.pod: result.statistics for result in read_run(runs[0]).results})
    try:
        record = compare(runs)
    except ValueError as error:  # a run named twice, or runs that share no days
        raise ConfigError(str(error)) from error
    cost = {
        f"{folder.resolve().name}/{result.pod}": {"annual_cost": result.statistics.get("annual_cost")}
        for folder in runs
        for result in read_run(folder).results
    }
    table = pod_table({name: found | cost[name] for name, found in record["statistics"].items()})
    shared = f"on the {record['sessions']:,} sessions that all runs share, {record['first']} to {record['last']}"
    return [f"{shared} (costs: each run's own sessions)", *table, *record["differences_of_inputs"]]


def write_run_report(run: Path, date: str | None, output: Path | None) -> Path:
    """Write the report of a run, as of `date` when one is given."""
    from fairfield.intraday_stage import is_intraday_run, write_intraday_run_report
    from reports.report import write_report

    if is_intraday_run(run):
        page = write_intraday_run_report(run, day(date, "--date"), output)
    else:
        page = write_report(run, date=day(date, "--date"), output=output)
    tell(f"report: {page}")
    return page


def day(text: str | None, option: str) -> str | None:
    """The option's value, checked to be a date, or None when it was not given."""
    if text is None:
        return None
    try:
        return dt.date.fromisoformat(text).isoformat()
    except ValueError:
        raise ConfigError(f"{option} must be a day like 2023-06-30; was {text!r}") from None


def read_panel(config: RunConfig) -> tuple[DailyPanel, dict[str, Any]]:
    """The panel that a configuration names, with the quality summary of what it came from."""
    data = config.data
    rate = data.risk_free_annual
    start, end = (None if date is None else date.isoformat() for date in (data.start, data.end))
    if data.closes is not None:
        from data_pipeline.daily.close_value import read_close_value_panel
        from data_pipeline.quality.daily import panel_quality

        panel = read_close_value_panel(data.closes, start=start, end=end, risk_free_annual=rate)
        return panel, panel_quality(panel)
    from data_pipeline.daily.panel_build import build_panel
    from data_pipeline.daily.universe import UniverseRules
    from data_pipeline.quality.daily import store_quality
    from data_pipeline.store import Store

    if data.store is None:
        raise ConfigError("data: exactly one of store and closes must be given")
    store = Store.open(data.store)
    universe = UniverseRules(min_median_value=data.min_median_value, min_presence=data.min_presence)
    panel = build_panel(store, start=start, end=end, universe=universe, risk_free_annual=rate)
    return panel, store_quality(store, panel, risk_free_annual=rate)


@contextmanager
def spinner(words: str) -> Iterator[None]:
    """A sign of life with the time that has passed, on a terminal; nothing anywhere else."""
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn()
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        progress.add_task(words, total=None)
        yield


@contextmanager
def disk_of(folder: Path) -> Iterator[None]:
    """Errors of a full disk that name no file, named by the folder that was written to."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT) and not error.filename:
            error.filename = str(folder)
        raise


@contextmanager
def task_bar(what: str = "walk-forward") -> Iterator[Any]:
    """A progress bar over tasks, on a terminal; notices go above it.

    Failures are left to the error that ends the run: it names them all.
    """
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=console, disable=not console.is_terminal or console.is_dumb_terminal) as bar:
        task = bar.add_task(what, total=None)

        def progress(event: Any) -> None:
            bar.update(task, completed=event.done, total=event.total, description=event.name)
            if event.message and event.kind != "failed":
                bar.console.print(event.message, markup=False, soft_wrap=True)

        yield progress
