"""The day loop: timing, decisions, limits that act, segments, and the tables of the result."""

from __future__ import annotations

import dataclasses
import doctest
from dataclasses import dataclass

import numpy as np
import pytest

import backtests.daily.measures
from backtests.audit.lookahead import random_panel
from backtests.daily.accounting import TradingRules
from backtests.daily.decisions import DecisionError
from backtests.daily.measures import issuers_of, measure
from backtests.daily.simulator import Segment, simulate
from mfg_core.daily.costs import TradingCosts
from risk.limits import Action, Limit, LimitSet, default_limits
from strategies.execution import Immediate, MeanFieldSchedule, Twap
from strategies.pod import Targets

SESSIONS, N = 60, 4


def flat_panel(close=None, sessions=SESSIONS, n=N, **changes):
    """A panel of constant prices (or the given closes) and ample volume, without events."""
    panel = random_panel(0, sessions=sessions, instruments=n, silent=0.0, events=False)
    prices = np.full((sessions, n), 10.0) if close is None else np.asarray(close, dtype=float)
    fields = dict.fromkeys(("open", "high", "low", "close", "vwap", "bid", "ask"), prices)
    volume = np.full(prices.shape, 1e7)
    return dataclasses.replace(
        panel, **fields, volume=volume, traded_value=volume * 10, risk_free=np.zeros(sessions), **changes
    )


def costs(n=N, half_spread=0.0):
    return TradingCosts(np.full(n, half_spread), np.full(n, 0.02), np.full(n, 1e6), 1e-9, 0.0, 0.0)


@dataclass
class Script:
    """Decides what the script says at each row."""

    script: dict

    def decide(self, view):
        return self.script.get(view.n_sessions - 1)


def run(panel, script, *, rules=None, executor=None, limits=None, last=None, capital=1e6, **options):
    last = panel.sessions.size - 1 if last is None else last
    segment = Segment(0, last, Script(script), costs(len(panel.instruments)), executor or Immediate())
    return simulate(panel, [segment], rules=rules or TradingRules(), limits=limits, capital=capital, **options)


def test_a_decision_at_a_close_trades_in_the_next_session_at_its_vwap():
    panel = flat_panel()
    vwap = np.array(panel.vwap)
    vwap[3] = 10.5
    panel = dataclasses.replace(panel, vwap=vwap)
    account = run(panel, {2: Targets(weights=np.array([0.5, 0, 0, 0]))})
    assert account.fills.row.tolist() == [3]
    assert account.fills.price.tolist() == [10.5]
    assert account.fills.shares.tolist() == [50_000.0]
    assert account.orders.row.tolist() == [2]
    assert account.shares[2].tolist() == [0, 0, 0, 0]
    assert account.returns[3] == pytest.approx(-50_000 * 0.5 / 1e6, abs=1e-9)
    assert (
        run(panel, {2: Targets(weights=np.array([0.5, 0, 0, 0]))}, rules=TradingRules(fill_price="close")).fills.price[
            0
        ]
        == 10.0
    )


def test_tickers_may_be_named_instead_of_counted():
    panel = flat_panel()
    account = run(panel, {0: Targets(weights={"AAAB3": 0.3}), 5: Targets(orders={"AAAB3": -1000.0})})
    assert account.shares[1].tolist() == [0, 30_000, 0, 0]
    assert account.shares[6].tolist() == [0, 29_000, 0, 0]


def test_none_keeps_pending_orders_and_a_new_decision_replaces_them():
    panel = flat_panel()
    account = run(panel, {0: Targets(weights=np.array([0.4, 0, 0, 0]))}, executor=Twap(4))
    assert account.shares[:6, 0].tolist() == [0, 10_000, 20_000, 30_000, 40_000, 40_000]
    account = run(
        panel,
        {0: Targets(weights=np.array([0.4, 0, 0, 0])), 2: Targets(weights=np.array([0.0, 0.1, 0, 0]))},
        executor=Twap(4),
    )
    assert account.shares[2:7, 0].tolist() == [20_000, 15_000, 10_000, 5_000, 0]
    assert account.shares[6].tolist() == [0, 10_000, 0, 0]


def test_pending_orders_go_on_in_the_next_segment_under_its_executor():
    panel = flat_panel()
    script = Script({0: Targets(weights=np.array([0.4, 0, 0, 0]))})
    segments = [
        Segment(0, 1, script, costs(), Twap(4), 0),
        Segment(2, 59, Script({}), costs(half_spread=1e-3), Immediate(), 1),
    ]
    account = simulate(panel, segments, rules=TradingRules(), capital=1e6)
    assert account.shares[:4, 0].tolist() == [0, 10_000, 40_000, 40_000]
    assert account.cost_half_spread[:4] == pytest.approx([0, 0, 300.0, 0])
    assert account.fold[:4].tolist() == [0, 0, 1, 1]


def test_two_segments_with_the_same_parts_equal_one():
    panel = random_panel(4, sessions=90, instruments=5)
    weights = {row: Targets(weights=np.random.default_rng(row).dirichlet(np.ones(5))) for row in range(12, 88, 9)}
    rules = TradingRules(delisting_sessions=8)
    whole = [Segment(10, 89, Script(weights), costs(5), Twap(3))]
    parts = [Segment(10, 50, Script(weights), costs(5), Twap(3), costs_row=9),
             Segment(51, 89, Script(weights), costs(5), Twap(3), costs_row=9)]  # fmt: skip
    one, two = (simulate(panel, segments, rules=rules, capital=2e6) for segments in (whole, parts))
    # The daily volume is restated by a product of factors in another order, hence the last digits.
    np.testing.assert_allclose(one.net_asset_value, two.net_asset_value, rtol=1e-12)
    np.testing.assert_array_equal(one.shares, two.shares)
    assert "delisted" in one.fills.reason


def test_the_volume_of_the_costs_follows_splits_between_training_and_test():
    panel = random_panel(0, sessions=60, instruments=4, silent=0.0)
    split = dataclasses.replace(
        panel.events[0], instrument=0, ex_session=8, known_session=8, share_factor=2.0, cash=0.0, kind="split"
    )
    panel = dataclasses.replace(panel, events=(split,))
    buy = Script({10: Targets(orders=np.array([1000.0, 0, 0, 0]))})
    dear = dataclasses.replace(costs(), temporary_impact=1.0)
    impact = {}
    for row in (7, 8):
        segment = Segment(10, 20, buy, dear, Immediate(), costs_row=row)
        impact[row] = simulate(panel, [segment], rules=TradingRules(), capital=1e6).cost_impact[1]
    assert impact[7] == pytest.approx(impact[8] / 2, rel=1e-12)


def falling_panel(day, loss):
    close = np.full((SESSIONS, N), 10.0)
    close[day:, 0] *= 1.0 - loss
    return flat_panel(close)


def ladder(rearm=0):
    return LimitSet(
        (Limit("drawdown", "drawdown", 0.035, 0.05, 0.075, Action.HALVE, Action.FLATTEN),), rearm_sessions=rearm
    )


def test_a_five_percent_drawdown_halves_the_position_without_a_new_decision():
    account = run(falling_panel(5, 0.06), {0: Targets(weights=np.array([1.0, 0, 0, 0]))}, limits=ladder())
    assert account.state[4:6].tolist() == ["ACTIVE", "HALVED"]
    assert account.gross[7] == pytest.approx(0.5, abs=0.001)
    assert account.orders.reason.tolist() == ["decision", "limits"]
    assert account.orders.row.tolist() == [0, 5]
    assert [(b.limit, b.level) for b in account.breaches] == [("drawdown", "amber"), ("drawdown", "hard")]
    assert {b.session for b in account.breaches} == {account.sessions[5]}


def test_a_kill_drawdown_flattens_and_the_pod_comes_back_after_its_pause():
    decisions = {0: Targets(weights=np.array([1.0, 0, 0, 0])), 8: Targets(weights=np.array([0.0, 0.6, 0, 0]))}
    account = run(falling_panel(5, 0.10), decisions, limits=ladder(rearm=10))
    assert account.state[5] == "FLAT"
    assert np.all(account.shares[6:15] == 0.0)
    # Re-armed at the close of row 15, it gets what the pod last wanted in row 16.
    assert account.state[15] == "ACTIVE"
    assert account.shares[16].tolist() == [0, 54_000.0, 0, 0]
    without = run(falling_panel(5, 0.10), decisions, limits=None)
    assert without.shares[9, 1] > 0.0


def test_a_reducing_pod_may_sell_but_not_buy():
    limits = LimitSet((Limit("day_loss", "day_loss", 0.01, 0.02, 0.5),))
    decisions = {0: Targets(weights=np.array([0.5, 0.3, 0, 0])), 5: Targets(weights=np.array([0.7, 0.1, 0.2, 0]))}
    account = run(falling_panel(5, 0.06), decisions, limits=limits)
    assert account.state[5] == "REDUCING"
    assert account.shares[6].tolist() == [50_000.0, account.shares[6, 1], 0.0, 0.0]
    assert 9_000 <= account.shares[6, 1] < 10_000
    # The next day the loss is gone, and the pod gets what it wanted.
    assert account.state[6] == "ACTIVE"
    assert account.shares[7, 2] > 0.0


def test_concentration_blocks_what_concentrates_and_lets_pass_what_cures():
    limits = LimitSet((Limit("largest_issuer", "largest_issuer", 0.2, 0.4, 0.9),))
    start = {0: Targets(weights=np.array([0.5, 0, 0, 0]))}
    more = run(flat_panel(), start | {3: Targets(weights=np.array([0.6, 0.3, 0, 0]))}, limits=limits)
    assert more.shares[4].tolist() == [50_000.0, 0, 0, 0]
    cure = run(flat_panel(), start | {3: Targets(weights=np.array([0.35, 0.3, 0, 0]))}, limits=limits)
    assert cure.shares[4].tolist() == [35_000.0, 30_000.0, 0, 0]
    assert cure.state[3:6].tolist() == ["REDUCING", "ACTIVE", "ACTIVE"]
    (first, second) = (breach for breach in cure.breaches if breach.level in ("amber", "hard"))
    assert (first.kind, second.kind) == ("active", "active")
    assert second.cleared_session == cure.sessions[4]


def test_forecasts_stand_beside_the_session_they_were_made_for():
    panel = random_panel(3, sessions=200, instruments=5, silent=0.0)
    weights = np.array([0.3, 0.2, -0.2, 0.1, 0.0])
    account = run(panel, {20: Targets(weights=weights)}, var_window=110)
    from data_pipeline.daily.view import MarketView

    held = account.shares[150] * account.price[150] / account.net_asset_value[150]
    losses = np.sort(-(MarketView(panel, 150).returns(110) @ held))[::-1]
    # 1 % of 110 scenarios is 1.1: the second loss; 2.5 % is 2.75: two whole losses and three quarters of the third.
    assert account.risk.var_99[151] == pytest.approx(losses[1])
    assert account.risk.es_975[151] == pytest.approx((losses[0] + losses[1] + 0.75 * losses[2]) / 2.75)
    assert np.isnan(account.risk.var_99[22:101]).all()
    np.testing.assert_array_equal(account.risk.var_exception, -account.returns > account.risk.var_99)
    assert account.risk.gross[151] == pytest.approx(np.abs(held).sum())


def test_measures_add_the_classes_of_one_issuer():
    found = measure(
        np.array([0.2, 0.1, -0.15, 0.0]), np.empty((0, 4)), issuers_of(("PETR3", "PETR4", "VALE3", "XPTO3"))
    )
    assert (found.largest_issuer, found.largest_issuer_weight) == ("PETR", pytest.approx(0.3))
    assert found.hhi == pytest.approx((0.2**2 + 0.1**2 + 0.15**2) / 0.45**2)
    assert found.hhi_of_capital == pytest.approx(0.2**2 + 0.1**2 + 0.15**2)
    assert np.isnan(found.var_99)


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        (
            Targets(weights=np.array([0.5, np.nan, 0, 0])),
            "pod 'p' at 2020-01-04: weights must be finite; was nan for AAAB3",
        ),
        (Targets(weights=np.ones(3)), r"weights must have one entry for each of 4 instruments; was \(3,\)"),
        (
            Targets(weights=np.array([2.0, 0, -0.5, 0])),
            r"\|weights\| must be at most the gross limit 1; was 2.5 \(largest: AAAA3\)",
        ),
        (Targets(weights={"AAAX3": 0.1}), "'AAAX3' is not one; did you mean AAA"),
        (Targets(orders=np.array([np.inf, 0, 0, 0])), "orders must be finite; was inf for AAAA3"),
        (Targets(), "either weights or orders"),
        (Targets(weights=np.zeros(4), orders=np.zeros(4)), "either weights or orders"),
        ("sell", "decide must return Targets or None; was str"),
    ],
)
def test_a_bad_decision_names_pod_session_and_instrument(targets, message):
    with pytest.raises(DecisionError, match=message):
        run(flat_panel(), {3: targets}, pod="p")


def test_an_instrument_that_never_traded_cannot_be_wanted():
    close = np.full((SESSIONS, N), 10.0)
    close[:10, 2] = np.nan
    with pytest.raises(DecisionError, match="weights must be zero for AAAC3, which has not traded yet"):
        run(flat_panel(close), {3: Targets(weights=np.array([0, 0, 0.1, 0]))})


@pytest.mark.parametrize(
    ("segments", "message"),
    [
        ([], "segments must hold at least one"),
        ([(0, 10), (12, 20)], "segment 0 ends at row 10, segment 1 begins at row 12"),
        ([(0, 60)], r"must be rows of the panel, in \[0, 60\)"),
        ([(5, 4)], "in order; were 5 and 4"),
    ],
)
def test_segments_that_do_not_join_are_refused(segments, message):
    made = [Segment(a, b, Script({}), costs(), Immediate(), fold) for fold, (a, b) in enumerate(segments)]
    with pytest.raises(ValueError, match=message):
        simulate(flat_panel(), made, rules=TradingRules(), capital=1e6)


def test_a_ruined_pod_is_closed_and_decides_no_more():
    close = np.full((SESSIONS, N), 10.0)
    close[5:, 0] = 40.0
    account = run(
        flat_panel(close),
        {0: Targets(weights=np.array([-1.0, 0, 0, 0])), 8: Targets(weights=np.array([0.5, 0, 0, 0]))},
        rules=TradingRules(borrow_annual=0.0),
    )
    assert account.net_asset_value[5] < 0.0
    assert np.all(account.shares[7:] == 0.0)
    assert np.all(np.isfinite(account.returns))


def test_the_same_inputs_give_the_same_bytes():
    panel = random_panel(8, sessions=80, instruments=5)
    script = {row: Targets(weights=np.random.default_rng(row).dirichlet(np.ones(5))) for row in range(10, 79, 7)}
    tables = [
        run(panel, script, executor=MeanFieldSchedule((0.5, 0.4), (-0.1, -0.05)), limits=default_limits()).tables()
        for _ in range(2)
    ]
    for name, table in tables[0].items():
        for column, values in table.items():
            assert repr(values.tolist()) == repr(tables[1][name][column].tolist()), (name, column)


def test_tables_have_the_columns_of_the_contract():
    tables = run(flat_panel(), {0: Targets(weights=np.array([0.5, 0, 0, 0]))}, limits=default_limits()).tables()
    assert list(tables["account"]) == [
        "session", "net_asset_value", "return", "cash", "gross", "net", "turnover", "cost_half_spread", "cost_impact",
        "cost_fees", "cost_borrow", "dividends", "interest", "drawdown", "state", "risk_free", "fold",
    ]  # fmt: skip
    assert list(tables["positions"]) == ["session", "instrument", "shares", "price", "value", "weight"]
    assert list(tables["orders"]) == ["decision_session", "instrument", "shares", "reason"]
    assert list(tables["fills"]) == [
        "session", "instrument", "shares", "price", "cost_half_spread", "cost_impact", "cost_fees",
        "participation", "reason",
    ]  # fmt: skip
    assert list(tables["breaches"]) == [
        "id", "session", "limit", "level", "value", "threshold", "kind", "action", "positions_hash", "cleared_session",
    ]  # fmt: skip
    assert list(tables["risk"]) == [
        "session", "var_99", "es_975", "var_exception", "hhi", "largest_issuer", "largest_issuer_weight",
        "gross", "net",
    ]  # fmt: skip
    for table in tables.values():
        assert len({len(values) for values in table.values()}) == 1


def test_examples_in_the_text_run():
    assert doctest.testmod(backtests.daily.measures).failed == 0


def test_a_halved_pod_that_may_also_only_reduce_is_halved_once():
    close = np.full((SESSIONS, 1), 10.0)
    close[10:] = 9.3
    limits = LimitSet(
        (
            Limit("drawdown", "drawdown", hard=0.05, action_hard=Action.HALVE),
            Limit("largest_issuer", "largest_issuer", hard=0.25),
        )
    )
    account = run(flat_panel(close, n=1), {2: Targets(weights=np.array([0.9]))}, limits=limits)
    before, after = account.shares[10, 0], account.shares[12:, 0]
    # Half of the wanted weight of 0.9 at the close of the fall; the remaining 0.45 still exceeds the issuer's limit.
    assert before == 90_000
    assert after[0] == pytest.approx(0.45 * account.net_asset_value[10] / 9.3, abs=100)
    assert set(account.state[10:]) == {"HALVED"}
    assert np.ptp(after) == 0.0
