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

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from backtests.errors import WindowError
from backtests.evidence.sensitivity import SENSITIVITY_FILE
from backtests.intraday.feed import known_hours
from backtests.walk.folds import check_stitchable, make_folds
from backtests.walk.intraday_assembly import assemble_intraday, choices_file
from backtests.walk.intraday_job import WHOLE, Job, inner_folds_of
from backtests.walk.intraday_outcomes import read_result
from backtests.walk.intraday_paths import intraday_path_files
from backtests.walk.intraday_plan import IntradayPlan
from backtests.walk.intraday_poisson import poisson_record, read_poisson
from backtests.walk.intraday_rules import rule_record
from backtests.walk.intraday_sessions import SessionList, find_sessions, session_hash
from backtests.walk.intraday_tasks import (
    Market,
    SessionName,
    read_profit,
)
from backtests.walk.provenance import ROOMS, code_hash, library_versions
from backtests.walk.result_files import write_run
from backtests.walk.sensitivity_intraday import (
    intraday_study,
)
from backtests.walk.stages import Stages, require_all
from backtests.walk.training import Training, number_trainings
from backtests.walk.walkforward import LEDGER_FOLDER, MIN_TEST_SESSIONS
from data_pipeline.disk import sha256_hex
from data_pipeline.tasks.executor import LocalProcesses, Workforce
from data_pipeline.tasks.ledger import Ledger
from data_pipeline.tasks.report import Progress, ignore_progress


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
        job = Job(plan, sessions, folds, splits, number_trainings(folds, splits), market, names, made_with)
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
            inner_folds_of(plan, n_sessions, window)


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
