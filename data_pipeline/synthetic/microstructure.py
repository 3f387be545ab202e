"""From the efficient mid to the day's record: spread, volume, trades, opening, extremes, average, last and quotes.

- Quoted spread: proportional to volatility per trade, spread = c sigma / sqrt(trades) (Wyart et al. 2008), never below
  one tick; so it co-moves with volatility, is about a tick for the most traded and per cents for the least traded.
- Trades: N grows as the 0.78 power of traded value (larger papers trade in larger clips).
- Volume: log-normal with memory around a typical number of shares (whose value follows the root of the price), growing
  with volatility (the mixture of distributions of Clark 1973; Tauchen & Pitts 1983), with a large move and with the
  signed flow that it contains.
- Path: a Brownian bridge between opening and close on 16 bins; extremes inside a bin by the bridge's exact law of the
  maximum (the lowest and highest of a bin drawn independently); volume per bin U-shaped (Admati & Pfleiderer 1988).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data_pipeline.synthetic.companies import Listing
from data_pipeline.synthetic.streams import FloatArray, autoregression, normals, stream, uniforms
from data_pipeline.synthetic.writer import Records, blank_records

BINS = 16
TRADES_EXPONENT = 0.78
SPREAD_COEFFICIENT = 2.5
VOLUME_NOISE = 0.35
VOLUME_EXPONENT = 0.4
BALANCED_VOLUME = 0.7
SPARSE_TRADES = 40
"""Below this number of trades only points of the path are seen, not its extremes."""

IntArray = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Tape:
    """What one paper showed: the records of its traded sessions and the truth behind them, one entry per record."""

    rows: IntArray
    records: Records
    close_mid: FloatArray
    half_spread: FloatArray
    typical_volume: FloatArray


def typical_trades(traded_value: FloatArray) -> FloatArray:
    """Trades per session at a typical traded value in R$."""
    return np.asarray(40.0 * (traded_value / 1e5) ** TRADES_EXPONENT)


def simulate_tape(
    seed: int,
    paper: Listing,
    rows: IntArray,
    *,
    open_mid: FloatArray,
    close_mid: FloatArray,
    shares: FloatArray,
    volatility: FloatArray,
    intraday_volatility: FloatArray,
    total_return: FloatArray,
    flow: FloatArray,
) -> Tape:
    """The tape of one paper over its traded sessions `rows`.

    `open_mid`, `close_mid` R$ per share as quoted; `shares` current shares per first-session share; `volatility` of the
    session's news and `intraday_volatility` of the path between opening and close; `total_return` the log return since
    the previous close; `flow` in typical daily volumes.
    Each (rows,). Sessions, texts and codes of the records are left to the caller.
    """
    rng = stream(seed, "tape", paper.ticker)
    count = len(rows)
    growth = open_mid * shares / paper.price
    typical_volume = paper.traded_value / paper.price * shares / paper.presence / np.sqrt(growth)
    move = np.abs(total_return) / volatility
    volume = _volume(rng, typical_volume, volatility, move, flow)
    lots = np.maximum(np.round(volume / paper.lot_size), 1.0).astype(np.int64)
    clip = typical_trades(typical_volume * close_mid)
    pace = (lots * paper.lot_size / typical_volume) ** 0.85
    trades = np.clip(np.round(clip * pace * np.exp(0.1 * normals(rng, count))), 1, lots).astype(np.int64)

    relative = 0.5 * SPREAD_COEFFICIENT * volatility / np.sqrt(clip) * np.exp(0.2 * normals(rng, count))
    half_spread = np.minimum(relative, 0.08) * close_mid
    seen = _seen_path(rng, open_mid, close_mid, intraday_volatility, trades)

    records = blank_records(count)
    records["quotation_factor"] = paper.quotation_factor
    records["trade_count"] = trades
    records["quantity"] = lots * paper.lot_size
    cents = 100.0 * paper.quotation_factor
    _quotes(rng, records, close_mid * cents, half_spread * cents, clip)
    side = np.where(uniforms(rng, (2, count)) < 0.5 + 0.3 * np.tanh(5.0 * flow), 1.0, -1.0)
    _prices(records, seen, half_spread * cents, side, cents)
    return Tape(rows, records, close_mid, half_spread, typical_volume)


def settle_records(records: Records, average: FloatArray) -> None:
    """Fill traded value and truncated average price so that both lie between the day's extremes.

    `average` is the wanted volume-weighted price in the record's cents; prices are per `quotation_factor` shares.
    """
    quantity, factor = records["quantity"], records["quotation_factor"]
    lowest = -(-records["low_cents"] * quantity // factor)
    highest = records["high_cents"] * quantity // factor
    wanted = np.round(average * (quantity / factor)).astype(np.int64)
    records["traded_value_cents"] = np.clip(wanted, lowest, highest)
    records["average_cents"] = records["traded_value_cents"] * factor // quantity


def _volume(
    rng: np.random.Generator, typical: FloatArray, volatility: FloatArray, move: FloatArray, flow: FloatArray
) -> FloatArray:
    noise = VOLUME_NOISE * autoregression(normals(rng, len(typical)), 0.6)
    level = (volatility / np.median(volatility)) ** VOLUME_EXPONENT * (1.0 + 0.3 * np.clip(move - 3.0, 0.0, 40.0))
    return np.asarray(typical * (BALANCED_VOLUME * level * np.exp(noise - 0.5 * VOLUME_NOISE**2) + np.abs(flow)))


def _seen_path(
    rng: np.random.Generator, open_mid: FloatArray, close_mid: FloatArray, deviation: FloatArray, trades: IntArray
) -> dict[str, FloatArray]:
    """First, last, extremes and average of the mids at which the day's trades took place, R$ per share."""
    count = len(trades)
    steps = normals(rng, (count, BINS)) * (deviation / np.sqrt(BINS))[:, None]
    walk = np.cumsum(steps, axis=1)
    grid = np.arange(1, BINS + 1) / BINS
    log_open, drift = np.log(open_mid), np.log(close_mid / open_mid)
    path = np.empty((count, BINS + 1))
    path[:, 0] = log_open
    path[:, 1:] = log_open[:, None] + walk + grid * (drift - walk[:, -1])[:, None]

    left, right = path[:, :-1], path[:, 1:]
    spread = 2.0 * (deviation**2 / BINS)[:, None]
    draws = np.log(uniforms(rng, (2, count, BINS)))
    reach = np.sqrt((right - left) ** 2 - spread * draws)
    high = np.max(0.5 * (left + right + reach[0]), axis=1)
    low = np.min(0.5 * (left + right - reach[1]), axis=1)

    shape = 0.7 + 1.2 * (np.arange(BINS) / (BINS - 1) - 0.45) ** 2
    weight = shape * np.exp(0.5 * normals(rng, (count, BINS)))
    middle = np.exp(0.5 * (left + right))
    average = np.sum(weight * middle, axis=1) / np.sum(weight, axis=1)

    rank = np.argsort(np.argsort(uniforms(rng, (count, BINS + 1)), axis=1), axis=1)
    kept = rank < np.minimum(trades, BINS + 1)[:, None]
    sparse = trades < SPARSE_TRADES
    first, last = np.argmax(kept, axis=1), BINS - np.argmax(kept[:, ::-1], axis=1)
    each = np.arange(count)
    price = np.exp(path)
    sparse_average = np.sum(price * kept, axis=1) / np.sum(kept, axis=1)
    return {
        "open": np.where(sparse, price[each, first], price[:, 0]),
        "close": np.where(sparse, price[each, last], price[:, -1]),
        "high": np.where(sparse, np.max(np.where(kept, price, -np.inf), axis=1), np.exp(high)),
        "low": np.where(sparse, np.min(np.where(kept, price, np.inf), axis=1), np.exp(low)),
        "average": np.where(sparse, sparse_average, average),
    }


def _quotes(
    rng: np.random.Generator, records: Records, mid: FloatArray, half_spread: FloatArray, trades: FloatArray
) -> None:
    """Best bid and ask at the close, outwards to the tick; an empty side, more often of a paper that trades little."""
    bid = np.maximum(np.floor(mid - half_spread), 1.0).astype(np.int64)
    ask = np.maximum(np.ceil(mid + half_spread).astype(np.int64), bid + 1)
    chance = np.minimum(0.4, 0.6 / np.sqrt(trades))
    draws = uniforms(rng, (2, len(records)))
    records["bid_cents"] = np.where(draws[0] < chance, 0, bid)
    records["ask_cents"] = np.where(draws[1] < 1.3 * chance, 0, ask)


def _prices(
    records: Records, seen: dict[str, FloatArray], half_spread: FloatArray, side: FloatArray, cents: float
) -> None:
    """Traded prices in ticks: the first and last are at a quote, `side` +1 at the ask (the opening is an auction)."""
    opening = np.maximum(np.round(seen["open"] * cents), 1.0)
    last = seen["close"] * cents
    closing = np.where(side[1] > 0, np.ceil(last + half_spread), np.floor(last - half_spread))
    closing = np.maximum(closing, 1.0)
    single = records["trade_count"] == 1
    opening = np.where(single, closing, opening)
    high = np.where(single, closing, np.round(seen["high"] * cents + half_spread))
    low = np.where(single, closing, np.round(seen["low"] * cents - half_spread))
    records["open_cents"] = opening.astype(np.int64)
    records["close_cents"] = closing.astype(np.int64)
    records["high_cents"] = np.maximum(np.maximum(opening, closing), high).astype(np.int64)
    records["low_cents"] = np.maximum(np.minimum(np.minimum(opening, closing), low), 1.0).astype(np.int64)
    settle_records(records, seen["average"] * cents)
