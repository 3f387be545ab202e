"""The simulated book obeys its own truth, and the truth comes back through every raw format and the calibration."""

from __future__ import annotations

import math

import numpy as np
import pytest

from data_pipeline.book.record import FILLED, IntradayRecord
from data_pipeline.feeds.b3_orders import read_b3_orders
from data_pipeline.feeds.binance_capture import read_binance_capture
from data_pipeline.feeds.lobster import read_lobster
from data_pipeline.synthetic.order_book import CANCEL, FILL, MOVE, NEW, BookConfig, simulate_book
from data_pipeline.synthetic.order_book_files import write_capture, write_lobster, write_ofer
from mfg_core import BookPath, RestingOrders, Trades, calibrate_intensity, calibrate_intensity_events
from mfg_core.intraday.intensity_quality import intensity_quality
from mfg_core.intraday.mark_outs import mark_outs

TRUTH = BookConfig(seed=11, seconds=3000.0)
ERRORS = 4.0
"""Standard errors allowed: beyond them once in 16,000 draws; the seed is fixed."""


@pytest.fixture(scope="module")
def events():
    return simulate_book(TRUTH)


@pytest.fixture(scope="module", params=["lobster", "capture", "depth", "ofer"])
def record(request, events, tmp_path_factory) -> IntradayRecord:
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "lobster":
        return read_lobster(*write_lobster(folder, events, levels=2))
    if request.param == "ofer":
        return read_b3_orders(write_ofer(folder / "ofer.csv", events), "SYNT3F")
    quotes = "ticker" if request.param == "capture" else "depth"
    return read_binance_capture(write_capture(folder / "capture.gz", events), quotes=quotes)


def arrays(record: IntradayRecord) -> tuple[BookPath, Trades]:
    shown = record.trades.take(~record.trades.hidden)
    return (
        BookPath(record.quotes.times, record.quotes.bid, record.quotes.ask),
        Trades(shown.times, shown.price, shown.size, shown.side),
    )


def test_every_format_gives_back_arrivals_and_decay(record):
    book, trades = arrays(record)
    fit = calibrate_intensity(book, trades, tick=TRUTH.tick, max_ticks=40, session_end=record.end)
    truth = np.log(TRUTH.ask_arrival), np.log(TRUTH.bid_arrival), TRUTH.fill_decay
    score = (fit.coefficients - truth) / fit.standard_errors()
    assert np.abs(score).max() < ERRORS
    assert fit.standard_errors()[-1] / TRUTH.fill_decay < 0.03  # the data do tell
    # stamps of whole milliseconds: an order after another event of its millisecond is compared with older quotes
    late = 0.001 * 3.5 if record.feed != "LOBSTER" else 0.0  # 3.5 events a second
    assert fit.session.counts.inside_spread <= late * fit.session.counts.orders
    assert fit.session.counts.without_mid == 0


def test_every_format_gives_back_the_adverse_selection(record):
    book, trades = arrays(record)
    found = mark_outs(book, trades, [0.1, 2.0], session_end=record.end)
    score = (found.impact[2] - TRUTH.adverse_selection) / found.impact_error[2]
    assert np.abs(score).max() < ERRORS
    assert (found.impact_error[2] < 0.2 * TRUTH.adverse_selection).all()


def test_order_lives_give_back_the_intensity_of_a_full_queue(events, tmp_path):
    """With one order on each level every order is first in its queue: lifetimes tell the same law as trades."""
    record = read_b3_orders(write_ofer(tmp_path / "ofer.csv", events), "SYNT3F")
    lives = record.orders
    book, _ = arrays(record)
    resting = RestingOrders(lives.entry, lives.exit, lives.price, lives.side, lives.ending == FILLED)
    fit = calibrate_intensity_events(book, resting, tick=TRUTH.tick, max_ticks=12, session_end=record.end)
    truth = np.log(TRUTH.ask_arrival), np.log(TRUTH.bid_arrival), TRUTH.fill_decay
    assert (np.abs(fit.coefficients - truth) < ERRORS * fit.standard_errors()).all()


def test_poisson_books_pass_and_clustered_ones_fail_the_test_of_the_gaps(events, tmp_path):
    def quality(simulated, name):
        book, trades = arrays(read_binance_capture(write_capture(tmp_path / name, simulated)))
        fit = calibrate_intensity(book, trades, tick=TRUTH.tick, max_ticks=40, session_end=float(book.time[-1]))
        return fit, intensity_quality(fit)

    _, calm = quality(events, "poisson.gz")
    assert min(calm.ask.p_value, calm.bid.p_value) > 0.01
    clustered = BookConfig(seed=3, seconds=1500.0, clustering=0.6, half_spreads=(2, 2), spread_switches=1e-9)
    fit, wild = quality(simulate_book(clustered), "hawkes.gz")
    assert max(wild.ask.p_value, wild.bid.p_value) < 1e-6
    assert 0.4 < wild.ask.branching < 0.8  # of orders, 0.6 are set off by others
    # clusters of 1/(1 - 0.6) orders: the counts' errors grow by that, the decay's share of them does not
    assert (fit.standard_errors()[:2] > 1.25 * fit.standard_errors(robust=False)[:2]).all()


def test_market_orders_arrive_at_their_rate_and_go_as_deep_as_the_law_says(events):
    filled = events.kind == FILL
    _, first, depth = np.unique(events.taker[filled], return_index=True, return_counts=True)
    side = events.side[filled][first]
    step = math.exp(-TRUTH.fill_decay * TRUTH.tick)
    # the half-spread is 1 or 3 ticks, each about half of the time: the rate lies between those of the two
    for sign, arrival in ((-1, TRUTH.ask_arrival), (1, TRUTH.bid_arrival)):
        count = (side == sign).sum()
        low, high = (arrival * step**half * TRUTH.seconds for half in (3, 1))
        assert low < count < high
    # depth is geometric: its mean is 1/(1 - step), with the standard deviation sqrt(step)/(1 - step)
    error = math.sqrt(step) / (1 - step) / math.sqrt(depth.size)
    assert abs(depth.mean() - 1 / (1 - step)) < ERRORS * error


def test_the_book_always_holds_one_order_on_each_level(events):
    standing: dict[int, tuple[int, int]] = {}
    for kind, order, side, price, before in zip(
        events.kind[:4000], events.order[:4000], events.side[:4000], events.price[:4000], events.price_before[:4000],
        strict=True,
    ):  # fmt: skip
        if kind == NEW:
            assert order not in standing
            standing[order] = (side, price)
        elif kind == MOVE:
            assert standing[order] == (side, before)
            standing[order] = (side, price)
        elif kind in (FILL, CANCEL):
            assert standing.pop(order) == (side, price)


def test_the_same_seed_gives_the_same_bytes(tmp_path):
    config = BookConfig(seed=2, seconds=60.0)
    contents = []
    for name in ("a", "b"):
        folder = tmp_path / name
        folder.mkdir()
        written = simulate_book(config)
        paths = [
            *write_lobster(folder, written),
            write_capture(folder / "c.gz", written),
            write_ofer(folder / "o", written),
        ]
        contents.append([path.read_bytes() for path in paths])
    assert contents[0] == contents[1]
    assert (simulate_book(config).time_ns[-1] <= (config.start + config.seconds) * 1e9).all()


def test_a_book_that_would_bend_the_law_is_refused():
    for wrong in ({"levels": 5}, {"clustering": 1.0}, {"half_spreads": (0, 2)}, {"seconds": 0.0}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            BookConfig(**wrong)
