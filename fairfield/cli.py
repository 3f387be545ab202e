"""The command line: each command is one step of raw files -> store -> walk-forward -> report."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from fairfield.answers import EXIT_FAILED, answering, say

app = typer.Typer(
    name="fairfield",
    help="From raw market files to a risk report: equilibria of the trading crowd, strategy pods, honest walk-forward.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


class Feed(StrEnum):
    """Raw formats of quotes, trades and orders."""

    lobster = "lobster"
    binance = "binance"
    b3_orders = "b3_orders"
    b3_trades = "b3_trades"
    b3_old_trades = "b3_old_trades"
    b3_raw_orders = "b3_raw_orders"


class Source(StrEnum):
    """Where raw files can be downloaded from."""

    cotahist = "cotahist"
    b3_trades = "b3_trades"
    price_reports = "price_reports"
    sgs = "sgs"
    company = "company"
    cvm = "cvm"
    binance = "binance"
    url = "url"


class Engine(StrEnum):
    """Who does the tasks of a command."""

    serial = "serial"
    processes = "processes"
    dask = "dask"


EngineOption = Annotated[
    Engine | None,
    typer.Option(help="Who works: this process, processes (the default) or Dask. Never changes a result."),
]
SchedulerOption = Annotated[
    str | None, typer.Option(help="With dask: tcp://host:port of a running scheduler, or local:N for N processes.")
]
ClusterOption = Annotated[str | None, typer.Option(help="Short for --engine dask --scheduler ADDRESS.")]
PlaceOption = Annotated[str, typer.Option("--store", help="Folder of the store, or its URL (s3://bucket/store).")]
OutputOption = Annotated[Path | None, typer.Option("--output", "-o", help="Where to write the page.")]


def main() -> None:
    """Entry point of the console command."""
    app()


@app.callback()
def _root(
    version: Annotated[bool, typer.Option("--version", help="Print the version and leave.", is_eager=True)] = False,
) -> None:
    if version:
        from fairfield import __version__

        typer.echo(f"fairfield {__version__}")
        raise typer.Exit


@app.command()
@answering
def synthetic(
    folder: Annotated[Path, typer.Argument(help="Folder to write; new, empty, or holding the same exchange.")],
    years: Annotated[int, typer.Option(help="Calendar years, ending with 2023.", min=1, max=25)] = 6,
    instruments: Annotated[int, typer.Option(help="Shares listed over the whole time.", min=24, max=200)] = 60,
    seed: Annotated[int, typer.Option(help="Seed of every random number.", min=0)] = 2026,
) -> None:
    """Write the raw files of a synthetic exchange, in B3's own formats."""
    from fairfield.stages import write_synthetic

    write_synthetic(folder, years=years, instruments=instruments, seed=seed)


@app.command("synthetic-book")
@answering
def synthetic_book(
    folder: Annotated[Path, typer.Argument(help="Folder to write.")],
    feed: Annotated[Feed, typer.Option(help="Raw format of the files.")] = Feed.lobster,
    seconds: Annotated[float, typer.Option(help="Length of the record.", min=60.0, max=36_000.0)] = 3600.0,
    seed: Annotated[int, typer.Option(help="Seed of every random number.", min=0)] = 1,
    sessions: Annotated[
        int, typer.Option(help="Sessions for `fairfield backtest`, of lobster, binance or b3_trades; 0: one.", min=0)
    ] = 0,
) -> None:
    """Write a simulated order book of known truth, and the configuration that calibrates to it or trades it."""
    if sessions:
        from fairfield.intraday_stage import write_synthetic_sessions

        write_synthetic_sessions(folder, sessions=sessions, seconds=seconds, seed=seed, feed=feed.value)
        return
    if feed in (Feed.b3_trades, Feed.b3_old_trades, Feed.b3_raw_orders):
        from fairfield.b3_book_stage import write_b3_files

        write_b3_files(folder, feed=feed.value, seconds=seconds, seed=seed)
        return
    from fairfield.stages import write_synthetic_book

    write_synthetic_book(folder, feed=feed.value, seconds=seconds, seed=seed)


@app.command()
@answering
def fetch(
    source: Annotated[Source, typer.Argument(help="What to download.")],
    folder: Annotated[Path, typer.Argument(help="Folder of raw files.")] = Path("raw"),
    year: Annotated[list[int] | None, typer.Option(help="cotahist, cvm: a whole year; repeatable.")] = None,
    month: Annotated[list[str] | None, typer.Option(help="cotahist: a month (2023-01); repeatable.")] = None,
    start: Annotated[str | None, typer.Option(help="First day (YYYY-MM-DD).")] = None,
    end: Annotated[str | None, typer.Option(help="Last day; the first one when not given.")] = None,
    series: Annotated[list[int] | None, typer.Option(help="sgs: a series (12 is the CDI); repeatable.")] = None,
    issuer: Annotated[list[str] | None, typer.Option(help="company: four letters (PETR); repeatable.")] = None,
    symbol: Annotated[list[str] | None, typer.Option(help="binance: an instrument (BTCUSDT); repeatable.")] = None,
    kind: Annotated[str, typer.Option(help="binance: aggTrades, trades or bookTicker.")] = "aggTrades",
    market: Annotated[str, typer.Option(help="binance: um, cm (futures) or spot.")] = "um",
    url: Annotated[str, typer.Option(help="url: the address.")] = "",
    sha256: Annotated[str, typer.Option(help="url: the hash that the file must have.")] = "",
    refresh: Annotated[
        bool, typer.Option("--refresh", help="Ask again for what is there; keeps both versions.")
    ] = False,
    mirror: Annotated[str, typer.Option(help="Address or folder that holds <host>/<path> of each file.")] = "",
    ca_file: Annotated[str, typer.Option("--ca-file", help="PEM file of further certificate authorities.")] = "",
    interval: Annotated[float, typer.Option(help="Least seconds between two requests.", min=0.0)] = 1.0,
    attempts: Annotated[int, typer.Option(help="Requests for a file without progress.", min=1, max=100)] = 5,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only print the addresses.")] = False,
) -> None:
    """Download raw files: whole and checked or not at all, continued where they stopped, never overwritten."""
    from data_pipeline.fetching.items import Policy
    from fairfield.fetch_stage import Wanted, run_fetch

    wanted = Wanted(
        years=year or (),
        months=month or (),
        start=start,
        end=end,
        series=series or (),
        issuers=issuer or (),
        symbols=symbol or (),
        kind=kind,
        market=market,
        url=url,
        sha256=sha256,
    )
    policy = Policy(attempts=attempts, interval=interval, mirror=mirror, ca_file=ca_file)
    report = run_fetch(source.value, folder, wanted, policy, refresh=refresh, dry=dry_run)
    if not report.complete:
        missing = len(report.absent) + len(report.refused)
        say(f"{missing} of the files are not in {folder}, see above; the others are", EXIT_FAILED)


@app.command()
@answering
def ingest(
    paths: Annotated[list[Path], typer.Argument(help="Raw files of any format (docs/data.md), or folders of them.")],
    store: Annotated[str, typer.Option("--store", help="Folder of the store, or its URL.")] = "store",
    workers: Annotated[
        int | None, typer.Option(help="Processes; by default one per core. Never changes a result.", min=0)
    ] = None,
    engine: EngineOption = None,
    scheduler: SchedulerOption = None,
    cluster: ClusterOption = None,
    option: Annotated[
        list[str] | None,
        typer.Option(help="A fact that a file lacks: symbol=X, or for one format lobster.symbol=X (repeat)."),
    ] = None,
    staging: Annotated[
        Path | None, typer.Option(help="Folder for unfinished work, shared by the cluster's workers.")
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Crypto files replace rows of a symbol and day of files of other names.")
    ] = False,
) -> None:
    """Put raw files into the store; a file that cannot be used is refused by name and the others go in."""
    from fairfield.ingest_stage import ingest_files

    report = ingest_files(
        paths,
        store,
        workers=workers,
        cluster=cluster,
        engine=engine.value if engine else None,
        scheduler=scheduler,
        options=option or (),
        staging=staging,
        replace=replace,
    )
    if not report.complete:
        taken = bool(report.accepted or report.unchanged)
        rest = f"everything else is in {store}" if taken else "nothing else was given"
        count = "1 file" if len(report.refused) == 1 else f"{len(report.refused)} files"
        say(f"{count} refused, listed above; {rest}", EXIT_FAILED)


@app.command()
@answering
def quality(
    store: PlaceOption = "store",
    output: OutputOption = None,
    start: Annotated[str | None, typer.Option(help="First session looked at (YYYY-MM-DD).")] = None,
    end: Annotated[str | None, typer.Option(help="Last session looked at (YYYY-MM-DD).")] = None,
) -> None:
    """Check the store against the B3 calendar and itself; print a table and write a page."""
    from fairfield.quality_stage import check_quality

    check_quality(store, output, start, end)


@app.command()
@answering
def backtest(
    config: Annotated[Path, typer.Argument(help="Configuration file (TOML).")],
    workers: Annotated[int | None, typer.Option(help="Processes; never changes a result.", min=1)] = None,
    engine: EngineOption = None,
    scheduler: SchedulerOption = None,
    cluster: ClusterOption = None,
) -> None:
    """Run the walk-forward of a configuration and write its results and report; resumes where it was stopped."""
    from fairfield.stages import run_backtest

    run_backtest(config, workers=workers, cluster=cluster, engine=engine.value if engine else None, scheduler=scheduler)


@app.command()
@answering
def audit(
    config: Annotated[Path, typer.Argument(help="Configuration file (TOML), of a daily or an event run.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File to write; audit.json in the run's output folder.")
    ] = None,
    cuts: Annotated[int, typer.Option(help="Places at which each pod's data are cut.", min=1, max=1000)] = 3,
    seed: Annotated[int, typer.Option(help="Seed of the scrambling.", min=0)] = 0,
) -> None:
    """Change the future (and the forgotten past) of a configuration's data; nothing decided before may change."""
    from fairfield.audit_stage import run_audit

    if not run_audit(config, output, cuts=cuts, seed=seed):
        say(f"{config}: the audit found something, see above", EXIT_FAILED)


@app.command()
@answering
def compare(
    runs: Annotated[list[Path], typer.Argument(help="Run folders.")],
    output: OutputOption = None,
) -> None:
    """Compare the pods of several runs on the same days."""
    from fairfield.stages import compare_runs

    compare_runs(runs, output)


@app.command()
@answering
def report(
    run: Annotated[Path, typer.Argument(help="Run folder.")],
    date: Annotated[str | None, typer.Option(help="Report as of this session (YYYY-MM-DD).")] = None,
    output: OutputOption = None,
) -> None:
    """Write the risk report of a run, as of its end or of an earlier session."""
    from fairfield.stages import write_run_report

    write_run_report(run, date, output)


@app.command()
@answering
def solve(
    config: Annotated[Path, typer.Argument(help="Configuration file (TOML) with a [game].")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Folder of the artefact.")] = None,
) -> None:
    """Solve a market-making game: write its equilibrium and a page of pictures, print the sanity checks."""
    from fairfield.solve_stage import run_solve

    folder, passed = run_solve(config, output)
    if not passed:
        say(f"{folder}: a sanity check failed, see above", EXIT_FAILED)


@app.command()
@answering
def calibrate(
    config: Annotated[Path, typer.Argument(help="Configuration file (TOML) with files, a window and a [game].")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Folder of the artefact.")] = None,
) -> None:
    """Calibrate the market-making game to a day of quotes and trades: estimates, tests, equilibrium and a page."""
    from fairfield.calibration_stage import run_calibrate

    run_calibrate(config, output)


@app.command()
@answering
def export(
    output: Annotated[Path, typer.Argument(help="File to write, .npz or .npy.")],
    venue: Annotated[str, typer.Option(help="Venue, e.g. BINANCE_USDM.")],
    symbol: Annotated[str, typer.Option(help="Instrument at the venue.")],
    start: Annotated[str, typer.Option(help="First session (YYYY-MM-DD).")],
    end: Annotated[str | None, typer.Option(help="Last session; the first alone without it.")] = None,
    store: PlaceOption = "store",
    trades: Annotated[bool, typer.Option("--trades", help="Add the table's trades, where events have none.")] = False,
    shift: Annotated[bool, typer.Option("--shift", help="Move receiver's times until no latency is negative.")] = False,
) -> None:
    """Write a symbol's market events to a file for hftbacktest."""
    from fairfield.export_stage import run_export

    run_export(store, output, venue=venue, symbol=symbol, start=start, end=end, trades=trades, shift=shift)


@app.command("export-vectorbt")
@answering
def export_vectorbt(
    run: Annotated[Path, typer.Argument(help="Run folder of a daily backtest.")],
    pod: Annotated[str, typer.Argument(help="Pod of the run.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write.")],
    config: Annotated[
        Path | None, typer.Option(help="Configuration of the run, where its data are no longer beside it.")
    ] = None,
) -> None:
    """Write a pod's account as a portfolio for vectorbt: `vectorbt.Portfolio.load(FILE)`."""
    from fairfield.vectorbt_stage import run_export_vectorbt

    run_export_vectorbt(run, pod, output, config)


@app.command()
@answering
def bars(
    rule: Annotated[
        list[str] | None,
        typer.Option(help="time:60s, time:5m@America/Sao_Paulo, volume:10000, tick:100 (repeat); none: what is stale."),
    ] = None,
    store: Annotated[str, typer.Option("--store", help="Folder of the store, or its URL.")] = "store",
    venue: Annotated[str | None, typer.Option(help="Only this venue.")] = None,
    start: Annotated[str | None, typer.Option(help="First session (YYYY-MM-DD).")] = None,
    end: Annotated[str | None, typer.Option(help="Last session (YYYY-MM-DD).")] = None,
    workers: Annotated[int | None, typer.Option(help="Processes; never changes a result.", min=0)] = None,
    engine: EngineOption = None,
    scheduler: SchedulerOption = None,
    cluster: ClusterOption = None,
    check: Annotated[bool, typer.Option("--check", help="Make nothing; name what is missing or stale.")] = False,
) -> None:
    """Sum the store's trades and quotes into bars, again where they changed."""
    from fairfield.bars_stage import run_bars

    fresh = run_bars(
        store,
        rule or (),
        venue=venue,
        start=start,
        end=end,
        workers=workers,
        cluster=cluster,
        engine=engine.value if engine else None,
        scheduler=scheduler,
        check=check,
    )
    if check and not fresh:
        say("bars are missing or stale, see above: run `fairfield bars`", EXIT_FAILED)


store_app = typer.Typer(help="Look into a store, check it, and keep it in shape.", no_args_is_help=True)
app.add_typer(store_app, name="store")


@store_app.command("info")
@answering
def store_info(store: PlaceOption = "store") -> None:
    """Print the tables of a store with venues, dates, rows and bytes, and the raw files it was made of."""
    from fairfield.store_stage import show_info

    show_info(store)


@store_app.command("verify")
@answering
def store_verify(store: PlaceOption = "store") -> None:
    """Read every byte of a store and compare it with the manifest."""
    from fairfield.store_stage import verify_store

    verify_store(store)


@store_app.command("compact")
@answering
def store_compact(store: PlaceOption = "store") -> None:
    """Join the small parts of each table, venue and period; the rows stay as they are."""
    from fairfield.store_stage import compact_store

    compact_store(store)


@store_app.command("migrate")
@answering
def store_migrate(store: PlaceOption = "store") -> None:
    """Bring a store of an older version to this program's; stopped in the middle, the old one is whole."""
    from fairfield.store_stage import migrate_store

    migrate_store(store)


@store_app.command("unlock")
@answering
def store_unlock(
    store: PlaceOption = "store",
    force: Annotated[bool, typer.Option("--force", help="Also a lock of another machine: its process ended.")] = False,
) -> None:
    """Remove the lock that a killed process left in a store at a URL; a folder's lock ends with its process."""
    from fairfield.store_stage import unlock_store

    unlock_store(store, force=force)


@app.command()
@answering
def sql(
    query: Annotated[str, typer.Argument(help="One SELECT in DuckDB's SQL; `show tables` lists the tables.")],
    store: PlaceOption = "store",
    output: Annotated[Path | None, typer.Option("--output", "-o", help="File to write: .parquet or .csv.")] = None,
    rows: Annotated[int, typer.Option(help="Rows that are printed.", min=0)] = 40,
) -> None:
    """Ask a store in SQL: print the answer as a table, or write it to a file."""
    from fairfield.sql_stage import answer_query

    answer_query(query, store, output, rows)


@app.command()
@answering
def demo(
    folder: Annotated[Path, typer.Argument(help="Folder for raw files, store, runs and pages.")] = Path("demo"),
) -> None:
    """Run everything on simulated files: daily and intraday, store, SQL, quality, walk-forward, calibration, pages."""
    from fairfield.demo_stage import run_demo

    run_demo(folder)
