"""Market events of Binance's messages, and what becomes of the book where updates of it are lost.

From a break of the sequence on the book is unknown: it is emptied there (DEPTH_CLEAR of both whole sides), and the
differences wait. The next snapshot that holds the lost updates starts it again: differences that the snapshot holds
are dropped, later ones are applied right after it, at the receiver's time of the snapshot, as a receiver does (Binance,
"How to manage a local order book correctly").
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from data_pipeline.book.events import BUY, DEPTH, DEPTH_CLEAR, EVENT_DTYPE, SELL, SNAPSHOT, TRADE
from data_pipeline.feeds import binance_scan as scan
from data_pipeline.feeds.binance_messages import Messages
from data_pipeline.feeds.reading import Tally

_CODES: Final = np.array([DEPTH, TRADE, DEPTH_CLEAR, SNAPSHOT, BUY, SELL], dtype=np.uint64)
_EVENT_FIELDS: Final = ("ev", "exch_ts", "local_ts", "px", "qty")
_WAITING: Final = 1000
"""Differences that wait for a snapshot; a snapshot is seldom older than ten of them."""
_DROPPED: Final = "depth_messages_without_a_book_dropped"

Events = NDArray[np.void]
Ints = NDArray[np.int64]


def market_events(messages: Messages, rows: Ints) -> Events:
    """Market events of the messages, without flags of an order."""
    levels = messages.whole[rows][:, [scan.BID_LEVELS, scan.ASK_LEVELS]]
    events = np.zeros(int(np.maximum(levels, 0).sum()) + 2 * rows.size, dtype=EVENT_DTYPE)
    count = scan.lay_out_events(
        rows,
        messages.whole,
        messages.real,
        messages.price,
        messages.quantity,
        messages.exchange_ns,
        messages.local_ns,
        _CODES,
        *(events[name] for name in _EVENT_FIELDS),
    )
    return events[:count]


@dataclass(slots=True, eq=False)
class BookGap:
    """Whether a symbol's book is unknown, and what waits for the snapshot that makes it known.

    Attributes
    ----------
    open : bool
    reached : int
        The update id that a snapshot must have reached to be continued by what waits.
    waiting : deque of (int, events)
        Last update id and events of each difference since the break.
    """

    open: bool = False
    reached: int = -1
    waiting: deque[tuple[int, Events]] = field(default_factory=deque)

    def events(
        self, messages: Messages, others: Ints, differences: Ints, broken: Ints, snapshots: Ints, tally: Tally
    ) -> Events:
        """Events of the messages, differences from a break to the next snapshot held back.

        `others` (trades), `differences`, `broken` (differences that do not follow the one before) and `snapshots` are
        places in `messages`.
        """
        plain = np.sort(np.concatenate([others, differences, snapshots]))
        if not (self.open or broken.size):
            return market_events(messages, plain)
        different, breaking, picture = (set(rows.tolist()) for rows in (differences, broken, snapshots))
        pieces: list[Events] = []
        for row in plain.tolist():
            one = np.array([row])
            if row in breaking:
                self._begin(messages, row, tally)
                pieces.append(_emptied(messages, row))
            if row in different and self.open:
                self._wait(int(messages.whole[row, scan.LAST]), market_events(messages, one), tally)
            elif row in picture and self.open:
                pieces += self._end(messages, row, tally)
            else:
                pieces.append(market_events(messages, one))
        return np.concatenate(pieces) if pieces else np.empty(0, dtype=EVENT_DTYPE)

    def finish(self, tally: Tally) -> None:
        """Drop what still waits."""
        tally.add(_DROPPED, len(self.waiting))
        self.waiting.clear()

    def _begin(self, messages: Messages, row: int, tally: Tally) -> None:
        self.finish(tally)
        self.open = True
        first, previous = messages.whole[row, scan.FIRST], messages.whole[row, scan.PREVIOUS]
        self.reached = int(previous if previous >= 0 else first - 1)

    def _wait(self, last: int, events: Events, tally: Tally) -> None:
        self.waiting.append((last, events))
        if len(self.waiting) > _WAITING:
            self.reached = max(self.reached, self.waiting.popleft()[0])
            tally.add(_DROPPED, 1)

    def _end(self, messages: Messages, row: int, tally: Tally) -> list[Events]:
        """Events of a snapshot and of what it does not hold; none where it is older than what was lost."""
        last = int(messages.whole[row, scan.LAST])
        if last < self.reached:
            tally.add("snapshots_older_than_a_break_dropped", 1)
            return []
        later = [events.copy() for update, events in self.waiting if update > last]
        for events in later:
            events["local_ts"] = messages.local_ns[row]
        tally.add(_DROPPED, len(self.waiting) - len(later))
        tally.add("depth_messages_seen_with_the_snapshot_after_a_break", len(later))
        self.waiting.clear()
        self.open = False
        return [market_events(messages, np.array([row])), *later]


def _emptied(messages: Messages, row: int) -> Events:
    """Both sides of the book emptied at the times of a message."""
    events = np.zeros(2, dtype=EVENT_DTYPE)
    events["ev"] = np.array([DEPTH_CLEAR | BUY, DEPTH_CLEAR | SELL], dtype=np.uint64)
    events["exch_ts"], events["local_ts"], events["px"] = messages.exchange_ns[row], messages.local_ns[row], np.nan
    return events
