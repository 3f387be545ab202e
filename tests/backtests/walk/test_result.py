from __future__ import annotations

import json
import math
import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest

from backtests.evidence.comparison import compare_runs
from backtests.walk.policy_files import PolicyArtefact, write_policy
from backtests.walk.result import COLUMNS, COSTS, Result, Run, account_statistics, check_tables
from backtests.walk.result_files import parquet_bytes, read_run, run_identity, write_run
from data_pipeline.errors import DataError

SESSIONS = np.arange("2023-01-02", "2023-09-01", dtype="datetime64[D]")[:200]


def column(kind, rows, rng):
    if kind == "date":
        return SESSIONS[np.sort(rng.integers(0, SESSIONS.size, rows))]
    if kind == "text":
        return rng.choice(np.array(["AAAA3", "BBBB4", "ção"]), rows)
    if kind == "whole":
        return rng.integers(0, 9, rows)
    return rng.random(rows) < 0.1 if kind == "flag" else rng.standard_normal(rows)


def tables(seed=0):
    rng = np.random.default_rng(seed)
    made = {
        name: {item: column(kind, {"folds": 3, "breaches": 0}.get(name, 50), rng) for item, kind in columns.items()}
        for name, columns in COLUMNS.items()
    }
    returns = 0.01 * rng.standard_normal(SESSIONS.size)
    returns[0] = 0.0
    wealth = 1e6 * np.cumprod(1 + returns)
    made["account"] = {item: column(kind, SESSIONS.size, rng) for item, kind in COLUMNS["account"].items()}
    made["account"] |= {
        "session": SESSIONS,
        "net_asset_value": wealth,
        "return": returns,
        "risk_free": np.full(SESSIONS.size, 0.0004),
        "turnover": np.full(SESSIONS.size, 0.1),
    } | {name: np.full(SESSIONS.size, 5.0) for name in COSTS}
    made["risk"] = {item: column(kind, SESSIONS.size, rng) for item, kind in COLUMNS["risk"].items()}
    made["risk"] |= {"session": SESSIONS, "var_99": np.where(np.arange(SESSIONS.size) < 20, math.nan, 0.015)}
    return made


def run(seed=0, name="test", **changes):
    results = tuple(
        Result(pod, tables(seed + i), account_statistics(tables(seed + i), 6, 1 / 400)) for i, pod in enumerate("ab")
    )
    parts = {
        "name": name,
        "benchmark": "a",
        "results": results,
        "configuration": {"seed": seed},
        "provenance": {"data_hash": "d" * 64, "code_hash": "c" * 64},
        "limits": ({"name": "drawdown", "amber": 0.035, "hard": math.inf},),
        "comparison": {"pods": ["a", "b"]},
        "quality": {"light": "green", "reasons": []},
    }
    return Run(**(parts | changes))


def tree(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_a_run_comes_back_as_written(tmp_path):
    written = run()
    folder = write_run(tmp_path, written)
    found = read_run(folder)
    assert folder.name == run_identity("test", written.configuration, written.provenance)
    assert found.benchmark == "a"
    assert found.limits[0]["hard"] is None
    for before, after in zip(written.results, found.results, strict=True):
        assert after.pod == before.pod
        for name, columns in COLUMNS.items():
            for item, kind in columns.items():
                np.testing.assert_array_equal(
                    after.tables[name][item].astype(str) if kind == "text" else after.tables[name][item],
                    before.tables[name][item].astype(str) if kind == "text" else before.tables[name][item],
                    err_msg=f"{name}.{item}",
                )


def test_the_layout_is_that_of_the_contract(tmp_path):
    policies = tmp_path / "policies"
    digest = write_policy(policies, PolicyArtefact({"times": np.arange(3.0)}, {}, {}, {}, {}, {}))
    folder = write_run(tmp_path / "runs", run(), policies, [digest, digest])
    expected = {"run.json", "comparison.json", "quality.json", f"policies/{digest}.npz", f"policies/{digest}.json"}
    for pod in "ab":
        expected |= {f"pods/{pod}/{name}.parquet" for name in COLUMNS} | {f"pods/{pod}/statistics.json"}
    assert set(tree(folder)) == expected
    header = json.loads((folder / "run.json").read_bytes())
    assert (header["schema_version"], header["kind"]) == (2, "daily")
    assert header["sessions"] == {"first": "2023-01-02", "last": str(SESSIONS[-1]), "count": 200}
    # nothing but the run and no leftovers
    assert [path.name for path in (tmp_path / "runs").iterdir()] == [folder.name]


def test_the_same_run_has_the_same_bytes_and_a_report_beside_it_stays(tmp_path):
    first, second = write_run(tmp_path / "x", run()), write_run(tmp_path / "y", run())
    assert tree(first) == tree(second)
    (first / "report.html").write_text("page")
    assert write_run(tmp_path / "x", run()) == first
    assert (first / "report.html").read_text() == "page"


def test_a_damaged_run_of_the_same_name_is_replaced(tmp_path):
    folder = write_run(tmp_path, run())
    whole = tree(folder)
    (folder / "pods/a/fills.parquet").write_bytes(b"x")
    assert write_run(tmp_path, run()) == folder
    assert tree(folder) == whole


def test_a_failed_write_leaves_nothing_to_see(tmp_path, monkeypatch):
    calls = []

    def full_disk(handle):
        calls.append(handle)
        if len(calls) == 9:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full_disk)
    with pytest.raises(OSError, match="No space left on device"):
        write_run(tmp_path / "runs", run())
    assert list((tmp_path / "runs").iterdir()) == []


def test_parquet_keeps_nan_apart_from_null_and_has_no_pandas_metadata(tmp_path):
    table = {"x": np.array([1.0, math.nan]), "day": np.array(["2023-01-02", "NaT"], "M8[D]"), "word": ["a", None]}
    path = tmp_path / "t.parquet"
    path.write_bytes(parquet_bytes(table, {"x": "float", "day": "date", "word": "text"}))
    read = pq.read_table(path)
    assert read.schema.metadata is None
    assert read.column("x").null_count == 0
    assert math.isnan(read.column("x")[1].as_py())
    assert read.column("day").to_pylist()[1] is None
    assert read.column("word").to_pylist() == ["a", None]


def test_frames_and_properties_show_the_tables():
    result = run().results[0]
    account = result.account
    np.testing.assert_array_equal(account.index.to_numpy().astype("M8[D]"), SESSIONS)
    np.testing.assert_array_equal(result.equity.to_numpy(), result.tables["account"]["net_asset_value"])
    assert list(result.costs.columns) == list(COSTS)
    assert len(result.positions) == len(result.orders) == len(result.fills) == 50
    assert len(result.breaches) == 0
    assert (result.turnover == 0.1).all()
    assert math.prod(1 + value for value in result.monthly.values()) == pytest.approx(np.prod(1 + result.returns))
    with pytest.raises(ValueError, match="name must be one of the tables"):
        result.frame("nothing")
    with pytest.raises(ValueError, match="pod must be one of a, b; was 'c'"):
        run().result("c")


def test_statistics_leave_out_the_opening_session():
    made = tables(3)
    record = account_statistics(made, 6, 1 / 400)
    returns = made["account"]["return"][1:]
    excess = returns - 0.0004
    assert record["observations"] == 199
    assert record["sharpe"] == pytest.approx(excess.mean() / excess.std(ddof=1) * math.sqrt(252))
    assert record["annual_turnover"] == pytest.approx(0.1 * 200 / 199 * 252)
    wealth = made["account"]["net_asset_value"]
    assert record["annual_cost"] == pytest.approx(4 * 5.0 * 200 / wealth.mean() * 252 / 199)
    backtest = record["var_backtest"]
    assert backtest["sessions"] == 180
    assert backtest["exceptions"] == int(np.sum(made["account"]["return"][20:] < -0.015))
    assert backtest["expected"] == pytest.approx(1.8)
    assert backtest["zone"] in {"green", "amber", "red"}


def test_an_account_without_forecasts_has_no_zone():
    made = tables()
    made["risk"]["var_99"] = np.full(SESSIONS.size, math.nan)
    backtest = account_statistics(made, 1, 0.0)["var_backtest"]
    assert backtest["sessions"] == 0
    assert backtest["zone"] is None


def test_a_lost_account_has_no_ratios():
    made = tables()
    made["account"]["return"][50] = -1.2
    made["account"]["net_asset_value"][50:] = -2e5
    record = account_statistics(made, 1, 0.0)
    assert record["lost"] is True
    assert "sharpe" not in record
    assert math.isnan(record["annual_cost"])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda made: made.pop("fills"), "pod x: table fills is missing"),
        (lambda made: made["fills"].pop("price"), "table fills must have the columns"),
        (lambda made: made["fills"].update(price=np.zeros(3)), "columns of table fills must have one length"),
    ],
)
def test_tables_that_break_the_schema_are_refused(damage, message):
    made = tables()
    damage(made)
    with pytest.raises(ValueError, match=message):
        check_tables(made, "pod x")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "run.json").unlink(), "run.json: missing: this is not the folder of a complete run"),
        (lambda folder: (folder / "run.json").write_text("{"), "run.json: not a JSON file"),
        (lambda folder: (folder / "run.json").write_text('{"schema_version": 1}'), "schema_version must be 2; was 1"),
        (lambda folder: (folder / "run.json").write_text('{"schema_version": 2}'), "the key 'kind' is missing"),
        (lambda folder: (folder / "pods/b/risk.parquet").unlink(), r"risk.parquet: missing from the run folder"),
        (lambda folder: (folder / "pods/b/risk.parquet").write_bytes(b"PAR"), "risk.parquet: not a Parquet file"),
        (
            lambda folder: shutil.copy(folder / "pods/b/risk.parquet", folder / "pods/b/fills.parquet"),
            "fills.parquet: must have the columns",
        ),
    ],
)
def test_a_damaged_run_is_refused_by_file(tmp_path, damage, message):
    folder = write_run(tmp_path, run())
    damage(folder)
    with pytest.raises(DataError, match=message):
        read_run(folder)


def test_a_pod_that_cannot_be_a_folder_is_refused(tmp_path):
    bad = run(results=(Result("../x", tables(), {}),))
    with pytest.raises(ValueError, match=r"was '../x'"):
        write_run(tmp_path, bad)
    twice = run(results=(Result("x", tables(), {}), Result("x", tables(), {})))
    with pytest.raises(ValueError, match="each with its own name"):
        write_run(tmp_path, twice)


def test_runs_on_the_same_days_and_data_are_compared(tmp_path):
    folders = [write_run(tmp_path, run(seed, f"run{seed}")) for seed in (0, 10)]
    record = compare_runs(folders, draws=50)
    assert record["comparable"] is True
    assert record["differences_of_inputs"] == []
    names = [f"{folder.name}/{pod}" for folder in folders for pod in "ab"]
    assert record["pods"] == names
    assert record["benchmark"] == names[0]
    direct = [np.array(tables(seed)["account"]["return"]) for seed in (0, 1, 10, 11)]
    expected = np.corrcoef(direct[0][1:], direct[2][1:])[0, 1]
    assert record["correlation"][0][2] == pytest.approx(expected)


def test_runs_that_differ_in_days_or_data_say_what_differs(tmp_path):
    one = write_run(tmp_path, run(0, "one"))
    other_tables = tables(5)
    for name in ("account", "risk"):
        other_tables[name] = {item: values[40:] for item, values in other_tables[name].items()}
    late = Result("c", other_tables, account_statistics(other_tables, 1, 0.0))
    changed = run(1, "two", benchmark="c", results=(late,), provenance={"data_hash": "e" * 64, "code_hash": "c" * 64})
    record = compare_runs([one, write_run(tmp_path, changed)], draws=50)
    assert record["comparable"] is False
    sentences = " ".join(record["differences_of_inputs"])
    assert "data_hash" in sentences
    assert "sessions" in sentences
    assert record["sessions"] == 159
    # the trials' variance is never below the noise of an estimate on the shared sessions
    for name in record["pods"]:
        assert record["statistics"][name]["trials"] >= 2
        assert record["statistics"][name]["trial_sharpe_variance"] >= 1 / 159
    with pytest.raises(ValueError, match="at least two"):
        compare_runs([one])
