"""Verdicts on days that are made up, one defect at a time."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from data_pipeline.quality.intraday import judge_day
from data_pipeline.sessions.hours import b3_hours, venue_hours
from data_pipeline.tables.catalog import QUOTES, TRADES

DAY = "2023-08-01"
HOURS = b3_hours(DAY)
START = int(HOURS.continuous.start.astype(np.int64))
END = int(HOURS.continuous.end.astype(np.int64))
SECOND = 1_000_000_000


def table(spec, **columns) -> pa.Table:
    count = len(columns["time"])
    full = {"session": np.full(count, np.datetime64(DAY)), "symbol": ["PETR4"] * count, "sequence": np.arange(count)}
    arrays = {**full, **columns}
    made = []
    for column in spec.columns:
        values = arrays.get(column.name)
        made.append(pa.nulls(count, column.type) if values is None else pa.array(values).cast(column.type))
    return pa.table(made, schema=spec.schema)


def day(seed: int = 0, step: float = 1.0):
    """Trades and quotes each second, the trade at the bid or the ask."""
    rng = np.random.default_rng(seed)
    times = np.arange(START, END, int(step * SECOND))
    mid = 3000 + np.cumsum(rng.integers(-1, 2, times.size))
    side = rng.choice([-1, 1], times.size)
    quotes = {"time": times, "bid": (mid - 1) / 100, "ask": (mid + 1) / 100}
    quotes |= {"bid_quantity": np.full(times.size, 100.0), "ask_quantity": np.full(times.size, 100.0)}
    trades = {"time": times + SECOND // 2, "price": (mid + side) / 100, "quantity": np.full(times.size, 100.0)}
    trades |= {"condition": np.full(times.size, "regular"), "trade_id": (10 * np.arange(times.size)).astype(str)}
    return trades, quotes


def judge(trades, quotes, hours=HOURS, venue="B3"):
    return judge_day(venue, "PETR4", DAY, table(TRADES, **trades), table(QUOTES, **quotes), hours)


def checks(verdict) -> set[str]:
    return {problem.check for problem in verdict.problems}


def test_an_honest_day_is_green():
    verdict = judge(*day())
    assert (verdict.light, verdict.score, verdict.problems) == ("green", 1.0, ())
    assert verdict.cover > 0.999


def test_a_hole_of_an_hour_costs_its_share_of_the_day():
    trades, quotes = day()
    hole = slice(3600, 7200)
    verdict = judge(*({k: np.delete(v, hole) for k, v in part.items()} for part in (trades, quotes)))
    assert checks(verdict) == {"silence"}
    assert verdict.score == pytest.approx(1 - 3600 * SECOND / (END - START), abs=1e-4)


@pytest.mark.parametrize("stopped", ["trades", "quotes"])
def test_a_stream_that_stops_while_the_other_goes_on_is_told(stopped):
    trades, quotes = day()
    hole = slice(3600, 4200)
    if stopped == "trades":
        trades = {k: np.delete(v, hole) for k, v in trades.items()}
    else:
        quotes = {k: np.delete(v, hole) for k, v in quotes.items()}
    verdict = judge(trades, quotes)
    assert f"{stopped} silence" in checks(verdict)
    assert "silence" not in checks(verdict)
    assert verdict.light == "amber"
    assert verdict.score == pytest.approx(1 - 600 * SECOND / (END - START), abs=1e-4)


def test_an_order_that_goes_through_levels_is_not_outside_of_the_quotes():
    trades, quotes = day()
    deeper = {name: np.repeat(values, 3) for name, values in trades.items()}
    deeper["price"] = deeper["price"] + np.tile([0.0, 0.02, 0.04], trades["time"].size)
    deeper["trade_id"] = np.arange(deeper["time"].size).astype(str)
    assert "outside" not in checks(judge(deeper, quotes))


def test_half_a_day_is_red():
    trades, quotes = day()
    verdict = judge(*({k: v[:9000] for k, v in part.items()} for part in (trades, quotes)))
    assert verdict.light == "red"
    assert "cover" in checks(verdict)


def test_crossed_and_empty_sides_are_told_with_their_time():
    trades, quotes = day()
    quotes["bid"][100:110] += 1.0
    quotes["ask"][200:230] = np.nan
    verdict = judge(trades, quotes)
    assert {"crossed", "one-sided"} <= checks(verdict)
    assert any(p.words == "crossed quotes for 10 s" for p in verdict.problems)
    assert verdict.score == pytest.approx(1 - 40 * SECOND / (END - START), rel=1e-6)


def test_bad_trades_are_counted():
    trades, quotes = day()
    trades["price"][50] *= 1.5
    trades["price"][77] += 0.005
    trades["trade_id"][90] = trades["trade_id"][91]
    trades["time"][-1] = END + 3 * 3600 * SECOND
    verdict = judge(trades, quotes)
    assert checks(verdict) == {"spike", "tick", "repeated_id", "hours"}
    assert verdict.light == "amber"


def test_trades_that_do_not_fit_the_quotes_are_told():
    trades, quotes = day()
    trades["price"] = trades["price"] + 0.5
    assert "outside" in checks(judge(trades, quotes))


def test_a_clock_behind_the_exchange_is_told():
    trades, quotes = day()
    quotes["local_time"] = quotes["time"] - 1_270_000_000
    (problem,) = judge(trades, quotes).problems
    assert problem.check == "quotes clock"
    assert "median -1.270 s" in problem.words


def test_rows_out_of_order_are_told():
    trades, quotes = day()
    trades["sequence"] = np.arange(trades["time"].size)
    trades["sequence"][[10, 11]] = [11, 10]
    assert checks(judge(trades, quotes)) == {"trades order"}


def test_prints_of_the_calls_are_named_by_their_phase():
    trades, quotes = day()
    call = START - 60 * SECOND
    print_ = {"time": np.full(40, call), "price": np.full(40, 30.0), "quantity": np.full(40, 500.0)}
    print_ |= {"condition": np.full(40, "regular"), "trade_id": [f"c{k}" for k in range(40)]}
    trades = {name: np.concatenate([print_[name], values]) for name, values in trades.items()}
    ((_, price, count, quantity, phase),) = judge(trades, quotes).bursts
    assert (price, count, quantity, phase) == (30.0, 40, 20_000.0, "opening_call")


def test_a_venue_without_hours_is_judged_over_what_was_recorded():
    trades, quotes = day()
    part = [{k: v[:300] for k, v in rows.items()} for rows in (trades, quotes)]
    verdict = judge(*part, hours=venue_hours("BINANCE_USDM", DAY), venue="BINANCE_USDM")
    assert verdict.light == "green"
    assert verdict.cover < 0.01
    assert np.isnan(judge(*part, hours=None).cover)


def test_nothing_at_all_scores_zero():
    empty = {"time": np.empty(0, dtype=np.int64)}
    verdict = judge(empty, empty)
    assert (verdict.score, verdict.light) == (0.0, "red")
    assert verdict.record()["problems"]


def test_a_print_during_the_day_is_an_auction_only_after_a_pause():
    trades, quotes = day()
    for pause, found in ((0, 0), (300, 1)):
        kept = {name: np.delete(values, slice(5000 - pause, 5000)) for name, values in trades.items()}
        at = 5000 - pause
        print_ = {"time": np.full(25, kept["time"][at] - 1), "price": np.full(25, kept["price"][at])}
        print_ |= {"quantity": np.full(25, 500.0), "condition": np.full(25, "regular")}
        print_["trade_id"] = np.array([f"a{k}" for k in range(25)])
        mixed = {name: np.insert(values.astype(object), at, print_[name]) for name, values in kept.items()}
        typed = {name: np.array(values.tolist()) for name, values in mixed.items()}
        assert len(judge(typed, quotes).bursts) == found
