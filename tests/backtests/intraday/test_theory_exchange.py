"""The event engine on an exchange of known fill rates makes the solver's value; whole ticks cost what they should.

Seeds are fixed; of a right program a mean within 3 standard errors fails for 0.27 % of the seeds.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from backtests.intraday.poisson_exchange import expected_fills, known_exchange, simulate_exchange
from backtests.intraday.settings import Latency
from backtests.intraday.simulator import simulate_session
from mfg_core import Logistic, MarketMakingGame, Share, solve_mfg

BASE = MarketMakingGame(
    ask_arrival=1.0,
    bid_arrival=1.0,
    fill_decay=0.5,
    running_penalty=0.01,
    terminal_penalty=0.1,
    horizon=10.0,
    max_inventory=10,
    competition=1.0,
    initial_std=2.0,
)
CASES = {
    "base": BASE,
    "asym": replace(BASE, ask_arrival=1.2, bid_arrival=0.8, initial_mean=1.0),
    "lone": replace(BASE, competition=0.0),
    "clip": replace(BASE, running_penalty=0.05, terminal_penalty=1.0, min_half_spread=0.0, max_half_spread=4.0),
    "adverse selection and fee": replace(BASE, competition=0.5, adverse_selection=0.3, maker_fee=0.05),
    "share": replace(BASE, competition=Share()),
}

pytestmark = pytest.mark.filterwarnings("ignore::mfg_core.errors.EdgeMassWarning")


@pytest.mark.parametrize("name", CASES)
def test_the_engine_makes_the_value_of_the_solver(name):
    """Two tests of 3 standard errors: one false alarm in 190 seeds for each case."""
    equilibrium = solve_mfg(CASES[name], rtol=1e-8)
    check = simulate_exchange(equilibrium, sessions=150, seed=1000)
    assert abs(check.gap.mean) <= 3.0 * check.gap.standard_error
    tight = check.controlled_gap
    assert abs(tight.mean + check.rounding_loss) <= 3.0 * tight.standard_error
    assert tight.standard_error < 0.3 * check.gap.standard_error
    assert check.rounding_loss < 3e-4 * check.promised


def test_whole_ticks_cost_what_the_curvature_of_the_gain_says():
    """Of ticks of a tenth of 1/k: the loss of second order is seen, and nothing of first order."""
    equilibrium = solve_mfg(BASE, rtol=1e-8)
    check = simulate_exchange(equilibrium, sessions=400, seed=5000, exchange=known_exchange(equilibrium, tick=0.2))
    assert check.rounding_loss > 0.06
    assert abs(check.controlled_gap.mean + check.rounding_loss) <= 3.0 * check.controlled_gap.standard_error


def test_a_delay_or_fewer_takers_earn_visibly_less():
    """So the check can fail."""
    equilibrium = solve_mfg(BASE, rtol=1e-8)
    known = known_exchange(equilibrium)
    late = Latency(entry_ns=500_000_000, response_ns=500_000_000)
    slow = replace(known, settings=replace(known.settings, latency=late))
    gap = simulate_exchange(equilibrium, sessions=100, seed=1, exchange=slow).controlled_gap
    assert gap.mean < -5.0 * gap.standard_error
    thin = replace(known, config=replace(known.config, ask_arrival=0.8, bid_arrival=0.8))
    gap = simulate_exchange(equilibrium, sessions=100, seed=1, exchange=thin).gap
    assert gap.mean < -5.0 * gap.standard_error


def test_expected_fills_compensate_the_fills_of_the_orders_that_stood():
    equilibrium = solve_mfg(CASES["asym"], rtol=1e-8)
    known = known_exchange(equilibrium)
    surprises = []
    for seed in range(200):
        outcome = simulate_session(known.events(seed), known.rule, known.instrument, known.span, known.settings)
        surprises.append(outcome.fills["lots"].sum() - expected_fills(outcome, known))
    surprise = np.array(surprises)
    assert abs(surprise.mean()) <= 3.0 * surprise.std(ddof=1) / np.sqrt(200)


def test_the_pod_stays_within_the_game():
    equilibrium = solve_mfg(replace(BASE, max_inventory=2), rtol=1e-8)
    known = known_exchange(equilibrium)
    furthest = 0
    for seed in range(5):
        outcome = simulate_session(known.events(seed), known.rule, known.instrument, known.span, known.settings)
        furthest = max(furthest, int(np.abs(outcome.fills["position"]).max()))
        assert np.all(outcome.fills["maker"] == 1)
        assert np.all(outcome.fills["lots"] == 1)
        assert outcome.last_mid2 == 2 * known.config.mid_tick
        assert not any(outcome.counts[name] for name in outcome.counts if name.startswith(("refused", "rejected")))
    assert furthest == 2


def test_prints_of_exponential_reach_need_an_exponential_intensity():
    equilibrium = solve_mfg(replace(BASE, competition=0.5, intensity_shape=Logistic(0.0)))
    with pytest.raises(ValueError, match="intensity_shape must be Exponential"):
        known_exchange(equilibrium)
