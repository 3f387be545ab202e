"""Ticks, lots and contract sizes of B3's instruments, and the Ibovespa's circuit breaker.

Sources: B3's trading manuals (shares and options quote in cents, round lots of 100 shares, odd lots of 1 to 99 with the
ticker's F; IND and WIN in steps of 5 points, DOL and WDO of half a point) and its rule of interruption: a fall of the
Ibovespa of 10 % against the previous close stops trading for 30 minutes, of 15 % after the reopening for an hour, of
20 % for as long as the exchange decides; no stop in the last 30 minutes, and after a stop in the last hour the session
may be extended by at most 30 minutes (`latest_close`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

MONTH_LETTERS: Final = "FGHJKMNQUVXZ"


@dataclass(frozen=True, slots=True)
class TradingUnit:
    """How an instrument is quoted and counted.

    Attributes
    ----------
    kind : str
        "share", "odd_lot", "fund_or_unit", "receipt" (BDR), "option", "future".
    tick : float
        Smallest price step.
    lot : int
        Shares or contracts that an order must be a multiple of.
    multiplier : float
        R$ per point and contract; 1 for what is quoted in R$ per share.
    """

    kind: str
    tick: float
    lot: int
    multiplier: float


_FUTURES: Final = MappingProxyType(
    {
        "IND": TradingUnit("future", 5.0, 5, 1.0),
        "WIN": TradingUnit("future", 5.0, 1, 0.2),
        "DOL": TradingUnit("future", 0.5, 5, 50.0),
        "WDO": TradingUnit("future", 0.5, 1, 10.0),
    }
)
_FUTURE: Final = re.compile(rf"^(IND|WIN|DOL|WDO)[{MONTH_LETTERS}]\d{{2}}$")
_OPTION: Final = re.compile(r"^[A-Z][A-Z0-9]{3}[A-X]\d{1,4}(W[1-5])?E?$")
_SPOT: Final = re.compile(r"^([A-Z][A-Z0-9]{3})(\d{1,2})(F?)B?$")


def trading_unit(symbol: str) -> TradingUnit:
    """Tick, lot and multiplier of an instrument, by its code.

    A code that ends in 11 may be a unit (lots of 100) or a fund (lots of 1): `lot` is then 1, the smaller, and the
    kind says so.

    Raises
    ------
    ValueError
        When the code follows none of the grammars.

    Examples
    --------
    >>> trading_unit("WINQ24").tick, trading_unit("PETR4").lot, trading_unit("PETR4F").lot
    (5.0, 100, 1)
    """
    if _FUTURE.match(symbol):
        return _FUTURES[symbol[:3]]
    if spot := _SPOT.match(symbol):
        number = int(spot[2])
        if spot[3]:
            return TradingUnit("odd_lot", 0.01, 1, 1.0)
        if number == 11:
            return TradingUnit("fund_or_unit", 0.01, 1, 1.0)
        if 31 <= number <= 39:
            return TradingUnit("receipt", 0.01, 1, 1.0)
        if 1 <= number <= 13:
            return TradingUnit("share", 0.01, 100, 1.0)
    elif _OPTION.match(symbol):
        return TradingUnit("option", 0.01, 100, 1.0)
    raise ValueError(
        f"symbol must be the code of a share, fund, receipt, option, or an IND, WIN, DOL or WDO future; was {symbol!r}"
    )


def segment_of(symbol: str) -> Literal["cash", "options_etf", "index_futures", "dollar_futures"] | None:
    """The segment of `data_pipeline.sessions.hours` that an instrument of B3 trades in; None where it is not known.

    A code that ends in 11 (units, funds, exchange-traded funds) is taken as "cash", whose hours lie inside the others'.

    Examples
    --------
    >>> segment_of("PETR4"), segment_of("WINQ24"), segment_of("DI1F28")
    ('cash', 'index_futures', None)
    """
    try:
        kind = trading_unit(symbol).kind
    except ValueError:
        return None
    if kind == "future":
        return "index_futures" if symbol[:3] in ("IND", "WIN") else "dollar_futures"
    return "options_etf" if kind == "option" else "cash"


def off_tick(prices: NDArray[np.float64], tick: float) -> NDArray[np.bool_]:
    """(n,) whether each price is no multiple of the tick, beyond what float64 itself rounds."""
    if not (np.isfinite(tick) and tick > 0):
        raise ValueError(f"tick must be positive and finite; was {tick}")
    steps = np.asarray(prices, dtype=np.float64) / tick
    apart: NDArray[np.bool_] = ~(np.abs(steps - np.rint(steps)) <= 1e-6)
    return apart


@dataclass(frozen=True, slots=True)
class Halt:
    """A stop of the whole market: its stage (1, 2 or 3), from when, and until when (NaT: as the exchange decides)."""

    stage: int
    start: np.datetime64
    end: np.datetime64


STAGES: Final = ((0.10, 30), (0.15, 60), (0.20, None))
"""Fall against the previous close, and minutes of the stop."""

KNOWN_HALTS: Final = MappingProxyType(
    {"2017-05-18": 1, "2020-03-09": 1, "2020-03-11": 1, "2020-03-12": 2, "2020-03-16": 1, "2020-03-18": 1}
)
"""Sessions since 2017 with an interruption, and the highest stage that was reached (press of the time)."""


def circuit_breaker(
    times: NDArray[np.datetime64], levels: NDArray[np.float64], previous_close: float, close: np.datetime64
) -> list[Halt]:
    """The stops that the rule calls for on a path of the index, in order; each needs only the path up to its start.

    Parameters
    ----------
    times : (n,) datetime64
        Not decreasing.
    levels : (n,) float
        Of the index at those times; levels during a stop are ignored.
    previous_close : float
    close : datetime64
        Scheduled end of the regular session.
    """
    if len(times) != len(levels):
        raise ValueError(f"levels must be as many as times; were {len(levels)} and {len(times)}")
    if not (np.isfinite(previous_close) and previous_close > 0):
        raise ValueError(f"previous_close must be positive and finite; was {previous_close}")
    moments = np.asarray(times).astype("datetime64[ns]")
    falls = 1.0 - np.asarray(levels, dtype=np.float64) / previous_close
    latest_start = close.astype("datetime64[ns]") - np.timedelta64(30, "m")
    halts: list[Halt] = []
    free_from: np.datetime64 = np.datetime64(np.iinfo(np.int64).min + 1, "ns")
    for stage, (fall, minutes) in enumerate(STAGES, start=1):
        hit = np.flatnonzero((falls >= fall - 1e-12) & (moments >= free_from) & (moments < latest_start))
        if hit.size == 0:
            break
        start = moments[hit[0]]
        end = np.datetime64("NaT", "ns") if minutes is None else start + np.timedelta64(minutes, "m")
        halts.append(Halt(stage, start, end))
        if minutes is None:
            break
        free_from = end
    return halts


def latest_close(halts: Sequence[Halt], close: np.datetime64) -> np.datetime64:
    """The latest end of a session with these stops that the rule allows; NaT where the exchange decides.

    A stop that begins in the last hour lets the session go on until half an hour of trading has followed it, and by no
    more than 30 minutes. The exchange may extend it by less.

    Examples
    --------
    >>> close = np.datetime64("2020-03-12T20:00", "m")
    >>> stop = Halt(1, close - np.timedelta64(45, "m"), close - np.timedelta64(15, "m"))
    >>> str(latest_close([stop], close))[:16]
    '2020-03-12T20:15'
    """
    end: np.datetime64 = close.astype("datetime64[ns]")
    for halt in halts:
        if np.isnat(halt.end):
            return halt.end
        if halt.start >= end - np.timedelta64(60, "m"):
            after: np.datetime64 = max(end, min(halt.end, end) + np.timedelta64(30, "m"))
            return after
    return end
