"""How much may stand ahead of an own order where the book does not say: two guesses from past events."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from data_pipeline.book.events import EXCH, KIND_MASK, TRADE
from data_pipeline.book.grid import tick_grid
from data_pipeline.book.replay import book_source, feed, finish, start_book
from strategies.intraday.rule import Instrument

SMALL_PRINTS: Final = 1.0
LARGE_PRINTS: Final = 10.0
LARGE_TOUCHES: Final = 1.0


@dataclass(frozen=True, slots=True)
class QueueGuess:
    """Lots assumed ahead of an own order on arrival, a smaller and a larger guess.

    Attributes
    ----------
    low, high : float
    words : str
        What they are multiples of.
    """

    low: float
    high: float
    words: str

    def __post_init__(self) -> None:
        """Check the order."""
        if not 0 <= self.low <= self.high < np.inf:
            raise ValueError(f"low and high must be 0 or more and in this order; were {self.low}, {self.high}")


def queue_guess(
    events: NDArray[Any] | Iterable[NDArray[Any]], instrument: Instrument, *, until: int | None = None
) -> QueueGuess:
    """Guesses from events of the past: those before the session that they are used in.

    The smaller one is `SMALL_PRINTS` times the median print; the larger one is `LARGE_TOUCHES` times the mean quantity
    at the best quotes, averaged over time and both sides, where the events build a book, and `LARGE_PRINTS` times the
    median print where there are trades alone. Where the touch is less than the print the two change places.

    Parameters
    ----------
    events : (n,) of EVENT_DTYPE, or chunks of it
    instrument : Instrument
    until : int, optional
        Last exchange time that counts, ns.

    Raises
    ------
    ValueError
        When there is no trade by then.
    """
    prints: list[NDArray[np.float64]] = []
    touch = _Touch(instrument)
    for chunk in (events,) if isinstance(events, np.ndarray) else events:
        known = chunk[((chunk["ev"] & np.uint64(EXCH)) != 0)]
        known = known if until is None else known[known["exch_ts"] <= until]
        prints.append(known["qty"][(known["ev"] & np.uint64(KIND_MASK)) == TRADE])
        touch.feed(known)
    sizes = np.concatenate(prints) / instrument.lot_size if prints else np.empty(0)
    if not sizes.size:
        raise ValueError("events must hold at least one trade by `until`: give more of the past")
    median, mean = float(np.median(sizes)), touch.mean()
    if mean is None:
        words = f"{SMALL_PRINTS:g} and {LARGE_PRINTS:g} times the median print of {median:g} lots"
        return QueueGuess(SMALL_PRINTS * median, LARGE_PRINTS * median, words)
    low, high = sorted((SMALL_PRINTS * median, LARGE_TOUCHES * mean))
    words = f"of {SMALL_PRINTS:g} median print ({median:g} lots) and {LARGE_TOUCHES:g} mean touch ({mean:.4g} lots)"
    return QueueGuess(low, high, words)


class _Touch:
    """Time average of the quantity at the best quotes, while both are there."""

    def __init__(self, instrument: Instrument) -> None:
        self.instrument = instrument
        self.book: Any = None
        self.last: tuple[int, float] | None = None
        self.integral, self.time, self.now = 0.0, 0, 0

    def feed(self, events: NDArray[Any]) -> None:
        kinds = events["ev"] & np.uint64(KIND_MASK)
        self.now = int(events["exch_ts"][-1]) if events.size else self.now
        if self.book is None and events.size and not (kinds == TRADE).all():
            self.book = start_book(tick_grid(self.instrument.tick_size), source=book_source(events))
        if self.book is not None:
            self._add(feed(self.book, events))

    def mean(self) -> float | None:
        """Lots; None without a book."""
        if self.book is None:
            return None
        self._add(finish(self.book))
        if self.last is not None and np.isfinite(self.last[1]):
            self.integral += self.last[1] * (self.now - self.last[0])
            self.time += self.now - self.last[0]
        return self.integral / self.time / self.instrument.lot_size if self.time else None

    def _add(self, rows: Any) -> None:
        if not rows.times.size:
            return
        size = np.where((rows.quantities[:, :, 0] > 0).all(axis=1), rows.quantities[:, :, 0].mean(axis=1), np.nan)
        times = rows.times
        if self.last is not None:
            times, size = np.r_[self.last[0], times], np.r_[self.last[1], size]
        stay = np.diff(times).astype(np.float64)
        there = np.isfinite(size[:-1])
        self.integral += float(stay[there] @ size[:-1][there])
        self.time += int(stay[there].sum())
        self.last = int(times[-1]), float(size[-1])
