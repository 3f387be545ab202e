"""Option, exercise, forward, odd-lot and auction records, made from the spot records of their underlyings.

Options are monthly series on a grid of strikes, priced by Black & Scholes (1973) with a volatility smile; the strike
falls with each dividend and scales with each split of the underlying, as B3 protects it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr

from data_pipeline.synthetic.actions import CorporateAction
from data_pipeline.synthetic.companies import Listing
from data_pipeline.synthetic.microstructure import IntArray, Tape, settle_records
from data_pipeline.synthetic.streams import FloatArray, stream, uniforms
from data_pipeline.synthetic.writer import Records, blank_records

SERIES_LIFE = 62
"""Sessions from the listing of a series to its expiry."""

MONEYNESS = np.array([0.80, 0.85, 0.90, 0.94, 0.97, 1.0, 1.03, 1.06, 1.10, 1.15, 1.20])
CALL_LETTERS = "ABCDEFGHIJKL"
PUT_LETTERS = "MNOPQRSTUVWX"
FORWARD_DAYS = (16, 30, 60, 90)


@dataclass(frozen=True, slots=True)
class Underlying:
    """A share with derivatives: its tape on every session, its annual volatility there and its corporate actions."""

    paper: Listing
    tape: Tape
    volatility: FloatArray
    actions: tuple[CorporateAction, ...]


def black_scholes(
    spot: FloatArray, strike: FloatArray, years: FloatArray, volatility: FloatArray, rate: FloatArray, call: np.ndarray
) -> FloatArray:
    """Premium of European options (Black & Scholes 1973); `call` True for calls, all arrays broadcast."""
    deviation = volatility * np.sqrt(years)
    d1 = (np.log(spot / strike) + rate * years) / deviation + 0.5 * deviation
    present = strike * np.exp(-rate * years)
    value = spot * ndtr(d1) - present * ndtr(d1 - deviation)
    return np.asarray(np.where(call, value, value - spot + present))


def odd_lot_records(seed: int, paper: Listing, tape: Tape, chosen: slice = slice(None)) -> Records:
    """Odd-lot records (market 020, ticker F) of the sessions on which somebody traded less than a lot.

    Only those beside the `chosen` records of the tape; a record is the same whatever else is chosen.
    Prices lie inside the day's round-lot range; the last one is usually not the round-lot close.
    """
    rng = stream(seed, "odd lot", paper.ticker)
    draws = uniforms(rng, (6, len(tape.records)))[:, chosen]
    spot = tape.records[chosen]
    chance = 1.0 - np.exp(-spot["trade_count"] / 60.0)
    keep = (draws[0] < chance) & (paper.lot_size == 100)
    spot, draws = spot[keep], draws[:, keep]
    records: Records = spot.copy()
    records["ticker"] = np.char.add(spot["ticker"], b"F")
    records["market_type"], records["bdi_code"] = 20, b"96"
    records["trade_count"] = np.ceil(spot["trade_count"] * (0.03 + 0.12 * draws[1])).astype(np.int64)
    records["quantity"] = np.ceil(records["trade_count"] * (1.0 + 40.0 * draws[2])).astype(np.int64)
    low, span = spot["low_cents"], spot["high_cents"] - spot["low_cents"]
    single = records["trade_count"] == 1
    pull = 0.15 * (draws[3] - 0.5)
    last = np.clip(spot["close_cents"] + np.round(pull * span).astype(np.int64), low, spot["high_cents"])
    first = np.where(single, last, np.clip(spot["open_cents"], low, spot["high_cents"]))
    outer = np.floor(0.9 * draws[4] * span).astype(np.int64)
    top = np.where(single, last, np.maximum(np.maximum(first, last), spot["high_cents"] - outer))
    bottom = np.where(single, last, np.minimum(np.minimum(first, last), low + outer))
    records["open_cents"], records["close_cents"] = first, last
    records["high_cents"], records["low_cents"] = top, bottom
    settle_records(records, bottom + draws[5] * (top - bottom))
    return records


def option_records(
    seed: int, underlying: Underlying, sessions: np.ndarray, expiries: IntArray, rate: float, span: range
) -> Records:
    """Records of every option series of one underlying that traded on the rows `span` of the sessions.

    Calls 070, puts 080, exercises 012 and 013. A record is the same whatever the span it is asked with.
    """
    blocks = [
        _expiry_block(seed, underlying, sessions, int(row), rate, span)
        for row in expiries
        if row >= max(5, span.start) and row - SERIES_LIFE < span.stop and row < underlying.paper.end_row
    ]
    return np.concatenate(blocks) if blocks else blank_records(0)


def _expiry_block(
    seed: int, underlying: Underlying, sessions: np.ndarray, expiry_row: int, rate: float, span: range
) -> Records:
    """All the series of one expiry."""
    paper, spot = underlying.paper, underlying.tape.records
    rng = stream(seed, "options", f"{paper.ticker} {sessions[expiry_row]}")
    first = max(expiry_row - SERIES_LIFE, 0)
    days = np.arange(first, expiry_row + 1)
    original = np.unique(np.round(spot["close_cents"][first] * MONEYNESS / 25.0) * 25.0)
    strikes = _protected_strikes(underlying.actions, days, original)

    shape = (len(days), len(original), 2)
    day = np.broadcast_to(days[:, None, None], shape)
    strike = np.broadcast_to(strikes[:, :, None], shape)
    call = np.broadcast_to(np.array([True, False]), shape)
    number = np.broadcast_to(np.arange(len(original))[None, :, None], shape)
    distance = np.abs(np.log(strike / spot["close_cents"][day]))
    urgency = np.exp(-(expiry_row - day) / 30.0)
    draws = uniforms(rng, (4, *shape))
    keep = draws[0] < (0.15 + 0.75 * urgency) * np.exp(-((distance / 0.18) ** 2))
    keep &= (day >= span.start) & (day < span.stop)
    day, strike, call, number, draws = day[keep], strike[keep], call[keep], number[keep], draws[:, keep]

    source = spot[day]
    years = np.maximum(expiry_row - day, 0.25) / 252.0
    smile = underlying.volatility[day] * (1.0 + 0.3 * np.abs(np.log(strike / source["close_cents"])))
    price = {
        name: black_scholes(source[f"{name}_cents"].astype(float), strike, years, smile, np.full(len(day), rate), call)
        for name in ("open", "high", "low", "close")
    }
    records = blank_records(len(day))
    _series_codes(records, paper, source, strike, call, number, sessions, expiry_row)
    records["session"] = sessions[day]
    lots = np.ceil(np.exp(6.0 * draws[1]) * (0.1 + urgency[:, 0, 0][day - first])).astype(np.int64)
    records["quantity"] = 100 * lots
    records["trade_count"] = np.minimum(lots, np.ceil(lots**0.6).astype(np.int64))
    _premiums(records, price, call, draws[2], draws[3])
    exercised = (day == expiry_row) & np.where(call, source["close_cents"] > strike, source["close_cents"] < strike)
    return np.concatenate([records, _exercises(records[exercised], call[exercised])])


def _protected_strikes(actions: tuple[CorporateAction, ...], days: IntArray, original: FloatArray) -> FloatArray:
    """Strikes in cents, (days, series): less each cash amount and over each share factor from the ex session on."""
    strikes = np.tile(original, (len(days), 1))
    for one in actions:
        if days[0] < one.ex_row <= days[-1]:
            strikes[one.ex_row - days[0] :] -= 100.0 * one.cash
            strikes[one.ex_row - days[0] :] /= one.share_factor
    return np.asarray(np.maximum(np.round(strikes), 1.0))


def _series_codes(
    records: Records,
    paper: Listing,
    source: Records,
    strike: FloatArray,
    call: np.ndarray,
    number: IntArray,
    sessions: np.ndarray,
    expiry_row: int,
) -> None:
    month = int(sessions[expiry_row].astype("datetime64[M]").astype(int) % 12)
    series = int(number.max()) + 1 if len(number) else 0
    base = 100 + 10 * (month % 3)
    digits = "4" if paper.paper.startswith("PN") else "3"
    codes = np.array(
        [
            [f"{paper.root}{letters[month]}{base + 2 * index}{digits}".encode() for index in range(series)]
            for letters in (PUT_LETTERS, CALL_LETTERS)
        ],
        dtype="S12",
    )
    records["ticker"] = codes[call.astype(int), number] if series else b""
    records["market_type"] = np.where(call, 70, 80)
    records["bdi_code"] = np.where(call, b"78", b"82")
    records["short_name"] = np.where(call, paper.root.encode(), f"{paper.root}E".encode())
    records["forward_days"] = b"000"
    for name in ("specification", "isin", "distribution"):
        records[name] = source[name]
    records["strike_cents"] = strike.astype(np.int64)
    records["expiry"] = sessions[expiry_row]


def _premiums(
    records: Records, price: dict[str, FloatArray], call: np.ndarray, draw: FloatArray, quoted: FloatArray
) -> None:
    """Premiums in ticks; a put is dearest where its underlying is lowest."""
    tick = {name: np.maximum(np.round(value), 1.0).astype(np.int64) for name, value in price.items()}
    single = records["trade_count"] == 1
    closing = tick["close"]
    opening = np.where(single, closing, tick["open"])
    top = np.where(single, closing, np.maximum(np.where(call, tick["high"], tick["low"]), closing))
    bottom = np.where(single, closing, np.minimum(np.where(call, tick["low"], tick["high"]), closing))
    records["open_cents"], records["close_cents"] = opening, closing
    records["high_cents"] = np.maximum(top, opening)
    records["low_cents"] = np.minimum(bottom, opening)
    half = np.ceil(0.01 * closing + 1.0).astype(np.int64)
    records["bid_cents"] = np.where(quoted < 0.25, 0, np.maximum(closing - half, 0))
    records["ask_cents"] = np.where(quoted > 0.65, 0, closing + half)
    middle = records["low_cents"] + draw * (records["high_cents"] - records["low_cents"])
    settle_records(records, np.asarray(middle, np.float64))


def _exercises(expired: Records, call: np.ndarray) -> Records:
    """Exercise records of the expiry session: at the strike, the series code with an E."""
    records = expired.copy()
    records["ticker"] = np.char.add(expired["ticker"], b"E")
    records["market_type"] = np.where(call, 12, 13)
    records["bdi_code"] = np.where(call, b"38", b"42")
    for name in ("open_cents", "high_cents", "low_cents", "close_cents"):
        records[name] = expired["strike_cents"]
    records["bid_cents"] = records["ask_cents"] = 0
    settle_records(records, expired["strike_cents"].astype(float))
    return records


def forward_records(seed: int, underlying: Underlying, rate: float, span: range) -> Records:
    """Forwards (market 030, ticker T): one record per term on about a session in three, at the carried spot price."""
    paper, spot = underlying.paper, underlying.tape.records
    draws = uniforms(stream(seed, "forwards", paper.ticker), (2, len(spot), len(FORWARD_DAYS)))
    day, term = np.nonzero(draws[0, span.start : span.stop] < 0.33)
    day += span.start
    source = spot[day]
    carry = (1.0 + rate) ** (np.array(FORWARD_DAYS)[term] / 365.0)
    records = blank_records(len(day))
    for name in ("session", "short_name", "specification", "isin", "distribution"):
        records[name] = source[name]
    records["ticker"] = np.char.add(source["ticker"], b"T")
    records["market_type"], records["bdi_code"] = 30, b"62"
    records["forward_days"] = np.array([f"{days:03d}".encode() for days in FORWARD_DAYS])[term]
    records["quantity"] = 100 * np.ceil(np.exp(5.0 * draws[1][day, term])).astype(np.int64)
    records["trade_count"] = np.minimum(records["quantity"] // 100, 3)
    last = np.round(source["close_cents"] * carry).astype(np.int64)
    first = np.where(records["trade_count"] == 1, last, np.round(source["open_cents"] * carry).astype(np.int64))
    records["open_cents"], records["close_cents"] = first, last
    records["high_cents"], records["low_cents"] = np.maximum(first, last), np.minimum(first, last)
    settle_records(records, np.asarray(0.5 * (first + last), np.float64))
    return records


def auction_records(seed: int, paper: Listing, tape: Tape, chosen: slice = slice(None)) -> Records:
    """A few auctions (market 017, ticker L) beside the `chosen` records: one large trade at the day's close."""
    draws = uniforms(stream(seed, "auctions", paper.ticker), len(tape.records))[chosen]
    source = tape.records[chosen][draws < 0.004]
    records = source.copy()
    records["ticker"] = np.char.add(source["ticker"], b"L")
    records["market_type"], records["bdi_code"], records["trade_count"] = 17, b"46", 1
    records["quantity"] = source["quantity"] // 4 // paper.lot_size * paper.lot_size + paper.lot_size
    for name in ("open_cents", "high_cents", "low_cents"):
        records[name] = source["close_cents"]
    records["bid_cents"] = records["ask_cents"] = 0
    settle_records(records, source["close_cents"].astype(float))
    return records
