"""What `fairfield backtest` does with an event run, and the simulated sessions that it can be tried on."""

from __future__ import annotations

import json
import sys
import tomllib
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

from fairfield.errors import ConfigError
from fairfield.intraday_catalog import make_intraday_plan
from fairfield.intraday_config import load_intraday_config
from fairfield.stages import CONFIGURATIONS, console, disk_of, task_bar, tell
from fairfield.tables import aligned

if TYPE_CHECKING:
    from backtests.walk.result import Run
    from data_pipeline.tasks.executor import Workforce

FIRST_SESSION = "2021-03-15"
LIQUIDATION_SECONDS = 30.0
QUEUE = 4
"""Orders on each level: enough that a place in the queue matters."""


def is_intraday(path: Path) -> bool:
    """Whether a configuration file has an [intraday] table; a file that cannot be read has none."""
    try:
        with path.open("rb") as stream:
            return "intraday" in tomllib.load(stream)
    except (OSError, ValueError, RecursionError):
        return False


def is_intraday_run(folder: Path) -> bool:
    """Whether a folder is that of an event run; one that cannot be read is none."""
    try:
        kind = json.loads((folder / "run.json").read_bytes())["kind"]
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return bool(kind == "intraday")


def write_intraday_run_report(run: Path, date: str | None, output: Path | None) -> Path:
    """Write the report of an event run; it is always of the whole run."""
    from reports.intraday_page import write_intraday_report

    if date is not None:
        raise ConfigError(f"{run}: the report of an event run is of the whole run: leave --date out")
    return write_intraday_report(run, output=output)


def run_intraday_backtest(config_path: Path, *, workers: int | None = None, executor: Workforce | None = None) -> Path:
    """Run an event configuration's walk-forward and write its report; the run folder.

    Raises
    ------
    ConfigError
        When the configuration cannot be used.
    """
    from backtests.walk.intraday_walkforward import run_intraday_walkforward
    from backtests.walk.result_files import read_run
    from data_pipeline.tasks.executor import LocalProcesses
    from reports.intraday_page import write_intraday_report

    config = load_intraday_config(config_path)
    sys.path.append(str(config_path.resolve().parent))  # pods of the user's own lie beside the configuration
    try:
        plan = make_intraday_plan(config, config_path.resolve().parent)
    except ConfigError as error:
        raise ConfigError(f"{config_path}: {error}") from error
    processes = LocalProcesses(config.run.workers if workers is None else workers)
    with task_bar() as progress, disk_of(config.run.output):
        folder = run_intraday_walkforward(plan, config.run.output, executor=executor or processes, progress=progress)
    page = write_intraday_report(folder)
    run = read_run(folder)
    sessions = run.results[0].sessions
    tell(
        f"data: {sessions.size - 1:,} tested sessions {sessions[1]} to {sessions[-1]} of "
        f"{', '.join(item.symbol for item in plan.instruments)} at {plan.venue}"
    )
    for line in _pod_lines(run):
        tell(line)
    tell(f"run:    {folder}")
    tell(f"report: {page}")
    return folder


def _pod_lines(run: Run) -> list[str]:
    """The compact table: profit under the main assumptions and the range over all fill models, ratios per session."""
    head = ("pod", "profit ± s.e.", "all fill models", "Sharpe a session", "deflated", "fill ratio", "")
    year = float(run.configuration["sessions_per_year"])
    rows = []
    for result in run.results:
        found = result.statistics
        cases = found["fill_cases"]
        main, profits = (
            cases["main"],
            [record["profit"] for record in (*cases.values(), found["poisson"]) if "profit" in record],
        )
        totals = [profit["total"] for profit in profits]
        rows.append(
            (
                result.pod,
                f"{main['profit']['total']:+,.2f} ± {_number(main['profit']['error'], ',.2f')}",
                f"{min(totals):+,.2f} to {max(totals):+,.2f}",
                _number(found.get("sharpe"), "+.2f", year**-0.5),
                _number(found.get("deflated_sharpe"), ".3f"),
                _number(main["orders"]["fill_ratio_lots"], ".1%"),
                "model dependent" if found["model_dependent"] else "",
            )
        )
    return aligned(head, rows)


def _number(value: float | None, form: str, factor: float = 1.0) -> str:
    return "n/a" if value is None else f"{factor * value:{form}}"


def write_synthetic_sessions(
    folder: Path,
    *,
    sessions: int = 12,
    seconds: float = 1800.0,
    seed: int = 1,
    feed: str = "binance",
) -> Path:
    """Write sessions of a simulated order book in a feed's raw format, and the configuration that trades them.

    The raw files lie in `raw` of the folder; the configuration expects them ingested into `store` beside it.

    Raises
    ------
    ConfigError
        When there is nothing to write.
    """
    from data_pipeline.atomic import write_atomically
    from data_pipeline.synthetic.order_book import BookConfig
    from data_pipeline.synthetic.order_book_sessions import SYMBOLS, write_sessions

    if feed not in SYMBOLS:
        raise ConfigError(f"--sessions must be with --feed {', '.join(SYMBOLS)}; was {feed}")
    book = BookConfig(seed=seed, seconds=seconds, queue=QUEUE)
    try:
        with console.status(f"simulating {sessions} sessions of an order book in {folder}"), disk_of(folder):
            files = write_sessions(folder / "raw", book, first=FIRST_SESSION, count=sessions, feed=feed)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    config = folder / "market_makers.toml"
    write_atomically(config, _configuration(feed, seconds).encode("utf-8"))
    tell(f"{folder / 'raw'}: {len(files)} {feed} files, {sessions} sessions of {seconds:,.0f} s")
    tell(f"fairfield ingest {quote(str(folder / 'raw'))} --store {quote(str(folder / 'store'))}")
    tell(f"fairfield backtest {quote(str(config))}")
    return config


def _configuration(feed: str, seconds: float) -> str:
    """The shipped configuration with the files' venue, symbol, lot and hours."""
    from data_pipeline.synthetic.order_book import BookConfig
    from data_pipeline.synthetic.order_book_sessions import SYMBOLS

    venue, symbol = SYMBOLS[feed]
    book = BookConfig()
    words = (CONFIGURATIONS / "market_makers.toml").read_text(encoding="utf-8")
    if feed == "b3_trades":  # there is no book to stand in
        words = words.replace('kind = "pessimistic"', 'kind = "assumed"\nguess = "high"', 1)
    changed = {
        "venue": f'"{venue}"',
        "symbol": f'"{symbol}"',
        "lot_size": repr(1.0 if feed == "binance" else float(book.size)),
        "liquidate_at": _clock(book.start + seconds - LIQUIDATION_SECONDS),
        "session_stop": _clock(book.start + seconds),
    }
    return "".join(_replaced(line, changed) for line in words.splitlines(keepends=True))


def _replaced(line: str, changed: Mapping[str, str]) -> str:
    name, equals, rest = line.partition(" = ")
    return f"{name} = {rest.replace(rest.split()[0], changed[name], 1)}" if equals and name in changed else line


def _clock(seconds: float) -> str:
    return (datetime.min + timedelta(seconds=seconds)).time().isoformat()
