"""A session's span and phases are the venue's, its halts cut to them; unsigned trades are signed and counted."""

from __future__ import annotations

import numpy as np
import pytest
from numba import njit

from backtests.intraday.feed import SECOND, session_feed, span_of
from backtests.intraday.settings import FillSettings, OwnLimits
from backtests.intraday.simulator import simulate_session
from data_pipeline.errors import DataError
from data_pipeline.ingest import ingest
from data_pipeline.sessions.hours import b3_hours
from data_pipeline.store import Store
from data_pipeline.synthetic.order_book import BookConfig, simulate_book
from data_pipeline.synthetic.order_book_files import write_capture
from strategies.intraday.rule import AUCTION, HALTED, SIGNATURE, Rule


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
