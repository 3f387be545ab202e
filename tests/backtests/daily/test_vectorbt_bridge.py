"""vectorbt as the second way: the same orders give the same money to the cent, and accounts become its portfolios."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from backtests.audit.lookahead import random_panel
from backtests.daily.accounting import TradingRules, march_targets
from backtests.daily.simulator import Segment, simulate
from backtests.daily.vectorbt_bridge import CASH_FLOWS, ENGINE, to_vectorbt
from mfg_core.daily.costs import TradingCosts
from risk.limits import default_limits
from strategies.execution import Immediate, Twap
from strategies.pod import Targets

CENT = 0.01


def linear_costs(n, rate):
    """Costs that vectorbt can express too: a fraction of the traded value (impact is below 1e-9 of a cent)."""
    return TradingCosts(np.full(n, 0.7 * rate), np.full(n, 0.02), np.full(n, 1e12), 1e-12, 0.0, 0.3 * rate)


def quiet_panel(seed, sessions, n):
    """No events, no gaps, no interest: what both engines know."""
    panel = random_panel(seed, sessions=sessions, instruments=n, silent=0.0, events=False)
    return dataclasses.replace(panel, risk_free=np.zeros(sessions), volume=np.full((sessions, n), 1e12))


@pytest.mark.parametrize("direction", ["long", "both"])
def test_target_weights_give_the_same_value_and_orders_as_vectorbt(direction):
    import vectorbt as vbt

    sessions, n, rate = 120, 6, 0.001
    panel = quiet_panel(11, sessions, n)
    random = np.random.default_rng(5)
    weights = np.full((sessions, n), np.nan)
    drawn = random.dirichlet(np.ones(n), 12) * 0.9
    weights[3::10] = drawn if direction == "long" else drawn * random.choice([-1.0, 1.0], (12, n))
    rules = TradingRules(
        fill_price="close",
        participation_limit=1.0,
        whole_lots=False,
        gross_limit=5.0,
        borrow_cash=True,
        borrow_annual=0.0,
    )
    path = march_targets(
        panel, weights, first=0, costs=linear_costs(n, rate), executor=Immediate(), rules=rules, capital=1e6
    )
    # A target is a number of shares fixed at the decision close, and traded at the next: vectorbt gets that number.
    shares, held = np.full((sessions, n), np.nan), np.zeros(n)
    for t in np.flatnonzero(~np.isnan(weights[:, 0])):
        if t + 1 < sessions:
            wanted = weights[t] * path.net_asset_value[t] / panel.close[t]
            shares[t + 1], held = wanted - held, wanted
    portfolio = vbt.Portfolio.from_orders(
        close=panel.close, size=shares, size_type="amount", price=panel.close, fees=rate, init_cash=1e6,
        cash_sharing=True, group_by=np.zeros(n, dtype=int), call_seq="auto", freq="1D", engine=ENGINE,
    )  # fmt: skip
    np.testing.assert_allclose(path.net_asset_value, portfolio.value().to_numpy(), rtol=0, atol=CENT)
    assert path.orders.sum() == portfolio.orders.count()
    assert path.costs.sum() == pytest.approx(portfolio.orders.records["fees"].sum(), abs=CENT)


def test_target_percent_decided_and_traded_at_the_same_close_is_vectorbts_own_rebalancing():
    import vectorbt as vbt

    # With one price for decision and fill (constant from t to t + 1) the two notions of a target meet.
    sessions, n, rate = 60, 4, 0.002
    panel = quiet_panel(2, sessions, n)
    close = np.repeat(panel.close[::2], 2, axis=0)
    prices = dict.fromkeys(("open", "high", "low", "close", "vwap", "bid", "ask"), close)
    panel = dataclasses.replace(panel, **prices)
    weights = np.full((sessions, n), np.nan)
    weights[0::6] = np.random.default_rng(1).dirichlet(np.ones(n), 10) * 0.8
    rules = TradingRules(fill_price="close", participation_limit=1.0, whole_lots=False, gross_limit=5.0)
    path = march_targets(
        panel, weights, first=0, costs=linear_costs(n, rate), executor=Immediate(), rules=rules, capital=1e6
    )
    wanted = np.full((sessions, n), np.nan)
    wanted[1:] = weights[:-1]
    portfolio = vbt.Portfolio.from_orders(
        close=close, size=wanted, size_type="targetpercent", fees=rate, init_cash=1e6, cash_sharing=True,
        group_by=np.zeros(n, dtype=int), call_seq="auto", freq="1D", engine=ENGINE,
    )  # fmt: skip
    np.testing.assert_allclose(path.net_asset_value, portfolio.value().to_numpy(), rtol=0, atol=CENT)


class Shuffled:
    """Random long and short weights every fourth session."""

    def decide(self, view):
        if view.n_sessions % 4:
            return None
        random = np.random.default_rng(view.n_sessions)
        weights = random.uniform(-0.4, 1.0, len(view.instruments))
        weights *= np.isfinite(view.history("close", 1)[0])
        return Targets(weights=weights / max(np.abs(weights).sum(), 1.0))


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_whole_account_is_a_vectorbt_portfolio_of_the_same_value(seed):
    panel = random_panel(seed, sessions=150, instruments=6, silent=0.05)
    costs = TradingCosts(np.full(6, 5e-4), np.full(6, 0.02), np.full(6, 4e5), 0.3, 0.2, 3e-4)
    account = simulate(
        panel,
        [Segment(10, 149, Shuffled(), costs, Twap(2))],
        rules=TradingRules(delisting_sessions=12, gross_limit=1.2),
        limits=default_limits(20) if seed == 2 else None,
        capital=1e6,
    )
    assert account.dividends.any()
    assert {"order", "fraction", "delisted"} & set(account.fills.reason) >= {"order"}
    portfolio = to_vectorbt(account, panel)
    np.testing.assert_allclose(portfolio.value().to_numpy(), account.net_asset_value, rtol=0, atol=CENT)
    np.testing.assert_allclose(portfolio.returns().to_numpy(), account.returns, atol=1e-8)
    orders = portfolio.orders.records
    own = orders[orders["col"] < 6]
    # One order per instrument and session, however many fills it had there.
    assert len(own) == len(set(zip(account.fills.row.tolist(), account.fills.instrument.tolist(), strict=True)))
    assert own["fees"].sum() == pytest.approx((account.costs - account.cost_borrow).sum(), abs=CENT)
    assert portfolio.wrapper.columns[-1] == CASH_FLOWS


def test_fractions_and_write_offs_survive_the_bridge():
    seen = set()
    for seed in range(8):
        panel = random_panel(seed, sessions=150, instruments=4, silent=0.05)
        costs = TradingCosts(np.full(4, 5e-4), np.full(4, 0.02), np.full(4, 4e5), 0.3, 0.2, 3e-4)
        rules = TradingRules(delisting_sessions=12, delisting_recovery=0.0)
        account = simulate(panel, [Segment(5, 149, Shuffled(), costs, Immediate())], rules=rules, capital=1e6)
        seen |= set(account.fills.reason.tolist())
        value = to_vectorbt(account, panel).value().to_numpy()
        np.testing.assert_allclose(value, account.net_asset_value, rtol=0, atol=CENT)
    assert seen == {"order", "fraction", "delisted"}


def test_another_panel_is_refused():
    panel = random_panel(1, sessions=40, instruments=3)
    account = simulate(
        panel, [Segment(5, 39, Shuffled(), linear_costs(3, 0.001), Immediate())], rules=TradingRules(), capital=1e6
    )
    with pytest.raises(ValueError, match="panel must be the one that the account was simulated on"):
        to_vectorbt(account, random_panel(1, sessions=30, instruments=3))
