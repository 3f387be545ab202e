"""The look-ahead wall: nothing later, whatever the pod asks; adjustment equals a slow loop."""

from __future__ import annotations

import math
import pickle
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given, reject, settings
from hypothesis import strategies as st

from backtests.audit.lookahead import random_panel
from data_pipeline.daily.panel import GRID_FIELDS, PRICE_FIELDS, CorporateEvent, DailyPanel
from data_pipeline.daily.view import MarketView
from data_pipeline.errors import DataError

N_SESSIONS, N_INSTRUMENTS = 24, 3


def make_panel(seed: int, events: tuple[CorporateEvent, ...] = (), absent: float = 0.15) -> DailyPanel:
    rng = np.random.default_rng(seed)
    shape = (N_SESSIONS, N_INSTRUMENTS)
    gone = rng.random(shape) < absent
    prices = {name: np.where(gone, np.nan, rng.uniform(5.0, 50.0, shape)) for name in PRICE_FIELDS}
    return DailyPanel(
        sessions=np.datetime64("2024-01-01") + np.arange(N_SESSIONS),
        instruments=("AAAA3", "BBBB4", "CCCC11"),
        **prices,
        volume=np.where(gone, 0.0, rng.integers(100, 9000, shape).astype(float)),
        traded_value=np.where(gone, 0.0, rng.uniform(1e3, 1e6, shape)),
        trade_count=np.where(gone, np.nan, rng.integers(1, 500, shape).astype(float)),
        lot_size=np.full(N_INSTRUMENTS, 100),
        risk_free=rng.uniform(0.0, 1e-3, N_SESSIONS),
        events=events,
    )


@st.composite
def corporate_events(draw):
    ex = draw(st.integers(1, N_SESSIONS - 1))
    return CorporateEvent(
        instrument=draw(st.integers(0, N_INSTRUMENTS - 1)),
        ex_session=ex,
        known_session=max(0, ex + draw(st.integers(-5, 5))),
        share_factor=draw(st.sampled_from([1.0, 2.0, 0.1, 1.5, 10.0])),
        cash=draw(st.sampled_from([0.0, 0.25, 1.0])),
        withholding=draw(st.sampled_from([0.0, 0.15])),
        kind="split",
        confidence=1.0,
        source="drawn",
    )


EVENTS = st.lists(corporate_events(), max_size=6).map(tuple)


def everything(view: MarketView) -> bytes:
    """Every byte that the view can give."""
    n = view.n_sessions
    parts = [view.history(name, n, adjusted=flag) for name in GRID_FIELDS for flag in (True, False)]
    parts += [
        view.returns(n),
        view.returns(n, since_last_close=True),
        view.risk_free(n),
        view.sessions(n),
        view.eligible(1e5, n, 0.5),
    ]
    return b"".join(part.tobytes() for part in parts)


def scrambled_after(panel: DailyPanel, now: int, seed: int) -> DailyPanel:
    """The panel with every row after `now` replaced, and every event not public at `now` replaced by another."""
    other = make_panel(seed)
    grids = {
        name: np.concatenate([getattr(panel, name)[: now + 1], getattr(other, name)[now + 1 :]]) for name in GRID_FIELDS
    }
    kept = tuple(e for e in panel.events if e.ex_session <= now and e.known_session <= now)
    # unknown at `now`: one that goes ex later, and one that went ex before but is published later
    later = tuple(
        CorporateEvent(column, ex, now + 1, 3.0, 0.1, 0.0, "split", 1.0, "other")
        for column in range(N_INSTRUMENTS)
        for ex in {min(now + 1, N_SESSIONS - 1), max(1, now - 1)}
    )
    risk_free = np.concatenate([panel.risk_free[: now + 1], other.risk_free[now + 1 :]])
    return replace(panel, **grids, risk_free=risk_free, events=(*kept, *later))


def test_returns_since_the_last_close_make_up_for_silent_sessions():
    """Chained over a gap they equal the move from close to close; a split inside the gap is no loss."""
    panel = make_panel(4, (CorporateEvent(0, 9, 9, 2.0, 0.0, 0.0, "split", 1.0, "drawn"),), absent=0.0)
    close = panel.close.copy()
    close[8:11, 0] = np.nan
    gone = {name: np.where(np.isnan(close), np.nan, getattr(panel, name)) for name in PRICE_FIELDS if name != "close"}
    panel = replace(
        panel,
        **gone,
        close=close,
        volume=np.where(np.isnan(close), 0.0, panel.volume),
        traded_value=np.where(np.isnan(close), 0.0, panel.traded_value),
        trade_count=np.where(np.isnan(close), np.nan, panel.trade_count),
    )
    view = MarketView(panel, 15)
    plain, whole = view.returns(16), view.returns(16, since_last_close=True)
    assert np.isnan(plain[8:12, 0]).all()
    assert np.isnan(whole[8:11, 0]).all()
    assert whole[11, 0] == pytest.approx(2.0 * close[11, 0] / close[7, 0] - 1.0, rel=1e-12)
    there = ~np.isnan(plain)
    np.testing.assert_array_equal(whole[there], plain[there])
    assert np.isnan(view.returns(5, since_last_close=True)[0, 0])  # row 11: the last close is before the window


def test_no_return_is_taken_across_a_hole_in_the_data():
    panel = make_panel(4, absent=0.0)
    hole = {name: getattr(panel, name).copy() for name in (*PRICE_FIELDS, "trade_count")}
    for grid in hole.values():
        grid[8] = np.nan
    silent = {
        name: np.where(np.arange(N_SESSIONS)[:, None] == 8, 0.0, getattr(panel, name))
        for name in ("volume", "traded_value")
    }
    returns = MarketView(replace(panel, **hole, **silent), 15).returns(16, since_last_close=True)
    assert np.isnan(returns[8:10]).all()
    assert np.isfinite(returns[10:]).all()


def test_an_event_that_becomes_known_late_moves_no_bit_before_that():
    """The prompt half of a pair must go through the same roundings whether or not a second half will be published."""
    around = tuple(CorporateEvent(0, ex, ex, 1.5, 0.25, 0.0, "split", 1.0, "drawn") for ex in (2, 3, 8))
    prompt = CorporateEvent(0, 5, 5, 1.0, 0.25, 0.0, "dividend", 1.0, "drawn")
    late = replace(prompt, known_session=12, cash=1.0)
    for seed in range(40):
        one, both = (make_panel(seed, (*around, *events)) for events in ((prompt,), (prompt, late)))
        for row in range(12):
            assert everything(MarketView(one, row)) == everything(MarketView(both, row))
        assert everything(MarketView(one, 12)) != everything(MarketView(both, 12))


@settings(max_examples=60, deadline=None)
@given(EVENTS, st.integers(0, N_SESSIONS - 1), st.integers(0, 10**6))
def test_scrambling_the_future_leaves_every_view_byte_identical(events, now, seed):
    panel = drawn_panel(seed, events)
    other = scrambled_after(panel, now, seed + 1)
    for row in range(now + 1):
        if row in (0, now // 2, now):
            assert everything(MarketView(panel, row)) == everything(MarketView(other, row))


def price_before(panel, column, ex):
    """The last close before the ex session, less what went ex in the silence since, as public at the ex session."""
    rows = [row for row in range(ex) if not math.isnan(panel.close[row, column])]
    price = panel.close[rows[-1], column] if rows else math.nan
    for silent in range(rows[-1] + 1, ex) if rows else ():
        known = [e for e in panel.events if (e.instrument, e.ex_session) == (column, silent) and e.known_session <= ex]
        price = (price - sum(e.cash for e in known)) / math.prod(e.share_factor for e in known)
    return price


def drawn_panel(seed: int, events: tuple[CorporateEvent, ...]) -> DailyPanel:
    """A panel with drawn events; those whose cash is more than is left of the price after a split are drawn anew."""
    panel = make_panel(seed, events)
    try:
        panel.factors  # noqa: B018
    except DataError:
        reject()
    return panel


def slow_adjusted(panel: DailyPanel, name: str, now: int) -> np.ndarray:
    """Adjusted history of rows 0..now by an explicit loop over rows and events."""
    result = np.array(getattr(panel, name)[: now + 1])
    for row in range(now + 1):
        for column in range(N_INSTRUMENTS):
            for ex in range(row + 1, now + 1):
                known = [
                    e for e in panel.events if e.instrument == column and e.ex_session == ex and e.known_session <= now
                ]
                if not known:
                    continue
                shares, cash = 1.0, 0.0
                for event in known:
                    shares *= event.share_factor
                    cash += event.cash
                if name == "volume":
                    result[row, column] *= shares
                    continue
                before = price_before(panel, column, ex)
                result[row, column] *= (1.0 if math.isnan(before) else 1.0 - cash / before) / shares
    return result


def dividend(ex: int) -> CorporateEvent:
    return CorporateEvent(0, ex, ex, 1.0, 0.25, 0.0, "dividend", 1.0, "drawn")


@settings(max_examples=40, deadline=None)
@given(EVENTS, st.integers(0, N_SESSIONS - 1), st.integers(0, 10**6))
@example((dividend(3), dividend(4)), 4, 1)  # the second in the silence after the first
def test_adjusted_history_equals_a_slow_loop(events, now, seed):
    panel = drawn_panel(seed, events)
    view = MarketView(panel, now)
    for name in ("close", "bid", "volume"):
        np.testing.assert_allclose(view.history(name, now + 1), slow_adjusted(panel, name, now), rtol=1e-12)


@settings(max_examples=40, deadline=None)
@given(EVENTS, st.integers(1, N_SESSIONS - 1), st.integers(0, 10**6))
def test_returns_equal_the_gain_of_one_share_by_a_slow_loop(events, now, seed):
    panel = drawn_panel(seed, events)
    returns = MarketView(panel, now).returns(now + 1)
    assert np.isnan(returns[0]).all()
    for row in range(1, now + 1):
        for column in range(N_INSTRUMENTS):
            known = [
                e for e in panel.events if (e.instrument, e.ex_session) == (column, row) and e.known_session <= now
            ]
            shares, received = 1.0, 0.0
            for event in known:
                shares *= event.share_factor
                received += event.cash - event.cash * event.withholding
            gain = (shares * panel.close[row, column] + received) / panel.close[row - 1, column] - 1.0
            np.testing.assert_allclose(returns[row, column], gain, rtol=1e-12, atol=1e-15)


@settings(max_examples=40, deadline=None)
@given(EVENTS, st.integers(0, 10**6))
def test_returns_of_adjusted_prices_are_the_total_returns_where_nothing_is_withheld(events, seed):
    free = tuple(replace(event, withholding=0.0, share_factor=1.0) for event in events)
    panel = make_panel(seed, free, absent=0.0)
    free = tuple(event for event in free if event.known_session < N_SESSIONS)
    view = MarketView(panel, N_SESSIONS - 1)
    prices = view.history("close", N_SESSIONS)
    cash = {(e.ex_session, e.instrument) for e in free}
    direct = prices[1:] / prices[:-1] - 1.0
    returns = view.returns(N_SESSIONS)[1:]
    for row, column in np.ndindex(direct.shape):
        if (row + 1, column) not in cash:
            assert direct[row, column] == pytest.approx(returns[row, column], rel=1e-12, abs=1e-14)
        else:
            # the adjusted price takes P - D as the base, the total return P: (1 + r) P = (1 + d)(P - D) + D
            base = panel.close[row, column]
            paid = sum(e.cash for e in free if (e.ex_session, e.instrument) == (row + 1, column))
            assert (1 + returns[row, column]) * base == pytest.approx(
                (1 + direct[row, column]) * (base - paid) + paid, rel=1e-12
            )


@settings(max_examples=40, deadline=None)
@given(EVENTS, st.integers(0, N_SESSIONS - 1), st.integers(0, 10**6))
def test_unadjusting_the_adjusted_history_gives_the_raw_one(events, now, seed):
    panel = drawn_panel(seed, events)
    view = MarketView(panel, now)
    raw = view.history("close", now + 1, adjusted=False)
    factor = slow_adjusted(panel, "close", now) / raw
    np.testing.assert_allclose(view.history("close", now + 1) / factor, raw, rtol=1e-12)
    np.testing.assert_array_equal(raw, panel.close[: now + 1])


def test_a_late_known_split_enters_only_when_it_is_known():
    event = CorporateEvent(0, 5, 8, 2.0, 0.0, 0.0, "split", 1.0, "late")
    panel = make_panel(1, (event,), absent=0.0)
    raw = panel.close[4, 0]
    assert MarketView(panel, 7).history("close", 8)[4, 0] == raw
    assert MarketView(panel, 8).history("close", 9)[4, 0] == pytest.approx(raw / 2.0, rel=1e-15)
    assert MarketView(panel, 8).history("close", 4)[0, 0] == panel.close[5, 0], (
        "rows from the ex session on are new shares"
    )


def test_an_event_known_before_its_ex_session_changes_nothing_before_it():
    event = CorporateEvent(0, 5, 2, 2.0, 0.0, 0.0, "split", 1.0, "announced")
    panel = make_panel(1, (event,), absent=0.0)
    np.testing.assert_array_equal(MarketView(panel, 4).history("close", 5), panel.close[:5])


@pytest.mark.parametrize("window", [0, -1, 11, 10**9, np.int64(-3)])
def test_a_window_outside_the_visible_sessions_is_refused(window):
    view = MarketView(make_panel(2), 9)
    for ask in (lambda w: view.history("close", w), view.returns, view.risk_free, view.sessions):
        with pytest.raises(ValueError, match=r"window must be in \[1, 10\]"):
            ask(window)


@pytest.mark.parametrize("window", [True, np.True_, 2.0, "3", None, slice(0, 30), np.array([3])])
def test_a_window_that_is_no_whole_number_is_refused(window):
    view = MarketView(make_panel(2), 9)
    for ask in (lambda w: view.history("close", w), view.returns, view.risk_free, view.sessions):
        with pytest.raises(TypeError, match="window must be a whole number"):
            ask(window)


@pytest.mark.parametrize("field", ["Close", "events", "", "lot_size", None, 3, "close "])
def test_an_unknown_field_is_named(field):
    with pytest.raises(ValueError, match="field must be one of open, high"):
        MarketView(make_panel(2), 9).history(field, 2)


def test_numpy_whole_numbers_are_windows():
    view = MarketView(make_panel(2), np.int32(9))
    np.testing.assert_array_equal(view.history("close", np.int64(4)), view.history("close", 4))


@pytest.mark.parametrize("now", [-1, N_SESSIONS, True, 1.0])
def test_a_row_outside_the_panel_is_refused(now):
    with pytest.raises((ValueError, TypeError), match="now must be"):
        MarketView(make_panel(2), now)


def test_rows_before_first_are_hidden():
    panel = make_panel(3, absent=0.0)
    view = MarketView(panel, 9, first=4)
    assert view.n_sessions == 6
    with pytest.raises(ValueError, match=r"window must be in \[1, 6\]"):
        view.history("close", 7)
    assert np.isnan(view.returns(6)[0]).all(), "the close before the first visible session is hidden"
    np.testing.assert_allclose(view.returns(5), panel.close[5:10] / panel.close[4:9] - 1.0, rtol=1e-12)
    with pytest.raises(ValueError, match="first must be"):
        MarketView(panel, 3, first=4)


def test_arrays_are_fresh_read_only_and_lead_nowhere():
    panel = make_panel(4, (CorporateEvent(0, 5, 5, 2.0, 0.0, 0.0, "split", 1.0, "x"),))
    view = MarketView(panel, 9, weights=np.array([0.5, 0.2, 0.0]), net_asset_value=1e6)
    arrays = [view.history(name, 3, adjusted=flag) for name in GRID_FIELDS for flag in (True, False)]
    arrays += [view.returns(3), view.risk_free(3), view.sessions(3), view.eligible(0.0, 3, 0.0), view.weights]
    for array in arrays:
        assert array.base is None
        assert not array.flags.writeable
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0
    assert view.history("close", 3) is not view.history("close", 3)


def test_the_account_is_a_copy_and_empty_in_replays():
    weights = np.array([0.5, 0.2, 0.0])
    view = MarketView(make_panel(4), 9, weights=weights, net_asset_value=2.0)
    weights[0] = 9.0
    assert view.weights[0] == 0.5
    earlier = view.at(3)
    assert (earlier.session, earlier.n_sessions) == (np.datetime64("2024-01-07"), 7)
    assert not earlier.weights.any()
    assert math.isnan(earlier.net_asset_value)
    with pytest.raises(ValueError, match="sessions_back must be in"):
        view.at(10)
    with pytest.raises(ValueError, match="sessions_back must be in"):
        view.at(-1)


@pytest.mark.parametrize("weights", [[0.1], [0.1, np.nan, 0.2], np.zeros((3, 1))])
def test_weights_must_be_one_finite_number_per_instrument(weights):
    with pytest.raises(ValueError, match="weights must be 3 finite numbers"):
        MarketView(make_panel(4), 9, weights=weights)


def test_eligible_counts_absent_sessions_as_zero_value():
    panel = make_panel(5, absent=0.0)
    close, value = np.array(panel.close), np.full((N_SESSIONS, N_INSTRUMENTS), 100.0)
    close[6:9, 0], value[6:9, 0] = np.nan, 0.0
    panel = replace(panel, close=close, traded_value=value)
    view = MarketView(panel, 9)
    assert view.eligible(100.0, 4, 0.0).tolist() == [False, True, True]
    assert view.eligible(0.0, 4, 0.5).tolist() == [False, True, True]
    assert view.eligible(0.0, 10, 0.7).tolist() == [True, True, True]
    with pytest.raises(ValueError, match="min_presence must be in"):
        view.eligible(0.0, 4, 1.5)


def test_cash_above_the_price_is_refused():
    panel = make_panel(6, (CorporateEvent(1, 5, 5, 1.0, 500.0, 0.0, "dividend", 1.0, "typo"),), absent=0.0)
    with pytest.raises(DataError, match="must be below the last close"):
        MarketView(panel, 9).history("close", 5)


def test_a_panel_survives_pickling_with_its_views():
    panel = make_panel(7, (CorporateEvent(0, 5, 5, 2.0, 0.3, 0.15, "split", 1.0, "x"),))
    before = everything(MarketView(panel, 20))
    again = pickle.loads(pickle.dumps(panel))
    assert everything(MarketView(again, 20)) == before
    assert not again.close.flags.writeable


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"close": np.zeros((N_SESSIONS, N_INSTRUMENTS))}, "close must be positive"),
        ({"volume": np.full((N_SESSIONS, N_INSTRUMENTS), -1.0)}, "volume must be zero or positive"),
        ({"open": np.ones((2, 2))}, "open must have shape"),
        ({"instruments": ("A", "A", "B")}, "instruments must be distinct"),
        ({"sessions": np.repeat(np.datetime64("2024-01-01"), N_SESSIONS)}, "strictly increasing"),
        ({"risk_free": np.full(N_SESSIONS, np.nan)}, "risk_free must be finite"),
        ({"lot_size": np.zeros(N_INSTRUMENTS)}, "lot_size must be at least 1"),
        ({"events": (CorporateEvent(9, 1, 1, 2.0, 0.0, 0.0, "split", 1.0, "x"),)}, "instrument of an event"),
        ({"events": (CorporateEvent(0, 99, 1, 2.0, 0.0, 0.0, "split", 1.0, "x"),)}, "ex_session of an event"),
    ],
)
def test_a_wrong_panel_is_refused_by_name(change, message):
    with pytest.raises(ValueError, match=message):
        replace(make_panel(8), **change)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"share_factor": 0.0}, "share_factor"),
        ({"cash": -1.0}, "cash"),
        ({"withholding": 1.0}, "withholding"),
        ({"confidence": 1.2}, "confidence"),
    ],
)
def test_a_wrong_event_is_refused_by_name(values, message):
    good = CorporateEvent(0, 1, 1, 2.0, 0.0, 0.0, "split", 1.0, "x")
    with pytest.raises(ValueError, match=f"{message} must be"):
        replace(good, **values)


@pytest.mark.parametrize("window", [7, 8])
def test_eligible_judges_the_median_itself(window):
    """Second way: numpy's median, of odd and even windows, at levels that are values, means of two, and neither."""
    panel = random_panel(11, 60, 30)
    traded = np.random.default_rng(0).integers(0, 6, (60, 30)).astype(np.float64)
    panel = replace(panel, traded_value=traded)
    for now in range(window - 1, 60):
        view = MarketView(panel, now)
        median = np.median(traded[now - window + 1 : now + 1], axis=0)
        for level in (0.0, 2.0, 2.5, 2.75, 6.0):
            assert view.eligible(level, window, 0.0).tolist() == (median >= level).tolist()


def test_moves_across_silence_are_those_of_the_adjusted_closes():
    """Second way: every window of a market with silences, splits, dividends and late news, from adjusted closes."""
    from data_pipeline.daily.adjust import return_since_last_close

    panel = random_panel(12, 80, 6, silent=0.3)
    late = [replace(event, known_session=event.ex_session + 9) for event in panel.events]
    assert len(late) > 5
    filled = changed = 0
    for market in (panel, replace(panel, events=tuple(late))):
        for now in range(10, 80):
            view = MarketView(market, now)
            plain, whole = view.returns(10), view.returns(10, since_last_close=True)
            expected = return_since_last_close(view.history("close", 10))
            added = np.isnan(plain) & ~np.isnan(whole)
            possible = (
                np.isnan(plain)
                & ~np.isnan(expected)
                & ~np.isnan(market.factors.total_return[now - 9 : now + 1]).all(axis=1)[:, None]
            )
            np.testing.assert_array_equal(added, possible)
            np.testing.assert_allclose(whole[added], expected[added], rtol=1e-12, atol=1e-14)
            np.testing.assert_array_equal(whole[~added], plain[~added])
            filled += int(added.sum())
            changed += market is not panel and not np.array_equal(
                whole, MarketView(panel, now).returns(10, since_last_close=True), equal_nan=True
            )
    assert filled > 500
    assert changed > 5
