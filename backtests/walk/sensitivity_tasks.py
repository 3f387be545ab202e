"""Daily accounts under changed execution: the work, as a function of a picklable argument, and the tasks of a run."""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from backtests.daily.accounting import TradingRules, event_grid
from backtests.daily.decisions import per_instrument
from backtests.walk.fold_tasks import AccountTask, account_segments
from backtests.walk.plan import PodPlan, WalkForwardPlan
from backtests.walk.run_kinds import DAILY
from backtests.walk.sensitivity import Value, Variant, varied
from backtests.walk.sensitivity_record import VariedAccount, sensitivity_file
from data_pipeline.disk import npz_bytes, read_npz
from strategies.pod import Decider, Targets

if TYPE_CHECKING:
    from backtests.daily.simulator import Segment
    from backtests.walk.result import Table
    from data_pipeline.daily.panel import DailyPanel
    from data_pipeline.daily.view import MarketView

_KEPT = ("return", "risk_free", "net_asset_value", *DAILY.costs)


@dataclass(frozen=True, slots=True)
class VariantTask:
    """Argument of `run_variant`: the run's account, and what is changed in it."""

    account: AccountTask
    variant: Variant


@dataclass(slots=True)
class DelayLine:
    """Decisions of one account that wait, each with the row it was made at; goes on from fold to fold."""

    panel: DailyPanel
    sessions: int
    waiting: deque[tuple[int, Targets | None]] = field(default_factory=deque)

    def exchange(self, row: int, decision: Targets | None) -> Targets | None:
        """Take in the decision of this close and give out the one that is due: made `sessions` closes ago."""
        self.waiting.append((row, decision))
        if len(self.waiting) <= self.sessions:
            return None
        made, due = self.waiting.popleft()
        if due is None or due.orders is None or made == row:
            return due
        # Shares that were ordered before a split are restated for it, as a broker would.
        orders = per_instrument(due.orders, self.panel.instruments, "orders", f"decision of row {made}")
        growth = event_grid(self.panel, made + 1, row).share_factor.prod(axis=0)
        return dataclasses.replace(due, orders=orders * growth)


@dataclass(frozen=True, slots=True)
class Delayed:
    """A decider whose decisions are carried out some closes later.

    It decides at every close on what is public then. What it decided `line.sessions` closes ago is handed over:
    weights become shares at the marks and the value of the later close, and limits act at every close as ever.
    """

    decider: Decider
    line: DelayLine

    def decide(self, view: MarketView) -> Targets | None:
        """The decision that is due."""
        row = int(np.searchsorted(self.line.panel.sessions, view.session))
        return self.line.exchange(row, self.decider.decide(view))


def run_variant(task: VariantTask) -> bytes:
    """The pod's account of the run under one changed assumption; its columns that statistics need."""
    from backtests.daily.simulator import simulate

    plan, pod = task.account.plan, task.account.pod
    panel, segments = account_segments(task.account)
    name, value = task.variant
    account = simulate(
        panel,
        _changed_segments(panel, segments, name, value),
        rules=_changed_rules(plan.rules, name, value),
        capital=float(value) if name == "capital" else plan.capital,
        limits=pod.limits,
        pod=pod.name,
        var_window=plan.var_window,
    )
    table = account.tables()["account"]
    return npz_bytes({column: table[column] for column in _KEPT})


def _changed_rules(rules: TradingRules, name: str, value: Any) -> TradingRules:
    return dataclasses.replace(rules, **{name: value}) if name in ("fill_price", "participation_limit") else rules


def _changed_segments(panel: DailyPanel, segments: Sequence[Segment], name: str, value: Value) -> Sequence[Segment]:
    if name == "fee_factor":
        return [
            dataclasses.replace(segment, costs=dataclasses.replace(segment.costs, fee=float(value) * segment.costs.fee))
            for segment in segments
        ]
    if name == "delay_sessions":
        line = DelayLine(panel, int(value))
        return [dataclasses.replace(segment, decider=Delayed(segment.decider, line)) for segment in segments]
    return segments


def base_values(plan: WalkForwardPlan) -> dict[str, Value]:
    """The run's own values of what a study varies."""
    return {
        "capital": plan.capital,
        "fee_factor": 1.0,
        "delay_sessions": 0,
        "fill_price": plan.rules.fill_price,
        "participation_limit": plan.rules.participation_limit,
    }


def variants_of(plan: WalkForwardPlan) -> tuple[Variant, ...]:
    """Every value whose account is not the run's own, as tasks are made of them."""
    return () if plan.sensitivity is None else tuple(plan.sensitivity.variants(base_values(plan)))


def daily_study(
    plan: WalkForwardPlan, accounts: Mapping[str, Table], found: Mapping[tuple[str, Variant], bytes]
) -> bytes | None:
    """`sensitivity.json` of a daily run from its accounts and those of `run_variant`; None where nothing is varied."""
    if plan.sensitivity is None or not varied(plan.sensitivity):
        return None
    base = {pod.name: _varied(plan.capital, plan.capital, accounts[pod.name]) for pod in plan.pods}
    own = base_values(plan)
    studies = {
        name: {pod.name: _pod_accounts(plan, pod, name, own[name], accounts[pod.name], found) for pod in plan.pods}
        for name in varied(plan.sensitivity)
    }
    return sensitivity_file(
        studies,
        base,
        periods_per_year=plan.sessions_per_year,
        draws=plan.bootstrap_draws,
        seed=plan.seed,
        notes=("Profit is what the capital earns a year over cash, from the mean of the sessions.",),
    )


def _pod_accounts(
    plan: WalkForwardPlan,
    pod: PodPlan,
    name: str,
    own: Value,
    account: Table,
    found: Mapping[tuple[str, Variant], bytes],
) -> list[VariedAccount]:
    """The pod under the run's own value and every other, by value."""
    tables: dict[Value, Mapping[str, NDArray[Any]]] = {own: account}
    for (other, (dimension, value)), payload in found.items():
        if other == pod.name and dimension == name:
            tables[value] = read_npz(payload)
    return [
        _varied(value, float(value) if name == "capital" else plan.capital, table)
        for value, table in sorted(tables.items())  # type: ignore[type-var]
    ]


def _varied(value: Value, capital: float, table: Mapping[str, NDArray[Any]]) -> VariedAccount:
    """An account without its first session, which only opens it."""
    returns, cash = table["return"][1:], table["risk_free"][1:]
    costs = sum(table[name][1:] for name in DAILY.costs)
    return VariedAccount(
        value, returns, cash, np.asarray(costs), table["net_asset_value"][1:], capital * (returns - cash)
    )
