"""A daily run's study of sensitivity: every account a second way, capacity against closed forms."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from backtests.daily.accounting import TradingRules
from backtests.daily.simulator import Segment, simulate
from backtests.errors import WalkForwardError
from backtests.evidence.sensitivity import PodCapacity, SizeInterval, read_sensitivity, read_study
from backtests.walk.plan import describe
from backtests.walk.result_files import read_run
from backtests.walk.sensitivity import IntradaySensitivity, Sensitivity
from backtests.walk.sensitivity_capacity import NONE, NOT_REACHED, capacity, half_size, peak_size
from backtests.walk.sensitivity_record import VariedAccount, sensitivity_file
from backtests.walk.sensitivity_tasks import Delayed, DelayLine
from backtests.walk.walkforward import run_walkforward
from data_pipeline.daily.panel import CorporateEvent
from mfg_core.daily.costs import TradingCosts
from reports.compare_page import write_comparison_page
from reports.compare_sensitivity import capacity_table
from reports.report import write_report
from strategies.execution import Immediate
from strategies.pod import Targets

sys.path.insert(0, str(Path(__file__).parent))
from test_walkforward import make_panel, make_plan

STUDY = Sensitivity(
    capital=(1e6, 1e7, 3e9),
    fee_factor=(0.0, 4.0),
    delay_sessions=(0, 2),
    fill_price=("vwap", "close"),
    participation_limit=(0.02,),
)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """The folder of a run with a study, and where further runs find its ledger."""
    out = tmp_path_factory.mktemp("runs")
    return run_walkforward(make_plan(sensitivity=STUDY), make_panel(), out, workers=0), out


def points(folder: Path, dimension: str, pod: str) -> dict:
    return {point.value: point for point in read_sensitivity(folder)[dimension] if point.pod == pod}


@pytest.mark.parametrize(
    ("dimension", "value", "changes"),
    [
        ("capital", 3e9, {"capital": 3e9}),
        ("fill_price", "close", {"rules": TradingRules(fill_price="close")}),
        ("participation_limit", 0.02, {"rules": TradingRules(participation_limit=0.02)}),
        ("fee_factor", 4.0, {"fee": 4.0 * 3e-4}),
    ],
)
def test_a_value_is_the_run_that_has_it_where_choices_do_not_depend_on_it(runs, dimension, value, changes):
    folder, out = runs
    other = read_run(run_walkforward(make_plan(**changes), make_panel(), out, workers=0))
    for result in other.results:
        point = points(folder, dimension, result.pod)[value]
        assert point.annual_return == result.statistics["annual_return"]
        assert point.sharpe == result.statistics["sharpe"]
        account = result.tables["account"]
        money = sum(account[name].sum() for name in result.kind.costs)
        year = 252 / (account["session"].size - 1)
        assert point.annual_cost == pytest.approx(money * year / account["net_asset_value"][1:].mean(), rel=1e-12)
        excess = float((result.returns - result.risk_free)[1:].mean()) * 252
        capital = value if dimension == "capital" else 1e7
        assert point.profit == pytest.approx(capital * excess, rel=1e-12)


def test_the_runs_own_value_is_its_own_account_and_differs_by_nothing(runs):
    folder, _ = runs
    own = {"capital": 1e7, "fee_factor": 1.0, "delay_sessions": 0, "fill_price": "vwap", "participation_limit": 0.1}
    for result in read_run(folder).results:
        for dimension, value in own.items():
            point = points(folder, dimension, result.pod)[value]
            assert point.sharpe == result.statistics["sharpe"]
            assert (point.difference, point.difference_error) == (0.0, 0.0)


def test_the_study_adds_no_trial_and_no_other_file_of_the_run_changes(runs, tmp_path):
    folder, _ = runs
    plain = run_walkforward(make_plan(), make_panel(), tmp_path, workers=0)
    for path in sorted(plain.rglob("*.parquet")):
        assert path.read_bytes() == (folder / path.relative_to(plain)).read_bytes()
    here, there = (json.loads((run / "run.json").read_text()) for run in (plain, folder))
    assert here["provenance"]["trials"]["of_study"] == there["provenance"]["trials"]["of_study"]
    assert "sensitivity.json" in there["files"]
    assert "sensitivity.json" not in here["files"]
    assert here["configuration"]["sensitivity"] is None
    assert "add no trials" in read_study(folder).notes[0]


def test_workers_change_no_number(runs, tmp_path):
    folder, _ = runs
    study = Sensitivity(fee_factor=STUDY.fee_factor, delay_sessions=STUDY.delay_sessions)
    other = run_walkforward(make_plan(sensitivity=study), make_panel(), tmp_path, workers=2)
    for name in ("fee_factor", "delay_sessions"):
        assert repr(read_sensitivity(other)[name]) == repr(read_sensitivity(folder)[name])  # nan differs from itself


def test_a_study_that_grows_by_a_value_computes_that_alone(runs):
    _, out = runs
    wider, events = dataclasses.replace(STUDY, delay_sessions=(0, 1, 2)), []
    run_walkforward(make_plan(sensitivity=wider), make_panel(), out, workers=0, progress=events.append)
    ran = [event.name for event in events if event.kind == "finished"]
    assert ran == ["account of hold with delay_sessions 1", "account of momentum with delay_sessions 1"]
    assert events[-1].done == events[-1].total


@dataclass(frozen=True)
class Calendar:
    """Wants what a table says at each session; None where it says nothing."""

    table: Mapping[np.datetime64, Targets]

    def decide(self, view) -> Targets | None:
        return self.table.get(view.session)


def costs(n: int = 5) -> TradingCosts:
    return TradingCosts(np.full(n, 1e-3), np.full(n, 0.02), np.full(n, 1e6), 0.3, 0.0, 3e-4)


def test_a_delayed_decision_is_the_same_decision_of_a_later_close_across_folds():
    panel = make_panel()
    rng = np.random.default_rng(4)
    weights = {panel.sessions[row]: Targets(weights=rng.dirichlet(np.ones(5)) * 0.9) for row in range(40, 70, 3)}
    later = {panel.sessions[row + 4]: targets for row, targets in zip(range(40, 70, 3), weights.values(), strict=True)}
    line = DelayLine(panel, 4)
    bounds = ((40, 57), (58, 75))
    rules = TradingRules()
    made = [
        [Segment(first, last, decider, costs(), Immediate(), costs_row=39) for first, last in bounds]
        for decider in (Delayed(Calendar(weights), line), Calendar(later))
    ]
    delayed, direct = (simulate(panel, segments, rules=rules, capital=1e7) for segments in made)
    assert np.array_equal(delayed.net_asset_value, direct.net_asset_value)
    assert np.array_equal(delayed.fills.shares, direct.fills.shares)
    assert delayed.fills.row.min() == 5


def test_shares_ordered_before_a_split_are_restated_for_it():
    panel = make_panel()  # instrument 0 splits two for one at row 60
    orders = Targets(orders={"AAAA3": 1000.0, "BBBB3": 500.0})
    account = simulate(
        panel,
        [Segment(58, 66, Delayed(Calendar({panel.sessions[59]: orders}), DelayLine(panel, 3)), costs(), Immediate())],
        rules=TradingRules(),
        capital=1e7,
    )
    assert account.fills.row.tolist() == [5, 5]
    assert account.fills.shares.tolist() == [2000.0, 500.0]


def test_nothing_of_a_study_reads_the_future(tmp_path):
    whole = make_panel()
    other = dataclasses.replace(
        whole,
        events=(*whole.events, CorporateEvent(2, 148, 148, 1.0, 3.0, 0.0, "dividend", 1.0, "made up")),
        close=np.where(np.arange(150)[:, None] >= 148, whole.close * 1.3, whole.close),
    )
    folds = []
    for panel in (whole, other):
        line = DelayLine(panel, 2)
        rng = np.random.default_rng(1)
        table = {panel.sessions[row]: Targets(weights=rng.dirichlet(np.ones(5)) * 0.5) for row in range(120, 150, 4)}
        segment = Segment(118, 149, Delayed(Calendar(table), line), costs(), Immediate(), costs_row=110)
        folds.append(simulate(panel, [segment], rules=TradingRules(fill_price="close"), capital=1e7))
    assert np.array_equal(folds[0].net_asset_value[:30], folds[1].net_asset_value[:30])
    assert not np.array_equal(folds[0].net_asset_value, folds[1].net_asset_value)


def test_a_task_that_fails_names_pod_and_value(tmp_path):
    panel = make_panel()
    closes = dataclasses.replace(panel, vwap=np.full_like(panel.vwap, np.nan))
    plan = make_plan(rules=TradingRules(fill_price="close"), sensitivity=Sensitivity(fill_price=("vwap",)))
    with pytest.raises(WalkForwardError, match=r"hold with fill_price vwap: .*fill_price must be 'close'"):
        run_walkforward(plan, closes, tmp_path, workers=0)


# Profit K (a - c sqrt(K)) per unit of time peaks at (2a / 3c)^2.
A, C = 0.2, 2e-5


def test_the_peak_of_a_square_root_cost_is_found_between_sizes():
    peak = (2.0 * A / (3.0 * C)) ** 2
    errors = []
    for n in (5, 9, 17, 33):
        sizes = np.geomspace(peak / 20.0, peak * 13.0, n)
        errors.append(abs(float(peak_size(sizes, (A - C * np.sqrt(sizes))[None])[0]) / peak - 1.0))
    assert errors[1] < 0.05  # sizes a factor of two apart
    slope = np.polyfit(np.log([4, 8, 16, 32]), np.log(errors), 1)[0]
    assert slope < -1.7  # the slope of a parabola through three points: second order in the spacing


@pytest.mark.parametrize("curve", [0.0, -0.004, 0.001])
def test_the_peak_is_exact_where_the_rate_is_quadratic_in_the_logarithm(curve):
    sizes = np.array([1e5, 3e6, 1e8])

    def rate(size):
        return 0.519 - 0.03 * np.log(size) + curve * np.log(size / 1e6) ** 2

    grid = np.exp(np.linspace(np.log(1e5), np.log(1e8), 400_001))
    best = grid[np.argmax(grid * rate(grid))]
    assert 1e6 < best < 9e7
    assert peak_size(sizes, rate(sizes)[None])[0] == pytest.approx(best, rel=2e-5)  # the grid's step


def test_what_is_not_reached_and_what_does_not_exist_is_told_apart():
    sizes = np.array([1.0, 10.0, 100.0])
    rates = np.array([[0.2, 0.2, 0.2], [-0.1, -0.1, -0.2], [0.2, 0.01, -1.0], [0.2, 0.1, 0.001]])
    found = peak_size(sizes, rates)
    assert found[:2].tolist() == [NOT_REACHED, NONE]
    assert 1.0 < found[2] < 10.0
    assert 10.0 < found[3] < 100.0
    assert peak_size(sizes[:2], np.array([[0.2, 0.01], [0.2, 0.1]])).tolist() == [1.0, NOT_REACHED]
    ratios = np.array([[2.0, 1.5, 1.2], [-1.0, -2.0, -3.0], [2.0, 1.5, 0.5], [np.nan, 1.0, 1.0], [2.0, np.nan, np.nan]])
    assert half_size(sizes, ratios).tolist() == [NOT_REACHED, NONE, pytest.approx(10.0**1.5), NONE, pytest.approx(10.0)]


def test_the_interval_covers_the_true_sizes():
    sizes = np.geomspace(1e6, 1e9, 13)
    peak = (2.0 * A / (3.0 * C)) ** 2
    half = ((A - 0.5 * (A - C * 1e3)) / C) ** 2  # one deviation at every size: the ratio halves with the mean
    rng = np.random.default_rng(3)
    covered = np.zeros(2)
    trials = 60
    for trial in range(trials):
        noise = 0.4 * rng.standard_normal(1500)
        found = capacity(sizes, (A - C * np.sqrt(sizes))[None] + noise[:, None], draws=200, seed=trial)
        covered += [found.peak.low <= peak <= found.peak.high, found.half_sharpe.low <= half <= found.half_sharpe.high]
    # 95 % intervals: below 85 % of 60 has probability 0.3 % (binomial); interpolation between sizes biases a little.
    assert (covered >= 0.85 * trials).all()


def test_the_capacity_of_the_run_is_in_its_file(runs):
    folder, _ = runs
    found = {item.pod: item for item in read_study(folder).capacity}
    assert set(found) == {"hold", "momentum"}
    for item in found.values():
        assert (item.size, item.smallest, item.largest) == ("capital", 1e6, 3e9)
    # at 3 bn a tenth of each session's volume is nothing: the profit has peaked before or was never there
    best = max(points(folder, "capital", "hold").values(), key=lambda point: point.profit)
    if best.profit <= 0.0:
        assert found["hold"].peak.value == "none"
    elif best.value == 3e9:
        assert found["hold"].peak.value == "not reached"
    else:
        assert 1e6 <= found["hold"].peak.value < 3e9


def test_a_profit_that_falls_from_the_smallest_size_on_is_told_as_at_most():
    """The true peak is two thirds of the smallest size studied: no page may call that size the peak."""
    smallest = 1.5 * (2.0 * A / (3.0 * C)) ** 2
    sizes = smallest * np.array([1.0, 1.15, 1.3])
    assert peak_size(sizes, (A - C * np.sqrt(sizes))[None]).tolist() == [smallest]
    at = SizeInterval(smallest, smallest, 1.1 * smallest)
    row = capacity_table([PodCapacity("p", "order_lots", smallest, sizes[-1], at, at)]).rows[0]
    assert row[3].startswith("at most ")
    assert row[3].count("at most") == 2
    assert "at most" not in row[4]
    nowhere = SizeInterval("none", "none", "none")
    assert capacity_table([PodCapacity("p", "capital", 1e5, 1e9, nowhere, nowhere)]).rows[0][3:] == ("none", "none")


def test_two_sizes_have_no_capacity():
    one = np.full(50, 0.01)
    accounts = [VariedAccount(value, one, 0.0 * one, one, 1.0 + one, value * one) for value in (1.0, 2.0, 3.0)]

    def told(count):
        file = sensitivity_file(
            {"capital": {"p": accounts[:count]}}, {"p": accounts[0]}, periods_per_year=252, draws=10, seed=1
        )
        return len(json.loads(file)["capacity"])

    assert [told(2), told(3)] == [0, 1]


def test_the_study_is_on_the_report_and_on_the_comparison_page(runs, tmp_path):
    folder, _ = runs
    report = write_report(folder, output=tmp_path / "report.html").read_text()
    compared = write_comparison_page([folder], tmp_path / "c.html").read_text()
    for page in (report, compared):
        for name in ("capital", "fee_factor", "delay_sessions", "fill_price", "participation_limit"):
            assert f'data-t="sensitivity-{name}"' in page
        assert 'data-t="capacity"' in page
        assert "they add no trials" in page
        assert "Less the run" in page
    sessions = read_run(folder).results[0].sessions
    early = write_report(folder, date=sessions[60], output=tmp_path / "early.html").read_text()
    assert "sensitivity-capital" not in early


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Sensitivity(capital=(1.0, 1.0)), ValueError, "capital must name each value once; 1.0 is there twice"),
        (lambda: Sensitivity(capital=(0.0,)), ValueError, "capital must be finite and positive; was 0.0"),
        (lambda: Sensitivity(fee_factor=(np.nan,)), ValueError, "fee_factor must be finite and 0 or more; was nan"),
        (lambda: Sensitivity(delay_sessions=(-1,)), ValueError, "delay_sessions must be whole numbers from 0 to 252"),
        (lambda: Sensitivity(fill_price=("open",)), ValueError, "fill_price must be vwap or close; was 'open'"),
        (lambda: Sensitivity(participation_limit=(1.5,)), ValueError, "participation_limit must be finite and in"),
        (lambda: Sensitivity(capital=[1.0]), TypeError, r"capital must be a tuple of values; was \[1.0\]"),
        (lambda: Sensitivity(capital=("1",)), TypeError, "capital must be numbers; was '1'"),
        (lambda: IntradaySensitivity(order_lots=(0,)), ValueError, "order_lots must be whole numbers from 1"),
        (lambda: IntradaySensitivity(latency_ms=(-1.0,)), ValueError, "latency_ms must be finite and in"),
        (lambda: capacity(np.array([2.0, 1.0]), np.ones((3, 2)), draws=1, seed=1), ValueError, "sizes must be at le"),
    ],
)  # fmt: skip
def test_bad_settings_are_refused_with_the_reason(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_a_study_of_nothing_is_no_study():
    assert describe(make_plan(sensitivity=Sensitivity())) == describe(make_plan())
