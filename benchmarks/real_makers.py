"""All market-making pods on real order books under every fill model, with fees: an honest table.

    python benchmarks/real_makers.py [--data FOLDER] [--market amzn|btcusdt] [--json FILE]

Reads the raw files of `FOLDER` (default: FAIRFIELD_REALDATA or ../shared/data), ingests them into a temporary store,
calibrates each market on the first part of its session and trades the rest with the same limits, order size, clock,
latency and fees for every pod. Nothing after the training part reaches a pod's parameters or the assumed queues.

Fees are published schedules, stated per market below. Prints aggregates only.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from backtests.intraday.bounds import FillBounds, fill_bounds
from backtests.intraday.poisson_bound import poisson_bound, table_quoting
from backtests.intraday.queue_guess import queue_guess
from backtests.intraday.settings import Fees, FillSettings, Latency, OwnLimits, TradingSpan
from data_pipeline.book.from_store import intraday_record
from data_pipeline.book.record import IntradayRecord, quotes_outside_gaps
from data_pipeline.ingest import ingest
from data_pipeline.store import Store
from mfg_core import BookPath, Trades, calibrate_market_making
from strategies.intraday.features import interval_features
from strategies.intraday.makers import AvellanedaStoikov, ConstantSpread, SingleMaker, SkewedSpread
from strategies.intraday.mean_field_maker import MeanFieldMaker
from strategies.intraday.pod import IntradayTraining, MarketTruth
from strategies.intraday.regime_switch import RegimeSwitch
from strategies.intraday.rule import Instrument

SECOND = 1_000_000_000
REPOSITORY = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Market:
    """A file to trade: what is trained on, what is traded (seconds after midnight of its clock), and at which terms."""

    files: tuple[str, ...]
    options: dict[str, str]
    session: str
    instrument: Instrument
    train: tuple[float, float]
    trade: tuple[float, float]
    order_lots: int
    max_orders: int
    latency_ms: float
    fees: Fees
    fees_words: str
    """What they are, and where they are published."""
    max_ticks: int
    adverse_seconds: float
    feature_seconds: float
    risk_aversion: float


MARKETS = {
    "amzn": Market(
        files=("lobster/AMZN_2012-06-21_*_1.csv",),
        options={},
        session="2012-06-21",
        instrument=Instrument("AMZN", "NASDAQ", tick_size=0.01, lot_size=1.0),
        train=(36_000.0, 45_000.0),
        trade=(45_000.0, 56_700.0),
        order_lots=100,
        max_orders=5,
        latency_ms=1.0,
        fees=Fees(maker_per_lot=-0.0020, taker_per_lot=0.0030),
        fees_words="maker-taker, rebate $0.0020 and fee $0.0030 a share (the cap of Regulation NMS, Rule 610(c))",
        max_ticks=40,
        adverse_seconds=10.0,
        feature_seconds=60.0,
        risk_aversion=1e-3,
    ),
    "btcusdt": Market(
        files=("crypto/binance_usdm_btcusdt_20240808.gz",),
        options={"local_clock": "shift"},
        session="2024-08-08",
        instrument=Instrument("BTCUSDT", "BINANCE_USDM", tick_size=0.1, lot_size=0.001),
        train=(86_056.5, 86_200.0),
        trade=(86_200.0, 86_400.0),
        order_lots=10,
        max_orders=5,
        latency_ms=5.0,
        fees=Fees(maker=0.0002, taker=0.0005),
        fees_words="Binance USDⓈ-M futures, regular user: maker 0.02 %, taker 0.05 % of the value",
        max_ticks=200,
        adverse_seconds=1.0,
        feature_seconds=5.0,
        risk_aversion=1e-3,
    ),
}

MARKETS["btcusdt_free"] = replace(MARKETS["btcusdt"], fees=Fees(), fees_words="none, to show what the fees decide")


def find_data(named: str | None) -> Path:
    """The folder of real files."""
    folder = Path(named or os.environ.get("FAIRFIELD_REALDATA") or REPOSITORY.parent / "shared" / "data")
    if not folder.is_dir():
        raise SystemExit(f"no folder {folder}: give --data, or set FAIRFIELD_REALDATA")
    return folder


def train(market: Market, record: IntradayRecord) -> IntradayTraining:
    """The market as its training part shows it."""
    instrument, quotes = market.instrument, quotes_outside_gaps(record)
    shown = record.trades.take(~record.trades.hidden)
    book = BookPath(quotes.times, quotes.bid, quotes.ask)
    found = calibrate_market_making(
        book,
        Trades(shown.times, shown.price, shown.size, shown.side),
        tick=instrument.tick_size,
        max_ticks=market.max_ticks,
        session_end=record.end,
        risk_aversion=0.0,
        symmetric=True,
        horizon_seconds=market.adverse_seconds,
        horizons=(market.adverse_seconds,),
    )
    seconds = np.diff(np.append(book.time, record.end))
    seen = np.isfinite(book.mid) & (seconds > 0)
    mid = float(book.mid[seen] @ seconds[seen] / seconds[seen].sum())
    truth = MarketTruth(
        ask_arrival=found.intensity.ask_arrival,
        bid_arrival=found.intensity.bid_arrival,
        fill_decay=found.fill_decay,
        volatility=float(np.sqrt(found.volatility.variance)),
        half_spread=found.half_spread,
        adverse_selection=found.adverse_selection,
        competition=found.competition,
        mid=mid,
        trade_lots=float(shown.size.mean()) / instrument.lot_size,
    )
    features = interval_features(
        quote_times=record.quotes.times,
        bid=record.quotes.bid,
        ask=record.quotes.ask,
        trade_times=shown.times,
        size=shown.size,
        side=shown.side,
        start=record.start,
        end=record.end,
        interval_seconds=market.feature_seconds,
        tick_size=instrument.tick_size,
        lot_size=instrument.lot_size,
    )
    fees, unit = market.fees, instrument.lot_size * instrument.multiplier
    return IntradayTraining(
        instrument=instrument,
        truth=truth,
        sessions=(market.session,),
        seconds=market.trade[1] - market.trade[0],
        order_lots=market.order_lots,
        max_position=market.order_lots * market.max_orders,
        fee=fees.maker * mid + fees.maker_per_lot / unit,
        features=features,
    )


def pods(market: Market) -> list[Any]:
    """Every market-making pod, with the same risk aversion where it has one."""
    risk, horizon = market.risk_aversion, min(market.trade[1] - market.trade[0], 600.0)
    single = SingleMaker(risk_aversion=risk, horizon_seconds=horizon)
    return [
        MeanFieldMaker(risk_aversion=risk, horizon_seconds=horizon),
        single,
        AvellanedaStoikov(risk_aversion=risk, horizon_seconds=horizon),
        ConstantSpread(),
        SkewedSpread(),
        RegimeSwitch(active=single),
    ]


def trading_span(market: Market, midnight: int) -> TradingSpan:
    """The traded part; its last three seconds are for the liquidation."""
    start, stop = (midnight + round(SECOND * part) for part in market.trade)
    return TradingSpan(start=start, stop=stop, liquidate=stop - 3 * SECOND)


def bounds_of(market: Market, store: Store, chosen: Sequence[str] | None = None, paths: int = 500) -> dict[str, Any]:
    """Every pod's bounds in one market, and what they were fitted on."""
    from backtests.walk.intraday_sessions import midnight_ns

    instrument = market.instrument
    where = (instrument.venue, instrument.symbol, market.session)
    record = intraday_record(store, *where, *market.train)
    training = train(market, record)
    midnight = midnight_ns(market.session, record.clock)
    events = store.event_array(*where)
    until = midnight + round(SECOND * market.train[1])
    guess = queue_guess(events, instrument, until=until)
    latency = round(1e6 * market.latency_ms)
    settings = FillSettings(
        latency=Latency(entry_ns=latency, response_ns=latency),
        fees=market.fees,
        limits=OwnLimits(max_position=training.max_position, max_order=market.order_lots),
    )
    span = trading_span(market, midnight)
    found: dict[str, FillBounds] = {}
    refused: dict[str, str] = {}
    for pod in pods(market):
        if chosen is not None and pod.name not in chosen:
            continue
        try:
            rule = pod.fit(training)
        except ValueError as error:
            refused[pod.name] = str(error)
            continue
        table = None if isinstance(pod, RegimeSwitch) else pod.quotes(training).table
        poisson = None
        if table is not None:
            quoting = table_quoting(table, training.seconds)
            poisson = poisson_bound(training, quoting, seconds=training.seconds, paths=paths)
        found[pod.name] = fill_bounds(events, rule, instrument, span, settings, guess, poisson=poisson)
    return {"training": training, "guess": guess, "bounds": found, "refused": refused}


def lines(name: str, market: Market, result: dict[str, Any]) -> list[str]:
    """The market's table in Markdown."""
    training, guess = result["training"], result["guess"]
    tick, truth = market.instrument.tick_size, training.truth
    return [
        f"### {name}: {market.instrument.symbol}, {market.session}",
        "",
        f"Trained on {market.train[1] - market.train[0]:,.0f} s, traded {training.seconds:,.0f} s. "
        f"Fees: {market.fees_words}. Orders of {market.order_lots} lots of {market.instrument.lot_size:g}, at most "
        f"{market.max_orders} of them held; latency {market.latency_ms:g} ms each way, clock 100 ms. Calibrated: "
        f"half-spread {truth.half_spread / tick:.3g} ticks, 1/k {1 / truth.fill_decay / tick:.3g} ticks, volatility "
        f"{truth.volatility / tick:.3g} ticks a root second, adverse selection {truth.adverse_selection / tick:.3g} "
        f"ticks, competition {truth.competition:.2g}. Assumed queues: {guess.low:.4g} and {guess.high:.4g} lots, "
        f"{guess.words}.",
        "",
        *_profits(result["bounds"]),
        "",
        f"Under {SHOWN}:",
        "",
        *_splits(result["bounds"]),
        "",
        *(f"- {pod}: {bounds.why}" for pod, bounds in result["bounds"].items()),
        *(f"- {pod}: not run: {why}" for pod, why in result["refused"].items()),
    ]


SHOWN = "pessimistic"
"""The model whose split the second table has; the JSON has all."""


def _profits(found: dict[str, FillBounds]) -> list[str]:
    """One row a pod, one column a model: profit after fees ± its error, ! where significant."""
    models = [row["model"] for row in next(iter(found.values())).table()]
    made = ["| pod | " + " | ".join(models) + " | model dependent |", "|---|" + "--:|" * len(models) + "---|"]
    for pod, bounds in found.items():
        rows = {row["model"]: row for row in bounds.table()}
        cells = [_profit(rows[model]) if model in rows else "" for model in models]
        made.append(f"| {pod} | " + " | ".join(cells) + f" | {'yes' if bounds.model_dependent else 'no'} |")
    return made


def _profit(row: dict[str, Any]) -> str:
    error = "" if row["error"] is None else f" ± {row['error']:,.1f}"
    return f"{_tenths(row['profit'])}{error}{' !' if row['verdict'] else ''}"


def _tenths(value: float) -> str:
    """One decimal, no sign where it is none."""
    shown = f"{value:,.1f}"
    return "0.0" if shown == "-0.0" else shown


def _splits(found: dict[str, FillBounds]) -> list[str]:
    """Where the money came from under one model, and how orders fared."""
    made = [
        "| pod | captured | inventory | of it 10 s after fills | crossed | fees | fills | lots filled | at the price |"
        " uptime, both | mean abs. position |",
        "|---|" + "--:|" * 10,
    ]
    for pod, bounds in found.items():
        row = next(row for row in bounds.table() if row["model"] == SHOWN)
        parts = next(one for one in bounds.rows if one.model.name == SHOWN).accounts
        adverse = sum(float(one.split.money()["adverse_10s"]) for one in parts)
        money = (row["captured"], row["inventory"], adverse, row["crossed"] + row["liquidated"], row["fees"])
        shares = (row["fill_ratio"], row["touch_share"], row["uptime_both"])
        told = ["-" if share is None else f"{100 * share:.0f} %" for share in shares]
        cells = [*(_tenths(value) for value in money), f"{row['fills']:,}", *told]
        made.append(f"| {pod} | " + " | ".join(cells) + f" | {row['mean_absolute_inventory']:,.0f} |")
    return made


def main() -> None:
    """Both markets, or one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data")
    parser.add_argument("--market", choices=sorted(MARKETS))
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    data = find_data(options.data)
    records: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="real_makers_") as folder:
        for name, market in MARKETS.items():
            if options.market not in (None, name):
                continue
            began = time.process_time()
            store = take_in(market, data, Path(folder) / name)
            result = bounds_of(market, store)
            print("\n".join(lines(name, market, result)), flush=True)
            print(f"\n{time.process_time() - began:.1f} CPU seconds\n")
            records[name] = {pod: bounds.record() for pod, bounds in result["bounds"].items()}
    if options.json:
        options.json.write_text(json.dumps(records, indent=1))


def take_in(market: Market, data: Path, folder: Path) -> Store:
    """The market's files in a store of their own."""
    paths = [path for pattern in market.files for path in sorted(data.glob(pattern))]
    if not paths:
        raise SystemExit(f"{data} has no {', '.join(market.files)}")
    report = ingest(paths, folder, options=market.options or None)
    if not report.complete:
        raise SystemExit("\n".join(report.lines()))
    return Store.open(folder)


if __name__ == "__main__":
    main()
