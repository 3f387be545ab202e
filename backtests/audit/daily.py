"""The audit of a daily walk-forward: other futures, and other pasts, that must not change what was done in time.

    at the end of training windows   costs and policy, scores of the parameters, the fitted pods
    at closes with a decision        decisions beside the recorded account; orders, fills and account
    before the decision              no more than `lookback` sessions; nothing before the training window
    where a split does not train     costs and policy, scores of the parameters, the fitted pods

The tasks are those of the walk-forward itself, on panels that differ only where they must not look.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from backtests.audit.accounts import account_difference, guilty_fields, spread
from backtests.audit.decisions import Decision, Difference, Recorder, first_difference, replayed
from backtests.audit.findings import Audit, Check, Progress, Test
from backtests.audit.variants import (
    FIELDS,
    OUTSIDE_FIELDS,
    PAST_FIELDS,
    UNPUBLISHED,
    VARIANTS,
    Variant,
    forget_before,
    scramble_outside,
    vary,
)
from backtests.daily.account import Account
from backtests.daily.simulator import Segment, simulate
from backtests.walk.combinatorial import Split
from backtests.walk.fold_tasks import (
    CalibrationTask,
    Selection,
    SelectionTask,
    Workplace,
    calibrate_fold,
    make_executor,
    policy_costs,
    read_fold_policy,
    read_selection,
    select_pod,
)
from backtests.walk.folds import Fold, check_stitchable, make_folds
from backtests.walk.plan import PodPlan, WalkForwardPlan, describe
from backtests.walk.policy_files import PolicyArtefact, read_policy
from backtests.walk.provenance import ROOMS, code_hash, rows_hash
from backtests.walk.training import training_view
from data_pipeline.daily.panel import DailyPanel
from data_pipeline.daily.panel_files import save_panel
from data_pipeline.disk import canonical_json, sha256_hex
from strategies.pod import Decider

Compare = Callable[[DailyPanel], Difference | None]
"""What changed on another panel, if anything."""

_SPLIT_ROWS = 20
"""Closes, spread over the tests of a split, at which a pod fitted on another market is asked."""


def audit_daily(
    plan: WalkForwardPlan,
    panel: DailyPanel,
    *,
    cuts: int = 3,
    seed: int = 0,
    progress: Progress = lambda done, total, words: None,
) -> Audit:
    """Every check of every pod of the plan, at `cuts` places each.

    Parameters
    ----------
    cuts : int
        Training windows and closes at which the data are cut, and combinatorial splits: spread evenly, the first
        and the last among them.
    seed : int
        Of the scrambling.

    Raises
    ------
    ValueError
        When `cuts` is below 1.
    WindowError
        When the folds do not fit the data.
    """
    if cuts < 1:
        raise ValueError(f"cuts must be at least 1; was {cuts}")
    folds, splits = make_folds(panel.sessions.size, plan.folds), plan.splits(panel.sessions.size)
    check_stitchable(folds)
    with tempfile.TemporaryDirectory(prefix="fairfield-audit-") as folder:
        work = _Work(plan, panel, folds, spread(splits, cuts), Path(folder), cuts, seed)
        work.prepare(progress)
        jobs = list(work.jobs())
        checks = []
        for done, (words, job) in enumerate(jobs, start=1):
            checks.append(job())
            progress(done, len(jobs), words)
    audited = {
        "data_hash": rows_hash(panel, range(panel.sessions.size)),
        "code_hash": code_hash(ROOMS),
        "plan_hash": sha256_hex(canonical_json(describe(plan))),
        "cuts": cuts,
        "seed": seed,
    }
    return Audit("daily", plan.name, tuple(checks), audited)


Job = tuple[str, Callable[[], Check]]


@dataclass(slots=True)
class _Work:
    """The run that is audited, in memory, and the checks on it."""

    plan: WalkForwardPlan
    panel: DailyPanel
    folds: tuple[Fold, ...]
    splits: list[Split]
    folder: Path
    cuts: int
    seed: int
    policies: dict[int, PolicyArtefact] = field(default_factory=dict)
    digests: dict[int, str] = field(default_factory=dict)
    choices: dict[tuple[str, int], Selection] = field(default_factory=dict)
    accounts: dict[str, Account] = field(default_factory=dict)
    decided: dict[str, list[Decision]] = field(default_factory=dict)
    fields: dict[tuple[str, Test], tuple[str, ...]] = field(default_factory=dict)
    panels: int = 0
    other: tuple[tuple[int, str, bool], DailyPanel] | None = None
    saved: tuple[DailyPanel, Workplace] | None = None

    def prepare(self, progress: Progress) -> None:
        """Run the walk-forward as it is."""
        place = self._place(self.panel)
        windows: list[Fold | Split] = [*self.folds, *self.splits]
        for window in windows:
            key = self._key(window)
            self.digests[key] = read_fold_policy(self._calibrated(place, window)).policy_hash
            self.policies[key] = read_policy(place.policies, self.digests[key])
            for pod in self.plan.pods:
                self.choices[pod.name, key] = read_selection(self._selected(place, pod, window))
            progress(0, 0, f"{self._called(window)} of the run as it is")
        for pod in self.plan.pods:
            log: list[Decision] = []
            self.accounts[pod.name] = self._account(pod, self.panel, self.panel.sessions.size - 1, log)
            self.decided[pod.name] = log
            progress(0, 0, f"account of {pod.name} as it is")

    def jobs(self) -> Iterator[Job]:
        """Every check with its name."""
        for fold in spread(self.folds, self.cuts):
            cut = fold.train.stop - 1
            for variant in VARIANTS:
                yield from self._training_jobs(fold, cut, variant)
        for split in self.splits:
            yield from self._split_jobs(split)
        for pod in self.plan.pods:
            yield from self._pod_jobs(pod)

    def _training_jobs(self, fold: Fold, cut: int, variant: Variant) -> Iterator[Job]:
        yield f"costs of fold {fold.index}", lambda: self._check("", "costs", variant, cut, self._costs(fold))
        for pod in self.plan.pods:
            yield (
                f"parameters of {pod.name}, fold {fold.index}",
                lambda pod=pod: self._check(pod.name, "parameters", variant, cut, self._scores(pod, fold)),  # type: ignore[misc]
            )
            yield (
                f"fit of {pod.name}, fold {fold.index}",
                lambda pod=pod: self._check(pod.name, "fit", variant, cut, self._fit(pod, fold)),  # type: ignore[misc]
            )

    def _split_jobs(self, split: Split) -> Iterator[Job]:
        """What a split learns when all that it tests, purges and embargoes is another market."""
        name = self._called(split)
        yield f"costs of {name}", lambda: self._split_check("", "costs", split, self._costs(split))
        for pod in self.plan.pods:
            for test, compare in (("parameters", self._scores(pod, split)), ("fit", self._refitted(pod, split))):
                yield (
                    f"{test} of {pod.name}, {name}",
                    lambda pod=pod, test=test, compare=compare: self._split_check(pod.name, test, split, compare),  # type: ignore[misc]
                )

    def _split_check(self, pod: str, test: Test, split: Split, compare: Compare) -> Check:
        key = self._key(split), "scramble outside", False
        if self.other is None or self.other[0] != key:
            self.other = key, scramble_outside(self.panel, split.ranges, self.seed)
        found, name = compare(self.other[1]), self._called(split)
        if found is None:
            return Check(pod, test, "scramble outside", name, "same")
        guilty = tuple(
            field
            for field in OUTSIDE_FIELDS
            if compare(scramble_outside(self.panel, split.ranges, self.seed, [field])) is not None
        )
        return Check(pod, test, "scramble outside", name, "changed", found, guilty or ("several together",))

    def _pod_jobs(self, pod: PodPlan) -> Iterator[Job]:
        rows = [item.row for item in self.decided[pod.name] if item.kind != "none"]
        places = spread([row for row in rows if row < self.panel.sessions.size - 1], self.cuts)
        if not places or self.accounts[pod.name].fills.row.size == 0:
            why = "the pod never decides before the last session" if not places else "the pod never trades"
            untested = Check(pod.name, "decisions", "scramble", str(self.panel.sessions[-1]), "untested", why=why)
            yield pod.name, lambda: untested
        for cut in places:
            for variant in VARIANTS:
                yield (
                    f"decisions of {pod.name}",
                    lambda cut=cut, variant=variant: self._check(  # type: ignore[misc]
                        pod.name, "decisions", variant, cut, self._decisions(pod, cut), unpublished=True
                    ),
                )
                if variant != "delay":
                    yield (
                        f"account of {pod.name}",
                        lambda cut=cut, variant=variant: self._check(  # type: ignore[misc]
                            pod.name, "account", variant, cut, self._accounted(pod, cut)
                        ),
                    )
            yield f"warm-up of {pod.name}", lambda cut=cut: self._warm_up(pod, cut)  # type: ignore[misc]
        for fold in spread([self._fold_of(row) for row in places], self.cuts):
            if fold.train.start > 0:
                yield f"history of {pod.name}", lambda fold=fold: self._history(pod, fold)  # type: ignore[misc]

    def _check(
        self, pod: str, test: Test, variant: Variant, cut: int, compare: Compare, *, unpublished: bool = False
    ) -> Check:
        """Compare on the variant; the first time that something changes, find the fields that change it alone."""
        session = str(self.panel.sessions[cut])
        found = compare(self._other(cut, variant, unpublished=unpublished))
        if found is None:
            return Check(pod, test, variant, session, "same")
        if (pod, test) not in self.fields:
            names = [name for name in FIELDS if unpublished or name != UNPUBLISHED]
            guilty = guilty_fields(compare, self.panel, cut, names, self.seed)
            otherwise = "the number of sessions" if variant == "truncate" else "several together"
            self.fields[pod, test] = guilty or (otherwise,)
        fields = self.fields[pod, test]
        return Check(pod, test, variant, session, "changed", found, fields)

    def _costs(self, window: Fold | Split) -> Compare:
        def compare(panel: DailyPanel) -> Difference | None:
            session, key = self._last(window), self._key(window)
            before = self.digests[key]
            place = self._place(panel)
            try:
                after = read_fold_policy(self._calibrated(place, window)).policy_hash
                if after == before:
                    return None
                return _policy_difference(session, self.policies[key], read_policy(place.policies, after))
            except Exception as error:  # noqa: BLE001  whatever another future makes it raise is a finding
                return Difference(session, "", f"policy {before[:12]}", f"{type(error).__name__}: {error}")

        return compare

    def _scores(self, pod: PodPlan, window: Fold | Split) -> Compare:
        def compare(panel: DailyPanel) -> Difference | None:
            session, before = self._last(window), self.choices[pod.name, self._key(window)]
            try:
                after = read_selection(self._selected(self._place(panel), pod, window))
            except Exception as error:  # noqa: BLE001  as above
                return Difference(session, "", "scores", f"{type(error).__name__}: {error}")
            for index, (old, new) in enumerate(zip(before.scores, after.scores, strict=True)):
                if np.float64(old).tobytes() != np.float64(new).tobytes():
                    return Difference(session, "", f"score of set {index + 1} {old!r}", repr(new))
            return (
                None if before == after or repr(before) == repr(after) else Difference(session, "", "choice", "other")
            )

        return compare

    def _fit(self, pod: PodPlan, fold: Fold) -> Compare:
        """Fitted on another future, deciding on the true one."""
        recorded = [item for item in self.decided[pod.name] if item.row in fold.test]

        def compare(panel: DailyPanel) -> Difference | None:
            found = replayed(lambda: self._fitted(pod, fold, panel), self.panel, recorded)
            return first_difference(self.panel, recorded, found)

        return compare

    def _refitted(self, pod: PodPlan, split: Split) -> Compare:
        """Fitted on another market where the split does not train, deciding on the true one, with an empty account."""
        rows = spread([row for test in split.tests for row in test if row + 1 >= self.plan.lookback], _SPLIT_ROWS)
        empty = np.zeros(len(self.panel.instruments))
        asked = [Decision(row, "none", empty, "", empty, self.plan.capital) for row in rows]

        def compare(panel: DailyPanel) -> Difference | None:
            before, after = (
                replayed(lambda data=data: self._fitted(pod, split, data), self.panel, asked)  # type: ignore[misc]
                for data in (self.panel, panel)
            )
            return first_difference(self.panel, before, after)

        return compare

    def _decisions(self, pod: PodPlan, cut: int) -> Compare:
        fold = self._fold_of(cut)
        recorded = [item for item in self.decided[pod.name] if fold.test.start <= item.row <= cut]

        def compare(panel: DailyPanel) -> Difference | None:
            found = replayed(lambda: self._fitted(pod, fold, panel), panel, recorded)
            return first_difference(self.panel, recorded, found)

        return compare

    def _accounted(self, pod: PodPlan, cut: int) -> Compare:
        def compare(panel: DailyPanel) -> Difference | None:
            until = self.panel.sessions[cut]
            try:
                account = self._account(pod, panel, cut, [])
            except Exception as error:  # noqa: BLE001  as above
                return Difference(str(until), "", "account", f"{type(error).__name__}: {error}")
            return account_difference(self.accounts[pod.name], account, until)

        return compare

    def _warm_up(self, pod: PodPlan, cut: int) -> Check:
        """The decision at the cut without what is older than the pod's lookback; those before it as they were."""
        fold = self._fold_of(cut)
        recorded = [item for item in self.decided[pod.name] if fold.test.start <= item.row <= cut]
        lookback = pod.grid[self.choices[pod.name, fold.index].chosen].lookback
        variant, session = "forget before lookback", str(self.panel.sessions[cut])
        if cut - lookback + 1 < 1:
            why = f"no session before the lookback of {lookback}"
            return Check(pod.name, "warm-up", variant, session, "untested", why=why)

        def compare(fields: Sequence[str]) -> Difference | None:
            short = forget_before(self.panel, cut - lookback + 1, fields)
            found = replayed(lambda: self._fitted(pod, fold, self.panel), self.panel, recorded, last_on=short)
            return first_difference(self.panel, recorded, found)

        return _past_check(pod.name, "warm-up", variant, session, compare)

    def _history(self, pod: PodPlan, fold: Fold) -> Check:
        recorded = [item for item in self.decided[pod.name] if item.row in fold.test]
        cut = str(self.panel.sessions[fold.train.start])

        def compare(fields: Sequence[str]) -> Difference | None:
            panel = forget_before(self.panel, fold.train.start, fields)
            return first_difference(
                self.panel, recorded, replayed(lambda: self._fitted(pod, fold, panel), panel, recorded)
            )

        return _past_check(pod.name, "history", "forget before training", cut, compare)

    def _fitted(self, pod: PodPlan, window: Fold | Split, panel: DailyPanel) -> Decider:
        return pod.grid[self.choices[pod.name, self._key(window)].chosen].fit(training_view(panel, window))

    def _account(self, pod: PodPlan, panel: DailyPanel, last: int, log: list[Decision]) -> Account:
        segments = []
        for fold in self.folds:
            if fold.test.start > last:
                break
            policy = self.policies[fold.index]
            segments.append(
                Segment(
                    first=fold.test.start,
                    last=min(fold.test.stop - 1, last),
                    decider=Recorder(self._fitted(pod, fold, panel), log),
                    costs=policy_costs(policy),
                    executor=make_executor(pod.execution, self.plan.horizon, policy),
                    fold=fold.index,
                    costs_row=fold.train.stop - 1,
                )
            )
        plan = self.plan
        return simulate(
            panel,
            segments,
            rules=plan.rules,
            capital=plan.capital,
            limits=pod.limits,
            pod=pod.name,
            var_window=plan.var_window,
        )

    def _fold_of(self, row: int) -> Fold:
        return next(fold for fold in self.folds if row in fold.test)

    def _calibrated(self, place: Workplace, window: Fold | Split) -> bytes:
        return calibrate_fold(CalibrationTask(place, self.plan, window))

    def _selected(self, place: Workplace, pod: PodPlan, window: Fold | Split) -> bytes:
        own, plan, embargo = replace(place, policies=self.folder / "policies"), self.plan, None
        if isinstance(window, Split) and plan.combinatorial is not None:
            embargo = plan.combinatorial.embargo_sessions(len(plan.tested_rows(self.panel.sessions.size)))
        return select_pod(SelectionTask(own, pod, window, self.digests[self._key(window)], plan.choice_rule(embargo)))

    def _key(self, window: Fold | Split) -> int:
        """Training windows by number: folds first, then splits."""
        return window.index + (len(self.folds) if isinstance(window, Split) else 0)

    def _called(self, window: Fold | Split) -> str:
        return f"split {window.index + 1}" if isinstance(window, Split) else f"fold {window.index}"

    def _last(self, window: Fold | Split) -> str:
        return str(self.panel.sessions[window.ranges[-1].stop - 1])

    def _other(self, cut: int, variant: Variant, *, unpublished: bool) -> DailyPanel:
        """The panel with another future; the last one made stays for the next pod."""
        key = cut, variant, unpublished
        if self.other is None or self.other[0] != key:
            self.other = key, vary(self.panel, cut, variant, seed=self.seed, unpublished=unpublished)
        return self.other[1]

    def _place(self, panel: DailyPanel) -> Workplace:
        """The panel on disk as a task finds it; policies of another panel than the true one go elsewhere.

        Of the other panels only the last stays: each is as large as the data.
        """
        if self.saved is None or self.saved[0] is not panel:
            self.panels += 1
            if self.saved is not None and self.saved[0] is not self.panel:
                shutil.rmtree(self.saved[1].panel, ignore_errors=True)
                shutil.rmtree(self.saved[1].policies, ignore_errors=True)
            policies = self.folder / ("policies" if panel is self.panel else f"policies-{self.panels}")
            self.saved = panel, Workplace(self.folder / f"panel-{self.panels}", policies, "0" * 64)
            save_panel(panel, self.saved[1].panel, durable=False)
        return self.saved[1]


def _past_check(
    pod: str, test: Test, variant: str, cut: str, compare: Callable[[Sequence[str]], Difference | None]
) -> Check:
    """Compare without the past; where something changed, name the fields that change it alone."""
    found = compare(PAST_FIELDS)
    if found is None:
        return Check(pod, test, variant, cut, "same")
    guilty = tuple(name for name in PAST_FIELDS if compare([name]) is not None)
    return Check(pod, test, variant, cut, "changed", found, guilty or ("several together",))


def _policy_difference(session: str, before: PolicyArtefact, after: PolicyArtefact) -> Difference:
    """The first number of two policy files that differs."""
    old, new = _numbers(before), _numbers(after)
    for name in sorted(old.keys() | new.keys()):
        if old.get(name) != new.get(name):
            return Difference(session, "", f"{name} {old.get(name)}", f"{new.get(name)}")
    return Difference(session, "", f"data {before.hashes.get('data')}", f"{after.hashes.get('data')}")


def _numbers(policy: PolicyArtefact) -> Mapping[str, str]:
    flat = {name: json.dumps(value) for name, value in policy.calibration.items()}
    return flat | {
        name: sha256_hex(np.ascontiguousarray(values).tobytes())[:12] for name, values in policy.arrays.items()
    }
