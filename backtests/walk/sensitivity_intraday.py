"""Event runs under changed execution: the work, as a function of a picklable argument, and what a run makes of it."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from backtests.intraday.settings import Fees, FillSettings, Latency, OwnLimits
from backtests.walk.folds import Fold
from backtests.walk.intraday_assembly import account_table
from backtests.walk.intraday_plan import MAIN, IntradayPlan, describe_fills
from backtests.walk.intraday_rules import read_rule
from backtests.walk.intraday_sessions import read_session
from backtests.walk.intraday_tasks import Market, SessionName, run_session
from backtests.walk.result import Table
from backtests.walk.sensitivity import Value, Variant, varied
from backtests.walk.sensitivity_record import VariedAccount, sensitivity_file
from data_pipeline.disk import canonical_json
from data_pipeline.tasks.ledger import Ledger
from strategies.intraday.rule import Instrument, Rule

VariantName = tuple[str, int, str, str, Variant]
"""Pod, fold, symbol, session and variant."""

SIZED: Final = "strategies.intraday.quoting_kernels:quoting_rule"
"""The rule whose order size is one of its numbers (`rule_record`'s function): quotes by orders held."""

_SUMS = ("profit", "crossed", "liquidated", "fees")


@dataclass(frozen=True, slots=True, eq=False)
class VariantTradeTask:
    """Argument of `trade_variant`: one rule on one test session under one set of assumptions.

    `order_lots` is None where the rule's own order size stays.
    """

    market: Market
    rule: str
    name: SessionName
    settings: FillSettings
    order_lots: int | None
    seed: int


def trade_variant(task: VariantTradeTask) -> bytes:
    """Money and lots of the session, and the lots that traded in it."""
    from backtests.intraday.quote_path import quote_path
    from backtests.intraday.session_account import session_account

    market, name = task.market, task.name
    rule = read_rule(Ledger(market.ledger).read(task.rule))
    if task.order_lots is not None:
        rule = resized(rule, task.order_lots, task.settings.limits.max_position)
    symbol = name.instrument.symbol
    data = read_session(market.store, market.venue, symbol, name.session, market.day, name.kind, name.digest)
    outcome = run_session(market, rule, name, task.settings, task.seed, 0)
    path = quote_path(data.valued, name.instrument, until=data.span.stop)
    account = session_account(outcome, path, data.span, task.settings)
    money = account.split.money()
    return canonical_json(
        {
            **{part: float(money[part]) for part in _SUMS},
            "traded_value": account.orders.turnover,
            "lots": sum(account.orders.fill_lots.values()),
            "traded_lots": traded_lots(data.valued, name.instrument, data.span.start, data.span.stop),
        }
    )


def resized(rule: Rule, order_lots: int, max_position: int) -> Rule:
    """The same quotes for orders of another size: what is held counts in orders, as before.

    Raises
    ------
    ValueError
        When the rule is not the shared quoting rule.
    """
    from strategies.intraday import quoting_kernels as places

    if rule.function is not places.quoting_rule:
        raise ValueError(f"rule must be the shared quoting rule to trade another size; was {rule.name}")
    numbers = rule.numbers.copy()
    numbers[places.ORDER_LOTS], numbers[places.POSITION_LIMIT] = order_lots, max_position
    return dataclasses.replace(rule, numbers=numbers)


def traded_lots(events: NDArray[Any], instrument: Instrument, start: int, stop: int) -> float:
    """Lots that traded at the exchange from `start` to `stop`, ns; each trade counts once, not once a side."""
    from data_pipeline.book.events import EXCH, KIND_MASK, TRADE

    kind, at = events["ev"] & np.uint64(KIND_MASK), events["exch_ts"]
    own = (kind == TRADE) & ((events["ev"] & np.uint64(EXCH)) != 0) & (at >= start) & (at <= stop)
    return float(events["qty"][own].sum()) / instrument.lot_size


def base_values(plan: IntradayPlan) -> dict[str, Value]:
    """The run's own values of what a study varies; no latency where its two ways differ."""
    latency = plan.fills.latency
    values: dict[str, Value] = {
        "fee_factor": 1.0,
        "order_lots": plan.order_lots,
        "max_position": plan.fills.limits.max_position,
    }
    if latency.kind == "constant" and latency.entry_ns == latency.response_ns:
        values["latency_ms"] = latency.entry_ns / 1e6
    return values


def variants_of(plan: IntradayPlan) -> tuple[Variant, ...]:
    """Every value whose account is not the run's own."""
    return () if plan.sensitivity is None else tuple(plan.sensitivity.variants(base_values(plan)))


def changed(plan: IntradayPlan, main: FillSettings, variant: Variant) -> tuple[FillSettings, int | None]:
    """The main assumptions under a variant, and the order size where it is that."""
    name, value = variant
    if name == "latency_ms":
        delay = round(1e6 * float(value))
        return dataclasses.replace(main, latency=Latency(entry_ns=delay, response_ns=delay)), None
    if name == "fee_factor":
        factor = float(value)
        fees = Fees(**{item.name: factor * getattr(main.fees, item.name) for item in dataclasses.fields(Fees)})
        return dataclasses.replace(main, fees=fees), None
    if name == "max_position":
        return dataclasses.replace(main, limits=dataclasses.replace(main.limits, max_position=int(value))), None
    lots = int(value)
    limits = OwnLimits(main.limits.max_position * lots // plan.order_lots, max(main.limits.max_order, lots))
    return dataclasses.replace(main, limits=limits), lots


def variant_key(settings: FillSettings, order_lots: int | None) -> dict[str, Any]:
    """What a task's result depends on beside its rule and session, JSON types."""
    return {"fills": describe_fills(settings), "order_lots": order_lots}


def intraday_study(
    plan: IntradayPlan,
    sessions: Sequence[str],
    folds: Sequence[Fold],
    tables: Mapping[str, Mapping[str, Table]],
    found: Mapping[VariantName, bytes],
) -> bytes | None:
    """`sensitivity.json` of an event run from its tables and the results of `trade_variant`; None without a study.

    The fill models of the run are its dimension `queue`.
    """
    if plan.sensitivity is None or not varied(plan.sensitivity):
        return None
    rows = {name: _rows(found, name) for name in dict.fromkeys((key[0], key[4]) for key in found)}
    cases = [case.name for case in plan.cases]
    by_case = {pod.name: {case: _case_rows(tables[pod.name]["sessions"], case) for case in cases} for pod in plan.pods}

    def account(value: Value, table: Table, share: float = math.nan) -> VariedAccount:
        return _varied(value, account_table(plan, sessions, folds, table), share)

    studies: dict[str, dict[str, list[VariedAccount]]] = {}
    for dimension in varied(plan.sensitivity):
        studies[dimension] = {}
        for pod in plan.pods:
            values = {
                variant[1]: table
                for (name, variant), table in rows.items()
                if (name, variant[0]) == (pod.name, dimension)
            }
            own = base_values(plan).get(dimension)
            traded = next((float(table["traded_lots"].sum()) for table in values.values()), math.nan)
            if own is not None:
                values[own] = by_case[pod.name][MAIN]
            sized = dimension == "order_lots"
            studies[dimension][pod.name] = [
                account(value, table, float(table["lots"].sum()) / traded if sized and traded > 0.0 else math.nan)
                for value, table in sorted(values.items())  # type: ignore[type-var]
            ]
    studies["queue"] = {
        pod: [account(case, table) for case, table in each.items()] for pod, each in by_case.items() if len(each) > 1
    }
    return sensitivity_file(
        studies,
        {pod: account(MAIN, each[MAIN]) for pod, each in by_case.items()},
        periods_per_year=plan.sessions_per_year,
        draws=plan.bootstrap_draws,
        seed=plan.seed,
        notes=_notes(plan, found),
    )


def _notes(plan: IntradayPlan, found: Mapping[VariantName, bytes]) -> list[str]:
    notes = ["Latency is that of each way, to the exchange and back; the feed's own is in its events."]
    if plan.sensitivity is not None and plan.sensitivity.order_lots:
        notes.append(
            "Own orders do not move the simulated book: the larger the share of what traded, the less a size says. "
            "Largest positions grow with the order size."
        )
        sized = {key[0] for key in found if key[4][0] == "order_lots"}
        left = [pod.name for pod in plan.pods if pod.name not in sized]
        if left and sized:
            notes.append(f"Order size is not varied of {', '.join(left)}: it is not a number of their rules.")
    return notes


def _rows(found: Mapping[VariantName, bytes], name: tuple[str, Variant]) -> Table:
    """Sessions of one pod under one variant, as the table `sessions` of a run has them under the main assumptions."""
    records = [(key[3], json.loads(payload)) for key, payload in found.items() if (key[0], key[4]) == name]
    table: dict[str, NDArray[Any]] = {
        "session": np.array([session for session, _ in records], dtype="datetime64[D]"),
        "fill_case": np.full(len(records), MAIN, dtype=object),
    }
    for part in (*_SUMS, "traded_value", "lots", "traded_lots"):
        table[part] = np.array([record[part] for _, record in records], dtype=np.float64)
    return table


def _case_rows(sessions: Table, case: str) -> Table:
    own = sessions["fill_case"] == case
    table = {name: values[own] for name, values in sessions.items()}
    return table | {"fill_case": np.full(int(own.sum()), MAIN, dtype=object)}


def _varied(value: Value, table: Table, share: float) -> VariedAccount:
    part = {name: table[name][1:] for name in table}
    return VariedAccount(
        value=value,
        returns=part["return"],
        risk_free=part["risk_free"],
        costs=part["cost_crossing"] + part["cost_fees"],
        net_asset_value=part["net_asset_value"],
        gains=part["profit"],
        volume_share=share,
    )
