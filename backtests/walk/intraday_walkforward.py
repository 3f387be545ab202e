"""The intraday walk-forward: every fold is measured and fitted on its training sessions, then trades its test sessions.

    per instrument and training session   what it tells of the market
    per pod, fold and instrument          every parameter set fitted; where there are several, scored in training
    per pod, fold, instrument and session the chosen rule against the session's events, under every case of fills
    per pod, fold and instrument          the chosen set under fills at the calibrated rates
    then                                  accounts, statistics, comparison, the run folder

With combinatorial settings the splits are measured, fitted and chosen in by the same tasks; then each session that a
split tests is simulated under its rule, once for all splits whose rules are the same, and the profits join into paths.
Each task's result is in the ledger under the hash of all that it depends on: the rows of the sessions that it reads,
its settings, the code. A run that is stopped goes on from there; one that grows by new sessions finds its old folds.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from backtests.errors import WindowError
from backtests.evidence.sensitivity import SENSITIVITY_FILE
from backtests.intraday.feed import known_hours
from backtests.walk.combinatorial import Split, inner_folds
from backtests.walk.fold_tasks import Selection, best_index
from backtests.walk.folds import Fold, check_stitchable, make_folds
from backtests.walk.intraday_assembly import assemble_intraday, choices_file
from backtests.walk.intraday_outcomes import read_result
from backtests.walk.intraday_paths import intraday_path_files
from backtests.walk.intraday_plan import FillCase, IntradayPlan, IntradayPodPlan, describe_fills, describe_member
from backtests.walk.intraday_poisson import PATHS, poisson_record, poisson_session, read_poisson
from backtests.walk.intraday_rules import rule_record
from backtests.walk.intraday_sessions import SessionList, combined_hash, find_sessions, session_hash
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
    read_profit,
    read_scores,
    score_rule,
    trade_session,
)
from backtests.walk.plan import parameters_json
from backtests.walk.provenance import ROOMS, code_hash, library_versions
from backtests.walk.register import REGISTER_FOLDER, Register, Trial, TrialWindow, unregistered_runs
from backtests.walk.result_files import write_run
from backtests.walk.sensitivity import Variant
from backtests.walk.sensitivity_intraday import (
    SIZED,
    VariantName,
    VariantTradeTask,
    changed,
    intraday_study,
    trade_variant,
    variant_key,
    variants_of,
)
from backtests.walk.stages import Stages, require_all
from backtests.walk.training import Training, number_trainings, rows_of
from backtests.walk.walkforward import LEDGER_FOLDER, MIN_TEST_SESSIONS
from data_pipeline.disk import plain_json, sha256_hex
from data_pipeline.tasks.executor import LocalProcesses, Workforce
from data_pipeline.tasks.ledger import Ledger, task_key
from data_pipeline.tasks.report import Progress, ignore_progress
from data_pipeline.tasks.worker import Task
from strategies.intraday.pod import IntradayPod
from strategies.intraday.rule import Instrument

RuleName = tuple[str, int, str, int, int]
"""Pod, training window (folds first, then splits), symbol, place in the grid, and the inner fold that its training is
without (`WHOLE`: none)."""
WHOLE = -1


def run_intraday_walkforward(
    plan: IntradayPlan, output: Path, *, executor: Workforce | None = None, progress: Progress = ignore_progress
) -> Path:
    """Run the plan on its store; the folder of the finished run (docs/contracts.md, "Result on disk").

    Parameters
    ----------
    plan : IntradayPlan
    output : Path
        The run folder is made in it; so is the ledger, which later runs share.
    executor : Workforce, optional
        Who does the tasks; one process of this machine by default. The result has the same bytes whoever does them.
    progress : Progress
        Called after each task.

    Raises
    ------
    WindowError
        When the folds do not fit the sessions of the store.
    DataError
        When the store cannot be read.
    WalkForwardError
        When tasks failed. Everything that does not need them was finished first and is kept.
    RunInterruptedError
        On Ctrl-C.
    LedgerInUseError
        When another run writes into the same folder.
    """
    from data_pipeline.store import Store

    store = Store.open(plan.store)
    listed = find_sessions(store, plan)
    sessions, left_out = listed.whole, tuple[str, ...]()
    if "trades" in listed.kinds.values():
        plan, left_out = plan.of_trades_alone()
    folds = make_folds(len(sessions), plan.folds)
    check_stitchable(folds)
    tested = sum(len(fold.test) for fold in folds)
    if tested < MIN_TEST_SESSIONS:
        raise WindowError(
            f"the test windows must hold at least {MIN_TEST_SESSIONS} sessions together, or there is nothing to judge; "
            f"held {tested} of the {len(sessions)} sessions of the data: shorten the training window or add data"
        )
    splits = plan.splits(len(sessions))
    _check_choices(plan, len(sessions), [*folds, *splits])
    names = {
        (item.symbol, session): SessionName(
            item, session, session_hash(store, plan.venue, session, item.symbol), listed.kinds[item.symbol]
        )
        for item in plan.instruments
        for session in sessions[: folds[-1].test.stop]
    }
    folder = (Path(output) / LEDGER_FOLDER).absolute()
    ledger = Ledger(folder)
    with ledger.exclusive():
        ledger.sweep()
        market = Market(_place(plan.store), folder, plan.venue, plan.day)
        made_with = {"code": code_hash(ROOMS), "libraries": library_versions()}
        job = _Job(plan, sessions, folds, splits, number_trainings(folds, splits), market, names, made_with)
        provenance = job.provenance(Path(output))
        with (executor or LocalProcesses(1)).over(ledger, progress) as workers:
            stages = Stages(workers, ledger, job.total())
            measured = stages.run(job.measures())
            fitted = stages.run(job.fits(measured))
            nested = stages.run(job.inner_fits(measured))
            scored = stages.run(job.scores(fitted | nested, ledger))
            chosen = job.choices(fitted, scored, ledger)
            choices = {name: choice for name, choice in chosen.items() if name[1] < len(folds)}
            traded = stages.run(job.trades(fitted, choices, ledger))
            variants = job.variants(fitted, choices, ledger)
            stages.total += len(variants)
            varied = stages.run(variants)
            expected = stages.run(job.expectations(fitted, choices))
            wanted, paths = job.profits(fitted, chosen, ledger)
            stages.total += len(paths)
            stages.run(paths)
        require_all(stages.failed, ledger)
        outcomes = {
            pod.name: [read_result(ledger.read(task.key)) for name, task in traded.items() if name[0] == pod.name]
            for pod in plan.pods
        }
        lengths = {fold.index: len(fold.test) for fold in folds}
        poisson = {
            pod.name: poisson_record(
                (read_poisson(ledger.read(task.key)), lengths[name[1]])
                for name, task in expected.items()
                if name[0] == pod.name
            )
            for pod in plan.pods
        }
        payloads = {
            (pod, fold, symbol): ledger.read(fitted[pod, fold, symbol, choice.chosen, WHOLE].key)
            for (pod, fold), choice in chosen.items()
            for symbol in (item.symbol for item in plan.instruments)
        }
        rules = {name: rule_record(payload) for name, payload in payloads.items()}
        quality = _quality(plan, listed, left_out)
        run = assemble_intraday(plan, sessions, folds, provenance, choices, rules, outcomes, poisson, quality)
        files = {
            f"rules/{sha256_hex(payload)}.npz": payload for name, payload in payloads.items() if name[1] < len(folds)
        }
        files["evidence/choices.json"] = choices_file(plan, len(folds), chosen, rules)
        profits = {name: sum(read_profit(ledger.read(key)) for key in keys) for name, keys in wanted.items()}
        files |= intraday_path_files(plan, sessions, splits, profits)
        tables = {result.pod: result.tables for result in run.results}
        found = {name: ledger.read(task.key) for name, task in varied.items()}
        study = intraday_study(plan, sessions, folds, tables, found)
        if study is not None:
            files[SENSITIVITY_FILE] = study
        return write_run(Path(output), run, files=files)


def _check_choices(plan: IntradayPlan, n_sessions: int, windows: Sequence[Training]) -> None:
    """Refuse inner folds that do not fit a training window, before anything is computed."""
    if plan.selection == "nested" and any(len(pod.grid) > 1 for pod in plan.pods):
        for window in windows:
            _inner_folds(plan, n_sessions, window)


def _inner_folds(plan: IntradayPlan, n_sessions: int, window: Training) -> tuple[Split, ...]:
    """The inner folds of a nested choice in a fold's or a split's training window."""
    rule = plan.choice_rule(n_sessions, of_split=isinstance(window, Split))
    return inner_folds(window.ranges, rule.folds, np.arange(n_sessions) + rule.purge, rule.embargo)


def _place(store: Path | str) -> str:
    """The store's place as a worker finds it from another folder."""
    text = str(store)
    return text if "://" in text else str(Path(text).absolute())


def _quality(plan: IntradayPlan, listed: SessionList, cases: Sequence[str]) -> dict[str, Any]:
    """The light of the data: amber where something was left out, or had to be told by trades alone."""
    reasons = []
    if listed.partial:
        count = f"{len(listed.partial)} session{'s' * (len(listed.partial) > 1)}"
        reasons.append(f"{count} left out: not every instrument of {plan.venue} has its kind of market data in them")
    alone = sorted(symbol for symbol, kind in listed.kinds.items() if kind == "trades")
    if alone:
        words = f"; left out without a book: {', '.join(cases)}" if cases else ""
        reasons.append(
            f"of {', '.join(alone)} there are trades alone: quotes are the last prices bought and sold at, positions "
            f"are closed against those, and what is more than traded there is marked at the last trade{words}"
        )
    unsigned = sorted(symbol for symbol, kind in listed.kinds.items() if kind != "events")
    if unsigned:
        reasons.append(f"aggressors that the feed of {', '.join(unsigned)} does not name are those of the tick rule")
    unknown = [
        session
        for session in listed.whole
        if any(known_hours(plan.venue, item.symbol, session) is None for item in plan.instruments)
    ]
    if unknown:
        reasons.append(
            f"hours of {plan.venue} are not known in {len(unknown)} session{'s' * (len(unknown) > 1)}, {unknown[0]} "
            "the first: taken as continuous trading but for halts"
        )
    return {
        "light": "amber" if reasons else "green",
        "reasons": reasons,
        "sessions": len(listed.whole),
        "left_out": list(listed.partial),
        "feeds": dict(listed.kinds),
        "cases_left_out": list(cases),
    }


@dataclass(frozen=True, slots=True)
class _Job:
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
        return _inner_folds(self.plan, len(self.sessions), self.trainings[key][1])

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
