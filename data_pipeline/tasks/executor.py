"""Who does the tasks: processes of this machine, or the workers of a Dask cluster; results are the same from either."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

from data_pipeline.tasks.ledger import Ledger
from data_pipeline.tasks.pool import TaskPool
from data_pipeline.tasks.report import Progress, TaskReport, ignore_progress
from data_pipeline.tasks.worker import Task

if TYPE_CHECKING:
    from data_pipeline.tasks.dask_pool import DaskPool


Engine = Literal["serial", "processes", "dask"]


class Executor(Protocol):
    """Runs tasks into one ledger; `TaskPool` and `DaskPool` are two."""

    def run(self, tasks: Sequence[Task], *, done_before: int = 0, total: int | None = None) -> TaskReport:
        """Run what the ledger does not hold yet; returns when each task is finished, skipped or given up.

        `done_before` and `total` are what the progress callback is told when these tasks are a part of a longer job.
        """
        ...


class Workforce(Protocol):
    """Makes executors; an executor leaves no process behind when its block ends."""

    def over(self, ledger: Ledger, progress: Progress = ignore_progress) -> AbstractContextManager[Executor]:
        """An executor whose results lie in `ledger`."""
        ...


@dataclass(frozen=True, slots=True)
class LocalProcesses:
    """Processes of this machine; 0 does the tasks in the calling process."""

    workers: int

    def over(self, ledger: Ledger, progress: Progress = ignore_progress) -> TaskPool:
        """See `Workforce`."""
        return TaskPool(ledger, self.workers, progress=progress)


@dataclass(frozen=True, slots=True)
class DaskCluster:
    """The workers of a Dask cluster.

    Attributes
    ----------
    address : str
        Of the scheduler, "tcp://host:8786", or "local:4" for a cluster of four processes on this machine that ends
        with the executor. The folder of the ledger must be on a file system that driver and workers share.
    """

    address: str

    def __post_init__(self) -> None:
        """Check the address.

        Raises
        ------
        ValueError
            When it is of neither form.
        """
        from data_pipeline.tasks.dask_pool import local_processes

        local_processes(self.address)

    def over(self, ledger: Ledger, progress: Progress = ignore_progress) -> DaskPool:
        """See `Workforce`."""
        from data_pipeline.tasks.dask_pool import DaskPool

        return DaskPool(ledger, self.address, progress=progress)


def make_workforce(
    workers: int | None = None,
    cluster: str | None = None,
    *,
    engine: Engine | None = None,
    scheduler: str | None = None,
) -> Workforce:
    """Those who were asked for; without any wish, one process per core of the machine.

    Parameters
    ----------
    workers : int, optional
        Processes, of the machine or of a Dask cluster on it; 0 is the calling process.
    cluster : str, optional
        Short for engine "dask" with this scheduler.
    engine : "serial", "processes" or "dask", optional
        The calling process, processes of this machine, or the workers of a Dask cluster.
    scheduler : str, optional
        See `DaskCluster`; without one, engine "dask" makes a cluster on this machine.

    Raises
    ------
    ValueError
        When two of them contradict each other, or an address has no form of one.
    """
    if cluster is not None:
        if scheduler is not None:
            raise ValueError("scheduler must not be given with a cluster, which is its short form; give one of the two")
        if engine not in (None, "dask"):
            raise ValueError(f"cluster must not be given with engine {engine}: only dask runs on one")
        if workers is not None:
            raise ValueError("workers must not be given with a cluster, which has its own; give one of the two")
        return DaskCluster(cluster)
    if scheduler is not None and engine not in (None, "dask"):
        raise ValueError(f"scheduler must not be given with engine {engine}: only dask has one")
    if engine == "dask" or scheduler is not None:
        return _dask(workers, scheduler)
    if engine == "serial":
        if workers:
            raise ValueError(f"workers must not be given with engine serial, which is this process; were {workers}")
        return LocalProcesses(0)
    if engine == "processes" and workers == 0:
        raise ValueError("workers must be at least 1 with engine processes; 0 is engine serial")
    return LocalProcesses(usable_cores() if workers is None else workers)


def _dask(workers: int | None, scheduler: str | None) -> DaskCluster:
    if scheduler is None:
        if workers == 0:
            raise ValueError("workers must be at least 1 with engine dask; 0 is engine serial")
        return DaskCluster(f"local:{usable_cores() if workers is None else workers}")
    if workers is not None:
        raise ValueError("workers must not be given with a scheduler, which has its own; give one of the two")
    return DaskCluster(scheduler)


def usable_cores() -> int:
    """Cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:
        return os.cpu_count() or 1
