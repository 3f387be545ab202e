"""`fairfield demo`: every step on simulated files, each as its own command would do it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from shlex import quote
from typing import Any, Final

from fairfield.stages import CONFIGURATIONS, run_backtest, tell, write_synthetic, write_synthetic_book

FORMATS_QUERY: Final = (
    "select venue, symbol, sum(trades) as trades, sum(quantity) as quantity, sum(bought) as bought, "
    "round(avg(spread), 4) as spread from bars group by all order by all"
)
"""One book as three venues would tell it."""
SESSIONS, SECONDS = 10, 900
"""Of the makers' walk-forward: short enough for a demo, long enough for three folds."""


def run_demo(folder: Path) -> Path:
    """Daily files to a risk report, a simulated book in three formats to a calibrated game, makers event by event."""
    steps = [*_daily_steps(folder), *_intraday_steps(folder), *_maker_steps(folder)]
    folder.mkdir(parents=True, exist_ok=True)
    for number, (command, work) in enumerate(steps, start=1):
        tell(f"{number}/{len(steps)}  fairfield {command}")
        work()
    for line in _agreement(folder):
        tell(line)
    tell(f"open {folder / 'report.html'}")
    tell(f"open {folder / 'makers' / 'result' / 'calibration.html'}")
    tell(f"open {folder / 'makers.html'}")
    tell(f"open {_write_index(folder)}  (all pages)")
    return folder / "report.html"


Step = tuple[str, Callable[[], Any]]


def _daily_steps(folder: Path) -> list[Step]:
    """Years of daily files -> store -> quality -> walk-forward."""
    from fairfield.ingest_stage import ingest_files
    from fairfield.quality_stage import check_quality

    raw, store, page, config = (folder / name for name in ("exchange", "store", "quality.html", "demo.toml"))
    return [
        (f"synthetic {_word(raw)}", lambda: write_synthetic(raw, years=6, instruments=60, seed=2026)),
        (f"ingest {_word(raw / 'raw')} --store {_word(store)}", lambda: ingest_files([raw / "raw"], store)),
        (f"quality --store {_word(store)} --output {_word(page)}", lambda: check_quality(store, page)),
        (f"backtest {_word(config)}", lambda: _backtest(folder, config)),
    ]


def _intraday_steps(folder: Path) -> list[Step]:
    """One book in three formats -> the same store -> bars, SQL, quality, calibration."""
    from fairfield.b3_book_stage import write_b3_files
    from fairfield.bars_stage import run_bars
    from fairfield.calibration_stage import run_calibrate
    from fairfield.ingest_stage import ingest_files
    from fairfield.quality_stage import check_quality
    from fairfield.sql_stage import answer_query

    makers, books, store, page = (folder / name for name in ("makers", "books", "store", "quality.html"))
    config, result, place = folder / "day.toml", folder / "day", _word(store)
    return [
        (f"synthetic-book {_word(makers)}", lambda: write_synthetic_book(makers, feed="lobster", seconds=3600, seed=1)),
        (
            f"calibrate {_word(makers / 'calibrate.toml')} --output {_word(makers / 'result')}",
            lambda: run_calibrate(makers / "calibrate.toml", makers / "result"),
        ),
        (
            f"synthetic-book {_word(books / 'binance')} --feed binance",
            lambda: write_synthetic_book(books / "binance", feed="binance", seconds=3600, seed=1),
        ),
        (
            f"synthetic-book {_word(books / 'b3')} --feed b3_trades",
            lambda: write_b3_files(books / "b3", feed="b3_trades", seconds=3600, seed=1),
        ),
        (
            f"ingest {_word(makers)}/*.csv {_word(books)} --store {place}",
            lambda: ingest_files([*sorted(makers.glob("*.csv")), books], store),
        ),
        (f"bars --rule time:60s --store {place}", lambda: run_bars(str(store), ["time:60s"], workers=0)),
        (f"sql {quote(FORMATS_QUERY)} --store {place}", lambda: answer_query(FORMATS_QUERY, str(store), None, 40)),
        (f"quality --store {place} --output {_word(page)}", lambda: check_quality(store, page)),
        (f"calibrate {_word(config)} --output {_word(result)}", lambda: _calibrate_stored(config, result)),
    ]


def _maker_steps(folder: Path) -> list[Step]:
    """Sessions of a simulated book -> a store -> market makers in an event-driven walk-forward."""
    from fairfield.ingest_stage import ingest_files
    from fairfield.intraday_stage import write_synthetic_sessions

    sessions = folder / "sessions"
    raw, store, config = sessions / "raw", sessions / "store", sessions / "market_makers.toml"
    return [
        (
            f"synthetic-book {_word(sessions)} --feed binance --sessions {SESSIONS} --seconds {SECONDS}",
            lambda: write_synthetic_sessions(sessions, feed="binance", sessions=SESSIONS, seconds=SECONDS, seed=1),
        ),
        (f"ingest {_word(raw)} --store {_word(store)}", lambda: ingest_files([raw], store)),
        (f"backtest {_word(config)}", lambda: _backtest_makers(folder, config)),
    ]


def _backtest_makers(folder: Path, config: Path) -> None:
    run = run_backtest(config)
    shutil.copyfile(run / "report.html", folder / "makers.html")


def _word(path: Path) -> str:
    return quote(str(path))


def _backtest(folder: Path, config: Path) -> None:
    shutil.copyfile(CONFIGURATIONS / "demo.toml", config)
    run = run_backtest(config)
    shutil.copyfile(run / "report.html", folder / "report.html")


def _calibrate_stored(config: Path, result: Path) -> None:
    from fairfield.calibration_stage import run_calibrate

    shutil.copyfile(CONFIGURATIONS / "calibrate_store.toml", config)
    run_calibrate(config, result)


def _agreement(folder: Path) -> list[str]:
    """The same book's decay by both ways: from the LOBSTER files, and out of the store as Binance would tell it."""
    from data_pipeline.synthetic.order_book import BookConfig

    found = [
        json.loads((path / "calibration.json").read_bytes())["parameters"]["fill_decay"]
        for path in (folder / "makers" / "result", folder / "day")
    ]
    files, stored = (f"{one['value']:.2f} ± {one['error']:.2f}" for one in found)
    return [
        f"decay of the arrivals: {files} from LOBSTER's files, {stored} out of the store, "
        f"{BookConfig().fill_decay:g} in the simulation",
        "quality: the books last an hour of their session and the capture's clock is 1.2 s slow, hence the red light; "
        "the daily files that the walk-forward reads have the green one",
    ]


def _write_index(folder: Path) -> Path:
    from reports.index_page import write_index_page

    pages = (
        ("report.html", "Risk report", "Six years of simulated B3 files: four pods in a walk-forward, costs, limits."),
        (
            "makers.html",
            "Market makers, event by event",
            "Makers from the equilibrium, from the lone maker's solution and with constant spreads, on sessions of a "
            "simulated book, under every fill model side by side.",
        ),
        (
            "quality.html",
            "Data quality",
            "The whole store: coverage, gaps, events, outliers of the daily files; the simulated book as LOBSTER, "
            "Binance and B3 would write it, and what is wrong with its session.",
        ),
        (
            "makers/result/calibration.html",
            "Calibration to LOBSTER files",
            "The market-making game fitted to an hour of a simulated book.",
        ),
        ("day/calibration.html", "Calibration out of the store", "The same hour again, from the Binance capture."),
    )
    return write_index_page(
        folder / "index.html",
        "The demo",
        "Everything here is computed from files that a simulation wrote, in the venues' own formats.",
        pages,
    )
