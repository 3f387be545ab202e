"""Tasks run on a Dask cluster, each result in the ledger before it counts as done.

Dask hands a task whose worker died to another one. Nothing is lost by that and nothing doubled: a result counts when
its entry is in the ledger, whole, under the key of all that it depends on; whoever does the task again finds the entry
or writes the same bytes. A task that Dask gives up because several of its workers died is tried once more, alone, since
Dask blames every task that waited at a worker which died.
"""

from __future__ import annotations

import importlib
import logging
import os
import tempfile
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any, Final

from data_pipeline.tasks.errors import ClusterLostError, TaskError
from data_pipeline.tasks.ledger import Ledger, LedgerDamageError
from data_pipeline.tasks.report import Progress, RunTally, TaskReport, begin, ignore_progress
from data_pipeline.tasks.worker import THREAD_VARIABLES, Problem, Task, ctrl_c_waits, perform

_CONNECT_SECONDS: Final = 20
_SUBMITTED: Final = 500
_SUBMITTED_A_THREAD: Final = 4
"""Tasks that a scheduler holds at once, at least, and for each thread of a larger cluster; the next in order follow."""
_VISIBLE_SECONDS: Final = 30.0
"""How long a shared file system may take to show the driver what a worker wrote (NFS caches names)."""


def local_processes(address: str) -> int:
    """Processes of a local cluster ("local:4"), 0 for the address of a scheduler.

    Raises
    ------
    ValueError
        For an address of neither form.
    """
    kind, _, count = address.partition(":")
    if kind == "local" and count.isascii() and count.isdigit() and int(count):
        return int(count)
    if kind == "local" or "://" not in address:
        raise ValueError(f"cluster must be tcp://host:port or local:N with N processes; was {address!r}")
    return 0


class DaskPool:
    """The workers of a Dask cluster over one ledger; a context manager that closes what it opened.

    Parameters
    ----------
    ledger : Ledger
        Where results are kept, in a folder that driver and workers share.
    address : str
        "tcp://host:port" of a running scheduler, whose workers have this package and see the same files; or "local:N".
    progress : Progress
        Called after each event.

    Raises
    ------
    TaskError
        When Dask is not installed.
    ValueError
        For an address of neither form.
    """

    def __init__(self, ledger: Ledger, address: str, *, progress: Progress = ignore_progress) -> None:
        """Check the address; nothing is connected before the first task."""
        self._local = local_processes(address)
        _distributed()
        # workers may run in another folder
        self._ledger = replace(ledger, folder=ledger.folder.resolve())
        self._address = address
        self._progress = progress
        self._stack = ExitStack()
        self._client: Any = None

    def __enter__(self) -> DaskPool:
        """The pool itself."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Leave the cluster; end it when it is a local one."""
        self.close()

    def close(self) -> None:
        """Leave the cluster; end it when it is a local one."""
        self._client = None
        self._stack.close()

    def run(self, tasks: Sequence[Task], *, done_before: int = 0, total: int | None = None) -> TaskReport:
        """Run what the ledger does not hold yet; returns when each task is finished, skipped or given up.

        Raises
        ------
        ValueError
            When two different tasks have one key.
        ClusterLostError
            When the cluster cannot be reached, or no longer; what is finished stays in the ledger.
        RunInterruptedError
            On Ctrl-C; tasks under way on a cluster may still end there, in the ledger.
        """
        tally, todo = begin(self._ledger, tasks, done_before, total, self._progress)
        try:
            if todo:
                self._run_on_cluster(todo, tally)
        except KeyboardInterrupt as interrupt:
            self.close()
            self._ledger.sweep()
            raise tally.interrupted() from interrupt
        return tally.report()

    def _run_on_cluster(self, todo: deque[Task], tally: RunTally) -> None:
        suspects = self._submit_all(list(todo), tally, last_try=False)
        for task in suspects:
            tally.tell("worker_lost", task, f"{task.name}: its workers died; it will run again, alone")
            self._submit_all([task], tally, last_try=True)

    def _submit_all(self, tasks: Sequence[Task], tally: RunTally, *, last_try: bool) -> list[Task]:
        """Run tasks side by side; those whose workers died (none on the last try, which settles them)."""
        client = self._connected()
        # a key of its own for each try: a scheduler that others use must not take an earlier outcome for this one
        stamp = f"{os.getpid()}-{time.time_ns()}"
        waiting, futures = deque(tasks), dict[Any, Task]()

        def submit() -> Any:
            task = waiting.popleft()
            future = client.submit(perform_once, task, self._ledger, key=f"{task.key}-{stamp}", pure=False)
            futures[future] = task
            return future

        most = min(len(tasks), max(_SUBMITTED, _SUBMITTED_A_THREAD * sum(client.nthreads().values())))
        answers = _distributed().as_completed([submit() for _ in range(most)], loop=client.loop)
        killed: list[Task] = []
        for future in answers:
            if waiting:
                answers.add(submit())
            task = futures.pop(future)
            problem = self._outcome(future, task)
            if problem is _KILLED and not last_try:
                killed.append(task)
            else:
                tally.settle(task, problem)
        return killed

    def _outcome(self, future: Any, task: Task) -> Problem | None:
        try:
            if future.status == "finished":
                problem: Problem | None = future.result()
                return problem or self._wait_for_entry(task)
            error = future.exception() if future.status == "error" else None
        except (OSError, TimeoutError, CancelledError) as lost:
            error = lost
        if self._ledger.contains(task.key):
            return None
        if type(error).__name__ == "KilledWorker":
            return _KILLED
        if future.status == "error" and error is not None:
            return Problem(f"the cluster gave it up: {type(error).__name__}: {error}")
        # nobody here cancels a task: the scheduler that knew of it is gone, and the file is not to blame
        raise ClusterLostError(
            f"the Dask scheduler at {self._address} ended or dropped {task.name}: nothing was committed; what was "
            f"finished is kept in {self._ledger.folder}; run the same command again when the cluster is back"
        )

    def _wait_for_entry(self, task: Task) -> Problem | None:
        end = time.monotonic() + _VISIBLE_SECONDS
        while True:
            try:
                self._ledger.read(task.key)
            except (KeyError, LedgerDamageError):
                if time.monotonic() > end:
                    return Problem(
                        f"a worker finished it, but its result is not in {self._ledger.folder} here: that folder must "
                        "be on a file system that the driver and all workers share, under the same path"
                    )
                time.sleep(0.2)
            else:
                return None

    def _connected(self) -> Any:
        if self._client is None:
            self._client = self._connect()
        return self._client

    def _connect(self) -> Any:
        distributed = _distributed()
        self._stack.enter_context(_quiet())
        address: Any = self._address
        if self._local > 0:
            scratch = self._stack.enter_context(tempfile.TemporaryDirectory(prefix="fairfield-dask-"))
            with ctrl_c_waits():
                address = self._stack.enter_context(
                    distributed.LocalCluster(
                        n_workers=self._local,
                        threads_per_worker=1,
                        processes=True,
                        host="127.0.0.1",
                        dashboard_address=":0",
                        memory_limit=0,
                        local_directory=scratch,
                        silence_logs=logging.CRITICAL,
                        env=dict.fromkeys(THREAD_VARIABLES, "1"),
                    )
                )
        try:
            return self._stack.enter_context(
                distributed.Client(address, timeout=_CONNECT_SECONDS, set_as_default=False)
            )
        except (OSError, TimeoutError) as error:
            raise ClusterLostError(
                f"cannot reach the Dask scheduler at {self._address} ({error}): check that it runs "
                "(`dask scheduler`) and that this machine may connect to it"
            ) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the library from printing tracebacks of what is told here in a sentence."""
    loggers = [logging.getLogger(name) for name in _LOUD]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


_LOUD: Final = (
    "distributed.client",
    "distributed.core",
    "distributed.utils",
    "distributed.comm",
    "tornado.application",
)
_KILLED: Final = Problem("its workers died again and again, the last time while it ran alone")


def perform_once(task: Task, ledger: Ledger) -> Problem | None:
    """Run one task into the ledger unless another worker, that was lost afterwards, has finished it."""
    try:
        ledger.read(task.key)
    except (KeyError, LedgerDamageError):
        return perform(task, ledger)
    return None


def _distributed() -> Any:
    """The package `distributed`, which is large and optional."""
    try:
        return importlib.import_module("distributed")
    except ImportError as error:
        raise TaskError(
            "Dask is not installed, so there is no cluster to run on: python -m pip install 'fairfield[cluster]', or "
            "leave the cluster out to use the processes of this machine"
        ) from error
