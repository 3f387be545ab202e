"""Each kind of run has its own tables and one account that statistics and comparisons can read."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from backtests.evidence.comparison import compare_runs
from backtests.walk.result import Result, Run, account_statistics
from backtests.walk.result_files import read_run, write_run
from backtests.walk.run_kinds import COMMON, DAILY, INTRADAY, KINDS, NUMPY_KINDS, RunKind

SESSIONS = np.datetime64("2023-01-02") + np.arange(40)


def result(kind: RunKind, pod: str, seed: int) -> Result:
    rng = np.random.default_rng(seed)
    rows = {"account": SESSIONS.size, "risk": SESSIONS.size}
    tables = {}
    for name, columns in kind.tables.items():
        size = rows.get(name, 0)
        tables[name] = {item: np.zeros(size).astype(NUMPY_KINDS[what]) for item, what in columns.items()}
    account = tables["account"]
    returns = np.r_[0.0, 0.01 * rng.standard_normal(SESSIONS.size - 1)]
    account.update({"session": SESSIONS, "return": returns, "net_asset_value": 100 * np.cumprod(1 + returns)})
    for cost in kind.costs:
        account[cost] = np.full(SESSIONS.size, 0.5)
    tables["account"] = {item: account[item] for item in kind.tables["account"]}
    statistics = account_statistics(tables, 2, 0.01, kind=kind)
    return Result(pod, tables, statistics, {"code_hash": "c"}, kind)


def run(kind: RunKind, *seeds: int) -> Run:
    pods = tuple(result(kind, f"pod{seed}", seed) for seed in seeds)
    return Run(kind.name, pods[0].pod, pods, {"seed": seeds}, {"code_hash": "c"}, (), {}, {})


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_every_kind_has_the_account_that_comparisons_read(kind):
    assert set(COMMON) <= set(kind.tables["account"])
    assert set(kind.costs) <= set(kind.tables["account"])
    for table, column in kind.known_on.items():
        assert kind.tables[table][column] == "date"


def test_an_intraday_run_comes_back_as_it_was_written(tmp_path):
    written = run(INTRADAY, 1, 2)
    found = read_run(write_run(tmp_path, written))
    assert found.kind is INTRADAY
    for before, after in zip(written.results, found.results, strict=True):
        assert list(after.tables) == list(INTRADAY.tables)
        for column, values in before.tables["account"].items():
            np.testing.assert_array_equal(after.tables["account"][column], values)
    assert "var_backtest" not in found.results[0].statistics
    with pytest.raises(ValueError, match="name must be one of the tables account, sessions"):
        _ = found.results[0].positions


def test_the_costs_in_the_statistics_are_the_kinds_own():
    for kind in KINDS.values():
        found = result(kind, "x", 3)
        money = 0.5 * len(kind.costs) * SESSIONS.size
        years = (SESSIONS.size - 1) / 252
        expected = money / found.tables["account"]["net_asset_value"].mean() / years
        assert found.statistics["annual_cost"] == pytest.approx(expected, rel=1e-12)


def test_pods_of_one_run_are_of_one_kind(tmp_path):
    mixed = dataclasses.replace(run(DAILY, 1), results=(result(DAILY, "a", 1), result(INTRADAY, "b", 2)))
    with pytest.raises(ValueError, match="results must be of one kind of run; were daily and intraday"):
        write_run(tmp_path, mixed)


def test_a_daily_and_an_intraday_run_are_compared_on_their_common_sessions(tmp_path):
    folders = [write_run(tmp_path, run(DAILY, 1)), write_run(tmp_path, run(INTRADAY, 2, 3))]
    record = compare_runs(folders, draws=50)
    assert record["sessions"] == SESSIONS.size - 1
    assert len(record["statistics"]) == 3
