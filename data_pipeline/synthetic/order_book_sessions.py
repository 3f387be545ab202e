"""Several sessions of the simulated order book as raw files: what a venue's archive of one symbol looks like."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np

from data_pipeline.synthetic.order_book import BookConfig, simulate_book
from data_pipeline.synthetic.order_book_files import write_capture, write_lobster

SYMBOLS: Final = {"binance": ("BINANCE_USDM", "SYNUSDT"), "lobster": ("NASDAQ", "SYN")}
"""Venue and symbol that the files of each feed are ingested as."""
LATENCY_MS: Final = 2.0
"""From the exchange to the receiver of a capture; the files of LOBSTER have one clock."""


def write_sessions(
    folder: Path, config: BookConfig, *, first: str, count: int, feed: str = "binance", levels: int = 5
) -> tuple[Path, ...]:
    """Raw files of `count` sessions on weekdays from `first` on, each with its own part of the random stream.

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
    for day in np.busday_offset(start, np.arange(count)).astype(str).tolist():
        events = simulate_book(replace(config, symbol=f"{config.symbol} {day}".strip()))
        if feed == "lobster":
            files += write_lobster(folder, events, ticker=SYMBOLS[feed][1], levels=levels, day=day)
        else:
            symbol = SYMBOLS[feed][1]
            path = folder / f"{symbol.lower()}_{day.replace('-', '')}.gz"
            files.append(write_capture(path, events, symbol=symbol, latency_ms=LATENCY_MS, day=day))
    return tuple(files)
