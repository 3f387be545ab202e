"""Screening ranks parameter sets like an account of the kernel that trades the same weights under the same costs."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field

import numpy as np
import pytest

from backtests.audit.lookahead import random_panel
from backtests.daily import screening
from backtests.daily.accounting import TradingRules, march_targets
from backtests.daily.screening import INITIAL_CASH, _excess_returns, _values, screen, weight_path
from backtests.daily.vectorbt_bridge import ENGINE
from mfg_core.daily.costs import TradingCosts
from strategies.execution import Immediate
from strategies.momentum import TimeSeriesMomentum
from strategies.pod import Targets, parameter_grid


def flat_costs(n, rate):
    return TradingCosts(np.full(n, rate), np.full(n, 0.02), np.full(n, 1e12), 1e-12, 0.0, 0.0)


def momentum_grid():
    pod = TimeSeriesMomentum(
        volatility_sessions=20, min_traded_value=0.0, max_weight=0.5, gross_limit=0.9, min_presence=0.5
    )
    return parameter_grid(pod, {"signal_sessions": [20, 40], "rebalance_every": [5, 10]})


def test_scores_equal_those_of_accounts_that_trade_the_same_weights():
    panel = random_panel(7, sessions=160, instruments=5, silent=0.0, events=False)
    panel = dataclasses.replace(panel, risk_free=np.zeros(160), volume=np.full((160, 5), 1e12))
    train, pods, costs = range(10, 150), momentum_grid(), flat_costs(5, 0.001)
    found = screen(panel, train, pods, costs)
    rules = TradingRules(fill_price="close", participation_limit=1.0, whole_lots=False, gross_limit=5.0)
    start = 40
    for index, pod in enumerate(pods):
        weights = weight_path(pod, panel, train, start)
        path = march_targets(
            panel, weights, first=train[0] + start, costs=costs, executor=Immediate(), rules=rules, capital=1e9
        )
        returns = np.diff(path.net_asset_value) / path.net_asset_value[:-1]
        # A vectorbt target is a part of the value at the fill, ours at the decision: sizes differ by one day's move.
        sharpe = returns.mean() / returns.std(ddof=1) * np.sqrt(252)
        assert found.sharpe[index] == pytest.approx(sharpe, abs=0.15)
    assert found.returns.shape == (len(train) - start - 1, 4)
    assert found.best == int(np.argmax(found.sharpe))


def test_chunks_give_the_same_scores(monkeypatch):
    panel = random_panel(3, sessions=120, instruments=4)
    arguments = (panel, range(0, 120), momentum_grid(), flat_costs(4, 0.001))
    whole = screen(*arguments)
    monkeypatch.setattr(screening, "CELLS_PER_CALL", 1)
    np.testing.assert_array_equal(screen(*arguments).sharpe, whole.sharpe)


@dataclass(frozen=True)
class BuyOnce:
    """Everything into equal weights at the first close, or nothing at all."""

    invested: float
    name: str = "once"
    lookback: int = 2
    parameters: dict = field(default_factory=dict)

    def fit(self, training):
        return self

    def decide(self, view):
        if view.n_sessions > 2:
            return None
        n = len(view.instruments)
        return Targets(weights=np.full(n, self.invested / n))


def test_scores_are_in_excess_of_cash():
    panel = random_panel(3, sessions=60, instruments=4, silent=0.0, events=False)
    pods = [BuyOnce(1.0), BuyOnce(0.0)]
    rich, poor = (
        screen(dataclasses.replace(panel, risk_free=np.full(60, rate)), range(60), pods, flat_costs(4, 0.0))
        for rate in (1e-3, 0.0)
    )
    # Bought at the second session's close, held from the third on: cash takes its factor from every later return.
    np.testing.assert_allclose(rich.returns[1:, 0], (1.0 + poor.returns[1:, 0]) / 1.001 - 1.0, atol=1e-12)
    assert np.all(rich.returns[:, 1] == 0.0)
    assert np.isnan(rich.sharpe[1])
    assert rich.best == 0


def test_a_fall_across_silent_sessions_is_in_the_score():
    """What a share loses while it does not trade is lost: the first close after the gap books all of it."""
    panel = random_panel(5, sessions=60, instruments=3, silent=0.0, events=False)
    shape = panel.close.shape
    close = np.full(shape, 10.0)
    close[30:33, 0] = np.nan
    close[33:, 0] = 4.0
    gaps = np.isnan(close)
    grids = dict.fromkeys(("open", "high", "low", "close", "vwap"), close)
    quiet = {"volume": np.where(gaps, 0.0, 1e9), "traded_value": np.where(gaps, 0.0, 1e10)}
    panel = dataclasses.replace(
        panel, **grids, **quiet, trade_count=np.where(gaps, np.nan, 9.0), risk_free=np.zeros(60)
    )
    found = screen(panel, range(60), [BuyOnce(1.0)], flat_costs(3, 0.0))
    # a third of the capital in each share, one of which ends at 0.4 of its price
    assert np.prod(1.0 + found.returns[:, 0]) == pytest.approx(1.0 - 0.6 / 3.0, rel=1e-12)


def test_rows_after_the_training_window_do_not_matter():
    from backtests.audit.lookahead import scramble_future

    panel = random_panel(3, sessions=140, instruments=4)
    arguments = (range(0, 110), momentum_grid(), flat_costs(4, 0.001))
    one, two = (screen(data, *arguments) for data in (panel, scramble_future(panel, 109)))
    assert one.returns.tobytes() == two.returns.tobytes()


def test_a_window_shorter_than_the_lookback_is_refused():
    panel = random_panel(3, sessions=60, instruments=4)
    with pytest.raises(ValueError, match="train must have at least 43 sessions, two more than the lookback"):
        screen(panel, range(0, 40), momentum_grid(), flat_costs(4, 0.001))
    with pytest.raises(ValueError, match="pods must hold at least one"):
        screen(panel, range(0, 40), [], flat_costs(4, 0.001))


def test_values_from_the_orders_are_those_of_the_portfolio():
    """Second way: vectorbt's own `value`, with short sales, fees, sets that trade and one that never does."""
    import vectorbt as vbt

    rng = np.random.default_rng(3)
    prices = np.cumprod(1.0 + rng.normal(0.0, 0.02, (60, 4)), axis=0)
    wanted = np.where(rng.random((60, 12)) < 0.3, rng.uniform(-0.5, 0.5, (60, 12)), np.nan)
    wanted[:, 8:] = np.nan
    portfolio = vbt.Portfolio.from_orders(
        close=np.tile(prices, (1, 3)), size=wanted, size_type="targetpercent", direction="both", fees=1e-3,
        init_cash=INITIAL_CASH, cash_sharing=True, group_by=np.repeat(np.arange(3), 4), call_seq="auto", freq="1D",
        engine=ENGINE,
    )  # fmt: skip
    expected = portfolio.value().to_numpy()
    assert np.ptp(expected[:, 0]) > 0.01 * INITIAL_CASH
    np.testing.assert_allclose(_values(portfolio.order_records, prices, 3), expected, rtol=1e-12)


def test_leaving_out_the_sessions_without_a_trade_changes_no_bit():
    """Second way: vectorbt shown every session, through its portfolio; one of the sets never trades."""
    import vectorbt as vbt

    rng = np.random.default_rng(4)
    sessions, n, sets = 90, 7, 4
    prices = np.cumprod(1.0 + rng.normal(0.0, 0.02, (sessions, n)), axis=0)
    weights = []
    for every in (3, 7, 1, 1000):
        path = np.full((sessions, n), np.nan)
        path[every - 1 :: every] = rng.uniform(-0.3, 0.3, path[every - 1 :: every].shape)
        weights.append(path)
    flat = rng.uniform(1e-4, 1e-2, n)
    wanted = np.full((sessions, sets * n), np.nan)
    wanted[1:] = np.concatenate(weights, axis=1)[:-1]
    portfolio = vbt.Portfolio.from_orders(
        close=np.tile(prices, (1, sets)), size=wanted, size_type="targetpercent", direction="both",
        fees=np.tile(flat, sets)[None, :], init_cash=INITIAL_CASH, cash_sharing=True,
        group_by=np.repeat(np.arange(sets), n), call_seq="auto", freq="1D", engine=ENGINE,
    )  # fmt: skip
    value = _values(portfolio.order_records, prices, sets)
    found = _excess_returns(prices, weights, flat)
    assert found.tobytes() == (value[1:] / value[:-1] - 1.0).tobytes()
    assert np.ptp(found[:, :3]) > 0.0
    assert not found[:, 3].any()
    assert not _excess_returns(prices, weights[3:], flat).any()
