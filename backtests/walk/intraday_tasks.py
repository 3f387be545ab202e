"""The work of an intraday walk-forward as functions of picklable arguments, run in worker processes.

    measure   instrument, training session -> what it tells of the market       (one per instrument and session)
    fit       measures of a fold, parameters -> the compiled rule's numbers     (one per pod, fold, instrument, set)
    score     rule, training sessions -> profit of each session                 (only where a grid has several sets)
    trade     rule, test session -> outcome under every assumption about fills  (one per pod, fold, instrument, session)
    profit    rule, session that a split tests -> profit under the main ones    (one per rule and session)

Each returns the bytes that the ledger keeps. Only `trade_session` and `profit_of_session` ever look at a test session,
and only with a rule that is finished; at most one session of market events is in memory.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backtests.intraday.outcome import SessionOutcome
from backtests.intraday.settings import FillSettings
from backtests.walk.intraday_outcomes import SessionResult, fill_rows, result_bytes, sample_rows
from backtests.walk.intraday_plan import MAIN, FillCase, MarketCalibrationSettings, TradingDay
from backtests.walk.intraday_rules import read_rule, rule_bytes
from backtests.walk.intraday_sessions import FeedKind, SessionData, read_session, venue_clock
from backtests.walk.intraday_truth import (
    measure_bytes,
    measure_session,
    pool_sessions,
    read_measure,
    session_features,
)
from backtests.walk.plan import parameters_json
from data_pipeline.disk import canonical_json, sha256_hex
from data_pipeline.tasks.ledger import Ledger
from strategies.intraday.pod import IntradayPod, IntradayTraining
from strategies.intraday.rule import Instrument, Rule

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Market:
    """Where sessions are read and finished work is found: the same for every task of a run."""

    store: str
    ledger: Path
    venue: str
    day: TradingDay


@dataclass(frozen=True, slots=True)
class SessionName:
    """One instrument's session with the hash of its rows."""

    instrument: Instrument
    session: str
    digest: str
    kind: FeedKind = "events"


@dataclass(frozen=True, slots=True)
class MeasureTask:
    """Argument of `measure_training_session`."""

    market: Market
    name: SessionName
    settings: MarketCalibrationSettings


@dataclass(frozen=True, slots=True)
class FitTask:
    """Argument of `fit_rule`; `measures` are the ledger keys of the fold's training sessions."""

    market: Market
    pod: IntradayPod
    instrument: Instrument
    sessions: tuple[str, ...]
    measures: tuple[str, ...]
    settings: MarketCalibrationSettings
    order_lots: int
    max_position: int
    maker_fee: float
    maker_fee_per_lot: float


@dataclass(frozen=True, slots=True, eq=False)
class ScoreTask:
    """Argument of `score_rule`: one rule on the sessions that it was fitted on."""

    market: Market
    rule: str
    names: tuple[SessionName, ...]
    settings: FillSettings
    seed: int


@dataclass(frozen=True, slots=True, eq=False)
class TradeTask:
    """Argument of `trade_session`: one rule on one test session, under each of the cases."""

    market: Market
    rule: str
    name: SessionName
    fold: int
    cases: tuple[FillCase, ...]
    seed: int
    sample_every: int


@dataclass(frozen=True, slots=True, eq=False)
class ProfitTask:
    """Argument of `profit_of_session`: one rule on one session that a combinatorial split tests."""

    market: Market
    rule: str
    name: SessionName
    settings: FillSettings
    seed: int


def measure_training_session(task: MeasureTask) -> bytes:
    """What one session tells of the market."""
    from backtests.intraday.queue_guess import queue_guess
    from data_pipeline.book.from_store import intraday_record
    from data_pipeline.store import Store

    market, name = task.market, task.name
    record = intraday_record(
        Store.open(market.store),
        market.venue,
        name.instrument.symbol,
        name.session,
        market.day.start,
        market.day.stop,
        clock=venue_clock(market.venue, market.day),
        infer=name.kind != "events",
    )
    instrument = name.instrument
    measure = measure_session(record, task.settings, tick=instrument.tick_size, lot=instrument.lot_size)
    data = _data(market, name)
    guess = queue_guess(data.valued, instrument, until=data.span.stop)
    features = session_features(record, market.day, instrument, task.settings.feature_seconds)
    return measure_bytes(measure | {"queue_low": guess.low, "queue_high": guess.high}, features)


def training_of(task: FitTask) -> tuple[IntradayTraining, dict[str, Any]]:
    """What the pooled measures of the training sessions say, and the record of the calibration."""
    from strategies.intraday.features import join_features

    ledger = Ledger(task.market.ledger)
    found = [read_measure(ledger.read(key)) for key in task.measures]
    where = f"{task.instrument.symbol}, {task.sessions[0]} to {task.sessions[-1]}"
    truth, record = pool_sessions([measure for measure, _ in found], task.settings, where=where)
    training = IntradayTraining(
        instrument=task.instrument,
        truth=truth,
        sessions=task.sessions,
        seconds=task.market.day.seconds,
        order_lots=task.order_lots,
        max_position=task.max_position,
        fee=task.maker_fee * truth.mid
        + task.maker_fee_per_lot / (task.instrument.lot_size * task.instrument.multiplier),
        features=join_features([features for _, features in found]),
        calibration=record,
    )
    return training, record


def fit_rule(task: FitTask) -> bytes:
    """A parameter set fitted on the pooled measures of the training sessions."""
    training, record = training_of(task)
    rule = task.pod.fit(training)
    if not isinstance(rule, Rule):
        raise TypeError(f"fit of pod {task.pod.name} must return a Rule; returned {type(rule).__name__}")
    about = {
        "parameters": parameters_json(task.pod.parameters),
        "instrument": task.instrument.symbol,
        "truth": training.truth,
        "calibration": record,
    }
    return rule_bytes(rule, task.pod.name, about)


def score_rule(task: ScoreTask) -> bytes:
    """Profit of each training session under the main assumptions, money."""
    rule = read_rule(Ledger(task.market.ledger).read(task.rule))
    profits = [
        run_session(task.market, rule, name, task.settings, task.seed, sample_every=0).profit for name in task.names
    ]
    return canonical_json({"sessions": [name.session for name in task.names], "profit": profits})


def read_scores(payload: bytes) -> Floats:
    """(n,) profits of `score_rule`."""
    return np.array(json.loads(payload)["profit"], dtype=np.float64)


def trade_session(task: TradeTask) -> bytes:
    """Accounts of one rule over one test session under every case; fills and samples of the main one."""
    from backtests.intraday.quote_path import quote_path
    from backtests.intraday.session_account import session_account

    market, name = task.market, task.name
    rule = read_rule(Ledger(market.ledger).read(task.rule))
    data = _data(market, name)
    path = quote_path(data.valued, name.instrument, until=data.span.stop)
    accounts, shown = {}, {}
    for case in task.cases:
        outcome = run_session(market, rule, name, case.settings, task.seed, task.sample_every)
        accounts[case.name] = session_account(outcome, path, data.span, case.settings)
        if case.name == MAIN:
            shown = {"fills": fill_rows(outcome, name.session), "samples": sample_rows(outcome, name.session)}
    return result_bytes(SessionResult(name.session, name.instrument, task.fold, accounts, **shown))


def profit_of_session(task: ProfitTask) -> bytes:
    """Profit of one rule over one session, as its account has it: money."""
    from backtests.intraday.profit import profit_split
    from backtests.intraday.quote_path import quote_path

    market, name = task.market, task.name
    rule = read_rule(Ledger(market.ledger).read(task.rule))
    outcome = run_session(market, rule, name, task.settings, task.seed, sample_every=0)
    data = _data(market, name)
    path = quote_path(data.valued, name.instrument, until=data.span.stop)
    return canonical_json({"session": name.session, "profit": float(profit_split(outcome, path).money()["profit"])})


def read_profit(payload: bytes) -> float:
    """The number of `profit_of_session`."""
    return float(json.loads(payload)["profit"])


def run_session(
    market: Market, rule: Rule, name: SessionName, settings: FillSettings, seed: int, sample_every: int
) -> SessionOutcome:
    """One rule over one session; sampled latencies are those of the session and the seed, whoever trades."""
    from backtests.intraday.simulator import simulate_session

    instrument = name.instrument
    data = _data(market, name)
    drawn = dataclasses.replace(settings, seed=session_seed(seed, settings.seed, instrument.symbol, name.session))
    return simulate_session(data.events, rule, instrument, data.span, drawn, sample_every=sample_every)


def _data(market: Market, name: SessionName) -> SessionData:
    return read_session(
        market.store, market.venue, name.instrument.symbol, name.session, market.day, name.kind, name.digest
    )


def session_seed(*parts: int | str) -> int:
    """A seed below 2^31 for each combination of seeds, symbol and session."""
    return int(sha256_hex(canonical_json(list(parts)))[:8], 16) >> 1
