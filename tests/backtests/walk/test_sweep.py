"""A sweep scores every parameter set as screening does and writes each into the register."""

from __future__ import annotations

import linecache
import sys
import types
from dataclasses import dataclass

import numpy as np
import pytest

from backtests.audit.lookahead import random_panel, scramble_future
from backtests.daily.screening import screen
from backtests.evidence.sharpe import deflated_sharpe, sharpe_sample
from backtests.walk.plan import describe_pod
from backtests.walk.register import Register
from backtests.walk.sweep import sweep
from mfg_core.daily.costs import TradingCosts
from strategies.momentum import TimeSeriesMomentum
from strategies.pod import parameter_grid


@pytest.fixture(scope="module")
def panel():
    return random_panel(7, sessions=200, instruments=5)


def grid(*signals):
    pod = TimeSeriesMomentum(
        volatility_sessions=20, min_traded_value=0.0, max_weight=0.5, gross_limit=0.9, min_presence=0.5
    )
    return parameter_grid(pod, {"signal_sessions": list(signals), "rebalance_every": [5, 10]})


def test_scores_are_those_of_the_screening_of_the_window_alone(panel, tmp_path):
    pods, days = grid(20, 40), panel.sessions
    found = sweep(panel, pods, Register(tmp_path), start=str(days[10]), end=str(days[149]), cost_bps=7.0)
    costs = TradingCosts(np.full(5, 7e-4), np.full(5, 0.02), np.ones(5), 1.0, 0.0, 0.0)
    np.testing.assert_array_equal(found.screening.sharpe, screen(panel, range(10, 150), pods, costs).sharpe)
    later = sweep(
        scramble_future(panel, 149), pods, Register(tmp_path), start=str(days[10]), end=str(days[149]), cost_bps=7.0
    )
    assert later.screening.returns.tobytes() == found.screening.returns.tobytes()
    assert later.count == found.count


def test_the_table_has_what_the_sets_differ_in_best_first(panel, tmp_path):
    found = sweep(panel, grid(20, 40, 60), Register(tmp_path))
    table = found.frame()
    assert list(table.columns) == ["signal_sessions", "rebalance_every", "sharpe"]
    assert table["sharpe"].is_monotonic_decreasing
    assert table.index[0] == found.screening.best
    assert table.iloc[0]["signal_sessions"] == found.best.signal_sessions


def test_every_set_is_a_trial_once_and_further_sweeps_deflate(panel, tmp_path):
    register = Register(tmp_path)
    first = sweep(panel, grid(20, 40), register)
    assert (first.count.of_study, first.count.of_data) == (4, 4)
    assert sweep(panel, grid(20, 40), register).count == first.count
    second = sweep(panel, grid(40, 60), register)
    assert (second.count.of_study, second.count.of_data, second.count.earlier) == (4, 6, 2)
    dearer = sweep(panel, grid(40, 60), register, cost_bps=10.0)
    assert dearer.count.of_data == 10
    ratios = second.screening.sharpe / 252**0.5
    sample = sharpe_sample(second.screening.returns[:, second.screening.best])
    noise = 1.0 / sample.observations
    expected = deflated_sharpe(sample, 6, max(float(np.var(ratios, ddof=1)) - noise, 0.0) + noise)
    assert second.deflated.threshold == pytest.approx(expected.threshold)
    assert second.deflated.probability == pytest.approx(expected.probability)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cost_bps": -1.0}, r"cost_bps must be in \[0, 10000\); was -1.0"),
        ({"start": "2031-01-01"}, "start and end must hold a session of the panel"),
        ({"start": "2020-03-01", "end": "2020-02-01"}, "start and end must hold a session"),
        ({"start": "January"}, "start must be a day written YYYY-MM-DD; was 'January'"),
        ({"end": ""}, "end must be a day written YYYY-MM-DD; was ''"),
        ({"start": 20200101}, "start must be a day written YYYY-MM-DD; was 20200101"),
        ({"end": "2020-01-20"}, "train must have at least 43 sessions"),
    ],
)
def test_windows_and_costs_are_checked(panel, tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        sweep(panel, grid(20, 40), Register(tmp_path), **options)
    with pytest.raises(ValueError, match="pods must hold at least one"):
        sweep(panel, [], Register(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_a_pod_written_in_a_notebook_is_known_by_its_own_text(panel, tmp_path):
    """Its module's file does not exist; an edited class under the same name is another trial."""
    register, keys = Register(tmp_path), set()
    for edit in ("1", "2"):
        lines = f"@dataclass(frozen=True)\nclass Mine(TimeSeriesMomentum):\n    edition = {edit}\n"
        cell = f"/no/such/folder/{edit}.py"
        linecache.cache[cell] = (len(lines), None, lines.splitlines(keepends=True), cell)
        module = types.ModuleType("notebook")
        module.__file__ = cell
        module.__dict__.update(dataclass=dataclass, TimeSeriesMomentum=TimeSeriesMomentum)
        sys.modules["notebook"] = module
        try:
            exec(compile(lines, cell, "exec"), module.__dict__)
            pods = parameter_grid(module.Mine(volatility_sessions=20), {"signal_sessions": [20]})
            found = sweep(panel, pods, register)
            keys.add(describe_pod(pods[0])["source"])
        finally:
            del sys.modules["notebook"], linecache.cache[cell]
    assert found.count.of_data == len(keys) == 2
    assert None not in keys
    nowhere = type("Nowhere", (TimeSeriesMomentum,), {"__module__": "__no_such_module__"})
    assert describe_pod(nowhere())["source"] is None
