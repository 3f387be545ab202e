"""Pods to tables: units, the equilibrium at grid points, limit cases, baselines, parameters that make no sense."""

from __future__ import annotations

import json
import math
import pickle
from dataclasses import replace

import numpy as np
import pytest

from mfg_core.errors import SolveError
from strategies.intraday import quoting_kernels as places
from strategies.intraday.makers import AvellanedaStoikov, ConstantSpread, SingleMaker, SkewedSpread
from strategies.intraday.mean_field_maker import MeanFieldMaker, solve_without_edge_warning
from strategies.intraday.pod import IntradayTraining, MarketTruth
from strategies.intraday.quote_table import tabulate
from strategies.intraday.regime_switch import RegimeSwitch
from strategies.intraday.rule import Instrument
from strategies.pod import parameter_grid
from tests.strategies.intraday.stepping import Stepper

INSTRUMENT = Instrument("TEST", "NOWHERE", tick_size=0.01, lot_size=100.0, multiplier=2.0)
TRUTH = MarketTruth(
    ask_arrival=0.9,
    bid_arrival=0.7,
    fill_decay=90.0,
    volatility=0.004,
    half_spread=0.012,
    adverse_selection=0.002,
    competition=0.6,
    mid=50.0,
)
TRAINING = IntradayTraining(
    instrument=INSTRUMENT,
    truth=TRUTH,
    sessions=("2024-01-02",),
    seconds=900.0,
    order_lots=2,
    max_position=9,
    fee=-0.001,
)
MAKERS = (
    MeanFieldMaker(risk_aversion=1e-3),
    SingleMaker(risk_aversion=1e-3),
    SingleMaker(risk_aversion=1e-3, solution="asymptotic"),
    AvellanedaStoikov(risk_aversion=1e-3, horizon_seconds=60.0),
    ConstantSpread(),
    SkewedSpread(),
)


def ticks_at(rule, held, to_close, regime=0):
    """(bid, ask) in ticks as the compiled rule looks them up."""
    return places.table_quotes(rule.table, rule.numbers, regime, float(held), float(to_close))


def test_the_mean_field_maker_quotes_what_the_equilibrium_quotes():
    """In ticks, at every inventory, at nodes of the table and anywhere between them."""
    pod = MAKERS[0]
    rule, game = pod.fit(TRAINING), pod.game(TRAINING)
    policy = solve_without_edge_warning(game).policy
    nodes = rule.numbers[int(rule.numbers[places.FIRST_TABLE + places.TIMES]) :]
    assert nodes[-1] == game.horizon == 900.0
    for t in (*nodes[:: max(1, nodes.size // 7)], 0.1, 123.456, 880.0, 899.0):
        for held in range(-4, 5):
            exact = np.array([float(side) for side in policy.quotes(t, held)]) / 0.01
            np.testing.assert_allclose(ticks_at(rule, held, 900.0 - t), exact, atol=1.1e-4)


def test_the_notes_hold_the_certificate_and_are_json():
    notes = json.loads(json.dumps(dict(MAKERS[0].fit(TRAINING).notes)))
    assert notes["certificate"]["converged"] is True
    assert notes["certificate"]["exploitability"] >= 0.0
    assert notes["game"]["max_inventory"] == 4


def test_the_game_has_the_markets_units():
    """An order is worth 400 of money per unit of price; arrivals are those of a crowd that quotes the mid."""
    game = MeanFieldMaker(risk_aversion=1e-3, exponential_utility=True).game(TRAINING)
    assert game.running_penalty == pytest.approx(0.5 * 1e-3 * 400.0 * 0.004**2)
    assert game.risk_aversion == pytest.approx(1e-3 * 400.0)
    assert game.terminal_penalty == pytest.approx(0.012 / 2.0)
    assert game.ask_arrival == pytest.approx(0.9 * math.exp(-0.6 * 90.0 * 0.012))
    assert (game.maker_fee, game.adverse_selection, game.max_inventory) == (-0.001, 0.002, 4)
    bare = MeanFieldMaker(running_penalty=0.25, terminal_penalty=0.5, with_costs=False, symmetric=True).game(TRAINING)
    assert (bare.running_penalty, bare.terminal_penalty, bare.fill_cost) == (0.25, 0.5, 0.0)
    assert bare.ask_arrival == bare.bid_arrival == pytest.approx(math.sqrt(0.63) * math.exp(-0.6 * 90.0 * 0.012))


def test_at_the_markets_own_quotes_fills_do_not_depend_on_the_weight_of_the_crowd():
    for competition in (0.0, 0.3, 1.0):
        game = MeanFieldMaker(competition=competition).game(TRAINING)
        against = game.ask_arrival * math.exp(-90.0 * (0.012 - competition * 0.012))
        assert against == pytest.approx(0.9 * math.exp(-90.0 * 0.012))


def test_an_outside_option_of_the_same_weight_is_the_same_game():
    games = [MeanFieldMaker(competition=form).game(TRAINING) for form in ("calibrated", "outside")]
    one, other = (solve_without_edge_warning(game).policy.quotes(3.0, np.arange(-4, 5)) for game in games)
    np.testing.assert_allclose(one, other, atol=1e-10)


def test_without_a_crowd_the_equilibrium_is_the_lone_maker():
    """Two solvers: the game at competition 0, and the powers of a matrix."""
    parameters = {"risk_aversion": 1e-3, "horizon_seconds": 300.0}
    game = MeanFieldMaker(competition=0.0, exponential_utility=True, terminal_penalty=0.0, **parameters)
    lone = SingleMaker(**parameters)
    for held in range(-4, 5):
        for to_close in (0.0, 1.0, 30.0, 299.0, 800.0):
            quotes = [ticks_at(pod.fit(TRAINING), held, to_close) for pod in (game, lone)]
            np.testing.assert_allclose(quotes[0], quotes[1], atol=2.5e-4)


def test_without_inventory_risk_the_half_spread_is_one_over_the_decay():
    """1/k, in ticks, where the position limit is far: and fee and adverse selection on top when they count."""
    wide = replace(TRAINING, max_position=80, truth=replace(TRUTH, bid_arrival=0.9))
    pods = (
        MeanFieldMaker(running_penalty=0.0, terminal_penalty=0.0, with_costs=False, horizon_seconds=5.0),
        SingleMaker(risk_aversion=0.0, with_costs=False, horizon_seconds=5.0),
        SingleMaker(risk_aversion=0.0, with_costs=False, solution="asymptotic"),
        AvellanedaStoikov(risk_aversion=0.0, with_costs=False),
    )
    for pod in pods:
        np.testing.assert_allclose(ticks_at(pod.fit(wide), 0, 5.0), 100.0 / 90.0, atol=2e-4)
        costly = replace(pod, with_costs=True).fit(wide)
        np.testing.assert_allclose(ticks_at(costly, 0, 5.0), 100.0 / 90.0 + 0.1, atol=2e-4)


def test_a_longer_session_shows_the_first_quotes_of_a_shorter_horizon():
    rule = SingleMaker(risk_aversion=1e-3, horizon_seconds=60.0).fit(TRAINING)
    assert ticks_at(rule, 2, 60.0) == ticks_at(rule, 2, 900.0)
    assert ticks_at(rule, 2, 60.0) != ticks_at(rule, 2, 10.0)


def test_the_baselines_are_what_they_say():
    """1.2 ticks and 0.5 more; a skew of 2 moves both by 2 x 1.7 at the largest inventory of 4 orders."""
    constant = ConstantSpread(extra_ticks=0.5).fit(TRAINING)
    skewed = SkewedSpread(extra_ticks=0.5, skew=2.0).fit(TRAINING)
    for held in range(-3, 4):
        np.testing.assert_allclose(ticks_at(constant, held, 7.0), 1.7)
        np.testing.assert_allclose(ticks_at(skewed, held, 7.0), [1.7 + 0.85 * held, 1.7 - 0.85 * held], atol=1e-12)
    np.testing.assert_allclose(ticks_at(skewed, 0.5, 7.0), [1.7 + 0.425, 1.7 - 0.425])
    assert np.isnan(ticks_at(constant, 4, 7.0)[0])
    assert np.isnan(ticks_at(constant, -4, 7.0)[1])


@pytest.mark.parametrize("pod", MAKERS, ids=lambda pod: pod.name)
def test_every_maker_has_the_same_rule_limits_and_clock(pod):
    rule = pod.fit(TRAINING)
    assert rule.function is places.quoting_rule
    assert rule.interval_ns == 100_000_000
    assert rule.table.shape[:2] == (1, 9)
    assert rule.numbers[places.ORDER_LOTS] == 2
    assert rule.numbers[places.POSITION_LIMIT] == 9
    assert pickle.loads(pickle.dumps(pod)) == pod
    again = pod.fit(TRAINING)
    assert again.digest == rule.digest
    assert pod.parameters.keys() >= {"interval_ms", "requote_ticks", "reference", "withdraw_seconds"}
    assert "name" not in pod.parameters
    (other,) = parameter_grid(pod, {"interval_ms": [250]})
    assert other.fit(TRAINING).digest != rule.digest
    assert Stepper(rule, seconds=900.0).call() != []


def test_half_an_order_lies_between_its_neighbours_and_beside_a_limit_the_quoted_one_counts():
    rule = MAKERS[1].fit(TRAINING)
    below, above, between = (ticks_at(rule, held, 100.0) for held in (1, 2, 1.25))
    np.testing.assert_allclose(between, 0.75 * np.array(below) + 0.25 * np.array(above))
    assert ticks_at(rule, 3.5, 100.0)[0] == ticks_at(rule, 3, 100.0)[0]
    np.testing.assert_array_equal(ticks_at(rule, 9, 100.0), ticks_at(rule, 4, 100.0))


def test_a_table_keeps_its_tolerance_between_its_nodes():
    """A course with a corner of its slope and one with a fast end, at many times; coarser than the clock is let go."""

    def course(times):
        sides = np.stack([1.0 + np.exp(-times), 2.0 + np.abs(np.sin(0.3 * times))], axis=-1)
        return np.repeat(sides[None], 3, axis=0)

    table = tabulate(course, 20.0, 1e-5)
    at = np.linspace(0.0, 20.0, 4001)
    assert np.abs(table.at(at) - course(at)).max() < 1.5e-5
    rough = tabulate(lambda times: 1.0 + 1e6 * course(times), 20.0, 1e-5, resolution=0.5)
    assert np.diff(rough.times).min() > 0.25
    with pytest.raises(ValueError, match="must need at most 4096 pairs of steps"):
        tabulate(lambda times: 1.0 + 1e9 * course(times), 20.0, 1e-5)


def features(rng, sessions=3, intervals=40):
    n = sessions * intervals
    return {
        "session": np.repeat(np.arange(sessions, dtype=float), intervals),
        "seconds": np.full(n, 10.0),
        "bought": rng.integers(0, 50, n).astype(float),
        "sold": rng.integers(0, 50, n).astype(float),
        "squared_ticks": rng.integers(0, 30, n) / 4.0,
        "seconds_quoted": np.full(n, 10.0),
        "spread_seconds": np.full(n, 24.0),
    }


def test_the_regime_switch_takes_its_thresholds_from_training_and_both_tables():
    rng = np.random.default_rng(5)
    training = replace(TRAINING, features=features(rng))
    pod = RegimeSwitch(active=SingleMaker(), passive=ConstantSpread(market_spreads=3.0), window=2, toxicity_enter=0.8)
    rule = pod.fit(training)
    bought, sold, squared = (training.features[name].reshape(3, 40) for name in ("bought", "sold", "squared_ticks"))
    turned, volume = np.abs(bought - sold), bought + sold
    toxicity = (turned[:, 1:] + turned[:, :-1]) / (volume[:, 1:] + volume[:, :-1])
    volatility = np.sqrt((squared[:, 1:] + squared[:, :-1]) / 20.0)
    assert rule.numbers[places.TOXIC_IN] == pytest.approx(np.quantile(toxicity, 0.8))
    assert rule.numbers[places.TOXIC_OUT] == pytest.approx(np.quantile(toxicity, 0.7))
    assert rule.numbers[places.VOLATILE_IN] == pytest.approx(np.quantile(volatility, 0.9))
    assert rule.numbers[places.INTERVAL_NS] == 10_000_000_000
    np.testing.assert_allclose(ticks_at(rule, 1, 50.0, regime=1), 3.6)
    assert ticks_at(rule, 1, 50.0) == ticks_at(SingleMaker().fit(TRAINING), 1, 50.0)
    aside = replace(pod, passive=None).fit(training)
    assert np.isnan(ticks_at(aside, 0, 50.0, regime=1)).all()
    assert aside.digest != rule.digest
    assert json.dumps(dict(aside.notes))
    assert pod.parameters["passive"] != replace(pod, passive=None).parameters["passive"]
    assert "risk_aversion=0.01" in pod.parameters["active"]


def test_a_training_without_features_cannot_switch_regimes():
    with pytest.raises(ValueError, match="features of the training of pod 'regime_switch' must be there"):
        RegimeSwitch().fit(TRAINING)
    with pytest.raises(ValueError, match="window of pod 'regime_switch' must be at most the 120 intervals"):
        RegimeSwitch(window=41).fit(replace(TRAINING, features=features(np.random.default_rng(1))))


@pytest.mark.parametrize(
    ("kind", "parameters", "message"),
    [
        (MeanFieldMaker, {"competition": 1.5}, r"competition of pod 'mean_field_maker' must be in \[0, 1\]; was 1.5"),
        (MeanFieldMaker, {"competition": "much"}, "competition .* must be from 0 to 1, or calibrated, share, outside"),
        (MeanFieldMaker, {"running_penalty": -1.0}, "running_penalty .* must be finite and at least 0; was -1.0"),
        (MeanFieldMaker, {"terminal_penalty": "no"}, "terminal_penalty .* must be 'from_liquidation' or a number"),
        (MeanFieldMaker, {"min_half_spread_ticks": math.inf}, "min_half_spread_ticks .* must be below"),
        (SingleMaker, {"risk_aversion": -0.1}, "risk_aversion of pod 'single_maker' must be finite and at least 0"),
        (SingleMaker, {"risk_aversion": math.nan}, "risk_aversion .* was nan"),
        (SingleMaker, {"solution": "guess"}, "solution .* must be exact or asymptotic; was 'guess'"),
        (AvellanedaStoikov, {"horizon_seconds": -1.0}, "horizon_seconds .* must be"),
        (ConstantSpread, {"interval_ms": 0}, "interval_ms .* must be a whole number, at least 1; was 0"),
        (ConstantSpread, {"interval_ms": 2.5}, "interval_ms .* must be a whole number"),
        (ConstantSpread, {"requote_ticks": -1}, "requote_ticks .* at least 0"),
        (ConstantSpread, {"reference": "last"}, "reference .* must be mid or microprice or last_trade; was 'last'"),
        (SkewedSpread, {"skew": -1.0}, "skew of pod 'skewed_spread' must be"),
        (SkewedSpread, {"withdraw_seconds": math.inf}, "withdraw_seconds .* must be finite and at least 0"),
        (RegimeSwitch, {"toxicity_leave": 0.95}, r"toxicity_leave .* must be in \[0, toxicity_enter 0.9\]; was 0.95"),
        (RegimeSwitch, {"volatility_enter": 1.1}, "volatility_enter .* must be a quantile"),
        (RegimeSwitch, {"window": 0}, "window of pod 'regime_switch' must be a whole number, at least 1"),
    ],
)
def test_a_parameter_that_makes_no_sense_is_named(kind, parameters, message):
    with pytest.raises(ValueError, match=message):
        kind(**parameters)


def test_a_game_that_cannot_be_solved_names_the_pod_and_a_shorter_horizon_can():
    """A day of risk aversion 1 is too stiff; its last ten minutes are not, and give the quotes of the last five."""
    day = replace(TRAINING, seconds=23_400.0, max_position=40)
    with pytest.raises(SolveError, match=r"pod 'mean_field_maker': .* A shorter horizon_seconds often helps"):
        MeanFieldMaker(risk_aversion=1.0).fit(day)
    short, shorter = (MeanFieldMaker(risk_aversion=1.0, horizon_seconds=t).fit(day) for t in (600.0, 300.0))
    np.testing.assert_allclose(ticks_at(short, 3, 9e3), ticks_at(shorter, 3, 9e3), atol=3e-4)


def test_a_whole_session_is_solved_and_quotes_what_its_last_hour_does():
    """Six hours, 50 orders: more work than a solve has by default; the crowd is stationary but for start and close."""
    day = replace(TRAINING, seconds=21_600.0, order_lots=1, max_position=50)
    whole, hour = (MeanFieldMaker(risk_aversion=0.02, horizon_seconds=t).fit(day) for t in (0.0, 3_600.0))
    for left in (0.0, 30.0, 600.0, 1_800.0):
        np.testing.assert_allclose(ticks_at(whole, 7, left), ticks_at(hour, 7, left), atol=3e-4)
    assert whole.notes["certificate"]["converged"]


def test_a_half_spread_of_nothing_is_refused():
    with pytest.raises(ValueError, match=r"market_spreads and extra_ticks .* so that the half-spread is positive"):
        ConstantSpread(market_spreads=0.0).fit(TRAINING)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"order_lots": 0}, "order_lots must be at least 1; was 0"),
        ({"max_position": 1}, "max_position must be at least order_lots 2; was 1"),
        ({"seconds": 0.0}, "seconds must be positive and finite"),
        ({"fee": math.nan}, "fee must be finite"),
    ],
)
def test_a_training_that_makes_no_sense_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        replace(TRAINING, **changes)
    with pytest.raises(ValueError, match=r"fill_decay must be positive and finite; was 0\.0"):
        replace(TRUTH, fill_decay=0.0)
