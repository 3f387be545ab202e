"""One event array in the order of both clocks: what the exchange did and what the receiver saw, replayed from one file.

An event has the exchange's time and the receiver's. Where the two orders differ an event stands twice: at its place in
the exchange's order with the flag EXCH, and at its place in the receiver's with LOCAL; where they agree it stands once
with both. So the rows with EXCH are in the order of `exch_ts` and those with LOCAL in that of `local_ts` (the layout
and the rule are hftbacktest's, "Data", https://hftbacktest.readthedocs.io; the code is ours).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from data_pipeline.book.events import EVENT_DTYPE, EXCH, LOCAL
from data_pipeline.errors import DataError

Events = NDArray[np.void]
Ints = NDArray[np.int64]

HOLD_NS: Final = 60 * 10**9
"""How much later than the latest event before it an event may come and still find its place in a stream."""


def normalise_events(events: Events) -> Events:
    """The events in both orders, flagged EXCH and LOCAL; up to twice as many rows.

    Parameters
    ----------
    events : (n,) EVENT_DTYPE
        In the order of the feed, without the flags. Equal times keep that order.

    Raises
    ------
    ValueError
        For another layout, or events that are flagged already.
    """
    check_layout(events)
    if (events["ev"] & np.uint64(EXCH | LOCAL)).any():
        raise ValueError("events must be without the flags EXCH and LOCAL; was an array in both orders already")
    stream = EventStream(hold_ns=None)
    stream.push(events)
    return stream.finish()


def shift_local_clock(events: Events, base_latency_ns: int = 0) -> tuple[Events, int]:
    """The events with receiver's times later by what makes the smallest latency `base_latency_ns`, and that shift.

    Nothing is moved (shift 0) when no latency is negative. The latencies are then no measurements any more: only
    their differences are.

    Raises
    ------
    ValueError
        For another layout or a negative base latency.
    """
    check_layout(events)
    if base_latency_ns < 0:
        raise ValueError(f"base_latency_ns must be 0 or more; was {base_latency_ns}")
    smallest = int((events["local_ts"] - events["exch_ts"]).min()) if events.size else 0
    if smallest >= 0:
        return events.copy(), 0
    shift = base_latency_ns - smallest
    shifted = events.copy()
    shifted["local_ts"] += shift
    return shifted, shift


def check_event_order(events: Events, place: str) -> None:
    """Raise DataError where the rows with EXCH are not in the order of `exch_ts`, or those with LOCAL of `local_ts`."""
    check_layout(events)
    for flag, clock, name in ((EXCH, "exch_ts", "exchange"), (LOCAL, "local_ts", "receiver")):
        rows = np.flatnonzero(events["ev"] & np.uint64(flag))
        back = np.flatnonzero(np.diff(events[clock][rows]) < 0)
        if back.size:
            row, before = int(rows[back[0] + 1]), int(rows[back[0]])
            raise DataError(
                f"{place}, event {row} is at {events[clock][row]} ns of the {name}'s clock, before event {before} at "
                f"{events[clock][before]} ns: bring the array into order (normalise_events) and write it again"
            )


def check_layout(events: Events) -> None:
    """Raise ValueError for an array that is not one-dimensional of EVENT_DTYPE."""
    if events.ndim != 1 or events.dtype != EVENT_DTYPE:
        raise ValueError(f"events must be one-dimensional of the 64-byte layout; was {events.ndim}-d {events.dtype}")


def _nothing() -> tuple[Events, Ints]:
    return np.empty(0, dtype=EVENT_DTYPE), np.empty(0, dtype=np.int64)


@dataclass(slots=True)
class EventStream:
    """The same in bounded memory: events pushed in the feed's order come out as soon as their place is certain.

    Attributes
    ----------
    hold_ns : int or None
        An event may be this much earlier, on either clock, than the latest before it; None holds all until `finish`.
    raised : int
        Times of events that came later than that, raised to the earliest time still open.
    """

    hold_ns: int | None = HOLD_NS
    raised: int = 0
    _exchange: tuple[Events, Ints] = field(default_factory=_nothing)
    _local: tuple[Events, Ints] = field(default_factory=_nothing)
    _open: list[int | None] = field(default_factory=lambda: [None, None])
    _pushed: int = 0

    def push(self, events: Events) -> Events:
        """Events that are certain now, in both orders."""
        if events.size and self.hold_ns is not None:
            events = self._raise_late(events, self.hold_ns)
        numbers = np.arange(self._pushed, self._pushed + events.size)
        self._pushed += events.size
        self._exchange = _sorted(self._exchange, events, numbers, "exch_ts")
        self._local = _sorted(self._local, events, numbers, "local_ts")
        if self.hold_ns is None:
            return np.empty(0, dtype=EVENT_DTYPE)
        return self._drawn(
            *(
                0 if until is None else int(np.searchsorted(rows[clock], until, side="right"))
                for until, (rows, _), clock in zip(
                    self._open, (self._exchange, self._local), ("exch_ts", "local_ts"), strict=True
                )
            )
        )

    def finish(self) -> Events:
        """The rest."""
        return self._drawn(self._exchange[0].size, self._local[0].size, last=True)

    def _raise_late(self, events: Events, hold_ns: int) -> Events:
        """The events, times before the earliest open one raised to it; then the open time moves on."""
        raised = events
        for k, clock in enumerate(("exch_ts", "local_ts")):
            until = self._open[k]
            if until is not None and (late := events[clock] < until).any():
                raised = raised.copy() if raised is events else raised
                raised[clock][late] = until
                self.raised += int(late.sum())
            latest = int(events[clock].max()) - hold_ns
            self._open[k] = latest if until is None else max(until, latest)
        return raised

    def _drawn(self, exchange_ready: int, local_ready: int, *, last: bool = False) -> Events:
        (exchange, exchange_number), (local, local_number) = self._exchange, self._local
        source = np.empty(exchange_ready + local_ready, dtype=np.int64)
        flag = np.empty(source.size, dtype=np.uint64)
        times = [
            np.ascontiguousarray(rows[clock][:ready])
            for rows, ready in ((exchange, exchange_ready), (local, local_ready))
            for clock in ("exch_ts", "local_ts")
        ]
        numbers, flags = (exchange_number, local_number), np.array([EXCH, LOCAL], dtype=np.uint64)
        count, i, j = merge_orders(
            times[0], times[1], numbers[0], times[2], times[3], numbers[1], last, flags, source, flag
        )
        source, flag = source[:count], flag[:count]
        from_exchange = source >= 0
        out = np.empty(count, dtype=EVENT_DTYPE)
        out[from_exchange] = exchange[source[from_exchange]]
        out[~from_exchange] = local[-1 - source[~from_exchange]]
        out["ev"] |= flag
        self._exchange = exchange[i:], exchange_number[i:]
        self._local = local[j:], local_number[j:]
        return out


def _sorted(held: tuple[Events, Ints], events: Events, numbers: Ints, clock: str) -> tuple[Events, Ints]:
    """Held and new events in the order of a clock; equal times in the order of the feed."""
    rows, row_numbers = np.concatenate([held[0], events]), np.concatenate([held[1], numbers])
    times = rows[clock]
    if (times[1:] >= times[:-1]).all():
        return rows, row_numbers
    order = np.argsort(times, kind="stable")
    return rows[order], row_numbers[order]


@njit(cache=True)
def merge_orders(
    exchange_exch: Any,
    exchange_local: Any,
    exchange_number: Any,
    local_exch: Any,
    local_local: Any,
    local_number: Any,
    last: bool,
    flags: Any,
    source: Any,
    flag: Any,
) -> tuple[int, int, int]:
    """Rows written, and how many of the exchange's and of the receiver's order they used.

    Times of both orders (n,) and (m,) int64 with each event's number; of the two first events the earlier by
    (exchange time, receiver's time) is written, once for both when they are one event. source (n + m,) int64: k, a
    place in the exchange's order, or -1 - k in the receiver's; flag (n + m,) uint64. Stops when one order has no
    event left, unless `last`.
    """
    i, j, count = 0, 0, 0
    while i < exchange_exch.size or j < local_exch.size:
        if (i == exchange_exch.size or j == local_exch.size) and not last:
            break
        if j == local_exch.size:
            take_exchange, both = True, False
        elif i == exchange_exch.size:
            take_exchange, both = False, False
        else:
            both = exchange_number[i] == local_number[j]
            take_exchange = exchange_exch[i] < local_exch[j] or (
                exchange_exch[i] == local_exch[j] and exchange_local[i] <= local_local[j]
            )
        if both:
            source[count], flag[count] = i, flags[0] | flags[1]
            i += 1
            j += 1
        elif take_exchange:
            source[count], flag[count] = i, flags[0]
            i += 1
        else:
            source[count], flag[count] = -1 - j, flags[1]
            j += 1
        count += 1
    return count, i, j
