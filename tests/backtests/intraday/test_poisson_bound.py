"""Fills at the calibrated rates: the value of a constant quote is known."""

from __future__ import annotations

import numpy as np
import pytest

from backtests.intraday import poisson_bound as bound_module
from backtests.intraday.poisson import simulate_panels, simulate_poisson
from backtests.intraday.poisson_bound import PART, PoissonBound, poisson_bound, table_quoting
from backtests.intraday.poisson_mids import simulate_mids
from backtests.intraday.poisson_panels import lone_market
from mfg_core import MarketMakingGame
from strategies.intraday.pod import IntradayTraining, MarketTruth
from strategies.intraday.quote_table import QuoteTable
from strategies.intraday.rule import Instrument

DELTA, K, A, SECONDS = 0.02, 50.0, 1.5, 40.0


def training(fee, adverse):
    truth = MarketTruth(A, A, K, volatility=0.01, half_spread=0.02, adverse_selection=adverse, mid=50.0)
    return IntradayTraining(
        Instrument("S", "X", 0.01, 100.0), truth, ("2021-03-15",), SECONDS, order_lots=2, max_position=200, fee=fee
    )


def table(horizon):
    quotes = np.full((201, 3, 2), DELTA)
    quotes[-1, :, 0] = quotes[0, :, 1] = np.nan
    return QuoteTable(quotes, np.array([0.0, horizon]))


def test_a_constant_quote_earns_its_margin_at_the_rate_of_its_distance():
    """Both sides: 2 A exp(-k d) T (d - xi - f) on 200 shares; 100 orders a side are never reached."""
    fee, adverse = 0.001, 0.004
    made = training(fee, adverse)
    found = poisson_bound(made, table_quoting(table(SECONDS), SECONDS), seconds=SECONDS, paths=2000, seed=3)
    fills = 2 * A * np.exp(-K * DELTA) * SECONDS
    assert abs(found.fills - fills) < 4 * np.sqrt(fills / 2000)
    expected = fills * (DELTA - adverse - fee) * 200
    # 4 standard errors: one false alarm in 16,000 seeds, and this one is fixed
    assert abs(found.mean - expected) < 4 * found.deviation / np.sqrt(2000)
    assert found.table_row()["adverse_ticks"] == pytest.approx(0.4)


def test_memory_is_that_of_a_few_sessions_however_many_are_simulated(monkeypatch):
    """The sessions come in parts, each with numbers of its own; how many follow changes none before."""
    made, calls = training(0.0, 0.0), []
    quotes = table_quoting(table(SECONDS), SECONDS)
    whole = poisson_bound(made, quotes, seconds=SECONDS, paths=3 * PART)
    monkeypatch.setattr(bound_module, "simulate_panels", lambda *a, **k: (calls.append(k), simulate_panels(*a, **k))[1])
    more = poisson_bound(made, quotes, seconds=SECONDS, paths=3 * PART + 5)
    assert [call["paths"] for call in calls] == [PART, PART, PART, 5]
    np.testing.assert_array_equal(more.profits[: 3 * PART], whole.profits)
    assert np.unique(whole.profits).size == 3 * PART


def test_the_mid_has_random_numbers_apart_from_those_of_the_fills():
    game = MarketMakingGame(
        ask_arrival=1.0, bid_arrival=1.0, fill_decay=1.0, running_penalty=0.0, terminal_penalty=0.0, horizon=1.0,
        max_inventory=1, competition=0.0,
    )  # fmt: skip
    silent = {"silent": lambda t, x: (np.full(np.broadcast(t, x).shape, 30.0),) * 2}
    run = simulate_poisson(lone_market(game), silent, paths=1, seed=5, start=0, times=np.array([0.5]), log_fills=True)
    flow = np.random.Generator(np.random.PCG64(np.random.SeedSequence(5, spawn_key=(0,))))
    mids = simulate_mids(run, "silent", volatility=1.0, seed=5)
    assert run.fills[0].size == 0
    # 64 panels: the mid takes 32 steps of an eighth of a deviation to the half
    assert abs(mids.mids[0, 0] - flow.standard_normal(32).sum() / 8.0) > 1e-6


def test_a_table_that_is_shorter_than_the_session_ends_with_it():
    quotes = np.full((3, 3, 2), DELTA)
    quotes[1, :, 0] = [1.0, 2.0, 3.0]  # bid at inventory 0, linear in time
    short = table_quoting(QuoteTable(quotes, np.array([0.0, 10.0])), 40.0)
    bid, ask = short(np.array([0.0, 30.0, 35.0, 40.0]), np.array([0.0]))
    np.testing.assert_allclose(bid, [1.0, 1.0, 2.0, 3.0])
    np.testing.assert_allclose(ask, DELTA)


def test_only_a_sign_that_nearly_all_sessions_have_is_a_verdict():
    def of(*profits):
        return PoissonBound(np.array(profits), 1.0, 0.0, "").verdict

    assert of(*[1.0] * 99, -1.0) == 1
    assert of(*[-1.0] * 99, 1.0) == -1
    assert of(1.0, -1.0) == 0
    assert of(0.0, 0.0) == 0


def test_sessions_are_added_path_by_path():
    one = PoissonBound(np.array([1.0, 2.0]), 3.0, 0.5, "w")
    both = PoissonBound.joined([one, one])
    assert (both.profits.tolist(), both.fills) == ([2.0, 4.0], 6.0)
