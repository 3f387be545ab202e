"""Training rows in several pieces: nothing of the rows in between reaches a fit, a calibration or a score."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field

import numpy as np
import pytest

from backtests.audit.lookahead import random_panel
from backtests.daily.screening import replay, screen
from backtests.evidence.statistics import SESSIONS_PER_YEAR
from backtests.walk.blocks import costs_at
from backtests.walk.choice import score_choices
from backtests.walk.combinatorial import Split, inner_folds
from backtests.walk.fold_tasks import calibrate_view
from backtests.walk.folds import FoldSettings
from backtests.walk.plan import ChoiceRule, PodPlan, WalkForwardPlan
from backtests.walk.provenance import rows_hash
from backtests.walk.training import separated, training_hash, training_panel, view_of
from data_pipeline.daily.panel import PRICE_FIELDS, CorporateEvent, DailyPanel
from mfg_core.daily.costs import TradingCosts
from strategies.equal_weight import EqualWeight
from strategies.pod import Targets

RANGES = (range(10, 70), range(95, 150))


def scramble_hole(panel: DailyPanel, ranges=RANGES, seed: int = 5) -> DailyPanel:
    """Other prices, volumes, rates and cash events wherever nothing trains; splits and membership are left alone."""
    random = np.random.default_rng(seed)
    outside = np.ones(panel.sessions.size, dtype=bool)
    for piece in ranges:
        outside[piece.start : piece.stop] = False
    changed = {}
    for name in (*PRICE_FIELDS, "volume", "traded_value", "trade_count"):
        values = np.array(getattr(panel, name))
        values[outside] = np.exp(random.normal(2.0, 1.0, values[outside].shape))
        changed[name] = values
    risk_free = np.where(outside, random.uniform(0.0, 0.01, outside.size), panel.risk_free)
    events = [event for event in panel.events if not (outside[event.ex_session] and event.cash > 0.0)]
    events += [CorporateEvent(1, row, row, 1.0, 0.01, 0.15, "jcp", 1.0, "drawn") for row in (80, 85, 155)]
    return dataclasses.replace(panel, **changed, risk_free=risk_free, events=tuple(events))


@pytest.fixture(scope="module")
def panel() -> DailyPanel:
    return random_panel(11, sessions=170, instruments=5)


def flat_costs(n: int) -> TradingCosts:
    return TradingCosts(np.full(n, 1e-3), np.full(n, 0.02), np.full(n, 1e6), 1.0, 0.0, 0.0)


@dataclass(frozen=True)
class Fitted:
    """Holds what rose on average in training, by a rule that reads everything it is shown; keeps what it saw."""

    invested: float = 1.0
    name: str = "fitted"
    lookback: int = 5
    seen: list = field(default_factory=list, compare=False)

    @property
    def parameters(self):
        return {"invested": self.invested}

    def fit(self, training):
        grids = {name: training.history(name, training.n_sessions) for name in ("close", "volume", "trade_count")}
        returns = training.returns(training.n_sessions)
        self.seen.append(
            (training.sessions(training.n_sessions), grids, returns, training.risk_free(training.n_sessions))
        )
        return Held(np.nan_to_num(np.nanmean(returns, axis=0)) > 0.0, self.invested)


@dataclass(frozen=True)
class Held:
    chosen: np.ndarray
    invested: float

    def decide(self, view):
        wanted = self.chosen & np.isfinite(view.history("close", 1)[0])
        if np.any(view.weights) or not wanted.any():
            return None
        return Targets(weights=wanted * self.invested / wanted.sum())


def test_one_range_is_the_plain_window(panel):
    assert training_panel(panel, (range(10, 70),)) is panel
    assert training_hash(panel, (range(10, 70),)) == rows_hash(panel, range(10, 70))
    view = view_of(panel, (range(10, 70),))
    assert (view.session, view.n_sessions) == (panel.sessions[69], 60)


def test_rows_outside_the_ranges_are_empty_and_rows_inside_are_the_data(panel):
    view, hole = view_of(panel, RANGES), slice(60, 85)
    for name in ("close", "vwap", "bid", "trade_count"):
        values = view.history(name, view.n_sessions, adjusted=False)
        assert np.isnan(values[hole]).all()
        np.testing.assert_array_equal(values[:60], getattr(panel, name)[10:70])
        np.testing.assert_array_equal(values[85:], getattr(panel, name)[95:150])
    for name in ("volume", "traded_value"):
        assert not view.history(name, view.n_sessions)[hole].any()
    returns = view.returns(view.n_sessions)
    assert np.isnan(returns[60:86]).all()
    np.testing.assert_array_equal(returns[86:], view_of(panel, (range(95, 150),)).returns(55)[1:])


def test_what_lies_in_the_hole_changes_nothing_that_training_shows(panel):
    assert not np.array_equal(scramble_hole(panel).close[80], panel.close[80])
    assert training_hash(scramble_hole(panel), RANGES) == training_hash(panel, RANGES)


def test_cash_on_a_price_that_only_the_hole_knows_is_left_out(panel):
    """A dividend right after the hole is above the last training close, which is long past: not refused, not used."""
    quiet = dataclasses.replace(panel, events=())
    paid = dataclasses.replace(quiet, events=(CorporateEvent(0, 95, 95, 1.0, 1e6, 0.0, "dividend", 1.0, "x"),))
    assert training_hash(paid, RANGES) == training_hash(quiet, RANGES)
    known = dataclasses.replace(quiet, events=(CorporateEvent(0, 99, 99, 1.0, 0.01, 0.0, "dividend", 1.0, "x"),))
    assert training_hash(known, RANGES) != training_hash(quiet, RANGES)


def test_volumes_are_in_shares_of_the_last_training_row_across_a_split_in_the_hole(panel):
    quiet = dataclasses.replace(panel, events=())
    split = dataclasses.replace(quiet, events=(CorporateEvent(0, 80, 80, 4.0, 0.5, 0.0, "split", 1.0, "x"),))
    one, other = (view_of(data, RANGES).history("volume", 140) for data in (quiet, split))
    np.testing.assert_array_equal(other[:60, 0], 4.0 * one[:60, 0])
    np.testing.assert_array_equal(other[85:], one[85:])


def plan_of(*pods, **changes) -> WalkForwardPlan:
    named = tuple(PodPlan(pod.name, (pod,)) for pod in pods) or (PodPlan("hold", (EqualWeight(name="hold"),)),)
    return WalkForwardPlan("x", named, named[0].name, FoldSettings(80, 20), 1e7, **changes)


def test_the_calibration_of_ranges_is_that_of_their_rows_with_no_return_across_the_seam(panel):
    """Second way: with holes of any length and content in between, the same figures; each volatility by hand."""
    ranges, plan = RANGES, plan_of()
    quiet = dataclasses.replace(panel, events=())
    found = calibrate_view(view_of(quiet, ranges), plan, ranges)
    assert found.sessions == 115
    closes = calibrate_view(
        view_of(dataclasses.replace(quiet, open=np.full_like(quiet.open, np.nan)), ranges), plan, ranges
    )
    logs = np.log(quiet.close)
    inside = np.concatenate([np.diff(logs[10:70], axis=0), np.diff(logs[95:150], axis=0)])
    np.testing.assert_allclose(closes.costs.volatility, np.nanstd(inside, axis=0, ddof=1), rtol=1e-12)
    last = np.concatenate([quiet.volume[10:70], quiet.volume[95:150]])[-63:]
    usual = np.where(np.median(last, axis=0) > 0.0, np.median(last, axis=0), last.mean(axis=0))
    np.testing.assert_allclose(found.costs.daily_volume, usual, rtol=1e-12)
    other = calibrate_view(view_of(scramble_hole(quiet), ranges), plan, ranges)
    assert other.summary() == found.summary()
    for name in ("half_spread", "volatility", "daily_volume"):
        np.testing.assert_array_equal(getattr(other.costs, name), getattr(found.costs, name))


def test_rows_are_parted_by_blanks():
    assert separated((range(3, 5), range(8, 10)), 2).tolist() == [0, 1, -1, -1, 5, 6]


def test_a_fit_sees_the_training_rows_alone_and_the_same_whatever_the_hole_holds(panel):
    pods = [Fitted(1.0), Fitted(0.5)]
    one = screen(panel, RANGES, pods, flat_costs(5), training=view_of(panel, RANGES))
    sessions, grids, returns, rates = pods[0].seen[0]
    assert (sessions[0], sessions[-1]) == (panel.sessions[10], panel.sessions[149])
    assert np.isnan(grids["close"][60:85]).all()
    assert not grids["volume"][60:85].any()
    assert np.isnan(returns[60:86]).all()
    assert (rates[60:85] == panel.risk_free[69]).all()
    other = scramble_hole(panel)
    two = screen(other, RANGES, pods, flat_costs(5), training=view_of(other, RANGES))
    assert one.returns.tobytes() == two.returns.tobytes()


def test_each_range_is_replayed_after_its_own_warm_up_and_scores_are_pooled(panel):
    pod = Fitted()
    found = screen(panel, RANGES, [pod], flat_costs(5), training=view_of(panel, RANGES))
    parts = [screen(panel, piece, [pod], flat_costs(5), training=view_of(panel, RANGES)).returns for piece in RANGES]
    assert [part.shape[0] for part in parts] == [55, 50]
    pooled = np.concatenate(parts)[:, 0]
    np.testing.assert_array_equal(found.returns[:, 0], pooled)
    assert found.sharpe[0] == pytest.approx(pooled.mean() / pooled.std(ddof=1) * SESSIONS_PER_YEAR**0.5, rel=1e-12)
    short = screen(panel, (range(0, 6), RANGES[1]), [pod], flat_costs(5), training=view_of(panel, RANGES[1:]))
    assert short.returns.shape == (50, 1)
    with pytest.raises(
        ValueError, match="7 sessions, two more than the lookback of pod 'fitted', in one of its ranges"
    ):
        screen(panel, (range(0, 6), range(8, 12)), [pod], flat_costs(5), training=view_of(panel, RANGES))
    with pytest.raises(ValueError, match="training must be given with several ranges"):
        screen(panel, RANGES, [pod], flat_costs(5))


@pytest.mark.parametrize("ranges", [RANGES, (range(20, 140),)])
def test_nested_scores_are_those_of_fits_without_each_fold(panel, ranges):
    """Second way: every inner fold by hand, from the splits, a view of its training and one replay per tested range."""
    rule = ChoiceRule("nested", folds=4, purge=3, embargo=2)
    pods = [Fitted(1.0), Fitted(0.5)]
    found = score_choices(panel, ranges, pods, flat_costs(5), rule)
    parts = []
    for split in inner_folds(ranges, 4, np.arange(170) + 3, 2):
        pieces = []
        for test in split.tests:
            whole = next(piece for piece in ranges if test.start in piece)
            start = max(test.start, whole.start + 4)
            fitted = [pod.fit(view_of(panel, split.train)) for pod in pods]
            if test.stop - start >= 2:
                pieces.append(replay(panel, fitted, range(start, test.stop), flat_costs(5), first=whole.start))
        parts.append(np.concatenate(pieces))
    pooled = np.concatenate(parts)
    ratios = pooled.mean(axis=0) / pooled.std(axis=0, ddof=1) * SESSIONS_PER_YEAR**0.5
    np.testing.assert_allclose(found.scores, ratios, rtol=1e-12)
    assert found.observations == len(pooled)
    assert np.shape(found.inner_scores) == (4, 2)


def test_no_inner_fit_sees_the_fold_that_it_is_scored_on(panel):
    pods = [Fitted()]
    score_choices(panel, RANGES, pods, flat_costs(5), ChoiceRule("nested", folds=3, purge=2, embargo=4))
    days = panel.sessions
    for split, (sessions, grids, _, _) in zip(inner_folds(RANGES, 3, np.arange(170) + 2, 4), pods[0].seen, strict=True):
        allowed = {days[row] for piece in split.train for row in piece}
        shown = {day for day, row in zip(sessions, grids["close"], strict=True) if not np.isnan(row).all()}
        tested = {days[row + ahead] for test in split.tests for row in test for ahead in range(7) if row + ahead < 170}
        assert shown <= allowed
        assert not shown & tested


def test_a_nested_choice_without_sessions_after_the_warm_up_is_refused(panel):
    slow = dataclasses.replace(Fitted(), lookback=60)
    with pytest.raises(ValueError, match="must leave sessions to score after the 60 that pod 'fitted' reads"):
        score_choices(panel, (range(60),), [slow], flat_costs(5), ChoiceRule("nested", folds=3))


def test_costs_known_after_a_block_are_restated_in_its_shares(panel):
    split = (CorporateEvent(0, 100, 100, 4.0, 0.0, 0.0, "split", 1.0, "x"),)
    data = dataclasses.replace(panel, events=split)
    costs = flat_costs(5)
    assert costs_at(data, costs, 120, 80).daily_volume.tolist() == [2.5e5, 1e6, 1e6, 1e6, 1e6]
    assert costs_at(data, costs, 80, 120).daily_volume.tolist() == [4e6, 1e6, 1e6, 1e6, 1e6]
    assert costs_at(data, costs, 80, 80) is costs
    assert costs_at(data, costs, 120, 100).daily_volume[0] == 1e6


def test_a_split_is_a_training_window():
    split = Split(0, (1,), RANGES, (range(72, 90),))
    assert split.ranges == RANGES
