"""The groups that a split tests: an account from flat in each, and the returns that the paths are joined of."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from backtests.daily.accounting import event_grid
from backtests.daily.simulator import Segment, simulate
from backtests.walk.combinatorial import Split
from backtests.walk.plan import PodPlan, WalkForwardPlan
from backtests.walk.training import hull
from data_pipeline.daily.panel import DailyPanel
from data_pipeline.disk import npz_bytes, read_npz
from mfg_core.daily.costs import TradingCosts
from strategies.execution import Executor
from strategies.pod import Decider

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Block:
    """The account of one tested group after its opening close.

    Attributes
    ----------
    group : int
    returns, risk_free : (t - 1,) float64
        Of the group's sessions but the first, at whose close the account opens with the capital in cash. What is held
        at the last close is marked there.
    """

    group: int
    returns: Floats
    risk_free: Floats


def account_blocks(
    panel: DailyPanel,
    plan: WalkForwardPlan,
    pod: PodPlan,
    split: Split,
    decider: Decider,
    costs: TradingCosts,
    executor: Executor,
) -> bytes:
    """The blocks of a split, as the ledger keeps them."""
    arrays: dict[str, NDArray[np.float64]] = {}
    for group, rows in zip(split.groups, split.tests, strict=True):
        segment = Segment(
            first=rows.start,
            last=rows.stop - 1,
            decider=decider,
            costs=costs_at(panel, costs, hull(split.train).stop - 1, rows.start),
            executor=executor,
            fold=group,
            costs_row=rows.start,
        )
        account = simulate(
            panel,
            [segment],
            rules=plan.rules,
            capital=plan.capital,
            limits=pod.limits,
            pod=pod.name,
            var_window=plan.var_window,
        )
        arrays[f"{group}.returns"], arrays[f"{group}.risk_free"] = account.returns[1:], account.risk_free[1:]
    return npz_bytes(arrays)


def read_blocks(payload: bytes) -> tuple[Block, ...]:
    """The blocks of `account_blocks`, in the order of their groups."""
    arrays = read_npz(payload)
    groups = sorted({int(name.partition(".")[0]) for name in arrays})
    return tuple(Block(group, arrays[f"{group}.returns"], arrays[f"{group}.risk_free"]) for group in groups)


def costs_at(panel: DailyPanel, costs: TradingCosts, known: int, row: int) -> TradingCosts:
    """Costs whose daily volume counts shares of row `known`, in shares of `row`, which may lie before it."""
    early, late = sorted((known, row))
    if early == late:
        return costs
    factor = event_grid(panel, early + 1, late).share_factor.prod(axis=0)
    return costs.after_split(factor if known < row else 1.0 / factor)
