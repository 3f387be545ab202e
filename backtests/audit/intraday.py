"""The audit of an intraday walk-forward.

    at the end of training windows   measures and rules of every parameter set and their scores in training, on stores
                                     whose later sessions are gone, or unreadable
    in the first test session        requests, fills and samples up to an instant, beside other events after it

The tasks are those of the walk-forward itself.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from backtests.audit.accounts import spread
from backtests.audit.decisions import Difference
from backtests.audit.events import EVENT_VARIANTS, EventVariant, Feed, compare_events, run_once, told
from backtests.audit.findings import Audit, Check, Progress
from backtests.errors import BacktestError
from backtests.intraday.outcome import SessionOutcome
from backtests.intraday.trade_feed import with_trade_quotes
from backtests.walk.folds import Fold, check_stitchable, make_folds
from backtests.walk.intraday_plan import IntradayPlan, IntradayPodPlan, describe_intraday
from backtests.walk.intraday_rules import read_rule
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

Job = tuple[str, Callable[[], Check]]


def audit_intraday(
    plan: IntradayPlan,
    *,
    cuts: int = 3,
    seed: int = 0,
    progress: Progress = lambda done, total, words: None,
) -> Audit:
    """Every check of every pod of the plan, in `cuts` folds and at `cuts` instants of a test session of each.

    Fills are audited with the first parameter set of each pod under the main assumptions.

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
        checks = []
        jobs = [job for fold in spread(folds, cuts) for job in work.jobs(fold)]
        for done, (words, job) in enumerate(jobs, start=1):
            checks.append(job())
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
class _Training:
    """A fold fitted and scored for one instrument: rules and scores by pod and place in the grid, as bytes."""

    rules: dict[tuple[str, int], bytes]
    scores: dict[tuple[str, int], bytes]


@dataclass(slots=True)
class _Work:
    plan: IntradayPlan
    sessions: tuple[str, ...]
    names: dict[tuple[str, str], SessionName]
    folder: Path
    cuts: int
    seed: int
    trained: dict[tuple[int, str], _Training] = field(default_factory=dict)
    traded: tuple[tuple[str, str, str], Rule, tuple[SessionOutcome, list[int]]] | None = None
    copies: int = 0

    def jobs(self, fold: Fold) -> Iterator[Job]:
        """Every check of a fold with its name."""
        for item in self.plan.instruments:
            for variant in STORE_VARIANTS:
                for pod in self.plan.pods:
                    yield (
                        f"fold {fold.index}: rule of {pod.name}",
                        lambda pod=pod, item=item, variant=variant: self._rule(fold, pod, item, variant),  # type: ignore[misc]
                    )
            for pod in self.plan.pods:
                for variant in EVENT_VARIANTS:
                    for part in range(self.cuts):
                        yield (
                            f"fold {fold.index}: fills of {pod.name}",
                            lambda pod=pod, item=item, variant=variant, part=part: self._fills(  # type: ignore[misc]
                                fold, pod, item, variant, part
                            ),
                        )

    def _rule(self, fold: Fold, pod: IntradayPodPlan, item: Instrument, variant: str) -> Check:
        """Rules and scores when the sessions after the training window are gone or cannot be read."""
        before, cut = self._base(fold, item), self.sessions[fold.train[-1]]
        try:
            after = self._train(fold, item, self._other_store(cut, variant), (pod,))
        except Exception as error:  # noqa: BLE001  whatever is raised for want of a later session is a finding
            found = Difference(cut, item.symbol, "a rule", f"{type(error).__name__}: {error}")
            fields = tuple(name for name in READ_TABLES if f"{name}/" in str(error) or f"{name}\\" in str(error))
            return Check(pod.name, "rule", variant, cut, "changed", found, fields or ("later sessions",))
        for place in range(len(pod.grid)):
            name = pod.name, place
            for what, old, new in (
                ("rule", before.rules[name], after.rules[name]),
                ("scores", before.scores.get(name, b""), after.scores.get(name, b"")),
            ):
                if old != new:
                    words = (f"{what} of set {place + 1} {sha256_hex(part)[:12]}" for part in (old, new))
                    found = Difference(cut, item.symbol, *words)
                    return Check(pod.name, "rule", variant, cut, "changed", found, ("later sessions",))
        return Check(pod.name, "rule", variant, cut, "same")

    def _fills(self, fold: Fold, pod: IntradayPodPlan, item: Instrument, variant: EventVariant, part: int) -> Check:
        plan, session = self.plan, self.sessions[fold.test[0]]
        settings = replace(plan.fills, seed=session_seed(plan.seed, plan.fills.seed, item.symbol, session))
        name = self.names[item.symbol, session]
        place = str(Path(plan.store).absolute())
        data = read_session(place, plan.venue, item.symbol, session, plan.day, name.kind, name.digest)
        feed = _fed(name.kind, data)
        if self.traded is None or self.traded[0] != (pod.name, item.symbol, session):
            rule = read_rule(self._base(fold, item).rules[pod.name, 0])
            once = run_once(lambda _: rule, data.valued, item, data.span, settings, feed)
            self.traded = (pod.name, item.symbol, session), rule, once
        _, rule, (outcome, sent) = self.traded

        def made(_: object) -> Rule:
            return rule

        instants = spread(sent, self.cuts)
        if not instants:
            why = "the rule sends no order with events behind it"
            return Check(pod.name, "fills", variant, session, "untested", why=why)
        instant = instants[min(part, len(instants) - 1)]
        found, fields = compare_events(
            made,
            data.valued,
            item,
            data.span,
            settings,
            instant,
            variant,
            outcome=outcome,
            seed=self.seed,
            feed=feed,
        )
        if found is None:
            return Check(pod.name, "fills", variant, told(instant), "same")
        return Check(pod.name, "fills", variant, told(instant), "changed", found, fields)

    def _base(self, fold: Fold, item: Instrument) -> _Training:
        key = fold.index, item.symbol
        if key not in self.trained:
            self.trained[key] = self._train(fold, item, Path(self.plan.store).absolute(), self.plan.pods)
        return self.trained[key]

    def _train(self, fold: Fold, item: Instrument, store: Path, pods: tuple[IntradayPodPlan, ...]) -> _Training:
        """Measures, rules and scores of a fold from a store, in a ledger of its own."""
        plan = self.plan
        self.copies += 1
        ledger = Ledger(self.folder / f"ledger-{self.copies}")
        market = Market(str(store), ledger.folder, plan.venue, plan.day)
        names = tuple(self.names[item.symbol, self.sessions[row]] for row in fold.train)

        def keep(description: dict[str, object], payload: bytes) -> str:
            key = task_key(description)
            ledger.write(key, description, payload)
            return key

        measures = tuple(
            keep({"measure": name.session}, measure_training_session(MeasureTask(market, name, plan.calibration)))
            for name in names
        )
        found = _Training({}, {})
        fees, most = plan.fills.fees, plan.fills.limits.max_position
        for pod in pods:
            for place, member in enumerate(pod.grid):
                fit = FitTask(
                    market, member, item, tuple(name.session for name in names), measures, plan.calibration,
                    plan.order_lots, most, fees.maker, fees.maker_per_lot,
                )  # fmt: skip
                found.rules[pod.name, place] = fit_rule(fit)
                if len(pod.grid) > 1:
                    key = keep({"rule": pod.name, "place": place}, found.rules[pod.name, place])
                    score = ScoreTask(market, key, names, plan.fills, plan.seed)
                    found.scores[pod.name, place] = score_rule(score)
        return found

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
