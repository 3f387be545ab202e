"""A real Dask cluster of two worker processes on this machine."""

from __future__ import annotations

import logging
import multiprocessing
import sys
import textwrap
import time
from pathlib import Path

import pytest

from data_pipeline.tasks.dask_pool import DaskPool
from data_pipeline.tasks.errors import TaskError
from data_pipeline.tasks.executor import DaskCluster, LocalProcesses, make_workforce
from data_pipeline.tasks.ledger import Ledger, task_key
from data_pipeline.tasks.worker import Task

distributed = pytest.importorskip("distributed")

JOBS = textwrap.dedent(
    """
    import os, signal, time
    from pathlib import Path

    def _note(folder, name):
        with open(Path(folder) / "calls", "a") as stream:
            stream.write(name + "\\n")

    def work(argument):
        folder, name = argument
        _note(folder, name)
        return f"result of {name}".encode()

    def die_once(argument):
        folder, name = argument
        _note(folder, name)
        mark = Path(folder) / f"died-{name}"
        if not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return f"result of {name}".encode()

    def die_always(argument):
        _note(*argument)
        os.kill(os.getpid(), signal.SIGKILL)

    def raise_error(argument):
        raise ValueError("window must be positive; was 0")

    def full_disk(argument):
        raise OSError(28, "No space left on device")
    """
)


@pytest.fixture(scope="module")
def jobs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("code")
    (folder / "dask_jobs.py").write_text(JOBS)
    sys.path.insert(0, str(folder))
    import dask_jobs

    yield dask_jobs
    sys.path.remove(str(folder))


@pytest.fixture(scope="module")
def cluster(jobs):
    with distributed.LocalCluster(
        n_workers=2,
        threads_per_worker=1,
        processes=True,
        host="127.0.0.1",
        dashboard_address=":0",
        memory_limit=0,
        silence_logs=logging.CRITICAL,
    ) as made:
        yield made


def tasks_of(function, folder, names):
    return [Task(task_key({"name": name}), name, function, (str(folder), name), {"name": name}) for name in names]


def calls(folder: Path) -> list[str]:
    return (folder / "calls").read_text().split()


def test_a_killed_worker_loses_nothing_and_every_other_result_is_made_once(tmp_path, jobs, cluster):
    ledger = Ledger(tmp_path / "ledger")
    tasks = tasks_of(jobs.work, tmp_path, "abcdefgh") + tasks_of(jobs.die_once, tmp_path, ["k"])
    tasks += tasks_of(jobs.raise_error, tmp_path, ["bad"]) + tasks_of(jobs.full_disk, tmp_path, ["full"])
    events = []
    with DaskPool(ledger, cluster.scheduler_address, progress=events.append) as pool:
        report = pool.run(tasks)
        assert pool.run(tasks[:3]).skipped == ("a", "b", "c")
    assert sorted(report.ran) == [*"abcdefgh", "k"]
    assert calls(tmp_path).count("k") == 2
    assert sorted(set(calls(tmp_path))) == [*"abcdefgh", "k"]
    for task in tasks[:9]:
        assert ledger.read(task.key) == f"result of {task.name}".encode()
    failures = {failure.name: failure for failure in report.failed}
    assert "ValueError: window must be positive; was 0 (dask_jobs.py:" in failures["bad"].reason
    assert (failures["full"].errno, failures["bad"].errno) == (28, None)
    assert max(event.done for event in events) == 11


def test_the_scheduler_holds_a_bounded_number_of_tasks_and_gets_them_in_order(tmp_path, jobs, cluster, monkeypatch):
    monkeypatch.setattr("data_pipeline.tasks.dask_pool._SUBMITTED", 3)
    monkeypatch.setattr("data_pipeline.tasks.dask_pool._SUBMITTED_A_THREAD", 1)
    real, submitted, settled, most = distributed.Client.submit, [], [], []

    def submit(self, function, task, *rest, **more):
        submitted.append(task.name)
        most.append(len(submitted) - len(settled))
        return real(self, function, task, *rest, **more)

    def note(event):
        if event.kind == "finished":
            settled.append(event.name)

    monkeypatch.setattr(distributed.Client, "submit", submit)
    names = [f"n{number:02d}" for number in range(20)]
    with DaskPool(Ledger(tmp_path / "ledger"), cluster.scheduler_address, progress=note) as pool:
        report = pool.run(tasks_of(jobs.work, tmp_path, names))
    assert sorted(report.ran) == names
    assert submitted == names
    assert max(most) <= 4  # three, and the next while an answer is taken up


def test_a_poison_task_is_given_up_and_its_neighbours_stand(tmp_path, jobs, cluster):
    ledger = Ledger(tmp_path / "ledger")
    tasks = tasks_of(jobs.die_always, tmp_path, ["poison"]) + tasks_of(jobs.work, tmp_path, "abcd")
    with DaskPool(ledger, cluster.scheduler_address) as pool:
        report = pool.run(tasks)
    assert sorted(report.ran) == [*"abcd"]
    assert [failure.name for failure in report.failed] == ["poison"]
    assert "its workers died again and again" in report.failed[0].reason


def test_a_result_that_the_driver_cannot_see_is_a_clear_error(tmp_path, jobs, cluster, monkeypatch):
    monkeypatch.setattr("data_pipeline.tasks.dask_pool._VISIBLE_SECONDS", 0.1)
    ledger = Ledger(tmp_path / "ledger")
    [task] = tasks_of(jobs.work, tmp_path, ["a"])

    with DaskPool(ledger, cluster.scheduler_address) as pool:
        assert pool.run([task]).ran == ("a",)
        read = Ledger.read

        def blind(self, key):
            raise KeyError(key)

        monkeypatch.setattr(Ledger, "read", blind)
        report = pool.run([task])
        monkeypatch.setattr(Ledger, "read", read)
    assert "must be on a file system that the driver and all workers share" in report.failed[0].reason


def test_a_cluster_that_is_not_there_and_addresses_of_no_form_are_clear_errors(tmp_path, monkeypatch):
    monkeypatch.setattr("data_pipeline.tasks.dask_pool._CONNECT_SECONDS", 0.3)
    [task] = tasks_of(time.sleep, tmp_path, ["a"])
    with (
        DaskPool(Ledger(tmp_path), "tcp://127.0.0.1:9") as pool,
        pytest.raises(TaskError, match="cannot reach the Dask scheduler at tcp://127"),
    ):
        pool.run([task])
    for address in ("local:", "local:0", "local:-1", "local:x", "machine", ""):
        with pytest.raises(ValueError, match="cluster must be tcp://host:port or local:N"):
            DaskPool(Ledger(tmp_path), address)


def test_without_dask_the_error_names_the_command_that_installs_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(TaskError, match=r"python -m pip install 'fairfield\[cluster\]'"):
        DaskCluster("local:2").over(Ledger(tmp_path))


def test_the_workforce_is_a_cluster_or_processes_one_per_core_unless_said():
    assert make_workforce(3) == LocalProcesses(3)
    assert make_workforce(cluster="local:2") == DaskCluster("local:2")
    assert make_workforce().workers >= 1
    with pytest.raises(ValueError, match="workers must not be given with a cluster"):
        make_workforce(2, "local:2")


@pytest.mark.parametrize(
    ("wishes", "made"),
    [
        ({"engine": "serial"}, LocalProcesses(0)),
        ({"engine": "serial", "workers": 0}, LocalProcesses(0)),
        ({"engine": "processes", "workers": 3}, LocalProcesses(3)),
        ({"engine": "dask", "workers": 2}, DaskCluster("local:2")),
        ({"engine": "dask", "scheduler": "tcp://here:8786"}, DaskCluster("tcp://here:8786")),
        ({"scheduler": "local:4"}, DaskCluster("local:4")),
        ({"engine": "dask", "cluster": "local:4"}, DaskCluster("local:4")),
    ],
)
def test_options_name_the_engine(wishes, made):
    assert make_workforce(**wishes) == made


@pytest.mark.parametrize(
    ("wishes", "words"),
    [
        ({"engine": "serial", "workers": 2}, "workers must not be given with engine serial"),
        ({"engine": "processes", "workers": 0}, "workers must be at least 1 with engine processes"),
        ({"engine": "dask", "workers": 0}, "workers must be at least 1 with engine dask"),
        ({"engine": "processes", "scheduler": "local:2"}, "scheduler must not be given with engine processes"),
        ({"engine": "serial", "cluster": "local:2"}, "cluster must not be given with engine serial"),
        ({"scheduler": "local:2", "cluster": "local:2"}, "scheduler must not be given with a cluster"),
        ({"scheduler": "tcp://here:8786", "workers": 2}, "workers must not be given with a scheduler"),
        ({"scheduler": "here"}, "cluster must be tcp://host:port or local:N"),
    ],
)
def test_options_that_contradict_each_other_are_one_sentence(wishes, words):
    with pytest.raises(ValueError, match=words):
        make_workforce(**wishes)


def test_a_local_cluster_ends_with_its_pool(tmp_path, jobs):
    before = {process.pid for process in multiprocessing.active_children()}
    with DaskPool(Ledger(tmp_path / "ledger"), "local:1") as pool:
        assert pool.run(tasks_of(jobs.work, tmp_path, ["a"])).ran == ("a",)
        during = {process.pid for process in multiprocessing.active_children()} - before
        assert during
    assert not during & {process.pid for process in multiprocessing.active_children()}
