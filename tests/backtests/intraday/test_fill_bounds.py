"""A rule under every model: what the models must have to do with each other, and when the mark is set."""

from __future__ import annotations

import json
import runpy
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numba import njit

from backtests.intraday.bounds import BoundRow, FillBounds, capped_prints, fill_bounds, fill_models, join_bounds
from backtests.intraday.feed import session_feed
from backtests.intraday.mark_outs import fill_mark_outs, mark_out_means
from backtests.intraday.outcome import NO_MID
from backtests.intraday.poisson_bound import PoissonBound
from backtests.intraday.profit import profit_split
from backtests.intraday.queue_guess import QueueGuess, queue_guess
from backtests.intraday.quote_path import quote_path
from backtests.intraday.session_account import session_account
from backtests.intraday.settings import Fees, FillSettings, Latency, OwnLimits, QueueModel, TradingSpan
from backtests.intraday.simulator import simulate_session
from data_pipeline.book.events import KIND_MASK, TRADE
from data_pipeline.ingest import ingest
from data_pipeline.store import Store
from data_pipeline.synthetic.b3_trade_files import make_tape, write_old_trades, write_trades
from data_pipeline.synthetic.order_book import BookConfig, simulate_book
from data_pipeline.synthetic.order_book_events import book_events
from strategies.intraday.makers import ConstantSpread
from strategies.intraday.pod import IntradayTraining, MarketTruth
from strategies.intraday.rule import SIGNATURE, Instrument, Rule

SECOND = 1_000_000_000
SYN = Instrument("SYN", "X", tick_size=0.01, lot_size=1.0)
START = 36_000 * SECOND
GUESS = QueueGuess(100.0, 300.0, "given")


@njit([SIGNATURE], cache=True)
def beside_the_last_trade(market, flow, book, own, table, numbers, memory, requests):
    """At call numbers[1] a bid and an ask, numbers[0] ticks off the last trade, left where they are."""
    memory[0] += 1.0
    if memory[0] != numbers[1] or market[8] == 0:
        return 0
    for row in range(2):
        requests[row].action = 1
        requests[row].order_id = market[14] + row
        requests[row].side = 1 - 2 * row
        requests[row].tick = market[8] - (1 - 2 * row) * int(numbers[0])
        requests[row].lots = int(numbers[2])
        requests[row].kind = 1
    return 2


def still(ticks, calls, lots):
    return Rule("still", beside_the_last_trade, numbers=np.array([ticks, calls, lots], dtype=np.float64))


@pytest.fixture(scope="module")
def market():
    """A minute and a half of orders, and a span from its thirtieth second."""
    config = BookConfig(seed=5, seconds=90.0, queue=3, largest_lots=3, queue_cancels=0.5)
    return book_events(simulate_book(config)), TradingSpan(
        START + 30 * SECOND, START + 89 * SECOND, START + 85 * SECOND
    )


def settings(**changes):
    chosen = {"latency": Latency(entry_ns=10**6, response_ns=10**6), "limits": OwnLimits(1000, 1000), **changes}
    return FillSettings(**chosen)


def maker(order_lots=100, max_position=1000, **options):
    truth = MarketTruth(3.0, 3.0, 50.0, volatility=0.01, half_spread=0.01, mid=50.0)
    training = IntradayTraining(SYN, truth, ("2021-03-15",), 60.0, order_lots=order_lots, max_position=max_position)
    return ConstantSpread(**options).fit(training)


def test_orders_left_alone_are_filled_sooner_the_less_is_ahead(market):
    events, span = market
    first = {}
    for calls in range(1, 500, 7):
        bounds = {
            model.name: simulate_session(events, still(1, calls, 100), SYN, span, settings(queue=model.queue))
            for model in fill_models("l3", GUESS)
        }
        for name, made in bounds.items():
            resting = made.fills[(made.fills["maker"] == 1)]
            for side in (1, -1):
                times = resting["exch_ts"][resting["side"] == side]
                first.setdefault(name, []).append(int(times[0]) if times.size else span.stop)
    met = {name: np.array(times) for name, times in first.items()}
    assert (met["assumed_low"] <= met["assumed_high"]).all()
    # trade-through needs a print beyond: all other models fill by that, too
    for name in ("assumed_low", "assumed_high", "pessimistic", "probabilistic", "exact"):
        assert (met[name] <= met["trade_through"]).all(), name
    # who is taken to have left was behind, or was perhaps ahead
    assert (met["probabilistic"] <= met["pessimistic"]).all()
    assert (met["exact"] <= met["pessimistic"]).all()
    strict = {name: int((times < met["trade_through"]).sum()) for name, times in met.items()}
    assert min(strict["assumed_low"], strict["assumed_high"]) > 0
    assert strict["exact"] >= strict["pessimistic"] > 0


def test_all_models_that_orders_allow_are_reported_together(market):
    events, span = market
    guess = queue_guess(events, SYN, until=span.start)
    found = fill_bounds(events, maker(), SYN, span, settings(fees=Fees(maker=-1e-5, taker=3e-4)), guess)
    names = [row["model"] for row in found.table()]
    assert names == ["trade_through", "assumed_high", "assumed_low", "pessimistic", "probabilistic", "exact"]
    record = json.loads(json.dumps(found.record(), allow_nan=False))
    for row in record["table"]:
        parts = ("captured", "crossed", "liquidated", "inventory", "fees")
        assert sum(row[name] for name in parts) == pytest.approx(row["profit"], abs=1e-6)
        assert row["fills"] > 0
    assert record["reference"] == "quotes"
    again = fill_bounds(events, maker(), SYN, span, settings(fees=Fees(maker=-1e-5, taker=3e-4)), guess)
    assert again.record() == found.record()


def test_the_engines_mids_are_those_of_a_replay_apart_from_it(market):
    events, span = market
    made = simulate_session(events, maker(requote_ticks=1), SYN, span, settings())
    path, fills = quote_path(events, SYN, until=span.stop), made.fills
    resting = fills["maker"] == 1
    replayed = np.where(resting, path.before(fills["exch_ts"]), path.at(fills["exch_ts"]))
    assert resting.sum() > 50
    assert (~resting).sum() > 0  # the liquidation
    known = fills["mid2"] != NO_MID
    np.testing.assert_array_equal(fills["mid2"][known], replayed[known])
    assert known.all()
    assert made.last_mid2 == path.mid2[-1]
    split = profit_split(made, path)
    assert float(split.money()["profit"]) == pytest.approx(made.profit, abs=1e-9)


def test_fills_of_the_simulated_book_meet_the_impact_that_was_put_into_it():
    """Every market order moves the mid by a tick with probability p, whoever it hits: mean mark-out -p ticks."""
    config = BookConfig(
        seed=8, seconds=1500.0, half_spreads=(1, 1), spread_switches=0.0, mid_moves=0.0, ask_arrival=3.0,
        bid_arrival=3.0, shift_probability=0.3, hidden_trades=0.0,
    )  # fmt: skip
    events = book_events(simulate_book(config))
    span = TradingSpan(START + SECOND, START + 1500 * SECOND, START + 1499 * SECOND)
    assumed = settings(queue=QueueModel("assumed"), limits=OwnLimits(10**6, 100))
    made = simulate_session(events, maker(max_position=10**6), SYN, span, assumed)
    path = quote_path(events, SYN, until=span.stop)
    means = mark_out_means([fill_mark_outs(made, path, (0.5, 2.0), start=span.start)])
    truth = -config.impact_after(0.5) / config.tick
    assert truth == -0.3
    assert means.fills[0, 2, 0] > 2000
    for column in range(2):
        away = means.move[0, 2, column] - truth
        # four standard errors: one false alarm in 16,000 seeds; and the error is small enough to tell 0.3 from 0
        assert abs(away) < 4 * means.move_error[0, 2, column]
        assert means.move_error[0, 2, column] < 0.075


def trades_only(events):
    return events[(events["ev"] & np.uint64(KIND_MASK)) == TRADE]


def test_with_trades_alone_the_reference_is_the_last_trade_and_prints_are_capped(market):
    events, span = market
    prints = trades_only(events)
    guess = queue_guess(prints, SYN, until=span.start)
    whole = fill_bounds(prints, still(1, 5, 10**6), SYN, span, settings(limits=OwnLimits(10**6, 10**6)), guess)
    part = fill_bounds(
        prints, still(1, 5, 10**6), SYN, span, settings(limits=OwnLimits(10**6, 10**6)), guess, print_share=0.1
    )
    assert [row["model"] for row in whole.table()] == ["trade_through", "assumed_high", "assumed_low"]
    assert whole.reference == "last trade"
    lots = {name: [row["lots"] for row in bounds.table()] for name, bounds in (("whole", whole), ("part", part))}
    assert 0 < lots["part"][0] <= 0.1 * lots["whole"][0]
    assert part.guess.high == pytest.approx(0.1 * guess.high)
    outcome = simulate_session(
        capped_prints(prints, 0.1), still(1, 5, 10**6), SYN, span,
        settings(limits=OwnLimits(10**6, 10**6), queue=QueueModel("trade_through")),
    )  # fmt: skip
    for fill in outcome.fills:
        traded = prints["qty"][prints["exch_ts"] == fill["exch_ts"]]
        assert fill["lots"] <= 0.1 * traded.sum()
    with pytest.raises(ValueError, match="print_share must be 1 where there is a book"):
        fill_bounds(events, still(1, 5, 100), SYN, span, settings(), guess, print_share=0.5)


@pytest.mark.parametrize("signed", [True, False], ids=["signed", "today"])
def test_a_raw_file_of_b3_trades_ends_in_bounds_of_a_maker(signed, tmp_path):
    """File -> store -> feed -> bounds: old files say who was the aggressor, today's leave it to the tick rule."""
    book = simulate_book(BookConfig(seed=3, seconds=900.0, symbol="SYNT3", size=100, start=41_400.0))
    tape = make_tape({"SYNT3": book}, day="2017-03-15" if signed else "2024-05-06")
    write = write_old_trades if signed else write_trades
    ingest([write(tmp_path / "trades.txt", tape)], tmp_path / "store")
    store = Store.open(tmp_path / "store")
    feed = session_feed(store, "B3", "SYNT3", tape.day, liquidate_before=0.0)
    assert (feed.counts["trades_of_unknown_side"] == feed.counts["trades"]) != signed
    truth = MarketTruth(3.0, 3.0, 50.0, volatility=0.01, half_spread=0.015, mid=50.0)
    lots = feed.instrument.lot_size
    first = int(feed.events["exch_ts"][0])
    span = TradingSpan(start=first + 300 * SECOND, stop=first + 800 * SECOND, liquidate=first + 795 * SECOND)
    training = IntradayTraining(feed.instrument, truth, (tape.day,), 495.0, order_lots=2, max_position=10)
    guess = queue_guess(feed.events, feed.instrument, until=span.start)
    limits = settings(limits=OwnLimits(10, 2))
    pod = ConstantSpread(reference="last_trade")
    bounds = fill_bounds(feed.events, pod.fit(training), feed.instrument, span, limits, guess)
    rows = {row["model"]: row for row in bounds.table()}
    assert list(rows) == ["trade_through", "assumed_high", "assumed_low"]
    assert 0 < rows["trade_through"]["fills"] <= rows["assumed_low"]["fills"]
    assert bounds.reference == "last trade"
    assert lots == 100.0
    none = fill_bounds(feed.events, ConstantSpread().fit(training), feed.instrument, span, limits, guess)
    assert none.why.startswith("No order was sent under any model")
    assert "reference = last_trade" in none.why


def test_nothing_of_the_future_is_in_a_bound(market):
    events, span = market
    cut = START + 60 * SECOND
    changed = events.copy()
    later = changed["exch_ts"] > cut
    changed["qty"][later & ((changed["ev"] & np.uint64(KIND_MASK)) == TRADE)] *= 3
    for model in fill_models("l3", GUESS):
        before, after = (
            simulate_session(some, maker(), SYN, span, settings(queue=model.queue)).fills for some in (events, changed)
        )
        np.testing.assert_array_equal(before[before["exch_ts"] <= cut], after[after["exch_ts"] <= cut])


def bounds_of(*gains, poisson=None):
    """Bounds whose models gained these."""
    made = simulate_session(np.zeros(0, dtype=EVENTS), still(1, 5, 1), SYN, TradingSpan(0, 2, 1), FillSettings())
    path = quote_path([], SYN)
    account = session_account(made, path, TradingSpan(0, 2, 1), FillSettings(), blocks=1)
    models = fill_models("l3", GUESS)
    rows = tuple(
        BoundRow(model, (replace(account, gains=np.array(gain)),)) for model, gain in zip(models, gains, strict=False)
    )
    return FillBounds("r", SYN, "quotes", rows, poisson, GUESS, 1.0)


EVENTS = book_events(simulate_book(BookConfig(seconds=0.5))).dtype
SURE, LOSS, NOISE = [1.0, 1.1, 0.9, 1.0], [-1.0, -1.1, -0.9, -1.0], [1.0, -1.0, 2.0, -1.0]


def test_the_mark_says_what_the_models_disagree_about():
    assert not bounds_of(SURE, SURE).model_dependent
    assert bounds_of(SURE, SURE).why == "All models agree: a profit by trade_through, assumed_high."
    contrary = bounds_of(SURE, LOSS)
    assert contrary.model_dependent
    assert "contradict each other: a profit by trade_through; a loss by assumed_high" in contrary.why
    weak = bounds_of(SURE, NOISE)
    assert weak.model_dependent
    assert "nothing sure by assumed_high" in weak.why
    sign = bounds_of(NOISE, [-gain for gain in NOISE])
    assert sign.why.startswith("Model dependent in sign only")
    poisson = PoissonBound(np.full(100, -1.0), 1.0, 0.0, "")
    assert bounds_of(SURE, SURE, poisson=poisson).model_dependent


def test_sessions_are_joined_model_by_model():
    one, two = bounds_of(SURE, NOISE), bounds_of(SURE, LOSS)
    both = join_bounds([one, two])
    assert [row.gain.total for row in both.rows] == pytest.approx([8.0, sum(NOISE) + sum(LOSS)])
    assert both.rows[0].gain.pieces == 8
    with pytest.raises(ValueError, match="one rule, instrument and list of models"):
        join_bounds([one, bounds_of(SURE)])


@pytest.mark.realdata
def test_real_makers_run_on_the_real_book(realdata, tmp_path):
    folder = Path(__file__).parents[3] / "benchmarks"
    sys.path.insert(0, str(folder))
    try:
        makers = runpy.run_path(str(folder / "real_makers.py"))
    finally:
        sys.path.remove(str(folder))
    name = "amzn"
    market = replace(makers["MARKETS"][name], trade=(45_000.0, 45_600.0))
    store = makers["take_in"](market, realdata, tmp_path / "store")
    result = makers["bounds_of"](market, store, chosen=("constant_spread", "regime_switch"), paths=20)
    assert set(result["bounds"]) == {"constant_spread", "regime_switch"}
    for bounds in result["bounds"].values():
        assert len(bounds.rows) == 5
        assert all(row.accounts[0].orders.orders > 100 for row in bounds.rows)
    assert "| poisson |" in "\n".join(makers["lines"](name, market, result))


@pytest.mark.realdata
def test_the_engines_mids_on_a_real_book_are_those_of_a_replay_apart_from_it(realdata, tmp_path):
    ingest(sorted(realdata.glob("lobster/AMZN_2012-06-21_*_1.csv")), tmp_path / "store")
    events = Store.open(tmp_path / "store").event_array("NASDAQ", "AMZN", "2012-06-21")
    amzn = Instrument("AMZN", "NASDAQ", tick_size=0.01, lot_size=1.0)
    first = int(events["local_ts"][0])
    span = TradingSpan(first + 3600 * SECOND, first + 5400 * SECOND, first + 5390 * SECOND)
    made = simulate_session(events, maker(), amzn, span, settings())
    path, fills = quote_path(events, amzn, until=span.stop), made.fills
    replayed = np.where(fills["maker"] == 1, path.before(fills["exch_ts"]), path.at(fills["exch_ts"]))
    assert fills.size > 50
    np.testing.assert_array_equal(fills["mid2"], replayed)
    account = session_account(made, path, span, settings())
    assert account.gains.sum() == pytest.approx(made.profit, abs=1e-6)
    # the engine's own sum of the time that quotes stood, and that from the orders
    quoted = made.quoted_ns / made.quoted_ns[3]
    assert (account.uptime.bid, account.uptime.ask, account.uptime.both) == pytest.approx(tuple(quoted[:3]), abs=1e-12)
