"""What a run of tasks says while it goes on and when it has ended; the same for every executor."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from data_pipeline.tasks.ledger import Ledger, LedgerDamageError
from data_pipeline.tasks.worker import Problem, Task

Kind = Literal["skipped", "damaged", "running", "finished", "worker_lost", "failed"]


@dataclass(frozen=True, slots=True)
class TaskEvent:
    """One thing that happened: what, to which task, and how far the run is.

    Attributes
    ----------
    kind, name : str
    done, total : int
        Tasks of the whole job that are settled, and all of them.
    message : str
        A sentence for people, where there is something to say.
    key : str
        Of the task; its result is in the ledger when it is finished or skipped.
    amount : int
        How far a running task is, in its own unit.
    """

    kind: Kind
    name: str
    done: int
    total: int
    message: str = ""
    key: str = ""
    amount: int = 0


class Progress(Protocol):
    """Called in the driving process after each event."""

    def __call__(self, event: TaskEvent) -> None:
        """Take note of `event`; what it returns is not used."""
        ...


@dataclass(frozen=True, slots=True)
class TaskFailure:
    """A task that was given up, and why; `errno` is the operating system's number, where it said no."""

    key: str
    name: str
    reason: str
    errno: int | None = None


@dataclass(frozen=True, slots=True)
class TaskReport:
    """What one run did: names of tasks run and skipped, failures, and notices in words."""

    ran: tuple[str, ...]
    skipped: tuple[str, ...]
    failed: tuple[TaskFailure, ...]
    notices: tuple[str, ...]


class RunInterruptedError(KeyboardInterrupt):
    """Ctrl-C; the message says what is kept and how to go on."""


def ignore_progress(event: TaskEvent) -> None:
    """The progress callback that does nothing."""


@dataclass(slots=True)
class RunTally:
    """Counts of one run over a ledger, told to the progress callback as they change."""

    ledger: Ledger
    done_before: int
    total: int
    progress: Progress
    ran: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    failed: list[TaskFailure] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)

    @property
    def done(self) -> int:
        """Tasks whose results are kept."""
        return self.done_before + len(self.ran) + len(self.skipped)

    def tell(self, kind: Kind, task: Task, message: str = "", amount: int = 0) -> None:
        """Pass an event on; a message is kept as a notice."""
        if message:
            self.notices.append(message)
        done = self.done + len(self.failed)
        self.progress(TaskEvent(kind, task.name, done, self.total, message, task.key, amount))

    def settle(self, task: Task, problem: Problem | None, deaths: int = 0) -> None:
        """Note that a task is finished (its entry is written) or given up."""
        if problem is None:
            self.ran.append(task.name)
            self.tell("finished", task)
            return
        self.ledger.write_failure(task.key, task.name, problem.words, deaths)
        self.failed.append(TaskFailure(task.key, task.name, problem.words, problem.errno))
        self.tell("failed", task, f"{task.name} failed: {problem.words}")

    def unfinished(self, tasks: Sequence[Task]) -> deque[Task]:
        """Those whose result the ledger does not hold; a damaged entry is thrown away and told."""
        return deque(task for task in tasks if not self._is_done(task))

    def _is_done(self, task: Task) -> bool:
        try:
            self.ledger.read(task.key)
        except KeyError:
            return False
        except LedgerDamageError as damage:
            self.ledger.discard(task.key)
            self.tell("damaged", task, f"{task.name} is computed again: damaged ledger entry {damage}")
            return False
        self.skipped.append(task.name)
        self.tell("skipped", task)
        return True

    def report(self) -> TaskReport:
        """The counts so far."""
        return TaskReport(tuple(self.ran), tuple(self.skipped), tuple(self.failed), tuple(self.notices))

    def interrupted(self) -> RunInterruptedError:
        """What to raise on Ctrl-C."""
        return RunInterruptedError(
            f"stopped: {self.done} of {self.total} tasks are finished and kept in {self.ledger.folder}; "
            "run the same command again to go on from there"
        )


def begin(
    ledger: Ledger, tasks: Sequence[Task], done_before: int, total: int | None, progress: Progress
) -> tuple[RunTally, deque[Task]]:
    """The tally of a run of `tasks`, each once, and those of them that are still to do.

    Raises
    ------
    ValueError
        When two different tasks have one key.
    """
    unique: dict[str, Task] = {}
    for task in tasks:
        other = unique.setdefault(task.key, task)
        if other.description != task.description:
            raise ValueError(
                f"tasks must differ in key when they differ; {other.name} and {task.name} share {task.key}"
            )
    tally = RunTally(ledger, done_before, len(unique) + done_before if total is None else total, progress)
    return tally, tally.unfinished(list(unique.values()))
