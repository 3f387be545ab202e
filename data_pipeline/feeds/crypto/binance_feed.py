"""Binance captures to rows of `trades`, `quotes` and `book_events`, in bounded memory, several symbols in one file.

Depth messages become DEPTH events, a REST snapshot clears each side down to its last level (DEPTH_CLEAR) and sets the
levels (SNAPSHOT), trades on the market TRADE events. Where updates are lost the book is empty until the next snapshot
(`binance_gaps`). Everything of a capture that is not as it should be is counted; receiver's times are moved only when
asked: options {"local_clock": "shift"}.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from data_pipeline.errors import DataError
from data_pipeline.feeds.crypto import binance_scan as scan
from data_pipeline.feeds.crypto.binance_gaps import BookGap
from data_pipeline.feeds.crypto.binance_messages import MessageReader, Messages
from data_pipeline.feeds.crypto.binance_state import Instrument, venue_of
from data_pipeline.feeds.crypto.options import LocalClock, days_together, read_options
from data_pipeline.feeds.crypto.rows import EventRows, quote_rows, trade_rows
from data_pipeline.feeds.reading import Batch, RawHead, Tally

_START: Final = re.compile(rb"\d{13,19} \{")
_NEAR: Final = 0.05
"""A snapshot that names no symbol belongs to one whose latest price is this near to its middle, relatively."""
_FAR: Final = 3.0
"""Where one symbol alone is known it may be as many times away: differences far from the market count too."""

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class BinanceCaptureFeed:
    """Raw captures of Binance's websocket streams, plain or gzipped."""

    name = "binance_capture"

    def recognises(self, head: RawHead) -> bool:
        """Whether the file starts with the receiver's time and a JSON object."""
        return bool(_START.match(head.start))

    def group(self, paths: Sequence[Path]) -> list[tuple[Path, ...]]:
        """Captures of one day and name together: their rows are of one session."""
        return days_together(paths)

    def read(self, files: tuple[Path, ...], tally: Tally, options: Mapping[str, str]) -> Iterator[Batch]:
        """The rows; see `data_pipeline.feeds.reading.Feed.read`.

        Options: `local_clock` "as recorded" (the rule) or "shift" (receiver's times later by what makes no latency of
        an event negative, with `base_latency_ns`); `after_break` "empty" (the rule) or "keep" (the differences after a
        break of their sequence go on as if none were lost).
        """
        clock = read_options(options, self.name)
        shift = _shift(files, clock) if clock.shift else 0
        capture = _Reading(tally, shift, clock.keep_after_break)
        for path in files:
            for messages in capture.reader.read(path):
                yield from capture.take(messages, path.name)
            capture.lines = tally.rows
        yield from capture.finish(files[0].name)


def _shift(files: Sequence[Path], clock: LocalClock) -> int:
    """Nanoseconds by which receiver's times are late, over all events: a pass over the files of its own."""
    smallest = 0
    reader = MessageReader()
    for path in files:
        for messages in reader.read(path):
            kind, whole = messages.kind, messages.whole
            market = np.isin(kind, (scan.TRADE, scan.AGGREGATE)) & ((whole[:, scan.FLAGS] & scan.OFF_MARKET) == 0)
            levels = np.isin(kind, (scan.DEPTH, scan.SNAPSHOT))
            levels &= (whole[:, scan.BID_LEVELS] > 0) | (whole[:, scan.ASK_LEVELS] > 0)
            rows = (market | levels) & (messages.exchange_ns >= 0)
            smallest = min(smallest, int((messages.local_ns - messages.exchange_ns)[rows].min(initial=0)))
    return clock.base_latency_ns - smallest if smallest < 0 else 0


@dataclass(slots=True, eq=False)
class _Reading:
    """One reading of a set of files."""

    tally: Tally
    shift: int
    keep_after_break: bool
    reader: MessageReader = field(default_factory=MessageReader)
    instruments: dict[int, Instrument] = field(default_factory=dict)
    gaps: dict[int, BookGap] = field(default_factory=dict)
    lines: int = 0
    last_event_time: int = -1
    last_trade_time: int = -1
    latencies: int = 0
    lowest_latency: int = 0
    breaks: list[str] = field(default_factory=list)

    def take(self, messages: Messages, name: str) -> Iterator[Batch]:
        """Rows of one batch of messages."""
        self.tally.rows += messages.line.size
        self._count_clocks(messages)
        whole = messages.whole
        futures = np.where(
            messages.kind == scan.SNAPSHOT, whole[:, scan.TRADE_TIME] >= 0, (whole[:, scan.FLAGS] & scan.FUTURES) > 0
        )
        owner = np.where(messages.symbol >= 0, 2 * messages.symbol + futures, -1)
        self.tally.add("other_messages", int((messages.kind == scan.OTHER).sum()))
        self._own_snapshots(messages, owner, futures)
        tables: dict[tuple[str, str], list[pa.Table]] = {}
        for code in np.unique(owner[owner >= 0]).tolist():
            instrument = self._instrument(code)
            rows = np.flatnonzero(owner == code)
            for table, found in self._rows(instrument, self.gaps.setdefault(code, BookGap()), messages, rows, name):
                if found.num_rows:
                    tables.setdefault((table, instrument.venue), []).append(found)
        for (table, venue), parts in tables.items():
            yield Batch(table, venue, pa.concat_tables(parts))

    def finish(self, name: str) -> Iterator[Batch]:
        """The events still held, and the words and counts of the whole."""
        for gap in self.gaps.values():
            gap.finish(self.tally)
        for instrument in self.instruments.values():
            rows = instrument.rows.rows(instrument.stream.finish())
            self.tally.add("trade_ids_missing", instrument.missing_trades())
            self.tally.add("event_times_more_than_60_s_late_raised", instrument.stream.raised)
            if rows.num_rows:
                yield Batch("book_events", instrument.venue, rows)
        if not self.instruments:
            raise DataError(f"{name} holds no message of a market: record a stream of depth, trades or tickers")
        self._say()

    def _say(self) -> None:
        counts, notes = self.tally.counts, self.tally.notes
        negative = counts.get("negative_latencies", 0)
        if negative:
            what = (
                f"receiver's times were moved later by {self.shift / 1e9:.6f} s, as asked"
                if self.shift
                else "receiver's times are kept as recorded (the option local_clock=shift moves them)"
            )
            notes.append(
                f"the receiver's clock is behind the exchange's: {negative:,} of {self.latencies:,} latencies are "
                f"negative, the lowest {self.lowest_latency / 1e9:+.3f} s; {what}."
            )
        if counts.get("depth_sequence_breaks"):
            state = "not to be trusted" if self.keep_after_break else "empty (the option after_break=keep goes on)"
            notes.append(
                f"updates of the book are lost ({counts['depth_sequence_breaks']:,} breaks of the sequence: "
                f"{'; '.join(self.breaks)}): until a snapshot holds them the book is {state}."
            )
        if counts.get("quotes_timed_by_the_receivers_clock"):
            notes.append("spot tickers have no exchange time: their quotes have the receiver's.")

    def _instrument(self, code: int) -> Instrument:
        found = self.instruments.get(code)
        if found is None:
            symbol = list(self.reader.symbols)[code // 2]
            rows = EventRows(symbol, self.shift)
            found = self.instruments[code] = Instrument(venue_of(symbol, bool(code % 2)), symbol, rows)
        return found

    def _count_clocks(self, messages: Messages) -> None:
        """Disorder of the exchange's clocks across streams, and latencies below zero."""
        kept = messages.kind != scan.OTHER
        for column, attribute, rule in (
            (scan.EVENT_TIME, "last_event_time", "event_times_out_of_order"),
            (scan.TRADE_TIME, "last_trade_time", "transaction_times_out_of_order"),
        ):
            times = messages.whole[kept, column]
            times = np.r_[getattr(self, attribute), times[times >= 0]]
            self.tally.add(rule, int((np.diff(times) < 0).sum()))
            setattr(self, attribute, int(times[-1]))
        timed = messages.exchange_ns >= 0
        latency = (messages.local_ns - messages.exchange_ns)[timed]
        self.latencies += latency.size
        self.lowest_latency = min(self.lowest_latency, int(latency.min(initial=0)))
        self.tally.add("negative_latencies", int((latency < 0).sum()))
        if self.shift:
            messages.local_ns[:] += self.shift
            self.tally.add("receivers_times_shifted", messages.line.size)

    def _own_snapshots(self, messages: Messages, owner: Ints, futures: NDArray[np.bool_]) -> None:
        """Give each snapshot that names no symbol to the one whose price is near its middle, in `owner`."""
        rows = np.flatnonzero((messages.kind == scan.SNAPSHOT) & (owner < 0))
        if not rows.size:
            return
        known = self._prices(messages, owner)
        for row in rows.tolist():
            middle = _middle(messages, row)
            own = {code: price for code, price in known.items() if code % 2 == futures[row]}
            near = [code for code, price in own.items() if abs(price - middle) <= _NEAR * price]
            if not near and len(own) == 1:
                near = [code for code, price in own.items() if not middle > _FAR * price and not middle < price / _FAR]
            if len(near) == 1:
                owner[row] = near[0]
            else:
                self.tally.add("snapshots_of_no_certain_symbol_dropped", 1)

    def _prices(self, messages: Messages, owner: Ints) -> dict[int, float]:
        """A price of every instrument seen so far, in this batch or before."""
        known = {code: one.price for code, one in self.instruments.items() if not np.isnan(one.price)}
        levels = (messages.whole[:, scan.BID_LEVELS] > 0) & (messages.kind == scan.DEPTH)
        for code in np.unique(owner[owner >= 0]).tolist():
            own = owner == code
            rows = np.flatnonzero(own & np.isin(messages.kind, (scan.TICKER, scan.TRADE, scan.AGGREGATE)))
            if rows.size:
                known.setdefault(code, float(messages.real[rows[0], 0]))
            elif (own & levels).any():
                whole = messages.whole[int(np.argmax(own & levels))]
                bids = messages.price[whole[scan.BIDS] : whole[scan.BIDS] + whole[scan.BID_LEVELS]]
                known.setdefault(code, float(np.median(bids)))
        return known

    def _rows(
        self, instrument: Instrument, gap: BookGap, messages: Messages, rows: Ints, name: str
    ) -> Iterator[tuple[str, pa.Table]]:
        """Tables of one instrument's messages."""
        kind = messages.kind[rows]
        trades = self._trades(instrument, messages, rows[np.isin(kind, (scan.TRADE, scan.AGGREGATE))])
        tickers = self._tickers(instrument, messages, rows[kind == scan.TICKER])
        differences, broken = self._differences(instrument, messages, rows[kind == scan.DEPTH], name)
        snapshots = self._snapshots(instrument, messages, rows[kind == scan.SNAPSHOT], differences)
        timed = rows[messages.exchange_ns[rows] >= 0]
        if timed.size:
            instrument.exchange_ns = max(instrument.exchange_ns, int(messages.exchange_ns[timed].max()))
        priced = np.concatenate([tickers, trades])
        if priced.size:
            instrument.price = float(messages.real[int(priced.max()), 0])
        if trades.size:
            yield "trades", self._trade_table(instrument, messages, trades)
        if tickers.size:
            yield "quotes", self._quote_table(instrument, messages, tickers)
        breaks = broken[:0] if self.keep_after_break else broken
        events = gap.events(messages, trades, differences, breaks, snapshots, self.tally)
        yield "book_events", instrument.rows.rows(instrument.stream.push(events))

    def _trades(self, instrument: Instrument, messages: Messages, rows: Ints) -> Ints:
        """Trades on the market, each id once."""
        if not rows.size:
            return rows
        rows = rows[instrument.choose_trades(messages.kind[rows], self.tally)]
        rules: list[tuple[str, Any]] = [
            ("trades_off_the_market_dropped", lambda r: messages.whole[r, scan.FLAGS] & scan.OFF_MARKET != 0),
            ("trades_without_price_or_quantity_dropped", lambda r: (messages.real[r, :2] <= 0).any(axis=1)),
            ("trades_repeated_dropped", lambda r: instrument.repeated_trades(messages.whole[r, scan.FIRST])),
        ]
        for rule, dropped in rules:
            if rows.size:
                drop = dropped(rows)
                self.tally.add(rule, int(drop.sum()))
                rows = rows[~drop]
        self.tally.add("trades", rows.size)
        return rows

    def _tickers(self, instrument: Instrument, messages: Messages, rows: Ints) -> Ints:
        """Tickers in order of their update ids."""
        if not rows.size:
            return rows
        late = instrument.late_tickers(messages.whole[rows, scan.LAST])
        self.tally.add("ticker_messages_late_dropped", int(late.sum()))
        rows = rows[~late]
        bid, bid_quantity, ask, ask_quantity = messages.real[rows].T
        self.tally.add("quotes", rows.size)
        self.tally.add(
            "quotes_crossed", int(((bid >= ask) & (bid_quantity > 0) & (ask_quantity > 0) & (ask > 0)).sum())
        )
        return rows

    def _differences(self, instrument: Instrument, messages: Messages, rows: Ints, name: str) -> tuple[Ints, Ints]:
        """Depth messages that go on, and those among them that do not follow the one before, counted."""
        if not rows.size:
            return rows, rows
        old = instrument.old_differences(messages.whole[rows, scan.LAST], messages.exchange_ns[rows])
        self.tally.add("depth_messages_repeated_dropped", int(old.sum()))
        rows = rows[~old]
        broken = rows[instrument.broken_sequence(messages.whole[rows])]
        self.tally.add("depth_messages", rows.size)
        self.tally.add("depth_sequence_breaks", broken.size)
        for row in broken[: max(5 - len(self.breaks), 0)].tolist():
            self.breaks.append(f"{instrument.symbol} before line {messages.line[row]} of {name}")
        return rows, broken

    def _snapshots(self, instrument: Instrument, messages: Messages, rows: Ints, differences: Ints) -> Ints:
        """Snapshots with a time: their own, or that of the latest difference that they hold."""
        kept = []
        for row in rows.tolist():
            last = messages.whole[row, scan.LAST]
            before = differences[differences < row]
            if messages.exchange_ns[row] < 0:
                held = before[messages.whole[before, scan.LAST] <= last]
                time = int(messages.exchange_ns[held[-1]]) if held.size else instrument.exchange_ns
                if time < 0:
                    self.tally.add("snapshots_of_no_certain_time_dropped", 1)
                    continue
                messages.exchange_ns[row] = time
                self.tally.add("snapshots_timed_by_the_difference_before", 1)
            newer = int((messages.whole[before, scan.LAST] > last).sum())
            self.tally.add("depth_messages_overtaken_by_a_snapshot", newer)
            kept.append(row)
        self.tally.add("snapshots", len(kept))
        return np.array(kept, dtype=np.int64)

    def _trade_table(self, instrument: Instrument, messages: Messages, rows: Ints) -> pa.Table:
        maker = (messages.whole[rows, scan.FLAGS] & scan.BUYER_MADE) != 0
        return trade_rows(
            pa.repeat(instrument.symbol, rows.size),
            messages.exchange_ns[rows],
            messages.local_ns[rows],
            self.lines + messages.line[rows] - 1,
            messages.real[rows, 0],
            messages.real[rows, 1],
            pa.array(np.where(maker, -1, 1).astype(np.int8)),
            pa.array(messages.whole[rows, scan.FIRST]).cast(pa.string()),
            shift=self.shift,
        )

    def _quote_table(self, instrument: Instrument, messages: Messages, rows: Ints) -> pa.Table:
        time, local = messages.exchange_ns[rows], messages.local_ns[rows]
        untimed = time < 0
        if untimed.any():
            self.tally.add("quotes_timed_by_the_receivers_clock", int(untimed.sum()))
            time = np.where(untimed, local, time)
        symbol = pa.repeat(instrument.symbol, rows.size)
        bid, bid_quantity, ask, ask_quantity = messages.real[rows].T
        return quote_rows(
            symbol,
            time,
            local,
            self.lines + messages.line[rows] - 1,
            bid,
            bid_quantity,
            ask,
            ask_quantity,
            shift=self.shift,
        )


def _middle(messages: Messages, row: int) -> float:
    """Middle of a snapshot's best levels; nan where a side is empty."""
    whole = messages.whole[row]
    if whole[scan.BID_LEVELS] < 1 or whole[scan.ASK_LEVELS] < 1:
        return float("nan")
    return float(messages.price[whole[scan.BIDS]] + messages.price[whole[scan.ASKS]]) / 2


BINANCE_CAPTURE: Final = BinanceCaptureFeed()
