"""A small store of simulated sessions and a plan that trades them, for the tests of the intraday walk-forward."""

from __future__ import annotations

from pathlib import Path

from backtests.intraday.settings import Fees, FillSettings, Latency, OwnLimits, QueueModel
from backtests.walk.folds import FoldSettings
from backtests.walk.intraday_plan import (
    FillCase,
    IntradayPlan,
    IntradayPodPlan,
    MarketCalibrationSettings,
    TradingDay,
)
from data_pipeline.ingest import ingest
from data_pipeline.synthetic.order_book import BookConfig
from data_pipeline.synthetic.order_book_sessions import SYMBOLS, write_sessions
from strategies.intraday.makers import ConstantSpread, SkewedSpread
from strategies.intraday.rule import Instrument

BOOK = BookConfig(seed=5, seconds=150.0)
FIRST, COUNT = "2021-03-15", 8
VENUE, SYMBOL = SYMBOLS["binance"]
FEES = Fees(maker=1e-4, taker=3e-4)


def make_raw(folder: Path, count: int = COUNT, book: BookConfig = BOOK) -> tuple[Path, ...]:
    """Raw files of `count` sessions."""
    return write_sessions(folder, book, first=FIRST, count=count)


def make_store(folder: Path, files: tuple[Path, ...]) -> Path:
    """The files in a store."""
    report = ingest(files, folder)
    assert report.complete
    return folder


def make_plan(store: Path, **changes: object) -> IntradayPlan:
    """Two pods, one of them with two parameter sets; two folds of three test sessions after two of training."""
    limits = OwnLimits(max_position=5)
    fills = FillSettings(latency=Latency(entry_ns=2_000_000, response_ns=1_000_000), fees=FEES, limits=limits)
    guessed = FillSettings(queue=QueueModel("assumed"), latency=fills.latency, fees=FEES, limits=limits)
    values: dict[str, object] = {
        "name": "makers",
        "store": store,
        "venue": VENUE,
        "instruments": (Instrument(SYMBOL, VENUE, 0.01, 1.0),),
        "day": TradingDay(BOOK.start + 10.0, BOOK.start + 140.0, BOOK.start + 150.0),
        "folds": FoldSettings(train=2, test=3, purge=0),
        "pods": (
            IntradayPodPlan("constant", (ConstantSpread(name="constant"),)),
            IntradayPodPlan("skewed", (SkewedSpread(name="skewed", skew=0.2), SkewedSpread(name="skewed", skew=1.0))),
        ),
        "benchmark": "constant",
        "fills": fills,
        "bounds": (FillCase("assumed_high", guessed, "high"),),
        "capital": 1000.0,
        "calibration": MarketCalibrationSettings(blocks=10, feature_seconds=10.0),
        "bootstrap_draws": 50,
    }
    return IntradayPlan(**(values | changes))  # type: ignore[arg-type]
