"""Market events of Binance's messages, and what becomes of the book where updates of it are lost.

From a break of the sequence on the book is unknown, unless the latest snapshot holds what was lost, as after a new
connection. It is emptied there (DEPTH_CLEAR of both whole sides), and the differences wait. The next snapshot that
holds the lost updates starts it again: differences that it holds are dropped, later ones are applied right after it, at
the receiver's time of the snapshot, as a receiver does (Binance, "How to manage a local order book correctly").
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from data_pipeline.book.events import BUY, DEPTH, DEPTH_CLEAR, EVENT_DTYPE, SELL, SNAPSHOT, TRADE
from data_pipeline.feeds.crypto import binance_scan as scan
from data_pipeline.feeds.crypto.binance_messages import Messages
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
    picture : int
        Last update id of the latest snapshot; -1 before the first.
    reached : int
        The update id that a snapshot must have reached to be continued by what waits.
    waiting : deque of (int, events)
        Last update id and events of each difference since the break.
    """

    open: bool = False
    picture: int = -1
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
            if snapshots.size:
                self.picture = int(messages.whole[snapshots[-1], scan.LAST])
            return market_events(messages, plain)
        pieces: list[Events] = []
        marks = np.sort(np.concatenate([broken, snapshots]))
        for segment in np.split(plain, np.searchsorted(plain, marks)):
            if segment.size and segment[0] in broken:
                pieces += self._begin(messages, int(segment[0]), tally)
            elif segment.size and segment[0] in snapshots:
                pieces += self._picture(messages, int(segment[0]), tally)
                segment = segment[1:]
            if self.open:
                late = np.isin(segment, differences)
                self._wait(messages, segment[late], tally)
                segment = segment[~late]
            pieces.append(market_events(messages, segment))
        return np.concatenate(pieces)

    def finish(self, tally: Tally) -> None:
        """Drop what still waits."""
        tally.add(_DROPPED, len(self.waiting))
        self.waiting.clear()

    def _begin(self, messages: Messages, row: int, tally: Tally) -> list[Events]:
        """The book emptied at a break, unless the latest snapshot holds what was lost: then nothing."""
        first, previous = messages.whole[row, scan.FIRST], messages.whole[row, scan.PREVIOUS]
        reached = int(previous if previous >= 0 else first - 1)
        if not self.open and reached <= self.picture:
            return []
        self.finish(tally)
        self.open, self.reached = True, reached
        return [_emptied(messages, row)]

    def _wait(self, messages: Messages, rows: Ints, tally: Tally) -> None:
        dropped = max(len(self.waiting) + rows.size - _WAITING, 0)
        for _ in range(min(dropped, len(self.waiting))):
            self.reached = max(self.reached, self.waiting.popleft()[0])
        if rows.size > _WAITING:
            rows, early = rows[-_WAITING:], rows[:-_WAITING]
            self.reached = max(self.reached, int(messages.whole[early, scan.LAST].max()))
        tally.add(_DROPPED, dropped)
        for row in rows.tolist():
            self.waiting.append((int(messages.whole[row, scan.LAST]), market_events(messages, np.array([row]))))

    def _picture(self, messages: Messages, row: int, tally: Tally) -> list[Events]:
        """Events of a snapshot and of what waits and is not in it; none where it is older than what was lost."""
        last = int(messages.whole[row, scan.LAST])
        if self.open and last < self.reached:
            tally.add("snapshots_older_than_a_break_dropped", 1)
            return []
        self.picture = last
        later = [events.copy() for update, events in self.waiting if update > last]
        for events in later:
            events["local_ts"] = messages.local_ns[row]
        if self.open:
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
