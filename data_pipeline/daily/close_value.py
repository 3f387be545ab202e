"""A panel from a file that holds only closes and traded values: date, asset, close, value.

Such files have no opening, no quotes and no DISMES. Splits must be told from closes, so the rule is stricter than
`events` and its finds are marked by a lower confidence. A move is taken relative to the median of all assets, which
keeps a day like 2020-03-12 from looking like a hundred splits. For a relative move r = log(previous close / close) of
0.18 or more over n sessions, three explanations are weighed, with v the log of the day's traded value over its median
of 20 days:

    split by S    prior n EVENT_PRIOR w(S),   r - log S ~ s t,                         v ~ Normal(0, 0.4)
    news          prior n NEWS_PRIOR,         r ~ exponential, 0.35 down, 0.2 up,  v ~ Normal(log 4, 0.6)
    nothing       the rest,                   r ~ s t,                                 v ~ Normal(0, 0.6)

with w the prior weights of `sizing`, s^2 = 1 %^2 + n times the mean square of the last 60 relative daily moves, and t
Student's with 3 n degrees of freedom (at most 30: a sum of many days is near normal). A split changes the price and
leaves the traded value where it was; a crash brings a flood of trading (AMER3 on 2023-01-12: -77 %, 2.4 times the
value). Where a split is more probable than not, the most probable factor is applied even if it is below one half
itself: a jump of 24 left in the closes is worse than one of 25 taken for 30. Share factors nearer 1 than 1.2 are not
looked for: a bonus of 10 % cannot be told from a bad day.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from data_pipeline.daily.events import SIZED_FROM, describe_factor, share_event_kind
from data_pipeline.daily.panel import CorporateEvent, DailyPanel
from data_pipeline.daily.risk_free import risk_free_returns
from data_pipeline.daily.sizing import MAX_OVERNIGHT, OPENING_NOISE, usual_factors
from data_pipeline.errors import DataError
from data_pipeline.schema import CDI_SCHEMA
from data_pipeline.sessions.calendar import b3_sessions

RULES_VERSION: Final = "1"
EVENT_PRIOR: Final = 5e-4
NEWS_PRIOR: Final = 1e-3
NEWS_TAIL_DOWN: Final = 0.35
NEWS_TAIL_UP: Final = 0.2
LEAST_MOVE: Final = 0.18
HISTORY: Final = 60
VALUE_HISTORY: Final = 20
LONGEST_PAUSE: Final = 30
"""Sessions between two closes beyond which nothing is concluded from them."""
MIN_HISTORY: Final = 10
NO_HISTORY_DAILY: Final = 0.03
"""Daily scale of an asset with fewer than `MIN_HISTORY` moves so far."""

RULE_GAP: Final = "missing_sessions"
_LOT: Final = 100

Day = np.datetime64 | str


@dataclass(frozen=True, slots=True)
class _Column:
    """One asset's rows, in order of session."""

    rows: NDArray[np.int64]
    close: NDArray[np.float64]
    value: NDArray[np.float64]
    relative: NDArray[np.float64]


def read_close_value_panel(
    path: str | Path,
    *,
    start: Day | None = None,
    end: Day | None = None,
    risk_free_annual: float | None = None,
    cdi: pa.Table | None = None,
    fill_gaps: bool = False,
) -> DailyPanel:
    """Return the panel of a Parquet file with columns date, asset (or ticker), close and value (or volume), in R$.

    Open, high, low, average price, quotes and trade counts are NaN; volume is value over close.

    Parameters
    ----------
    path : path
        Parquet file; closes are unadjusted.
    start, end : date, optional
        First and last session, both included.
    risk_free_annual : float, optional
        Annual rate on base 252, for sessions before the first CDI.
    cdi : pyarrow.Table, optional
        Daily CDI (`schema.CDI_SCHEMA`), as `Store.cdi` gives it.
    fill_gaps : bool, optional
        Sessions that B3 held and the file lacks: by default the first of each run becomes one empty session, so that
        no return is taken across the hole as if it were one day; with True every one of them does. Cash earns the
        whole time either way.

    Raises
    ------
    DataError
        When the file is missing, has other columns, a day twice for one asset, or a close or value that is not
        positive; or when cash has no rate.
    """
    source = Path(path)
    table = _read(source, start, end)
    date = table["date"].to_numpy().astype("datetime64[D]")
    asset = np.array(table["asset"].to_pylist(), dtype=object)
    held = np.unique(date)
    calendar = np.union1d(b3_sessions(held[0], held[-1]), held)
    sessions = calendar if fill_gaps else _with_gap_rows(held, calendar)
    names = tuple(sorted(set(asset.tolist())))
    number = {name: i for i, name in enumerate(names)}
    cell = (np.searchsorted(sessions, date), np.array([number[name] for name in asset], dtype=np.int64))
    shape = (sessions.size, len(names))
    close, value = np.full(shape, np.nan), np.zeros(shape)
    close[cell], value[cell] = table["close"].to_numpy(), table["value"].to_numpy()
    absent = np.full(shape, np.nan)
    events = _detect(close, value, np.searchsorted(calendar, sessions))
    counts = Counter({RULE_GAP: int(calendar.size - held.size), "empty_sessions": int(sessions.size - held.size)})
    counts["events_sized_from_prices"] = len(events)
    # cash is accrued on every session of B3, then read off on the panel's
    cash = risk_free_returns(calendar, CDI_SCHEMA.empty_table() if cdi is None else cdi, risk_free_annual)
    level = np.cumsum(np.log1p(cash.returns))[np.searchsorted(calendar, sessions)]
    return DailyPanel(
        sessions=sessions,
        instruments=names,
        **dict.fromkeys(("open", "high", "low", "vwap", "bid", "ask", "trade_count"), absent),
        close=close,
        volume=np.where(np.isnan(close), 0.0, value / close),
        traded_value=value,
        lot_size=np.full(len(names), _LOT, dtype=np.int64),
        risk_free=np.expm1(np.diff(level, prepend=level[0])),
        events=events,
        provenance={
            "file": source.name,
            "sha256": hashlib.sha256(source.read_bytes()).hexdigest(),
            "start": str(start),
            "end": str(end),
            "rules": f"close-value {RULES_VERSION}",
            "risk_free": cash.source,
            "fill_gaps": str(fill_gaps),
        },
        rule_counts=dict(sorted(counts.items())),
    )


def _read(source: Path, start: Day | None, end: Day | None) -> pa.Table:
    try:
        table = pq.ParquetFile(source).read()
    except FileNotFoundError:
        raise DataError(f"{source}: no such file") from None
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{source}: not a readable Parquet file ({error})") from None
    columns = {}
    for name, synonyms in (
        ("date", ("date",)),
        ("asset", ("asset", "ticker")),
        ("close", ("close",)),
        ("value", ("value", "volume")),
    ):
        found = next((synonym for synonym in synonyms if synonym in table.column_names), None)
        if found is None:
            raise DataError(f"{source}: needs a column {' or '.join(synonyms)}; has {', '.join(table.column_names)}")
        columns[name] = table[found]
    columns["date"] = columns["date"].cast(pa.timestamp("us")).cast(pa.date32())
    columns["close"], columns["value"] = (columns[name].cast(pa.float64()) for name in ("close", "value"))
    result = pa.table(columns).sort_by([("asset", "ascending"), ("date", "ascending")])
    if any(result[name].null_count for name in result.column_names):
        raise DataError(f"{source}: every row needs a date, an asset, a close and a value; some are missing")
    days = result["date"].to_numpy().astype("datetime64[D]")
    keep = np.ones(days.size, dtype=np.bool_)
    if start is not None:
        keep &= days >= np.datetime64(str(start), "D")
    if end is not None:
        keep &= days <= np.datetime64(str(end), "D")
    if not keep.any():
        raise DataError(f"{source}: no row from {start} to {end}")
    result = result.filter(pa.array(keep))
    _check_rows(source, result)
    return result


def _check_rows(source: Path, table: pa.Table) -> None:
    asset = np.array(table["asset"].to_pylist(), dtype=object)
    days = table["date"].to_numpy().astype("datetime64[D]")
    twice = (asset[1:] == asset[:-1]) & (days[1:] == days[:-1])
    if twice.any():
        row = int(np.flatnonzero(twice)[0]) + 1
        raise DataError(f"{source}: {asset[row]} has two rows on {days[row]}")
    for name in ("close", "value"):
        values = table[name].to_numpy()
        bad = ~(np.isfinite(values) & (values > 0.0))
        if bad.any():
            row = int(np.flatnonzero(bad)[0])
            raise DataError(f"{source}: {name} must be positive; was {values[row]} for {asset[row]} on {days[row]}")


def _with_gap_rows(held: NDArray[np.datetime64], calendar: NDArray[np.datetime64]) -> NDArray[np.datetime64]:
    place = np.searchsorted(calendar, held)
    before_gap = place[:-1][np.diff(place) > 1]
    return np.union1d(held, calendar[before_gap + 1])


def _detect(
    close: NDArray[np.float64], value: NDArray[np.float64], position: NDArray[np.int64]
) -> tuple[CorporateEvent, ...]:
    """Return the events of every column; `position` counts the exchange's sessions up to each row."""
    events: list[CorporateEvent] = []
    market = _market_level(close)
    for instrument in range(close.shape[1]):
        rows = np.flatnonzero(~np.isnan(close[:, instrument]))
        relative = np.log(close[rows, instrument]) - market[rows]
        column = _Column(rows, close[rows, instrument], value[rows, instrument], relative)
        events.extend(_detect_column(instrument, column, position[rows]))
    return tuple(sorted(events, key=lambda e: (e.ex_session, e.instrument)))


def _market_level(close: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the running sum of the median log move of all assets between sessions with data, (T,)."""
    held = np.flatnonzero((~np.isnan(close)).any(axis=1))
    moves = np.diff(np.log(close[held]), axis=0)
    steps = np.array([np.median(row[~np.isnan(row)]) if (~np.isnan(row)).any() else 0.0 for row in moves])
    level = np.zeros(close.shape[0])
    level[held[1:]] = steps
    return np.cumsum(level)


def _detect_column(instrument: int, column: _Column, position: NDArray[np.int64]) -> list[CorporateEvent]:
    elapsed = np.diff(position, prepend=position[0] if position.size else 0)
    moves = np.diff(column.relative, prepend=column.relative[0])
    daily = np.where(elapsed == 1, np.clip(moves, -MAX_OVERNIGHT, MAX_OVERNIGHT), np.nan)
    found = []
    for k in np.flatnonzero((np.abs(moves) >= LEAST_MOVE) & (elapsed <= LONGEST_PAUSE)):
        past = daily[max(1, k - HISTORY) : k]
        past = past[~np.isnan(past)]
        rms = float(np.sqrt(np.mean(past**2))) if past.size >= MIN_HISTORY else NO_HISTORY_DAILY
        usual = float(np.median(column.value[max(0, k - VALUE_HISTORY) : k]))
        surge = math.log(column.value[k] / usual)
        factor, probability, nothing = judge_move(-float(moves[k]), surge, rms, int(elapsed[k]))
        if nothing > SIZED_FROM:
            continue
        shown = float(column.close[k] / column.close[k - 1])
        found.append(_event(instrument, int(column.rows[k]), factor, probability, shown, surge))
    return found


def judge_move(ratio: float, surge: float, daily_scale: float, sessions: int) -> tuple[float, float, float]:
    """Return the most probable split factor, its probability, and the probability that it was no split.

    Parameters
    ----------
    ratio : float
        log(previous close / close), relative to the market.
    surge : float
        log(traded value / its usual value).
    daily_scale : float
        Root mean square of daily relative log moves.
    sessions : int
        Sessions between the two closes.
    """
    scale, freedom = math.hypot(daily_scale * math.sqrt(sessions), OPENING_NOISE), min(30, 3 * sessions)
    value_if_split = sessions * EVENT_PRIOR * _normal(surge, 0.0, 0.4)
    factors = {
        factor: weight * _student(ratio - math.log(factor), scale, freedom) * value_if_split
        for letters in "BG"
        for factor, weight in usual_factors(letters).items()
        if abs(math.log(factor)) >= LEAST_MOVE
    }
    tail = NEWS_TAIL_DOWN if ratio > 0.0 else NEWS_TAIL_UP
    news = sessions * NEWS_PRIOR * 0.5 / tail * math.exp(-abs(ratio) / tail) * _normal(surge, math.log(4.0), 0.6)
    quiet_prior = 1.0 - sessions * (EVENT_PRIOR + NEWS_PRIOR)
    quiet = quiet_prior * _student(ratio, scale, freedom) * _normal(surge, 0.0, 0.6)
    total = sum(factors.values()) + news + quiet
    best = max(factors, key=lambda factor: factors[factor])
    return best, factors[best] / total, (news + quiet) / total


def _student(deviation: float, scale: float, freedom: int) -> float:
    constant = math.exp(math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2)) / math.sqrt(freedom * math.pi)
    shape: float = (1.0 + (deviation / scale) ** 2 / freedom) ** (-(freedom + 1) / 2)
    return constant / scale * shape


def _normal(x: float, mean: float, deviation: float) -> float:
    return math.exp(-0.5 * ((x - mean) / deviation) ** 2) / (deviation * math.sqrt(2.0 * math.pi))


def _event(instrument: int, row: int, factor: float, probability: float, shown: float, surge: float) -> CorporateEvent:
    confidence = round(probability, 6)
    unsure = ", the size is unsure" if confidence < SIZED_FROM else ""
    source = (
        f"close {shown:.4g} of the previous close at {math.exp(surge):.3g} of the usual traded value: "
        f"{describe_factor(factor)} at {confidence:.2f}{unsure}"
    )
    return CorporateEvent(instrument, row, row, factor, 0.0, 0.0, share_event_kind(factor), confidence, source)
