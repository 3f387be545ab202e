"""Nothing up to a session depends on later rows, for every shipped pod and executor; and the check catches cheats."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest

from backtests.audit.lookahead import (
    LookaheadError,
    assert_no_lookahead,
    assert_warm_up,
    random_panel,
    scramble_future,
)
from backtests.daily.accounting import TradingRules
from data_pipeline.daily.panel import GRID_FIELDS, DailyPanel
from mfg_core import ExecutionGame, TradingCosts, solve_mfg
from risk.limits import default_limits
from strategies import (
    EqualWeight,
    Immediate,
    LowVolatility,
    ShortTermReversal,
    Targets,
    TimeSeriesMomentum,
    Twap,
    mean_field_schedule,
)

N = 8
COSTS = TradingCosts(np.full(N, 5e-4), np.full(N, 0.02), np.full(N, 4e5), 0.3, 0.2, 3e-4)
LOOSE = {"min_traded_value": 0.0, "min_presence": 0.5, "max_weight": 0.4}

PODS = (
    EqualWeight(rebalance_every=10, universe_window=20, **LOOSE),
    TimeSeriesMomentum(signal_sessions=40, volatility_sessions=20, rebalance_every=5, long_only=False, **LOOSE),
    ShortTermReversal(volatility_sessions=20, rebalance_every=3, **LOOSE),
    LowVolatility(volatility_sessions=30, rebalance_every=7, quantile=0.5, **LOOSE),
)


def executors():
    game = ExecutionGame(
        temporary_impact=0.3,
        crowd_impact=0.2,
        running_penalty=0.01,
        terminal_penalty=1.0,
        initial_mean=0.1,
        horizon=3.0,
    )
    return Immediate(), Twap(3), mean_field_schedule(solve_mfg(game, rtol=1e-8, atol=1e-10))


EXECUTORS = executors()


@pytest.mark.parametrize("executor", EXECUTORS, ids=lambda executor: executor.name)
@pytest.mark.parametrize("pod", PODS, ids=lambda pod: pod.name)
def test_no_pod_and_executor_looks_ahead(pod, executor):
    assert_no_lookahead(
        pod,
        random_panel(21, sessions=110, instruments=N),
        costs=COSTS,
        executor=executor,
        rules=TradingRules(delisting_sessions=15),
        limits=default_limits(10),
        capital=2e6,
    )


@pytest.mark.parametrize("pod", PODS, ids=lambda pod: pod.name)
def test_no_pod_needs_more_history_than_it_declares(pod):
    assert_warm_up(pod, random_panel(22, sessions=150, instruments=N))


@dataclass(frozen=True)
class Cheat:
    """A pod that keeps the panel and buys what will rise tomorrow."""

    panel: DailyPanel = field(repr=False)
    name: str = "cheat"
    lookback: int = 2
    parameters: dict = field(default_factory=dict)

    def fit(self, training):
        return Cheat(training._panel)

    def decide(self, view):
        close = self.panel.close
        row = min(view.n_sessions, len(close) - 1)
        rises = np.nan_to_num(close[row] / close[row - 1]) > 1.0
        return Targets(weights=rises / max(rises.sum(), 1))


@dataclass(frozen=True)
class Understated:
    """A pod that declares two sessions of history and reads thirty when it can."""

    name: str = "understated"
    lookback: int = 2
    parameters: dict = field(default_factory=dict)

    def fit(self, training):
        return self

    def decide(self, view):
        past = view.returns(min(30, view.n_sessions))
        weights = np.abs(np.nan_to_num(past).sum(axis=0))
        return Targets(weights=weights / weights.sum())


@dataclass(frozen=True)
class Silent(Understated):
    """A pod that never decides."""

    name: str = "silent"

    def decide(self, view):
        return None


def test_a_pod_that_keeps_the_panel_is_caught():
    panel = random_panel(23, sessions=60, instruments=N)
    with pytest.raises(LookaheadError, match=r"pod .cheat.: after its fit the decision at 2020-01-0.*it reads close"):
        assert_no_lookahead(Cheat(panel), panel, costs=COSTS)


def test_an_understated_warm_up_is_caught():
    with pytest.raises(LookaheadError, match="needs more than its declared lookback of 2 sessions"):
        assert_warm_up(Understated(), random_panel(24, sessions=60, instruments=N))


def test_scrambling_leaves_the_past_and_changes_every_field_of_the_future():
    panel = random_panel(25, sessions=60, instruments=N)
    other = scramble_future(panel, 30)
    for name in GRID_FIELDS:
        before, after = getattr(panel, name), getattr(other, name)
        assert before[:31].tobytes() == after[:31].tobytes()
        assert not np.array_equal(before[31:], after[31:], equal_nan=True)
    assert [event for event in panel.events if event.ex_session <= 30] == [
        e for e in other.events if e.ex_session <= 30
    ]
    assert [event for event in panel.events if event.ex_session > 30] != [e for e in other.events if e.ex_session > 30]


def test_checks_that_could_not_fail_are_refused():
    panel = random_panel(26, sessions=40, instruments=N)
    with pytest.raises(ValueError, match=r"first must be in \[1, 38\)"):
        assert_no_lookahead(PODS[1], panel, costs=COSTS)
    with pytest.raises(ValueError, match="panel must be longer than the lookback 41"):
        assert_warm_up(PODS[1], panel)
    with pytest.raises(ValueError, match="rows must be at least 20, so that the lookback fits before; was 5"):
        assert_warm_up(EqualWeight(universe_window=20, **LOOSE), panel, rows=[5])
    with pytest.raises(ValueError, match="it decided nothing at any of"):
        assert_warm_up(Silent(), panel)
    with pytest.raises(ValueError, match="panel must make pod 'silent' trade"):
        assert_no_lookahead(Silent(), panel, costs=COSTS)
