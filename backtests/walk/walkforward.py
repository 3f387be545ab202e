"""The walk-forward: every fold is calibrated, screened and fitted on its training window, then one account per pod
runs through all test windows.

    first              every trial is written into the register
    per fold           costs and policy       (training window only)
    per pod and fold   parameters             (training window only)
    per pod            the account            (test windows, in order)
    then               statistics, comparison, the run folder

With combinatorial settings the splits go through the same tasks, and end with accounts of the groups that they test.
Each task's result is in the ledger under the hash of all that it depends on, so a run that is stopped goes on from
there, and one that grows by new days finds its old folds again.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from backtests.errors import WindowError
from backtests.evidence.sensitivity import SENSITIVITY_FILE
from backtests.walk.assembly import RunParts, assemble_run, evidence_files
from backtests.walk.blocks import read_blocks
from backtests.walk.combinatorial import Split, inner_folds
from backtests.walk.data_gate import judge_sessions
from backtests.walk.fold_tasks import (
    AccountTask,
    BlocksTask,
    CalibrationTask,
    FoldPolicy,
    Selection,
    SelectionTask,
    Workplace,
    calibrate_fold,
    read_fold_policy,
    read_selection,
    run_account,
    run_blocks,
    select_pod,
)
from backtests.walk.folds import Fold, check_stitchable, make_folds
from backtests.walk.kept_tables import KeptAccounts
from backtests.walk.plan import ChoiceRule, PodPlan, WalkForwardPlan, describe_execution, describe_pod
from backtests.walk.policy_files import read_policy
from backtests.walk.provenance import ROOMS, code_hash, library_versions, rows_hash
from backtests.walk.register import REGISTER_FOLDER, Register, Trial, TrialWindow, unregistered_runs
from backtests.walk.result_files import write_run
from backtests.walk.sensitivity import Variant
from backtests.walk.sensitivity_tasks import VariantTask, daily_study, run_variant, variants_of
from backtests.walk.stages import Stages, require_all
from backtests.walk.training import Training, number_trainings, training_hash
from data_pipeline.daily.panel import DailyPanel
from data_pipeline.disk import plain_json
from data_pipeline.errors import DataError
from data_pipeline.tasks.executor import LocalProcesses, Workforce
from data_pipeline.tasks.ledger import Ledger, LedgerDamageError, task_key
from data_pipeline.tasks.report import Progress, TaskEvent, ignore_progress
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
    splits = plan.splits(panel.sessions.size)
    _check_choices(plan, panel, folds, splits)
    quality = judge_sessions(plan, panel.sessions, folds, plain_json(quality)) if quality else None
    store = Path(out_folder) / LEDGER_FOLDER
    ledger = Ledger(store)
    with ledger.exclusive():
        ledger.sweep()
        place = Workplace(_keep_panel(panel, store).absolute(), (store / "policies").absolute(), code_hash(ROOMS))
        windows = _describe_windows(panel, [*folds, *splits])
        job = _Job(plan, panel, folds, splits, place, library_versions(), windows)
        provenance = job.provenance(Path(out_folder))
        with (executor or LocalProcesses(workers)).over(ledger, progress) as pool:
            pods = len(plan.pods)
            total = len(folds) * (1 + pods) + pods * (1 + len(variants_of(plan))) + len(splits) * (1 + 2 * pods)
            stages = Stages(pool, ledger, total)
            parts, varied = _work(job, stages, progress)
        require_all(stages.failed, ledger)
        run = assemble_run(plan, panel, folds, provenance, parts, quality)
        hashes = [parts.policies[fold.index].policy_hash for fold in folds]
        files = evidence_files(plan, panel, splits, parts)
        study = daily_study(plan, {pod: tables["account"] for pod, tables in parts.accounts.items()}, varied)
        if study is not None:
            files[SENSITIVITY_FILE] = study
        return write_run(Path(out_folder), run, place.policies, hashes, files)


def _work(job: _Job, stages: Stages, progress: Progress) -> tuple[RunParts, Mapping[tuple[str, Variant], bytes]]:
    """Everything that is computed, from the ledger, and the accounts of a study of sensitivity.

    What failed is left out and remembered by the stages.
    """

    def results(tasks: Mapping[Name, Task]) -> dict[Name, bytes]:
        return {name: stages.ledger.read(task.key) for name, task in stages.run(tasks).items()}

    calibrations = job.calibrations()
    _forget_without_policy(calibrations.values(), job.place, stages.ledger, stages.total, progress)
    policies = {key: read_fold_policy(found) for key, found in results(calibrations).items()}
    choices = {key: read_selection(found) for key, found in results(job.selections(policies)).items()}
    kept = KeptAccounts(stages.ledger)
    accounts = {pod: kept.open(task.key) for pod, task in stages.run(job.accounts(policies, choices)).items()}
    varied = results(job.variants(policies, choices))
    blocks = results(job.blocks(policies, choices))
    count = len(job.folds)
    parts = RunParts(
        policies={key: policy for key, policy in policies.items() if key < count},
        choices={(pod, key): choice for (pod, key), choice in choices.items() if key < count},
        accounts={pod: tables for pod, (tables, _) in accounts.items()},
        trials={pod: trials for pod, (_, trials) in accounts.items()},
        split_choices={(pod, key - count): choice for (pod, key), choice in choices.items() if key >= count},
        blocks={
            (pod, block.group, key - count): block
            for (pod, key), found in blocks.items()
            for block in read_blocks(found)
        },
    )
    return parts, varied


@dataclass(frozen=True, slots=True)
class _Job:
    """The tasks of one run, each with the description that is its key.

    Training windows are numbered folds first, then splits.
    """

    plan: WalkForwardPlan
    panel: DailyPanel
    folds: tuple[Fold, ...]
    splits: tuple[Split, ...]
    place: Workplace
    libraries: Mapping[str, str]
    windows: Mapping[int, Mapping[str, Any]]

    @property
    def trainings(self) -> dict[int, tuple[str, Training]]:
        """Every training window with its name, by number."""
        return number_trainings(self.folds, self.splits)

    def calibrations(self) -> dict[int, Task]:
        """One task per training window."""
        return {
            key: self._task(
                f"{name}: costs and policy",
                calibrate_fold,
                CalibrationTask(self.place, self.plan, window),
                task="calibration",
                execution=describe_execution(self.plan),
                **self.windows[key],
            )
            for key, (name, window) in self.trainings.items()
        }

    def selections(self, policies: Mapping[int, FoldPolicy]) -> dict[tuple[str, int], Task]:
        """One task per pod and training window whose costs are there."""
        return {
            (pod.name, key): self._task(
                f"{name}: parameters of {pod.name}",
                select_pod,
                SelectionTask(self.place, pod, window, policies[key].policy_hash, self._choice(key)),
                task="selection",
                grid=[describe_pod(member) for member in pod.grid],
                choice=plain_json(self._choice(key)) if self.plan.selection == "nested" else "screen",
                policy=policies[key].policy_hash,
                **self.windows[key],
            )
            for key, (name, window) in self.trainings.items()
            if key in policies
            for pod in self.plan.pods
        }

    def _choice(self, key: int) -> ChoiceRule:
        return _choice(self.plan, self.panel, of_split=key >= len(self.folds))

    def accounts(
        self, policies: Mapping[int, FoldPolicy], choices: Mapping[tuple[str, int], Selection]
    ) -> dict[str, Task]:
        """One task per pod whose folds are all there."""
        return {
            name: self._task(
                f"account of {name}",
                run_account,
                account,
                task="account",
                grid=[describe_pod(member) for member in account.pod.grid],
                **described,
            )
            for name, account, described in self._accounts(policies, choices)
        }

    def variants(
        self, policies: Mapping[int, FoldPolicy], choices: Mapping[tuple[str, int], Selection]
    ) -> dict[tuple[str, Variant], Task]:
        """One task per pod whose folds are all there and value of a study of sensitivity."""
        varied = variants_of(self.plan)
        if not varied:
            return {}
        return {
            (name, variant): self._task(
                f"account of {name} with {variant[0]} {variant[1]}",
                run_variant,
                VariantTask(account, variant),
                task="sensitivity",
                variant=variant,
                grid=[describe_pod(account.pod.grid[place]) for place in account.chosen],
                **described,
            )
            for name, account, described in self._accounts(policies, choices)
            for variant in varied
        }

    def _accounts(
        self, policies: Mapping[int, FoldPolicy], choices: Mapping[tuple[str, int], Selection]
    ) -> list[tuple[str, AccountTask, dict[str, Any]]]:
        """Each pod whose folds are all there, with what its account needs and depends on."""
        data = rows_hash(self.panel, range(self.folds[-1].test.stop))
        found = []
        for pod in self.plan.pods:
            if any(fold.index not in policies or (pod.name, fold.index) not in choices for fold in self.folds):
                continue
            chosen = tuple(choices[pod.name, fold.index].chosen for fold in self.folds)
            hashes = tuple(policies[fold.index].policy_hash for fold in self.folds)
            described = {
                "account": _describe_account(self.plan, pod),
                "folds": [[f.train.start, f.train.stop, f.test.start, f.test.stop] for f in self.folds],
                "chosen": chosen,
                "policies": hashes,
                "data": data,
            }
            found.append((pod.name, AccountTask(self.place, self.plan, pod, self.folds, chosen, hashes), described))
        return found

    def blocks(
        self, policies: Mapping[int, FoldPolicy], choices: Mapping[tuple[str, int], Selection]
    ) -> dict[tuple[str, int], Task]:
        """One task per pod and split whose parameters are there."""
        data = rows_hash(self.panel, range(self.folds[-1].test.stop))
        tasks = {}
        for split in self.splits:
            key = len(self.folds) + split.index
            for pod in self.plan.pods:
                if (pod.name, key) not in choices:
                    continue
                chosen, digest = choices[pod.name, key].chosen, policies[key].policy_hash
                tasks[pod.name, key] = self._task(
                    f"split {split.index + 1}: accounts of {pod.name}",
                    run_blocks,
                    BlocksTask(self.place, self.plan, pod, split, chosen, digest),
                    task="blocks",
                    account=_describe_account(self.plan, pod),
                    tests=[
                        [group, rows.start, rows.stop] for group, rows in zip(split.groups, split.tests, strict=True)
                    ],
                    grid=[describe_pod(pod.grid[chosen])],
                    policies=[digest],
                    data=data,
                )
        return tasks

    def register_trials(self, register: Register) -> str:
        """Write every parameter set of every pod in every fold into the register; the name of the record.

        The splits try the same sets on the same sessions over again: they are no further trials.
        """
        windows = {
            fold.index: TrialWindow(
                self.windows[fold.index]["data"],
                str(self.panel.sessions[fold.train.start]),
                str(self.panel.sessions[fold.test.stop - 1]),
                self.panel.instruments,
            )
            for fold in self.folds
        }
        trials = []
        for pod in self.plan.pods:
            account = _describe_account(self.plan, pod)
            conditions = {name: value for name, value in account.items() if name != "name"}
            conditions |= {
                "game": describe_execution(self.plan),
                "selection": plain_json(self.plan.choice_rule()) if self.plan.selection == "nested" else "screen",
                "test": self.plan.folds.test,
                "gap": self.plan.folds.gap,
            }
            for member in pod.grid:
                described = describe_pod(member)
                kind = described.pop("kind")
                trials += [Trial(kind, described, window, conditions) for window in windows.values()]
        return register.record(self.plan.name, trials)

    def provenance(self, out_folder: Path) -> dict[str, Any]:
        """Hashes and versions that the whole run came from, and how many trials had been made by then."""
        register = Register(out_folder / REGISTER_FOLDER)
        count = register.count(self.register_trials(register))
        return {
            "code_hash": self.place.code_hash,
            "data_hash": rows_hash(self.panel, range(self.folds[-1].test.stop)),
            "libraries": dict(self.libraries),
            "source": plain_json(dict(self.panel.provenance)),
            "trials": plain_json(count)
            | {"earlier": count.earlier, "not_registered": unregistered_runs(out_folder, register)},
        }

    def _task(self, name: str, function: Any, argument: Any, **described: Any) -> Task:
        description = described | {"code": self.place.code_hash, "libraries": self.libraries}
        return Task(task_key(description), name, function, argument, description)


def _check_choices(plan: WalkForwardPlan, panel: DailyPanel, folds: Sequence[Fold], splits: Sequence[Split]) -> None:
    """Refuse inner folds that do not fit a training window, before anything is computed."""
    if plan.selection == "nested":
        windows: tuple[Training, ...] = (*folds, *splits)
        for window in windows:
            rule = _choice(plan, panel, of_split=isinstance(window, Split))
            inner_folds(window.ranges, rule.folds, np.arange(panel.sessions.size) + rule.purge, rule.embargo)


def _choice(plan: WalkForwardPlan, panel: DailyPanel, *, of_split: bool) -> ChoiceRule:
    """How a fold or a split chooses its parameters."""
    settings = plan.combinatorial
    if settings is None or not of_split:
        return plan.choice_rule()
    return plan.choice_rule(settings.embargo_sessions(len(plan.tested_rows(panel.sessions.size))))


def _describe_windows(panel: DailyPanel, windows: Sequence[Training]) -> dict[int, dict[str, Any]]:
    """What a task on a training window depends on: its rows and what they hold."""
    return {
        key: {
            "train": [row for piece in window.ranges for row in (piece.start, piece.stop)],
            "data": training_hash(panel, window.ranges),
        }
        for key, window in enumerate(windows)
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
