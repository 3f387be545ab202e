"""Every real in an account has a cause: value changes are price moves, dividends and interest less costs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backtests.audit.lookahead import random_panel
from backtests.daily.accounting import TradingRules, event_grid, last_known_close, march_targets
from backtests.daily.simulator import Segment, simulate
from mfg_core.daily.costs import TradingCosts
from strategies.execution import Immediate, Twap
from strategies.pod import Targets


def some_costs(n, **changes):
    fields = {
        "half_spread": np.full(n, 5e-4),
        "volatility": np.full(n, 0.02),
        "daily_volume": np.full(n, 4e5),
        "temporary_impact": 0.2,
        "crowd_impact": 0.3,
        "fee": 3e-4,
    }
    return TradingCosts(**fields | changes)


class RandomWeights:
    """A decider whose weights are drawn from the session's number: signed, sometimes none."""

    def __init__(self, seed, gross, long_only):
        self.seed, self.gross, self.long_only = seed, gross, long_only

    def decide(self, view):
        random = np.random.default_rng([self.seed, view.n_sessions])
        if random.random() < 0.6:
            return None
        known = np.isfinite(view.history("close", min(view.n_sessions, 40), adjusted=False)).any(axis=0)
        weights = random.uniform(0.0 if self.long_only else -1.0, 1.0, known.size) * known
        return Targets(weights=weights * (self.gross / np.abs(weights).sum()))


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    gross=st.sampled_from([0.5, 1.0, 2.0]),
    long_only=st.booleans(),
    lots=st.booleans(),
    horizon=st.integers(1, 4),
)
def test_value_changes_are_price_moves_dividends_and_interest_less_costs(seed, gross, long_only, lots, horizon):
    panel = random_panel(seed, sessions=90, instruments=5, silent=0.08)
    rules = TradingRules(
        gross_limit=gross, allow_short=not long_only, whole_lots=lots, delisting_sessions=10, participation_limit=0.05
    )
    first = 20
    segment = Segment(first, 89, RandomWeights(seed, gross, long_only), some_costs(5), Twap(horizon))
    account = simulate(panel, [segment], rules=rules, capital=3e6)
    grid = event_grid(panel, first, 89)

    def explained(t):
        """Price profit of session t: shares held overnight on the restated move, fills from their price to the mark."""
        before, mark = account.price[t - 1], account.price[t]
        reference = (before - grid.cash_gross[t]) / grid.share_factor[t]
        overnight = account.shares[t - 1] * grid.share_factor[t]
        held = np.where(
            account.shares[t - 1] != 0, overnight * (mark - reference) - account.shares[t - 1] * grid.cash_gross[t], 0.0
        )
        fills = account.fills.row == t
        column = account.fills.instrument[fills]
        return held.sum() + (account.fills.shares[fills] * (mark[column] - account.fills.price[fills])).sum()

    profit = np.array([explained(t) for t in range(1, 70)])
    change = np.diff(account.net_asset_value)
    other = (account.dividends + account.interest - account.costs)[1:]
    np.testing.assert_allclose(change, profit + other, rtol=0, atol=1e-9 * account.net_asset_value.max())
    assert account.fills.row.size > 0
    if long_only:
        assert account.shares.min() >= 0.0
        assert account.cash.min() >= -1e-6
    if lots:
        assert np.all(account.shares == np.round(account.shares))


def test_positions_are_the_sum_of_fills_restated_by_splits():
    panel = random_panel(5, sessions=120, instruments=6)
    account = simulate(
        panel,
        [Segment(10, 119, RandomWeights(5, 1.0, False), some_costs(6), Immediate())],
        rules=TradingRules(),
        capital=5e6,
    )
    grid = event_grid(panel, 10, 119)
    shares = np.zeros(6)
    for t in range(1, 110):
        shares *= grid.share_factor[t]
        for row in np.flatnonzero(account.fills.row == t):
            shares[account.fills.instrument[row]] += account.fills.shares[row]
        np.testing.assert_allclose(shares, account.shares[t], atol=1e-6)
        shares = account.shares[t].copy()
    assert "fraction" in account.fills.reason


def test_weight_path_equals_the_day_loop():
    panel = random_panel(2, sessions=100, instruments=5)
    decider = RandomWeights(9, 1.0, True)
    rules = TradingRules(allow_short=False)
    account = simulate(panel, [Segment(15, 99, decider, some_costs(5), Twap(3))], rules=rules, capital=4e6)

    from data_pipeline.daily.view import MarketView

    decisions = [decider.decide(MarketView(panel, row)) for row in range(15, 100)]
    weights = np.array([np.full(5, np.nan) if item is None else item.weights for item in decisions])
    path = march_targets(panel, weights, first=15, costs=some_costs(5), executor=Twap(3), rules=rules, capital=4e6)
    np.testing.assert_allclose(path.net_asset_value, account.net_asset_value, rtol=1e-13)
    assert path.orders.sum() == (account.fills.reason == "order").sum()


def test_last_known_close_looks_back_over_gaps():
    close = np.array([[1.0, np.nan, np.nan], [2.0, 5.0, np.nan], [np.nan, np.nan, np.nan]])
    np.testing.assert_array_equal(last_known_close(close), [2.0, 5.0, np.nan])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"fill_price": "open"}, "fill_price must be 'vwap' or 'close'; was 'open'"),
        ({"participation_limit": 0.0}, r"participation_limit must be in \(0, 1\]; was 0.0"),
        ({"gross_limit": -1.0}, "gross_limit must be positive and finite; was -1.0"),
        ({"delisting_recovery": 1.5}, r"delisting_recovery must be in \[0, 1\]; was 1.5"),
        ({"delisting_sessions": 0}, "delisting_sessions must be at least 1; was 0"),
    ],
)
def test_rules_that_make_no_sense_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        TradingRules(**changes)


def test_weights_that_do_not_fit_are_refused():
    panel = random_panel(2, sessions=30, instruments=3)
    settings = {"first": 0, "costs": some_costs(3), "executor": Immediate(), "rules": TradingRules(), "capital": 1e6}
    with pytest.raises(ValueError, match=r"targets must be \(sessions, 3\) inside the panel's 30 sessions"):
        march_targets(panel, np.zeros((31, 3)), **settings)
    with pytest.raises(ValueError, match="was mixed in row 1"):
        march_targets(panel, np.array([[0.1, 0.1, 0.1], [0.1, np.nan, 0.1]]), **settings)
    with pytest.raises(ValueError, match="'XXXX3' is not one"):
        march_targets(panel, np.zeros((9, 3)), **settings | {"rules": TradingRules(shortable=("XXXX3",))})


def test_targets_in_shares_are_reached_and_held_whatever_the_value():
    panel = random_panel(6, sessions=60, instruments=3, silent=0.0, events=False)
    targets = np.full((60, 3), np.nan)
    targets[[0, 30]] = [[500.0, 0.0, -200.0], [0.0, 300.0, -200.0]]
    rules = TradingRules(participation_limit=1.0, gross_limit=3.0)
    path = march_targets(
        panel, targets, in_shares=True, first=0, costs=some_costs(3), executor=Immediate(), rules=rules, capital=1e6
    )
    held = np.zeros((60, 3))
    held[1:31], held[31:] = targets[0], targets[30]
    value = path.cash + (held * panel.close).sum(axis=1)
    np.testing.assert_allclose(path.net_asset_value, value, rtol=1e-13)
    assert path.orders.tolist() == [2, 1, 1]
