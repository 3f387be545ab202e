"""Trades alone: the rule sees quotes that trades told, the exchange has none but for the closing order."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backtests.intraday.feed import session_phases
from backtests.intraday.trade_feed import trades_of, with_trade_quotes
from data_pipeline.book.events import BEST_QUOTE, BUY, EVENT_DTYPE, EXCH, KIND_MASK, LOCAL, SELL, TRADE
from data_pipeline.book.trade_quotes import quotes_of_trades
from strategies.intraday.rule import AUCTION, CLOSED, HALTED


def tape(prices, sides, *, quantities=None, delay=5):
    trades = np.zeros(len(prices), dtype=EVENT_DTYPE)
    flags = [BUY if side > 0 else SELL if side < 0 else 0 for side in sides]
    trades["ev"] = [TRADE | EXCH | LOCAL | flag for flag in flags]
    trades["exch_ts"] = 10 * np.arange(1, len(prices) + 1)
    trades["local_ts"] = trades["exch_ts"] + delay
    trades["px"] = prices
    trades["qty"] = 1.0 if quantities is None else quantities
    return trades


def seen(events, flag):
    """Best bid and ask after each event of one place, as plain loops have them."""
    bid = ask = None
    rows = []
    for event in events[(events["ev"] & np.uint64(flag)) != 0]:
        if int(event["ev"]) & KIND_MASK == BEST_QUOTE:
            price = float(event["px"]) or None
            if int(event["ev"]) & BUY:
                bid = price
            else:
                ask = price
        rows.append((int(event["local_ts" if flag == LOCAL else "exch_ts"]), bid, ask))
    return rows


def plain_quotes(prices, sides):
    """Last sale and last purchase; of two that have met or crossed the newer."""
    bid = ask = None
    newer = 0
    rows = []
    for price, side in zip(prices, sides, strict=True):
        if side > 0:
            ask, newer = price, 1
        elif side < 0:
            bid, newer = price, -1
        crossed = bid is not None and ask is not None and bid >= ask
        rows.append((None if crossed and newer > 0 else bid, None if crossed and newer < 0 else ask))
    return rows


@given(st.lists(st.tuples(st.integers(995, 1005), st.sampled_from([-1, 0, 1])), max_size=40))
def test_the_quotes_seen_are_the_last_prices_sold_and_bought_at(rows):
    prices, sides = [price / 100 for price, _ in rows], [side for _, side in rows]
    events = with_trade_quotes(tape(prices, sides), 1 << 60)
    last = {time: (bid, ask) for time, bid, ask in seen(events, LOCAL)}
    assert list(last.values()) == plain_quotes(prices, sides)
    assert all(bid is None and ask is None for _, bid, ask in seen(events, EXCH)[: len(rows)])
    np.testing.assert_array_equal(trades_of(events), tape(prices, sides))


@given(st.lists(st.tuples(st.integers(995, 1005), st.sampled_from([-1, 0, 1])), min_size=1, max_size=20), st.data())
def test_no_quote_knows_a_later_trade(rows, data):
    cut = data.draw(st.integers(0, len(rows)))
    prices, sides = [price / 100 for price, _ in rows], [side for _, side in rows]
    whole, part = quotes_of_trades(prices, sides, prices), quotes_of_trades(prices[:cut], sides[:cut], prices[:cut])
    for one, two in zip(whole, part, strict=True):
        np.testing.assert_array_equal(one[:cut], two)


def test_the_closing_order_meets_what_last_traded():
    events = with_trade_quotes(tape([9.99, 10.01, 10.02], [-1, 1, 1], quantities=[3.0, 4.0, 5.0]), 25)
    closing = events[((events["ev"] & np.uint64(EXCH)) != 0) & ((events["ev"] & np.uint64(KIND_MASK)) == BEST_QUOTE)]
    assert [(float(e["px"]), float(e["qty"]), int(e["exch_ts"])) for e in closing] == [
        (9.99, 3.0, 25),
        (10.01, 4.0, 25),
    ]
    exchange = events[(events["ev"] & np.uint64(EXCH)) != 0]
    local = events[(events["ev"] & np.uint64(LOCAL)) != 0]
    assert (np.diff(exchange["exch_ts"]) >= 0).all()
    assert (np.diff(local["local_ts"]) >= 0).all()


class Halts:
    """A store that has halts alone."""

    def __init__(self, *spans):
        self.spans = spans

    def table(self, name, **place):
        import pyarrow as pa

        assert name == "halts"
        first, last = zip(*self.spans, strict=True) if self.spans else ((), ())
        kind = pa.timestamp("ns", "UTC")
        return pa.table({"start": pa.array(first, kind), "end": pa.array(last, kind)})


def ns(text):
    return int(np.datetime64(text, "ns").astype(np.int64))


def test_calls_closed_hours_and_halts_are_phases_and_the_strictest_holds():
    """1 August 2023 at B3, three hours behind UTC: call 09:45, open 10:00, closing call 16:55 to 17:00."""
    day = "2023-08-01T"
    halts = Halts((ns(day + "12:55"), ns(day + "13:10")), (ns(day + "14:00"), ns(day + "14:30")))
    found = session_phases(halts, "B3", "PETR4", "2023-08-01", ns(day + "12:00"), ns(day + "20:10"))
    assert found == (
        (ns(day + "12:00"), ns(day + "12:30"), CLOSED),
        (ns(day + "12:30"), ns(day + "12:45"), HALTED),
        (ns(day + "12:45"), ns(day + "12:55"), AUCTION),
        (ns(day + "12:55"), ns(day + "13:00"), HALTED),
        (ns(day + "13:00"), ns(day + "13:10"), HALTED),
        (ns(day + "14:00"), ns(day + "14:30"), HALTED),
        (ns(day + "19:55"), ns(day + "20:00"), AUCTION),
        (ns(day + "20:00"), ns(day + "20:10"), CLOSED),
    )


@pytest.mark.parametrize(("venue", "session"), [("BINANCE_USDM", "2023-08-01"), ("B3", "2015-11-03")])
def test_a_venue_without_known_calls_has_its_halts_alone(venue, session):
    inside = (ns(session + "T14:00"), ns(session + "T14:30"))
    found = session_phases(Halts(inside), venue, "X", session, ns(session + "T13:00"), ns(session + "T18:00"))
    assert found == ((*inside, HALTED),)
