"""The tasks of an intraday walk-forward, each with the description that is its key, and what its trials are called."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from backtests.walk.combinatorial import Split, inner_folds
from backtests.walk.fold_tasks import Selection, best_index
from backtests.walk.folds import Fold
from backtests.walk.intraday_plan import FillCase, IntradayPlan, IntradayPodPlan, describe_fills, describe_member
from backtests.walk.intraday_poisson import PATHS, poisson_session
from backtests.walk.intraday_rules import rule_record
from backtests.walk.intraday_sessions import combined_hash
from backtests.walk.intraday_tasks import (
    FitTask,
    Market,
    MeasureTask,
    ProfitTask,
    ScoreTask,
    SessionName,
    TradeTask,
    fit_rule,
    measure_training_session,
    profit_of_session,
    read_scores,
    score_rule,
    trade_session,
)
from backtests.walk.plan import parameters_json
from backtests.walk.register import REGISTER_FOLDER, Register, Trial, TrialWindow, unregistered_runs
from backtests.walk.sensitivity import Variant
from backtests.walk.sensitivity_intraday import (
    SIZED,
    VariantName,
    VariantTradeTask,
    changed,
    trade_variant,
    variant_key,
    variants_of,
)
from backtests.walk.training import Training, rows_of
from data_pipeline.disk import plain_json
from data_pipeline.tasks.ledger import Ledger, task_key
from data_pipeline.tasks.worker import Task
from strategies.intraday.pod import IntradayPod
from strategies.intraday.rule import Instrument

RuleName = tuple[str, int, str, int, int]
"""Pod, training window (folds first, then splits), symbol, place in the grid, and the inner fold that its training is
without (`WHOLE`: none)."""
WHOLE = -1


def inner_folds_of(plan: IntradayPlan, n_sessions: int, window: Training) -> tuple[Split, ...]:
    """The inner folds of a nested choice in a fold's or a split's training window."""
    rule = plan.choice_rule(n_sessions, of_split=isinstance(window, Split))
    return inner_folds(window.ranges, rule.folds, np.arange(n_sessions) + rule.purge, rule.embargo)


@dataclass(frozen=True, slots=True)
class Job:
    """The tasks of one run, each with the description that is its key.

    `trainings` are all training windows with their names, by number: folds first, then splits.
    """

    plan: IntradayPlan
    sessions: Sequence[str]
    folds: tuple[Fold, ...]
    splits: tuple[Split, ...]
    trainings: Mapping[int, tuple[str, Training]]
    market: Market
    names: Mapping[tuple[str, str], SessionName]
    made_with: Mapping[str, Any]

    def total(self) -> int:
        """Tasks of all stages but those that are known only when every rule is."""
        symbols, folds = len(self.plan.instruments), len(self.folds)
        sets = [len(pod.grid) for pod in self.plan.pods]
        windows = folds + len(self.splits)
        fits = windows * symbols * sum(sets)
        parts = self.plan.inner_folds if self.plan.selection == "nested" else 1
        scores = windows * symbols * parts * sum(count for count in sets if count > 1)
        fits += scores if self.plan.selection == "nested" else 0
        trades = len(sets) * symbols * sum(len(fold.test) for fold in self.folds)
        return symbols * len(self._training_rows()) + fits + scores + trades + folds * symbols * len(sets)

    def _training_rows(self) -> list[int]:
        return sorted({row for _, window in self.trainings.values() for row in rows_of(window.ranges)})

    def measures(self) -> dict[tuple[str, str], Task]:
        """One task per instrument and session that some fold or split trains on."""
        tasks = {}
        for row in self._training_rows():
            for item in self.plan.instruments:
                name = self.names[item.symbol, self.sessions[row]]
                tasks[item.symbol, name.session] = self._task(
                    f"{item.symbol} {name.session}: measured",
                    measure_training_session,
                    MeasureTask(self.market, name, self.plan.calibration),
                    task="intraday measure",
                    session=name,
                    venue=self.plan.venue,
                    day=self.plan.day,
                    settings=self.plan.calibration,
                )
        return tasks

    def fits(self, measured: Mapping[tuple[str, str], Task]) -> dict[RuleName, Task]:
        """One task per pod, training window, instrument and parameter set whose sessions are all measured."""
        tasks = {}
        for key, pod, place, member, item in self._rules():
            name, window = self.trainings[key]
            sessions = tuple(self.sessions[row] for row in rows_of(window.ranges))
            if any((item.symbol, session) not in measured for session in sessions):
                continue
            keys = tuple(measured[item.symbol, session].key for session in sessions)
            tasks[pod.name, key, item.symbol, place, WHOLE] = self._fit(
                f"{name}: {pod.name} of {item.symbol}, parameter set {place + 1}",
                "fit",
                fit_rule,
                self._fit_task(member, item, sessions, keys),
            )
        return tasks

    def inner_fits(self, measured: Mapping[tuple[str, str], Task]) -> dict[RuleName, Task]:
        """Of a nested choice: one task per inner fold, for pods with several sets, without its sessions."""
        tasks = {}
        for key, pod, place, member, item in self._rules() if self.plan.selection == "nested" else []:
            if len(pod.grid) == 1:
                continue
            for inner in self._inner(key):
                sessions = tuple(self.sessions[row] for row in rows_of(inner.train))
                if any((item.symbol, session) not in measured for session in sessions):
                    continue
                keys = tuple(measured[item.symbol, session].key for session in sessions)
                tasks[pod.name, key, item.symbol, place, inner.index] = self._fit(
                    f"{self.trainings[key][0]}: {pod.name} of {item.symbol}, parameter set {place + 1} without inner "
                    f"fold {inner.index}",
                    "fit",
                    fit_rule,
                    self._fit_task(member, item, sessions, keys),
                )
        return tasks

    def _inner(self, key: int) -> tuple[Split, ...]:
        return inner_folds_of(self.plan, len(self.sessions), self.trainings[key][1])

    def _scored(self, key: int) -> list[tuple[int, list[int]]]:
        """Parts of the training window that score a set: the inner fold left out of its fit, and the sessions' rows."""
        if self.plan.selection == "screen":
            return [(WHOLE, rows_of(self.trainings[key][1].ranges))]
        return [(inner.index, rows_of(inner.tests)) for inner in self._inner(key)]

    def expectations(
        self, fitted: Mapping[RuleName, Task], choices: Mapping[tuple[str, int], Selection]
    ) -> dict[tuple[str, int, str], Task]:
        """One task per pod, fold and instrument: the chosen set under fills at the calibrated rates."""
        tasks = {}
        for (name, fold), choice in choices.items():
            for item in self.plan.instruments:
                argument = fitted[name, fold, item.symbol, choice.chosen, WHOLE].argument
                tasks[name, fold, item.symbol] = self._fit(
                    f"fold {fold}: {name} of {item.symbol} at the calibrated rates",
                    "poisson",
                    poisson_session,
                    argument,
                    paths=PATHS,
                )
        return tasks

    def _fit_task(
        self, member: IntradayPod, item: Instrument, sessions: tuple[str, ...], keys: tuple[str, ...]
    ) -> FitTask:
        plan = self.plan
        fees, most = plan.fills.fees, plan.fills.limits.max_position
        return FitTask(
            self.market, member, item, sessions, keys, plan.calibration, plan.order_lots, most, fees.maker,
            fees.maker_per_lot,
        )  # fmt: skip

    def _fit(self, name: str, what: str, function: Any, task: FitTask, **more: Any) -> Task:
        return self._task(
            name,
            function,
            task,
            task=f"intraday {what}",
            pod=describe_member(task.pod) | {"name": task.pod.name},
            instrument=task.instrument,
            sessions=task.sessions,
            measures=task.measures,
            seconds=self.plan.day.seconds,
            settings=task.settings,
            order_lots=task.order_lots,
            max_position=task.max_position,
            fees=[task.maker_fee, task.maker_fee_per_lot],
            **more,
        )

    def _rules(self) -> list[tuple[int, IntradayPodPlan, int, Any, Any]]:
        return [
            (key, pod, place, member, item)
            for key in self.trainings
            for pod in self.plan.pods
            for place, member in enumerate(pod.grid)
            for item in self.plan.instruments
        ]

    def scores(self, fitted: Mapping[RuleName, Task], ledger: Ledger) -> dict[RuleName, Task]:
        """One task per rule of a pod with several parameter sets: its profits in the sessions that score it."""
        tasks = {}
        for key, pod, place, _, item in self._rules():
            for part, rows in self._scored(key) if len(pod.grid) > 1 else []:
                rule = fitted.get((pod.name, key, item.symbol, place, part))
                if rule is None:
                    continue
                names = tuple(self.names[item.symbol, self.sessions[row]] for row in rows)
                fills = self._guessed(rule_record(ledger.read(rule.key)))[0].settings
                tasks[pod.name, key, item.symbol, place, part] = self._task(
                    f"{self.trainings[key][0]}: {pod.name} of {item.symbol}, parameter set {place + 1} in training"
                    + ("" if part == WHOLE else f", inner fold {part}"),
                    score_rule,
                    ScoreTask(self.market, rule.key, names, fills, self.plan.seed),
                    task="intraday score",
                    rule=rule.key,
                    sessions=names,
                    day=self.plan.day,
                    fills=describe_fills(fills),
                    seed=self.plan.seed,
                )
        return tasks

    def choices(
        self, fitted: Mapping[RuleName, Task], scored: Mapping[RuleName, Task], ledger: Ledger
    ) -> dict[tuple[str, int], Selection]:
        """The parameter set of every pod and training window whose rules and scores are all there.

        The score of a set is the annual Sharpe ratio of its profits in training, all instruments together; the first
        of the highest wins. A pod with one set has no score.
        """
        found = {}
        symbols = [item.symbol for item in self.plan.instruments]
        for key, (_, window) in self.trainings.items():
            parts = [part for part, _ in self._scored(key)]
            for pod in self.plan.pods:
                places, several = range(len(pod.grid)), len(pod.grid) > 1
                rules = {(pod.name, key, symbol, place, WHOLE) for symbol in symbols for place in places}
                wanted = {
                    (pod.name, key, symbol, place, part)
                    for symbol in symbols
                    for place in places
                    for part in parts
                    if several
                }
                if not (rules <= fitted.keys() and wanted <= scored.keys()):
                    continue
                scores, inner = [float("nan")], []
                if several:
                    profits = {name: read_scores(ledger.read(scored[name].key)) for name in wanted}
                    # of each part: sets x sessions, all instruments together
                    pieces = [
                        np.array(
                            [sum(profits[pod.name, key, symbol, place, part] for symbol in symbols) for place in places]
                        )
                        for part in parts
                    ]
                    scores = [self._score(row) for row in np.concatenate(pieces, axis=1)]
                    if self.plan.selection == "nested":
                        inner = [tuple(self._score(row) for row in piece) for piece in pieces]
                chosen = best_index(scores)
                parameters = parameters_json(pod.grid[chosen].parameters)
                count = len(rows_of(window.ranges))
                found[pod.name, key] = Selection(chosen, parameters, tuple(scores), count, tuple(inner))
        return found

    def _score(self, profits: Any) -> float:
        """Annual Sharpe ratio of profits per session; NaN of one session, and where they do not differ."""
        spread = float(np.std(profits, ddof=1)) if profits.size > 1 else 0.0
        if not spread > 0.0:
            return float("nan")
        return float(np.mean(profits)) / spread * float(np.sqrt(self.plan.sessions_per_year))

    def trades(
        self, fitted: Mapping[RuleName, Task], choices: Mapping[tuple[str, int], Selection], ledger: Ledger
    ) -> dict[tuple[str, int, str, str], Task]:
        """One task per pod, fold, instrument and test session, the pods of a session one after the other."""
        return {
            (pod, fold.index, name.instrument.symbol, name.session): self._trade(fold, pod, name, rule, record)
            for fold, pod, name, rule, record in self._tested(fitted, choices, ledger)
        }

    def variants(
        self, fitted: Mapping[RuleName, Task], choices: Mapping[tuple[str, int], Selection], ledger: Ledger
    ) -> dict[VariantName, Task]:
        """One task per pod, fold, instrument, test session and value of a study of sensitivity."""
        varied = variants_of(self.plan)
        if not varied:
            return {}
        return {
            (pod, fold.index, name.instrument.symbol, name.session, variant): self._variant(
                fold, pod, name, rule, record, variant
            )
            for fold, pod, name, rule, record in self._tested(fitted, choices, ledger)
            for variant in varied
            if variant[0] != "order_lots" or record["function"] == SIZED
        }

    def _tested(
        self, fitted: Mapping[RuleName, Task], choices: Mapping[tuple[str, int], Selection], ledger: Ledger
    ) -> Iterator[tuple[Fold, str, SessionName, str, Mapping[str, Any]]]:
        """Fold, pod, test session, key and record of the rule, the pods of a session one after the other."""
        for fold in self.folds:
            ready = [pod for pod in self.plan.pods if (pod.name, fold.index) in choices]
            rules = {
                (pod.name, item.symbol): fitted[
                    pod.name, fold.index, item.symbol, choices[pod.name, fold.index].chosen, WHOLE
                ].key
                for pod in ready
                for item in self.plan.instruments
            }
            payloads = {name: ledger.read(key) for name, key in rules.items()}
            records = {name: rule_record(payload) for name, payload in payloads.items()}
            for row in fold.test:
                for item in self.plan.instruments:
                    name = self.names[item.symbol, self.sessions[row]]
                    for pod in ready:
                        place = pod.name, item.symbol
                        yield fold, pod.name, name, rules[place], records[place]

    def profits(
        self, fitted: Mapping[RuleName, Task], choices: Mapping[tuple[str, int], Selection], ledger: Ledger
    ) -> tuple[dict[tuple[str, int, int], tuple[str, ...]], dict[str, Task]]:
        """Sessions that the splits test: the keys of their tasks, one an instrument, by pod, split and row; the tasks.

        A task is known by the rule's numbers and code, not by where they come from: splits that fit the same rule share
        it. The rules of a session come one after the other.
        """
        rules: dict[tuple[str, int, str], tuple[str, Mapping[str, Any]]] = {}
        for (pod, key), choice in choices.items():
            for item in self.plan.instruments if key >= len(self.folds) else ():
                rule = fitted[pod, key, item.symbol, choice.chosen, WHOLE].key
                rules[pod, key, item.symbol] = rule, rule_record(ledger.read(rule))
        wanted: dict[tuple[str, int, int], tuple[str, ...]] = {}
        tasks: dict[str, Task] = {}
        pods = [pod.name for pod in self.plan.pods]
        for row, index in sorted((row, split.index) for split in self.splits for row in rows_of(split.tests)):
            key = len(self.folds) + index
            for pod in (name for name in pods if (name, key) in choices):
                found = [
                    self._profit(pod, self.names[item.symbol, self.sessions[row]], *rules[pod, key, item.symbol])
                    for item in self.plan.instruments
                ]
                wanted[pod, index, row] = tuple(task.key for task in found)
                tasks |= {task.key: task for task in found if task.key not in tasks}
        return wanted, tasks

    def _profit(self, pod: str, name: SessionName, rule: str, record: Mapping[str, Any]) -> Task:
        fills = self._guessed(record)[0].settings
        return self._task(
            f"paths: {pod} on {name.instrument.symbol} {name.session}, rule {record['digest'][:8]}",
            profit_of_session,
            ProfitTask(self.market, rule, name, fills, self.plan.seed),
            task="intraday profit",
            rule=record["digest"],
            session=name,
            day=self.plan.day,
            fills=describe_fills(fills),
            seed=self.plan.seed,
        )

    def _trade(self, fold: Fold, pod: str, name: SessionName, rule: str, record: Mapping[str, Any]) -> Task:
        plan = self.plan
        cases = self._guessed(record)
        return self._task(
            f"fold {fold.index}: {pod} on {name.instrument.symbol} {name.session}",
            trade_session,
            TradeTask(self.market, rule, name, fold.index, cases, plan.seed, plan.sample_every),
            task="intraday trade",
            rule=record["artefact"],
            session=name,
            day=plan.day,
            fold=fold.index,
            cases={case.name: describe_fills(case.settings) for case in cases},
            seed=plan.seed,
            sample_every=plan.sample_every,
        )

    def _variant(
        self, fold: Fold, pod: str, name: SessionName, rule: str, record: Mapping[str, Any], variant: Variant
    ) -> Task:
        plan = self.plan
        settings, lots = changed(plan, self._guessed(record)[0].settings, variant)
        return self._task(
            f"fold {fold.index}: {pod} on {name.instrument.symbol} {name.session} with {variant[0]} {variant[1]}",
            trade_variant,
            VariantTradeTask(self.market, rule, name, settings, lots, plan.seed),
            task="intraday sensitivity",
            rule=record["artefact"],
            session=name,
            day=plan.day,
            seed=plan.seed,
            **variant_key(settings, lots),
        )

    def _guessed(self, record: Mapping[str, Any]) -> tuple[FillCase, ...]:
        """The cases with the queues that the rule's training sessions guess, the main one first."""
        guess = record["about"]["calibration"]
        return tuple(case.with_guess(guess["queue_low"], guess["queue_high"]) for case in self.plan.cases)

    def register_trials(self, register: Register) -> str:
        """Write every parameter set of every pod in every fold into the register; the name of the record."""
        plan = self.plan
        symbols = tuple(item.symbol for item in plan.instruments)
        conditions = {
            "instruments": plan.instruments,
            "day": plan.day,
            "fills": describe_fills(plan.fills),
            "order_lots": plan.order_lots,
            "calibration": plan.calibration,
        }
        trials = []
        for fold in self.folds:
            rows = [*fold.train, *fold.test]
            digest = combined_hash(
                [self.names[symbol, self.sessions[row]].digest for row in rows for symbol in symbols]
            )
            window = TrialWindow(digest, self.sessions[rows[0]], self.sessions[rows[-1]], symbols)
            for pod in plan.pods:
                for member in pod.grid:
                    described = describe_member(member)
                    kind = described.pop("kind")
                    trials.append(Trial(kind, described, window, plain_json(conditions)))
        return register.record(plan.name, trials)

    def provenance(self, output: Path) -> dict[str, Any]:
        """Hashes and versions that the whole run came from, and how many trials had been made by then."""
        register = Register(output / REGISTER_FOLDER)
        count = register.count(self.register_trials(register))
        return {
            "trials": plain_json(count) | {"not_registered": unregistered_runs(output, register)},
            "code_hash": self.made_with["code"],
            "data_hash": combined_hash(sorted(name.digest for name in self.names.values())),
            "libraries": dict(self.made_with["libraries"]),
        }

    def _task(self, name: str, function: Any, argument: Any, **described: Any) -> Task:
        description = plain_json(described | dict(self.made_with))
        return Task(task_key(description), name, function, argument, description)
