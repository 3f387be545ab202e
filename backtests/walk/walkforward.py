"""The walk-forward: every fold is calibrated, screened and fitted on its training window, then one account per pod
runs through all test windows.

    per fold           costs and policy       (training window only)
    per pod and fold   parameters             (training window only)
    per pod            the account            (test windows, in order)
    then               statistics, comparison, the run folder

Each task's result is in the ledger under the hash of all that it depends on, so a run that is stopped goes on from
there, and one that grows by new days finds its old folds again.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from backtests.errors import WalkForwardError, WindowError
from backtests.walk.assembly import assemble_run
from backtests.walk.data_gate import judge_sessions
from backtests.walk.fold_tasks import (
    AccountTask,
    CalibrationTask,
    FoldPolicy,
    Selection,
    SelectionTask,
    Workplace,
    calibrate_fold,
    read_fold_policy,
    read_selection,
    read_tables,
    run_account,
    select_pod,
)
from backtests.walk.folds import Fold, check_stitchable, make_folds
from backtests.walk.plan import PodPlan, WalkForwardPlan, describe_execution, describe_pod
from backtests.walk.policy_files import read_policy
from backtests.walk.provenance import ROOMS, code_hash, library_versions, rows_hash
from backtests.walk.result_files import write_run
from data_pipeline.daily.panel import DailyPanel
from data_pipeline.disk import plain_json
from data_pipeline.errors import DataError
from data_pipeline.tasks.executor import Executor, LocalProcesses, Workforce
from data_pipeline.tasks.ledger import Ledger, LedgerDamageError, task_key
from data_pipeline.tasks.report import Progress, TaskEvent, TaskFailure, ignore_progress
from data_pipeline.tasks.worker import Task

LEDGER_FOLDER = ".ledger"
"""Folder, inside the output folder, of the ledger, the policies and the panels that workers read."""

MIN_TEST_SESSIONS = 5
"""Sessions of all test windows together below which no statistic exists."""

Name = TypeVar("Name")


def run_walkforward(
    plan: WalkForwardPlan,
    panel: DailyPanel,
    out_folder: Path,
    *,
    workers: int = 1,
    progress: Progress = ignore_progress,
    quality: Mapping[str, Any] | None = None,
    executor: Workforce | None = None,
) -> Path:
    """Run the plan on the panel; the folder of the finished run (docs/contracts.md, "Result on disk").

    Parameters
    ----------
    plan : WalkForwardPlan
    panel : DailyPanel
    out_folder : Path
        The run folder is made in it; so is the ledger, which later runs share.
    workers : int
        Processes. The result has the same bytes for any number; 0 computes in this process (see `TaskPool`).
    progress : Progress
        Called after each task.
    quality : mapping, optional
        The data-quality summary; its sessions below the plan's minimum are refused or flagged.

    Raises
    ------
    WindowError
        When the folds do not fit the data.
    DataQualityError
        When sessions are below the data quality that the plan asks for, and it says to refuse them.
    WalkForwardError
        When tasks failed. Everything that does not need them was finished first and is kept.
    RunInterruptedError
        On Ctrl-C.
    LedgerInUseError
        When another run writes into the same folder.
    """
    folds = make_folds(panel.sessions.size, plan.folds)
    check_stitchable(folds)
    if sum(len(fold.test) for fold in folds) < MIN_TEST_SESSIONS:
        raise WindowError(
            f"the test windows must hold at least {MIN_TEST_SESSIONS} sessions together, or there is nothing to judge; "
            f"held {sum(len(fold.test) for fold in folds)} of the {panel.sessions.size} sessions of the data: shorten "
            "the training window or add data"
        )
    quality = judge_sessions(plan, panel.sessions, folds, plain_json(quality)) if quality else None
    store = Path(out_folder) / LEDGER_FOLDER
    ledger = Ledger(store)
    with ledger.exclusive():
        ledger.sweep()
        place = Workplace(_keep_panel(panel, store).absolute(), (store / "policies").absolute(), code_hash(ROOMS))
        job = _Job(plan, panel, folds, place, library_versions(), _describe_windows(panel, folds))
        with (executor or LocalProcesses(workers)).over(ledger, progress) as pool:
            stages = _Stages(pool, ledger, len(folds) * (1 + len(plan.pods)) + len(plan.pods))
            calibrations = job.calibrations()
            _forget_without_policy(calibrations.values(), place, ledger, stages.total, progress)
            policies = {fold: read_fold_policy(found) for fold, found in stages.run(calibrations).items()}
            choices = {key: read_selection(found) for key, found in stages.run(job.selections(policies)).items()}
            accounts = {pod: read_tables(found) for pod, found in stages.run(job.accounts(policies, choices)).items()}
        _require_all(stages.failed, ledger)
        provenance = job.provenance()
        run = assemble_run(plan, panel, folds, provenance, policies, choices, accounts, quality)
        return write_run(Path(out_folder), run, place.policies, [policy.policy_hash for policy in policies.values()])


@dataclass(slots=True)
class _Stages:
    """Stages of one run on one pool: each returns what it finished and remembers what failed."""

    pool: Executor
    ledger: Ledger
    total: int
    before: int = 0
    failed: list[TaskFailure] = field(default_factory=list)

    def run(self, tasks: Mapping[Name, Task]) -> dict[Name, bytes]:
        report = self.pool.run(list(tasks.values()), done_before=self.before, total=self.total)
        self.failed += report.failed
        self.before += len(report.ran) + len(report.skipped)
        lost = {failure.key for failure in report.failed}
        return {name: self.ledger.read(task.key) for name, task in tasks.items() if task.key not in lost}


@dataclass(frozen=True, slots=True)
class _Job:
    """The tasks of one run, each with the description that is its key."""

    plan: WalkForwardPlan
    panel: DailyPanel
    folds: tuple[Fold, ...]
    place: Workplace
    libraries: Mapping[str, str]
    windows: Mapping[int, Mapping[str, Any]]

    def calibrations(self) -> dict[int, Task]:
        """One task per fold."""
        return {
            fold.index: self._task(
                f"fold {fold.index}: costs and policy",
                calibrate_fold,
                CalibrationTask(self.place, self.plan, fold),
                task="calibration",
                execution=describe_execution(self.plan),
                **self.windows[fold.index],
            )
            for fold in self.folds
        }

    def selections(self, policies: Mapping[int, FoldPolicy]) -> dict[tuple[str, int], Task]:
        """One task per pod and fold whose costs are there."""
        return {
            (pod.name, fold.index): self._task(
                f"fold {fold.index}: parameters of {pod.name}",
                select_pod,
                SelectionTask(self.place, pod, fold, policies[fold.index].policy_hash),
                task="selection",
                grid=[describe_pod(member) for member in pod.grid],
                policy=policies[fold.index].policy_hash,
                **self.windows[fold.index],
            )
            for fold in self.folds
            if fold.index in policies
            for pod in self.plan.pods
        }

    def accounts(
        self, policies: Mapping[int, FoldPolicy], choices: Mapping[tuple[str, int], Selection]
    ) -> dict[str, Task]:
        """One task per pod whose folds are all there."""
        data = rows_hash(self.panel, range(self.folds[-1].test.stop))
        tasks = {}
        for pod in self.plan.pods:
            if any(fold.index not in policies or (pod.name, fold.index) not in choices for fold in self.folds):
                continue
            chosen = tuple(choices[pod.name, fold.index].chosen for fold in self.folds)
            hashes = tuple(policies[fold.index].policy_hash for fold in self.folds)
            tasks[pod.name] = self._task(
                f"account of {pod.name}",
                run_account,
                AccountTask(self.place, self.plan, pod, self.folds, chosen, hashes),
                task="account",
                account=_describe_account(self.plan, pod),
                folds=[[f.train.start, f.train.stop, f.test.start, f.test.stop] for f in self.folds],
                grid=[describe_pod(pod.grid[index]) for index in chosen],
                policies=hashes,
                data=data,
            )
        return tasks

    def provenance(self) -> dict[str, Any]:
        """Hashes and versions that the whole run came from."""
        return {
            "code_hash": self.place.code_hash,
            "data_hash": rows_hash(self.panel, range(self.folds[-1].test.stop)),
            "libraries": dict(self.libraries),
            "source": plain_json(dict(self.panel.provenance)),
        }

    def _task(self, name: str, function: Any, argument: Any, **described: Any) -> Task:
        description = described | {"code": self.place.code_hash, "libraries": self.libraries}
        return Task(task_key(description), name, function, argument, description)


def _describe_windows(panel: DailyPanel, folds: Sequence[Fold]) -> dict[int, dict[str, Any]]:
    """What a task on a training window depends on: its rows and what they hold."""
    return {
        fold.index: {"train": [fold.train.start, fold.train.stop], "data": rows_hash(panel, fold.train)}
        for fold in folds
    }


def _describe_account(plan: WalkForwardPlan, pod: PodPlan) -> dict[str, Any]:
    return {
        "name": pod.name,
        "execution": pod.execution,
        "horizon": plan.horizon,
        "limits": plain_json(pod.limits),
        "rules": plain_json(plan.rules),
        "capital": plan.capital,
        "var_window": plan.var_window,
    }


def _keep_panel(panel: DailyPanel, store: Path) -> Path:
    """The panel on disk for the workers, under the hash of its data; panels of earlier runs are removed."""
    from data_pipeline.daily.panel_files import panel_hash, save_panel

    folder = store / "panels" / panel_hash(panel)
    for other in folder.parent.glob("*"):
        if other != folder:
            shutil.rmtree(other)
    if not (folder / "panel.json").is_file():
        save_panel(panel, folder)
    return folder


def _forget_without_policy(
    tasks: Iterable[Task], place: Workplace, ledger: Ledger, total: int, progress: Progress
) -> None:
    """Drop each finished calibration whose policy file is gone or changed, so that it is solved again."""
    for task in tasks:
        try:
            read_policy(place.policies, read_fold_policy(ledger.read(task.key)).policy_hash)
        except (KeyError, LedgerDamageError):
            # nothing there, or damage that the pool finds and tells
            continue
        except DataError as error:
            ledger.discard(task.key)
            progress(TaskEvent("damaged", task.name, 0, total, f"{task.name} is computed again: {error}"))


def _require_all(failed: Sequence[TaskFailure], ledger: Ledger) -> None:
    if failed:
        named = "\n".join(f"  {failure.name}: {failure.reason}" for failure in failed)
        raise WalkForwardError(
            f"{len(failed)} of the run's tasks failed:\n{named}\nThe others are finished and kept in {ledger.folder}; "
            "when the cause is gone, run the same command again: only what is missing is computed"
        )
