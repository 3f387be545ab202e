"""Tasks run on worker processes, each result in the ledger before it counts as done.

Every worker holds one task and has its own pipe, so a worker that dies blames exactly one task. That task becomes a
suspect: it waits until the others are done and then runs alone (a task killed for memory often passes alone); after
`max_deaths` dead workers it is recorded as failed and the rest of the run stands. Results are read back by key, so
the number of workers and the order in which they finish cannot reach a result.
"""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import signal
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess

from data_pipeline.tasks.errors import WorkerStartError
from data_pipeline.tasks.ledger import Ledger
from data_pipeline.tasks.report import (
    Progress,
    RunInterruptedError,
    RunTally,
    TaskEvent,
    TaskFailure,
    TaskReport,
    begin,
    ignore_progress,
)
from data_pipeline.tasks.worker import Amount, Problem, Task, ctrl_c_waits, perform, serve, single_threaded

__all__ = [
    "MAX_DEATHS",
    "Progress",
    "RunInterruptedError",
    "TaskEvent",
    "TaskFailure",
    "TaskPool",
    "TaskReport",
    "ignore_progress",
]

MAX_DEATHS = 3


@dataclass(slots=True)
class _Worker:
    process: SpawnProcess
    connection: Connection
    task: Task | None = None


class TaskPool:
    """Worker processes over one ledger; a context manager that leaves no process behind.

    Parameters
    ----------
    ledger : Ledger
        Where results are kept.
    workers : int
        Number of processes. 0 runs the tasks in this process (debugging: nothing then survives a crash, and the
        linear algebra may use several threads, whose rounding differs from the workers' one).
    progress : Progress
        Called after each event.
    max_deaths : int
        Dead workers after which a task is given up.
    """

    def __init__(
        self, ledger: Ledger, workers: int, *, progress: Progress = ignore_progress, max_deaths: int = MAX_DEATHS
    ) -> None:
        """Check the numbers; no process starts before the first task."""
        if isinstance(workers, bool) or not isinstance(workers, int) or workers < 0:
            raise ValueError(f"workers must be a whole number, 0 or more; was {workers!r}")
        if max_deaths < 1:
            raise ValueError(f"max_deaths must be at least 1; was {max_deaths}")
        self._ledger = ledger
        self._size = workers
        self._progress = progress
        self._max_deaths = max_deaths
        self._workers: list[_Worker] = []
        self._context = multiprocessing.get_context("spawn")

    def __enter__(self) -> TaskPool:
        """The pool itself."""
        return self

    def __exit__(self, *exception: object) -> None:
        """End the workers."""
        self.close()

    def close(self) -> None:
        """End every worker now; a task under way leaves no entry."""
        for worker in self._workers:
            worker.process.kill()
        for worker in self._workers:
            worker.process.join()
            worker.connection.close()
        self._workers.clear()

    def run(self, tasks: Sequence[Task], *, done_before: int = 0, total: int | None = None) -> TaskReport:
        """Run what the ledger does not hold yet; returns when each task is finished, skipped or given up.

        Parameters
        ----------
        tasks : sequence of Task
        done_before, total : int, optional
            What the progress callback is told, when these tasks are a part of a longer job.

        Raises
        ------
        ValueError
            When two different tasks have one key.
        RunInterruptedError
            On Ctrl-C, after the workers have ended.
        WorkerStartError
            When workers cannot start at all.
        """
        tally, todo = begin(self._ledger, tasks, done_before, total, self._progress)
        try:
            if self._size == 0:
                self._run_here(todo, tally)
            else:
                self._run_on_workers(todo, tally)
        except KeyboardInterrupt as interrupt:
            self.close()
            self._ledger.sweep()
            raise tally.interrupted() from interrupt
        return tally.report()

    def _run_here(self, todo: deque[Task], tally: RunTally) -> None:
        for task in todo:
            listen = partial(tally.tell, "running", task, "")
            tally.settle(task, perform(task, self._ledger, listen))

    def _run_on_workers(self, todo: deque[Task], tally: RunTally) -> None:
        suspects: deque[Task] = deque()
        deaths: dict[str, int] = {}
        while todo or suspects or self._busy():
            self._dispatch(todo, suspects)
            for worker in self._wait():
                task = worker.task
                if task is None:
                    continue
                lived, answer = _receive(worker)
                if isinstance(answer, Amount):
                    tally.tell("running", task, amount=answer.value)
                    continue
                worker.task = None
                if lived or self._ledger.contains(task.key):
                    tally.settle(task, answer)
                else:
                    deaths[task.key] = deaths.get(task.key, 0) + 1
                    self._bury(task, worker, deaths[task.key], suspects, tally)
                if not lived:
                    self._remove(worker)

    def _busy(self) -> list[_Worker]:
        return [worker for worker in self._workers if worker.task is not None]

    def _dispatch(self, todo: deque[Task], suspects: deque[Task]) -> None:
        """Hand out healthy tasks while there are any; a suspect only when nothing else runs."""
        self._start(min(len(todo), self._size) - len(self._workers))
        while todo and len(self._busy()) < self._size:
            self._hand(todo.popleft())
        if suspects and not self._busy():
            self._hand(suspects.popleft())

    def _hand(self, task: Task) -> None:
        while True:
            worker = next((worker for worker in self._workers if worker.task is None), None)
            if worker is None:
                self._start(1)
                continue
            try:
                worker.connection.send((task, self._ledger))
            except (BrokenPipeError, ConnectionResetError):
                self._remove(worker)
                continue
            worker.task = task
            return

    def _start(self, count: int) -> None:
        """Start so many workers side by side; most of a start is the imports of each."""
        before = len(self._workers)
        with ctrl_c_waits():  # until each is in the list, whose workers Ctrl-C ends
            for _ in range(count):
                self._workers.append(self._begin())
        for worker in self._workers[before:]:
            try:
                worker.connection.recv()
            except (EOFError, ConnectionResetError):
                worker.process.join()
                exit_code = worker.process.exitcode
                self._remove(worker)
                raise WorkerStartError(
                    f"a worker process ended with code {exit_code} before it could take a task; its own message is "
                    "above. A script that starts workers must do so under `if __name__ == '__main__':`"
                ) from None

    def _begin(self) -> _Worker:
        here, there = self._context.Pipe()
        process = self._context.Process(target=serve, args=(there,), daemon=True)
        with single_threaded():
            process.start()
        there.close()
        return _Worker(process, here)

    def _wait(self) -> list[_Worker]:
        busy = self._busy()
        ready = set(
            multiprocessing.connection.wait(
                [worker.connection for worker in busy] + [worker.process.sentinel for worker in busy]
            )
        )
        return [worker for worker in busy if worker.connection in ready or worker.process.sentinel in ready]

    def _remove(self, worker: _Worker) -> None:
        worker.process.join()
        worker.connection.close()
        self._workers.remove(worker)

    def _bury(self, task: Task, worker: _Worker, deaths: int, suspects: deque[Task], tally: RunTally) -> None:
        worker.process.join()
        ending = _ending(worker.process.exitcode)
        if deaths >= self._max_deaths:
            tally.settle(task, Problem(f"its worker died {deaths} times, last {ending}"), deaths)
            return
        suspects.append(task)
        tally.tell("worker_lost", task, f"{task.name}: its worker died {ending}; it will run again, alone")


def _receive(worker: _Worker) -> tuple[bool, Problem | Amount | None]:
    """Whether the worker lived to answer, and its answer (None: the entry is written)."""
    try:
        if not worker.connection.poll():
            return False, None
        answer: Problem | Amount | None = worker.connection.recv()
    except (EOFError, ConnectionResetError):
        return False, None
    return True, answer


def _ending(exit_code: int | None) -> str:
    if exit_code is not None and exit_code < 0:
        try:
            return f"by {signal.Signals(-exit_code).name}"
        except ValueError:
            return f"by signal {-exit_code}"
    return f"with exit code {exit_code}"
