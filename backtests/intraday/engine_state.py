"""The arrays that the compiled event engine works in: made, grown when it asks for room, read out at the end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from backtests.intraday import kernels
from backtests.intraday.settings import FillSettings, TradingSpan
from data_pipeline.book.grid import PriceGrid
from data_pipeline.errors import DataError
from strategies.intraday.rule import (
    FLOW_SIZE,
    MARKET_SIZE,
    MOST_REQUESTS,
    OWN_DTYPE,
    REQUEST_DTYPE,
    Rule,
)

_rehash: Any = kernels.rehash

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

MOST_TICKS: Final = 1 << 25
"""Widest range of ticks of one book: memory is used only where prices were, but a search may cross all of it."""
_PAGE: Final = 1 << kernels.PAGE_BITS
_FIRST_PAGES: Final = 8
_OUTPUT: Final = 1 << 13
_BEHIND: Final = 4096
_QUEUES: Final = {"pessimistic": 0, "probabilistic": 1, "exact": 2, "trade_through": 3, "assumed": 4}
_LATENCIES: Final = {"constant": 0, "sampled": 1, "recorded": 2}
_SOURCES: Final = {"l2": kernels.L2, "l3": kernels.L3, "best": kernels.BEST_ONLY}
_EARLY: Final = -kernels.NEVER


def _ints(*shape: int) -> Ints:
    return np.zeros(shape, dtype=np.int64)


@dataclass(slots=True, eq=False)
class Stream:
    """Events of one place that are not done yet; the first state[S_SIZE] rows count, from state[S_AT] on."""

    times: Ints
    whole: Ints
    lots: Floats

    def make_room(self, state: Ints, more: int) -> None:
        """Drop what is done and make room for more events behind the rest."""
        at, size = int(state[kernels.S_AT]), int(state[kernels.S_SIZE])
        left = size - at
        room = self.times.size
        if left + more > room:
            room = 1 << (2 * (left + more)).bit_length()
        kept = (self.times, self.whole, self.lots)
        if room > self.times.size:
            self.times, self.whole, self.lots = np.empty(room, dtype=np.int64), _ints(room, 3), np.empty(room)
        for old, new in zip(kept, (self.times, self.whole, self.lots), strict=True):
            new[:left] = old[at:size]
        state[kernels.S_AT], state[kernels.S_SIZE] = 0, left


@dataclass(slots=True, eq=False)
class Depth:
    """The dense book of one place, and the orders in it: side by tick from state[S_BASE] on."""

    state: Ints
    book: Floats
    pages: NDArray[np.int32]
    count: NDArray[np.int32]
    table: Ints
    left: Floats

    def widen(self, tick: int, grid: PriceGrid, when: int) -> int:
        """Cover a tick; how many places the old ones moved up.

        Raises
        ------
        DataError
            When the book would span more than MOST_TICKS.
        """
        base, width = int(self.state[kernels.S_BASE]), self.book.shape[1]
        if width == 0:
            low = (tick // _PAGE - _FIRST_PAGES // 2) * _PAGE
            high = low + _FIRST_PAGES * _PAGE
        else:
            # as much again on the side it grows to, so that a drifting price does not widen at every step
            low, high = min(base, tick - width // 2), max(base + width, tick + width // 2)
            if high - low > MOST_TICKS:
                low, high = min(base, tick), max(base + width, tick + 1)
            low, high = low // _PAGE * _PAGE, -(-high // _PAGE) * _PAGE
        if high - low > MOST_TICKS:
            raise DataError(
                f"the price {float(grid.prices(np.array([tick]))[0])!r} of the event at {when} is more than "
                f"{MOST_TICKS:,} ticks away from others ({grid.words()}): is the tick size too small, or is the price "
                "damaged?"
            )
        shift = base - low if width else 0
        self.book, self.count = self.moved(self.book, high - low, shift), self.moved(self.count, high - low, shift)
        self.pages = self.moved(self.pages, (high - low) // _PAGE, shift // _PAGE)
        self.state[kernels.S_BASE] = low
        return shift

    def moved(self, array: NDArray[Any], width: int, shift: int) -> NDArray[Any]:
        """The array in a wider one, its columns moved up; what holds nothing is not touched."""
        wider = np.zeros((array.shape[0], width), dtype=array.dtype)
        for k in range(array.shape[0]):
            used = np.flatnonzero(array[k])
            if used.size:
                first, last = int(used[0]), int(used[-1]) + 1
                wider[k, shift + first : shift + last] = array[k, first:last]
        return wider

    def widen_orders(self) -> None:
        """A table of orders at most a quarter full of those that stand."""
        standing = int(((self.table[:, kernels.B_SIDE] >= 0) & (self.left > 0.0)).sum())
        size = max(64, 1 << (4 * standing + 4).bit_length())
        table, left = _ints(size, kernels.ORDER_COLUMNS), np.zeros(size)
        table[:, kernels.B_SIDE] = -1
        _rehash(self.state, self.table, self.left, table, left)
        self.table, self.left = table, left


def _depth() -> Depth:
    state = _ints(kernels.PLACE)
    state[kernels.S_BEST], state[kernels.S_BEST + 1] = kernels.NO_BID, kernels.NO_ASK
    state[[kernels.S_PICTURE, kernels.S_NOW, kernels.S_SINCE, kernels.S_TRADE_AT]] = _EARLY
    state[[kernels.S_MID, kernels.S_LAST_MID, kernels.S_LAST_PRINT]] = kernels.NO_MID
    table = _ints(64, kernels.ORDER_COLUMNS)
    table[:, kernels.B_SIDE] = -1
    none = np.zeros((2, 0), dtype=np.int32)
    return Depth(state, np.zeros((2, 0)), none, none.copy(), table, np.zeros(64))


def _stream() -> Stream:
    return Stream(np.empty(0, dtype=np.int64), _ints(0, 3), np.empty(0))


def _configuration(rule: Rule, span: TradingSpan, settings: FillSettings, sample_every: int, source: str) -> Ints:
    conf = _ints(kernels.CONF)
    queue, latency, limits = settings.queue, settings.latency, settings.limits
    conf[kernels.C_START], conf[kernels.C_STOP] = span.start, span.stop
    conf[kernels.C_LIQUIDATE], conf[kernels.C_CROSS] = span.liquidate, span.liquidation == "cross"
    conf[kernels.C_INTERVAL], conf[kernels.C_CALLS] = rule.interval_ns, rule.calls
    conf[kernels.C_SAMPLE], conf[kernels.C_SOURCE] = sample_every, _SOURCES[source]
    conf[kernels.C_QUEUE], conf[kernels.C_SHAPE] = _QUEUES[queue.kind], queue.shape == "power"
    conf[kernels.C_VERSION], conf[kernels.C_WHOLE_FILLS] = queue.version, settings.sizes == "whole"
    conf[kernels.C_LATENCY], conf[kernels.C_SEED] = _LATENCIES[latency.kind], settings.seed
    conf[kernels.C_ENTRY], conf[kernels.C_RESPONSE] = latency.entry_ns, latency.response_ns
    conf[kernels.C_ROWS] = latency.entry.size
    conf[kernels.C_MAX_POSITION], conf[kernels.C_MAX_ORDER] = limits.max_position, limits.max_order
    return conf


def _phase_changes(span: TradingSpan) -> tuple[Ints, Ints]:
    """Times of the changes of phase and the phases that they begin."""
    times: list[int] = []
    phases: list[int] = []
    for first, last, phase in span.phases:
        if times and times[-1] == first:
            del times[-1], phases[-1]
        if not phases or phases[-1] != phase:
            times.append(first)
            phases.append(phase)
        times.append(last)
        phases.append(kernels.CONTINUOUS)
    return np.array(times, dtype=np.int64), np.array(phases, dtype=np.int64)


class EngineState:
    """Everything that `kernels.march` works in, in the order of its arguments."""

    def __init__(
        self, rule: Rule, span: TradingSpan, settings: FillSettings, grid: PriceGrid, sample_every: int, source: str
    ) -> None:
        """Empty books, nothing sent."""
        self.grid = grid
        self.function = rule.function
        self.table = np.array(rule.table, dtype=np.float64, order="C")
        self.numbers = np.array(rule.numbers, dtype=np.float64)
        self.memory = np.zeros(rule.memory_size)
        self.market, self.flow = _ints(MARKET_SIZE), np.zeros(FLOW_SIZE)
        most = kernels.MOST_OWN + 8
        self.own, self.beside = np.zeros(most, dtype=OWN_DTYPE), _ints(most, kernels.OWN_BESIDE)
        # rows behind them take what a rule writes too many of, before it returns their number and is stopped
        self.requests = np.zeros(MOST_REQUESTS + _BEHIND, dtype=REQUEST_DTYPE)[:MOST_REQUESTS]
        self.conf = _configuration(rule, span, settings, sample_every, source)
        self.rates = np.array([settings.queue.exponent, settings.queue.assumed_lots])
        self.phase_times, self.phases = _phase_changes(span)
        latency = settings.latency
        times = latency.times if latency.kind == "recorded" else np.zeros(latency.entry.size, dtype=np.int64)
        self.delays = np.concatenate((times, latency.entry, latency.response))
        self.engine = _ints(kernels.ENGINE)
        self.engine[kernels.E_CLOCK], self.engine[kernels.E_NEXT_ID] = span.start, 1
        self.engine[[kernels.E_LAST_REQ, kernels.E_LAST_MSG]] = _EARLY
        self.exchange, self.local = _depth(), _depth()
        self.streams = _stream(), _stream()
        self.taken, self.traded = np.zeros((2, 0)), np.zeros((2, 0))
        self.resting, self.resting_ahead = _ints(2, most, kernels.RESTING), np.zeros((2, most, 2))
        self.pending, self.messages = _ints(_OUTPUT, kernels.REQUEST), _ints(_OUTPUT, kernels.MESSAGE)
        self.fills, self.orders, self.places = _ints(_OUTPUT, 10), _ints(_OUTPUT, 10), np.zeros((_OUTPUT, 2))
        self.samples = _ints(_OUTPUT, 5)
        self.scratch, self.real = _ints(12), np.zeros(12)

    def arguments(self, final: bool) -> tuple[Any, ...]:
        """What `kernels.march` takes."""
        x, local, (first, second) = self.exchange, self.local, self.streams
        return (
            self.function, self.table, self.numbers, self.memory, self.market, self.flow, self.own, self.requests,
            self.conf, self.rates, self.phase_times, self.phases, self.delays,
            final,
            self.engine, x.state, local.state,
            first.times, first.whole, first.lots, second.times, second.whole, second.lots,
            x.book, x.pages, x.count, self.taken, self.traded, x.table, x.left,
            local.book, local.pages, local.count, local.table, local.left,
            self.resting, self.resting_ahead, self.own.view(np.int64).reshape(self.own.size, -1), self.beside,
            self.requests.view(np.int64).reshape(self.requests.size, -1), self.pending, self.messages,
            self.fills, self.orders, self.places, self.samples,
            self.scratch, self.real,
        )  # fmt: skip

    def make_room(self, status: int) -> None:
        """Grow what the engine stopped for."""
        if status == kernels.NEED_X_ROOM:
            tick, when = self._next_event(0)
            shift = self.exchange.widen(tick, self.grid, when)
            width = self.exchange.book.shape[1]
            self.taken = self.exchange.moved(self.taken, width, shift)
            self.traded = self.exchange.moved(self.traded, width, shift)
        elif status == kernels.NEED_L_ROOM:
            tick, when = self._next_event(1)
            self.local.widen(tick, self.grid, when)
        elif status == kernels.NEED_X_ORDERS:
            self.exchange.widen_orders()
        elif status == kernels.NEED_L_ORDERS:
            self.local.widen_orders()
        else:
            self._longer_outputs()

    def _next_event(self, place: int) -> tuple[int, int]:
        stream, state = self.streams[place], (self.exchange, self.local)[place].state
        at = int(state[kernels.S_AT])
        return int(stream.whole[at, 0]), int(stream.times[at])

    def _longer_outputs(self) -> None:
        e = self.engine
        need = max(int(e[kernels.E_NEED]), kernels.MARGIN)
        self.fills = _longer(self.fills, int(e[kernels.E_FILLS]), need)
        self.orders = _longer(self.orders, int(e[kernels.E_ORDERS]), need)
        self.places = _longer(self.places, int(e[kernels.E_ORDERS]), need)
        self.samples = _longer(self.samples, int(e[kernels.E_SAMPLES]), need)
        self.pending = _longer_ring(self.pending, e, kernels.E_REQ_HEAD, kernels.E_REQ_TAIL, need)
        self.messages = _longer_ring(self.messages, e, kernels.E_MSG_HEAD, kernels.E_MSG_TAIL, need)


def _longer(rows: NDArray[Any], used: int, need: int) -> NDArray[Any]:
    if used + need <= len(rows):
        return rows
    grown = np.zeros((2 * (used + need), rows.shape[1]), dtype=rows.dtype)
    grown[:used] = rows[:used]
    return grown


def _longer_ring(ring: Ints, e: Ints, head: int, tail: int, need: int) -> Ints:
    """A ring of twice as many places (a power of two), its rows at their numbers."""
    first, last = int(e[head]), int(e[tail])
    if last - first + need <= len(ring):
        return ring
    grown = _ints(1 << (2 * (last - first + need)).bit_length(), ring.shape[1])
    places = np.arange(first, last)
    grown[places & (len(grown) - 1)] = ring[places & (len(ring) - 1)]
    return grown
