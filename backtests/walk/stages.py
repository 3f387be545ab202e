"""Stages of a run on one executor: tasks that need the results of others come after them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from backtests.errors import WalkForwardError
from data_pipeline.tasks.executor import Executor
from data_pipeline.tasks.ledger import Ledger
from data_pipeline.tasks.report import TaskFailure
from data_pipeline.tasks.worker import Task

Name = TypeVar("Name")


@dataclass(slots=True)
class Stages:
    """Stages of one run; each returns what it finished and remembers what failed.

    Attributes
    ----------
    executor : Executor
    ledger : Ledger
    total : int
        Tasks of all stages.
    before : int
        Tasks of the stages that are done.
    failed : list of TaskFailure
    """

    executor: Executor
    ledger: Ledger
    total: int
    before: int = 0
    failed: list[TaskFailure] = field(default_factory=list)

    def run(self, tasks: Mapping[Name, Task]) -> dict[Name, Task]:
        """Run a stage; the tasks whose results are in the ledger."""
        report = self.executor.run(list(tasks.values()), done_before=self.before, total=self.total)
        self.failed += report.failed
        self.before += len(report.ran) + len(report.skipped)
        lost = {failure.key for failure in report.failed}
        return {name: task for name, task in tasks.items() if task.key not in lost}


def require_all(failed: Sequence[TaskFailure], ledger: Ledger) -> None:
    """Raise a WalkForwardError that names every failed task, if there is one."""
    if failed:
        named = "\n".join(f"  {failure.name}: {failure.reason}" for failure in failed)
        raise WalkForwardError(
            f"{len(failed)} of the run's tasks failed:\n{named}\nThe others are finished and kept in {ledger.folder}; "
            "when the cause is gone, run the same command again: only what is missing is computed"
        )
