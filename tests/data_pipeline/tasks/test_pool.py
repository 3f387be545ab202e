from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from data_pipeline.tasks.errors import WorkerStartError
from data_pipeline.tasks.executor import DaskCluster, LocalProcesses
from data_pipeline.tasks.ledger import Ledger, task_key
from data_pipeline.tasks.pool import RunInterruptedError, TaskPool
from data_pipeline.tasks.worker import Task

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
        _note(*argument)
        raise ValueError("window must be positive; was 0")

    def wait(argument):
        folder, name = argument
        _note(folder, name)
        time.sleep(60)
        return b""

    def blocked(argument):
        return str(signal.pthread_sigmask(signal.SIG_BLOCK, [])).encode()

    def threads(argument):
        return os.environ["OPENBLAS_NUM_THREADS"].encode()
    """
)


@pytest.fixture
def jobs(tmp_path, monkeypatch):
    folder = tmp_path / "code"
    folder.mkdir()
    (folder / "pool_jobs.py").write_text(JOBS)
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.delitem(sys.modules, "pool_jobs", raising=False)
    import pool_jobs

    return pool_jobs


def _tasks(function, folder, names):
    return [Task(task_key({"name": name}), name, function, (str(folder), name), {"name": name}) for name in names]


def _calls(folder: Path) -> list[str]:
    path = folder / "calls"
    return path.read_text().split() if path.exists() else []


def test_a_killed_worker_costs_only_its_own_task_a_second_run(tmp_path, jobs):
    ledger = Ledger(tmp_path / "ledger")
    tasks = _tasks(jobs.work, tmp_path, ["a", "b"]) + _tasks(jobs.die_once, tmp_path, ["k"])
    tasks += _tasks(jobs.work, tmp_path, ["c", "d"])
    events = []
    with TaskPool(ledger, 2, progress=events.append) as pool:
        report = pool.run(tasks)
    assert sorted(report.ran) == ["a", "b", "c", "d", "k"]
    assert report.failed == ()
    assert sorted(_calls(tmp_path)) == ["a", "b", "c", "d", "k", "k"]
    assert [event.name for event in events if event.kind == "worker_lost"] == ["k"]
    assert "SIGKILL" in report.notices[0]
    for task in tasks:
        assert ledger.read(task.key) == f"result of {task.name}".encode()
    assert events[-1].done == events[-1].total == 5


def test_a_poison_task_is_given_up_alone_and_the_rest_stands(tmp_path, jobs):
    ledger = Ledger(tmp_path / "ledger")
    tasks = _tasks(jobs.die_always, tmp_path, ["poison"]) + _tasks(jobs.work, tmp_path, ["a", "b", "c"])
    with TaskPool(ledger, 2) as pool:
        report = pool.run(tasks)
    assert sorted(report.ran) == ["a", "b", "c"]
    assert [(failure.name, failure.reason) for failure in report.failed] == [
        ("poison", "its worker died 3 times, last by SIGKILL")
    ]
    calls = _calls(tmp_path)
    assert calls.count("poison") == 3
    # a suspect runs again only after the healthy ones, with nobody beside it
    assert calls[-2:] == ["poison", "poison"]
    assert [record["worker_deaths"] for record in ledger.failures()] == [3]


@pytest.mark.parametrize("workers", [0, 1])
def test_an_error_fails_its_task_with_its_own_words_and_place(tmp_path, jobs, workers):
    ledger = Ledger(tmp_path / "ledger")
    tasks = _tasks(jobs.raise_error, tmp_path, ["bad"]) + _tasks(jobs.work, tmp_path, ["a"])
    with TaskPool(ledger, workers) as pool:
        report = pool.run(tasks)
    assert report.ran == ("a",)
    assert report.failed[0].name == "bad"
    assert "ValueError: window must be positive; was 0 (pool_jobs.py:" in report.failed[0].reason
    assert _calls(tmp_path).count("bad") == 1


def test_what_is_finished_is_not_run_again_and_what_is_damaged_is(tmp_path, jobs):
    ledger = Ledger(tmp_path / "ledger")
    tasks = _tasks(jobs.work, tmp_path, ["a", "b", "c"])
    with TaskPool(ledger, 0) as pool:
        pool.run(tasks[:2])
        path = ledger.path(tasks[1].key)
        path.write_bytes(path.read_bytes()[:-1] + b"X")
        report = pool.run(tasks)
    assert report.skipped == ("a",)
    assert sorted(report.ran) == ["b", "c"]
    assert "b is computed again: damaged ledger entry" in report.notices[0]
    assert ledger.read(tasks[1].key) == b"result of b"
    assert sorted(_calls(tmp_path)) == ["a", "b", "b", "c"]


def test_workers_compute_with_one_thread_and_the_driver_keeps_its_own(tmp_path, jobs, monkeypatch):
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "2")
    ledger = Ledger(tmp_path / "ledger")
    [task] = _tasks(jobs.threads, tmp_path, ["t"])
    with TaskPool(ledger, 1) as pool:
        pool.run([task])
    assert ledger.read(task.key) == b"1"
    assert os.environ["OPENBLAS_NUM_THREADS"] == "2"


def test_tasks_that_share_a_key_must_be_the_same(tmp_path, jobs):
    one, other = _tasks(jobs.work, tmp_path, ["a", "b"])
    clash = Task(one.key, other.name, other.function, other.argument, other.description)
    with TaskPool(Ledger(tmp_path / "ledger"), 0) as pool:
        assert pool.run([one, one]).ran == ("a",)
        with pytest.raises(ValueError, match="a and b share"):
            pool.run([one, clash])


def test_the_number_of_workers_is_checked(tmp_path):
    with pytest.raises(ValueError, match="workers must be a whole number, 0 or more; was -1"):
        TaskPool(Ledger(tmp_path), -1)


DRIVER = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import pool_jobs
from data_pipeline.tasks.ledger import Ledger, task_key
from data_pipeline.tasks.pool import RunInterruptedError, TaskPool
from data_pipeline.tasks.worker import Task

def tasks(folder):
    named = [("a", pool_jobs.work), ("b", pool_jobs.work), ("slow", pool_jobs.wait), ("c", pool_jobs.work)]
    return [Task(task_key({"name": n}), n, f, (folder, n), {"name": n}) for n, f in named]

if __name__ == "__main__":
    try:
        with TaskPool(Ledger(Path(sys.argv[2]) / "ledger"), 1) as pool:
            pool.run(tasks(sys.argv[2]))
    except RunInterruptedError as stop:
        print(stop)
        raise SystemExit(130)
"""


def _start_driver(tmp_path):
    script = tmp_path / "driver.py"
    script.write_text(DRIVER)
    driver = subprocess.Popen(
        [sys.executable, str(script), str(tmp_path / "code"), str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    deadline = time.monotonic() + 60
    while "slow" not in _calls(tmp_path):
        assert driver.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return driver


def _processes_of(session: int) -> list[int]:
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rsplit(")", 1)[1].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(fields[3]) == session and fields[0] != "Z":
            found.append(int(stat.parent.name))
    return found


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks for processes in /proc")
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_stopped_driver_leaves_no_process_and_resumes_without_running_anything_twice(tmp_path, jobs, how):
    driver = _start_driver(tmp_path)
    # Ctrl-C reaches the whole group, as in a terminal
    os.killpg(driver.pid, how) if how == signal.SIGINT else driver.kill()
    output, _ = driver.communicate(timeout=120)
    if how == signal.SIGINT:
        assert driver.returncode == 130
        assert "stopped: 2 of 4 tasks are finished and kept in" in output
        assert "run the same command again" in output
    deadline = time.monotonic() + 20
    while _processes_of(driver.pid):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    ledger = Ledger(tmp_path / "ledger")
    ledger.sweep()
    assert {path.suffix for path in ledger.folder.rglob("*") if path.is_file()} == {".entry"}
    tasks = _tasks(jobs.work, tmp_path, ["a", "b", "slow", "c"])
    with TaskPool(ledger, 0) as pool:
        report = pool.run(tasks)
    assert report.skipped == ("a", "b")
    assert report.ran == ("slow", "c")
    assert sorted(_calls(tmp_path)) == ["a", "b", "c", "slow", "slow"]


def test_ctrl_c_in_this_process_says_how_to_go_on(tmp_path, jobs):
    def stop_after_the_second(event):
        if event.done == 2:
            raise KeyboardInterrupt

    ledger = Ledger(tmp_path / "ledger")
    tasks = _tasks(jobs.work, tmp_path, ["a", "b", "c"])
    with (
        TaskPool(ledger, 0, progress=stop_after_the_second) as pool,
        pytest.raises(RunInterruptedError, match="2 of 3"),
    ):
        pool.run(tasks)
    assert [ledger.contains(task.key) for task in tasks] == [True, True, False]


def test_workers_that_cannot_start_are_one_clear_error(tmp_path, jobs, monkeypatch):
    monkeypatch.setattr("multiprocessing.spawn.get_executable", lambda: b"/bin/false")
    with TaskPool(Ledger(tmp_path / "ledger"), 1) as pool, pytest.raises(WorkerStartError, match="ended with code"):
        pool.run(_tasks(jobs.work, tmp_path, ["a"]))


@pytest.mark.parametrize("engine", ["processes", "dask"])
def test_workers_do_not_hear_ctrl_c(tmp_path, jobs, engine):
    """A terminal sends it to every process of the command: theirs would be tracebacks between the driver's sentence."""
    if engine == "dask":
        pytest.importorskip("distributed")
    crew = DaskCluster("local:1") if engine == "dask" else LocalProcesses(1)
    ledger, [task] = Ledger(tmp_path / "ledger"), _tasks(jobs.blocked, tmp_path, ["b"])
    with crew.over(ledger) as pool:
        pool.run([task])
    assert b"SIGINT" in ledger.read(task.key)


def test_ctrl_c_waits_until_every_worker_is_known():
    """In a process of its own: any other thread of this one might hear it at once."""
    code = """
        import os, signal
        from data_pipeline.tasks.worker import ctrl_c_waits

        heard = []
        signal.signal(signal.SIGINT, lambda *_: heard.append("now"))
        with ctrl_c_waits():
            os.kill(os.getpid(), signal.SIGINT)
            print(heard, signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, []))
        print(heard, signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, []))
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert said.splitlines() == ["[] True", "['now'] False"]
