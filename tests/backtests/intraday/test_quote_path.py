"""The path of the quotes, and queues assumed from the past."""

from __future__ import annotations

import numpy as np
import pytest

from backtests.intraday.outcome import NO_MID
from backtests.intraday.queue_guess import QueueGuess, queue_guess
from backtests.intraday.quote_path import quote_path
from data_pipeline.book.events import BEST_QUOTE, BUY, DEPTH, DEPTH_CLEAR, EVENT_DTYPE, EXCH, LOCAL, SELL, TRADE
from strategies.intraday.rule import NO_ASK, NO_BID, Instrument

SECOND = 1_000_000_000
TENTH = Instrument("A", "B", tick_size=0.1, lot_size=2.0)


def events(*rows, flags=EXCH | LOCAL):
    """Events from (second, kind, side, price, quantity)."""
    made = np.zeros(len(rows), dtype=EVENT_DTYPE)
    for row, (time, kind, side, price, quantity) in zip(made, rows, strict=True):
        row["ev"] = kind | flags | {1: BUY, -1: SELL, 0: 0}[side]
        row["exch_ts"] = row["local_ts"] = round(time * SECOND)
        row["px"], row["qty"] = price, quantity
    return made


BOOK = events(
    (1, DEPTH, 1, 9.9, 4), (2, DEPTH, -1, 10.2, 6), (3, TRADE, 1, 10.2, 2), (3, DEPTH, -1, 10.2, 0),
    (3, DEPTH, -1, 10.3, 5), (4, DEPTH, 1, 10.0, 8), (6, DEPTH_CLEAR, 0, np.nan, 0), (7, DEPTH, 1, 9.8, 2),
    (8, DEPTH, -1, 9.9, 2), (10, TRADE, -1, 9.8, 6),
)  # fmt: skip


def test_the_path_of_a_book_worked_by_hand():
    path = quote_path(BOOK, TENTH)
    assert (path.times / SECOND).tolist() == [1, 2, 3, 4, 6, 7, 8]
    assert path.bid.tolist() == [99, 99, 99, 100, NO_BID, 98, 98]
    assert path.ask.tolist() == [NO_ASK, 102, 103, 103, NO_ASK, NO_ASK, 99]
    # where a side is empty the last mid holds
    assert path.mid2.tolist() == [NO_MID, 201, 202, 203, 203, 203, 197]
    assert path.until == 10 * SECOND
    at = np.array([0, 1, 2, 3, 5, 9]) * SECOND
    assert path.at(at).tolist() == [NO_MID, NO_MID, 201, 202, 203, 197]
    assert path.before(at).tolist() == [NO_MID, NO_MID, NO_MID, 201, 203, 197]


def test_chunks_and_a_last_time_change_nothing_before_it():
    whole = quote_path(BOOK, TENTH)
    parts = quote_path(np.array_split(BOOK, 4), TENTH)
    cut = quote_path(BOOK, TENTH, until=5 * SECOND)
    for name in ("times", "bid", "ask", "mid2"):
        np.testing.assert_array_equal(getattr(parts, name), getattr(whole, name))
        np.testing.assert_array_equal(getattr(cut, name), getattr(whole, name)[:4])
    assert cut.until == 5 * SECOND


def test_one_row_an_event_shows_the_parts_of_a_message():
    path = quote_path(BOOK, TENTH, every="event")
    assert NO_ASK in path.ask[path.times == 3 * SECOND]
    assert quote_path(BOOK, TENTH).ask[2] == 103


def test_trades_alone_are_measured_against_the_last_trade():
    path = quote_path(events((1, TRADE, 1, 10.0, 2), (4, TRADE, -1, 9.7, 2), (4, TRADE, -1, 9.6, 2)), TENTH)
    assert path.reference == "last trade"
    assert path.at(np.array([2, 4]) * SECOND).tolist() == [200, 192]
    assert path.before(np.array([4]) * SECOND).tolist() == [200]
    # off the tick: the lower of the two, as the engine shows it
    assert quote_path(events((1, TRADE, 1, 10.05, 2), (2, TRADE, 1, 10.06, 2)), TENTH).bid.tolist() == [100, 100]


def test_only_the_exchanges_order_counts():
    seen = events((1, BEST_QUOTE, 1, 9.9, 1), (2, BEST_QUOTE, -1, 10.0, 1))
    late = events((3, BEST_QUOTE, 1, 9.5, 1), flags=LOCAL)
    np.testing.assert_array_equal(quote_path(np.r_[seen, late], TENTH).bid, quote_path(seen, TENTH).bid)


def test_queues_are_guessed_from_prints_and_the_touch():
    # touch: bid 4 and ask 6 from 2 s, 4 and 5 from 3 s, 8 and 5 from 4 to 6 s, 2 and 2 from 8 to 10 s; lots of 2
    found = queue_guess(BOOK, TENTH)
    mean = (5 * 1 + 4.5 * 1 + 6.5 * 2 + 2 * 2) / 6 / 2
    assert (found.low, found.high) == (pytest.approx(2.0), pytest.approx(mean))  # median print 4, two lots
    assert "2 lots" in found.words
    assert queue_guess(np.array_split(BOOK, 5), TENTH) == found


def test_a_guess_knows_nothing_of_what_comes_after():
    known = queue_guess(BOOK, TENTH, until=5 * SECOND)
    later = BOOK.copy()
    later["qty"][later["exch_ts"] > 5 * SECOND] *= 7
    assert queue_guess(later, TENTH, until=5 * SECOND) == known
    with pytest.raises(ValueError, match="at least one trade"):
        queue_guess(BOOK, TENTH, until=2 * SECOND)


def test_without_a_book_the_larger_guess_is_ten_prints():
    found = queue_guess(events((1, TRADE, 1, 10.0, 2), (2, TRADE, -1, 9.7, 6), (3, TRADE, 1, 9.7, 8)), TENTH)
    assert (found.low, found.high) == (3.0, 30.0)
    with pytest.raises(ValueError, match="in this order"):
        QueueGuess(3.0, 1.0, "")
