"""kill -9 of a worker, of a poisonous task, of the driver, on both engines: nothing lost or done twice, same bytes."""

from __future__ import annotations

import logging
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from backtests.audit.lookahead import random_panel
from backtests.errors import WalkForwardError
from backtests.walk.folds import FoldSettings
from backtests.walk.plan import PodPlan, WalkForwardPlan
from backtests.walk.walkforward import run_walkforward
from data_pipeline.tasks.executor import DaskCluster, LocalProcesses
from strategies.equal_weight import EqualWeight

distributed = pytest.importorskip("distributed")

PODS = textwrap.dedent(
    """
    import os, signal
    from dataclasses import dataclass
    from pathlib import Path

    import numpy as np
    from strategies.pod import Targets

    @dataclass(frozen=True)
    class Deadly:
        folder: str
        name: str = "deadly"
        lookback: int = 5

        @property
        def parameters(self):
            return {"folder": self.folder}

        def fit(self, training):
            mark = Path(self.folder) / "deaths"
            deaths = mark.read_text() if mark.exists() else ""
            if len(deaths) < int((Path(self.folder) / "wanted").read_text()):
                mark.write_text(deaths + "x")
                os.kill(os.getpid(), signal.SIGKILL)
            return self

        def decide(self, view):
            return Targets(weights=np.full(len(view.instruments), 0.1))
    """
)
DRIVER = textwrap.dedent(
    """
    import os, signal, sys
    folder, code, tests, engine = sys.argv[1:]
    sys.path[:0] = [code, tests]
    if __name__ == "__main__":
        import backtests.walk.walkforward as walkforward
        import kills_setting

        walkforward.code_hash = lambda rooms: "c" * 64
        finished = []

        def stop(event):
            finished.append(event.kind)
            if finished.count("finished") == 2:
                os.kill(os.getpid(), signal.SIGKILL)

        kills_setting.run(folder, engine, stop)
    """
)
TASKS = 5
"""A calibration, and a choice and an account for each pod."""


@pytest.fixture(scope="module", autouse=True)
def unchanging_code():
    """One code hash for all runs, so that editing the project while its tests run does not part them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("backtests.walk.walkforward.code_hash", lambda rooms: "c" * 64)
        yield


@pytest.fixture(scope="module")
def code(tmp_path_factory):
    """The folder of the pod's module, where it also counts its deaths."""
    folder = tmp_path_factory.mktemp("code")
    (folder / "deadly_pods.py").write_text(PODS)
    wanted(folder, 0)
    sys.path.insert(0, str(folder))
    yield folder
    sys.path.remove(str(folder))


@pytest.fixture(scope="module")
def engines(code):
    """Two processes, and a real scheduler with two workers that gives a task up at its second death, for speed."""
    import dask

    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 1}),
        distributed.LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            processes=True,
            host="127.0.0.1",
            dashboard_address=":0",
            memory_limit=0,
            silence_logs=logging.CRITICAL,
        ) as cluster,
    ):
        yield {"processes": LocalProcesses(2), "dask": DaskCluster(cluster.scheduler_address)}


@pytest.fixture(scope="module")
def resumers(engines):
    """Who goes on with a run of each engine: one process is enough where nothing dies."""
    return engines | {"processes": LocalProcesses(1)}


@pytest.fixture(scope="module")
def calm(code, engines, tmp_path_factory):
    """The run that nothing happens to, by the cluster, whose workers are there already."""
    wanted(code, 0)
    return tree(walk(code, tmp_path_factory.mktemp("calm"), engines["dask"]))


def wanted(folder: Path, deaths: int) -> None:
    """So many workers are to die in the pod's fit."""
    (folder / "deaths").unlink(missing_ok=True)
    (folder / "wanted").write_text(str(deaths))


def walk(code: Path, out: Path, executor, progress=lambda event: None) -> Path:
    from deadly_pods import Deadly

    hold = EqualWeight(universe_window=20, rebalance_every=10, min_traded_value=0.0, max_weight=1.0, name="hold")
    plan = WalkForwardPlan(
        name="killed",
        pods=(PodPlan("hold", (hold,), "immediate"), PodPlan("deadly", (Deadly(str(code)),), "immediate")),
        benchmark="hold",
        folds=FoldSettings(60, 20),
        capital=1e7,
        var_window=60,
        bootstrap_draws=20,
    )
    return run_walkforward(plan, random_panel(3, sessions=81), out, executor=executor, progress=progress)


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def names(events, kind):
    return [event.name for event in events if event.kind == kind]


@pytest.mark.parametrize("engine", ["processes", "dask"])
def test_a_worker_killed_in_the_middle_loses_nothing(engine, engines, code, calm, tmp_path):
    wanted(code, 1)
    events = []
    run = walk(code, tmp_path, engines[engine], events.append)
    assert (code / "deaths").read_text() == "x"
    assert sorted(names(events, "finished")) == sorted(set(names(events, "finished")))
    assert len(names(events, "finished")) == TASKS
    assert tree(run) == calm


@pytest.mark.parametrize("engine", ["processes", "dask"])
def test_a_poisonous_task_is_given_up_and_the_rest_is_kept(engine, engines, resumers, code, calm, tmp_path):
    wanted(code, 1000)
    events = []
    with pytest.raises(WalkForwardError, match="parameters of deadly") as error:
        walk(code, tmp_path, engines[engine], events.append)
    assert not list(tmp_path.glob("killed-*"))
    assert str(error.value).count("parameters of deadly") == 1
    assert "hold" not in str(error.value)
    kept = names(events, "finished")
    assert sorted(set(kept)) == sorted(kept)
    assert len(kept) == 3
    assert "account of hold" in kept
    wanted(code, 0)
    again = []
    run = walk(code, tmp_path, resumers[engine], again.append)
    assert sorted(names(again, "skipped")) == sorted(kept)
    assert len(names(again, "finished")) == TASKS - len(kept)
    assert tree(run) == calm


@pytest.mark.parametrize("engine", ["processes", "dask"])
def test_a_killed_driver_goes_on_where_it_was(engine, engines, resumers, code, calm, tmp_path):
    wanted(code, 0)
    executor = engines[engine]
    (tmp_path / "driver.py").write_text(DRIVER)
    (tmp_path / "kills_setting.py").write_text(
        "from pathlib import Path\n"
        "from data_pipeline.tasks.executor import DaskCluster, LocalProcesses\n"
        "from test_kills import walk\n"
        f"def run(folder, engine, stop):\n    walk(Path({str(code)!r}), Path(folder), {executor!r}, stop)\n"
    )
    out = tmp_path / "out"
    paths = [str(tmp_path / "driver.py"), str(out), str(code), str(Path(__file__).parent), engine]
    ended = subprocess.run([sys.executable, *paths], capture_output=True, text=True, timeout=900)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    assert not list(out.glob("killed-*"))
    events = []
    run = walk(code, out, resumers[engine], events.append)
    done = names(events, "skipped") + names(events, "finished")
    assert len(names(events, "skipped")) >= 2
    assert sorted(done) == sorted(set(done))
    assert len(done) == TASKS
    assert tree(run) == calm
