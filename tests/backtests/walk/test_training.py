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
from backtests.walk.combinatorial import CombinatorialSettings, Split, inner_folds, make_splits
from backtests.walk.fold_tasks import calibrate_view
from backtests.walk.folds import FoldSettings
from backtests.walk.plan import ChoiceRule, PodPlan, WalkForwardPlan
from backtests.walk.provenance import rows_hash
from backtests.walk.training import separated, training_hash, training_panel, view_of
from data_pipeline.daily.panel import GRID_FIELDS, PRICE_FIELDS, CorporateEvent, DailyPanel
from mfg_core.daily.costs import TradingCosts
from strategies.equal_weight import EqualWeight
from strategies.pod import Targets

RANGES = (range(10, 70), range(95, 150))


def scramble_hole(panel: DailyPanel, ranges=RANGES, seed: int = 5) -> DailyPanel:
    """Other prices, volumes, rates, dividends and splits wherever nothing trains, and other levels to match.

    Each range's prices are moved by a power of two for each share, up to the last range, as if the sessions in between
    had gone another way; traded values and cash follow. Dates and membership are left alone, and the units (levels and
    splits) of shares that are gone by the last range.
    """
    random = np.random.default_rng(seed)
    outside = np.ones(panel.sessions.size, dtype=bool)
    alive = ~np.isnan(panel.close[ranges[-1].start : ranges[-1].stop]).all(axis=0)
    level = np.ones(panel.close.shape)
    for piece in ranges:
        outside[piece.start : piece.stop] = False
        if piece != ranges[-1]:
            level[piece.start : piece.stop] = np.where(alive, 2.0 ** random.integers(-3, 4, alive.size), 1.0)
    changed = {}
    for name in (*PRICE_FIELDS, "volume", "traded_value", "trade_count"):
        values = np.array(getattr(panel, name)) * (
            level if name in PRICE_FIELDS else 1.0 / level if name == "volume" else 1.0
        )
        values[outside] = np.exp(random.normal(2.0, 1.0, values[outside].shape))
        changed[name] = values
    risk_free = np.where(outside, random.uniform(0.0, 0.01, outside.size), panel.risk_free)
    events = [
        dataclasses.replace(event, cash=event.cash * float(level[event.ex_session, event.instrument]))
        for event in panel.events
        if not (outside[event.ex_session] and alive[event.instrument])
    ]
    for row in np.flatnonzero(outside)[::3].tolist():
        instrument = int(random.choice(np.flatnonzero(alive)))
        events.append(CorporateEvent(instrument, row, row, 1.0, 0.001, 0.15, "jcp", 1.0, "drawn"))
        events.append(
            CorporateEvent(instrument, row, row, float(random.choice([0.1, 2.0, 3.0])), 0.0, 0.0, "split", 1.0, "drawn")
        )
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
        grids = {name: training.history(name, training.n_sessions) for name in GRID_FIELDS}
        grids |= {f"plain {name}": training.history(name, training.n_sessions, adjusted=False) for name in PRICE_FIELDS}
        returns = training.returns(training.n_sessions, since_last_close=True)
        self.seen.append(
            (training.sessions(training.n_sessions), grids, returns, training.risk_free(training.n_sessions))
        )
        return Held(np.nansum(returns, axis=0) > 0.0, self.invested)


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
    scale = panel.close[95] / panel.close[69]
    factors = {"volume": 1.0 / scale, "traded_value": 1.0, "trade_count": 1.0}
    for name in GRID_FIELDS:
        values = view.history(name, view.n_sessions, adjusted=False)
        empty = np.nan if name in PRICE_FIELDS or name == "trade_count" else 0.0
        np.testing.assert_array_equal(values[hole], np.full((25, 5), empty))
        np.testing.assert_allclose(values[:60], getattr(panel, name)[10:70] * factors.get(name, scale), rtol=1e-15)
        np.testing.assert_array_equal(values[85:], getattr(panel, name)[95:150])
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


def test_the_move_across_a_hole_is_not_seen_by_a_share_that_was_silent_right_after_it(panel):
    """Its first close after the hole came with other shares' plain returns: the whole move was taken for one day's."""
    closes = np.array(panel.close)
    closes[95:97, 0] = np.nan
    quiet = dataclasses.replace(panel, close=closes, events=())
    shown = view_of(quiet, RANGES).returns(140, since_last_close=True)
    assert abs(closes[97, 0] / closes[69, 0] - 1.0) > 0.01
    assert shown[87, 0] == 0.0
    doubled = closes.copy()
    doubled[95:] *= 2.0
    again = view_of(dataclasses.replace(quiet, close=doubled), RANGES).returns(140, since_last_close=True)
    np.testing.assert_array_equal(again, shown)


def test_prices_join_over_every_hole_and_returns_inside_the_ranges_stay(panel):
    ranges = (range(10, 50), range(60, 90), range(110, 150))
    closes = np.array(panel.close)
    closes[60:90, 2] = np.nan  # one share has no close in the middle range: its first range joins the last
    quiet = dataclasses.replace(panel, close=closes, events=())
    found = training_panel(quiet, ranges).close
    for instrument in range(5):
        for before, after in ((49, 110),) if instrument == 2 else ((49, 60), (89, 110)):
            last = found[: before + 1, instrument][~np.isnan(found[: before + 1, instrument])][-1]
            first = found[after:, instrument][~np.isnan(found[after:, instrument])][0]
            assert last == pytest.approx(first, rel=1e-15)
    for piece in ranges:
        rows = slice(piece.start, piece.stop)
        np.testing.assert_allclose(
            np.diff(np.log(found[rows]), axis=0), np.diff(np.log(closes[rows]), axis=0), atol=1e-14
        )


def test_a_split_in_the_hole_changes_nothing_that_training_shows(panel):
    """The same market with and without a split of four for one: prices and volumes before it are in other shares."""
    quiet = dataclasses.replace(panel, events=())
    before = np.zeros(panel.close.shape, dtype=bool)
    before[:80, 0] = True
    grids = {name: np.where(before, 4.0 * getattr(quiet, name), getattr(quiet, name)) for name in PRICE_FIELDS}
    grids["volume"] = np.where(before, 0.25 * quiet.volume, quiet.volume)
    split = CorporateEvent(0, 80, 80, 4.0, 0.5, 0.0, "split", 1.0, "x")
    assert training_hash(dataclasses.replace(quiet, **grids, events=(split,)), RANGES) == training_hash(quiet, RANGES)


def test_of_a_share_that_never_trades_in_training_again_the_split_is_known(panel):
    """No later price to scale to: its volumes are counted in the shares of the last training row all the same."""
    grids = {}
    for name in GRID_FIELDS:
        grids[name] = np.array(getattr(panel, name))
        grids[name][90:, 0] = 0.0 if name in ("volume", "traded_value") else np.nan
    gone = dataclasses.replace(panel, **grids, events=())
    split = (CorporateEvent(0, 80, 80, 4.0, 0.5, 0.0, "split", 1.0, "x"),)
    one, other = (view_of(dataclasses.replace(gone, events=e), RANGES).history("volume", 140) for e in ((), split))
    np.testing.assert_array_equal(other[:60, 0], 4.0 * one[:60, 0])


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
    level = quiet.close[95] / quiet.close[69]  # volumes before the hole are in shares at the price after it
    last = np.concatenate([quiet.volume[10:70] / level, quiet.volume[95:150]])[-63:]
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


@pytest.mark.parametrize("kind", ["screen", "nested"])
def test_no_tested_or_purged_row_informs_a_fit_a_choice_or_a_calibration(panel, kind):
    """By brute force, in every split: scramble all that does not train, and compare all that was learnt.

    Bits may differ in a window's one piece: adjustment factors are ratios of products from the panel's first row on.
    Levels are those of the last row of a fit, which is another one in inner folds: there returns are compared.
    """
    plan, rule = plan_of(), ChoiceRule(kind, folds=3, purge=2, embargo=3)
    for split in make_splits(range(4, 170), CombinatorialSettings(5, 2, purge=2, embargo=3)):
        learnt, keys = [], set()
        for data in (panel, scramble_hole(panel, split.ranges, seed=split.index)):
            keys.add(training_hash(data, split.ranges))
            calibration = calibrate_view(view_of(data, split.ranges), plan, split.ranges)
            pods = [Fitted(1.0), Fitted(0.5)]
            found = score_choices(data, split.ranges, pods, calibration.costs, rule)
            costs = [getattr(calibration.costs, name) for name in ("half_spread", "volatility", "daily_volume")]
            shown = [
                array
                for _, grids, *rest in pods[0].seen
                for array in (*rest, *(grids.values() if kind == "screen" else (grids["traded_value"],)))
            ]
            learnt.append([*costs, found.scores, *found.inner_scores, *shown])
        assert len(keys) == 1 or len(split.ranges) == 1
        assert len(learnt[0]) == len(learnt[1])
        for one, other in zip(*learnt, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-14)
        assert not np.isnan(found.scores).any()


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
