"""Bars against pandas, a plain loop, chunks and a changed future."""

from __future__ import annotations

import math
from datetime import date

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_pipeline.book.bar_rules import bar_rule
from data_pipeline.book.bars import UNKNOWN_SIDE, Bars, Quotes, Trades, add, close_bars, make_bars, start_bars
from data_pipeline.errors import DataError

SECOND = 10**9
START = 1_700_000_000 * SECOND


def tape(seed: int, size: int, *, unknown: float = 0.0) -> Trades:
    """Trades at most a few seconds apart, many of them at one time."""
    rng = np.random.default_rng(seed)
    times = START + np.cumsum(rng.choice([0, 0, 1, 400_000_000, 3 * SECOND], size))
    price = np.round(50 + np.cumsum(rng.choice([-0.01, 0.0, 0.01], size)), 2)
    side = np.where(rng.random(size) < unknown, UNKNOWN_SIDE, rng.choice([-1, 0, 1], size)).astype(np.int8)
    return Trades(times, price, rng.integers(0, 9, size) * 100.0, side)


def book(seed: int, size: int) -> Quotes:
    """Quotes, some crossed, locked or one-sided."""
    rng = np.random.default_rng(seed + 1)
    times = START + np.cumsum(rng.choice([0, 1, 300_000_000, 2 * SECOND], size))
    bid = np.round(50 + np.cumsum(rng.choice([-0.01, 0.0, 0.01], size)), 2)
    ask = np.round(bid + rng.choice([-0.01, 0.0, 0.01, 0.03], size), 2)
    bid[rng.random(size) < 0.05], ask[rng.random(size) < 0.05] = np.nan, np.nan
    return Quotes(times, bid, rng.integers(0, 5, size) * 1.0, ask, rng.integers(0, 5, size) * 1.0)


def take(part, chosen):
    return type(part)(*(getattr(part, name)[chosen] for name in part.__slots__))


def same(one: Bars, other: Bars) -> bool:
    return all(np.array_equal(getattr(one, k), getattr(other, k), equal_nan=True) for k in Bars.__slots__)


def frame(trades: Trades) -> pd.DataFrame:
    found = pd.DataFrame({"time": pd.to_datetime(trades.times, utc=True), "price": trades.price, "q": trades.quantity})
    found["value"] = found.price * found.q
    found["bought"] = found.q * (trades.side == 1)
    found["sold"] = found.q * (trades.side == -1)
    found["square"] = np.log(found.price).diff().fillna(0.0) ** 2
    return found


def check_sums(bars: Bars, groups) -> None:
    np.testing.assert_array_equal(bars.trades, groups.price.count())
    np.testing.assert_array_equal(bars.high, groups.price.max())
    np.testing.assert_array_equal(bars.low, groups.price.min())
    np.testing.assert_array_equal(bars.open, groups.price.first())
    np.testing.assert_array_equal(bars.close, groups.price.last())
    np.testing.assert_array_equal(bars.quantity, groups.q.sum())
    np.testing.assert_array_equal(bars.bought, groups.bought.sum())
    np.testing.assert_array_equal(bars.sold, groups.sold.sum())
    with np.errstate(invalid="ignore"):
        np.testing.assert_allclose(bars.vwap, (groups.value.sum() / groups.q.sum()).to_numpy(), rtol=1e-12)
    np.testing.assert_allclose(bars.realised_variance, groups.square.sum(), rtol=1e-9, atol=1e-18)


@settings(max_examples=25)
@given(seed=st.integers(0, 2**32), size=st.integers(1, 400), seconds=st.sampled_from([1, 5, 60]))
def test_time_bars_equal_a_pandas_resample(seed: int, size: int, seconds: int) -> None:
    trades = tape(seed, size)
    bars = make_bars(bar_rule(f"time:{seconds}s"), trades)
    groups = frame(trades).resample(f"{seconds}s", on="time", closed="left", label="left")
    check_sums(bars, groups)
    starts = groups.q.sum().index.as_unit("ns").asi8
    np.testing.assert_array_equal(bars.start, starts)
    np.testing.assert_array_equal(bars.end, starts + seconds * SECOND)
    assert np.isnan(bars.open[bars.trades == 0]).all()


@settings(max_examples=25)
@given(seed=st.integers(0, 2**32), size=st.integers(1, 400), count=st.sampled_from([1, 7, 50]))
def test_tick_bars_equal_groups_of_so_many_rows(seed: int, size: int, count: int) -> None:
    trades = tape(seed, size)
    bars = make_bars(bar_rule(f"tick:{count}"), trades)
    whole = size // count * count
    assert len(bars.start) == size // count
    if whole:
        found = frame(trades)[:whole]
        check_sums(bars, found.groupby(np.arange(whole) // count))
        np.testing.assert_array_equal(bars.end, trades.times[count - 1 : whole : count])
        np.testing.assert_array_equal(bars.start, np.r_[trades.times[0], bars.end[:-1]])


@settings(max_examples=25)
@given(seed=st.integers(0, 2**32), size=st.integers(1, 400), volume=st.sampled_from([1, 450, 2000]))
def test_volume_bars_end_with_the_trade_that_fills_them(seed: int, size: int, volume: int) -> None:
    trades = tape(seed, size)
    label, total, labels = 0, 0.0, []
    for quantity in trades.quantity.tolist():
        labels.append(label)
        total += quantity
        if total >= volume:
            label, total = label + 1, 0.0
    bars = make_bars(bar_rule(f"volume:{volume}"), trades)
    assert len(bars.start) == label
    if label:
        kept = np.array(labels) < label
        check_sums(bars, frame(trades)[kept].groupby(np.array(labels)[kept]))
        assert (bars.quantity >= volume).all()
        np.testing.assert_array_equal(bars.number, np.arange(label))


def plain_quote_figures(start: int, end: int, quotes: Quotes) -> tuple[float, float]:
    """Spread and imbalance of [start, end), one nanosecond-exact piece at a time."""
    pieces = [*zip(quotes.times.tolist(), [*quotes.times[1:].tolist(), 1 << 62], range(len(quotes.times)), strict=True)]
    area = width = lean_area = lean_width = 0.0
    for since, until, k in pieces:
        length = float(max(0, min(until, end) - max(since, start)))
        bid, ask = quotes.bid[k], quotes.ask[k]
        bid_size, ask_size = quotes.bid_quantity[k], quotes.ask_quantity[k]
        if length and bid <= ask:
            area, width = area + length * (ask - bid), width + length
            if bid_size + ask_size > 0:
                lean_area += length * (bid_size - ask_size) / (bid_size + ask_size)
                lean_width += length
    return area / width if width else math.nan, lean_area / lean_width if lean_width else math.nan


@settings(max_examples=30)
@given(seed=st.integers(0, 2**32), rule=st.sampled_from(["time:3s", "volume:900", "tick:5"]))
def test_spread_imbalance_and_variance_weigh_each_quote_by_its_time(seed: int, rule: str) -> None:
    trades, quotes = tape(seed, 60), book(seed, 80)
    bars = make_bars(bar_rule(rule), trades, quotes)
    for k in range(len(bars.start)):
        spread, lean = plain_quote_figures(int(bars.start[k]), int(bars.end[k]), quotes)
        assert bars.spread[k] == pytest.approx(spread, rel=1e-9, nan_ok=True)
        assert bars.imbalance[k] == pytest.approx(lean, rel=1e-9, abs=1e-12, nan_ok=True)
    in_force = np.r_[np.diff(quotes.times) > 0, True]
    good = in_force & (quotes.bid <= quotes.ask) & (quotes.bid > 0)
    times, mids = quotes.times[good], (0.5 * (quotes.bid + quotes.ask))[good]
    squares = np.r_[0.0, np.diff(np.log(mids)) ** 2]
    for k in range(len(bars.start)):
        inside = (times >= bars.start[k]) & (times < bars.end[k])
        if k == 0 and not rule.startswith("time"):
            # nothing before the first trade belongs to a bar; at its time, the quotes after it do
            continue
        assert bars.realised_variance[k] == pytest.approx(squares[inside].sum(), rel=1e-9, abs=1e-18)


def test_states_within_one_moment_add_no_variance() -> None:
    """A message that moves both sides one after the other shows a mid that nobody could trade at."""
    seconds = np.array([0, 1, 1, 1, 2, 2], dtype=np.int64) * 10**9
    bid, ask = np.array([99.0, 99, 99, 100, 100, 99]), np.array([101.0, 103, 109, 102, 101, 101])
    ones = np.ones(6)
    trades = tape(1, 3)
    trades.times[:] = seconds[[0, 2, 5]]
    bars = make_bars(bar_rule("time:60s"), trades, Quotes(seconds, bid, ones, ask, ones))
    assert bars.realised_variance[0] == pytest.approx(math.log(101 / 100) ** 2 + math.log(100 / 101) ** 2, rel=1e-12)


@settings(max_examples=40)
@given(
    seed=st.integers(0, 2**32),
    rule=st.sampled_from(["time:2s", "time:500ms", "volume:700", "tick:3"]),
    cuts=st.lists(st.integers(0, 200), max_size=6),
    quoted=st.booleans(),
)
def test_any_chunks_give_the_same_bars_as_at_once(seed: int, rule: str, cuts: list[int], quoted: bool) -> None:
    trades = tape(seed, 200, unknown=0.02)
    quotes = book(seed, 150) if quoted else None
    once = make_bars(bar_rule(rule), trades, quotes)
    state = start_bars(bar_rule(rule), quoted=quoted)
    borders = sorted({int(trades.times[min(c, 199)]) for c in cuts})
    parts = []
    for low, high in zip([-(1 << 62), *borders], [*borders, 1 << 62], strict=True):
        chosen = take(trades, (trades.times >= low) & (trades.times < high))
        others = None if quotes is None else take(quotes, (quotes.times >= low) & (quotes.times < high))
        parts.append(add(state, chosen, others))
    parts.append(close_bars(state))
    assert same(once, Bars(*(np.concatenate([getattr(p, k) for p in parts]) for k in Bars.__slots__)))


def test_without_quotes_trades_may_be_cut_anywhere() -> None:
    trades = tape(8, 300)
    for rule in ("time:2s", "volume:700", "tick:3"):
        state = start_bars(bar_rule(rule))
        parts = [add(state, take(trades, slice(k, k + 7))) for k in range(0, 300, 7)] + [close_bars(state)]
        joined = Bars(*(np.concatenate([getattr(p, k) for p in parts]) for k in Bars.__slots__))
        assert same(joined, make_bars(bar_rule(rule), trades))


@settings(max_examples=40)
@given(
    seed=st.integers(0, 2**32),
    rule=st.sampled_from(["time:2s", "volume:700", "tick:3"]),
    after=st.integers(0, 200 * SECOND),
    quoted=st.booleans(),
)
def test_bars_known_at_a_time_do_not_depend_on_what_comes_after(seed: int, rule: str, after: int, quoted: bool) -> None:
    trades, quotes = tape(seed, 120), book(seed, 120) if quoted else None
    now = START + after
    last = max(int(trades.times[-1]), now) + 1
    whole = make_bars(bar_rule(rule), trades, quotes, until=last).known_at(now)
    # what is known at `now` is all that has happened by then, and that nothing else did
    past = take(trades, trades.times <= now)
    seen = None if quotes is None else take(quotes, quotes.times <= now)
    if len(past.times) or (seen is not None and len(seen.times)):
        assert same(whole, make_bars(bar_rule(rule), past, seen, until=now))
    changed = Trades(trades.times, np.where(trades.times > now, 1.0, trades.price), trades.quantity, trades.side)
    assert same(whole, make_bars(bar_rule(rule), changed, quotes, until=last).known_at(now))


def test_a_trade_at_the_border_belongs_to_the_next_bar_and_an_empty_bar_says_so() -> None:
    times = np.array([0, 1, 10, 30]) * SECOND
    trades = Trades(times, np.array([1.0, 2.0, 3.0, 4.0]), np.ones(4), np.array([1, -1, 0, 1], dtype=np.int8))
    bars = make_bars(bar_rule("time:10s"), trades)
    assert bars.trades.tolist() == [2, 1, 0, 1]
    assert (bars.start // SECOND).tolist() == [0, 10, 20, 30]
    assert bars.quantity.tolist() == [2.0, 1.0, 0.0, 1.0]
    np.testing.assert_array_equal(bars.close, [2.0, 3.0, np.nan, 4.0])
    np.testing.assert_array_equal(bars.vwap, [1.5, 3.0, np.nan, 4.0])
    assert (bars.bought.tolist(), bars.sold.tolist()) == ([1.0, 0.0, 0.0, 1.0], [1.0, 0.0, 0.0, 0.0])


def test_a_bar_with_one_trade_of_unknown_side_has_no_bought_and_sold() -> None:
    side = np.array([1, UNKNOWN_SIDE, 1, 1], dtype=np.int8)
    bars = make_bars(bar_rule("tick:2"), Trades(np.arange(4), np.ones(4), np.ones(4), side))
    np.testing.assert_array_equal(bars.bought, [np.nan, 2.0])
    np.testing.assert_array_equal(bars.sold, [np.nan, 0.0])


@pytest.mark.parametrize(
    ("session", "hour"), [(date(2018, 1, 15), 2), (date(2023, 1, 16), 3)], ids=["summer time", "none since 2019"]
)
def test_a_grid_in_venue_time_starts_at_the_venue_midnight(session: date, hour: int) -> None:
    rule = bar_rule("time:4h@America/Sao_Paulo")
    midnight = int(pd.Timestamp(session, tz="America/Sao_Paulo").value)
    assert rule.origin(session) == midnight
    assert rule.origin(session) // (3600 * SECOND) % 24 == hour
    ten = midnight + 10 * 3600 * SECOND
    bars = make_bars(rule, Trades(np.array([ten]), np.ones(1), np.ones(1), np.zeros(1, np.int8)), origin=midnight)
    assert [(int(t) - midnight) // (3600 * SECOND) for t in (bars.start[0], bars.end[0])] == [8, 12]


@pytest.mark.parametrize(
    "text",
    ["", "time", "time:60", "time:0s", "time:7s", "time:25h", "tick:1.5", "tick:5s", "volume:0", "volume:5@UTC",
     "time:1s@Nowhere/City", "time:1s+lunch", "tick:5+off_book+off_book", "time:60s\n", "time:1s@../etc"],
)  # fmt: skip
def test_a_rule_of_another_form_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="was "):
        bar_rule(text)


def test_rules_say_which_trades_count() -> None:
    assert bar_rule("tick:5").conditions == ("regular", "cross", "hidden")
    assert bar_rule("volume:10.5+after_market+off_book").conditions[3:] == ("after_market", "off_book")


@pytest.mark.parametrize(
    ("trades", "words"),
    [
        (Trades(np.array([2, 1]), np.ones(2), np.ones(2), np.ones(2, np.int8)), "trade 1 is before"),
        (Trades(np.array([1, 2]), np.array([1, np.nan]), np.ones(2), np.ones(2, np.int8)), "trade 1 has a price"),
        (Trades(np.array([1, 2]), np.ones(2), np.array([1.0, -1]), np.ones(2, np.int8)), "trade 1 has a quantity"),
    ],
)
def test_trades_that_cannot_be_are_refused(trades: Trades, words: str) -> None:
    with pytest.raises(DataError, match=words):
        make_bars(bar_rule("tick:1"), trades)


def test_late_chunks_and_endless_grids_are_refused() -> None:
    one = Trades(np.array([5]), np.ones(1), np.ones(1), np.ones(1, np.int8))
    state = start_bars(bar_rule("tick:1"))
    add(state, one)
    with pytest.raises(DataError, match="trade 0 is before"):
        add(state, Trades(np.array([4]), np.ones(1), np.ones(1), np.ones(1, np.int8)))
    far = Trades(np.array([0, 1 << 60]), np.ones(2), np.ones(2), np.ones(2, np.int8))
    with pytest.raises(DataError, match="more than 2,000,000 bars"):
        make_bars(bar_rule("time:1ms"), far)
    backwards = Quotes(np.array([2, 1]), np.ones(2), np.ones(2), np.ones(2), np.ones(2))
    with pytest.raises(DataError, match="quote 1 is before"):
        make_bars(bar_rule("tick:1"), one, backwards)


@settings(max_examples=200)
@given(
    lots=st.lists(st.integers(1, 3000), min_size=1, max_size=60), decimals=st.integers(0, 8), seed=st.integers(0, 99)
)
def test_decimal_quantities_fill_a_volume_bar_as_their_text_says(lots, decimals: int, seed: int) -> None:
    unit = 10**decimals
    side = np.random.default_rng(seed).choice(np.array([-1, 1], dtype=np.int8), 5 * len(lots))
    quantity = np.array(5 * lots) / unit
    trades = Trades(START + np.arange(quantity.size), np.ones(quantity.size), quantity, side)
    found = make_bars(bar_rule(f"volume:{sum(lots) / unit:.8f}"), trades)
    # five times the same trades, whose whole numbers of lots add up to the bar
    np.testing.assert_array_equal(found.trades, np.full(5, len(lots)))
    ends = range(len(lots), quantity.size + 1, len(lots))
    for name, kept in (("quantity", True), ("bought", side == 1), ("sold", side == -1)):
        own = np.where(kept, quantity, 0.0)
        wanted = [math.fsum(own[stop - len(lots) : stop].tolist()) for stop in ends]
        np.testing.assert_array_equal(getattr(found, name), wanted)
    state = start_bars(bar_rule(f"volume:{sum(lots) / unit:.8f}"))
    cut = [add(state, take(trades, slice(at, at + 7))) for at in range(0, quantity.size, 7)]
    np.testing.assert_array_equal(np.concatenate([part.quantity for part in cut]), found.quantity)


def test_an_infinite_quote_is_refused() -> None:
    quotes = book(1, 20)
    quotes.ask[7] = np.inf
    with pytest.raises(DataError, match="quote 7 has an infinite ask: a side without a quote is nan"):
        make_bars(bar_rule("time:1s"), tape(1, 20), quotes)
