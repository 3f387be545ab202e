"""A session's span and phases are the venue's, its halts cut to them; unsigned trades are signed and counted."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from numba import njit

from backtests.intraday.feed import SECOND, session_feed, span_of
from backtests.intraday.settings import FillSettings, OwnLimits, QueueModel, TradingSpan
from backtests.intraday.simulator import simulate_session
from data_pipeline.book.events import BEST_QUOTE, BUY, EVENT_DTYPE, SELL, TRADE
from data_pipeline.errors import DataError
from data_pipeline.ingest import ingest
from data_pipeline.sessions.hours import b3_hours
from data_pipeline.store import Store
from data_pipeline.synthetic.order_book import BookConfig, simulate_book
from data_pipeline.synthetic.order_book_files import write_capture
from strategies.intraday.rule import AUCTION, HALTED, LIMIT, NEXT_ID, SIGNATURE, SUBMIT, Instrument, Rule

CENT = Instrument("X", "NASDAQ", 0.01, 1.0)


@njit([SIGNATURE], cache=True)
def nothing(market, flow, book, own, table, numbers, memory, requests):
    return 0


def ns(text):
    return int(np.datetime64(text, "ns").astype(np.int64))


def test_b3s_day_has_its_opening_call_and_its_halts():
    """1 August 2023: call from 09:45, continuous 10:00 to 16:55 in Sao Paulo, three hours behind UTC."""
    inside = (ns("2023-08-01T14:00"), ns("2023-08-01T14:30"))
    before, across = (ns("2023-08-01T10:00"), ns("2023-08-01T11:00")), (ns("2023-08-01T19:50"), 1 << 62)
    span = span_of(b3_hours("2023-08-01"), (before, inside, across), liquidate_before=600.0)
    assert (span.start, span.stop) == (ns("2023-08-01T13:00"), ns("2023-08-01T19:55"))
    assert span.liquidate == ns("2023-08-01T19:45")
    assert list(span.phases) == [
        (ns("2023-08-01T12:30"), ns("2023-08-01T12:45"), HALTED),
        (ns("2023-08-01T12:45"), ns("2023-08-01T13:00"), AUCTION),
        (*inside, HALTED),
        (ns("2023-08-01T19:50"), span.stop, HALTED),
    ]


TIME = pa.timestamp("ns", "UTC")
OPENING = ns("2024-03-04T14:30")  # of the NASDAQ
NAN = float("nan")


class Tables:
    """A store without market events: rows of its tables, times in ns after the opening."""

    name = "tables"

    def __init__(self, trades, quotes=(), halts=()):
        self.rows = {"trades": trades, "quotes": quotes, "halts": halts}

    def event_array(self, *key):
        return np.zeros(0, dtype=EVENT_DTYPE)

    def table(self, name, *, columns, **key):
        rows = self.rows[name]
        made = {}
        for place, column in enumerate(columns):
            values = [row[place] for row in rows]
            if column in ("time", "local_time", "start", "end"):
                made[column] = pa.array([None if v is None else OPENING + v for v in values], pa.int64()).cast(TIME)
            else:
                kind = {"side": pa.int8(), "condition": pa.string()}.get(column, pa.float64())
                made[column] = pa.array(values, kind)
        return pa.table(made)


TRADES = (
    (5, None, 10.01, 300.0, 1, "regular"),
    (7, None, 10.00, 200.0, None, "regular"),
    (8, None, 10.50, 900.0, 1, "odd"),  # of a kind that is not taken
    (9, None, 10.00, 100.0, -1, "hidden"),
)
QUOTES = ((5, None, 10.00, 400.0, 10.01, 100.0), (6, None, NAN, NAN, 10.02, 200.0))


def test_trades_and_best_quotes_become_events_trades_first():
    feed = session_feed(Tables(TRADES, QUOTES), "NASDAQ", "X", "2024-03-04", feed_latency_ns=3)
    found = [
        (
            int(row["ev"]) & 255,
            int(row["exch_ts"]) - OPENING,
            int(row["local_ts"]) - OPENING,
            *row[["px", "qty"]].item(),
        )
        for row in feed.events
    ]
    assert found == [
        (TRADE, 5, 8, 10.01, 300.0),
        (BEST_QUOTE, 5, 8, 10.00, 400.0),
        (BEST_QUOTE, 5, 8, 10.01, 100.0),
        (BEST_QUOTE, 6, 9, 0.0, 0.0),  # no bid
        (BEST_QUOTE, 6, 9, 10.02, 200.0),
        (TRADE, 7, 10, 10.00, 200.0),
        (TRADE, 9, 12, 10.00, 100.0),
    ]
    assert feed.source == "best"
    assert feed.counts == {"events": 7, "trades": 3, "trades_of_unknown_side": 1, "signed": 1}
    assert (feed.instrument.tick_size, feed.instrument.lot_size) == (0.01, 100.0)
    assert (feed.span.start, feed.span.stop) == (OPENING, ns("2024-03-04T21:00"))


def test_trades_alone_are_a_session_and_unsigned_ones_can_be_left():
    feed = session_feed(Tables(TRADES), "NASDAQ", "X", "2024-03-04", sign_trades=False)
    assert (feed.source, feed.events.size, feed.counts["signed"]) == ("l2", 3, 0)
    assert any("1 of 3 trades have no aggressor and fill nothing" in note for note in feed.notes)
    rule = Rule("nothing", nothing, interval_ns=3600 * SECOND)
    done = simulate_session(feed.events, rule, feed.instrument, feed.span, source=feed.source)
    assert (done.counts["events"], done.counts["trades_without_side"]) == (3, 1)


CALLED = (
    (5, None, 10.01, 300.0, 1, "regular"),
    (6, None, 10.00, 700.0, 0, "cross"),
    (7, None, 9.99, 200.0, 0, "regular"),  # a call's print: nobody was the aggressor
    (8, None, 9.98, 100.0, None, "regular"),
)


@njit([SIGNATURE], cache=True)
def bid_once(market, flow, book, own, table, numbers, memory, requests):
    if memory[0] > 0.0:
        return 0
    memory[0] = 1.0
    wish = requests[0]
    wish.action, wish.order_id, wish.side, wish.tick, wish.lots, wish.kind = SUBMIT, market[NEXT_ID], 1, 1000, 1, LIMIT
    return 1


def test_trades_known_to_have_no_aggressor_get_none_and_fill_nothing():
    """The bid of 10.00 is traded through by two prints of calls, and by one sale, which the tick rule tells."""
    feed = session_feed(Tables(CALLED), "NASDAQ", "X", "2024-03-04", instrument=CENT)
    sides = [(int(ev & BUY > 0) - int(ev & SELL > 0)) for ev in feed.events["ev"].astype(int).tolist()]
    assert sides == [1, 0, 0, -1]
    assert feed.counts == {"events": 4, "trades": 4, "trades_of_unknown_side": 1, "signed": 1}
    assert any(note.startswith("2 of 4 trades had no aggressor (calls, crosses)") for note in feed.notes)
    fills = FillSettings(queue=QueueModel("trade_through"), limits=OwnLimits(5))
    span = TradingSpan(OPENING, OPENING + 20, OPENING + 10, liquidation="mark")
    done = simulate_session(feed.events, Rule("bid", bid_once, interval_ns=1), CENT, span, fills, source=feed.source)
    assert (done.fills["exch_ts"] - OPENING).tolist() == [8]


def test_a_receivers_clock_that_runs_backwards_or_ahead_of_the_exchange_is_told():
    trades = [(row[0], seen, *row[2:]) for row, seen in zip(TRADES, (50, 20, 60, 4), strict=True)]
    feed = session_feed(Tables(trades), "NASDAQ", "X", "2024-03-04")
    assert (feed.events["local_ts"] - OPENING).tolist() == [50, 50, 50]
    assert any(note.startswith("2 receiver's times were before an earlier event's") for note in feed.notes)
    early = session_feed(Tables([(5, 2, 10.01, 300.0, 1, "regular")]), "NASDAQ", "X", "2024-03-04")
    assert any(note.startswith("1 events were seen before they happened") for note in early.notes)


def test_hours_of_half_days_options_and_futures_and_open_halts():
    half = session_feed(Tables(TRADES), "NASDAQ", "X", "2024-07-03")
    assert (half.span.start, half.span.stop) == (ns("2024-07-03T13:30"), ns("2024-07-03T17:00"))
    halted = session_feed(Tables(TRADES, halts=((60, None),)), "NASDAQ", "X", "2024-03-04", instrument=CENT)
    assert halted.span.phases == ((OPENING + 60, halted.span.stop, HALTED),)
    assert halted.instrument is CENT
    options, dollar = (span_of(b3_hours("2023-08-01", kind)) for kind in ("options_etf", "dollar_futures"))
    assert (options.start, options.stop) == (ns("2023-08-01T13:05"), ns("2023-08-01T19:55"))
    assert (dollar.start, dollar.stop) == (ns("2023-08-01T12:00"), ns("2023-08-01T21:00"))
    assert list(dollar.phases) == [(ns("2023-08-01T11:55"), ns("2023-08-01T12:00"), AUCTION)]


def test_a_session_of_the_store_runs(tmp_path):
    ingest([write_capture(tmp_path / "synusdt.gz", simulate_book(BookConfig(seconds=30.0)))], tmp_path / "store")
    store = Store.open(tmp_path / "store")
    feed = session_feed(store, "BINANCE_USDM", "SYNUSDT", "2021-03-15")
    assert (feed.source, feed.counts["events"]) == ("l2", feed.events.size)
    assert any("tick size 0.01 " in note for note in feed.notes)
    done = simulate_session(
        feed.events,
        Rule("nothing", nothing, interval_ns=60 * SECOND),
        feed.instrument,
        feed.span,
        FillSettings(limits=OwnLimits(1)),
        source=feed.source,
    )
    assert done.counts["events"] == feed.events.size
    with pytest.raises(DataError, match="neither market events nor trades"):
        session_feed(store, "BINANCE_USDM", "NONE", "2021-03-15")
