"""Several sessions of the simulated order book as raw files: what a venue's archive of one symbol looks like."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np

from data_pipeline.sessions.calendar import b3_sessions
from data_pipeline.synthetic.b3_trade_files import make_tape, write_trades
from data_pipeline.synthetic.order_book import BookConfig, simulate_book
from data_pipeline.synthetic.order_book_files import write_capture, write_lobster

SYMBOLS: Final = {"binance": ("BINANCE_USDM", "SYNUSDT"), "lobster": ("NASDAQ", "SYN"), "b3_trades": ("B3", "SYNT3")}
"""Venue and symbol that the files of each feed are ingested as."""
LATENCY_MS: Final = 2.0
"""From the exchange to the receiver of a capture; the files of LOBSTER have one clock."""


def write_sessions(
    folder: Path, config: BookConfig, *, first: str, count: int, feed: str = "binance", levels: int = 5
) -> tuple[Path, ...]:
    """Raw files of `count` sessions on weekdays from `first` on, each with its own part of the random stream.

    Those of B3 are on its own sessions, and have trades alone.

    Sessions are independent and start at the same price; every one has the truth of `config`. One more session
    leaves the files of the others as they are.

    Raises
    ------
    ValueError
        When `first` is no weekday, or there is no session to write.
    """
    if feed not in SYMBOLS:
        raise ValueError(f"feed must be one of {', '.join(SYMBOLS)}; was {feed!r}")
    if count < 1:
        raise ValueError(f"count must be at least 1 session; was {count}")
    start = np.datetime64(first, "D")
    if not np.is_busday(start):
        raise ValueError(f"first must be a weekday; was {first}, a weekend")
    folder.mkdir(parents=True, exist_ok=True)
    files: list[Path] = []
    for day in _days(start, count, feed):
        events = simulate_book(replace(config, symbol=f"{config.symbol} {day}".strip()))
        if feed == "b3_trades":
            symbol = SYMBOLS[feed][1]
            path = folder / f"{day[8:]}-{day[5:7]}-{day[:4]}_NEGOCIOSAVISTA.zip"
            files.append(write_trades(path, make_tape({symbol: events}, seed=config.seed, day=day), seed=config.seed))
        elif feed == "lobster":
            files += write_lobster(folder, events, ticker=SYMBOLS[feed][1], levels=levels, day=day)
        else:
            symbol = SYMBOLS[feed][1]
            path = folder / f"{symbol.lower()}_{day.replace('-', '')}.gz"
            files.append(write_capture(path, events, symbol=symbol, latency_ms=LATENCY_MS, day=day))
    return tuple(files)


def _days(start: np.datetime64, count: int, feed: str) -> list[str]:
    days = np.busday_offset(start, np.arange(2 * count + 10))
    if feed == "b3_trades":
        days = days[np.isin(days, b3_sessions(days[0], days[-1]))]
    found: list[str] = days[:count].astype(str).tolist()
    return found
