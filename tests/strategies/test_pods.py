"""Each pod against its definition computed by hand on small markets, and what no pod may ever do."""

from __future__ import annotations

import dataclasses
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_pipeline.daily.panel import DailyPanel
from data_pipeline.daily.view import MarketView
from strategies import EqualWeight, LowVolatility, ShortTermReversal, TimeSeriesMomentum, parameter_grid

FREE = {"min_traded_value": 0.0, "min_presence": 0.0}
KINDS = (EqualWeight, TimeSeriesMomentum, ShortTermReversal, LowVolatility)


def panel_of(close, *, risk_free=0.0, value=1e7):
    """A panel with these closes (NaN: no trade); traded value the same for all, or one per instrument."""
    close = np.asarray(close, dtype=float)
    grid = dict.fromkeys(("open", "high", "low", "close", "vwap", "bid", "ask"), close)
    traded = np.where(np.isnan(close), 0.0, np.broadcast_to(value, close.shape))
    return DailyPanel(
        sessions=np.datetime64("2021-01-01", "D") + np.arange(len(close)),
        instruments=tuple(f"ABC{chr(65 + i)}3" for i in range(close.shape[1])),
        **grid,
        volume=traded / np.where(np.isnan(close), 1.0, close),
        traded_value=traded,
        trade_count=np.where(np.isnan(close), np.nan, 1.0),
        lot_size=np.full(close.shape[1], 100),
        risk_free=np.full(len(close), risk_free),
    )


def walk(seed, sessions, n, scale=0.02):
    random = np.random.default_rng(seed)
    return 20.0 * np.exp(np.cumsum(random.normal(0.0, scale, (sessions, n)) * np.linspace(0.5, 1.5, n), axis=0))


def decide(pod, panel, **account):
    view = MarketView(panel, panel.sessions.size - 1, **account)
    return pod.fit(view).decide(view)


def test_equal_weight_holds_the_liquid_universe_equally():
    pod = EqualWeight(universe_window=20, min_traded_value=1e6)
    panel = panel_of(walk(1, 30, 4), value=np.array([1e7, 1e5, 1e7, 1e7]))
    np.testing.assert_allclose(decide(pod, panel).weights, [1 / 3, 0, 1 / 3, 1 / 3])


def test_equal_weight_rebalances_rarely_and_when_a_holding_falls_silent():
    pod = EqualWeight(rebalance_every=63, universe_window=20, missing_sessions=5, **FREE)
    close = walk(1, 63, 3)
    held = np.full(3, 1 / 3)

    def decision(sessions, gone_for=0):
        rows = close[:sessions].copy()
        rows[sessions - gone_for :, 2] = np.nan
        return decide(pod, panel_of(rows), weights=held, net_asset_value=1.0)

    assert decision(62) is None
    assert decision(63) is not None
    assert [decision(50, gone) is not None for gone in (4, 5, 6)] == [False, True, False]
    np.testing.assert_allclose(decision(50, 5).weights, [0.5, 0.5, 0.0])


def test_momentum_weights_are_sign_over_volatility_scaled_to_the_target():
    pod = TimeSeriesMomentum(
        signal_sessions=60, volatility_sessions=30, long_only=False, max_weight=5.0, gross_limit=5.0, **FREE
    )
    panel = panel_of(walk(3, 80, 5), risk_free=2e-4)
    weights = decide(pod, panel).weights
    close = panel.close
    excess = close[-1] / close[-61] - 1.0 - (1.0002**60 - 1.0)
    returns = close[-30:] / close[-31:-1] - 1.0
    shape = np.sign(excess) / returns.std(axis=0, ddof=1)
    np.testing.assert_allclose(weights / np.abs(weights).sum(), shape / np.abs(shape).sum(), rtol=1e-10)
    assert (returns @ weights).std(ddof=1) * np.sqrt(252) == pytest.approx(0.10)
    long = decide(dataclasses.replace(pod, long_only=True), panel).weights
    np.testing.assert_array_equal(long > 0, excess > 0)
    assert long.min() == 0.0


def test_momentum_skips_the_last_sessions():
    close = np.full((60, 2), 10.0)
    close[:, 0] = np.linspace(10, 20, 60)
    close[:, 1] = np.linspace(20, 10, 60)
    close[-5:] = close[-6] * np.array([0.2, 9.0])
    panel = panel_of(close * np.exp(np.random.default_rng(0).normal(0, 1e-4, (60, 2))))
    pod = TimeSeriesMomentum(signal_sessions=40, volatility_sessions=20, skip=5, max_weight=1.0, **FREE)
    assert (decide(pod, panel).weights > 0).tolist() == [True, False]
    assert (decide(dataclasses.replace(pod, skip=0), panel).weights > 0).tolist() == [False, True]


def test_reversal_is_lehmanns_portfolio():
    pod = ShortTermReversal(volatility_sessions=25, target_volatility=np.inf, max_weight=1.0, **FREE)
    panel = panel_of(walk(4, 40, 6))
    past = panel.close[-1] / panel.close[-6] - 1.0
    deviation = -(past - past.mean())
    np.testing.assert_allclose(decide(pod, panel).weights, deviation / np.abs(deviation).sum(), rtol=1e-9)
    losers = np.maximum(deviation, 0.0)
    long = decide(dataclasses.replace(pod, long_only=True), panel).weights
    np.testing.assert_allclose(long, losers / losers.sum(), rtol=1e-9)


def test_reversal_stays_neutral_under_its_caps():
    pod = ShortTermReversal(volatility_sessions=25, max_weight=0.12, target_volatility=np.inf, **FREE)
    close = walk(5, 40, 8)
    close[-1, 0] *= 0.7
    weights = decide(pod, panel_of(close)).weights
    assert weights.sum() == pytest.approx(0.0, abs=1e-12)
    assert np.abs(weights).max() <= 0.12 * (1 + 1e-12)


def test_low_volatility_holds_the_calmest_quantile():
    pod = LowVolatility(volatility_sessions=60, quantile=0.4, max_weight=1.0, target_volatility=np.inf, **FREE)
    panel = panel_of(walk(6, 80, 5))
    returns = panel.close[1:] / panel.close[:-1] - 1.0
    calmest = np.argsort(returns[-60:].std(axis=0, ddof=1))[:2]
    expected = np.zeros(5)
    expected[calmest] = 0.5
    np.testing.assert_allclose(decide(pod, panel).weights, expected)


def pods_with(**changes):
    return (
        EqualWeight(universe_window=20, rebalance_every=1, **FREE | changes),
        TimeSeriesMomentum(
            signal_sessions=30, volatility_sessions=20, rebalance_every=1, long_only=False, **FREE | changes
        ),
        ShortTermReversal(volatility_sessions=20, rebalance_every=1, **FREE | changes),
        LowVolatility(volatility_sessions=25, rebalance_every=1, **FREE | changes),
    )


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    gaps=st.floats(0.0, 0.9),
    gross=st.sampled_from([0.5, 1.0, 2.0]),
    cap=st.sampled_from([0.05, 0.3]),
    frozen=st.booleans(),
)
def test_weights_are_finite_within_gross_and_caps_on_any_market(seed, gaps, gross, cap, frozen):
    close = walk(seed, 45, 5)
    random = np.random.default_rng(seed)
    close[random.random(close.shape) < gaps] = np.nan
    close[:, 0] = np.nan
    if frozen:
        close[:, 1] = 10.0
    panel = panel_of(close)
    for pod in pods_with(gross_limit=gross, max_weight=cap):
        weights = decide(pod, panel).weights
        assert np.all(np.isfinite(weights)), pod.name
        assert np.abs(weights).sum() <= gross * (1 + 1e-9)
        assert np.abs(weights).max() <= cap * (1 + 1e-9)
        assert np.all(weights[np.isnan(close[-1])] == 0.0)


@pytest.mark.parametrize("pod", pods_with(), ids=lambda pod: pod.name)
def test_weights_do_not_depend_on_the_price_level(pod):
    close = walk(8, 45, 5)
    one, two = (decide(pod, panel_of(close * scale)).weights for scale in (1.0, np.array([0.1, 3.0, 7.0, 1.0, 20.0])))
    np.testing.assert_allclose(one, two, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("pod", pods_with(), ids=lambda pod: pod.name)
def test_pods_travel_to_worker_processes_and_wait_for_their_warm_up(pod):
    assert pickle.loads(pickle.dumps(pod)) == pod
    panel = panel_of(walk(1, pod.lookback - 1, 3))
    view = MarketView(panel, panel.sessions.size - 1)
    assert pod.decide(view) is None
    with pytest.raises(
        ValueError, match=f"training window of pod '{pod.name}' must be at least {pod.lookback} sessions"
    ):
        pod.fit(view)


def test_volatility_target_never_levers_above_the_gross_limit():
    calm = panel_of(walk(9, 60, 4, scale=0.0005))
    wild = panel_of(walk(9, 60, 4, scale=0.06))
    pod = LowVolatility(volatility_sessions=30, quantile=1.0, max_weight=1.0, target_volatility=0.1, **FREE)
    assert decide(pod, calm).weights.sum() == pytest.approx(1.0)
    weights = decide(pod, wild).weights
    returns = wild.close[-30:] / wild.close[-31:-1] - 1.0
    assert (returns @ weights).std(ddof=1) * np.sqrt(252) == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: EqualWeight(rebalance_every=0),
            "rebalance_every of pod 'equal_weight' must be a whole number of sessions, at least 1; was 0",
        ),
        (lambda: EqualWeight(universe_window=2.5), "universe_window of pod 'equal_weight' must be a whole number"),
        (lambda: EqualWeight(min_presence=1.5), r"min_presence of pod 'equal_weight' must be in \[0, 1\]; was 1.5"),
        (
            lambda: TimeSeriesMomentum(skip=252),
            r"skip of pod 'momentum' must be a whole number in \[0, signal_sessions\)",
        ),
        (lambda: TimeSeriesMomentum(target_volatility=-0.1), "target_volatility of pod 'momentum' must be positive"),
        (
            lambda: TimeSeriesMomentum(volatility_sessions=5),
            "volatility_sessions of pod 'momentum' must be at least 20; was 5",
        ),
        (
            lambda: ShortTermReversal(max_weight=2.0),
            r"max_weight of pod 'reversal' must be in \(0, gross_limit\]; was 2.0",
        ),
        (
            lambda: ShortTermReversal(gross_limit=0.0),
            "gross_limit of pod 'reversal' must be positive and finite; was 0.0",
        ),
        (lambda: LowVolatility(quantile=0.0), r"quantile of pod 'low_volatility' must be in \(0, 1\]; was 0.0"),
        (
            lambda: LowVolatility(min_traded_value=-1.0),
            "min_traded_value of pod 'low_volatility' must be zero or positive",
        ),
    ],
)
def test_parameters_that_make_no_sense_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("kind", KINDS)
def test_parameters_are_the_fields(kind):
    pod = kind()
    assert kind(**pod.parameters) == pod
    assert "name" not in pod.parameters


def test_a_grid_names_parameters_or_says_which_is_nearest():
    pod = TimeSeriesMomentum()
    assert parameter_grid(pod, {}) == (pod,)
    with pytest.raises(ValueError, match="'lookbak' is not one"):
        parameter_grid(pod, {"lookbak": [1]})
    with pytest.raises(ValueError, match="'max_wieght' is not one; did you mean max_weight"):
        parameter_grid(pod, {"max_wieght": [0.1]})
    with pytest.raises(ValueError, match="at least one value for 'skip'; was empty"):
        parameter_grid(pod, {"skip": []})
    with pytest.raises(ValueError, match="rebalance_every of pod 'momentum'"):
        parameter_grid(pod, {"rebalance_every": [5, 0]})
