"""The simulated book obeys its own truth, and the truth comes back through every raw format and the calibration."""

from __future__ import annotations

import gzip
import hashlib
import json
import math
import time

import numpy as np
import pytest

from data_pipeline.book.record import FILLED, IntradayRecord
from data_pipeline.feeds.b3.orders import read_b3_orders
from data_pipeline.feeds.crypto.binance_capture import read_binance_capture
from data_pipeline.feeds.lobster.record import read_lobster
from data_pipeline.synthetic.order_book import (
    CANCEL,
    CROSS,
    FILL,
    HALT,
    HIDDEN,
    MOVE,
    NEW,
    REDUCE,
    BookConfig,
    simulate_book,
    simulate_market,
)
from data_pipeline.synthetic.order_book_files import write_capture, write_lobster, write_ofer
from mfg_core import BookPath, RestingOrders, Trades, calibrate_intensity, calibrate_intensity_events
from mfg_core.intraday.intensity_quality import intensity_quality
from mfg_core.intraday.mark_outs import mark_outs

TRUTH = BookConfig(seed=11, seconds=3000.0)
DIGESTS = ("2aedb842523d7c0c", "2b1e1ac61dea2800", "d226875f10d614f6", "efe694df73fe58cc")
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
    for wrong in (
        {"levels": 5}, {"clustering": 1.0}, {"half_spreads": (0, 2)}, {"half_spreads": (1, 90)}, {"seconds": 0.0},
        {"seconds": math.inf}, {"queue": 0}, {"largest_lots": 0}, {"temporary_share": 1.5}, {"bid_fill_decay": -1.0},
        {"mid_moves": -1.0}, {"call_size": -1}, {"halts": ((10.0, 5.0),)}, {"halts": ((10.0, 9999.0),)},
    ):  # fmt: skip
        with pytest.raises(ValueError, match=next(iter(wrong))):
            BookConfig(**wrong)
    with pytest.raises(ValueError, match="mid must be so high"):
        simulate_book(BookConfig(mid=0.3, seconds=60.0))


RICH = BookConfig(
    seed=6, seconds=900.0, queue=3, largest_lots=4, queue_cancels=3.0, reductions=3.0, temporary_share=0.5,
    bid_fill_decay=70.0, clustering=0.3, call_size=700, halts=((100.0, 130.0), (500.0, 560.0)),
)  # fmt: skip


@pytest.fixture(scope="module")
def rich():
    return simulate_book(RICH)


def test_every_queue_is_first_come_first_served(rich):
    """Followed order by order in plain Python: who trades was first in its queue, and sizes add up."""
    queues: dict[tuple[int, int], list[int]] = {}
    left: dict[int, int] = {}
    depths = set()
    columns = (rich.kind, rich.order, rich.side, rich.price, rich.price_before, rich.size, rich.left)
    for kind, order, side, price, before, size, after in zip(*(c.tolist() for c in columns), strict=True):
        queue = queues.setdefault((side, price), [])
        if kind == NEW:
            assert order not in left
            assert size % RICH.size == 0
            assert size <= RICH.size * RICH.largest_lots
            queue.append(order)
            left[order] = size
            depths.add(len(queue))
        elif kind == MOVE:
            queues[side, before].remove(order)
            queue.append(order)
            assert size == left[order]
        elif kind in (FILL, CANCEL, REDUCE):
            place = queue.index(order)
            assert kind != FILL or place == 0
            left[order] -= size
            assert left[order] >= 0
            if left[order] == 0:
                queue.pop(place)
        if kind in (NEW, MOVE, FILL, CANCEL, REDUCE):
            assert after == left[order]
    assert depths == {1, 2, 3}
    assert {NEW, MOVE, FILL, CANCEL, REDUCE, HIDDEN, CROSS, HALT} == set(rich.kind.tolist())


def test_nothing_happens_in_a_halt_and_calls_open_and_close(rich):
    begin = round(RICH.start * 1e9)
    assert (np.diff(rich.time_ns) >= 0).all()
    for start, stop in RICH.halts:
        inside = (rich.time_ns > begin + start * 1e9) & (rich.time_ns < begin + stop * 1e9)
        assert not inside.any()
    halts = rich.kind == HALT
    assert rich.price[halts].tolist() == [-1, 0, 1, -1, 0, 1]
    assert ((rich.time_ns[halts] - begin) / 1e9).tolist() == [100.0, 130.0, 130.0, 500.0, 560.0, 560.0]
    calls = rich.kind == CROSS
    assert ((rich.time_ns[calls] - begin) / 1e9).tolist() == [0.0, 900.0]
    assert rich.size[calls].tolist() == [700, 700]
    assert rich.side[calls].tolist() == [0, 0]


def test_a_halt_moves_the_clock_and_changes_nothing_else():
    plain = simulate_book(BookConfig(seed=9, seconds=300.0))
    halted = simulate_book(BookConfig(seed=9, seconds=400.0, halts=((50.0, 150.0),)))
    kept = halted.kind != HALT
    late = plain.time_ns >= (36_000 + 50) * 10**9
    np.testing.assert_array_equal(halted.time_ns[kept], plain.time_ns + late * 100 * 10**9)
    np.testing.assert_array_equal(halted.order[kept], plain.order)


def test_symbols_of_one_seed_are_independent_and_repeatable():
    config = BookConfig(seed=3, seconds=120.0)
    books = simulate_market(config, ("AAA", "BBB"))
    assert not np.array_equal(books["AAA"].time_ns, books["BBB"].time_ns)
    again = simulate_market(config, ("BBB", "CCC"))
    np.testing.assert_array_equal(again["BBB"].time_ns, books["BBB"].time_ns)


def test_the_market_is_simulated_quickly():
    simulate_book(BookConfig(seconds=10.0))
    started = time.process_time()
    events = simulate_book(BookConfig(seconds=20_000.0, mid=500.0))
    assert (time.process_time() - started) / len(events) < 3e-6  # a million events in less than 3 seconds


def test_bytes_of_the_raw_files_do_not_change(tmp_path):
    """Digests of the first version of these files, written event by event in plain Python."""
    events = simulate_book(BookConfig(seed=5, seconds=300.0))
    lobster = write_lobster(tmp_path, events, levels=3)
    ofer = write_ofer(tmp_path / "o.csv", events)
    capture = gzip.decompress(write_capture(tmp_path / "c.gz", events).read_bytes())
    digests = [hashlib.sha256(path.read_bytes()).hexdigest()[:16] for path in (*lobster, ofer)]
    assert tuple(digests) == DIGESTS[:3]
    assert hashlib.sha256(capture).hexdigest()[:16] == DIGESTS[3]


def test_captures_and_order_files_add_up_with_queues_and_calls(rich, tmp_path):
    """Quantities at every level, followed in Python, are those that the capture says; trades have their sizes."""
    standing: dict[str, dict[str, float]] = {"b": {}, "a": {}}
    traded = 0.0
    for line in gzip.decompress(write_capture(tmp_path / "c.gz", rich, compression=1).read_bytes()).splitlines():
        message = json.loads(line.split(b" ", 1)[1])
        data = message.get("data", {})
        if "lastUpdateId" in message:
            standing = {"b": dict(message["bids"]), "a": dict(message["asks"])}
        elif data["e"] == "depthUpdate":
            for side in "ba":
                for price, quantity in data[side]:
                    standing[side][price] = quantity
                    if float(quantity) == 0:
                        del standing[side][price]
        elif data["e"] == "bookTicker":
            best = max(standing["b"], key=float), min(standing["a"], key=float)
            assert (data["b"], data["a"]) == best
            assert (data["B"], data["A"]) == (standing["b"][best[0]], standing["a"][best[1]])
        else:
            traded += float(data["q"])
    assert traded * 100 == pytest.approx(rich.size[rich.kind == FILL].sum(), rel=1e-12)
    book: dict[int, float] = {}
    left = rich.left[rich.kind != HIDDEN]
    for order, rest in zip(rich.order[rich.kind != HIDDEN].tolist(), left.tolist(), strict=True):
        book[order] = rest
    assert sum(float(q) for side in standing.values() for q in side.values()) * 100 == pytest.approx(sum(book.values()))
    record = read_b3_orders(write_ofer(tmp_path / "o.csv", rich), "SYNT3F")
    signed = record.trades.side != 0
    assert record.trades.size[signed].sum() == rich.size[rich.kind == FILL].sum()
    assert record.trades.size[~signed].tolist() == [700, 700]
    for rule in ("trade_sizes_that_disagree", "trade_rows_without_their_other_side_dropped"):
        assert record.counts[rule] == 0
