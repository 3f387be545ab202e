"""A Dask cluster of two worker processes loses one by SIGKILL in the middle of its work: nothing is lost or doubled."""

from __future__ import annotations

import hashlib
import logging
import os
import runpy
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from data_pipeline.book.bar_tasks import compute_bars
from data_pipeline.ingest import ingest
from data_pipeline.store import Store
from data_pipeline.tasks.errors import ClusterLostError
from data_pipeline.tasks.executor import DaskCluster

distributed = pytest.importorskip("distributed")

SHARED = Path(__file__).with_name("shared_filesystem.py")
runpy.run_path(str(SHARED))
SYMBOLS, DAYS, TRADES = 2, 5, 4_000
DAY_US = 1_583_020_800_000_000  # 2020-03-01 00:00 UTC


def tree(folder):
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != ".lock"
    }


@pytest.fixture(scope="module")
def files(tmp_path_factory, raw):
    """Trades of two symbols on five days, a file each; two files of daily quotes that share a month."""
    folder = tmp_path_factory.mktemp("raw")
    paths = []
    for number in range(SYMBOLS):
        for day in range(DAYS):
            lines = ["exchange,symbol,timestamp,local_timestamp,id,side,price,amount"]
            for k in range(TRADES):
                at = DAY_US + day * 86_400_000_000 + k * 10_000_000
                side = "buy" if k % 3 else "sell"
                lines.append(
                    f"deribit,S{number},{at},{at + 999},{k},{side},{100 + (k * 7919 + number) % 50},{k % 9 + 1}"
                )
            paths.append(folder / f"S{number}-{day}.csv")
            paths[-1].write_text("\n".join(lines) + "\n")
    for name, days in (("A", (20230130, 20230201)), ("B", (20230131, 20230202))):
        records = [raw.record(DATA=day, CODNEG=f"AA{k:04d}", PREULT=900 + k % 200) for day in days for k in range(500)]
        paths.append(folder / f"{name}.TXT")
        paths[-1].write_bytes(raw.text(records, 20230228))
    return paths


@pytest.fixture(scope="module")
def cluster():
    with distributed.LocalCluster(
        n_workers=2,
        threads_per_worker=1,
        processes=True,
        host="127.0.0.1",
        dashboard_address=":0",
        memory_limit=0,
        silence_logs=logging.CRITICAL,
        preload=[str(SHARED)],
    ) as made:
        yield made


class Killer:
    """Kills the process of a worker that is at work, once, when the first task has ended."""

    def __init__(self, cluster):
        self.cluster = cluster
        self.killed, self.events = [], []

    def __call__(self, event):
        self.events.append(event)
        if event.kind != "finished" or self.killed:
            return
        end = time.monotonic() + 10
        while time.monotonic() < end and not self.killed:
            for state in list(self.cluster.scheduler.workers.values()):
                if any(task.state == "processing" for task in list(state.processing)):
                    self.killed.append(self.cluster.workers[state.name].pid)
                    os.kill(self.killed[0], signal.SIGKILL)
                    break


def test_a_worker_killed_in_the_middle_of_an_ingest_changes_no_byte(files, cluster, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    ingest(files, tmp_path / "serial")
    killer, told = Killer(cluster), []
    report = ingest(
        files,
        f"shared://{tmp_path}/shared",
        lambda what, rows: told.append((what, rows)),
        executor=DaskCluster(cluster.scheduler_address),
        on_task=killer,
    )
    assert killer.killed
    assert report.complete
    assert not os.path.exists(f"/proc/{killer.killed[0]}")  # noqa: PTH110
    finished = [event.name for event in killer.events if event.kind == "finished"]
    assert sorted(finished) == sorted([path.name for path in files] + ["merging 2023-01", "merging 2023-02"])
    assert ("S0-0.csv", TRADES) in told
    assert tree(tmp_path / "shared") == tree(tmp_path / "serial")
    Store.open(f"shared://{tmp_path}/shared").verify()
    assert Store.open(tmp_path / "shared").table("trades").num_rows == SYMBOLS * DAYS * TRADES


def test_a_worker_killed_in_the_middle_of_a_feature_changes_no_byte(files, cluster, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for place in (tmp_path / "serial", f"shared://{tmp_path}/shared"):
        ingest(files, place)
    rules = ("time:60s", "volume:500", "tick:50")
    alone = compute_bars(tmp_path / "serial", rules)
    killer = Killer(cluster)
    report = compute_bars(
        f"shared://{tmp_path}/shared",
        rules,
        executor=DaskCluster(cluster.scheduler_address),
        staging=tmp_path / "staging",
        progress=killer,
    )
    assert killer.killed
    assert report == alone
    assert report.rows > 1000
    assert tree(tmp_path / "shared") == tree(tmp_path / "serial")


def test_a_scheduler_that_dies_is_told_in_a_sentence_and_finished_files_are_not_read_again(files, tmp_path):
    """The cluster is a process of its own; all of it is killed when the first file is finished."""
    ingest(files, tmp_path / "serial")
    command = "import distributed, time\nif __name__ == '__main__':\n    c = distributed.LocalCluster(n_workers=1, "
    command += "threads_per_worker=1, host='127.0.0.1', dashboard_address=':0')\n"
    command += "    print(c.scheduler_address, flush=True)\n    time.sleep(600)\n"
    (tmp_path / "cluster.py").write_text(command)
    running = subprocess.Popen(
        [sys.executable, str(tmp_path / "cluster.py")],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
    )

    def kill(event):
        if event.kind == "finished" and running.returncode is None:
            os.killpg(running.pid, signal.SIGKILL)
            running.wait()

    try:
        address = running.stdout.readline().strip()
        with pytest.raises(
            ClusterLostError, match=r"the Dask scheduler at .* nothing was committed; what was finished"
        ):
            ingest(files, tmp_path / "store", executor=DaskCluster(address), on_task=kill)
    finally:
        running.stdout.close()
        if running.returncode is None:
            os.killpg(running.pid, signal.SIGKILL)
            running.wait()
    assert not (tmp_path / "store" / "manifest.json").exists()
    seen = []
    ingest(files, tmp_path / "store", on_task=seen.append)
    assert "skipped" in {event.kind for event in seen}
    assert tree(tmp_path / "store") == tree(tmp_path / "serial")
