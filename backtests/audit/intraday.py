"""The audit of an intraday walk-forward.

    at the end of training windows   measures and rules of every parameter set and their scores in training, on stores
                                     whose later sessions are gone, or unreadable; fills at the calibrated rates
    in a test session                requests, fills and samples up to an instant, beside other events after it: every
                                     parameter set under every assumption about fills

The tasks are those of the walk-forward itself.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from backtests.audit.accounts import spread
from backtests.audit.decisions import Difference
from backtests.audit.events import EVENT_VARIANTS, Feed, compare_events, run_once, told
from backtests.audit.findings import Audit, Check, Progress
from backtests.errors import BacktestError
from backtests.intraday.trade_feed import with_trade_quotes
from backtests.walk.folds import Fold, check_stitchable, make_folds
from backtests.walk.intraday_plan import MAIN, FillCase, IntradayPlan, IntradayPodPlan, describe_intraday
from backtests.walk.intraday_poisson import poisson_session
from backtests.walk.intraday_rules import read_rule, rule_record
from backtests.walk.intraday_sessions import (
    READ_TABLES,
    FeedKind,
    SessionData,
    combined_hash,
    find_sessions,
    read_session,
    session_hash,
)
from backtests.walk.intraday_tasks import (
    FitTask,
    Market,
    MeasureTask,
    ScoreTask,
    SessionName,
    fit_rule,
    measure_training_session,
    score_rule,
    session_seed,
)
from backtests.walk.provenance import ROOMS, code_hash
from data_pipeline.disk import canonical_json, sha256_hex
from data_pipeline.store import Store
from data_pipeline.tasks.ledger import Ledger, task_key
from strategies.intraday.rule import Instrument, Rule

STORE_VARIANTS: Final = ("truncate", "scramble")

Job = tuple[str, Callable[[], Sequence[Check]]]
RuleName = tuple[str, int, str, str, int]
"""Store, fold, symbol, pod and place in its grid."""


def audit_intraday(
    plan: IntradayPlan,
    *,
    cuts: int = 3,
    seed: int = 0,
    progress: Progress = lambda done, total, words: None,
) -> Audit:
    """Every check of every pod of the plan, in `cuts` folds and at `cuts` instants of a test session of each.

    Fills are audited with every parameter set of each pod under the main assumptions and all bounds.

    Raises
    ------
    ValueError
        When `cuts` is below 1.
    BacktestError
        When the store is not a folder of this machine.
    WindowError
        When the folds do not fit the sessions of the store.
    """
    if cuts < 1:
        raise ValueError(f"cuts must be at least 1; was {cuts}")
    if "://" in str(plan.store):
        raise BacktestError(f"{plan.store}: the audit needs a store in a folder of this machine: copy it there")
    store = Store.open(plan.store)
    listed = find_sessions(store, plan)
    if "trades" in listed.kinds.values():
        plan, _ = plan.of_trades_alone()
    sessions = listed.whole
    folds = make_folds(len(sessions), plan.folds)
    check_stitchable(folds)
    names = {
        (item.symbol, session): SessionName(
            item, session, session_hash(store, plan.venue, session, item.symbol), listed.kinds[item.symbol]
        )
        for item in plan.instruments
        for session in sessions[: folds[-1].test.stop]
    }
    with tempfile.TemporaryDirectory(prefix="fairfield-audit-") as folder:
        work = _Work(plan, sessions, names, Path(folder), cuts, seed)
        chosen = spread(folds, cuts)
        checks: list[Check] = []
        # fills at the rates cost half a second a pod: of the last fold alone
        jobs = [job for fold in chosen for job in work.jobs(fold, poisson=fold is chosen[-1])]
        for done, (words, job) in enumerate(jobs, start=1):
            checks += job()
            progress(done, len(jobs), words)
    audited = {
        "data_hash": combined_hash(sorted(name.digest for name in names.values())),
        "code_hash": code_hash(ROOMS),
        "plan_hash": sha256_hex(canonical_json(describe_intraday(plan))),
        "cuts": cuts,
        "seed": seed,
    }
    return Audit("intraday", plan.name, tuple(checks), audited)


@dataclass(frozen=True, slots=True)
class _Work:
    plan: IntradayPlan
    sessions: tuple[str, ...]
    names: dict[tuple[str, str], SessionName]
    folder: Path
    cuts: int
    seed: int
    rules: dict[RuleName, tuple[FitTask, bytes]] = field(default_factory=dict)

    def jobs(self, fold: Fold, *, poisson: bool) -> Iterator[Job]:
        """The checks of a fold with their name, a pod's or a parameter set's together."""
        for item in self.plan.instruments:
            for variant in STORE_VARIANTS:
                for pod in self.plan.pods:
                    yield (
                        f"fold {fold.index}: rule of {pod.name}",
                        lambda pod=pod, item=item, variant=variant: [  # type: ignore[misc]
                            self._rule(fold, pod, item, variant, poisson=poisson and variant == "scramble")
                        ],
                    )
            for pod in self.plan.pods:
                for place in range(len(pod.grid)):
                    yield (
                        f"fold {fold.index}: fills of {pod.name}",
                        lambda pod=pod, item=item, place=place: self._fills(fold, pod, item, place),  # type: ignore[misc]
                    )

    def _rule(self, fold: Fold, pod: IntradayPodPlan, item: Instrument, variant: str, *, poisson: bool) -> Check:
        """Rules and scores of every set when the sessions after the training window are gone or cannot be read."""
        cut = self.sessions[fold.train[-1]]
        before = self._trained(Path(self.plan.store).absolute(), fold, pod, item, poisson=poisson)
        try:
            after = self._trained(self._other_store(cut, variant), fold, pod, item, poisson=poisson)
        except Exception as error:  # noqa: BLE001  whatever is raised for want of a later session is a finding
            found = Difference(cut, item.symbol, "a rule", f"{type(error).__name__}: {error}")
            fields = tuple(name for name in READ_TABLES if f"{name}/" in str(error) or f"{name}\\" in str(error))
            return Check(pod.name, "rule", variant, cut, "changed", found, fields or ("later sessions",))
        for what, old in before.items():
            if old != after[what]:
                words = (f"{what} {sha256_hex(part)[:12]}" for part in (old, after[what]))
                found = Difference(cut, item.symbol, *words)
                return Check(pod.name, "rule", variant, cut, "changed", found, ("later sessions",))
        return Check(pod.name, "rule", variant, cut, "same")

    def _trained(
        self, store: Path, fold: Fold, pod: IntradayPodPlan, item: Instrument, *, poisson: bool
    ) -> dict[str, bytes]:
        """What training makes of a store: rule and scores of each set; of the first also fills at the rates."""
        found = {}
        for place in range(len(pod.grid)):
            task, payload = self._fitted(store, fold, pod, item, place)
            found[f"rule of set {place + 1}"] = payload
            if len(pod.grid) > 1:
                key = self._keep(task.market, {"rule": sha256_hex(payload)}, payload)
                names = tuple(self.names[item.symbol, session] for session in task.sessions)
                fills = self._cases(payload)[0].settings
                scored = score_rule(ScoreTask(task.market, key, names, fills, self.plan.seed))
                found[f"scores of set {place + 1}"] = scored
            if poisson and place == 0:
                found["fills of set 1 at the calibrated rates"] = poisson_session(task)
        return found

    def _fitted(
        self, store: Path, fold: Fold, pod: IntradayPodPlan, item: Instrument, place: int
    ) -> tuple[FitTask, bytes]:
        """The rule of a parameter set, from the measures that a store gives of the training sessions."""
        name = str(store), fold.index, item.symbol, pod.name, place
        if name not in self.rules:
            plan, fees = self.plan, self.plan.fills.fees
            market = Market(str(store), self.folder / f"ledger-{store.name}", plan.venue, plan.day)
            names = [self.names[item.symbol, self.sessions[row]] for row in fold.train]
            task = FitTask(
                market, pod.grid[place], item, tuple(part.session for part in names),
                tuple(self._measured(market, part) for part in names), plan.calibration, plan.order_lots,
                plan.fills.limits.max_position, fees.maker, fees.maker_per_lot,
            )  # fmt: skip
            self.rules[name] = task, fit_rule(task)
        return self.rules[name]

    def _measured(self, market: Market, name: SessionName) -> str:
        """Key of a session's measure in the store's ledger, where it is made once for all folds and pods."""
        described = {"measure": name.session, "instrument": name.instrument.symbol}
        key = task_key(described)
        if not Ledger(market.ledger).contains(key):
            self._keep(market, described, measure_training_session(MeasureTask(market, name, self.plan.calibration)))
        return key

    def _keep(self, market: Market, described: dict[str, str], payload: bytes) -> str:
        key = task_key(described)
        Ledger(market.ledger).write(key, described, payload)
        return key

    def _cases(self, payload: bytes) -> tuple[FillCase, ...]:
        """The assumptions about fills as the run has them, with the queues that the training of a rule guesses."""
        guess = rule_record(payload)["about"]["calibration"]
        return tuple(case.with_guess(guess["queue_low"], guess["queue_high"]) for case in self.plan.cases)

    def _fills(self, fold: Fold, pod: IntradayPodPlan, item: Instrument, place: int) -> list[Check]:
        """One parameter set under every assumption about fills, beside other events after an order."""
        _, payload = self._fitted(Path(self.plan.store).absolute(), fold, pod, item, place)
        rule, checks = read_rule(payload), []
        for case in self._cases(payload):
            of = f"set {place + 1}, {case.name}" if len(pod.grid) > 1 else case.name
            checks += [replace(check, of=of) for check in self._case(fold, pod.name, item, rule, case)]
        return checks

    def _case(self, fold: Fold, pod: str, item: Instrument, rule: Rule, case: FillCase) -> Iterator[Check]:
        """In the first test session of the fold in which the rule sends an order."""
        plan = self.plan
        for session in (self.sessions[row] for row in fold.test):
            name = self.names[item.symbol, session]
            place = str(Path(plan.store).absolute())
            data = read_session(place, plan.venue, item.symbol, session, plan.day, name.kind, name.digest)
            feed, span, valued = _fed(name.kind, data), data.span, data.valued
            settings = replace(case.settings, seed=session_seed(plan.seed, case.settings.seed, item.symbol, session))
            outcome, sent = run_once(lambda _: rule, valued, item, span, settings, feed)
            if sent:
                break
        else:
            why = "the rule sends no order with events behind it in the test sessions"
            yield Check(pod, "fills", "scramble", self.sessions[fold.test[0]], "untested", why=why)
            return
        instants = spread(sent, self.cuts)
        if case.name != MAIN:  # the rule is the same, the queue is not: one of the places, another in each fold
            instants = [instants[fold.index % len(instants)]]
        for variant in EVENT_VARIANTS:
            for instant in instants:
                found, fields = compare_events(
                    lambda _: rule, valued, item, span, settings, instant, variant,
                    outcome=outcome, seed=self.seed, feed=feed,
                )  # fmt: skip
                yield Check(pod, "fills", variant, told(instant), "changed" if found else "same", found, fields)

    def _other_store(self, cut: str, variant: str) -> Path:
        """The store with the sessions after `cut` gone from its manifest, or unreadable."""
        place = self.folder / f"store-{variant}-{cut}"
        if place.exists():
            return place
        source = Path(self.plan.store).absolute()
        manifest = Store.open(source).manifest
        later = [part for part in manifest.tables if part.table in READ_TABLES and part.period > cut]
        hidden = {piece.path for partition in later for piece in partition.parts}
        for partition in manifest.tables:
            for piece in partition.parts:
                target = place / piece.path
                target.parent.mkdir(parents=True, exist_ok=True)
                if piece.path not in hidden:
                    target.symlink_to(source / piece.path)
                elif variant == "scramble":
                    target.write_bytes(b"no Parquet file")
        kept = (
            manifest
            if variant == "scramble"
            else replace(manifest, tables=tuple(part for part in manifest.tables if part not in later))
        )
        (place / "manifest.json").write_bytes(kept.to_bytes())
        return place


def _fed(kind: FeedKind, data: SessionData) -> Feed:
    """What the engine takes out of a session's events: of trades alone, quotes are made of them as in the run."""
    if kind == "trades":
        return lambda events: with_trade_quotes(events, data.span.liquidate)
    return lambda events: events
